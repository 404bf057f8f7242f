/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* struct lock, struct rwlock, limited waits, the lock-order check. */
#include "base/lock.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct lock lock;
static struct rwlock rwlock;
static struct lock_token token;
static long counter;

static void fixture_setup(void)
{
    lock_init(&lock, LOCK_INODE, 5);
    rwlock_init(&rwlock, LOCK_MAP, 5);
    lock_token_init(&token);
    counter = 0;
}

static void sleep_ms(long ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    nanosleep(&t, NULL);
}

static struct timespec deadline_in_ms(long ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static pthread_t thread_start(void *(*body)(void *), void *arg)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, body, arg), 0);
    return thread;
}

static long thread_join(pthread_t thread)
{
    void *ret;

    ck_assert_int_eq(pthread_join(thread, &ret), 0);
    return (long)ret;
}

static void *count_locked(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++) {
        if (i % 16 == 0) {
            while (!lock_try(&lock))
                ;
        } else {
            lock_acquire(&lock);
        }
        counter++;
        lock_release(&lock);
    }
    return NULL;
}

START_TEST(lock_excludes)
{
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        threads[i] = thread_start(count_locked, NULL);
    for (int i = 0; i < 4; i++)
        thread_join(threads[i]);
    ck_assert_int_eq(counter, 4 * 20000);
    ck_assert(!lock_is_held(&lock));
    lock_acquire(&lock);
    ck_assert(lock_is_held(&lock));
    ck_assert(!lock_try(&lock));
    lock_release(&lock);
}
END_TEST

START_TEST(rwlock_states)
{
    rwlock_read(&rwlock);
    ck_assert(rwlock_is_held(&rwlock) && !rwlock_is_write_held(&rwlock));
    ck_assert(rwlock_try_read(&rwlock));
    ck_assert(!rwlock_try_write(&rwlock));
    rwlock_read_release(&rwlock);
    ck_assert(!rwlock_try_write(&rwlock));
    rwlock_read_release(&rwlock);
    ck_assert(!rwlock_is_held(&rwlock));
    ck_assert(rwlock_try_write(&rwlock));
    ck_assert(rwlock_is_write_held(&rwlock));
    ck_assert(!rwlock_try_read(&rwlock));
    ck_assert(!rwlock_try_write(&rwlock));
    rwlock_downgrade(&rwlock);
    ck_assert(rwlock_try_read(&rwlock));
    ck_assert(!rwlock_try_write(&rwlock));
    rwlock_read_release(&rwlock);
    rwlock_read_release(&rwlock);
    rwlock_write(&rwlock);
    rwlock_write_release(&rwlock);
}
END_TEST

/* counter has two halves that only a writer may see unequal. */
static long halves[2];

static void *read_and_write(void *arg)
{
    unsigned int seed = (unsigned int)(uintptr_t)arg;

    for (int i = 0; i < 10000; i++) {
        struct timespec soon = deadline_in_ms(0);
        struct lock_wait wait = { .deadline = &soon };

        switch (rand_r(&seed) % 8) {
        case 0:
            rwlock_write(&rwlock);
            halves[0]++;
            halves[1]++;
            rwlock_write_release(&rwlock);
            break;
        case 1:
            rwlock_write(&rwlock);
            halves[0]++;
            halves[1]++;
            rwlock_downgrade(&rwlock);
            if (halves[0] != halves[1])
                return (void *)1;
            rwlock_read_release(&rwlock);
            break;
        case 2:
            if (rwlock_write_wait(&rwlock, &wait) == 0) {
                halves[0]++;
                halves[1]++;
                rwlock_write_release(&rwlock);
            }
            break;
        case 3:
            if (!rwlock_try_read(&rwlock))
                break;
            if (halves[0] != halves[1])
                return (void *)1;
            rwlock_read_release(&rwlock);
            break;
        default:
            rwlock_read(&rwlock);
            if (halves[0] != halves[1])
                return (void *)1;
            rwlock_read_release(&rwlock);
        }
    }
    return NULL;
}

START_TEST(rwlock_excludes)
{
    pthread_t threads[4];

    for (long i = 0; i < 4; i++)
        threads[i] = thread_start(read_and_write, (void *)(i + 1));
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(thread_join(threads[i]), 0);
    ck_assert(rwlock_try_write(&rwlock));
    rwlock_write_release(&rwlock);
    ck_assert_ptr_null(rwlock.first);
}
END_TEST

static void *write_once(void *arg)
{
    long r = rwlock_write_wait(&rwlock, arg);

    if (r == 0)
        rwlock_write_release(&rwlock);
    return (void *)r;
}

static void *read_once(void *arg)
{
    long r = rwlock_read_wait(&rwlock, arg);

    if (r == 0)
        rwlock_read_release(&rwlock);
    return (void *)r;
}

/* One reader holds it: until somebody waits too. */
static void until_waited_for(void)
{
    while (atomic_load(&rwlock.word) == 1)
        sleep_ms(1);
}

START_TEST(rwlock_writer_is_overtaken_a_bounded_number_of_times)
{
    pthread_t writer;
    int passed = 0;

    rwlock_read(&rwlock);
    writer = thread_start(write_once, NULL);
    until_waited_for();
    while (passed < 1000 && rwlock_try_read(&rwlock))
        passed++;
    ck_assert_int_eq(passed, RWLOCK_OVERTAKE_MAX);
    for (int i = 0; i <= passed; i++)
        rwlock_read_release(&rwlock);
    ck_assert_int_eq(thread_join(writer), 0);
    ck_assert(rwlock_try_read(&rwlock));
    rwlock_read_release(&rwlock);
}
END_TEST

START_TEST(rwlock_limited_waits)
{
    struct timespec past = { 0 }, soon = deadline_in_ms(20);
    struct lock_wait nowait = { .nowait = true };
    struct lock_wait timed = { .deadline = &soon }, expired = { .deadline = &past };
    struct lock_wait interruptible = { .token = &token };
    pthread_t thread;

    ck_assert_int_eq(rwlock_read_wait(&rwlock, &expired), 0);
    ck_assert_int_eq(rwlock_write_wait(&rwlock, &nowait), -EAGAIN);
    thread = thread_start(write_once, &timed);
    ck_assert_int_eq(thread_join(thread), -ETIMEDOUT);
    thread = thread_start(write_once, &expired);
    ck_assert_int_eq(thread_join(thread), -ETIMEDOUT);
    thread = thread_start(write_once, &interruptible);
    until_waited_for();
    lock_wait_interrupt(&token);
    ck_assert_int_eq(thread_join(thread), -EINTR);
    ck_assert(lock_token_interrupted(&token));
    thread = thread_start(write_once, &interruptible);
    ck_assert_int_eq(thread_join(thread), -EINTR);
    lock_token_init(&token);
    thread = thread_start(write_once, &interruptible);
    rwlock_read_release(&rwlock);
    ck_assert_int_eq(thread_join(thread), 0);
}
END_TEST

/* A reader that waits behind a writer only must go on when that writer gives up. */
START_TEST(rwlock_reader_goes_when_the_writer_ahead_gives_up)
{
    struct lock_wait interruptible = { .token = &token };
    pthread_t writer, reader;
    int passed = 0;

    rwlock_read(&rwlock);
    writer = thread_start(write_once, &interruptible);
    until_waited_for();
    while (rwlock_try_read(&rwlock))
        passed++;
    reader = thread_start(read_once, NULL);
    sleep_ms(50);
    lock_wait_interrupt(&token);
    ck_assert_int_eq(thread_join(writer), -EINTR);
    ck_assert_int_eq(thread_join(reader), 0);
    for (int i = 0; i <= passed; i++)
        rwlock_read_release(&rwlock);
}
END_TEST

#ifdef DAXFUSE_LOCK_ORDER
static struct lock first, second;

/* Whether FUNCTION, in a child process, is ended by an assertion. */
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

static void locks_both(void)
{
    lock_acquire(&first);
    lock_acquire(&second);
    lock_release(&first);
    lock_release(&second);
}

static void locks_and_try(void)
{
    lock_acquire(&first);
    if (!lock_try(&second))
        abort();
    lock_release(&second);
    lock_release(&first);
}

static void locks_after_try(void)
{
    if (lock_try(&first))
        lock_acquire(&second);
}

static void releases_unheld(void)
{
    lock_release(&first);
}

static void reads_twice(void)
{
    rwlock_read(&rwlock);
    rwlock_read(&rwlock);
}

START_TEST(order_of_classes)
{
    for (enum lock_class a = LOCK_RENAME; a <= LOCK_LEAF; a++) {
        for (enum lock_class b = LOCK_RENAME; b <= LOCK_LEAF; b++) {
            lock_init(&first, a, 1);
            lock_init(&second, b, 1);
            ck_assert_int_eq(function_aborts(locks_both), a >= b);
        }
    }
}
END_TEST

START_TEST(order_within_a_class)
{
    lock_init(&first, LOCK_INODE, 7);
    lock_init(&second, LOCK_INODE, 8);
    ck_assert(!function_aborts(locks_both));
    lock_init(&second, LOCK_INODE, 6);
    ck_assert(function_aborts(locks_both));
    lock_init(&second, LOCK_INODE, 7);
    ck_assert(function_aborts(locks_both));
}
END_TEST

START_TEST(order_and_trylocks)
{
    lock_init(&first, LOCK_SPACE, 0);
    lock_init(&second, LOCK_JOURNAL, 0);
    ck_assert(!function_aborts(locks_and_try));
    ck_assert(function_aborts(locks_after_try));
    ck_assert(function_aborts(releases_unheld));
    ck_assert(function_aborts(reads_twice));
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("lock");
    TCase *tc = tcase_create("lock");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, fixture_setup, NULL);
    tcase_add_test(tc, lock_excludes);
    tcase_add_test(tc, rwlock_states);
    tcase_add_test(tc, rwlock_excludes);
    tcase_add_test(tc, rwlock_writer_is_overtaken_a_bounded_number_of_times);
    tcase_add_test(tc, rwlock_limited_waits);
    tcase_add_test(tc, rwlock_reader_goes_when_the_writer_ahead_gives_up);
#ifdef DAXFUSE_LOCK_ORDER
    tcase_add_test(tc, order_of_classes);
    tcase_add_test(tc, order_within_a_class);
    tcase_add_test(tc, order_and_trylocks);
#endif
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
