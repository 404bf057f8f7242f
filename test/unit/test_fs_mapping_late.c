/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mappings whose door was stopped, failed or came late: what they show afterwards, what is given back when
 * they end, and who must not wait for them.
 */
#include "test_mapping.h"

/* Zeros that were shown when the door was stopped are the file again when it goes on. */
START_TEST(test_zeros_are_filled_when_the_door_goes_on)
{
    struct fs_handle *handle = fx_create("f");

    ck_assert_int_eq(truncate_to(handle, 3 * CHUNK), 0);
    for (uint64_t i = 0; i < 3; i++)
        ck_assert_int_eq(fault(&a, handle, i * CHUNK, i, false), 0);
    fs_door_stop(fx.fs, &a.door);
    fx_fill(handle, 10, 10, 'w');
    ck_assert_int_eq(fault(&b, handle, CHUNK, 1, true), 0);
    memset(window_at(&b, 1, 0), 's', 10);
    ck_assert(window_shows_zeros(&a, 0) && window_shows_zeros(&a, 1));
    fs_door_resume(fx.fs, &a.door);
    fs_door_fill(fx.fs, &a.door);
    expect_shown(&a, 0, 10, 20, 'w');
    expect_shown(&a, 1, 0, 10, 's');
    ck_assert(window_shows_zeros(&a, 2));
    fs_release(fx.fs, handle);
}
END_TEST

/* A fault that failed between the piece and showing it leaves zeros; the next fault of anybody fills. */
START_TEST(test_zeros_left_by_a_failed_upgrade_are_filled)
{
    struct fs_handle *handle = fx_create("f");

    ck_assert_int_eq(truncate_to(handle, CHUNK), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, false), 0);
    a.fails[WINDOW_UNMAP] = -EINVAL;
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), -EINVAL);
    ck_assert(window_shows_zeros(&a, 0));
    a.fails[WINDOW_UNMAP] = 0;
    ck_assert_int_eq(fault(&b, handle, 0, 0, true), 0);
    ck_assert(!window_shows_zeros(&a, 0));
    memset(window_at(&b, 0, 0), 's', 10);
    expect_shown(&a, 0, 0, 10, 's');
    fs_release(fx.fs, handle);
}
END_TEST

static void stop_on(struct window *window, enum window_call call, uint64_t slot, uint64_t offset)
{
    (void)slot;
    (void)offset;
    if (call == WINDOW_REVOKE || call == WINDOW_UNMAP)
        fs_door_stop(fx.fs, &window->door);
}

/* What cannot be done because the door stops just then is as it was before, and goes on. */
START_TEST(test_a_door_that_stops_meanwhile_has_nothing_stuck)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(fault(&b, handle, 0, 0, true), 0);
    b.on_call = stop_on;
    b.fails[WINDOW_REVOKE] = -ENODEV;
    ck_assert_int_eq(truncate_to(handle, 0), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 512);
    ck_assert_int_eq(truncate_to(handle, CHUNK), 0);
    b.on_call = NULL;
    b.fails[WINDOW_REVOKE] = 0;
    fs_door_resume(fx.fs, &b.door);
    ck_assert_int_eq(unmap(&b, 0), 0);

    ck_assert_int_eq(fault(&a, handle, 0, 0, false), 0);
    ck_assert(window_shows_zeros(&a, 0));
    a.on_call = stop_on;
    a.fails[WINDOW_UNMAP] = -ENODEV;
    fx_fill(handle, 0, 10, 'w');
    a.on_call = NULL;
    a.fails[WINDOW_UNMAP] = 0;
    ck_assert(window_shows_zeros(&a, 0));
    fs_door_resume(fx.fs, &a.door);
    fs_door_fill(fx.fs, &a.door);
    expect_shown(&a, 0, 0, 10, 'w');
    ck_assert_int_eq(unmap(&a, 0), 0);
    fs_release(fx.fs, handle);
}
END_TEST

/* What somebody has allocated past EOF is his, if no mapping has been there. */
START_TEST(test_what_was_allocated_past_eof_stays)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    ck_assert_int_eq(truncate_to(handle, CHUNK + 100), 0);
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_KEEP_SIZE, 8ull * CHUNK, CHUNK),
                     0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    ck_assert_int_eq(fault(&a, handle, CHUNK, 1, true), 0);
    ck_assert_int_eq(fault(&b, handle, CHUNK, 0, false), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 3 * 512);
    ck_assert_int_eq(unmap(&a, 1), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 3 * 512);
    ck_assert_int_eq(unmap(&b, 0), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 2 * 512);
    ck_assert_int_eq(unmap(&a, 0), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 512);
    /* Nothing of it is left for recovery. */
    fs_release(fx.fs, handle);
    atomic_store(&fx.below.pool->failed, true);
    close_doors();
    fx_remount(true);
    ck_assert_uint_eq(fx.recovered.orphans, 0);
    fs_release(fx.fs, fx_open(ino, O_RDWR));
    ck_assert_uint_eq(fx_attr(ino).blocks, 512);
    open_doors();
}
END_TEST

/* The last mapping to go may be one that has nothing to tidy. */
START_TEST(test_nothing_is_left_for_recovery)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, CHUNK + 100, 'x');
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    ck_assert_int_eq(fault(&a, handle, CHUNK, 1, true), 0);
    ck_assert_int_eq(unmap(&a, 1), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 513);
    ck_assert_int_eq(
        fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_KEEP_SIZE, 8ull * CHUNK, CHUNK), 0);
    ck_assert_int_eq(unmap(&a, 0), 0);
    fs_release(fx.fs, handle);
    atomic_store(&fx.below.pool->failed, true);
    close_doors();
    fx_remount(true);
    ck_assert_uint_eq(fx.recovered.orphans, 0);
    fs_release(fx.fs, fx_open(ino, O_RDWR));
    ck_assert_uint_eq(fx_attr(ino).blocks, 513 + 512);
    open_doors();
}
END_TEST

/* A ring's thread neither waits for a mapper nor copies pieces. */
START_TEST(test_who_must_not_wait_asks_no_mapper)
{
    struct lock_wait nowait = { .nowait = true };
    struct fs_request now = { .in_group = true, .wait = &nowait };
    struct fs_handle *handle = fx_create("f");
    struct fs_attr attr = { .size = 10 };

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(truncate_to(handle, 2 * CHUNK), 0);
    ck_assert_int_eq(fault(&b, handle, 0, 0, true), 0);
    ck_assert_int_eq(fault(&a, handle, CHUNK, 1, false), 0);
    ck_assert_int_eq(fs_setattr(fx.fs, &now, fs_handle_ino(handle), &attr, FS_SET_SIZE, &attr),
                     -EAGAIN);
    ck_assert_int_eq(fs_fallocate(fx.fs, &now, handle, PUNCH, 0, CHUNK), -EAGAIN);
    ck_assert_int_eq(fs_pwrite(fx.fs, &now, handle, "w", 1, CHUNK), -EAGAIN);
    ck_assert_uint_eq(b.calls[WINDOW_REVOKE], 0);
    ck_assert(window_shows_zeros(&a, 1));
    /* What needs none of it goes on. */
    ck_assert_int_eq(fs_pwrite(fx.fs, &now, handle, "w", 1, 0), 1);
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, PUNCH, 0, CHUNK), 0);
    ck_assert_uint_eq(b.calls[WINDOW_REVOKE], 1);
    fs_release(fx.fs, handle);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_zeros_are_filled_when_the_door_goes_on);
    tcase_add_test(tcase, test_zeros_left_by_a_failed_upgrade_are_filled);
    tcase_add_test(tcase, test_a_door_that_stops_meanwhile_has_nothing_stuck);
    tcase_add_test(tcase, test_what_was_allocated_past_eof_stays);
    tcase_add_test(tcase, test_nothing_is_left_for_recovery);
    tcase_add_test(tcase, test_who_must_not_wait_asks_no_mapper);
}

int main(void)
{
    return mapping_main("fs_mapping_late", add);
}
