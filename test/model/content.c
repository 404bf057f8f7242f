/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "content.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t zeros[CHUNK];

void content_free(struct content *content)
{
    for (size_t i = 0; i < content->count; i++)
        free(content->chunk[i].bytes);
    free(content->chunk);
    *content = (struct content){ 0 };
}

/* Where the chunk is or would be. */
static size_t find(const struct content *content, uint64_t index)
{
    size_t low = 0, high = content->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (content->chunk[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint8_t *get(const struct content *content, uint64_t index)
{
    size_t at = find(content, index);

    return at < content->count && content->chunk[at].index == index ? content->chunk[at].bytes
                                                                    : NULL;
}

static uint8_t *make(struct content *content, uint64_t index)
{
    size_t at = find(content, index);

    if (at < content->count && content->chunk[at].index == index)
        return content->chunk[at].bytes;
    if (content->count == content->room) {
        content->room = content->room ? content->room * 2 : 8;
        content->chunk = reallocarray(content->chunk, content->room, sizeof(struct chunk));
        if (!content->chunk)
            err(2, "content");
    }
    memmove(&content->chunk[at + 1], &content->chunk[at],
            (content->count - at) * sizeof(struct chunk));
    content->count++;
    content->chunk[at] = (struct chunk){ index, calloc(1, CHUNK) };
    if (!content->chunk[at].bytes)
        err(2, "content");
    return content->chunk[at].bytes;
}

void content_write(struct content *content, uint64_t offset, const void *from, size_t length)
{
    const uint8_t *bytes = from;

    while (length > 0) {
        size_t start = offset % CHUNK, part = CHUNK - start;

        if (part > length)
            part = length;
        memcpy(make(content, offset / CHUNK) + start, bytes, part);
        bytes += part;
        offset += part;
        length -= part;
    }
}

void content_read(const struct content *content, uint64_t offset, void *to, size_t length)
{
    uint8_t *bytes = to;

    while (length > 0) {
        size_t start = offset % CHUNK, part = CHUNK - start;
        const uint8_t *have = get(content, offset / CHUNK);

        if (part > length)
            part = length;
        if (have)
            memcpy(bytes, have + start, part);
        else
            memset(bytes, 0, part);
        bytes += part;
        offset += part;
        length -= part;
    }
}

void content_zero(struct content *content, uint64_t offset, uint64_t end)
{
    size_t from = find(content, offset / CHUNK), kept = from;

    if (offset >= end)
        return;
    for (size_t i = from; i < content->count; i++) {
        struct chunk *chunk = &content->chunk[i];
        uint64_t start = chunk->index * CHUNK;
        uint64_t low = offset > start ? offset - start : 0;
        uint64_t high = end - start < CHUNK ? end - start : CHUNK;

        if (start < end && low == 0 && high == CHUNK) {
            free(chunk->bytes);
            continue;
        }
        if (start < end && low < high)
            memset(chunk->bytes + low, 0, high - low);
        content->chunk[kept++] = *chunk;
    }
    content->count = from < content->count ? kept : content->count;
}

void content_collapse(struct content *content, uint64_t offset, uint64_t length)
{
    content_zero(content, offset, offset + length);
    for (size_t i = find(content, offset / CHUNK); i < content->count; i++)
        content->chunk[i].index -= length / CHUNK;
}

void content_insert(struct content *content, uint64_t offset, uint64_t length)
{
    for (size_t i = find(content, offset / CHUNK); i < content->count; i++)
        content->chunk[i].index += length / CHUNK;
}

bool content_any(const struct content *content, uint64_t offset, uint64_t end)
{
    for (size_t i = find(content, offset / CHUNK); i < content->count; i++) {
        const struct chunk *chunk = &content->chunk[i];
        uint64_t start = chunk->index * CHUNK;
        uint64_t low = offset > start ? offset - start : 0;
        uint64_t high;

        if (start >= end)
            return false;
        high = end - start < CHUNK ? end - start : CHUNK;
        if (low < high && memcmp(chunk->bytes + low, zeros, high - low) != 0)
            return true;
    }
    return false;
}

const struct chunk *content_from(const struct content *content, uint64_t index)
{
    size_t at = find(content, index);

    return at < content->count ? &content->chunk[at] : NULL;
}

uint64_t content_count(const struct content *content)
{
    uint64_t count = 0;

    for (size_t i = 0; i < content->count; i++)
        count += memcmp(content->chunk[i].bytes, zeros, CHUNK) != 0;
    return count;
}
