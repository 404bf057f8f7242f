/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations on attributes: getattr, setattr, statx, and statfs of the whole. */
#include "transport/fuse/door.h"

#include "transport/convert.h"
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

static int run_getattr(struct door_request *dr)
{
    struct fs_attr attr;
    int error = fs_getattr(dr->door->fs, &dr->rq, dr->ino, &attr);

    if (error)
        return error;
    door_reply_attr(dr, &attr);
    return 0;
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_GETATTR, false, run_getattr };
    struct door_request dr = { .ino = ino };

    (void)info;
    door_dispatch(&dr, req, &op);
}

static int run_statx(struct door_request *dr)
{
    struct fs_attr attr;
    int error = fs_getattr(dr->door->fs, &dr->rq, dr->ino, &attr);

    if (error)
        return error;
    door_reply_statx(dr, &attr);
    return 0;
}

/* The kernel asks with STATX only where the birth time is wanted. */
static void op_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask,
                     struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_STATX, false, run_statx };
    struct door_request dr = { .ino = ino };

    (void)flags;
    (void)mask;
    (void)info;
    door_dispatch(&dr, req, &op);
}

static int run_setattr(struct door_request *dr)
{
    struct fs_attr attr;
    int error = fs_setattr(dr->door->fs, &dr->rq, dr->ino, &dr->attr, dr->mask, &attr);

    if (error)
        return error;
    door_reply_attr(dr, &attr);
    return 0;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *stat, int set,
                       struct fuse_file_info *info)
{
    static const struct door_op op = { DOOR_SETATTR, false, run_setattr };
    static const struct {
        int theirs;
        uint32_t ours;
    } bits[] = {
        { FUSE_SET_ATTR_MODE, FS_SET_MODE },
        { FUSE_SET_ATTR_UID, FS_SET_UID },
        { FUSE_SET_ATTR_GID, FS_SET_GID },
        { FUSE_SET_ATTR_SIZE, FS_SET_SIZE },
        { FUSE_SET_ATTR_ATIME, FS_SET_ATIME },
        { FUSE_SET_ATTR_MTIME, FS_SET_MTIME },
        { FUSE_SET_ATTR_CTIME, FS_SET_CTIME },
        { FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME_NOW },
        { FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME_NOW },
        { FUSE_SET_ATTR_KILL_SUID, FS_KILL_SUIDGID },
        { FUSE_SET_ATTR_KILL_SGID, FS_KILL_SUIDGID },
    };
    struct door_request dr = {
        .ino = ino,
        .attr = {
            .mode = stat->st_mode,
            .uid = stat->st_uid,
            .gid = stat->st_gid,
            .size = (uint64_t)stat->st_size,
            .atime = convert_join_time(&stat->st_atim),
            .mtime = convert_join_time(&stat->st_mtim),
            .ctime = convert_join_time(&stat->st_ctim),
        },
    };

    (void)info;
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
        if (set & bits[i].theirs)
            dr.mask |= bits[i].ours;
    /* "now" comes with the time as well; the bit that says now wins. */
    if (dr.mask & FS_SET_ATIME_NOW)
        dr.mask &= ~(uint32_t)FS_SET_ATIME;
    if (dr.mask & FS_SET_MTIME_NOW)
        dr.mask &= ~(uint32_t)FS_SET_MTIME;
    door_dispatch(&dr, req, &op);
}

static int run_statfs(struct door_request *dr)
{
    struct fs_statfs whole;

    fs_statfs(dr->door->fs, &whole);
    struct statvfs statvfs = {
        .f_bsize = 4096,
        .f_frsize = 4096,
        .f_blocks = whole.blocks,
        .f_bfree = whole.free,
        .f_bavail = whole.available,
        .f_files = whole.inodes,
        .f_ffree = whole.inodes_free,
        .f_favail = whole.inodes_free,
        .f_namemax = 255,
    };
    door_reply_statfs(dr, &statvfs);
    return 0;
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    static const struct door_op op = { DOOR_STATFS, false, run_statfs };
    struct door_request dr = { .ino = ino };

    door_dispatch(&dr, req, &op);
}

void ops_attr_install(struct fuse_lowlevel_ops *table)
{
    table->getattr = op_getattr;
    table->setattr = op_setattr;
    table->statx = op_statx;
    table->statfs = op_statfs;
}
