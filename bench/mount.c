/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rates through mounts, ours and a peer's, in alternating rounds.
 *
 *   bench_mount meta OURS PEER [PEER-WITHOUT-SPLICE]   mount.create .stat .readdir .unlink
 *   bench_mount data OURS PEER [PEER-WITHOUT-SPLICE]   mount.read4k .write4k .read1m .write1m (O_DIRECT)
 *   bench_mount warm OURS NATIVE                       mount.warm4k, from the page cache
 *   bench_mount uring RING CLASSIC                     mount.uring, one read at a time
 *
 * The servers answer every look (attribute and entry timeouts of 0) in the first two. Names are taken
 * from a descriptor of their folder. A readdir reads the folder from a new open, whose entries no
 * kernel keeps, since no server asks for it.
 */
#include "bench.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS 31u
#define FILES 1000u
#define READDIR_TIMES 4u
#define PARTS 8u               /* of a file */
#define SMALL_OPERATIONS 2048u /* of a part, each 4 KiB: 64 MiB in all */
#define LARGE_SIZE (1u << 20)
#define LARGE_OPERATIONS 32u /* 256 MiB in all */

static char *buffer; /* LARGE_SIZE, aligned */
static uint32_t *order;

struct file {
    int fd;
    size_t size; /* of an operation */
    uint32_t operations, *places;
    uint64_t generation[PARTS];
};

struct side {
    int folder;
    struct file small, large;
};

/* ---- names --------------------------------------------------------------------------------------- */

static void name_of(uint32_t i, char *room)
{
    sprintf(room, "file-%06u", i);
}

static double measure_create(struct side *side, unsigned round)
{
    char name[32];
    double begin = bench_now();

    (void)round;
    for (uint32_t i = 0; i < FILES; i++) {
        name_of(i, name);
        int fd = openat(side->folder, name, O_CREAT | O_EXCL | O_RDWR, 0644);
        must_system(fd, "create");
        close(fd);
    }
    return FILES / (bench_now() - begin);
}

static double measure_stat(struct side *side, unsigned round)
{
    char name[32];
    struct stat found;
    double begin = bench_now();

    (void)round;
    for (uint32_t i = 0; i < FILES; i++) {
        name_of(order[i], name);
        must_system(fstatat(side->folder, name, &found, AT_SYMLINK_NOFOLLOW), "stat");
        if (!S_ISREG(found.st_mode) || found.st_nlink != 1 || found.st_size != 0)
            errx(2, "stat: wrong attributes");
    }
    return FILES / (bench_now() - begin);
}

static double measure_unlink(struct side *side, unsigned round)
{
    char name[32];
    double begin = bench_now();

    (void)round;
    for (uint32_t i = 0; i < FILES; i++) {
        name_of(order[i], name);
        must_system(unlinkat(side->folder, name, 0), "unlink");
    }
    return FILES / (bench_now() - begin);
}

static unsigned count_entries(int folder)
{
    unsigned count = 0;
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY);

    must_system(fd, "open of a folder");
    for (;;) {
        long length = syscall(SYS_getdents64, fd, buffer, 32768);
        must_system(length, "getdents64");
        if (length == 0)
            break;
        for (long at = 0; at < length;) {
            const struct dirent64 *entry = (const void *)(buffer + at);
            count += strncmp(entry->d_name, "file-", 5) == 0;
            at += entry->d_reclen;
        }
    }
    close(fd);
    return count;
}

static double measure_readdir(struct side *side, unsigned round)
{
    double begin = bench_now();

    (void)round;
    for (unsigned i = 0; i < READDIR_TIMES; i++)
        if (count_entries(side->folder) != FILES)
            errx(2, "readdir: not every entry was there once");
    return READDIR_TIMES * FILES / (bench_now() - begin);
}

/* ---- bytes --------------------------------------------------------------------------------------- */

/* A round is about one part of a file, the next about the next. */
static void part_of(const struct file *file, unsigned round, const uint32_t **ret_places)
{
    *ret_places = file->places + (size_t)(round % PARTS) * file->operations;
}

static double read_part(const struct file *file, unsigned round)
{
    uint64_t per = file->size / BENCH_BLOCK;
    const uint32_t *places;

    part_of(file, round, &places);
    double begin = bench_now();
    for (uint32_t i = 0; i < file->operations; i++) {
        if (pread(file->fd, buffer, file->size, (off_t)(places[i] * file->size)) !=
            (ssize_t)file->size)
            err(2, "read");
        bench_check(buffer, file->size, places[i] * per, file->generation[round % PARTS], "read");
    }
    return file->operations / (bench_now() - begin);
}

static double write_part(struct file *file, unsigned round)
{
    uint64_t per = file->size / BENCH_BLOCK, generation = round + 1;
    const uint32_t *places;

    part_of(file, round, &places);
    double begin = bench_now();
    for (uint32_t i = 0; i < file->operations; i++) {
        bench_stamp(buffer, file->size, places[i] * per, generation);
        if (pwrite(file->fd, buffer, file->size, (off_t)(places[i] * file->size)) !=
            (ssize_t)file->size)
            err(2, "write");
    }
    double rate = file->operations / (bench_now() - begin);
    file->generation[round % PARTS] = generation;
    read_part(file, round);
    return rate;
}

static double measure_read4k(struct side *side, unsigned round)
{
    return read_part(&side->small, round);
}

static double measure_write4k(struct side *side, unsigned round)
{
    return write_part(&side->small, round);
}

static double measure_read1m(struct side *side, unsigned round)
{
    return read_part(&side->large, round);
}

static double measure_write1m(struct side *side, unsigned round)
{
    return write_part(&side->large, round);
}

static void make_file(struct side *side, struct file *file, const char *name, size_t size,
                      uint32_t operations, int flags)
{
    size_t bytes = size * operations * PARTS;

    *file = (struct file){ .size = size, .operations = operations };
    file->places = bench_permutation(operations * PARTS, size);
    file->fd = openat(side->folder, name, O_CREAT | O_RDWR | flags, 0644);
    must_system(file->fd, name);
    for (size_t at = 0; at < bytes; at += LARGE_SIZE) {
        bench_stamp(buffer, LARGE_SIZE, at / BENCH_BLOCK, 0);
        if (pwrite(file->fd, buffer, LARGE_SIZE, (off_t)at) != LARGE_SIZE)
            err(2, "filling a file");
    }
}

/* ---- rounds -------------------------------------------------------------------------------------- */

/* Ours, the peer, and the peer set up in another way, if there is one. */
#define SIDES_MAX 3u
static struct side sides[SIDES_MAX];
static unsigned side_count;

struct row {
    const char *id;
    double (*measure)(struct side *side, unsigned round);
    struct series series[SIDES_MAX];
};

static void report(const struct row *row)
{
    char note[64] = "";

    if (side_count > 2)
        snprintf(note, sizeof(note), "to the peer with --nosplice: %.2f",
                 series_median(&row->series[0]) / series_median(&row->series[2]));
    row_ratio(row->id, &row->series[0], &row->series[1], note);
}

static void run(struct row *rows, unsigned count)
{
    for (unsigned round = 0; round <= ROUNDS; round++) { /* the first warms up */
        for (unsigned turn = 0; turn < side_count; turn++) {
            unsigned which = (round + turn) % side_count;

            /* All rows of one side follow each other: unlink needs what create made. */
            for (unsigned i = 0; i < count; i++) {
                double value = rows[i].measure(&sides[which], round);
                if (round > 0)
                    series_add(&rows[i].series[which], value);
            }
        }
    }
    for (unsigned i = 0; i < count; i++)
        report(&rows[i]);
}

static void open_folder(struct side *side, const char *path)
{
    int top = open(path, O_RDONLY | O_DIRECTORY);

    must_system(top, path);
    if (mkdirat(top, "bench", 0755) < 0 && errno != EEXIST)
        err(2, "%s", path);
    side->folder = openat(top, "bench", O_RDONLY | O_DIRECTORY);
    must_system(side->folder, path);
    close(top);
}

static void run_meta(void)
{
    struct row rows[] = {
        { .id = "mount.create", .measure = measure_create },
        { .id = "mount.stat", .measure = measure_stat },
        { .id = "mount.readdir", .measure = measure_readdir },
        { .id = "mount.unlink", .measure = measure_unlink },
    };

    run(rows, 4);
}

static void run_data(void)
{
    struct row rows[] = {
        { .id = "mount.read4k", .measure = measure_read4k },
        { .id = "mount.write4k", .measure = measure_write4k },
        { .id = "mount.read1m", .measure = measure_read1m },
        { .id = "mount.write1m", .measure = measure_write1m },
    };

    for (unsigned i = 0; i < side_count; i++) {
        make_file(&sides[i], &sides[i].small, "small", BENCH_BLOCK, SMALL_OPERATIONS, O_DIRECT);
        make_file(&sides[i], &sides[i].large, "large", LARGE_SIZE, LARGE_OPERATIONS, O_DIRECT);
    }
    run(rows, 4);
}

static void run_small(const char *id, int flags)
{
    struct row row = { .id = id, .measure = measure_read4k };

    for (unsigned i = 0; i < side_count; i++)
        make_file(&sides[i], &sides[i].small, "small", BENCH_BLOCK, SMALL_OPERATIONS, flags);
    run(&row, 1);
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 5)
        errx(2, "usage: bench_mount meta|data|warm|uring OURS PEER [PEER-WITHOUT-SPLICE]");
    if (posix_memalign((void **)&buffer, BENCH_BLOCK, LARGE_SIZE) != 0)
        err(2, "memory");
    memset(buffer, 0x5a, LARGE_SIZE);
    order = bench_permutation(FILES, 1);
    for (int i = 2; i < argc; i++)
        open_folder(&sides[side_count++], argv[i]);
    if (strcmp(argv[1], "meta") == 0)
        run_meta();
    else if (strcmp(argv[1], "data") == 0)
        run_data();
    else if (strcmp(argv[1], "warm") == 0)
        run_small("mount.warm4k", 0);
    else if (strcmp(argv[1], "uring") == 0)
        run_small("mount.uring", O_DIRECT);
    else
        errx(2, "%s: no such measurement", argv[1]);
    return 0;
}
