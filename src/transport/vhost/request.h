/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request: one chain of descriptors of a virtqueue, what the guest sent and where the answer goes.
 *
 * Owned by who got it through vhost_ops.request until vhost_complete(). Used by one thread at a time.
 *
 * The guest's memory is touched only between vhost_access_begin and vhost_access_end. When the VMM wants
 * a queue to stop, it waits for accesses under way and for nothing else; so between the two nobody waits for a
 * lock or the VMM (short, and never for another request). A request that has not been answered when its queue stopped stays valid:
 * begin says -ECANCELED until the same ring goes on where it was, or -ESTALE once it was reset or started anew.
 *
 * What was read once is not the same when it is read again: decode from a copy.
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_REQUEST_H
#define DAXFUSE_TRANSPORT_VHOST_REQUEST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct vhost_request;

/* Which of the device's queues, from 0. */
unsigned vhost_request_queue(const struct vhost_request *request);
/* Bytes that the guest sent, and that the answer may have: sums over its descriptors. */
size_t vhost_request_in(const struct vhost_request *request);
size_t vhost_request_out(const struct vhost_request *request);
/* Entries of its queue's ring that the request has until it is completed; *ret_all: all there are. */
unsigned vhost_request_entries(const struct vhost_request *request, unsigned *ret_all);
/* For the callee's use: the request's, 0 at first. */
void **vhost_request_user(struct vhost_request *request);

/* -ECANCELED: its queue was stopped; complete it, or begin again later. -ESTALE: complete it, it goes nowhere. */
int vhost_access_begin(struct vhost_request *request);
/* -EFAULT: memory of the guest that was used since begin is not there (its file was cut short); the bytes read
 * were zeros, those written are lost. */
int vhost_access_end(struct vhost_request *request);

/* Inside an access. Copies; -EFAULT an address that is no memory of the guest's, -EINVAL beyond the end. */
int vhost_read(struct vhost_request *request, size_t offset, void *bytes, size_t length);
int vhost_write(struct vhost_request *request, size_t offset, const void *bytes, size_t length);

/* Inside an access: our addresses of [offset, offset + length) of what was sent (in), or of the answer (out). Good
 * until the access ends. Returns how many elements; -EFAULT, -EINVAL as above, -E2BIG more than max. */
int vhost_vector_in(struct vhost_request *request, size_t offset, size_t length,
                    struct iovec *vector, unsigned max);
int vhost_vector_out(struct vhost_request *request, size_t offset, size_t length,
                     struct iovec *vector, unsigned max);

/* Gives the chain back, with so many bytes written, and frees the request. If its queue was stopped or reset
 * meanwhile it goes back when that ring goes on, or nowhere. Never inside an access. */
void vhost_complete(struct vhost_request *request, size_t written);

#endif
