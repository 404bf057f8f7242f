/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one way from a decoded request to its operation, and who waits when something must wait.
 *
 *   1. The operation runs where the request came in, not allowed to wait. Nearly all end here.
 *   2. fs says -EAGAIN, nothing has been done.
 *      Classic loop: the thread is one of many; it runs the operation again and waits, and
 *      libfuse can interrupt the wait (FUSE_INTERRUPT).
 *      Ring: the thread is the only one of its CPU; the request goes to a worker, which waits.
 *
 * A request can leave a ring thread because libfuse (3.18, fuse_uring.c) keeps header and payload of a
 * ring's entry as they are until the entry is committed, which is when it is answered: names and
 * data stay valid. What is on the ring thread's stack (struct fuse_file_info, struct stat) does
 * not, and is copied into the door_request by the callbacks. An answer writes into the same payload,
 * so it must be built elsewhere if the arguments are still needed; all are. In the classic
 * loop the buffer is the thread's, and requests never leave it. Interrupts do not reach requests
 * of a ring, libfuse does not know them there: a worker waits until it has its lock.
 *
 * Order in the classic loop: libfuse holds the request's mutex while it calls the interrupt function,
 * so taking that function away is also waiting for it; it is taken away before the answer, with
 * which the request is gone.
 */
#include "transport/fuse/door.h"
#include "transport/fuse/ring.h"

#include "base/clock.h"
#include "base/log.h"
#include "transport/convert.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct handed_request {
    struct worker_job job;
    struct door_request dr;
};

static void interrupt(fuse_req_t req, void *arg)
{
    struct door_request *dr = arg;

    (void)req;
    lock_wait_interrupt(&dr->token);
}

static void answer_begin(struct door_request *dr, bool error)
{
    door_stats_count(&dr->door->stats, dr->op->kind, dr->begun, error);
    if (dr->interruptible)
        fuse_req_interrupt_func(dr->req, NULL, NULL);
    if (dr->handed_over)
        ring_gate_answer_begin(dr->gate);
}

static void answer_end(struct door_request *dr)
{
    if (dr->handed_over)
        ring_gate_answer_end(dr->gate);
    dr->req = NULL;
}

/* ---- running ---------------------------------------------------------------------------------- */

static void run_waiting(struct door_request *dr)
{
    int error = dr->op->run(dr);

    if (error)
        door_reply_error(dr, -error);
}

static void worker_run(struct worker_job *job)
{
    struct handed_request *handed = (struct handed_request *)job;

    run_waiting(&handed->dr);
    free(handed);
}

static bool hand_over(struct door_request *dr)
{
    struct handed_request *handed = malloc(sizeof(*handed));

    if (!handed)
        return false;
    handed->job.run = worker_run;
    handed->dr = *dr;
    handed->dr.rq.wait = NULL;
    handed->dr.handed_over = true;
    atomic_fetch_add_explicit(&dr->door->handed_over, 1, memory_order_relaxed);
    ring_gate_hand_over(dr->gate);
    worker_submit(dr->door->workers, &handed->job);
    return true;
}

void door_dispatch(struct door_request *dr, fuse_req_t req, const struct door_op *op)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);

    dr->req = req;
    dr->door = door_of(req);
    dr->op = op;
    dr->begun = clock_now();
    dr->rq = (struct fs_request){
        .uid = ctx->uid,
        .gid = ctx->gid,
        .umask = ctx->umask,
        .in_group = true, /* the kernel has cleared the bit already */
        .wait = &dr->wait,
    };
    dr->wait = (struct lock_wait){ .nowait = true };
    dr->handed_over = false;
    dr->interruptible = false;

    char *payload;
    size_t payload_size;
    dr->gate = NULL;
    if (fuse_req_get_payload(req, &payload, &payload_size, NULL) == 0) {
        dr->gate = ring_gate_mine();
        if (!atomic_load_explicit(&dr->door->ring_used, memory_order_relaxed))
            atomic_store_explicit(&dr->door->ring_used, true, memory_order_relaxed);
    }
    int error = -EAGAIN;
    if (!op->slow || !dr->gate)
        error = op->run(dr);
    if (error == 0)
        return;
    if (error != -EAGAIN) {
        door_reply_error(dr, -error);
        return;
    }
    if (dr->gate && hand_over(dr))
        return;
    dr->wait = (struct lock_wait){ .token = &dr->token };
    lock_token_init(&dr->token);
    dr->interruptible = true;
    fuse_req_interrupt_func(req, interrupt, dr);
    run_waiting(dr);
}

void door_attributes_changed(const struct door_request *dr, uint64_t ino)
{
    /* Offset -1: no pages, for which the kernel might have to wait. */
    int error = fuse_lowlevel_notify_inval_inode(dr->door->session, ino, -1, 0);

    /* The others: the mount is ending. */
    if (error && error != -ENOENT && error != -ENODEV && error != -ENOTCONN && error != -EBADF)
        log_warn("the kernel did not take an invalidation of inode %lu: %s", (unsigned long)ino,
                 strerror(-error));
}

/* ---- answers ---------------------------------------------------------------------------------- */

void door_fill_stat(const struct fs_attr *attr, struct stat *ret_stat)
{
    *ret_stat = (struct stat){
        .st_ino = attr->ino,
        .st_mode = attr->mode,
        .st_nlink = attr->links,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_rdev = convert_device(attr->rdev_major, attr->rdev_minor),
        .st_size = (off_t)attr->size,
        .st_blksize = 4096,
        .st_blocks = (blkcnt_t)(attr->blocks * 8),
    };
    convert_split_time(attr->atime, &ret_stat->st_atim);
    convert_split_time(attr->mtime, &ret_stat->st_mtim);
    convert_split_time(attr->ctime, &ret_stat->st_ctim);
}

void door_fill_entry(const struct door *door, const struct fs_attr *attr,
                     struct fuse_entry_param *ret_entry)
{
    *ret_entry = (struct fuse_entry_param){
        .ino = attr->ino,
        .generation = attr->generation,
        .attr_timeout = door->timeout,
        .entry_timeout = door->timeout,
    };
    door_fill_stat(attr, &ret_entry->attr);
}

void door_reply_error(struct door_request *dr, int error)
{
    answer_begin(dr, error != 0);
    fuse_reply_err(dr->req, error);
    answer_end(dr);
}

void door_reply_entry(struct door_request *dr, const struct fs_attr *attr)
{
    struct fuse_entry_param entry;
    struct door *door = dr->door;
    uint64_t ino = attr->ino;

    door_fill_entry(door, attr, &entry);
    answer_begin(dr, false);
    int error = fuse_reply_entry(dr->req, &entry);
    answer_end(dr);
    /* The caller was interrupted and gone: the kernel has not counted the reference. */
    if (error == -ENOENT)
        fs_forget(door->fs, ino, 1);
}

/* The kernel remembers that there is no such name. */
void door_reply_no_entry(struct door_request *dr)
{
    struct fuse_entry_param entry = { .entry_timeout = dr->door->timeout };

    answer_begin(dr, true);
    fuse_reply_entry(dr->req, &entry);
    answer_end(dr);
}

void door_reply_attr(struct door_request *dr, const struct fs_attr *attr)
{
    struct stat stat;

    door_fill_stat(attr, &stat);
    answer_begin(dr, false);
    fuse_reply_attr(dr->req, &stat, dr->door->timeout);
    answer_end(dr);
}

static void fill_info(const struct door_request *dr, struct fs_handle *handle,
                      struct fuse_file_info *ret_info)
{
    *ret_info = (struct fuse_file_info){
        .flags = dr->flags,
        .fh = (uint64_t)(uintptr_t)handle,
        /* Either nobody else changes the bytes, or no page of them is kept. */
        .keep_cache = !dr->door->options.direct,
        .direct_io = dr->door->options.direct,
        /* Nothing is held back here: what close(2) would wait for is done. But locks go with it. */
        .noflush = !dr->door->options.shared,
        .parallel_direct_writes = 1,
    };
}

void door_reply_open(struct door_request *dr, struct fs_handle *handle)
{
    struct fuse_file_info info;
    struct door *door = dr->door;

    fill_info(dr, handle, &info);
    answer_begin(dr, false);
    int error = fuse_reply_open(dr->req, &info);
    answer_end(dr);
    if (error == -ENOENT)
        fs_release(door->fs, handle);
}

void door_reply_create(struct door_request *dr, const struct fs_attr *attr,
                       struct fs_handle *handle)
{
    struct fuse_entry_param entry;
    struct fuse_file_info info;
    struct door *door = dr->door;
    uint64_t ino = attr->ino;

    door_fill_entry(door, attr, &entry);
    fill_info(dr, handle, &info);
    answer_begin(dr, false);
    int error = fuse_reply_create(dr->req, &entry, &info);
    answer_end(dr);
    if (error == -ENOENT) {
        fs_release(door->fs, handle);
        fs_forget(door->fs, ino, 1);
    }
}

int door_reply_buffer(struct door_request *dr, const void *buffer, size_t size)
{
    answer_begin(dr, false);
    int error = fuse_reply_buf(dr->req, buffer, size);
    answer_end(dr);
    return error;
}

int door_reply_vector(struct door_request *dr, const struct iovec *vector, unsigned length)
{
    answer_begin(dr, false);
    int error = fuse_reply_iov(dr->req, vector, (int)length);
    answer_end(dr);
    return error;
}

void door_reply_string(struct door_request *dr, const char *string)
{
    answer_begin(dr, false);
    fuse_reply_readlink(dr->req, string);
    answer_end(dr);
}

void door_reply_written(struct door_request *dr, size_t size)
{
    answer_begin(dr, false);
    fuse_reply_write(dr->req, size);
    answer_end(dr);
}

void door_reply_length(struct door_request *dr, size_t size)
{
    answer_begin(dr, false);
    fuse_reply_xattr(dr->req, size);
    answer_end(dr);
}

void door_reply_offset(struct door_request *dr, uint64_t offset)
{
    answer_begin(dr, false);
    fuse_reply_lseek(dr->req, (off_t)offset);
    answer_end(dr);
}

void door_reply_ioctl(struct door_request *dr, const void *buffer, size_t size)
{
    answer_begin(dr, false);
    fuse_reply_ioctl(dr->req, 0, buffer, size);
    answer_end(dr);
}

void door_reply_lock(struct door_request *dr, const struct flock *lock)
{
    answer_begin(dr, false);
    fuse_reply_lock(dr->req, lock);
    answer_end(dr);
}

void door_reply_statfs(struct door_request *dr, const struct statvfs *statfs)
{
    answer_begin(dr, false);
    fuse_reply_statfs(dr->req, statfs);
    answer_end(dr);
}

static void fill_statx_time(int64_t nanoseconds, struct statx_timestamp *ret_time)
{
    struct timespec time;

    convert_split_time(nanoseconds, &time);
    ret_time->tv_sec = time.tv_sec;
    ret_time->tv_nsec = (uint32_t)time.tv_nsec;
}

void door_reply_statx(struct door_request *dr, const struct fs_attr *attr)
{
    struct statx statx = {
        .stx_mask = STATX_BASIC_STATS | STATX_BTIME,
        .stx_blksize = 4096,
        .stx_nlink = attr->links,
        .stx_uid = attr->uid,
        .stx_gid = attr->gid,
        .stx_mode = (uint16_t)attr->mode,
        .stx_ino = attr->ino,
        .stx_size = attr->size,
        .stx_blocks = attr->blocks * 8,
        .stx_rdev_major = attr->rdev_major,
        .stx_rdev_minor = attr->rdev_minor,
    };

    fill_statx_time(attr->atime, &statx.stx_atime);
    fill_statx_time(attr->mtime, &statx.stx_mtime);
    fill_statx_time(attr->ctime, &statx.stx_ctime);
    fill_statx_time(attr->btime, &statx.stx_btime);
    answer_begin(dr, false);
    fuse_reply_statx(dr->req, 0, &statx, dr->door->timeout);
    answer_end(dr);
}

/* ---- what was counted -------------------------------------------------------------------------- */

bool door_get_stats(const struct door *door, unsigned kind, struct door_kind_stats *ret_stats)
{
    return door_stats_get(&door->stats, kind, ret_stats);
}
