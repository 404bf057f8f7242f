/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The orphan table (orphan.h): the data of inode 2, lines of seven inode numbers.
 *
 * O1 Line l belongs to stripe l % STRIPES, whose lock is held from the first look at one of its
 *    lines until the transaction has ended. A thread prefers the stripe of its CPU, so that two
 *    threads seldom share a line or its lock.
 * O2 In memory, a stripe knows which places of its lines are used. A transaction that is aborted
 *    tells nobody; so every line that one has staged is noted in the stripe, and whoever takes the
 *    lock next reads the noted lines anew: what is in place is what was committed.
 * O3 The table grows by a block under the lock `grow`, held until the end of the transaction, too.
 *    The new block becomes known to others when the next one takes that lock and finds it in
 *    inode 2, and so only if the transaction was committed. The block is zero, durably, before.
 * O4 Stripes come before `grow` in the order of locks, and a transaction that holds a stripe adds
 *    to that one or to a later one only. Hence a transaction may add as many as it likes.
 */
#include "meta/orphan.h"

#include "media/validate.h"
#include "meta/extent.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define LINES_PER_BLOCK (DXF_BLOCK_SIZE / DXF_LINE_SIZE)
#define STRIPES 16u
#define BLOCK_LINES (LINES_PER_BLOCK / STRIPES) /* lines of one stripe in a block */
#define LINE_FULL ((1u << DXF_ORPHANS_PER_LINE) - 1)
#define TOUCHED_MAX 4u
/* inode.orphan is place + 1 in 32 bits. */
#define BLOCKS_MAX (UINT32_MAX / (LINES_PER_BLOCK * DXF_ORPHANS_PER_LINE))

static_assert(TXN_ORDER_ORPHAN + STRIPES < TXN_ORDER_INTENT, "the order of the locks");

/* Guarded by its lock, `free` excepted. Its line i is line (i % BLOCK_LINES) * STRIPES + its own
 * number of block i / BLOCK_LINES. */
struct stripe {
    struct lock lock;
    _Atomic uint32_t free;         /* places; a hint to others, and too few after an abort */
    _Atomic uint32_t blocks;       /* of which `used` knows the lines; a hint to others */
    uint8_t *used;                 /* a bit for each place of line i */
    uint32_t touched[TOUCHED_MAX]; /* lines staged since the lock was taken */
    uint32_t touched_count;        /* more than TOUCHED_MAX: read all of them */
};

struct meta_orphans {
    struct lock grow;
    struct lock map_lock; /* LOCK_LEAF: guards map, map_count, map_room */
    uint64_t *map;        /* offsets in the pool of the table's blocks */
    uint32_t map_count;
    uint32_t map_room;
    struct stripe stripes[STRIPES];
};

static bool txn_holds(const struct txn *txn, const struct lock *lock)
{
    for (unsigned i = 0; i < txn->held_count; i++) {
        if (txn->held[i] == lock)
            return true;
    }
    return false;
}

static void seal_line(void *object, uint64_t number)
{
    static const struct dxf_orphan_line empty;
    struct dxf_orphan_line *line = object;

    line->csum = le32_make(0);
    if (memcmp(line, &empty, sizeof(empty)) != 0)
        seal_orphan_line(line, number);
}

static uint32_t line_number(uint32_t stripe, uint32_t index)
{
    return index / BLOCK_LINES * LINES_PER_BLOCK + index % BLOCK_LINES * STRIPES + stripe;
}

static uint32_t line_stripe(uint32_t line)
{
    return line % STRIPES;
}

static uint32_t line_index(uint32_t line)
{
    return line / LINES_PER_BLOCK * BLOCK_LINES + line % LINES_PER_BLOCK / STRIPES;
}

/* Offset in the pool of a line, 0 when its block is not known. */
static uint64_t line_offset(struct meta_orphans *orphans, uint32_t line)
{
    uint32_t block = line / LINES_PER_BLOCK;
    uint64_t offset = 0;

    lock_acquire(&orphans->map_lock);
    if (block < orphans->map_count)
        offset = orphans->map[block] + line % LINES_PER_BLOCK * DXF_LINE_SIZE;
    lock_release(&orphans->map_lock);
    return offset;
}

static uint32_t map_count(struct meta_orphans *orphans)
{
    uint32_t count;

    lock_acquire(&orphans->map_lock);
    count = orphans->map_count;
    lock_release(&orphans->map_lock);
    return count;
}

static int map_append(struct meta *meta, uint64_t block)
{
    struct meta_orphans *orphans = meta->orphans;
    int error = 0;

    lock_acquire(&orphans->map_lock);
    if (orphans->map_count == orphans->map_room) {
        uint32_t room = orphans->map_room == 0 ? 8 : orphans->map_room * 2;
        uint64_t *map = reallocarray(orphans->map, room, sizeof(*map));

        if (map == NULL)
            error = -ENOMEM;
        else {
            orphans->map = map;
            orphans->map_room = room;
        }
    }
    if (error == 0) {
        orphans->map[orphans->map_count++] = block << DXF_BLOCK_SHIFT;
        pool_blocks_set_fixed(meta->pool, block, 1);
    }
    lock_release(&orphans->map_lock);
    return error;
}

/* Makes the blocks known that inode 2 has in place (O3). The caller holds `grow` and has not
 * changed inode 2 since. */
static int map_update(struct meta *meta)
{
    struct meta_orphans *orphans = meta->orphans;
    const struct dxf_inode *inode;
    uint64_t blocks;
    int error;

    error = inode_view(meta, NULL, DXF_INO_ORPHANS, &inode);
    if (error)
        return error;
    blocks = le64_get(inode->size) >> DXF_BLOCK_SHIFT;
    if (blocks > BLOCKS_MAX)
        return meta_damaged(meta, "orphan table of size", le64_get(inode->size), DXF_INO_ORPHANS,
                            "it is too long");
    for (uint64_t block = map_count(orphans); block < blocks; block++) {
        struct extent extent;
        uint64_t physical;

        error = extent_lookup(meta, NULL, DXF_INO_ORPHANS, inode, block, &extent);
        if (error)
            return error;
        if (extent.physical == 0)
            return meta_damaged(meta, "block", block, DXF_INO_ORPHANS,
                                "the orphan table has a hole");
        physical = extent.physical + (block - extent.logical);
        if (!pool_blocks_are_data(meta->pool, physical, 1))
            return meta_damaged(meta, "block", block, DXF_INO_ORPHANS,
                                "the orphan table lies on other metadata");
        error = map_append(meta, physical);
        if (error)
            return error;
    }
    return 0;
}

static uint8_t line_used(const struct dxf_orphan_line *line)
{
    uint8_t used = 0;

    for (unsigned i = 0; i < DXF_ORPHANS_PER_LINE; i++) {
        if (le64_get(line->inode[i]) != 0)
            used |= (uint8_t)(1u << i);
    }
    return used;
}

/* NULL, or what is wrong with a line in place. Of a page that can not be read zeros are seen, which
 * would pass. */
static const char *line_check(const struct pool *pool, const struct dxf_orphan_line *line,
                              uint32_t number)
{
    const char *why = validate_orphan_line(line, number);

    if (pool_range_is_bad(pool, (uint64_t)((const uint8_t *)line - pool->base), sizeof(*line)))
        why = "it can not be read";
    return why;
}

/* Reads a line in place into memory. A damaged one counts as full, so that nobody writes to it. */
static void stripe_read(struct meta *meta, struct stripe *stripe, uint32_t index)
{
    uint32_t line = line_number((uint32_t)(stripe - meta->orphans->stripes), index);
    const struct dxf_orphan_line *found = pool_at(meta->pool, line_offset(meta->orphans, line));
    const char *why = line_check(meta->pool, found, line);
    uint8_t used = why != NULL ? LINE_FULL : line_used(found);

    if (why != NULL)
        meta_damaged(meta, "orphan line", line, DXF_INO_ORPHANS, why);
    atomic_fetch_add_explicit(&stripe->free,
                              (uint32_t)__builtin_popcount(stripe->used[index]) -
                                  (uint32_t)__builtin_popcount(used),
                              memory_order_relaxed);
    stripe->used[index] = used;
}

/* Brings memory up to what is in place: O2, and blocks that are new. The lock was just taken. */
static int stripe_update(struct meta *meta, struct stripe *stripe)
{
    uint32_t blocks = map_count(meta->orphans);

    if (stripe->touched_count > TOUCHED_MAX) {
        for (uint32_t i = 0; i < stripe->blocks * BLOCK_LINES; i++)
            stripe_read(meta, stripe, i);
    } else {
        for (uint32_t i = 0; i < stripe->touched_count; i++)
            stripe_read(meta, stripe, stripe->touched[i]);
    }
    stripe->touched_count = 0;
    if (stripe->blocks < blocks) {
        uint8_t *used = realloc(stripe->used, (size_t)blocks * BLOCK_LINES);

        if (used == NULL)
            return -ENOMEM;
        stripe->used = used;
        memset(used + stripe->blocks * BLOCK_LINES, LINE_FULL,
               (size_t)(blocks - stripe->blocks) * BLOCK_LINES);
        for (uint32_t i = stripe->blocks * BLOCK_LINES; i < blocks * BLOCK_LINES; i++)
            stripe_read(meta, stripe, i);
        stripe->blocks = blocks;
    }
    return 0;
}

/* Whether a look at the stripe is worth its lock; `blocks` is what the map has. */
static bool stripe_may_have_room(struct stripe *stripe, uint32_t blocks)
{
    return atomic_load_explicit(&stripe->free, memory_order_relaxed) > 0 ||
           atomic_load_explicit(&stripe->blocks, memory_order_relaxed) < blocks;
}

static int stripe_hold(struct meta *meta, struct txn *txn, struct stripe *stripe)
{
    if (txn_holds(txn, &stripe->lock))
        return 0;
    txn_hold(txn, &stripe->lock);
    return stripe_update(meta, stripe);
}

/* Before a line of a stripe is staged (O2). */
static void stripe_touch(struct stripe *stripe, uint32_t index)
{
    for (uint32_t i = 0; i < stripe->touched_count && i < TOUCHED_MAX; i++) {
        if (stripe->touched[i] == index)
            return;
    }
    if (stripe->touched_count < TOUCHED_MAX)
        stripe->touched[stripe->touched_count] = index;
    if (stripe->touched_count <= TOUCHED_MAX)
        stripe->touched_count++;
}

static struct dxf_orphan_line *line_edit(struct txn *txn, uint64_t offset, uint32_t line)
{
    return txn_edit(txn, offset, sizeof(struct dxf_orphan_line), seal_line, line);
}

static void line_put(struct dxf_orphan_line *line, uint32_t number, unsigned slot, uint64_t ino,
                     struct dxf_inode *inode)
{
    line->inode[slot] = le64_make(ino);
    inode->orphan = le32_make(number * DXF_ORPHANS_PER_LINE + slot + 1);
}

/* Puts the inode into a line of the stripe, whose lock is held. -ENOSPC when it is full. */
static int stripe_add(struct meta *meta, struct txn *txn, struct stripe *stripe, uint64_t ino,
                      struct dxf_inode *inode)
{
    for (uint32_t i = 0; i < stripe->blocks * BLOCK_LINES; i++) {
        uint32_t number = line_number((uint32_t)(stripe - meta->orphans->stripes), i);
        struct dxf_orphan_line *line;
        unsigned slot;

        if (stripe->used[i] == LINE_FULL)
            continue;
        slot = (unsigned)__builtin_ctz(~(unsigned)stripe->used[i]);
        stripe_touch(stripe, i);
        line = line_edit(txn, line_offset(meta->orphans, number), number);
        if (line == NULL)
            return -ENOMEM;
        line_put(line, number, slot, ino, inode);
        stripe->used[i] |= (uint8_t)(1u << slot);
        atomic_fetch_sub_explicit(&stripe->free, 1, memory_order_relaxed);
        return 0;
    }
    return -ENOSPC;
}

/* A block at the end of the table, from the reserve: what frees space must not fail for want of it.
 * The caller holds `grow`, or is alone. */
static int table_grow(struct meta *meta, struct txn *txn, uint64_t *ret_block, uint64_t *ret_index)
{
    struct space_request request = { .want = 1, .flags = SPACE_METADATA | SPACE_RESERVE };
    bool use_reserve = txn->use_reserve;
    const struct dxf_inode *view;
    struct space_extent taken;
    struct dxf_inode *inode;
    struct extent extent;
    int error;

    error = inode_view(meta, txn, DXF_INO_ORPHANS, &view);
    if (error)
        return error;
    inode = inode_edit(meta, txn, DXF_INO_ORPHANS);
    if (inode == NULL)
        return -ENOMEM;
    extent.logical = le64_get(inode->size) >> DXF_BLOCK_SHIFT;
    if (extent.logical >= BLOCKS_MAX)
        return -ENOSPC;
    error = space_alloc(txn, &request, &taken);
    if (error)
        return error;
    persist_set(meta->pool->persist, pool_block(meta->pool, taken.start), 0, DXF_BLOCK_SIZE,
                PERSIST_METADATA);
    txn_data_written(txn);
    extent.physical = taken.start;
    extent.length = 1;
    extent.unwritten = false;
    txn->use_reserve = true;
    error = extent_insert(meta, txn, DXF_INO_ORPHANS, inode, &extent);
    txn->use_reserve = use_reserve;
    if (error)
        return error;
    inode->size = le64_make((extent.logical + 1) << DXF_BLOCK_SHIFT);
    *ret_block = taken.start;
    *ret_index = extent.logical;
    return 0;
}

int orphan_format(struct meta *meta, struct txn *txn)
{
    uint64_t block, index;

    return table_grow(meta, txn, &block, &index);
}

/* Puts the inode into block `index` of the table, which this transaction has added. The lines are in
 * reach of nobody else before it ends, so they need no lock but `grow`. -ENOSPC when it is full. */
static int new_block_add(struct meta *meta, struct txn *txn, uint64_t block, uint64_t index,
                         uint32_t stripe, uint64_t ino, struct dxf_inode *inode)
{
    for (uint32_t i = 0; i < LINES_PER_BLOCK; i++) {
        uint32_t at = (stripe + i) % LINES_PER_BLOCK;
        uint32_t number = (uint32_t)index * LINES_PER_BLOCK + at;
        uint64_t offset = (block << DXF_BLOCK_SHIFT) + at * DXF_LINE_SIZE;
        struct dxf_orphan_line *line;
        uint8_t used = line_used(txn_view(txn, meta->pool, offset, sizeof(*line)));

        if (used == LINE_FULL)
            continue;
        line = line_edit(txn, offset, number);
        if (line == NULL)
            return -ENOMEM;
        line_put(line, number, (unsigned)__builtin_ctz(~(unsigned)used), ino, inode);
        return 0;
    }
    return -ENOSPC;
}

/* The stripes that may be looked at are full: looks again behind `grow`, then grows the table. */
static int grow_and_add(struct meta *meta, struct txn *txn, struct stripe *stripe, uint64_t ino,
                        struct dxf_inode *inode)
{
    struct meta_orphans *orphans = meta->orphans;
    uint32_t number = (uint32_t)(stripe - orphans->stripes);
    uint64_t block = 0, index = 0;
    int error;

    if (!txn_holds(txn, &orphans->grow)) {
        uint32_t touched = stripe->touched_count;

        txn_hold(txn, &orphans->grow);
        error = map_update(meta);
        if (error)
            return error;
        /* The lines that this transaction has staged are not read again. */
        stripe->touched_count = 0;
        error = stripe_update(meta, stripe);
        stripe->touched_count = touched;
        if (error == 0)
            error = stripe_add(meta, txn, stripe, ino, inode);
        if (error != -ENOSPC)
            return error;
    } else {
        const struct dxf_inode *table;
        struct extent extent;

        error = inode_view(meta, txn, DXF_INO_ORPHANS, &table);
        if (error)
            return error;
        index = le64_get(table->size) >> DXF_BLOCK_SHIFT;
        if (index > map_count(orphans)) {
            index--;
            error = extent_lookup(meta, txn, DXF_INO_ORPHANS, table, index, &extent);
            if (error)
                return error;
            block = extent.physical + index - extent.logical;
            error = new_block_add(meta, txn, block, index, number, ino, inode);
            if (error != -ENOSPC)
                return error;
        }
    }
    error = table_grow(meta, txn, &block, &index);
    if (error)
        return error;
    return new_block_add(meta, txn, block, index, number, ino, inode);
}

int orphan_add(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode)
{
    struct meta_orphans *orphans = meta->orphans;
    struct stripe *held = NULL;
    uint32_t first, blocks;
    int cpu, error;

    if (le32_get(inode->orphan) != 0)
        return 0;
    blocks = map_count(orphans);
    for (uint32_t i = 0; i < STRIPES; i++) {
        if (txn_holds(txn, &orphans->stripes[i].lock))
            held = &orphans->stripes[i];
    }
    cpu = sched_getcpu();
    first = cpu < 0 ? 0 : (uint32_t)cpu % STRIPES;
    if (held == NULL) {
        /* `free` and `blocks` are hints: whatever they say, the stripe that is chosen is looked at. */
        for (uint32_t i = 0; i < STRIPES && held == NULL; i++) {
            struct stripe *stripe = &orphans->stripes[(first + i) % STRIPES];

            if (stripe_may_have_room(stripe, blocks))
                held = stripe;
        }
        if (held == NULL)
            held = &orphans->stripes[first];
    }
    error = stripe_hold(meta, txn, held);
    if (error)
        return error;
    error = stripe_add(meta, txn, held, ino, inode);
    for (struct stripe *next = held + 1;
         error == -ENOSPC && next < orphans->stripes + STRIPES &&
         txn->held_count + 2 < TXN_HELD_MAX && !txn_holds(txn, &orphans->grow);
         next++) {
        if (!stripe_may_have_room(next, blocks))
            continue;
        error = stripe_hold(meta, txn, next);
        if (error)
            return error;
        held = next;
        error = stripe_add(meta, txn, next, ino, inode);
    }
    return error == -ENOSPC ? grow_and_add(meta, txn, held, ino, inode) : error;
}

int orphan_remove(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode)
{
    struct meta_orphans *orphans = meta->orphans;
    struct dxf_orphan_line *line;
    struct stripe *stripe;
    uint32_t number, slot;
    uint64_t offset;
    int error;

    if (le32_get(inode->orphan) == 0)
        return 0;
    number = (le32_get(inode->orphan) - 1) / DXF_ORPHANS_PER_LINE;
    slot = (le32_get(inode->orphan) - 1) % DXF_ORPHANS_PER_LINE;
    stripe = &orphans->stripes[line_stripe(number)];
    error = stripe_hold(meta, txn, stripe);
    if (error)
        return error;
    offset = line_offset(orphans, number);
    if (offset == 0 && !txn_holds(txn, &orphans->grow)) {
        txn_hold(txn, &orphans->grow);
        error = map_update(meta);
        if (error)
            return error;
        offset = line_offset(orphans, number);
    }
    if (offset == 0 || line_check(meta->pool, pool_at(meta->pool, offset), number) != NULL)
        return meta_damaged(meta, "orphan line", number, ino, "the place of the inode is damaged");
    if (line_index(number) < stripe->blocks * BLOCK_LINES)
        stripe_touch(stripe, line_index(number));
    line = line_edit(txn, offset, number);
    if (line == NULL)
        return -ENOMEM;
    if (le64_get(line->inode[slot]) != ino)
        return meta_damaged(meta, "orphan line", number, ino, "it does not name the inode");
    line->inode[slot] = le64_make(0);
    inode->orphan = le32_make(0);
    if (line_index(number) < stripe->blocks * BLOCK_LINES) {
        stripe->used[line_index(number)] &= (uint8_t) ~(1u << slot);
        atomic_fetch_add_explicit(&stripe->free, 1, memory_order_relaxed);
    }
    return 0;
}

int orphan_walk(struct meta *meta, int (*fn)(void *arg, uint64_t ino), void *arg)
{
    struct meta_orphans *orphans = meta->orphans;
    int result;

    lock_acquire(&orphans->grow);
    result = map_update(meta);
    lock_release(&orphans->grow);
    for (uint32_t number = 0; result == 0 && number < map_count(orphans) * LINES_PER_BLOCK;
         number++) {
        struct lock *lock = &orphans->stripes[line_stripe(number)].lock;
        struct dxf_orphan_line line;

        lock_acquire(lock);
        memcpy(&line, pool_at(meta->pool, line_offset(orphans, number)), sizeof(line));
        lock_release(lock);
        if (validate_orphan_line(&line, number) != NULL)
            continue; /* logged when it was read into memory */
        for (unsigned slot = 0; result == 0 && slot < DXF_ORPHANS_PER_LINE; slot++) {
            uint64_t ino = le64_get(line.inode[slot]);
            uint32_t place = number * DXF_ORPHANS_PER_LINE + slot;
            const struct dxf_inode *inode;

            if (ino == 0)
                continue;
            if (ino < DXF_INO_FIRST || inode_view(meta, NULL, ino, &inode) != 0 ||
                le32_get(inode->orphan) != place + 1)
                meta_damaged(meta, "orphan line", number, ino, "the inode does not name its place");
            else
                result = fn(arg, ino);
        }
    }
    return result;
}

int orphan_open(struct meta *meta)
{
    struct meta_orphans *orphans = calloc(1, sizeof(*orphans));
    int error;

    if (orphans == NULL)
        return -ENOMEM;
    meta->orphans = orphans;
    lock_init(&orphans->grow, LOCK_JOURNAL, TXN_ORDER_ORPHAN + STRIPES);
    lock_init(&orphans->map_lock, LOCK_LEAF, 0);
    for (uint32_t i = 0; i < STRIPES; i++)
        lock_init(&orphans->stripes[i].lock, LOCK_JOURNAL, TXN_ORDER_ORPHAN + i);
    error = map_update(meta);
    if (error == -ESTALE) /* for a mount that is no answer */
        error = meta_damaged(meta, "orphan table", 0, DXF_INO_ORPHANS, "its inode is free");
    for (uint32_t i = 0; error == 0 && i < STRIPES; i++)
        error = stripe_update(meta, &orphans->stripes[i]);
    if (error)
        orphan_close(meta);
    return error;
}

void orphan_close(struct meta *meta)
{
    struct meta_orphans *orphans = meta->orphans;

    if (orphans == NULL)
        return;
    for (uint32_t i = 0; i < STRIPES; i++)
        free(orphans->stripes[i].used);
    for (uint32_t i = 0; i < orphans->map_count; i++)
        pool_blocks_clear_fixed(meta->pool, orphans->map[i] >> DXF_BLOCK_SHIFT, 1);
    free(orphans->map);
    free(orphans);
    meta->orphans = NULL;
}
