/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libFuzzer's target: what a VMM says to the back-end (messages with descriptors of any kind, answers to
 * its own requests) and what a guest stores in its rings, on a connected socket.
 *
 *   No input crashes, hangs, leaks memory, mappings or descriptors, or reaches outside the guest's memory:
 *   each region that is mapped lies alone, byte by byte.
 *   What the device tells keeps the order of vhost/device.h; every request can be completed, also late.
 */
#include "neighbours.h"
#include "vmm.h"

#include "base/clock.h"
#include "base/log.h"
#include "transport/vhost/device.h"
#include "transport/vhost/signal.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);
size_t LLVMFuzzerMutate(uint8_t *input, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *input, size_t size, size_t room, unsigned seed);

#define REGION (256u << 10)
#define WINDOW (8u << 20)
#define HELD 64
#define BYTES_MAX 65536u /* of a request's, each way */
#define OUTSIDE (1ull << 40)

enum what {
    WHAT_MESSAGE,
    WHAT_MESSAGE_2,
    WHAT_MEMORY, /* a table that is nearly right */
    WHAT_START,  /* all that QEMU says */
    WHAT_QUEUE,  /* the messages of one queue */
    WHAT_STOP,
    WHAT_DESC,
    WHAT_DESC_2,
    WHAT_INDIRECT,
    WHAT_AVAIL,
    WHAT_BYTES, /* anywhere in guest memory */
    WHAT_KICK,
    WHAT_CUT,  /* the memory's file */
    WHAT_HOLD, /* requests are kept */
    WHAT_COMPLETE,
    WHAT_MAP,    /* we ask the VMM */
    WHAT_ANSWER, /* it answers */
    WHAT_DRAIN,
    WHAT_DROP,
    WHAT_REQUEST, /* a whole one */
    WHATS
};

struct command {
    uint8_t what, index, kind, fds;
    uint16_t number[6];
};
_Static_assert(sizeof(struct command) == 16, "as it lies in the corpus");

static struct vmm vmm;
static int null_fd, folder_fd, short_fd, sealed_fd;

/* Of one input. */
static struct vhost_device *device;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct vhost_request *held[HELD];
static unsigned held_count;
static _Atomic bool hold;
static _Atomic int connected, started;
static _Atomic int outside_open;
static pthread_t mapper;
static bool mapping;

static _Noreturn void wrong(const char *what)
{
    fprintf(stderr, "fuzz_vhost: %s\n", what);
    abort();
}

/* ---- the callee ------------------------------------------------------------------------------------ */

static size_t on_config(void *arg, uint8_t *bytes, size_t size)
{
    (void)arg;
    memset(bytes, 't', size < 44 ? size : 44);
    return 44;
}

static int on_region(void *arg, int fd, const struct vhost_region *region)
{
    (void)arg;
    neighbours_of(region);
    return fcntl(fd, F_GETFD) < 0             ? -EBADF
           : region->guest_address % 16 == 14 ? 0
           : region->guest_address % 16 == 15 ? -EACCES
                                              : 1;
}

static void on_connected(void *arg)
{
    (void)arg;
    if (connected || started)
        wrong("connected twice");
    connected = 1;
}

static void on_started(void *arg)
{
    (void)arg;
    if (!connected || started)
        wrong("started twice, or without a connection");
    started = 1;
}

static void on_stopped(void *arg)
{
    (void)arg;
    if (!started)
        wrong("stopped and not started");
    started = 0;
}

static void on_reset(void *arg)
{
    (void)arg;
    if (!connected || started)
        wrong("reset while it runs");
}

static void on_gone(void *arg)
{
    (void)arg;
    if (!connected || started)
        wrong("gone while it runs");
    connected = 0;
}

static int on_outside(void *arg, uint64_t address, size_t length, bool write, void **ret_bytes,
                      size_t *ret_length, uint64_t *ret_cookie)
{
    static uint8_t bytes[8192];

    (void)arg;
    (void)write;
    if (address < OUTSIDE || address - OUTSIDE >= sizeof(bytes))
        return -EFAULT;
    *ret_bytes = bytes + (address - OUTSIDE);
    *ret_length = sizeof(bytes) - (address - OUTSIDE);
    if (*ret_length > length)
        *ret_length = length;
    *ret_cookie = 7;
    outside_open++;
    return 0;
}

static void on_outside_end(void *arg, uint64_t cookie)
{
    (void)arg;
    if (cookie != 7 || outside_open-- <= 0)
        wrong("outside ends that has not begun");
}

static void answer(struct vhost_request *request)
{
    size_t in = vhost_request_in(request), out = vhost_request_out(request), written = 0, offset;
    struct iovec vector[16];
    uint8_t *bytes = calloc(1, BYTES_MAX);

    in = in < BYTES_MAX ? in : BYTES_MAX;
    out = out < BYTES_MAX ? out : BYTES_MAX;
    offset = in % (out + 2);
    if (vhost_access_begin(request) == 0) {
        int count = vhost_vector_in(request, 0, in, vector, 16);

        for (int i = 0; i < count; i++) {
            const volatile uint8_t *from = vector[i].iov_base;

            for (size_t at = 0; at < vector[i].iov_len; at += 512)
                from[at];
            from[vector[i].iov_len - 1];
        }
        count = vhost_vector_out(request, offset, offset < out ? out - offset : 1, vector, 16);
        for (int i = 0; i < count; i++) {
            memset(vector[i].iov_base, 1, 1);
            memset((uint8_t *)vector[i].iov_base + vector[i].iov_len - 1, 1, 1);
        }
        if (vhost_read(request, 0, bytes, in) == 0 && vhost_write(request, 0, bytes, out) == 0)
            written = out;
        if (vhost_access_end(request) < 0)
            written = 0;
    }
    free(bytes);
    vhost_complete(request, written);
}

static void on_request(void *arg, struct vhost_request *request)
{
    bool kept = false;

    (void)arg;
    pthread_mutex_lock(&mutex);
    if (hold && held_count < HELD) {
        held[held_count++] = request;
        kept = true;
    }
    pthread_mutex_unlock(&mutex);
    if (!kept)
        answer(request);
}

static void complete_held(unsigned most)
{
    while (most-- > 0) {
        struct vhost_request *request = NULL;

        pthread_mutex_lock(&mutex);
        if (held_count > 0)
            request = held[--held_count];
        pthread_mutex_unlock(&mutex);
        if (!request)
            return;
        answer(request);
    }
}

static const struct vhost_ops ops = {
    .config = on_config,
    .region = on_region,
    .connected = on_connected,
    .started = on_started,
    .stopped = on_stopped,
    .reset = on_reset,
    .gone = on_gone,
    .request = on_request,
    .outside = on_outside,
    .outside_end = on_outside_end,
};

/* ---- commands -------------------------------------------------------------------------------------- */

static uint64_t number(uint16_t value)
{
    static const uint64_t edges[] = {
        0xffff,
        0x10000,
        INT32_MAX,
        1ull << 31,
        UINT32_MAX,
        1ull << 32,
        INT64_MAX,
        UINT64_MAX,
        UINT64_MAX - 4095,
        VMM_USER,
        VMM_GUEST,
        OUTSIDE,
        REGION,
        VMM_GUEST + REGION,
        VMM_GUEST + 2 * REGION,
        VMM_USER + REGION,
        4096,
        1024,
    };
    uint64_t x = value & 0x1fff;

    switch (value >> 13) {
    case 0:
        return x;
    case 1:
        return VMM_GUEST + VMM_BUFFERS + x * 16;
    case 2:
        return VMM_GUEST + x * 64;
    case 3:
        return VMM_USER + x * 64;
    case 4:
        return edges[x % (sizeof(edges) / sizeof(edges[0]))];
    case 5:
        return edges[x % (sizeof(edges) / sizeof(edges[0]))] + (x >> 6) - 64;
    case 6:
        return UINT64_MAX - x;
    default:
        return x % 16;
    }
}

static int pick_fd(unsigned which)
{
    const int fds[] = {
        vmm.memfd,
        vmm.queue[which / 12 % VMM_QUEUES].kick,
        vmm.queue[which / 12 % VMM_QUEUES].call,
        vmm.queue[which / 12 % VMM_QUEUES].err,
        vmm.fd,
        vmm.channel,
        null_fd,
        folder_fd,
        short_fd,
        sealed_fd,
        vmm.memfd,
        STDERR_FILENO,
    };
    int fd = fds[which % 12];

    return fd >= 0 ? fd : null_fd;
}

/* What comes back is thrown away; a little time for the other side. */
static void drain(int ms)
{
    struct pollfd polled = { .fd = vmm.fd, .events = POLLIN };
    char bytes[4096];

    if (vmm.fd < 0 || poll(&polled, 1, ms) <= 0)
        return;
    ssize_t got = recv(vmm.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    while (got > 0)
        got = recv(vmm.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
}

static void send_message(const struct command *command)
{
    static const uint8_t known[] = { 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13,
                                     14, 15, 16, 17, 18, 21, 24, 25, 34, 44, 36, 37, 38 };
    static const uint16_t sizes[] = { 8, 0, 8, 40, 12, 72, 56, 268, 264, 16, 104 };
    uint32_t request = command->kind & 0x80 ? (uint32_t)number(command->number[0])
                                            : known[command->kind % sizeof(known)];
    uint32_t flags = command->fds & 0x80
                         ? (uint32_t)number(command->number[1])
                         : VHOST_USER_VERSION | (command->fds & 0x40 ? VHOST_USER_NEED_REPLY : 0);
    uint32_t size = sizes[command->index / 8 % (sizeof(sizes) / sizeof(sizes[0]))];
    unsigned count = command->fds % 16 < 12 ? command->fds % 4 : command->fds % 16;
    union {
        uint64_t word[64];
        struct vhost_user_vring_addr addr;
        struct vhost_user_config config;
        struct vhost_user_slot slot;
    } payload = { .word = { 0 } };
    struct vhost_user_memory table;
    int fds[16];

    for (unsigned i = 0; i < 6; i++)
        payload.word[i] = number(command->number[i]);
    switch (request) {
    case VHOST_USER_SET_VRING_ADDR:
        payload.addr.index = command->index % 8;
        payload.addr.flags = 0;
        size = 40;
        break;
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
        payload.word[0] = command->index % 8u | (command->number[0] & 0x100);
        size = 8;
        break;
    case VHOST_USER_SET_VRING_NUM:
    case VHOST_USER_SET_VRING_BASE:
    case VHOST_USER_GET_VRING_BASE:
    case VHOST_USER_SET_VRING_ENABLE:
        payload.word[0] = command->index % 8u | (uint64_t)(command->number[0] % 300) << 32;
        size = 8;
        break;
    case VHOST_USER_ADD_MEM_REG:
    case VHOST_USER_REM_MEM_REG:
        vmm_memory_table(&vmm, &table);
        payload.slot.region = table.regions[command->index & 1];
        if (command->index & 2) /* another one, behind these */
            payload.slot.region.guest_address += vmm.region * 2 * (1 + command->number[0] % 40);
        if (command->index & 4)
            payload.slot.region.size = number(command->number[1]);
        size = 40;
        count = command->index & 8 ? count : request == VHOST_USER_ADD_MEM_REG;
        break;
    case VHOST_USER_GET_CONFIG:
    case VHOST_USER_SET_CONFIG:
        payload.config.offset = command->number[0] % 300;
        payload.config.size = command->number[1] % 300;
        size = 12 + command->number[2] % 270;
        break;
    case VHOST_USER_SET_FEATURES:
    case VHOST_USER_SET_PROTOCOL_FEATURES:
        if (command->index & 1)
            payload.word[0] = VMM_FEATURES | (command->number[0] & 1 ? VIRTIO_F_EVENT_IDX : 0);
        size = 8;
        break;
    default:
        break;
    }
    if (command->index == 0xff)
        size = command->number[5] % sizeof(payload);
    for (unsigned i = 0; i < count; i++)
        fds[i] = pick_fd(command->number[i % 6] + i);
    vmm_send(&vmm, request, flags, &payload, size, fds, count);
    if (command->index == 0xfe) /* and less than it says, or more */
        (void)send(vmm.fd, &payload, command->number[4] % 200, MSG_NOSIGNAL | MSG_DONTWAIT);
    drain(1);
}

static void send_memory(const struct command *command)
{
    struct vhost_user_memory table;
    uint64_t *word = (uint64_t *)table.regions;
    int fds[8];
    unsigned count = command->fds % 8 ? 2 : command->index % 9;
    bool cut = command->kind & 8;

    vmm_memory_table(&vmm, &table);
    for (unsigned i = 2; i < VHOST_USER_REGIONS_MAX; i++)
        table.regions[i] = (struct vhost_user_region){ .guest_address = 1ull << (33 + i),
                                                       .size = 4096,
                                                       .user_address = 1ull << (33 + i) };
    if (cut) { /* right, with ends in the middle of a page, and a beginning */
        uint64_t end = command->number[4] % 64, begin = command->number[5] % 64;

        table.regions[0].size -= end;
        table.regions[1].size -= end + begin;
        table.regions[1].guest_address += begin;
        table.regions[1].user_address += begin;
        table.regions[1].fd_offset += begin;
    }
    for (unsigned i = 0; i < 3; i++)
        if (!cut && command->kind & 1u << i)
            word[command->number[2 * i] % 12] = number(command->number[2 * i + 1]);
    table.count = command->kind & 0x80 ? (uint32_t)number(command->number[0]) : count;
    for (unsigned i = 0; i < count && i < 8; i++)
        fds[i] = !cut && command->kind & 0x40 ? pick_fd(command->number[i % 6]) : vmm.memfd;
    vmm_send(&vmm, VHOST_USER_SET_MEM_TABLE,
             VHOST_USER_VERSION | (command->fds & 0x40 ? VHOST_USER_NEED_REPLY : 0), &table,
             8 + (count < 8 ? count : 8) * sizeof(table.regions[0]), fds, count < 8 ? count : 8);
    drain(1);
}

static void put_desc(const struct command *command, bool indirect)
{
    unsigned index = command->index % VMM_QUEUES;
    struct vring_desc desc = {
        .address = le64_make(number(command->number[0])),
        .length = le32_make((uint32_t)number(command->number[1])),
        .flags = le16_make(command->kind & 7),
        .next = le16_make(
            (uint16_t)(command->fds & 0x80 ? number(command->number[3]) : command->number[3] % 8)),
    };

    if (command->kind & VRING_DESC_INDIRECT) {
        desc.address = le64_make(VMM_GUEST + VMM_BUFFERS + index * 256u);
        desc.length = le32_make(16u * (command->number[1] % 9) + (command->number[1] > 60000));
    }
    if (indirect)
        memcpy(vmm_at(&vmm, VMM_GUEST + VMM_BUFFERS + index * 256u + command->fds % 8 * 16u), &desc,
               sizeof(desc));
    else
        vmm.queue[index].desc[command->fds % 8] = desc;
}

/* A buffer; half of them lie at an edge of a region. */
static void put_buffer(unsigned index, uint16_t desc, const uint16_t *numbers, uint16_t flags)
{
    uint64_t edge = VMM_GUEST + numbers[0] % 3 * REGION, length = numbers[1] >> numbers[1] % 16;

    vmm_desc(&vmm, index, desc,
             numbers[0] & 0x8000 ? edge + numbers[0] / 3 % 256 - 128 : number(numbers[0]),
             (uint32_t)length, flags, desc + 1);
}

/* What a driver does: one buffer each way, or either. */
static void put_request(const struct command *command)
{
    unsigned index = command->index % VMM_QUEUES;
    uint16_t head = command->fds % 4 * 2;

    put_buffer(index, head, command->number, command->kind & 3 ? VRING_DESC_NEXT : 0);
    put_buffer(index, head + 1, command->number + 2, VRING_DESC_WRITE);
    vmm_avail(&vmm, index, (command->kind & 3) == 3 ? head + 1 : head);
    vmm_kick(&vmm, index);
}

static void *map_run(void *arg)
{
    const struct command *command = arg;
    uint64_t deadline = clock_now() + 30 * 1000 * 1000;
    uint64_t offset = command->number[0] % 4 * (2ull << 20);

    if (command->kind & 1)
        (void)vhost_shm_unmap(device, offset, 2ull << 20, deadline);
    else
        (void)vhost_shm_map(device, vmm.memfd, 0, offset, 2ull << 20, true, deadline);
    return NULL;
}

static void map_join(void)
{
    if (mapping)
        pthread_join(mapper, NULL);
    mapping = false;
}

static void run(const struct command *command)
{
    static struct command mapped;
    unsigned index = command->index % VMM_QUEUES;

    switch (command->what % WHATS) {
    case WHAT_MESSAGE:
    case WHAT_MESSAGE_2:
        send_message(command);
        break;
    case WHAT_MEMORY:
        send_memory(command);
        break;
    case WHAT_START:
        drain(0);
        (void)vmm_start(&vmm, VMM_FEATURES | (command->kind & 1 ? VIRTIO_F_EVENT_IDX : 0), 8);
        break;
    case WHAT_QUEUE:
        drain(0);
        (void)vmm_queue_start(&vmm, index, command->kind & 1 ? 16 : 8,
                              command->kind & 2 ? command->number[0] : 0);
        break;
    case WHAT_STOP:
        drain(0);
        (void)vmm_queue_stop(&vmm, index);
        break;
    case WHAT_DESC:
    case WHAT_DESC_2:
        put_desc(command, false);
        break;
    case WHAT_INDIRECT:
        put_desc(command, true);
        break;
    case WHAT_AVAIL:
        vmm_avail(&vmm, index, command->fds & 0x80 ? command->number[0] : command->number[0] % 8);
        if (command->kind & 1)
            vmm_kick(&vmm, index);
        break;
    case WHAT_BYTES:
        /* Within one region: behind the first one the file ends. */
        memset(vmm_at(&vmm, VMM_GUEST + command->number[0] * 64u % (REGION - 256)), command->kind,
               command->number[1] % 256);
        break;
    case WHAT_KICK:
        vmm_kick(&vmm, index);
        if (command->kind & 1)
            usleep(command->number[0] % 256);
        break;
    case WHAT_CUT:
        /* Ours is not touched while it is short. */
        if (command->kind % 4 == 0) {
            if (ftruncate(vmm.memfd, command->number[0] % 8 * (REGION / 4)) < 0)
                err(2, "ftruncate");
            vmm_kick(&vmm, index);
            usleep(command->number[1] % 512);
            if (ftruncate(vmm.memfd, 2 * REGION) < 0)
                err(2, "ftruncate");
        }
        break;
    case WHAT_HOLD:
        hold = command->kind & 1;
        break;
    case WHAT_COMPLETE:
        complete_held(command->kind % 8);
        break;
    case WHAT_MAP:
        map_join();
        mapped = *command;
        mapping = pthread_create(&mapper, NULL, map_run, &mapped) == 0;
        break;
    case WHAT_ANSWER:
        (void)vmm_channel_answer(vmm.channel, command->kind % VMM_ANSWERS, mapping ? 5 : 0, NULL,
                                 NULL);
        break;
    case WHAT_DRAIN:
        drain(1 + command->kind % 4);
        break;
    case WHAT_REQUEST:
        put_request(command);
        break;
    default:
        if (command->kind % 8 == 0)
            vhost_device_drop(device, "the fuzzer says so");
        break;
    }
}

/* ---- an input -------------------------------------------------------------------------------------- */

static unsigned open_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

/* One for all inputs: to end one takes the kernel longer than most inputs do. */
static aio_context_t signals;

int __real_vhost_signals_start(struct vhost_signals *new);
int __wrap_vhost_signals_start(struct vhost_signals *new);
void __wrap_vhost_signals_destroy(struct vhost_signals *old);

int __wrap_vhost_signals_start(struct vhost_signals *new)
{
    int error = signals ? 0 : __real_vhost_signals_start(new);

    if (!error && !signals)
        signals = new->context;
    new->context = signals;
    return error;
}

void __wrap_vhost_signals_destroy(struct vhost_signals *old)
{
    close(old->null);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct vhost_options options = {
        .group = (gid_t)-1, .name = "fuzz", .queues = VMM_QUEUES, .ops = &ops
    };
    unsigned before = open_fds();
    int mapped_before = neighbours_mapped();
    struct command command;
    int pair[2];

    if (size == 0)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        err(2, "socketpair");
    vmm.fd = pair[0];
    options.fd = pair[1];
    options.shm_size = input[0] & 1 ? WINDOW : 0;
    options.mem_slots = input[0] & 0x10;
    for (unsigned i = 0; i < VMM_QUEUES; i++)
        vmm_ring_clear(&vmm, i);
    hold = false;
    if (vhost_device_open(&options, &device, NULL) < 0 || vhost_device_start(device) < 0)
        wrong("a device cannot be made");
    if (input[0] & 2)
        (void)vmm_start(&vmm, VMM_FEATURES | (input[0] & 4 ? VIRTIO_F_EVENT_IDX : 0), 8);
    for (size_t at = 1; at + sizeof(command) <= size; at += sizeof(command)) {
        memcpy(&command, input + at, sizeof(command));
        run(&command);
    }
    if (input[0] & 8) /* the VMM is gone first */
        vmm_disconnect(&vmm);
    map_join();
    vhost_device_stop(device);
    if (connected || started)
        wrong("the end is not told");
    complete_held(HELD);
    vhost_device_close(device);
    vmm_disconnect(&vmm);
    if (outside_open != 0)
        wrong("outside is open for ever");
    if (neighbours_mapped() != mapped_before)
        wrong("guest memory is mapped for ever");
    /* One that came through the socket last is closed with it. */
    if (open_fds() != before)
        wrong("a descriptor is left open");
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_open("fuzz_vhost", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    if (!getenv("FUZZ_SAY"))
        log_set_level((enum log_level)(LOG_LEVEL_ERROR - 1));
    vmm_open(&vmm, REGION);
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    folder_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    short_fd = memfd_create("short", MFD_CLOEXEC);
    sealed_fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (null_fd < 0 || folder_fd < 0 || short_fd < 0 || sealed_fd < 0 ||
        ftruncate(short_fd, 100) < 0 || ftruncate(sealed_fd, 2 * REGION) < 0 ||
        fcntl(sealed_fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) < 0)
        err(2, "descriptors");
    return 0;
}

/* ---- inputs ---------------------------------------------------------------------------------------- */

static uint64_t mutator_state;

static uint32_t dice(uint32_t sides)
{
    mutator_state = mutator_state * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(mutator_state >> 33) % sides;
}

static struct command random_command(void)
{
    struct command command = { .what = (uint8_t)(dice(4) ? dice(WHATS) : WHAT_REQUEST),
                               .index = (uint8_t)(dice(3) ? dice(8) : dice(256)),
                               .kind = (uint8_t)dice(dice(3) ? 128 : 256),
                               .fds = (uint8_t)(dice(3) ? dice(128) : dice(256)) };

    for (unsigned i = 0; i < 6; i++)
        command.number[i] = (uint16_t)(dice(2) ? dice(65536) : 1u << 13 | dice(2048));
    return command;
}

size_t LLVMFuzzerCustomMutator(uint8_t *input, size_t size, size_t room, unsigned seed)
{
    struct command command;
    size_t count = size == 0 ? 0 : (size - 1) / sizeof(command), at;

    mutator_state = seed * 0x9e3779b97f4a7c15 + 1;
    dice(2);
    if (room < 1 + sizeof(command))
        return size;
    if (size == 0) {
        input[0] = (uint8_t)dice(32);
        size = 1;
    }
    if (count == 0 || (dice(2) && 1 + (count + 1) * sizeof(command) <= room)) {
        command = random_command();
        at = 1 + dice((uint32_t)count + 1) * sizeof(command);
        memmove(input + at + sizeof(command), input + at, 1 + count * sizeof(command) - at);
        memcpy(input + at, &command, sizeof(command));
        return 1 + (count + 1) * sizeof(command);
    }
    at = 1 + dice((uint32_t)count) * sizeof(command);
    switch (dice(6)) {
    case 0:
        input[0] ^= (uint8_t)(1u << dice(5));
        return size;
    case 1:
        memmove(input + at, input + at + sizeof(command), size - at - sizeof(command));
        return size - sizeof(command);
    case 2:
        LLVMFuzzerMutate(input + at, sizeof(command), sizeof(command));
        return size;
    case 3:
        return LLVMFuzzerMutate(input, size, room);
    default:
        command = random_command();
        memcpy(input + at, &command, sizeof(command));
        return size;
    }
}
