/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/vhost: memory whose regions come and go one by one (CONFIGURE_MEM_SLOTS). */
#include "suite.h"
#include "vhost_fixture.h"

#include "transport/vhost/memory.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS (1ull << 15)
#define PIECES 0x80000000ull /* guest addresses of a window */
#define MANY 0x100000000ull  /* and of small regions */

static void setup(void)
{
    callee_mem_slots = true;
    fixture_setup();
}

/* Of the guest's own memory, as the table has it. */
static struct vhost_user_region memory_of(unsigned index)
{
    struct vhost_user_memory table;

    front_fill_memory(&table);
    return table.regions[index];
}

/* That the callee leaves out. */
static struct vhost_user_region piece_of(unsigned index)
{
    return (struct vhost_user_region){ .guest_address = PIECES + index * FRONT_REGION,
                                       .size = FRONT_REGION,
                                       .user_address =
                                           FRONT_USER + (2ull << 30) + index * FRONT_REGION,
                                       .fd_offset = FRONT_REGION };
}

static struct vhost_user_region small_of(unsigned index)
{
    return (struct vhost_user_region){ .guest_address = MANY + index * 8192,
                                       .size = 4096,
                                       .user_address = FRONT_USER + (4ull << 30) + index * 4096,
                                       .fd_offset = 4096 };
}

static uint64_t add(struct vhost_user_region region)
{
    const struct vhost_user_slot slot = { .region = region };

    return front_ask(&front, VHOST_USER_ADD_MEM_REG, &slot, sizeof(slot), &front.memfd, 1);
}

/* As QEMU does it: no descriptor, and no offset. */
static uint64_t take_away(struct vhost_user_region region)
{
    struct vhost_user_slot slot = { .region = region };

    slot.region.fd_offset = 0;
    return front_ask(&front, VHOST_USER_REM_MEM_REG, &slot, sizeof(slot), NULL, 0);
}

static uint64_t add_piece(unsigned index)
{
    const struct vhost_user_region piece = piece_of(index);

    callee.region_leave_out = piece.guest_address;
    return add(piece);
}

static void start(unsigned count)
{
    front_handshake(&front, FRONT_FEATURES);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_uint_eq(add(memory_of(i)), 0);
    for (unsigned i = 0; i < count; i++)
        front_queue_set_up(&front, i, 8, 0);
    for (unsigned i = 0; i < count; i++)
        front_queue_enable(&front, i, true);
}

static bool is_alive(void)
{
    return front_get(&front, VHOST_USER_GET_FEATURES) != 0;
}

/* A request whose answer goes to ADDRESS. */
static uint32_t ask_into(uint64_t address)
{
    const uint64_t in = guest_buffer(&front, 4);

    memcpy(front_at(&front, in), "abcd", 4);
    guest_desc(&front, 0, 0, in, 4, VRING_DESC_NEXT, 1);
    guest_desc(&front, 0, 1, address, 4, VRING_DESC_WRITE, 0);
    guest_avail(&front, 0, 0);
    guest_kick(&front, 0);
    return le32_get(guest_used(&front, 0).length);
}

START_TEST(one_by_one_in_place_of_a_table)
{
    ck_assert_uint_ne(front_get(&front, VHOST_USER_GET_PROTOCOL_FEATURES) & SLOTS, 0);
    start(1);
    ck_assert_uint_eq(front_get(&front, VHOST_USER_GET_MAX_MEM_SLOTS), VHOST_MEMORY_SLOTS);
    guest_round_trip(&front, 0, 0, "in regions that were added");
    /* One more while the queue runs, used, and gone again. */
    ck_assert_uint_eq(ask_into(MANY), 0);
    ck_assert_uint_eq(add(small_of(0)), 0);
    ck_assert_uint_eq(ask_into(MANY), 4);
    ck_assert_mem_eq(front.memory + 4096, "bcde", 4);
    ck_assert_uint_eq(take_away(small_of(0)), 0);
    ck_assert_uint_eq(ask_into(MANY), 0);
    ck_assert_int_eq(callee.error, -EFAULT);
    guest_round_trip(&front, 0, 2, "the others are as they were");
    /* What is added anew may lie elsewhere. */
    struct vhost_user_region other = small_of(0);
    other.fd_offset = 8192;
    ck_assert_uint_eq(add(other), 0);
    ck_assert_uint_eq(ask_into(MANY), 4);
    ck_assert_mem_eq(front.memory + 8192, "bcde", 4);
    /* That of a ring that runs. */
    ck_assert_uint_eq(take_away(memory_of(0)), 0);
    ck_assert(event_wait(front.queues[0].err, FRONT_TIMEOUT_MS));
    ck_assert(is_alive());
}
END_TEST

START_TEST(what_is_not_there_cannot_be_removed)
{
    struct vhost_user_slot slot = { .region = memory_of(0) };
    struct vhost_user_region region;

    front_handshake(&front, FRONT_FEATURES);
    ck_assert_uint_ne(take_away(memory_of(0)), 0);
    ck_assert_uint_eq(add(memory_of(0)), 0);
    region = memory_of(0);
    region.size -= 4096;
    ck_assert_uint_ne(take_away(region), 0);
    region = memory_of(0);
    region.guest_address += 4096;
    ck_assert_uint_ne(take_away(region), 0);
    region = memory_of(0);
    region.user_address += 4096;
    ck_assert_uint_ne(take_away(region), 0);
    ck_assert_uint_ne(take_away(memory_of(1)), 0);
    /* Nobody asks: nothing is said. With a descriptor, which is of no use. */
    slot.region = memory_of(1);
    front_send(&front, VHOST_USER_REM_MEM_REG, VHOST_USER_VERSION, &slot, sizeof(slot),
               &front.memfd, 1);
    ck_assert(is_alive());
    ck_assert_uint_eq(take_away(memory_of(0)), 0);
    ck_assert_uint_ne(take_away(memory_of(0)), 0);
}
END_TEST

/* A device of QEMU's starts if it takes all; what it has taken while its queues ran QEMU trips over at
 * a reset. */
START_TEST(pieces_of_the_window_are_taken_at_a_start_only)
{
    const struct vhost_user_slot slot = { .region = piece_of(3) };

    front_handshake(&front, FRONT_FEATURES);
    ck_assert_uint_eq(add_piece(0), 0); /* before there is any memory */
    for (unsigned i = 0; i < 2; i++)
        ck_assert_uint_eq(add(memory_of(i)), 0);
    ck_assert_uint_eq(add_piece(1), 0);
    front_queue_set_up(&front, 0, 8, 0);
    front_queue_enable(&front, 0, true);
    ck_assert_uint_eq(take_away(piece_of(1)), 0);
    ck_assert_uint_ne(take_away(piece_of(1)), 0);
    ck_assert_uint_ne(add_piece(1), 0);
    ck_assert_uint_ne(add_piece(2), 0);
    ck_assert_uint_ne(take_away(piece_of(2)), 0); /* it was not taken */
    ck_assert_uint_eq(ask_into(PIECES), 0);       /* nor is the one that was mapped */
    /* Who does not ask believes that it was. */
    callee.region_leave_out = slot.region.guest_address;
    front_send(&front, VHOST_USER_ADD_MEM_REG, VHOST_USER_VERSION, &slot, sizeof(slot),
               &front.memfd, 1);
    ck_assert_uint_eq(take_away(piece_of(3)), 0);
    /* Stopped, and started again. */
    front_queue_enable(&front, 0, false);
    uint16_t base = front_queue_stop(&front, 0);
    for (unsigned i = 1; i < 4; i++)
        ck_assert_uint_eq(add_piece(i), 0);
    front_queue_set_up(&front, 0, 8, base);
    front_queue_enable(&front, 0, true);
    guest_round_trip(&front, 0, 2, "and on");
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(take_away(piece_of(i)), 0);
}
END_TEST

START_TEST(a_table_afterwards_is_all_there_is)
{
    struct vhost_user_memory table;
    const int fds[2] = { front.memfd, front.memfd };

    start(1);
    ck_assert_uint_eq(add(small_of(0)), 0);
    front_set_memory(&front);
    guest_round_trip(&front, 0, 0, "with a table");
    ck_assert_uint_ne(take_away(small_of(0)), 0);
    ck_assert_uint_eq(add(small_of(0)), 0);
    ck_assert_uint_eq(ask_into(MANY), 4);
    /* What a table leaves out may be removed, too, and is in the way of others until then. */
    front_fill_memory(&table);
    table.regions[1] = piece_of(0);
    callee.region_leave_out = PIECES;
    ck_assert_uint_eq(front_ask(&front, VHOST_USER_SET_MEM_TABLE, &table, 8 + 2 * 32, fds, 2), 0);
    ck_assert_uint_eq(take_away(piece_of(0)), 0);
    callee.region_leave_out = 0;
    ck_assert_uint_eq(add(piece_of(0)), 0);
    ck_assert_uint_eq(ask_into(PIECES), 4);
}
END_TEST

static void expect_end(uint32_t request, struct vhost_user_region region, uint32_t size,
                       const int *fds, unsigned count)
{
    struct {
        struct vhost_user_slot slot;
        uint8_t more[64];
    } payload = { .slot.region = region };

    reconnect();
    front_handshake(&front, FRONT_FEATURES);
    ck_assert_uint_eq(add(memory_of(0)), 0);
    ck_assert_uint_eq(add_piece(0), 0);
    callee.region_leave_out = 0;
    front_send(&front, request, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, &payload, size, fds,
               count);
    front_expect_end(&front);
}

START_TEST(slots_that_may_not_be)
{
    static const uint32_t sizes[] = { 0, 8, 32, 39, 41, 72, 100 };
    const uint32_t adds = VHOST_USER_ADD_MEM_REG, removes = VHOST_USER_REM_MEM_REG;
    const uint64_t size = sizeof(struct vhost_user_slot);
    int fds[2] = { front.memfd, front.memfd }, pipe_fds[2];
    struct vhost_user_region region = memory_of(1);

    expect_end(adds, region, size, fds, 0);
    ck_assert_uint_eq(callee.regions, 2); /* nobody was asked what none stands for */
    expect_end(adds, region, size, fds, 2);
    expect_end(removes, region, size, fds, 2);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        expect_end(adds, region, sizes[i], fds, 1);
        expect_end(removes, region, sizes[i], NULL, 0);
    }
    expect_end(VHOST_USER_GET_MAX_MEM_SLOTS, region, 8, NULL, 0);
    expect_end(VHOST_USER_GET_MAX_MEM_SLOTS, region, 0, fds, 1);

    region.size = 0;
    expect_end(adds, region, size, fds, 1);
    region = memory_of(1);
    region.guest_address = 0 - FRONT_REGION + 4096;
    expect_end(adds, region, size, fds, 1);
    region = memory_of(1);
    region.user_address = UINT64_MAX;
    expect_end(adds, region, size, fds, 1);
    region = memory_of(1);
    region.fd_offset = UINT64_MAX - 4095;
    expect_end(adds, region, size, fds, 1);
    region = memory_of(1);
    region.fd_offset = FRONT_REGION + 4096; /* beyond the file */
    expect_end(adds, region, size, fds, 1);
    region = memory_of(1);
    region.guest_address -= 1; /* into the one before */
    expect_end(adds, region, size, fds, 1);
    expect_end(adds, memory_of(0), size, fds, 1); /* the same again */
    region = memory_of(1);
    region.guest_address = PIECES + FRONT_REGION - 1; /* into one that is left out */
    expect_end(adds, region, size, fds, 1);
    ck_assert_int_eq(pipe(pipe_fds), 0);
    expect_end(adds, memory_of(1), size, pipe_fds, 1);
    close(pipe_fds[0]);
    close(pipe_fds[1]);

    reconnect();
    start(1);
    struct vhost_user_slot slot = { .region = small_of(0) };
    callee.region_error = -EPERM; /* what is above us does not want it; a queue runs */
    front_send(&front, adds, VHOST_USER_VERSION, &slot, sizeof(slot), fds, 1);
    front_expect_end(&front);
    callee.region_error = 0;
    reconnect();
    guest_ring_clear(&front, 0);
    start(1);
    guest_round_trip(&front, 0, 0, "the next one is served");
}
END_TEST

/* Who has not agreed to them. */
START_TEST(slots_that_were_not_agreed)
{
    static const uint32_t requests[] = { VHOST_USER_GET_MAX_MEM_SLOTS, VHOST_USER_ADD_MEM_REG,
                                         VHOST_USER_REM_MEM_REG };
    const struct vhost_user_slot slot = { .region = memory_of(0) };

    for (unsigned i = 0; i < 3; i++) {
        uint64_t features;

        reconnect();
        features = front_get(&front, VHOST_USER_GET_PROTOCOL_FEATURES) & ~SLOTS;
        front_send(&front, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_VERSION, &features, 8, NULL,
                   0);
        front_send(&front, requests[i], VHOST_USER_VERSION, &slot, i == 0 ? 0 : sizeof(slot),
                   &front.memfd, i == 1);
        front_expect_end(&front);
    }
    ck_assert_uint_eq(callee.regions, 0);
    fixture_teardown();
    callee_mem_slots = false;
    fixture_setup();
    ck_assert_uint_eq(front_get(&front, VHOST_USER_GET_PROTOCOL_FEATURES) & SLOTS, 0);
    front_send(&front, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_VERSION, &(uint64_t){ SLOTS },
               8, NULL, 0);
    front_expect_end(&front);
}
END_TEST

START_TEST(too_many)
{
    const struct vhost_user_slot slot = { .region = small_of(VHOST_MEMORY_REGIONS_MAX) };

    front_handshake(&front, FRONT_FEATURES);
    for (unsigned i = 0; i < VHOST_MEMORY_REGIONS_MAX; i++)
        ck_assert_uint_eq(add(small_of(i)), 0);
    ck_assert_uint_ne(add(small_of(VHOST_MEMORY_REGIONS_MAX)), 0);
    ck_assert_uint_eq(take_away(small_of(7)), 0);
    ck_assert_uint_eq(add(small_of(VHOST_MEMORY_REGIONS_MAX)), 0);
    ck_assert_uint_ne(add(small_of(7)), 0);
    for (unsigned i = VHOST_MEMORY_REGIONS_MAX; i < VHOST_MEMORY_SLOTS; i++)
        ck_assert_uint_eq(add_piece(i), 0);
    ck_assert_uint_ne(add_piece(0), 0);
    ck_assert_uint_eq(take_away(piece_of(100)), 0);
    ck_assert_uint_eq(add_piece(0), 0);
    ck_assert_uint_ne(add_piece(100), 0);
    /* Who does not ask is not told. */
    ck_assert_uint_eq(take_away(piece_of(0)), 0);
    ck_assert_uint_eq(take_away(small_of(VHOST_MEMORY_REGIONS_MAX)), 0);
    ck_assert_uint_eq(add(small_of(7)), 0);
    front_send(&front, VHOST_USER_ADD_MEM_REG, VHOST_USER_VERSION, &slot, sizeof(slot),
               &front.memfd, 1);
    front_expect_end(&front);
}
END_TEST

static int leave_pieces(void *arg, int fd, const struct vhost_region *region)
{
    (void)arg;
    (void)fd;
    return region->guest_address < PIECES;
}

static struct vhost_memory *more(struct vhost_memory *old, struct vhost_user_region region)
{
    struct vhost_memory *memory;
    const char *why;

    ck_assert_int_eq(vhost_memory_add(old, &region, front.memfd, leave_pieces, NULL, &memory, &why),
                     0);
    return memory;
}

static struct vhost_memory *less(struct vhost_memory *old, struct vhost_user_region region)
{
    struct vhost_memory *memory;

    ck_assert_int_eq(vhost_memory_remove(old, &region, &memory), 0);
    return memory;
}

/* Who has an older one keeps it, with its mappings. */
START_TEST(a_table_does_not_change)
{
    struct vhost_memory *tables[5];
    struct vhost_user_region region = memory_of(0);
    uint64_t length;

    tables[0] = more(NULL, memory_of(0));
    tables[1] = more(tables[0], piece_of(0));
    tables[2] = more(tables[1], memory_of(1));
    tables[3] = less(tables[2], memory_of(0));
    tables[4] = less(tables[3], piece_of(0));
    ck_assert_uint_eq(tables[0]->count, 1);
    ck_assert_uint_eq(tables[1]->left_out_count, 1);
    ck_assert_uint_eq(tables[2]->count, 2);
    ck_assert_uint_eq(tables[3]->count, 1);
    ck_assert_uint_eq(tables[4]->left_out_count, 0);
    ck_assert_ptr_eq(tables[0]->regions[0].base, tables[2]->regions[0].base);
    ck_assert_ptr_eq(tables[2]->regions[1].base, tables[3]->regions[0].base);
    ck_assert_ptr_null(vhost_memory_find(tables[2], PIECES, 1, &length));
    ck_assert_ptr_null(vhost_memory_find_user(tables[2], piece_of(0).user_address, 1));
    ck_assert_ptr_null(vhost_memory_find(tables[3], FRONT_GUEST, 1, &length));
    vhost_memory_put(tables[0]);
    vhost_memory_put(tables[1]);
    vhost_memory_put(tables[3]);
    *(uint8_t *)front_at(&front, FRONT_GUEST + 5) = 'x';
    ck_assert_int_eq(*vhost_memory_find(tables[2], FRONT_GUEST + 5, 1, &length), 'x');
    vhost_memory_put(tables[2]);
    *(uint8_t *)front_at(&front, FRONT_GUEST + FRONT_REGION) = 'y';
    ck_assert_int_eq(*vhost_memory_find(tables[4], FRONT_GUEST + FRONT_REGION, 1, &length), 'y');
    ck_assert_int_eq(vhost_memory_remove(tables[4], &region, &tables[0]), -ENOENT);
    ck_assert_int_eq(vhost_memory_remove(NULL, &region, &tables[0]), -ENOENT);
    vhost_memory_put(tables[4]);
}
END_TEST

static void add_tests(TCase *tcase)
{
    tcase_add_test(tcase, one_by_one_in_place_of_a_table);
    tcase_add_test(tcase, what_is_not_there_cannot_be_removed);
    tcase_add_test(tcase, pieces_of_the_window_are_taken_at_a_start_only);
    tcase_add_test(tcase, a_table_afterwards_is_all_there_is);
    tcase_add_test(tcase, slots_that_may_not_be);
    tcase_add_test(tcase, slots_that_were_not_agreed);
    tcase_add_test(tcase, too_many);
    tcase_add_test(tcase, a_table_does_not_change);
}

int main(void)
{
    return suite_run("vhost_memory", 60, setup, fixture_teardown, add_tests);
}
