/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check, pass 6: the orphan table. What it rightly holds is work for the next mount.
 */
#include "tools/fsck_private.h"

#include <inttypes.h>
#include <string.h>

#define LINES_PER_BLOCK (DXF_BLOCK_SIZE / DXF_LINE_SIZE)

struct counts {
    uint64_t pending;
};

static int check_line(struct fsck *fsck, uint64_t offset, uint64_t number, struct counts *counts)
{
    const struct dxf_orphan_line *line = pool_at(fsck->pool, offset);
    const char *why = validate_orphan_line(line, number);
    struct dxf_orphan_line copy = { 0 };
    bool change = false, any = false;

    if (why == NULL && fsck_bytes_bad(fsck, line, sizeof(*line)))
        why = "it can not be read";
    if (why != NULL) {
        change = fsck_found(fsck, FSCK_ORPHAN_LINE, "line %" PRIu64 " (%s)", number, why);
    } else {
        copy = *line;
        for (unsigned i = 0; i < DXF_ORPHANS_PER_LINE; i++) {
            uint64_t ino = le64_get(line->inode[i]), place = number * DXF_ORPHANS_PER_LINE + i;
            const struct dxf_inode *inode = ino != 0 ? fsck_record(fsck, ino) : NULL;
            if (ino == 0)
                continue;
            if (inode != NULL && fsck->inode[ino].type != 0 &&
                le32_get(inode->orphan) == place + 1) {
                fsck->inode[ino].flags |= FSCK_KNOWN_ORPHAN;
                counts->pending++;
                any = true;
            } else if (fsck_found(fsck, FSCK_ORPHAN_PLACE, "place %" PRIu64 ", inode %" PRIu64,
                                  place, ino)) {
                copy.inode[i] = le64_make(0);
                change = true;
            } else {
                any = true;
            }
        }
        if (any)
            seal_orphan_line(&copy, number);
        else
            memset(&copy, 0, sizeof(copy));
    }
    if (!change)
        return 0;
    int error = fsck_put(fsck, offset, &copy, sizeof(copy));
    return error == 0 ? fsck_commit(fsck) : error;
}

/* An empty table; the blocks of the old one are free. */
static int make_empty(struct fsck *fsck, const struct fsck_map *map)
{
    struct dxf_inode record = *fsck_record(fsck, DXF_INO_ORPHANS);

    record.layout = DXF_LAYOUT_NONE;
    record.count = 0;
    record.size = record.blocks = record.xattr = le64_make(0);
    memset(record.inlined, 0, sizeof(record.inlined));
    int error = fsck_put_record(fsck, DXF_INO_ORPHANS, &record);
    if (error == 0)
        error = fsck_commit(fsck);
    for (size_t i = 0; i < map->extents.count && error == 0; i++)
        fsck_unclaim(fsck, map->extents.extent[i].physical, map->extents.extent[i].length);
    for (size_t i = 0; i < map->nodes.count && error == 0; i++)
        fsck_unclaim(fsck, map->nodes.block[i], 1);
    return error;
}

static int check_table(struct fsck *fsck, struct counts *counts)
{
    const struct dxf_inode *inode = fsck_record(fsck, DXF_INO_ORPHANS);
    struct fsck_map map = { 0 };
    uint64_t end = 0;

    int error = fsck_map_walk(fsck, DXF_INO_ORPHANS, inode, 0, &map);
    const char *why = map.damaged ? "its map is damaged" : NULL;
    for (size_t i = 0; i < map.extents.count && why == NULL; i++) {
        const struct fsck_extent *extent = &map.extents.extent[i];
        if (extent->logical != end)
            why = "it has a hole";
        end = extent->logical + extent->length;
    }
    uint64_t size = le64_get(inode->size);
    if (why == NULL && (size % DXF_BLOCK_SIZE != 0 || size / DXF_BLOCK_SIZE > end ||
                        end > UINT32_MAX / (LINES_PER_BLOCK * DXF_ORPHANS_PER_LINE)))
        why = "its size does not fit its blocks";
    if (error == 0 && why != NULL) {
        if (fsck_found(fsck, FSCK_ORPHAN_TABLE, "inode %u (%s)", (unsigned)DXF_INO_ORPHANS, why))
            error = make_empty(fsck, &map);
    }
    for (size_t i = 0; i < map.extents.count && error == 0 && why == NULL; i++) {
        const struct fsck_extent *extent = &map.extents.extent[i];
        for (uint64_t b = 0; b < extent->length && error == 0; b++) {
            uint64_t block = extent->logical + b;
            for (unsigned l = 0; l < LINES_PER_BLOCK && block < size / DXF_BLOCK_SIZE && error == 0;
                 l++)
                error = check_line(fsck,
                                   ((extent->physical + b) << DXF_BLOCK_SHIFT) + l * DXF_LINE_SIZE,
                                   block * LINES_PER_BLOCK + l, counts);
        }
    }
    fsck_map_free(&map);
    return error;
}

/* Inodes that say they are orphans, and are not in the table. */
static int check_inode(struct fsck *fsck, uint64_t ino)
{
    const struct dxf_inode *inode = fsck_record(fsck, ino);
    uint32_t orphan = le32_get(inode->orphan);

    if (orphan == 0 || fsck->inode[ino].flags & FSCK_KNOWN_ORPHAN ||
        !fsck_found(fsck, FSCK_INODE_ORPHAN, "inode %" PRIu64 ", place %" PRIu32, ino, orphan - 1))
        return 0;
    struct dxf_inode record = *inode;
    record.orphan = le32_make(0);
    if (le32_get(record.links) == 0)
        record.links = le32_make(1); /* pass 8 knows better */
    if ((le16_get(record.mode) & S_IFMT) == S_IFDIR && le64_get(record.parent) == 0)
        record.parent = le64_make(DXF_INO_ROOT);
    int error = fsck_put_record(fsck, ino, &record);
    return error == 0 ? fsck_commit(fsck) : error;
}

int fsck_pass_orphans(struct fsck *fsck)
{
    struct counts counts = { 0 };
    int error = 0;

    if (fsck->inode[DXF_INO_ORPHANS].type != 0)
        error = check_table(fsck, &counts);
    for (uint64_t ino = DXF_INO_ROOT; ino < fsck->capacity && error == 0; ino++)
        if (fsck->inode[ino].type != 0)
            error = check_inode(fsck, ino);
    if (error == 0 && counts.pending > 0)
        fsck_note(fsck, FSCK_ORPHAN_PENDING, "%" PRIu64 " inodes", counts.pending);
    return error;
}
