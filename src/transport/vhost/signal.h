/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a VMM is told: an event is counted in an eventfd that it gave.
 *
 * The open file is the VMM's, too. It can fill the counter and make write(2) wait for room at any time, also
 * between a look and the write. The kernel itself counts without ever waiting, and does so for a request of Linux AIO
 * that ends: each signal is a read of nothing from /dev/null that says whom to tell.
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_SIGNAL_H
#define DAXFUSE_TRANSPORT_VHOST_SIGNAL_H

#include <linux/aio_abi.h>

struct vhost_signals {
    aio_context_t context; /* 0: not started */
    int null;
};

/* -errno. A path is opened. */
int vhost_signals_init(struct vhost_signals *signals);
/* -errno: -ENOSYS, -EAGAIN fs.aio-max-nr is reached. In the process that signals: it does not survive a fork. */
int vhost_signals_start(struct vhost_signals *signals);
/* Nobody signals any more. Takes some 30 ms. */
void vhost_signals_destroy(struct vhost_signals *signals);

/* Any thread, with any lock: never waits. What is no eventfd, or -1, hears nothing. */
void vhost_signal(const struct vhost_signals *signals, int fd);

#endif
