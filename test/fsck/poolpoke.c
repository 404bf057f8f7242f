/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damages one structure of a pool that poolfill has made, each case in its own way, with the checksum
 * made right again wherever the damage is not the checksum itself.
 *
 *   poolpoke list               CASE SAFE EXPECTED[,…] EXCEPT[,…] of every case
 *   poolpoke POOL CASE          does it
 *   poolpoke POOL byte OFFSET   changes one byte
 *   poolpoke POOL metadata      prints the metadata in use: OFFSET LENGTH WHAT a line
 *
 * The cases are in poke_*.c; their numbers are those of the findings. EXPECTED: numbers that must be
 * among the findings. SAFE: p where -p repairs all of it, n where it is a note and the next mount sees to
 * it, x where nobody can repair it and -y leaves everything as it is. EXCEPT: what may be lost (names of
 * poolfill; - nothing).
 */
#include "metadata.h"
#include "poke.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static const struct poke_case *const groups[] = { poke_pool_cases, poke_inode_cases,
                                                  poke_tree_cases };
#define GROUPS (sizeof(groups) / sizeof(groups[0]))

static void list(void)
{
    for (size_t i = 0; i < GROUPS; i++)
        for (const struct poke_case *one = groups[i]; one->name != NULL; one++)
            printf("%s %s %s %s\n", one->name, one->safe, one->expected, one->except);
}

static const struct poke_case *find(const char *name)
{
    for (size_t i = 0; i < GROUPS; i++)
        for (const struct poke_case *one = groups[i]; one->name != NULL; one++)
            if (strcmp(name, one->name) == 0)
                return one;
    return NULL;
}

int main(int argc, char **argv)
{
    struct stat st;
    int fd;

    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        list();
        return 0;
    }
    if (argc < 3) {
        fputs("usage: poolpoke list | POOL CASE | POOL byte OFFSET | POOL metadata\n", stderr);
        return 2;
    }
    fd = open(argv[1], O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        perror(argv[1]);
        return 1;
    }
    image_base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (image_base == MAP_FAILED) {
        perror(argv[1]);
        return 1;
    }
    image_blocks = (uint64_t)st.st_size / DXF_BLOCK_SIZE;
    if (strcmp(argv[2], "metadata") == 0) {
        const uint64_t owners[] = { poke_ino("long"), poke_ino("attrs"), poke_ino("many") };
        metadata_list(owners, 3, poke_orphan_line());
        return 0;
    }
    if (strcmp(argv[2], "byte") == 0 && argc == 4) {
        uint64_t offset = strtoull(argv[3], NULL, 10);
        if (offset < (uint64_t)st.st_size)
            image_base[offset] ^= 0x41;
        return 0;
    }
    const struct poke_case *one = find(argv[2]);
    if (one == NULL) {
        fprintf(stderr, "poolpoke: no case %s\n", argv[2]);
        return 2;
    }
    one->run();
    return 0;
}
