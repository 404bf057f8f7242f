/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The treap of intervals of base/interval_tree.h. */
#include "base/interval_tree.h"

#include <assert.h>

/* Priorities need to be unlike each other, not secret; each thread draws its own (xorshift). */
static uint32_t priority_draw(void)
{
    static _Thread_local uint32_t state;

    if (!state)
        state = (uint32_t)((uintptr_t)&state >> 4) * 2654435761U | 1;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Brings NODE's maxima up to date with its children; whether they changed. */
static bool node_update(struct interval_node *node)
{
    uint64_t max_end = node->end;
    uint64_t max_marked = node->marked ? node->end : 0;
    bool changed;

    if (node->left) {
        max_end = max_u64(max_end, node->left->max_end);
        max_marked = max_u64(max_marked, node->left->max_marked);
    }
    if (node->right) {
        max_end = max_u64(max_end, node->right->max_end);
        max_marked = max_u64(max_marked, node->right->max_marked);
    }
    changed = max_end != node->max_end || max_marked != node->max_marked;
    node->max_end = max_end;
    node->max_marked = max_marked;
    return changed;
}

/* From NODE to the root, as far as anything changes. */
static void path_update(struct interval_node *node)
{
    while (node && node_update(node))
        node = node->parent;
}

static void child_replace(struct interval_tree *tree, struct interval_node *parent,
                          const struct interval_node *from, struct interval_node *to)
{
    if (!parent)
        tree->root = to;
    else if (parent->left == from)
        parent->left = to;
    else
        parent->right = to;
    if (to)
        to->parent = parent;
}

/* NODE takes the place of its parent, which becomes its child; the order stays. */
static void rotate_up(struct interval_tree *tree, struct interval_node *node)
{
    struct interval_node *parent = node->parent;
    struct interval_node *middle;

    child_replace(tree, parent->parent, parent, node);
    if (parent->left == node) {
        middle = node->right;
        node->right = parent;
        parent->left = middle;
    } else {
        middle = node->left;
        node->left = parent;
        parent->right = middle;
    }
    if (middle)
        middle->parent = parent;
    parent->parent = node;
    node_update(parent);
    node_update(node);
}

void interval_tree_insert(struct interval_tree *tree, struct interval_node *node)
{
    struct interval_node **link = &tree->root;
    struct interval_node *parent = NULL;

    assert(node->start < node->end);
    while (*link) {
        parent = *link;
        link = node->start < parent->start ? &parent->left : &parent->right;
    }
    *link = node;
    node->left = NULL;
    node->right = NULL;
    node->parent = parent;
    node->max_end = node->end;
    node->max_marked = node->marked ? node->end : 0;
    node->priority = priority_draw();
    path_update(parent);
    while (node->parent && node->parent->priority < node->priority)
        rotate_up(tree, node);
}

void interval_tree_remove(struct interval_tree *tree, struct interval_node *node)
{
    while (node->left && node->right)
        rotate_up(tree, node->left->priority > node->right->priority ? node->left : node->right);
    child_replace(tree, node->parent, node, node->left ? node->left : node->right);
    path_update(node->parent);
}

void interval_tree_mark(struct interval_node *node, bool marked)
{
    node->marked = marked;
    path_update(node);
}

/* Whether a node that WHICH looks for and that ends after START is in the subtree of NODE. */
static bool subtree_reaches(const struct interval_node *node, uint64_t start,
                            enum interval_which which)
{
    return node && (which == INTERVAL_MARKED ? node->max_marked : node->max_end) > start;
}

static bool node_matches(const struct interval_node *node, uint64_t start,
                         enum interval_which which)
{
    return node->end > start && (which == INTERVAL_ALL || node->marked);
}

/*
 * The first match below NODE. If the left subtree has a node that ends after START, that node either
 * matches or begins at END or later, and then so does everything to its right: no way back is needed.
 */
static struct interval_node *subtree_first(struct interval_node *node, uint64_t start, uint64_t end,
                                           enum interval_which which)
{
    while (node) {
        if (subtree_reaches(node->left, start, which)) {
            node = node->left;
            continue;
        }
        if (node->start >= end)
            return NULL;
        if (node_matches(node, start, which))
            return node;
        node = subtree_reaches(node->right, start, which) ? node->right : NULL;
    }
    return NULL;
}

struct interval_node *interval_tree_first(const struct interval_tree *tree, uint64_t start,
                                          uint64_t end, enum interval_which which)
{
    if (!subtree_reaches(tree->root, start, which))
        return NULL;
    return subtree_first(tree->root, start, end, which);
}

struct interval_node *interval_tree_next(struct interval_node *node, uint64_t start, uint64_t end,
                                         enum interval_which which)
{
    struct interval_node *child;

    for (;;) {
        if (subtree_reaches(node->right, start, which))
            return subtree_first(node->right, start, end, which);
        do {
            child = node;
            node = node->parent;
            if (!node)
                return NULL;
        } while (child == node->right);
        if (node->start >= end)
            return NULL;
        if (node_matches(node, start, which))
            return node;
    }
}
