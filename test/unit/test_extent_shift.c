/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shifts of large extent maps, over the borders of leaves and inner nodes, in transactions of a small
 * log; what they refuse, and what comes first. Small ones, at random, are in test_extent.c.
 */
#include "base/endian.h"
#include "meta/extent.h"
#include "meta_fixture.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

static const struct dxf_inode *view(struct meta_fixture *f, uint64_t ino)
{
    const struct dxf_inode *inode;

    ck_assert_int_eq(inode_view(f->meta, NULL, ino, &inode), 0);
    return inode;
}

#define DEEP 70000u

/* Extent k of a deep map: every third block; neighbours never continue each other. */
static uint64_t deep_logical(uint64_t k)
{
    return 3 * k + 1;
}

struct deep {
    uint64_t k, from, by; /* extents from this one on stand higher by so much */
    bool wrong;
};

static int deep_extent(void *arg, const struct extent *extent)
{
    struct deep *deep = arg;
    uint64_t logical = deep_logical(deep->k) + (deep->k >= deep->from ? deep->by : 0);

    if (extent->logical != logical || extent->length != 1 ||
        extent->physical != (deep->k % 2 ? 1000 : 1500))
        deep->wrong = true;
    deep->k++;
    return deep->wrong;
}

static void deep_check(struct meta_fixture *f, uint64_t ino, uint64_t from, uint64_t by)
{
    struct deep deep = { .from = from, .by = by };

    extent_walk(f->meta, NULL, ino, view(f, ino), 0, UINT64_MAX, deep_extent, &deep);
    ck_assert_msg(!deep.wrong, "extent %llu is wrong", (unsigned long long)deep.k - 1);
    ck_assert_uint_eq(deep.k, DEEP);
}

/* In transactions that a small log can hold, with a remount between two of them. */
static unsigned deep_shift(struct meta_fixture *f, uint64_t ino, uint64_t at, int64_t delta)
{
    uint64_t cursor = 0;
    unsigned count = 0;
    struct txn txn;

    for (; cursor != UINT64_MAX; count++) {
        txn_begin(&txn, f->space);
        struct dxf_inode *inode = inode_edit(f->meta, &txn, ino);
        uint64_t before = cursor;
        ck_assert_int_eq(
            extent_shift(f->meta, &txn, ino, inode, at, delta, cursor, UINT32_MAX, &cursor), 0);
        if (count > 0 && delta > 0 && cursor != UINT64_MAX)
            ck_assert_uint_lt(cursor, before);
        else if (count > 0)
            ck_assert_uint_gt(cursor, before);
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        if (count == 5)
            meta_fixture_crash(f);
    }
    return count;
}

/* What a cursor says that is not true is noticed, also where the neighbour is in the next leaf. */
static void deep_refuse(struct meta_fixture *f, uint64_t ino, int64_t delta, uint64_t cursor)
{
    struct txn txn;

    txn_begin(&txn, f->space);
    struct dxf_inode *inode = inode_edit(f->meta, &txn, ino);
    ck_assert_int_eq(extent_shift(f->meta, &txn, ino, inode, 0, delta, cursor, 1, &cursor),
                     -EEXIST);
    ck_assert_int_eq(txn_commit(&txn, NULL), -EEXIST);
}

START_TEST(deep_shifts)
{
    struct meta_fixture f;
    meta_fixture_open(&f, 400); /* the record may say as many blocks */
    uint64_t ino = meta_fixture_file(&f);
    const uint64_t middle = DEEP / 2;
    struct txn txn;

    for (uint64_t k = 0; k < DEEP;) {
        txn_begin(&txn, f.space);
        struct dxf_inode *inode = inode_edit(f.meta, &txn, ino);
        for (unsigned i = 0; i < 200 && k < DEEP; i++, k++) {
            struct extent extent = { .logical = deep_logical(k),
                                     .physical = k % 2 ? 1000 : 1500,
                                     .length = 1 };
            ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
        }
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    }
    ck_assert_uint_eq(view(&f, ino)->count, 3);
    deep_check(&f, ino, 0, 0);
    uint64_t blocks = le64_get(view(&f, ino)->blocks);

    ck_assert_uint_gt(deep_shift(&f, ino, deep_logical(middle) - 1, 1234), 8);
    deep_check(&f, ino, middle, 1234);
    ck_assert_uint_gt(deep_shift(&f, ino, deep_logical(middle) - 1 + 1234, -1234), 8);
    deep_check(&f, ino, 0, 0);
    ck_assert_uint_gt(deep_shift(&f, ino, 0, 1ll << 43), 8);
    deep_check(&f, ino, 0, 1ull << 43);
    ck_assert_uint_gt(deep_shift(&f, ino, 1ull << 43, -(1ll << 43)), 8);
    deep_check(&f, ino, 0, 0);
    ck_assert_uint_gt(deep_shift(&f, ino, 1, -1), 8);
    ck_assert_uint_gt(deep_shift(&f, ino, 0, 1), 8);
    deep_check(&f, ino, 0, 0);
    ck_assert_uint_eq(le64_get(view(&f, ino)->blocks), blocks);

    for (uint64_t k = DXF_NODE_ENTRIES - 1; k <= DXF_NODE_ENTRIES + 1; k++) {
        deep_refuse(&f, ino, 3, deep_logical(k) + 1);
        deep_refuse(&f, ino, -3, deep_logical(k));
    }
    deep_check(&f, ino, 0, 0);
    meta_fixture_close(&f);
}
END_TEST

/* An insert cuts in its first call, before anything moves; and in no later one. */
START_TEST(shift_cuts_first)
{
    struct meta_fixture f;
    meta_fixture_open(&f, 16);
    uint64_t ino = meta_fixture_file(&f), cursor = 0;
    struct extent extent = { .logical = 0, .physical = 1000, .length = 100 }, got;
    struct txn txn;

    txn_begin(&txn, f.space);
    struct dxf_inode *inode = inode_edit(f.meta, &txn, ino);
    ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
    extent = (struct extent){ .logical = 200, .physical = 1200, .length = 10 };
    ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
    ck_assert_int_eq(extent_shift(f.meta, &txn, ino, inode, 40, 7, cursor, 1, &cursor), 0);
    ck_assert_uint_eq(cursor, 210); /* nothing has moved */
    ck_assert_uint_eq(inode->count, 3);
    ck_assert_int_eq(extent_lookup(f.meta, &txn, ino, inode, 40, &got), 0);
    ck_assert(got.logical == 40 && got.physical == 1040 && got.length == 60);
    ck_assert_int_eq(extent_shift(f.meta, &txn, ino, inode, 40, 7, cursor, 1, &cursor), 0);
    ck_assert_uint_eq(cursor, 100);
    ck_assert_int_eq(extent_shift(f.meta, &txn, ino, inode, 40, 7, cursor, 1, &cursor), 0);
    ck_assert_uint_eq(cursor, UINT64_MAX);
    ck_assert_uint_eq(inode->count, 3);
    ck_assert_int_eq(extent_lookup(f.meta, &txn, ino, inode, 47, &got), 0);
    ck_assert(got.logical == 47 && got.physical == 1040 && got.length == 60);
    ck_assert_int_eq(extent_lookup(f.meta, &txn, ino, inode, 207, &got), 0);
    ck_assert(got.logical == 207 && got.physical == 1200 && got.length == 10);
    txn_abort(&txn);

    /* The last one has no room: nothing is cut. */
    txn_begin(&txn, f.space);
    inode = inode_edit(f.meta, &txn, ino);
    extent = (struct extent){ .logical = 0, .physical = 1000, .length = 100 };
    ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
    extent = (struct extent){ .logical = EXTENT_LOGICAL_END - 5, .physical = 1200, .length = 1 };
    ck_assert_int_eq(extent_insert(f.meta, &txn, ino, inode, &extent), 0);
    cursor = 0;
    ck_assert_int_eq(extent_shift(f.meta, &txn, ino, inode, 40, 5, cursor, 1, &cursor), -EFBIG);
    ck_assert_uint_eq(inode->count, 2);
    txn_abort(&txn);
    meta_fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("extent_shift");
    TCase *tcase = tcase_create("core");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, deep_shifts);
    tcase_add_test(tcase, shift_cuts_first);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
