/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks that programs have on files: what fcntl(2) and flock(2) say, across doors. */
#define FX_POOL_SIZE (16u << 20)
#include "fs/internal.h"
#include "test_fs.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define EVERYTHING 0, INT64_MAX

static struct fs_lock_door doors[2];
static uint64_t ino;

static void setup(void)
{
    fs_lock_door_init(&doors[0]);
    fs_lock_door_init(&doors[1]);
    ino = fx_mknod(1, "file");
}

static void end(void)
{
    fs_lock_forget_door(fx.fs, &doors[0]);
    fs_lock_forget_door(fx.fs, &doors[1]);
    ck_assert_uint_eq(doors[0].locks + doors[1].locks, 0);
}

/* Owners 0 to 9 are of one door, 10 to 19 of the other, with the same numbers. */
static struct fs_lock lock_of(unsigned owner, int type, uint64_t first, uint64_t last)
{
    return (struct fs_lock){
        .ino = ino,
        .door = &doors[owner / 10],
        .owner = owner % 10,
        .kind = FS_LOCK_POSIX,
        .type = type,
        .start = first,
        .end = last,
        .pid = 1000 + owner,
    };
}

static int set(unsigned owner, int type, uint64_t first, uint64_t last)
{
    struct fs_lock lock = lock_of(owner, type, first, last);

    return fs_lock_set(fx.fs, &lock, NULL);
}

static int set_flock(unsigned owner, int type)
{
    struct fs_lock lock = lock_of(owner, type, 5, 0); /* the range is not looked at */

    lock.kind = FS_LOCK_FLOCK;
    return fs_lock_set(fx.fs, &lock, NULL);
}

/* What keeps the owner from this lock; F_UNLCK: nothing. */
static struct fs_lock conflict(unsigned owner, int type, uint64_t first, uint64_t last)
{
    struct fs_lock lock = lock_of(owner, type, first, last), found;

    ck_assert_int_eq(fs_lock_test(fx.fs, &lock, &found), 0);
    return found;
}

static void expect(unsigned owner, int type, uint64_t first, uint64_t last)
{
    struct fs_lock found = conflict(owner == 9 ? 8 : 9, F_WRLCK, first, last);

    ck_assert_int_eq(found.type, type);
    ck_assert_uint_eq(found.start, first);
    ck_assert_uint_eq(found.end, last);
    ck_assert_uint_eq(found.owner, owner);
}

static void expect_free(uint64_t first, uint64_t last)
{
    ck_assert_int_eq(conflict(9, F_WRLCK, first, last).type, F_UNLCK);
}

struct wait {
    struct fs_lock_waiter waiter;
    int error, order; /* order 0: was not called */
};
static int calls;

static void granted(struct fs_lock_waiter *waiter, int error)
{
    struct wait *wait = (struct wait *)waiter;

    ck_assert_int_eq(wait->order, 0);
    wait->error = error;
    wait->order = ++calls;
}

static int wait_kind(struct wait *wait, enum fs_lock_kind kind, unsigned owner, int type,
                     uint64_t first, uint64_t last)
{
    struct fs_lock lock = lock_of(owner, type, first, last);

    lock.kind = kind;
    wait->order = wait->error = 0;
    fs_lock_waiter_init(&wait->waiter, granted);
    return fs_lock_set(fx.fs, &lock, &wait->waiter);
}

static int wait_set(struct wait *wait, unsigned owner, int type, uint64_t first, uint64_t last)
{
    return wait_kind(wait, FS_LOCK_POSIX, owner, type, first, last);
}

static void expect_waits(const struct wait *wait)
{
    ck_assert_int_eq(wait->order, 0);
}

static void expect_answer(const struct wait *wait, int error)
{
    ck_assert_int_ne(wait->order, 0);
    ck_assert_int_eq(wait->error, error);
}

/* ---- record locks ---------------------------------------------------------------------------- */

START_TEST(test_conflicts)
{
    setup();
    ck_assert_int_eq(set(1, F_RDLCK, 10, 19), 0);
    ck_assert_int_eq(set(2, F_RDLCK, 15, 24), 0);
    ck_assert_int_eq(set(1, F_WRLCK, 10, 15), -EAGAIN);
    ck_assert_int_eq(set(1, F_WRLCK, 10, 14), 0);
    ck_assert_int_eq(set(2, F_RDLCK, 14, 14), -EAGAIN);
    ck_assert_int_eq(set(2, F_RDLCK, 5, 9), 0);
    /* The first that is in the way, and whose. */
    struct fs_lock found = conflict(3, F_RDLCK, EVERYTHING);
    ck_assert_int_eq(found.type, F_WRLCK);
    ck_assert_uint_eq(found.start, 10);
    ck_assert_uint_eq(found.end, 14);
    ck_assert_uint_eq(found.pid, 1001);
    ck_assert_int_eq(conflict(3, F_RDLCK, 15, INT64_MAX).type, F_UNLCK);
    ck_assert_int_eq(conflict(1, F_WRLCK, 10, 14).type, F_UNLCK);
    /* What is refused changes nothing. */
    ck_assert_int_eq(set(2, F_WRLCK, EVERYTHING), -EAGAIN);
    ck_assert_int_eq(conflict(1, F_WRLCK, 5, 9).type, F_RDLCK);
    end();
}
END_TEST

START_TEST(test_doors_with_equal_numbers)
{
    setup();
    ck_assert_int_eq(set(1, F_WRLCK, 0, 9), 0);
    ck_assert_int_eq(set(11, F_WRLCK, 5, 14), -EAGAIN);
    ck_assert_uint_eq(conflict(11, F_WRLCK, 5, 14).pid, 0);
    ck_assert_uint_eq(conflict(2, F_WRLCK, 5, 14).pid, 1001);
    ck_assert_int_eq(set(11, F_UNLCK, EVERYTHING), 0);
    expect(1, F_WRLCK, 0, 9);
    /* Numbers that are neighbours, and the largest. */
    struct fs_lock lock = lock_of(0, F_RDLCK, 100, 100);
    for (unsigned i = 0; i < 4; i++) {
        lock.owner = UINT64_MAX - i;
        ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    }
    ck_assert_uint_eq(doors[0].locks, 5);
    fs_lock_forget_owner(fx.fs, ino, &doors[0], FS_LOCK_POSIX, UINT64_MAX - 1);
    ck_assert_uint_eq(doors[0].locks, 4);
    end();
}
END_TEST

START_TEST(test_split_and_join)
{
    setup();
    ck_assert_int_eq(set(1, F_WRLCK, 0, 99), 0);
    ck_assert_int_eq(set(1, F_UNLCK, 40, 59), 0);
    expect(1, F_WRLCK, 0, 39);
    expect_free(40, 59);
    expect(1, F_WRLCK, 60, 99);
    /* Of another type in the middle of one: three. */
    ck_assert_int_eq(set(1, F_RDLCK, 70, 79), 0);
    ck_assert_uint_eq(doors[0].locks, 4);
    expect(1, F_WRLCK, 60, 69);
    expect(1, F_RDLCK, 70, 79);
    expect(1, F_WRLCK, 80, 99);
    /* Touching on both sides. */
    ck_assert_int_eq(set(1, F_WRLCK, 40, 59), 0);
    expect(1, F_WRLCK, 0, 69);
    ck_assert_int_eq(set(1, F_WRLCK, 75, 200), 0);
    expect(1, F_RDLCK, 70, 74);
    expect(1, F_WRLCK, 75, 200);
    ck_assert_int_eq(set(1, F_WRLCK, 50, 150), 0);
    expect(1, F_WRLCK, 0, 200);
    ck_assert_uint_eq(doors[0].locks, 1);
    /* Down, in the middle and whole. */
    ck_assert_int_eq(set(1, F_RDLCK, 100, INT64_MAX), 0);
    expect(1, F_RDLCK, 100, INT64_MAX);
    ck_assert_int_eq(set(2, F_RDLCK, 201, INT64_MAX), 0);
    ck_assert_int_eq(set(1, F_RDLCK, EVERYTHING), 0);
    ck_assert_uint_eq(doors[0].locks, 2);
    ck_assert_int_eq(set(1, F_UNLCK, INT64_MAX, INT64_MAX), 0);
    expect(1, F_RDLCK, 0, INT64_MAX - 1);
    ck_assert_int_eq(set(1, F_UNLCK, EVERYTHING), 0);
    ck_assert_int_eq(set(1, F_UNLCK, EVERYTHING), 0);
    expect(2, F_RDLCK, 201, INT64_MAX);
    end();
}
END_TEST

START_TEST(test_bad_requests)
{
    struct fs_lock lock, found;

    setup();
    ck_assert_int_eq(set(1, F_WRLCK, 10, 9), -EINVAL);
    ck_assert_int_eq(set(1, F_WRLCK, 0, (uint64_t)INT64_MAX + 1), -EINVAL);
    ck_assert_int_eq(set(1, F_WRLCK, UINT64_MAX, UINT64_MAX), -EINVAL);
    ck_assert_int_eq(set(1, 77, 0, 9), -EINVAL);
    lock = lock_of(1, F_UNLCK, 0, 9);
    ck_assert_int_eq(fs_lock_test(fx.fs, &lock, &found), -EINVAL);
    lock.type = F_RDLCK;
    lock.ino = UINT64_MAX;
    ck_assert_int_eq(fs_lock_test(fx.fs, &lock, &found), 0);
    ck_assert_int_ne(fs_lock_set(fx.fs, &lock, NULL), 0);
    /* What the handle was not opened for. */
    struct fs_handle *reader = fx_open(ino, O_RDONLY);
    lock = lock_of(1, F_WRLCK, 0, 9);
    lock.handle = reader;
    ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), -EBADF);
    lock.kind = FS_LOCK_FLOCK;
    ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    fs_release(fx.fs, reader);
    end();
}
END_TEST

/* ---- flock ------------------------------------------------------------------------------------- */

START_TEST(test_flock)
{
    struct wait wait;

    setup();
    ck_assert_int_eq(set_flock(1, F_RDLCK), 0);
    ck_assert_int_eq(set_flock(12, F_RDLCK), 0);
    ck_assert_int_eq(set_flock(3, F_WRLCK), -EAGAIN);
    ck_assert_int_eq(set(3, F_WRLCK, EVERYTHING), 0); /* the kinds do not meet */
    ck_assert_int_eq(set_flock(1, F_RDLCK), 0);
    /* A change that is refused has lost what there was. */
    ck_assert_int_eq(set_flock(1, F_WRLCK), -EAGAIN);
    ck_assert_int_eq(set_flock(12, F_WRLCK), 0);
    ck_assert_int_eq(set_flock(1, F_RDLCK), -EAGAIN);
    /* Who waits comes before who changes. */
    ck_assert_int_eq(wait_kind(&wait, FS_LOCK_FLOCK, 4, F_WRLCK, EVERYTHING), -EINPROGRESS);
    ck_assert_int_eq(set_flock(12, F_RDLCK), -EAGAIN);
    expect_answer(&wait, 0);
    ck_assert_int_eq(set_flock(12, F_UNLCK), 0);
    ck_assert_int_eq(set_flock(1, F_RDLCK), -EAGAIN);
    ck_assert_int_eq(set_flock(4, F_UNLCK), 0);
    ck_assert_int_eq(set_flock(1, F_RDLCK), 0);
    fs_lock_forget_owner(fx.fs, ino, &doors[0], FS_LOCK_FLOCK, 1);
    ck_assert_int_eq(set_flock(3, F_WRLCK), 0);
    end();
}
END_TEST

/* Two that have it shared and both want it alone: each gives its own up, so it is no circle. */
START_TEST(test_flock_upgrades_are_no_deadlock)
{
    struct wait one, other;

    setup();
    ck_assert_int_eq(set_flock(1, F_RDLCK), 0);
    ck_assert_int_eq(set_flock(2, F_RDLCK), 0);
    ck_assert_int_eq(wait_kind(&one, FS_LOCK_FLOCK, 1, F_WRLCK, EVERYTHING), -EINPROGRESS);
    ck_assert_int_eq(wait_kind(&other, FS_LOCK_FLOCK, 2, F_WRLCK, EVERYTHING), -EINPROGRESS);
    expect_answer(&one, 0);
    expect_waits(&other);
    ck_assert_int_eq(set_flock(1, F_UNLCK), 0);
    expect_answer(&other, 0);
    end();
}
END_TEST

/* Numbers of the two kinds have nothing to do with each other, and flock knows no circles. */
START_TEST(test_flock_and_record_waits_are_no_deadlock)
{
    struct wait record, flock;

    setup();
    ck_assert_int_eq(set(1, F_WRLCK, 0, 0), 0);
    ck_assert_int_eq(set_flock(2, F_WRLCK), 0);
    ck_assert_int_eq(wait_set(&record, 2, F_WRLCK, 0, 0), -EINPROGRESS);
    ck_assert_int_eq(wait_kind(&flock, FS_LOCK_FLOCK, 1, F_WRLCK, EVERYTHING), -EINPROGRESS);
    end();
}
END_TEST

/* ---- waiting ------------------------------------------------------------------------------------ */

START_TEST(test_waiters_come_in_order)
{
    struct wait w[5];

    setup();
    ck_assert_int_eq(set(1, F_WRLCK, 0, 99), 0);
    ck_assert_int_eq(wait_set(&w[0], 2, F_RDLCK, 0, 9), -EINPROGRESS);
    ck_assert_int_eq(wait_set(&w[1], 3, F_WRLCK, 0, 9), -EINPROGRESS);
    ck_assert_int_eq(wait_set(&w[2], 4, F_RDLCK, 5, 14), -EINPROGRESS);
    ck_assert_int_eq(wait_set(&w[3], 15, F_WRLCK, 50, 59), -EINPROGRESS);
    ck_assert_int_eq(wait_set(&w[4], 6, F_RDLCK, 200, 200), 0); /* not called */
    /* Only what is in the way counts. */
    ck_assert_int_eq(set(1, F_UNLCK, 50, 60), 0);
    expect_answer(&w[3], 0);
    expect_waits(&w[0]);
    ck_assert_int_eq(set(1, F_RDLCK, 0, 49), 0);
    expect_answer(&w[0], 0);
    expect_answer(&w[2], 0);
    ck_assert_int_lt(w[0].order, w[2].order);
    expect_waits(&w[1]);
    ck_assert_int_eq(set(1, F_UNLCK, EVERYTHING), 0);
    ck_assert_int_eq(set(2, F_UNLCK, EVERYTHING), 0);
    expect_waits(&w[1]);
    fs_lock_forget_owner(fx.fs, ino, &doors[0], FS_LOCK_POSIX, 4);
    expect_answer(&w[1], 0);
    expect(3, F_WRLCK, 0, 9);
    expect_waits(&w[4]);
    end();
}
END_TEST

START_TEST(test_cancel)
{
    struct wait w[2];

    setup();
    fs_lock_waiter_init(&w[0].waiter, granted);
    ck_assert_int_eq(fs_lock_cancel(fx.fs, &w[0].waiter), -ENOENT);
    ck_assert_int_eq(set(1, F_WRLCK, 0, 9), 0);
    ck_assert_int_eq(wait_set(&w[0], 2, F_WRLCK, 0, 9), -EINPROGRESS);
    ck_assert_int_eq(wait_set(&w[1], 3, F_WRLCK, 0, 9), -EINPROGRESS);
    ck_assert_int_eq(fs_lock_cancel(fx.fs, &w[0].waiter), 0);
    ck_assert_int_eq(fs_lock_cancel(fx.fs, &w[0].waiter), -ENOENT);
    ck_assert_int_eq(set(1, F_UNLCK, 0, 9), 0);
    expect_waits(&w[0]);
    expect_answer(&w[1], 0);
    ck_assert_int_eq(fs_lock_cancel(fx.fs, &w[1].waiter), -ENOENT);
    end();
}
END_TEST

/* A waiter's own locks, taken away or changed when it gets what it waits for, make way for others. */
START_TEST(test_a_grant_makes_way)
{
    struct wait up, down, third;

    setup();
    ck_assert_int_eq(set(1, F_WRLCK, 0, 9), 0);
    ck_assert_int_eq(set(2, F_WRLCK, 10, 19), 0);
    ck_assert_int_eq(wait_set(&third, 3, F_RDLCK, 0, 9), -EINPROGRESS);
    ck_assert_int_eq(wait_set(&down, 1, F_RDLCK, 0, 19), -EINPROGRESS);
    ck_assert_int_eq(set(2, F_UNLCK, EVERYTHING), 0);
    expect_answer(&down, 0);
    expect_answer(&third, 0);
    ck_assert_int_eq(wait_set(&up, 1, F_WRLCK, 0, 19), -EINPROGRESS);
    ck_assert_int_eq(set(3, F_UNLCK, EVERYTHING), 0);
    expect_answer(&up, 0);
    expect(1, F_WRLCK, 0, 19);
    end();
}
END_TEST

START_TEST(test_deadlocks)
{
    struct wait w[4];
    uint64_t other = fx_mknod(1, "other");

    setup();
    ck_assert_int_eq(set(1, F_WRLCK, 1, 1), 0);
    ck_assert_int_eq(set(2, F_WRLCK, 2, 2), 0);
    struct fs_lock lock = lock_of(11, F_WRLCK, 3, 3);
    lock.ino = other;
    ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    ck_assert_int_eq(wait_set(&w[0], 1, F_WRLCK, 2, 2), -EINPROGRESS);
    ck_assert_int_eq(set(2, F_WRLCK, 1, 1), -EAGAIN);
    ck_assert_int_eq(wait_set(&w[1], 2, F_WRLCK, 1, 1), -EDEADLK);
    /* Three, two files, two doors. */
    lock = lock_of(2, F_RDLCK, 3, 3);
    lock.ino = other;
    fs_lock_waiter_init(&w[1].waiter, granted);
    w[1].order = 0;
    ck_assert_int_eq(fs_lock_set(fx.fs, &lock, &w[1].waiter), -EINPROGRESS);
    ck_assert_int_eq(wait_set(&w[2], 11, F_RDLCK, 1, 1), -EDEADLK);
    ck_assert_int_eq(wait_set(&w[2], 11, F_RDLCK, 5, 5), 0);
    /* One whose number is 1 as well, and who waits for nobody. */
    ck_assert_int_eq(wait_set(&w[3], 3, F_WRLCK, 5, 5), -EINPROGRESS);
    ck_assert_int_eq(set(11, F_UNLCK, 5, 5), 0);
    expect_answer(&w[3], 0);
    ck_assert_int_eq(fs_lock_cancel(fx.fs, &w[0].waiter), 0);
    end();
    expect_answer(&w[1], -ENOTCONN);
}
END_TEST

/* It is in the way of two, and only when the first has gone it is seen that the second waits for it. */
START_TEST(test_a_deadlock_that_comes_late)
{
    struct wait all, back;

    setup();
    ck_assert_int_eq(set(1, F_WRLCK, 100, 100), 0);
    ck_assert_int_eq(set(2, F_RDLCK, 0, 0), 0);
    ck_assert_int_eq(set(3, F_RDLCK, 1, 1), 0);
    ck_assert_int_eq(wait_set(&all, 1, F_WRLCK, 0, 1), -EINPROGRESS);
    ck_assert_int_eq(wait_set(&back, 3, F_WRLCK, 100, 100), -EINPROGRESS);
    ck_assert_int_eq(set(2, F_UNLCK, EVERYTHING), 0);
    expect_answer(&all, -EDEADLK);
    expect_waits(&back);
    ck_assert_int_eq(set(1, F_UNLCK, EVERYTHING), 0);
    expect_answer(&back, 0);
    end();
}
END_TEST

/* ---- what ends ------------------------------------------------------------------------------------ */

START_TEST(test_a_door_ends)
{
    struct wait ours, theirs;

    setup();
    ck_assert_int_eq(set(1, F_WRLCK, 0, 9), 0);
    ck_assert_int_eq(set_flock(2, F_WRLCK), 0);
    ck_assert_int_eq(set(11, F_WRLCK, 20, 29), 0);
    ck_assert_int_eq(wait_set(&ours, 2, F_WRLCK, 20, 29), -EINPROGRESS);
    ck_assert_int_eq(wait_set(&theirs, 12, F_WRLCK, 0, 9), -EINPROGRESS);
    fs_lock_forget_door(fx.fs, &doors[0]);
    expect_answer(&ours, -ENOTCONN);
    expect_answer(&theirs, 0);
    ck_assert_int_eq(set_flock(13, F_WRLCK), 0);
    ck_assert_int_eq(set(1, F_RDLCK, 50, 50), -ENODEV);
    ck_assert_int_eq(wait_set(&ours, 1, F_RDLCK, 0, 0), -ENODEV);
    fs_lock_door_init(&doors[0]);
    ck_assert_int_eq(set(1, F_RDLCK, 50, 50), 0);
    ck_assert_int_eq(set(1, F_RDLCK, 0, 0), -EAGAIN);
    end();
}
END_TEST

/* The door does not say when an owner of OFD locks is gone: the handle's end does. */
START_TEST(test_a_handle_ends)
{
    struct wait wait, others;

    setup();
    struct fs_handle *handle = fx_open(ino, O_RDWR), *second = fx_open(ino, O_RDWR);
    struct fs_lock lock = lock_of(1, F_WRLCK, 0, 9);
    lock.handle = handle;
    ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    lock.kind = FS_LOCK_FLOCK;
    ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    /* A program that has used another since keeps it. */
    lock = lock_of(2, F_WRLCK, 20, 29);
    lock.handle = handle;
    ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    lock.start = lock.end = 39;
    lock.handle = second;
    ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    /* Who waits through it does not any more, and nothing of it is looked at when it could have it. */
    lock = lock_of(3, F_WRLCK, 20, 20);
    lock.handle = handle;
    fs_lock_waiter_init(&wait.waiter, granted);
    wait.order = 0;
    ck_assert_int_eq(fs_lock_set(fx.fs, &lock, &wait.waiter), -EINPROGRESS);
    ck_assert_int_eq(wait_set(&others, 14, F_RDLCK, 5, 5), -EINPROGRESS);
    fs_release(fx.fs, handle);
    expect_answer(&wait, -EBADF);
    expect_answer(&others, 0);
    ck_assert_int_eq(set_flock(14, F_WRLCK), 0);
    expect(2, F_WRLCK, 20, 29);
    ck_assert_int_eq(set(2, F_UNLCK, 20, 20), 0);
    fs_release(fx.fs, second);
    expect_free(20, 39);
    end();
}
END_TEST

START_TEST(test_unlinked_while_locked)
{
    struct fs_attr attr;
    struct wait wait;

    setup();
    ck_assert_int_eq(set(1, F_WRLCK, 0, 9), 0);
    ck_assert_int_eq(wait_set(&wait, 12, F_WRLCK, 0, 9), -EINPROGRESS);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("file")), 0);
    fs_forget(fx.fs, ino, 1);
    ck_assert_int_eq(fs_getattr(fx.fs, &fx.rq, ino, &attr), 0);
    fs_lock_forget_door(fx.fs, &doors[0]);
    expect_answer(&wait, 0);
    ck_assert_int_eq(fs_getattr(fx.fs, &fx.rq, ino, &attr), 0);
    ck_assert_int_eq(set(12, F_UNLCK, 3, 5), 0);
    ck_assert_int_eq(fs_getattr(fx.fs, &fx.rq, ino, &attr), 0);
    ck_assert_int_eq(set(12, F_UNLCK, EVERYTHING), 0);
    ck_assert_int_eq(fs_getattr(fx.fs, &fx.rq, ino, &attr), -ESTALE);
    ck_assert_int_eq(set(12, F_WRLCK, EVERYTHING), -ESTALE);
    ck_assert_int_eq(set(12, F_UNLCK, EVERYTHING), 0);
    end();
}
END_TEST

/* ---- many ------------------------------------------------------------------------------------------ */

START_TEST(test_limits)
{
    static struct wait waits[FS_LOCK_WAITS_MAX + 1];
    struct fs_lock lock;

    setup();
    for (unsigned i = 0; i < FS_LOCKS_MAX; i++)
        ck_assert_int_eq(set(1, F_WRLCK, 4 * i, 4 * i + 2), 0);
    ck_assert_int_eq(set(1, F_WRLCK, 4 * FS_LOCKS_MAX, INT64_MAX), -ENOLCK);
    ck_assert_int_eq(set(2, F_RDLCK, 3, 3), -ENOLCK);
    ck_assert_int_eq(set(1, F_UNLCK, 1, 1), -ENOLCK);
    expect(1, F_WRLCK, 0, 2);
    /* What makes no more of them is done; others are not concerned. */
    ck_assert_int_eq(set(1, F_RDLCK, 0, 2), 0);
    ck_assert_int_eq(set(1, F_UNLCK, 0, 1), 0);
    ck_assert_int_eq(set(12, F_RDLCK, 3, 3), 0);
    ck_assert_int_eq(set(1, F_UNLCK, EVERYTHING), 0);
    ck_assert_uint_eq(doors[0].locks, 0);
    /* Waits. */
    ck_assert_int_eq(set(12, F_WRLCK, EVERYTHING), 0);
    for (unsigned i = 0; i <= FS_LOCK_WAITS_OWNER_MAX; i++)
        ck_assert_int_eq(wait_set(&waits[i], 1, F_RDLCK, i, i),
                         i < FS_LOCK_WAITS_OWNER_MAX ? -EINPROGRESS : -ENOLCK);
    for (unsigned i = FS_LOCK_WAITS_OWNER_MAX; i <= FS_LOCK_WAITS_MAX; i++) {
        lock = lock_of(0, F_WRLCK, 0, i);
        lock.owner = 1000 + i;
        fs_lock_waiter_init(&waits[i].waiter, granted);
        ck_assert_int_eq(fs_lock_set(fx.fs, &lock, &waits[i].waiter),
                         i < FS_LOCK_WAITS_MAX ? -EINPROGRESS : -ENOLCK);
    }
    end();
    for (unsigned i = 0; i < FS_LOCK_WAITS_MAX; i++)
        expect_answer(&waits[i], -ENOTCONN);
}
END_TEST

/* Nothing of it takes time that grows with what there is besides. */
START_TEST(test_ten_thousand_locks_of_a_file)
{
    const unsigned count = 10000;
    double begun;

    setup();
    begun = meta_fixture_seconds();
    for (unsigned i = 0; i < count; i++)
        ck_assert_int_eq(set(1, F_WRLCK, 2 * i, 2 * i), 0);
    for (unsigned i = 0; i < count; i++)
        ck_assert_int_eq(set(2, F_RDLCK, 2 * i, 2 * i), -EAGAIN);
    for (unsigned i = 0; i < count; i++)
        ck_assert_int_eq(set(2, F_UNLCK, EVERYTHING), 0);
    for (unsigned i = 0; i < count; i++)
        ck_assert_int_eq(set(1, F_UNLCK, 2 * i, 2 * i), 0);
    /* An owner each, and each looks at all of the file in the end. */
    struct fs_lock lock = lock_of(0, F_WRLCK, 0, 0);
    for (unsigned i = 0; i < count; i++) {
        lock.owner = 100 + i;
        lock.start = lock.end = 2 * (uint64_t)i;
        ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    }
    for (unsigned i = 0; i < count; i++)
        fs_lock_forget_owner(fx.fs, ino, &doors[0], FS_LOCK_POSIX, 100 + i);
    ck_assert_uint_eq(doors[0].locks, 0);
    printf("%u locks in %.3f s\n", count, meta_fixture_seconds() - begun);
    ck_assert_double_lt(meta_fixture_seconds() - begun, getenv("CK_TIMEOUT_MULTIPLIER") ? 5 : 0.5);
    end();
}
END_TEST

static double cpu_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What it takes to give a lock up and take it back while a program that has LOCKS itself waits 64 times for the
 * whole file, behind it and another one. */
static double cost_of_waits(unsigned locks)
{
    static struct wait waits[FS_LOCK_WAITS_OWNER_MAX];
    const unsigned turns = 40;
    double begun;

    setup();
    for (unsigned i = 0; i < locks; i++)
        ck_assert_int_eq(set(1, F_RDLCK, 2 * i, 2 * i), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(set(2 + i, F_RDLCK, 1000000 + i, 1000000 + i), 0);
    for (unsigned i = 0; i < FS_LOCK_WAITS_OWNER_MAX; i++)
        ck_assert_int_eq(wait_set(&waits[i], 1, F_WRLCK, EVERYTHING), -EINPROGRESS);
    begun = cpu_seconds();
    for (unsigned i = 0; i < turns; i++) {
        unsigned owner = 2 + i % 2;

        ck_assert_int_eq(set(owner, F_UNLCK, EVERYTHING), 0);
        ck_assert_int_eq(set(owner, F_RDLCK, 1000000 + owner, 1000000 + owner), 0);
    }
    begun = cpu_seconds() - begun;
    end();
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, (struct fs_name){ "file", 4 }), 0);
    return begun / turns;
}

START_TEST(test_own_locks_cost_others_nothing)
{
    double few = cost_of_waits(16), many = cost_of_waits(16000);

    printf("a lock that 64 wait for: %.1f us; who waits has 16000 locks: %.1f us\n", few * 1e6,
           many * 1e6);
    ck_assert_double_lt(many, 20 * few + 1e-3);
}
END_TEST

/* Who waits for whom is found among many who wait. */
START_TEST(test_circles_among_many_waits)
{
    static struct wait waits[FS_LOCK_WAITS_MAX];
    const unsigned owners = 1000;
    struct fs_lock lock;
    double begun;

    setup();
    lock = lock_of(0, F_WRLCK, 0, 0);
    /* Each has a byte and waits for the next one's, which is a chain and no circle. */
    for (unsigned i = 0; i <= owners; i++) {
        lock.owner = 100 + i;
        lock.start = lock.end = 2 * (uint64_t)i;
        ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    }
    begun = cpu_seconds();
    for (unsigned i = owners; i-- > 0;) {
        lock.owner = 100 + i;
        lock.start = lock.end = 2 * (uint64_t)i + 2;
        fs_lock_waiter_init(&waits[i].waiter, granted);
        ck_assert_int_eq(fs_lock_set(fx.fs, &lock, &waits[i].waiter), -EINPROGRESS);
    }
    begun = cpu_seconds() - begun;
    printf("%u waits in a chain: %.0f us\n", owners, begun * 1e6);
    lock.owner = 100 + owners;
    lock.start = lock.end = 2 * (uint64_t)(owners - 20);
    fs_lock_waiter_init(&waits[owners].waiter, granted);
    ck_assert_int_eq(fs_lock_set(fx.fs, &lock, &waits[owners].waiter), -EDEADLK);
    ck_assert_double_lt(begun, getenv("CK_TIMEOUT_MULTIPLIER") ? 1 : 0.015);
    end();
}
END_TEST

/* The first of the others' locks is found also by who has many; with very many others it is not looked for. */
START_TEST(test_many_locks_among_many_owners)
{
    struct fs_lock lock, found;

    setup();
    lock = lock_of(0, F_RDLCK, 0, 0);
    for (unsigned i = 0; i < 1000; i++)
        ck_assert_int_eq(set(1, F_RDLCK, 2 * i, 2 * i), 0);
    ck_assert_int_eq(conflict(1, F_WRLCK, EVERYTHING).type, F_UNLCK);
    for (unsigned i = 0; i < 100; i++) {
        lock.owner = 2000 - i;
        lock.start = lock.end = 5000 + i;
        ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    }
    ck_assert_uint_eq(conflict(1, F_WRLCK, EVERYTHING).start, 5000);
    ck_assert_uint_eq(conflict(1, F_WRLCK, 0, 5000).start, 5000);
    ck_assert_int_eq(conflict(1, F_WRLCK, 0, 4999).type, F_UNLCK);
    ck_assert_int_eq(conflict(1, F_RDLCK, EVERYTHING).type, F_UNLCK);
    for (unsigned i = 100; i < 300; i++) {
        lock.owner = 3000 + i;
        lock.start = lock.end = 5000 + i;
        ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
    }
    lock = lock_of(1, F_WRLCK, 0, 4999);
    ck_assert_int_eq(fs_lock_test(fx.fs, &lock, &found), -ENOLCK);
    ck_assert_int_eq(set(1, F_WRLCK, 0, 4999), -ENOLCK);
    ck_assert_int_eq(set(1, F_WRLCK, EVERYTHING), -EAGAIN);
    ck_assert_int_eq(set(1, F_WRLCK, 0, 100), 0);
    ck_assert_int_eq(set(1, F_UNLCK, EVERYTHING), 0);
    end();
}
END_TEST

static void *release_main(void *handle)
{
    fs_release(fx.fs, handle);
    return NULL;
}

/* close(2) of what was never locked waits for nobody who is at work on locks. */
START_TEST(test_released_without_the_table)
{
    struct fs_handle *handle = fx_create("other");
    struct timespec until;
    pthread_t thread;

    setup();
    ck_assert_int_eq(set(1, F_WRLCK, EVERYTHING), 0);
    lock_acquire(&fx.fs->locks.lock);
    ck_assert_int_eq(pthread_create(&thread, NULL, release_main, handle), 0);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    ck_assert_int_eq(pthread_timedjoin_np(thread, NULL, &until), 0);
    lock_release(&fx.fs->locks.lock);
    end();
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_conflicts);
    tcase_add_test(tcase, test_doors_with_equal_numbers);
    tcase_add_test(tcase, test_split_and_join);
    tcase_add_test(tcase, test_bad_requests);
    tcase_add_test(tcase, test_flock);
    tcase_add_test(tcase, test_flock_upgrades_are_no_deadlock);
    tcase_add_test(tcase, test_flock_and_record_waits_are_no_deadlock);
    tcase_add_test(tcase, test_waiters_come_in_order);
    tcase_add_test(tcase, test_cancel);
    tcase_add_test(tcase, test_a_grant_makes_way);
    tcase_add_test(tcase, test_deadlocks);
    tcase_add_test(tcase, test_a_deadlock_that_comes_late);
    tcase_add_test(tcase, test_a_door_ends);
    tcase_add_test(tcase, test_a_handle_ends);
    tcase_add_test(tcase, test_unlinked_while_locked);
    tcase_add_test(tcase, test_limits);
    tcase_add_test(tcase, test_ten_thousand_locks_of_a_file);
    tcase_add_test(tcase, test_own_locks_cost_others_nothing);
    tcase_add_test(tcase, test_circles_among_many_waits);
    tcase_add_test(tcase, test_many_locks_among_many_owners);
    tcase_add_test(tcase, test_released_without_the_table);
}

int main(void)
{
    return fx_main("fs_lock", add);
}
