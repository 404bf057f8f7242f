/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a door counts of its requests, by kind: how many, how many failed, how long they took.
 *
 * Owns nothing; a door has a struct door_stats. Any thread; takes no lock: the numbers of one kind
 * may be of different moments.
 */
#ifndef DAXFUSE_TRANSPORT_STATS_H
#define DAXFUSE_TRANSPORT_STATS_H

#include <stdbool.h>
#include <stdint.h>

enum door_kind {
    DOOR_LOOKUP,
    DOOR_FORGET,
    DOOR_GETATTR,
    DOOR_SETATTR,
    DOOR_STATX,
    DOOR_READLINK,
    DOOR_MKNOD,
    DOOR_MKDIR,
    DOOR_SYMLINK,
    DOOR_LINK,
    DOOR_UNLINK,
    DOOR_RMDIR,
    DOOR_RENAME,
    DOOR_OPEN,
    DOOR_CREATE,
    DOOR_TMPFILE,
    DOOR_READ,
    DOOR_WRITE,
    DOOR_FLUSH,
    DOOR_RELEASE,
    DOOR_FSYNC,
    DOOR_FALLOCATE,
    DOOR_LSEEK,
    DOOR_COPY_RANGE,
    DOOR_GETLK,
    DOOR_SETLK,
    DOOR_READDIR,
    DOOR_STATFS,
    DOOR_GETXATTR,
    DOOR_SETXATTR,
    DOOR_LISTXATTR,
    DOOR_REMOVEXATTR,
    DOOR_IOCTL,
    DOOR_SYNCFS,
    DOOR_SETUPMAPPING,
    DOOR_REMOVEMAPPING,
    DOOR_SESSION, /* its beginning and its end */
    DOOR_OTHER,   /* what no kind was found for */
    DOOR_KINDS
};

/* Requests of a kind are counted in several places, so that threads seldom share a line. */
#define DOOR_STAT_SHARDS 8

struct door_stat_shard {
    _Atomic uint64_t count, errors, time, longest; /* nanoseconds */
} __attribute__((aligned(64)));

struct door_stats {
    struct door_stat_shard shards[DOOR_KINDS][DOOR_STAT_SHARDS];
};

/* A request that began at BEGUN (clock_now()) is answered. */
void door_stats_count(struct door_stats *stats, enum door_kind kind, uint64_t begun, bool error);
/* So many that are not measured. */
void door_stats_add(struct door_stats *stats, enum door_kind kind, uint64_t count);

struct door_kind_stats {
    const char *name;
    uint64_t count, errors, time, longest; /* nanoseconds, from decoding to answer */
};
/* kind from 0; false: no such kind. */
bool door_stats_get(const struct door_stats *stats, unsigned kind,
                    struct door_kind_stats *ret_stats);

#endif
