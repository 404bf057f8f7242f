/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The slots of dax/range_slots.h. What their words mean is known here only; when a slot may be taken
 * and who must be asked is the protocol at the head of range_lock.c.
 */
#include "dax/range_slots.h"

#include <stdlib.h>
#include <string.h>

/*
 * The word in a slot: three flags, the length, and above it the start; in bytes, or in blocks if both
 * ends are aligned. The greatest length stands for all up to RANGE_END. A length is never 0.
 */
#define SLOT_LENGTH_SHIFT 3
#define SLOT_BYTE_LENGTH_BITS 17  /* 128 KiB */
#define SLOT_BLOCK_LENGTH_BITS 27 /* 512 GiB */
#define SLOT_BLOCK_SHIFT 12

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

/* Neighbouring granules fall to different shards, and so do strides of any length. */
static uint8_t range_shard_of(uint64_t start, uint64_t end)
{
    uint64_t granule = start >> RANGE_GRANULE_SHIFT;

    if ((end - 1) >> RANGE_GRANULE_SHIFT != granule)
        return RANGE_WIDE;
    return (uint8_t)((granule * 0x9e3779b97f4a7c15U >> 32) * RANGE_SHARDS >> 32);
}

void slots_prepare(struct range_node *node)
{
    node->slot = NULL;
    node->shard = range_shard_of(node->interval.start, node->interval.end);
    node->word = slot_encode(node->interval.start, node->interval.end, node->mode);
}

/* Where NODE has its slot; NULL: in the lock itself. */
static struct range_shard *node_shard(struct range_lock *rl, const struct range_node *node)
{
    struct range_shard *shards = atomic_load_explicit(&rl->shards, memory_order_acquire);

    return shards && node->shard != RANGE_WIDE ? &shards[node->shard] : NULL;
}

_Atomic uintptr_t *slots_gate(struct range_lock *rl, const struct range_node *node)
{
    struct range_shard *shard = node_shard(rl, node);

    return shard ? &shard->gate : &rl->tree;
}

bool slots_take(struct range_lock *rl, struct range_node *node)
{
    struct range_shard *shard = node_shard(rl, node);
    _Atomic uint64_t *slots = shard ? shard->slots : rl->slots;
    int count = shard ? RANGE_SHARD_SLOTS : RANGE_SLOTS;

    for (int i = 0; node->word && i < count; i++) {
        uint64_t none = 0;

        if (atomic_load_explicit(&slots[i], memory_order_relaxed))
            continue;
        if (atomic_compare_exchange_strong_explicit(&slots[i], &none, node->word,
                                                    memory_order_seq_cst, memory_order_relaxed)) {
            node->slot = &slots[i];
            return true;
        }
    }
    return false;
}

static inline bool line_conflicts(_Atomic uint64_t *slots, int count, const struct range_node *node,
                                  bool notify)
{
    for (int i = 0; i < count; i++) {
        uint64_t word = atomic_load_explicit(&slots[i], memory_order_seq_cst);

        while (&slots[i] != node->slot && slot_conflicts(word, node)) {
            if (!notify || (word & SLOT_NOTIFY) ||
                atomic_compare_exchange_weak_explicit(&slots[i], &word, word | SLOT_NOTIFY,
                                                      memory_order_seq_cst, memory_order_seq_cst))
                return true;
        }
    }
    return false;
}

bool slots_conflict(struct range_lock *rl, const struct range_node *node, bool notify)
{
    /* Not what slots_take() saw: only a table that is not there now has no holders before us. */
    struct range_shard *shards = atomic_load_explicit(&rl->shards, memory_order_seq_cst);

    if (line_conflicts(rl->slots, RANGE_SLOTS, node, notify))
        return true;
    if (shards && node->shard != RANGE_WIDE)
        return line_conflicts(shards[node->shard].slots, RANGE_SHARD_SLOTS, node, notify);
    for (int i = 0; shards && i < RANGE_SHARDS; i++) {
        if (line_conflicts(shards[i].slots, RANGE_SHARD_SLOTS, node, notify))
            return true;
    }
    return false;
}

/* The N-th slot of all; NULL: no more. */
static _Atomic uint64_t *slot_at(struct range_lock *rl, int n)
{
    struct range_shard *shards = atomic_load_explicit(&rl->shards, memory_order_acquire);

    if (n < RANGE_SLOTS)
        return &rl->slots[n];
    n -= RANGE_SLOTS;
    if (!shards || n >= RANGE_SHARDS * RANGE_SHARD_SLOTS)
        return NULL;
    return &shards[n / RANGE_SHARD_SLOTS].slots[n % RANGE_SHARD_SLOTS];
}

bool slots_cover(struct range_lock *rl, uint64_t start, uint64_t end, enum range_mode mode)
{
    _Atomic uint64_t *slot;

    for (int n = 0; (slot = slot_at(rl, n)); n++) {
        uint64_t word = atomic_load_explicit(slot, memory_order_seq_cst);
        uint64_t slot_start, slot_end;

        slot_decode(word, &slot_start, &slot_end);
        if (word && slot_start <= start && slot_end >= end &&
            (mode == RANGE_SHARED || (word & SLOT_EXCLUSIVE)))
            return true;
    }
    return false;
}

bool slots_empty(struct range_lock *rl)
{
    struct range_shard *shards = atomic_load_explicit(&rl->shards, memory_order_acquire);
    _Atomic uint64_t *slot;

    for (int n = 0; (slot = slot_at(rl, n)); n++) {
        if (atomic_load_explicit(slot, memory_order_acquire))
            return false;
    }
    for (int i = 0; shards && i < RANGE_SHARDS; i++) {
        if (atomic_load_explicit(&shards[i].gate, memory_order_acquire))
            return false;
    }
    return true;
}

static void gates_add(struct range_shard *shards, const struct range_node *node, uintptr_t n)
{
    for (int i = 0; shards && i < RANGE_SHARDS; i++) {
        if (node->shard == RANGE_WIDE || node->shard == i)
            atomic_fetch_add_explicit(&shards[i].gate, n, memory_order_seq_cst);
    }
}

void shards_close(struct range_shard *shards, const struct range_node *node)
{
    gates_add(shards, node, 1);
}

void shards_open(struct range_shard *shards, const struct range_node *node)
{
    gates_add(shards, node, (uintptr_t)-1);
}

bool slots_contended(struct range_lock *rl)
{
    /* Of the thread, not of the lock, whose line this is to keep unwritten. */
    static _Thread_local unsigned int met;

    return !atomic_load_explicit(&rl->shards, memory_order_relaxed) &&
           atomic_load_explicit(&rl->slots[0], memory_order_relaxed) &&
           ++met % RANGE_CONTENDED == 0;
}

struct range_shard *shards_new(void)
{
    size_t size = RANGE_SHARDS * sizeof(struct range_shard);
    struct range_shard *shards = aligned_alloc(_Alignof(struct range_shard), size);

    if (shards)
        memset(shards, 0, size);
    return shards;
}
