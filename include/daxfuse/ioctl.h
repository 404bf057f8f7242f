/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What files in a mount of daxfuse understand beyond the calls of every filesystem: ioctl(2) on an open
 * descriptor. For programs; this header stands alone.
 *
 * Offsets and lengths are bytes. A structure has the same layout for 32 and 64 bits, what is reserved
 * must be zero when given, and is zero when it comes back. Before any other, ask DAXFUSE_IOC_INFO: a
 * descriptor that does not answer it with DAXFUSE_INFO_MAGIC is of something else.
 *
 * Errors common to all: ENOTTY not daxfuse, or an older one; EINVAL what is reserved is not zero, or a
 * range is none; EBADF; EIO; EUCLEAN the file is damaged.
 */
#ifndef DAXFUSE_IOCTL_H
#define DAXFUSE_IOCTL_H

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define DAXFUSE_IOC_TYPE 0xda

/* ---- who is it ---------------------------------------------------------------------------------- */

#define DAXFUSE_INFO_MAGIC UINT64_C(0x0065737566786164) /* "daxfuse" */
#define DAXFUSE_INFO_VERSION 1u

struct daxfuse_info {
    uint64_t magic;
    uint32_t version; /* of this interface: what is there stays as it is, a higher one has more */
    uint32_t reserved[5];
};

/* On any file or directory, whatever it was opened for. */
#define DAXFUSE_IOC_INFO _IOR(DAXFUSE_IOC_TYPE, 0, struct daxfuse_info)

/* ---- collapse and insert ------------------------------------------------------------------------ */

/*
 * The modes of fallocate(2) that the kernel's FUSE client refuses, FALLOC_FL_COLLAPSE_RANGE and
 * FALLOC_FL_INSERT_RANGE, come to the server in one that it lets through: a punch (FALLOC_FL_PUNCH_HOLE |
 * FALLOC_FL_KEEP_SIZE) from the same offset to behind the end of every file, whose length says which it is
 * and, in its low bits, how many blocks of 4096 are to go or come. To the kernel it changes all pages from
 * there on, as they do: what was stored to them through mappings is written back before, and none of them
 * is left when it returns. Rights are those of fallocate(2), and so are the errors: EINVAL a collapse that
 * reaches the end of the file or passes it, an insert at the end or behind it; EBUSY something of the file
 * from offset on is mapped directly, by a mapping that cannot be taken away.
 *
 * A server that does not know this, or sees another length of that size, says EFBIG. Any other filesystem
 * would punch: ask DAXFUSE_IOC_INFO first. And afterwards, in this order, for
 * daxfuse_fallocate() below does both:
 *
 *   fstat(2)              the kernel learns the new size only when somebody asks; until then a mapping
 *                         does not reach what an insert has added, and an appending write leaves its
 *                         bytes at the old end in the page cache
 *   DAXFUSE_IOC_SETTLED   the call has returned: until then, or until the file is closed, or for ten seconds,
 *                         a page that is written back there may be an old one that was stored to meanwhile,
 *                         and is dropped
 *
 * What is stored through a mapping from offset on while the call runs may be there, at the old place or the
 * new one, or be lost.
 */
#define DAXFUSE_CARRY_COLLAPSE UINT64_C(0x4da0000000000000)
#define DAXFUSE_CARRY_INSERT UINT64_C(0x4db0000000000000)
#define DAXFUSE_CARRIED_BLOCKS UINT64_C(0x000fffffffffffff)

/* By the thread whose call has returned, with the same open file. */
#define DAXFUSE_IOC_SETTLED _IO(DAXFUSE_IOC_TYPE, 1)

#ifdef FALLOC_FL_PUNCH_HOLE /* <fcntl.h> with _GNU_SOURCE came first */

/* A length that is cut short would be a punch. */
static_assert(sizeof(off_t) == 8, "daxfuse/ioctl.h needs _FILE_OFFSET_BITS=64");

/* fallocate(2) with one of the two modes: 0, or -1 and errno. EOPNOTSUPP: another mode, or no file in a
 * mount of daxfuse. ENOTCONN, ECONNABORTED, ECANCELED, EIO: one whose server has ended. */
static inline int daxfuse_fallocate(int fd, int mode, int64_t offset, int64_t length)
{
    uint64_t carry = mode == FALLOC_FL_COLLAPSE_RANGE ? DAXFUSE_CARRY_COLLAPSE
                     : mode == FALLOC_FL_INSERT_RANGE ? DAXFUSE_CARRY_INSERT
                                                      : 0;
    struct daxfuse_info info = { 0 };
    struct stat learned;
    int error = carry == 0                               ? EOPNOTSUPP
                : fstat(fd, &learned) < 0                ? errno
                : !S_ISREG(learned.st_mode)              ? EOPNOTSUPP
                : ioctl(fd, DAXFUSE_IOC_INFO, &info) < 0 ? errno
                : info.magic != DAXFUSE_INFO_MAGIC       ? EOPNOTSUPP
                                                         : 0;
    if (error) {
        /* A server that has ended, and a signal, make no other filesystem of it. */
        int told = error == ENOTCONN || error == ECONNABORTED || error == ECANCELED ||
                   error == EIO || error == EINTR;

        errno = told ? error : EOPNOTSUPP;
        return -1;
    }
    if (offset < 0 || length <= 0 || (offset | length) % 4096 != 0) {
        errno = EINVAL;
        return -1;
    }
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                  (int64_t)(carry + (uint64_t)length / 4096)) < 0)
        return -1;
    (void)fstat(fd, &learned);
    (void)ioctl(fd, DAXFUSE_IOC_SETTLED);
    return 0;
}

#endif

/* ---- where a file lies -------------------------------------------------------------------------- */

/* Nothing was written there yet: it reads as zeros. */
#define DAXFUSE_EXTENT_UNWRITTEN (1u << 0)
/* Part of chunks (aligned 2 MiB of the file) each of which is one piece (aligned 2 MiB of the pool): can
 * be mapped directly as it lies. */
#define DAXFUSE_EXTENT_PIECE (1u << 1)
/* Is mapped directly. */
#define DAXFUSE_EXTENT_MAPPED (1u << 2)
/* ... by a mapping that cannot be taken away: the bytes stay where they are while it lives. */
#define DAXFUSE_EXTENT_PINNED (1u << 3)

struct daxfuse_extent {
    uint64_t offset;      /* in the file */
    uint64_t pool_offset; /* in the pool */
    uint64_t length;
    uint32_t flags; /* DAXFUSE_EXTENT_* */
    uint32_t reserved;
};

#define DAXFUSE_EXTENTS_MAX 256

/* There is more in the range than was room for: ask again from the end of the last one on. */
#define DAXFUSE_EXTENTS_MORE (1u << 0)

/*
 * In the manner of FIEMAP: the allocated parts of [offset, offset + length), rounded out to blocks of
 * 4096, in order; what is in none of them is a hole. An extent that is not the same throughout comes as
 * several. What is allocated past the end of the file is listed, too. The descriptor is of a regular
 * file, open for reading or writing; EISDIR otherwise. EINVAL also: length is 0, offset is above 2^63-1;
 * a range that goes on behind all files is cut there. It is how things were a moment ago: who holds
 * nothing that keeps them so must not store there.
 */
struct daxfuse_extents {
    uint64_t offset, length; /* given */
    uint32_t count;          /* returned; given: 0 */
    uint32_t flags;          /* returned: DAXFUSE_EXTENTS_*; given: 0 */
    uint64_t reserved[5];
    struct daxfuse_extent extents[DAXFUSE_EXTENTS_MAX];
};

#define DAXFUSE_IOC_EXTENTS _IOWR(DAXFUSE_IOC_TYPE, 2, struct daxfuse_extents)

/* The size is in the number of the command, and 14 bits there. */
static_assert(sizeof(struct daxfuse_info) == 32, "daxfuse_info");
static_assert(sizeof(struct daxfuse_extent) == 32, "daxfuse_extent");
static_assert(sizeof(struct daxfuse_extents) == 64 + 256 * 32, "daxfuse_extents");

#endif
