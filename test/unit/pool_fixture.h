/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A formatted, empty pool in memory, for unit tests of the layers above media: superblock, empty
 * journal, bitmap with the fixed areas allocated; anchor, intents and bad blocks are zero. Aborts the
 * test on any failure.
 */
#ifndef DAXFUSE_TEST_POOL_FIXTURE_H
#define DAXFUSE_TEST_POOL_FIXTURE_H

#include "journal/journal.h"
#include "media/persist.h"
#include "media/pool.h"
#include "space/space.h"
#include <stdint.h>

struct pool_fixture {
    uint8_t *memory; /* size bytes, page-aligned, the fixture's */
    uint64_t size;
    struct pool *pool;
    struct journal *journal;
    struct space *space;
};

/* Makes the table that the pool is to use, over memory that is formatted already. */
typedef struct persist *(*pool_fixture_persist_fn)(void *arg, void *base, uint64_t size);

/* With the pmem table, or with the one that make_persist gives. Everything is open. */
void pool_fixture_create(struct pool_fixture *fixture, uint64_t size);
void pool_fixture_create_with(struct pool_fixture *fixture, uint64_t size,
                              pool_fixture_persist_fn make_persist, void *arg);

/* Opens a copy of image, replays it: what a mount would do after a crash. */
void pool_fixture_open_image(struct pool_fixture *fixture, const void *image, uint64_t size);

/* As after a clean unmount, then a mount. */
void pool_fixture_reopen(struct pool_fixture *fixture);
void pool_fixture_destroy(struct pool_fixture *fixture);

#endif
