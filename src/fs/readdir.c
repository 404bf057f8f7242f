/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading directories. The cookie of an entry is its hash, so it stays good however the directory
 * changes: an entry that is there throughout is seen once. Cookies 1 and 2 go on after "." and "..".
 */
#include "fs/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { COOKIE_AFTER_DOT = 1, COOKIE_AFTER_DOTDOT = 2 };

struct reading {
    struct fs *fs;
    bool lookups;
    fs_readdir_fn fn;
    void *arg;
};

/* Refers to the entry's inode for the receiver, who may not want it after all. */
static int give_with_attr(struct reading *reading, const struct fs_dirent *entry)
{
    struct inode *inode;
    struct fs_attr attr;
    int r;

    r = inode_get(reading->fs, entry->ino, &inode);
    if (r < 0)
        return reading->fn(reading->arg, entry, NULL);
    r = attr_read(reading->fs, inode, &attr);
    if (r < 0) {
        r = reading->fn(reading->arg, entry, NULL);
    } else {
        inode_add_lookup(reading->fs, inode);
        r = reading->fn(reading->arg, entry, &attr);
        if (r != 0)
            inode_drop_lookups(reading->fs, entry->ino, 1);
    }
    inode_put(reading->fs, inode);
    return r;
}

static int give_entry(void *arg, struct dir_name name, const struct dir_found *found)
{
    struct reading *reading = arg;
    struct fs_dirent entry = { .name = { name.bytes, name.length },
                               .ino = found->ino,
                               .next = found->cookie + 1,
                               .type = found->type };

    return reading->lookups ? give_with_attr(reading, &entry)
                            : reading->fn(reading->arg, &entry, NULL);
}

static int give_dot(struct reading *reading, const char *name, uint64_t ino, uint64_t next)
{
    struct fs_dirent entry = { .name = fs_name(name), .ino = ino, .next = next, .type = DT_DIR };

    return reading->fn(reading->arg, &entry, NULL);
}

static int read_locked(struct reading *reading, struct inode *dir, const struct dxf_inode *record,
                       uint64_t cookie)
{
    int r;

    if (cookie < COOKIE_AFTER_DOT) {
        r = give_dot(reading, ".", dir->ino, COOKIE_AFTER_DOT);
        if (r != 0)
            return r;
    }
    if (cookie < COOKIE_AFTER_DOTDOT) {
        r = give_dot(reading, "..", dir_parent(dir, record), COOKIE_AFTER_DOTDOT);
        if (r != 0)
            return r;
    }
    return dir_iterate(reading->fs->meta, NULL, dir->ino, record, cookie, give_entry, reading);
}

int fs_readdir(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle,
               uint64_t cookie, bool lookups, fs_readdir_fn fn, void *arg)
{
    struct reading reading = { .fs = fs, .lookups = lookups, .fn = fn, .arg = arg };
    struct inode *dir = handle->inode;
    const struct dxf_inode *record;
    bool touch = false;
    int r;

    r = rwlock_read_wait(&dir->name_lock, request_wait(rq));
    if (r < 0)
        return r;
    r = dir_view(fs, dir, &record);
    if (r == 0) {
        touch = cookie == 0 && !(handle->flags & O_NOATIME);
        r = read_locked(&reading, dir, record, cookie);
    } else if (r == -ENOENT) {
        r = 0; /* a removed directory is empty, even of dots */
    }
    rwlock_read_release(&dir->name_lock);
    if (touch && r >= 0) {
        rwlock_read(&dir->map_lock);
        touch = inode_view(fs->meta, NULL, dir->ino, &record) == 0 &&
                atime_is_due(fs, record, meta_now());
        rwlock_read_release(&dir->map_lock);
        if (touch)
            atime_touch(fs, dir);
    }
    return r < 0 ? r : 0;
}
