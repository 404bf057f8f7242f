/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of the check share. For src/tools/fsck*.c only.
 *
 * The order of the passes, and what each may rely on:
 *   1 whole pool    superblocks, journal (replayed), intents, bad blocks
 *   2 inode table   its map; the table's own blocks are claimed
 *   3 records       each inode by itself; one whose record is damaged waits
 *   4 trees         nodes, leaves and chains are claimed: their checksums bind them to their owner,
 *                   so that they win over data that say the same block
 *   5 data          data extents are claimed, in the order of the inodes; who comes later loses.
 *                   Then damaged records are judged, one by one, and what is kept claims what nobody
 *                   else has: a record that may say anything takes no block from one that is sound,
 *                   also when the check is cut off and run again. The inode bitmap.
 *                   Now every block that is in use is known, and blocks can be taken for repairs.
 *   6 orphans       the orphan table; whether intents fit their files
 *   7 names         the entries of each directory
 *   8 links         connectivity, link counts
 *   9 space         the allocation bitmap
 * Repairs write new blocks first and then switch one or a few small objects through the journal
 * (fsck_write.c), so that each repair is there or not, and a check that was cut off can be run again.
 */
#ifndef DAXFUSE_TOOLS_FSCK_PRIVATE_H
#define DAXFUSE_TOOLS_FSCK_PRIVATE_H

#include "base/endian.h"
#include "media/validate.h"
#include "tools/fsck.h"
#include <sys/stat.h>

/* What is known of an inode: 16 bytes each, zero until touched. */
struct fsck_inode {
    uint64_t parent; /* of a directory: where an entry with its name was found; 0: none yet */
    uint32_t links;  /* names found */
    uint8_t type;    /* DT_*; 0: free */
    uint8_t flags;   /* enum fsck_inode_flags */
    uint16_t reserved;
};

enum fsck_inode_flags {
    FSCK_INODE_DAMAGED = 1 << 0,  /* the record is bad, and stays so in this run */
    FSCK_INODE_REBUILD = 1 << 1,  /* its tree is damaged, and may be repaired */
    FSCK_INODE_REACHED = 1 << 2,  /* directories: connected to the root */
    FSCK_INODE_WALKED = 1 << 3,   /* directories: on the way that is being walked */
    FSCK_KNOWN_ORPHAN = 1 << 4,   /* in the orphan table, rightly */
    FSCK_INODE_DOUBTFUL = 1 << 5, /* the record is bad, and not judged yet */
};

/* An extent, out of its 16 bytes. */
struct fsck_extent {
    uint64_t logical, physical, length;
    bool unwritten;
};

struct fsck_extents {
    struct fsck_extent *extent;
    size_t count, room;
};

struct fsck_blocks {
    uint64_t *block;
    size_t count, room;
};

/* A leaf of a directory and the hashes that it serves: [low, high). */
struct fsck_leaf {
    uint64_t block, low, high;
};

struct fsck_leaves {
    struct fsck_leaf *leaf;
    size_t count, room;
};

/* A file whose map is to be written anew from what survived. */
struct fsck_rebuild {
    uint64_t ino;
    struct fsck_extents extents;
    struct fsck_blocks nodes;
};

/* What is left of the tree of a directory. */
struct fsck_tree {
    struct fsck_leaves leaves; /* whose entries can be read, at least in part */
    struct fsck_blocks nodes;
    bool damaged, repair;
};

/* A directory whose tree is damaged, as pass 4 has claimed it. */
struct fsck_damaged_dir {
    uint64_t ino;
    struct fsck_tree tree;
};

struct fsck {
    struct pool *pool;
    const struct fsck_options *options;
    struct fsck_result *result;
    bool write;      /* repairs are allowed at all */
    bool yes_to_all; /* answered so */
    bool incomplete; /* something that owns blocks or names is damaged and stays so: what follows
                        from it is not repaired either */
    bool progress_shown;

    uint64_t *claimed; /* a bit a block */
    uint64_t claimed_bytes;
    uint64_t take_cursor; /* fsck_take */

    struct fsck_extents table; /* the inode table's map */
    struct fsck_blocks table_nodes;
    uint64_t table_blocks;
    uint64_t capacity; /* inode numbers below this have a record, holes of the table apart */
    struct fsck_inode *inode;
    uint64_t inode_bytes;

    struct fsck_rebuild *rebuild;
    size_t rebuild_count, rebuild_room;
    bool table_rebuild;

    struct fsck_damaged_dir *damaged_dir; /* in the order of their numbers */
    size_t damaged_dir_count, damaged_dir_room;

    /* fsck_write.c */
    uint8_t *log;      /* the entry being made */
    uint32_t log_used; /* bytes, with the header */
    uint32_t log_room;
    uint64_t sequence;
    bool marked; /* NEEDS_FSCK is set on the medium */
};

/* ---- fsck_finding.c ------------------------------------------------------------------------- */

/* Prints a finding and counts it. True: repair it now. A repair that turns out to be impossible is
 * taken back with fsck_unrepaired(). */
bool fsck_found(struct fsck *fsck, enum fsck_id id, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void fsck_unrepaired(struct fsck *fsck, const char *why);
void fsck_note(struct fsck *fsck, enum fsck_id id, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void fsck_progress(struct fsck *fsck, const char *phase, uint64_t done, uint64_t all);
void fsck_progress_end(struct fsck *fsck);

/* ---- fsck_write.c: the only writer ------------------------------------------------------------ */

int fsck_write_open(struct fsck *fsck, uint64_t last_sequence);
void fsck_write_close(struct fsck *fsck); /* retires what was written */

/* Adds a change of LENGTH bytes (a multiple of 8, 4096 at most) to the transaction; in place at
 * fsck_commit. What does not fit any more commits what is there first: up to three blocks do. */
int fsck_put(struct fsck *fsck, uint64_t offset, const void *content, uint32_t length);
int fsck_commit(struct fsck *fsck);

/* A whole block that nothing refers to yet: straight to its place; durable before the next commit. */
int fsck_write_block(struct fsck *fsck, uint64_t block, const void *content);

/* A free block, claimed. Only after pass 5. -ENOSPC. */
int fsck_take(struct fsck *fsck, uint64_t *ret_block);

/* ---- fsck_claim.c ----------------------------------------------------------------------------- */

enum fsck_claim { FSCK_CLAIM_OK, FSCK_CLAIM_TWICE, FSCK_CLAIM_FIXED };

int fsck_claim_open(struct fsck *fsck);
void fsck_claim_close(struct fsck *fsck);
/* All of the range or nothing. */
enum fsck_claim fsck_claim(struct fsck *fsck, uint64_t start, uint64_t count);
void fsck_unclaim(struct fsck *fsck, uint64_t start, uint64_t count);
bool fsck_is_claimed(const struct fsck *fsck, uint64_t block);
bool fsck_is_fixed(const struct fsck *fsck, uint64_t start, uint64_t count);
/* FSCK_BLOCK_TWICE or FSCK_BLOCK_FIXED of an inode; as fsck_found. */
bool fsck_found_claim(struct fsck *fsck, enum fsck_claim claim, uint64_t ino, const char *what,
                      uint64_t start, uint64_t count);

/* ---- the passes ------------------------------------------------------------------------------- */

int fsck_pass_pool(struct fsck *fsck, uint64_t *ret_sequence); /* fsck_pool.c; before the writer */
int fsck_pass_fixed(struct fsck *fsck);                        /* fsck_pool.c */
int fsck_pass_table(struct fsck *fsck);                        /* fsck_table.c */
int fsck_pass_records(struct fsck *fsck);                      /* fsck_record.c */
int fsck_pass_doubtful(struct fsck *fsck);                     /* fsck_record.c; with pass 5 */
/* fsck_record.c; after pass 5: the root and the orphan table, if they were in a hole of the table. */
int fsck_records_filled(struct fsck *fsck);
int fsck_pass_trees(struct fsck *fsck);   /* fsck_tree.c */
int fsck_pass_data(struct fsck *fsck);    /* fsck_extent.c */
int fsck_pass_rebuild(struct fsck *fsck); /* fsck_extent.c; the end of pass 5: what needs blocks */
int fsck_pass_intents(struct fsck *fsck); /* fsck_pool.c; with pass 6 */
int fsck_pass_orphans(struct fsck *fsck); /* fsck_orphan.c */
int fsck_pass_names(struct fsck *fsck);   /* fsck_dir.c */
int fsck_pass_links(struct fsck *fsck);   /* fsck_links.c */
int fsck_pass_space(struct fsck *fsck);   /* fsck_space.c */

/* ---- fsck_table.c: inodes --------------------------------------------------------------------- */

/* Pool offset of a record, of a line of the inode bitmap; 0: in a hole of the table. */
uint64_t fsck_record_offset(const struct fsck *fsck, uint64_t ino);
uint64_t fsck_line_offset(const struct fsck *fsck, uint64_t line);
/* The record in place; NULL: none. */
const struct dxf_inode *fsck_record(const struct fsck *fsck, uint64_t ino);
/* Adds a record, sealed (or made zero), to the transaction. Not committed. */
int fsck_put_record(struct fsck *fsck, uint64_t ino, struct dxf_inode *record);
/* A free number and its bit in the transaction. -ENOSPC. */
int fsck_new_number(struct fsck *fsck, uint64_t *ret_ino);
uint64_t fsck_table_fill(struct fsck *fsck); /* after pass 5: holes get blocks */
bool fsck_bytes_bad(const struct fsck *fsck, const void *place, uint64_t length);

/* ---- fsck_tree.c ------------------------------------------------------------------------------ */

int fsck_check_tree(struct fsck *fsck, uint64_t ino); /* pass 4 of one inode */

/* ---- fsck_extent.c ---------------------------------------------------------------------------- */

int fsck_check_data(struct fsck *fsck, uint64_t ino); /* pass 5 of one regular file */

enum fsck_walk_flags {
    FSCK_WALK_REPORT = 1 << 0, /* findings */
    FSCK_WALK_NODES = 1 << 1,  /* claim nodes */
    FSCK_WALK_DATA = 1 << 2,   /* claim data */
};
struct fsck_map {
    struct fsck_extents extents; /* what is good, in order */
    struct fsck_blocks nodes;    /* that hold it */
    bool damaged;                /* something was left out, or must be written anew */
    bool repair;                 /* … and was answered with yes */
};
int fsck_map_walk(struct fsck *fsck, uint64_t ino, const struct dxf_inode *inode, unsigned flags,
                  struct fsck_map *ret_map);
void fsck_map_free(struct fsck_map *map);
/* Fills layout, count, and the union of a record from a list of extents; takes blocks for nodes. */
int fsck_map_build(struct fsck *fsck, uint64_t ino, const struct fsck_extents *extents,
                   struct dxf_inode *record, uint64_t *ret_nodes);
int fsck_extents_add(struct fsck_extents *list, const struct fsck_extent *extent);
int fsck_blocks_add(struct fsck_blocks *list, uint64_t block);
struct fsck_extent fsck_extent_get(const struct dxf_extent *extent);

/* ---- fsck_chain.c ----------------------------------------------------------------------------- */

/* Checks the chains of an inode and claims their blocks; with 0 in *ret_blocks none is left. A chain
 * that is damaged and repaired is taken out of the record, a symlink's together with the inode. */
int fsck_chains(struct fsck *fsck, uint64_t ino, uint64_t *ret_blocks);
/* How many blocks a chain has that was found whole. */
uint64_t fsck_chain_length(const struct fsck *fsck, uint64_t ino, uint64_t head);

/* ---- fsck_dirtree.c --------------------------------------------------------------------------- */

/* With flags, in pass 4. With 0, later: a tree that is damaged is what was claimed of it then, so that
 * a leaf that is there twice, or belongs to another, is not read for this directory. */
int fsck_dir_walk(struct fsck *fsck, uint64_t ino, const struct dxf_inode *dir, unsigned flags,
                  struct fsck_tree *ret_tree);
void fsck_tree_free(struct fsck_tree *tree);
/* When its tree is claimed: keeps the tree, which is empty then. */
int fsck_dir_keep(struct fsck *fsck, uint64_t ino, struct fsck_tree *tree);
uint64_t fsck_name_hash(const struct fsck *fsck, const char *name, size_t length);

/* One entry, in place or made up. */
struct fsck_entry {
    uint64_t hash, ino;
    const char *name;
    uint8_t length, type;
    uint32_t order; /* of equal hashes, the earlier comes first */
};
struct fsck_entries {
    struct fsck_entry *entry;
    size_t count, room;
};
int fsck_entries_add(struct fsck_entries *list, const struct fsck_entry *entry);
/* The good entries of a leaf. *ret_bad: how many were not. */
int fsck_leaf_entries(const struct fsck *fsck, uint64_t ino, uint64_t block,
                      struct fsck_entries *list, unsigned *ret_bad);
/* Writes a directory anew from these entries (sorted, and given their hashes, here); the record's
 * layout, size, entries and blocks are changed, and it is added to the transaction. The blocks of
 * the old tree are given up when the caller has committed. */
int fsck_dir_build(struct fsck *fsck, uint64_t ino, struct fsck_entries *entries,
                   struct dxf_inode *record);
/* The same as one repair, with the entries that are there and `more`, which may be NULL; new_links is
 * added to the link count. -ENOSPC: nothing has changed. */
int fsck_dir_rebuild(struct fsck *fsck, uint64_t ino, const struct fsck_entries *more,
                     uint32_t new_links);

#endif
