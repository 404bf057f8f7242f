/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mapper: the one thing that a door provides so that files can be mapped through it.
 *
 * Owns nothing. The registry (dax/mapping.h) calls it, from whatever thread serves a fault, a
 * take-away, or another door's write, one call a slot at a time, with range locks held and no lock
 * of a data structure. A call has a time limit of its own: DAX_MAPPER_SECONDS.
 *
 * A slot shows one chunk of a file: DAX_CHUNK_SIZE bytes of the pool, or the door's own zero file,
 * which no other door shares, because nothing keeps a guest from storing to it.
 */
#ifndef DAXFUSE_DAX_MAPPER_H
#define DAXFUSE_DAX_MAPPER_H

#include <stdbool.h>
#include <stdint.h>

#define DAX_CHUNK_SHIFT 21
#define DAX_CHUNK_SIZE ((uint64_t)1 << DAX_CHUNK_SHIFT)

/* How long a call may take until it says -ETIMEDOUT. */
#define DAX_MAPPER_SECONDS 5

/*
 * Each returns 0 when it is done: from then on the slot shows that, or nothing. -ETIMEDOUT: nobody
 * knows what the slot shows, and the registry counts it as mapped until the door is over. Other
 * errors: the slot is as before. After the door was stopped every call must fail at once.
 */
struct dax_mapper {
    /* The slot shows nothing before, or the same read-only, and then shows one or the other throughout. `offset` is in the pool, in bytes, a multiple of DAX_CHUNK_SIZE.
     * Who cannot map read-only maps writable in either case. */
    int (*map)(void *arg, uint64_t slot, uint64_t offset, bool writable);
    int (*map_zeros)(void *arg, uint64_t slot);
    /* The door's user gives the slot up, or what it shows is about to be replaced: a user that touches
     * it in between sees nothing, and is not told. */
    int (*unmap)(void *arg, uint64_t slot);
    /* Takes the slot away under its user, whose next touch faults, and so waits. NULL where that cannot
     * be: then a mapping ends only when its user ends it. */
    int (*revoke)(void *arg, uint64_t slot);
};

#endif
