/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the back-end share: device.c (sockets, threads, life), backend.c (messages),
 * queue.c, request.c. Nobody else includes it.
 *
 * Locks: a queue's mutex, then the device's; the channel's alone; the closer's in any.
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_BACKEND_H
#define DAXFUSE_TRANSPORT_VHOST_BACKEND_H

#include "transport/vhost/channel.h"
#include "transport/vhost/closer.h"
#include "transport/vhost/device.h"
#include "transport/vhost/listen.h"
#include "transport/vhost/queue.h"
#include "transport/vhost/signal.h"
#include "transport/vhost/socket.h"

#define VHOST_MEMORY_IS_BAD "memory of the guest is not there: its file was cut short"

/* What is told once a connection: bits. */
enum vhost_told {
    VHOST_TOLD_SECOND,
    VHOST_TOLD_CONFIG,
    VHOST_TOLD_LOG,
    VHOST_TOLD_CHANNEL,
    VHOST_TOLD_SLOTS,
    VHOST_TOLD_CLOSER,
    VHOST_TOLD_QUEUE, /* and what follows: enum vring_fault */
};
_Static_assert(VHOST_QUEUES_MAX <= 64, "bits of vhost_device.stood");
_Static_assert(VHOST_TOLD_QUEUE + VRING_FAULTS <= 32, "bits of vhost_device.told");

struct vhost_device {
    const struct vhost_ops *ops;
    void *arg;
    const char *name;
    unsigned queue_count;
    uint64_t shm_size;
    bool mem_slots;
    struct vhost_listener listener;

    int wake; /* eventfd: the socket thread shall look at what follows */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t mutex;
    bool ending, dropped;
    uint64_t stopped;    /* the moment */
    uint64_t connection; /* its number; changes when one begins, and when it ends */
    uint64_t told_since; /* lines of the log, counted since then */
    unsigned told_lines;
    char why[128]; /* dropped */

    struct closer *closer;
    struct vhost_signals signals;
    _Atomic uint32_t told;
    _Atomic bool shm_offered;
    struct vhost_channel *channel;

    /* The socket thread's. */
    struct vhost_socket socket;
    struct vhost_memory *memory;
    uint64_t features, protocol_features;
    bool has_channel, shm_asked;
    bool started;   /* as the callbacks say */
    uint64_t stood; /* bits of queues: since all stopped, neither started nor reset */

    struct vhost_queue queues[];
};

/* As vhost_device_drop, but only that connection. Any lock held but the device's. */
void vhost_device_drop_connection(struct vhost_device *device, uint64_t connection,
                                  const char *why);

/* A warning, the first time in this connection, and not without end. */
void vhost_device_tell(struct vhost_device *device, unsigned bit, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* backend.c: the state at the beginning of CONNECTION; the callbacks are the caller's. */
void vhost_backend_reset(struct vhost_device *device, uint64_t connection);
/* Answers a message. -errno: the connection ends, *ret_why says why. */
int vhost_backend_handle(struct vhost_device *device, struct vhost_message *message,
                         const char **ret_why);

#endif
