/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/vhost: requests in and out, notifications, queues that stop and go on. */
#include "vhost_fixture.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void setup_poll(void)
{
    front_no_uring = true;
    fixture_setup();
}

START_TEST(requests_in_and_out)
{
    char text[16];

    front_start(&front, FRONT_FEATURES, FRONT_QUEUES, 8);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(text, sizeof(text), "request %u", i);
        guest_round_trip(&front, i % FRONT_QUEUES, i % 4 * 2, text);
        ck_assert(event_wait(front.queues[i % FRONT_QUEUES].call, FRONT_TIMEOUT_MS));
    }
    ck_assert_uint_eq(callee.started, 1);
}
END_TEST

/* Many at once, in one kick, more often than the ring has places; indices wrap past 65535. */
START_TEST(a_ring_that_is_always_full)
{
    front_handshake(&front, FRONT_FEATURES);
    front_set_memory(&front);
    front.queues[0].avail_index = front.queues[0].last_used = 65530;
    front.queues[0].avail->index = front.queues[0].used->index = le16_make(65530);
    front_queue_set_up(&front, 0, 16, 65530);
    front_queue_enable(&front, 0, true);
    for (unsigned i = 0; i < 20; i++) {
        front.buffer = FRONT_BUFFERS;
        for (uint16_t desc = 0; desc < 16; desc += 2)
            guest_request(&front, 0, desc, "abc", 3);
        guest_kick(&front, 0);
        for (unsigned n = 0; n < 8; n++)
            ck_assert_uint_eq(le32_get(guest_used(&front, 0).length), 3);
    }
    ck_assert_uint_eq(front_queue_stop(&front, 0), (65530 + 160) % 65536);
}
END_TEST

START_TEST(indirect_descriptors)
{
    struct vhost_request *request;
    uint64_t table, in, out;
    unsigned all;

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    in = guest_buffer(&front, 100);
    out = guest_buffer(&front, 100);
    memcpy(front_at(&front, in), "onetwothree", 11);
    /* The table lies across the two regions, which are not together here; and not in order. */
    table = FRONT_GUEST + FRONT_REGION - 2 * 16 - 8;
    for (unsigned i = 0; i < 5; i++) {
        struct vring_desc desc[5] = {
            { le64_make(in), le32_make(3), le16_make(VRING_DESC_NEXT), le16_make(3) },
            { le64_make(out), le32_make(5), le16_make(VRING_DESC_WRITE | VRING_DESC_NEXT),
              le16_make(2) },
            { le64_make(out + 5), le32_make(6), le16_make(VRING_DESC_WRITE), le16_make(99) },
            { le64_make(in + 3), le32_make(0), le16_make(VRING_DESC_NEXT), le16_make(4) },
            { le64_make(in + 3), le32_make(8), le16_make(VRING_DESC_NEXT), le16_make(1) },
        };
        for (unsigned byte = 0; byte < 16; byte++)
            *(uint8_t *)front_at(&front, table + i * 16 + byte) = ((uint8_t *)&desc[i])[byte];
    }
    /* Behind a direct one. */
    guest_desc(&front, 0, 0, in, 2, VRING_DESC_NEXT, 5);
    guest_desc(&front, 0, 5, table, 5 * 16, VRING_DESC_INDIRECT, 0);
    guest_avail(&front, 0, 0);
    guest_kick(&front, 0);
    request = callee_take(&callee);
    ck_assert_uint_eq(vhost_request_entries(request, &all),
                      2); /* the table is no part of the ring */
    ck_assert_uint_eq(all, 8);
    callee_answer(&callee, request);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).length), 11);
    ck_assert_mem_eq(front_at(&front, out), "popofuxpuis", 11);
}
END_TEST

/* Buffers in both regions: in our memory one is not behind the other. */
START_TEST(a_buffer_across_regions)
{
    const uint64_t in = FRONT_GUEST + FRONT_REGION - 3, out = FRONT_GUEST + FRONT_REGION - 1;
    struct vhost_request *request;
    struct iovec vector[4];
    char bytes[8];
    unsigned all;

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    for (unsigned i = 0; i < 6; i++)
        *(char *)front_at(&front, in + i) = (char)('a' + i);
    guest_desc(&front, 0, 0, in, 6, VRING_DESC_NEXT, 1);
    guest_desc(&front, 0, 1, in, 0, VRING_DESC_NEXT, 2);
    guest_desc(&front, 0, 2, FRONT_BUFFERS, 4, VRING_DESC_NEXT, 3);
    guest_desc(&front, 0, 3, FRONT_BUFFERS + 4, 4, VRING_DESC_NEXT, 4);
    guest_desc(&front, 0, 4, out, 4, VRING_DESC_WRITE, 0);
    guest_avail(&front, 0, 0);
    guest_kick(&front, 0);
    request = callee_take(&callee);
    ck_assert_uint_eq(vhost_request_queue(request), 0);
    ck_assert_uint_eq(vhost_request_in(request), 14);
    ck_assert_uint_eq(vhost_request_out(request), 4);
    ck_assert_uint_eq(vhost_request_entries(request, &all), 5);
    ck_assert_uint_eq(all, 8);
    ck_assert_ptr_null(*vhost_request_user(request));
    ck_assert_int_eq(vhost_access_begin(request), 0);
    ck_assert_int_eq(vhost_read(request, 1, bytes, 5), 0);
    ck_assert_mem_eq(bytes, "bcdef", 5);
    ck_assert_int_eq(vhost_read(request, 14, bytes, 0), 0);
    ck_assert_int_eq(vhost_read(request, 14, bytes, 1), -EINVAL);
    ck_assert_int_eq(vhost_read(request, 15, bytes, 0), -EINVAL);
    ck_assert_int_eq(vhost_read(request, 1, bytes, SIZE_MAX), -EINVAL);
    ck_assert_int_eq(vhost_read(request, SIZE_MAX, bytes, 2), -EINVAL);
    ck_assert_int_eq(vhost_write(request, 0, "WXYZ", 4), 0);
    ck_assert_int_eq(vhost_write(request, 1, "WXYZ", 4), -EINVAL);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(*(char *)front_at(&front, out + i), "WXYZ"[i]);
    /* Two pieces of the first buffer, and the last two buffers as one. */
    ck_assert_int_eq(vhost_vector_in(request, 0, 14, vector, 4), 3);
    ck_assert_uint_eq(vector[0].iov_len, 3);
    ck_assert_uint_eq(vector[1].iov_len, 3);
    ck_assert_uint_eq(vector[2].iov_len, 8);
    ck_assert_int_eq(vhost_vector_in(request, 0, 14, vector, 2), -E2BIG);
    ck_assert_int_eq(vhost_vector_in(request, 2, 2, vector, 4), 2);
    /* The answer was written over it. */
    ck_assert_int_eq(*(char *)vector[0].iov_base, 'W');
    ck_assert_int_eq(*(char *)vector[1].iov_base, 'X');
    ck_assert_int_eq(vhost_vector_in(request, 6, 4, vector, 4), 1);
    ck_assert_int_eq(vhost_vector_out(request, 0, 4, vector, 4), 2);
    ck_assert_int_eq(vhost_vector_out(request, 4, 0, vector, 4), 0);
    ck_assert_int_eq(vhost_vector_out(request, 4, 1, vector, 4), -EINVAL);
    ck_assert_int_eq(vhost_access_end(request), 0);
    vhost_complete(request, 4);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).length), 4);
}
END_TEST

START_TEST(addresses_outside_of_memory)
{
    struct vhost_request *request;
    struct iovec vector[4];
    char bytes[6000];

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    memset(callee.outside_bytes, 'o', sizeof(callee.outside_bytes));
    guest_desc(&front, 0, 0, CALLEE_OUTSIDE + 100, 6000, VRING_DESC_NEXT, 1);
    guest_desc(&front, 0, 1, 0x1000, 16, VRING_DESC_NEXT, 2); /* nobody's */
    guest_desc(&front, 0, 2, FRONT_END - 8, 16, VRING_DESC_WRITE, 0);
    guest_avail(&front, 0, 0);
    guest_kick(&front, 0);
    request = callee_take(&callee);
    ck_assert_int_eq(vhost_access_begin(request), 0);
    ck_assert_int_eq(vhost_read(request, 0, bytes, 6000), 0);
    ck_assert_int_eq(bytes[5999], 'o');
    ck_assert_uint_eq(callee.outside_open, 0);
    ck_assert_int_eq(vhost_read(request, 5990, bytes, 11), -EFAULT);
    ck_assert_int_eq(vhost_write(request, 0, bytes, 8), 0);
    ck_assert_int_eq(vhost_write(request, 0, bytes, 9), -EFAULT);
    /* The callee's pages follow each other, so that there is one element, and two that are open. */
    ck_assert_int_eq(vhost_vector_in(request, 0, 6000, vector, 4), 1);
    ck_assert_uint_eq(callee.outside_open, 2);
    ck_assert_int_eq(vhost_vector_in(request, 0, 6001, vector, 4), -EFAULT);
    ck_assert_int_eq(vhost_access_end(request), 0);
    ck_assert_uint_eq(callee.outside_open, 0);
    vhost_complete(request, 0);
    guest_used(&front, 0);
}
END_TEST

START_TEST(a_region_that_is_left_out)
{
    callee.region_leave_out = FRONT_GUEST + FRONT_REGION;
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_desc(&front, 0, 0, FRONT_GUEST + FRONT_REGION - 4, 8, VRING_DESC_NEXT, 1);
    guest_desc(&front, 0, 1, FRONT_BUFFERS, 8, VRING_DESC_WRITE, 0);
    guest_avail(&front, 0, 0);
    guest_kick(&front, 0);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).length), 0);
    callee_wait(&callee, &callee.requests, 1);
    ck_assert_int_eq(callee.error, -EFAULT);
}
END_TEST

/* ---- notifications ----------------------------------------------------------------------- */

START_TEST(no_call_for_who_wants_none)
{
    front_start(&front, FRONT_FEATURES, 1, 8);
    front.queues[0].avail->flags = le16_make(VRING_AVAIL_NO_INTERRUPT);
    guest_round_trip(&front, 0, 0, "quiet");
    ck_assert(!event_wait(front.queues[0].call, 20));
    __atomic_store_n(&front.queues[0].avail->flags.raw, 0, __ATOMIC_SEQ_CST);
    guest_round_trip(&front, 0, 2, "loud");
    ck_assert(event_wait(front.queues[0].call, FRONT_TIMEOUT_MS));
}
END_TEST

static le16 *guest_used_event(void)
{
    return &front.queues[0].avail->ring[front.queues[0].size];
}

static uint16_t guest_avail_event(void)
{
    le16 *place = (le16 *)&front.queues[0].used->ring[front.queues[0].size];

    return le16toh(__atomic_load_n(&place->raw, __ATOMIC_SEQ_CST));
}

START_TEST(event_index)
{
    struct vhost_request *requests[3];

    front_start(&front, FRONT_FEATURES | VIRTIO_F_EVENT_IDX, 1, 8);
    *guest_used_event() = le16_make(1); /* after the second one */
    /* Flags mean nothing then. */
    front.queues[0].avail->flags = le16_make(VRING_AVAIL_NO_INTERRUPT);
    guest_round_trip(&front, 0, 0, "one");
    ck_assert(!event_wait(front.queues[0].call, 20));
    guest_round_trip(&front, 0, 2, "two");
    ck_assert(event_wait(front.queues[0].call, FRONT_TIMEOUT_MS));
    guest_round_trip(&front, 0, 0, "three");
    ck_assert(!event_wait(front.queues[0].call, 20));
    ck_assert_uint_eq(le16_get(front.queues[0].used->flags), 0);
    /* When it waits, it wants to be kicked for the next one; not while it is busy. */
    for (int i = 0; guest_avail_event() != 3; i++) {
        ck_assert_int_lt(i, 1000);
        usleep(1000);
    }
    callee_hold(&callee, true);
    for (uint16_t desc = 0; desc < 6; desc += 2)
        guest_request(&front, 0, desc, "held", 8);
    guest_kick(&front, 0);
    for (unsigned i = 0; i < 3; i++)
        requests[i] = callee_take(&callee);
    for (int i = 0; guest_avail_event() != 6; i++) {
        ck_assert_int_lt(i, 1000);
        usleep(1000);
    }
    for (unsigned i = 0; i < 3; i++)
        callee_answer(&callee, requests[2 - i]);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).id), 4);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).id), 2);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).id), 0);
}
END_TEST

/* A driver that kicks only when it must, with two threads' worth of requests: nobody sleeps for
 * ever. */
static void suppressed(uint64_t features)
{
    front_start(&front, features, 1, 8);
    for (unsigned i = 0; i < 3000; i++) {
        uint16_t old = front.queues[0].avail_index;
        bool kick;

        front.buffer = FRONT_BUFFERS;
        guest_request(&front, 0, i % 2 * 2, "x", 1);
        if (features & VIRTIO_F_EVENT_IDX)
            kick = guest_avail_event() == old;
        else
            kick = !(__atomic_load_n(&front.queues[0].used->flags.raw, __ATOMIC_SEQ_CST) &
                     htole16(VRING_USED_NO_NOTIFY));
        if (kick)
            guest_kick(&front, 0);
        if (i % 3)
            while (!guest_has_used(&front, 0) && i % 3 == 1)
                ;
        guest_used(&front, 0);
    }
}

START_TEST(kicks_only_when_they_must_be)
{
    suppressed(FRONT_FEATURES);
}
END_TEST

START_TEST(kicks_only_when_they_must_be_by_index)
{
    suppressed(FRONT_FEATURES | VIRTIO_F_EVENT_IDX);
}
END_TEST

/* ---- stopping ---------------------------------------------------------------------------- */

START_TEST(stop_and_go_on_with_requests_under_way)
{
    struct vhost_request *request[3];

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 2, 8);
    for (uint16_t desc = 0; desc < 6; desc += 2)
        guest_request(&front, 0, desc, "held", 8);
    guest_kick(&front, 0);
    for (unsigned i = 0; i < 3; i++)
        request[i] = callee_take(&callee);
    vhost_complete(request[1], 0);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).id), 2);
    front_queue_enable(&front, 0, false);
    front_queue_enable(&front, 1, false);
    ck_assert_uint_eq(callee.stopped, 1);
    ck_assert_int_eq(vhost_access_begin(request[0]), -ECANCELED);
    ck_assert_uint_eq(front_queue_stop(&front, 0), 3);
    ck_assert_uint_eq(front_queue_stop(&front, 1), 0);
    ck_assert_uint_eq(callee.stopped, 1);
    ck_assert_int_eq(vhost_access_begin(request[0]), -ECANCELED);
    vhost_complete(request[0], 7); /* while it stands */
    usleep(10000);
    ck_assert(!guest_has_used(&front, 0));
    while (event_wait(front.queues[0].call, 0))
        ;
    /* It goes on, with another table of the same memory. */
    front_set_memory(&front);
    front_queue_set_up(&front, 0, 8, 3);
    front_queue_set_up(&front, 1, 8, 0);
    front_queue_enable(&front, 0, true);
    front_queue_enable(&front, 1, true);
    ck_assert_uint_eq(callee.started, 2);
    struct vring_used_elem used = guest_used(&front, 0);
    ck_assert_uint_eq(le32_get(used.id), 0);
    ck_assert_uint_eq(le32_get(used.length), 7);
    ck_assert(event_wait(front.queues[0].call, FRONT_TIMEOUT_MS));
    ck_assert_int_eq(callee_answer(&callee, request[2]), 0);
    used = guest_used(&front, 0);
    ck_assert_uint_eq(le32_get(used.id), 4);
    ck_assert_uint_eq(le32_get(used.length), 4);
    callee_hold(&callee, false);
    guest_round_trip(&front, 0, 2, "and on");
    guest_round_trip(&front, 1, 2, "and on");
}
END_TEST

/* What made the ring another one: its requests go nowhere, at whatever time they are completed. */
static void restart_anew(void (*change)(void))
{
    struct vhost_request *request[2];

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    for (uint16_t desc = 0; desc < 4; desc += 2)
        guest_request(&front, 0, desc, "held", 8);
    guest_kick(&front, 0);
    request[0] = callee_take(&callee);
    request[1] = callee_take(&callee);
    ck_assert_uint_eq(front_queue_stop(&front, 0), 2);
    vhost_complete(request[0], 1);
    callee_hold(&callee, false);
    change();
    front_queue_enable(&front, 0, true);
    ck_assert_int_eq(vhost_access_begin(request[1]), -ESTALE);
    vhost_complete(request[1], 1);
    usleep(10000);
    ck_assert(!guest_has_used(&front, 0));
    guest_round_trip(&front, 0, 2, "anew");
    ck_assert(!guest_has_used(&front, 0));
}

static void change_base(void)
{
    guest_ring_clear(&front, 0);
    front_queue_set_up(&front, 0, 8, 0);
}

static void avail_is(uint16_t index)
{
    guest_ring_clear(&front, 0);
    front.queues[0].avail_index = index;
    front.queues[0].avail->index = le16_make(index);
}

/* As after a reset behind 65536 requests: the base is the same by chance. */
static void change_used(void)
{
    avail_is(2);
    front.queues[0].used->index = le16_make(2);
    front.queues[0].last_used = 2;
    front_queue_set_up(&front, 0, 8, 2);
}

static void change_size(void)
{
    avail_is(2);
    front_queue_set_up(&front, 0, 16, 2);
}

static void change_device(void)
{
    ck_assert_uint_eq(callee.reset, 0);
    ck_assert_uint_eq(front_ask(&front, VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0), 0);
    ck_assert_uint_eq(callee.reset, 1);
    avail_is(2); /* all as it was, but for the message */
    front_queue_set_up(&front, 0, 8, 2);
}

START_TEST(another_base_is_a_new_ring)
{
    restart_anew(change_base);
}
END_TEST

START_TEST(another_used_index_is_a_new_ring)
{
    restart_anew(change_used);
}
END_TEST

START_TEST(another_size_is_a_new_ring)
{
    restart_anew(change_size);
}
END_TEST

START_TEST(a_reset_is_a_new_ring)
{
    restart_anew(change_device);
}
END_TEST

START_TEST(a_reset_stops_running_queues)
{
    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 2, 8);
    guest_request(&front, 0, 0, "held", 8);
    guest_kick(&front, 0);
    callee_wait(&callee, &callee.held_count, 1);
    ck_assert_uint_eq(front_ask(&front, VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0), 0);
    ck_assert_uint_eq(callee.stopped, 1);
    ck_assert_int_eq(vhost_access_begin(callee.held[0]), -ESTALE);
}
END_TEST

static void *end_access_later(void *arg)
{
    usleep(100000);
    ck_assert_int_eq(vhost_access_end(arg), 0);
    return NULL;
}

START_TEST(a_stop_waits_for_accesses)
{
    struct vhost_request *request;
    struct vhost_user_vring_state state = { 0, 0 };
    struct vhost_user_header header;
    char bytes[4];
    pthread_t thread;

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_request(&front, 0, 0, "held", 8);
    guest_kick(&front, 0);
    request = callee_take(&callee);
    ck_assert_int_eq(vhost_access_begin(request), 0);
    front_send(&front, VHOST_USER_GET_VRING_BASE, VHOST_USER_VERSION, &state, 8, NULL, 0);
    usleep(20000);
    ck_assert_int_eq(recv(front.fd, bytes, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    ck_assert_uint_eq(callee.stopped, 0);
    ck_assert_int_eq(vhost_read(request, 0, bytes, 4), 0);
    ck_assert_mem_eq(bytes, "held", 4);
    pthread_create(&thread, NULL, end_access_later, request);
    ck_assert(front_receive(&front, &header, &state, sizeof(state)));
    ck_assert_uint_eq(state.num, 1);
    pthread_join(thread, NULL);
    vhost_complete(request, 0);
}
END_TEST

/* The table may change in the middle of an access, which keeps the one that it has. */
START_TEST(a_table_that_changes_during_an_access)
{
    struct vhost_request *request;
    char bytes[4];

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_request(&front, 0, 0, "held", 8);
    guest_kick(&front, 0);
    request = callee_take(&callee);
    ck_assert_int_eq(vhost_access_begin(request), 0);
    callee.region_leave_out = FRONT_GUEST; /* with the ring */
    front_set_memory(&front);
    ck_assert(event_wait(front.queues[0].err, FRONT_TIMEOUT_MS));
    ck_assert_int_eq(vhost_read(request, 0, bytes, 4), 0);
    ck_assert_mem_eq(bytes, "held", 4);
    ck_assert_int_eq(vhost_access_end(request), 0);
    ck_assert_int_eq(vhost_access_begin(request), -ECANCELED);
    vhost_complete(request, 0);
}
END_TEST

START_TEST(gone_with_requests_under_way)
{
    struct vhost_request *request[2];

    callee_hold(&callee, true);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_request(&front, 0, 0, "held", 8);
    guest_request(&front, 0, 2, "held", 8);
    guest_kick(&front, 0);
    request[0] = callee_take(&callee);
    request[1] = callee_take(&callee);
    close(front.fd);
    callee_wait(&callee, &callee.gone, 1);
    ck_assert_uint_eq(callee.stopped, 1);
    ck_assert_int_eq(vhost_access_begin(request[0]), -ESTALE);
    vhost_complete(request[0], 4);
    callee_hold(&callee, false);
    front_connect(&front, path);
    guest_ring_clear(&front, 0);
    front_start(&front, FRONT_FEATURES, 1, 8);
    ck_assert_int_eq(vhost_access_begin(request[1]), -ESTALE);
    vhost_complete(request[1], 4);
    guest_round_trip(&front, 0, 4, "the next one");
    ck_assert(!guest_has_used(&front, 0));
}
END_TEST

START_TEST(without_protocol_features)
{
    const uint64_t features = VIRTIO_F_VERSION_1;

    /* Such a VMM enables nothing. */
    front_send(&front, VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, &features, 8, NULL, 0);
    front_set_memory(&front);
    front_queue_set_up(&front, 0, 8, 0);
    guest_round_trip(&front, 0, 0, "simple");
}
END_TEST

static Suite *queue_suite(void)
{
    Suite *suite = suite_create("vhost_queue");
    TCase *tcase = tcase_create("ring");
    TCase *polled = tcase_create("poll");

    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, fixture_setup, fixture_teardown);
    tcase_add_test(tcase, requests_in_and_out);
    tcase_add_test(tcase, a_ring_that_is_always_full);
    tcase_add_test(tcase, indirect_descriptors);
    tcase_add_test(tcase, a_buffer_across_regions);
    tcase_add_test(tcase, addresses_outside_of_memory);
    tcase_add_test(tcase, a_region_that_is_left_out);
    tcase_add_test(tcase, no_call_for_who_wants_none);
    tcase_add_test(tcase, event_index);
    tcase_add_test(tcase, kicks_only_when_they_must_be);
    tcase_add_test(tcase, kicks_only_when_they_must_be_by_index);
    tcase_add_test(tcase, stop_and_go_on_with_requests_under_way);
    tcase_add_test(tcase, another_base_is_a_new_ring);
    tcase_add_test(tcase, another_used_index_is_a_new_ring);
    tcase_add_test(tcase, another_size_is_a_new_ring);
    tcase_add_test(tcase, a_reset_is_a_new_ring);
    tcase_add_test(tcase, a_reset_stops_running_queues);
    tcase_add_test(tcase, a_stop_waits_for_accesses);
    tcase_add_test(tcase, a_table_that_changes_during_an_access);
    tcase_add_test(tcase, gone_with_requests_under_way);
    tcase_add_test(tcase, without_protocol_features);
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(polled, 30);
    tcase_add_checked_fixture(polled, setup_poll, fixture_teardown);
    tcase_add_test(polled, requests_in_and_out);
    tcase_add_test(polled, kicks_only_when_they_must_be);
    tcase_add_test(polled, kicks_only_when_they_must_be_by_index);
    tcase_add_test(polled, stop_and_go_on_with_requests_under_way);
    tcase_add_test(polled, gone_with_requests_under_way);
    suite_add_tcase(suite, polled);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(queue_suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
