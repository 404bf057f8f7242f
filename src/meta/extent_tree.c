/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Places in an extent map (extent_tree.h has the invariants E1..E4).
 *
 * A map grows out of the inode when a ninth extent comes, and back into it when few are left: fewer
 * than fit, so that a file that wavers between eight and nine does not move each time.
 */
#include "meta/extent_tree.h"

#include "base/endian.h"
#include "media/validate.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define EXTENT_INLINE_AGAIN (DXF_INLINE_EXTENTS - 2)

static const char *extent_node_check(const void *block, uint64_t self, uint64_t owner,
                                     unsigned level, uint64_t blocks)
{
    return validate_extent_node(block, self, owner, level, blocks);
}

static void extent_leaf_seal(void *leaf, uint64_t owner)
{
    (void)owner;
    seal_block(leaf);
}

static const struct tree_type extent_tree_type = {
    .node_what = "extent node",
    .leaf_what = "extent leaf",
    .node_magic = DXF_MAGIC_EXTENT_NODE,
    .leaf_magic = DXF_MAGIC_EXTENT_NODE,
    .node_check = extent_node_check,
    .leaf_check = extent_node_check,
    .leaf_seal = extent_leaf_seal,
};

void extent_map_view(struct extent_map *map, struct meta *meta, const struct txn *txn, uint64_t ino,
                     const struct dxf_inode *inode)
{
    *map = (struct extent_map){
        .inode = inode,
        .tree = { .meta = meta, .type = &extent_tree_type, .view = txn, .owner = ino },
    };
    if (inode->layout == DXF_LAYOUT_TREE) {
        map->tree.root = le64_get(inode->tree.root);
        map->tree.levels = inode->count;
    }
}

void extent_map_edit(struct extent_map *map, struct meta *meta, struct txn *txn, uint64_t ino,
                     struct dxf_inode *inode)
{
    extent_map_view(map, meta, txn, ino, inode);
    map->edit = inode;
    map->tree.edit = txn;
}

/* What the tree has become goes into the inode (E4). */
static void map_store(struct extent_map *map)
{
    struct dxf_inode *inode = map->edit;
    inode->layout = map->tree.levels > 0 ? DXF_LAYOUT_TREE : DXF_LAYOUT_NONE;
    inode->count = (uint8_t)map->tree.levels;
    inode->tree.root = le64_make(map->tree.root);
    inode->blocks = le64_make(le64_get(inode->blocks) + (uint64_t)map->tree.blocks);
    map->tree.blocks = 0;
}

static bool map_is_tree(const struct extent_map *map)
{
    return map->tree.levels > 0;
}

static uint64_t raw_logical(const struct dxf_extent *raw)
{
    return le64_get(raw->word0) >> DXF_EXTENT_LOGICAL_SHIFT;
}

static uint64_t raw_end(const struct dxf_extent *raw)
{
    return raw_logical(raw) + (le64_get(raw->word0) & DXF_EXTENT_LENGTH_MASK) + 1;
}

static void raw_set(struct dxf_extent *raw, const struct extent *extent)
{
    assert(extent->length >= 1 && extent->length <= DXF_EXTENT_LENGTH_MAX);
    raw->word0 = le64_make(extent->logical << DXF_EXTENT_LOGICAL_SHIFT | (extent->length - 1));
    raw->word1 = le64_make(extent->physical | (extent->unwritten ? DXF_EXTENT_UNWRITTEN : 0));
}

struct extent extent_place_get(const struct extent_place *place)
{
    assert(place->index < place->count);
    const struct dxf_extent *raw = &place->array[place->index];
    uint64_t word0 = le64_get(raw->word0), word1 = le64_get(raw->word1);
    return (struct extent){
        .logical = word0 >> DXF_EXTENT_LOGICAL_SHIFT,
        .length = (word0 & DXF_EXTENT_LENGTH_MASK) + 1,
        .physical = word1 & DXF_EXTENT_PHYSICAL_MASK,
        .unwritten = (word1 & DXF_EXTENT_UNWRITTEN) != 0,
    };
}

/* Points the place at the leaf of its path, and checks what E2 and E3 promise of it: a leaf of the
 * medium that does not fit its range is damage, and could make a pass over the map run in circles. */
static int place_open_leaf(const struct extent_map *map, struct extent_place *place)
{
    const struct dxf_node *leaf = place->path.leaf;
    place->array = leaf->extent;
    place->count = le16_get(leaf->header.count);
    if (place->count == 0 || place->count > DXF_NODE_ENTRIES ||
        raw_logical(&place->array[0]) < place->path.low ||
        raw_end(&place->array[place->count - 1]) > place->path.high)
        return meta_damaged(map->tree.meta, "extent leaf", place->path.node[0], map->tree.owner,
                            "extents do not fit the node above");
    return 0;
}

static unsigned place_search(const struct extent_place *place, uint64_t logical)
{
    unsigned low = 0, high = place->count;
    /* Most often it is the last extent that is asked for, or what comes after it. */
    if (high > 0 && raw_end(&place->array[high - 1]) <= logical)
        return high;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (raw_end(&place->array[middle]) <= logical)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int extent_map_find(const struct extent_map *map, uint64_t logical, struct extent_place *ret_place)
{
    if (map_is_tree(map)) {
        int rc = tree_find(&map->tree, logical, &ret_place->path);
        if (rc == 0)
            rc = place_open_leaf(map, ret_place);
        if (rc < 0)
            return rc;
    } else {
        ret_place->path.low = 0;
        ret_place->path.high = UINT64_MAX;
        ret_place->array = map->inode->extent;
        ret_place->count = map->inode->layout == DXF_LAYOUT_INLINE ? map->inode->count : 0;
    }
    ret_place->index = place_search(ret_place, logical);
    return 0;
}

int extent_place_settle(const struct extent_map *map, struct extent_place *place)
{
    if (place->index < place->count)
        return 0;
    if (!map_is_tree(map))
        return -ENOENT;
    int rc = tree_next(&map->tree, &place->path);
    if (rc == 0)
        rc = place_open_leaf(map, place);
    if (rc < 0)
        return rc;
    place->index = 0;
    return 0;
}

int extent_place_back(const struct extent_map *map, struct extent_place *place)
{
    if (place->index > 0) {
        place->index--;
        return 0;
    }
    if (!map_is_tree(map))
        return -ENOENT;
    int rc = tree_prev(&map->tree, &place->path);
    if (rc == 0)
        rc = place_open_leaf(map, place);
    if (rc < 0)
        return rc;
    place->index = place->count - 1;
    return 0;
}

int extent_map_find_before(const struct extent_map *map, uint64_t end,
                           struct extent_place *ret_place)
{
    if (end == 0)
        return -ENOENT;
    int rc = extent_map_find(map, end - 1, ret_place);
    if (rc < 0)
        return rc;
    if (ret_place->index < ret_place->count &&
        raw_logical(&ret_place->array[ret_place->index]) < end)
        return 0;
    return extent_place_back(map, ret_place);
}

static struct dxf_extent *place_edit(struct extent_map *map, struct extent_place *place)
{
    struct dxf_extent *array = map->edit->extent;
    if (map_is_tree(map)) {
        struct dxf_node *leaf = tree_leaf_edit(&map->tree, &place->path);
        if (leaf == NULL)
            return NULL;
        array = leaf->extent;
    }
    place->array = array;
    return array;
}

static void place_set_count(struct extent_map *map, struct extent_place *place, unsigned count)
{
    place->count = count;
    if (map_is_tree(map)) {
        struct dxf_node *leaf = (struct dxf_node *)place->path.leaf; /* edited */
        leaf->header.count = le16_make((uint16_t)count);
    } else {
        map->edit->layout = count > 0 ? DXF_LAYOUT_INLINE : DXF_LAYOUT_NONE;
        map->edit->count = (uint8_t)count;
    }
}

/*
 * E2 for an extent that is about to stand in the place's leaf: borders that were left where deleted
 * extents once began are moved out of its way.
 */
static int place_fit(struct extent_map *map, struct extent_place *place,
                     const struct extent *extent)
{
    int rc;
    if (extent_end(extent) > place->path.high) {
        struct extent_place next = *place;
        next.index = next.count;
        rc = extent_place_settle(map, &next);
        if (rc < 0)
            return rc;
        uint64_t border = raw_logical(&next.array[0]);
        if (border < extent_end(extent))
            return -EEXIST;
        rc = tree_set_low(&map->tree, &next.path, border);
        if (rc < 0)
            return rc;
        place->path.high = border;
    }
    if (extent->logical < place->path.low) {
        rc = tree_set_low(&map->tree, &place->path, extent->logical);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int extent_place_set(struct extent_map *map, struct extent_place *place,
                     const struct extent *extent)
{
    int rc = place_fit(map, place, extent);
    if (rc < 0)
        return rc;
    struct dxf_extent *array = place_edit(map, place);
    if (array == NULL)
        return -ENOMEM;
    raw_set(&array[place->index], extent);
    return 0;
}

/* The inode's extents move into a leaf. */
static int map_grow_out(struct extent_map *map)
{
    uint64_t block;
    void *bytes;
    unsigned count = map->inode->count;
    int rc = tree_leaf_new(&map->tree, 0, &block, &bytes);
    if (rc < 0)
        return rc;
    struct dxf_node *leaf = bytes;
    memcpy(leaf->extent, map->inode->extent, count * sizeof(leaf->extent[0]));
    leaf->header.count = le16_make((uint16_t)count);
    tree_plant(&map->tree, block);
    memset(map->edit->inlined, 0, sizeof(map->edit->inlined));
    map_store(map);
    return 0;
}

/* A tree of one leaf with few extents moves back into the inode. */
static int map_grow_in(struct extent_map *map)
{
    struct tree_path path;
    struct dxf_extent few[EXTENT_INLINE_AGAIN];

    if (map->tree.levels != 1)
        return 0;
    int rc = tree_find(&map->tree, 0, &path);
    if (rc < 0)
        return rc;
    const struct dxf_node *leaf = path.leaf;
    unsigned count = le16_get(leaf->header.count);
    if (count > EXTENT_INLINE_AGAIN)
        return 0;
    memcpy(few, leaf->extent, count * sizeof(few[0]));
    rc = tree_remove(&map->tree, &path);
    if (rc < 0)
        return rc;
    map_store(map);
    memcpy(map->edit->extent, few, count * sizeof(few[0]));
    map->edit->layout = DXF_LAYOUT_INLINE;
    map->edit->count = (uint8_t)count;
    return 0;
}

static void array_insert(struct dxf_extent *array, unsigned count, unsigned index,
                         const struct extent *extent)
{
    memmove(&array[index + 1], &array[index], (count - index) * sizeof(array[0]));
    raw_set(&array[index], extent);
}

/* The place's leaf is full. At the end of the map the new leaf gets the new extent alone, so that a
 * file that is only appended to has full leaves. */
static int place_split(struct extent_map *map, struct extent_place *place,
                       const struct extent *extent)
{
    uint64_t block;
    void *bytes;
    unsigned count = place->count, index = place->index;
    unsigned keep = index == count && place->path.high == UINT64_MAX ? count : count / 2;

    int rc = tree_leaf_new(&map->tree, place->path.node[0], &block, &bytes);
    if (rc < 0)
        return rc;
    struct dxf_node *right = bytes;
    if (keep == count) {
        raw_set(&right->extent[0], extent);
        right->header.count = le16_make(1);
    } else {
        struct dxf_extent *left = place_edit(map, place);
        if (left == NULL)
            return -ENOMEM;
        memcpy(right->extent, &left[keep], (count - keep) * sizeof(left[0]));
        memset(&left[keep], 0, (count - keep) * sizeof(left[0]));
        if (index <= keep)
            array_insert(left, keep, index, extent);
        else
            array_insert(right->extent, count - keep, index - keep, extent);
        place_set_count(map, place, keep + (index <= keep));
        right->header.count = le16_make((uint16_t)(count - keep + (index > keep)));
    }
    rc = tree_add(&map->tree, &place->path, raw_logical(&right->extent[0]), block);
    if (rc < 0)
        return rc;
    map_store(map);
    return 0;
}

int extent_place_add(struct extent_map *map, struct extent_place *place,
                     const struct extent *extent)
{
    int rc;
    if (!map_is_tree(map) && place->count == DXF_INLINE_EXTENTS) {
        rc = map_grow_out(map);
        if (rc == 0)
            rc = extent_map_find(map, extent->logical, place);
        if (rc < 0)
            return rc;
    }
    rc = place_fit(map, place, extent);
    if (rc < 0)
        return rc;
    if (map_is_tree(map) && place->count == DXF_NODE_ENTRIES)
        return place_split(map, place, extent);

    struct dxf_extent *array = place_edit(map, place);
    if (array == NULL)
        return -ENOMEM;
    array_insert(array, place->count, place->index, extent);
    place_set_count(map, place, place->count + 1);
    return 0;
}

int extent_place_delete(struct extent_map *map, struct extent_place *place)
{
    int rc;
    if (map_is_tree(map) && place->count == 1) {
        rc = tree_remove(&map->tree, &place->path);
        if (rc < 0)
            return rc;
        map_store(map);
        return map_grow_in(map);
    }
    struct dxf_extent *array = place_edit(map, place);
    if (array == NULL)
        return -ENOMEM;
    memmove(&array[place->index], &array[place->index + 1],
            (place->count - place->index - 1) * sizeof(array[0]));
    memset(&array[place->count - 1], 0, sizeof(array[0]));
    place_set_count(map, place, place->count - 1);
    return map_grow_in(map);
}
