/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport/vhost: random messages, and a guest that writes random bytes into its rings while they
 * run. What counts is that nothing crashes, hangs, or stays open, and that the next VMM is served.
 * VHOST_FUZZ_SEEDS in the environment says how many.
 */
#include "suite.h"
#include "vhost_fixture.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEEDS 60

static uint64_t state;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static uint32_t below(uint32_t limit)
{
    return (uint32_t)((next() >> 16) % limit);
}

static unsigned seeds(void)
{
    const char *text = getenv("VHOST_FUZZ_SEEDS");

    return text ? (unsigned)atoi(text) : SEEDS;
}

/* Numbers as they hurt. */
static uint64_t number(void)
{
    static const uint64_t edges[] = { 0,          1,          7,           8,          255,
                                      256,        1024,       4096,        0xffff,     0x10000,
                                      0x7fffffff, 0xffffffff, FRONT_GUEST, FRONT_USER, FRONT_END };

    switch (below(4)) {
    case 0:
        return edges[below(sizeof(edges) / sizeof(edges[0]))];
    case 1:
        return edges[below(sizeof(edges) / sizeof(edges[0]))] - 1 + below(3);
    case 2:
        return UINT64_MAX - below(64);
    default:
        return next() >> below(64);
    }
}

/* Whether the connection is still there; what it said is thrown away. */
static bool drain(void)
{
    char bytes[4096];
    ssize_t got;

    do
        got = recv(front.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    while (got > 0);
    return got < 0 && errno == EAGAIN;
}

/* Two of the regions that come and go are the guest's own; the callee leaves others out. */
static void message_slot(void)
{
    struct vhost_user_memory table;
    struct vhost_user_slot slot = { 0 };
    bool removes = below(2);

    front_fill_memory(&table);
    slot.region = table.regions[below(2)];
    slot.region.guest_address += below(4) * (FRONT_REGION / 2);
    if (below(8) == 0)
        ((uint64_t *)&slot)[below(5)] = number();
    callee.region_leave_out = below(2) ? slot.region.guest_address : 0;
    front_send(&front, removes ? VHOST_USER_REM_MEM_REG : VHOST_USER_ADD_MEM_REG,
               VHOST_USER_VERSION | (below(4) ? VHOST_USER_NEED_REPLY : 0), &slot, sizeof(slot),
               &front.memfd, !removes);
}

static void message_random(void)
{
    static const uint8_t known[] = { 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13,
                                     14, 15, 16, 17, 18, 21, 24, 25, 34, 36, 37, 38, 44 };
    static const uint16_t sizes[] = { 0, 0, 8, 8, 8, 8, 8, 40, 12, 16, 72, 264, 268 };
    uint8_t payload[300];
    int fds[16];
    unsigned fd_count = below(4) ? below(3) : below(16);
    uint32_t size = sizes[below(sizeof(sizes) / sizeof(sizes[0]))];
    uint32_t flags =
        below(8) ? VHOST_USER_VERSION | (below(2) ? VHOST_USER_NEED_REPLY : 0) : (uint32_t)next();

    for (unsigned i = 0; i < sizeof(payload); i += 4) {
        uint32_t value = below(2) ? below(FRONT_QUEUES) : (uint32_t)number();

        memcpy(payload + i, &value, 4);
    }
    if (below(3) == 0) {
        struct vhost_user_memory table;

        front_fill_memory(&table);
        if (below(2))
            ((uint64_t *)table.regions)[below(8)] = number();
        memcpy(payload, &table, 72);
    }
    if (below(8) == 0) {
        message_slot();
        return;
    }
    for (unsigned i = 0; i < fd_count; i++) {
        const int choice[] = { front.memfd, front.memfd, front.queues[0].kick, front.queues[1].call,
                               front.channel >= 0 ? front.channel : 0 };

        fds[i] = choice[below(5)];
    }
    if (below(16) == 0)
        size = below(sizeof(payload));
    front_send(&front, known[below(sizeof(known))], flags, payload, size, fds, fd_count);
}

START_TEST(random_messages)
{
    for (unsigned seed = 1; seed <= seeds(); seed++) {
        state = seed * 0x9e3779b97f4a7c15ull;
        reconnect();
        for (unsigned i = 0; i < FRONT_QUEUES; i++)
            guest_ring_clear(&front, i);
        if (below(4))
            front_start(&front, FRONT_FEATURES, 2, 8);
        /* A good connection survives few bad messages: several tries at each. */
        for (unsigned i = 0; i < 40; i++) {
            message_random();
            if (!drain()) {
                reconnect();
                if (below(2))
                    front_start(&front, FRONT_FEATURES, 2, 8);
            }
        }
    }
    reconnect();
    guest_ring_clear(&front, 0);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_request(&front, 0, 0, "alive", 8);
    guest_kick(&front, 0);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).length), 5);
}
END_TEST

/* The guest stores anything anywhere in its rings and tables, and kicks. */
static void guest_random(unsigned index)
{
    struct front_queue *queue = &front.queues[index];
    const uint64_t table = FRONT_BUFFERS + index * 0x10000;

    for (unsigned i = 0; i < 8; i++) {
        uint64_t address = below(3) ? FRONT_BUFFERS + below(0x80000) : number();
        uint32_t length = below(3) ? below(8192) : (uint32_t)number();
        struct vring_desc desc = {
            .address = le64_make(address),
            .length = le32_make(length),
            .flags = le16_make((uint16_t)(below(8) ? below(4) : below(8))),
            .next = le16_make((uint16_t)(below(16) ? below(8) : number())),
        };

        if (below(4) == 0) {
            desc.address = le64_make(table);
            desc.length = le32_make(16 * (1 + below(8)));
            desc.flags = le16_make(VRING_DESC_INDIRECT);
        }
        if (below(2))
            queue->desc[i] = desc;
        else
            memcpy(front_at(&front, table + i * sizeof(desc)), &desc, sizeof(desc));
    }
    for (unsigned n = 1 + below(4); n > 0; n--)
        guest_avail(&front, index, (uint16_t)(below(32) ? below(8) : number()));
    if (below(32) == 0)
        queue->avail->index = le16_make((uint16_t)number());
    if (below(2))
        guest_kick(&front, index);
}

START_TEST(random_rings)
{
    for (unsigned seed = 1; seed <= seeds(); seed++) {
        state = seed * 0xd1342543de82ef95ull;
        reconnect();
        for (unsigned i = 0; i < FRONT_QUEUES; i++)
            guest_ring_clear(&front, i);
        front_start(&front, FRONT_FEATURES | (below(2) ? VIRTIO_F_EVENT_IDX : 0), 2, 8);
        for (unsigned i = 0; i < 60; i++) {
            unsigned index = below(2);

            guest_random(index);
            if (below(8) == 0)
                front_set_memory(&front);
            /* A reset: what a broken queue needs. */
            if (event_wait(front.queues[index].err, 0) || below(16) == 0) {
                (void)front_queue_stop(&front, index);
                guest_ring_clear(&front, index);
                front_queue_set_up(&front, index, 8, 0);
            }
        }
    }
    reconnect();
    guest_ring_clear(&front, 0);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_request(&front, 0, 0, "alive", 8);
    guest_kick(&front, 0);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).length), 5);
}
END_TEST

/* Memory goes away while rings run. */
START_TEST(random_cuts)
{
    for (unsigned seed = 1; seed <= seeds(); seed++) {
        state = seed * 0xda942042e4dd58b5ull;
        ck_assert_int_eq(ftruncate(front.memfd, 2 * FRONT_REGION), 0);
        reconnect();
        for (unsigned i = 0; i < FRONT_QUEUES; i++)
            guest_ring_clear(&front, i);
        front_start(&front, FRONT_FEATURES, 2, 8);
        for (unsigned i = 0; i < 10; i++)
            guest_random(below(2));
        ck_assert_int_eq(ftruncate(front.memfd, below(4) * 0x80000), 0);
        for (unsigned i = 0; i < 2; i++)
            guest_kick(&front, i);
        if (below(2))
            usleep(below(2000));
    }
    ck_assert_int_eq(ftruncate(front.memfd, 2 * FRONT_REGION), 0);
    reconnect();
    guest_ring_clear(&front, 0);
    front_start(&front, FRONT_FEATURES, 1, 8);
    guest_request(&front, 0, 0, "alive", 8);
    guest_kick(&front, 0);
    ck_assert_uint_eq(le32_get(guest_used(&front, 0).length), 5);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, random_messages);
    tcase_add_test(tcase, random_rings);
    tcase_add_test(tcase, random_cuts);
}

int main(void)
{
    callee_mem_slots = true;
    return suite_run("vhost_fuzz", 100, fixture_setup, fixture_teardown, add);
}
