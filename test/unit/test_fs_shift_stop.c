/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Collapse and insert that stop half way, for want of memory or because the file is damaged, and intents
 * of them that anybody may have written.
 */
#include "test_shift.h"

#include "media/validate.h"

#include <stdatomic.h>

/* ---- memory ---------------------------------------------------------------------------------- */

/* What transactions get their memory from, in the place of the C library's. */
static _Atomic uint64_t allocations, fail_from = UINT64_MAX, fail_to;

void *aligned_alloc(size_t alignment, size_t size)
{
    uint64_t number = atomic_fetch_add(&allocations, 1);
    void *memory;

    if (number >= atomic_load(&fail_from) && number < atomic_load(&fail_to))
        return NULL;
    return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

/* Three allocations in a row fail, beginning with each: before the first transaction is made the call
 * fails and has done nothing, and then it waits for memory. */
START_TEST(test_memory)
{
    const uint64_t blocks = 6000;
    struct fs_handle *handle = scattered("f", blocks);
    uint64_t size = blocks * BLOCK, ino = fs_handle_ino(handle);
    unsigned failed = 0, waited = 0;

    range_op_batch = 1u << 20;
    for (uint64_t k = 0; failed + waited < 20; k++) {
        int mode = _i ? INSERT : COLLAPSE, r;
        bool missed;

        atomic_store(&fail_to, atomic_load(&allocations) + k + 3);
        atomic_store(&fail_from, atomic_load(&allocations) + k);
        r = call_blocks(handle, mode, 1000, 10);
        missed = atomic_load(&allocations) > atomic_load(&fail_from);
        atomic_store(&fail_from, UINT64_MAX);
        ck_assert(!atomic_load(&fx.below.pool->failed));
        ck_assert_uint_eq(intents_left(), 0);
        if (r == -ENOMEM) {
            failed++;
        } else {
            ck_assert_int_eq(r, 0);
            size += mode == COLLAPSE ? -10 * BLOCK : 10 * BLOCK;
            waited += missed;
        }
        ck_assert_uint_eq(fx_attr(ino).size, size);
        if (!missed)
            break;
    }
    range_op_batch = 1024;
    ck_assert_uint_gt(failed, 0);
    ck_assert_uint_gt(waited, 0);
    expect_run(handle, 0, 1000, 1);
    if (size < blocks * BLOCK) {
        expect_run(handle, 1000, size / BLOCK, blocks - size / BLOCK + 1001);
    } else {
        fx_expect(handle, 1000 * BLOCK, size - blocks * BLOCK, 0);
        expect_run(handle, size / BLOCK - 5000, size / BLOCK, 1001);
    }
    fs_release(fx.fs, handle);
}
END_TEST

/* ---- half way -------------------------------------------------------------------------------- */

/* Mounts bytes in which somebody may have put something; clean: as fsck leaves them. */
static void mount_as(bool read_only, bool clean)
{
    struct fs_options options = { .read_only = read_only };
    struct persist *persist;

    ck_assert_int_eq(persist_open_pmem(fx.below.memory, fx.below.size, &persist), 0);
    ck_assert_int_eq(pool_open_memory(fx.below.memory, fx.below.size, persist, &fx.below.pool), 0);
    if (clean) {
        fx.below.pool->super.flags = le32_make(0);
        ck_assert_int_eq(pool_write_super(fx.below.pool), 0);
    }
    ck_assert_int_eq(fs_open(fx.below.pool, &options, &fx.fs, &fx.recovered), 0);
}

static uint64_t leaf_of(uint64_t ino, unsigned number)
{
    const struct dxf_inode *record;
    const struct dxf_node *root;

    ck_assert_int_eq(inode_view(fs_meta(fx.fs), NULL, ino, &record), 0);
    ck_assert_uint_eq(record->count, 2);
    root = pool_block(fx.below.pool, le64_get(record->tree.root));
    ck_assert_uint_gt(le16_get(root->header.count), number);
    return le64_get(root->index[number].child);
}

/* Nobody gets at bytes that have no place. */
static void expect_between(uint64_t ino, uint64_t from)
{
    struct fs_handle *handle = fx_open(ino, O_RDONLY);
    unsigned count = 0;
    uint64_t at;
    char byte;

    expect_run(handle, 0, from, 1);
    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, &byte, 1, from * BLOCK - 1), 1);
    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, &byte, 1, from * BLOCK), -EIO);
    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, &byte, 1, (from + 100) * BLOCK), -EIO);
    ck_assert_int_eq(fs_lseek(fx.fs, &fx.rq, handle, 0, SEEK_HOLE, &at), -EIO);
    ck_assert_int_eq(fs_extents(fx.fs, &fx.rq, ino, count_extent, &count), -EIO);
    ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, "x", 1, 0), -EROFS);
    ck_assert_int_eq(fx_truncate(ino, 0), -EROFS);
    fs_release(fx.fs, handle);
}

/* A leaf that comes late is damaged: the pool fails with the file in between, and stays so; whole again,
 * the next mount ends it. */
static void stop_half_way(int mode, unsigned leaf_number)
{
    struct fs_handle *handle = scattered("f", 2000), *small = fx_create("small");
    uint64_t ino = fs_handle_ino(handle), leaf, size;

    fx_write(small, 0, "small");
    leaf = leaf_of(ino, leaf_number) * BLOCK;
    fx_remount(false);
    fx.below.memory[leaf + 100] ^= 1;
    handle = fx_open(ino, O_RDWR);
    range_op_batch = 50;
    ck_assert_int_eq(call_blocks(handle, mode, 20, 30), -EIO);
    ck_assert(atomic_load(&fx.below.pool->failed));
    ck_assert_uint_eq(intents_left(), 1);
    size = fx_attr(ino).size;
    ck_assert_uint_eq(size, (mode == COLLAPSE ? 1970 : 2030) * BLOCK);
    fs_release(fx.fs, handle);
    expect_between(ino, 20);

    fx_umount();
    mount_as(false, false);
    ck_assert_uint_eq(intents_left(), 1);
    expect_between(ino, 20);
    /* Cleared without a repair: the pool fails once more, and all else can be read. */
    fx_umount();
    mount_as(false, true);
    ck_assert_uint_eq(fx.recovered.intents, 1);
    ck_assert(atomic_load(&fx.below.pool->failed));
    expect_between(ino, 20);
    ck_assert_int_eq(fx_lookup(1, "small"), 0);
    fx_umount();

    fx.below.memory[leaf + 100] ^= 1;
    mount_as(true, false);
    expect_between(ino, 20);
    fx_umount();
    mount_as(false, true);
    ck_assert_uint_eq(fx.recovered.intents, 1);
    ck_assert(!atomic_load(&fx.below.pool->failed));
    ck_assert_uint_eq(intents_left(), 0);
    handle = fx_open(ino, O_RDWR);
    ck_assert_uint_eq(fx_attr(ino).size, size);
    expect_run(handle, 0, 20, 1);
    if (mode == COLLAPSE) {
        expect_run(handle, 20, 1970, 51);
    } else {
        fx_expect(handle, 20 * BLOCK, 30 * BLOCK, 0);
        expect_run(handle, 50, 2030, 21);
    }
    ck_assert_int_eq(call_blocks(handle, mode, 20, 30), 0);
    range_op_batch = 1024;
    fs_release(fx.fs, handle);
}

START_TEST(test_collapse_stops_half_way)
{
    stop_half_way(COLLAPSE, 6);
}
END_TEST

START_TEST(test_insert_stops_half_way)
{
    stop_half_way(INSERT, 2);
}
END_TEST

/* Intents that anybody may have written, with right checksums. A mount ends, whatever they say; what
 * does not fit leaves a pool that nobody changes, also if there is more for a recovery to do. */
START_TEST(test_hostile_intents)
{
    static const struct {
        uint16_t kind;
        uint64_t offset, length, cursor; /* blocks */
        bool fits;
    } hostile[] = {
        { DXF_INTENT_COLLAPSE, 100, 50, 150, true }, /* as if just begun */
        { DXF_INTENT_COLLAPSE, 100, 50, 300, false },
        { DXF_INTENT_COLLAPSE, 100, 50, 599, false },
        { DXF_INTENT_COLLAPSE, 100, 50, 601, true }, /* nothing is left to move */
        { DXF_INTENT_COLLAPSE, 100, 50, 650, true },
        { DXF_INTENT_COLLAPSE, 0, 1ull << 44, 1ull << 44, false }, /* no file is as long */
        { DXF_INTENT_COLLAPSE, 0, 1, 1ull << 44, true },
        { DXF_INTENT_COLLAPSE, 5000, 1ull << 43, (1ull << 43) + 5000, true },
        { DXF_INTENT_INSERT, 100, 50, 600, true },
        { DXF_INTENT_INSERT, 100, 50, 300, false },
        { DXF_INTENT_INSERT, 100, 1, 101, false },
        { DXF_INTENT_INSERT, 0, 50, (1ull << 44) - 50, true },
        { DXF_INTENT_INSERT, 599, (1ull << 44) - 600, 600, true },
        { DXF_INTENT_INSERT, 0, (1ull << 44) - 1, 1, false }, /* no room for what is behind */
        { DXF_INTENT_INSERT, 1ull << 43, 1, (1ull << 43) + 1, true },
    };
    unsigned i = (unsigned)_i % (sizeof(hostile) / sizeof(hostile[0]));
    struct fs_handle *handle = scattered("f", 600), *orphan = fx_create("orphan");
    uint64_t ino = fs_handle_ino(handle), at;
    struct dxf_intent intent = {
        .kind = le16_make(hostile[i].kind),
        .inode = le64_make(ino),
        .offset = le64_make(hostile[i].offset * BLOCK),
        .length = le64_make(hostile[i].length * BLOCK),
        .cursor = le64_make(hostile[i].cursor * BLOCK),
        .generation = le32_make(fx_attr(ino).generation),
    };
    char byte;

    fs_release(fx.fs, handle);
    fx_fill(orphan, 0, 10000, 'o');
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("orphan")), 0);
    atomic_store(&fx.below.pool->failed, true);
    fx_umount();
    seal_intent(&intent, 9);
    ck_assert_ptr_null(validate_intent(&intent, 9));
    memcpy(fx.below.memory + DXF_INTENT_BLOCK * BLOCK + 9 * sizeof(intent), &intent,
           sizeof(intent));
    range_op_batch = 40;
    mount_as(false, false);
    range_op_batch = 1024;
    ck_assert_uint_eq(fx.recovered.intents, 1);
    ck_assert_uint_eq(fx.recovered.orphans, hostile[i].fits);
    ck_assert_int_eq(atomic_load(&fx.below.pool->failed), !hostile[i].fits);
    ck_assert_uint_eq(intents_left(), !hostile[i].fits);
    handle = fx_open(ino, hostile[i].fits ? O_RDWR : O_RDONLY);
    if (hostile[i].fits) {
        ck_assert_int_eq(fs_lseek(fx.fs, &fx.rq, handle, 0, SEEK_HOLE, &at), 0);
        ck_assert_int_eq(fs_pwrite(fx.fs, &fx.rq, handle, "x", 1, 99 * BLOCK), 1);
    } else {
        ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, handle, &byte, 1, hostile[i].offset * BLOCK),
                         -EIO);
    }
    fs_release(fx.fs, handle);
}
END_TEST

/* An intent that names what is no file. */
START_TEST(test_intent_of_no_file)
{
    uint64_t dir = fx_mkdir(1, "dir");
    struct dxf_intent intent = { .kind = le16_make(DXF_INTENT_COLLAPSE),
                                 .inode = le64_make(dir),
                                 .length = le64_make(BLOCK),
                                 .cursor = le64_make(BLOCK),
                                 .generation = le32_make(fx_attr(dir).generation) };

    fx_mknod(dir, "name");
    fx_umount();
    seal_intent(&intent, 1);
    memcpy(fx.below.memory + DXF_INTENT_BLOCK * BLOCK + sizeof(intent), &intent, sizeof(intent));
    mount_as(false, false);
    ck_assert_uint_eq(intents_left(), 0);
    ck_assert_int_eq(fx_lookup(dir, "name"), 0);
}
END_TEST

/* And one that cannot be read any more: what has moved of it is not known, so nothing may change. */
START_TEST(test_intent_of_a_damaged_inode_stays)
{
    uint64_t ino = fx_mknod(1, "f");
    struct dxf_intent intent = { .kind = le16_make(DXF_INTENT_COLLAPSE),
                                 .inode = le64_make(ino),
                                 .length = le64_make(BLOCK),
                                 .cursor = le64_make(BLOCK),
                                 .generation = le32_make(fx_attr(ino).generation) };
    const struct dxf_inode *record;

    ck_assert_int_eq(inode_view(fs_meta(fx.fs), NULL, ino, &record), 0);
    fx_umount();
    ((struct dxf_inode *)(uintptr_t)record)->size.raw ^= 1;
    seal_intent(&intent, 1);
    memcpy(fx.below.memory + DXF_INTENT_BLOCK * BLOCK + sizeof(intent), &intent, sizeof(intent));
    for (unsigned i = 0; i < 2; i++) {
        mount_as(false, i > 0);
        ck_assert_uint_eq(fx.recovered.intents, 1);
        ck_assert_uint_eq(intents_left(), 1);
        ck_assert_int_lt(fs_mkdir(fx.fs, &fx.rq, 1, fs_name("d"), 0755, &(struct fs_attr){ 0 }), 0);
        if (i == 0)
            fx_umount();
    }
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_loop_test(tcase, test_memory, 0, 2);
    tcase_add_test(tcase, test_collapse_stops_half_way);
    tcase_add_test(tcase, test_insert_stops_half_way);
    tcase_add_loop_test(tcase, test_hostile_intents, 0, 15);
    tcase_add_test(tcase, test_intent_of_no_file);
    tcase_add_test(tcase, test_intent_of_a_damaged_inode_stays);
}

int main(void)
{
    return fx_main("fs_shift_stop", add);
}
