/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making the file of a new pool.
 *
 * Nothing that may be somebody's data is overwritten unless force says so; a file that was made here
 * goes away again when something fails. The descriptor carries the lock from before the first change.
 */
#include "media/pool_private.h"

#include "base/endian.h"
#include "media/validate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOOK_AT_BYTES (64u << 10)

static int check_size(const struct pool *pool, uint64_t size, char **ret_message)
{
    if (size == 0)
        return pool_message(ret_message, -EINVAL,
                            "%s has no size yet; say how large the pool shall be (-s SIZE)",
                            pool->path);
    if (size < DXF_POOL_SIZE_MIN || size > DXF_POOL_SIZE_MAX)
        return pool_message(ret_message, -EINVAL,
                            "%s: a pool of %" PRIu64
                            " bytes is too %s; choose from 8 MiB to 64 TiB "
                            "(-s SIZE)",
                            pool->path, size, size < DXF_POOL_SIZE_MIN ? "small" : "large");
    if (size % DXF_BLOCK_SIZE != 0)
        return pool_message(ret_message, -EINVAL,
                            "%s: %" PRIu64 " bytes is not a multiple of 4096; choose another size "
                            "(-s SIZE)",
                            pool->path, size);
    return 0;
}

/* Reads up to LENGTH bytes; what is not there or can not be read is zero. */
static void peek(int fd, void *to, size_t length, uint64_t offset)
{
    memset(to, 0, length);
    while (pread(fd, to, length, (off_t)offset) < 0 && errno == EINTR)
        continue;
}

/* *ret_used: there is something that is not zero. */
static int check_content(const struct pool *pool, bool force, bool *ret_used, char **ret_message)
{
    const uint64_t spare = (uint64_t)DXF_SPARE_BLOCK * DXF_BLOCK_SIZE;
    uint8_t *bytes = malloc(LOOK_AT_BYTES + DXF_BLOCK_SIZE);
    bool is_pool, used = false;

    if (bytes == NULL)
        return pool_message(ret_message, -ENOMEM, "%s: out of memory", pool->path);
    peek(pool->fd, bytes, LOOK_AT_BYTES, 0);
    peek(pool->fd, bytes + LOOK_AT_BYTES, DXF_BLOCK_SIZE, spare);
    is_pool = pool_super_is_ours((const struct dxf_super *)bytes) ||
              pool_super_is_ours((const struct dxf_super *)(bytes + LOOK_AT_BYTES));
    for (size_t i = 0; i < LOOK_AT_BYTES + DXF_BLOCK_SIZE && !used; i++)
        used = bytes[i] != 0;
    free(bytes);

    if (used && !force)
        return pool_message(ret_message, -EEXIST,
                            "%s holds %s; name another file, or say --force to overwrite it",
                            pool->path, is_pool ? "a daxfuse pool" : "other data");
    *ret_used = used;
    return 0;
}

static int message_no_space(const struct pool *pool, uint64_t size, char **ret_message)
{
    struct statvfs fs;
    uint64_t available = 0;

    if (fstatvfs(pool->fd, &fs) == 0)
        available = (uint64_t)fs.f_bavail * fs.f_frsize;
    return pool_message(ret_message, -ENOSPC,
                        "%s needs %" PRIu64 " bytes, its file system has %" PRIu64
                        " left; make room, choose a smaller pool (-s SIZE), or --sparse",
                        pool->path, size, available);
}

static int preallocate(const struct pool *pool, uint64_t size, char **ret_message)
{
    struct statvfs fs;
    struct stat st;
    int error;

    /* Asked first, as filling a file system to the brim and failing then is rude to others. */
    if (fstatvfs(pool->fd, &fs) == 0 && fstat(pool->fd, &st) == 0 &&
        size > (uint64_t)fs.f_bavail * fs.f_frsize + (uint64_t)st.st_blocks * 512)
        return message_no_space(pool, size, ret_message);

    do {
        error = posix_fallocate(pool->fd, 0, (off_t)size);
    } while (error == EINTR);
    if (error == ENOSPC || error == EDQUOT)
        return message_no_space(pool, size, ret_message);
    if (error != 0)
        return pool_message(ret_message, -error, "%s cannot be preallocated: %s; try --sparse",
                            pool->path, strerror(error));
    return 0;
}

/* The file's size and its name are durable before anything in it is. */
static int sync_file(const struct pool *pool, char **ret_message)
{
    char *copy = strdup(pool->path);
    int dir = -1, error = 0;

    if (copy == NULL)
        return pool_message(ret_message, -ENOMEM, "%s: out of memory", pool->path);
    if (fsync(pool->fd) != 0)
        error = -errno;
    dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (error == 0 && dir >= 0 && fsync(dir) != 0 && errno != EINVAL)
        error = -errno;
    if (dir >= 0)
        close(dir);
    free(copy);
    if (error < 0)
        return pool_message(ret_message, error, "%s cannot be made durable: %s", pool->path,
                            strerror(-error));
    return 0;
}

static int shape_file(struct pool *pool, const struct pool_create_options *options, uint64_t size,
                      bool used, char **ret_message)
{
    int error;

    if (pool->is_device)
        return 0;
    if ((used && ftruncate(pool->fd, 0) != 0) || ftruncate(pool->fd, (off_t)size) != 0)
        return pool_message(ret_message, -errno,
                            "%s cannot have %" PRIu64 " bytes: %s; choose "
                            "another size (-s SIZE) or file system",
                            pool->path, size, strerror(errno));
    if (!options->sparse) {
        error = preallocate(pool, size, ret_message);
        if (error < 0)
            return error;
    }
    return sync_file(pool, ret_message);
}

/* Without both superblocks nobody takes a half-made pool for the one that was there. */
static int clear_supers(struct pool *pool, char **ret_message)
{
    static const uint64_t blocks[] = { DXF_SUPER_BLOCK, DXF_SPARE_BLOCK };
    int error;

    for (int i = 0; i < 2; i++) {
        error = pool_reserve(pool, blocks[i] * DXF_BLOCK_SIZE, DXF_BLOCK_SIZE);
        if (error < 0)
            return message_no_space(pool, DXF_PIECE_SIZE, ret_message);
        persist_set(pool->persist, pool_block(pool, blocks[i]), 0, DXF_BLOCK_SIZE,
                    PERSIST_METADATA);
    }
    error = persist_drain(pool->persist);
    if (error < 0)
        return pool_message(ret_message, error, "%s cannot be written: %s", pool->path,
                            strerror(-error));
    return 0;
}

/* Everything after the file is open. */
static int create_in(struct pool *pool, const struct pool_create_options *options,
                     uint64_t file_size, char **ret_message)
{
    const struct pool_options open_options = { 0 };
    uint64_t size = options->size != 0 ? options->size : file_size & ~(DXF_BLOCK_SIZE - 1ull);
    bool used = false;
    int error;

    error = check_size(pool, size, ret_message);
    if (error < 0)
        return error;
    if (pool->is_device && size > file_size)
        return pool_message(ret_message, -EINVAL,
                            "%s has %" PRIu64 " bytes, fewer than the %" PRIu64
                            " asked for; choose a smaller pool (-s SIZE)",
                            pool->path, file_size, size);
    error = check_content(pool, options->force, &used, ret_message);
    if (error < 0)
        return error;
    error = shape_file(pool, options, size, used, ret_message);
    if (error < 0)
        return error;
    error = pool_start(pool, &open_options, size, ret_message);
    if (error < 0)
        return error;
    atomic_store(&pool->sparse, options->sparse && !pool->is_device);
    return clear_supers(pool, ret_message);
}

int pool_create(const char *path, const struct pool_create_options *options, struct pool **ret_pool,
                char **ret_message)
{
    bool made = access(path, F_OK) != 0 && errno == ENOENT;
    struct pool *pool;
    struct stat st;
    uint64_t size;
    int error;

    error = pool_new(path, &pool);
    if (error < 0)
        return pool_message(ret_message, error, "%s: out of memory", path);

    /* Before the file is there: a size that can not be must leave nothing behind. */
    if (made || options->size != 0)
        error = check_size(pool, options->size, ret_message);
    if (error == 0) {
        error =
            pool_open_file(pool, O_RDWR | O_CREAT | (made ? O_EXCL : 0), &st, &size, ret_message);
        if (pool->fd < 0)
            made = false;
    } else {
        made = false;
    }
    if (error == 0)
        error = pool_lock_take(pool->fd, path, true, ret_message);
    if (error == 0 && !pool->is_device && fstat(pool->fd, &st) == 0)
        size = (uint64_t)st.st_size;
    if (error == 0)
        error = create_in(pool, options, size, ret_message);
    if (error < 0) {
        if (made)
            unlink(path);
        pool_close(pool);
        return error;
    }
    *ret_pool = pool;
    return 0;
}
