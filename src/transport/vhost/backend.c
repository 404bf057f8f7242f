/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the VMM's messages do. Socket thread only. Sizes and numbers of descriptors are right when a
 * message comes here (socket.c); what they say is not checked yet.
 */
#include "transport/vhost/backend.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* How a message ends, if it is not an error of the connection. */
enum answer { ANSWER_ACK = 0, ANSWER_REFUSED = 1, ANSWER_SENT = 2 };

static uint64_t protocol_features(const struct vhost_device *device)
{
    const uint64_t window = VHOST_USER_PROTOCOL_F_SHMEM | VHOST_USER_PROTOCOL_F_SHARED_OBJECT;

    return VHOST_PROTOCOL_FEATURES | (device->shm_size ? window : 0) |
           (device->mem_slots ? VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS : 0);
}

static int reply(struct vhost_device *device, const struct vhost_message *message,
                 const void *payload, size_t size)
{
    int error = vhost_socket_reply(&device->socket, &message->header, payload, size);

    return error ? error : ANSWER_SENT;
}

static int reply_u64(struct vhost_device *device, const struct vhost_message *message,
                     uint64_t value)
{
    return reply(device, message, &value, sizeof(value));
}

/* A device of QEMU's without a window agrees to SHMEM all the same; but it does not ask for the
 * size. */
static void shm_update(struct vhost_device *device)
{
    atomic_store(&device->shm_offered,
                 device->has_channel && device->shm_asked && device->shm_size &&
                     (device->protocol_features & VHOST_USER_PROTOCOL_F_SHMEM));
}

/* ---- starting and stopping --------------------------------------------------------------- */

static int queue_run(struct vhost_device *device, struct vhost_queue *queue)
{
    if (!vhost_queue_is_ready(queue))
        return 0;
    device->stood &= ~(1ull << queue->index);
    if (!device->started) {
        device->started = true;
        vhost_channel_open(device->channel,
                           device->protocol_features & VHOST_USER_PROTOCOL_F_SHARED_OBJECT);
        if (device->ops->started)
            device->ops->started(device->arg);
    }
    int error = vhost_queue_start(queue);
    if (!error && device->ops->runs)
        device->ops->runs(device->arg);
    return error;
}

/* After a queue was stopped: maybe it was the last one. */
static void stopped(struct vhost_device *device)
{
    if (!device->started)
        return;
    for (unsigned i = 0; i < device->queue_count; i++)
        if (vhost_queue_is_active(&device->queues[i]))
            return;
    vhost_channel_shut(device->channel);
    device->started = false;
    for (unsigned i = 0; i < device->queue_count; i++)
        if (device->queues[i].addressed)
            device->stood |= 1ull << i;
    if (device->ops->stopped)
        device->ops->stopped(device->arg);
}

void vhost_backend_reset(struct vhost_device *device, uint64_t connection)
{
    /* Nothing is asked of a VMM once its queues stop. */
    vhost_channel_end(device->channel);
    device->has_channel = device->shm_asked = false;
    device->stood = 0;
    device->features = device->protocol_features = 0;
    shm_update(device);
    for (unsigned i = 0; i < device->queue_count; i++) {
        vhost_queue_reset(&device->queues[i], connection);
        vhost_queue_set_memory(&device->queues[i], NULL);
    }
    vhost_memory_put(device->memory);
    device->memory = NULL;
}

static int reset_device(struct vhost_device *device)
{
    for (unsigned i = 0; i < device->queue_count; i++)
        vhost_queue_reset(&device->queues[i], device->queues[i].connection);
    stopped(device);
    device->stood = 0;
    if (device->ops->reset)
        device->ops->reset(device->arg);
    return ANSWER_ACK;
}

/* ---- by message -------------------------------------------------------------------------- */

static int set_features(struct vhost_device *device, uint64_t features, const char **ret_why)
{
    if (features & ~VHOST_FEATURES) {
        *ret_why = "it wants a feature that was not offered";
        return -EPROTO;
    }
    if (device->started && features != device->features) {
        *ret_why = "it changes features while queues run";
        return -EPROTO;
    }
    device->features = features;
    for (unsigned i = 0; i < device->queue_count; i++) {
        struct vhost_queue *queue = &device->queues[i];

        vhost_queue_set_features(queue, features);
        if (features & VHOST_USER_F_PROTOCOL_FEATURES)
            continue;
        /* Such a VMM says nothing of enabling. */
        vhost_queue_set_enabled(queue, true);
        int error = queue_run(device, queue);
        if (error)
            return error;
    }
    return ANSWER_ACK;
}

/* From now on; the table becomes the device's. */
static void use_memory(struct vhost_device *device, struct vhost_memory *memory)
{
    for (unsigned i = 0; i < device->queue_count; i++)
        vhost_queue_set_memory(&device->queues[i], memory);
    vhost_memory_put(device->memory);
    device->memory = memory;
}

static int set_memory(struct vhost_device *device, struct vhost_message *message,
                      const char **ret_why)
{
    const struct vhost_user_memory *table = &message->payload.memory;
    struct vhost_memory *memory;

    if (table->count > VHOST_USER_REGIONS_MAX || table->count != message->fd_count ||
        message->header.size != offsetof(struct vhost_user_memory, regions) +
                                    table->count * sizeof(table->regions[0])) {
        *ret_why = "its memory table is of a wrong size";
        return -EPROTO;
    }
    int error = vhost_memory_create(table, message->fds, device->ops->region, device->arg,
                                    device->memory, &memory, ret_why);
    if (error)
        return -EPROTO;
    vhost_message_close(message); /* with those of the window their lock goes */
    use_memory(device, memory);
    return ANSWER_ACK;
}

/*
 * QEMU starts a device only if it takes all of the window's pieces, of which none is mapped here; and
 * of what it has taken QEMU 11.1 speaks again at the first start after a reset, when it is gone, and
 * crashes. So what nobody maps is refused while queues run: QEMU offers it again with the next one.
 */
static int add_region(struct vhost_device *device, struct vhost_message *message,
                      const char **ret_why)
{
    bool asks = message->header.flags & VHOST_USER_NEED_REPLY;
    struct vhost_memory *memory;

    int error = vhost_memory_add(device->memory, &message->payload.slot.region, message->fds[0],
                                 device->ops->region, device->arg, &memory, ret_why);
    if (error == -ENOSPC && asks) {
        vhost_device_tell(device, VHOST_TOLD_SLOTS, "%s", *ret_why);
        return ANSWER_REFUSED;
    }
    if (error)
        return -EPROTO;
    vhost_message_close(message);
    if (asks && device->started && device->memory && memory->count == device->memory->count) {
        vhost_memory_put(memory);
        return ANSWER_REFUSED;
    }
    use_memory(device, memory);
    return ANSWER_ACK;
}

static int remove_region(struct vhost_device *device, const struct vhost_message *message,
                         const char **ret_why)
{
    struct vhost_memory *memory;
    int error = vhost_memory_remove(device->memory, &message->payload.slot.region, &memory);

    if (error == -ENOENT)
        return ANSWER_REFUSED;
    if (error) {
        *ret_why = "its memory can not be used";
        return -EPROTO;
    }
    use_memory(device, memory);
    return ANSWER_ACK;
}

static int memory_slots(struct vhost_device *device, struct vhost_message *message,
                        const char **ret_why)
{
    if (!(device->protocol_features & VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS)) {
        *ret_why = "it speaks of memory slots, which was not agreed";
        return -EPROTO;
    }
    switch (message->header.request) {
    case VHOST_USER_GET_MAX_MEM_SLOTS:
        return reply_u64(device, message, VHOST_MEMORY_SLOTS);
    case VHOST_USER_ADD_MEM_REG:
        return add_region(device, message, ret_why);
    default: /* REM_MEM_REG */
        return remove_region(device, message, ret_why);
    }
}

static int get_config(struct vhost_device *device, const struct vhost_message *message,
                      const char **ret_why)
{
    struct vhost_user_config config = message->payload.config;
    const size_t head = offsetof(struct vhost_user_config, bytes);
    uint8_t bytes[VHOST_CONFIG_MAX] = { 0 };

    if (config.offset > sizeof(bytes) || config.size > sizeof(bytes) - config.offset ||
        (message->header.size != head && message->header.size != head + config.size)) {
        *ret_why = "it asks for more configuration than there can be";
        return -EPROTO;
    }
    if (device->ops->config)
        (void)device->ops->config(device->arg, bytes, sizeof(bytes));
    memcpy(config.bytes, bytes + config.offset, config.size);
    return reply(device, message, &config, head + config.size);
}

static int get_shmem_config(struct vhost_device *device, const struct vhost_message *message)
{
    struct vhost_user_shmem_config config = { .count = device->shm_size ? 1 : 0,
                                              .sizes = { device->shm_size } };

    device->shm_asked = true;
    shm_update(device);
    return reply(device, message, &config, sizeof(config));
}

static int set_channel(struct vhost_device *device, struct vhost_message *message,
                       const char **ret_why)
{
    int fd = vhost_message_take_fd(message, 0), type = 0, domain = 0;
    socklen_t size = sizeof(int);

    /* Requests may be sent to one without waiting. */
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX) {
        closer_take(device->closer, fd);
        *ret_why = "the channel that it gives is no stream socket of this machine";
        return -EPROTO;
    }
    if (vhost_channel_set(device->channel, fd) < 0) {
        closer_take(device->closer, fd);
        *ret_why = "there is no thread for the channel that it gives";
        return -EPROTO;
    }
    device->has_channel = true;
    shm_update(device);
    return ANSWER_ACK;
}

/* ---- by message, of one queue ------------------------------------------------------------ */

static int queue_fd(struct vhost_device *device, struct vhost_message *message,
                    const char **ret_why)
{
    uint64_t value = message->payload.u64, index = value & VHOST_USER_VRING_INDEX_MASK;
    bool none = value & VHOST_USER_VRING_NO_FD;
    int error;

    if ((value & ~(uint64_t)(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NO_FD)) ||
        index >= device->queue_count || message->fd_count != (none ? 0 : 1)) {
        *ret_why = "it gives a descriptor for no queue, or none";
        return -EPROTO;
    }
    struct vhost_queue *queue = &device->queues[index];
    int fd = vhost_message_take_fd(message, 0);
    *ret_why = "it gives a descriptor that is no eventfd";
    switch (message->header.request) {
    case VHOST_USER_SET_VRING_CALL:
        return vhost_queue_set_call(queue, fd);
    case VHOST_USER_SET_VRING_ERR:
        return vhost_queue_set_err(queue, fd);
    default:
        if (none)
            *ret_why = "it wants a queue to be polled, which is not done";
        error = vhost_queue_set_kick(queue, fd);
        if (error)
            return error;
        *ret_why = "a queue can not be started";
        return queue_run(device, queue);
    }
}

static int queue_enable(struct vhost_device *device, struct vhost_queue *queue, uint32_t enable,
                        const char **ret_why)
{
    if (enable > 1) {
        *ret_why = "it enables a queue by more than 1";
        return -EPROTO;
    }
    vhost_queue_set_enabled(queue, enable);
    if (enable) {
        *ret_why = "a queue can not be started";
        return queue_run(device, queue);
    }
    (void)vhost_queue_stop(queue, false);
    stopped(device);
    return ANSWER_ACK;
}

static bool is_used(struct vhost_device *device)
{
    bool used = false;

    for (unsigned i = 0; i < device->queue_count; i++)
        used = used || vhost_queue_is_used(&device->queues[i]);
    return used;
}

/* Whether those that run had no request; they stand then, unless it is known before. */
static bool stop_unused(struct vhost_device *device)
{
    bool unused = true;

    if (is_used(device))
        return false;

    for (unsigned i = 0; i < device->queue_count; i++) {
        struct vhost_queue *queue = &device->queues[i];

        if (!vhost_queue_is_active(queue))
            continue;
        (void)vhost_queue_stop(queue, false);
        unused = unused && !queue->popped;
    }
    stopped(device);
    return unused;
}

/* After a pause rings go on where they stood. After a reset they begin anew, and for QEMU's generic
 * device that is all that is heard of it. Where queues start one by one another may run by then; if it has had
 * a request, the guest has begun, and this has been a pause of it. */
static void begun_anew(struct vhost_device *device, const struct vhost_queue *queue)
{
    if (!(device->stood & 1ull << queue->index))
        return;
    bool unused = stop_unused(device);
    device->stood = 0;
    if (unused && device->ops->reset)
        device->ops->reset(device->arg);
    for (unsigned i = 0; i < device->queue_count; i++)
        (void)queue_run(device, &device->queues[i]); /* they have their threads */
}

static int queue_state(struct vhost_device *device, const struct vhost_message *message,
                       const char **ret_why)
{
    /* Also of an address, which begins with the index. */
    struct vhost_user_vring_state state = message->payload.state;

    if (state.index >= device->queue_count) {
        *ret_why = "it speaks of a queue that is not there";
        return -EPROTO;
    }
    struct vhost_queue *queue = &device->queues[state.index];
    bool anew = false;
    int error;
    switch (message->header.request) {
    case VHOST_USER_SET_VRING_NUM:
        *ret_why = "a queue's size is no power of 2 up to 1024, or changes while it runs";
        error = vhost_queue_set_size(queue, state.num, &anew);
        break;
    case VHOST_USER_SET_VRING_BASE:
        *ret_why = "a queue's base is too large, or changes while it runs";
        error = vhost_queue_set_base(queue, state.num, &anew);
        break;
    case VHOST_USER_SET_VRING_ADDR:
        *ret_why = "a queue's addresses want logging, or change while it runs";
        if (message->payload.addr.flags != 0)
            return -EPROTO;
        error = vhost_queue_set_addresses(queue, &message->payload.addr, &anew);
        break;
    case VHOST_USER_SET_VRING_ENABLE:
        return queue_enable(device, queue, state.num, ret_why);
    default: /* GET_VRING_BASE */
        state.num = vhost_queue_stop(queue, true);
        stopped(device);
        return reply(device, message, &state, sizeof(state));
    }
    if (anew)
        begun_anew(device, queue);
    return error;
}

static int handle(struct vhost_device *device, struct vhost_message *message, const char **ret_why)
{
    switch (message->header.request) {
    case VHOST_USER_GET_FEATURES:
        return reply_u64(device, message, VHOST_FEATURES);
    case VHOST_USER_SET_FEATURES:
        return set_features(device, message->payload.u64, ret_why);
    case VHOST_USER_GET_PROTOCOL_FEATURES:
        return reply_u64(device, message, protocol_features(device));
    case VHOST_USER_SET_PROTOCOL_FEATURES:
        if (message->payload.u64 & ~protocol_features(device)) {
            *ret_why = "it wants a protocol feature that was not offered";
            return -EPROTO;
        }
        device->protocol_features = message->payload.u64;
        shm_update(device);
        return ANSWER_ACK;
    case VHOST_USER_GET_QUEUE_NUM:
        return reply_u64(device, message, device->queue_count);
    case VHOST_USER_SET_OWNER:
        return ANSWER_ACK;
    case VHOST_USER_RESET_OWNER:
    case VHOST_USER_RESET_DEVICE:
        return reset_device(device);
    case VHOST_USER_SET_MEM_TABLE:
        return set_memory(device, message, ret_why);
    case VHOST_USER_GET_MAX_MEM_SLOTS:
    case VHOST_USER_ADD_MEM_REG:
    case VHOST_USER_REM_MEM_REG:
        return memory_slots(device, message, ret_why);
    case VHOST_USER_SET_LOG_BASE:
    case VHOST_USER_SET_LOG_FD:
        vhost_device_tell(device, VHOST_TOLD_LOG,
                          "the VMM wants to migrate the guest, which is not supported");
        *ret_why = "it logs memory for a migration, which is not supported";
        return message->header.flags & VHOST_USER_NEED_REPLY ? ANSWER_REFUSED : -EPROTO;
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
        return queue_fd(device, message, ret_why);
    case VHOST_USER_SET_BACKEND_REQ_FD:
        return set_channel(device, message, ret_why);
    case VHOST_USER_GET_CONFIG:
        return get_config(device, message, ret_why);
    case VHOST_USER_SET_CONFIG:
        vhost_device_tell(device, VHOST_TOLD_CONFIG,
                          "the guest wants to change the device's configuration: refused");
        return ANSWER_REFUSED;
    case VHOST_USER_GET_SHMEM_CONFIG:
        return get_shmem_config(device, message);
    default:
        return queue_state(device, message, ret_why);
    }
}

int vhost_backend_handle(struct vhost_device *device, struct vhost_message *message,
                         const char **ret_why)
{
    int r = handle(device, message, ret_why);

    if (r < 0)
        return r;
    if (r != ANSWER_SENT && (message->header.flags & VHOST_USER_NEED_REPLY)) {
        r = reply_u64(device, message, r == ANSWER_REFUSED);
        if (r < 0)
            *ret_why = "an answer can not be sent";
    }
    return r < 0 ? r : 0;
}
