/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The extent map of a file: inline in the inode, then a B+tree.
 *
 * Owns: inode.layout, count, extent[] and tree.root, and the nodes below; keeps inode.blocks in
 * step (data blocks and nodes). Locks: the caller holds the inode's LOCK_MAP; exclusive where
 * there is a transaction.
 *
 * Logical and physical places and lengths are in blocks. Extents of a map never overlap; neighbours
 * that continue each other, both logically and physically and in their state, are merged as far as
 * the length allows. Works for any file with an extent map, the inode table (DXF_INO_TABLE) and the
 * orphan table too. `inode` is the record as inode_view gives it, or the staged copy.
 *
 * A function that changes the map and fails has set txn->error: the transaction can only be aborted,
 * and then nothing has happened. All of them may fail with -EUCLEAN and -ENOMEM.
 */
#ifndef DAXFUSE_META_EXTENT_H
#define DAXFUSE_META_EXTENT_H

#include "meta/inode.h"

/* The first logical block that no file has: the largest file ends within the one before. */
#define EXTENT_LOGICAL_END ((DXF_FILE_SIZE_MAX >> DXF_BLOCK_SHIFT) + 1)

struct extent {
    uint64_t logical;
    uint64_t physical; /* 0: a hole */
    uint64_t length;
    bool unwritten;
};

/* What covers the logical block: an extent (cut at nothing: the whole of it), or the hole from
 * `logical` up to the next extent or EXTENT_LOGICAL_END. txn may be NULL. -EUCLEAN; -EFBIG: no file
 * has this block. */
int extent_lookup(struct meta *meta, const struct txn *txn, uint64_t ino,
                  const struct dxf_inode *inode, uint64_t logical, struct extent *ret_extent);

/* The first extent at or after logical; -ENOENT when there is none. txn may be NULL. */
int extent_next(struct meta *meta, const struct txn *txn, uint64_t ino,
                const struct dxf_inode *inode, uint64_t logical, struct extent *ret_extent);

/* The last extent of the map; -ENOENT when it is empty. txn may be NULL. */
int extent_last(struct meta *meta, const struct txn *txn, uint64_t ino,
                const struct dxf_inode *inode, struct extent *ret_extent);

/* Adds an extent into a hole. `inode` is staged. -ENOSPC for a node (see txn->use_reserve); -EEXIST:
 * it is no hole; -EFBIG. */
int extent_insert(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                  const struct extent *extent);

/*
 * Takes [logical, logical + length) out of the map and gives the blocks back, from the end of the
 * range towards its start, until done or until the transaction is as full as one may be
 * (txn_has_room) or max_extents were handled. *ret_left: how many blocks at the start of the range
 * remain to be done (0: finished). SPACE_METADATA blocks (inode table, orphan table) pass
 * free_flags. Splitting an extent at both ends never needs more than one new node a level.
 */
int extent_remove(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                  uint64_t logical, uint64_t length, unsigned max_extents, unsigned free_flags,
                  uint64_t *ret_left);

/* Changes the state of the allocated blocks in the range (holes stay holes), with the same bound
 * and the same answer as extent_remove, but from the start on: *ret_left blocks at the end remain. */
int extent_mark(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                uint64_t logical, uint64_t length, bool unwritten, unsigned max_extents,
                uint64_t *ret_left);

/*
 * Moves every extent at or after `logical` by `delta` blocks (collapse: negative, the gap must be
 * a hole; insert: positive), from the side on which nothing is overtaken, with a bound as above;
 * *ret_cursor: logical place (before the move) from which to go on, UINT64_MAX: finished. The first
 * call passes 0. A collapse has moved what begins before the cursor, an insert what begins at or after
 * it. Only the first call of an insert may need space, for an extent that it cuts at `logical`:
 * until its part behind has moved, the two must not be joined again. -ENOSPC; -EFBIG: an extent would
 * pass the end of all files, nothing has moved; -EINVAL, -EEXIST: the gap is no hole.
 */
int extent_shift(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                 uint64_t logical, int64_t delta, uint64_t cursor, unsigned max_extents,
                 uint64_t *ret_cursor);

/* Calls fn for each extent that touches the range, in order; stops at non-zero. txn may be NULL. */
int extent_walk(struct meta *meta, const struct txn *txn, uint64_t ino,
                const struct dxf_inode *inode, uint64_t logical, uint64_t length,
                int (*fn)(void *arg, const struct extent *extent), void *arg);

/* Calls fn for each block that holds a node of the map; for layout. */
int extent_walk_nodes(struct meta *meta, uint64_t ino, const struct dxf_inode *inode,
                      int (*fn)(void *arg, uint64_t block), void *arg);

#endif
