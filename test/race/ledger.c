/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ledger.h"

#include <pthread.h>
#include <stdlib.h>

#define VERSION_BITS 40
#define VERSION_MASK ((UINT64_C(1) << VERSION_BITS) - 1)
#define ENDS (1u << 18)

struct block {
    uint64_t gone, kept, zeroed;
};

struct ledger_file {
    uint64_t tag;
    unsigned refs;
    uint64_t size;
    bool size_known;
    struct call *calls;
    struct block block[LEDGER_BLOCKS];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
bool ledger_trace;
static uint64_t tick, tags;
static struct {
    uint64_t version, end;
} ends[ENDS]; /* of stores */
static uint64_t overlaps[CALL_KINDS], called[CALL_KINDS], worked[CALL_KINDS];

static const char *const names[CALL_KINDS] = {
    [CALL_LOAD] = "load",         [CALL_STORE] = "store",   [CALL_READ] = "read",
    [CALL_WRITE] = "write",       [CALL_FAULT] = "fault",   [CALL_UNMAP] = "unmap",
    [CALL_ALLOCATE] = "allocate", [CALL_CUT] = "truncate",  [CALL_GROW] = "grow",
    [CALL_PUNCH] = "punch",       [CALL_ZERO] = "zero",     [CALL_COLLAPSE] = "collapse",
    [CALL_INSERT] = "insert",     [CALL_UNLINK] = "unlink",
};

struct ledger_file *ledger_file_new(uint64_t size)
{
    struct ledger_file *file = calloc(1, sizeof(*file));

    if (!file)
        return NULL;
    pthread_mutex_lock(&mutex);
    file->tag = ++tags & ((1u << 24) - 1);
    pthread_mutex_unlock(&mutex);
    file->refs = 1;
    file->size = size;
    file->size_known = true;
    return file;
}

struct ledger_file *ledger_file_ref(struct ledger_file *file)
{
    pthread_mutex_lock(&mutex);
    file->refs++;
    pthread_mutex_unlock(&mutex);
    return file;
}

void ledger_file_put(struct ledger_file *file)
{
    unsigned left;

    pthread_mutex_lock(&mutex);
    left = --file->refs;
    pthread_mutex_unlock(&mutex);
    if (left == 0)
        free(file);
}

/* ---- kinds ---------------------------------------------------------------------------------------- */

static bool is_store(enum call_kind kind)
{
    return kind == CALL_STORE || kind == CALL_WRITE;
}

static bool is_shift(enum call_kind kind)
{
    return kind == CALL_COLLAPSE || kind == CALL_INSERT;
}

/* May change the size, if another changes it first. */
static bool may_resize(const struct call *call)
{
    switch (call->kind) {
    case CALL_WRITE:
    case CALL_CUT:
    case CALL_GROW:
    case CALL_COLLAPSE:
    case CALL_INSERT:
        return true;
    case CALL_ALLOCATE:
    case CALL_ZERO:
        return !call->keep;
    default:
        return false;
    }
}

/* Will. */
static bool resizes(const struct ledger_file *file, const struct call *call)
{
    if (!may_resize(call))
        return false;
    if (call->kind == CALL_WRITE || call->kind == CALL_ALLOCATE || call->kind == CALL_ZERO)
        return call->resized || !file->size_known || call->to > file->size;
    return true;
}

/* May make bytes zero, or move them. */
static bool takes(const struct call *call)
{
    return call->kind == CALL_PUNCH || call->kind == CALL_ZERO || may_resize(call);
}

static uint64_t reach(const struct call *call)
{
    if (is_shift(call->kind))
        return UINT64_MAX;
    return call->to;
}

static void say(const struct call *call, const char *what, int64_t result)
{
    if (ledger_trace)
        fprintf(stderr, "%8llu %s %-8s file %llu blocks %.2f-%.2f: %lld\n",
                (unsigned long long)tick, what, names[call->kind],
                (unsigned long long)call->file->tag, (double)call->from / LEDGER_BLOCK,
                (double)call->to / LEDGER_BLOCK, (long long)result);
}

/* ---- begin ---------------------------------------------------------------------------------------- */

static void note_overlap(const struct call *a, const struct call *b)
{
    if (a->kind == CALL_FAULT && a->from < reach(b) && b->from < a->to)
        overlaps[b->kind]++;
}

static void meet(struct ledger_file *file, struct call *a, struct call *b)
{
    note_overlap(a, b);
    if (b->kind != CALL_FAULT)
        note_overlap(b, a);
    a->changed |= is_store(b->kind) || takes(b);
    b->changed |= is_store(a->kind) || takes(a);
    a->shifted |= is_shift(b->kind);
    b->shifted |= is_shift(a->kind);
    if (resizes(file, a) || resizes(file, b)) {
        a->resized |= may_resize(b);
        b->resized |= may_resize(a);
    }
    if (is_store(b->kind) && b->begin < a->oldest)
        a->oldest = b->begin;
}

void ledger_begin(struct call *call)
{
    struct ledger_file *file = call->file;
    const struct block *block;

    pthread_mutex_lock(&mutex);
    call->changed = call->shifted = call->resized = false;
    call->begin = call->oldest = ++tick;
    for (struct call *other = file->calls; other; other = other->next)
        meet(file, call, other);
    block = &file->block[call->from / LEDGER_BLOCK];
    call->gone = block->gone;
    call->kept = block->kept;
    call->next = file->calls;
    file->calls = call;
    say(call, "begin", 0);
    pthread_mutex_unlock(&mutex);
}

uint64_t ledger_stamp(const struct call *call)
{
    return call->file->tag << VERSION_BITS | call->begin;
}

/* ---- end ------------------------------------------------------------------------------------------ */

static void leave(struct call *call)
{
    struct call **link = &call->file->calls;

    while (*link != call)
        link = &(*link)->next;
    *link = call->next;
}

/* The blocks whose stamp is in [from, to). */
static uint64_t first_block(uint64_t from)
{
    return (from + LEDGER_BLOCK - LEDGER_STAMP_AT - 1) / LEDGER_BLOCK;
}

static void zeroed(struct ledger_file *file, uint64_t from, uint64_t to)
{
    for (uint64_t b = first_block(from); b < first_block(to) && b < LEDGER_BLOCKS; b++)
        file->block[b].zeroed = tick;
}

static void gone(struct ledger_file *file, uint64_t from, uint64_t to, const struct call *call)
{
    for (uint64_t b = first_block(from); b < first_block(to) && b < LEDGER_BLOCKS; b++)
        if (file->block[b].gone < call->oldest)
            file->block[b].gone = call->oldest;
}

static void end_shift(struct call *call)
{
    struct ledger_file *file = call->file;
    uint64_t first = call->from / LEDGER_BLOCK, count = (call->to - call->from) / LEDGER_BLOCK;
    struct block *block = file->block;

    if (call->changed) {
        for (uint64_t b = 0; b < LEDGER_BLOCKS; b++)
            block[b] = (struct block){ .zeroed = tick };
        file->size_known = false;
        return;
    }
    if (call->kind == CALL_COLLAPSE) {
        for (uint64_t b = first; b < LEDGER_BLOCKS; b++)
            block[b] = b + count < LEDGER_BLOCKS ? block[b + count] : (struct block){ 0 };
        file->size -= call->to - call->from;
        return;
    }
    for (uint64_t b = LEDGER_BLOCKS; b-- > first + count;)
        block[b] = block[b - count];
    for (uint64_t b = first; b < first + count && b < LEDGER_BLOCKS; b++)
        block[b] = (struct block){ .zeroed = tick, .gone = call->begin };
    file->size += call->to - call->from;
}

/* The size comes to be at least `to`; what is between is zero up to `from`. */
static void end_grow(struct call *call, uint64_t from, uint64_t to)
{
    struct ledger_file *file = call->file;

    if (call->resized || call->shifted || !file->size_known) {
        zeroed(file, 0, UINT64_MAX / 2);
        file->size_known = false;
        return;
    }
    if (to <= file->size)
        return;
    if (from > file->size) {
        zeroed(file, file->size, from);
        gone(file, file->size, from, call);
    }
    file->size = to;
}

static void end_take(struct call *call, bool done)
{
    struct ledger_file *file = call->file;

    if (call->shifted) {
        zeroed(file, 0, UINT64_MAX / 2);
        return;
    }
    zeroed(file, call->from, call->to);
    if (done)
        gone(file, call->from, call->to, call);
}

static void end_truncate(struct call *call, uint64_t size)
{
    struct ledger_file *file = call->file;
    bool known = !call->resized && !call->shifted;

    if (known && file->size_known && size >= file->size) {
        end_grow(call, size, size);
        return;
    }
    /* What is past EOF stays there or not, and is zero when the file grows. */
    for (uint64_t b = size / LEDGER_BLOCK; b < LEDGER_BLOCKS; b++)
        file->block[b].kept = 0;
    zeroed(file, known && file->size_known ? size : 0, UINT64_MAX / 2);
    file->size = size;
    file->size_known = known;
}

static void end_store(struct call *call, bool done)
{
    struct ledger_file *file = call->file;
    struct block *block = &file->block[call->from / LEDGER_BLOCK];
    unsigned place = call->begin % ENDS;

    ends[place].version = call->begin;
    ends[place].end = tick;
    if (call->kind == CALL_WRITE && done)
        end_grow(call, call->from, call->to);
    /* Past EOF a store lasts only until somebody looks. */
    if (done && !call->shifted && !call->resized && file->size_known && call->to <= file->size &&
        block->kept < call->begin)
        block->kept = call->begin;
}

void ledger_end(struct call *call, int64_t result)
{
    bool done = result >= 0;

    pthread_mutex_lock(&mutex);
    tick++;
    called[call->kind]++;
    worked[call->kind] += done;
    say(call, "end  ", result);
    leave(call);
    switch (call->kind) {
    case CALL_STORE:
    case CALL_WRITE:
        end_store(call, done);
        break;
    case CALL_CUT:
    case CALL_GROW:
        if (done)
            end_truncate(call, call->kind == CALL_CUT ? call->from : call->to);
        break;
    case CALL_PUNCH:
        end_take(call, done);
        break;
    case CALL_ZERO:
        end_take(call, done);
        if (!call->keep)
            end_grow(call, call->from, call->to);
        break;
    case CALL_ALLOCATE:
        /* In parts: one that fails may have grown the file. */
        if (!call->keep && !done)
            call->file->size_known &= call->to <= call->file->size;
        else if (!call->keep)
            end_grow(call, call->to, call->to);
        break;
    case CALL_COLLAPSE:
    case CALL_INSERT:
        if (done)
            end_shift(call);
        break;
    default:
        break;
    }
    pthread_mutex_unlock(&mutex);
}

/* ---- loads ---------------------------------------------------------------------------------------- */

static bool may_be_zero(const struct call *call)
{
    for (const struct call *other = call->file->calls; other; other = other->next)
        if (takes(other))
            return true;
    return call->kept == 0 || call->file->block[call->from / LEDGER_BLOCK].zeroed >= call->kept;
}

static const char *judge(const struct call *call, uint64_t stamp)
{
    const struct ledger_file *file = call->file;
    uint64_t version = stamp & VERSION_MASK;

    if (stamp == 0)
        return call->shifted || call->resized || may_be_zero(call) ? NULL : "a store is lost";
    if (stamp >> VERSION_BITS != file->tag)
        return "bytes of another file (L1)";
    if (version > tick)
        return "bytes that nobody stored";
    if (call->shifted || call->resized || !file->size_known || call->to > file->size)
        return NULL;
    if (version < call->gone)
        return "bytes that were taken away (L3)";
    if (ends[version % ENDS].version == version && ends[version % ENDS].end < call->kept)
        return "older bytes than were there";
    return NULL;
}

const char *ledger_saw(struct call *call, uint64_t stamp)
{
    const char *why;

    pthread_mutex_lock(&mutex);
    tick++;
    called[call->kind]++;
    worked[call->kind]++;
    say(call, "saw  ", (int64_t)stamp);
    leave(call);
    why = judge(call, stamp);
    pthread_mutex_unlock(&mutex);
    return why;
}

/* ---- the rest ------------------------------------------------------------------------------------- */

void ledger_quiet(struct ledger_file *file, uint64_t size)
{
    pthread_mutex_lock(&mutex);
    file->size = size;
    file->size_known = true;
    pthread_mutex_unlock(&mutex);
}

uint64_t ledger_size(struct ledger_file *file)
{
    uint64_t size;

    pthread_mutex_lock(&mutex);
    size = file->size;
    pthread_mutex_unlock(&mutex);
    return size;
}

void ledger_print(FILE *to)
{
    fprintf(to, "%-10s %12s %12s  beside a fault of the same bytes\n", "", "calls", "worked");
    for (enum call_kind kind = 0; kind < CALL_KINDS; kind++)
        fprintf(to, "%-10s %12llu %12llu %12llu\n", names[kind], (unsigned long long)called[kind],
                (unsigned long long)worked[kind], (unsigned long long)overlaps[kind]);
}
