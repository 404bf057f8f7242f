/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the pool share among themselves: pool.c, pool_create.c, pool_map.c, pool_lock.c,
 * super.c, guard.c. Nobody else includes it.
 */
#ifndef DAXFUSE_MEDIA_POOL_PRIVATE_H
#define DAXFUSE_MEDIA_POOL_PRIVATE_H

#include "media/pool.h"
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

/* The host's side of a pool: the mapping, and which ranges the host has room for. */
struct pool_host {
    uint8_t *room;      /* reserved address space, the mapping at its start; NULL over memory */
    uint64_t room_size; /* without a room: the size of the memory */
    uint64_t bits_size; /* bytes of pool->verified, ->fixed, ->data, each */
    bool private_view;  /* MAP_PRIVATE */
    bool sync;          /* mapped MAP_SYNC: the file system is DAX */
    time_t full_warned; /* CLOCK_MONOTONIC; 0: never */
    bool warned;        /* that the host can not reserve */

    /*
     * Guards the host's ranges below, and the writing of superblocks. Not of base/lock.h, as
     * pool_fail() and pool_reserve() are called with any lock held; nothing is locked inside it.
     */
    pthread_mutex_t mutex;
    _Atomic uint8_t *reserved; /* a bit for each piece of the room: the host has all of it */
};

/* pool.c: a pool with nothing in it but its path and an fd of -1; released by pool_close(). */
int pool_new(const char *path, struct pool **ret_pool);

/* pool.c: opens PATH with FLAGS and gets its type; *ret_size is a file's or a device's. */
int pool_open_file(struct pool *pool, int flags, struct stat *ret_stat, uint64_t *ret_size,
                   char **ret_message);

/* pool.c: sets size and blocks, maps, chooses persistence, registers with the guard. */
int pool_start(struct pool *pool, const struct pool_options *options, uint64_t size,
               char **ret_message);

/* pool_lock.c: takes byte 0 of the pool for this descriptor. */
int pool_lock_take(int fd, const char *path, bool exclusive, char **ret_message);

/* pool_map.c */
int pool_map(struct pool *pool, bool private_view, char **ret_message);
void pool_unmap(struct pool *pool);
int pool_host_init(struct pool *pool); /* after the mapping is there, or for memory */
void pool_host_destroy(struct pool *pool);
void *pool_map_bitmap(uint64_t bits, uint64_t *ret_bytes);

/* super.c: looks for a valid superblock among the two copies. FILE_SIZE: what there is to map. */
int pool_super_choose(struct pool *pool, const struct dxf_super *primary,
                      const struct dxf_super *spare, uint64_t file_size, bool writable,
                      char **ret_message);
int pool_super_read(struct pool *pool, uint64_t file_size, bool writable, char **ret_message);
bool pool_super_is_ours(const struct dxf_super *super);
void pool_super_repair(struct pool *pool);

/* guard.c */
int pool_guard_add(struct pool *pool);
void pool_guard_remove(struct pool *pool);

#endif
