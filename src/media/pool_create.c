/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making the file of a new pool.
 *
 * Nothing that may be somebody's data is overwritten unless force says so; a file that was made here
 * goes away again when something fails. The descriptor carries the lock from before the first change.
 */
#include "media/pool_private.h"

#include "base/endian.h"
#include "base/message.h"
#include "media/validate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOOK_AT_BYTES (1u << 20)

static int check_size(const struct pool *pool, uint64_t size, char **ret_message)
{
    if (size == 0)
        return message_set(ret_message, -EINVAL,
                           "%s has no size yet; say how large the pool shall be (-s SIZE)",
                           pool->path);
    if (size < DXF_POOL_SIZE_MIN || size > DXF_POOL_SIZE_MAX)
        return message_set(ret_message, -EINVAL,
                           "%s: a pool of %" PRIu64 " bytes is too %s; choose from 8 MiB to 64 TiB "
                           "(-s SIZE)",
                           pool->path, size, size < DXF_POOL_SIZE_MIN ? "small" : "large");
    if (size % DXF_BLOCK_SIZE != 0)
        return message_set(ret_message, -EINVAL,
                           "%s: %" PRIu64 " bytes is not a multiple of 4096; choose another size "
                           "(-s SIZE)",
                           pool->path, size);
    return 0;
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* 1: *at is where a byte of [*at, end) is not zero; 0: there is none; -errno of the read at *at. */
static int look_at(const struct pool *pool, uint8_t *buffer, uint64_t *at, uint64_t end)
{
    while (*at < end) {
        size_t want = end - *at < LOOK_AT_BYTES ? (size_t)(end - *at) : LOOK_AT_BYTES;
        ssize_t got = pread(pool->fd, buffer, want, (off_t)*at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return 0;
        if (!is_zero(buffer, (size_t)got)) {
            while (*buffer == 0)
                buffer++, ++*at;
            return 1;
        }
        *at += (uint64_t)got;
    }
    return 0;
}

/* All of it but its holes, which are most of a large file that is not used. */
static int look_at_file(const struct pool *pool, uint8_t *buffer, uint64_t size, uint64_t *at)
{
    int found = 0;

    while (found == 0 && *at < size) {
        off_t data = lseek(pool->fd, (off_t)*at, SEEK_DATA), hole;

        if (data < 0 && errno == ENXIO)
            return 0;
        hole = data < 0 ? -1 : lseek(pool->fd, data, SEEK_HOLE);
        if (data >= (off_t)*at && hole > data) {
            *at = (uint64_t)data;
            found = look_at(pool, buffer, at, (uint64_t)hole);
        } else { /* this file system does not say */
            return look_at(pool, buffer, at, size);
        }
    }
    return found;
}

/* What file systems, volume managers and partition tables are known by is at the start or at the end; a
 * device has no holes, and reading all of it would take hours. */
static int look_at_device(const struct pool *pool, uint8_t *buffer, uint64_t size, uint64_t *at)
{
    const uint64_t spare = (uint64_t)DXF_SPARE_BLOCK * DXF_BLOCK_SIZE;
    const uint64_t places[][2] = {
        { 0, LOOK_AT_BYTES },
        { spare, spare + DXF_BLOCK_SIZE },
        { size > LOOK_AT_BYTES ? size - LOOK_AT_BYTES : 0, size },
    };
    int found = 0;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && found == 0; i++) {
        *at = places[i][0];
        found = look_at(pool, buffer, at, places[i][1]);
    }
    return found;
}

static bool has_super(const struct pool *pool, uint8_t *buffer)
{
    static const uint64_t blocks[] = { DXF_SUPER_BLOCK, DXF_SPARE_BLOCK };

    for (int i = 0; i < 2; i++)
        if (pread(pool->fd, buffer, DXF_BLOCK_SIZE, (off_t)(blocks[i] * DXF_BLOCK_SIZE)) ==
                DXF_BLOCK_SIZE &&
            pool_super_is_ours((const struct dxf_super *)buffer))
            return true;
    return false;
}

/* Without force: nothing but zeros may be in it. */
static int check_content(const struct pool *pool, uint64_t size, char **ret_message)
{
    uint8_t *buffer = malloc(LOOK_AT_BYTES);
    uint64_t at = 0;
    int found;

    if (buffer == NULL)
        return message_set(ret_message, -ENOMEM, "%s: out of memory", pool->path);
    found = pool->is_device ? look_at_device(pool, buffer, size, &at)
                            : look_at_file(pool, buffer, size, &at);
    if (found < 0)
        found = message_set(ret_message, found,
                            "%s cannot be read at byte %" PRIu64 ", so it may hold data: %s; "
                            "name another file, or say --force to overwrite it",
                            pool->path, at, strerror(-found));
    else if (found > 0 && has_super(pool, buffer))
        found = message_set(ret_message, -EEXIST,
                            "%s holds a daxfuse pool; name another file, or say --force to "
                            "overwrite it",
                            pool->path);
    else if (found > 0)
        found = message_set(ret_message, -EEXIST,
                            "%s holds other data: byte %" PRIu64 " is not zero; name another "
                            "file, or say --force to overwrite it",
                            pool->path, at);
    free(buffer);
    return found;
}

static int message_no_space(const struct pool *pool, uint64_t size, char **ret_message)
{
    struct statvfs fs;
    uint64_t available = 0;

    if (fstatvfs(pool->fd, &fs) == 0)
        available = (uint64_t)fs.f_bavail * fs.f_frsize;
    return message_set(ret_message, -ENOSPC,
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
        return message_set(ret_message, -error, "%s cannot be preallocated: %s; try --sparse",
                           pool->path, strerror(error));
    return 0;
}

/* The file's size and its name are durable before anything in it is. */
static int sync_file(const struct pool *pool, char **ret_message)
{
    char *copy = strdup(pool->path);
    int dir = -1, error = 0;

    if (copy == NULL)
        return message_set(ret_message, -ENOMEM, "%s: out of memory", pool->path);
    if (fsync(pool->fd) != 0)
        error = -errno;
    dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (error == 0 && dir >= 0 && fsync(dir) != 0 && errno != EINVAL)
        error = -errno;
    if (dir >= 0)
        close(dir);
    free(copy);
    if (error < 0)
        return message_set(ret_message, error, "%s cannot be made durable: %s", pool->path,
                           strerror(-error));
    return 0;
}

static int shape_file(struct pool *pool, const struct pool_create_options *options, uint64_t size,
                      char **ret_message)
{
    int error;

    if (pool->is_device)
        return 0;
    /* First to the size: what was in it is lost only when that is possible. */
    if (ftruncate(pool->fd, (off_t)size) != 0 ||
        (options->force && (ftruncate(pool->fd, 0) != 0 || ftruncate(pool->fd, (off_t)size) != 0)))
        return message_set(ret_message, -errno,
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
        return message_set(ret_message, error, "%s cannot be written: %s", pool->path,
                           strerror(-error));
    return 0;
}

/* Everything after the file is open. */
static int create_in(struct pool *pool, const struct pool_create_options *options,
                     uint64_t file_size, char **ret_message)
{
    const struct pool_options open_options = { 0 };
    uint64_t size = options->size != 0 ? options->size : file_size & ~(DXF_BLOCK_SIZE - 1ull);
    int error;

    error = check_size(pool, size, ret_message);
    if (error < 0)
        return error;
    if (pool->is_device && size > file_size)
        return message_set(ret_message, -EINVAL,
                           "%s has %" PRIu64 " bytes, fewer than the %" PRIu64
                           " asked for; choose a smaller pool (-s SIZE)",
                           pool->path, file_size, size);
    if (!options->force)
        error = check_content(pool, file_size, ret_message);
    if (error < 0)
        return error;
    error = shape_file(pool, options, size, ret_message);
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
        return message_set(ret_message, error, "%s: out of memory", path);

    /* Before the file is there: a size that can not be must leave nothing behind. */
    if (made || options->size != 0)
        error = check_size(pool, options->size, ret_message);
    if (error == 0) {
        error =
            pool_open_file(pool, O_RDWR | (made ? O_CREAT | O_EXCL : 0), &st, &size, ret_message);
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
