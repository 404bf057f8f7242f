/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One file, random operations on it by mapping and by call, and a copy in memory that tells what each
 * must see. The same seed does the same. With -d also stores past the end of the file, in its last page,
 * which on DAX must be gone when the file grows.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

#define SPAN (3 * CHUNK) /* of the mapping; the file is never larger */

static uint8_t copy[SPAN], data[256 * 1024];
static size_t size;
static uint8_t *map;
static int fd;
static bool dax;
static uint64_t state;
static unsigned step;

static size_t below(size_t limit)
{
    return limit ? (size_t)(random_next(&state) % limit) : 0;
}

/* A range within limit; most are short, some long, many at the seams of pages and chunks. */
static size_t range(size_t limit, size_t *ret_length)
{
    static const size_t seams[] = { 1, 1, 16, PAGE, PAGE, CHUNK };
    size_t seam = seams[below(6)], offset = below(limit) / seam * seam, most;

    most = below(4) ? 3 * PAGE : sizeof(data);
    if (most > limit - offset)
        most = limit - offset;
    *ret_length = most ? 1 + below(most) : 0;
    return offset;
}

static void differs(const char *what, size_t offset, const uint8_t *is, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (is[i] != copy[offset + i])
            fail("step %u: %s: byte %zu of %zu is %#x, not %#x", step, what, offset + i, size,
                 is[i], copy[offset + i]);
}

static void seen_by(const char *what, size_t offset, const uint8_t *is, size_t length)
{
    if (memcmp(is, copy + offset, length) != 0)
        differs(what, offset, is, length);
}

static void resize(size_t to)
{
    TRY(ftruncate(fd, (off_t)to));
    if (to < size)
        memset(copy + to, 0, size - to);
    size = to;
}

static void take(int mode)
{
    size_t length, offset = range(size, &length);

    if (!length)
        return;
    if (fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) < 0) {
        EXPECT(errno == EOPNOTSUPP);
        return;
    }
    memset(copy + offset, 0, length);
}

static void operation(void)
{
    size_t length, offset;

    step++;
    switch (below(12)) {
    case 0:
    case 1:
    case 2: /* store */
        offset = range(size, &length);
        stamp_fill(map + offset, step, offset, length);
        stamp_fill(copy + offset, step, offset, length);
        break;
    case 3:
    case 4: /* load */
        offset = range(size, &length);
        seen_by("load", offset, map + offset, length);
        break;
    case 5:
    case 6: /* write, also past the end */
        offset = range(below(3) ? size : SPAN, &length);
        if (!length)
            break;
        stamp_fill(data, step, offset, length);
        file_write(fd, data, length, offset);
        memcpy(copy + offset, data, length);
        if (offset + length > size)
            size = offset + length;
        break;
    case 7: /* read */
        offset = range(size, &length);
        file_read(fd, data, length, offset);
        seen_by("read", offset, data, length);
        break;
    case 8:
        resize(below(2) ? below(SPAN) : size - below(size < CHUNK ? size : CHUNK));
        break;
    case 9:
        take(FALLOC_FL_PUNCH_HOLE);
        break;
    case 10:
        take(FALLOC_FL_ZERO_RANGE);
        break;
    case 11:
        if (below(3) == 0) {
            TRY(munmap(map, SPAN));
            map = file_map(fd, SPAN, PROT_READ | PROT_WRITE, MAP_SHARED);
        } else if (dax && size % PAGE) {
            map[size + below(PAGE - size % PAGE)] = 0xee;
        }
        break;
    }
}

int random_main(int argc, char **argv)
{
    unsigned count;
    int option;

    dax = false;
    while ((option = getopt(argc, argv, "d")) != -1) {
        if (option != 'd')
            return usage();
        dax = true;
    }
    if (argc - optind != 3)
        return usage();
    state = number(argv[optind + 1]);
    count = (unsigned)number(argv[optind + 2]);
    memset(copy, 0, sizeof(copy));
    size = 0;
    step = 0;
    fd = file_make(argv[optind], 0);
    map = file_map(fd, SPAN, PROT_READ | PROT_WRITE, MAP_SHARED);
    while (step < count)
        operation();
    for (size_t at = 0; at < size; at += sizeof(data)) {
        size_t length = size - at < sizeof(data) ? size - at : sizeof(data);

        seen_by("last load", at, map + at, length);
        file_read(fd, data, length, at);
        seen_by("last read", at, data, length);
    }
    TRY(munmap(map, SPAN));
    TRY(close(fd));
    return 0;
}
