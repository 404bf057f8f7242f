/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Punch, zero, collapse and insert of whole blocks, in one transaction where it fits, else under an
 * intent.
 *
 * The caller holds the range exclusively and not the map lock (recovery: is alone).
 */
#ifndef DAXFUSE_FS_RANGE_OP_H
#define DAXFUSE_FS_RANGE_OP_H

#include "fs/internal.h"
#include "meta/orphan.h"

/* Extents that one transaction handles at most; tests make it small. */
extern unsigned range_op_batch;

/* What else the first transaction does; mtime and ctime move in any case. */
struct range_op_entry {
    uint64_t size;     /* bytes; 0: stays */
    bool kill_suidgid; /* for privileges_drop */
};

/* kind: any but DXF_INTENT_GROW; first and count in blocks. -EIO: a collapse or insert stopped half way,
 * and the pool has failed; -EFBIG: see shift_op.h. */
int range_op_run(struct fs *fs, struct inode *inode, enum dxf_intent_kind kind, uint64_t first,
                 uint64_t count, const struct range_op_entry *entry);
/* For recovery. 0 also when the intent and the file do not fit: then it was dropped, or, of a collapse or
 * insert, is there still and the pool has failed. */
int range_op_resume(struct fs *fs, struct inode *inode, const struct intent *intent);
int range_op_drop(struct fs *fs, const struct intent *intent);

#endif
