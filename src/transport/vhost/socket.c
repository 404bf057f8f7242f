/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages on the socket. No more is read than the message that has begun, so that descriptors,
 * which come with the first byte of a message, are never another's.
 */
#include "transport/vhost/socket.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a request may be made of. Without an entry here it is unknown. */
static const struct {
    bool known;
    uint16_t min, max; /* bytes */
    uint8_t fds_min, fds_max;
} shapes[VHOST_USER_REQUESTS] = {
    [VHOST_USER_GET_FEATURES] = { true, 0, 0, 0, 0 },
    [VHOST_USER_SET_FEATURES] = { true, 8, 8, 0, 0 },
    [VHOST_USER_SET_OWNER] = { true, 0, 0, 0, 0 },
    [VHOST_USER_RESET_OWNER] = { true, 0, 0, 0, 0 },
    [VHOST_USER_SET_MEM_TABLE] = { true, 8, sizeof(struct vhost_user_memory), 0, 8 },
    [VHOST_USER_SET_LOG_BASE] = { true, 8, 16, 0, 1 },
    [VHOST_USER_SET_LOG_FD] = { true, 0, 8, 0, 1 },
    [VHOST_USER_SET_VRING_NUM] = { true, 8, 8, 0, 0 },
    [VHOST_USER_SET_VRING_ADDR] = { true, 40, 40, 0, 0 },
    [VHOST_USER_SET_VRING_BASE] = { true, 8, 8, 0, 0 },
    [VHOST_USER_GET_VRING_BASE] = { true, 8, 8, 0, 0 },
    [VHOST_USER_SET_VRING_KICK] = { true, 8, 8, 0, 1 },
    [VHOST_USER_SET_VRING_CALL] = { true, 8, 8, 0, 1 },
    [VHOST_USER_SET_VRING_ERR] = { true, 8, 8, 0, 1 },
    [VHOST_USER_GET_PROTOCOL_FEATURES] = { true, 0, 0, 0, 0 },
    [VHOST_USER_SET_PROTOCOL_FEATURES] = { true, 8, 8, 0, 0 },
    [VHOST_USER_GET_QUEUE_NUM] = { true, 0, 0, 0, 0 },
    [VHOST_USER_SET_VRING_ENABLE] = { true, 8, 8, 0, 0 },
    [VHOST_USER_SET_BACKEND_REQ_FD] = { true, 0, 0, 1, 1 },
    [VHOST_USER_GET_CONFIG] = { true, 12, sizeof(struct vhost_user_config), 0, 0 },
    [VHOST_USER_SET_CONFIG] = { true, 12, sizeof(struct vhost_user_config), 0, 0 },
    [VHOST_USER_RESET_DEVICE] = { true, 0, 0, 0, 0 },
    [VHOST_USER_GET_MAX_MEM_SLOTS] = { true, 0, 0, 0, 0 },
    [VHOST_USER_ADD_MEM_REG] = { true, sizeof(struct vhost_user_slot),
                                 sizeof(struct vhost_user_slot), 1, 1 },
    [VHOST_USER_REM_MEM_REG] = { true, sizeof(struct vhost_user_slot),
                                 sizeof(struct vhost_user_slot), 0, 1 },
    [VHOST_USER_GET_SHMEM_CONFIG] = { true, 0, 0, 0, 0 },
};

static void fds_drop(struct vhost_socket *socket)
{
    struct vhost_message *message = &socket->message;

    for (unsigned i = 0; i < message->fd_count; i++)
        closer_take(socket->closer, message->fds[i]);
    message->fd_count = 0;
}

void vhost_message_close(struct vhost_message *message)
{
    for (unsigned i = 0; i < message->fd_count; i++)
        if (message->fds[i] >= 0)
            close(message->fds[i]);
    message->fd_count = 0;
}

void vhost_socket_init(struct vhost_socket *socket, int fd, int wake, struct closer *closer)
{
    const int one = 1;

    *socket = (struct vhost_socket){ .fd = fd, .wake = wake, .closer = closer };
    /* A byte out of band is one of a message. Else it is skipped, and the kernel closes in this thread what came
     * with it. */
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
}

void vhost_socket_close(struct vhost_socket *socket)
{
    fds_drop(socket);
    /* The VMM hears of it now. What it has sent and was not received goes when it is closed. */
    if (socket->fd >= 0)
        shutdown(socket->fd, SHUT_RDWR);
    closer_take(socket->closer, socket->fd);
    socket->fd = -1;
    socket->used = 0;
}

int vhost_message_take_fd(struct vhost_message *message, unsigned n)
{
    int fd = -1;

    if (n < message->fd_count) {
        fd = message->fds[n];
        message->fds[n] = -1;
    }
    return fd;
}

/* All that came, also when it is too much: it is closed with the message. */
static bool fds_keep(struct vhost_socket *socket, const int *fds, unsigned count)
{
    struct vhost_message *message = &socket->message;
    bool all = true;

    for (unsigned i = 0; i < count; i++) {
        if (message->fd_count < VHOST_USER_FDS_MAX) {
            message->fds[message->fd_count++] = fds[i];
        } else {
            closer_take(socket->closer, fds[i]);
            all = false;
        }
    }
    return all;
}

static const char *header_check(const struct vhost_user_header *header)
{
    if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
        (header->flags & ~(VHOST_USER_VERSION_MASK | VHOST_USER_NEED_REPLY)))
        return "a message has wrong flags";
    if (header->request >= VHOST_USER_REQUESTS || !shapes[header->request].known)
        return "a message is of an unknown kind";
    if (header->size < shapes[header->request].min || header->size > shapes[header->request].max)
        return "a message has a wrong size";
    return NULL;
}

/* Up to LENGTH bytes to TO. 1: all of them are there. */
static int part_receive(struct vhost_socket *socket, void *to, size_t length, const char **ret_why)
{
    int fds[FD_SENT_MAX];
    unsigned count;
    ssize_t got;
    bool cut;

    do
        got = fd_receive(socket->fd, to, length, fds, &count, &cut);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? 0 : -ECONNRESET;
    if (!fds_keep(socket, fds, count) || cut) {
        *ret_why = "a message has too many descriptors";
        return -EPROTO;
    }
    if (got == 0) {
        *ret_why = "it ended in the middle of a message";
        return socket->used > 0 ? -EPROTO : -ECONNRESET;
    }
    socket->used += (size_t)got;
    return (size_t)got == length;
}

int vhost_socket_receive(struct vhost_socket *socket, const char **ret_why)
{
    struct vhost_message *message = &socket->message;
    const size_t header_size = sizeof(message->header);
    int r;

    if (socket->used == 0) {
        fds_drop(socket);
        memset(message, 0, sizeof(*message));
    }
    if (socket->used < header_size) {
        r = part_receive(socket, (uint8_t *)&message->header + socket->used,
                         header_size - socket->used, ret_why);
        if (r != 1)
            return r;
        const char *why = header_check(&message->header);
        if (why) {
            *ret_why = why;
            return -EPROTO;
        }
    }
    size_t done = socket->used - header_size;
    if (done < message->header.size) {
        r = part_receive(socket, (uint8_t *)&message->payload + done, message->header.size - done,
                         ret_why);
        if (r != 1)
            return r;
    }
    socket->used = 0;
    if (message->fd_count < shapes[message->header.request].fds_min ||
        message->fd_count > shapes[message->header.request].fds_max) {
        *ret_why = "a message has a wrong number of descriptors";
        return -EPROTO;
    }
    return 1;
}

static int64_t milliseconds(void)
{
    return (int64_t)(clock_now() / 1000000);
}

int vhost_socket_reply(struct vhost_socket *socket, const struct vhost_user_header *header,
                       const void *payload, size_t size)
{
    struct vhost_user_header answer = { .request = header->request,
                                        .flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
                                        .size = (uint32_t)size };
    struct iovec vector[2] = { { .iov_base = &answer, .iov_len = sizeof(answer) },
                               { .iov_base = (void *)payload, .iov_len = size } };
    struct msghdr message = { .msg_iov = vector, .msg_iovlen = 2 };
    int64_t deadline = milliseconds() + VHOST_SEND_SECONDS * 1000;

    for (;;) {
        ssize_t sent = sendmsg(socket->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        for (unsigned i = 0; i < 2 && sent > 0; i++) {
            size_t part = (size_t)sent < vector[i].iov_len ? (size_t)sent : vector[i].iov_len;

            vector[i].iov_base = (uint8_t *)vector[i].iov_base + part;
            vector[i].iov_len -= part;
            sent -= (ssize_t)part;
        }
        if (vector[0].iov_len + vector[1].iov_len == 0)
            return 0;
        struct pollfd polled[2] = { { .fd = socket->fd, .events = POLLOUT },
                                    { .fd = socket->wake, .events = POLLIN } };
        int64_t left = deadline - milliseconds();
        if (left <= 0)
            return -ETIMEDOUT;
        if (poll(polled, 2, (int)left) > 0 && polled[1].revents)
            return -ECANCELED;
    }
}
