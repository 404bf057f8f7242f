/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What maps.c, which makes the steps, and maps_look.c, which compares, share. One thread.
 */
#ifndef DAXFUSE_TEST_CRASH_MAPS_PRIVATE_H
#define DAXFUSE_TEST_CRASH_MAPS_PRIVATE_H

#include "world.h"

#include "dax/mapper.h"

#define BYTES_MAX (3 * DAX_CHUNK_SIZE) /* of a file */
#define BLOCKS_MAX (BYTES_MAX / CHUNK)
#define MAPS_NAMES  \
 {                  \
  "mapped", "other" \
 }

struct map_file {
    uint64_t ino, size;
    bool linked;
    int64_t mtime, ctime;
    uint8_t is[BYTES_MAX];
    /* Of words that are loose this may be on the medium as well. */
    uint8_t was[BYTES_MAX];
    bool loose[BYTES_MAX / 8];
    /* Which blocks of the pool it has, times two, and whether they are unwritten. */
    uint64_t place[BLOCKS_MAX];
    uint64_t asked; /* blocks past EOF that somebody asked for, at most */
    uint64_t kept;  /* ... that a recovery leaves: none while mappings have some there, too */
};

extern struct maps {
    struct map_file version[2][2]; /* by extra_state.maps; the file */
    uint64_t folder;
    /* Of the operation that is crashed: blocks in which words of the other state may be seen. */
    bool mixed[BLOCKS_MAX];
    bool mixed_after; /* while T is seen, too */
    bool early;       /* what T has past S's EOF may be there already */
    /* Blocks that after a crash may be there or not, whatever S and T have: what pins keep of what is
     * taken, as none outlives a crash; and those of S where a shift puts them. */
    bool between[BLOCKS_MAX];
} maps;

/* For fs_extents: into places of a file. */
int maps_note_place(void *arg, const struct fs_extent *extent);

/* As after a recovery. */
static inline uint64_t place_left(const struct map_file *file, uint64_t block)
{
    return file->kept || block * CHUNK < file->size ? file->place[block] : 0;
}

static inline uint64_t places_up(uint64_t bytes)
{
    return (bytes + CHUNK - 1) / CHUNK;
}

#endif
