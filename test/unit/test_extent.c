/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extent maps against an array with one entry a block: random inserts, removals, changes of state and
 * shifts, through transactions that are committed or aborted, and remounts. After each the map holds
 * exactly the runs of the array, as few as can be, and no block is lost or counted twice.
 */
#include "base/checksum.h"
#include "base/endian.h"
#include "media/validate.h"
#include "meta/extent.h"
#include "meta_fixture.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed = checksum64(&seed, sizeof(seed), 13);
    return (seed >> 4) % below;
}

/* ---- the oracle ------------------------------------------------------------------------------- */

#define BLOCKS 16000u
#define UNWRITTEN (1ull << 63)

struct oracle {
    uint64_t block[BLOCKS]; /* physical | UNWRITTEN; 0: a hole */
};

static bool same_run(const struct oracle *oracle, uint64_t at)
{
    return oracle->block[at - 1] != 0 && oracle->block[at] == oracle->block[at - 1] + 1;
}

/* The run that begins at or after `at`; length 0: there is none. */
static struct extent oracle_run(const struct oracle *oracle, uint64_t at)
{
    while (at < BLOCKS && oracle->block[at] == 0)
        at++;
    if (at == BLOCKS)
        return (struct extent){ 0 };
    struct extent run = { .logical = at,
                          .physical = oracle->block[at] & ~UNWRITTEN,
                          .length = 1,
                          .unwritten = (oracle->block[at] & UNWRITTEN) != 0 };
    while (at + run.length < BLOCKS && same_run(oracle, at + run.length))
        run.length++;
    return run;
}

struct compare {
    const struct oracle *oracle;
    uint64_t at;
    unsigned extents;
    uint64_t blocks;
};

static void extent_equal(const struct extent *a, const struct extent *b)
{
    ck_assert_uint_eq(a->logical, b->logical);
    ck_assert_uint_eq(a->physical, b->physical);
    ck_assert_uint_eq(a->length, b->length);
    ck_assert_int_eq(a->unwritten, b->unwritten);
}

static int compare_extent(void *arg, const struct extent *extent)
{
    struct compare *compare = arg;
    struct extent run = oracle_run(compare->oracle, compare->at);
    extent_equal(extent, &run);
    compare->at = run.logical + run.length;
    compare->extents++;
    compare->blocks += run.length;
    return 0;
}

static int count_node(void *arg, uint64_t block)
{
    (void)block;
    ++*(uint64_t *)arg;
    return 0;
}

static const struct dxf_inode *view(struct meta_fixture *f, const struct txn *txn, uint64_t ino)
{
    const struct dxf_inode *inode;
    ck_assert_int_eq(inode_view(f->meta, txn, ino, &inode), 0);
    return inode;
}

/* Everything there is to say about the map; returns the number of extents. */
static unsigned map_check(struct meta_fixture *f, uint64_t ino, const struct oracle *oracle)
{
    const struct dxf_inode *inode = view(f, NULL, ino);
    struct compare compare = { .oracle = oracle };
    uint64_t nodes = 0;

    ck_assert_int_eq(
        extent_walk(f->meta, NULL, ino, inode, 0, UINT64_MAX, compare_extent, &compare), 0);
    ck_assert_uint_eq(oracle_run(oracle, compare.at).length, 0);
    ck_assert_int_eq(extent_walk_nodes(f->meta, ino, inode, count_node, &nodes), 0);
    ck_assert_uint_eq(le64_get(inode->blocks), compare.blocks + nodes);
    ck_assert_ptr_null(validate_inode(inode, ino, f->pool->blocks));
    if (compare.extents == 0)
        ck_assert_uint_eq(inode->layout, DXF_LAYOUT_NONE);
    /* It came back into the inode when it was small again. */
    if (inode->layout == DXF_LAYOUT_TREE && inode->count == 1)
        ck_assert_uint_gt(compare.extents, DXF_INLINE_EXTENTS - 2);
    if (compare.extents > DXF_INLINE_EXTENTS)
        ck_assert_uint_eq(inode->layout, DXF_LAYOUT_TREE);
    return compare.extents;
}

static void lookup_check(struct meta_fixture *f, const struct txn *txn, uint64_t ino,
                         const struct oracle *oracle, uint64_t at)
{
    const struct dxf_inode *inode = view(f, txn, ino);
    struct extent got, run = oracle_run(oracle, at);
    int rc = extent_next(f->meta, txn, ino, inode, at, &got);

    if (at > 0 && oracle->block[at] != 0 && same_run(oracle, at)) {
        uint64_t start = at;
        while (start > 0 && same_run(oracle, start))
            start--;
        run = oracle_run(oracle, start);
    }
    if (run.length == 0) {
        ck_assert_int_eq(rc, -ENOENT);
    } else {
        ck_assert_int_eq(rc, 0);
        extent_equal(&got, &run);
    }
    ck_assert_int_eq(extent_lookup(f->meta, txn, ino, inode, at, &got), 0);
    if (run.length == 0 || run.logical > at) {
        ck_assert_uint_eq(got.physical, 0);
        ck_assert_uint_eq(got.logical, at);
        ck_assert_uint_eq(got.length,
                          (run.length > 0 ? run.logical : (DXF_FILE_SIZE_MAX >> 12) + 1) - at);
    } else {
        extent_equal(&got, &run);
    }
}

/* ---- one change ------------------------------------------------------------------------------- */

struct change {
    struct meta_fixture *f;
    uint64_t ino;
    struct oracle *oracle; /* of what the transaction shall bring */
    unsigned bound;        /* extents a transaction; 0: whatever fits one */
    bool abort;
    bool full; /* the pool is */
    struct txn txn;
    struct dxf_inode *inode;
};

/* Everything but an insert may take from the reserve, as punch and truncate do. */
static void begin(struct change *c)
{
    txn_begin(&c->txn, c->f->space);
    c->txn.use_reserve = true;
    c->inode = inode_edit(c->f->meta, &c->txn, c->ino);
    ck_assert_ptr_nonnull(c->inode);
}

/* Between two parts of an operation that is larger than a transaction. */
static void again(struct change *c)
{
    ck_assert_int_eq(txn_commit(&c->txn, NULL), 0);
    begin(c);
}

static unsigned bound_of(const struct change *c)
{
    return c->bound > 0 ? c->bound : UINT32_MAX;
}

static void change_insert(struct change *c)
{
    uint64_t at = draw(BLOCKS), room = 0;
    while (at + room < BLOCKS && room < 24 && c->oracle->block[at + room] == 0)
        room++;
    if (room == 0) {
        const struct extent over = { .logical = at, .physical = 600, .length = 1 };
        ck_assert_int_eq(extent_insert(c->f->meta, &c->txn, c->ino, c->inode, &over), -EEXIST);
        c->abort = true;
        return;
    }
    struct space_request request = { .want = 1 + draw(room), .logical = at };
    if (at > 0 && draw(2))
        request.goal = (c->oracle->block[at - 1] & ~UNWRITTEN) + 1;
    struct space_extent got;
    c->txn.use_reserve = false;
    c->full = space_alloc(&c->txn, &request, &got) == -ENOSPC;
    if (c->full)
        return;
    struct extent extent = {
        .logical = at, .physical = got.start, .length = got.count, .unwritten = draw(2)
    };
    int rc = extent_insert(c->f->meta, &c->txn, c->ino, c->inode, &extent);
    if (rc == -ENOSPC) {
        c->full = true;
        c->abort = true;
        return;
    }
    ck_assert_int_eq(rc, 0);
    for (uint64_t i = 0; i < got.count; i++)
        c->oracle->block[at + i] = (got.start + i) | (extent.unwritten ? UNWRITTEN : 0);
}

static void remove_range(struct change *c, uint64_t at, uint64_t length)
{
    uint64_t left = length;
    do {
        ck_assert_int_eq(
            extent_remove(c->f->meta, &c->txn, c->ino, c->inode, at, left, bound_of(c), 0, &left),
            0);
        ck_assert_uint_le(left, length);
        if (left > 0)
            again(c);
    } while (left > 0);
    memset(&c->oracle->block[at], 0, length * sizeof(c->oracle->block[0]));
}

static void change_mark(struct change *c, uint64_t at, uint64_t length, bool unwritten)
{
    uint64_t left = length;
    do {
        ck_assert_int_eq(extent_mark(c->f->meta, &c->txn, c->ino, c->inode, at + length - left,
                                     left, unwritten, bound_of(c), &left),
                         0);
        if (left > 0)
            again(c);
    } while (left > 0);
    for (uint64_t i = at; i < at + length; i++)
        if (c->oracle->block[i] != 0)
            c->oracle->block[i] = (c->oracle->block[i] & ~UNWRITTEN) | (unwritten ? UNWRITTEN : 0);
}

static void shift_from(struct change *c, uint64_t at, int64_t delta)
{
    uint64_t cursor = 0;
    for (;;) {
        ck_assert_int_eq(extent_shift(c->f->meta, &c->txn, c->ino, c->inode, at, delta, cursor,
                                      bound_of(c), &cursor),
                         0);
        if (cursor == UINT64_MAX)
            break;
        again(c);
    }
    uint64_t *block = c->oracle->block;
    uint64_t by = (uint64_t)(delta < 0 ? -delta : delta);
    if (delta < 0) {
        memmove(&block[at - by], &block[at], (BLOCKS - at) * sizeof(block[0]));
        memset(&block[BLOCKS - by], 0, by * sizeof(block[0]));
    } else {
        memmove(&block[at + by], &block[at], (BLOCKS - by - at) * sizeof(block[0]));
        memset(&block[at], 0, by * sizeof(block[0]));
    }
}

static void change_any(struct change *c)
{
    uint64_t at = draw(BLOCKS - 600), what = draw(100);
    uint64_t length = draw(4) == 0 ? 1 + draw(600) : 1 + draw(20);

    if (what < 60) {
        change_insert(c);
    } else if (what < 75) {
        remove_range(c, at, length);
    } else if (what < 95) {
        change_mark(c, at, length, draw(2));
    } else if (what < 98) {
        remove_range(c, at, length);
        shift_from(c, at + length, -(int64_t)length);
    } else {
        remove_range(c, BLOCKS - length, length);
        shift_from(c, at, (int64_t)length);
    }
}

static uint64_t free_blocks(struct meta_fixture *f)
{
    struct space_info info;
    space_get_info(f->space, &info);
    return info.free;
}

static unsigned random_run(uint64_t first_seed, unsigned steps, unsigned megabytes)
{
    struct meta_fixture f;
    struct oracle *oracle = calloc(3, sizeof(*oracle));
    struct oracle *next = oracle + 1;
    unsigned most = 0, was_full = 0;

    ck_assert_ptr_nonnull(oracle);
    seed = first_seed;
    meta_fixture_open(&f, megabytes);
    struct change c = { .f = &f, .ino = meta_fixture_file(&f), .oracle = next };
    uint64_t all = free_blocks(&f);
    for (unsigned step = 0; step < steps; step++) {
        c.abort = draw(8) == 0;
        c.bound = !c.abort && draw(4) == 0 ? 1 + (unsigned)draw(5) : 0;
        memcpy(next, oracle, sizeof(*oracle));
        begin(&c);
        /* What may take several transactions can not be aborted as a whole. */
        if (!c.abort) {
            change_any(&c);
        } else if (draw(2)) {
            change_insert(&c);
        } else {
            change_mark(&c, draw(BLOCKS - 8), 8, draw(2));
            remove_range(&c, draw(BLOCKS - 8), 8);
        }
        for (unsigned i = 0; i < 2 && c.txn.error == 0; i++)
            lookup_check(&f, &c.txn, c.ino, next, draw(BLOCKS));
        if (c.abort) {
            txn_abort(&c.txn);
        } else {
            ck_assert_int_eq(txn_commit(&c.txn, NULL), 0);
            memcpy(oracle, next, sizeof(*oracle));
        }
        lookup_check(&f, NULL, c.ino, oracle, draw(BLOCKS));
        if (c.full) {
            was_full++;
            c.full = false;
            c.bound = 0;
            memcpy(next, oracle, sizeof(*oracle));
            begin(&c);
            remove_range(&c, draw(BLOCKS - 2000), 2000);
            ck_assert_int_eq(txn_commit(&c.txn, NULL), 0);
            memcpy(oracle, next, sizeof(*oracle));
        }
        if (step % 128 == 0) {
            unsigned extents = map_check(&f, c.ino, oracle);
            most = extents > most ? extents : most;
            ck_assert_uint_eq(free_blocks(&f) + le64_get(view(&f, NULL, c.ino)->blocks), all);
        }
        if (step % 4096 == 1000)
            meta_fixture_remount(&f);
        if (step % 4096 == 3000)
            meta_fixture_crash(&f);
        /* Now and then small again, so that both ways between inode and tree are gone. */
        if (step % 5000 == 4999) {
            c.bound = 0;
            begin(&c);
            remove_range(&c, 0, BLOCKS - draw(24));
            ck_assert_int_eq(txn_commit(&c.txn, NULL), 0);
            memcpy(oracle, next, sizeof(*oracle));
            map_check(&f, c.ino, oracle);
        }
    }
    if (steps > 5000)
        ck_assert_uint_gt(most, DXF_NODE_ENTRIES);
    begin(&c);
    c.bound = 0;
    remove_range(&c, 0, BLOCKS);
    ck_assert_int_eq(txn_commit(&c.txn, NULL), 0);
    ck_assert_uint_eq(map_check(&f, c.ino, next), 0);
    ck_assert_uint_eq(free_blocks(&f), all);
    meta_fixture_close(&f);
    free(oracle);
    return was_full;
}

START_TEST(random_changes)
{
    random_run(1000 + (uint64_t)_i, 12000, 64);
}
END_TEST

/* With so little space that allocations are short and fail. */
START_TEST(random_full)
{
    ck_assert_uint_gt(random_run(2000 + (uint64_t)_i, 4000, 10), 3);
}
END_TEST

/* ---- sizes ------------------------------------------------------------------------------------ */

/* A million extents, every second block; then every second of those; then all. */
START_TEST(million_extents)
{
    struct meta_fixture f;
    const unsigned extents = (unsigned)_i;
    meta_fixture_open(&f, extents / 1000 * 4500 / 1000 + 64);
    uint64_t ino = meta_fixture_file(&f);
    uint64_t all = free_blocks(&f);
    struct txn txn;
    struct dxf_inode *inode;

    double start = meta_fixture_seconds();
    for (unsigned i = 0; i < extents;) {
        txn_begin(&txn, f.space);
        inode = inode_edit(f.meta, &txn, ino);
        struct space_request request = { .want = 128 };
        struct space_extent got;
        ck_assert_int_eq(space_alloc(&txn, &request, &got), 0);
        for (uint64_t k = 0; k < got.count; k++, i++) {
            struct extent extent = { .logical = 2ull * i + 1,
                                     .physical = got.start + k,
                                     .length = 1 };
            ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
        }
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    }
    double built = meta_fixture_seconds();
    const struct dxf_inode *seen = view(&f, NULL, ino);
    uint64_t nodes = 0;
    ck_assert_int_eq(extent_walk_nodes(f.meta, ino, seen, count_node, &nodes), 0);
    /* Appended to, so the leaves are full. */
    ck_assert_uint_le(nodes, extents / DXF_NODE_ENTRIES + extents / DXF_NODE_ENTRIES / 128 + 4);
    meta_fixture_remount(&f);

    seed = 5;
    double looked = meta_fixture_seconds();
    unsigned wrong = 0; /* an assertion each would be what is measured */
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t at = draw(2ull * extents);
        struct extent got = { 0 };
        int rc = inode_view(f.meta, NULL, ino, &seen);
        if (rc == 0)
            rc = extent_lookup(f.meta, NULL, ino, seen, at, &got);
        wrong +=
            rc != 0 || got.logical != at || got.length != 1 || (got.physical != 0) != (at % 2 != 0);
    }
    ck_assert_uint_eq(wrong, 0);
    double removed = meta_fixture_seconds();
    uint64_t left = UINT64_MAX;
    unsigned transactions = 0;
    while (left > 0) {
        txn_begin(&txn, f.space);
        inode = inode_edit(f.meta, &txn, ino);
        ck_assert_int_eq(extent_remove(f.meta, &txn, ino, inode, 0, left, UINT32_MAX, 0, &left), 0);
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        transactions++;
    }
    double end = meta_fixture_seconds();
    ck_assert_uint_eq(view(&f, NULL, ino)->layout, DXF_LAYOUT_NONE);
    ck_assert_uint_eq(free_blocks(&f), all);
    printf("%u extents: built in %.2f s, %.0f ns a lookup, removed in %.2f s by %u transactions\n",
           extents, built - start, (removed - looked) / 100000 * 1e9, end - removed, transactions);
    meta_fixture_close(&f);
}
END_TEST

/* An extent of many blocks is given back in parts that fit a transaction. */
START_TEST(long_extent)
{
    struct meta_fixture f;
    meta_fixture_open(&f, 6000);
    uint64_t ino = meta_fixture_file(&f), at = 0;
    uint64_t all = free_blocks(&f);
    struct txn txn;

    while (at < 1200000) {
        txn_begin(&txn, f.space);
        struct dxf_inode *inode = inode_edit(f.meta, &txn, ino);
        struct space_request request = { .want = 64 * 512, .logical = at };
        struct space_extent got;
        ck_assert_int_eq(space_alloc(&txn, &request, &got), 0);
        struct extent extent = { .logical = at, .physical = got.start, .length = got.count };
        ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        at += got.count;
    }
    uint64_t left = UINT64_MAX;
    unsigned transactions = 0;
    for (; left > 0; transactions++) {
        txn_begin(&txn, f.space);
        struct dxf_inode *inode = inode_edit(f.meta, &txn, ino);
        ck_assert_int_eq(extent_remove(f.meta, &txn, ino, inode, 5, left, UINT32_MAX, 0, &left), 0);
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    }
    ck_assert_uint_lt(transactions, 100);
    ck_assert_uint_eq(le64_get(view(&f, NULL, ino)->blocks), 5);
    ck_assert_uint_eq(free_blocks(&f), all - 5);
    meta_fixture_close(&f);
}
END_TEST

/* Lengths and places at the ends of what the format can say. No block is allocated for it. */
START_TEST(limits)
{
    struct meta_fixture f;
    meta_fixture_open(&f, 16);
    uint64_t ino = meta_fixture_file(&f);
    const uint64_t end = (DXF_FILE_SIZE_MAX >> DXF_BLOCK_SHIFT) + 1;
    struct txn txn;
    struct extent got;

    txn_begin(&txn, f.space);
    struct dxf_inode *inode = inode_edit(f.meta, &txn, ino);
    struct extent extent = { .logical = end - 1, .physical = 1000, .length = 1 };
    ck_assert_int_eq(extent_last(f.meta, &txn, ino, inode, &got), -ENOENT);
    ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
    ck_assert_int_eq(extent_last(f.meta, &txn, ino, inode, &got), 0);
    extent_equal(&got, &extent);
    ck_assert_int_eq(extent_lookup(f.meta, &txn, ino, inode, end, &got), -EFBIG);
    extent.length = 2;
    ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), -EFBIG);
    extent = (struct extent){ .logical = end, .physical = 1000, .length = 1 };
    ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), -EFBIG);
    extent = (struct extent){ .logical = UINT64_MAX, .physical = 1000, .length = 2 };
    ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), -EFBIG);

    /* Longer than one extent can be: two, which are not merged. */
    extent =
        (struct extent){ .logical = 10, .physical = 1000, .length = DXF_EXTENT_LENGTH_MAX + 1ull };
    ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
    ck_assert_uint_eq(inode->count, 3);
    ck_assert_int_eq(extent_lookup(f.meta, &txn, ino, inode, 10, &got), 0);
    ck_assert_uint_eq(got.length, DXF_EXTENT_LENGTH_MAX);
    uint64_t cursor;
    ck_assert_int_eq(extent_shift(f.meta, &txn, ino, inode, 0, 1, 0, 99, &cursor), -EFBIG);
    ck_assert_int_eq(txn_commit(&txn, NULL), -EFBIG);
    ck_assert_uint_eq(view(&f, NULL, ino)->layout, DXF_LAYOUT_NONE);

    txn_begin(&txn, f.space);
    inode = inode_edit(f.meta, &txn, ino);
    extent = (struct extent){ .logical = 10, .physical = 1000, .length = 10 };
    ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
    ck_assert_int_eq(extent_shift(f.meta, &txn, ino, inode, 15, -5, 0, 99, &cursor), -EINVAL);
    txn_abort(&txn);
    meta_fixture_close(&f);
}
END_TEST

/* An append of a block grows the last extent: few bytes are journaled. */
START_TEST(append_is_cheap)
{
    struct meta_fixture f;
    meta_fixture_open(&f, 64);
    uint64_t ino = meta_fixture_file(&f);
    struct journal_stats before, after;
    struct txn txn;
    struct extent last;

    for (unsigned i = 0; i < 40; i++) {
        txn_begin(&txn, f.space);
        struct dxf_inode *inode = inode_edit(f.meta, &txn, ino);
        struct space_request request = { .want = 1 };
        struct space_extent got;
        ck_assert_int_eq(space_alloc(&txn, &request, &got), 0);
        struct extent extent = { .logical = 2 * i, .physical = got.start, .length = 1 };
        ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    }
    ck_assert_uint_eq(view(&f, NULL, ino)->layout, DXF_LAYOUT_TREE);
    for (unsigned i = 0; i < 20; i++) {
        journal_get_stats(f.journal, &before);
        txn_begin(&txn, f.space);
        struct dxf_inode *inode = inode_edit(f.meta, &txn, ino);
        ck_assert_int_eq(extent_last(f.meta, &txn, ino, inode, &last), 0);
        struct space_request request = { .goal = last.physical + last.length,
                                         .want = 1,
                                         .flags = SPACE_EXACT };
        struct space_extent got;
        int rc = space_alloc(&txn, &request, &got);
        if (rc == -ENOSPC) {
            request.flags = 0;
            rc = space_alloc(&txn, &request, &got);
        }
        ck_assert_int_eq(rc, 0);
        struct extent extent = { .logical = last.logical + last.length,
                                 .physical = got.start,
                                 .length = 1 };
        ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        journal_get_stats(f.journal, &after);
        ck_assert_uint_le(after.bytes - before.bytes, 256);
    }
    meta_fixture_close(&f);
}
END_TEST

/* Out of the inode with the ninth extent, back into it with the sixth. */
START_TEST(in_and_out)
{
    struct meta_fixture f;
    meta_fixture_open(&f, 16);
    uint64_t ino = meta_fixture_file(&f), all = free_blocks(&f), left;

    for (unsigned step = 0; step < 40; step++) {
        bool grow = step % 20 < 10;
        unsigned count = grow ? step % 20 : 20 - step % 20;
        struct txn txn;
        txn_begin(&txn, f.space);
        struct dxf_inode *inode = inode_edit(f.meta, &txn, ino);
        if (grow) {
            struct space_request request = { .want = 1 };
            struct space_extent got;
            ck_assert_int_eq(space_alloc(&txn, &request, &got), 0);
            struct extent extent = { .logical = 3 * count, .physical = got.start, .length = 1 };
            ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
            count++;
        } else {
            count--;
            ck_assert_int_eq(extent_remove(f.meta, &txn, ino, inode, 3 * count, 1, 1, 0, &left), 0);
        }
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        bool tree = count > (grow ? 8 : 6);
        const struct dxf_inode *seen = view(&f, NULL, ino);
        ck_assert_uint_eq(seen->layout, tree        ? DXF_LAYOUT_TREE
                                        : count > 0 ? DXF_LAYOUT_INLINE
                                                    : DXF_LAYOUT_NONE);
        ck_assert_uint_eq(le64_get(seen->blocks), count + tree);
        ck_assert_uint_eq(free_blocks(&f), all - count - tree);
        ck_assert_ptr_null(validate_inode(seen, ino, f.pool->blocks));
    }
    meta_fixture_close(&f);
}
END_TEST

/* ---- damage ----------------------------------------------------------------------------------- */

struct nodes {
    uint64_t block[64];
    unsigned count;
};

static int note_node(void *arg, uint64_t block)
{
    struct nodes *nodes = arg;
    if (nodes->count < 64)
        nodes->block[nodes->count++] = block;
    return 0;
}

static int ignore_extent(void *arg, const struct extent *extent)
{
    (void)arg;
    (void)extent;
    return 0;
}

START_TEST(damaged_leaf)
{
    struct meta_fixture f;
    meta_fixture_open(&f, 64);
    uint64_t ino = meta_fixture_file(&f), other = meta_fixture_file(&f);
    struct txn txn;
    struct extent got;

    for (unsigned i = 0; i < 2000; i++) {
        txn_begin(&txn, f.space);
        uint64_t owner = i % 2 ? ino : other;
        struct dxf_inode *inode = inode_edit(f.meta, &txn, owner);
        struct space_request request = { .want = 1 };
        struct space_extent block;
        ck_assert_int_eq(space_alloc(&txn, &request, &block), 0);
        struct extent extent = { .logical = 2 * i, .physical = block.start, .length = 1 };
        ck_assert_int_eq(extent_insert(f.meta, &txn, owner, inode, &extent), 0);
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    }
    struct nodes nodes = { .count = 0 };
    ck_assert_int_eq(extent_walk_nodes(f.meta, ino, view(&f, NULL, ino), note_node, &nodes), 0);
    ck_assert_uint_ge(nodes.count, 4);

    /* nodes.block[0] is the root, [2] the second leaf. */
    struct dxf_node *leaf = pool_block(f.pool, nodes.block[2]);
    uint64_t first = le64_get(leaf->extent[0].word0) >> DXF_EXTENT_LOGICAL_SHIFT;
    leaf->extent[7].word1 = le64_make(le64_get(leaf->extent[7].word1) ^ 4);
    meta_fixture_remount(&f);
    const struct dxf_inode *inode = view(&f, NULL, ino);
    ck_assert_int_eq(extent_lookup(f.meta, NULL, ino, inode, first + 1, &got), -EUCLEAN);
    ck_assert_int_eq(extent_lookup(f.meta, NULL, ino, inode, 2, &got), 0);
    ck_assert_int_eq(extent_walk(f.meta, NULL, ino, inode, 0, UINT64_MAX, ignore_extent, NULL),
                     -EUCLEAN);
    inode = view(&f, NULL, other);
    ck_assert_int_eq(extent_walk(f.meta, NULL, other, inode, 0, UINT64_MAX, ignore_extent, NULL),
                     0);

    /* Taking it all away fails, and changes nothing. */
    uint64_t left;
    txn_begin(&txn, f.space);
    struct dxf_inode *edit = inode_edit(f.meta, &txn, ino);
    ck_assert_int_eq(extent_remove(f.meta, &txn, ino, edit, 0, first + 4, UINT32_MAX, 0, &left),
                     -EUCLEAN);
    ck_assert_int_eq(txn_commit(&txn, NULL), -EUCLEAN);

    /* A leaf with a good checksum whose extents are not its own to have. */
    leaf = pool_block(f.pool, nodes.block[3]);
    leaf->extent[0].word0 = le64_make(0);
    seal_block(&leaf->header);
    uint64_t wrong = (le64_get(leaf->extent[1].word0) >> DXF_EXTENT_LOGICAL_SHIFT) + 1;
    inode = view(&f, NULL, ino);
    ck_assert_int_eq(extent_lookup(f.meta, NULL, ino, inode, wrong, &got), -EUCLEAN);
    meta_fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("extent");
    TCase *tcase = tcase_create("extent");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, random_changes, 0, 8);
    tcase_add_loop_test(tcase, random_full, 0, 3);
    tcase_add_loop_test(tcase, million_extents, 1000000, 1000001);
    tcase_add_test(tcase, long_extent);
    tcase_add_test(tcase, limits);
    tcase_add_test(tcase, append_is_cheap);
    tcase_add_test(tcase, in_and_out);
    tcase_add_test(tcase, damaged_leaf);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
