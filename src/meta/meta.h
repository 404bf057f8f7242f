/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filesystem's structures on the medium: inodes, extents, directories, chains, orphans.
 *
 * Owns: what is needed to find and change them; no inode cache (that is fs/). Called by fs, mkfs.
 * Every function that takes a transaction stages its changes there; the caller commits. Every
 * function that takes a transaction may be given NULL where it says so, and then reads what is in
 * place. The caller holds the locks of the inodes it names (LOCK_MAP for the record and all that
 * hangs below it), exclusive to change, shared to read.
 *
 * Damage. An object is validated (media/validate.h) when it is first reached after mount, block by
 * block, with pool_block_verified() as memory. What does not pass is -EUCLEAN, logged once through
 * meta_damaged(); everything else goes on working.
 */
#ifndef DAXFUSE_META_META_H
#define DAXFUSE_META_META_H

#include "base/lock.h"
#include "media/pool.h"
#include "space/txn.h"
#include <stdint.h>

struct meta_table;
struct meta_orphans;
struct meta_intents;

struct meta {
    struct pool *pool;
    struct journal *journal;
    struct space *space;
    struct meta_table *table;     /* meta/table.c */
    struct meta_orphans *orphans; /* meta/orphan.c */
    struct meta_intents *intents; /* meta/intent.c */
};

/* After journal_replay and space_open. Reads the anchor and the inode bitmap. Recovery of orphans
 * and intents is the caller's next step (fs/recovery.c). */
int meta_open(struct pool *pool, struct journal *journal, struct space *space,
              struct meta **ret_meta);
void meta_close(struct meta *meta);

/* mkfs: anchor, first piece of the inode table, root directory (mode, uid, gid), orphan table,
 * empty intents and bad-block list. The space must be formatted (space_format) and open. */
int meta_format(struct pool *pool, struct journal *journal, struct space *space, uint32_t mode,
                uint32_t uid, uint32_t gid);

/* Logs "<what> <number> of inode <ino>: <why>" the first time (what is static text and its address is
 * compared), -EUCLEAN always. meta_close adds the number of places to the superblock's error count and
 * asks for fsck there. */
int meta_damaged(struct meta *meta, const char *what, uint64_t number, uint64_t ino,
                 const char *why);

/*
 * A block with a header, seen through the transaction (may be NULL), validated on first sight.
 * check is called only then. Owner, place and level are compared each time, because a damaged pointer
 * can lead to a verified block; the magic is the caller's to compare where an inode has blocks of
 * several kinds.
 */
typedef const char *(*meta_check_fn)(const void *block, uint64_t self, uint64_t owner,
                                     unsigned level, uint64_t blocks);
int meta_block(struct meta *meta, const struct txn *txn, uint64_t block, uint64_t owner,
               unsigned level, meta_check_fn check, const char *what, const void **ret_block);

/* Now, as every time of the filesystem is taken: the coarse clock, like the kernel's, so that
 * many writes within a tick change nothing. Nanoseconds since the epoch. */
int64_t meta_now(void);

#endif
