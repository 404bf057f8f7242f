/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes of an inode, by namespace and name. What a namespace means, who may set it
 * and what an ACL does to the mode is fs's business; here they are names and bytes.
 *
 * Owns: inode.xattr and its chain; keeps inode.blocks in step. Locks: the caller holds the inode's
 * LOCK_MAP; exclusive to change.
 */
#ifndef DAXFUSE_META_XATTR_H
#define DAXFUSE_META_XATTR_H

#include "meta/inode.h"

struct xattr_name {
    enum dxf_xattr_space space;
    const char *bytes; /* without the prefix; empty for the two ACLs */
    size_t length;
};

/* "user.x" -> {DXF_XATTR_USER, "x"}, "system.posix_acl_access" -> {DXF_XATTR_ACL_ACCESS, ""} …
 * -EOPNOTSUPP for a namespace that is not kept, -EINVAL for a prefix without a name, -ERANGE for
 * more than 255 bytes. */
int xattr_parse(const char *full_name, struct xattr_name *ret_name);

/* The full name into buffer of 256 + 32 bytes; returns its length. */
size_t xattr_format(const struct xattr_name *name, char *buffer);

/* The value, malloc'ed, the caller frees; *ret_length may be 0 (then *ret_value may be NULL).
 * -ENODATA, -EUCLEAN. txn may be NULL. */
int xattr_get(struct meta *meta, const struct txn *txn, uint64_t ino, const struct dxf_inode *inode,
              const struct xattr_name *name, void **ret_value, size_t *ret_length);

/* flags: XATTR_CREATE, XATTR_REPLACE or 0. -EEXIST, -ENODATA, -ENOSPC when the attributes of the
 * inode together pass DXF_XATTR_CHAIN_MAX, -E2BIG value longer than DXF_XATTR_VALUE_MAX. */
int xattr_set(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
              const struct xattr_name *name, const void *value, size_t length, int flags);

int xattr_remove(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                 const struct xattr_name *name);

/* Calls fn for each attribute; stops at non-zero. txn may be NULL. */
int xattr_walk(struct meta *meta, const struct txn *txn, uint64_t ino,
               const struct dxf_inode *inode,
               int (*fn)(void *arg, const struct xattr_name *name, const void *value,
                         size_t length),
               void *arg);

/* All of them go: the inode is being deleted. */
int xattr_release(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode);

#endif
