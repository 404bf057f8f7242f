/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check of chains: extended attributes and long symbolic links.
 */
#include "tools/fsck_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD ((uint32_t)sizeof(((struct dxf_chain *)NULL)->payload))
/* So many blocks hold the longest payload there may be. */
#define CHAIN_BLOCKS_MAX (DXF_XATTR_CHAIN_MAX / PAYLOAD + 2)

static const char *check_block(const struct fsck *fsck, uint64_t ino, uint64_t block,
                               const struct dxf_chain **ret_chain)
{
    const struct dxf_chain *chain;

    if (block >= fsck->pool->blocks || fsck_is_fixed(fsck, block, 1))
        return "a block is outside the pool or on a fixed place";
    chain = pool_block(fsck->pool, block);
    const char *why = validate_chain(chain, block, ino, fsck->pool->blocks);
    if (why == NULL && fsck_bytes_bad(fsck, chain, sizeof(*chain)))
        why = "it can not be read";
    if (why == NULL && le32_get(chain->header.used) < PAYLOAD && le64_get(chain->next) != 0)
        why = "a block inside is not full";
    *ret_chain = chain;
    return why;
}

uint64_t fsck_chain_length(const struct fsck *fsck, uint64_t ino, uint64_t head)
{
    const struct dxf_chain *chain;
    uint64_t count = 0;

    for (uint64_t block = head; block != 0 && count < CHAIN_BLOCKS_MAX; count++) {
        if (check_block(fsck, ino, block, &chain) != NULL)
            break;
        block = le64_get(chain->next);
    }
    return count;
}

/* Claims a chain and gathers its payload; on damage everything is given up again. */
static const char *gather(struct fsck *fsck, uint64_t ino, uint64_t head, uint8_t *payload,
                          uint32_t limit, uint32_t *ret_length, uint64_t *ret_count)
{
    uint64_t blocks[CHAIN_BLOCKS_MAX];
    const struct dxf_chain *chain = NULL;
    const char *why = NULL;
    uint64_t count = 0;
    uint32_t length = 0;

    for (uint64_t block = head; block != 0;) {
        why = count < CHAIN_BLOCKS_MAX ? check_block(fsck, ino, block, &chain)
                                       : "the chain is too long";
        if (why == NULL && fsck_claim(fsck, block, 1) != FSCK_CLAIM_OK)
            why = "a block belongs to somebody else, too";
        if (why != NULL)
            break;
        blocks[count++] = block;
        uint32_t used = le32_get(chain->header.used);
        if (used > limit - length) {
            why = "the chain is too long";
            break;
        }
        memcpy(payload + length, chain->payload, used);
        length += used;
        block = le64_get(chain->next);
    }
    if (why != NULL)
        while (count > 0)
            fsck_unclaim(fsck, blocks[--count], 1);
    *ret_length = length;
    *ret_count = count;
    return why;
}

static void give_up(struct fsck *fsck, uint64_t ino, uint64_t head, uint64_t count)
{
    const struct dxf_chain *chain = NULL;

    for (uint64_t block = head; count > 0; count--) {
        check_block(fsck, ino, block, &chain);
        fsck_unclaim(fsck, block, 1);
        block = le64_get(chain->next);
    }
}

static bool name_twice(const uint8_t *payload, uint32_t length)
{
    for (uint32_t at = 0, next; at < length; at = next) {
        struct dxf_xattr a, b;
        memcpy(&a, payload + at, sizeof(a));
        next = at + (uint32_t)((sizeof(a) + a.name_length + le32_get(a.value_length) + 7) & ~7ull);
        for (uint32_t to = next; to < length;) {
            memcpy(&b, payload + to, sizeof(b));
            if (a.name_space == b.name_space && a.name_length == b.name_length &&
                memcmp(payload + at + sizeof(a), payload + to + sizeof(b), a.name_length) == 0)
                return true;
            to += (uint32_t)((sizeof(b) + b.name_length + le32_get(b.value_length) + 7) & ~7ull);
        }
    }
    return false;
}

/* Takes the attributes out of the record, and what it says of their blocks. */
static int drop_xattrs(struct fsck *fsck, uint64_t ino)
{
    struct dxf_inode record = *fsck_record(fsck, ino);
    uint64_t blocks = le64_get(record.blocks);

    record.xattr = le64_make(0);
    record.flags = le32_make(le32_get(record.flags) & ~DXF_FLAG_CAPABILITY);
    if (record.layout == DXF_LAYOUT_INLINE) {
        blocks = 0;
        for (unsigned i = 0; i < record.count; i++)
            blocks += fsck_extent_get(&record.extent[i]).length;
    } else if (record.layout == DXF_LAYOUT_NONE || record.layout == DXF_LAYOUT_SYMLINK) {
        blocks = 0;
    }
    record.blocks = le64_make(blocks);
    int error = fsck_put_record(fsck, ino, &record);
    return error == 0 ? fsck_commit(fsck) : error;
}

static int check_xattrs(struct fsck *fsck, uint64_t ino, uint8_t *payload, uint64_t *ret_count)
{
    uint64_t head = le64_get(fsck_record(fsck, ino)->xattr);
    uint32_t length;

    *ret_count = 0;
    if (head == 0)
        return 0;
    const char *why = gather(fsck, ino, head, payload, DXF_XATTR_CHAIN_MAX, &length, ret_count);
    if (why == NULL) {
        why = validate_xattrs(payload, length);
        if (why == NULL && name_twice(payload, length))
            why = "a name is there twice";
        if (why == NULL)
            return 0;
    }
    if (!fsck_found(fsck, FSCK_XATTR, "inode %" PRIu64 ", block %" PRIu64 " (%s)", ino, head, why))
        return 0;
    give_up(fsck, ino, head, *ret_count);
    *ret_count = 0;
    return drop_xattrs(fsck, ino);
}

static int check_target(struct fsck *fsck, uint64_t ino, uint8_t *payload, uint64_t *ret_count)
{
    const struct dxf_inode *inode = fsck_record(fsck, ino);
    uint64_t head = le64_get(inode->tree.root);
    struct dxf_inode none = { 0 };
    uint32_t length;

    *ret_count = 0;
    if (inode->layout != DXF_LAYOUT_CHAIN)
        return 0;
    const char *why = gather(fsck, ino, head, payload, DXF_SYMLINK_MAX, &length, ret_count);
    if (why == NULL) {
        if (length != le64_get(inode->size))
            why = "it has another length than the link";
        else if (memchr(payload, '\0', length) != NULL)
            why = "it has a NUL in it";
        else
            return 0;
    }
    if (!fsck_found(fsck, FSCK_SYMLINK, "inode %" PRIu64 ", block %" PRIu64 " (%s)", ino, head,
                    why))
        return 0;
    give_up(fsck, ino, head, *ret_count);
    *ret_count = 0;
    fsck->inode[ino].type = 0;
    int error = fsck_put_record(fsck, ino, &none);
    return error == 0 ? fsck_commit(fsck) : error;
}

int fsck_chains(struct fsck *fsck, uint64_t ino, uint64_t *ret_blocks)
{
    static uint8_t payload[DXF_XATTR_CHAIN_MAX];
    uint64_t target, xattrs;

    int error = check_target(fsck, ino, payload, &target);
    if (error < 0 || fsck->inode[ino].type == 0) {
        *ret_blocks = 0;
        return error;
    }
    error = check_xattrs(fsck, ino, payload, &xattrs);
    *ret_blocks = target + xattrs;
    return error;
}
