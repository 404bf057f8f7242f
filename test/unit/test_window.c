/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport/virtiofs/window.c, between a filesystem and a VMM that does as QEMU does: it refuses to map over
 * what it maps, and to unmap what it does not, and keeps the descriptor as long as it maps any of it.
 */
#include "test_fs.h"

#include "transport/virtiofs/window.h"
#include <pthread.h>
#include <unistd.h>

#define CHUNK DAX_CHUNK_SIZE
#define SLOTS 8
#define DOOR 3

static struct window *window;
static uint64_t file; /* of two chunks of bytes and one of nothing */

/* ---- the VMM ----------------------------------------------------------------------------- */

static struct {
    uint8_t *at[SLOTS]; /* NULL: nothing is mapped there */
    bool writable[SLOTS];
    int fails; /* what it says, having done nothing; 0: it does */
    int late;  /* what it says, having done it */
    unsigned asked;
} vmm;

static void vmm_drop(unsigned slot)
{
    if (vmm.at[slot])
        munmap(vmm.at[slot], CHUNK);
    vmm.at[slot] = NULL;
}

static void vmm_drop_all(void)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        vmm_drop(slot);
}

int vhost_shm_map(struct vhost_device *device, int fd, uint64_t fd_offset, uint64_t shm_offset,
                  uint64_t length, bool writable, uint64_t deadline)
{
    uint64_t slot = shm_offset / CHUNK;

    (void)device, (void)deadline;
    ck_assert(shm_offset % CHUNK == 0 && slot < SLOTS && length == CHUNK);
    vmm.asked++;
    if (vmm.fails)
        return vmm.fails;
    if (vmm.at[slot])
        return -EIO;
    vmm.at[slot] = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)fd_offset);
    ck_assert_ptr_ne(vmm.at[slot], MAP_FAILED);
    vmm.writable[slot] = writable;
    return vmm.late;
}

int vhost_shm_unmap(struct vhost_device *device, uint64_t shm_offset, uint64_t length,
                    uint64_t deadline)
{
    uint64_t slot = shm_offset / CHUNK;

    (void)device, (void)deadline;
    ck_assert(shm_offset % CHUNK == 0 && slot < SLOTS && length == CHUNK);
    vmm.asked++;
    if (vmm.fails)
        return vmm.fails;
    if (!vmm.at[slot])
        return -EIO;
    vmm_drop((unsigned)slot);
    return vmm.late;
}

/* ---- what each begins with --------------------------------------------------------------- */

static void open_window(bool read_only)
{
    ck_assert_int_eq(window_open(fx.fs, DOOR, "window", SLOTS * CHUNK, read_only, &window), 0);
    window_started(window);
    ck_assert_int_eq(window_renew(window), 0);
}

static void setup(void)
{
    struct fs_handle *handle;

    fx_setup();
    fx_becomes_a_file();
    memset(&vmm, 0, sizeof(vmm));
    handle = fx_create("f");
    file = fs_handle_ino(handle);
    fx_fill(handle, 0, 3 * CHUNK, 'x');
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  2 * CHUNK, CHUNK),
                     0);
    fs_release(fx.fs, handle);
    open_window(false);
}

static void teardown(void)
{
    window_stopped(window);
    vmm_drop_all();
    window_left(window);
    window_close(window);
    fx_teardown();
}

static int show(uint64_t chunk, uint64_t slot, bool write)
{
    return fs_fault(fx.fs, &fx.rq, &window->door, file, chunk * CHUNK, slot, write);
}

static int hide(uint64_t slot)
{
    return fs_unmap(fx.fs, &fx.rq, &window->door, slot);
}

/* As a guest's INIT does. */
static int begin_anew(void)
{
    return fs_unmap_all(fx.fs, &fx.rq, &window->door) == -EBUSY ? -EBUSY : window_renew(window);
}

static size_t mapped(void)
{
    struct fs_mapping *list = NULL;
    size_t count = 0;

    ck_assert_int_eq(fs_mappings(fx.fs, &list, &count), 0);
    free(list);
    return count;
}

static uint8_t byte_of_file(uint64_t offset)
{
    struct fs_handle *handle = fx_open(file, O_RDONLY);
    uint8_t byte;

    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, &byte, 1, offset), 1);
    fs_release(fx.fs, handle);
    return byte;
}

/* ---- tests ------------------------------------------------------------------------------- */

/* QEMU tells nobody of a reset, and the guest's queues go on as after a pause. */
START_TEST(a_reset_that_nobody_tells)
{
    ck_assert_int_eq(show(0, 4, true), 0);
    ck_assert_int_eq(show(2, 5, false), 0);
    window_stopped(window);
    vmm_drop_all();
    window_started(window);
    ck_assert_int_eq(begin_anew(), 0);
    ck_assert_uint_eq(mapped(), 0);
    ck_assert_int_eq(show(0, 4, true), 0);
    ck_assert_int_eq(show(2, 5, false), 0);
    ck_assert_ptr_nonnull(vmm.at[4]);
    ck_assert_ptr_nonnull(vmm.at[5]);
    ck_assert_uint_eq(vmm.at[4][9], 'x');
    vmm.at[4][9] = 'y';
    ck_assert_uint_eq(byte_of_file(9), 'y');
}
END_TEST

/* One that refuses and maps on: what it may still store to is kept from others, and the guest waits. */
START_TEST(refused_and_still_mapped)
{
    ck_assert_int_eq(show(0, 4, true), 0);
    vmm.fails = -EIO;
    ck_assert_int_eq(begin_anew(), -EBUSY);
    ck_assert_uint_eq(mapped(), 1);
    ck_assert_int_eq(show(1, 6, true), -ENODEV);
    vmm.at[4][9] = 'y';
    ck_assert_uint_eq(byte_of_file(9), 'y');
    vmm.fails = 0;
    vmm_drop_all();
    ck_assert_int_eq(begin_anew(), 0);
    ck_assert_uint_eq(mapped(), 0);
    ck_assert_int_eq(show(1, 6, true), 0);
}
END_TEST

/* One that stood still while a guest ended: what it still maps is asked for again. */
START_TEST(slow_and_then_not)
{
    ck_assert_int_eq(show(0, 4, true), 0);
    ck_assert_int_eq(show(1, 5, true), 0);
    vmm.fails = -EBUSY;
    ck_assert_int_eq(begin_anew(), -EBUSY);
    ck_assert_uint_eq(mapped(), 2);
    vmm.fails = 0;
    ck_assert_int_eq(begin_anew(), 0);
    ck_assert_uint_eq(mapped(), 0);
    ck_assert_ptr_null(vmm.at[4]);
    ck_assert_ptr_null(vmm.at[5]);
    ck_assert_int_eq(show(0, 4, true), 0);
    window_stopped(window);
    ck_assert_int_eq(window_renew(window), -ECANCELED);
    window_started(window);
}
END_TEST

/* What was done is not asked for again, and the descriptor stays. */
START_TEST(nothing_is_refused)
{
    ck_assert_int_eq(show(0, 4, true), 0);
    ck_assert_int_eq(show(1, 5, true), 0);
    ck_assert_int_eq(hide(5), 0);
    int fd = window->fd;
    unsigned asked = vmm.asked;
    ck_assert_int_eq(begin_anew(), 0);
    ck_assert_uint_eq(vmm.asked, asked + 1);
    ck_assert_int_eq(window->fd, fd);
    ck_assert_uint_eq(mapped(), 0);
}
END_TEST

static int outside(uint64_t address, void **ret_bytes, uint64_t *ret_cookie)
{
    size_t length;

    return window_outside(window, address, 16, false, ret_bytes, &length, ret_cookie);
}

#define BASE (UINT64_C(1) << 40)

/* What a VMM says in its memory table of a slot that shows this. */
static void say_region(uint64_t slot, uint64_t pool_offset)
{
    const struct vhost_region region = { .guest_address = BASE + slot * CHUNK,
                                         .size = CHUNK,
                                         .fd_offset = pool_offset };

    ck_assert(window_region(window, &region, window->pool_device, window->pool_inode));
}

static void *let_go(void *arg)
{
    usleep(50000);
    window_outside_end(window, *(uint64_t *)arg);
    return NULL;
}

/* After a reset no address leads to what the last guest had, whatever the VMM says, and the next one
 * begins when nobody is there any more. */
START_TEST(nothing_is_found_after_a_reset)
{
    uint64_t cookie, other;
    pthread_t thread;
    void *bytes;

    ck_assert_int_eq(show(0, 4, true), 0);
    ck_assert_int_eq(show(2, 5, false), 0);
    uint64_t piece = window->slots[4].offset;
    ck_assert_int_eq(outside(BASE + 4 * CHUNK, &bytes, &cookie), -EFAULT);
    say_region(4, piece);
    ck_assert_int_eq(outside(BASE + 4 * CHUNK + 7, &bytes, &other), 0);
    ck_assert_uint_eq(*(uint8_t *)bytes, 'x');
    window_outside_end(window, other);
    ck_assert_int_eq(outside(BASE + 5 * CHUNK, &bytes, &cookie), 0);
    window_stopped(window);
    vmm_drop_all();
    window_left(window);
    ck_assert_int_eq(outside(BASE + 5 * CHUNK, &bytes, &other), -EFAULT);
    say_region(4, piece);
    ck_assert_int_eq(outside(BASE + 5 * CHUNK, &bytes, &other), -EFAULT);
    window_started(window);
    ck_assert_int_eq(outside(BASE + 5 * CHUNK, &bytes, &other), -EFAULT);
    ck_assert_int_eq(pthread_create(&thread, NULL, let_go, &cookie), 0);
    ck_assert_int_eq(begin_anew(), 0);
    ck_assert_uint_eq(window->slots[5].users, 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(show(2, 5, false), 0);
    ck_assert_int_eq(outside(BASE + 5 * CHUNK, &bytes, &other), -EFAULT);
    ck_assert_int_eq(hide(5), 0);
}
END_TEST

/* A VMM that can map read-only does, where the guest may only read. */
START_TEST(a_read_only_window_is_asked_for_as_such)
{
    ck_assert_int_eq(show(0, 1, false), 0);
    ck_assert(vmm.writable[1]);
    ck_assert_int_eq(begin_anew(), 0);
    window_close(window);
    open_window(true);
    ck_assert_int_eq(show(0, 1, false), 0);
    ck_assert_int_eq(show(2, 2, false), 0);
    ck_assert(!vmm.writable[1] && !vmm.writable[2]);
    ck_assert_int_eq(show(0, 1, true), -EROFS);
}
END_TEST

/* Whatever was done of what was not answered in time, the slot can be used when the VMM answers again. */
START_TEST(no_answer_in_time)
{
    static const struct {
        bool unmap, done;
    } cases[] = { { false, false }, { false, true }, { true, false }, { true, true } };

    for (unsigned i = 0; i < 4; i++) {
        vmm.fails = cases[i].done || cases[i].unmap ? 0 : -ETIMEDOUT;
        vmm.late = cases[i].done && !cases[i].unmap ? -ETIMEDOUT : 0;
        ck_assert_int_eq(show(0, 4, true), cases[i].unmap ? 0 : -EIO);
        vmm.fails = cases[i].done ? 0 : -ETIMEDOUT;
        vmm.late = cases[i].done ? -ETIMEDOUT : 0;
        if (cases[i].unmap)
            ck_assert_int_eq(hide(4), -EIO);
        ck_assert_uint_eq(mapped(), 1); /* it counts as being there */
        vmm.fails = -EBUSY;
        ck_assert_int_eq(show(1, 4, true), -EBUSY);
        ck_assert_int_eq(hide(4), -EBUSY);
        ck_assert_uint_eq(mapped(), 1);
        vmm.fails = vmm.late = 0;
        ck_assert_int_eq(show(1, 4, true), 0);
        ck_assert_uint_eq(mapped(), 1);
        vmm.at[4][9] = (uint8_t)i;
        ck_assert_uint_eq(byte_of_file(CHUNK + 9), i);
        ck_assert_int_eq(hide(4), 0);
        ck_assert_ptr_null(vmm.at[4]);
        ck_assert_uint_eq(mapped(), 0);
    }
}
END_TEST

/* Refused before and after: only the lock tells. */
START_TEST(no_answer_and_then_refused)
{
    ck_assert_int_eq(show(0, 4, true), 0);
    vmm.fails = -ETIMEDOUT;
    ck_assert_int_eq(hide(4), -EIO);
    vmm.fails = -EIO;
    ck_assert_int_eq(show(1, 4, true), -EBUSY);
    ck_assert_int_eq(hide(4), -EIO);
    ck_assert_uint_eq(mapped(), 1);
    vmm_drop_all();
    ck_assert_int_eq(begin_anew(), 0);
    ck_assert_uint_eq(mapped(), 0);
}
END_TEST

/* What was not asked for did not happen. */
START_TEST(nobody_was_asked)
{
    ck_assert_int_eq(show(0, 4, true), 0);
    ck_assert_int_eq(show(1, 5, true), 0);
    vmm.fails = -EBUSY;
    ck_assert_int_eq(hide(4), -EBUSY);
    ck_assert_int_eq(show(0, 6, true), -EBUSY);
    ck_assert_uint_eq(mapped(), 2);
    unsigned asked = vmm.asked;
    ck_assert_int_eq(begin_anew(), -EBUSY);
    ck_assert_uint_eq(vmm.asked, asked + 1); /* once is enough */
    vmm_drop_all();
    vmm.fails = 0;
    ck_assert_int_eq(begin_anew(), 0);
    ck_assert_int_eq(show(0, 4, true), 0);
    vmm.fails = -EBUSY;
    ck_assert_int_eq(hide(4), -EBUSY);
    vmm.fails = 0;
    ck_assert_int_eq(show(0, 4, true), 0);
    ck_assert_int_eq(hide(4), 0);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, no_answer_in_time);
    tcase_add_test(tcase, no_answer_and_then_refused);
    tcase_add_test(tcase, nobody_was_asked);
    tcase_add_test(tcase, nothing_is_found_after_a_reset);
    tcase_add_test(tcase, a_read_only_window_is_asked_for_as_such);
    tcase_add_test(tcase, a_reset_that_nobody_tells);
    tcase_add_test(tcase, refused_and_still_mapped);
    tcase_add_test(tcase, nothing_is_refused);
    tcase_add_test(tcase, slow_and_then_not);
}

int main(void)
{
    return suite_run("window", 30, setup, teardown, add);
}
