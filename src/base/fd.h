/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors: opened anew, and sent. No state.
 */
#ifndef DAXFUSE_BASE_FD_H
#define DAXFUSE_BASE_FD_H

#include <sys/socket.h>

/* Another open file description of what FD is, with locks and a position of its own. FLAGS of open(2), and O_CLOEXEC.
 * -errno: without /proc, -ENOENT. */
int fd_reopen(int fd, int flags);

union fd_control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};
/* FD goes with the message; CONTROL lives until it is sent. */
void fd_attach(struct msghdr *message, union fd_control *control, int fd);

/* What FD is, of S_IFMT; 0 for an eventfd, which is no file of any kind. Whose file system's file it may be is not
 * asked, and so does not wait. -errno. */
int fd_type(int fd);

#endif
