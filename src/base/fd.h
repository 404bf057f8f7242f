/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors: opened anew, sent and received. No state.
 */
#ifndef DAXFUSE_BASE_FD_H
#define DAXFUSE_BASE_FD_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Another open file description of what FD is, with locks and a position of its own. FLAGS of open(2), and O_CLOEXEC.
 * -errno: without /proc, -ENOENT. */
int fd_reopen(int fd, int flags);

union fd_control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};
/* FD goes with the message; CONTROL lives until it is sent. */
void fd_attach(struct msghdr *message, union fd_control *control, int fd);

/* That one message can bring: the kernel's SCM_MAX_FD; and the process that sent it, if anybody who has the socket
 * wants that to be known (SO_PASSPIDFD). */
#define FD_SENT_MAX (253 + 1)

/* What has come to a socket, as recvmsg(2) says it. Waits for nothing to come; but anybody else who has the socket can
 * make it wait. The descriptors that came with it are in FDS, *RET_COUNT of them: the kernel closes none of these, but
 * where this process can have no more, *RET_CUT. It does close those of a byte out of band, without SO_OOBINLINE. */
ssize_t fd_receive(int socket, void *to, size_t length, int fds[FD_SENT_MAX], unsigned *ret_count,
                   bool *ret_cut);

/* What FD is, of S_IFMT; 0 for an eventfd, which is no file of any kind. Whose file system's file it may be is not
 * asked, and so does not wait. -errno. */
int fd_type(int fd);

#endif
