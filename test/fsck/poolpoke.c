/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damages one structure of a pool that poolfill has made, each case in its own way, with the checksum
 * made right again wherever the damage is not the checksum itself.
 *
 *   poolpoke list               CASE SAFE EXPECTED[,…] EXCEPT[,…] of every case
 *   poolpoke POOL CASE          does it
 *   poolpoke POOL byte OFFSET   changes one byte
 *   poolpoke POOL metadata      prints the metadata in use: OFFSET LENGTH WHAT a line
 *
 * The numbers of cases are those of the findings. EXPECTED: numbers that must be among the findings.
 * SAFE: p where -p repairs all of it, n where it is a note and the next mount sees to it. EXCEPT: what
 * may be lost (names of poolfill; - nothing).
 */
#include "image.h"
#include "metadata.h"

#include "base/checksum.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The entry of a name, and the leaf it is in. */
static struct dxf_dirent *entry_of(uint64_t dir, const char *name, struct dxf_dir_leaf **ret_leaf)
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

static uint64_t ino_of(const char *name)
{
    return le64_get(entry_of(DXF_INO_ROOT, name, NULL)->inode);
}

static struct dxf_inode *named(const char *name)
{
    return image_record(ino_of(name));
}

static void seal_named(const char *name)
{
    seal_inode(named(name), ino_of(name));
}

static struct dxf_extent *first_extent(const char *name)
{
    return &named(name)->extent[0];
}

static struct dxf_retire *slot(unsigned i)
{
    return (void *)((uint8_t *)image_block(DXF_JOURNAL_BLOCK) + i * DXF_RETIRE_STRIDE);
}

/* ---- the damage ------------------------------------------------------------------------------------ */

static void flip(void *place)
{
    *(uint8_t *)place ^= 0x55;
}

static void set_bit(uint64_t block, bool on)
{
    le64 *word = &image_line(block)->bits[block % DXF_LINE_BITS / 64];
    uint64_t mask = 1ull << block % DXF_LINE_BITS % 64;
    *word = le64_make(on ? le64_get(*word) | mask : le64_get(*word) & ~mask);
    seal_bitmap_line(image_line(block), block / DXF_LINE_BITS);
}
static void super_primary(void)
{
    flip(&IMAGE_SUPER->uuid[3]);
}
static void super_spare(void)
{
    flip((uint8_t *)image_block(DXF_SPARE_BLOCK) + 50);
}
static void super_marked(void)
{
    IMAGE_SUPER->flags = le32_make(DXF_SUPER_NEEDS_FSCK);
    IMAGE_SUPER->error_count = le32_make(3);
    seal_super(IMAGE_SUPER);
    memcpy(image_block(DXF_SPARE_BLOCK), IMAGE_SUPER, sizeof(*IMAGE_SUPER));
}
static void super_differ(void)
{
    struct dxf_super *spare = image_block(DXF_SPARE_BLOCK);

    spare->error_count = le32_make(1);
    seal_super(spare);
}
static void retire_one(void)
{
    flip(&slot(0)->retired);
}
static void retire_newer(void)
{
    unsigned newer = le64_get(slot(1)->generation) > le64_get(slot(0)->generation);
    flip(&slot(newer)->tail[0]);
}
static void retire_both(void)
{
    flip(&slot(0)->retired);
    flip(&slot(1)->generation);
}
/* An entry that would write to the superblock. */
static void journal_entry(void)
{
    unsigned newer = le64_get(slot(1)->generation) > le64_get(slot(0)->generation);
    uint8_t *place = (uint8_t *)image_block(le64_get(IMAGE_SUPER->log_start)) +
                     (uint64_t)le32_get(slot(newer)->tail[0]) * DXF_LINE_SIZE;
    struct {
        struct dxf_log_entry header;
        le64 head, content;
    } entry = {
        .header.magic = le32_make(DXF_LOG_MAGIC),
        .header.bytes = le32_make(sizeof(entry)),
        .header.sequence = le64_make(le64_get(slot(newer)->retired) + 1),
        .head = le64_make(8ull << DXF_RECORD_LENGTH_SHIFT),
    };
    entry.header.csum =
        le64_make(checksum64(&entry, sizeof(entry), le64_get(IMAGE_SUPER->log_seed)));
    memcpy(place, &entry, sizeof(entry));
}
static void badblocks(void)
{
    flip((uint8_t *)image_block(DXF_BADBLOCK_BLOCK) + 9);
}
static void intent_line(void)
{
    flip((uint8_t *)image_block(DXF_INTENT_BLOCK) + 130);
}

/* A punch of a range in which there is nothing. */
static void put_intent(uint64_t ino, uint32_t generation)
{
    struct dxf_intent *intent = (struct dxf_intent *)image_block(DXF_INTENT_BLOCK) + 4;

    *intent = (struct dxf_intent){
        .kind = le16_make(DXF_INTENT_PUNCH),
        .inode = le64_make(ino),
        .length = le64_make(2 * DXF_BLOCK_SIZE),
        .cursor = le64_make(2 * DXF_BLOCK_SIZE),
        .generation = le32_make(generation),
    };
    seal_intent(intent, 4);
}
static void intent_no_inode(void)
{
    put_intent(1u << 30, 1);
}
static void intent_other_generation(void)
{
    put_intent(ino_of("empty"), le32_get(named("empty")->generation) + 1);
}
static void intent_pending(void)
{
    put_intent(ino_of("empty"), le32_get(named("empty")->generation));
}

/* Of a kind that is reserved: no mount can finish it. */
static void intent_kind(void)
{
    struct dxf_intent *line = (struct dxf_intent *)image_block(DXF_INTENT_BLOCK) + 4;

    *line = (struct dxf_intent){
        .kind = le16_make(DXF_INTENT_GROW),
        .length = le64_make(DXF_POOL_SIZE_MAX / DXF_BLOCK_SIZE),
    };
    seal_intent(line, 4);
}

/* A shift by a block from this block on, which has come to the cursor; all in blocks. */
static void put_shift(const char *name, enum dxf_intent_kind kind, uint64_t offset, uint64_t cursor)
{
    struct dxf_intent *line = (struct dxf_intent *)image_block(DXF_INTENT_BLOCK) + 5;

    *line = (struct dxf_intent){
        .kind = le16_make((uint16_t)kind),
        .inode = le64_make(ino_of(name)),
        .offset = le64_make(offset * DXF_BLOCK_SIZE),
        .length = le64_make(DXF_BLOCK_SIZE),
        .cursor = le64_make(cursor * DXF_BLOCK_SIZE),
        .generation = named(name)->generation,
    };
    seal_intent(line, 5);
}
static void intent_collapse_pending(void)
{
    put_shift("empty", DXF_INTENT_COLLAPSE, 0, 7);
}
static void intent_insert_pending(void)
{
    put_shift("empty", DXF_INTENT_INSERT, 0, 7);
}
static void intent_collapse_cursor(void)
{
    put_shift("spread", DXF_INTENT_COLLAPSE, 0, 0);
}
static void intent_insert_cursor(void)
{
    put_shift("spread", DXF_INTENT_INSERT, 1, 1);
}
/* Data, and every second block has some, lie where the next extent would go. */
static void intent_collapse_unfit(void)
{
    put_shift("spread", DXF_INTENT_COLLAPSE, 1, 301);
}
static void intent_insert_unfit(void)
{
    put_shift("spread", DXF_INTENT_INSERT, 1, 300);
}

static void anchor_csum(void)
{
    flip(&image_anchor()->generation);
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
static void symlink_chain(void)
{
    flip((uint8_t *)image_block(le64_get(named("long")->tree.root)) + 40);
}
/* The number of an inode that goes has no line then. */
static void table_bitmap_hole_symlink(void)
{
    symlink_chain();
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
    set_bit(block, true);
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
    flip(&node->extent[0]);
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
    flip(&image_inode_line(600)->bits[2]);
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
    set_inode_bit(ino_of("small"), false);
}

static void inode_csum(void)
{
    flip(&named("small")->uid);
}
static void inode_bad(void)
{
    named("small")->layout = 77;
    seal_named("small");
}
static void dir_inode_bad(void)
{
    named("tree")->layout = 77;
    seal_named("tree");
}
static void root_csum(void)
{
    flip(&image_record(DXF_INO_ROOT)->uid);
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
    named("spread")->blocks = le64_make(le64_get(named("spread")->blocks) + 5);
    seal_named("spread");
}
static void dir_blocks(void)
{
    named("many")->blocks = le64_make(le64_get(named("many")->blocks) + 1);
    seal_named("many");
}
static void inode_orphan(void)
{
    named("small")->orphan = le32_make(3);
    seal_named("small");
}
static void links_file(void)
{
    named("link1")->links = le32_make(7);
    seal_named("link1");
}
static void links_dir(void)
{
    image_record(DXF_INO_ROOT)->links = le32_make(9);
    seal_inode(image_record(DXF_INO_ROOT), DXF_INO_ROOT);
}
static void inode_reserved(void)
{
    *image_record(5) = *named("fifo");
    image_record(5)->mode = le16_make(S_IFREG | 0600);
    seal_inode(image_record(5), 5);
}

static void extent_leaf(void)
{
    flip(&((struct dxf_node *)image_owned(DXF_MAGIC_EXTENT_NODE, ino_of("spread"), 0, 2))
              ->extent[3]);
}
static void extent_root(void)
{
    flip(image_block(le64_get(named("spread")->tree.root)));
}
static void extent_loop(void)
{
    struct dxf_node *root = image_block(le64_get(named("spread")->tree.root));
    root->index[2].child = root->index[1].child;
    seal_block(&root->header);
}
static void extent_order(void)
{
    struct dxf_node *root = image_block(le64_get(named("spread")->tree.root));
    struct dxf_node *leaf = image_block(le64_get(root->index[1].child));
    leaf->extent[1].word0 = le64_make(1ull << 40);
    for (unsigned i = 2; i < le16_get(leaf->header.count); i++)
        leaf->extent[i].word0 = le64_make((uint64_t)(i + (1u << 20)) << DXF_EXTENT_LOGICAL_SHIFT);
    seal_block(&leaf->header);
}
static void block_twice(void)
{
    first_extent("second")->word1 = first_extent("small")->word1;
    seal_named("second");
}
static void block_twice_tree(void)
{
    /* Data of an earlier inode on a leaf of a later directory: the directory wins. */
    struct dxf_dir_leaf *leaf = image_owned(DXF_MAGIC_DIR_LEAF, ino_of("many"), 0, 0);
    first_extent("small")->word1 = leaf->header.self;
    seal_named("small");
}
static void block_fixed(void)
{
    first_extent("small")->word1 = IMAGE_SUPER->log_start;
    seal_named("small");
}
static void xattr_csum(void)
{
    flip((uint8_t *)image_block(le64_get(named("attrs")->xattr)) + 100);
}
static void xattr_loop(void)
{
    struct dxf_chain *chain = image_block(le64_get(named("attrs")->xattr));
    chain = image_block(le64_get(chain->next));
    chain->next = named("attrs")->xattr;
    chain->header.used = le32_make(sizeof(chain->payload));
    seal_block(&chain->header);
}
static void xattr_payload(void)
{
    struct dxf_chain *chain = image_block(le64_get(named("attrs")->xattr));
    chain->payload[0] = 99;
    seal_block(&chain->header);
}
static void symlink_nul(void)
{
    struct dxf_chain *chain = image_block(le64_get(named("long")->tree.root));
    chain->payload[5] = 0;
    seal_block(&chain->header);
}

static void dir_node(void)
{
    flip(&((struct dxf_node *)image_owned(DXF_MAGIC_DIR_NODE, ino_of("many"), 1, 0))->index[1]);
}
static void dir_leaf_header(void)
{
    flip(&((struct dxf_dir_leaf *)image_owned(DXF_MAGIC_DIR_LEAF, ino_of("many"), 0, 1))
              ->header.used);
}
static void dir_leaf_gone(void)
{
    memset(image_owned(DXF_MAGIC_DIR_LEAF, ino_of("many"), 0, 1), 0x5a, DXF_BLOCK_SIZE);
}
static void clear_entry(uint64_t dir, struct dxf_dirent *entry)
{
    entry->name_length = entry->type = 0;
    entry->hash = entry->inode = le64_make(0);
    seal_dirent(entry, dir);
}
/* A leaf of a few names is there twice, instead of another one. */
static void dir_leaf_twice(void)
{
    struct dxf_node *node = image_owned(DXF_MAGIC_DIR_NODE, ino_of("many"), 1, 0);
    struct dxf_dir_leaf *leaf = image_block(le64_get(node->index[1].child));

    for (uint32_t at = 0, n = 0; at < sizeof(leaf->entries); n++) {
        struct dxf_dirent *entry = (void *)(leaf->entries + at);
        if (n >= 8)
            clear_entry(ino_of("many"), entry);
        at += le16_get(entry->length);
    }
    node->index[2].child = node->index[1].child;
    seal_block(&node->header);
}
static void dir_entry_csum(void)
{
    flip(entry_of(ino_of("many"), "0700", NULL)->name);
}
static void dir_entry_length(void)
{
    struct dxf_dirent *entry = entry_of(ino_of("many"), "0700", NULL);
    entry->length = le16_make(13);
    seal_dirent(entry, ino_of("many"));
}
static void reseal(uint64_t dir, struct dxf_dirent *entry)
{
    seal_dirent(entry, dir);
}
static void dir_hash(void)
{
    struct dxf_dirent *entry = entry_of(ino_of("many"), "0700", NULL);
    entry->hash = le64_make(le64_get(entry->hash) ^ 1ull << 61);
    reseal(ino_of("many"), entry);
}
static void dir_target(void)
{
    struct dxf_dirent *entry = entry_of(ino_of("many"), "0700", NULL);
    entry->inode = le64_make(1u << 30);
    reseal(ino_of("many"), entry);
}
static void dir_type(void)
{
    struct dxf_dirent *entry = entry_of(ino_of("many"), "0700", NULL);
    entry->type = DT_SOCK;
    reseal(ino_of("many"), entry);
}
static void dir_name_twice(void)
{
    struct dxf_dir_leaf *leaf, *other;
    struct dxf_dirent *entry = entry_of(ino_of("many"), "0700", &leaf);
    /* Any other entry of the leaf takes its name. */
    for (unsigned i = 0; i < 1500; i++) {
        char name[8];
        snprintf(name, sizeof(name), "%04u", i);
        struct dxf_dirent *second = entry_of(ino_of("many"), name, &other);
        if (second == entry || other != leaf)
            continue;
        memcpy(second->name, "0700", 4);
        second->hash = le64_make(le64_get(entry->hash) + 1);
        reseal(ino_of("many"), second);
        return;
    }
}
static void dir_second_name(void)
{
    struct dxf_dirent *entry = entry_of(DXF_INO_ROOT, "empty", NULL);
    entry->inode = entry_of(DXF_INO_ROOT, "many", NULL)->inode;
    entry->type = DT_DIR;
    reseal(DXF_INO_ROOT, entry);
}
static void dir_parent(void)
{
    named("many")->parent = le64_make(ino_of("tree"));
    seal_named("many");
}
static void dir_counts(void)
{
    named("many")->entries = le64_make(3);
    seal_named("many");
}
static void dir_size(void)
{
    named("many")->size = le64_make(le64_get(named("many")->size) + DXF_BLOCK_SIZE);
    seal_named("many");
}
/* tree/a/b/c: c's only entry names a, and tree's leaf forgets it. */
static void dir_loop(void)
{
    uint64_t tree = ino_of("tree");
    struct dxf_dirent *a = entry_of(tree, "a", NULL);
    uint64_t a_ino = le64_get(a->inode), b_ino = le64_get(entry_of(a_ino, "b", NULL)->inode);
    struct dxf_dirent *c = entry_of(b_ino, "c", NULL);
    struct dxf_dirent *deep = entry_of(le64_get(c->inode), "deep", NULL);
    deep->inode = le64_make(a_ino);
    deep->type = DT_DIR;
    reseal(le64_get(c->inode), deep);
    a->inode = le64_make(ino_of("small"));
    a->type = DT_REG;
    reseal(tree, a);
}
static void drop_entry(const char *name)
{
    clear_entry(DXF_INO_ROOT, entry_of(DXF_INO_ROOT, name, NULL));
}
static void unreached_file(void)
{
    drop_entry("small");
}
static void unreached_dir(void)
{
    drop_entry("tree");
}

static struct dxf_orphan_line *orphan_line(void)
{
    struct dxf_inode *table = image_record(DXF_INO_ORPHANS);
    if (table->layout != DXF_LAYOUT_INLINE)
        image_missing("orphan table");
    return image_block(le64_get(table->extent[0].word1) & DXF_EXTENT_PHYSICAL_MASK);
}
static void orphan_csum(void)
{
    flip(&orphan_line()->inode[2]);
}
static void orphan_table(void)
{
    image_record(DXF_INO_ORPHANS)->size = le64_make(64 * DXF_BLOCK_SIZE);
    seal_inode(image_record(DXF_INO_ORPHANS), DXF_INO_ORPHANS);
}
static void orphan_inode(void)
{
    memset(image_record(DXF_INO_ORPHANS), 0, sizeof(struct dxf_inode));
}
static void orphan_place(void)
{
    orphan_line()->inode[6] = le64_make(ino_of("small"));
    seal_orphan_line(orphan_line(), 0);
}

static void bitmap_csum(void)
{
    flip(&image_line(2000)->bits[1]);
}
static void bitmap_leak(void)
{
    set_bit(image_blocks - 5, true);
}
static void bitmap_missing(void)
{
    set_bit(le64_get(first_extent("small")->word1) & DXF_EXTENT_PHYSICAL_MASK, false);
}
static void bitmap_fixed(void)
{
    set_bit(DXF_ANCHOR_BLOCK, false);
}
static void bitmap_past_end(void)
{
    image_line(image_blocks - 1)->bits[6] = le64_make(1ull << 63);
    seal_bitmap_line(image_line(image_blocks - 1), (image_blocks - 1) / DXF_LINE_BITS);
}

static const struct {
    const char *name;
    void (*run)(void);
    const char *safe, *expected, *except;
} cases[] = {
    { "101-superblock", super_primary, "p", "101", "-" },
    { "102-spare", super_spare, "p", "102", "-" },
    { "103-spare-differs", super_differ, "n", "103", "-" },
    { "104-marked", super_marked, "p", "104", "-" },
    { "105-retire-slot", retire_one, "p", "105", "-" },
    { "105-retire-slot-newer", retire_newer, "p", "105", "-" },
    { "106-retire-slots", retire_both, "-", "106", "-" },
    { "108-journal-entry", journal_entry, "-", "108", "-" },
    { "110-bad-blocks", badblocks, "-", "110", "-" },
    { "111-intent", intent_line, "-", "111", "-" },
    { "111-intent-kind", intent_kind, "-", "111", "-" },
    { "111-collapse-cursor", intent_collapse_cursor, "-", "111", "-" },
    { "111-insert-cursor", intent_insert_cursor, "-", "111", "-" },
    { "111-collapse-unfit", intent_collapse_unfit, "-", "111", "-" },
    { "111-insert-unfit", intent_insert_unfit, "-", "111", "-" },
    { "112-intent-no-inode", intent_no_inode, "n", "112", "-" },
    { "112-intent-generation", intent_other_generation, "n", "112", "-" },
    { "113-intent-pending", intent_pending, "n", "113", "-" },
    { "113-collapse-pending", intent_collapse_pending, "n", "113", "-" },
    { "113-insert-pending", intent_insert_pending, "n", "113", "-" },
    { "201-anchor", anchor_csum, "-", "201", "-" },
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
    { "401-extent-leaf", extent_leaf, "-", "401", "spread" },
    { "401-extent-root", extent_root, "-", "401", "spread" },
    { "401-extent-loop", extent_loop, "-", "401", "spread" },
    { "402-extent-order", extent_order, "-", "402", "spread" },
    { "403-block-twice", block_twice, "-", "403", "second" },
    { "403-block-of-directory", block_twice_tree, "-", "403", "small" },
    { "403-leaf-twice", dir_leaf_twice, "-", "403,512", "many" },
    { "404-block-fixed", block_fixed, "-", "404", "small" },
    { "405-xattr-checksum", xattr_csum, "-", "405", "attrs" },
    { "405-xattr-loop", xattr_loop, "-", "405", "attrs" },
    { "405-xattr-payload", xattr_payload, "-", "405", "attrs" },
    { "406-symlink-checksum", symlink_chain, "-", "406", "long" },
    { "406-symlink-nul", symlink_nul, "-", "406", "long" },
    { "501-directory-node", dir_node, "-", "501", "many" },
    { "502-leaf-header", dir_leaf_header, "-", "502", "-" },
    { "502-leaf-gone", dir_leaf_gone, "-", "502,512", "many" },
    { "503-entry-checksum", dir_entry_csum, "-", "503,512", "0700" },
    { "503-entry-length", dir_entry_length, "-", "503,512", "many" },
    { "504-hash", dir_hash, "-", "504", "-" },
    { "505-target", dir_target, "-", "505,512", "0700" },
    { "506-type", dir_type, "p", "506", "-" },
    { "507-name-twice", dir_name_twice, "-", "507,512", "many" },
    { "508-second-name", dir_second_name, "-", "508,512", "empty,many" },
    { "509-parent", dir_parent, "p", "509", "-" },
    { "510-entries", dir_counts, "p", "510", "-" },
    { "510-size", dir_size, "p", "510", "-" },
    { "511-loop", dir_loop, "-", "511,512", "tree,small" },
    { "512-file", unreached_file, "-", "512", "small" },
    { "512-directory", unreached_dir, "-", "512", "tree" },
    { "601-orphan-line", orphan_csum, "-", "601", "-" },
    { "602-orphan-table", orphan_table, "-", "602", "-" },
    { "602-orphan-inode", orphan_inode, "-", "602", "-" },
    { "603-orphan-place", orphan_place, "p", "603", "-" },
    { "701-bitmap-line", bitmap_csum, "p", "701", "-" },
    { "702-leak", bitmap_leak, "p", "702", "-" },
    { "702-past-end", bitmap_past_end, "p", "702", "-" },
    { "703-missing", bitmap_missing, "p", "703", "-" },
    { "703-fixed-block", bitmap_fixed, "p", "703", "-" },
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static void list(void)
{
    for (size_t i = 0; i < CASES; i++)
        printf("%s %s %s %s\n", cases[i].name, cases[i].safe, cases[i].expected, cases[i].except);
}

int main(int argc, char **argv)
{
    struct stat st;
    int fd;

    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        list();
        return 0;
    }
    if (argc < 3) {
        fputs("usage: poolpoke list | POOL CASE | POOL byte OFFSET | POOL metadata\n", stderr);
        return 2;
    }
    fd = open(argv[1], O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        perror(argv[1]);
        return 1;
    }
    image_base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (image_base == MAP_FAILED) {
        perror(argv[1]);
        return 1;
    }
    image_blocks = (uint64_t)st.st_size / DXF_BLOCK_SIZE;
    if (strcmp(argv[2], "metadata") == 0) {
        const uint64_t owners[] = { ino_of("long"), ino_of("attrs"), ino_of("many") };
        metadata_list(owners, 3, orphan_line());
        return 0;
    }
    if (strcmp(argv[2], "byte") == 0 && argc == 4) {
        uint64_t offset = strtoull(argv[3], NULL, 10);
        if (offset < (uint64_t)st.st_size)
            image_base[offset] ^= 0x41;
        return 0;
    }
    for (size_t i = 0; i < CASES; i++) {
        if (strcmp(argv[2], cases[i].name) == 0) {
            cases[i].run();
            return 0;
        }
    }
    fprintf(stderr, "poolpoke: no case %s\n", argv[2]);
    return 2;
}
