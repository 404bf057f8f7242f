/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where files lie (fs_parts), what is mapped (fs_mappings), and what becomes of pages that a door's user
 * kept across a shift (fs_shift).
 */
#include "test_fs.h"
#include "window.h"

#include "fs/internal.h"

#include <linux/falloc.h>
#include <unistd.h>

#define BLOCK 4096u
#define CHUNK (2u << 20)
#define MAX 64u

static struct window fixed, revocable;

static void setup(void)
{
    fx_setup();
    window_init(&fixed, fx.below.pool, "fixed", false);
    window_init(&revocable, fx.below.pool, "revocable", true);
    ck_assert_int_eq(fs_door_add(fx.fs, &fixed.door), 0);
    ck_assert_int_eq(fs_door_add(fx.fs, &revocable.door), 0);
}

static void teardown(void)
{
    for (struct window *window = &fixed; window; window = window == &fixed ? &revocable : NULL) {
        fs_door_stop(fx.fs, &window->door);
        fs_door_over(fx.fs, &window->door);
        fs_door_remove(fx.fs, &window->door);
        window_destroy(window);
    }
    fx_teardown();
}

static int fault(struct window *window, struct fs_handle *handle, uint64_t offset, uint64_t slot,
                 bool write)
{
    return fs_fault(fx.fs, &fx.rq, &window->door, fs_handle_ino(handle), offset, slot, write);
}

static void allocate(struct fs_handle *handle, int mode, uint64_t offset, uint64_t length)
{
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, mode, offset, length), 0);
}

/* ---- parts -------------------------------------------------------------------------------------- */

struct list {
    struct fs_part parts[MAX];
    unsigned count;
    bool more;
};

static struct list ask(struct fs_handle *handle, uint64_t offset, uint64_t length, unsigned max)
{
    struct list list = { 0 };

    ck_assert_int_eq(fs_parts(fx.fs, &fx.rq, fs_handle_ino(handle), offset, length, list.parts, max,
                              &list.count, &list.more),
                     0);
    ck_assert_uint_le(list.count, max);
    return list;
}

/* What the flags of a part say: u unwritten, p piece, m mapped, f pinned (fixed). */
static void expect_part(const struct list *list, unsigned i, uint64_t offset, uint64_t length,
                        const char *flags)
{
    const struct fs_part *part = &list->parts[i];
    char found[5];

    ck_assert_uint_lt(i, list->count);
    snprintf(found, sizeof(found), "%s%s%s%s", part->unwritten ? "u" : "", part->piece ? "p" : "",
             part->mapped ? "m" : "", part->pinned ? "f" : "");
    ck_assert_uint_eq(part->offset, offset);
    ck_assert_uint_eq(part->length, length);
    ck_assert_str_eq(found, flags);
}

START_TEST(test_parts_of_a_plain_file)
{
    struct fs_handle *handle = fx_create("f"), *other = fx_create("other");
    struct list list;

    fx_fill(handle, 0, 2 * BLOCK, 'a');
    fx_fill(other, 0, BLOCK, 'o');
    fx_fill(handle, 4 * BLOCK, BLOCK + 1, 'b');
    allocate(handle, FALLOC_FL_KEEP_SIZE, 16 * BLOCK, BLOCK);
    list = ask(handle, 0, UINT64_MAX, MAX);
    ck_assert_uint_eq(list.count, 3);
    ck_assert(!list.more);
    expect_part(&list, 0, 0, 2 * BLOCK, "");
    expect_part(&list, 1, 4 * BLOCK, 2 * BLOCK, "");
    expect_part(&list, 2, 16 * BLOCK, BLOCK, "u");
    /* The bytes are where it says. */
    ck_assert_int_eq(*(char *)pool_at(fx.below.pool, list.parts[1].pool_offset), 'b');
    /* Cut, and continued. */
    list = ask(handle, BLOCK + 5, 3 * BLOCK, MAX);
    ck_assert_uint_eq(list.count, 2);
    expect_part(&list, 0, BLOCK, BLOCK, "");
    expect_part(&list, 1, 4 * BLOCK, BLOCK, "");
    list = ask(handle, 0, UINT64_MAX, 2);
    ck_assert(list.more);
    ck_assert_uint_eq(list.count, 2);
    list = ask(handle, 6 * BLOCK, UINT64_MAX, 1);
    ck_assert(!list.more);
    expect_part(&list, 0, 16 * BLOCK, BLOCK, "u");
    list = ask(handle, 17 * BLOCK, UINT64_MAX, 0);
    ck_assert(!list.more);
    fs_release(fx.fs, handle);
    fs_release(fx.fs, other);
}
END_TEST

/* More than one look at the map takes, and than one answer holds. */
START_TEST(test_parts_are_all_there)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t at = 0, seen = 0;
    struct list list;

    for (uint64_t i = 0; i < 300; i++)
        fx_fill(handle, i * 2 * BLOCK, BLOCK, 'a');
    do {
        list = ask(handle, at, UINT64_MAX, 50);
        for (unsigned i = 0; i < list.count; i++, seen++) {
            expect_part(&list, i, seen * 2 * BLOCK, BLOCK, "");
            at = list.parts[i].offset + BLOCK;
        }
    } while (list.more);
    ck_assert_uint_eq(seen, 300);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_pieces_and_what_is_mapped)
{
    struct fs_handle *handle = fx_create("f");
    struct list list;

    allocate(handle, 0, 0, 5 * (uint64_t)CHUNK);
    list = ask(handle, 0, UINT64_MAX, MAX);
    ck_assert(list.parts[0].unwritten && list.parts[0].piece);
    /* What is behind the last whole chunk is none. */
    allocate(handle, 0, 5 * (uint64_t)CHUNK, BLOCK);
    list = ask(handle, 4 * (uint64_t)CHUNK, UINT64_MAX, MAX);
    expect_part(&list, 0, 4 * (uint64_t)CHUNK, CHUNK, "up");
    expect_part(&list, 1, 5 * (uint64_t)CHUNK, BLOCK, "u");
    /* Some written, some not: still one piece. */
    fx_fill(handle, 3 * BLOCK, BLOCK, 'x');
    list = ask(handle, 0, 2 * CHUNK, MAX);
    ck_assert_uint_ge(list.count, 3);
    expect_part(&list, 0, 0, 3 * BLOCK, "up");
    expect_part(&list, 1, 3 * BLOCK, BLOCK, "p");
    ck_assert_int_eq(fault(&fixed, handle, CHUNK, 7, true), 0);
    ck_assert_int_eq(fault(&revocable, handle, 3 * CHUNK, 2, false), 0);
    list = ask(handle, CHUNK, CHUNK, MAX);
    ck_assert_uint_eq(list.count, 1);
    expect_part(&list, 0, CHUNK, CHUNK, "pmf");
    /* Only read, and nothing written: zeros are shown in its place. */
    list = ask(handle, 3 * CHUNK, CHUNK, MAX);
    expect_part(&list, 0, 3 * CHUNK, CHUNK, "upm");
    list = ask(handle, 2 * CHUNK, CHUNK, MAX);
    expect_part(&list, 0, 2 * CHUNK, CHUNK, "up");
    ck_assert_int_eq(fault(&revocable, handle, 3 * CHUNK, 2, true), 0);
    list = ask(handle, 3 * CHUNK, CHUNK, MAX);
    expect_part(&list, 0, 3 * CHUNK, CHUNK, "pm");
    /* A door that was stopped lets go of nothing. */
    fs_door_stop(fx.fs, &revocable.door);
    list = ask(handle, 3 * CHUNK, CHUNK, MAX);
    expect_part(&list, 0, 3 * CHUNK, CHUNK, "pmf");
    fs_door_resume(fx.fs, &revocable.door);
    /* A piece with a hole is none. */
    allocate(handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * CHUNK, BLOCK);
    list = ask(handle, 2 * CHUNK, CHUNK, MAX);
    expect_part(&list, 0, 2 * CHUNK + BLOCK, CHUNK - BLOCK, "u");
    fs_release(fx.fs, handle);
}
END_TEST

/* Moved by less than a chunk it lies in no piece's place any more. */
START_TEST(test_an_extent_out_of_place)
{
    struct fs_handle *handle = fx_create("f");
    struct list list;

    allocate(handle, 0, 0, 2 * (uint64_t)CHUNK);
    allocate(handle, FALLOC_FL_COLLAPSE_RANGE, 0, BLOCK);
    list = ask(handle, 0, UINT64_MAX, MAX);
    for (unsigned i = 0; i < list.count; i++)
        ck_assert(!list.parts[i].piece);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_parts_bad_input)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);
    struct list list = { 0 };
    const struct {
        uint64_t ino, offset, length;
        int error;
    } bad[] = {
        { ino, 0, 0, -EINVAL },
        { ino, (uint64_t)INT64_MAX + 1, 1, -EINVAL },
        { ino, UINT64_MAX, UINT64_MAX, -EINVAL },
        { 1, 0, 1, -EISDIR },
        { 999999, 0, 1, -ESTALE },
        { 0, 0, 1, -ESTALE },
    };

    fx_fill(handle, 0, BLOCK, 'a');
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        list.count = 77;
        ck_assert_int_eq(fs_parts(fx.fs, &fx.rq, bad[i].ino, bad[i].offset, bad[i].length,
                                  list.parts, MAX, &list.count, &list.more),
                         bad[i].error);
        ck_assert_uint_eq(list.count, 77);
    }
    list = ask(handle, INT64_MAX, UINT64_MAX, MAX);
    ck_assert_uint_eq(list.count, 0);
    list = ask(handle, 0, INT64_MAX, MAX);
    ck_assert_uint_eq(list.count, 1);
    list = ask(handle, BLOCK - 1, 1, MAX);
    ck_assert_uint_eq(list.count, 1);
    fs_release(fx.fs, handle);
}
END_TEST

/* ---- mappings ------------------------------------------------------------------------------------ */

START_TEST(test_mappings)
{
    struct fs_handle *handle = fx_create("f");
    struct fs_mapping *list;
    size_t count;

    ck_assert_int_eq(fs_mappings(fx.fs, &list, &count), 0);
    ck_assert_uint_eq(count, 0);
    free(list);
    allocate(handle, 0, 0, 100);
    fx_fill(handle, 3 * (uint64_t)CHUNK, 1, 'x');
    ck_assert_int_eq(fault(&fixed, handle, CHUNK, 5, false), 0);
    ck_assert_int_eq(fault(&revocable, handle, 3 * CHUNK, 9, true), 0);
    ck_assert_int_eq(fs_mappings(fx.fs, &list, &count), 0);
    ck_assert_uint_eq(count, 2);
    for (size_t i = 0; i < count; i++) {
        bool first = strcmp(list[i].door, "fixed") == 0;

        ck_assert_uint_eq(list[i].ino, fs_handle_ino(handle));
        ck_assert_uint_eq(list[i].offset, first ? CHUNK : 3 * (uint64_t)CHUNK);
        ck_assert_uint_eq(list[i].slot, first ? 5 : 9);
        ck_assert_str_eq(list[i].door, first ? "fixed" : "revocable");
        ck_assert_int_eq(list[i].pool_offset == 0, first);
        ck_assert_int_eq(list[i].write, !first);
        ck_assert(!list[i].pinned && !list[i].busy);
    }
    free(list);
    /* More than it first has room for. */
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, 0, 0, 70 * (uint64_t)CHUNK), -ENOSPC);
    for (uint64_t i = 0; i < WINDOW_SLOTS; i++) {
        (void)fault(&fixed, handle, CHUNK, i, false);
        (void)fault(&revocable, handle, CHUNK, i, false);
    }
    ck_assert_int_eq(fs_mappings(fx.fs, &list, &count), 0);
    ck_assert_uint_eq(count, 2 * WINDOW_SLOTS);
    for (size_t i = 0; i < count; i++)
        ck_assert_uint_eq(list[i].ino, fs_handle_ino(handle));
    free(list);
    fs_release(fx.fs, handle);
}
END_TEST

/* ---- what was kept across a shift ----------------------------------------------------------------- */

static ssize_t write_back(struct fs_handle *handle, uint64_t offset, size_t length, int byte)
{
    char bytes[8 * BLOCK];
    struct iovec vector = { bytes, length };

    memset(bytes, byte, length);
    return fs_write(fx.fs, &fx.rq, handle, &vector, 1, offset, FS_WRITE_BACK, NULL);
}

static struct fs_handle *lettered(const char *name, unsigned blocks)
{
    struct fs_handle *handle = fx_create(name);

    for (unsigned i = 0; i < blocks; i++)
        fx_fill(handle, (uint64_t)i * BLOCK, BLOCK, 'a' + (int)i);
    return handle;
}

static int shift(struct fs_handle *handle, int mode, uint64_t offset, uint64_t length,
                 uint64_t user)
{
    return fs_shift(fx.fs, &fx.rq, handle, mode, offset, length, user);
}

START_TEST(test_old_pages_are_dropped)
{
    struct fs_handle *handle = lettered("f", 8), *other = lettered("other", 8);
    uint64_t ino = fs_handle_ino(handle);

    ck_assert_int_eq(shift(handle, FALLOC_FL_COLLAPSE_RANGE, 2 * BLOCK, BLOCK, 7), 0);
    ck_assert_int_eq(write_back(handle, 5 * BLOCK, BLOCK, 'X'), BLOCK);
    fx_expect(handle, 5 * BLOCK, BLOCK, 'g');
    /* Past the new end: it does not grow. */
    ck_assert_int_eq(write_back(handle, 7 * BLOCK, BLOCK, 'X'), BLOCK);
    ck_assert_uint_eq(fx_attr(ino).size, 7 * BLOCK);
    /* Half of it is before what has moved. */
    ck_assert_int_eq(write_back(handle, BLOCK, 2 * BLOCK, 'Y'), 2 * BLOCK);
    fx_expect(handle, BLOCK, BLOCK, 'Y');
    fx_expect(handle, 2 * BLOCK, BLOCK, 'd');
    ck_assert_int_eq(write_back(handle, 0, BLOCK, 'Z'), BLOCK);
    fx_expect(handle, 0, BLOCK, 'Z');
    /* What somebody writes now is no old page; other files have not moved. */
    fx_fill(handle, 3 * BLOCK, BLOCK, 'W');
    fx_expect(handle, 3 * BLOCK, BLOCK, 'W');
    ck_assert_int_eq(write_back(other, 5 * BLOCK, BLOCK, 'X'), BLOCK);
    fx_expect(other, 5 * BLOCK, BLOCK, 'X');
    /* Another one meanwhile; each ends by itself. */
    ck_assert_int_eq(shift(handle, FALLOC_FL_INSERT_RANGE, 4 * BLOCK, BLOCK, 8), 0);
    fs_shift_over(fx.fs, handle, 9);
    fs_shift_over(fx.fs, other, 7);
    ck_assert_int_eq(write_back(handle, 2 * BLOCK, BLOCK, 'X'), BLOCK);
    fx_expect(handle, 2 * BLOCK, BLOCK, 'd');
    fs_shift_over(fx.fs, handle, 7);
    ck_assert_int_eq(write_back(handle, 2 * BLOCK, BLOCK, 'V'), BLOCK);
    fx_expect(handle, 2 * BLOCK, BLOCK, 'V');
    ck_assert_int_eq(write_back(handle, 4 * BLOCK, BLOCK, 'X'), BLOCK);
    fx_expect(handle, 4 * BLOCK, BLOCK, 0);
    fs_shift_over(fx.fs, handle, 8);
    ck_assert_int_eq(write_back(handle, 4 * BLOCK, BLOCK, 'U'), BLOCK);
    fx_expect(handle, 4 * BLOCK, BLOCK, 'U');
    fs_release(fx.fs, handle);
    fs_release(fx.fs, other);
}
END_TEST

/* Who would have said it was killed, and another has the file open. */
START_TEST(test_dropping_ends_with_the_handle)
{
    struct fs_handle *handle = lettered("f", 4);
    struct fs_handle *other = fx_open(fs_handle_ino(handle), O_RDWR);

    ck_assert_int_eq(shift(handle, FALLOC_FL_COLLAPSE_RANGE, 0, BLOCK, 0), 0);
    ck_assert_int_eq(shift(other, FALLOC_FL_INSERT_RANGE, 2 * BLOCK, BLOCK, 0), 0);
    fs_release(fx.fs, handle);
    ck_assert_int_eq(write_back(other, BLOCK, BLOCK, 'X'), BLOCK);
    fx_expect(other, BLOCK, BLOCK, 'X');
    ck_assert_int_eq(write_back(other, 2 * BLOCK, BLOCK, 'Y'), BLOCK);
    fx_expect(other, 2 * BLOCK, BLOCK, 0);
    fs_release(fx.fs, other);
}
END_TEST

/* The same, and the handle is still another's. */
START_TEST(test_dropping_ends_by_itself)
{
    struct fs_handle *handle = lettered("f", 4);

    stale_lifetime = 500000000;
    ck_assert_int_eq(shift(handle, FALLOC_FL_COLLAPSE_RANGE, 0, BLOCK, 1), 0);
    ck_assert_int_eq(shift(handle, FALLOC_FL_INSERT_RANGE, 0, BLOCK, 1), 0);
    ck_assert_int_eq(write_back(handle, BLOCK, BLOCK, 'X'), BLOCK);
    fx_expect(handle, BLOCK, BLOCK, 'b');
    usleep(600000);
    ck_assert_int_eq(write_back(handle, BLOCK, BLOCK, 'Y'), BLOCK);
    fx_expect(handle, BLOCK, BLOCK, 'Y');
    /* And what is left of one goes with the filesystem. */
    ck_assert_int_eq(shift(handle, FALLOC_FL_COLLAPSE_RANGE, 0, BLOCK, 1), 0);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_a_shift_that_fails_drops_nothing)
{
    struct fs_handle *handle = lettered("f", 4);

    ck_assert_int_eq(shift(handle, FALLOC_FL_COLLAPSE_RANGE, 0, 4 * BLOCK, 1), -EINVAL);
    ck_assert_int_eq(shift(handle, FALLOC_FL_INSERT_RANGE, 1, BLOCK, 1), -EINVAL);
    ck_assert_int_eq(shift(handle, FALLOC_FL_ZERO_RANGE, 0, BLOCK, 1), -EOPNOTSUPP);
    /* An insert by which a block past EOF would pass the end of all files fails when it has begun. */
    allocate(handle, FALLOC_FL_KEEP_SIZE, (1ULL << 40), BLOCK);
    ck_assert_int_eq(shift(handle, FALLOC_FL_INSERT_RANGE, 0,
                           DXF_FILE_SIZE_MAX / BLOCK * BLOCK - (1ULL << 40) + 8 * BLOCK, 1),
                     -EINVAL);
    ck_assert_int_eq(write_back(handle, 0, BLOCK, 'X'), BLOCK);
    fx_expect(handle, 0, BLOCK, 'X');
    fs_release(fx.fs, handle);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_extents");
    TCase *tcase = tcase_create("extents");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_parts_of_a_plain_file);
    tcase_add_test(tcase, test_parts_are_all_there);
    tcase_add_test(tcase, test_pieces_and_what_is_mapped);
    tcase_add_test(tcase, test_an_extent_out_of_place);
    tcase_add_test(tcase, test_parts_bad_input);
    tcase_add_test(tcase, test_mappings);
    tcase_add_test(tcase, test_old_pages_are_dropped);
    tcase_add_test(tcase, test_dropping_ends_with_the_handle);
    tcase_add_test(tcase, test_dropping_ends_by_itself);
    tcase_add_test(tcase, test_a_shift_that_fails_drops_nothing);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
