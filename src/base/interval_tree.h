/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Intervals [start, end) of uint64_t, found by overlap.
 *
 * Owns nothing: the nodes are the caller's, in its own structures, and so is the lock around all
 * calls. Takes no lock, allocates nothing. Intervals may overlap and be equal; equal starts stay in
 * the order in which they were inserted.
 *
 * A node may be marked, and a search for marked nodes passes by every part of the tree without one.
 *
 * The tree is a treap (R. Seidel, C. Aragon, "Randomized Search Trees", 1996): ordered by start, and a
 * heap by a random priority, which gives logarithmic depth whatever the order of insertion. Each node
 * also knows the greatest end in its subtree, of all nodes and of the marked ones, which is what makes
 * it an interval tree.
 */
#ifndef DAXFUSE_BASE_INTERVAL_TREE_H
#define DAXFUSE_BASE_INTERVAL_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct interval_node {
    struct interval_node *left, *right, *parent;
    uint64_t start, end; /* start < end; not to be changed while in a tree */
    uint64_t max_end;    /* in this subtree */
    uint64_t max_marked; /* of the marked nodes in this subtree, 0: none */
    uint32_t priority;   /* not less than the children's */
    bool marked;
};

struct interval_tree {
    struct interval_node *root;
};

/* Which nodes a search looks for. */
enum interval_which {
    INTERVAL_ALL,
    INTERVAL_MARKED,
};

/* NODE needs only start, end and marked to be set. */
void interval_tree_insert(struct interval_tree *tree, struct interval_node *node);
void interval_tree_remove(struct interval_tree *tree, struct interval_node *node);
void interval_tree_mark(struct interval_node *node, bool marked);

/*
 * The nodes that overlap [start, end), in the order of their starts; NULL: no more. Between first and
 * next marks may change, but nothing may be inserted or removed.
 */
struct interval_node *interval_tree_first(const struct interval_tree *tree, uint64_t start,
                                          uint64_t end, enum interval_which which);
struct interval_node *interval_tree_next(struct interval_node *node, uint64_t start, uint64_t end,
                                         enum interval_which which);

#endif
