/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test_fs.h"

#include <linux/falloc.h>
#include <unistd.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static int call(struct fs_handle *handle, int mode, uint64_t offset, uint64_t length)
{
    return fs_fallocate(fx.fs, &fx.rq, handle, mode, offset, length);
}

static uint64_t seek(struct fs_handle *handle, uint64_t offset, int whence)
{
    uint64_t at;

    ck_assert_int_eq(fs_lseek(fx.fs, &fx.rq, handle, offset, whence, &at), 0);
    return at;
}

START_TEST(test_allocate)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle), at;

    ck_assert_int_eq(call(handle, FALLOC_FL_KEEP_SIZE, 0, 1u << 20), 0);
    ck_assert_uint_eq(fx_attr(ino).size, 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 256);
    ck_assert_int_eq(call(handle, 0, 5000, 5000), 0);
    ck_assert_uint_eq(fx_attr(ino).size, 10000);
    fx_expect(handle, 0, 10000, 0);
    ck_assert_int_eq(fs_lseek(fx.fs, &fx.rq, handle, 0, SEEK_DATA, &at), -ENXIO);
    ck_assert_int_eq(call(handle, 0, 0, 0), -EINVAL);
    ck_assert_int_eq(call(handle, FALLOC_FL_PUNCH_HOLE, 0, 1), -EOPNOTSUPP);
    ck_assert_int_eq(call(handle, 0, 1ull << 62, 1), -EFBIG);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_punch)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, 40960, 'a');
    ck_assert_int_eq(call(handle, PUNCH, 5000, 20000), 0);
    fx_expect(handle, 0, 5000, 'a');
    fx_expect(handle, 5000, 20000, 0);
    fx_expect(handle, 25000, 15960, 'a');
    ck_assert_uint_eq(fx_attr(ino).blocks, 6);
    ck_assert_uint_eq(seek(handle, 0, SEEK_HOLE), 8192);
    ck_assert_uint_eq(seek(handle, 8192, SEEK_DATA), 24576);
    ck_assert_uint_eq(seek(handle, 30000, SEEK_HOLE), 40960);
    ck_assert_int_eq(call(handle, PUNCH, 0, 1u << 30), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 0);
    ck_assert_uint_eq(fx_attr(ino).size, 40960);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_zero)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, 20000, 'a');
    ck_assert_int_eq(call(handle, FALLOC_FL_ZERO_RANGE, 100, 12000), 0);
    fx_expect(handle, 0, 100, 'a');
    fx_expect(handle, 100, 12000, 0);
    fx_expect(handle, 12100, 7900, 'a');
    ck_assert_int_eq(call(handle, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 15000, 100000), 0);
    ck_assert_uint_eq(fx_attr(ino).size, 20000);
    ck_assert_int_eq(call(handle, FALLOC_FL_ZERO_RANGE, 15000, 100000), 0);
    ck_assert_uint_eq(fx_attr(ino).size, 115000);
    fx_expect(handle, 15000, 100000, 0);
    fs_release(fx.fs, handle);
}
END_TEST

/* More extents than one transaction takes away: an intent carries it over a crash in no state but
 * done or not begun. */
START_TEST(test_punch_of_many_extents)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    for (uint64_t i = 0; i < 5000; i++)
        fx_fill(handle, i * 8192, 1, 'x');
    ck_assert_int_eq(call(handle, PUNCH, 4096, 8192 * 4999), 0);
    fx_expect(handle, 0, 1, 'x');
    ck_assert_uint_eq(seek(handle, 4096, SEEK_HOLE), 4096);
    fx_remount(true);
    ck_assert_uint_le(fx_attr(ino).blocks, 3);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_allocate);
    tcase_add_test(tcase, test_punch);
    tcase_add_test(tcase, test_zero);
    tcase_add_test(tcase, test_punch_of_many_extents);
}

int main(void)
{
    return fx_main("fs_fallocate", add);
}
