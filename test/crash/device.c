/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u
#define LINE 64u
#define SECTOR 512u
#define CHUNK_BYTES (1u << 20)

/* ---- views ---- */

static void *memory(size_t bytes)
{
    void *got = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (got == MAP_FAILED)
        err(2, "memory");
    return got;
}

void view_create(struct view *view, struct view *source)
{
    *view = (struct view){ .bytes = memory(VIEW_BYTES),
                           .source = source,
                           .dirty = memory(VIEW_PAGES),
                           .list = memory(VIEW_PAGES * sizeof(uint32_t)) };
    if (source && source->child[0])
        source->child[1] = view;
    else if (source)
        source->child[0] = view;
}

static void mark(struct view *view, uint64_t page)
{
    if (view->source && !view->dirty[page]) {
        view->dirty[page] = 1;
        view->list[view->count++] = (uint32_t)page;
    }
}

void view_touch(struct view *view, uint64_t page)
{
    mark(view, page);
    for (unsigned i = 0; i < 2 && view->child[i]; i++)
        mark(view->child[i], page);
}

void view_touch_bytes(struct view *view, uint64_t offset, uint64_t length)
{
    for (uint64_t page = offset / PAGE; page <= (offset + length - 1) / PAGE; page++)
        view_touch(view, page);
}

void view_reset(struct view *view)
{
    for (unsigned i = 0; i < view->count; i++) {
        uint64_t page = view->list[i];

        memcpy(view->bytes + page * PAGE, view->source->bytes + page * PAGE, PAGE);
        view->dirty[page] = 0;
        for (unsigned c = 0; c < 2 && view->child[c]; c++)
            mark(view->child[c], page);
    }
    view->count = 0;
}

/* ---- traces ---- */

struct trace_chunk {
    struct trace_chunk *next;
    size_t used, room;
    uint8_t bytes[];
};

static uint8_t *trace_bytes(struct trace *trace, size_t length)
{
    struct trace_chunk *chunk = trace->chunks;

    if (!chunk || chunk->room - chunk->used < length) {
        size_t room = length > CHUNK_BYTES ? length : CHUNK_BYTES;

        chunk = malloc(sizeof(*chunk) + room);
        if (!chunk)
            err(2, "trace");
        *chunk = (struct trace_chunk){ .next = trace->chunks, .room = room };
        trace->chunks = chunk;
    }
    chunk->used += length;
    return chunk->bytes + chunk->used - length;
}

void trace_note(struct trace *trace, const struct persist_event *event)
{
    struct trace_event *to;

    if (trace->count == trace->room) {
        trace->room = trace->room ? trace->room * 2 : 1024;
        trace->event = reallocarray(trace->event, trace->room, sizeof(*trace->event));
        if (!trace->event)
            err(2, "trace");
    }
    to = &trace->event[trace->count++];
    *to = (struct trace_event){ .offset = event->offset,
                                .length = event->length,
                                .kind = (uint8_t)event->kind,
                                .thread = (uint8_t)event->thread };
    if (event->bytes) {
        to->bytes = trace_bytes(trace, event->length);
        memcpy(to->bytes, event->bytes, event->length);
    }
}

void trace_clear(struct trace *trace)
{
    /* The first chunk that was made is kept. */
    while (trace->chunks && trace->chunks->next) {
        struct trace_chunk *next = trace->chunks->next;

        free(trace->chunks);
        trace->chunks = next;
    }
    if (trace->chunks)
        trace->chunks->used = 0;
    trace->count = 0;
}

/* ---- what is durable ---- */

static unsigned unit_of(const struct device *device)
{
    return device->pmem ? LINE : SECTOR;
}

void device_create(struct device *device, struct view *source)
{
    *device = (struct device){ .page_sent = memory(VIEW_PAGES * sizeof(uint64_t)),
                               .sent_list = memory(VIEW_PAGES * sizeof(uint32_t)) };
    view_create(&device->durable, source);
    view_create(&device->image, &device->durable);
}

static void forget_sent(struct device *device)
{
    for (unsigned i = 0; i < device->sent_count; i++)
        device->page_sent[device->sent_list[i]] = 0;
    device->sent_count = 0;
}

void device_reset(struct device *device, bool pmem)
{
    device->pmem = pmem;
    device->count = device->old = 0;
    device->groups = 0;
    device->durable_hash = 0;
    forget_sent(device);
    view_reset(&device->durable);
    view_reset(&device->image);
}

static uint64_t mix(uint64_t place, uint64_t word)
{
    uint64_t x = word * 0x9e3779b97f4a7c15ull ^ (place + 1) * 0xc2b2ae3d27d4eb4full;

    x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
    return x ^ x >> 32;
}

/* Stores the bytes of the chosen words; what the contents' hash changes by. */
static uint64_t put(struct view *view, const struct store *store, unsigned unit, uint64_t words)
{
    uint64_t end = store->offset + store->length, change = 0;

    view_touch(view, store->offset / PAGE);
    for (uint64_t at = store->offset; at < end;) {
        uint64_t place = at & ~7ull, stop = place + 8 < end ? place + 8 : end;
        uint64_t old, new;

        if (words >> (place % unit / 8) & 1) {
            memcpy(&old, view->bytes + place, 8);
            memcpy(view->bytes + at, store->bytes + (at - store->offset), stop - at);
            memcpy(&new, view->bytes + place, 8);
            if (old != new)
                change ^= mix(place, old) ^ mix(place, new);
        }
        at = stop;
    }
    return change;
}

static void send_page(struct device *device, uint64_t page, unsigned thread)
{
    if (device->page_sent[page] == 0)
        device->sent_list[device->sent_count++] = (uint32_t)page;
    device->page_sent[page] |= 1ull << thread;
}

static void send_pages(struct device *device, const struct trace_event *event)
{
    uint64_t last = (event->offset + event->length - 1) / PAGE;

    for (uint64_t page = event->offset / PAGE; page <= last; page++)
        send_page(device, page, event->thread);
}

static void play_store(struct device *device, const struct trace_event *event)
{
    unsigned unit = unit_of(device);
    bool copy = event->kind == PERSIST_EVENT_COPY;

    for (uint32_t done = 0; done < event->length;) {
        uint64_t offset = event->offset + done;
        uint32_t part = unit - (uint32_t)(offset % unit);

        if (part > event->length - done)
            part = event->length - done;
        if (device->count == device->room) {
            device->room = device->room ? device->room * 2 : 1024;
            device->store = reallocarray(device->store, device->room, sizeof(*device->store));
            if (!device->store)
                err(2, "stores");
        }
        device->store[device->count++] = (struct store){ .offset = offset,
                                                         .sent = copy ? 1ull << event->thread : 0,
                                                         .bytes = event->bytes + done,
                                                         .length = (uint16_t)part };
        done += part;
    }
    if (copy && !device->pmem)
        send_pages(device, event);
}

static void play_flush(struct device *device, const struct trace_event *event)
{
    if (!device->pmem) {
        send_pages(device, event);
        return;
    }
    for (size_t i = 0; i < device->count; i++) {
        struct store *store = &device->store[i];

        if (store->offset >= event->offset && store->offset < event->offset + event->length)
            store->sent |= 1ull << event->thread;
    }
}

/* pmem: up to the last store of a line that the thread sent, all of them arrive. */
static void fence_lines(struct device *device, unsigned thread, bool *arrives)
{
    device_group(device);
    for (uint32_t g = 0; g < device->groups; g++) {
        const struct group *group = &device->group[g];
        bool sent = false;

        for (uint32_t i = group->count; i-- > 0;) {
            uint32_t at = device->order[group->first + i];

            sent = sent || (device->store[at].sent >> thread & 1);
            arrives[at] = sent;
        }
    }
}

static void play_fence(struct device *device, unsigned thread)
{
    bool *arrives = calloc(device->count + 1, sizeof(*arrives));
    size_t kept = 0;

    if (!arrives)
        err(2, "fence");
    if (device->pmem)
        fence_lines(device, thread, arrives);
    for (size_t i = 0; i < device->count; i++) {
        struct store *store = &device->store[i];

        if (!device->pmem)
            arrives[i] = device->page_sent[store->offset / PAGE] >> thread & 1;
        if (arrives[i])
            device->durable_hash ^= put(&device->durable, store, unit_of(device), UINT64_MAX);
        else
            device->store[kept++] = *store;
    }
    free(arrives);
    device->count = device->old = kept;
    if (device->pmem)
        return;
    for (unsigned i = 0; i < device->sent_count;) {
        uint64_t *sent = &device->page_sent[device->sent_list[i]];

        *sent &= ~(1ull << thread);
        if (*sent == 0)
            device->sent_list[i] = device->sent_list[--device->sent_count];
        else
            i++;
    }
}

void device_play(struct device *device, const struct trace_event *event)
{
    switch (event->kind) {
    case PERSIST_EVENT_STORE:
    case PERSIST_EVENT_COPY:
        play_store(device, event);
        break;
    case PERSIST_EVENT_FLUSH:
        play_flush(device, event);
        break;
    default:
        play_fence(device, event->thread);
    }
}

/* ---- groups ---- */

static void group_room(struct device *device)
{
    if (device->order_room < device->count) {
        device->order_room = device->count * 2;
        device->order = reallocarray(device->order, device->order_room, sizeof(uint32_t) * 2);
        device->group = reallocarray(device->group, device->order_room, sizeof(*device->group));
        if (!device->order || !device->group)
            err(2, "groups");
    }
    if (device->table_room < device->count * 2 + 1) {
        device->table_room = 1024;
        while (device->table_room < device->count * 2 + 1)
            device->table_room *= 2;
        device->table = reallocarray(device->table, device->table_room, sizeof(uint32_t));
        if (!device->table)
            err(2, "groups");
    }
}

void device_group(struct device *device)
{
    unsigned unit = unit_of(device);
    uint32_t *owner, first = 0;

    group_room(device);
    memset(device->table, 0, device->table_room * sizeof(uint32_t));
    owner = device->order + device->order_room; /* the other half */
    device->groups = 0;
    for (size_t i = 0; i < device->count; i++) {
        uint64_t number = device->store[i].offset / unit;
        size_t at = mix(number, number) & (device->table_room - 1);

        while (device->table[at] && device->group[device->table[at] - 1].unit != number)
            at = (at + 1) & (device->table_room - 1);
        if (!device->table[at]) {
            device->group[device->groups] = (struct group){ .unit = number };
            device->table[at] = ++device->groups;
        }
        owner[i] = device->table[at] - 1;
        device->group[owner[i]].count++;
        device->group[owner[i]].fresh |= i >= device->old;
    }
    for (uint32_t g = 0; g < device->groups; g++) {
        device->group[g].first = first;
        first += device->group[g].count;
        device->group[g].count = 0;
    }
    for (size_t i = 0; i < device->count; i++) {
        struct group *group = &device->group[owner[i]];

        device->order[group->first + group->count++] = (uint32_t)i;
    }
}

static const struct store *store_of(const struct device *device, const struct group *group,
                                    uint32_t i)
{
    return &device->store[device->order[group->first + i]];
}

/* ---- choices ---- */

static void choose(struct group *group, uint32_t whole)
{
    group->whole = whole;
    group->torn = 0;
}

void device_choose_all(struct device *device, bool all)
{
    for (uint32_t g = 0; g < device->groups; g++)
        choose(&device->group[g], all ? device->group[g].count : 0);
}

/* Some words of the store after those that are whole. */
static void tear(const struct device *device, struct group *group, struct rng *rng)
{
    const struct store *store;
    unsigned unit = unit_of(device), from, to;

    if (group->whole == group->count)
        group->whole--;
    store = store_of(device, group, group->whole);
    if (device->pmem) {
        group->torn = rng_next(rng);
        return;
    }
    from = (unsigned)(store->offset % unit / 8);
    to = (unsigned)((store->offset % unit + store->length + 7) / 8);
    group->torn = ((1ull << (from + rng_below(rng, to - from))) - 1);
}

static void choose_chance(struct device *device, struct rng *rng)
{
    static const uint8_t shares[] = { 0, 100, 50, 50, 10, 90 }, torn[] = { 0, 0, 20, 100 };
    unsigned old = shares[rng_below(rng, 6)], fresh = shares[rng_below(rng, 6)];
    unsigned tears = torn[rng_below(rng, 4)];

    for (uint32_t g = 0; g < device->groups; g++) {
        struct group *group = &device->group[g];

        choose(group, 0);
        if (rng_chance(rng, group->fresh ? fresh : old))
            group->whole =
                rng_chance(rng, 60) ? group->count : 1 + (uint32_t)rng_below(rng, group->count);
        if (group->fresh ? rng_chance(rng, tears) : rng_chance(rng, tears / 2))
            tear(device, group, rng);
    }
}

/* All stores before a moment, and some words of the one that was being made. */
static void choose_moment(struct device *device, struct rng *rng)
{
    uint32_t moment = (uint32_t)rng_below(rng, device->count + 1);

    for (uint32_t g = 0; g < device->groups; g++) {
        struct group *group = &device->group[g];
        uint32_t whole = 0;

        while (whole < group->count && device->order[group->first + whole] < moment)
            whole++;
        choose(group, whole);
        if (whole < group->count && device->order[group->first + whole] == moment)
            tear(device, group, rng);
    }
}

static void choose_odd_one(struct device *device, struct rng *rng, bool all)
{
    uint32_t odd = (uint32_t)rng_below(rng, device->groups), tries = 0;

    /* Mostly one of those that the last fence has not seen. */
    while (!device->group[odd].fresh && tries++ < 8)
        odd = (uint32_t)rng_below(rng, device->groups);
    device_choose_all(device, all);
    choose(&device->group[odd], all ? (uint32_t)rng_below(rng, device->group[odd].count)
                                    : 1 + (uint32_t)rng_below(rng, device->group[odd].count));
    if (rng_chance(rng, 50))
        tear(device, &device->group[odd], rng);
}

void device_choose_random(struct device *device, struct rng *rng)
{
    if (device->groups == 0)
        return;
    switch (rng_below(rng, 10)) {
    case 0:
    case 1:
        choose_moment(device, rng);
        break;
    case 2:
    case 3:
        choose_odd_one(device, rng, true);
        break;
    case 4:
        choose_odd_one(device, rng, false);
        break;
    default:
        choose_chance(device, rng);
    }
}

uint64_t device_combinations(const struct device *device, uint64_t limit)
{
    uint64_t all = 1;

    for (uint32_t g = 0; g < device->groups; g++) {
        all *= device->group[g].count + 1;
        if (all > limit)
            return limit + 1;
    }
    return all;
}

void device_choose_number(struct device *device, uint64_t number)
{
    for (uint32_t g = 0; g < device->groups; g++) {
        choose(&device->group[g], (uint32_t)(number % (device->group[g].count + 1)));
        number /= device->group[g].count + 1;
    }
}

static uint64_t put_choice(const struct device *device, struct view *to)
{
    unsigned unit = unit_of(device);
    uint64_t change = 0;

    for (uint32_t g = 0; g < device->groups; g++) {
        const struct group *group = &device->group[g];

        for (uint32_t i = 0; i < group->whole; i++)
            change ^= put(to, store_of(device, group, i), unit, UINT64_MAX);
        if (group->torn)
            change ^= put(to, store_of(device, group, group->whole), unit, group->torn);
    }
    return change;
}

void device_build(struct device *device)
{
    view_reset(&device->image);
    device->image_hash = device->durable_hash ^ put_choice(device, &device->image);
}

void device_store_choice(const struct device *device, struct device *below)
{
    below->durable_hash = device->durable_hash ^ put_choice(device, &below->durable);
}
