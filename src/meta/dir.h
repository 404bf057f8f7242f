/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories: names to inode numbers, a B+tree over the hash of the name (format.h).
 *
 * Owns: layout, count, tree.root, size, blocks and entries of a directory's inode, and the blocks
 * below. "." and ".." are not stored (inode.parent). Link counts, times and types are the
 * caller's. Locks: the caller holds the directory's LOCK_INODE and LOCK_MAP; exclusive to change.
 *
 * A name is 1..DXF_NAME_MAX bytes without '/' and NUL, neither "." nor ".."; the caller has
 * checked that. `dir` is the directory's record, staged where there is a transaction to change.
 */
#ifndef DAXFUSE_META_DIR_H
#define DAXFUSE_META_DIR_H

#include "meta/inode.h"

struct dir_name {
    const char *bytes; /* not NUL-terminated */
    size_t length;
};

struct dir_found {
    uint64_t ino;
    uint64_t cookie; /* of the entry: readdir after it goes on at cookie + 1 */
    uint8_t type;    /* DT_* */
};

/* -ENOENT, -EUCLEAN. txn may be NULL. */
int dir_lookup(struct meta *meta, const struct txn *txn, uint64_t dir_ino,
               const struct dxf_inode *dir, struct dir_name name, struct dir_found *ret_found);

/* After -EEXIST and -ENOENT of the next three functions the transaction is as it was; after any other
 * failure it can only be aborted. */

/* The name must not be there (-EEXIST). -ENOSPC (also when all DXF_HASH_PROBES are taken). */
int dir_insert(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
               struct dir_name name, uint64_t ino, uint8_t type);

/* -ENOENT. Never needs space: a leaf that empties is given back, no leaf is merged. */
int dir_remove(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
               struct dir_name name);

/* Makes an existing entry name another inode (rename over, exchange). -ENOENT. */
int dir_replace(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
                struct dir_name name, uint64_t ino, uint8_t type);

/* Calls fn for the entries with a cookie >= first, in the order of their cookies; stops at a
 * non-zero return and returns it. "." and ".." are not among them. txn may be NULL. */
typedef int (*dir_iterate_fn)(void *arg, struct dir_name name, const struct dir_found *found);
int dir_iterate(struct meta *meta, const struct txn *txn, uint64_t dir_ino,
                const struct dxf_inode *dir, uint64_t first, dir_iterate_fn fn, void *arg);

/* Gives all blocks of an empty directory back. */
int dir_release(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir);

/* Calls fn for each block of the tree; for layout. */
int dir_walk_blocks(struct meta *meta, uint64_t dir_ino, const struct dxf_inode *dir,
                    int (*fn)(void *arg, uint64_t block, bool leaf), void *arg);

/* The hash that the name has before probing, in [DXF_HASH_FIRST, DXF_HASH_LAST - DXF_HASH_PROBES + 1]:
 * DXF_HASH_FIRST plus checksum64 of the name with super.hash_seed, modulo the size of that range. */
uint64_t dir_hash(const struct pool *pool, struct dir_name name);

#endif
