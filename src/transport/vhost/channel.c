/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests to the VMM. Sent under the mutex, without waiting; answers are read by the busy one,
 * without it. */
#include "transport/vhost/channel.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

int vhost_channel_init(struct vhost_channel *channel, struct closer *closer)
{
    pthread_condattr_t attributes;
    int error = -pthread_condattr_init(&attributes);

    if (error)
        return error;
    *channel = (struct vhost_channel){ .closer = closer, .fd = -1 };
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    error = -pthread_cond_init(&channel->idle, &attributes);
    pthread_condattr_destroy(&attributes);
    if (!error)
        pthread_mutex_init(&channel->mutex, NULL);
    return error;
}

void vhost_channel_destroy(struct vhost_channel *channel)
{
    vhost_channel_set(channel, -1);
    pthread_cond_destroy(&channel->idle);
    pthread_mutex_destroy(&channel->mutex);
}

void vhost_channel_set(struct vhost_channel *channel, int fd)
{
    pthread_mutex_lock(&channel->mutex);
    if (channel->fd >= 0) {
        /* Whoever reads finds the end, and nobody else begins. */
        bool open = channel->open;
        channel->open = false;
        channel->lost = true;
        shutdown(channel->fd, SHUT_RDWR);
        while (channel->busy)
            pthread_cond_wait(&channel->idle, &channel->mutex);
        closer_take(channel->closer, channel->fd);
        channel->open = open;
    }
    channel->fd = fd;
    channel->lost = false;
    channel->due_count = 0;
    channel->used = 0;
    if (fd < 0)
        channel->open = false;
    pthread_cond_broadcast(&channel->idle);
    pthread_mutex_unlock(&channel->mutex);
}

void vhost_channel_open(struct vhost_channel *channel, bool barrier)
{
    pthread_mutex_lock(&channel->mutex);
    channel->open = true;
    channel->barrier = barrier;
    pthread_mutex_unlock(&channel->mutex);
}

void vhost_channel_shut(struct vhost_channel *channel)
{
    pthread_mutex_lock(&channel->mutex);
    channel->open = false;
    pthread_cond_broadcast(&channel->idle);
    pthread_mutex_unlock(&channel->mutex);
}

/* ---- who asks ---------------------------------------------------------------------------- */

static bool can_send(const struct vhost_channel *channel)
{
    return channel->open && !channel->lost && channel->fd >= 0;
}

/* With the mutex: until nobody else is at it. */
static int busy_begin(struct vhost_channel *channel, uint64_t deadline)
{
    const struct timespec until = clock_moment(deadline);

    while (can_send(channel) && channel->busy)
        if (pthread_cond_timedwait(&channel->idle, &channel->mutex, &until) == ETIMEDOUT &&
            channel->busy)
            return can_send(channel) ? -EBUSY : -ENODEV;
    if (!can_send(channel))
        return -ENODEV;
    channel->busy = true;
    return 0;
}

static void busy_end(struct vhost_channel *channel)
{
    channel->busy = false;
    pthread_cond_broadcast(&channel->idle);
}

/* One is whole: 0; -ETIMEDOUT; -EPIPE. */
static int answer_receive(struct vhost_channel *channel, int fd, uint32_t request,
                          uint64_t deadline)
{
    while (channel->used < sizeof(channel->answer)) {
        int fds[FD_SENT_MAX];
        unsigned count = 0;
        bool cut = false;
        ssize_t got = fd_receive(fd, (uint8_t *)&channel->answer + channel->used,
                                 sizeof(channel->answer) - channel->used, fds, &count, &cut);

        for (unsigned i = 0; i < count; i++)
            closer_take(channel->closer, fds[i]);
        if (count > 0 || cut)
            return -EPIPE; /* an answer brings none */
        if (got > 0) {
            channel->used += (size_t)got;
            continue;
        }
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            return -EPIPE;
        uint64_t now = clock_now();
        if (now >= deadline)
            return -ETIMEDOUT;
        struct pollfd polled = { .fd = fd, .events = POLLIN };
        const struct timespec left = { .tv_sec = (time_t)((deadline - now) / 1000000000),
                                       .tv_nsec = (long)((deadline - now) % 1000000000) };
        (void)ppoll(&polled, 1, &left, NULL);
    }
    channel->used = 0;
    const struct vhost_user_header header = channel->answer.header;
    bool good = header.request == request &&
                header.flags == (VHOST_USER_VERSION | VHOST_USER_REPLY) &&
                header.size == sizeof(channel->answer.result);
    return good ? 0 : -EPIPE;
}

/* The busy one's, without the mutex: until all that are due have come. */
static int answers_receive(struct vhost_channel *channel, int fd, uint64_t deadline)
{
    while (channel->due_count > 0) {
        int error = answer_receive(channel, fd, channel->due[0], deadline);

        if (error)
            return error;
        if (channel->due[0] != VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE)
            channel->result = channel->answer.result;
        channel->due[0] = channel->due[1];
        channel->due_count--;
    }
    return 0;
}

/* With the mutex; nothing is due. */
static int request_send(struct vhost_channel *channel, uint32_t request,
                        const struct vhost_user_shmem_map *map, int fd)
{
    const struct {
        struct vhost_user_header header;
        struct vhost_user_shmem_map map;
        struct vhost_user_header barrier_header;
        struct vhost_user_shared_object nobodys;
    } __attribute__((packed)) requests = {
        .header = { .request = request,
                    .flags = VHOST_USER_VERSION | VHOST_USER_NEED_REPLY,
                    .size = sizeof(requests.map) },
        .map = *map,
        .barrier_header = { .request = VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE,
                            .flags = VHOST_USER_VERSION | VHOST_USER_NEED_REPLY,
                            .size = sizeof(requests.nobodys) },
    };
    size_t size = sizeof(requests.header) + sizeof(requests.map);
    if (channel->barrier)
        size = sizeof(requests);
    struct iovec vector = { .iov_base = (void *)&requests, .iov_len = size };
    union fd_control control;
    struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

    if (fd >= 0)
        fd_attach(&message, &control, fd);
    ssize_t sent = sendmsg(channel->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == (ssize_t)size) {
        channel->due[0] = request;
        channel->due[1] = VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE;
        channel->due_count = channel->barrier ? 2 : 1;
        return 0;
    }
    /* One request at a time always has room; without memory for it the VMM has heard nothing. */
    return sent < 0 && errno != EPIPE && errno != ECONNRESET ? -ENODEV : -EPIPE;
}

int vhost_channel_ask(struct vhost_channel *channel, enum vhost_user_backend_request request,
                      const struct vhost_user_shmem_map *map, int fd, uint64_t deadline,
                      bool *ret_lost)
{
    bool lost = false, sent = false;

    pthread_mutex_lock(&channel->mutex);
    int error = busy_begin(channel, deadline);
    if (error) {
        pthread_mutex_unlock(&channel->mutex);
        return error;
    }
    int socket = channel->fd; /* open as long as we are busy */
    if (channel->due_count > 0) {
        pthread_mutex_unlock(&channel->mutex);
        error = answers_receive(channel, socket, deadline);
        pthread_mutex_lock(&channel->mutex);
        if (error == -ETIMEDOUT)
            error = -EBUSY;
    }
    if (error != -EPIPE && !can_send(channel))
        error = -ENODEV;
    if (!error) {
        error = request_send(channel, request, map, fd);
        sent = !error;
    }
    if (sent) {
        pthread_mutex_unlock(&channel->mutex);
        error = answers_receive(channel, socket, deadline);
        pthread_mutex_lock(&channel->mutex);
        if (!error && channel->result != 0)
            error = -EIO;
    }
    if (error == -EPIPE) {
        lost = !channel->lost;
        channel->lost = true;
        error = sent ? -ETIMEDOUT : -ENODEV;
    }
    busy_end(channel);
    pthread_mutex_unlock(&channel->mutex);
    if (lost)
        *ret_lost = true;
    return error;
}
