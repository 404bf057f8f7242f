/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "metadata.h"

#include "image.h"

#include <inttypes.h>
#include <stdio.h>

static void range(uint64_t offset, uint64_t length, const char *what)
{
    printf("%" PRIu64 " %" PRIu64 " %s\n", offset, length, what);
}

static uint64_t offset_of(const void *place)
{
    return (uint64_t)((const uint8_t *)place - image_base);
}

/* An inode without its times, which are in no checksum. */
static void inode_ranges(const struct dxf_inode *inode, const char *what)
{
    range(offset_of(inode), offsetof(struct dxf_inode, atime), what);
    range(offset_of(&inode->parent), sizeof(*inode) - offsetof(struct dxf_inode, parent), what);
}

static void leaf_ranges(const struct dxf_dir_leaf *leaf)
{
    range(offset_of(leaf), sizeof(leaf->header), "leaf");
    for (uint32_t at = 0; at < sizeof(leaf->entries);) {
        const struct dxf_dirent *entry = (const void *)(leaf->entries + at);
        range(offset_of(entry), sizeof(*entry) + entry->name_length, "entry");
        at += le16_get(entry->length);
    }
}

void metadata_list(const uint64_t *owners, unsigned count, const void *orphans)
{
    uint64_t lines = (image_blocks + DXF_LINE_BITS - 1) / DXF_LINE_BITS;

    range(0, DXF_BLOCK_SIZE, "superblock");
    range((uint64_t)DXF_SPARE_BLOCK * DXF_BLOCK_SIZE, DXF_BLOCK_SIZE, "spare");
    for (unsigned i = 0; i < DXF_RETIRE_SLOTS; i++)
        range((uint64_t)DXF_JOURNAL_BLOCK * DXF_BLOCK_SIZE + i * DXF_RETIRE_STRIDE,
              sizeof(struct dxf_retire), "retire");
    range((uint64_t)DXF_INTENT_BLOCK * DXF_BLOCK_SIZE, DXF_BLOCK_SIZE, "intents");
    range((uint64_t)DXF_BADBLOCK_BLOCK * DXF_BLOCK_SIZE, DXF_BLOCK_SIZE, "badblocks");
    range(offset_of(image_line(0)), lines * DXF_LINE_SIZE, "bitmap");
    inode_ranges(image_anchor(), "anchor");
    for (uint64_t ino = 0; ino < 64; ino++)
        if (ino != 0 && le16_get(image_record(ino)->mode) != 0)
            inode_ranges(image_record(ino), "inode");
    range(offset_of(image_inode_line(0)), DXF_LINE_SIZE * 4, "inodebitmap");
    range(offset_of(orphans), DXF_BLOCK_SIZE, "orphans");
    for (uint64_t block = 512; block < image_blocks; block++) {
        const struct dxf_block_header *header = image_block(block);
        uint64_t owner = le64_get(header->owner);
        bool wanted = owner < 16;
        for (unsigned i = 0; i < count; i++)
            wanted |= owner == owners[i];
        if (!wanted)
            continue;
        if (image_has_header(block, DXF_MAGIC_EXTENT_NODE, owner) ||
            image_has_header(block, DXF_MAGIC_DIR_NODE, owner))
            range(block * DXF_BLOCK_SIZE, DXF_BLOCK_SIZE, "node");
        else if (image_has_header(block, DXF_MAGIC_CHAIN, owner))
            range(block * DXF_BLOCK_SIZE, DXF_BLOCK_SIZE, "chain");
        else if (image_has_header(block, DXF_MAGIC_DIR_LEAF, owner))
            leaf_ranges(image_block(block));
    }
}
