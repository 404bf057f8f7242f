/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making the pool larger while it is served: the file first, then the mapping, then the bitmap and
 * the superblock (space/grow.c). A crash on the way leaves a file that is longer than its pool.
 */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A device has the size it has; a file is made longer, and given its blocks unless it is sparse. */
static int extend_file(struct pool *pool, uint64_t old_size, uint64_t new_size)
{
    struct stat st;

    if (fstat(pool->fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode)) {
        off_t end = lseek(pool->fd, 0, SEEK_END);

        return end >= 0 && (uint64_t)end < new_size ? -ENOSPC : 0;
    }
    if ((uint64_t)st.st_size < new_size && ftruncate(pool->fd, (off_t)new_size) < 0)
        return errno == EFBIG ? -ENOSPC : -errno;
    if (!atomic_load(&pool->sparse) &&
        fallocate(pool->fd, 0, (off_t)old_size, (off_t)(new_size - old_size)) < 0) {
        if (errno != EOPNOTSUPP)
            return -errno;
        atomic_store(&pool->sparse, true);
    }
    return 0;
}

int fs_grow(struct fs *fs, uint64_t new_size)
{
    struct pool *pool = fs->pool;
    uint64_t old_size;
    int r;

    r = fs_may_change(fs);
    if (r < 0)
        return r;
    if (pool->fd < 0 || new_size % DXF_BLOCK_SIZE != 0 || new_size > DXF_POOL_SIZE_MAX)
        return -EINVAL;
    pthread_mutex_lock(&fs->grow_mutex);
    old_size = le64_get(pool->super.pool_blocks) << DXF_BLOCK_SHIFT;
    r = new_size > old_size ? extend_file(pool, old_size, new_size) : -EINVAL;
    if (r == 0)
        r = pool_map_grown(pool, new_size);
    if (r == 0)
        r = space_grow(fs->space, new_size >> DXF_BLOCK_SHIFT);
    pthread_mutex_unlock(&fs->grow_mutex);
    return r;
}
