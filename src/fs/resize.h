/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changing how long a file is, and what of it exists: shared by setattr, write and fallocate.
 */
#ifndef DAXFUSE_FS_RESIZE_H
#define DAXFUSE_FS_RESIZE_H

#include "fs/internal.h"

/* truncate(2) in both directions. Called with the name lock held; takes the range. */
int resize_truncate(struct fs *fs, const struct fs_request *rq, struct inode *inode, uint64_t size,
                    bool kill_suidgid);

/* Makes the file at least that long, never shorter, and moves its times either way: what a write of
 * zeros over a hole up to `size` does. -EPERM immutable. */
int resize_at_least(struct fs *fs, const struct fs_request *rq, struct inode *inode, uint64_t size,
                    bool kill_suidgid);

/*
 * Zeroes, on its way to the medium, every allocated and written byte in [from, to): what growth
 * over them must do first (law L3). The range is held exclusively, the map lock shared at least.
 * *ret_stored: something was stored, which the transaction that grows must fence first.
 */
int resize_zero_bytes(struct fs *fs, const struct inode *inode, const struct dxf_inode *record,
                      uint64_t from, uint64_t to, bool *ret_stored);

/* The size of a regular file; with to_change, of one whose bytes may change: -EPERM immutable.
 * -EISDIR, -EINVAL no file. */
int resize_read_size(struct fs *fs, struct inode *inode, bool to_change, uint64_t *ret_size);

/* Locks [min(offset, EOF) rounded down to its block, end of everything) exclusively: EOF then does
 * not move, and *ret_size is where it is. */
int resize_lock_to_end(struct fs *fs, const struct fs_request *rq, struct inode *inode,
                       uint64_t offset, struct range_node *node, uint64_t *ret_size);
/* The same for a take-away. -EAGAIN also: something is mapped, whose doors may have to be waited for. */
int resize_lock_to_take(struct fs *fs, const struct fs_request *rq, struct inode *inode,
                        uint64_t offset, struct range_node *node, uint64_t *ret_size);

#endif
