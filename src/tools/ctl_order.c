/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl grow and stop.
 */
#include "media/pool.h"
#include "tools/ctl.h"
#include "tools/size.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STOP_SECONDS 120

/* "16G", or "+4G" to add. */
static int wanted_size(const struct ctl *ctl, uint64_t now, uint64_t *ret_size)
{
    const char *text = ctl->size[0] == '+' ? ctl->size + 1 : ctl->size;
    uint64_t size;

    if (size_parse(text, &size) < 0)
        return ctl_fail(ctl, "%s is no size; write for example 16G, or +4G", ctl->size);
    if (ctl->size[0] == '+' && __builtin_add_overflow(size, now, &size))
        size = UINT64_MAX;
    if (size > DXF_POOL_SIZE_MAX)
        return ctl_fail(ctl, "%s is too large; a pool has 64 TiB at most", ctl->size);
    if (size % DXF_BLOCK_SIZE != 0)
        return ctl_fail(ctl, "%s is not a multiple of 4096 bytes", ctl->size);
    if (size <= now)
        return ctl_fail(ctl, "has %" PRIu64 " bytes already; a pool does not become smaller", now);
    *ret_size = size;
    return CTL_OK;
}

static const char *grow_error(int error)
{
    switch (error) {
    case -ENOSPC:
        return "no room: the host's file system is full, or the growth is too small to hold the "
               "larger bitmap; free some space, or grow by more";
    case -ENOMEM:
        return "not enough memory or address space";
    default:
        return strerror(-error);
    }
}

static int grow_here(struct ctl *ctl, struct json_object **ret_answer)
{
    uint64_t before = ctl->pool->size, size;

    int status = wanted_size(ctl, before, &size);
    if (status != CTL_OK)
        return status;
    int error = fs_grow(ctl->fs, size);
    if (error < 0)
        return ctl_fail(ctl, "%s", grow_error(error));
    *ret_answer = ctl_answer(ctl);
    ctl_put_u64(*ret_answer, "size_before", before);
    ctl_put_u64(*ret_answer, "size", ctl->pool->size);
    return CTL_OK;
}

static int grow_served(struct ctl *ctl, struct json_object **ret_answer)
{
    struct json_object *info, *request;
    uint64_t size;

    int status = ctl_ask(ctl, ctl_request("info"), &info);
    if (status != CTL_OK)
        return status;
    status = wanted_size(ctl, ctl_get_u64(info, "size"), &size);
    json_object_put(info);
    if (status != CTL_OK)
        return status;
    request = ctl_request("grow");
    ctl_put_u64(request, "size", size);
    return ctl_ask(ctl, request, ret_answer);
}

int ctl_grow(struct ctl *ctl)
{
    struct json_object *answer;
    char a[SIZE_TEXT], b[SIZE_TEXT];

    int status = ctl_open(ctl, true);
    if (status != CTL_OK)
        return status;
    status = ctl->server >= 0 ? grow_served(ctl, &answer) : grow_here(ctl, &answer);
    if (status != CTL_OK)
        return status;
    if (!ctl_print_json(ctl, answer))
        printf("%s: grown from %s to %s\n", ctl->path,
               size_format(ctl_get_u64(answer, "size_before"), a),
               size_format(ctl_get_u64(answer, "size"), b));
    json_object_put(answer);
    return CTL_OK;
}

static int is_slow(const struct ctl *ctl)
{
    return ctl_fail(ctl, "its server has not ended in %d seconds; see its log", STOP_SECONDS);
}

/* Until the process is gone, and with it the lock of the pool. */
static int wait_for_process(const struct ctl *ctl, int pidfd)
{
    struct pollfd poller = { .fd = pidfd, .events = POLLIN };
    int ready;

    do {
        ready = poll(&poller, 1, STOP_SECONDS * 1000);
    } while (ready < 0 && errno == EINTR);
    return ready > 0 ? CTL_OK : is_slow(ctl);
}

/* Where the process cannot be seen from here: until the lock is gone. */
static int wait_for_lock(const struct ctl *ctl)
{
    static const struct timespec pause = { .tv_nsec = 50000000 };
    int fd = open(ctl->found.path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 ? -errno : -EBUSY;

    for (int tries = 0; error == -EBUSY && tries < STOP_SECONDS * 20; tries++) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
        if (tries > 0)
            nanosleep(&pause, NULL);
        if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
            error = -errno;
        else if (lock.l_type == F_UNLCK)
            error = 0;
    }
    if (fd >= 0)
        close(fd);
    if (error == -EBUSY)
        return is_slow(ctl);
    if (error)
        return ctl_fail(ctl, "its server was told to stop; whether it has ended cannot be seen: %s",
                        strerror(-error));
    return CTL_OK;
}

int ctl_stop(struct ctl *ctl)
{
    struct json_object *answer;

    int status = ctl_connect(ctl);
    if (status != CTL_OK)
        return status;
    if (ctl->server < 0)
        return ctl_fail(ctl, "is not served, or not by you: no server of it answers");
    int pidfd = ctl->pid > 0 ? (int)syscall(SYS_pidfd_open, (pid_t)ctl->pid, 0) : -1;
    status = ctl_ask(ctl, ctl_request("stop"), &answer);
    if (status == CTL_OK) {
        status = pidfd >= 0 ? wait_for_process(ctl, pidfd) : wait_for_lock(ctl);
        ctl_put_u64(answer, "pid", ctl->pid);
        if (status == CTL_OK && !ctl_print_json(ctl, answer))
            printf("%s: its server has ended\n", ctl->path);
        json_object_put(answer);
    }
    if (pidfd >= 0)
        close(pidfd);
    return status;
}
