/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests of a guest without a virtqueue: vhost/request.h over memory of malloc's, in segments of
 * their own so that a sanitizer sees a byte too far. Ends the test when the callee breaks the
 * contract: memory touched outside an access, a request completed twice or inside one.
 */
#ifndef DAXFUSE_TEST_GUEST_FAKE_H
#define DAXFUSE_TEST_GUEST_FAKE_H

#include "transport/vhost/request.h"
#include <stdbool.h>

/* Every queue is stopped: accesses are refused. */
extern _Atomic bool fake_stopped;
/* Entries of the ring, of which each request has one; and which queue it comes by. */
extern unsigned fake_ring, fake_queue;
/* Called inside vhost_complete and at the begin of each access, if set. */
extern void (*_Atomic fake_on_access)(struct vhost_request *request);

/* PIECE: bytes of a segment, at most; 0: one for all. */
struct vhost_request *fake_request(const void *in, size_t in_size, size_t out_size, size_t piece);
/* What was sent, or is answered, leads nowhere from this byte on. */
void fake_break_in(struct vhost_request *request, size_t offset);
void fake_break_out(struct vhost_request *request, size_t offset);

/* Its queue was reset: accesses are refused for ever. */
void fake_cancel(struct vhost_request *request);

/* Waits until it is completed. Returns the bytes written. */
size_t fake_wait(struct vhost_request *request);
bool fake_is_done(struct vhost_request *request);
/* The first bytes of the answer's memory; returns how many. */
size_t fake_answer(struct vhost_request *request, void *bytes, size_t size);
/* It was completed. */
void fake_free(struct vhost_request *request);

#endif
