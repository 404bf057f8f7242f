/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For the tests of hostile images: a small filesystem in memory with one of everything in it, where
 * that lies, and a use of all of it that expects nothing but to come back. The image is there, and not
 * mounted, when a case begins.
 */
#ifndef DAXFUSE_TEST_HOSTILE_H
#define DAXFUSE_TEST_HOSTILE_H

#include "fs/fs.h"
#include "meta/inode.h"
#include "meta/meta.h"
#include "pool_fixture.h"

#include <check.h>
#include <daxfuse/format.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define POOL_SIZE (8ull << 20)
#define BLOCK DXF_BLOCK_SIZE
#define GAPS 300u /* extents of "g": more than a node holds */
#define LIST_MAX 512u

static struct pool_fixture below;
static struct pool *pool;
static struct fs *fs;
static const struct fs_request rq = { .in_group = true };

/* Where things lie in the image. */
static uint64_t ino_a, ino_b, ino_g, ino_d, ino_e; /* files a, b, g; directories d, e */
static uint64_t records;                           /* offset of the table's first inode block */
static uint64_t table_last, orphan_block;

static inline uint8_t *block_at(uint64_t block)
{
    return below.memory + block * BLOCK;
}

static inline struct dxf_inode *record_of(uint64_t ino)
{
    return (struct dxf_inode *)(void *)(below.memory + records) + ino;
}

static inline int fs_try(void)
{
    struct fs_options options = { 0 };
    struct persist *persist;
    int r;

    ck_assert_int_eq(persist_open_pmem(below.memory, below.size, &persist), 0);
    r = pool_open_memory(below.memory, below.size, persist, &pool);
    if (r < 0) {
        persist_close(persist);
        return r;
    }
    r = fs_open(pool, &options, &fs, NULL);
    if (r < 0)
        pool_close(pool);
    return r;
}

static inline void fs_start(void)
{
    ck_assert_int_eq(fs_try(), 0);
}

static inline void fs_stop(void)
{
    fs_close(fs);
    pool_close(pool);
}

static inline struct fs_handle *make(const char *name, uint64_t *ret_ino)
{
    struct fs_handle *handle;
    struct fs_attr attr;

    ck_assert_int_eq(fs_create(fs, &rq, 1, fs_name(name), 0644, O_RDWR, &attr, &handle), 0);
    *ret_ino = attr.ino;
    return handle;
}

static inline uint64_t make_dir(const char *name, unsigned entries)
{
    struct fs_attr attr, child;
    char long_name[128];

    ck_assert_int_eq(fs_mkdir(fs, &rq, 1, fs_name(name), 0755, &attr), 0);
    for (unsigned i = 0; i < entries; i++) {
        snprintf(long_name, sizeof(long_name), "%0100u", i);
        ck_assert_int_eq(
            fs_mknod(fs, &rq, attr.ino, fs_name(long_name), S_IFREG | 0644, 0, 0, &child), 0);
    }
    return attr.ino;
}

static inline void populate(void)
{
    static char bytes[BLOCK], target[300];
    const struct dxf_inode *record;
    struct fs_handle *handle;
    struct fs_attr attr;

    memset(bytes, 'x', sizeof(bytes));
    memset(target, 't', sizeof(target) - 1);
    handle = make("a", &ino_a);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, bytes, BLOCK, 0), BLOCK);
    fs_release(fs, handle);
    handle = make("b", &ino_b);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, bytes, BLOCK, 0), BLOCK);
    fs_release(fs, handle);
    ck_assert_int_eq(fs_setxattr(fs, &rq, ino_b, "user.x", bytes, 300, 0, false), 0);
    handle = make("g", &ino_g);
    for (unsigned i = 0; i < GAPS; i++)
        ck_assert_int_eq(fs_pwrite(fs, &rq, handle, bytes, BLOCK, 2ull * i * BLOCK), BLOCK);
    fs_release(fs, handle);
    ck_assert_int_eq(fs_symlink(fs, &rq, 1, fs_name("s"), fs_name(target), &attr), 0);
    ino_d = make_dir("d", 120);
    ino_e = make_dir("e", 1);

    ck_assert_int_eq(inode_view(fs_meta(fs), NULL, DXF_INO_TABLE, &record), 0);
    ck_assert_int_eq(record->count, 1);
    table_last = le64_get(record->extent[0].word1) +
                 (le64_get(record->extent[0].word0) & DXF_EXTENT_LENGTH_MASK);
    ck_assert_int_eq(inode_view(fs_meta(fs), NULL, DXF_INO_ORPHANS, &record), 0);
    orphan_block = le64_get(record->extent[0].word1);
    records = (uint64_t)((const uint8_t *)record - below.memory) - 2 * sizeof(*record);
}

static inline void setup(void)
{
    pool_fixture_create(&below, POOL_SIZE);
    ck_assert_int_eq(meta_format(below.pool, below.journal, below.space, 0755, 0, 0), 0);
    space_close(below.space);
    journal_close(below.journal);
    pool_close(below.pool);
    fs_start();
    populate();
    fs_stop();
}

static inline void teardown(void)
{
    munmap(below.memory, below.size);
}

/* ---- operations --------------------------------------------------------------------------------- */

struct list {
    struct {
        char name[DXF_NAME_MAX + 1];
        uint64_t ino;
    } item[LIST_MAX];
    unsigned count;
};

static inline int list_add(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr)
{
    struct list *list = arg;

    (void)attr;
    if (list->count == LIST_MAX)
        return 1;
    memcpy(list->item[list->count].name, entry->name.bytes, entry->name.length);
    list->item[list->count].name[entry->name.length] = '\0';
    list->item[list->count++].ino = entry->ino;
    return 0;
}

static inline void list_dir(uint64_t ino, struct list *list)
{
    struct fs_handle *handle;

    list->count = 0;
    if (fs_open_file(fs, &rq, ino, O_RDONLY | O_DIRECTORY, false, &handle) < 0)
        return;
    fs_readdir(fs, &rq, handle, 0, false, list_add, list);
    fs_release(fs, handle);
}

static inline int lookup(uint64_t parent, const char *name)
{
    struct fs_attr attr;
    int r = fs_lookup(fs, &rq, parent, fs_name(name), &attr);

    if (r == 0)
        fs_forget(fs, attr.ino, 1);
    return r;
}

static inline void use_file(uint64_t ino, uint64_t size)
{
    static char bytes[64 << 10];
    struct fs_attr attr = { 0 };
    struct fs_handle *handle;
    uint64_t at;

    if (fs_open_file(fs, &rq, ino, O_RDWR, false, &handle) < 0)
        return;
    memset(bytes, 0, sizeof(bytes));
    fs_pread(fs, &rq, handle, bytes, sizeof(bytes), 0);
    if (size > sizeof(bytes))
        fs_pread(fs, &rq, handle, bytes, sizeof(bytes), size - sizeof(bytes));
    fs_lseek(fs, &rq, handle, 0, SEEK_DATA, &at);
    fs_lseek(fs, &rq, handle, 0, SEEK_HOLE, &at);
    memset(bytes, 0, sizeof(bytes));
    fs_pwrite(fs, &rq, handle, bytes, 5000, 100);
    fs_pwrite(fs, &rq, handle, bytes, sizeof(bytes), BLOCK);
    if (size < POOL_SIZE)
        fs_pwrite(fs, &rq, handle, bytes, 100, size + 9000);
    fs_fallocate(fs, &rq, handle, FALLOC_FL_ZERO_RANGE, 50, 3 * BLOCK);
    fs_fallocate(fs, &rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * BLOCK, 9 * BLOCK);
    fs_fallocate(fs, &rq, handle, 0, 7 * BLOCK, 3 * BLOCK);
    attr.size = size / 2 + 1;
    fs_setattr(fs, &rq, ino, &attr, FS_SET_SIZE, &attr);
    attr.size = size / 2 + 3 * BLOCK;
    fs_setattr(fs, &rq, ino, &attr, FS_SET_SIZE, &attr);
    fs_release(fs, handle);
}

static inline void use_inode(uint64_t ino)
{
    static char buffer[DXF_XATTR_VALUE_MAX];
    struct fs_attr attr;
    char *target;

    if (fs_getattr(fs, &rq, ino, &attr) < 0)
        return;
    if (S_ISREG(attr.mode))
        use_file(ino, attr.size);
    if (S_ISLNK(attr.mode) && fs_readlink(fs, &rq, ino, &target) == 0)
        free(target);
    fs_listxattr(fs, &rq, ino, buffer, sizeof(buffer));
    fs_getxattr(fs, &rq, ino, "user.x", buffer, sizeof(buffer));
    fs_setxattr(fs, &rq, ino, "user.y", "0123456789", 10, 0, false);
    fs_removexattr(fs, &rq, ino, "user.x");
}

static inline void use_names(uint64_t dir, unsigned count)
{
    struct fs_handle *handle;
    struct fs_attr attr;
    char name[64];

    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%050u", i);
        if (fs_create(fs, &rq, dir, fs_name(name), 0644, O_RDWR, &attr, &handle) < 0)
            continue;
        fs_pwrite(fs, &rq, handle, name, sizeof(name), 0);
        fs_release(fs, handle);
        fs_forget(fs, attr.ino, 1);
    }
    fs_rename(fs, &rq, dir, fs_name(name), 1, fs_name("moved"), 0);
    fs_rename(fs, &rq, 1, fs_name("s"), dir, fs_name("moved too"), 0);
    for (unsigned i = 0; i < count; i += 2) {
        snprintf(name, sizeof(name), "%050u", i);
        fs_unlink(fs, &rq, dir, fs_name(name));
    }
}

/* Everything that there is, once. */
static inline void use_all(void)
{
    static struct list top, sub;
    struct fs_statfs statfs;
    struct fs_attr attr;

    list_dir(1, &top);
    for (unsigned i = 0; i < top.count; i++) {
        if (fs_lookup(fs, &rq, 1, fs_name(top.item[i].name), &attr) < 0)
            continue;
        use_inode(attr.ino);
        if (S_ISDIR(attr.mode) && attr.ino != 1) {
            list_dir(attr.ino, &sub);
            for (unsigned j = 0; j < sub.count; j++)
                lookup(attr.ino, sub.item[j].name);
            use_names(attr.ino, 20);
            for (unsigned j = 0; j < sub.count; j++)
                fs_unlink(fs, &rq, attr.ino, fs_name(sub.item[j].name));
            fs_rmdir(fs, &rq, 1, fs_name(top.item[i].name));
        }
        fs_forget(fs, attr.ino, 1);
    }
    lookup(1, "not there");
    use_names(1, 40);
    for (unsigned i = 0; i < top.count; i++)
        fs_unlink(fs, &rq, 1, fs_name(top.item[i].name));
    fs_statfs(fs, &statfs);
    fs_sync(fs);
}

#endif
