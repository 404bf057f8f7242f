/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The superblock and its spare: choosing one at open, writing both.
 *
 * The primary counts; the spare only serves when the primary is not valid. They differ after a crash
 * between the two writes, and are made equal at the next writable open. Of the two at most one is
 * being written at any moment, and only when the other is valid or neither was, so that a crash always
 * leaves a valid one where there was one.
 */
#include "media/pool_private.h"

#include "base/endian.h"
#include "base/log.h"
#include "base/message.h"
#include "media/validate.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPARE_OFFSET ((uint64_t)DXF_SPARE_BLOCK * DXF_BLOCK_SIZE)

bool pool_super_is_ours(const struct dxf_super *super)
{
    return memcmp(super->magic, DXF_MAGIC, sizeof(super->magic)) == 0;
}

/* The magic, the version field's meaning and the checksum are the same in every version. */
static bool super_is_other_version(const struct dxf_super *super)
{
    struct dxf_super copy = *super;

    if (!pool_super_is_ours(super) || le32_get(super->version) == DXF_VERSION)
        return false;
    seal_super(&copy);
    return le32_get(copy.csum) == le32_get(super->csum);
}

static int super_refuse(struct pool *pool, const struct dxf_super *primary,
                        const struct dxf_super *spare, uint64_t file_size, char **ret_message)
{
    bool primary_ours = pool_super_is_ours(primary), spare_ours = pool_super_is_ours(spare);
    const struct dxf_super *ours = primary_ours ? primary : spare;

    if (!primary_ours && !spare_ours) {
        if (file_size < DXF_POOL_SIZE_MIN)
            return message_set(ret_message, -EINVAL,
                               "%s is too short to be a daxfuse pool (%" PRIu64
                               " bytes); make one with mkfs.daxfuse -s SIZE",
                               pool->path, file_size);
        return message_set(ret_message, -EINVAL,
                           "%s is not a daxfuse pool; check the name, or make one with "
                           "mkfs.daxfuse",
                           pool->path);
    }
    return message_set(ret_message, -EUCLEAN,
                       "%s: both superblocks are damaged (%s); restore the pool from a copy: "
                       "fsck.daxfuse cannot work without a superblock",
                       pool->path, validate_super(ours));
}

static int super_check_features(struct pool *pool, bool writable, char **ret_message)
{
    uint64_t incompat = le64_get(pool->super.incompat) & ~DXF_INCOMPAT_SUPPORTED;
    uint64_t ro_compat = le64_get(pool->super.ro_compat) & ~DXF_RO_COMPAT_SUPPORTED;

    if (incompat != 0)
        return message_set(ret_message, -ENOTSUP,
                           "%s uses features that this daxfuse does not know (incompat 0x%" PRIx64
                           "); use a newer daxfuse",
                           pool->path, incompat);
    if (ro_compat != 0 && writable)
        return message_set(ret_message, -ENOTSUP,
                           "%s uses features with which this daxfuse can only read (ro_compat "
                           "0x%" PRIx64 "); mount it with -o ro or use a newer daxfuse",
                           pool->path, ro_compat);
    return 0;
}

int pool_super_choose(struct pool *pool, const struct dxf_super *primary,
                      const struct dxf_super *spare, uint64_t file_size, bool writable,
                      char **ret_message)
{
    const char *wrong = validate_super(primary);
    uint64_t need;
    int error;

    /* Its checksum is right: this is no damaged one of ours, whatever the spare says. */
    if (super_is_other_version(primary) || (wrong != NULL && super_is_other_version(spare))) {
        const struct dxf_super *other = super_is_other_version(primary) ? primary : spare;

        return message_set(ret_message, -ENOTSUP,
                           "%s has format version %" PRIu32 ", this daxfuse knows version %u; "
                           "use a newer daxfuse",
                           pool->path, le32_get(other->version), DXF_VERSION);
    }

    if (wrong == NULL) {
        pool->super = *primary;
    } else if (validate_super(spare) == NULL) {
        log_warn("%s: the superblock is damaged (%s); its spare serves", pool->path, wrong);
        pool->super = *spare;
        pool->used_spare = true;
    } else {
        return super_refuse(pool, primary, spare, file_size, ret_message);
    }

    error = super_check_features(pool, writable, ret_message);
    if (error < 0)
        return error;

    need = le64_get(pool->super.pool_blocks) * DXF_BLOCK_SIZE;
    if (file_size < need)
        return message_set(
            ret_message, -EUCLEAN,
            "%s was cut short: it has %" PRIu64 " bytes, the pool in it %" PRIu64
            "; restore it from a copy, or make it as long again (truncate -s %" PRIu64
            ") and run fsck.daxfuse, which finds what is lost",
            pool->path, file_size, need, need);
    return 0;
}

static int read_whole(int fd, void *to, size_t length, uint64_t offset)
{
    uint8_t *bytes = to;

    while (length > 0) {
        ssize_t got = pread(fd, bytes, length, (off_t)offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? -EIO : -errno;
        bytes += got;
        length -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

/* Read with system calls: a mapping of a bad page would be a signal. A copy that can not be read is
 * as one that is not there. */
int pool_super_read(struct pool *pool, uint64_t file_size, bool writable, char **ret_message)
{
    struct dxf_super *copies;
    int error;

    if (file_size == 0)
        return message_set(ret_message, -EINVAL,
                           "%s is empty; make a pool in it with mkfs.daxfuse -s SIZE", pool->path);
    copies = calloc(2, sizeof(*copies));
    if (copies == NULL)
        return message_set(ret_message, -ENOMEM, "%s: out of memory", pool->path);

    if (file_size >= DXF_BLOCK_SIZE) {
        error = read_whole(pool->fd, &copies[0], sizeof(copies[0]), 0);
        if (error < 0)
            log_warn("%s: the superblock cannot be read: %s", pool->path, strerror(-error));
    }
    if (file_size >= SPARE_OFFSET + DXF_BLOCK_SIZE) {
        error = read_whole(pool->fd, &copies[1], sizeof(copies[1]), SPARE_OFFSET);
        if (error < 0)
            log_warn("%s: the spare superblock cannot be read: %s", pool->path, strerror(-error));
    }
    error = pool_super_choose(pool, &copies[0], &copies[1], file_size, writable, ret_message);
    free(copies);
    return error;
}

/* Under the mutex. */
static int super_write_locked(struct pool *pool)
{
    uint64_t order[2] = { 0, SPARE_OFFSET };

    if (pool->read_only)
        return -EROFS;
    seal_super(&pool->super);

    /* The primary first: then a crash inside leaves the spare, and one between has the change already.
     * But a primary without a valid spare is not touched before there is one. */
    if (validate_super(pool_at(pool, SPARE_OFFSET)) != NULL) {
        order[0] = SPARE_OFFSET;
        order[1] = 0;
    }
    for (int i = 0; i < 2; i++) {
        int error;

        persist_copy(pool->persist, pool_at(pool, order[i]), &pool->super, sizeof(pool->super),
                     PERSIST_METADATA);
        error = persist_drain(pool->persist);
        if (error < 0)
            return error;
    }
    return 0;
}

int pool_write_super(struct pool *pool)
{
    int result;

    pthread_mutex_lock(&pool->host->mutex);
    result = super_write_locked(pool);
    pthread_mutex_unlock(&pool->host->mutex);
    return result;
}

int pool_write_grown(struct pool *pool, uint64_t blocks, uint64_t bitmap_start,
                     uint64_t bitmap_blocks)
{
    int result;

    pthread_mutex_lock(&pool->host->mutex);
    pool->super.pool_blocks = le64_make(blocks);
    pool->super.bitmap_start = le64_make(bitmap_start);
    pool->super.bitmap_blocks = le64_make(bitmap_blocks);
    result = super_write_locked(pool);
    pthread_mutex_unlock(&pool->host->mutex);
    return result;
}

void pool_super_repair(struct pool *pool)
{
    bool primary = memcmp(pool_at(pool, 0), &pool->super, sizeof(pool->super)) == 0;
    bool spare = memcmp(pool_at(pool, SPARE_OFFSET), &pool->super, sizeof(pool->super)) == 0;

    if (primary && spare)
        return;
    if (pool_write_super(pool) < 0)
        log_warn("%s: the %s cannot be rewritten", pool->path,
                 primary ? "spare superblock" : "superblock");
    else
        log_warn("%s: the %s was rewritten from the other copy", pool->path,
                 primary ? "spare superblock" : "superblock");
}

void pool_fail(struct pool *pool, const char *reason)
{
    if (atomic_exchange(&pool->failed, true))
        return;
    log_error("%s: %s; no more changes are made to it: unmount it and run fsck.daxfuse", pool->path,
              reason);
    if (pool->read_only)
        return;

    pthread_mutex_lock(&pool->host->mutex);
    if (validate_super(&pool->super) == NULL) {
        pool->super.flags = le32_make(le32_get(pool->super.flags) | DXF_SUPER_NEEDS_FSCK);
        pool->super.error_count = le32_make(le32_get(pool->super.error_count) + 1);
        if (super_write_locked(pool) < 0)
            log_error("%s: that it needs a check cannot be noted in it", pool->path);
    }
    pthread_mutex_unlock(&pool->host->mutex);
}

int pool_drain(struct pool *pool)
{
    int r = persist_drain(pool->persist);

    if (r < 0)
        pool_fail(pool, "flushing data failed");
    return r;
}
