/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two doors over a filesystem in memory, one that cannot revoke and one that can, and short calls for what
 * their users and others do.
 */
#ifndef DAXFUSE_TEST_MAPPING_H
#define DAXFUSE_TEST_MAPPING_H

#include "test_fs.h"
#include "window.h"

#include "fs/internal.h"

#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (1u << 20)
#define CHUNK (2u * MIB)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static struct window a, b; /* cannot revoke; can */

static inline void open_doors(void)
{
    window_init(&a, fx.below.pool, "a", false);
    window_init(&b, fx.below.pool, "b", true);
    ck_assert_int_eq(fs_door_add(fx.fs, &a.door), 0);
    ck_assert_int_eq(fs_door_add(fx.fs, &b.door), 0);
}

static inline void setup(void)
{
    fx_setup();
    open_doors();
}

static inline void close_doors(void)
{
    for (struct window *window = &a; window; window = window == &a ? &b : NULL) {
        fs_door_stop(fx.fs, &window->door);
        fs_door_over(fx.fs, &window->door);
        fs_door_remove(fx.fs, &window->door);
        window_destroy(window);
    }
}

static inline void teardown(void)
{
    close_doors();
    fx_teardown();
}

static inline int fault(struct window *window, struct fs_handle *handle, uint64_t offset,
                        uint64_t slot, bool write)
{
    return fs_fault(fx.fs, &fx.rq, &window->door, fs_handle_ino(handle), offset, slot, write);
}

static inline int unmap(struct window *window, uint64_t slot)
{
    int r = fs_unmap(fx.fs, &fx.rq, &window->door, slot);

    fs_settle(fx.fs);
    return r;
}

static inline int truncate_to(struct fs_handle *handle, uint64_t size)
{
    struct fs_attr attr = { .size = size }, after;

    return fs_setattr(fx.fs, &fx.rq, fs_handle_ino(handle), &attr, FS_SET_SIZE, &after);
}

static inline void expect_shown(struct window *window, uint64_t slot, uint64_t from, uint64_t to,
                                uint8_t byte)
{
    const uint8_t *at = window_at(window, slot, 0);

    ck_assert_ptr_nonnull(at);
    while (from < to && at[from] == byte)
        from++;
    ck_assert_uint_eq(from, to);
}

static inline int mapping_main(const char *name, void (*add)(TCase *tcase))
{
    return suite_run(name, 4, setup, teardown, add);
}

#endif
