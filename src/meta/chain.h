/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chains of blocks that hold a string of bytes too long for the inode: attributes, long symlinks.
 * A chain is written whole into new blocks and then takes the old one's place, so that a change is
 * there or not. Locks: the caller holds the owner's LOCK_MAP; exclusive to change.
 */
#ifndef DAXFUSE_META_CHAIN_H
#define DAXFUSE_META_CHAIN_H

#include "meta/inode.h"

/* Writes length bytes; *ret_head: first block; *ret_blocks: how many. -ENOSPC, -ENOMEM. */
int chain_write(struct meta *meta, struct txn *txn, uint64_t owner, const void *bytes,
                uint32_t length, uint64_t *ret_head, uint32_t *ret_blocks);

/* Reads a chain into memory that the caller frees. At most limit bytes, else -EUCLEAN (so a loop
 * ends). *ret_blocks may be NULL. txn may be NULL. */
int chain_read(struct meta *meta, const struct txn *txn, uint64_t owner, uint64_t head,
               uint32_t limit, void **ret_bytes, uint32_t *ret_length, uint32_t *ret_blocks);

/* Gives the blocks back; *ret_blocks: how many. */
int chain_free(struct meta *meta, struct txn *txn, uint64_t owner, uint64_t head,
               uint32_t *ret_blocks);

#endif
