/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The range lock under test, and lockers in threads of their own. */
#ifndef DAXFUSE_TEST_RANGE_H
#define DAXFUSE_TEST_RANGE_H

#include "dax/range_lock.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>

#define INODE 42

static struct range_lock rl;
static struct lock_token token;

static const struct lock_wait nowait = { .nowait = true };

static inline void fixture_setup(void)
{
    range_lock_init(&rl);
    lock_token_init(&token);
}

static inline void fixture_teardown(void)
{
    ck_assert_uint_eq(range_lock_waiting(&rl), 0);
    range_lock_destroy(&rl);
}

static inline void sleep_ms(long ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    nanosleep(&t, NULL);
}

static inline struct timespec deadline_in_us(long us)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += us * 1000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static inline int range_try(struct range_node *node, uint64_t start, uint64_t end,
                            enum range_mode mode)
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

static inline void *locker_run(void *arg)
{
    struct locker *l = arg;

    l->result = range_lock_acquire(&rl, &l->node, l->start, l->end, l->mode, INODE, l->wait);
    atomic_store(&l->done, true);
    return NULL;
}

static inline void locker_start(struct locker *l, uint64_t start, uint64_t end,
                                enum range_mode mode, const struct lock_wait *wait)
{
    l->start = start;
    l->end = end;
    l->mode = mode;
    l->wait = wait;
    atomic_init(&l->done, false);
    ck_assert_int_eq(pthread_create(&l->thread, NULL, locker_run, l), 0);
}

static inline void locker_start_waiting(struct locker *l, uint64_t start, uint64_t end,
                                        enum range_mode mode, const struct lock_wait *wait)
{
    uint32_t waiting = range_lock_waiting(&rl);

    locker_start(l, start, end, mode, wait);
    for (int i = 0; range_lock_waiting(&rl) == waiting; i++) {
        ck_assert_int_lt(i, 5000);
        sleep_ms(1);
    }
}

static inline int locker_join(struct locker *l)
{
    ck_assert_int_eq(pthread_join(l->thread, NULL), 0);
    return l->result;
}

static inline void locker_finish(struct locker *l)
{
    ck_assert_int_eq(locker_join(l), 0);
    range_lock_release(&rl, &l->node);
}

#endif
