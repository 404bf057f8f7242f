/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill-steps: collapse and insert of a file in so many extents that each takes several transactions,
 * so that a kill comes between two of them.
 *
 * usage: kill-steps run|check FILE LOG
 *   run    makes the file, every other block of it a hole, then inserts a range and collapses it
 *          again, until there is an error. LOG gets a letter before each call and one after it.
 *   check  the file must be as what returned has left it, or as what was in flight would have; prints
 *          "inflight KIND".
 * Exit: 0; 1 the file is as it never was; 3 could not run.
 */
#define _FILE_OFFSET_BITS 64
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <daxfuse/ioctl.h>

#define BLOCK 4096
#define BLOCKS 8000L
#define RANGE_AT 2L
#define RANGE_BLOCKS 3L

/* The letters of LOG; what has returned is a capital. */
#define MADE 'm'
#define INSERT 'i'
#define COLLAPSE 'c'
#define RETURNED(letter) ((char)((letter) - 'a' + 'A'))

/* What block `number` has in each of its words; 0 in a hole. */
static uint32_t word_of(bool inserted, long number)
{
    if (inserted && number >= RANGE_AT) {
        if (number < RANGE_AT + RANGE_BLOCKS)
            return 0;
        number -= RANGE_BLOCKS;
    }
    return number % 2 == 0 ? (uint32_t)number + 1 : 0;
}

static void note(int log, char letter)
{
    if (write(log, &letter, 1) != 1)
        err(3, "log");
}

static void make(int fd)
{
    uint32_t words[BLOCK / sizeof(uint32_t)];

    if (ftruncate(fd, 0) < 0 || ftruncate(fd, BLOCKS * BLOCK) < 0)
        err(3, "truncate");
    for (long number = 0; number < BLOCKS; number += 2) {
        for (size_t i = 0; i < BLOCK / sizeof(*words); i++)
            words[i] = word_of(false, number);
        if (pwrite(fd, words, BLOCK, number * BLOCK) != BLOCK)
            err(3, "write");
    }
}

static int run(int fd, int log)
{
    make(fd);
    note(log, MADE);
    for (bool inserted = false;; inserted = !inserted) {
        char letter = inserted ? COLLAPSE : INSERT;

        note(log, letter);
        if (daxfuse_fallocate(fd, inserted ? FALLOC_FL_COLLAPSE_RANGE : FALLOC_FL_INSERT_RANGE,
                              RANGE_AT * BLOCK, RANGE_BLOCKS * BLOCK) < 0)
            err(3, "%s", inserted ? "collapse" : "insert");
        note(log, RETURNED(letter));
    }
}

/* false: a block is not as it is then; *ret_bad is its number, or -1 when the size is another. */
static bool is_as(int fd, bool inserted, long *ret_bad)
{
    long count = BLOCKS + (inserted ? RANGE_BLOCKS : 0);
    uint32_t words[BLOCK / sizeof(uint32_t)];
    struct stat st;

    *ret_bad = -1;
    if (fstat(fd, &st) < 0)
        err(3, "stat");
    if (st.st_size != count * BLOCK)
        return false;
    for (long number = 0; number < count; number++) {
        *ret_bad = number;
        if (pread(fd, words, BLOCK, number * BLOCK) != BLOCK)
            err(3, "read");
        for (size_t i = 0; i < BLOCK / sizeof(*words); i++)
            if (words[i] != word_of(inserted, number))
                return false;
    }
    return true;
}

static int check(int fd, int log)
{
    off_t end = lseek(log, 0, SEEK_END);
    bool before, after;
    long bad[2];
    char last;

    if (end <= 0 || pread(log, &last, 1, end - 1) != 1)
        errx(3, "the log is empty");
    printf("inflight %s\n", last == INSERT ? "insert" : last == COLLAPSE ? "collapse" : "none");
    before = is_as(fd, false, &bad[0]);
    after = is_as(fd, true, &bad[1]);
    if ((before && last != RETURNED(INSERT)) ||
        (after && last != RETURNED(COLLAPSE) && last != MADE))
        return 0;
    printf(
        "finding: after '%c' the file is %s; without the range block %ld is wrong, with it %ld\n",
        last,
        before  ? "without the range"
        : after ? "with the range"
                : "neither",
        bad[0], bad[1]);
    return 1;
}

int main(int argc, char **argv)
{
    int fd, log;

    if (argc != 4 || (strcmp(argv[1], "run") != 0 && strcmp(argv[1], "check") != 0)) {
        fprintf(stderr, "usage: kill-steps run|check FILE LOG\n");
        return 3;
    }
    fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    log = open(argv[3], O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || log < 0)
        err(3, "%s", fd < 0 ? argv[2] : argv[3]);
    return strcmp(argv[1], "run") == 0 ? run(fd, log) : check(fd, log);
}
