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

struct vhost_mapping;

struct vhost_memory {
    _Atomic unsigned references;
    unsigned count;
    struct {
        struct vhost_region region;
        struct vhost_mapping *mapping;
        uint8_t *base; /* of region.guest_address */
    } regions[VHOST_USER_REGIONS_MAX];
};

/*
 * A table of what the VMM sent, FDS one for each region, the caller's. ASK (vhost_ops.region) says
 * which are left out. OLD may be NULL. *ret_why is a static text. -EINVAL what may not be; or of
 * mmap and ask.
 */
int vhost_memory_create(const struct vhost_user_memory *message, const int *fds,
                        int (*ask)(void *arg, int fd, const struct vhost_region *region), void *arg,
                        const struct vhost_memory *old, struct vhost_memory **ret_memory,
                        const char **ret_why);

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
