/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A larger pool gets a larger bitmap, while it is served.
 *
 *   stop    hold every bitmap line: no commit changes the bitmap; retire: no entry names it any more
 *   copy    the lines into the new space, with the new bitmap's own blocks set and the old one's
 *           clear; fence
 *   switch  write the superblock: the commit point. A crash before it leaves a pool in a file that is
 *           longer than the pool, after it a pool with its new size
 *   adopt   the picture in memory becomes larger; what is busy in it stays busy
 *
 * Where the old bitmap has lines enough only the switch and the last step happen.
 */
#include "base/endian.h"
#include "media/validate.h"
#include "space/map.h"
#include "space/space.h"

#include <errno.h>
#include <string.h>

struct growth {
    struct space *space;
    uint64_t old_blocks, new_blocks;
    struct space_extent from, to; /* the bitmap's blocks; the same where it stays */
};

static uint64_t bitmap_blocks(uint64_t blocks)
{
    return (blocks + DXF_BITMAP_BLOCK_BITS - 1) / DXF_BITMAP_BLOCK_BITS;
}

static bool bitmap_moves(const struct growth *growth)
{
    return growth->from.start != growth->to.start;
}

static struct dxf_bitmap_line *new_line(const struct growth *growth, uint64_t number)
{
    return pool_at(growth->space->pool, growth->to.start * DXF_BLOCK_SIZE + number * DXF_LINE_SIZE);
}

/* Sets or clears a run of bits in the new bitmap. */
static void lines_mark(const struct growth *growth, const struct space_extent *extent, bool set)
{
    struct persist *persist = growth->space->pool->persist;
    uint64_t block = extent->start, end = extent->start + extent->count;

    while (block < end) {
        uint64_t number = block / DXF_LINE_BITS;
        struct dxf_bitmap_line line = *new_line(growth, number);

        for (; block < end && block / DXF_LINE_BITS == number; block++) {
            unsigned bit = block % DXF_LINE_BITS;
            uint64_t word = le64_get(line.bits[bit / 64]), mask = 1ull << bit % 64;

            line.bits[bit / 64] = le64_make(set ? word | mask : word & ~mask);
        }
        seal_bitmap_line(&line, number);
        if (le16_get(line.used) == 0)
            memset(&line, 0, sizeof(line));
        persist_copy(persist, new_line(growth, number), &line, sizeof(line), PERSIST_METADATA);
    }
}

static int bitmap_copy(const struct growth *growth)
{
    struct pool *pool = growth->space->pool;
    uint64_t start = growth->from.start * DXF_BLOCK_SIZE;
    uint64_t end = start + growth->from.count * DXF_BLOCK_SIZE;
    uint64_t to = growth->to.start * DXF_BLOCK_SIZE;
    int error;

    error = pool_reserve(pool, to, growth->to.count * DXF_BLOCK_SIZE);
    if (error)
        return error;
    persist_set(pool->persist, pool_at(pool, to), 0, growth->to.count * DXF_BLOCK_SIZE,
                PERSIST_METADATA);
    for (uint64_t at = start, stop; space_next_data(pool, at, end, &at, &stop); at = stop)
        persist_copy(pool->persist, pool_at(pool, to + (at - start)), pool_at(pool, at), stop - at,
                     PERSIST_METADATA);
    lines_mark(growth, &growth->to, true);
    lines_mark(growth, &growth->from, false);
    return persist_drain(pool->persist);
}

static int super_switch(const struct growth *growth)
{
    struct pool *pool = growth->space->pool;
    int error;

    lock_acquire(&growth->space->lock);
    error = pool_write_grown(pool, growth->new_blocks, growth->to.start, growth->to.count);
    lock_release(&growth->space->lock);
    if (error) /* what is on the medium is not known: nothing may change any more */
        pool_fail(pool, "the superblock of the grown pool could not be written");
    return error;
}

/* Everything that is busy now stays so, whether the medium knows of it yet or not. */
static void map_adopt(const struct growth *growth, struct space_map *map)
{
    struct space *space = growth->space;
    uint64_t words = growth->old_blocks / 64, rest = growth->old_blocks % 64;

    lock_acquire(&space->lock);
    for (uint64_t word = 0; word < words; word++)
        map_merge_word(map, word, space->map.busy[word]);
    if (rest)
        map_merge_word(map, words, space->map.busy[words] & ((1ull << rest) - 1));
    if (bitmap_moves(growth)) {
        map_take(map, growth->to.start, growth->to.count);
        map_give(map, growth->from.start, growth->from.count);
        pool_blocks_set_fixed(space->pool, growth->to.start, growth->to.count);
        pool_blocks_clear_fixed(space->pool, growth->from.start, growth->from.count);
    }
    map_close(&space->map);
    space->map = *map;
    for (unsigned i = 0; i < SPACE_STRIPES; i++)
        space->stripe[i].current = NO_PIECE;
    space_note_whole(space);
    lock_release(&space->lock);
}

/* Every line is held. */
static int grow_stopped(struct growth *growth)
{
    struct space_map map;
    int error;

    error = journal_retire(growth->space->journal);
    if (error)
        return error;
    error = map_open(&map, growth->new_blocks);
    if (error)
        return error;
    if (bitmap_moves(growth))
        error = bitmap_copy(growth);
    if (!error)
        error = super_switch(growth);
    if (error) {
        map_close(&map);
        return error;
    }
    map_adopt(growth, &map);
    return 0;
}

/* Under the grow lock. */
static int grow_locked(struct space *space, uint64_t new_blocks)
{
    const struct dxf_super *super = &space->pool->super;
    struct growth growth = {
        .space = space,
        .old_blocks = le64_get(super->pool_blocks),
        .new_blocks = new_blocks,
        .from = { le64_get(super->bitmap_start), le64_get(super->bitmap_blocks) },
    };
    int error;

    if (new_blocks <= growth.old_blocks || new_blocks > DXF_POOL_SIZE_MAX / DXF_BLOCK_SIZE)
        return -EINVAL;
    growth.to = (struct space_extent){ growth.from.start, bitmap_blocks(new_blocks) };
    if (growth.to.count != growth.from.count)
        growth.to.start = growth.old_blocks;
    if (growth.to.count != growth.from.count && growth.to.count >= new_blocks - growth.old_blocks)
        return -ENOSPC;
    for (unsigned i = 0; i < SPACE_LINE_LOCKS; i++)
        lock_acquire(&space->line_locks[i]);
    error = grow_stopped(&growth);
    for (unsigned i = SPACE_LINE_LOCKS; i-- > 0;)
        lock_release(&space->line_locks[i]);
    return error;
}

int space_grow(struct space *space, uint64_t new_blocks)
{
    lock_acquire(&space->grow_lock);
    int error = grow_locked(space, new_blocks);
    lock_release(&space->grow_lock);
    return error;
}
