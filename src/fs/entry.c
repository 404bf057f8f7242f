/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A name in a directory: checking it, looking it up, holding it still while it is changed.
 */
#include "fs/internal.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

bool name_is_dot(struct fs_name name)
{
    return name.length == 1 && name.bytes[0] == '.';
}

bool name_is_dotdot(struct fs_name name)
{
    return name.length == 2 && name.bytes[0] == '.' && name.bytes[1] == '.';
}

int name_check(struct fs_name name, int dots)
{
    if (name.length == 0)
        return -EINVAL;
    if (name.length > DXF_NAME_MAX)
        return -ENAMETOOLONG;
    if (memchr(name.bytes, '/', name.length) || memchr(name.bytes, '\0', name.length))
        return -EINVAL;
    if (name_is_dot(name) || name_is_dotdot(name))
        return dots;
    return 0;
}

int dir_view(struct fs *fs, const struct inode *dir, const struct dxf_inode **ret_record)
{
    const struct dxf_inode *record;
    int r;

    r = inode_view(fs->meta, NULL, dir->ino, &record);
    if (r < 0)
        return r;
    if (!record_is_dir(record))
        return -ENOTDIR;
    if (le32_get(record->links) == 0)
        return -ENOENT;
    *ret_record = record;
    return 0;
}

uint64_t dir_parent(struct inode *dir, const struct dxf_inode *record)
{
    uint64_t parent;

    rwlock_read(&dir->map_lock);
    parent = le64_get(record->parent);
    rwlock_read_release(&dir->map_lock);
    return parent;
}

/* The caller holds the directory's name lock. *ret_child stays NULL when there is no such name. */
static int entry_find(struct fs *fs, const struct inode *dir, struct fs_name name,
                      struct dir_found *ret_found)
{
    const struct dxf_inode *record;
    int r;

    r = dir_view(fs, dir, &record);
    if (r < 0)
        return r;
    *ret_found = (struct dir_found){ 0 };
    r = dir_lookup(fs->meta, NULL, dir->ino, record, dir_name(name), ret_found);
    return r == -ENOENT ? 0 : r;
}

/* Adds the child's lock. The directory is let go meanwhile when the order asks for it; *ret_same:
 * the name still stands for the child. */
static int entry_lock_child(struct fs *fs, const struct fs_request *rq, struct fs_name name,
                            struct entry *entry, bool *ret_same)
{
    struct inode *both[] = { entry->dir, entry->child };
    struct dir_found found;
    int r;

    rwlock_write_release(&entry->dir->name_lock);
    r = names_lock(rq, both, 2);
    if (r < 0)
        return r;
    r = entry_find(fs, entry->dir, name, &found);
    if (r < 0 || found.ino != entry->child->ino) {
        rwlock_write_release(&entry->child->name_lock);
        *ret_same = false;
        return 0; /* whatever it is, the next look finds it under the lock */
    }
    entry->found = found;
    entry->child_locked = true;
    *ret_same = true;
    return 0;
}

int entry_lock(struct fs *fs, const struct fs_request *rq, uint64_t dir_ino, struct fs_name name,
               bool lock_child, struct entry *ret_entry)
{
    struct entry entry = { 0 };
    bool same;
    int r;

    r = inode_get(fs, dir_ino, &entry.dir);
    if (r < 0)
        return r;
    r = rwlock_write_wait(&entry.dir->name_lock, request_wait(rq));
    if (r < 0)
        goto put;
    for (;;) {
        r = entry_find(fs, entry.dir, name, &entry.found);
        if (r < 0)
            goto unlock;
        if (entry.found.ino == 0)
            break;
        if (entry.found.ino == dir_ino) {
            r = meta_damaged(fs->meta, "directory", dir_ino, dir_ino, "it has a name in itself");
            goto unlock;
        }
        r = inode_get(fs, entry.found.ino, &entry.child);
        if (r < 0)
            goto unlock;
        if (!lock_child || entry.found.type != DT_DIR)
            break;
        r = entry_lock_child(fs, rq, name, &entry, &same);
        if (r < 0)
            goto put; /* nothing is locked any more */
        if (same)
            break;
        /* Letting go of the last reference may delete: not under the directory's lock. */
        rwlock_write_release(&entry.dir->name_lock);
        inode_put(fs, entry.child);
        entry.child = NULL;
        r = rwlock_write_wait(&entry.dir->name_lock, request_wait(rq));
        if (r < 0)
            goto put;
    }
    *ret_entry = entry;
    return 0;

unlock:
    rwlock_write_release(&entry.dir->name_lock);
put:
    entry_put(fs, &entry);
    return r;
}

void entry_unlock(struct entry *entry)
{
    if (entry->child_locked)
        rwlock_write_release(&entry->child->name_lock);
    rwlock_write_release(&entry->dir->name_lock);
}

void entry_put(struct fs *fs, struct entry *entry)
{
    inode_put(fs, entry->child);
    inode_put(fs, entry->dir);
}

int fs_lookup(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
              struct fs_attr *ret_attr)
{
    struct inode *dir, *child = NULL;
    const struct dxf_inode *record;
    struct dir_found found;
    int r;

    r = name_check(name, 0);
    if (r < 0)
        return r;
    r = inode_get(fs, parent, &dir);
    if (r < 0)
        return r;
    if (name_is_dot(name)) {
        /* Of any inode: how a door turns a file handle back into an inode. */
        child = dir;
        dir = NULL;
        goto found;
    }
    r = rwlock_read_wait(&dir->name_lock, request_wait(rq));
    if (r < 0)
        goto put;
    r = dir_view(fs, dir, &record);
    if (r == 0 && name_is_dotdot(name))
        found.ino = dir_parent(dir, record);
    else if (r == 0)
        r = dir_lookup(fs->meta, NULL, dir->ino, record, dir_name(name), &found);
    if (r == 0)
        r = inode_get(fs, found.ino, &child);
    rwlock_read_release(&dir->name_lock);
    if (r < 0)
        goto put;
found:
    r = attr_read(fs, child, ret_attr);
    /* Removed meanwhile; or a handle that outlived its file, whose last reference is still on its
     * way back. */
    if (r == 0 && ret_attr->links == 0)
        r = name_is_dot(name) ? -ESTALE : -ENOENT;
    if (r == 0)
        inode_add_lookup(fs, child);
put:
    inode_put(fs, child);
    inode_put(fs, dir);
    return r;
}

void fs_forget(struct fs *fs, uint64_t ino, uint64_t count)
{
    inode_drop_lookups(fs, ino, count);
}
