/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ageing run: how much of large files lies in whole pieces after a pool has been used for long.
 *
 *   bench_age POOL
 *
 * Files with log-normal sizes (median 13 KB, sigma 2.46: the sizes that a large company's desktops were
 * found to hold) are written, in requests of 128 KiB as cp makes them, until the pool is 90 % full. From
 * then on a file is written and files picked at random are deleted, before it where it would not fit,
 * until three times the size of the pool has been written. Then, of the files of 8 MiB and more:
 *
 *   in pieces   each whole 2 MiB of it past the first is one aligned piece of the pool. (The first is
 *               written while nobody can know that the file will be long.)
 *
 * Those and some of the others are read back and compared.
 */
#include "bench.h"

#include "fs/fs.h"
#include "media/pool.h"
#include <err.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MEDIAN 13095.0 /* e^9.48 */
#define SIZE_SIGMA 2.46
#define REQUEST (128u << 10)
#define LARGE (8u << 20)
#define FILES_MAX (1u << 20)
#define VERIFY_EACH 16u
#define PIECE_BLOCKS (DXF_PIECE_SIZE / BENCH_BLOCK)
#define CHUNKS_MAX 65536u

static struct pool *pool;
static struct fs *fs;
static const struct fs_request rq = { .in_group = true };
static char *buffer;
static uint64_t seed = 1;

struct file {
    uint32_t number;
    uint64_t size;
};
static struct file *files;
static uint32_t live, made;
static uint64_t written;

static double uniform(void)
{
    return ((double)(bench_random(&seed) >> 11) + 0.5) / (double)(1ull << 53);
}

static uint64_t random_size(void)
{
    double normal = sqrt(-2 * log(uniform())) * cos(2 * 3.14159265358979 * uniform());
    double size = SIZE_MEDIAN * exp(SIZE_SIGMA * normal), most = (double)(pool->size / 8);

    return (uint64_t)(size < most ? size : most);
}

static struct fs_name name_of(uint32_t number, char *room)
{
    sprintf(room, "f%08u", number);
    return fs_name(room);
}

static double share_used(void)
{
    struct fs_statfs statfs;

    fs_statfs(fs, &statfs);
    return 1 - (double)statfs.free / (double)statfs.blocks;
}

static void write_file(uint64_t size)
{
    struct file *file = &files[live++];
    struct fs_handle *handle;
    struct fs_attr attr;
    char room[32];

    if (live == FILES_MAX)
        errx(2, "too many files");
    *file = (struct file){ .number = made++, .size = size };
    must(fs_create(fs, &rq, 1, name_of(file->number, room), 0644, O_RDWR, &attr, &handle),
         "create");
    for (uint64_t at = 0; at < file->size;) {
        size_t part = file->size - at < REQUEST ? file->size - at : REQUEST;

        bench_stamp(buffer, part, at / BENCH_BLOCK, file->number);
        ssize_t put = fs_pwrite(fs, &rq, handle, buffer, part, at);
        must(put, "write");
        if ((size_t)put != part)
            errx(2, "write: short");
        at += part;
    }
    written += file->size;
    fs_release(fs, handle);
    fs_forget(fs, attr.ino, 1);
}

static void delete_one(void)
{
    uint32_t victim = (uint32_t)(bench_random(&seed) % live);
    char room[32];

    must(fs_unlink(fs, &rq, 1, name_of(files[victim].number, room)), "unlink");
    files[victim] = files[--live];
}

/* ---- where they lie ------------------------------------------------------------------------------- */

static uint64_t *place; /* of each block of one file: its block in the pool */

static int note_extent(void *arg, const struct fs_extent *extent)
{
    (void)arg;
    for (uint64_t i = 0; i < extent->length / BENCH_BLOCK; i++) {
        uint64_t block = extent->offset / BENCH_BLOCK + i;
        if (block < (uint64_t)CHUNKS_MAX * PIECE_BLOCKS)
            place[block] = extent->pool_offset / BENCH_BLOCK + i;
    }
    return 0;
}

static bool chunk_is_piece(uint64_t chunk)
{
    const uint64_t *blocks = place + chunk * PIECE_BLOCKS;

    for (uint64_t i = 0; i < PIECE_BLOCKS; i++)
        if (blocks[i] != blocks[0] + i)
            return false;
    return blocks[0] % PIECE_BLOCKS == 0;
}

static void verify(const struct file *file)
{
    struct fs_handle *handle;
    struct fs_attr attr;
    char room[32];

    must(fs_lookup(fs, &rq, 1, name_of(file->number, room), &attr), "lookup");
    if (attr.size != file->size)
        errx(2, "%s: has another size", room);
    must(fs_open_file(fs, &rq, attr.ino, O_RDONLY, false, &handle), "open");
    for (uint64_t at = 0; at < file->size / BENCH_BLOCK * BENCH_BLOCK;) {
        uint64_t rest = file->size / BENCH_BLOCK * BENCH_BLOCK - at;
        size_t part = rest < REQUEST ? rest : REQUEST;

        must(fs_pread(fs, &rq, handle, buffer, part, at), "read");
        bench_check(buffer, part, at / BENCH_BLOCK, file->number, room);
        at += part;
    }
    fs_release(fs, handle);
    fs_forget(fs, attr.ino, 1);
}

static void report(void)
{
    struct series series = { .count = 0 };
    uint64_t large = 0, in_pieces = 0, strict = 0, chunks = 0, chunks_in_pieces = 0;
    char note[256];

    for (uint32_t i = 0; i < live; i++) {
        const struct file *file = &files[i];
        bool all = true;

        if (file->size >= LARGE || i % VERIFY_EACH == 0)
            verify(file);
        if (file->size < LARGE)
            continue;
        struct fs_attr attr;
        char room[32];
        must(fs_lookup(fs, &rq, 1, name_of(file->number, room), &attr), "lookup");
        memset(place, 0, CHUNKS_MAX * PIECE_BLOCKS * sizeof(*place));
        must(fs_extents(fs, &rq, attr.ino, note_extent, NULL), "extents");
        fs_forget(fs, attr.ino, 1);
        bool first = chunk_is_piece(0);
        for (uint64_t chunk = 1; chunk < file->size / DXF_PIECE_SIZE; chunk++) {
            bool good = chunk_is_piece(chunk);
            chunks++;
            chunks_in_pieces += good;
            all = all && good;
        }
        large++;
        in_pieces += all;
        strict += all && first;
    }
    if (large < 20)
        errx(2, "only %llu files of 8 MiB and more: the pool is too small",
             (unsigned long long)large);
    snprintf(note, sizeof(note),
             "%llu large files, %.1f %% of their chunks past the first are pieces, %.1f %% of "
             "the files also have their first in one; %.0f %% full",
             (unsigned long long)large, 100.0 * (double)chunks_in_pieces / (double)chunks,
             100.0 * (double)strict / (double)large, 100 * share_used());
    series_add(&series, (double)in_pieces / (double)large);
    row_plain("scale.huge", &series, note);
}

int main(int argc, char **argv)
{
    static const struct pool_options pool_options = { .pmem = POOL_PMEM_FORCE };
    static const struct fs_options fs_options = { .noatime = true };
    char *message = NULL;

    if (argc != 2)
        errx(2, "usage: bench_age POOL");
    must(pool_guard_install(), "guard");
    if (pool_open(argv[1], &pool_options, &pool, &message) < 0)
        errx(2, "%s", message ? message : argv[1]);
    must(fs_open(pool, &fs_options, &fs, NULL), argv[1]);
    buffer = calloc(1, REQUEST + BENCH_BLOCK);
    files = calloc(FILES_MAX, sizeof(*files));
    place = calloc((size_t)CHUNKS_MAX * PIECE_BLOCKS, sizeof(*place));
    if (!buffer || !files || !place)
        err(2, "memory");
    while (written < 3 * pool->size) {
        uint64_t size = random_size();

        /* The largest are larger than the tenth that is free. */
        while (live > 0 && (double)size / (double)pool->size > 0.99 - share_used())
            delete_one();
        write_file(size);
        while (share_used() > 0.9)
            delete_one();
    }
    report();
    fs_close(fs);
    pool_close(pool);
    return 0;
}
