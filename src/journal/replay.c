/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replay, in passes, each of them repeatable: find the live entries of all logs; check every record
 * (J5) before any is applied; apply in the order of the sequence; flush; fence; both retire slots,
 * above all that any log holds.
 *
 * The logs are an outsider's bytes here (L6). Nothing in them is used before it has been checked
 * against the end of its log and of the pool.
 */
#include "journal/replay.h"
#include "base/checksum.h"
#include "journal/log.h"
#include "media/validate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct replay_entry {
    uint64_t sequence;
    const uint8_t *records; /* in the log */
    uint32_t bytes;         /* of the records */
};

struct replay {
    struct pool *pool;
    uint64_t retired; /* by the slot that counts */
    struct replay_entry *entries;
    size_t count, room;
    uint8_t *scratch; /* an entry with its checksum taken out */
};

/* J1. The entry at at, with rest bytes to the end of its log, or 0: none. */
static uint32_t entry_check(struct replay *replay, const uint8_t *at, uint64_t rest, uint64_t above,
                            uint64_t *ret_sequence)
{
    struct dxf_log_entry entry;
    memcpy(&entry, at, sizeof(entry));
    uint32_t bytes = le32_get(entry.bytes);
    uint64_t sequence = le64_get(entry.sequence);
    if (le32_get(entry.magic) != DXF_LOG_MAGIC || bytes < sizeof(entry) || bytes % 8 != 0 ||
        bytes > rest || bytes > journal_entry_max(&replay->pool->super) || sequence <= above ||
        sequence >= JOURNAL_NUMBER_MAX)
        return 0;
    memcpy(replay->scratch, at, bytes);
    memset(replay->scratch + offsetof(struct dxf_log_entry, csum), 0, sizeof(entry.csum));
    uint64_t seed = le64_get(replay->pool->super.log_seed);
    if (checksum64(replay->scratch, bytes, seed) != le64_get(entry.csum))
        return 0;
    *ret_sequence = sequence;
    return bytes;
}

static int entry_add(struct replay *replay, const struct replay_entry *entry)
{
    if (replay->count == replay->room) {
        size_t room = replay->room ? replay->room * 2 : 256;
        void *entries = realloc(replay->entries, room * sizeof(*replay->entries));
        if (!entries)
            return -ENOMEM;
        replay->entries = entries;
        replay->room = room;
    }
    replay->entries[replay->count++] = *entry;
    return 0;
}

/* Pass 1. From the tail on; where there is no entry, once more from the start of the log. */
static int log_scan(struct replay *replay, uint64_t start, uint64_t size, uint64_t tail)
{
    uint64_t above = replay->retired;
    bool wrapped = false;
    for (uint64_t at = tail;;) {
        const uint8_t *place = pool_at(replay->pool, start + at);
        uint64_t sequence = 0;
        uint32_t bytes = at < size ? entry_check(replay, place, size - at, above, &sequence) : 0;
        if (bytes == 0) {
            if (wrapped)
                return 0;
            wrapped = true;
            at = 0;
            continue;
        }
        struct replay_entry entry = {
            .sequence = sequence,
            .records = place + sizeof(struct dxf_log_entry),
            .bytes = bytes - sizeof(struct dxf_log_entry),
        };
        int error = entry_add(replay, &entry);
        if (error)
            return error;
        above = sequence;
        at += (bytes + DXF_LINE_SIZE - 1) & ~(DXF_LINE_SIZE - 1);
    }
}

/*
 * The highest sequence of any entry in a log, live or not; at least `newest`. Where that is right, as it is
 * but for damage, no checksum is looked at; where much only looks like entries, no more is looked at than a
 * few times the log.
 */
static uint64_t log_newest(struct replay *replay, uint64_t start, uint64_t size, uint64_t newest)
{
    uint64_t looked = 0;
    for (uint64_t at = 0; at < size && looked < 4 * size; at += DXF_LINE_SIZE) {
        const struct dxf_log_entry *entry = pool_at(replay->pool, start + at);
        if (le32_get(entry->magic) != DXF_LOG_MAGIC || le64_get(entry->sequence) <= newest)
            continue;
        if (le32_get(entry->bytes) <= journal_entry_max(&replay->pool->super))
            looked += le32_get(entry->bytes);
        (void)entry_check(replay, (const uint8_t *)entry, size - at, newest, &newest);
    }
    return newest;
}

static uint64_t logs_newest(struct replay *replay, uint64_t newest)
{
    const struct dxf_super *super = &replay->pool->super;
    for (uint32_t i = 0; i < le32_get(super->log_count); i++)
        newest = log_newest(replay, journal_log_start(super, i), journal_log_bytes(super), newest);
    return newest;
}

int journal_newest(struct pool *pool, uint64_t sequence, uint64_t *ret_newest)
{
    struct replay replay = { .pool = pool };
    replay.scratch = malloc(journal_entry_max(&pool->super));
    if (!replay.scratch)
        return -ENOMEM;
    *ret_newest = logs_newest(&replay, sequence);
    free(replay.scratch);
    return 0;
}

/* The record at *at, which is moved behind it; false: it does not fit its entry. */
static bool record_next(const struct replay_entry *entry, uint32_t *at,
                        struct journal_record *ret_record)
{
    if (entry->bytes - *at < sizeof(le64))
        return false;
    le64 raw;
    memcpy(&raw, entry->records + *at, sizeof(raw));
    uint64_t head = le64_get(raw);
    struct journal_record record = {
        .offset = head & DXF_RECORD_OFFSET_MASK,
        .length = head >> DXF_RECORD_LENGTH_SHIFT & DXF_RECORD_LENGTH_MAX,
    };
    uint32_t next = *at + sizeof(raw);
    if (!(head & DXF_RECORD_ZERO)) {
        uint32_t padded = journal_padded(record.length);
        if (entry->bytes - next < padded)
            return false;
        record.data = entry->records + next;
        next += padded;
    }
    *at = next;
    *ret_record = record;
    return true;
}

static bool ranges_meet(uint64_t start, uint64_t length, uint64_t block, uint64_t blocks)
{
    return start < (block + blocks) * DXF_BLOCK_SIZE && block * DXF_BLOCK_SIZE < start + length;
}

/* J5 */
static bool record_allowed(const struct pool *pool, const struct journal_record *record)
{
    const struct dxf_super *super = &pool->super;
    if (record->length == 0 || record->offset + record->length > pool->size)
        return false;
    uint64_t log_blocks = (uint64_t)le32_get(super->log_count) * le32_get(super->log_blocks);
    return !ranges_meet(record->offset, record->length, DXF_SUPER_BLOCK, 1) &&
           !ranges_meet(record->offset, record->length, DXF_JOURNAL_BLOCK, 1) &&
           !ranges_meet(record->offset, record->length, DXF_SPARE_BLOCK, 1) &&
           !ranges_meet(record->offset, record->length, le64_get(super->log_start), log_blocks);
}

/* Pass 2 */
static int entries_check(const struct replay *replay)
{
    for (size_t i = 0; i < replay->count; i++) {
        const struct replay_entry *entry = &replay->entries[i];
        struct journal_record record;
        for (uint32_t at = 0; at < entry->bytes;)
            if (!record_next(entry, &at, &record) || !record_allowed(replay->pool, &record))
                return -EUCLEAN;
    }
    return 0;
}

static int entry_compare(const void *a, const void *b)
{
    const struct replay_entry *left = a, *right = b;
    return left->sequence < right->sequence ? -1 : left->sequence > right->sequence;
}

/* Pass 3. Stores first, flushes after: what several entries wrote is flushed where it lies. */
static int entries_apply(struct replay *replay, uint64_t *ret_bytes)
{
    static const uint8_t zeros[DXF_RECORD_LENGTH_MAX];
    struct pool *pool = replay->pool;
    uint64_t bytes = 0;
    for (int flush = 0; flush < 2; flush++) {
        for (size_t i = 0; i < replay->count; i++) {
            const struct replay_entry *entry = &replay->entries[i];
            struct journal_record record;
            for (uint32_t at = 0; at < entry->bytes && record_next(entry, &at, &record);) {
                void *to = pool_at(pool, record.offset);
                if (flush) {
                    persist_flush(pool->persist, to, record.length, PERSIST_METADATA);
                    bytes += record.length;
                } else {
                    persist_store(pool->persist, to, record.data ? record.data : zeros,
                                  record.length);
                }
            }
        }
    }
    if (persist_drain(pool->persist) != 0) {
        pool_fail(pool, "flushing metadata failed");
        return -EIO;
    }
    *ret_bytes = bytes;
    return 0;
}

/* The slot that counts, or -EUCLEAN. ret_same: the other says the same, so nothing need be written
 * when there is nothing to apply. */
static int slot_choose(const struct pool *pool, unsigned *ret_slot, bool *ret_same)
{
    const struct dxf_retire *slot[DXF_RETIRE_SLOTS];
    bool valid[DXF_RETIRE_SLOTS];
    for (unsigned i = 0; i < DXF_RETIRE_SLOTS; i++) {
        slot[i] = journal_slot(pool, i);
        valid[i] = validate_retire(slot[i], i, &pool->super) == NULL &&
                   le64_get(slot[i]->generation) < JOURNAL_NUMBER_MAX &&
                   le64_get(slot[i]->retired) < JOURNAL_NUMBER_MAX;
    }
    if (!valid[0] && !valid[1])
        return -EUCLEAN;
    if (valid[0] && valid[1]) {
        *ret_slot = le64_get(slot[1]->generation) > le64_get(slot[0]->generation);
        *ret_same = le64_get(slot[0]->retired) == le64_get(slot[1]->retired) &&
                    memcmp(slot[0]->tail, slot[1]->tail, sizeof(slot[0]->tail)) == 0;
    } else {
        *ret_slot = valid[1];
        *ret_same = false;
    }
    return 0;
}

int journal_replay(struct pool *pool, struct journal_replayed *ret_counts)
{
    const struct dxf_super *super = &pool->super;
    unsigned slot_number;
    bool same;
    int error = slot_choose(pool, &slot_number, &same);
    if (error)
        return error;
    const struct dxf_retire *slot = journal_slot(pool, slot_number);
    uint64_t generation = le64_get(slot->generation);
    struct replay replay = { .pool = pool, .retired = le64_get(slot->retired) };
    struct journal_replayed counts = { .last_sequence = replay.retired };

    uint64_t size = journal_log_bytes(super);
    uint32_t log_count = le32_get(super->log_count);
    replay.scratch = malloc(journal_entry_max(super));
    if (!replay.scratch)
        return -ENOMEM;
    for (uint32_t i = 0; i < log_count && !error; i++)
        error = log_scan(&replay, journal_log_start(super, i), size,
                         (uint64_t)le32_get(slot->tail[i]) * DXF_LINE_SIZE);
    /* A page that reads as zeros because it is bad may have held entries: not the end of a log. */
    if (!error && pool_range_is_bad(pool, journal_log_start(super, 0), log_count * size))
        error = -EUCLEAN;
    if (!error)
        error = entries_check(&replay);
    if (error || (replay.count == 0 && same))
        goto out;

    if (replay.count > 0) {
        qsort(replay.entries, replay.count, sizeof(*replay.entries), entry_compare);
        counts.entries = replay.count;
        counts.last_sequence = replay.entries[replay.count - 1].sequence;
        error = entries_apply(&replay, &counts.bytes);
    }
    counts.last_sequence = logs_newest(&replay, counts.last_sequence); /* J7 */
    /* The slot that counts is overwritten second. Both, because of J6. */
    const uint32_t tail[DXF_LOG_COUNT_MAX] = { 0 };
    for (unsigned i = 1; i <= DXF_RETIRE_SLOTS && !error; i++)
        error = journal_write_slot(pool, (slot_number + i) % DXF_RETIRE_SLOTS, generation + i,
                                   counts.last_sequence, tail);
out:
    free(replay.entries);
    free(replay.scratch);
    if (!error)
        *ret_counts = counts;
    return error;
}
