/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata in use of a pool in memory (image.h), for "one byte changed".
 */
#ifndef TEST_FSCK_METADATA_H
#define TEST_FSCK_METADATA_H

#include <stdint.h>

/* Prints OFFSET LENGTH WHAT a line: the fixed places, the first inodes, the block of the orphan
 * table, and the blocks with headers of the first inodes and these owners. */
void metadata_list(const uint64_t *owners, unsigned count, const void *orphans);

#endif
