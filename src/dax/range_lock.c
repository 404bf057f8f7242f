/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The range lock of dax/range_lock.h.
 *
 * A holder is in a slot or in the tree; a waiter is in the tree. A slot has the holder's range and
 * mode in one word, so that taking and leaving it is one compare-and-swap each, and nobody ever reads
 * another thread's node: with one or two threads on a file, that is all that happens. The tree, an
 * interval tree of nodes, is for who waits, finds no slot, or has a range that no word can hold, and
 * is guarded by an internal lock. range_lock.tree:
 *
 *     0        open: nobody is in the tree, slots may be taken without the internal lock
 *     CLOSED   somebody has the internal lock and may be about to enter the tree
 *     node     the root: slots are taken only under the internal lock, and left without it
 *
 * Who takes a slot writes its word, then looks whether the tree is open, then at the other slots, and
 * leaves again if the tree is not open or another slot conflicts. Who has the internal lock closes the
 * tree, then looks at the slots. All four are sequentially consistent, so of two that conflict at least one
 * sees the other. (The tree must be looked at first: it may have been closed and opened in between by
 * somebody who took a slot under the internal lock.)
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
 *   4. The tree is open if and only if it is empty.
 */
#include "dax/range_lock.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#define CLOSED ((uintptr_t)1)

/*
 * The word in a slot: three bits, the length, and above it the start; in bytes, or in blocks if both
 * ends are aligned. The greatest length stands for all up to RANGE_END. A length is never 0.
 */
#define SLOT_NOTIFY 1U /* a waiter conflicts: look for it when leaving */
#define SLOT_EXCLUSIVE 2U
#define SLOT_BLOCKS 4U

#define SLOT_LENGTH_SHIFT 3
#define SLOT_BYTE_LENGTH_BITS 17  /* 128 KiB */
#define SLOT_BLOCK_LENGTH_BITS 27 /* 512 GiB */
#define SLOT_BLOCK_SHIFT 12

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

/* Takes the internal lock; the tree is closed until tree_unlock(). */
static struct interval_tree tree_lock(struct range_lock *rl)
{
    uintptr_t root;

    lock_acquire(internal_lock(rl));
    root = atomic_load_explicit(&rl->tree, memory_order_relaxed);
    if (!root)
        atomic_exchange_explicit(&rl->tree, CLOSED, memory_order_seq_cst);
    return (struct interval_tree){ .root = (struct interval_node *)root };
}

/* An empty tree is opened: release, because the next holder may come without the internal lock. */
static void tree_unlock(struct range_lock *rl, const struct interval_tree *tree)
{
    atomic_store_explicit(&rl->tree, (uintptr_t)tree->root, memory_order_release);
    lock_release(internal_lock(rl));
}

static uint64_t slot_pack(uint64_t start, uint64_t length, unsigned int bits)
{
    uint64_t max = ((uint64_t)1 << bits) - 1;

    if (length == RANGE_END)
        length = max;
    else if (length >= max)
        return 0;
    if (start >> (64 - SLOT_LENGTH_SHIFT - bits))
        return 0;
    return start << (SLOT_LENGTH_SHIFT + bits) | length << SLOT_LENGTH_SHIFT;
}

/* The word for a slot, 0 if the range does not fit. */
static uint64_t slot_encode(uint64_t start, uint64_t end, enum range_mode mode)
{
    uint64_t block = (uint64_t)1 << SLOT_BLOCK_SHIFT;
    uint64_t word, flags = mode == RANGE_EXCLUSIVE ? SLOT_EXCLUSIVE : 0;

    if (start % block == 0 && (end % block == 0 || end == RANGE_END)) {
        flags |= SLOT_BLOCKS;
        word = slot_pack(start / block, end == RANGE_END ? end : (end - start) / block,
                         SLOT_BLOCK_LENGTH_BITS);
    } else {
        word = slot_pack(start, end == RANGE_END ? end : end - start, SLOT_BYTE_LENGTH_BITS);
    }
    return word ? word | flags : 0;
}

static void slot_decode(uint64_t word, uint64_t *ret_start, uint64_t *ret_end)
{
    unsigned int bits = word & SLOT_BLOCKS ? SLOT_BLOCK_LENGTH_BITS : SLOT_BYTE_LENGTH_BITS;
    unsigned int shift = word & SLOT_BLOCKS ? SLOT_BLOCK_SHIFT : 0;
    uint64_t max = ((uint64_t)1 << bits) - 1;
    uint64_t length = word >> SLOT_LENGTH_SHIFT & max;
    uint64_t start = word >> (SLOT_LENGTH_SHIFT + bits) << shift;

    *ret_start = start;
    *ret_end = length == max ? RANGE_END : start + (length << shift);
}

/* An empty slot conflicts with nobody. */
static bool slot_conflicts(uint64_t word, const struct range_node *node)
{
    uint64_t start, end;

    if (!word || (node->mode == RANGE_SHARED && !(word & SLOT_EXCLUSIVE)))
        return false;
    slot_decode(word, &start, &end);
    return start < node->interval.end && node->interval.start < end;
}

/*
 * Under the internal lock: whether a slot keeps NODE out. NOTIFY: if so, its holder will look for NODE
 * when it leaves.
 */
static bool slots_conflict(struct range_lock *rl, const struct range_node *node, bool notify)
{
    for (int i = 0; i < RANGE_SLOTS; i++) {
        uint64_t word = atomic_load_explicit(&rl->slots[i], memory_order_seq_cst);

        while (slot_conflicts(word, node)) {
            if (!notify || (word & SLOT_NOTIFY) ||
                atomic_compare_exchange_weak_explicit(&rl->slots[i], &word, word | SLOT_NOTIFY,
                                                      memory_order_seq_cst, memory_order_seq_cst))
                return true;
        }
    }
    return false;
}

/* Puts NODE into a free slot; whether it may stay there is the caller's to find out. */
static bool slot_take(struct range_lock *rl, struct range_node *node)
{
    for (uint8_t i = 0; node->word && i < RANGE_SLOTS; i++) {
        uint64_t none = 0;

        if (atomic_load_explicit(&rl->slots[i], memory_order_relaxed))
            continue;
        node->slot = i;
        if (atomic_compare_exchange_strong_explicit(&rl->slots[i], &none, node->word,
                                                    memory_order_seq_cst, memory_order_relaxed))
            return true;
    }
    node->slot = RANGE_SLOTS;
    return false;
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
        if (waiter->overtaken >= RANGE_OVERTAKE_MAX) {
            /* Its thread may return now, but to let go of the node it needs the lock that we hold. */
            waiter_to_holder(waiter);
            park_signal(batch, waiter->park, PARK_GRANTED);
        } else {
            waiter->woken = true;
            park_signal(batch, waiter->park, PARK_WOKEN);
        }
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
        if (atomic_load_explicit(node->park, memory_order_acquire) & PARK_GRANTED)
            return 0;
        tree = tree_lock(rl);
        if (node->state == RANGE_HELD) {
            r = 0;
            break;
        }
        if (waiter_enters(rl, &tree, node)) {
            waiter_to_holder(node);
            r = 0;
            break;
        }
        if (r < 0) {
            interval_tree_remove(&tree, &node->interval);
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

    if (newcomer_enters(rl, &tree, node, may_wait)) {
        /* A slot also beside a tree that is in use: it is left sooner, and lets the tree run empty. */
        if (!slot_take(rl, node)) {
            node->interval.marked = node->mode == RANGE_EXCLUSIVE;
            interval_tree_insert(&tree, &node->interval);
        }
        tree_unlock(rl, &tree);
        return 0;
    }
    if (!may_wait) {
        node->state = RANGE_IDLE;
        tree_unlock(rl, &tree);
        return -EAGAIN;
    }
    node->slot = RANGE_SLOTS;
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
    atomic_store_explicit(&rl->slots[node->slot], node->word, memory_order_seq_cst);
    waiters_wake(rl, &tree, node->interval.start, node->interval.end, &batch);
    tree_unlock(rl, &tree);
    park_wake(&batch);
}

/* Changes the slot to WORD, 0 to leave it; if somebody waits for that, looks who can go now. */
static inline void slot_change(struct range_lock *rl, struct range_node *node, uint64_t word)
{
    uint64_t expected = node->word;

    node->word = word;
    if (!atomic_compare_exchange_strong_explicit(&rl->slots[node->slot], &expected, word,
                                                 memory_order_release, memory_order_relaxed))
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
        node->state = RANGE_IDLE;
    } else {
        node->mode = RANGE_SHARED;
        interval_tree_mark(&node->interval, false);
    }
    waiters_wake(rl, &tree, node->interval.start, node->interval.end, &batch);
    tree_unlock(rl, &tree);
    park_wake(&batch);
}

/* The way without the internal lock. */
static bool acquire_fast(struct range_lock *rl, struct range_node *node)
{
    bool alone;

    if (atomic_load_explicit(&rl->tree, memory_order_relaxed))
        return false;
    lock_seam_point();
    if (!slot_take(rl, node))
        return false;
    lock_seam_point();
    alone = !atomic_load_explicit(&rl->tree, memory_order_seq_cst);
    for (int i = 0; alone && i < RANGE_SLOTS; i++) {
        if (i != node->slot)
            alone =
                !slot_conflicts(atomic_load_explicit(&rl->slots[i], memory_order_seq_cst), node);
    }
    if (!alone) {
        uint64_t word = node->word;

        slot_change(rl, node, 0);
        node->word = word;
    }
    return alone;
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
}

void range_lock_destroy(struct range_lock *rl)
{
    for (int i = 0; i < RANGE_SLOTS; i++)
        assert(atomic_load_explicit(&rl->slots[i], memory_order_acquire) == 0);
    assert(atomic_load_explicit(&rl->tree, memory_order_acquire) == 0);
    (void)rl;
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
    node->word = slot_encode(start, end, mode);
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
    if (node->slot < RANGE_SLOTS) {
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
    if (node->slot < RANGE_SLOTS) {
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
    bool held = false;

#ifdef DAXFUSE_TEST_SEAMS
    if (!lock_seam_range_locks_on())
        return true;
#endif
    tree = tree_lock(rl);
    for (int n = 0; n < RANGE_SLOTS && !held; n++) {
        uint64_t word = atomic_load_explicit(&rl->slots[n], memory_order_seq_cst);
        uint64_t slot_start, slot_end;

        slot_decode(word, &slot_start, &slot_end);
        held = word && slot_start <= start && slot_end >= end &&
               (mode == RANGE_SHARED || (word & SLOT_EXCLUSIVE));
    }
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
