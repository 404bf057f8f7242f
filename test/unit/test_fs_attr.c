/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test_fs.h"

#include <linux/falloc.h>

static int set_mode(uint64_t ino, uint32_t mode)
{
    struct fs_attr attr = { .mode = mode };

    return fs_setattr(fx.fs, &fx.rq, ino, &attr, FS_SET_MODE, &attr);
}

START_TEST(test_owner_and_umask)
{
    uint64_t dir = fx_mkdir(1, "dir");
    struct fs_attr attr = { .gid = 77, .mode = 02755 };

    ck_assert_int_eq(fs_setattr(fx.fs, &fx.rq, dir, &attr, FS_SET_GID | FS_SET_MODE, &attr), 0);
    fx.rq = (struct fs_request){ .uid = 5, .gid = 6, .umask = 027, .in_group = true };
    ck_assert_int_eq(fs_mknod(fx.fs, &fx.rq, 1, fs_name("a"), S_IFREG | 0666, 0, 0, &attr), 0);
    ck_assert_uint_eq(attr.mode, S_IFREG | 0640);
    ck_assert_uint_eq(attr.uid, 5);
    ck_assert_uint_eq(attr.gid, 6);
    /* set-group-ID hands the group down, and itself to directories */
    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, dir, fs_name("b"), 0777, &attr), 0);
    ck_assert_uint_eq(attr.mode, S_IFDIR | 02750);
    ck_assert_uint_eq(attr.gid, 77);
    ck_assert_int_eq(fs_mknod(fx.fs, &fx.rq, dir, fs_name("c"), S_IFREG | 0666, 0, 0, &attr), 0);
    ck_assert_uint_eq(attr.mode, S_IFREG | 0640);
    ck_assert_uint_eq(attr.gid, 77);
}
END_TEST

START_TEST(test_chmod_outside_the_group)
{
    uint64_t ino = fx_mknod(1, "f");

    ck_assert_int_eq(set_mode(ino, 02755), 0);
    ck_assert_uint_eq(fx_attr(ino).mode & 07777, 02755);
    fx.rq.in_group = false;
    ck_assert_int_eq(set_mode(ino, 02755), 0);
    ck_assert_uint_eq(fx_attr(ino).mode & 07777, 0755);
}
END_TEST

START_TEST(test_set_id_bits_go)
{
    struct fs_handle *handle = fx_create("f");
    char text[] = "x";
    struct iovec vector = { .iov_base = text, .iov_len = 1 };
    uint64_t ino = fs_handle_ino(handle);
    struct fs_attr attr = { .uid = 3 };

    ck_assert_int_eq(set_mode(ino, 06755), 0);
    ck_assert_int_eq(fs_write(fx.fs, &fx.rq, handle, &vector, 1, 0, 0, NULL), 1);
    ck_assert_uint_eq(fx_attr(ino).mode & 07777, 06755);
    ck_assert_int_eq(fs_write(fx.fs, &fx.rq, handle, &vector, 1, 0, FS_WRITE_KILL_SUIDGID, NULL),
                     1);
    ck_assert_uint_eq(fx_attr(ino).mode & 07777, 0755);
    /* set-group-ID without the group's x is another thing: it stays */
    ck_assert_int_eq(set_mode(ino, 06744), 0);
    ck_assert_int_eq(fs_setattr(fx.fs, &fx.rq, ino, &attr, FS_SET_UID, &attr), 0);
    ck_assert_uint_eq(attr.mode & 07777, 02744);
    fs_release(fx.fs, handle);
}
END_TEST

static uint64_t transactions(void)
{
    struct journal_stats stats;

    journal_get_stats(fs_journal(fx.fs), &stats);
    return stats.commits;
}

/* In the transaction that changes the file: a crash does not find one without the other. */
START_TEST(test_set_id_bits_go_with_fallocate)
{
    static const int modes[] = { 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_KEEP_SIZE };
    struct fs_request other = { .uid = 5, .gid = 5 };
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle), before;
    char value[8];

    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(set_mode(ino, 06755), 0);
        ck_assert_int_eq(fs_setxattr(fx.fs, &fx.rq, ino, "security.capability", "cap", 3, 0, false),
                         0);
        before = transactions();
        ck_assert_int_eq(fs_fallocate(fx.fs, &other, handle, modes[i], 0, 10000), 0);
        ck_assert_uint_eq(transactions() - before, 1);
        ck_assert_uint_eq(fx_attr(ino).mode & 07777, 0755);
        ck_assert_int_eq(fs_getxattr(fx.fs, &fx.rq, ino, "security.capability", value, 8),
                         -ENODATA);
    }
    /* The superuser keeps set-ID bits; a capability goes with any change of content. */
    ck_assert_int_eq(set_mode(ino, 06755), 0);
    ck_assert_int_eq(fs_setxattr(fx.fs, &fx.rq, ino, "security.capability", "cap", 3, 0, false), 0);
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_ZERO_RANGE, 0, 10000), 0);
    ck_assert_uint_eq(fx_attr(ino).mode & 07777, 06755);
    ck_assert_int_eq(fs_getxattr(fx.fs, &fx.rq, ino, "security.capability", value, 8), -ENODATA);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_times)
{
    uint64_t ino = fx_mknod(1, "f");
    struct fs_attr attr = { .mtime = -1, .atime = 1234567890123456789 }, before = fx_attr(ino);

    ck_assert_int_eq(before.btime, before.mtime);
    ck_assert_int_eq(fs_setattr(fx.fs, &fx.rq, ino, &attr, FS_SET_MTIME | FS_SET_ATIME, &attr), 0);
    fx_remount(true);
    attr = fx_attr(ino);
    ck_assert_int_eq(attr.mtime, -1);
    ck_assert_int_eq(attr.atime, 1234567890123456789);
    ck_assert_int_ge(attr.ctime, before.ctime);
    ck_assert_int_eq(attr.btime, before.btime);
}
END_TEST

START_TEST(test_immutable)
{
    uint64_t ino = fx_mknod(1, "f"), dir = fx_mkdir(1, "d");
    struct fs_handle *handle;
    struct fs_attr attr;

    ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, ino, DXF_FLAG_IMMUTABLE), 0);
    ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, ino, 1), -EOPNOTSUPP);
    ck_assert_int_eq(set_mode(ino, 0600), -EPERM);
    ck_assert_int_eq(fs_open_file(fx.fs, &fx.rq, ino, O_WRONLY, false, &handle), -EPERM);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("f")), -EPERM);
    ck_assert_int_eq(fs_link(fx.fs, &fx.rq, ino, dir, fs_name("l"), &attr), -EPERM);
    ck_assert_int_eq(fs_rename(fx.fs, &fx.rq, 1, fs_name("f"), dir, fs_name("g"), 0), -EPERM);
    ck_assert_int_eq(fs_setxattr(fx.fs, &fx.rq, ino, "user.x", "1", 1, 0, false), -EPERM);
    ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, dir, DXF_FLAG_IMMUTABLE), 0);
    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, dir, fs_name("x"), 0755, &attr), -EPERM);
    ck_assert_int_eq(fs_tmpfile(fx.fs, &fx.rq, dir, 0600, O_RDWR, &attr, &handle), -EPERM);
    ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, ino, 0), 0);
    ck_assert_int_eq(fs_rename(fx.fs, &fx.rq, 1, fs_name("f"), dir, fs_name("g"), 0), -EPERM);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("f")), 0);
}
END_TEST

START_TEST(test_append_only)
{
    uint64_t ino = fx_mknod(1, "f");
    struct fs_handle *handle;

    ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, ino, DXF_FLAG_APPEND), 0);
    ck_assert_int_eq(fs_open_file(fx.fs, &fx.rq, ino, O_WRONLY, false, &handle), -EPERM);
    handle = fx_open(ino, O_WRONLY | O_APPEND);
    fx_write(handle, 0, "more");
    ck_assert_int_eq(fx_truncate(ino, 0), -EPERM);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("f")), -EPERM);
    ck_assert_uint_eq(fx_attr(ino).size, 4);
    fs_release(fx.fs, handle);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_owner_and_umask);
    tcase_add_test(tcase, test_chmod_outside_the_group);
    tcase_add_test(tcase, test_set_id_bits_go);
    tcase_add_test(tcase, test_set_id_bits_go_with_fallocate);
    tcase_add_test(tcase, test_times);
    tcase_add_test(tcase, test_immutable);
    tcase_add_test(tcase, test_append_only);
}

int main(void)
{
    return fx_main("fs_attr", add);
}
