/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/vhost: what a VMM says, and what it may not; connections one after the other; memory
 * tables. */
#include "suite.h"
#include "vhost_fixture.h"

#include "base/log.h"
#include "transport/vhost/memory.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static unsigned fds_open(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Another thread closes them. */
static void fds_expect(unsigned most)
{
    for (unsigned i = 0; fds_open() > most && i < FRONT_TIMEOUT_MS; i++)
        usleep(1000);
    ck_assert_uint_le(fds_open(), most);
}

START_TEST(handshake_as_qemu_does_it)
{
    uint64_t offered = front_get(&front, VHOST_USER_GET_FEATURES);

    ck_assert_uint_eq(offered, 1ull << 32 | 1ull << 28 | 1ull << 29 | 1ull << 30);
    ck_assert_uint_eq(front_get(&front, VHOST_USER_GET_PROTOCOL_FEATURES),
                      1 | 1 << 3 | 1 << 5 | 1 << 9 | 1 << 10 | 1 << 13 | 1 << 18 | 1 << 22);
    ck_assert_uint_eq(front_get(&front, VHOST_USER_GET_QUEUE_NUM), FRONT_QUEUES);
    ck_assert(!vhost_shm_is_offered(callee.device));
    front_start(&front, FRONT_FEATURES, 2, 128);
    ck_assert(vhost_shm_is_offered(callee.device));
    callee_wait(&callee, &callee.started, 1);
    ck_assert_uint_eq(callee.started, 1);
    ck_assert_uint_eq(front_queue_stop(&front, 0), 0);
    ck_assert_uint_eq(callee.stopped, 0);
    ck_assert_uint_eq(front_queue_stop(&front, 1), 0);
    /* Told before the VMM has its answer. */
    ck_assert_uint_eq(callee.stopped, 1);
    close(front.fd);
    callee_wait(&callee, &callee.gone, 1);
    ck_assert(!vhost_shm_is_offered(callee.device));
    front_connect(&front, path);
}
END_TEST

START_TEST(configuration_in_parts)
{
    struct vhost_user_config config = { .offset = 2, .size = 3 };
    struct vhost_user_header header;

    front_send(&front, VHOST_USER_GET_CONFIG, VHOST_USER_VERSION, &config, 12, NULL, 0);
    ck_assert(front_receive(&front, &header, &config, sizeof(config)));
    ck_assert_uint_eq(header.size, 15);
    ck_assert_mem_eq(config.bytes, "ont", 3);
    config = (struct vhost_user_config){ .offset = 255, .size = 2 };
    front_send(&front, VHOST_USER_GET_CONFIG, VHOST_USER_VERSION, &config, 14, NULL, 0);
    front_expect_end(&front);
    reconnect();
    config = (struct vhost_user_config){ .offset = 0xffffffff, .size = 2 };
    front_send(&front, VHOST_USER_GET_CONFIG, VHOST_USER_VERSION, &config, 14, NULL, 0);
    front_expect_end(&front);
}
END_TEST

START_TEST(refused_but_alive)
{
    const struct vhost_user_config config = { .size = 4 };
    const uint64_t log[2] = { 4096, 0 };
    int fd = memfd_create("log", 0);

    ck_assert_uint_ne(front_ask(&front, VHOST_USER_SET_CONFIG, &config, 16, NULL, 0), 0);
    ck_assert_uint_ne(front_ask(&front, VHOST_USER_SET_LOG_BASE, log, 16, &fd, 1), 0);
    ck_assert_uint_ne(front_ask(&front, VHOST_USER_SET_LOG_FD, NULL, 0, &fd, 1), 0);
    front_send(&front, VHOST_USER_SET_CONFIG, VHOST_USER_VERSION, &config, 16, NULL, 0);
    (void)front_get(&front, VHOST_USER_GET_FEATURES);
    front_send(&front, VHOST_USER_SET_LOG_BASE, VHOST_USER_VERSION, log, 16, &fd, 1);
    front_expect_end(&front);
    close(fd);
}
END_TEST

/* Each in a connection of its own: it ends, the descriptors are closed, and the next VMM is
 * served. */
static void hostile(uint32_t request, uint32_t flags, const void *payload, uint32_t size,
                    const int *fds, unsigned count)
{
    reconnect();
    front_handshake(&front, FRONT_FEATURES);
    front_send(&front, request, flags, payload, size, fds, count);
    front_expect_end(&front);
}

START_TEST(every_message_with_wrong_sizes_and_descriptors)
{
    static const struct {
        uint32_t request, size, fds;
    } good[] = {
        { 1, 0, 0 },  { 2, 8, 0 },   { 3, 0, 0 },   { 4, 0, 0 },  { 8, 8, 0 },  { 9, 40, 0 },
        { 10, 8, 0 }, { 11, 8, 0 },  { 15, 0, 0 },  { 16, 8, 0 }, { 17, 0, 0 }, { 18, 8, 0 },
        { 21, 0, 1 }, { 34, 0, 0 },  { 44, 0, 0 },  { 12, 8, 1 }, { 13, 8, 1 }, { 14, 8, 1 },
        { 5, 40, 1 }, { 24, 16, 0 }, { 25, 16, 0 },
    };
    const uint8_t zeros[512] = { 0 };
    int fds[16];
    unsigned before;

    for (unsigned i = 0; i < 16; i++)
        fds[i] = front.queues[0].call;
    reconnect();
    front_handshake(&front, FRONT_FEATURES);
    before = fds_open();
    for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint32_t request = good[i].request, v = VHOST_USER_VERSION;

        if (request != 24 && request != 25)
            hostile(request, v, zeros, good[i].size + 1, fds, good[i].fds);
        if (good[i].size > 0)
            hostile(request, v, zeros, good[i].size - (request == 24 || request == 25 ? 5 : 1), fds,
                    good[i].fds);
        hostile(request, v, zeros, 512, fds, good[i].fds);
        hostile(request, v, zeros, good[i].size, fds, 8);
        hostile(request, v, zeros, good[i].size, fds, 9);
        hostile(request, v, zeros, good[i].size, fds, 16);
        hostile(request, 0, zeros, good[i].size, fds, good[i].fds);
        hostile(request, 2, zeros, good[i].size, fds, good[i].fds);
        hostile(request, 1 | VHOST_USER_REPLY, zeros, good[i].size, fds, good[i].fds);
        hostile(request, 1 | 1 << 4, zeros, good[i].size, fds, good[i].fds);
    }
    for (uint32_t request = 0; request < 64; request++) {
        bool known = request == 6 || request == 7;

        for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
            known |= good[i].request == request;
        if (!known)
            hostile(request, VHOST_USER_VERSION, zeros, 8, NULL, 0);
    }
    hostile(0xffffffff, VHOST_USER_VERSION, zeros, 8, NULL, 0);
    reconnect();
    front_handshake(&front, FRONT_FEATURES);
    fds_expect(before);
}
END_TEST

START_TEST(numbers_that_may_not_be)
{
    const struct vhost_user_vring_state states[] = { { FRONT_QUEUES, 8 }, { 0xffffffff, 8 } };
    const uint32_t requests[] = { VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
                                  VHOST_USER_GET_VRING_BASE, VHOST_USER_SET_VRING_ENABLE };
    const uint32_t sizes[] = { 0, 3, 2048, 0x10000, 0x80000000 };
    struct vhost_user_vring_state state = { 0, 0 };
    struct vhost_user_vring_addr addr = { .index = FRONT_QUEUES };
    const uint32_t v = VHOST_USER_VERSION;
    uint64_t value;
    int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    for (unsigned i = 0; i < 2; i++)
        for (unsigned j = 0; j < 4; j++)
            hostile(requests[j], v, &states[i], 8, NULL, 0);
    for (unsigned i = 0; i < 5; i++) {
        state.num = sizes[i];
        hostile(VHOST_USER_SET_VRING_NUM, v, &state, 8, NULL, 0);
    }
    state.num = 0x10000;
    hostile(VHOST_USER_SET_VRING_BASE, v, &state, 8, NULL, 0);
    state.num = 2;
    hostile(VHOST_USER_SET_VRING_ENABLE, v, &state, 8, NULL, 0);
    hostile(VHOST_USER_SET_VRING_ADDR, v, &addr, 40, NULL, 0);
    addr = (struct vhost_user_vring_addr){ .flags = 1 };
    hostile(VHOST_USER_SET_VRING_ADDR, v, &addr, 40, NULL, 0);
    for (uint32_t request = VHOST_USER_SET_VRING_KICK; request <= VHOST_USER_SET_VRING_ERR;
         request++) {
        value = FRONT_QUEUES;
        hostile(request, v, &value, 8, &front.queues[0].call, 1);
        value = 1ull << 32;
        hostile(request, v, &value, 8, &front.queues[0].call, 1);
        value = VHOST_USER_VRING_NO_FD; /* with one */
        hostile(request, v, &value, 8, &front.queues[0].call, 1);
        value = 0; /* without */
        hostile(request, v, &value, 8, NULL, 0);
        hostile(request, v, &value, 8, &front.memfd, 1); /* no eventfd */
        hostile(request, v, &value, 8, &fd, 1);
    }
    value = VHOST_USER_VRING_NO_FD; /* to be polled */
    hostile(VHOST_USER_SET_VRING_KICK, v, &value, 8, NULL, 0);
    value = 1ull << 63;
    hostile(VHOST_USER_SET_FEATURES, v, &value, 8, NULL, 0);
    value = 1ull << 26; /* VHOST_F_LOG_ALL */
    hostile(VHOST_USER_SET_FEATURES, v, &value, 8, NULL, 0);
    value = 1ull << 1; /* LOG_SHMFD */
    hostile(VHOST_USER_SET_PROTOCOL_FEATURES, v, &value, 8, NULL, 0);
    hostile(VHOST_USER_SET_BACKEND_REQ_FD, v, NULL, 0, &fd, 1); /* no socket */
    close(fd);
    fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    hostile(VHOST_USER_SET_BACKEND_REQ_FD, v, NULL, 0, &fd, 1);
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    hostile(VHOST_USER_SET_BACKEND_REQ_FD, v, NULL, 0, &fd, 1);
    close(fd);
    reconnect();
}
END_TEST

START_TEST(a_running_queue_does_not_change)
{
    const struct vhost_user_vring_addr addr = { .index = 0 };
    const struct vhost_user_vring_state state = { 0, 4 };
    const uint64_t features = VIRTIO_F_VERSION_1;

    front_start(&front, FRONT_FEATURES, 1, 64);
    /* The same again is nothing. */
    ck_assert_uint_eq(front_state(&front, VHOST_USER_SET_VRING_NUM, 0, 64), 0);
    ck_assert_uint_eq(front_state(&front, VHOST_USER_SET_VRING_BASE, 0, 0), 0);
    front_send(&front, VHOST_USER_SET_VRING_NUM, VHOST_USER_VERSION, &state, 8, NULL, 0);
    front_expect_end(&front);
    reconnect();
    front_start(&front, FRONT_FEATURES, 1, 64);
    front_send(&front, VHOST_USER_SET_VRING_BASE, VHOST_USER_VERSION, &state, 8, NULL, 0);
    front_expect_end(&front);
    reconnect();
    front_start(&front, FRONT_FEATURES, 1, 64);
    front_send(&front, VHOST_USER_SET_VRING_ADDR, VHOST_USER_VERSION, &addr, 40, NULL, 0);
    front_expect_end(&front);
    reconnect();
    front_start(&front, FRONT_FEATURES, 1, 64);
    front_send(&front, VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, &features, 8, NULL, 0);
    front_expect_end(&front);
}
END_TEST

static void both_stop(void)
{
    for (unsigned i = 0; i < 2; i++)
        front_queue_enable(&front, i, false);
    for (unsigned i = 0; i < 2; i++)
        (void)front_queue_stop(&front, i);
}

static void both_start(uint16_t base)
{
    const unsigned started = callee.started, reset = base == 0 ? 1 : 0;

    front_queue_set_up(&front, 0, 64, 0);
    front_queue_set_up(&front, 1, 64, base);
    ck_assert_uint_eq(callee.reset, reset); /* before anything runs */
    ck_assert_uint_eq(callee.started, started);
    for (unsigned i = 0; i < 2; i++)
        front_queue_enable(&front, i, true);
}

/* QEMU's generic device says nothing of a reset, but that rings begin at 0 again. */
START_TEST(a_reset_that_nobody_tells)
{
    front_start(&front, FRONT_FEATURES, 2, 64);
    guest_round_trip(&front, 1, 0, "before");
    both_stop();
    both_start(1); /* it was paused */
    guest_round_trip(&front, 1, 2, "behind it");
    ck_assert_uint_eq(callee.reset, 0);
    both_stop();
    ck_assert_uint_eq(callee.stopped, 2);
    guest_ring_clear(&front, 1);
    both_start(0);
    guest_round_trip(&front, 1, 0, "anew");
    ck_assert_uint_eq(callee.reset, 1);
}
END_TEST

/* Nor that the rings are other ones, where none had a request. */
START_TEST(another_ring_is_a_reset_too)
{
    front_start(&front, FRONT_FEATURES, 2, 64);
    both_stop();
    front_queue_set_up(&front, 0, 64, 0);
    front_queue_set_up(&front, 1, 64, 0);
    front_queue_set_up(&front, 2, 64, 0); /* there was none before */
    ck_assert_uint_eq(callee.reset, 0);
    front_queue_set_up(&front, 1, 32, 0);
    ck_assert_uint_eq(callee.reset, 1);
    front_queue_set_up(&front, 0, 32, 7); /* heard once */
    ck_assert_uint_eq(callee.reset, 1);
    for (unsigned i = 0; i < 2; i++)
        front_queue_enable(&front, i, true);
    guest_round_trip(&front, 1, 0, "anew");
    ck_assert_uint_eq(callee.started, 2);
}
END_TEST

/* Nor is the first that starts another one: it had no request. */
START_TEST(a_reset_when_a_queue_has_started)
{
    front_start(&front, FRONT_FEATURES, 2, 64);
    guest_round_trip(&front, 1, 0, "before");
    for (unsigned i = 0; i < 2; i++) /* they stay enabled */
        (void)front_queue_stop(&front, i);
    guest_ring_clear(&front, 1);
    front_queue_set_up(&front, 0, 64, 0);
    ck_assert_uint_eq(callee.started, 2);
    ck_assert_uint_eq(callee.reset, 0);
    front_queue_set_up(&front, 1, 64, 0);
    ck_assert_uint_eq(callee.reset, 1);
    ck_assert_uint_eq(callee.stopped, 2);
    ck_assert_uint_eq(callee.started, 3);
    guest_round_trip(&front, 0, 0, "both");
    guest_round_trip(&front, 1, 0, "anew");
    /* And if the guest has begun, that is no reset of it. */
    for (unsigned i = 0; i < 2; i++)
        (void)front_queue_stop(&front, i);
    guest_ring_clear(&front, 1);
    front_queue_set_up(&front, 0, 64, 1);
    guest_round_trip(&front, 0, 2, "first");
    front_queue_set_up(&front, 1, 64, 0);
    guest_round_trip(&front, 1, 0, "second");
    guest_round_trip(&front, 0, 4, "first again");
    ck_assert_uint_eq(callee.reset, 1);
    ck_assert_uint_eq(callee.stopped, 3); /* it was paused, and went on at once */
    ck_assert_uint_eq(callee.started, 4);
}
END_TEST

START_TEST(a_message_in_pieces)
{
    const struct vhost_user_header header = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };
    const uint64_t features = FRONT_FEATURES;
    struct vhost_user_header set = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8 };
    uint8_t bytes[sizeof(set) + sizeof(features)];

    memcpy(bytes, &set, sizeof(set));
    memcpy(bytes + sizeof(set), &features, sizeof(features));
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        ck_assert_int_eq(send(front.fd, bytes + i, 1, 0), 1);
        usleep(500);
    }
    /* And two at once. */
    ck_assert_int_eq(send(front.fd, &header, sizeof(header), 0), sizeof(header));
    (void)front_get(&front, VHOST_USER_GET_FEATURES);
    reconnect();
    ck_assert_int_eq(send(front.fd, bytes, 7, 0), 7);
    reconnect(); /* gone in the middle */
    callee_wait(&callee, &callee.gone, 2);
    (void)front_get(&front, VHOST_USER_GET_FEATURES);
}
END_TEST

/* A VMM that takes no answers does not keep the device from being stopped, nor others from being
 * refused. */
START_TEST(a_vmm_that_takes_no_answers)
{
    const struct vhost_user_header header = { VHOST_USER_GET_SHMEM_CONFIG, VHOST_USER_VERSION, 0 };
    unsigned sent = 0;

    callee_wait(&callee, &callee.connected, 1);
    while (send(front.fd, &header, sizeof(header), MSG_DONTWAIT) == sizeof(header) && sent < 100000)
        sent++;
    usleep(20000);
    vhost_device_drop(callee.device, "of a test");
    callee_wait(&callee, &callee.gone, 1);
    reconnect();
    (void)front_get(&front, VHOST_USER_GET_FEATURES);
}
END_TEST

START_TEST(the_log_is_not_filled)
{
    int file = memfd_create("log", MFD_CLOEXEC), stderr_fd = dup(STDERR_FILENO);
    unsigned lines = 0;

    log_set_level(LOG_LEVEL_INFO);
    ck_assert_int_ge(dup2(file, STDERR_FILENO), 0);
    for (unsigned i = 1; i <= 100; i++) {
        reconnect();
        front_send(&front, 99, VHOST_USER_VERSION, NULL, 0, NULL, 0);
        front_expect_end(&front);
        callee_wait(&callee, &callee.gone, i);
    }
    ck_assert_int_ge(dup2(stderr_fd, STDERR_FILENO), 0);
    close(stderr_fd);
    FILE *log = fdopen(file, "r");
    ck_assert_int_eq(fseek(log, 0, SEEK_SET), 0);
    for (int c = getc(log); c != EOF; c = getc(log))
        lines += c == '\n';
    ck_assert_uint_ge(lines, 10); /* so that something is heard of it */
    ck_assert_uint_le(lines, 60);
    fclose(log);
}
END_TEST

START_TEST(one_vmm_at_a_time)
{
    struct front other;

    front_start(&front, FRONT_FEATURES, 1, 64);
    for (int i = 0; i < 3; i++) {
        front_open(&other, path);
        front_expect_end(&other);
        front_close(&other);
    }
    guest_request(&front, 0, 0, "still here", 16);
    guest_kick(&front, 0);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).length), 10);
    for (int i = 0; i < 20; i++) {
        reconnect(); /* at once: the first one's end is seen before the second one's beginning */
        guest_ring_clear(&front, 0);
        front_start(&front, FRONT_FEATURES, 1, 64);
        guest_request(&front, 0, 0, "again", 16);
        guest_kick(&front, 0);
        ck_assert_uint_eq(le32_get(guest_used(&front, 0).length), 5);
    }
    ck_assert_uint_eq(callee.connected, 21);
    ck_assert_uint_eq(callee.gone, 20);
}
END_TEST

START_TEST(dropped_from_another_thread)
{
    front_start(&front, FRONT_FEATURES, 1, 64);
    vhost_device_drop(callee.device, "of a test");
    front_expect_end(&front);
    callee_wait(&callee, &callee.gone, 1);
    ck_assert_uint_eq(callee.stopped, 1);
    reconnect();
    front_handshake(&front, FRONT_FEATURES);
}
END_TEST

/* ---- memory ------------------------------------------------------------------------------ */

static void memory_expect_end(const struct vhost_user_memory *table, uint32_t size, const int *fds,
                              unsigned count)
{
    reconnect();
    front_handshake(&front, FRONT_FEATURES);
    front_send(&front, VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, table, size, fds, count);
    front_expect_end(&front);
}

START_TEST(memory_tables_that_may_not_be)
{
    struct vhost_user_memory table;
    int fds[2] = { front.memfd, front.memfd };
    int read_only, pipe_fds[2];
    char name[64];

    front_fill_memory(&table);
    memory_expect_end(&table, 8 + 32, fds, 2);
    memory_expect_end(&table, 8 + 64, fds, 1);
    ck_assert_uint_eq(callee.regions, 0);
    table.count = 0;
    memory_expect_end(&table, 8, fds, 0);
    table.count = 9;
    memory_expect_end(&table, sizeof(table), fds, 2);
    table.count = 0xffffffff;
    memory_expect_end(&table, 8 + 64, fds, 2);
    front_fill_memory(&table);
    table.regions[1].size = 0;
    memory_expect_end(&table, 8 + 64, fds, 2);
    front_fill_memory(&table);
    table.regions[1].guest_address -= 1; /* overlaps */
    memory_expect_end(&table, 8 + 64, fds, 2);
    front_fill_memory(&table);
    table.regions[1].guest_address = 0 - FRONT_REGION + 4096;
    memory_expect_end(&table, 8 + 64, fds, 2);
    front_fill_memory(&table);
    table.regions[1].user_address = UINT64_MAX;
    memory_expect_end(&table, 8 + 64, fds, 2);
    front_fill_memory(&table);
    table.regions[1].fd_offset = UINT64_MAX - 4095;
    memory_expect_end(&table, 8 + 64, fds, 2);
    front_fill_memory(&table);
    table.regions[0].fd_offset += 4096; /* beyond the file */
    memory_expect_end(&table, 8 + 64, fds, 2);
    front_fill_memory(&table);
    table.regions[1].size = INT64_MAX;
    memory_expect_end(&table, 8 + 64, fds, 2);
    front_fill_memory(&table);
    ck_assert_int_eq(pipe(pipe_fds), 0);
    fds[1] = pipe_fds[0];
    memory_expect_end(&table, 8 + 64, fds, 2);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", front.memfd);
    read_only = open(name, O_RDONLY);
    ck_assert_int_ge(read_only, 0);
    fds[1] = read_only;
    memory_expect_end(&table, 8 + 64, fds, 2);
    close(read_only);
    fds[1] = front.memfd;
    /* Eight regions, and a ninth descriptor, which does not arrive. */
    int nine[9];
    table.count = 8;
    for (unsigned i = 0; i < 8; i++)
        table.regions[i] = (struct vhost_user_region){ .guest_address = i * 8192ull,
                                                       .size = 4096,
                                                       .user_address = FRONT_USER + i * 8192,
                                                       .fd_offset = i * 4096 };
    for (unsigned i = 0; i < 9; i++)
        nine[i] = front.memfd;
    memory_expect_end(&table, 8 + 8 * 32, nine, 9);
    reconnect();
    ck_assert_uint_eq(front_ask(&front, VHOST_USER_SET_MEM_TABLE, &table, 8 + 8 * 32, nine, 8), 0);
    front_fill_memory(&table);
    callee.region_error = -EPERM; /* what is above us does not want it */
    memory_expect_end(&table, 8 + 64, fds, 2);
    callee.region_error = 0;
    reconnect();
    front_start(&front, FRONT_FEATURES, 1, 64);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}
END_TEST

static struct vhost_memory *table_make(const struct vhost_user_memory *message, const int *fds,
                                       const struct vhost_memory *old)
{
    struct vhost_memory *memory;
    const char *why = NULL;

    ck_assert_int_eq(vhost_memory_create(message, fds, NULL, NULL, old, &memory, &why), 0);
    return memory;
}

START_TEST(the_same_region_keeps_its_mapping)
{
    int other = memfd_create("other", 0);
    const int fds[2] = { front.memfd, front.memfd }, others[2] = { other, front.memfd };
    struct vhost_user_memory message;
    struct vhost_memory *first, *second, *third;
    const uint64_t far = front_user(FRONT_GUEST + FRONT_REGION);
    uint64_t length;

    ck_assert_int_eq(ftruncate(other, 2 * FRONT_REGION), 0);
    front_fill_memory(&message);
    first = table_make(&message, fds, NULL);
    second = table_make(&message, fds, first);
    ck_assert_ptr_eq(first->regions[0].base, second->regions[0].base);
    ck_assert_ptr_eq(first->regions[1].base, second->regions[1].base);
    third = table_make(&message, others, second);
    ck_assert_ptr_ne(third->regions[0].base, second->regions[0].base);
    ck_assert_ptr_eq(third->regions[1].base, second->regions[1].base);
    vhost_memory_put(third);
    message.regions[0].fd_offset -= 4096;
    third = table_make(&message, fds, second);
    ck_assert_ptr_ne(third->regions[0].base, second->regions[0].base);
    vhost_memory_put(first);
    vhost_memory_put(third);
    /* The mappings live with the last table. */
    *(uint8_t *)front_at(&front, FRONT_GUEST + 5) = 'x';
    ck_assert_int_eq(*vhost_memory_find(second, FRONT_GUEST + 5, 100, &length), 'x');
    ck_assert_uint_eq(length, 100);
    ck_assert_ptr_nonnull(vhost_memory_find(second, FRONT_GUEST + FRONT_REGION - 7, 100, &length));
    ck_assert_uint_eq(length, 7);
    ck_assert_ptr_null(vhost_memory_find(second, FRONT_GUEST - 1, 2, &length));
    ck_assert_ptr_null(vhost_memory_find(second, FRONT_END, 1, &length));
    ck_assert_ptr_null(vhost_memory_find(second, UINT64_MAX, UINT64_MAX, &length));
    ck_assert_ptr_nonnull(vhost_memory_find(second, FRONT_END - 1, UINT64_MAX, &length));
    ck_assert_uint_eq(length, 1);
    ck_assert_ptr_nonnull(vhost_memory_find_user(second, FRONT_USER, FRONT_REGION));
    ck_assert_ptr_null(vhost_memory_find_user(second, FRONT_USER, FRONT_REGION + 1));
    ck_assert_ptr_null(vhost_memory_find_user(second, FRONT_USER + 1, UINT64_MAX));
    ck_assert_ptr_null(vhost_memory_find_user(second, FRONT_USER - 1, 1));
    ck_assert_ptr_nonnull(vhost_memory_find_user(second, far + FRONT_REGION - 16, 16));
    ck_assert_ptr_null(vhost_memory_find_user(second, far + FRONT_REGION - 16, 17));
    vhost_memory_put(second);
    close(other);
}
END_TEST

START_TEST(no_descriptor_stays_open)
{
    unsigned before;

    front_start(&front, FRONT_FEATURES, 1, 64);
    guest_round_trip(&front, 0, 0, "its thread has its own by now");
    before = fds_open();
    for (unsigned i = 0; i < 20; i++) {
        front_set_memory(&front);
        front_queue_set_up(&front, 0, 64, front_queue_stop(&front, 0));
    }
    guest_round_trip(&front, 0, 0, "and it has the last one"); /* the thread closed the others */
    (void)front_get(&front, VHOST_USER_GET_FEATURES);
    fds_expect(before);
}
END_TEST

/* ---- the socket -------------------------------------------------------------------------- */

static int open_at(const char *where, int fd, struct vhost_device **ret_device)
{
    const struct vhost_options options = { .path = where,
                                           .fd = fd,
                                           .group = getgid(),
                                           .name = "second",
                                           .queues = 1,
                                           .ops = &callee.ops,
                                           .arg = &callee };
    char *message = NULL;
    int r = vhost_device_open(&options, ret_device, &message);

    ck_assert(r == 0 || message);
    free(message);
    return r;
}

START_TEST(the_socket_file)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/tmp/test_vhost.stale" };
    struct vhost_device *device;
    struct stat stat_of;
    char longer[200];
    int fd;

    ck_assert_int_eq(stat(path, &stat_of), 0);
    ck_assert_int_eq(stat_of.st_mode & 0777, 0600);
    ck_assert_int_eq(open_at(path, -1, &device), -EADDRINUSE);
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = 0;
    ck_assert_int_eq(open_at(longer, -1, &device), -ENAMETOOLONG);
    ck_assert_int_eq(open_at("/nowhere/at/all", -1, &device), -ENOENT);
    unlink(address.sun_path);
    fd = open(address.sun_path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    ck_assert_int_eq(open_at(address.sun_path, -1, &device), -EEXIST);
    unlink(address.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd); /* stale */
    ck_assert_int_eq(open_at(address.sun_path, -1, &device), 0);
    ck_assert_int_eq(stat(address.sun_path, &stat_of), 0);
    ck_assert_int_eq(stat_of.st_mode & 0777, 0660);
    vhost_device_close(device);
    ck_assert_int_eq(access(address.sun_path, F_OK), -1);
    ck_assert_int_eq(open_at(NULL, memfd_create("none", 0), &device), -EINVAL);
    ck_assert_int_eq(open_at(NULL, -1, &device), -EINVAL);
}
END_TEST

START_TEST(a_socket_that_is_given)
{
    struct vhost_device *device;
    struct front other = { 0 };
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(open_at(NULL, pair[0], &device), 0);
    ck_assert_int_eq(vhost_device_start(device), 0);
    other.fd = pair[1];
    (void)front_get(&other, VHOST_USER_GET_FEATURES);
    vhost_device_stop(device);
    front_expect_end(&other);
    vhost_device_close(device);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, handshake_as_qemu_does_it);
    tcase_add_test(tcase, configuration_in_parts);
    tcase_add_test(tcase, refused_but_alive);
    tcase_add_test(tcase, every_message_with_wrong_sizes_and_descriptors);
    tcase_add_test(tcase, numbers_that_may_not_be);
    tcase_add_test(tcase, a_running_queue_does_not_change);
    tcase_add_test(tcase, a_reset_that_nobody_tells);
    tcase_add_test(tcase, another_ring_is_a_reset_too);
    tcase_add_test(tcase, a_reset_when_a_queue_has_started);
    tcase_add_test(tcase, a_message_in_pieces);
    tcase_add_test(tcase, a_vmm_that_takes_no_answers);
    tcase_add_test(tcase, the_log_is_not_filled);
    tcase_add_test(tcase, one_vmm_at_a_time);
    tcase_add_test(tcase, dropped_from_another_thread);
    tcase_add_test(tcase, memory_tables_that_may_not_be);
    tcase_add_test(tcase, the_same_region_keeps_its_mapping);
    tcase_add_test(tcase, no_descriptor_stays_open);
    tcase_add_test(tcase, the_socket_file);
    tcase_add_test(tcase, a_socket_that_is_given);
}

int main(void)
{
    return suite_run("vhost_message", 60, fixture_setup, fixture_teardown, add);
}
