/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damage to what hangs on a record: extents, chains, directories.
 */
#include "poke.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

static void extent_leaf(void)
{
    poke_flip(&((struct dxf_node *)image_owned(DXF_MAGIC_EXTENT_NODE, poke_ino("spread"), 0, 2))
                   ->extent[3]);
}

static void extent_root(void)
{
    poke_flip(image_block(le64_get(poke_inode("spread")->tree.root)));
}

static void extent_loop(void)
{
    struct dxf_node *root = image_block(le64_get(poke_inode("spread")->tree.root));
    root->index[2].child = root->index[1].child;
    seal_block(&root->header);
}

static void extent_order(void)
{
    struct dxf_node *root = image_block(le64_get(poke_inode("spread")->tree.root));
    struct dxf_node *leaf = image_block(le64_get(root->index[1].child));
    leaf->extent[1].word0 = le64_make(1ull << 40);
    for (unsigned i = 2; i < le16_get(leaf->header.count); i++)
        leaf->extent[i].word0 = le64_make((uint64_t)(i + (1u << 20)) << DXF_EXTENT_LOGICAL_SHIFT);
    seal_block(&leaf->header);
}

static void block_twice(void)
{
    poke_extent("second")->word1 = poke_extent("small")->word1;
    poke_seal("second");
}

static void block_twice_tree(void)
{
    /* Data of an earlier inode on a leaf of a later directory: the directory wins. */
    struct dxf_dir_leaf *leaf = image_owned(DXF_MAGIC_DIR_LEAF, poke_ino("many"), 0, 0);
    poke_extent("small")->word1 = leaf->header.self;
    poke_seal("small");
}

static void block_fixed(void)
{
    poke_extent("small")->word1 = IMAGE_SUPER->log_start;
    poke_seal("small");
}

static void xattr_csum(void)
{
    poke_flip((uint8_t *)image_block(le64_get(poke_inode("attrs")->xattr)) + 100);
}

static void xattr_loop(void)
{
    struct dxf_chain *chain = image_block(le64_get(poke_inode("attrs")->xattr));
    chain = image_block(le64_get(chain->next));
    chain->next = poke_inode("attrs")->xattr;
    chain->header.used = le32_make(sizeof(chain->payload));
    seal_block(&chain->header);
}

static void xattr_payload(void)
{
    struct dxf_chain *chain = image_block(le64_get(poke_inode("attrs")->xattr));
    chain->payload[0] = 99;
    seal_block(&chain->header);
}

static void symlink_nul(void)
{
    struct dxf_chain *chain = image_block(le64_get(poke_inode("long")->tree.root));
    chain->payload[5] = 0;
    seal_block(&chain->header);
}

static void dir_node(void)
{
    poke_flip(
        &((struct dxf_node *)image_owned(DXF_MAGIC_DIR_NODE, poke_ino("many"), 1, 0))->index[1]);
}

static void dir_leaf_header(void)
{
    poke_flip(&((struct dxf_dir_leaf *)image_owned(DXF_MAGIC_DIR_LEAF, poke_ino("many"), 0, 1))
                   ->header.used);
}

static void dir_leaf_gone(void)
{
    memset(image_owned(DXF_MAGIC_DIR_LEAF, poke_ino("many"), 0, 1), 0x5a, DXF_BLOCK_SIZE);
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
    struct dxf_node *node = image_owned(DXF_MAGIC_DIR_NODE, poke_ino("many"), 1, 0);
    struct dxf_dir_leaf *leaf = image_block(le64_get(node->index[1].child));

    for (uint32_t at = 0, n = 0; at < sizeof(leaf->entries); n++) {
        struct dxf_dirent *entry = (void *)(leaf->entries + at);
        if (n >= 8)
            clear_entry(poke_ino("many"), entry);
        at += le16_get(entry->length);
    }
    node->index[2].child = node->index[1].child;
    seal_block(&node->header);
}

/* And its record is damaged, so that its turn comes after directories with later numbers. */
static void dir_leaf_twice_late(void)
{
    uint64_t tree = poke_ino("tree"), a = le64_get(poke_entry(tree, "a", NULL)->inode);

    dir_leaf_twice();
    poke_flip(&poke_inode("many")->uid);
    poke_flip(&((struct dxf_dir_leaf *)image_owned(DXF_MAGIC_DIR_LEAF, tree, 0, 0))->header.used);
    poke_flip(&((struct dxf_dir_leaf *)image_owned(DXF_MAGIC_DIR_LEAF, a, 0, 0))->header.used);
}

static void dir_entry_csum(void)
{
    poke_flip(poke_entry(poke_ino("many"), "0700", NULL)->name);
}

static void dir_entry_length(void)
{
    struct dxf_dirent *entry = poke_entry(poke_ino("many"), "0700", NULL);
    entry->length = le16_make(13);
    seal_dirent(entry, poke_ino("many"));
}

static void reseal(uint64_t dir, struct dxf_dirent *entry)
{
    seal_dirent(entry, dir);
}

static void dir_hash(void)
{
    struct dxf_dirent *entry = poke_entry(poke_ino("many"), "0700", NULL);
    entry->hash = le64_make(le64_get(entry->hash) ^ 1ull << 61);
    reseal(poke_ino("many"), entry);
}

static void dir_target(void)
{
    struct dxf_dirent *entry = poke_entry(poke_ino("many"), "0700", NULL);
    entry->inode = le64_make(1u << 30);
    reseal(poke_ino("many"), entry);
}

static void dir_type(void)
{
    struct dxf_dirent *entry = poke_entry(poke_ino("many"), "0700", NULL);
    entry->type = DT_SOCK;
    reseal(poke_ino("many"), entry);
}

static void dir_name_twice(void)
{
    struct dxf_dir_leaf *leaf, *other;
    struct dxf_dirent *entry = poke_entry(poke_ino("many"), "0700", &leaf);
    /* Any other entry of the leaf takes its name. */
    for (unsigned i = 0; i < 1500; i++) {
        char name[8];
        snprintf(name, sizeof(name), "%04u", i);
        struct dxf_dirent *second = poke_entry(poke_ino("many"), name, &other);
        if (second == entry || other != leaf)
            continue;
        memcpy(second->name, "0700", 4);
        second->hash = le64_make(le64_get(entry->hash) + 1);
        reseal(poke_ino("many"), second);
        return;
    }
}

static void dir_second_name(void)
{
    struct dxf_dirent *entry = poke_entry(DXF_INO_ROOT, "empty", NULL);
    entry->inode = poke_entry(DXF_INO_ROOT, "many", NULL)->inode;
    entry->type = DT_DIR;
    reseal(DXF_INO_ROOT, entry);
}

static void dir_parent(void)
{
    poke_inode("many")->parent = le64_make(poke_ino("tree"));
    poke_seal("many");
}

static void dir_counts(void)
{
    poke_inode("many")->entries = le64_make(3);
    poke_seal("many");
}

static void dir_size(void)
{
    poke_inode("many")->size = le64_make(le64_get(poke_inode("many")->size) + DXF_BLOCK_SIZE);
    poke_seal("many");
}

/* tree/a/b/c: c's only entry names a, and tree's leaf forgets it. */
static void dir_loop(void)
{
    uint64_t tree = poke_ino("tree");
    struct dxf_dirent *a = poke_entry(tree, "a", NULL);
    uint64_t a_ino = le64_get(a->inode), b_ino = le64_get(poke_entry(a_ino, "b", NULL)->inode);
    struct dxf_dirent *c = poke_entry(b_ino, "c", NULL);
    struct dxf_dirent *deep = poke_entry(le64_get(c->inode), "deep", NULL);
    deep->inode = le64_make(a_ino);
    deep->type = DT_DIR;
    reseal(le64_get(c->inode), deep);
    a->inode = le64_make(poke_ino("small"));
    a->type = DT_REG;
    reseal(tree, a);
}

static void drop_entry(const char *name)
{
    clear_entry(DXF_INO_ROOT, poke_entry(DXF_INO_ROOT, name, NULL));
}

static void unreached_file(void)
{
    drop_entry("small");
}

static void unreached_dir(void)
{
    drop_entry("tree");
}

const struct poke_case poke_tree_cases[] = {
    { "401-extent-leaf", extent_leaf, "-", "401", "spread" },
    { "401-extent-root", extent_root, "-", "401", "spread" },
    { "401-extent-loop", extent_loop, "-", "401", "spread" },
    { "402-extent-order", extent_order, "-", "402", "spread" },
    { "403-block-twice", block_twice, "-", "403", "second" },
    { "403-block-of-directory", block_twice_tree, "-", "403", "small" },
    { "403-leaf-twice", dir_leaf_twice, "-", "403,512", "many" },
    { "301-leaf-twice", dir_leaf_twice_late, "-", "301,502", "many" },
    { "404-block-fixed", block_fixed, "-", "404", "small" },
    { "405-xattr-checksum", xattr_csum, "-", "405", "attrs" },
    { "405-xattr-loop", xattr_loop, "-", "405", "attrs" },
    { "405-xattr-payload", xattr_payload, "-", "405", "attrs" },
    { "406-symlink-checksum", poke_symlink_chain, "-", "406", "long" },
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
    { 0 },
};
