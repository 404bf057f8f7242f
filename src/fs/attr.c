/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes: getattr, setattr, inode flags, symlink targets, access times.
 */
#include "fs/mapped.h"

#include "fs/resize.h"
#include "meta/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NSEC 1000000000ll
#define RELATIME_NSEC (24 * 3600 * NSEC)

int fs_getattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, struct fs_attr *ret_attr)
{
    struct inode *inode;
    int r;

    /* The map lock is held for one commit at most: no wait worth limiting. */
    r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    if (dax_written_by_others(&fs->dax, &inode->dax, rq ? rq->door : NULL))
        mapping_touch(fs, inode);
    r = attr_read(fs, inode, ret_attr);
    inode_put(fs, inode);
    return r;
}

static int check_setattr(const struct dxf_inode *record, unsigned mask)
{
    uint32_t flags = le32_get(record->flags);

    if (flags & DXF_FLAG_IMMUTABLE)
        return -EPERM;
    /* An append-only object's times may become now, and nothing else may change. */
    if ((flags & DXF_FLAG_APPEND) &&
        ((mask & (FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_SIZE)) ||
         ((mask & FS_SET_ATIME) && !(mask & FS_SET_ATIME_NOW)) ||
         ((mask & FS_SET_MTIME) && !(mask & FS_SET_MTIME_NOW))))
        return -EPERM;
    return 0;
}

static int stage_mode(struct fs *fs, struct txn *txn, const struct fs_request *rq, uint64_t ino,
                      const struct fs_attr *attr, struct dxf_inode *record)
{
    uint32_t mode = (record_mode(record) & S_IFMT) | (attr->mode & 07777);

    if (!rq->in_group && !S_ISDIR(mode))
        mode &= ~(uint32_t)S_ISGID;
    record->mode = le16_make((uint16_t)mode);
    return acl_chmod(fs, txn, ino, record);
}

struct attr_change {
    const struct fs_request *rq;
    const struct fs_attr *attr;
    unsigned mask;
};

/* Everything but the size. */
static int stage_attr(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record,
                      void *arg)
{
    const struct attr_change *change = arg;
    const struct fs_attr *attr = change->attr;
    unsigned mask = change->mask;
    int64_t now = meta_now();
    int r;

    r = check_setattr(record, mask);
    if (r < 0)
        return r;
    if (mask & FS_SET_UID)
        record->uid = le32_make(attr->uid);
    if (mask & FS_SET_GID)
        record->gid = le32_make(attr->gid);
    if ((mask & (FS_SET_UID | FS_SET_GID)) && !record_is_dir(record))
        r = privileges_drop(fs, txn, ino, record, true);
    else if (mask & FS_KILL_SUIDGID)
        record_kill_suidgid(record);
    if (r == 0 && (mask & FS_SET_MODE))
        r = stage_mode(fs, txn, change->rq, ino, attr, record);
    if (mask & (FS_SET_ATIME | FS_SET_ATIME_NOW))
        record->atime = le64_make((uint64_t)(mask & FS_SET_ATIME_NOW ? now : attr->atime));
    if (mask & (FS_SET_MTIME | FS_SET_MTIME_NOW))
        record->mtime = le64_make((uint64_t)(mask & FS_SET_MTIME_NOW ? now : attr->mtime));
    record_set_ctime(record, mask & FS_SET_CTIME ? attr->ctime : now);
    return r;
}

/* inode_change, with the name lock held. */
static int change_locked(struct fs *fs, const struct fs_request *rq, struct inode *inode,
                         record_stage stage, void *arg)
{
    uint64_t reaped = atomic_load(&fs->reaped);
    struct dxf_inode *record;
    struct txn txn;
    int r;

    do {
        txn_begin(&txn, fs->space);
        rwlock_write(&inode->map_lock);
        record = inode_edit(fs->meta, &txn, inode->ino);
        r = record ? stage(fs, &txn, inode->ino, record, arg) : -ENOMEM;
        if (r == 0)
            r = txn_commit(&txn, NULL);
        else
            txn_abort(&txn);
        rwlock_write_release(&inode->map_lock);
    } while (r == -ENOSPC && (r = reaper_relieve(fs, rq, &reaped)) == 0);
    return r;
}

int inode_change(struct fs *fs, const struct fs_request *rq, uint64_t ino, record_stage stage,
                 void *arg)
{
    struct inode *inode;
    int r;

    r = fs_may_change(fs);
    if (r == 0)
        r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    r = rwlock_write_wait(&inode->name_lock, request_wait(rq));
    if (r == 0) {
        r = change_locked(fs, rq, inode, stage, arg);
        rwlock_write_release(&inode->name_lock);
    }
    inode_put(fs, inode);
    return r;
}

static int check_size(struct fs *fs, struct inode *inode, const struct fs_attr *attr)
{
    const struct dxf_inode *record;
    int r;

    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, inode->ino, &record);
    if (r == 0)
        r = check_setattr(record, FS_SET_SIZE);
    if (r == 0 && record_is_dir(record))
        r = -EISDIR;
    else if (r == 0 && !record_is_regular(record))
        r = -EINVAL;
    rwlock_read_release(&inode->map_lock);
    if (r == 0 && attr->size > DXF_FILE_SIZE_MAX)
        r = -EFBIG;
    return r;
}

int fs_setattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, const struct fs_attr *attr,
               unsigned mask, struct fs_attr *ret_attr)
{
    struct attr_change change = { .rq = rq, .attr = attr, .mask = mask };
    struct inode *inode;
    int r;

    r = fs_may_change(fs);
    if (r == 0)
        r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    r = rwlock_write_wait(&inode->name_lock, request_wait(rq));
    if (r < 0)
        goto put;
    if (mask & FS_SET_SIZE) {
        r = check_size(fs, inode, attr);
        if (r == 0)
            r = resize_truncate(fs, rq, inode, attr->size, mask & FS_KILL_SUIDGID);
        change.mask &= ~(unsigned)(FS_SET_SIZE | FS_KILL_SUIDGID);
    }
    if (r == 0 && change.mask != 0)
        r = change_locked(fs, rq, inode, stage_attr, &change);
    if (r == 0)
        r = attr_read(fs, inode, ret_attr);
    rwlock_write_release(&inode->name_lock);
put:
    inode_put(fs, inode);
    return r;
}

static int stage_flags(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record,
                       void *arg)
{
    const uint32_t *flags = arg;

    (void)fs;
    (void)txn;
    (void)ino;
    if (!record_is_regular(record) && !record_is_dir(record))
        return -EOPNOTSUPP;
    record->flags = le32_make((le32_get(record->flags) & ~DXF_FLAGS_USER) | *flags);
    record_set_ctime(record, meta_now());
    return 0;
}

int fs_setflags(struct fs *fs, const struct fs_request *rq, uint64_t ino, uint32_t flags)
{
    if (flags & ~DXF_FLAGS_USER)
        return -EOPNOTSUPP;
    return inode_change(fs, rq, ino, stage_flags, &flags);
}

/* ---- access times: relatime ------------------------------------------------------------------- */

bool atime_is_due(const struct fs *fs, const struct dxf_inode *record, int64_t now)
{
    int64_t atime = inode_time(record->atime);

    if (fs->noatime || fs_may_change(fs) < 0 || (le32_get(record->flags) & DXF_FLAG_NOATIME))
        return false;
    return atime <= inode_time(record->mtime) || atime <= inode_time(record->ctime) ||
           now - atime >= RELATIME_NSEC;
}

void atime_touch(struct fs *fs, struct inode *inode)
{
    struct dxf_inode *record;
    struct txn txn;
    int64_t now;

    rwlock_write(&inode->map_lock);
    now = meta_now(); /* here, so that of two readers the later one has the later time */
    if (inode_store_times(fs->meta, inode->ino, INODE_ATIME, now)) {
        rwlock_write_release(&inode->map_lock);
        (void)pool_drain(fs->pool);
        return;
    }
    txn_begin(&txn, fs->space);
    record = inode_edit(fs->meta, &txn, inode->ino);
    if (record)
        record->atime = le64_make((uint64_t)now);
    /* A read has succeeded whatever becomes of its time. */
    if (record)
        (void)txn_commit(&txn, NULL);
    else
        txn_abort(&txn);
    rwlock_write_release(&inode->map_lock);
}

/* ---- symlinks --------------------------------------------------------------------------------- */

static int target_copy(struct fs *fs, const struct inode *inode, const struct dxf_inode *record,
                       char **ret_target)
{
    uint64_t size = le64_get(record->size);
    uint32_t length;
    void *bytes;
    char *target;
    int r;

    if (!S_ISLNK(record_mode(record)))
        return -EINVAL;
    if (record->layout == DXF_LAYOUT_SYMLINK) {
        target = strndup(record->target, size);
        if (!target)
            return -ENOMEM;
        *ret_target = target;
        return 0;
    }
    r = chain_read(fs->meta, NULL, inode->ino, le64_get(record->tree.root), DXF_SYMLINK_MAX, &bytes,
                   &length, NULL);
    if (r < 0)
        return r;
    if (length != size) {
        free(bytes);
        return meta_damaged(fs->meta, "symlink", inode->ino, inode->ino,
                            "its target is not as long as its size");
    }
    target = strndup(bytes, length);
    free(bytes);
    if (!target)
        return -ENOMEM;
    *ret_target = target;
    return 0;
}

int fs_readlink(struct fs *fs, const struct fs_request *rq, uint64_t ino, char **ret_target)
{
    const struct dxf_inode *record;
    struct inode *inode;
    bool touch = false;
    int r;

    r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, ino, &record);
    if (r == 0)
        r = target_copy(fs, inode, record, ret_target);
    if (r == 0 && !rq->noatime)
        touch = atime_is_due(fs, record, meta_now());
    rwlock_read_release(&inode->map_lock);
    if (touch)
        atime_touch(fs, inode);
    inode_put(fs, inode);
    return r;
}
