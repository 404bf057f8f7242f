/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A medium that can lose power: it is played a trace of stores, flushes and fences, knows what is
 * durable and what is on its way, and builds the images that a crash could leave.
 *
 * pmem: a line's stores reach the medium in their order, at any time; of the last one that did, any
 * set of its 8-byte words. A fence makes durable what its thread copied or flushed before, and what
 * came earlier in the same lines.
 * Not pmem: a sector of 512 bytes has a prefix of its stores, the last one of them maybe only up to
 * one of its words; sectors of a page are independent. A fence makes durable all stores so far of the
 * pages that its thread sent.
 *
 * Images are views: copies of which only the pages that differ are ever written again.
 * One thread, but for trace_note.
 */
#ifndef DAXFUSE_TEST_CRASH_DEVICE_H
#define DAXFUSE_TEST_CRASH_DEVICE_H

#include "media/persist.h"
#include "program.h"
#include <stdbool.h>
#include <stdint.h>

#define VIEW_BYTES (128u << 20) /* room of each; only touched pages cost memory */
#define VIEW_PAGES (VIEW_BYTES / 4096)

struct view {
    uint8_t *bytes;
    const struct view *source; /* what it is a copy of, but for the pages of the list */
    struct view *child[2];     /* copies of this */
    uint8_t *dirty;            /* a byte a page */
    uint32_t *list;
    unsigned count;
};

void view_create(struct view *view, struct view *source);
/* The page is about to differ from the source's; the copies of this one differ, too. */
void view_touch(struct view *view, uint64_t page);
void view_touch_bytes(struct view *view, uint64_t offset, uint64_t length);
/* Makes it the same as its source again. */
void view_reset(struct view *view);

struct trace_event {
    uint64_t offset;
    uint32_t length;
    uint8_t kind, thread;
    uint8_t *bytes;
};

struct trace {
    struct trace_event *event;
    size_t count, room;
    struct trace_chunk *chunks;
};

void trace_note(struct trace *trace, const struct persist_event *event);
void trace_clear(struct trace *trace);

/* Part of a store that lies in one line or sector. */
struct store {
    uint64_t offset;
    uint64_t sent; /* threads that sent it on its way */
    const uint8_t *bytes;
    uint16_t length;
};

/* The stores of one line or sector: device.order[first .. first + count). */
struct group {
    uint64_t unit;
    uint32_t first, count;
    bool fresh; /* stored to since the last fence */
    /* What of it the image has: so many stores, and these words of the next one. */
    uint32_t whole;
    uint64_t torn;
};

struct device {
    bool pmem;
    struct view durable, image;
    uint64_t durable_hash, image_hash; /* of the contents, relative to where they started */
    struct store *store;
    size_t count, room;
    size_t old; /* stores before this are older than the last fence */
    struct group *group;
    uint32_t groups, group_room;
    uint32_t *order;
    uint32_t *table;
    size_t order_room, table_room;
    uint64_t *page_sent; /* not pmem: threads that sent the page */
    uint32_t *sent_list;
    unsigned sent_count;
};

void device_create(struct device *device, struct view *source);
/* Nothing is on its way; the durable bytes are the source's. */
void device_reset(struct device *device, bool pmem);
void device_play(struct device *device, const struct trace_event *event);
/* Sorts what is on its way into groups, for the choices that follow. */
void device_group(struct device *device);

/* Choices. */
void device_choose_all(struct device *device, bool all);
void device_choose_random(struct device *device, struct rng *rng);
/* The number of images without torn words, at most limit + 1; and one of them. */
uint64_t device_combinations(const struct device *device, uint64_t limit);
void device_choose_number(struct device *device, uint64_t number);

/* Builds the chosen image in device->image. */
void device_build(struct device *device);
/* Stores the chosen image's difference to a copy of the durable bytes. */
void device_store_choice(const struct device *device, struct device *below);

#endif
