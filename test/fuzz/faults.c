/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What happens when something runs out, in process.
 *
 *   faults memory         of every operation, of mount, fsck -n and fsck -y: each allocation fails once
 *   faults space          every operation, on pools with 0 to 64 blocks left
 *   faults host FOLDER    the host has no room for a sparse pool, from the first, second … time asked
 *   faults files FOLDER   no descriptor can be had, from the first, second … on
 *
 * The result is an error that says so, or success; never a crash. The operation can be made again when
 * there is enough again. The pool is clean for fsck then, and no block is lost, also not in memory; files
 * that had no part in it are as they were. Built with the leak sanitizer. Allocations are caught by
 * --wrap: those of our own code.
 */
#include "faults.h"
#include "base.h"

#include "base/log.h"
#include "tools/fsck.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct fs_request *const rq = &base_request;
static int failures;

/* ---- what fails ------------------------------------------------------------------------------------- */

static _Atomic int memory_left =
    -1; /* so many allocations succeed, then one does not; -1: all do */
static _Atomic bool memory_failed;
static _Atomic int host_left = -1; /* the same of fallocate, but from then on all fail */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
char *__real_strdup(const char *text);
void *__real_mmap64(void *start, size_t length, int prot, int flags, int fd, off_t offset);
int __real_fallocate64(int fd, int mode, off_t offset, off_t length);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
char *__wrap_strdup(const char *text);
void *__wrap_mmap64(void *start, size_t length, int prot, int flags, int fd, off_t offset);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t length);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg);

static bool memory_fails(void)
{
    if (atomic_load(&memory_left) < 0 || atomic_fetch_sub(&memory_left, 1) != 0)
        return false;
    atomic_store(&memory_failed, true);
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return memory_fails() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size)
{
    return memory_fails() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size)
{
    return memory_fails() ? NULL : __real_realloc(old, size);
}
void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return memory_fails() ? NULL : __real_reallocarray(old, count, size);
}
char *__wrap_strdup(const char *text)
{
    return memory_fails() ? NULL : __real_strdup(text);
}
void *__wrap_mmap64(void *start, size_t length, int prot, int flags, int fd, off_t offset)
{
    return memory_fails() ? MAP_FAILED : __real_mmap64(start, length, prot, flags, fd, offset);
}
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg)
{
    return memory_fails() ? EAGAIN : __real_pthread_create(thread, attr, start, arg);
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t length)
{
    if (atomic_load(&host_left) >= 0 && !(mode & FALLOC_FL_PUNCH_HOLE)) {
        if (atomic_load(&host_left) == 0) {
            errno = ENOSPC;
            return -1;
        }
        atomic_fetch_sub(&host_left, 1);
    }
    return __real_fallocate64(fd, mode, offset, length);
}

/* ---- what must hold ---------------------------------------------------------------------------------- */

static const char *doing;
static unsigned turn;

static void __attribute__((format(printf, 1, 2))) wrong(const char *format, ...)
{
    va_list args;

    printf("%s, turn %u: ", doing, turn);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    if (++failures > 20)
        exit(1);
}

static int check(struct pool *pool, enum fsck_mode mode, FILE *out, struct fsck_result *ret_result)
{
    const struct fsck_options options = { .mode = mode, .out = out };

    return fsck_run(pool, &options, ret_result);
}

static void expect_clean(struct pool *pool)
{
    struct fsck_result *result = calloc(1, sizeof(*result));
    int r = check(pool, FSCK_CHECK, NULL, result);

    if (r < 0 || result->found > 0) {
        wrong("the pool is not clean: %s", strerror(-r));
        check(pool, FSCK_CHECK, stdout, result);
    }
    free(result);
}

static uint64_t sum_of(struct fs *fs, const char *name)
{
    static uint8_t bytes[64 << 10];
    struct fs_handle *handle;
    uint64_t sum = 1469598103934665603u, ino;
    ssize_t got;

    if (fault_lookup(fs, name, &ino) < 0 || fs_open_file(fs, rq, ino, O_RDONLY, false, &handle) < 0)
        return 0;
    for (uint64_t at = 0; (got = fs_pread(fs, rq, handle, bytes, sizeof(bytes), at)) > 0;
         at += (uint64_t)got)
        for (ssize_t i = 0; i < got; i++)
            sum = (sum ^ bytes[i]) * 1099511628211u;
    fs_release(fs, handle);
    return sum + (uint64_t)got;
}

/* Ends the mount; opens once more, which finishes what was left, and looks at everything. */
static void expect_sound(uint8_t *memory, uint64_t size, struct pool *pool, struct fs *fs,
                         uint64_t witness)
{
    struct fs_statfs before, after;
    uint64_t ino;

    if (fs_sync(fs) < 0)
        wrong("sync failed");
    fs_statfs(fs, &before);
    base_umount(pool, fs);
    if (base_pool(memory, size, &pool) < 0)
        errx(2, "the pool can not be opened");
    expect_clean(pool);
    pool_close(pool);
    int r = base_mount(memory, size, &pool, &fs);
    if (r < 0) {
        wrong("it can not be mounted again: %s", strerror(-r));
        return;
    }
    if (fs_sync(fs) < 0)
        wrong("sync failed");
    fs_statfs(fs, &after);
    if (before.free > after.free || (!atomic_load(&memory_failed) && before.free != after.free))
        wrong("%" PRIu64 " blocks are free, and %" PRIu64 " after a mount", before.free,
              after.free);
    if (sum_of(fs, "between") != witness)
        wrong("another file has changed");
    if (fault_lookup(fs, "long", &ino) < 0)
        wrong("another file is gone");
    base_umount(pool, fs);
}

static struct base *rich(void)
{
    return &bases[BASE_RICH];
}

static uint64_t witness_of(uint8_t *memory)
{
    struct pool *pool;
    struct fs *fs;

    if (base_mount(memory, BASE_SIZE, &pool, &fs) < 0)
        errx(2, "the sound pool can not be mounted");
    uint64_t sum = sum_of(fs, "between");
    base_umount(pool, fs);
    return sum;
}

/* ---- memory ------------------------------------------------------------------------------------------ */

static void arm(void)
{
    atomic_store(&memory_failed, false);
    atomic_store(&memory_left, (int)turn);
}

/* Whether one failed. */
static bool disarm(void)
{
    atomic_store(&memory_left, -1);
    return atomic_load(&memory_failed);
}

static bool memory_turn(const struct fault_op *op, uint64_t witness)
{
    struct pool *pool;
    struct fs *fs;

    base_restore(rich());
    if (base_mount(rich()->memory, BASE_SIZE, &pool, &fs) < 0)
        errx(2, "mount");
    arm();
    int r = op->run(fs);
    int synced = fs_sync(fs); /* what is deleted in the background */
    bool failed = disarm();
    if ((r < 0 || synced < 0) && (!failed || (r < 0 && r != -ENOMEM)))
        wrong("%s", strerror(-r));
    r = op->run(fs);
    if (r < 0)
        wrong("not even the second time: %s", strerror(-r));
    expect_sound(rich()->memory, BASE_SIZE, pool, fs, witness);
    return failed;
}

static bool mount_turn(enum base_kind kind)
{
    struct base *base = &bases[kind];
    struct pool *pool;
    struct fs *fs;

    base_restore(base);
    arm();
    int r = base_mount(base->memory, BASE_SIZE, &pool, &fs);
    if (r == 0)
        base_umount(pool, fs);
    bool failed = disarm();
    if (r < 0 && (!failed || (r != -ENOMEM && r != -EAGAIN)))
        wrong("%s", strerror(-r));
    if (base_mount(base->memory, BASE_SIZE, &pool, &fs) < 0) {
        wrong("not even the second time");
        return failed;
    }
    base_umount(pool, fs);
    if (base_pool(base->memory, BASE_SIZE, &pool) < 0)
        errx(2, "the pool can not be opened");
    expect_clean(pool);
    pool_close(pool);
    return failed;
}

/* Damage of several kinds, so that a repair has something to do. */
static void damage(struct base *base)
{
    static const enum base_class classes[] = { CLASS_EXTENT_NODE, CLASS_DIR_LEAF,    CLASS_CHAIN,
                                               CLASS_BITMAP_LINE, CLASS_ORPHAN_LINE, CLASS_INODE };

    for (unsigned i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        const struct base_list *list = &base->list[classes[i]];
        base->memory[list->object[list->count / 2].offset + 17] ^= 0x40;
    }
}

static bool fsck_turn(enum fsck_mode mode)
{
    struct fsck_result *result = calloc(1, sizeof(*result));
    struct base *base = rich();
    struct pool *pool;

    base_restore(base);
    damage(base);
    arm();
    int r = base_pool(base->memory, BASE_SIZE, &pool);
    if (r == 0) {
        r = check(pool, mode, NULL, result);
        pool_close(pool);
    }
    bool failed = disarm();
    if (r < 0 && (!failed || r != -ENOMEM))
        wrong("%s", strerror(-r));
    if (base_pool(base->memory, BASE_SIZE, &pool) < 0)
        errx(2, "the pool can not be opened");
    r = check(pool, FSCK_YES, NULL, result);
    if (r < 0 || result->left > 0)
        wrong("the repair can not be run again");
    expect_clean(pool);
    pool_close(pool);
    free(result);
    return failed;
}

static unsigned memory_all(void)
{
    uint64_t witness = witness_of(rich()->memory);
    unsigned turns = 0;

    for (const struct fault_op *op = fault_ops; op->name; op++, turns += turn)
        for (turn = 0, doing = op->name; memory_turn(op, witness); turn++)
            ;
    for (turn = 0, doing = "mount"; mount_turn(BASE_RICH); turn++)
        turns++;
    for (turn = 0, doing = "mount after a crash"; mount_turn(BASE_CRASHED); turn++)
        turns++;
    for (turn = 0, doing = "fsck -n"; fsck_turn(FSCK_CHECK); turn++)
        turns++;
    for (turn = 0, doing = "fsck -y"; fsck_turn(FSCK_YES); turn++)
        turns++;
    return turns;
}

/* ---- space ------------------------------------------------------------------------------------------- */

static uint8_t *full; /* the pool, without a block for files to be had */

static struct fs_handle *open_fill(struct fs *fs, int flags)
{
    struct fs_handle *handle;
    struct fs_attr attr;

    if (fs_create(fs, rq, DXF_INO_ROOT, fs_name("fill"), 0644, flags, &attr, &handle) < 0)
        errx(2, "fill");
    fs_forget(fs, attr.ino, 1);
    return handle;
}

static void make_full(void)
{
    static uint8_t bytes[DXF_BLOCK_SIZE] = { 'f' };
    struct pool *pool;
    struct fs *fs;
    uint64_t at = 0;
    ssize_t r;

    base_restore(rich());
    if (base_mount(rich()->memory, BASE_SIZE, &pool, &fs) < 0)
        errx(2, "mount");
    struct fs_handle *handle = open_fill(fs, O_RDWR);
    while ((r = fs_pwrite(fs, rq, handle, bytes, sizeof(bytes), at)) > 0)
        at += (uint64_t)r;
    if (r != -ENOSPC)
        errx(2, "the pool does not become full: %s", strerror(-(int)r));
    fs_release(fs, handle);
    base_umount(pool, fs);
    full = mmap(NULL, BASE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (full == MAP_FAILED)
        err(2, "mmap");
    memcpy(full, rich()->memory, BASE_SIZE);
}

/* -ENOSPC must be; then there is room, and it must not be. */
static bool space_turn(const struct fault_op *op, uint64_t witness)
{
    struct pool *pool;
    struct fs *fs;

    memcpy(rich()->memory, full, BASE_SIZE);
    if (base_mount(rich()->memory, BASE_SIZE, &pool, &fs) < 0)
        errx(2, "mount");
    uint64_t fill;
    struct fs_attr attr;
    if (fault_lookup(fs, "fill", &fill) < 0 || fs_getattr(fs, rq, fill, &attr) < 0)
        errx(2, "fill");
    attr.size -= turn * DXF_BLOCK_SIZE;
    if (fs_setattr(fs, rq, fill, &attr, FS_SET_SIZE, &attr) < 0 || fs_sync(fs) < 0)
        wrong("the full pool can not be cut");
    int r = op->run(fs);
    bool failed = r == -ENOSPC;
    if (r < 0 && (r != -ENOSPC || op->gives_space))
        wrong("%s", strerror(-r));
    if (failed && turn % 2 == 0) {
        r = fs_unlink(fs, rq, DXF_INO_ROOT, fs_name("fill"));
        if (r < 0 || fs_sync(fs) < 0)
            wrong("a full pool can not be made empty: %s", strerror(-r));
        r = op->run(fs);
        if (r < 0)
            wrong("there is room, but: %s", strerror(-r));
    }
    atomic_store(&memory_failed, false);
    expect_sound(rich()->memory, BASE_SIZE, pool, fs, witness);
    return failed;
}

static unsigned space_all(void)
{
    uint64_t witness = witness_of(rich()->memory);
    unsigned turns = 0, failed;

    make_full();
    for (const struct fault_op *op = fault_ops; op->name; op++) {
        for (turn = failed = 0, doing = op->name; turn <= 64; turn++, turns++)
            failed += space_turn(op, witness);
        printf("%s: %u of 65 had no room\n", op->name, failed);
    }
    return turns;
}

/* ---- the host ------------------------------------------------------------------------------------------ */

static void make_file(const char *path)
{
    const struct pool_create_options options = { .size = 64 << 20, .sparse = true, .force = true };
    struct pool *pool;
    int fd;

    if (pool_create(path, &options, &pool, NULL) < 0)
        err(2, "%s", path);
    pool_close(pool);
    fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t *memory = mmap(NULL, options.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || memory == MAP_FAILED)
        err(2, "%s", path);
    base_format(memory, options.size);
    munmap(memory, options.size);
    close(fd);
}

static int open_file(const char *path, const struct pool_options *how, struct pool **ret_pool,
                     struct fs **ret_fs)
{
    const struct fs_options options = { 0 };
    char *message = NULL;
    int r = pool_open(path, how, ret_pool, &message);

    if (r < 0 && message == NULL && atomic_load(&memory_left) < 0)
        wrong("no message");
    free(message);
    if (r == 0 && ret_fs) {
        r = fs_open(*ret_pool, &options, ret_fs, NULL);
        if (r < 0)
            pool_close(*ret_pool);
    }
    return r;
}

/* Small and large things, until one of them fails. */
static int load(struct fs *fs)
{
    static uint8_t bytes[1 << 20];
    struct fs_handle *handle;
    struct fs_attr attr;
    char name[32];
    int r = 0;

    for (unsigned i = 0; i < 24 && r == 0; i++) {
        snprintf(name, sizeof(name), "load%u", i);
        r = fs_create(fs, rq, DXF_INO_ROOT, fs_name(name), 0644, O_RDWR, &attr, &handle);
        if (r < 0)
            return r;
        ssize_t wrote = fs_pwrite(fs, rq, handle, bytes, i % 2 ? sizeof(bytes) : 100, 0);
        if (wrote < 0)
            r = (int)wrote;
        else if ((size_t)wrote < (i % 2 ? sizeof(bytes) : 100))
            r = -ENOSPC;
        fs_release(fs, handle);
        fs_forget(fs, attr.ino, 1);
    }
    return r;
}

static void clean_file(const char *path)
{
    const struct pool_options how = { .private_map = true };
    struct pool *pool;

    if (open_file(path, &how, &pool, NULL) < 0) {
        wrong("it can not be opened");
        return;
    }
    expect_clean(pool);
    pool_close(pool);
}

static unsigned host_all(const char *path)
{
    const struct pool_options how = { 0 };
    struct pool *pool;
    struct fs *fs;
    bool failed = true;

    doing = "host without room";
    for (turn = 0; failed; turn++) {
        make_file(path);
        atomic_store(&host_left, (int)turn);
        int r = open_file(path, &how, &pool, &fs);
        failed = r < 0;
        if (r < 0 && r != -ENOSPC)
            wrong("open: %s", strerror(-r));
        if (r == 0) {
            r = load(fs);
            failed = atomic_load(&host_left) == 0;
            if (r < 0 && (r != -ENOSPC || !failed))
                wrong("%s", strerror(-r));
            atomic_store(&host_left, -1);
            r = load(fs);
            if (r < 0)
                wrong("the host has room again, but: %s", strerror(-r));
            base_umount(pool, fs);
        }
        atomic_store(&host_left, -1);
        clean_file(path);
    }
    return turn;
}

/* ---- descriptors ---------------------------------------------------------------------------------------- */

static rlim_t first_free(void)
{
    int fd = dup(0);

    if (fd < 0)
        err(2, "dup");
    close(fd);
    return (rlim_t)fd;
}

static bool files_turn(const char *path, const struct pool_options *how, bool *ret_served)
{
    struct rlimit all, few;
    struct pool *pool;
    struct fs *fs;

    if (getrlimit(RLIMIT_NOFILE, &all) < 0)
        err(2, "getrlimit");
    few = all;
    few.rlim_cur = first_free() + turn;
    setrlimit(RLIMIT_NOFILE, &few);
    int r = open_file(path, how, &pool, &fs);
    *ret_served = r == 0;
    if (r == 0) {
        r = load(fs);
        if (r < 0)
            wrong("a mounted pool wants descriptors: %s", strerror(-r));
        base_umount(pool, fs);
    } else if (r != -EMFILE) {
        wrong("%s", strerror(-r));
    }
    setrlimit(RLIMIT_NOFILE, &all);
    clean_file(path);
    return r < 0;
}

static unsigned files_all(const char *path)
{
    const struct pool_options how[] = {
        { .pmem = POOL_PMEM_FORCE },
        { .pmem = POOL_PMEM_NEVER, .durability = POOL_DURABILITY_POWER },
    };
    unsigned turns = 0;

    make_file(path);
    for (unsigned i = 0; i < 2; i++) {
        bool served = false;
        doing = i ? "descriptors, flushed pages" : "descriptors, pmem";
        for (turn = 0; turn < 8; turn++, turns++)
            files_turn(path, &how[i], &served);
        if (!served)
            wrong("eight are too few");
    }
    return turns;
}

int main(int argc, char **argv)
{
    static char path[4096];
    unsigned turns;

    log_open("faults", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    log_set_level((enum log_level)(LOG_LEVEL_ERROR - 1));
    if (argc == 3)
        snprintf(path, sizeof(path), "%s/faults.pool", argv[2]);
    if (argc == 3 && strcmp(argv[1], "host") == 0) {
        turns = host_all(path);
    } else if (argc == 3 && strcmp(argv[1], "files") == 0) {
        turns = files_all(path);
    } else if (argc == 2 && strcmp(argv[1], "memory") == 0) {
        bases_make();
        turns = memory_all();
    } else if (argc == 2 && strcmp(argv[1], "space") == 0) {
        bases_make();
        turns = space_all();
    } else {
        fputs("usage: faults memory | space | host FOLDER | files FOLDER\n", stderr);
        return 2;
    }
    printf("%s: %u faults, %d wrong\n", argv[1], turns, failures);
    return failures > 0;
}
