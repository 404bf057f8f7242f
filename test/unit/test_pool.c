/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* media/pool: making, opening, refusing, the lock, the two superblocks, growth, sparse pools. */
#include "base/endian.h"
#include "media/pool.h"
#include "media/validate.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (16ull << 20)
#define SPARE ((off_t)DXF_SPARE_BLOCK * DXF_BLOCK_SIZE)
#define BOTH_SUPERS 2

static const struct pool_options plain;
static char dir[64], path[96];
static struct pool *pool;
static char *message;

static void setup(void)
{
    strcpy(dir, "/dev/shm/test_pool.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/pool", dir);
}

static void teardown(void)
{
    pool_close(pool);
    pool = NULL;
    free(message);
    message = NULL;
    unlink(path);
    rmdir(dir);
}

static void fill_super(struct dxf_super *super, uint64_t blocks)
{
    memset(super, 0, sizeof(*super));
    memcpy(super->magic, DXF_MAGIC, sizeof(super->magic));
    super->version = le32_make(DXF_VERSION);
    super->uuid[0] = 1;
    super->pool_blocks = le64_make(blocks);
    super->log_start = le64_make(512);
    super->log_count = le32_make(2);
    super->log_blocks = le32_make(16);
    super->bitmap_start = le64_make(544);
    super->bitmap_blocks = le64_make((blocks + DXF_BITMAP_BLOCK_BITS - 1) / DXF_BITMAP_BLOCK_BITS);
}

static void create(bool sparse)
{
    struct pool_create_options options = { .size = SIZE, .sparse = sparse };

    ck_assert_msg(pool_create(path, &options, &pool, &message) == 0, "%s", message);
    fill_super(&pool->super, SIZE / DXF_BLOCK_SIZE);
    ck_assert_int_eq(pool_write_super(pool), 0);
}

static void create_and_close(void)
{
    create(false);
    pool_close(pool);
    pool = NULL;
}

static void reopen(const struct pool_options *options)
{
    pool_close(pool);
    pool = NULL;
    ck_assert_msg(pool_open(path, options, &pool, &message) == 0, "%s", message);
}

/* pool_open must fail with ERROR, and say the file's name, REASON and REMEDY. */
static void assert_refused(const struct pool_options *options, int error, const char *reason,
                           const char *remedy)
{
    int got;

    free(message);
    message = NULL;
    got = pool_open(path, options, &pool, &message);
    ck_assert_msg(got == error, "%d, not %d: %s", got, error, message);
    ck_assert_ptr_nonnull(message);
    ck_assert_ptr_nonnull(strstr(message, path));
    ck_assert_msg(strstr(message, reason) != NULL, "no \"%s\" in: %s", reason, message);
    ck_assert_msg(strstr(message, remedy) != NULL, "no \"%s\" in: %s", remedy, message);
    ck_assert_int_eq(pool_open(path, options, &pool, NULL), error); /* nobody wants the message */
    ck_assert_ptr_null(pool);
}

static void write_at(const void *bytes, size_t length, off_t offset)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes, length, offset), (ssize_t)length);
    close(fd);
}

static void read_at(void *bytes, size_t length, off_t offset)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(pread(fd, bytes, length, offset), (ssize_t)length);
    close(fd);
}

/* Changes one byte of one superblock, or of both. */
static void damage(off_t where, int copies)
{
    off_t at[BOTH_SUPERS] = { where, where == 0 ? SPARE : 0 };

    for (int i = 0; i < copies; i++) {
        uint8_t byte;

        read_at(&byte, 1, at[i] + 45);
        byte ^= 0x10;
        write_at(&byte, 1, at[i] + 45);
    }
}

/* ---- making and opening ------------------------------------------------------------------------ */

START_TEST(create_then_open)
{
    struct stat st;

    create(false);
    ck_assert_uint_eq(pool->size, SIZE);
    ck_assert_uint_eq(pool->blocks, SIZE / 4096);
    ck_assert_uint_eq((uintptr_t)pool->base % DXF_PIECE_SIZE, 0);
    for (uint64_t i = 0; i < 100; i++)
        ck_assert_int_eq(pool->base[600 * 4096 + i * 4001], 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_ge(st.st_blocks * 512, (int64_t)SIZE);
    ck_assert_int_eq(st.st_mode & 0777, 0600);

    reopen(&plain);
    ck_assert(!pool->used_spare && !pool->sparse && !pool->read_only && !pool->is_device);
    ck_assert_uint_eq(pool->size, SIZE);
    ck_assert_ptr_null(validate_super(&pool->super));
    ck_assert_int_eq(pool->durability, POOL_DURABILITY_PROCESS); /* tmpfs */
    ck_assert_str_eq(pool->flush, "none (process)");
    ck_assert_ptr_nonnull(pool->why);
    ck_assert_ptr_null(message);
}
END_TEST

START_TEST(pmem_by_options)
{
    const struct pool_options force = { .pmem = POOL_PMEM_FORCE };
    const struct pool_options never = { .pmem = POOL_PMEM_NEVER,
                                        .durability = POOL_DURABILITY_POWER };

    create(false);
    reopen(&force);
    ck_assert(pool->is_pmem);
    ck_assert_str_eq(pool->persist->ops->name, "pmem");
    ck_assert_ptr_nonnull(strstr(pool->why, "force"));
    reopen(&never);
    ck_assert(!pool->is_pmem);
    ck_assert_str_eq(pool->flush, "msync");
}
END_TEST

/* Stores stay in memory, and the file may be read-only. */
static void private_view(const struct pool_options *options, bool read_only)
{
    char byte = 0;

    create_and_close();
    ck_assert_int_eq(chmod(path, 0400), 0);
    reopen(options);
    ck_assert(pool->read_only == read_only);
    persist_copy(pool->persist, pool_block(pool, 700), "x", 1, PERSIST_DATA);
    ck_assert_int_eq(persist_drain(pool->persist), 0);
    ck_assert_int_eq(pool->base[700 * 4096], 'x');
    read_at(&byte, 1, 700 * 4096);
    ck_assert_int_eq(byte, 0);
    ck_assert_int_eq(pool_write_super(pool), read_only ? -EROFS : 0);
}

START_TEST(view_read_only)
{
    private_view(&(struct pool_options){ .read_only = true }, true);
}
END_TEST

START_TEST(view_private)
{
    private_view(&(struct pool_options){ .private_map = true }, false);
}
END_TEST

static void assert_not_created(const struct pool_create_options *options, int error,
                               const char *words)
{
    free(message);
    message = NULL;
    ck_assert_int_eq(pool_create(path, options, &pool, &message), error);
    ck_assert_ptr_nonnull(message);
    ck_assert_ptr_nonnull(strstr(message, path));
    ck_assert_msg(strstr(message, words) != NULL, "no \"%s\" in: %s", words, message);
}

START_TEST(create_refuses)
{
    static const struct {
        uint64_t size;
        const char *words;
    } sizes[] = {
        { 0, "-s SIZE" },
        { 1024, "too small" },
        { DXF_POOL_SIZE_MIN - 4096, "too small" },
        { DXF_POOL_SIZE_MAX + 4096, "too large" },
        { 99999ull << 40, "too large" },
        { SIZE + 512, "multiple of 4096" },
    };
    struct pool_create_options options = { .size = SIZE };
    uint8_t byte;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        options.size = sizes[i].size;
        assert_not_created(&options, -EINVAL, sizes[i].words);
        ck_assert_int_ne(access(path, F_OK), 0);
    }

    /* More than there is: asked before anything is written. */
    options.size = DXF_POOL_SIZE_MAX;
    assert_not_created(&options, -ENOSPC, "--sparse");
    ck_assert_int_ne(access(path, F_OK), 0);

    /* Somebody's data. */
    write_at("important", 9, 1000);
    options.size = SIZE;
    assert_not_created(&options, -EEXIST, "other data");
    unlink(path);

    /* A pool, also one of which only the spare is left, and one that is in use. */
    create(false);
    options.force = true;
    assert_not_created(&options, -EBUSY, "in use");
    pool_close(pool);
    pool = NULL;
    options.force = false;
    assert_not_created(&options, -EEXIST, "a daxfuse pool");
    write_at((char[4096]){ 0 }, 4096, 0);
    assert_not_created(&options, -EEXIST, "a daxfuse pool");
    write_at("old", 3, 700 * 4096);
    options.force = true;
    ck_assert_int_eq(pool_create(path, &options, &pool, NULL), 0);
    read_at(&byte, 1, SPARE);
    ck_assert_int_eq(byte, 0);
    ck_assert_int_eq(pool->base[700 * 4096], 0);
}
END_TEST

START_TEST(create_takes_size_of_file)
{
    struct pool_create_options options = { 0 };

    write_at("", 1, (off_t)(DXF_POOL_SIZE_MIN + 4096 + 5));
    ck_assert_int_eq(pool_create(path, &options, &pool, &message), 0);
    ck_assert_uint_eq(pool->size, DXF_POOL_SIZE_MIN + 4096);
}
END_TEST

/* ---- bad input ----------------------------------------------------------------------------------- */

START_TEST(refuse_missing)
{
    assert_refused(&plain, -ENOENT, "No such file", "mkfs.daxfuse");
}
END_TEST

START_TEST(refuse_directory_and_fifo)
{
    ck_assert_int_eq(mkdir(path, 0700), 0);
    assert_refused(&(struct pool_options){ .read_only = true }, -EINVAL, "neither", "name a pool");
    assert_refused(&plain, -EISDIR, "directory", "");
    rmdir(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    assert_refused(&plain, -EINVAL, "neither", "name a pool");
}
END_TEST

START_TEST(refuse_empty)
{
    write_at("", 0, 0);
    assert_refused(&plain, -EINVAL, "is empty", "mkfs.daxfuse -s");
}
END_TEST

START_TEST(refuse_too_short)
{
    write_at("abc", 3, 0);
    assert_refused(&plain, -EINVAL, "too short", "mkfs.daxfuse");
    write_at("abc", 3, 3 << 20);
    assert_refused(&plain, -EINVAL, "too short", "mkfs.daxfuse");
}
END_TEST

START_TEST(refuse_not_a_pool)
{
    write_at("abc", 3, 32 << 20);
    assert_refused(&plain, -EINVAL, "not a daxfuse pool", "mkfs.daxfuse");
}
END_TEST

START_TEST(refuse_newer_version)
{
    struct dxf_super super;

    create_and_close();
    fill_super(&super, SIZE / 4096);
    super.version = le32_make(2);
    seal_super(&super);
    write_at(&super, sizeof(super), 0);
    assert_refused(&plain, -ENOTSUP, "version 2", "newer daxfuse");

    /* A version that is only damage is not believed. */
    super.version = le32_make(3);
    write_at(&super, sizeof(super), 0);
    reopen(&plain);
    ck_assert(pool->used_spare);
}
END_TEST

START_TEST(refuse_features)
{
    create(false);
    pool->super.ro_compat = le64_make(8);
    ck_assert_int_eq(pool_write_super(pool), 0);
    pool_close(pool);
    pool = NULL;
    assert_refused(&plain, -ENOTSUP, "0x8", "-o ro");
    reopen(&(struct pool_options){ .read_only = true });
    pool_close(pool);

    pool = NULL;
    unlink(path);
    create(false);
    pool->super.incompat = le64_make(DXF_INCOMPAT_DIRECT_FILES);
    ck_assert_int_eq(pool_write_super(pool), 0);
    pool_close(pool);
    pool = NULL;
    assert_refused(&(struct pool_options){ .read_only = true }, -ENOTSUP, "0x1", "newer daxfuse");
}
END_TEST

START_TEST(refuse_cut_short)
{
    static const uint64_t sizes[] = { SIZE - 1, 9 << 20, 3 << 20, 1 << 20, 4096 };

    create_and_close();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        ck_assert_int_eq(truncate(path, (off_t)sizes[i]), 0);
        assert_refused(&plain, -EUCLEAN, "cut short", "truncate -s 16777216");
    }
    /* The remedy does what it says. */
    ck_assert_int_eq(truncate(path, SIZE), 0);
    reopen(&plain);
}
END_TEST

START_TEST(refuse_both_supers_damaged)
{
    create_and_close();
    damage(0, BOTH_SUPERS);
    assert_refused(&plain, -EUCLEAN, "checksum does not match", "from a copy");
}
END_TEST

/* ---- superblocks ---------------------------------------------------------------------------------- */

static void assert_supers_equal(void)
{
    struct dxf_super primary, spare;

    read_at(&primary, sizeof(primary), 0);
    read_at(&spare, sizeof(spare), SPARE);
    ck_assert_ptr_null(validate_super(&primary));
    ck_assert_mem_eq(&primary, &spare, sizeof(primary));
}

START_TEST(spare_serves)
{
    struct dxf_super before, now;

    create_and_close();
    damage(0, 1);
    read_at(&before, sizeof(before), 0);

    reopen(&(struct pool_options){ .read_only = true });
    ck_assert(pool->used_spare);
    read_at(&now, sizeof(now), 0);
    ck_assert_mem_eq(&before, &now, sizeof(now)); /* not touched */

    reopen(&plain);
    ck_assert(pool->used_spare);
    assert_supers_equal();
    reopen(&plain);
    ck_assert(!pool->used_spare);
}
END_TEST

START_TEST(damaged_spare_is_rewritten)
{
    create_and_close();
    damage(SPARE, 1);
    reopen(&plain);
    ck_assert(!pool->used_spare);
    assert_supers_equal();
}
END_TEST

/* After any store of pool_write_super there is a valid superblock in one of the places. */
struct watch {
    const uint8_t *memory;
    unsigned stores, fences;
    bool torn; /* the last copy is only half there */
};

static void on_event(void *arg, const struct persist_event *event)
{
    struct watch *watch = arg;
    struct dxf_super copies[2];

    memcpy(&copies[0], watch->memory, 4096);
    memcpy(&copies[1], watch->memory + SPARE, 4096);
    if (event->kind == PERSIST_EVENT_FENCE) {
        watch->fences++;
        return;
    }
    watch->stores++;
    ck_assert_uint_eq(event->length, 4096);
    memset((uint8_t *)&copies[event->offset == 0 ? 0 : 1] + 100, 0xee, 2000);
    ck_assert(validate_super(&copies[0]) == NULL || validate_super(&copies[1]) == NULL);
    ck_assert_uint_eq(watch->fences + 1, watch->stores); /* one at a time */
}

static void watch_write(bool primary_damaged, bool spare_damaged)
{
    struct watch watch = { 0 };
    struct persist *persist;
    uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct dxf_super super;

    fill_super(&super, SIZE / 4096);
    seal_super(&super);
    memcpy(memory, &super, 4096);
    memcpy(memory + SPARE, &super, 4096);
    memory[200] ^= primary_damaged;
    memory[SPARE + 200] ^= spare_damaged;
    watch.memory = memory;

    ck_assert_int_eq(persist_open_recording(memory, SIZE, true, on_event, &watch, &persist), 0);
    ck_assert_int_eq(pool_open_memory(memory, SIZE, persist, &pool), 0);
    ck_assert(pool->used_spare == primary_damaged);
    if (!primary_damaged && !spare_damaged)
        ck_assert_int_eq(pool_write_super(pool), 0);
    ck_assert_uint_eq(watch.stores, 2);
    ck_assert_uint_eq(watch.fences, 2);
    ck_assert_mem_eq(memory, memory + SPARE, 4096);
    pool_close(pool);
    pool = NULL;
    munmap(memory, SIZE);
}

START_TEST(super_order)
{
    watch_write(false, false);
    watch_write(true, false);
    watch_write(false, true);
}
END_TEST

START_TEST(fail_is_noted)
{
    create(false);
    pool_fail(pool, "a test");
    pool_fail(pool, "another");
    ck_assert(pool->failed);
    assert_supers_equal();
    reopen(&plain);
    ck_assert(!pool->failed);
    ck_assert_uint_eq(le32_get(pool->super.flags), DXF_SUPER_NEEDS_FSCK);
    ck_assert_uint_eq(le32_get(pool->super.error_count), 1);
}
END_TEST

/* ---- the lock --------------------------------------------------------------------------------------- */

START_TEST(second_opener_is_told_who)
{
    const struct pool_options view = { .private_map = true };
    char pid[32];
    int status;
    pid_t child;

    create_and_close();
    reopen(&plain);
    snprintf(pid, sizeof(pid), "(pid %d)", (int)getpid());
    child = fork();
    if (child == 0) {
        pool = NULL;
        assert_refused(&plain, -EBUSY, pid, "daxfuse-ctl stop");
        assert_refused(&view, -EBUSY, pid, "daxfuse-ctl stop");
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);

    /* Readers share, and keep a server out. */
    struct pool *reader = NULL, *first;

    reopen(&view);
    ck_assert_int_eq(pool_open(path, &view, &reader, NULL), 0);
    pool_close(reader);
    first = pool;
    pool = NULL;
    assert_refused(&plain, -EBUSY, pid, "end");
    pool = first;
    reopen(&plain);
}
END_TEST

/* A door's descriptor, given to somebody who still maps the pool when its server has gone. */
START_TEST(door_outlives_server)
{
    struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1 };
    int go[2], ready[2];
    char pid[32];
    pid_t child;

    create_and_close();
    ck_assert_int_eq(pipe(go), 0);
    ck_assert_int_eq(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        char byte;

        if (fcntl(fd, F_OFD_SETLK, &lock) != 0 ||
            mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
            _exit(1);
        close(fd);
        close(go[1]);
        _exit(write(ready[1], "x", 1) != 1 || read(go[0], &byte, 1) != 0);
    }
    close(go[0]);
    ck_assert_int_eq(read(ready[0], pid, 1), 1);
    snprintf(pid, sizeof(pid), "(pid %d)", (int)child);
    assert_refused(&plain, -EBUSY, pid, "maps the pool");
    close(go[1]);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    reopen(&plain);
}
END_TEST

/* ---- growth, memory, verified bits -------------------------------------------------------------------- */

START_TEST(grow_keeps_base)
{
    uint8_t *base;

    create(false);
    base = pool->base;
    pool->base[SIZE - 1] = 'z';
    ck_assert_int_eq(truncate(path, 4 * SIZE), 0);
    ck_assert_int_eq(pool_map_grown(pool, SIZE + 1), -EINVAL);
    ck_assert_int_eq(pool_map_grown(pool, 1ull << 60), -ENOMEM);
    ck_assert_int_eq(pool_map_grown(pool, SIZE + 4096), 0);
    ck_assert_int_eq(pool_map_grown(pool, 4 * SIZE), 0);
    ck_assert_int_eq(pool_map_grown(pool, 2 * SIZE), 0);
    ck_assert_ptr_eq(pool->base, base);
    ck_assert_uint_eq(pool->size, 4 * SIZE);
    ck_assert_uint_eq(pool->blocks, 4 * SIZE / 4096);
    ck_assert_int_eq(base[SIZE - 1], 'z');
    persist_set(pool->persist, base + 4 * SIZE - 1, 'g', 1, PERSIST_DATA);
    ck_assert_int_eq(persist_drain(pool->persist), 0);

    char byte;
    read_at(&byte, 1, 4 * SIZE - 1);
    ck_assert_int_eq(byte, 'g');
}
END_TEST

START_TEST(memory_pool)
{
    uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct persist *persist;

    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(persist_open_pmem(memory, SIZE, &persist), 0);
        ck_assert_int_eq(pool_open_memory(memory, SIZE, persist, &pool), 0);
        ck_assert_uint_eq(le64_get(pool->super.pool_blocks), round == 0 ? 0 : SIZE / 4096);
        fill_super(&pool->super, SIZE / 4096);
        ck_assert_int_eq(pool_write_super(pool), 0);
        ck_assert_int_eq(pool_reserve(pool, 0, SIZE), 0);
        pool_close(pool);
        pool = NULL;
    }
    memory[100] ^= 1;
    memory[SPARE + 100] ^= 1;
    ck_assert_int_eq(persist_open_pmem(memory, SIZE, &persist), 0);
    ck_assert_int_eq(pool_open_memory(memory, SIZE, persist, &pool), -EUCLEAN);
    ck_assert_int_eq(pool_open_memory(memory + 8, SIZE, persist, &pool), -EINVAL);
    ck_assert_int_eq(pool_open_memory(memory, 4096, persist, &pool), -EINVAL);
    persist_close(persist);
    munmap(memory, SIZE);
}
END_TEST

/* ---- sparse pools -------------------------------------------------------------------------------------- */

static uint64_t host_bytes(void)
{
    struct stat st;

    ck_assert_int_eq(stat(path, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

START_TEST(sparse_reserves)
{
    uint64_t before;

    create(true);
    ck_assert(pool->sparse);
    ck_assert_uint_lt(host_bytes(), SIZE);
    reopen(&plain);
    ck_assert(pool->sparse);

    before = host_bytes();
    ck_assert_int_eq(pool_reserve(pool, (8 << 20) - 1, 2), 0);
    ck_assert_uint_eq(host_bytes(), before + (4 << 20));
    ck_assert_int_eq(pool_reserve(pool, 6 << 20, 4 << 20), 0);
    ck_assert_uint_eq(host_bytes(), before + (4 << 20));

    pool->base[8 << 20] = 'd';
    ck_assert_int_eq(pool_discard(pool, 8 << 20, 2 << 20), 0);
    ck_assert_uint_eq(host_bytes(), before + (2 << 20));
    ck_assert_int_eq(pool->base[8 << 20], 0);
    ck_assert_int_eq(pool_reserve(pool, 8 << 20, 4096), 0);
    ck_assert_int_ge(host_bytes(), before + (2 << 20) + 4096);

    ck_assert_int_eq(pool_reserve(pool, 0, SIZE), 0);
    ck_assert_uint_eq(host_bytes(), SIZE);
}
END_TEST

/* A preallocated pool that gives something back is sparse from then on. */
START_TEST(discard_makes_sparse)
{
    create(false);
    ck_assert_int_eq(pool_discard(pool, 4 << 20, 4096), 0);
    ck_assert(pool->sparse);
    ck_assert_uint_eq(host_bytes(), SIZE - 4096);
    ck_assert_int_eq(pool_reserve(pool, 8 << 20, 2 << 20), 0);
    ck_assert_uint_eq(host_bytes(), SIZE - 4096);
    ck_assert_int_eq(pool_reserve(pool, 4 << 20, 1), 0);
    ck_assert_uint_eq(host_bytes(), SIZE);
}
END_TEST

/* What a pool grows by is reserved like the rest: a piece that it fills up, and those behind it. */
START_TEST(growth_reserves)
{
    uint64_t before;

    create(false);
    ck_assert_int_eq(pool_discard(pool, 4 << 20, 4096), 0);
    before = host_bytes();
    ck_assert_int_eq(truncate(path, SIZE + (4 << 20)), 0);
    ck_assert_int_eq(pool_map_grown(pool, SIZE + (1 << 20)), 0);
    ck_assert_int_eq(pool_reserve(pool, SIZE, 4096), 0);
    ck_assert_uint_eq(host_bytes(), before + (1 << 20));
    ck_assert_int_eq(pool_map_grown(pool, SIZE + (4 << 20)), 0);
    ck_assert_int_eq(pool_reserve(pool, SIZE + (1 << 20), 4096), 0);
    ck_assert_uint_eq(host_bytes(), before + (2 << 20));
}
END_TEST

/* Each case runs in a process of its own, so the namespace ends with it. */
START_TEST(full_host_is_enospc)
{
    uint64_t done = 0;

    if (unshare(CLONE_NEWNS) != 0)
        return; /* needs root */
    ck_assert_int_eq(mount("none", "/", "none", MS_REC | MS_PRIVATE, ""), 0);
    ck_assert_int_eq(mount("test_pool", dir, "tmpfs", 0, "size=9m"), 0);
    create(true);
    while (pool_reserve(pool, done, 1 << 20) == 0)
        done += 1 << 20;
    ck_assert_int_eq(pool_reserve(pool, done, 1 << 20), -ENOSPC);
    ck_assert_uint_eq(done, 9 << 20); /* the last one is less than a piece */

    /* What was promised is there. */
    memset(pool->base + (2 << 20), 'f', done - (2 << 20));
    pool_close(pool);
    pool = NULL;

    const struct pool_create_options options = { .size = SIZE, .force = true };

    assert_not_created(&options, -ENOSPC, "--sparse");
    umount2(dir, MNT_DETACH);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *tcase = tcase_create("pool");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 20);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, create_then_open);
    tcase_add_test(tcase, pmem_by_options);
    tcase_add_test(tcase, view_read_only);
    tcase_add_test(tcase, view_private);
    tcase_add_test(tcase, create_refuses);
    tcase_add_test(tcase, create_takes_size_of_file);
    tcase_add_test(tcase, refuse_missing);
    tcase_add_test(tcase, refuse_directory_and_fifo);
    tcase_add_test(tcase, refuse_empty);
    tcase_add_test(tcase, refuse_too_short);
    tcase_add_test(tcase, refuse_not_a_pool);
    tcase_add_test(tcase, refuse_newer_version);
    tcase_add_test(tcase, refuse_features);
    tcase_add_test(tcase, refuse_cut_short);
    tcase_add_test(tcase, refuse_both_supers_damaged);
    tcase_add_test(tcase, spare_serves);
    tcase_add_test(tcase, damaged_spare_is_rewritten);
    tcase_add_test(tcase, super_order);
    tcase_add_test(tcase, fail_is_noted);
    tcase_add_test(tcase, second_opener_is_told_who);
    tcase_add_test(tcase, door_outlives_server);
    tcase_add_test(tcase, grow_keeps_base);
    tcase_add_test(tcase, memory_pool);
    tcase_add_test(tcase, sparse_reserves);
    tcase_add_test(tcase, discard_makes_sparse);
    tcase_add_test(tcase, growth_reserves);
    tcase_add_test(tcase, full_host_is_enospc);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
