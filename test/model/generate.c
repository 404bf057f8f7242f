/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "generate.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ENTRIES_MANY 140u
#define DEPTH_MANY 6u

/* How often each kind comes, of the sum. */
static const uint8_t weights[OP_KINDS] = {
    [OP_CREATE] = 50,   [OP_MKDIR] = 18,    [OP_MKNOD] = 10,       [OP_SYMLINK] = 12,
    [OP_LINK] = 14,     [OP_UNLINK] = 40,   [OP_RMDIR] = 14,       [OP_RENAME] = 40,
    [OP_LOOKUP] = 16,   [OP_READLINK] = 8,  [OP_OPEN] = 50,        [OP_CLOSE] = 12,
    [OP_WRITE] = 110,   [OP_READ] = 60,     [OP_TRUNCATE] = 36,    [OP_FALLOCATE] = 40,
    [OP_SHIFT] = 30,    [OP_SEEK] = 20,     [OP_COPY] = 24,        [OP_CHMOD] = 12,
    [OP_CHOWN] = 10,    [OP_UTIMES] = 10,   [OP_SETFLAGS] = 12,    [OP_SETXATTR] = 24,
    [OP_GETXATTR] = 10, [OP_LISTXATTR] = 8, [OP_REMOVEXATTR] = 12, [OP_TMPFILE] = 10,
    [OP_LINKSLOT] = 14, [OP_READDIR] = 12,  [OP_FSYNC] = 8,        [OP_SYNC] = 4,
    [OP_REMOUNT] = 4,   [OP_STORE] = 30,
};

static const uint8_t byte_weights[OP_KINDS] = {
    [OP_OPEN] = 8,       [OP_WRITE] = 40, [OP_STORE] = 40, [OP_READ] = 20, [OP_TRUNCATE] = 24,
    [OP_FALLOCATE] = 50, [OP_SHIFT] = 50, [OP_SEEK] = 4,   [OP_COPY] = 6,  [OP_FSYNC] = 2,
};

typedef bool (*node_test)(const struct node *node);

static bool is_any(const struct node *node)
{
    return node != NULL;
}

static bool is_file(const struct node *node)
{
    return S_ISREG(node->mode);
}

static bool is_free_file(const struct node *node)
{
    return S_ISREG(node->mode) && !(node->flags & FLAGS_FIXED);
}

static bool is_dir(const struct node *node)
{
    return S_ISDIR(node->mode);
}

static bool is_empty_dir(const struct node *node)
{
    return S_ISDIR(node->mode) && node->entries == 0;
}

static bool is_not_dir(const struct node *node)
{
    return !S_ISDIR(node->mode);
}

static bool is_link(const struct node *node)
{
    return S_ISLNK(node->mode);
}

static bool is_fixed(const struct node *node)
{
    return node->flags & FLAGS_FIXED;
}

static bool has_xattr(const struct node *node)
{
    for (unsigned i = 0; i < XATTRS; i++)
        if (node->attribute[i].present)
            return true;
    return false;
}

/* ---- paths ---- */

static bool path_of_dir(const struct oracle *oracle, const struct node *dir, struct path *path)
{
    uint8_t reversed[PATH_NAMES];
    unsigned length = 0;

    while (dir != oracle->root) {
        if (length == PATH_NAMES - 1)
            return false;
        reversed[length++] = dir->parent_name;
        dir = dir->parent;
    }
    path->length = (uint8_t)length;
    for (unsigned i = 0; i < length; i++)
        path->name[i] = reversed[length - 1 - i];
    return true;
}

static uint8_t some_name(struct generator *g)
{
    if (rng_chance(&g->rng, 1))
        return NAME_TOO_LONG;
    return (uint8_t)rng_below(&g->rng, rng_chance(&g->rng, 50) ? 12 : NAME_TOO_LONG);
}

static bool some_dir(struct generator *g, struct path *path)
{
    struct oracle *oracle = g->oracle;

    for (unsigned tries = 0; tries < 30 && oracle->entries > 0; tries++) {
        struct oracle_entry *entry = &oracle->entry[rng_below(&g->rng, oracle->entries)];

        if (is_dir(entry->dir->child[entry->name]) && rng_chance(&g->rng, 80) &&
            path_of_dir(oracle, entry->dir->child[entry->name], path) && path->length < DEPTH_MANY)
            return true;
    }
    path->length = 0;
    return false;
}

/* A path to something that passes the test, or, if there is nothing or chance wants it, to
 * anything or nothing. */
static void old_path(struct generator *g, node_test test, struct path *path)
{
    struct oracle *oracle = g->oracle;

    for (unsigned tries = 0; tries < 40 && oracle->entries > 0; tries++) {
        struct oracle_entry *entry = &oracle->entry[rng_below(&g->rng, oracle->entries)];

        if (rng_chance(&g->rng, 2))
            test = is_any;
        if (test(entry->dir->child[entry->name]) && path_of_dir(oracle, entry->dir, path)) {
            path->name[path->length++] = entry->name;
            return;
        }
    }
    some_dir(g, path);
    path->name[path->length++] = some_name(g);
}

static struct node *find_path(struct generator *g, const struct path *path)
{
    struct node *node = NULL;

    return oracle_resolve(g->oracle, path, &node) == 0 ? node : NULL;
}

/* A path to a name that is not there, mostly. */
static void new_path(struct generator *g, struct path *path)
{
    if (rng_chance(&g->rng, 2)) {
        old_path(g, is_any, path); /* something in what may be no directory */
        if (path->length == PATH_NAMES)
            path->length--;
    } else {
        some_dir(g, path);
    }
    for (unsigned tries = 0; tries < 20; tries++) {
        path->name[path->length] = some_name(g);
        path->length++;
        if (!find_path(g, path) || rng_chance(&g->rng, 3))
            return;
        path->length--;
    }
    path->length++;
}

/* ---- numbers ---- */

static uint64_t some_offset(struct generator *g, uint64_t size)
{
    uint64_t limit = g->oracle->size_max;

    switch (rng_below(&g->rng, 12)) {
    case 0:
        return 0;
    case 1:
        return size;
    case 2:
        return size + rng_below(&g->rng, 20000);
    case 3:
        return rng_below(&g->rng, 64) << 12;
    case 4:
        return (rng_below(&g->rng, 3) << 21) + rng_below(&g->rng, 8192);
    case 5:
        if (rng_chance(&g->rng, 90))
            return rng_below(&g->rng, 1 << 20);
        return rng_chance(&g->rng, 20) ? limit - rng_below(&g->rng, 10000)
                                       : rng_below(&g->rng, 1ull << 42);
    default:
        return rng_below(&g->rng, size + 4096 < 1 << 20 ? size + 4096 : 1 << 20);
    }
}

static uint64_t some_length(struct generator *g)
{
    if (g->large && rng_chance(&g->rng, 30))
        return 1 + rng_below(&g->rng, 1 << 20);
    switch (rng_below(&g->rng, 20)) {
    case 0:
    case 1:
    case 2:
        return 4096 * (1 + rng_below(&g->rng, 4));
    case 3:
    case 4:
        return 1 + rng_below(&g->rng, 65536);
    case 5:
        return rng_chance(&g->rng, 10) ? (2u << 20) + rng_below(&g->rng, 1 << 20)
                                       : 1 + rng_below(&g->rng, 200000);
    case 6:
    case 7:
    case 8:
        return 1 + rng_below(&g->rng, 100);
    default:
        return 1 + rng_below(&g->rng, 10000);
    }
}

static uint32_t some_mode(struct generator *g)
{
    static const uint32_t modes[] = {
        0644, 0755, 0600, 0777, 04755, 02755, 06711, 02644, 01777, 0
    };

    return rng_chance(&g->rng, 20) ? (uint32_t)rng_below(&g->rng, 010000)
                                   : modes[rng_below(&g->rng, 10)];
}

static void some_owner(struct generator *g, struct op *op)
{
    static const uint32_t masks[] = { 0, 022, 077, 0, 022 };

    op->umask = masks[rng_below(&g->rng, 5)];
    op->mode = some_mode(g);
    if (!g->kernel && rng_chance(&g->rng, 50)) {
        op->uid = 1000 + (uint32_t)rng_below(&g->rng, 3);
        op->gid = 1000 + (uint32_t)rng_below(&g->rng, 3);
    }
}

static unsigned some_slot(struct generator *g, bool full)
{
    unsigned slot = (unsigned)rng_below(&g->rng, SLOTS);

    for (unsigned i = 0; i < SLOTS && !g->oracle->slot[slot].node == full; i++)
        slot = (slot + 1) % SLOTS;
    return slot;
}

/* A slot that may be written or read, mostly; the size of what it has. */
static unsigned data_slot(struct generator *g, bool write, uint64_t *ret_size)
{
    unsigned slot = 0;

    *ret_size = 0;
    for (unsigned i = 0; i < 20; i++) {
        const struct oracle_slot *s = &g->oracle->slot[slot = some_slot(g, true)];
        uint32_t mode = s->flags & O_ACCMODE;

        if (s->node && S_ISREG(s->node->mode) && mode != (write ? O_RDONLY : O_WRONLY) &&
            !(write && (s->node->flags & FLAGS_FIXED)))
            break;
    }
    if (g->oracle->slot[slot].node)
        *ret_size = g->oracle->slot[slot].node->size;
    return slot;
}

static uint32_t open_flags(struct generator *g)
{
    static const int modes[] = { O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_WRONLY };
    int flags = modes[rng_below(&g->rng, 5)];

    if (rng_chance(&g->rng, 12))
        flags |= O_APPEND;
    return (uint32_t)flags;
}

/* ---- operations ---- */

static void gen_rename(struct generator *g, struct op *op)
{
    static const uint8_t flags[] = { 0, 0, 0, 0, 0, 0, 1, 2, 2, 4, 5 };

    op->flags = flags[rng_below(&g->rng, sizeof(flags))];
    if (rng_chance(&g->rng, 1))
        op->flags = (uint32_t)rng_below(&g->rng, 9);
    old_path(g, is_any, &op->path);
    if (op->flags == 2 || (op->flags == 0 && rng_chance(&g->rng, 35))) {
        struct node *node = find_path(g, &op->path);

        old_path(g,
                 op->flags == 2         ? is_any
                 : node && is_dir(node) ? is_empty_dir
                                        : is_not_dir,
                 &op->path2);
    } else {
        new_path(g, &op->path2);
    }
}

static void gen_fallocate(struct generator *g, struct op *op)
{
    static const uint32_t modes[] = {
        0,
        FALLOC_FL_KEEP_SIZE,
        FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
        FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
        FALLOC_FL_ZERO_RANGE,
        FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
    };
    uint64_t size;

    op->slot = (uint8_t)data_slot(g, true, &size);
    op->flags = modes[rng_below(&g->rng, 6)];
    op->offset = some_offset(g, size);
    op->length = some_length(g);
    if (rng_chance(&g->rng, 5))
        op->length *= rng_below(&g->rng, 20);
    if (!g->kernel && rng_chance(&g->rng, 20))
        op->uid = 1000;
}

/* Mostly such as succeed. */
static void gen_shift(struct generator *g, struct op *op)
{
    uint64_t size, blocks;

    op->slot = (uint8_t)data_slot(g, true, &size);
    op->flags = rng_chance(&g->rng, 50) ? FALLOC_FL_COLLAPSE_RANGE : FALLOC_FL_INSERT_RANGE;
    if (!g->kernel && rng_chance(&g->rng, 20))
        op->uid = 1000;
    if (rng_chance(&g->rng, 10)) {
        op->offset = some_offset(g, size);
        op->length = some_length(g);
        if (rng_chance(&g->rng, 60)) {
            op->offset &= ~4095ull;
            op->length = (op->length + 4095) & ~4095ull;
        }
        return;
    }
    blocks = size > 0 ? (size - 1) / 4096 : 0; /* whole ones before EOF */
    if (op->flags == FALLOC_FL_INSERT_RANGE || blocks == 0) {
        op->flags = FALLOC_FL_INSERT_RANGE;
        op->offset = rng_below(&g->rng, blocks + 1) * 4096;
        op->length = 4096 * (1 + rng_below(&g->rng, rng_chance(&g->rng, 90) ? 8 : 600));
        return;
    }
    op->offset = rng_below(&g->rng, blocks);
    op->length = 1 + rng_below(&g->rng, blocks - op->offset);
    if (op->length > 8 && rng_chance(&g->rng, 80))
        op->length = 1 + rng_below(&g->rng, 8);
    op->offset *= 4096;
    op->length *= 4096;
}

static void gen_copy(struct generator *g, struct op *op)
{
    uint64_t from_size, to_size;

    op->slot = (uint8_t)data_slot(g, false, &from_size);
    for (unsigned i = 0; i < 6; i++) {
        op->slot2 = (uint8_t)data_slot(g, true, &to_size);
        if (op->slot2 != op->slot && !(g->oracle->slot[op->slot2].flags & O_APPEND))
            break;
    }
    op->offset = rng_chance(&g->rng, 30) ? 0 : rng_below(&g->rng, from_size + 1);
    op->offset2 = some_offset(g, to_size) & 0xfffffff;
    op->length = some_length(g);
}

static void gen_setflags(struct generator *g, struct op *op)
{
    if (rng_chance(&g->rng, 65)) {
        old_path(g, is_fixed, &op->path);
        op->flags = 0;
        return;
    }
    old_path(g, rng_chance(&g->rng, 80) ? is_file : is_any, &op->path);
    op->flags = rng_chance(&g->rng, 50) ? 0x10 : 0x20;
    if (!g->kernel && rng_chance(&g->rng, 50))
        op->flags = (uint32_t)rng_below(&g->rng, 16) << 4;
}

static void gen_xattr(struct generator *g, struct op *op)
{
    bool wants = op->kind == OP_GETXATTR || op->kind == OP_REMOVEXATTR;

    op->xattr = (uint8_t)rng_below(&g->rng, XATTRS);
    old_path(g, wants || rng_chance(&g->rng, 40) ? has_xattr : is_any, &op->path);
    if (wants) {
        struct node *node = find_path(g, &op->path);

        for (unsigned i = 0; node && i < XATTRS && !rng_chance(&g->rng, 3); i++)
            if (node->attribute[op->xattr].present)
                break;
            else
                op->xattr = (op->xattr + 1) % XATTRS;
    }
    if (op->kind == OP_GETXATTR) {
        op->length = rng_chance(&g->rng, 30) ? rng_below(&g->rng, 300) : 70000;
    } else if (op->kind == OP_SETXATTR) {
        op->length = rng_below(&g->rng, g->kernel ? 200 : 400);
        if (!g->kernel && rng_chance(&g->rng, 10))
            op->length = rng_below(&g->rng, rng_chance(&g->rng, 10) ? 24000 : 6000);
        op->flags = rng_chance(&g->rng, 70)   ? 0
                    : rng_chance(&g->rng, 50) ? XATTR_CREATE
                                              : XATTR_REPLACE;
    }
}

static void gen_file(struct generator *g, struct op *op)
{
    uint64_t size;

    op->slot = (uint8_t)data_slot(g, op->kind == OP_WRITE, &size);
    op->offset = some_offset(g, size);
    op->length = some_length(g);
    if (op->kind == OP_READ && op->offset > g->oracle->size_max - (8u << 20))
        op->offset &= 0xffffff;
    if (op->kind == OP_WRITE)
        op->mode = !g->kernel && rng_chance(&g->rng, 20);
    if (op->kind == OP_SEEK)
        op->flags = rng_chance(&g->rng, 50) ? SEEK_DATA : SEEK_HOLE;
}

/* Mostly such as a mapping allows. */
static void gen_store(struct generator *g, struct op *op)
{
    uint64_t size = 0;

    for (unsigned i = 0; i < 10; i++) {
        op->slot = (uint8_t)data_slot(g, true, &size);
        if ((g->oracle->slot[op->slot].flags & O_ACCMODE) == O_RDWR && size > 0)
            break;
    }
    op->offset = some_offset(g, size);
    op->length = some_length(g);
    if (size == 0 || rng_chance(&g->rng, 5))
        return;
    if (op->offset >= size)
        op->offset = rng_below(&g->rng, size);
    if (op->length > size - op->offset)
        op->length = size - op->offset;
}

static void gen_truncate(struct generator *g, struct op *op)
{
    struct node *node;

    old_path(g, is_free_file, &op->path);
    node = find_path(g, &op->path);
    op->length = some_offset(g, node ? node->size : 0);
    if (rng_chance(&g->rng, 1))
        op->length = g->oracle->size_max + rng_below(&g->rng, 3);
}

static void gen_mknod(struct generator *g, struct op *op)
{
    static const uint32_t types[] = { S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK };

    new_path(g, &op->path);
    some_owner(g, op);
    op->mode |= types[rng_below(&g->rng, 5)];
    op->major = (uint32_t)rng_below(&g->rng, 200);
    op->minor = (uint32_t)rng_below(&g->rng, 70000);
}

static void gen_attr(struct generator *g, struct op *op)
{
    old_path(g, is_any, &op->path);
    if (op->kind == OP_CHMOD) {
        op->mode = some_mode(g);
    } else if (op->kind == OP_CHOWN) {
        op->uid = rng_chance(&g->rng, 70) ? (uint32_t)rng_below(&g->rng, 2000) : UINT32_MAX;
        op->gid = op->uid == UINT32_MAX || rng_chance(&g->rng, 50)
                      ? (uint32_t)rng_below(&g->rng, 2000)
                      : UINT32_MAX;
    } else if (op->kind == OP_UTIMES) {
        op->mtime = (int64_t)rng_below(&g->rng, 1ull << 61);
        op->atime = (int64_t)rng_below(&g->rng, 1ull << 61);
        if (!g->kernel && rng_chance(&g->rng, 20))
            op->mtime = -op->mtime;
    }
}

static void gen_open(struct generator *g, struct op *op)
{
    old_path(g, rng_chance(&g->rng, 92) ? is_free_file : is_any, &op->path);
    op->slot = (uint8_t)some_slot(g, false);
    op->flags = open_flags(g);
    if (rng_chance(&g->rng, 10))
        op->flags |= O_TRUNC;
}

static void gen_symlink(struct generator *g, struct op *op)
{
    new_path(g, &op->path);
    some_owner(g, op);
    op->length = 1 + rng_below(&g->rng, rng_chance(&g->rng, 70) ? 200 : 4095);
}

static void gen_whole(struct generator *g, struct op *op)
{
    if (op->kind == OP_CLOSE || op->kind == OP_FSYNC)
        op->slot = (uint8_t)some_slot(g, true);
    else if (op->kind == OP_REMOUNT)
        op->flags = (uint32_t)rng_below(&g->rng, 2);
}

static uint8_t some_kind(struct generator *g)
{
    const uint8_t *of = g->bytes ? byte_weights : weights;

    for (;;) {
        unsigned sum = 0, at;
        uint8_t kind = 0;

        for (unsigned i = 0; i < OP_KINDS; i++)
            sum += of[i];
        at = (unsigned)rng_below(&g->rng, sum);
        while (at >= of[kind])
            at -= of[kind++];
        if ((kind == OP_REMOUNT || kind == OP_SYNC) && !g->remounts)
            continue;
        /* As many names as there should be: what makes them turns into what takes them. */
        if (g->oracle->entries > ENTRIES_MANY &&
            (kind == OP_CREATE || kind == OP_MKDIR || kind == OP_MKNOD || kind == OP_SYMLINK) &&
            rng_chance(&g->rng, 60))
            kind = rng_chance(&g->rng, 70) ? OP_UNLINK : OP_RMDIR;
        if (g->oracle->entries < 20 && (kind == OP_UNLINK || kind == OP_RMDIR))
            kind = OP_CREATE;
        return kind;
    }
}

void generate(struct generator *g, struct op *op)
{
    memset(op, 0, sizeof(*op));
    op->kind = some_kind(g);
    op->seed = rng_next(&g->rng);
    switch (op->kind) {
    case OP_CREATE:
        new_path(g, &op->path);
        some_owner(g, op);
        op->slot = (uint8_t)some_slot(g, false);
        op->flags = open_flags(g) | O_CREAT | O_EXCL;
        break;
    case OP_TMPFILE:
        if (rng_chance(&g->rng, 5))
            old_path(g, is_any, &op->path);
        else
            some_dir(g, &op->path);
        some_owner(g, op);
        op->slot = (uint8_t)some_slot(g, false);
        op->flags = O_RDWR | (rng_chance(&g->rng, 10) ? (uint32_t)O_APPEND : 0u);
        break;
    case OP_MKDIR:
        new_path(g, &op->path);
        some_owner(g, op);
        break;
    case OP_MKNOD:
        gen_mknod(g, op);
        break;
    case OP_SYMLINK:
        gen_symlink(g, op);
        break;
    case OP_LINK:
        old_path(g, is_not_dir, &op->path);
        new_path(g, &op->path2);
        break;
    case OP_LINKSLOT:
        new_path(g, &op->path);
        op->slot = (uint8_t)some_slot(g, true);
        break;
    case OP_UNLINK:
        old_path(g, is_not_dir, &op->path);
        break;
    case OP_RMDIR:
        old_path(g, is_empty_dir, &op->path);
        break;
    case OP_RENAME:
        gen_rename(g, op);
        break;
    case OP_READLINK:
        old_path(g, is_link, &op->path);
        break;
    case OP_READDIR:
        if (rng_chance(&g->rng, 10))
            op->path.length = 0;
        else
            old_path(g, is_dir, &op->path);
        break;
    case OP_OPEN:
        gen_open(g, op);
        break;
    case OP_WRITE:
    case OP_READ:
    case OP_SEEK:
        gen_file(g, op);
        break;
    case OP_STORE:
        gen_store(g, op);
        break;
    case OP_TRUNCATE:
        gen_truncate(g, op);
        break;
    case OP_FALLOCATE:
        gen_fallocate(g, op);
        break;
    case OP_SHIFT:
        gen_shift(g, op);
        break;
    case OP_COPY:
        gen_copy(g, op);
        break;
    case OP_CHMOD:
    case OP_CHOWN:
    case OP_UTIMES:
        gen_attr(g, op);
        break;
    case OP_SETFLAGS:
        gen_setflags(g, op);
        break;
    case OP_SETXATTR:
    case OP_GETXATTR:
    case OP_REMOVEXATTR:
        gen_xattr(g, op);
        break;
    case OP_LOOKUP:
    case OP_LISTXATTR:
        old_path(g, is_any, &op->path);
        break;
    default:
        gen_whole(g, op);
    }
}
