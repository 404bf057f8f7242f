/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rows guest.ring_*: bench_ring SOCKET PID PEER-SOCKET PEER-PID
 *
 * Requests of FUSE in the rings of two vhost-user servers, one at a time, as a guest's driver puts them there,
 * but by this program: what an emulated guest and its VMM take is none of it. Rounds of the two alternate.
 *
 * All of it is on one CPU. On two, each call wakes a CPU that may have gone idle in between, or not: in a virtual
 * machine that is a factor of ten, for both servers, and changes by the second.
 */
#include "bench.h"

#include "../test/fuzz/vmm.h"
#include "transport/virtiofs/wire.h"

#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CPU 0
#define ROUNDS 25
#define CALLS 3000u
#define FILE_SIZE (1u << 20)
#define REGION (1u << 20)
#define HIPRIO 0
#define QUEUE 1
#define RING 128
#define IN (VMM_GUEST + VMM_BUFFERS) /* the request, and behind it the room for its answer */
#define OUT (IN + 0x4000)
#define FORGETS (IN + 0x8000)
#define ANSWER_MS 5000

struct server {
    struct vmm vmm;
    const char *path, *pid;
    uint64_t unique, node, handle;
    uint16_t forgets;
    char name[32];
};

static void put(struct server *server, uint64_t at, uint32_t opcode, uint64_t node,
                const void *fixed, size_t size, const void *more, size_t more_size)
{
    struct fuse_in_header header = { .len = (uint32_t)(sizeof(header) + size + more_size),
                                     .opcode = opcode,
                                     .unique = ++server->unique,
                                     .nodeid = node,
                                     .pid = 1 };
    uint8_t *bytes = vmm_at(&server->vmm, at);

    memcpy(bytes, &header, sizeof(header));
    if (size)
        memcpy(bytes + sizeof(header), fixed, size);
    if (more_size)
        memcpy(bytes + sizeof(header) + size, more, more_size);
}

/* Waits as a guest does that has nothing else to run. */
static void wait_used(struct server *server)
{
    struct vmm_queue *queue = &server->vmm.queue[QUEUE];
    uint32_t id, length;
    uint64_t value;

    while (__atomic_load_n(&queue->used->index.raw, __ATOMIC_SEQ_CST) == queue->last_used) {
        struct pollfd polled = { .fd = queue->call, .events = POLLIN };

        if (poll(&polled, 1, ANSWER_MS) != 1)
            errx(2, "%s: no answer", server->path);
        if (read(queue->call, &value, sizeof(value)) < 0)
            continue;
    }
    if (!vmm_used(&server->vmm, QUEUE, 0, &id, &length))
        errx(2, "%s: gone", server->path);
}

/* The answer, ROOM bytes at most. */
static const void *ask(struct server *server, uint32_t opcode, uint64_t node, const void *fixed,
                       size_t size, const void *more, size_t more_size, size_t room)
{
    const struct fuse_out_header *answer = vmm_at(&server->vmm, OUT);
    struct fuse_in_header *header = vmm_at(&server->vmm, IN);

    put(server, IN, opcode, node, fixed, size, more, more_size);
    vmm_desc(&server->vmm, QUEUE, 0, IN, header->len, VRING_DESC_NEXT, 1);
    vmm_desc(&server->vmm, QUEUE, 1, OUT, (uint32_t)(sizeof(*answer) + room), VRING_DESC_WRITE, 0);
    vmm_avail(&server->vmm, QUEUE, 0);
    vmm_kick(&server->vmm, QUEUE);
    wait_used(server);
    if (answer->error)
        errx(2, "%s: request %u: %s", server->path, opcode, strerror(-answer->error));
    return answer + 1;
}

static void forget(struct server *server)
{
    const struct fuse_forget_in in = { .nlookup = 1 };
    uint16_t slot = server->forgets++ % RING;
    uint32_t id, length;

    while (slot == 0 && server->forgets > 1 && vmm_used(&server->vmm, HIPRIO, 0, &id, &length))
        ;
    put(server, FORGETS + slot * 64u, FUSE_FORGET, server->node, &in, sizeof(in), NULL, 0);
    vmm_desc(&server->vmm, HIPRIO, slot, FORGETS + slot * 64u,
             sizeof(struct fuse_in_header) + sizeof(in), 0, 0);
    vmm_avail(&server->vmm, HIPRIO, slot);
    vmm_kick(&server->vmm, HIPRIO);
}

static void begin(struct server *server)
{
    const struct fuse_init_in init = { .major = 7, .minor = 38, .max_readahead = 1u << 17 };
    const struct fuse_create_in create = { .flags = O_RDWR, .mode = S_IFREG | 0644 };
    struct fuse_write_in write_in = { .size = BENCH_BLOCK };
    static uint8_t block[BENCH_BLOCK];
    const struct fuse_entry_out *entry;

    vmm_open(&server->vmm, REGION);
    if (!vmm_connect(&server->vmm, server->path) || !vmm_handshake(&server->vmm, VMM_FEATURES) ||
        !vmm_set_memory(&server->vmm) || !vmm_queue_start(&server->vmm, HIPRIO, RING, 0) ||
        !vmm_queue_start(&server->vmm, QUEUE, RING, 0))
        errx(2, "%s: it is not served", server->path);
    ask(server, FUSE_INIT, 0, &init, sizeof(init), NULL, 0, sizeof(struct fuse_init_out));
    snprintf(server->name, sizeof(server->name), "ring%d", getpid());
    entry =
        ask(server, FUSE_CREATE, FUSE_ROOT_ID, &create, sizeof(create), server->name,
            strlen(server->name) + 1, sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
    server->node = entry->nodeid;
    server->handle = ((const struct fuse_open_out *)(entry + 1))->fh;
    write_in.fh = server->handle;
    for (; write_in.offset < FILE_SIZE; write_in.offset += BENCH_BLOCK)
        ask(server, FUSE_WRITE, server->node, &write_in, sizeof(write_in), block, sizeof(block),
            sizeof(struct fuse_write_out));
}

static void read_random(struct server *server, uint64_t *state)
{
    const struct fuse_read_in in = { .fh = server->handle,
                                     .size = BENCH_BLOCK,
                                     .offset = bench_random(state) % (FILE_SIZE / BENCH_BLOCK) *
                                               BENCH_BLOCK };

    ask(server, FUSE_READ, server->node, &in, sizeof(in), NULL, 0, BENCH_BLOCK);
}

/* As stat(2) in a guest that keeps nothing. */
static void look_up(struct server *server, uint64_t *state)
{
    const struct fuse_getattr_in in = { 0 };

    (void)state;
    ask(server, FUSE_LOOKUP, FUSE_ROOT_ID, NULL, 0, server->name, strlen(server->name) + 1,
        sizeof(struct fuse_entry_out));
    forget(server);
    ask(server, FUSE_GETATTR, server->node, &in, sizeof(in), NULL, 0, sizeof(struct fuse_attr_out));
}

/* What is done with each thread of the server is summed up. */
static double threads_walk(const struct server *server, double (*thread)(const char *number))
{
    char path[64];
    struct dirent *entry;
    double sum = 0;

    snprintf(path, sizeof(path), "/proc/%s/task", server->pid);
    DIR *folder = opendir(path);
    if (!folder)
        err(2, "%s", path);
    while ((entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.')
            sum += thread(entry->d_name);
    closedir(folder);
    return sum;
}

/* Seconds that it ran. */
static double thread_time(const char *number)
{
    char path[64];
    unsigned long long time = 0;

    snprintf(path, sizeof(path), "/proc/%.16s/schedstat", number);
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%llu", &time) != 1)
        errx(2, "%s: cannot be read", path);
    fclose(file);
    return (double)time / 1e9;
}

/* Those that it makes come to the same CPU. */
static double thread_pin(const char *number)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(CPU, &set);
    must_system(sched_setaffinity(atoi(number), sizeof(set), &set), "sched_setaffinity");
    return 0;
}

static void round_of(struct server *server, void (*call)(struct server *, uint64_t *),
                     struct series *rate, struct series *cost)
{
    double start = bench_now(), before = threads_walk(server, thread_time);
    uint64_t state = 1;

    for (unsigned i = 0; i < CALLS; i++)
        call(server, &state);
    series_add(rate, CALLS / (bench_now() - start));
    series_add(cost, (threads_walk(server, thread_time) - before) / CALLS);
}

int main(int argc, char **argv)
{
    struct series rate[2] = { 0 }, cost[2] = { 0 }, stats[2] = { 0 }, unused = { 0 };
    static struct server servers[2];

    if (argc != 5)
        errx(2, "usage: bench_ring SOCKET PID PEER-SOCKET PEER-PID");
    bench_pin(CPU);
    for (unsigned i = 0; i < 2; i++) {
        servers[i].path = argv[1 + 2 * i];
        servers[i].pid = argv[2 + 2 * i];
        threads_walk(&servers[i], thread_pin);
        begin(&servers[i]);
    }
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < 2; i++) {
            round_of(&servers[i], read_random, &rate[i], &cost[i]);
            unused.count = 0;
            round_of(&servers[i], look_up, &stats[i], &unused);
        }
    row_ratio("guest.ring_read4k", &rate[0], &rate[1], NULL);
    row_ratio("guest.ring_stat", &stats[0], &stats[1], NULL);
    row_ratio("guest.ring_cpu", &cost[0], &cost[1], NULL);
    for (unsigned i = 0; i < 2; i++)
        vmm_close(&servers[i].vmm);
    return 0;
}
