/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* media/guard: law L7, bad media stays local. A bad page is made by cutting the file under the mapping. */
#include "base/endian.h"
#include "media/pool.h"

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (16ull << 20)
#define CUT (10ull << 20)

static char path[64];
static struct pool *pool;

static void setup(void)
{
    struct pool_create_options options = { .size = SIZE };
    int fd;

    strcpy(path, "/dev/shm/test_guard.XXXXXX");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_int_eq(pool_create(path, &options, &pool, NULL), 0);
    memset(pool->base + (8 << 20), 'a', 8 << 20);
    ck_assert_int_eq(truncate(path, CUT), 0);
}

static void teardown(void)
{
    pool_close(pool);
    pool = NULL;
    unlink(path);
}

START_TEST(l7_bad_page_reads_as_zero_and_is_known)
{
    volatile uint8_t *base = pool->base;

    ck_assert_int_eq(pool_guard_install(), 0);
    ck_assert_int_eq(pool_guard_install(), 0);
    ck_assert(!pool_range_is_bad(pool, 0, SIZE));
    ck_assert_int_eq(base[CUT - 1], 'a');
    ck_assert_uint_eq(pool->bad_pages, 0);

    ck_assert_int_eq(base[CUT + 5 * 4096 + 7], 0);
    ck_assert_uint_eq(pool->bad_pages, 1);
    ck_assert(pool_range_is_bad(pool, CUT + 5 * 4096, 1));
    ck_assert(pool_range_is_bad(pool, 0, SIZE));
    ck_assert(pool_range_is_bad(pool, CUT + 6 * 4096 - 1, 1));
    ck_assert(!pool_range_is_bad(pool, CUT + 6 * 4096, SIZE - CUT - 6 * 4096));
    ck_assert(!pool_range_is_bad(pool, 0, CUT + 5 * 4096));
    ck_assert(!pool_range_is_bad(pool, CUT + 5 * 4096, 0));

    /* A store, also by a copy that crosses pages, and the library's. */
    base[SIZE - 1] = 1;
    ck_assert_int_eq(base[SIZE - 1], 1);
    ck_assert_uint_eq(pool->bad_pages, 2);
    memset((void *)(base + CUT - 4096), 'b', 3 * 4096);
    ck_assert_uint_eq(pool->bad_pages, 4);
    persist_copy(pool->persist, (void *)(base + CUT + 100 * 4096), "x", 1, PERSIST_DATA);
    persist_set(pool->persist, (void *)(base + CUT + 200 * 4096), 0, 8192, PERSIST_DATA);
    ck_assert_int_eq(persist_drain(pool->persist), 0);
    ck_assert_uint_eq(pool->bad_pages, 7);
    ck_assert(!pool_range_is_bad(pool, CUT - 4096, 4096));
    ck_assert(pool_range_is_bad(pool, CUT, 4096));
}
END_TEST

#define THREADS 8

static void *thread_body(void *arg)
{
    volatile uint8_t *base = pool->base;
    unsigned long sum = 0;

    pthread_barrier_wait(arg);
    /* All the same pages at once. */
    for (uint64_t at = CUT; at < SIZE; at += 4096)
        sum += base[at];
    return (void *)sum;
}

START_TEST(l7_many_threads_fault_at_once)
{
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;

    pthread_barrier_init(&barrier, NULL, THREADS);
    ck_assert_int_eq(pool_guard_install(), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_body, &barrier), 0);
    for (int i = 0; i < THREADS; i++) {
        void *sum;

        pthread_join(threads[i], &sum);
        ck_assert_ptr_null(sum);
    }
    pthread_barrier_destroy(&barrier);
    ck_assert_uint_eq(pool->bad_pages, (SIZE - CUT) / 4096);
}
END_TEST

START_TEST(closed_pools_leave_the_table)
{
    for (int i = 0; i < 40; i++) {
        pool_close(pool);
        unlink(path);
        pool = NULL;
        setup();
        ck_assert_ptr_nonnull(pool->guard);
    }
}
END_TEST

/* A fault in two pools goes to the right one; a pool that was closed is out of the table. */
START_TEST(l7_finds_its_pool)
{
    struct pool *first = pool;

    unlink(path);
    pool = NULL;
    setup();
    ck_assert_int_eq(pool_guard_install(), 0);
    ck_assert_int_eq(((volatile uint8_t *)pool->base)[SIZE - 1], 0);
    ck_assert_uint_eq(first->bad_pages, 0);
    ck_assert_uint_eq(pool->bad_pages, 1);
    pool_close(first);
    ck_assert_int_eq(((volatile uint8_t *)pool->base)[CUT], 0);
    ck_assert_uint_eq(pool->bad_pages, 2);
}
END_TEST

/* Memory that is no pool: one bad page, and all of it is zeros that nobody else sees. */
START_TEST(l7_memory_is_covered_whole)
{
    char name[] = "/dev/shm/test_guard.XXXXXX";
    _Atomic uint64_t bad = 0;
    int fd = mkstemp(name);
    const size_t size = 8 * 4096;
    uint8_t byte;

    ck_assert_int_ge(fd, 0);
    unlink(name);
    ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
    volatile uint8_t *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne((void *)base, MAP_FAILED);
    ck_assert_int_eq(pool_guard_install(), 0);
    ck_assert_int_eq(pool_guard_add_memory((void *)base, size, &bad), 0);
    memset((void *)base, 'a', size);
    ck_assert_int_eq(ftruncate(fd, 4096), 0);
    ck_assert_int_eq(base[4095], 'a');
    ck_assert_uint_eq(bad, 0);
    ck_assert_int_eq(base[5 * 4096], 0);
    ck_assert_uint_eq(bad, 1);
    for (size_t i = 0; i < size; i++)
        ck_assert_int_eq(base[i], 0);
    base[0] = 'b';
    ck_assert_int_eq(pread(fd, &byte, 1, 0), 1);
    ck_assert_int_eq(byte, 'a');
    ck_assert_uint_eq(bad, 1);
    ck_assert_uint_eq(pool->bad_pages, 0);
    pool_guard_remove_memory((void *)base);
    munmap((void *)base, size);
    close(fd);
    /* Its place is free again, a thousand times. */
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(pool_guard_add_memory(&byte, 1, &bad), 0);
        pool_guard_remove_memory(&byte);
    }
}
END_TEST

/* Any other bad address ends the process, or goes to who was there before. */
static uint8_t *foreign_page(void)
{
    FILE *file = tmpfile();
    uint8_t *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(file), 0);

    ck_assert_ptr_ne(page, MAP_FAILED);
    return page;
}

static sigjmp_buf before_fault;

static void earlier_handler(int number)
{
    siglongjmp(before_fault, number);
}

START_TEST(foreign_fault_goes_to_earlier_handler)
{
    volatile uint8_t *page = foreign_page();

    signal(SIGBUS, earlier_handler);
    ck_assert_int_eq(pool_guard_install(), 0);
    if (sigsetjmp(before_fault, 1) == 0) {
        ck_abort_msg("no fault: %d", page[0]);
    }
    ck_assert_uint_eq(pool->bad_pages, 0);
}
END_TEST

START_TEST(foreign_fault_is_deadly)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        volatile uint8_t *page = foreign_page();

        signal(SIGBUS, SIG_DFL);
        if (pool_guard_install() != 0)
            _exit(1);
        (void)page[0];
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGBUS);
}
END_TEST

START_TEST(sent_signal_is_deadly)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        signal(SIGBUS, SIG_DFL);
        if (pool_guard_install() != 0)
            _exit(1);
        kill(getpid(), SIGBUS);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("guard");
    TCase *tcase = tcase_create("guard");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 20);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, l7_bad_page_reads_as_zero_and_is_known);
    tcase_add_test(tcase, l7_many_threads_fault_at_once);
    tcase_add_test(tcase, l7_finds_its_pool);
    tcase_add_test(tcase, closed_pools_leave_the_table);
    tcase_add_test(tcase, l7_memory_is_covered_whole);
    tcase_add_test(tcase, foreign_fault_goes_to_earlier_handler);
    tcase_add_test(tcase, foreign_fault_is_deadly);
    tcase_add_test(tcase, sent_signal_is_deadly);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
