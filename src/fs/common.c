/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Helpers of the operations: locking several inodes in their order, attributes, set-ID bits.
 */
#include "fs/internal.h"

#include <errno.h>
#include <sys/stat.h>

#define LOCK_SET_MAX 6u

int fs_may_change(const struct fs *fs)
{
    if (fs->read_only || atomic_load(&fs->frozen))
        return -EROFS;
    if (atomic_load_explicit(&fs->pool->failed, memory_order_relaxed))
        return -EROFS;
    return 0;
}

/* Sorts by number, drops NULL and equal ones; returns how many are left. */
static unsigned sort_set(struct inode *const inodes[], unsigned count, struct inode *sorted[])
{
    unsigned used = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned at = used;

        if (!inodes[i])
            continue;
        while (at > 0 && sorted[at - 1]->ino > inodes[i]->ino)
            at--;
        if (at > 0 && sorted[at - 1] == inodes[i])
            continue;
        for (unsigned j = used; j > at; j--)
            sorted[j] = sorted[j - 1];
        sorted[at] = inodes[i];
        used++;
    }
    return used;
}

int names_lock(const struct fs_request *rq, struct inode *const inodes[], unsigned count)
{
    struct inode *sorted[LOCK_SET_MAX];
    unsigned used = sort_set(inodes, count, sorted);

    for (unsigned i = 0; i < used; i++) {
        int r = rwlock_write_wait(&sorted[i]->name_lock, request_wait(rq));

        if (r < 0) {
            while (i-- > 0)
                rwlock_write_release(&sorted[i]->name_lock);
            return r;
        }
    }
    return 0;
}

void names_unlock(struct inode *const inodes[], unsigned count)
{
    struct inode *sorted[LOCK_SET_MAX];
    unsigned used = sort_set(inodes, count, sorted);

    while (used-- > 0)
        rwlock_write_release(&sorted[used]->name_lock);
}

void maps_lock(struct inode *const inodes[], unsigned count)
{
    struct inode *sorted[LOCK_SET_MAX];
    unsigned used = sort_set(inodes, count, sorted);

    for (unsigned i = 0; i < used; i++)
        rwlock_write(&sorted[i]->map_lock);
}

void maps_unlock(struct inode *const inodes[], unsigned count)
{
    struct inode *sorted[LOCK_SET_MAX];
    unsigned used = sort_set(inodes, count, sorted);

    while (used-- > 0)
        rwlock_write_release(&sorted[used]->map_lock);
}

void attr_fill(uint64_t ino, const struct dxf_inode *record, struct fs_attr *ret_attr)
{
    *ret_attr = (struct fs_attr){
        .ino = ino,
        .generation = le32_get(record->generation),
        .mode = le16_get(record->mode),
        .links = le32_get(record->links),
        .uid = le32_get(record->uid),
        .gid = le32_get(record->gid),
        .rdev_major = le32_get(record->rdev_major),
        .rdev_minor = le32_get(record->rdev_minor),
        .size = le64_get(record->size),
        .blocks = le64_get(record->blocks),
        .atime = inode_time(record->atime),
        .mtime = inode_time(record->mtime),
        .ctime = inode_time(record->ctime),
        .btime = inode_time(record->btime),
        .flags = le32_get(record->flags),
    };
}

int attr_read(struct fs *fs, struct inode *inode, struct fs_attr *ret_attr)
{
    const struct dxf_inode *record;
    int r;

    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, inode->ino, &record);
    if (r == 0)
        attr_fill(inode->ino, record, ret_attr);
    rwlock_read_release(&inode->map_lock);
    return r;
}

int data_check(struct fs *fs, uint64_t ino, uint64_t block, uint64_t count, bool store)
{
    if (store ? pool_blocks_claim(fs->pool, block, count)
              : pool_blocks_are_data(fs->pool, block, count))
        return 0;
    return meta_damaged(fs->meta, "data block", block, ino, "it is in use as metadata");
}

void record_kill_suidgid(struct dxf_inode *record)
{
    uint32_t mode = record_mode(record);

    if (S_ISDIR(mode))
        return;
    mode &= ~(uint32_t)S_ISUID;
    if (mode & S_IXGRP)
        mode &= ~(uint32_t)S_ISGID;
    record->mode = le16_make((uint16_t)mode);
}

int record_may_change(const struct dxf_inode *record, bool append_too)
{
    uint32_t flags = le32_get(record->flags);

    if (flags & DXF_FLAG_IMMUTABLE)
        return -EPERM;
    if (append_too && (flags & DXF_FLAG_APPEND))
        return -EPERM;
    return 0;
}
