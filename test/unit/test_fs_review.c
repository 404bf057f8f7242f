/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bugs of fs/ that reading it has shown, at the edges: the last block of the largest file, an
 * operation on less than a block, a file without a name that shrinks, a pool without room. Each case
 * is the shortest way to one of them through fs/fs.h.
 */
#define FX_POOL_SIZE (32u << 20)
#include "test_fs.h"

#include "media/validate.h"
#include "meta/inode.h"

#include <linux/falloc.h>

#define BLOCK DXF_BLOCK_SIZE

static struct fs_handle *file_create(const char *name, struct fs_attr *ret_attr)
{
    struct fs_handle *handle;

    ck_assert_int_eq(fs_create(fx.fs, &fx.rq, 1, fs_name(name), 0644, O_RDWR, ret_attr, &handle),
                     0);
    return handle;
}

static void file_write(struct fs_handle *handle, uint64_t block, uint64_t count)
{
    static uint8_t bytes[64 * BLOCK];

    memset(bytes, 'x', sizeof(bytes));
    while (count > 0) {
        uint64_t part = count < 64 ? count : 64;

        ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, bytes, part * BLOCK, block * BLOCK),
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

    ck_assert_int_eq(fs_extents(fx.fs, &fx.rq, ino, count_one, &count), 0);
    return count;
}

/* After what only the first file and the first orphan of a pool need. */
static uint64_t blocks_free_warm(void)
{
    struct fs_attr attr;

    fs_release(fx.fs, file_create("first", &attr));
    fs_release(fx.fs, file_create("second", &attr));
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("second")), 0);
    fs_forget(fx.fs, attr.ino, 1);
    return fx_blocks_free();
}

/* Takes every other block of a file of `blocks` blocks away. */
static void file_perforate(struct fs_handle *handle, uint64_t blocks, int mode)
{
    for (uint64_t block = 0; block < blocks; block += 2)
        ck_assert_int_eq(
            fs_fallocate(fx.fs, &fx.rq, handle, mode | FALLOC_FL_KEEP_SIZE, block * BLOCK, BLOCK),
            0);
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
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, "x", 1, last), 1);
    ck_assert_uint_eq(file_extents(attr.ino), 1);
    /* Reading on past it ends there, as past any end. */
    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, bytes, sizeof(bytes), last), 1);
    ck_assert_int_eq(bytes[0], 'x');
    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, bytes, sizeof(bytes), INT64_MAX), 0);
    ck_assert_int_eq(fs_setattr(fx.fs, &fx.rq, attr.ino, &size, FS_SET_SIZE, &attr), 0);
    ck_assert_uint_eq(attr.blocks, 0);
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, "x", 1, last), 1);
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  0, DXF_FILE_SIZE_MAX),
                     0);
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, "x", 1, last), 1);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("file")), 0);
    fs_release(fx.fs, handle);
    fs_forget(fx.fs, attr.ino, 1);
    ck_assert_uint_eq(fx_blocks_free(), before);
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
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  3 * BLOCK + 100, 100),
                     0);
    ck_assert_uint_eq(file_extents(attr.ino), 1);
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                  5 * BLOCK - 10, 20),
                     0);
    ck_assert_uint_eq(file_extents(attr.ino), 1);
    fs_release(fx.fs, handle);
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
    ck_assert_int_eq(fs_read_begin(fx.fs, &fx.rq, handle, BLOCK, BLOCK, &read), 0);
    ck_assert_int_eq(fs_pwrite(fx.fs, &now, handle, &byte, 1, BLOCK - 1), 1);
    ck_assert_int_eq(fs_pwrite(fx.fs, &now, handle, &byte, 1, 2 * BLOCK), 1);
    ck_assert_int_eq(fs_pwrite(fx.fs, &now, handle, &byte, 1, 2 * BLOCK - 1), -EAGAIN);
    ck_assert_int_eq(fs_read_end(fx.fs, &read), 0);
    fs_release(fx.fs, handle);
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
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("file")), 0);
    ck_assert_int_eq(fs_setattr(fx.fs, &fx.rq, attr.ino, &size, FS_SET_SIZE, &attr), 0);
    ck_assert_uint_eq(attr.blocks, 0);
    fx_remount(true);
    ck_assert_uint_eq(fx.recovered.orphans, 1);
    ck_assert_uint_eq(fx_blocks_free(), before);
}
END_TEST

/* Leaves what is kept back for unlink, truncate and punch. */
static void pool_fill(struct fs_handle *handle)
{
    static uint8_t bytes[64 * BLOCK];
    uint64_t offset = 0;
    ssize_t n;

    while ((n = fs_pwrite(fx.fs, &fx.rq, handle, bytes, sizeof(bytes), offset)) > 0)
        offset += (uint64_t)n;
    ck_assert_int_eq(n, -ENOSPC);
}

static uint64_t pool_reserve_blocks(void)
{
    struct space_info info;

    space_get_info(fs_space(fx.fs), &info);
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
    for (; r == 0 && block < FX_POOL_SIZE / BLOCK; block += 2)
        r = fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                         block * BLOCK, BLOCK);
    ck_assert_int_eq(r, -ENOSPC);
    ck_assert_uint_ge(fx_blocks_free(), pool_reserve_blocks());
    for (block = 1000; block < 5000; block += 2)
        ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle,
                                      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, block * BLOCK,
                                      BLOCK),
                         0);
    fs_release(fx.fs, handle);
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
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                  0, (2 * last + 1) * BLOCK),
                     -ENOSPC);
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, "y", 1, 2 * (last - 1) * BLOCK), 1);
    fx_remount(true);
    ck_assert_uint_eq(fx.recovered.intents, 0);
    ck_assert_int_eq(fs_open_file(fx.fs, &fx.rq, attr.ino, O_RDONLY, false, &handle), 0);
    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, &byte, 1, 2 * (last - 1) * BLOCK), 1);
    ck_assert_uint_eq(byte, 'y');
    fs_release(fx.fs, handle);
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
    fs_release(fx.fs, handle);
    ck_assert_int_eq(inode_view(fs_meta(fx.fs), NULL, attr.ino, &record), 0);
    ck_assert_uint_eq(record->layout, DXF_LAYOUT_TREE);
    leaf = le64_get(record->tree.root);
    fx_umount();
    fx.below.memory[leaf * BLOCK + 100] ^= 1;
    intent.inode = le64_make(attr.ino);
    intent.generation = le32_make(attr.generation);
    seal_intent(&intent, 7);
    memcpy(fx.below.memory + DXF_INTENT_BLOCK * BLOCK + 7 * sizeof(intent), &intent,
           sizeof(intent));
    fx_mount();
    ck_assert_uint_eq(fx.recovered.intents, 1);
    fx_umount();
    fx_mount();
    ck_assert_uint_eq(fx.recovered.intents, 0);
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
        fs_release(fx.fs, handle);
        ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("file")), 0);
        fs_forget(fx.fs, attr.ino, 1);
        if (round % 2 == 0)
            ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, rest, &byte, 1, 1ull << 40), 1);
        else
            ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, rest, 0, 1ull << 40, 100 * BLOCK), 0);
        ck_assert_int_eq(fs_setattr(fx.fs, &fx.rq, other.ino, &(struct fs_attr){ .size = 0 },
                                    FS_SET_SIZE, &other),
                         0);
    }
    fs_release(fx.fs, rest);
}
END_TEST

static void set_default_acl(uint64_t dir)
{
    static const uint8_t acl[] = { 2, 0, 0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 2,   0,  6,
                                   0, 0, 4,   0,   0,   4,   0,  5, 0,   255, 255, 255, 255, 16, 0,
                                   6, 0, 255, 255, 255, 255, 32, 0, 4,   0,   255, 255, 255, 255 };

    ck_assert_int_eq(
        fs_setxattr(fx.fs, &fx.rq, dir, "system.posix_acl_default", acl, sizeof(acl), 0, false), 0);
}

/* Each of them needs a block: for the first name of a directory, a chain, an ACL. */
static int name_operation(unsigned which, uint64_t dir, uint64_t file, struct fs_attr *attr)
{
    static char target[DXF_SYMLINK_MAX];
    struct fs_handle *handle;
    int r;

    switch (which) {
    case 0:
        return fs_mkdir(fx.fs, &fx.rq, dir, fs_name("x"), 0755, attr);
    case 1:
        return fs_mknod(fx.fs, &fx.rq, dir, fs_name("x"), S_IFIFO | 0600, 0, 0, attr);
    case 2:
        memset(target, 't', sizeof(target));
        return fs_symlink(fx.fs, &fx.rq, dir, fs_name("x"),
                          (struct fs_name){ target, sizeof(target) }, attr);
    case 3:
        return fs_link(fx.fs, &fx.rq, file, dir, fs_name("x"), attr);
    case 4:
        return fs_rename(fx.fs, &fx.rq, 1, fs_name("moves"), dir, fs_name("x"), 0);
    case 5:
        return fs_setxattr(fx.fs, &fx.rq, dir, "user.x", "x", 1, 0, false);
    case 6:
        r = fs_create(fx.fs, &fx.rq, dir, fs_name("x"), 0644, O_RDWR, attr, &handle);
        break;
    default:
        r = fs_tmpfile(fx.fs, &fx.rq, dir, 0644, O_RDWR, attr, &handle);
    }
    if (r == 0)
        fs_release(fx.fs, handle);
    return r;
}

/* The same for whoever needs a block for a name: rm of a big file, then mkdir. */
START_TEST(names_wait_for_the_space_of_a_deleted_file)
{
    struct fs_handle *handle, *rest;
    struct fs_attr attr, other;
    uint64_t file = fx_mknod(1, "moves"), dir;
    char name[] = "dir0";

    rest = file_create("rest", &other);
    for (unsigned which = 0; which < 8; which++) {
        name[3] = (char)('0' + which);
        dir = fx_mkdir(1, name);
        if (which == 7)
            set_default_acl(dir);
        handle = file_create("file", &attr);
        for (uint64_t i = 0; i < 2000; i++)
            file_write(handle, 2 * i, 1);
        pool_fill(rest);
        ck_assert_int_eq(name_operation(which, dir, file, &attr), -ENOSPC);
        fs_release(fx.fs, handle);
        ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("file")), 0);
        fs_forget(fx.fs, attr.ino, 1);
        ck_assert_msg(name_operation(which, dir, file, &attr) == 0, "operation %u", which);
        ck_assert_int_eq(fx_truncate(other.ino, 0), 0);
    }
    fs_release(fx.fs, rest);
}
END_TEST

/* What takes away never fails for want of space, be it that for a moment there are two chains. */
START_TEST(attributes_go_in_a_full_pool)
{
    static char value[DXF_XATTR_VALUE_MAX];
    static const char *const names[] = { "user.small", "user.a", "user.b", "user.c", "user.d" };
    struct fs_handle *rest;
    struct fs_attr attr;
    uint64_t ino = fx_mknod(1, "f");

    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(fs_setxattr(fx.fs, &fx.rq, ino, names[i], value,
                                     i == 0   ? 1
                                     : i == 4 ? sizeof(value) - 200
                                              : sizeof(value),
                                     0, false),
                         0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 65);
    rest = file_create("rest", &attr);
    pool_fill(rest);
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(fs_removexattr(fx.fs, &fx.rq, ino, names[i]), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 0);
    fs_release(fx.fs, rest);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, names_wait_for_the_space_of_a_deleted_file);
    tcase_add_test(tcase, attributes_go_in_a_full_pool);
    tcase_add_test(tcase, last_block_of_the_largest_file);
    tcase_add_test(tcase, punch_inside_a_block_cuts_no_extent);
    tcase_add_test(tcase, read_leaves_the_next_block_alone);
    tcase_add_test(tcase, unlinked_file_that_shrinks_stays_an_orphan);
    tcase_add_test(tcase, zero_range_leaves_the_reserve);
    tcase_add_test(tcase, failed_zero_range_leaves_no_intent);
    tcase_add_test(tcase, intent_of_a_damaged_file_is_dropped);
    tcase_add_test(tcase, space_of_a_deleted_file_is_waited_for);
}

int main(void)
{
    return fx_main("fs_review", add);
}
