/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Open handles.
 *
 * A handle is a reference to an inode and the flags it was opened with; two handles of one inode
 * share everything else. Handles are listed so that fs_close can end those that a door left.
 */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

int handle_make(struct fs *fs, struct inode *inode, int flags, struct fs_handle **ret_handle)
{
    struct fs_handle *handle = calloc(1, sizeof(*handle));
    struct inode *own;
    int r;

    if (!handle)
        return -ENOMEM;
    r = inode_get(fs, inode->ino, &own);
    if (r < 0) {
        free(handle);
        return r;
    }
    handle->fs = fs;
    atomic_init(&handle->refs, 1);
    handle->inode = own;
    handle->flags = flags;
    handle_locks_init(handle);
    lock_acquire(&fs->handles_lock);
    handle->next = fs->handles.next;
    handle->prev = &fs->handles;
    handle->next->prev = handle;
    fs->handles.next = handle;
    fs->handle_count++;
    lock_release(&fs->handles_lock);
    *ret_handle = handle;
    return 0;
}

void handle_get(struct fs_handle *handle)
{
    atomic_fetch_add_explicit(&handle->refs, 1, memory_order_relaxed);
}

void handle_put(struct fs *fs, struct fs_handle *handle)
{
    if (atomic_fetch_sub_explicit(&handle->refs, 1, memory_order_acq_rel) > 1)
        return;
    inode_put(fs, handle->inode);
    free(handle);
}

void fs_release(struct fs *fs, struct fs_handle *handle)
{
    if ((handle->flags & O_ACCMODE) != O_RDONLY && space_pieces_are_scarce(fs->space))
        inode_retract(fs, handle->inode, false);
    lock_acquire(&fs->handles_lock);
    handle->prev->next = handle->next;
    handle->next->prev = handle->prev;
    fs->handle_count--;
    lock_release(&fs->handles_lock);
    stale_release(fs, handle);
    handle_locks_release(fs, handle);
    handle_put(fs, handle);
}

uint64_t fs_handle_ino(const struct fs_handle *handle)
{
    return handle->inode->ino;
}

int fs_handle_flags(const struct fs_handle *handle)
{
    return handle->flags;
}

/* What a kernel does not know of: the flags that only this filesystem keeps. */
static int check_flags(const struct dxf_inode *record, int flags)
{
    uint32_t inode_flags = le32_get(record->flags);
    bool writes = (flags & O_ACCMODE) != O_RDONLY;

    if ((inode_flags & DXF_FLAG_IMMUTABLE) && (writes || (flags & O_TRUNC)))
        return -EPERM;
    if ((inode_flags & DXF_FLAG_APPEND) && ((writes && !(flags & O_APPEND)) || (flags & O_TRUNC)))
        return -EPERM;
    if (record_is_dir(record) && writes)
        return -EISDIR;
    return 0;
}

int fs_open_file(struct fs *fs, const struct fs_request *rq, uint64_t ino, int flags,
                 bool kill_suidgid, struct fs_handle **ret_handle)
{
    const struct dxf_inode *record;
    struct inode *inode;
    int r;

    if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)) {
        r = fs_may_change(fs);
        if (r < 0)
            return r;
    }
    r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, ino, &record);
    if (r == 0)
        r = check_flags(record, flags);
    rwlock_read_release(&inode->map_lock);
    if (r == 0 && (flags & O_TRUNC)) {
        struct fs_attr zero = { .size = 0 }, after;

        r = fs_setattr(fs, rq, ino, &zero, FS_SET_SIZE | (kill_suidgid ? FS_KILL_SUIDGID : 0u),
                       &after);
    }
    if (r == 0)
        r = handle_make(fs, inode, flags, ret_handle);
    inode_put(fs, inode);
    return r;
}
