/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The short last chunk of a file moves out of a piece that it has for itself.
 *
 * Past its first piece a file begins each chunk in a whole piece, since nobody knows where it will
 * end, and each chunk that is mapped lies in one. Where it does end, the rest of that piece is left for
 * small files, and then the piece stays broken for as long as one of them lives: in a pool that is used
 * for long, all free space comes to lie in such rests. So, while whole pieces are scarce, closing a file
 * that was open for writing moves what its last chunk has into pieces that are broken already, and the
 * whole piece is free again. So does the end of a mapping (settle.c), and if the chunk is short also while
 * pieces are not scarce: a tree of small files that is read through a window would break all of them.
 *
 * R1 Nothing but places changes: no byte, no size, no hole, no time; what is unwritten stays so.
 * R2 The chunk's range is held exclusively from the look at its extents to the end of the commit.
 * R3 The copies are fenced, then one transaction puts the new places for the old ones: a crash finds
 *    either. The old blocks come back as those of a punch do.
 * R4 Nobody waits for it or hears of it: what is locked, full, held or bad stays where it is.
 */
#include "fs/mapped.h"

#include <errno.h>

#define EXTENTS_MAX 16u /* before, and after: one leaf and one journal entry hold them */

/* A quarter of a piece. */
#define SHORT_BLOCKS (DXF_PIECE_BLOCKS / 4)

struct retract {
    struct fs *fs;
    struct inode *inode;
    uint64_t first;                /* block of the file at which the chunk begins */
    uint64_t end;                  /* behind the file's last allocated block */
    uint64_t blocks;               /* allocated ones of the chunk */
    struct extent at[EXTENTS_MAX]; /* where they lie */
    struct extent to[EXTENTS_MAX]; /* where they are to lie */
    uint64_t from[EXTENTS_MAX];    /* and lie now */
    unsigned at_count, to_count;
};

/* ---- looking ------------------------------------------------------------------------------------ */

static int note_extent(void *arg, const struct extent *extent)
{
    struct retract *retract = arg;
    struct extent *at = &retract->at[retract->at_count];

    if (retract->at_count == EXTENTS_MAX)
        return -E2BIG;
    *at = *extent;
    if (at->logical < retract->first) {
        at->physical += retract->first - at->logical;
        at->length -= retract->first - at->logical;
        at->logical = retract->first;
    }
    if (at->physical / DXF_PIECE_BLOCKS != retract->at[0].physical / DXF_PIECE_BLOCKS ||
        at->physical % DXF_PIECE_BLOCKS + at->length > DXF_PIECE_BLOCKS)
        return -EBUSY;
    retract->at_count++;
    retract->blocks += at->length;
    return 0;
}

/* A direct mapping holds the chunk where it is. The range is held exclusively, so none appears. */
static bool chunk_is_mapped(const struct retract *retract)
{
    uint64_t chunk = chunk_of_block(retract->first);

    return dax_next(&retract->fs->dax, &retract->inode->dax, chunk, chunk + 1, DAX_ANY, NULL) !=
           UINT64_MAX;
}

/* Since it was looked at first, without the range: about to be deleted, grown, or cut. */
static bool file_has_changed(const struct retract *retract, const struct dxf_inode *record)
{
    struct extent last;

    return le32_get(record->links) == 0 ||
           extent_last(retract->fs->meta, NULL, retract->inode->ino, record, &last) < 0 ||
           last.logical + last.length != retract->end;
}

/* The map lock is held. -EBUSY: there is nothing to gain. */
static int look(struct retract *retract, const struct dxf_inode *record)
{
    int r;

    if (file_has_changed(retract, record))
        return -EBUSY;
    r = extent_walk(retract->fs->meta, NULL, retract->inode->ino, record, retract->first,
                    DXF_PIECE_BLOCKS, note_extent, retract);
    if (r == 0 &&
        !space_piece_is_left(retract->fs->space, retract->at[0].physical, retract->blocks))
        r = -EBUSY;
    return r;
}

/* ---- moving ------------------------------------------------------------------------------------- */

static int allocate(struct retract *retract, struct txn *txn)
{
    for (unsigned i = 0; i < retract->at_count; i++) {
        struct extent rest = retract->at[i];

        while (rest.length > 0) {
            struct space_request request = { .goal = rest.physical,
                                             .want = rest.length,
                                             .logical = rest.logical,
                                             .flags = SPACE_BROKEN };
            struct space_extent got;
            int r;

            if (retract->to_count == EXTENTS_MAX)
                return -E2BIG;
            r = space_alloc(txn, &request, &got);
            if (r < 0)
                return r;
            retract->from[retract->to_count] = rest.physical;
            retract->to[retract->to_count++] = (struct extent){ .logical = rest.logical,
                                                                .physical = got.start,
                                                                .length = got.count,
                                                                .unwritten = rest.unwritten };
            rest.logical += got.count;
            rest.physical += got.count;
            rest.length -= got.count;
        }
    }
    return 0;
}

/* All of them are looked at before the first store. */
static int copy(const struct retract *retract)
{
    struct pool *pool = retract->fs->pool;
    uint64_t ino = retract->inode->ino;

    for (unsigned i = 0; i < retract->to_count; i++) {
        const struct extent *to = &retract->to[i];
        int r = data_check(retract->fs, ino, retract->from[i], to->length, false);

        if (r == 0)
            r = data_check(retract->fs, ino, to->physical, to->length, true);
        if (r < 0)
            return r;
    }
    for (unsigned i = 0; i < retract->to_count; i++) {
        const struct extent *to = &retract->to[i];
        uint64_t source = retract->from[i] << DXF_BLOCK_SHIFT;
        uint64_t target = to->physical << DXF_BLOCK_SHIFT, bytes = to->length << DXF_BLOCK_SHIFT;

        if (to->unwritten)
            continue;
        persist_copy(pool->persist, pool_at(pool, target), pool_at(pool, source), bytes,
                     PERSIST_DATA);
        if (pool_range_is_bad(pool, source, bytes) || pool_range_is_bad(pool, target, bytes))
            return -EIO;
    }
    return 0;
}

static int stage(const struct retract *retract, struct txn *txn)
{
    struct meta *meta = retract->fs->meta;
    uint64_t ino = retract->inode->ino, left = 0;
    struct dxf_inode *record = inode_edit(meta, txn, ino);
    int r;

    if (!record)
        return -ENOMEM;
    r = extent_remove(meta, txn, ino, record, retract->first, DXF_PIECE_BLOCKS, EXTENTS_MAX, 0,
                      &left);
    if (r == 0 && left)
        r = -E2BIG;
    for (unsigned i = 0; r == 0 && i < retract->to_count; i++)
        r = extent_insert(meta, txn, ino, record, &retract->to[i]);
    txn_data_written(txn);
    return r;
}

/* The range is held. */
static void move_chunk(struct retract *retract)
{
    struct inode *inode = retract->inode;
    const struct dxf_inode *record;
    struct txn txn;
    int r;

    txn_begin(&txn, retract->fs->space);
    rwlock_read(&inode->map_lock);
    r = inode_view(retract->fs->meta, NULL, inode->ino, &record);
    if (r == 0)
        r = look(retract, record);
    rwlock_read_release(&inode->map_lock);
    if (r == 0)
        r = allocate(retract, &txn);
    if (r == 0)
        r = copy(retract);
    if (r < 0) {
        txn_abort(&txn);
        return;
    }
    rwlock_write(&inode->map_lock);
    if (stage(retract, &txn) == 0)
        (void)txn_commit(&txn, NULL);
    else
        txn_abort(&txn);
    rwlock_write_release(&inode->map_lock);
}

/* The end of what is allocated; 0 nothing is, or it is no file. */
static uint64_t allocated_end(struct fs *fs, struct inode *inode)
{
    const struct dxf_inode *record;
    struct extent last;
    uint64_t end = 0;

    rwlock_read(&inode->map_lock);
    if (inode_view(fs->meta, NULL, inode->ino, &record) == 0 && record_is_regular(record) &&
        extent_last(fs->meta, NULL, inode->ino, record, &last) == 0)
        end = last.logical + last.length;
    rwlock_read_release(&inode->map_lock);
    return end;
}

void inode_retract(struct fs *fs, struct inode *inode, bool mapped)
{
    static const struct lock_wait nowait = { .nowait = true };
    struct retract retract = { .fs = fs, .inode = inode };
    struct range_node node;

    if (fs_may_change(fs) < 0)
        return;
    retract.end = allocated_end(fs, inode);
    retract.first = retract.end / DXF_PIECE_BLOCKS * DXF_PIECE_BLOCKS;
    if (retract.first == retract.end || (retract.first == 0 && !mapped))
        return;
    if (mapped && retract.end - retract.first > SHORT_BLOCKS && !space_pieces_are_scarce(fs->space))
        return;
    if (range_lock_acquire(&inode->ranges, &node, retract.first << DXF_BLOCK_SHIFT,
                           (retract.first + DXF_PIECE_BLOCKS) << DXF_BLOCK_SHIFT, RANGE_EXCLUSIVE,
                           inode->ino, &nowait) < 0)
        return;
    if (!chunk_is_mapped(&retract))
        move_chunk(&retract);
    range_lock_release(&inode->ranges, &node);
}
