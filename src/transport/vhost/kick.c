/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for kicks.
 *
 * On a ring both eventfds are polled for good: each write to one is a completion, the counter is
 * never read, and a wait is one system call. poll(2) tells the level, so that there the counter
 * must be read.
 */
#include "transport/vhost/kick.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/uring.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define RING_ENTRIES 8
#define WAKE_TAG 0

static int ring_make(struct io_uring *ring, unsigned flags)
{
    static const uint8_t operations[] = { IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE };

    return uring_make(RING_ENTRIES, flags, operations, 2, ring);
}

int kick_init(struct kick *kick)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;

    *kick = (struct kick){ .fd = -1 };
    kick->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (kick->wake < 0)
        return -errno;
    /* What completes is looked at by who waits, and interrupts nobody; or as older kernels do it. */
    int error = ring_make(&kick->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

    if (error == -EINVAL)
        error = ring_make(&kick->ring, 0);
    kick->uring = error == 0;
    if (error && !atomic_flag_test_and_set(&said))
        log_info("no io_uring (%s): queues of guests wait with poll(2)", strerror(-error));
    return 0;
}

static void ring_end(struct kick *kick)
{
    io_uring_queue_exit(&kick->ring);
    kick->uring = false;
}

void kick_start(struct kick *kick)
{
    if (kick->uring && uring_enable(&kick->ring) < 0)
        ring_end(kick);
}

int kick_destroy(struct kick *kick)
{
    if (kick->uring)
        ring_end(kick);
    close(kick->wake);
    return kick->fd;
}

void kick_wake(struct kick *kick)
{
    const uint64_t one = 1;

    /* It fails only when the counter is full, and then the thread is awake. */
    ssize_t written = write(kick->wake, &one, sizeof(one));
    (void)written;
}

/* 1: there was something; 0: not; -errno. Never waits, whatever the other side does to the
 * flags. */
static int counter_read(int fd)
{
    uint64_t value;
    const struct iovec vector = { .iov_base = &value, .iov_len = sizeof(value) };
    ssize_t got = preadv2(fd, &vector, 1, -1, RWF_NOWAIT);

    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return got == sizeof(value) ? 1 : -EINVAL;
}

bool kick_is_usable(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    /* Its count may be taken: rings are looked at before waiting. An eventfd has no O_ASYNC, and it is not
     * for us to ask for it. */
    return flags >= 0 && fd_type(fd) == 0 && (flags & O_ACCMODE) == O_RDWR && !(flags & O_ASYNC) &&
           fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && counter_read(fd) >= 0;
}

int kick_set(struct kick *kick, int fd)
{
    int before = kick->fd;

    if (kick->fd >= 0 && kick->uring && kick->armed) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&kick->ring);

        if (entry) {
            io_uring_prep_poll_remove(entry, kick->turn);
            io_uring_sqe_set_data64(entry, UINT64_MAX);
            /* And has it done: who closes it last is not the ring, in this thread. */
            (void)io_uring_submit_and_get_events(&kick->ring);
        }
    }
    kick->fd = fd;
    kick->armed = kick->mute = false;
    kick->turn++;
    if (kick->turn == WAKE_TAG)
        kick->turn++;
    return before;
}

static bool arm(struct kick *kick, int fd, uint64_t tag)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&kick->ring);

    if (!entry)
        return false;
    io_uring_prep_poll_multishot(entry, fd, POLLIN);
    io_uring_sqe_set_data64(entry, tag);
    return true;
}

static int ring_wait(struct kick *kick)
{
    struct io_uring_cqe *completion;
    unsigned head, seen = 0;

    if (!kick->wake_armed)
        kick->wake_armed = arm(kick, kick->wake, WAKE_TAG);
    if (kick->fd >= 0 && !kick->armed)
        kick->armed = arm(kick, kick->fd, kick->turn);
    int r = io_uring_submit_and_wait(&kick->ring, 1);
    if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
        return r;
    io_uring_for_each_cqe(&kick->ring, head, completion)
    {
        seen++;
        if (completion->flags & IORING_CQE_F_MORE)
            continue;
        /* That poll is over, and begins again with the next wait. */
        if (completion->user_data == WAKE_TAG)
            kick->wake_armed = false;
        else if (completion->user_data == kick->turn)
            kick->armed = false;
        if (completion->res == -EINVAL && completion->user_data == WAKE_TAG)
            r = -EINVAL; /* a kernel without multishot polls */
    }
    io_uring_cq_advance(&kick->ring, seen);
    return r == -EINVAL ? r : 0;
}

static void poll_wait(struct kick *kick)
{
    struct pollfd polled[2] = { { .fd = kick->wake, .events = POLLIN },
                                { .fd = kick->mute ? -1 : kick->fd, .events = POLLIN } };

    if (poll(polled, 2, -1) < 0)
        return;
    if (polled[0].revents)
        (void)counter_read(kick->wake);
    if (polled[1].revents && counter_read(kick->fd) < 0)
        kick->mute = true; /* no eventfd after all: it kicks no more */
}

void kick_wait(struct kick *kick)
{
    if (kick->uring && ring_wait(kick) < 0)
        ring_end(kick);
    if (!kick->uring)
        poll_wait(kick);
}
