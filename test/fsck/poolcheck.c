/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check in process, over memory, many times.
 *
 *   poolcheck bytes POOL RANGES SEED COUNT   changes COUNT bytes of metadata, one at a time: each is found
 *   poolcheck crash POOL                     stops the repair of POOL at every fence: it can be run again
 *   poolcheck fuzz POOL SEED SECONDS         damages of any kind: the check ends, and what it repairs
 *                                            is clean for the next one
 *
 * RANGES is what poolpoke prints of POOL's metadata.
 */
#include "image.h"

#include "base/log.h"
#include "media/pool.h"
#include "tools/fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint8_t *original, *copy;
static uint64_t size;
static struct fsck_result result;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "poolcheck: %s\n", what);
    exit(2);
}

static void *anonymous(uint64_t length)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        die("no memory");
    return memory;
}

static void load(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0)
        die(path);
    size = (uint64_t)st.st_size;
    original = anonymous(size);
    copy = anonymous(size);
    for (uint64_t at = 0; at < size;) {
        ssize_t got = pread(fd, original + at, size - at, (off_t)at);
        if (got <= 0)
            die("the pool can not be read");
        at += (uint64_t)got;
    }
    close(fd);
    memcpy(copy, original, size);
    image_base = original;
    image_blocks = size / DXF_BLOCK_SIZE;
}

/* Only what differs is written, so that pages stay shared with zero. */
static void restore(void)
{
    for (uint64_t at = 0; at < size; at += DXF_BLOCK_SIZE)
        if (memcmp(copy + at, original + at, DXF_BLOCK_SIZE) != 0)
            memcpy(copy + at, original + at, DXF_BLOCK_SIZE);
}

/* Returns -errno of the open or the run. */
static int check(uint8_t *memory, enum fsck_mode mode, struct persist *persist, FILE *out)
{
    struct fsck_options options = {
        .mode = mode,
        .out = out,
        .primary_bad = validate_super((const void *)memory) != NULL,
        .spare_bad =
            validate_super((const void *)(memory + DXF_SPARE_BLOCK * DXF_BLOCK_SIZE)) != NULL,
    };
    struct pool *pool;
    int error = 0;

    if (persist == NULL)
        error = persist_open_pmem(memory, size, &persist);
    if (error == 0)
        error = pool_open_memory(memory, size, persist, &pool);
    if (error < 0) {
        persist_close(persist);
        memset(&result, 0, sizeof(result));
        return error;
    }
    error = fsck_run(pool, &options, &result);
    pool_close(pool);
    return error;
}

/* ---- bytes ----------------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state += 0x9e3779b97f4a7c15;
    uint64_t z = random_state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static int bytes(const char *ranges_path, uint64_t count)
{
    struct {
        uint64_t offset, length;
        char what[32];
    } *range = calloc(100000, sizeof(*range));
    FILE *file = fopen(ranges_path, "re");
    size_t ranges = 0;
    uint64_t missed = 0;

    if (file == NULL || range == NULL)
        die("no ranges");
    while (ranges < 100000 && fscanf(file, "%" SCNu64 " %" SCNu64 " %31s", &range[ranges].offset,
                                     &range[ranges].length, range[ranges].what) == 3)
        ranges++;
    fclose(file);
    if (ranges == 0)
        die("no ranges");
    for (uint64_t i = 0; i < count; i++) {
        size_t r = random_next() % ranges;
        uint64_t at = range[r].offset + random_next() % range[r].length;
        copy[at] ^= (uint8_t)(1 + random_next() % 255);
        int error = check(copy, FSCK_CHECK, NULL, NULL);
        if (error == 0 && result.found == 0) {
            printf("byte %" PRIu64 " (%s) was not found\n", at, range[r].what);
            missed++;
        }
        restore();
    }
    printf("%" PRIu64 " bytes changed, %" PRIu64 " not found\n", count, missed);
    free(range);
    return missed > 0;
}

/* ---- crash ------------------------------------------------------------------------------------------- */

struct event {
    enum persist_event_kind kind;
    uint64_t offset;
    uint32_t length;
    uint8_t *bytes;
};
static struct event *events;
static size_t event_count, event_room;

static void record(void *arg, const struct persist_event *event)
{
    (void)arg;
    if (event_count == event_room) {
        event_room = event_room ? event_room * 2 : 1024;
        events = reallocarray(events, event_room, sizeof(*events));
        if (events == NULL)
            die("no memory");
    }
    struct event *to = &events[event_count++];
    *to = (struct event){ event->kind, event->offset, event->length, NULL };
    if (event->bytes != NULL) {
        to->bytes = malloc(event->length);
        memcpy(to->bytes, event->bytes, event->length);
    }
}

static uint64_t inodes_wanted;

/* The image after the first events: everything stored, or with the last, unfenced ones torn. */
static int crash_at(size_t count, bool torn)
{
    size_t fenced = 0;

    restore();
    for (size_t i = 0; i < count; i++)
        if (events[i].kind == PERSIST_EVENT_FENCE)
            fenced = i;
    for (size_t i = 0; i < count; i++) {
        if (events[i].bytes == NULL)
            continue;
        uint32_t length = events[i].length;
        if (torn && i > fenced)
            length = (uint32_t)(random_next() % (length / 8 + 1) * 8);
        memcpy(copy + events[i].offset, events[i].bytes, length);
    }
    int error = check(copy, FSCK_YES, NULL, NULL);
    if (error < 0 || result.left > 0) {
        printf("after %zu events the repair can not be run again: %s, %" PRIu64 " left\n", count,
               strerror(-error), result.left);
        return 1;
    }
    error = check(copy, FSCK_CHECK, NULL, NULL);
    if (error < 0 || result.found > 0) {
        printf("after %zu events the second repair is not clean\n", count);
        check(copy, FSCK_CHECK, NULL, stdout);
        return 1;
    }
    /* No more is lost than by a repair that was not cut off. */
    if (result.inodes != inodes_wanted) {
        printf("after %zu events %" PRIu64 " inodes are there instead of %" PRIu64 "\n", count,
               result.inodes, inodes_wanted);
        return 1;
    }
    return 0;
}

static int crash(void)
{
    struct persist *persist;
    int failed = 0;
    size_t states = 0;

    if (persist_open_recording(copy, size, true, record, NULL, &persist) < 0 ||
        check(copy, FSCK_YES, persist, NULL) < 0)
        die("the repair failed");
    if (check(copy, FSCK_CHECK, NULL, NULL) < 0)
        die("the repaired pool can not be checked");
    inodes_wanted = result.inodes;
    size_t step = event_count / 400 + 1;
    for (size_t i = 0; i <= event_count && failed < 5; i += step, states += 2) {
        failed += crash_at(i, false);
        failed += crash_at(i, true);
    }
    printf("%zu states of a repair of %zu events, %d failed\n", states, event_count, failed);
    return failed > 0;
}

/* ---- fuzz -------------------------------------------------------------------------------------------- */

static void scramble(void *object, size_t length)
{
    uint8_t *place = object;
    unsigned times = 1 + (unsigned)(random_next() % 4);

    for (unsigned i = 0; i < times; i++) {
        size_t at = random_next() % length / 8 * 8;
        switch (random_next() % 4) {
        case 0:
            place[random_next() % length] ^= (uint8_t)(1u << random_next() % 8);
            break;
        case 1: /* a small number */
            memset(place + at, 0, 8);
            place[at] = (uint8_t)random_next();
            break;
        case 2: /* a block of the pool */
            memcpy(place + at, &(uint64_t){ random_next() % image_blocks }, 8);
            break;
        default: /* another part of itself */
            memmove(place + at, place + random_next() % length / 8 * 8, 8);
        }
    }
}

/* Things are looked for in the sound image, and damaged in the copy. */
static void *in_copy(const void *place)
{
    return copy + ((const uint8_t *)place - original);
}

/* One object of the pool, found by looking at random places. */
static void damage(void)
{
    bool seal = random_next() % 4 != 0;
    uint64_t kind = random_next() % 8;

    if (kind < 3) {
        uint64_t ino = kind == 0 ? random_next() % 16 : random_next() % 1600;
        if (ino == 0)
            ino = 1;
        struct dxf_inode *inode = in_copy(image_record(ino));
        scramble(inode, sizeof(*inode));
        if (seal)
            seal_inode(inode, ino);
    } else if (kind == 3) {
        uint64_t block = random_next() % image_blocks;
        struct dxf_bitmap_line *line = in_copy(image_line(block));
        scramble(line, DXF_LINE_SIZE);
        if (seal)
            seal_bitmap_line(line, block / DXF_LINE_BITS);
    } else if (kind == 4) {
        uint8_t *block = in_copy(image_block(1 + random_next() % 4));
        scramble(block, DXF_BLOCK_SIZE);
    } else {
        for (unsigned tries = 0; tries < 20000; tries++) {
            uint64_t number = 512 + random_next() % (image_blocks - 512);
            struct dxf_block_header *header = in_copy(image_block(number));
            uint32_t magic = le32_get(header->magic);
            if (magic == DXF_MAGIC_EXTENT_NODE || magic == DXF_MAGIC_DIR_NODE ||
                magic == DXF_MAGIC_CHAIN) {
                scramble(header, random_next() % 2 ? 64 : DXF_BLOCK_SIZE);
                if (seal)
                    seal_block(header);
                return;
            }
            if (magic == DXF_MAGIC_DIR_LEAF) {
                struct dxf_dir_leaf *leaf = (void *)header;
                struct dxf_dirent *entry =
                    (void *)(leaf->entries + random_next() % 127 * 32 % 4032);
                scramble(entry, 32);
                if (seal)
                    seal_dirent(entry, le64_get(header->owner));
                return;
            }
        }
    }
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec;
}

static void damage_all(uint64_t seed)
{
    random_state = seed;
    restore();
    unsigned times = 1 + (unsigned)(random_next() % 6);
    for (unsigned i = 0; i < times; i++)
        damage();
}

/* The same once more, in words. */
static void fuzz_again(uint64_t seed)
{
    damage_all(seed);
    puts("the repair was:");
    check(copy, FSCK_YES, NULL, stdout);
}

static int fuzz(uint64_t seed, uint64_t seconds)
{
    uint64_t end = now() + seconds, rounds = 0, clean = 0, left = 0, refused = 0;

    for (; now() < end; rounds++) {
        damage_all(seed + rounds);
        if (check(copy, FSCK_CHECK, NULL, NULL) < 0) {
            refused++;
            continue;
        }
        uint64_t found = result.found;
        int error = check(copy, FSCK_YES, NULL, NULL);
        if (error < 0 || result.left > 0) {
            left++;
            continue;
        }
        error = check(copy, FSCK_CHECK, NULL, NULL);
        if (error < 0 || result.found > 0) {
            printf("seed %" PRIu64 ": %" PRIu64 " found, repaired, and not clean then\n",
                   seed + rounds, found);
            check(copy, FSCK_CHECK, NULL, stdout);
            fuzz_again(seed + rounds);
            return 1;
        }
        clean++;
    }
    printf("%" PRIu64 " damaged pools: %" PRIu64 " repaired, %" PRIu64 " in part, %" PRIu64
           " refused\n",
           rounds, clean, left, refused);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: bytes POOL RANGES SEED COUNT | crash POOL | fuzz POOL SEED SECONDS");
    log_open("poolcheck", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    if (pool_guard_install() < 0)
        die("signals can not be caught");
    load(argv[2]);
    if (strcmp(argv[1], "bytes") == 0 && argc == 6) {
        random_state = strtoull(argv[4], NULL, 10);
        return bytes(argv[3], strtoull(argv[5], NULL, 10));
    }
    if (strcmp(argv[1], "crash") == 0)
        return crash();
    if (strcmp(argv[1], "fuzz") == 0 && argc == 5)
        return fuzz(strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    die("no such command");
}
