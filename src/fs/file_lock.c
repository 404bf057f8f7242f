/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks of files that are held: found, cut and joined. See file_lock.h. */
#include "fs/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* ---- files and owners --------------------------------------------------------------------------- */

struct lock_file *lock_file_find(struct fs *fs, uint64_t ino)
{
    struct interval_node *node = interval_tree_first(&fs->locks.files, ino, ino + 1, INTERVAL_ALL);
    struct lock_file *file = node ? LOCK_LINKED(node, struct lock_file, place) : NULL;

    if (file)
        file->users++;
    return file;
}

struct lock_file *lock_file_make(struct fs *fs, struct inode **inode)
{
    struct lock_file *file = lock_file_find(fs, (*inode)->ino);

    if (file)
        return file;
    file = calloc(1, sizeof(*file));
    if (!file)
        return NULL;
    file->place.start = (*inode)->ino;
    file->place.end = (*inode)->ino + 1;
    file->inode = *inode;
    file->users = 1;
    interval_tree_insert(&fs->locks.files, &file->place);
    atomic_fetch_add_explicit(&fs->locks.file_count, 1, memory_order_relaxed);
    *inode = NULL;
    return file;
}

void lock_file_put(struct fs *fs, struct lock_work *work, struct lock_file *file)
{
    if (--file->users > 0)
        return;
    interval_tree_remove(&fs->locks.files, &file->place);
    atomic_fetch_sub_explicit(&fs->locks.file_count, 1, memory_order_relaxed);
    file->next = work->unused;
    work->unused = file;
}

struct lock_owner *lock_owner_find(const struct lock_file *file, const struct fs_lock *lock)
{
    uint64_t place = lock_owner_place(lock->owner);
    struct interval_node *node = interval_tree_first(&file->owners, place, place + 1, INTERVAL_ALL);

    for (; node; node = interval_tree_next(node, place, place + 1, INTERVAL_ALL)) {
        struct lock_owner *owner = LOCK_LINKED(node, struct lock_owner, place);

        if (owner->number == lock->owner && owner->door == lock->door && owner->kind == lock->kind)
            return owner;
    }
    return NULL;
}

/* Without a lock yet. */
static struct lock_owner *owner_make(struct lock_file *file, const struct fs_lock *lock)
{
    struct lock_owner *owner = calloc(1, sizeof(*owner));

    if (!owner)
        return NULL;
    owner->door = lock->door;
    owner->number = lock->owner;
    owner->kind = lock->kind;
    owner->file = file;
    owner->place.start = lock_owner_place(owner->number);
    owner->place.end = owner->place.start + 1;
    interval_tree_insert(&file->owners, &owner->place);
    file->users++;
    lock_link_add(&lock->door->owners, &owner->door_link);
    lock_link_init(&owner->handle_link);
    return owner;
}

/* If it has no lock any more. */
static void owner_put(struct fs *fs, struct lock_work *work, struct lock_owner *owner)
{
    if (owner->locks.root)
        return;
    interval_tree_remove(&owner->file->owners, &owner->place);
    lock_link_remove(&owner->door_link);
    lock_link_remove(&owner->handle_link);
    lock_file_put(fs, work, owner->file);
    free(owner);
}

/* ---- locks that are held -------------------------------------------------------------------------- */

static struct lock_record *record_of_owner(struct interval_node *node)
{
    return node ? LOCK_LINKED(node, struct lock_record, in_owner) : NULL;
}

static struct lock_record *record_of_file(struct interval_node *node)
{
    return node ? LOCK_LINKED(node, struct lock_record, in_file) : NULL;
}

static void record_insert(struct lock_record *record, struct lock_owner *owner, uint64_t start,
                          uint64_t end, bool write, uint32_t pid)
{
    record->owner = owner;
    record->pid = pid;
    lock_link_init(&record->blocked);
    record->in_owner = (struct interval_node){ .start = start, .end = end, .marked = write };
    record->in_file = record->in_owner;
    interval_tree_insert(&owner->locks, &record->in_owner);
    interval_tree_insert(&owner->file->locks[owner->kind], &record->in_file);
    owner->door->locks++;
}

/* Whoever hangs on it is looked at again. The memory is the caller's now. */
static void record_remove(struct lock_work *work, struct lock_record *record)
{
    struct lock_owner *owner = record->owner;

    while (!lock_link_is_empty(&record->blocked)) {
        struct fs_lock_waiter *waiter =
            LOCK_LINKED(record->blocked.next, struct fs_lock_waiter, blocker_link);

        lock_link_remove(&waiter->blocker_link);
        waiter->blocker = NULL;
        interval_tree_insert(&work->again, &waiter->arrival);
    }
    interval_tree_remove(&owner->locks, &record->in_owner);
    interval_tree_remove(&owner->file->locks[owner->kind], &record->in_file);
    owner->door->locks--;
}

void lock_owner_forget(struct fs *fs, struct lock_work *work, struct lock_owner *owner)
{
    while (owner->locks.root) {
        struct lock_record *record = record_of_owner(owner->locks.root);

        record_remove(work, record);
        free(record);
    }
    owner_put(fs, work, owner);
}

static bool is_owner_of(const struct lock_owner *owner, const struct fs_lock *lock)
{
    return owner->door == lock->door && owner->number == lock->owner && owner->kind == lock->kind;
}

static enum interval_which in_the_way_of(const struct fs_lock *lock)
{
    return lock->type == F_RDLCK ? INTERVAL_MARKED : INTERVAL_ALL;
}

/* Who has many locks there himself asks the others one by one. */
static int conflict_by_owner(const struct lock_file *file, const struct fs_lock *lock,
                             struct lock_record **ret_record)
{
    struct interval_node *place = interval_tree_first(&file->owners, 0, UINT64_MAX, INTERVAL_ALL);
    struct lock_record *first = NULL;
    unsigned looks = 0;

    for (; place && looks < LOCK_LOOKS_MAX; looks++) {
        const struct lock_owner *owner = LOCK_LINKED(place, struct lock_owner, place);
        struct interval_node *node =
            interval_tree_first(&owner->locks, lock->start, lock->end + 1, in_the_way_of(lock));

        if (node && owner->kind == lock->kind && !is_owner_of(owner, lock) &&
            (!first || node->start < first->in_owner.start))
            first = record_of_owner(node);
        place = interval_tree_next(place, 0, UINT64_MAX, INTERVAL_ALL);
    }
    if (place && !first)
        return -ENOLCK;
    *ret_record = first;
    return 0;
}

int lock_conflict(const struct lock_file *file, const struct fs_lock *lock,
                  struct lock_record **ret_record)
{
    uint64_t start = lock->start, end = lock->end + 1;
    enum interval_which which = in_the_way_of(lock);
    struct interval_node *node = interval_tree_first(&file->locks[lock->kind], start, end, which);
    unsigned looks = 0;

    while (node && is_owner_of(record_of_file(node)->owner, lock)) {
        if (++looks == LOCK_LOOKS_MAX)
            return conflict_by_owner(file, lock, ret_record);
        node = interval_tree_next(node, start, end, which);
    }
    *ret_record = record_of_file(node);
    return 0;
}

/* What a request does to its owner's locks: those in `changing` go, and up to three come. */
struct change {
    struct lock_record *changing;
    unsigned gone, come;
    uint64_t start, end; /* of the new lock: joined with what it touches */
    struct {
        uint64_t start, end;
        bool write;
        uint32_t pid;
    } pieces[3]; /* in front of it, behind it, itself */
};

static void change_add(struct change *change, uint64_t start, uint64_t end, bool write,
                       uint32_t pid)
{
    change->pieces[change->come].start = start;
    change->pieces[change->come].end = end;
    change->pieces[change->come].write = write;
    change->pieces[change->come++].pid = pid;
}

/* False: it is as it shall be already. */
static bool change_plan(const struct lock_owner *owner, const struct fs_lock *lock,
                        struct change *ret_change)
{
    uint64_t start = lock->start, end = lock->end + 1;
    bool set = lock->type != F_UNLCK, write = lock->type == F_WRLCK;
    struct change change = { .start = start, .end = end };
    /* With what only touches it, if that can be joined. */
    uint64_t from = set && start > 0 ? start - 1 : start, to = set ? end + 1 : end;
    struct interval_node *node = interval_tree_first(&owner->locks, from, to, INTERVAL_ALL);

    for (; node; node = interval_tree_next(node, from, to, INTERVAL_ALL)) {
        struct lock_record *record = record_of_owner(node);

        if (set && node->marked == write) {
            if (node->start <= start && node->end >= end)
                return false;
            if (node->start < change.start)
                change.start = node->start;
            if (node->end > change.end)
                change.end = node->end;
        } else if (node->start < end && node->end > start) {
            if (node->start < start)
                change_add(&change, node->start, start, node->marked, record->pid);
            if (node->end > end)
                change_add(&change, end, node->end, node->marked, record->pid);
        } else {
            continue;
        }
        record->next = change.changing;
        change.changing = record;
        change.gone++;
    }
    if (set)
        change_add(&change, change.start, change.end, write, lock->pid);
    *ret_change = change;
    return change.gone > 0 || set;
}

int lock_apply(struct fs *fs, struct lock_work *work, struct lock_file *file,
               const struct fs_lock *lock)
{
    struct lock_owner *owner = lock_owner_find(file, lock);
    struct lock_record *fresh = NULL, *record;
    struct change change;
    int r = 0;

    if (!owner && lock->type == F_UNLCK)
        return 0;
    if (!owner)
        owner = owner_make(file, lock);
    if (!owner)
        return -ENOMEM;
    if (lock->type != F_UNLCK && lock->handle) {
        lock_link_remove(&owner->handle_link);
        lock_link_add(&lock->handle->lock_owners, &owner->handle_link);
    }
    if (!change_plan(owner, lock, &change))
        return 0; /* it has a lock there, or it is not one to unlock */
    if (change.come > change.gone && lock->door->locks + (change.come - change.gone) > FS_LOCKS_MAX)
        r = -ENOLCK;
    for (unsigned i = change.gone; i < change.come && r == 0; i++) {
        record = malloc(sizeof(*record));
        if (!record) {
            r = -ENOMEM;
            break;
        }
        record->next = fresh;
        fresh = record;
    }
    if (r == 0) {
        for (record = change.changing; record; record = record->next)
            record_remove(work, record);
        for (unsigned i = 0; i < change.come; i++) {
            struct lock_record **from = change.changing ? &change.changing : &fresh;

            record = *from;
            *from = record->next;
            record_insert(record, owner, change.pieces[i].start, change.pieces[i].end,
                          change.pieces[i].write, change.pieces[i].pid);
        }
        while ((record = change.changing)) {
            change.changing = record->next;
            free(record);
        }
    }
    while ((record = fresh)) {
        fresh = record->next;
        free(record);
    }
    owner_put(fs, work, owner);
    return r;
}
