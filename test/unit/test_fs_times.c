/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Times of an overwrite: stored where they lie when nothing in the journal could put older ones
 * back, in a transaction while something could; in both cases there after a crash.
 */
#include "test_fs.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

static struct fs_handle *handle;
static uint64_t ino;

/* The clock of times is a coarse one. */
static void next_tick(void)
{
    struct timespec tick;

    ck_assert_int_eq(clock_getres(CLOCK_REALTIME_COARSE, &tick), 0);
    tick.tv_nsec *= 2;
    ck_assert_int_eq(nanosleep(&tick, NULL), 0);
}

static void make_file(void)
{
    handle = fx_create("f");
    ino = fs_handle_ino(handle);
    fx_fill(handle, 0, 8192, 'a');
}

static uint64_t commits(void)
{
    struct journal_stats stats;

    journal_get_stats(fs_journal(fx.fs), &stats);
    return stats.commits;
}

static struct persist_counters counters(void)
{
    struct persist_counters sum;

    persist_get_counters(fx.below.pool->persist, &sum);
    return sum;
}

static void crash(void)
{
    fx_remount(true);
    handle = fx_open(ino, O_RDWR);
}

START_TEST(test_in_place)
{
    struct persist_counters before, after;
    struct fs_attr old, attr;
    uint64_t entries;

    make_file();
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    for (unsigned i = 0; i < 3; i++) {
        old = fx_attr(ino);
        entries = commits();
        next_tick();
        before = counters();
        fx_fill(handle, 0, 4096, 'b');
        after = counters();
        attr = fx_attr(ino);
        ck_assert_int_gt(attr.mtime, old.mtime);
        ck_assert_int_eq(attr.ctime, attr.mtime);
        ck_assert_uint_eq(commits(), entries);
        ck_assert_uint_eq(after.fences - before.fences, 1);
        ck_assert_uint_eq(after.flushed[PERSIST_METADATA] - before.flushed[PERSIST_METADATA], 64);
    }
    crash();
    ck_assert_int_eq(fx_attr(ino).mtime, attr.mtime);
    ck_assert_int_eq(fx_attr(ino).ctime, attr.ctime);
    fs_release(fx.fs, handle);
}
END_TEST

/* The journal has the record: a replay must not turn its times back. */
START_TEST(test_after_entry)
{
    struct fs_attr attr;
    uint64_t entries;

    make_file();
    next_tick();
    entries = commits();
    fx_fill(handle, 0, 4096, 'b');
    ck_assert_uint_gt(commits(), entries);
    attr = fx_attr(ino);
    crash();
    ck_assert_int_eq(fx_attr(ino).mtime, attr.mtime);
    ck_assert_int_eq(fx_attr(ino).ctime, attr.ctime);

    /* Replay has retired it. */
    next_tick();
    entries = commits();
    fx_fill(handle, 0, 4096, 'c');
    ck_assert_uint_eq(commits(), entries);
    /* And after a change that is in the journal, it is as before. */
    struct fs_attr set = { .mode = 0600 };
    ck_assert_int_eq(fs_setattr(fx.fs, &fx.rq, ino, &set, FS_SET_MODE, &attr), 0);
    next_tick();
    fx_fill(handle, 0, 4096, 'd');
    attr = fx_attr(ino);
    crash();
    ck_assert_int_eq(fx_attr(ino).mtime, attr.mtime);
    ck_assert_uint_eq(fx_attr(ino).mode & 07777, 0600);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_access_time)
{
    struct fs_attr old, attr;
    uint64_t entries;

    make_file();
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    old = fx_attr(ino);
    entries = commits();
    next_tick();
    fx_expect(handle, 0, 4096, 'a');
    attr = fx_attr(ino);
    ck_assert_int_gt(attr.atime, old.atime);
    ck_assert_int_eq(attr.mtime, old.mtime);
    ck_assert_int_eq(attr.ctime, old.ctime);
    ck_assert_uint_eq(commits(), entries);
    crash();
    ck_assert_int_eq(fx_attr(ino).atime, attr.atime);
    fs_release(fx.fs, handle);
}
END_TEST

static int drain_fails(struct persist *persist)
{
    (void)persist;
    return -EIO;
}

/* An overwrite whose flush fails is an error, and the last change. */
START_TEST(test_failed_flush)
{
    struct persist *persist = fx.below.pool->persist;
    const struct persist_ops *ops = persist->ops;
    struct persist_ops broken = *ops;

    make_file();
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    broken.drain = drain_fails;
    persist->ops = &broken;
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, "b", 1, 0), -EIO);
    persist->ops = ops;
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, "b", 1, 0), -EROFS);
    fs_release(fx.fs, handle);
}
END_TEST

static const struct persist_ops *below_ops;
static _Thread_local bool is_slow;
static _Atomic bool slow_arrived, slow_may_go;

static int drain_slowly(struct persist *persist)
{
    if (is_slow) {
        atomic_store(&slow_arrived, true);
        while (!atomic_load(&slow_may_go))
            sched_yield();
    }
    return below_ops->drain(persist);
}

static void *write_slowly(void *arg)
{
    (void)arg;
    is_slow = true;
    fx_fill(handle, 0, 4096, 's');
    return NULL;
}

/* Times that somebody else stored in the same tick, and has not fenced yet, are stored again: the
 * write that finds them there must not end before they are durable. */
START_TEST(test_unfenced_times)
{
    struct persist *persist = fx.below.pool->persist;
    struct persist_counters before, after;
    struct persist_ops slow;
    pthread_t thread;

    make_file();
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    below_ops = persist->ops;
    slow = *below_ops;
    slow.drain = drain_slowly;
    persist->ops = &slow;
    for (unsigned i = 0; i < 5; i++) {
        next_tick();
        atomic_store(&slow_arrived, false);
        atomic_store(&slow_may_go, false);
        ck_assert_int_eq(pthread_create(&thread, NULL, write_slowly, NULL), 0);
        while (!atomic_load(&slow_arrived))
            sched_yield();
        before = counters();
        fx_fill(handle, 4096, 4096, 'q');
        after = counters();
        atomic_store(&slow_may_go, true);
        pthread_join(thread, NULL);
        ck_assert_uint_eq(after.flushed[PERSIST_METADATA] - before.flushed[PERSIST_METADATA], 64);
    }
    persist->ops = below_ops;
    fs_release(fx.fs, handle);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_in_place);
    tcase_add_test(tcase, test_after_entry);
    tcase_add_test(tcase, test_access_time);
    tcase_add_test(tcase, test_failed_flush);
    tcase_add_test(tcase, test_unfenced_times);
}

int main(void)
{
    return fx_main("fs_times", add);
}
