/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The range lock: states, fairness, limited waits, and law L2 (ranges do not interleave) under stress. */
#include "dax/range_lock.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define INODE 42

static struct range_lock rl;
static struct lock_token token;

static const struct lock_wait nowait = { .nowait = true };

static void fixture_setup(void)
{
    range_lock_init(&rl);
    lock_token_init(&token);
}

static void fixture_teardown(void)
{
    ck_assert_uint_eq(range_lock_waiting(&rl), 0);
    range_lock_destroy(&rl);
}

static void sleep_ms(long ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    nanosleep(&t, NULL);
}

static struct timespec deadline_in_us(long us)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += us * 1000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static int range_try(struct range_node *node, uint64_t start, uint64_t end, enum range_mode mode)
{
    return range_lock_acquire(&rl, node, start, end, mode, INODE, &nowait);
}

/* One acquire in a thread of its own, which ends holding the range: who joins it releases. */
struct locker {
    pthread_t thread;
    struct range_node node;
    uint64_t start, end;
    enum range_mode mode;
    const struct lock_wait *wait;
    _Atomic bool done;
    int result;
};

static void *locker_run(void *arg)
{
    struct locker *l = arg;

    l->result = range_lock_acquire(&rl, &l->node, l->start, l->end, l->mode, INODE, l->wait);
    atomic_store(&l->done, true);
    return NULL;
}

static void locker_start(struct locker *l, uint64_t start, uint64_t end, enum range_mode mode,
                         const struct lock_wait *wait)
{
    l->start = start;
    l->end = end;
    l->mode = mode;
    l->wait = wait;
    atomic_init(&l->done, false);
    ck_assert_int_eq(pthread_create(&l->thread, NULL, locker_run, l), 0);
}

static void locker_start_waiting(struct locker *l, uint64_t start, uint64_t end,
                                 enum range_mode mode, const struct lock_wait *wait)
{
    uint32_t waiting = range_lock_waiting(&rl);

    locker_start(l, start, end, mode, wait);
    for (int i = 0; range_lock_waiting(&rl) == waiting; i++) {
        ck_assert_int_lt(i, 5000);
        sleep_ms(1);
    }
}

static int locker_join(struct locker *l)
{
    ck_assert_int_eq(pthread_join(l->thread, NULL), 0);
    return l->result;
}

static void locker_finish(struct locker *l)
{
    ck_assert_int_eq(locker_join(l), 0);
    range_lock_release(&rl, &l->node);
}

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

/* The release lets all go that can, and only those. */
START_TEST(release_wakes_those_that_can_go)
{
    struct locker readers[3], writer, elsewhere;
    struct range_node holder, other;

    ck_assert_int_eq(range_try(&holder, 0, 100, RANGE_EXCLUSIVE), 0);
    ck_assert_int_eq(range_try(&other, 200, 300, RANGE_EXCLUSIVE), 0);
    for (uint64_t i = 0; i < 3; i++)
        locker_start_waiting(&readers[i], 10 * i, 50 + 10 * i, RANGE_SHARED, NULL);
    locker_start_waiting(&writer, 40, 60, RANGE_EXCLUSIVE, NULL);
    locker_start_waiting(&elsewhere, 250, 260, RANGE_SHARED, NULL);
    range_lock_release(&rl, &holder);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(locker_join(&readers[i]), 0);
    ck_assert_uint_eq(range_lock_waiting(&rl), 2);
    for (int i = 0; i < 3; i++) {
        sleep_ms(5);
        ck_assert(!atomic_load(&writer.done));
        range_lock_release(&rl, &readers[i].node);
    }
    locker_finish(&writer);
    ck_assert(!atomic_load(&elsewhere.done));
    range_lock_release(&rl, &other);
    locker_finish(&elsewhere);
}
END_TEST

/* Many more than one batch of wake-ups. */
START_TEST(release_wakes_many)
{
    struct locker readers[3 * PARK_BATCH];
    struct range_node holder;

    ck_assert_int_eq(range_try(&holder, 0, RANGE_END, RANGE_EXCLUSIVE), 0);
    for (uint64_t i = 0; i < 3 * PARK_BATCH; i++)
        locker_start_waiting(&readers[i], i, i + 2, RANGE_SHARED, NULL);
    range_lock_release(&rl, &holder);
    for (int i = 0; i < 3 * PARK_BATCH; i++)
        ck_assert_int_eq(locker_join(&readers[i]), 0);
    for (int i = 0; i < 3 * PARK_BATCH; i++)
        range_lock_release(&rl, &readers[i].node);
}
END_TEST

START_TEST(waiters_go_in_the_order_of_their_coming)
{
    struct locker lockers[6];
    struct range_node holder;

    ck_assert_int_eq(range_try(&holder, 0, 100, RANGE_EXCLUSIVE), 0);
    for (uint64_t i = 0; i < 6; i++)
        locker_start_waiting(&lockers[i], 60 - 10 * i, 100 - i, RANGE_EXCLUSIVE, NULL);
    range_lock_release(&rl, &holder);
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(locker_join(&lockers[i]), 0);
        ck_assert_uint_eq(range_lock_waiting(&rl), 5 - (unsigned int)i);
        range_lock_release(&rl, &lockers[i].node);
    }
}
END_TEST

static void check_overtaking(enum range_mode waiting, enum range_mode passing)
{
    struct range_node holder, passers[RANGE_OVERTAKE_MAX + 1], stranger;
    struct locker waiter, late;
    int passed;

    ck_assert_int_eq(range_try(&holder, 0, 10, RANGE_EXCLUSIVE), 0);
    locker_start_waiting(&waiter, 0, 1000, waiting, NULL);
    for (passed = 0; passed < RANGE_OVERTAKE_MAX; passed++) {
        ck_assert_int_eq(range_try(&passers[passed], 100, 200, passing), 0);
        if (passing == RANGE_EXCLUSIVE)
            range_lock_release(&rl, &passers[passed]);
    }
    ck_assert_int_eq(range_try(&passers[passed], 100, 200, passing), -EAGAIN);
    /* Who does not conflict is not kept back. */
    ck_assert_int_eq(range_try(&stranger, 1000, 1001, RANGE_EXCLUSIVE), 0);
    range_lock_release(&rl, &stranger);
    locker_start_waiting(&late, 150, 160, passing, NULL);
    range_lock_release(&rl, &holder);
    while (passing == RANGE_SHARED && passed--) {
        ck_assert(!atomic_load(&waiter.done));
        range_lock_release(&rl, &passers[passed]);
    }
    /* Now it was handed over: it is the waiter's before its thread runs. */
    ck_assert(range_lock_held(&rl, 0, 1000, waiting));
    ck_assert_int_eq(locker_join(&waiter), 0);
    ck_assert(!atomic_load(&late.done));
    range_lock_release(&rl, &waiter.node);
    locker_finish(&late);
}

START_TEST(overtaking_is_bounded)
{
    check_overtaking(RANGE_EXCLUSIVE, RANGE_SHARED);
    check_overtaking(RANGE_EXCLUSIVE, RANGE_EXCLUSIVE);
    check_overtaking(RANGE_SHARED, RANGE_EXCLUSIVE);
}
END_TEST

/* The bound holds with many readers that come and go in other threads, so that some always hold. */
static _Atomic bool readers_stop;
static _Atomic unsigned int readers_passed;

static void *readers_run(void *arg)
{
    struct range_node node;

    (void)arg;
    while (!atomic_load(&readers_stop)) {
        if (range_lock_acquire(&rl, &node, 0, 100, RANGE_SHARED, INODE, NULL) != 0)
            return (void *)1;
        atomic_fetch_add(&readers_passed, 1);
        sched_yield();
        range_lock_release(&rl, &node);
    }
    return NULL;
}

START_TEST(writer_is_not_starved)
{
    pthread_t readers[4];

    atomic_store(&readers_stop, false);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&readers[i], NULL, readers_run, NULL), 0);
    for (int i = 0; i < 200; i++) {
        struct timespec soon = deadline_in_us(3000000);
        struct lock_wait timed = { .deadline = &soon };
        struct range_node node;

        ck_assert_int_eq(range_lock_acquire(&rl, &node, 50, 60, RANGE_EXCLUSIVE, INODE, &timed), 0);
        range_lock_release(&rl, &node);
    }
    atomic_store(&readers_stop, true);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_join(readers[i], NULL), 0);
}
END_TEST

START_TEST(timeout)
{
    struct timespec past = { 0 }, soon = deadline_in_us(20000), before_zero = { .tv_sec = -1 }, now;
    struct lock_wait wait = { .deadline = &past };
    struct range_node holder, node;

    ck_assert_int_eq(range_lock_acquire(&rl, &holder, 0, 10, RANGE_SHARED, INODE, &wait), 0);
    ck_assert_int_eq(range_lock_acquire(&rl, &node, 5, 10, RANGE_EXCLUSIVE, INODE, &wait),
                     -ETIMEDOUT);
    wait.deadline = &before_zero;
    ck_assert_int_eq(range_lock_acquire(&rl, &node, 5, 10, RANGE_EXCLUSIVE, INODE, &wait),
                     -ETIMEDOUT);
    wait.deadline = &soon;
    ck_assert_int_eq(range_lock_acquire(&rl, &node, 5, 10, RANGE_EXCLUSIVE, INODE, &wait),
                     -ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &now);
    ck_assert(now.tv_sec > soon.tv_sec ||
              (now.tv_sec == soon.tv_sec && now.tv_nsec >= soon.tv_nsec));
    ck_assert_uint_eq(range_lock_waiting(&rl), 0);
    range_lock_release(&rl, &holder);
    ck_assert_int_eq(range_lock_acquire(&rl, &node, 5, 10, RANGE_EXCLUSIVE, INODE, &wait), 0);
    range_lock_release(&rl, &node);
}
END_TEST

START_TEST(interrupt)
{
    struct lock_wait wait = { .token = &token };
    struct range_node holder, node;
    struct locker waiter;

    /* Before: whoever need not wait is not disturbed. */
    lock_wait_interrupt(&token);
    ck_assert_int_eq(range_lock_acquire(&rl, &holder, 0, 10, RANGE_EXCLUSIVE, INODE, &wait), 0);
    ck_assert_int_eq(range_lock_acquire(&rl, &node, 5, 10, RANGE_EXCLUSIVE, INODE, &wait), -EINTR);
    /* During. */
    lock_token_init(&token);
    locker_start_waiting(&waiter, 9, 20, RANGE_SHARED, &wait);
    sleep_ms(10);
    ck_assert(!atomic_load(&waiter.done));
    lock_wait_interrupt(&token);
    ck_assert_int_eq(locker_join(&waiter), -EINTR);
    /* After: it is too late. */
    lock_token_init(&token);
    locker_start_waiting(&waiter, 9, 20, RANGE_SHARED, &wait);
    range_lock_release(&rl, &holder);
    ck_assert_int_eq(locker_join(&waiter), 0);
    lock_wait_interrupt(&token);
    range_lock_release(&rl, &waiter.node);
}
END_TEST

/* A waiter that gives up lets those go that waited only behind it. */
START_TEST(giving_up_wakes_those_behind)
{
    struct lock_wait wait = { .token = &token };
    struct locker writer, reader;
    struct range_node holder, passers[RANGE_OVERTAKE_MAX];

    ck_assert_int_eq(range_try(&holder, 0, 10, RANGE_SHARED), 0);
    locker_start_waiting(&writer, 0, 100, RANGE_EXCLUSIVE, &wait);
    for (int i = 0; i < RANGE_OVERTAKE_MAX; i++)
        ck_assert_int_eq(range_try(&passers[i], 0, 10, RANGE_SHARED), 0);
    locker_start_waiting(&reader, 0, 10, RANGE_SHARED, NULL);
    lock_wait_interrupt(&token);
    ck_assert_int_eq(locker_join(&writer), -EINTR);
    locker_finish(&reader);
    for (int i = 0; i < RANGE_OVERTAKE_MAX; i++)
        range_lock_release(&rl, &passers[i]);
    range_lock_release(&rl, &holder);
}
END_TEST

START_TEST(downgrade)
{
    struct locker readers[2], writer;
    struct range_node holder, node;

    /* Alone. */
    ck_assert_int_eq(range_try(&holder, 0, 100, RANGE_EXCLUSIVE), 0);
    range_lock_downgrade(&rl, &holder);
    ck_assert_int_eq(range_try(&node, 0, 100, RANGE_SHARED), 0);
    ck_assert_int_eq(range_try(&writer.node, 0, 100, RANGE_EXCLUSIVE), -EAGAIN);
    range_lock_release(&rl, &node);
    range_lock_release(&rl, &holder);
    /* With waiters: readers go, a writer does not, nor a reader behind it. */
    ck_assert_int_eq(range_try(&holder, 0, 100, RANGE_EXCLUSIVE), 0);
    locker_start_waiting(&readers[0], 0, 50, RANGE_SHARED, NULL);
    locker_start_waiting(&writer, 60, 70, RANGE_EXCLUSIVE, NULL);
    locker_start_waiting(&readers[1], 65, 80, RANGE_SHARED, NULL);
    range_lock_downgrade(&rl, &holder);
    locker_finish(&readers[0]);
    sleep_ms(10);
    ck_assert(!atomic_load(&writer.done) && !atomic_load(&readers[1].done));
    range_lock_release(&rl, &holder);
    locker_finish(&writer);
    locker_finish(&readers[1]);
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

static void oracle_enter(uint64_t start, uint64_t end, enum range_mode mode)
{
    unsigned int sum = 0;

    for (uint64_t i = start; i < end; i++) {
        int before;

        if (mode == RANGE_EXCLUSIVE) {
            before = atomic_exchange_explicit(&inside[i], -1, memory_order_relaxed);
            atomic_fetch_add(&violations, before != 0);
            bytes[i]++;
        } else {
            before = atomic_fetch_add_explicit(&inside[i], 1, memory_order_relaxed);
            atomic_fetch_add(&violations, before < 0);
            sum += bytes[i];
        }
    }
    __asm__ volatile("" ::: "memory");
    for (uint64_t i = start; mode == RANGE_SHARED && i < end; i++)
        sum -= bytes[i];
    atomic_fetch_add(&violations, sum != 0);
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
            atomic_fetch_add(&given_up, 1);
            continue;
        }
        atomic_fetch_add(&acquired, 1);
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
    tcase_add_test(tc, release_wakes_those_that_can_go);
    tcase_add_test(tc, release_wakes_many);
    tcase_add_test(tc, waiters_go_in_the_order_of_their_coming);
    tcase_add_test(tc, overtaking_is_bounded);
    tcase_add_test(tc, writer_is_not_starved);
    tcase_add_test(tc, timeout);
    tcase_add_test(tc, interrupt);
    tcase_add_test(tc, giving_up_wakes_those_behind);
    tcase_add_test(tc, downgrade);
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
