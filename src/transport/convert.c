/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/convert.h"

#include <daxfuse/format.h>
#include <errno.h>
#include <linux/fs.h>
#include <stddef.h>

#define SECOND 1000000000

void convert_split_time(int64_t nanoseconds, struct timespec *ret_time)
{
    int64_t seconds = nanoseconds / SECOND;
    int64_t rest = nanoseconds % SECOND;

    if (rest < 0) { /* before the epoch */
        seconds--;
        rest += SECOND;
    }
    ret_time->tv_sec = seconds;
    ret_time->tv_nsec = rest;
}

int64_t convert_join_time(const struct timespec *time)
{
    int64_t nanoseconds;

    if (__builtin_mul_overflow((int64_t)time->tv_sec, (int64_t)SECOND, &nanoseconds) ||
        __builtin_add_overflow(nanoseconds, (int64_t)time->tv_nsec, &nanoseconds))
        return time->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return nanoseconds;
}

static const struct {
    uint32_t flag;
    uint32_t xflag;
} xflags[] = {
    { DXF_FLAG_IMMUTABLE, FS_XFLAG_IMMUTABLE },
    { DXF_FLAG_APPEND, FS_XFLAG_APPEND },
    { DXF_FLAG_NODUMP, FS_XFLAG_NODUMP },
    { DXF_FLAG_NOATIME, FS_XFLAG_NOATIME },
    { DXF_FLAG_DAX, FS_XFLAG_DAX },
};
#define XFLAGS (sizeof(xflags) / sizeof(xflags[0]))

void convert_flags_to_fsxattr(uint32_t flags, struct fsxattr *ret_fsx)
{
    *ret_fsx = (struct fsxattr){ 0 };
    for (size_t i = 0; i < XFLAGS; i++)
        if (flags & xflags[i].flag)
            ret_fsx->fsx_xflags |= xflags[i].xflag;
}

int convert_fsxattr_to_flags(const struct fsxattr *fsx, uint32_t *ret_flags)
{
    uint32_t left = fsx->fsx_xflags, flags = 0;

    if (fsx->fsx_extsize != 0 || fsx->fsx_projid != 0 || fsx->fsx_cowextsize != 0)
        return -EOPNOTSUPP;
    for (size_t i = 0; i < XFLAGS; i++) {
        if (left & xflags[i].xflag) {
            flags |= xflags[i].flag;
            left &= ~xflags[i].xflag;
        }
    }
    if (left & ~(uint32_t)FS_XFLAG_HASATTR)
        return -EOPNOTSUPP;
    *ret_flags = flags;
    return 0;
}
