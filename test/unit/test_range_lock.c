/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The range lock: who keeps whom out, and law L2 (ranges do not interleave) under stress. */
#include "test_range.h"

#include <errno.h>
#include <stdlib.h>

START_TEST(empty_ranges_are_refused)
{
    struct range_node node;

    ck_assert_int_eq(range_lock_acquire(&rl, &node, 5, 5, RANGE_SHARED, INODE, NULL), -EINVAL);
    ck_assert_int_eq(range_lock_acquire(&rl, &node, 0, 0, RANGE_EXCLUSIVE, INODE, NULL), -EINVAL);
    ck_assert_int_eq(range_lock_acquire(&rl, &node, 6, 5, RANGE_EXCLUSIVE, INODE, NULL), -EINVAL);
    ck_assert_int_eq(
        range_lock_acquire(&rl, &node, RANGE_END, RANGE_END, RANGE_SHARED, INODE, NULL), -EINVAL);
}
END_TEST

/* Every pair of modes and every way in which two ranges can lie, alone and beside a bystander. */
START_TEST(pairs)
{
    static const struct {
        uint64_t start, end;
        bool overlaps;
    } seconds[] = {
        { 0, 10, false },       { 0, 100, false },         { 0, 101, true },
        { 99, 101, true },      { 100, 200, true },        { 100, 101, true },
        { 120, 150, true },     { 199, 200, true },        { 50, 300, true },
        { 200, 201, false },    { 200, RANGE_END, false }, { 199, 300, true },
        { 0, RANGE_END, true }, { 150, RANGE_END, true },  { RANGE_END - 1, RANGE_END, false },
    };

    for (int bystander = 0; bystander < 2; bystander++) {
        for (unsigned int m = 0; m < 4; m++) {
            enum range_mode first = m & 1 ? RANGE_EXCLUSIVE : RANGE_SHARED;
            enum range_mode second = m & 2 ? RANGE_EXCLUSIVE : RANGE_SHARED;

            for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
                struct range_node a, b, c;
                int r;

                if (bystander) /* keeps nothing out, but makes the lock a tree */
                    ck_assert_int_eq(range_try(&c, 1000, 1001, RANGE_SHARED), 0);
                ck_assert_int_eq(range_try(&a, 100, 200, first), 0);
                r = range_try(&b, seconds[i].start, seconds[i].end, second);
                if (bystander && second == RANGE_EXCLUSIVE && seconds[i].start <= 1000 &&
                    seconds[i].end > 1000)
                    ck_assert_int_eq(r, -EAGAIN);
                else
                    ck_assert_int_eq(r, seconds[i].overlaps && m ? -EAGAIN : 0);
                range_lock_release(&rl, &a);
                if (r == 0)
                    range_lock_release(&rl, &b);
                if (bystander)
                    range_lock_release(&rl, &c);
                range_lock_destroy(&rl);
            }
        }
    }
}
END_TEST

START_TEST(whole_file)
{
    struct range_node a, b, c;

    ck_assert_int_eq(range_try(&a, 0, RANGE_END, RANGE_SHARED), 0);
    ck_assert_int_eq(range_try(&b, 0, RANGE_END, RANGE_SHARED), 0);
    ck_assert_int_eq(range_try(&c, 7, 8, RANGE_EXCLUSIVE), -EAGAIN);
    ck_assert_int_eq(range_try(&c, 7, 8, RANGE_SHARED), 0);
    range_lock_release(&rl, &a);
    range_lock_release(&rl, &b);
    range_lock_release(&rl, &c);
    ck_assert_int_eq(range_try(&a, 0, RANGE_END, RANGE_EXCLUSIVE), 0);
    ck_assert_int_eq(range_try(&b, RANGE_END - 1, RANGE_END, RANGE_SHARED), -EAGAIN);
    range_lock_release(&rl, &a);
}
END_TEST

/* Ranges just inside and outside of what fits a slot are kept to the byte. */
START_TEST(exact_bounds)
{
    static const uint64_t starts[] = {
        0,
        1,
        4096,
        ((uint64_t)1 << 44) - 4096,
        ((uint64_t)1 << 44) - 1,
        (uint64_t)1 << 44,
        ((uint64_t)1 << 46) - 4096,
        (uint64_t)1 << 46,
        ((uint64_t)1 << 62) + 7,
    };
    static const uint64_t lengths[] = {
        1,
        4095,
        4096,
        131070,
        131071,
        131072,
        131073,
        (((uint64_t)1 << 27) - 2) << 12,
        (((uint64_t)1 << 27) - 1) << 12,
        (uint64_t)1 << 39,
        ((uint64_t)1 << 40) + 1,
        0,
    };

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        for (size_t j = 0; j < sizeof(lengths) / sizeof(lengths[0]); j++) {
            uint64_t start = starts[i], end = lengths[j] ? start + lengths[j] : RANGE_END;
            const uint64_t points[] = { start - 1, start, start + (end - start) / 2, end - 1, end };
            struct range_node range, point;

            ck_assert_int_eq(range_try(&range, start, end, RANGE_EXCLUSIVE), 0);
            for (int k = 0; k < 5; k++) {
                int r;

                if (points[k] == UINT64_MAX)
                    continue;
                r = range_try(&point, points[k], points[k] + 1, RANGE_SHARED);
                ck_assert_int_eq(r, k >= 1 && k <= 3 ? -EAGAIN : 0);
                if (r == 0)
                    range_lock_release(&rl, &point);
            }
            ck_assert(range_lock_held(&rl, start, end, RANGE_EXCLUSIVE));
            range_lock_release(&rl, &range);
        }
    }
}
END_TEST

START_TEST(held)
{
    struct range_node a, b;

    ck_assert(!range_lock_held(&rl, 0, 1, RANGE_SHARED));
    ck_assert_int_eq(range_try(&a, 10, 20, RANGE_EXCLUSIVE), 0);
    ck_assert(range_lock_held(&rl, 10, 20, RANGE_EXCLUSIVE));
    ck_assert(range_lock_held(&rl, 12, 13, RANGE_SHARED));
    ck_assert(!range_lock_held(&rl, 10, 21, RANGE_SHARED));
    ck_assert(!range_lock_held(&rl, 9, 20, RANGE_SHARED));
    ck_assert_int_eq(range_try(&b, 20, 30, RANGE_SHARED), 0);
    ck_assert(!range_lock_held(&rl, 20, 30, RANGE_EXCLUSIVE));
    ck_assert(!range_lock_held(&rl, 15, 25, RANGE_SHARED));
    range_lock_release(&rl, &a);
    ck_assert(!range_lock_held(&rl, 10, 20, RANGE_SHARED));
    range_lock_release(&rl, &b);
}
END_TEST

/* Without waiters a try says what a table of bytes says, with however many holders, up to RANGE_END. */
START_TEST(tries_against_an_oracle)
{
    enum { BLOCKS = 96, NODES = 64 };
    static struct range_node nodes[NODES];
    struct {
        unsigned int start, end;
        enum range_mode mode;
        bool held;
    } ranges[NODES] = { 0 };
    unsigned int seed = 7, most = 0, count = 0;

    for (int round = 0; round < 20000; round++) {
        unsigned int n = (unsigned int)rand_r(&seed) % NODES;
        uint64_t unit = RANGE_END / BLOCKS;
        bool clash = false;

        if (ranges[n].held) {
            if (ranges[n].mode == RANGE_EXCLUSIVE && rand_r(&seed) % 2) {
                range_lock_downgrade(&rl, &nodes[n]);
                ranges[n].mode = RANGE_SHARED;
                continue;
            }
            range_lock_release(&rl, &nodes[n]);
            ranges[n].held = false;
            count--;
            continue;
        }
        ranges[n].start = (unsigned int)rand_r(&seed) % BLOCKS;
        ranges[n].end = ranges[n].start + 1 + (unsigned int)rand_r(&seed) % 4;
        if (ranges[n].end > BLOCKS)
            ranges[n].end = BLOCKS;
        ranges[n].mode = rand_r(&seed) % 4 ? RANGE_SHARED : RANGE_EXCLUSIVE;
        for (int i = 0; i < NODES; i++)
            clash |= ranges[i].held && ranges[i].start < ranges[n].end &&
                     ranges[n].start < ranges[i].end &&
                     (ranges[i].mode == RANGE_EXCLUSIVE || ranges[n].mode == RANGE_EXCLUSIVE);
        ck_assert_int_eq(range_try(&nodes[n], ranges[n].start * unit,
                                   ranges[n].end == BLOCKS ? RANGE_END : ranges[n].end * unit,
                                   ranges[n].mode),
                         clash ? -EAGAIN : 0);
        ranges[n].held = !clash;
        count += !clash;
        most = count > most ? count : most;
    }
    ck_assert_uint_gt(most, NODES / 3);
    for (int i = 0; i < NODES; i++) {
        if (ranges[i].held)
            range_lock_release(&rl, &nodes[i]);
    }
}
END_TEST

/*
 * L2 against an oracle: for each byte who is inside, in atomics that order nothing, and bytes that
 * only the lock protects, where ThreadSanitizer sees a missing ordering. A shared holder sums them
 * twice.
 */
#define FILE_BYTES 64
#define STRESS_THREADS 6

static _Atomic int inside[FILE_BYTES]; /* number of readers, or -1 */
static unsigned char bytes[FILE_BYTES];
static _Atomic unsigned int violations, acquired, given_up;
static struct lock_token stress_tokens[STRESS_THREADS];

/* Relaxed: these must not order what the lock is to order. */
static void count(_Atomic unsigned int *counter, unsigned int n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void oracle_enter(uint64_t start, uint64_t end, enum range_mode mode)
{
    unsigned int sum = 0;

    for (uint64_t i = start; i < end; i++) {
        int before;

        if (mode == RANGE_EXCLUSIVE) {
            before = atomic_exchange_explicit(&inside[i], -1, memory_order_relaxed);
            count(&violations, before != 0);
            bytes[i]++;
        } else {
            before = atomic_fetch_add_explicit(&inside[i], 1, memory_order_relaxed);
            count(&violations, before < 0);
            sum += bytes[i];
        }
    }
    __asm__ volatile("" ::: "memory");
    for (uint64_t i = start; mode == RANGE_SHARED && i < end; i++)
        sum -= bytes[i];
    count(&violations, sum != 0);
}

static void oracle_leave(uint64_t start, uint64_t end, enum range_mode mode)
{
    for (uint64_t i = start; i < end; i++) {
        if (mode == RANGE_EXCLUSIVE)
            atomic_store_explicit(&inside[i], 0, memory_order_relaxed);
        else
            atomic_fetch_sub_explicit(&inside[i], 1, memory_order_relaxed);
    }
}

static void *stress_run(void *arg)
{
    unsigned int self = (unsigned int)(uintptr_t)arg;
    unsigned int seed = self + 1;
    struct timespec soon;
    struct range_node node;

    for (int round = 0; round < 3000; round++) {
        struct lock_wait wait = { 0 };
        uint64_t a = (uint64_t)rand_r(&seed) % FILE_BYTES;
        uint64_t b = (uint64_t)rand_r(&seed) % FILE_BYTES;
        uint64_t start = a < b ? a : b, end = (a < b ? b : a) + 1;
        enum range_mode mode = rand_r(&seed) % 3 ? RANGE_SHARED : RANGE_EXCLUSIVE;

        switch (rand_r(&seed) % 8) {
        case 0:
            wait.nowait = true;
            break;
        case 1:
            soon = deadline_in_us(rand_r(&seed) % 50);
            wait.deadline = &soon;
            break;
        case 2:
        case 3:
            wait.token = &stress_tokens[self];
            lock_token_init(wait.token);
            break;
        case 4:
            end = start + 1;
            break;
        case 5:
            start = 0;
            end = FILE_BYTES;
            break;
        }
        if (rand_r(&seed) % 4 == 0)
            lock_wait_interrupt(&stress_tokens[(unsigned int)rand_r(&seed) % STRESS_THREADS]);
        if (range_lock_acquire(&rl, &node, start, end, mode, INODE, &wait) != 0) {
            count(&given_up, 1);
            continue;
        }
        count(&acquired, 1);
        oracle_enter(start, end, mode);
        if (rand_r(&seed) % 8 == 0)
            sched_yield();
        oracle_leave(start, end, mode);
        if (mode == RANGE_EXCLUSIVE && rand_r(&seed) % 4 == 0) {
            range_lock_downgrade(&rl, &node);
            oracle_enter(start, end, RANGE_SHARED);
            oracle_leave(start, end, RANGE_SHARED);
        }
        range_lock_release(&rl, &node);
    }
    return NULL;
}

static void stress(void)
{
    pthread_t threads[STRESS_THREADS];

    for (int i = 0; i < STRESS_THREADS; i++)
        lock_token_init(&stress_tokens[i]);
    for (uintptr_t i = 0; i < STRESS_THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, stress_run, (void *)i), 0);
    for (int i = 0; i < STRESS_THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}

START_TEST(stress_against_an_oracle)
{
    stress();
    ck_assert_uint_eq(atomic_load(&violations), 0);
    ck_assert_uint_gt(atomic_load(&given_up), 0);
    ck_assert_uint_eq(atomic_load(&given_up) + atomic_load(&acquired), 3000 * STRESS_THREADS);
}
END_TEST

#ifdef DAXFUSE_TEST_SEAMS
START_TEST(stress_with_seeded_yields)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        lock_seam_seed(seed);
        stress();
    }
    lock_seam_seed(0);
    ck_assert_uint_eq(atomic_load(&violations), 0);
}
END_TEST

START_TEST(range_locks_off)
{
    struct range_node a, b;

    lock_seam_range_locks(false);
    ck_assert_int_eq(range_try(&a, 0, 10, RANGE_EXCLUSIVE), 0);
    ck_assert_int_eq(range_try(&b, 0, 10, RANGE_EXCLUSIVE), 0);
    ck_assert(range_lock_held(&rl, 0, 10, RANGE_EXCLUSIVE));
    range_lock_downgrade(&rl, &a);
    lock_seam_range_locks(true);
    range_lock_release(&rl, &a);
    range_lock_release(&rl, &b);
    ck_assert_int_eq(range_try(&a, 0, 10, RANGE_EXCLUSIVE), 0);
    ck_assert_int_eq(range_try(&b, 0, 10, RANGE_EXCLUSIVE), -EAGAIN);
    range_lock_release(&rl, &a);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("range_lock");
    TCase *tc = tcase_create("range_lock");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
    tcase_add_test(tc, empty_ranges_are_refused);
    tcase_add_test(tc, pairs);
    tcase_add_test(tc, whole_file);
    tcase_add_test(tc, exact_bounds);
    tcase_add_test(tc, held);
    tcase_add_test(tc, tries_against_an_oracle);
    tcase_add_test(tc, stress_against_an_oracle);
#ifdef DAXFUSE_TEST_SEAMS
    tcase_add_test(tc, stress_with_seeded_yields);
    tcase_add_test(tc, range_locks_off);
#endif
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
