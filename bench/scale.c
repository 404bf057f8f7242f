/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Large pools and many files: what scripts/bench needs done in process, or through a mount.
 *
 *   bench_scale fill POOL COUNT      folder "many" with COUNT empty files, "few" with 1000
 *   bench_scale lookup POOL COUNT    row scale.dir1m: time of a lookup in "many", in those of "few"
 *   bench_scale stat FOLDER COUNT    looks at each file of the folder, which has COUNT, by name
 *   bench_scale row ID SECONDS...    a row of what was timed outside
 */
#include "bench.h"

#include "fs/fs.h"
#include "media/pool.h"
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FEW 1000u
#define LOOKUPS 20000u
#define ROUNDS 31

static struct pool *pool;
static struct fs *fs;
static const struct fs_request rq = { .in_group = true };

static void open_pool(const char *path)
{
    static const struct pool_options pool_options = { .pmem = POOL_PMEM_FORCE };
    static const struct fs_options fs_options = { .noatime = false };
    char *message = NULL;

    must(pool_guard_install(), "guard");
    if (pool_open(path, &pool_options, &pool, &message) < 0)
        errx(2, "%s", message ? message : path);
    must(fs_open(pool, &fs_options, &fs, NULL), path);
}

static void close_pool(void)
{
    fs_close(fs);
    pool_close(pool);
}

static struct fs_name name_of(uint32_t i, char *room)
{
    sprintf(room, "file-%07u", i);
    return fs_name(room);
}

static void fill_folder(const char *name, uint32_t count)
{
    struct fs_attr folder, attr;
    char room[32];

    must(fs_mkdir(fs, &rq, 1, fs_name(name), 0755, &folder), name);
    for (uint32_t i = 0; i < count; i++) {
        must(fs_mknod(fs, &rq, folder.ino, name_of(i, room), S_IFREG | 0644, 0, 0, &attr), "mknod");
        fs_forget(fs, attr.ino, 1);
    }
    fs_forget(fs, folder.ino, 1);
}

static double lookup_time(uint64_t folder, uint32_t count, uint64_t seed)
{
    struct fs_attr attr;
    char room[32];
    double begin = bench_now();

    for (uint32_t i = 0; i < LOOKUPS; i++) {
        uint32_t which = (uint32_t)(bench_random(&seed) % count);

        must(fs_lookup(fs, &rq, folder, name_of(which, room), &attr), "lookup");
        if (!S_ISREG(attr.mode) || attr.links != 1)
            errx(2, "lookup: wrong attributes");
        fs_forget(fs, attr.ino, 1);
    }
    return (bench_now() - begin) / LOOKUPS;
}

static void lookup_all(uint64_t folder, uint32_t count)
{
    struct fs_attr attr;
    char room[32];

    for (uint32_t i = 0; i < count; i++) {
        must(fs_lookup(fs, &rq, folder, name_of(i, room), &attr), "lookup");
        fs_forget(fs, attr.ino, 1);
    }
}

static void row_lookup(uint32_t count)
{
    struct series many = { .count = 0 }, few = { .count = 0 };
    struct fs_attr many_attr, few_attr, unused;
    char room[32];

    must(fs_lookup(fs, &rq, 1, fs_name("many"), &many_attr), "many");
    must(fs_lookup(fs, &rq, 1, fs_name("few"), &few_attr), "few");
    if (fs_lookup(fs, &rq, many_attr.ino, name_of(count, room), &unused) >= 0)
        errx(2, "there are more files than were made");
    /* The first look at a record after a mount also validates it. */
    lookup_all(many_attr.ino, count);
    lookup_all(few_attr.ino, FEW);
    for (unsigned round = 0; round < ROUNDS; round++) {
        series_add(&many, lookup_time(many_attr.ino, count, round));
        series_add(&few, lookup_time(few_attr.ino, FEW, round));
    }
    row_ratio("scale.dir1m", &many, &few, NULL);
}

static void stat_all(const char *path, uint32_t count)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY);
    struct stat found;
    char room[32];

    must_system(folder, path);
    for (uint32_t i = 0; i < count; i++) {
        name_of(i, room);
        must_system(fstatat(folder, room, &found, AT_SYMLINK_NOFOLLOW), room);
        if (!S_ISREG(found.st_mode))
            errx(2, "%s: not a file", room);
    }
}

static void row_given(int count, char **words)
{
    struct series series = { .count = 0 };

    for (int i = 1; i < count; i++)
        series_add(&series, strtod(words[i], NULL));
    row_plain(words[0], &series, NULL);
}

int main(int argc, char **argv)
{
    const char *what = argc > 3 ? argv[1] : "";

    if (strcmp(what, "row") == 0) {
        row_given(argc - 2, argv + 2);
        return 0;
    }
    uint32_t count = argc == 4 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    if (count == 0)
        errx(2, "usage: bench_scale fill|lookup POOL COUNT, stat FOLDER COUNT, row ID VALUE...");
    if (strcmp(what, "stat") == 0) {
        stat_all(argv[2], count);
        return 0;
    }
    open_pool(argv[2]);
    if (strcmp(what, "fill") == 0) {
        fill_folder("many", count);
        fill_folder("few", FEW);
    } else if (strcmp(what, "lookup") == 0) {
        row_lookup(count);
    } else {
        errx(2, "%s: no such measurement", what);
    }
    close_pool();
    return 0;
}
