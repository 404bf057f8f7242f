/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "poke.h"

#include <string.h>

/* The entry of a name, and the leaf it is in. */
struct dxf_dirent *poke_entry(uint64_t dir, const char *name, struct dxf_dir_leaf **ret_leaf)
{
    for (uint64_t block = 512; block < image_blocks; block++) {
        struct dxf_dir_leaf *leaf = image_block(block);
        if (!image_has_header(block, DXF_MAGIC_DIR_LEAF, dir))
            continue;
        for (uint32_t at = 0; at < sizeof(leaf->entries);) {
            struct dxf_dirent *entry = (void *)(leaf->entries + at);
            if (entry->name_length == strlen(name) &&
                memcmp(entry->name, name, entry->name_length) == 0) {
                if (ret_leaf)
                    *ret_leaf = leaf;
                return entry;
            }
            at += le16_get(entry->length);
        }
    }
    image_missing(name);
}

uint64_t poke_ino(const char *name)
{
    return le64_get(poke_entry(DXF_INO_ROOT, name, NULL)->inode);
}

struct dxf_inode *poke_inode(const char *name)
{
    return image_record(poke_ino(name));
}

void poke_seal(const char *name)
{
    seal_inode(poke_inode(name), poke_ino(name));
}

struct dxf_extent *poke_extent(const char *name)
{
    return &poke_inode(name)->extent[0];
}

void poke_flip(void *place)
{
    *(uint8_t *)place ^= 0x55;
}

void poke_set_bit(uint64_t block, bool on)
{
    le64 *word = &image_line(block)->bits[block % DXF_LINE_BITS / 64];
    uint64_t mask = 1ull << block % DXF_LINE_BITS % 64;
    *word = le64_make(on ? le64_get(*word) | mask : le64_get(*word) & ~mask);
    seal_bitmap_line(image_line(block), block / DXF_LINE_BITS);
}

struct dxf_orphan_line *poke_orphan_line(void)
{
    struct dxf_inode *table = image_record(DXF_INO_ORPHANS);
    if (table->layout != DXF_LAYOUT_INLINE)
        image_missing("orphan table");
    return image_block(le64_get(table->extent[0].word1) & DXF_EXTENT_PHYSICAL_MASK);
}

void poke_symlink_chain(void)
{
    poke_flip((uint8_t *)image_block(le64_get(poke_inode("long")->tree.root)) + 40);
}
