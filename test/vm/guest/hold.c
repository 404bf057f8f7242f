/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One place of a file at a time: by calls (`part`), or by a mapping that lives while others do something
 * to the file (`hold`), which is told what to do through a fifo, and answers through another one.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

/* Whether the inode is one of which pages go to the window. */
int dax_main(int argc, char **argv)
{
    struct statx st;

    if (argc != 2)
        return usage();
    TRY(statx(AT_FDCWD, argv[1], 0, STATX_BASIC_STATS, &st));
    printf("%s\n", st.stx_attributes & STATX_ATTR_DAX ? "DAX" : "no DAX");
    return 0;
}

int part_main(int argc, char **argv)
{
    size_t offset, length;
    uint64_t seed;
    uint8_t *data;
    int fd;

    if (argc < 4 || argc > 6)
        return usage();
    fd = (int)TRY(open(argv[2], O_RDWR | O_CLOEXEC));
    offset = number(argv[3]);
    length = argc > 4 ? number(argv[4]) : 0;
    seed = argc > 5 ? number(argv[5]) : 0;
    if (strcmp(argv[1], "resize") == 0) {
        TRY(ftruncate(fd, (off_t)offset));
    } else if (strcmp(argv[1], "punch") == 0) {
        TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                      (off_t)length));
    } else if (strcmp(argv[1], "store") == 0) {
        data = malloc(length);
        EXPECT(data);
        stamp_fill(data, seed, offset, length);
        file_write(fd, data, length, offset);
        free(data);
    } else if (strcmp(argv[1], "has") == 0) {
        file_has(fd, seed, offset, length);
    } else if (strcmp(argv[1], "zero") == 0) {
        file_zero(fd, offset, length);
    } else {
        return usage();
    }
    return 0;
}

static sigjmp_buf at_signal;

static void on_signal(int number_of_it)
{
    siglongjmp(at_signal, number_of_it);
}

/* The offset of the first byte that is not as it shall be, or -1. */
static int64_t hold_do(uint8_t *map, const char *what, size_t offset, size_t length, uint64_t seed)
{
    int64_t bad;

    if (strcmp(what, "has") == 0)
        return stamp_differs(map + offset, seed, offset, length);
    if (strcmp(what, "zero") == 0) {
        bad = zero_differs(map + offset, length);
        return bad < 0 ? bad : bad + (int64_t)offset;
    }
    stamp_fill(map + offset, seed, offset, length);
    return -1;
}

static void hold_answer(uint8_t *map, size_t size, const char *line, FILE *to)
{
    uintmax_t offset, length, seed;
    volatile int64_t bad;
    char what[16];

    if (sscanf(line, "%15s %ju %ju %ju", what, &offset, &length, &seed) != 4 || offset > size ||
        length > size - offset) {
        fprintf(to, "not understood: %s", line);
        return;
    }
    if (sigsetjmp(at_signal, 1) != 0) {
        fputs("SIGBUS\n", to);
        return;
    }
    bad = hold_do(map, what, offset, length, seed);
    if (bad < 0)
        fputs("done\n", to);
    else
        fprintf(to, "byte %jd is %#x\n", (intmax_t)bad, map[bad]);
}

/* One line in, one line out, until a line is `end`. */
int hold_main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = on_signal };
    char line[200];
    uint8_t *map;
    size_t size;
    FILE *pipe;
    int fd;

    if (argc != 5)
        return usage();
    size = number(argv[2]);
    fd = (int)TRY(open(argv[1], O_RDWR | O_CLOEXEC));
    map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    TRY(sigaction(SIGBUS, &action, NULL));
    for (;;) {
        pipe = fopen(argv[3], "re");
        EXPECT(pipe);
        if (!fgets(line, sizeof(line), pipe))
            line[0] = '\0';
        fclose(pipe);
        if (strcmp(line, "end\n") == 0)
            return 0;
        pipe = fopen(argv[4], "we");
        EXPECT(pipe);
        hold_answer(map, size, line, pipe);
        fclose(pipe);
    }
}
