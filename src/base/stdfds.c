/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptors 0 to 2. */
#include "base/stdfds.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int stdfds_open(void)
{
    /* open(2) takes the lowest that is free: those below fd are not. Whom we start inherits them. */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
            return -errno;
    return 0;
}
