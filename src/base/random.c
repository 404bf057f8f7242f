/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random numbers. A thread's generator is a counter with a mixing function (SplitMix64: Steele, Lea
 * and Flood, "Fast splittable pseudorandom number generators"), which has no state that can go bad.
 */
#include "base/random.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>

static _Thread_local uint64_t state;
static _Thread_local bool seeded;

void random_bytes(void *buffer, size_t length)
{
    uint8_t *bytes = buffer;
    while (length > 0) {
        ssize_t got = getrandom(bytes, length, 0);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            /* The call has been there since Linux 3.17: something is very wrong. */
            abort();
        }
        bytes += got;
        length -= (size_t)got;
    }
}

uint64_t random_u64(void)
{
    if (!seeded) {
        random_bytes(&state, sizeof(state));
        seeded = true;
    }
    state += 0x9e3779b97f4a7c15ull;
    uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
    return mixed ^ (mixed >> 31);
}

uint32_t random_nonzero_u32(void)
{
    uint32_t number;
    do
        number = (uint32_t)random_u64();
    while (number == 0);
    return number;
}
