/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The back-end's own channel, on which we ask the VMM to map and unmap in the window.
 *
 * One request at a time: answers bear no number, so that the only thing that says whose one is is
 * the order. Who gave up waiting leaves its answers to come; the next one reads those away before it
 * asks. The wait is in the asking thread and never in the socket's, which the VMM needs meanwhile
 * (device.h).
 *
 * QEMU answers before it does it: the guest may still store to what it has said to have unmapped, and
 * finds nothing where it has said to have mapped. It takes one request after the other, though, so that
 * its answer to the next one says that it is done. That next one is sent along, and asks for nothing: a
 * shared object is removed that there is not. Where that was not agreed on, which QEMU does, the VMM's
 * answer must mean what it says.
 *
 * Owns the descriptor. The socket thread sets, opens, shuts and closes it; any other asks.
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_CHANNEL_H
#define DAXFUSE_TRANSPORT_VHOST_CHANNEL_H

#include "transport/vhost/closer.h"
#include "transport/vhost/protocol.h"
#include <pthread.h>
#include <stdbool.h>

struct vhost_channel {
    struct closer *closer; /* borrowed */
    pthread_mutex_t mutex; /* guards what follows; not held while waiting for an answer */
    pthread_cond_t idle;   /* busy has become false */
    int fd;                /* -1: none */
    bool open;             /* requests may be sent */
    bool busy;             /* somebody asks, or reads */
    bool lost;             /* the VMM closed it, or talks nonsense */
    bool barrier;          /* a request is followed by one that asks for nothing */
    uint32_t due[2];       /* whose answers are to come, in their order */
    unsigned due_count;    /* not 0 and nobody busy: nobody waits for them any more */
    size_t used;           /* bytes of an answer that have come */
    struct {
        struct vhost_user_header header;
        uint64_t result;
    } __attribute__((packed)) answer;
    uint64_t result; /* of the last request that was answered, but for barriers */
};

int vhost_channel_init(struct vhost_channel *channel, struct closer *closer);
void vhost_channel_destroy(struct vhost_channel *channel);

/* Takes FD, or none with -1, and ends what was there: who waits for an answer of it returns. */
void vhost_channel_set(struct vhost_channel *channel, int fd);
/* BARRIER: SHARED_OBJECT was agreed on. From the return of shut on nothing is sent; answers are still
 * waited for. */
void vhost_channel_open(struct vhost_channel *channel, bool barrier);
void vhost_channel_shut(struct vhost_channel *channel);

/*
 * Asks, FD with it if not -1, and waits until it is done or DEADLINE (CLOCK_MONOTONIC, ns). 0;
 * -ENODEV: not sent, as the channel is not open; -EBUSY: not sent, as somebody else's answer did not come;
 * -EIO: refused; -ETIMEDOUT: nobody knows.
 * *ret_lost: it was just lost.
 */
int vhost_channel_ask(struct vhost_channel *channel, enum vhost_user_backend_request request,
                      const struct vhost_user_shmem_map *map, int fd, uint64_t deadline,
                      bool *ret_lost);

#endif
