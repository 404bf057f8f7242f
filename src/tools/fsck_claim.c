/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who owns which block: a bit for each, in memory that is zero until it is touched.
 */
#include "tools/fsck_private.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

int fsck_claim_open(struct fsck *fsck)
{
    uint64_t words = (fsck->pool->blocks + 63) / 64;
    void *memory;

    fsck->claimed_bytes = (words * 8 + 4095) & ~4095ull;
    memory = mmap(NULL, fsck->claimed_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    fsck->claimed = memory;
    return 0;
}

void fsck_claim_close(struct fsck *fsck)
{
    if (fsck->claimed != NULL)
        munmap(fsck->claimed, fsck->claimed_bytes);
}

bool fsck_is_fixed(const struct fsck *fsck, uint64_t start, uint64_t count)
{
    const struct dxf_super *super = &fsck->pool->super;
    const struct {
        uint64_t start, count;
    } area[] = {
        { 0, DXF_FIRST_FREE_BLOCK },
        { DXF_SPARE_BLOCK, 1 },
        { le64_get(super->log_start),
          (uint64_t)le32_get(super->log_count) * le32_get(super->log_blocks) },
        { le64_get(super->bitmap_start), le64_get(super->bitmap_blocks) },
    };

    for (unsigned i = 0; i < sizeof(area) / sizeof(area[0]); i++)
        if (start < area[i].start + area[i].count && area[i].start < start + count)
            return true;
    return false;
}

bool fsck_is_claimed(const struct fsck *fsck, uint64_t block)
{
    return fsck->claimed[block / 64] >> block % 64 & 1;
}

/* The bits of [at, end) that lie in the word of at; *ret_next: where the next word begins. */
static uint64_t word_mask(uint64_t at, uint64_t end, uint64_t *ret_next)
{
    uint64_t next = (at / 64 + 1) * 64;
    uint64_t mask = UINT64_MAX << at % 64;

    if (next > end) {
        mask &= UINT64_MAX >> (next - end);
        next = end;
    }
    *ret_next = next;
    return mask;
}

enum fsck_claim fsck_claim(struct fsck *fsck, uint64_t start, uint64_t count)
{
    uint64_t end = start + count, next;

    if (start >= fsck->pool->blocks || count > fsck->pool->blocks - start ||
        fsck_is_fixed(fsck, start, count))
        return FSCK_CLAIM_FIXED;
    for (uint64_t at = start; at < end; at = next)
        if (fsck->claimed[at / 64] & word_mask(at, end, &next))
            return FSCK_CLAIM_TWICE;
    for (uint64_t at = start; at < end; at = next) {
        uint64_t mask = word_mask(at, end, &next);
        fsck->claimed[at / 64] |= mask;
    }
    return FSCK_CLAIM_OK;
}

void fsck_unclaim(struct fsck *fsck, uint64_t start, uint64_t count)
{
    uint64_t end = start + count, next;

    for (uint64_t at = start; at < end; at = next) {
        uint64_t mask = word_mask(at, end, &next);
        fsck->claimed[at / 64] &= ~mask;
    }
}

bool fsck_found_claim(struct fsck *fsck, enum fsck_claim claim, uint64_t ino, const char *what,
                      uint64_t start, uint64_t count)
{
    enum fsck_id id = claim == FSCK_CLAIM_FIXED ? FSCK_BLOCK_FIXED : FSCK_BLOCK_TWICE;

    return fsck_found(fsck, id, "inode %" PRIu64 ", %s, blocks %" PRIu64 "-%" PRIu64, ino, what,
                      start, start + count - 1);
}
