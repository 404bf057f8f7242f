/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A line is "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS", proc(5). */
#include "transport/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool is_octal(char digit)
{
    return digit >= '0' && digit <= '7';
}

/* Blanks, newlines and backslashes are written in octal. In place. */
static void unescape(char *text)
{
    char *to = text;

    for (char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && is_octal(from[2]) &&
            is_octal(from[3])) {
            *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

static bool line_parse(char *line, struct mountinfo *mount)
{
    char *separator = strstr(line, " - "), *rest = NULL;
    unsigned major_number, minor_number;
    uint64_t id;

    if (!separator || sscanf(line, "%" SCNu64 " %*d %u:%u", &id, &major_number, &minor_number) != 3)
        return false;
    *separator = '\0';
    char *mountpoint = strtok_r(line, " ", &rest);
    for (int i = 0; i < 4 && mountpoint; i++)
        mountpoint = strtok_r(NULL, " ", &rest);
    char *type = strtok_r(separator + 3, " \n", &rest);
    char *source = strtok_r(NULL, " \n", &rest);
    if (!mountpoint || !type || !source)
        return false;
    unescape(mountpoint);
    unescape(type);
    unescape(source);
    mount->id = id;
    mount->device = makedev(major_number, minor_number);
    mount->mountpoint = mountpoint;
    mount->type = type;
    mount->source = source;
    return true;
}

#define PATH "/proc/self/mountinfo"

/* Read by one thread at a time: they share where they are in it. */
static pthread_mutex_t kept_mutex = PTHREAD_MUTEX_INITIALIZER;
static int kept = -1;

int mountinfo_keep(void)
{
    kept = open(PATH, O_RDONLY | O_CLOEXEC);
    return kept < 0 ? -errno : 0;
}

static FILE *list_open(void)
{
    FILE *file = NULL;
    int fd;

    if (kept < 0)
        return fopen(PATH, "re");
    fd = fcntl(kept, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) == 0)
        file = fdopen(fd, "r");
    if (!file && fd >= 0)
        close(fd);
    return file;
}

static bool walk(bool (*visit)(void *arg, const struct mountinfo *mount), void *arg)
{
    FILE *file = list_open();
    char *line = NULL;
    size_t size = 0;
    bool found = false;

    if (!file)
        return false;
    while (!found && getline(&line, &size, file) > 0) {
        struct mountinfo mount;
        if (line_parse(line, &mount))
            found = visit(arg, &mount);
    }
    free(line);
    fclose(file);
    return found;
}

bool mountinfo_walk(bool (*visit)(void *arg, const struct mountinfo *mount), void *arg)
{
    bool found;

    pthread_mutex_lock(&kept_mutex);
    found = walk(visit, arg);
    pthread_mutex_unlock(&kept_mutex);
    return found;
}

/* ---- what a file is of ------------------------------------------------------------------- */

static bool is_local_type(const char *type)
{
    static const char *const types[] = { "btrfs", "ext2",  "ext3", "ext4",
                                         "f2fs",  "ramfs", "xfs",  "zfs" };

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

/* By its device, as the mount may be of another namespace, or by its mount: files of btrfs have a device that no mount
 * has. */
static bool is_local_mount(void *arg, const struct mountinfo *mount)
{
    const struct statx *file = arg;

    return (mount->device == makedev(file->stx_dev_major, file->stx_dev_minor) ||
            ((file->stx_mask & STATX_MNT_ID) && mount->id == file->stx_mnt_id)) &&
           is_local_type(mount->type);
}

bool mountinfo_is_local(int fd)
{
    struct statx file;

    /* Only memfd, tmpfs and hugetlbfs have seals, if only the one that there can be none. */
    if (fcntl(fd, F_GET_SEALS) >= 0)
        return true;
    return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MNT_ID, &file) ==
               0 &&
           mountinfo_walk(is_local_mount, &file);
}
