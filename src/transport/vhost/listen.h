/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The socket that a VMM connects to: made at a path, or given, listening or connected. One
 * thread. */
#ifndef DAXFUSE_TRANSPORT_VHOST_LISTEN_H
#define DAXFUSE_TRANSPORT_VHOST_LISTEN_H

#include "transport/vhost/device.h"
#include <sys/un.h>

struct vhost_listener {
    int fd;        /* listens; -1: none */
    int connected; /* came as one, and was not taken; -1: none */
    struct sockaddr_un address;
    bool made; /* the file, which is these: */
    dev_t device;
    ino_t inode;
};

/* As vhost_device_open. Takes options->fd, also when it fails. */
int vhost_listener_open(struct vhost_listener *listener, const struct vhost_options *options,
                        char **ret_message);
/* Removes the file if it is still ours. */
void vhost_listener_close(struct vhost_listener *listener);

#endif
