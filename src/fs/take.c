/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a take-away may do to chunks that are mapped: see the pin in fs/mapped.h.
 *
 * Whose mapping can be revoked loses it before anything else happens, and its next touch is a fault,
 * which waits for the range. Who still has one then keeps its blocks: punch and zero store zeros there
 * and pass on, truncate leaves them past EOF, collapse and insert are refused.
 */
#include "fs/mapped.h"

#include "fs/resize.h"

#include <errno.h>

static void block_range(uint64_t first, uint64_t end, uint64_t *ret_first, uint64_t *ret_end)
{
    *ret_first = chunk_of_block(first);
    *ret_end = first < end ? chunk_of_block(end - 1) + 1 : *ret_first;
}

bool take_pinned(struct fs *fs, struct inode *inode, uint64_t first, uint64_t end)
{
    uint64_t chunk, stop;

    block_range(first, end, &chunk, &stop);
    if (dax_revoke(&fs->dax, &inode->dax, chunk, stop, mapping_gone, fs) == 0)
        return false;
    if (dax_next(&fs->dax, &inode->dax, chunk, stop, DAX_PIECES, NULL) == UINT64_MAX)
        return false;
    dax_unsettle(&fs->dax, &inode->dax, chunk, stop);
    return true;
}

bool take_pins_behind(struct fs *fs, struct inode *inode, uint64_t first)
{
    return dax_next(&fs->dax, &inode->dax, chunk_of_block(first), UINT64_MAX, DAX_PIECES, NULL) !=
           UINT64_MAX;
}

int take_whole(struct fs *fs, struct inode *inode, uint64_t first, uint64_t end)
{
    uint64_t chunk, stop;

    block_range(first, end, &chunk, &stop);
    return dax_revoke(&fs->dax, &inode->dax, chunk, stop, mapping_gone, fs) == 0 ? 0 : -EBUSY;
}

void take_last_run(struct fs *fs, struct inode *inode, uint64_t first, uint64_t end,
                   uint64_t *ret_first, uint64_t *ret_end)
{
    uint64_t chunk, stop, pin;

    for (;;) {
        block_range(first, end, &chunk, &stop);
        pin = dax_last_piece(&fs->dax, &inode->dax, chunk, stop);
        if (pin == UINT64_MAX || first >= end)
            break;
        if ((pin + 1) * CHUNK_BLOCKS < end) {
            first = (pin + 1) * CHUNK_BLOCKS;
            break;
        }
        end = pin * CHUNK_BLOCKS > first ? pin * CHUNK_BLOCKS : first;
    }
    *ret_first = first;
    *ret_end = end;
}

void take_first_run(struct fs *fs, struct inode *inode, uint64_t first, uint64_t end,
                    uint64_t *ret_first, uint64_t *ret_end)
{
    uint64_t chunk, stop, pin;

    for (;;) {
        block_range(first, end, &chunk, &stop);
        pin = dax_next(&fs->dax, &inode->dax, chunk, stop, DAX_PIECES, NULL);
        if (pin == UINT64_MAX || first >= end)
            break;
        if (pin * CHUNK_BLOCKS > first) {
            end = pin * CHUNK_BLOCKS;
            break;
        }
        first = (pin + 1) * CHUNK_BLOCKS < end ? (pin + 1) * CHUNK_BLOCKS : end;
    }
    *ret_first = first;
    *ret_end = end;
}

int take_zero_pinned(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to,
                     bool *ret_stored)
{
    uint64_t chunk = chunk_of(from), stop = chunk_end_of(to);
    const struct dxf_inode *record;
    int r = 0;

    for (; r == 0; chunk++) {
        uint64_t start, end;

        chunk = dax_next(&fs->dax, &inode->dax, chunk, stop, DAX_PIECES, NULL);
        if (chunk == UINT64_MAX)
            break;
        start = chunk << DAX_CHUNK_SHIFT;
        end = start + DAX_CHUNK_SIZE;
        rwlock_read(&inode->map_lock);
        r = inode_view(fs->meta, NULL, inode->ino, &record);
        if (r == 0)
            r = resize_zero_bytes(fs, inode, record, start > from ? start : from,
                                  end < to ? end : to, ret_stored);
        rwlock_read_release(&inode->map_lock);
    }
    return r;
}
