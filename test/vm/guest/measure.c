/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `guest measure`: calls a second of one kind, for scripts/bench. A round is one run of this, so that the host
 * alternates between what it compares, and reads its servers' CPU time between two.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

#define SIZE ((size_t)64 << 20)
#define FILES 500

static uint8_t *buffer; /* of 1 MiB, and no DAX page */
static uint64_t state = 1;

static size_t random_offset(size_t length)
{
    return random_next(&state) % (SIZE / length) * length;
}

/* Copies of random pages: of a mapped file, or of memory that is nobody's. */
static uint64_t map_round(const char *name, double seconds)
{
    uint64_t count = 0;
    double end = now() + seconds;
    uint8_t *map;

    if (strcmp(name, "-") == 0) {
        map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED)
            die("mmap");
        memset(map, 1, SIZE);
        end = now() + seconds;
    } else {
        map = file_map((int)TRY(open(name, O_RDWR | O_CLOEXEC)), SIZE, PROT_READ, MAP_SHARED);
        for (size_t at = 0; at < SIZE; at += PAGE) /* what is measured are loads, no faults */
            buffer[0] += map[at];
        end = now() + seconds;
    }
    do
        for (int i = 0; i < 256; i++, count++) {
            memcpy(buffer, map + random_offset(PAGE), PAGE);
            __asm__ volatile("" ::"r"(buffer) : "memory");
        }
    while (now() < end);
    return count;
}

static uint64_t data_round(const char *name, size_t length, bool write, double seconds)
{
    int fd = (int)TRY(open(name, O_RDWR | O_DIRECT | O_CLOEXEC));
    uint64_t count = 0;
    double end = now() + seconds;

    do
        for (int i = 0; i < 8; i++, count++) {
            if (write)
                file_write(fd, buffer, length, random_offset(length));
            else
                file_read(fd, buffer, length, random_offset(length));
        }
    while (now() < end);
    close(fd);
    return count;
}

static void file_name(char *name, size_t size, const char *folder, unsigned i)
{
    snprintf(name, size, "%s/f%05u", folder, i);
}

static uint64_t stat_round(const char *folder, double seconds)
{
    char name[256];
    struct stat st;
    uint64_t count = 0;
    double end = now() + seconds;

    do
        for (int i = 0; i < 8; i++, count++) {
            file_name(name, sizeof(name), folder, (unsigned)(random_next(&state) % FILES));
            TRY(stat(name, &st));
        }
    while (now() < end);
    return count;
}

static uint64_t create_round(const char *folder, double seconds)
{
    char name[256];
    uint64_t count = 0;
    double end = now() + seconds;

    do {
        snprintf(name, sizeof(name), "%s/new%06ju", folder, (uintmax_t)count++);
        close((int)TRY(open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644)));
    } while (now() < end);
    return count;
}

static void create_undo(const char *folder, uint64_t count)
{
    char name[256];

    for (uint64_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s/new%06ju", folder, (uintmax_t)i);
        TRY(unlink(name));
    }
}

/* The file that is read and written, whole, and the files that are looked for. */
static void set_up(const char *folder)
{
    char name[256];
    int fd;

    snprintf(name, sizeof(name), "%s/data", folder);
    fd = file_make(name, SIZE);
    for (size_t at = 0; at < SIZE; at += 1u << 20)
        file_write(fd, buffer, 1u << 20, at);
    TRY(fsync(fd));
    close(fd);
    for (unsigned i = 0; i < FILES; i++) {
        file_name(name, sizeof(name), folder, i);
        close(file_make(name, 0));
    }
}

int measure_main(int argc, char **argv)
{
    uint64_t count = 0;
    double begin, seconds;
    char data[256];

    if (argc < 3)
        return usage();
    buffer = mmap(NULL, 1u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        die("mmap");
    memset(buffer, 7, 1u << 20);
    if (strcmp(argv[1], "setup") == 0) {
        set_up(argv[2]);
        return 0;
    }
    if (argc != 4)
        return usage();
    seconds = (double)number(argv[3]) / 1000;
    snprintf(data, sizeof(data), "%s/data", argv[2]);
    begin = now();
    if (strcmp(argv[1], "map") == 0)
        count = map_round(strcmp(argv[2], "-") == 0 ? "-" : data, seconds);
    else if (strcmp(argv[1], "read4k") == 0)
        count = data_round(data, PAGE, false, seconds);
    else if (strcmp(argv[1], "write4k") == 0)
        count = data_round(data, PAGE, true, seconds);
    else if (strcmp(argv[1], "read1m") == 0)
        count = data_round(data, 1u << 20, false, seconds);
    else if (strcmp(argv[1], "stat") == 0)
        count = stat_round(argv[2], seconds);
    else if (strcmp(argv[1], "create") == 0)
        count = create_round(argv[2], seconds);
    else
        return usage();
    seconds = strcmp(argv[1], "map") == 0 ? seconds : now() - begin;
    printf("%ju %.9f\n", (uintmax_t)count, seconds);
    if (strcmp(argv[1], "create") == 0)
        create_undo(argv[2], count);
    return 0;
}
