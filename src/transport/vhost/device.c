/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The device's life, and its socket thread: one connection at a time. The thread waits in one poll
 * for the VMM, for others that want to connect, and for being woken; it never waits for the rest of
 * a message.
 */
#include "transport/vhost/backend.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "media/pool.h"
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Without descriptors a new connection can not be taken, and would be asked for again at once. */
#define ACCEPT_WAIT_US 50000

/* How often it is looked whether those who close and read go on. */
#define BEHIND_WAIT_MS 50

/* Lines of the log in a minute, the last of which says that it is. */
#define LOG_LINES 50u
#define LOG_NS (60 * CLOCK_SECOND)

static void wake(struct vhost_device *device)
{
    const uint64_t one = 1;
    ssize_t written = write(device->wake, &one, sizeof(one));

    (void)written; /* fails only when it is woken already */
}

/* Whether a line goes to the log, which nobody fills by connecting again and again. */
static bool may_log(struct vhost_device *device)
{
    uint64_t now = clock_now();

    pthread_mutex_lock(&device->mutex);
    if (now - device->told_since >= LOG_NS) {
        device->told_since = now;
        device->told_lines = 0;
    }
    unsigned line = device->told_lines < LOG_LINES ? ++device->told_lines : LOG_LINES + 1;
    pthread_mutex_unlock(&device->mutex);
    if (line == LOG_LINES)
        log_warn("%s: this VMM does too much to tell all of it", device->name);
    return line < LOG_LINES;
}

void vhost_device_tell(struct vhost_device *device, unsigned bit, const char *format, ...)
{
    char text[256];
    va_list arguments;

    if ((atomic_fetch_or(&device->told, 1u << bit) & (1u << bit)) || !may_log(device))
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    log_warn("%s: %s", device->name, text);
}

/* ---- the connection ---------------------------------------------------------------------- */

static uint64_t connection_next(struct vhost_device *device)
{
    pthread_mutex_lock(&device->mutex);
    uint64_t connection = ++device->connection;
    device->dropped = false;
    pthread_mutex_unlock(&device->mutex);
    return connection;
}

static void connection_begin(struct vhost_device *device, int fd)
{
    vhost_socket_init(&device->socket, fd, device->wake, device->closer);
    atomic_store(&device->told, 0);
    vhost_backend_reset(device, connection_next(device));
    if (may_log(device))
        log_info("%s: a VMM has connected", device->name);
    if (device->ops->connected)
        device->ops->connected(device->arg);
}

/* WHY: what it did wrong; NULL: it went. */
static void connection_end(struct vhost_device *device, const char *why)
{
    if (device->socket.fd < 0)
        return;
    bool logs = may_log(device);
    if (logs && why)
        log_warn("%s: the connection of the VMM is dropped: %s", device->name, why);
    else if (logs)
        log_info("%s: the VMM has gone", device->name);
    /* The queues before the callbacks, which say that nothing runs; then the VMM may notice. */
    vhost_backend_reset(device, connection_next(device));
    if (device->started && device->ops->stopped)
        device->ops->stopped(device->arg);
    device->started = false;
    if (device->ops->gone)
        device->ops->gone(device->arg);
    vhost_socket_close(&device->socket);
}

void vhost_device_drop_connection(struct vhost_device *device, uint64_t connection, const char *why)
{
    pthread_mutex_lock(&device->mutex);
    if (device->connection == connection && !device->dropped) {
        device->dropped = true;
        snprintf(device->why, sizeof(device->why), "%s", why);
        wake(device); /* under the mutex: the next connection does not find it */
    }
    pthread_mutex_unlock(&device->mutex);
}

void vhost_device_drop(struct vhost_device *device, const char *why)
{
    pthread_mutex_lock(&device->mutex);
    uint64_t connection = device->connection;
    pthread_mutex_unlock(&device->mutex);
    vhost_device_drop_connection(device, connection, why);
}

/* ---- the socket thread ------------------------------------------------------------------- */

/* Whether the thread goes on. */
static bool woken(struct vhost_device *device)
{
    char why[sizeof(device->why)];
    uint64_t count;
    ssize_t got = read(device->wake, &count, sizeof(count));

    (void)got;
    pthread_mutex_lock(&device->mutex);
    bool ending = device->ending, dropped = device->dropped;
    memcpy(why, device->why, sizeof(why));
    pthread_mutex_unlock(&device->mutex);
    if (dropped)
        connection_end(device, why);
    return !ending;
}

static void received(struct vhost_device *device)
{
    const char *why = "the connection failed";
    int r = vhost_socket_receive(&device->socket, &why);

    if (r == 1)
        r = vhost_backend_handle(device, &device->socket.message, &why);
    if (r == -ECANCELED)
        return; /* woken in the middle of an answer: the connection ends, and why is known */
    if (r < 0)
        connection_end(device, r == -ECONNRESET ? NULL : why);
}

static void accept_one(struct vhost_device *device)
{
    int fd = accept4(device->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            usleep(ACCEPT_WAIT_US);
    } else if (device->socket.fd >= 0) {
        vhost_device_tell(device, VHOST_TOLD_SECOND,
                          "a second VMM wants to connect while one is there: refused");
        shutdown(fd, SHUT_RDWR);
        closer_take(device->closer, fd);
    } else {
        connection_begin(device, fd);
    }
}

static void *device_main(void *arg)
{
    struct vhost_device *device = arg;

    pthread_setname_np(pthread_self(), "daxfuse-vhost");
    if (device->listener.connected >= 0) {
        int fd = device->listener.connected;

        device->listener.connected = -1;
        connection_begin(device, fd);
    }
    for (;;) {
        bool behind = closer_is_behind(device->closer) || vhost_channel_is_behind(device->channel);
        struct pollfd polled[3] = { { .fd = device->wake, .events = POLLIN },
                                    { .fd = device->socket.fd, .events = behind ? 0 : POLLIN },
                                    { .fd = behind ? -1 : device->listener.fd, .events = POLLIN } };
        int count = poll(polled, 3, behind ? BEHIND_WAIT_MS : -1);

        if (count < 0) {
            if (errno != EINTR && errno != EAGAIN && errno != ENOMEM)
                break;
            continue;
        }
        if (count == 0)
            vhost_device_tell(
                device, VHOST_TOLD_CLOSER,
                "the VMM is not listened to as long as threads wait for descriptors that it sent");
        if (polled[0].revents && !woken(device))
            break;
        if (polled[1].revents && device->socket.fd >= 0 && behind)
            connection_end(device, NULL);
        else if (polled[1].revents && device->socket.fd >= 0)
            received(device);
        /* One that is gone is seen to its end before the next one is looked at. */
        if (polled[2].revents && !(device->socket.fd >= 0 && (polled[1].revents & POLLHUP)))
            accept_one(device);
    }
    connection_end(device, NULL);
    return NULL;
}

/* ---- life -------------------------------------------------------------------------------- */

int vhost_device_open(const struct vhost_options *options, struct vhost_device **ret_device,
                      char **ret_message)
{
    unsigned made = 0;

    assert(options->queues >= 1 && options->queues <= VHOST_QUEUES_MAX && options->ops->request);
    if (ret_message)
        *ret_message = NULL;
    struct vhost_device *device =
        calloc(1, sizeof(*device) + options->queues * sizeof(device->queues[0]));
    if (!device) {
        if (!options->path && options->fd >= 0)
            close(options->fd);
        return -ENOMEM;
    }
    device->ops = options->ops;
    device->arg = options->arg;
    device->name = options->name;
    device->queue_count = options->queues;
    device->shm_size = options->shm_size;
    device->mem_slots = options->mem_slots;
    device->wake = -1;
    vhost_socket_init(&device->socket, -1, -1, NULL);
    pthread_mutex_init(&device->mutex, NULL);
    int error = vhost_listener_open(&device->listener, options, ret_message);
    if (error)
        goto fail;
    error = pool_guard_install();
    if (error)
        goto fail_listener;
    error = closer_create(&device->closer);
    if (error)
        goto fail_listener;
    device->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (device->wake < 0) {
        error = -errno;
        goto fail_closer;
    }
    error = vhost_signals_init(&device->signals);
    if (error)
        goto fail_wake;
    error = vhost_channel_create(&device->channel);
    if (error)
        goto fail_signals;
    for (; made < options->queues; made++) {
        error = vhost_queue_init(&device->queues[made], device, made);
        if (error)
            goto fail_queues;
    }
    *ret_device = device;
    return 0;

fail_queues:
    while (made > 0)
        vhost_queue_destroy(&device->queues[--made]);
    vhost_channel_destroy(device->channel, 0);
fail_signals:
    vhost_signals_destroy(&device->signals);
fail_wake:
    close(device->wake);
fail_closer:
    closer_destroy(device->closer, 0);
fail_listener:
    vhost_listener_close(&device->listener);
fail:
    pthread_mutex_destroy(&device->mutex);
    free(device);
    return error;
}

int vhost_device_start(struct vhost_device *device)
{
    int error = vhost_signals_start(&device->signals);

    if (error) {
        log_error("%s: no Linux AIO to signal guests by (see sysctl fs.aio-max-nr): %s",
                  device->name, strerror(-error));
        return error;
    }
    error = closer_start(device->closer);
    if (error)
        return error;
    error = thread_create(&device->thread, device_main, device);
    device->has_thread = error == 0;
    return error;
}

void vhost_device_stop(struct vhost_device *device)
{
    pthread_mutex_lock(&device->mutex);
    device->ending = true;
    pthread_mutex_unlock(&device->mutex);
    wake(device);
    if (device->has_thread) {
        pthread_join(device->thread, NULL);
        device->stopped = clock_now();
    }
    device->has_thread = false;
    for (unsigned i = 0; i < device->queue_count; i++)
        vhost_queue_end_thread(&device->queues[i]);
}

/* How long threads that the VMM may hold are waited for: a second since the stop, as devices are all stopped before
 * they are closed; and what it takes to close what came since. */
static uint64_t last_moment(const struct vhost_device *device)
{
    const uint64_t second = device->stopped + CLOCK_SECOND, least = clock_now() + CLOCK_SECOND / 50;

    return second > least ? second : least;
}

void vhost_device_close(struct vhost_device *device)
{
    if (!device)
        return;
    assert(!device->has_thread);
    for (unsigned i = 0; i < device->queue_count; i++)
        vhost_queue_destroy(&device->queues[i]);
    vhost_channel_destroy(device->channel, last_moment(device));
    vhost_signals_destroy(&device->signals);
    close(device->wake);
    /* Who connected and was not accepted may have sent something, too. */
    closer_take(device->closer, device->listener.fd);
    closer_take(device->closer, device->listener.connected);
    device->listener.fd = device->listener.connected = -1;
    vhost_listener_close(&device->listener);
    closer_destroy(device->closer, last_moment(device));
    pthread_mutex_destroy(&device->mutex);
    free(device);
}

/* ---- the window -------------------------------------------------------------------------- */

bool vhost_shm_is_offered(const struct vhost_device *device)
{
    return atomic_load(&device->shm_offered);
}

static int shm_ask(struct vhost_device *device, enum vhost_user_backend_request request,
                   const struct vhost_user_shmem_map *map, int fd, uint64_t deadline)
{
    bool lost = false;

    if (!vhost_shm_is_offered(device))
        return -ENODEV;
    int error = vhost_channel_ask(device->channel, request, map, fd, deadline, &lost);
    if (lost)
        vhost_device_tell(device, VHOST_TOLD_CHANNEL,
                          "the VMM does not answer on the window's channel any more");
    return error;
}

int vhost_shm_map(struct vhost_device *device, int fd, uint64_t fd_offset, uint64_t shm_offset,
                  uint64_t length, bool writable, uint64_t deadline)
{
    const struct vhost_user_shmem_map map = { .fd_offset = fd_offset,
                                              .shm_offset = shm_offset,
                                              .length = length,
                                              .flags = writable ? VHOST_USER_MAP_WRITABLE : 0 };

    return shm_ask(device, VHOST_USER_BACKEND_SHMEM_MAP, &map, fd, deadline);
}

int vhost_shm_unmap(struct vhost_device *device, uint64_t shm_offset, uint64_t length,
                    uint64_t deadline)
{
    const struct vhost_user_shmem_map map = { .shm_offset = shm_offset, .length = length };

    return shm_ask(device, VHOST_USER_BACKEND_SHMEM_UNMAP, &map, -1, deadline);
}
