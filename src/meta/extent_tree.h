/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Places in an extent map: finding, setting, adding and deleting one extent, whether the map is inline
 * or a tree. Called by meta/extent.c and meta/extent_change.c only. Locks: extent.h.
 *
 * A place is good until the map is changed through another place, or through this one by add or
 * delete. Changes keep these invariants:
 *   E1 extents are in ascending order, in a leaf and from leaf to leaf, and do not overlap;
 *   E2 every extent lies whole within the range of keys that its leaf serves (tree.h, T1), so that one
 *      descent finds what covers a block;
 *   E3 no leaf is empty; a map without extents has DXF_LAYOUT_NONE;
 *   E4 inode.layout, count, tree.root and the nodes' part of inode.blocks follow each change.
 */
#ifndef DAXFUSE_META_EXTENT_TREE_H
#define DAXFUSE_META_EXTENT_TREE_H

#include "meta/extent.h"
#include "meta/tree.h"

struct extent_map {
    const struct dxf_inode *inode;
    struct dxf_inode *edit; /* the same, staged; NULL: read only */
    struct tree tree;       /* levels is 0 while the map is inline */
};

struct extent_place {
    struct tree_path path;          /* of a tree */
    const struct dxf_extent *array; /* the leaf's or the inode's extents */
    unsigned count;
    unsigned index; /* <= count */
};

void extent_map_view(struct extent_map *map, struct meta *meta, const struct txn *txn, uint64_t ino,
                     const struct dxf_inode *inode);
void extent_map_edit(struct extent_map *map, struct meta *meta, struct txn *txn, uint64_t ino,
                     struct dxf_inode *inode);

static inline uint64_t extent_end(const struct extent *extent)
{
    return extent->logical + extent->length;
}

/* The extent at a place with index < count. */
struct extent extent_place_get(const struct extent_place *place);

/* To the first extent that ends after logical, if the leaf that serves logical has one; else index is
 * count. Also in an empty map. -EUCLEAN. */
int extent_map_find(const struct extent_map *map, uint64_t logical, struct extent_place *ret_place);

/* From index == count on to the first extent of the next leaf. -ENOENT at the end of the map. */
int extent_place_settle(const struct extent_map *map, struct extent_place *place);

/* To the extent before the place. -ENOENT: there is none. */
int extent_place_back(const struct extent_map *map, struct extent_place *place);

/* To the last extent that begins before `end`. -ENOENT: there is none. */
int extent_map_find_before(const struct extent_map *map, uint64_t end,
                           struct extent_place *ret_place);

/* Another extent instead of the one at the place; E1 must hold with it. */
int extent_place_set(struct extent_map *map, struct extent_place *place,
                     const struct extent *extent);

/* A new extent before the one at the place, in the place's leaf; E1 must hold with it, and its first
 * block must be one that the leaf serves. -ENOSPC, -ENOMEM, -EUCLEAN. */
int extent_place_add(struct extent_map *map, struct extent_place *place,
                     const struct extent *extent);

int extent_place_delete(struct extent_map *map, struct extent_place *place);

#endif
