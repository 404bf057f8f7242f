/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The allocator: no block twice (L1 begins here), S1-S3, reserve, placement, size. */
#include "base/endian.h"
#include "crash_device.h"
#include "media/validate.h"
#include "pool_fixture.h"
#include "space/txn.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB (1ull << 20)

static struct pool_fixture fixture;

static void setup(void)
{
    pool_fixture_create(&fixture, 128 * MIB);
}

static void teardown(void)
{
    pool_fixture_destroy(&fixture);
}

static int alloc_one(const struct space_request *request, struct space_extent *ret_extent)
{
    struct txn txn;
    txn_begin(&txn, fixture.space);
    int error = space_alloc(&txn, request, ret_extent);
    if (error) {
        txn_abort(&txn);
        return error;
    }
    return txn_commit(&txn, NULL);
}

static int free_one(uint64_t start, uint64_t count, unsigned flags)
{
    struct txn txn;
    txn_begin(&txn, fixture.space);
    int error = space_free(&txn, start, count, flags);
    if (error) {
        txn_abort(&txn);
        return error;
    }
    return txn_commit(&txn, NULL);
}

static struct space_info info(void)
{
    struct space_info result;
    space_get_info(fixture.space, &result);
    return result;
}

/* ---- the medium against an oracle -------------------------------------------------------------- */

struct oracle {
    uint8_t *busy; /* a byte a block */
    uint64_t blocks, free, at;
};

static void oracle_init(struct oracle *oracle)
{
    const struct pool *pool = fixture.pool;
    oracle->blocks = pool->blocks;
    oracle->busy = calloc(1, pool->blocks);
    oracle->free = 0;
    for (uint64_t i = 0; i < pool->blocks; i++) {
        oracle->busy[i] = space_is_fixed(&pool->super, i, 1);
        oracle->free += !oracle->busy[i];
    }
}

static int oracle_compare(void *arg, uint64_t start, uint64_t count, bool allocated)
{
    struct oracle *oracle = arg;
    ck_assert_uint_eq(start, oracle->at);
    for (uint64_t i = start; i < start + count; i++)
        ck_assert_int_eq(oracle->busy[i], allocated);
    oracle->at += count;
    return 0;
}

static void oracle_check(struct oracle *oracle)
{
    oracle->at = 0;
    ck_assert_int_eq(space_walk(fixture.space, oracle_compare, oracle), 0);
    ck_assert_uint_eq(oracle->at, oracle->blocks);
    ck_assert_uint_eq(info().free, oracle->free);
}

static void oracle_set(struct oracle *oracle, struct space_extent extent, bool busy)
{
    for (uint64_t i = extent.start; i < extent.start + extent.count; i++) {
        ck_assert_int_ne(oracle->busy[i], busy);
        oracle->busy[i] = busy;
    }
    oracle->free = busy ? oracle->free - extent.count : oracle->free + extent.count;
}

START_TEST(random_against_an_oracle)
{
    enum { EXTENTS = 400 };
    struct space_extent held[EXTENTS] = { 0 };
    struct oracle oracle;
    uint64_t random = 11 + (unsigned)_i;
    oracle_init(&oracle);
    oracle_check(&oracle);
    for (unsigned step = 0; step < 4000; step++) {
        struct space_extent *extent = &held[test_random(&random) % EXTENTS];
        if (extent->count == 0) {
            struct space_request request = {
                .goal = test_random(&random) % 2 ? test_random(&random) % oracle.blocks : 0,
                .want = 1 + (test_random(&random) % 4 ? test_random(&random) % 20
                                                      : test_random(&random) % 1500),
                .logical = test_random(&random) % 3 * 512 + test_random(&random) % 2 * 7,
                .flags = test_random(&random) % 8 ? 0 : SPACE_EXACT,
            };
            struct space_extent got;
            int error = alloc_one(&request, &got);
            ck_assert(error == 0 || error == -ENOSPC);
            if (error)
                continue;
            ck_assert_uint_ge(got.count, 1);
            ck_assert_uint_le(got.count, request.want);
            if (request.flags & SPACE_EXACT)
                ck_assert_uint_eq(got.start, request.goal);
            oracle_set(&oracle, got, true);
            *extent = got;
        } else {
            uint64_t part =
                test_random(&random) % 3 ? extent->count : 1 + test_random(&random) % extent->count;
            unsigned flags = test_random(&random) % 2 ? SPACE_METADATA : 0;
            ck_assert_int_eq(free_one(extent->start, part, flags), 0);
            oracle_set(&oracle, (struct space_extent){ extent->start, part }, false);
            extent->start += part;
            extent->count -= part;
        }
        if (step % 500 == 0)
            oracle_check(&oracle);
        if (step % 1500 == 1400) {
            pool_fixture_reopen(&fixture);
            oracle_check(&oracle);
            ck_assert_uint_eq(info().held, 0);
        }
    }
    oracle_check(&oracle);
    for (unsigned i = 0; i < EXTENTS; i++)
        if (held[i].count)
            ck_assert_int_eq(free_one(held[i].start, held[i].count, 0), 0);
    ck_assert_int_eq(journal_retire(fixture.journal), 0);
    pool_fixture_reopen(&fixture);
    ck_assert_uint_eq(info().free, fixture.pool->blocks - 8 - 1 - 256 - 2);
    ck_assert_uint_eq(info().pieces_free, 63);
    free(oracle.busy);
}
END_TEST

/* Blocks that all allocations until the pool is full do not include, and then one does. */
static bool is_handed_out(uint64_t block, uint64_t count)
{
    struct txn txn;
    struct space_request request = { .want = 4096, .flags = SPACE_RESERVE };
    struct space_extent extent;
    bool found = false;
    txn_begin(&txn, fixture.space);
    while (space_alloc(&txn, &request, &extent) == 0)
        found = found || (extent.start < block + count && block < extent.start + extent.count);
    txn_abort(&txn);
    return found;
}

START_TEST(s1_freed_blocks_come_back_at_commit)
{
    struct space_request request = { .want = 4 };
    struct space_extent extent;
    struct txn txn;
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    txn_begin(&txn, fixture.space);
    ck_assert_int_eq(space_free(&txn, extent.start, 4, 0), 0);
    ck_assert(!is_handed_out(extent.start, 4));
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    ck_assert(is_handed_out(extent.start, 4));
}
END_TEST

START_TEST(an_abort_gives_and_frees_nothing)
{
    struct space_request request = { .want = 4 };
    struct space_extent extent, other;
    struct txn txn;
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    uint64_t free_before = info().free;
    txn_begin(&txn, fixture.space);
    ck_assert_int_eq(space_free(&txn, extent.start, 4, SPACE_METADATA), 0);
    ck_assert_int_eq(space_alloc(&txn, &request, &other), 0);
    ck_assert_int_eq(space_free(&txn, other.start + 1, 2, 0), 0);
    txn_abort(&txn);
    ck_assert_uint_eq(info().free, free_before);
    ck_assert(is_handed_out(other.start, 4));
    ck_assert(!is_handed_out(extent.start, 4));
}
END_TEST

/* A pool this small is full soon; then the journal is retired for what waits. */
START_TEST(s2_freed_metadata_waits_for_retirement)
{
    struct space_request request = { .want = 1 };
    struct space_extent extent;
    struct txn txn;
    uint64_t sequence;
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    ck_assert_int_eq(journal_retire(fixture.journal), 0); /* does nothing for what comes later */
    txn_begin(&txn, fixture.space);
    ck_assert_int_eq(space_free(&txn, extent.start, 1, SPACE_METADATA), 0);
    ck_assert_int_eq(txn_commit(&txn, &sequence), 0);
    ck_assert_uint_eq(info().held, 1);
    ck_assert_uint_lt(journal_retired(fixture.journal), sequence);
    for (unsigned i = 0; i < 600; i++) { /* more than a piece: it would be found */
        struct space_extent got;
        ck_assert_int_eq(alloc_one(&request, &got), 0);
        if (got.start == extent.start)
            ck_assert_uint_ge(journal_retired(fixture.journal), sequence);
    }
    ck_assert(is_handed_out(extent.start, 1));
    ck_assert_uint_ge(journal_retired(fixture.journal), sequence);
    ck_assert_uint_eq(info().held, 0);
}
END_TEST

/* The same under single retirements, each of which lets go of what the one before it has covered. */
START_TEST(s2_blocks_in_and_out_while_retirement_goes_on)
{
    enum { BLOCKS = 32 };
    struct space_request request = { .want = 1 };
    struct space_extent extent;
    uint64_t start[BLOCKS], freed[BLOCKS] = { 0 }, random = 8;
    unsigned again = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        ck_assert_int_eq(alloc_one(&request, &extent), 0);
        start[i] = extent.start;
    }
    for (unsigned step = 0; step < 6000; step++) {
        unsigned i = test_random(&random) % BLOCKS;
        struct txn txn;
        request.goal = start[i];
        if (freed[i]) {
            ck_assert_int_eq(alloc_one(&request, &extent), 0);
            for (unsigned j = 0; j < BLOCKS; j++) {
                if (extent.start != start[j])
                    continue;
                ck_assert_uint_ge(journal_retired(fixture.journal), freed[j]);
                freed[j] = 0;
                again++;
            }
            continue;
        }
        txn_begin(&txn, fixture.space);
        ck_assert_int_eq(space_free(&txn, start[i], 1, SPACE_METADATA), 0);
        ck_assert_int_eq(txn_commit(&txn, &freed[i]), 0);
    }
    ck_assert_uint_gt(again, 20);
}
END_TEST

START_TEST(s3_held_blocks_wait_for_the_last_hold)
{
    struct space_request request = { .want = 10 };
    struct space_extent extent;
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    uint64_t start = extent.start, before = info().free;
    ck_assert_int_eq(space_hold_begin(fixture.space, start + 2, 4), 0);
    ck_assert_int_eq(space_hold_begin(fixture.space, start + 2, 4), 0);
    ck_assert_int_eq(space_hold_begin(fixture.space, start + 4, 100), 0);
    ck_assert_int_eq(free_one(start, 10, 0), 0);
    ck_assert_uint_eq(info().free, before + 10);
    ck_assert_uint_eq(info().held, 8);
    ck_assert(is_handed_out(start, 2));
    ck_assert(!is_handed_out(start + 2, 8));
    space_hold_end(fixture.space, start + 4, 100);
    ck_assert_uint_eq(info().held, 4);
    ck_assert(is_handed_out(start + 6, 1));
    ck_assert(!is_handed_out(start + 2, 4));
    space_hold_end(fixture.space, start + 2, 4);
    ck_assert_uint_eq(info().held, 4);
    space_hold_end(fixture.space, start + 2, 4);
    ck_assert_uint_eq(info().held, 0);
    ck_assert(is_handed_out(start + 2, 4));
    /* Metadata: first S2, then S3. */
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    ck_assert_int_eq(space_hold_begin(fixture.space, extent.start, 1), 0);
    ck_assert_int_eq(free_one(extent.start, extent.count, SPACE_METADATA), 0);
    ck_assert(!is_handed_out(extent.start, 1));
    ck_assert_uint_eq(info().held, 1);
    space_hold_end(fixture.space, extent.start, 1);
    ck_assert_uint_eq(info().held, 0);
}
END_TEST

START_TEST(taken_and_given_in_one_transaction_cancels)
{
    struct space_request request = { .want = 9 };
    struct space_extent extent;
    struct oracle oracle;
    struct journal_stats before, after;
    struct txn txn;
    oracle_init(&oracle);
    journal_get_stats(fixture.journal, &before);
    txn_begin(&txn, fixture.space);
    ck_assert_int_eq(space_alloc(&txn, &request, &extent), 0);
    ck_assert_int_eq(space_free(&txn, extent.start + 3, 2, SPACE_METADATA), 0);
    ck_assert_int_eq(space_free(&txn, extent.start, 3, 0), 0);
    ck_assert_int_eq(space_free(&txn, extent.start + 8, 1, 0), 0);
    ck_assert_int_eq(space_free(&txn, extent.start + 5, 3, 0), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    journal_get_stats(fixture.journal, &after);
    ck_assert_uint_eq(after.commits, before.commits);
    oracle_check(&oracle);
    txn_begin(&txn, fixture.space);
    ck_assert_int_eq(space_alloc(&txn, &request, &extent), 0);
    ck_assert_int_eq(space_free(&txn, extent.start + 3, 2, 0), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    oracle_set(&oracle, (struct space_extent){ extent.start, 3 }, true);
    oracle_set(&oracle, (struct space_extent){ extent.start + 5, 4 }, true);
    oracle_check(&oracle);
    free(oracle.busy);
}
END_TEST

START_TEST(freeing_what_is_not_allocated_fails_the_pool)
{
    const struct dxf_super *super = &fixture.pool->super;
    struct space_request request = { .want = 4 };
    struct space_extent extent;
    struct txn txn;
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    switch (_i) {
    case 0: /* free */
        ck_assert_int_eq(free_one(extent.start + 3, 2, 0), -EUCLEAN);
        break;
    case 1: /* outside */
        ck_assert_int_eq(free_one(fixture.pool->blocks - 1, 2, 0), -EUCLEAN);
        break;
    case 2:
        ck_assert_int_eq(free_one(1, UINT64_MAX, 0), -EUCLEAN);
        break;
    case 3: /* fixed */
        ck_assert_int_eq(free_one(le64_get(super->bitmap_start), 1, 0), -EUCLEAN);
        break;
    case 4: /* twice in one transaction */
        txn_begin(&txn, fixture.space);
        ck_assert_int_eq(space_free(&txn, extent.start, 2, 0), 0);
        ck_assert_int_eq(space_free(&txn, extent.start + 1, 2, 0), 0);
        ck_assert_int_eq(txn_commit(&txn, NULL), -EUCLEAN);
        break;
    default: /* given already, waiting by S2 */
        ck_assert_int_eq(free_one(extent.start, 1, SPACE_METADATA), 0);
        ck_assert_int_eq(free_one(extent.start, 1, SPACE_METADATA), -EUCLEAN);
        break;
    }
    ck_assert(atomic_load(&fixture.pool->failed));
}
END_TEST

START_TEST(the_reserve_is_for_those_who_may)
{
    struct space_request request = { .want = 1000 };
    struct space_extent extent;
    uint64_t reserve = le64_get(fixture.pool->super.reserve_blocks), rest = 0;
    ck_assert_uint_eq(reserve, 128);
    while (alloc_one(&request, &extent) == 0)
        ;
    ck_assert_uint_eq(info().available, 0);
    ck_assert_uint_eq(info().free, reserve);
    request.flags = SPACE_RESERVE;
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    rest = extent.count;
    for (;;) {
        struct txn txn;
        txn_begin(&txn, fixture.space);
        txn.use_reserve = true;
        request.flags = 0;
        if (space_alloc(&txn, &request, &extent) != 0) {
            txn_abort(&txn);
            break;
        }
        rest += extent.count;
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    }
    ck_assert_uint_eq(rest, reserve);
    ck_assert_uint_eq(info().free, 0);
}
END_TEST

/* So that two stripes are in use, where there are two CPUs. */
static void change_cpu(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu % 2, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

/* ---- placement ------------------------------------------------------------------------------- */

START_TEST(pieces_for_large_requests)
{
    struct space_request request = { .want = 2000, .logical = 1024 };
    struct space_extent extent;
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    ck_assert_uint_eq(extent.start % 512, 0);
    ck_assert_uint_eq(extent.count, 1536); /* three; the rest is a small request */
    request = (struct space_request){ .want = 512, .flags = SPACE_PIECE, .logical = 3 };
    for (unsigned i = 0; i < 60; i++) {
        ck_assert_int_eq(alloc_one(&request, &extent), 0);
        ck_assert_uint_eq(extent.start % 512, 0);
        ck_assert_uint_eq(extent.count, 512);
    }
    ck_assert_uint_eq(info().pieces_free, 0);
    ck_assert_int_eq(alloc_one(&request, &extent), -ENOSPC);
    /* Beyond the next multiple of a piece in the file it is better asked for anew. */
    ck_assert_int_eq(free_one(extent.start, 512, 0), 0);
    request = (struct space_request){ .want = 1000, .logical = 500 };
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    ck_assert_uint_le(extent.count, 12);
}
END_TEST

START_TEST(small_requests_leave_whole_pieces_whole)
{
    struct space_request request = { .want = 1 };
    struct space_extent extent;
    uint64_t random = 3;
    for (unsigned i = 0; i < 3000; i++) {
        request.want = test_random(&random) % 8 + 1;
        uint64_t blocks = fixture.pool->blocks - info().free;
        ck_assert_int_eq(alloc_one(&request, &extent), 0);
        /* As few as the blocks need, and one more for each stripe that may have its own. */
        ck_assert_uint_ge(info().pieces_free + blocks / 512 + 1 + 8 + 1, 64);
    }
}
END_TEST

/* Holes of one block in all broken pieces: used before a whole piece is. */
START_TEST(holes_are_filled_before_a_piece_is_broken)
{
    struct space_request piece = { .want = 512, .flags = SPACE_PIECE }, small = { .want = 8 };
    enum { PIECES = 36 }; /* more than half: then CPUs share what is broken, too */
    struct space_extent extents[PIECES], extent;
    for (unsigned i = 0; i < PIECES; i++) {
        ck_assert_int_eq(alloc_one(&piece, &extents[i]), 0);
        for (unsigned j = 0; j < 512; j += 128)
            ck_assert_int_eq(free_one(extents[i].start + j, 1, 0), 0);
    }
    /* What the first piece has left beside the fixed areas goes first or last, as it may. */
    uint64_t whole = info().pieces_free;
    uint64_t holes = info().free - whole * 512;
    ck_assert_uint_gt(whole, 20);
    for (uint64_t taken = 0; taken < holes; taken += extent.count) {
        ck_assert_uint_eq(info().pieces_free, whole);
        change_cpu((unsigned)taken);
        ck_assert_int_eq(alloc_one(&small, &extent), 0);
    }
    ck_assert_int_eq(alloc_one(&small, &extent), 0);
    ck_assert_uint_eq(info().pieces_free, whole - 1);
    ck_assert_uint_eq(extent.count, 8);
}
END_TEST

START_TEST(a_file_that_grows_stays_in_one_run)
{
    struct space_request request = { .want = 16 };
    struct space_extent extent;
    uint64_t runs = 0, end = 0;
    for (uint64_t logical = 0; logical < 4096; logical += extent.count) {
        request.goal = end;
        request.logical = logical;
        request.want = 16 - logical % 16;
        ck_assert_int_eq(alloc_one(&request, &extent), 0);
        runs += extent.start != end;
        end = extent.start + extent.count;
        if (logical >= 512) /* past the first piece: aligned */
            ck_assert_uint_eq(extent.start % 512, logical % 512);
        /* Another file's small blocks come between in the first piece only. */
        struct space_request other = { .want = 1 };
        struct space_extent between;
        ck_assert_int_eq(alloc_one(&other, &between), 0);
    }
    ck_assert_uint_le(runs, 60);
}
END_TEST

START_TEST(exact_growth)
{
    struct space_request request = { .want = 5 }, grow = { .want = 7, .flags = SPACE_EXACT };
    struct space_extent extent, more;
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    grow.goal = extent.start + 5;
    grow.logical = 5;
    ck_assert_int_eq(alloc_one(&grow, &more), 0);
    ck_assert_uint_eq(more.start, extent.start + 5);
    ck_assert_uint_eq(more.count, 7);
    ck_assert_int_eq(alloc_one(&grow, &more), -ENOSPC);
    ck_assert_int_eq(free_one(extent.start + 5, 3, 0), 0);
    ck_assert_int_eq(alloc_one(&grow, &more), 0);
    ck_assert_uint_eq(more.count, 3);
    grow.goal = fixture.pool->blocks;
    ck_assert_int_eq(alloc_one(&grow, &more), -ENOSPC);
}
END_TEST

/* ---- the rest ---------------------------------------------------------------------------------- */

START_TEST(pools_of_odd_sizes)
{
    static const uint64_t sizes[] = { 8 * MIB, 8 * MIB + 4096, 65 * MIB + 12288, 128 * MIB - 4096 };
    struct pool_fixture saved = fixture;
    struct space_request request = { .want = 700, .flags = SPACE_RESERVE };
    struct space_extent extent;
    pool_fixture_create(&fixture, sizes[_i]);
    struct oracle oracle;
    oracle_init(&oracle);
    oracle_check(&oracle);
    while (alloc_one(&request, &extent) == 0)
        oracle_set(&oracle, extent, true);
    ck_assert_uint_eq(oracle.free, 0);
    oracle_check(&oracle);
    pool_fixture_reopen(&fixture);
    oracle_check(&oracle);
    ck_assert_int_eq(alloc_one(&request, &extent), -ENOSPC);
    free(oracle.busy);
    pool_fixture_destroy(&fixture);
    fixture = saved;
}
END_TEST

START_TEST(damaged_lines_are_busy_and_fail_the_pool)
{
    uint64_t line = 20;
    struct dxf_bitmap_line *place =
        (void *)(fixture.memory + le64_get(fixture.pool->super.bitmap_start) * DXF_BLOCK_SIZE +
                 line * DXF_LINE_SIZE);
    place->bits[2].raw = 4;
    struct space *space;
    ck_assert_int_eq(space_open(fixture.pool, fixture.journal, &space), 0);
    struct space_info damaged;
    space_get_info(space, &damaged);
    ck_assert_uint_eq(damaged.free, info().free - DXF_LINE_BITS);
    ck_assert(atomic_load(&fixture.pool->failed));
    space_close(space);
}
END_TEST

struct trim_check {
    uint64_t blocks;
    uint64_t minimum;
    uint64_t end, run; /* of the run that comes in parts */
};

static int trim_run(void *arg, uint64_t start, uint64_t count)
{
    struct trim_check *check = arg;
    if (start != check->end) {
        ck_assert(check->run == 0 || check->run >= check->minimum);
        check->run = 0;
    }
    check->run += count;
    check->end = start + count;
    ck_assert(!is_handed_out(start, count));
    /* Neither the reserve nor all that others could have is taken meanwhile. */
    ck_assert_uint_gt(info().free, info().reserve);
    ck_assert_uint_gt(info().available, 0);
    check->blocks += count;
    return 0;
}

START_TEST(trim_visits_free_runs)
{
    struct space_request request = { .want = 100 };
    struct space_extent extent;
    struct trim_check check = { .minimum = 1 };
    ck_assert_int_eq(alloc_one(&request, &extent), 0);
    uint64_t before = info().free;
    ck_assert_int_eq(space_trim(fixture.space, 0, UINT64_MAX, 1, trim_run, &check), 0);
    ck_assert_uint_eq(check.blocks, before);
    ck_assert_uint_eq(info().free, before);
    check = (struct trim_check){ .minimum = 1000 };
    ck_assert_int_eq(space_trim(fixture.space, 0, UINT64_MAX, 1000, trim_run, &check), 0);
    ck_assert_uint_gt(check.blocks, 0);
    ck_assert_uint_ge(check.run, 1000);
}
END_TEST

#ifndef __SANITIZE_THREAD__
static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static long resident_kib(void)
{
    long pages = 0, total;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_int_eq(fscanf(file, "%ld %ld", &total, &pages), 2);
    fclose(file);
    return pages * 4;
}

/* scale.mkfs16t, as far as this layer goes. */
START_TEST(sixteen_tebibytes_sparse)
{
    const char *path = "/dev/shm/daxfuse-test-16t";
    struct pool_create_options create = { .size = 16ull << 40, .sparse = true, .force = true };
    struct pool_options options = { 0 };
    struct journal_replayed replayed;
    struct journal *journal;
    struct space *space;
    struct pool *pool;
    struct stat st;
    char *message = NULL;
    unlink(path);
    double start = seconds_now();
    ck_assert_int_eq(pool_create(path, &create, &pool, &message), 0);
    memcpy(pool->super.magic, DXF_MAGIC, 8);
    pool->super.version = le32_make(DXF_VERSION);
    pool->super.pool_blocks = le64_make(create.size / DXF_BLOCK_SIZE);
    ck_assert_int_eq(layout_compute(&pool->super), 0);
    ck_assert_int_eq(journal_format(pool), 0);
    ck_assert_int_eq(space_format(pool), 0);
    ck_assert_int_eq(pool_write_super(pool), 0);
    pool_close(pool);
    long before = resident_kib();
    ck_assert_int_eq(pool_open(path, &options, &pool, &message), 0);
    ck_assert_int_eq(journal_replay(pool, &replayed), 0);
    ck_assert_int_eq(journal_open(pool, &journal), 0);
    ck_assert_int_eq(space_open(pool, journal, &space), 0);
    double took = seconds_now() - start;
    ck_assert_msg(took < 1.0, "%f s", took);
    ck_assert_int_lt(resident_kib() - before, 16384);
    struct space_request request = { .want = 1u << 20 };
    struct space_info now;
    space_get_info(space, &now);
    ck_assert_uint_gt(now.free, (16ull << 40) / 4096 - 200000);
    for (unsigned i = 0; i < 20; i++) {
        struct space_extent extent;
        struct txn txn;
        request.want = i % 2 ? 1 : 1024;
        txn_begin(&txn, space);
        ck_assert_int_eq(space_alloc(&txn, &request, &extent), 0);
        ck_assert_uint_eq(extent.count, request.want);
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    }
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_lt(st.st_blocks * 512, 128 << 20);
    space_close(space);
    journal_close(journal);
    pool_close(pool);
    unlink(path);
}
END_TEST
#endif

/* ---- threads ---------------------------------------------------------------------------------- */

#define THREADS 4u

struct thread_arg {
    _Atomic uint8_t *owner; /* a byte a block */
    uint8_t number;
    unsigned steps;
    bool failed;
};

static void *thread_body(void *arg)
{
    enum { EXTENTS = 60 };
    struct thread_arg *mine = arg;
    struct space_extent held[EXTENTS] = { 0 };
    uint64_t random = mine->number * 1000;
    for (unsigned step = 0; step < mine->steps; step++) {
        struct space_extent *extent = &held[test_random(&random) % EXTENTS];
        struct txn txn;
        txn_begin(&txn, fixture.space);
        if (extent->count == 0) {
            struct space_request request = { .want = test_random(&random) % 60 + 1 };
            if (test_random(&random) % 10 == 0)
                request = (struct space_request){ .want = 512, .flags = SPACE_PIECE };
            int error = space_alloc(&txn, &request, extent);
            if (error) {
                txn_abort(&txn);
                mine->failed = mine->failed || error != -ENOSPC;
                extent->count = 0;
                continue;
            }
            for (uint64_t i = extent->start; i < extent->start + extent->count; i++)
                if (atomic_exchange(&mine->owner[i], mine->number) != 0)
                    mine->failed = true;
            if (step % 5 == 0) {
                for (uint64_t i = extent->start; i < extent->start + extent->count; i++)
                    atomic_store(&mine->owner[i], 0);
                extent->count = 0;
                txn_abort(&txn);
                continue;
            }
        } else {
            for (uint64_t i = extent->start; i < extent->start + extent->count; i++)
                if (atomic_exchange(&mine->owner[i], 0) != mine->number)
                    mine->failed = true;
            if (space_free(&txn, extent->start, extent->count, step % 2) != 0)
                mine->failed = true;
            extent->count = 0;
        }
        if (txn_commit(&txn, NULL) != 0)
            mine->failed = true;
    }
    for (unsigned i = 0; i < EXTENTS; i++) {
        for (uint64_t j = held[i].start; j < held[i].start + held[i].count; j++)
            atomic_store(&mine->owner[j], 0);
        if (held[i].count > 0 && free_one(held[i].start, held[i].count, 0) != 0)
            mine->failed = true;
    }
    return NULL;
}

START_TEST(l1_threads_never_share_a_block)
{
    pthread_t threads[THREADS];
    struct thread_arg args[THREADS];
    _Atomic uint8_t *owner = calloc(1, fixture.pool->blocks);
    uint64_t before = info().free;
    for (unsigned i = 0; i < THREADS; i++) {
        args[i] = (struct thread_arg){ .owner = owner, .number = (uint8_t)(i + 1), .steps = 3000 };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_body, &args[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert(!args[i].failed);
    }
    ck_assert_uint_eq(info().free, before);
    struct oracle oracle;
    oracle_init(&oracle);
    oracle_check(&oracle);
    free(oracle.busy);
    free((void *)owner);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("space");
    TCase *tc = tcase_create("space");
    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, random_against_an_oracle, 0, 2);
    tcase_add_test(tc, s1_freed_blocks_come_back_at_commit);
    tcase_add_test(tc, an_abort_gives_and_frees_nothing);
    tcase_add_test(tc, s2_freed_metadata_waits_for_retirement);
    tcase_add_test(tc, s2_blocks_in_and_out_while_retirement_goes_on);
    tcase_add_test(tc, s3_held_blocks_wait_for_the_last_hold);
    tcase_add_test(tc, taken_and_given_in_one_transaction_cancels);
    tcase_add_loop_test(tc, freeing_what_is_not_allocated_fails_the_pool, 0, 6);
    tcase_add_test(tc, the_reserve_is_for_those_who_may);
    tcase_add_test(tc, pieces_for_large_requests);
    tcase_add_test(tc, small_requests_leave_whole_pieces_whole);
    tcase_add_test(tc, holes_are_filled_before_a_piece_is_broken);
    tcase_add_test(tc, a_file_that_grows_stays_in_one_run);
    tcase_add_test(tc, exact_growth);
    tcase_add_loop_test(tc, pools_of_odd_sizes, 0, 4);
    tcase_add_test(tc, damaged_lines_are_busy_and_fail_the_pool);
    tcase_add_test(tc, trim_visits_free_runs);
#ifndef __SANITIZE_THREAD__ /* whose shadow leaves 1 TiB to map */
    tcase_add_test(tc, sixteen_tebibytes_sparse);
#endif
    tcase_add_test(tc, l1_threads_never_share_a_block);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
