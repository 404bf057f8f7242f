/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening the allocator from the bitmap on the medium, and looking at it.
 *
 * Nothing here touches a hole of a sparse host file: reading one through the mapping would make
 * the host allocate it (tmpfs), and a hole is zeros, which means free.
 */
#include "space/space.h"
#include "base/endian.h"
#include "media/validate.h"
#include "space/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_WORDS (DXF_LINE_BITS / 64)

bool space_next_data(const struct pool *pool, uint64_t from, uint64_t to, uint64_t *ret_from,
                     uint64_t *ret_to)
{
    if (from >= to)
        return false;
    *ret_from = from;
    *ret_to = to;
    if (pool->fd < 0 || pool->is_device)
        return true;
    off_t data = lseek(pool->fd, (off_t)from, SEEK_DATA);
    if (data < 0)
        return errno != ENXIO; /* no data from here on; or a file that cannot tell */
    if ((uint64_t)data >= to)
        return false;
    off_t hole = lseek(pool->fd, data, SEEK_HOLE);
    *ret_from = (uint64_t)data;
    if (hole > data && (uint64_t)hole < to)
        *ret_to = (uint64_t)hole;
    return true;
}

static uint64_t bitmap_lines(const struct pool *pool)
{
    return (le64_get(pool->super.pool_blocks) + DXF_LINE_BITS - 1) / DXF_LINE_BITS;
}

/* Reads the medium's bitmap into the map. The number of damaged lines. */
static uint64_t bitmap_scan(struct space_map *map, const struct pool *pool)
{
    uint64_t start = le64_get(pool->super.bitmap_start) * DXF_BLOCK_SIZE;
    uint64_t end = start + bitmap_lines(pool) * DXF_LINE_SIZE;
    uint64_t damaged = 0;
    for (uint64_t from = start, to; space_next_data(pool, from, end, &from, &to); from = to) {
        uint64_t line = (from - start) / DXF_LINE_SIZE;
        for (; start + line * DXF_LINE_SIZE < to; line++) {
            const struct dxf_bitmap_line *place = space_line(pool, line);
            uint64_t any = (uint64_t)place->csum.raw | place->used.raw | place->reserved.raw;
            for (unsigned i = 0; i < LINE_WORDS; i++)
                any |= place->bits[i].raw;
            if (any == 0)
                continue;
            bool bad = validate_bitmap_line(place, line) != NULL;
            damaged += bad;
            for (unsigned i = 0; i < LINE_WORDS; i++)
                map_merge_word(map, line * LINE_WORDS + i,
                               bad ? UINT64_MAX : le64_get(place->bits[i]));
        }
    }
    /* A page that reads as zeros because it is bad has hidden what is allocated. */
    if (atomic_load(&pool->bad_pages) == 0)
        return damaged;
    for (uint64_t line = 0; line < bitmap_lines(pool); line++) {
        if (!pool_range_is_bad(pool, start + line * DXF_LINE_SIZE, DXF_LINE_SIZE))
            continue;
        damaged++;
        for (unsigned i = 0; i < LINE_WORDS; i++)
            map_merge_word(map, line * LINE_WORDS + i, UINT64_MAX);
    }
    return damaged;
}

static void stripes_init(struct space *space)
{
    for (unsigned i = 0; i < SPACE_STRIPES; i++) {
        space->stripe[i].current = NO_PIECE;
        space->stripe[i].cursor = space->map.pieces * i / SPACE_STRIPES;
    }
}

static int map_load(struct space *space, struct space_map *map)
{
    int error = map_open(map, space->pool->blocks);
    if (error)
        return error;
    /* Whatever the bitmap says, what is not a file's is never handed out (L6). */
    if (bitmap_scan(map, space->pool) > 0)
        pool_fail(space->pool, "the allocation bitmap is damaged");
    struct space_extent fixed[SPACE_FIXED_AREAS];
    space_fixed_areas(&space->pool->super, fixed);
    for (unsigned i = 0; i < SPACE_FIXED_AREAS; i++) {
        uint64_t at = fixed[i].start, end = at + fixed[i].count;
        while (at < end) {
            at += map_run(map, at, end - at, false);
            uint64_t run = at < end ? map_run(map, at, end - at, true) : 0;
            if (run > 0)
                map_take(map, at, run);
            at += run;
        }
        pool_blocks_set_fixed(space->pool, fixed[i].start, fixed[i].count);
    }
    return 0;
}

int space_open(struct pool *pool, struct journal *journal, struct space **ret_space)
{
    struct space *space = calloc(1, sizeof(*space));
    if (!space)
        return -ENOMEM;
    space->pool = pool;
    space->journal = journal;
    space->reserve = le64_get(pool->super.reserve_blocks);
    lock_init(&space->lock, LOCK_SPACE, 0);
    lock_init(&space->grow_lock, LOCK_JOURNAL, 0);
    for (unsigned i = 0; i < SPACE_LINE_LOCKS; i++)
        lock_init(&space->line_locks[i], LOCK_JOURNAL, JOURNAL_ORDER_BITMAP + i);
    int error = map_load(space, &space->map);
    if (error) {
        free(space);
        return error;
    }
    stripes_init(space);
    space_note_whole(space);
    *ret_space = space;
    return 0;
}

void space_close(struct space *space)
{
    if (!space)
        return;
    space_release_close(space);
    map_close(&space->map);
    free(space);
}

void space_get_info(struct space *space, struct space_info *ret_info)
{
    lock_acquire(&space->lock);
    *ret_info = (struct space_info){
        .bitmap = { le64_get(space->pool->super.bitmap_start),
                    le64_get(space->pool->super.bitmap_blocks) },
        .blocks = space->map.blocks,
        .free = space->map.free + space->waiting,
        .reserve = space->reserve,
        .available = space->map.free > space->reserve ? space->map.free - space->reserve : 0,
        .held = space->waiting,
        .pieces_free = space->map.whole,
    };
    lock_release(&space->lock);
}

bool space_pieces_are_scarce(const struct space *space)
{
    return atomic_load_explicit(&space->scarce, memory_order_relaxed);
}

bool space_piece_is_left(struct space *space, uint64_t block, uint64_t count)
{
    lock_acquire(&space->lock);
    bool left = block < space->map.blocks &&
                (space->map.used[block / DXF_PIECE_BLOCKS] & MAP_USED) <= count;
    lock_release(&space->lock);
    return left;
}

struct walk {
    space_walk_fn fn;
    void *arg;
    uint64_t start, count; /* the run so far */
    bool allocated;
};

static int walk_add(struct walk *walk, uint64_t count, bool allocated)
{
    if (count == 0)
        return 0;
    int error = 0;
    if (walk->count > 0 && walk->allocated != allocated) {
        error = walk->fn(walk->arg, walk->start, walk->count, walk->allocated);
        walk->start += walk->count;
        walk->count = 0;
    }
    walk->allocated = allocated;
    walk->count += count;
    return error;
}

/* The first limit bits of a line, run by run. */
static int walk_line(struct walk *walk, const struct dxf_bitmap_line *line, uint64_t limit)
{
    int error = 0;
    for (uint64_t at = 0; at < limit && !error;) {
        uint64_t word = le64_get(line->bits[at / 64]) >> at % 64;
        bool allocated = word & 1;
        uint64_t other = allocated ? ~word : word;
        uint64_t run = other ? (uint64_t)__builtin_ctzll(other) : 64;
        if (run > 64 - at % 64)
            run = 64 - at % 64;
        if (run > limit - at)
            run = limit - at;
        error = walk_add(walk, run, allocated);
        at += run;
    }
    return error;
}

/* Under the grow lock. */
static int walk_bitmap(struct space *space, space_walk_fn fn, void *arg)
{
    const struct pool *pool = space->pool;
    struct walk walk = { .fn = fn, .arg = arg };
    uint64_t blocks = le64_get(pool->super.pool_blocks);
    uint64_t start = le64_get(pool->super.bitmap_start) * DXF_BLOCK_SIZE;
    uint64_t end = start + bitmap_lines(pool) * DXF_LINE_SIZE;
    uint64_t line = 0;
    int error = 0;
    for (uint64_t from = start, to; space_next_data(pool, from, end, &from, &to); from = to) {
        uint64_t first = (from - start) / DXF_LINE_SIZE;
        error = walk_add(&walk, (first - line) * DXF_LINE_BITS, false);
        for (line = first; start + line * DXF_LINE_SIZE < to && !error; line++) {
            struct lock *lock = &space->line_locks[line % SPACE_LINE_LOCKS];
            lock_acquire(lock);
            struct dxf_bitmap_line content = *space_line(pool, line);
            lock_release(lock);
            uint64_t rest = blocks - line * DXF_LINE_BITS;
            error = walk_line(&walk, &content, rest < DXF_LINE_BITS ? rest : DXF_LINE_BITS);
        }
        if (error)
            return error;
    }
    if (line * DXF_LINE_BITS < blocks)
        error = walk_add(&walk, blocks - line * DXF_LINE_BITS, false);
    if (!error)
        error = fn(arg, walk.start, walk.count, walk.allocated);
    return error;
}

int space_walk(struct space *space, space_walk_fn fn, void *arg)
{
    lock_acquire(&space->grow_lock);
    int error = walk_bitmap(space, fn, arg);
    lock_release(&space->grow_lock);
    return error;
}

/* Blocks taken at once: what a concurrent request may miss for the length of one call. */
#define TRIM_BLOCKS 32768u

/* Never more than half of what ordinary requests could have, and nothing of the reserve: what frees
 * space does not fail because free space is being trimmed. */
static uint64_t trim_share(const struct space *space)
{
    uint64_t free = space->map.free;

    return free > space->reserve ? (free - space->reserve + 1) / 2 : 0;
}

int space_trim(struct space *space, uint64_t start, uint64_t count, uint64_t minimum,
               int (*fn)(void *arg, uint64_t start, uint64_t count), void *arg)
{
    struct space_map *map = &space->map;
    int error = 0;
    lock_acquire(&space->lock);
    uint64_t blocks = map->blocks; /* what the pool grows by meanwhile is not looked at */
    lock_release(&space->lock);
    if (start >= blocks)
        return 0;
    uint64_t end = count > blocks - start ? blocks : start + count;
    uint64_t longest = minimum > TRIM_BLOCKS ? minimum : TRIM_BLOCKS;
    uint64_t wanted = 0; /* end of the last run that was long enough; it is taken in parts */
    while (start < end && !error) {
        lock_acquire(&space->lock);
        uint64_t rest = end - start;
        start += map_run(map, start, rest < (1u << 20) ? rest : 1u << 20, false);
        rest = end - start;
        uint64_t run = rest ? map_run(map, start, rest < longest ? rest : longest, true) : 0;
        if (run >= minimum)
            wanted = start + run;
        bool take = run > 0 && start < wanted;
        if (take) {
            uint64_t share = trim_share(space);
            take = share > 0;
            if (take && run > share)
                run = share;
        }
        if (take)
            map_take(map, start, run);
        lock_release(&space->lock);
        if (take && !pool_blocks_are_unused(space->pool, start, run)) {
            pool_fail(space->pool, "the allocation bitmap has blocks in use as free");
            return -EUCLEAN; /* they stay taken */
        }
        if (take) {
            error = fn(arg, start, run);
            lock_acquire(&space->lock);
            map_give(map, start, run);
            lock_release(&space->lock);
        }
        start += run;
    }
    return error;
}
