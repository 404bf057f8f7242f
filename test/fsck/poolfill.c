/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fills a fresh pool with known things, in process, and looks later whether they are still there.
 *
 *   poolfill make POOL             fills it
 *   poolfill verify POOL [NAME…]   compares; things named (of the root directory) may be damaged or gone
 *   poolfill crash POOL            opens, leaves an orphan and live journal entries, exits like a kill
 *   poolfill bulk POOL COUNT       adds so many small files, a thousand in a directory
 *
 * What is there (root directory):
 *   small, empty      a file of one extent, an empty one
 *   spread            a file of 3000 extents: a tree of two levels
 *   many/NNNN         a directory of 1500 files: leaves and inner nodes; each holds its number
 *   tree/a/b/c/deep   nested directories
 *   link1, link2      one file
 *   short, long       symbolic links: in the inode, in a chain
 *   attrs             a file with attributes over three blocks
 *   fifo
 */
#include "fs/fs.h"
#include "media/pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPREAD_EXTENTS 3000u
#define MANY 1500u
#define ATTR_BYTES 9000u
#define LONG_BYTES 3000u
#define ROOT 1u

static const struct fs_request request = { .umask = 022, .in_group = true };
static struct fs *fs;
static int failures;

static void die(const char *what, int64_t error)
{
    fprintf(stderr, "poolfill: %s: %s\n", what, strerror((int)-error));
    exit(1);
}

static void must(const char *what, int64_t result)
{
    if (result < 0)
        die(what, result);
}

static struct pool *open_pool(const char *path)
{
    const struct pool_options options = { 0 };
    const struct fs_options fs_options = { 0 };
    char *message = NULL;
    struct pool *pool;

    if (pool_open(path, &options, &pool, &message) < 0) {
        fprintf(stderr, "poolfill: %s\n", message);
        exit(1);
    }
    must("fs_open", fs_open(pool, &fs_options, &fs, NULL));
    return pool;
}

/* Bytes by which a place in a file is known. */
static void pattern(uint8_t *bytes, size_t length, uint64_t seed, uint64_t offset)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)((seed * 131 + (offset + i) * 7 + (offset + i) / 4096 * 13) | 1);
}

static uint64_t make_dir(uint64_t parent, const char *name)
{
    struct fs_attr attr;
    must(name, fs_mkdir(fs, &request, parent, fs_name(name), 0755, &attr));
    return attr.ino;
}

static struct fs_handle *make_file(uint64_t parent, const char *name, uint64_t *ret_ino)
{
    struct fs_handle *handle;
    struct fs_attr attr;
    must(name, fs_create(fs, &request, parent, fs_name(name), 0644, 2, &attr, &handle));
    if (ret_ino)
        *ret_ino = attr.ino;
    return handle;
}

static void put(struct fs_handle *handle, uint64_t seed, uint64_t offset, size_t length)
{
    uint8_t *bytes = malloc(length);
    pattern(bytes, length, seed, offset);
    if (fs_pwrite(fs, &request, handle, bytes, length, offset) != (ssize_t)length)
        die("write", -EIO);
    free(bytes);
}

static void make(void)
{
    struct fs_handle *handle, *other;
    struct fs_attr attr;
    char name[32], *text = calloc(1, ATTR_BYTES + 1);
    uint64_t ino, dir;

    handle = make_file(ROOT, "small", NULL);
    put(handle, 1, 0, 10000);
    fs_release(fs, handle);
    fs_release(fs, make_file(ROOT, "empty", NULL));

    /* Every second block, so that none joins its neighbour. */
    handle = make_file(ROOT, "spread", NULL);
    other = make_file(ROOT, "second", NULL);
    for (unsigned i = 0; i < SPREAD_EXTENTS; i++)
        put(handle, 2, (uint64_t)i * 8192, 4096);
    put(other, 9, 0, 100000);
    fs_release(fs, handle);
    fs_release(fs, other);

    dir = make_dir(ROOT, "many");
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "%04u", i);
        handle = make_file(dir, name, NULL);
        put(handle, 100 + i, 0, 16 + i % 50);
        fs_release(fs, handle);
    }
    dir = ROOT;
    static const char *const path[] = { "tree", "a", "b", "c" };
    for (unsigned i = 0; i < 4; i++)
        dir = make_dir(dir, path[i]);
    handle = make_file(dir, "deep", NULL);
    put(handle, 3, 0, 5000);
    fs_release(fs, handle);

    handle = make_file(ROOT, "link1", &ino);
    put(handle, 4, 0, 100);
    fs_release(fs, handle);
    must("link", fs_link(fs, &request, ino, ROOT, fs_name("link2"), &attr));
    must("symlink", fs_symlink(fs, &request, ROOT, fs_name("short"), fs_name("small"), &attr));
    memset(text, 'x', LONG_BYTES);
    must("symlink", fs_symlink(fs, &request, ROOT, fs_name("long"),
                               (struct fs_name){ text, LONG_BYTES }, &attr));
    handle = make_file(ROOT, "attrs", &ino);
    put(handle, 5, 0, 4096);
    fs_release(fs, handle);
    pattern((uint8_t *)text, ATTR_BYTES, 6, 0);
    must("setxattr", fs_setxattr(fs, &request, ino, "user.big", text, ATTR_BYTES, 0, false));
    must("setxattr", fs_setxattr(fs, &request, ino, "user.small", "v", 1, 0, false));
    must("fifo", fs_mknod(fs, &request, ROOT, fs_name("fifo"), S_IFIFO | 0600, 0, 0, &attr));
    free(text);
}

/* ---- verify -------------------------------------------------------------------------------------- */

static char **excepted;

static bool is_excepted(const char *name)
{
    for (char **at = excepted; *at; at++)
        if (strcmp(*at, name) == 0)
            return true;
    return false;
}

static void wrong(const char *name, const char *what)
{
    printf("%s: %s\n", name, what);
    failures++;
}

static bool find(uint64_t parent, const char *name, struct fs_attr *attr)
{
    int error = fs_lookup(fs, &request, parent, fs_name(name), attr);
    if (error)
        wrong(name, strerror(-error));
    return error == 0;
}

static void compare(uint64_t parent, const char *name, uint64_t seed, uint64_t size, bool holes)
{
    struct fs_handle *handle;
    struct fs_attr attr;
    static uint8_t have[4096], want[4096];

    if (!find(parent, name, &attr))
        return;
    if (attr.size != size)
        wrong(name, "size");
    if (fs_open_file(fs, &request, attr.ino, 0, false, &handle) < 0) {
        wrong(name, "open");
        return;
    }
    for (uint64_t offset = 0; offset < size; offset += 4096) {
        size_t length = size - offset < 4096 ? (size_t)(size - offset) : 4096;
        if (holes && offset / 4096 % 2 == 1)
            memset(want, 0, length);
        else
            pattern(want, length, seed, offset);
        if (fs_pread(fs, &request, handle, have, length, offset) != (ssize_t)length ||
            memcmp(have, want, length) != 0) {
            wrong(name, "content");
            break;
        }
    }
    fs_release(fs, handle);
}

static void verify_links(void)
{
    struct fs_attr attr, other;
    char *target, *value = malloc(ATTR_BYTES), *want = malloc(ATTR_BYTES);

    if (!is_excepted("link1") && find(ROOT, "link1", &attr) && find(ROOT, "link2", &other) &&
        (attr.ino != other.ino || attr.links != 2))
        wrong("link1", "links");
    if (!is_excepted("short") && find(ROOT, "short", &attr)) {
        if (fs_readlink(fs, &request, attr.ino, &target) < 0 || strcmp(target, "small") != 0)
            wrong("short", "target");
        else
            free(target);
    }
    if (!is_excepted("long") && find(ROOT, "long", &attr)) {
        if (fs_readlink(fs, &request, attr.ino, &target) < 0 || strlen(target) != LONG_BYTES)
            wrong("long", "target");
        else
            free(target);
    }
    pattern((uint8_t *)want, ATTR_BYTES, 6, 0);
    if (!is_excepted("attrs") && find(ROOT, "attrs", &attr) &&
        (fs_getxattr(fs, &request, attr.ino, "user.big", value, ATTR_BYTES) != ATTR_BYTES ||
         memcmp(value, want, ATTR_BYTES) != 0))
        wrong("attrs", "attribute");
    free(value);
    free(want);
}

static void verify(void)
{
    struct fs_attr attr;
    char name[32];

    if (!is_excepted("small"))
        compare(ROOT, "small", 1, 10000, false);
    if (!is_excepted("empty"))
        compare(ROOT, "empty", 0, 0, false);
    if (!is_excepted("spread"))
        compare(ROOT, "spread", 2, (SPREAD_EXTENTS - 1) * 8192ull + 4096, true);
    if (!is_excepted("second"))
        compare(ROOT, "second", 9, 100000, false);
    if (!is_excepted("many") && find(ROOT, "many", &attr)) {
        uint64_t dir = attr.ino;
        for (unsigned i = 0; i < MANY; i++) {
            snprintf(name, sizeof(name), "%04u", i);
            if (!is_excepted(name))
                compare(dir, name, 100 + i, 16 + i % 50, false);
        }
    }
    if (!is_excepted("tree") && find(ROOT, "tree", &attr) && find(attr.ino, "a", &attr) &&
        find(attr.ino, "b", &attr) && find(attr.ino, "c", &attr))
        compare(attr.ino, "deep", 3, 5000, false);
    if (!is_excepted("link1"))
        compare(ROOT, "link1", 4, 100, false);
    if (!is_excepted("attrs"))
        compare(ROOT, "attrs", 5, 4096, false);
    if (!is_excepted("fifo") && find(ROOT, "fifo", &attr) && (attr.mode & S_IFMT) != S_IFIFO)
        wrong("fifo", "type");
    verify_links();
}

/* A file that is open and has no name any more, and journal entries that are not retired. */
static void crash(void)
{
    struct fs_handle *handle;

    handle = make_file(ROOT, "gone", NULL);
    put(handle, 7, 0, 50000);
    must("unlink", fs_unlink(fs, &request, ROOT, fs_name("gone")));
    fs_release(fs, make_file(ROOT, "late", NULL));
    _exit(0);
}

static void bulk(uint64_t count)
{
    uint64_t dir = ROOT;
    char name[32];

    for (uint64_t i = 0; i < count; i++) {
        if (i % 1000 == 0) {
            snprintf(name, sizeof(name), "d%" PRIu64, i / 1000);
            dir = make_dir(ROOT, name);
        }
        snprintf(name, sizeof(name), "%" PRIu64, i);
        struct fs_handle *handle = make_file(dir, name, NULL);
        put(handle, i, 0, 100);
        fs_release(fs, handle);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: poolfill make|verify|crash|bulk POOL [NAME…]\n", stderr);
        return 2;
    }
    struct pool *pool = open_pool(argv[2]);
    excepted = argv + 3;
    if (strcmp(argv[1], "make") == 0)
        make();
    else if (strcmp(argv[1], "verify") == 0)
        verify();
    else if (strcmp(argv[1], "crash") == 0)
        crash();
    else if (strcmp(argv[1], "bulk") == 0 && argc == 4)
        bulk(strtoull(argv[3], NULL, 10));
    fs_close(fs);
    pool_close(pool);
    return failures > 0;
}
