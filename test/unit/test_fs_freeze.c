/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/: closed while somebody goes on mapping what a door gave him (fs_freeze). What he stores afterwards
 * is in his files, and nothing of his was given to anybody; the next mount tidies up.
 */
#include "test_mapping.h"

#define BLOCK 4096u
#define TICK_US 20000 /* until times differ */

/* As a server ends whose VMM lives on; then it stores at each of the places; then the next mount. */
static void end_while_mapped(uint8_t *const at[], unsigned count)
{
    uint64_t free = fx_blocks_free();

    usleep(TICK_US);
    fs_freeze(fx.fs);
    close_doors();
    fs_settle(fx.fs);
    ck_assert_uint_eq(fx_blocks_free(), free);
    fx_umount();
    for (unsigned i = 0; i < count; i++)
        memset(at[i], 'v', BLOCK);
    fx_mount();
    open_doors();
}

static struct fs_handle *open_name(const char *name)
{
    struct fs_attr attr;

    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, 1, fs_name(name), &attr), 0);
    return fx_open(attr.ino, O_RDONLY);
}

/* It got a whole piece to be mapped, and would be moved to a shorter place. */
START_TEST(a_short_file)
{
    struct fs_handle *file = fx_create("short");
    struct fs_attr before = fx_attr(fs_handle_ino(file)), attr;

    fx_fill(file, 0, 10 * BLOCK, 'a');
    ck_assert_int_eq(fault(&a, file, 0, 0, true), 0);
    fs_release(fx.fs, file);
    end_while_mapped((uint8_t *[]){ window_at(&a, 0, BLOCK) }, 1);
    file = open_name("short");
    fx_expect(file, 0, BLOCK, 'a');
    fx_expect(file, BLOCK, BLOCK, 'v');
    attr = fx_attr(fs_handle_ino(file));
    ck_assert_int_gt(attr.mtime, before.mtime);
    fs_release(fx.fs, file);
}
END_TEST

/* It has blocks of zeros that were punched, and blocks past EOF. */
START_TEST(pinned_blocks)
{
    struct fs_handle *file = fx_create("punched");
    uint64_t free;

    fx_fill(file, 0, 2 * CHUNK, 'a');
    ck_assert_int_eq(fault(&a, file, 0, 0, true), 0);
    ck_assert_int_eq(fault(&a, file, CHUNK, 1, true), 0);
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, file, PUNCH, BLOCK, 10 * BLOCK), 0);
    ck_assert_int_eq(truncate_to(file, CHUNK + BLOCK), 0);
    free = fx_blocks_free();
    fs_release(fx.fs, file);
    end_while_mapped(
        (uint8_t *[]){ window_at(&a, 0, BLOCK), window_at(&a, 1, 0), window_at(&a, 1, BLOCK) }, 3);
    file = open_name("punched");
    fx_expect(file, BLOCK, BLOCK, 'v');
    fx_expect(file, 2 * BLOCK, 9 * BLOCK, 0);
    fx_expect(file, CHUNK, BLOCK, 'v');
    fs_release(fx.fs, file);
    ck_assert_uint_ge(fx_blocks_free(), free + 511); /* what is past EOF */
}
END_TEST

START_TEST(a_file_without_a_name)
{
    struct fs_handle *file = fx_create("unlinked");
    uint64_t free, ino;

    fx_fill(file, 0, CHUNK, 'a');
    ck_assert_int_eq(fault(&a, file, 0, 0, true), 0);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("unlinked")), 0);
    ino = fs_handle_ino(file);
    fs_release(fx.fs, file);
    fs_forget(fx.fs, ino, 1);
    free = fx_blocks_free();
    end_while_mapped((uint8_t *[]){ window_at(&a, 0, 0) }, 1);
    ck_assert_uint_ge(fx_blocks_free(), free + 512);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, a_short_file);
    tcase_add_test(tcase, pinned_blocks);
    tcase_add_test(tcase, a_file_without_a_name);
}

int main(void)
{
    return mapping_main("fs_freeze", add);
}
