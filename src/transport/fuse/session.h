/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local door: a mount of the kernel's FUSE client.
 *
 * Owns the mount, libfuse's session and the worker pool. Called by the server
 * (transport/server.c), except for door_stop() from one thread. Takes no lock of base/lock.h itself.
 */
#ifndef DAXFUSE_TRANSPORT_FUSE_SESSION_H
#define DAXFUSE_TRANSPORT_FUSE_SESSION_H

#include "transport/stats.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct door;
struct fs;
struct keeper;

struct door_options {
    const char *mountpoint; /* absolute; borrowed */
    const char *source;     /* what /proc/mounts shows: the pool's path; borrowed */
    const char *kernel;     /* options of mount(2) passed on, comma-separated, or ""; borrowed */
    bool read_only;
    bool allow_other;
    bool io_uring;        /* try it; not of a shared door */
    bool direct;          /* others change files: no page of theirs is kept here */
    bool shared;          /* the filesystem has other doors: locks are kept in the server */
    bool debug;           /* libfuse prints each request */
    unsigned queue_depth; /* of a ring; 0: libfuse's */
    unsigned max_threads; /* of the classic loop, and of the workers */
    unsigned timeout;     /* seconds for which the kernel may keep attributes and names */
    /* Unmounts, once door_open has mounted; borrowed. NULL: the server has a path to do it by. */
    struct keeper *keeper;
};

/* Whether FOLDER can be mounted on: 0, or -ENOENT, -ENOTDIR, -EBUSY somebody's FUSE mount, -ENOTCONN a
 * dead one, -EACCES. *ret_message as of pool_open. */
int door_check_mountpoint(const char *folder, char **ret_message);

/* Mounts. From then on the kernel queues requests; door_run answers them. On failure
 * *ret_message is a malloc'ed sentence or NULL. */
int door_open(struct fs *fs, const struct door_options *options, struct door **ret_door,
              char **ret_message);

/* Serves until the mount is gone or door_stop() was called. 0, -EIO when libfuse gave up. */
int door_run(struct door *door);

/* Waits until a request has been answered. 0; -ENOTCONN the mount has gone; -EIO. From another thread
 * than door_run's. */
int door_wait_ready(struct door *door);

/* Writes back what the kernel has cached and unmounts; if somebody is still in the mount, detaches it
 * and ends the session under them. From another thread than door_run's, any number of times. */
void door_stop(struct door *door);

/* After door_run: closes the connection and unmounts what is still mounted, so that nobody waits in
 * the mount any more. */
void door_detach(struct door *door);

/* After door_run. Detaches and frees. NULL is allowed. */
void door_close(struct door *door);

/* How requests come, and why not through io_uring: static text. */
const char *door_transport(const struct door *door);
const char *door_transport_reason(const struct door *door);
unsigned door_kernel_minor(const struct door *door);
const char *door_mountpoint(const struct door *door);
uint64_t door_handed_over(const struct door *door);

/* kind from 0; false: no such kind. */
bool door_get_stats(const struct door *door, unsigned kind, struct door_kind_stats *ret_stats);

#endif
