/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check, pass 2: the inode table, and the way to records and lines of the inode bitmap.
 *
 * The table's map is kept as a list of extents in order. Where it has a hole (a damaged node took
 * its part with it) there are no records, or no inode bitmap; a repair puts free records there, or the
 * bitmap of the records that are known, once blocks can be taken.
 */
#include "tools/fsck_private.h"

#include "base/random.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ANCHOR_OFFSET ((uint64_t)DXF_ANCHOR_BLOCK * DXF_BLOCK_SIZE)
#define LINES_PER_BLOCK (DXF_BLOCK_SIZE / DXF_LINE_SIZE)

bool fsck_bytes_bad(const struct fsck *fsck, const void *place, uint64_t length)
{
    return pool_range_is_bad(fsck->pool, (uint64_t)((const uint8_t *)place - fsck->pool->base),
                             length);
}

/* Pool block of a block of the table, or 0. */
static uint64_t table_block(const struct fsck *fsck, uint64_t logical)
{
    size_t low = 0, high = fsck->table.count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct fsck_extent *extent = &fsck->table.extent[middle];
        if (logical < extent->logical)
            high = middle;
        else if (logical >= extent->logical + extent->length)
            low = middle + 1;
        else
            return extent->physical + logical - extent->logical;
    }
    return 0;
}

uint64_t fsck_record_offset(const struct fsck *fsck, uint64_t ino)
{
    uint64_t group = ino / DXF_TABLE_GROUP_INODES, index = ino % DXF_TABLE_GROUP_INODES;
    uint64_t block =
        table_block(fsck, group * DXF_TABLE_GROUP_BLOCKS + 1 + index / DXF_INODES_PER_BLOCK);

    if (block == 0)
        return 0;
    return (block << DXF_BLOCK_SHIFT) + index % DXF_INODES_PER_BLOCK * sizeof(struct dxf_inode);
}

uint64_t fsck_line_offset(const struct fsck *fsck, uint64_t line)
{
    uint64_t block = table_block(fsck, line / LINES_PER_BLOCK * DXF_TABLE_GROUP_BLOCKS);

    return block != 0 ? (block << DXF_BLOCK_SHIFT) + line % LINES_PER_BLOCK * DXF_LINE_SIZE : 0;
}

const struct dxf_inode *fsck_record(const struct fsck *fsck, uint64_t ino)
{
    uint64_t offset;

    if (ino == DXF_INO_TABLE)
        return pool_at(fsck->pool, ANCHOR_OFFSET);
    offset = ino < fsck->capacity ? fsck_record_offset(fsck, ino) : 0;
    return offset != 0 ? pool_at(fsck->pool, offset) : NULL;
}

int fsck_put_record(struct fsck *fsck, uint64_t ino, struct dxf_inode *record)
{
    uint64_t offset = ino == DXF_INO_TABLE ? ANCHOR_OFFSET : fsck_record_offset(fsck, ino);

    if (offset == 0)
        return -EUCLEAN;
    if (le16_get(record->mode) == 0)
        memset(record, 0, sizeof(*record));
    else
        seal_inode(record, ino);
    return fsck_put(fsck, offset, record, sizeof(*record));
}

static int put_number(struct fsck *fsck, uint64_t ino)
{
    uint64_t number = ino / DXF_LINE_BITS, bit = ino % DXF_LINE_BITS;
    uint64_t offset = fsck_line_offset(fsck, number);
    struct dxf_bitmap_line line;

    memcpy(&line, pool_at(fsck->pool, offset), sizeof(line));
    line.bits[bit / 64] = le64_make(le64_get(line.bits[bit / 64]) | 1ull << bit % 64);
    line.reserved = le16_make(0);
    seal_bitmap_line(&line, number);
    return fsck_put(fsck, offset, &line, sizeof(line));
}

int fsck_new_number(struct fsck *fsck, uint64_t *ret_ino)
{
    for (uint64_t ino = DXF_INO_FIRST; ino < fsck->capacity; ino++) {
        const struct fsck_inode *known = &fsck->inode[ino];
        if (known->type != 0 || known->flags != 0 || known->links != 0)
            continue;
        uint64_t line = fsck_line_offset(fsck, ino / DXF_LINE_BITS);
        if (fsck_record_offset(fsck, ino) == 0 || line == 0)
            continue;
        const struct dxf_bitmap_line *bits = pool_at(fsck->pool, line);
        if (le64_get(bits->bits[ino % DXF_LINE_BITS / 64]) >> ino % DXF_LINE_BITS % 64 & 1)
            continue;
        *ret_ino = ino;
        return put_number(fsck, ino);
    }
    return -ENOSPC;
}

/* Do more of the records there belong there than do not? Free ones are neither. */
static bool has_records(const struct fsck *fsck, const struct fsck_extent *extent)
{
    uint64_t good = 0, bad = 0;

    for (uint64_t b = 0; b < extent->length; b++) {
        uint64_t logical = extent->logical + b, index = logical % DXF_TABLE_GROUP_BLOCKS;
        uint64_t ino = logical / DXF_TABLE_GROUP_BLOCKS * DXF_TABLE_GROUP_INODES;
        const struct dxf_inode *inode = pool_block(fsck->pool, extent->physical + b);
        if (index == 0)
            continue;
        ino += (index - 1) * DXF_INODES_PER_BLOCK;
        for (unsigned i = 0; i < DXF_INODES_PER_BLOCK; i++) {
            if (validate_inode(&inode[i], ino + i, fsck->pool->blocks) != NULL)
                bad++;
            else if (le16_get(inode[i].mode) != 0)
                good++;
        }
    }
    return bad <= good;
}

/* Each extent by itself: a wrong one would have whatever lies there cleared as damaged inodes. */
static bool map_plausible(const struct fsck *fsck, const struct fsck_map *map)
{
    uint64_t end = 0;

    for (size_t i = 0; i < map->extents.count; i++) {
        const struct fsck_extent *extent = &map->extents.extent[i];
        if (fsck_is_fixed(fsck, extent->physical, extent->length) ||
            (extent->logical != end && !map->damaged) || !has_records(fsck, extent))
            return false;
        end = extent->logical + extent->length;
    }
    return map->extents.count > 0 && map->extents.extent[0].logical == 0;
}

/* The anchor with what it says taken as true: does it name a table that looks like one? */
static bool anchor_plausible(struct fsck *fsck, struct dxf_anchor *anchor)
{
    struct fsck_map map = { 0 };

    memset(anchor->reserved, 0, sizeof(anchor->reserved));
    anchor->table.reserved0 = anchor->table.reserved1 = le64_make(0);
    anchor->table.flags = le32_make(0);
    seal_inode(&anchor->table, DXF_INO_TABLE);
    if (validate_anchor(anchor, fsck->pool->blocks) != NULL)
        return false;
    bool plausible = fsck_map_walk(fsck, DXF_INO_TABLE, &anchor->table, 0, &map) == 0 &&
                     map_plausible(fsck, &map);
    if (plausible) {
        const struct dxf_bitmap_line *line = pool_block(fsck->pool, map.extents.extent[0].physical);
        plausible = validate_bitmap_line(line, 0) == NULL && le16_get(line->used) > 0;
    }
    fsck_map_free(&map);
    return plausible;
}

/* The record of the table, as it is or as it is believed to be; false: the pool is lost. */
static int check_anchor(struct fsck *fsck, struct dxf_inode *ret_inode, bool *ret_there)
{
    const struct dxf_anchor *place = pool_at(fsck->pool, ANCHOR_OFFSET);
    const char *why = validate_anchor(place, fsck->pool->blocks);
    struct dxf_anchor anchor = *place;
    int error = 0;

    *ret_there = true;
    if (why == NULL && fsck_bytes_bad(fsck, place, sizeof(*place)))
        why = "it can not be read";
    if (why != NULL) {
        bool repair = fsck_found(fsck, FSCK_ANCHOR, "block %u (%s)", DXF_ANCHOR_BLOCK, why);
        *ret_there = anchor_plausible(fsck, &anchor);
        if (repair && !*ret_there)
            fsck_unrepaired(fsck,
                            "nothing says where the inodes are; restore the pool from a copy");
        if (repair && *ret_there) {
            error = fsck_put(fsck, ANCHOR_OFFSET, &anchor, sizeof(anchor));
            if (error == 0)
                error = fsck_commit(fsck);
        }
    }
    *ret_inode = anchor.table;
    return error;
}

static uint64_t capacity_of(uint64_t blocks)
{
    uint64_t groups = blocks / DXF_TABLE_GROUP_BLOCKS, rest = blocks % DXF_TABLE_GROUP_BLOCKS;

    return groups * DXF_TABLE_GROUP_INODES + (rest > 0 ? (rest - 1) * DXF_INODES_PER_BLOCK : 0);
}

/* Holes, unwritten parts, size. */
static int check_shape(struct fsck *fsck, const struct dxf_inode *inode, const struct fsck_map *map)
{
    uint64_t end = 0, size = le64_get(inode->size), hole = 0;
    bool dropped = false;
    int error = 0;

    for (size_t i = 0; i < map->extents.count; i++) {
        const struct fsck_extent *extent = &map->extents.extent[i];
        /* A table has no holes: it is never longer than the pool, and what is looked at is bounded. */
        if (extent->logical + extent->length > fsck->pool->blocks) {
            dropped |= fsck_found(fsck, FSCK_EXTENT_KEYS,
                                  "inode table, block %" PRIu64 " is past the pool's size",
                                  extent->logical);
            fsck_unclaim(fsck, extent->physical, extent->length);
            continue;
        }
        if (extent->unwritten) /* no mount takes it so; the records are there */
            dropped |=
                fsck_found(fsck, FSCK_EXTENT_KEYS,
                           "inode table, block %" PRIu64 " is marked unwritten", extent->logical);
        if (extent->logical > end)
            hole += extent->logical - end;
        end = extent->logical + extent->length;
        error = fsck_extents_add(&fsck->table, extent);
        if (error < 0)
            return error;
    }
    /* What the size says beyond the last extent is lost, too, if a node is. */
    uint64_t said = size / DXF_BLOCK_SIZE;
    if (map->damaged && said > end && said <= fsck->pool->blocks) {
        hole += said - end;
        end = said;
    }
    fsck->table_blocks = end;
    fsck->table_rebuild = dropped || (map->damaged && map->repair);
    if (hole > 0 &&
        fsck_found(fsck, FSCK_TABLE_MAP, "%" PRIu64 " of %" PRIu64 " blocks", hole, end))
        fsck->table_rebuild = true;
    if (size != end * DXF_BLOCK_SIZE &&
        fsck_found(fsck, FSCK_TABLE_SIZE, "%" PRIu64 " instead of %" PRIu64, size,
                   end * DXF_BLOCK_SIZE) &&
        !fsck->table_rebuild) {
        struct dxf_inode record = *inode;
        record.size = le64_make(end * DXF_BLOCK_SIZE);
        error = fsck_put_record(fsck, DXF_INO_TABLE, &record);
        if (error == 0)
            error = fsck_commit(fsck);
    }
    return error;
}

int fsck_pass_table(struct fsck *fsck)
{
    struct fsck_map map = { 0 };
    struct dxf_inode inode;
    bool there;

    fsck_progress(fsck, "inode table", 0, 1);
    int error = check_anchor(fsck, &inode, &there);
    if (error < 0 || !there)
        return error;
    error = fsck_map_walk(fsck, DXF_INO_TABLE, &inode,
                          FSCK_WALK_REPORT | FSCK_WALK_NODES | FSCK_WALK_DATA, &map);
    if (error == 0)
        error = check_shape(fsck, &inode, &map);
    if (error == 0) {
        uint64_t data = 0;
        for (size_t i = 0; i < map.extents.count; i++)
            data += map.extents.extent[i].length;
        if (!map.damaged && data + map.nodes.count != le64_get(inode.blocks) &&
            fsck_found(fsck, FSCK_INODE_BLOCKS, "inode table, %" PRIu64 " instead of %" PRIu64,
                       le64_get(inode.blocks), data + map.nodes.count) &&
            !fsck->table_rebuild) {
            struct dxf_inode record = *fsck_record(fsck, DXF_INO_TABLE);
            record.blocks = le64_make(data + map.nodes.count);
            error = fsck_put_record(fsck, DXF_INO_TABLE, &record);
            if (error == 0)
                error = fsck_commit(fsck);
        }
    }
    fsck->table_nodes = map.nodes;
    map.nodes = (struct fsck_blocks){ 0 };
    fsck_map_free(&map);
    if (error < 0)
        return error;

    fsck->capacity = capacity_of(fsck->table_blocks);
    if (fsck->capacity < DXF_INO_FIRST) {
        bool repair = fsck_found(fsck, FSCK_ANCHOR, "inode table is too short");
        if (repair)
            fsck_unrepaired(fsck, "no inode is there; restore the pool from a copy");
        return 0;
    }
    fsck->inode_bytes = (fsck->capacity * sizeof(*fsck->inode) + 4095) & ~4095ull;
    void *memory = mmap(NULL, fsck->inode_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    fsck->inode = memory;
    return 0;
}

/* A block of the table that was lost: free records, or the lines of the inode bitmap as the records
 * that are there have it. */
static void make_block(const struct fsck *fsck, uint64_t logical,
                       struct dxf_bitmap_line lines[LINES_PER_BLOCK])
{
    uint64_t number = logical / DXF_TABLE_GROUP_BLOCKS * LINES_PER_BLOCK;

    memset(lines, 0, DXF_BLOCK_SIZE);
    for (unsigned i = 0; i < LINES_PER_BLOCK && logical % DXF_TABLE_GROUP_BLOCKS == 0; i++) {
        uint64_t bits[7] = { 0 }, any = 0;
        for (unsigned bit = 0; bit < DXF_LINE_BITS; bit++) {
            uint64_t ino = (number + i) * DXF_LINE_BITS + bit;
            if (ino < DXF_INO_FIRST || (ino < fsck->capacity && (fsck->inode[ino].type != 0 ||
                                                                 fsck->inode[ino].flags != 0)))
                bits[bit / 64] |= 1ull << bit % 64;
        }
        for (unsigned word = 0; word < 7; word++) {
            lines[i].bits[word] = le64_make(bits[word]);
            any |= bits[word];
        }
        if (any != 0)
            seal_bitmap_line(&lines[i], number + i);
    }
}

/* A block for each hole, then the map written anew. Returns 0, or how it failed. */
static int fill_holes(struct fsck *fsck, struct fsck_extents *ret_filled)
{
    struct dxf_bitmap_line block[LINES_PER_BLOCK];
    uint64_t at = 0;

    for (size_t i = 0; i <= fsck->table.count; i++) {
        bool last = i == fsck->table.count;
        uint64_t until = last ? fsck->table_blocks : fsck->table.extent[i].logical;
        for (; at < until; at++) {
            struct fsck_extent extent = { .logical = at, .length = 1 };
            int error = fsck_take(fsck, &extent.physical);
            make_block(fsck, at, block);
            if (error == 0)
                error = fsck_write_block(fsck, extent.physical, block);
            if (error == 0)
                error = fsck_extents_add(ret_filled, &extent);
            if (error < 0)
                return error;
        }
        if (last)
            break;
        struct fsck_extent extent = fsck->table.extent[i];
        extent.unwritten = false;
        int error = fsck_extents_add(ret_filled, &extent);
        if (error < 0)
            return error;
        at = extent.logical + extent.length;
    }
    return 0;
}

uint64_t fsck_table_fill(struct fsck *fsck)
{
    struct dxf_inode record = *fsck_record(fsck, DXF_INO_TABLE);
    struct fsck_extents filled = { 0 };
    uint64_t nodes = 0, data = 0;

    if (!fsck->table_rebuild)
        return 0;
    int error = fill_holes(fsck, &filled);
    if (error == 0)
        error = fsck_map_build(fsck, DXF_INO_TABLE, &filled, &record, &nodes);
    if (error == 0) {
        for (size_t i = 0; i < filled.count; i++)
            data += filled.extent[i].length;
        record.size = le64_make(data * DXF_BLOCK_SIZE);
        record.blocks = le64_make(data + nodes);
        error = fsck_put_record(fsck, DXF_INO_TABLE, &record);
        if (error == 0)
            error = fsck_commit(fsck);
        for (size_t i = 0; i < fsck->table_nodes.count && error == 0; i++)
            fsck_unclaim(fsck, fsck->table_nodes.block[i], 1);
        free(fsck->table.extent);
        fsck->table = filled;
        return (uint64_t)(error < 0);
    }
    fsck_unrepaired(fsck, strerror(-error));
    free(filled.extent);
    return error == -ENOSPC ? 0 : 1;
}
