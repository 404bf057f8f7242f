/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The control socket's threads and lines. What the requests mean: control_request.c. */
#include "transport/control.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "media/pool.h"
#include "transport/keeper.h"
#include "transport/server.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct connection {
    struct control *control;
    pthread_t thread;
    int fd;     /* -1: the place is free */
    bool ended; /* to be joined */
};

struct control {
    struct server *server;
    int listener;
    int wake; /* eventfd: the accepting thread shall end */
    struct sockaddr_un address;
    pthread_t thread;
    bool started;          /* the thread */
    _Atomic bool ending;   /* no further request is begun */
    pthread_mutex_t mutex; /* of connections */
    struct connection connections[CONTROL_CONNECTIONS_MAX];
};

static int answer_line(struct connection *connection, const char *line, size_t length)
{
    struct json_object *answer = control_answer(connection->control->server, line, length);
    size_t size;

    if (!answer)
        return -ENOMEM;
    const char *text = json_object_to_json_string_length(
        answer, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size);
    int error = text ? control_send(connection->fd, text, size) : -ENOMEM;
    if (!error)
        error = control_send(connection->fd, "\n", 1);
    json_object_put(answer);
    return error;
}

/* Lines until the other end closes, takes no answer for CONTROL_SEND_SECONDS, one line is longer
 * than the limit, or all ends. */
static void connection_serve(struct connection *connection, char *buffer)
{
    static const char too_long[] =
        "{\"version\":1,\"command\":null,\"error\":\"the request is too long\"}\n";
    size_t used = 0;

    while (!connection->control->ending) {
        ssize_t received = recv(connection->fd, buffer + used, CONTROL_LINE_MAX - used, 0);
        if (received < 0 && errno == EINTR)
            continue;
        if (received <= 0)
            return;
        used += (size_t)received;
        char *start = buffer, *end;
        while ((end = memchr(start, '\n', used - (size_t)(start - buffer)))) {
            if (connection->control->ending ||
                answer_line(connection, start, (size_t)(end - start)) != 0)
                return;
            start = end + 1;
        }
        used -= (size_t)(start - buffer);
        memmove(buffer, start, used);
        if (used == CONTROL_LINE_MAX) {
            (void)control_send(connection->fd, too_long, sizeof(too_long) - 1);
            return;
        }
    }
}

static void *connection_main(void *arg)
{
    struct connection *connection = arg;
    char *buffer = malloc(CONTROL_LINE_MAX);

    if (buffer)
        connection_serve(connection, buffer);
    free(buffer);
    pthread_mutex_lock(&connection->control->mutex);
    shutdown(connection->fd, SHUT_RDWR);
    connection->ended = true;
    pthread_mutex_unlock(&connection->control->mutex);
    return NULL;
}

static void refuse(int fd, const char *why)
{
    char line[128];
    int length =
        snprintf(line, sizeof(line), "{\"version\":1,\"command\":null,\"error\":\"%s\"}\n", why);

    (void)control_send(fd, line, (size_t)length);
    close(fd);
}

/* Joins a connection that has ended; with the mutex held, by the accepting thread or at the end. */
static void connection_reap(struct connection *connection)
{
    pthread_join(connection->thread, NULL); /* it has only to return */
    close(connection->fd);
    connection->fd = -1;
    connection->ended = false;
}

static void connection_start(struct control *control, int fd)
{
    static const struct timeval patience = { .tv_sec = CONTROL_SEND_SECONDS };

    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0) {
        close(fd);
        return;
    }
    if (!keeper_is_own(server_keeper(control->server), fd)) {
        refuse(fd, "only root and the user who runs the server may ask");
        return;
    }
    pthread_mutex_lock(&control->mutex);
    struct connection *free_one = NULL;
    for (unsigned i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
        struct connection *connection = &control->connections[i];
        if (connection->ended)
            connection_reap(connection);
        if (connection->fd < 0)
            free_one = connection;
    }
    bool started = false;
    if (free_one) {
        free_one->fd = fd;
        started = pthread_create(&free_one->thread, NULL, connection_main, free_one) == 0;
        if (!started)
            free_one->fd = -1;
    }
    pthread_mutex_unlock(&control->mutex);
    if (!started)
        refuse(fd, "too many connections: try again");
}

static void *control_main(void *arg)
{
    struct control *control = arg;
    struct pollfd polled[2] = {
        { .fd = control->listener, .events = POLLIN },
        { .fd = control->wake, .events = POLLIN },
    };

    for (;;) {
        if (poll(polled, 2, -1) < 0 && errno != EINTR)
            break;
        if (polled[1].revents)
            break;
        if (!(polled[0].revents & POLLIN))
            continue;
        int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            connection_start(control, fd);
        else if (errno == EMFILE || errno == ENFILE)
            usleep(100000); /* the one who connects waits; a busy loop would not help */
    }
    return NULL;
}

static int listener_bind(struct control *control)
{
    const struct sockaddr_un *address = &control->address;
    int error;

    control->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (control->listener < 0)
        return -errno;
    unlink(address->sun_path);
    if (bind(control->listener, (const struct sockaddr *)address, sizeof(*address)) < 0)
        return -errno;
    if (chmod(address->sun_path, 0600) < 0 || listen(control->listener, 16) < 0) {
        error = -errno;
        unlink(address->sun_path);
        return error;
    }
    return 0;
}

static int listener_create(struct control *control)
{
    char folder[sizeof(control->address.sun_path)];
    const uint8_t *uuid = fs_pool(server_fs(control->server))->super.uuid;
    int other, lock;

    control->address.sun_family = AF_UNIX;
    int error = control_path(uuid, control->address.sun_path, sizeof(control->address.sun_path));
    if (!error)
        error = control_folder(folder, sizeof(folder));
    if (error)
        return error;
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return -errno;
    /* One at a time from the question whether somebody answers to where we do. */
    lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0)
        return -errno;
    while (flock(lock, LOCK_EX) < 0)
        if (errno != EINTR) {
            error = -errno;
            goto out;
        }
    /* The pool's lock does not keep a copy of it, nor others that read it, from being served. */
    error = control_connect(uuid, &other);
    if (!error) {
        close(other);
        error = -EADDRINUSE;
    } else if (error == -ENOENT || error == -ECONNREFUSED) {
        error = listener_bind(control);
    }
out:
    close(lock);
    return error;
}

int control_open(struct server *server, struct control **ret_control)
{
    struct control *control = calloc(1, sizeof(*control));
    int error;

    if (!control)
        return -ENOMEM;
    control->server = server;
    control->listener = -1;
    for (unsigned i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
        control->connections[i] = (struct connection){ .control = control, .fd = -1 };
    pthread_mutex_init(&control->mutex, NULL);
    control->wake = eventfd(0, EFD_CLOEXEC);
    if (control->wake < 0) {
        error = -errno;
        goto fail;
    }
    error = listener_create(control);
    if (error)
        goto fail;
    *ret_control = control;
    return 0;

fail:
    if (control->listener >= 0)
        close(control->listener);
    if (control->wake >= 0)
        close(control->wake);
    pthread_mutex_destroy(&control->mutex);
    free(control);
    return error;
}

int control_start(struct control *control)
{
    int error = thread_create(&control->thread, control_main, control);

    control->started = !error;
    return error;
}

void control_close(struct control *control)
{
    struct timespec deadline;
    uint64_t one = 1;

    if (!control)
        return;
    control->ending = true;
    unlink(control->address.sun_path);
    if (write(control->wake, &one, sizeof(one)) != sizeof(one))
        log_error("the control socket's thread cannot be woken");
    if (control->started)
        pthread_join(control->thread, NULL);
    for (unsigned i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
        if (control->connections[i].fd >= 0)
            shutdown(control->connections[i].fd, SHUT_RD);
    /* What is being answered is answered, but not for as long as somebody likes to read it. */
    deadline = clock_after(CONTROL_END_SECONDS * CLOCK_SECOND);
    for (unsigned i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
        struct connection *connection = &control->connections[i];
        if (connection->fd < 0)
            continue;
        if (pthread_clockjoin_np(connection->thread, NULL, CLOCK_MONOTONIC, &deadline) != 0) {
            shutdown(connection->fd, SHUT_RDWR);
            pthread_join(connection->thread, NULL);
        }
        close(connection->fd);
    }
    close(control->listener);
    close(control->wake);
    pthread_mutex_destroy(&control->mutex);
    free(control);
}
