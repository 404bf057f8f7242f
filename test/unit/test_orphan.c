/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The orphan table and the intents against sets in memory: through aborts, remounts and crashes,
 * with several threads, in a full pool.
 */
#include "base/checksum.h"
#include "base/endian.h"
#include "media/validate.h"
#include "meta/extent.h"
#include "meta/orphan.h"
#include "meta_fixture.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_PLACES (DXF_BLOCK_SIZE / DXF_LINE_SIZE * DXF_ORPHANS_PER_LINE)

static uint32_t draw(uint64_t *seed, uint32_t below)
{
    *seed = checksum64(seed, sizeof(*seed), 7);
    return (uint32_t)(*seed >> 8) % below;
}

/* ---- orphans ---------------------------------------------------------------------------------- */

/* One change in a transaction of its own. */
static int change(struct meta_fixture *f, uint64_t ino, bool add, bool abort)
{
    struct dxf_inode *inode;
    struct txn txn;
    int error;

    txn_begin(&txn, f->space);
    inode = inode_edit(f->meta, &txn, ino);
    ck_assert_ptr_nonnull(inode);
    error = add ? orphan_add(f->meta, &txn, ino, inode) : orphan_remove(f->meta, &txn, ino, inode);
    if (error || abort) {
        txn_abort(&txn);
        return error;
    }
    return txn_commit(&txn, NULL);
}

struct walked {
    const uint64_t *inos;
    uint8_t *seen;
    unsigned names;
    unsigned count;
};

static int walk_see(void *arg, uint64_t ino)
{
    struct walked *walked = arg;

    for (unsigned i = 0; i < walked->names; i++) {
        if (walked->inos[i] == ino) {
            walked->seen[i]++;
            walked->count++;
            return 0;
        }
    }
    ck_abort_msg("an inode that was never added");
}

static void check_all(struct meta_fixture *f, const uint64_t *inos, const bool *there,
                      unsigned names)
{
    uint8_t *seen = calloc(names, 1);
    struct walked walked = { .inos = inos, .seen = seen, .names = names };

    ck_assert_ptr_nonnull(seen);
    ck_assert_int_eq(orphan_walk(f->meta, walk_see, &walked), 0);
    for (unsigned i = 0; i < names; i++) {
        const struct dxf_inode *inode;

        ck_assert_uint_eq(seen[i], there[i]);
        ck_assert_int_eq(inode_view(f->meta, NULL, inos[i], &inode), 0);
        ck_assert_int_eq(le32_get(inode->orphan) != 0, there[i]);
    }
    free(seen);
}

static uint64_t table_blocks(struct meta_fixture *f)
{
    const struct dxf_inode *inode;

    ck_assert_int_eq(inode_view(f->meta, NULL, DXF_INO_ORPHANS, &inode), 0);
    return le64_get(inode->size) >> DXF_BLOCK_SHIFT;
}

START_TEST(random_changes)
{
    enum { NAMES = 1500 };
    struct meta_fixture f;
    uint64_t inos[NAMES], seed = 1;
    bool there[NAMES] = { 0 };
    unsigned count = 0, most = 0;

    meta_fixture_open(&f, 32);
    for (unsigned i = 0; i < NAMES; i++)
        inos[i] = meta_fixture_file(&f);
    for (unsigned step = 0; step < 30000; step++) {
        unsigned i = draw(&seed, NAMES);
        bool add = draw(&seed, 10) < (step / 6000 % 2 == 0 ? 7u : 2u);
        bool abort = draw(&seed, 5) == 0;

        ck_assert_int_eq(change(&f, inos[i], add, abort), 0);
        if (!abort) {
            count = count + add - there[i];
            there[i] = add;
            most = count > most ? count : most;
        }
        if (step % 1500 == 0) {
            check_all(&f, inos, there, NAMES);
            if (step % 6000 == 0)
                meta_fixture_remount(&f);
            else if (step % 6000 == 3000)
                meta_fixture_crash(&f);
            check_all(&f, inos, there, NAMES);
        }
    }
    check_all(&f, inos, there, NAMES);
    /* Places are used again: the table is no longer than it had to be, but for what the stripes
     * and the aborts leave unused. */
    ck_assert_uint_gt(most, 2 * BLOCK_PLACES);
    ck_assert_uint_le(table_blocks(&f), (most + BLOCK_PLACES - 1) / BLOCK_PLACES + 1);
    meta_fixture_close(&f);
}
END_TEST

START_TEST(several_in_one_transaction)
{
    enum { NAMES = 3 * BLOCK_PLACES };
    struct meta_fixture f;
    static uint64_t inos[NAMES];
    static bool there[NAMES];
    struct txn txn;

    meta_fixture_open(&f, 32);
    for (unsigned i = 0; i < NAMES; i++)
        inos[i] = meta_fixture_file(&f);
    /* Batches that grow the table once or twice, every other one aborted. */
    for (unsigned first = 0, round = 0; first < NAMES; round++) {
        unsigned batch = NAMES - first < 60 ? NAMES - first : 60;

        txn_begin(&txn, f.space);
        for (unsigned i = first; i < first + batch; i++) {
            struct dxf_inode *inode = inode_edit(f.meta, &txn, inos[i]);

            ck_assert_int_eq(orphan_add(f.meta, &txn, inos[i], inode), 0);
        }
        if (round % 2 == 0) {
            txn_abort(&txn);
        } else {
            ck_assert_int_eq(txn_commit(&txn, NULL), 0);
            for (unsigned i = 0; i < batch; i++)
                there[first++] = true;
        }
        if (round % 10 == 0)
            check_all(&f, inos, there, NAMES);
    }
    check_all(&f, inos, there, NAMES);
    ck_assert_uint_le(table_blocks(&f), 4);
    meta_fixture_crash(&f);
    check_all(&f, inos, there, NAMES);
    for (unsigned i = 0; i < NAMES; i++) {
        ck_assert_int_eq(change(&f, inos[i], false, false), 0);
        there[i] = false;
    }
    check_all(&f, inos, there, NAMES);
    /* Remove one, then add others, is allowed too. */
    ck_assert_int_eq(change(&f, inos[0], true, false), 0);
    txn_begin(&txn, f.space);
    ck_assert_int_eq(orphan_remove(f.meta, &txn, inos[0], inode_edit(f.meta, &txn, inos[0])), 0);
    ck_assert_int_eq(orphan_add(f.meta, &txn, inos[1], inode_edit(f.meta, &txn, inos[1])), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    there[1] = true;
    check_all(&f, inos, there, NAMES);
    meta_fixture_close(&f);
}
END_TEST

/* A deletion: the number and the place go together, the number first. */
START_TEST(freed_with_its_place)
{
    struct meta_fixture f;
    struct dxf_inode *inode, copy;
    struct walked walked = { 0 };
    struct txn txn;
    uint64_t ino;

    meta_fixture_open(&f, 16);
    ino = meta_fixture_file(&f);
    ck_assert_int_eq(change(&f, ino, true, false), 0);
    txn_begin(&txn, f.space);
    inode = inode_edit(f.meta, &txn, ino);
    copy = *inode;
    ck_assert_int_eq(inode_free(f.meta, &txn, ino), 0);
    ck_assert_int_eq(orphan_remove(f.meta, &txn, ino, &copy), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    ck_assert_int_eq(orphan_walk(f.meta, walk_see, &walked), 0);
    ck_assert_uint_eq(walked.count, 0);
    meta_fixture_close(&f);
}
END_TEST

struct worker {
    struct meta_fixture *f;
    uint64_t inos[400];
    bool there[400];
    uint64_t seed;
};

static void *work(void *arg)
{
    struct worker *worker = arg;

    for (unsigned step = 0; step < 6000; step++) {
        unsigned i = draw(&worker->seed, 400);
        bool add = draw(&worker->seed, 10) < (step < 3000 ? 7u : 4u);
        bool abort = draw(&worker->seed, 5) == 0;

        if (change(worker->f, worker->inos[i], add, abort) != 0)
            return (void *)1;
        if (!abort)
            worker->there[i] = add;
    }
    return NULL;
}

START_TEST(threads)
{
    enum { THREADS = 4 };
    static struct worker workers[THREADS];
    static uint64_t inos[THREADS * 400];
    static bool there[THREADS * 400];
    pthread_t thread[THREADS];
    struct meta_fixture f;

    meta_fixture_open(&f, 32);
    for (unsigned t = 0; t < THREADS; t++) {
        workers[t].f = &f;
        workers[t].seed = t + 1;
        for (unsigned i = 0; i < 400; i++)
            workers[t].inos[i] = inos[t * 400 + i] = meta_fixture_file(&f);
    }
    for (unsigned t = 0; t < THREADS; t++)
        ck_assert_int_eq(pthread_create(&thread[t], NULL, work, &workers[t]), 0);
    for (unsigned t = 0; t < THREADS; t++) {
        void *failed;

        pthread_join(thread[t], &failed);
        ck_assert_ptr_null(failed);
        memcpy(there + t * 400, workers[t].there, sizeof(workers[t].there));
    }
    check_all(&f, inos, there, THREADS * 400);
    meta_fixture_crash(&f);
    check_all(&f, inos, there, THREADS * 400);
    meta_fixture_close(&f);
}
END_TEST

/* Leaves nonsense in every free block, as files that are gone would. */
static int spoil(void *arg, uint64_t start, uint64_t count, bool allocated)
{
    struct meta_fixture *f = arg;

    if (!allocated)
        memset(pool_block(f->pool, start), 0xee, count * DXF_BLOCK_SIZE);
    return 0;
}

/* The table grows from the reserve when nothing else gets a block. */
START_TEST(growth_in_a_full_pool)
{
    struct meta_fixture f;
    uint64_t inos[BLOCK_PLACES + 1];
    bool there[BLOCK_PLACES + 1];
    struct txn txn;

    meta_fixture_open(&f, 8);
    for (unsigned i = 0; i <= BLOCK_PLACES; i++)
        inos[i] = meta_fixture_file(&f);
    ck_assert_int_eq(space_walk(f.space, spoil, &f), 0);
    for (int error = 0; error == 0;) {
        struct space_request request = { .want = 512 };
        struct space_extent extent;

        txn_begin(&txn, f.space);
        error = space_alloc(&txn, &request, &extent);
        if (error == 0)
            ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        else
            txn_abort(&txn);
    }
    for (unsigned i = 0; i <= BLOCK_PLACES; i++) {
        ck_assert_int_eq(change(&f, inos[i], true, false), 0);
        there[i] = true;
    }
    ck_assert_uint_ge(table_blocks(&f), 2);
    check_all(&f, inos, there, BLOCK_PLACES + 1);
    meta_fixture_close(&f);
}
END_TEST

START_TEST(damaged_lines)
{
    enum { NAMES = 400 };
    struct meta_fixture f;
    uint64_t inos[NAMES], seen_before;
    uint8_t seen[NAMES] = { 0 };
    struct walked walked = { .inos = inos, .seen = seen, .names = NAMES };
    const struct dxf_inode *table;
    struct dxf_orphan_line *line;
    struct extent extent;
    unsigned line_number = 0, hit = 0;

    meta_fixture_open(&f, 16);
    for (unsigned i = 0; i < NAMES; i++) {
        inos[i] = meta_fixture_file(&f);
        ck_assert_int_eq(change(&f, inos[i], true, false), 0);
    }
    ck_assert_int_eq(inode_view(f.meta, NULL, DXF_INO_ORPHANS, &table), 0);
    ck_assert_int_eq(extent_lookup(f.meta, NULL, DXF_INO_ORPHANS, table, 0, &extent), 0);
    line = pool_block(f.pool, extent.physical);
    while (le64_get(line[line_number].inode[0]) == 0)
        line_number++;
    meta_fixture_remount(&f);
    line = pool_block(f.pool, extent.physical);
    line[line_number].inode[6].raw ^= 1;
    meta_fixture_remount(&f);
    ck_assert_int_eq(orphan_walk(f.meta, walk_see, &walked), 0);
    ck_assert_uint_eq(walked.count, NAMES - DXF_ORPHANS_PER_LINE);
    /* The inodes that it named can not be taken out, and nobody writes to the line. */
    for (unsigned i = 0; i < NAMES; i++) {
        int error = change(&f, inos[i], false, false);

        ck_assert(error == 0 || error == -EUCLEAN);
        hit += error != 0;
    }
    ck_assert_uint_eq(hit, DXF_ORPHANS_PER_LINE);
    seen_before = le64_get(line[line_number].inode[0]);
    for (unsigned i = 0; i < NAMES; i++)
        ck_assert_int_eq(change(&f, inos[i], true, false), 0);
    line = pool_block(f.pool, extent.physical);
    ck_assert_uint_eq(le64_get(line[line_number].inode[0]), seen_before);
    meta_fixture_close(&f);
}
END_TEST

/* ---- intents ----------------------------------------------------------------------------------- */

struct intents_seen {
    struct intent intent[DXF_INTENTS];
    unsigned count;
};

static int see_intent(void *arg, const struct intent *intent)
{
    struct intents_seen *seen = arg;

    seen->intent[seen->count++] = *intent;
    return 0;
}

static struct intent intent_of(unsigned i)
{
    return (struct intent){
        .kind = DXF_INTENT_PUNCH,
        .ino = 1000 + i,
        .generation = 77 + i,
        .offset = i * 4096ull,
        .length = 1ull << 40,
        .cursor = i,
    };
}

static int begin(struct meta_fixture *f, struct intent *intent)
{
    struct txn txn;
    int error;

    txn_begin(&txn, f->space);
    error = intent_begin(f->meta, &txn, intent);
    if (error) {
        txn_abort(&txn);
        return error;
    }
    return txn_commit(&txn, NULL);
}

static void end(struct meta_fixture *f, const struct intent *intent)
{
    struct txn txn;

    txn_begin(&txn, f->space);
    ck_assert_int_eq(intent_end(f->meta, &txn, intent), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    intent_release(f->meta, intent);
}

START_TEST(intents_survive)
{
    struct intent intents[DXF_INTENTS], extra = intent_of(99);
    struct intents_seen seen = { 0 };
    struct meta_fixture f;
    struct txn txn;

    meta_fixture_open(&f, 16);
    for (unsigned i = 0; i < 10; i++) {
        intents[i] = intent_of(i);
        ck_assert_int_eq(begin(&f, &intents[i]), 0);
    }
    txn_begin(&txn, f.space);
    intents[3].cursor = 12345;
    ck_assert_int_eq(intent_update(f.meta, &txn, &intents[3]), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    txn_begin(&txn, f.space);
    intents[4].cursor = 999;
    ck_assert_int_eq(intent_update(f.meta, &txn, &intents[4]), 0);
    txn_abort(&txn);
    intents[4].cursor = 4;
    end(&f, &intents[5]);
    /* Begun, then given up. */
    txn_begin(&txn, f.space);
    ck_assert_int_eq(intent_begin(f.meta, &txn, &extra), 0);
    txn_abort(&txn);
    intent_release(f.meta, &extra);

    meta_fixture_crash(&f);
    ck_assert_int_eq(intent_walk(f.meta, see_intent, &seen), 0);
    ck_assert_uint_eq(seen.count, 9);
    for (unsigned i = 0, k = 0; i < 10; i++) {
        if (i == 5)
            continue;
        ck_assert_uint_eq(seen.intent[k].number, intents[i].number);
        ck_assert_int_eq(seen.intent[k].kind, DXF_INTENT_PUNCH);
        ck_assert_uint_eq(seen.intent[k].ino, intents[i].ino);
        ck_assert_uint_eq(seen.intent[k].generation, intents[i].generation);
        ck_assert_uint_eq(seen.intent[k].offset, intents[i].offset);
        ck_assert_uint_eq(seen.intent[k].length, intents[i].length);
        ck_assert_uint_eq(seen.intent[k].cursor, intents[i].cursor);
        k++;
    }
    /* Their places are theirs until recovery has ended them. */
    extra = intent_of(50);
    ck_assert_int_eq(begin(&f, &extra), 0);
    for (unsigned k = 0; k < seen.count; k++) {
        ck_assert_uint_ne(extra.number, seen.intent[k].number);
        end(&f, &seen.intent[k]);
    }
    end(&f, &extra);
    meta_fixture_remount(&f);
    seen.count = 0;
    ck_assert_int_eq(intent_walk(f.meta, see_intent, &seen), 0);
    ck_assert_uint_eq(seen.count, 0);
    ck_assert(validate_intent(pool_block(f.pool, DXF_INTENT_BLOCK), 0) == NULL);
    meta_fixture_close(&f);
}
END_TEST

struct waiter {
    struct meta_fixture *f;
    struct intent intent;
    _Atomic bool done;
};

static void *wait_for_place(void *arg)
{
    struct waiter *waiter = arg;

    waiter->intent = intent_of(200);
    int error;

    while ((error = begin(waiter->f, &waiter->intent)) == -EBUSY)
        intent_wait(waiter->f->meta);
    if (error != 0)
        return (void *)1;
    atomic_store(&waiter->done, true);
    end(waiter->f, &waiter->intent);
    return NULL;
}

START_TEST(waiting_for_a_place)
{
    struct intent intents[DXF_INTENTS];
    struct waiter waiters[3] = { 0 };
    pthread_t thread[3];
    struct meta_fixture f;

    meta_fixture_open(&f, 16);
    for (unsigned i = 0; i < DXF_INTENTS; i++) {
        intents[i] = intent_of(i);
        ck_assert_int_eq(begin(&f, &intents[i]), 0);
    }
    for (unsigned t = 0; t < 3; t++) {
        waiters[t].f = &f;
        ck_assert_int_eq(pthread_create(&thread[t], NULL, wait_for_place, &waiters[t]), 0);
    }
    usleep(50000);
    for (unsigned t = 0; t < 3; t++)
        ck_assert(!atomic_load(&waiters[t].done));
    end(&f, &intents[17]);
    for (unsigned t = 0; t < 3; t++) {
        void *failed;

        pthread_join(thread[t], &failed);
        ck_assert_ptr_null(failed);
        ck_assert_uint_eq(waiters[t].intent.number, intents[17].number);
    }
    meta_fixture_close(&f);
}
END_TEST

START_TEST(damaged_intents)
{
    struct intent intent = intent_of(1);
    struct intents_seen seen = { 0 };
    struct dxf_intent *lines;
    struct meta_fixture f;

    meta_fixture_open(&f, 16);
    ck_assert_int_eq(begin(&f, &intent), 0);
    meta_fixture_remount(&f);
    lines = pool_block(f.pool, DXF_INTENT_BLOCK);
    lines[intent.number].length.raw ^= 2;
    meta_fixture_remount(&f);
    ck_assert_int_eq(intent_walk(f.meta, see_intent, &seen), 0);
    ck_assert_uint_eq(seen.count, 0);
    intent = intent_of(2);
    ck_assert_int_eq(begin(&f, &intent), 0);
    ck_assert_uint_eq(intent.number, 1);
    /* When none is left, nobody waits for ever. */
    meta_fixture_remount(&f);
    memset(pool_block(f.pool, DXF_INTENT_BLOCK), 0xee, DXF_BLOCK_SIZE);
    meta_fixture_remount(&f);
    ck_assert_int_eq(begin(&f, &intent), -EUCLEAN);
    meta_fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("orphan");
    TCase *tc = tcase_create("orphan");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, random_changes);
    tcase_add_test(tc, several_in_one_transaction);
    tcase_add_test(tc, freed_with_its_place);
    tcase_add_test(tc, threads);
    tcase_add_test(tc, growth_in_a_full_pool);
    tcase_add_test(tc, damaged_lines);
    tcase_add_test(tc, intents_survive);
    tcase_add_test(tc, waiting_for_a_place);
    tcase_add_test(tc, damaged_intents);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
