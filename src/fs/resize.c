/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Truncation in both directions.
 *
 * Down: the size is committed first, together with what of the blocks fits; the rest follows in
 * further transactions, the inode being an orphan until they are done (delete.c, D1). Up: what is
 * allocated between the old and the new size is zeroed and fenced before the size moves (L3),
 * whatever an earlier truncate did.
 */
#include "fs/resize.h"

#include "fs/mapped.h"
#include "fs/shift_op.h"
#include "meta/orphan.h"

#include <errno.h>

#define TRUNCATE_BATCH 1024u

int resize_zero_bytes(struct fs *fs, const struct inode *inode, const struct dxf_inode *record,
                      uint64_t from, uint64_t to, bool *ret_stored)
{
    struct extent extent;

    while (from < to) {
        uint64_t block = from >> DXF_BLOCK_SHIFT, end;
        int r;

        r = extent_next(fs->meta, NULL, inode->ino, record, block, &extent);
        if (r == -ENOENT)
            return 0;
        if (r < 0)
            return r;
        if (extent.logical << DXF_BLOCK_SHIFT >= to)
            return 0;
        if (extent.logical > block)
            from = extent.logical << DXF_BLOCK_SHIFT;
        end = (extent.logical + extent.length) << DXF_BLOCK_SHIFT;
        if (end > to)
            end = to;
        if (!extent.unwritten) {
            uint64_t offset = (extent.physical - extent.logical) << DXF_BLOCK_SHIFT;
            uint64_t first = from >> DXF_BLOCK_SHIFT;

            r = data_check(fs, inode->ino, extent.physical + (first - extent.logical),
                           ((end - 1) >> DXF_BLOCK_SHIFT) + 1 - first, true);
            if (r < 0)
                return r;
            persist_set(fs->pool->persist, pool_at(fs->pool, offset + from), 0, end - from,
                        PERSIST_DATA);
            *ret_stored = true;
        }
        from = end;
    }
    return 0;
}

/* The map lock is held. *ret_left: blocks that further transactions must take. */
static int stage_shrink(struct fs *fs, struct txn *txn, struct inode *inode,
                        struct dxf_inode *record, uint64_t size, bool pinned, uint64_t *ret_left)
{
    uint64_t first = blocks_up(size);
    int r = 0;

    record->size = le64_make(size);
    if (pinned)
        *ret_left = 1; /* inode_trim goes around the pins */
    else
        r = extent_remove(fs->meta, txn, inode->ino, record, first, EXTENT_LOGICAL_END - first,
                          TRUNCATE_BATCH, 0, ret_left);
    if (r == 0 && *ret_left)
        r = orphan_add(fs->meta, txn, inode->ino, record);
    return r;
}

/* The extent map still is as in place: nothing was staged in it yet. */
static int stage_grow(struct fs *fs, struct txn *txn, struct inode *inode, struct dxf_inode *record,
                      uint64_t size)
{
    bool stored = false;
    int r;

    r = resize_zero_bytes(fs, inode, record, le64_get(record->size), size, &stored);
    if (stored)
        txn_data_written(txn);
    record->size = le64_make(size);
    return r;
}

/* `from`: the size until now. */
static int truncate_ranged(struct fs *fs, struct inode *inode, uint64_t from, uint64_t size,
                           bool kill_suidgid)
{
    uint64_t first = blocks_up(size);
    struct dxf_inode *record;
    bool pinned = size < from && take_pinned(fs, inode, first, EXTENT_LOGICAL_END), stored = false;
    uint64_t left = 0;
    struct txn txn;
    int r;

    txn_begin(&txn, fs->space);
    txn.use_reserve = true;
    rwlock_write(&inode->map_lock);
    record = inode_edit(fs->meta, &txn, inode->ino);
    /* First: what the batch of blocks takes of the entry is what this leaves. */
    r = record ? privileges_drop(fs, &txn, inode->ino, record, kill_suidgid) : -ENOMEM;
    if (r == 0 && size < le64_get(record->size))
        r = stage_shrink(fs, &txn, inode, record, size, pinned, &left);
    else if (r == 0)
        r = stage_grow(fs, &txn, inode, record, size);
    if (r == 0) {
        record_set_mctime(record, meta_now());
        r = txn_commit(&txn, NULL);
    } else {
        txn_abort(&txn);
    }
    rwlock_write_release(&inode->map_lock);
    /* Who maps it from now on sees nothing of what was cut off. */
    if (r == 0 && pinned)
        r = take_zero_pinned(fs, inode, size, DXF_FILE_SIZE_MAX, &stored);
    if (r == 0 && stored)
        r = pool_drain(fs->pool);
    if (r == 0 && left)
        r = inode_trim(fs, inode, first);
    return r;
}

int resize_read_size(struct fs *fs, struct inode *inode, bool to_change, uint64_t *ret_size)
{
    const struct dxf_inode *record;
    int r;

    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, inode->ino, &record);
    if (r == 0)
        r = record_check_regular(record);
    if (r == 0 && to_change)
        r = record_may_change(record, false); /* may have become so since it was opened */
    if (r == 0)
        *ret_size = le64_get(record->size);
    rwlock_read_release(&inode->map_lock);
    return r;
}

int resize_lock_to_end(struct fs *fs, const struct fs_request *rq, struct inode *inode,
                       uint64_t offset, struct range_node *node, uint64_t *ret_size)
{
    uint64_t size = 0, start;
    int r;

    for (;;) {
        r = resize_read_size(fs, inode, false, &size);
        if (r < 0)
            return r;
        start = (offset < size ? offset : size) & ~(uint64_t)(DXF_BLOCK_SIZE - 1);
        r = range_lock_acquire(&inode->ranges, node, start, RANGE_END, RANGE_EXCLUSIVE, inode->ino,
                               request_wait(rq));
        if (r < 0)
            return r;
        r = resize_read_size(fs, inode, false, &size);
        if (r == 0)
            r = shift_check(fs, inode, UINT64_MAX);
        if (r == 0 && size >= start) {
            *ret_size = size;
            return 0;
        }
        range_lock_release(&inode->ranges, node);
        if (r < 0)
            return r;
        /* It has shrunk below what was locked: again, from further down. */
    }
}

int resize_lock_to_take(struct fs *fs, const struct fs_request *rq, struct inode *inode,
                        uint64_t offset, struct range_node *node, uint64_t *ret_size)
{
    const struct lock_wait *wait = request_wait(rq);
    int r = resize_lock_to_end(fs, rq, inode, offset, node, ret_size);

    if (r == 0 && wait && wait->nowait &&
        dax_next(&fs->dax, &inode->dax, 0, UINT64_MAX, DAX_ANY, NULL) != UINT64_MAX) {
        range_lock_release(&inode->ranges, node);
        return -EAGAIN;
    }
    return r;
}

int resize_truncate(struct fs *fs, const struct fs_request *rq, struct inode *inode, uint64_t size,
                    bool kill_suidgid)
{
    struct range_node node;
    uint64_t old_size;
    int r;

    r = resize_lock_to_take(fs, rq, inode, size, &node, &old_size);
    if (r < 0)
        return r;
    r = truncate_ranged(fs, inode, old_size, size, kill_suidgid);
    range_lock_release(&inode->ranges, &node);
    return r;
}

int resize_at_least(struct fs *fs, const struct fs_request *rq, struct inode *inode, uint64_t size,
                    bool kill_suidgid)
{
    struct range_node node;
    uint64_t old_size;
    int r;

    r = resize_lock_to_take(fs, rq, inode, size, &node, &old_size);
    if (r < 0)
        return r;
    r = resize_read_size(fs, inode, true, &old_size);
    if (r == 0)
        r = truncate_ranged(fs, inode, old_size, size > old_size ? size : old_size, kill_suidgid);
    range_lock_release(&inode->ranges, &node);
    return r;
}
