/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * FUSE as it goes over the wire, minor 7.45: the kernel's header, and what it lacks where it is
 * older (7.38, Debian 12's). The names are the kernel's.
 */
#ifndef DAXFUSE_TRANSPORT_VIRTIOFS_WIRE_H
#define DAXFUSE_TRANSPORT_VIRTIOFS_WIRE_H

#include <linux/fuse.h>

/* What this door speaks: from the first with all that a window needs, to the last that was looked
 * at. */
#define GUEST_MINOR_MIN 31
#define GUEST_MINOR 45

#if FUSE_KERNEL_MINOR_VERSION < 39
enum { FUSE_STATX = 52 };

struct fuse_sx_time {
    int64_t tv_sec;
    uint32_t tv_nsec;
    int32_t __reserved;
};

struct fuse_statx {
    uint32_t mask;
    uint32_t blksize;
    uint64_t attributes;
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint16_t mode;
    uint16_t __spare0[1];
    uint64_t ino;
    uint64_t size;
    uint64_t blocks;
    uint64_t attributes_mask;
    struct fuse_sx_time atime;
    struct fuse_sx_time btime;
    struct fuse_sx_time ctime;
    struct fuse_sx_time mtime;
    uint32_t rdev_major;
    uint32_t rdev_minor;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint64_t __spare2[14];
};

struct fuse_statx_in {
    uint32_t getattr_flags;
    uint32_t reserved;
    uint64_t fh;
    uint32_t sx_flags;
    uint32_t sx_mask;
};

struct fuse_statx_out {
    uint64_t attr_valid;
    uint32_t attr_valid_nsec;
    uint32_t flags;
    uint64_t spare[2];
    struct fuse_statx stat;
};
#endif

#if FUSE_KERNEL_MINOR_VERSION < 45
enum { FUSE_COPY_FILE_RANGE_64 = 53 };

struct fuse_copy_file_range_out {
    uint64_t bytes_copied;
};
#endif

#ifndef FUSE_NO_EXPORT_SUPPORT
# define FUSE_NO_EXPORT_SUPPORT (1ULL << 38)
#endif

_Static_assert(sizeof(struct fuse_in_header) == 40, "FUSE header");
_Static_assert(sizeof(struct fuse_out_header) == 16, "FUSE answer");
_Static_assert(sizeof(struct fuse_attr) == 88, "FUSE attributes");
_Static_assert(sizeof(struct fuse_entry_out) == 128, "FUSE entry");
_Static_assert(sizeof(struct fuse_statx_out) == 288, "FUSE statx");
_Static_assert(sizeof(struct fuse_init_in) == 64, "FUSE init");
_Static_assert(sizeof(struct fuse_init_out) == 64, "FUSE init answer");
_Static_assert(sizeof(struct fuse_setupmapping_in) == 40, "FUSE window");
_Static_assert(sizeof(struct fuse_removemapping_one) == 16, "FUSE window");

#endif
