/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The redo journal: several logs, so that two threads do not queue, under one sequence.
 *
 * Owns: the log area, the retire slots, the sequence. Called by space/txn.c only, and by fsck for
 * replay. Locks: each log has one, held from the first byte of an entry until it is applied; one
 * more for retirement. Both are below everything but space's (base/lock.h).
 *
 * An entry is a list of (offset, bytes); the journal knows nothing of what they mean.
 *
 *   commit   write entry to a log -> fence -> apply in place (plain stores) -> return
 *   retire   flush the lines of all applied entries -> fence -> write a retire slot -> fence;
 *            their log space is free again
 *   replay   collect the valid entries above the retired sequence of all logs, in the order of
 *            their sequence; apply; flush; fence; retire
 *
 * Invariants
 * J1 An entry is valid if and only if magic, length and checksum are right and its sequence is
 *    above the retired one and above that of the entry before it in its log.
 * J2 Bytes in place are changed only after their entry's fence (redo).
 * J3 Whoever commits holds the locks of all bytes in its records until commit returns. So two
 *    entries that touch the same bytes are durable in the order of their sequence, and an entry
 *    depends on no other that is not durable yet: replay may meet gaps in the sequence.
 * J4 Retirement goes in sequence: retired = S is written only when every entry <= S is durable in
 *    its place.
 * J5 Replay applies nothing outside the pool, nor to the superblocks, the retire slots or a log.
 * J6 Either retire slot is enough. Log space is used again, and journal_retired() counts an entry,
 *    only when both slots on the medium are past it. So the older slot, met when the newer one is
 *    torn or damaged, finds every entry above its own number still in the logs; those of them
 *    that were in place already are applied once more, in sequence, with all that came after
 *    them, which ends in the same bytes; and no block that such an entry writes to has been given
 *    to anybody else (S2). Both damaged: nobody knows which entries are live, -EUCLEAN.
 * J7 No entry in a log that is not live has a sequence above the retired one: none becomes live when a
 *    new one ends in front of it. A replay that writes slots, having been given one that said too
 *    little, sees to it; fsck does for what looks clean.
 */
#ifndef DAXFUSE_JOURNAL_JOURNAL_H
#define DAXFUSE_JOURNAL_JOURNAL_H

#include "journal/replay.h"
#include "media/pool.h"
#include <stdbool.h>
#include <stdint.h>

struct journal;

/*
 * Places in class LOCK_JOURNAL. What is locked in a transaction comes first, since its commit comes
 * last: locks given to txn_hold (numbers below JOURNAL_ORDER_BITMAP, ascending), lines of the
 * allocation bitmap, retirement, logs.
 */
#define JOURNAL_ORDER_SHARED 0ull
#define JOURNAL_ORDER_BITMAP (1ull << 60)
#define JOURNAL_ORDER_RETIRE (2ull << 60)
#define JOURNAL_ORDER_LOGS (3ull << 60)

struct journal_record {
    uint64_t offset;  /* bytes in the pool */
    uint32_t length;  /* 1..DXF_RECORD_LENGTH_MAX */
    const void *data; /* NULL: zeros */
};

/* mkfs: writes empty retire slots for pool->super's logs. */
int journal_format(struct pool *pool);

/* After replay (else -EUCLEAN). Starts no thread. */
int journal_open(struct pool *pool, struct journal **ret_journal);
/* Retires everything (unless the pool failed) and frees. */
void journal_close(struct journal *journal);

/* The bytes of records that one entry can hold: a quarter of a log. */
uint32_t journal_capacity(const struct journal *journal);

/*
 * Writes, fences, applies. What the caller has sent on its way before (data, fresh blocks) is
 * fenced first when after_data says so; else it shares the entry's fence, which is right only for
 * overwrites of written blocks. May retire when the logs are full.
 * 0; -E2BIG more than the capacity; -EIO the pool failed (nothing was applied).
 */
int journal_commit(struct journal *journal, const struct journal_record *records, unsigned count,
                   bool after_data, uint64_t *ret_sequence);

/* Retires inline if a log is filling up; for a caller that has just let its locks go, so that
 * nobody waits for them meanwhile. A failure shows at the next commit. */
void journal_balance(struct journal *journal);

/* Retires all that is applied, in both slots. Used by sync, close, grow; and inside commit. */
int journal_retire(struct journal *journal);

/* Everything up to this sequence is retired: no record will touch its bytes again. */
uint64_t journal_retired(const struct journal *journal);

/*
 * Whether no live entry can have a record in the JOURNAL_UNIT bytes at `offset` (a multiple of it):
 * then a store straight into them is not undone by a replay. The caller holds the lock of these bytes
 * (J3). May say false without need.
 */
#define JOURNAL_UNIT 256u
bool journal_is_quiet(const struct journal *journal, uint64_t offset);

struct journal_stats {
    uint64_t commits, records, bytes, retirements, sequence, retired;
};
void journal_get_stats(const struct journal *journal, struct journal_stats *ret_stats);

#endif
