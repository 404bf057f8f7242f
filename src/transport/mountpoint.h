/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done to our mount by its path: by the server itself, or, when that is in a sandbox, by its keeper
 * (transport/keeper.h). Owns nothing, takes no lock. DEVICE is that of our mount, 0 if it is not known:
 * what has another one, mounted in its place since, is left alone.
 */
#ifndef DAXFUSE_TRANSPORT_MOUNTPOINT_H
#define DAXFUSE_TRANSPORT_MOUNTPOINT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Whether PATH is where something is mounted. *ret_device: of what is seen there, 0 if that is not to be
 * found out. No server is asked: ours may not answer any more, and another be gone. */
bool mountpoint_look(const char *path, dev_t *ret_device);

/* Which mount is seen at PATH: no other one's number as long as this system runs, where the kernel (6.8) has such
 * numbers. 0: it is not to be found out. */
uint64_t mountpoint_id(const char *path);

/* Whether what is seen at PATH is not the mount that was: that may be detached (umount -l), or hidden. */
bool mountpoint_is_anothers(const char *path, uint64_t id);

/* Asks the mount's server, and waits for it. 0 or -errno: -ENOTCONN, it is gone. */
int mountpoint_ask(const char *path);

/* Unmounts. 0; -ESTALE another's; -EBUSY somebody is in it: everything is written back; -errno. */
int mountpoint_unmount(const char *path, uint64_t id);

/* Takes it out of sight, whoever is in it. 0, -ESTALE, -errno. */
int mountpoint_detach(const char *path, uint64_t id);

#endif
