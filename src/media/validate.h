/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One check for every structure of the format, used by mount and by fsck: magic, checksum, owner,
 * place, counts, order, ranges. What passed is trusted from then on (the medium belongs to this
 * server), so that nobody else checks a member again.
 *
 * Pure functions over bytes; they take no lock and change nothing. Each returns NULL when valid,
 * else a static sentence without a full stop that says what is wrong ("checksum does not match").
 * blocks is the size of the pool: every block number in an object must be below it and outside the
 * fixed places (blocks 0 to 7 and the spare superblock).
 *
 * Not covered, as nothing depends on it: the four times of an inode (outside its checksum), padding
 * after names, and the bytes of an object past its count. What needs more than one object (does the
 * bitmap agree, is a block used twice, is the leftmost key 0) is for fsck.
 */
#ifndef DAXFUSE_MEDIA_VALIDATE_H
#define DAXFUSE_MEDIA_VALIDATE_H

#include <daxfuse/format.h>
#include <stdbool.h>
#include <stdint.h>

/* Whether the pool can be used; unknown feature bits are no damage and are for the caller (pool.c). */
const char *validate_super(const struct dxf_super *super);
const char *validate_retire(const struct dxf_retire *slot, uint32_t number,
                            const struct dxf_super *super);
const char *validate_bitmap_line(const struct dxf_bitmap_line *line, uint64_t number);
/* A record that is all zero but for its times, or has mode 0 and nothing else in it, is free and
 * valid. The times are neither read nor written: others may store to them meanwhile. */
const char *validate_inode(const struct dxf_inode *inode, uint64_t ino, uint64_t blocks);
const char *validate_anchor(const struct dxf_anchor *anchor, uint64_t blocks);
const char *validate_extent_node(const struct dxf_node *node, uint64_t self, uint64_t owner,
                                 unsigned level, uint64_t blocks);
const char *validate_dir_node(const struct dxf_node *node, uint64_t self, uint64_t owner,
                              unsigned level, uint64_t blocks);
/* The header, the chain of entries and every entry. */
const char *validate_dir_leaf(const struct dxf_dir_leaf *leaf, uint64_t self, uint64_t owner);
/* One entry, of a leaf whose chain is whole: its length stays inside the leaf. */
const char *validate_dirent(const struct dxf_dirent *entry, uint64_t owner);
const char *validate_chain(const struct dxf_chain *block, uint64_t self, uint64_t owner,
                           uint64_t blocks);
const char *validate_xattrs(const void *payload, uint32_t length); /* a chain, put together */
const char *validate_orphan_line(const struct dxf_orphan_line *line, uint64_t number);
const char *validate_intent(const struct dxf_intent *intent, uint64_t number);
const char *validate_badblocks(const struct dxf_badblocks *list, uint64_t blocks);

/* Seals: each writes the checksum that the function above expects. */
void seal_super(struct dxf_super *super);
void seal_retire(struct dxf_retire *slot, uint32_t number);
void seal_bitmap_line(struct dxf_bitmap_line *line, uint64_t number); /* counts used, too */
void seal_inode(struct dxf_inode *inode, uint64_t ino);
void seal_block(struct dxf_block_header *block); /* node or chain: whole block, owner inside */
void seal_dir_leaf(struct dxf_dir_leaf *leaf);   /* header only */
void seal_dirent(struct dxf_dirent *entry, uint64_t owner);
void seal_orphan_line(struct dxf_orphan_line *line, uint64_t number);
void seal_intent(struct dxf_intent *intent, uint64_t number);
void seal_badblocks(struct dxf_badblocks *list);

#endif
