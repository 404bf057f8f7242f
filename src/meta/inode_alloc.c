/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inodes: taking a number, giving it back, counting.
 *
 * The bitmap on the medium is what counts. A line is read and changed under the lock of its stripe,
 * which the transaction then holds to its end: so a number that is given back can be taken again only
 * after that commit, and what is in place is the truth for whoever has the lock. The states in
 * memory (table.h) only say where to look: one that a transaction has touched is DIRTY and is looked
 * at again, whether the transaction was committed or aborted.
 *
 * A CPU goes on in a line of its own while that has room, so that two threads seldom want one lock;
 * a lock that is taken is passed by while there are other lines.
 */
#include "meta/inode.h"

#include "base/endian.h"
#include "base/random.h"
#include "media/validate.h"
#include "meta/table.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

static _Atomic uint16_t *line_state(const struct meta_table *table, uint64_t line)
{
    return &table_group_of(table, line * DXF_LINE_BITS)->line[line % TABLE_GROUP_LINES];
}

static struct lock *line_lock(struct meta_table *table, uint64_t line)
{
    return &table->stripe[line % TABLE_STRIPES].lock;
}

static bool line_may_have_room(const struct meta_table *table, uint64_t line, uint64_t capacity)
{
    unsigned state = atomic_load_explicit(line_state(table, line), memory_order_relaxed);
    if (state & TABLE_LINE_BAD)
        return false;
    return (state & TABLE_LINE_DIRTY) ||
           (state & TABLE_LINE_USED) < table_line_bits(line, capacity);
}

static bool txn_holds(const struct txn *txn, const struct lock *lock)
{
    for (unsigned i = 0; i < txn->held_count; i++)
        if (txn->held[i] == lock)
            return true;
    return false;
}

static bool line_bit(const struct dxf_bitmap_line *line, unsigned bit)
{
    return le64_get(line->bits[bit / 64]) >> bit % 64 & 1;
}

static void line_set_bit(struct dxf_bitmap_line *line, unsigned bit, bool on)
{
    uint64_t word = le64_get(line->bits[bit / 64]);
    uint64_t mask = 1ull << bit % 64;
    line->bits[bit / 64] = le64_make(on ? word | mask : word & ~mask);
}

/* Next clear bit from `bit` on, or `bits`. */
static unsigned line_next_free(const struct dxf_bitmap_line *line, unsigned bit, unsigned bits)
{
    while (bit < bits) {
        uint64_t clear = ~le64_get(line->bits[bit / 64]) >> bit % 64;
        if (clear != 0) {
            bit += (unsigned)__builtin_ctzll(clear);
            return bit < bits ? bit : bits;
        }
        bit = (bit / 64 + 1) * 64;
    }
    return bits;
}

/* Is the record behind a clear bit really free? One that is not was lost by damage to the bitmap and
 * must not be written over. */
static bool record_is_free(struct meta *meta, const struct txn *txn, uint64_t ino)
{
    const struct dxf_inode *inode;
    int rc = inode_view(meta, txn, ino, &inode);
    if (rc == 0)
        meta_damaged(meta, "record", ino, ino, "it is in use, but its number is free");
    return rc == -ESTALE;
}

/* Takes a number from a line whose lock is held; -ENOSPC when it has none. */
static int line_take(struct meta *meta, struct txn *txn, uint64_t line, unsigned from,
                     uint64_t capacity, uint64_t *ret_ino)
{
    struct table_group *group = table_group_of(meta->table, line * DXF_LINE_BITS);
    uint64_t offset = table_line(group, line);
    const struct dxf_bitmap_line *in_place = pool_at(meta->pool, offset);
    const struct dxf_bitmap_line *view = txn_view(txn, meta->pool, offset, sizeof(*view));
    unsigned bits = table_line_bits(line, capacity);
    bool usable = false;

    for (unsigned round = 0; round < 2; round++) {
        unsigned end = round == 0 ? bits : from;
        for (unsigned bit = round == 0 ? from : 0;; bit++) {
            bit = line_next_free(view, bit, end);
            if (bit >= end)
                break;
            uint64_t ino = line * DXF_LINE_BITS + bit;
            if (!record_is_free(meta, txn, ino))
                continue;
            struct dxf_bitmap_line *edit =
                txn_edit(txn, offset, sizeof(*edit), table_line_seal, line);
            if (edit == NULL)
                return -ENOMEM;
            line_set_bit(edit, bit, true);
            atomic_store_explicit(line_state(meta->table, line),
                                  (uint16_t)(le16_get(in_place->used) | TABLE_LINE_DIRTY),
                                  memory_order_relaxed);
            *ret_ino = ino;
            return 0;
        }
    }
    /* Full; unless only this transaction has made it so. */
    if (view == in_place) {
        unsigned state = le16_get(view->used);
        usable = state == bits;
        atomic_store_explicit(line_state(meta->table, line),
                              (uint16_t)(usable ? state : state | TABLE_LINE_BAD),
                              memory_order_relaxed);
    }
    return -ENOSPC;
}

/* -EAGAIN: somebody else has the line, and the caller did not want to wait. */
static int line_try(struct meta *meta, struct txn *txn, uint64_t line, unsigned from, bool wait,
                    uint64_t *ret_ino)
{
    struct lock *lock = line_lock(meta->table, line);
    bool held = txn_holds(txn, lock);

    if (!held && txn->held_count == TXN_HELD_MAX)
        return -EAGAIN;
    if (!held && !lock_try(lock)) {
        if (!wait)
            return -EAGAIN;
        lock_acquire(lock);
    }
    int rc = line_take(meta, txn, line, from, table_capacity(meta->table), ret_ino);
    if (held)
        return rc;
    if (rc < 0)
        lock_release(lock);
    else
        txn->held[txn->held_count++] = lock; /* as txn_hold() would have */
    return rc;
}

static bool line_is_of_another(const struct meta_table *table, uint64_t line, unsigned own_slot)
{
    for (unsigned i = 0; i < TABLE_SLOTS; i++)
        if (i != own_slot &&
            atomic_load_explicit(&table->slot[i].line, memory_order_relaxed) == line)
            return true;
    return false;
}

static unsigned current_slot(void)
{
    int cpu = sched_getcpu();
    return cpu < 0 ? 0 : (unsigned)cpu % TABLE_SLOTS;
}

static bool group_is_full(const struct meta_table *table, uint64_t ino)
{
    return atomic_load_explicit(&table_group_of(table, ino)->full, memory_order_relaxed);
}

/* Of a search that goes over the lines in order: how many of the group it is in had no room so far. */
struct group_search {
    const struct table_group *group;
    uint64_t without;
};

/* A line has no room. Of a group that is not all there yet nothing is remembered. */
static void search_note(struct group_search *search, struct table_group *group, uint64_t line,
                        uint64_t capacity)
{
    if (group != search->group)
        *search = (struct group_search){ .group = group };
    if (++search->without == TABLE_GROUP_LINES &&
        (line / TABLE_GROUP_LINES + 1) * DXF_TABLE_GROUP_INODES <= capacity)
        atomic_store_explicit(&group->full, true, memory_order_relaxed);
}

/* How hard a scan tries: lines that nobody else goes on in; any line whose lock is free; any, also of
 * groups that are said to be full. */
enum scan_effort { SCAN_ALONE, SCAN_FREE, SCAN_WAIT, SCAN_EFFORTS };

static int table_take(struct meta *meta, struct txn *txn, uint64_t goal, uint64_t capacity,
                      uint64_t *ret_ino)
{
    struct meta_table *table = meta->table;
    uint64_t lines = (capacity + DXF_LINE_BITS - 1) / DXF_LINE_BITS;
    unsigned slot = current_slot();
    uint64_t start = atomic_load_explicit(&table->slot[slot].line, memory_order_relaxed);

    /* Near the goal is in its group: its very line is rather left to whoever is at work there. */
    if (start >= lines)
        start = lines > 0 ? start % lines : 0;
    if (goal != 0 && goal < capacity &&
        start / TABLE_GROUP_LINES != goal / DXF_TABLE_GROUP_INODES && !group_is_full(table, goal))
        start = goal / DXF_LINE_BITS;
    for (unsigned effort = SCAN_ALONE; effort < SCAN_EFFORTS; effort++) {
        struct group_search search = { 0 };
        for (uint64_t i = 0; i < lines; i++) {
            uint64_t line = start + i < lines ? start + i : start + i - lines;
            struct table_group *group = table_group_of(table, line * DXF_LINE_BITS);
            if (effort != SCAN_WAIT && group_is_full(table, line * DXF_LINE_BITS)) {
                uint64_t rest = TABLE_GROUP_LINES - line % TABLE_GROUP_LINES;
                i += (rest < lines - line ? rest : lines - line) - 1;
                continue;
            }
            if (!line_may_have_room(table, line, capacity)) {
                search_note(&search, group, line, capacity);
                continue;
            }
            if (effort == SCAN_ALONE && i > 0 && line_is_of_another(table, line, slot))
                continue;
            unsigned from = goal / DXF_LINE_BITS == line ? (unsigned)(goal % DXF_LINE_BITS) : 0;
            int rc = line_try(meta, txn, line, from, effort == SCAN_WAIT, ret_ino);
            if (rc == 0)
                atomic_store_explicit(&table->slot[slot].line, line, memory_order_relaxed);
            if (rc != -ENOSPC && rc != -EAGAIN)
                return rc;
        }
    }
    return -ENOSPC;
}

int inode_alloc(struct meta *meta, struct txn *txn, uint64_t goal, uint64_t *ret_ino,
                struct dxf_inode **ret_inode)
{
    uint64_t ino = 0;
    int rc;

    for (;;) {
        uint64_t capacity = table_capacity(meta->table);
        rc = table_take(meta, txn, goal, capacity, &ino);
        if (rc != -ENOSPC)
            break;
        rc = table_grow(meta, capacity);
        if (rc < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    struct dxf_inode *inode = inode_edit(meta, txn, ino);
    if (inode == NULL)
        return -ENOMEM;
    memset(inode, 0, sizeof(*inode));
    inode->generation = le32_make(random_nonzero_u32());
    *ret_ino = ino;
    *ret_inode = inode;
    return 0;
}

int inode_free(struct meta *meta, struct txn *txn, uint64_t ino)
{
    struct meta_table *table = meta->table;
    if (ino < DXF_INO_FIRST || ino >= table_capacity(table))
        return -ESTALE;
    uint64_t number = ino / DXF_LINE_BITS;
    uint64_t offset = table_line(table_group_of(table, ino), number);
    _Atomic uint16_t *state = line_state(table, number);

    txn_hold(txn, line_lock(table, number));
    if (atomic_load_explicit(state, memory_order_relaxed) & TABLE_LINE_BAD)
        return meta_damaged(meta, "bitmap line", number, DXF_INO_TABLE,
                            "a number in it can not be given back");
    const struct dxf_bitmap_line *view = txn_view(txn, meta->pool, offset, sizeof(*view));
    if (!line_bit(view, ino % DXF_LINE_BITS))
        return meta_damaged(meta, "bitmap line", number, ino, "the number is free already");

    struct dxf_bitmap_line *line = txn_edit(txn, offset, sizeof(*line), table_line_seal, number);
    struct dxf_inode *inode = inode_edit(meta, txn, ino);
    if (line == NULL || inode == NULL)
        return -ENOMEM;
    line_set_bit(line, ino % DXF_LINE_BITS, false);
    memset(inode, 0, sizeof(*inode));
    atomic_fetch_or_explicit(state, TABLE_LINE_DIRTY, memory_order_relaxed);
    atomic_store_explicit(&table_group_of(table, ino)->full, false, memory_order_relaxed);

    /* In a full table the next number wanted is found here and not by a search. */
    _Atomic uint64_t *preferred = &table->slot[current_slot()].line;
    uint64_t current = atomic_load_explicit(preferred, memory_order_relaxed);
    uint64_t capacity = table_capacity(table);
    if (current * DXF_LINE_BITS >= capacity || !line_may_have_room(table, current, capacity))
        atomic_store_explicit(preferred, number, memory_order_relaxed);
    return 0;
}

/* The bits of a line as they are on the medium; false: damaged. */
static bool line_read(struct meta *meta, uint64_t number, struct dxf_bitmap_line *ret_line)
{
    struct meta_table *table = meta->table;
    struct table_group *group = table_group_of(table, number * DXF_LINE_BITS);
    struct lock *lock = line_lock(table, number);
    _Atomic uint16_t *state = line_state(table, number);

    lock_acquire(lock);
    bool good = (atomic_load_explicit(state, memory_order_relaxed) & TABLE_LINE_BAD) == 0;
    if (good) {
        memcpy(ret_line, pool_at(meta->pool, table_line(group, number)), sizeof(*ret_line));
        atomic_store_explicit(state, le16_get(ret_line->used), memory_order_relaxed);
    }
    lock_release(lock);
    return good;
}

void inode_counts(struct meta *meta, uint64_t *ret_used, uint64_t *ret_more)
{
    struct meta_table *table = meta->table;
    uint64_t capacity = table_capacity(table), used = 0, usable = 0;
    struct space_info info;

    for (uint64_t number = 0; number * DXF_LINE_BITS < capacity; number++) {
        unsigned state = atomic_load_explicit(line_state(table, number), memory_order_relaxed);
        if (state & TABLE_LINE_DIRTY) {
            struct dxf_bitmap_line line;
            if (line_read(meta, number, &line))
                state = le16_get(line.used);
        }
        if (state & TABLE_LINE_BAD)
            continue;
        used += state & TABLE_LINE_USED;
        usable += table_line_bits(number, capacity);
    }
    space_get_info(meta->space, &info);
    *ret_used = used;
    *ret_more = usable - used + info.available / (DXF_TABLE_GROUP_BLOCKS)*DXF_TABLE_GROUP_INODES +
                info.available % DXF_TABLE_GROUP_BLOCKS * DXF_INODES_PER_BLOCK;
}

int inode_walk(struct meta *meta, uint64_t first, int (*fn)(void *arg, uint64_t ino), void *arg)
{
    uint64_t capacity = table_capacity(meta->table);

    for (uint64_t number = first / DXF_LINE_BITS; number * DXF_LINE_BITS < capacity; number++) {
        struct dxf_bitmap_line line;
        if (!line_read(meta, number, &line))
            continue;
        for (unsigned bit = 0; bit < DXF_LINE_BITS; bit++) {
            uint64_t ino = number * DXF_LINE_BITS + bit;
            bool reserved = ino < DXF_INO_FIRST && ino != DXF_INO_ROOT && ino != DXF_INO_ORPHANS;
            if (ino < first || reserved || !line_bit(&line, bit))
                continue;
            int rc = fn(arg, ino);
            if (rc != 0)
                return rc;
        }
    }
    return 0;
}
