/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changing an extent map: insert, remove, mark, shift.
 *
 * Each works extent by extent and may stop between two of them; what is then staged is a valid map,
 * and going on in another transaction leads to the same end. A failure after the first change marks
 * the transaction, which can then only be aborted.
 */
#include "meta/extent.h"

#include "base/endian.h"
#include "meta/extent_tree.h"

#include <errno.h>

/* What one more step may add to a transaction: a leaf, two inner nodes, bitmap lines at both ends. */
#define EXTENT_STEP_BYTES (3 * DXF_BLOCK_SIZE + 512)
/* ... and each DXF_LINE_BITS blocks that are given back: a bitmap line and its record. */
#define EXTENT_LINE_BYTES (DXF_LINE_SIZE + 16)

static int map_fail(struct extent_map *map, int error)
{
    if (error < 0 && map->tree.edit->error == 0)
        map->tree.edit->error = error;
    return error;
}

static void blocks_add(struct extent_map *map, uint64_t change)
{
    map->edit->blocks = le64_make(le64_get(map->edit->blocks) + change);
}

/* Does `right` go on where `left` ends? */
static bool extent_continues(const struct extent *left, const struct extent *right)
{
    return extent_end(left) == right->logical && left->physical + left->length == right->physical &&
           left->unwritten == right->unwritten &&
           left->length + right->length <= DXF_EXTENT_LENGTH_MAX;
}

/* Adds an extent of at most DXF_EXTENT_LENGTH_MAX blocks, merged with what it touches. */
static int map_insert(struct extent_map *map, struct extent extent)
{
    struct extent_place place, left_place, right_place;
    struct extent left = { 0 }, right = { 0 };
    bool join_left = false, join_right = false;

    int rc = extent_map_find(map, extent.logical, &place);
    if (rc < 0)
        return rc;

    right_place = place;
    rc = extent_place_settle(map, &right_place);
    if (rc == 0) {
        right = extent_place_get(&right_place);
        if (right.logical < extent_end(&extent))
            return -EEXIST;
        join_right = extent_continues(&extent, &right);
    } else if (rc != -ENOENT) {
        return rc;
    }
    left_place = place;
    rc = extent_place_back(map, &left_place);
    if (rc == 0) {
        left = extent_place_get(&left_place);
        join_left = extent_continues(&left, &extent);
    } else if (rc != -ENOENT) {
        return rc;
    }

    if (join_left) {
        left.length += extent.length;
        if (join_right && left.length + right.length <= DXF_EXTENT_LENGTH_MAX) {
            left.length += right.length;
            rc = extent_place_delete(map, &right_place);
            if (rc == 0)
                rc = extent_map_find(map, left.logical, &left_place);
            if (rc < 0)
                return rc;
        }
        return extent_place_set(map, &left_place, &left);
    }
    if (join_right) {
        extent.length += right.length;
        return extent_place_set(map, &right_place, &extent);
    }
    return extent_place_add(map, &place, &extent);
}

int extent_insert(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                  const struct extent *extent)
{
    struct extent_map map;
    struct extent rest = *extent;

    if (extent->length == 0 || extent->logical >= EXTENT_LOGICAL_END ||
        extent->length > EXTENT_LOGICAL_END - extent->logical)
        return -EFBIG;
    extent_map_edit(&map, meta, txn, ino, inode);
    while (rest.length > 0) {
        struct extent part = rest;
        if (part.length > DXF_EXTENT_LENGTH_MAX)
            part.length = DXF_EXTENT_LENGTH_MAX;
        int rc = map_insert(&map, part);
        if (rc < 0)
            return map_fail(&map, rc);
        blocks_add(&map, part.length);
        rest.logical += part.length;
        rest.physical += part.length;
        rest.length -= part.length;
    }
    return 0;
}

/* Takes [from, to) out of the extent at the place, of which it is a part. */
static int map_cut(struct extent_map *map, struct extent_place *place, uint64_t from, uint64_t to)
{
    struct extent extent = extent_place_get(place);
    struct extent left = extent, right = extent;

    left.length = from - extent.logical;
    right.length = extent_end(&extent) - to;
    right.physical += to - extent.logical;
    right.logical = to;

    if (left.length == 0 && right.length == 0)
        return extent_place_delete(map, place);
    if (left.length == 0)
        return extent_place_set(map, place, &right);
    int rc = extent_place_set(map, place, &left);
    if (rc < 0 || right.length == 0)
        return rc;
    place->index++;
    return extent_place_add(map, place, &right);
}

/* How many blocks of one extent the transaction still takes back; at least a piece's worth, so that
 * a new transaction always makes some way. */
static uint64_t remove_room(const struct txn *txn, uint64_t length)
{
    while (length > DXF_PIECE_BLOCKS) {
        uint64_t lines = length / DXF_LINE_BITS + 2;
        if (lines * EXTENT_LINE_BYTES < UINT32_MAX / 2 &&
            txn_has_room(txn, (uint32_t)(EXTENT_STEP_BYTES + lines * EXTENT_LINE_BYTES)))
            break;
        length /= 2;
    }
    return length;
}

int extent_remove(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                  uint64_t logical, uint64_t length, unsigned max_extents, unsigned free_flags,
                  uint64_t *ret_left)
{
    struct extent_map map;
    struct extent_place place;
    uint64_t end = length > UINT64_MAX - logical ? UINT64_MAX : logical + length;
    uint64_t left = 0;

    extent_map_edit(&map, meta, txn, ino, inode);
    for (unsigned done = 0; end > logical; done++) {
        int rc = extent_map_find_before(&map, end, &place);
        if (rc == -ENOENT)
            break;
        if (rc < 0)
            return map_fail(&map, rc);
        struct extent extent = extent_place_get(&place);
        if (extent_end(&extent) <= logical)
            break;

        uint64_t from = extent.logical > logical ? extent.logical : logical;
        uint64_t to = extent_end(&extent) < end ? extent_end(&extent) : end;
        if (done > 0 && (done >= max_extents || !txn_has_room(txn, EXTENT_STEP_BYTES))) {
            left = to - logical;
            break;
        }
        from = to - remove_room(txn, to - from);
        rc = space_free(txn, extent.physical + (from - extent.logical), to - from, free_flags);
        if (rc == 0)
            rc = map_cut(&map, &place, from, to);
        if (rc < 0)
            return map_fail(&map, rc);
        blocks_add(&map, -(to - from));
        end = from;
    }
    *ret_left = left;
    return 0;
}

int extent_mark(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                uint64_t logical, uint64_t length, bool unwritten, unsigned max_extents,
                uint64_t *ret_left)
{
    struct extent_map map;
    struct extent_place place;
    uint64_t end = length > UINT64_MAX - logical ? UINT64_MAX : logical + length;
    uint64_t left = 0;

    extent_map_edit(&map, meta, txn, ino, inode);
    for (unsigned done = 0; logical < end;) {
        int rc = extent_map_find(&map, logical, &place);
        if (rc == 0)
            rc = extent_place_settle(&map, &place);
        if (rc == -ENOENT)
            break;
        if (rc < 0)
            return map_fail(&map, rc);
        struct extent extent = extent_place_get(&place);
        if (extent.logical >= end)
            break;

        uint64_t from = extent.logical > logical ? extent.logical : logical;
        uint64_t to = extent_end(&extent) < end ? extent_end(&extent) : end;
        if (extent.unwritten != unwritten) {
            if (done > 0 && (done >= max_extents || !txn_has_room(txn, EXTENT_STEP_BYTES))) {
                left = end - from;
                break;
            }
            struct extent part = { .logical = from,
                                   .physical = extent.physical + (from - extent.logical),
                                   .length = to - from,
                                   .unwritten = unwritten };
            rc = map_cut(&map, &place, from, to);
            if (rc == 0)
                rc = map_insert(&map, part);
            if (rc < 0)
                return map_fail(&map, rc);
            done++;
        }
        logical = to;
    }
    *ret_left = left;
    return 0;
}

/* Moves the extent at the place towards the start: those below are where they belong already. */
static int shift_down(struct extent_map *map, struct extent_place *place, uint64_t delta)
{
    struct extent extent = extent_place_get(place);
    struct extent_place before = *place;
    struct extent left;

    if (extent.logical < delta)
        return -EINVAL;
    extent.logical -= delta;
    int rc = extent_place_back(map, &before);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (rc == 0) {
        left = extent_place_get(&before);
        if (extent_end(&left) > extent.logical)
            return -EEXIST;
        if (extent_continues(&left, &extent)) {
            left.length += extent.length;
            rc = extent_place_delete(map, place);
            if (rc == 0)
                rc = extent_map_find(map, left.logical, &before);
            return rc < 0 ? rc : extent_place_set(map, &before, &left);
        }
    }
    return extent_place_set(map, place, &extent);
}

static int shift_up(struct extent_map *map, struct extent_place *place, uint64_t delta)
{
    struct extent extent = extent_place_get(place);

    if (extent_end(&extent) > EXTENT_LOGICAL_END - delta)
        return -EFBIG;
    extent.logical += delta;
    if (place->index + 1 < place->count) {
        struct extent_place after = *place;
        after.index++;
        if (extent_place_get(&after).logical < extent_end(&extent))
            return -EEXIST;
    }
    return extent_place_set(map, place, &extent);
}

/* Collapse: upwards from the cursor, the extent at the gap first. */
static int map_collapse(struct extent_map *map, uint64_t logical, uint64_t delta, uint64_t cursor,
                        unsigned max_extents, uint64_t *ret_cursor)
{
    struct extent_place place;

    if (cursor < logical)
        cursor = logical;
    for (unsigned done = 0;; done++) {
        int rc = extent_map_find(map, cursor, &place);
        if (rc == 0)
            rc = extent_place_settle(map, &place);
        if (rc == -ENOENT)
            break;
        if (rc < 0)
            return rc;
        struct extent extent = extent_place_get(&place);
        if (extent.logical < cursor)
            return -EINVAL; /* it reaches into the gap */
        if (done > 0 && (done >= max_extents || !txn_has_room(map->tree.edit, EXTENT_STEP_BYTES))) {
            *ret_cursor = extent.logical;
            return 0;
        }
        rc = shift_down(map, &place, delta);
        if (rc < 0)
            return rc;
        cursor = extent_end(&extent);
    }
    *ret_cursor = UINT64_MAX;
    return 0;
}

/* The extent that reaches over the block becomes two, which only a gap between them keeps apart. */
static int map_split(struct extent_map *map, uint64_t logical, bool *ret_split)
{
    struct extent_place place;

    int rc = extent_map_find_before(map, logical, &place);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    struct extent left = extent_place_get(&place), right = left;
    if (extent_end(&left) <= logical)
        return 0;
    left.length = logical - left.logical;
    right.logical = logical;
    right.physical += left.length;
    right.length -= left.length;
    *ret_split = true;
    rc = extent_place_set(map, &place, &left);
    if (rc < 0)
        return rc;
    place.index++;
    return extent_place_add(map, &place, &right);
}

/* Whether the last extent, if it is one of those that move, has room to. */
static int map_can_grow(const struct extent_map *map, uint64_t logical, uint64_t delta)
{
    struct extent_place place;

    int rc = extent_map_find_before(map, EXTENT_LOGICAL_END, &place);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    struct extent last = extent_place_get(&place);
    return extent_end(&last) > logical && extent_end(&last) > EXTENT_LOGICAL_END - delta ? -EFBIG
                                                                                         : 0;
}

/* Insert: downwards from the cursor, the last extent first. What may fail comes before all else: one
 * that reaches over `logical` is cut while nothing has moved. */
static int map_open_gap(struct extent_map *map, uint64_t logical, uint64_t delta, uint64_t cursor,
                        unsigned max_extents, uint64_t *ret_cursor)
{
    struct extent_place place;
    bool split = false;
    int rc = 0;

    if (cursor == 0 || cursor > EXTENT_LOGICAL_END) {
        cursor = EXTENT_LOGICAL_END;
        rc = map_can_grow(map, logical, delta);
    }
    if (rc == 0)
        rc = map_split(map, logical, &split);
    if (rc < 0)
        return rc;
    for (unsigned done = split; cursor > logical; done++) {
        rc = extent_map_find_before(map, cursor, &place);
        if (rc == -ENOENT)
            break;
        if (rc < 0)
            return rc;
        struct extent extent = extent_place_get(&place);
        if (extent_end(&extent) <= logical)
            break;
        if (done > 0 && (done >= max_extents || !txn_has_room(map->tree.edit, EXTENT_STEP_BYTES))) {
            *ret_cursor = extent_end(&extent);
            return 0;
        }
        rc = shift_up(map, &place, delta);
        if (rc < 0)
            return rc;
        cursor = extent.logical;
    }
    *ret_cursor = UINT64_MAX;
    return 0;
}

int extent_shift(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                 uint64_t logical, int64_t delta, uint64_t cursor, unsigned max_extents,
                 uint64_t *ret_cursor)
{
    struct extent_map map;
    int rc;

    if (delta == 0 || delta <= -(int64_t)EXTENT_LOGICAL_END || delta >= (int64_t)EXTENT_LOGICAL_END)
        return -EINVAL;
    extent_map_edit(&map, meta, txn, ino, inode);
    if (delta < 0)
        rc = map_collapse(&map, logical, (uint64_t)-delta, cursor, max_extents, ret_cursor);
    else
        rc = map_open_gap(&map, logical, (uint64_t)delta, cursor, max_extents, ret_cursor);
    return map_fail(&map, rc);
}
