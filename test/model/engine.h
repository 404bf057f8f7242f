/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filesystem under test, in process: a pool in memory, and operations made on it through fs.h,
 * as a door would make them. Several engines may share one filesystem, each with a folder of its own
 * as its root.
 */
#ifndef DAXFUSE_TEST_MODEL_ENGINE_H
#define DAXFUSE_TEST_MODEL_ENGINE_H

#include "fs/fs.h"
#include "oracle.h"

struct image {
    uint8_t *memory;
    uint64_t size;
    bool pmem;
    int fd; /* of the memory; what msync needs */
    struct pool *pool;
    struct fs *fs;
};

/* An empty filesystem in memory, mounted. Ends the program when that fails. */
void image_create(struct image *image, uint64_t size, bool pmem);
/* Closes, as after a crash if asked for: nothing is retired or deleted before; opens again. 0 or
 * an errno; then nothing is open. */
int image_remount(struct image *image, bool crash);
void image_destroy(struct image *image);

struct engine {
    struct image *image;
    uint64_t root;
    struct fs_handle *slot[SLOTS];
};

void engine_attr(const struct fs_attr *from, struct attr *ret_attr);
void engine_apply(struct engine *engine, const struct op *op, struct result *ret_result);
void engine_close_slots(struct engine *engine);

/* The inode at a path, referenced: 0 or an errno. engine_forget gives the reference back. */
int engine_resolve(struct engine *engine, const struct path *path, unsigned length,
                   struct fs_attr *ret_attr);
void engine_forget(struct engine *engine, uint64_t ino);

/* Compares all there is with the model. false: *why says what differs where. */
bool engine_compare(struct engine *engine, struct oracle *oracle, char *why, size_t why_size);

/* Takes everything away through the operations, then checks that no block stayed in use but for
 * what tables of the filesystem have grown to. */
bool engine_empty(struct engine *engine, char *why, size_t why_size);

/* Blocks that are in use, those of the inode table not counted. */
uint64_t image_blocks_used(struct image *image);

#endif
