/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lseek for data and holes, and copying between files inside the pool.
 *
 * A copy reads under the source's shared range and writes with fs_write, part by part, holding one
 * file's range at a time: of two copies that cross, neither can wait for the other. Unwritten
 * extents and holes of the source are copied as zeros, or skipped where the target is a hole too.
 */
#include "fs/resize.h"
#include "fs/shift_op.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_PART (256u << 10)

/* The map lock is held. SEEK_DATA finds written extents: unwritten ones read as a hole does. */
static int seek(struct fs *fs, uint64_t ino, const struct dxf_inode *record, uint64_t offset,
                int whence, uint64_t *ret_offset)
{
    uint64_t size = le64_get(record->size);
    struct extent extent;
    int r;

    if (offset >= size)
        return -ENXIO;
    for (uint64_t at = offset; at < size;) {
        bool data;

        r = extent_lookup(fs->meta, NULL, ino, record, at >> DXF_BLOCK_SHIFT, &extent);
        if (r < 0)
            return r;
        data = extent.physical && !extent.unwritten;
        if (data == (whence == SEEK_DATA)) {
            *ret_offset = at;
            return 0;
        }
        at = (extent.logical + extent.length) << DXF_BLOCK_SHIFT;
    }
    if (whence == SEEK_DATA)
        return -ENXIO;
    *ret_offset = size; /* every file ends in a hole */
    return 0;
}

int fs_lseek(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle, uint64_t offset,
             int whence, uint64_t *ret_offset)
{
    struct inode *inode = handle->inode;
    const struct dxf_inode *record;
    int r;

    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    r = shift_look(fs, rq, inode);
    if (r < 0)
        return r;
    r = inode_view(fs->meta, NULL, inode->ino, &record);
    if (r == 0 && !record_is_regular(record))
        r = -EINVAL;
    if (r == 0)
        r = seek(fs, inode->ino, record, offset, whence, ret_offset);
    rwlock_read_release(&inode->map_lock);
    return r;
}

/* ---- copy ---------------------------------------------------------------------------------------- */

struct copy {
    struct fs *fs;
    const struct fs_request *rq;
    struct fs_handle *from, *to;
    uint64_t from_offset, to_offset;
    size_t left;
    void *buffer;
};

/* How far the source is a hole from here, 0 when it is data. */
static uint64_t hole_length(struct copy *copy, uint64_t limit)
{
    uint64_t data;
    int r;

    r = fs_lseek(copy->fs, copy->rq, copy->from, copy->from_offset, SEEK_DATA, &data);
    if (r == -ENXIO)
        return limit;
    if (r < 0 || data <= copy->from_offset)
        return 0;
    return data - copy->from_offset < limit ? data - copy->from_offset : limit;
}

/* Whether the target has nothing there that a hole in the source would have to overwrite. */
static bool target_is_hole(struct copy *copy, uint64_t length)
{
    uint64_t data;
    int r;

    r = fs_lseek(copy->fs, copy->rq, copy->to, copy->to_offset, SEEK_DATA, &data);
    return r == -ENXIO || (r == 0 && data >= copy->to_offset + length);
}

/* Copies some; returns how much, 0 at the source's end. */
static ssize_t copy_part(struct copy *copy)
{
    size_t length = copy->left < COPY_PART ? copy->left : COPY_PART;
    struct iovec vector = { .iov_base = copy->buffer };
    struct fs_attr attr;
    uint64_t hole;
    ssize_t n;
    int r;

    r = fs_getattr(copy->fs, copy->rq, fs_handle_ino(copy->from), &attr);
    if (r < 0 || copy->from_offset >= attr.size)
        return r;
    hole = hole_length(copy, copy->left < attr.size - copy->from_offset
                                 ? copy->left
                                 : attr.size - copy->from_offset);
    if (hole > 0 && target_is_hole(copy, hole)) {
        r = resize_at_least(copy->fs, copy->rq, copy->to->inode, copy->to_offset + hole,
                            copy->rq && copy->rq->uid != 0);
        return r < 0 ? r : (ssize_t)hole;
    }
    n = fs_pread(copy->fs, copy->rq, copy->from, copy->buffer, length, copy->from_offset);
    if (n <= 0)
        return n;
    vector.iov_len = (size_t)n;
    return fs_write(copy->fs, copy->rq, copy->to, &vector, 1, copy->to_offset,
                    copy->rq && copy->rq->uid != 0 ? FS_WRITE_KILL_SUIDGID : 0, NULL);
}

/* Cuts *length at the source's end as it is now: what the copy itself appends to the source, where
 * the two are one file, is not copied again. */
static int check_copy(struct fs *fs, const struct fs_request *rq, const struct fs_handle *from,
                      uint64_t from_offset, const struct fs_handle *to, uint64_t to_offset,
                      size_t *length)
{
    struct fs_attr attr;
    int r;

    if ((to->flags & O_APPEND) || (to->flags & O_ACCMODE) == O_RDONLY ||
        (from->flags & O_ACCMODE) == O_WRONLY)
        return -EBADF;
    if (from_offset > DXF_FILE_SIZE_MAX || *length > DXF_FILE_SIZE_MAX - from_offset)
        return -EINVAL;
    if (to_offset > DXF_FILE_SIZE_MAX || *length > DXF_FILE_SIZE_MAX - to_offset)
        return -EFBIG;
    r = fs_getattr(fs, rq, from->inode->ino, &attr);
    if (r < 0)
        return r;
    if (from_offset >= attr.size)
        *length = 0;
    else if (*length > attr.size - from_offset)
        *length = attr.size - from_offset;
    if (from->inode == to->inode && from_offset < to_offset + *length &&
        to_offset < from_offset + *length)
        return -EINVAL;
    return 0;
}

ssize_t fs_copy_range(struct fs *fs, const struct fs_request *rq, struct fs_handle *from,
                      uint64_t from_offset, struct fs_handle *to, uint64_t to_offset, size_t length)
{
    struct copy copy = { .fs = fs,
                         .rq = rq,
                         .from = from,
                         .to = to,
                         .from_offset = from_offset,
                         .to_offset = to_offset };
    size_t done = 0;
    ssize_t n = 0;
    int r;

    r = check_copy(fs, rq, from, from_offset, to, to_offset, &length);
    if (r < 0)
        return r;
    copy.left = length;
    copy.buffer = malloc(COPY_PART);
    if (!copy.buffer)
        return -ENOMEM;
    while (copy.left > 0) {
        n = copy_part(&copy);
        if (n <= 0)
            break;
        copy.from_offset += (uint64_t)n;
        copy.to_offset += (uint64_t)n;
        copy.left -= (size_t)n;
        done += (size_t)n;
    }
    free(copy.buffer);
    return done > 0 ? (ssize_t)done : n;
}
