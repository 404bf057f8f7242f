/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The split virtqueue (virtio 1.3, 2.7). The guest may store anything there at any time: every
 * number is read once, into our memory, and checked there. All of it under the queue's mutex.
 */
#include "transport/vhost/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool has(const struct vhost_queue *queue, uint64_t feature)
{
    return (queue->features & feature) != 0;
}

static uint16_t load16(const le16 *place)
{
    return le16toh(__atomic_load_n(&place->raw, __ATOMIC_ACQUIRE));
}

static void store16(le16 *place, uint16_t value)
{
    __atomic_store_n(&place->raw, htole16(value), __ATOMIC_RELEASE);
}

/* In the ring's last places. */
static le16 *used_event(const struct vhost_queue *queue)
{
    return &queue->ring.avail->ring[queue->size];
}

static le16 *avail_event(const struct vhost_queue *queue)
{
    return (le16 *)&queue->ring.used->ring[queue->size];
}

bool vring_find(struct vhost_queue *queue)
{
    uint64_t event = has(queue, VIRTIO_F_EVENT_IDX) ? sizeof(le16) : 0;
    uint64_t size = queue->size;
    struct vring ring = { NULL };

    if (queue->memory) {
        ring.desc = vhost_memory_find_user(queue->memory, queue->desc_user,
                                           size * sizeof(struct vring_desc));
        ring.avail =
            vhost_memory_find_user(queue->memory, queue->avail_user,
                                   sizeof(struct vring_avail) + size * sizeof(le16) + event);
        ring.used = vhost_memory_find_user(queue->memory, queue->used_user,
                                           sizeof(struct vring_used) +
                                               size * sizeof(struct vring_used_elem) + event);
    }
    if (!ring.desc || !ring.avail || !ring.used || (uintptr_t)ring.desc % 16 != 0 ||
        (uintptr_t)ring.avail % 2 != 0 || (uintptr_t)ring.used % 4 != 0)
        return false;
    queue->ring = ring;
    return true;
}

uint16_t vring_used_index(const struct vhost_queue *queue)
{
    return load16(&queue->ring.used->index);
}

void vring_notify(struct vhost_queue *queue, bool on)
{
    queue->notify = on;
    if (has(queue, VIRTIO_F_EVENT_IDX)) {
        if (!on)
            return; /* what was stored last lies behind, and asks for nothing */
        store16(avail_event(queue), queue->last_avail);
    } else {
        store16(&queue->ring.used->flags, on ? 0 : VRING_USED_NO_NOTIFY);
    }
    /* The guest stores its index, then looks here; we store here, and then look at its index. */
    atomic_thread_fence(memory_order_seq_cst);
}

bool vring_push(struct vhost_queue *queue, uint16_t head, size_t written)
{
    uint16_t old = queue->used_index;
    struct vring_used_elem *place = &queue->ring.used->ring[old % queue->size];

    place->id = le32_make(head);
    place->length = le32_make(written > UINT32_MAX ? UINT32_MAX : (uint32_t)written);
    queue->used_index++;
    store16(&queue->ring.used->index, queue->used_index);
    atomic_thread_fence(memory_order_seq_cst);
    if (has(queue, VIRTIO_F_EVENT_IDX))
        return load16(used_event(queue)) == old;
    return !(load16(&queue->ring.avail->flags) & VRING_AVAIL_NO_INTERRUPT);
}

/* ---- chains ------------------------------------------------------------------------------ */

struct chain {
    unsigned entries; /* of the ring */
    unsigned in, out;
    size_t in_bytes, out_bytes;
};

/* One buffer to the scratch list, whose end is also that of all loops. */
static int chain_add(struct vhost_queue *queue, struct chain *chain, const struct vring_desc *desc)
{
    uint64_t address = le64_get(desc->address), end;
    uint32_t length = le32_get(desc->length);

    if (__builtin_add_overflow(address, length, &end)) {
        vhost_queue_break(queue, VRING_ADDRESS);
        return -EIO;
    }
    if (le16_get(desc->flags) & VRING_DESC_WRITE) {
        chain->out_bytes += length;
    } else if (chain->out > 0) {
        vhost_queue_break(queue, VRING_ORDER);
        return -EIO;
    } else {
        chain->in_bytes += length;
    }
    if (chain->in + chain->out == VRING_SIZE_MAX) {
        vhost_queue_break(queue, VRING_LOOP);
        return -EIO;
    }
    queue->scratch[chain->in + chain->out] =
        (struct vhost_segment){ .address = address, .length = length };
    if (le16_get(desc->flags) & VRING_DESC_WRITE)
        chain->out++;
    else
        chain->in++;
    return 0;
}

static int indirect_walk(struct vhost_queue *queue, struct chain *chain,
                         const struct vring_desc *desc)
{
    uint32_t length = le32_get(desc->length), count = length / sizeof(struct vring_desc);
    uint32_t index = 0;

    if (!has(queue, VIRTIO_F_INDIRECT_DESC) || (le16_get(desc->flags) & VRING_DESC_NEXT) ||
        length % sizeof(struct vring_desc) != 0 || count == 0 || count > VRING_SIZE_MAX) {
        vhost_queue_break(queue, VRING_INDIRECT);
        return -EIO;
    }
    if (vhost_memory_read(queue->memory, le64_get(desc->address), queue->table, length) != 0) {
        vhost_queue_break(queue, VRING_OUTSIDE);
        return -EIO;
    }
    for (;;) {
        const struct vring_desc *entry = &queue->table[index];
        uint16_t flags = le16_get(entry->flags);

        if (flags & VRING_DESC_INDIRECT) {
            vhost_queue_break(queue, VRING_INDIRECT);
            return -EIO;
        }
        if (chain_add(queue, chain, entry) != 0)
            return -EIO;
        if (!(flags & VRING_DESC_NEXT))
            return 0;
        index = le16_get(entry->next);
        if (index >= count) {
            vhost_queue_break(queue, VRING_HEAD);
            return -EIO;
        }
    }
}

static int chain_walk(struct vhost_queue *queue, uint16_t head, struct chain *chain)
{
    uint16_t index = head;

    for (;;) {
        struct vring_desc desc;

        if (index >= queue->size) {
            vhost_queue_break(queue, VRING_HEAD);
            return -EIO;
        }
        memcpy(&desc, &queue->ring.desc[index], sizeof(desc));
        atomic_signal_fence(memory_order_seq_cst); /* read once */
        uint16_t flags = le16_get(desc.flags);
        chain->entries++;
        if (flags & VRING_DESC_INDIRECT)
            return indirect_walk(queue, chain, &desc);
        if (chain_add(queue, chain, &desc) != 0)
            return -EIO;
        if (!(flags & VRING_DESC_NEXT))
            return 0;
        index = le16_get(desc.next);
    }
}

int vring_pop(struct vhost_queue *queue, struct vhost_request **ret_request)
{
    uint16_t waiting = (uint16_t)(load16(&queue->ring.avail->index) - queue->last_avail);
    struct chain chain = { 0 };

    if (waiting == 0)
        return 0;
    if (waiting > queue->size) {
        vhost_queue_break(queue, VRING_AVAIL);
        return 0;
    }
    if (queue->inflight >= queue->size) {
        vhost_queue_break(queue, VRING_MANY);
        return 0;
    }
    uint16_t head = load16(&queue->ring.avail->ring[queue->last_avail % queue->size]);
    if (chain_walk(queue, head, &chain) != 0)
        return 0;
    unsigned count = chain.in + chain.out;
    struct vhost_request *request = malloc(sizeof(*request) + count * sizeof(request->segments[0]));
    if (!request)
        return -ENOMEM;
    *request = (struct vhost_request){
        .queue = queue,
        .epoch = queue->epoch,
        .connection = queue->connection,
        .in_bytes = chain.in_bytes,
        .out_bytes = chain.out_bytes,
        .head = head,
        .ring_size = queue->size,
        .entries = (uint16_t)chain.entries,
        .in_count = (uint16_t)chain.in,
        .out_count = (uint16_t)chain.out,
    };
    memcpy(request->segments, queue->scratch, count * sizeof(request->segments[0]));
    queue->last_avail++;
    queue->inflight++;
    *ret_request = request;
    return 1;
}
