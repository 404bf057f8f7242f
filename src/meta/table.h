/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inode table: where a number's record and its line of the inode bitmap lie, and growth.
 *
 * Owns: the anchor, inode 0, the map of the table in memory. Called by meta/inode.c,
 * meta/inode_alloc.c and meta/meta.c only. Locks: table.grow (LOCK_JOURNAL, TXN_ORDER_TABLE) serves
 * as LOCK_MAP of inode 0; finding a place takes none.
 *
 * The map is one array a group, filled once and never moved. A number below `capacity` has its group,
 * its line and its record in the map: growth writes them first and raises capacity after its
 * transaction's commit, with release; who reads capacity with acquire may use them.
 */
#ifndef DAXFUSE_META_TABLE_H
#define DAXFUSE_META_TABLE_H

#include "meta/meta.h"

#define TABLE_GROUP_LINES (DXF_TABLE_GROUP_INODES / DXF_LINE_BITS) /* 64 */
#define TABLE_STRIPES 64u
#define TABLE_SLOTS 16u /* CPUs modulo this have preferred lines of their own */

/* State of a bitmap line: the bits that were set when it was last looked at, and: */
#define TABLE_LINE_USED 0x01ffu
#define TABLE_LINE_DIRTY \
 0x8000u                       /* a transaction has touched it since: look again, under its lock */
#define TABLE_LINE_BAD 0x4000u /* damaged: nothing is taken from it or given back to it */

struct table_group {
    uint64_t block[DXF_TABLE_GROUP_BLOCKS];                 /* of the pool */
    _Atomic uint64_t verified[DXF_TABLE_GROUP_INODES / 64]; /* a bit an inode: was validated */
    _Atomic uint16_t line[TABLE_GROUP_LINES];
    _Atomic bool full; /* a hint: no line had room when a search came by */
};

/* Grows by doubling; readers may still be in an older one, so that those are kept until close. */
struct table_groups {
    struct table_groups *older;
    uint64_t room;
    struct table_group *group[];
};

struct table_stripe {
    _Alignas(DXF_LINE_SIZE) struct lock lock; /* LOCK_JOURNAL, TXN_ORDER_TABLE_LINE + index */
};

struct table_slot {
    _Alignas(DXF_LINE_SIZE) _Atomic uint64_t line; /* preferred */
};

struct meta_table {
    _Atomic uint64_t capacity; /* numbers below this have a place */
    struct table_groups *_Atomic groups;
    struct lock grow;
    uint64_t blocks; /* of the table; guarded by grow */
    uint64_t group_count;
    struct table_stripe stripe[TABLE_STRIPES];
    struct table_slot slot[TABLE_SLOTS];
};

/* Reads the anchor, the table's extents and the bitmap. -EUCLEAN when the table can not be found
 * whole; a damaged bitmap line is only marked. -ENOMEM. table_close accepts that open failed. */
int table_open(struct meta *meta);
void table_close(struct meta *meta);

/* mkfs: an empty table, then its first blocks. The anchor is zero. */
int table_format(struct meta *meta);
/* mkfs: sets the bits of the numbers below DXF_INO_FIRST. */
void table_format_reserved(struct meta *meta, struct txn *txn);

/* Makes capacity larger than `seen`, in a transaction of its own; nothing to do if it is already.
 * Holds no lock of the class LOCK_JOURNAL when called. -ENOSPC, -ENOMEM, -EUCLEAN, -EIO. */
int table_grow(struct meta *meta, uint64_t seen);

static inline uint64_t table_capacity(const struct meta_table *table)
{
    return atomic_load_explicit(&table->capacity, memory_order_acquire);
}

/* Of a number below a capacity that the caller has read. */
static inline struct table_group *table_group_of(const struct meta_table *table, uint64_t ino)
{
    return atomic_load_explicit(&table->groups, memory_order_acquire)
        ->group[ino / DXF_TABLE_GROUP_INODES];
}

/* Pool offset of the record. */
static inline uint64_t table_record(const struct table_group *group, uint64_t ino)
{
    uint64_t index = ino % DXF_TABLE_GROUP_INODES;
    return (group->block[1 + index / DXF_INODES_PER_BLOCK] << DXF_BLOCK_SHIFT) +
           index % DXF_INODES_PER_BLOCK * sizeof(struct dxf_inode);
}

/* Pool offset of a bitmap line, by its number in the whole table. */
static inline uint64_t table_line(const struct table_group *group, uint64_t line)
{
    return (group->block[0] << DXF_BLOCK_SHIFT) + line % TABLE_GROUP_LINES * DXF_LINE_SIZE;
}

/* How many bits of a line stand for numbers that have a place. */
static inline unsigned table_line_bits(uint64_t line, uint64_t capacity)
{
    uint64_t first = line * DXF_LINE_BITS;
    if (capacity <= first)
        return 0;
    return capacity - first < DXF_LINE_BITS ? (unsigned)(capacity - first) : DXF_LINE_BITS;
}

/* The seal of a bitmap line; arg: its number. */
void table_line_seal(void *object, uint64_t line);

#endif
