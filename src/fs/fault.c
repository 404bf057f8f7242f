/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fault: a chunk of a file comes to be shown in a slot of a door.
 *
 *   range     from before the first look until the slot shows it: shared, or exclusive while the chunk is
 *             made one piece. The size is read inside: there is no moment between "is it there" and "it is
 *             mapped" in which it could be taken away.
 *   slot      claimed first, so that nothing is allocated for a request that cannot be met
 *   chunk     one piece, committed (chunk.c, L5); or zeros, where a chunk without data is read
 *   others    who was shown zeros of a chunk that gets a piece is shown the piece, before the answer
 *   show      the mapper is called, once, with the range shared
 *
 * The mapping keeps a reference to the inode.
 */
#include "fs/mapped.h"
#include "fs/shift_op.h"

#include <errno.h>
#include <stdlib.h>

struct fault {
    struct fs *fs;
    const struct fs_request *rq;
    struct dax_door *door;
    struct inode *inode;
    uint64_t chunk, slot;
    bool write;
    uint64_t offset; /* in the pool; 0: zeros */
    bool there;      /* the chunk is one piece, and zero past EOF */
};

/* 1: all is there, and fault->offset says what to show; 0: the chunk has to be made one piece first, or be
 * shown to who sees zeros instead, for which nobody else may hold the range. */
static int look(struct fault *fault)
{
    struct chunk_look look;
    uint64_t start = fault->chunk << DAX_CHUNK_SHIFT;
    int r;

    r = chunk_look(fault->fs, fault->inode, fault->chunk, &look);
    if (r == 0 && fault->write)
        r = look.may_change;
    if (r < 0)
        return r;
    if (start >= look.size)
        return -ENXIO;
    fault->there = false;
    if (!look.data && !fault->write) {
        fault->offset = 0;
        return 1;
    }
    fault->offset = look.piece;
    if (!look.piece || look.unwritten)
        return 0;
    /* A user stores there as it likes: the blocks must be what the map says, and readable. */
    r = data_check(fault->fs, fault->inode->ino, look.piece >> DXF_BLOCK_SHIFT, CHUNK_BLOCKS, true);
    if (r == 0 && pool_range_is_bad(fault->fs->pool, look.piece, DAX_CHUNK_SIZE))
        r = -EIO;
    if (r < 0)
        return r;
    /* What is past EOF must be zero before anybody sees it, and who sees it already may store there. */
    fault->there = start + DAX_CHUNK_SIZE <= look.size ||
                   dax_next(&fault->fs->dax, &fault->inode->dax, fault->chunk, fault->chunk + 1,
                            DAX_PIECES, NULL) != UINT64_MAX;
    return fault->there && !chunk_is_shown_as_zeros(fault->fs, fault->inode, start, start + 1);
}

/* Takes the range, and leaves it shared, with the chunk as it must be. */
static int fault_lock(struct fault *fault, struct range_node *node, bool exclusive)
{
    uint64_t start = fault->chunk << DAX_CHUNK_SHIFT;
    int r;

    r = range_lock_acquire(&fault->inode->ranges, node, start, start + DAX_CHUNK_SIZE,
                           exclusive ? RANGE_EXCLUSIVE : RANGE_SHARED, fault->inode->ino,
                           request_wait(fault->rq));
    if (r < 0)
        return r;
    r = shift_check(fault->fs, fault->inode, start + DAX_CHUNK_SIZE);
    if (r == 0)
        r = look(fault);
    if (r < 0)
        range_lock_release(&fault->inode->ranges, node);
    return r;
}

/* The range is held exclusively, MAPPING is BUSY and ours. */
static int make(struct fault *fault, struct mapping *mapping)
{
    struct fs *fs = fault->fs;
    int r = 0;

    if (!fault->there)
        r = chunk_make(fs, fault->rq, fault->inode, fault->chunk, &fault->offset);
    if (r == 0)
        dax_fill(&fs->dax, &fault->inode->dax, fault->chunk, fault->offset, mapping, mapping_gone,
                 fs);
    return r;
}

/* The range is held. *ret_kept: the mapping has taken the reference to the inode. */
static int fault_ranged(struct fault *fault, struct range_node *node, bool ready, bool *ret_kept)
{
    struct fs *fs = fault->fs;
    struct mapping *mapping;
    bool touch, fresh;
    int r;

    r = dax_begin(&fs->dax, fault->door, &fault->inode->dax, fault->chunk, fault->slot,
                  fault->write, fault->inode, request_wait(fault->rq), &mapping, &fresh);
    if (r < 0)
        return r;
    *ret_kept = fresh;
    atomic_store_explicit(&fault->inode->was_mapped, true, memory_order_relaxed);
    touch = fault->write && !mapping->write;
    if (!ready) {
        r = make(fault, mapping);
        if (r < 0) {
            dax_abandon(&fs->dax, mapping, mapping_gone, fs);
            return r;
        }
        range_lock_downgrade(&fault->inode->ranges, node);
    }
    r = dax_show(&fs->dax, mapping, fault->offset, fault->write, mapping_gone, fs);
    if (r == 0 && touch)
        mapping_touch(fs, fault->inode);
    return r;
}

static int fault_inode(struct fault *fault, bool *ret_kept)
{
    struct range_node node;
    bool exclusive = false;
    int r;

    for (;;) {
        r = fault_lock(fault, &node, exclusive);
        if (r < 0)
            return r;
        if (r > 0 || exclusive)
            break;
        range_lock_release(&fault->inode->ranges, &node);
        exclusive = true;
    }
    if (r > 0 && exclusive)
        range_lock_downgrade(&fault->inode->ranges, &node);
    r = fault_ranged(fault, &node, r > 0, ret_kept);
    range_lock_release(&fault->inode->ranges, &node);
    return r;
}

int fs_fault(struct fs *fs, const struct fs_request *rq, struct dax_door *door, uint64_t ino,
             uint64_t offset, uint64_t slot, bool write)
{
    struct fault fault = {
        .fs = fs, .rq = rq, .door = door, .chunk = chunk_of(offset), .slot = slot, .write = write
    };
    struct inode *extra;
    bool kept = false;
    int r;

    if (offset % DAX_CHUNK_SIZE || offset > DXF_FILE_SIZE_MAX || slot >= door->slots)
        return -EINVAL;
    if (write && door->read_only)
        return -EROFS;
    /* To read through a mapping can need a piece, too. */
    r = fs_may_change(fs);
    if (r == 0)
        r = inode_get(fs, ino, &fault.inode);
    if (r < 0)
        return r;
    dax_displace(&fs->dax, door, &fault.inode->dax, fault.chunk, slot, mapping_gone, fs);
    /* One reference for the mapping, and one until the end of this. */
    r = inode_get(fs, ino, &extra);
    if (r == 0) {
        r = fault_inode(&fault, &kept);
        if (!kept)
            inode_put(fs, extra);
    }
    inode_put(fs, fault.inode);
    return r;
}

int fs_populate(struct fs *fs, const struct fs_request *rq, struct dax_door *door, uint64_t ino,
                uint64_t offset, uint64_t length, uint64_t slot, bool write)
{
    uint64_t end = offset + length;
    int r = 0;

    if (length == 0 || end < offset || offset % DAX_CHUNK_SIZE || end > DXF_FILE_SIZE_MAX)
        return -EINVAL;
    for (; r == 0 && offset < end; offset += DAX_CHUNK_SIZE)
        r = fs_fault(fs, rq, door, ino, offset, slot++, write);
    return r;
}

int fs_unmap(struct fs *fs, const struct fs_request *rq, struct dax_door *door, uint64_t slot)
{
    return dax_unmap(&fs->dax, door, slot, request_wait(rq), mapping_gone, fs);
}

int fs_unmap_all(struct fs *fs, const struct fs_request *rq, struct dax_door *door)
{
    int result = 0;

    for (uint64_t slot = 0; slot < door->slots; slot++) {
        int r = fs_unmap(fs, rq, door, slot);

        if (r == -ENODEV || r == -EBUSY) /* nobody is asked */
            return r;
        if (r < 0 && r != -ENOENT && result == 0)
            result = r;
    }
    return result;
}
