/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/stats.h"

#include "base/clock.h"
#include <stdatomic.h>

static _Thread_local unsigned shard; /* 0: not chosen yet */
static _Atomic unsigned shard_next;

static struct door_stat_shard *shard_mine(struct door_stats *stats, enum door_kind kind)
{
    if (shard == 0)
        shard =
            atomic_fetch_add_explicit(&shard_next, 1, memory_order_relaxed) % DOOR_STAT_SHARDS + 1;
    return &stats->shards[kind][shard - 1];
}

void door_stats_count(struct door_stats *stats, enum door_kind kind, uint64_t begun, bool error)
{
    struct door_stat_shard *stat = shard_mine(stats, kind);
    uint64_t time = clock_now() - begun;

    atomic_fetch_add_explicit(&stat->count, 1, memory_order_relaxed);
    if (error)
        atomic_fetch_add_explicit(&stat->errors, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&stat->time, time, memory_order_relaxed);
    if (time > atomic_load_explicit(&stat->longest, memory_order_relaxed))
        atomic_store_explicit(&stat->longest, time, memory_order_relaxed); /* near enough */
}

void door_stats_add(struct door_stats *stats, enum door_kind kind, uint64_t count)
{
    atomic_fetch_add_explicit(&shard_mine(stats, kind)->count, count, memory_order_relaxed);
}

static const char *const kind_names[DOOR_KINDS] = {
    [DOOR_LOOKUP] = "lookup",
    [DOOR_FORGET] = "forget",
    [DOOR_GETATTR] = "getattr",
    [DOOR_SETATTR] = "setattr",
    [DOOR_STATX] = "statx",
    [DOOR_READLINK] = "readlink",
    [DOOR_MKNOD] = "mknod",
    [DOOR_MKDIR] = "mkdir",
    [DOOR_SYMLINK] = "symlink",
    [DOOR_LINK] = "link",
    [DOOR_UNLINK] = "unlink",
    [DOOR_RMDIR] = "rmdir",
    [DOOR_RENAME] = "rename",
    [DOOR_OPEN] = "open",
    [DOOR_CREATE] = "create",
    [DOOR_TMPFILE] = "tmpfile",
    [DOOR_READ] = "read",
    [DOOR_WRITE] = "write",
    [DOOR_FLUSH] = "flush",
    [DOOR_RELEASE] = "release",
    [DOOR_FSYNC] = "fsync",
    [DOOR_FALLOCATE] = "fallocate",
    [DOOR_LSEEK] = "lseek",
    [DOOR_COPY_RANGE] = "copy_file_range",
    [DOOR_GETLK] = "getlk",
    [DOOR_SETLK] = "setlk",
    [DOOR_READDIR] = "readdir",
    [DOOR_STATFS] = "statfs",
    [DOOR_GETXATTR] = "getxattr",
    [DOOR_SETXATTR] = "setxattr",
    [DOOR_LISTXATTR] = "listxattr",
    [DOOR_REMOVEXATTR] = "removexattr",
    [DOOR_IOCTL] = "ioctl",
    [DOOR_SYNCFS] = "syncfs",
    [DOOR_SETUPMAPPING] = "setupmapping",
    [DOOR_REMOVEMAPPING] = "removemapping",
    [DOOR_SESSION] = "session",
    [DOOR_OTHER] = "other",
};

bool door_stats_get(const struct door_stats *stats, unsigned kind,
                    struct door_kind_stats *ret_stats)
{
    if (kind >= DOOR_KINDS)
        return false;
    *ret_stats = (struct door_kind_stats){ .name = kind_names[kind] };
    for (unsigned i = 0; i < DOOR_STAT_SHARDS; i++) {
        const struct door_stat_shard *stat = &stats->shards[kind][i];
        uint64_t longest = atomic_load_explicit(&stat->longest, memory_order_relaxed);

        ret_stats->count += atomic_load_explicit(&stat->count, memory_order_relaxed);
        ret_stats->errors += atomic_load_explicit(&stat->errors, memory_order_relaxed);
        ret_stats->time += atomic_load_explicit(&stat->time, memory_order_relaxed);
        if (longest > ret_stats->longest)
            ret_stats->longest = longest;
    }
    return true;
}
