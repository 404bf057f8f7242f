/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filesystem as a whole: opening with recovery, closing, syncing, numbers, growing, trimming.
 *
 *   open   journal_replay -> journal_open -> space_open -> meta_open -> recovery_run
 *   close  the reverse; what waits to be deleted is deleted before
 */
#include "fs/internal.h"

#include "fs/mapped.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_layers(struct fs *fs, struct fs_recovered *recovered)
{
    struct journal_replayed replayed = { 0 };
    int r;

    r = journal_replay(fs->pool, &replayed);
    if (r < 0)
        return r;
    recovered->entries = replayed.entries;
    r = journal_open(fs->pool, &fs->journal);
    if (r < 0)
        return r;
    r = space_open(fs->pool, fs->journal, &fs->space);
    if (r < 0)
        return r;
    return meta_open(fs->pool, fs->journal, fs->space, &fs->meta);
}

static void close_layers(struct fs *fs)
{
    if (fs->meta)
        meta_close(fs->meta);
    if (fs->space)
        space_close(fs->space);
    if (fs->journal)
        journal_close(fs->journal);
}

int fs_open(struct pool *pool, const struct fs_options *options, struct fs **ret_fs,
            struct fs_recovered *ret_recovered)
{
    struct fs_recovered recovered = { 0 };
    struct fs *fs = calloc(1, sizeof(*fs));
    int r;

    if (!fs)
        return -ENOMEM;
    fs->pool = pool;
    fs->read_only = options->read_only;
    fs->noatime = options->noatime;
    if (le32_get(pool->super.flags) & DXF_SUPER_NEEDS_FSCK) {
        log_warn("%s: damage was met earlier: read-only until fsck.daxfuse has run", pool->path);
        fs->read_only = true;
    }
    pthread_mutex_init(&fs->grow_mutex, NULL);
    rwlock_init(&fs->rename_lock, LOCK_RENAME, 0);
    lock_init(&fs->handles_lock, LOCK_LEAF, 0);
    lock_init(&fs->stale_lock, LOCK_LEAF, 0);
    lock_init(&fs->locks.lock, LOCK_LEAF, 0);
    fs->handles.next = fs->handles.prev = &fs->handles;
    dax_registry_init(&fs->dax, mapping_ends, fs);
    r = cache_open(fs);
    if (r < 0)
        goto free;
    r = open_layers(fs, &recovered);
    if (r < 0)
        goto close;
    if (!fs->read_only) {
        r = recovery_run(fs, &recovered);
        if (r < 0)
            goto close;
    }
    reaper_init(fs);
    settler_init(fs);
    r = options->idle ? 0 : fs_threads_start(fs);
    if (r < 0) {
        settler_stop(fs);
        reaper_stop(fs);
        goto close;
    }
    *ret_fs = fs;
    if (ret_recovered)
        *ret_recovered = recovered;
    return 0;

close:
    close_layers(fs);
    cache_close(fs);
free:
    free(fs);
    return r;
}

int fs_threads_start(struct fs *fs)
{
    int r = reaper_start(fs);

    return r < 0 ? r : settler_start(fs);
}

void fs_close(struct fs *fs)
{
    while (fs->handles.next != &fs->handles)
        fs_release(fs, fs->handles.next);
    assert(!fs->locks.files.root);
    settler_stop(fs);
    stale_close(fs);
    dax_registry_destroy(&fs->dax);
    cache_forget_all(fs);
    reaper_stop(fs);
    close_layers(fs);
    cache_close(fs);
    free(fs);
}

struct pool *fs_pool(struct fs *fs)
{
    return fs->pool;
}

struct space *fs_space(struct fs *fs)
{
    return fs->space;
}

struct journal *fs_journal(struct fs *fs)
{
    return fs->journal;
}

struct meta *fs_meta(struct fs *fs)
{
    return fs->meta;
}

/* Of stores through mappings nobody tells which they were: all that may be stored to is flushed. A piece
 * that is unmapped and given to another file meanwhile is flushed for nothing. */
static int flush_mapped(struct fs *fs, struct inode *inode)
{
    uint64_t chunk = 0, offset;

    while ((chunk = dax_next(&fs->dax, &inode->dax, chunk, UINT64_MAX, DAX_WRITERS, &offset)) !=
           UINT64_MAX) {
        mapping_flush(fs, offset);
        chunk++;
    }
    mapping_touch(fs, inode);
    return pool_drain(fs->pool);
}

/* Every call that changed something fenced it before it returned; so what is left are stores through
 * mappings, and to report a medium that failed. */
int fs_fsync(struct fs *fs, const struct fs_request *rq, uint64_t ino, bool data_only)
{
    struct inode *inode;
    int r;

    (void)rq;
    (void)data_only;
    r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    if (atomic_load_explicit(&inode->dax.writers, memory_order_relaxed) > 0)
        r = flush_mapped(fs, inode);
    inode_put(fs, inode);
    return r == 0 && atomic_load(&fs->pool->failed) ? -EIO : r;
}

/* As flush_mapped, of all files; their times may come later. */
static int flush_all_mapped(struct fs *fs)
{
    struct fs_mapping *list;
    size_t count, written = 0;
    int r;

    r = fs_mappings(fs, &list, &count);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        if (list[i].write) {
            mapping_flush(fs, list[i].pool_offset);
            written++;
        }
    free(list);
    return written ? pool_drain(fs->pool) : 0;
}

/* Of all files that are stored to through mappings, once each. */
static void touch_all_mapped(struct fs *fs)
{
    struct fs_mapping *list;
    size_t count, before;

    if (fs_mappings(fs, &list, &count) < 0)
        return; /* their times stay older */
    for (size_t i = 0; i < count; i++) {
        struct inode *inode;

        for (before = 0; before < i && (!list[before].write || list[before].ino != list[i].ino);)
            before++;
        if (!list[i].write || before < i || inode_get(fs, list[i].ino, &inode) < 0)
            continue;
        mapping_touch(fs, inode);
        inode_put(fs, inode);
    }
    free(list);
}

void fs_freeze(struct fs *fs)
{
    if (!fs->read_only) {
        (void)flush_all_mapped(fs);
        touch_all_mapped(fs);
    }
    atomic_store(&fs->frozen, true);
}

int fs_sync(struct fs *fs)
{
    int r;

    if (fs->read_only)
        return 0;
    r = flush_all_mapped(fs);
    if (r < 0)
        return r;
    reaper_drain(fs);
    if (atomic_load(&fs->pool->failed))
        return -EIO;
    return journal_retire(fs->journal);
}

void fs_statfs(struct fs *fs, struct fs_statfs *ret_statfs)
{
    struct space_info info;
    uint64_t used, more;

    space_get_info(fs->space, &info);
    inode_counts(fs->meta, &used, &more);
    *ret_statfs = (struct fs_statfs){
        .blocks = info.blocks,
        .free = info.free,
        .available = info.available,
        .inodes = used + more,
        .inodes_free = more,
    };
    memcpy(ret_statfs->uuid, fs->pool->super.uuid, sizeof(ret_statfs->uuid));
}

void fs_get_info(struct fs *fs, struct fs_info *ret_info)
{
    *ret_info = (struct fs_info){ 0 };
    lock_acquire(&fs->handles_lock);
    ret_info->handles = fs->handle_count;
    lock_release(&fs->handles_lock);
    cache_info(fs, ret_info);
}

/* ---- giving free space back to the host ----------------------------------------------------------- */

struct trimming {
    struct pool *pool;
    uint64_t blocks;
};

static int trim_run(void *arg, uint64_t start, uint64_t count)
{
    struct trimming *trimming = arg;
    int r = pool_discard(trimming->pool, start << DXF_BLOCK_SHIFT, count << DXF_BLOCK_SHIFT);

    if (r == 0)
        trimming->blocks += count;
    return r;
}

int fs_trim(struct fs *fs, uint64_t offset, uint64_t length, uint64_t minimum, uint64_t *ret_bytes)
{
    struct trimming trimming = { .pool = fs->pool };
    uint64_t first = offset >> DXF_BLOCK_SHIFT, count = length >> DXF_BLOCK_SHIFT;
    int r;

    r = fs_may_change(fs);
    if (r < 0)
        return r;
    if (first >= fs->pool->blocks)
        return -EINVAL;
    if (count > fs->pool->blocks - first)
        count = fs->pool->blocks - first;
    r = space_trim(fs->space, first, count, minimum >> DXF_BLOCK_SHIFT, trim_run, &trimming);
    if (r == 0)
        *ret_bytes = trimming.blocks << DXF_BLOCK_SHIFT;
    return r;
}
