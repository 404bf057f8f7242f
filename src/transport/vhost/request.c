/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests: the guest's buffers as the callee sees them. An access holds the memory table it began
 * with, so that the VMM can send another meanwhile; between two accesses addresses are looked up
 * anew.
 */
#include "transport/vhost/request.h"

#include "transport/vhost/backend.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

unsigned vhost_request_queue(const struct vhost_request *request)
{
    return request->queue->index;
}

size_t vhost_request_in(const struct vhost_request *request)
{
    return request->in_bytes;
}

size_t vhost_request_out(const struct vhost_request *request)
{
    return request->out_bytes;
}

unsigned vhost_request_entries(const struct vhost_request *request, unsigned *ret_all)
{
    *ret_all = request->ring_size;
    return request->entries;
}

void **vhost_request_user(struct vhost_request *request)
{
    return &request->user;
}

int vhost_access_begin(struct vhost_request *request)
{
    struct vhost_queue *queue = request->queue;
    int error = 0;

    assert(!request->memory);
    pthread_mutex_lock(&queue->mutex);
    if (request->epoch != queue->epoch) {
        error = -ESTALE;
    } else if (!vhost_queue_runs(queue)) {
        error = -ECANCELED;
    } else {
        queue->accesses++;
        request->memory = vhost_memory_get(queue->memory);
    }
    pthread_mutex_unlock(&queue->mutex);
    return error;
}

int vhost_access_end(struct vhost_request *request)
{
    struct vhost_queue *queue = request->queue;
    const struct vhost_device *device = queue->device;
    bool bad = vhost_memory_is_bad(request->memory);

    for (unsigned i = 0; i < request->outside_count; i++)
        device->ops->outside_end(device->arg, request->outside[i]);
    request->outside_count = 0;
    if (bad)
        vhost_device_drop_connection(queue->device, request->connection, VHOST_MEMORY_IS_BAD);
    vhost_memory_put(request->memory);
    request->memory = NULL;
    pthread_mutex_lock(&queue->mutex);
    assert(queue->accesses > 0);
    if (--queue->accesses == 0)
        pthread_cond_broadcast(&queue->idle);
    pthread_mutex_unlock(&queue->mutex);
    return bad ? -EFAULT : 0;
}

void vhost_complete(struct vhost_request *request, size_t written)
{
    struct vhost_queue *queue = request->queue;

    assert(!request->memory);
    free(request->outside);
    request->outside = NULL;
    pthread_mutex_lock(&queue->mutex);
    if (request->epoch == queue->epoch && vhost_queue_runs(queue)) {
        bool call = vring_push(queue, request->head, written);
        queue->inflight--;
        if (vhost_memory_is_bad(queue->memory)) {
            queue->broken = true;
            vhost_device_drop_connection(queue->device, queue->connection, VHOST_MEMORY_IS_BAD);
        } else if (call) {
            vhost_queue_call(queue);
        }
        free(request);
    } else if (request->epoch == queue->epoch) {
        request->written = written;
        request->next = NULL;
        *queue->done_last = request;
        queue->done_last = &request->next;
    } else {
        free(request);
    }
    pthread_mutex_unlock(&queue->mutex);
}

/* ---- bytes ------------------------------------------------------------------------------- */

/* A part of a buffer that lies together here. */
struct piece {
    uint8_t *bytes;
    uint64_t length;
    bool outside;
    uint64_t cookie;
};

static int piece_find(struct vhost_request *request, uint64_t address, uint64_t length, bool write,
                      struct piece *piece)
{
    const struct vhost_device *device = request->queue->device;
    size_t found = 0;
    void *bytes;

    piece->outside = false;
    piece->bytes = vhost_memory_find(request->memory, address, length, &piece->length);
    if (piece->bytes)
        return 0;
    if (!device->ops->outside || device->ops->outside(device->arg, address, length, write, &bytes,
                                                      &found, &piece->cookie) != 0)
        return -EFAULT;
    if (found == 0 || found > length) {
        device->ops->outside_end(device->arg, piece->cookie);
        return -EFAULT;
    }
    piece->outside = true;
    piece->bytes = bytes;
    piece->length = found;
    return 0;
}

/* Where we are in a list of buffers. */
struct walk {
    const struct vhost_segment *segment;
    uint64_t skip; /* bytes of *segment that are behind us */
    size_t left;
};

static int walk_begin(const struct vhost_request *request, bool out, size_t offset, size_t length,
                      struct walk *walk)
{
    size_t total = out ? request->out_bytes : request->in_bytes;

    assert(request->memory);
    if (offset > total || length > total - offset)
        return -EINVAL;
    walk->segment = request->segments + (out ? request->in_count : 0);
    walk->left = length;
    if (length > 0)
        for (; offset >= walk->segment->length; walk->segment++)
            offset -= walk->segment->length;
    walk->skip = offset;
    return 0;
}

/* The next piece, of which there is one. */
static int walk_next(struct vhost_request *request, struct walk *walk, bool write,
                     struct piece *piece)
{
    while (walk->skip == walk->segment->length) {
        walk->segment++;
        walk->skip = 0;
    }
    uint64_t length = walk->segment->length - walk->skip;
    int error = piece_find(request, walk->segment->address + walk->skip,
                           length < walk->left ? length : walk->left, write, piece);
    if (error)
        return error;
    walk->skip += piece->length;
    walk->left -= piece->length;
    return 0;
}

static int copy(struct vhost_request *request, bool out, size_t offset, uint8_t *bytes,
                size_t length)
{
    const struct vhost_device *device = request->queue->device;
    struct walk walk;
    int error = walk_begin(request, out, offset, length, &walk);

    while (!error && walk.left > 0) {
        struct piece piece;

        error = walk_next(request, &walk, out, &piece);
        if (error)
            break;
        /* What is outside may be what is read or written. */
        if (out)
            memmove(piece.bytes, bytes, piece.length);
        else
            memmove(bytes, piece.bytes, piece.length);
        bytes += piece.length;
        if (piece.outside)
            device->ops->outside_end(device->arg, piece.cookie);
    }
    return error;
}

int vhost_read(struct vhost_request *request, size_t offset, void *bytes, size_t length)
{
    return copy(request, false, offset, bytes, length);
}

int vhost_write(struct vhost_request *request, size_t offset, const void *bytes, size_t length)
{
    return copy(request, true, offset, (uint8_t *)bytes, length);
}

/* Until the access ends. */
static int outside_keep(struct vhost_request *request, uint64_t cookie)
{
    if (request->outside_count == request->outside_room) {
        unsigned room = request->outside_room ? 2 * request->outside_room : 16;
        uint64_t *larger = realloc(request->outside, room * sizeof(*larger));

        if (!larger) {
            request->queue->device->ops->outside_end(request->queue->device->arg, cookie);
            return -ENOMEM;
        }
        request->outside = larger;
        request->outside_room = room;
    }
    request->outside[request->outside_count++] = cookie;
    return 0;
}

static int vector(struct vhost_request *request, bool out, size_t offset, size_t length,
                  struct iovec *elements, unsigned max)
{
    struct walk walk;
    unsigned count = 0;
    int error = walk_begin(request, out, offset, length, &walk);

    if (error)
        return error;
    while (walk.left > 0) {
        struct piece piece;

        error = walk_next(request, &walk, out, &piece);
        if (!error && piece.outside)
            error = outside_keep(request, piece.cookie);
        if (error)
            return error;
        struct iovec *last = count > 0 ? &elements[count - 1] : NULL;
        if (last && (uint8_t *)last->iov_base + last->iov_len == piece.bytes) {
            last->iov_len += piece.length;
            continue;
        }
        if (count == max)
            return -E2BIG;
        elements[count++] =
            (struct iovec){ .iov_base = piece.bytes, .iov_len = (size_t)piece.length };
    }
    return (int)count;
}

int vhost_vector_in(struct vhost_request *request, size_t offset, size_t length,
                    struct iovec *elements, unsigned max)
{
    return vector(request, false, offset, length, elements, max);
}

int vhost_vector_out(struct vhost_request *request, size_t offset, size_t length,
                     struct iovec *elements, unsigned max)
{
    return vector(request, true, offset, length, elements, max);
}
