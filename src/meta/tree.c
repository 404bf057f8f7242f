/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inner nodes of B+trees (tree.h has the invariants T1..T3).
 *
 * A node is split when an entry does not fit and given back when its last one goes; nodes are not
 * merged, because what empties a tree (truncate, unlink) empties whole nodes in order.
 */
#include "meta/tree.h"

#include "base/endian.h"
#include "media/validate.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static uint64_t node_key(const struct dxf_node *node, unsigned index)
{
    return le64_get(node->index[index].key);
}

static uint64_t node_child(const struct dxf_node *node, unsigned index)
{
    return le64_get(node->index[index].child);
}

static unsigned node_count(const struct dxf_node *node)
{
    return le16_get(node->header.count);
}

static void seal_header(void *object, uint64_t owner)
{
    (void)owner;
    seal_block(object);
}

/* Marks the transaction as failed: a change was begun and can not be finished. */
static int tree_fail(const struct tree *tree, int error)
{
    if (tree->edit->error == 0)
        tree->edit->error = error;
    return error;
}

static int tree_damaged(const struct tree *tree, unsigned level, uint64_t block, const char *why)
{
    const char *what = level > 0 ? tree->type->node_what : tree->type->leaf_what;
    return meta_damaged(tree->meta, what, block, tree->owner, why);
}

/* Reads and checks a block of the tree. A block can have been verified as one of another kind of
 * the same owner, hence the look at the magic. */
static int tree_block(const struct tree *tree, uint64_t block, unsigned level,
                      const void **ret_block)
{
    const struct tree_type *type = tree->type;
    const void *bytes;
    int rc;

    if (level > 0)
        rc = meta_block(tree->meta, tree->view, block, tree->owner, level, type->node_check,
                        type->node_what, &bytes);
    else
        rc = meta_block(tree->meta, tree->view, block, tree->owner, level, type->leaf_check,
                        type->leaf_what, &bytes);
    if (rc < 0)
        return rc;
    const struct dxf_block_header *header = bytes;
    if (le32_get(header->magic) != (level > 0 ? type->node_magic : type->leaf_magic))
        return tree_damaged(tree, level, block, "the block is of another kind");
    *ret_block = bytes;
    return 0;
}

/* An inner node that serves [low, high): what T2 and T3 ask beyond the check of the block. */
static int tree_node(const struct tree *tree, uint64_t block, unsigned level, uint64_t low,
                     uint64_t high, const struct dxf_node **ret_node)
{
    const void *bytes;
    int rc = tree_block(tree, block, level, &bytes);
    if (rc < 0)
        return rc;
    const struct dxf_node *node = bytes;
    unsigned count = node_count(node);
    if (count == 0 || count > DXF_NODE_ENTRIES || node_key(node, 0) != low ||
        node_key(node, count - 1) >= high)
        return tree_damaged(tree, level, block, "keys do not fit the node above");
    *ret_node = node;
    return 0;
}

/* The last entry whose key is <= key; the first one's always counts as such. */
static unsigned node_search(const struct dxf_node *node, uint64_t key)
{
    unsigned low = 0, high = node_count(node);
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (node_key(node, middle) <= key)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Where in the node at `level` a descent goes on. */
enum tree_side { TREE_BY_KEY, TREE_FIRST, TREE_LAST };

/* From path->node[level], which serves [path->low, path->high), down to a leaf. */
static int tree_descend(const struct tree *tree, struct tree_path *path, unsigned level,
                        enum tree_side side, uint64_t key)
{
    for (; level > 0; level--) {
        const struct dxf_node *node = NULL;
        int rc = tree_node(tree, path->node[level], level, path->low, path->high, &node);
        if (rc < 0)
            return rc;
        unsigned index = 0;
        if (side == TREE_BY_KEY)
            index = node_search(node, key);
        else if (side == TREE_LAST)
            index = node_count(node) - 1;
        path->index[level] = (uint16_t)index;
        path->low = node_key(node, index);
        if (index + 1 < node_count(node))
            path->high = node_key(node, index + 1);
        path->node[level - 1] = node_child(node, index);
    }
    return tree_block(tree, path->node[0], 0, &path->leaf);
}

int tree_find(const struct tree *tree, uint64_t key, struct tree_path *ret_path)
{
    if (tree->levels == 0)
        return -ENOENT;
    if (tree->levels > DXF_TREE_LEVELS_MAX)
        return tree_damaged(tree, 0, tree->root, "the tree has too many levels");

    struct tree_path path = { .low = 0, .high = UINT64_MAX };
    path.node[tree->levels - 1] = tree->root;
    int rc = tree_descend(tree, &path, tree->levels - 1, TREE_BY_KEY, key);
    if (rc < 0)
        return rc;
    *ret_path = path;
    return 0;
}

/* The leaf on the other side of the border `key` of the path: as a find for a key there, which
 * checks every node against its range again. */
int tree_next(const struct tree *tree, struct tree_path *path)
{
    if (path->high == UINT64_MAX)
        return -ENOENT;
    return tree_find(tree, path->high, path);
}

int tree_prev(const struct tree *tree, struct tree_path *path)
{
    if (path->low == 0)
        return -ENOENT;
    return tree_find(tree, path->low - 1, path);
}

static void *tree_edit_block(struct tree *tree, uint64_t block, unsigned level)
{
    return txn_edit(tree->edit, block << DXF_BLOCK_SHIFT, DXF_BLOCK_SIZE,
                    level > 0 ? seal_header : tree->type->leaf_seal, tree->owner);
}

void *tree_leaf_edit(struct tree *tree, struct tree_path *path)
{
    void *leaf = tree_edit_block(tree, path->node[0], 0);
    if (leaf != NULL)
        path->leaf = leaf;
    return leaf;
}

static int tree_block_new(struct tree *tree, uint64_t near, unsigned level, uint64_t *ret_block,
                          void **ret_bytes)
{
    struct space_request request = { .goal = near, .want = 1, .flags = SPACE_METADATA };
    struct space_extent extent;
    int rc = space_alloc(tree->edit, &request, &extent);
    if (rc < 0)
        return tree_fail(tree, rc);

    /* What the block was before may be marked as verified. */
    pool_block_clear_verified(tree->meta->pool, extent.start, 1);
    struct dxf_block_header *header = txn_fresh(
        tree->edit, extent.start, level > 0 ? seal_header : tree->type->leaf_seal, tree->owner);
    if (header == NULL)
        return -ENOMEM;
    header->magic = le32_make(level > 0 ? tree->type->node_magic : tree->type->leaf_magic);
    header->owner = le64_make(tree->owner);
    header->self = le64_make(extent.start);
    header->level = le16_make((uint16_t)level);
    tree->blocks++;
    *ret_block = extent.start;
    *ret_bytes = header;
    return 0;
}

int tree_leaf_new(struct tree *tree, uint64_t near, uint64_t *ret_block, void **ret_leaf)
{
    return tree_block_new(tree, near, 0, ret_block, ret_leaf);
}

void tree_plant(struct tree *tree, uint64_t leaf)
{
    assert(tree->levels == 0);
    tree->root = leaf;
    tree->levels = 1;
}

static int tree_block_free(struct tree *tree, uint64_t block)
{
    int rc = space_free(tree->edit, block, 1, SPACE_METADATA);
    if (rc < 0)
        return tree_fail(tree, rc);
    txn_forget(tree->edit, block);
    pool_block_clear_verified(tree->meta->pool, block, 1);
    tree->blocks--;
    return 0;
}

static void node_set(struct dxf_node *node, unsigned index, uint64_t key, uint64_t child)
{
    node->index[index].key = le64_make(key);
    node->index[index].child = le64_make(child);
}

static void node_insert(struct dxf_node *node, unsigned index, uint64_t key, uint64_t child)
{
    unsigned count = node_count(node);
    assert(count < DXF_NODE_ENTRIES && index <= count);
    memmove(&node->index[index + 1], &node->index[index], (count - index) * sizeof(node->index[0]));
    node_set(node, index, key, child);
    node->header.count = le16_make((uint16_t)(count + 1));
}

/* A full node becomes two; the entry goes where it belongs. *key and *child become those of the new
 * node, for the level above. at_edge: the node is the last of its level. */
static int node_split(struct tree *tree, uint64_t block, struct dxf_node *node, unsigned level,
                      unsigned index, bool at_edge, uint64_t *key, uint64_t *child)
{
    uint64_t right_block;
    void *bytes;
    int rc = tree_block_new(tree, block, level, &right_block, &bytes);
    if (rc < 0)
        return rc;
    struct dxf_node *right = bytes;
    unsigned count = node_count(node);
    unsigned keep = at_edge && index == count ? count : count / 2;

    memcpy(right->index, &node->index[keep], (count - keep) * sizeof(node->index[0]));
    memset(&node->index[keep], 0, (count - keep) * sizeof(node->index[0]));
    node->header.count = le16_make((uint16_t)keep);
    right->header.count = le16_make((uint16_t)(count - keep));
    if (index < keep || (index == keep && keep < count))
        node_insert(node, index, *key, *child);
    else
        node_insert(right, index - keep, *key, *child);
    *key = node_key(right, 0);
    *child = right_block;
    return 0;
}

int tree_add(struct tree *tree, const struct tree_path *path, uint64_t key, uint64_t leaf)
{
    assert(path->low < key && key < path->high);
    uint64_t child = leaf;

    for (unsigned level = 1; level < tree->levels; level++) {
        struct dxf_node *node = tree_edit_block(tree, path->node[level], level);
        if (node == NULL)
            return -ENOMEM;
        unsigned index = path->index[level] + 1u;
        if (node_count(node) < DXF_NODE_ENTRIES) {
            node_insert(node, index, key, child);
            return 0;
        }
        int rc = node_split(tree, path->node[level], node, level, index, path->high == UINT64_MAX,
                            &key, &child);
        if (rc < 0)
            return rc;
    }

    if (tree->levels == DXF_TREE_LEVELS_MAX)
        return tree_fail(tree, -EFBIG);
    uint64_t block;
    void *bytes;
    int rc = tree_block_new(tree, tree->root, tree->levels, &block, &bytes);
    if (rc < 0)
        return rc;
    struct dxf_node *root = bytes;
    node_insert(root, 0, 0, tree->root);
    node_insert(root, 1, key, child);
    tree->root = block;
    tree->levels++;
    return 0;
}

/* The nodes on the left edge below `level` begin at `key` from now on (T2); the leaf has no key. */
static int tree_lower_edge(struct tree *tree, uint64_t block, unsigned level, uint64_t key)
{
    for (; level > 0; level--) {
        const void *bytes;
        int rc = tree_block(tree, block, level, &bytes);
        if (rc < 0)
            return tree_fail(tree, rc);
        struct dxf_node *node = tree_edit_block(tree, block, level);
        if (node == NULL)
            return -ENOMEM;
        node->index[0].key = le64_make(key);
        block = node_child(node, 0);
    }
    return 0;
}

/* A root with one child gives way to it. */
static int tree_collapse(struct tree *tree)
{
    while (tree->levels > 1) {
        const void *bytes;
        int rc = tree_block(tree, tree->root, tree->levels - 1, &bytes);
        if (rc < 0)
            return tree_fail(tree, rc);
        const struct dxf_node *node = bytes;
        if (node_count(node) > 1)
            return 0;
        uint64_t child = node_child(node, 0);
        rc = tree_block_free(tree, tree->root);
        if (rc < 0)
            return rc;
        tree->root = child;
        tree->levels--;
    }
    return 0;
}

int tree_remove(struct tree *tree, const struct tree_path *path)
{
    int rc = tree_block_free(tree, path->node[0]);
    if (rc < 0)
        return rc;

    for (unsigned level = 1; level < tree->levels; level++) {
        struct dxf_node *node = tree_edit_block(tree, path->node[level], level);
        if (node == NULL)
            return -ENOMEM;
        unsigned index = path->index[level];
        unsigned count = node_count(node);
        if (count == 1) {
            rc = tree_block_free(tree, path->node[level]);
            if (rc < 0)
                return rc;
            continue;
        }
        uint64_t low = node_key(node, 0);
        memmove(&node->index[index], &node->index[index + 1],
                (count - index - 1) * sizeof(node->index[0]));
        node_set(node, count - 1, 0, 0);
        node->header.count = le16_make((uint16_t)(count - 1));
        if (index == 0) {
            node->index[0].key = le64_make(low);
            rc = tree_lower_edge(tree, node_child(node, 0), level - 1, low);
            if (rc < 0)
                return rc;
        }
        return tree_collapse(tree);
    }
    tree->root = 0;
    tree->levels = 0;
    return 0;
}

int tree_set_low(struct tree *tree, struct tree_path *path, uint64_t key)
{
    unsigned level = 1;
    while (level < tree->levels && path->index[level] == 0)
        level++;
    assert(level < tree->levels && key < path->high);

    struct dxf_node *node = tree_edit_block(tree, path->node[level], level);
    if (node == NULL)
        return -ENOMEM;
    unsigned index = path->index[level];
    assert(node_key(node, index - 1) < key);
    node->index[index].key = le64_make(key);
    path->low = key;
    return tree_lower_edge(tree, path->node[level - 1], level - 1, key);
}

static int tree_walk_below(const struct tree *tree, uint64_t block, unsigned level, uint64_t low,
                           uint64_t high, int (*fn)(void *arg, uint64_t block, bool leaf),
                           void *arg)
{
    int rc;
    if (level == 0)
        return fn(arg, block, true);

    const struct dxf_node *node = NULL;
    rc = tree_node(tree, block, level, low, high, &node);
    if (rc < 0)
        return rc;
    rc = fn(arg, block, false);
    for (unsigned i = 0; rc == 0 && i < node_count(node); i++) {
        uint64_t end = i + 1 < node_count(node) ? node_key(node, i + 1) : high;
        rc = tree_walk_below(tree, node_child(node, i), level - 1, node_key(node, i), end, fn, arg);
    }
    return rc;
}

int tree_walk_blocks(const struct tree *tree, int (*fn)(void *arg, uint64_t block, bool leaf),
                     void *arg)
{
    if (tree->levels == 0)
        return 0;
    if (tree->levels > DXF_TREE_LEVELS_MAX)
        return tree_damaged(tree, 0, tree->root, "the tree has too many levels");
    return tree_walk_below(tree, tree->root, tree->levels - 1, 0, UINT64_MAX, fn, arg);
}

int tree_release(struct tree *tree)
{
    while (tree->levels > 0) {
        struct tree_path path;
        int rc = tree_find(tree, UINT64_MAX, &path);
        if (rc < 0)
            return tree_fail(tree, rc);
        rc = tree_remove(tree, &path);
        if (rc < 0)
            return rc;
    }
    return 0;
}
