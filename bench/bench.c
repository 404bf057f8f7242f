/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench.h"

#include <err.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void series_add(struct series *series, double value)
{
    if (series->count == BENCH_ROUNDS_MAX)
        errx(2, "too many rounds");
    series->value[series->count++] = value;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

static void sorted(const struct series *series, double *ret_values)
{
    if (series->count == 0)
        errx(2, "a row without rounds");
    memcpy(ret_values, series->value, series->count * sizeof(double));
    qsort(ret_values, series->count, sizeof(double), compare);
}

double series_median(const struct series *series)
{
    double values[BENCH_ROUNDS_MAX];
    unsigned middle = series->count / 2;

    sorted(series, values);
    return series->count % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double series_spread(const struct series *series)
{
    double values[BENCH_ROUNDS_MAX], median = series_median(series);

    sorted(series, values);
    return median == 0 ? 0 : (values[series->count * 3 / 4] - values[series->count / 4]) / median;
}

double bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void bench_pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    must_system(sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

void must(int64_t result, const char *what)
{
    if (result < 0)
        errx(2, "%s: %s", what, strerror((int)-result));
}

void must_system(int64_t result, const char *what)
{
    if (result < 0)
        err(2, "%s", what);
}

static void print_row(const char *id, const struct series *values, const struct series *peer,
                      const char *note)
{
    printf("row\t%s\t%.6g\t", id, series_median(values));
    if (peer)
        printf("%.6g", series_median(peer));
    printf("\t%u\t%.4f\t%s\n", values->count, series_spread(values), note ? note : "");
    fflush(stdout);
}

void row_ratio(const char *id, const struct series *ours, const struct series *theirs,
               const char *note)
{
    struct series ratio = { .count = 0 };

    for (unsigned i = 0; i < ours->count; i++)
        series_add(&ratio, ours->value[i] / theirs->value[i]);
    print_row(id, &ratio, theirs, note);
}

void row_plain(const char *id, const struct series *values, const char *note)
{
    print_row(id, values, NULL, note);
}

/* splitmix64 */
uint64_t bench_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

uint32_t *bench_permutation(uint32_t count, uint64_t seed)
{
    uint32_t *list = calloc(count, sizeof(*list));

    if (!list)
        err(2, "memory");
    for (uint32_t i = 0; i < count; i++)
        list[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(bench_random(&seed) % (i + 1)), other = list[j];

        list[j] = list[i];
        list[i] = other;
    }
    return list;
}

static uint64_t stamp_of(uint64_t block, uint64_t generation)
{
    uint64_t state = block << 20 ^ generation;

    return bench_random(&state);
}

void bench_stamp(void *buffer, size_t length, uint64_t first_block, uint64_t generation)
{
    for (size_t at = 0; at < length; at += BENCH_BLOCK) {
        uint64_t stamp = stamp_of(first_block + at / BENCH_BLOCK, generation);

        memcpy((char *)buffer + at, &stamp, sizeof(stamp));
        memcpy((char *)buffer + at + BENCH_BLOCK - sizeof(stamp), &stamp, sizeof(stamp));
    }
}

void bench_check(const void *buffer, size_t length, uint64_t first_block, uint64_t generation,
                 const char *what)
{
    for (size_t at = 0; at < length; at += BENCH_BLOCK) {
        uint64_t stamp = stamp_of(first_block + at / BENCH_BLOCK, generation);
        const char *block = (const char *)buffer + at;

        if (memcmp(block, &stamp, sizeof(stamp)) != 0 ||
            memcmp(block + BENCH_BLOCK - sizeof(stamp), &stamp, sizeof(stamp)) != 0)
            errx(2, "%s: block %llu has other bytes than were written", what,
                 (unsigned long long)(first_block + at / BENCH_BLOCK));
    }
}
