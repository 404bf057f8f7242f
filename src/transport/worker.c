/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker pool: one queue, first in, first out, under one mutex. It is off the fast path: what
 * comes here has found its lock taken already.
 *
 * A semaphore counts the jobs, and not a condition variable: with several who wait, glibc before 2.41 now and
 * then wakes nobody for a signal (its bug 25847), and the job would lie there until the next one comes.
 */
#include "transport/worker.h"

#include "base/thread.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>

struct worker_pool {
    pthread_mutex_t mutex;
    sem_t work; /* one for each job; one for each thread that is to end */
    struct worker_job *first, **last;
    unsigned queued; /* jobs in the queue */
    unsigned idle;   /* threads that wait for one */
    unsigned limit;
    cpu_set_t cpus; /* of who made the pool: who submits may be bound to one, and is no model */
    unsigned count; /* threads made */
    pthread_t threads[];
};

static void *worker_main(void *arg)
{
    struct worker_pool *pool = arg;

    pthread_setname_np(pthread_self(), "daxfuse-worker");
    /* Of 0, itself, as a sandbox wants it. */
    (void)sched_setaffinity(0, sizeof(pool->cpus), &pool->cpus);
    for (;;) {
        pthread_mutex_lock(&pool->mutex);
        pool->idle++;
        pthread_mutex_unlock(&pool->mutex);
        while (sem_wait(&pool->work) < 0)
            ; /* EINTR */
        pthread_mutex_lock(&pool->mutex);
        pool->idle--;
        struct worker_job *job = pool->first;
        if (job) {
            pool->first = job->next;
            if (!pool->first)
                pool->last = &pool->first;
            pool->queued--;
        }
        pthread_mutex_unlock(&pool->mutex);
        if (!job)
            return NULL;
        job->run(job);
    }
}

/* With the mutex held. */
static int thread_add(struct worker_pool *pool)
{
    if (thread_create(&pool->threads[pool->count], worker_main, pool) < 0)
        return -EAGAIN;
    pool->count++;
    return 0;
}

int worker_pool_create(unsigned limit, struct worker_pool **ret_pool)
{
    struct worker_pool *pool = calloc(1, sizeof(*pool) + limit * sizeof(pool->threads[0]));

    if (!pool)
        return -ENOMEM;
    pthread_mutex_init(&pool->mutex, NULL);
    sem_init(&pool->work, 0, 0);
    pool->last = &pool->first;
    pool->limit = limit;
    pthread_getaffinity_np(pthread_self(), sizeof(pool->cpus), &pool->cpus);
    *ret_pool = pool;
    return 0;
}

int worker_pool_start(struct worker_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    int error = pool->count == 0 ? thread_add(pool) : 0;
    pthread_mutex_unlock(&pool->mutex);
    return error;
}

void worker_submit(struct worker_pool *pool, struct worker_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&pool->mutex);
    *pool->last = job;
    pool->last = &job->next;
    pool->queued++;
    if (pool->queued > pool->idle && pool->count < pool->limit)
        (void)thread_add(pool); /* else the threads there are do it */
    sem_post(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

void worker_pool_destroy(struct worker_pool *pool)
{
    if (!pool)
        return;
    for (unsigned i = 0; i < pool->count; i++)
        sem_post(&pool->work);
    for (unsigned i = 0; i < pool->count; i++)
        pthread_join(pool->threads[i], NULL);
    sem_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
