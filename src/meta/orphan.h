/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What recovery must finish: the orphan table (inodes to delete or to trim) and intents.
 *
 * Owns: the data of inode 2, the intent block, inode.orphan. Locks: the inode's LOCK_MAP is the
 * caller's; the line of the table is locked here until the transaction ends (txn_hold). Inode 2 has
 * no LOCK_MAP of its own: its record and map change only under the lock for the table's growth,
 * of the order TXN_ORDER_ORPHAN too.
 *
 * A transaction may add several inodes, and may remove one before them; it may not remove one when
 * it has added or removed another (two lines would be locked in any order).
 */
#ifndef DAXFUSE_META_ORPHAN_H
#define DAXFUSE_META_ORPHAN_H

#include "meta/inode.h"

/* Parts of meta_open and meta_close: read the table and the intents as they are on the medium. A
 * damaged line is logged, its places are not used. orphan_open needs the inode table. -ENOMEM,
 * -EUCLEAN. The closes accept that the open has failed. */
int orphan_open(struct meta *meta);
void orphan_close(struct meta *meta);
int intent_open(struct meta *meta);
void intent_close(struct meta *meta);

/* Gives the table, whose inode is staged, its first block: on a host that is full, removing a file
 * must not need one. */
int orphan_format(struct meta *meta, struct txn *txn);

/* Puts the inode into the table (does nothing when it is there: inode.orphan). The table grows
 * from the reserve. `inode` is staged. -ENOSPC, -ENOMEM. */
int orphan_add(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode);

/* Takes it out; nothing to do when it is not in. Never needs space. Where the inode is freed in the
 * same transaction, inode_free comes first (the order of locks), and `inode` is a copy of the record
 * made before it. -EUCLEAN, -ENOMEM. */
int orphan_remove(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode);

/* Calls fn for each orphan; fn may remove it; stops at non-zero. A place that names an inode which
 * does not name the place is damage: logged and skipped. For recovery and tests: nothing else
 * changes an orphan meanwhile. */
int orphan_walk(struct meta *meta, int (*fn)(void *arg, uint64_t ino), void *arg);

/*
 * Intents: one for each large operation under way. begin takes a free one of DXF_INTENTS
 * places and stages it; update moves its cursor; end clears it. The number is the
 * caller's to keep. Recovery walks what is there after replay.
 */
struct intent {
    unsigned number;
    enum dxf_intent_kind kind;
    uint64_t ino;
    uint32_t generation;
    uint64_t offset, length, cursor;
};

/* One that moves extents: until it has ended, those behind its offset are in no place that the file had them in. */
static inline bool intent_is_shift(const struct intent *intent)
{
    return intent->kind == DXF_INTENT_COLLAPSE || intent->kind == DXF_INTENT_INSERT;
}

/* begin and update write what `intent` says; begin fills number. After a begin that returned 0 the
 * place is the caller's until intent_release, also when the transaction fails. -ENOMEM; begin also
 * -EBUSY: all places are taken (abort, let the locks go, intent_wait, begin anew), and -EUCLEAN: all
 * places are damaged. The walk is for recovery and tests, as orphan_walk is; each
 * intent it finds holds its place until it is ended and released. */
int intent_begin(struct meta *meta, struct txn *txn, struct intent *intent);
/* Waits until a place may be free, for a second at most: of a pool that fails, places stay taken. The
 * caller holds no map lock, or those who are to free one could not. */
void intent_wait(struct meta *meta);
int intent_update(struct meta *meta, struct txn *txn, const struct intent *intent);
int intent_end(struct meta *meta, struct txn *txn, const struct intent *intent);
/* Whether one that moves extents (collapse, insert) is under way, or waits for a recovery, in the inode
 * and begins before the byte `end`: extents there are neither in their old place nor in the new one. */
bool intent_moves(struct meta *meta, uint64_t ino, uint64_t end);
/* After the transaction that ended or never began it: lets another operation have the place. */
void intent_release(struct meta *meta, const struct intent *intent);
int intent_walk(struct meta *meta, int (*fn)(void *arg, const struct intent *intent), void *arg);

#endif
