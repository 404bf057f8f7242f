/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keeper: a small process outside the server's sandbox, which does the few things that need a path, and
 * privileges, when the server has neither any more.
 *
 * It is made before anything is opened, and told while the server starts which pool, sockets and mountpoint
 * are its own; keeper_seal() ends that. From then on it can be asked only for these: whoever takes over the
 * server gets nothing else from it. It ends with the server, whichever way that ends.
 *
 * Calls come from any thread, one at a time is answered; but keeper_is_in_group and keeper_is_own wait
 * for no other call. After a keeper that was killed they fail.
 */
#ifndef DAXFUSE_TRANSPORT_KEEPER_H
#define DAXFUSE_TRANSPORT_KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct keeper;

/* Forks, so there is no other thread yet. MOUNTPOINT is absolute, or NULL. -errno. */
int keeper_start(const char *mountpoint, struct keeper **ret_keeper);

/* Before keeper_seal: a socket's file, as it is now. Its number, from 0, or -errno. */
int keeper_add_socket(struct keeper *keeper, const char *path);
/* Once: the server's mount is this one (mountpoint_id). -EINVAL: 0, it is none; -errno. */
int keeper_add_mount(struct keeper *keeper, uint64_t mount);
/* POOL_FD: of the pool; the keeper gets none of its locks. -1: nobody is to be given the pool. -errno. */
int keeper_seal(struct keeper *keeper, int pool_fd);

/* A descriptor of the pool, opened anew, or -errno: -EPERM if it was sealed without one. */
int keeper_open_pool(struct keeper *keeper, bool read_only);

/* Removes a socket's file if it is still that one. */
void keeper_remove_socket(struct keeper *keeper, int number);

/* Of transport/mountpoint.h, for the server's mount. -EINVAL: there is none, or none any more. */
int keeper_ask(struct keeper *keeper);
int keeper_unmount(struct keeper *keeper);
int keeper_detach(struct keeper *keeper);

/* Whether the groups of a process, as they are now, have GROUP. false also when it is gone. */
bool keeper_is_in_group(struct keeper *keeper, pid_t pid, gid_t group);

/* Whether it was root or the server's user who connected this unix socket. In a user namespace of its own the
 * server cannot tell: all but its user, root too, have the number of nobody there, which may be its user's as
 * well. Without a keeper, NULL or killed, it is what the server sees. */
bool keeper_is_own(struct keeper *keeper, int socket);

/* Ends it. NULL is allowed. */
void keeper_stop(struct keeper *keeper);

#endif
