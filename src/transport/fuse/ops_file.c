/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations on open files.
 *
 * A read answers from the pool's memory. Classic loop: the kernel copies out of the mapped pool while
 * the range is locked, and a bad page makes it answer EIO by itself. Ring: the bytes are copied into
 * the ring's payload here, and only when no bad page was met in the range is the answer given.
 *
 * Collapse and insert come in a punch (daxfuse/ioctl.h), for which the kernel does with its pages what
 * they need: it writes them back before, and drops them when it has our answer, in the caller's own
 * context. We must not make it do so by a notification: that waits for pages that wait for us, and a server
 * that is killed meanwhile never ends.
 *
 * The kernel caches mode bits for as long as attributes are valid. It asks to clear set-ID bits with
 * a write or an open, and does not look whether that changed the mode: it is told, before the
 * answer.
 */
#include "transport/fuse/door.h"

#include <daxfuse/ioctl.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Before an operation that may clear them: whether there are set-ID bits that the kernel knows of. */
static int find_set_id(struct door_request *dr, bool *ret_found)
{
    struct fs_attr attr;
    int error = fs_getattr(dr->door->fs, &dr->rq, dr->ino, &attr);

    if (error)
        return error;
    *ret_found = S_ISREG(attr.mode) && (attr.mode & (S_ISUID | S_ISGID));
    return 0;
}

static int run_open(struct door_request *dr)
{
    struct fs_handle *handle;
    bool notify = false;
    int error = 0;

    if (dr->kill_suidgid && (dr->flags & O_TRUNC))
        error = find_set_id(dr, &notify);
    if (!error)
        error = fs_open_file(dr->door->fs, &dr->rq, dr->ino, dr->flags, dr->kill_suidgid, &handle);
    if (error)
        return error;
    if (notify)
        door_attributes_changed(dr, dr->ino);
    door_reply_open(dr, handle);
    return 0;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_OPEN, false, run_open };
    struct door_request dr = {
        .ino = ino,
        .flags = info->flags,
        .kill_suidgid = info->kill_suidgid,
    };

    door_dispatch(&dr, req, &op);
}

static int run_create(struct door_request *dr)
{
    struct fs_attr attr;
    struct fs_handle *handle;
    int error = fs_create(dr->door->fs, &dr->rq, dr->ino, fs_name(dr->name), dr->mode, dr->flags,
                          &attr, &handle);

    if (error)
        return error;
    door_reply_create(dr, &attr, handle);
    return 0;
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_CREATE, false, run_create };
    struct door_request dr = { .ino = parent, .name = name, .mode = mode, .flags = info->flags };

    door_dispatch(&dr, req, &op);
}

static int run_tmpfile(struct door_request *dr)
{
    struct fs_attr attr;
    struct fs_handle *handle;
    int error = fs_tmpfile(dr->door->fs, &dr->rq, dr->ino, dr->mode, dr->flags, &attr, &handle);

    if (error)
        return error;
    door_reply_create(dr, &attr, handle);
    return 0;
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_TMPFILE, false, run_tmpfile };
    struct door_request dr = { .ino = parent, .mode = mode, .flags = info->flags };

    door_dispatch(&dr, req, &op);
}

/* Into the ring's payload, and the answer when the bytes are known to be good. */
static int read_through_ring(struct door_request *dr, struct fs_read *read, char *payload,
                             size_t payload_size)
{
    size_t done = 0;

    for (unsigned i = 0; i < read->count && done < payload_size; i++) {
        size_t part = read->vector[i].iov_len;
        if (part > payload_size - done)
            part = payload_size - done;
        memcpy(payload + done, read->vector[i].iov_base, part);
        done += part;
    }
    int error = fs_read_end(dr->door->fs, read);
    if (error)
        return error;
    door_reply_buffer(dr, payload, done);
    return 0;
}

/* The kernel met a bad page, of which the pool's guard has not heard: it hears by a load of ours. */
static void touch_bytes(const struct fs_read *read)
{
    for (unsigned i = 0; i < read->count; i++) {
        const volatile uint8_t *bytes = read->vector[i].iov_base;

        for (size_t at = 0; at < read->vector[i].iov_len; at += 4096)
            (void)bytes[at];
    }
}

static int run_read(struct door_request *dr)
{
    struct fs_read read;
    struct fs *fs = dr->door->fs;
    char *payload;
    size_t payload_size;
    int error = fs_read_begin(fs, &dr->rq, dr->handle, dr->offset, dr->size, &read);

    if (error)
        return error;
    if (fuse_req_get_payload(dr->req, &payload, &payload_size, NULL) == 0)
        return read_through_ring(dr, &read, payload, payload_size);
    if (read.count == 0)
        error = door_reply_buffer(dr, NULL, 0);
    else if (read.count == 1)
        error = door_reply_buffer(dr, read.vector[0].iov_base, read.vector[0].iov_len);
    else
        error = door_reply_vector(dr, read.vector, read.count);
    if (error == -EFAULT)
        touch_bytes(&read);
    (void)fs_read_end(fs, &read); /* a bad page has made the answer EIO */
    return 0;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_READ, false, run_read };
    struct door_request dr = {
        .ino = ino,
        .handle = door_handle(info),
        .size = size,
        .offset = (uint64_t)offset,
    };

    door_dispatch(&dr, req, &op);
}

static int run_write(struct door_request *dr)
{
    struct iovec vector = { .iov_base = (void *)(uintptr_t)dr->data, .iov_len = dr->size };
    bool notify = false;

    if (dr->flags & FS_WRITE_KILL_SUIDGID) {
        int error = find_set_id(dr, &notify);
        if (error)
            return error;
    }
    ssize_t written = fs_write(dr->door->fs, &dr->rq, dr->handle, &vector, 1, dr->offset,
                               (unsigned)dr->flags, NULL);
    if (written < 0)
        return (int)written;
    if (notify)
        door_attributes_changed(dr, dr->ino);
    door_reply_written(dr, (size_t)written);
    return 0;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_WRITE, false, run_write };
    struct door_request dr = {
        .ino = ino,
        .handle = door_handle(info),
        .data = data,
        .size = size,
        .offset = (uint64_t)offset,
    };

    /* A page that is written back goes where it was mapped, whatever the file was opened with. */
    if ((info->flags & O_APPEND) && !info->writepage)
        dr.flags |= FS_WRITE_APPEND;
    if (info->writepage)
        dr.flags |= FS_WRITE_BACK;
    if (info->kill_suidgid)
        dr.flags |= FS_WRITE_KILL_SUIDGID;
    door_dispatch(&dr, req, &op);
}

static int run_release(struct door_request *dr)
{
    fs_release(dr->door->fs, dr->handle);
    door_reply_error(dr, 0);
    return 0;
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_RELEASE, false, run_release };
    struct door_request dr = { .ino = ino, .handle = door_handle(info) };

    door_dispatch(&dr, req, &op);
}

static int run_fsync(struct door_request *dr)
{
    int error = fs_fsync(dr->door->fs, &dr->rq, dr->ino, dr->flags & 1);

    if (error)
        return error;
    door_reply_error(dr, 0);
    return 0;
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_FSYNC, false, run_fsync };
    struct door_request dr = { .ino = ino, .flags = data_only ? 1 : 0 };

    (void)info;
    door_dispatch(&dr, req, &op);
}

/* 0: it is what it says. */
static int carried_mode(const struct door_request *dr)
{
    if (dr->flags != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
        return 0;
    switch (dr->size & ~DAXFUSE_CARRIED_BLOCKS) {
    case DAXFUSE_CARRY_COLLAPSE:
        return FALLOC_FL_COLLAPSE_RANGE;
    case DAXFUSE_CARRY_INSERT:
        return FALLOC_FL_INSERT_RANGE;
    default:
        return 0;
    }
}

static int run_fallocate(struct door_request *dr)
{
    int mode = carried_mode(dr), error;

    if (mode != 0)
        error = fs_shift(dr->door->fs, &dr->rq, dr->handle, mode, dr->offset,
                         (dr->size & DAXFUSE_CARRIED_BLOCKS) * 4096, dr->caller);
    else
        error = fs_fallocate(dr->door->fs, &dr->rq, dr->handle, dr->flags, dr->offset, dr->size);

    if (error)
        return error;
    door_reply_error(dr, 0);
    return 0;
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                         struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_FALLOCATE, false, run_fallocate };
    struct door_request dr = {
        .ino = ino,
        .handle = door_handle(info),
        .flags = mode,
        .offset = (uint64_t)offset,
        .size = (size_t)length,
        .caller = (uint64_t)fuse_req_ctx(req)->pid,
    };

    door_dispatch(&dr, req, &op);
}

static int run_lseek(struct door_request *dr)
{
    uint64_t offset;
    int error = fs_lseek(dr->door->fs, &dr->rq, dr->handle, dr->offset, dr->flags, &offset);

    if (error)
        return error;
    door_reply_offset(dr, offset);
    return 0;
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                     struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_LSEEK, false, run_lseek };
    struct door_request dr = {
        .ino = ino,
        .handle = door_handle(info),
        .flags = whence,
        .offset = (uint64_t)offset,
    };

    door_dispatch(&dr, req, &op);
}

/* The kernel drops the pages and the attributes that this makes old. */
static int run_copy_range(struct door_request *dr)
{
    ssize_t copied = fs_copy_range(dr->door->fs, &dr->rq, dr->handle, dr->offset, dr->other_handle,
                                   dr->other_offset, dr->size);

    if (copied < 0)
        return (int)copied;
    door_reply_written(dr, (size_t)copied);
    return 0;
}

static void op_copy_range(fuse_req_t req, fuse_ino_t ino, off_t offset, struct fuse_file_info *info,
                          fuse_ino_t other, off_t other_offset, struct fuse_file_info *other_info,
                          size_t size, int flags)
{
    static const struct door_op op = { DOOR_COPY_RANGE, false, run_copy_range };
    struct door_request dr = {
        .ino = ino,
        .handle = door_handle(info),
        .offset = (uint64_t)offset,
        .other = other,
        .other_handle = door_handle(other_info),
        .other_offset = (uint64_t)other_offset,
        .size = size,
    };

    (void)flags; /* none are defined */
    door_dispatch(&dr, req, &op);
}

void ops_file_install(struct fuse_lowlevel_ops *table)
{
    table->open = op_open;
    table->create = op_create;
    table->tmpfile = op_tmpfile;
    table->read = op_read;
    table->write = op_write;
    table->release = op_release;
    table->fsync = op_fsync;
    table->fallocate = op_fallocate;
    table->lseek = op_lseek;
    table->copy_file_range = op_copy_range;
}
