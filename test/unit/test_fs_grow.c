/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pool that grows while others use it: files are written and read, the free space is counted,
 * walked and given back to the host. ThreadSanitizer has the last word on it.
 */
#include "fs/fs.h"
#include "journal/journal.h"
#include "media/pool.h"
#include "meta/meta.h"
#include "space/space.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define CHUNK 65536u
#define WRITERS 2

static char path[] = "/tmp/daxfuse-test-XXXXXX";
static struct pool *pool;
static struct fs *fs;
static const struct fs_request rq = { .in_group = true };
static _Atomic bool stop;
static _Atomic uint64_t written; /* bytes, by all writers */

static void format(void)
{
    struct pool_create_options options = { .size = 16 * MIB, .sparse = true, .force = true };
    struct journal *journal;
    struct space *space;

    ck_assert_int_eq(pool_create(path, &options, &pool, NULL), 0);
    pool->super = (struct dxf_super){
        .magic = DXF_MAGIC,
        .version = le32_make(DXF_VERSION),
        .uuid = "growing",
        .pool_blocks = le64_make(pool->blocks),
        .log_seed = le64_make(1),
        .hash_seed = le64_make(2),
    };
    ck_assert_int_eq(layout_compute(&pool->super), 0);
    ck_assert_int_eq(journal_format(pool), 0);
    ck_assert_int_eq(space_format(pool), 0);
    ck_assert_int_eq(journal_open(pool, &journal), 0);
    ck_assert_int_eq(space_open(pool, journal, &space), 0);
    ck_assert_int_eq(meta_format(pool, journal, space, 0755, 0, 0), 0);
    space_close(space);
    ck_assert_int_eq(journal_retire(journal), 0);
    journal_close(journal);
    ck_assert_int_eq(pool_write_super(pool), 0);
    pool_close(pool);
}

static void mount(void)
{
    const struct pool_options options = { .pmem = POOL_PMEM_FORCE };
    const struct fs_options fs_options = { 0 };

    ck_assert_int_eq(pool_open(path, &options, &pool, NULL), 0);
    ck_assert_int_eq(fs_open(pool, &fs_options, &fs, NULL), 0);
}

static void umount(void)
{
    fs_close(fs);
    pool_close(pool);
}

static void setup(void)
{
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    close(fd);
    format();
    mount();
    atomic_store(&stop, false);
}

static void teardown(void)
{
    umount();
    unlink(path);
}

/* A byte by which a chunk of a writer's file is known. */
static int chunk_byte(unsigned writer, uint64_t chunk)
{
    return (int)(1 + (writer * 101 + chunk * 7) % 250);
}

static void expect_chunk(struct fs_handle *handle, unsigned writer, uint64_t chunk, uint8_t *bytes)
{
    ck_assert_int_eq(fs_pread(fs, &rq, handle, bytes, CHUNK, chunk * CHUNK), CHUNK);
    ck_assert_int_eq(bytes[0], chunk_byte(writer, chunk));
    ck_assert_int_eq(memcmp(bytes, bytes + 1, CHUNK - 1), 0);
}

struct writer {
    unsigned number;
    uint64_t chunks; /* written */
    struct fs_handle *handle;
};

/* Writes on as long as there is room, which growth brings. */
static void *write_on(void *arg)
{
    struct writer *writer = arg;
    uint8_t *bytes = malloc(CHUNK);

    while (!atomic_load(&stop)) {
        memset(bytes, chunk_byte(writer->number, writer->chunks), CHUNK);
        ssize_t n = fs_pwrite(fs, &rq, writer->handle, bytes, CHUNK, writer->chunks * CHUNK);
        ck_assert_msg(n > 0 || n == -ENOSPC, "write: %d", (int)n);
        if (n == CHUNK) {
            writer->chunks++;
            atomic_fetch_add(&written, CHUNK);
        }
        if (writer->chunks > 0)
            expect_chunk(writer->handle, writer->number, writer->chunks / 2, bytes);
    }
    free(bytes);
    return NULL;
}

/* Takes and gives back. */
static void *cut_on(void *arg)
{
    struct fs_handle *handle = arg;
    const struct fs_attr empty = { .size = 0 };
    struct fs_attr attr;

    while (!atomic_load(&stop)) {
        ssize_t n = fs_pwrite(fs, &rq, handle, "cut", 3, 0);
        ck_assert_msg(n == 3 || n == -ENOSPC, "write: %d", (int)n);
        ck_assert_int_eq(fs_setattr(fs, &rq, fs_handle_ino(handle), &empty, FS_SET_SIZE, &attr), 0);
    }
    return NULL;
}

struct counting {
    uint64_t blocks;
};

static int count_run(void *arg, uint64_t start, uint64_t count, bool allocated)
{
    struct counting *counting = arg;

    (void)allocated;
    ck_assert_uint_eq(start, counting->blocks);
    counting->blocks += count;
    return 0;
}

/* What looks at the whole pool. */
static void *look(void *arg)
{
    uint64_t seen = 0, bytes;

    (void)arg;
    while (!atomic_load(&stop)) {
        struct counting counting = { 0 };
        struct fs_statfs statfs;

        fs_statfs(fs, &statfs);
        ck_assert_uint_ge(statfs.blocks, seen);
        seen = statfs.blocks;
        ck_assert_int_eq(space_walk(fs_space(fs), count_run, &counting), 0);
        ck_assert_uint_ge(counting.blocks, seen);
        ck_assert_int_eq(fs_trim(fs, 0, UINT64_MAX, 0, &bytes), 0);
    }
    return NULL;
}

START_TEST(grows_while_it_is_used)
{
    static const uint64_t sizes[] = { 20 * MIB, 32 * MIB, 256 * MIB, 300 * MIB };
    struct writer writers[WRITERS] = { { 0 } };
    pthread_t threads[WRITERS + 2];
    struct fs_handle *cut;
    uint8_t *bytes = malloc(CHUNK);
    struct fs_attr attr;
    uint64_t old_bitmap = le64_get(pool->super.bitmap_start);

    for (unsigned i = 0; i < WRITERS; i++) {
        char name[] = { (char)('a' + i), '\0' };

        writers[i].number = i;
        ck_assert_int_eq(fs_create(fs, &rq, DXF_INO_ROOT, fs_name(name), 0644, O_RDWR, &attr,
                                   &writers[i].handle),
                         0);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_on, &writers[i]), 0);
    }
    ck_assert_int_eq(fs_create(fs, &rq, DXF_INO_ROOT, fs_name("cut"), 0644, O_RDWR, &attr, &cut),
                     0);
    ck_assert_int_eq(pthread_create(&threads[WRITERS], NULL, look, NULL), 0);
    ck_assert_int_eq(pthread_create(&threads[WRITERS + 1], NULL, cut_on, cut), 0);
    for (unsigned i = 0; i < 4; i++) {
        usleep(100000);
        ck_assert_int_eq(fs_grow(fs, sizes[i]), 0);
    }
    /* More than ever fitted before. */
    while (atomic_load(&written) <= 16 * MIB)
        usleep(10000);
    for (unsigned i = 1; i <= 50; i++)
        ck_assert_int_eq(fs_grow(fs, (300 + i) * MIB), 0);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WRITERS + 2; i++)
        pthread_join(threads[i], NULL);
    fs_release(fs, cut);

    ck_assert_uint_ne(le64_get(pool->super.bitmap_start), old_bitmap);
    ck_assert_uint_eq(pool->size, 350 * MIB);
    /* All of it is there. */
    for (unsigned i = 0; i < WRITERS; i++) {
        for (uint64_t chunk = 0; chunk < writers[i].chunks; chunk++)
            expect_chunk(writers[i].handle, i, chunk, bytes);
        fs_release(fs, writers[i].handle);
    }
    umount();
    mount();
    ck_assert_uint_eq(pool->size, 350 * MIB);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_grow");
    TCase *tcase = tcase_create("core");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, grows_while_it_is_used);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
