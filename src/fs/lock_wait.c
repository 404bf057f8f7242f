/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks of files: who waits for one, what ends, and what the doors call. See file_lock.h. */
#include "fs/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

/* Through so many owners it is looked for a circle of waits: a longer one is not found. */
#define DEADLOCK_STEPS 32

/* ---- waiting -------------------------------------------------------------------------------------- */

/* The next wait of an owner, of record locks or all, behind AFTER; NULL: the first. NULL: none. */
static const struct fs_lock_waiter *wait_of(const struct fs_lock_door *door, uint64_t owner,
                                            const struct fs_lock_waiter *after,
                                            enum interval_which which)
{
    uint64_t place = lock_owner_place(owner);
    struct interval_node *node;

    if (after)
        node =
            interval_tree_next((struct interval_node *)&after->by_owner, place, place + 1, which);
    else
        node = interval_tree_first(&door->waits, place, place + 1, which);
    for (; node; node = interval_tree_next(node, place, place + 1, which)) {
        const struct fs_lock_waiter *waiter = LOCK_LINKED(node, struct fs_lock_waiter, by_owner);

        if (waiter->lock.owner == owner)
            return waiter;
    }
    return NULL;
}

/* Whether who has `blocker` waits, through others maybe, for the owner that would wait for it. Of an owner
 * that waits several times, by several threads, one wait is followed: another thread may yet unlock. */
static bool is_deadlock(const struct fs_lock *lock, const struct lock_record *blocker)
{
    if (lock->kind != FS_LOCK_POSIX)
        return false;
    for (unsigned i = 0; i < DEADLOCK_STEPS; i++) {
        const struct lock_owner *owner = blocker->owner;
        const struct fs_lock_waiter *waiter = NULL;

        if (owner->door == lock->door && owner->number == lock->owner)
            return true;
        do
            waiter = wait_of(owner->door, owner->number, waiter, INTERVAL_MARKED);
        while (waiter && !waiter->blocker);
        if (!waiter)
            return false;
        blocker = waiter->blocker;
    }
    return false;
}

/* 0, -EDEADLK. */
static int waiter_hang(struct fs_lock_waiter *waiter, struct lock_record *blocker)
{
    if (is_deadlock(&waiter->lock, blocker))
        return -EDEADLK;
    waiter->blocker = blocker;
    lock_link_add(&blocker->blocked, &waiter->blocker_link);
    return 0;
}

/* -ENOLCK. */
static int waits_check(const struct fs_lock *lock)
{
    const struct fs_lock_waiter *waiter = NULL;
    unsigned own = 0;

    while ((waiter = wait_of(lock->door, lock->owner, waiter, INTERVAL_ALL)))
        own += waiter->lock.kind == lock->kind;
    return lock->door->wait_count < FS_LOCK_WAITS_MAX && own < FS_LOCK_WAITS_OWNER_MAX ? 0
                                                                                       : -ENOLCK;
}

/* -EINPROGRESS; -EDEADLK, -ENOLCK. */
static int waiter_begin(struct fs *fs, struct lock_file *file, const struct fs_lock *lock,
                        struct fs_lock_waiter *waiter, struct lock_record *blocker)
{
    int r = waits_check(lock);

    if (r < 0)
        return r;
    waiter->lock = *lock;
    r = waiter_hang(waiter, blocker);
    if (r < 0)
        return r;
    waiter->file = file;
    file->users++;
    waiter->arrival.start = fs->locks.arrivals++;
    waiter->arrival.end = waiter->arrival.start + 1;
    lock_link_add(&lock->door->waiters, &waiter->door_link);
    waiter->by_owner.start = lock_owner_place(lock->owner);
    waiter->by_owner.end = waiter->by_owner.start + 1;
    waiter->by_owner.marked = lock->kind == FS_LOCK_POSIX;
    interval_tree_insert(&lock->door->waits, &waiter->by_owner);
    lock->door->wait_count++;
    if (lock->handle)
        lock_link_add(&lock->handle->lock_waiters, &waiter->handle_link);
    else
        lock_link_init(&waiter->handle_link);
    return -EINPROGRESS;
}

/* It waits no more. */
static void waiter_end(struct fs *fs, struct lock_work *work, struct fs_lock_waiter *waiter)
{
    struct lock_file *file = waiter->file;

    if (waiter->blocker)
        lock_link_remove(&waiter->blocker_link);
    waiter->blocker = NULL;
    lock_link_remove(&waiter->door_link);
    lock_link_remove(&waiter->handle_link);
    interval_tree_remove(&waiter->lock.door->waits, &waiter->by_owner);
    waiter->lock.door->wait_count--;
    waiter->file = NULL;
    lock_file_put(fs, work, file);
}

static void waiter_answer(struct fs *fs, struct lock_work *work, struct fs_lock_waiter *waiter,
                          int error)
{
    waiter_end(fs, work, waiter);
    waiter->error = error;
    atomic_fetch_add_explicit(&waiter->lock.door->calls, 1, memory_order_relaxed);
    lock_link_add(&work->done, &waiter->door_link);
}

static void look_again(struct fs *fs, struct lock_work *work)
{
    struct interval_node *node;

    while ((node = interval_tree_first(&work->again, 0, UINT64_MAX, INTERVAL_ALL))) {
        struct fs_lock_waiter *waiter = LOCK_LINKED(node, struct fs_lock_waiter, arrival);
        struct lock_record *blocker = NULL;
        int r = lock_conflict(waiter->file, &waiter->lock, &blocker);

        interval_tree_remove(&work->again, node);
        if (blocker) {
            r = waiter_hang(waiter, blocker);
            if (r == 0)
                continue;
        } else if (r == 0) {
            r = lock_apply(fs, work, waiter->file, &waiter->lock);
        }
        waiter_answer(fs, work, waiter, r);
    }
}

static void work_begin(struct fs *fs, struct lock_work *work)
{
    *work = (struct lock_work){ 0 };
    lock_link_init(&work->done);
    lock_acquire(&fs->locks.lock);
}

static void work_end(struct fs *fs, struct lock_work *work)
{
    struct lock_file *file;

    look_again(fs, work);
    lock_release(&fs->locks.lock);
    while (!lock_link_is_empty(&work->done)) {
        struct fs_lock_waiter *waiter =
            LOCK_LINKED(work->done.next, struct fs_lock_waiter, door_link);
        struct fs_lock_door *door = waiter->lock.door;

        lock_link_remove(&waiter->door_link);
        waiter->granted(waiter, waiter->error);
        /* The door may be gone after this: only its address is used. */
        if (atomic_fetch_sub(&door->calls, 1) == 1)
            park_futex_wake(&door->calls, INT_MAX);
    }
    while ((file = work->unused)) {
        work->unused = file->next;
        inode_put(fs, file->inode);
        free(file);
    }
}

/* ---- for the doors -------------------------------------------------------------------------------- */

void fs_lock_door_init(struct fs_lock_door *door)
{
    lock_link_init(&door->owners);
    lock_link_init(&door->waiters);
    door->waits = (struct interval_tree){ NULL };
    door->locks = door->wait_count = 0;
    door->ended = false;
    atomic_init(&door->calls, 0);
}

void fs_lock_waiter_init(struct fs_lock_waiter *waiter,
                         void (*granted)(struct fs_lock_waiter *waiter, int error))
{
    *waiter = (struct fs_lock_waiter){ .granted = granted };
}

/* Into *ret_lock with what a flock lock's range is. */
static int lock_check(const struct fs_lock *lock, struct fs_lock *ret_lock)
{
    int access = lock->handle ? lock->handle->flags & O_ACCMODE : O_RDWR;

    *ret_lock = *lock;
    if (lock->type != F_RDLCK && lock->type != F_WRLCK && lock->type != F_UNLCK)
        return -EINVAL;
    if (lock->kind == FS_LOCK_FLOCK) {
        ret_lock->start = 0;
        ret_lock->end = INT64_MAX;
        return 0;
    }
    if (lock->start > lock->end || lock->end > INT64_MAX)
        return -EINVAL;
    if ((lock->type == F_RDLCK && access == O_WRONLY) ||
        (lock->type == F_WRLCK && access == O_RDONLY))
        return -EBADF;
    return 0;
}

int fs_lock_test(struct fs *fs, const struct fs_lock *wanted, struct fs_lock *ret_lock)
{
    struct lock_record *record = NULL;
    struct lock_file *file;
    struct fs_lock lock, found;
    struct lock_work work;
    int r = lock_check(wanted, &lock);

    if (r < 0)
        return r;
    if (lock.type == F_UNLCK)
        return -EINVAL;
    found = lock;
    found.type = F_UNLCK;
    work_begin(fs, &work);
    file = lock_file_find(fs, lock.ino);
    if (file)
        r = lock_conflict(file, &lock, &record);
    if (record) {
        found.door = record->owner->door;
        found.owner = record->owner->number;
        found.handle = NULL;
        found.type = record->in_file.marked ? F_WRLCK : F_RDLCK;
        found.start = record->in_file.start;
        found.end = record->in_file.end - 1;
        found.pid = found.door == lock.door ? record->pid : 0;
    }
    if (file)
        lock_file_put(fs, &work, file);
    work_end(fs, &work);
    if (r == 0)
        *ret_lock = found;
    return r;
}

/* Of an owner with a flock lock of another type: it goes first, and who waits for it comes first. */
static void flock_convert(struct fs *fs, struct lock_work *work, struct lock_file *file,
                          const struct fs_lock *lock)
{
    struct lock_owner *owner = lock_owner_find(file, lock);

    if (!owner || owner->locks.root->marked == (lock->type == F_WRLCK))
        return;
    lock_owner_forget(fs, work, owner);
    look_again(fs, work);
}

/* With the table locked. */
static int set(struct fs *fs, struct lock_work *work, struct lock_file *file,
               const struct fs_lock *lock, struct fs_lock_waiter *waiter)
{
    struct lock_record *blocker = NULL;
    int r = 0;

    if (lock->door->ended)
        return -ENODEV;
    if (lock->handle)
        atomic_store_explicit(&lock->handle->was_locked, true, memory_order_relaxed);
    if (lock->type != F_UNLCK) {
        if (lock->kind == FS_LOCK_FLOCK)
            flock_convert(fs, work, file, lock);
        r = lock_conflict(file, lock, &blocker);
    }
    if (r < 0)
        return r;
    if (!blocker)
        return lock_apply(fs, work, file, lock);
    return waiter ? waiter_begin(fs, file, lock, waiter, blocker) : -EAGAIN;
}

int fs_lock_set(struct fs *fs, const struct fs_lock *wanted, struct fs_lock_waiter *waiter)
{
    struct inode *inode = NULL;
    struct lock_file *file;
    struct fs_lock lock;
    struct lock_work work;
    int r = lock_check(wanted, &lock);

    if (r == 0 && lock.type != F_UNLCK)
        r = inode_get(fs, lock.ino, &inode);
    if (r < 0)
        return r;
    work_begin(fs, &work);
    file = inode ? lock_file_make(fs, &inode) : lock_file_find(fs, lock.ino);
    if (file) {
        r = set(fs, &work, file, &lock, waiter);
        lock_file_put(fs, &work, file);
    } else if (lock.type != F_UNLCK) {
        r = -ENOMEM;
    }
    work_end(fs, &work);
    inode_put(fs, inode);
    return r;
}

int fs_lock_cancel(struct fs *fs, struct fs_lock_waiter *waiter)
{
    struct lock_work work;
    int r = -ENOENT;

    work_begin(fs, &work);
    if (waiter->file) {
        waiter_end(fs, &work, waiter);
        r = 0;
    }
    work_end(fs, &work);
    return r;
}

static bool nothing_is_locked(struct fs *fs)
{
    return atomic_load_explicit(&fs->locks.file_count, memory_order_relaxed) == 0;
}

void fs_lock_forget_owner(struct fs *fs, uint64_t ino, struct fs_lock_door *door,
                          enum fs_lock_kind kind, uint64_t owner_number)
{
    const struct fs_lock key = { .door = door, .owner = owner_number, .kind = kind };
    struct lock_file *file;
    struct lock_owner *owner;
    struct lock_work work;

    if (nothing_is_locked(fs))
        return;
    work_begin(fs, &work);
    file = lock_file_find(fs, ino);
    if (file) {
        owner = lock_owner_find(file, &key);
        if (owner)
            lock_owner_forget(fs, &work, owner);
        lock_file_put(fs, &work, file);
    }
    work_end(fs, &work);
}

static void waiters_end(struct fs *fs, struct lock_work *work, struct fs_lock_link *head,
                        bool of_door, int error)
{
    while (!lock_link_is_empty(head))
        waiter_answer(fs, work,
                      of_door ? LOCK_LINKED(head->next, struct fs_lock_waiter, door_link)
                              : LOCK_LINKED(head->next, struct fs_lock_waiter, handle_link),
                      error);
}

void handle_locks_release(struct fs *fs, struct fs_handle *handle)
{
    struct lock_work work;

    /* Whoever used it has let it go. */
    if (!atomic_load_explicit(&handle->was_locked, memory_order_relaxed))
        return;
    work_begin(fs, &work);
    waiters_end(fs, &work, &handle->lock_waiters, false, -EBADF);
    while (!lock_link_is_empty(&handle->lock_owners))
        lock_owner_forget(fs, &work,
                          LOCK_LINKED(handle->lock_owners.next, struct lock_owner, handle_link));
    work_end(fs, &work);
}

void fs_lock_forget_door(struct fs *fs, struct fs_lock_door *door)
{
    struct lock_work work;
    uint32_t calls;

    work_begin(fs, &work);
    door->ended = true;
    waiters_end(fs, &work, &door->waiters, true, -ENOTCONN);
    while (!lock_link_is_empty(&door->owners))
        lock_owner_forget(fs, &work, LOCK_LINKED(door->owners.next, struct lock_owner, door_link));
    work_end(fs, &work);
    while ((calls = atomic_load(&door->calls)) > 0)
        park_futex_wait(&door->calls, calls, NULL);
}

void handle_locks_init(struct fs_handle *handle)
{
    lock_link_init(&handle->lock_owners);
    lock_link_init(&handle->lock_waiters);
    atomic_init(&handle->was_locked, false);
}
