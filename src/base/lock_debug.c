/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lock-order check and the seams for tests (base/lock.h). A release build gets an empty file.
 *
 * Each thread has a stack of what it holds. A hold that may end in another thread has a slot in a
 * table for the whole process, with a number that is never used twice: the entry on the stack is dead
 * as soon as the slot no longer has that number, whoever cleared it, and also if the thread that
 * pushed it is gone. A dead entry is dropped when its thread next looks.
 */
#include "base/lock.h"

#ifdef DAXFUSE_LOCK_ORDER

# include <inttypes.h>
# include <stddef.h>
# include <stdio.h>
# include <stdlib.h>

# define HELD_MAX 128
# define SLOTS 4096

struct held {
    struct lock_rank rank;
    const void *lock; /* NULL: a hold in the table */
    struct lock_order_hold hold;
};

static _Thread_local struct held held[HELD_MAX];
static _Thread_local unsigned int held_count;

static _Atomic uint64_t next_id = 1;
static _Atomic uint64_t slots[SLOTS]; /* id of the hold that has the slot, 0: free */

static const char *const class_names[] = {
    [LOCK_RENAME] = "rename",   [LOCK_INODE] = "inode",    [LOCK_RANGE] = "range",
    [LOCK_MAPPING] = "mapping", [LOCK_MAP] = "extent map", [LOCK_JOURNAL] = "journal",
    [LOCK_SPACE] = "space",     [LOCK_LEAF] = "leaf",
};

static void held_prune(void)
{
    unsigned int kept = 0;

    for (unsigned int i = 0; i < held_count; i++) {
        if (!held[i].lock && atomic_load(&slots[held[i].hold.slot]) != held[i].hold.id)
            continue;
        held[kept++] = held[i];
    }
    held_count = kept;
}

static bool rank_before(const struct lock_rank *a, const struct lock_rank *b)
{
    if (a->class != b->class)
        return a->class < b->class;
    if (a->number != b->number)
        return a->number < b->number;
    return a->offset < b->offset;
}

void lock_order_check(const struct lock_rank *rank)
{
    held_prune();
    for (unsigned int i = 0; i < held_count; i++) {
        const struct lock_rank *h = &held[i].rank;

        if (rank_before(h, rank))
            continue;
        fprintf(stderr,
                "lock order: waiting for %s %" PRIu64 " offset %" PRIu64 " with %s %" PRIu64
                " offset %" PRIu64 " held\n",
                class_names[rank->class], rank->number, rank->offset, class_names[h->class],
                h->number, h->offset);
        abort();
    }
}

static struct held *held_push(const struct lock_rank *rank)
{
    struct held *h;

    held_prune();
    if (held_count == HELD_MAX) {
        fprintf(stderr, "lock order: one thread holds more than %d locks\n", HELD_MAX);
        abort();
    }
    h = &held[held_count++];
    *h = (struct held){ .rank = *rank };
    return h;
}

void lock_order_push(const struct lock_rank *rank, const void *lock)
{
    held_push(rank)->lock = lock;
}

void lock_order_pop(const void *lock)
{
    for (unsigned int i = held_count; i-- > 0;) {
        if (held[i].lock != lock)
            continue;
        for (held_count--; i < held_count; i++)
            held[i] = held[i + 1];
        return;
    }
    fprintf(stderr, "lock order: released a lock that this thread does not hold\n");
    abort();
}

bool lock_order_holds(const void *lock)
{
    for (unsigned int i = 0; i < held_count; i++) {
        if (held[i].lock == lock)
            return true;
    }
    return false;
}

/* A full table only means that this hold is not checked. */
void lock_order_push_hold(const struct lock_rank *rank, struct lock_order_hold *hold)
{
    uint64_t id = atomic_fetch_add(&next_id, 1);

    hold->id = 0;
    for (uint32_t i = 0; i < SLOTS; i++) {
        uint32_t slot = (uint32_t)(id + i) % SLOTS;
        uint64_t none = 0;

        if (!atomic_compare_exchange_strong(&slots[slot], &none, id))
            continue;
        hold->id = id;
        hold->slot = slot;
        held_push(rank)->hold = *hold;
        return;
    }
}

void lock_order_pop_hold(struct lock_order_hold *hold)
{
    if (hold->id)
        atomic_store(&slots[hold->slot], 0);
    hold->id = 0;
}

#endif

#ifdef DAXFUSE_TEST_SEAMS

# include <sched.h>
# include <time.h>

static _Atomic uint64_t seam_seed;
static _Atomic uint32_t seam_threads;
static _Atomic bool seam_ranges_off;

void lock_seam_seed(uint64_t seed)
{
    atomic_store(&seam_threads, 0);
    atomic_store(&seam_seed, seed);
}

/*
 * Each thread draws its own sequence from the seed and its turn of coming here. One point in eight
 * yields, one in 64 sleeps for up to 50 microseconds, which a yield on an idle CPU does not replace.
 */
void lock_seam_point(void)
{
    static _Thread_local uint64_t state, seeded_with;
    uint64_t seed = atomic_load_explicit(&seam_seed, memory_order_relaxed);

    if (!seed)
        return;
    if (seeded_with != seed) {
        seeded_with = seed;
        state = seed * 0x9e3779b97f4a7c15U + atomic_fetch_add(&seam_threads, 1) + 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    if (state % 64 == 0) {
        struct timespec nap = { .tv_nsec = (long)((state >> 32) % 50000) };

        nanosleep(&nap, NULL);
    } else if (state % 8 == 0) {
        sched_yield();
    }
}

void lock_seam_range_locks(bool on)
{
    atomic_store(&seam_ranges_off, !on);
}

bool lock_seam_range_locks_on(void)
{
    return !atomic_load_explicit(&seam_ranges_off, memory_order_relaxed);
}

#endif
