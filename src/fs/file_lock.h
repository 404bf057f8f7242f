/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside the locks that programs have on files: record locks (POSIX, and OFD, which differ in who the owner
 * is) and flock locks. Included by file_lock.c (what is held) and lock_wait.c (who waits, and what the doors
 * call); others see fs.h.
 *
 * They are kept in a table beside the cached inodes, not in them: few of a million inodes are ever
 * locked, and who has no lock pays for one look at a counter. One lock (LOCK_LEAF) guards all of it,
 * since who waits for whom goes across files. Nothing is waited for under it, and what takes long there is
 * paid for: by a lock or a wait that goes. A look costs LOCK_LOOKS_MAX records and owners at most, and
 * DEADLOCK_STEPS owners; it is had by who asks, and by each who waits for a lock that goes or changes.
 *
 * A file is in the table while it has locks or waiters, and has a reference to its inode then: a file
 * without names goes when its last lock does. Of one file, an owner's locks are in a tree of its own,
 * in which they are cut and joined, and all locks of a kind in another, in which conflicts are found;
 * locks for writing are marked there.
 *
 * Invariants
 * K1 One owner's locks of a kind do not overlap, and of one type do not touch.
 * K2 Locks of different owners overlap only when all of them are for reading.
 * K3 A waiter hangs on one lock that it conflicts with. When that one goes or changes, those that hang
 *    on it are looked at again, in the order of arrival: each gets its lock, or hangs on another.
 *    So nobody waits for nothing, and only who may be concerned is looked at.
 * K4 Callbacks and what gives references back run when the lock has been let go (struct lock_work).
 */
#ifndef DAXFUSE_FS_FILE_LOCK_H
#define DAXFUSE_FS_FILE_LOCK_H

#include "fs/internal.h"

#include <stddef.h>

/* In so many own locks, and then with so many other owners, a conflict is looked for. */
#define LOCK_LOOKS_MAX 128

#define LOCK_LINKED(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

struct lock_file {
    struct interval_node place; /* its inode number */
    struct inode *inode;
    struct interval_tree owners;
    struct interval_tree locks[FS_LOCK_KINDS];
    uint32_t users;         /* owners, waiters, and calls at work */
    struct lock_file *next; /* of those that nobody uses */
};

/* Who has locks of a kind in one file: there is one at least. */
struct lock_owner {
    struct interval_node place;
    struct fs_lock_door *door;
    uint64_t number;
    enum fs_lock_kind kind;
    struct lock_file *file;
    struct interval_tree locks;
    struct fs_lock_link door_link, handle_link;
};

struct lock_record {
    struct interval_node in_owner, in_file; /* in_file marked: for writing */
    struct lock_owner *owner;
    uint32_t pid;
    struct fs_lock_link blocked; /* waiters */
    struct lock_record *next;    /* of those that are about to change */
};

/* What is left to do when the table has changed. */
struct lock_work {
    struct interval_tree again; /* waiters to look at, by arrival */
    struct fs_lock_link done;   /* waiters to call */
    struct lock_file *unused;
};

/* ---- file_lock.c: all with the table locked ---- */

/* With a use of the caller's; NULL: nothing there is locked. */
struct lock_file *lock_file_find(struct fs *fs, uint64_t ino);
/* The same, made if need be, and then it takes the reference over (*inode is NULL). NULL: no memory. */
struct lock_file *lock_file_make(struct fs *fs, struct inode **inode);
void lock_file_put(struct fs *fs, struct lock_work *work, struct lock_file *file);

/* Owners by number: those whose numbers differ in the last bit alone have one place, so that the end of the
 * last place is a number as well, and so have owners of several doors and kinds. */
static inline uint64_t lock_owner_place(uint64_t number)
{
    return number >> 1;
}

/* Of who asks for this lock; NULL: it has none there. */
struct lock_owner *lock_owner_find(const struct lock_file *file, const struct fs_lock *lock);
/* All its locks go, and it. */
void lock_owner_forget(struct fs *fs, struct lock_work *work, struct lock_owner *owner);

/* The lock of somebody else that is in the way, the first in the file; NULL: none. -ENOLCK. */
int lock_conflict(const struct lock_file *file, const struct fs_lock *lock,
                  struct lock_record **ret_record);
/* Does what is asked for; nothing conflicts. 0; -ENOMEM, -ENOLCK and nothing has changed. */
int lock_apply(struct fs *fs, struct lock_work *work, struct lock_file *file,
               const struct fs_lock *lock);

/* ---- lists ---- */

static inline void lock_link_init(struct fs_lock_link *head)
{
    head->prev = head->next = head;
}

static inline void lock_link_add(struct fs_lock_link *head, struct fs_lock_link *link)
{
    link->prev = head->prev;
    link->next = head;
    link->prev->next = link->next->prev = link;
}

/* May be done again. */
static inline void lock_link_remove(struct fs_lock_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    lock_link_init(link);
}

static inline bool lock_link_is_empty(const struct fs_lock_link *head)
{
    return head->next == head;
}

#endif
