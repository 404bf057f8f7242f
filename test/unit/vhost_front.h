/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The other side of transport/vhost, for its tests: a VMM that says what it is told to, a guest's
 * memory in a memfd, drivers of its queues; and a callee that does something simple with requests.
 * Aborts the test when something that should come does not.
 *
 * The guest has two regions, one behind the other in its addresses, and the other way round in the
 * file.
 */
#ifndef DAXFUSE_TEST_VHOST_FRONT_H
#define DAXFUSE_TEST_VHOST_FRONT_H

#include "transport/vhost/device.h"
#include "transport/vhost/protocol.h"
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>

#define FRONT_REGION (2ull << 20)
#define FRONT_GUEST 0x40000000ull                  /* of the first region */
#define FRONT_USER 0x7f1200000000ull               /* of it in the VMM */
#define FRONT_BUFFERS (FRONT_GUEST + (1ull << 20)) /* behind the rings */
#define FRONT_END (FRONT_GUEST + 2 * FRONT_REGION)
#define FRONT_QUEUES 4
#define FRONT_TIMEOUT_MS 10000
#define FRONT_TAG "front"
#define FRONT_WINDOW (64ull << 20)
#define FRONT_FEATURES \
 (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VHOST_USER_F_PROTOCOL_FEATURES)

/* io_uring_queue_init fails from now on. */
extern bool front_no_uring;

/* ---- the callee -------------------------------------------------------------------------- */

/* What is done with a request: the answer is what came, each byte plus one; or it is kept. */
struct callee {
    struct vhost_device *device;
    struct vhost_ops ops;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool hold;
    struct vhost_request *held[64];
    _Atomic unsigned held_count;
    _Atomic unsigned requests, connected, started, stopped, reset, gone;
    _Atomic int error; /* of the last access */
    /* Answers to `region`; set region_leave_out to the guest address of the one that is left
     * out. */
    _Atomic uint64_t region_leave_out;
    _Atomic int region_error;
    _Atomic unsigned regions;
    /* What `outside` gives: this memory, at guest address 1 << 40. */
    uint8_t outside_bytes[8192];
    _Atomic unsigned outside_open, outside_calls;
};
#define CALLEE_OUTSIDE (1ull << 40)

/* Devices that are started from now on offer memory slots. */
extern bool callee_mem_slots;

/* A device with its socket at *ret_path (malloc'ed), started. */
void callee_start(struct callee *callee, unsigned queues, char *path);
void callee_end(struct callee *callee, const char *path);
/* Until *COUNTER, under the mutex, is at least VALUE. */
void callee_wait(struct callee *callee, const _Atomic unsigned *counter, unsigned value);
/* What request() does to a request that is not held. */
int callee_answer(struct callee *callee, struct vhost_request *request);
void callee_hold(struct callee *callee, bool on);
struct vhost_request *callee_take(struct callee *callee);

/* ---- the VMM ----------------------------------------------------------------------------- */

struct front_queue {
    uint16_t size;
    uint16_t avail_index, last_used;
    uint16_t next_desc;
    uint64_t guest; /* of its ring */
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    int kick, call, err;
};

struct front {
    int fd;
    int memfd;
    uint8_t *memory;
    int channel;      /* our end */
    bool has_barrier; /* SHARED_OBJECT was agreed on; so as it is opened */
    uint64_t features;
    uint64_t buffer; /* next free */
    struct front_queue queues[FRONT_QUEUES];
};

void front_open(struct front *front, const char *path);
void front_close(struct front *front);
/* Only the socket, at once. */
void front_connect(struct front *front, const char *path);

/* Ours of a guest's address. */
void *front_at(struct front *front, uint64_t guest);
uint64_t front_user(uint64_t guest);

void front_send(struct front *front, uint32_t request, uint32_t flags, const void *payload,
                uint32_t size, const int *fds, unsigned fd_count);
/* false: the connection ended. */
bool front_receive(struct front *front, struct vhost_user_header *header, void *payload,
                   size_t max);
/* Sends with NEED_REPLY; the u64 of the answer. */
uint64_t front_ask(struct front *front, uint32_t request, const void *payload, uint32_t size,
                   const int *fds, unsigned fd_count);
uint64_t front_get(struct front *front, uint32_t request);
/* The connection ends within the time limit. */
void front_expect_end(struct front *front);

/* As QEMU does it. */
void front_handshake(struct front *front, uint64_t features);
void front_set_memory(struct front *front);
void front_fill_memory(struct vhost_user_memory *table);
uint64_t front_state(struct front *front, uint32_t request, uint32_t index, uint32_t num);
void front_queue_set_up(struct front *front, unsigned index, uint16_t size, uint16_t base);
void front_queue_enable(struct front *front, unsigned index, bool enable);
uint16_t front_queue_stop(struct front *front, unsigned index);
/* All of it: handshake, memory, COUNT queues of SIZE. */
void front_start(struct front *front, uint64_t features, unsigned count, uint16_t size);

/* What came on the channel, and the barrier behind it; its descriptor, or -1. */
int channel_receive(struct front *front, struct vhost_user_header *header,
                    struct vhost_user_shmem_map *map);
/* The barrier is refused, as by all who have no such object. */
void channel_answer(struct front *front, uint32_t request, uint64_t result);
/* Without one. */
void channel_answer_one(struct front *front, uint32_t request, uint64_t result);

/* ---- the guest --------------------------------------------------------------------------- */

/* What the driver did at a reset: empty rings. */
void guest_ring_clear(struct front *front, unsigned index);
uint64_t guest_buffer(struct front *front, size_t size);
void guest_desc(struct front *front, unsigned index, uint16_t desc, uint64_t address,
                uint32_t length, uint16_t flags, uint16_t next);
/* Makes HEAD available; the index is stored, nothing is kicked. */
void guest_avail(struct front *front, unsigned index, uint16_t head);
void guest_kick(struct front *front, unsigned index);
/* A chain of one readable buffer with TEXT and a writable one of ROOM bytes, at descriptors DESC
 * and DESC + 1. Its writable address. */
uint64_t guest_request(struct front *front, unsigned index, uint16_t desc, const char *text,
                       uint32_t room);
/* The next used element; waits for it. */
struct vring_used_elem guest_used(struct front *front, unsigned index);
bool guest_has_used(struct front *front, unsigned index);
/* A request there and back, that the callee answers. */
void guest_round_trip(struct front *front, unsigned index, uint16_t desc, const char *text);
/* Entry N of an indirect table. */
void guest_indirect(struct front *front, uint64_t table, unsigned n, uint64_t address,
                    uint32_t length, uint16_t flags, uint16_t next);
/* Whether an eventfd is signalled within MS; it is read. */
bool event_wait(int fd, int ms);

/* Linked in place of the library's. */
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);

#endif
