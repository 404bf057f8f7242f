/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L6 above the superblock: images whose objects are valid one by one, with right checksums, and lie
 * about each other, so that one block is two things. What is trusted as metadata is not written as data,
 * whatever is done, and everything ends.
 */
#include "media/validate.h"
#include "meta/dir_internal.h"
#include "test_hostile.h"

/* ---- blocks that are two things ------------------------------------------------------------------ */

static uint64_t root_of(uint64_t ino)
{
    return le64_get(record_of(ino)->tree.root);
}

/* The only extent of the file is this block from now on. */
static void aim(uint64_t ino, uint64_t block)
{
    record_of(ino)->extent[0].word1 = le64_make(block);
    seal_inode(record_of(ino), ino);
}

/* Nothing that is done to the first bytes of the file changes the block. */
static void expect_refused(uint64_t ino, uint64_t block)
{
    static uint8_t before[BLOCK], bytes[BLOCK];
    struct fs_attr attr = { 0 };
    struct fs_handle *handle;

    memcpy(before, block_at(block), BLOCK);
    memset(bytes, 0, sizeof(bytes));
    ck_assert_int_eq(fs_open_file(fs, &rq, ino, O_RDWR, false, &handle), 0);
    ck_assert_int_eq(fs_pread(fs, &rq, handle, bytes, BLOCK, 0), -EUCLEAN);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, bytes, BLOCK, 0), -EUCLEAN);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, bytes, 2 * BLOCK, 0), -EUCLEAN);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, bytes, 1, 7), -EUCLEAN);
    ck_assert_int_eq(fs_fallocate(fs, &rq, handle, FALLOC_FL_ZERO_RANGE, 10, 100), -EUCLEAN);
    ck_assert_int_eq(memcmp(before, block_at(block), BLOCK), 0);
    attr.size = 100;
    ck_assert_int_eq(fs_setattr(fs, &rq, ino, &attr, FS_SET_SIZE, &attr), 0);
    memcpy(before, block_at(block), BLOCK); /* it may be where the record lies */
    attr.size = 200;
    ck_assert_int_eq(fs_setattr(fs, &rq, ino, &attr, FS_SET_SIZE, &attr), -EUCLEAN);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, bytes, 1, 300), -EUCLEAN);
    ck_assert_int_eq(memcmp(before, block_at(block), BLOCK), 0);
    fs_release(fs, handle);
}

/* The file's data are said to lie on a block that was verified, or always is metadata. */
static void data_on(uint64_t block)
{
    struct fs_attr attr;

    aim(ino_a, block);
    fs_start();
    ck_assert_int_eq(lookup(1, "a"), 0);
    lookup(ino_d, "not there");
    for (unsigned i = 0; i < GAPS; i += 200) {
        struct fs_handle *handle;
        char byte;

        ck_assert_int_eq(fs_open_file(fs, &rq, ino_g, O_RDONLY, false, &handle), 0);
        ck_assert_int_eq(fs_pread(fs, &rq, handle, &byte, 1, 2ull * i * BLOCK), 1);
        fs_release(fs, handle);
    }
    ck_assert_int_ge(fs_getxattr(fs, &rq, ino_b, "user.x", NULL, 0), 0);
    expect_refused(ino_a, block);
    ck_assert_int_eq(fs_lookup(fs, &rq, 1, fs_name("b"), &attr), 0);
    fs_forget(fs, attr.ino, 1);
    use_all();
    fs_stop();
}

START_TEST(data_on_directory_leaf)
{
    data_on(root_of(1));
}
END_TEST

START_TEST(data_on_directory_node)
{
    data_on(root_of(ino_d));
}
END_TEST

START_TEST(data_on_extent_node)
{
    data_on(root_of(ino_g));
}
END_TEST

START_TEST(data_on_chain)
{
    data_on(le64_get(record_of(ino_b)->xattr));
}
END_TEST

START_TEST(data_on_inode_table)
{
    data_on(records / BLOCK);
}
END_TEST

START_TEST(data_on_inode_bitmap)
{
    data_on(records / BLOCK - 1);
}
END_TEST

START_TEST(data_on_orphan_table)
{
    data_on(orphan_block);
}
END_TEST

START_TEST(data_on_log)
{
    data_on(le64_get(((struct dxf_super *)(void *)below.memory)->log_start) + 3);
}
END_TEST

START_TEST(data_on_bitmap)
{
    data_on(le64_get(((struct dxf_super *)(void *)below.memory)->bitmap_start));
}
END_TEST

/* One write reads the node after it has planned to overwrite it. */
START_TEST(data_on_node_read_later)
{
    static uint8_t before[BLOCK], zeros[3 * BLOCK];
    struct dxf_node *root = (struct dxf_node *)(void *)block_at(root_of(ino_g)), *leaf;
    uint64_t second = le64_get(root->index[1].child), at;
    struct fs_handle *handle;
    unsigned last;

    leaf = (struct dxf_node *)(void *)block_at(le64_get(root->index[0].child));
    last = le16_get(leaf->header.count) - 1u;
    at = le64_get(leaf->extent[last].word0) >> DXF_EXTENT_LOGICAL_SHIFT;
    leaf->extent[last].word1 = le64_make(second);
    seal_block(&leaf->header);
    memcpy(before, block_at(second), BLOCK);
    fs_start();
    ck_assert_int_eq(fs_open_file(fs, &rq, ino_g, O_RDWR, false, &handle), 0);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, zeros, sizeof(zeros), at * BLOCK), -EUCLEAN);
    ck_assert_int_eq(memcmp(before, block_at(second), BLOCK), 0);
    fs_release(fs, handle);
    use_all();
    fs_stop();
}
END_TEST

/* Giving the file's blocks back must not give the table's away. */
START_TEST(data_given_back)
{
    struct fs_attr attr;

    aim(ino_a, records / BLOCK);
    fs_start();
    fs_unlink(fs, &rq, 1, fs_name("a"));
    ck_assert(atomic_load(&pool->failed));
    ck_assert_int_eq(fs_mkdir(fs, &rq, 1, fs_name("new"), 0755, &attr), -EROFS);
    use_all();
    fs_stop();
}
END_TEST

/* A directory's leaf is said to be a block of the inode table of which no number is in use. */
START_TEST(leaf_on_inode_table)
{
    struct dxf_dir_leaf *leaf = (struct dxf_dir_leaf *)(void *)block_at(table_last);
    struct fs_attr attr;

    memset(leaf, 0, sizeof(*leaf));
    leaf->header.magic = le32_make(DXF_MAGIC_DIR_LEAF);
    leaf->header.owner = le64_make(ino_e);
    leaf->header.self = le64_make(table_last);
    leaf_clear(leaf, ino_e);
    seal_dir_leaf(leaf);
    ck_assert_ptr_eq(validate_dir_leaf(leaf, table_last, ino_e), NULL);
    record_of(ino_e)->tree.root = le64_make(table_last);
    seal_inode(record_of(ino_e), ino_e);
    fs_start();
    ck_assert_int_eq(lookup(ino_e, "x"), -EUCLEAN);
    ck_assert_int_eq(fs_mkdir(fs, &rq, ino_e, fs_name("x"), 0755, &attr), -EUCLEAN);
    use_all();
    fs_stop();
}
END_TEST

/* The tables at mount: on each other, on fixed places, on a leaf. */
START_TEST(tables_on_others)
{
    struct dxf_super *super = (struct dxf_super *)(void *)below.memory;
    struct dxf_anchor *anchor = (struct dxf_anchor *)(void *)block_at(DXF_ANCHOR_BLOCK);
    const uint64_t orphans_at[] = { records / BLOCK, le64_get(super->log_start),
                                    le64_get(super->bitmap_start), table_last };

    for (unsigned i = 0; i < sizeof(orphans_at) / sizeof(orphans_at[0]); i++) {
        aim(DXF_INO_ORPHANS, orphans_at[i]);
        ck_assert_int_eq(fs_try(), -EUCLEAN);
    }
    aim(DXF_INO_ORPHANS, root_of(1));
    fs_start();
    ck_assert_int_eq(lookup(1, "a"), -EUCLEAN);
    use_all();
    fs_stop();

    aim(DXF_INO_ORPHANS, orphan_block);
    anchor->table.extent[0].word1 = le64_make(le64_get(super->log_start));
    seal_inode(&anchor->table, DXF_INO_TABLE);
    ck_assert_int_eq(fs_try(), -EUCLEAN);
}
END_TEST

/* The orphan table's inode is free: the mount says that the pool is damaged. */
START_TEST(no_orphan_table)
{
    memset(record_of(DXF_INO_ORPHANS), 0, sizeof(struct dxf_inode));
    ck_assert_int_eq(fs_try(), -EUCLEAN);
}
END_TEST

/* Everything is free, says the bitmap. */
START_TEST(bitmap_says_free)
{
    struct dxf_super *super = (struct dxf_super *)(void *)below.memory;
    static char bytes[BLOCK];
    struct fs_handle *handle;
    uint64_t ino;
    int r = 0;

    memset(block_at(le64_get(super->bitmap_start)), 0, BLOCK);
    fs_start();
    ck_assert_int_eq(lookup(1, "b"), 0);
    handle = make("new", &ino);
    for (unsigned i = 0; i < POOL_SIZE / BLOCK && r >= 0; i++)
        r = (int)fs_pwrite(fs, &rq, handle, bytes, BLOCK, (uint64_t)i * BLOCK);
    ck_assert_int_eq(r, -EUCLEAN);
    ck_assert(atomic_load(&pool->failed));
    ck_assert_int_eq(lookup(1, "b"), 0);
    fs_release(fs, handle);
    use_all();
    fs_stop();
}
END_TEST

/* The functions of a leaf, given bytes that no check has seen: a mistake elsewhere, or a race. */
START_TEST(leaf_of_anything)
{
    struct dxf_dir_leaf *leaf = malloc(sizeof(*leaf)), *copy = calloc(1, sizeof(*copy));
    struct leaf_place places[DIR_LEAF_ENTRIES];
    struct leaf_survey survey;
    struct dir_name name = { "name", 4 };

    memset(leaf, 0, sizeof(*leaf));
    ck_assert_uint_eq(leaf_find(leaf, 77, name), DIR_NONE);
    srandom(1);
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t *bytes = leaf->entries;

        for (unsigned i = 0; i < sizeof(leaf->entries); i++)
            bytes[i] = (uint8_t)(round % 2 ? random() : random() % 3 == 0 ? 24 : 0);
        leaf_find(leaf, 0, name);
        leaf_survey(leaf, 0, name, 32, &survey);
        ck_assert_uint_le(leaf_sort(leaf, 0, UINT64_MAX, places), DIR_LEAF_ENTRIES);
        leaf_remove(leaf, 9, 0);
        leaf_compact(leaf, 9, UINT64_MAX);
    }
    free(leaf);
    free(copy);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_hostile");
    TCase *tcase = tcase_create("aliases");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 30); /* leaf_of_anything, on a machine that is busy */
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, data_on_directory_leaf);
    tcase_add_test(tcase, data_on_directory_node);
    tcase_add_test(tcase, data_on_extent_node);
    tcase_add_test(tcase, data_on_chain);
    tcase_add_test(tcase, data_on_inode_table);
    tcase_add_test(tcase, data_on_inode_bitmap);
    tcase_add_test(tcase, data_on_orphan_table);
    tcase_add_test(tcase, data_on_log);
    tcase_add_test(tcase, data_on_bitmap);
    tcase_add_test(tcase, data_on_node_read_later);
    tcase_add_test(tcase, data_given_back);
    tcase_add_test(tcase, leaf_on_inode_table);
    tcase_add_test(tcase, tables_on_others);
    tcase_add_test(tcase, no_orphan_table);
    tcase_add_test(tcase, bitmap_says_free);
    tcase_add_test(tcase, leaf_of_anything);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
