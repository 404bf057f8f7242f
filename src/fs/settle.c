/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When a mapping is gone: what take-aways left in its chunk, because it was there, goes now.
 *
 *   blocks that are all zero   become holes
 *   blocks past EOF            are given back; until the last of the file's the inode is an orphan, so
 *                              that recovery finishes this. Those of other chunks, which somebody
 *                              has allocated there, stay
 *
 * A thread of its own does it, the settler: it wants the range, and whoever ends a mapping must wait for
 * no range. A mapping that has something to settle is its own entry in the settler's queue, with its
 * reference to the inode. While another mapping of the chunk lives, the work is that one's.
 */
#include "fs/mapped.h"
#include "fs/resize.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How long the settler waits for one range before it looks after others. */
#define SETTLE_WAIT_NS 50000000
/* How often it asks about doors in quarantine. */
#define QUARANTINE_LOOK_NS 200000000

static const uint8_t zeros[DXF_BLOCK_SIZE];

/* ---- the end of a mapping ---------------------------------------------------------------------- */

void mapping_touch(struct fs *fs, struct inode *inode)
{
    struct dxf_inode *record;
    int64_t now = meta_now();
    struct txn txn;
    int r = 0;

    if (fs_may_change(fs) < 0)
        return;
    txn_begin(&txn, fs->space);
    rwlock_write(&inode->map_lock);
    if (inode_store_times(fs->meta, inode->ino, INODE_MTIME | INODE_CTIME, now)) {
        txn_abort(&txn);
        r = pool_drain(fs->pool);
    } else {
        record = inode_edit(fs->meta, &txn, inode->ino);
        if (record)
            record_set_mctime(record, now);
        r = txn_commit(&txn, NULL);
    }
    rwlock_write_release(&inode->map_lock);
    if (r < 0)
        log_warn("inode %llu: the times of stores through a mapping could not be kept: %s",
                 (unsigned long long)inode->ino, strerror(-r));
}

static void settler_add(struct fs *fs, struct mapping *mapping)
{
    pthread_mutex_lock(&fs->settle_mutex);
    mapping->next = fs->settle_first;
    fs->settle_first = mapping;
    pthread_cond_signal(&fs->settle_more);
    pthread_mutex_unlock(&fs->settle_mutex);
}

void mapping_flush(struct fs *fs, uint64_t piece)
{
    persist_flush(fs->pool->persist, pool_at(fs->pool, piece), DAX_CHUNK_SIZE, PERSIST_DATA);
}

/* Who stored here and calls fsync later finds no mapping any more that fsync would flush: so it is done
 * while it is still found. */
void mapping_ends(void *arg, const struct mapping *mapping)
{
    struct fs *fs = arg;

    mapping_flush(fs, mapping->offset);
    (void)pool_drain(fs->pool);
}

void mapping_gone(void *arg, struct mapping *mapping)
{
    struct fs *fs = arg;
    struct inode *inode = mapping->owner;

    if (mapping->write)
        mapping_touch(fs, inode);
    if (mapping->unsettled) {
        settler_add(fs, mapping);
        return;
    }
    free(mapping);
    inode_put(fs, inode);
}

/* ---- settling ----------------------------------------------------------------------------------- */

/* Takes [first, end) out of the map; it reads as zeros before and after. */
static int make_hole(struct fs *fs, struct inode *inode, uint64_t first, uint64_t end)
{
    uint64_t left = end - first;
    int r = 0;

    while (r == 0 && left > 0) {
        struct dxf_inode *record;
        struct txn txn;

        txn_begin(&txn, fs->space);
        txn.use_reserve = true;
        rwlock_write(&inode->map_lock);
        record = inode_edit(fs->meta, &txn, inode->ino);
        r = record ? extent_remove(fs->meta, &txn, inode->ino, record, first, left, CHUNK_BLOCKS, 0,
                                   &left)
                   : -ENOMEM;
        if (r == 0)
            r = txn_commit(&txn, NULL);
        else
            txn_abort(&txn);
        rwlock_write_release(&inode->map_lock);
    }
    return r;
}

static bool block_is_zero(struct fs *fs, uint64_t block)
{
    return memcmp(pool_block(fs->pool, block), zeros, sizeof(zeros)) == 0 &&
           !pool_range_is_bad(fs->pool, block << DXF_BLOCK_SHIFT, DXF_BLOCK_SIZE);
}

/* The next run of [*first, end) of written blocks that are all zero: [*first, *ret_stop). */
static int find_zeros(struct fs *fs, struct inode *inode, uint64_t end, uint64_t *first,
                      uint64_t *ret_stop)
{
    const struct dxf_inode *record;
    uint64_t at = *first, run = UINT64_MAX;
    int r;

    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, inode->ino, &record);
    while (r == 0 && at < end) {
        struct extent extent;
        bool zero;

        r = extent_lookup(fs->meta, NULL, inode->ino, record, at, &extent);
        if (r < 0)
            break;
        zero = extent.physical && !extent.unwritten &&
               block_is_zero(fs, extent.physical + (at - extent.logical));
        if (zero && run == UINT64_MAX)
            run = at;
        if (!zero && run != UINT64_MAX)
            break;
        at = extent.physical && !extent.unwritten ? at + 1 : extent.logical + extent.length;
    }
    rwlock_read_release(&inode->map_lock);
    *first = run == UINT64_MAX ? end : run;
    *ret_stop = at < end ? at : end;
    return r;
}

/* Also one without links, which may be given a name. */
static bool is_orphan(struct fs *fs, struct inode *inode)
{
    const struct dxf_inode *record;
    bool orphan;

    rwlock_read(&inode->map_lock);
    orphan = inode_view(fs->meta, NULL, inode->ino, &record) == 0 && le32_get(record->orphan) != 0;
    rwlock_read_release(&inode->map_lock);
    return orphan;
}

int settle_before_shift(struct fs *fs, struct inode *inode, uint64_t size)
{
    return is_orphan(fs, inode) ? inode_trim(fs, inode, blocks_up(size)) : 0;
}

/* Whether there is something else to settle of the file, now or when a mapping goes. */
static bool has_more(struct fs *fs, struct inode *inode)
{
    bool more = dax_next(&fs->dax, &inode->dax, 0, UINT64_MAX, DAX_UNSETTLED, NULL) != UINT64_MAX;

    pthread_mutex_lock(&fs->settle_mutex);
    for (struct mapping *other = fs->settle_first; other && !more; other = other->next)
        more = other->owner == inode;
    pthread_mutex_unlock(&fs->settle_mutex);
    return more;
}

/* The chunk's range, and all behind EOF, is held exclusively. */
static int settle_ranged(struct fs *fs, struct inode *inode, uint64_t chunk, uint64_t size)
{
    uint64_t eof = blocks_up(size);
    uint64_t at = chunk * CHUNK_BLOCKS, last = at + CHUNK_BLOCKS, stop;
    uint64_t end = last < eof ? last : eof > at ? eof : at;
    int r = 0;

    if (end < last)
        r = make_hole(fs, inode, end, last);
    while (r == 0 && at < end) {
        r = find_zeros(fs, inode, end, &at, &stop);
        if (r == 0 && at < end)
            r = make_hole(fs, inode, at, stop);
        at = stop;
    }
    if (r == 0 && is_orphan(fs, inode) && !has_more(fs, inode))
        r = inode_trim(fs, inode, EXTENT_LOGICAL_END);
    return r;
}

/* -EAGAIN, -ETIMEDOUT: not now. */
static int settle(struct fs *fs, struct mapping *mapping, const struct fs_request *rq)
{
    struct inode *inode = mapping->owner;
    uint64_t chunk = mapping->node.start, size;
    struct range_node node;
    int r;

    r = resize_lock_to_end(fs, rq, inode, chunk << DAX_CHUNK_SHIFT, &node, &size);
    if (r == -EAGAIN || r == -ETIMEDOUT)
        return r;
    if (r < 0)
        goto failed;
    if (dax_next(&fs->dax, &inode->dax, chunk, chunk + 1, DAX_ANY, NULL) != UINT64_MAX)
        dax_unsettle(&fs->dax, &inode->dax, chunk, chunk + 1);
    else if (fs_may_change(fs) == 0)
        r = settle_ranged(fs, inode, chunk, size);
    range_lock_release(&inode->ranges, &node);
    /* A short file got a whole piece to be mapped. */
    if (r == 0)
        inode_retract(fs, inode, true);
failed:
    if (r < 0)
        log_warn("inode %llu: what mappings kept could not be given back: %s",
                 (unsigned long long)inode->ino, strerror(-r));
    return 0;
}

/* ---- the settler -------------------------------------------------------------------------------- */

/* settle_mutex is held, as in what follows. */
static void wait_for_more(struct fs *fs)
{
    struct timespec deadline = clock_after(QUARANTINE_LOOK_NS);

    if (fs->quarantined)
        pthread_cond_clockwait(&fs->settle_more, &fs->settle_mutex, CLOCK_MONOTONIC, &deadline);
    else
        pthread_cond_wait(&fs->settle_more, &fs->settle_mutex);
}

/* However much there is to settle. */
static void look_at_quarantine(struct fs *fs, struct timespec *next)
{
    if (!fs->quarantined || !clock_is_past(next))
        return;
    quarantine_look(fs);
    *next = clock_after(QUARANTINE_LOOK_NS);
}

static void *settler_main(void *arg)
{
    struct timespec next_look = { 0 };
    struct fs *fs = arg;

    pthread_mutex_lock(&fs->settle_mutex);
    for (;;) {
        struct mapping *mapping;
        struct timespec deadline;
        int r;

        look_at_quarantine(fs, &next_look);
        mapping = fs->settle_first;
        if (!mapping) {
            if (fs->settle_stop)
                break;
            wait_for_more(fs);
            continue;
        }
        fs->settle_first = mapping->next;
        fs->settle_busy = true;
        pthread_mutex_unlock(&fs->settle_mutex);
        deadline = clock_after(SETTLE_WAIT_NS);
        r = settle(fs, mapping,
                   &(struct fs_request){ .wait = &(struct lock_wait){ .deadline = &deadline } });
        if (r == 0) {
            inode_put(fs, mapping->owner);
            free(mapping);
        }
        pthread_mutex_lock(&fs->settle_mutex);
        if (r < 0) {
            struct mapping **last = &fs->settle_first;

            while (*last)
                last = &(*last)->next;
            mapping->next = NULL;
            *last = mapping;
        }
        fs->settle_busy = false;
        pthread_cond_broadcast(&fs->settle_done);
    }
    pthread_mutex_unlock(&fs->settle_mutex);
    return NULL;
}

void settler_init(struct fs *fs)
{
    pthread_mutex_init(&fs->settle_mutex, NULL);
    pthread_cond_init(&fs->settle_more, NULL);
    pthread_cond_init(&fs->settle_done, NULL);
}

int settler_start(struct fs *fs)
{
    int r;

    if (fs->read_only)
        return 0;
    r = pthread_create(&fs->settler, NULL, settler_main, fs);
    if (r != 0)
        return -r;
    fs->settler_running = true;
    return 0;
}

void settler_drain(struct fs *fs)
{
    pthread_mutex_lock(&fs->settle_mutex);
    while (fs->settler_running && (fs->settle_first || fs->settle_busy))
        pthread_cond_wait(&fs->settle_done, &fs->settle_mutex);
    pthread_mutex_unlock(&fs->settle_mutex);
}

void fs_settle(struct fs *fs)
{
    settler_drain(fs);
}

void settler_stop(struct fs *fs)
{
    if (fs->settler_running) {
        pthread_mutex_lock(&fs->settle_mutex);
        fs->settle_stop = true;
        pthread_cond_signal(&fs->settle_more);
        pthread_mutex_unlock(&fs->settle_mutex);
        pthread_join(fs->settler, NULL);
        fs->settler_running = false;
    }
    pthread_mutex_destroy(&fs->settle_mutex);
    pthread_cond_destroy(&fs->settle_more);
    pthread_cond_destroy(&fs->settle_done);
}
