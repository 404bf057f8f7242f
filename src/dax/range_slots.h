/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The slots of a range lock: where its holders are, as long as nobody waits. Private to range_lock.c.
 *
 * A slot is one word with the holder's range and mode, so that taking and leaving it is one
 * compare-and-swap each, and nobody ever reads another thread's node. Two slots lie in struct
 * range_lock. If threads keep meeting there, each hold fetches that cache line from another CPU twice,
 * although the ranges are disjoint; then the lock gets a table of shards, a cache line of slots each.
 *
 *   - A narrow range, one that lies in one granule of the file, has its slot in the shard that the
 *     granule falls to. Any other range, and every range of a lock without table, has its slot in the
 *     lock itself.
 *   - So what can conflict with a narrow range is in its own shard or in the lock, which all read and
 *     few write; and with a wide one, anywhere.
 *   - Each of these places has a gate. Slots behind an open gate are taken without the internal lock.
 *     That of a shard is the number of nodes in the tree, or about to enter, whose range may be in
 *     that shard; that of the lock itself is the tree word: open if the tree is empty.
 *
 * A table is made at most once, under the internal lock, and stays until range_lock_destroy(). Without
 * memory for it the lock remains as it is.
 */
#ifndef DAXFUSE_DAX_RANGE_SLOTS_H
#define DAXFUSE_DAX_RANGE_SLOTS_H

#include "dax/range_lock.h"

/*
 * Measured with 4 and 16 threads on two CPUs: fewer shards or larger granules, and too many gates are
 * closed by each waiter; more shards, and a wide range has more to look at.
 */
#define RANGE_SHARDS 16
#define RANGE_SHARD_SLOTS 7
#define RANGE_GRANULE_SHIFT 17 /* 128 KiB */

/* node->shard of a wide range. */
#define RANGE_WIDE RANGE_SHARDS

struct range_shard {
    _Alignas(64) _Atomic uint64_t slots[RANGE_SHARD_SLOTS];
    _Atomic uintptr_t gate;
};

_Static_assert(sizeof(struct range_shard) == 64, "one cache line");

/* A lock gets its table when a thread has so many times found others in locks without one. */
#define RANGE_CONTENDED 64

/* Flags in the word of a slot. */
#define SLOT_NOTIFY 1U /* a waiter conflicts: look for it when leaving */
#define SLOT_EXCLUSIVE 2U
#define SLOT_BLOCKS 4U

/* Sets what of NODE belongs to the slots, from its interval and mode. */
void slots_prepare(struct range_node *node);

/* The gate that NODE passes to its slot. */
_Atomic uintptr_t *slots_gate(struct range_lock *rl, const struct range_node *node);

/*
 * Puts NODE into a free slot, if there is one and its range fits; whether it may stay is the caller's to
 * find out.
 */
bool slots_take(struct range_lock *rl, struct range_node *node);

/*
 * Whether a slot other than its own keeps NODE out. NOTIFY, under the internal lock only: if so, its
 * holder will look for NODE when it leaves.
 */
bool slots_conflict(struct range_lock *rl, const struct range_node *node, bool notify);

/* Whether one slot covers [start, end) in MODE or exclusively. */
bool slots_cover(struct range_lock *rl, uint64_t start, uint64_t end, enum range_mode mode);

bool slots_empty(struct range_lock *rl);

/* Under the internal lock, for a node that enters or has left the tree: its gates. NULL: none. */
void shards_close(struct range_shard *shards, const struct range_node *node);
void shards_open(struct range_shard *shards, const struct range_node *node);

/* Counts an acquire that finds somebody there, and no table; whether it is time for one. */
bool slots_contended(struct range_lock *rl);

/* All gates open; NULL without memory. For free(). */
struct range_shard *shards_new(void);

#endif
