/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "faults.h"

#include "base.h"

#include "fs/range_op.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct fs_request *const rq = &base_request;
static char bytes[300 << 10];

int fault_lookup(struct fs *fs, const char *name, uint64_t *ret_ino)
{
    struct fs_attr attr;
    int r = fs_lookup(fs, rq, DXF_INO_ROOT, fs_name(name), &attr);

    if (r < 0)
        return r;
    fs_forget(fs, attr.ino, 1);
    *ret_ino = attr.ino;
    return 0;
}

/* Opens a file of the root; the result of fn, or of the lookup and the opening. */
static int with_file(struct fs *fs, const char *name, int (*fn)(struct fs *, struct fs_handle *))
{
    struct fs_handle *handle;
    struct fs_attr attr;
    int r = fs_lookup(fs, rq, DXF_INO_ROOT, fs_name(name), &attr);

    if (r < 0)
        return r;
    r = fs_open_file(fs, rq, attr.ino, O_RDWR, false, &handle);
    if (r == 0) {
        r = fn(fs, handle);
        fs_release(fs, handle);
    }
    fs_forget(fs, attr.ino, 1);
    return r;
}

/* Writes all of it: fewer is the want of space. */
static int write_all(struct fs *fs, struct fs_handle *handle, size_t length, uint64_t offset)
{
    memset(bytes, 'w', length);
    ssize_t r = fs_pwrite(fs, rq, handle, bytes, length, offset);

    return r < 0 ? (int)r : (size_t)r < length ? -ENOSPC : 0;
}

static bool goes_on(int r)
{
    return r == 0 || r == -EEXIST;
}

/* Long names, so that leaves split; those that are there from before count as made. */
static int names(struct fs *fs, unsigned count, int (*make)(struct fs *, uint64_t, struct fs_name))
{
    struct fs_attr attr;
    char name[256];
    int r = fs_lookup(fs, rq, DXF_INO_ROOT, fs_name("names"), &attr);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < count && goes_on(r); i++) {
        snprintf(name, sizeof(name), "%0250u", i);
        r = make(fs, attr.ino, fs_name(name));
    }
    fs_forget(fs, attr.ino, 1);
    return goes_on(r) ? 0 : r;
}

static int forget_made(struct fs *fs, int r, const struct fs_attr *attr)
{
    if (r == 0)
        fs_forget(fs, attr->ino, 1);
    return r;
}

static int one_file(struct fs *fs, uint64_t dir, struct fs_name name)
{
    struct fs_handle *handle;
    struct fs_attr attr;
    int r = fs_create(fs, rq, dir, name, 0644, O_RDWR | O_EXCL, &attr, &handle);

    if (r == 0)
        fs_release(fs, handle);
    return forget_made(fs, r, &attr);
}

static int one_dir(struct fs *fs, uint64_t dir, struct fs_name name)
{
    struct fs_attr attr;

    return forget_made(fs, fs_mkdir(fs, rq, dir, name, 0755, &attr), &attr);
}

static int one_node(struct fs *fs, uint64_t dir, struct fs_name name)
{
    struct fs_attr attr;

    return forget_made(fs, fs_mknod(fs, rq, dir, name, S_IFIFO | 0600, 0, 0, &attr), &attr);
}

static int one_link(struct fs *fs, uint64_t dir, struct fs_name name)
{
    struct fs_attr attr;
    uint64_t ino;
    int r = fault_lookup(fs, "small", &ino);

    if (r < 0)
        return r;
    return forget_made(fs, fs_link(fs, rq, ino, dir, name, &attr), &attr);
}

static int one_symlink(struct fs *fs, uint64_t dir, struct fs_name name)
{
    struct fs_attr attr;

    memset(bytes, 's', 3000);
    return forget_made(fs, fs_symlink(fs, rq, dir, name, (struct fs_name){ bytes, 3000 }, &attr),
                       &attr);
}

static int one_rename(struct fs *fs, uint64_t dir, struct fs_name name)
{
    int r = fs_rename(fs, rq, DXF_INO_ROOT, fs_name("link"), dir, name, 0);

    return r == -ENOENT ? -EEXIST : r; /* done before */
}

static int run_create(struct fs *fs)
{
    return names(fs, 250, one_file);
}
static int run_mkdir(struct fs *fs)
{
    return names(fs, 120, one_dir);
}
static int run_mknod(struct fs *fs)
{
    return names(fs, 120, one_node);
}
static int run_link(struct fs *fs)
{
    return names(fs, 250, one_link);
}
static int run_symlink(struct fs *fs)
{
    return names(fs, 20, one_symlink);
}
static int run_rename(struct fs *fs)
{
    return names(fs, 1, one_rename);
}

static int run_tmpfile(struct fs *fs)
{
    struct fs_handle *handle;
    struct fs_attr attr;
    int r = fs_tmpfile(fs, rq, DXF_INO_ROOT, 0600, O_RDWR, &attr, &handle);

    if (r < 0)
        return r;
    r = write_all(fs, handle, 20000, 0);
    fs_release(fs, handle);
    fs_forget(fs, attr.ino, 1);
    return r;
}

static int write_long(struct fs *fs, struct fs_handle *handle)
{
    return write_all(fs, handle, sizeof(bytes), 5000);
}
static int write_gaps(struct fs *fs, struct fs_handle *handle)
{
    int r = 0;

    for (unsigned i = 0; i < 300 && r == 0; i += 3)
        r = write_all(fs, handle, 100, 8192ull * i + 4096 + 7);
    return r;
}
static int write_unwritten(struct fs *fs, struct fs_handle *handle)
{
    int r = 0;

    for (unsigned i = 0; i < 9 && r == 0; i += 2)
        r = write_all(fs, handle, 50, 8192ull * 280 + 4096ull * i);
    return r;
}
static int allocate(struct fs *fs, struct fs_handle *handle)
{
    return fs_fallocate(fs, rq, handle, 0, 0, 50 * 4096);
}
static int zero_range(struct fs *fs, struct fs_handle *handle)
{
    return fs_fallocate(fs, rq, handle, FALLOC_FL_ZERO_RANGE, 3000, 40 * 4096);
}
static int copy_range(struct fs *fs, struct fs_handle *handle)
{
    ssize_t r = fs_copy_range(fs, rq, handle, 0, handle, 8192 * 400, 200000);

    return r < 0 ? (int)r : 0;
}
static int punch_some(struct fs *fs, struct fs_handle *handle)
{
    int r = 0;

    for (unsigned i = 0; i < 12 && r == 0; i++)
        r = fs_fallocate(fs, rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         8192ull * (280 + i) + 4096, 4096);
    return r;
}
static int punch_all(struct fs *fs, struct fs_handle *handle)
{
    return fs_fallocate(fs, rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192 * 400);
}
/* In several transactions. */
static int shift(struct fs *fs, struct fs_handle *handle, int mode, uint64_t offset)
{
    unsigned batch = range_op_batch;
    int r;

    range_op_batch = 60;
    r = fs_fallocate(fs, rq, handle, mode, offset, 40960);
    range_op_batch = batch;
    return r;
}
static int collapse(struct fs *fs, struct fs_handle *handle)
{
    return shift(fs, handle, FALLOC_FL_COLLAPSE_RANGE, 81920);
}
/* Between two extents, and in the middle of one that is written first. */
static int insert(struct fs *fs, struct fs_handle *handle)
{
    int r = shift(fs, handle, FALLOC_FL_INSERT_RANGE, 81920);

    if (r == 0)
        r = write_all(fs, handle, 20000, 1638400);
    return r < 0 ? r : shift(fs, handle, FALLOC_FL_INSERT_RANGE, 1642496);
}
static int read_all(struct fs *fs, struct fs_handle *handle)
{
    uint64_t at = 0;
    ssize_t r = fs_pread(fs, rq, handle, bytes, sizeof(bytes), 0);

    if (r >= 0)
        r = fs_lseek(fs, rq, handle, 4096, SEEK_DATA, &at);
    return r < 0 ? (int)r : 0;
}

static int run_write(struct fs *fs)
{
    return with_file(fs, "small", write_long);
}
static int run_write_gaps(struct fs *fs)
{
    return with_file(fs, "gaps", write_gaps);
}
static int run_write_unwritten(struct fs *fs)
{
    return with_file(fs, "gaps", write_unwritten);
}
static int run_fallocate(struct fs *fs)
{
    return with_file(fs, "gaps", allocate);
}
static int run_zero(struct fs *fs)
{
    return with_file(fs, "gaps", zero_range);
}
static int run_copy(struct fs *fs)
{
    return with_file(fs, "gaps", copy_range);
}
static int run_punch(struct fs *fs)
{
    return with_file(fs, "gaps", punch_some);
}
static int run_punch_all(struct fs *fs)
{
    return with_file(fs, "gaps", punch_all);
}
static int run_collapse(struct fs *fs)
{
    return with_file(fs, "gaps", collapse);
}
static int run_insert(struct fs *fs)
{
    return with_file(fs, "gaps", insert);
}
static int run_read(struct fs *fs)
{
    return with_file(fs, "gaps", read_all);
}

static int cut(struct fs *fs, const char *name, uint64_t size)
{
    struct fs_attr attr = { .size = size };
    uint64_t ino;
    int r = fault_lookup(fs, name, &ino);

    return r < 0 ? r : fs_setattr(fs, rq, ino, &attr, FS_SET_SIZE, &attr);
}
static int run_truncate(struct fs *fs)
{
    return cut(fs, "gaps", 70000);
}
/* The tail of the last block is unwritten from then on, or was a hole: no block is needed. */
static int run_grow(struct fs *fs)
{
    return cut(fs, "small", 1 << 20);
}

static int run_setxattr(struct fs *fs)
{
    uint64_t ino;
    int r = fault_lookup(fs, "small", &ino);
    char name[16];

    for (unsigned i = 0; i < 6 && r == 0; i++) {
        snprintf(name, sizeof(name), "user.%u", i);
        memset(bytes, 'v', 9000);
        r = fs_setxattr(fs, rq, ino, name, bytes, 9000, 0, false);
    }
    return r;
}
static int run_removexattr(struct fs *fs)
{
    uint64_t ino;
    int r = fault_lookup(fs, "small", &ino);

    if (r == 0)
        r = fs_removexattr(fs, rq, ino, "user.x");

    return r == -ENODATA ? 0 : r;
}
static int run_getxattr(struct fs *fs)
{
    uint64_t ino;
    ssize_t r = fault_lookup(fs, "small", &ino);

    if (r == 0)
        r = fs_listxattr(fs, rq, ino, bytes, sizeof(bytes));

    if (r >= 0)
        r = fs_getxattr(fs, rq, ino, "user.x", bytes, sizeof(bytes));
    return r < 0 ? (int)r : 0;
}
static int run_readlink(struct fs *fs)
{
    uint64_t ino;
    char *target;
    int r = fault_lookup(fs, "long", &ino);

    if (r == 0)
        r = fs_readlink(fs, rq, ino, &target);

    if (r == 0)
        free(target);
    return r;
}
static int run_unlink(struct fs *fs)
{
    int r = fs_unlink(fs, rq, DXF_INO_ROOT, fs_name("gaps"));

    return r == -ENOENT ? 0 : r;
}

/* The references that come with the entries go with the mount. */
static int on_entry(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr)
{
    (void)arg;
    (void)entry;
    (void)attr;
    return 0;
}
static int run_readdir(struct fs *fs)
{
    uint64_t ino;
    struct fs_handle *handle;
    int r = fault_lookup(fs, "names", &ino);

    if (r == 0)
        r = fs_open_file(fs, rq, ino, O_RDONLY, false, &handle);

    if (r < 0)
        return r;
    r = fs_readdir(fs, rq, handle, 0, true, on_entry, fs);
    fs_release(fs, handle);
    return r;
}
static int run_sync(struct fs *fs)
{
    return fs_sync(fs);
}

const struct fault_op fault_ops[] = {
    { "create", run_create, false },
    { "mkdir", run_mkdir, false },
    { "mknod", run_mknod, false },
    { "link", run_link, false },
    { "symlink", run_symlink, false },
    { "rename", run_rename, false },
    { "tmpfile", run_tmpfile, false },
    { "write", run_write, false },
    { "write-gaps", run_write_gaps, false },
    { "write-unwritten", run_write_unwritten, false },
    { "fallocate", run_fallocate, false },
    { "zero", run_zero, false },
    { "copy", run_copy, false },
    { "insert", run_insert, false },
    { "grow", run_grow, false },
    { "setxattr", run_setxattr, false },
    { "removexattr", run_removexattr, true },
    { "punch", run_punch, true },
    { "punch-all", run_punch_all, true },
    { "collapse", run_collapse, true },
    { "truncate", run_truncate, true },
    { "unlink", run_unlink, true },
    { "read", run_read, true },
    { "readdir", run_readdir, true },
    { "getxattr", run_getxattr, true },
    { "readlink", run_readlink, true },
    { "sync", run_sync, true },
    { NULL, NULL, false },
};
