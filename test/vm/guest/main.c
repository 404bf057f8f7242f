/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *what;
} commands[] = {
    { "agent", agent_main, "LINE: runs what the host sends on a serial line" },
    { "check", check_main,
      "[-d] [-l SIZE] [-n PATTERN] [-t SECONDS] FOLDER | -L: the checks; -d on DAX" },
    { "random", random_main, "[-d] FILE SEED COUNT: random loads, stores, calls, against a copy" },
    { "stamp", stamp_main, "map|io FILE SIZE SEED: a file of stamps, by stores or by write" },
    { "verify", verify_main, "map|io FILE SIZE SEED: that it has these stamps" },
    { "loop", loop_main, "map|io|direct read|write FILE SIZE SECONDS: random 4 KiB, timed" },
    { "measure", measure_main, "setup FOLDER | map|read4k|write4k|read1m|stat|create FOLDER MS" },
    { "synced", synced_main,
      "map|io FILE: counts up, tells each number once it is synced; no end" },
    { "stores", stores_main,
      "FILE SIZE SECONDS: stores stamps round and round, verifying the last" },
    { "dax", dax_main, "FILE: prints `DAX` or `no DAX`" },
    { "part", part_main,
      "store|has FILE OFFSET LENGTH SEED | zero|punch FILE OFFSET LENGTH | resize FILE SIZE" },
    { "hold", hold_main,
      "FILE SIZE FIFO FIFO: a mapping, told to store|has|zero OFFSET LENGTH SEED" },
    { "counter", counter_main, "map|fcntl|flock FILE COUNT: adds to a shared counter" },
    { "ring", ring_main,
      "map|io send|receive FILE COUNT SEED: a ring with another guest or the host" },
    { "lock", lock_main,
      "try|wait|hold fcntl|flock read|write FILE [SECONDS]: 0, or 1 if held by another" },
    { "tree", tree_main, "make|check|remove FOLDER COUNT SEED: many small files" },
};

_Noreturn void die(const char *what)
{
    perror(what);
    exit(2);
}

int usage(void)
{
    fprintf(stderr, "usage:\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(stderr, "  guest %s %s\n", commands[i].name, commands[i].what);
    return 2;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].main(argc - 1, argv + 1);
    return usage();
}
