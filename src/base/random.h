/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random numbers: for generations, seeds and identifiers, where an outsider should not guess the next
 * one by accident; not for secrets. Any layer, any thread; takes no lock.
 */
#ifndef DAXFUSE_BASE_RANDOM_H
#define DAXFUSE_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* From a generator of this thread that getrandom(2) has seeded. */
uint64_t random_u64(void);

/* Never 0. */
uint32_t random_nonzero_u32(void);

/* From getrandom(2) itself: for a uuid, a pool's seeds. */
void random_bytes(void *buffer, size_t length);

#endif
