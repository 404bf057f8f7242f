/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sandbox that a server with guests works in: guests are hostile, and whoever takes it over through one
 * shall find a pool that the guests' VMMs have anyway, and nothing else.
 *
 * No state. Entered once, by the one thread there is: threads that are made later are in it, earlier ones
 * were not. What needs a path or a privilege afterwards is done by the keeper (transport/keeper.h).
 */
#ifndef DAXFUSE_TRANSPORT_SANDBOX_H
#define DAXFUSE_TRANSPORT_SANDBOX_H

enum sandbox_mode {
    SANDBOX_AUTO,      /* what can be had, from the next one on down; warns if it is less */
    SANDBOX_NAMESPACE, /* mounts, network and IPC of its own; the root is empty */
    SANDBOX_CHROOT,    /* the root is an empty folder */
    SANDBOX_NONE,
};

enum sandbox_seccomp {
    SECCOMP_AUTO, /* kill; warns if the kernel has no such thing */
    SECCOMP_KILL, /* an unknown system call ends the server */
    SECCOMP_LOG,  /* is logged by the kernel, and goes on */
    SECCOMP_NONE,
};

struct sandbox_options {
    enum sandbox_mode mode;
    enum sandbox_seccomp seccomp;
};

/* No new privileges, namespaces or root, no capabilities, system calls: 0; -errno, also when namespaces could be
 * entered and not be made what they should be, whatever the mode, with a malloc'ed sentence or
 * NULL in *ret_message: the process is of no use then. */
int sandbox_enter(const struct sandbox_options *options, char **ret_message);

#endif
