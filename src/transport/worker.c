/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker pool: one queue, first in, first out, under one mutex. It is off the fast path: what
 * comes here has found its lock taken already.
 */
#include "transport/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

struct worker_pool {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct worker_job *first, **last;
    unsigned queued; /* jobs in the queue */
    unsigned idle;   /* threads that wait for one */
    unsigned limit;
    cpu_set_t cpus; /* of who made the pool: who submits may be bound to one, and is no model */
    bool ending;
    unsigned count; /* threads made */
    pthread_t threads[];
};

static void *worker_main(void *arg)
{
    struct worker_pool *pool = arg;

    pthread_setname_np(pthread_self(), "daxfuse-worker");
    /* Of 0, itself, as a sandbox wants it. */
    (void)sched_setaffinity(0, sizeof(pool->cpus), &pool->cpus);
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->first && !pool->ending) {
            pool->idle++;
            pthread_cond_wait(&pool->work, &pool->mutex);
            pool->idle--;
        }
        struct worker_job *job = pool->first;
        if (!job)
            break;
        pool->first = job->next;
        if (!pool->first)
            pool->last = &pool->first;
        pool->queued--;
        pthread_mutex_unlock(&pool->mutex);
        job->run(job);
        pthread_mutex_lock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* With the mutex held. Signals are the main program's: workers get none. */
static int thread_add(struct worker_pool *pool)
{
    sigset_t all, old;

    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int error = pthread_create(&pool->threads[pool->count], NULL, worker_main, pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error)
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
    pthread_cond_init(&pool->work, NULL);
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
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

void worker_pool_destroy(struct worker_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->ending = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
