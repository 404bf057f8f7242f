/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bugs of fs/ that a kill of the server, or a real tree, once showed. Each case is the shortest
 * way to one of them through fs/fs.h.
 */
#include "fs/fs.h"
#include "meta/meta.h"
#include "pool_fixture.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define POOL_SIZE (16ull << 20)

static struct pool_fixture below;
static struct pool *pool;
static struct fs *fs;
static const struct fs_request rq = { .in_group = true };

static void fs_start(void)
{
    struct fs_options options = { 0 };
    struct fs_recovered recovered;
    struct persist *persist;

    ck_assert_int_eq(persist_open_pmem(below.memory, below.size, &persist), 0);
    ck_assert_int_eq(pool_open_memory(below.memory, below.size, persist, &pool), 0);
    ck_assert_int_eq(fs_open(pool, &options, &fs, &recovered), 0);
}

static void fs_stop(void)
{
    fs_close(fs);
    pool_close(pool);
}

static void setup(void)
{
    pool_fixture_create(&below, POOL_SIZE);
    ck_assert_int_eq(meta_format(below.pool, below.journal, below.space, 0755, 0, 0), 0);
    space_close(below.space);
    journal_close(below.journal);
    pool_close(below.pool);
    fs_start();
}

static void teardown(void)
{
    fs_stop();
    munmap(below.memory, below.size);
}

static uint64_t blocks_free(void)
{
    struct fs_statfs statfs;

    ck_assert_int_eq(fs_sync(fs), 0);
    fs_statfs(fs, &statfs);
    return statfs.free;
}

static void make_and_remove(void)
{
    struct fs_attr attr;

    ck_assert_int_eq(fs_mknod(fs, &rq, DXF_INO_ROOT, fs_name("stays"), S_IFREG | 0644, 0, 0, &attr),
                     0);
    ck_assert_int_eq(fs_mknod(fs, &rq, DXF_INO_ROOT, fs_name("goes"), S_IFREG | 0644, 0, 0, &attr),
                     0);
    ck_assert_int_eq(fs_unlink(fs, &rq, DXF_INO_ROOT, fs_name("goes")), 0);
    fs_forget(fs, attr.ino, 1);
}

/* A door answers a read before it ends it, and whoever was answered may close the file and delete
 * it before the end: the inode must live, its range be locked, and its blocks stay until then. */
START_TEST(release_overtakes_end_of_read)
{
    char bytes[8192];
    struct fs_handle *handle;
    struct fs_attr attr;
    struct fs_info info;
    struct fs_read read;
    uint64_t before;

    memset(bytes, 'x', sizeof(bytes));
    make_and_remove(); /* the directory and the orphan table have their blocks now */
    before = blocks_free();
    ck_assert_int_eq(
        fs_create(fs, &rq, DXF_INO_ROOT, fs_name("file"), 0644, O_RDWR, &attr, &handle), 0);
    ck_assert_int_eq(fs_pwrite(fs, &rq, handle, bytes, sizeof(bytes), 0), sizeof(bytes));
    ck_assert_int_eq(fs_unlink(fs, &rq, DXF_INO_ROOT, fs_name("file")), 0);

    ck_assert_int_eq(fs_read_begin(fs, &rq, handle, 0, sizeof(bytes), &read), 0);
    fs_release(fs, handle);
    fs_forget(fs, attr.ino, 1);
    fs_get_info(fs, &info);
    ck_assert_uint_eq(info.handles, 0);
    ck_assert_uint_lt(blocks_free(), before);
    ck_assert_uint_eq(read.length, sizeof(bytes));
    ck_assert_int_eq(memcmp(read.vector[0].iov_base, bytes, read.vector[0].iov_len), 0);
    ck_assert_int_eq(fs_read_end(fs, &read), 0);

    ck_assert_uint_eq(blocks_free(), before);
    ck_assert_int_eq(fs_getattr(fs, &rq, attr.ino, &attr), -ESTALE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_regress");
    TCase *tc = tcase_create("fs_regress");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, release_overtakes_end_of_read);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
