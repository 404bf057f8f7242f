/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check, pass 5 and what it shares with others: extent maps.
 *
 * A walk goes down from the root with the range of keys that a node may hold. A node whose first key
 * is not in its range is not followed, and ranges of siblings do not meet; so no node is entered
 * twice, whatever the medium says, and a walk takes time in proportion to the entries it sees.
 */
#include "tools/fsck_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct fsck_extent fsck_extent_get(const struct dxf_extent *extent)
{
    uint64_t word0 = le64_get(extent->word0), word1 = le64_get(extent->word1);

    return (struct fsck_extent){
        .logical = word0 >> DXF_EXTENT_LOGICAL_SHIFT,
        .physical = word1 & DXF_EXTENT_PHYSICAL_MASK,
        .length = (word0 & DXF_EXTENT_LENGTH_MASK) + 1,
        .unwritten = word1 & DXF_EXTENT_UNWRITTEN,
    };
}

static struct dxf_extent extent_make(const struct fsck_extent *extent)
{
    return (struct dxf_extent){
        .word0 = le64_make(extent->logical << DXF_EXTENT_LOGICAL_SHIFT | (extent->length - 1)),
        .word1 = le64_make(extent->physical | (extent->unwritten ? DXF_EXTENT_UNWRITTEN : 0)),
    };
}

/* Room for one more of size bytes each. */
static int list_grow(void **list, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return 0;
    size_t larger = *room ? *room * 2 : 16;
    void *memory = reallocarray(*list, larger, size);
    if (memory == NULL)
        return -ENOMEM;
    *list = memory;
    *room = larger;
    return 0;
}

int fsck_extents_add(struct fsck_extents *list, const struct fsck_extent *extent)
{
    void *memory = list->extent;
    int error = list_grow(&memory, list->count, &list->room, sizeof(*extent));

    if (error == 0) {
        list->extent = memory;
        list->extent[list->count++] = *extent;
    }
    return error;
}

int fsck_blocks_add(struct fsck_blocks *list, uint64_t block)
{
    void *memory = list->block;
    int error = list_grow(&memory, list->count, &list->room, sizeof(block));

    if (error == 0) {
        list->block = memory;
        list->block[list->count++] = block;
    }
    return error;
}

void fsck_map_free(struct fsck_map *map)
{
    free(map->extents.extent);
    free(map->nodes.block);
    *map = (struct fsck_map){ 0 };
}

struct walk {
    struct fsck *fsck;
    uint64_t ino;
    unsigned flags;
    uint64_t end; /* of the last extent */
    struct fsck_map *map;
};

static void note_damage(struct walk *walk, bool repair)
{
    /* One no leaves the map as it is: a map is repaired as a whole. */
    walk->map->repair = repair && (walk->map->repair || !walk->map->damaged);
    walk->map->damaged = true;
}

static int walk_extent(struct walk *walk, const struct dxf_extent *raw, uint64_t low, uint64_t high)
{
    struct fsck *fsck = walk->fsck;
    struct fsck_extent extent = fsck_extent_get(raw);

    if (extent.logical < low || extent.logical + extent.length > high ||
        extent.logical < walk->end) {
        bool report = walk->flags & FSCK_WALK_REPORT;
        note_damage(walk, report && fsck_found(fsck, FSCK_EXTENT_KEYS,
                                               "inode %" PRIu64 ", file block %" PRIu64, walk->ino,
                                               extent.logical));
        return 0;
    }
    if (walk->flags & FSCK_WALK_DATA) {
        enum fsck_claim claim = fsck_claim(fsck, extent.physical, extent.length);
        if (claim != FSCK_CLAIM_OK) {
            note_damage(walk, fsck_found_claim(fsck, claim, walk->ino, "data", extent.physical,
                                               extent.length));
            return 0;
        }
    }
    walk->end = extent.logical + extent.length;
    return fsck_extents_add(&walk->map->extents, &extent);
}

static int walk_node(struct walk *walk, uint64_t block, unsigned level, uint64_t low, uint64_t high)
{
    struct fsck *fsck = walk->fsck;
    bool report = walk->flags & FSCK_WALK_REPORT;
    const struct dxf_node *node = pool_block(fsck->pool, block);
    const char *why = validate_extent_node(node, block, walk->ino, level, fsck->pool->blocks);
    int error = 0;

    if (why == NULL && fsck_bytes_bad(fsck, node, sizeof(*node)))
        why = "it can not be read";
    unsigned count = why == NULL ? le16_get(node->header.count) : 0;
    uint64_t first = 0;
    if (count > 0)
        first =
            level > 0 ? le64_get(node->index[0].key) : fsck_extent_get(&node->extent[0]).logical;
    if (why == NULL && (count == 0 || first < low || first >= high))
        why = count == 0 ? "it is empty" : "its keys are not those of its parent";
    if (why != NULL) {
        note_damage(walk, report && fsck_found(fsck, FSCK_EXTENT_NODE,
                                               "inode %" PRIu64 ", block %" PRIu64 " (%s)",
                                               walk->ino, block, why));
        return 0;
    }
    if (walk->flags & FSCK_WALK_NODES) {
        enum fsck_claim claim = fsck_claim(fsck, block, 1);
        if (claim != FSCK_CLAIM_OK) {
            note_damage(walk, fsck_found_claim(fsck, claim, walk->ino, "extent node", block, 1));
            return 0;
        }
    }
    error = fsck_blocks_add(&walk->map->nodes, block);
    if (level > 0 && first != low && report && error == 0)
        note_damage(walk, fsck_found(fsck, FSCK_EXTENT_KEYS, "inode %" PRIu64 ", block %" PRIu64,
                                     walk->ino, block));
    for (unsigned i = 0; i < count && error == 0; i++) {
        if (level == 0) {
            error = walk_extent(walk, &node->extent[i], low, high);
            continue;
        }
        uint64_t key = le64_get(node->index[i].key);
        uint64_t next = i + 1 < count ? le64_get(node->index[i + 1].key) : high;
        if (key >= high || next > high) {
            note_damage(walk, report && fsck_found(fsck, FSCK_EXTENT_KEYS,
                                                   "inode %" PRIu64 ", block %" PRIu64, walk->ino,
                                                   block));
            break;
        }
        error =
            walk_node(walk, le64_get(node->index[i].child), level - 1, i == 0 ? low : key, next);
    }
    return error;
}

int fsck_map_walk(struct fsck *fsck, uint64_t ino, const struct dxf_inode *inode, unsigned flags,
                  struct fsck_map *ret_map)
{
    struct walk walk = { .fsck = fsck, .ino = ino, .flags = flags, .map = ret_map };
    int error = 0;

    if (inode->layout == DXF_LAYOUT_INLINE) {
        for (unsigned i = 0; i < inode->count && error == 0; i++)
            error = walk_extent(&walk, &inode->extent[i], 0, UINT64_MAX);
    } else if (inode->layout == DXF_LAYOUT_TREE) {
        error = walk_node(&walk, le64_get(inode->tree.root), inode->count - 1u, 0, UINT64_MAX);
    }
    return error;
}

/* ---- building a map -------------------------------------------------------------------------- */

/* One level of nodes over `count` entries of 16 bytes; *ret_above: an index entry for each. */
static int build_level(struct fsck *fsck, uint64_t ino, unsigned level, const void *entries,
                       size_t count, struct dxf_index **ret_above, size_t *ret_count)
{
    size_t nodes = (count + DXF_NODE_ENTRIES - 1) / DXF_NODE_ENTRIES;
    struct dxf_index *above = calloc(nodes, sizeof(*above));
    struct dxf_node *node = malloc(sizeof(*node));
    int error = above != NULL && node != NULL ? 0 : -ENOMEM;

    for (size_t i = 0; i < nodes && error == 0; i++) {
        size_t from = i * DXF_NODE_ENTRIES;
        size_t here = count - from < DXF_NODE_ENTRIES ? count - from : DXF_NODE_ENTRIES;
        uint64_t block, key;

        error = fsck_take(fsck, &block);
        if (error < 0)
            break;
        memset(node, 0, sizeof(*node));
        node->header.magic = le32_make(DXF_MAGIC_EXTENT_NODE);
        node->header.owner = le64_make(ino);
        node->header.self = le64_make(block);
        node->header.level = le16_make((uint16_t)level);
        node->header.count = le16_make((uint16_t)here);
        memcpy(node->index, (const struct dxf_index *)entries + from, here * sizeof(*above));
        key = level == 0 ? fsck_extent_get(&node->extent[0]).logical : le64_get(node->index[0].key);
        seal_block(&node->header);
        above[i].key = le64_make(i == 0 ? 0 : key);
        above[i].child = le64_make(block);
        error = fsck_write_block(fsck, block, node);
    }
    free(node);
    if (error < 0) {
        free(above);
        return error;
    }
    *ret_above = above;
    *ret_count = nodes;
    return 0;
}

int fsck_map_build(struct fsck *fsck, uint64_t ino, const struct fsck_extents *extents,
                   struct dxf_inode *record, uint64_t *ret_nodes)
{
    struct dxf_extent *raw = calloc(extents->count + 1, sizeof(*raw));
    size_t count = 0, above_count;
    unsigned levels = 0;
    int error = 0;

    if (raw == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < extents->count; i++) {
        /* Neighbours that continue each other become one. */
        struct fsck_extent next = extents->extent[i];
        if (count > 0) {
            struct fsck_extent last = fsck_extent_get(&raw[count - 1]);
            if (last.logical + last.length == next.logical &&
                last.physical + last.length == next.physical && last.unwritten == next.unwritten &&
                last.length + next.length <= DXF_EXTENT_LENGTH_MAX) {
                last.length += next.length;
                raw[count - 1] = extent_make(&last);
                continue;
            }
        }
        raw[count++] = extent_make(&next);
    }

    *ret_nodes = 0;
    memset(record->inlined, 0, sizeof(record->inlined));
    record->layout = count == 0 ? DXF_LAYOUT_NONE : DXF_LAYOUT_INLINE;
    record->count = (uint8_t)(count <= DXF_INLINE_EXTENTS ? count : 0);
    if (count <= DXF_INLINE_EXTENTS) {
        memcpy(record->extent, raw, count * sizeof(*raw));
        free(raw);
        return 0;
    }
    void *entries = raw;
    while (error == 0 && (levels == 0 || count > 1)) {
        struct dxf_index *above;
        error = build_level(fsck, ino, levels, entries, count, &above, &above_count);
        if (error < 0)
            break;
        free(entries);
        entries = above;
        count = above_count;
        *ret_nodes += count;
        levels++;
    }
    if (error == 0) {
        record->layout = DXF_LAYOUT_TREE;
        record->count = (uint8_t)levels;
        record->tree.root = ((struct dxf_index *)entries)->child;
    }
    free(entries);
    return error;
}

/* ---- pass 5 ------------------------------------------------------------------------------------ */

static int remember(struct fsck *fsck, uint64_t ino, struct fsck_map *map)
{
    void *memory = fsck->rebuild;
    int error =
        list_grow(&memory, fsck->rebuild_count, &fsck->rebuild_room, sizeof(*fsck->rebuild));

    if (error < 0)
        return error;
    fsck->rebuild = memory;
    fsck->rebuild[fsck->rebuild_count++] =
        (struct fsck_rebuild){ .ino = ino, .extents = map->extents, .nodes = map->nodes };
    *map = (struct fsck_map){ 0 };
    return 0;
}

static uint64_t chains_of(const struct fsck *fsck, uint64_t ino, const struct dxf_inode *inode)
{
    uint64_t xattr = le64_get(inode->xattr);

    return xattr != 0 ? fsck_chain_length(fsck, ino, xattr) : 0;
}

int fsck_check_data(struct fsck *fsck, uint64_t ino)
{
    const struct dxf_inode *inode = fsck_record(fsck, ino);
    struct fsck_inode *known = &fsck->inode[ino];
    struct fsck_map map = { 0 };
    uint64_t data = 0;

    int error = fsck_map_walk(fsck, ino, inode, FSCK_WALK_DATA, &map);
    if (error < 0)
        goto out;
    bool tree_damaged = known->flags & (FSCK_INODE_REBUILD | FSCK_INODE_DAMAGED);
    if (map.damaged || tree_damaged) {
        /* The tree's own damage was answered in pass 4. */
        bool repair = tree_damaged ? known->flags & FSCK_INODE_REBUILD : map.repair;
        if (repair)
            error = remember(fsck, ino, &map);
        goto out;
    }
    for (size_t i = 0; i < map.extents.count; i++)
        data += map.extents.extent[i].length;
    uint64_t blocks = data + map.nodes.count + chains_of(fsck, ino, inode);
    if (blocks != le64_get(inode->blocks) &&
        fsck_found(fsck, FSCK_INODE_BLOCKS, "inode %" PRIu64 ", %" PRIu64 " instead of %" PRIu64,
                   ino, le64_get(inode->blocks), blocks)) {
        struct dxf_inode record = *inode;
        record.blocks = le64_make(blocks);
        error = fsck_put_record(fsck, ino, &record);
        if (error == 0)
            error = fsck_commit(fsck);
    }
out:
    fsck_map_free(&map);
    return error;
}

static int rebuild_file(struct fsck *fsck, struct fsck_rebuild *rebuild)
{
    struct dxf_inode record = *fsck_record(fsck, rebuild->ino);
    uint64_t nodes, data = 0;

    int error = fsck_map_build(fsck, rebuild->ino, &rebuild->extents, &record, &nodes);
    if (error == -ENOSPC) {
        fsck_unrepaired(fsck, "no free block for it; grow the pool and check again");
        return 0;
    }
    if (error < 0)
        return error;
    for (size_t i = 0; i < rebuild->extents.count; i++)
        data += rebuild->extents.extent[i].length;
    record.blocks = le64_make(data + nodes + chains_of(fsck, rebuild->ino, &record));
    error = fsck_put_record(fsck, rebuild->ino, &record);
    if (error == 0)
        error = fsck_commit(fsck);
    for (size_t i = 0; i < rebuild->nodes.count && error == 0; i++)
        fsck_unclaim(fsck, rebuild->nodes.block[i], 1);
    return error;
}

int fsck_pass_data(struct fsck *fsck)
{
    int error = 0;

    for (uint64_t ino = DXF_INO_ROOT; ino < fsck->capacity && error == 0; ino++) {
        if (ino % 4096 == 0)
            fsck_progress(fsck, "blocks", ino, fsck->capacity);
        if (fsck->inode[ino].type == S_IFREG >> 12)
            error = fsck_check_data(fsck, ino);
    }
    return error;
}

int fsck_pass_rebuild(struct fsck *fsck)
{
    int error = fsck_table_fill(fsck) != 0 ? -EIO : 0;

    if (error == 0)
        error = fsck_records_filled(fsck);
    for (size_t i = 0; i < fsck->rebuild_count && error == 0; i++)
        error = rebuild_file(fsck, &fsck->rebuild[i]);
    return error;
}
