/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhost_front.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

bool callee_mem_slots;
bool front_no_uring;

int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    return front_no_uring ? -ENOSYS : __real_io_uring_queue_init(entries, ring, flags);
}

/* ---- the callee -------------------------------------------------------------------------- */

static size_t callee_config(void *arg, uint8_t *bytes, size_t size)
{
    (void)arg;
    ck_assert_uint_ge(size, 40);
    memcpy(bytes, FRONT_TAG, sizeof(FRONT_TAG));
    bytes[36] = 1;
    return 40;
}

static int callee_region(void *arg, int fd, const struct vhost_region *region)
{
    struct callee *callee = arg;

    ck_assert_int_ge(fd, 0);
    callee->regions++;
    if (callee->region_error)
        return callee->region_error;
    return callee->region_leave_out != region->guest_address;
}

static void count(struct callee *callee, _Atomic unsigned *counter)
{
    pthread_mutex_lock(&callee->mutex);
    ++*counter;
    pthread_cond_broadcast(&callee->changed);
    pthread_mutex_unlock(&callee->mutex);
}

static void callee_connected(void *arg)
{
    count(arg, &((struct callee *)arg)->connected);
}

static void callee_started(void *arg)
{
    count(arg, &((struct callee *)arg)->started);
}

static void callee_reset(void *arg)
{
    count(arg, &((struct callee *)arg)->reset);
}

static void callee_stopped(void *arg)
{
    count(arg, &((struct callee *)arg)->stopped);
}

static void callee_gone(void *arg)
{
    count(arg, &((struct callee *)arg)->gone);
}

static int callee_outside(void *arg, uint64_t address, size_t length, bool write, void **ret_bytes,
                          size_t *ret_length, uint64_t *ret_cookie)
{
    struct callee *callee = arg;
    uint64_t offset = address - CALLEE_OUTSIDE, page = 4096 - offset % 4096;

    (void)write;
    if (address < CALLEE_OUTSIDE || offset >= sizeof(callee->outside_bytes))
        return -EFAULT;
    *ret_bytes = callee->outside_bytes + offset;
    *ret_length = length < page ? length : (size_t)page;
    *ret_cookie = offset;
    pthread_mutex_lock(&callee->mutex);
    callee->outside_open++;
    callee->outside_calls++;
    pthread_mutex_unlock(&callee->mutex);
    return 0;
}

static void callee_outside_end(void *arg, uint64_t cookie)
{
    struct callee *callee = arg;

    ck_assert_uint_lt(cookie, sizeof(callee->outside_bytes));
    pthread_mutex_lock(&callee->mutex);
    ck_assert_uint_gt(callee->outside_open, 0);
    callee->outside_open--;
    pthread_mutex_unlock(&callee->mutex);
}

int callee_answer(struct callee *callee, struct vhost_request *request)
{
    size_t in = vhost_request_in(request), out = vhost_request_out(request);
    size_t least = in < out ? in : out, length = least < 65536 ? least : 65536;
    uint8_t *bytes = malloc(length + 1);
    int error = vhost_access_begin(request);

    ck_assert_ptr_nonnull(bytes);
    if (!error) {
        error = vhost_read(request, 0, bytes, length);
        for (size_t i = 0; !error && i < length; i++)
            bytes[i]++;
        if (!error)
            error = vhost_write(request, 0, bytes, length);
        int bad = vhost_access_end(request);
        if (bad)
            error = bad;
    }
    free(bytes);
    vhost_complete(request, error ? 0 : length);
    pthread_mutex_lock(&callee->mutex);
    callee->error = error;
    pthread_mutex_unlock(&callee->mutex);
    return error;
}

static void callee_request(void *arg, struct vhost_request *request)
{
    struct callee *callee = arg;

    pthread_mutex_lock(&callee->mutex);
    bool hold = callee->hold;
    if (hold) {
        ck_assert_uint_lt(callee->held_count, 64);
        callee->held[callee->held_count++] = request;
    }
    pthread_mutex_unlock(&callee->mutex);
    if (!hold)
        callee_answer(callee, request);
    count(callee, &callee->requests);
}

void callee_start(struct callee *callee, unsigned queues, char *path)
{
    struct vhost_options options = { .path = path,
                                     .fd = -1,
                                     .group = (gid_t)-1,
                                     .name = "test",
                                     .queues = queues,
                                     .shm_size = FRONT_WINDOW,
                                     .mem_slots = callee_mem_slots,
                                     .ops = &callee->ops,
                                     .arg = callee };
    char *message;

    memset(callee, 0, sizeof(*callee));
    pthread_mutex_init(&callee->mutex, NULL);
    pthread_cond_init(&callee->changed, NULL);
    callee->ops = (struct vhost_ops){ .config = callee_config,
                                      .region = callee_region,
                                      .connected = callee_connected,
                                      .started = callee_started,
                                      .stopped = callee_stopped,
                                      .reset = callee_reset,
                                      .gone = callee_gone,
                                      .request = callee_request,
                                      .outside = callee_outside,
                                      .outside_end = callee_outside_end };
    sprintf(path, "/tmp/test_vhost.%d.sock", getpid());
    ck_assert_int_eq(vhost_device_open(&options, &callee->device, &message), 0);
    ck_assert_int_eq(vhost_device_start(callee->device), 0);
}

void callee_end(struct callee *callee, const char *path)
{
    vhost_device_stop(callee->device);
    ck_assert_uint_eq(callee->connected, callee->gone);
    ck_assert_uint_eq(callee->started, callee->stopped);
    ck_assert_uint_eq(callee->outside_open, 0);
    for (unsigned i = 0; i < callee->held_count; i++)
        vhost_complete(callee->held[i], 0);
    vhost_device_close(callee->device);
    ck_assert_int_eq(access(path, F_OK), -1);
    pthread_mutex_destroy(&callee->mutex);
    pthread_cond_destroy(&callee->changed);
}

void callee_wait(struct callee *callee, const _Atomic unsigned *counter, unsigned value)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FRONT_TIMEOUT_MS / 1000;
    pthread_mutex_lock(&callee->mutex);
    while (*counter < value)
        ck_assert_int_eq(pthread_cond_timedwait(&callee->changed, &callee->mutex, &until), 0);
    pthread_mutex_unlock(&callee->mutex);
}

void callee_hold(struct callee *callee, bool on)
{
    pthread_mutex_lock(&callee->mutex);
    callee->hold = on;
    pthread_mutex_unlock(&callee->mutex);
}

struct vhost_request *callee_take(struct callee *callee)
{
    callee_wait(callee, &callee->held_count, 1);
    pthread_mutex_lock(&callee->mutex);
    struct vhost_request *request = callee->held[0];
    callee->held_count--;
    memmove(callee->held, callee->held + 1, callee->held_count * sizeof(callee->held[0]));
    pthread_mutex_unlock(&callee->mutex);
    return request;
}

/* ---- the VMM ----------------------------------------------------------------------------- */

void front_connect(struct front *front, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    strcpy(address.sun_path, path);
    front->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(front->fd, 0);
    ck_assert_int_eq(connect(front->fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

void front_open(struct front *front, const char *path)
{
    memset(front, 0, sizeof(*front));
    front->channel = -1;
    front->has_barrier = true;
    front->memfd = memfd_create("guest", MFD_CLOEXEC);
    ck_assert_int_ge(front->memfd, 0);
    ck_assert_int_eq(ftruncate(front->memfd, 2 * FRONT_REGION), 0);
    front->memory =
        mmap(NULL, 2 * FRONT_REGION, PROT_READ | PROT_WRITE, MAP_SHARED, front->memfd, 0);
    ck_assert_ptr_ne(front->memory, MAP_FAILED);
    front->buffer = FRONT_BUFFERS;
    for (unsigned i = 0; i < FRONT_QUEUES; i++) {
        struct front_queue *queue = &front->queues[i];

        queue->guest = FRONT_GUEST + i * 0x10000;
        queue->desc = front_at(front, queue->guest);
        queue->avail = front_at(front, queue->guest + 0x4000);
        queue->used = front_at(front, queue->guest + 0x8000);
        queue->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        queue->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        queue->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    front_connect(front, path);
}

void front_close(struct front *front)
{
    if (front->fd >= 0)
        close(front->fd);
    if (front->channel >= 0)
        close(front->channel);
    for (unsigned i = 0; i < FRONT_QUEUES; i++) {
        close(front->queues[i].kick);
        close(front->queues[i].call);
        close(front->queues[i].err);
    }
    munmap(front->memory, 2 * FRONT_REGION);
    close(front->memfd);
}

void *front_at(struct front *front, uint64_t guest)
{
    uint64_t offset = guest - FRONT_GUEST;

    ck_assert_uint_lt(offset, 2 * FRONT_REGION);
    return front->memory + (offset < FRONT_REGION ? offset + FRONT_REGION : offset - FRONT_REGION);
}

/* The second region is elsewhere in the VMM, too. */
uint64_t front_user(uint64_t guest)
{
    uint64_t offset = guest - FRONT_GUEST;

    return FRONT_USER + (offset < FRONT_REGION ? offset : offset + (1ull << 30));
}

void front_send(struct front *front, uint32_t request, uint32_t flags, const void *payload,
                uint32_t size, const int *fds, unsigned fd_count)
{
    struct vhost_user_header header = { request, flags, size };
    struct iovec vector[2] = { { &header, sizeof(header) }, { (void *)payload, size } };
    char control[CMSG_SPACE(64 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
    struct msghdr message = { .msg_iov = vector, .msg_iovlen = 2 };

    if (fd_count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(part), fds, fd_count * sizeof(int));
    }
    /* It may have been dropped for what was sent before. */
    ssize_t sent = sendmsg(front->fd, &message, MSG_NOSIGNAL);
    ck_assert(sent == (ssize_t)(sizeof(header) + size) || (sent < 0 && errno == EPIPE) ||
              (sent < 0 && errno == ECONNRESET));
}

static bool receive_all(int fd, void *to, size_t size)
{
    for (size_t used = 0; used < size;) {
        struct pollfd polled = { .fd = fd, .events = POLLIN };

        ck_assert_msg(poll(&polled, 1, FRONT_TIMEOUT_MS) == 1, "no answer");
        ssize_t got = recv(fd, (uint8_t *)to + used, size - used, 0);
        if (got <= 0)
            return false;
        used += (size_t)got;
    }
    return true;
}

bool front_receive(struct front *front, struct vhost_user_header *header, void *payload, size_t max)
{
    if (!receive_all(front->fd, header, sizeof(*header)))
        return false;
    ck_assert_uint_eq(header->flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
    ck_assert_uint_le(header->size, max);
    return receive_all(front->fd, payload, header->size);
}

static uint64_t receive_u64(struct front *front, uint32_t request)
{
    struct vhost_user_header header;
    uint64_t value;

    ck_assert_msg(front_receive(front, &header, &value, sizeof(value)), "dropped at %u", request);
    ck_assert_uint_eq(header.request, request);
    ck_assert_uint_eq(header.size, sizeof(value));
    return value;
}

uint64_t front_ask(struct front *front, uint32_t request, const void *payload, uint32_t size,
                   const int *fds, unsigned fd_count)
{
    front_send(front, request, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, payload, size, fds,
               fd_count);
    return receive_u64(front, request);
}

uint64_t front_get(struct front *front, uint32_t request)
{
    front_send(front, request, VHOST_USER_VERSION, NULL, 0, NULL, 0);
    return receive_u64(front, request);
}

void front_expect_end(struct front *front)
{
    char byte;
    struct pollfd polled = { .fd = front->fd, .events = POLLIN };

    do {
        ck_assert_msg(poll(&polled, 1, FRONT_TIMEOUT_MS) == 1, "the connection does not end");
    } while (recv(front->fd, &byte, 1, 0) > 0);
    close(front->fd);
    front->fd = -1;
}

static void set_fd(struct front *front, uint32_t request, unsigned index, int fd)
{
    uint64_t value = index;

    ck_assert_uint_eq(front_ask(front, request, &value, sizeof(value), &fd, 1), 0);
}

void front_handshake(struct front *front, uint64_t features)
{
    uint64_t offered = front_get(front, VHOST_USER_GET_FEATURES), value;
    struct vhost_user_config config = { .size = 44 };
    struct vhost_user_shmem_config shmem;
    struct vhost_user_header header;
    int pair[2];

    ck_assert_uint_eq(features & ~offered, 0);
    value = front_get(front, VHOST_USER_GET_PROTOCOL_FEATURES);
    front_send(front, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_VERSION, &value, 8, NULL, 0);
    (void)front_get(front, VHOST_USER_GET_QUEUE_NUM);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    if (front->channel >= 0)
        close(front->channel);
    front->channel = pair[0];
    ck_assert_uint_eq(front_ask(front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
    close(pair[1]);
    front_send(front, VHOST_USER_SET_OWNER, VHOST_USER_VERSION, NULL, 0, NULL, 0);
    (void)front_get(front, VHOST_USER_GET_FEATURES);
    front_send(front, VHOST_USER_GET_SHMEM_CONFIG, VHOST_USER_VERSION, NULL, 0, NULL, 0);
    ck_assert(front_receive(front, &header, &shmem, sizeof(shmem)));
    ck_assert_uint_eq(header.size, sizeof(shmem));
    ck_assert_uint_eq(shmem.count, 1);
    ck_assert_uint_eq(shmem.sizes[0], FRONT_WINDOW);
    front_send(front, VHOST_USER_GET_CONFIG, VHOST_USER_VERSION, &config, 12 + 44, NULL, 0);
    ck_assert(front_receive(front, &header, &config, sizeof(config)));
    ck_assert_uint_eq(header.size, 12 + 44);
    ck_assert_str_eq((char *)config.bytes, FRONT_TAG);
    front->features = features;
    front_send(front, VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, &features, 8, NULL, 0);
}

void front_fill_memory(struct vhost_user_memory *table)
{
    *table = (struct vhost_user_memory){ .count = 2 };
    table->regions[0] = (struct vhost_user_region){ .guest_address = FRONT_GUEST,
                                                    .size = FRONT_REGION,
                                                    .user_address = FRONT_USER,
                                                    .fd_offset = FRONT_REGION };
    table->regions[1] = (struct vhost_user_region){
        .guest_address = FRONT_GUEST + FRONT_REGION,
        .size = FRONT_REGION,
        .user_address = front_user(FRONT_GUEST + FRONT_REGION),
    };
}

void front_set_memory(struct front *front)
{
    const int fds[2] = { front->memfd, front->memfd };
    struct vhost_user_memory table;

    front_fill_memory(&table);
    ck_assert_uint_eq(front_ask(front, VHOST_USER_SET_MEM_TABLE, &table, 8 + 2 * 32, fds, 2), 0);
}

uint64_t front_state(struct front *front, uint32_t request, uint32_t index, uint32_t num)
{
    const struct vhost_user_vring_state state = { index, num };

    return front_ask(front, request, &state, sizeof(state), NULL, 0);
}

void front_queue_set_up(struct front *front, unsigned index, uint16_t size, uint16_t base)
{
    struct front_queue *queue = &front->queues[index];
    const struct vhost_user_vring_addr addr = { .index = index,
                                                .desc = front_user(queue->guest),
                                                .avail = front_user(queue->guest + 0x4000),
                                                .used = front_user(queue->guest + 0x8000) };

    queue->size = size;
    ck_assert_uint_eq(front_state(front, VHOST_USER_SET_VRING_NUM, index, size), 0);
    ck_assert_uint_eq(front_state(front, VHOST_USER_SET_VRING_BASE, index, base), 0);
    ck_assert_uint_eq(front_ask(front, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
    set_fd(front, VHOST_USER_SET_VRING_ERR, index, queue->err);
    set_fd(front, VHOST_USER_SET_VRING_KICK, index, queue->kick);
    set_fd(front, VHOST_USER_SET_VRING_CALL, index, queue->call);
}

void front_queue_enable(struct front *front, unsigned index, bool enable)
{
    ck_assert_uint_eq(front_state(front, VHOST_USER_SET_VRING_ENABLE, index, enable), 0);
}

uint16_t front_queue_stop(struct front *front, unsigned index)
{
    struct vhost_user_vring_state state = { index, 0 };
    struct vhost_user_header header;

    front_send(front, VHOST_USER_GET_VRING_BASE, VHOST_USER_VERSION, &state, sizeof(state), NULL,
               0);
    ck_assert(front_receive(front, &header, &state, sizeof(state)));
    ck_assert_uint_eq(state.index, index);
    return (uint16_t)state.num;
}

void front_start(struct front *front, uint64_t features, unsigned count, uint16_t size)
{
    front_handshake(front, features);
    front_set_memory(front);
    for (unsigned i = 0; i < count; i++)
        front_queue_set_up(front, i, size, 0);
    for (unsigned i = 0; i < count; i++)
        front_queue_enable(front, i, true);
}

/* ---- the channel ------------------------------------------------------------------------- */

/* What comes behind each request. */
static void barrier_receive(struct front *front)
{
    struct {
        struct vhost_user_header header;
        struct vhost_user_shared_object object;
    } __attribute__((packed)) barrier;

    ck_assert_int_eq(recv(front->channel, &barrier, sizeof(barrier), MSG_DONTWAIT), 28);
    ck_assert_uint_eq(barrier.header.request, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE);
    ck_assert_uint_eq(barrier.header.flags, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY);
    ck_assert_uint_eq(barrier.header.size, 16);
}

int channel_receive(struct front *front, struct vhost_user_header *header,
                    struct vhost_user_shmem_map *map)
{
    struct iovec vector[2] = { { header, sizeof(*header) }, { map, sizeof(*map) } };
    char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
    struct msghdr message = { .msg_iov = vector,
                              .msg_iovlen = 2,
                              .msg_control = control,
                              .msg_controllen = sizeof(control) };
    struct pollfd polled = { .fd = front->channel, .events = POLLIN };
    int fd = -1;

    ck_assert_int_eq(poll(&polled, 1, FRONT_TIMEOUT_MS), 1);
    ck_assert_int_eq(recvmsg(front->channel, &message, MSG_CMSG_CLOEXEC), 52);
    ck_assert_uint_eq(header->flags, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY);
    ck_assert_uint_eq(header->size, 40);
    struct cmsghdr *part = CMSG_FIRSTHDR(&message);
    if (part)
        memcpy(&fd, CMSG_DATA(part), sizeof(fd));
    if (front->has_barrier)
        barrier_receive(front);
    return fd;
}

void channel_answer_one(struct front *front, uint32_t request, uint64_t result)
{
    struct {
        struct vhost_user_header header;
        uint64_t result;
    } __attribute__((packed))
    answer = { { request, VHOST_USER_VERSION | VHOST_USER_REPLY, 8 }, result };

    ck_assert_int_eq(send(front->channel, &answer, sizeof(answer), MSG_NOSIGNAL), sizeof(answer));
}

void channel_answer(struct front *front, uint32_t request, uint64_t result)
{
    channel_answer_one(front, request, result);
    if (front->has_barrier)
        channel_answer_one(front, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, 1);
}

/* ---- the guest --------------------------------------------------------------------------- */

void guest_ring_clear(struct front *front, unsigned index)
{
    struct front_queue *queue = &front->queues[index];

    memset(queue->desc, 0, 0x10000);
    queue->avail_index = queue->last_used = 0;
}

uint64_t guest_buffer(struct front *front, size_t size)
{
    uint64_t buffer = front->buffer;

    front->buffer += (size + 63) / 64 * 64;
    ck_assert_uint_le(front->buffer, FRONT_END);
    return buffer;
}

void guest_desc(struct front *front, unsigned index, uint16_t desc, uint64_t address,
                uint32_t length, uint16_t flags, uint16_t next)
{
    front->queues[index].desc[desc] = (struct vring_desc){ .address = le64_make(address),
                                                           .length = le32_make(length),
                                                           .flags = le16_make(flags),
                                                           .next = le16_make(next) };
}

void guest_avail(struct front *front, unsigned index, uint16_t head)
{
    struct front_queue *queue = &front->queues[index];

    queue->avail->ring[queue->avail_index % queue->size] = le16_make(head);
    __atomic_store_n(&queue->avail->index.raw, ++queue->avail_index, __ATOMIC_SEQ_CST);
}

void guest_kick(struct front *front, unsigned index)
{
    const uint64_t one = 1;

    ck_assert_int_eq(write(front->queues[index].kick, &one, sizeof(one)), sizeof(one));
}

uint64_t guest_request(struct front *front, unsigned index, uint16_t desc, const char *text,
                       uint32_t room)
{
    size_t length = strlen(text);
    uint64_t in = guest_buffer(front, length), out = guest_buffer(front, room);

    memcpy(front_at(front, in), text, length);
    guest_desc(front, index, desc, in, (uint32_t)length, VRING_DESC_NEXT, (uint16_t)(desc + 1));
    guest_desc(front, index, (uint16_t)(desc + 1), out, room, VRING_DESC_WRITE, 0);
    guest_avail(front, index, desc);
    return out;
}

bool guest_has_used(struct front *front, unsigned index)
{
    struct front_queue *queue = &front->queues[index];

    return __atomic_load_n(&queue->used->index.raw, __ATOMIC_SEQ_CST) != queue->last_used;
}

struct vring_used_elem guest_used(struct front *front, unsigned index)
{
    struct front_queue *queue = &front->queues[index];

    for (int i = 0; !guest_has_used(front, index); i++) {
        ck_assert_msg(i < FRONT_TIMEOUT_MS * 2, "no request comes back");
        usleep(500);
    }
    return queue->used->ring[queue->last_used++ % queue->size];
}

void guest_round_trip(struct front *front, unsigned index, uint16_t desc, const char *text)
{
    uint64_t out = guest_request(front, index, desc, text, 64);
    struct vring_used_elem used;

    guest_kick(front, index);
    used = guest_used(front, index);
    ck_assert_uint_eq(le32_get(used.id), desc);
    ck_assert_uint_eq(le32_get(used.length), strlen(text));
    for (size_t i = 0; i < strlen(text); i++)
        ck_assert_int_eq(((uint8_t *)front_at(front, out))[i], text[i] + 1);
}

void guest_indirect(struct front *front, uint64_t table, unsigned n, uint64_t address,
                    uint32_t length, uint16_t flags, uint16_t next)
{
    struct vring_desc *desc = front_at(front, table + n * sizeof(*desc));

    *desc = (struct vring_desc){ .address = le64_make(address),
                                 .length = le32_make(length),
                                 .flags = le16_make(flags),
                                 .next = le16_make(next) };
}

bool event_wait(int fd, int ms)
{
    struct pollfd polled = { .fd = fd, .events = POLLIN };
    uint64_t value;

    return poll(&polled, 1, ms) == 1 && read(fd, &value, sizeof(value)) == sizeof(value);
}
