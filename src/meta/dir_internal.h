/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the two files of directories share: dir_leaf.c knows the bytes of one leaf, dir.c the tree.
 * Their tests include it too, since no test can wait for two names with one hash.
 *
 * The leaf functions change bytes only: they know no transaction, take no lock and do not fail. A
 * leaf given to them has passed validate_dir_leaf(), or was made by them.
 */
#ifndef DAXFUSE_META_DIR_INTERNAL_H
#define DAXFUSE_META_DIR_INTERNAL_H

#include "meta/dir.h"

#define DIR_LEAF_BYTES ((uint32_t)sizeof(((struct dxf_dir_leaf *)NULL)->entries))
/* As many entries as a leaf can hold; the shortest has a name of 1..8 bytes. */
#define DIR_LEAF_ENTRIES (DIR_LEAF_BYTES / 32)
#define DIR_NONE UINT32_MAX

/* Bytes of an entry with a name of this length, and the most that one takes. */
static inline uint32_t dirent_size(size_t name_length)
{
    return (uint32_t)((sizeof(struct dxf_dirent) + name_length + 7) & ~(size_t)7);
}
#define DIRENT_SIZE_MAX ((uint32_t)((sizeof(struct dxf_dirent) + DXF_NAME_MAX + 7) & ~7u))

/* The entry at an offset in leaf->entries. */
static inline const struct dxf_dirent *leaf_entry(const struct dxf_dir_leaf *leaf, uint32_t offset)
{
    return (const struct dxf_dirent *)(const void *)(leaf->entries + offset);
}

/* Makes a leaf whose header is there one free entry. */
void leaf_clear(struct dxf_dir_leaf *leaf, uint64_t owner);

/* The entry of this name, which has one of the DXF_HASH_PROBES hashes from hash on: its offset or
 * DIR_NONE. */
uint32_t leaf_find(const struct dxf_dir_leaf *leaf, uint64_t hash, struct dir_name name);

/* What an insertion must know of a leaf, in one pass. */
struct leaf_survey {
    uint32_t match; /* offset of the entry of this name, or DIR_NONE: then the pass ended there */
    uint32_t taken; /* bit i: hash + i is some entry's */
    uint32_t fit;   /* offset of the first free space of `size` bytes, or DIR_NONE */
    uint32_t free;  /* bytes that the entries do not need */
};
void leaf_survey(const struct dxf_dir_leaf *leaf, uint64_t hash, struct dir_name name,
                 uint32_t size, struct leaf_survey *ret_survey);

/* Puts an entry into the free space at offset, which is large enough. */
void leaf_insert(struct dxf_dir_leaf *leaf, uint64_t owner, uint32_t offset, uint64_t hash,
                 struct dir_name name, uint64_t ino, uint8_t type);

/* Makes the entry at offset name another inode. */
void leaf_replace(struct dxf_dir_leaf *leaf, uint64_t owner, uint32_t offset, uint64_t ino,
                  uint8_t type);

/* Makes the entry at offset free and one with the free space around it. True: the leaf is empty. */
bool leaf_remove(struct dxf_dir_leaf *leaf, uint64_t owner, uint32_t offset);

/* Closes the gaps: keeps the entries below the hash `end`, in their order, then one free space. */
void leaf_compact(struct dxf_dir_leaf *leaf, uint64_t owner, uint64_t end);

/* Copies the entries with a hash of `first` and above to an empty leaf. */
void leaf_copy(struct dxf_dir_leaf *to, const struct dxf_dir_leaf *from, uint64_t owner,
               uint64_t first);

/* The entries with low <= hash < high in the order of their hashes; returns how many. */
struct leaf_place {
    uint64_t hash;
    uint32_t offset;
};
unsigned leaf_sort(const struct dxf_dir_leaf *leaf, uint64_t low, uint64_t high,
                   struct leaf_place places[DIR_LEAF_ENTRIES]);

/* The functions of dir.h, for a name that is said to have this hash. */
int dir_lookup_hashed(struct meta *meta, const struct txn *txn, uint64_t dir_ino,
                      const struct dxf_inode *dir, uint64_t hash, struct dir_name name,
                      struct dir_found *ret_found);
int dir_insert_hashed(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
                      uint64_t hash, struct dir_name name, uint64_t ino, uint8_t type);
int dir_remove_hashed(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
                      uint64_t hash, struct dir_name name);
int dir_replace_hashed(struct meta *meta, struct txn *txn, uint64_t dir_ino, struct dxf_inode *dir,
                       uint64_t hash, struct dir_name name, uint64_t ino, uint8_t type);

#endif
