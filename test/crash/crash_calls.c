/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flushes, fences and checks that no image of crash_run can miss: what the implementations of the persist
 * table ask of the system, fences that are between threads, mkfs, checks of what nobody damages there.
 * Each is a case; a failing one says so and ends the program.
 *
 *   crash_calls [CASE]
 */
#include "world.h"

#include "base/endian.h"
#include "base/lock.h"
#include "base/log.h"
#include "fs/internal.h"
#include "media/pool.h"
#include "media/validate.h"
#include "tools/fsck.h"

#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE DXF_POOL_SIZE_MIN

#define expect(condition)                                         \
 do {                                                             \
  if (!(condition)) {                                             \
   printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
   exit(1);                                                       \
  }                                                               \
 } while (0)

/* ---- what the system is asked ----------------------------------------------------------------- */

static unsigned asked_flush, asked_drain, asked_msync, asked_fsync;
static unsigned ring_fsyncs, ring_others;
static struct io_uring *ring;

void pmem_flush(const void *address, size_t length)
{
    (void)address;
    (void)length;
    asked_flush++;
}

void pmem_drain(void)
{
    asked_drain++;
}

int msync(void *address, size_t length, int flags)
{
    static int (*real)(void *, size_t, int);

    if (!real)
        real = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync");
    asked_msync++;
    return real(address, length, flags);
}

int fsync(int fd)
{
    (void)fd;
    asked_fsync++;
    return 0;
}

/* What is submitted is looked at before the kernel sees it. */
int io_uring_submit(struct io_uring *it)
{
    static int (*real)(struct io_uring *);

    if (!real)
        real = (int (*)(struct io_uring *))dlsym(RTLD_NEXT, "io_uring_submit");
    ring = it;
    for (unsigned at = it->sq.sqe_head; at != it->sq.sqe_tail; at++) {
        const struct io_uring_sqe *sqe = &it->sq.sqes[at & *it->sq.kring_mask];

        ring_fsyncs += sqe->opcode == IORING_OP_FSYNC && sqe->len == 4096;
        ring_others += sqe->opcode != IORING_OP_FSYNC;
    }
    return real(it);
}

static uint8_t *map_file(int *ret_fd)
{
    uint8_t *base;

    *ret_fd = memfd_create("calls", MFD_CLOEXEC);
    expect(*ret_fd >= 0 && ftruncate(*ret_fd, SIZE) == 0);
    base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
    expect(base != MAP_FAILED);
    return base;
}

static void case_pmem(void)
{
    struct persist *persist;
    int fd;
    uint8_t *base = map_file(&fd);

    expect(persist_open_pmem(base, SIZE, &persist) == 0);
    persist_store(persist, base, "12345678", 8);
    persist_flush(persist, base, 8, PERSIST_DATA);
    expect(asked_flush == 1 && asked_drain == 0);
    expect(persist_drain(persist) == 0);
    expect(asked_drain == 1);
    persist_copy(persist, base, "12345678", 8, PERSIST_DATA);
    expect(persist_drain(persist) == 0);
    expect(asked_drain == 2);
    persist_close(persist);
}

static void case_paged(void)
{
    struct persist *persist;
    int fd;
    uint8_t *base = map_file(&fd);

    expect(persist_open_paged(base, SIZE, fd, true, &persist) == 0);
    persist_flush(persist, base, 8, PERSIST_DATA);
    expect(asked_msync == 0 && persist_drain(persist) == 0 && asked_msync == 1);
    persist_copy(persist, base + 4096, "12345678", 8, PERSIST_DATA);
    expect(persist_drain(persist) == 0 && asked_msync == 2);
    persist_set(persist, base + 8192, 1, 8, PERSIST_DATA);
    expect(persist_drain(persist) == 0 && asked_msync == 3);

    for (unsigned i = 0; i < 3; i++)
        persist_copy(persist, base + i * 65536, "12345678", 8, PERSIST_DATA);
    expect(persist_drain(persist) == 0);
    if (!ring) { /* the kernel has no rings for us */
        expect(asked_msync == 6);
    } else {
        expect(ring_fsyncs == 3 && ring_others == 0);
        usleep(50000);
        expect(io_uring_cq_ready(ring) == 0); /* all answers were waited for */
    }
    persist_close(persist);
}

/* ---- threads that share a slot: one's fence is no other's ----------------------------------- */

static struct persist *shared_persist;
static unsigned fences;
static pthread_barrier_t holders, sharers;
static uint8_t *shared_base;

static void count_fences(void *arg, const struct persist_event *event)
{
    (void)arg;
    fences += event->kind == PERSIST_EVENT_FENCE;
}

static void *slot_holder(void *arg)
{
    (void)arg;
    (void)persist_thread_slot();
    pthread_barrier_wait(&holders);
    pthread_barrier_wait(&holders);
    return NULL;
}

static void *slot_sharer(void *arg)
{
    expect(persist_thread_slot() == PERSIST_SLOT_SHARED);
    persist_copy(shared_persist, shared_base + (uintptr_t)arg * 4096, "12345678", 8, PERSIST_DATA);
    pthread_barrier_wait(&sharers);
    expect(persist_drain(shared_persist) == 0);
    return NULL;
}

static void case_shared_slot(void)
{
    pthread_t holder[PERSIST_SLOTS], sharer[2];
    int fd;

    shared_base = map_file(&fd);
    expect(persist_open_recording(shared_base, SIZE, true, count_fences, NULL, &shared_persist) ==
           0);
    pthread_barrier_init(&holders, NULL, PERSIST_SLOTS + 1);
    pthread_barrier_init(&sharers, NULL, 2);
    for (unsigned i = 0; i < PERSIST_SLOTS; i++)
        expect(pthread_create(&holder[i], NULL, slot_holder, NULL) == 0);
    pthread_barrier_wait(&holders);
    for (uintptr_t i = 0; i < 2; i++)
        expect(pthread_create(&sharer[i], NULL, slot_sharer, (void *)i) == 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(sharer[i], NULL);
    expect(fences == 2);
    pthread_barrier_wait(&holders);
    for (unsigned i = 0; i < PERSIST_SLOTS; i++)
        pthread_join(holder[i], NULL);
    persist_close(shared_persist);
}

/* ---- a pool ------------------------------------------------------------------------------------- */

static struct fs_request root_request = { .in_group = true };

static void case_abort_fences(void)
{
    struct space_request request = { .want = 1 };
    struct persist_counters before, after;
    struct space_extent got;
    struct image image;
    struct txn txn;

    image_create(&image, SIZE, true);
    persist_get_counters(image.pool->persist, &before);
    txn_begin(&txn, fs_space(image.fs));
    expect(space_alloc(&txn, &request, &got) == 0);
    persist_copy(image.pool->persist, pool_block(image.pool, got.start), "12345678", 8,
                 PERSIST_DATA);
    txn_abort(&txn); /* before the block can be another's */
    persist_get_counters(image.pool->persist, &after);
    expect(after.fences == before.fences + 1);
    image_destroy(&image);
}

static void case_sync_retires(void)
{
    struct journal_stats stats;
    struct fs_attr attr;
    struct image image;

    image_create(&image, SIZE, true);
    expect(fs_mkdir(image.fs, &root_request, 1, fs_name("a"), 0755, &attr) == 0);
    journal_get_stats(fs_journal(image.fs), &stats);
    expect(stats.retired < stats.sequence);
    expect(fs_sync(image.fs) == 0);
    journal_get_stats(fs_journal(image.fs), &stats);
    expect(stats.retired == stats.sequence);
    image_destroy(&image);
}

static _Atomic bool came_back;

static void *sync_caller(void *arg)
{
    expect(fs_sync(arg) == 0);
    atomic_store(&came_back, true);
    return NULL;
}

static void *settle_caller(void *arg)
{
    fs_settle(arg);
    atomic_store(&came_back, true);
    return NULL;
}

/* It waits for who has the mutex and is busy. */
static void expect_wait(struct fs *fs, void *(*caller)(void *), pthread_mutex_t *mutex, bool *busy,
                        pthread_cond_t *done)
{
    pthread_t thread;

    atomic_store(&came_back, false);
    pthread_mutex_lock(mutex);
    *busy = true;
    pthread_mutex_unlock(mutex);
    expect(pthread_create(&thread, NULL, caller, fs) == 0);
    usleep(200000);
    expect(!atomic_load(&came_back));
    pthread_mutex_lock(mutex);
    *busy = false;
    pthread_cond_broadcast(done);
    pthread_mutex_unlock(mutex);
    pthread_join(thread, NULL);
}

/* What deleted files had is free when sync returns. */
static void case_sync_waits(void)
{
    struct image image;

    image_create(&image, SIZE, true);
    expect_wait(image.fs, sync_caller, &image.fs->reap_mutex, &image.fs->reap_busy,
                &image.fs->reap_done);
    image_destroy(&image);
}

/* And what mappings kept, when settling does. */
static void case_settle_waits(void)
{
    struct image image;

    image_create(&image, SIZE, true);
    expect_wait(image.fs, settle_caller, &image.fs->settle_mutex, &image.fs->settle_busy,
                &image.fs->settle_done);
    image_destroy(&image);
}

/* A write whose times are there already, by another one that has not fenced them, sends them too. */
static void case_times_are_sent(void)
{
    static const uint8_t bytes[DXF_BLOCK_SIZE];
    struct persist_counters before, after;
    struct fs_handle *handle;
    struct inode *inode;
    struct fs_attr attr;
    struct image image;

    image_create(&image, SIZE, true);
    expect(fs_create(image.fs, &root_request, 1, fs_name("a"), 0600, O_RDWR, &attr, &handle) == 0);
    expect(fs_pwrite(image.fs, &root_request, handle, bytes, sizeof(bytes), 0) == sizeof(bytes));
    expect(fs_sync(image.fs) == 0);
    expect(inode_get(image.fs, attr.ino, &inode) == 0);
    atomic_fetch_add(&inode->touching, 1);
    for (unsigned i = 0; i < 100; i++) {
        persist_get_counters(image.pool->persist, &before);
        expect(fs_pwrite(image.fs, &root_request, handle, bytes, sizeof(bytes), 0) ==
               sizeof(bytes));
        persist_get_counters(image.pool->persist, &after);
        expect(after.flushed[PERSIST_METADATA] > before.flushed[PERSIST_METADATA]);
    }
    atomic_fetch_sub(&inode->touching, 1);
    inode_put(image.fs, inode);
    fs_release(image.fs, handle);
    image_destroy(&image);
}

static void case_slot_is_checked(void)
{
    struct journal *journal;
    struct image image;

    image_create(&image, SIZE, true);
    image.memory[DXF_JOURNAL_BLOCK * DXF_BLOCK_SIZE + 8] ^= 1;
    expect(journal_open(image.pool, &journal) == -EUCLEAN);
    image.memory[DXF_JOURNAL_BLOCK * DXF_BLOCK_SIZE + 8] ^= 1;
    image_destroy(&image);
}

/* A pool that has no superblock yet does not get one because it fails. */
static void case_failed_mkfs(void)
{
    struct persist *persist;
    struct pool *pool;
    int fd;
    uint8_t *base = map_file(&fd);

    expect(persist_open_pmem(base, SIZE, &persist) == 0);
    expect(pool_open_memory(base, SIZE, persist, &pool) == 0);
    pool_fail(pool, "a test");
    for (unsigned i = 0; i < DXF_BLOCK_SIZE; i++)
        expect(base[i] == 0);
    pool_close(pool);
}

/* A damaged node of a directory's tree is told, not followed. */
static void case_node_is_checked(void)
{
    unsigned nodes = 0;
    struct fs_handle *handle;
    struct fs_attr attr;
    struct image image;
    char name[251];

    image_create(&image, 16u << 20, true);
    for (unsigned i = 0; i < 300; i++) {
        memset(name, 'x', 250);
        name[250] = 0;
        name[snprintf(name, sizeof(name), "%u", i)] = '-';
        expect(fs_create(image.fs, &root_request, 1, fs_name(name), 0600, O_RDWR, &attr, &handle) ==
               0);
        fs_release(image.fs, handle);
        fs_forget(image.fs, attr.ino, 1);
    }
    expect(image_remount(&image, false) == 0);
    for (uint64_t block = 8; block < image.size / DXF_BLOCK_SIZE; block++) {
        struct dxf_node *node = (struct dxf_node *)(image.memory + block * DXF_BLOCK_SIZE);

        if (le32_get(node->header.magic) != DXF_MAGIC_DIR_NODE)
            continue;
        nodes++;
        node->index[1].key = le64_make(le64_get(node->index[1].key) ^ 1ull << 40);
    }
    expect(nodes > 0);
    expect(fs_lookup(image.fs, &root_request, 1, fs_name(name), &attr) == -EUCLEAN);
    image_destroy(&image);
}

/* ---- mkfs over an older pool ------------------------------------------------------------------- */

static struct view old_pool;
static struct device device;
static struct trace trace;
static struct rng rng = { 1 };
static bool mkfs_pmem;

/* Opened in place of those of pool_start: it records, and the file has what a device would have. */
int __wrap_persist_open_paged(void *base, size_t size, int fd, bool durable,
                              struct persist **ret_persist);
int __wrap_persist_open_pmem(void *base, size_t size, struct persist **ret_persist);
int __real_persist_open_paged(void *base, size_t size, int fd, bool durable,
                              struct persist **ret_persist);
int __real_persist_open_pmem(void *base, size_t size, struct persist **ret_persist);
static bool mkfs_runs;

static void mkfs_event(void *arg, const struct persist_event *event)
{
    (void)arg;
    trace_note(&trace, event);
}

int __wrap_persist_open_paged(void *base, size_t size, int fd, bool durable,
                              struct persist **ret_persist)
{
    if (!mkfs_runs)
        return __real_persist_open_paged(base, size, fd, durable, ret_persist);
    memcpy(base, old_pool.bytes, size);
    return persist_open_recording(base, size, mkfs_pmem, mkfs_event, NULL, ret_persist);
}

int __wrap_persist_open_pmem(void *base, size_t size, struct persist **ret_persist)
{
    if (!mkfs_runs)
        return __real_persist_open_pmem(base, size, ret_persist);
    return __wrap_persist_open_paged(base, size, -1, false, ret_persist);
}

static int litter(void *arg, uint64_t start, uint64_t count, bool allocated)
{
    struct image *image = arg;

    if (!allocated)
        memset(image->memory + start * DXF_BLOCK_SIZE, 0xa5, count * DXF_BLOCK_SIZE);
    return 0;
}

static void make_old_pool(void)
{
    static uint8_t bytes[100000];
    struct fs_handle *handle;
    struct fs_attr attr;
    struct image image;

    image_create(&image, SIZE, true);
    for (unsigned i = 0; i < 40; i++) {
        char name[12];

        snprintf(name, sizeof(name), "%u", i);
        expect(fs_create(image.fs, &root_request, 1, fs_name(name), 0600, O_RDWR, &attr, &handle) ==
               0);
        expect(fs_pwrite(image.fs, &root_request, handle, bytes, sizeof(bytes), 0) ==
               sizeof(bytes));
        fs_release(image.fs, handle);
    }
    expect(fs_sync(image.fs) == 0);
    expect(space_walk(fs_space(image.fs), litter, &image) == 0);
    expect(image_remount(&image, false) == 0);
    fs_close(image.fs);
    pool_close(image.pool);
    image.fs = NULL;
    image.pool = NULL;
    memcpy(old_pool.bytes, image.memory, SIZE);
    image_destroy(&image);
}

/* As tools/mkfs.c does it. */
static void run_mkfs(void)
{
    struct pool_create_options options = { .size = SIZE, .force = true };
    struct journal *journal;
    char path[] = "/tmp/crash_calls.XXXXXX", *message = NULL;
    struct space *space;
    struct pool *pool;
    int fd = mkstemp(path);

    expect(fd >= 0);
    close(fd);
    mkfs_runs = true;
    asked_fsync = 0;
    expect(pool_create(path, &options, &pool, &message) == 0);
    mkfs_runs = false;
    unlink(path);
    expect(asked_fsync == 2); /* the file, and its folder */
    pool->super = (struct dxf_super){
        .magic = DXF_MAGIC,
        .version = le32_make(DXF_VERSION),
        .pool_blocks = le64_make(pool->blocks),
        .log_seed = le64_make(7),
        .hash_seed = le64_make(8),
    };
    expect(layout_compute(&pool->super) == 0);
    expect(space_format(pool) == 0);
    expect(journal_format(pool) == 0);
    expect(journal_open(pool, &journal) == 0);
    expect(space_open(pool, journal, &space) == 0);
    expect(meta_format(pool, journal, space, 0755, 0, 0) == 0);
    space_close(space);
    journal_close(journal);
    expect(pool_write_super(pool) == 0);
    pool_close(pool);
}

static void image_event(void *arg, const struct persist_event *event)
{
    if (event->bytes)
        view_touch_bytes(arg, event->offset, event->length);
}

static int open_image(struct pool **ret_pool)
{
    struct persist *persist;
    int r;

    expect(persist_open_recording(device.image.bytes, SIZE, mkfs_pmem, image_event, &device.image,
                                  &persist) == 0);
    r = pool_open_memory(device.image.bytes, SIZE, persist, ret_pool);
    if (r < 0)
        persist_close(persist);
    else if (le64_get((*ret_pool)->super.pool_blocks) == 0) { /* without a superblock */
        pool_close(*ret_pool);
        r = -EINVAL;
    }
    return r;
}

/* What has a superblock is a pool; when mkfs has returned, there is one. */
static void check_mkfs(bool returned)
{
    struct fsck_options check = { .mode = FSCK_CHECK };
    struct fs_options options = { .noatime = true };
    struct fsck_result result;
    struct pool *pool;
    struct fs *fs;

    device_build(&device);
    if (open_image(&pool) < 0) {
        expect(!returned);
        return;
    }
    expect(fs_open(pool, &options, &fs, NULL) == 0);
    fs_close(fs);
    pool_close(pool);
    expect(open_image(&pool) == 0);
    expect(fsck_run(pool, &check, &result) == 0);
    for (unsigned id = 0; id < FSCK_ID_MAX; id++)
        if (result.count[id])
            printf("mkfs: fsck finds %u, %s\n", id, returned ? "after the return" : "before it");
    expect(result.found == 0);
    pool_close(pool);
}

static void check_mkfs_images(bool returned)
{
    device_group(&device);
    device_choose_all(&device, false);
    check_mkfs(returned);
    device_choose_all(&device, true);
    check_mkfs(returned);
    for (unsigned i = 0; i < 25; i++) {
        device_choose_random(&device, &rng);
        check_mkfs(returned);
    }
}

/* Over a pool, and over what is none. */
static void case_mkfs(void)
{
    view_create(&old_pool, NULL);
    device_create(&device, &old_pool);
    for (unsigned i = 0; i < 4; i++) {
        if (i < 2)
            make_old_pool();
        else
            memset(old_pool.bytes, 0xa5, SIZE);
        view_touch_bytes(&old_pool, 0, SIZE);
        mkfs_pmem = i % 2;
        device_reset(&device, mkfs_pmem);
        trace_clear(&trace);
        run_mkfs();
        for (size_t at = 0; at < trace.count; at++) {
            if (trace.event[at].kind == PERSIST_EVENT_FENCE)
                check_mkfs_images(false);
            device_play(&device, &trace.event[at]);
        }
        check_mkfs_images(true);
    }
}

/* ---- cases --------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    { "pmem", case_pmem },
    { "paged", case_paged },
    { "shared-slot", case_shared_slot },
    { "abort-fences", case_abort_fences },
    { "sync-retires", case_sync_retires },
    { "sync-waits", case_sync_waits },
    { "settle-waits", case_settle_waits },
    { "times-are-sent", case_times_are_sent },
    { "slot-is-checked", case_slot_is_checked },
    { "failed-mkfs", case_failed_mkfs },
    { "node-is-checked", case_node_is_checked },
    { "mkfs", case_mkfs },
};

int main(int argc, char **argv)
{
    bool any = false;

    alarm(60);
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_open("crash_calls", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (argc > 1 && strcmp(argv[1], cases[i].name) != 0)
            continue;
        any = true;
        asked_flush = asked_drain = asked_msync = 0;
        cases[i].run();
        printf("%s\n", cases[i].name);
    }
    if (!any)
        errx(2, "no such case");
    return 0;
}
