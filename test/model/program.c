/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "program.h"

#include <inttypes.h>
#include <string.h>

const char *const op_names[OP_KINDS] = {
    [OP_CREATE] = "create",       [OP_MKDIR] = "mkdir",         [OP_MKNOD] = "mknod",
    [OP_SYMLINK] = "symlink",     [OP_LINK] = "link",           [OP_UNLINK] = "unlink",
    [OP_RMDIR] = "rmdir",         [OP_RENAME] = "rename",       [OP_LOOKUP] = "lookup",
    [OP_READLINK] = "readlink",   [OP_OPEN] = "open",           [OP_CLOSE] = "close",
    [OP_WRITE] = "write",         [OP_READ] = "read",           [OP_TRUNCATE] = "truncate",
    [OP_FALLOCATE] = "fallocate", [OP_SHIFT] = "shift",         [OP_SEEK] = "seek",
    [OP_COPY] = "copy",           [OP_CHMOD] = "chmod",         [OP_CHOWN] = "chown",
    [OP_UTIMES] = "utimes",       [OP_SETFLAGS] = "setflags",   [OP_SETXATTR] = "setxattr",
    [OP_GETXATTR] = "getxattr",   [OP_LISTXATTR] = "listxattr", [OP_REMOVEXATTR] = "removexattr",
    [OP_TMPFILE] = "tmpfile",     [OP_LINKSLOT] = "linkslot",   [OP_READDIR] = "readdir",
    [OP_FSYNC] = "fsync",         [OP_SYNC] = "sync",           [OP_REMOUNT] = "remount",
    [OP_STORE] = "store",
};

uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t rng_below(struct rng *rng, uint64_t limit)
{
    return limit ? rng_next(rng) % limit : 0;
}

/* Short ones, ones of different lengths up to the limit, one past it. */
static char names[NAMES][260];

__attribute__((constructor)) static void make_names(void)
{
    for (unsigned i = 0; i < NAMES; i++) {
        size_t length = i < 48 ? 0 : i < 78 ? 20 + (i - 48) * 7 : i < NAME_TOO_LONG ? 255 : 256;
        int used = snprintf(names[i], sizeof(names[i]), i % 7 == 3 ? "\xc3\xa9%u" : "n%u", i);

        for (size_t at = (size_t)used; at < length; at++)
            names[i][at] = (char)('a' + (at + i) % 26);
    }
}

const char *name_string(unsigned name)
{
    return names[name];
}

int name_number(const char *bytes, size_t length)
{
    for (unsigned i = 0; i < NAMES; i++)
        if (strlen(names[i]) == length && memcmp(names[i], bytes, length) == 0)
            return (int)i;
    return -1;
}

static const char *const xattrs[XATTRS] = {
    "user.a",
    "user.b",
    "user.a-rather-long-name-of-an-attribute-that-takes-some-room-of-its-own-in-the-list",
    "user.c",
    "trusted.t",
    "trusted.u",
    "security.s",
    "user.d",
};

const char *xattr_string(unsigned xattr)
{
    return xattrs[xattr % XATTRS];
}

bool xattr_is_user(unsigned xattr)
{
    return strncmp(xattr_string(xattr), "user.", 5) == 0;
}

void fill_bytes(uint64_t seed, void *to, size_t length)
{
    struct rng rng = { seed };
    uint8_t *at = to;

    while (length > 0) {
        uint64_t word = rng_next(&rng);
        size_t part = length < 8 ? length : 8;

        memcpy(at, &word, part);
        at += part;
        length -= part;
    }
}

void fill_target(uint64_t seed, char *to, size_t length)
{
    struct rng rng = { seed };

    for (size_t i = 0; i < length; i++) {
        /* Components of a length that every path walk takes. */
        to[i] = i % 100 == 99 && i + 1 < length ? '/' : (char)('A' + rng_below(&rng, 26));
    }
}

uint64_t hash_bytes(const void *from, size_t length)
{
    const uint8_t *at = from;
    uint64_t hash = 0xcbf29ce484222325ull ^ length;

    for (; length >= 8; at += 8, length -= 8) {
        uint64_t word;

        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
        hash ^= hash >> 29;
    }
    while (length-- > 0)
        hash = (hash ^ *at++) * 0x100000001b3ull;
    return hash;
}

static void print_path(FILE *file, const struct path *path)
{
    putc(' ', file);
    if (path->length == 0)
        putc('/', file);
    for (unsigned i = 0; i < path->length; i++)
        fprintf(file, "/%.8s", name_string(path->name[i]));
}

void op_print(FILE *file, const struct op *op)
{
    fputs(op_names[op->kind], file);
    switch (op->kind) {
    case OP_CREATE:
    case OP_OPEN:
    case OP_TMPFILE:
        print_path(file, &op->path);
        fprintf(file, " flags=%#x mode=%04o umask=%04o uid=%u gid=%u -> slot %u", op->flags,
                op->mode, op->umask, op->uid, op->gid, op->slot);
        break;
    case OP_MKDIR:
    case OP_MKNOD:
        print_path(file, &op->path);
        fprintf(file, " mode=%06o umask=%04o uid=%u gid=%u dev=%u:%u", op->mode, op->umask, op->uid,
                op->gid, op->major, op->minor);
        break;
    case OP_SYMLINK:
        print_path(file, &op->path);
        fprintf(file, " length=%" PRIu64, op->length);
        break;
    case OP_LINK:
    case OP_RENAME:
        print_path(file, &op->path);
        print_path(file, &op->path2);
        fprintf(file, " flags=%u", op->flags);
        break;
    case OP_LINKSLOT:
        fprintf(file, " slot %u", op->slot);
        print_path(file, &op->path);
        break;
    case OP_WRITE:
    case OP_STORE:
    case OP_READ:
    case OP_FALLOCATE:
    case OP_SHIFT:
    case OP_SEEK:
        fprintf(file, " slot %u offset=%" PRIu64 " length=%" PRIu64 " flags=%#x uid=%u", op->slot,
                op->offset, op->length, op->flags, op->uid);
        break;
    case OP_COPY:
        fprintf(file, " slot %u offset=%" PRIu64 " -> slot %u offset=%" PRIu64 " length=%" PRIu64,
                op->slot, op->offset, op->slot2, op->offset2, op->length);
        break;
    case OP_TRUNCATE:
        print_path(file, &op->path);
        fprintf(file, " length=%" PRIu64, op->length);
        break;
    case OP_CHMOD:
    case OP_CHOWN:
    case OP_UTIMES:
    case OP_SETFLAGS:
        print_path(file, &op->path);
        fprintf(file, " flags=%#x mode=%04o uid=%d gid=%d mtime=%" PRId64, op->flags, op->mode,
                (int)op->uid, (int)op->gid, op->mtime);
        break;
    case OP_SETXATTR:
    case OP_GETXATTR:
    case OP_REMOVEXATTR:
        print_path(file, &op->path);
        fprintf(file, " %s length=%" PRIu64 " flags=%u", xattr_string(op->xattr), op->length,
                op->flags);
        break;
    case OP_CLOSE:
    case OP_FSYNC:
        fprintf(file, " slot %u", op->slot);
        break;
    case OP_SYNC:
    case OP_REMOUNT:
        fprintf(file, " flags=%u", op->flags);
        break;
    default:
        print_path(file, &op->path);
        break;
    }
}
