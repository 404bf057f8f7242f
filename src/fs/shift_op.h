/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Collapse and insert: what is behind a place in a file moves towards its start, or away from it. In
 * one transaction where it fits, else under an intent (range_op.h), and then, between two of them, the
 * extents from there on are in no place that the file ever had them in.
 *
 * Nobody sees that: who reads or writes bytes waits for the range; who looks at the map without it asks
 * shift_look. Where it could not be finished the intent stays, for the next recovery, and shift_check
 * keeps everybody away: in a pool that failed meanwhile, and in one that is mounted read-only.
 */
#ifndef DAXFUSE_FS_SHIFT_OP_H
#define DAXFUSE_FS_SHIFT_OP_H

#include "fs/internal.h"
#include "meta/orphan.h"

/* For range_op.c: what one transaction of it does, and how far the intent's cursor comes. begins: it is
 * the first. -ENOSPC only then; -EFBIG likewise, an extent would pass the end of all files; -EINVAL,
 * -EEXIST: the cursor and the map do not fit each other. */
int shift_step(struct fs *fs, struct txn *txn, struct inode *inode, struct dxf_inode *record,
               struct intent *intent, bool begins, bool *ret_done);

/* For who has locked a range that ends before the byte `end`: -EIO when a shift that could not be finished
 * has left something of it between two places. */
int shift_check(struct fs *fs, const struct inode *inode, uint64_t end);

/* Takes the map lock, shared, when the map is in no shift, and waits for one as the request allows: for
 * who does not hold the range. -EIO as above. */
int shift_look(struct fs *fs, const struct fs_request *rq, struct inode *inode);

#endif
