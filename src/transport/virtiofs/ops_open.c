/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening and closing files and directories, and making durable what is in them.
 *
 * A place for the handle is taken before anything is opened, made or cut off: at the limit nothing
 * has been done. Through a read-only export nothing changes, access times included.
 */
#include "transport/virtiofs/encode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* The flags of open(2) that mean something to fs. */
#define OPEN_FLAGS (O_ACCMODE | O_APPEND | O_TRUNC | O_EXCL | O_NOATIME)

/* Nothing is held back here: what close(2) would wait for is done. But it gives back locks. */
static uint32_t file_flags(const struct guest *guest, const struct fuse_attr *attr)
{
    uint32_t flags = FOPEN_PARALLEL_DIRECT_WRITES;

    if (!(atomic_load_explicit(&guest->flags, memory_order_relaxed) & FUSE_POSIX_LOCKS))
        flags |= FOPEN_NOFLUSH;
    if (guest->options.cache == GUEST_CACHE_ALWAYS)
        flags |= FOPEN_KEEP_CACHE;
    /* What is in the window has no pages to be kept. */
    if (guest->options.cache == GUEST_CACHE_NEVER && !(attr->flags & FUSE_ATTR_DAX))
        flags |= FOPEN_DIRECT_IO;
    return flags;
}

static uint32_t directory_flags(const struct guest *guest)
{
    return guest->options.cache == GUEST_CACHE_ALWAYS ? FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR : 0;
}

static int open_flags(const struct guest_request *gr, uint32_t flags, int *ret_flags)
{
    *ret_flags = (int)flags & OPEN_FLAGS;
    if (!gr->guest->options.read_only)
        return 0;
    *ret_flags |= O_NOATIME;
    return (*ret_flags & O_ACCMODE) != O_RDONLY || (*ret_flags & O_TRUNC) ? -EROFS : 0;
}

/* What is there must be what is opened: fs opens either. */
static int check_type(struct guest_request *gr, bool directory, struct fuse_attr *ret_attr)
{
    struct fs_attr attr;
    int r = fs_getattr(gr->guest->options.fs, &gr->rq, gr->ino, &attr);

    if (r < 0)
        return r;
    if (directory && !S_ISDIR(attr.mode))
        return -ENOTDIR;
    if (!directory && !S_ISREG(attr.mode))
        return S_ISDIR(attr.mode) ? -EISDIR : -EINVAL;
    guest_fill_attr(gr->guest, &attr, gr->large, ret_attr);
    return 0;
}

static int open_common(struct guest_request *gr, bool directory)
{
    const struct fuse_open_in *in = &gr->in.open;
    struct guest *guest = gr->guest;
    struct fuse_open_out out = { 0 };
    struct fs_handle *handle;
    struct fuse_attr attr;
    uint32_t place;
    int flags, r;

    r = open_flags(gr, in->flags, &flags);
    if (r == 0)
        r = check_type(gr, directory, &attr);
    if (r == 0)
        r = handles_reserve(&guest->handles, gr->epoch, &place);
    if (r < 0)
        return r;
    r = fs_open_file(guest->options.fs, &gr->rq, gr->ino, flags,
                     in->open_flags & FUSE_OPEN_KILL_SUIDGID, &handle);
    if (r < 0) {
        handles_cancel(&guest->handles, place);
        return r;
    }
    r = handles_fill(&guest->handles, gr->epoch, place, handle, gr->header.nodeid,
                     directory ? HANDLE_DIRECTORY : HANDLE_FILE, &out.fh);
    if (r < 0) {
        fs_release(guest->options.fs, handle);
        return r;
    }
    out.open_flags = directory ? directory_flags(guest) : file_flags(guest, &attr);
    r = guest_answer(gr, &out, sizeof(out));
    if (r < 0)
        (void)handles_close(&guest->handles, out.fh, gr->header.nodeid, HANDLE_ANY);
    return r;
}

int guest_open_file(struct guest_request *gr)
{
    return open_common(gr, false);
}

int guest_open_directory(struct guest_request *gr)
{
    return open_common(gr, true);
}

/* A new file, with the reference and the handle that came with it: taken over, in any case. */
static int answer_created(struct guest_request *gr, const struct fs_attr *attr, uint32_t place,
                          struct fs_handle *handle)
{
    struct guest *guest = gr->guest;
    struct fuse_entry_out entry;
    struct fuse_open_out open = { 0 };
    int r = guest_fill_entry(guest, gr->epoch, attr, &entry);

    if (r < 0) {
        handles_cancel(&guest->handles, place);
        fs_release(guest->options.fs, handle);
        fs_forget(guest->options.fs, attr->ino, 1);
        return r;
    }
    r = handles_fill(&guest->handles, gr->epoch, place, handle, entry.nodeid, HANDLE_FILE,
                     &open.fh);
    if (r < 0) {
        fs_release(guest->options.fs, handle);
        nodes_forget(&guest->nodes, entry.nodeid, 1);
        return r;
    }
    open.open_flags = file_flags(guest, &entry.attr);
    r = guest_answer_two(gr, &entry, sizeof(entry), &open, sizeof(open));
    if (r < 0) {
        (void)handles_close(&guest->handles, open.fh, entry.nodeid, HANDLE_ANY);
        nodes_forget(&guest->nodes, entry.nodeid, 1);
    }
    return r;
}

static int create_common(struct guest_request *gr, bool tmpfile)
{
    const struct fuse_create_in *in = &gr->in.create;
    struct guest *guest = gr->guest;
    struct fs_handle *handle;
    struct fs_attr attr;
    uint32_t place;
    int flags, r;

    r = open_flags(gr, in->flags, &flags);
    if (r == 0)
        r = nodes_check_room(&guest->nodes);
    if (r == 0)
        r = handles_reserve(&guest->handles, gr->epoch, &place);
    if (r < 0)
        return r;
    gr->rq.umask = in->umask & 0777;
    r = tmpfile ? fs_tmpfile(guest->options.fs, &gr->rq, gr->ino, in->mode, flags, &attr, &handle)
                : fs_create(guest->options.fs, &gr->rq, gr->ino, guest_name(gr, 0), in->mode, flags,
                            &attr, &handle);
    if (r < 0) {
        handles_cancel(&guest->handles, place);
        return r;
    }
    return answer_created(gr, &attr, place, handle);
}

int guest_create(struct guest_request *gr)
{
    return create_common(gr, false);
}

int guest_tmpfile(struct guest_request *gr)
{
    return create_common(gr, true);
}

int guest_release(struct guest_request *gr)
{
    enum handle_kind kind = gr->header.opcode == FUSE_RELEASEDIR ? HANDLE_DIRECTORY : HANDLE_FILE;
    int r = handles_close(&gr->guest->handles, gr->in.release.fh, gr->header.nodeid, kind);

    return r < 0 ? r : guest_answer(gr, NULL, 0);
}

int guest_fsync(struct guest_request *gr)
{
    int r = fs_fsync(gr->guest->options.fs, &gr->rq, gr->ino,
                     gr->in.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC);

    return r < 0 ? r : guest_answer(gr, NULL, 0);
}

int guest_syncfs(struct guest_request *gr)
{
    int r = fs_sync(gr->guest->options.fs);

    return r < 0 ? r : guest_answer(gr, NULL, 0);
}
