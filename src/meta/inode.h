/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inodes: where a record lies, taking and giving back a number, reading and editing a record.
 *
 * Owns: the inode table (format.h) and the inode bitmap. Locks: the caller holds LOCK_MAP of the
 * inode; taking and giving back lock their bitmap line until the transaction ends (txn_hold).
 *
 * A transaction takes or gives back one number, before anything else of it locks by txn_hold:
 * inode_alloc before orphan_add, inode_free before orphan_remove. What holds a line waits for no
 * LOCK_MAP any more; of a new number it is free, so that trying gets it.
 */
#ifndef DAXFUSE_META_INODE_H
#define DAXFUSE_META_INODE_H

#include "meta/meta.h"

/* Takes a free number, near goal's (0: anywhere; directories pass 0 to spread out), growing the
 * table when none is free, in a transaction of its own that is committed before. The record is staged
 * as zero and returned for filling: generation is set, everything else is the caller's. A record whose
 * mode stays 0 is free. -ENOSPC, -ENOMEM, -EUCLEAN, -EIO. */
int inode_alloc(struct meta *meta, struct txn *txn, uint64_t goal, uint64_t *ret_ino,
                struct dxf_inode **ret_inode);

/* Gives the number back; the record becomes zero, also a copy that is staged already. Its blocks must
 * be gone. -ESTALE: no such number, or a reserved one. -EUCLEAN: its bitmap line is damaged, or has
 * it as free. -ENOMEM. */
int inode_free(struct meta *meta, struct txn *txn, uint64_t ino);

/*
 * The record as the transaction (may be NULL) sees it; valid while the caller holds the inode's
 * map lock. -ESTALE: no such number, or free. -EUCLEAN: damaged.
 * The first read after mount validates it.
 */
int inode_view(struct meta *meta, const struct txn *txn, uint64_t ino,
               const struct dxf_inode **ret_inode);

/* A staged copy to change; sealed at commit. NULL: out of memory (txn->error is set). The inode
 * must have passed inode_view. ino may be DXF_INO_TABLE. */
struct dxf_inode *inode_edit(struct meta *meta, struct txn *txn, uint64_t ino);

enum inode_times {
    INODE_ATIME = 1,
    INODE_MTIME = 2,
    INODE_CTIME = 4,
};

/*
 * Makes these times `now` where the record lies, each by one atomic store, durable at this thread's
 * next drain, without a transaction. The map lock is held exclusively, the record has passed
 * inode_view. False: nothing was done, since a live journal entry may have this record, and a replay
 * would put its older times back; edit it in a transaction.
 */
bool inode_store_times(struct meta *meta, uint64_t ino, unsigned which, int64_t now);

/* Numbers in use, reserved ones too, and how many more the free space could hold at most. Locks lines
 * of the bitmap for a moment: not for a thread whose transaction holds one. */
void inode_counts(struct meta *meta, uint64_t *ret_used, uint64_t *ret_more);

/* Calls fn for each number in use, ascending, from first on; stops at a non-zero return and
 * returns it. Reserved numbers without a record are passed over, and damaged lines. For recovery, tests
 * and mkfs; reads the bitmap, not the records. No lock is held when fn is called. */
int inode_walk(struct meta *meta, uint64_t first, int (*fn)(void *arg, uint64_t ino), void *arg);

static inline int64_t inode_time(le64 time)
{
    return (int64_t)le64_get(time);
}

#endif
