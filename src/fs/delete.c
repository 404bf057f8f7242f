/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking away in as many transactions as it needs: the blocks past a place, or a whole inode.
 *
 * D1 While an inode has more to give back than one transaction holds, it is in the orphan table, so
 *    that recovery goes on where a crash stopped. What remains to be done is read off the extent
 *    map: there is no cursor to keep.
 * D2 An inode without links was put into the orphan table by the transaction that took its last
 *    link; the transaction that frees its number takes it out.
 */
#include "fs/mapped.h"

#include "base/clock.h"
#include "base/log.h"
#include "meta/chain.h"
#include "meta/orphan.h"
#include "meta/xattr.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Extents given back by one transaction, unless its room ends earlier. */
#define DELETE_BATCH 1024u
/* Room that deleting what is not data needs in an entry. */
#define DELETE_TAIL_BYTES 2048u
/* How often who waits for the reaper looks whether its request was given up. */
#define REAPER_LOOK_NS 50000000

static bool has_extents(const struct dxf_inode *record)
{
    return S_ISREG(record_mode(record)) &&
           (record->layout == DXF_LAYOUT_INLINE || record->layout == DXF_LAYOUT_TREE);
}

/* Everything but extents and directory blocks: it fits one transaction. */
static int release_rest(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record)
{
    struct dxf_inode last;
    uint32_t blocks;
    int r;

    if (record->layout == DXF_LAYOUT_CHAIN) {
        r = chain_free(fs->meta, txn, ino, le64_get(record->tree.root), &blocks);
        if (r < 0)
            return r;
    }
    if (S_ISDIR(record_mode(record))) {
        r = dir_release(fs->meta, txn, ino, record);
        if (r < 0)
            return r;
    }
    r = xattr_release(fs->meta, txn, ino, record);
    if (r < 0)
        return r;
    /* The number goes before the place among the orphans, as txn_lock_order wants it; that leaves
     * nothing of the record, so its place is read from a copy. */
    last = *record;
    r = inode_free(fs->meta, txn, ino);
    if (r < 0)
        return r;
    return orphan_remove(fs->meta, txn, ino, &last);
}

/* One transaction of a deletion. *ret_done: it was the last. */
static int delete_step(struct fs *fs, struct inode *inode, bool *ret_done)
{
    const struct dxf_inode *view;
    struct dxf_inode *record;
    uint64_t left = 0;
    struct txn txn;
    bool done;
    int r;

    txn_begin(&txn, fs->space);
    txn.use_reserve = true;
    rwlock_write(&inode->map_lock);
    r = inode_view(fs->meta, NULL, inode->ino, &view);
    if (r < 0)
        goto abort;
    record = inode_edit(fs->meta, &txn, inode->ino);
    if (!record) {
        r = -ENOMEM;
        goto abort;
    }
    if (has_extents(record)) {
        r = extent_remove(fs->meta, &txn, inode->ino, record, 0, EXTENT_LOGICAL_END, DELETE_BATCH,
                          0, &left);
        if (r < 0)
            goto abort;
    }
    done = left == 0 && txn_has_room(&txn, DELETE_TAIL_BYTES);
    if (done) {
        r = release_rest(fs, &txn, inode->ino, record);
        if (r < 0)
            goto abort;
    }
    r = txn_commit(&txn, NULL);
    rwlock_write_release(&inode->map_lock);
    if (r == 0)
        *ret_done = done;
    return r;

abort:
    txn_abort(&txn);
    rwlock_write_release(&inode->map_lock);
    return r;
}

int inode_delete(struct fs *fs, struct inode *inode)
{
    bool done = false;
    int r = 0;

    while (r == 0 && !done)
        r = delete_step(fs, inode, &done);
    if (r < 0)
        log_warn("inode %llu could not be deleted: %s; fsck gives its blocks back",
                 (unsigned long long)inode->ino, strerror(-r));
    return r;
}

/* One transaction of a trim of [first_block, *end), from the end on; *end moves to what is still to go. */
static int trim_step(struct fs *fs, struct inode *inode, uint64_t first_block, uint64_t *end)
{
    uint64_t left = 0, first, stop;
    struct dxf_inode *record;
    struct txn txn;
    bool pinned;
    int r;

    /* In this order: who goes in between finds the inode an orphan still, and trims it. */
    pinned = take_pins_behind(fs, inode, first_block);
    take_last_run(fs, inode, first_block, *end, &first, &stop);

    txn_begin(&txn, fs->space);
    txn.use_reserve = true;
    rwlock_write(&inode->map_lock);
    record = inode_edit(fs->meta, &txn, inode->ino);
    r = record ? 0 : -ENOMEM;
    if (r == 0 && first < stop)
        r = extent_remove(fs->meta, &txn, inode->ino, record, first, stop - first, DELETE_BATCH, 0,
                          &left);
    left += first;
    /* One that has lost its last name stays an orphan, until it is deleted (D2); and one with pins past
     * EOF until they are gone (settle.c). */
    if (r == 0)
        r = left > first_block || pinned || le32_get(record->links) == 0
                ? orphan_add(fs->meta, &txn, inode->ino, record)
                : orphan_remove(fs->meta, &txn, inode->ino, record);
    if (r == 0)
        r = txn_commit(&txn, NULL);
    else
        txn_abort(&txn);
    rwlock_write_release(&inode->map_lock);
    if (r == 0)
        *end = left;
    return r;
}

int inode_trim(struct fs *fs, struct inode *inode, uint64_t first_block)
{
    uint64_t end = EXTENT_LOGICAL_END;
    int r;

    do
        r = trim_step(fs, inode, first_block, &end);
    while (r == 0 && end > first_block);
    return r;
}

/* ---- the reaper ------------------------------------------------------------------------------ */

static bool is_small(struct fs *fs, const struct inode *inode)
{
    const struct dxf_inode *record;

    return inode_view(fs->meta, NULL, inode->ino, &record) < 0 || !has_extents(record) ||
           record->layout != DXF_LAYOUT_TREE || record->count < 2;
}

void inode_reap(struct fs *fs, struct inode *inode)
{
    if (is_small(fs, inode) || !fs->reap_running) {
        inode_delete(fs, inode);
        cache_forget_deleted(fs, inode);
        return;
    }
    pthread_mutex_lock(&fs->reap_mutex);
    inode->reap_next = fs->reap_first;
    fs->reap_first = inode;
    pthread_cond_signal(&fs->reap_more);
    pthread_mutex_unlock(&fs->reap_mutex);
}

static void *reaper_main(void *arg)
{
    struct fs *fs = arg;

    pthread_mutex_lock(&fs->reap_mutex);
    for (;;) {
        struct inode *inode = fs->reap_first;

        if (!inode) {
            if (fs->reap_stop)
                break;
            pthread_cond_wait(&fs->reap_more, &fs->reap_mutex);
            continue;
        }
        fs->reap_first = inode->reap_next;
        fs->reap_busy = true;
        pthread_mutex_unlock(&fs->reap_mutex);
        inode_delete(fs, inode);
        cache_forget_deleted(fs, inode);
        pthread_mutex_lock(&fs->reap_mutex);
        fs->reap_busy = false;
        atomic_fetch_add(&fs->reaped, 1);
        pthread_cond_broadcast(&fs->reap_done);
    }
    pthread_mutex_unlock(&fs->reap_mutex);
    return NULL;
}

void reaper_init(struct fs *fs)
{
    pthread_mutex_init(&fs->reap_mutex, NULL);
    pthread_cond_init(&fs->reap_more, NULL);
    pthread_cond_init(&fs->reap_done, NULL);
}

int reaper_start(struct fs *fs)
{
    int r;

    if (fs->read_only)
        return 0;
    r = pthread_create(&fs->reaper, NULL, reaper_main, fs);
    if (r != 0)
        return -r;
    fs->reap_running = true;
    return 0;
}

void reaper_drain(struct fs *fs)
{
    pthread_mutex_lock(&fs->reap_mutex);
    while (fs->reap_running && (fs->reap_first || fs->reap_busy))
        pthread_cond_wait(&fs->reap_done, &fs->reap_mutex);
    pthread_mutex_unlock(&fs->reap_mutex);
}

/* Under the mutex. A request that gives up is asked for now and then: this wait is rare and long. */
static int reaper_wait(struct fs *fs, const struct lock_wait *wait)
{
    struct timespec soon;

    if (wait && wait->nowait)
        return -EAGAIN;
    if (wait && wait->token && lock_token_interrupted(wait->token))
        return -EINTR;
    soon = clock_after(REAPER_LOOK_NS);
    pthread_cond_clockwait(&fs->reap_done, &fs->reap_mutex, CLOCK_MONOTONIC, &soon);
    return 0;
}

int reaper_relieve(struct fs *fs, const struct fs_request *rq, uint64_t *seen)
{
    const struct lock_wait *wait = request_wait(rq);
    int r = 0;

    pthread_mutex_lock(&fs->reap_mutex);
    while (r == 0 && atomic_load(&fs->reaped) == *seen) {
        if (!fs->reap_running || (!fs->reap_first && !fs->reap_busy))
            r = -ENOSPC;
        else
            r = reaper_wait(fs, wait);
    }
    *seen = atomic_load(&fs->reaped);
    pthread_mutex_unlock(&fs->reap_mutex);
    return r;
}

void reaper_stop(struct fs *fs)
{
    if (fs->reap_running) {
        pthread_mutex_lock(&fs->reap_mutex);
        fs->reap_stop = true;
        pthread_cond_signal(&fs->reap_more);
        pthread_mutex_unlock(&fs->reap_mutex);
        pthread_join(fs->reaper, NULL);
        fs->reap_running = false;
    }
    pthread_mutex_destroy(&fs->reap_mutex);
    pthread_cond_destroy(&fs->reap_more);
    pthread_cond_destroy(&fs->reap_done);
}
