/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks of mappings under which the file grows, shrinks or loses bytes. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

/* The guest does not ask again when a file grows within what it has mapped. */
static void grow(void)
{
    const size_t small = 5 * PAGE + 100, size = CHUNK;
    int fd = file_make("file", small);
    uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);

    stamp_fill(map, 1, 0, small);
    EXPECT(touch_signal(map + 6 * PAGE, false) == SIGBUS);
    EXPECT(touch_signal(map + 6 * PAGE, true) == SIGBUS);
    TRY(ftruncate(fd, (off_t)size));
    EXPECT(stamp_differs(map, 1, 0, small) == -1);
    EXPECT(zero_differs(map + small, size - small) == -1);
    stamp_fill(map + small, 2, small, size - small);
    file_has(fd, 1, 0, small);
    file_has(fd, 2, small, size - small);
}

static void grow_by_write(void)
{
    static uint8_t data[10 * PAGE];
    const size_t small = 3 * PAGE;
    int fd = file_make("file", small);
    uint8_t *map = file_map(fd, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED);
    size_t size = small;

    stamp_fill(map, 1, 0, small);
    while (size + sizeof(data) <= CHUNK) {
        stamp_fill(data, 1, size, sizeof(data));
        file_write(fd, data, sizeof(data), size);
        EXPECT(stamp_differs(map + size, 1, size, sizeof(data)) == -1);
        stamp_fill(map + size, 2, size, PAGE);
        file_has(fd, 2, size, PAGE);
        size += sizeof(data);
    }
    /* A gap between the old end and what is written is zero. */
    TRY(ftruncate(fd, (off_t)(CHUNK / 2)));
    file_write(fd, data, PAGE, CHUNK - PAGE);
    EXPECT(zero_differs(map + CHUNK / 2, CHUNK / 2 - PAGE) == -1);
}

static void grow_by_append(void)
{
    int fd = file_make("file", PAGE), end;
    uint8_t *map = file_map(fd, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED);
    uint8_t line[100];

    stamp_fill(map, 1, 0, PAGE);
    end = (int)TRY(open("file", O_WRONLY | O_APPEND));
    for (size_t size = PAGE; size < 64 * PAGE; size += sizeof(line)) {
        stamp_fill(line, 1, size, sizeof(line));
        EXPECT(write(end, line, sizeof(line)) == (ssize_t)sizeof(line));
        EXPECT(stamp_differs(map + size, 1, size, sizeof(line)) == -1);
    }
}

static void shrink_regrow_to(size_t size, size_t small)
{
    int fd = file_make("file", size);
    uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    size_t gone = (small + PAGE - 1) / PAGE * PAGE;

    stamp_fill(map, 1, 0, size);
    TRY(ftruncate(fd, (off_t)small));
    EXPECT(stamp_differs(map, 1, 0, small) == -1);
    EXPECT(zero_differs(map + small, gone - small) == -1);
    if (gone < size) {
        EXPECT(touch_signal(map + gone, false) == SIGBUS);
        EXPECT(touch_signal(map + size - 1, true) == SIGBUS);
    }
    TRY(ftruncate(fd, (off_t)size));
    EXPECT(stamp_differs(map, 1, 0, small) == -1);
    if (zero_differs(map + small, size - small) >= 0)
        fail("shrunk to %zu and grown to %zu: stale byte %jd in the mapping", small, size,
             (intmax_t)zero_differs(map + small, size - small));
    file_zero(fd, small, size - small);
    stamp_fill(map + small, 2, small, size - small);
    file_has(fd, 1, 0, small);
    file_has(fd, 2, small, size - small);
    TRY(munmap(map, size));
    TRY(close(fd));
}

static void shrink_regrow(void)
{
    shrink_regrow_to(CHUNK, 10 * PAGE);
    shrink_regrow_to(CHUNK, 10 * PAGE + 123);
    shrink_regrow_to(CHUNK - 5 * PAGE - 5, 1);
    shrink_regrow_to(3 * CHUNK, CHUNK + 7 * PAGE + 7);
    shrink_regrow_to(2 * CHUNK, 0);
}

static void truncating_open(void)
{
    int fd = file_make("file", CHUNK), other;
    uint8_t *map = file_map(fd, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED);

    stamp_fill(map, 1, 0, CHUNK);
    other = (int)TRY(open("file", O_WRONLY | O_TRUNC));
    TRY(close(other));
    EXPECT(touch_signal(map, false) == SIGBUS);
    TRY(ftruncate(fd, CHUNK));
    EXPECT(zero_differs(map, CHUNK) == -1);
    stamp_fill(map, 2, 0, CHUNK);
    file_has(fd, 2, 0, CHUNK);
}

/* Stores between the end of the file and the end of its page are not the file's. */
static void stores_past_end(void)
{
    const size_t small = 3 * PAGE + 1000;
    int fd = file_make("file", small);
    uint8_t *map = file_map(fd, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED);

    stamp_fill(map, 1, 0, 4 * PAGE);
    TRY(ftruncate(fd, CHUNK));
    EXPECT(stamp_differs(map, 1, 0, small) == -1);
    EXPECT(zero_differs(map + small, 4 * PAGE - small) == -1);
    file_zero(fd, small, CHUNK - small);
}

static void take(int fd, int mode, size_t offset, size_t length)
{
    if (fallocate(fd, mode, (off_t)offset, (off_t)length) == 0)
        return;
    if (errno == EOPNOTSUPP)
        check_skip("the filesystem below does not have it");
    fail("fallocate: %m");
}

static void take_and_store(int mode)
{
    const size_t size = 3 * CHUNK, from = CHUNK / 2 + 100, length = CHUNK + 777;
    int fd = file_make("file", size);
    uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);

    for (uint64_t round = 0; round < 3; round++) {
        stamp_fill(map, round, 0, size);
        take(fd, mode, from, length);
        EXPECT(stamp_differs(map, round, 0, from) == -1);
        EXPECT(zero_differs(map + from, length) == -1);
        EXPECT(stamp_differs(map + from + length, round, from + length, size - from - length) ==
               -1);
        file_zero(fd, from, length);
        stamp_fill(map + from, round + 10, from, length);
        file_has(fd, round + 10, from, length);
        file_has(fd, round, 0, from);
    }
}

static void punch(void)
{
    take_and_store(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

static void zero_range(void)
{
    take_and_store(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
}

static void allocate_mapped(void)
{
    int fd = file_make("file", CHUNK);
    uint8_t *map = file_map(fd, 2 * CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED);
    struct stat st;

    stamp_fill(map, 1, 0, PAGE);
    take(fd, 0, 0, 2 * CHUNK);
    TRY(fstat(fd, &st));
    EXPECT(st.st_size == 2 * CHUNK);
    EXPECT(stamp_differs(map, 1, 0, PAGE) == -1);
    EXPECT(zero_differs(map + PAGE, 2 * CHUNK - PAGE) == -1);
    stamp_fill(map, 2, 0, 2 * CHUNK);
    file_has(fd, 2, 0, 2 * CHUNK);
}

const struct check checks_size[] = {
    { "grow", grow, false },
    { "grow-by-write", grow_by_write, false },
    { "grow-by-append", grow_by_append, false },
    { "shrink-regrow", shrink_regrow, false },
    { "truncating-open", truncating_open, false },
    { "stores-past-end", stores_past_end, true },
    { "punch", punch, false },
    { "zero-range", zero_range, false },
    { "allocate-mapped", allocate_mapped, false },
    { NULL, NULL, false },
};
