/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl fallocate: fallocate(2) on a file in a mount, with the modes that the kernel refuses.
 */
#include "tools/ctl.h"
#include "tools/size.h"

#include <fcntl.h>

#include <daxfuse/ioctl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHIFTS (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)

static int parse_range(const struct ctl *ctl, const char *text, const char *what,
                       int64_t *ret_bytes)
{
    uint64_t bytes;

    if (size_parse(text, &bytes) < 0 || bytes > INT64_MAX)
        return ctl_fail(ctl, "%s is no %s; write for example 8192, 64K or 1M", text, what);
    *ret_bytes = (int64_t)bytes;
    return CTL_OK;
}

/* Opened for writing and in a mount of ours. */
static int open_file(const struct ctl *ctl, int *ret_fd)
{
    int fd = ctl_open_file(ctl, O_WRONLY);

    if (fd == -EMEDIUMTYPE)
        return ctl_fail(ctl, "not a regular file");
    if (fd == -ENOTTY)
        return ctl_fail(ctl, "is not in a mount of daxfuse; fallocate(1) is for other files");
    if (fd < 0)
        return ctl_fail(ctl, "%s", strerror(-fd));
    *ret_fd = fd;
    return CTL_OK;
}

static const char *explain(int error, int mode)
{
    switch (error) {
    case -EINVAL:
        if (mode & FALLOC_FL_COLLAPSE_RANGE)
            return "offset and length must be multiples of 4096, and the range must end before the "
                   "file does; to cut the end off, truncate it";
        if (mode & FALLOC_FL_INSERT_RANGE)
            return "offset and length must be multiples of 4096, and the offset must be before the "
                   "end of the file; to add to the end, use --allocate";
        return "the length must be above 0";
    case -EFBIG:
        return "the file would become larger than a file can be";
    case -EBUSY:
        return "it is mapped directly, where the bytes would move: daxfuse-ctl mappings says by whom";
    case -EPERM:
        return "it is immutable or append-only: lsattr shows it, chattr changes it";
    default:
        return strerror(-error);
    }
}

static int run(const struct ctl *ctl, int fd, int64_t offset, int64_t length)
{
    int mode = ctl->fallocate.mode;
    int r = mode & SHIFTS ? daxfuse_fallocate(fd, mode, offset, length)
                          : fallocate(fd, mode, offset, length);

    return r < 0 ? ctl_fail(ctl, "%s", explain(-errno, mode)) : CTL_OK;
}

static int report(struct ctl *ctl, int fd)
{
    char a[SIZE_TEXT], b[SIZE_TEXT];
    struct stat file;

    if (fstat(fd, &file) < 0)
        return ctl_fail(ctl, "done; but its size cannot be read: %s", strerror(errno));
    struct json_object *answer = ctl_answer(ctl);
    ctl_put_u64(answer, "size", (uint64_t)file.st_size);
    ctl_put_u64(answer, "allocated", (uint64_t)file.st_blocks * 512);
    if (!ctl_print_json(ctl, answer))
        printf("%s: %s, %s allocated\n", ctl->path, size_format((uint64_t)file.st_size, a),
               size_format((uint64_t)file.st_blocks * 512, b));
    json_object_put(answer);
    return CTL_OK;
}

int ctl_fallocate(struct ctl *ctl)
{
    int64_t offset = 0, length = 0;
    int fd = -1;

    int status =
        ctl->fallocate.offset ? parse_range(ctl, ctl->fallocate.offset, "offset", &offset) : CTL_OK;
    if (status == CTL_OK)
        status = parse_range(ctl, ctl->fallocate.length, "length", &length);
    if (status == CTL_OK)
        status = open_file(ctl, &fd);
    if (status != CTL_OK)
        return status;
    status = run(ctl, fd, offset, length);
    if (status == CTL_OK)
        status = report(ctl, fd);
    close(fd);
    return status;
}
