/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that do what a ring thread must not: wait.
 *
 * Owns its threads and its queue. Called by the doors, from any thread; takes no lock of base/lock.h
 * while a job runs. Threads are made as jobs come and stay. A job that waits for a lock waits for
 * somebody who is running, never for another job in the queue: jobs hold nothing before they begin.
 */
#ifndef DAXFUSE_TRANSPORT_WORKER_H
#define DAXFUSE_TRANSPORT_WORKER_H

struct worker_pool;

/* Embedded in what is queued; belongs to the pool until run is called. */
struct worker_job {
    void (*run)(struct worker_job *job);
    struct worker_job *next;
};

/* limit: threads at most, 1 or more. Makes none yet. -ENOMEM. */
int worker_pool_create(unsigned limit, struct worker_pool **ret_pool);

/* Makes the first one. -EAGAIN: none could be made. */
int worker_pool_start(struct worker_pool *pool);

/* Never fails: in a pool that was started one thread there is always. */
void worker_submit(struct worker_pool *pool, struct worker_job *job);

/* Runs what is queued, ends the threads, frees. NULL is allowed. Nobody submits any more. */
void worker_pool_destroy(struct worker_pool *pool);

#endif
