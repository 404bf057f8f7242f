/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A virtqueue: what the VMM says of it, the ring, its thread, and the requests that came through
 * it.
 *
 * One mutex a queue guards all of it; it is held for a look into the ring or a store there, never
 * across a callback, a wait or a copy of data. So the socket thread may take it; what it waits for
 * is accesses only.
 *
 * Epochs. Requests belong to the epoch of the queue they came in. It ends with the connection, with
 * a reset, and when the ring is started elsewhere than it was stopped: who asks for an older
 * request gets -ESTALE, and completing it frees it. While the queue stands and its epoch goes
 * on, completed requests wait in `done` for the ring to run again.
 *
 *   used index + inflight = available index that was consumed, at any time of an epoch
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_QUEUE_H
#define DAXFUSE_TRANSPORT_VHOST_QUEUE_H

#include "transport/vhost/kick.h"
#include "transport/vhost/memory.h"
#include "transport/vhost/protocol.h"
#include <pthread.h>
#include <stdbool.h>

struct vhost_device;

struct vhost_segment {
    uint64_t address;
    uint32_t length;
};

struct vhost_request {
    struct vhost_queue *queue;
    struct vhost_request *next; /* in done */
    uint64_t epoch;
    uint64_t connection;
    void *user;
    size_t in_bytes, out_bytes;
    size_t written;
    /* Of the access that is under way: */
    struct vhost_memory *memory;
    uint64_t *outside; /* cookies */
    unsigned outside_count, outside_room;
    uint16_t head;
    uint16_t ring_size, entries; /* of the ring: all, and this chain's */
    uint16_t in_count, out_count;
    struct vhost_segment segments[]; /* in, then out */
};

/* The places of the ring in our memory; NULL: it does not run. */
struct vring {
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
};

/* What a guest can do to its queue that ends it. Each is told once a connection. */
enum vring_fault {
    VRING_OUTSIDE,  /* the ring, or an indirect table, is not in memory */
    VRING_AVAIL,    /* the available index jumped */
    VRING_HEAD,     /* a head beyond the ring */
    VRING_LOOP,     /* a chain longer than the ring */
    VRING_INDIRECT, /* an indirect table of a wrong size or kind */
    VRING_ORDER,    /* readable after writable */
    VRING_ADDRESS,  /* an address that wraps around */
    VRING_MANY,     /* more requests than the ring has places */
    VRING_FAULTS,
};

struct vhost_queue {
    struct vhost_device *device;
    unsigned index;

    pthread_mutex_t mutex;
    pthread_cond_t idle; /* accesses has become 0 */

    /* What the VMM said. */
    uint16_t size; /* 0: nothing yet */
    bool addressed, started, enabled;
    uint64_t desc_user, avail_user, used_user;
    int call, err; /* -1: none */
    uint64_t features;

    /* The ring. */
    bool active; /* it runs, or would if it were not broken */
    bool broken; /* until it is started anew */
    bool resume; /* it was stopped where last_avail says, and may go on */
    bool notify; /* the guest kicks, as far as we told it */
    bool popped; /* a request, since it started */
    struct vhost_memory *memory;
    struct vring ring;
    uint16_t last_avail, used_index;
    unsigned inflight; /* requests of this epoch that are not in the used ring */
    unsigned accesses; /* under way */
    uint64_t epoch, connection;
    struct vhost_request *done, **done_last;

    /* The thread. */
    pthread_t thread;
    bool has_thread, ending;
    struct kick kick;
    int kick_next;    /* a descriptor for it, -1: none */
    bool kick_is_new; /* it shall take that */

    struct vhost_segment scratch[VRING_SIZE_MAX];
    struct vring_desc table[VRING_SIZE_MAX];
};

int vhost_queue_init(struct vhost_queue *queue, struct vhost_device *device, unsigned index);
void vhost_queue_destroy(struct vhost_queue *queue);
/* It takes no further request, and the thread ends. */
void vhost_queue_end_thread(struct vhost_queue *queue);

/*
 * The socket thread's, in queue.c. What is set takes effect when the queue starts next. Descriptors
 * become the queue's, also when it fails.
 */
void vhost_queue_set_features(struct vhost_queue *queue, uint64_t features);
/* *ret_anew: it was another ring, or stood elsewhere. */
int vhost_queue_set_size(struct vhost_queue *queue, uint32_t size, bool *ret_anew);
int vhost_queue_set_addresses(struct vhost_queue *queue, const struct vhost_user_vring_addr *addr,
                              bool *ret_anew);
int vhost_queue_set_base(struct vhost_queue *queue, uint32_t base, bool *ret_anew);
int vhost_queue_set_kick(struct vhost_queue *queue, int fd);
int vhost_queue_set_call(struct vhost_queue *queue, int fd);
int vhost_queue_set_err(struct vhost_queue *queue, int fd);
void vhost_queue_set_memory(struct vhost_queue *queue, struct vhost_memory *memory);
void vhost_queue_set_enabled(struct vhost_queue *queue, bool enabled);

/* Whether it is active and has had a request since it became so. */
bool vhost_queue_is_used(struct vhost_queue *queue);
/* Whether vhost_queue_start would make it active. */
bool vhost_queue_is_ready(struct vhost_queue *queue);
bool vhost_queue_is_active(struct vhost_queue *queue);
/* Makes it active if it is ready and is not. */
int vhost_queue_start(struct vhost_queue *queue);
/* It stands, and no access is under way. FINALLY: until a new kick descriptor comes
 * (GET_VRING_BASE). The available index that was consumed. */
uint16_t vhost_queue_stop(struct vhost_queue *queue, bool finally);
/* Stopped, its epoch over, and as it was at first, for the requests of CONNECTION. */
void vhost_queue_reset(struct vhost_queue *queue, uint64_t connection);

/* Under the mutex. */
static inline bool vhost_queue_runs(const struct vhost_queue *queue)
{
    return queue->active && !queue->broken;
}
void vhost_queue_break(struct vhost_queue *queue, enum vring_fault fault);
void vhost_queue_call(struct vhost_queue *queue);

/* ring.c, all under the mutex. A chain: 1 and *ret_request; 0 none, or the queue broke; -ENOMEM. */
int vring_pop(struct vhost_queue *queue, struct vhost_request **ret_request);
/* Gives a chain back. Whether the guest wants to hear of it. */
bool vring_push(struct vhost_queue *queue, uint16_t head, size_t written);
/* The guest shall kick, or need not. After on, look at the ring again. */
void vring_notify(struct vhost_queue *queue, bool on);
/* Where the ring is in memory. false: nowhere. */
bool vring_find(struct vhost_queue *queue);
uint16_t vring_used_index(const struct vhost_queue *queue);

#endif
