/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moments to wait until, of CLOCK_MONOTONIC: setting the machine's clock moves none of them. What is kept on the
 * medium is in real time, and comes from meta_now() (meta/meta.h).
 */
#ifndef DAXFUSE_BASE_CLOCK_H
#define DAXFUSE_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_SECOND 1000000000ull

/* Nanoseconds. */
static inline uint64_t clock_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * CLOCK_SECOND + (uint64_t)now.tv_nsec;
}

static inline struct timespec clock_moment(uint64_t nanoseconds)
{
    return (struct timespec){ .tv_sec = (time_t)(nanoseconds / CLOCK_SECOND),
                              .tv_nsec = (long)(nanoseconds % CLOCK_SECOND) };
}

static inline struct timespec clock_after(uint64_t nanoseconds)
{
    return clock_moment(clock_now() + nanoseconds);
}

static inline bool clock_is_past(const struct timespec *moment)
{
    return clock_now() >= (uint64_t)moment->tv_sec * CLOCK_SECOND + (uint64_t)moment->tv_nsec;
}

#endif
