/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The back-end's own channel, on which we ask the VMM to map and unmap in the window.
 *
 * One request at a time: answers bear no number, so that the only thing that says whose one is is
 * the order. Who gave up waiting leaves its answers to come; the next one does not ask before they have. The
 * wait is in the asking thread and never in the socket's, which the VMM needs meanwhile (device.h).
 *
 * The VMM may have kept a copy of the descriptor that it gives, and can make a read of ours wait as long as it
 * likes: its own holds the socket's lock. The last close of what came with an answer may wait as well (closer.h).
 * So a thread of the descriptor's own reads its answers, and closes it in the end, and all that came. Nobody waits
 * for that thread: whoever asks has a deadline.
 *
 * QEMU answers before it does it: the guest may still store to what it has said to have unmapped, and
 * finds nothing where it has said to have mapped. It takes one request after the other, though, so that
 * its answer to the next one says that it is done. That next one is sent along, and asks for nothing: a
 * shared object is removed that there is not. Where that was not agreed on, which QEMU does, the VMM's
 * answer must mean what it says.
 *
 * Owns the descriptor. The socket thread sets, ends, opens and shuts it; any other asks.
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_CHANNEL_H
#define DAXFUSE_TRANSPORT_VHOST_CHANNEL_H

#include "transport/vhost/protocol.h"
#include <stdbool.h>
#include <stdint.h>

/* With more threads than this no message is read any more: see vhost_channel_is_behind(). */
#define VHOST_CHANNEL_BEHIND 8

struct vhost_channel;

int vhost_channel_create(struct vhost_channel **ret_channel);
/* Nobody asks. Waits for the threads until DEADLINE, and leaves this to those that have not ended. */
void vhost_channel_destroy(struct vhost_channel *channel, uint64_t deadline);

/* Ends what was there: who waits for an answer of it returns. Takes FD if it does not fail. */
int vhost_channel_set(struct vhost_channel *channel, int fd);
/* Without another. Shut, too. */
void vhost_channel_end(struct vhost_channel *channel);
/* Threads of descriptors that were ended have not: no other is to be set. */
bool vhost_channel_is_behind(struct vhost_channel *channel);
/* BARRIER: SHARED_OBJECT was agreed on. From the return of shut on nothing is sent; answers are still
 * waited for. */
void vhost_channel_open(struct vhost_channel *channel, bool barrier);
void vhost_channel_shut(struct vhost_channel *channel);

/*
 * Asks, FD with it if not -1, and waits until it is done or DEADLINE (CLOCK_MONOTONIC, ns). 0;
 * -ENODEV: not sent, as the channel is not open; -EBUSY: not sent, as somebody else's answer did not come;
 * -EIO: refused; -ETIMEDOUT: nobody knows.
 * *ret_lost: the VMM closed it, or talks nonsense.
 */
int vhost_channel_ask(struct vhost_channel *channel, enum vhost_user_backend_request request,
                      const struct vhost_user_shmem_map *map, int fd, uint64_t deadline,
                      bool *ret_lost);

#endif
