/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running programs in a process of their own, so that a crash or a hang is a difference like any
 * other, and making a program that fails short.
 */
#ifndef DAXFUSE_TEST_MODEL_RUN_H
#define DAXFUSE_TEST_MODEL_RUN_H

#include "generate.h"

#define TALLY_ERRORS 140

struct tally {
    uint64_t tried[OP_KINDS], failed[OP_KINDS][TALLY_ERRORS];
};

void tally_add(struct tally *tally, const struct tally *more);
void tally_note(struct tally *tally, const struct op *op, int error);
/* The histogram; returns false when fewer than 60 % succeeded, or one kind of those that come at
 * all fewer than `least` times. */
bool tally_print(FILE *file, const struct tally *tally, uint64_t least);

struct run_options {
    uint64_t seed, ops, compare_every, pool_size;
    bool pmem;
    bool cycles; /* empty at the end, and again: no block may be lost */
    bool large;
    unsigned seconds; /* limit of one run */
};

/* What the process of a run and its parent share. */
struct run_shared {
    struct tally tally;
    uint64_t done; /* operations made */
    uint64_t short_of_space;
    bool failed;
    char why[1000];
    uint64_t count; /* of op */
    struct op op[]; /* the program: written as it is generated */
};

struct run_shared *run_shared_make(uint64_t ops);

/* Generates and runs options->ops operations, or with replay those of shared->op. false: failed;
 * shared->why and ->done say at what. */
bool run_program(const struct run_options *options, struct run_shared *shared, bool replay);

/* Leaves operations out as long as it fails without them, for some seconds; the shorter program is
 * in shared. */
void run_shrink(const struct run_options *options, struct run_shared *shared, unsigned seconds);

#endif
