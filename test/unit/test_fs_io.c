/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test_fs.h"

#include "media/pool.h"

#include <linux/falloc.h>
#include <unistd.h>

START_TEST(test_write_and_read)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, 10000, 'a');
    fx_fill(handle, 4095, 2, 'b');
    fx_expect(handle, 0, 4095, 'a');
    fx_expect(handle, 4095, 2, 'b');
    fx_expect(handle, 4097, 5903, 'a');
    fx_remount(true);
    handle = fx_open(ino, O_RDONLY);
    fx_expect(handle, 4095, 2, 'b');
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_append_takes_the_end)
{
    struct fs_handle *handle = fx_create("f");
    char text[] = "xyz";
    struct iovec vector = { .iov_base = text, .iov_len = 3 };
    uint64_t at = 0;

    fx_fill(handle, 0, 5000, 'a');
    ck_assert_int_eq(fs_write(fx.fs, &fx.rq, handle, &vector, 1, 7, FS_WRITE_APPEND, &at), 3);
    ck_assert_uint_eq(at, 5000);
    fx_expect(handle, 0, 5000, 'a');
    /* whatever the offset says, also one that no file has */
    ck_assert_int_eq(
        fs_write(fx.fs, &fx.rq, handle, &vector, 1, UINT64_MAX - 1, FS_WRITE_APPEND, &at), 3);
    ck_assert_uint_eq(at, 5003);
    ck_assert_uint_eq(fx_attr(fs_handle_ino(handle)).size, 5006);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_limits)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t end = (1ull << 56) - 1;
    char byte;

    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, "ab", 2, end - 1), 1);
    ck_assert_uint_eq(fx_attr(fs_handle_ino(handle)).size, end);
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, "a", 1, end), -EFBIG);
    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, &byte, 1, end - 1), 1);
    ck_assert_int_eq(byte, 'a');
    ck_assert_int_eq(fx_truncate(fs_handle_ino(handle), end + 1), -EFBIG);
    fs_release(fx.fs, handle);
}
END_TEST

/* L3 only your own bytes: a hole reads as zeros, also where the blocks held somebody's data. */
START_TEST(test_L3_only_your_own_bytes_in_reused_blocks)
{
    struct fs_handle *handle = fx_create("old");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, 48u << 20, 'S');
    fs_release(fx.fs, handle);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("old")), 0);
    fs_forget(fx.fs, ino, 1);
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    handle = fx_create("new");
    for (unsigned i = 0; i < 1000; i++)
        fx_write(handle, i * 20000 + 100, "x");
    for (unsigned i = 0; i < 1000; i++) {
        fx_expect(handle, i * 20000, 100, 0);
        fx_expect(handle, i * 20000 + 101, i < 999 ? 19899 : 0, 0);
    }
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, 0, 20u << 20, 4u << 20), 0);
    fx_expect(handle, 20u << 20, 4u << 20, 0);
    fs_release(fx.fs, handle);
}
END_TEST

/* L3 only your own bytes: what lies in a block past EOF never comes back, however the file grows.
 * The bytes get there behind the filesystem's back, as through a mapping. */
START_TEST(test_L3_only_your_own_bytes_past_the_end)
{
    for (unsigned way = 0; way < 4; way++) {
        struct fs_handle *handle;
        struct fs_read read;
        char name[8];

        snprintf(name, sizeof(name), "f%u", way);
        handle = fx_create(name);
        fx_fill(handle, 0, 100, 'a');
        ck_assert_int_eq(fs_read_begin(fx.fs, &fx.rq, handle, 0, 100, &read), 0);
        memset((char *)read.vector[0].iov_base + 100, 'M', 3996);
        ck_assert_int_eq(fs_read_end(fx.fs, &read), 0);
        if (way == 0)
            ck_assert_int_eq(fx_truncate(fs_handle_ino(handle), 4096), 0);
        else if (way == 1)
            fx_fill(handle, 4000, 96, 0);
        else if (way == 2)
            ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, 0, 0, 4096), 0);
        else
            ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_ZERO_RANGE, 2000, 2096),
                             0);
        fx_expect(handle, 0, 100, 'a');
        fx_expect(handle, 100, 3996, 0);
        fs_release(fx.fs, handle);
    }
}
END_TEST

START_TEST(test_truncate)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, 20000, 'a');
    ck_assert_int_eq(fx_truncate(ino, 5000), 0);
    ck_assert_int_eq(fx_truncate(ino, 20000), 0);
    fx_expect(handle, 0, 5000, 'a');
    fx_expect(handle, 5000, 15000, 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 2);
    ck_assert_int_eq(fx_truncate(1, 0), -EISDIR);
    fs_release(fx.fs, handle);
}
END_TEST

/* No space for the extents of a write: what it had put over old bytes stands, and is told. */
START_TEST(test_no_space_is_a_short_write)
{
    struct fs_handle *handle = fx_create("full");
    size_t length = 1u << 20;
    char *bytes = malloc(length);
    uint64_t at = 0;
    ssize_t n;

    memset(bytes, 'f', length);
    while ((n = fs_pwrite(fx.fs, &fx.rq, handle, bytes, length, at)) > 0)
        at += (uint64_t)n;
    ck_assert_int_eq(n, -ENOSPC);
    n = fs_pwrite(fx.fs, &fx.rq, handle, memset(bytes, 'g', length), length, at - 4096);
    ck_assert_int_eq(n, 4096);
    ck_assert_uint_eq(fx_attr(fs_handle_ino(handle)).size, at);
    /* Truncate and unlink need none. */
    ck_assert_int_eq(fx_truncate(fs_handle_ino(handle), 100), 0);
    fs_release(fx.fs, handle);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("full")), 0);
    free(bytes);
}
END_TEST

START_TEST(test_copy_within_a_file_ends_at_its_old_end)
{
    struct fs_handle *handle = fx_create("f");

    fx_fill(handle, 0, 1000, 'a');
    ck_assert_int_eq(fs_copy_range(fx.fs, &fx.rq, handle, 500, handle, 1200, 700), 500);
    ck_assert_uint_eq(fx_attr(fs_handle_ino(handle)).size, 1700);
    fx_expect(handle, 1000, 200, 0);
    fx_expect(handle, 1200, 500, 'a');
    ck_assert_int_eq(fs_copy_range(fx.fs, &fx.rq, handle, 0, handle, 100, 200), -EINVAL);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_copy_over_holes)
{
    struct fs_handle *from = fx_create("from"), *to = fx_create("to");
    uint64_t ino = fs_handle_ino(to);
    uint64_t hole;

    fx_fill(from, 1u << 20, 4096, 'a');
    fx_fill(to, 8192, 4096, 'z');
    ck_assert_int_eq(fs_copy_range(fx.fs, &fx.rq, from, 0, to, 0, 2u << 20), (1 << 20) + 4096);
    fx_expect(to, 0, 1u << 20, 0);
    fx_expect(to, 1u << 20, 4096, 'a');
    ck_assert_int_eq(fs_lseek(fx.fs, &fx.rq, from, 0, SEEK_DATA, &hole), 0);
    ck_assert_uint_eq(hole, 1u << 20);
    /* A hole over a hole changes nothing but the times; a shorter one never shortens. */
    ck_assert_int_eq(fs_copy_range(fx.fs, &fx.rq, from, 0, to, 600000, 1000), 1000);
    ck_assert_uint_eq(fx_attr(ino).size, (1u << 20) + 4096);
    ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, ino, DXF_FLAG_IMMUTABLE), 0);
    ck_assert_int_eq(fs_copy_range(fx.fs, &fx.rq, from, 0, to, 600000, 1000), -EPERM);
    fs_release(fx.fs, from);
    fs_release(fx.fs, to);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_write_and_read);
    tcase_add_test(tcase, test_append_takes_the_end);
    tcase_add_test(tcase, test_limits);
    tcase_add_test(tcase, test_L3_only_your_own_bytes_in_reused_blocks);
    tcase_add_test(tcase, test_L3_only_your_own_bytes_past_the_end);
    tcase_add_test(tcase, test_truncate);
    tcase_add_test(tcase, test_no_space_is_a_short_write);
    tcase_add_test(tcase, test_copy_within_a_file_ends_at_its_old_end);
    tcase_add_test(tcase, test_copy_over_holes);
}

int main(void)
{
    return fx_main("fs_io", add);
}
