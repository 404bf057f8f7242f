/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parking: how a thread sleeps until a lock is handed to it, and how such a sleep is limited.
 *
 * Owns the futex words that waiters sleep on. lock.c and dax/range_lock.c sleep and wake through it;
 * everybody else only fills a struct lock_wait and may call lock_wait_interrupt(). Takes no lock.
 *
 * A waiter sleeps on one 32-bit word of its own, never on a word shared by all waiters of a lock, so
 * that a wake-up reaches exactly the thread it is meant for. The word is in the waiter's node, or, if
 * the wait can be interrupted, in the caller's token. What has happened is in the bits of the word,
 * and the futex call sleeps only while the word is unchanged: a signal or an interrupt that comes
 * before the sleep is therefore seen, not lost. The two sides of a wake-up:
 *
 *   - park_signal() sets a bit. From then on the waiter may return and its word may be gone.
 *   - park_wake() uses the word's address only, never its content. If the memory has been given to
 *     somebody else by then, one of their waiters wakes for nothing and looks again.
 */
#ifndef DAXFUSE_BASE_PARK_H
#define DAXFUSE_BASE_PARK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Bits of a park word. */
#define PARK_WOKEN 1U       /* look again: the lock was free when this was set */
#define PARK_GRANTED 2U     /* the lock is yours */
#define PARK_INTERRUPTED 4U /* set only in a token, stays set until lock_token_init() */
#define PARK_SLEEPING 8U    /* the waiter may be in the kernel: a signal must wake it */

/*
 * Names one sequence of waits (a request) to whoever wants to interrupt it. It serves one wait at a
 * time, and must live until the wait has returned and no lock_wait_interrupt() on it is running.
 */
struct lock_token {
    _Atomic uint32_t word;
};

/*
 * How long an acquire may wait. A NULL struct lock_wait waits for ever. None of the limits makes an
 * acquire fail that need not wait.
 */
struct lock_wait {
    bool nowait;                     /* do not wait: -EAGAIN */
    struct lock_token *token;        /* interruptible: -EINTR; NULL: not */
    const struct timespec *deadline; /* absolute, CLOCK_MONOTONIC: -ETIMEDOUT; NULL: none */
};

static inline void lock_token_init(struct lock_token *token)
{
    atomic_init(&token->word, 0);
}

/*
 * Ends the wait that uses TOKEN, now or when it begins: it returns -EINTR unless it already has its
 * lock. May be called from any thread, any number of times, under any lock.
 */
void lock_wait_interrupt(struct lock_token *token);

static inline bool lock_token_interrupted(struct lock_token *token)
{
    return atomic_load_explicit(&token->word, memory_order_acquire) & PARK_INTERRUPTED;
}

/* The word to sleep on: the token's, or OWN if there is none. Cleared for a new wait. */
_Atomic uint32_t *park_begin(_Atomic uint32_t *own, const struct lock_wait *wait);

/*
 * Sleeps until WORD says woken or granted: 0. -EINTR and -ETIMEDOUT as WAIT (may be NULL) says;
 * a lock can have been granted all the same, which the caller must ask under its own lock.
 */
int park_wait(_Atomic uint32_t *word, const struct lock_wait *wait);

/* After waking for nothing, under the lock that guards park_signal(): forget the wake-up. */
static inline void park_again(_Atomic uint32_t *word)
{
    atomic_fetch_and_explicit(word, ~(PARK_WOKEN | PARK_SLEEPING), memory_order_relaxed);
}

/*
 * The wake-ups that a release decides on under its internal lock and carries out after letting go of
 * it, so that the woken do not run into that lock.
 */
#define PARK_BATCH 16

struct park_batch {
    unsigned int count;
    _Atomic uint32_t *words[PARK_BATCH];
};

/* Sets BITS in WORD and notes it in BATCH if it sleeps; wakes at once when the batch is full. */
void park_signal(struct park_batch *batch, _Atomic uint32_t *word, uint32_t bits);

/* Wakes all that were signalled. */
void park_wake(struct park_batch *batch);

/* One step of a short busy wait. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The bare futex calls, private to this process. DEADLINE as in struct lock_wait; 0 or -errno. */
int park_futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *deadline);
void park_futex_wake(_Atomic uint32_t *word, int count);

#endif
