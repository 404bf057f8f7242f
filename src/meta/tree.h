/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inner nodes of B+trees: what extent maps and directories have in common.
 *
 * Owns: nodes of level > 0, the root, the number of levels. What is in a leaf is the caller's; a
 * tree only knows which range of keys a leaf serves. Called by meta/extent_tree.c and meta/dir.c.
 * Locks: the caller holds the owner's LOCK_MAP; exclusive to change.
 *
 * T1 The leaf on a path serves the keys [path.low, path.high); the first leaf's low is 0, the last
 *    one's high is UINT64_MAX; the ranges of neighbours meet.
 * T2 The first key of an inner node equals the node's own low. So a key that is not in any leaf
 *    still has exactly one leaf that it belongs to.
 * T3 Every node on the way down is checked: by its check function on first sight; its magic, owner,
 *    place and level each time; and its keys lie within the range that its parent gives it. So no
 *    node is reached twice in one pass over the keys: a pass ends also when the medium holds a loop.
 *
 * A function that changes the tree and fails leaves it half-changed in the transaction, with
 * txn->error set: the transaction can only be aborted, and then nothing has happened.
 */
#ifndef DAXFUSE_META_TREE_H
#define DAXFUSE_META_TREE_H

#include "meta/meta.h"

struct tree_type {
    const char *node_what; /* for meta_damaged(): "extent node" */
    const char *leaf_what;
    uint32_t node_magic;
    uint32_t leaf_magic;
    meta_check_fn node_check;
    meta_check_fn leaf_check;
    txn_seal_fn leaf_seal; /* arg: owner. Inner nodes are sealed by seal_block() */
};

/* A tree as an inode names it: filled by the caller, who stores root, levels and blocks back into
 * the inode after a change. */
struct tree {
    struct meta *meta;
    const struct tree_type *type;
    const struct txn *view; /* what is read through; may be NULL */
    struct txn *edit;       /* what is changed through (then view is the same); NULL: read only */
    uint64_t owner;         /* inode number */
    uint64_t root;          /* block; 0 while levels is 0 */
    unsigned levels;        /* 0: empty; 1: the root is a leaf */
    int64_t blocks;         /* sum of blocks taken (+) and given back (-): for inode.blocks */
};

/* The way from the root to a leaf. node[0] is the leaf, node[tree.levels - 1] the root; index[l] is
 * the place of node[l - 1] in node[l]. Any change of the tree's shape makes paths invalid. */
struct tree_path {
    uint64_t node[DXF_TREE_LEVELS_MAX];
    uint16_t index[DXF_TREE_LEVELS_MAX]; /* [0] is unused */
    uint64_t low;                        /* first key that the leaf serves */
    uint64_t high;                       /* the first that it does not, or UINT64_MAX */
    const void *leaf;                    /* as view sees it: stale once the leaf is edited */
};

/* To the leaf that serves key. -ENOENT when the tree is empty; -EUCLEAN. */
int tree_find(const struct tree *tree, uint64_t key, struct tree_path *ret_path);

/* To the leaf after or before the one on the path. -ENOENT when there is none (the path then stays
 * as it is); -EUCLEAN. */
int tree_next(const struct tree *tree, struct tree_path *path);
int tree_prev(const struct tree *tree, struct tree_path *path);

/* The leaf to change, 4096 bytes, sealed at commit by leaf_seal; path->leaf is updated. NULL: out of
 * memory, txn->error is set. */
void *tree_leaf_edit(struct tree *tree, struct tree_path *path);

/* A leaf of its own, near `near` (block, or 0): allocated, zero but for its header. It is in the tree
 * once tree_plant() or tree_add() has put it there. -ENOSPC, -ENOMEM. */
int tree_leaf_new(struct tree *tree, uint64_t near, uint64_t *ret_block, void **ret_leaf);

/* Makes a new leaf the root of an empty tree. */
void tree_plant(struct tree *tree, uint64_t leaf);

/*
 * Puts a new leaf to the right of the path's: it serves [key, path->high), the path's leaf what is
 * below. path->low < key < path->high. Full nodes are split up to the root; at the right edge of the
 * tree the left one stays full, so that a tree that is only appended to is full. The path is
 * invalid afterwards. -ENOSPC, -ENOMEM, -EFBIG (too many levels), -EUCLEAN.
 */
int tree_add(struct tree *tree, const struct tree_path *path, uint64_t key, uint64_t leaf);

/*
 * Takes the path's leaf out and gives its block back, with every inner node that empties; its range
 * goes to a neighbour. A root with a single child gives way to the child; the last leaf leaves an
 * empty tree (levels and root 0). Takes no blocks. The path is invalid afterwards.
 * -ENOMEM, -EUCLEAN.
 */
int tree_remove(struct tree *tree, const struct tree_path *path);

/*
 * Moves the border between the path's leaf and the one before it: the leaf serves [key, high) from
 * now on. key must lie above all that the leaf before still holds and not above what this leaf holds;
 * not for the first leaf. path->low follows; other paths are invalid. -ENOMEM, -EUCLEAN.
 */
int tree_set_low(struct tree *tree, struct tree_path *path, uint64_t key);

/* Calls fn for each block of the tree, a node before what is below it; stops at non-zero. */
int tree_walk_blocks(const struct tree *tree, int (*fn)(void *arg, uint64_t block, bool leaf),
                     void *arg);

/* Gives back every block of the tree, leaves too, and leaves it empty; for a tree whose leaves hold
 * nothing any more. -ENOMEM, -EUCLEAN. */
int tree_release(struct tree *tree);

#endif
