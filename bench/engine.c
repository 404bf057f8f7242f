/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The operation API in process, against what there is without it.
 *
 *   bench_engine POOL FOLDER
 *
 * POOL is served as pmem (pmem=force); FOLDER, on tmpfs, holds the peers' files. The bytes' peer is
 * pmem_memcpy_persist of the same blocks, in the same order, into a mapped file of the same folder; the
 * names' peer are the same calls on tmpfs: open with O_CREAT and close, fstatat.
 */
#include "bench.h"

#include "fs/fs.h"
#include "media/pool.h"
#include <err.h>
#include <fcntl.h>
#include <libpmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS 31u
#define PARTS 8u /* of a file: a round is about one, the next about the next */
#define SMALL_BYTES (64u << 20)
#define LARGE_BYTES (256u << 20)
#define LARGE_SIZE (2u << 20)
#define FILES 4000u

static struct fs *fs;
static const struct fs_request rq = { .in_group = true };
static struct fs_handle *small, *large;
static uint64_t folder_ino;
static int folder;
static char *buffer, *read_back;
static char *mapped; /* the peer's, LARGE_BYTES */
static uint32_t *blocks, *pieces, *order;

/* ---- bytes --------------------------------------------------------------------------------------- */

struct bytes {
    size_t size;      /* of a write */
    uint32_t count;   /* writes of a part */
    uint32_t *places; /* in units of size */
    struct fs_handle **handle;
};

static double write_ours(const struct bytes *bytes, unsigned round)
{
    uint64_t per = bytes->size / BENCH_BLOCK;
    const uint32_t *places = bytes->places + (size_t)(round % PARTS) * bytes->count;
    double begin = bench_now();

    for (uint32_t i = 0; i < bytes->count; i++) {
        bench_stamp(buffer, bytes->size, places[i] * per, round);
        ssize_t put = fs_pwrite(fs, &rq, *bytes->handle, buffer, bytes->size,
                                (uint64_t)places[i] * bytes->size);
        must(put, "write");
        if ((size_t)put != bytes->size)
            errx(2, "write: short");
    }
    double rate = bytes->count / (bench_now() - begin);
    for (uint32_t i = 0; i < bytes->count; i++) {
        ssize_t got = fs_pread(fs, &rq, *bytes->handle, read_back, bytes->size,
                               (uint64_t)places[i] * bytes->size);
        must(got, "read");
        bench_check(read_back, bytes->size, places[i] * per, round, "write");
    }
    return rate;
}

static double write_theirs(const struct bytes *bytes, unsigned round)
{
    uint64_t per = bytes->size / BENCH_BLOCK;
    const uint32_t *places = bytes->places + (size_t)(round % PARTS) * bytes->count;
    double begin = bench_now();

    for (uint32_t i = 0; i < bytes->count; i++) {
        bench_stamp(buffer, bytes->size, places[i] * per, round);
        pmem_memcpy_persist(mapped + (size_t)places[i] * bytes->size, buffer, bytes->size);
    }
    double rate = bytes->count / (bench_now() - begin);
    for (uint32_t i = 0; i < bytes->count; i++)
        bench_check(mapped + (size_t)places[i] * bytes->size, bytes->size, places[i] * per, round,
                    "pmem_memcpy");
    return rate;
}

static void row_write(const char *id, const struct bytes *bytes)
{
    struct series ours = { .count = 0 }, theirs = { .count = 0 };

    for (unsigned round = 0; round <= ROUNDS; round++) {
        double rate[2];

        rate[round % 2] = round % 2 ? write_theirs(bytes, round) : write_ours(bytes, round);
        rate[round % 2 == 0] = round % 2 ? write_ours(bytes, round) : write_theirs(bytes, round);
        if (round > 0) { /* the first warms up */
            series_add(&ours, rate[0]);
            series_add(&theirs, rate[1]);
        }
    }
    row_ratio(id, &ours, &theirs, NULL);
}

static struct fs_handle *make_file(const char *name, size_t bytes)
{
    struct fs_handle *handle;
    struct fs_attr attr;

    must(fs_create(fs, &rq, 1, fs_name(name), 0644, O_RDWR, &attr, &handle), "create");
    fs_forget(fs, attr.ino, 1);
    for (size_t at = 0; at < bytes; at += LARGE_SIZE)
        must(fs_pwrite(fs, &rq, handle, buffer, LARGE_SIZE, at), "write");
    return handle;
}

/* ---- names --------------------------------------------------------------------------------------- */

static struct fs_name name_of(uint32_t i, char *room)
{
    sprintf(room, "file-%06u", i);
    return fs_name(room);
}

static double create_ours(void)
{
    struct fs_handle *handle;
    struct fs_attr attr;
    char room[32];
    double begin = bench_now();

    for (uint32_t i = 0; i < FILES; i++) {
        must(
            fs_create(fs, &rq, folder_ino, name_of(i, room), 0644, O_RDWR | O_EXCL, &attr, &handle),
            "create");
        fs_release(fs, handle);
        fs_forget(fs, attr.ino, 1);
    }
    return FILES / (bench_now() - begin);
}

static double create_theirs(void)
{
    char room[32];
    double begin = bench_now();

    for (uint32_t i = 0; i < FILES; i++) {
        name_of(i, room);
        int fd = openat(folder, room, O_CREAT | O_EXCL | O_RDWR, 0644);
        must_system(fd, "create on tmpfs");
        close(fd);
    }
    return FILES / (bench_now() - begin);
}

static double lookup_ours(void)
{
    struct fs_attr attr;
    char room[32];
    double begin = bench_now();

    for (uint32_t i = 0; i < FILES; i++) {
        must(fs_lookup(fs, &rq, folder_ino, name_of(order[i], room), &attr), "lookup");
        if (!S_ISREG(attr.mode) || attr.links != 1)
            errx(2, "lookup: wrong attributes");
        fs_forget(fs, attr.ino, 1);
    }
    return FILES / (bench_now() - begin);
}

static double lookup_theirs(void)
{
    struct stat found;
    char room[32];
    double begin = bench_now();

    for (uint32_t i = 0; i < FILES; i++) {
        name_of(order[i], room);
        must_system(fstatat(folder, room, &found, AT_SYMLINK_NOFOLLOW), "fstatat");
        if (!S_ISREG(found.st_mode) || found.st_nlink != 1)
            errx(2, "fstatat: wrong attributes");
    }
    return FILES / (bench_now() - begin);
}

static void unlink_both(void)
{
    char room[32];

    for (uint32_t i = 0; i < FILES; i++) {
        must(fs_unlink(fs, &rq, folder_ino, name_of(i, room)), "unlink");
        must_system(unlinkat(folder, room, 0), "unlink on tmpfs");
    }
}

static void rows_names(void)
{
    struct series create[2] = { 0 }, lookup[2] = { 0 };
    struct fs_attr attr;

    must(fs_mkdir(fs, &rq, 1, fs_name("names"), 0755, &attr), "mkdir");
    folder_ino = attr.ino;
    for (unsigned round = 0; round <= ROUNDS; round++) {
        bool first = round % 2;
        double made[2], found[2];

        made[first] = first ? create_theirs() : create_ours();
        made[!first] = first ? create_ours() : create_theirs();
        found[first] = first ? lookup_theirs() : lookup_ours();
        found[!first] = first ? lookup_ours() : lookup_theirs();
        unlink_both();
        for (unsigned i = 0; i < 2 && round > 0; i++) {
            series_add(&create[i], made[i]);
            series_add(&lookup[i], found[i]);
        }
    }
    row_ratio("engine.create", &create[0], &create[1], NULL);
    row_ratio("engine.lookup", &lookup[0], &lookup[1], NULL);
}

/* ---- set-up -------------------------------------------------------------------------------------- */

static void map_peer(void)
{
    int fd = openat(folder, "mapped", O_CREAT | O_RDWR, 0600);

    must_system(fd, "file of the peer");
    must_system(posix_fallocate(fd, 0, LARGE_BYTES) ? -1 : 0, "posix_fallocate");
    mapped = mmap(NULL, LARGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        err(2, "mmap");
    close(fd);
    memset(mapped, 1, LARGE_BYTES);
}

int main(int argc, char **argv)
{
    static const struct pool_options pool_options = { .pmem = POOL_PMEM_FORCE };
    static const struct fs_options fs_options = { .noatime = false };
    char *message = NULL;
    struct pool *pool;

    if (argc != 3)
        errx(2, "usage: bench_engine POOL FOLDER");
    must(pool_guard_install(), "guard");
    if (pool_open(argv[1], &pool_options, &pool, &message) < 0)
        errx(2, "%s", message ? message : argv[1]);
    must(fs_open(pool, &fs_options, &fs, NULL), "open of the filesystem");
    folder = open(argv[2], O_RDONLY | O_DIRECTORY);
    must_system(folder, argv[2]);
    buffer = aligned_alloc(BENCH_BLOCK, LARGE_SIZE);
    read_back = aligned_alloc(BENCH_BLOCK, LARGE_SIZE);
    if (!buffer || !read_back)
        err(2, "memory");
    memset(buffer, 0x5a, LARGE_SIZE);
    memset(read_back, 0, LARGE_SIZE);
    blocks = bench_permutation(SMALL_BYTES / BENCH_BLOCK, 1);
    pieces = bench_permutation(LARGE_BYTES / LARGE_SIZE, 2);
    order = bench_permutation(FILES, 3);
    map_peer();
    small = make_file("small", SMALL_BYTES);
    large = make_file("large", LARGE_BYTES);
    row_write("engine.overwrite4k",
              &(struct bytes){ BENCH_BLOCK, SMALL_BYTES / BENCH_BLOCK / PARTS, blocks, &small });
    row_write("engine.write2m",
              &(struct bytes){ LARGE_SIZE, LARGE_BYTES / LARGE_SIZE / PARTS, pieces, &large });
    rows_names();
    fs_release(fs, small);
    fs_release(fs, large);
    fs_close(fs);
    pool_close(pool);
    return 0;
}
