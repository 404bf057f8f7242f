/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where direct mappings (dax/) and extents (meta/) meet: what the files of fs/ share for it.
 *
 *   fault.c    a mapping comes into being
 *   chunk.c    one chunk becomes one piece
 *   take.c     what a take-away may do to chunks that are mapped
 *   settle.c   a mapping is gone: what it kept from being taken away goes now
 *   door.c     a door comes, stops, is over
 *
 * A pin: a mapping that shows a piece and cannot be revoked. Its 512 blocks stay where they are, in the
 * extent map, as written, also past EOF, for as long as it lives. A mapping that shows zeros pins the
 * chunk's place in the file, but no blocks. Under the exclusive range pins may go, and none comes.
 */
#ifndef DAXFUSE_FS_MAPPED_H
#define DAXFUSE_FS_MAPPED_H

#include "dax/mapping.h"
#include "fs/internal.h"

#define CHUNK_BLOCKS ((uint64_t)DXF_PIECE_BLOCKS)

_Static_assert(DAX_CHUNK_SIZE == DXF_PIECE_SIZE, "one chunk, one piece");

static inline uint64_t chunk_of(uint64_t offset)
{
    return offset >> DAX_CHUNK_SHIFT;
}

/* The chunk behind the one of the last byte before `end`. */
static inline uint64_t chunk_end_of(uint64_t end)
{
    return end == 0 ? 0 : chunk_of(end - 1) + 1;
}

static inline uint64_t chunk_of_block(uint64_t block)
{
    return block / CHUNK_BLOCKS;
}

/* ---- chunk.c ---- */

struct chunk_look {
    uint64_t size;  /* of the file */
    int may_change; /* 0, or why its bytes must stay as they are */
    uint64_t piece; /* where in the pool, in bytes, if all of it lies there in its place; else 0 */
    bool data;      /* there are written blocks */
    bool unwritten; /* ... unwritten ones */
    bool holes;     /* ... and none */
};

/* The range is held. -EISDIR, -EINVAL no file with bytes. */
int chunk_look(struct fs *fs, struct inode *inode, uint64_t chunk, struct chunk_look *ret_look);

/*
 * Makes the chunk one piece, allocated, written, zero where it was a hole or is past EOF, committed. The
 * range is held exclusively and nothing shows the chunk, or what does shows zeros. Blocks that were none
 * before are the mappings' to settle. -ENOSPC no whole piece; as fs_write.
 */
int chunk_make(struct fs *fs, const struct fs_request *rq, struct inode *inode, uint64_t chunk,
               uint64_t *ret_piece);

/* Before bytes of [from, to) are stored, range held exclusively from chunk to chunk: what of it is shown
 * as zeros is shown no more, or becomes pieces and is shown as those. */
int chunk_fill(struct fs *fs, const struct fs_request *rq, struct inode *inode, uint64_t from,
               uint64_t to);

/* Whether a chunk of [from, to) is shown as zeros. The range is held. */
bool chunk_is_shown_as_zeros(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to);

/* ---- take.c: blocks; the range is held exclusively, and no map lock ---- */

/* Revokes what can be; whether pins are left in [first, end), which then have something to settle. */
bool take_pinned(struct fs *fs, struct inode *inode, uint64_t first, uint64_t end);
/* Whether a pin has blocks at or behind this one; nothing is revoked, and the range need not be held. */
bool take_pins_behind(struct fs *fs, struct inode *inode, uint64_t first);
/* Revokes what can be; -EBUSY if anything at all is left there, zeros too: for what moves bytes. */
int take_whole(struct fs *fs, struct inode *inode, uint64_t first, uint64_t end);
/* The last run of blocks of [first, end) without a pin: [*ret_first, *ret_end), empty if there is none;
 * what lies behind it is pinned. And the first run, before which all is pinned. */
void take_last_run(struct fs *fs, struct inode *inode, uint64_t first, uint64_t end,
                   uint64_t *ret_first, uint64_t *ret_end);
void take_first_run(struct fs *fs, struct inode *inode, uint64_t first, uint64_t end,
                    uint64_t *ret_first, uint64_t *ret_end);
/* Zeroes the pinned bytes of [from, to), in bytes, on their way to the medium. */
int take_zero_pinned(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to,
                     bool *ret_stored);

/* ---- settle.c ---- */

/* Sends what may have been stored to a piece on its way; pool_drain waits for it. */
void mapping_flush(struct fs *fs, uint64_t piece);
/* dax_ends_fn: sends what was stored through it on its way, and waits until it is there. */
void mapping_ends(void *arg, const struct mapping *mapping);
/* dax_gone_fn; arg is the fs. The caller holds a reference of its own to the inode, or no locks. */
void mapping_gone(void *arg, struct mapping *mapping);
/* Stores made through a mapping that may be written: moves mtime and ctime. */
void mapping_touch(struct fs *fs, struct inode *inode);

/* What mappings have left past EOF goes before it moves with what is there, to where nobody would look for
 * it. The range is held to the end, nothing is mapped there. */
int settle_before_shift(struct fs *fs, struct inode *inode, uint64_t size);

/* ---- settle.c, the settler ---- */

void settler_init(struct fs *fs);
int settler_start(struct fs *fs);
void settler_drain(struct fs *fs);
void settler_stop(struct fs *fs);

/* ---- door.c ---- */

/* The settler's, which holds settle_mutex: ends what nobody has any more. */
void quarantine_look(struct fs *fs);

#endif
