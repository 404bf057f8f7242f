/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * struct lock and struct rwlock (base/lock.h).
 *
 * The rwlock's word counts the readers and has two bits. Without RWLOCK_WAITERS, takers and releasers
 * change the word by one atomic operation each and touch nothing else. With it, who wants to take the
 * lock and who leaves it free goes through the queue, under the small mutex in queue_word. What holds
 * whenever that mutex is free:
 *
 *   1. RWLOCK_WAITERS is set if and only if the queue is not empty.
 *   2. The first waiter, if it is a reader also the readers that follow it, either cannot have the
 *      lock because somebody holds it, or has been woken or granted the lock.
 *   3. A waiter leaves the queue before it returns; who grants it the lock takes it off.
 *
 * A woken waiter takes the lock itself when it gets a CPU; until then newcomers may pass it, and each
 * one is counted. At RWLOCK_OVERTAKE_MAX newcomers queue up, and a release grants it the lock.
 */
#include "base/lock.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

/* How often a locker looks again before it sleeps: less than a switch of threads costs. */
#define SPIN_MAX 64

#define RWLOCK_WRITER 0x80000000U
#define RWLOCK_WAITERS 0x40000000U
#define RWLOCK_READERS 0x3fffffffU

enum waiter_state {
    WAITER_QUEUED,
    WAITER_WOKEN,
    WAITER_GRANTED,
};

/* On the stack of the thread that waits. */
struct rwlock_waiter {
    struct rwlock_waiter *next;
    _Atomic uint32_t *park;
    _Atomic uint32_t own;
    uint32_t overtaken;
    enum waiter_state state;
    bool write;
};

/* The mutex: 0 free, 1 held, 2 held and somebody may sleep (U. Drepper, "Futexes Are Tricky"). */

static bool word_try(_Atomic uint32_t *word)
{
    uint32_t free = 0;

    return atomic_compare_exchange_strong_explicit(word, &free, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

static void word_acquire(_Atomic uint32_t *word)
{
    if (word_try(word))
        return;
    for (int i = 0; i < SPIN_MAX; i++) {
        cpu_relax();
        if (atomic_load_explicit(word, memory_order_relaxed) == 0 && word_try(word))
            return;
    }
    while (atomic_exchange_explicit(word, 2, memory_order_acquire) != 0)
        park_futex_wait(word, 2, NULL);
}

static void word_release(_Atomic uint32_t *word)
{
    if (atomic_exchange_explicit(word, 0, memory_order_release) == 2)
        park_futex_wake(word, 1);
}

#ifdef DAXFUSE_LOCK_ORDER
# define RANK_SET(lock, c, n) ((lock)->rank = (struct lock_rank){ .class = (c), .number = (n) })
# define RANK_CHECK(lock) lock_order_check(&(lock)->rank)
# define RANK_PUSH(lock) lock_order_push(&(lock)->rank, lock)
# define RANK_POP(lock) lock_order_pop(lock)
#else
# define RANK_SET(lock, c, n) ((void)(c), (void)(n))
# define RANK_CHECK(lock) ((void)0)
# define RANK_PUSH(lock) ((void)0)
# define RANK_POP(lock) ((void)0)
#endif

void lock_init(struct lock *lock, enum lock_class class, uint64_t number)
{
    atomic_init(&lock->word, 0);
    RANK_SET(lock, class, number);
}

void lock_acquire(struct lock *lock)
{
    RANK_CHECK(lock);
    lock_seam_point();
    word_acquire(&lock->word);
    RANK_PUSH(lock);
}

bool lock_try(struct lock *lock)
{
    lock_seam_point();
    if (!word_try(&lock->word))
        return false;
    RANK_PUSH(lock);
    return true;
}

void lock_release(struct lock *lock)
{
    RANK_POP(lock);
    assert(atomic_load_explicit(&lock->word, memory_order_relaxed) != 0);
    word_release(&lock->word);
    lock_seam_point();
}

bool lock_is_held(const struct lock *lock)
{
#ifdef DAXFUSE_LOCK_ORDER
    return lock_order_holds(lock);
#else
    return atomic_load_explicit(&lock->word, memory_order_relaxed) != 0;
#endif
}

void rwlock_init(struct rwlock *lock, enum lock_class class, uint64_t number)
{
    atomic_init(&lock->word, 0);
    atomic_init(&lock->queue_word, 0);
    lock->first = NULL;
    RANK_SET(lock, class, number);
}

/* The bits that keep a reader or writer out. */
static uint32_t keep_out(bool write)
{
    return write ? RWLOCK_WRITER | RWLOCK_READERS : RWLOCK_WRITER;
}

static bool hold_possible(const struct rwlock *lock, bool write)
{
    return !(atomic_load_explicit(&lock->word, memory_order_relaxed) & keep_out(write));
}

/* Takes the lock if none of AVOID is set and nobody holds it against us. */
static bool hold_try(struct rwlock *lock, bool write, uint32_t avoid)
{
    uint32_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);

    avoid |= keep_out(write);
    while (!(word & avoid)) {
        uint32_t held = write ? word | RWLOCK_WRITER : word + 1;

        if (atomic_compare_exchange_weak_explicit(&lock->word, &word, held, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    }
    return false;
}

static void queue_append(struct rwlock *lock, struct rwlock_waiter *w)
{
    struct rwlock_waiter **link = &lock->first;

    while (*link)
        link = &(*link)->next;
    w->next = NULL;
    *link = w;
}

static void queue_remove(struct rwlock *lock, struct rwlock_waiter *w)
{
    struct rwlock_waiter **link = &lock->first;

    while (*link != w)
        link = &(*link)->next;
    *link = w->next;
}

static void queue_unlock(struct rwlock *lock)
{
    if (!lock->first)
        atomic_fetch_and_explicit(&lock->word, ~RWLOCK_WAITERS, memory_order_relaxed);
    word_release(&lock->queue_word);
}

/* Invariant 2 after the lock has become free, or free for readers, or the first waiter has left. */
static void queue_wake(struct rwlock *lock, struct park_batch *batch)
{
    struct rwlock_waiter *w = lock->first, *next;

    if (!w || !hold_possible(lock, w->write))
        return;
    for (bool write = w->write; w && w->write == write; w = next) {
        next = w->next;
        if (w->overtaken >= RWLOCK_OVERTAKE_MAX && hold_try(lock, write, 0)) {
            queue_remove(lock, w);
            w->state = WAITER_GRANTED;
            park_signal(batch, w->park, PARK_GRANTED);
        } else if (w->state == WAITER_QUEUED) {
            w->state = WAITER_WOKEN;
            park_signal(batch, w->park, PARK_WOKEN);
        }
        if (write)
            return;
    }
}

/* Whether no waiter ahead of W wants what W's hold would keep from it. */
static bool queue_turn(const struct rwlock *lock, const struct rwlock_waiter *w)
{
    const struct rwlock_waiter *ahead = lock->first;

    while (ahead != w && !w->write && !ahead->write)
        ahead = ahead->next;
    return ahead == w;
}

/* A newcomer may pass the queue while its first waiter has not been passed too often. */
static bool queue_pass(struct rwlock *lock, bool write)
{
    struct rwlock_waiter *first = lock->first;

    if (first && first->overtaken >= RWLOCK_OVERTAKE_MAX)
        return false;
    if (!hold_try(lock, write, 0))
        return false;
    if (first)
        first->overtaken++;
    return true;
}

static int hold_slow(struct rwlock *lock, bool write, const struct lock_wait *wait)
{
    struct rwlock_waiter w = { .write = write };
    struct park_batch batch;
    int r;

    if (wait && wait->nowait && !hold_possible(lock, write))
        return -EAGAIN;
    word_acquire(&lock->queue_word);
    /* From here on whoever lets go of the lock comes through the queue, and finds us there. */
    atomic_fetch_or_explicit(&lock->word, RWLOCK_WAITERS, memory_order_relaxed);
    if (queue_pass(lock, write)) {
        queue_unlock(lock);
        return 0;
    }
    if (wait && wait->nowait) {
        queue_unlock(lock);
        return -EAGAIN;
    }
    batch.count = 0;
    w.park = park_begin(&w.own, wait);
    queue_append(lock, &w);
    r = 0;
    while (w.state != WAITER_GRANTED) {
        if (queue_turn(lock, &w) && hold_try(lock, write, 0)) {
            queue_remove(lock, &w);
            r = 0;
            break;
        }
        if (r < 0) {
            queue_remove(lock, &w);
            queue_wake(lock, &batch);
            break;
        }
        w.state = WAITER_QUEUED;
        park_again(w.park);
        word_release(&lock->queue_word);
        r = park_wait(w.park, wait);
        word_acquire(&lock->queue_word);
    }
    queue_unlock(lock);
    park_wake(&batch);
    return w.state == WAITER_GRANTED ? 0 : r;
}

static int hold(struct rwlock *lock, bool write, const struct lock_wait *wait)
{
    int r;

    if (!(wait && wait->nowait))
        RANK_CHECK(lock);
    lock_seam_point();
    if (!hold_try(lock, write, RWLOCK_WAITERS)) {
        r = hold_slow(lock, write, wait);
        if (r < 0)
            return r;
    }
    RANK_PUSH(lock);
    return 0;
}

static void queue_release(struct rwlock *lock)
{
    struct park_batch batch;

    batch.count = 0;
    word_acquire(&lock->queue_word);
    queue_wake(lock, &batch);
    queue_unlock(lock);
    park_wake(&batch);
}

static const struct lock_wait nowait = { .nowait = true };

void rwlock_read(struct rwlock *lock)
{
    hold(lock, false, NULL);
}

bool rwlock_try_read(struct rwlock *lock)
{
    return hold(lock, false, &nowait) == 0;
}

int rwlock_read_wait(struct rwlock *lock, const struct lock_wait *wait)
{
    return hold(lock, false, wait);
}

void rwlock_read_release(struct rwlock *lock)
{
    uint32_t before;

    RANK_POP(lock);
    before = atomic_fetch_sub_explicit(&lock->word, 1, memory_order_release);
    assert(before & RWLOCK_READERS);
    if ((before & RWLOCK_WAITERS) && (before & RWLOCK_READERS) == 1)
        queue_release(lock);
    lock_seam_point();
}

void rwlock_write(struct rwlock *lock)
{
    hold(lock, true, NULL);
}

bool rwlock_try_write(struct rwlock *lock)
{
    return hold(lock, true, &nowait) == 0;
}

int rwlock_write_wait(struct rwlock *lock, const struct lock_wait *wait)
{
    return hold(lock, true, wait);
}

void rwlock_write_release(struct rwlock *lock)
{
    uint32_t before;

    RANK_POP(lock);
    before = atomic_fetch_and_explicit(&lock->word, ~RWLOCK_WRITER, memory_order_release);
    assert(before & RWLOCK_WRITER);
    if (before & RWLOCK_WAITERS)
        queue_release(lock);
    lock_seam_point();
}

void rwlock_downgrade(struct rwlock *lock)
{
    uint32_t before =
        atomic_fetch_sub_explicit(&lock->word, RWLOCK_WRITER - 1, memory_order_release);

    assert(before & RWLOCK_WRITER);
    if (before & RWLOCK_WAITERS)
        queue_release(lock);
    lock_seam_point();
}

bool rwlock_is_held(const struct rwlock *lock)
{
#ifdef DAXFUSE_LOCK_ORDER
    return lock_order_holds(lock);
#else
    return atomic_load_explicit(&lock->word, memory_order_relaxed) &
           (RWLOCK_WRITER | RWLOCK_READERS);
#endif
}

bool rwlock_is_write_held(const struct rwlock *lock)
{
    return rwlock_is_held(lock) &&
           (atomic_load_explicit(&lock->word, memory_order_relaxed) & RWLOCK_WRITER);
}
