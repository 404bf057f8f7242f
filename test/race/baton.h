/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread at a time, and which one is drawn from a seed: so a schedule can be had again.
 *
 * Between baton_start and baton_stop the threads of the program, the filesystem's own too, hand a baton
 * on: at the seams of the locks by chance, and where one would wait. What they wait with is replaced at
 * link time (meson.build has the list): futexes, mutexes, conditions, read-write locks, naps. Clocks, random
 * numbers and the number of the CPU come from the seed too. A wait with a time limit ends by it when nobody
 * else can go on; when nobody can at all, that is a deadlock, and ends the program.
 *
 * When it is off all of these are what they always are.
 */
#ifndef DAXFUSE_TEST_BATON_H
#define DAXFUSE_TEST_BATON_H

#include <stdbool.h>
#include <stdint.h>

/* The caller has the baton. One seam in ODDS hands it on. */
void baton_start(uint64_t seed, unsigned odds);
/* The caller has it, and no other thread is left. */
void baton_stop(void);

/* What the schedule was: equal for equal seeds. */
uint64_t baton_trace(void);
uint64_t baton_switches(void);

#endif
