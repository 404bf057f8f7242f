/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inode table: reading it at mount, and growth.
 *
 * A new block of the table is zero on the medium before the extent that makes it reachable is: zeroed
 * and sent on its way first, fenced with txn_data_written().
 */
#include "meta/table.h"

#include "base/endian.h"
#include "base/random.h"
#include "media/validate.h"
#include "meta/extent.h"
#include "meta/inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TABLE_BATCH_MIN 16u
#define TABLE_BATCH_MAX DXF_PIECE_BLOCKS
#define TABLE_POOL_SHARE 64u /* mkfs: at most this part of the pool for the first blocks */

void table_line_seal(void *object, uint64_t line)
{
    seal_bitmap_line(object, line);
}

/* The numbers that a table of so many blocks has places for. */
static uint64_t blocks_capacity(uint64_t blocks)
{
    uint64_t groups = blocks / DXF_TABLE_GROUP_BLOCKS, rest = blocks % DXF_TABLE_GROUP_BLOCKS;
    return groups * DXF_TABLE_GROUP_INODES + (rest > 0 ? (rest - 1) * DXF_INODES_PER_BLOCK : 0);
}

static int table_new(struct meta *meta)
{
    struct meta_table *table = aligned_alloc(DXF_LINE_SIZE, sizeof(*table));
    if (table == NULL)
        return -ENOMEM;
    memset(table, 0, sizeof(*table));
    lock_init(&table->grow, LOCK_JOURNAL, TXN_ORDER_TABLE);
    for (unsigned i = 0; i < TABLE_STRIPES; i++)
        lock_init(&table->stripe[i].lock, LOCK_JOURNAL, TXN_ORDER_TABLE_LINE + i);
    /* Apart from each other, so that CPUs do not begin in the same line. */
    for (unsigned i = 0; i < TABLE_SLOTS; i++)
        atomic_init(&table->slot[i].line, i);
    meta->table = table;
    return 0;
}

void table_close(struct meta *meta)
{
    struct meta_table *table = meta->table;
    if (table == NULL)
        return;
    struct table_groups *groups = atomic_load(&table->groups);
    for (uint64_t i = 0; i < table->blocks; i++) {
        const struct table_group *group = groups->group[i / DXF_TABLE_GROUP_BLOCKS];

        pool_blocks_clear_fixed(meta->pool, group->block[i % DXF_TABLE_GROUP_BLOCKS], 1);
    }
    for (uint64_t i = 0; i < table->group_count; i++)
        free(groups->group[i]);
    while (groups != NULL) {
        struct table_groups *older = groups->older;
        free(groups);
        groups = older;
    }
    free(table);
    meta->table = NULL;
}

static int table_add_group(struct meta_table *table)
{
    struct table_groups *groups = atomic_load(&table->groups);
    if (groups == NULL || table->group_count == groups->room) {
        uint64_t room = groups == NULL ? 8 : groups->room * 2;
        struct table_groups *larger = calloc(1, sizeof(*larger) + room * sizeof(larger->group[0]));
        if (larger == NULL)
            return -ENOMEM;
        larger->room = room;
        larger->older = groups;
        if (groups != NULL)
            memcpy(larger->group, groups->group, table->group_count * sizeof(larger->group[0]));
        atomic_store_explicit(&table->groups, larger, memory_order_release);
        groups = larger;
    }
    struct table_group *group = calloc(1, sizeof(*group));
    if (group == NULL)
        return -ENOMEM;
    groups->group[table->group_count++] = group;
    return 0;
}

/* Notes that the table's blocks from `logical` on are the pool's from `physical` on. */
static int table_map(struct meta_table *table, uint64_t logical, uint64_t physical, uint64_t length)
{
    for (; length > 0; logical++, physical++, length--) {
        uint64_t number = logical / DXF_TABLE_GROUP_BLOCKS;
        if (number == table->group_count) {
            int rc = table_add_group(table);
            if (rc < 0)
                return rc;
        }
        struct table_group *group = atomic_load(&table->groups)->group[number];
        group->block[logical % DXF_TABLE_GROUP_BLOCKS] = physical;
    }
    return 0;
}

/* What was mapped is the table's from now on. */
static void table_add_blocks(struct meta *meta, uint64_t physical, uint64_t length)
{
    pool_blocks_set_fixed(meta->pool, physical, length);
    meta->table->blocks += length;
}

static int map_extent(void *arg, const struct extent *extent)
{
    struct meta *meta = arg;
    struct meta_table *table = meta->table;
    if (extent->logical != table->blocks || extent->unwritten ||
        extent->length > meta->pool->blocks - table->blocks)
        return meta_damaged(meta, "block", extent->logical, DXF_INO_TABLE,
                            "the inode table has a hole or is larger than the pool");
    if (!pool_blocks_are_data(meta->pool, extent->physical, extent->length))
        return meta_damaged(meta, "block", extent->logical, DXF_INO_TABLE,
                            "the inode table lies on other metadata");
    int rc = table_map(table, extent->logical, extent->physical, extent->length);
    if (rc == 0)
        table_add_blocks(meta, extent->physical, extent->length);
    return rc;
}

static void table_read_bitmap(struct meta *meta, uint64_t capacity)
{
    struct meta_table *table = meta->table;
    for (uint64_t number = 0; number * DXF_LINE_BITS < capacity; number++) {
        struct table_group *group = table_group_of(table, number * DXF_LINE_BITS);
        uint64_t offset = table_line(group, number);
        const struct dxf_bitmap_line *line = pool_at(meta->pool, offset);
        const char *why = validate_bitmap_line(line, number);
        unsigned bits = table_line_bits(number, capacity);
        unsigned state = le16_get(line->used);

        if (why == NULL && pool_range_is_bad(meta->pool, offset, sizeof(*line)))
            why = "it can not be read";
        for (unsigned bit = bits; why == NULL && bit < DXF_LINE_BITS; bit++)
            if (le64_get(line->bits[bit / 64]) >> bit % 64 & 1)
                why = "numbers past the end of the table are taken";
        if (why != NULL) {
            meta_damaged(meta, "bitmap line", number, DXF_INO_TABLE, why);
            state = TABLE_LINE_BAD;
        }
        atomic_store_explicit(&group->line[number % TABLE_GROUP_LINES], (uint16_t)state,
                              memory_order_relaxed);
    }
}

int table_open(struct meta *meta)
{
    int rc = table_new(meta);
    if (rc < 0)
        return rc;
    struct meta_table *table = meta->table;
    const struct dxf_anchor *anchor = pool_block(meta->pool, DXF_ANCHOR_BLOCK);
    const char *why = validate_anchor(anchor, meta->pool->blocks);
    if (why != NULL)
        return meta_damaged(meta, "anchor block", DXF_ANCHOR_BLOCK, DXF_INO_TABLE, why);

    rc = extent_walk(meta, NULL, DXF_INO_TABLE, &anchor->table, 0, UINT64_MAX, map_extent, meta);
    if (rc < 0)
        return rc;
    if (le64_get(anchor->table.size) != table->blocks * DXF_BLOCK_SIZE ||
        blocks_capacity(table->blocks) < DXF_INO_FIRST)
        return meta_damaged(meta, "size", le64_get(anchor->table.size), DXF_INO_TABLE,
                            "the inode table has another size than its blocks");
    uint64_t capacity = blocks_capacity(table->blocks);
    table_read_bitmap(meta, capacity);
    atomic_store_explicit(&table->capacity, capacity, memory_order_release);
    return 0;
}

/* So many more blocks at once: doubling, up to a piece, then whole pieces. */
static uint64_t growth_batch(const struct meta *meta, uint64_t blocks)
{
    uint64_t batch = blocks;
    if (blocks == 0)
        batch = meta->pool->blocks / TABLE_POOL_SHARE;
    if (batch < TABLE_BATCH_MIN)
        batch = TABLE_BATCH_MIN;
    uint64_t to_border = TABLE_BATCH_MAX - blocks % TABLE_BATCH_MAX;
    return batch < to_border ? batch : to_border;
}

/* One extent more, staged in the transaction and noted in the map. */
static int grow_by(struct meta *meta, struct txn *txn, struct space_extent *ret_extent)
{
    struct meta_table *table = meta->table;
    struct pool *pool = meta->pool;
    struct dxf_inode *inode = inode_edit(meta, txn, DXF_INO_TABLE);
    struct space_request request = { .want = growth_batch(meta, table->blocks),
                                     .logical = table->blocks,
                                     .flags = SPACE_METADATA };
    struct extent last;

    if (inode == NULL)
        return -ENOMEM;
    if (extent_last(meta, txn, DXF_INO_TABLE, inode, &last) == 0)
        request.goal = last.physical + last.length;
    int rc = space_alloc(txn, &request, ret_extent);
    if (rc < 0)
        return rc;
    pool_block_clear_verified(pool, ret_extent->start, ret_extent->count);
    persist_set(pool->persist, pool_block(pool, ret_extent->start), 0,
                ret_extent->count << DXF_BLOCK_SHIFT, PERSIST_METADATA);
    txn_data_written(txn);

    const struct extent extent = { .logical = table->blocks,
                                   .physical = ret_extent->start,
                                   .length = ret_extent->count };
    rc = extent_insert(meta, txn, DXF_INO_TABLE, inode, &extent);
    if (rc == 0)
        rc = table_map(table, extent.logical, extent.physical, extent.length);
    if (rc < 0)
        return rc;
    inode->size = le64_make((table->blocks + extent.length) * DXF_BLOCK_SIZE);
    return 0;
}

int table_grow(struct meta *meta, uint64_t seen)
{
    struct meta_table *table = meta->table;
    int rc = 0;

    lock_acquire(&table->grow);
    /* A single block can be the bitmap of a new group, which alone adds no number. */
    while (rc == 0 && table_capacity(table) <= seen) {
        struct txn txn;
        struct space_extent extent;
        txn_begin(&txn, meta->space);
        rc = grow_by(meta, &txn, &extent);
        if (rc < 0) {
            txn_abort(&txn);
            break;
        }
        rc = txn_commit(&txn, NULL);
        if (rc == 0) {
            table_add_blocks(meta, extent.start, extent.count);
            atomic_store_explicit(&table->capacity, blocks_capacity(table->blocks),
                                  memory_order_release);
        }
    }
    lock_release(&table->grow);
    return rc;
}

int table_format(struct meta *meta)
{
    int rc = table_new(meta);
    if (rc < 0)
        return rc;
    struct txn txn;
    le64 now = le64_make((uint64_t)meta_now());

    txn_begin(&txn, meta->space);
    struct dxf_inode *inode = inode_edit(meta, &txn, DXF_INO_TABLE);
    if (inode != NULL)
        *inode = (struct dxf_inode){
            .generation = le32_make(random_nonzero_u32()),
            .mode = le16_make(S_IFREG | 0600),
            .links = le32_make(1),
            .atime = now,
            .mtime = now,
            .ctime = now,
            .btime = now,
        };
    rc = txn_commit(&txn, NULL);
    if (rc == 0)
        rc = table_grow(meta, DXF_INO_FIRST);
    return rc;
}

void table_format_reserved(struct meta *meta, struct txn *txn)
{
    uint64_t offset = table_line(table_group_of(meta->table, 0), 0);
    struct dxf_bitmap_line *line = txn_edit(txn, offset, sizeof(*line), table_line_seal, 0);
    if (line != NULL)
        line->bits[0] = le64_make((1ull << DXF_INO_FIRST) - 1);
}
