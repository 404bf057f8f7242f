/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl grow and stop.
 */
#include "media/pool.h"
#include "tools/ctl.h"
#include "tools/size.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
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

/* Until the process is gone, and with it the lock of the pool. */
static int wait_for_end(const struct ctl *ctl, int pidfd, uint64_t pid)
{
    struct pollfd poller = { .fd = pidfd, .events = POLLIN };

    if (pidfd < 0)
        return CTL_OK; /* it has ended already */
    int ready;
    do {
        ready = poll(&poller, 1, STOP_SECONDS * 1000);
    } while (ready < 0 && errno == EINTR);
    close(pidfd);
    if (ready <= 0)
        return ctl_fail(ctl, "process %" PRIu64 " has not ended in %d seconds; see its log", pid,
                        STOP_SECONDS);
    return CTL_OK;
}

int ctl_stop(struct ctl *ctl)
{
    struct json_object *answer;

    int status = ctl_open(ctl, false);
    if (status != CTL_OK)
        return status;
    if (ctl->server < 0)
        return ctl_fail(ctl, "is not served");
    status = ctl_ask(ctl, ctl_request("info"), &answer);
    if (status != CTL_OK)
        return status;
    uint64_t pid = ctl_get_u64(answer, "pid");
    json_object_put(answer);
    int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    status = ctl_ask(ctl, ctl_request("stop"), &answer);
    if (status != CTL_OK) {
        if (pidfd >= 0)
            close(pidfd);
        return status;
    }
    status = wait_for_end(ctl, pidfd, pid);
    if (status == CTL_OK && !ctl_print_json(ctl, answer))
        printf("%s: process %" PRIu64 " has stopped\n", ctl->path, pid);
    json_object_put(answer);
    return status;
}
