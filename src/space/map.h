/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The allocator's picture of the pool, and the state of struct space. For src/space only.
 *
 * All arrays are anonymous memory that is zero until touched, and zero means free: a pool of
 * terabytes that is empty costs nothing. All of it is guarded by space->lock, a short one: nothing
 * is waited for under it.
 */
#ifndef DAXFUSE_SPACE_MAP_H
#define DAXFUSE_SPACE_MAP_H

#include "base/interval_tree.h"
#include "base/lock.h"
#include "space/space.h"
#include <stdatomic.h>

#define SPACE_STRIPES 8u /* CPUs share them round robin */
#define SPACE_GROWING_MAX 32u
#define SPACE_LINE_LOCKS 64u
#define SPACE_SCARCE 8u /* whole pieces are scarce when they are no more than this part of all */
#define NO_PIECE UINT64_MAX

/* A set of pieces, with a bit above each 64 that says where to look. */
struct piece_set {
    uint64_t *words;
    uint64_t *any; /* word is not zero */
};

/* A piece is
 *   whole    no block busy
 *   broken   some are, and it is in the partial set unless full, current or growing
 *   growing  broken, and left to the file that grows in it (used has MAP_GROWING)
 */
#define MAP_GROWING 0x8000u
#define MAP_USED 0x7fffu

struct space_map {
    uint64_t blocks;        /* of the pool */
    uint64_t pieces;        /* rounded up; what lies behind the end counts as busy */
    uint64_t *busy;         /* a bit a block */
    uint16_t *used;         /* busy blocks of each piece, and MAP_GROWING */
    uint64_t *touched;      /* a bit a piece: not whole */
    uint64_t *touched_full; /* a bit a word of touched: all ones */
    struct piece_set partial;
    uint64_t free;                       /* blocks */
    uint64_t whole;                      /* pieces */
    uint64_t growing[SPACE_GROWING_MAX]; /* oldest at growing_next */
    unsigned growing_next;
};

/* Small requests of one stripe come from its current piece. */
struct space_stripe {
    uint64_t current; /* NO_PIECE: none */
    uint64_t cursor;  /* where it looks for the next */
};

/* A metadata extent that waits for S2. */
struct space_deferred {
    uint64_t sequence;
    struct space_extent extent;
};

struct space {
    struct pool *pool;
    struct journal *journal;
    struct lock lock; /* LOCK_SPACE; guards all below except line_locks */
    struct space_map map;
    struct space_stripe stripe[SPACE_STRIPES];
    uint64_t reserve;
    _Atomic bool scarce; /* what space_pieces_are_scarce says; looked at without the lock */

    struct space_deferred *deferred; /* S2, in no order */
    size_t deferred_count, deferred_room;
    uint64_t deferred_seen; /* journal_retired() when they were last looked through */
    uint64_t waiting;       /* blocks held back by S2 or S3 */

    struct interval_tree holds;   /* struct space_hold */
    struct interval_tree pending; /* struct space_pending: freed, on hold (S3) */

    /* The bitmap on the medium: line l is changed under lock l % SPACE_LINE_LOCKS, from before the
     * journal entry is made until it is applied (J3). LOCK_JOURNAL, JOURNAL_ORDER_BITMAP + i. */
    struct lock line_locks[SPACE_LINE_LOCKS];

    /* Where the bitmap lies, and super.pool_blocks, change under this, all line locks and `lock`: hold
     * one of them to look. LOCK_JOURNAL, before all others. */
    struct lock grow_lock;
};

/* Under space->lock, when map.whole or map.pieces may have changed. */
static inline void space_note_whole(struct space *space)
{
    bool scarce = space->map.whole <= space->map.pieces / SPACE_SCARCE;

    if (scarce != atomic_load_explicit(&space->scarce, memory_order_relaxed))
        atomic_store_explicit(&space->scarce, scarce, memory_order_relaxed);
}

/* map.c */
int map_open(struct space_map *map, uint64_t blocks);
void map_close(struct space_map *map);

/* Marks free blocks busy, or busy ones free; the caller knows that they are. */
void map_take(struct space_map *map, uint64_t start, uint64_t count);
void map_give(struct space_map *map, uint64_t start, uint64_t count);
/* As map_take, of the bits set in one aligned word of 64 blocks, busy already or not. */
void map_merge_word(struct space_map *map, uint64_t word, uint64_t bits);

/* Length of the free (or busy) run from start, at most limit; start + limit within the pool. */
uint64_t map_run(const struct space_map *map, uint64_t start, uint64_t limit, bool free);
/* The first free run of want blocks in [from, to), else the longest: its length, 0 none. */
uint64_t map_find(const struct space_map *map, uint64_t from, uint64_t to, uint64_t want,
                  uint64_t *ret_start);

bool map_piece_is_whole(const struct space_map *map, uint64_t piece);
bool map_piece_has_room(const struct space_map *map, uint64_t piece);
/* The first whole, or partial, piece from the cursor on, round the end; NO_PIECE. */
uint64_t map_next_whole(const struct space_map *map, uint64_t from);
uint64_t map_next_partial(const struct space_map *map, uint64_t from);
void map_set_growing(struct space_map *map, uint64_t piece);
void map_end_growing(struct space_map *map); /* all of them become partial */

/* release.c */
/* Under space->lock: free now, except what is on hold (S3). */
void space_release_locked(struct space *space, uint64_t start, uint64_t count);
/* Under space->lock: S2 blocks whose entry is retired. True when some were let go. */
bool space_sweep_locked(struct space *space);
/* After a commit: what it gave (S1, S2). After an abort: what it had taken. */
void space_release(struct space *space, const struct space_extent *extents, unsigned count);
void space_release_metadata(struct space *space, const struct space_extent *extents, unsigned count,
                            uint64_t sequence);
void space_release_close(struct space *space); /* frees the lists */

/* space.c: the next range of bytes in [from, to) of the pool that the host has; from is moved.
 * False: none. Everything, where holes cannot be found. */
bool space_next_data(const struct pool *pool, uint64_t from, uint64_t to, uint64_t *ret_from,
                     uint64_t *ret_to);

/* format.c: blocks 0..7, the spare superblock, logs, bitmap. */
#define SPACE_FIXED_AREAS 4
void space_fixed_areas(const struct dxf_super *super, struct space_extent area[SPACE_FIXED_AREAS]);

static inline struct dxf_bitmap_line *space_line(const struct pool *pool, uint64_t line)
{
    return pool_at(pool,
                   le64_get(pool->super.bitmap_start) * DXF_BLOCK_SIZE + line * DXF_LINE_SIZE);
}

#endif
