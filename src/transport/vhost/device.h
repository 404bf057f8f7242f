/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A vhost-user back-end: one socket, one VMM at a time, the virtqueues of one device.
 *
 * Owns the socket, the connection, the guest's memory as it is mapped here, the queues and their threads.
 * Knows nothing of files: virtiofs/ is above it. Everything that comes through the socket and from the
 * guest is hostile (L6, daxfuse(7)): what does not fit ends the connection, or that queue, and nothing else.
 *
 * Threads. The socket thread answers the VMM's messages and never waits for a queue, a lock of the
 * filesystem or the VMM: a VMM that has got its answer to SHMEM_MAP sends a memory table next, and
 * answers nothing before that is answered. Nor does it read the VMM's answers, or close what the VMM sent, but
 * memory, which was found to close at once: that do threads that nobody waits for (channel.h, closer.h). Each
 * queue has a thread, which waits for kicks and calls vhost_ops.request for each chain. Callbacks are called
 * without a lock held.
 *
 * The life of a connection, as the callbacks tell it, in the socket thread:
 *
 *   connected -> (started -> runs* -> stopped | reset)* -> gone
 *
 * started: a queue will run; runs: one more does; stopped: none does any more, and no copy is under way. Between
 * started and stopped, and only there, vhost_shm_map and vhost_shm_unmap work. A VMM that pauses its guest stops the
 * queues and starts them again where they were. One that resets the device, reset, has nothing in its window any
 * more, and the guest begins anew: it says so, or has the queues go on elsewhere than they stood.
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_DEVICE_H
#define DAXFUSE_TRANSPORT_VHOST_DEVICE_H

#include "transport/vhost/request.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VHOST_CONFIG_MAX 256
#define VHOST_QUEUES_MAX 64

struct vhost_device;

/* One region of the guest's memory as the VMM gives it. */
struct vhost_region {
    uint64_t guest_address;
    uint64_t size;
    uint64_t user_address; /* in the VMM; ring addresses come in these */
    uint64_t fd_offset;
};

struct vhost_ops {
    /* The device's configuration space: as much of it as fits. Returns its size. */
    size_t (*config)(void *arg, uint8_t *bytes, size_t size);

    /* What is to be done with a region of memory that FD stands for: 1 map it, 0 leave it out (the guest's
     * descriptors into it go to `outside`), -errno: end the connection. Any number of times for the same. If it
     * is not refused, closing FD must wait for nobody. */
    int (*region)(void *arg, int fd, const struct vhost_region *region);

    /* See above. NULL: not of interest. */
    void (*connected)(void *arg);
    void (*started)(void *arg);
    void (*runs)(void *arg);
    void (*stopped)(void *arg);
    void (*reset)(void *arg);
    void (*gone)(void *arg);

    /* A chain has come: the callee's until vhost_complete(). In the queue's thread: must not wait long. */
    void (*request)(void *arg, struct vhost_request *request);

    /*
     * The guest's address lies in no region. 0: *ret_bytes is LENGTH bytes of our memory that may be used until
     * outside_end(COOKIE), and *ret_length, up to length, is how many of them; -EFAULT. Only inside
     * vhost_access_begin and _end; must not wait.
     */
    int (*outside)(void *arg, uint64_t address, size_t length, bool write, void **ret_bytes,
                   size_t *ret_length, uint64_t *ret_cookie);
    void (*outside_end)(void *arg, uint64_t cookie);
};

struct vhost_options {
    const char *path;  /* of the socket that is made; borrowed. NULL: fd */
    int fd;            /* a listening socket, or a connected one; the device closes it */
    gid_t group;       /* of the socket; (gid_t)-1: as it comes */
    const char *name;  /* for messages; borrowed */
    unsigned queues;   /* all of them, 1 to VHOST_QUEUES_MAX */
    uint64_t shm_size; /* of shared-memory region 0; 0: none */
    bool mem_slots;    /* CONFIGURE_MEM_SLOTS is offered: see protocol.h */
    const struct vhost_ops *ops;
    void *arg;
};

/* Listens. A stale socket file is replaced; one that somebody answers at: -EADDRINUSE. On failure *ret_message
 * is a malloc'ed sentence or NULL. No callback comes before vhost_device_start. */
int vhost_device_open(const struct vhost_options *options, struct vhost_device **ret_device,
                      char **ret_message);
int vhost_device_start(struct vhost_device *device);

/* No connection any more, and no new one: stopped and gone are called. Requests that are not completed
 * may be completed later, and go nowhere. Waits for the threads, but for those that read answers and close. */
void vhost_device_stop(struct vhost_device *device);
/* Stopped, and every request is completed. The socket file is removed. NULL is allowed. */
void vhost_device_close(struct vhost_device *device);

/* Drops the connection, because of what the guest or VMM did; another may come. Any thread. Waits for nothing. */
void vhost_device_drop(struct vhost_device *device, const char *why);

/*
 * The window. Any thread but the socket's; waits for the VMM's answer, as long as DEADLINE (CLOCK_MONOTONIC,
 * nanoseconds). -ENODEV the VMM has no window for us, is stopped or gone: it was not told; -EBUSY
 * it did not answer somebody else in time, and was not told; -EIO it refused; -ETIMEDOUT nobody knows.
 */
bool vhost_shm_is_offered(const struct vhost_device *device);
int vhost_shm_map(struct vhost_device *device, int fd, uint64_t fd_offset, uint64_t shm_offset,
                  uint64_t length, bool writable, uint64_t deadline);
int vhost_shm_unmap(struct vhost_device *device, uint64_t shm_offset, uint64_t length,
                    uint64_t deadline);

#endif
