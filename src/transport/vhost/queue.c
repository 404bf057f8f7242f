/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queues: their thread, and how they start, stop and break. The ring itself: ring.c. */
#include "transport/vhost/queue.h"

#include "base/fd.h"
#include "base/thread.h"
#include "transport/vhost/backend.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* When there is no memory for a request, it is tried again. */
#define MEMORY_WAIT_US 10000

static const char *const fault_words[VRING_FAULTS] = {
    [VRING_OUTSIDE] = "it lies outside of the guest's memory",
    [VRING_AVAIL] = "its available index jumped",
    [VRING_HEAD] = "a descriptor number is beyond its table",
    [VRING_LOOP] = "a chain is longer than it may be",
    [VRING_INDIRECT] = "an indirect table is of a wrong size or kind",
    [VRING_ORDER] = "a readable buffer comes after a writable one",
    [VRING_ADDRESS] = "a buffer's address wraps around",
    [VRING_MANY] = "more requests are under way than it has places",
};

void vhost_queue_call(struct vhost_queue *queue)
{
    vhost_signal(&queue->device->signals, queue->call);
}

void vhost_queue_break(struct vhost_queue *queue, enum vring_fault fault)
{
    if (queue->memory && vhost_memory_is_bad(queue->memory)) {
        queue->broken = true; /* no fault of the ring's: it reads as zeros */
        vhost_device_drop_connection(queue->device, queue->connection, VHOST_MEMORY_IS_BAD);
        return;
    }
    queue->broken = true;
    vhost_device_tell(queue->device, VHOST_TOLD_QUEUE + (unsigned)fault,
                      "queue %u is broken by the guest and stops: %s", queue->index,
                      fault_words[fault]);
    vhost_signal(&queue->device->signals, queue->err);
}

/* With the mutex: memory that was touched is not there, and the connection with it. */
static void memory_check(struct vhost_queue *queue)
{
    if (vhost_memory_is_bad(queue->memory)) {
        queue->broken = true;
        vhost_device_drop_connection(queue->device, queue->connection, VHOST_MEMORY_IS_BAD);
    }
}

/* ---- the thread -------------------------------------------------------------------------- */

/* With the mutex. A request, or what is to be done without it: 0 wait, -ENOMEM try again later. */
static int request_take(struct vhost_queue *queue, struct vhost_request **ret_request)
{
    for (;;) {
        if (!vhost_queue_runs(queue))
            return 0;
        int r = vring_pop(queue, ret_request);
        if (!queue->broken)
            memory_check(queue);
        if (r < 0)
            return r;
        if (r == 0 && (queue->broken || queue->notify))
            return 0;
        if (queue->notify || r == 0)
            vring_notify(queue, r == 0); /* and look again, if there was none */
        if (r == 1) {
            queue->popped = true;
            return 1;
        }
    }
}

static void *queue_main(void *arg)
{
    struct vhost_queue *queue = arg;
    const struct vhost_device *device = queue->device;
    char name[16];

    snprintf(name, sizeof(name), "daxfuse-vq%u", queue->index);
    pthread_setname_np(pthread_self(), name);
    kick_start(&queue->kick);
    pthread_mutex_lock(&queue->mutex);
    while (!queue->ending) {
        struct vhost_request *request;
        int fd = queue->kick_next;
        bool is_new = queue->kick_is_new;

        queue->kick_is_new = false;
        queue->kick_next = -1;
        int r = is_new ? 0 : request_take(queue, &request);
        pthread_mutex_unlock(&queue->mutex);
        if (is_new)
            closer_take(device->closer, kick_set(&queue->kick, fd));
        else if (r == 1)
            device->ops->request(device->arg, request);
        else if (r == -ENOMEM)
            usleep(MEMORY_WAIT_US);
        else
            kick_wait(&queue->kick);
        pthread_mutex_lock(&queue->mutex);
    }
    pthread_mutex_unlock(&queue->mutex);
    return NULL;
}

/* With the mutex. */
static int thread_start(struct vhost_queue *queue)
{
    int error = thread_create(&queue->thread, queue_main, queue);

    queue->has_thread = error == 0;
    return error;
}

void vhost_queue_end_thread(struct vhost_queue *queue)
{
    if (!queue->has_thread)
        return;
    pthread_mutex_lock(&queue->mutex);
    queue->ending = true;
    pthread_mutex_unlock(&queue->mutex);
    kick_wake(&queue->kick);
    pthread_join(queue->thread, NULL);
    queue->has_thread = false;
}

int vhost_queue_init(struct vhost_queue *queue, struct vhost_device *device, unsigned index)
{
    queue->device = device;
    queue->index = index;
    queue->call = queue->err = queue->kick_next = -1;
    queue->done_last = &queue->done;
    int error = kick_init(&queue->kick);
    if (error)
        return error;
    pthread_mutex_init(&queue->mutex, NULL);
    pthread_cond_init(&queue->idle, NULL);
    return 0;
}

void vhost_queue_destroy(struct vhost_queue *queue)
{
    pthread_cond_destroy(&queue->idle);
    pthread_mutex_destroy(&queue->mutex);
    closer_take(queue->device->closer, kick_destroy(&queue->kick));
}

/* ---- what the VMM says ------------------------------------------------------------------- */

void vhost_queue_set_features(struct vhost_queue *queue, uint64_t features)
{
    pthread_mutex_lock(&queue->mutex);
    if (queue->features != features)
        queue->resume = false;
    queue->features = features;
    pthread_mutex_unlock(&queue->mutex);
}

/* With the mutex. A ring that runs stays as it is; one that stands does not go on when it is
 * another. */
static int change(struct vhost_queue *queue, bool differs, bool *ret_anew)
{
    if (differs && queue->active)
        return -EBUSY;
    if (differs)
        queue->resume = false;
    *ret_anew = differs && queue->addressed;
    return 0;
}

int vhost_queue_set_size(struct vhost_queue *queue, uint32_t size, bool *ret_anew)
{
    if (size == 0 || size > VRING_SIZE_MAX || (size & (size - 1)) != 0)
        return -EINVAL;
    pthread_mutex_lock(&queue->mutex);
    int error = change(queue, queue->size != size, ret_anew);
    if (!error)
        queue->size = (uint16_t)size;
    pthread_mutex_unlock(&queue->mutex);
    return error;
}

int vhost_queue_set_addresses(struct vhost_queue *queue, const struct vhost_user_vring_addr *addr,
                              bool *ret_anew)
{
    pthread_mutex_lock(&queue->mutex);
    int error = change(queue,
                       !queue->addressed || queue->desc_user != addr->desc ||
                           queue->avail_user != addr->avail || queue->used_user != addr->used,
                       ret_anew);
    if (!error) {
        queue->addressed = true;
        queue->desc_user = addr->desc;
        queue->avail_user = addr->avail;
        queue->used_user = addr->used;
    }
    pthread_mutex_unlock(&queue->mutex);
    return error;
}

int vhost_queue_set_base(struct vhost_queue *queue, uint32_t base, bool *ret_anew)
{
    if (base > UINT16_MAX)
        return -EINVAL;
    pthread_mutex_lock(&queue->mutex);
    int error = change(queue, queue->last_avail != base, ret_anew);
    if (!error)
        queue->last_avail = (uint16_t)base;
    pthread_mutex_unlock(&queue->mutex);
    return error;
}

int vhost_queue_set_kick(struct vhost_queue *queue, int fd)
{
    struct closer *closer = queue->device->closer;

    if (!kick_is_usable(fd)) {
        closer_take(closer, fd);
        return -EINVAL;
    }
    pthread_mutex_lock(&queue->mutex);
    closer_take(closer, queue->kick_next);
    queue->kick_next = fd;
    queue->kick_is_new = true;
    queue->started = true;
    pthread_mutex_unlock(&queue->mutex);
    kick_wake(&queue->kick);
    return 0;
}

/* For our signals: -1, or an eventfd. */
static int signal_fd_set(struct vhost_queue *queue, int *place, int fd)
{
    if (fd >= 0 && fd_type(fd) != 0) {
        closer_take(queue->device->closer, fd);
        return -EINVAL;
    }
    pthread_mutex_lock(&queue->mutex);
    int old = *place;
    *place = fd;
    pthread_mutex_unlock(&queue->mutex);
    closer_take(queue->device->closer, old);
    return 0;
}

int vhost_queue_set_call(struct vhost_queue *queue, int fd)
{
    return signal_fd_set(queue, &queue->call, fd);
}

int vhost_queue_set_err(struct vhost_queue *queue, int fd)
{
    return signal_fd_set(queue, &queue->err, fd);
}

void vhost_queue_set_memory(struct vhost_queue *queue, struct vhost_memory *memory)
{
    struct vhost_memory *new = memory ? vhost_memory_get(memory) : NULL;

    pthread_mutex_lock(&queue->mutex);
    struct vhost_memory *old = queue->memory;
    queue->memory = new;
    if (vhost_queue_runs(queue) && !vring_find(queue))
        vhost_queue_break(queue, VRING_OUTSIDE);
    pthread_mutex_unlock(&queue->mutex);
    vhost_memory_put(old);
}

void vhost_queue_set_enabled(struct vhost_queue *queue, bool enabled)
{
    pthread_mutex_lock(&queue->mutex);
    queue->enabled = enabled;
    pthread_mutex_unlock(&queue->mutex);
}

/* ---- starting and stopping --------------------------------------------------------------- */

bool vhost_queue_is_active(struct vhost_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    bool active = queue->active;
    pthread_mutex_unlock(&queue->mutex);
    return active;
}

bool vhost_queue_is_used(struct vhost_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    bool used = queue->active && queue->popped;
    pthread_mutex_unlock(&queue->mutex);
    return used;
}

static bool is_ready(const struct vhost_queue *queue)
{
    return !queue->active && queue->started && queue->enabled && queue->addressed &&
           queue->size != 0;
}

bool vhost_queue_is_ready(struct vhost_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    bool ready = is_ready(queue);
    pthread_mutex_unlock(&queue->mutex);
    return ready;
}

/* With the mutex: what has not gone back goes nowhere. */
static void epoch_end(struct vhost_queue *queue)
{
    while (queue->done) {
        struct vhost_request *request = queue->done;

        queue->done = request->next;
        free(request);
    }
    queue->done_last = &queue->done;
    queue->inflight = 0;
    queue->epoch++;
}

/* With the mutex: the ring goes on, and so does what was completed meanwhile. */
static void done_push(struct vhost_queue *queue)
{
    bool any = queue->done != NULL;

    while (queue->done) {
        struct vhost_request *request = queue->done;

        queue->done = request->next;
        (void)vring_push(queue, request->head, request->written);
        queue->inflight--;
        free(request);
    }
    queue->done_last = &queue->done;
    if (any)
        vhost_queue_call(queue);
}

int vhost_queue_start(struct vhost_queue *queue)
{
    int error = 0;

    pthread_mutex_lock(&queue->mutex);
    if (!is_ready(queue))
        goto out;
    if (!queue->has_thread) {
        error = thread_start(queue);
        if (error)
            goto out;
    }
    queue->active = true;
    queue->broken = false;
    queue->notify = queue->popped = false;
    if (!vring_find(queue)) {
        epoch_end(queue);
        vhost_queue_break(queue, VRING_OUTSIDE);
        goto out;
    }
    /* A ring that was reset under the same numbers has another used index, unless nothing was
     * under way. */
    uint16_t used = vring_used_index(queue);
    if (queue->resume && used == queue->used_index) {
        done_push(queue);
    } else {
        epoch_end(queue);
        queue->used_index = used;
    }
    memory_check(queue);
out:
    pthread_mutex_unlock(&queue->mutex);
    kick_wake(&queue->kick);
    return error;
}

/* With the mutex, which is let go while accesses end. */
static void stop(struct vhost_queue *queue)
{
    if (queue->active)
        queue->resume = !queue->broken;
    queue->active = false;
    while (queue->accesses > 0)
        pthread_cond_wait(&queue->idle, &queue->mutex);
}

uint16_t vhost_queue_stop(struct vhost_queue *queue, bool finally)
{
    pthread_mutex_lock(&queue->mutex);
    stop(queue);
    if (finally)
        queue->started = false;
    uint16_t base = queue->last_avail;
    pthread_mutex_unlock(&queue->mutex);
    return base;
}

void vhost_queue_reset(struct vhost_queue *queue, uint64_t connection)
{
    struct closer *closer = queue->device->closer;

    pthread_mutex_lock(&queue->mutex);
    stop(queue);
    epoch_end(queue);
    queue->resume = queue->started = queue->enabled = queue->addressed = false;
    queue->size = 0;
    queue->last_avail = 0;
    if (queue->connection != connection) {
        queue->connection = connection;
        queue->features = 0;
        closer_take(closer, queue->kick_next);
        queue->kick_next = -1;
        queue->kick_is_new = true;
        closer_take(closer, queue->call);
        closer_take(closer, queue->err);
        queue->call = queue->err = -1;
    }
    pthread_mutex_unlock(&queue->mutex);
    kick_wake(&queue->kick);
}
