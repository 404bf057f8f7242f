/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Collapse and insert: see shift_op.h.
 *
 * S1 All that can fail for want of space is in the first transaction: an insert cuts the extent that
 *    reaches over its offset there. To keep it cut until its second half has moved, an insert also
 *    holds the block before its offset: nobody else puts an extent next to it.
 * S2 Each transaction moves its extents and the cursor; so a recovery goes on exactly where it stopped.
 *    A collapse gives blocks back before it moves the first extent, and may do that twice.
 * S3 The new size is there from the first transaction on: whoever asks for attributes finds the file as
 *    it will be. Recovery does not touch it.
 */
#include "fs/shift_op.h"

#include "fs/range_op.h"

#include <errno.h>

/* What must be left of an entry for the first extent to move behind blocks that were given back. */
#define SHIFT_ROOM (4u * DXF_BLOCK_SIZE)

/* Gives the blocks of the range back. *ret_done: there are none left, and room for more in the txn. */
static int take_range(struct fs *fs, struct txn *txn, struct inode *inode, struct dxf_inode *record,
                      uint64_t first, uint64_t count, bool *ret_done)
{
    uint64_t before = le64_get(record->blocks), left = 0;
    int r;

    r = extent_remove(fs->meta, txn, inode->ino, record, first, count, range_op_batch, 0, &left);
    if (r == 0)
        *ret_done =
            left == 0 && (le64_get(record->blocks) == before || txn_has_room(txn, SHIFT_ROOM));
    return r;
}

int shift_step(struct fs *fs, struct txn *txn, struct inode *inode, struct dxf_inode *record,
               struct intent *intent, bool begins, bool *ret_done)
{
    uint64_t first = intent->offset >> DXF_BLOCK_SHIFT, count = intent->length >> DXF_BLOCK_SHIFT;
    uint64_t cursor = begins ? 0 : intent->cursor >> DXF_BLOCK_SHIFT;
    int64_t delta = (int64_t)count;
    bool taken = true;
    int r = 0;

    if (intent->kind == DXF_INTENT_COLLAPSE) {
        delta = -delta;
        if (intent->cursor == intent->offset + intent->length)
            r = take_range(fs, txn, inode, record, first, count, &taken);
        if (r < 0 || !taken) {
            *ret_done = false;
            return r;
        }
        first += count;
    }
    r = extent_shift(fs->meta, txn, inode->ino, record, first, delta, cursor, range_op_batch,
                     &cursor);
    if (r < 0)
        return r;
    *ret_done = cursor == UINT64_MAX;
    if (!*ret_done)
        intent->cursor = cursor << DXF_BLOCK_SHIFT;
    return 0;
}

int shift_check(struct fs *fs, const struct inode *inode, uint64_t end)
{
    return intent_moves(fs->meta, inode->ino, end) ? -EIO : 0;
}

int shift_look(struct fs *fs, const struct fs_request *rq, struct inode *inode)
{
    struct range_node node;
    int r;

    for (;;) {
        rwlock_read(&inode->map_lock);
        if (!intent_moves(fs->meta, inode->ino, UINT64_MAX))
            return 0;
        rwlock_read_release(&inode->map_lock);
        if (fs_may_change(fs) < 0)
            return -EIO;
        /* A shift holds all up to there. */
        r = range_lock_acquire(&inode->ranges, &node, RANGE_END - 1, RANGE_END, RANGE_SHARED,
                               inode->ino, request_wait(rq));
        if (r < 0)
            return r;
        range_lock_release(&inode->ranges, &node);
    }
}
