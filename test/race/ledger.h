/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What bytes may be seen while operations run at the same time (laws L1, L3, and that no store is lost).
 *
 * Each block of a file has one word, its stamp: whose file it is, and when the store that wrote it began.
 * Each call is told to the ledger before it is made and after it has returned. Of a block the ledger keeps
 *
 *   gone     when the last take-away began that had all of it: of what was stored before, nothing may be seen
 *   kept     when the last store began that had returned: what had returned before it may not be seen
 *   zeroed   when the last call returned that may have made it zero: later stores are not zero
 *
 * and holds what a load sees against what it kept when the load began. Where calls overlap in such a way
 * that the order decides (a collapse beside anything that changes, two changes of the size) it asks for
 * less: that the stamp is the file's own.
 */
#ifndef DAXFUSE_TEST_LEDGER_H
#define DAXFUSE_TEST_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LEDGER_BLOCK 4096u
#define LEDGER_BLOCKS (16u * 512)
#define LEDGER_STAMP_AT \
 2048u /* in the block: no range of a program begins or ends within the stamp */

enum call_kind {
    CALL_LOAD,
    CALL_STORE, /* both through a mapping */
    CALL_READ,
    CALL_WRITE,
    CALL_FAULT,
    CALL_UNMAP,
    CALL_ALLOCATE,
    CALL_CUT, /* truncate to less, */
    CALL_GROW,
    CALL_PUNCH,
    CALL_ZERO,
    CALL_COLLAPSE,
    CALL_INSERT,
    CALL_UNLINK,
    CALL_KINDS,
};

struct ledger_file;

/* Every call is said on stderr. */
extern bool ledger_trace;

/* On the caller's stack. */
struct call {
    /* The caller's. In bytes: of a load or store, its block; of a truncation, the size and what is behind
     * it, or what it grows by up to the size; keep: an allocation or zeroing that keeps the size. */
    enum call_kind kind;
    struct ledger_file *file;
    uint64_t from, to;
    bool keep;

    /* The ledger's. */
    uint64_t begin; /* also the version of a store */
    uint64_t gone, kept;
    uint64_t oldest;   /* of the stores that were under way */
    bool changed;      /* another one ran beside it that moves or changes bytes */
    bool shifted;      /* ... moves them */
    bool resized;      /* ... or may change the size */
    struct call *next; /* under way in the file */
};

/* NULL: no memory. The caller has a reference. */
struct ledger_file *ledger_file_new(uint64_t size);
struct ledger_file *ledger_file_ref(struct ledger_file *file);
void ledger_file_put(struct ledger_file *file);

void ledger_begin(struct call *call);
/* result: of the call, an error below zero. */
void ledger_end(struct call *call, int64_t result);
/* Instead, of a load or read: what it saw. NULL, or what is wrong with it. */
const char *ledger_saw(struct call *call, uint64_t stamp);

/* What a store that has begun is to store. */
uint64_t ledger_stamp(const struct call *call);

/* Nothing is under way: the size, as it is. */
void ledger_quiet(struct ledger_file *file, uint64_t size);
/* A guess. */
uint64_t ledger_size(struct ledger_file *file);

/* Of each kind: calls, those that worked, and how often one was under way when, or began while, a fault of
 * the same bytes was. */
void ledger_print(FILE *to);

#endif
