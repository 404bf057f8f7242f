/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A medium behind the page cache: a store is durable when its page has been written out.
 *
 * Each slot keeps the page ranges that its thread sent on their way: sorted, disjoint, not touching,
 * at most RANGES_MAX. When one more would be too many, the two with the smallest gap become one:
 * pages between them that are clean cost nothing. A drain takes the list and waits for its pages;
 * the slot's mutex is held meanwhile, so that in the shared slot nobody finds an empty list while
 * somebody else still waits for pages that were in it. Elsewhere it has no contenders.
 *
 * After one failed write-out the kernel may call the page clean and the next one would succeed;
 * hence a failure is remembered for ever.
 *
 * Without durability (the process may be killed, the system not) nothing is remembered: the page
 * cache is coherent and outlives us, and a kill between two instructions loses no store before it,
 * so it is enough that the compiler keeps them in order.
 */
#include "media/persist.h"

#include "base/log.h"
#include "base/uring.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RANGES_MAX 32

/* Above this, a range does not fit the length field of an io_uring request. */
#define URING_BYTES_MAX (1ull << 30)

struct page_range {
    uint64_t first, end; /* pages of the pool */
};

struct paged_slot {
    pthread_mutex_t mutex;
    unsigned count;
    struct page_range ranges[RANGES_MAX];
    enum { RING_NONE, RING_READY, RING_BROKEN } ring_state;
    struct io_uring ring;
} __attribute__((aligned(64)));

struct persist_paged {
    struct persist persist;
    int fd;
    bool durable;
    bool have_uring;
    unsigned page_shift;
    _Atomic bool failed;
    struct paged_slot *slots; /* PERSIST_SLOTS; NULL without durability */
};

static struct persist_paged *paged_of(struct persist *persist)
{
    return (struct persist_paged *)persist;
}

static void paged_merge_closest(struct paged_slot *slot)
{
    unsigned best = 0;
    uint64_t best_gap = UINT64_MAX;

    for (unsigned i = 0; i + 1 < slot->count; i++) {
        uint64_t gap = slot->ranges[i + 1].first - slot->ranges[i].end;

        if (gap < best_gap) {
            best_gap = gap;
            best = i;
        }
    }
    slot->ranges[best].end = slot->ranges[best + 1].end;
    memmove(&slot->ranges[best + 1], &slot->ranges[best + 2],
            (slot->count - best - 2) * sizeof(slot->ranges[0]));
    slot->count--;
}

static void paged_add(struct paged_slot *slot, uint64_t first, uint64_t end)
{
    unsigned from = 0, to;

    /* [from, to) are the ranges that overlap or touch the new one. */
    while (from < slot->count && slot->ranges[from].end < first)
        from++;
    for (to = from; to < slot->count && slot->ranges[to].first <= end; to++) {
        if (slot->ranges[to].first < first)
            first = slot->ranges[to].first;
        if (slot->ranges[to].end > end)
            end = slot->ranges[to].end;
    }

    if (from == to) {
        if (slot->count == RANGES_MAX) {
            paged_merge_closest(slot);
            paged_add(slot, first, end);
            return;
        }
        memmove(&slot->ranges[from + 1], &slot->ranges[from],
                (slot->count - from) * sizeof(slot->ranges[0]));
        slot->count++;
    } else {
        memmove(&slot->ranges[from + 1], &slot->ranges[to],
                (slot->count - to) * sizeof(slot->ranges[0]));
        slot->count -= to - from - 1;
    }
    slot->ranges[from] = (struct page_range){ first, end };
}

static void paged_remember(struct persist *persist, const void *address, size_t length)
{
    struct persist_paged *paged = paged_of(persist);
    uint64_t offset = (uint64_t)((const uint8_t *)address - (const uint8_t *)persist->base);

    if (!paged->durable)
        return;

    struct paged_slot *slot = &paged->slots[persist_thread_slot()];

    pthread_mutex_lock(&slot->mutex);
    paged_add(slot, offset >> paged->page_shift, ((offset + length - 1) >> paged->page_shift) + 1);
    pthread_mutex_unlock(&slot->mutex);
}

static void paged_store(struct persist *persist, void *to, const void *from, size_t length)
{
    (void)persist;
    memcpy(to, from, length);
}

static void paged_store64(struct persist *persist, void *to, uint64_t raw)
{
    (void)persist;
    atomic_store_explicit((_Atomic uint64_t *)to, raw, memory_order_release);
}

static void paged_copy(struct persist *persist, void *to, const void *from, size_t length)
{
    memcpy(to, from, length);
    paged_remember(persist, to, length);
}

static void paged_set(struct persist *persist, void *to, int value, size_t length)
{
    memset(to, value, length);
    paged_remember(persist, to, length);
}

static void paged_count_sync(struct persist_paged *paged)
{
    unsigned slot = persist_thread_slot();

    persist_slot_add(&paged->persist.slots[slot].syncs, slot, 1);
}

static int paged_sync_range(struct persist_paged *paged, const struct page_range *range)
{
    uint8_t *start = (uint8_t *)paged->persist.base + (range->first << paged->page_shift);
    uint64_t length = (range->end - range->first) << paged->page_shift;

    paged_count_sync(paged);
    return msync(start, length, MS_SYNC) == 0 ? 0 : -EIO;
}

static bool ring_make(struct io_uring *ring)
{
    const uint8_t fsync_only = IORING_OP_FSYNC;

    if (uring_make(RANGES_MAX, 0, &fsync_only, 1, ring) != 0)
        return false;
    if (uring_enable(ring) == 0)
        return true;
    io_uring_queue_exit(ring);
    return false;
}

/* The slot's ring, made when it is first wanted; false: do without. */
static bool paged_ring(struct persist_paged *paged, struct paged_slot *slot)
{
    if (!paged->have_uring || slot->ring_state == RING_BROKEN)
        return false;
    if (slot->ring_state == RING_NONE)
        slot->ring_state = ring_make(&slot->ring) ? RING_READY : RING_BROKEN;
    return slot->ring_state == RING_READY;
}

/* Waits for all COUNT answers, also after a failure: an answer left over would be taken for one of
 * the next drain. */
static int paged_uring_reap(struct paged_slot *slot, unsigned count)
{
    int result = 0;

    for (unsigned i = 0; i < count; i++) {
        struct io_uring_cqe *cqe;
        int error;

        do {
            error = io_uring_wait_cqe(&slot->ring, &cqe);
        } while (error == -EINTR || error == -EAGAIN);
        if (error < 0) {
            io_uring_queue_exit(&slot->ring);
            slot->ring_state = RING_BROKEN;
            return -EIO;
        }
        if (cqe->res < 0)
            result = -EIO;
        io_uring_cqe_seen(&slot->ring, cqe);
    }
    return result;
}

void persist_paged_make_rings(struct persist *persist)
{
    struct persist_paged *paged = paged_of(persist);

    for (unsigned i = 0; paged->slots != NULL && i < PERSIST_SLOTS; i++)
        if (!paged_ring(paged, &paged->slots[i]))
            break;
}

static int paged_sync_uring(struct persist_paged *paged, struct paged_slot *slot)
{
    unsigned submitted = 0;
    int result = 0;

    for (unsigned i = 0; i < slot->count; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&slot->ring);
        const struct page_range *range = &slot->ranges[i];

        assert(sqe != NULL); /* the ring has as many places as the list */
        io_uring_prep_fsync(sqe, paged->fd, IORING_FSYNC_DATASYNC);
        sqe->off = range->first << paged->page_shift;
        sqe->len = (uint32_t)((range->end - range->first) << paged->page_shift);
    }

    while (submitted < slot->count) {
        int count = io_uring_submit(&slot->ring);

        if (count == -EINTR)
            continue;
        if (count <= 0)
            break;
        paged_count_sync(paged);
        submitted += (unsigned)count;
    }
    result = paged_uring_reap(slot, submitted);
    if (submitted == slot->count || slot->ring_state == RING_BROKEN)
        return result;

    /* The kernel took only some (a filter, a limit): this ring is of no more use. */
    io_uring_queue_exit(&slot->ring);
    slot->ring_state = RING_BROKEN;
    for (unsigned i = submitted; i < slot->count && result == 0; i++)
        result = paged_sync_range(paged, &slot->ranges[i]);
    return result;
}

static int paged_sync_list(struct persist_paged *paged, struct paged_slot *slot)
{
    bool small = true;
    int result = 0;

    for (unsigned i = 0; i < slot->count; i++) {
        if ((slot->ranges[i].end - slot->ranges[i].first) << paged->page_shift > URING_BYTES_MAX)
            small = false;
    }
    if (slot->count > 1 && small && paged_ring(paged, slot))
        return paged_sync_uring(paged, slot);
    for (unsigned i = 0; i < slot->count && result == 0; i++)
        result = paged_sync_range(paged, &slot->ranges[i]);
    return result;
}

static int paged_drain(struct persist *persist)
{
    struct persist_paged *paged = paged_of(persist);
    int result;

    if (!paged->durable) {
        atomic_signal_fence(memory_order_seq_cst);
        return 0;
    }

    struct paged_slot *slot = &paged->slots[persist_thread_slot()];

    pthread_mutex_lock(&slot->mutex);
    result = paged_sync_list(paged, slot);
    slot->count = 0;
    pthread_mutex_unlock(&slot->mutex);

    if (result < 0 && !atomic_exchange(&paged->failed, true))
        log_error("writing out the pool failed: the medium or the host's file system is damaged");
    return atomic_load_explicit(&paged->failed, memory_order_relaxed) ? -EIO : 0;
}

static void paged_close(struct persist *persist)
{
    struct persist_paged *paged = paged_of(persist);

    for (unsigned i = 0; paged->slots != NULL && i < PERSIST_SLOTS; i++) {
        if (paged->slots[i].ring_state == RING_READY)
            io_uring_queue_exit(&paged->slots[i].ring);
        pthread_mutex_destroy(&paged->slots[i].mutex);
    }
    free(paged->slots);
    free(paged);
}

static const struct persist_ops paged_table = {
    .name = "paged",
    .store = paged_store,
    .store64 = paged_store64,
    .copy = paged_copy,
    .set = paged_set,
    .flush = paged_remember,
    .drain = paged_drain,
    .close = paged_close,
};

/* Some kernels and containers have it switched off. */
static bool uring_exists(void)
{
    struct io_uring ring;

    if (io_uring_queue_init(2, &ring, 0) != 0)
        return false;
    io_uring_queue_exit(&ring);
    return true;
}

int persist_open_paged(void *base, size_t size, int fd, bool durable, struct persist **ret_persist)
{
    struct persist_paged *paged = aligned_alloc(64, sizeof(*paged));

    if (paged == NULL)
        return -ENOMEM;
    memset(paged, 0, sizeof(*paged));
    persist_init(&paged->persist, &paged_table, base, size);
    paged->fd = fd;
    paged->durable = durable;
    paged->page_shift = (unsigned)__builtin_ctzl((unsigned long)sysconf(_SC_PAGESIZE));
    if (durable) {
        paged->have_uring = uring_exists();
        paged->slots = aligned_alloc(64, PERSIST_SLOTS * sizeof(*paged->slots));
        if (paged->slots == NULL) {
            free(paged);
            return -ENOMEM;
        }
        memset(paged->slots, 0, PERSIST_SLOTS * sizeof(*paged->slots));
        for (unsigned i = 0; i < PERSIST_SLOTS; i++)
            pthread_mutex_init(&paged->slots[i].mutex, NULL);
    }
    *ret_persist = &paged->persist;
    return 0;
}
