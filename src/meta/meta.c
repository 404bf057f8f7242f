/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening and closing the metadata layer, its first content (mkfs), and how it meets damage.
 */
#include "meta/meta.h"

#include "base/endian.h"
#include "base/log.h"
#include "base/random.h"
#include "media/validate.h"
#include "meta/inode.h"
#include "meta/orphan.h"
#include "meta/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* So many different places are named in the log; a reader of damaged things shall not fill it. */
#define META_DAMAGE_NAMED 128

struct damage {
    const char *what; /* static text: compared by address */
    uint64_t number;
    uint64_t ino;
};

struct meta_private {
    struct meta meta; /* first */
    struct lock damage_lock;
    unsigned damage_count; /* guarded by damage_lock, as is what follows */
    struct damage damage[META_DAMAGE_NAMED];
};

static struct meta_private *meta_get_private(struct meta *meta)
{
    return (struct meta_private *)meta;
}

static struct meta_private *meta_new(struct pool *pool, struct journal *journal,
                                     struct space *space)
{
    struct meta_private *private = calloc(1, sizeof(*private));
    if (private != NULL) {
        private->meta.pool = pool;
        private->meta.journal = journal;
        private->meta.space = space;
        lock_init(&private->damage_lock, LOCK_LEAF, 0);
    }
    return private;
}

int meta_open(struct pool *pool, struct journal *journal, struct space *space,
              struct meta **ret_meta)
{
    struct meta_private *private = meta_new(pool, journal, space);
    if (private == NULL)
        return -ENOMEM;
    int rc = table_open(&private->meta);
    if (rc == 0)
        rc = orphan_open(&private->meta);
    if (rc == 0)
        rc = intent_open(&private->meta);
    if (rc < 0) {
        meta_close(&private->meta);
        return rc;
    }
    *ret_meta = &private->meta;
    return 0;
}

/* The superblock learns of damage once, when nothing else is going on. It is of single objects, and
 * keeps nobody from the rest: no NEEDS_FSCK. */
static void meta_mark_damage(struct meta_private *private)
{
    struct pool *pool = private->meta.pool;
    if (private->damage_count == 0 || pool->read_only || atomic_load(&pool->failed))
        return;
    struct dxf_super *super = &pool->super;
    super->error_count = le32_make(le32_get(super->error_count) + private->damage_count);
    if (pool_write_super(pool) < 0)
        log_error("the superblock could not be marked: run fsck.daxfuse");
}

void meta_close(struct meta *meta)
{
    if (meta == NULL)
        return;
    struct meta_private *private = meta_get_private(meta);
    intent_close(meta);
    orphan_close(meta);
    table_close(meta);
    meta_mark_damage(private);
    free(private);
}

/* The first inodes: those below DXF_INO_FIRST are taken for good, two of them are there. */
static int format_inodes(struct meta *meta, uint32_t mode, uint32_t uid, uint32_t gid)
{
    struct txn txn;
    le64 now = le64_make((uint64_t)meta_now());

    txn_begin(&txn, meta->space);
    table_format_reserved(meta, &txn);
    struct dxf_inode *root = inode_edit(meta, &txn, DXF_INO_ROOT);
    struct dxf_inode *orphans = inode_edit(meta, &txn, DXF_INO_ORPHANS);
    if (root != NULL && orphans != NULL) {
        *root = (struct dxf_inode){
            .generation = le32_make(random_nonzero_u32()),
            .mode = le16_make((uint16_t)(S_IFDIR | (mode & 07777))),
            .links = le32_make(2),
            .uid = le32_make(uid),
            .gid = le32_make(gid),
            .parent = le64_make(DXF_INO_ROOT),
            .atime = now,
            .mtime = now,
            .ctime = now,
            .btime = now,
        };
        *orphans = (struct dxf_inode){
            .generation = le32_make(random_nonzero_u32()),
            .mode = le16_make(S_IFREG | 0600),
            .links = le32_make(1),
            .atime = now,
            .mtime = now,
            .ctime = now,
            .btime = now,
        };
        int rc = orphan_format(meta, &txn);
        if (rc < 0) {
            txn_abort(&txn);
            return rc;
        }
    }
    return txn_commit(&txn, NULL);
}

int meta_format(struct pool *pool, struct journal *journal, struct space *space, uint32_t mode,
                uint32_t uid, uint32_t gid)
{
    struct meta_private *private = meta_new(pool, journal, space);
    if (private == NULL)
        return -ENOMEM;

    /* The anchor, no intents, no bad blocks: all are zero to begin with. */
    static_assert(DXF_INTENT_BLOCK == DXF_ANCHOR_BLOCK + 1, "one range");
    static_assert(DXF_BADBLOCK_BLOCK == DXF_ANCHOR_BLOCK + 2, "one range");
    persist_set(pool->persist, pool_block(pool, DXF_ANCHOR_BLOCK), 0, 3 * DXF_BLOCK_SIZE,
                PERSIST_METADATA);
    int rc = table_format(&private->meta);
    if (rc == 0)
        rc = format_inodes(&private->meta, mode, uid, gid);
    table_close(&private->meta);
    free(private);
    return rc;
}

int meta_damaged(struct meta *meta, const char *what, uint64_t number, uint64_t ino,
                 const char *why)
{
    struct meta_private *private = meta_get_private(meta);
    bool named = false, last = false;

    lock_acquire(&private->damage_lock);
    unsigned count = private->damage_count;
    for (unsigned i = 0; i < count && !named; i++) {
        const struct damage *damage = &private->damage[i];
        named = damage->what == what && damage->number == number && damage->ino == ino;
    }
    if (!named && count < META_DAMAGE_NAMED) {
        private->damage[count] = (struct damage){ .what = what, .number = number, .ino = ino };
        private->damage_count = ++count;
        last = count == META_DAMAGE_NAMED;
    } else {
        named = true;
    }
    lock_release(&private->damage_lock);

    if (!named)
        log_error("damaged: %s %llu of inode %llu: %s", what, (unsigned long long)number,
                  (unsigned long long)ino, why);
    if (last)
        log_error("damaged: more places than are listed here; run fsck.daxfuse");
    return -EUCLEAN;
}

int meta_block(struct meta *meta, const struct txn *txn, uint64_t block, uint64_t owner,
               unsigned level, meta_check_fn check, const char *what, const void **ret_block)
{
    struct pool *pool = meta->pool;
    if (block == 0 || block >= pool->blocks)
        return meta_damaged(meta, what, block, owner, "it is outside the pool");

    const void *in_place = pool_block(pool, block);
    const void *bytes = in_place;
    if (txn != NULL)
        bytes = txn_view(txn, pool, block << DXF_BLOCK_SHIFT, DXF_BLOCK_SIZE);
    if (bytes == in_place && !pool_block_verified(pool, block)) {
        const char *why = check(bytes, block, owner, level, pool->blocks);
        if (pool_range_is_bad(pool, block << DXF_BLOCK_SHIFT, DXF_BLOCK_SIZE))
            why = "it can not be read";
        if (why == NULL && !pool_block_set_verified(pool, block))
            why = "the block is in use for something else";
        if (why != NULL)
            return meta_damaged(meta, what, block, owner, why);
    }

    /* What was verified as a part of one tree may be pointed at by another that is damaged. */
    const struct dxf_block_header *header = bytes;
    if (le64_get(header->owner) != owner || le64_get(header->self) != block ||
        le16_get(header->level) != level)
        return meta_damaged(meta, what, block, owner, "the block belongs somewhere else");
    *ret_block = bytes;
    return 0;
}

int64_t meta_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
