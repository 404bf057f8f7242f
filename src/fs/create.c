/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New inodes and their first name: files, directories, devices, symlinks, files without a name.
 *
 * One transaction holds the new record, its name, its ACLs and the parent's times and links; the
 * record is the parent's child from the moment of that commit and never before.
 */
#include "fs/internal.h"

#include "meta/chain.h"
#include "meta/orphan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Owner, group and mode by the rules of inode_init_owner: a directory with set-group-ID hands its
 * group down, and the bit itself to directories. */
static void set_owner(const struct fs_request *rq, const struct dxf_inode *parent_record,
                      uint32_t mode, struct dxf_inode *record)
{
    uint32_t gid = rq->gid;

    if (record_mode(parent_record) & S_ISGID) {
        gid = le32_get(parent_record->gid);
        if (S_ISDIR(mode))
            mode |= S_ISGID;
    }
    record->uid = le32_make(rq->uid);
    record->gid = le32_make(gid);
    record->mode = le16_make((uint16_t)mode);
}

static int set_target(struct fs *fs, struct txn *txn, uint64_t ino, struct fs_name target,
                      struct dxf_inode *record)
{
    uint32_t blocks;
    uint64_t head;
    int r;

    record->size = le64_make(target.length);
    if (target.length <= DXF_INLINE_BYTES) {
        record->layout = DXF_LAYOUT_SYMLINK;
        memcpy(record->target, target.bytes, target.length);
        return 0;
    }
    r = chain_write(fs->meta, txn, ino, target.bytes, (uint32_t)target.length, &head, &blocks);
    if (r < 0)
        return r;
    record->layout = DXF_LAYOUT_CHAIN;
    record->tree.root = le64_make(head);
    record->blocks = le64_make(blocks);
    return 0;
}

int new_inode_stage(struct fs *fs, struct txn *txn, const struct fs_request *rq,
                    const struct inode *parent, const struct dxf_inode *parent_record,
                    const struct new_inode *what, struct inode **ret_inode,
                    struct dxf_inode **ret_record)
{
    bool is_dir = S_ISDIR(what->mode);
    struct dxf_inode *record;
    struct inode *inode;
    int64_t now = meta_now();
    uint64_t ino;
    int r;

    r = inode_alloc(fs->meta, txn, is_dir ? 0 : parent->ino, &ino, &record);
    if (r < 0)
        return r;
    r = inode_get_new(fs, ino, &inode);
    if (r < 0)
        return r;
    set_owner(rq, parent_record, what->mode, record);
    if (S_ISREG(what->mode) || is_dir)
        record->flags = le32_make(le32_get(parent_record->flags) & DXF_FLAG_DAX);
    record->links = le32_make(is_dir ? 2 : 1);
    record->atime = record->btime = le64_make((uint64_t)now);
    record_set_mctime(record, now);
    if (is_dir)
        record->parent = le64_make(parent->ino);
    if (S_ISBLK(what->mode) || S_ISCHR(what->mode)) {
        record->rdev_major = le32_make(what->rdev_major);
        record->rdev_minor = le32_make(what->rdev_minor);
    }
    if (S_ISLNK(what->mode))
        r = set_target(fs, txn, ino, what->target, record);
    else
        r = acl_inherit(fs, txn, rq, parent->ino, parent_record, ino, record);
    if (r < 0) {
        rwlock_write_release(&inode->map_lock);
        inode_put(fs, inode);
        return r;
    }
    *ret_inode = inode;
    *ret_record = record;
    return 0;
}

/* The parent's locks are held. On success the new inode is referenced and unlocked. */
static int create_locked(struct fs *fs, const struct fs_request *rq, struct inode *parent,
                         struct fs_name name, const struct new_inode *what,
                         struct fs_attr *ret_attr, struct inode **ret_inode)
{
    const struct dxf_inode *parent_view;
    struct dxf_inode *parent_record, *record;
    struct inode *inode = NULL;
    struct txn txn;
    int r;

    r = dir_view(fs, parent, &parent_view);
    if (r == 0)
        r = record_may_change(parent_view, false);
    if (r == 0 && S_ISDIR(what->mode) && le32_get(parent_view->links) == UINT32_MAX)
        r = -EMLINK;
    if (r < 0)
        return r;

    txn_begin(&txn, fs->space);
    r = new_inode_stage(fs, &txn, rq, parent, parent_view, what, &inode, &record);
    if (r < 0)
        goto abort;
    parent_record = inode_edit(fs->meta, &txn, parent->ino);
    r = parent_record ? 0 : -ENOMEM;
    if (r == 0)
        r = dir_insert(fs->meta, &txn, parent->ino, parent_record, dir_name(name), inode->ino,
                       (uint8_t)(what->mode >> 12 & 017));
    if (r < 0)
        goto abort;
    record_set_mctime(parent_record, meta_now());
    if (S_ISDIR(what->mode))
        parent_record->links = le32_make(le32_get(parent_record->links) + 1);
    attr_fill(inode->ino, record, ret_attr);
    r = txn_commit(&txn, NULL);
    rwlock_write_release(&inode->map_lock);
    if (r < 0) {
        inode_put(fs, inode);
        return r;
    }
    inode_set_known(fs, inode);
    *ret_inode = inode;
    return 0;

abort:
    txn_abort(&txn);
    if (inode) {
        rwlock_write_release(&inode->map_lock);
        inode_put(fs, inode);
    }
    return r;
}

/* Makes and names; *ret_inode is referenced. */
static int create_node(struct fs *fs, const struct fs_request *rq, uint64_t parent,
                       struct fs_name name, const struct new_inode *what, struct fs_attr *ret_attr,
                       struct inode **ret_inode)
{
    uint64_t reaped = atomic_load(&fs->reaped);
    const struct dxf_inode *record;
    struct dir_found found;
    struct inode *dir;
    int r;

    r = fs_may_change(fs);
    if (r == 0)
        r = name_check(name, -EEXIST);
    if (r == 0)
        r = inode_get(fs, parent, &dir);
    if (r < 0)
        return r;
    r = rwlock_write_wait(&dir->name_lock, request_wait(rq));
    if (r < 0)
        goto put;
    r = dir_view(fs, dir, &record);
    if (r == 0) {
        r = dir_lookup(fs->meta, NULL, dir->ino, record, dir_name(name), &found);
        r = r == 0 ? -EEXIST : r == -ENOENT ? 0 : r;
    }
    if (r < 0)
        goto unlock;
    do {
        rwlock_write(&dir->map_lock);
        r = create_locked(fs, rq, dir, name, what, ret_attr, ret_inode);
        rwlock_write_release(&dir->map_lock);
    } while (r == -ENOSPC && (r = reaper_relieve(fs, rq, &reaped)) == 0);
unlock:
    rwlock_write_release(&dir->name_lock);
put:
    inode_put(fs, dir);
    return r;
}

static int create_looked_up(struct fs *fs, const struct fs_request *rq, uint64_t parent,
                            struct fs_name name, const struct new_inode *what,
                            struct fs_attr *ret_attr)
{
    struct inode *inode = NULL;
    int r;

    r = create_node(fs, rq, parent, name, what, ret_attr, &inode);
    if (r < 0)
        return r;
    inode_add_lookup(fs, inode);
    inode_put(fs, inode);
    return 0;
}

int fs_mknod(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
             uint32_t mode, uint32_t rdev_major, uint32_t rdev_minor, struct fs_attr *ret_attr)
{
    struct new_inode what = { .mode = mode & (S_IFMT | 07777),
                              .rdev_major = rdev_major,
                              .rdev_minor = rdev_minor };

    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        return create_looked_up(fs, rq, parent, name, &what, ret_attr);
    default:
        return -EINVAL;
    }
}

int fs_mkdir(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
             uint32_t mode, struct fs_attr *ret_attr)
{
    struct new_inode what = { .mode = S_IFDIR | (mode & 07777) };

    return create_looked_up(fs, rq, parent, name, &what, ret_attr);
}

int fs_symlink(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
               struct fs_name target, struct fs_attr *ret_attr)
{
    struct new_inode what = { .mode = S_IFLNK | 0777, .target = target };

    if (target.length == 0)
        return -ENOENT;
    if (target.length > DXF_SYMLINK_MAX)
        return -ENAMETOOLONG;
    if (memchr(target.bytes, '\0', target.length))
        return -EINVAL;
    return create_looked_up(fs, rq, parent, name, &what, ret_attr);
}

/* Another door made the file after the caller's kernel had looked. */
static int open_existing(struct fs *fs, const struct fs_request *rq, uint64_t parent,
                         struct fs_name name, int flags, struct fs_attr *ret_attr,
                         struct fs_handle **ret_handle)
{
    int r;

    r = fs_lookup(fs, rq, parent, name, ret_attr);
    if (r < 0)
        return r;
    r = S_ISREG(ret_attr->mode) ? 0 : -EEXIST;
    if (r == 0)
        r = fs_open_file(fs, rq, ret_attr->ino, flags, false, ret_handle);
    if (r < 0)
        fs_forget(fs, ret_attr->ino, 1);
    return r;
}

int fs_create(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
              uint32_t mode, int flags, struct fs_attr *ret_attr, struct fs_handle **ret_handle)
{
    struct new_inode what = { .mode = S_IFREG | (mode & 07777) };
    struct inode *inode = NULL;
    int r;

    r = create_node(fs, rq, parent, name, &what, ret_attr, &inode);
    if (r == -EEXIST && !(flags & O_EXCL))
        return open_existing(fs, rq, parent, name, flags, ret_attr, ret_handle);
    if (r < 0)
        return r;
    r = handle_make(fs, inode, flags, ret_handle);
    if (r == 0)
        inode_add_lookup(fs, inode);
    inode_put(fs, inode);
    return r;
}

/* The parent's map lock is held: for its owner rules only. */
static int tmpfile_locked(struct fs *fs, const struct fs_request *rq, struct inode *parent,
                          uint32_t mode, struct fs_attr *ret_attr, struct inode **ret_inode)
{
    struct new_inode what = { .mode = S_IFREG | (mode & 07777) };
    const struct dxf_inode *parent_view;
    struct dxf_inode *record;
    struct inode *inode;
    struct txn txn;
    int r;

    r = dir_view(fs, parent, &parent_view);
    if (r == 0)
        r = record_may_change(parent_view, false);
    if (r < 0)
        return r;
    txn_begin(&txn, fs->space);
    r = new_inode_stage(fs, &txn, rq, parent, parent_view, &what, &inode, &record);
    if (r < 0) {
        txn_abort(&txn);
        return r;
    }
    record->links = le32_make(0);
    attr_fill(inode->ino, record, ret_attr);
    r = orphan_add(fs->meta, &txn, inode->ino, record);
    if (r == 0)
        r = txn_commit(&txn, NULL);
    else
        txn_abort(&txn);
    rwlock_write_release(&inode->map_lock);
    if (r < 0) {
        inode_put(fs, inode);
        return r;
    }
    inode_set_known(fs, inode);
    *ret_inode = inode;
    return 0;
}

int fs_tmpfile(struct fs *fs, const struct fs_request *rq, uint64_t parent, uint32_t mode,
               int flags, struct fs_attr *ret_attr, struct fs_handle **ret_handle)
{
    uint64_t reaped = atomic_load(&fs->reaped);
    struct inode *dir, *inode = NULL;
    int r;

    r = fs_may_change(fs);
    if (r == 0)
        r = inode_get(fs, parent, &dir);
    if (r < 0)
        return r;
    do {
        rwlock_read(&dir->map_lock);
        r = tmpfile_locked(fs, rq, dir, mode, ret_attr, &inode);
        rwlock_read_release(&dir->map_lock);
    } while (r == -ENOSPC && (r = reaper_relieve(fs, rq, &reaped)) == 0);
    if (r < 0)
        goto put;
    r = handle_make(fs, inode, flags, ret_handle);
    if (r == 0)
        inode_add_lookup(fs, inode);
    inode_put(fs, inode);
put:
    inode_put(fs, dir);
    return r;
}
