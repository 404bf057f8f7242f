/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mounts that this process sees, from /proc/self/mountinfo. Owns nothing between
 * calls, but for what mountinfo_keep() opens.
 */
#ifndef DAXFUSE_TRANSPORT_MOUNTINFO_H
#define DAXFUSE_TRANSPORT_MOUNTINFO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Its strings are as they were given to mount(2); they live as long as the visit. */
struct mountinfo {
    uint64_t id;
    dev_t device;
    const char *mountpoint, *type, *source;
};

/* Keeps the list at hand for a process that will not see /proc any more. Once, by the one thread there is.
 * -errno. */
int mountinfo_keep(void);

/* Visits the mounts, an upper one of a mountpoint after those below it, until visit() returns true.
 * Returns whether one did: false also when the list cannot be read. */
bool mountinfo_walk(bool (*visit)(void *arg, const struct mountinfo *mount), void *arg);

/* Whether FD's pages are memory, or come from a filesystem of this machine, as far as is known: to touch them is not
 * to wait for somebody's server. No filesystem is asked. */
bool mountinfo_is_local(int fd);
#endif
