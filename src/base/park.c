/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parking on futex words; the rules are in park.h. */
#include "base/park.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PARK_SPIN 64

/* FUTEX_WAIT_BITSET, because unlike FUTEX_WAIT it takes an absolute time: futex(2). */
int park_futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *deadline)
{
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value, deadline, NULL,
                FUTEX_BITSET_MATCH_ANY) == 0)
        return 0;
    return -errno;
}

void park_futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
}

void lock_wait_interrupt(struct lock_token *token)
{
    atomic_fetch_or_explicit(&token->word, PARK_INTERRUPTED, memory_order_release);
    park_futex_wake(&token->word, INT_MAX);
}

_Atomic uint32_t *park_begin(_Atomic uint32_t *own, const struct lock_wait *wait)
{
    if (wait && wait->token) {
        atomic_fetch_and_explicit(&wait->token->word, PARK_INTERRUPTED, memory_order_relaxed);
        return &wait->token->word;
    }
    atomic_init(own, 0);
    return own;
}

int park_wait(_Atomic uint32_t *word, const struct lock_wait *wait)
{
    const struct timespec *deadline = wait ? wait->deadline : NULL;
    uint32_t value;
    int r = 0;

    /* A lock that is let go of within the time of a switch of threads is not worth one. */
    for (int i = 0; i < PARK_SPIN; i++) {
        if (atomic_load_explicit(word, memory_order_relaxed))
            break;
        cpu_relax();
    }
    for (;;) {
        value = atomic_fetch_or_explicit(word, PARK_SLEEPING, memory_order_acquire);
        if (value & (PARK_WOKEN | PARK_GRANTED))
            return 0;
        if (value & PARK_INTERRUPTED)
            return -EINTR;
        /* The kernel calls a time before the clock's zero invalid; to us it is simply past. */
        if (r == -ETIMEDOUT || r == -EINVAL)
            return -ETIMEDOUT;
        r = park_futex_wait(word, value | PARK_SLEEPING, deadline);
    }
}

void park_signal(struct park_batch *batch, _Atomic uint32_t *word, uint32_t bits)
{
    uint32_t before = atomic_fetch_or_explicit(word, bits, memory_order_release);

    if (!(before & PARK_SLEEPING))
        return;
    if (batch->count < PARK_BATCH)
        batch->words[batch->count++] = word;
    else
        park_futex_wake(word, 1);
}

void park_wake(struct park_batch *batch)
{
    for (unsigned int i = 0; i < batch->count; i++)
        park_futex_wake(batch->words[i], 1);
    batch->count = 0;
}
