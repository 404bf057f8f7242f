/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A write. In the order in which things must happen:
 *
 *   lock      the bytes rounded out to blocks, exclusively; from EOF's block on where it extends
 *   plan      what lies under the next part: written extents, unwritten ones, holes
 *   allocate  blocks for the holes
 *   store     the bytes, straight to their places; zeros around them in blocks that are new; zeros
 *             over what is allocated between the old EOF and the write (L3)
 *   fence     once, where the transaction makes new blocks or bytes reachable
 *   commit    extents, size, times, in one transaction
 *
 * An overwrite stores its times where they lie, under the one fence of its bytes: it is the first,
 * second and fourth step, and a transaction only while the journal still has the record. A long or
 * scattered write is cut into parts of PART_PIECES segments, each with a transaction of its own; if
 * space ends in the middle, what was committed counts.
 */
#include "fs/mapped.h"
#include "fs/resize.h"
#include "fs/shift_op.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#define PART_PIECES 16u

/* Where the caller's bytes come from. */
struct source {
    const struct iovec *vector;
    size_t skip; /* bytes of the first element that are used up */
};

struct segment {
    uint64_t logical, physical, count; /* blocks */
    enum { SEGMENT_WRITTEN, SEGMENT_UNWRITTEN, SEGMENT_NEW } state;
};

struct part {
    uint64_t from, to; /* bytes of the file */
    struct segment segments[PART_PIECES];
    unsigned count;
    bool changes_map;
};

struct write {
    struct fs *fs;
    struct inode *inode;
    struct source source;
    uint64_t at, end; /* bytes still to be written */
    bool kill_suidgid, written_back;
};

/* Stores the next `length` bytes of the source at `to`. */
static void store_bytes(struct write *write, uint8_t *to, size_t length)
{
    struct source *source = &write->source;

    while (length > 0) {
        size_t part = source->vector->iov_len - source->skip;

        if (part > length)
            part = length;
        if (part > 0)
            persist_copy(write->fs->pool->persist, to,
                         (const uint8_t *)source->vector->iov_base + source->skip, part,
                         PERSIST_DATA);
        to += part;
        length -= part;
        source->skip += part;
        if (source->skip == source->vector->iov_len) {
            source->vector++;
            source->skip = 0;
        }
    }
}

static void store_zeros(struct fs *fs, uint8_t *to, size_t length)
{
    if (length > 0)
        persist_set(fs->pool->persist, to, 0, length, PERSIST_DATA);
}

/* ---- plan -------------------------------------------------------------------------------------- */

/* What lies at the block, cut to end_block. The map lock is held. */
static int plan_segment(struct write *write, const struct dxf_inode *record, uint64_t block,
                        uint64_t end_block, struct segment *ret_segment)
{
    struct extent extent;
    uint64_t stop;
    int r;

    r = extent_lookup(write->fs->meta, NULL, write->inode->ino, record, block, &extent);
    if (r < 0)
        return r;
    stop = extent.logical + extent.length;
    if (stop > end_block)
        stop = end_block;
    ret_segment->logical = block;
    ret_segment->count = stop - block;
    ret_segment->physical = extent.physical ? extent.physical + (block - extent.logical) : 0;
    ret_segment->state = !extent.physical   ? SEGMENT_NEW
                         : extent.unwritten ? SEGMENT_UNWRITTEN
                                            : SEGMENT_WRITTEN;
    return 0;
}

/* Where a new block at `block` would best lie: behind the one before it. */
static uint64_t plan_goal(struct write *write, const struct dxf_inode *record, uint64_t block)
{
    struct extent extent;

    if (block > 0 &&
        extent_lookup(write->fs->meta, NULL, write->inode->ino, record, block - 1, &extent) == 0 &&
        extent.physical)
        return extent.physical + (block - extent.logical);
    return 0;
}

/* Gives the segment blocks; it may become shorter. */
static int plan_allocate(struct txn *txn, uint64_t goal, struct segment *segment)
{
    struct space_request request = { .goal = goal,
                                     .want = segment->count,
                                     .logical = segment->logical };
    struct space_extent got;
    int r;

    r = space_alloc(txn, &request, &got);
    if (r < 0)
        return r;
    segment->physical = got.start;
    segment->count = got.count;
    return 0;
}

/* Plans from write->at on. -ENOSPC only when not even the first block could be had. */
static int plan_part(struct write *write, struct txn *txn, const struct dxf_inode *record,
                     struct part *part)
{
    uint64_t block = write->at >> DXF_BLOCK_SHIFT;
    uint64_t end_block = blocks_up(write->end);
    uint64_t goal = 0;

    part->from = write->at;
    part->count = 0;
    part->changes_map = false;
    while (block < end_block && part->count < PART_PIECES) {
        struct segment *segment = &part->segments[part->count];
        int r;

        r = plan_segment(write, record, block, end_block, segment);
        /* In a part, what is overwritten comes first (see commit_leading). */
        if (r == 0 && segment->state == SEGMENT_WRITTEN && part->changes_map)
            break;
        if (r == 0 && segment->state == SEGMENT_NEW) {
            if (goal == 0)
                goal = plan_goal(write, record, block);
            r = plan_allocate(txn, goal, segment);
        }
        if (r < 0) {
            if (part->count == 0)
                return r;
            break;
        }
        if (segment->state != SEGMENT_WRITTEN)
            part->changes_map = true;
        block += segment->count;
        goal = segment->physical + segment->count;
        part->count++;
    }
    part->to = block << DXF_BLOCK_SHIFT;
    if (part->to > write->end)
        part->to = write->end;
    return 0;
}

/* ---- store ------------------------------------------------------------------------------------- */

/* All of them are looked at before the first store, and after the last lookup: what that has read
 * counts as metadata, too. */
static int store_part(struct write *write, const struct part *part)
{
    struct fs *fs = write->fs;

    for (unsigned i = 0; i < part->count; i++) {
        const struct segment *segment = &part->segments[i];
        int r = data_check(fs, write->inode->ino, segment->physical, segment->count, true);

        if (r < 0)
            return r;
    }
    for (unsigned i = 0; i < part->count; i++) {
        const struct segment *segment = &part->segments[i];
        uint64_t start = segment->logical << DXF_BLOCK_SHIFT;
        uint64_t stop = start + (segment->count << DXF_BLOCK_SHIFT);
        uint64_t from = start > part->from ? start : part->from;
        uint64_t to = stop < part->to ? stop : part->to;
        uint64_t offset = segment->physical << DXF_BLOCK_SHIFT;
        uint8_t *base = pool_at(fs->pool, offset);

        if (segment->state != SEGMENT_WRITTEN) {
            store_zeros(fs, base, from - start);
            store_zeros(fs, base + (to - start), stop - to);
        }
        store_bytes(write, base + (from - start), to - from);
        if (pool_range_is_bad(fs->pool, offset, stop - start))
            return -EIO;
    }
    return 0;
}

/* ---- commit ------------------------------------------------------------------------------------ */

static int stage_map(struct write *write, struct txn *txn, struct dxf_inode *record,
                     const struct part *part)
{
    struct meta *meta = write->fs->meta;

    for (unsigned i = 0; i < part->count; i++) {
        const struct segment *segment = &part->segments[i];
        uint64_t left = 0;
        int r = 0;

        if (segment->state == SEGMENT_NEW) {
            struct extent extent = { .logical = segment->logical,
                                     .physical = segment->physical,
                                     .length = segment->count };

            r = extent_insert(meta, txn, write->inode->ino, record, &extent);
        } else if (segment->state == SEGMENT_UNWRITTEN) {
            r = extent_mark(meta, txn, write->inode->ino, record, segment->logical, segment->count,
                            false, PART_PIECES, &left);
            if (r == 0 && left)
                r = -E2BIG;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int stage_part(struct write *write, struct txn *txn, const struct part *part)
{
    struct dxf_inode *record = inode_edit(write->fs->meta, txn, write->inode->ino);
    uint64_t size;
    bool stored = false;
    int r;

    if (!record)
        return -ENOMEM;
    size = le64_get(record->size);
    if (part->from > size) {
        r = resize_zero_bytes(write->fs, write->inode, record, size, part->from, &stored);
        if (r < 0)
            return r;
    }
    r = stage_map(write, txn, record, part);
    if (r == 0)
        r = privileges_drop(write->fs, txn, write->inode->ino, record, write->kill_suidgid);
    if (r < 0)
        return r;
    if (part->to > size)
        record->size = le64_make(part->to);
    record_set_mctime(record, meta_now());
    /* New reach: new blocks, zeros over old ones, or bytes of a written block past the old EOF. An
     * overwrite may share the entry's fence. */
    if (part->changes_map || stored || part->to > size)
        txn_data_written(txn);
    return 0;
}

/* Ends the transaction either way. */
static int commit_part(struct write *write, struct txn *txn, const struct part *part)
{
    int r;

    rwlock_write(&write->inode->map_lock);
    r = stage_part(write, txn, part);
    if (r == 0)
        r = txn_commit(txn, NULL);
    else
        txn_abort(txn);
    rwlock_write_release(&write->inode->map_lock);
    return r;
}

/* No space for the extents of the rest: the bytes that were stored over written blocks stand, and
 * they are a prefix. Commits those, and ends the write there: a short one. */
static int commit_leading(struct write *write, struct part *part)
{
    struct txn txn;
    unsigned leading = 0;

    while (leading < part->count && part->segments[leading].state == SEGMENT_WRITTEN)
        leading++;
    if (leading == 0)
        return -ENOSPC;
    part->count = leading;
    part->to = (part->segments[leading - 1].logical + part->segments[leading - 1].count)
               << DXF_BLOCK_SHIFT;
    part->changes_map = false;
    write->end = part->to;
    txn_begin(&txn, write->fs->space);
    return commit_part(write, &txn, part);
}

/* Whether the part changes nothing of the record but times. */
static bool is_overwrite(const struct write *write, const struct dxf_inode *record,
                         const struct part *part)
{
    return !part->changes_map && part->to <= le64_get(record->size) && !write->kill_suidgid &&
           !(le32_get(record->flags) & DXF_FLAG_CAPABILITY);
}

static bool has_times(const struct dxf_inode *record, int64_t now)
{
    return inode_time(record->mtime) == now && inode_time(record->ctime) == now;
}

/* The times of an overwrite, without a transaction if that can be. Until they are fenced, no other
 * write may find that they are right already. */
static bool touch(struct write *write)
{
    struct inode *inode = write->inode;
    bool done;

    rwlock_write(&inode->map_lock);
    done = inode_store_times(write->fs->meta, inode->ino, INODE_MTIME | INODE_CTIME, meta_now());
    if (done)
        atomic_fetch_add(&inode->touching, 1);
    rwlock_write_release(&inode->map_lock);
    return done;
}

static int write_part(struct write *write)
{
    struct fs *fs = write->fs;
    const struct dxf_inode *record;
    struct part part;
    struct txn txn;
    bool overwrite = false, timely = false, touched = false;
    int r;

    txn_begin(&txn, fs->space);
    rwlock_read(&write->inode->map_lock);
    r = inode_view(fs->meta, NULL, write->inode->ino, &record);
    if (r == 0)
        r = plan_part(write, &txn, record, &part);
    if (r == 0) {
        overwrite = is_overwrite(write, record, &part);
        timely = has_times(record, meta_now()) && atomic_load(&write->inode->touching) == 0;
    }
    rwlock_read_release(&write->inode->map_lock);
    /* The range is ours: nobody changes the map under it in between. */
    if (r == 0)
        r = store_part(write, &part);
    if (r == 0 && overwrite && !timely)
        touched = touch(write);
    if (r == 0 && !(overwrite && (timely || touched))) {
        r = commit_part(write, &txn, &part);
        if (r == -ENOSPC)
            r = commit_leading(write, &part);
    } else {
        txn_abort(&txn);
        if (r == 0)
            r = pool_drain(fs->pool);
        if (touched)
            atomic_fetch_sub(&write->inode->touching, 1);
    }
    if (r == 0)
        write->at = part.to;
    return r;
}

/* ---- lock -------------------------------------------------------------------------------------- */

/* Locks what the write needs; sets write->at and ->end. */
static int write_lock(struct write *write, const struct fs_request *rq, uint64_t offset,
                      size_t length, bool append, struct range_node *node)
{
    struct inode *inode = write->inode;
    uint64_t size;
    int r;

    r = resize_read_size(write->fs, inode, !write->written_back, &size);
    if (r < 0)
        return r;
    if (!append && offset + length <= size) {
        uint64_t start = offset & ~(uint64_t)(DXF_BLOCK_SIZE - 1);
        uint64_t end = (offset + length + DXF_BLOCK_SIZE - 1) & ~(uint64_t)(DXF_BLOCK_SIZE - 1);

        r = range_lock_acquire(&inode->ranges, node, start, end, RANGE_EXCLUSIVE, inode->ino,
                               request_wait(rq));
        if (r < 0)
            return r;
        r = resize_read_size(write->fs, inode, !write->written_back, &size);
        if (r == 0)
            r = shift_check(write->fs, inode, offset + length);
        if (r == 0 && offset + length <= size)
            goto locked;
        /* Cut short in between: it extends now. */
        range_lock_release(&inode->ranges, node);
        if (r < 0)
            return r;
    }
    r = resize_lock_to_end(write->fs, rq, inode, append ? UINT64_MAX : offset, node, &size);
    if (r < 0)
        return r;
locked:
    write->at = append ? size : offset;
    write->end = write->at + length;
    return 0;
}

/*
 * Where the write goes a door may be shown zeros: before bytes are stored there, it must be shown the
 * piece that they will be in. That takes whole chunks, so the range, held until now, is let go and a
 * larger one is taken. And it takes long: the door is waited for.
 */
static int write_relock_chunks(struct write *write, const struct fs_request *rq, bool append,
                               struct range_node *node)
{
    const struct lock_wait *wait = request_wait(rq);
    struct inode *inode = write->inode;
    uint64_t length = write->end - write->at, start, size;
    int r;

    do {
        range_lock_release(&inode->ranges, node);
        if (wait && wait->nowait)
            return -EAGAIN;
        start = chunk_of(write->at) << DAX_CHUNK_SHIFT;
        r = resize_lock_to_end(write->fs, rq, inode, start, node, &size);
        if (r < 0)
            return r;
        if (append)
            write->at = size;
        write->end = write->at + length;
    } while (write->at < start);
    r = resize_read_size(write->fs, inode, !write->written_back, &size);
    if (r == 0)
        r = chunk_fill(write->fs, rq, inode, write->at, write->end);
    if (r < 0)
        range_lock_release(&inode->ranges, node);
    return r;
}

static size_t vector_length(const struct iovec *vector, unsigned count)
{
    size_t length = 0;

    for (unsigned i = 0; i < count; i++)
        length += vector[i].iov_len;
    return length;
}

ssize_t fs_write(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle,
                 const struct iovec *vector, unsigned count, uint64_t offset, unsigned flags,
                 uint64_t *ret_offset)
{
    struct write write = { .fs = fs,
                           .inode = handle->inode,
                           .source = { .vector = vector },
                           .kill_suidgid = flags & FS_WRITE_KILL_SUIDGID,
                           .written_back = flags & FS_WRITE_BACK };
    size_t length = vector_length(vector, count);
    uint64_t reaped = atomic_load(&fs->reaped);
    struct range_node node;
    uint64_t start, stale = UINT64_MAX;
    int r;

    r = fs_may_change(fs);
    if (r < 0)
        return r;
    if (length == 0)
        return 0;
    if (length > SSIZE_MAX || (!(flags & FS_WRITE_APPEND) && offset > DXF_FILE_SIZE_MAX))
        return -EFBIG;
    r = write_lock(&write, rq, offset, length, flags & FS_WRITE_APPEND, &node);
    if (r == 0 && chunk_is_shown_as_zeros(fs, write.inode, write.at, write.end))
        r = write_relock_chunks(&write, rq, flags & FS_WRITE_APPEND, &node);
    if (r < 0)
        return r;
    start = write.at;
    if (write.end > DXF_FILE_SIZE_MAX)
        write.end = DXF_FILE_SIZE_MAX;
    r = write.at < write.end ? 0 : -EFBIG;
    if (r == 0 && write.written_back)
        stale = stale_from(fs, write.inode->ino);
    if (write.end > stale) /* what is behind is dropped: fs_shift */
        write.end = stale > start ? stale : start;
    else
        stale = UINT64_MAX;
    while (r == 0 && write.at < write.end) {
        r = write_part(&write);
        if (r == -ENOSPC && write.at == start) {
            r = reaper_relieve(fs, rq, &reaped);
            write.source = (struct source){ .vector = vector }; /* some may have been stored */
        }
    }
    range_lock_release(&write.inode->ranges, &node);
    if (r == 0 && write.at >= stale)
        write.at = start + length;
    if (write.at == start)
        return r;
    if (ret_offset)
        *ret_offset = start;
    return (ssize_t)(write.at - start);
}

ssize_t fs_pwrite(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle,
                  const void *buffer, size_t length, uint64_t offset)
{
    struct iovec vector = { .iov_base = (void *)(uintptr_t)buffer, .iov_len = length };
    bool append = handle->flags & O_APPEND;

    return fs_write(fs, rq, handle, &vector, 1, offset, append ? FS_WRITE_APPEND : 0, NULL);
}
