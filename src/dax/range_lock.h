/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The range lock: byte ranges of one inode, shared or exclusive (law L2 of daxfuse(7)).
 *
 * It stands where the page lock stands in a kernel with a page cache: a fault holds its range from
 * looking up the blocks until the mapping is live, and whoever takes blocks away holds what goes. So
 * the two never overlap in time on overlapping bytes, wherever in the file they are.
 *
 * Owns struct range_lock, one in each inode in memory, and struct range_node, one for each acquire, on
 * the caller's stack or in its request, never allocated here. A lock that several threads use at once
 * gets a table of 1 KiB with more slots if there is memory for it, until it is destroyed. fs/ and the
 * doors call it. LOCK_RANGE in the lock order of base/lock.h: lower inode first, then lower offset;
 * inside, a lock of its own that is never held across a wait. A thread must not wait for a range that
 * overlaps one it holds.
 *
 * Fairness. Among overlapping, conflicting ranges those that wait go in the order in which they came.
 * A newcomer that no holder keeps out may pass them, and is counted by the earliest of those that it
 * conflicts with. A waiter that has counted RANGE_OVERTAKE_MAX is passed no more: newcomers queue up
 * behind it, and the release that makes its range free hands it over. So a waiter with n others
 * before it is passed at most (n + 1) * RANGE_OVERTAKE_MAX times. (Without any passing, each hold
 * under contention would cost a switch of threads.) A release wakes those whose range became
 * free, and nobody else.
 *
 * As with every lock, a struct range_lock must outlive all calls on it, releases included: who
 * releases still holds a reference to the inode.
 */
#ifndef DAXFUSE_DAX_RANGE_LOCK_H
#define DAXFUSE_DAX_RANGE_LOCK_H

#include "base/interval_tree.h"
#include "base/lock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The end of every file: [0, RANGE_END) is the whole of it. */
#define RANGE_END UINT64_MAX

#define RANGE_OVERTAKE_MAX 32

enum range_mode {
    RANGE_SHARED,
    RANGE_EXCLUSIVE,
};

#define RANGE_SLOTS 2

struct range_shard;

struct range_lock {
    _Atomic uint64_t slots[RANGE_SLOTS]; /* a holder each, its range in one word; 0: free */
    _Atomic uintptr_t tree;              /* who found no slot, and all who wait (range_lock.c) */
    struct range_shard
        *_Atomic shards; /* more slots; NULL until threads have met (range_slots.h) */
};

_Static_assert(sizeof(struct range_lock) == 32, "inodes are many");

/* All members belong to range_lock.c. */
struct range_node {
    struct interval_node interval;
    uint64_t ticket;        /* order of arrival, of those that wait */
    uint64_t word;          /* what is in the slot */
    _Atomic uint64_t *slot; /* NULL: in the tree */
    _Atomic uint32_t *park;
    _Atomic uint32_t own;
    uint8_t overtaken;
    uint8_t mode;
    uint8_t state;
    uint8_t shard; /* in which it has its slot, or has none (range_slots.h) */
    bool woken;
#ifdef DAXFUSE_LOCK_ORDER
    struct lock_order_hold hold;
#endif
};

void range_lock_init(struct range_lock *rl);

/* Nobody holds or waits. */
void range_lock_destroy(struct range_lock *rl);

/*
 * Takes [start, end) in MODE. INODE is the inode's number, for the lock order. WAIT limits the waiting
 * (base/park.h); NULL waits for ever. NODE needs no initialization; it belongs to the lock until
 * the release. Once waiting has begun the node can already be another thread's to look at, so
 * it must not move.
 * 0; -EINVAL if start >= end; -EAGAIN, -EINTR, -ETIMEDOUT by WAIT: then NODE is the caller's again.
 * An attempt, whatever becomes of it, shows its whole range to others for a moment. Hence nowait may be
 * refused though nobody holds the range; and of several attempts with nowait in the same moment,
 * conflicting with nobody else, one succeeds, not always the first.
 */
int range_lock_acquire(struct range_lock *rl, struct range_node *node, uint64_t start, uint64_t end,
                       enum range_mode mode, uint64_t inode, const struct lock_wait *wait);

/* By any thread, not only the one that acquired. */
void range_lock_release(struct range_lock *rl, struct range_node *node);

/* Exclusive to shared, without letting anybody in between. */
void range_lock_downgrade(struct range_lock *rl, struct range_node *node);

/*
 * The hold no longer counts as the calling thread's in the lock order: its request goes on
 * elsewhere, and this thread will take other locks in the meantime. Only the lock-order check cares.
 */
void range_lock_hand_over(struct range_node *node);

/* For assertions: whether one holder, whoever it is, covers [start, end) in MODE or exclusively. */
bool range_lock_held(struct range_lock *rl, uint64_t start, uint64_t end, enum range_mode mode);

/* How many wait now. */
uint32_t range_lock_waiting(struct range_lock *rl);

#endif
