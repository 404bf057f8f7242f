/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The operation API in process, against what there is without it.
 *
 *   bench_engine POOL FOLDER
 *
 * POOL is served as pmem (pmem=force). The bytes' peer is pmem_memcpy_persist into the very blocks of the
 * pool in which the file lies, since two places in memory differ by more than what is measured; the
 * names' peer are the same calls in FOLDER, on tmpfs: open with O_CREAT and close, fstatat.
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
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS 31u
#define PARTS 8u /* of a file: a round is about one, the next about the next */
#define SMALL_BYTES (64u << 20)
#define LARGE_BYTES (256u << 20)
#define LARGE_SIZE (2u << 20)
#define FILES 4000u

static struct pool *pool;
static struct fs *fs;
static const struct fs_request rq = { .in_group = true };
static struct fs_handle *small, *large;
static uint64_t folder_ino;
static int folder;
static char *buffer, *read_back;
static uint32_t *blocks, *pieces, *order;

/* ---- bytes --------------------------------------------------------------------------------------- */

struct bytes {
    size_t size;      /* of a write */
    uint32_t count;   /* writes of a part */
    uint32_t *places; /* in units of size */
    struct fs_handle **handle;
    uint64_t *blocks; /* of the file: where each lies in the pool, in bytes */
};

static void verify(const struct bytes *bytes, unsigned round)
{
    uint64_t per = bytes->size / BENCH_BLOCK;
    const uint32_t *places = bytes->places + (size_t)(round % PARTS) * bytes->count;

    for (uint32_t i = 0; i < bytes->count; i++) {
        must(fs_pread(fs, &rq, *bytes->handle, read_back, bytes->size,
                      (uint64_t)places[i] * bytes->size),
             "read");
        bench_check(read_back, bytes->size, places[i] * per, round, "what was written");
    }
}

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
    verify(bytes, round);
    return rate;
}

/* In as few copies as the file has extents there. */
static void copy_to_pool(const uint64_t *offsets, uint64_t count)
{
    for (uint64_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && offsets[to] == offsets[to - 1] + BENCH_BLOCK; to++)
            ;
        pmem_memcpy_persist(pool_at(pool, offsets[from]), buffer + from * BENCH_BLOCK,
                            (to - from) * BENCH_BLOCK);
    }
}

static int note_extent(void *arg, const struct fs_extent *extent)
{
    uint64_t *offsets = arg;

    for (uint64_t at = 0; at < extent->length; at += BENCH_BLOCK)
        offsets[(extent->offset + at) / BENCH_BLOCK] = extent->pool_offset + at;
    return 0;
}

static double write_theirs(const struct bytes *bytes, unsigned round)
{
    uint64_t per = bytes->size / BENCH_BLOCK;
    const uint32_t *places = bytes->places + (size_t)(round % PARTS) * bytes->count;
    double begin = bench_now();

    for (uint32_t i = 0; i < bytes->count; i++) {
        bench_stamp(buffer, bytes->size, places[i] * per, round);
        copy_to_pool(bytes->blocks + places[i] * per, per);
    }
    double rate = bytes->count / (bench_now() - begin);
    verify(bytes, round);
    return rate;
}

static void row_write(const char *id, struct bytes *bytes)
{
    struct series ours = { .count = 0 }, theirs = { .count = 0 };

    bytes->blocks = calloc(PARTS * bytes->count * bytes->size / BENCH_BLOCK, sizeof(uint64_t));
    if (!bytes->blocks)
        err(2, "memory");
    must(fs_extents(fs, &rq, fs_handle_ino(*bytes->handle), note_extent, bytes->blocks), "extents");

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
    free(bytes->blocks);
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

int main(int argc, char **argv)
{
    static const struct pool_options pool_options = { .pmem = POOL_PMEM_FORCE };
    static const struct fs_options fs_options = { .noatime = false };
    char *message = NULL;

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
    small = make_file("small", SMALL_BYTES);
    large = make_file("large", LARGE_BYTES);
    row_write("engine.overwrite4k", &(struct bytes){ .size = BENCH_BLOCK,
                                                     .count = SMALL_BYTES / BENCH_BLOCK / PARTS,
                                                     .places = blocks,
                                                     .handle = &small });
    row_write("engine.write2m", &(struct bytes){ .size = LARGE_SIZE,
                                                 .count = LARGE_BYTES / LARGE_SIZE / PARTS,
                                                 .places = pieces,
                                                 .handle = &large });
    rows_names();
    fs_release(fs, small);
    fs_release(fs, large);
    fs_close(fs);
    pool_close(pool);
    return 0;
}
