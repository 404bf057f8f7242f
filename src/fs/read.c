/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A read: lock the range shared, look the extents up, name the pool's bytes; the door sends them.
 *
 * The range stays locked until the bytes are on their way, so a write is seen whole or not at all
 * (L2) and no block is given to somebody else under the reader (L1). Holes, unwritten extents and
 * what the medium lost come from one buffer of zeros.
 */
#include "fs/shift_op.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define ZEROS_SIZE (64u << 10)
static const uint8_t zeros[ZEROS_SIZE] __attribute__((aligned(4096)));

static int add_vector(struct fs_read *read, const void *base, size_t length)
{
    struct iovec *last = read->count ? &read->vector[read->count - 1] : NULL;

    if (last && (const uint8_t *)last->iov_base + last->iov_len == base) {
        last->iov_len += length;
        return 0;
    }
    if (read->count >= FS_READ_VECTORS && (read->count & (read->count - 1)) == 0) {
        size_t bytes = read->count * sizeof(struct iovec);
        struct iovec *grown = malloc(bytes * 2);

        if (!grown)
            return -ENOMEM;
        memcpy(grown, read->vector, bytes);
        if (read->vector != read->inline_vector)
            free(read->vector);
        read->vector = grown;
    }
    read->vector[read->count++] =
        (struct iovec){ .iov_base = (void *)(uintptr_t)base, .iov_len = length };
    return 0;
}

static int add_zeros(struct fs_read *read, size_t length)
{
    int r = 0;

    while (length > 0 && r == 0) {
        size_t part = length < ZEROS_SIZE ? length : ZEROS_SIZE;

        r = add_vector(read, zeros, part);
        length -= part;
    }
    return r;
}

/* The map lock is held shared. */
static int map_bytes(struct fs *fs, struct fs_read *read, const struct dxf_inode *record)
{
    uint64_t at = read->offset, end = read->offset + read->length;

    while (at < end) {
        uint64_t block = at >> DXF_BLOCK_SHIFT, stop;
        struct extent extent;
        int r;

        r = extent_lookup(fs->meta, NULL, read->handle->inode->ino, record, block, &extent);
        if (r < 0)
            return r;
        stop = (extent.logical + extent.length) << DXF_BLOCK_SHIFT;
        if (stop > end)
            stop = end;
        if (extent.physical == 0 || extent.unwritten) {
            r = add_zeros(read, stop - at);
        } else {
            uint64_t offset = ((extent.physical - extent.logical) << DXF_BLOCK_SHIFT) + at;

            r = data_check(fs, read->handle->inode->ino, offset >> DXF_BLOCK_SHIFT,
                           ((stop - 1) >> DXF_BLOCK_SHIFT) + 1 - block, false);
            if (r < 0)
                return r;
            if (pool_range_is_bad(fs->pool, offset, stop - at))
                return -EIO;
            r = add_vector(read, pool_at(fs->pool, offset), stop - at);
        }
        if (r < 0)
            return r;
        at = stop;
    }
    return 0;
}

static int read_map(struct fs *fs, struct fs_read *read, size_t length, bool *ret_touch)
{
    const struct dxf_inode *record;
    uint64_t size;
    int r;

    rwlock_read(&read->handle->inode->map_lock);
    r = inode_view(fs->meta, NULL, read->handle->inode->ino, &record);
    if (r == 0 && record_is_dir(record))
        r = -EISDIR;
    if (r == 0) {
        size = le64_get(record->size);
        read->length = read->offset >= size ? 0 : length;
        if (read->length > size - read->offset && read->length > 0)
            read->length = size - read->offset;
        *ret_touch = atime_is_due(fs, record, meta_now());
        r = shift_check(fs, read->handle->inode, read->offset + read->length);
    }
    if (r == 0)
        r = map_bytes(fs, read, record);
    rwlock_read_release(&read->handle->inode->map_lock);
    return r;
}

static void read_free(struct fs_read *read)
{
    if (read->vector != read->inline_vector)
        free(read->vector);
}

int fs_read_begin(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle,
                  uint64_t offset, size_t length, struct fs_read *ret_read)
{
    struct fs_read *read = ret_read;
    uint64_t start, end;
    bool touch = false;
    int r;

    read->vector = read->inline_vector;
    read->count = 0;
    read->length = 0;
    read->handle = handle;
    /* No file has bytes past that. */
    if (offset > DXF_FILE_SIZE_MAX)
        offset = DXF_FILE_SIZE_MAX;
    if (length > DXF_FILE_SIZE_MAX - offset)
        length = DXF_FILE_SIZE_MAX - offset;
    read->offset = offset;
    start = offset & ~(uint64_t)(DXF_BLOCK_SIZE - 1);
    /* Its own blocks only, and never none. */
    end =
        (offset + (length > 0 ? length : 1) + DXF_BLOCK_SIZE - 1) & ~(uint64_t)(DXF_BLOCK_SIZE - 1);
    r = range_lock_acquire(&read->handle->inode->ranges, &read->range, start, end, RANGE_SHARED,
                           read->handle->inode->ino, request_wait(rq));
    if (r < 0)
        return r;
    handle_get(handle);
    r = read_map(fs, read, length, &touch);
    if (r < 0) {
        range_lock_release(&read->handle->inode->ranges, &read->range);
        read_free(read);
        handle_put(fs, handle);
        return r;
    }
    /* Now, for whoever got the bytes may look at the time. */
    if (touch && !(handle->flags & O_NOATIME))
        atime_touch(fs, handle->inode);
    return 0;
}

/* Bad pages show while the bytes are used, and then only in what was used. */
static bool met_bad_page(struct fs *fs, const struct fs_read *read)
{
    if (atomic_load_explicit(&fs->pool->bad_pages, memory_order_relaxed) == 0)
        return false;
    for (unsigned i = 0; i < read->count; i++) {
        const uint8_t *base = read->vector[i].iov_base;

        if (base >= fs->pool->base && base < fs->pool->base + fs->pool->size &&
            pool_range_is_bad(fs->pool, (uint64_t)(base - fs->pool->base), read->vector[i].iov_len))
            return true;
    }
    return false;
}

int fs_read_end(struct fs *fs, struct fs_read *read)
{
    bool bad = met_bad_page(fs, read);

    range_lock_release(&read->handle->inode->ranges, &read->range);
    read_free(read);
    handle_put(fs, read->handle);
    return bad ? -EIO : 0;
}

ssize_t fs_pread(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle, void *buffer,
                 size_t length, uint64_t offset)
{
    struct fs_read read;
    uint8_t *to = buffer;
    size_t done;
    int r;

    r = fs_read_begin(fs, rq, handle, offset, length, &read);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < read.count; i++) {
        memcpy(to, read.vector[i].iov_base, read.vector[i].iov_len);
        to += read.vector[i].iov_len;
    }
    done = read.length;
    r = fs_read_end(fs, &read);
    return r < 0 ? r : (ssize_t)done;
}
