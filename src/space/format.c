/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fixed areas of a pool: where they lie, and the first bitmap, in which they are allocated.
 *
 * Small pools keep everything in the broken first piece. From 1 GiB on the logs are whole pieces
 * of their own, and the bitmap fills what the first piece has left, or follows the logs where that
 * is too little (beyond 54 GiB).
 */
#include "base/endian.h"
#include "media/validate.h"
#include "space/map.h"
#include "space/space.h"

#include <errno.h>
#include <string.h>

/* The longest chain: removing one attribute writes the others anew before the old chain goes. */
#define CHAIN_PAYLOAD sizeof(((struct dxf_chain *)NULL)->payload)
#define RESERVE_CHAIN ((DXF_XATTR_CHAIN_MAX + CHAIN_PAYLOAD - 1) / CHAIN_PAYLOAD)
#define RESERVE_MIN (32u + RESERVE_CHAIN)
#define RESERVE_MAX 16384u

static uint64_t bitmap_lines(uint64_t blocks)
{
    return (blocks + DXF_LINE_BITS - 1) / DXF_LINE_BITS;
}

int layout_compute(struct dxf_super *super)
{
    uint64_t blocks = le64_get(super->pool_blocks);
    if (blocks < DXF_POOL_SIZE_MIN / DXF_BLOCK_SIZE || blocks > DXF_POOL_SIZE_MAX / DXF_BLOCK_SIZE)
        return -EINVAL;

    uint64_t bitmap_blocks = (blocks + DXF_BITMAP_BLOCK_BITS - 1) / DXF_BITMAP_BLOCK_BITS;
    uint32_t log_count, log_blocks;
    uint64_t log_start = DXF_FIRST_FREE_BLOCK, bitmap_start;
    if (blocks < (64u << 20) / DXF_BLOCK_SIZE) {
        log_count = 2;
        log_blocks = 32;
    } else if (blocks < (1u << 30) / DXF_BLOCK_SIZE) {
        log_count = 4;
        log_blocks = 64;
    } else {
        log_count = 8;
        log_blocks = 256;
        log_start = DXF_PIECE_BLOCKS;
    }
    if (log_start == DXF_FIRST_FREE_BLOCK)
        bitmap_start = log_start + (uint64_t)log_count * log_blocks;
    else if (bitmap_blocks <= DXF_SPARE_BLOCK - DXF_FIRST_FREE_BLOCK)
        bitmap_start = DXF_FIRST_FREE_BLOCK;
    else
        bitmap_start = log_start + (uint64_t)log_count * log_blocks;

    uint64_t reserve = blocks / 256;
    if (reserve < RESERVE_MIN)
        reserve = RESERVE_MIN;
    if (reserve > RESERVE_MAX)
        reserve = RESERVE_MAX;
    super->log_start = le64_make(log_start);
    super->log_count = le32_make(log_count);
    super->log_blocks = le32_make(log_blocks);
    super->bitmap_start = le64_make(bitmap_start);
    super->bitmap_blocks = le64_make(bitmap_blocks);
    super->reserve_blocks = le64_make(reserve);
    return 0;
}

void space_fixed_areas(const struct dxf_super *super, struct space_extent area[SPACE_FIXED_AREAS])
{
    area[0] = (struct space_extent){ 0, DXF_FIRST_FREE_BLOCK };
    area[1] = (struct space_extent){ DXF_SPARE_BLOCK, 1 };
    area[2] = (struct space_extent){
        le64_get(super->log_start),
        (uint64_t)le32_get(super->log_count) * le32_get(super->log_blocks),
    };
    area[3] =
        (struct space_extent){ le64_get(super->bitmap_start), le64_get(super->bitmap_blocks) };
}

bool space_is_fixed(const struct dxf_super *super, uint64_t start, uint64_t count)
{
    struct space_extent area[SPACE_FIXED_AREAS];
    space_fixed_areas(super, area);
    for (unsigned i = 0; i < SPACE_FIXED_AREAS; i++)
        if (start < area[i].start + area[i].count && area[i].start < start + count)
            return true;
    return false;
}

/* Sets the fixed blocks of the line, if it has any. */
static bool line_fill(struct dxf_bitmap_line *line, uint64_t number,
                      const struct space_extent area[SPACE_FIXED_AREAS])
{
    uint64_t from = number * DXF_LINE_BITS, to = from + DXF_LINE_BITS;
    bool any = false;
    memset(line, 0, sizeof(*line));
    for (unsigned i = 0; i < SPACE_FIXED_AREAS; i++) {
        uint64_t start = area[i].start > from ? area[i].start : from;
        uint64_t end = area[i].start + area[i].count;
        for (uint64_t block = start; block < end && block < to; block++) {
            le64 *word = &line->bits[(block - from) / 64];
            *word = le64_make(le64_get(*word) | 1ull << (block - from) % 64);
            any = true;
        }
    }
    if (any)
        seal_bitmap_line(line, number);
    return any;
}

int space_format(struct pool *pool)
{
    const struct dxf_super *super = &pool->super;
    uint64_t start = le64_get(super->bitmap_start) * DXF_BLOCK_SIZE;
    uint64_t end = start + le64_get(super->bitmap_blocks) * DXF_BLOCK_SIZE;
    for (uint64_t from = start, to; space_next_data(pool, from, end, &from, &to); from = to)
        persist_set(pool->persist, pool_at(pool, from), 0, to - from, PERSIST_METADATA);

    /* The bitmap's own blocks are given room as they come into use. */
    struct space_extent area[SPACE_FIXED_AREAS];
    space_fixed_areas(super, area);
    for (unsigned i = 0; i < SPACE_FIXED_AREAS - 1; i++) {
        int error =
            pool_reserve(pool, area[i].start * DXF_BLOCK_SIZE, area[i].count * DXF_BLOCK_SIZE);
        if (error)
            return error;
    }
    uint64_t lines = bitmap_lines(le64_get(super->pool_blocks));
    for (unsigned i = 0; i < SPACE_FIXED_AREAS; i++) {
        uint64_t first = area[i].start / DXF_LINE_BITS;
        uint64_t last = (area[i].start + area[i].count - 1) / DXF_LINE_BITS;
        for (uint64_t number = first; number <= last && number < lines; number++) {
            struct dxf_bitmap_line line;
            if (!line_fill(&line, number, area))
                continue;
            struct dxf_bitmap_line *place = space_line(pool, number);
            int error = pool_reserve(pool, (uint64_t)((uint8_t *)place - pool->base), sizeof(line));
            if (error)
                return error;
            persist_copy(pool->persist, place, &line, sizeof(line), PERSIST_METADATA);
        }
    }
    return 0;
}
