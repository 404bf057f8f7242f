/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations on attributes: getattr, setattr, statx, and statfs of the whole. */
#include "transport/virtiofs/encode.h"

#include "transport/convert.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>

/* A file handle that comes with an operation on a node must be one of that node. */
static int check_handle(struct guest_request *gr, uint64_t id, bool writes)
{
    struct fs_handle *handle;
    int r = handles_use(&gr->guest->handles, id, gr->header.nodeid, HANDLE_ANY, &handle);

    if (r < 0)
        return r;
    if (writes && (fs_handle_flags(handle) & O_ACCMODE) == O_RDONLY)
        r = -EBADF;
    handles_unuse(&gr->guest->handles, id);
    return r;
}

int guest_getattr(struct guest_request *gr)
{
    const struct fuse_getattr_in *in = &gr->in.getattr;
    struct fs_attr attr;
    int r = 0;

    if (in->getattr_flags & FUSE_GETATTR_FH)
        r = check_handle(gr, in->fh, false);
    if (r == 0)
        r = fs_getattr(gr->guest->options.fs, &gr->rq, gr->ino, &attr);
    return r < 0 ? r : guest_answer_attr(gr, &attr);
}

static void fill_statx_time(int64_t nanoseconds, struct fuse_sx_time *ret_time)
{
    struct timespec time;

    convert_split_time(nanoseconds, &time);
    *ret_time = (struct fuse_sx_time){ .tv_sec = time.tv_sec, .tv_nsec = (uint32_t)time.tv_nsec };
}

/* The guest asks with it where the birth time is wanted; it gets all that there is. */
int guest_statx(struct guest_request *gr)
{
    const struct fuse_statx_in *in = &gr->in.statx;
    struct fs_attr attr;
    int r = 0;

    if (in->getattr_flags & FUSE_GETATTR_FH)
        r = check_handle(gr, in->fh, false);
    if (r == 0)
        r = fs_getattr(gr->guest->options.fs, &gr->rq, gr->ino, &attr);
    if (r < 0)
        return r;
    struct fuse_statx_out out = {
        .attr_valid = gr->guest->timeout,
        .stat = {
            .mask = STATX_BASIC_STATS | STATX_BTIME,
            .blksize = 4096,
            .nlink = attr.links,
            .uid = attr.uid,
            .gid = attr.gid,
            .mode = (uint16_t)attr.mode,
            .ino = attr.ino,
            .size = attr.size,
            .blocks = attr.blocks * 8,
            .rdev_major = attr.rdev_major,
            .rdev_minor = attr.rdev_minor,
        },
    };
    fill_statx_time(attr.atime, &out.stat.atime);
    fill_statx_time(attr.mtime, &out.stat.mtime);
    fill_statx_time(attr.ctime, &out.stat.ctime);
    fill_statx_time(attr.btime, &out.stat.btime);
    return guest_answer(gr, &out, sizeof(out));
}

static int64_t join_time(uint64_t seconds, uint32_t nanoseconds)
{
    const struct timespec time = { .tv_sec = (time_t)seconds, .tv_nsec = nanoseconds };

    return convert_join_time(&time);
}

static unsigned setattr_mask(uint32_t valid)
{
    static const struct {
        uint32_t theirs;
        unsigned ours;
    } bits[] = {
        { FATTR_MODE, FS_SET_MODE },
        { FATTR_UID, FS_SET_UID },
        { FATTR_GID, FS_SET_GID },
        { FATTR_SIZE, FS_SET_SIZE },
        { FATTR_ATIME, FS_SET_ATIME },
        { FATTR_MTIME, FS_SET_MTIME },
        { FATTR_CTIME, FS_SET_CTIME },
        { FATTR_ATIME_NOW, FS_SET_ATIME_NOW },
        { FATTR_MTIME_NOW, FS_SET_MTIME_NOW },
        { FATTR_KILL_SUIDGID, FS_KILL_SUIDGID },
    };
    unsigned mask = 0;

    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
        if (valid & bits[i].theirs)
            mask |= bits[i].ours;
    /* "now" comes with the time as well; the bit that says now wins. */
    if (mask & FS_SET_ATIME_NOW)
        mask &= ~(unsigned)FS_SET_ATIME;
    if (mask & FS_SET_MTIME_NOW)
        mask &= ~(unsigned)FS_SET_MTIME;
    return mask;
}

int guest_setattr(struct guest_request *gr)
{
    const struct fuse_setattr_in *in = &gr->in.setattr;
    const struct fs_attr wish = {
        .mode = in->mode,
        .uid = in->uid,
        .gid = in->gid,
        .size = in->size,
        .atime = join_time(in->atime, in->atimensec),
        .mtime = join_time(in->mtime, in->mtimensec),
        .ctime = join_time(in->ctime, in->ctimensec),
    };
    struct fs_attr attr;
    int r = 0;

    if (in->valid & FATTR_FH)
        r = check_handle(gr, in->fh, in->valid & FATTR_SIZE);
    if (r == 0)
        r = fs_setattr(gr->guest->options.fs, &gr->rq, gr->ino, &wish, setattr_mask(in->valid),
                       &attr);
    return r < 0 ? r : guest_answer_attr(gr, &attr);
}

int guest_statfs(struct guest_request *gr)
{
    struct fs_statfs whole;

    fs_statfs(gr->guest->options.fs, &whole);
    const struct fuse_statfs_out out = {
        .st = {
            .blocks = whole.blocks,
            .bfree = whole.free,
            .bavail = whole.available,
            .files = whole.inodes,
            .ffree = whole.inodes_free,
            .bsize = 4096,
            .namelen = GUEST_NAME_MAX,
            .frsize = 4096,
        },
    };
    return guest_answer(gr, &out, sizeof(out));
}
