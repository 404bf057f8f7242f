/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest_fake.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct side {
    struct iovec *segments;
    unsigned count;
    size_t size;
    size_t broken_at; /* SIZE_MAX: it is whole */
};

struct vhost_request {
    struct side in, out;
    unsigned queue;
    void *user;
    bool inside, done;
    _Atomic bool cancelled;
    size_t written;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

_Atomic bool fake_stopped;
unsigned fake_ring = 1024, fake_queue = 1;
void (*_Atomic fake_on_access)(struct vhost_request *request);

#define REQUIRE(what)                       \
 do {                                       \
  if (!(what))                              \
   errx(3, "a request: not so: %s", #what); \
 } while (0)

static void side_init(struct side *side, const char *bytes, size_t size, size_t piece)
{
    if (piece == 0)
        piece = size;
    *side = (struct side){ .size = size, .broken_at = SIZE_MAX };
    side->segments = calloc(size ? (size + piece - 1) / piece : 1, sizeof(*side->segments));
    for (size_t at = 0; at < size; at += piece) {
        struct iovec *segment = &side->segments[side->count++];

        segment->iov_len = size - at < piece ? size - at : piece;
        segment->iov_base = malloc(segment->iov_len);
        if (bytes)
            memcpy(segment->iov_base, bytes + at, segment->iov_len);
        else
            memset(segment->iov_base, 0xa5, segment->iov_len);
    }
}

static void side_free(struct side *side)
{
    for (unsigned i = 0; i < side->count; i++)
        free(side->segments[i].iov_base);
    free(side->segments);
}

static int side_vector(const struct side *side, size_t offset, size_t length, struct iovec *vector,
                       unsigned max)
{
    unsigned count = 0;

    if (offset > side->size || length > side->size - offset)
        return -EINVAL;
    if (length > 0 && offset + length > side->broken_at)
        return -EFAULT;
    for (unsigned i = 0; i < side->count && length > 0; i++) {
        const struct iovec *segment = &side->segments[i];
        size_t part;

        if (offset >= segment->iov_len) {
            offset -= segment->iov_len;
            continue;
        }
        part = segment->iov_len - offset;
        if (part > length)
            part = length;
        if (count == max)
            return -E2BIG;
        vector[count++] = (struct iovec){ (char *)segment->iov_base + offset, part };
        length -= part;
        offset = 0;
    }
    return (int)count;
}

/* *ret_vector is malloc'ed. */
static int side_all(const struct side *side, size_t offset, size_t length,
                    struct iovec **ret_vector)
{
    struct iovec *vector = calloc(side->count + 1, sizeof(*vector));
    int r = side_vector(side, offset, length, vector, side->count);

    if (r < 0)
        free(vector);
    else
        *ret_vector = vector;
    return r;
}

struct vhost_request *fake_request(const void *in, size_t in_size, size_t out_size, size_t piece)
{
    struct vhost_request *request = calloc(1, sizeof(*request));

    request->queue = fake_queue;
    side_init(&request->in, in, in_size, piece);
    side_init(&request->out, NULL, out_size, piece);
    pthread_mutex_init(&request->mutex, NULL);
    pthread_cond_init(&request->cond, NULL);
    return request;
}

void fake_break_in(struct vhost_request *request, size_t offset)
{
    request->in.broken_at = offset;
}

void fake_break_out(struct vhost_request *request, size_t offset)
{
    request->out.broken_at = offset;
}

void fake_cancel(struct vhost_request *request)
{
    request->cancelled = true;
}

bool fake_is_done(struct vhost_request *request)
{
    bool done;

    pthread_mutex_lock(&request->mutex);
    done = request->done;
    pthread_mutex_unlock(&request->mutex);
    return done;
}

size_t fake_wait(struct vhost_request *request)
{
    pthread_mutex_lock(&request->mutex);
    while (!request->done)
        pthread_cond_wait(&request->cond, &request->mutex);
    pthread_mutex_unlock(&request->mutex);
    return request->written;
}

size_t fake_answer(struct vhost_request *request, void *bytes, size_t size)
{
    struct iovec *vector;
    size_t at = 0;
    int count;

    if (size > request->out.size)
        size = request->out.size;
    request->out.broken_at = SIZE_MAX;
    count = side_all(&request->out, 0, size, &vector);
    REQUIRE(count >= 0);
    for (int i = 0; i < count; at += vector[i++].iov_len)
        memcpy((char *)bytes + at, vector[i].iov_base, vector[i].iov_len);
    free(vector);
    return size;
}

void fake_free(struct vhost_request *request)
{
    side_free(&request->in);
    side_free(&request->out);
    pthread_cond_destroy(&request->cond);
    pthread_mutex_destroy(&request->mutex);
    free(request);
}

/* ---- vhost/request.h ------------------------------------------------------------------------- */

unsigned vhost_request_queue(const struct vhost_request *request)
{
    return request->queue;
}

unsigned vhost_request_entries(const struct vhost_request *request, unsigned *ret_all)
{
    (void)request;
    *ret_all = fake_ring;
    return 1;
}

size_t vhost_request_in(const struct vhost_request *request)
{
    return request->in.size;
}

size_t vhost_request_out(const struct vhost_request *request)
{
    return request->out.size;
}

void **vhost_request_user(struct vhost_request *request)
{
    return &request->user;
}

int vhost_access_begin(struct vhost_request *request)
{
    REQUIRE(!request->inside && !request->done);
    void (*on_access)(struct vhost_request * request) = fake_on_access;
    if (on_access)
        on_access(request);
    if (request->cancelled)
        return -ESTALE;
    if (fake_stopped)
        return -ECANCELED;
    request->inside = true;
    return 0;
}

int vhost_access_end(struct vhost_request *request)
{
    REQUIRE(request->inside);
    request->inside = false;
    return 0;
}

int vhost_read(struct vhost_request *request, size_t offset, void *bytes, size_t length)
{
    struct iovec *vector;
    size_t at = 0;
    int count;

    REQUIRE(request->inside);
    count = side_all(&request->in, offset, length, &vector);
    if (count < 0)
        return count;
    for (int i = 0; i < count; at += vector[i++].iov_len)
        memcpy((char *)bytes + at, vector[i].iov_base, vector[i].iov_len);
    free(vector);
    return 0;
}

int vhost_write(struct vhost_request *request, size_t offset, const void *bytes, size_t length)
{
    struct iovec *vector;
    size_t at = 0;
    int count;

    REQUIRE(request->inside);
    count = side_all(&request->out, offset, length, &vector);
    if (count < 0)
        return count;
    for (int i = 0; i < count; at += vector[i++].iov_len)
        memcpy(vector[i].iov_base, (const char *)bytes + at, vector[i].iov_len);
    free(vector);
    return 0;
}

int vhost_vector_in(struct vhost_request *request, size_t offset, size_t length,
                    struct iovec *vector, unsigned max)
{
    REQUIRE(request->inside);
    return side_vector(&request->in, offset, length, vector, max);
}

int vhost_vector_out(struct vhost_request *request, size_t offset, size_t length,
                     struct iovec *vector, unsigned max)
{
    REQUIRE(request->inside);
    return side_vector(&request->out, offset, length, vector, max);
}

void vhost_complete(struct vhost_request *request, size_t written)
{
    pthread_mutex_lock(&request->mutex);
    REQUIRE(!request->inside && !request->done);
    REQUIRE(written <= request->out.size);
    request->written = written;
    request->done = true;
    pthread_cond_broadcast(&request->cond);
    pthread_mutex_unlock(&request->mutex);
}
