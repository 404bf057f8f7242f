/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The allocator of pool blocks.
 *
 * Owns: the allocation bitmap on the medium and its picture in memory. Called through a
 * transaction (space/txn.h) by meta and fs. Locks: its own, the lowest of all (base/lock.h); none
 * is held across a call.
 *
 * A block is, in memory, busy or free. Busy: allocated on the medium, or taken by a running
 * transaction, or freed but held back:
 *   S1 a block freed by a transaction becomes free after that transaction's fence, not before;
 *   S2 a freed metadata block becomes free only when every journal entry up to the freeing one is
 *      retired, since replay would write to it;
 *   S3 a freed block on which something still has a hold (space_hold_begin: a mapping, a copy in
 *      flight) becomes free when the last hold ends.
 * Placement: small and unaligned requests come from 2 MiB pieces that are already broken; whole
 * pieces are kept for requests of a piece or more; each CPU prefers pieces of its own, so that
 * two threads seldom share a bitmap line. The last `reserve` blocks go only to requests with
 * SPACE_RESERVE (tree splits of unlink, truncate, punch).
 */
#ifndef DAXFUSE_SPACE_SPACE_H
#define DAXFUSE_SPACE_SPACE_H

#include "journal/journal.h"
#include "media/pool.h"
#include <stdbool.h>
#include <stdint.h>

struct space;
struct txn;

/*
 * Where a pool of super->pool_blocks keeps its logs and its bitmap, and how much it keeps back:
 * fills log_start, log_count, log_blocks, bitmap_start, bitmap_blocks, reserve_blocks. Used by mkfs
 * and by tests. -EINVAL: the size is not one a pool can have.
 */
int layout_compute(struct dxf_super *super);

/* mkfs: writes the bitmap that pool->super names, with the fixed areas allocated, and makes sure
 * that the host has room for those. The rest of the bitmap becomes zeros. All of it is on its way:
 * durable with the next fence. -ENOSPC, -EIO. */
int space_format(struct pool *pool);

/* Touches a fixed area (blocks 0..7, the spare superblock, logs, bitmap), which no file owns? */
bool space_is_fixed(const struct dxf_super *super, uint64_t start, uint64_t count);

/* Reads the bitmap (holes of a sparse host file are skipped, not touched). Lines that fail their
 * check make their blocks count as busy, and the pool as needing fsck (pool_fail). -ENOMEM, -EIO. */
int space_open(struct pool *pool, struct journal *journal, struct space **ret_space);
void space_close(struct space *space);

struct space_extent {
    uint64_t start; /* block */
    uint64_t count; /* blocks */
};

enum space_flags {
    SPACE_METADATA = 1 << 0, /* freed by S2 */
    SPACE_RESERVE = 1 << 1,  /* may take from the reserve */
    SPACE_PIECE = 1 << 2,    /* exactly one whole aligned piece, or -ENOSPC */
    SPACE_EXACT = 1 << 3,    /* start at goal or -ENOSPC: to grow an extent in place */
    SPACE_BROKEN = 1 << 4,   /* in broken pieces other than goal's, or -ENOSPC */
};

struct space_request {
    uint64_t goal;    /* block near which to look, 0: anywhere */
    uint64_t want;    /* blocks, >= 1 */
    uint64_t logical; /* of the first block in its file: a request of a piece or more at a logical
                         multiple of 512 gets whole pieces while there are any */
    unsigned flags;   /* enum space_flags */
};

/*
 * One contiguous extent of 1..want blocks, the largest that is cheap to find, taken for txn: its
 * bits reach the medium when txn commits and it is free again when txn aborts. Its content is
 * whatever was there. The host range of a sparse pool is made sure of. A run that starts within a
 * file's first piece never goes on into a whole free piece; a small request at a logical multiple
 * of 512 past the first starts a piece of its own, which is then left to that file for a while.
 * SPACE_EXACT may be refused although goal is free, where a small file would break a whole piece.
 * When nothing is free but something is held back by S2, the journal is retired here.
 * -ENOSPC (host or pool), -ENOMEM, -EUCLEAN: the bitmap has blocks as free that are known as metadata;
 * the pool fails.
 */
int space_alloc(struct txn *txn, const struct space_request *request,
                struct space_extent *ret_extent);

/* Gives blocks back when txn commits. flags: SPACE_METADATA or 0. The blocks must be allocated, and
 * without SPACE_METADATA not known as metadata; else it is damage: -EUCLEAN, the pool fails.
 * -ENOMEM. */
int space_free(struct txn *txn, uint64_t start, uint64_t count, unsigned flags);

struct space_info {
    struct space_extent bitmap;
    uint64_t blocks, free, reserve; /* free includes what is held back and the reserve */
    uint64_t available;             /* to ordinary requests, at this moment */
    uint64_t held;                  /* freed, waiting by S2 or S3 */
    uint64_t pieces_free;           /* whole free pieces */
};
void space_get_info(struct space *space, struct space_info *ret_info);

/* Whether few whole pieces are left: one load, and out of date at once. */
bool space_pieces_are_scarce(const struct space *space);
/* Whether no more than `count` blocks of the piece that has this one are busy: those that the caller
 * owns there, so that giving them back makes the piece whole. True only until the next space_alloc. */
bool space_piece_is_left(struct space *space, uint64_t block, uint64_t count);

/* Calls fn for each run of blocks, allocated and free in turn, as the medium has it; for layout and
 * tests. fn is called with only that lock held that keeps the pool from growing; what is not 0 ends
 * the walk and is returned. */
typedef int (*space_walk_fn)(void *arg, uint64_t start, uint64_t count, bool allocated);
int space_walk(struct space *space, space_walk_fn fn, void *arg);

/* Holds (S3): count nested holds on a range; ending the last one lets its freed blocks go. */
int space_hold_begin(struct space *space, uint64_t start, uint64_t count);
void space_hold_end(struct space *space, uint64_t start, uint64_t count);

/* Free whole ranges given back to the host (FITRIM): fn is called with runs of free blocks that
 * stay taken during the call; a run of at least `minimum` may come in parts, so that something is
 * left for others meanwhile. */
int space_trim(struct space *space, uint64_t start, uint64_t count, uint64_t minimum,
               int (*fn)(void *arg, uint64_t start, uint64_t count), void *arg);

/* Adopts what a larger pool adds, after pool_map_grown, while transactions run; writes the superblock
 * (grow.c). -EINVAL not larger or too large; -ENOSPC the growth does not hold its own bitmap. */
int space_grow(struct space *space, uint64_t new_blocks);

#endif
