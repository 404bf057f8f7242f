/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LITTLE_SPACE 1100u /* blocks: a wish beside it may fail */

static struct fs_name name_of(uint8_t name)
{
    return fs_name(name_string(name));
}

void engine_attr(const struct fs_attr *from, struct attr *ret_attr)
{
    *ret_attr = (struct attr){
        .mode = from->mode,
        .links = from->links,
        .uid = from->uid,
        .gid = from->gid,
        .major = from->rdev_major,
        .minor = from->rdev_minor,
        .generation = from->generation,
        .ino = from->ino,
        .size = from->size,
        .blocks = from->blocks,
        .mtime = from->mtime,
        .ctime = from->ctime,
    };
}

void engine_forget(struct engine *engine, uint64_t ino)
{
    if (ino != engine->root)
        fs_forget(engine->image->fs, ino, 1);
}

int engine_resolve(struct engine *engine, const struct path *path, unsigned length,
                   struct fs_attr *ret_attr)
{
    struct fs *fs = engine->image->fs;
    struct fs_request rq = { 0 };
    uint64_t ino = engine->root;
    int r;

    r = fs_getattr(fs, &rq, ino, ret_attr);
    for (unsigned i = 0; r == 0 && i < length; i++) {
        r = fs_lookup(fs, &rq, ino, name_of(path->name[i]), ret_attr);
        engine_forget(engine, ino);
        ino = ret_attr->ino;
    }
    return -r;
}

void engine_close_slots(struct engine *engine)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (engine->slot[i])
            fs_release(engine->image->fs, engine->slot[i]);
        engine->slot[i] = NULL;
    }
}

struct call {
    struct engine *engine;
    struct fs *fs;
    struct fs_request rq;
    const struct op *op;
    struct result *result;
};

/* What the fs_ calls return, as an errno and a value. */
static void give(struct call *call, int64_t r)
{
    call->result->error = r < 0 ? (int)-r : 0;
    call->result->value = r < 0 ? 0 : r;
}

static void give_attr(struct call *call, int r, const struct fs_attr *attr)
{
    give(call, r);
    if (r < 0)
        return;
    call->result->has_attr = true;
    engine_attr(attr, &call->result->attr);
}

static void close_slot(struct call *call, unsigned slot)
{
    if (call->engine->slot[slot])
        fs_release(call->fs, call->engine->slot[slot]);
    call->engine->slot[slot] = NULL;
}

/* ---- names ---- */

static void apply_make(struct call *call, uint64_t parent, struct fs_name name)
{
    const struct op *op = call->op;
    struct fs_attr attr;
    char *target;
    int r;

    switch (op->kind) {
    case OP_CREATE:
        r = fs_create(call->fs, &call->rq, parent, name, op->mode, (int)op->flags, &attr,
                      &call->engine->slot[op->slot]);
        break;
    case OP_MKDIR:
        r = fs_mkdir(call->fs, &call->rq, parent, name, op->mode, &attr);
        break;
    case OP_MKNOD:
        r = fs_mknod(call->fs, &call->rq, parent, name, op->mode, op->major, op->minor, &attr);
        break;
    default:
        target = malloc(op->length + 1);
        fill_target(op->seed, target, op->length);
        r = fs_symlink(call->fs, &call->rq, parent, name, (struct fs_name){ target, op->length },
                       &attr);
        free(target);
    }
    give_attr(call, r, &attr);
    if (r == 0)
        fs_forget(call->fs, attr.ino, 1);
}

static void apply_rename(struct call *call, const struct fs_attr *parent, struct fs_name name)
{
    const struct op *op = call->op;
    struct fs_attr to;
    int r;

    /* As a kernel would: both are directories before the server hears of it. */
    r = strlen(name.bytes) > 255 ? ENAMETOOLONG : S_ISDIR(parent->mode) ? 0 : ENOTDIR;
    if (r == 0)
        r = engine_resolve(call->engine, &op->path2, op->path2.length - 1u, &to);
    if (r) {
        give(call, -r);
        return;
    }
    if (!S_ISDIR(to.mode))
        r = -ENOTDIR;
    if (r == 0)
        r = fs_rename(call->fs, &call->rq, parent->ino, name, to.ino,
                      name_of(op->path2.name[op->path2.length - 1]), op->flags);
    give(call, r);
    engine_forget(call->engine, to.ino);
}

/* Operations on the last name of a path. */
static void apply_name(struct call *call)
{
    const struct op *op = call->op;
    struct fs_attr parent;
    struct fs_name name;
    int r;

    r = engine_resolve(call->engine, &op->path, op->path.length - 1u, &parent);
    if (r) {
        give(call, -r);
        return;
    }
    name = name_of(op->path.name[op->path.length - 1]);
    if (op->kind == OP_UNLINK)
        give(call, fs_unlink(call->fs, &call->rq, parent.ino, name));
    else if (op->kind == OP_RMDIR)
        give(call, fs_rmdir(call->fs, &call->rq, parent.ino, name));
    else if (op->kind == OP_RENAME)
        apply_rename(call, &parent, name);
    else
        apply_make(call, parent.ino, name);
    engine_forget(call->engine, parent.ino);
}

static void apply_link(struct call *call)
{
    const struct op *op = call->op;
    const struct path *path = op->kind == OP_LINK ? &op->path2 : &op->path;
    struct fs_attr from, parent, attr;
    int r = 0;

    if (op->kind == OP_LINKSLOT) {
        if (!call->engine->slot[op->slot]) {
            give(call, -EBADF);
            return;
        }
        from.ino = fs_handle_ino(call->engine->slot[op->slot]);
    } else {
        r = engine_resolve(call->engine, &op->path, op->path.length, &from);
    }
    if (r) {
        give(call, -r);
        return;
    }
    r = engine_resolve(call->engine, path, path->length - 1u, &parent);
    if (r) {
        give(call, -r);
    } else {
        r = fs_link(call->fs, &call->rq, from.ino, parent.ino,
                    name_of(path->name[path->length - 1]), &attr);
        give(call, r);
        engine_forget(call->engine, parent.ino);
        if (r == 0)
            fs_forget(call->fs, attr.ino, 1);
    }
    if (op->kind == OP_LINK)
        engine_forget(call->engine, from.ino);
}

struct listing {
    uint64_t hash, cookie;
    int64_t count;
    unsigned room;
    bool full;
    struct fs *fs;
    bool lookups;
};

static int list_entry(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr)
{
    struct listing *listing = arg;
    bool dot = entry->name.bytes[0] == '.';

    if (listing->room == 0) {
        listing->full = true;
        return 1;
    }
    listing->room--;
    listing->cookie = entry->next;
    if (attr) {
        if (attr->ino != entry->ino || (attr->mode >> 12) != entry->type)
            listing->hash++; /* shows as other names */
        fs_forget(listing->fs, entry->ino, 1);
    } else if (listing->lookups && !dot) {
        listing->hash++;
    }
    if (dot)
        return 0;
    listing->count++;
    listing->hash +=
        listing_hash(entry->name.bytes, entry->name.length, (uint32_t)entry->type << 12);
    return 0;
}

static void apply_readdir(struct call *call, uint64_t ino)
{
    struct rng rng = { call->op->seed };
    struct listing listing = { .fs = call->fs, .lookups = call->op->seed & 1, .full = true };
    struct fs_handle *handle = NULL;
    int r;

    r = fs_open_file(call->fs, &call->rq, ino, O_RDONLY | O_DIRECTORY, false, &handle);
    while (r == 0 && listing.full) {
        listing.full = false;
        listing.room = 1 + (unsigned)rng_below(&rng, 40);
        r = fs_readdir(call->fs, &call->rq, handle, listing.cookie, listing.lookups, list_entry,
                       &listing);
    }
    give(call, r);
    call->result->value = listing.count;
    call->result->hash = listing.hash;
    if (handle)
        fs_release(call->fs, handle);
}

/* ---- attributes ---- */

static int apply_setattr(struct call *call, const struct fs_attr *now)
{
    const struct op *op = call->op;
    struct fs_attr attr = { .mode = op->mode,
                            .uid = op->uid,
                            .gid = op->gid,
                            .size = op->length,
                            .atime = op->atime,
                            .mtime = op->mtime };
    unsigned mask = 0;

    switch (op->kind) {
    case OP_CHMOD:
        mask = FS_SET_MODE;
        break;
    case OP_CHOWN:
        mask =
            (op->uid != UINT32_MAX ? FS_SET_UID : 0u) | (op->gid != UINT32_MAX ? FS_SET_GID : 0u);
        break;
    case OP_UTIMES:
        mask = FS_SET_ATIME | FS_SET_MTIME;
        break;
    default:
        mask = FS_SET_SIZE;
    }
    if (S_ISLNK(now->mode) && (op->kind == OP_CHMOD || op->kind == OP_TRUNCATE))
        return -ELOOP; /* no call of a door's means the link itself */
    return fs_setattr(call->fs, &call->rq, now->ino, &attr, mask, &attr);
}

static void apply_listxattr(struct call *call, uint64_t ino)
{
    char buffer[4096];
    ssize_t n;

    n = fs_listxattr(call->fs, &call->rq, ino, buffer, sizeof(buffer));
    give(call, n);
    if (n >= 0 && fs_listxattr(call->fs, &call->rq, ino, NULL, 0) != n)
        call->result->value = -1;
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(buffer + at) + 1)
        call->result->hash += listing_hash(buffer + at, strlen(buffer + at), 0);
}

static void apply_getxattr(struct call *call, uint64_t ino)
{
    const struct op *op = call->op;
    void *buffer = malloc(op->length + 1);
    ssize_t n;

    n = fs_getxattr(call->fs, &call->rq, ino, xattr_string(op->xattr), buffer, op->length);
    give(call, n);
    if (n > 0 && op->length > 0)
        call->result->hash = hash_bytes(buffer, (size_t)n);
    else if (n == 0)
        call->result->hash = hash_bytes(buffer, 0);
    free(buffer);
}

static void apply_setxattr(struct call *call, uint64_t ino)
{
    const struct op *op = call->op;
    void *value = malloc(op->length + 1);

    fill_bytes(op->seed, value, op->length);
    give(call, fs_setxattr(call->fs, &call->rq, ino, xattr_string(op->xattr), value, op->length,
                           (int)op->flags, false));
    free(value);
}

static void apply_readlink(struct call *call, uint64_t ino)
{
    char *target = NULL;
    int r;

    r = fs_readlink(call->fs, &call->rq, ino, &target);
    give(call, r);
    if (r < 0)
        return;
    call->result->value = (int64_t)strlen(target);
    call->result->hash = hash_bytes(target, strlen(target));
    free(target);
}

static void apply_open(struct call *call, const struct fs_attr *attr)
{
    const struct op *op = call->op;

    if (!S_ISREG(attr->mode) && !S_ISDIR(attr->mode))
        give(call, S_ISLNK(attr->mode) ? -ELOOP : -ENXIO);
    else
        give(call, fs_open_file(call->fs, &call->rq, attr->ino, (int)op->flags, false,
                                &call->engine->slot[op->slot]));
}

static void apply_tmpfile(struct call *call, uint64_t ino)
{
    const struct op *op = call->op;
    struct fs_attr attr;
    int r;

    r = fs_tmpfile(call->fs, &call->rq, ino, op->mode, (int)op->flags, &attr,
                   &call->engine->slot[op->slot]);
    give_attr(call, r, &attr);
    if (r == 0)
        fs_forget(call->fs, attr.ino, 1);
}

/* Operations on what a path names. */
static void apply_path(struct call *call)
{
    const struct op *op = call->op;
    struct fs_attr attr;
    int r;

    r = engine_resolve(call->engine, &op->path, op->path.length, &attr);
    if (r) {
        give(call, -r);
        return;
    }
    switch (op->kind) {
    case OP_LOOKUP:
        give_attr(call, 0, &attr);
        break;
    case OP_READLINK:
        apply_readlink(call, attr.ino);
        break;
    case OP_READDIR:
        if (S_ISDIR(attr.mode))
            apply_readdir(call, attr.ino);
        else
            give(call, -ENOTDIR);
        break;
    case OP_OPEN:
        apply_open(call, &attr);
        break;
    case OP_TMPFILE:
        apply_tmpfile(call, attr.ino);
        break;
    case OP_SETFLAGS:
        give(call, fs_setflags(call->fs, &call->rq, attr.ino, op->flags));
        break;
    case OP_SETXATTR:
        apply_setxattr(call, attr.ino);
        break;
    case OP_GETXATTR:
        apply_getxattr(call, attr.ino);
        break;
    case OP_LISTXATTR:
        apply_listxattr(call, attr.ino);
        break;
    case OP_REMOVEXATTR:
        give(call, fs_removexattr(call->fs, &call->rq, attr.ino, xattr_string(op->xattr)));
        break;
    default:
        give(call, apply_setattr(call, &attr));
    }
    engine_forget(call->engine, attr.ino);
}

/* ---- files ---- */

static bool slot_may(const struct fs_handle *handle, bool write)
{
    int mode = handle ? fs_handle_flags(handle) & O_ACCMODE : -1;

    return handle && mode != (write ? O_RDONLY : O_WRONLY);
}

static bool is_dir(struct call *call, const struct fs_handle *handle)
{
    struct fs_attr attr;

    return fs_getattr(call->fs, &call->rq, fs_handle_ino(handle), &attr) == 0 && S_ISDIR(attr.mode);
}

static void apply_write(struct call *call, struct fs_handle *handle)
{
    const struct op *op = call->op;
    uint8_t *bytes = malloc(op->length);
    unsigned flags = (fs_handle_flags(handle) & O_APPEND ? FS_WRITE_APPEND : 0u) |
                     (op->mode ? FS_WRITE_KILL_SUIDGID : 0u);
    size_t half = op->seed % 3 ? 0 : op->length / 2;
    struct iovec vector[2] = { { bytes, half }, { bytes + half, op->length - half } };

    fill_bytes(op->seed, bytes, op->length);
    give(call, fs_write(call->fs, &call->rq, handle, vector, 2, op->offset, flags, NULL));
    free(bytes);
}

/* What comes to a server of what was stored through a mapping of the kernel's. */
static void apply_store(struct call *call, struct fs_handle *handle)
{
    const struct op *op = call->op;
    struct fs_attr attr;
    struct iovec vector;
    int r;

    r = fs_getattr(call->fs, &call->rq, fs_handle_ino(handle), &attr);
    if (r == 0 && (fs_handle_flags(handle) & O_ACCMODE) != O_RDWR)
        r = -EACCES;
    else if (r == 0 && (attr.flags & FLAGS_FIXED))
        r = -EPERM;
    else if (r == 0 &&
             (op->length == 0 || op->offset > attr.size || op->length > attr.size - op->offset))
        r = -EINVAL;
    if (r < 0) {
        give(call, r);
        return;
    }
    vector = (struct iovec){ malloc(op->length), op->length };
    fill_bytes(op->seed, vector.iov_base, op->length);
    give(call, fs_write(call->fs, &call->rq, handle, &vector, 1, op->offset, 0, NULL));
    free(vector.iov_base);
}

static void apply_read(struct call *call, struct fs_handle *handle)
{
    const struct op *op = call->op;
    uint8_t *bytes = malloc(op->length + 1);
    ssize_t n;

    n = fs_pread(call->fs, &call->rq, handle, bytes, op->length, op->offset);
    give(call, n);
    if (n >= 0)
        call->result->hash = hash_bytes(bytes, (size_t)n);
    free(bytes);
}

static void apply_seek(struct call *call, struct fs_handle *handle)
{
    uint64_t offset = 0;
    int r;

    r = fs_lseek(call->fs, &call->rq, handle, call->op->offset, (int)call->op->flags, &offset);
    give(call, r);
    if (r == 0)
        call->result->value = (int64_t)offset;
}

static void apply_slot(struct call *call)
{
    const struct op *op = call->op;
    struct fs_handle *handle = call->engine->slot[op->slot];
    struct fs_handle *to = call->engine->slot[op->slot2];
    bool needs_write = op->kind == OP_WRITE || op->kind == OP_FALLOCATE || op->kind == OP_SHIFT;

    if (!handle || (needs_write && !slot_may(handle, true)) ||
        (op->kind == OP_READ && !slot_may(handle, false)))
        give(call, -EBADF);
    else if (op->kind == OP_CLOSE)
        close_slot(call, op->slot);
    else if (op->kind == OP_FSYNC)
        give(call, fs_fsync(call->fs, &call->rq, fs_handle_ino(handle), op->seed & 1));
    else if (op->kind == OP_WRITE)
        apply_write(call, handle);
    else if (op->kind == OP_STORE)
        apply_store(call, handle);
    else if (op->kind == OP_READ)
        apply_read(call, handle);
    else if (op->kind == OP_SEEK)
        apply_seek(call, handle);
    else if (op->kind == OP_FALLOCATE || op->kind == OP_SHIFT)
        give(call,
             fs_fallocate(call->fs, &call->rq, handle, (int)op->flags, op->offset, op->length));
    else if (!to)
        give(call, -EBADF);
    else if (is_dir(call, handle) || is_dir(call, to))
        give(call, -EISDIR);
    else
        give(call,
             fs_copy_range(call->fs, &call->rq, handle, op->offset, to, op->offset2, op->length));
}

static void apply_remount(struct call *call)
{
    int r;

    if (call->op->flags) {
        /* What a killed server leaves: handles are only memory. */
        for (unsigned i = 0; i < SLOTS; i++)
            call->engine->slot[i] = NULL;
    } else {
        engine_close_slots(call->engine);
    }
    r = image_remount(call->engine->image, call->op->flags);
    if (r) {
        errno = r;
        err(3, "remount"); /* nothing to go on with; the parent sees it as a difference */
    }
}

void engine_apply(struct engine *engine, const struct op *op, struct result *ret_result)
{
    struct call call = {
        .engine = engine,
        .fs = engine->image->fs,
        .rq = { .uid = op->uid, .gid = op->gid, .umask = op->umask, .in_group = true },
        .op = op,
        .result = ret_result
    };
    struct fs_statfs statfs;

    *ret_result = (struct result){ 0 };
    switch (op->kind) {
    case OP_CREATE:
        close_slot(&call, op->slot);
        apply_name(&call);
        break;
    case OP_MKDIR:
    case OP_MKNOD:
    case OP_SYMLINK:
    case OP_UNLINK:
    case OP_RMDIR:
    case OP_RENAME:
        apply_name(&call);
        break;
    case OP_LINK:
    case OP_LINKSLOT:
        apply_link(&call);
        break;
    case OP_OPEN:
    case OP_TMPFILE:
        close_slot(&call, op->slot);
        apply_path(&call);
        break;
    case OP_CLOSE:
    case OP_WRITE:
    case OP_STORE:
    case OP_READ:
    case OP_FALLOCATE:
    case OP_SHIFT:
    case OP_SEEK:
    case OP_COPY:
    case OP_FSYNC:
        apply_slot(&call);
        break;
    case OP_SYNC:
        give(&call, fs_sync(call.fs));
        break;
    case OP_REMOUNT:
        apply_remount(&call);
        break;
    default:
        apply_path(&call);
    }
    fs_statfs(engine->image->fs, &statfs);
    ret_result->little_space = statfs.available < LITTLE_SPACE + (op->length >> 12);
}
