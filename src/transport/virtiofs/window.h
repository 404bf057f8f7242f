/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's DAX window: the mapper of dax/mapper.h over the VMM's SHMEM_MAP and SHMEM_UNMAP.
 *
 * Owns the descriptors that the VMM is given, and knows what each slot shows. Called by the export (the
 * socket thread: started, stopped, left, region; workers: renew, fill; any thread of the device:
 * outside) and by the registry. Under its mutex it tells the registry that the door stops or goes on;
 * the registry never calls with a lock held.
 *
 * What a VMM does (QEMU 11.1, measured) decides the rest:
 * - it cannot replace a mapping in one step, revoke one, or map read-only, which is asked for only where
 *   the export is. So there is no revoke, and a slot is mapped writable at once: the guest's first store
 *   finds it so.
 * - while its device stands (the guest is paused) it must not be asked for anything, and keeps what it maps.
 * - after a reset of the device, or when it is gone, it maps nothing any more at some moment that it does
 *   not tell. The descriptor's lock does (media/pool.h): until then what was mapped is in quarantine.
 * - nor does it always tell of a reset. It then refuses to unmap what it has no more; but so may one that
 *   has it. So the next guest begins as if there had been one: it is the lock that is believed.
 */
#ifndef DAXFUSE_TRANSPORT_VIRTIOFS_WINDOW_H
#define DAXFUSE_TRANSPORT_VIRTIOFS_WINDOW_H

#include "dax/mapping.h"
#include "transport/vhost/device.h"
#include <pthread.h>

struct fs;

struct window_slot {
    uint64_t offset; /* of the pool; 0: zeros; UINT64_MAX: nothing */
    uint32_t users;  /* copies under way, by the guest's address */
    bool ends;       /* it is about to be unmapped: no new users */
    bool unknown;    /* whether it is mapped: an answer did not come in time */
};

struct window {
    struct dax_door door; /* first: the registry's */
    struct fs *fs;
    struct vhost_device *device; /* set before it is started */
    unsigned number;             /* of the descriptors (media/pool.h) */
    bool read_only;
    dev_t pool_device;
    ino_t pool_inode;

    pthread_mutex_t mutex;
    pthread_cond_t idle; /* a slot has no users, or nobody calls */
    uint32_t calls;      /* that use a descriptor: it is not closed under them */
    bool runs;           /* the device's queues do */
    bool left;           /* the VMM has nothing mapped, or is about to; no guest since */
    bool unsure;   /* it did not do as it was asked: maybe it maps what the slots do not say */
    int fd, zeros; /* of the pool; of 2 MiB of zeros, this VMM's own. -1: none */
    uint8_t *zeros_seen; /* as the guest may ask us to read it */
    uint64_t base;       /* the guest's address of the window; 0: not known yet */
    struct window_slot slots[];
};

/* NUMBER: no other window's. read_only: the export is; SIZE: bytes, whole chunks. Adds the door to fs.
 * -ENOMEM, -EINVAL. */
int window_open(struct fs *fs, unsigned number, const char *name, uint64_t size, bool read_only,
                struct window **ret_window);
/* Whether somebody may map what it showed: after window_left the VMM alone can. */
bool window_is_held(const struct window *window);
/* Nobody calls it any more. Waits for nobody: what the VMM still maps is its own until the pool's lock is
 * free (DESIGN: a restart waits for that). NULL is allowed. */
void window_close(struct window *window);

/* As the device says. Wait for nobody. */
void window_started(struct window *window);
void window_stopped(struct window *window);
/* Reset, or gone; stopped came before. */
void window_left(struct window *window);

/* A guest begins. -EBUSY: somebody still maps what the last one was given; -ECANCELED: the guest is paused;
 * -errno of open(2). */
int window_renew(struct window *window);
/* After started, soon: what others wrote to while it was stopped is shown. Waits for the VMM. */
void window_fill(struct window *window);

/* vhost_ops.region: whether the region is the pool, or the window's zeros: then it is no memory of the
 * guest's, and tells where the window is. */
bool window_region(struct window *window, const struct vhost_region *region, dev_t device,
                   ino_t inode);
int window_outside(struct window *window, uint64_t address, size_t length, bool write,
                   void **ret_bytes, size_t *ret_length, uint64_t *ret_cookie);
void window_outside_end(struct window *window, uint64_t cookie);

#endif
