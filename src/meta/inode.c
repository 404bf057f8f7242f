/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inodes: reading and editing a record. Taking and giving back numbers is in inode_alloc.c.
 *
 * A record is validated for itself alone, at the first look after mount: its neighbours in the block
 * have other locks and may be changing.
 */
#include "meta/inode.h"

#include "base/endian.h"
#include "media/validate.h"
#include "meta/table.h"

#include <errno.h>
#include <string.h>

#define ANCHOR_RECORD \
 ((uint64_t)DXF_ANCHOR_BLOCK * DXF_BLOCK_SIZE + offsetof(struct dxf_anchor, table))

/* A free record is all zero, its checksum too, as one that has never been used. */
static void inode_record_seal(void *object, uint64_t ino)
{
    struct dxf_inode *inode = object;
    if (le16_get(inode->mode) == 0)
        memset(inode, 0, sizeof(*inode));
    else
        seal_inode(inode, ino);
}

static int inode_first_look(struct meta *meta, struct table_group *group, uint64_t ino,
                            uint64_t offset, const struct dxf_inode *inode)
{
    const char *why = validate_inode(inode, ino, meta->pool->blocks);
    if (pool_range_is_bad(meta->pool, offset, sizeof(*inode)))
        why = "it can not be read";
    if (why != NULL)
        return meta_damaged(meta, "record", ino, ino, why);
    uint64_t index = ino % DXF_TABLE_GROUP_INODES;
    atomic_fetch_or_explicit(&group->verified[index / 64], 1ull << index % 64,
                             memory_order_relaxed);
    return 0;
}

int inode_view(struct meta *meta, const struct txn *txn, uint64_t ino,
               const struct dxf_inode **ret_inode)
{
    struct pool *pool = meta->pool;
    struct table_group *group = NULL;
    uint64_t offset = ANCHOR_RECORD; /* which table_open has validated */

    if (ino != DXF_INO_TABLE) {
        if (ino >= table_capacity(meta->table))
            return -ESTALE;
        group = table_group_of(meta->table, ino);
        offset = table_record(group, ino);
    }
    const struct dxf_inode *in_place = pool_at(pool, offset);
    const struct dxf_inode *inode = in_place;
    if (txn != NULL)
        inode = txn_view(txn, pool, offset, sizeof(*inode));
    if (group != NULL && inode == in_place) {
        uint64_t index = ino % DXF_TABLE_GROUP_INODES;
        uint64_t word = atomic_load_explicit(&group->verified[index / 64], memory_order_relaxed);
        if ((word >> index % 64 & 1) == 0) {
            int rc = inode_first_look(meta, group, ino, offset, inode);
            if (rc < 0)
                return rc;
        }
    }
    if (le16_get(inode->mode) == 0) /* free, or zeros over a bad page */
        return pool_range_is_bad(pool, offset, sizeof(*inode)) ? -EIO : -ESTALE;
    *ret_inode = inode;
    return 0;
}

struct dxf_inode *inode_edit(struct meta *meta, struct txn *txn, uint64_t ino)
{
    uint64_t offset = ANCHOR_RECORD;
    if (ino != DXF_INO_TABLE)
        offset = table_record(table_group_of(meta->table, ino), ino);
    return txn_edit(txn, offset, sizeof(struct dxf_inode), inode_record_seal, ino);
}

bool inode_store_times(struct meta *meta, uint64_t ino, unsigned which, int64_t now)
{
    static_assert(sizeof(struct dxf_inode) == JOURNAL_UNIT, "a record is a unit of the journal");
    struct persist *persist = meta->pool->persist;
    uint64_t offset = table_record(table_group_of(meta->table, ino), ino);
    struct dxf_inode *record = pool_at(meta->pool, offset);
    le64 time = le64_make((uint64_t)now);

    /* Of a commit that failed nobody knows whether its entry lives. */
    if (atomic_load(&meta->pool->failed) || !journal_is_quiet(meta->journal, offset) ||
        pool_range_is_bad(meta->pool, offset, sizeof(*record)))
        return false;
    if (which & INODE_ATIME)
        persist_store64(persist, &record->atime, time.raw);
    if (which & INODE_MTIME)
        persist_store64(persist, &record->mtime, time.raw);
    if (which & INODE_CTIME)
        persist_store64(persist, &record->ctime, time.raw);
    persist_flush(persist, &record->atime, 3 * sizeof(le64), PERSIST_METADATA);
    return true;
}
