/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Collapse and insert through fs/fs.h: what they do, what they refuse, in one transaction and in many,
 * beside readers and writers. Those that stop half way are in test_fs_shift_stop.c.
 */
#include "test_shift.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- what they do ---------------------------------------------------------------------------- */

START_TEST(test_collapse)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle), free, before;
    struct fs_attr attr;

    fx_fill(handle, 0, 4096, 'a');
    fx_fill(handle, 4096, 8192, 'b');
    fx_fill(handle, 12288, 5000, 'c');
    free = fx_blocks_free();
    attr = fx_attr(ino);
    usleep(20000);
    before = transactions();
    ck_assert_int_eq(call(handle, COLLAPSE, 4096, 8192), 0);
    ck_assert_uint_eq(transactions() - before, 1);
    ck_assert_uint_eq(fx_attr(ino).size, 9096);
    ck_assert_uint_eq(fx_attr(ino).blocks, 3);
    ck_assert_uint_eq(fx_blocks_free(), free + 2);
    ck_assert_int_gt(fx_attr(ino).mtime, attr.mtime);
    ck_assert_int_gt(fx_attr(ino).ctime, attr.ctime);
    fx_expect(handle, 0, 4096, 'a');
    fx_expect(handle, 4096, 5000, 'c');
    /* Holes go as data do. */
    ck_assert_int_eq(fx_truncate(ino, 100000), 0);
    fx_expect(handle, 9096, 100000 - 9096, 0);
    fx_fill(handle, 90112, 10, 'd');
    ck_assert_int_eq(call(handle, COLLAPSE, 12288, 77824), 0);
    fx_expect(handle, 12288, 10, 'd');
    ck_assert_uint_eq(fx_attr(ino).size, 100000 - 77824);
    fx_remount(true);
    ck_assert_uint_eq(fx_attr(ino).size, 100000 - 77824);
}
END_TEST

START_TEST(test_insert)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle), at, before;
    struct fs_attr attr;

    fx_fill(handle, 0, 8192, 'a');
    fx_fill(handle, 8192, 5000, 'b');
    attr = fx_attr(ino);
    usleep(20000);
    before = transactions();
    ck_assert_int_eq(call(handle, INSERT, 8192, 1u << 20), 0);
    ck_assert_uint_eq(transactions() - before, 1);
    ck_assert_uint_eq(fx_attr(ino).size, 13192 + (1u << 20));
    ck_assert_uint_eq(fx_attr(ino).blocks, 4);
    ck_assert_int_gt(fx_attr(ino).mtime, attr.mtime);
    ck_assert_int_gt(fx_attr(ino).ctime, attr.ctime);
    fx_expect(handle, 0, 8192, 'a');
    fx_expect(handle, 8192, 1u << 20, 0);
    fx_expect(handle, 8192 + (1u << 20), 5000, 'b');
    ck_assert_int_eq(fs_lseek(fx.fs, &fx.rq, handle, 0, SEEK_HOLE, &at), 0);
    ck_assert_uint_eq(at, 8192);
    ck_assert_int_eq(fs_lseek(fx.fs, &fx.rq, handle, 8192, SEEK_DATA, &at), 0);
    ck_assert_uint_eq(at, 8192 + (1u << 20));
    /* There and back again: what was cut is one again. */
    ck_assert_int_eq(call(handle, COLLAPSE, 8192, 1u << 20), 0);
    ck_assert_uint_eq(extents(ino), 1);
    ck_assert_int_eq(call(handle, INSERT, 0, 4096), 0);
    fx_expect(handle, 0, 4096, 0);
    fx_expect(handle, 4096, 8192, 'a');
    fs_release(fx.fs, handle);
}
END_TEST

/* What is allocated past EOF moves along; what a truncation or the last block has there never shows. */
START_TEST(test_past_eof)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);
    unsigned count;

    fx_fill(handle, 0, 20480, 'a');
    ck_assert_int_eq(call(handle, FALLOC_FL_KEEP_SIZE, 40960, 8192), 0);
    count = (unsigned)fx_attr(ino).blocks;
    ck_assert_int_eq(call(handle, INSERT, 4096, 4096), 0);
    ck_assert_int_eq(call(handle, COLLAPSE, 8192, 4096), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, count - 1);
    ck_assert_uint_eq(fx_attr(ino).size, 20480);
    /* Still ten blocks behind where EOF was: writing there needs no block. */
    fx_fill(handle, 40960, 8192, 'z');
    ck_assert_uint_eq(fx_attr(ino).blocks, count - 1);
    ck_assert_int_eq(fx_truncate(ino, 18000), 0);
    ck_assert_int_eq(call(handle, COLLAPSE, 0, 4096), 0);
    ck_assert_int_eq(fx_truncate(ino, 60000), 0);
    fx_expect(handle, 13904, 60000 - 13904, 0);
    /* One that has no room left to move: as other file systems say it, nothing moves. */
    ck_assert_int_eq(call(handle, FALLOC_FL_KEEP_SIZE, DXF_FILE_SIZE_MAX - 4095, 4095), 0);
    ck_assert_int_eq(call(handle, INSERT, 0, 4096), -EINVAL);
    ck_assert_uint_eq(fx_attr(ino).size, 60000);
    ck_assert_int_eq(call(handle, COLLAPSE, 0, 4096), 0);
    ck_assert_int_eq(call(handle, INSERT, 0, 4096), 0);
    fs_release(fx.fs, handle);
}
END_TEST

/* ---- what they refuse ------------------------------------------------------------------------ */

START_TEST(test_bad_input)
{
    static const struct {
        int mode;
        uint64_t offset, length;
        int error;
    } bad[] = {
        { COLLAPSE, 0, 0, -EINVAL },
        { COLLAPSE, 1, 4096, -EINVAL },
        { COLLAPSE, 2048, 4096, -EINVAL },
        { COLLAPSE, 4096, 4095, -EINVAL },
        { COLLAPSE, 0, 1, -EINVAL },
        { COLLAPSE, 0, 20480, -EINVAL }, /* up to EOF */
        { COLLAPSE, 16384, 4096, -EINVAL },
        { COLLAPSE, 16384, 8192, -EINVAL },
        { COLLAPSE, 20480, 4096, -EINVAL },
        { COLLAPSE, 40960, 4096, -EINVAL },
        { COLLAPSE, UINT64_MAX - 4095, 4096, -EINVAL }, /* negative */
        { COLLAPSE, 4096, UINT64_MAX - 4095, -EINVAL },
        { COLLAPSE, 1ull << 55, 1ull << 56, -EFBIG },
        { COLLAPSE, INT64_MAX - 4095, INT64_MAX - 4095, -EFBIG },
        { COLLAPSE | FALLOC_FL_KEEP_SIZE, 0, 4096, -EOPNOTSUPP },
        { COLLAPSE | FALLOC_FL_PUNCH_HOLE, 0, 4096, -EOPNOTSUPP },
        { COLLAPSE | INSERT, 0, 4096, -EOPNOTSUPP },
        { INSERT, 0, 0, -EINVAL },
        { INSERT, 1, 4096, -EINVAL },
        { INSERT, 4096, 100, -EINVAL },
        { INSERT, 20480, 4096, -EINVAL }, /* at EOF */
        { INSERT, 40960, 4096, -EINVAL },
        { INSERT, UINT64_MAX - 4095, 4096, -EINVAL },
        { INSERT, 4096, UINT64_MAX - 4095, -EINVAL },
        { INSERT, 4096, (1ull << 56) - 4096, -EFBIG },
        { INSERT, 0, (1ull << 56) - 16384, -EFBIG }, /* the size would pass the maximum */
        { INSERT, INT64_MAX - 4095, INT64_MAX - 4095, -EFBIG },
        { INSERT | FALLOC_FL_KEEP_SIZE, 0, 4096, -EOPNOTSUPP },
        { INSERT | FALLOC_FL_ZERO_RANGE, 0, 4096, -EOPNOTSUPP },
    };
    struct fs_handle *handle = fx_create("f"), *empty = fx_create("empty"), *dir;
    uint64_t ino = fs_handle_ino(handle);
    struct fs_attr attr;

    fx_fill(handle, 0, 20480, 'a');
    attr = fx_attr(ino);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int r = call(handle, bad[i].mode, bad[i].offset, bad[i].length);

        ck_assert_msg(r == bad[i].error, "case %u: %d, should be %d", i, r, bad[i].error);
    }
    ck_assert_int_eq(call(empty, COLLAPSE, 0, 4096), -EINVAL);
    ck_assert_int_eq(call(empty, INSERT, 0, 4096), -EINVAL);
    ck_assert_int_eq(fs_open_file(fx.fs, &fx.rq, 1, O_RDONLY, false, &dir), 0);
    ck_assert_int_eq(call(dir, COLLAPSE, 0, 4096), -EISDIR);
    ck_assert_int_eq(call(dir, INSERT, 0, 4096), -EISDIR);
    for (unsigned flag = DXF_FLAG_IMMUTABLE; flag <= DXF_FLAG_APPEND; flag *= 2) {
        ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, ino, flag), 0);
        ck_assert_int_eq(call(handle, COLLAPSE, 0, 4096), -EPERM);
        ck_assert_int_eq(call(handle, INSERT, 0, 4096), -EPERM);
        ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, ino, 0), 0);
    }
    ck_assert_int_eq(fx_attr(ino).mtime, attr.mtime);
    ck_assert_uint_eq(fx_attr(ino).size, 20480);
    fx_expect(handle, 0, 20480, 'a');
    atomic_store(&fx.below.pool->failed, true);
    ck_assert_int_eq(call(handle, COLLAPSE, 0, 4096), -EROFS);
    ck_assert_int_eq(call(handle, INSERT, 0, 4096), -EROFS);
}
END_TEST

START_TEST(test_set_id_bits_go)
{
    struct fs_handle *handle = fx_create("f");
    struct fs_request other = { .uid = 5, .gid = 5 };
    uint64_t ino = fs_handle_ino(handle), before;
    struct fs_attr attr = { .mode = 06755 };
    char value[8];

    fx_fill(handle, 0, 40960, 'a');
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(fs_setattr(fx.fs, &fx.rq, ino, &attr, FS_SET_MODE, &attr), 0);
        attr.mode = 06755;
        ck_assert_int_eq(fs_setxattr(fx.fs, &fx.rq, ino, "security.capability", "cap", 3, 0, false),
                         0);
        before = transactions();
        ck_assert_int_eq(fs_fallocate(fx.fs, &other, handle, i ? INSERT : COLLAPSE, 0, 4096), 0);
        ck_assert_uint_eq(transactions() - before, 1);
        ck_assert_uint_eq(fx_attr(ino).mode & 07777, 0755);
        ck_assert_int_eq(fs_getxattr(fx.fs, &fx.rq, ino, "security.capability", value, 8),
                         -ENODATA);
    }
    fs_release(fx.fs, handle);
}
END_TEST

/* Who may not wait hears so, and nothing has been done. */
START_TEST(test_nowait)
{
    struct lock_wait wait = { .nowait = true };
    struct fs_request hasty = { .wait = &wait };
    struct fs_handle *handle = fx_create("f");
    struct fs_read read;

    fx_fill(handle, 0, 40960, 'a');
    ck_assert_int_eq(fs_read_begin(fx.fs, &fx.rq, handle, 36864, 1, &read), 0);
    ck_assert_int_eq(fs_fallocate(fx.fs, &hasty, handle, COLLAPSE, 0, 4096), -EAGAIN);
    ck_assert_int_eq(fs_fallocate(fx.fs, &hasty, handle, INSERT, 0, 4096), -EAGAIN);
    ck_assert_int_eq(fs_read_end(fx.fs, &read), 0);
    ck_assert_uint_eq(fx_attr(fs_handle_ino(handle)).size, 40960);
    ck_assert_int_eq(fs_fallocate(fx.fs, &hasty, handle, COLLAPSE, 0, 4096), 0);
    fs_release(fx.fs, handle);
}
END_TEST

/* ---- space ----------------------------------------------------------------------------------- */

/* Not a block is left for ordinary requests. */
static void fill_pool(void)
{
    struct fs_handle *rest = fx_create("rest");
    struct fs_statfs statfs;
    uint64_t at = 0;

    for (;;) {
        fs_statfs(fx.fs, &statfs);
        if (statfs.available == 0 ||
            call_blocks(rest, FALLOC_FL_KEEP_SIZE, at, statfs.available) != 0)
            break;
        at += statfs.available;
    }
    while (call_blocks(rest, FALLOC_FL_KEEP_SIZE, at, 1) == 0)
        at++;
    fs_release(fx.fs, rest);
}

/* An extent that is cut is the ninth, or one too many for a leaf: the block for it is to be had before
 * anything moves. What takes away does with the reserve. */
START_TEST(test_no_space)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);
    struct fs_attr attr;

    for (unsigned i = 0; i < 7; i++)
        fx_fill(handle, 8192 * i, 1, 'a');
    fx_fill(handle, 65536, 40960, 'b');
    ck_assert_uint_eq(extents(ino), 8);
    fill_pool();
    attr = fx_attr(ino);
    ck_assert_int_eq(call(handle, INSERT, 69632, 4096), -ENOSPC);
    ck_assert_uint_eq(extents(ino), 8);
    ck_assert_uint_eq(fx_attr(ino).size, attr.size);
    ck_assert_int_eq(fx_attr(ino).mtime, attr.mtime);
    fx_expect(handle, 65536, 40960, 'b');
    ck_assert_uint_eq(intents_left(), 0);
    /* Between two extents none is cut. */
    ck_assert_int_eq(call(handle, INSERT, 65536, 4096), 0);
    ck_assert_int_eq(call(handle, COLLAPSE, 73728, 4096), 0);
    ck_assert_uint_eq(extents(ino), 9);
    fx_expect(handle, 69632, 36864, 'b');
    fs_release(fx.fs, handle);
}
END_TEST

/* ---- many transactions ----------------------------------------------------------------------- */

#define MANY 3000u

START_TEST(test_many_extents)
{
    struct fs_handle *handle = scattered("f", MANY);
    uint64_t ino = fs_handle_ino(handle), before;

    ck_assert_uint_gt(extents(ino), MANY * 9 / 10);
    for (unsigned i = 0; i < 2; i++) {
        range_op_batch = i ? 70 : 1024;
        before = transactions();
        ck_assert_int_eq(call_blocks(handle, COLLAPSE, 100, 900), 0);
        ck_assert_uint_ge(transactions() - before, i ? 28 : 3);
        ck_assert_uint_le(transactions() - before, 60);
        ck_assert_uint_eq(fx_attr(ino).size, (MANY - 900) * BLOCK);
        expect_run(handle, 0, 100, 1);
        expect_run(handle, 100, MANY - 900, 1001);
        before = transactions();
        ck_assert_int_eq(call_blocks(handle, INSERT, 100, 900), 0);
        ck_assert_uint_ge(transactions() - before, i ? 28 : 2);
        ck_assert_uint_eq(fx_attr(ino).size, MANY * BLOCK);
        fx_expect(handle, 100 * BLOCK, 900 * BLOCK, 0);
        expect_run(handle, 1000, MANY, 1001);
        ck_assert_uint_eq(intents_left(), 0);
    }
    ck_assert_int_eq(call_blocks(handle, INSERT, 0, 1ull << 40), 0);
    expect_run(handle, (1ull << 40) + 1000, (1ull << 40) + MANY, 1001);
    ck_assert_int_eq(call_blocks(handle, COLLAPSE, 0, 1ull << 40), 0);
    range_op_batch = 1024;
    fs_release(fx.fs, handle);
    fx_remount(true);
    handle = fx_open(ino, O_RDONLY);
    expect_run(handle, 0, 100, 1);
    expect_run(handle, 1000, MANY, 1001);
    fs_release(fx.fs, handle);
}
END_TEST

/* ---- beside others --------------------------------------------------------------------------- */

#define BESIDE 400u /* blocks */
#define FIRST 60u
#define COUNT 50u
#define SECONDS_OF_ONE 1

struct beside {
    struct fs_handle *handle;
    _Atomic bool stop;
    _Atomic uint64_t rounds, looks;
};

/* One of two consecutive blocks from FIRST on, in one read: the stamps of both follow one another, or the
 * hole's zeros lie there, in all or in part. */
static void look_at_blocks(struct beside *beside, unsigned *seed)
{
    uint64_t block = FIRST + (uint64_t)rand_r(seed) % (BESIDE - COUNT - FIRST - 2), a, b;
    static _Thread_local uint64_t bytes[2 * DXF_BLOCK_SIZE / 8];

    ck_assert_int_eq(fs_pread(fx.fs, &fx.rq, beside->handle, bytes, sizeof(bytes), block * BLOCK),
                     (ssize_t)sizeof(bytes));
    a = bytes[0];
    b = bytes[DXF_BLOCK_SIZE / 8];
    for (unsigned i = 0; i < DXF_BLOCK_SIZE / 8; i++)
        ck_assert(bytes[i] == a && bytes[i + DXF_BLOCK_SIZE / 8] == b);
    if (a == 0 || b == 0) {
        ck_assert_uint_lt(block, FIRST + COUNT);
        return;
    }
    ck_assert_msg(b == a + 1, "block %llu: %llu, then %llu", (unsigned long long)block,
                  (unsigned long long)a, (unsigned long long)b);
    ck_assert(a == block + 1 || a == block + COUNT + 1);
}

static void *reader(void *arg)
{
    struct beside *beside = arg;
    unsigned seed = 1;

    while (!atomic_load(&beside->stop)) {
        uint64_t at;
        struct fs_attr attr;

        look_at_blocks(beside, &seed);
        attr = fx_attr(fs_handle_ino(beside->handle));
        ck_assert(attr.size == BESIDE * BLOCK || attr.size == (BESIDE - COUNT) * BLOCK);
        /* Behind the gap there is none, in no state. */
        ck_assert_int_eq(
            fs_lseek(fx.fs, &fx.rq, beside->handle, (FIRST + COUNT) * BLOCK, SEEK_HOLE, &at), 0);
        ck_assert_msg(at == BESIDE * BLOCK || at == (BESIDE - COUNT) * BLOCK,
                      "a hole at block %llu", (unsigned long long)(at / BLOCK));
        atomic_fetch_add(&beside->looks, 1);
    }
    return NULL;
}

/* Below the gap: overwrites, and holes that are made and filled up to the block before it. */
static void *writer(void *arg)
{
    struct beside *beside = arg;
    unsigned seed = 2;

    while (!atomic_load(&beside->stop)) {
        uint64_t block = FIRST - 1 - (uint64_t)rand_r(&seed) % 8;

        if (rand_r(&seed) % 2)
            ck_assert_int_eq(call_blocks(beside->handle, FALLOC_FL_PUNCH_HOLE | 1, block, 1), 0);
        put_stamp(beside->handle, block, block + 1);
        expect_stamp(beside->handle, block, block + 1);
    }
    return NULL;
}

static void shift_round(struct beside *beside)
{
    ck_assert_int_eq(call_blocks(beside->handle, COLLAPSE, FIRST, COUNT), 0);
    ck_assert_int_eq(call_blocks(beside->handle, INSERT, FIRST, COUNT), 0);
    for (uint64_t block = FIRST; block < FIRST + COUNT; block++)
        put_stamp(beside->handle, block, block + 1);
    atomic_fetch_add(&beside->rounds, 1);
}

START_TEST(test_beside_readers_and_writers)
{
    struct beside beside = { .handle = scattered("f", BESIDE) };
    struct timespec start, now;
    pthread_t threads[3];

    range_op_batch = 7;
    pthread_create(&threads[0], NULL, reader, &beside);
    pthread_create(&threads[1], NULL, reader, &beside);
    pthread_create(&threads[2], NULL, writer, &beside);
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        shift_round(&beside);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec <= SECONDS_OF_ONE || atomic_load(&beside.looks) < 20);
    atomic_store(&beside.stop, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    range_op_batch = 1024;
    ck_assert_uint_gt(atomic_load(&beside.rounds), 1);
    expect_run(beside.handle, 0, BESIDE, 1);
    fs_release(fx.fs, beside.handle);
}
END_TEST

/* More at once than there are places for intents: some wait, all end. */
static void *shifter(void *arg)
{
    struct fs_handle *handle = arg;

    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(call_blocks(handle, INSERT, 3, 5), 0);
        ck_assert_int_eq(call_blocks(handle, COLLAPSE, 3, 5), 0);
    }
    return NULL;
}

#define SHIFTERS (DXF_INTENTS + 6u)

START_TEST(test_more_than_places)
{
    struct fs_handle *handles[SHIFTERS];
    pthread_t threads[SHIFTERS];
    char name[16];

    for (unsigned i = 0; i < SHIFTERS; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        handles[i] = fx_create(name);
        for (uint64_t k = 0; k < 20; k++)
            fx_fill(handles[i], k * 2 * BLOCK, 1, 'a' + (int)k);
    }
    range_op_batch = 2;
    for (unsigned i = 0; i < SHIFTERS; i++)
        pthread_create(&threads[i], NULL, shifter, handles[i]);
    for (unsigned i = 0; i < SHIFTERS; i++)
        pthread_join(threads[i], NULL);
    range_op_batch = 1024;
    ck_assert_uint_eq(intents_left(), 0);
    for (unsigned i = 0; i < SHIFTERS; i++) {
        for (uint64_t k = 0; k < 20; k++)
            fx_expect(handles[i], k * 2 * BLOCK, 1, 'a' + (int)k);
        fs_release(fx.fs, handles[i]);
    }
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_collapse);
    tcase_add_test(tcase, test_insert);
    tcase_add_test(tcase, test_past_eof);
    tcase_add_test(tcase, test_bad_input);
    tcase_add_test(tcase, test_set_id_bits_go);
    tcase_add_test(tcase, test_nowait);
    tcase_add_test(tcase, test_no_space);
    tcase_add_test(tcase, test_many_extents);
    tcase_add_test(tcase, test_beside_readers_and_writers);
    tcase_add_test(tcase, test_more_than_places);
}

int main(void)
{
    return fx_main("fs_shift", add);
}
