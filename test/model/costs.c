/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What operations cost the medium: fences and bytes of metadata sent on their way, by the counters
 * of the persist layer, averaged over many, with write-back and retirement. Exit 1 when a row is
 * above its limit.
 */
#include "engine.h"
#include "media/persist.h"
#include "media/pool.h"

#include <err.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 1000u

static struct image image;
static struct fs_request rq = { .in_group = true };
static struct fs_handle *file;
static uint64_t dir_ino, other_ino;
static char block[4096];

static void must(int64_t r, const char *what)
{
    if (r < 0)
        errx(2, "%s: %s", what, strerror((int)-r));
}

static struct fs_name numbered(char *room, const char *prefix, unsigned i)
{
    sprintf(room, "%s%04u", prefix, i);
    return fs_name(room);
}

static uint64_t make_dir(const char *name)
{
    struct fs_attr attr;

    must(fs_mkdir(image.fs, &rq, 1, fs_name(name), 0755, &attr), "mkdir");
    return attr.ino;
}

static void make_file(uint64_t dir, struct fs_name name)
{
    struct fs_attr attr;

    must(fs_mknod(image.fs, &rq, dir, name, 0100644, 0, 0, &attr), "mknod");
    fs_forget(image.fs, attr.ino, 1);
}

static void do_create(unsigned i)
{
    char name[32];

    make_file(dir_ino, numbered(name, "f", i));
}

static void do_unlink(unsigned i)
{
    char name[32];

    must(fs_unlink(image.fs, &rq, dir_ino, numbered(name, "f", i)), "unlink");
}

/* Files with an extent each, for unlink. */
static void prepare_unlink(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct fs_handle *handle;
        struct fs_attr attr;
        char name[32];

        must(fs_lookup(image.fs, &rq, dir_ino, numbered(name, "f", i), &attr), "lookup");
        must(fs_open_file(image.fs, &rq, attr.ino, O_RDWR, false, &handle), "open");
        must(fs_pwrite(image.fs, &rq, handle, block, sizeof(block), 0), "write");
        fs_release(image.fs, handle);
        fs_forget(image.fs, attr.ino, 1);
    }
}

static void do_rename_same(unsigned i)
{
    char from[32], to[32];

    must(
        fs_rename(image.fs, &rq, dir_ino, numbered(from, "f", i), dir_ino, numbered(to, "g", i), 0),
        "rename");
}

static void do_rename_across(unsigned i)
{
    char from[32], to[32];

    must(fs_rename(image.fs, &rq, dir_ino, numbered(from, "g", i), other_ino, numbered(to, "g", i),
                   0),
         "rename");
}

static void rename_back(void)
{
    char from[32], to[32];

    for (unsigned i = 0; i < ROUNDS; i++)
        must(fs_rename(image.fs, &rq, other_ino, numbered(from, "g", i), dir_ino,
                       numbered(to, "f", i), 0),
             "rename");
}

static void open_data(void)
{
    struct fs_attr attr;

    must(fs_create(image.fs, &rq, 1, fs_name("data"), 0644, O_RDWR, &attr, &file), "create");
}

static void do_append(unsigned i)
{
    must(fs_pwrite(image.fs, &rq, file, block, sizeof(block), (uint64_t)i * sizeof(block)),
         "append");
}

static void do_overwrite(unsigned i)
{
    must(fs_pwrite(image.fs, &rq, file, block, sizeof(block),
                   (uint64_t)(i * 7 % ROUNDS) * sizeof(block)),
         "overwrite");
}

static void do_fsync(unsigned i)
{
    must(fs_fsync(image.fs, &rq, fs_handle_ino(file), i & 1), "fsync");
}

static bool row(const char *name, void (*operation)(unsigned), double fences_max, double bytes_max)
{
    struct persist_counters before, after;
    double fences, bytes;
    bool good;

    must(fs_sync(image.fs), "sync");
    persist_get_counters(image.pool->persist, &before);
    for (unsigned i = 0; i < ROUNDS; i++)
        operation(i);
    /* What the operations left for later is theirs. */
    must(fs_sync(image.fs), "sync");
    persist_get_counters(image.pool->persist, &after);
    fences = (double)(after.fences - before.fences) / ROUNDS;
    bytes = (double)(after.flushed[PERSIST_METADATA] - before.flushed[PERSIST_METADATA]) / ROUNDS;
    good = fences <= fences_max && bytes <= bytes_max;
    printf("%-16s fences %6.3f (at most %.3f)  metadata bytes %8.1f (at most %.0f)  %s\n", name,
           fences, fences_max, bytes, bytes_max, good ? "ok" : "MISSED");
    return good;
}

int main(void)
{
    bool good = true;

    image_create(&image, 256u << 20, true);
    dir_ino = make_dir("dir");
    other_ino = make_dir("other");
    good &= row("create", do_create, 2.5, 1024);
    good &= row("rename-same", do_rename_same, 3, 1536);
    good &= row("rename-across", do_rename_across, 3, 1536);
    rename_back();
    prepare_unlink();
    good &= row("unlink", do_unlink, 2.5, 1024);
    open_data();
    good &= row("append4k", do_append, 2.5, 512);
    good &= row("overwrite4k", do_overwrite, 1, 64);
    good &= row("fsync-clean", do_fsync, 0, 0);
    fs_release(image.fs, file);
    image_destroy(&image);
    return good ? 0 : 1;
}
