/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the check writes: one small redo journal of its own, in the pool's first log, in the format
 * that every mount replays.
 *
 * The logs are empty when the first change is made (pass 1 has replayed them). Each transaction is
 * one entry at the start of log 0: entry, fence, bytes in place, fence. The next one overwrites it,
 * when its bytes are all in place already. So a crash at any store leaves each transaction whole or
 * absent; the entry that is still live is applied once more by the next replay, which changes
 * nothing. Retire slots are written at the end.
 *
 * Before the first change the superblock is marked, so that nobody goes on with a half-repaired pool.
 */
#include "tools/fsck_private.h"

#include "base/checksum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_ROOM_MAX (64u << 10)

int fsck_write_open(struct fsck *fsck, uint64_t last_sequence)
{
    const struct dxf_super *super = &fsck->pool->super;
    uint64_t quarter = (uint64_t)le32_get(super->log_blocks) * DXF_BLOCK_SIZE / 4;

    fsck->sequence = last_sequence;
    fsck->log_used = sizeof(struct dxf_log_entry);
    fsck->log_room = quarter < ENTRY_ROOM_MAX ? (uint32_t)quarter : ENTRY_ROOM_MAX;
    fsck->log = aligned_alloc(DXF_LINE_SIZE, fsck->log_room);
    return fsck->log != NULL ? 0 : -ENOMEM;
}

static int mark_pool(struct fsck *fsck)
{
    struct dxf_super *super = &fsck->pool->super;

    if (fsck->marked)
        return 0;
    fsck->marked = true;
    if (le32_get(super->flags) & DXF_SUPER_NEEDS_FSCK)
        return 0;
    super->flags = le32_make(le32_get(super->flags) | DXF_SUPER_NEEDS_FSCK);
    return pool_write_super(fsck->pool);
}

int fsck_put(struct fsck *fsck, uint64_t offset, const void *content, uint32_t length)
{
    uint32_t need = (uint32_t)sizeof(le64) + length;
    int error = 0;

    if (fsck->log_used + need > fsck->log_room)
        error = fsck_commit(fsck);
    if (error < 0)
        return error;
    le64 head = le64_make(offset | (uint64_t)length << DXF_RECORD_LENGTH_SHIFT);
    memcpy(fsck->log + fsck->log_used, &head, sizeof(head));
    memcpy(fsck->log + fsck->log_used + sizeof(head), content, length);
    fsck->log_used += need;
    return 0;
}

/* Stores (or flushes what was stored) in place. */
static int apply(struct fsck *fsck, bool flush)
{
    struct pool *pool = fsck->pool;

    for (uint32_t at = sizeof(struct dxf_log_entry); at < fsck->log_used;) {
        le64 raw;
        memcpy(&raw, fsck->log + at, sizeof(raw));
        uint64_t offset = le64_get(raw) & DXF_RECORD_OFFSET_MASK;
        uint32_t length = le64_get(raw) >> DXF_RECORD_LENGTH_SHIFT & DXF_RECORD_LENGTH_MAX;
        void *place = pool_at(pool, offset);
        if (flush) {
            persist_flush(pool->persist, place, length, PERSIST_METADATA);
        } else {
            int error = pool_reserve(pool, offset, length);
            if (error < 0)
                return error;
            persist_store(pool->persist, place, fsck->log + at + sizeof(raw), length);
        }
        at += (uint32_t)sizeof(raw) + length;
    }
    return flush ? persist_drain(pool->persist) : 0;
}

int fsck_commit(struct fsck *fsck)
{
    struct pool *pool = fsck->pool;
    const struct dxf_super *super = &pool->super;
    uint32_t used = fsck->log_used;

    if (used == sizeof(struct dxf_log_entry))
        return 0;
    int error = mark_pool(fsck);
    if (error < 0)
        return error;

    struct dxf_log_entry *entry = (void *)fsck->log;
    *entry = (struct dxf_log_entry){
        .magic = le32_make(DXF_LOG_MAGIC),
        .bytes = le32_make(used),
        .sequence = le64_make(++fsck->sequence),
    };
    entry->csum = le64_make(checksum64(fsck->log, used, le64_get(super->log_seed)));

    /* First what is durable without it: new blocks. */
    error = persist_drain(pool->persist);
    if (error == 0) {
        persist_copy(pool->persist, pool_block(pool, le64_get(super->log_start)), fsck->log, used,
                     PERSIST_METADATA);
        error = persist_drain(pool->persist);
    }
    if (error == 0)
        error = apply(fsck, false);
    if (error == 0)
        error = apply(fsck, true);
    fsck->log_used = sizeof(struct dxf_log_entry);
    return error;
}

int fsck_write_block(struct fsck *fsck, uint64_t block, const void *content)
{
    struct pool *pool = fsck->pool;
    int error = mark_pool(fsck);

    if (error == 0)
        error = pool_reserve(pool, block << DXF_BLOCK_SHIFT, DXF_BLOCK_SIZE);
    if (error == 0)
        persist_copy(pool->persist, pool_block(pool, block), content, DXF_BLOCK_SIZE,
                     PERSIST_METADATA);
    return error;
}

/* Is the block free, as far as the bitmap can say? */
static bool bitmap_says_free(const struct fsck *fsck, uint64_t block)
{
    uint64_t number = block / DXF_LINE_BITS, bit = block % DXF_LINE_BITS;
    const struct dxf_bitmap_line *line =
        pool_at(fsck->pool,
                le64_get(fsck->pool->super.bitmap_start) * DXF_BLOCK_SIZE + number * DXF_LINE_SIZE);

    return validate_bitmap_line(line, number) == NULL &&
           !(le64_get(line->bits[bit / 64]) >> bit % 64 & 1);
}

int fsck_take(struct fsck *fsck, uint64_t *ret_block)
{
    uint64_t blocks = fsck->pool->blocks;

    /* A block that only the bitmap calls used may belong to what was left damaged. */
    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < blocks; i++) {
            uint64_t block = (fsck->take_cursor + i) % blocks;
            if (fsck_is_claimed(fsck, block) || (round == 0 && !bitmap_says_free(fsck, block)) ||
                pool_range_is_bad(fsck->pool, block << DXF_BLOCK_SHIFT, DXF_BLOCK_SIZE))
                continue;
            if (fsck_claim(fsck, block, 1) != FSCK_CLAIM_OK)
                continue;
            fsck->take_cursor = block + 1;
            *ret_block = block;
            return 0;
        }
        if (fsck->incomplete)
            break;
    }
    return -ENOSPC;
}

/* Both slots say that nothing is live. */
static int retire(struct fsck *fsck)
{
    struct pool *pool = fsck->pool;
    uint64_t generation = 0;

    for (unsigned i = 0; i < DXF_RETIRE_SLOTS; i++) {
        const struct dxf_retire *slot =
            pool_at(pool, (uint64_t)DXF_JOURNAL_BLOCK * DXF_BLOCK_SIZE + i * DXF_RETIRE_STRIDE);
        if (le64_get(slot->generation) > generation) /* both are valid since pass 1 */
            generation = le64_get(slot->generation);
    }
    for (unsigned i = 0; i < DXF_RETIRE_SLOTS; i++) {
        struct dxf_retire slot = {
            .generation = le64_make(generation + 1 + i),
            .retired = le64_make(fsck->sequence),
        };
        seal_retire(&slot, i);
        persist_copy(
            pool->persist,
            pool_at(pool, (uint64_t)DXF_JOURNAL_BLOCK * DXF_BLOCK_SIZE + i * DXF_RETIRE_STRIDE),
            &slot, sizeof(slot), PERSIST_METADATA);
        int error = persist_drain(pool->persist);
        if (error < 0)
            return error;
    }
    return 0;
}

void fsck_write_close(struct fsck *fsck)
{
    if (fsck->log != NULL && fsck->marked)
        retire(fsck);
    free(fsck->log);
    fsck->log = NULL;
}
