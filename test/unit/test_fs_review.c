/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bugs of fs/ that reading it has shown, at the edges: the last block of the largest file, an
 * operation on less than a block, a file without a name that shrinks, a pool without room. Each case
 * is the shortest way to one of them through fs/fs.h.
 */
#include "fs/fs.h"
#include "media/validate.h"
#include "meta/inode.h"
#include "meta/meta.h"
#include "pool_fixture.h"

#include <check.h>
#include <daxfuse/format.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define POOL_SIZE (32ull << 20)
#define BLOCK DXF_BLOCK_SIZE

static struct pool_fixture below;
static struct pool *pool;
static struct fs *fs;
static struct fs_recovered recovered;
static const struct fs_request rq = { .in_group = true };

static void fs_start(void)
{
    struct fs_options options = { 0 };
    struct persist *persist;

    ck_assert_int_eq(persist_open_pmem(below.memory, below.size, &persist), 0);
    ck_assert_int_eq(pool_open_memory(below.memory, below.size, persist, &pool), 0);
    ck_assert_int_eq(fs_open(pool, &options, &fs, &recovered), 0);
}

static void fs_stop(void)
{
    fs_close(fs);
    pool_close(pool);
}

/* What is stored now is what the next mount finds. */
static void crash_and_mount(void)
{
    uint8_t *image =
        mmap(NULL, below.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(image, MAP_FAILED);
    memcpy(image, below.memory, below.size);
    fs_stop();
    memcpy(below.memory, image, below.size);
    munmap(image, below.size);
    fs_start();
}

static void setup(void)
{
    pool_fixture_create(&below, POOL_SIZE);
    ck_assert_int_eq(meta_format(below.pool, below.journal, below.space, 0755, 0, 0), 0);
    space_close(below.space);
    journal_close(below.journal);
    pool_close(below.pool);
    fs_start();
}

static void teardown(void)
{
    fs_stop();
    munmap(below.memory, below.size);
}

static uint64_t blocks_free(void)
{
    struct fs_statfs statfs;

    ck_assert_int_eq(fs_sync(fs), 0);
    fs_statfs(fs, &statfs);
    return statfs.free;
}

static struct fs_handle *file_create(const char *name, struct fs_attr *ret_attr)
{
    struct fs_handle *handle;

    ck_assert_int_eq(fs_create(fs, &rq, 1, fs_name(name), 0644, O_RDWR, ret_attr, &handle), 0);
    return handle;
}

static void file_write(struct fs_handle *handle, uint64_t block, uint64_t count)
{
    static uint8_t bytes[64 * BLOCK];

    memset(bytes, 'x', sizeof(bytes));
    while (count > 0) {
        uint64_t part = count < 64 ? count : 64;

        ck_assert_int_eq(fs_pwrite(fs, &rq, handle, bytes, part * BLOCK, block * BLOCK),
                         (ssize_t)(part * BLOCK));
        block += part;
        count -= part;
    }
}

static int count_one(void *arg, const struct fs_extent *extent)
{
    (void)extent;
    ++*(unsigned *)arg;
    return 0;
}

static unsigned file_extents(uint64_t ino)
{
    unsigned count = 0;

    ck_assert_int_eq(fs_extents(fs, &rq, ino, count_one, &count), 0);
    return count;
}

/* After what only the first file and the first orphan of a pool need. */
static uint64_t blocks_free_warm(void)
{
    struct fs_attr attr;

    fs_release(fs, file_create("first", &attr));
    fs_release(fs, file_create("second", &attr));
    ck_assert_int_eq(fs_unlink(fs, &rq, 1, fs_name("second")), 0);
    fs_forget(fs, attr.ino, 1);
    return blocks_free();
}

/* Takes every other block of a file of `blocks` blocks away. */
static void file_perforate(struct fs_handle *handle, uint64_t blocks, int mode)
{
    for (uint64_t block = 0; block < blocks; block += 2)
        ck_assert_int_eq(
            fs_fallocate(fs, &rq, handle, mode | FALLOC_FL_KEEP_SIZE, block * BLOCK, BLOCK), 0);
}

/* The block in which the largest file ends is a block like any other. */
START_TEST(last_block_of_the_largest_file)
{
    uint64_t last = DXF_FILE_SIZE_MAX - 1, before;
    struct fs_handle *handle;
    struct fs_attr attr, size = { .size = 1 };
    char bytes[BLOCK];

    before = blocks_free_warm();
    handle = file_create("file", &attr);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, "x", 1, last), 1);
    ck_assert_uint_eq(file_extents(attr.ino), 1);
    /* Reading on past it ends there, as past any end. */
    ck_assert_int_eq(fs_pread(fs, &rq, handle, bytes, sizeof(bytes), last), 1);
    ck_assert_int_eq(bytes[0], 'x');
    ck_assert_int_eq(fs_pread(fs, &rq, handle, bytes, sizeof(bytes), INT64_MAX), 0);
    ck_assert_int_eq(fs_setattr(fs, &rq, attr.ino, &size, FS_SET_SIZE, &attr), 0);
    ck_assert_uint_eq(attr.blocks, 0);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, "x", 1, last), 1);
    ck_assert_int_eq(fs_fallocate(fs, &rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                  DXF_FILE_SIZE_MAX),
                     0);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, "x", 1, last), 1);
    ck_assert_int_eq(fs_unlink(fs, &rq, 1, fs_name("file")), 0);
    fs_release(fs, handle);
    fs_forget(fs, attr.ino, 1);
    ck_assert_uint_eq(blocks_free(), before);
}
END_TEST

/* A punch of less than a block leaves the map alone. */
START_TEST(punch_inside_a_block_cuts_no_extent)
{
    struct fs_handle *handle;
    struct fs_attr attr;

    handle = file_create("file", &attr);
    file_write(handle, 0, 8);
    ck_assert_uint_eq(file_extents(attr.ino), 1);
    ck_assert_int_eq(fs_fallocate(fs, &rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  3 * BLOCK + 100, 100),
                     0);
    ck_assert_uint_eq(file_extents(attr.ino), 1);
    ck_assert_int_eq(fs_fallocate(fs, &rq, handle, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                  5 * BLOCK - 10, 20),
                     0);
    ck_assert_uint_eq(file_extents(attr.ino), 1);
    fs_release(fs, handle);
}
END_TEST

/* Neighbouring blocks are read and written at the same time. */
START_TEST(read_leaves_the_next_block_alone)
{
    struct lock_wait nowait = { .nowait = true };
    struct fs_request now = { .in_group = true, .wait = &nowait };
    struct fs_handle *handle;
    struct fs_attr attr;
    struct fs_read read;
    char byte = 'y';

    handle = file_create("file", &attr);
    file_write(handle, 0, 4);
    ck_assert_int_eq(fs_read_begin(fs, &rq, handle, BLOCK, BLOCK, &read), 0);
    ck_assert_int_eq(fs_pwrite(fs, &now, handle, &byte, 1, BLOCK - 1), 1);
    ck_assert_int_eq(fs_pwrite(fs, &now, handle, &byte, 1, 2 * BLOCK), 1);
    ck_assert_int_eq(fs_pwrite(fs, &now, handle, &byte, 1, 2 * BLOCK - 1), -EAGAIN);
    ck_assert_int_eq(fs_read_end(fs, &read), 0);
    fs_release(fs, handle);
}
END_TEST

/* A file that has lost its name and then shrinks in several transactions is still to be deleted. */
START_TEST(unlinked_file_that_shrinks_stays_an_orphan)
{
    struct fs_attr attr, size = { .size = 0 };
    struct fs_handle *handle;
    uint64_t before;

    before = blocks_free_warm();
    handle = file_create("file", &attr);
    file_write(handle, 0, 2400);
    file_perforate(handle, 2400, FALLOC_FL_PUNCH_HOLE);
    ck_assert_uint_gt(file_extents(attr.ino), 1100);
    ck_assert_int_eq(fs_unlink(fs, &rq, 1, fs_name("file")), 0);
    ck_assert_int_eq(fs_setattr(fs, &rq, attr.ino, &size, FS_SET_SIZE, &attr), 0);
    ck_assert_uint_eq(attr.blocks, 0);
    crash_and_mount();
    ck_assert_uint_eq(recovered.orphans, 1);
    ck_assert_uint_eq(blocks_free(), before);
}
END_TEST

/* Leaves what is kept back for unlink, truncate and punch. */
static void pool_fill(struct fs_handle *handle)
{
    static uint8_t bytes[64 * BLOCK];
    uint64_t offset = 0;
    ssize_t n;

    while ((n = fs_pwrite(fs, &rq, handle, bytes, sizeof(bytes), offset)) > 0)
        offset += (uint64_t)n;
    ck_assert_int_eq(n, -ENOSPC);
}

static uint64_t pool_reserve_blocks(void)
{
    struct space_info info;

    space_get_info(fs_space(fs), &info);
    return info.reserve;
}

/* Zeroing gives nothing back, and so takes no nodes from the reserve. */
START_TEST(zero_range_leaves_the_reserve)
{
    struct fs_handle *handle;
    struct fs_attr attr;
    uint64_t block = 0;
    int r = 0;

    handle = file_create("file", &attr);
    pool_fill(handle);
    for (; r == 0 && block < POOL_SIZE / BLOCK; block += 2)
        r = fs_fallocate(fs, &rq, handle, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, block * BLOCK,
                         BLOCK);
    ck_assert_int_eq(r, -ENOSPC);
    ck_assert_uint_ge(blocks_free(), pool_reserve_blocks());
    for (block = 1000; block < 5000; block += 2)
        ck_assert_int_eq(fs_fallocate(fs, &rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                      block * BLOCK, BLOCK),
                         0);
    fs_release(fs, handle);
}
END_TEST

/* An operation that has failed in the middle is over: recovery does not go on with it when its range
 * holds new bytes. Leaves that are full, so that cutting the last extent needs a node. */
START_TEST(failed_zero_range_leaves_no_intent)
{
    const uint64_t last = 5 * DXF_NODE_ENTRIES - 1;
    struct fs_handle *handle, *rest;
    struct fs_attr attr, other;
    uint8_t byte = 0;

    handle = file_create("file", &attr);
    for (uint64_t i = 0; i < last; i++)
        file_write(handle, 2 * i, 1);
    file_write(handle, 2 * last, 2);
    ck_assert_uint_eq(file_extents(attr.ino), last + 1);
    rest = file_create("rest", &other);
    pool_fill(rest);
    ck_assert_int_eq(fs_fallocate(fs, &rq, handle, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
                                  (2 * last + 1) * BLOCK),
                     -ENOSPC);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, "y", 1, 2 * (last - 1) * BLOCK), 1);
    crash_and_mount();
    ck_assert_uint_eq(recovered.intents, 0);
    ck_assert_int_eq(fs_open_file(fs, &rq, attr.ino, O_RDONLY, false, &handle), 0);
    ck_assert_int_eq(fs_pread(fs, &rq, handle, &byte, 1, 2 * (last - 1) * BLOCK), 1);
    ck_assert_uint_eq(byte, 'y');
    fs_release(fs, handle);
}
END_TEST

/* A file that is damaged, and whose punch a crash has stopped, keeps nobody from the rest. */
START_TEST(intent_of_a_damaged_file_is_dropped)
{
    struct dxf_intent intent = { .kind = le16_make(DXF_INTENT_PUNCH),
                                 .length = le64_make(500 * BLOCK),
                                 .cursor = le64_make(500 * BLOCK) };
    const struct dxf_inode *record;
    struct fs_handle *handle;
    struct fs_attr attr;
    uint64_t leaf;

    handle = file_create("file", &attr);
    file_write(handle, 0, 1000);
    file_perforate(handle, 1000, FALLOC_FL_PUNCH_HOLE);
    fs_release(fs, handle);
    ck_assert_int_eq(inode_view(fs_meta(fs), NULL, attr.ino, &record), 0);
    ck_assert_uint_eq(record->layout, DXF_LAYOUT_TREE);
    leaf = le64_get(record->tree.root);
    fs_stop();
    below.memory[leaf * BLOCK + 100] ^= 1;
    intent.inode = le64_make(attr.ino);
    intent.generation = le32_make(attr.generation);
    seal_intent(&intent, 7);
    memcpy(below.memory + DXF_INTENT_BLOCK * BLOCK + 7 * sizeof(intent), &intent, sizeof(intent));
    fs_start();
    ck_assert_uint_eq(recovered.intents, 1);
    fs_stop();
    fs_start();
    ck_assert_uint_eq(recovered.intents, 0);
}
END_TEST

/* What a deleted file held is there for who asks next, however long giving it back takes. */
START_TEST(space_of_a_deleted_file_is_waited_for)
{
    struct fs_handle *handle, *rest;
    struct fs_attr attr, other;
    char byte = 'x';

    rest = file_create("rest", &other);
    for (unsigned round = 0; round < 8; round++) {
        handle = file_create("file", &attr);
        for (uint64_t i = 0; i < 2000; i++)
            file_write(handle, 2 * i, 1);
        ck_assert_uint_gt(file_extents(attr.ino), 1900);
        pool_fill(rest);
        fs_release(fs, handle);
        ck_assert_int_eq(fs_unlink(fs, &rq, 1, fs_name("file")), 0);
        fs_forget(fs, attr.ino, 1);
        if (round % 2 == 0)
            ck_assert_int_eq(fs_pwrite(fs, &rq, rest, &byte, 1, 1ull << 40), 1);
        else
            ck_assert_int_eq(fs_fallocate(fs, &rq, rest, 0, 1ull << 40, 100 * BLOCK), 0);
        ck_assert_int_eq(
            fs_setattr(fs, &rq, other.ino, &(struct fs_attr){ .size = 0 }, FS_SET_SIZE, &other), 0);
    }
    fs_release(fs, rest);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_review");
    TCase *tc = tcase_create("fs_review");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, last_block_of_the_largest_file);
    tcase_add_test(tc, punch_inside_a_block_cuts_no_extent);
    tcase_add_test(tc, read_leaves_the_next_block_alone);
    tcase_add_test(tc, unlinked_file_that_shrinks_stays_an_orphan);
    tcase_add_test(tc, zero_range_leaves_the_reserve);
    tcase_add_test(tc, failed_zero_range_leaves_no_intent);
    tcase_add_test(tc, intent_of_a_damaged_file_is_dropped);
    tcase_add_test(tc, space_of_a_deleted_file_is_waited_for);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
