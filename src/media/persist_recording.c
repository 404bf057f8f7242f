/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The persist table that crash tests use: it does the stores, and tells of each one.
 *
 * One mutex is held over a store and its event, so that the order of events is the order of stores.
 * Nothing is flushed: what would have been durable is for the listener to work out.
 */
#include "media/persist.h"

#include <daxfuse/format.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_BYTES_MAX (1u << 30)

struct persist_recording {
    struct persist persist;
    uint64_t unit; /* what a flush covers: a line or a page */
    persist_event_fn on_event;
    void *arg;
    pthread_mutex_t mutex;
};

static struct persist_recording *recording_of(struct persist *persist)
{
    return (struct persist_recording *)persist;
}

/* Under the mutex. */
static void recording_emit(struct persist_recording *recording, enum persist_event_kind kind,
                           uint64_t offset, uint64_t length)
{
    const uint8_t *base = recording->persist.base;
    bool has_bytes = kind == PERSIST_EVENT_STORE || kind == PERSIST_EVENT_COPY;

    do {
        uint32_t part = length > EVENT_BYTES_MAX ? EVENT_BYTES_MAX : (uint32_t)length;
        struct persist_event event = {
            .kind = kind,
            .offset = offset,
            .length = part,
            .thread = persist_thread_slot(),
            .bytes = has_bytes ? base + offset : NULL,
        };

        recording->on_event(recording->arg, &event);
        offset += part;
        length -= part;
    } while (length > 0);
}

static uint64_t recording_offset(const struct persist *persist, const void *address)
{
    return (uint64_t)((const uint8_t *)address - (const uint8_t *)persist->base);
}

static void recording_store(struct persist *persist, void *to, const void *from, size_t length)
{
    struct persist_recording *recording = recording_of(persist);

    pthread_mutex_lock(&recording->mutex);
    memcpy(to, from, length);
    recording_emit(recording, PERSIST_EVENT_STORE, recording_offset(persist, to), length);
    pthread_mutex_unlock(&recording->mutex);
}

static void recording_store64(struct persist *persist, void *to, uint64_t raw)
{
    struct persist_recording *recording = recording_of(persist);

    pthread_mutex_lock(&recording->mutex);
    atomic_store_explicit((_Atomic uint64_t *)to, raw, memory_order_release);
    recording_emit(recording, PERSIST_EVENT_STORE, recording_offset(persist, to), 8);
    pthread_mutex_unlock(&recording->mutex);
}

static void recording_copy(struct persist *persist, void *to, const void *from, size_t length)
{
    struct persist_recording *recording = recording_of(persist);

    pthread_mutex_lock(&recording->mutex);
    memcpy(to, from, length);
    recording_emit(recording, PERSIST_EVENT_COPY, recording_offset(persist, to), length);
    pthread_mutex_unlock(&recording->mutex);
}

static void recording_set(struct persist *persist, void *to, int value, size_t length)
{
    struct persist_recording *recording = recording_of(persist);

    pthread_mutex_lock(&recording->mutex);
    memset(to, value, length);
    recording_emit(recording, PERSIST_EVENT_COPY, recording_offset(persist, to), length);
    pthread_mutex_unlock(&recording->mutex);
}

static void recording_flush(struct persist *persist, const void *address, size_t length)
{
    struct persist_recording *recording = recording_of(persist);
    uint64_t offset = recording_offset(persist, address);
    uint64_t end = (offset + length + recording->unit - 1) & ~(recording->unit - 1);

    offset &= ~(recording->unit - 1);
    pthread_mutex_lock(&recording->mutex);
    recording_emit(recording, PERSIST_EVENT_FLUSH, offset, end - offset);
    pthread_mutex_unlock(&recording->mutex);
}

static int recording_drain(struct persist *persist)
{
    struct persist_recording *recording = recording_of(persist);

    pthread_mutex_lock(&recording->mutex);
    recording_emit(recording, PERSIST_EVENT_FENCE, 0, 0);
    pthread_mutex_unlock(&recording->mutex);
    return 0;
}

static void recording_close(struct persist *persist)
{
    struct persist_recording *recording = recording_of(persist);

    pthread_mutex_destroy(&recording->mutex);
    free(recording);
}

static const struct persist_ops recording_table = {
    .name = "recording",
    .store = recording_store,
    .store64 = recording_store64,
    .copy = recording_copy,
    .set = recording_set,
    .flush = recording_flush,
    .drain = recording_drain,
    .close = recording_close,
};

int persist_open_recording(void *base, size_t size, bool pmem, persist_event_fn on_event, void *arg,
                           struct persist **ret_persist)
{
    struct persist_recording *recording = aligned_alloc(64, (sizeof(*recording) + 63) & ~63ul);

    if (recording == NULL)
        return -ENOMEM;
    persist_init(&recording->persist, &recording_table, base, size);
    recording->unit = pmem ? DXF_LINE_SIZE : DXF_BLOCK_SIZE;
    recording->on_event = on_event;
    recording->arg = arg;
    pthread_mutex_init(&recording->mutex, NULL);
    *ret_persist = &recording->persist;
    return 0;
}
