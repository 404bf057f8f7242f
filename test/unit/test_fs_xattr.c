/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test_fs.h"

#include <sys/xattr.h>

static int set(uint64_t ino, const char *name, const void *value, size_t size, int flags)
{
    return fs_setxattr(fx.fs, &fx.rq, ino, name, value, size, flags, false);
}

static ssize_t get(uint64_t ino, const char *name, void *value, size_t size)
{
    return fs_getxattr(fx.fs, &fx.rq, ino, name, value, size);
}

START_TEST(test_values)
{
    uint64_t ino = fx_mknod(1, "f");
    char *value = malloc(70000), *is = malloc(70000);

    memset(value, 'v', 70000);
    ck_assert_int_eq(set(ino, "user.a", "1", 1, XATTR_REPLACE), -ENODATA);
    ck_assert_int_eq(set(ino, "user.a", "1", 1, XATTR_CREATE), 0);
    ck_assert_int_eq(set(ino, "user.a", "1", 1, XATTR_CREATE), -EEXIST);
    ck_assert_int_eq(set(ino, "user.a", value, 65536, 0), 0);
    ck_assert_int_eq(set(ino, "user.a", value, 65537, 0), -E2BIG);
    ck_assert_int_eq(set(ino, "user.empty", "", 0, 0), 0);
    ck_assert_int_eq(set(ino, "other.a", "1", 1, 0), -EOPNOTSUPP);
    fx_remount(true);
    ck_assert_int_eq(get(ino, "user.a", NULL, 0), 65536);
    ck_assert_int_eq(get(ino, "user.a", is, 65535), -ERANGE);
    ck_assert_int_eq(get(ino, "user.a", is, 70000), 65536);
    ck_assert_int_eq(memcmp(is, value, 65536), 0);
    ck_assert_int_eq(get(ino, "user.empty", is, 10), 0);
    ck_assert_int_eq(fs_listxattr(fx.fs, &fx.rq, ino, is, 70000), 18);
    ck_assert_int_eq(fs_removexattr(fx.fs, &fx.rq, ino, "user.a"), 0);
    ck_assert_int_eq(fs_removexattr(fx.fs, &fx.rq, ino, "user.a"), -ENODATA);
    ck_assert_int_eq(fs_removexattr(fx.fs, &fx.rq, ino, "user.empty"), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 0);
    free(value);
    free(is);
}
END_TEST

/* A write takes file capabilities away, and only those. */
START_TEST(test_capability)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);
    char value[64];

    ck_assert_int_eq(set(ino, "security.capability", "cap", 3, 0), 0);
    ck_assert_int_eq(set(ino, "security.other", "x", 1, 0), 0);
    fx_write(handle, 0, "x");
    ck_assert_int_eq(get(ino, "security.capability", value, 64), -ENODATA);
    ck_assert_int_eq(get(ino, "security.other", value, 64), 1);
    fs_release(fx.fs, handle);
}
END_TEST

static const uint8_t acl_named[] = { 2,   0,   0,   0,   1,   0,   7,  0,   255, 255, 255,
                                     255, 2,   0,   6,   0,   232, 3,  0,   0,   4,   0,
                                     5,   0,   255, 255, 255, 255, 16, 0,   6,   0,   255,
                                     255, 255, 255, 32,  0,   4,   0,  255, 255, 255, 255 };
static const uint8_t acl_plain[] = {
    2, 0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 4,   0,
    4, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255
};

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

START_TEST(test_acl_and_mode)
{
    uint64_t ino = fx_mknod(1, "f");
    uint8_t value[64], bad[sizeof(acl_named)];
    struct fs_attr attr = { .mode = 0710 };

    ck_assert_int_eq(set(ino, ACCESS, acl_named, sizeof(acl_named), 0), 0);
    ck_assert_uint_eq(fx_attr(ino).mode & 0777, 0764);
    ck_assert_int_eq(fs_setattr(fx.fs, &fx.rq, ino, &attr, FS_SET_MODE, &attr), 0);
    ck_assert_int_eq(get(ino, ACCESS, value, 64), sizeof(acl_named));
    ck_assert_uint_eq(value[4 + 3 * 8 + 2], 1); /* the mask stands for the group */
    ck_assert_uint_eq(value[4 + 2 * 8 + 2], 5);
    /* One that says no more than the mode is not kept. */
    ck_assert_int_eq(set(ino, ACCESS, acl_plain, sizeof(acl_plain), 0), 0);
    ck_assert_int_eq(get(ino, ACCESS, value, 64), -ENODATA);
    ck_assert_uint_eq(fx_attr(ino).mode & 0777, 0640);
    memcpy(bad, acl_named, sizeof(bad));
    bad[4] = 3;
    ck_assert_int_eq(set(ino, ACCESS, bad, sizeof(bad), 0), -EINVAL);
    ck_assert_int_eq(set(ino, ACCESS, acl_named, sizeof(acl_named) - 1, 0), -EINVAL);
    ck_assert_int_eq(set(ino, DEFAULT, acl_named, sizeof(acl_named), 0), -EACCES);
}
END_TEST

START_TEST(test_default_acl)
{
    uint64_t dir = fx_mkdir(1, "d"), below;
    uint8_t value[64];
    struct fs_attr attr;

    ck_assert_int_eq(set(dir, DEFAULT, acl_named, sizeof(acl_named), 0), 0);
    fx.rq.umask = 077; /* the default ACL rules instead */
    ck_assert_int_eq(fs_mknod(fx.fs, &fx.rq, dir, fs_name("f"), S_IFREG | 0666, 0, 0, &attr), 0);
    ck_assert_uint_eq(attr.mode & 0777, 0664);
    ck_assert_int_eq(get(attr.ino, ACCESS, value, 64), sizeof(acl_named));
    ck_assert_int_eq(get(attr.ino, DEFAULT, value, 64), -ENODATA);
    below = fx_mkdir(dir, "below");
    ck_assert_int_eq(get(below, DEFAULT, value, 64), sizeof(acl_named));
    ck_assert_int_eq(memcmp(value, acl_named, sizeof(acl_named)), 0);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_values);
    tcase_add_test(tcase, test_capability);
    tcase_add_test(tcase, test_acl_and_mode);
    tcase_add_test(tcase, test_default_acl);
}

int main(void)
{
    return fx_main("fs_xattr", add);
}
