/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A transaction: objects being changed, blocks taken and given, one commit.
 *
 * Owns: the staged copies. Lives on one thread's stack, from txn_begin to txn_commit or txn_abort,
 * never across a wait for anybody outside. Takes no lock until commit; the caller holds the locks
 * of every object it edits until txn_commit returns (journal invariant J3), the allocation
 * bitmap's lines excepted, which commit locks itself.
 *
 * An object is edited through a staged copy; commit seals each one, compares it with what is in
 * place and journals only the bytes that differ. Nothing in place changes before that, so readers
 * under the object's lock see old or new, and abort has nothing to undo.
 */
#ifndef DAXFUSE_SPACE_TXN_H
#define DAXFUSE_SPACE_TXN_H

#include "space/space.h"
#include <stdbool.h>
#include <stdint.h>

/* Brings the object's checksum up to date; called once, at commit. arg is e.g. an inode number. */
typedef void (*txn_seal_fn)(void *object, uint64_t arg);

/*
 * Locks that are held until a transaction is committed are of class LOCK_JOURNAL, and taken in the
 * order of these numbers; the stripe or index is added.
 */
enum txn_lock_order {
    TXN_ORDER_TABLE = 0x1,         /* meta: growth of the inode table */
    TXN_ORDER_TABLE_LINE = 0x100,  /* meta: stripes of the inode bitmap */
    TXN_ORDER_ORPHAN = 0x200,      /* meta: the orphan table */
    TXN_ORDER_INTENT = 0x300,      /* meta: intents */
    TXN_ORDER_SPACE_LINE = 0x1000, /* space: stripes of the allocation bitmap */
    TXN_ORDER_LOG = 0x10000,       /* journal: logs */
    TXN_ORDER_RETIRE = 0x20000,    /* journal: retirement, when a log is full */
};

#define TXN_HELD_MAX 8

struct lock;
struct txn_object;
struct txn_chunk;

struct txn_extents {
    struct space_extent *extent;
    unsigned count, room;
};

struct txn {
    struct space *space;
    struct lock *held[TXN_HELD_MAX]; /* released when the transaction ends */
    unsigned held_count;
    struct txn_object *objects; /* staged and fresh; newest first */
    struct txn_chunk *chunks;   /* memory of all that follows; newest first */
    struct txn_extents taken;   /* allocated here */
    struct txn_extents dropped; /* allocated and given back here */
    struct txn_extents given_data, given_meta;
    uint32_t bytes;   /* upper bound of what the entry holds so far */
    bool after_data;  /* see txn_data_written */
    bool use_reserve; /* every space_alloc of this txn may take from the reserve */
    int error;        /* first failure; commit returns it */
};

/* What one extent taken or given adds to bytes at most. */
uint32_t txn_extent_bytes(uint64_t blocks);

/* For space_alloc and space_free: notes an extent, joined to the last one if it continues it.
 * -ENOMEM, which is also set in txn->error. */
int txn_note(struct txn *txn, struct txn_extents *list, uint64_t start, uint64_t count);

void txn_begin(struct txn *txn, struct space *space);

/* What a reader inside the transaction must look at: the staged copy if there is one, else what
 * is in place. offset and length must be those of txn_edit for the same object. */
const void *txn_view(const struct txn *txn, struct pool *pool, uint64_t offset, uint32_t length);

/*
 * A copy to change, of [offset, offset + length), length <= 4096, multiple of 8. The same offset
 * gives the same copy again; two objects must not overlap otherwise. seal may be NULL.
 * NULL when memory is short; then txn->error is set and commit will fail, so that a caller may
 * check once.
 */
void *txn_edit(struct txn *txn, uint64_t offset, uint32_t length, txn_seal_fn seal, uint64_t arg);

/*
 * The same for a block that this transaction has allocated: zero-filled, sealed at commit, then
 * written straight to its place before the entry's fence, not journaled. txn_edit of the same
 * offset gives it again.
 */
void *txn_fresh(struct txn *txn, uint64_t block, txn_seal_fn seal, uint64_t arg);

/* The last COUNT of the blocks that FROM has taken, in one space_alloc and no other, are TO's from now on:
 * what must be whole for several transactions is taken by one that never commits, and given to those.
 * -ENOMEM: nothing has moved. */
int txn_pass(struct txn *from, struct txn *to, uint64_t count);

/* A block that was edited or made fresh in this transaction is given back in it: drop the copy. */
void txn_forget(struct txn *txn, uint64_t block);

/* Takes a lock that guards bytes shared by many (a line of the inode bitmap, of the orphan table),
 * until the transaction ends; a lock that it holds already is not taken twice. TXN_HELD_MAX at
 * most. Class LOCK_JOURNAL, number below JOURNAL_ORDER_BITMAP, taken in ascending order. */
void txn_hold(struct txn *txn, struct lock *lock);

/* File bytes that this transaction makes reachable were sent on their way: fence them first. */
static inline void txn_data_written(struct txn *txn)
{
    txn->after_data = true;
}

/* Room left for another batch of about this many bytes? Large operations ask, then commit and
 * begin anew. */
bool txn_has_room(const struct txn *txn, uint32_t bytes);

/* 0, or the first error (then everything is as before txn_begin): -EIO the pool failed, -E2BIG more
 * than an entry holds, -EUCLEAN blocks given that were not allocated (the pool fails), -ENOMEM. An empty transaction costs
 * nothing, except that data written is fenced. ret_sequence may be NULL; 0 when nothing was
 * journaled. */
int txn_commit(struct txn *txn, uint64_t *ret_sequence);
void txn_abort(struct txn *txn);

#endif
