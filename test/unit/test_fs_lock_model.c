/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks of a file against a model of 64 bytes, in which everything is looked at byte by byte; and from many
 * threads at once.
 */
#define FX_POOL_SIZE (16u << 20)
#include "test_fs.h"

#include "crash_device.h"
#include <pthread.h>
#include <semaphore.h>

#define BYTES 64
#define OWNERS 6
#define WAITS 24
#define STEPS 12000

static struct fs_lock_door doors[2];
static uint64_t ino, state;

static unsigned pick(unsigned below)
{
    return (unsigned)(test_random(&state) % below);
}

/* The last byte of the model stands for all that is behind it. Two owners have one number. */
static struct fs_lock lock_of(unsigned owner, int type, unsigned first, unsigned last)
{
    return (struct fs_lock){
        .ino = ino,
        .door = &doors[owner % 2],
        .owner = owner / 2,
        .type = type,
        .start = first,
        .end = last == BYTES - 1 ? INT64_MAX : last,
    };
}

/* ---- the model ------------------------------------------------------------------------------------ */

static char held[OWNERS][BYTES]; /* 0, 'r', 'w' */

static bool conflicts(unsigned owner, int type, unsigned first, unsigned last, unsigned with)
{
    for (unsigned i = first; i <= last && with != owner; i++)
        if (held[with][i] && (type == F_WRLCK || held[with][i] == 'w'))
            return true;
    return false;
}

static bool is_refused(unsigned owner, int type, unsigned first, unsigned last)
{
    for (unsigned with = 0; with < OWNERS; with++)
        if (type != F_UNLCK && conflicts(owner, type, first, last, with))
            return true;
    return false;
}

static void apply(unsigned owner, int type, unsigned first, unsigned last)
{
    memset(&held[owner][first],
           type == F_UNLCK   ? 0
           : type == F_WRLCK ? 'w'
                             : 'r',
           last - first + 1);
}

static unsigned runs(unsigned door)
{
    unsigned count = 0;

    for (unsigned owner = door; owner < OWNERS; owner += 2)
        for (unsigned i = 0; i < BYTES; i++)
            count += held[owner][i] && (i == 0 || held[owner][i] != held[owner][i - 1]);
    return count;
}

struct wait {
    struct fs_lock_waiter waiter;
    bool waits, called;
    int error;
    unsigned owner, first, last;
    int type;
    uint64_t arrival;
};
static struct wait waits[WAITS];
static uint64_t arrivals;

static void on_granted(struct fs_lock_waiter *waiter, int error)
{
    struct wait *wait = (struct wait *)waiter;

    ck_assert(wait->waits && !wait->called);
    wait->called = true;
    wait->error = error;
}

/* Whether `from` waits for `to`, through others maybe. */
static bool reaches(unsigned from, unsigned to, unsigned seen)
{
    for (unsigned w = 0; w < WAITS; w++) {
        if (!waits[w].waits || waits[w].owner != from)
            continue;
        for (unsigned with = 0; with < OWNERS; with++)
            if (conflicts(from, waits[w].type, waits[w].first, waits[w].last, with) &&
                (with == to || (!(seen & 1u << with) && reaches(with, to, seen | 1u << with))))
                return true;
    }
    return false;
}

/* In the model, then compared: who got what it waited for. */
static void grant(void)
{
    struct wait *next;

    for (unsigned w = 0; w < WAITS; w++)
        if (waits[w].called && waits[w].error) {
            ck_assert_int_eq(waits[w].error, -EDEADLK);
            waits[w].waits = waits[w].called = false;
        }
    do {
        next = NULL;
        for (unsigned w = 0; w < WAITS; w++)
            if (waits[w].waits && (!next || waits[w].arrival < next->arrival) &&
                !is_refused(waits[w].owner, waits[w].type, waits[w].first, waits[w].last))
                next = &waits[w];
        if (next) {
            ck_assert(next->called);
            apply(next->owner, next->type, next->first, next->last);
            next->waits = next->called = false;
        }
    } while (next);
    for (unsigned w = 0; w < WAITS; w++)
        ck_assert(!waits[w].called);
}

static void compare(bool all)
{
    ck_assert_uint_eq(doors[0].locks, runs(0));
    ck_assert_uint_eq(doors[1].locks, runs(1));
    for (unsigned owner = 0; owner < OWNERS && all; owner++)
        for (unsigned i = 0; i < BYTES; i++)
            for (int type = F_RDLCK; type <= F_WRLCK; type++) {
                struct fs_lock lock = lock_of(owner, type, i, i), found;

                ck_assert_int_eq(fs_lock_test(fx.fs, &lock, &found), 0);
                ck_assert_int_eq(found.type != F_UNLCK, is_refused(owner, type, i, i));
            }
}

static unsigned refused, deadlocks, late, waited, cancelled;

static void step_set(void)
{
    static const int types[] = { F_RDLCK, F_WRLCK, F_UNLCK };
    unsigned owner = pick(OWNERS), first = pick(BYTES), last = first + pick(BYTES - first);
    int type = types[pick(3)], expected, r;
    struct wait *wait = pick(2) ? &waits[pick(WAITS)] : NULL;
    struct fs_lock lock;

    if (pick(2) && last - first > 8)
        last = first + 8;
    lock = lock_of(owner, type, first, last);
    expected = is_refused(owner, type, first, last) ? -EAGAIN : 0;
    if (wait && !wait->waits) {
        fs_lock_waiter_init(&wait->waiter, on_granted);
        *wait = (struct wait){ wait->waiter, true, false, 0, owner, first, last, type, arrivals++ };
        r = fs_lock_set(fx.fs, &lock, &wait->waiter);
        if (r == -EDEADLK) {
            ck_assert_int_ne(expected, 0);
            ck_assert(reaches(owner, owner, 0));
            deadlocks++;
        }
        if (r == -EINPROGRESS)
            waited++;
        else
            wait->waits = false;
        if (expected)
            ck_assert(r == -EINPROGRESS || r == -EDEADLK);
        else
            ck_assert_int_eq(r, 0);
    } else {
        r = fs_lock_set(fx.fs, &lock, NULL);
        ck_assert_int_eq(r, expected);
    }
    refused += r != 0;
    if (r == 0)
        apply(owner, type, first, last);
}

static void step_cancel(void)
{
    struct wait *wait = &waits[pick(WAITS)];

    ck_assert_int_eq(fs_lock_cancel(fx.fs, &wait->waiter), wait->waits ? 0 : -ENOENT);
    cancelled += wait->waits;
    wait->waits = false;
}

START_TEST(test_model)
{
    state = (uint64_t)_i + 1;
    fs_lock_door_init(&doors[0]);
    fs_lock_door_init(&doors[1]);
    ino = fx_mknod(1, "file");
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned what = pick(40);

        if (what == 0) {
            unsigned owner = pick(OWNERS);

            fs_lock_forget_owner(fx.fs, ino, &doors[owner % 2], FS_LOCK_POSIX, owner / 2);
            apply(owner, F_UNLCK, 0, BYTES - 1);
        } else if (what < 3) {
            step_cancel();
        } else {
            step_set();
        }
        for (unsigned w = 0; w < WAITS; w++)
            late += waits[w].called && waits[w].error;
        grant();
        compare(i % 16 == 0);
    }
    printf("%u refused, %u waited, %u cancelled, %u + %u deadlocks\n", refused, waited, cancelled,
           deadlocks, late);
    ck_assert_uint_gt(waited, STEPS / 100);
    ck_assert_uint_gt(deadlocks, STEPS / 1000);
    fs_lock_forget_door(fx.fs, &doors[0]);
    fs_lock_forget_door(fx.fs, &doors[1]);
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------------- */

#define THREADS 6
#define ROUNDS 1500
#define SLOTS 8

static int counters[SLOTS]; /* no atomics: their lock is all that guards them */
static _Atomic unsigned gave_up;

struct sleeper {
    struct fs_lock_waiter waiter;
    sem_t sem;
    int error;
};

static void on_wake(struct fs_lock_waiter *waiter, int error)
{
    struct sleeper *sleeper = (struct sleeper *)waiter;

    sleeper->error = error;
    sem_post(&sleeper->sem);
}

static void *use_locks(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    uint64_t random = me + 1;
    struct sleeper sleeper;

    sem_init(&sleeper.sem, 0, 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t value = test_random(&random);
        unsigned first = value % SLOTS, last = first + (value >> 8) % (SLOTS - first);
        bool write = value >> 16 & 1;
        struct fs_lock lock = lock_of(me, write ? F_WRLCK : F_RDLCK, first, last);
        int r;

        lock.kind = value >> 17 & 1 ? FS_LOCK_POSIX : FS_LOCK_FLOCK;
        if (lock.kind == FS_LOCK_FLOCK) {
            /* Guards all of them against flock locks alone: only taken and given back. */
            write = false;
            last = first;
        }
        fs_lock_waiter_init(&sleeper.waiter, on_wake);
        r = fs_lock_set(fx.fs, &lock, &sleeper.waiter);
        if (r == -EINPROGRESS) {
            if ((value >> 20) % 4 == 0 && fs_lock_cancel(fx.fs, &sleeper.waiter) == 0) {
                atomic_fetch_add(&gave_up, 1);
                continue;
            }
            sem_wait(&sleeper.sem);
            r = sleeper.error;
        }
        if (r != 0)
            abort();
        for (unsigned slot = first; slot <= last && lock.kind == FS_LOCK_POSIX; slot++) {
            if (write)
                counters[slot]++;
            else if (counters[slot] < 0)
                abort();
        }
        if (lock.kind == FS_LOCK_POSIX && i % 16 == 0) {
            fs_lock_forget_owner(fx.fs, ino, lock.door, lock.kind, lock.owner);
        } else {
            lock.type = F_UNLCK;
            if (fs_lock_set(fx.fs, &lock, NULL) != 0)
                abort();
        }
    }
    sem_destroy(&sleeper.sem);
    return NULL;
}

START_TEST(test_threads)
{
    pthread_t threads[THREADS];

    fs_lock_door_init(&doors[0]);
    fs_lock_door_init(&doors[1]);
    ino = fx_mknod(1, "file");
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use_locks, (void *)(uintptr_t)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(doors[0].locks + doors[1].locks, 0);
    fs_lock_forget_door(fx.fs, &doors[0]);
    fs_lock_forget_door(fx.fs, &doors[1]);
}
END_TEST

/* A door ends while others make way for those who wait through it: each hears of it once, and nobody
 * does when fs_lock_forget_door has returned. */
static _Atomic unsigned answers;
static _Atomic bool over;

static void on_answer(struct fs_lock_waiter *waiter, int error)
{
    (void)error;
    ck_assert(!atomic_load(&over));
    free(waiter);
    atomic_fetch_add(&answers, 1);
}

static void *make_way(void *arg)
{
    struct fs_lock lock = lock_of(1, F_UNLCK, 0, BYTES - 1);

    (void)arg;
    for (unsigned i = 0; i < BYTES; i++) {
        lock.start = lock.end = i;
        fs_lock_set(fx.fs, &lock, NULL);
    }
    return NULL;
}

START_TEST(test_a_door_ends_meanwhile)
{
    pthread_t thread;

    ino = fx_mknod(1, "file");
    for (unsigned round = 0; round < 200; round++) {
        struct fs_lock lock = lock_of(1, F_WRLCK, 0, BYTES - 1);

        fs_lock_door_init(&doors[0]);
        fs_lock_door_init(&doors[1]);
        atomic_store(&over, false);
        atomic_store(&answers, 0);
        ck_assert_int_eq(fs_lock_set(fx.fs, &lock, NULL), 0);
        for (unsigned i = 0; i < BYTES; i++) {
            struct fs_lock_waiter *waiter = malloc(sizeof(*waiter));

            fs_lock_waiter_init(waiter, on_answer);
            lock = lock_of(0, F_WRLCK, i, i);
            lock.owner = i;
            ck_assert_int_eq(fs_lock_set(fx.fs, &lock, waiter), -EINPROGRESS);
        }
        ck_assert_int_eq(pthread_create(&thread, NULL, make_way, NULL), 0);
        while (round % 2 && atomic_load(&answers) == 0)
            sched_yield();
        fs_lock_forget_door(fx.fs, &doors[0]);
        atomic_store(&over, true);
        ck_assert_uint_eq(atomic_load(&answers), BYTES);
        pthread_join(thread, NULL);
        fs_lock_forget_door(fx.fs, &doors[1]);
    }
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_loop_test(tcase, test_model, 0, 4);
    tcase_add_test(tcase, test_threads);
    tcase_add_test(tcase, test_a_door_ends_meanwhile);
}

int main(void)
{
    return fx_main("fs_lock_model", add);
}
