/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chains of blocks (chain.h).
 *
 * C1 Every block of a chain holds at least one byte, and all but the last are full; so the length
 *    bounds the number of blocks, and a walk that counts bytes ends also where the medium holds a
 *    loop.
 * C2 A chain is never changed in place: its blocks are fresh in the transaction that writes it.
 */
#include "meta/chain.h"

#include "media/validate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_PAYLOAD ((uint32_t)sizeof(((struct dxf_chain *)NULL)->payload))

static const char *chain_check(const void *block, uint64_t self, uint64_t owner, unsigned level,
                               uint64_t blocks)
{
    (void)level;
    return validate_chain(block, self, owner, blocks);
}

static void chain_seal(void *object, uint64_t arg)
{
    (void)arg;
    seal_block(object);
}

/* One block at the front of what is written already. */
static int chain_prepend(struct meta *meta, struct txn *txn, uint64_t owner, uint64_t block,
                         const uint8_t *bytes, uint32_t length, uint64_t next)
{
    struct dxf_chain *chain;

    pool_block_clear_verified(meta->pool, block, 1);
    chain = txn_fresh(txn, block, chain_seal, owner);
    if (chain == NULL)
        return -ENOMEM;
    chain->header.magic = le32_make(DXF_MAGIC_CHAIN);
    chain->header.owner = le64_make(owner);
    chain->header.self = le64_make(block);
    chain->header.used = le32_make(length);
    chain->next = le64_make(next);
    memcpy(chain->payload, bytes, length);
    return 0;
}

int chain_write(struct meta *meta, struct txn *txn, uint64_t owner, const void *bytes,
                uint32_t length, uint64_t *ret_head, uint32_t *ret_blocks)
{
    struct space_request request = { .flags = SPACE_METADATA };
    struct space_extent extent = { 0 };
    uint32_t count = (length + CHAIN_PAYLOAD - 1) / CHAIN_PAYLOAD;
    uint64_t head = 0;

    if (length == 0 || length > DXF_XATTR_CHAIN_MAX)
        return -EINVAL;
    /* From the end to the start, so that each block knows its next one. */
    for (uint32_t i = count; i-- > 0;) {
        uint32_t start = i * CHAIN_PAYLOAD;
        uint32_t part = length - start < CHAIN_PAYLOAD ? length - start : CHAIN_PAYLOAD;
        int error;

        if (extent.count == 0) {
            request.want = i + 1;
            error = space_alloc(txn, &request, &extent);
            if (error)
                return error;
            request.goal = extent.start + extent.count;
        }
        extent.count--;
        error = chain_prepend(meta, txn, owner, extent.start + extent.count,
                              (const uint8_t *)bytes + start, part, head);
        if (error)
            return error;
        head = extent.start + extent.count;
    }
    *ret_head = head;
    *ret_blocks = count;
    return 0;
}

/* Calls fn for each block until it returns non-zero. limit as in chain_read. */
static int chain_visit(struct meta *meta, const struct txn *txn, uint64_t owner, uint64_t head,
                       uint32_t limit,
                       int (*fn)(void *arg, uint64_t block, const struct dxf_chain *chain),
                       void *arg)
{
    uint32_t total = 0;

    for (uint64_t block = head; block != 0;) {
        const struct dxf_chain *chain;
        const void *found;
        uint32_t used;
        int error;

        error = meta_block(meta, txn, block, owner, 0, chain_check, "chain block", &found);
        if (error)
            return error;
        chain = found;
        used = le32_get(chain->header.used);
        if (le32_get(chain->header.magic) != DXF_MAGIC_CHAIN ||
            le64_get(chain->header.owner) != owner || le64_get(chain->header.self) != block)
            return meta_damaged(meta, "chain block", block, owner, "it belongs somewhere else");
        if (used == 0 || used > CHAIN_PAYLOAD || used > limit - total)
            return meta_damaged(meta, "chain block", block, owner, "the chain is too long");
        if (used < CHAIN_PAYLOAD && le64_get(chain->next) != 0)
            return meta_damaged(meta, "chain block", block, owner, "a block inside is not full");
        total += used;
        error = fn(arg, block, chain);
        if (error)
            return error;
        block = le64_get(chain->next);
    }
    return 0;
}

struct chain_reading {
    uint8_t *bytes;
    uint32_t length;
    uint32_t room;
    uint32_t blocks;
};

static int chain_read_block(void *arg, uint64_t block, const struct dxf_chain *chain)
{
    struct chain_reading *reading = arg;
    uint32_t used = le32_get(chain->header.used);

    (void)block;
    if (reading->length + used > reading->room) {
        uint32_t room = reading->room == 0 ? CHAIN_PAYLOAD : reading->room * 2;
        uint8_t *bytes = realloc(reading->bytes, room);

        if (bytes == NULL)
            return -ENOMEM;
        reading->bytes = bytes;
        reading->room = room;
    }
    memcpy(reading->bytes + reading->length, chain->payload, used);
    reading->length += used;
    reading->blocks++;
    return 0;
}

int chain_read(struct meta *meta, const struct txn *txn, uint64_t owner, uint64_t head,
               uint32_t limit, void **ret_bytes, uint32_t *ret_length, uint32_t *ret_blocks)
{
    struct chain_reading reading = { 0 };
    int error;

    error = chain_visit(meta, txn, owner, head, limit, chain_read_block, &reading);
    if (error) {
        free(reading.bytes);
        return error;
    }
    *ret_bytes = reading.bytes;
    *ret_length = reading.length;
    if (ret_blocks != NULL)
        *ret_blocks = reading.blocks;
    return 0;
}

struct chain_listing {
    uint64_t *blocks;
    uint32_t count;
    uint32_t room;
};

static int chain_list_block(void *arg, uint64_t block, const struct dxf_chain *chain)
{
    struct chain_listing *listing = arg;

    (void)chain;
    if (listing->count == listing->room) {
        uint32_t room = listing->room == 0 ? 16 : listing->room * 2;
        uint64_t *blocks = reallocarray(listing->blocks, room, sizeof(*blocks));

        if (blocks == NULL)
            return -ENOMEM;
        listing->blocks = blocks;
        listing->room = room;
    }
    listing->blocks[listing->count++] = block;
    return 0;
}

int chain_free(struct meta *meta, struct txn *txn, uint64_t owner, uint64_t head,
               uint32_t *ret_blocks)
{
    struct chain_listing listing = { 0 };
    int error;

    /* All of it is looked at before the first block goes: a loop must not give a block back twice. */
    error = chain_visit(meta, txn, owner, head, DXF_XATTR_CHAIN_MAX, chain_list_block, &listing);
    for (uint32_t i = 0; error == 0 && i < listing.count; i++) {
        txn_forget(txn, listing.blocks[i]);
        pool_block_clear_verified(meta->pool, listing.blocks[i], 1);
        error = space_free(txn, listing.blocks[i], 1, SPACE_METADATA);
    }
    free(listing.blocks);
    if (error == 0)
        *ret_blocks = listing.count;
    return error;
}
