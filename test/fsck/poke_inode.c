/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damage to the inode table, its bitmap and records.
 */
#include "poke.h"

#include <string.h>
#include <sys/stat.h>

static void anchor_csum(void)
{
    poke_flip(&image_anchor()->generation);
}

/* The bitmap of blocks looks like that of inodes. */
static void anchor_on_bitmap(void)
{
    image_anchor()->extent[0].word1 = IMAGE_SUPER->bitmap_start;
}

/* The first blocks are where they are, the rest a block too early. */
static void anchor_shifted(void)
{
    struct dxf_inode *table = image_anchor();
    uint64_t word0 = le64_get(table->extent[0].word0), word1 = le64_get(table->extent[0].word1);
    uint64_t length = (word0 & DXF_EXTENT_LENGTH_MASK) + 1;

    if (length < 8 || table->count != 1)
        image_missing("single extent of the inode table");
    table->extent[0].word0 = le64_make(4 - 1);
    table->extent[1].word0 = le64_make(4ull << DXF_EXTENT_LOGICAL_SHIFT | (length - 4 - 1));
    table->extent[1].word1 = le64_make(word1 + 4 - 1);
    table->count = 2;
}

static void table_unwritten(void)
{
    struct dxf_extent *extent = &image_anchor()->extent[0];

    extent->word1 = le64_make(le64_get(extent->word1) | DXF_EXTENT_UNWRITTEN);
    seal_inode(image_anchor(), DXF_INO_TABLE);
}

/* The inodes of one block of the table, of files in many, are gone. */
static void table_hole(void)
{
    struct dxf_inode *table = image_anchor();
    uint64_t word0 = le64_get(table->extent[0].word0), word1 = le64_get(table->extent[0].word1);
    uint64_t length = (word0 & DXF_EXTENT_LENGTH_MASK) + 1, hole = 60;

    if (length < hole + 2 || table->count == DXF_INLINE_EXTENTS)
        image_missing("long extent of the inode table");
    memmove(&table->extent[2], &table->extent[1], (table->count - 1u) * sizeof(struct dxf_extent));
    table->extent[0].word0 = le64_make(hole - 1);
    table->extent[1].word0 =
        le64_make((hole + 1) << DXF_EXTENT_LOGICAL_SHIFT | (length - hole - 2));
    table->extent[1].word1 = le64_make(word1 + hole + 1);
    table->count++;
    table->blocks = le64_make(le64_get(table->blocks) - 1);
    seal_inode(table, DXF_INO_TABLE);
}

/* The first block of the table: the inode bitmap. The records are there. */
static void table_bitmap_hole(void)
{
    struct dxf_inode *table = image_anchor();
    uint64_t word0 = le64_get(table->extent[0].word0), word1 = le64_get(table->extent[0].word1);

    if ((word0 & DXF_EXTENT_LENGTH_MASK) == 0)
        image_missing("long extent of the inode table");
    table->extent[0].word0 = le64_make((1ull << DXF_EXTENT_LOGICAL_SHIFT) + word0 - 1);
    table->extent[0].word1 = le64_make(word1 + 1);
    table->blocks = le64_make(le64_get(table->blocks) - 1);
    seal_inode(table, DXF_INO_TABLE);
}

/* The number of an inode that goes has no line then. */
static void table_bitmap_hole_symlink(void)
{
    poke_symlink_chain();
    table_bitmap_hole();
}

static struct dxf_node *table_node(uint64_t block, unsigned level, unsigned count)
{
    struct dxf_node *node = image_block(block);

    memset(node, 0, sizeof(*node));
    node->header.magic = le32_make(DXF_MAGIC_EXTENT_NODE);
    node->header.self = le64_make(block);
    node->header.level = le16_make((uint16_t)level);
    node->header.count = le16_make((uint16_t)count);
    poke_set_bit(block, true);
    return node;
}

/* The map of the table is a tree. Of its nodes the one is damaged that has the last block. */
static void table_tree(void)
{
    struct dxf_inode *table = image_anchor();
    unsigned last = table->count - 1u;
    uint64_t root = image_blocks - 8, first = root + 1, second = root + 2;
    uint64_t word0 = le64_get(table->extent[last].word0), length = word0 & DXF_EXTENT_LENGTH_MASK;
    uint64_t end = (word0 >> DXF_EXTENT_LOGICAL_SHIFT) + length;
    struct dxf_node *node;

    if (length == 0)
        image_missing("long extent of the inode table");
    node = table_node(second, 0, 1);
    node->extent[0] = (struct dxf_extent){
        .word0 = le64_make(end << DXF_EXTENT_LOGICAL_SHIFT),
        .word1 = le64_make(le64_get(table->extent[last].word1) + length),
    };
    seal_block(&node->header);
    poke_flip(&node->extent[0]);
    table->extent[last].word0 = le64_make(word0 - 1);
    node = table_node(first, 0, last + 1);
    memcpy(node->extent, table->extent, (last + 1) * sizeof(struct dxf_extent));
    seal_block(&node->header);
    node = table_node(root, 1, 2);
    node->index[0].child = le64_make(first);
    node->index[1] = (struct dxf_index){ le64_make(end), le64_make(second) };
    seal_block(&node->header);
    memset(table->inlined, 0, sizeof(table->inlined));
    table->layout = DXF_LAYOUT_TREE;
    table->count = 2;
    table->tree.root = le64_make(root);
    table->blocks = le64_make(le64_get(table->blocks) + 3);
    seal_inode(table, DXF_INO_TABLE);
}

static void table_size(void)
{
    image_anchor()->size = le64_make(le64_get(image_anchor()->size) + DXF_BLOCK_SIZE);
    seal_inode(image_anchor(), DXF_INO_TABLE);
}

static void inode_line_csum(void)
{
    poke_flip(&image_inode_line(600)->bits[2]);
}

static void set_inode_bit(uint64_t ino, bool on)
{
    le64 *word = &image_inode_line(ino)->bits[ino % DXF_LINE_BITS / 64];
    uint64_t mask = 1ull << ino % DXF_LINE_BITS % 64;
    *word = le64_make(on ? le64_get(*word) | mask : le64_get(*word) & ~mask);
    seal_bitmap_line(image_inode_line(ino), ino / DXF_LINE_BITS);
}

static void inode_leaked(void)
{
    uint64_t ino = DXF_INO_FIRST;
    while (le16_get(image_record(ino)->mode) != 0)
        ino++;
    set_inode_bit(ino, true);
}

static void inode_unmarked(void)
{
    set_inode_bit(poke_ino("small"), false);
}

static void inode_csum(void)
{
    poke_flip(&poke_inode("small")->uid);
}

/* The record of a later one, with its blocks, where it does not belong: the other has them. */
static void inode_copy(void)
{
    *poke_inode("small") = *poke_inode("second");
}

static void inode_copy_tree(void)
{
    *poke_inode("small") = *poke_inode("spread");
}

static void inode_block_of_another(void)
{
    poke_extent("small")->word1 = poke_extent("second")->word1;
}

static void inode_bad(void)
{
    poke_inode("small")->layout = 77;
    poke_seal("small");
}

static void dir_inode_bad(void)
{
    poke_inode("tree")->layout = 77;
    poke_seal("tree");
}

static void root_csum(void)
{
    poke_flip(&image_record(DXF_INO_ROOT)->uid);
}

static void root_gone(void)
{
    memset(image_record(DXF_INO_ROOT), 0, sizeof(struct dxf_inode));
}

static void root_bad(void)
{
    image_record(DXF_INO_ROOT)->layout = 77;
    seal_inode(image_record(DXF_INO_ROOT), DXF_INO_ROOT);
}

static void inode_blocks(void)
{
    poke_inode("spread")->blocks = le64_make(le64_get(poke_inode("spread")->blocks) + 5);
    poke_seal("spread");
}

static void dir_blocks(void)
{
    poke_inode("many")->blocks = le64_make(le64_get(poke_inode("many")->blocks) + 1);
    poke_seal("many");
}

static void inode_orphan(void)
{
    poke_inode("small")->orphan = le32_make(3);
    poke_seal("small");
}

static void links_file(void)
{
    poke_inode("link1")->links = le32_make(7);
    poke_seal("link1");
}

static void links_dir(void)
{
    image_record(DXF_INO_ROOT)->links = le32_make(9);
    seal_inode(image_record(DXF_INO_ROOT), DXF_INO_ROOT);
}

static void inode_reserved(void)
{
    *image_record(5) = *poke_inode("fifo");
    image_record(5)->mode = le16_make(S_IFREG | 0600);
    seal_inode(image_record(5), 5);
}

const struct poke_case poke_inode_cases[] = {
    { "201-anchor", anchor_csum, "-", "201", "-" },
    { "201-anchor-on-bitmap", anchor_on_bitmap, "x", "201", "-" },
    { "201-anchor-shifted", anchor_shifted, "x", "201", "-" },
    { "402-table-unwritten", table_unwritten, "-", "402", "-" },
    { "202-table-hole", table_hole, "-", "202,505", "many" },
    { "202-inode-bitmap-hole", table_bitmap_hole, "-", "202", "-" },
    { "202-inode-bitmap-hole-symlink", table_bitmap_hole_symlink, "-", "202,406", "long" },
    { "202-table-tree", table_tree, "-", "202,401", "many" },
    { "203-table-size", table_size, "p", "203", "-" },
    { "204-inode-line", inode_line_csum, "p", "204", "-" },
    { "205-number-leaked", inode_leaked, "p", "205", "-" },
    { "206-number-unmarked", inode_unmarked, "p", "206", "-" },
    { "301-inode-checksum", inode_csum, "-", "301", "-" },
    { "301-root-checksum", root_csum, "-", "301", "-" },
    { "302-copy-of-another", inode_copy, "-", "302", "small" },
    { "302-copy-of-tree", inode_copy_tree, "-", "302", "small" },
    { "302-block-of-another", inode_block_of_another, "-", "302", "small" },
    { "302-inode", inode_bad, "-", "302", "small,short" },
    { "302-directory", dir_inode_bad, "-", "302", "tree" },
    { "303-root-gone", root_gone, "-", "303",
      "small,empty,spread,second,many,tree,link1,short,long,attrs,fifo" },
    { "303-root-damaged", root_bad, "-", "303",
      "small,empty,spread,second,many,tree,link1,short,long,attrs,fifo" },
    { "304-blocks", inode_blocks, "p", "304", "-" },
    { "304-blocks-directory", dir_blocks, "p", "304", "-" },
    { "305-orphan-field", inode_orphan, "p", "305", "-" },
    { "306-links-file", links_file, "p", "306", "-" },
    { "306-links-directory", links_dir, "p", "306", "-" },
    { "307-reserved-inode", inode_reserved, "-", "307", "-" },
    { 0 },
};
