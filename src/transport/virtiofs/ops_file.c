/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations on the bytes of open files.
 *
 * A READ copies from the pool to the guest's memory, a WRITE from there to the pool, once. The
 * guest's memory may not be held while somebody waits: so a read locks its range first, and a write
 * that must wait for its own copies the bytes before. Handles are checked for what they were opened
 * for, since the guest's kernel is not trusted to.
 */
#include "transport/virtiofs/encode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* Whole requests of single pages, with some room. */
#define VECTORS_MAX 320
/* One request must end in a time that a guest is willing to wait. */
#define COPY_MAX (256u << 20)

static int check_access(const struct fs_handle *handle, bool writes)
{
    int mode = fs_handle_flags(handle) & O_ACCMODE;

    return mode == O_RDWR || mode == (writes ? O_WRONLY : O_RDONLY) ? 0 : -EBADF;
}

/* With an access begun. */
static int copy_out(struct guest_request *gr, const struct fs_read *read)
{
    size_t at = sizeof(struct fuse_out_header);
    int r = guest_write_header(gr, 0, read->length);

    for (unsigned i = 0; i < read->count && r == 0; i++) {
        r = vhost_write(gr->request, at, read->vector[i].iov_base, read->vector[i].iov_len);
        at += read->vector[i].iov_len;
    }
    return r;
}

int guest_read(struct guest_request *gr)
{
    const struct fuse_read_in *in = &gr->in.read;
    size_t room = gr->room - sizeof(struct fuse_out_header);
    struct fs *fs = gr->guest->options.fs;
    size_t size = in->size;
    struct fs_read read;
    int r = check_access(gr->handle, false), ended;

    if (r < 0)
        return r;
    if (size > room)
        size = room;
    if (size > GUEST_IO_MAX)
        size = GUEST_IO_MAX;
    r = fs_read_begin(fs, &gr->rq, gr->handle, in->offset, size, &read);
    if (r < 0)
        return r;
    size = read.length;
    r = vhost_access_begin(gr->request);
    if (r < 0) {
        (void)fs_read_end(fs, &read);
        return r;
    }
    r = copy_out(gr, &read);
    ended = vhost_access_end(gr->request);
    if (r == 0)
        r = ended;
    ended = fs_read_end(fs, &read); /* a bad page was met */
    if (r == 0)
        r = ended;
    if (r == 0)
        guest_answered(gr, false, size);
    return r;
}

/* From the guest's memory to the pool, in this thread. */
static ssize_t write_direct(struct guest_request *gr, unsigned flags)
{
    struct iovec vector[VECTORS_MAX];
    ssize_t written;
    int r = vhost_access_begin(gr->request), ended;

    if (r < 0)
        return r;
    r = vhost_vector_in(gr->request, gr->payload_at, gr->payload_size, vector, VECTORS_MAX);
    written = r < 0 ? r
                    : fs_write(gr->guest->options.fs, &gr->rq, gr->handle, vector, (unsigned)r,
                               gr->in.write.offset, flags, NULL);
    ended = vhost_access_end(gr->request);
    return written >= 0 && ended < 0 ? ended : written;
}

/* By way of a copy. */
static ssize_t write_copied(struct guest_request *gr, unsigned flags)
{
    struct iovec vector = { .iov_len = gr->payload_size };
    ssize_t written;
    int r, ended;

    vector.iov_base = malloc(gr->payload_size + 1);
    if (!vector.iov_base)
        return -ENOMEM;
    r = vhost_access_begin(gr->request);
    if (r == 0) {
        r = vhost_read(gr->request, gr->payload_at, vector.iov_base, gr->payload_size);
        ended = vhost_access_end(gr->request);
        if (r == 0)
            r = ended;
    }
    written = r < 0 ? r
                    : fs_write(gr->guest->options.fs, &gr->rq, gr->handle, &vector, 1,
                               gr->in.write.offset, flags, NULL);
    free(vector.iov_base);
    return written;
}

int guest_write(struct guest_request *gr)
{
    const struct fuse_write_in *in = &gr->in.write;
    struct fuse_write_out out = { 0 };
    unsigned flags = 0;
    ssize_t written;
    int r = check_access(gr->handle, true);

    if (r < 0)
        return r;
    if (in->size != gr->payload_size || in->size > GUEST_IO_MAX)
        return -EINVAL;
    /* A page that is written back goes where it was mapped, whatever the file was opened with. */
    if (in->write_flags & FUSE_WRITE_CACHE)
        flags |= FS_WRITE_BACK;
    else if (in->flags & O_APPEND)
        flags |= FS_WRITE_APPEND;
    if (in->write_flags & FUSE_WRITE_KILL_SUIDGID)
        flags |= FS_WRITE_KILL_SUIDGID;
    written = gr->in_worker ? -E2BIG : write_direct(gr, flags);
    if (written == -E2BIG)
        written = write_copied(gr, flags);
    if (written < 0)
        return (int)written;
    out.size = (uint32_t)written;
    return guest_answer(gr, &out, sizeof(out));
}

int guest_fallocate(struct guest_request *gr)
{
    const struct fuse_fallocate_in *in = &gr->in.fallocate;
    int r = check_access(gr->handle, true);

    if (r == 0)
        r = fs_fallocate(gr->guest->options.fs, &gr->rq, gr->handle, (int)in->mode, in->offset,
                         in->length);
    return r < 0 ? r : guest_answer(gr, NULL, 0);
}

int guest_lseek(struct guest_request *gr)
{
    const struct fuse_lseek_in *in = &gr->in.lseek;
    struct fuse_lseek_out out = { 0 };
    int r = fs_lseek(gr->guest->options.fs, &gr->rq, gr->handle, in->offset, (int)in->whence,
                     &out.offset);

    return r < 0 ? r : guest_answer(gr, &out, sizeof(out));
}

/* Returns the bytes. */
static ssize_t copy_common(struct guest_request *gr)
{
    const struct fuse_copy_file_range_in *in = &gr->in.copy_range;
    struct guest *guest = gr->guest;
    struct fs_handle *to;
    ssize_t copied;
    int r;

    if (in->flags != 0)
        return -EINVAL; /* none are defined */
    r = handles_use(&guest->handles, in->fh_out, in->nodeid_out, HANDLE_FILE, &to);
    if (r < 0)
        return r;
    copied = check_access(gr->handle, false);
    if (copied == 0)
        copied = check_access(to, true);
    if (copied == 0)
        copied = fs_copy_range(guest->options.fs, &gr->rq, gr->handle, in->off_in, to, in->off_out,
                               in->len < COPY_MAX ? in->len : COPY_MAX);
    handles_unuse(&guest->handles, in->fh_out);
    return copied;
}

int guest_copy_range(struct guest_request *gr)
{
    ssize_t copied = copy_common(gr);
    const struct fuse_write_out out = { .size = (uint32_t)copied };

    return copied < 0 ? (int)copied : guest_answer(gr, &out, sizeof(out));
}

int guest_copy_range_64(struct guest_request *gr)
{
    ssize_t copied = copy_common(gr);
    const struct fuse_copy_file_range_out out = { .bytes_copied = (uint64_t)copied };

    return copied < 0 ? (int)copied : guest_answer(gr, &out, sizeof(out));
}
