/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A filesystem in memory for the tests of fs/: short calls that fail the test when they fail. A test
 * may say FX_POOL_SIZE before it includes this.
 */
#ifndef DAXFUSE_TEST_FS_H
#define DAXFUSE_TEST_FS_H

#include "fs/fs.h"
#include "meta_fixture.h"
#include "suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef FX_POOL_SIZE
# define FX_POOL_SIZE (64u << 20)
#endif

struct fs_fixture {
    struct pool_fixture below;
    struct fs *fs;
    struct fs_request rq;
    struct fs_recovered recovered; /* by the last mount */
};

static struct fs_fixture fx;

static inline void fx_mount(void)
{
    struct fs_options options = { 0 };
    struct persist *persist;

    ck_assert_int_eq(persist_open_pmem(fx.below.memory, fx.below.size, &persist), 0);
    ck_assert_int_eq(pool_open_memory(fx.below.memory, fx.below.size, persist, &fx.below.pool), 0);
    ck_assert_int_eq(fs_open(fx.below.pool, &options, &fx.fs, &fx.recovered), 0);
}

static inline void fx_umount(void)
{
    fs_close(fx.fs);
    pool_close(fx.below.pool);
}

static inline void fx_setup(void)
{
    fx = (struct fs_fixture){ .rq = { .in_group = true } };
    pool_fixture_create(&fx.below, FX_POOL_SIZE);
    ck_assert_int_eq(meta_format(fx.below.pool, fx.below.journal, fx.below.space, 0755, 0, 0), 0);
    space_close(fx.below.space);
    journal_close(fx.below.journal);
    pool_close(fx.below.pool);
    fx_mount();
}

/* The pool is in a file that can be opened anew and locked. */
static inline void fx_becomes_a_file(void)
{
    int fd = memfd_create("pool", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)fx.below.size), 0);
    for (uint64_t done = 0; done < fx.below.size;) {
        ssize_t written = pwrite(fd, fx.below.memory + done, fx.below.size - done, (off_t)done);

        ck_assert_int_gt(written, 0);
        done += (uint64_t)written;
    }
    ck_assert_ptr_eq(
        mmap(fx.below.memory, fx.below.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
        fx.below.memory);
    fx.below.pool->fd = fd;
}

static inline void fx_teardown(void)
{
    fx_umount();
    munmap(fx.below.memory, fx.below.size);
}

/* crash: nothing is finished or retired before. */
static inline void fx_remount(bool crash)
{
    if (crash)
        atomic_store(&fx.below.pool->failed, true);
    fx_umount();
    fx_mount();
}

static inline uint64_t fx_blocks_free(void)
{
    struct fs_statfs statfs;

    ck_assert_int_eq(fs_sync(fx.fs), 0);
    fs_statfs(fx.fs, &statfs);
    return statfs.free;
}

static inline struct fs_attr fx_attr(uint64_t ino)
{
    struct fs_attr attr;

    ck_assert_int_eq(fs_getattr(fx.fs, &fx.rq, ino, &attr), 0);
    return attr;
}

static inline uint64_t fx_mkdir(uint64_t parent, const char *name)
{
    struct fs_attr attr;

    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, parent, fs_name(name), 0755, &attr), 0);
    return attr.ino;
}

/* Comes with a reference, as all that makes or looks up does. */
static inline uint64_t fx_mknod(uint64_t parent, const char *name)
{
    struct fs_attr attr;

    ck_assert_int_eq(fs_mknod(fx.fs, &fx.rq, parent, fs_name(name), S_IFREG | 0644, 0, 0, &attr),
                     0);
    return attr.ino;
}

static inline struct fs_handle *fx_create(const char *name)
{
    struct fs_handle *handle;
    struct fs_attr attr;

    ck_assert_int_eq(
        fs_create(fx.fs, &fx.rq, 1, fs_name(name), 0644, O_RDWR | O_EXCL, &attr, &handle), 0);
    return handle;
}

static inline struct fs_handle *fx_open(uint64_t ino, int flags)
{
    struct fs_handle *handle;

    ck_assert_int_eq(fs_open_file(fx.fs, &fx.rq, ino, flags, false, &handle), 0);
    return handle;
}

static inline int fx_lookup(uint64_t parent, const char *name)
{
    struct fs_attr attr;
    int r = fs_lookup(fx.fs, &fx.rq, parent, fs_name(name), &attr);

    if (r == 0)
        fs_forget(fx.fs, attr.ino, 1);
    return r;
}

static inline void fx_write(struct fs_handle *handle, uint64_t offset, const char *text)
{
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, text, strlen(text), offset),
                     (ssize_t)strlen(text));
}

static inline void fx_fill(struct fs_handle *handle, uint64_t offset, size_t length, int byte)
{
    char *bytes = malloc(length);

    memset(bytes, byte, length);
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, bytes, length, offset), (ssize_t)length);
    free(bytes);
}

/* Every byte of the range is this one. */
static inline void fx_expect(struct fs_handle *handle, uint64_t offset, size_t length, int byte)
{
    unsigned char *bytes = malloc(length);

    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, bytes, length, offset), (ssize_t)length);
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != byte)
            ck_abort_msg("byte %zu is %02x, should be %02x", (size_t)offset + i, bytes[i], byte);
    free(bytes);
}

static inline int fx_truncate(uint64_t ino, uint64_t size)
{
    struct fs_attr attr = { .size = size };

    return fs_setattr(fx.fs, &fx.rq, ino, &attr, FS_SET_SIZE, &attr);
}

static inline int fx_main(const char *name, void (*add)(TCase *))
{
    return suite_run(name, 30, fx_setup, fx_teardown, add);
}

#endif
