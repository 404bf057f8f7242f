/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of how a file was. A door's user may have pages of a file in a cache when a collapse or insert
 * moves the bytes below, and may store to one just then. What is written back of it is old bytes for
 * a place that has others now: it is not written, until the user has said that none is left. Who was
 * killed does not say it; but the handle is released then, and not before the user's kernel has dropped
 * the pages. A handle that others have as well, and keep, is given stale_lifetime.
 *
 * A shift is listed from before its commit, with the range held exclusively. Who has locked a range after
 * that commit therefore finds it here, and who has locked it before was done before the bytes moved.
 */
#include "fs/internal.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

uint64_t stale_lifetime = 10 * CLOCK_SECOND;

struct stale {
    struct stale *next;
    const struct fs_handle *handle;
    uint64_t from, user;
    uint64_t until; /* of clock_now(); UINT64_MAX: the shift is under way */
};

/* With the lock held. */
static void list_remove(struct fs *fs, struct stale **at)
{
    struct stale *stale = *at;

    *at = stale->next;
    atomic_fetch_sub(&fs->stale_count, 1);
    free(stale);
}

int stale_begin(struct fs *fs, const struct fs_handle *handle, uint64_t from, uint64_t user,
                struct stale **ret_stale)
{
    struct stale *stale = malloc(sizeof(*stale));

    if (!stale)
        return -ENOMEM;
    *stale = (struct stale){ .handle = handle, .from = from, .user = user, .until = UINT64_MAX };
    lock_acquire(&fs->stale_lock);
    stale->next = fs->stale;
    fs->stale = stale;
    atomic_fetch_add(&fs->stale_count, 1);
    lock_release(&fs->stale_lock);
    *ret_stale = stale;
    return 0;
}

void stale_moved(struct fs *fs, struct stale *stale, bool moved)
{
    lock_acquire(&fs->stale_lock);
    stale->until = moved ? clock_now() + stale_lifetime : 0;
    lock_release(&fs->stale_lock);
}

/* user NULL: whoever. */
static void end_of(struct fs *fs, const struct fs_handle *handle, const uint64_t *user)
{
    if (atomic_load(&fs->stale_count) == 0)
        return;
    lock_acquire(&fs->stale_lock);
    for (struct stale **at = &fs->stale; *at;) {
        if ((*at)->handle == handle && (!user || (*at)->user == *user) &&
            (*at)->until != UINT64_MAX)
            list_remove(fs, at);
        else
            at = &(*at)->next;
    }
    lock_release(&fs->stale_lock);
}

void fs_shift_over(struct fs *fs, const struct fs_handle *handle, uint64_t user)
{
    end_of(fs, handle, &user);
}

void stale_release(struct fs *fs, const struct fs_handle *handle)
{
    end_of(fs, handle, NULL);
}

uint64_t stale_from(struct fs *fs, uint64_t ino)
{
    uint64_t from = UINT64_MAX, now;

    if (atomic_load(&fs->stale_count) == 0)
        return from;
    now = clock_now();
    lock_acquire(&fs->stale_lock);
    for (struct stale **at = &fs->stale; *at;) {
        if ((*at)->until <= now) {
            list_remove(fs, at);
            continue;
        }
        if ((*at)->handle->inode->ino == ino && (*at)->from < from)
            from = (*at)->from;
        at = &(*at)->next;
    }
    lock_release(&fs->stale_lock);
    return from;
}

void stale_close(struct fs *fs)
{
    while (fs->stale)
        list_remove(fs, &fs->stale);
}
