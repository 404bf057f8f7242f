/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost/signal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Answers that are taken away together. */
#define ANSWERS 32

int vhost_signals_init(struct vhost_signals *signals)
{
    signals->context = 0;
    signals->null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return signals->null < 0 ? -errno : 0;
}

int vhost_signals_start(struct vhost_signals *signals)
{
    return syscall(SYS_io_setup, 1, &signals->context) < 0 ? -errno : 0;
}

void vhost_signals_destroy(struct vhost_signals *signals)
{
    if (signals->context)
        (void)syscall(SYS_io_destroy, signals->context);
    close(signals->null);
}

/* Nobody asks for the answers; but they have few places. */
static void answers_forget(const struct vhost_signals *signals)
{
    struct io_event answers[ANSWERS];
    struct timespec now = { 0 };

    (void)syscall(SYS_io_getevents, signals->context, 0, ANSWERS, answers, &now);
}

void vhost_signal(const struct vhost_signals *signals, int fd)
{
    struct iocb request = {
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)signals->null,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)fd,
    };
    struct iocb *requests[] = { &request };

    if (fd < 0)
        return;
    /* It has ended when it is submitted. */
    while (syscall(SYS_io_submit, signals->context, 1, requests) < 0 && errno == EAGAIN)
        answers_forget(signals);
}
