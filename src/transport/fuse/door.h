/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside the local door: one request of the kernel, from libfuse's decoder to its answer.
 *
 * Owns struct door and struct door_request. Included by transport/fuse/ alone; others see session.h.
 *
 * An operation is a callback of libfuse's, which puts the arguments into a struct door_request, and
 * a function `run`, which calls fs and answers. run may be called twice for one request: the first
 * time it must not wait, and when fs says -EAGAIN, nothing has been done, and the dispatcher calls
 * it again where waiting is allowed (dispatch.c). So run keeps nothing between the two.
 *
 *   run returns 0          it has answered, through one door_reply_*; DR->req is gone
 *   run returns -errno     it has not, and the dispatcher answers with that error
 *
 * The kernel is trusted: file handles are pointers to struct fs_handle.
 */
#ifndef DAXFUSE_TRANSPORT_FUSE_DOOR_H
#define DAXFUSE_TRANSPORT_FUSE_DOOR_H

#define FUSE_USE_VERSION 318

#include "base/lock.h"
#include "fs/fs.h"
#include "transport/fuse/session.h"
#include "transport/stats.h"
#include "transport/worker.h"
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct door {
    struct fs *fs;
    struct fuse_session *session;
    struct worker_pool *workers;
    struct door_options options;
    uint64_t mount; /* mountpoint_id() of ours */
    bool detached;
    _Atomic uint64_t capable; /* FUSE_CAP_* that the kernel offered; set by INIT, as the minor is */
    _Atomic unsigned kernel_minor;
    double timeout;         /* of attributes and names, seconds */
    _Atomic bool ring_used; /* a request has come through io_uring */
    _Atomic bool stopping;
    _Atomic uint64_t handed_over; /* requests that went to a worker */
    struct door_stats stats;
    struct fs_lock_door locks; /* of a shared door */
};

struct door_request;
struct ring_gate;

struct door_op {
    enum door_kind kind;
    bool slow; /* fs has no way to say -EAGAIN: a ring thread hands it over at once */
    int (*run)(struct door_request *dr);
};

struct door_request {
    fuse_req_t req;
    struct door *door;
    const struct door_op *op;
    struct fs_request rq;
    struct lock_wait wait;
    struct lock_token token;
    struct ring_gate *gate; /* not NULL: came through a ring */
    bool handed_over;       /* runs in a worker */
    bool interruptible;     /* libfuse holds a pointer to token */
    uint64_t begun;

    /* Arguments; an operation uses those it has. */
    uint64_t ino;         /* the node; of operations on names: the parent */
    uint64_t other;       /* link: the inode; rename: the new parent */
    const char *name;     /* names and data lie in libfuse's buffer */
    const char *new_name; /* rename; symlink: the target */
    const void *data;
    size_t size;
    uint64_t offset, other_offset;
    uint64_t caller; /* the thread (of a lock: the program) that asks, as the kernel numbers it;
                        0: not known */
    uint64_t lock_owner;
    struct fs_handle *handle, *other_handle;
    uint32_t mode, mask;
    uint64_t device;
    int flags;
    bool kill_suidgid;
    bool plus;
    bool flock, sleep; /* of locks: the kind, and that the answer can wait */
    struct fs_attr attr;
};

/* Runs a request that the caller has filled from `ino` on; it may be copied, and be gone from the
 * caller's stack before it is answered. */
void door_dispatch(struct door_request *dr, fuse_req_t req, const struct door_op *op);

/* The kernel shall ask again for the inode's attributes, ACLs included: something has changed that
 * it does not see by itself. Before the answer, so that the caller never finds the old ones; the
 * inode is one that the request holds, so the kernel does not wait for anything to find it. */
void door_attributes_changed(const struct door_request *dr, uint64_t ino);

/* Answers: each ends the request. Errors are positive, as libfuse has them. */
void door_reply_error(struct door_request *dr, int error);
void door_reply_entry(struct door_request *dr, const struct fs_attr *attr);
void door_reply_no_entry(struct door_request *dr);
void door_reply_attr(struct door_request *dr, const struct fs_attr *attr);
void door_reply_statx(struct door_request *dr, const struct fs_attr *attr);
/* The handle is released when the kernel does not want it any more. */
void door_reply_open(struct door_request *dr, struct fs_handle *handle);
void door_reply_create(struct door_request *dr, const struct fs_attr *attr,
                       struct fs_handle *handle);
/* -EFAULT: the kernel could not read the bytes, and has answered with EIO. */
int door_reply_buffer(struct door_request *dr, const void *buffer, size_t size);
int door_reply_vector(struct door_request *dr, const struct iovec *vector, unsigned count);
void door_reply_string(struct door_request *dr, const char *string);
void door_reply_written(struct door_request *dr, size_t size);
void door_reply_length(struct door_request *dr, size_t size); /* of an attribute's value */
void door_reply_offset(struct door_request *dr, uint64_t offset);
void door_reply_ioctl(struct door_request *dr, const void *buffer, size_t size);
void door_reply_lock(struct door_request *dr, const struct flock *lock);
void door_reply_statfs(struct door_request *dr, const struct statvfs *statfs);

/* Fills what libfuse wants from attributes; the first also the timeouts. */
void door_fill_entry(const struct door *door, const struct fs_attr *attr,
                     struct fuse_entry_param *ret_entry);
void door_fill_stat(const struct fs_attr *attr, struct stat *ret_stat);

static inline struct door *door_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static inline struct fs_handle *door_handle(const struct fuse_file_info *info)
{
    return (struct fs_handle *)(uintptr_t)info->fh;
}

/* The callbacks, each file's into the table. */
void ops_name_install(struct fuse_lowlevel_ops *table);
void ops_attr_install(struct fuse_lowlevel_ops *table);
void ops_file_install(struct fuse_lowlevel_ops *table);
void ops_dir_install(struct fuse_lowlevel_ops *table);
void ops_xattr_install(struct fuse_lowlevel_ops *table);
void ops_ioctl_install(struct fuse_lowlevel_ops *table);
void ops_lock_install(struct fuse_lowlevel_ops *table);

/* The table is built once, before the first session. */
const struct fuse_lowlevel_ops *door_operations(void);

#endif
