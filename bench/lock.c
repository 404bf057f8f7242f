/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The range lock against pthread_rwlock.
 *
 * Each operation takes one block of 4 KiB exclusively, copies 4 KiB into it and adds one to the
 * block's count: the counts at the end say that nobody was let in beside another. Where the peer is "one
 * rwlock a file", the same is done under that lock.
 */
#include "bench.h"

#include "dax/range_lock.h"
#include <err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 21
#define PAIRS 200000u
#define BLOCKS 128u /* a thread's, in its cache */
#define SHARED_BLOCKS 256u
#define THREADS_MAX 16u
#define RUN_SECONDS 0.08

enum kind { RANGE, RWLOCK, NONE };

/* What all threads write shares no line with what all threads read. */
static _Alignas(128) struct range_lock ranges;
static _Alignas(128) pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static _Alignas(128) atomic_bool go;
static atomic_bool stop;
static char *memory; /* THREADS_MAX * BLOCKS blocks */

struct worker {
    _Alignas(128) pthread_t thread;
    enum kind kind;
    int cpu;               /* -1: any */
    uint32_t first, count; /* its blocks */
    uint64_t seed, done;
};

static void touch(char *block, const char *source)
{
    uint64_t count;

    memcpy(&count, block, sizeof(count));
    memcpy(block, source, BENCH_BLOCK);
    count++;
    memcpy(block, &count, sizeof(count));
}

static void operation(enum kind kind, uint64_t block, const char *source)
{
    struct range_node node;
    uint64_t start = block * BENCH_BLOCK;

    switch (kind) {
    case RANGE:
        must(range_lock_acquire(&ranges, &node, start, start + BENCH_BLOCK, RANGE_EXCLUSIVE, 1,
                                NULL),
             "range_lock_acquire");
        touch(memory + start, source);
        range_lock_release(&ranges, &node);
        break;
    case RWLOCK:
        pthread_rwlock_wrlock(&rwlock);
        touch(memory + start, source);
        pthread_rwlock_unlock(&rwlock);
        break;
    case NONE:
        touch(memory + start, source);
        break;
    }
}

static void *work(void *arg)
{
    static _Alignas(64) const char source[BENCH_BLOCK] = { 1 };
    struct worker *worker = arg;
    uint64_t done = 0;

    if (worker->cpu >= 0)
        bench_pin(worker->cpu);
    while (!atomic_load_explicit(&go, memory_order_acquire))
        ;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        operation(worker->kind, worker->first + bench_random(&worker->seed) % worker->count,
                  source);
        done++;
    }
    worker->done = done;
    return NULL;
}

/* Operations a second of all threads together. */
static double run(enum kind kind, unsigned threads, bool disjoint)
{
    const struct timespec length = { .tv_nsec = (long)(RUN_SECONDS * 1e9) };
    struct worker workers[THREADS_MAX];
    uint64_t done = 0, counted = 0;

    memset(memory, 0, (size_t)THREADS_MAX * BLOCKS * BENCH_BLOCK);
    atomic_store(&go, false);
    atomic_store(&stop, false);
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){
            .kind = kind,
            .cpu = disjoint ? (int)i : -1,
            .first = disjoint ? i * BLOCKS : 0,
            .count = disjoint ? BLOCKS : SHARED_BLOCKS,
            .seed = i,
        };
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            errx(2, "pthread_create");
    }
    double begin = bench_now();
    atomic_store_explicit(&go, true, memory_order_release);
    nanosleep(&length, NULL);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        done += workers[i].done;
    }
    double seconds = bench_now() - begin;
    for (size_t i = 0; i < THREADS_MAX * BLOCKS; i++) {
        uint64_t count;

        memcpy(&count, memory + i * BENCH_BLOCK, sizeof(count));
        counted += count;
    }
    if (counted != done)
        errx(2, "%llu operations, but the blocks count %llu", (unsigned long long)done,
             (unsigned long long)counted);
    return (double)done / seconds;
}

/* One pair exclusive, one shared, in turn. */
static double pairs_range(void)
{
    struct range_node node;
    double begin = bench_now();

    for (uint32_t i = 0; i < PAIRS; i++) {
        uint64_t start = (uint64_t)(i % 1024) * BENCH_BLOCK;
        if (range_lock_acquire(&ranges, &node, start, start + BENCH_BLOCK,
                               i % 2 ? RANGE_SHARED : RANGE_EXCLUSIVE, 1, NULL) != 0)
            errx(2, "range_lock_acquire");
        range_lock_release(&ranges, &node);
    }
    return PAIRS / (bench_now() - begin);
}

static double pairs_rwlock(void)
{
    double begin = bench_now();

    for (uint32_t i = 0; i < PAIRS; i++) {
        if ((i % 2 ? pthread_rwlock_rdlock(&rwlock) : pthread_rwlock_wrlock(&rwlock)) != 0)
            errx(2, "pthread_rwlock");
        pthread_rwlock_unlock(&rwlock);
    }
    return PAIRS / (bench_now() - begin);
}

static void row_uncontended(void)
{
    struct series ours = { .count = 0 }, theirs = { .count = 0 };

    for (unsigned round = 0; round < ROUNDS; round++) {
        series_add(&ours, pairs_range());
        series_add(&theirs, pairs_rwlock());
    }
    row_ratio("lock.uncontended", &ours, &theirs, NULL);
}

static void row_disjoint(void)
{
    struct series ours = { 0 }, theirs = { 0 }, free_one = { 0 }, free_two = { 0 }, one = { 0 };
    char note[160];

    for (unsigned round = 0; round < ROUNDS; round++) {
        series_add(&ours, run(RANGE, 2, true));
        series_add(&theirs, run(RWLOCK, 2, true));
        series_add(&free_one, run(NONE, 1, true));
        series_add(&free_two, run(NONE, 2, true));
        series_add(&one, run(RANGE, 1, true));
    }
    snprintf(note, sizeof(note),
             "two threads reach %.2f of one; the copies without any lock %.2f of one",
             series_median(&ours) / series_median(&one),
             series_median(&free_two) / series_median(&free_one));
    row_ratio("lock.disjoint2", &ours, &theirs, note);
}

static void row_oversubscribed(void)
{
    struct series many = { .count = 0 }, few = { .count = 0 };

    for (unsigned round = 0; round < ROUNDS; round++) {
        series_add(&many, run(RANGE, 16, false));
        series_add(&few, run(RANGE, 4, false));
    }
    row_ratio("lock.oversubscribed16", &many, &few, NULL);
}

int main(void)
{
    memory = aligned_alloc(BENCH_BLOCK, (size_t)THREADS_MAX * BLOCKS * BENCH_BLOCK);
    if (!memory)
        err(2, "memory");
    range_lock_init(&ranges);
    run(RANGE, 2, true); /* both CPUs awake */
    row_uncontended();
    row_disjoint();
    row_oversubscribed();
    range_lock_destroy(&ranges);
    return 0;
}
