/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a power cut may leave of a pool: a listener of the recording persist table that knows what is
 * durable and what is on its way, and builds images from it.
 *
 * The model: a line's stores reach the medium in their order, at any time; the last one that did may
 * be torn at 8 bytes. A fence makes durable what its thread has copied or flushed before.
 * Not thread-safe by itself: the recording calls it under its mutex.
 */
#ifndef DAXFUSE_TEST_CRASH_DEVICE_H
#define DAXFUSE_TEST_CRASH_DEVICE_H

#include "media/persist.h"
#include "pool_fixture.h"
#include <stdbool.h>
#include <stdint.h>

struct crash_store;

struct crash_device {
    uint64_t size;
    int fd;                     /* the durable bytes, for private views */
    uint8_t *durable;           /* the same, mapped */
    struct crash_store *stores; /* on their way, in order */
    unsigned count, room;
    uint64_t random;
    /* Before a fence takes effect; NULL: not called. */
    void (*on_fence)(void *arg, struct crash_device *device, uint32_t thread);
    /* True: the event is treated as if the code did not do it (to show that a test notices). */
    bool (*ignore)(void *arg, const struct persist_event *event);
    void *arg;
};

/* As pool_fixture_persist_fn: arg is the device, whose first durable bytes are the memory's. */
struct persist *crash_device_persist(void *arg, void *base, uint64_t size);
void crash_device_destroy(struct crash_device *device);

/* A pool over one possible image (all: everything on its way arrived), not replayed. */
struct pool *crash_device_image(struct crash_device *device, bool all);
/* The same, where of what is on its way just that arrived which lies in [from, to). */
struct pool *crash_device_image_of(struct crash_device *device, uint64_t from, uint64_t to);
void crash_device_image_close(struct pool *pool);

/* A small generator of numbers, so that a seed repeats a test. */
uint64_t test_random(uint64_t *state);

#endif
