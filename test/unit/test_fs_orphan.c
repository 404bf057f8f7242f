/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test_fs.h"

static uint64_t free_blocks(void)
{
    struct fs_statfs statfs;

    ck_assert_int_eq(fs_sync(fx.fs), 0);
    fs_statfs(fx.fs, &statfs);
    return statfs.free;
}

START_TEST(test_open_after_unlink)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle), before = free_blocks();
    struct fs_attr attr;

    fx_fill(handle, 0, 1u << 20, 'a');
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("f")), 0);
    fs_forget(fx.fs, ino, 1);
    fx_fill(handle, 1u << 20, 4096, 'b');
    fx_expect(handle, 0, 1u << 20, 'a');
    fx_expect(handle, 1u << 20, 4096, 'b');
    ck_assert_uint_eq(fx_attr(ino).links, 0);
    fs_release(fx.fs, handle);
    ck_assert_int_eq(fs_getattr(fx.fs, &fx.rq, ino, &attr), -ESTALE);
    ck_assert_uint_ge(free_blocks(), before);
}
END_TEST

/* The server is killed while somebody has it open: recovery deletes it. */
START_TEST(test_orphan_after_crash)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle), before = free_blocks();
    struct fs_attr attr;

    fx_fill(handle, 0, 1u << 20, 'a');
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("f")), 0);
    fx_remount(true);
    ck_assert_int_eq(fs_getattr(fx.fs, &fx.rq, ino, &attr), -ESTALE);
    ck_assert_uint_ge(free_blocks(), before);
}
END_TEST

START_TEST(test_tmpfile)
{
    struct fs_handle *handle;
    struct fs_attr attr;

    ck_assert_int_eq(fs_tmpfile(fx.fs, &fx.rq, 1, 0600, O_RDWR, &attr, &handle), 0);
    ck_assert_uint_eq(attr.links, 0);
    fx_write(handle, 0, "hello");
    ck_assert_int_eq(fs_link(fx.fs, &fx.rq, attr.ino, 1, fs_name("named"), &attr), 0);
    ck_assert_uint_eq(attr.links, 1);
    fx_remount(true);
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, 1, fs_name("named"), &attr), 0);
    ck_assert_uint_eq(attr.size, 5);
    /* one that never got a name is gone */
    ck_assert_int_eq(fs_tmpfile(fx.fs, &fx.rq, 1, 0600, O_RDWR, &attr, &handle), 0);
    fx_remount(true);
    ck_assert_int_eq(fs_getattr(fx.fs, &fx.rq, attr.ino, &attr), -ESTALE);
}
END_TEST

/* A number that is used again has another generation. */
START_TEST(test_generation)
{
    uint64_t ino = fx_mknod(1, "a");
    uint32_t generation = fx_attr(ino).generation;

    fx_remount(false);
    ck_assert_uint_eq(fx_attr(ino).generation, generation);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("a")), 0);
    for (unsigned i = 0; i < 100; i++) {
        char name[16];
        uint64_t again;

        snprintf(name, sizeof(name), "b%u", i);
        again = fx_mknod(1, name);
        if (again == ino)
            ck_assert_uint_ne(fx_attr(again).generation, generation);
    }
}
END_TEST

START_TEST(test_handles_and_references)
{
    struct fs_handle *handle = fx_create("f"), *again;
    uint64_t ino = fs_handle_ino(handle);
    struct fs_attr attr;
    struct fs_info info;

    fs_get_info(fx.fs, &info);
    ck_assert_uint_eq(info.handles, 1);
    ck_assert_uint_eq(info.lookups, 1);
    ck_assert_int_eq(fs_handle_flags(handle) & O_ACCMODE, O_RDWR);
    /* Without O_EXCL an existing file is opened, with it not. */
    ck_assert_int_eq(
        fs_create(fx.fs, &fx.rq, 1, fs_name("f"), 0644, O_RDWR | O_EXCL, &attr, &again), -EEXIST);
    ck_assert_int_eq(fs_create(fx.fs, &fx.rq, 1, fs_name("f"), 0644, O_RDWR, &attr, &again), 0);
    ck_assert_uint_eq(attr.ino, ino);
    fs_release(fx.fs, again);
    fs_release(fx.fs, handle);
    fs_forget(fx.fs, ino, 2);
    fs_forget(fx.fs, ino, 1000); /* more than there are: harmless */
    fs_forget(fx.fs, 1ull << 50, 1);
    fs_get_info(fx.fs, &info);
    ck_assert_uint_eq(info.handles, 0);
    ck_assert_uint_eq(info.lookups, 0);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_open_after_unlink);
    tcase_add_test(tcase, test_orphan_after_crash);
    tcase_add_test(tcase, test_tmpfile);
    tcase_add_test(tcase, test_generation);
    tcase_add_test(tcase, test_handles_and_references);
}

int main(void)
{
    return fx_main("fs_orphan", add);
}
