/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks of files. They are kept in the server (fs.h), since other doors are there besides.
 *
 * Who must wait for a lock holds no thread: the request is answered by whoever makes way, in
 * lock_granted. It keeps its entries of the queue's ring meanwhile, which others need to unlock; so no
 * more wait in a queue than half of its ring, and who would be one more hears ENOLCK.
 *
 * A lock belongs to the session: it is set with the session held, and gone before the next begins.
 * Record locks go with FLUSH, which tells the owner, or with their handle, and flock locks with
 * theirs, which fs_release looks after.
 *
 * Guests to date send no INTERRUPT: a program there that waits can not be killed until it has the lock.
 * One that comes is looked at; one that overtakes its request, in another queue, is not heard.
 */
#include "transport/virtiofs/encode.h"

#include "transport/vhost/device.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

_Static_assert(GUEST_QUEUES_MAX >= VHOST_QUEUES_MAX, "waits are counted by queue");

struct guest_waiter {
    struct fs_lock_waiter waiter; /* first */
    struct guest_waiter *prev, *next;
    struct guest_request gr; /* who asked has another */
    unsigned queue, entries; /* of its ring */
    bool interrupted;        /* under guest->mutex */
    _Atomic unsigned refs;   /* of who began it, until it has, of who answers, of who interrupts */
};

/* ---- who waits --------------------------------------------------------------------------- */

static void waiter_put(struct guest_waiter *waiter)
{
    if (atomic_fetch_sub(&waiter->refs, 1) == 1)
        free(waiter);
}

/* -ENOLCK. */
static int waiter_add(struct guest_waiter *waiter)
{
    struct guest *guest = waiter->gr.guest;
    unsigned all, queue = vhost_request_queue(waiter->gr.request);
    int r = -ENOLCK;

    waiter->queue = queue;
    waiter->entries = vhost_request_entries(waiter->gr.request, &all);
    pthread_mutex_lock(&guest->mutex);
    if (guest->waiting[queue] + waiter->entries <= all / 2) {
        guest->waiting[queue] += waiter->entries;
        waiter->next = guest->waiters;
        if (waiter->next)
            waiter->next->prev = waiter;
        guest->waiters = waiter;
        r = 0;
    }
    pthread_mutex_unlock(&guest->mutex);
    return r;
}

static void waiter_remove(struct guest_waiter *waiter)
{
    struct guest *guest = waiter->gr.guest;

    pthread_mutex_lock(&guest->mutex);
    guest->waiting[waiter->queue] -= waiter->entries;
    if (waiter->prev)
        waiter->prev->next = waiter->next;
    else
        guest->waiters = waiter->next;
    if (waiter->next)
        waiter->next->prev = waiter->prev;
    pthread_mutex_unlock(&guest->mutex);
}

static bool waiter_is_interrupted(struct guest_waiter *waiter)
{
    struct guest *guest = waiter->gr.guest;
    bool interrupted;

    pthread_mutex_lock(&guest->mutex);
    interrupted = waiter->interrupted;
    pthread_mutex_unlock(&guest->mutex);
    return interrupted;
}

/* Ended, and not with its session: the last use of who answers. */
static void waiter_answer(struct guest_waiter *waiter, int error)
{
    waiter_remove(waiter);
    /* A session that is over has nobody who would want it; and it is not parked for the next. */
    if (error == -ENOTCONN)
        guest_answer_none(&waiter->gr);
    else
        guest_answer_error(&waiter->gr, error);
    waiter_put(waiter);
}

static void lock_granted(struct fs_lock_waiter *waiter, int error)
{
    waiter_answer((struct guest_waiter *)waiter, error);
}

/* With the session held. 0, -errno: it does not wait; -EINPROGRESS: it is answered elsewhere. */
static int set_or_wait(struct guest_request *gr, const struct fs_lock *lock)
{
    struct fs *fs = gr->guest->options.fs;
    struct guest_waiter *waiter = malloc(sizeof(*waiter));
    int r;

    if (!waiter)
        return -ENOMEM;
    fs_lock_waiter_init(&waiter->waiter, lock_granted);
    waiter->prev = NULL;
    waiter->gr = *gr;
    waiter->gr.more = NULL;
    waiter->gr.handle = NULL;
    waiter->gr.node_pinned = waiter->gr.handle_used = false;
    waiter->interrupted = false;
    atomic_init(&waiter->refs, 2);
    r = waiter_add(waiter);
    if (r < 0) {
        free(waiter);
        return r;
    }
    r = fs_lock_set(fs, lock, &waiter->waiter);
    if (r != -EINPROGRESS) {
        waiter_remove(waiter);
        waiter_put(waiter);
    } else if (waiter_is_interrupted(waiter) && fs_lock_cancel(fs, &waiter->waiter) == 0) {
        waiter_answer(waiter, -EINTR);
    }
    waiter_put(waiter);
    return r;
}

int guest_interrupt(struct guest_request *gr)
{
    struct guest *guest = gr->guest;
    struct guest_waiter *waiter;

    pthread_mutex_lock(&guest->mutex);
    for (waiter = guest->waiters; waiter; waiter = waiter->next)
        if (waiter->gr.header.unique == gr->in.interrupt.unique && waiter->gr.epoch == gr->epoch)
            break;
    if (waiter) {
        waiter->interrupted = true; /* should it not wait yet */
        atomic_fetch_add(&waiter->refs, 1);
    }
    pthread_mutex_unlock(&guest->mutex);
    if (waiter) {
        if (fs_lock_cancel(guest->options.fs, &waiter->waiter) == 0)
            waiter_answer(waiter, -EINTR);
        waiter_put(waiter);
    }
    guest_answer_none(gr);
    return 0;
}

void guest_forget_locks(struct guest *guest)
{
    fs_lock_forget_door(guest->options.fs, &guest->locks);
    fs_lock_door_init(&guest->locks);
}

/* ---- what the guest asks ----------------------------------------------------------------- */

/* What fs checks is not checked here: the range, and what the handle was opened for. */
static int make_lock(const struct guest_request *gr, struct fs_lock *ret_lock)
{
    const struct fuse_lk_in *in = &gr->in.lk;

    if ((in->lk_flags & ~FUSE_LK_FLOCK) || in->lk.type > F_UNLCK)
        return -EINVAL;
    *ret_lock = (struct fs_lock){
        .ino = gr->ino,
        .door = &gr->guest->locks,
        .owner = in->owner,
        .kind = in->lk_flags & FUSE_LK_FLOCK ? FS_LOCK_FLOCK : FS_LOCK_POSIX,
        .type = (int)in->lk.type,
        .start = in->lk.start,
        .end = in->lk.end,
        .pid = in->lk.pid,
        .handle = gr->handle,
    };
    return 0;
}

int guest_getlk(struct guest_request *gr)
{
    struct fs_lock lock;
    int r = make_lock(gr, &lock);

    if (r == 0)
        r = fs_lock_test(gr->guest->options.fs, &lock, &lock);
    if (r < 0)
        return r;
    const struct fuse_lk_out out = {
        .lk = {
            .start = lock.start,
            .end = lock.end,
            .type = (uint32_t)lock.type,
            .pid = lock.pid,
        },
    };
    return guest_answer(gr, &out, sizeof(out));
}

int guest_setlk(struct guest_request *gr)
{
    struct fs_lock lock;
    int r = make_lock(gr, &lock);

    if (r == 0)
        r = guest_session_hold(gr);
    if (r < 0)
        return r;
    r = fs_lock_set(gr->guest->options.fs, &lock, NULL);
    if (r == -EAGAIN && gr->header.opcode == FUSE_SETLKW)
        r = set_or_wait(gr, &lock);
    guest_session_let_go(gr);
    if (r == 0)
        return guest_answer(gr, NULL, 0);
    if (r == -EINPROGRESS)
        gr->request = NULL;
    else
        guest_answer_error(gr, r); /* -EAGAIN is the guest's, not the dispatcher's */
    return 0;
}

int guest_flush(struct guest_request *gr)
{
    int r = guest_session_hold(gr);

    if (r < 0)
        return r;
    fs_lock_forget_owner(gr->guest->options.fs, gr->ino, &gr->guest->locks, FS_LOCK_POSIX,
                         gr->in.flush.lock_owner);
    guest_session_let_go(gr);
    return guest_answer(gr, NULL, 0);
}
