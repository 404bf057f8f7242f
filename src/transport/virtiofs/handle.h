/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guest has open.
 *
 * Owns the handles of fs/ that were put in. A file handle is a slot and a generation, never a
 * pointer; it works with the node it was opened by, for what it was opened as.
 *
 * Invariants
 * H1 A handle in use (handles_use) stays open until it is let go, whoever closes it meanwhile; it
 *    is not found any more from then on.
 * H2 At most HANDLES_MAX are open.
 * H3 What a request of an earlier epoch opens is refused, as with nodes.
 *
 * Any thread. One mutex inside, a leaf: fs/ is called without it.
 */
#ifndef DAXFUSE_TRANSPORT_VIRTIOFS_HANDLE_H
#define DAXFUSE_TRANSPORT_VIRTIOFS_HANDLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define HANDLES_MAX (1u << 18)

struct fs;
struct fs_handle;
struct handle_slot;

struct handles {
    struct fs *fs;
    pthread_mutex_t mutex;
    struct handle_slot *slots;
    uint32_t size, used;
    uint32_t free; /* the first free slot + 1 */
    uint32_t count;
    uint32_t limit;
    uint32_t generation;
    uint32_t epoch;
};

enum handle_kind {
    HANDLE_FILE = 1,
    HANDLE_DIRECTORY = 2,
    HANDLE_ANY = 3,
};

void handles_init(struct handles *handles, struct fs *fs);
/* Nothing is in use. */
void handles_destroy(struct handles *handles);

/* A place, before there is a handle to put in. -ENFILE, -ENOMEM, -ENOTCONN another epoch. */
int handles_reserve(struct handles *handles, uint32_t epoch, uint32_t *ret_place);
void handles_cancel(struct handles *handles, uint32_t place);
/* Takes the handle over. -ENOTCONN another epoch: it still is the caller's, the place is gone. */
int handles_fill(struct handles *handles, uint32_t epoch, uint32_t place, struct fs_handle *handle,
                 uint64_t node, enum handle_kind kind, uint64_t *ret_id);
/* The handle, until handles_unuse. KIND: one of these. -EBADF: there is none, not of that node or
 * kind. */
int handles_use(struct handles *handles, uint64_t id, uint64_t node, enum handle_kind kind,
                struct fs_handle **ret_handle);
void handles_unuse(struct handles *handles, uint64_t id);
/* -EBADF as above. */
int handles_close(struct handles *handles, uint64_t id, uint64_t node, enum handle_kind kind);
/* All are closed; a new epoch begins. */
void handles_clear(struct handles *handles, uint32_t epoch);
uint32_t handles_count(struct handles *handles);

#endif
