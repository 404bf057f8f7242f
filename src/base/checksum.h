/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checksum of everything on the medium: XXH3, 64 bits, seeded (format.h says with what).
 * No state, no lock; usable from any layer.
 */
#ifndef DAXFUSE_BASE_CHECKSUM_H
#define DAXFUSE_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t checksum64(const void *data, size_t length, uint64_t seed);

/* Low 32 bits of the sum over data with the 4 bytes at csum_offset taken as zero. */
uint32_t checksum32_skip(const void *data, size_t length, size_t csum_offset, uint64_t seed);

#endif
