/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mapping of a pool, and the host's ranges below it.
 *
 * Why mmap and not pmem_map_file(): the base may not move when the pool grows and has to lie on
 * 2 MiB, so the mapping must go to the start of address space that is reserved before; libpmem
 * chooses the address itself. It also opens the path anew, which may be another file by then, and has
 * no private mappings. What libpmem asks the kernel about the medium (MAP_SYNC) is asked here.
 *
 * Host ranges: a bit for each 2 MiB says that the host has all of it. Bits are set only after
 * fallocate, and cleared before a range is given back, both under the mutex; so a set bit read
 * without it is true for every range that the reader owns.
 */
#include "media/pool_private.h"

#include "base/log.h"
#include "base/message.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define FULL_WARN_SECONDS 60

/* ---- the mapping ---------------------------------------------------------------------------- */

/* Address space kept for growth, by what is to be had: limits and sanitizers may forbid much. */
static const uint64_t growth_sizes[] = { 1ull << 40, 64ull << 30, 4ull << 30, 256ull << 20, 0 };

static int room_reserve(struct pool_host *host, uint64_t size)
{
    for (size_t i = 0; i < sizeof(growth_sizes) / sizeof(growth_sizes[0]); i++) {
        uint64_t room = (size + growth_sizes[i] + DXF_PIECE_SIZE - 1) & ~(DXF_PIECE_SIZE - 1ull);
        uint64_t ask = room + DXF_PIECE_SIZE, head;
        uint8_t *start;

        start = mmap(NULL, ask, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (start == MAP_FAILED)
            continue;
        head = -(uintptr_t)start & (DXF_PIECE_SIZE - 1);
        if (head > 0)
            munmap(start, head);
        if (head < DXF_PIECE_SIZE)
            munmap(start + head + room, DXF_PIECE_SIZE - head);
        host->room = start + head;
        host->room_size = room;
        return 0;
    }
    return -ENOMEM;
}

/* Maps [offset, offset + length) of the file to its place in the room. */
static int room_fill(struct pool *pool, uint64_t offset, uint64_t length, bool sync)
{
    uint8_t *to = pool->host->room + offset;
    int flags = MAP_FIXED;
    void *got;

    if (pool->host->private_view)
        flags |= MAP_PRIVATE | MAP_NORESERVE;
    else if (sync)
        flags |= MAP_SHARED_VALIDATE | MAP_SYNC;
    else
        flags |= MAP_SHARED;
    got = mmap(to, length, PROT_READ | PROT_WRITE, flags, pool->fd, (off_t)offset);
    if (got == MAP_FAILED)
        return -errno;
    /* Neither may fail the open: they only help. */
    madvise(to, length, MADV_HUGEPAGE);
    madvise(to, length, MADV_DONTDUMP);
    return 0;
}

int pool_map(struct pool *pool, bool private_view, char **ret_message)
{
    struct pool_host *host = pool->host;
    int error;

    host->private_view = private_view;
    error = room_reserve(host, pool->size);
    if (error < 0)
        return message_set(ret_message, error,
                           "%s needs more address space than there is; raise the limit (ulimit -v)",
                           pool->path);

    /* Only a file system on pmem, mounted with DAX, agrees to MAP_SYNC. */
    error = -EOPNOTSUPP;
    if (!private_view) {
        error = room_fill(pool, 0, pool->size, true);
        host->sync = error == 0;
    }
    if (error < 0)
        error = room_fill(pool, 0, pool->size, false);
    if (error < 0) {
        pool_unmap(pool);
        return message_set(ret_message, error, "%s cannot be mapped: %s", pool->path,
                           strerror(-error));
    }
    pool->base = host->room;
    return 0;
}

void pool_unmap(struct pool *pool)
{
    struct pool_host *host = pool->host;

    if (host->room != NULL)
        munmap(host->room, host->room_size);
    host->room = NULL;
    pool->base = NULL;
}

static void piece_unreserve(struct pool_host *host, uint64_t piece)
{
    atomic_fetch_and(&host->reserved[piece / 8], (uint8_t) ~(1u << (piece % 8)));
}

int pool_map_grown(struct pool *pool, uint64_t new_size)
{
    struct pool_host *host = pool->host;
    int error;

    if (new_size % DXF_BLOCK_SIZE != 0)
        return -EINVAL;
    if (new_size < pool->size) /* an earlier growth has come so far, and no further */
        return 0;
    if (new_size > host->room_size)
        return -ENOMEM;
    if (host->room == NULL || new_size == pool->size)
        goto out;

    error = room_fill(pool, pool->size, new_size - pool->size, host->sync);
    if (error < 0)
        return error;
out:
    pthread_mutex_lock(&host->mutex);
    /* The host was asked for no more than what the pool had, also of the piece it ended in. */
    for (uint64_t piece = pool->size / DXF_PIECE_SIZE; piece * DXF_PIECE_SIZE < new_size; piece++)
        piece_unreserve(host, piece);
    /* The mapping is there; each of these is a release of it. */
    pool->persist->size = new_size;
    pool->size = new_size;
    pool->blocks = new_size / DXF_BLOCK_SIZE;
    pthread_mutex_unlock(&host->mutex);
    return 0;
}

/* ---- bitmaps over the room ------------------------------------------------------------------ */

/* Zeros, of which only what is used costs memory. */
void *pool_map_bitmap(uint64_t bits, uint64_t *ret_bytes)
{
    uint64_t bytes = ((bits + 7) / 8 + 4095) & ~4095ull;
    void *got;

    got = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
               0);
    if (got == MAP_FAILED)
        return NULL;
    *ret_bytes = bytes;
    return got;
}

static uint64_t reserved_bytes(const struct pool_host *host)
{
    return host->room_size / DXF_PIECE_SIZE / 8 + 1;
}

int pool_host_init(struct pool *pool)
{
    struct pool_host *host = pool->host;

    if (host->room == NULL)
        host->room_size = pool->size;
    pool->verified = pool_map_bitmap(host->room_size / DXF_BLOCK_SIZE, &host->bits_size);
    pool->fixed = pool_map_bitmap(host->room_size / DXF_BLOCK_SIZE, &host->bits_size);
    pool->data = pool_map_bitmap(host->room_size / DXF_BLOCK_SIZE, &host->bits_size);
    if (pool->verified == NULL || pool->fixed == NULL || pool->data == NULL)
        return -ENOMEM;
    host->reserved = calloc(1, reserved_bytes(host));
    if (host->reserved == NULL)
        return -ENOMEM;
    return 0;
}

static void bitmap_unmap(_Atomic uint64_t **bits, size_t size)
{
    if (*bits != NULL)
        munmap((void *)*bits, size);
    *bits = NULL;
}

void pool_host_destroy(struct pool *pool)
{
    bitmap_unmap(&pool->verified, pool->host->bits_size);
    bitmap_unmap(&pool->fixed, pool->host->bits_size);
    bitmap_unmap(&pool->data, pool->host->bits_size);
    free((void *)pool->host->reserved);
    pool->host->reserved = NULL;
}

/* ---- what the host has room for --------------------------------------------------------------- */

static bool piece_is_reserved(const struct pool_host *host, uint64_t piece)
{
    return atomic_load_explicit(&host->reserved[piece / 8], memory_order_acquire) &
           (1u << (piece % 8));
}

static int host_fallocate(struct pool *pool, int mode, uint64_t offset, uint64_t length)
{
    while (fallocate(pool->fd, mode, (off_t)offset, (off_t)length) != 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* Under the mutex. Pieces [first, end) lack their bit. The whole pieces, so that the next request has
 * only a bit to look at; on a host that is nearly full, just what is wanted. */
static int reserve_pieces(struct pool *pool, uint64_t first, uint64_t end, uint64_t offset,
                          uint64_t length)
{
    struct pool_host *host = pool->host;
    uint64_t start = first * DXF_PIECE_SIZE, stop = end * DXF_PIECE_SIZE;
    int error;

    if (stop > pool->size)
        stop = pool->size;
    error = host_fallocate(pool, FALLOC_FL_KEEP_SIZE, start, stop - start);
    if (error == -ENOSPC || error == -EDQUOT) {
        if (start < offset)
            start = offset & ~(uint64_t)(DXF_BLOCK_SIZE - 1);
        if (stop > offset + length)
            stop = offset + length;
        return host_fallocate(pool, FALLOC_FL_KEEP_SIZE, start, stop - start);
    }
    if (error == -EOPNOTSUPP) {
        /* Then a full host shows as bad pages, which the guard catches. */
        if (!host->warned)
            log_warn("%s: the host's file system cannot reserve space for a sparse pool",
                     pool->path);
        host->warned = true;
        error = 0;
    }
    if (error < 0)
        return error;
    for (uint64_t piece = first; piece < end; piece++)
        atomic_fetch_or_explicit(&host->reserved[piece / 8], (uint8_t)(1u << (piece % 8)),
                                 memory_order_release);
    return 0;
}

/* Under the mutex. Who writes gets ENOSPC although the pool has room: says why, now and then. */
static void warn_host_full(struct pool *pool, int error)
{
    struct pool_host *host = pool->host;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (host->full_warned != 0 && now.tv_sec - host->full_warned < FULL_WARN_SECONDS)
        return;
    host->full_warned = now.tv_sec;
    log_warn("%s: sparse, and its host's file system has no room for more of it (%s); make room "
             "there, or delete files in the pool and run fstrim on the mount",
             pool->path, strerror(-error));
}

int pool_reserve(struct pool *pool, uint64_t offset, uint64_t length)
{
    struct pool_host *host = pool->host;
    uint64_t piece, end;
    int error = 0;

    if (!atomic_load_explicit(&pool->sparse, memory_order_acquire) || length == 0)
        return 0;
    assert(offset <= pool->size && length <= pool->size - offset);

    piece = offset / DXF_PIECE_SIZE;
    end = (offset + length - 1) / DXF_PIECE_SIZE + 1;
    while (piece < end && piece_is_reserved(host, piece))
        piece++;
    if (piece == end || host->private_view || pool->fd < 0)
        return 0;

    pthread_mutex_lock(&host->mutex);
    while (piece < end && error == 0) {
        uint64_t first = piece;

        while (piece < end && !piece_is_reserved(host, piece))
            piece++;
        if (first < piece)
            error = reserve_pieces(pool, first, piece, offset, length);
        else
            piece++;
    }
    if (error == -EDQUOT || error == -EFBIG || error == -ENOSPC) {
        warn_host_full(pool, error);
        error = -ENOSPC;
    }
    pthread_mutex_unlock(&host->mutex);
    return error;
}

int pool_discard(struct pool *pool, uint64_t offset, uint64_t length)
{
    struct pool_host *host = pool->host;
    uint64_t last;
    int error;

    if (pool->read_only)
        return -EROFS;
    if (pool->fd < 0 || host->private_view)
        return -EOPNOTSUPP;
    if (length == 0)
        return 0;
    assert(offset <= pool->size && length <= pool->size - offset);

    pthread_mutex_lock(&host->mutex);
    if (!atomic_load(&pool->sparse)) {
        for (uint64_t i = 0; i < reserved_bytes(host); i++)
            atomic_store_explicit(&host->reserved[i], 0xff, memory_order_relaxed);
    }
    last = (offset + length - 1) / DXF_PIECE_SIZE;
    for (uint64_t piece = offset / DXF_PIECE_SIZE; piece <= last; piece++)
        piece_unreserve(host, piece);
    atomic_store(&pool->sparse, true);
    error = host_fallocate(pool, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    pthread_mutex_unlock(&host->mutex);

    if (error < 0 && error != -EOPNOTSUPP)
        error = -EIO;
    return error;
}
