/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "system.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <daxfuse/ioctl.h>

#ifndef FS_IMMUTABLE_FL
# define FS_IMMUTABLE_FL 0x10
#endif

/* Paths are walked a name at a time, as deep as the model's are long. */
#define PATH_ROOM (PATH_NAMES * 260 + 8)

struct call {
    struct system *system;
    const struct op *op;
    struct result *result;
    char path[PATH_ROOM], path2[PATH_ROOM];
};

void system_open(struct system *system, const char *folder)
{
    system->root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (system->root < 0)
        err(2, "%s", folder);
    for (unsigned i = 0; i < SLOTS; i++)
        system->slot[i] = -1;
}

static void close_slot(struct system *system, unsigned slot)
{
    if (system->slot[slot] >= 0)
        close(system->slot[slot]);
    system->slot[slot] = -1;
}

void system_close(struct system *system)
{
    for (unsigned i = 0; i < SLOTS; i++)
        close_slot(system, i);
    close(system->root);
}

static void make_path(const struct path *path, char *to)
{
    size_t at = 0;

    to[at++] = '.';
    for (unsigned i = 0; i < path->length; i++) {
        const char *name = name_string(path->name[i]);

        to[at++] = '/';
        strcpy(to + at, name);
        at += strlen(name);
    }
    to[at] = 0;
}

static void give(struct call *call, int64_t r)
{
    call->result->error = r < 0 ? errno : 0;
    call->result->value = r < 0 ? 0 : r;
}

static void give_error(struct call *call, int error)
{
    call->result->error = error;
}

/* A call that wants a path where there is none relative to a descriptor. */
static const char *proc_path(struct system *system, const char *path, char *room, size_t size)
{
    snprintf(room, size, "/proc/self/fd/%d/%s", system->root, path);
    return room;
}

static void fill_attr(const struct stat *st, struct attr *attr)
{
    bool device = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);

    *attr = (struct attr){
        .mode = st->st_mode,
        .links = (uint32_t)st->st_nlink,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .major = device ? major(st->st_rdev) : 0,
        .minor = device ? minor(st->st_rdev) : 0,
        .size = (uint64_t)st->st_size,
        .blocks = UINT64_MAX, /* how many is the filesystem's affair */
        .mtime = st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec,
        .ctime = st->st_ctim.tv_sec * 1000000000ll + st->st_ctim.tv_nsec,
    };
}

static void give_stat(struct call *call, int fd, const char *path, int flags)
{
    struct stat st;

    if (call->result->error)
        return;
    if (fstatat(fd, path, &st, flags) < 0) {
        give(call, -1);
        return;
    }
    call->result->has_attr = true;
    call->result->value = 0;
    fill_attr(&st, &call->result->attr);
}

/* ---- names ---- */

static void apply_make(struct call *call)
{
    const struct op *op = call->op;
    int root = call->system->root;
    char target[4200];
    int fd;

    umask(op->umask);
    switch (op->kind) {
    case OP_CREATE:
        close_slot(call->system, op->slot);
        fd = openat(root, call->path, (int)op->flags | O_CLOEXEC, op->mode);
        call->system->slot[op->slot] = fd;
        give(call, fd);
        break;
    case OP_MKDIR:
        give(call, mkdirat(root, call->path, op->mode));
        break;
    case OP_MKNOD:
        give(call, mknodat(root, call->path, op->mode, makedev(op->major, op->minor)));
        break;
    default:
        fill_target(op->seed, target, op->length);
        target[op->length] = 0;
        give(call, symlinkat(target, root, call->path));
    }
    give_stat(call, root, call->path, AT_SYMLINK_NOFOLLOW);
}

static void apply_tmpfile(struct call *call)
{
    const struct op *op = call->op;
    int fd;

    umask(op->umask);
    close_slot(call->system, op->slot);
    fd = openat(call->system->root, call->path, O_TMPFILE | (int)op->flags | O_CLOEXEC, op->mode);
    call->system->slot[op->slot] = fd;
    give(call, fd);
    give_stat(call, fd, "", AT_EMPTY_PATH);
}

static void apply_readdir(struct call *call)
{
    int fd =
        openat(call->system->root, call->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct dirent *entry;
    DIR *dir;

    give(call, fd);
    if (fd < 0)
        return;
    dir = fdopendir(fd);
    call->result->value = 0;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lost+found") == 0)
            continue;
        call->result->value++;
        call->result->hash +=
            listing_hash(entry->d_name, strlen(entry->d_name), (uint32_t)entry->d_type << 12);
    }
    closedir(dir);
}

static void apply_readlink(struct call *call)
{
    char target[4200];
    ssize_t n = readlinkat(call->system->root, call->path, target, sizeof(target));

    give(call, n);
    if (n >= 0)
        call->result->hash = hash_bytes(target, (size_t)n);
}

static void apply_name(struct call *call)
{
    const struct op *op = call->op;
    int root = call->system->root;

    switch (op->kind) {
    case OP_UNLINK:
        give(call, unlinkat(root, call->path, 0));
        break;
    case OP_RMDIR:
        give(call, unlinkat(root, call->path, AT_REMOVEDIR));
        break;
    case OP_LINK:
        give(call, linkat(root, call->path, root, call->path2, 0));
        break;
    case OP_LINKSLOT:
        if (call->system->slot[op->slot] < 0)
            give_error(call, EBADF);
        else
            give(call, linkat(call->system->slot[op->slot], "", root, call->path, AT_EMPTY_PATH));
        break;
    case OP_RENAME:
        give(call, renameat2(root, call->path, root, call->path2, op->flags));
        break;
    case OP_LOOKUP:
        give_stat(call, root, call->path, AT_SYMLINK_NOFOLLOW);
        break;
    case OP_READLINK:
        apply_readlink(call);
        break;
    case OP_READDIR:
        apply_readdir(call);
        break;
    case OP_TMPFILE:
        apply_tmpfile(call);
        break;
    default:
        apply_make(call);
    }
}

/* ---- what a path names ---- */

static void set_flags(struct call *call)
{
    int fd = openat(call->system->root, call->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int flags = 0;

    give(call, fd);
    if (fd < 0)
        return;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) {
        give(call, -1);
    } else {
        flags = (flags & ~0x30) | (int)(call->op->flags & 0x30);
        give(call, ioctl(fd, FS_IOC_SETFLAGS, &flags));
    }
    close(fd);
}

static void apply_xattr(struct call *call)
{
    const struct op *op = call->op;
    const char *name = xattr_string(op->xattr);
    char room[PATH_ROOM + 64];
    const char *path = proc_path(call->system, call->path, room, sizeof(room));
    char *buffer = malloc(op->length + 4096);
    ssize_t n;

    switch (op->kind) {
    case OP_SETXATTR:
        fill_bytes(op->seed, buffer, op->length);
        give(call, lsetxattr(path, name, buffer, op->length, (int)op->flags));
        break;
    case OP_REMOVEXATTR:
        give(call, lremovexattr(path, name));
        break;
    case OP_GETXATTR:
        n = lgetxattr(path, name, buffer, op->length);
        give(call, n);
        if (n >= 0 && (op->length > 0 || n == 0))
            call->result->hash = hash_bytes(buffer, (size_t)n);
        break;
    default:
        n = llistxattr(path, buffer, 4096);
        give(call, n);
        for (ssize_t at = 0; at < n; at += (ssize_t)strlen(buffer + at) + 1)
            call->result->hash += listing_hash(buffer + at, strlen(buffer + at), 0);
    }
    free(buffer);
}

static void apply_open(struct call *call, const struct stat *st)
{
    const struct op *op = call->op;
    int fd;

    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode)) {
        give_error(call, S_ISLNK(st->st_mode) ? ELOOP : ENXIO);
        return;
    }
    fd = openat(call->system->root, call->path, (int)op->flags | O_CLOEXEC);
    call->system->slot[op->slot] = fd;
    give(call, fd);
    if (fd >= 0)
        call->result->value = 0;
}

static void apply_attr(struct call *call, const struct stat *st)
{
    const struct op *op = call->op;
    int root = call->system->root;
    struct timespec times[2] = { { op->atime / 1000000000, op->atime % 1000000000 },
                                 { op->mtime / 1000000000, op->mtime % 1000000000 } };
    char room[PATH_ROOM + 64];

    switch (op->kind) {
    case OP_CHMOD:
    case OP_TRUNCATE:
        if (S_ISLNK(st->st_mode))
            give_error(call, ELOOP);
        else if (op->kind == OP_CHMOD)
            give(call, fchmodat(root, call->path, op->mode, 0));
        else
            give(call, truncate(proc_path(call->system, call->path, room, sizeof(room)),
                                (off_t)op->length));
        break;
    case OP_CHOWN:
        give(call, fchownat(root, call->path, op->uid, op->gid, AT_SYMLINK_NOFOLLOW));
        break;
    case OP_UTIMES:
        give(call, utimensat(root, call->path, times, AT_SYMLINK_NOFOLLOW));
        break;
    default:
        if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))
            set_flags(call);
        else
            give_error(call, EOPNOTSUPP);
    }
}

static void apply_path(struct call *call)
{
    struct stat st;

    if (call->op->kind == OP_OPEN)
        close_slot(call->system, call->op->slot);
    if (fstatat(call->system->root, call->path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        give(call, -1);
        return;
    }
    switch (call->op->kind) {
    case OP_OPEN:
        apply_open(call, &st);
        break;
    case OP_SETXATTR:
    case OP_GETXATTR:
    case OP_LISTXATTR:
    case OP_REMOVEXATTR:
        apply_xattr(call);
        break;
    default:
        apply_attr(call, &st);
    }
}

/* ---- files ---- */

static bool is_dir(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static void apply_copy(struct call *call, int from)
{
    const struct op *op = call->op;
    int to = call->system->slot[op->slot2];
    off_t in = (off_t)op->offset, out = (off_t)op->offset2;
    size_t done = 0;
    ssize_t n;

    if (to < 0) {
        give_error(call, EBADF);
        return;
    }
    if (is_dir(from) || is_dir(to)) {
        give_error(call, EISDIR);
        return;
    }
    do {
        n = copy_file_range(from, &in, to, &out, op->length - done, 0);
        if (n > 0)
            done += (size_t)n;
    } while (n > 0 && done < op->length && from != to && lseek(from, 0, SEEK_CUR) >= 0 &&
             op->slot != op->slot2);
    give(call, done > 0 ? (ssize_t)done : n);
}

static sigjmp_buf no_page;

static void page_missing(int signal_number)
{
    siglongjmp(no_page, signal_number);
}

/* EFAULT: there is no page where the file has bytes. That is right on no filesystem. */
static int store_bytes(uint8_t *to, const uint8_t *from, size_t length)
{
    int r = EFAULT;

    signal(SIGBUS, page_missing);
    if (sigsetjmp(no_page, 1) == 0) {
        memcpy(to, from, length);
        r = 0;
    }
    signal(SIGBUS, SIG_DFL);
    return r;
}

static void apply_store(struct call *call, int fd)
{
    const struct op *op = call->op;
    size_t before = op->offset % 4096, length = before + op->length;
    uint8_t *bytes, *map;
    int flags = 0, error;
    struct stat st;

    if (fstat(fd, &st) < 0)
        give(call, -1);
    else if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
        give_error(call, EACCES);
    else if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || (flags & FLAGS_FIXED))
        give_error(call, EPERM);
    else if (op->length == 0 || op->offset + op->length > (uint64_t)st.st_size)
        give_error(call, EINVAL);
    if (call->result->error)
        return;
    map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(op->offset - before));
    if (map == MAP_FAILED) {
        give(call, -1);
        return;
    }
    bytes = malloc(op->length);
    fill_bytes(op->seed, bytes, op->length);
    error = store_bytes(map + before, bytes, op->length);
    if (error)
        give_error(call, error);
    else
        give(call, msync(map, length, MS_SYNC) < 0 ? -1 : (int64_t)op->length);
    free(bytes);
    munmap(map, length);
}

static void apply_slot(struct call *call)
{
    const struct op *op = call->op;
    int fd = call->system->slot[op->slot];
    uint8_t *bytes;
    ssize_t n;

    if (fd < 0) {
        give_error(call, EBADF);
        return;
    }
    switch (op->kind) {
    case OP_CLOSE:
        close_slot(call->system, op->slot);
        break;
    case OP_FSYNC:
        give(call, op->seed & 1 ? fdatasync(fd) : fsync(fd));
        break;
    case OP_WRITE:
        bytes = malloc(op->length);
        fill_bytes(op->seed, bytes, op->length);
        give(call, pwrite(fd, bytes, op->length, (off_t)op->offset));
        free(bytes);
        break;
    case OP_READ:
        bytes = malloc(op->length + 1);
        n = pread(fd, bytes, op->length, (off_t)op->offset);
        give(call, n);
        if (n >= 0)
            call->result->hash = hash_bytes(bytes, (size_t)n);
        free(bytes);
        break;
    case OP_STORE:
        apply_store(call, fd);
        break;
    case OP_SHIFT:
        if (call->system->direct) {
            give(call,
                 daxfuse_fallocate(fd, (int)op->flags, (int64_t)op->offset, (int64_t)op->length));
            break;
        }
        /* fall through */
    case OP_FALLOCATE:
        give(call, fallocate(fd, (int)op->flags, (off_t)op->offset, (off_t)op->length));
        break;
    case OP_SEEK:
        if (is_dir(fd))
            give_error(call, EINVAL);
        else
            give(call, lseek(fd, (off_t)op->offset, (int)op->flags));
        break;
    default:
        apply_copy(call, fd);
    }
}

void system_apply(struct system *system, const struct op *op, struct result *ret_result)
{
    struct call *call = malloc(sizeof(*call));

    *ret_result = (struct result){ 0 };
    call->system = system;
    call->op = op;
    call->result = ret_result;
    make_path(&op->path, call->path);
    make_path(&op->path2, call->path2);
    switch (op->kind) {
    case OP_CLOSE:
    case OP_FSYNC:
    case OP_WRITE:
    case OP_STORE:
    case OP_READ:
    case OP_FALLOCATE:
    case OP_SHIFT:
    case OP_SEEK:
    case OP_COPY:
        apply_slot(call);
        break;
    case OP_OPEN:
    case OP_TRUNCATE:
    case OP_CHMOD:
    case OP_CHOWN:
    case OP_UTIMES:
    case OP_SETFLAGS:
    case OP_SETXATTR:
    case OP_GETXATTR:
    case OP_LISTXATTR:
    case OP_REMOVEXATTR:
        apply_path(call);
        break;
    case OP_SYNC:
        give(call, syncfs(system->root));
        break;
    case OP_REMOUNT:
        break;
    default:
        apply_name(call);
    }
    free(call);
}
