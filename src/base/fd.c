/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#ifndef SCM_PIDFD
# define SCM_PIDFD 4 /* of Linux 6.5 */
#endif

/* A security label is no longer than a page. */
#define LABEL_MAX 4096

int fd_reopen(int fd, int flags)
{
    char path[32];
    int anew;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    anew = open(path, flags | O_CLOEXEC);
    return anew < 0 ? -errno : anew;
}

void fd_attach(struct msghdr *message, union fd_control *control, int fd)
{
    struct cmsghdr *part;

    memset(control, 0, sizeof(*control));
    message->msg_control = control->bytes;
    message->msg_controllen = sizeof(control->bytes);
    part = CMSG_FIRSTHDR(message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(part), &fd, sizeof(int));
}

/* Whether descriptors are what it holds. */
static bool is_fds(const struct cmsghdr *part)
{
    return part->cmsg_level == SOL_SOCKET &&
           (part->cmsg_type == SCM_RIGHTS || part->cmsg_type == SCM_PIDFD);
}

ssize_t fd_receive(int socket, void *to, size_t length, int fds[FD_SENT_MAX], unsigned *ret_count,
                   bool *ret_cut)
{
    union {
        /* And of who sent it: that comes first. */
        char bytes[CMSG_SPACE((FD_SENT_MAX - 1) * sizeof(int)) + CMSG_SPACE(sizeof(int)) +
                   CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(LABEL_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec vector = { .iov_base = to, .iov_len = length };
    struct msghdr header = { .msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes) };
    unsigned count = 0;
    ssize_t got = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (got < 0)
        return got;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
        if (!is_fds(part))
            continue;
        for (size_t at = CMSG_LEN(0); at < part->cmsg_len; at += sizeof(int)) {
            memcpy(fds + count, (uint8_t *)part + at, sizeof(int));
            if (fds[count] >= 0) /* a process that is gone has none */
                count++;
        }
    }
    *ret_count = count;
    *ret_cut = header.msg_flags & MSG_CTRUNC;
    return got;
}

int fd_type(int fd)
{
    struct statx file;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &file) < 0)
        return -errno;
    return file.stx_mode & S_IFMT;
}
