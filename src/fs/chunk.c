/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One chunk, one piece: what has to be so before 2 MiB of a file can be shown at once.
 *
 *   it lies in its place     what is unwritten, and what is past EOF, is zeroed; then it is written
 *   else: gathered           a whole piece is taken, the chunk's bytes are copied there, zeros elsewhere;
 *                            then the extents are swapped, from the end of the chunk on, in as many
 *                            transactions as it needs
 *
 * Every transaction by itself leaves the file's bytes as they were, so a crash, or an error, leaves a
 * chunk that is only partly gathered, and no more.
 */
#include "fs/mapped.h"

#include "meta/orphan.h"

#include <errno.h>

#define SWAP_EXTENTS 32u

struct making {
    struct fs *fs;
    struct inode *inode;
    uint64_t first; /* block of the file */
    uint64_t piece; /* block of the pool */
    uint64_t size;  /* of the file, bytes */
    bool grown;
};

/* ---- looking ------------------------------------------------------------------------------------ */

/* The map lock is held. */
static int look_at(struct fs *fs, uint64_t ino, const struct dxf_inode *record, uint64_t first,
                   struct chunk_look *look)
{
    uint64_t at = first, end = first + CHUNK_BLOCKS, base = 0;
    bool in_place = true;

    while (at < end) {
        struct extent extent;
        int r = extent_lookup(fs->meta, NULL, ino, record, at, &extent);

        if (r < 0)
            return r;
        if (!extent.physical) {
            look->holes = true;
            in_place = false;
        } else {
            /* Where the chunk would begin; it wraps where that is before the pool, and is odd then. */
            uint64_t start = extent.physical - (extent.logical - first);

            if (at == first)
                base = start;
            in_place = in_place && start == base && start % CHUNK_BLOCKS == 0;
            if (extent.unwritten)
                look->unwritten = true;
            else
                look->data = true;
        }
        at = extent.logical + extent.length;
    }
    look->piece = in_place ? base << DXF_BLOCK_SHIFT : 0;
    return 0;
}

int chunk_look(struct fs *fs, struct inode *inode, uint64_t chunk, struct chunk_look *ret_look)
{
    struct chunk_look look = { 0 };
    const struct dxf_inode *record;
    int r;

    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, inode->ino, &record);
    if (r == 0)
        r = record_check_regular(record);
    if (r == 0) {
        look.size = le64_get(record->size);
        look.may_change = record_may_change(record, true);
        r = look_at(fs, inode->ino, record, chunk * CHUNK_BLOCKS, &look);
    }
    rwlock_read_release(&inode->map_lock);
    if (r == 0)
        *ret_look = look;
    return r;
}

/* ---- storing ------------------------------------------------------------------------------------ */

static void store_zeros(const struct making *making, uint64_t from, uint64_t to)
{
    uint64_t offset = (making->piece - making->first) << DXF_BLOCK_SHIFT;

    if (from < to)
        persist_set(making->fs->pool->persist, pool_at(making->fs->pool, offset + from), 0,
                    to - from, PERSIST_DATA);
}

static int store_copy(const struct making *making, const struct extent *extent, uint64_t from,
                      uint64_t to)
{
    struct pool *pool = making->fs->pool;
    uint64_t source = ((extent->physical - extent->logical) << DXF_BLOCK_SHIFT) + from;
    uint64_t target = ((making->piece - making->first) << DXF_BLOCK_SHIFT) + from;
    int r;

    r = data_check(making->fs, making->inode->ino, source >> DXF_BLOCK_SHIFT,
                   blocks_up(to) - (from >> DXF_BLOCK_SHIFT), false);
    if (r < 0)
        return r;
    persist_copy(pool->persist, pool_at(pool, target), pool_at(pool, source), to - from,
                 PERSIST_DATA);
    return pool_range_is_bad(pool, source, to - from) ? -EIO : 0;
}

/* Puts all bytes of the chunk into the piece; what is there already stays. The map lock is held. */
static int store_all(const struct making *making, const struct dxf_inode *record)
{
    uint64_t at = making->first, stop = making->first + CHUNK_BLOCKS;
    struct pool *pool = making->fs->pool;
    int r;

    r = data_check(making->fs, making->inode->ino, making->piece, CHUNK_BLOCKS, true);
    while (r == 0 && at < stop) {
        struct extent extent;
        uint64_t from = at << DXF_BLOCK_SHIFT, to, data;

        r = extent_lookup(making->fs->meta, NULL, making->inode->ino, record, at, &extent);
        if (r < 0)
            return r;
        at = extent.logical + extent.length < stop ? extent.logical + extent.length : stop;
        to = at << DXF_BLOCK_SHIFT;
        data = !extent.physical || extent.unwritten || making->size < from ? from
               : making->size < to                                         ? making->size
                                                                           : to;
        if (data > from && extent.physical - extent.logical != making->piece - making->first)
            r = store_copy(making, &extent, from, data);
        if (r == 0)
            store_zeros(making, data, to);
    }
    if (r == 0 && pool_range_is_bad(pool, making->piece << DXF_BLOCK_SHIFT, DAX_CHUNK_SIZE))
        r = -EIO;
    return r;
}

static int store_locked(struct making *making)
{
    const struct dxf_inode *record;
    int r;

    rwlock_read(&making->inode->map_lock);
    r = inode_view(making->fs->meta, NULL, making->inode->ino, &record);
    if (r == 0)
        r = store_all(making, record);
    rwlock_read_release(&making->inode->map_lock);
    return r;
}

/* ---- changing the map ------------------------------------------------------------------------- */

/* Blocks past EOF that were not there before go when the mappings do, after a crash too. */
static int stage_orphan(struct making *making, struct txn *txn, struct dxf_inode *record,
                        uint64_t end)
{
    if (making->grown && end > blocks_up(making->size))
        return orphan_add(making->fs->meta, txn, making->inode->ino, record);
    return 0;
}

/* What is left is [first, *end). With OUTER, extents become blocks of the piece that it has taken; without,
 * they become written. */
static int change_step(struct making *making, struct txn *outer, uint64_t *end)
{
    struct meta *meta = making->fs->meta;
    uint64_t ino = making->inode->ino, left = 0, count = *end - making->first;
    struct dxf_inode *record;
    struct txn txn;
    int r;

    txn_begin(&txn, making->fs->space);
    txn.use_reserve = true; /* there will be fewer extents */
    rwlock_write(&making->inode->map_lock);
    record = inode_edit(meta, &txn, ino);
    r = record ? 0 : -ENOMEM;
    if (r == 0)
        r = stage_orphan(making, &txn, record, *end);
    if (r == 0 && !outer)
        r = extent_mark(meta, &txn, ino, record, making->first, count, false, SWAP_EXTENTS, &left);
    if (r == 0 && outer) {
        struct extent extent = { .logical = making->first, .physical = making->piece };

        r = extent_remove(meta, &txn, ino, record, making->first, count, SWAP_EXTENTS, 0, &left);
        extent.logical += left;
        extent.physical += left;
        extent.length = count - left;
        if (r == 0)
            r = extent_insert(meta, &txn, ino, record, &extent);
        if (r == 0)
            r = txn_pass(outer, &txn, extent.length);
    }
    txn_data_written(&txn);
    if (r == 0)
        r = txn_commit(&txn, NULL);
    else
        txn_abort(&txn);
    rwlock_write_release(&making->inode->map_lock);
    if (r == 0 && outer)
        *end = making->first + left;
    else if (r == 0 && left == 0)
        *end = making->first;
    return r;
}

static int change_map(struct making *making, struct txn *outer)
{
    uint64_t end = making->first + CHUNK_BLOCKS;
    int r = 0;

    while (r == 0 && end > making->first)
        r = change_step(making, outer, &end);
    return r;
}

static int gather(struct making *making)
{
    struct space_request request = { .want = CHUNK_BLOCKS,
                                     .logical = making->first,
                                     .flags = SPACE_PIECE };
    struct space_extent got;
    struct txn outer;
    int r;

    txn_begin(&outer, making->fs->space);
    r = space_alloc(&outer, &request, &got);
    if (r == 0) {
        making->piece = got.start;
        r = store_locked(making);
    }
    if (r == 0)
        r = change_map(making, &outer);
    txn_abort(&outer);
    return r;
}

int chunk_make(struct fs *fs, const struct fs_request *rq, struct inode *inode, uint64_t chunk,
               uint64_t *ret_piece)
{
    struct making making = { .fs = fs, .inode = inode, .first = chunk * CHUNK_BLOCKS };
    uint64_t reaped = atomic_load(&fs->reaped);
    struct chunk_look look;
    int r;

    r = chunk_look(fs, inode, chunk, &look);
    if (r < 0)
        return r;
    making.size = look.size;
    /* Before any of them can go, and also if this stops half way. */
    if (look.holes)
        dax_unsettle(&fs->dax, &inode->dax, chunk, chunk + 1);
    if (look.piece) {
        making.piece = look.piece >> DXF_BLOCK_SHIFT;
        r = store_locked(&making);
        if (r == 0)
            r = look.unwritten ? change_map(&making, NULL) : pool_drain(fs->pool);
    } else {
        making.grown = look.holes;
        while ((r = gather(&making)) == -ENOSPC) {
            r = reaper_relieve(fs, rq, &reaped);
            if (r < 0)
                break;
        }
    }
    if (r == 0)
        *ret_piece = making.piece << DXF_BLOCK_SHIFT;
    return r;
}

/* ---- filling ------------------------------------------------------------------------------------ */

bool chunk_is_shown_as_zeros(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to)
{
    return dax_next(&fs->dax, &inode->dax, chunk_of(from), chunk_end_of(to), DAX_ZEROS, NULL) !=
           UINT64_MAX;
}

int chunk_fill(struct fs *fs, const struct fs_request *rq, struct inode *inode, uint64_t from,
               uint64_t to)
{
    uint64_t chunk = chunk_of(from), end = chunk_end_of(to);

    for (;; chunk++) {
        uint64_t piece;
        int r;

        chunk = dax_next(&fs->dax, &inode->dax, chunk, end, DAX_ZEROS, NULL);
        if (chunk == UINT64_MAX)
            return 0;
        /* Who can be told to forget them is, and needs no piece. */
        if (dax_revoke(&fs->dax, &inode->dax, chunk, chunk + 1, mapping_gone, fs) == 0)
            continue;
        r = chunk_make(fs, rq, inode, chunk, &piece);
        if (r < 0)
            return r;
        dax_fill(&fs->dax, &inode->dax, chunk, piece, NULL, mapping_gone, fs);
    }
}
