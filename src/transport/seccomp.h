/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The system calls of a server with guests. No state. Called by transport/sandbox.c. */
#ifndef DAXFUSE_TRANSPORT_SECCOMP_H
#define DAXFUSE_TRANSPORT_SECCOMP_H

#include <stdbool.h>

/* Of this thread, and all that it makes, from here on: an unknown call kills the process, or, without KILL, is
 * logged. no_new_privs is set. 0 or -errno. */
int seccomp_enter(bool kill);

#endif
