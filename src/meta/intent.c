/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Intents of operations that take more than one transaction (orphan.h): a line each in one block.
 *
 * A line belongs to the operation that has taken its place, from intent_begin to intent_release, so
 * its bytes need no lock of their own (journal invariant J3). Which places are taken is known in
 * memory only; after a mount, those of the intents that were found are, until recovery has ended
 * them. A damaged line's place stays taken.
 */
#include "base/clock.h"
#include "base/park.h"
#include "media/validate.h"
#include "meta/orphan.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert(DXF_INTENTS == 64, "a bit of a word for each");
static_assert(DXF_INTENTS * sizeof(struct dxf_intent) == DXF_BLOCK_SIZE, "one block of them");

struct meta_intents {
    struct lock lock; /* LOCK_LEAF: guards what follows, down to the move of each */
    uint64_t taken;   /* a bit for each place */
    uint64_t damaged; /* these are never free */
    uint64_t moving;  /* those of which extents are being moved: */
    struct moving {
        uint64_t ino, offset;
    } move[DXF_INTENTS];
    _Atomic uint32_t moves;   /* how many these are */
    _Atomic uint32_t changes; /* counts releases; waiters sleep on it */
    _Atomic uint32_t waiting;
};

static uint64_t intent_offset(unsigned number)
{
    return ((uint64_t)DXF_INTENT_BLOCK << DXF_BLOCK_SHIFT) + number * sizeof(struct dxf_intent);
}

static void seal_line(void *object, uint64_t number)
{
    struct dxf_intent *line = object;

    if (le16_get(line->kind) != DXF_INTENT_NONE)
        seal_intent(line, number);
}

/* The lock is held, or nobody else is there. */
static void place_note(struct meta_intents *intents, const struct intent *intent)
{
    intents->taken |= 1ull << intent->number;
    if (!intent_is_shift(intent))
        return;
    intents->moving |= 1ull << intent->number;
    intents->move[intent->number] = (struct moving){ intent->ino, intent->offset };
    atomic_fetch_add(&intents->moves, 1);
}

/* -EBUSY: all are taken; -EUCLEAN: none can ever be free. */
static int place_take(struct meta_intents *intents, struct intent *intent)
{
    uint64_t free;

    lock_acquire(&intents->lock);
    free = ~intents->taken;
    if (free != 0) {
        intent->number = (unsigned)__builtin_ctzll(free);
        place_note(intents, intent);
    }
    lock_release(&intents->lock);
    if (free != 0)
        return 0;
    return intents->damaged == UINT64_MAX ? -EUCLEAN : -EBUSY;
}

void intent_wait(struct meta *meta)
{
    struct meta_intents *intents = meta->intents;
    uint32_t changes = atomic_load_explicit(&intents->changes, memory_order_acquire);
    struct timespec deadline;
    bool full;

    lock_acquire(&intents->lock);
    full = intents->taken == UINT64_MAX;
    lock_release(&intents->lock);
    if (!full)
        return;
    deadline = clock_after(CLOCK_SECOND);
    atomic_fetch_add(&intents->waiting, 1);
    park_futex_wait(&intents->changes, changes, &deadline);
    atomic_fetch_sub(&intents->waiting, 1);
}

static void place_release(struct meta_intents *intents, unsigned number)
{
    lock_acquire(&intents->lock);
    assert(intents->taken & 1ull << number);
    intents->taken &= ~(1ull << number);
    if (intents->moving & 1ull << number) {
        intents->moving &= ~(1ull << number);
        atomic_fetch_sub(&intents->moves, 1);
    }
    lock_release(&intents->lock);
    atomic_fetch_add(&intents->changes, 1);
    if (atomic_load(&intents->waiting) > 0)
        park_futex_wake(&intents->changes, 1);
}

static int intent_stage(struct txn *txn, const struct intent *intent)
{
    struct dxf_intent *line =
        txn_edit(txn, intent_offset(intent->number), sizeof(*line), seal_line, intent->number);

    if (line == NULL)
        return -ENOMEM;
    *line = (struct dxf_intent){
        .kind = le16_make((uint16_t)intent->kind),
        .inode = le64_make(intent->ino),
        .offset = le64_make(intent->offset),
        .length = le64_make(intent->length),
        .cursor = le64_make(intent->cursor),
        .generation = le32_make(intent->generation),
    };
    return 0;
}

int intent_begin(struct meta *meta, struct txn *txn, struct intent *intent)
{
    int error;

    error = place_take(meta->intents, intent);
    if (error)
        return error;
    error = intent_stage(txn, intent);
    if (error)
        place_release(meta->intents, intent->number);
    return error;
}

int intent_update(struct meta *meta, struct txn *txn, const struct intent *intent)
{
    (void)meta;
    return intent_stage(txn, intent);
}

int intent_end(struct meta *meta, struct txn *txn, const struct intent *intent)
{
    struct intent none = { .number = intent->number };

    (void)meta;
    return intent_stage(txn, &none);
}

void intent_release(struct meta *meta, const struct intent *intent)
{
    place_release(meta->intents, intent->number);
}

bool intent_moves(struct meta *meta, uint64_t ino, uint64_t end)
{
    struct meta_intents *intents = meta->intents;
    bool found = false;

    if (atomic_load_explicit(&intents->moves, memory_order_relaxed) == 0)
        return false;
    lock_acquire(&intents->lock);
    for (uint64_t left = intents->moving; left != 0 && !found; left &= left - 1) {
        const struct moving *move = &intents->move[__builtin_ctzll(left)];

        found = move->ino == ino && move->offset < end;
    }
    lock_release(&intents->lock);
    return found;
}

static const struct dxf_intent *intent_line(const struct meta *meta, unsigned number)
{
    return pool_at(meta->pool, intent_offset(number));
}

static struct intent intent_get(const struct meta *meta, unsigned number)
{
    const struct dxf_intent *line = intent_line(meta, number);

    return (struct intent){
        .number = number,
        .kind = le16_get(line->kind),
        .ino = le64_get(line->inode),
        .generation = le32_get(line->generation),
        .offset = le64_get(line->offset),
        .length = le64_get(line->length),
        .cursor = le64_get(line->cursor),
    };
}

int intent_walk(struct meta *meta, int (*fn)(void *arg, const struct intent *intent), void *arg)
{
    int result = 0;

    for (unsigned number = 0; result == 0 && number < DXF_INTENTS; number++) {
        struct intent intent = intent_get(meta, number);

        if (intent.kind != DXF_INTENT_NONE && !(meta->intents->damaged & 1ull << number))
            result = fn(arg, &intent);
    }
    return result;
}

int intent_open(struct meta *meta)
{
    struct meta_intents *intents = calloc(1, sizeof(*intents));

    if (intents == NULL)
        return -ENOMEM;
    lock_init(&intents->lock, LOCK_LEAF, 0);
    for (unsigned number = 0; number < DXF_INTENTS; number++) {
        const struct dxf_intent *line = intent_line(meta, number);
        struct intent intent = intent_get(meta, number);
        const char *why = validate_intent(line, number);

        /* Of a page that can not be read zeros are seen, which pass. */
        if (pool_range_is_bad(meta->pool, intent_offset(number), sizeof(*line)))
            why = "it can not be read";
        if (why != NULL) {
            meta_damaged(meta, "intent", number, le64_get(line->inode), why);
            intents->damaged |= 1ull << number;
            intents->taken |= 1ull << number;
        } else if (intent.kind != DXF_INTENT_NONE) {
            place_note(intents, &intent);
        }
    }
    meta->intents = intents;
    return 0;
}

void intent_close(struct meta *meta)
{
    free(meta->intents);
    meta->intents = NULL;
}
