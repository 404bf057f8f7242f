/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long a fault takes when its mapper does nothing, against one pmem_memset or pmem_memcpy of 2 MiB.
 *
 *   bench_fault POOL
 *
 *   fault.plain     the chunk is one piece already
 *   fault.allocate  a hole: a piece is taken and zeroed
 *   fault.gather    all of it is written, in extents of EXTENT bytes that lie elsewhere: a piece is taken
 *                   and everything is copied
 *
 * Each fault is asked for with WRITE, in a slot that is empty, and its metadata is committed when it
 * returns. The peer stores to the very piece that the fault of its round has shown: zeros, or, since to copy
 * takes two to three times as long as to zero, what a gathered chunk has, from elsewhere.
 */
#include "bench.h"

#include "dax/mapping.h"
#include "fs/fs.h"
#include "media/pool.h"
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
# define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define ROUNDS 15
#define FAULTS 24u /* a round: slots of the window, chunks of the file */
#define EXTENT (64u << 10)

static struct pool *pool;
static struct fs *fs;
static const struct fs_request rq = { .in_group = true };
static uint64_t shown[FAULTS];
static char *buffer;
static char *elsewhere; /* FAULTS chunks */

static int map(void *arg, uint64_t slot, uint64_t offset, bool writable)
{
    (void)arg;
    (void)writable;
    shown[slot] = offset;
    return 0;
}

static int map_zeros(void *arg, uint64_t slot)
{
    (void)arg;
    (void)slot;
    return -EIO; /* nobody reads a hole here */
}

static int unmap(void *arg, uint64_t slot)
{
    (void)arg;
    shown[slot] = 0;
    return 0;
}

static const struct dax_mapper mapper = { .map = map, .map_zeros = map_zeros, .unmap = unmap };
static struct dax_door door = {
    .mapper = &mapper, .name = "null", .slots = FAULTS, .limit = FAULTS
};

static struct fs_handle *create(const char *name)
{
    struct fs_handle *handle;
    struct fs_attr attr;

    must(fs_create(fs, &rq, 1, fs_name(name), 0644, O_RDWR | O_EXCL, &attr, &handle), "create");
    fs_forget(fs, attr.ino, 1);
    return handle;
}

static void end(struct fs_handle *handle, const char *name)
{
    must(fs_unmap_all(fs, &rq, &door), "unmap");
    fs_settle(fs);
    must(fs_unlink(fs, &rq, 1, fs_name(name)), "unlink");
    fs_release(fs, handle);
    must(fs_sync(fs), "sync");
}

static struct fs_handle *make_hole(void)
{
    struct fs_attr attr = { .size = FAULTS * DAX_CHUNK_SIZE }, after;
    struct fs_handle *handle = create("file");

    must(fs_setattr(fs, &rq, fs_handle_ino(handle), &attr, FS_SET_SIZE, &after), "truncate");
    return handle;
}

/* Written in no order. */
static struct fs_handle *make_scattered(void)
{
    uint32_t count = FAULTS * (DAX_CHUNK_SIZE / EXTENT);
    uint32_t *order = bench_permutation(count, 1);
    struct fs_handle *handle = create("file");

    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = (uint64_t)order[i] * EXTENT;

        bench_stamp(buffer, EXTENT, at / BENCH_BLOCK, 1);
        must(fs_pwrite(fs, &rq, handle, buffer, EXTENT, at), "write");
    }
    free(order);
    return handle;
}

/* Seconds a fault. */
static double faults(struct fs_handle *handle)
{
    uint64_t ino = fs_handle_ino(handle);
    double begin = bench_now();

    for (uint32_t i = 0; i < FAULTS; i++)
        must(fs_fault(fs, &rq, &door, ino, i * DAX_CHUNK_SIZE, i, true), "fault");
    return (bench_now() - begin) / FAULTS;
}

static void check(bool stamped)
{
    for (uint32_t i = 0; i < FAULTS; i++) {
        const char *at = pool_at(pool, shown[i]);

        if (shown[i] == 0)
            errx(2, "a slot shows nothing");
        if (stamped)
            bench_check(at, DAX_CHUNK_SIZE, i * (DAX_CHUNK_SIZE / BENCH_BLOCK), 1, "a fault");
        for (uint64_t b = 0; !stamped && b < DAX_CHUNK_SIZE; b++)
            if (at[b])
                errx(2, "a hole is not zero");
    }
}

static double stores(bool copies)
{
    double begin = bench_now();

    for (uint32_t i = 0; i < FAULTS; i++) {
        char *piece = pool_at(pool, shown[i]);

        if (copies)
            pmem_memcpy_persist(piece, elsewhere + i * DAX_CHUNK_SIZE, DAX_CHUNK_SIZE);
        else
            pmem_memset_persist(piece, 0, DAX_CHUNK_SIZE);
    }
    return (bench_now() - begin) / FAULTS;
}

static void row(const char *id, struct fs_handle *(*make)(void), bool stamped, bool again,
                bool copies)
{
    struct series ours = { .count = 0 }, theirs = { .count = 0 };

    for (unsigned round = 0; round <= ROUNDS; round++) {
        struct fs_handle *handle = make();
        double time = faults(handle), theirs_time;

        if (again) {
            must(fs_unmap_all(fs, &rq, &door), "unmap");
            time = faults(handle);
        }
        check(stamped);
        theirs_time = stores(copies);
        end(handle, "file");
        if (round > 0) {
            series_add(&ours, time);
            series_add(&theirs, theirs_time);
        }
    }
    row_ratio(id, &ours, &theirs, NULL);
}

int main(int argc, char **argv)
{
    static const struct pool_options pool_options = { .pmem = POOL_PMEM_FORCE };
    static const struct fs_options fs_options = { .noatime = false };
    char *message = NULL;

    if (argc != 2)
        errx(2, "usage: bench_fault POOL");
    must(pool_guard_install(), "guard");
    if (pool_open(argv[1], &pool_options, &pool, &message) < 0)
        errx(2, "%s", message ? message : argv[1]);
    must(fs_open(pool, &fs_options, &fs, NULL), "open of the filesystem");
    must(fs_door_add(fs, &door), "door");
    /* The first touch of a page of the pool is the host's fault, not ours. */
    must_system(madvise(pool_at(pool, 0), pool->size, MADV_POPULATE_WRITE), "MADV_POPULATE_WRITE");
    buffer = aligned_alloc(BENCH_BLOCK, EXTENT);
    elsewhere = aligned_alloc(DAX_CHUNK_SIZE, FAULTS * DAX_CHUNK_SIZE);
    if (!buffer || !elsewhere)
        err(2, "memory");
    memset(elsewhere, 2, FAULTS * DAX_CHUNK_SIZE);
    memset(buffer, 1, EXTENT);
    row("fault.plain", make_scattered, true, true, false);
    row("fault.allocate", make_hole, false, false, false);
    row("fault.gather", make_scattered, true, false, true);
    fs_door_stop(fs, &door);
    fs_door_over(fs, &door);
    fs_door_remove(fs, &door);
    free(buffer);
    free(elsewhere);
    fs_close(fs);
    pool_close(pool);
    return 0;
}
