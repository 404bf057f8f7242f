/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check, pass 9: the allocation bitmap says what was found in use.
 *
 * A line has 448 bits, seven words of the claims. Where the host has a hole for the bitmap (it reads
 * as zeros, all free) and nothing was claimed, nothing is read: reading could make the host fill it.
 */
#include "tools/fsck_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define LINE_WORDS (DXF_LINE_BITS / 64)
#define LINES_PER_BLOCK (DXF_BLOCK_SIZE / DXF_LINE_SIZE)

/* A range of bytes of the file that the host has, as far as it was asked. */
struct host_data {
    uint64_t from, to;
};

static bool host_has(const struct fsck *fsck, struct host_data *data, uint64_t offset)
{
    const struct pool *pool = fsck->pool;

    if (pool->fd < 0 || pool->is_device)
        return true;
    if (offset >= data->to) {
        off_t from = lseek(pool->fd, (off_t)offset, SEEK_DATA);
        if (from < 0) {
            bool none = errno == ENXIO;
            *data = (struct host_data){ none ? UINT64_MAX : 0, UINT64_MAX };
        } else {
            off_t to = lseek(pool->fd, from, SEEK_HOLE);
            *data = (struct host_data){ (uint64_t)from, to > from ? (uint64_t)to : UINT64_MAX };
        }
    }
    return offset + DXF_BLOCK_SIZE > data->from;
}

static void claim_area(struct fsck *fsck, uint64_t start, uint64_t count)
{
    for (uint64_t block = start; block < start + count; block++)
        fsck->claimed[block / 64] |= 1ull << block % 64;
}

static void claim_fixed(struct fsck *fsck)
{
    const struct dxf_super *super = &fsck->pool->super;

    claim_area(fsck, 0, DXF_FIRST_FREE_BLOCK);
    claim_area(fsck, DXF_SPARE_BLOCK, 1);
    claim_area(fsck, le64_get(super->log_start),
               (uint64_t)le32_get(super->log_count) * le32_get(super->log_blocks));
    claim_area(fsck, le64_get(super->bitmap_start), le64_get(super->bitmap_blocks));
}

/* One finding for the bits of a line that are in `more` and not in `less`. */
static bool report(struct fsck *fsck, enum fsck_id id, uint64_t line, const uint64_t *more,
                   const uint64_t *less)
{
    uint64_t first = 0, last = 0, count = 0;

    for (unsigned bit = 0; bit < DXF_LINE_BITS; bit++) {
        if (!((more[bit / 64] & ~less[bit / 64]) >> bit % 64 & 1))
            continue;
        last = line * DXF_LINE_BITS + bit;
        if (count++ == 0)
            first = last;
    }
    if (count == 0)
        return false;
    return fsck_found(fsck, id, "line %" PRIu64 ", %" PRIu64 " in blocks %" PRIu64 "-%" PRIu64,
                      line, count, first, last);
}

static int check_line(struct fsck *fsck, uint64_t number, uint64_t words)
{
    uint64_t offset =
        le64_get(fsck->pool->super.bitmap_start) * DXF_BLOCK_SIZE + number * DXF_LINE_SIZE;
    const struct dxf_bitmap_line *line = pool_at(fsck->pool, offset);
    uint64_t want[LINE_WORDS] = { 0 }, have[LINE_WORDS], now[LINE_WORDS];
    const char *why = validate_bitmap_line(line, number);
    bool change = false, any = false;

    if (why == NULL && fsck_bytes_bad(fsck, line, sizeof(*line)))
        why = "it can not be read";
    for (unsigned i = 0; i < LINE_WORDS; i++) {
        if (number * LINE_WORDS + i < words)
            want[i] = fsck->claimed[number * LINE_WORDS + i];
        have[i] = le64_get(line->bits[i]);
    }
    memcpy(now, have, sizeof(now));
    if (why != NULL) {
        change = fsck_found(fsck, FSCK_BITMAP_LINE, "line %" PRIu64 " (%s)", number, why);
        memcpy(now, want, sizeof(now));
    } else if (memcmp(have, want, sizeof(have)) != 0) {
        if (report(fsck, FSCK_BITMAP_LEAK, number, have, want)) {
            change = true;
            for (unsigned i = 0; i < LINE_WORDS; i++)
                now[i] &= want[i];
        }
        if (report(fsck, FSCK_BITMAP_MISSING, number, want, have)) {
            change = true;
            for (unsigned i = 0; i < LINE_WORDS; i++)
                now[i] |= want[i];
        }
    }
    if (!change)
        return 0;
    struct dxf_bitmap_line anew = { 0 };
    for (unsigned i = 0; i < LINE_WORDS; i++) {
        anew.bits[i] = le64_make(now[i]);
        any |= now[i] != 0;
    }
    if (any)
        seal_bitmap_line(&anew, number);
    return fsck_put(fsck, offset, &anew, sizeof(anew));
}

int fsck_pass_space(struct fsck *fsck)
{
    uint64_t start = le64_get(fsck->pool->super.bitmap_start) * DXF_BLOCK_SIZE;
    uint64_t pages = le64_get(fsck->pool->super.bitmap_blocks);
    uint64_t words = (fsck->pool->blocks + 63) / 64;
    const uint64_t page_words = (uint64_t)LINES_PER_BLOCK * LINE_WORDS;
    struct host_data data = { 0 };
    int error = 0;

    claim_fixed(fsck);
    for (uint64_t page = 0; page < pages && error == 0; page++) {
        if (page % 64 == 0)
            fsck_progress(fsck, "space", page, pages);
        uint64_t any = 0;
        for (uint64_t i = page * page_words; i < (page + 1) * page_words && i < words; i++)
            any |= fsck->claimed[i];
        if (any == 0 && !host_has(fsck, &data, start + page * DXF_BLOCK_SIZE))
            continue;
        for (uint64_t line = page * LINES_PER_BLOCK;
             line < (page + 1) * LINES_PER_BLOCK && error == 0; line++)
            error = check_line(fsck, line, words);
    }
    return error == 0 ? fsck_commit(fsck) : error;
}
