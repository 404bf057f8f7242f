/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The vhost-user wire and the split virtqueue as they lie in memory: numbers and layouts, no
 * functions.
 *
 * Source: QEMU's docs/interop/vhost-user, "Vhost-user Protocol"; OASIS virtio 1.3, 2.7 "Split
 * Virtqueues". Both sides are on one host: the socket's messages are in its byte order. The ring is
 * little-endian.
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_PROTOCOL_H
#define DAXFUSE_TRANSPORT_VHOST_PROTOCOL_H

#include "base/endian.h"
#include <stddef.h>
#include <stdint.h>

/* ---- features ---------------------------------------------------------------------------- */

#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VHOST_USER_F_PROTOCOL_FEATURES (1ull << 30)
#define VIRTIO_F_VERSION_1 (1ull << 32)

#define VHOST_USER_PROTOCOL_F_MQ (1ull << 0)
#define VHOST_USER_PROTOCOL_F_REPLY_ACK (1ull << 3)
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ (1ull << 5)
#define VHOST_USER_PROTOCOL_F_CONFIG (1ull << 9)
#define VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD (1ull << 10)
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE (1ull << 13)
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS (1ull << 15)
#define VHOST_USER_PROTOCOL_F_SHARED_OBJECT (1ull << 18)
#define VHOST_USER_PROTOCOL_F_SHMEM (1ull << 22)

/*
 * What we offer. Not: LOG_SHMFD and VHOST_F_LOG_ALL, so that nobody migrates; STATUS, as QEMU sets
 * it to 0 also when a guest is only paused. RESET_DEVICE is what tells a reset from a pause, where
 * a VMM sends it; QEMU's generic device does not (backend.c). If asked to: CONFIGURE_MEM_SLOTS,
 * without which QEMU 11.1 does not start a device with more than a few pieces in its window again,
 * and with which it ends the VM at 512 of them. With a window: SHMEM, and SHARED_OBJECT, of which
 * we have none, for channel.h.
 */
#define VHOST_FEATURES \
 (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VHOST_USER_F_PROTOCOL_FEATURES)
#define VHOST_PROTOCOL_FEATURES                                                                    \
 (VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_REPLY_ACK | VHOST_USER_PROTOCOL_F_BACKEND_REQ | \
  VHOST_USER_PROTOCOL_F_CONFIG | VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD |                           \
  VHOST_USER_PROTOCOL_F_RESET_DEVICE)

/* ---- messages ---------------------------------------------------------------------------- */

enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_LOG_BASE = 6,
    VHOST_USER_SET_LOG_FD = 7,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_SET_BACKEND_REQ_FD = 21,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
    VHOST_USER_RESET_DEVICE = 34,
    VHOST_USER_GET_MAX_MEM_SLOTS = 36,
    VHOST_USER_ADD_MEM_REG = 37,
    VHOST_USER_REM_MEM_REG = 38,
    VHOST_USER_GET_SHMEM_CONFIG = 44,
    VHOST_USER_REQUESTS
};

/* On the back-end's own channel. */
enum vhost_user_backend_request {
    VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE = 7,
    VHOST_USER_BACKEND_SHMEM_MAP = 9,
    VHOST_USER_BACKEND_SHMEM_UNMAP = 10,
};

#define VHOST_USER_VERSION 1u
#define VHOST_USER_VERSION_MASK 3u
#define VHOST_USER_REPLY (1u << 2)
#define VHOST_USER_NEED_REPLY (1u << 3)

#define VHOST_USER_FDS_MAX 8
#define VHOST_USER_REGIONS_MAX 8
#define VHOST_USER_CONFIG_MAX 256
#define VHOST_USER_SHMEM_MAX 256

/* In the u64 of SET_VRING_KICK, _CALL, _ERR. */
#define VHOST_USER_VRING_INDEX_MASK 0xffu
#define VHOST_USER_VRING_NO_FD (1u << 8)

struct vhost_user_header {
    uint32_t request;
    uint32_t flags;
    uint32_t size; /* of what follows */
};

struct vhost_user_vring_state {
    uint32_t index;
    uint32_t num;
};

struct vhost_user_vring_addr {
    uint32_t index;
    uint32_t flags; /* bit 0: log writes */
    uint64_t desc;  /* the VMM's addresses */
    uint64_t used;
    uint64_t avail;
    uint64_t log;
};

struct vhost_user_region {
    uint64_t guest_address;
    uint64_t size;
    uint64_t user_address;
    uint64_t fd_offset;
};

struct vhost_user_memory {
    uint32_t count;
    uint32_t padding;
    struct vhost_user_region regions[VHOST_USER_REGIONS_MAX];
};

/* One of them, added or removed. */
struct vhost_user_slot {
    uint64_t padding;
    struct vhost_user_region region;
};

struct vhost_user_config {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    uint8_t bytes[VHOST_USER_CONFIG_MAX];
};

struct vhost_user_shmem_config {
    uint32_t count; /* of sizes that are not 0 */
    uint32_t padding;
    uint64_t sizes[VHOST_USER_SHMEM_MAX]; /* by id */
};

#define VHOST_USER_MAP_WRITABLE 1u

struct vhost_user_shmem_map {
    uint8_t id;
    uint8_t padding[7];
    uint64_t fd_offset;
    uint64_t shm_offset;
    uint64_t length;
    uint64_t flags;
};

struct vhost_user_shared_object {
    uint8_t uuid[16];
};

union vhost_user_payload {
    uint64_t u64;
    struct vhost_user_vring_state state;
    struct vhost_user_vring_addr addr;
    struct vhost_user_memory memory;
    struct vhost_user_slot slot;
    struct vhost_user_config config;
};

_Static_assert(sizeof(struct vhost_user_header) == 12, "the wire");
_Static_assert(sizeof(struct vhost_user_vring_state) == 8, "the wire");
_Static_assert(sizeof(struct vhost_user_vring_addr) == 40, "the wire");
_Static_assert(sizeof(struct vhost_user_region) == 32, "the wire");
_Static_assert(offsetof(struct vhost_user_memory, regions) == 8, "the wire");
_Static_assert(sizeof(struct vhost_user_slot) == 40, "the wire");
_Static_assert(offsetof(struct vhost_user_config, bytes) == 12, "the wire");
_Static_assert(sizeof(struct vhost_user_config) == 268, "the wire");
_Static_assert(sizeof(struct vhost_user_shmem_config) == 2056, "the wire");
_Static_assert(sizeof(struct vhost_user_shmem_map) == 40, "the wire");
_Static_assert(sizeof(struct vhost_user_shared_object) == 16, "the wire");

/* ---- the ring ---------------------------------------------------------------------------- */

/* QEMU's limit, and what bounds the memory that requests of a guest take here. */
#define VRING_SIZE_MAX 1024

#define VRING_DESC_NEXT 1
#define VRING_DESC_WRITE 2
#define VRING_DESC_INDIRECT 4

#define VRING_AVAIL_NO_INTERRUPT 1
#define VRING_USED_NO_NOTIFY 1

struct vring_desc {
    le64 address;
    le32 length;
    le16 flags;
    le16 next;
};

struct vring_avail {
    le16 flags;
    le16 index;
    le16 ring[]; /* and one more with EVENT_IDX: used_event */
};

struct vring_used_elem {
    le32 id;
    le32 length;
};

struct vring_used {
    le16 flags;
    le16 index;
    struct vring_used_elem ring[]; /* and a le16 with EVENT_IDX: avail_event */
};

_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.3, 2.7.5");
_Static_assert(offsetof(struct vring_avail, ring) == 4, "virtio 1.3, 2.7.6");
_Static_assert(sizeof(struct vring_used_elem) == 8, "virtio 1.3, 2.7.8");
_Static_assert(offsetof(struct vring_used, ring) == 4, "virtio 1.3, 2.7.8");

#endif
