/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inodes in memory: a hash table in shards, counted references, and the moment at which an
 * inode without links goes.
 *
 * Invariants
 * C1 An inode number has at most one entry. refs, lookups, known and dying are guarded by the lock
 *    of its shard.
 * C2 An entry with refs == 0 and lookups == 0 does not exist: whoever lets go last takes it out.
 * C3 An inode without links is deleted when its entry is let go, by exactly one thread (dying); an
 *    entry whose record never was seen in use (known) deletes nothing.
 */
#include "fs/internal.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#define CACHE_BUCKETS_MIN 16u

static struct cache_shard *shard_of(struct fs *fs, uint64_t ino)
{
    return &fs->shards[(ino * 0x9e3779b97f4a7c15ull) >> 58];
}

static struct inode **bucket_of(const struct cache_shard *shard, uint64_t ino)
{
    uint64_t hash = ino * 0x9e3779b97f4a7c15ull;

    return &shard->buckets[(hash >> 20) & (shard->size - 1)];
}

int cache_open(struct fs *fs)
{
    for (unsigned i = 0; i < FS_CACHE_SHARDS; i++) {
        struct cache_shard *shard = &fs->shards[i];

        lock_init(&shard->lock, LOCK_LEAF, i);
        shard->size = CACHE_BUCKETS_MIN;
        shard->buckets = calloc(shard->size, sizeof(*shard->buckets));
        if (!shard->buckets) {
            cache_close(fs);
            return -ENOMEM;
        }
    }
    return 0;
}

static void inode_destroy(struct inode *inode)
{
    assert(inode->dax.count == 0);
    range_lock_destroy(&inode->ranges);
    free(inode);
}

void cache_close(struct fs *fs)
{
    for (unsigned i = 0; i < FS_CACHE_SHARDS; i++) {
        free(fs->shards[i].buckets);
        fs->shards[i].buckets = NULL;
    }
}

/* A shard that can not grow goes on with longer chains. */
static void shard_grow(struct cache_shard *shard)
{
    struct cache_shard grown = { .size = shard->size * 2 };

    grown.buckets = calloc(grown.size, sizeof(*grown.buckets));
    if (!grown.buckets)
        return;
    for (uint32_t i = 0; i < shard->size; i++) {
        struct inode *inode = shard->buckets[i];

        while (inode) {
            struct inode *next = inode->next;
            struct inode **bucket = bucket_of(&grown, inode->ino);

            inode->next = *bucket;
            *bucket = inode;
            inode = next;
        }
    }
    free(shard->buckets);
    shard->buckets = grown.buckets;
    shard->size = grown.size;
}

static struct inode *shard_find(const struct cache_shard *shard, uint64_t ino)
{
    struct inode *inode = *bucket_of(shard, ino);

    while (inode && inode->ino != ino)
        inode = inode->next;
    return inode;
}

static void shard_remove(struct cache_shard *shard, struct inode *inode)
{
    struct inode **link = bucket_of(shard, inode->ino);

    while (*link != inode)
        link = &(*link)->next;
    *link = inode->next;
    shard->count--;
}

/* Finds or makes the entry and takes a reference. *ret_known: its record was seen before. */
static int entry_get(struct fs *fs, uint64_t ino, struct inode **ret_inode, bool *ret_known)
{
    struct cache_shard *shard = shard_of(fs, ino);
    struct inode *inode;

    lock_acquire(&shard->lock);
    inode = shard_find(shard, ino);
    if (inode && inode->dying) {
        lock_release(&shard->lock);
        return -ESTALE;
    }
    if (!inode) {
        struct inode **bucket;

        inode = calloc(1, sizeof(*inode));
        if (!inode) {
            lock_release(&shard->lock);
            return -ENOMEM;
        }
        inode->ino = ino;
        rwlock_init(&inode->name_lock, LOCK_INODE, ino);
        rwlock_init(&inode->map_lock, LOCK_MAP, ino);
        range_lock_init(&inode->ranges);
        if (++shard->count > shard->size)
            shard_grow(shard);
        bucket = bucket_of(shard, ino);
        inode->next = *bucket;
        *bucket = inode;
    }
    inode->refs++;
    *ret_known = inode->known;
    lock_release(&shard->lock);
    *ret_inode = inode;
    return 0;
}

static void entry_set_known(struct fs *fs, struct inode *inode)
{
    struct cache_shard *shard = shard_of(fs, inode->ino);

    lock_acquire(&shard->lock);
    inode->known = true;
    lock_release(&shard->lock);
}

int inode_get(struct fs *fs, uint64_t ino, struct inode **ret_inode)
{
    const struct dxf_inode *record;
    struct inode *inode;
    bool known;
    int r;

    if (ino < DXF_INO_FIRST && ino != DXF_INO_ROOT)
        return -ESTALE;
    r = entry_get(fs, ino, &inode, &known);
    if (r < 0)
        return r;
    if (!known) {
        rwlock_read(&inode->map_lock);
        r = inode_view(fs->meta, NULL, ino, &record);
        /* What has no links is reached through its entry or not at all: were it wanted by
         * anybody, the entry would have been there and known. */
        if (r == 0 && le32_get(record->links) == 0)
            r = -ESTALE;
        rwlock_read_release(&inode->map_lock);
        if (r < 0) {
            inode_put(fs, inode);
            return r;
        }
        entry_set_known(fs, inode);
    }
    *ret_inode = inode;
    return 0;
}

int inode_get_new(struct fs *fs, uint64_t ino, struct inode **ret_inode)
{
    struct inode *inode;
    bool known;
    int r;

    /* Between the commit that freed the number and the end of the old entry there is a moment. */
    while ((r = entry_get(fs, ino, &inode, &known)) == -ESTALE)
        sched_yield();
    if (r < 0)
        return r;
    /* The caller holds map locks of higher numbers, maybe. Who else has this one made the number
     * up, holds it for a look at the record, and waits for nobody meanwhile. */
    while (!rwlock_try_write(&inode->map_lock))
        sched_yield();
    *ret_inode = inode;
    return 0;
}

void inode_set_known(struct fs *fs, struct inode *inode)
{
    entry_set_known(fs, inode);
}

static bool has_no_links(struct fs *fs, const struct inode *inode)
{
    const struct dxf_inode *record;

    /* No reference but ours is left, and new ones wait for the shard's lock: nobody changes the
     * record now. */
    return inode_view(fs->meta, NULL, inode->ino, &record) == 0 && le32_get(record->links) == 0;
}

/* The entry is unused: takes it out, or marks it dying. Called with the shard locked. */
static bool entry_retire(struct fs *fs, struct cache_shard *shard, struct inode *inode)
{
    if (inode->known && has_no_links(fs, inode) && fs_may_change(fs) == 0) {
        inode->dying = true;
        return true;
    }
    shard_remove(shard, inode);
    return false;
}

static void entry_drop(struct fs *fs, struct inode *inode, uint32_t refs, uint64_t lookups)
{
    struct cache_shard *shard = shard_of(fs, inode->ino);
    bool unused, reap = false;

    lock_acquire(&shard->lock);
    inode->refs -= refs;
    inode->lookups -= lookups < inode->lookups ? lookups : inode->lookups;
    unused = inode->refs == 0 && inode->lookups == 0;
    if (unused)
        reap = entry_retire(fs, shard, inode);
    lock_release(&shard->lock);
    if (reap)
        inode_reap(fs, inode);
    else if (unused)
        inode_destroy(inode);
}

void inode_put(struct fs *fs, struct inode *inode)
{
    if (inode)
        entry_drop(fs, inode, 1, 0);
}

void inode_add_lookup(struct fs *fs, struct inode *inode)
{
    struct cache_shard *shard = shard_of(fs, inode->ino);

    lock_acquire(&shard->lock);
    inode->lookups++;
    lock_release(&shard->lock);
}

void inode_drop_lookups(struct fs *fs, uint64_t ino, uint64_t count)
{
    struct cache_shard *shard = shard_of(fs, ino);
    struct inode *inode;

    lock_acquire(&shard->lock);
    inode = shard_find(shard, ino);
    if (!inode || inode->dying || inode->lookups == 0) {
        lock_release(&shard->lock);
        return;
    }
    inode->refs++;
    lock_release(&shard->lock);
    entry_drop(fs, inode, 1, count);
}

void cache_forget_deleted(struct fs *fs, struct inode *inode)
{
    struct cache_shard *shard = shard_of(fs, inode->ino);

    lock_acquire(&shard->lock);
    shard_remove(shard, inode);
    lock_release(&shard->lock);
    inode_destroy(inode);
}

void cache_forget_all(struct fs *fs)
{
    for (unsigned i = 0; i < FS_CACHE_SHARDS; i++) {
        struct cache_shard *shard = &fs->shards[i];

        for (;;) {
            struct inode *inode = NULL;

            lock_acquire(&shard->lock);
            for (uint32_t b = 0; b < shard->size && !inode; b++)
                for (inode = shard->buckets[b]; inode && inode->dying; inode = inode->next)
                    ;
            if (inode)
                inode->refs++;
            lock_release(&shard->lock);
            if (!inode)
                break;
            entry_drop(fs, inode, 1, UINT64_MAX);
        }
    }
}

void cache_info(struct fs *fs, struct fs_info *info)
{
    for (unsigned i = 0; i < FS_CACHE_SHARDS; i++) {
        struct cache_shard *shard = &fs->shards[i];

        lock_acquire(&shard->lock);
        info->inodes_cached += shard->count;
        for (uint32_t b = 0; b < shard->size; b++)
            for (struct inode *inode = shard->buckets[b]; inode; inode = inode->next)
                info->lookups += inode->lookups;
        lock_release(&shard->lock);
    }
}
