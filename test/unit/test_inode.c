/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inodes: numbers taken and given back against an array, over several groups of the table, with
 * aborts, remounts, replays and many threads; and what damage to one record or line does to others.
 */
#include "base/checksum.h"
#include "base/endian.h"
#include "base/random.h"
#include "media/validate.h"
#include "meta/extent.h"
#include "meta/inode.h"
#include "meta/table.h"
#include "meta_fixture.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed = checksum64(&seed, sizeof(seed), 17);
    return (seed >> 4) % below;
}

static void fill(struct dxf_inode *inode, uint32_t uid)
{
    inode->mode = le16_make(S_IFREG | 0600);
    inode->links = le32_make(1);
    inode->uid = le32_make(uid);
}

static uint64_t free_blocks(struct meta_fixture *f)
{
    struct space_info info;
    space_get_info(f->space, &info);
    return info.free;
}

static uint64_t table_blocks(struct meta_fixture *f)
{
    const struct dxf_inode *inode;
    ck_assert_int_eq(inode_view(f->meta, NULL, DXF_INO_TABLE, &inode), 0);
    return le64_get(inode->blocks);
}

/* ---- one thread against an oracle ------------------------------------------------------------- */

#define NUMBERS (4u * DXF_TABLE_GROUP_INODES)

struct oracle {
    uint32_t uid[NUMBERS];        /* 0: free */
    uint32_t generation[NUMBERS]; /* the last one, also of a free number */
    uint32_t used[NUMBERS];       /* list of the used ones */
    unsigned count;
};

static int oracle_take(struct meta_fixture *f, struct oracle *oracle, bool abort)
{
    struct dxf_inode *inode;
    struct txn txn;
    uint64_t ino, goal = draw(2) && oracle->count > 0 ? oracle->used[draw(oracle->count)] : 0;

    txn_begin(&txn, f->space);
    int rc = inode_alloc(f->meta, &txn, goal, &ino, &inode);
    if (rc < 0) {
        txn_abort(&txn);
        return rc;
    }
    ck_assert_uint_ge(ino, DXF_INO_FIRST);
    ck_assert_uint_lt(ino, NUMBERS);
    ck_assert_uint_eq(oracle->uid[ino], 0);
    ck_assert_uint_ne(le32_get(inode->generation), 0);
    ck_assert_uint_ne(le32_get(inode->generation), oracle->generation[ino]);
    ck_assert_uint_eq(le16_get(inode->mode), 0);
    uint32_t uid = 1 + (uint32_t)draw(1u << 30), generation = le32_get(inode->generation);
    fill(inode, uid);
    if (abort) {
        txn_abort(&txn);
        return 0;
    }
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    oracle->uid[ino] = uid;
    oracle->generation[ino] = generation;
    oracle->used[oracle->count++] = (uint32_t)ino;
    return 0;
}

static void oracle_give(struct meta_fixture *f, struct oracle *oracle, bool abort)
{
    if (oracle->count == 0)
        return;
    unsigned i = (unsigned)draw(oracle->count);
    uint64_t ino = oracle->used[i];
    struct txn txn;
    const struct dxf_inode *inode;

    txn_begin(&txn, f->space);
    ck_assert_int_eq(inode_view(f->meta, &txn, ino, &inode), 0);
    ck_assert_int_eq(inode_free(f->meta, &txn, ino), 0);
    ck_assert_int_eq(inode_view(f->meta, &txn, ino, &inode), -ESTALE);
    if (abort) {
        txn_abort(&txn);
        return;
    }
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    oracle->uid[ino] = 0;
    oracle->used[i] = oracle->used[--oracle->count];
}

struct walk {
    const struct oracle *oracle;
    uint64_t last;
    unsigned count;
};

static int walk_number(void *arg, uint64_t ino)
{
    struct walk *walk = arg;
    ck_assert_uint_gt(ino, walk->last);
    walk->last = ino;
    if (ino >= DXF_INO_FIRST) {
        ck_assert_uint_ne(walk->oracle->uid[ino], 0);
        walk->count++;
    } else {
        ck_assert(ino == DXF_INO_ROOT || ino == DXF_INO_ORPHANS);
    }
    return 0;
}

static void oracle_check(struct meta_fixture *f, const struct oracle *oracle)
{
    uint64_t capacity = table_capacity(f->meta->table), used, more;
    unsigned wrong = 0;

    for (uint64_t ino = DXF_INO_FIRST; ino < NUMBERS; ino++) {
        const struct dxf_inode *inode;
        int rc = inode_view(f->meta, NULL, ino, &inode);
        if (oracle->uid[ino] == 0)
            wrong += rc != -ESTALE;
        else
            wrong += rc != 0 || le32_get(inode->uid) != oracle->uid[ino] ||
                     le32_get(inode->generation) != oracle->generation[ino];
    }
    ck_assert_uint_eq(wrong, 0);
    struct walk walk = { .oracle = oracle };
    ck_assert_int_eq(inode_walk(f->meta, 0, walk_number, &walk), 0);
    ck_assert_uint_eq(walk.count, oracle->count);
    inode_counts(f->meta, &used, &more);
    ck_assert_uint_eq(used, oracle->count + DXF_INO_FIRST);
    ck_assert_uint_ge(used + more, capacity);
}

START_TEST(random_numbers)
{
    struct meta_fixture f;
    struct oracle *oracle = calloc(1, sizeof(*oracle));

    ck_assert_ptr_nonnull(oracle);
    seed = 31 + (uint64_t)_i;
    meta_fixture_open(&f, 64);
    uint64_t all = free_blocks(&f) + table_blocks(&f);
    /* Up over two groups and more, down to little, up again: the numbers given back come first. */
    uint64_t capacity = 0;
    const unsigned goals[] = { 62000, 300, 62000 };
    for (unsigned phase = 0; phase < 3; phase++) {
        bool up = phase % 2 == 0;
        for (unsigned step = 0; up ? oracle->count < goals[phase] : oracle->count > goals[phase];
             step++) {
            bool take = draw(16) < (up ? 15 : 1);
            bool abort = draw(16) == 0;
            if (take)
                ck_assert_int_eq(oracle_take(&f, oracle, abort), 0);
            else
                oracle_give(&f, oracle, abort);
            if (step == 20000)
                meta_fixture_remount(&f);
            if (step == 40000)
                meta_fixture_crash(&f);
        }
        oracle_check(&f, oracle);
        ck_assert_uint_eq(free_blocks(&f) + table_blocks(&f), all);
        if (phase == 0)
            capacity = table_capacity(f.meta->table);
    }
    ck_assert_uint_gt(capacity, 2 * DXF_TABLE_GROUP_INODES);
    ck_assert_uint_le(table_capacity(f.meta->table), capacity + 8192);
    meta_fixture_remount(&f);
    oracle_check(&f, oracle);
    meta_fixture_close(&f);
    free(oracle);
}
END_TEST

/* When the pool is full numbers run out, once all have been used; an abort loses none. */
START_TEST(no_space)
{
    struct meta_fixture f;
    struct oracle *oracle = calloc(1, sizeof(*oracle));
    int rc = 0;

    ck_assert_ptr_nonnull(oracle);
    seed = 7;
    meta_fixture_open(&f, 8);
    while (rc == 0)
        rc = oracle_take(&f, oracle, draw(4) == 0);
    ck_assert_int_eq(rc, -ENOSPC);
    ck_assert_uint_eq(oracle->count + DXF_INO_FIRST, table_capacity(f.meta->table));
    uint64_t used, more;
    inode_counts(f.meta, &used, &more);
    ck_assert_uint_eq(used, table_capacity(f.meta->table));
    ck_assert_uint_lt(more, DXF_INODES_PER_BLOCK);

    for (unsigned i = 0; i < 1000; i++) {
        oracle_give(&f, oracle, false);
        ck_assert_int_eq(oracle_take(&f, oracle, true), 0);
        ck_assert_int_eq(oracle_take(&f, oracle, false), 0);
        ck_assert_int_eq(oracle_take(&f, oracle, false), -ENOSPC);
    }
    oracle_check(&f, oracle);
    meta_fixture_close(&f);
    free(oracle);
}
END_TEST

static int spoil(void *arg, uint64_t start, uint64_t count, bool allocated)
{
    struct meta_fixture *f = arg;
    if (!allocated)
        memset(pool_block(f->pool, start), 0xa5, count << DXF_BLOCK_SHIFT);
    return 0;
}

/* The table grows over blocks that held something else. */
START_TEST(used_blocks)
{
    struct meta_fixture f;
    struct oracle *oracle = calloc(1, sizeof(*oracle));

    ck_assert_ptr_nonnull(oracle);
    seed = 9;
    meta_fixture_open(&f, 16);
    ck_assert_int_eq(space_walk(f.space, spoil, &f), 0);
    while (oracle->count < 30000)
        ck_assert_int_eq(oracle_take(&f, oracle, draw(16) == 0), 0);
    meta_fixture_crash(&f);
    oracle_check(&f, oracle);
    meta_fixture_close(&f);
    free(oracle);
}
END_TEST

START_TEST(formatted)
{
    struct meta_fixture f;
    const struct dxf_inode *inode;

    meta_fixture_open(&f, 8);
    ck_assert_int_eq(inode_view(f.meta, NULL, DXF_INO_ROOT, &inode), 0);
    ck_assert_uint_eq(le16_get(inode->mode), S_IFDIR | 0755);
    ck_assert_uint_eq(le32_get(inode->links), 2);
    ck_assert_uint_eq(le64_get(inode->parent), DXF_INO_ROOT);
    ck_assert_int_eq(inode_view(f.meta, NULL, DXF_INO_ORPHANS, &inode), 0);
    for (uint64_t ino = DXF_INO_ORPHANS + 1; ino < DXF_INO_FIRST; ino++)
        ck_assert_int_eq(inode_view(f.meta, NULL, ino, &inode), -ESTALE);
    ck_assert_int_eq(inode_view(f.meta, NULL, DXF_INO_FIRST, &inode), -ESTALE);
    ck_assert_int_eq(inode_view(f.meta, NULL, UINT64_MAX, &inode), -ESTALE);
    ck_assert_int_eq(inode_view(f.meta, NULL, table_capacity(f.meta->table), &inode), -ESTALE);

    struct txn txn;
    txn_begin(&txn, f.space);
    ck_assert_int_eq(inode_free(f.meta, &txn, UINT64_MAX), -ESTALE);
    ck_assert_int_eq(inode_free(f.meta, &txn, DXF_INO_ROOT), -ESTALE);
    txn_abort(&txn);
    meta_fixture_close(&f);
}
END_TEST

/* ---- many threads ----------------------------------------------------------------------------- */

#define THREADS 4
#define OWN 1500

struct worker {
    pthread_t thread;
    struct meta_fixture *f;
    unsigned index, steps;
    uint64_t own[OWN];
    unsigned count;
    uint64_t state;
};

static uint64_t worker_draw(struct worker *worker, uint64_t below)
{
    worker->state = checksum64(&worker->state, sizeof(worker->state), 19);
    return (worker->state >> 4) % below;
}

static void *worker_run(void *arg)
{
    struct worker *worker = arg;
    struct meta *meta = worker->f->meta;
    unsigned failures = 0;

    for (unsigned step = 0; step < worker->steps; step++) {
        struct txn txn;
        struct dxf_inode *inode;
        const struct dxf_inode *view;
        uint64_t ino;
        bool abort = worker_draw(worker, 8) == 0;
        txn_begin(&txn, worker->f->space);
        if (worker->count == 0 || (worker->count < OWN && worker_draw(worker, 3) > 0)) {
            uint64_t goal = worker->count > 0 && worker_draw(worker, 2) ? worker->own[0] : 0;
            failures += inode_alloc(meta, &txn, goal, &ino, &inode) != 0;
            fill(inode, worker->index + 1);
            if (abort) {
                txn_abort(&txn);
                continue;
            }
            failures += txn_commit(&txn, NULL) != 0;
            worker->own[worker->count++] = ino;
        } else {
            unsigned i = (unsigned)worker_draw(worker, worker->count);
            ino = worker->own[i];
            failures += inode_view(meta, NULL, ino, &view) != 0;
            failures += le32_get(view->uid) != worker->index + 1;
            failures += inode_free(meta, &txn, ino) != 0;
            if (abort) {
                txn_abort(&txn);
                continue;
            }
            failures += txn_commit(&txn, NULL) != 0;
            worker->own[i] = worker->own[--worker->count];
        }
        if (step % 256 == 0) {
            uint64_t used, more;
            inode_counts(meta, &used, &more);
            failures += used < worker->count;
        }
    }
    return (void *)(uintptr_t)failures;
}

START_TEST(threads)
{
    struct meta_fixture f;
    struct worker *workers = calloc(THREADS, sizeof(*workers));
    unsigned total = 0;
    uint64_t used, more;

    ck_assert_ptr_nonnull(workers);
    meta_fixture_open(&f, 16); /* begins with 64 blocks: grows under the threads */
    uint64_t capacity = table_capacity(f.meta->table);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].f = &f;
        workers[i].index = i;
        workers[i].steps = 8000;
        workers[i].state = i + 1;
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        void *failures;
        ck_assert_int_eq(pthread_join(workers[i].thread, &failures), 0);
        ck_assert_ptr_null(failures);
        total += workers[i].count;
    }
    ck_assert_uint_gt(table_capacity(f.meta->table), capacity);
    inode_counts(f.meta, &used, &more);
    ck_assert_uint_eq(used, total + DXF_INO_FIRST);
    meta_fixture_remount(&f);
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned k = 0; k < workers[i].count; k++) {
            const struct dxf_inode *inode;
            ck_assert_int_eq(inode_view(f.meta, NULL, workers[i].own[k], &inode), 0);
            ck_assert_uint_eq(le32_get(inode->uid), i + 1);
        }
    inode_counts(f.meta, &used, &more);
    ck_assert_uint_eq(used, total + DXF_INO_FIRST);
    meta_fixture_close(&f);
    free(workers);
}
END_TEST

/* ---- damage ----------------------------------------------------------------------------------- */

static struct dxf_inode *raw_record(struct meta_fixture *f, uint64_t ino)
{
    return pool_at(f->pool, table_record(table_group_of(f->meta->table, ino), ino));
}

static struct dxf_bitmap_line *raw_line(struct meta_fixture *f, uint64_t line)
{
    return pool_at(f->pool, table_line(table_group_of(f->meta->table, line * DXF_LINE_BITS), line));
}

START_TEST(damaged_record)
{
    struct meta_fixture f;
    const struct dxf_inode *inode;
    uint64_t ino[40];

    meta_fixture_open(&f, 16);
    for (unsigned i = 0; i < 40; i++)
        ino[i] = meta_fixture_file(&f);
    raw_record(&f, ino[20])->uid = le32_make(4711);
    /* Times are not under the checksum: each is a store of its own. */
    raw_record(&f, ino[21])->mtime = le64_make(99);
    meta_fixture_remount(&f);
    for (unsigned i = 0; i < 40; i++)
        ck_assert_int_eq(inode_view(f.meta, NULL, ino[i], &inode), i == 20 ? -EUCLEAN : 0);
    ck_assert_int_eq(inode_view(f.meta, NULL, ino[20], &inode), -EUCLEAN);
    meta_fixture_close(&f);
}
END_TEST

/* A damaged bitmap line: its inodes can be read, none is taken or given back there. */
START_TEST(damaged_line)
{
    struct meta_fixture f;
    const struct dxf_inode *inode;
    struct txn txn;

    meta_fixture_open(&f, 64);
    uint64_t first = meta_fixture_file(&f), line = first / DXF_LINE_BITS;
    raw_line(&f, line)->bits[3].raw ^= 1;
    meta_fixture_remount(&f);
    ck_assert_int_eq(inode_view(f.meta, NULL, first, &inode), 0);
    for (unsigned i = 0; i < 600; i++)
        ck_assert_uint_ne(meta_fixture_file(&f) / DXF_LINE_BITS, line);
    txn_begin(&txn, f.space);
    ck_assert_int_eq(inode_free(f.meta, &txn, first), -EUCLEAN);
    txn_abort(&txn);
    meta_fixture_close(&f);
}
END_TEST

/* A bit that was lost: the record behind it is not written over. */
START_TEST(lost_bit)
{
    struct meta_fixture f;
    const struct dxf_inode *inode;
    uint64_t ino[10];

    meta_fixture_open(&f, 16);
    for (unsigned i = 0; i < 10; i++)
        ino[i] = meta_fixture_file(&f);
    uint64_t line = ino[4] / DXF_LINE_BITS, bit = ino[4] % DXF_LINE_BITS;
    uint32_t generation = le32_get(raw_record(&f, ino[4])->generation);
    meta_fixture_remount(&f);
    raw_line(&f, line)->bits[bit / 64].raw &= ~htole64(1ull << bit % 64);
    seal_bitmap_line(raw_line(&f, line), line);
    meta_fixture_remount(&f);
    for (unsigned i = 0; i < 1000; i++)
        ck_assert_uint_ne(meta_fixture_file(&f), ino[4]);
    ck_assert_int_eq(inode_view(f.meta, NULL, ino[4], &inode), 0);
    ck_assert_uint_eq(le32_get(inode->generation), generation);

    /* One bit too many past the end of the table. */
    uint64_t capacity = table_capacity(f.meta->table), last = capacity / DXF_LINE_BITS;
    if (capacity % DXF_LINE_BITS != 0) {
        meta_fixture_remount(&f);
        raw_line(&f, last)->bits[6].raw |= htole64(1ull << 63);
        seal_bitmap_line(raw_line(&f, last), last);
        meta_fixture_remount(&f);
        for (unsigned i = 0; i < 600; i++)
            ck_assert_uint_ne(meta_fixture_file(&f) / DXF_LINE_BITS, last);
    }
    meta_fixture_close(&f);
}
END_TEST

/* Anchors that no mount may fall over. */
START_TEST(damaged_anchor)
{
    struct meta_fixture f;
    struct meta *meta;

    meta_fixture_open(&f, 16);
    meta_fixture_remount(&f);
    meta_close(f.meta);
    struct dxf_anchor *anchor = pool_block(f.pool, DXF_ANCHOR_BLOCK);
    const struct dxf_anchor good = *anchor;
    for (unsigned i = 0; i < 7; i++) {
        *anchor = good;
        switch (i) {
        case 0:
            anchor->table.uid = le32_make(1);
            break;
        case 1:
            anchor->table.size = le64_make(le64_get(good.table.size) + DXF_BLOCK_SIZE);
            break;
        case 2:
            anchor->table.size = le64_make(DXF_FILE_SIZE_MAX);
            break;
        case 3: /* begins with a hole */
            anchor->table.extent[0].word0 = le64_make(le64_get(good.table.extent[0].word0) +
                                                      (1ull << DXF_EXTENT_LOGICAL_SHIFT));
            break;
        case 4:
            anchor->table.extent[0].word1 =
                le64_make(le64_get(good.table.extent[0].word1) | DXF_EXTENT_UNWRITTEN);
            break;
        case 5:
            anchor->table.layout = DXF_LAYOUT_TREE;
            anchor->table.count = 8;
            anchor->table.tree.root = le64_make(DXF_SPARE_BLOCK + 1);
            break;
        default:
            memset(anchor, 0, sizeof(*anchor));
            break;
        }
        if (i > 0 && i < 6)
            seal_inode(&anchor->table, DXF_INO_TABLE);
        ck_assert_int_eq(meta_open(f.pool, f.journal, f.space, &meta), -EUCLEAN);
    }
    *anchor = good;
    ck_assert_int_eq(meta_open(f.pool, f.journal, f.space, &f.meta), 0);
    meta_fixture_close(&f);
}
END_TEST

/* ---- what it costs ---------------------------------------------------------------------------- */

static uint64_t take_near(struct meta_fixture *f, uint64_t goal)
{
    struct dxf_inode *inode;
    struct txn txn;
    uint64_t ino;

    txn_begin(&txn, f->space);
    ck_assert_int_eq(inode_alloc(f->meta, &txn, goal, &ino, &inode), 0);
    fill(inode, 1);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    return ino;
}

/* A search passes by a group that it has found full, until a number of it comes back. */
START_TEST(full_group)
{
    struct meta_fixture f;
    struct txn txn;
    uint64_t last = 0;

    meta_fixture_open(&f, 32);
    while (last < DXF_TABLE_GROUP_INODES || !table_group_of(f.meta->table, 1000)->full)
        last = take_near(&f, DXF_INO_FIRST);
    ck_assert(!table_group_of(f.meta->table, last)->full);
    for (uint64_t ino = 999; ino < DXF_TABLE_GROUP_INODES; ino += 5000) {
        txn_begin(&txn, f.space);
        ck_assert_int_eq(inode_free(f.meta, &txn, ino), 0);
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        ck_assert_uint_eq(take_near(&f, ino), ino);
        ck_assert_uint_gt(take_near(&f, ino), last);
    }
    meta_fixture_close(&f);
}
END_TEST

START_TEST(costs)
{
    struct meta_fixture f;
    const struct dxf_inode *inode;
    unsigned wrong = 0;

    meta_fixture_open(&f, 64);
    double start = meta_fixture_seconds();
    for (unsigned i = 0; i < 20000; i++) {
        struct dxf_inode *edit;
        struct txn txn;
        uint64_t ino;
        txn_begin(&txn, f.space);
        wrong += inode_alloc(f.meta, &txn, 0, &ino, &edit) != 0;
        fill(edit, 1);
        wrong += txn_commit(&txn, NULL) != 0;
    }
    double made = meta_fixture_seconds();
    for (unsigned round = 0; round < 100; round++)
        for (uint64_t ino = 1000; ino < 11000; ino++)
            wrong += inode_view(f.meta, NULL, ino, &inode) != 0;
    double end = meta_fixture_seconds();
    ck_assert_uint_eq(wrong, 0);
    printf("%.0f ns a new inode, %.1f ns a look at one\n", (made - start) / 20000 * 1e9,
           (end - made) / 1e6 * 1e9);
    meta_fixture_close(&f);
}
END_TEST

START_TEST(random_generator)
{
    uint64_t first = random_u64();
    unsigned same = 0, bits[64] = { 0 };
    for (unsigned i = 0; i < 4096; i++) {
        uint64_t number = random_u64();
        same += number == first;
        for (unsigned bit = 0; bit < 64; bit++)
            bits[bit] += number >> bit & 1;
        ck_assert_uint_ne(random_nonzero_u32(), 0);
    }
    ck_assert_uint_eq(same, 0);
    for (unsigned bit = 0; bit < 64; bit++) {
        ck_assert_uint_gt(bits[bit], 4096 * 2 / 5);
        ck_assert_uint_lt(bits[bit], 4096 * 3 / 5);
    }
    uint8_t a[40] = { 0 }, b[40] = { 0 };
    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    ck_assert_mem_ne(a, b, sizeof(a));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("inode");
    TCase *tcase = tcase_create("inode");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, formatted);
    tcase_add_loop_test(tcase, random_numbers, 0, 2);
    tcase_add_test(tcase, no_space);
    tcase_add_test(tcase, used_blocks);
    tcase_add_test(tcase, threads);
    tcase_add_test(tcase, damaged_record);
    tcase_add_test(tcase, damaged_line);
    tcase_add_test(tcase, lost_bit);
    tcase_add_test(tcase, damaged_anchor);
    tcase_add_test(tcase, full_group);
    tcase_add_test(tcase, costs);
    tcase_add_test(tcase, random_generator);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
