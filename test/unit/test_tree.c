/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inner nodes of B+trees against an array of the leaves' ranges. The leaves are empty but for a
 * number; what matters is which keys lead to which of them.
 */
#include "base/checksum.h"
#include "base/endian.h"
#include "media/validate.h"
#include "meta/tree.h"
#include "meta_fixture.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OWNER 77

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed = checksum64(&seed, sizeof(seed), 11);
    return (seed >> 4) % below;
}

/* ---- leaves ----------------------------------------------------------------------------------- */

static const char *node_check(const void *block, uint64_t self, uint64_t owner, unsigned level,
                              uint64_t blocks)
{
    return validate_extent_node(block, self, owner, level, blocks);
}

static const char *leaf_check(const void *block, uint64_t self, uint64_t owner, unsigned level,
                              uint64_t blocks)
{
    const struct dxf_block_header *header = block;
    (void)blocks;
    if (le32_get(header->magic) != DXF_MAGIC_DIR_LEAF || le64_get(header->self) != self ||
        le64_get(header->owner) != owner || level != 0)
        return "not a leaf of the test";
    return NULL;
}

static void leaf_seal(void *leaf, uint64_t owner)
{
    (void)owner;
    seal_dir_leaf(leaf);
}

static const struct tree_type type = {
    .node_what = "test node",
    .leaf_what = "test leaf",
    .node_magic = DXF_MAGIC_EXTENT_NODE,
    .leaf_magic = DXF_MAGIC_DIR_LEAF,
    .node_check = node_check,
    .leaf_check = leaf_check,
    .leaf_seal = leaf_seal,
};

/* ---- the model -------------------------------------------------------------------------------- */

struct model_leaf {
    uint64_t low, block;
};

struct model {
    struct model_leaf *leaf;
    unsigned count;
    uint64_t root;
    unsigned levels;
    int64_t blocks;
};

#define KEYS (1ull << 40)

static uint64_t model_high(const struct model *model, unsigned i)
{
    return i + 1 < model->count ? model->leaf[i + 1].low : UINT64_MAX;
}

static unsigned model_find(const struct model *model, uint64_t key)
{
    unsigned low = 0, high = model->count;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (model->leaf[middle].low <= key)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void model_insert(struct model *model, unsigned i, uint64_t low, uint64_t block)
{
    memmove(&model->leaf[i + 1], &model->leaf[i], (model->count - i) * sizeof(model->leaf[0]));
    model->leaf[i] = (struct model_leaf){ low, block };
    model->count++;
}

/* The range of a leaf that goes falls to the one before, or to the next if there is none in the same
 * node: which of them, the tree tells. */
static void model_remove(struct model *model, unsigned i, bool to_next)
{
    if (to_next && i + 1 < model->count)
        model->leaf[i + 1].low = model->leaf[i].low;
    model->count--;
    memmove(&model->leaf[i], &model->leaf[i + 1], (model->count - i) * sizeof(model->leaf[0]));
}

static struct tree tree_of(struct meta_fixture *f, struct txn *txn, const struct model *model)
{
    return (struct tree){ .meta = f->meta,
                          .type = &type,
                          .view = txn,
                          .edit = txn,
                          .owner = OWNER,
                          .root = model->root,
                          .levels = model->levels };
}

static void path_check(const struct tree_path *path, const struct model *model, unsigned i)
{
    ck_assert_uint_eq(path->low, model->leaf[i].low);
    ck_assert_uint_eq(path->high, model_high(model, i));
    ck_assert_uint_eq(path->node[0], model->leaf[i].block);
}

/* A root has more than one child, or is a leaf. */
static void root_check(const struct tree *tree)
{
    if (tree->levels < 2)
        return;
    const struct dxf_node *root = pool_block(tree->meta->pool, tree->root);
    if (tree->view != NULL)
        root =
            txn_view(tree->view, tree->meta->pool, tree->root << DXF_BLOCK_SHIFT, DXF_BLOCK_SIZE);
    ck_assert_uint_gt(le16_get(root->header.count), 1);
}

static void whole_check(const struct tree *tree, const struct model *model)
{
    struct tree_path path;
    int rc = tree_find(tree, 0, &path);

    if (model->count == 0) {
        ck_assert_int_eq(rc, -ENOENT);
        return;
    }
    ck_assert_int_eq(rc, 0);
    root_check(tree);
    for (unsigned i = 0; i < model->count; i++) {
        path_check(&path, model, i);
        ck_assert_int_eq(tree_next(tree, &path), i + 1 < model->count ? 0 : -ENOENT);
    }
    for (unsigned i = model->count; i-- > 0;) {
        path_check(&path, model, i);
        ck_assert_int_eq(tree_prev(tree, &path), i > 0 ? 0 : -ENOENT);
    }
}

static int count_block(void *arg, uint64_t block, bool leaf)
{
    (void)block;
    (void)leaf;
    ++*(int64_t *)arg;
    return 0;
}

/* ---- random changes --------------------------------------------------------------------------- */

static void tree_change(struct tree *tree, struct model *model, unsigned most)
{
    struct tree_path path;

    if (model->count == 0) {
        uint64_t block;
        void *leaf;
        ck_assert_int_eq(tree_leaf_new(tree, 0, &block, &leaf), 0);
        tree_plant(tree, block);
        model_insert(model, 0, 0, block);
        return;
    }
    uint64_t key = draw(KEYS);
    if (draw(8) == 0)
        key = draw(2) ? 0 : KEYS - 1;
    unsigned i = model_find(model, key);
    ck_assert_int_eq(tree_find(tree, key, &path), 0);
    path_check(&path, model, i);

    uint64_t what = draw(16);
    if (what < (model->count < most ? 9 : 3)) {
        uint64_t low = path.low + 1, high = path.high < KEYS ? path.high : KEYS;
        if (low >= high)
            return;
        uint64_t border = draw(4) == 0 ? low : low + draw(high - low), block;
        void *leaf;
        ck_assert_int_eq(tree_leaf_new(tree, path.node[0], &block, &leaf), 0);
        ck_assert_int_eq(tree_add(tree, &path, border, block), 0);
        model_insert(model, i + 1, border, block);
    } else if (what < 13) {
        bool to_next = tree->levels > 1 && path.index[1] == 0;
        /* The only child of its node takes the node along; then the level above decides. */
        for (unsigned level = 1; level < tree->levels; level++) {
            const struct dxf_node *node = txn_view(
                tree->edit, tree->meta->pool, path.node[level] << DXF_BLOCK_SHIFT, DXF_BLOCK_SIZE);
            if (le16_get(node->header.count) > 1) {
                to_next = path.index[level] == 0;
                break;
            }
        }
        ck_assert_int_eq(tree_remove(tree, &path), 0);
        model_remove(model, i, to_next);
    } else if (i > 0) {
        uint64_t low = model->leaf[i - 1].low + 1, high = path.high < KEYS ? path.high : KEYS;
        uint64_t border = low + draw(high - low);
        ck_assert_int_eq(tree_set_low(tree, &path, border), 0);
        ck_assert_uint_eq(path.low, border);
        model->leaf[i].low = border;
    }
}

static void random_run(uint64_t first_seed, unsigned steps, unsigned most)
{
    struct meta_fixture f;
    struct model model = { .leaf = calloc(most + 64, sizeof(struct model_leaf)) };
    struct model saved = { .leaf = calloc(most + 64, sizeof(struct model_leaf)) };
    struct space_info info;

    ck_assert(model.leaf != NULL && saved.leaf != NULL);
    seed = first_seed;
    meta_fixture_open(&f, 64);
    space_get_info(f.space, &info);
    uint64_t free_at_start = info.free;
    for (unsigned step = 0; step < steps; step++) {
        struct txn txn;
        bool abort = draw(8) == 0;
        struct model_leaf *leaves = saved.leaf;
        saved = model;
        saved.leaf = leaves;
        if (abort)
            memcpy(saved.leaf, model.leaf, model.count * sizeof(model.leaf[0]));

        txn_begin(&txn, f.space);
        struct tree tree = tree_of(&f, &txn, &model);
        for (uint64_t changes = 1 + draw(3); changes > 0; changes--)
            tree_change(&tree, &model, most);
        if (step % 64 == 0)
            whole_check(&tree, &model);
        if (abort) {
            txn_abort(&txn);
            leaves = model.leaf;
            model = saved;
            saved.leaf = leaves;
        } else {
            ck_assert_int_eq(txn_commit(&txn, NULL), 0);
            model.root = tree.root;
            model.levels = tree.levels;
            model.blocks += tree.blocks;
        }
        if (step % 64 == 0) {
            tree = tree_of(&f, NULL, &model);
            whole_check(&tree, &model);
        }
        if (step % 1024 == 0)
            meta_fixture_remount(&f);
    }

    struct tree tree = tree_of(&f, NULL, &model);
    int64_t blocks = 0;
    whole_check(&tree, &model);
    ck_assert_int_eq(tree_walk_blocks(&tree, count_block, &blocks), 0);
    ck_assert_int_eq(blocks, model.blocks);
    space_get_info(f.space, &info);
    ck_assert_uint_eq(info.free + (uint64_t)blocks, free_at_start);

    while (model.count > 0) {
        struct txn txn;
        struct tree_path path;
        txn_begin(&txn, f.space);
        tree = tree_of(&f, &txn, &model);
        for (unsigned i = 0; i < 8 && tree.levels > 0; i++) {
            ck_assert_int_eq(tree_find(&tree, draw(KEYS), &path), 0);
            ck_assert_int_eq(tree_remove(&tree, &path), 0);
            root_check(&tree);
            model.count--;
        }
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        model.root = tree.root;
        model.levels = tree.levels;
    }
    ck_assert_uint_eq(model.levels, 0);
    space_get_info(f.space, &info);
    ck_assert_uint_eq(info.free, free_at_start);
    meta_fixture_close(&f);
    free(model.leaf);
    free(saved.leaf);
}

START_TEST(random_small)
{
    random_run(101 + (uint64_t)_i, 20000, 12);
}
END_TEST

START_TEST(random_large)
{
    random_run(501 + (uint64_t)_i, 6000, 3000);
}
END_TEST

/* Appended to, nodes are full; taken from the front and from the back, it is empty at the end. */
START_TEST(three_levels)
{
    struct meta_fixture f;
    struct model model = { 0 };
    struct txn txn;
    struct tree_path path;
    unsigned leaves = DXF_NODE_ENTRIES * DXF_NODE_ENTRIES + 1;

    meta_fixture_open(&f, 320);
    for (unsigned i = 0; i < leaves;) {
        txn_begin(&txn, f.space);
        struct tree tree = tree_of(&f, &txn, &model);
        for (unsigned k = 0; k < 32 && i < leaves; k++, i++) {
            uint64_t block;
            void *leaf;
            ck_assert_int_eq(tree_leaf_new(&tree, 0, &block, &leaf), 0);
            if (i == 0) {
                tree_plant(&tree, block);
                continue;
            }
            ck_assert_int_eq(tree_find(&tree, UINT64_MAX, &path), 0);
            ck_assert_int_eq(tree_add(&tree, &path, i * 10ull, block), 0);
        }
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        model.root = tree.root;
        model.levels = tree.levels;
        model.blocks += tree.blocks;
    }
    ck_assert_uint_eq(model.levels, 4);
    ck_assert_int_eq(model.blocks, leaves + (DXF_NODE_ENTRIES + 1) + 2 + 1);
    meta_fixture_remount(&f);
    for (unsigned i = 0; i < leaves; i += 1 + i % 97) {
        struct tree tree = tree_of(&f, NULL, &model);
        ck_assert_int_eq(tree_find(&tree, i * 10ull + 3, &path), 0);
        ck_assert_uint_eq(path.low, i * 10ull);
    }
    for (bool front = true; model.levels > 0; front = !front) {
        txn_begin(&txn, f.space);
        struct tree tree = tree_of(&f, &txn, &model);
        for (unsigned k = 0; k < 32 && tree.levels > 0; k++) {
            ck_assert_int_eq(tree_find(&tree, front ? 0 : UINT64_MAX, &path), 0);
            ck_assert_int_eq(tree_remove(&tree, &path), 0);
        }
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        model.root = tree.root;
        model.levels = tree.levels;
        model.blocks += tree.blocks;
    }
    ck_assert_int_eq(model.blocks, 0);
    meta_fixture_close(&f);
}
END_TEST

/* ---- damage ----------------------------------------------------------------------------------- */

/* A tree of two levels with many leaves, written and known to be good. */
static void grow_two_levels(struct meta_fixture *f, struct model *model, unsigned leaves)
{
    for (unsigned i = 0; i < leaves;) {
        struct txn txn;
        struct tree_path path;
        txn_begin(&txn, f->space);
        struct tree tree = tree_of(f, &txn, model);
        for (unsigned k = 0; k < 32 && i < leaves; k++, i++) {
            uint64_t block;
            void *leaf;
            ck_assert_int_eq(tree_leaf_new(&tree, 0, &block, &leaf), 0);
            if (i == 0) {
                tree_plant(&tree, block);
                continue;
            }
            ck_assert_int_eq(tree_find(&tree, UINT64_MAX, &path), 0);
            ck_assert_int_eq(tree_add(&tree, &path, i * 10ull, block), 0);
        }
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        model->root = tree.root;
        model->levels = tree.levels;
    }
}

static int walk_all(struct meta_fixture *f, const struct model *model)
{
    struct tree tree = tree_of(f, NULL, model);
    struct tree_path path;
    unsigned steps = 0;
    int rc = tree_find(&tree, 0, &path);
    while (rc == 0 && ++steps < 1000000)
        rc = tree_next(&tree, &path);
    return rc;
}

START_TEST(damage_ends)
{
    struct meta_fixture f;
    struct model model = { 0 };

    meta_fixture_open(&f, 32);
    grow_two_levels(&f, &model, 600);
    ck_assert_int_eq(walk_all(&f, &model), -ENOENT);
    struct dxf_node *root = pool_block(f.pool, model.root);
    uint64_t first = le64_get(root->index[0].child);
    struct dxf_node good = *root;

    /* A child that is reached by two keys. */
    root->index[1].child = root->index[0].child;
    seal_block(&root->header);
    ck_assert_int_eq(walk_all(&f, &model), -EUCLEAN);

    /* A node that is its own child's child: its level is not what it should be. */
    *root = good;
    struct dxf_node *child = pool_block(f.pool, first);
    struct dxf_node good_child = *child;
    child->index[3].child = le64_make(model.root);
    seal_block(&child->header);
    ck_assert_int_eq(walk_all(&f, &model), -EUCLEAN);
    int64_t count = 0;
    struct tree tree = tree_of(&f, NULL, &model);
    ck_assert_int_eq(tree_walk_blocks(&tree, count_block, &count), 0);

    /* A flipped bit is met after a remount, and only by those whose way it is on. */
    *child = good_child;
    ck_assert_int_eq(walk_all(&f, &model), -ENOENT);
    child->index[5].key = le64_make(le64_get(child->index[5].key) ^ 1);
    meta_fixture_remount(&f);
    child = pool_block(f.pool, first);
    struct tree_path path;
    tree = tree_of(&f, NULL, &model);
    ck_assert_int_eq(tree_find(&tree, 25, &path), -EUCLEAN);
    ck_assert_int_eq(tree_find(&tree, 5990, &path), 0);

    /* Numbers outside the pool, too many levels. */
    struct model wild = model;
    wild.root = f.pool->blocks;
    ck_assert_int_eq(walk_all(&f, &wild), -EUCLEAN);
    wild.root = UINT64_MAX / DXF_BLOCK_SIZE;
    ck_assert_int_eq(walk_all(&f, &wild), -EUCLEAN);
    wild = model;
    wild.levels = DXF_TREE_LEVELS_MAX + 1;
    ck_assert_int_eq(walk_all(&f, &wild), -EUCLEAN);
    meta_fixture_close(&f);
}
END_TEST

/* A failure in the middle leaves a transaction that can only be aborted, and nothing has changed. */
START_TEST(no_space)
{
    struct meta_fixture f;
    struct model model = { 0 };
    struct space_info before, after;
    int rc = 0;

    meta_fixture_open(&f, 8);
    grow_two_levels(&f, &model, 255);
    space_get_info(f.space, &before);
    struct txn txn;
    txn_begin(&txn, f.space);
    struct tree tree = tree_of(&f, &txn, &model);
    while (rc == 0) {
        struct tree_path path;
        uint64_t block;
        void *leaf;
        ck_assert_int_eq(tree_find(&tree, UINT64_MAX, &path), 0);
        rc = tree_leaf_new(&tree, 0, &block, &leaf);
        if (rc == 0)
            rc = tree_add(&tree, &path, path.low + 10, block);
    }
    ck_assert_int_eq(rc, -ENOSPC);
    ck_assert_int_eq(txn_commit(&txn, NULL), -ENOSPC);
    space_get_info(f.space, &after);
    ck_assert_uint_eq(before.free, after.free);
    ck_assert_int_eq(walk_all(&f, &model), -ENOENT);
    meta_fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tree");
    TCase *tcase = tcase_create("tree");
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, random_small, 0, 4);
    tcase_add_loop_test(tcase, random_large, 0, 3);
    tcase_add_test(tcase, three_levels);
    tcase_add_test(tcase, damage_ends);
    tcase_add_test(tcase, no_space);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
