/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Retirement: what the entries put in place is made durable there, and their log space is free.
 *
 *   collect   hold all logs at once: every sequence given out is applied; note S, heads, lines
 *   write     flush those lines -> fence -> the other slot {S, heads} -> fence
 *   again     (journal_retire only) the same into the slot that is the older one now
 *
 * The lines are flushed with no log held: commits go on meanwhile, and what they put into the same
 * lines is covered by entries of their own, which are durable before (J2).
 */
#include "base/lock.h"
#include "journal/journal.h"
#include "journal/log.h"
#include "media/validate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int journal_write_slot(struct pool *pool, unsigned slot, uint64_t generation, uint64_t retired,
                       const uint32_t *tail)
{
    struct dxf_retire content = {
        .generation = le64_make(generation),
        .retired = le64_make(retired),
    };
    uint32_t count = le32_get(pool->super.log_count);
    for (uint32_t i = 0; i < count; i++)
        content.tail[i] = le32_make(tail[i]);
    seal_retire(&content, slot);
    struct dxf_retire *place = journal_slot(pool, slot);
    persist_copy(pool->persist, place, &content, sizeof(content), PERSIST_METADATA);
    if (persist_drain(pool->persist) != 0 ||
        (atomic_load(&pool->bad_pages) != 0 &&
         pool_range_is_bad(pool, (uint64_t)((uint8_t *)place - pool->base), sizeof(content)))) {
        pool_fail(pool, "writing the journal's retire slot failed");
        return -EIO;
    }
    return 0;
}

int journal_format(struct pool *pool)
{
    const uint32_t tail[DXF_LOG_COUNT_MAX] = { 0 };
    for (unsigned i = 0; i < DXF_RETIRE_SLOTS; i++) {
        int error = journal_write_slot(pool, i, i + 1, 0, tail);
        if (error)
            return error;
    }
    return 0;
}

#define DIGIT_BITS 11
#define DIGITS (1u << DIGIT_BITS)

/* Sorts lines[0..count) by radix, with other as the second half; returns where the result is. */
static uint64_t *lines_sort(uint64_t *lines, uint64_t *other, size_t count)
{
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++)
        all |= lines[i];
    for (unsigned shift = JOURNAL_RUN_SHIFT; shift < 64 && all >> shift; shift += DIGIT_BITS) {
        uint32_t place[DIGITS] = { 0 };
        for (size_t i = 0; i < count; i++)
            place[lines[i] >> shift & (DIGITS - 1)]++;
        uint32_t sum = 0;
        for (unsigned i = 0; i < DIGITS; i++) {
            uint32_t here = place[i];
            place[i] = sum;
            sum += here;
        }
        for (size_t i = 0; i < count; i++)
            other[place[lines[i] >> shift & (DIGITS - 1)]++] = lines[i];
        uint64_t *swap = lines;
        lines = other;
        other = swap;
    }
    return lines;
}

/* Flushes every line of the runs once. */
static int lines_flush(struct pool *pool, const uint64_t *runs, size_t count)
{
    bool bad_pages = atomic_load(&pool->bad_pages) != 0;
    for (size_t i = 0; i < count;) {
        uint64_t from = runs[i] >> JOURNAL_RUN_SHIFT;
        uint64_t to = from + (runs[i] & JOURNAL_RUN_MASK);
        for (i++; i < count && runs[i] >> JOURNAL_RUN_SHIFT <= to; i++) {
            uint64_t end = (runs[i] >> JOURNAL_RUN_SHIFT) + (runs[i] & JOURNAL_RUN_MASK);
            if (end > to)
                to = end;
        }
        uint64_t offset = from * DXF_LINE_SIZE;
        uint64_t length = (to - from) * DXF_LINE_SIZE;
        if (bad_pages && pool_range_is_bad(pool, offset, length)) {
            pool_fail(pool, "metadata on a bad page");
            return -EIO;
        }
        persist_flush(pool->persist, pool_at(pool, offset), length, PERSIST_METADATA);
    }
    if (persist_drain(pool->persist) != 0) {
        pool_fail(pool, "flushing metadata failed");
        return -EIO;
    }
    return 0;
}

/* Room for the runs of all logs. Grown before the logs are held; they can have more by then. */
static int lines_make_room(struct journal *journal)
{
    size_t need = (size_t)journal->log_count * journal->dirty_room;
    if (need <= journal->lines_room)
        return 0;
    free(journal->lines);
    free(journal->lines_other);
    journal->lines_room = 0;
    journal->lines = malloc(need * sizeof(uint64_t)); /* touched only as far as it is used */
    journal->lines_other = malloc(need * sizeof(uint64_t));
    if (!journal->lines || !journal->lines_other)
        return -ENOMEM;
    journal->lines_room = need;
    return 0;
}

/* Writes a slot and moves the tails: the newer slot's to head, the older slot's to the newer's. */
static int slot_advance(struct journal *journal, uint64_t retired, const uint64_t *head)
{
    uint32_t tail[DXF_LOG_COUNT_MAX];
    for (uint32_t i = 0; i < journal->log_count; i++)
        tail[i] = (uint32_t)(head[i] % journal->log_lines);
    int error =
        journal_write_slot(journal->pool, !journal->slot, journal->generation + 1, retired, tail);
    if (error)
        return error;
    journal->slot = !journal->slot;
    journal->generation++;
    for (uint32_t i = 0; i < journal->log_count; i++) {
        struct journal_log *log = &journal->log[i];
        uint64_t safe = atomic_load_explicit(&log->tail, memory_order_relaxed);
        atomic_store_explicit(&log->tail, head[i], memory_order_relaxed);
        atomic_store_explicit(&log->tail_safe, safe, memory_order_release);
    }
    uint64_t safe = atomic_load_explicit(&journal->retired, memory_order_relaxed);
    atomic_store_explicit(&journal->retired, retired, memory_order_relaxed);
    atomic_store_explicit(&journal->retired_safe, safe, memory_order_release);
    atomic_fetch_add(&journal->retirements, 1);
    return 0;
}

/* Under the retire lock. */
static int retire_once(struct journal *journal)
{
    int error = lines_make_room(journal);
    if (error)
        return error;
    uint64_t head[DXF_LOG_COUNT_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < journal->log_count; i++)
        lock_acquire(&journal->log[i].lock);
    uint64_t sequence = atomic_load(&journal->sequence);
    for (uint32_t i = 0; i < journal->log_count; i++) {
        struct journal_log *log = &journal->log[i];
        head[i] = log->head;
        memcpy(journal->lines + count, log->dirty, log->dirty_count * sizeof(uint64_t));
        count += log->dirty_count;
        log->dirty_count = 0;
    }
    atomic_store_explicit(&journal->crowded, false, memory_order_relaxed);
    bool failed = atomic_load(&journal->pool->failed);
    for (uint32_t i = journal->log_count; i-- > 0;)
        lock_release(&journal->log[i].lock);
    if (failed) /* a sequence may not be applied */
        return -EIO;
    if (sequence == atomic_load(&journal->retired))
        return 0;

    const uint64_t *sorted = lines_sort(journal->lines, journal->lines_other, count);
    error = lines_flush(journal->pool, sorted, count);
    if (!error)
        error = slot_advance(journal, sequence, head);
    return error;
}

void journal_balance(struct journal *journal)
{
    if (!atomic_load_explicit(&journal->crowded, memory_order_relaxed) ||
        !lock_try(&journal->retire_lock))
        return;
    if (atomic_load_explicit(&journal->crowded, memory_order_relaxed))
        (void)retire_once(journal);
    lock_release(&journal->retire_lock);
}

int journal_retire(struct journal *journal)
{
    uint64_t wanted = atomic_load(&journal->sequence);
    if (wanted == journal_retired(journal))
        return 0;
    lock_acquire(&journal->retire_lock);
    int error = 0;
    if (wanted > atomic_load(&journal->retired))
        error = retire_once(journal);
    if (!error && wanted > journal_retired(journal)) {
        uint64_t head[DXF_LOG_COUNT_MAX];
        for (uint32_t i = 0; i < journal->log_count; i++)
            head[i] = atomic_load_explicit(&journal->log[i].tail, memory_order_relaxed);
        error = slot_advance(journal, atomic_load(&journal->retired), head);
    }
    lock_release(&journal->retire_lock);
    return error;
}
