/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fallocate(2): allocate, punch, zero, collapse, insert.
 *
 *   0, KEEP_SIZE    holes of the range become unwritten extents, in parts; then the size moves
 *   PUNCH_HOLE      whole blocks leave the map (range_op.c); what is left of the range at its two
 *                   ends is zeroed in place
 *   ZERO_RANGE      holes are allocated; then whole blocks become unwritten and the size moves; ends
 *                   as above
 *   COLLAPSE_RANGE  the range's blocks leave the map, and what is behind moves down (shift_op.c)
 *   INSERT_RANGE    what is behind the offset moves up; the range is a hole
 *
 * The range is held exclusively throughout, up to the end of everything where the size may move.
 */
#include "fs/mapped.h"
#include "fs/range_op.h"
#include "fs/resize.h"

#include <errno.h>
#include <linux/falloc.h>

#define ALLOCATE_PIECES 64u

struct allocation {
    struct fs *fs;
    const struct fs_request *rq;
    const struct fs_handle *handle;
    struct inode *inode;
    uint64_t offset, end; /* bytes */
    uint64_t size;        /* before the call */
    bool kill_suidgid;
    bool for_zero;        /* nothing of it shows yet but blocks */
    bool pinned;          /* some of the range is mapped and stays so */
    const uint64_t *user; /* of fs_shift; NULL: nobody keeps pages */
};

static uint64_t block_down(uint64_t offset)
{
    return offset >> DXF_BLOCK_SHIFT;
}

/* ---- allocate ----------------------------------------------------------------------------------- */

/* Fills holes from *at on until the transaction is full; *at moves to where it stopped. */
static int fill_holes(struct allocation *all, struct txn *txn, struct dxf_inode *record,
                      uint64_t *at, uint64_t end)
{
    struct meta *meta = all->fs->meta;
    uint64_t goal = 0;

    for (unsigned i = 0; *at < end && i < ALLOCATE_PIECES; i++) {
        struct space_request request;
        struct space_extent got;
        struct extent extent;
        int r;

        r = extent_lookup(meta, txn, all->inode->ino, record, *at, &extent);
        if (r < 0)
            return r;
        if (extent.physical) {
            *at = extent.logical + extent.length;
            goal = extent.physical + extent.length;
            continue;
        }
        if (!txn_has_room(txn, 4096))
            return 0;
        request = (struct space_request){ .goal = goal, .want = end - *at, .logical = *at };
        if (request.want > extent.logical + extent.length - *at)
            request.want = extent.logical + extent.length - *at;
        if (request.want > DXF_EXTENT_LENGTH_MAX)
            request.want = DXF_EXTENT_LENGTH_MAX;
        r = space_alloc(txn, &request, &got);
        if (r < 0)
            return r;
        extent = (struct extent){
            .logical = *at, .physical = got.start, .length = got.count, .unwritten = true
        };
        r = extent_insert(meta, txn, all->inode->ino, record, &extent);
        if (r < 0)
            return r;
        *at += got.count;
        goal = got.start + got.count;
    }
    return 0;
}

/* One transaction of filling; *ret_done: none is needed after it. */
static int allocate_step(struct allocation *all, uint64_t *at, bool keep_size, bool *ret_done)
{
    uint64_t end = blocks_up(all->end);
    struct dxf_inode *record;
    bool stored = false, done;
    uint64_t next = *at;
    struct txn txn;
    int r;

    txn_begin(&txn, all->fs->space);
    rwlock_write(&all->inode->map_lock);
    record = inode_edit(all->fs->meta, &txn, all->inode->ino);
    r = record ? privileges_drop(all->fs, &txn, all->inode->ino, record,
                                 all->kill_suidgid && !all->for_zero)
               : -ENOMEM;
    /* What growth uncovers was allocated before, if it is written; new extents are not. */
    if (r == 0 && !keep_size && all->end > le64_get(record->size))
        r = resize_zero_bytes(all->fs, all->inode, record, le64_get(record->size), all->end,
                              &stored);
    if (r == 0)
        r = fill_holes(all, &txn, record, &next, end);
    done = next >= end;
    if (r == 0 && done) {
        if (stored)
            txn_data_written(&txn);
        if (!keep_size && all->end > le64_get(record->size)) {
            record->size = le64_make(all->end);
            record->mtime = le64_make((uint64_t)meta_now());
        }
        if (!all->for_zero)
            record_set_ctime(record, meta_now());
    }
    if (r == 0)
        r = txn_commit(&txn, NULL);
    else
        txn_abort(&txn);
    rwlock_write_release(&all->inode->map_lock);
    if (r == 0) {
        *at = next;
        *ret_done = done;
    }
    return r;
}

static int allocate(struct allocation *all, bool keep_size)
{
    uint64_t at = block_down(all->offset), reaped = atomic_load(&all->fs->reaped);
    bool done = false;
    int r = 0;

    /* Steps that were made already are not undone by -EAGAIN, and find nothing to do when the call is
     * made again. */
    while (r == 0 && !done) {
        r = allocate_step(all, &at, keep_size, &done);
        if (r == -ENOSPC)
            r = reaper_relieve(all->fs, all->rq, &reaped);
    }
    return r;
}

/* ---- punch and zero ------------------------------------------------------------------------------ */

/* Zeroes the bytes of the range that do not fill a block, and what lies between the old EOF and the
 * range if the size moves, and fences them: a transaction follows, or none. */
static int zero_ends(struct allocation *all, bool keep_size)
{
    uint64_t inner = blocks_up(all->offset) << DXF_BLOCK_SHIFT;
    uint64_t outer = block_down(all->end) << DXF_BLOCK_SHIFT;
    const struct dxf_inode *record;
    bool stored = false;
    int r;

    rwlock_read(&all->inode->map_lock);
    r = inode_view(all->fs->meta, NULL, all->inode->ino, &record);
    if (r == 0 && inner > outer) {
        r = resize_zero_bytes(all->fs, all->inode, record, all->offset, all->end, &stored);
    } else if (r == 0) {
        r = resize_zero_bytes(all->fs, all->inode, record, all->offset, inner, &stored);
        if (r == 0)
            r = resize_zero_bytes(all->fs, all->inode, record, outer, all->end, &stored);
    }
    if (r == 0 && !keep_size && all->offset > all->size)
        r = resize_zero_bytes(all->fs, all->inode, record, all->size, all->offset, &stored);
    rwlock_read_release(&all->inode->map_lock);
    if (r == 0 && all->pinned)
        r = take_zero_pinned(all->fs, all->inode, all->offset, all->end, &stored);
    if (r == 0 && stored)
        r = pool_drain(all->fs->pool);
    return r;
}

static int take_blocks(struct allocation *all, enum dxf_intent_kind kind, bool keep_size)
{
    uint64_t first = blocks_up(all->offset), end = block_down(all->end);
    struct range_op_entry entry = { .kill_suidgid = all->kill_suidgid };
    int r;

    if (!keep_size && all->end > all->size)
        entry.size = all->end;
    all->pinned = take_pinned(all->fs, all->inode, block_down(all->offset), blocks_up(all->end));
    r = zero_ends(all, keep_size);
    if (r == 0)
        r = range_op_run(all->fs, all->inode, kind, first, end > first ? end - first : 0, &entry);
    return r;
}

/* First what can fail for want of space; what shows is in one transaction, or under an intent. */
static int zero_range(struct allocation *all, bool keep_size)
{
    int r;

    all->for_zero = true;
    r = allocate(all, true);
    return r < 0 ? r : take_blocks(all, DXF_INTENT_ZERO, keep_size);
}

/* ---- collapse and insert --------------------------------------------------------------------------- */

#define SHIFTS (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)

/* What is past EOF moves along. An extent there that has no room left to move, -EFBIG, is -EINVAL for
 * the caller, whose file need not be large. */
static int shift(struct allocation *all, int mode)
{
    bool collapse = mode & FALLOC_FL_COLLAPSE_RANGE;
    uint64_t length = all->end - all->offset, reaped = atomic_load(&all->fs->reaped);
    struct range_op_entry entry = { .kill_suidgid = all->kill_suidgid };
    struct stale *stale = NULL;
    int r;

    if (!collapse && length > DXF_FILE_SIZE_MAX - all->size)
        return -EFBIG;
    if (collapse ? all->end >= all->size : all->offset >= all->size)
        return -EINVAL;
    entry.size = collapse ? all->size - length : all->size + length;
    r = take_whole(all->fs, all->inode, block_down(all->offset), EXTENT_LOGICAL_END);
    if (r == 0)
        r = settle_before_shift(all->fs, all->inode, all->size);
    if (r < 0)
        return r;
    if (all->user)
        r = stale_begin(all->fs, all->handle, all->offset, *all->user, &stale);
    if (r < 0)
        return r;
    do {
        r = range_op_run(all->fs, all->inode, collapse ? DXF_INTENT_COLLAPSE : DXF_INTENT_INSERT,
                         block_down(all->offset), block_down(length), &entry);
        if (r != -ENOSPC)
            break;
        r = reaper_relieve(all->fs, all->rq, &reaped);
    } while (r == 0);
    if (stale)
        stale_moved(all->fs, stale, r == 0);
    return r == -EFBIG ? -EINVAL : r;
}

/* From where on it holds the file: see shift_op.c, S1. */
static uint64_t lock_from(uint64_t offset, int mode)
{
    return (mode & FALLOC_FL_INSERT_RANGE) && offset > 0 ? offset - 1 : offset;
}

/* ---- the call ------------------------------------------------------------------------------------- */

static int check_file(struct fs *fs, struct inode *inode, int mode)
{
    const struct dxf_inode *record;
    int r;

    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, inode->ino, &record);
    if (r == 0 && !record_is_regular(record))
        r = record_is_dir(record) ? -EISDIR : -ENODEV;
    if (r == 0)
        r = record_may_change(record, mode & ~FALLOC_FL_KEEP_SIZE);
    rwlock_read_release(&inode->map_lock);
    return r;
}

static int run_ranged(struct allocation *all, int mode)
{
    bool keep_size = mode & FALLOC_FL_KEEP_SIZE;
    int r;

    if (mode & FALLOC_FL_PUNCH_HOLE)
        r = take_blocks(all, DXF_INTENT_PUNCH, true);
    else if (mode & FALLOC_FL_ZERO_RANGE)
        r = zero_range(all, keep_size);
    else if (mode & SHIFTS)
        r = shift(all, mode);
    else
        r = allocate(all, keep_size);
    return r;
}

static int fallocate_or_shift(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle,
                              int mode, uint64_t offset, uint64_t length, const uint64_t *user)
{
    struct allocation all = {
        .fs = fs,
        .rq = rq,
        .handle = handle,
        .inode = handle->inode,
        .offset = offset,
        .user = user,
        /* The protocol has no flag for it here; the superuser keeps set-ID bits, as CAP_FSETID would. */
        .kill_suidgid = rq && rq->uid != 0,
    };
    struct range_node node;
    int r;

    switch (mode) {
    case 0:
    case FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_ZERO_RANGE:
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_COLLAPSE_RANGE:
    case FALLOC_FL_INSERT_RANGE:
        break;
    default:
        return -EOPNOTSUPP;
    }
    if (length == 0 || offset > INT64_MAX || length > INT64_MAX)
        return -EINVAL;
    if (offset > DXF_FILE_SIZE_MAX || length > DXF_FILE_SIZE_MAX - offset)
        return -EFBIG;
    all.end = offset + length;
    r = fs_may_change(fs);
    if (r == 0)
        r = check_file(fs, all.inode, mode);
    if (r == 0 && (mode & SHIFTS) && (offset | length) % DXF_BLOCK_SIZE != 0)
        r = -EINVAL;
    if (r == 0)
        r = resize_lock_to_take(fs, rq, all.inode, lock_from(offset, mode), &node, &all.size);
    if (r < 0)
        return r;
    r = run_ranged(&all, mode);
    range_lock_release(&all.inode->ranges, &node);
    return r;
}

int fs_fallocate(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle, int mode,
                 uint64_t offset, uint64_t length)
{
    return fallocate_or_shift(fs, rq, handle, mode, offset, length, NULL);
}

int fs_shift(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle, int mode,
             uint64_t offset, uint64_t length, uint64_t user)
{
    if (mode != FALLOC_FL_COLLAPSE_RANGE && mode != FALLOC_FL_INSERT_RANGE)
        return -EOPNOTSUPP;
    return fallocate_or_shift(fs, rq, handle, mode, offset, length, &user);
}
