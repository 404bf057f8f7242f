/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a file of the model: a sparse map of chunks; what is not there is zero.
 */
#ifndef DAXFUSE_TEST_MODEL_CONTENT_H
#define DAXFUSE_TEST_MODEL_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK 4096u

struct chunk {
    uint64_t index;
    uint8_t *bytes;
};

struct content {
    struct chunk *chunk; /* ascending */
    size_t count, room;
};

void content_free(struct content *content);
void content_write(struct content *content, uint64_t offset, const void *from, size_t length);
void content_read(const struct content *content, uint64_t offset, void *to, size_t length);
/* end may be UINT64_MAX. */
void content_zero(struct content *content, uint64_t offset, uint64_t end);
/* Whole chunks: those of [offset, offset + length) go, and what is behind moves down; or what is at or
 * behind offset moves up. */
void content_collapse(struct content *content, uint64_t offset, uint64_t length);
void content_insert(struct content *content, uint64_t offset, uint64_t length);
/* Any byte but zero in [offset, end)? */
bool content_any(const struct content *content, uint64_t offset, uint64_t end);
/* The first chunk with an index of at least this, or NULL. */
const struct chunk *content_from(const struct content *content, uint64_t index);
/* Chunks that hold anything but zeros. */
uint64_t content_count(const struct content *content);

#endif
