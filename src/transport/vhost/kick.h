/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a queue's thread waits for kicks: an io_uring, or poll(2) where there is none.
 *
 * Owns the eventfd that wakes the thread, and the kick descriptor it was given. One thread, but for
 * kick_wake().
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_KICK_H
#define DAXFUSE_TRANSPORT_VHOST_KICK_H

#include <liburing.h>
#include <stdbool.h>

struct kick {
    struct io_uring ring;
    bool uring;    /* the ring is there */
    int wake;      /* eventfd */
    int fd;        /* of the VMM; -1: none */
    unsigned turn; /* which fd a completion is of */
    bool armed, wake_armed;
    bool mute; /* fd is not waited for any more */
};

/* The ring is made here: in a sandbox there are no new ones. -errno. */
int kick_init(struct kick *kick);
/* By the thread that will wait. */
void kick_start(struct kick *kick);
/* What it waited for is the caller's: -1 none. */
int kick_destroy(struct kick *kick);

/* Any thread: the next or present wait returns. */
void kick_wake(struct kick *kick);

/* Whether FD may be waited for: an eventfd, or what is as harmless. It is made not to block. */
bool kick_is_usable(int fd);

/* From now on FD, -1 none. The one before is the caller's: -1 none. */
int kick_set(struct kick *kick, int fd);

/* Until a kick, a wake, or for nothing. */
void kick_wait(struct kick *kick);

#endif
