/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The range lock of dax/range_lock.h.
 *
 * A holder is in a slot or in the tree; a waiter is in the tree. Slots are words that one
 * compare-and-swap takes and leaves (range_slots.h says which slots a range may have): with few
 * threads on a file, or many in different parts of it, that is all that happens. The tree, an interval
 * tree of nodes, is for who waits, finds no slot, or has a range that no word can hold, and is guarded
 * by an internal lock. range_lock.tree:
 *
 *     0        nobody is in the tree
 *     CLOSED   somebody has the internal lock and may be about to enter the tree
 *     node     the root
 *
 * Each slot is behind a gate: the lock's own behind the tree word, a shard's behind its count of the
 * nodes that have to do with it. Open, that is 0, slots are taken without the internal lock; else only
 * under it. They are left without it.
 *
 * Who takes a slot writes its word, then looks whether the gate is open, then at the other slots that
 * can conflict, and leaves again if the gate is not open or a slot conflicts. Who has the internal
 * lock and may enter the tree closes all gates of its range, the tree word always, then looks at the
 * same slots. All of these accesses are sequentially consistent, so of two that conflict at least one
 * sees the other:
 *
 *   - Two that take slots: each looks at the other's, since a wide range looks at all, and a narrow
 *     one at its shard and at the lock's own. Whoever looks loads the pointer to the shards anew. If it
 *     finds none, the first to use one comes later, and sees what is in the lock's own slots.
 *   - One that takes a slot, and one in the tree or entering it: the former's gate is one that the
 *     latter has closed, as their ranges overlap.
 *   - The gate must be looked at first: it may have been closed and opened in between by somebody who
 *     took a slot under the internal lock.
 *
 * Marked in the tree is what can keep a shared range out: exclusive holders and all waiters. So a
 * shared acquire or release never walks over the shared holders.
 *
 * What holds whenever the internal lock is free:
 *
 *   1. No two holders overlap unless both are shared.
 *   2. Every waiter conflicts with a holder in the tree, or with a slot that has SLOT_NOTIFY, or with
 *      an earlier waiter, or is woken (it will look again by itself). So nobody is forgotten: a
 *      holder or waiter that leaves, or a holder that becomes shared, looks at the waiters that
 *      overlap it, and at no others; from a slot without SLOT_NOTIFY it need not look.
 *   3. A waiter's overtaken counts the acquires that came later, went first, and conflicted with no
 *      earlier waiter. It is at most RANGE_OVERTAKE_MAX.
 *   4. The tree word is 0 if and only if the tree is empty; a shard's gate counts the nodes in the
 *      tree that are wide or in that shard.
 */
#include "dax/range_slots.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define CLOSED ((uintptr_t)1)

/* Few locks are in need of their internal lock at a time: they share some. */
#define INTERNAL_LOCKS 64

static struct {
    _Alignas(64) struct lock lock;
} internal_locks[INTERNAL_LOCKS] = {
    [0 ... INTERNAL_LOCKS - 1] = { LOCK_INITIALIZER(LOCK_LEAF, 0) },
};

enum range_state {
    RANGE_IDLE,
    RANGE_HELD,
    RANGE_WAITING,
    RANGE_UNLOCKED, /* range locks were off at the acquire (DAXFUSE_TEST_SEAMS) */
};

/* Taken only by those that wait; 64 bits, because an order that wraps could wait in a circle. */
static _Atomic uint64_t next_ticket;

static struct range_node *range_node_of(struct interval_node *interval)
{
    return (struct range_node *)((char *)interval - offsetof(struct range_node, interval));
}

static struct lock *internal_lock(const struct range_lock *rl)
{
    uint64_t hash = (uint64_t)(uintptr_t)rl * 0x9e3779b97f4a7c15U;

    return &internal_locks[hash >> 58].lock;
}

static struct interval_tree tree_lock(struct range_lock *rl)
{
    lock_acquire(internal_lock(rl));
    return (struct interval_tree){
        .root = (struct interval_node *)atomic_load_explicit(&rl->tree, memory_order_relaxed),
    };
}

/*
 * An empty tree is opened: release, because the next holder may come without the internal lock. What has
 * not changed is not written, as everybody reads that line.
 */
static void tree_unlock(struct range_lock *rl, const struct interval_tree *tree)
{
    if (atomic_load_explicit(&rl->tree, memory_order_relaxed) != (uintptr_t)tree->root)
        atomic_store_explicit(&rl->tree, (uintptr_t)tree->root, memory_order_release);
    lock_release(internal_lock(rl));
}

static struct range_shard *shards_of(struct range_lock *rl)
{
    return atomic_load_explicit(&rl->shards, memory_order_relaxed);
}

/* NODE may be about to enter the tree, under the internal lock: nobody passes it any more. */
static void gates_close(struct range_lock *rl, const struct interval_tree *tree,
                        const struct range_node *node)
{
    if (!tree->root)
        atomic_exchange_explicit(&rl->tree, CLOSED, memory_order_seq_cst);
    shards_close(shards_of(rl), node);
}

/* NODE has not entered the tree, or has left it. The tree word is tree_unlock()'s. */
static void gates_open(struct range_lock *rl, const struct range_node *node)
{
    shards_open(shards_of(rl), node);
}

static bool node_conflicts(const struct range_node *a, const struct range_node *b)
{
    return a->mode == RANGE_EXCLUSIVE || b->mode == RANGE_EXCLUSIVE;
}

/* Visits everything in TREE that overlaps NODE and conflicts with it; NULL begins and ends. */
static struct range_node *conflict_next(const struct interval_tree *tree,
                                        const struct range_node *node, struct range_node *after)
{
    uint64_t start = node->interval.start, end = node->interval.end;
    enum interval_which which = node->mode == RANGE_SHARED ? INTERVAL_MARKED : INTERVAL_ALL;
    struct interval_node *i;

    i = after ? interval_tree_next(&after->interval, start, end, which)
              : interval_tree_first(tree, start, end, which);
    while (i && (&node->interval == i || !node_conflicts(node, range_node_of(i))))
        i = interval_tree_next(i, start, end, which);
    return i ? range_node_of(i) : NULL;
}

/* Whether the newcomer NODE may have its range at once; is counted by the first whom it passes. */
static bool newcomer_enters(struct range_lock *rl, const struct interval_tree *tree,
                            const struct range_node *node, bool notify)
{
    struct range_node *other = NULL, *first = NULL;

    while ((other = conflict_next(tree, node, other))) {
        if (other->state == RANGE_HELD)
            return false;
        if (!first || other->ticket < first->ticket)
            first = other;
    }
    if (first && first->overtaken >= RANGE_OVERTAKE_MAX)
        return false;
    if (slots_conflict(rl, node, notify))
        return false;
    if (first)
        first->overtaken++;
    return true;
}

static bool waiter_enters(struct range_lock *rl, const struct interval_tree *tree,
                          const struct range_node *node)
{
    struct range_node *other = NULL;

    while ((other = conflict_next(tree, node, other))) {
        if (other->state == RANGE_HELD || other->ticket < node->ticket)
            return false;
    }
    return !slots_conflict(rl, node, true);
}

static void waiter_to_holder(struct range_node *node)
{
    node->state = RANGE_HELD;
    interval_tree_mark(&node->interval, node->mode == RANGE_EXCLUSIVE);
}

/* Invariant 2 for the waiters that overlap [start, end), after something there has gone. */
static void waiters_wake(struct range_lock *rl, const struct interval_tree *tree, uint64_t start,
                         uint64_t end, struct park_batch *batch)
{
    struct interval_node *i;

    for (i = interval_tree_first(tree, start, end, INTERVAL_MARKED); i;
         i = interval_tree_next(i, start, end, INTERVAL_MARKED)) {
        struct range_node *waiter = range_node_of(i);

        if (waiter->state != RANGE_WAITING || waiter->woken || !waiter_enters(rl, tree, waiter))
            continue;
        if (waiter->overtaken >= RANGE_OVERTAKE_MAX)
            waiter_to_holder(waiter);
        else
            waiter->woken = true;
        /* Its thread may go on now, but not past the lock that we hold. */
        park_signal(batch, waiter->park, PARK_WOKEN);
    }
}

/* NODE is in the tree as a waiter. */
static int waiter_sleep(struct range_lock *rl, struct range_node *node,
                        const struct lock_wait *wait)
{
    struct interval_tree tree;
    struct park_batch batch;
    int r;

    batch.count = 0;
    for (;;) {
        r = park_wait(node->park, wait);
        tree = tree_lock(rl);
        if (node->state == RANGE_WAITING && waiter_enters(rl, &tree, node))
            waiter_to_holder(node);
        if (node->state == RANGE_HELD) {
            r = 0;
            break;
        }
        if (r < 0) {
            interval_tree_remove(&tree, &node->interval);
            gates_open(rl, node);
            node->state = RANGE_IDLE;
            waiters_wake(rl, &tree, node->interval.start, node->interval.end, &batch);
            break;
        }
        node->woken = false;
        park_again(node->park);
        tree_unlock(rl, &tree);
    }
    tree_unlock(rl, &tree);
    park_wake(&batch);
    return r;
}

static int acquire_slow(struct range_lock *rl, struct range_node *node,
                        const struct lock_wait *wait)
{
    bool may_wait = !(wait && wait->nowait);
    struct interval_tree tree = tree_lock(rl);

    gates_close(rl, &tree, node);
    if (newcomer_enters(rl, &tree, node, may_wait)) {
        lock_seam_point();
        /* A slot also beside a tree that is in use: it is left sooner, and lets the tree run empty. */
        if (slots_take(rl, node)) {
            gates_open(rl, node);
        } else {
            node->interval.marked = node->mode == RANGE_EXCLUSIVE;
            interval_tree_insert(&tree, &node->interval);
        }
        tree_unlock(rl, &tree);
        return 0;
    }
    if (!may_wait) {
        node->state = RANGE_IDLE;
        gates_open(rl, node);
        tree_unlock(rl, &tree);
        return -EAGAIN;
    }
    node->state = RANGE_WAITING;
    node->ticket = atomic_fetch_add_explicit(&next_ticket, 1, memory_order_relaxed);
    node->overtaken = 0;
    node->woken = false;
    node->park = park_begin(&node->own, wait);
    node->interval.marked = true;
    interval_tree_insert(&tree, &node->interval);
    tree_unlock(rl, &tree);
    return waiter_sleep(rl, node, wait);
}

/* A waiter has set SLOT_NOTIFY. */
static void slot_change_notified(struct range_lock *rl, struct range_node *node)
{
    struct interval_tree tree = tree_lock(rl);
    struct park_batch batch;

    batch.count = 0;
    atomic_store_explicit(node->slot, node->word, memory_order_seq_cst);
    waiters_wake(rl, &tree, node->interval.start, node->interval.end, &batch);
    tree_unlock(rl, &tree);
    park_wake(&batch);
}

/* Changes the slot to WORD, 0 to leave it; if somebody waits for that, looks who can go now. */
static inline void slot_change(struct range_lock *rl, struct range_node *node, uint64_t word)
{
    uint64_t expected = node->word;

    node->word = word;
    if (!atomic_compare_exchange_strong_explicit(node->slot, &expected, word, memory_order_release,
                                                 memory_order_relaxed))
        slot_change_notified(rl, node);
}

/* A holder in the tree leaves it, or becomes shared; looks who can go now. */
static void tree_change(struct range_lock *rl, struct range_node *node, bool leave)
{
    struct interval_tree tree = tree_lock(rl);
    struct park_batch batch;

    batch.count = 0;
    if (leave) {
        interval_tree_remove(&tree, &node->interval);
        gates_open(rl, node);
        node->state = RANGE_IDLE;
    } else {
        node->mode = RANGE_SHARED;
        interval_tree_mark(&node->interval, false);
    }
    waiters_wake(rl, &tree, node->interval.start, node->interval.end, &batch);
    tree_unlock(rl, &tree);
    park_wake(&batch);
}

/* The gates of a new table know who is in the tree before anybody can come to them. */
static void shards_add(struct range_lock *rl)
{
    struct range_shard *shards = shards_new();
    struct interval_tree tree;
    struct interval_node *i;

    if (!shards)
        return;
    tree = tree_lock(rl);
    if (shards_of(rl)) {
        free(shards);
    } else {
        for (i = interval_tree_first(&tree, 0, RANGE_END, INTERVAL_ALL); i;
             i = interval_tree_next(i, 0, RANGE_END, INTERVAL_ALL))
            shards_close(shards, range_node_of(i));
        atomic_store_explicit(&rl->shards, shards, memory_order_seq_cst);
    }
    tree_unlock(rl, &tree);
}

/*
 * The way without the internal lock. If shards come between the looks at the gate and at the slots, the
 * gate is the tree word: that is closed when any other is.
 */
static bool acquire_fast(struct range_lock *rl, struct range_node *node)
{
    _Atomic uintptr_t *gate = slots_gate(rl, node);
    uint64_t word = node->word;

    if (atomic_load_explicit(gate, memory_order_relaxed))
        return false;
    lock_seam_point();
    if (!slots_take(rl, node))
        return false;
    lock_seam_point();
    if (!atomic_load_explicit(gate, memory_order_seq_cst)) {
        lock_seam_point();
        if (!slots_conflict(rl, node, false))
            return true;
    }
    slot_change(rl, node, 0);
    node->slot = NULL;
    node->word = word;
    return false;
}

#ifdef DAXFUSE_LOCK_ORDER
static struct lock_rank range_rank(uint64_t inode, uint64_t start)
{
    return (struct lock_rank){ .class = LOCK_RANGE, .number = inode, .offset = start };
}
#endif

void range_lock_init(struct range_lock *rl)
{
    for (int i = 0; i < RANGE_SLOTS; i++)
        atomic_init(&rl->slots[i], 0);
    atomic_init(&rl->tree, 0);
    atomic_init(&rl->shards, NULL);
}

void range_lock_destroy(struct range_lock *rl)
{
    assert(slots_empty(rl));
    assert(atomic_load_explicit(&rl->tree, memory_order_acquire) == 0);
    free(atomic_exchange_explicit(&rl->shards, NULL, memory_order_acquire));
}

int range_lock_acquire(struct range_lock *rl, struct range_node *node, uint64_t start, uint64_t end,
                       enum range_mode mode, uint64_t inode, const struct lock_wait *wait)
{
    int r;

    if (start >= end)
        return -EINVAL;
    node->interval.start = start;
    node->interval.end = end;
    node->mode = (uint8_t)mode;
    node->state = RANGE_HELD;
    slots_prepare(node);
#ifdef DAXFUSE_TEST_SEAMS
    if (!lock_seam_range_locks_on()) {
        node->state = RANGE_UNLOCKED;
        lock_seam_point();
        return 0;
    }
#endif
#ifdef DAXFUSE_LOCK_ORDER
    struct lock_rank rank = range_rank(inode, start);

    if (!(wait && wait->nowait))
        lock_order_check(&rank);
#else
    (void)inode;
#endif
    lock_seam_point();
    if (slots_contended(rl))
        shards_add(rl);
    if (!acquire_fast(rl, node)) {
        r = acquire_slow(rl, node, wait);
        if (r < 0)
            return r;
    }
#ifdef DAXFUSE_LOCK_ORDER
    lock_order_push_hold(&rank, &node->hold);
#endif
    lock_seam_point();
    return 0;
}

void range_lock_release(struct range_lock *rl, struct range_node *node)
{
    if (node->state == RANGE_UNLOCKED) {
        lock_seam_point();
        return;
    }
    assert(node->state == RANGE_HELD);
    lock_seam_point();
    range_lock_hand_over(node);
    if (node->slot) {
        slot_change(rl, node, 0);
        node->state = RANGE_IDLE;
    } else {
        tree_change(rl, node, true);
    }
    lock_seam_point();
}

void range_lock_downgrade(struct range_lock *rl, struct range_node *node)
{
    if (node->state == RANGE_UNLOCKED)
        return;
    assert(node->state == RANGE_HELD && node->mode == RANGE_EXCLUSIVE);
    if (node->slot) {
        node->mode = RANGE_SHARED;
        slot_change(rl, node, node->word & ~(uint64_t)SLOT_EXCLUSIVE);
    } else {
        tree_change(rl, node, false);
    }
    lock_seam_point();
}

void range_lock_hand_over(struct range_node *node)
{
#ifdef DAXFUSE_LOCK_ORDER
    if (node->state == RANGE_HELD)
        lock_order_pop_hold(&node->hold);
#else
    (void)node;
#endif
}

bool range_lock_held(struct range_lock *rl, uint64_t start, uint64_t end, enum range_mode mode)
{
    struct interval_node *i;
    struct interval_tree tree;
    bool held;

#ifdef DAXFUSE_TEST_SEAMS
    if (!lock_seam_range_locks_on())
        return true;
#endif
    tree = tree_lock(rl);
    held = slots_cover(rl, start, end, mode);
    for (i = interval_tree_first(&tree, start, end, INTERVAL_ALL); i && !held;
         i = interval_tree_next(i, start, end, INTERVAL_ALL)) {
        const struct range_node *node = range_node_of(i);

        held = node->state == RANGE_HELD && i->start <= start && i->end >= end &&
               (mode == RANGE_SHARED || node->mode == RANGE_EXCLUSIVE);
    }
    tree_unlock(rl, &tree);
    return held;
}

uint32_t range_lock_waiting(struct range_lock *rl)
{
    struct interval_tree tree = tree_lock(rl);
    struct interval_node *i;
    uint32_t waiting = 0;

    for (i = interval_tree_first(&tree, 0, RANGE_END, INTERVAL_MARKED); i;
         i = interval_tree_next(i, 0, RANGE_END, INTERVAL_MARKED))
        waiting += range_node_of(i)->state == RANGE_WAITING;
    tree_unlock(rl, &tree);
    return waiting;
}
