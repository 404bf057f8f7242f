/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks of files, when other doors are there besides: then the kernel keeps none by itself.
 *
 * Who must wait for a lock holds no thread: the request is answered by whoever makes way, in
 * lock_granted, or by its interrupt. All of this is in the classic loop: a shared door has no rings, since
 * a waiting request would keep its entry of a ring, from those that unlock as well, and could not be
 * interrupted there (ring requests of a killed program never end by themselves).
 *
 * Interrupts. libfuse calls `interrupted` with the request's mutex held, from another thread; from
 * fuse_req_interrupt_func() when the interrupt came before. In the first case the request may be answered
 * there, but only without touching that mutex, and libfuse keeps it until it is back. In the second it
 * must not be: nobody else keeps it. But then it does not wait yet, there is nothing to cancel, and op
 * looks at `interrupt_came` when it does. Who answers elsewhere takes the function away first, with
 * which it also waits for one that runs.
 *
 * Record locks go with FLUSH, which tells the owner; flock and OFD locks with their handle, which
 * fs_release looks after.
 */
#include "transport/fuse/door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

struct lock_request {
    struct fs_lock_waiter waiter;
    struct door_request dr;
    _Atomic bool interrupt_came;
    _Atomic unsigned refs; /* of who began it, until it has, and of who answers */
};

static void lock_request_put(struct lock_request *request)
{
    if (atomic_fetch_sub(&request->refs, 1) == 1)
        free(request);
}

static void lock_request_answer(struct lock_request *request, int error)
{
    door_reply_error(&request->dr, -error);
    lock_request_put(request);
}

static void lock_granted(struct fs_lock_waiter *waiter, int error)
{
    lock_request_answer((struct lock_request *)waiter, error);
}

static void interrupted(fuse_req_t req, void *arg)
{
    struct lock_request *request = arg;

    (void)req;
    atomic_store(&request->interrupt_came, true);
    if (fs_lock_cancel(request->dr.door->fs, &request->waiter) != 0)
        return;
    request->dr.interruptible = false; /* its mutex is held */
    lock_request_answer(request, -EINTR);
}

/* Sets it when it can be had; answers now or then. */
static int lock_wait(struct door_request *dr, const struct fs_lock *lock)
{
    struct lock_request *request = malloc(sizeof(*request));

    if (!request)
        return -ENOMEM;
    fs_lock_waiter_init(&request->waiter, lock_granted);
    request->dr = *dr;
    request->dr.interruptible = true;
    atomic_init(&request->interrupt_came, false);
    atomic_init(&request->refs, 2);
    fuse_req_interrupt_func(dr->req, interrupted, request);
    int error = fs_lock_set(dr->door->fs, lock, &request->waiter);
    if (error != -EINPROGRESS)
        lock_request_answer(request, error);
    else if (atomic_load(&request->interrupt_came) &&
             fs_lock_cancel(dr->door->fs, &request->waiter) == 0)
        lock_request_answer(request, -EINTR);
    lock_request_put(request);
    return 0;
}

static void fill_lock(const struct door_request *dr, struct fs_lock *ret_lock)
{
    *ret_lock = (struct fs_lock){
        .ino = dr->ino,
        .door = &dr->door->locks,
        .owner = dr->lock_owner,
        .kind = dr->flock ? FS_LOCK_FLOCK : FS_LOCK_POSIX,
        .type = dr->flags,
        .start = dr->offset,
        .end = dr->other_offset,
        .pid = (uint32_t)dr->caller,
        .handle = dr->handle,
    };
}

static int run_setlk(struct door_request *dr)
{
    struct fs_lock lock;
    int error;

    fill_lock(dr, &lock);
    error = fs_lock_set(dr->door->fs, &lock, NULL);
    if (error == -EAGAIN && dr->sleep)
        return lock_wait(dr, &lock);
    door_reply_error(dr, -error); /* -EAGAIN: for the caller, not for the dispatcher */
    return 0;
}

/* libfuse has made a length of the end: 0 for all that is behind. */
static uint64_t last_byte(const struct flock *flock)
{
    return flock->l_len == 0 ? INT64_MAX : (uint64_t)flock->l_start + (uint64_t)flock->l_len - 1;
}

static void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info,
                     struct flock *flock, int sleep)
{
    static const struct door_op op = { DOOR_SETLK, false, run_setlk };
    struct door_request dr = {
        .ino = ino,
        .handle = door_handle(info),
        .lock_owner = info->lock_owner,
        .flags = flock->l_type,
        .offset = (uint64_t)flock->l_start,
        .other_offset = last_byte(flock),
        .caller = (uint32_t)flock->l_pid,
        .sleep = sleep != 0,
    };

    door_dispatch(&dr, req, &op);
}

static void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, int operation)
{
    static const struct door_op op = { DOOR_SETLK, false, run_setlk };
    int type = operation & ~LOCK_NB;
    struct door_request dr = {
        .ino = ino,
        .handle = door_handle(info),
        .lock_owner = info->lock_owner,
        .flock = true,
        .flags = type == LOCK_SH   ? F_RDLCK
                 : type == LOCK_EX ? F_WRLCK
                                   : F_UNLCK,
        .sleep = !(operation & LOCK_NB),
    };

    door_dispatch(&dr, req, &op);
}

static int run_getlk(struct door_request *dr)
{
    struct fs_lock lock;
    int error;

    fill_lock(dr, &lock);
    error = fs_lock_test(dr->door->fs, &lock, &lock);
    if (error)
        return error;
    struct flock flock = {
        .l_type = (short)lock.type,
        .l_whence = SEEK_SET,
        .l_start = (off_t)lock.start,
        .l_len = lock.end == INT64_MAX ? 0 : (off_t)(lock.end - lock.start + 1),
        .l_pid = (pid_t)lock.pid,
    };
    door_reply_lock(dr, &flock);
    return 0;
}

static void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info,
                     struct flock *flock)
{
    static const struct door_op op = { DOOR_GETLK, false, run_getlk };
    struct door_request dr = {
        .ino = ino,
        .handle = door_handle(info),
        .lock_owner = info->lock_owner,
        .flags = flock->l_type,
        .offset = (uint64_t)flock->l_start,
        .other_offset = last_byte(flock),
    };

    door_dispatch(&dr, req, &op);
}

static int run_flush(struct door_request *dr)
{
    if (dr->door->options.shared)
        fs_lock_forget_owner(dr->door->fs, dr->ino, &dr->door->locks, FS_LOCK_POSIX,
                             dr->lock_owner);
    door_reply_error(dr, 0); /* nothing else is held back until close */
    return 0;
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_FLUSH, false, run_flush };
    struct door_request dr = { .ino = ino, .lock_owner = info->lock_owner };

    door_dispatch(&dr, req, &op);
}

void ops_lock_install(struct fuse_lowlevel_ops *table)
{
    table->getlk = op_getlk;
    table->setlk = op_setlk;
    table->flock = op_flock;
    table->flush = op_flush;
}
