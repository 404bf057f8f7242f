/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

int fd_type(int fd)
{
    struct statx file;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &file) < 0)
        return -errno;
    return file.stx_mode & S_IFMT;
}
