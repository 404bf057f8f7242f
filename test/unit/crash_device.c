/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crash_device.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct crash_store {
    uint64_t offset; /* within one line */
    uint8_t length;
    bool sent; /* copied, or flushed by thread */
    uint32_t thread;
    uint8_t bytes[DXF_LINE_SIZE];
};

uint64_t test_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static uint64_t line_of(uint64_t offset)
{
    return offset / DXF_LINE_SIZE;
}

static void device_store(struct crash_device *device, const struct persist_event *event)
{
    for (uint32_t done = 0; done < event->length;) {
        uint64_t offset = event->offset + done;
        uint32_t part = DXF_LINE_SIZE - offset % DXF_LINE_SIZE;
        if (part > event->length - done)
            part = event->length - done;
        if (device->count == device->room) {
            device->room = device->room ? device->room * 2 : 1024;
            device->stores = realloc(device->stores, device->room * sizeof(*device->stores));
            ck_assert_ptr_nonnull(device->stores);
        }
        struct crash_store *store = &device->stores[device->count++];
        *store = (struct crash_store){
            .offset = offset,
            .length = (uint8_t)part,
            .sent = event->kind == PERSIST_EVENT_COPY,
            .thread = event->thread,
        };
        memcpy(store->bytes, event->bytes + done, part);
        done += part;
    }
}

static void device_flush(struct crash_device *device, const struct persist_event *event)
{
    for (unsigned i = 0; i < device->count; i++) {
        struct crash_store *store = &device->stores[i];
        if (store->offset >= event->offset && store->offset < event->offset + event->length) {
            store->sent = true;
            store->thread = event->thread;
        }
    }
}

/* What a thread sent, and all that came before it in the same line. */
static void device_fence(struct crash_device *device, uint32_t thread)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < device->count; i++) {
        struct crash_store *store = &device->stores[i];
        bool arrives = store->sent && store->thread == thread;
        for (unsigned j = i + 1; j < device->count && !arrives; j++)
            arrives = device->stores[j].sent && device->stores[j].thread == thread &&
                      line_of(device->stores[j].offset) == line_of(store->offset);
        if (arrives)
            memcpy(device->durable + store->offset, store->bytes, store->length);
        else
            device->stores[kept++] = *store;
    }
    device->count = kept;
}

static void device_event(void *arg, const struct persist_event *event)
{
    struct crash_device *device = arg;
    if (device->ignore && device->ignore(device->arg, event))
        return;
    switch (event->kind) {
    case PERSIST_EVENT_STORE:
    case PERSIST_EVENT_COPY:
        device_store(device, event);
        break;
    case PERSIST_EVENT_FLUSH:
        device_flush(device, event);
        break;
    case PERSIST_EVENT_FENCE:
        if (device->on_fence)
            device->on_fence(device->arg, device, event->thread);
        device_fence(device, event->thread);
        break;
    }
}

struct persist *crash_device_persist(void *arg, void *base, uint64_t size)
{
    struct crash_device *device = arg;
    struct persist *persist;
    device->size = size;
    device->fd = memfd_create("crash", MFD_CLOEXEC);
    ck_assert_int_ge(device->fd, 0);
    ck_assert_int_eq(ftruncate(device->fd, (off_t)size), 0);
    device->durable = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd, 0);
    ck_assert_ptr_ne(device->durable, MAP_FAILED);
    memcpy(device->durable, base, size);
    ck_assert_int_eq(persist_open_recording(base, size, true, device_event, device, &persist), 0);
    return persist;
}

void crash_device_destroy(struct crash_device *device)
{
    free(device->stores);
    munmap(device->durable, device->size);
    close(device->fd);
}

/* Each line gets a prefix of its stores: whatever follows a store that did not arrive, did not. */
static void image_fill(struct crash_device *device, uint8_t *image, bool all)
{
    uint64_t seed = test_random(&device->random);
    unsigned often = test_random(&device->random) % 5; /* how much arrives: seldom .. nearly all */
    for (unsigned i = 0; i < device->count; i++) {
        const struct crash_store *store = &device->stores[i];
        uint64_t line = line_of(store->offset), state = seed ^ line * 0x2545f4914f6cdd1d;
        unsigned before = 0;
        for (unsigned j = 0; j < i; j++)
            before += line_of(device->stores[j].offset) == line;
        uint64_t arrived = test_random(&state) % 4 < often ? test_random(&state) % 6 + 1 : 0;
        if (all || before + 1 < arrived) {
            memcpy(image + store->offset, store->bytes, store->length);
        } else if (before + 1 == arrived) {
            uint64_t words = test_random(&state) % 3 ? UINT64_MAX : test_random(&state);
            for (unsigned at = 0; at < store->length; at++)
                if (words >> (store->offset + at) % DXF_LINE_SIZE / 8 & 1)
                    image[store->offset + at] = store->bytes[at];
        }
    }
}

static uint8_t *image_map(struct crash_device *device)
{
    uint8_t *image = mmap(NULL, device->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, device->fd, 0);
    ck_assert_ptr_ne(image, MAP_FAILED);
    return image;
}

static struct pool *image_open(struct crash_device *device, uint8_t *image)
{
    struct pool *pool;
    struct persist *persist;
    ck_assert_int_eq(persist_open_pmem(image, device->size, &persist), 0);
    ck_assert_int_eq(pool_open_memory(image, device->size, persist, &pool), 0);
    return pool;
}

struct pool *crash_device_image(struct crash_device *device, bool all)
{
    uint8_t *image = image_map(device);
    image_fill(device, image, all);
    return image_open(device, image);
}

struct pool *crash_device_image_of(struct crash_device *device, uint64_t from, uint64_t to)
{
    uint8_t *image = image_map(device);
    for (unsigned i = 0; i < device->count; i++) {
        const struct crash_store *store = &device->stores[i];
        if (store->offset >= from && store->offset < to)
            memcpy(image + store->offset, store->bytes, store->length);
    }
    return image_open(device, image);
}

void crash_device_image_close(struct pool *pool)
{
    void *base = pool->base;
    uint64_t size = pool->size;
    pool_close(pool);
    munmap(base, size);
}
