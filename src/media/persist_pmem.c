/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Real persistent memory, or memory treated as if it were: libpmem writes back the lines and fences.
 *
 * libpmem chooses by itself between stores with a write-back and non-temporal ones (from 256 bytes),
 * and leaves the write-back out where the caches survive a power cut; so nothing is asked of it here
 * but not to fence: a batch has one fence, at its end.
 */
#include "media/persist.h"

#include <errno.h>
#include <libpmem.h>
#include <stdlib.h>
#include <string.h>

static void pmem_table_store(struct persist *persist, void *to, const void *from, size_t length)
{
    (void)persist;
    memcpy(to, from, length);
}

static void pmem_table_store64(struct persist *persist, void *to, uint64_t raw)
{
    (void)persist;
    atomic_store_explicit((_Atomic uint64_t *)to, raw, memory_order_release);
}

static void pmem_table_copy(struct persist *persist, void *to, const void *from, size_t length)
{
    (void)persist;
    pmem_memcpy(to, from, length, PMEM_F_MEM_NODRAIN);
}

static void pmem_table_set(struct persist *persist, void *to, int value, size_t length)
{
    (void)persist;
    pmem_memset(to, value, length, PMEM_F_MEM_NODRAIN);
}

static void pmem_table_flush(struct persist *persist, const void *address, size_t length)
{
    (void)persist;
    pmem_flush(address, length);
}

static int pmem_table_drain(struct persist *persist)
{
    (void)persist;
    pmem_drain();
    return 0;
}

static void pmem_table_close(struct persist *persist)
{
    free(persist);
}

static const struct persist_ops pmem_table = {
    .name = "pmem",
    .store = pmem_table_store,
    .store64 = pmem_table_store64,
    .copy = pmem_table_copy,
    .set = pmem_table_set,
    .flush = pmem_table_flush,
    .drain = pmem_table_drain,
    .close = pmem_table_close,
};

int persist_open_pmem(void *base, size_t size, struct persist **ret_persist)
{
    struct persist *persist = aligned_alloc(64, sizeof(*persist));

    if (persist == NULL)
        return -ENOMEM;
    persist_init(persist, &pmem_table, base, size);
    *ret_persist = persist;
    return 0;
}
