/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The range lock: who waits, who is woken, how often a waiter is passed, and limited waits. */
#include "test_range.h"

#include <errno.h>

/* Two holders elsewhere have the slots, so that what comes next is in the tree. */
static void slots_fill(struct range_node fillers[RANGE_SLOTS])
{
    for (uint64_t i = 0; i < RANGE_SLOTS; i++)
        ck_assert_int_eq(range_try(&fillers[i], 5000 + i, 5001 + i, RANGE_EXCLUSIVE), 0);
    /* They are others', and do not count in this thread's lock order. */
    for (int i = 0; i < RANGE_SLOTS; i++)
        range_lock_hand_over(&fillers[i]);
}

static void slots_empty(struct range_node fillers[RANGE_SLOTS])
{
    for (int i = 0; i < RANGE_SLOTS; i++)
        range_lock_release(&rl, &fillers[i]);
}

/* A holder in the tree is kept out of, waited for, downgraded and released as one in a slot is. */
START_TEST(holders_in_the_tree)
{
    struct timespec soon = deadline_in_us(5000);
    struct lock_wait wait = { .token = &token }, timed = { .deadline = &soon };
    struct range_node fillers[RANGE_SLOTS], holder, node;
    struct locker reader, writer, behind;

    slots_fill(fillers);
    ck_assert_int_eq(range_try(&holder, 0, 100, RANGE_EXCLUSIVE), 0);
    ck_assert(range_lock_held(&rl, 0, 100, RANGE_EXCLUSIVE));
    ck_assert_int_eq(range_try(&node, 99, 100, RANGE_SHARED), -EAGAIN);
    ck_assert_int_eq(range_lock_acquire(&rl, &node, 99, 100, RANGE_SHARED, INODE, &timed),
                     -ETIMEDOUT);
    locker_start_waiting(&reader, 0, 50, RANGE_SHARED, NULL);
    locker_start_waiting(&writer, 40, 200, RANGE_EXCLUSIVE, &wait);
    for (int i = 0; i < RANGE_OVERTAKE_MAX; i++) {
        ck_assert_int_eq(range_try(&node, 150, 160, RANGE_SHARED), 0);
        range_lock_release(&rl, &node);
    }
    locker_start_waiting(&behind, 150, 300, RANGE_SHARED, NULL);
    /* Who waits holds nothing. */
    ck_assert(!range_lock_held(&rl, 150, 160, RANGE_SHARED));
    range_lock_downgrade(&rl, &holder);
    ck_assert(!range_lock_held(&rl, 0, 100, RANGE_EXCLUSIVE));
    ck_assert_int_eq(locker_join(&reader), 0);
    ck_assert_uint_eq(range_lock_waiting(&rl), 2);
    ck_assert(!atomic_load(&behind.done));
    /* The writer keeps BEHIND out, and leaves nothing when it gives up. */
    lock_wait_interrupt(&token);
    ck_assert_int_eq(locker_join(&writer), -EINTR);
    locker_finish(&behind);
    ck_assert_uint_eq(range_lock_waiting(&rl), 0);
    lock_token_init(&token);
    locker_start_waiting(&writer, 60, 200, RANGE_EXCLUSIVE, &wait);
    range_lock_release(&rl, &reader.node);
    ck_assert(!atomic_load(&writer.done));
    range_lock_release(&rl, &holder);
    ck_assert_int_eq(locker_join(&writer), 0);
    ck_assert(range_lock_held(&rl, 60, 200, RANGE_EXCLUSIVE));
    range_lock_release(&rl, &writer.node);
    slots_empty(fillers);
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

/* A waiter with one other before it is passed as often as both allow, and not once more. */
START_TEST(overtaking_counts_those_before)
{
    struct range_node holder, passer;
    struct locker first, second;
    int passed[2] = { 0 };

    ck_assert_int_eq(range_try(&holder, 0, 10, RANGE_EXCLUSIVE), 0);
    locker_start_waiting(&first, 0, 300, RANGE_EXCLUSIVE, NULL);
    locker_start_waiting(&second, 0, 1000, RANGE_EXCLUSIVE, NULL);
    for (int i = 0; i < 4 * RANGE_OVERTAKE_MAX; i++) {
        for (uint64_t k = 0; k < 2; k++) {
            if (range_try(&passer, 100 + 400 * k, 200 + 400 * k, RANGE_EXCLUSIVE) != 0)
                continue;
            passed[k]++;
            range_lock_release(&rl, &passer);
        }
    }
    ck_assert_int_eq(passed[0], RANGE_OVERTAKE_MAX);
    ck_assert_int_eq(passed[1], RANGE_OVERTAKE_MAX);
    range_lock_release(&rl, &holder);
    ck_assert_int_eq(locker_join(&first), 0);
    ck_assert(!atomic_load(&second.done));
    range_lock_release(&rl, &first.node);
    locker_finish(&second);
}
END_TEST

/* The bound with passers in threads of their own, which wait, try, or wait for a time. */
static _Atomic bool passers_stop;
static _Atomic unsigned int passers_passed;

static void *passer_run(void *arg)
{
    unsigned int self = (unsigned int)(uintptr_t)arg;
    struct range_node node;

    while (!atomic_load(&passers_stop)) {
        struct timespec soon = deadline_in_us(100);
        struct lock_wait wait = { .nowait = self == 1, .deadline = self == 2 ? &soon : NULL };
        enum range_mode mode = self == 3 ? RANGE_EXCLUSIVE : RANGE_SHARED;

        if (range_lock_acquire(&rl, &node, 100, 200, mode, INODE, &wait) == 0) {
            atomic_fetch_add(&passers_passed, 1);
            range_lock_release(&rl, &node);
        }
    }
    return NULL;
}

START_TEST(overtakings_are_counted)
{
    for (int round = 0; round < 20; round++) {
        struct range_node holder;
        struct locker waiter;
        pthread_t passers[4];
        unsigned int passed;

        atomic_store(&passers_stop, false);
        atomic_store(&passers_passed, 0);
        ck_assert_int_eq(range_try(&holder, 0, 10, RANGE_EXCLUSIVE), 0);
        locker_start_waiting(&waiter, 0, 1000, RANGE_EXCLUSIVE, NULL);
        for (uintptr_t i = 0; i < 4; i++)
            ck_assert_int_eq(pthread_create(&passers[i], NULL, passer_run, (void *)i), 0);
        /* In every other round the waiter's turn comes while they pass. */
        for (int i = 0; round % 2 && atomic_load(&passers_passed) < RANGE_OVERTAKE_MAX; i++) {
            ck_assert_int_lt(i, 5000);
            sleep_ms(1);
        }
        sleep_ms(round % 2 ? 2 : 0);
        range_lock_release(&rl, &holder);
        ck_assert_int_eq(locker_join(&waiter), 0);
        /* It holds what they need, so they can not go on counting. */
        passed = atomic_load(&passers_passed);
        if (round % 2)
            ck_assert_uint_eq(passed, RANGE_OVERTAKE_MAX);
        else
            ck_assert_uint_le(passed, RANGE_OVERTAKE_MAX);
        atomic_store(&passers_stop, true);
        range_lock_release(&rl, &waiter.node);
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(pthread_join(passers[i], NULL), 0);
    }
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

int main(void)
{
    Suite *suite = suite_create("range_wait");
    TCase *tc = tcase_create("range_wait");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
    tcase_add_test(tc, holders_in_the_tree);
    tcase_add_test(tc, release_wakes_those_that_can_go);
    tcase_add_test(tc, release_wakes_many);
    tcase_add_test(tc, waiters_go_in_the_order_of_their_coming);
    tcase_add_test(tc, overtaking_is_bounded);
    tcase_add_test(tc, overtaking_counts_those_before);
    tcase_add_test(tc, overtakings_are_counted);
    tcase_add_test(tc, writer_is_not_starved);
    tcase_add_test(tc, timeout);
    tcase_add_test(tc, interrupt);
    tcase_add_test(tc, giving_up_wakes_those_behind);
    tcase_add_test(tc, downgrade);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
