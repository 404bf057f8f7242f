/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a block comes back (S1-S3): given in a transaction, then, after its fence, through the wait
 * for retirement if it was metadata, and through the wait for holds, to free.
 *
 *   commit --data----------------------> release --no hold----------> free
 *          `-metadata-> deferred --retired-^  `-held-> pending --last hold ends-^
 *
 * Where there is no memory to remember a block that has to wait, it stays busy until the next
 * mount: never free too soon.
 */
#include "base/log.h"
#include "space/map.h"
#include "space/space.h"
#include "space/txn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct space_hold {
    struct interval_node node; /* first */
    uint64_t count;            /* of equal holds */
};

struct space_pending {
    struct interval_node node; /* first */
    struct space_pending *next;
};

/* In this order: who is given a block must not find it marked as what it was. */
static void blocks_free(struct space *space, uint64_t start, uint64_t count)
{
    pool_blocks_forget(space->pool, start, count);
    map_give(&space->map, start, count);
    space_note_whole(space);
}

static void blocks_pend(struct space *space, uint64_t start, uint64_t count)
{
    space->waiting += count;
    struct space_pending *pending = calloc(1, sizeof(*pending));
    if (!pending) {
        log_warn("no memory: %llu freed blocks stay in use until the next mount",
                 (unsigned long long)count);
        return;
    }
    pending->node.start = start;
    pending->node.end = start + count;
    interval_tree_insert(&space->pending, &pending->node);
}

void space_release_locked(struct space *space, uint64_t start, uint64_t count)
{
    uint64_t at = start, end = start + count;
    struct interval_node *hold =
        space->holds.root ? interval_tree_first(&space->holds, start, end, INTERVAL_ALL) : NULL;
    for (; hold; hold = interval_tree_next(hold, start, end, INTERVAL_ALL)) {
        if (hold->start > at)
            blocks_free(space, at, hold->start - at);
        uint64_t from = hold->start > at ? hold->start : at;
        uint64_t to = hold->end < end ? hold->end : end;
        if (to <= from)
            continue; /* within an earlier hold */
        blocks_pend(space, from, to - from);
        at = to;
    }
    if (at < end)
        blocks_free(space, at, end - at);
}

bool space_sweep_locked(struct space *space)
{
    uint64_t retired = journal_retired(space->journal);
    bool any = false;
    for (size_t i = 0; i < space->deferred_count;) {
        struct space_deferred deferred = space->deferred[i];
        if (deferred.sequence > retired) {
            i++;
            continue;
        }
        space->deferred[i] = space->deferred[--space->deferred_count];
        space->waiting -= deferred.extent.count;
        space_release_locked(space, deferred.extent.start, deferred.extent.count);
        any = true;
    }
    space->deferred_seen = retired;
    return any;
}

void space_release(struct space *space, const struct space_extent *extents, unsigned count)
{
    if (count == 0)
        return;
    lock_acquire(&space->lock);
    for (unsigned i = 0; i < count; i++)
        space_release_locked(space, extents[i].start, extents[i].count);
    lock_release(&space->lock);
}

void space_release_metadata(struct space *space, const struct space_extent *extents, unsigned count,
                            uint64_t sequence)
{
    if (count == 0)
        return;
    lock_acquire(&space->lock);
    if (journal_retired(space->journal) != space->deferred_seen)
        space_sweep_locked(space);
    for (unsigned i = 0; i < count; i++) {
        space->waiting += extents[i].count;
        if (space->deferred_count == space->deferred_room) {
            size_t room = space->deferred_room ? space->deferred_room * 2 : 256;
            void *deferred = realloc(space->deferred, room * sizeof(*space->deferred));
            if (!deferred) {
                log_warn("no memory: %llu freed blocks stay in use until the next mount",
                         (unsigned long long)extents[i].count);
                continue;
            }
            space->deferred = deferred;
            space->deferred_room = room;
        }
        space->deferred[space->deferred_count++] = (struct space_deferred){ sequence, extents[i] };
    }
    lock_release(&space->lock);
}

/* ---- giving back, in a transaction ---------------------------------------------------------- */

static int extent_damaged(struct txn *txn, const char *reason)
{
    pool_fail(txn->space->pool, reason);
    if (!txn->error)
        txn->error = -EUCLEAN;
    return -EUCLEAN;
}

/* Takes [start, start + count) out of the extent that contains it. */
static int taken_cut(struct txn *txn, unsigned index, uint64_t start, uint64_t count)
{
    struct space_extent *extent = &txn->taken.extent[index];
    uint64_t before = start - extent->start;
    uint64_t after = extent->start + extent->count - (start + count);
    if (before > 0 && after > 0) {
        int error = txn_note(txn, &txn->taken, start + count, after); /* moves the array */
        if (error)
            return error;
        txn->taken.extent[index].count = before;
    } else if (before > 0) {
        extent->count = before;
    } else if (after > 0) {
        *extent = (struct space_extent){ start + count, after };
    } else {
        *extent = txn->taken.extent[--txn->taken.count];
    }
    return 0;
}

int space_free(struct txn *txn, uint64_t start, uint64_t count, unsigned flags)
{
    struct space *space = txn->space;
    struct pool *pool = space->pool;
    bool metadata = flags & SPACE_METADATA;
    if (count == 0)
        return 0;
    /* Under its lock: growth moves the bitmap, and the end. */
    lock_acquire(&space->lock);
    bool possible = start < space->map.blocks && count <= space->map.blocks - start &&
                    !space_is_fixed(&pool->super, start, count);
    bool busy = possible && map_run(&space->map, start, count, false) == count;
    lock_release(&space->lock);
    if (!possible)
        return extent_damaged(txn, "freeing blocks that no file can own");
    /* Metadata is given back block by block, its tables never. */
    if (metadata ? pool_block_is_fixed(pool, start) : !pool_blocks_are_data(pool, start, count))
        return extent_damaged(txn, "freeing blocks that are in use as metadata");
    if (!busy)
        return extent_damaged(txn, "freeing blocks that are free");

    struct txn_extents *given = metadata ? &txn->given_meta : &txn->given_data;
    while (count > 0) {
        uint64_t part = count;
        unsigned i;
        for (i = 0; i < txn->taken.count; i++) {
            struct space_extent taken = txn->taken.extent[i];
            if (start >= taken.start && start < taken.start + taken.count) {
                if (part > taken.start + taken.count - start)
                    part = taken.start + taken.count - start;
                break;
            }
            if (taken.start > start && taken.start < start + part)
                part = taken.start - start;
        }
        int error;
        if (i < txn->taken.count) {
            error = txn_note(txn, &txn->dropped, start, part);
            if (!error)
                error = taken_cut(txn, i, start, part);
        } else {
            error = txn_note(txn, given, start, part);
        }
        if (error)
            return error;
        start += part;
        count -= part;
    }
    return 0;
}

/* ---- holds ----------------------------------------------------------------------------------- */

static struct space_hold *hold_find(struct space *space, uint64_t start, uint64_t end)
{
    struct interval_node *node = interval_tree_first(&space->holds, start, end, INTERVAL_ALL);
    while (node && (node->start != start || node->end != end))
        node = interval_tree_next(node, start, end, INTERVAL_ALL);
    return (struct space_hold *)node;
}

int space_hold_begin(struct space *space, uint64_t start, uint64_t count)
{
    lock_acquire(&space->lock);
    struct space_hold *hold = hold_find(space, start, start + count);
    if (!hold) {
        hold = calloc(1, sizeof(*hold));
        if (!hold) {
            lock_release(&space->lock);
            return -ENOMEM;
        }
        hold->node.start = start;
        hold->node.end = start + count;
        interval_tree_insert(&space->holds, &hold->node);
    }
    hold->count++;
    lock_release(&space->lock);
    return 0;
}

void space_hold_end(struct space *space, uint64_t start, uint64_t count)
{
    uint64_t end = start + count;
    lock_acquire(&space->lock);
    struct space_hold *hold = hold_find(space, start, end);
    assert(hold);
    if (!hold || --hold->count > 0) {
        lock_release(&space->lock);
        return;
    }
    interval_tree_remove(&space->holds, &hold->node);
    struct space_pending *list = NULL, *pending;
    while ((pending = (struct space_pending *)interval_tree_first(&space->pending, start, end,
                                                                  INTERVAL_ALL))) {
        interval_tree_remove(&space->pending, &pending->node);
        pending->next = list;
        list = pending;
    }
    while ((pending = list)) {
        list = pending->next;
        uint64_t blocks = pending->node.end - pending->node.start;
        space->waiting -= blocks;
        space_release_locked(space, pending->node.start, blocks); /* other holds may remain */
        free(pending);
    }
    lock_release(&space->lock);
    free(hold);
}

static void tree_free(struct interval_tree *tree)
{
    while (tree->root) {
        struct interval_node *node = tree->root;
        interval_tree_remove(tree, node);
        free(node); /* the first member of what was allocated */
    }
}

void space_release_close(struct space *space)
{
    free(space->deferred);
    tree_free(&space->holds);
    tree_free(&space->pending);
}
