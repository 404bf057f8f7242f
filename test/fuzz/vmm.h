/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VMM and its guest's rings as the fuzzer of the back-end and the hostile guest have them: it never trusts
 * that the other side is still there. What goes wrong is false, not the end of the program.
 *
 * The guest has two regions, one behind the other in its addresses, the other way round in the file.
 */
#ifndef TEST_FUZZ_VMM_H
#define TEST_FUZZ_VMM_H

#include "transport/vhost/protocol.h"

#include <pthread.h>
#include <stdbool.h>

#define VMM_QUEUES 3
#define VMM_GUEST 0x40000000ull
#define VMM_USER 0x7f1200000000ull
#define VMM_RING 0x8000 /* bytes of one */
#define VMM_BUFFERS (VMM_QUEUES * VMM_RING)
#define VMM_SIZE_MAX 256 /* of a ring */
#define VMM_FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VHOST_USER_F_PROTOCOL_FEATURES)

struct vmm_queue {
    uint16_t size, avail_index, last_used;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    int kick, call, err;
};

struct vmm {
    int fd;      /* -1: not connected */
    int channel; /* our end; -1 */
    int memfd;
    uint8_t *memory;
    uint64_t region; /* bytes of one */
    struct vmm_queue queue[VMM_QUEUES];
    uint64_t window; /* bytes, as the device says */
};

void vmm_open(struct vmm *vmm, uint64_t region);
void vmm_close(struct vmm *vmm);
bool vmm_connect(struct vmm *vmm, const char *path);
void vmm_disconnect(struct vmm *vmm);

/* Our address of a guest's; inside the regions. */
void *vmm_at(const struct vmm *vmm, uint64_t guest);
void vmm_memory_table(const struct vmm *vmm, struct vhost_user_memory *table);

/* Never waits: what does not fit in the socket is lost, and so is the connection soon. */
bool vmm_send(struct vmm *vmm, uint32_t request, uint32_t flags, const void *payload, size_t size,
              const int *fds, unsigned fd_count);
/* The next message, thrown away if it is longer than MAX. */
bool vmm_receive(struct vmm *vmm, struct vhost_user_header *header, void *payload, size_t max,
                 int ms);
/* With NEED_REPLY; whether 0 came. */
bool vmm_ask(struct vmm *vmm, uint32_t request, const void *payload, size_t size, const int *fds,
             unsigned fd_count);
bool vmm_get(struct vmm *vmm, uint32_t request, uint64_t *ret_value);

/* As QEMU does it: messages up to a running device. */
bool vmm_handshake(struct vmm *vmm, uint64_t features);
bool vmm_set_memory(struct vmm *vmm);
bool vmm_queue_start(struct vmm *vmm, unsigned index, uint16_t size, uint16_t base);
bool vmm_queue_stop(struct vmm *vmm, unsigned index);
bool vmm_start(struct vmm *vmm, uint64_t features, uint16_t size);

/* The driver's. */
void vmm_ring_clear(struct vmm *vmm, unsigned index);
void vmm_desc(struct vmm *vmm, unsigned index, uint16_t desc, uint64_t address, uint32_t length,
              uint16_t flags, uint16_t next);
void vmm_avail(struct vmm *vmm, unsigned index, uint16_t head);
void vmm_kick(struct vmm *vmm, unsigned index);
/* The next used element within MS. */
bool vmm_used(struct vmm *vmm, unsigned index, int ms, uint32_t *ret_id, uint32_t *ret_length);

/* One request of the back-end's on our channel is answered. */
enum vmm_answer {
    VMM_YES,
    VMM_NO,
    VMM_GARBAGE,
    VMM_NEVER,
    VMM_SHORT,
    VMM_CLOSE,
    VMM_TWICE,
    VMM_ANSWERS
};
/* Whether there was one. *KEEP, unless NULL: the descriptor that came, in place of the one that was there,
 * and *MAP what is to be mapped of it. */
bool vmm_channel_answer(int channel, enum vmm_answer answer, int ms, int *keep,
                        struct vhost_user_shmem_map *map);

#endif
