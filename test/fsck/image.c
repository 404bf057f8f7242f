/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

uint8_t *image_base;
uint64_t image_blocks;

void *image_block(uint64_t block)
{
    if (block >= image_blocks) {
        fprintf(stderr, "image: block %" PRIu64 " is outside\n", block);
        exit(1);
    }
    return image_base + block * DXF_BLOCK_SIZE;
}

_Noreturn void image_missing(const char *what)
{
    fprintf(stderr, "image: no %s\n", what);
    exit(1);
}

/* ---- finding things ------------------------------------------------------------------------------ */

struct dxf_inode *image_anchor(void)
{
    return image_block(DXF_ANCHOR_BLOCK);
}

/* Block of the table, whose map is inline in a small pool. */
void *image_table_block(uint64_t logical)
{
    for (unsigned i = 0; i < image_anchor()->count; i++) {
        uint64_t word0 = le64_get(image_anchor()->extent[i].word0);
        uint64_t first = word0 >> DXF_EXTENT_LOGICAL_SHIFT;
        if (logical >= first && logical - first <= (word0 & DXF_EXTENT_LENGTH_MASK))
            return image_block(
                (le64_get(image_anchor()->extent[i].word1) & DXF_EXTENT_PHYSICAL_MASK) + logical -
                first);
    }
    image_missing("block of the inode table");
}

struct dxf_inode *image_record(uint64_t ino)
{
    return (struct dxf_inode *)image_table_block(1 + ino / DXF_INODES_PER_BLOCK) +
           ino % DXF_INODES_PER_BLOCK;
}

struct dxf_bitmap_line *image_inode_line(uint64_t ino)
{
    return (struct dxf_bitmap_line *)image_table_block(0) + ino / DXF_LINE_BITS;
}

struct dxf_bitmap_line *image_line(uint64_t block)
{
    return (struct dxf_bitmap_line *)image_block(le64_get(IMAGE_SUPER->bitmap_start)) +
           block / DXF_LINE_BITS;
}

bool image_has_header(uint64_t block, uint32_t magic, uint64_t owner)
{
    const struct dxf_block_header *header = image_block(block);
    return le32_get(header->magic) == magic && le64_get(header->owner) == owner &&
           le64_get(header->self) == block &&
           (image_line(block)->bits[block % DXF_LINE_BITS / 64].raw >> block % DXF_LINE_BITS % 64 &
            1);
}

/* The n-th block of this kind of an owner. */
void *image_owned(uint32_t magic, uint64_t owner, unsigned level, unsigned n)
{
    for (uint64_t block = 512; block < image_blocks; block++)
        if (image_has_header(block, magic, owner) &&
            le16_get(((struct dxf_block_header *)image_block(block))->level) == level && n-- == 0)
            return image_block(block);
    image_missing("block of this kind");
}
