/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Range locks in the lock order of base/lock.h, also when another thread releases them. */
#include "dax/range_lock.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef DAXFUSE_LOCK_ORDER
static const struct lock_wait nowait = { .nowait = true };
static struct range_node first;

/* What FUNCTION's child process does not survive is an assertion. */
static bool function_aborts(void (*function)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        function();
        _exit(0);
    }
    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static struct range_lock lock_of_5, lock_of_6;

static void order_setup(void)
{
    range_lock_init(&lock_of_5);
    range_lock_init(&lock_of_6);
}

static void acquire_two(struct range_lock *a, uint64_t inode_a, uint64_t start_a,
                        struct range_lock *b, uint64_t inode_b, uint64_t start_b)
{
    struct range_node second;

    range_lock_acquire(a, &first, start_a, start_a + 10, RANGE_SHARED, inode_a, NULL);
    range_lock_acquire(b, &second, start_b, start_b + 10, RANGE_SHARED, inode_b, NULL);
}

static void lower_inode_first(void)
{
    acquire_two(&lock_of_5, 5, 100, &lock_of_6, 6, 0);
}

static void higher_inode_first(void)
{
    acquire_two(&lock_of_6, 6, 0, &lock_of_5, 5, 100);
}

static void lower_offset_first(void)
{
    acquire_two(&lock_of_5, 5, 0, &lock_of_5, 5, 100);
}

static void higher_offset_first(void)
{
    acquire_two(&lock_of_5, 5, 100, &lock_of_5, 5, 0);
}

static void inode_after_range(void)
{
    struct lock inode;

    lock_init(&inode, LOCK_INODE, 9);
    range_lock_acquire(&lock_of_5, &first, 0, 1, RANGE_SHARED, 5, NULL);
    lock_acquire(&inode);
}

static void range_after_map(void)
{
    struct rwlock map;

    rwlock_init(&map, LOCK_MAP, 5);
    rwlock_read(&map);
    range_lock_acquire(&lock_of_5, &first, 0, 1, RANGE_SHARED, 5, NULL);
}

static void tries_in_any_order(void)
{
    struct range_node second;

    range_lock_acquire(&lock_of_6, &first, 0, 1, RANGE_SHARED, 6, NULL);
    if (range_lock_acquire(&lock_of_5, &second, 0, 1, RANGE_SHARED, 5, &nowait) != 0)
        _exit(1);
}

static void handed_over(void)
{
    range_lock_acquire(&lock_of_6, &first, 0, 1, RANGE_SHARED, 6, NULL);
    range_lock_hand_over(&first);
    range_lock_release(&lock_of_6, &first);
    lower_inode_first();
}

static void *release_first(void *arg)
{
    range_lock_release(arg, &first);
    return NULL;
}

static void released_by_another_thread(void)
{
    pthread_t thread;

    range_lock_acquire(&lock_of_6, &first, 0, 1, RANGE_SHARED, 6, NULL);
    if (pthread_create(&thread, NULL, release_first, &lock_of_6) != 0)
        _exit(1);
    pthread_join(thread, NULL);
    lower_inode_first();
}

static void not_released_by_another_thread(void)
{
    range_lock_acquire(&lock_of_6, &first, 0, 1, RANGE_SHARED, 6, NULL);
    lower_inode_first();
}

START_TEST(order)
{
    order_setup();
    ck_assert(!function_aborts(lower_inode_first));
    ck_assert(function_aborts(higher_inode_first));
    ck_assert(!function_aborts(lower_offset_first));
    ck_assert(function_aborts(higher_offset_first));
    ck_assert(function_aborts(inode_after_range));
    ck_assert(function_aborts(range_after_map));
    ck_assert(!function_aborts(tries_in_any_order));
    ck_assert(!function_aborts(handed_over));
    ck_assert(!function_aborts(released_by_another_thread));
    ck_assert(function_aborts(not_released_by_another_thread));
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("range_order");
    TCase *tc = tcase_create("range_order");
    SRunner *runner;
    int failed;

#ifdef DAXFUSE_LOCK_ORDER
    tcase_add_test(tc, order);
#endif
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
