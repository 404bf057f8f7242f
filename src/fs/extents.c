/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where files lie and what is mapped of them, for tools and for who maps: as it was a moment ago, since
 * nothing is locked between looking and answering.
 */
#include "fs/mapped.h"
#include "fs/shift_op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- as the map has them ------------------------------------------------------------------------ */

/* Calls fn for each extent that touches the blocks, with the map locked shared. */
static int walk(struct fs *fs, const struct fs_request *rq, struct inode *inode, uint64_t first,
                uint64_t count, int (*fn)(void *arg, const struct extent *extent), void *arg)
{
    const struct dxf_inode *record;
    int r;

    r = shift_look(fs, rq, inode);
    if (r < 0)
        return r;
    r = inode_view(fs->meta, NULL, inode->ino, &record);
    if (r == 0)
        r = record_check_regular(record);
    if (r == 0)
        r = extent_walk(fs->meta, NULL, inode->ino, record, first, count, fn, arg);
    rwlock_read_release(&inode->map_lock);
    return r;
}

struct extent_reader {
    int (*fn)(void *arg, const struct fs_extent *extent);
    void *arg;
};

static int give_extent(void *arg, const struct extent *extent)
{
    struct extent_reader *reader = arg;
    struct fs_extent out = { .offset = extent->logical << DXF_BLOCK_SHIFT,
                             .pool_offset = extent->physical << DXF_BLOCK_SHIFT,
                             .length = extent->length << DXF_BLOCK_SHIFT,
                             .unwritten = extent->unwritten };

    return reader->fn(reader->arg, &out);
}

int fs_extents(struct fs *fs, const struct fs_request *rq, uint64_t ino,
               int (*fn)(void *arg, const struct fs_extent *extent), void *arg)
{
    struct extent_reader reader = { .fn = fn, .arg = arg };
    struct inode *inode;
    int r;

    r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    r = walk(fs, rq, inode, 0, EXTENT_LOGICAL_END, give_extent, &reader);
    inode_put(fs, inode);
    return r;
}

/* ---- with what is mapped of them ------------------------------------------------------------------ */

#define BATCH 64u

/* Extents are copied with the map locked, and looked up in the registry without: its lock comes first. */
struct batch {
    struct extent extents[BATCH];
    unsigned count;
};

struct parts {
    struct fs *fs;
    struct inode *inode;
    struct fs_part *list;
    unsigned count, max;
    uint64_t looked_at; /* the chunk last looked at */
    bool looked_piece;
};

static int note_extent(void *arg, const struct extent *extent)
{
    struct batch *batch = arg;

    if (batch->count == BATCH)
        return 1;
    batch->extents[batch->count++] = *extent;
    return 0;
}

/* Several extents may make one piece. */
static int look_for_piece(struct parts *parts, uint64_t chunk, bool *ret_piece)
{
    struct chunk_look look;

    if (chunk != parts->looked_at) {
        int r = chunk_look(parts->fs, parts->inode, chunk, &look);

        if (r < 0)
            return r;
        parts->looked_at = chunk;
        parts->looked_piece = look.piece != 0;
    }
    *ret_piece = parts->looked_piece;
    return 0;
}

/* The blocks of the extent from `at` on that are alike: where they end, and what they are. */
static int find_part(struct parts *parts, const struct extent *extent, uint64_t at,
                     uint64_t *ret_end, struct fs_part *part)
{
    struct dax_registry *registry = &parts->fs->dax;
    struct dax_file *file = &parts->inode->dax;
    uint64_t end = extent->logical + extent->length, chunk = chunk_of_block(at), mapped;
    int r = 0;

    if (extent->physical % CHUNK_BLOCKS == extent->logical % CHUNK_BLOCKS) {
        if (at % CHUNK_BLOCKS == 0 && end - at >= CHUNK_BLOCKS) {
            end -= end % CHUNK_BLOCKS;
            part->piece = true;
        } else {
            if (end > (chunk + 1) * CHUNK_BLOCKS)
                end = (chunk + 1) * CHUNK_BLOCKS;
            r = look_for_piece(parts, chunk, &part->piece);
        }
    }
    mapped = dax_next(registry, file, chunk, chunk_of_block(end - 1) + 1, DAX_ANY, NULL);
    part->mapped = mapped == chunk;
    part->pinned =
        part->mapped && dax_next(registry, file, chunk, chunk + 1, DAX_PINS, NULL) == chunk;
    if (part->mapped)
        mapped++;
    if (mapped != UINT64_MAX && end > mapped * CHUNK_BLOCKS)
        end = mapped * CHUNK_BLOCKS;
    *ret_end = end;
    return r;
}

/* Adds the parts of the extent; 1: there is no room for all. */
static int add_extent(struct parts *parts, const struct extent *extent)
{
    struct fs_part *last = NULL;
    uint64_t end;

    for (uint64_t at = extent->logical; at < extent->logical + extent->length; at = end) {
        struct fs_part part = { .unwritten = extent->unwritten };
        int r = find_part(parts, extent, at, &end, &part);

        if (r < 0)
            return r;
        part.length = (end - at) << DXF_BLOCK_SHIFT;
        if (last && last->piece == part.piece && last->mapped == part.mapped &&
            last->pinned == part.pinned) {
            last->length += part.length;
            continue;
        }
        if (parts->count == parts->max)
            return 1;
        part.offset = at << DXF_BLOCK_SHIFT;
        part.pool_offset = (extent->physical + (at - extent->logical)) << DXF_BLOCK_SHIFT;
        last = &parts->list[parts->count++];
        *last = part;
    }
    return 0;
}

/* -EUCLEAN: it has nothing there, or nothing behind the one before it. */
static int cut_to(struct extent *extent, uint64_t first, uint64_t end)
{
    if (extent->logical + extent->length <= first || extent->logical >= end)
        return -EUCLEAN;
    if (extent->logical < first) {
        extent->physical += first - extent->logical;
        extent->length -= first - extent->logical;
        extent->logical = first;
    }
    if (extent->logical + extent->length > end)
        extent->length = end - extent->logical;
    return 0;
}

/* Until the range is done, 0, or there is no room, 1. */
static int collect_parts(struct parts *parts, const struct fs_request *rq, uint64_t first,
                         uint64_t end)
{
    struct batch batch;
    int r;

    do {
        batch.count = 0;
        r = walk(parts->fs, rq, parts->inode, first, end - first, note_extent, &batch);
        for (unsigned i = 0; r >= 0 && i < batch.count; i++) {
            int added = cut_to(&batch.extents[i], first, end);

            if (added == 0)
                added = add_extent(parts, &batch.extents[i]);
            if (added != 0)
                return added;
            first = batch.extents[i].logical + batch.extents[i].length;
        }
    } while (r > 0);
    return r;
}

int fs_parts(struct fs *fs, const struct fs_request *rq, uint64_t ino, uint64_t offset,
             uint64_t length, struct fs_part *list, unsigned max, unsigned *ret_count,
             bool *ret_more)
{
    struct parts parts = { .fs = fs, .list = list, .max = max, .looked_at = UINT64_MAX };
    uint64_t first = offset >> DXF_BLOCK_SHIFT, end = EXTENT_LOGICAL_END;
    int r;

    if (length == 0 || offset > INT64_MAX)
        return -EINVAL;
    if (length <= INT64_MAX && (offset + length - 1) >> DXF_BLOCK_SHIFT < end)
        end = ((offset + length - 1) >> DXF_BLOCK_SHIFT) + 1;
    r = inode_get(fs, ino, &parts.inode);
    if (r < 0)
        return r;
    if (first < end)
        r = collect_parts(&parts, rq, first, end);
    inode_put(fs, parts.inode);
    if (r < 0)
        return r;
    *ret_count = parts.count;
    *ret_more = r > 0;
    return 0;
}

/* ---- the mappings ----------------------------------------------------------------------------------- */

struct mapping_list {
    struct fs_mapping *list;
    size_t count, max;
};

/* Under the registry's lock: nothing is allocated. */
static int note_mapping(void *arg, const struct mapping *mapping)
{
    struct mapping_list *list = arg;
    const struct inode *inode = mapping->owner;
    struct fs_mapping *out;

    if (list->count++ >= list->max)
        return 0;
    out = &list->list[list->count - 1];
    *out = (struct fs_mapping){ .ino = inode->ino,
                                .offset = mapping->node.start << DAX_CHUNK_SHIFT,
                                .pool_offset = mapping->offset,
                                .slot = mapping->slot,
                                .write = mapping->write,
                                .busy = mapping->state == MAPPING_BUSY,
                                .pinned = dax_is_pin(mapping) };
    strncpy(out->door, mapping->door->name, sizeof(out->door) - 1);
    return 0;
}

int fs_mappings(struct fs *fs, struct fs_mapping **ret_list, size_t *ret_count)
{
    struct mapping_list list = { .max = 64 };

    for (;;) {
        list.list = calloc(list.max, sizeof(*list.list));
        if (!list.list)
            return -ENOMEM;
        list.count = 0;
        dax_walk(&fs->dax, note_mapping, &list);
        if (list.count <= list.max)
            break;
        free(list.list);
        list.max = list.count + list.count / 8;
    }
    *ret_list = list.list;
    *ret_count = list.count;
    return 0;
}
