/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Closing what a VMM sent. The last close(2) of a file waits for whatever the file likes: a socket lingers, a file of
 * FUSE asks its server, and a list that somebody polls with is locked by whoever it is. All of that may be the VMM's.
 * So a thread of its own closes, and nobody waits for it.
 *
 * Owns the descriptors it has taken. Any thread, with any lock: its mutex is the innermost.
 *
 * It does not keep the server from its end either. A process that exits ends a socket's lingering, and closes the
 * others without. Only a wait for FUSE's answer can not be ended, nor, of the threads that read answers (channel.h),
 * one for a socket's lock: all that the server had to do is done then, but its process stays until the one that
 * serves that mount, or reads that socket, goes on or dies.
 */
#ifndef DAXFUSE_TRANSPORT_VHOST_CLOSER_H
#define DAXFUSE_TRANSPORT_VHOST_CLOSER_H

#include <stdbool.h>
#include <stdint.h>

/* More than this, and no message is read any more: see closer_is_behind(). */
#define CLOSER_BEHIND 64
/* And with what comes all the same: a message with all that can be sent (254), four of each queue, sockets. */
#define CLOSER_ROOM 1024

struct closer;

int closer_create(struct closer **ret_closer);
/* Its thread. In the process that closes: it does not survive a fork. Before that, what is taken waits. -errno. */
int closer_start(struct closer *closer);
/* Waits for what is to be closed until DEADLINE (CLOCK_MONOTONIC, ns), and leaves the rest to its thread. NULL is
 * allowed. */
void closer_destroy(struct closer *closer, uint64_t deadline);

/* FD is closed some time; -1 is nothing. Never waits. */
void closer_take(struct closer *closer, int fd);
/* Nothing more is to be received for which it would have to close something. */
bool closer_is_behind(struct closer *closer);

#endif
