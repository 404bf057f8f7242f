/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test_fs.h"

static int move(uint64_t from, const char *name, uint64_t to, const char *new_name, unsigned flags)
{
    return fs_rename(fx.fs, &fx.rq, from, fs_name(name), to, fs_name(new_name), flags);
}

START_TEST(test_over)
{
    uint64_t a = fx_mknod(1, "a"), b = fx_mknod(1, "b"), dir = fx_mkdir(1, "dir");

    ck_assert_int_eq(move(1, "a", 1, "b", RENAME_NOREPLACE), -EEXIST);
    ck_assert_int_eq(move(1, "a", 1, "dir", 0), -EISDIR);
    ck_assert_int_eq(move(1, "dir", 1, "a", 0), -ENOTDIR);
    ck_assert_int_eq(move(1, "x", 1, "a", 0), -ENOENT);
    ck_assert_int_eq(move(1, "a", 1, "b", 0), 0);
    ck_assert_uint_eq(fx_attr(b).links, 0);
    ck_assert_int_eq(fx_lookup(1, "a"), -ENOENT);
    ck_assert_int_eq(move(1, "b", dir, "c", 0), 0);
    ck_assert_uint_eq(fx_attr(a).links, 1);
    ck_assert_int_eq(fx_lookup(dir, "c"), 0);
}
END_TEST

START_TEST(test_directories)
{
    uint64_t top = fx_mkdir(1, "top"), below = fx_mkdir(top, "below"), other = fx_mkdir(1, "other");
    struct fs_attr attr;

    ck_assert_int_eq(move(1, "top", below, "x", 0), -EINVAL);
    ck_assert_int_eq(move(1, "top", top, "x", 0), -EINVAL);
    ck_assert_int_eq(move(top, "below", 1, "top", 0), -ENOTEMPTY);
    ck_assert_int_eq(move(1, "other", 1, "top", 0), -ENOTEMPTY);
    ck_assert_int_eq(move(top, "below", other, "moved", 0), 0);
    ck_assert_uint_eq(fx_attr(top).links, 2);
    ck_assert_uint_eq(fx_attr(other).links, 3);
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, below, fs_name(".."), &attr), 0);
    ck_assert_uint_eq(attr.ino, other);
    ck_assert_int_eq(move(1, "other", 1, "top", 0), 0);
    ck_assert_uint_eq(fx_attr(1).links, 3);
}
END_TEST

START_TEST(test_exchange)
{
    uint64_t a = fx_mkdir(1, "a"), file = fx_mknod(a, "file"), dir = fx_mkdir(1, "dir");
    struct fs_attr attr;

    ck_assert_int_eq(move(1, "dir", a, "none", RENAME_EXCHANGE), -ENOENT);
    ck_assert_int_eq(move(1, "dir", a, "file", RENAME_EXCHANGE), 0);
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, 1, fs_name("dir"), &attr), 0);
    ck_assert_uint_eq(attr.ino, file);
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, dir, fs_name(".."), &attr), 0);
    ck_assert_uint_eq(attr.ino, a);
    ck_assert_uint_eq(fx_attr(1).links, 3);
    ck_assert_uint_eq(fx_attr(a).links, 3);
    ck_assert_int_eq(move(1, "a", a, "file", RENAME_EXCHANGE), -EINVAL);
    ck_assert_int_eq(move(1, "a", 1, "dir", RENAME_EXCHANGE | RENAME_NOREPLACE), -EINVAL);
}
END_TEST

START_TEST(test_whiteout)
{
    struct fs_attr attr;

    fx_mknod(1, "a");
    fx.rq.umask = 022;
    ck_assert_int_eq(move(1, "a", 1, "b", RENAME_WHITEOUT), 0);
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, 1, fs_name("a"), &attr), 0);
    ck_assert_uint_eq(attr.mode, S_IFCHR);
    ck_assert_uint_eq(attr.rdev_major | attr.rdev_minor, 0);
    ck_assert_int_eq(fx_lookup(1, "b"), 0);
}
END_TEST

/* Two names of one inode: nothing happens, says POSIX. */
START_TEST(test_same_inode)
{
    uint64_t a = fx_mknod(1, "a");
    struct fs_attr attr;

    ck_assert_int_eq(fs_link(fx.fs, &fx.rq, a, 1, fs_name("b"), &attr), 0);
    ck_assert_int_eq(move(1, "a", 1, "b", 0), 0);
    ck_assert_int_eq(move(1, "a", 1, "a", 0), 0);
    ck_assert_int_eq(fx_lookup(1, "a"), 0);
    ck_assert_int_eq(fx_lookup(1, "b"), 0);
    ck_assert_uint_eq(fx_attr(a).links, 2);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_over);
    tcase_add_test(tcase, test_directories);
    tcase_add_test(tcase, test_exchange);
    tcase_add_test(tcase, test_whiteout);
    tcase_add_test(tcase, test_same_inode);
}

int main(void)
{
    return fx_main("fs_rename", add);
}
