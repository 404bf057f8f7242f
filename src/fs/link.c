/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * More names and fewer: link, unlink, rmdir.
 *
 * An inode that loses its last link goes into the orphan table by the same transaction, and is
 * deleted when its last reference is let go (cache.c, delete.c).
 */
#include "fs/internal.h"

#include "meta/orphan.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

int link_may_drop(const struct dxf_inode *dir, const struct dxf_inode *child)
{
    int r = record_may_change(dir, true);

    return r < 0 ? r : record_may_change(child, true);
}

int link_drop(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record, int64_t now)
{
    uint32_t links = le32_get(record->links);

    if (links > 0)
        links = record_is_dir(record) ? 0 : links - 1;
    record->links = le32_make(links);
    record_set_ctime(record, now);
    return links == 0 ? orphan_add(fs->meta, txn, ino, record) : 0;
}

static int remove_locked(struct fs *fs, const struct entry *entry, struct fs_name name)
{
    struct dxf_inode *dir, *child;
    const struct dxf_inode *view;
    int64_t now = meta_now();
    struct txn txn;
    int r;

    r = inode_view(fs->meta, NULL, entry->child->ino, &view);
    if (r < 0)
        return r;
    txn_begin(&txn, fs->space);
    txn.use_reserve = true;
    dir = inode_edit(fs->meta, &txn, entry->dir->ino);
    child = inode_edit(fs->meta, &txn, entry->child->ino);
    r = dir && child ? link_may_drop(dir, child) : -ENOMEM;
    if (r == 0 && record_is_dir(child) && le64_get(child->entries) != 0)
        r = -ENOTEMPTY;
    if (r == 0)
        r = dir_remove(fs->meta, &txn, entry->dir->ino, dir, dir_name(name));
    if (r == 0)
        r = link_drop(fs, &txn, entry->child->ino, child, now);
    if (r < 0) {
        txn_abort(&txn);
        return r;
    }
    record_set_mctime(dir, now);
    if (record_is_dir(child))
        dir->links = le32_make(le32_get(dir->links) - 1);
    return txn_commit(&txn, NULL);
}

static int remove_name(struct fs *fs, const struct fs_request *rq, uint64_t parent,
                       struct fs_name name, bool want_dir)
{
    struct inode *both[2];
    struct entry entry;
    int r;

    r = fs_may_change(fs);
    if (r == 0)
        r = entry_lock(fs, rq, parent, name, want_dir, &entry);
    if (r < 0)
        return r;
    if (!entry.child)
        r = -ENOENT;
    else if (want_dir && entry.found.type != DT_DIR)
        r = -ENOTDIR;
    else if (!want_dir && entry.found.type == DT_DIR)
        r = -EISDIR;
    if (r == 0) {
        both[0] = entry.dir;
        both[1] = entry.child;
        maps_lock(both, 2);
        r = remove_locked(fs, &entry, name);
        maps_unlock(both, 2);
    }
    entry_unlock(&entry);
    entry_put(fs, &entry);
    return r;
}

int fs_unlink(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name)
{
    int r = name_check(name, -EISDIR);

    return r < 0 ? r : remove_name(fs, rq, parent, name, false);
}

int fs_rmdir(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name)
{
    int r = name_check(name, name_is_dot(name) ? -EINVAL : -ENOTEMPTY);

    return r < 0 ? r : remove_name(fs, rq, parent, name, true);
}

/* The blocks past EOF that a file has for its mappings go when those have gone, or in recovery (settle.c):
 * of these it is an orphan, too. */
static int leave_orphans(struct fs *fs, struct txn *txn, struct inode *inode,
                         struct dxf_inode *record)
{
    uint64_t eof = blocks_up(le64_get(record->size));
    struct extent extent;
    int r = -ENOENT;

    if (atomic_load_explicit(&inode->was_mapped, memory_order_relaxed))
        r = extent_next(fs->meta, txn, inode->ino, record, eof, &extent);
    return r == -ENOENT ? orphan_remove(fs->meta, txn, inode->ino, record) : r;
}

static int link_locked(struct fs *fs, struct inode *inode, struct inode *dir, struct fs_name name,
                       struct fs_attr *ret_attr)
{
    struct dxf_inode *dir_record, *record;
    int64_t now = meta_now();
    struct txn txn;
    int r;

    txn_begin(&txn, fs->space);
    dir_record = inode_edit(fs->meta, &txn, dir->ino);
    record = inode_edit(fs->meta, &txn, inode->ino);
    if (!dir_record || !record)
        r = -ENOMEM;
    else if (record_is_dir(record))
        r = -EPERM;
    else
        r = record_may_change(record, true);
    if (r == 0)
        r = record_may_change(dir_record, false);
    /* No links: made by tmpfile, or about to go; then only what still has its place among the
     * orphans may be given a name. */
    if (r == 0 && le32_get(record->links) == 0 && le32_get(record->orphan) == 0)
        r = -ENOENT;
    if (r == 0 && le32_get(record->links) == UINT32_MAX)
        r = -EMLINK;
    if (r == 0)
        r = dir_insert(fs->meta, &txn, dir->ino, dir_record, dir_name(name), inode->ino,
                       (uint8_t)(record_mode(record) >> 12 & 017));
    if (r == 0 && le32_get(record->links) == 0)
        r = leave_orphans(fs, &txn, inode, record);
    if (r < 0) {
        txn_abort(&txn);
        return r;
    }
    record->links = le32_make(le32_get(record->links) + 1);
    record_set_ctime(record, now);
    record_set_mctime(dir_record, now);
    attr_fill(inode->ino, record, ret_attr);
    return txn_commit(&txn, NULL);
}

int fs_link(struct fs *fs, const struct fs_request *rq, uint64_t ino, uint64_t parent,
            struct fs_name name, struct fs_attr *ret_attr)
{
    uint64_t reaped = atomic_load(&fs->reaped);
    struct inode *both[2];
    struct inode *inode;
    struct entry entry;
    int r;

    r = fs_may_change(fs);
    if (r == 0)
        r = name_check(name, -EEXIST);
    if (r == 0)
        r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    r = entry_lock(fs, rq, parent, name, false, &entry);
    if (r < 0)
        goto put;
    if (entry.child) {
        r = -EEXIST;
    } else {
        both[0] = inode;
        both[1] = entry.dir;
        do {
            maps_lock(both, 2);
            r = link_locked(fs, inode, entry.dir, name, ret_attr);
            maps_unlock(both, 2);
        } while (r == -ENOSPC && (r = reaper_relieve(fs, rq, &reaped)) == 0);
    }
    entry_unlock(&entry);
    entry_put(fs, &entry);
    if (r == 0)
        inode_add_lookup(fs, inode);
put:
    inode_put(fs, inode);
    return r;
}
