/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request's way: decoded, checked against the session, run where it came in and may not wait; and
 * only when fs says that something must be waited for, run again in a worker, which may.
 *
 * A queue that stops (the VMM pauses its guest) lets nobody at the guest's memory. A request that
 * comes to that point before anything was done, or can be done twice, is kept as it is, one that was
 * done is kept with its answer; both go on when the queue does, or are given up when the guest begins
 * anew. In between they are parked.
 */
#include "base/clock.h"
#include "transport/virtiofs/encode.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct guest_parked {
    struct guest_parked *next;
    struct vhost_request *request;
    uint32_t epoch; /* of its session */
    size_t size;    /* of the answer; 0: it is to be run */
    char answer[];
};

static void reset_run(struct worker_job *job);

/* ---- who is at work -------------------------------------------------------------------------- */

static void active_begin(struct guest *guest)
{
    pthread_mutex_lock(&guest->mutex);
    guest->active++;
    pthread_mutex_unlock(&guest->mutex);
}

static void active_end(struct guest *guest)
{
    pthread_mutex_lock(&guest->mutex);
    if (--guest->active == 0)
        pthread_cond_broadcast(&guest->idle);
    pthread_mutex_unlock(&guest->mutex);
}

/* ---- running --------------------------------------------------------------------------------- */

static int check_session(const struct guest_request *gr)
{
    int state = atomic_load_explicit(&gr->guest->state, memory_order_acquire);

    if (state != GUEST_READY && !(gr->op->flags & OP_ANYTIME))
        return -EIO;
    /* An INIT has ended its session before it was parked. */
    if (gr->again && gr->op->run != guest_init && gr->epoch != atomic_load(&gr->guest->epoch))
        return -ENOTCONN;
    if ((gr->op->flags & OP_CHANGES) && gr->guest->options.read_only)
        return -EROFS;
    return 0;
}

/* The node and the handle that the operation is about, unless a first run has them already. */
static int resolve(struct guest_request *gr)
{
    const uint32_t flags = gr->op->flags;
    struct guest *guest = gr->guest;
    int r = 0;

    if ((flags & OP_NODE) && !gr->node_pinned) {
        r = nodes_pin(&guest->nodes, gr->header.nodeid, &gr->ino, &gr->large);
        gr->node_pinned = r == 0;
    }
    if (r == 0 && (flags & (OP_FILE | OP_DIRECTORY)) && !gr->handle_used) {
        enum handle_kind kind =
            (flags & OP_FILE ? HANDLE_FILE : 0) | (flags & OP_DIRECTORY ? HANDLE_DIRECTORY : 0);

        r = handles_use(&guest->handles, gr->in.fh, gr->header.nodeid, kind, &gr->handle);
        gr->handle_used = r == 0;
        if (r == 0)
            gr->ino = fs_handle_ino(gr->handle);
    }
    return r;
}

static void let_go(struct guest_request *gr)
{
    if (gr->handle_used)
        handles_unuse(&gr->guest->handles, gr->in.fh);
    if (gr->node_pinned)
        nodes_unpin(&gr->guest->nodes, gr->header.nodeid);
    guest_decode_free(gr);
}

static int run(struct guest_request *gr)
{
    int r = check_session(gr);

    if (r == 0 && (gr->op->flags & OP_SLOW) && !gr->in_worker)
        return -EAGAIN;
    if (r == 0)
        r = resolve(gr);
    return r == 0 ? gr->op->run(gr) : r;
}

static bool hand_over(const struct guest_request *gr);

/* What is to be done after a run, or a decoding, that said so; the last use of *gr. */
static void finish(struct guest_request *gr, int r)
{
    struct guest *guest = gr->guest;

    if (r == -EAGAIN && !gr->in_worker) {
        if (hand_over(gr))
            return;
        r = -ENOMEM;
    }
    if (r == -ECANCELED)
        guest_park(gr, NULL, 0);
    else if (r < 0)
        guest_answer_error(gr, r);
    let_go(gr);
    active_end(guest);
}

static void worker_run(struct worker_job *job)
{
    struct guest_request *gr = (struct guest_request *)job;

    finish(gr, run(gr));
    free(gr);
}

static bool hand_over(const struct guest_request *gr)
{
    struct guest_request *handed = malloc(sizeof(*handed));

    if (!handed)
        return false;
    *handed = *gr;
    handed->job.run = worker_run;
    handed->rq.wait = NULL;
    handed->in_worker = true;
    atomic_fetch_add_explicit(&gr->guest->handed_over, 1, memory_order_relaxed);
    worker_submit(gr->guest->options.workers, &handed->job);
    return true;
}

/* PARKED: it was so until now, and runs again. */
static void process(struct guest *guest, struct vhost_request *request,
                    const struct guest_parked *parked)
{
    struct guest_request gr; /* large: only what is read before it is written is set */
    int r;

    gr.guest = guest;
    gr.request = request;
    gr.op = NULL;
    gr.begun = clock_now();
    gr.epoch = parked ? parked->epoch : atomic_load_explicit(&guest->epoch, memory_order_acquire);
    gr.again = parked != NULL;
    gr.in_worker = false;
    gr.wait = (struct lock_wait){ .nowait = true };
    gr.header = (struct fuse_in_header){ 0 };
    gr.payload_at = gr.payload_size = 0;
    gr.more = NULL;
    gr.more_inline[0] = '\0';
    gr.more_size = gr.bytes_at = gr.bytes_size = 0;
    gr.handle = NULL;
    gr.ino = 0;
    gr.large = false;
    gr.node_pinned = gr.handle_used = false;
    active_begin(guest);
    r = guest_decode(&gr);
    gr.rq = (struct fs_request){
        .uid = gr.header.uid,
        .gid = gr.header.gid,
        .in_group = true, /* the guest's kernel has cleared the bit already */
        .wait = &gr.wait,
        .door = guest->options.dax_door,
    };
    if (r == 0)
        r = run(&gr);
    else if (r == -EAGAIN)
        r = -EIO;
    finish(&gr, r);
}

void guest_dispatch(struct guest *guest, struct vhost_request *request)
{
    if (atomic_load_explicit(&guest->parked_count, memory_order_relaxed) > 0)
        guest_resume(guest);
    process(guest, request, NULL);
}

/* ---- queues that stop ------------------------------------------------------------------------ */

static void park(struct guest *guest, struct guest_parked *parked)
{
    pthread_mutex_lock(&guest->mutex);
    parked->next = guest->parked;
    guest->parked = parked;
    atomic_fetch_add(&guest->parked_count, 1);
    pthread_mutex_unlock(&guest->mutex);
}

static struct guest_parked *unpark_all(struct guest *guest)
{
    struct guest_parked *list;

    pthread_mutex_lock(&guest->mutex);
    list = guest->parked;
    guest->parked = NULL;
    atomic_store(&guest->parked_count, 0);
    pthread_mutex_unlock(&guest->mutex);
    return list;
}

void guest_park(struct guest_request *gr, const void *answer, size_t size)
{
    struct guest_parked *parked = malloc(sizeof(*parked) + size);

    if (!parked) {
        vhost_complete(gr->request, 0);
        return;
    }
    parked->request = gr->request;
    parked->epoch = gr->epoch;
    parked->size = size;
    if (size > 0)
        memcpy(parked->answer, answer, size);
    park(gr->guest, parked);
    guest_resume(gr->guest); /* it may run again already, and have found nothing parked */
}

/* False: its queue still is stopped. One whose ring is over goes nowhere. */
static bool resume_one(struct guest *guest, struct guest_parked *parked)
{
    int r = vhost_access_begin(parked->request), ended;

    if (r == -ECANCELED)
        return false;
    if (r < 0) {
        vhost_complete(parked->request, 0);
        free(parked);
        return true;
    }
    if (parked->size > 0)
        r = vhost_write(parked->request, 0, parked->answer, parked->size);
    ended = vhost_access_end(parked->request);
    if (parked->size == 0)
        process(guest, parked->request, parked);
    else
        vhost_complete(parked->request, r == 0 && ended == 0 ? parked->size : 0);
    free(parked);
    return true;
}

static void resume_run(struct worker_job *job)
{
    struct guest *guest = ((struct guest_job *)job)->guest;
    struct guest_parked *list;
    uint32_t resumes;

    atomic_store(&guest->resuming, false);
    resumes = atomic_load(&guest->resumes);
    list = unpark_all(guest);
    while (list) {
        struct guest_parked *parked = list;

        list = list->next;
        if (!resume_one(guest, parked))
            park(guest, parked);
    }
    if (atomic_load(&guest->resumes) != resumes)
        guest_resume(guest); /* asked while nothing was parked, but in our hands */
    active_end(guest);
}

void guest_resume(struct guest *guest)
{
    atomic_fetch_add(&guest->resumes, 1);
    if (atomic_load(&guest->parked_count) == 0 || atomic_exchange(&guest->resuming, true))
        return;
    active_begin(guest);
    worker_submit(guest->options.workers, &guest->resume.job);
}

void guest_give_up_parked(struct guest *guest)
{
    struct guest_parked *list = unpark_all(guest);

    while (list) {
        struct guest_parked *parked = list;

        list = list->next;
        vhost_complete(parked->request, 0);
        free(parked);
    }
}

/* ---- its life -------------------------------------------------------------------------------- */

int guest_open(const struct guest_options *options, struct guest **ret_guest)
{
    struct guest *guest = aligned_alloc(64, sizeof(*guest));

    _Static_assert(sizeof(*guest) % 64 == 0, "counters fill cache lines");
    if (!guest)
        return -ENOMEM;
    memset(guest, 0, sizeof(*guest));
    guest->options = *options;
    guest->timeout = options->cache == GUEST_CACHE_ALWAYS ? 24 * 60 * 60
                     : options->cache == GUEST_CACHE_AUTO ? 1
                                                          : 0;
    fs_lock_door_init(&guest->locks);
    nodes_init(&guest->nodes, options->fs, options->root);
    handles_init(&guest->handles, options->fs);
    pthread_rwlock_init(&guest->session, NULL);
    pthread_mutex_init(&guest->mutex, NULL);
    pthread_cond_init(&guest->idle, NULL);
    guest->resume = (struct guest_job){ { .run = resume_run }, guest };
    guest->reset = (struct guest_job){ { .run = reset_run }, guest };
    *ret_guest = guest;
    return 0;
}

int guest_session_hold(struct guest_request *gr)
{
    struct guest *guest = gr->guest;

    if (gr->in_worker)
        pthread_rwlock_rdlock(&guest->session);
    else if (pthread_rwlock_tryrdlock(&guest->session) != 0)
        return -EAGAIN;
    if (atomic_load(&guest->epoch) == gr->epoch)
        return 0;
    pthread_rwlock_unlock(&guest->session);
    return -ENOTCONN;
}

void guest_session_let_go(struct guest_request *gr)
{
    pthread_rwlock_unlock(&gr->guest->session);
}

static void forget_session(struct guest *guest, uint32_t epoch)
{
    pthread_rwlock_wrlock(&guest->session);
    /* Else an INIT has come in between, and all that is there is of its session. */
    if (atomic_load(&guest->epoch) == epoch) {
        atomic_store(&guest->state, GUEST_NEW);
        atomic_store(&guest->epoch, ++epoch);
        guest_forget_locks(guest);
        handles_clear(&guest->handles, epoch);
        nodes_clear(&guest->nodes, epoch);
    }
    pthread_rwlock_unlock(&guest->session);
}

static void reset_run(struct worker_job *job)
{
    struct guest *guest = ((struct guest_job *)job)->guest;
    uint32_t epoch;

    pthread_mutex_lock(&guest->mutex);
    guest->is_reset = false;
    epoch = guest->reset_epoch;
    pthread_mutex_unlock(&guest->mutex);
    forget_session(guest, epoch);
    active_end(guest);
}

void guest_reset(struct guest *guest)
{
    bool queued;

    guest_give_up_parked(guest);
    pthread_mutex_lock(&guest->mutex);
    queued =
        guest->is_reset; /* maybe for a session before, which the INIT since then has forgotten */
    guest->is_reset = true;
    guest->reset_epoch = atomic_load(&guest->epoch);
    if (!queued)
        guest->active++;
    pthread_mutex_unlock(&guest->mutex);
    if (!queued)
        worker_submit(guest->options.workers, &guest->reset.job);
}

static void wait_idle(struct guest *guest)
{
    pthread_mutex_lock(&guest->mutex);
    while (guest->active > 0)
        pthread_cond_wait(&guest->idle, &guest->mutex);
    pthread_mutex_unlock(&guest->mutex);
}

void guest_close(struct guest *guest)
{
    if (!guest)
        return;
    guest_give_up_parked(guest);
    wait_idle(guest);
    guest_give_up_parked(guest); /* what was under way then */
    forget_session(guest, atomic_load(&guest->epoch));
    wait_idle(guest);
    guest_give_up_parked(guest); /* who was granted a lock until then */
    handles_destroy(&guest->handles);
    nodes_destroy(&guest->nodes);
    if (guest->options.root != 1)
        fs_forget(guest->options.fs, guest->options.root, 1);
    pthread_cond_destroy(&guest->idle);
    pthread_mutex_destroy(&guest->mutex);
    pthread_rwlock_destroy(&guest->session);
    free(guest);
}

bool guest_get_stats(const struct guest *guest, unsigned kind, struct door_kind_stats *ret_stats)
{
    return door_stats_get(&guest->stats, kind, ret_stats);
}
