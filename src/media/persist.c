/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all implementations of the persist table have in common: the slots of threads, the counters,
 * and which drains have something to wait for.
 *
 * A slot below PERSIST_SLOT_SHARED belongs to one thread at a time, so it may be changed without
 * atomic read-modify-write; it is handed on through slots_taken, with release and acquire.
 */
#include "media/persist.h"

#include <assert.h>
#include <daxfuse/format.h>
#include <pthread.h>
#include <string.h>

#define SLOT_UNKNOWN PERSIST_SLOTS

static_assert(PERSIST_SLOTS == 64, "slots_taken is one word");

static _Atomic uint64_t slots_taken;
static pthread_once_t slots_once = PTHREAD_ONCE_INIT;
static pthread_key_t slots_key;
static bool slots_usable;
static _Thread_local unsigned thread_slot = SLOT_UNKNOWN;

/* The key's value is the slot plus 1, as NULL would not be destroyed. */
static void slot_give_back(void *value)
{
    unsigned slot = (unsigned)(uintptr_t)value - 1;

    /* What other destructors of this thread still store goes to the shared slot. */
    thread_slot = PERSIST_SLOT_SHARED;
    atomic_fetch_and_explicit(&slots_taken, ~(1ull << slot), memory_order_release);
}

static void slots_init(void)
{
    slots_usable = pthread_key_create(&slots_key, slot_give_back) == 0;
}

static unsigned slot_take(void)
{
    uint64_t taken = atomic_load_explicit(&slots_taken, memory_order_relaxed);
    unsigned slot;

    pthread_once(&slots_once, slots_init);
    if (!slots_usable)
        return PERSIST_SLOT_SHARED;
    do {
        uint64_t free = ~taken & ~(1ull << PERSIST_SLOT_SHARED);

        if (free == 0)
            return PERSIST_SLOT_SHARED;
        slot = (unsigned)__builtin_ctzll(free);
    } while (!atomic_compare_exchange_weak_explicit(&slots_taken, &taken, taken | 1ull << slot,
                                                    memory_order_acquire, memory_order_relaxed));

    if (pthread_setspecific(slots_key, (void *)(uintptr_t)(slot + 1)) != 0) {
        atomic_fetch_and_explicit(&slots_taken, ~(1ull << slot), memory_order_release);
        return PERSIST_SLOT_SHARED;
    }
    return slot;
}

unsigned persist_thread_slot(void)
{
    if (__builtin_expect(thread_slot == SLOT_UNKNOWN, 0))
        thread_slot = slot_take();
    return thread_slot;
}

void persist_slot_add(_Atomic uint64_t *counter, unsigned slot, uint64_t amount)
{
    if (slot == PERSIST_SLOT_SHARED) {
        atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount,
                          memory_order_relaxed);
}

void persist_init(struct persist *persist, const struct persist_ops *ops, void *base, size_t size)
{
    memset(persist, 0, sizeof(*persist));
    persist->ops = ops;
    persist->base = base;
    persist->size = size;
}

void persist_close(struct persist *persist)
{
    if (persist != NULL)
        persist->ops->close(persist);
}

static uint64_t bytes_of_lines(const void *address, size_t length)
{
    uintptr_t first = (uintptr_t)address & ~(uintptr_t)(DXF_LINE_SIZE - 1);
    uintptr_t end =
        ((uintptr_t)address + length + DXF_LINE_SIZE - 1) & ~(uintptr_t)(DXF_LINE_SIZE - 1);

    return end - first;
}

static void count_store(struct persist *persist)
{
    unsigned slot = persist_thread_slot();

    persist_slot_add(&persist->slots[slot].stores, slot, 1);
}

static void count_flush(struct persist *persist, const void *address, size_t length,
                        enum persist_class what)
{
    unsigned slot = persist_thread_slot();
    struct persist_slot *mine = &persist->slots[slot];

    persist_slot_add(&mine->flushed[what], slot, bytes_of_lines(address, length));
    atomic_store_explicit(&mine->outstanding, true, memory_order_relaxed);
}

static void check_range(const struct persist *persist, const void *address, size_t length)
{
    const uint8_t *base = persist->base;
    const uint8_t *start = address;

    assert(start >= base && length <= persist->size);
    assert((size_t)(start - base) <= persist->size - length);
    (void)base;
    (void)start;
    (void)length;
}

void persist_store(struct persist *persist, void *to, const void *from, size_t length)
{
    if (length == 0)
        return;
    check_range(persist, to, length);
    count_store(persist);
    persist->ops->store(persist, to, from, length);
}

void persist_store64(struct persist *persist, void *to, uint64_t raw)
{
    assert(((uintptr_t)to & 7) == 0);
    check_range(persist, to, 8);
    count_store(persist);
    persist->ops->store64(persist, to, raw);
}

void persist_copy(struct persist *persist, void *to, const void *from, size_t length,
                  enum persist_class what)
{
    if (length == 0)
        return;
    check_range(persist, to, length);
    count_store(persist);
    count_flush(persist, to, length, what);
    persist->ops->copy(persist, to, from, length);
}

void persist_set(struct persist *persist, void *to, int value, size_t length,
                 enum persist_class what)
{
    if (length == 0)
        return;
    check_range(persist, to, length);
    count_store(persist);
    count_flush(persist, to, length, what);
    persist->ops->set(persist, to, value, length);
}

void persist_flush(struct persist *persist, const void *address, size_t length,
                   enum persist_class what)
{
    if (length == 0)
        return;
    check_range(persist, address, length);
    count_flush(persist, address, length, what);
    persist->ops->flush(persist, address, length);
}

int persist_drain(struct persist *persist)
{
    unsigned slot = persist_thread_slot();
    struct persist_slot *mine = &persist->slots[slot];

    /* In the shared slot another thread's drain may just have cleared the flag. */
    if (!atomic_load_explicit(&mine->outstanding, memory_order_relaxed)) {
        if (slot == PERSIST_SLOT_SHARED)
            return persist->ops->drain(persist);
        return 0;
    }
    atomic_store_explicit(&mine->outstanding, false, memory_order_relaxed);
    persist_slot_add(&mine->fences, slot, 1);
    return persist->ops->drain(persist);
}

void persist_get_counters(const struct persist *persist, struct persist_counters *ret_counters)
{
    struct persist_counters sum = { 0 };

    for (unsigned i = 0; i < PERSIST_SLOTS; i++) {
        const struct persist_slot *slot = &persist->slots[i];

        sum.stores += atomic_load_explicit(&slot->stores, memory_order_relaxed);
        for (unsigned c = 0; c < PERSIST_CLASSES; c++)
            sum.flushed[c] += atomic_load_explicit(&slot->flushed[c], memory_order_relaxed);
        sum.fences += atomic_load_explicit(&slot->fences, memory_order_relaxed);
        sum.syncs += atomic_load_explicit(&slot->syncs, memory_order_relaxed);
    }
    *ret_counters = sum;
}
