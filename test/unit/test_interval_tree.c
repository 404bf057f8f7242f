/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The interval tree against an array that is searched from end to end. */
#include "base/interval_tree.h"

#include <check.h>
#include <stdlib.h>

#define NODES 200
#define SPACE 1000

static struct interval_node nodes[NODES];
static bool present[NODES];

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Checks order, heap, links and maxima below NODE; returns its depth. */
static unsigned int subtree_check(const struct interval_node *node, unsigned int *count)
{
    uint64_t max_end = node->end, max_marked = node->marked ? node->end : 0;
    const struct interval_node *children[2] = { node->left, node->right };
    unsigned int depth = 0;

    ++*count;
    for (int i = 0; i < 2; i++) {
        const struct interval_node *c = children[i];
        unsigned int below;

        if (!c)
            continue;
        ck_assert_ptr_eq(c->parent, node);
        ck_assert_uint_le(c->priority, node->priority);
        if (i == 0)
            ck_assert_uint_le(c->start, node->start);
        else
            ck_assert_uint_ge(c->start, node->start);
        below = subtree_check(c, count);
        depth = below > depth ? below : depth;
        max_end = max_u64(max_end, c->max_end);
        max_marked = max_u64(max_marked, c->max_marked);
    }
    ck_assert_uint_eq(node->max_end, max_end);
    ck_assert_uint_eq(node->max_marked, max_marked);
    return depth + 1;
}

static void tree_check(const struct interval_tree *tree, unsigned int expected)
{
    unsigned int count = 0;

    if (tree->root) {
        ck_assert_ptr_null(tree->root->parent);
        subtree_check(tree->root, &count);
    }
    ck_assert_uint_eq(count, expected);
}

static void search_check(const struct interval_tree *tree, uint64_t start, uint64_t end,
                         enum interval_which which)
{
    unsigned int expected = 0, found = 0;
    uint64_t last = 0;

    for (int i = 0; i < NODES; i++) {
        expected += present[i] && nodes[i].start < end && nodes[i].end > start &&
                    (which == INTERVAL_ALL || nodes[i].marked);
    }
    for (struct interval_node *n = interval_tree_first(tree, start, end, which); n;
         n = interval_tree_next(n, start, end, which)) {
        ck_assert(n->start < end && n->end > start && (which == INTERVAL_ALL || n->marked));
        ck_assert_uint_ge(n->start, last);
        last = n->start;
        found++;
    }
    ck_assert_uint_eq(found, expected);
}

START_TEST(random_operations)
{
    struct interval_tree tree = { 0 };
    unsigned int count = 0;

    srandom(1);
    for (int round = 0; round < 20000; round++) {
        unsigned int i = (unsigned int)random() % NODES;
        uint64_t start = (uint64_t)random() % SPACE;
        uint64_t end = start + 1 + (uint64_t)random() % (random() % 8 ? 20 : SPACE);

        if (present[i] && random() % 4 == 0) {
            interval_tree_mark(&nodes[i], random() % 2);
        } else if (present[i]) {
            interval_tree_remove(&tree, &nodes[i]);
            present[i] = false;
            count--;
        } else {
            nodes[i].start = start;
            nodes[i].end = end;
            nodes[i].marked = random() % 4 == 0;
            interval_tree_insert(&tree, &nodes[i]);
            present[i] = true;
            count++;
        }
        if (round % 16 == 0)
            tree_check(&tree, count);
        search_check(&tree, start, end, INTERVAL_ALL);
        search_check(&tree, start, end, INTERVAL_MARKED);
    }
}
END_TEST

START_TEST(equal_starts_keep_their_order)
{
    struct interval_tree tree = { 0 };
    struct interval_node *n;
    int i = 0;

    for (i = 0; i < 50; i++) {
        nodes[i] = (struct interval_node){ .start = 10, .end = 20 + (uint64_t)(i % 7) };
        interval_tree_insert(&tree, &nodes[i]);
    }
    i = 0;
    for (n = interval_tree_first(&tree, 0, 11, INTERVAL_ALL); n;
         n = interval_tree_next(n, 0, 11, INTERVAL_ALL))
        ck_assert_ptr_eq(n, &nodes[i++]);
    ck_assert_int_eq(i, 50);
}
END_TEST

/* 2^14 nodes inserted in order would be a list without balance; a treap is within 4 log2 n. */
START_TEST(ordered_insertion_stays_flat)
{
    enum { MANY = 1 << 14 };
    struct interval_node *many = calloc(MANY, sizeof(*many));
    struct interval_tree tree = { 0 };
    unsigned int count = 0;

    ck_assert_ptr_nonnull(many);
    for (uint64_t i = 0; i < MANY; i++) {
        many[i].start = i;
        many[i].end = i + 1;
        interval_tree_insert(&tree, &many[i]);
    }
    ck_assert_uint_le(subtree_check(tree.root, &count), 4 * 14);
    ck_assert_uint_eq(count, MANY);
    free(many);
}
END_TEST

START_TEST(ends_of_the_number_space)
{
    struct interval_tree tree = { 0 };

    nodes[0] = (struct interval_node){ .start = UINT64_MAX - 1, .end = UINT64_MAX };
    nodes[1] = (struct interval_node){ .start = 0, .end = 1 };
    interval_tree_insert(&tree, &nodes[0]);
    interval_tree_insert(&tree, &nodes[1]);
    ck_assert_ptr_null(interval_tree_first(&tree, 1, UINT64_MAX - 1, INTERVAL_ALL));
    ck_assert_ptr_eq(interval_tree_first(&tree, 1, UINT64_MAX, INTERVAL_ALL), &nodes[0]);
    ck_assert_ptr_eq(interval_tree_first(&tree, 0, UINT64_MAX, INTERVAL_ALL), &nodes[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("interval_tree");
    TCase *tc = tcase_create("interval_tree");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30); /* the random runs, on a machine that is busy */
    tcase_add_test(tc, random_operations);
    tcase_add_test(tc, equal_starts_keep_their_order);
    tcase_add_test(tc, ordered_insertion_stays_flat);
    tcase_add_test(tc, ends_of_the_number_space);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
