/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For the tests of collapse and insert: files of which each block says by its content which one it was,
 * in an extent of its own.
 */
#ifndef DAXFUSE_TEST_SHIFT_H
#define DAXFUSE_TEST_SHIFT_H

#include "test_fs.h"

#include "fs/internal.h"
#include "fs/range_op.h"
#include "meta/orphan.h"

#include <linux/falloc.h>
#include <unistd.h>

#define BLOCK ((uint64_t)DXF_BLOCK_SIZE)
#define COLLAPSE FALLOC_FL_COLLAPSE_RANGE
#define INSERT FALLOC_FL_INSERT_RANGE

static inline int call(struct fs_handle *handle, int mode, uint64_t offset, uint64_t length)
{
    return fs_fallocate(fx.fs, &fx.rq, handle, mode, offset, length);
}

static inline int call_blocks(struct fs_handle *handle, int mode, uint64_t first, uint64_t count)
{
    return call(handle, mode, first * BLOCK, count * BLOCK);
}

static inline void put_stamp(struct fs_handle *handle, uint64_t block, uint64_t stamp)
{
    uint64_t bytes[DXF_BLOCK_SIZE / 8];

    for (unsigned k = 0; k < DXF_BLOCK_SIZE / 8; k++)
        bytes[k] = stamp;
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, bytes, BLOCK, block * BLOCK), (ssize_t)BLOCK);
}

/* One extent a block: every second one comes later. */
static inline struct fs_handle *scattered(const char *name, uint64_t blocks)
{
    struct fs_handle *handle = fx_create(name);

    for (uint64_t first = 0; first < 2; first++)
        for (uint64_t i = first; i < blocks; i += 2)
            put_stamp(handle, i, i + 1);
    return handle;
}

static inline void expect_stamp(struct fs_handle *handle, uint64_t block, uint64_t stamp)
{
    uint64_t is;

    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, &is, 8, block * BLOCK), 8);
    ck_assert_msg(is == stamp, "block %llu has %llu, should have %llu", (unsigned long long)block,
                  (unsigned long long)is, (unsigned long long)stamp);
}

/* Stamps first_stamp and on, from block `from` to block `to`. */
static inline void expect_run(struct fs_handle *handle, uint64_t from, uint64_t to,
                              uint64_t first_stamp)
{
    for (uint64_t i = from; i < to; i++)
        expect_stamp(handle, i, first_stamp + i - from);
}

static inline int count_extent(void *arg, const struct fs_extent *extent)
{
    (void)extent;
    ++*(unsigned *)arg;
    return 0;
}

static inline unsigned extents(uint64_t ino)
{
    unsigned count = 0;

    ck_assert_int_eq(fs_extents(fx.fs, &fx.rq, ino, count_extent, &count), 0);
    return count;
}

static inline uint64_t transactions(void)
{
    struct journal_stats stats;

    journal_get_stats(fs_journal(fx.fs), &stats);
    return stats.commits;
}

static inline unsigned intents_left(void)
{
    const struct dxf_intent *line = pool_block(fx.below.pool, DXF_INTENT_BLOCK);
    unsigned count = 0;

    for (unsigned i = 0; i < DXF_INTENTS; i++)
        count += le16_get(line[i].kind) != DXF_INTENT_NONE;
    return count;
}

#endif
