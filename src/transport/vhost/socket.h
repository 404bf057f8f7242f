/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection to a VMM: whole messages with their descriptors, in and out.
 *
 * Owns the descriptor and those that came with a message until they are taken. One thread. Nothing
 * of a message is believed here but its length; what it may hold is in one table (socket.c).
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_SOCKET_H
#define DAXFUSE_TRANSPORT_VHOST_SOCKET_H

#include "transport/vhost/closer.h"
#include "transport/vhost/protocol.h"
#include <stdbool.h>
#include <stddef.h>

/* A VMM that takes no answer for so long is given up. */
#define VHOST_SEND_SECONDS 10

struct vhost_message {
    struct vhost_user_header header;
    union vhost_user_payload payload; /* what was not sent is 0 */
    int fds[VHOST_USER_FDS_MAX];
    unsigned fd_count;
};

struct vhost_socket {
    int fd;                /* -1: none */
    int wake;              /* readable: sending is given up; borrowed */
    struct closer *closer; /* borrowed */
    size_t used;           /* bytes of the message that have come */
    struct vhost_message message;
};

void vhost_socket_init(struct vhost_socket *socket, int fd, int wake, struct closer *closer);
/* Ends it; the closer has it then, and what came and was not taken. */
void vhost_socket_close(struct vhost_socket *socket);

/*
 * What has come. 1: socket->message is whole, and the caller's until the next call, which gives
 * what is left of its descriptors to the closer; 0: not yet; -ECONNRESET: the other end is gone; -EPROTO:
 * *ret_why says what was wrong.
 */
int vhost_socket_receive(struct vhost_socket *socket, const char **ret_why);

/* Takes descriptor N out of the message. */
int vhost_message_take_fd(struct vhost_message *message, unsigned n);
/* Closes those that are left, at once: they are of files that were found to keep nobody waiting. */
void vhost_message_close(struct vhost_message *message);

/* An answer to a message of HEADER. 0, or -errno: -ETIMEDOUT, -ECANCELED woken. */
int vhost_socket_reply(struct vhost_socket *socket, const struct vhost_user_header *header,
                       const void *payload, size_t size);

#endif
