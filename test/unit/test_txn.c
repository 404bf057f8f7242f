/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Transactions: staged copies, minimal records, all or nothing in memory and after a crash. */
#include "base/endian.h"
#include "base/lock.h"
#include "crash_device.h"
#include "media/validate.h"
#include "pool_fixture.h"
#include "space/txn.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POOL_BYTES (8ull << 20)
#define OBJECT (1000ull * DXF_BLOCK_SIZE)

static struct pool_fixture fixture;

static void setup(void)
{
    pool_fixture_create(&fixture, POOL_BYTES);
}

static void teardown(void)
{
    pool_fixture_destroy(&fixture);
}

static unsigned seal_calls;

static void seal_count(void *object, uint64_t arg)
{
    seal_calls++;
    *(uint64_t *)object = arg;
}

static uint64_t word_at(uint64_t offset)
{
    uint64_t word;
    memcpy(&word, fixture.memory + offset, sizeof(word));
    return word;
}

START_TEST(edit_is_seen_inside_only_until_commit)
{
    struct txn txn;
    uint64_t sequence = 99;
    txn_begin(&txn, fixture.space);
    ck_assert_ptr_eq(txn_view(&txn, fixture.pool, OBJECT, 256), fixture.memory + OBJECT);
    uint64_t *object = txn_edit(&txn, OBJECT, 256, seal_count, 5);
    object[3] = 42;
    ck_assert_ptr_eq(txn_edit(&txn, OBJECT, 256, seal_count, 5), object);
    ck_assert_ptr_eq(txn_view(&txn, fixture.pool, OBJECT, 256), object);
    ck_assert_uint_eq(word_at(OBJECT + 24), 0);
    ck_assert_int_eq(txn_commit(&txn, &sequence), 0);
    ck_assert_uint_eq(sequence, 1);
    ck_assert_uint_eq(seal_calls, 1);
    ck_assert_uint_eq(word_at(OBJECT), 5);
    ck_assert_uint_eq(word_at(OBJECT + 24), 42);

    txn_begin(&txn, fixture.space);
    object = txn_edit(&txn, OBJECT, 256, NULL, 0);
    object[3] = 43;
    txn_abort(&txn);
    ck_assert_uint_eq(word_at(OBJECT + 24), 42);
}
END_TEST

static uint64_t journaled(void)
{
    struct journal_stats stats;
    journal_get_stats(fixture.journal, &stats);
    return stats.bytes;
}

START_TEST(only_what_differs_is_journaled)
{
    struct txn txn;
    uint64_t before = journaled();
    txn_begin(&txn, fixture.space);
    uint64_t *object = txn_edit(&txn, OBJECT, 4096, NULL, 0);
    object[1] = 1; /* one record: words 1..3, since one unchanged word is no gain */
    object[3] = 3;
    object[6] = 6;   /* another: two unchanged words are */
    object[511] = 9; /* another */
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    ck_assert_uint_eq(journaled() - before, sizeof(struct dxf_log_entry) + 3 * 8 + 24 + 8 + 8);

    before = journaled();
    uint64_t sequence = 7;
    txn_begin(&txn, fixture.space);
    ck_assert_ptr_nonnull(txn_edit(&txn, OBJECT, 4096, NULL, 0));
    ck_assert_int_eq(txn_commit(&txn, &sequence), 0);
    ck_assert_uint_eq(journaled(), before);
    ck_assert_uint_eq(sequence, 0);
}
END_TEST

START_TEST(an_empty_transaction_fences_data_only)
{
    struct persist_counters before, after;
    struct txn txn;
    persist_get_counters(fixture.pool->persist, &before);
    txn_begin(&txn, fixture.space);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    persist_get_counters(fixture.pool->persist, &after);
    ck_assert_uint_eq(after.fences, before.fences);
    txn_begin(&txn, fixture.space);
    persist_copy(fixture.pool->persist, fixture.memory + OBJECT, "12345678", 8, PERSIST_DATA);
    txn_data_written(&txn);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    persist_get_counters(fixture.pool->persist, &after);
    ck_assert_uint_eq(after.fences, before.fences + 1);
    ck_assert_uint_eq(after.flushed[PERSIST_METADATA], before.flushed[PERSIST_METADATA]);
}
END_TEST

START_TEST(fresh_blocks_go_to_their_place_unjournaled)
{
    struct space_request request = { .want = 1, .flags = SPACE_METADATA };
    struct persist_counters before, after;
    struct space_extent extent;
    struct txn txn;
    uint64_t bytes = journaled();
    persist_get_counters(fixture.pool->persist, &before);
    txn_begin(&txn, fixture.space);
    ck_assert_int_eq(space_alloc(&txn, &request, &extent), 0);
    memset(fixture.memory + extent.start * DXF_BLOCK_SIZE, 0xee, DXF_BLOCK_SIZE);
    uint64_t *block = txn_fresh(&txn, extent.start, seal_count, 77);
    for (unsigned i = 0; i < 512; i++)
        ck_assert_uint_eq(block[i], 0);
    block[9] = 9;
    ck_assert_ptr_eq(txn_edit(&txn, extent.start * DXF_BLOCK_SIZE, 4096, NULL, 0), block);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    persist_get_counters(fixture.pool->persist, &after);
    ck_assert_uint_eq(after.fences, before.fences + 2); /* the block's, the entry's */
    ck_assert_uint_le(journaled() - bytes, 128);
    ck_assert_uint_eq(word_at(extent.start * DXF_BLOCK_SIZE), 77);
    ck_assert_uint_eq(word_at(extent.start * DXF_BLOCK_SIZE + 72), 9);
}
END_TEST

START_TEST(forget_drops_all_copies_of_a_block)
{
    struct txn txn;
    txn_begin(&txn, fixture.space);
    uint64_t *kept = txn_edit(&txn, OBJECT + 2 * DXF_BLOCK_SIZE, 64, NULL, 0);
    ((uint64_t *)txn_edit(&txn, OBJECT, 64, NULL, 0))[0] = 1;
    ((uint64_t *)txn_edit(&txn, OBJECT + 1024, 64, NULL, 0))[0] = 1;
    *kept = 8;
    txn_forget(&txn, OBJECT / DXF_BLOCK_SIZE);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    ck_assert_uint_eq(word_at(OBJECT), 0);
    ck_assert_uint_eq(word_at(OBJECT + 1024), 0);
    ck_assert_uint_eq(word_at(OBJECT + 2 * DXF_BLOCK_SIZE), 8);
}
END_TEST

START_TEST(held_locks_are_released_whatever_happens)
{
    struct lock locks[2];
    struct txn txn;
    for (unsigned i = 0; i < 2; i++)
        lock_init(&locks[i], LOCK_JOURNAL, JOURNAL_ORDER_SHARED + i);
    for (unsigned end = 0; end < 3; end++) {
        txn_begin(&txn, fixture.space);
        txn_hold(&txn, &locks[0]);
        txn_hold(&txn, &locks[1]);
        txn_hold(&txn, &locks[0]);
        ck_assert(!lock_try(&locks[0]));
        if (end == 0)
            ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        else if (end == 1)
            txn_abort(&txn);
        else {
            txn.error = -ENOMEM;
            ck_assert_int_eq(txn_commit(&txn, NULL), -ENOMEM);
        }
        for (unsigned i = 0; i < 2; i++) {
            ck_assert(lock_try(&locks[i]));
            lock_release(&locks[i]);
        }
    }
}
END_TEST

START_TEST(too_large_is_as_if_it_had_not_begun)
{
    struct space_request request = { .want = 1 };
    struct space_info before, after;
    struct space_extent extent;
    struct txn txn;
    space_get_info(fixture.space, &before);
    txn_begin(&txn, fixture.space);
    ck_assert(txn_has_room(&txn, journal_capacity(fixture.journal)));
    ck_assert(!txn_has_room(&txn, journal_capacity(fixture.journal) + 1));
    ck_assert_int_eq(space_alloc(&txn, &request, &extent), 0);
    unsigned blocks = 0;
    for (; blocks < 20; blocks++)
        memset(txn_edit(&txn, OBJECT + blocks * DXF_BLOCK_SIZE, 4096, NULL, 0), 0x33, 4096);
    ck_assert(!txn_has_room(&txn, 1));
    ck_assert_int_eq(txn_commit(&txn, NULL), -E2BIG);
    ck_assert_uint_eq(word_at(OBJECT), 0);
    space_get_info(fixture.space, &after);
    ck_assert_uint_eq(after.free, before.free);
    ck_assert(!atomic_load(&fixture.pool->failed));
}
END_TEST

/* ---- crashes: blocks and what names them come and go together ---------------------------------- */

#define NAMES 16u

struct txn_run {
    struct crash_device device;
    struct pool_fixture fixture;
    unsigned fences, checked, wrong;
    bool on;
};

static void seal_name(void *object, uint64_t arg)
{
    (void)arg;
    (void)object;
}

#define NAME_BLOCKS 2u
static uint64_t names_block;

static uint64_t name_offset(unsigned name)
{
    return names_block * DXF_BLOCK_SIZE + name * 320ull;
}

/* A name holds an extent {start, count} and its blocks hold their own number: after every crash the
 * bitmap has exactly the named blocks, and their content is what was written before. */
static bool image_is_right(struct pool *image)
{
    struct journal_replayed counts;
    if (journal_replay(image, &counts) != 0)
        return false;
    uint64_t named = 0, marked = 0;
    for (unsigned i = 0; i < NAMES; i++) {
        uint64_t extent[2];
        memcpy(extent, pool_at(image, name_offset(i)), sizeof(extent));
        named += extent[1];
        for (uint64_t block = extent[0]; block < extent[0] + extent[1]; block++) {
            const struct dxf_bitmap_line *line =
                pool_at(image, le64_get(image->super.bitmap_start) * DXF_BLOCK_SIZE +
                                   block / DXF_LINE_BITS * DXF_LINE_SIZE);
            unsigned bit = block % DXF_LINE_BITS;
            uint64_t content;
            memcpy(&content, pool_block(image, block), sizeof(content));
            if (!(le64_get(line->bits[bit / 64]) >> bit % 64 & 1) || content != block)
                return false;
        }
    }
    for (uint64_t number = 0; number * DXF_LINE_BITS < image->blocks; number++) {
        const struct dxf_bitmap_line *line = pool_at(
            image, le64_get(image->super.bitmap_start) * DXF_BLOCK_SIZE + number * DXF_LINE_SIZE);
        if (validate_bitmap_line(line, number) != NULL)
            return false;
        marked += le16_get(line->used);
    }
    uint64_t fixed = 0;
    for (uint64_t block = 0; block < image->blocks; block++)
        fixed += space_is_fixed(&image->super, block, 1);
    return marked == named + fixed + NAME_BLOCKS;
}

static void txn_on_fence(void *arg, struct crash_device *device, uint32_t thread)
{
    struct txn_run *run = arg;
    (void)thread;
    for (unsigned i = 0; run->on && i < 2; i++) {
        struct pool *image = crash_device_image(device, i == 0 && run->fences % 4 == 0);
        run->wrong += !image_is_right(image);
        run->checked++;
        crash_device_image_close(image);
    }
    run->fences++;
}

static void name_set(struct txn *txn, unsigned name, uint64_t start, uint64_t count)
{
    uint64_t *object = txn_edit(txn, name_offset(name), 16, seal_name, 0);
    object[0] = start;
    object[1] = count;
}

START_TEST(l4_blocks_and_names_agree_after_every_crash)
{
    static struct txn_run run;
    uint64_t random = 40 + (unsigned)_i;
    run.device.random = random;
    run.device.on_fence = txn_on_fence;
    run.device.arg = &run;
    pool_fixture_create_with(&run.fixture, POOL_BYTES, crash_device_persist, &run.device);
    struct pool *pool = run.fixture.pool;
    struct space_extent names[NAMES] = { 0 };
    struct space_request first = { .want = NAME_BLOCKS };
    struct space_extent extent;
    struct txn begin;
    txn_begin(&begin, run.fixture.space);
    ck_assert_int_eq(space_alloc(&begin, &first, &extent), 0);
    ck_assert_uint_eq(extent.count, NAME_BLOCKS);
    ck_assert_int_eq(txn_commit(&begin, NULL), 0);
    names_block = extent.start;
    run.on = true;
    for (unsigned step = 0; step < 150; step++) {
        unsigned name = test_random(&random) % NAMES;
        unsigned flags = test_random(&random) % 2 ? SPACE_METADATA : 0;
        struct txn txn;
        txn_begin(&txn, run.fixture.space);
        if (names[name].count == 0) {
            struct space_request request = { .want = test_random(&random) % 90 + 1,
                                             .flags = flags };
            ck_assert_int_eq(space_alloc(&txn, &request, &names[name]), 0);
            for (uint64_t i = 0; i < names[name].count; i++) {
                uint64_t block = names[name].start + i;
                if (i % 2 == 0) {
                    *(uint64_t *)txn_fresh(&txn, block, NULL, 0) = block;
                } else {
                    persist_copy(pool->persist, pool_block(pool, block), &block, sizeof(block),
                                 PERSIST_DATA);
                    txn_data_written(&txn);
                }
            }
            name_set(&txn, name, names[name].start, names[name].count);
        } else {
            ck_assert_int_eq(space_free(&txn, names[name].start, names[name].count, flags), 0);
            name_set(&txn, name, 0, 0);
            names[name].count = 0;
        }
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        if (step % 40 == 39)
            ck_assert_int_eq(journal_retire(run.fixture.journal), 0);
    }
    ck_assert_uint_gt(run.checked, 300);
    ck_assert_uint_eq(run.wrong, 0);
    run.on = false;
    pool_fixture_destroy(&run.fixture);
    crash_device_destroy(&run.device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("txn");
    TCase *tc = tcase_create("txn");
    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, edit_is_seen_inside_only_until_commit);
    tcase_add_test(tc, only_what_differs_is_journaled);
    tcase_add_test(tc, an_empty_transaction_fences_data_only);
    tcase_add_test(tc, fresh_blocks_go_to_their_place_unjournaled);
    tcase_add_test(tc, forget_drops_all_copies_of_a_block);
    tcase_add_test(tc, held_locks_are_released_whatever_happens);
    tcase_add_test(tc, too_large_is_as_if_it_had_not_begun);
    tcase_add_loop_test(tc, l4_blocks_and_names_agree_after_every_crash, 0, 2);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
