/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ball that players throw to each other: one number in a file. Whose turn it is, the number modulo
 * how many play, adds one. Guests play in their mappings of the file, where a throw is one store; a host
 * that has the file in a mount plays by read and write.
 *
 *   relay map|io FILE PLAYER PLAYERS ROUNDS
 */
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Aligned, and one of the processor's words: it is seen whole or not at all. */
static volatile uint64_t *ball; /* NULL: by read and write */
static int fd;

static uint64_t look(void)
{
    uint64_t value = 0;

    if (ball)
        return *ball;
    if (pread(fd, &value, sizeof(value), 0) != sizeof(value))
        exit(1);
    return value;
}

static void throw(uint64_t value)
{
    if (ball)
        *ball = value;
    else if (pwrite(fd, &value, sizeof(value), 0) != sizeof(value))
        exit(1);
}

int main(int argc, char **argv)
{
    struct timespec begin, end;

    if (argc != 6)
        return 2;
    uint64_t player = strtoull(argv[3], NULL, 0), players = strtoull(argv[4], NULL, 0);
    uint64_t last = players * strtoull(argv[5], NULL, 0), value;

    fd = open(argv[2], O_RDWR);
    if (fd < 0 || players == 0)
        return 1;
    if (strcmp(argv[1], "map") == 0) {
        ball = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (ball == MAP_FAILED)
            return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    while ((value = look()) < last) {
        if (value % players == player)
            throw(value + 1);
        else
            sched_yield();
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("player %lu by %s: the ball is at %lu after %.3f s\n", (unsigned long)player, argv[1],
           (unsigned long)value,
           (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    return 0;
}
