/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests to the VMM. Sent under the mutex, without waiting; answers are read without it, by the
 * descriptor's thread. */
#include "transport/vhost/channel.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/thread.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct vhost_channel {
    pthread_mutex_t mutex; /* guards what follows; not held while an answer is waited for or read */
    pthread_cond_t changed; /* any of it */
    unsigned readers;       /* threads, also those of descriptors that were here before */
    bool left;              /* nobody waits for them: the last one frees this */
    uint64_t number;        /* of the descriptor: each has another */
    int fd;                 /* -1: none; its reader closes it */
    bool open;              /* requests may be sent */
    bool busy;              /* somebody waits for an answer */
    bool lost;              /* the VMM closed it, or talks nonsense */
    bool barrier;           /* a request is followed by one that asks for nothing */
    uint32_t due[2];        /* whose answers are to come, in their order */
    unsigned due_count;     /* not 0 and nobody busy: nobody waits for them any more */
    uint64_t result;        /* of the last request that was answered, but for barriers */
};

/* A thread's. */
struct reader {
    struct vhost_channel *channel;
    uint64_t number;
    int fd;
    int fds[FD_SENT_MAX]; /* that came, and are to be closed */
    unsigned fd_count;
    struct {
        struct vhost_user_header header;
        uint64_t result;
    } __attribute__((packed)) answer;
};

static void channel_free(struct vhost_channel *channel)
{
    pthread_cond_destroy(&channel->changed);
    pthread_mutex_destroy(&channel->mutex);
    free(channel);
}

/* With the mutex. false: it is late. */
static bool change_wait(struct vhost_channel *channel, uint64_t deadline)
{
    const struct timespec until = clock_moment(deadline);

    return pthread_cond_clockwait(&channel->changed, &channel->mutex, CLOCK_MONOTONIC, &until) !=
           ETIMEDOUT;
}

/* ---- who reads --------------------------------------------------------------------------- */

/* One that is whole and REQUEST's. */
static bool answer_receive(struct reader *reader, uint32_t request)
{
    for (size_t used = 0; used < sizeof(reader->answer);) {
        bool cut = false;
        ssize_t got =
            fd_receive(reader->fd, (uint8_t *)&reader->answer + used, sizeof(reader->answer) - used,
                       reader->fds, &reader->fd_count, &cut);

        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            struct pollfd polled = { .fd = reader->fd, .events = POLLIN };

            (void)poll(&polled, 1, -1);
            continue;
        }
        if (got <= 0 || reader->fd_count > 0 || cut)
            return false; /* an answer brings none */
        used += (size_t)got;
    }
    const struct vhost_user_header header = reader->answer.header;
    return header.request == request && header.flags == (VHOST_USER_VERSION | VHOST_USER_REPLY) &&
           header.size == sizeof(reader->answer.result);
}

static bool is_current(const struct reader *reader)
{
    return reader->channel->number == reader->number && !reader->channel->lost;
}

/* With the mutex, which is let go while one is read. Until the descriptor is lost, or is the channel's no more. */
static void answers_receive(struct reader *reader)
{
    struct vhost_channel *channel = reader->channel;

    while (is_current(reader)) {
        if (channel->due_count == 0) {
            pthread_cond_wait(&channel->changed, &channel->mutex);
            continue;
        }
        uint32_t request = channel->due[0];
        pthread_mutex_unlock(&channel->mutex);
        bool good = answer_receive(reader, request);
        pthread_mutex_lock(&channel->mutex);
        if (!is_current(reader))
            break;
        if (good && request != VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE)
            channel->result = reader->answer.result;
        channel->due[0] = channel->due[1];
        channel->due_count--;
        channel->lost = !good;
        pthread_cond_broadcast(&channel->changed);
    }
    if (channel->number == reader->number)
        channel->fd = -1; /* nobody else uses it now */
}

static void *reader_main(void *arg)
{
    struct reader *reader = arg;
    struct vhost_channel *channel = reader->channel;

    pthread_setname_np(pthread_self(), "daxfuse-answer");
    pthread_mutex_lock(&channel->mutex);
    answers_receive(reader);
    pthread_mutex_unlock(&channel->mutex);
    for (unsigned i = 0; i < reader->fd_count; i++)
        close(reader->fds[i]);
    close(reader->fd);
    free(reader);
    pthread_mutex_lock(&channel->mutex);
    channel->readers--;
    bool last = channel->left && channel->readers == 0;
    pthread_cond_broadcast(&channel->changed);
    pthread_mutex_unlock(&channel->mutex);
    if (last)
        channel_free(channel);
    return NULL;
}

/* With the mutex. */
static int reader_start(struct vhost_channel *channel, int fd)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    pthread_t thread;

    if (!reader)
        return -ENOMEM;
    *reader = (struct reader){ .channel = channel, .number = channel->number, .fd = fd };
    int error = thread_create(&thread, reader_main, reader);
    if (error) {
        free(reader);
        return error;
    }
    pthread_detach(thread);
    channel->readers++;
    channel->fd = fd;
    return 0;
}

/* ---- life -------------------------------------------------------------------------------- */

int vhost_channel_create(struct vhost_channel **ret_channel)
{
    struct vhost_channel *channel = calloc(1, sizeof(*channel));

    if (!channel)
        return -ENOMEM;
    channel->fd = -1;
    pthread_mutex_init(&channel->mutex, NULL);
    pthread_cond_init(&channel->changed, NULL);
    *ret_channel = channel;
    return 0;
}

/* With the mutex: whoever waits for it hears. */
static void descriptor_end(struct vhost_channel *channel)
{
    if (channel->fd >= 0)
        shutdown(channel->fd, SHUT_RDWR);
    channel->fd = -1;
    channel->number++;
    channel->busy = channel->lost = false;
    channel->due_count = 0;
    pthread_cond_broadcast(&channel->changed);
}

void vhost_channel_destroy(struct vhost_channel *channel, uint64_t deadline)
{
    pthread_mutex_lock(&channel->mutex);
    descriptor_end(channel);
    while (channel->readers > 0 && change_wait(channel, deadline))
        ;
    bool left = channel->readers > 0;
    channel->left = left;
    pthread_mutex_unlock(&channel->mutex);
    if (!left)
        channel_free(channel);
}

int vhost_channel_set(struct vhost_channel *channel, int fd)
{
    pthread_mutex_lock(&channel->mutex);
    descriptor_end(channel);
    int error = reader_start(channel, fd);
    pthread_mutex_unlock(&channel->mutex);
    return error;
}

void vhost_channel_end(struct vhost_channel *channel)
{
    pthread_mutex_lock(&channel->mutex);
    descriptor_end(channel);
    channel->open = false;
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
    pthread_cond_broadcast(&channel->changed);
    pthread_mutex_unlock(&channel->mutex);
}

bool vhost_channel_is_behind(struct vhost_channel *channel)
{
    pthread_mutex_lock(&channel->mutex);
    bool behind = channel->readers > VHOST_CHANNEL_BEHIND;
    pthread_mutex_unlock(&channel->mutex);
    return behind;
}

/* ---- who asks ---------------------------------------------------------------------------- */

static bool can_send(const struct vhost_channel *channel)
{
    return channel->open && !channel->lost && channel->fd >= 0;
}

/* With the mutex: until nobody waits for an answer, and none is to come. What is asked of one VMM is not asked of the
 * next, nor when it would be too late for an answer. */
static int turn_wait(struct vhost_channel *channel, uint64_t deadline)
{
    const uint64_t number = channel->number;
    bool late = false;

    while (can_send(channel) && channel->number == number && !late &&
           (channel->busy || channel->due_count > 0))
        late = !change_wait(channel, deadline);
    if (!can_send(channel) || channel->number != number)
        return -ENODEV;
    return late ? -EBUSY : 0;
}

/* With the mutex; it is our turn. 0; -EIO; -ETIMEDOUT. */
static int answer_wait(struct vhost_channel *channel, uint64_t deadline)
{
    const uint64_t number = channel->number;
    bool late = false;

    channel->busy = true;
    while (channel->number == number && !channel->lost && channel->due_count > 0 && !late)
        late = !change_wait(channel, deadline);
    if (channel->number != number)
        return -ETIMEDOUT; /* nor is it our turn */
    channel->busy = false;
    pthread_cond_broadcast(&channel->changed);
    if (channel->lost || channel->due_count > 0)
        return -ETIMEDOUT;
    return channel->result == 0 ? 0 : -EIO;
}

/* With the mutex; nothing is due. 0; -ENODEV: the VMM has not heard it. */
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
        pthread_cond_broadcast(&channel->changed);
        return 0;
    }
    /* One request at a time always has room; without memory for it the VMM has heard nothing. */
    if (sent >= 0 || errno == EPIPE || errno == ECONNRESET) {
        channel->lost = true;
        pthread_cond_broadcast(&channel->changed);
    }
    return -ENODEV;
}

int vhost_channel_ask(struct vhost_channel *channel, enum vhost_user_backend_request request,
                      const struct vhost_user_shmem_map *map, int fd, uint64_t deadline,
                      bool *ret_lost)
{
    pthread_mutex_lock(&channel->mutex);
    int error = turn_wait(channel, deadline);
    if (!error)
        error = request_send(channel, request, map, fd);
    if (!error)
        error = answer_wait(channel, deadline);
    *ret_lost = channel->lost;
    pthread_mutex_unlock(&channel->mutex);
    return error;
}
