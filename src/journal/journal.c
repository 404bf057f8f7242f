/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commit: choosing a log, making the entry, the fence, the bytes in place. See journal.h for the
 * invariants, retire.c and replay.c for the other two arrows of its diagram.
 *
 * Who holds a log holds it from before its entry gets a sequence until the entry is applied. So
 * whoever holds all logs at once sees every sequence given out so far applied.
 */
#include "journal/journal.h"
#include "base/checksum.h"
#include "base/lock.h"
#include "journal/log.h"
#include "media/validate.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

uint32_t journal_capacity(const struct journal *journal)
{
    return journal_entry_max(&journal->pool->super) - sizeof(struct dxf_log_entry);
}

uint64_t journal_retired(const struct journal *journal)
{
    return atomic_load_explicit(&journal->retired_safe, memory_order_acquire);
}

bool journal_is_quiet(const struct journal *journal, uint64_t offset)
{
    uint64_t unit = offset / JOURNAL_UNIT;
    return atomic_load_explicit(&journal->last[unit % JOURNAL_LAST], memory_order_relaxed) <=
           journal_retired(journal);
}

static void record_note(struct journal *journal, const struct journal_record *record,
                        uint64_t sequence)
{
    uint64_t unit = record->offset / JOURNAL_UNIT;
    uint64_t end = (record->offset + record->length - 1) / JOURNAL_UNIT + 1;
    for (; unit < end; unit++) {
        _Atomic uint64_t *last = &journal->last[unit % JOURNAL_LAST];
        uint64_t old = atomic_load_explicit(last, memory_order_relaxed);
        while (old < sequence &&
               !atomic_compare_exchange_weak_explicit(last, &old, sequence, memory_order_relaxed,
                                                      memory_order_relaxed))
            ;
    }
}

static void journal_free(struct journal *journal)
{
    for (uint32_t i = 0; i < DXF_LOG_COUNT_MAX; i++) {
        free(journal->log[i].buffer);
        free(journal->log[i].dirty);
    }
    free(journal->lines);
    free(journal->lines_other);
    free(journal);
}

int journal_open(struct pool *pool, struct journal **ret_journal)
{
    const struct dxf_super *super = &pool->super;
    const struct dxf_retire *slots[DXF_RETIRE_SLOTS];
    for (unsigned i = 0; i < DXF_RETIRE_SLOTS; i++) {
        slots[i] = journal_slot(pool, i);
        if (validate_retire(slots[i], i, super))
            return -EUCLEAN;
    }
    if (le64_get(slots[0]->retired) != le64_get(slots[1]->retired) ||
        le64_get(slots[0]->retired) >= JOURNAL_NUMBER_MAX)
        return -EUCLEAN;

    struct journal *journal = aligned_alloc(64, sizeof(*journal));
    if (!journal)
        return -ENOMEM;
    memset(journal, 0, sizeof(*journal));
    journal->pool = pool;
    journal->log_count = le32_get(super->log_count);
    journal->log_lines = (uint32_t)(journal_log_bytes(super) / DXF_LINE_SIZE);
    journal->dirty_room = journal_entry_max(super) / 2; /* 8 bytes a record, in a whole log */
    journal->slot = le64_get(slots[1]->generation) > le64_get(slots[0]->generation);
    const struct dxf_retire *newer = slots[journal->slot];
    journal->generation = le64_get(newer->generation);
    uint64_t retired = le64_get(newer->retired);
    atomic_init(&journal->sequence, retired);
    atomic_init(&journal->retired, retired);
    atomic_init(&journal->retired_safe, retired);
    lock_init(&journal->retire_lock, LOCK_JOURNAL, JOURNAL_ORDER_RETIRE);
    for (uint32_t i = 0; i < journal->log_count; i++) {
        struct journal_log *log = &journal->log[i];
        lock_init(&log->lock, LOCK_JOURNAL, JOURNAL_ORDER_LOGS + i);
        log->start = journal_log_start(super, i);
        log->head = le32_get(newer->tail[i]);
        atomic_init(&log->tail, log->head);
        atomic_init(&log->tail_safe, log->head);
        log->buffer = aligned_alloc(DXF_LINE_SIZE, journal_entry_max(super));
        log->dirty = malloc(journal->dirty_room * sizeof(uint64_t));
        if (!log->buffer || !log->dirty) {
            journal_free(journal);
            return -ENOMEM;
        }
    }
    *ret_journal = journal;
    return 0;
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    if (!journal->pool->read_only && !atomic_load(&journal->pool->failed))
        (void)journal_retire(journal); /* a failure has failed the pool; replay finds the rest */
    journal_free(journal);
}

/* The line at which an entry of so many lines and records would start, or UINT64_MAX: no room. */
static uint64_t log_place(const struct journal *journal, const struct journal_log *log,
                          uint32_t lines, unsigned count)
{
    if (count > journal->dirty_room - log->dirty_count)
        return UINT64_MAX;
    uint64_t at = log->head;
    uint64_t rest = journal->log_lines - at % journal->log_lines;
    if (rest < lines)
        at += rest;
    uint64_t safe = atomic_load_explicit(&log->tail_safe, memory_order_acquire);
    return at + lines - safe <= journal->log_lines ? at : UINT64_MAX;
}

/* Takes a log with room: this CPU's, else the next that is free, else waits for this CPU's. */
static int log_take(struct journal *journal, uint32_t lines, unsigned count,
                    struct journal_log **ret_log, uint64_t *ret_place)
{
    int cpu = sched_getcpu();
    uint32_t first = cpu < 0 ? 0 : (uint32_t)cpu % journal->log_count;
    for (;;) {
        bool full = true;
        for (uint32_t i = 0; i <= journal->log_count; i++) {
            struct journal_log *log = &journal->log[(first + i) % journal->log_count];
            if (i == journal->log_count)
                lock_acquire(&log->lock);
            else if (!lock_try(&log->lock)) {
                full = false;
                continue;
            }
            uint64_t place = log_place(journal, log, lines, count);
            if (place != UINT64_MAX) {
                *ret_log = log;
                *ret_place = place;
                return 0;
            }
            lock_release(&log->lock);
            if (full && i == journal->log_count - 1)
                break;
        }
        int error = journal_retire(journal);
        if (error)
            return error;
    }
}

static uint32_t entry_build(uint8_t *buffer, const struct journal_record *records, unsigned count,
                            uint64_t sequence, uint64_t seed)
{
    struct dxf_log_entry *entry = (struct dxf_log_entry *)buffer;
    uint8_t *at = buffer + sizeof(*entry);
    for (unsigned i = 0; i < count; i++) {
        const struct journal_record *record = &records[i];
        le64 head = le64_make(record->offset | (uint64_t)record->length << DXF_RECORD_LENGTH_SHIFT |
                              (record->data ? 0 : DXF_RECORD_ZERO));
        memcpy(at, &head, sizeof(head));
        at += sizeof(head);
        if (!record->data)
            continue;
        memcpy(at, record->data, record->length);
        uint32_t padded = journal_padded(record->length);
        memset(at + record->length, 0, padded - record->length);
        at += padded;
    }
    uint32_t bytes = (uint32_t)(at - buffer);
    entry->magic = le32_make(DXF_LOG_MAGIC);
    entry->bytes = le32_make(bytes);
    entry->sequence = le64_make(sequence);
    entry->csum = le64_make(0);
    entry->csum = le64_make(checksum64(buffer, bytes, seed));
    uint32_t whole = (bytes + DXF_LINE_SIZE - 1) & ~(DXF_LINE_SIZE - 1);
    memset(at, 0, whole - bytes); /* whole lines are cheaper to send; nobody reads these */
    return whole;
}

static const uint8_t zero_block[DXF_BLOCK_SIZE];

static void record_apply(struct pool *pool, const struct journal_record *record)
{
    if (record->data) {
        persist_store(pool->persist, pool_at(pool, record->offset), record->data, record->length);
        return;
    }
    for (uint32_t done = 0; done < record->length;) {
        uint32_t part = record->length - done;
        if (part > sizeof(zero_block))
            part = sizeof(zero_block);
        persist_store(pool->persist, pool_at(pool, record->offset + done), zero_block, part);
        done += part;
    }
}

/* A record whose place is a bad page cannot be applied, and its old bytes are lost. */
static bool records_are_bad(const struct pool *pool, const struct journal_record *records,
                            unsigned count)
{
    if (atomic_load_explicit(&pool->bad_pages, memory_order_acquire) == 0)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (pool_range_is_bad(pool, records[i].offset, records[i].length))
            return true;
    return false;
}

int journal_commit(struct journal *journal, const struct journal_record *records, unsigned count,
                   bool after_data, uint64_t *ret_sequence)
{
    struct pool *pool = journal->pool;
    struct persist *persist = pool->persist;
    uint64_t bytes = sizeof(struct dxf_log_entry);
    for (unsigned i = 0; i < count; i++) {
        assert(records[i].length > 0 && records[i].length <= DXF_RECORD_LENGTH_MAX);
        assert(records[i].offset + records[i].length <= pool->size);
        bytes += sizeof(le64) + (records[i].data ? journal_padded(records[i].length) : 0);
    }
    if (bytes > journal_entry_max(&pool->super))
        return -E2BIG;
    if (atomic_load_explicit(&pool->failed, memory_order_relaxed))
        return -EIO;
    if (records_are_bad(pool, records, count)) {
        pool_fail(pool, "metadata on a bad page");
        return -EIO;
    }
    if (after_data && pool_drain(pool) != 0)
        return -EIO;

    struct journal_log *log;
    uint64_t place;
    uint32_t lines = (uint32_t)((bytes + DXF_LINE_SIZE - 1) / DXF_LINE_SIZE);
    int error = log_take(journal, lines, count, &log, &place);
    if (error)
        return error;

    uint64_t sequence = atomic_fetch_add(&journal->sequence, 1) + 1;
    uint64_t offset = log->start + place % journal->log_lines * DXF_LINE_SIZE;
    uint32_t whole =
        entry_build(log->buffer, records, count, sequence, le64_get(pool->super.log_seed));
    persist_copy(persist, pool_at(pool, offset), log->buffer, whole, PERSIST_METADATA);
    error = persist_drain(persist);
    if (error || (atomic_load_explicit(&pool->bad_pages, memory_order_acquire) != 0 &&
                  pool_range_is_bad(pool, offset, whole))) {
        /* The sequence stays unapplied: retirement must not pass it, and asks for failed. */
        pool_fail(pool, "writing the journal failed");
        lock_release(&log->lock);
        return -EIO;
    }

    /* The entry is durable: from here the transaction has happened (J2). */
    for (unsigned i = 0; i < count; i++) {
        record_apply(pool, &records[i]);
        record_note(journal, &records[i], sequence);
        uint64_t from = records[i].offset / DXF_LINE_SIZE;
        uint64_t to = (records[i].offset + records[i].length - 1) / DXF_LINE_SIZE + 1;
        log->dirty[log->dirty_count++] = from << JOURNAL_RUN_SHIFT | (to - from);
    }
    log->head = place + lines;
    log->commits++;
    log->records += count;
    log->bytes += bytes;
    if (log->head - atomic_load_explicit(&log->tail, memory_order_relaxed) >
        journal_crowded_at(journal))
        atomic_store_explicit(&journal->crowded, true, memory_order_relaxed);
    lock_release(&log->lock);
    if (ret_sequence)
        *ret_sequence = sequence;
    return 0;
}

void journal_get_stats(const struct journal *const_journal, struct journal_stats *ret_stats)
{
    struct journal *journal = (struct journal *)(uintptr_t)const_journal; /* for its locks */
    struct journal_stats stats = { 0 };
    for (uint32_t i = 0; i < journal->log_count; i++) {
        struct journal_log *log = &journal->log[i];
        lock_acquire(&log->lock);
        stats.commits += log->commits;
        stats.records += log->records;
        stats.bytes += log->bytes;
        lock_release(&log->lock);
    }
    stats.retirements = atomic_load(&journal->retirements);
    stats.sequence = atomic_load(&journal->sequence);
    stats.retired = journal_retired(journal);
    *ret_stats = stats;
}
