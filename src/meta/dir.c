/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories (dir.h): a tree (tree.h) whose keys are hashes and whose leaves are dir_leaf.c's.
 *
 * D4 A name whose hash is h has one of h .. h + DXF_HASH_PROBES - 1, and no two entries of a
 *    directory the same one. Removing an entry moves no other (its cookie is its hash), so a free
 *    value says nothing of those behind it: whoever looks for a name looks at all of them, in the
 *    next leaf too where the border is among them.
 * D5 An entry lies in the leaf whose range holds its hash; what a damaged leaf has beyond is not
 *    handed out by dir_iterate, so that cookies only go up.
 *
 * A leaf is compacted where that gains room for several names; else it is split in two.
 */
#include "meta/dir.h"

#include "base/checksum.h"
#include "media/validate.h"
#include "meta/dir_internal.h"
#include "meta/tree.h"

#include <errno.h>

/* What compaction must leave over: it journals up to a whole leaf, and must not come again soon. */
#define COMPACT_GAIN 512u
/* With fewer blocks available to all, compaction is preferred to a split. */
#define COMPACT_AVAILABLE 64u

static const char *check_node(const void *block, uint64_t self, uint64_t owner, unsigned level,
                              uint64_t blocks)
{
    return validate_dir_node(block, self, owner, level, blocks);
}

static const char *check_leaf(const void *block, uint64_t self, uint64_t owner, unsigned level,
                              uint64_t blocks)
{
    (void)level;
    (void)blocks;
    return validate_dir_leaf(block, self, owner);
}

static void seal_leaf(void *object, uint64_t arg)
{
    (void)arg;
    seal_dir_leaf(object);
}

static const struct tree_type dir_tree_type = {
    .node_what = "directory node",
    .leaf_what = "directory leaf",
    .node_magic = DXF_MAGIC_DIR_NODE,
    .leaf_magic = DXF_MAGIC_DIR_LEAF,
    .node_check = check_node,
    .leaf_check = check_leaf,
    .leaf_seal = seal_leaf,
};

/* edit is NULL where the tree is only read; view may be NULL then. */
static struct tree dir_tree(struct meta *meta, const struct txn *view, struct txn *edit,
                            uint64_t dir_ino, const struct dxf_inode *dir)
{
    bool empty = dir->layout != DXF_LAYOUT_TREE;

    return (struct tree){
        .meta = meta,
        .type = &dir_tree_type,
        .view = view,
        .edit = edit,
        .owner = dir_ino,
        .root = empty ? 0 : le64_get(dir->tree.root),
        .levels = empty ? 0 : dir->count,
    };
}

/* After a change of the tree's shape, by which `leaves` came (or went: negative). */
static void dir_store(struct dxf_inode *dir, const struct tree *tree, int leaves)
{
    dir->layout = tree->levels > 0 ? DXF_LAYOUT_TREE : DXF_LAYOUT_NONE;
    dir->count = (uint8_t)tree->levels;
    dir->tree.root = le64_make(tree->root);
    dir->blocks = le64_make(le64_get(dir->blocks) + (uint64_t)tree->blocks);
    dir->size = le64_make(le64_get(dir->size) + (uint64_t)((int64_t)leaves * DXF_BLOCK_SIZE));
}

/* A change that was begun and can not be finished. */
static int dir_fail(struct txn *txn, int error)
{
    if (txn->error == 0)
        txn->error = error;
    return error;
}

uint64_t dir_hash(const struct pool *pool, struct dir_name name)
{
    uint64_t sum = checksum64(name.bytes, name.length, le64_get(pool->super.hash_seed));

    /* The last probe is at most DXF_HASH_LAST. */
    return DXF_HASH_FIRST + sum % (DXF_HASH_LAST - DXF_HASH_PROBES + 2 - DXF_HASH_FIRST);
}

/* Whether all values that a name with this hash may have are below the end of the path's leaf. */
static bool probes_end(const struct tree_path *path, uint64_t hash)
{
    return path->high - hash >= DXF_HASH_PROBES;
}

/* To the entry of that name: its leaf and its offset there. -ENOENT, -EUCLEAN. */
static int dir_find(const struct tree *tree, uint64_t hash, struct dir_name name,
                    struct tree_path *path, uint32_t *ret_offset)
{
    int error = tree_find(tree, hash, path);

    while (error == 0) {
        uint32_t offset = leaf_find(path->leaf, hash, name);

        if (offset != DIR_NONE) {
            *ret_offset = offset;
            return 0;
        }
        error = probes_end(path, hash) ? -ENOENT : tree_next(tree, path);
    }
    return error;
}

int dir_lookup_hashed(struct meta *meta, const struct txn *txn, uint64_t dir_ino,
                      const struct dxf_inode *dir, uint64_t hash, struct dir_name name,
                      struct dir_found *ret_found)
{
    struct tree tree = dir_tree(meta, txn, NULL, dir_ino, dir);
    const struct dxf_dirent *entry;
    struct tree_path path;
    uint32_t offset;
    int error;

    error = dir_find(&tree, hash, name, &path, &offset);
    if (error)
        return error;
    entry = leaf_entry(path.leaf, offset);
    ret_found->ino = le64_get(entry->inode);
    ret_found->cookie = le64_get(entry->hash);
    ret_found->type = entry->type;
    return 0;
}

/* The place for a new name: its hash, the leaf that the hash belongs to, what is there. */
struct dir_place {
    uint64_t hash;
    struct tree_path path;
    struct leaf_survey survey;
};

/* -EEXIST, -ENOENT (the directory has no leaf), -ENOSPC, -EUCLEAN. */
static int dir_probe(const struct tree *tree, uint64_t hash, struct dir_name name,
                     struct dir_place *place)
{
    uint32_t size = dirent_size(name.length);
    uint32_t taken = 0, leaves = 0;
    int error;

    error = tree_find(tree, hash, &place->path);
    for (;;) {
        if (error)
            return error;
        leaf_survey(place->path.leaf, hash, name, size, &place->survey);
        if (place->survey.match != DIR_NONE)
            return -EEXIST;
        taken |= place->survey.taken;
        leaves++;
        if (probes_end(&place->path, hash))
            break;
        error = tree_next(tree, &place->path);
        if (error == -ENOENT)
            break;
    }
    if (taken == (1u << DXF_HASH_PROBES) - 1)
        return -ENOSPC;
    place->hash = hash + (unsigned)__builtin_ctz(~taken);
    if (leaves == 1)
        return 0;
    error = tree_find(tree, place->hash, &place->path);
    if (error == 0)
        leaf_survey(place->path.leaf, hash, name, size, &place->survey);
    return error;
}

/* The border by which a full leaf is split: near half of its bytes, and between two hashes. 0 when
 * there is none, which takes a damaged leaf. */
static uint64_t split_border(const struct tree_path *path)
{
    struct leaf_place places[DIR_LEAF_ENTRIES];
    const struct dxf_dir_leaf *leaf = path->leaf;
    unsigned count = leaf_sort(leaf, path->low, path->high, places);
    uint32_t total = 0, below = 0;

    for (unsigned i = 0; i < count; i++)
        total += dirent_size(leaf_entry(leaf, places[i].offset)->name_length);
    for (unsigned i = 1; i < count; i++) {
        below += dirent_size(leaf_entry(leaf, places[i - 1].offset)->name_length);
        if (below >= total / 2 && places[i].hash > places[i - 1].hash)
            return places[i].hash;
    }
    return 0;
}

/* Splits the place's leaf; *ret_leaf is the one that its hash belongs to now. */
static int dir_split(struct tree *tree, struct dir_place *place, struct dxf_dir_leaf **ret_leaf)
{
    uint64_t border = split_border(&place->path);
    struct dxf_dir_leaf *left;
    uint64_t block;
    void *right;
    int error;

    if (border == 0)
        return dir_fail(tree->edit, meta_damaged(tree->meta, "directory leaf", place->path.node[0],
                                                 tree->owner, "its hashes can not be divided"));
    error = tree_leaf_new(tree, place->path.node[0], &block, &right);
    if (error)
        return error;
    left = tree_leaf_edit(tree, &place->path);
    if (left == NULL)
        return -ENOMEM;
    leaf_clear(right, tree->owner);
    leaf_copy(right, left, tree->owner, border);
    leaf_compact(left, tree->owner, border);
    error = tree_add(tree, &place->path, border, block);
    if (error)
        return error;
    *ret_leaf = place->hash < border ? left : right;
    return 0;
}

static bool pool_is_short(const struct tree *tree)
{
    struct space_info info;

    space_get_info(tree->meta->space, &info);
    return info.available < COMPACT_AVAILABLE;
}

/* A leaf to change, with free space for the name at *ret_offset. Counts a new leaf in *leaves. */
static int dir_make_room(struct tree *tree, struct dir_place *place, struct dir_name name,
                         struct dxf_dir_leaf **ret_leaf, uint32_t *ret_offset, int *leaves)
{
    struct leaf_survey *survey = &place->survey;
    uint32_t size = dirent_size(name.length);
    struct dxf_dir_leaf *leaf = NULL;
    int error;

    if (survey->fit != DIR_NONE || survey->free >= size + COMPACT_GAIN ||
        (survey->free >= size && pool_is_short(tree))) {
        leaf = tree_leaf_edit(tree, &place->path);
        if (leaf == NULL)
            return -ENOMEM;
        if (survey->fit != DIR_NONE) {
            *ret_leaf = leaf;
            *ret_offset = survey->fit;
            return 0;
        }
        leaf_compact(leaf, tree->owner, UINT64_MAX);
    } else {
        error = dir_split(tree, place, &leaf);
        if (error)
            return error;
        (*leaves)++;
    }
    leaf_survey(leaf, place->hash, name, size, survey);
    if (survey->fit == DIR_NONE)
        return dir_fail(tree->edit, meta_damaged(tree->meta, "directory leaf", place->path.node[0],
                                                 tree->owner, "it has hashes of another leaf"));
    *ret_leaf = leaf;
    *ret_offset = survey->fit;
    return 0;
}

/* The first leaf of a directory. */
static int dir_plant(struct tree *tree, struct dxf_dir_leaf **ret_leaf)
{
    uint64_t block;
    void *leaf;
    int error;

    error = tree_leaf_new(tree, 0, &block, &leaf);
    if (error)
        return error;
    leaf_clear(leaf, tree->owner);
    tree_plant(tree, block);
    *ret_leaf = leaf;
    return 0;
}

int dir_insert_hashed(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
                      uint64_t hash, struct dir_name name, uint64_t ino, uint8_t type)
{
    struct tree tree = dir_tree(meta, txn, txn, dir_ino, dir);
    struct dir_place place = { .hash = hash };
    struct dxf_dir_leaf *leaf = NULL;
    uint32_t offset = 0;
    int leaves = 0;
    int error;

    error = dir_probe(&tree, hash, name, &place);
    if (error == -ENOENT) {
        error = dir_plant(&tree, &leaf);
        leaves = 1;
    } else if (error == 0) {
        error = dir_make_room(&tree, &place, name, &leaf, &offset, &leaves);
    }
    if (error)
        return error;
    leaf_insert(leaf, dir_ino, offset, place.hash, name, ino, type);
    if (leaves > 0)
        dir_store(dir, &tree, leaves);
    dir->entries = le64_make(le64_get(dir->entries) + 1);
    return 0;
}

int dir_remove_hashed(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
                      uint64_t hash, struct dir_name name)
{
    struct tree tree = dir_tree(meta, txn, txn, dir_ino, dir);
    struct dxf_dir_leaf *leaf;
    struct tree_path path;
    uint32_t offset;
    int error;

    error = dir_find(&tree, hash, name, &path, &offset);
    if (error)
        return error;
    if (le64_get(dir->entries) == 0)
        return dir_fail(txn, meta_damaged(meta, "directory leaf", path.node[0], dir_ino,
                                          "the inode counts fewer entries"));
    leaf = tree_leaf_edit(&tree, &path);
    if (leaf == NULL)
        return -ENOMEM;
    if (leaf_remove(leaf, dir_ino, offset)) {
        error = tree_remove(&tree, &path);
        if (error)
            return error;
        dir_store(dir, &tree, -1);
    }
    dir->entries = le64_make(le64_get(dir->entries) - 1);
    return 0;
}

int dir_replace_hashed(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
                       uint64_t hash, struct dir_name name, uint64_t ino, uint8_t type)
{
    struct tree tree = dir_tree(meta, txn, txn, dir_ino, dir);
    struct dxf_dir_leaf *leaf;
    struct tree_path path;
    uint32_t offset;
    int error;

    error = dir_find(&tree, hash, name, &path, &offset);
    if (error)
        return error;
    leaf = tree_leaf_edit(&tree, &path);
    if (leaf == NULL)
        return -ENOMEM;
    leaf_replace(leaf, dir_ino, offset, ino, type);
    return 0;
}

int dir_lookup(struct meta *meta, const struct txn *txn, uint64_t dir_ino,
               const struct dxf_inode *dir, struct dir_name name, struct dir_found *ret_found)
{
    return dir_lookup_hashed(meta, txn, dir_ino, dir, dir_hash(meta->pool, name), name, ret_found);
}

int dir_insert(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
               struct dir_name name, uint64_t ino, uint8_t type)
{
    return dir_insert_hashed(meta, txn, dir_ino, dir, dir_hash(meta->pool, name), name, ino, type);
}

int dir_remove(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
               struct dir_name name)
{
    return dir_remove_hashed(meta, txn, dir_ino, dir, dir_hash(meta->pool, name), name);
}

int dir_replace(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
                struct dir_name name, uint64_t ino, uint8_t type)
{
    return dir_replace_hashed(meta, txn, dir_ino, dir, dir_hash(meta->pool, name), name, ino, type);
}

int dir_iterate(struct meta *meta, const struct txn *txn, uint64_t dir_ino,
                const struct dxf_inode *dir, uint64_t first, dir_iterate_fn fn, void *arg)
{
    struct tree tree = dir_tree(meta, txn, NULL, dir_ino, dir);
    struct leaf_place places[DIR_LEAF_ENTRIES];
    struct tree_path path;
    int result;

    result = tree_find(&tree, first, &path);
    while (result == 0) {
        const struct dxf_dir_leaf *leaf = path.leaf;
        uint64_t low = path.low > first ? path.low : first;
        unsigned count = leaf_sort(leaf, low, path.high, places);

        for (unsigned i = 0; i < count; i++) {
            const struct dxf_dirent *entry = leaf_entry(leaf, places[i].offset);
            struct dir_found found = {
                .ino = le64_get(entry->inode),
                .cookie = places[i].hash,
                .type = entry->type,
            };

            result = fn(arg, (struct dir_name){ entry->name, entry->name_length }, &found);
            if (result != 0)
                return result;
        }
        result = tree_next(&tree, &path);
    }
    return result == -ENOENT ? 0 : result;
}

int dir_release(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir)
{
    struct tree tree = dir_tree(meta, txn, txn, dir_ino, dir);
    int error;

    error = tree_release(&tree);
    if (error)
        return error;
    dir_store(dir, &tree, 0);
    dir->size = le64_make(0);
    return 0;
}

int dir_walk_blocks(struct meta *meta, uint64_t dir_ino, const struct dxf_inode *dir,
                    int (*fn)(void *arg, uint64_t block, bool leaf), void *arg)
{
    struct tree tree = dir_tree(meta, NULL, NULL, dir_ino, dir);

    return tree_walk_blocks(&tree, fn, arg);
}
