/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How stores reach the medium: one small table, and the only way to write to a mapped pool.
 *
 * Owns: the counters, and for each thread what it has sent on its way and not yet waited for.
 * Called by everything that stores to the pool; nothing above issues a flush of its own.
 * Takes no lock of base/lock.h; every call is safe from any number of threads on disjoint bytes.
 *
 * The model. A store may reach the medium at any moment from when it is made; it must have reached
 * it when a drain returns that follows its flush, in the same thread. copy and set need no flush.
 *
 *   persist_store  plain stores: visible, not durable          then persist_flush, persist_drain
 *   persist_copy   stores that go on their way to the medium    then persist_drain
 *   persist_set    the same, of one byte value
 *   persist_flush  sends lines of earlier plain stores on their way
 *   persist_drain  waits for all that this thread sent on its way: the ordering point, the fence
 */
#ifndef DAXFUSE_MEDIA_PERSIST_H
#define DAXFUSE_MEDIA_PERSIST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the bytes are, for the counters only. */
enum persist_class {
    PERSIST_DATA,     /* bytes of files */
    PERSIST_METADATA, /* everything else: logs, write-back, tables */
    PERSIST_CLASSES
};

struct persist_counters {
    uint64_t stores;                   /* calls of store, copy, set */
    uint64_t flushed[PERSIST_CLASSES]; /* bytes sent on their way, in whole lines touched */
    uint64_t fences;                   /* drains with something to wait for */
    uint64_t syncs;                    /* system calls made for flushing (not pmem) */
};

/*
 * A thread has a slot of its own in every persist, so that counting and remembering share no cache
 * line between threads; when there are more threads, the rest share the last one. A slot goes on to
 * another thread when its thread ends, and what was outstanding in it goes with it.
 */
#define PERSIST_SLOTS 64u
#define PERSIST_SLOT_SHARED (PERSIST_SLOTS - 1)

struct persist_slot {
    _Atomic uint64_t stores;
    _Atomic uint64_t flushed[PERSIST_CLASSES];
    _Atomic uint64_t fences;
    _Atomic uint64_t syncs;
    _Atomic bool outstanding; /* sent on its way since the last drain */
} __attribute__((aligned(64)));

struct persist;

struct persist_ops {
    const char *name;
    void (*store)(struct persist *, void *to, const void *from, size_t length);
    void (*store64)(struct persist *, void *to, uint64_t raw);
    void (*copy)(struct persist *, void *to, const void *from, size_t length);
    void (*set)(struct persist *, void *to, int value, size_t length);
    void (*flush)(struct persist *, const void *address, size_t length);
    int (*drain)(struct persist *);
    void (*close)(struct persist *);
};

/* An implementation embeds this as its first member. */
struct persist {
    const struct persist_ops *ops;
    void *base; /* of the mapped pool */
    _Atomic size_t size;
    struct persist_slot slots[PERSIST_SLOTS];
};

/* pmem: CLWB or non-temporal stores and a fence, through libpmem. It does not ask whether the
 * medium is pmem: the caller has (and for DRAM in tests wants it anyway). -ENOMEM. */
int persist_open_pmem(void *base, size_t size, struct persist **ret_persist);

/* Not pmem: the pages touched are remembered a thread; drain makes them durable with msync, or
 * with one io_uring submission of ranged fdatasyncs where there are several. fd is the pool's,
 * borrowed until close. With durable false (durability=process) drain only orders. base must be
 * page-aligned. Rings are made in the process that drains: do not fork between. -ENOMEM. */
int persist_open_paged(void *base, size_t size, int fd, bool durable, struct persist **ret_persist);

/* Of persist_open_paged, before other threads use it: makes all rings that it can, since later none may be made. */
void persist_paged_make_rings(struct persist *persist);

/*
 * Recording, for crash tests: notes every store with its bytes, every flush and every fence, in one
 * order for all threads, which is the order in which they happened. pmem chooses the model: FLUSH
 * covers whole lines, or else whole pages. COPY is a store that needs no flush in either model. A
 * drain with nothing outstanding is no fence and gives no event.
 */
enum persist_event_kind {
    PERSIST_EVENT_STORE,
    PERSIST_EVENT_COPY,
    PERSIST_EVENT_FLUSH,
    PERSIST_EVENT_FENCE,
};

struct persist_event {
    enum persist_event_kind kind;
    uint64_t offset;
    uint32_t length;      /* longer ones come as several events */
    uint32_t thread;      /* small number of the calling thread */
    const uint8_t *bytes; /* of STORE and COPY: the new content, valid during the call; else NULL */
};

/* Called after the stores of the event were made, under the recording's mutex: it must not call the
 * persist layer. */
typedef void (*persist_event_fn)(void *arg, const struct persist_event *event);
int persist_open_recording(void *base, size_t size, bool pmem, persist_event_fn on_event, void *arg,
                           struct persist **ret_persist);

/* Makes nothing durable; no thread may be in a call. NULL is allowed. */
void persist_close(struct persist *persist);

void persist_store(struct persist *persist, void *to, const void *from, size_t length);

/* One aligned 8-byte store, atomic towards a crash and towards readers, and after all earlier ones
 * of this thread for who reads it with acquire; then flush as above. raw is as the medium has it. */
void persist_store64(struct persist *persist, void *to, uint64_t raw);

void persist_copy(struct persist *persist, void *to, const void *from, size_t length,
                  enum persist_class what);
void persist_set(struct persist *persist, void *to, int value, size_t length,
                 enum persist_class what);
void persist_flush(struct persist *persist, const void *address, size_t length,
                   enum persist_class what);

/* 0, or -EIO when a flush failed, now or ever: the caller's pool must become read-only
 * (pool_fail). A drain with nothing outstanding in this thread costs nothing. */
int persist_drain(struct persist *persist);

/* The sums of all threads so far. */
void persist_get_counters(const struct persist *persist, struct persist_counters *ret_counters);

/* ---- for the implementations --------------------------------------------------------------- */

/* The calling thread's slot, 0 .. PERSIST_SLOTS - 1. */
unsigned persist_thread_slot(void);
void persist_slot_add(_Atomic uint64_t *counter, unsigned slot, uint64_t amount);
void persist_init(struct persist *persist, const struct persist_ops *ops, void *base, size_t size);

#endif
