/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes, and the ioctls of chattr(1) and lsattr(1). Of the others a guest has none:
 * what concerns the whole pool is its owner's, on the host.
 */
#include "transport/virtiofs/encode.h"

#include "transport/convert.h"
#include <daxfuse/format.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#define XATTR_SIZE_LIMIT 65536u /* of the system calls: XATTR_SIZE_MAX, XATTR_LIST_MAX */

/* The value, or all names; or, where nothing is asked for, their length. */
static int answer_value(struct guest_request *gr, const char *name)
{
    struct fs *fs = gr->guest->options.fs;
    size_t room = gr->in.getxattr.size;
    char small[1024], *value = small;
    ssize_t length;
    int r;

    if (room > XATTR_SIZE_LIMIT)
        room = XATTR_SIZE_LIMIT;
    if (room > gr->room - sizeof(struct fuse_out_header))
        room = gr->room - sizeof(struct fuse_out_header);
    if (room == 0 && gr->in.getxattr.size > 0)
        return -ERANGE;
    if (room > sizeof(small)) {
        value = malloc(room);
        if (!value)
            return -ENOMEM;
    }
    length = name ? fs_getxattr(fs, &gr->rq, gr->ino, name, value, room)
                  : fs_listxattr(fs, &gr->rq, gr->ino, value, room);
    if (length >= 0 && room == 0) {
        const struct fuse_getxattr_out out = { .size = (uint32_t)length };
        r = guest_answer(gr, &out, sizeof(out));
    } else {
        r = length < 0 ? (int)length : guest_answer(gr, value, (size_t)length);
    }
    if (value != small)
        free(value);
    return r;
}

int guest_getxattr(struct guest_request *gr)
{
    return answer_value(gr, guest_name(gr, 0).bytes);
}

int guest_listxattr(struct guest_request *gr)
{
    return answer_value(gr, NULL);
}

int guest_setxattr(struct guest_request *gr)
{
    const struct fuse_setxattr_in *in = &gr->in.setxattr;
    int r;

    if (in->size != gr->bytes_size)
        return -EINVAL;
    /* setxattr_flags is 0 where the guest's struct is the short one. */
    r = fs_setxattr(gr->guest->options.fs, &gr->rq, gr->ino, guest_name(gr, 0).bytes,
                    guest_bytes(gr), in->size, (int)in->flags,
                    in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID);
    return r < 0 ? r : guest_answer(gr, NULL, 0);
}

int guest_removexattr(struct guest_request *gr)
{
    int r = fs_removexattr(gr->guest->options.fs, &gr->rq, gr->ino, guest_name(gr, 0).bytes);

    return r < 0 ? r : guest_answer(gr, NULL, 0);
}

/* ---- ioctls ---------------------------------------------------------------------------------- */

static int answer_ioctl(struct guest_request *gr, const void *bytes, size_t size)
{
    const struct fuse_ioctl_out out = { .result = 0 };

    if (size > gr->in.ioctl.out_size)
        return -EINVAL;
    return guest_answer_two(gr, &out, sizeof(out), bytes, size);
}

static int get_flags(struct guest_request *gr, bool extended)
{
    struct fs_attr attr;
    struct fsxattr fsx;
    uint32_t flags;
    int r = fs_getattr(gr->guest->options.fs, &gr->rq, gr->ino, &attr);

    if (r < 0)
        return r;
    flags = attr.flags & DXF_FLAGS_USER;
    convert_flags_to_fsxattr(flags, &fsx);
    return extended ? answer_ioctl(gr, &fsx, sizeof(fsx)) : answer_ioctl(gr, &flags, sizeof(flags));
}

static int set_flags(struct guest_request *gr, bool extended)
{
    struct fsxattr fsx;
    uint32_t flags;
    int r = 0;

    if (gr->guest->options.read_only)
        return -EROFS;
    if (gr->bytes_size < (extended ? sizeof(fsx) : sizeof(flags)))
        return -EINVAL;
    if (extended) {
        memcpy(&fsx, guest_bytes(gr), sizeof(fsx));
        r = convert_fsxattr_to_flags(&fsx, &flags);
    } else {
        memcpy(&flags, guest_bytes(gr), sizeof(flags));
    }
    if (r == 0)
        r = fs_setflags(gr->guest->options.fs, &gr->rq, gr->ino, flags);
    return r < 0 ? r : answer_ioctl(gr, NULL, 0);
}

int guest_ioctl(struct guest_request *gr)
{
    const struct fuse_ioctl_in *in = &gr->in.ioctl;

    if ((in->flags & FUSE_IOCTL_UNRESTRICTED) || in->in_size != gr->bytes_size)
        return -EINVAL;
    switch (in->cmd) {
    case FS_IOC_GETFLAGS:
        return get_flags(gr, false);
    case FS_IOC_SETFLAGS:
        return set_flags(gr, false);
    case FS_IOC_FSGETXATTR:
        return get_flags(gr, true);
    case FS_IOC_FSSETXATTR:
        return set_flags(gr, true);
    default:
        return -ENOTTY;
    }
}
