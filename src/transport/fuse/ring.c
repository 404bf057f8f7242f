/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The gate at libfuse's rings: see ring.h for what it guards and why it is needed. */
#include "transport/fuse/ring.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct ring_gate {
    pthread_mutex_t mutex;
    pthread_cond_t drained;
    _Atomic unsigned outstanding; /* handed over, not answered; lowered under the mutex */
};

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static _Thread_local struct ring_gate *mine;

/* A ring thread ends. */
static void gate_destroy(void *arg)
{
    struct ring_gate *gate = arg;

    pthread_mutex_lock(&gate->mutex);
    while (atomic_load(&gate->outstanding) > 0)
        pthread_cond_wait(&gate->drained, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
    pthread_cond_destroy(&gate->drained);
    pthread_mutex_destroy(&gate->mutex);
    free(gate);
}

static void key_create(void)
{
    if (pthread_key_create(&key, gate_destroy) != 0)
        abort();
}

/* NULL only when memory is short: then requests of this ring are never handed over. */
static struct ring_gate *gate_create(void)
{
    int old;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    pthread_once(&key_once, key_create);
    struct ring_gate *gate = calloc(1, sizeof(*gate));
    if (!gate)
        return NULL;
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->drained, NULL);
    if (pthread_setspecific(key, gate) != 0) {
        pthread_cond_destroy(&gate->drained);
        pthread_mutex_destroy(&gate->mutex);
        free(gate);
        return NULL;
    }
    mine = gate;
    return gate;
}

struct ring_gate *ring_gate_mine(void)
{
    return mine;
}

void ring_gate_hand_over(struct ring_gate *gate)
{
    atomic_fetch_add(&gate->outstanding, 1); /* without the mutex: ring_lock is held */
}

void ring_gate_answer_begin(struct ring_gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
}

void ring_gate_answer_end(struct ring_gate *gate)
{
    if (atomic_fetch_sub(&gate->outstanding, 1) == 1)
        pthread_cond_signal(&gate->drained);
    pthread_mutex_unlock(&gate->mutex);
}

/*
 * In place of liburing's, for the whole process: the symbol of the executable comes first. The same but
 * for the gate, and with it only the publishing is done, so that nobody waits for it across the
 * system call; the kernel has a lock of its own for that. Rings of libfuse are told by SQE128, which
 * nothing else here uses.
 */
int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
    struct io_uring_sq *sq = &ring->sq;
    struct ring_gate *gate = NULL;

    if (ring->flags & IORING_SETUP_SQE128)
        gate = mine ? mine : gate_create();
    if (gate)
        pthread_mutex_lock(&gate->mutex);
    unsigned tail = sq->sqe_tail;
    if (sq->sqe_head != tail) {
        sq->sqe_head = tail;
        __atomic_store_n(sq->ktail, tail, __ATOMIC_RELEASE);
    }
    unsigned count = tail - __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);
    if (gate)
        pthread_mutex_unlock(&gate->mutex);
    return io_uring_enter(ring->ring_fd, count, wait_nr, IORING_ENTER_GETEVENTS, NULL);
}
