/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/vhost: a VMM that sends what does not close, or holds the channel that it gave. */
#include "suite.h"
#include "vhost_fixture.h"

#include "base/clock.h"
#include "base/fd.h"
#include "transport/vhost/channel.h"
#include "transport/vhost/closer.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

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

static void add(TCase *tcase)
{
    tcase_add_loop_test(tcase, a_descriptor_that_does_not_close, 0, WAYS);
    tcase_add_test(tcase, a_descriptor_that_is_not_received);
    tcase_add_loop_test(tcase, an_answer_that_does_not_close, 0, 2);
    tcase_add_test(tcase, all_that_can_come_at_once);
    tcase_add_test(tcase, answers_that_bring_their_process);
    tcase_add_test(tcase, more_that_do_not_close);
    tcase_add_test(tcase, an_answer_that_is_held);
    tcase_add_test(tcase, many_answers_that_are_held);
}

int main(void)
{
    return suite_run("vhost_held", 30, fixture_setup, fixture_teardown, add);
}
