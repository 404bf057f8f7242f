/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pool: one file or pmem device, mapped whole, with its lock and its superblock.
 *
 * Owns: the mapping, the descriptors, the lock that keeps a second server out, the copy of the
 * superblock in memory, the set of bad pages. Called by every layer above. Thread-safe.
 *
 * Offsets are bytes from the start of the pool. pool_at() never checks: an offset that comes from
 * the medium has been checked by media/validate.h when its object was first reached.
 */
#ifndef DAXFUSE_MEDIA_POOL_H
#define DAXFUSE_MEDIA_POOL_H

#include "base/endian.h"
#include "media/persist.h"
#include <daxfuse/format.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum pool_pmem { POOL_PMEM_AUTO, POOL_PMEM_FORCE, POOL_PMEM_NEVER };
enum pool_durability { POOL_DURABILITY_AUTO, POOL_DURABILITY_POWER, POOL_DURABILITY_PROCESS };

/* read_only and private_map both map MAP_PRIVATE, so that a journal can be replayed into the view;
 * only the first makes pool->read_only true. */
struct pool_options {
    bool read_only;   /* no store reaches the medium; shared lock */
    bool private_map; /* stores stay in memory (fsck -n); shared lock */
    bool no_lock;     /* tests that hold the lock themselves */
    enum pool_pmem pmem;
    enum pool_durability durability;
};

struct pool_host;

struct pool {
    uint8_t *base;         /* 2 MiB aligned, unless it is memory of a test */
    _Atomic uint64_t size; /* bytes mapped; moves up before super.pool_blocks when the pool grows */
    _Atomic uint64_t blocks;
    struct persist *persist;
    int fd; /* carries the lock; handed to nobody; -1 over memory */
    char *path;
    bool read_only;
    bool is_pmem; /* persist is the pmem one */
    bool is_device;
    _Atomic bool sparse; /* host ranges may be missing: pool_reserve before use */
    const char *why;     /* why (not) pmem, for the mount line; static text */
    const char *flush;   /* "clwb", "clflushopt", "msync", "none (process)" …; static text */
    enum pool_durability durability; /* POWER or PROCESS */
    struct dxf_super super;          /* validated copy */
    bool used_spare;                 /* the primary superblock was damaged */
    _Atomic bool failed;             /* a flush failed or damage was met: no more changes */
    _Atomic uint64_t bad_pages;      /* met since open */
    _Atomic uint64_t *verified;      /* a bit a block: its metadata was validated since open */
    _Atomic uint64_t *fixed;         /* a bit a block: see pool_blocks_set_fixed */
    _Atomic uint64_t *data;          /* a bit a block: see pool_blocks_claim */
    struct pool_guard *guard;        /* of media/guard.c */
    struct pool_host *host;          /* of media/pool_map.c */
    /* Opens the file anew where it has no path to be seen from here; NULL: /proc has one. A descriptor or -errno. */
    int (*open_anew)(void *arg, bool read_only);
    void *open_anew_arg;
};

/*
 * Opens, locks, maps and validates the superblock (the spare serves when the primary is damaged).
 * Does not replay the journal. A writable open rewrites a damaged or outdated copy of the
 * superblock. On failure *ret_message, if not NULL, gets a malloc'ed sentence that names the file,
 * the reason and the remedy (NULL if memory is short); the caller frees it.
 * -EBUSY in use (message names processes found in /proc), -EUCLEAN damaged or shorter than the pool
 * in it, -EINVAL not a pool or empty or too short, -ENOTSUP unknown version or feature (message
 * says if it can be read), -errno of open and mmap: -EROFS, the host's file system is read-only.
 */
int pool_open(const char *path, const struct pool_options *options, struct pool **ret_pool,
              char **ret_message);

/*
 * For tests: a pool over memory that the caller owns, with the given persist table (taken over when
 * this succeeds; pool_close closes it). base is page-aligned, size a multiple of 4096. Memory without
 * a superblock gives a pool without one, as pool_create does; read it back by closing and opening.
 * -EUCLEAN, -EINVAL, -ENOMEM.
 */
int pool_open_memory(void *base, uint64_t size, struct persist *persist, struct pool **ret_pool);

/* Unmaps, gives back the lock, frees. Makes nothing durable: that was the journal's. */
void pool_close(struct pool *pool);

/*
 * Creates or overwrites the file, preallocates unless sparse, maps it and hands back a pool whose
 * superblock is not there yet: mkfs fills pool->super and calls pool_write_super. A regular file then
 * reads as zeros; a device holds what it held, but neither superblock. A file that this call has made
 * is removed when it fails.
 * -EINVAL size out of range, not a multiple of 4096, or none known; -EEXIST holds a pool or other
 * data and force is not set; -ENOSPC; -EBUSY; -errno. ret_message as of pool_open.
 */
struct pool_create_options {
    uint64_t size; /* bytes, multiple of 4096; 0: what the file or device has */
    bool sparse;
    bool force; /* overwrite a pool */
};
int pool_create(const char *path, const struct pool_create_options *options, struct pool **ret_pool,
                char **ret_message);

/* Seals pool->super and writes it to both places, in an order of which a crash leaves one valid.
 * 0, -EROFS, -EIO. Thread-safe; who changes pool->super keeps others from doing so meanwhile. */
int pool_write_super(struct pool *pool);
/* The same, with the new size and the new place of the bitmap. */
int pool_write_grown(struct pool *pool, uint64_t blocks, uint64_t bitmap_start,
                     uint64_t bitmap_blocks);

/* Maps what the file has grown by, up to new_size (a multiple of 4096; nothing happens when it is mapped already: an
 * earlier growth stopped on its way); base does not move: address space is kept behind the mapping for this. Other threads may be in the pool: who sees
 * the new size may use all of it. One caller at a time. -ENOMEM when there is no such space: grow while
 * it is not mounted; -EINVAL, -errno of mmap. */
int pool_map_grown(struct pool *pool, uint64_t new_size);

static inline void *pool_at(const struct pool *pool, uint64_t offset)
{
    return pool->base + offset;
}

static inline void *pool_block(const struct pool *pool, uint64_t block)
{
    return pool->base + (block << DXF_BLOCK_SHIFT);
}

/*
 * A descriptor of the pool for the door of this number to hand out, opened anew: it, and every mapping made
 * of it, holds a shared lock that keeps another server from the pool, and that says whether the door's user
 * still has any. The caller closes it. -EINVAL over memory; as open(2) and fcntl(2).
 */
#define POOL_DOORS 1024u
int pool_door_open(struct pool *pool, unsigned number, bool read_only);
/* Whether anybody has it, or maps it. */
bool pool_door_is_held(const struct pool *pool, unsigned number);

/* Makes sure that the host has room for this range of a sparse pool: 0, -ENOSPC. A bit test for
 * ranges that were asked for before. */
int pool_reserve(struct pool *pool, uint64_t offset, uint64_t length);

/* Gives the host range back; it reads as zeros and must be reserved anew before it is used. Nobody
 * may use it meanwhile. 0, -EOPNOTSUPP where the host can not, -EROFS, -EIO. */
int pool_discard(struct pool *pool, uint64_t offset, uint64_t length);

/* No more changes: logs the reason once, sets failed, marks the superblock NEEDS_FSCK if it can.
 * Any thread, any lock held. */
void pool_fail(struct pool *pool, const char *reason);

/* persist_drain for file data: -EIO, and the pool has failed, when a flush did. */
int pool_drain(struct pool *pool);

/* The SIGBUS guard. Installed once a process; a fault inside any open pool puts a private zero
 * page over the bad one and records it. An operation asks before it replies or commits. */
int pool_guard_install(void);

/*
 * The same for memory that is no pool: a file's, mapped by the caller, which its owner may cut
 * short. The first bad page puts private zeros over all of [base, base + size), pages of any size,
 * and *bad_pages is no longer 0; who sees that gives the memory up. Removed before it is unmapped.
 * -ENOSPC: the table is full.
 */
int pool_guard_add_memory(void *base, size_t size, _Atomic uint64_t *bad_pages);
void pool_guard_remove_memory(void *base);

/* Whether a page of the range was met as bad; one load when none ever was. */
bool pool_range_is_bad(const struct pool *pool, uint64_t offset, uint64_t length);

/*
 * What a block is used as, since open, three bits: verified (metadata that was checked), fixed, data
 * (file bytes were stored there). A damaged pool may name a block twice; whoever comes second is
 * refused, so that nobody stores file bytes into what is trusted as metadata, also not at the moment
 * when it is being checked: each side sets its bit first, and then looks at the other's.
 */

/* The verified bits: set after a whole check by media/validate.h. false: the block is in use for
 * something else, and the bit is not set. */
bool pool_block_verified(const struct pool *pool, uint64_t block);
bool pool_block_set_verified(struct pool *pool, uint64_t block);
/* A block is about to be used for something new. */
void pool_block_clear_verified(struct pool *pool, uint64_t block, uint64_t count);
/* Blocks become free: neither verified nor data any more. */
void pool_blocks_forget(struct pool *pool, uint64_t block, uint64_t count);

/*
 * The fixed bits: blocks that are neither data nor of a tree, a chain or a directory, for as long as
 * the bit stands: superblocks, journal, anchor, intents, bad blocks, allocation bitmap (set by space),
 * inode table and orphan table (set by meta). What is in them was checked once and is trusted without
 * a verified bit. Setting clears the verified bits.
 */
bool pool_block_is_fixed(const struct pool *pool, uint64_t block);
void pool_blocks_set_fixed(struct pool *pool, uint64_t block, uint64_t count);
void pool_blocks_clear_fixed(struct pool *pool, uint64_t block, uint64_t count);

/* Whether a file's bytes may lie there: inside the pool, and none of the blocks is fixed or verified.
 * Asked before each read, and each giving back. Two loads for 64 blocks. */
bool pool_blocks_are_data(const struct pool *pool, uint64_t block, uint64_t count);
/* The same, and from now on none of them can become metadata. Asked before each store to a file's
 * blocks. */
bool pool_blocks_claim(struct pool *pool, uint64_t block, uint64_t count);
/* Inside the pool, with none of the bits: what the bitmap calls free must be so. */
bool pool_blocks_are_unused(const struct pool *pool, uint64_t block, uint64_t count);

#endif
