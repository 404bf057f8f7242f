/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The extent map of a file: looking things up. Changing it is in extent_change.c, places in the map
 * in extent_tree.c.
 */
#include "meta/extent.h"

#include "base/endian.h"
#include "meta/extent_tree.h"

#include <errno.h>

int extent_lookup(struct meta *meta, const struct txn *txn, uint64_t ino,
                  const struct dxf_inode *inode, uint64_t logical, struct extent *ret_extent)
{
    struct extent_map map;
    struct extent_place place;

    if (logical >= EXTENT_LOGICAL_END)
        return -EFBIG;
    extent_map_view(&map, meta, txn, ino, inode);
    int rc = extent_map_find(&map, logical, &place);
    if (rc == 0)
        rc = extent_place_settle(&map, &place);
    if (rc < 0 && rc != -ENOENT)
        return rc;

    struct extent hole = { .logical = logical, .length = EXTENT_LOGICAL_END - logical };
    if (rc == 0) {
        struct extent extent = extent_place_get(&place);
        if (extent.logical <= logical) {
            *ret_extent = extent;
            return 0;
        }
        hole.length = extent.logical - logical;
    }
    *ret_extent = hole;
    return 0;
}

int extent_next(struct meta *meta, const struct txn *txn, uint64_t ino,
                const struct dxf_inode *inode, uint64_t logical, struct extent *ret_extent)
{
    struct extent_map map;
    struct extent_place place;

    extent_map_view(&map, meta, txn, ino, inode);
    int rc = extent_map_find(&map, logical, &place);
    if (rc == 0)
        rc = extent_place_settle(&map, &place);
    if (rc < 0)
        return rc;
    *ret_extent = extent_place_get(&place);
    return 0;
}

int extent_last(struct meta *meta, const struct txn *txn, uint64_t ino,
                const struct dxf_inode *inode, struct extent *ret_extent)
{
    struct extent_map map;
    struct extent_place place;

    extent_map_view(&map, meta, txn, ino, inode);
    int rc = extent_map_find_before(&map, EXTENT_LOGICAL_END, &place);
    if (rc < 0)
        return rc;
    *ret_extent = extent_place_get(&place);
    return 0;
}

int extent_walk(struct meta *meta, const struct txn *txn, uint64_t ino,
                const struct dxf_inode *inode, uint64_t logical, uint64_t length,
                int (*fn)(void *arg, const struct extent *extent), void *arg)
{
    struct extent_map map;
    struct extent_place place;
    uint64_t end = length > UINT64_MAX - logical ? UINT64_MAX : logical + length;

    if (length == 0)
        return 0;
    extent_map_view(&map, meta, txn, ino, inode);
    int rc = extent_map_find(&map, logical, &place);
    if (rc < 0)
        return rc;
    for (;;) {
        rc = extent_place_settle(&map, &place);
        if (rc < 0)
            return rc == -ENOENT ? 0 : rc;
        struct extent extent = extent_place_get(&place);
        if (extent.logical >= end)
            return 0;
        rc = fn(arg, &extent);
        if (rc != 0)
            return rc;
        place.index++;
    }
}

struct node_walk {
    int (*fn)(void *arg, uint64_t block);
    void *arg;
};

static int walk_node(void *arg, uint64_t block, bool leaf)
{
    const struct node_walk *walk = arg;
    (void)leaf;
    return walk->fn(walk->arg, block);
}

int extent_walk_nodes(struct meta *meta, uint64_t ino, const struct dxf_inode *inode,
                      int (*fn)(void *arg, uint64_t block), void *arg)
{
    struct extent_map map;
    struct node_walk walk = { .fn = fn, .arg = arg };

    extent_map_view(&map, meta, NULL, ino, inode);
    return tree_walk_blocks(&map.tree, walk_node, &walk);
}
