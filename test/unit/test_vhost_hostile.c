/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/vhost: what a hostile guest puts into its rings, and memory that goes away. */
#include "suite.h"
#include "vhost_fixture.h"

#include "base/clock.h"
#include "transport/vhost/memory.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
    tcase_add_test(tcase, memory_is_cut_during_an_access);
    tcase_add_test(tcase, memory_is_cut_under_the_ring);
    tcase_add_test(tcase, memory_is_cut_under_an_empty_ring);
    tcase_add_test(tcase, memory_is_cut_under_the_used_ring);
}

int main(void)
{
    return suite_run("vhost_hostile", 30, fixture_setup, fixture_teardown, add);
}
