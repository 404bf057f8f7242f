/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Uses of a mounted pool that expect nothing but to come back; they count what was refused as damaged.
 */
#ifndef TEST_FUZZ_USE_H
#define TEST_FUZZ_USE_H

#include "fs/fs.h"

struct use {
    struct fs *fs;
    unsigned damaged;  /* answers of -EUCLEAN or -EIO */
    const char *first; /* what the first one was of */
    uint64_t first_ino;
    uint64_t seen; /* entries of directories */
};

/* Looks at every name, attribute, target and map, and at the ends of every file. */
void use_walk(struct use *use);
/* Makes, writes, grows, cuts, moves and removes things all over. */
void use_change(struct use *use);

#endif
