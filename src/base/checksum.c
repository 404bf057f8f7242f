/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checksums of the medium: XXH3 with a seed. The values are part of the format: they may not
 * change, and must be the same on every machine.
 */
#define XXH_STATIC_LINKING_ONLY /* a hash state on the stack */
#include "base/checksum.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>

/* Nearly every object of the format is at most a block. */
#define COPY_MAX 4096
#define CSUM_SIZE 4

uint64_t checksum64(const void *data, size_t length, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, length, seed);
}

uint32_t checksum32_skip(const void *data, size_t length, size_t csum_offset, uint64_t seed)
{
    static const uint8_t zero[CSUM_SIZE];
    const uint8_t *bytes = data;
    size_t rest = csum_offset + CSUM_SIZE;

    assert(rest <= length);

    /* A copy with the hole in it is faster than the streaming interface, which sets up a state
     * of more than half a KiB first. */
    if (length <= COPY_MAX) {
        uint8_t copy[COPY_MAX];

        memcpy(copy, bytes, length);
        memset(copy + csum_offset, 0, CSUM_SIZE);
        return (uint32_t)XXH3_64bits_withSeed(copy, length, seed);
    }

    XXH3_state_t state;

    XXH3_64bits_reset_withSeed(&state, seed);
    XXH3_64bits_update(&state, bytes, csum_offset);
    XXH3_64bits_update(&state, zero, CSUM_SIZE);
    XXH3_64bits_update(&state, bytes + rest, length - rest);
    return (uint32_t)XXH3_64bits_digest(&state);
}
