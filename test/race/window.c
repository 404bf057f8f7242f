/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "window.h"

#include <err.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define NOTHING UINT64_MAX

/* What the registry must never ask for. */
#define REQUIRE(what)                                                                        \
 do {                                                                                        \
  if (!(what))                                                                               \
   errx(3, "%s: slot %llu: not so: %s", window->door.name, (unsigned long long)slot, #what); \
 } while (0)

static int call(struct window *window, enum window_call what, uint64_t slot, uint64_t offset)
{
    REQUIRE(slot < WINDOW_SLOTS);
    if (window->on_call)
        window->on_call(window, what, slot, offset);
    atomic_fetch_add(&window->calls[what], 1);
    return atomic_load(&window->fails[what]);
}

/* The slot comes to show OFFSET, if RESULT is not a failure; one without an answer may do it or not, and
 * here does. */
static int show(struct window *window, uint64_t slot, uint64_t offset, bool writable, int result)
{
    pthread_rwlock_wrlock(&window->slot[slot].lock);
    REQUIRE(window->slot[slot].offset == NOTHING || window->forgets[WINDOW_REVOKE] ||
            (window->slot[slot].offset == offset && writable && !window->slot[slot].writable));
    if (result == 0 || result == -ETIMEDOUT) {
        window->slot[slot].writable = writable;
        window->slot[slot].offset = offset;
    }
    pthread_rwlock_unlock(&window->slot[slot].lock);
    return result;
}

static int hide(struct window *window, uint64_t slot, enum window_call what)
{
    int result = call(window, what, slot, 0);

    pthread_rwlock_wrlock(&window->slot[slot].lock);
    REQUIRE(window->slot[slot].offset != NOTHING);
    if (result == 0 && !window->forgets[what])
        window->slot[slot].offset = NOTHING;
    pthread_rwlock_unlock(&window->slot[slot].lock);
    return result;
}

static int window_map(void *arg, uint64_t slot, uint64_t offset, bool writable)
{
    struct window *window = arg;
    int r = call(window, WINDOW_MAP, slot, offset);

    REQUIRE(offset != 0 && offset % DAX_CHUNK_SIZE == 0);
    REQUIRE(offset + DAX_CHUNK_SIZE <= window->pool->size);
    return show(window, slot, offset, writable, r);
}

static int window_map_zeros(void *arg, uint64_t slot)
{
    struct window *window = arg;
    int r = call(window, WINDOW_MAP_ZEROS, slot, 0);

    return show(window, slot, 0, false, r);
}

static int window_unmap(void *arg, uint64_t slot)
{
    struct window *window = arg;

    return hide(window, slot, WINDOW_UNMAP);
}

static int window_revoke(void *arg, uint64_t slot)
{
    struct window *window = arg;

    return hide(window, slot, WINDOW_REVOKE);
}

static const struct dax_mapper fixed = {
    .map = window_map,
    .map_zeros = window_map_zeros,
    .unmap = window_unmap,
};
static const struct dax_mapper revocable_mapper = {
    .map = window_map,
    .map_zeros = window_map_zeros,
    .unmap = window_unmap,
    .revoke = window_revoke,
};

void window_init(struct window *window, struct pool *pool, const char *name, bool revocable)
{
    *window = (struct window){
        .door = { .mapper = revocable ? &revocable_mapper : &fixed,
                  .arg = window,
                  .name = name,
                  .slots = WINDOW_SLOTS,
                  .limit = WINDOW_SLOTS },
        .pool = pool,
    };
    for (unsigned i = 0; i < WINDOW_SLOTS; i++) {
        pthread_rwlock_init(&window->slot[i].lock, NULL);
        window->slot[i].offset = NOTHING;
    }
    window->zeros = mmap(NULL, DAX_CHUNK_SIZE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (window->zeros == MAP_FAILED)
        err(2, "a zero file");
}

void window_destroy(struct window *window)
{
    for (unsigned i = 0; i < WINDOW_SLOTS; i++)
        pthread_rwlock_destroy(&window->slot[i].lock);
    munmap(window->zeros, DAX_CHUNK_SIZE);
}

uint8_t *window_at(struct window *window, uint64_t slot, uint64_t offset)
{
    uint64_t shown = window->slot[slot].offset;

    if (shown == NOTHING)
        return NULL;
    return shown ? (uint8_t *)pool_at(window->pool, shown + offset) : window->zeros + offset;
}

/* As a guest does it, of whose accesses no sanitizer knows: what its program does not order is its own affair. Eight
 * bytes at eight are one access. */
static __attribute__((no_sanitize("thread"))) void guest_copy(void *to, const void *from,
                                                              size_t length)
{
    size_t at = 0;

    if (((uintptr_t)to | (uintptr_t)from) % 8 == 0)
        for (; at + 8 <= length; at += 8)
            *(volatile uint64_t *)((uint8_t *)to + at) =
                *(const volatile uint64_t *)((const uint8_t *)from + at);
    for (; at < length; at++)
        ((volatile uint8_t *)to)[at] = ((const volatile uint8_t *)from)[at];
}

bool window_load(struct window *window, uint64_t slot, uint64_t offset, void *to, size_t length)
{
    const uint8_t *at;

    pthread_rwlock_rdlock(&window->slot[slot].lock);
    at = window_at(window, slot, offset);
    if (at)
        guest_copy(to, at, length);
    pthread_rwlock_unlock(&window->slot[slot].lock);
    return at;
}

bool window_store(struct window *window, uint64_t slot, uint64_t offset, const void *from,
                  size_t length)
{
    uint8_t *at;

    pthread_rwlock_rdlock(&window->slot[slot].lock);
    at = window_at(window, slot, offset);
    if (at && !window->slot[slot].writable)
        at = NULL;
    if (at)
        guest_copy(at, from, length);
    pthread_rwlock_unlock(&window->slot[slot].lock);
    return at;
}

bool window_shows_zeros(struct window *window, uint64_t slot)
{
    return window->slot[slot].offset == 0;
}
