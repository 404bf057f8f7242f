/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a power cut leaves of files that are mapped (crash_device.h). Two images of each moment: nothing
 * that was on its way arrived, and of it the journal alone.
 */
#include "test_fs.h"

#include "crash_device.h"
#include "window.h"

#include <pthread.h>
#include <unistd.h>

#define CHUNK (2u << 20)
#define USER 4096 /* where users store */

static struct crash_device device;
static struct window window;

/* What transactions get their memory from, in the place of the C library's. */
static _Thread_local bool no_memory;

void *aligned_alloc(size_t alignment, size_t size)
{
    void *memory;

    return !no_memory && posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

static void setup(void)
{
    struct fs_options options = { .noatime = true };

    fx_setup();
    fx_umount();
    device = (struct crash_device){ .random = 1 };
    ck_assert_int_eq(pool_open_memory(fx.below.memory, fx.below.size,
                                      crash_device_persist(&device, fx.below.memory, fx.below.size),
                                      &fx.below.pool),
                     0);
    ck_assert_int_eq(fs_open(fx.below.pool, &options, &fx.fs, NULL), 0);
    window_init(&window, fx.below.pool, "a", false);
    ck_assert_int_eq(fs_door_add(fx.fs, &window.door), 0);
}

static void teardown(void)
{
    device.on_fence = NULL;
    fs_door_stop(fx.fs, &window.door);
    fs_door_over(fx.fs, &window.door);
    fs_door_remove(fx.fs, &window.door);
    window_destroy(&window);
    fx_teardown();
    crash_device_destroy(&device);
}

/* ---- images ------------------------------------------------------------------------------------- */

/* What each image is to have, and how many were looked at. */
static struct {
    uint64_t ino;
    struct fs_attr attr;
    uint8_t bytes[CHUNK];
    unsigned images;
} expected;

static void expect_file(struct fs_handle *handle)
{
    expected.ino = fs_handle_ino(handle);
    expected.attr = fx_attr(expected.ino);
    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, expected.bytes, CHUNK, 0),
                     (ssize_t)expected.attr.size);
}

static void look_at(struct pool *pool)
{
    static uint8_t bytes[CHUNK];
    struct fs_options options = { .noatime = true };
    struct fs_request rq = { .in_group = true };
    struct fs_handle *handle;
    struct fs_attr attr;
    struct fs *fs;

    expected.images++;
    ck_assert_int_eq(fs_open(pool, &options, &fs, NULL), 0);
    ck_assert_int_eq(fs_open_file(fs, &rq, expected.ino, O_RDONLY, false, &handle), 0);
    ck_assert_int_eq(fs_getattr(fs, &rq, expected.ino, &attr), 0);
    ck_assert_uint_eq(attr.size, expected.attr.size);
    ck_assert_int_eq(attr.mtime, expected.attr.mtime);
    ck_assert_uint_le(attr.blocks, (attr.size + 4095) / 4096); /* none past EOF */
    ck_assert_int_eq(fs_pread(fs, &rq, handle, bytes, CHUNK, 0), (ssize_t)attr.size);
    for (uint64_t i = 0; i < attr.size; i++)
        if (bytes[i] != expected.bytes[i])
            ck_abort_msg("byte %zu is %02x, should be %02x", (size_t)i, bytes[i],
                         expected.bytes[i]);
    fs_release(fs, handle);
    fs_close(fs);
    crash_device_image_close(pool);
}

/* In a thread of its own: the one that is at the fence holds locks of its filesystem. */
static void *look_at_both(void *arg)
{
    const struct dxf_super *super = &fx.below.pool->super;
    uint64_t logs = le64_get(super->log_start) * DXF_BLOCK_SIZE;
    uint64_t bytes =
        (uint64_t)le32_get(super->log_count) * le32_get(super->log_blocks) * DXF_BLOCK_SIZE;

    look_at(crash_device_image_of(&device, 0, 0));
    look_at(crash_device_image_of(&device, logs, logs + bytes));
    return arg;
}

static void look(void)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, look_at_both, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static void look_at_fence(void *arg, struct crash_device *at, uint32_t thread)
{
    (void)arg;
    (void)at;
    (void)thread;
    look();
}

/* ---- faults ------------------------------------------------------------------------------------- */

static int fault(struct fs_handle *handle, bool write)
{
    return fs_fault(fx.fs, &fx.rq, &window.door, fs_handle_ino(handle), 0, 0, write);
}

/* All that is free has had other bytes in it. */
static void litter(void)
{
    struct fs_handle *handle = fx_create("litter");
    struct fs_statfs statfs;

    fs_statfs(fx.fs, &statfs);
    fx_fill(handle, 0, (statfs.available - 64) * DXF_BLOCK_SIZE, 'l');
    ck_assert_int_eq(fx_truncate(fs_handle_ino(handle), 0), 0);
    fs_release(fx.fs, handle);
    ck_assert_int_eq(fs_sync(fx.fs), 0);
}

/* Every second block of its first MiB, nothing together. */
static struct fs_handle *scattered(uint64_t size)
{
    struct fs_handle *handle = fx_create("f"), *other = fx_create("other");

    for (uint64_t at = 0; at < CHUNK / 2 && at < size; at += 8192) {
        fx_fill(handle, at, 4096, 'a');
        fx_fill(other, at, 4096, 'o');
    }
    ck_assert_int_eq(fx_truncate(fs_handle_ino(handle), size), 0);
    fs_release(fx.fs, other);
    return handle;
}

/* Whatever is there of a fault, the file is as it was; past EOF nothing stays. */
START_TEST(test_fault)
{
    static const uint64_t sizes[] = { CHUNK, 20000 };
    struct fs_handle *handle;

    litter();
    handle = scattered(sizes[_i]);
    expect_file(handle);
    device.on_fence = look_at_fence;
    ck_assert_int_eq(fault(handle, false), 0);
    ck_assert_uint_gt(expected.images, 2);
    device.on_fence = NULL;
    look();
    fs_release(fx.fs, handle);
}
END_TEST

/* Blocks that lie in their place already, unwritten. */
START_TEST(test_fault_in_place)
{
    struct fs_handle *handle;

    litter();
    handle = fx_create("f");
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, 0, 0, CHUNK), 0);
    fx_fill(handle, 5000, 5000, 'x');
    expect_file(handle);
    device.on_fence = look_at_fence;
    ck_assert_int_eq(fault(handle, false), 0);
    device.on_fence = NULL;
    ck_assert_uint_gt(expected.images, 0);
    look();
    fs_release(fx.fs, handle);
}
END_TEST

/* Where only the rest behind EOF is zeroed, that is fenced before anybody else sees it. */
START_TEST(test_fault_fences_zeros)
{
    struct fs_handle *handle = fx_create("f");
    struct persist_counters before, after;

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(fault(handle, false), 0);
    ck_assert_int_eq(fs_unmap(fx.fs, &fx.rq, &window.door, 0), 0);
    ck_assert_int_eq(fx_truncate(fs_handle_ino(handle), CHUNK - 100), 0);
    fs_settle(fx.fs);
    persist_get_counters(fx.below.pool->persist, &before);
    ck_assert_int_eq(fault(handle, false), 0);
    persist_get_counters(fx.below.pool->persist, &after);
    ck_assert_uint_gt(after.stores, before.stores);
    ck_assert_uint_eq(after.fences, before.fences + 1);
    fs_release(fx.fs, handle);
}
END_TEST

/* ---- stores through a mapping ----------------------------------------------------------------- */

static void *in_want(void *arg)
{
    no_memory = true;
    ((void (*)(void))arg)();
    no_memory = false;
    return NULL;
}

/* By a thread that gets no memory for a transaction, so that the times stay as they are. */
static void run_in_want(void (*run)(void))
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, in_want, (void *)run), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static void call_fsync(void)
{
    ck_assert_int_eq(fs_fsync(fx.fs, &fx.rq, expected.ino, false), 0);
}

static void call_unmap(void)
{
    ck_assert_int_eq(fs_unmap(fx.fs, &fx.rq, &window.door, 0), 0);
}

/* A user's store is durable when fsync returns, and when what it was made through is gone; so is the
 * time of it, and it is so without memory for that. */
START_TEST(test_store)
{
    void (*call)(void) = _i & 1 ? call_unmap : call_fsync;
    struct fs_handle *handle = fx_create("f");

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(fault(handle, true), 0);
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    if (_i & 2) /* the times cannot be stored in place */
        ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, fs_handle_ino(handle), DXF_FLAG_NODUMP), 0);
    expected.ino = fs_handle_ino(handle);
    usleep(20000); /* so that the time is another one */
    persist_store(fx.below.pool->persist, window_at(&window, 0, USER), "stored", 6);
    if (_i & 2)
        run_in_want(call);
    else
        call();
    expect_file(handle);
    look();
    fs_release(fx.fs, handle);
}
END_TEST

/* The same of sync, but for the times. */
START_TEST(test_sync)
{
    struct fs_handle *handle = fx_create("f");

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(fault(handle, true), 0);
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    persist_store(fx.below.pool->persist, window_at(&window, 0, USER), "stored", 6);
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    expect_file(handle);
    look();
    fs_release(fx.fs, handle);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_mapping_crash");
    TCase *tcase = tcase_create("crash");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, test_fault, 0, 2);
    tcase_add_test(tcase, test_fault_in_place);
    tcase_add_test(tcase, test_fault_fences_zeros);
    tcase_add_loop_test(tcase, test_store, 0, 4);
    tcase_add_test(tcase, test_sync);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
