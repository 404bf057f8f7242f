/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VMM and a guest that mean harm, against a server that runs:
 *
 *   hostile_guest --seconds N [--seed N] SOCKET   every operation with anything wrong in it, rings that lead
 *                                                 nowhere, memory that goes away, windows never answered
 *   hostile_guest --check N SOCKET NAME FILE      a good guest for N seconds: NAME in its root is as FILE
 *
 * It ends with 1 when the server does not take a connection within a time, or when what a good guest reads
 * is not right. What the server says to the hostile one is of no interest.
 */
#include "program.h"
#include "vmm.h"

#include "transport/virtiofs/wire.h"

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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REGION (8u << 20)
#define RING 64
#define SLOTS 16
#define SLOT_SIZE (512u << 10)
#define SLOT_IN (256u << 10)
#define WINDOW_GUEST (1ull << 38)
#define CHUNK (2ull << 20)
#define CONNECT_SECONDS 20

static struct vmm vmm;
static struct program program;
static uint8_t *bytes;
static uint64_t random_state;

/* What is on its way: a slot's request, by the ring's first descriptor. */
static struct {
    bool used;
    unsigned queue;
    uint32_t opcode;
    uint64_t node;
    uint32_t room;
} slots[SLOTS];

static uint64_t requests, answers, sessions, maps;

static uint32_t dice(uint32_t sides)
{
    random_state = random_state * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(random_state >> 33) % sides;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* ---- who answers for the window -------------------------------------------------------------------- */

static struct {
    pthread_t thread;
    pthread_mutex_t mutex;
    bool runs;
    _Atomic bool ends;
    int channel; /* its own descriptor */
    unsigned policy;
    int pool; /* what was sent to be mapped; -1 */
    struct vhost_user_shmem_map map;
} window = { .mutex = PTHREAD_MUTEX_INITIALIZER, .pool = -1 };

enum policy { POLICY_GOOD, POLICY_LATE, POLICY_NEVER, POLICY_ANY, POLICIES };

static void *window_run(void *arg)
{
    unsigned state = window.policy * 7919 + 1;

    (void)arg;
    while (!window.ends) {
        struct pollfd polled = { .fd = window.channel, .events = POLLIN };
        enum vmm_answer answer = VMM_YES;

        if (poll(&polled, 1, 20) <= 0)
            continue;
        if (polled.revents & (POLLHUP | POLLERR))
            break;
        state = state * 1103515245 + 12345;
        if (window.policy == POLICY_NEVER) {
            usleep(20000); /* the channel is not even read */
            continue;
        }
        if (window.policy == POLICY_LATE)
            usleep(state / 65536 % 300000);
        if (window.policy == POLICY_ANY && state / 65536 % 4 == 0)
            answer = state / 262144 % VMM_ANSWERS;
        pthread_mutex_lock(&window.mutex);
        if (vmm_channel_answer(window.channel, answer, 0, &window.pool, &window.map))
            maps++;
        pthread_mutex_unlock(&window.mutex);
    }
    return NULL;
}

static void window_start(unsigned policy)
{
    window.channel = dup(vmm.channel);
    window.policy = policy;
    window.ends = false;
    window.runs =
        window.channel >= 0 && pthread_create(&window.thread, NULL, window_run, NULL) == 0;
}

static void window_stop(void)
{
    if (window.runs) {
        window.ends = true;
        pthread_join(window.thread, NULL);
        close(window.channel);
    }
    window.runs = false;
    if (window.pool >= 0)
        close(window.pool);
    window.pool = -1;
}

/* As QEMU does: a memory table that names what the window shows; or one that lies. */
static void window_tell(void)
{
    struct vhost_user_memory table;
    int fds[3] = { vmm.memfd, vmm.memfd, -1 };

    pthread_mutex_lock(&window.mutex);
    if (window.pool >= 0)
        fds[2] = dup(window.pool);
    vmm_memory_table(&vmm, &table);
    table.regions[2] = (struct vhost_user_region){
        .guest_address = WINDOW_GUEST + window.map.shm_offset,
        .size = window.map.length,
        .user_address = VMM_USER + (1ull << 36) + window.map.shm_offset,
        .fd_offset = window.map.fd_offset,
    };
    pthread_mutex_unlock(&window.mutex);
    if (fds[2] < 0)
        return;
    if (dice(8) == 0)
        ((uint64_t *)&table.regions[2])[dice(4)] ^= 1ull << dice(64);
    table.count = 3;
    (void)vmm_ask(&vmm, VHOST_USER_SET_MEM_TABLE, &table, 8 + 3 * sizeof(table.regions[0]), fds, 3);
    close(fds[2]);
}

/* ---- requests -------------------------------------------------------------------------------------- */

static uint64_t slot_in(unsigned slot)
{
    return VMM_GUEST + REGION + slot * SLOT_SIZE;
}

static void collect(unsigned queue, int ms)
{
    uint32_t id, length;

    while (vmm_used(&vmm, queue, ms, &id, &length)) {
        unsigned slot = id / 4;
        struct fuse_out_header header;

        ms = 0;
        answers++;
        if (slot >= SLOTS || !slots[slot].used || slots[slot].queue != queue)
            continue;
        slots[slot].used = false;
        if (length < sizeof(header) || length > slots[slot].room)
            continue;
        const uint8_t *answer = vmm_at(&vmm, slot_in(slot) + SLOT_IN);
        memcpy(&header, answer, sizeof(header));
        if (header.error == 0)
            program_remember(&program, slots[slot].opcode, slots[slot].node,
                             answer + sizeof(header), length - sizeof(header));
    }
}

static bool free_slot(unsigned *ret_slot)
{
    unsigned first = dice(SLOTS);

    for (unsigned i = 0; i < SLOTS; i++)
        if (!slots[(first + i) % SLOTS].used) {
            *ret_slot = (first + i) % SLOTS;
            return true;
        }
    return false;
}

/* Anything wrong with the four descriptors of a slot. */
static void chain_break(unsigned queue, uint16_t first)
{
    struct vring_desc *desc = &vmm.queue[queue].desc[first + dice(2)];

    switch (dice(6)) {
    case 0: /* a loop */
        desc->flags = le16_make(le16_get(desc->flags) | VRING_DESC_NEXT);
        desc->next = le16_make(first);
        break;
    case 1: /* outside */
        desc->address =
            le64_make(dice(2) ? UINT64_MAX - dice(8192) : (uint64_t)dice(1u << 30) << 8);
        break;
    case 2:
        desc->length = le32_make(dice(2) ? UINT32_MAX - dice(16) : dice(64));
        break;
    case 3:
        desc->flags = le16_make((uint16_t)dice(16));
        break;
    case 4:
        desc->next = le16_make((uint16_t)dice(65536));
        desc->flags = le16_make(le16_get(desc->flags) | VRING_DESC_NEXT);
        break;
    default: /* answers into the window, or bytes out of it */
        desc->address = le64_make(WINDOW_GUEST + dice(64) * (CHUNK / 4));
        break;
    }
}

static void send_bytes(const struct program_request *request, unsigned queue, bool broken)
{
    uint16_t first;
    uint32_t in = request->size < SLOT_IN ? (uint32_t)request->size : SLOT_IN;
    uint32_t room = request->room < SLOT_IN ? (uint32_t)request->room : SLOT_IN;
    unsigned slot;

    if (!free_slot(&slot))
        return;
    first = (uint16_t)(slot * 4);
    memcpy(vmm_at(&vmm, slot_in(slot)), request->bytes, in);
    slots[slot].used = true;
    slots[slot].queue = queue;
    slots[slot].opcode = request->opcode;
    slots[slot].node = request->node;
    slots[slot].room = room;
    if (request->piece && in > 40) {
        uint32_t part = 1 + dice(in - 1);

        vmm_desc(&vmm, queue, first, slot_in(slot), part, VRING_DESC_NEXT, (uint16_t)(first + 1));
        vmm_desc(&vmm, queue, (uint16_t)(first + 1), slot_in(slot) + part, in - part,
                 VRING_DESC_NEXT, (uint16_t)(first + 2));
    } else {
        vmm_desc(&vmm, queue, first, slot_in(slot), in, room ? VRING_DESC_NEXT : 0,
                 (uint16_t)(first + 2));
    }
    vmm_desc(&vmm, queue, (uint16_t)(first + 2), slot_in(slot) + SLOT_IN, room, VRING_DESC_WRITE,
             0);
    if (broken)
        chain_break(queue, first);
    vmm_avail(&vmm, queue, dice(200) ? first : (uint16_t)dice(65536));
    vmm_kick(&vmm, queue);
    requests++;
}

static void send_command(const struct program_command *command, unsigned queue)
{
    struct program_request request = { .bytes = bytes };

    program_request(&program, command, &request);
    send_bytes(&request, queue, command->how & (HOW_BREAK_IN | HOW_BREAK_OUT));
}

static bool queue_broken(unsigned queue)
{
    struct pollfd polled = { .fd = vmm.queue[queue].err, .events = POLLIN };
    uint64_t value;

    return poll(&polled, 1, 0) == 1 &&
           read(vmm.queue[queue].err, &value, sizeof(value)) == sizeof(value);
}

static bool queue_again(unsigned queue, bool from_start)
{
    uint16_t base;

    if (!vmm_queue_stop(&vmm, queue))
        return false;
    if (from_start) {
        vmm_ring_clear(&vmm, queue);
        for (unsigned i = 0; i < SLOTS; i++)
            slots[i].used &= slots[i].queue != queue;
    }
    base = from_start ? 0 : vmm.queue[queue].avail_index;
    return vmm_queue_start(&vmm, queue, RING, base);
}

/* ---- a session ------------------------------------------------------------------------------------- */

static bool reach(const char *path)
{
    for (double until = now() + CONNECT_SECONDS; now() < until; usleep(10000))
        if (vmm_connect(&vmm, path))
            return true;
    return false;
}

static void anything(void)
{
    uint8_t payload[300];
    uint32_t size = dice(sizeof(payload));
    int fds[4] = { vmm.memfd, vmm.queue[0].kick, vmm.queue[1].call, vmm.fd };

    for (unsigned i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(dice(3) ? 0 : dice(256));
    (void)vmm_send(&vmm, dice(8) ? dice(50) : dice(1u << 30),
                   VHOST_USER_VERSION | (dice(2) ? VHOST_USER_NEED_REPLY : 0), payload, size, fds,
                   dice(5));
}

/* Whether the connection still is of use. */
static bool one_step(void)
{
    struct program_command command = program_random(dice, 1);
    unsigned queue = dice(16) ? 1 + dice(VMM_QUEUES - 1) : 0;

    switch (dice(160)) {
    case 0:
        return queue_again(queue, true);
    case 1: /* in the middle of what goes on, and on with it */
        return queue_again(queue, false);
    case 2:
        anything();
        return true;
    case 3:
        return vmm_set_memory(&vmm);
    case 4: /* memory that is not there any more */
        if (ftruncate(vmm.memfd, dice(8) * (REGION / 4)) < 0)
            err(2, "ftruncate");
        usleep(dice(3000));
        if (ftruncate(vmm.memfd, 2 * REGION) < 0)
            err(2, "ftruncate");
        return false;
    case 5:
        (void)vmm_send(&vmm, VHOST_USER_RESET_DEVICE, VHOST_USER_VERSION, NULL, 0, NULL, 0);
        return false;
    case 6:
    case 7:
    case 8:
    case 9:
        window_tell();
        return true;
    case 10: /* a storm of unmaps while copies go on */
        for (unsigned i = 0; i < 8; i++) {
            command.what = i % 2 ? FUSE_REMOVEMAPPING : FUSE_READ;
            command.how = i % 2 ? 0 : HOW_BREAK_OUT;
            send_command(&command, 1 + i % 2);
        }
        return true;
    default:
        break;
    }
    if (command.what >= PROGRAM_OPCODES ||
        (dice(8) && (command.what == FUSE_DESTROY || command.what == FUSE_INIT)))
        command.what = FUSE_SETUPMAPPING;
    send_command(&command, queue);
    collect(queue, dice(3) ? 2 : 0);
    if (queue_broken(queue))
        return queue_again(queue, true);
    return true;
}

/* A file in the window, for what follows to go wrong at. */
static void map_something(void)
{
    struct program_command make = { .what = FUSE_CREATE, .name = { 6 }, .number = { 0, 0644 } };
    struct program_command grow = { .what = FUSE_SETATTR,
                                    .number = { 0, 2u << 13 | 8u << 9, 0, 1 } };
    struct program_command map = { .what = FUSE_SETUPMAPPING, .number = { 0, 0, 0, 3 << 3 | 1 } };

    send_command(&make, 1);
    collect(1, 1000);
    grow.node = map.node = (uint8_t)((program.next + PROGRAM_KNOWN - 1) % PROGRAM_KNOWN);
    send_command(&grow, 1);
    collect(1, 1000);
    for (uint16_t i = 0; i < 6; i++) {
        map.number[0] = map.number[2] = (uint16_t)(2u << 13 | i << 9);
        map.number[1] = 1;
        map.number[3] = (uint16_t)(8 * (1 + i % 2) + 1);
        send_command(&map, 1 + i % 2);
    }
}

static void session(unsigned policy, unsigned steps)
{
    struct program_command init = { .what = FUSE_INIT, .number = { 1, 14, 1, 1 } };

    sessions++;
    memset(slots, 0, sizeof(slots));
    if (dice(10) == 0) { /* no handshake at all */
        for (unsigned i = dice(20); i > 0; i--)
            anything();
        usleep(dice(20000));
        return;
    }
    if (!vmm_start(&vmm, VMM_FEATURES | (dice(2) ? VIRTIO_F_EVENT_IDX : 0), RING))
        return;
    window_start(policy);
    if (dice(10)) { /* else requests before INIT */
        send_command(&init, 1);
        collect(1, 3000);
        map_something();
    }
    while (steps-- > 0 && one_step())
        ;
    if (dice(2))
        vmm_disconnect(&vmm);
    window_stop();
}

static void attack(const char *path, double seconds)
{
    double until = now() + seconds;

    program_init(&program, CHUNK);
    while (now() < until) {
        unsigned policy = dice(2) ? POLICY_GOOD : dice(POLICIES);

        if (!reach(path))
            errx(1, "%s: the server does not answer", path);
        session(policy, policy == POLICY_NEVER ? 30 : 20 + dice(800));
        program_forget(&program);
    }
    vmm_disconnect(&vmm);
    printf("%lu sessions, %lu requests, %lu answers, %lu maps\n", (unsigned long)sessions,
           (unsigned long)requests, (unsigned long)answers, (unsigned long)maps);
    if (answers < 10)
        errx(1, "nothing was answered");
}

/* ---- a good one ------------------------------------------------------------------------------------ */

/* The answer's bytes behind its header, of SIZE at most. */
static const void *ask(uint32_t opcode, uint64_t node, const void *fixed, size_t size, size_t room,
                       size_t *ret_size)
{
    static uint64_t unique;
    struct fuse_in_header header = { .len = (uint32_t)(sizeof(header) + size),
                                     .opcode = opcode,
                                     .unique = ++unique,
                                     .nodeid = node };
    struct fuse_out_header out;
    uint32_t id, length;

    memcpy(vmm_at(&vmm, slot_in(0)), &header, sizeof(header));
    memcpy(vmm_at(&vmm, slot_in(0) + sizeof(header)), fixed, size);
    vmm_desc(&vmm, 1, 0, slot_in(0), header.len, VRING_DESC_NEXT, 1);
    vmm_desc(&vmm, 1, 1, slot_in(0) + SLOT_IN, (uint32_t)(sizeof(out) + room), VRING_DESC_WRITE, 0);
    vmm_avail(&vmm, 1, 0);
    vmm_kick(&vmm, 1);
    if (!vmm_used(&vmm, 1, 20000, &id, &length) || length < sizeof(out))
        errx(1, "opcode %u: no answer", opcode);
    memcpy(&out, vmm_at(&vmm, slot_in(0) + SLOT_IN), sizeof(out));
    if (out.error || out.len != length || out.unique != header.unique)
        errx(1, "opcode %u: error %d, %u of %u bytes", opcode, out.error, out.len, length);
    *ret_size = length - sizeof(out);
    return vmm_at(&vmm, slot_in(0) + SLOT_IN + sizeof(out));
}

static void compare(const char *name, const uint8_t *expected, size_t size)
{
    struct fuse_open_in open_in = { .flags = O_RDONLY };
    struct fuse_read_in read_in = { .size = 128u << 10 };
    struct fuse_release_in release = { 0 };
    struct fuse_entry_out entry;
    struct fuse_open_out opened;
    size_t got;

    memcpy(&entry, ask(FUSE_LOOKUP, FUSE_ROOT_ID, name, strlen(name) + 1, sizeof(entry), &got),
           sizeof(entry));
    if (entry.attr.size != size)
        errx(1, "%s: %lu bytes, not %zu", name, (unsigned long)entry.attr.size, size);
    memcpy(&opened, ask(FUSE_OPEN, entry.nodeid, &open_in, sizeof(open_in), sizeof(opened), &got),
           sizeof(opened));
    read_in.fh = release.fh = opened.fh;
    for (size_t at = 0; at < size; at += got) {
        const void *part;

        read_in.offset = at;
        part = ask(FUSE_READ, entry.nodeid, &read_in, sizeof(read_in), read_in.size, &got);
        if (got == 0 || got > size - at || memcmp(part, expected + at, got) != 0)
            errx(1, "%s: not what it was, at %zu", name, at);
    }
    (void)ask(FUSE_RELEASE, entry.nodeid, &release, sizeof(release), 0, &got);
}

static void check(const char *path, double seconds, const char *name, const char *file)
{
    struct fuse_init_in init = { .major = 7, .minor = 38 };
    double until = now() + seconds;
    unsigned rounds = 0;
    struct stat stat;
    size_t got;
    int fd = open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &stat) < 0)
        err(2, "%s", file);
    const uint8_t *expected = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (expected == MAP_FAILED)
        err(2, "%s", file);
    if (!reach(path) || !vmm_start(&vmm, VMM_FEATURES, RING))
        errx(1, "%s: not served", path);
    (void)ask(FUSE_INIT, 0, &init, sizeof(init), sizeof(struct fuse_init_out), &got);
    do {
        compare(name, expected, (size_t)stat.st_size);
        rounds++;
    } while (now() < until);
    vmm_disconnect(&vmm);
    printf("%s: as it was, %u times\n", name, rounds);
}

int main(int argc, char **argv)
{
    double seconds = 10;

    bytes = malloc(PROGRAM_REQUEST_MAX);
    if (!bytes)
        err(2, "memory");
    vmm_open(&vmm, REGION);
    random_state = 1;
    if (argc == 6 && strcmp(argv[1], "--check") == 0) {
        check(argv[3], atof(argv[2]), argv[4], argv[5]);
        return 0;
    }
    for (; argc > 3; argc -= 2, argv += 2)
        if (strcmp(argv[1], "--seconds") == 0)
            seconds = atof(argv[2]);
        else if (strcmp(argv[1], "--seed") == 0)
            random_state = strtoull(argv[2], NULL, 10) * 2 + 1;
        else
            break;
    if (argc != 2)
        errx(2, "usage: hostile_guest [--seconds N] [--seed N] SOCKET");
    attack(argv[1], seconds);
    return 0;
}
