/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's memory as it is mapped here: tables of regions.
 *
 * Owns the mappings. A table does not change once it is made; whoever uses one holds a reference,
 * and a region that is the same in the next table is the same mapping. Any thread; takes no lock
 * but the guard's.
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_MEMORY_H
#define DAXFUSE_TRANSPORT_VHOST_MEMORY_H

#include "transport/vhost/device.h"
#include "transport/vhost/protocol.h"
#include <stdatomic.h>

/* What is mapped at most, when regions are added one by one; and with what is left out. A table that
 * comes whole has VHOST_USER_REGIONS_MAX. */
#define VHOST_MEMORY_REGIONS_MAX 32
#define VHOST_MEMORY_SLOTS 512

/* Bytes that are mapped at most for a guest, and for all. A VMM may name as many as it likes: a file without blocks
 * costs it nothing, and a process has 128 TiB for everything. */
#define VHOST_MEMORY_MAX (16ull << 40)
#define VHOST_MEMORY_ALL_MAX (64ull << 40)

struct vhost_mapping;

struct vhost_memory {
    _Atomic unsigned references;
    unsigned count;
    struct {
        struct vhost_region region;
        struct vhost_mapping *mapping;
        uint8_t *base; /* of region.guest_address */
    } regions[VHOST_MEMORY_REGIONS_MAX];
    unsigned left_out_count;
    struct vhost_region left_out[]; /* what is not mapped, so that its removal is known, too */
};

/* vhost_ops.region: 1 map it, 0 leave it out, or an error. */
typedef int (*vhost_memory_ask)(void *arg, int fd, const struct vhost_region *region);

/*
 * A table of what the VMM sent, FDS one for each region, the caller's. ASK says which are left out.
 * OLD may be NULL. *ret_why is a static text. -EINVAL what may not be; or of mmap and ask.
 */
int vhost_memory_create(const struct vhost_user_memory *message, const int *fds,
                        vhost_memory_ask ask, void *arg, const struct vhost_memory *old,
                        struct vhost_memory **ret_memory, const char **ret_why);

/* OLD, which may be NULL, with one region more. -ENOSPC too many; otherwise as vhost_memory_create. */
int vhost_memory_add(const struct vhost_memory *old, const struct vhost_user_region *sent, int fd,
                     vhost_memory_ask ask, void *arg, struct vhost_memory **ret_memory,
                     const char **ret_why);

/* OLD without a region, wherever in its file that is. -ENOENT, -ENOMEM. */
int vhost_memory_remove(const struct vhost_memory *old, const struct vhost_user_region *sent,
                        struct vhost_memory **ret_memory);

struct vhost_memory *vhost_memory_get(struct vhost_memory *memory);
void vhost_memory_put(struct vhost_memory *memory); /* NULL is allowed */

/* Ours of a guest's address. *ret_length, up to LENGTH, is how much lies there together. NULL:
 * no region. */
uint8_t *vhost_memory_find(const struct vhost_memory *memory, uint64_t address, uint64_t length,
                           uint64_t *ret_length);

/* Ours of LENGTH bytes at the VMM's address, in one region; NULL. */
void *vhost_memory_find_user(const struct vhost_memory *memory, uint64_t address, uint64_t length);

/* Copies out, from regions only: -EFAULT. */
int vhost_memory_read(const struct vhost_memory *memory, uint64_t address, void *bytes,
                      size_t length);

/* Something that was touched was not there, and all of its region is zeros now. */
bool vhost_memory_is_bad(const struct vhost_memory *memory);

#endif
