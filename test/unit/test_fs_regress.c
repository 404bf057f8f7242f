/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bugs of fs/ that a kill of the server, or a real tree, once showed. Each case is the shortest
 * way to one of them through fs/fs.h.
 */
#define FX_POOL_SIZE (16u << 20)
#include "test_fs.h"

static void make_and_remove(void)
{
    struct fs_attr attr;

    ck_assert_int_eq(
        fs_mknod(fx.fs, &fx.rq, DXF_INO_ROOT, fs_name("stays"), S_IFREG | 0644, 0, 0, &attr), 0);
    ck_assert_int_eq(
        fs_mknod(fx.fs, &fx.rq, DXF_INO_ROOT, fs_name("goes"), S_IFREG | 0644, 0, 0, &attr), 0);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, DXF_INO_ROOT, fs_name("goes")), 0);
    fs_forget(fx.fs, attr.ino, 1);
}

/* A door answers a read before it ends it, and whoever was answered may close the file and delete
 * it before the end: the inode must live, its range be locked, and its blocks stay until then. */
START_TEST(release_overtakes_end_of_read)
{
    char bytes[8192];
    struct fs_handle *handle;
    struct fs_attr attr;
    struct fs_info info;
    struct fs_read read;
    uint64_t before;

    memset(bytes, 'x', sizeof(bytes));
    make_and_remove(); /* the directory and the orphan table have their blocks now */
    before = fx_blocks_free();
    ck_assert_int_eq(
        fs_create(fx.fs, &fx.rq, DXF_INO_ROOT, fs_name("file"), 0644, O_RDWR, &attr, &handle), 0);
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, bytes, sizeof(bytes), 0), sizeof(bytes));
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, DXF_INO_ROOT, fs_name("file")), 0);

    ck_assert_int_eq(fs_read_begin(fx.fs, &fx.rq, handle, 0, sizeof(bytes), &read), 0);
    fs_release(fx.fs, handle);
    fs_forget(fx.fs, attr.ino, 1);
    fs_get_info(fx.fs, &info);
    ck_assert_uint_eq(info.handles, 0);
    ck_assert_uint_lt(fx_blocks_free(), before);
    ck_assert_uint_eq(read.length, sizeof(bytes));
    ck_assert_int_eq(memcmp(read.vector[0].iov_base, bytes, read.vector[0].iov_len), 0);
    ck_assert_int_eq(fs_read_end(fx.fs, &read), 0);

    ck_assert_uint_eq(fx_blocks_free(), before);
    ck_assert_int_eq(fs_getattr(fx.fs, &fx.rq, attr.ino, &attr), -ESTALE);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, release_overtakes_end_of_read);
}

int main(void)
{
    return fx_main("fs_regress", add);
}
