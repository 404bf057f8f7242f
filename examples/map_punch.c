/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A door of one's own: maps a chunk of a file into this process through a mapper, the pool's own pages
 * and no copy, and punches a hole into it while it is mapped.
 *
 *   mkfs.daxfuse -s 64M pool
 *   map_punch pool              the mapping can be revoked: it is, and the next fault sees the hole
 *   map_punch --fixed pool      it cannot, as a guest's cannot: its bytes become zero in place
 *
 * The window is a range of addresses with a slot for each chunk. A slot that shows nothing has no access
 * rights, so whoever touches it then would get SIGSEGV; a real door would fault there.
 */
#include "base/stdfds.h"
#include "dax/mapping.h"
#include "fs/fs.h"
#include "media/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 4

struct window {
    struct dax_door door;
    char *address; /* of SLOTS chunks */
    int fd;        /* of the pool */
    bool shown[SLOTS];
};

static const struct fs_request rq = { .in_group = true };

/* ---- the mapper -------------------------------------------------------------------------------- */

static int show(struct window *window, uint64_t slot, int protection, int flags, int fd,
                uint64_t offset)
{
    void *at = window->address + slot * DAX_CHUNK_SIZE;

    if (mmap(at, DAX_CHUNK_SIZE, protection, flags | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED)
        return -errno;
    window->shown[slot] = protection != PROT_NONE;
    return 0;
}

static int mapper_map(void *arg, uint64_t slot, uint64_t offset, bool writable)
{
    struct window *window = arg;

    printf("  map     slot %llu shows the pool from %llu MiB on\n", (unsigned long long)slot,
           (unsigned long long)(offset >> 20));
    return show(window, slot, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, window->fd,
                offset);
}

static int mapper_map_zeros(void *arg, uint64_t slot)
{
    printf("  map     slot %llu shows zeros: the chunk is a hole\n", (unsigned long long)slot);
    return show(arg, slot, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int mapper_unmap(void *arg, uint64_t slot)
{
    printf("  unmap   slot %llu\n", (unsigned long long)slot);
    return show(arg, slot, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static int mapper_revoke(void *arg, uint64_t slot)
{
    printf("  revoke  slot %llu\n", (unsigned long long)slot);
    return show(arg, slot, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static const struct dax_mapper revocable = { mapper_map, mapper_map_zeros, mapper_unmap,
                                             mapper_revoke };
static const struct dax_mapper fixed = { mapper_map, mapper_map_zeros, mapper_unmap, NULL };

/* ---- what it is used for ------------------------------------------------------------------------ */

static void tell(const struct window *window, const char *when)
{
    if (window->shown[0])
        printf("%s: the window says \"%.16s\", and %s\n", when, window->address,
               window->address[8192] ? "the third block has data" : "the third block is zero");
    else
        printf("%s: the window shows nothing\n", when);
}

static int punch_under_mapping(struct fs *fs, struct window *window, struct fs_handle *handle)
{
    uint64_t ino = fs_handle_ino(handle);
    int r;

    printf("fault, to write\n");
    r = fs_fault(fs, &rq, &window->door, ino, 0, 0, true);
    if (r < 0)
        return r;
    memcpy(window->address, "stored by mmap", 15);
    memcpy(window->address + 8192, "stored by mmap", 15);
    tell(window, "after two stores");

    printf("punch a hole of 16 KiB where the second one was\n");
    r = fs_fallocate(fs, &rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 16384);
    if (r < 0)
        return r;
    tell(window, "after the punch");
    if (!window->shown[0]) {
        printf("fault again\n");
        r = fs_fault(fs, &rq, &window->door, ino, 0, 0, false);
        if (r < 0)
            return r;
        tell(window, "after that");
    }
    printf("fsync: what was stored through the window is durable\n");
    return fs_fsync(fs, &rq, ino, false);
}

static int with_file(struct fs *fs, struct window *window)
{
    struct fs_attr attr = { .size = DAX_CHUNK_SIZE }, after;
    struct fs_handle *handle;
    int r;

    r = fs_tmpfile(fs, &rq, DXF_INO_ROOT, 0600, O_RDWR, &after, &handle);
    if (r < 0)
        return r;
    r = fs_setattr(fs, &rq, fs_handle_ino(handle), &attr, FS_SET_SIZE, &after);
    if (r == 0)
        r = punch_under_mapping(fs, window, handle);
    fs_unmap_all(fs, &rq, &window->door);
    fs_release(fs, handle);
    fs_forget(fs, after.ino, 1);
    return r;
}

static int with_window(struct fs *fs, struct pool *pool, bool can_revoke)
{
    struct window window = { .door = { .mapper = can_revoke ? &revocable : &fixed,
                                       .arg = &window,
                                       .name = "example",
                                       .slots = SLOTS,
                                       .limit = SLOTS },
                             .fd = pool->fd };
    int r;

    window.address = mmap(NULL, SLOTS * DAX_CHUNK_SIZE, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (window.address == MAP_FAILED)
        return -errno;
    r = fs_door_add(fs, &window.door);
    if (r == 0) {
        r = with_file(fs, &window);
        /* Nobody can reach anything any more. */
        fs_door_stop(fs, &window.door);
        munmap(window.address, SLOTS * DAX_CHUNK_SIZE);
        fs_door_over(fs, &window.door);
        fs_door_remove(fs, &window.door);
    }
    return r;
}

static int run(const char *path, bool can_revoke)
{
    const struct pool_options pool_options = { .pmem = POOL_PMEM_AUTO };
    const struct fs_options fs_options = { .noatime = true };
    char *message = NULL;
    struct pool *pool;
    struct fs *fs;
    int r;

    r = pool_open(path, &pool_options, &pool, &message);
    if (r < 0) {
        fprintf(stderr, "map_punch: %s\n", message ? message : strerror(-r));
        free(message);
        return r;
    }
    r = fs_open(pool, &fs_options, &fs, NULL);
    if (r == 0) {
        r = with_window(fs, pool, can_revoke);
        fs_close(fs);
    }
    pool_close(pool);
    if (r < 0)
        fprintf(stderr, "map_punch: %s\n", strerror(-r));
    return r;
}

int main(int argc, char **argv)
{
    bool can_revoke = argc < 2 || strcmp(argv[1], "--fixed") != 0;
    int r;

    if (stdfds_open() < 0)
        return 1;
    if (argc != (can_revoke ? 2 : 3)) {
        fprintf(stderr, "usage: map_punch [--fixed] POOL\n");
        return 2;
    }
    r = pool_guard_install();
    if (r == 0)
        r = run(argv[argc - 1], can_revoke);
    return r < 0;
}
