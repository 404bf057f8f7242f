/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A door with a window, as a test has it: a mapper that keeps what each slot shows, and a user who loads and
 * stores there as a guest would. It ends the program when the registry calls it in a state in which that
 * call may not come (dax/mapper.h).
 *
 * A touch is one step against a revocation, as it is with a processor that is told to forget a translation
 * and answers when it has. A slot that shows nothing faults, if the door can revoke; if not it is what a
 * guest gets then: it reads zeros and its stores are lost.
 */
#ifndef DAXFUSE_TEST_WINDOW_H
#define DAXFUSE_TEST_WINDOW_H

#include "dax/mapping.h"
#include "media/pool.h"

#include <pthread.h>

#define WINDOW_SLOTS 32

enum window_call { WINDOW_MAP, WINDOW_MAP_ZEROS, WINDOW_UNMAP, WINDOW_REVOKE, WINDOW_CALLS };

struct window {
    struct dax_door door; /* first */
    struct pool *pool;
    uint8_t *zeros; /* its zero file */
    struct {
        pthread_rwlock_t lock; /* a touch shared, a call exclusively */
        uint64_t offset;       /* UINT64_MAX: nothing; 0: zeros */
        bool writable;
    } slot[WINDOW_SLOTS];
    _Atomic unsigned calls[WINDOW_CALLS];
    /* What the next calls of this kind return; 0: they work. */
    _Atomic int fails[WINDOW_CALLS];
    bool forgets[WINDOW_CALLS]; /* says that it did, and did not */
    /* Called first, if set. */
    void (*on_call)(struct window *window, enum window_call call, uint64_t slot, uint64_t offset);
    void *arg;
};

/* REVOCABLE: its mapper can revoke. */
void window_init(struct window *window, struct pool *pool, const char *name, bool revocable);
void window_destroy(struct window *window);

/* Both: whether the slot shows anything, a store: that may be stored to. OFFSET is within the chunk. */
bool window_load(struct window *window, uint64_t slot, uint64_t offset, void *to, size_t length);
bool window_store(struct window *window, uint64_t slot, uint64_t offset, const void *from,
                  size_t length);

/* Where the bytes are, for who is alone; NULL: it shows nothing. */
uint8_t *window_at(struct window *window, uint64_t slot, uint64_t offset);
bool window_shows_zeros(struct window *window, uint64_t slot);

#endif
