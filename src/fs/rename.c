/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rename, with its three flags.
 *
 * Locks. Between two directories the rename lock comes first: while it is held no directory changes
 * its parent, so the way from the target up to the root can be followed. Then the name locks of
 * both directories and of what is replaced, where that is a directory (it must stay empty); found
 * again after locking, since the order of numbers may have asked to let go. Then all map locks.
 */
#include "fs/internal.h"

#include <dirent.h>
#include <errno.h>
#include <linux/fs.h>
#include <sys/stat.h>

#define RENAME_DEPTH_MAX (1u << 20)

struct rename {
    struct fs *fs;
    const struct fs_request *rq;
    struct inode *from_dir, *to_dir;
    struct fs_name from_name, to_name;
    unsigned flags;
    struct inode *moved, *target; /* target: NULL when the name is new */
    uint8_t moved_type, target_type;
    struct inode *locked; /* a directory that was the target when last looked at */
};

static bool is_cross(const struct rename *re)
{
    return re->from_dir != re->to_dir;
}

static int find(struct rename *re, struct inode *dir, struct fs_name name, struct inode **ret_inode,
                uint8_t *ret_type)
{
    const struct dxf_inode *record;
    struct dir_found found;
    int r;

    r = dir_view(re->fs, dir, &record);
    if (r == 0)
        r = dir_lookup(re->fs->meta, NULL, dir->ino, record, dir_name(name), &found);
    if (r == 0)
        r = inode_get(re->fs, found.ino, ret_inode);
    if (r == 0)
        *ret_type = found.type;
    return r;
}

static void forget_found(struct rename *re)
{
    inode_put(re->fs, re->moved);
    inode_put(re->fs, re->target);
    re->moved = re->target = NULL;
}

/* The directories are locked. Fills moved and target. */
static int find_both(struct rename *re)
{
    int r;

    r = find(re, re->from_dir, re->from_name, &re->moved, &re->moved_type);
    if (r < 0)
        return r;
    r = find(re, re->to_dir, re->to_name, &re->target, &re->target_type);
    return r == -ENOENT ? 0 : r;
}

static void unlock_names(struct rename *re)
{
    struct inode *set[] = { re->from_dir, re->to_dir, re->locked };

    names_unlock(set, 3);
}

/* Ends with all name locks held and both names looked up under them. */
static int lock_names(struct rename *re)
{
    for (;;) {
        struct inode *set[] = { re->from_dir, re->to_dir, re->locked };
        int r;

        r = names_lock(re->rq, set, 3);
        if (r < 0)
            return r;
        r = find_both(re);
        if (r < 0) {
            names_unlock(set, 3);
            return r;
        }
        /* What was locked for nothing stays so: the name has come to mean something else. */
        if (!re->target || re->target_type != DT_DIR || re->target == re->locked)
            return 0;
        names_unlock(set, 3);
        inode_put(re->fs, re->locked);
        re->locked = re->target;
        re->target = NULL;
        forget_found(re);
    }
}

/* Whether `below` lies in the tree under `top`, or is it. The rename lock is held. */
static int is_below(struct fs *fs, uint64_t top, uint64_t below, bool *ret_below)
{
    /* A damaged tree may go round in circles. */
    for (unsigned steps = 0; below != DXF_INO_ROOT; steps++) {
        const struct dxf_inode *record;
        struct inode *dir;
        int r;

        if (below == top) {
            *ret_below = true;
            return 0;
        }
        if (steps == RENAME_DEPTH_MAX)
            return meta_damaged(fs->meta, "directory", below, below, "its parents form a circle");
        r = inode_get(fs, below, &dir);
        if (r < 0)
            return r;
        rwlock_read(&dir->map_lock);
        r = inode_view(fs->meta, NULL, below, &record);
        if (r == 0)
            below = le64_get(record->parent);
        rwlock_read_release(&dir->map_lock);
        inode_put(fs, dir);
        if (r < 0)
            return r;
    }
    *ret_below = top == DXF_INO_ROOT;
    return 0;
}

/* What can be said from the types and the tree alone. */
static int check_names(struct rename *re)
{
    bool moved_dir = re->moved_type == DT_DIR;
    bool target_dir = re->target && re->target_type == DT_DIR;
    bool exchange = re->flags & RENAME_EXCHANGE;
    bool below = false;
    int r;

    if (re->target && (re->flags & RENAME_NOREPLACE))
        return -EEXIST;
    if (!re->target && exchange)
        return -ENOENT;
    if (is_cross(re) && moved_dir) {
        r = is_below(re->fs, re->moved->ino, re->to_dir->ino, &below);
        if (r < 0 || below)
            return r < 0 ? r : -EINVAL;
    }
    if (is_cross(re) && target_dir) {
        r = is_below(re->fs, re->target->ino, re->from_dir->ino, &below);
        if (r < 0 || below)
            return r < 0 ? r : exchange ? -EINVAL : -ENOTEMPTY;
    }
    if (re->target && !exchange && re->target != re->moved) {
        if (moved_dir && !target_dir)
            return -ENOTDIR;
        if (!moved_dir && target_dir)
            return -EISDIR;
    }
    return 0;
}

struct rename_records {
    struct dxf_inode *from, *to, *moved, *target;
};

static int check_records(const struct rename *re, const struct rename_records *rec)
{
    bool exchange = re->flags & RENAME_EXCHANGE;
    int r;

    r = link_may_drop(rec->from, rec->moved);
    if (r == 0)
        r = rec->target ? link_may_drop(rec->to, rec->target) : record_may_change(rec->to, false);
    if (r == 0 && rec->target && !exchange && record_is_dir(rec->target) &&
        le64_get(rec->target->entries) != 0)
        r = -ENOTEMPTY;
    return r;
}

static void add_links(struct dxf_inode *record, int delta)
{
    record->links = le32_make(le32_get(record->links) + (uint32_t)delta);
}

/* A directory has a new parent. */
static void move_parent(struct dxf_inode *record, struct dxf_inode *from, struct dxf_inode *to,
                        uint64_t to_ino)
{
    if (!record_is_dir(record))
        return;
    record->parent = le64_make(to_ino);
    add_links(from, -1);
    add_links(to, 1);
}

static int stage_exchange(struct rename *re, struct txn *txn, struct rename_records *rec,
                          int64_t now)
{
    struct meta *meta = re->fs->meta;
    int r;

    r = dir_replace(meta, txn, re->from_dir->ino, rec->from, dir_name(re->from_name),
                    re->target->ino, re->target_type);
    if (r == 0)
        r = dir_replace(meta, txn, re->to_dir->ino, rec->to, dir_name(re->to_name), re->moved->ino,
                        re->moved_type);
    if (r < 0)
        return r;
    if (is_cross(re)) {
        move_parent(rec->moved, rec->from, rec->to, re->to_dir->ino);
        move_parent(rec->target, rec->to, rec->from, re->from_dir->ino);
    }
    record_set_ctime(rec->target, now);
    return 0;
}

/* The old name goes, or stays as a whiteout. */
static int stage_leave(struct rename *re, struct txn *txn, struct rename_records *rec,
                       struct inode **ret_whiteout)
{
    struct new_inode what = { .mode = S_IFCHR };
    struct dxf_inode *record;
    int r;

    if (!(re->flags & RENAME_WHITEOUT))
        return dir_remove(re->fs->meta, txn, re->from_dir->ino, rec->from, dir_name(re->from_name));
    r = new_inode_stage(re->fs, txn, re->rq, re->from_dir, rec->from, &what, ret_whiteout, &record);
    if (r < 0)
        return r;
    record->mode = le16_make(S_IFCHR);
    return dir_replace(re->fs->meta, txn, re->from_dir->ino, rec->from, dir_name(re->from_name),
                       (*ret_whiteout)->ino, DT_CHR);
}

static int stage_move(struct rename *re, struct txn *txn, struct rename_records *rec, int64_t now,
                      struct inode **ret_whiteout)
{
    struct meta *meta = re->fs->meta;
    int r;

    /* The whiteout's inode first: numbers are taken before orphans are noted (txn_lock_order). */
    r = stage_leave(re, txn, rec, ret_whiteout);
    if (r < 0)
        return r;
    if (rec->target) {
        r = dir_replace(meta, txn, re->to_dir->ino, rec->to, dir_name(re->to_name), re->moved->ino,
                        re->moved_type);
        if (r == 0)
            r = link_drop(re->fs, txn, re->target->ino, rec->target, now);
        if (r == 0 && record_is_dir(rec->target))
            add_links(rec->to, -1);
    } else {
        r = dir_insert(meta, txn, re->to_dir->ino, rec->to, dir_name(re->to_name), re->moved->ino,
                       re->moved_type);
    }
    if (r == 0 && is_cross(re))
        move_parent(rec->moved, rec->from, rec->to, re->to_dir->ino);
    return r;
}

/* All locks are held. */
static int rename_locked(struct rename *re)
{
    struct inode *whiteout = NULL;
    struct rename_records rec = { 0 };
    const struct dxf_inode *view;
    int64_t now = meta_now();
    struct txn txn;
    int r;

    r = inode_view(re->fs->meta, NULL, re->moved->ino, &view);
    if (r == 0 && re->target)
        r = inode_view(re->fs->meta, NULL, re->target->ino, &view);
    if (r < 0)
        return r;
    txn_begin(&txn, re->fs->space);
    rec.from = inode_edit(re->fs->meta, &txn, re->from_dir->ino);
    rec.to = inode_edit(re->fs->meta, &txn, re->to_dir->ino);
    rec.moved = inode_edit(re->fs->meta, &txn, re->moved->ino);
    rec.target = re->target ? inode_edit(re->fs->meta, &txn, re->target->ino) : NULL;
    r = txn.error ? txn.error : check_records(re, &rec);
    if (r == 0 && (re->flags & RENAME_EXCHANGE))
        r = stage_exchange(re, &txn, &rec, now);
    else if (r == 0)
        r = stage_move(re, &txn, &rec, now, &whiteout);
    if (r == 0) {
        record_set_ctime(rec.moved, now);
        record_set_mctime(rec.from, now);
        record_set_mctime(rec.to, now);
        r = txn_commit(&txn, NULL);
    } else {
        txn_abort(&txn);
    }
    if (whiteout) {
        rwlock_write_release(&whiteout->map_lock);
        if (r == 0)
            inode_set_known(re->fs, whiteout);
        inode_put(re->fs, whiteout);
    }
    return r;
}

static int rename_dirs(struct rename *re)
{
    uint64_t reaped = atomic_load(&re->fs->reaped);
    int r;

    if (is_cross(re)) {
        r = rwlock_write_wait(&re->fs->rename_lock, request_wait(re->rq));
        if (r < 0)
            return r;
    }
    r = lock_names(re);
    if (r < 0)
        goto unlock;
    r = check_names(re);
    /* Two names of one inode: nothing to do, says POSIX. */
    if (r == 0 && re->moved != re->target) {
        struct inode *all[] = { re->from_dir, re->to_dir, re->moved, re->target };

        do {
            maps_lock(all, 4);
            r = rename_locked(re);
            maps_unlock(all, 4);
        } while (r == -ENOSPC && (r = reaper_relieve(re->fs, re->rq, &reaped)) == 0);
    }
    unlock_names(re);
unlock:
    if (is_cross(re))
        rwlock_write_release(&re->fs->rename_lock);
    forget_found(re);
    inode_put(re->fs, re->locked);
    return r;
}

int fs_rename(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
              uint64_t new_parent, struct fs_name new_name, unsigned flags)
{
    struct rename re = {
        .fs = fs, .rq = rq, .from_name = name, .to_name = new_name, .flags = flags
    };
    int r;

    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
        return -EINVAL;
    if ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)))
        return -EINVAL;
    r = fs_may_change(fs);
    if (r == 0)
        r = name_check(name, -EBUSY);
    if (r == 0)
        r = name_check(new_name, flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY);
    if (r == 0)
        r = inode_get(fs, parent, &re.from_dir);
    if (r == 0)
        r = inode_get(fs, new_parent, &re.to_dir);
    if (r == 0)
        r = rename_dirs(&re);
    inode_put(fs, re.to_dir);
    inode_put(fs, re.from_dir);
    return r;
}
