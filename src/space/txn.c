/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transactions. What commit does, in this order:
 *
 *   seal every object; write fresh blocks to their place; compare the others with theirs -> records
 *   lock the bitmap lines of what was taken and given; the lines with those bits -> records
 *   journal_commit: fence of fresh blocks and data, entry, fence, bytes in place
 *   unlock the lines; give back blocks (S1, S2); let the held locks go
 *
 * Memory comes from chunks that each thread keeps one of, so that a usual transaction allocates
 * nothing.
 */
#include "space/txn.h"
#include "base/endian.h"
#include "base/lock.h"
#include "media/validate.h"
#include "space/map.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (32u << 10)

struct txn_chunk {
    struct txn_chunk *next;
    uint32_t room, used;
    uint8_t bytes[] __attribute__((aligned(64)));
};

struct txn_object {
    struct txn_object *next;
    uint64_t offset;
    uint32_t length;
    bool fresh;
    txn_seal_fn seal;
    uint64_t arg;
    uint8_t bytes[] __attribute__((aligned(64)));
};

/* ---- memory ----------------------------------------------------------------------------------- */

static _Thread_local struct txn_chunk *spare_chunk;
static pthread_key_t spare_key; /* its destructor frees a thread's spare chunk */
static pthread_once_t spare_once = PTHREAD_ONCE_INIT;

static void spare_init(void)
{
    (void)pthread_key_create(&spare_key, free);
}

static struct txn_chunk *chunk_get(size_t bytes)
{
    struct txn_chunk *chunk = spare_chunk;
    if (chunk && bytes <= chunk->room) {
        spare_chunk = NULL;
        (void)pthread_setspecific(spare_key, NULL);
        return chunk;
    }
    size_t total = bytes + sizeof(*chunk) < CHUNK_BYTES ? CHUNK_BYTES : bytes + sizeof(*chunk);
    total = (total + 63) & ~(size_t)63;
    chunk = aligned_alloc(64, total);
    if (chunk)
        chunk->room = (uint32_t)(total - sizeof(*chunk));
    return chunk;
}

static void chunk_put(struct txn_chunk *chunk)
{
    if (spare_chunk || chunk->room > CHUNK_BYTES) {
        free(chunk);
        return;
    }
    (void)pthread_once(&spare_once, spare_init);
    if (pthread_setspecific(spare_key, chunk) == 0)
        spare_chunk = chunk;
    else
        free(chunk);
}

/* Aligned to a line, not cleared. NULL: txn->error is set. */
static void *txn_alloc(struct txn *txn, size_t bytes)
{
    bytes = (bytes + 63) & ~(size_t)63;
    struct txn_chunk *chunk = txn->chunks;
    if (!chunk || chunk->room - chunk->used < bytes) {
        chunk = chunk_get(bytes);
        if (!chunk) {
            if (!txn->error)
                txn->error = -ENOMEM;
            return NULL;
        }
        chunk->used = 0;
        chunk->next = txn->chunks;
        txn->chunks = chunk;
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += (uint32_t)bytes;
    return memory;
}

uint32_t txn_extent_bytes(uint64_t blocks)
{
    uint64_t lines = (blocks + DXF_LINE_BITS - 2) / DXF_LINE_BITS + 1;
    return (uint32_t)(lines * (DXF_LINE_SIZE + sizeof(le64)));
}

int txn_note(struct txn *txn, struct txn_extents *list, uint64_t start, uint64_t count)
{
    if (list != &txn->dropped)
        txn->bytes += txn_extent_bytes(count);
    struct space_extent *last = list->count ? &list->extent[list->count - 1] : NULL;
    if (last && last->start + last->count == start) {
        last->count += count;
        return 0;
    }
    if (list->count == list->room) {
        unsigned room = list->room ? list->room * 2 : 8;
        struct space_extent *extent = txn_alloc(txn, room * sizeof(*extent));
        if (!extent)
            return -ENOMEM;
        if (list->count > 0)
            memcpy(extent, list->extent, list->count * sizeof(*extent));
        list->extent = extent;
        list->room = room;
    }
    list->extent[list->count++] = (struct space_extent){ start, count };
    return 0;
}

int txn_pass(struct txn *from, struct txn *to, uint64_t count)
{
    struct space_extent *extent = &from->taken.extent[0];
    int error;

    assert(from->taken.count == 1 && count <= extent->count);
    error = txn_note(to, &to->taken, extent->start + extent->count - count, count);
    if (error)
        return error;
    extent->count -= count;
    if (extent->count == 0)
        from->taken.count = 0;
    return 0;
}

/* ---- objects ---------------------------------------------------------------------------------- */

void txn_begin(struct txn *txn, struct space *space)
{
    *txn = (struct txn){ .space = space };
}

static struct txn_object *object_find(const struct txn *txn, uint64_t offset)
{
    struct txn_object *object = txn->objects;
    while (object && object->offset != offset)
        object = object->next;
    return object;
}

const void *txn_view(const struct txn *txn, struct pool *pool, uint64_t offset, uint32_t length)
{
    const struct txn_object *object = object_find(txn, offset);
    if (!object)
        return pool_at(pool, offset);
    assert(length <= object->length);
    (void)length;
    return object->bytes;
}

static struct txn_object *object_add(struct txn *txn, uint64_t offset, uint32_t length,
                                     txn_seal_fn seal, uint64_t arg)
{
    struct txn_object *object = txn_alloc(txn, sizeof(*object) + length);
    if (!object)
        return NULL;
    object->next = txn->objects;
    object->offset = offset;
    object->length = length;
    object->fresh = false;
    object->seal = seal;
    object->arg = arg;
    txn->objects = object;
    return object;
}

void *txn_edit(struct txn *txn, uint64_t offset, uint32_t length, txn_seal_fn seal, uint64_t arg)
{
    assert(length > 0 && length <= DXF_BLOCK_SIZE && length % 8 == 0 && offset % 8 == 0);
    struct txn_object *object = object_find(txn, offset);
    if (object) {
        assert(length <= object->length);
        return object->bytes;
    }
    object = object_add(txn, offset, length, seal, arg);
    if (!object)
        return NULL;
    memcpy(object->bytes, pool_at(txn->space->pool, offset), length);
    txn->bytes += length + (uint32_t)sizeof(le64);
    return object->bytes;
}

void *txn_fresh(struct txn *txn, uint64_t block, txn_seal_fn seal, uint64_t arg)
{
    uint64_t offset = block << DXF_BLOCK_SHIFT;
    struct txn_object *object = object_find(txn, offset);
    if (object) {
        assert(object->fresh);
        return object->bytes;
    }
    object = object_add(txn, offset, DXF_BLOCK_SIZE, seal, arg);
    if (!object)
        return NULL;
    object->fresh = true;
    memset(object->bytes, 0, DXF_BLOCK_SIZE);
    return object->bytes;
}

void txn_forget(struct txn *txn, uint64_t block)
{
    for (struct txn_object **link = &txn->objects; *link;) {
        if ((*link)->offset >> DXF_BLOCK_SHIFT == block)
            *link = (*link)->next;
        else
            link = &(*link)->next;
    }
}

void txn_hold(struct txn *txn, struct lock *lock)
{
    for (unsigned i = 0; i < txn->held_count; i++)
        if (txn->held[i] == lock)
            return;
    assert(txn->held_count < TXN_HELD_MAX);
    lock_acquire(lock);
    txn->held[txn->held_count++] = lock;
}

bool txn_has_room(const struct txn *txn, uint32_t bytes)
{
    uint32_t capacity = journal_capacity(txn->space->journal);
    return txn->bytes <= capacity && bytes <= capacity - txn->bytes;
}

/* ---- commit ------------------------------------------------------------------------------------ */

struct line_change {
    uint64_t number;
    struct dxf_bitmap_line content;
};

struct commit {
    struct txn *txn;
    struct journal_record *records;
    unsigned count, room;
    struct line_change *lines; /* ascending */
    unsigned line_count;
    uint64_t locked; /* bit i: line_locks[i] */
};

static int commit_record(struct commit *commit, uint64_t offset, const uint8_t *data,
                         uint32_t length)
{
    if (commit->count == commit->room) {
        unsigned room = commit->room ? commit->room * 2 : 32;
        struct journal_record *records = txn_alloc(commit->txn, room * sizeof(*records));
        if (!records)
            return -ENOMEM;
        if (commit->count > 0)
            memcpy(records, commit->records, commit->count * sizeof(*records));
        commit->records = records;
        commit->room = room;
    }
    commit->records[commit->count++] =
        (struct journal_record){ .offset = offset, .length = length, .data = data };
    return 0;
}

/* Records for the words that differ. One unchanged word between two changed ones costs what a
 * record of its own does, two are worth it. */
static int commit_diff(struct commit *commit, uint64_t offset, const uint8_t *bytes,
                       uint32_t length)
{
    const uint8_t *place = pool_at(commit->txn->space->pool, offset);
    uint32_t from = length, to = 0; /* the record so far; none */
    for (uint32_t at = 0; at < length; at += 8) {
        if (at % 64 == 0 && length - at >= 64 && memcmp(place + at, bytes + at, 64) == 0) {
            at += 56;
            continue;
        }
        if (memcmp(place + at, bytes + at, 8) == 0)
            continue;
        if (from < length && at - to >= 16) {
            int error = commit_record(commit, offset + from, bytes + from, to - from);
            if (error)
                return error;
            from = length;
        }
        if (from == length)
            from = at;
        to = at + 8;
    }
    return from < length ? commit_record(commit, offset + from, bytes + from, to - from) : 0;
}

static int commit_objects(struct commit *commit)
{
    struct txn *txn = commit->txn;
    struct pool *pool = txn->space->pool;
    for (struct txn_object *object = txn->objects; object; object = object->next) {
        if (object->seal)
            object->seal(object->bytes, object->arg);
        int error = 0;
        if (object->fresh) {
            persist_copy(pool->persist, pool_at(pool, object->offset), object->bytes,
                         object->length, PERSIST_METADATA);
            txn->after_data = true;
            if (atomic_load_explicit(&pool->bad_pages, memory_order_acquire) != 0 &&
                pool_range_is_bad(pool, object->offset, object->length))
                error = -EIO;
        } else {
            error = commit_diff(commit, object->offset, object->bytes, object->length);
        }
        if (error)
            return error;
    }
    return 0;
}

static unsigned extents_lines(const struct txn_extents *list)
{
    uint64_t lines = 0;
    for (unsigned i = 0; i < list->count; i++) {
        const struct space_extent *extent = &list->extent[i];
        lines +=
            (extent->start + extent->count - 1) / DXF_LINE_BITS - extent->start / DXF_LINE_BITS + 1;
    }
    return (unsigned)lines;
}

static unsigned extents_number(const struct txn_extents *list, struct line_change *lines)
{
    unsigned count = 0;
    for (unsigned i = 0; i < list->count; i++) {
        const struct space_extent *extent = &list->extent[i];
        uint64_t last = (extent->start + extent->count - 1) / DXF_LINE_BITS;
        for (uint64_t number = extent->start / DXF_LINE_BITS; number <= last; number++)
            lines[count++].number = number;
    }
    return count;
}

static int line_compare(const void *a, const void *b)
{
    const struct line_change *left = a, *right = b;
    return left->number < right->number ? -1 : left->number > right->number;
}

/* Sets or clears an extent's bits in the lines' new contents; false: some were so already. */
static bool extent_mark(struct commit *commit, const struct space_extent *extent, bool allocated)
{
    struct line_change key = { .number = extent->start / DXF_LINE_BITS };
    struct line_change *line =
        bsearch(&key, commit->lines, commit->line_count, sizeof(key), line_compare);
    uint64_t end = extent->start + extent->count;
    for (uint64_t block = extent->start; block < end;) {
        if (block / DXF_LINE_BITS != line->number)
            line++;
        unsigned bit = block % DXF_LINE_BITS, shift = bit % 64;
        uint64_t count = end - block < 64 - shift ? end - block : 64 - shift;
        uint64_t mask = (count == 64 ? UINT64_MAX : (1ull << count) - 1) << shift;
        le64 *word = &line->content.bits[bit / 64];
        uint64_t bits = le64_get(*word);
        if ((bits & mask) != (allocated ? 0 : mask))
            return false;
        *word = le64_make(bits ^ mask);
        block += count;
    }
    return true;
}

static bool extents_mark(struct commit *commit, const struct txn_extents *list, bool allocated)
{
    for (unsigned i = 0; i < list->count; i++)
        if (!extent_mark(commit, &list->extent[i], allocated))
            return false;
    return true;
}

static int commit_lines(struct commit *commit)
{
    struct txn *txn = commit->txn;
    struct space *space = txn->space;
    unsigned count = extents_lines(&txn->taken) + extents_lines(&txn->given_data) +
                     extents_lines(&txn->given_meta);
    if (count == 0)
        return 0;
    commit->lines = txn_alloc(txn, count * sizeof(*commit->lines));
    if (!commit->lines)
        return -ENOMEM;
    count = extents_number(&txn->taken, commit->lines);
    count += extents_number(&txn->given_data, commit->lines + count);
    count += extents_number(&txn->given_meta, commit->lines + count);
    if (count > 1)
        qsort(commit->lines, count, sizeof(*commit->lines), line_compare);
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = commit->lines[i].number;
        if (commit->line_count > 0 && commit->lines[commit->line_count - 1].number == number)
            continue;
        commit->lines[commit->line_count++].number = number;
        commit->locked |= 1ull << number % SPACE_LINE_LOCKS;
    }
    for (unsigned i = 0; i < SPACE_LINE_LOCKS; i++)
        if (commit->locked >> i & 1)
            lock_acquire(&space->line_locks[i]);

    for (unsigned i = 0; i < commit->line_count; i++)
        commit->lines[i].content = *space_line(space->pool, commit->lines[i].number);
    if (!extents_mark(commit, &txn->taken, true) ||
        !extents_mark(commit, &txn->given_data, false) ||
        !extents_mark(commit, &txn->given_meta, false)) {
        pool_fail(space->pool, "the allocation bitmap does not agree with what is freed");
        return -EUCLEAN;
    }
    for (unsigned i = 0; i < commit->line_count; i++) {
        struct line_change *line = &commit->lines[i];
        seal_bitmap_line(&line->content, line->number);
        if (le16_get(line->content.used) == 0)
            memset(&line->content, 0, sizeof(line->content));
        uint64_t offset =
            (uint64_t)((uint8_t *)space_line(space->pool, line->number) - space->pool->base);
        int error =
            commit_diff(commit, offset, (const uint8_t *)&line->content, sizeof(line->content));
        if (error)
            return error;
    }
    return 0;
}

static void commit_unlock(struct commit *commit)
{
    for (unsigned i = 0; i < SPACE_LINE_LOCKS; i++)
        if (commit->locked >> i & 1)
            lock_release(&commit->txn->space->line_locks[i]);
}

/* Held locks and memory: the end of commit and of abort. */
static void txn_end(struct txn *txn)
{
    while (txn->held_count > 0)
        lock_release(txn->held[--txn->held_count]);
    while (txn->chunks) {
        struct txn_chunk *chunk = txn->chunks;
        txn->chunks = chunk->next;
        chunk_put(chunk);
    }
    *txn = (struct txn){ .space = txn->space };
}

int txn_commit(struct txn *txn, uint64_t *ret_sequence)
{
    struct space *space = txn->space;
    struct commit commit = { .txn = txn };
    uint64_t sequence = 0;
    int error = txn->error;
    if (!error)
        error = commit_objects(&commit);
    if (!error)
        error = commit_lines(&commit);
    if (!error && commit.count > 0) {
        error = journal_commit(space->journal, commit.records, commit.count, txn->after_data,
                               &sequence);
    } else if (!error) { /* bytes that the caller has sent on their way, if any */
        error = pool_drain(space->pool);
    }
    commit_unlock(&commit);
    if (error) {
        txn_abort(txn);
        return error;
    }
    space_release(space, txn->given_data.extent, txn->given_data.count);
    space_release(space, txn->dropped.extent, txn->dropped.count);
    space_release_metadata(space, txn->given_meta.extent, txn->given_meta.count, sequence);
    txn_end(txn);
    journal_balance(space->journal);
    if (ret_sequence)
        *ret_sequence = sequence;
    return 0;
}

void txn_abort(struct txn *txn)
{
    if (txn->taken.count > 0 || txn->dropped.count > 0) {
        /* Bytes on their way to these blocks must not arrive after the next owner's. */
        (void)pool_drain(txn->space->pool);
        /* Of a commit that failed the pool nobody knows whether it has happened: what was taken for it
         * must not be stored to by anybody any more. */
        if (!atomic_load(&txn->space->pool->failed)) {
            space_release(txn->space, txn->taken.extent, txn->taken.count);
            space_release(txn->space, txn->dropped.extent, txn->dropped.count);
        }
    }
    txn_end(txn);
}
