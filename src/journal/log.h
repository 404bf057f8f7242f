/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the three files of the journal share: the logs in memory, and the retire slots.
 * For src/journal only.
 */
#ifndef DAXFUSE_JOURNAL_LOG_H
#define DAXFUSE_JOURNAL_LOG_H

#include "base/lock.h"
#include "journal/journal.h"

/*
 * Places in a log are counted in lines and never turned back: line p is at p % log_lines. An entry
 * that would wrap is preceded by a gap, which counts as used.
 *
 *    tail_safe          tail             head
 *    |  retired in the  |  live           |
 *    |  newer slot only |                 |          (head - tail_safe <= log_lines)
 */
struct journal_log {
    struct lock lock;
    uint64_t start;             /* pool offset */
    uint64_t head;              /* under lock */
    _Atomic uint64_t tail;      /* in the newer slot; written under the retire lock */
    _Atomic uint64_t tail_safe; /* in the older slot; likewise */
    uint8_t *buffer;            /* the entry being made, whole lines; under lock */
    uint64_t *dirty;            /* runs of lines touched in place and not collected; under lock */
    uint32_t dirty_count;
    uint64_t commits, records, bytes; /* for the statistics; under lock */
} __attribute__((aligned(64)));

/* A run of lines: number of the first << 10 | lines, of which a record can touch 513. */
#define JOURNAL_RUN_SHIFT 10
#define JOURNAL_RUN_MASK ((1ull << JOURNAL_RUN_SHIFT) - 1)

#define JOURNAL_LAST 4096u

struct journal {
    struct pool *pool;
    uint32_t log_count;
    uint32_t log_lines;
    uint32_t dirty_room; /* runs that fit a log's list; a log whose list is full counts as full */
    _Atomic uint64_t sequence;     /* last one given to an entry, while its log was held */
    _Atomic uint64_t retired;      /* in the newer slot */
    _Atomic uint64_t retired_safe; /* in both */
    _Atomic bool crowded;          /* a log has reached JOURNAL_CROWDED */
    _Atomic uint64_t retirements;
    _Atomic uint64_t last[JOURNAL_LAST]; /* youngest sequence in a unit; units share, by number */

    struct lock retire_lock; /* guards what follows, and makes retirements one at a time */
    uint64_t generation;
    unsigned slot;         /* the newer one */
    uint64_t *lines;       /* collected from all logs */
    uint64_t *lines_other; /* the sort's other half */
    size_t lines_room;

    struct journal_log log[DXF_LOG_COUNT_MAX];
};

/* Live lines at which a log asks to be retired. The older slot's share is as large, and an entry
 * is a quarter of a log at most: 3/8 + 3/8 + 1/4. */
static inline uint64_t journal_crowded_at(const struct journal *journal)
{
    return journal->log_lines / 8 * 3;
}

static inline uint64_t journal_log_bytes(const struct dxf_super *super)
{
    return (uint64_t)le32_get(super->log_blocks) * DXF_BLOCK_SIZE;
}

static inline uint64_t journal_log_start(const struct dxf_super *super, uint32_t log)
{
    return le64_get(super->log_start) * DXF_BLOCK_SIZE + log * journal_log_bytes(super);
}

/* Logs may be larger than this, but then they are not what our mkfs makes: what is kept in memory
 * for each stays bounded. */
#define JOURNAL_LOG_USUAL (4ull << 20)

/* Bytes of the longest entry. */
static inline uint32_t journal_entry_max(const struct dxf_super *super)
{
    uint64_t bytes = journal_log_bytes(super);
    return (uint32_t)((bytes < JOURNAL_LOG_USUAL ? bytes : JOURNAL_LOG_USUAL) / 4);
}

static inline struct dxf_retire *journal_slot(const struct pool *pool, unsigned slot)
{
    return pool_at(pool, (uint64_t)DXF_JOURNAL_BLOCK * DXF_BLOCK_SIZE + slot * DXF_RETIRE_STRIDE);
}

/* What a record's data, if it has any, take in an entry. */
static inline uint32_t journal_padded(uint32_t length)
{
    return (length + 7) & ~7u;
}

/* Sequences and generations above this are damage: they leave no room to go on. */
#define JOURNAL_NUMBER_MAX (1ull << 62)

/* retire.c: seals a slot, writes it to its place, fences. tail: in lines, log_count of them. */
int journal_write_slot(struct pool *pool, unsigned slot, uint64_t generation, uint64_t retired,
                       const uint32_t *tail);

#endif
