/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ioctls of chattr(1), xfs_io(8), fstrim(8) and their like, and those of our own (daxfuse/ioctl.h). All
 * are "restricted": the size of the data is in the command, and the kernel has copied it in.
 *
 * Rights: the kernel has checked SETFLAGS and FSSETXATTR (owner, CAP_LINUX_IMMUTABLE); FITRIM and labels
 * come as they are.
 */
#include "transport/fuse/door.h"

#include "media/pool.h"
#include "transport/convert.h"
#include <daxfuse/ioctl.h>
#include <errno.h>
#include <linux/fs.h>
#include <string.h>

static int ioctl_getflags(struct door_request *dr)
{
    struct fs_attr attr;
    int error = fs_getattr(dr->door->fs, &dr->rq, dr->ino, &attr);

    if (error)
        return error;
    unsigned flags = attr.flags & DXF_FLAGS_USER;
    door_reply_ioctl(dr, &flags, sizeof(flags));
    return 0;
}

static int ioctl_getxflags(struct door_request *dr)
{
    struct fs_attr attr;
    struct fsxattr fsx;
    int error = fs_getattr(dr->door->fs, &dr->rq, dr->ino, &attr);

    if (error)
        return error;
    convert_flags_to_fsxattr(attr.flags, &fsx);
    door_reply_ioctl(dr, &fsx, sizeof(fsx));
    return 0;
}

static int set_flags(struct door_request *dr, uint32_t flags)
{
    int error = fs_setflags(dr->door->fs, &dr->rq, dr->ino, flags);

    if (error)
        return error;
    door_attributes_changed(dr, dr->ino); /* ctime */
    door_reply_ioctl(dr, NULL, 0);
    return 0;
}

static int ioctl_setflags(struct door_request *dr)
{
    unsigned flags;

    if (dr->size < sizeof(flags))
        return -EINVAL;
    memcpy(&flags, dr->data, sizeof(flags));
    return set_flags(dr, flags);
}

static int ioctl_setxflags(struct door_request *dr)
{
    struct fsxattr fsx;
    uint32_t flags;

    if (dr->size < sizeof(fsx))
        return -EINVAL;
    memcpy(&fsx, dr->data, sizeof(fsx));
    int error = convert_fsxattr_to_flags(&fsx, &flags);
    if (error)
        return error;
    return set_flags(dr, flags);
}

static int ioctl_getlabel(struct door_request *dr)
{
    const struct dxf_super *super = &fs_pool(dr->door->fs)->super;
    char label[FSLABEL_MAX] = { 0 };

    memcpy(label, super->label, sizeof(super->label));
    door_reply_ioctl(dr, label, sizeof(label));
    return 0;
}

static int ioctl_trim(struct door_request *dr)
{
    struct fstrim_range range;
    uint64_t bytes;

    if (dr->rq.uid != 0)
        return -EPERM;
    if (dr->size < sizeof(range))
        return -EINVAL;
    memcpy(&range, dr->data, sizeof(range));
    int error = fs_trim(dr->door->fs, range.start, range.len, range.minlen, &bytes);
    if (error)
        return error;
    range.len = bytes;
    door_reply_ioctl(dr, &range, sizeof(range));
    return 0;
}

/* ---- our own ------------------------------------------------------------------------------------ */

static int ioctl_info(struct door_request *dr)
{
    const struct daxfuse_info info = {
        .magic = DAXFUSE_INFO_MAGIC,
        .version = DAXFUSE_INFO_VERSION,
    };

    door_reply_ioctl(dr, &info, sizeof(info));
    return 0;
}

static int ioctl_settled(struct door_request *dr)
{
    fs_shift_over(dr->door->fs, dr->handle, dr->caller);
    door_reply_ioctl(dr, NULL, 0);
    return 0;
}

static uint32_t extent_flags(const struct fs_part *part)
{
    return (part->unwritten ? DAXFUSE_EXTENT_UNWRITTEN : 0) |
           (part->piece ? DAXFUSE_EXTENT_PIECE : 0) | (part->mapped ? DAXFUSE_EXTENT_MAPPED : 0) |
           (part->pinned ? DAXFUSE_EXTENT_PINNED : 0);
}

static int ioctl_extents(struct door_request *dr)
{
    const size_t head = offsetof(struct daxfuse_extents, extents);
    struct fs_part parts[DAXFUSE_EXTENTS_MAX];
    struct daxfuse_extents all;
    bool more;

    if (dr->size < sizeof(all))
        return -EINVAL;
    memset(&all, 0, sizeof(all));
    memcpy(&all, dr->data, head);
    if (all.count || all.flags)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(all.reserved) / sizeof(all.reserved[0]); i++)
        if (all.reserved[i])
            return -EINVAL;
    int error = fs_parts(dr->door->fs, &dr->rq, dr->ino, all.offset, all.length, parts,
                         DAXFUSE_EXTENTS_MAX, &all.count, &more);
    if (error)
        return error;
    all.flags = more ? DAXFUSE_EXTENTS_MORE : 0;
    for (unsigned i = 0; i < all.count; i++)
        all.extents[i] = (struct daxfuse_extent){
            .offset = parts[i].offset,
            .pool_offset = parts[i].pool_offset,
            .length = parts[i].length,
            .flags = extent_flags(&parts[i]),
        };
    door_reply_ioctl(dr, &all, sizeof(all));
    return 0;
}

/* ---- all ------------------------------------------------------------------------------------------ */

static int run_ioctl(struct door_request *dr)
{
    switch ((unsigned)dr->flags) {
    case FS_IOC_GETFLAGS:
        return ioctl_getflags(dr);
    case FS_IOC_SETFLAGS:
        return ioctl_setflags(dr);
    case FS_IOC_FSGETXATTR:
        return ioctl_getxflags(dr);
    case FS_IOC_FSSETXATTR:
        return ioctl_setxflags(dr);
    case FS_IOC_GETFSLABEL:
        return ioctl_getlabel(dr);
    case FITRIM:
        return ioctl_trim(dr);
    case DAXFUSE_IOC_INFO:
        return ioctl_info(dr);
    case DAXFUSE_IOC_SETTLED:
        return ioctl_settled(dr);
    case DAXFUSE_IOC_EXTENTS:
        return ioctl_extents(dr);
    default:
        return -ENOTTY;
    }
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg,
                     struct fuse_file_info *info, unsigned flags, const void *data, size_t size,
                     size_t out_size)
{
    static const struct door_op op = { DOOR_IOCTL, false, run_ioctl };
    static const struct door_op op_slow = { DOOR_IOCTL, true, run_ioctl };
    struct door_request dr = {
        .ino = ino,
        .handle = door_handle(info),
        .flags = (int)command,
        .data = data,
        .size = size,
        .caller = (uint64_t)fuse_req_ctx(req)->pid,
    };

    (void)arg;
    (void)flags;
    (void)out_size;
    door_dispatch(&dr, req, command == FITRIM ? &op_slow : &op);
}

void ops_ioctl_install(struct fuse_lowlevel_ops *table)
{
    table->ioctl = op_ioctl;
}
