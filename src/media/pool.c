/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening and closing a pool.
 *
 * The order at open: descriptor, lock, size, superblock (by system calls), mapping, persistence,
 * guard. Nothing is believed of the file before the lock is held, and nothing is read through the
 * mapping before the file is known to be as long as the pool in it.
 */
#include "media/pool_private.h"

#include "base/endian.h"
#include "base/log.h"
#include "base/message.h"
#include "media/validate.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
# include <cpuid.h>
#endif

int pool_new(const char *path, struct pool **ret_pool)
{
    struct pool *pool = calloc(1, sizeof(*pool));

    if (pool == NULL)
        return -ENOMEM;
    pool->fd = -1;
    pool->path = strdup(path);
    pool->host = calloc(1, sizeof(*pool->host));
    if (pool->path == NULL || pool->host == NULL) {
        free(pool->path);
        free(pool->host);
        free(pool);
        return -ENOMEM;
    }
    pthread_mutex_init(&pool->host->mutex, NULL);
    *ret_pool = pool;
    return 0;
}

void pool_close(struct pool *pool)
{
    if (pool == NULL)
        return;
    pool_guard_remove(pool);
    persist_close(pool->persist);
    pool_host_destroy(pool);
    pool_unmap(pool);
    if (pool->fd >= 0)
        close(pool->fd);
    pthread_mutex_destroy(&pool->host->mutex);
    free(pool->host);
    free(pool->path);
    free(pool);
}

/* ---- the file -------------------------------------------------------------------------------- */

static const char *open_remedy(int error)
{
    switch (error) {
    case ENOENT:
        return "check the name, or make a pool with mkfs.daxfuse";
    case EACCES:
    case EPERM:
        return "become its owner or root, or open it read-only";
    case EROFS:
        return "open it read-only (-o ro)";
    case EISDIR:
        return "name the file that is the pool";
    case EBUSY:
        return "the device is mounted or in use: free it first";
    default:
        return "see to that first";
    }
}

int pool_open_file(struct pool *pool, int flags, struct stat *ret_stat, uint64_t *ret_size,
                   char **ret_message)
{
    struct stat st;
    uint64_t size;

    /* Not stopped by a FIFO. A device that is mounted must not be opened for writing, and says so
     * when asked for with O_EXCL; that flag means nothing for other files that exist. */
    flags |= O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    if (stat(pool->path, &st) == 0 && S_ISBLK(st.st_mode) && (flags & O_ACCMODE) != O_RDONLY)
        flags |= O_EXCL;
    pool->fd = open(pool->path, flags, 0600);
    if (pool->fd < 0 || fstat(pool->fd, &st) != 0) {
        int error = errno;

        return message_set(ret_message, -error, "%s cannot be opened: %s; %s", pool->path,
                           strerror(error), open_remedy(error));
    }

    if (S_ISREG(st.st_mode)) {
        size = (uint64_t)st.st_size;
    } else if (S_ISBLK(st.st_mode)) {
        if (ioctl(pool->fd, BLKGETSIZE64, &size) != 0)
            return message_set(ret_message, -errno, "%s does not tell its size: %s", pool->path,
                               strerror(errno));
        pool->is_device = true;
    } else {
        return message_set(ret_message, -EINVAL,
                           "%s is neither a file nor a block device; name a pool", pool->path);
    }
    *ret_stat = st;
    *ret_size = size;
    return 0;
}

/* ---- persistence ------------------------------------------------------------------------------ */

/* What libpmem writes lines back with; it looks at the same bits and variables. */
static const char *flush_instruction(void)
{
#if defined(__x86_64__) || defined(__i386__)
    unsigned a, b, c, d;

    if (pmem_has_auto_flush() == 1)
        return "none (the caches are persistent)";
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        const char *no_clwb = getenv("PMEM_NO_CLWB");
        const char *no_opt = getenv("PMEM_NO_CLFLUSHOPT");

        if ((b & (1u << 24)) != 0 && (no_clwb == NULL || strcmp(no_clwb, "1") != 0))
            return "clwb";
        if ((b & (1u << 23)) != 0 && (no_opt == NULL || strcmp(no_opt, "1") != 0))
            return "clflushopt";
    }
    return "clflush";
#else
    return "the CPU's write-back";
#endif
}

static bool is_memory_fs(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static void decide_pmem(struct pool *pool, const struct pool_options *options)
{
    bool memory_fs = is_memory_fs(pool->fd);

    pool->durability = options->durability;
    if (pool->durability == POOL_DURABILITY_AUTO)
        pool->durability = memory_fs ? POOL_DURABILITY_PROCESS : POOL_DURABILITY_POWER;

    if (pool->host->private_view) {
        pool->why = "a private view of the file";
    } else if (options->pmem == POOL_PMEM_NEVER) {
        pool->why = "not to be (pmem=never)";
    } else if (options->pmem == POOL_PMEM_FORCE) {
        pool->is_pmem = true;
        pool->why = "asked for (pmem=force)";
    } else if (pool->host->sync) {
        pool->is_pmem = true;
        pool->why = "a file system with DAX";
    } else if (pmem_is_pmem(pool->base, pool->size)) {
        /* For a mapping that libpmem has not made it says yes only when PMEM_IS_PMEM_FORCE does. */
        pool->is_pmem = true;
        pool->why = "libpmem says so";
    } else if (memory_fs) {
        pool->why = "tmpfs is ordinary memory";
    } else if (pool->is_device) {
        pool->why = "a block device has a page cache";
    } else {
        pool->why = "the file system has no DAX";
    }

    if (pool->is_pmem)
        pool->flush = flush_instruction();
    else if (pool->host->private_view)
        pool->flush = "none (private view)";
    else if (pool->durability == POOL_DURABILITY_PROCESS)
        pool->flush = "none (process)";
    else
        pool->flush = "msync";
}

int pool_start(struct pool *pool, const struct pool_options *options, uint64_t size,
               char **ret_message)
{
    bool private_view = options->read_only || options->private_map;
    int error;

    pool->size = size;
    pool->blocks = size / DXF_BLOCK_SIZE;
    pool->read_only = options->read_only;
    error = pool_map(pool, private_view, ret_message);
    if (error < 0)
        return error;
    decide_pmem(pool, options);
    if (pool->is_pmem)
        error = persist_open_pmem(pool->base, size, &pool->persist);
    else
        error = persist_open_paged(pool->base, size, pool->fd,
                                   pool->durability == POOL_DURABILITY_POWER && !private_view,
                                   &pool->persist);
    if (error == 0)
        error = pool_host_init(pool);
    if (error == 0)
        error = pool_guard_add(pool);
    if (error < 0)
        return message_set(ret_message, error, "%s cannot be opened: %s", pool->path,
                           strerror(-error));
    return 0;
}

/* ---- opening ---------------------------------------------------------------------------------- */

int pool_open(const char *path, const struct pool_options *options, struct pool **ret_pool,
              char **ret_message)
{
    bool writable = !options->read_only && !options->private_map;
    struct pool *pool;
    struct stat st;
    uint64_t size;
    int error;

    error = pool_new(path, &pool);
    if (error < 0)
        return message_set(ret_message, error, "%s: out of memory", path);
    error = pool_open_file(pool, writable ? O_RDWR : O_RDONLY, &st, &size, ret_message);
    if (error == 0 && !options->no_lock) {
        error = pool_lock_take(pool->fd, path, writable, ret_message);
        /* Before the lock was ours somebody may have made it longer or shorter. */
        if (error == 0 && !pool->is_device && fstat(pool->fd, &st) == 0)
            size = (uint64_t)st.st_size;
    }
    if (error == 0)
        error = pool_super_read(pool, size, writable, ret_message);
    if (error == 0)
        error = pool_start(pool, options, le64_get(pool->super.pool_blocks) * DXF_BLOCK_SIZE,
                           ret_message);
    if (error < 0) {
        pool_close(pool);
        return error;
    }

    /* A file system that compresses looks sparse, too: that costs a few system calls. */
    atomic_store(&pool->sparse,
                 !pool->is_device && (uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size);
    if (writable)
        pool_super_repair(pool);
    *ret_pool = pool;
    return 0;
}

/* Takes the superblock from the memory, if there is one. */
static int memory_super(struct pool *pool)
{
    const struct dxf_super *primary = pool_at(pool, 0);
    const struct dxf_super *spare = NULL;
    static const struct dxf_super none;

    if (pool->size >= (DXF_SPARE_BLOCK + 1ull) * DXF_BLOCK_SIZE)
        spare = pool_block(pool, DXF_SPARE_BLOCK);
    else
        spare = &none;
    if (!pool_super_is_ours(primary) && !pool_super_is_ours(spare))
        return 0;
    return pool_super_choose(pool, primary, spare, pool->size, true, NULL);
}

int pool_open_memory(void *base, uint64_t size, struct persist *persist, struct pool **ret_pool)
{
    struct pool *pool;
    int error;

    if (((uintptr_t)base & (DXF_BLOCK_SIZE - 1)) != 0 || size % DXF_BLOCK_SIZE != 0 ||
        size < (DXF_SPARE_BLOCK + 1ull) * DXF_BLOCK_SIZE)
        return -EINVAL;
    error = pool_new("(memory)", &pool);
    if (error < 0)
        return error;
    pool->base = base;
    pool->size = size;
    pool->blocks = size / DXF_BLOCK_SIZE;
    pool->why = "memory of a test";
    pool->flush = persist->ops->name;
    pool->durability = POOL_DURABILITY_PROCESS;

    error = memory_super(pool);
    if (error == 0)
        error = pool_host_init(pool);
    if (error == 0)
        error = pool_guard_add(pool);
    if (error < 0) {
        pool_close(pool);
        return error;
    }
    pool->persist = persist;
    if (pool_super_is_ours(&pool->super))
        pool_super_repair(pool);
    *ret_pool = pool;
    return 0;
}

/* ---- what is known of a block ------------------------------------------------------------------- */

/* The bits of one word that [*block, end) touches; *block moves behind them. */
static uint64_t bits_step(uint64_t *block, uint64_t end)
{
    unsigned shift = *block % 64;
    uint64_t count = end - *block < 64 - shift ? end - *block : 64 - shift;

    *block += count;
    return (count == 64 ? UINT64_MAX : (1ull << count) - 1) << shift;
}

/* Who sees a bit also sees the bytes that were checked; and of two who each set a bit and then look
 * at the other's, one sees it: sequential order. */
static bool bits_any(const _Atomic uint64_t *bits, uint64_t block, uint64_t count)
{
    uint64_t end = block + count;

    while (block < end) {
        const _Atomic uint64_t *word = &bits[block / 64];

        if (atomic_load(word) & bits_step(&block, end))
            return true;
    }
    return false;
}

static void bits_set(_Atomic uint64_t *bits, uint64_t block, uint64_t count)
{
    uint64_t end = block + count;

    while (block < end) {
        _Atomic uint64_t *word = &bits[block / 64];
        uint64_t mask = bits_step(&block, end);

        /* Most are set already, by an earlier write to the same file. */
        if ((atomic_load(word) & mask) != mask)
            atomic_fetch_or(word, mask);
    }
}

static void bits_clear(_Atomic uint64_t *bits, uint64_t block, uint64_t count)
{
    uint64_t end = block + count;

    while (block < end) {
        _Atomic uint64_t *word = &bits[block / 64];
        uint64_t mask = bits_step(&block, end);

        /* Most are clear already: do not make their pages real. */
        if (atomic_load(word) & mask)
            atomic_fetch_and(word, ~mask);
    }
}

static bool blocks_have_bits(const struct pool *pool, uint64_t block, uint64_t count)
{
    uint64_t blocks = pool->host->room_size / DXF_BLOCK_SIZE;

    return block <= blocks && count <= blocks - block;
}

bool pool_block_verified(const struct pool *pool, uint64_t block)
{
    return atomic_load_explicit(&pool->verified[block / 64], memory_order_acquire) >> block % 64 &
           1;
}

bool pool_block_set_verified(struct pool *pool, uint64_t block)
{
    bits_set(pool->verified, block, 1);
    if (!bits_any(pool->fixed, block, 1) && !bits_any(pool->data, block, 1))
        return true;
    bits_clear(pool->verified, block, 1);
    return false;
}

void pool_block_clear_verified(struct pool *pool, uint64_t block, uint64_t count)
{
    assert(blocks_have_bits(pool, block, count));
    bits_clear(pool->verified, block, count);
}

void pool_blocks_forget(struct pool *pool, uint64_t block, uint64_t count)
{
    assert(blocks_have_bits(pool, block, count));
    bits_clear(pool->verified, block, count);
    bits_clear(pool->data, block, count);
}

bool pool_block_is_fixed(const struct pool *pool, uint64_t block)
{
    return atomic_load(&pool->fixed[block / 64]) >> block % 64 & 1;
}

void pool_blocks_set_fixed(struct pool *pool, uint64_t block, uint64_t count)
{
    assert(blocks_have_bits(pool, block, count));
    bits_set(pool->fixed, block, count);
    bits_clear(pool->verified, block, count);
}

void pool_blocks_clear_fixed(struct pool *pool, uint64_t block, uint64_t count)
{
    assert(blocks_have_bits(pool, block, count));
    bits_clear(pool->fixed, block, count);
}

bool pool_blocks_are_data(const struct pool *pool, uint64_t block, uint64_t count)
{
    return block < pool->blocks && count <= pool->blocks - block &&
           !bits_any(pool->verified, block, count) && !bits_any(pool->fixed, block, count);
}

bool pool_blocks_claim(struct pool *pool, uint64_t block, uint64_t count)
{
    if (!blocks_have_bits(pool, block, count))
        return false;
    bits_set(pool->data, block, count);
    return pool_blocks_are_data(pool, block, count);
}

bool pool_blocks_are_unused(const struct pool *pool, uint64_t block, uint64_t count)
{
    return pool_blocks_are_data(pool, block, count) && !bits_any(pool->data, block, count);
}
