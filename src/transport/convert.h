/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Numbers as FUSE has them and as fs/ has them: times, devices, flags of files. The same for every
 * door of FUSE. Pure functions.
 */
#ifndef DAXFUSE_TRANSPORT_CONVERT_H
#define DAXFUSE_TRANSPORT_CONVERT_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds since the epoch; before it, tv_nsec is still 0 to 999999999. */
void convert_split_time(int64_t nanoseconds, struct timespec *ret_time);
/* Times beyond 64-bit nanoseconds (the years 1677 to 2262) become the nearest that can be kept. */
int64_t convert_join_time(const struct timespec *time);

/* Device numbers in the kernel's old 32-bit form, which FUSE carries. */
static inline uint32_t convert_device(uint32_t major, uint32_t minor)
{
    return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffu) << 12;
}

static inline uint32_t convert_device_major(uint32_t device)
{
    return device >> 8 & 0xfff;
}

static inline uint32_t convert_device_minor(uint32_t device)
{
    return (device & 0xff) | (device >> 12 & 0xfff00);
}

struct fsxattr;

/* DXF_FLAG_* for FS_IOC_FSGETXATTR, and what FS_IOC_FSSETXATTR asks for: -EOPNOTSUPP. */
void convert_flags_to_fsxattr(uint32_t flags, struct fsxattr *ret_fsx);
int convert_fsxattr_to_flags(const struct fsxattr *fsx, uint32_t *ret_flags);

#endif
