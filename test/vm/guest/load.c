/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that one side writes and the other verifies, loads that go on while something happens to them,
 * and the loop that is timed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

enum way { BY_MAP, BY_IO, BY_DIRECT };

static enum way way_of(const char *text)
{
    static const char *const ways[] = { "map", "io", "direct" };

    for (int i = 0; i < 3; i++)
        if (strcmp(text, ways[i]) == 0)
            return (enum way)i;
    fail("%s: not map, io or direct", text);
}

int stamp_main(int argc, char **argv)
{
    static uint8_t data[128 * 1024];
    size_t size, n;
    uint64_t seed;
    int fd;

    if (argc != 5)
        return usage();
    size = number(argv[3]);
    seed = number(argv[4]);
    fd = file_make(argv[2], size);
    if (way_of(argv[1]) == BY_MAP) {
        stamp_fill(file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED), seed, 0, size);
        return 0;
    }
    for (size_t at = 0; at < size; at += n) {
        n = size - at < sizeof(data) ? size - at : sizeof(data);
        stamp_fill(data, seed, at, n);
        file_write(fd, data, n, at);
    }
    return 0;
}

int verify_main(int argc, char **argv)
{
    struct stat st;
    int64_t bad;
    size_t size;
    int fd;

    if (argc != 5)
        return usage();
    size = number(argv[3]);
    fd = (int)TRY(open(argv[2], O_RDONLY | O_CLOEXEC));
    TRY(fstat(fd, &st));
    if ((size_t)st.st_size != size)
        fail("%s has %jd bytes, not %zu", argv[2], (intmax_t)st.st_size, size);
    if (way_of(argv[1]) != BY_MAP) {
        file_has(fd, number(argv[4]), 0, size);
        return 0;
    }
    bad = stamp_differs(file_map(fd, size, PROT_READ, MAP_SHARED), number(argv[4]), 0, size);
    if (bad >= 0)
        fail("byte %jd is not what was stored", (intmax_t)bad);
    return 0;
}

/* One line: way, operation, how many a second, mean microseconds of one. */
int loop_main(int argc, char **argv)
{
    static uint8_t buffer[4096] __attribute__((aligned(4096)));
    uint64_t state = 1, count = 0;
    double start, end, limit;
    uint8_t *map = NULL;
    enum way way;
    bool write;
    size_t size;
    int fd;

    if (argc != 6)
        return usage();
    way = way_of(argv[1]);
    write = strcmp(argv[2], "write") == 0;
    size = number(argv[4]) / PAGE * PAGE;
    limit = (double)number(argv[5]);
    fd = (int)TRY(
        open(argv[3], O_RDWR | O_CREAT | O_CLOEXEC | (way == BY_DIRECT ? O_DIRECT : 0), 0644));
    TRY(ftruncate(fd, (off_t)size));
    if (way == BY_MAP)
        map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    start = now();
    do {
        for (int i = 0; i < 32; i++, count++) {
            size_t offset = random_next(&state) % (size / PAGE) * PAGE;

            if (way != BY_MAP && write)
                file_write(fd, buffer, PAGE, offset);
            else if (way != BY_MAP)
                file_read(fd, buffer, PAGE, offset);
            else if (write)
                memcpy(map + offset, buffer, PAGE);
            else
                memcpy(buffer, map + offset, PAGE);
            __asm__ volatile("" ::"r"(buffer) : "memory");
        }
        end = now();
    } while (end - start < limit);
    printf("%s %s %.0f/s %.2f us\n", argv[1], argv[2], (double)count / (end - start),
           (end - start) * 1e6 / (double)count);
    return 0;
}

/* What was told before a kill must be in the file after it: `SYNCED n` is printed after the sync of n. */
int synced_main(int argc, char **argv)
{
    volatile uint64_t *map;
    uint64_t value = 0;
    enum way way;
    int fd;

    if (argc != 3)
        return usage();
    way = way_of(argv[1]);
    fd = file_make(argv[2], PAGE);
    map = (volatile uint64_t *)file_map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    for (;;) {
        value++;
        if (way == BY_MAP) {
            *map = value;
            TRY(msync((void *)map, PAGE, MS_SYNC));
        } else {
            file_write(fd, &value, sizeof(value), 0);
            TRY(fsync(fd));
        }
        printf("SYNCED %ju\n", (uintmax_t)value);
    }
}

/* Each round stores a page of stamps in every place and first verifies the last round's. */
int stores_main(int argc, char **argv)
{
    uint64_t round = 0;
    double end;
    uint8_t *map;
    size_t size;
    int fd;

    if (argc != 4)
        return usage();
    size = number(argv[2]) / CHUNK * CHUNK;
    end = now() + (double)number(argv[3]);
    fd = file_make(argv[1], size);
    map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    do {
        for (size_t offset = 0; offset < size; offset += CHUNK / 8) {
            if (round && stamp_differs(map + offset, round, offset, PAGE) >= 0)
                fail("round %ju: the store at %zu is lost", (uintmax_t)round, offset);
            stamp_fill(map + offset, round + 1, offset, PAGE);
        }
        round++;
        if ((round & (round - 1)) == 0)
            printf("ROUND %ju\n", (uintmax_t)round);
    } while (now() < end);
    printf("ROUNDS %ju\n", (uintmax_t)round);
    return 0;
}
