/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmm.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REPLY_MS 10000

/* ---- its life -------------------------------------------------------------------------------------- */

void vmm_open(struct vmm *vmm, uint64_t region)
{
    *vmm = (struct vmm){ .fd = -1, .channel = -1, .region = region };
    vmm->memfd = memfd_create("guest", MFD_CLOEXEC);
    if (vmm->memfd < 0 || ftruncate(vmm->memfd, (off_t)(2 * region)) < 0)
        err(2, "memfd");
    vmm->memory = mmap(NULL, 2 * region, PROT_READ | PROT_WRITE, MAP_SHARED, vmm->memfd, 0);
    if (vmm->memory == MAP_FAILED)
        err(2, "mmap");
    for (unsigned i = 0; i < VMM_QUEUES; i++) {
        struct vmm_queue *queue = &vmm->queue[i];
        uint8_t *ring = vmm_at(vmm, VMM_GUEST + i * VMM_RING);

        queue->size = 8;
        queue->desc = (void *)ring;
        queue->avail = (void *)(ring + 0x4000);
        queue->used = (void *)(ring + 0x6000);
        queue->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        queue->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        queue->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
}

void vmm_disconnect(struct vmm *vmm)
{
    if (vmm->fd >= 0)
        close(vmm->fd);
    if (vmm->channel >= 0)
        close(vmm->channel);
    vmm->fd = vmm->channel = -1;
}

void vmm_close(struct vmm *vmm)
{
    vmm_disconnect(vmm);
    for (unsigned i = 0; i < VMM_QUEUES; i++) {
        close(vmm->queue[i].kick);
        close(vmm->queue[i].call);
        close(vmm->queue[i].err);
    }
    munmap(vmm->memory, 2 * vmm->region);
    close(vmm->memfd);
}

bool vmm_connect(struct vmm *vmm, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    vmm_disconnect(vmm);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    vmm->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (vmm->fd < 0 || connect(vmm->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return false;
    for (unsigned i = 0; i < VMM_QUEUES; i++)
        vmm_ring_clear(vmm, i);
    return true;
}

void *vmm_at(const struct vmm *vmm, uint64_t guest)
{
    uint64_t offset = (guest - VMM_GUEST) % (2 * vmm->region);

    return vmm->memory + (offset + vmm->region) % (2 * vmm->region);
}

static uint64_t user_of(const struct vmm *vmm, uint64_t guest)
{
    uint64_t offset = guest - VMM_GUEST;

    return VMM_USER + (offset < vmm->region ? offset : offset + (1ull << 30));
}

void vmm_memory_table(const struct vmm *vmm, struct vhost_user_memory *table)
{
    *table = (struct vhost_user_memory){ .count = 2 };
    for (unsigned i = 0; i < 2; i++)
        table->regions[i] = (struct vhost_user_region){
            .guest_address = VMM_GUEST + i * vmm->region,
            .size = vmm->region,
            .user_address = user_of(vmm, VMM_GUEST + i * vmm->region),
            .fd_offset = (1 - i) * vmm->region,
        };
}

/* ---- messages -------------------------------------------------------------------------------------- */

bool vmm_send(struct vmm *vmm, uint32_t request, uint32_t flags, const void *payload, size_t size,
              const int *fds, unsigned fd_count)
{
    struct vhost_user_header header = { request, flags, (uint32_t)size };
    struct iovec vector[2] = { { &header, sizeof(header) }, { (void *)payload, size } };
    char control[CMSG_SPACE(32 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
    struct msghdr message = { .msg_iov = vector, .msg_iovlen = 2 };

    if (vmm->fd < 0)
        return false;
    if (fd_count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(part), fds, fd_count * sizeof(int));
    }
    return sendmsg(vmm->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) ==
           (ssize_t)(sizeof(header) + size);
}

static bool receive_all(int fd, void *to, size_t size, int ms)
{
    for (size_t used = 0; used < size;) {
        struct pollfd polled = { .fd = fd, .events = POLLIN };

        if (poll(&polled, 1, ms) != 1)
            return false;
        ssize_t got = recv(fd, (uint8_t *)to + used, size - used, MSG_DONTWAIT);
        if (got <= 0)
            return false;
        used += (size_t)got;
    }
    return true;
}

bool vmm_receive(struct vmm *vmm, struct vhost_user_header *header, void *payload, size_t max,
                 int ms)
{
    return vmm->fd >= 0 && receive_all(vmm->fd, header, sizeof(*header), ms) &&
           header->size <= max && receive_all(vmm->fd, payload, header->size, ms);
}

bool vmm_ask(struct vmm *vmm, uint32_t request, const void *payload, size_t size, const int *fds,
             unsigned fd_count)
{
    struct vhost_user_header header;
    uint64_t value;

    return vmm_send(vmm, request, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, payload, size, fds,
                    fd_count) &&
           vmm_receive(vmm, &header, &value, sizeof(value), REPLY_MS) && value == 0;
}

bool vmm_get(struct vmm *vmm, uint32_t request, uint64_t *ret_value)
{
    struct vhost_user_header header;

    return vmm_send(vmm, request, VHOST_USER_VERSION, NULL, 0, NULL, 0) &&
           vmm_receive(vmm, &header, ret_value, sizeof(*ret_value), REPLY_MS) &&
           header.size == sizeof(*ret_value);
}

/* ---- what QEMU says -------------------------------------------------------------------------------- */

bool vmm_handshake(struct vmm *vmm, uint64_t features)
{
    struct vhost_user_shmem_config shmem;
    struct vhost_user_header header;
    uint64_t offered, protocol, value;
    int pair[2];
    bool good;

    if (!vmm_get(vmm, VHOST_USER_GET_FEATURES, &offered) ||
        !vmm_get(vmm, VHOST_USER_GET_PROTOCOL_FEATURES, &protocol) ||
        !vmm_send(vmm, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_VERSION, &protocol, 8, NULL,
                  0) ||
        !vmm_get(vmm, VHOST_USER_GET_QUEUE_NUM, &value))
        return false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        err(2, "socketpair");
    good = vmm_ask(vmm, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1);
    close(pair[1]);
    if (vmm->channel >= 0)
        close(vmm->channel);
    vmm->channel = pair[0];
    if (!good)
        return false;
    vmm->window = 0;
    if (protocol & VHOST_USER_PROTOCOL_F_SHMEM) {
        if (!vmm_send(vmm, VHOST_USER_GET_SHMEM_CONFIG, VHOST_USER_VERSION, NULL, 0, NULL, 0) ||
            !vmm_receive(vmm, &header, &shmem, sizeof(shmem), REPLY_MS))
            return false;
        vmm->window = shmem.sizes[0];
    }
    features &= offered;
    return vmm_send(vmm, VHOST_USER_SET_OWNER, VHOST_USER_VERSION, NULL, 0, NULL, 0) &&
           vmm_send(vmm, VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, &features, 8, NULL, 0);
}

bool vmm_set_memory(struct vmm *vmm)
{
    const int fds[2] = { vmm->memfd, vmm->memfd };
    struct vhost_user_memory table;

    vmm_memory_table(vmm, &table);
    return vmm_ask(vmm, VHOST_USER_SET_MEM_TABLE, &table, 8 + 2 * sizeof(table.regions[0]), fds, 2);
}

static bool ask_state(struct vmm *vmm, uint32_t request, uint32_t index, uint32_t num)
{
    const struct vhost_user_vring_state state = { index, num };

    return vmm_ask(vmm, request, &state, sizeof(state), NULL, 0);
}

static bool ask_fd(struct vmm *vmm, uint32_t request, uint64_t index, int fd)
{
    return vmm_ask(vmm, request, &index, sizeof(index), &fd, 1);
}

bool vmm_queue_start(struct vmm *vmm, unsigned index, uint16_t size, uint16_t base)
{
    struct vmm_queue *queue = &vmm->queue[index];
    uint64_t ring = user_of(vmm, VMM_GUEST + index * VMM_RING);
    const struct vhost_user_vring_addr addr = {
        .index = index, .desc = ring, .avail = ring + 0x4000, .used = ring + 0x6000
    };

    queue->size = size;
    return ask_state(vmm, VHOST_USER_SET_VRING_NUM, index, size) &&
           ask_state(vmm, VHOST_USER_SET_VRING_BASE, index, base) &&
           vmm_ask(vmm, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0) &&
           ask_fd(vmm, VHOST_USER_SET_VRING_ERR, index, queue->err) &&
           ask_fd(vmm, VHOST_USER_SET_VRING_KICK, index, queue->kick) &&
           ask_fd(vmm, VHOST_USER_SET_VRING_CALL, index, queue->call) &&
           ask_state(vmm, VHOST_USER_SET_VRING_ENABLE, index, 1);
}

bool vmm_queue_stop(struct vmm *vmm, unsigned index)
{
    struct vhost_user_vring_state state = { index, 0 };
    struct vhost_user_header header;

    return vmm_send(vmm, VHOST_USER_GET_VRING_BASE, VHOST_USER_VERSION, &state, sizeof(state), NULL,
                    0) &&
           vmm_receive(vmm, &header, &state, sizeof(state), REPLY_MS);
}

bool vmm_start(struct vmm *vmm, uint64_t features, uint16_t size)
{
    bool good = vmm_handshake(vmm, features) && vmm_set_memory(vmm);

    for (unsigned i = 0; good && i < VMM_QUEUES; i++)
        good = vmm_queue_start(vmm, i, size, 0);
    return good;
}

/* ---- the driver ------------------------------------------------------------------------------------ */

void vmm_ring_clear(struct vmm *vmm, unsigned index)
{
    struct vmm_queue *queue = &vmm->queue[index];

    memset(queue->desc, 0, VMM_RING);
    queue->avail_index = queue->last_used = 0;
}

void vmm_desc(struct vmm *vmm, unsigned index, uint16_t desc, uint64_t address, uint32_t length,
              uint16_t flags, uint16_t next)
{
    vmm->queue[index].desc[desc % VMM_SIZE_MAX] = (struct vring_desc){
        .address = le64_make(address),
        .length = le32_make(length),
        .flags = le16_make(flags),
        .next = le16_make(next),
    };
}

void vmm_avail(struct vmm *vmm, unsigned index, uint16_t head)
{
    struct vmm_queue *queue = &vmm->queue[index];

    queue->avail->ring[queue->avail_index % queue->size] = le16_make(head);
    __atomic_store_n(&queue->avail->index.raw, ++queue->avail_index, __ATOMIC_SEQ_CST);
}

void vmm_kick(struct vmm *vmm, unsigned index)
{
    const uint64_t one = 1;
    ssize_t written = write(vmm->queue[index].kick, &one, sizeof(one));

    (void)written; /* nonblocking: it is signalled then */
}

bool vmm_used(struct vmm *vmm, unsigned index, int ms, uint32_t *ret_id, uint32_t *ret_length)
{
    struct vmm_queue *queue = &vmm->queue[index];
    struct vring_used_elem element;

    for (int i = 0; __atomic_load_n(&queue->used->index.raw, __ATOMIC_SEQ_CST) == queue->last_used;
         i++) {
        struct pollfd polled = { .fd = vmm->fd, .events = 0 };

        if (i >= ms * 5 || vmm->fd < 0 || (i % 64 == 63 && poll(&polled, 1, 0) > 0))
            return false;
        usleep(200);
    }
    element = queue->used->ring[queue->last_used++ % queue->size];
    *ret_id = le32_get(element.id);
    *ret_length = le32_get(element.length);
    return true;
}

/* ---- the window ------------------------------------------------------------------------------------ */

bool vmm_channel_answer(int channel, enum vmm_answer answer, int ms, int *keep,
                        struct vhost_user_shmem_map *map)
{
    struct {
        struct vhost_user_header header;
        struct vhost_user_shmem_map map;
    } __attribute__((packed)) asked;
    struct {
        struct vhost_user_header header;
        uint64_t result;
    } __attribute__((packed)) reply = { .result = answer == VMM_NO };
    char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8)));
    struct iovec vector = { &asked, sizeof(asked.header) };
    struct msghdr message = { .msg_iov = &vector,
                              .msg_iovlen = 1,
                              .msg_control = control,
                              .msg_controllen = sizeof(control) };
    struct pollfd polled = { .fd = channel, .events = POLLIN };
    size_t size = sizeof(reply);

    if (channel < 0 || poll(&polled, 1, ms) != 1)
        return false;
    ssize_t got = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got != (ssize_t)sizeof(asked.header) || asked.header.size > sizeof(asked.map) ||
        recv(channel, &asked.map, asked.header.size, MSG_DONTWAIT) != (ssize_t)asked.header.size)
        return false;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part))
        for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= part->cmsg_len; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
            if (!keep) {
                close(fd);
                continue;
            }
            if (*keep >= 0)
                close(*keep);
            *keep = fd;
            *map = asked.map;
        }
    reply.header =
        (struct vhost_user_header){ asked.header.request, VHOST_USER_VERSION | VHOST_USER_REPLY,
                                    sizeof(reply.result) };
    switch (answer) {
    case VMM_NEVER:
        return true;
    case VMM_GARBAGE:
        reply.header.request ^= 3;
        reply.header.size = 0xffffffff;
        break;
    case VMM_SHORT:
        size = 13;
        break;
    case VMM_CLOSE:
        shutdown(channel, SHUT_RDWR);
        return true;
    case VMM_TWICE:
        (void)send(channel, &reply, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    default:
        break;
    }
    (void)send(channel, &reply, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    /* And the one that was sent along. */
    if (answer <= VMM_NO && asked.header.request != VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE)
        (void)vmm_channel_answer(channel, VMM_NO, 0, NULL, NULL);
    return true;
}
