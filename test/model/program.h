/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs of operations: what an operation is, how it is printed, the bytes that it writes.
 *
 * An operation says all that it needs by itself: paths as numbers of names, files at work as numbers
 * of slots. So any subset of a program is a program, and a failing one can be made shorter by leaving
 * operations out. Nothing here knows of the filesystem under test.
 */
#ifndef DAXFUSE_TEST_MODEL_PROGRAM_H
#define DAXFUSE_TEST_MODEL_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum op_kind {
    OP_CREATE, /* O_EXCL; into slot */
    OP_MKDIR,
    OP_MKNOD,
    OP_SYMLINK,
    OP_LINK,
    OP_UNLINK,
    OP_RMDIR,
    OP_RENAME,
    OP_LOOKUP,
    OP_READLINK,
    OP_OPEN, /* into slot */
    OP_CLOSE,
    OP_WRITE,
    OP_STORE, /* through a mapping, and synced; never extends */
    OP_READ,
    OP_TRUNCATE, /* by path */
    OP_FALLOCATE,
    OP_SHIFT, /* fallocate: collapse or insert */
    OP_SEEK,
    OP_COPY, /* slot to slot2 */
    OP_CHMOD,
    OP_CHOWN,
    OP_UTIMES,
    OP_SETFLAGS,
    OP_SETXATTR,
    OP_GETXATTR,
    OP_LISTXATTR,
    OP_REMOVEXATTR,
    OP_TMPFILE,  /* into slot */
    OP_LINKSLOT, /* gives the file of a slot a name */
    OP_READDIR,
    OP_FSYNC,
    OP_SYNC,
    OP_REMOUNT, /* flags 1: as after a crash */
    OP_KINDS,
};

#define PATH_NAMES 15
#define SLOTS 8

struct path {
    uint8_t length;
    uint8_t name[PATH_NAMES];
};

struct op {
    uint8_t kind, slot, slot2, xattr;
    struct path path, path2;
    uint32_t flags; /* of the call: open, rename, fallocate mode, whence, xattr flags, file flags */
    uint32_t mode, uid, gid, umask;
    uint32_t major, minor;
    uint64_t offset, offset2, length;
    uint64_t seed; /* of the bytes: contents, symlink targets, attribute values */
    int64_t mtime, atime;
};

extern const char *const op_names[OP_KINDS];

/* Names of the namespace. The last one is longer than a name may be. */
#define NAMES 81u
#define NAME_TOO_LONG (NAMES - 1)
const char *name_string(unsigned name);
/* The number of a name, -1 when it is not one of ours. */
int name_number(const char *bytes, size_t length);

#define XATTRS 8u
const char *xattr_string(unsigned xattr);
bool xattr_is_user(unsigned xattr);

/* The same bytes for the same seed. */
void fill_bytes(uint64_t seed, void *to, size_t length);
/* The target of a symlink: length characters that name nothing. */
void fill_target(uint64_t seed, char *to, size_t length);
uint64_t hash_bytes(const void *from, size_t length);

void op_print(FILE *file, const struct op *op);

struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *rng);
/* 0 .. limit - 1 */
uint64_t rng_below(struct rng *rng, uint64_t limit);
static inline bool rng_chance(struct rng *rng, unsigned percent)
{
    return rng_below(rng, 100) < percent;
}

#endif
