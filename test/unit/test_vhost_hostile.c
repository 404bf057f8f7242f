/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/vhost: what a hostile guest puts into its rings, and memory that goes away. */
#include "suite.h"
#include "vhost_fixture.h"

#include "base/clock.h"
#include "base/fd.h"
#include "transport/vhost/channel.h"
#include "transport/vhost/closer.h"
#include "transport/vhost/memory.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The queue breaks: err is signalled, nothing comes back; others go on, and after a stop and a
 * start it does, too. */
static void expect_broken(void)
{
    ck_assert(event_wait(front.queues[0].err, FRONT_TIMEOUT_MS));
    ck_assert(!guest_has_used(&front, 0));
    guest_round_trip(&front, 1, 0, "the other one");
    ck_assert_uint_eq(callee.gone, 0);
    (void)front_queue_stop(&front, 0);
    guest_ring_clear(&front, 0);
    front_queue_set_up(&front, 0, 8, 0);
    guest_round_trip(&front, 0, 0, "after all");
    ck_assert_uint_eq(callee.started, 1);
    (void)front_queue_stop(&front, 0);
    guest_ring_clear(&front, 0);
    front.buffer = FRONT_BUFFERS;
    front_queue_set_up(&front, 0, 8, 0);
}

static void broken_by(uint16_t head)
{
    guest_avail(&front, 0, head);
    guest_kick(&front, 0);
    expect_broken();
}

START_TEST(hostile_chains)
{
    const uint64_t table = FRONT_BUFFERS + 0x10000;
    const uint16_t next = VRING_DESC_NEXT, write = VRING_DESC_WRITE;
    const uint32_t bad_sizes[] = { 0, 8, 17, 16 * 1025, 0xfffffff0 };

    front_start(&front, FRONT_FEATURES, 2, 8);
    broken_by(8);
    broken_by(0xffff);
    guest_desc(&front, 0, 0, FRONT_BUFFERS, 8, next, 8); /* beyond */
    broken_by(0);
    guest_desc(&front, 0, 0, FRONT_BUFFERS, 8, next, 0); /* itself */
    broken_by(0);
    for (uint16_t i = 0; i < 8; i++)
        guest_desc(&front, 0, i, FRONT_BUFFERS, 8, next, (uint16_t)((i + 1) % 8));
    broken_by(3);
    guest_desc(&front, 0, 0, FRONT_BUFFERS, 8, write | next, 1);
    guest_desc(&front, 0, 1, FRONT_BUFFERS, 8, 0, 0); /* readable after writable */
    broken_by(0);
    guest_desc(&front, 0, 0, UINT64_MAX - 3, 8, 0, 0); /* wraps */
    broken_by(0);
    for (unsigned i = 0; i < 5; i++) {
        guest_desc(&front, 0, 0, table, bad_sizes[i], VRING_DESC_INDIRECT, 0);
        broken_by(0);
    }
    guest_desc(&front, 0, 0, FRONT_END - 8, 16, VRING_DESC_INDIRECT, 0); /* beyond memory */
    broken_by(0);
    guest_desc(&front, 0, 0, CALLEE_OUTSIDE, 16, VRING_DESC_INDIRECT, 0);
    broken_by(0);
    guest_desc(&front, 0, 0, UINT64_MAX - 7, 16, VRING_DESC_INDIRECT, 0);
    broken_by(0);
    guest_desc(&front, 0, 0, table, 16, VRING_DESC_INDIRECT | next, 1);
    broken_by(0);
    guest_indirect(&front, table, 0, table, 16, VRING_DESC_INDIRECT, 0); /* in an indirect one */
    guest_desc(&front, 0, 0, table, 16, VRING_DESC_INDIRECT, 0);
    broken_by(0);
    /* Beyond its table, behind which lies what was there before. */
    guest_indirect(&front, table, 0, FRONT_BUFFERS, 16, next, 1);
    guest_indirect(&front, table, 1, FRONT_BUFFERS + 64, 16, write, 0);
    guest_desc(&front, 0, 0, table, 32, VRING_DESC_INDIRECT, 0);
    guest_avail(&front, 0, 0);
    guest_kick(&front, 0);
    guest_used(&front, 0);
    guest_desc(&front, 0, 0, table, 16, VRING_DESC_INDIRECT, 0);
    broken_by(0);
    guest_indirect(&front, table, 0, FRONT_BUFFERS, 16, next, 1);
    guest_indirect(&front, table, 1, FRONT_BUFFERS, 16, next, 0); /* a loop */
    guest_desc(&front, 0, 0, table, 32, VRING_DESC_INDIRECT, 0);
    broken_by(0);
}
END_TEST

START_TEST(no_indirect_without_the_feature)
{
    const uint64_t table = FRONT_BUFFERS + 0x10000;

    front_start(&front, FRONT_FEATURES & ~VIRTIO_F_INDIRECT_DESC, 2, 8);
    guest_indirect(&front, table, 0, FRONT_BUFFERS, 16, VRING_DESC_WRITE, 0);
    guest_desc(&front, 0, 0, table, 16, VRING_DESC_INDIRECT, 0);
    broken_by(0);
}
END_TEST

START_TEST(a_chain_has_a_longest_length)
{
    const uint64_t table = FRONT_BUFFERS + 0x10000;

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    for (unsigned i = 0; i < 1024; i++)
        guest_indirect(&front, table, i, FRONT_BUFFERS + i % 64, 4096,
                       i < 1023 ? VRING_DESC_NEXT : 0, (uint16_t)(i + 1));
    guest_desc(&front, 0, 1, table, 16 * 1024, VRING_DESC_INDIRECT, 0);
    guest_avail(&front, 0, 1);
    guest_kick(&front, 0);
    struct vhost_request *request = callee_take(&callee);
    ck_assert_uint_eq(vhost_request_in(request), 1024 * 4096);
    vhost_complete(request, 0);
    guest_used(&front, 0);
    guest_desc(&front, 0, 0, FRONT_BUFFERS, 4096, VRING_DESC_NEXT, 1); /* one more in front */
    guest_avail(&front, 0, 0);
    guest_kick(&front, 0);
    ck_assert(event_wait(front.queues[0].err, FRONT_TIMEOUT_MS));
}
END_TEST

START_TEST(an_available_index_that_jumps)
{
    front_start(&front, FRONT_FEATURES, 2, 8);
    front.queues[0].avail->index = le16_make(9);
    guest_kick(&front, 0);
    expect_broken();
    front.queues[0].avail->index = le16_make(0xffff);
    guest_kick(&front, 0);
    expect_broken();
}
END_TEST

START_TEST(more_requests_than_the_ring_holds)
{
    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_desc(&front, 0, 0, FRONT_BUFFERS, 8, 0, 0);
    for (unsigned i = 0; i < 8; i++)
        guest_avail(&front, 0, 0); /* the same, again and again */
    guest_kick(&front, 0);
    callee_wait(&callee, &callee.held_count, 8);
    guest_avail(&front, 0, 0);
    guest_kick(&front, 0);
    ck_assert(event_wait(front.queues[0].err, FRONT_TIMEOUT_MS));
    ck_assert_uint_eq(callee.held_count, 8);
}
END_TEST

static void ring_at(uint64_t desc, uint64_t avail, uint64_t used)
{
    const struct vhost_user_vring_addr addr = { .desc = desc, .avail = avail, .used = used };

    (void)front_queue_stop(&front, 0);
    guest_ring_clear(&front, 0);
    front_queue_set_up(&front, 0, 8, 0);
    (void)front_queue_stop(&front, 0);
    ck_assert_uint_eq(front_ask(&front, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0),
                      0);
    const uint64_t index = 0;
    ck_assert_uint_eq(
        front_ask(&front, VHOST_USER_SET_VRING_KICK, &index, 8, &front.queues[0].kick, 1), 0);
    ck_assert(event_wait(front.queues[0].err, FRONT_TIMEOUT_MS));
    guest_round_trip(&front, 1, 0, "the other one");
}

/* A guest that broke its queue begins anew, also where it was. */
START_TEST(a_broken_queue_does_not_go_on)
{
    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_request(&front, 0, 0, "held", 8);
    guest_avail(&front, 0, 9);
    guest_kick(&front, 0);
    ck_assert(event_wait(front.queues[0].err, FRONT_TIMEOUT_MS));
    struct vhost_request *request = callee_take(&callee);
    ck_assert_int_eq(vhost_access_begin(request), -ECANCELED);
    ck_assert_uint_eq(front_queue_stop(&front, 0), 1);
    front.queues[0].avail->index = le16_make(1);
    front.queues[0].avail_index = 1;
    front_queue_set_up(&front, 0, 8, 1);
    ck_assert_int_eq(vhost_access_begin(request), -ESTALE);
    vhost_complete(request, 0);
    usleep(10000);
    ck_assert(!guest_has_used(&front, 0));
    callee_hold(&callee, false);
    guest_round_trip(&front, 0, 2, "after all");
}
END_TEST

START_TEST(rings_outside_of_memory)
{
    const uint64_t desc = front_user(FRONT_GUEST), avail = desc + 0x4000, used = desc + 0x8000;
    const uint64_t end = desc + FRONT_REGION;

    front_start(&front, FRONT_FEATURES | VIRTIO_F_EVENT_IDX, 2, 8);
    ring_at(desc - 16, avail, used);
    ring_at(end - 8 * 16 + 16, avail, used);
    ring_at(desc, end - 4 - 16, used); /* without its last place */
    ring_at(desc, avail, end - 4 - 64);
    ring_at(desc + 8, avail, used); /* not aligned */
    ring_at(desc, avail + 1, used);
    ring_at(desc, avail, used + 2);
    ring_at(0, 0, 0);
    ring_at(UINT64_MAX - 15, UINT64_MAX - 1, UINT64_MAX - 3);
    (void)front_queue_stop(&front, 0);
    guest_ring_clear(&front, 0);
    front_queue_set_up(&front, 0, 8, 0);
    guest_round_trip(&front, 0, 0, "after all");
    ck_assert_uint_eq(callee.gone, 0);
}
END_TEST

/* ---- a guest that reads from where it writes to ------------------------------------------ */

START_TEST(an_answer_onto_itself)
{
    uint8_t expected[2000];

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_desc(&front, 0, 0, CALLEE_OUTSIDE + 100, 2000, VRING_DESC_WRITE, 0);
    guest_avail(&front, 0, 0);
    guest_kick(&front, 0);
    struct vhost_request *request = callee_take(&callee);
    for (unsigned i = 0; i < sizeof(callee.outside_bytes); i++)
        callee.outside_bytes[i] = (uint8_t)(i / 7);
    memcpy(expected, callee.outside_bytes, sizeof(expected));
    ck_assert_int_eq(vhost_access_begin(request), 0);
    ck_assert_int_eq(vhost_write(request, 0, callee.outside_bytes, sizeof(expected)), 0);
    ck_assert_int_eq(vhost_access_end(request), 0);
    ck_assert_mem_eq(callee.outside_bytes + 100, expected, sizeof(expected));
    vhost_complete(request, sizeof(expected));
}
END_TEST

/* ---- memory that is too much ------------------------------------------------------------- */

static int sparse(uint64_t size)
{
    int fd = memfd_create("sparse", MFD_CLOEXEC);

    ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
    return fd;
}

START_TEST(more_memory_than_a_guest_may_have)
{
    const int fds[2] = { front.memfd, sparse(2 * VHOST_MEMORY_MAX) };
    struct vhost_user_memory table;

    front_fill_memory(&table);
    table.regions[1].size = VHOST_MEMORY_MAX - FRONT_REGION + 4096; /* with the other one */
    front_handshake(&front, FRONT_FEATURES);
    front_send(&front, VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, &table, 8 + 2 * 32, fds, 2);
    front_expect_end(&front);
    callee_wait(&callee, &callee.gone, 1);
    front_connect(&front, path);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_round_trip(&front, 0, 0, "with less");
    close(fds[1]);
}
END_TEST

#ifndef __SANITIZE_THREAD__ /* which has not so many addresses */
START_TEST(more_memory_than_all_may_have)
{
    enum { all = VHOST_MEMORY_ALL_MAX / VHOST_MEMORY_MAX };
    struct vhost_user_memory whole = { .count = 1, .regions = { { .size = VHOST_MEMORY_MAX } } };
    struct vhost_memory *memory[all], *another;
    int fd = sparse(VHOST_MEMORY_MAX);
    const char *why;
    unsigned count = 0;

    while (count < all &&
           vhost_memory_create(&whole, &fd, NULL, NULL, NULL, &memory[count], &why) == 0)
        count++;
    if (count == all) { /* not under valgrind */
        whole.regions[0].size = 4096;
        ck_assert_int_eq(vhost_memory_create(&whole, &fd, NULL, NULL, NULL, &another, &why),
                         -ENOMEM);
        vhost_memory_put(memory[--count]);
        ck_assert_int_eq(vhost_memory_create(&whole, &fd, NULL, NULL, NULL, &another, &why), 0);
        vhost_memory_put(another);
    }
    while (count > 0)
        vhost_memory_put(memory[--count]);
    close(fd);
}
END_TEST
#endif

/* ---- a VMM that does not want to hear ---------------------------------------------------- */

/* Whoever writes to it waits. */
static void counter_fill(int fd)
{
    const uint64_t full = UINT64_MAX - 1;
    uint64_t before;

    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    (void)!read(fd, &before, sizeof(before));
    ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
    ck_assert_int_eq(write(fd, &full, sizeof(full)), sizeof(full));
}

START_TEST(a_full_counter_keeps_nobody)
{
    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 2, 8);
    guest_request(&front, 0, 0, "abc", 3);
    guest_kick(&front, 0);
    struct vhost_request *request = callee_take(&callee);
    counter_fill(front.queues[0].call);
    counter_fill(front.queues[0].err);
    /* As the thread of another door does that makes way for a lock. */
    callee_answer(&callee, request);
    guest_used(&front, 0);
    callee_hold(&callee, false);
    /* More of them than AIO has places. */
    for (unsigned i = 0; i < 300; i++) {
        front.buffer = FRONT_BUFFERS;
        guest_round_trip(&front, 0, 0, "abc");
    }
    guest_avail(&front, 0, 8);
    guest_kick(&front, 0); /* its err */
    guest_round_trip(&front, 1, 0, "the other one");
    close(front.fd);
    front.fd = -1;
    callee_wait(&callee, &callee.gone, 1);
}
END_TEST

/* Each event is counted. */
START_TEST(signals_are_counted)
{
    uint64_t count;

    front_start(&front, FRONT_FEATURES, 1, 8);
    for (unsigned i = 0; i < 300; i++) {
        front.buffer = FRONT_BUFFERS;
        guest_round_trip(&front, 0, 0, "abc");
    }
    (void)front_queue_stop(&front, 0); /* after the last one */
    ck_assert_int_eq(read(front.queues[0].call, &count, sizeof(count)), sizeof(count));
    ck_assert_uint_eq(count, 300);
}
END_TEST

/* ---- a VMM whose descriptors do not close ------------------------------------------------ */

/* Its last close(2) waits as long as *RET_PEER is open. */
static int lingering(int *ret_peer)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    const struct linger linger = { .l_onoff = 1, .l_linger = 3600 };
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), r;
    socklen_t size = sizeof(address);
    const int little = 2048;
    char bytes[65536] = { 0 };

    ck_assert_int_eq(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)), 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, size), 0);
    *ret_peer = accept(listener, NULL, NULL);
    ck_assert_int_ge(*ret_peer, 0);
    close(listener);
    /* What the peer has not read is not sent either. */
    do
        r = (int)send(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    while (r > 0);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    return fd;
}

enum {
    WAY_STRAY,
    WAY_OOB,
    WAY_MANY,
    WAY_CALL,
    WAY_KICK,
    WAY_MEMORY,
    WAY_CHANNEL,
    WAY_IN_CHANNEL,
    WAYS
};

/* A byte with FD; in band, if the kernel knows no other. */
static void out_of_band_send(int socket, int fd)
{
    char byte = 'x';
    struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
    union fd_control control;

    fd_attach(&message, &control, fd);
    if (sendmsg(socket, &message, MSG_OOB) != 1)
        ck_assert_int_eq(sendmsg(socket, &message, 0), 1);
}

static void lingering_send(unsigned way, int fd)
{
    const uint64_t zero = 0;
    struct vhost_user_memory table;
    int fds[16], pair[2];

    switch (way) {
    case WAY_STRAY:
        front_send(&front, VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, NULL, 0, &fd, 1);
        break;
    case WAY_OOB: /* before what is read */
        out_of_band_send(front.fd, fd);
        front_send(&front, VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, NULL, 0, NULL, 0);
        shutdown(front.fd, SHUT_RDWR);
        break;
    case WAY_MANY: /* behind those that are looked at */
        for (unsigned i = 0; i < 16; i++)
            fds[i] = i < 15 ? front.memfd : fd;
        front_send(&front, VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, NULL, 0, fds, 16);
        break;
    case WAY_CALL:
        front_send(&front, VHOST_USER_SET_VRING_CALL, VHOST_USER_VERSION, &zero, 8, &fd, 1);
        break;
    case WAY_KICK:
        front_send(&front, VHOST_USER_SET_VRING_KICK, VHOST_USER_VERSION, &zero, 8, &fd, 1);
        break;
    case WAY_MEMORY:
        front_fill_memory(&table);
        fds[0] = front.memfd;
        fds[1] = fd;
        front_send(&front, VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, &table, 8 + 2 * 32, fds,
                   2);
        break;
    case WAY_CHANNEL:
        front_send(&front, VHOST_USER_SET_BACKEND_REQ_FD, VHOST_USER_VERSION, NULL, 0, &fd, 1);
        break;
    default: /* a channel with something in it, and the end */
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        front_send(&front, VHOST_USER_SET_BACKEND_REQ_FD, VHOST_USER_VERSION, NULL, 0, &pair[1], 1);
        close(pair[1]);
        struct front channel = { .fd = pair[0] };
        front_send(&channel, 0, VHOST_USER_VERSION, NULL, 0, &fd, 1);
        close(pair[0]);
        shutdown(front.fd, SHUT_RDWR);
    }
}

START_TEST(a_descriptor_that_does_not_close)
{
    int peer, fd = lingering(&peer);

    close(front.fd);
    callee_wait(&callee, &callee.gone, 1);
    /* The socket thread stands in `connected`, so that the last close is not ours. */
    pthread_mutex_lock(&callee.mutex);
    front_connect(&front, path);
    lingering_send((unsigned)_i, fd);
    close(fd);
    pthread_mutex_unlock(&callee.mutex);
    callee_wait(&callee, &callee.gone, 2);
    reconnect();
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_round_trip(&front, 0, 0, "the next one");
    /* The device stops in the teardown. */
}
END_TEST

/* Nobody receives it: it is in what a second VMM, which is refused, has sent. */
START_TEST(a_descriptor_that_is_not_received)
{
    int peer, fd = lingering(&peer);
    struct front second = { 0 };

    close(front.fd);
    callee_wait(&callee, &callee.gone, 1);
    pthread_mutex_lock(&callee.mutex);
    front_connect(&front, path);
    front_connect(&second, path);
    front_send(&second, VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, NULL, 0, &fd, 1);
    close(fd);
    pthread_mutex_unlock(&callee.mutex);
    front_expect_end(&second);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_round_trip(&front, 0, 0, "the first one");
}
END_TEST

/* It comes with an answer; or out of band, and who reads closes it at once. */
START_TEST(an_answer_that_does_not_close)
{
    int peer, fd = lingering(&peer);
    const uint64_t zero = 0;

    front_start(&front, FRONT_FEATURES, 1, 8);
    struct front channel = { .fd = front.channel };
    if (_i == 0)
        front_send(&channel, VHOST_USER_BACKEND_SHMEM_UNMAP, VHOST_USER_VERSION | VHOST_USER_REPLY,
                   &zero, 8, &fd, 1);
    else
        out_of_band_send(channel.fd, fd);
    close(fd);
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, 4096, clock_now() + CLOCK_SECOND),
                     -ETIMEDOUT);
    guest_round_trip(&front, 0, 0, "without a window");
}
END_TEST

#ifndef SO_PASSPIDFD
# define SO_PASSPIDFD 76 /* of Linux 6.5 */
#endif

/* As many as one message can bring, and who sent it besides: the last of them are not dropped. */
START_TEST(all_that_can_come_at_once)
{
    enum { sent = 253 };
    static char control[CMSG_SPACE(sent * sizeof(int))] __attribute__((aligned(8)));
    char byte = 'x';
    struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = { .msg_iov = &vector,
                              .msg_iovlen = 1,
                              .msg_control = control,
                              .msg_controllen = sizeof(control) };
    struct cmsghdr *part = CMSG_FIRSTHDR(&message);
    int pair[2], fds[FD_SENT_MAX];
    const int one = 1;
    unsigned count, expected = sent;
    bool cut;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)), 0);
    ck_assert_int_eq(setsockopt(pair[1], SOL_SOCKET, SO_PASSSEC, &one, sizeof(one)), 0);
    if (setsockopt(pair[1], SOL_SOCKET, SO_PASSPIDFD, &one, sizeof(one)) == 0)
        expected++;
    *part = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS,
                              .cmsg_len = CMSG_LEN(sent * sizeof(int)) };
    for (unsigned i = 0; i < sent; i++)
        memcpy(CMSG_DATA(part) + i * sizeof(int), &front.memfd, sizeof(int));
    ck_assert_int_eq(sendmsg(pair[0], &message, 0), 1);
    ck_assert_int_eq(fd_receive(pair[1], &byte, 1, fds, &count, &cut), 1);
    ck_assert(!cut);
    ck_assert_uint_eq(count, expected);
    while (count > 0)
        ck_assert_int_eq(close(fds[--count]), 0);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

/* The lowest number that is free. */
static int free_number(void)
{
    int fd = dup(0);

    ck_assert_int_ge(fd, 0);
    close(fd);
    return fd;
}

/* A channel that brings a descriptor with each read is none. */
START_TEST(answers_that_bring_their_process)
{
    const struct {
        struct vhost_user_header header;
        uint64_t result;
    } __attribute__((packed)) answers[2] = {
        { { VHOST_USER_BACKEND_SHMEM_UNMAP, VHOST_USER_VERSION | VHOST_USER_REPLY, 8 }, 0 },
        { { VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, VHOST_USER_VERSION | VHOST_USER_REPLY, 8 },
          0 },
    };
    const int one = 1;
    int pair[2];

    front_start(&front, FRONT_FEATURES, 1, 8);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    if (setsockopt(pair[1], SOL_SOCKET, SO_PASSPIDFD, &one, sizeof(one)) == 0) {
        int error = 0, after;

        ck_assert_uint_eq(front_ask(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1),
                          0);
        int before = free_number();
        for (unsigned i = 0; i < 10 && !error; i++) {
            for (size_t at = 0; at < sizeof(answers); at++)
                (void)send(pair[0], (const char *)answers + at, 1, MSG_NOSIGNAL);
            error = vhost_shm_unmap(callee.device, 0, 4096,
                                    clock_now() + FRONT_TIMEOUT_MS * 1000000ull);
        }
        ck_assert_int_eq(error, -ETIMEDOUT);
        for (unsigned i = 0; (after = free_number()) > before && i < 2000; i++)
            usleep(500); /* the closer's */
        ck_assert_int_le(after, before);
    }
    close(pair[0]);
    close(pair[1]);
}
END_TEST

/* No more is taken from a VMM, nor from the next, until some of it is closed. */
START_TEST(more_that_do_not_close)
{
    int peer, fd = lingering(&peer);
    struct vhost_user_header header;
    struct pollfd polled = { .events = POLLIN };
    uint64_t features;
    unsigned gone = 1;

    close(front.fd);
    callee_wait(&callee, &callee.gone, gone);
    pthread_mutex_lock(&callee.mutex);
    front_connect(&front, path);
    lingering_send(WAY_STRAY, fd);
    close(fd);
    pthread_mutex_unlock(&callee.mutex);
    for (; gone < 1 + CLOSER_BEHIND / 16; gone++) {
        callee_wait(&callee, &callee.gone, gone + 1);
        reconnect();
        lingering_send(WAY_MANY, front.memfd);
    }
    callee_wait(&callee, &callee.gone, gone + 1);
    reconnect();
    front_send(&front, VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, NULL, 0, NULL, 0);
    polled.fd = front.fd;
    ck_assert_int_eq(poll(&polled, 1, 200), 0);
    ck_assert_uint_eq(callee.connected, gone + 1);
    close(peer);
    ck_assert(front_receive(&front, &header, &features, sizeof(features)));
    ck_assert_uint_eq(callee.connected, gone + 2);
}
END_TEST

/* ---- a VMM that holds its channel -------------------------------------------------------- */

enum { HELD_MAX = 4 * VHOST_CHANNEL_BEHIND, PAGE = 4096 };

/* Channels of whose ends here the VMM, too, reads: into pages that do not come before the end. */
static struct {
    int faults;
    uint8_t *pages;
    unsigned count;
    struct held {
        pthread_t thread;
        int pair[2]; /* its own, and ours */
        uint8_t *page;
    } channels[HELD_MAX];
} held;

/* false: nobody may do that here. */
static bool held_begin(void)
{
    struct uffdio_api api = { .api = UFFD_API };

    memset(&held, 0, sizeof(held));
    held.faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (held.faults < 0)
        return false;
    ck_assert_int_eq(ioctl(held.faults, UFFDIO_API, &api), 0);
    held.pages =
        mmap(NULL, HELD_MAX * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(held.pages, MAP_FAILED);
    struct uffdio_register all = { .range = { (uintptr_t)held.pages, HELD_MAX * PAGE },
                                   .mode = UFFDIO_REGISTER_MODE_MISSING };
    ck_assert_int_eq(ioctl(held.faults, UFFDIO_REGISTER, &all), 0);
    return true;
}

static void *held_main(void *arg)
{
    const struct held *channel = arg;

    (void)!recv(channel->pair[1], channel->page, PAGE, 0);
    return NULL;
}

/* Another one, the VMM's end of which is returned. */
static int held_give(void)
{
    struct held *channel = &held.channels[held.count];
    struct uffd_msg fault;

    channel->page = held.pages + held.count++ * PAGE;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, channel->pair), 0);
    ck_assert_int_eq(send(channel->pair[0], "x", 1, 0), 1);
    ck_assert_int_eq(pthread_create(&channel->thread, NULL, held_main, channel), 0);
    ck_assert_int_eq(read(held.faults, &fault, sizeof(fault)), sizeof(fault));
    ck_assert_uint_eq(
        front_ask(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &channel->pair[1], 1), 0);
    return channel->pair[0];
}

static void held_end(void)
{
    struct uffdio_zeropage all = { .range = { (uintptr_t)held.pages, HELD_MAX * PAGE } };

    ck_assert_int_eq(ioctl(held.faults, UFFDIO_ZEROPAGE, &all), 0);
    for (unsigned i = 0; i < held.count; i++) {
        pthread_join(held.channels[i].thread, NULL);
        close(held.channels[i].pair[0]);
        close(held.channels[i].pair[1]);
    }
    close(held.faults);
    munmap(held.pages, HELD_MAX * PAGE);
}

static void *unmap_main(void *arg)
{
    *(int *)arg = vhost_shm_unmap(callee.device, 0, PAGE, clock_now() + 60 * CLOCK_SECOND);
    return NULL;
}

/* Neither who asks waits longer than it wants to, nor the end of the connection. */
START_TEST(an_answer_that_is_held)
{
    struct pollfd polled = { .events = POLLIN };
    pthread_t thread;
    int error;

    if (!held_begin())
        return;
    front_start(&front, FRONT_FEATURES, 1, 8);
    (void)held_give();
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, PAGE, clock_now() + CLOCK_SECOND / 20),
                     -ETIMEDOUT);
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, PAGE, clock_now() + CLOCK_SECOND / 20),
                     -EBUSY);
    polled.fd = held_give(); /* instead */
    ck_assert_int_eq(pthread_create(&thread, NULL, unmap_main, &error), 0);
    ck_assert_int_eq(poll(&polled, 1, FRONT_TIMEOUT_MS), 1);
    usleep(20000); /* its reader waits */
    close(front.fd);
    callee_wait(&callee, &callee.gone, 1);
    pthread_join(thread, NULL);
    ck_assert_int_eq(error, -ETIMEDOUT);
    front_connect(&front, path);
    guest_ring_clear(&front, 0);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_round_trip(&front, 0, 0, "the next one");
    held_end();
}
END_TEST

/* The VMM is not listened to any more, until they are let go. */
START_TEST(many_answers_that_are_held)
{
    struct pollfd polled = { .events = POLLIN };
    struct vhost_user_header header;
    uint64_t features;
    bool listens = true;

    if (!held_begin())
        return;
    front_start(&front, FRONT_FEATURES, 1, 8);
    polled.fd = front.fd;
    while (listens) {
        ck_assert_uint_lt(held.count, HELD_MAX);
        (void)held_give();
        ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, PAGE, clock_now() + CLOCK_SECOND / 20),
                         -ETIMEDOUT);
        front_send(&front, VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, NULL, 0, NULL, 0);
        /* It listens until then, however slowly. */
        listens = poll(&polled, 1, held.count < VHOST_CHANNEL_BEHIND ? FRONT_TIMEOUT_MS : 500) == 1;
        if (listens)
            ck_assert(front_receive(&front, &header, &features, sizeof(features)));
    }
    ck_assert_uint_ge(held.count, VHOST_CHANNEL_BEHIND);
    held_end();
    ck_assert(front_receive(&front, &header, &features, sizeof(features)));
}
END_TEST

/* ---- memory that goes away --------------------------------------------------------------- */

START_TEST(memory_is_cut_during_an_access)
{
    struct vhost_request *request;
    char bytes[4] = "????";

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    /* The first region, with the ring, is the second half of the file. */
    guest_desc(&front, 0, 0, FRONT_GUEST + FRONT_REGION + 4096, 4, 0, 0);
    guest_avail(&front, 0, 0);
    memcpy(front_at(&front, FRONT_GUEST + FRONT_REGION + 4096), "good", 4);
    guest_kick(&front, 0);
    request = callee_take(&callee);
    ck_assert_int_eq(vhost_access_begin(request), 0);
    ck_assert_int_eq(ftruncate(front.memfd, 0), 0);
    ck_assert_int_eq(vhost_read(request, 0, bytes, 4), 0);
    ck_assert_mem_eq(bytes, "\0\0\0\0", 4);
    ck_assert_int_eq(vhost_access_end(request), -EFAULT);
    vhost_complete(request, 0);
    front_expect_end(&front);
    callee_wait(&callee, &callee.gone, 1);
    ck_assert_int_eq(ftruncate(front.memfd, 2 * FRONT_REGION), 0);
    guest_ring_clear(&front, 0);
    callee_hold(&callee, false);
    front_connect(&front, path);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_round_trip(&front, 0, 0, "whole again");
}
END_TEST

START_TEST(memory_is_cut_under_the_ring)
{
    front_start(&front, FRONT_FEATURES, 2, 8);
    guest_round_trip(&front, 0, 0, "good");
    ck_assert_int_eq(ftruncate(front.memfd, 0), 0);
    guest_kick(&front, 0);
    front_expect_end(&front);
    callee_wait(&callee, &callee.gone, 1);
}
END_TEST

/* Where zeros say that there is nothing to do. */
START_TEST(memory_is_cut_under_an_empty_ring)
{
    front_start(&front, FRONT_FEATURES, 1, 8);
    usleep(20000);
    ck_assert_int_eq(ftruncate(front.memfd, 0), 0);
    guest_kick(&front, 0);
    front_expect_end(&front);
    callee_wait(&callee, &callee.gone, 1);
}
END_TEST

START_TEST(memory_is_cut_under_the_used_ring)
{
    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_request(&front, 0, 0, "held", 8);
    guest_kick(&front, 0);
    struct vhost_request *request = callee_take(&callee);
    usleep(20000); /* the queue's thread waits, and does not find it */
    ck_assert_int_eq(ftruncate(front.memfd, 0), 0);
    vhost_complete(request, 4);
    front_expect_end(&front);
    callee_wait(&callee, &callee.gone, 1);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, hostile_chains);
    tcase_add_test(tcase, no_indirect_without_the_feature);
    tcase_add_test(tcase, a_chain_has_a_longest_length);
    tcase_add_test(tcase, an_available_index_that_jumps);
    tcase_add_test(tcase, more_requests_than_the_ring_holds);
    tcase_add_test(tcase, a_broken_queue_does_not_go_on);
    tcase_add_test(tcase, rings_outside_of_memory);
    tcase_add_test(tcase, an_answer_onto_itself);
    tcase_add_test(tcase, more_memory_than_a_guest_may_have);
#ifndef __SANITIZE_THREAD__
    tcase_add_test(tcase, more_memory_than_all_may_have);
#endif
    tcase_add_test(tcase, a_full_counter_keeps_nobody);
    tcase_add_test(tcase, signals_are_counted);
    tcase_add_loop_test(tcase, a_descriptor_that_does_not_close, 0, WAYS);
    tcase_add_test(tcase, a_descriptor_that_is_not_received);
    tcase_add_loop_test(tcase, an_answer_that_does_not_close, 0, 2);
    tcase_add_test(tcase, all_that_can_come_at_once);
    tcase_add_test(tcase, answers_that_bring_their_process);
    tcase_add_test(tcase, more_that_do_not_close);
    tcase_add_test(tcase, an_answer_that_is_held);
    tcase_add_test(tcase, many_answers_that_are_held);
    tcase_add_test(tcase, memory_is_cut_during_an_access);
    tcase_add_test(tcase, memory_is_cut_under_the_ring);
    tcase_add_test(tcase, memory_is_cut_under_an_empty_ring);
    tcase_add_test(tcase, memory_is_cut_under_the_used_ring);
}

int main(void)
{
    return suite_run("vhost_hostile", 30, fixture_setup, fixture_teardown, add);
}
