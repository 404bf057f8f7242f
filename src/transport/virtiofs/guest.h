/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest: the FUSE side of a virtio-fs door, from a chain of descriptors to its answer.
 *
 * Owns what the guest has looked up, opened, locked and mapped through this door. Knows virtqueues only by
 * vhost/request.h, and the window only as a struct dax_door; who it belongs to (the door's life)
 * opens both. All that comes from the guest is hostile (L6): decode.h makes it a struct of ours, or
 * an error answer.
 *
 * Any thread may call guest_dispatch. What must wait is handed to the workers; until a request is
 * answered the guest keeps it. Takes no lock of base/lock.h itself.
 *
 * An export is what is below its root, as it was when it was looked up: a directory that another
 * door moves out of the export stays what it is for a guest that holds it, and leads to what is
 * below it then.
 */
#ifndef DAXFUSE_TRANSPORT_VIRTIOFS_GUEST_H
#define DAXFUSE_TRANSPORT_VIRTIOFS_GUEST_H

#include "fs/fs.h"
#include "transport/stats.h"
#include "transport/vhost/request.h"
#include "transport/virtiofs/handle.h"
#include "transport/virtiofs/node.h"
#include "transport/worker.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct dax_door;
struct guest_parked;
struct guest_waiter;
struct worker_pool;

#define GUEST_QUEUES_MAX 64

/* What a READ or WRITE carries at most. */
#define GUEST_IO_MAX (1u << 20)

enum guest_cache {
    GUEST_CACHE_AUTO,   /* a second; pages go when a file has changed */
    GUEST_CACHE_ALWAYS, /* a day: nobody else changes anything */
    GUEST_CACHE_NEVER,
};

/* Which files the guest is told to map; mounted with dax=always it does not ask. */
enum guest_dax {
    GUEST_DAX_SIZE,  /* from the threshold on, and those with the file's flag */
    GUEST_DAX_INODE, /* by the file's flag, as of chattr +x */
    GUEST_DAX_ALWAYS,
    GUEST_DAX_NEVER,
};

struct guest_options {
    struct fs *fs;
    uint64_t root; /* inode number of the export's root, a directory, with a reference */
    bool read_only;
    enum guest_cache cache;
    enum guest_dax dax;
    uint64_t dax_threshold;      /* bytes */
    struct dax_door *dax_door;   /* of the window, added to fs; NULL: none; outlives the guest */
    struct worker_pool *workers; /* outlives the guest */
    /* The guest begins anew: what it mapped before it will not touch again. In a worker, when all was unmapped
     * that could be. An error: the guest cannot begin; -ECANCELED: it is paused. May be NULL. */
    int (*renew)(void *arg);
    /* Whether the VMM has the window; NULL: it has. */
    bool (*has_window)(void *arg);
    void *arg;
};

enum guest_state {
    GUEST_NEW, /* before INIT */
    GUEST_READY,
    GUEST_ENDED, /* after DESTROY */
};

/* Of the guest's own. */
struct guest_job {
    struct worker_job job; /* first */
    struct guest *guest;
};

struct guest {
    struct guest_options options;
    struct nodes nodes;
    struct handles handles;
    struct fs_lock_door locks;
    struct door_stats stats;

    /* INIT and DESTROY exclusively; whoever maps, unmaps or locks shared, so that nothing is mapped or
     * locked for a session that is over. */
    pthread_rwlock_t session;
    _Atomic uint32_t epoch; /* of sessions */
    _Atomic int state;      /* enum guest_state */
    _Atomic uint32_t minor;
    _Atomic uint64_t flags; /* FUSE_*, what was agreed on */
    uint64_t timeout;       /* seconds, of attributes and names */

    _Atomic uint64_t handed_over;
    pthread_mutex_t mutex; /* a leaf; the rest is under it */
    pthread_cond_t idle;
    uint32_t active;             /* requests that somebody is at work on */
    struct guest_parked *parked; /* whose queue was stopped */
    _Atomic uint32_t parked_count;
    _Atomic bool resuming;
    _Atomic uint32_t resumes; /* how often that was asked for */
    struct guest_job resume;  /* queued while resuming */
    struct guest_job reset;   /* queued while is_reset */
    bool is_reset;
    uint32_t reset_epoch;               /* the session that is over */
    struct guest_waiter *waiters;       /* for locks */
    uint32_t waiting[GUEST_QUEUES_MAX]; /* entries of a queue's ring that they have */
};

/* -ENOMEM; the reference to the root stays the caller's then. */
int guest_open(const struct guest_options *options, struct guest **ret_guest);

/* Answers the request now or later. From any thread that may not wait: a queue's. */
void guest_dispatch(struct guest *guest, struct vhost_request *request);

/* Queues run again: what could not be answered when they stopped is tried again, in a worker. */
void guest_resume(struct guest *guest);

/* The VMM is gone: the guest's nodes and handles are forgotten soon, in a worker, and requests that
 * wait for a stopped queue are given up. What is mapped is not touched. Requests are answered again
 * after an INIT. Waits for nobody. */
void guest_reset(struct guest *guest);

/* Waits for requests that are being worked on, gives up those that wait for locks, forgets all, frees. No request comes any more. NULL
 * is allowed. */
void guest_close(struct guest *guest);

/* kind from 0; false: no such kind. */
bool guest_get_stats(const struct guest *guest, unsigned kind, struct door_kind_stats *ret_stats);

#endif
