/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the measuring programs share: the clock, rounds, and the lines they print.
 *
 * A program measures both sides in alternating rounds, so that what else the machine does falls on both,
 * and prints for each row of the table (bench/rows)
 *
 *   row<TAB>ID<TAB>VALUE<TAB>PEER<TAB>ROUNDS<TAB>SPREAD<TAB>NOTE
 *
 * VALUE is the median over the rounds, PEER the median of what the peer reached in its own unit (empty:
 * no peer), SPREAD is the distance of the quartiles of the values over their median. Rounds are short and
 * many: one that something else has run in is then an outlier. A program that finds that the work it
 * timed has not happened ends with status 2 and prints no row.
 */
#ifndef DAXFUSE_BENCH_BENCH_H
#define DAXFUSE_BENCH_BENCH_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_ROUNDS_MAX 64

struct series {
    double value[BENCH_ROUNDS_MAX];
    unsigned count;
};

void series_add(struct series *series, double value);
double series_median(const struct series *series);
double series_spread(const struct series *series);

double bench_now(void); /* seconds */

/* The calling thread, and those it starts later. */
void bench_pin(int cpu);

/* Ends the program with status 2 if RESULT is negative; errno, or -RESULT if WHAT is of ours. */
void must(int64_t result, const char *what);
void must_system(int64_t result, const char *what);

/* Value: ours / theirs of each round. NOTE may be NULL. */
void row_ratio(const char *id, const struct series *ours, const struct series *theirs,
               const char *note);
/* Value as it is. */
void row_plain(const char *id, const struct series *values, const char *note);

/* A permutation of 0 .. count - 1, the same for the same seed. The caller frees it. */
uint32_t *bench_permutation(uint32_t count, uint64_t seed);
uint64_t bench_random(uint64_t *state);

/* Blocks of 4 KiB that say which they are, so that a read can tell whose bytes it got. */
#define BENCH_BLOCK 4096u
void bench_stamp(void *buffer, size_t length, uint64_t first_block, uint64_t generation);
void bench_check(const void *buffer, size_t length, uint64_t first_block, uint64_t generation,
                 const char *what);

#endif
