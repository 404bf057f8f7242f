/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lock that keeps a writer of the pool alone with it.
 *
 * Byte 0 belongs to the server or a repairing fsck (exclusive) or to readers (shared): servers with
 * -o ro, fsck that only looks, daxfuse-ctl where nobody serves. The bytes
 * after it belong to doors: each descriptor that is handed to somebody who maps the pool holds a
 * shared lock on one of them, which lives as long as that mapping. So whoever has byte 0 still must
 * find all others free. They are only asked about, not taken: with byte 0 held nobody can begin to
 * serve, and our own doors will want them.
 *
 * Open file description locks (fcntl(2), F_OFD_SETLK) tell no owner. Who it is shows in /proc: a
 * descriptor with a "lock:" line in its fdinfo holds one; who only maps the file shows in maps.
 */
#include "media/pool_private.h"

#include "base/fd.h"
#include "base/message.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define HOLDERS_MAX 8

struct holders {
    struct stat file;
    int own_fd;
    unsigned count;
    long pids[HOLDERS_MAX];
};

static void holders_add(struct holders *holders, long pid)
{
    for (unsigned i = 0; i < holders->count; i++) {
        if (holders->pids[i] == pid)
            return;
    }
    if (holders->count < HOLDERS_MAX)
        holders->pids[holders->count++] = pid;
}

/* Whether the file /proc/PID/fdinfo/FD has a lock in it. */
static bool fdinfo_has_lock(long pid, const char *fd)
{
    char path[64], line[256];
    bool found = false;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/fdinfo/%.20s", pid, fd);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), file) != NULL)
        found = strncmp(line, "lock:", 5) == 0;
    fclose(file);
    return found;
}

/* A descriptor of this file: with a lock on it if LOCKED, else any. */
static bool process_has_fd(const struct holders *holders, long pid, bool locked)
{
    char path[64];
    bool found = false;
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%ld/fd", pid);
    dir = opendir(path);
    if (dir == NULL)
        return false;
    while (!found && (entry = readdir(dir)) != NULL) {
        struct stat st;

        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (pid == getpid() && atoi(entry->d_name) == holders->own_fd)
            continue;
        if (fstatat(dirfd(dir), entry->d_name, &st, 0) != 0)
            continue;
        if (st.st_dev != holders->file.st_dev || st.st_ino != holders->file.st_ino)
            continue;
        found = !locked || fdinfo_has_lock(pid, entry->d_name);
    }
    closedir(dir);
    return found;
}

static bool process_has_map(const struct holders *holders, long pid)
{
    char path[64], line[512];
    bool found = false;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/maps", pid);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), file) != NULL) {
        unsigned major, minor;
        uint64_t ino;

        if (sscanf(line, "%*s %*s %*s %x:%x %" SCNu64, &major, &minor, &ino) != 3)
            continue;
        found = ino == holders->file.st_ino && ino != 0 &&
                makedev(major, minor) == holders->file.st_dev;
    }
    fclose(file);
    return found;
}

/* Those with a lock or a mapping; if there is none to be seen, those with the file open. */
static void holders_find(struct holders *holders)
{
    for (int pass = 0; pass < 2 && holders->count == 0; pass++) {
        struct dirent *entry;
        DIR *proc = opendir("/proc");

        if (proc == NULL)
            return;
        while ((entry = readdir(proc)) != NULL) {
            long pid = atol(entry->d_name);

            if (pid <= 0)
                continue;
            if (pass == 0 ? process_has_fd(holders, pid, true) || process_has_map(holders, pid)
                          : process_has_fd(holders, pid, false))
                holders_add(holders, pid);
        }
        closedir(proc);
    }
}

static void process_name(long pid, char *name, size_t size)
{
    char path[64];
    FILE *file;

    snprintf(name, size, "process");
    snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
    file = fopen(path, "re");
    if (file == NULL)
        return;
    if (fgets(name, (int)size, file) != NULL)
        name[strcspn(name, "\n")] = '\0';
    fclose(file);
}

static int message_in_use(int fd, const char *path, char **ret_message)
{
    struct holders holders = { .own_fd = fd };
    char list[HOLDERS_MAX * 48] = "";
    size_t length = 0;

    if (ret_message == NULL)
        return -EBUSY;
    if (fstat(fd, &holders.file) == 0)
        holders_find(&holders);
    for (unsigned i = 0; i < holders.count; i++) {
        char name[24];

        process_name(holders.pids[i], name, sizeof(name));
        length += (size_t)snprintf(list + length, sizeof(list) - length, "%s%s (pid %ld)",
                                   i == 0 ? "" : ", ", name, holders.pids[i]);
    }
    if (holders.count == 0)
        return message_set(ret_message, -EBUSY,
                           "%s is in use by a process that cannot be seen from here; find it as "
                           "root (fuser -v), end it, then try again",
                           path);
    return message_set(ret_message, -EBUSY,
                       "%s is in use by %s; stop the server (daxfuse-ctl stop) or end what still "
                       "maps the pool, then try again",
                       path, list);
}

int pool_lock_take(int fd, const char *path, bool exclusive, char **ret_message)
{
    struct flock own = {
        .l_type = exclusive ? F_WRLCK : F_RDLCK,
        .l_whence = SEEK_SET,
        .l_start = 0,
        .l_len = 1,
    };
    struct flock doors = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = 1,
        .l_len = 0, /* to the end, wherever that is */
    };

    if (fcntl(fd, F_OFD_SETLK, &own) != 0) {
        if (errno == EAGAIN || errno == EACCES)
            return message_in_use(fd, path, ret_message);
        return message_set(ret_message, -errno,
                           "%s cannot be locked: %s; put the pool on a file system with locks",
                           path, strerror(errno));
    }
    if (fcntl(fd, F_OFD_GETLK, &doors) != 0)
        return message_set(ret_message, -errno,
                           "%s cannot be asked for locks: %s; put the pool on a file system with "
                           "locks",
                           path, strerror(errno));
    if (doors.l_type != F_UNLCK)
        return message_in_use(fd, path, ret_message);
    return 0;
}

int pool_door_open(struct pool *pool, unsigned number, bool read_only)
{
    struct flock own = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 1 + (off_t)number, .l_len = 1
    };
    int fd;

    if (pool->fd < 0 || number >= POOL_DOORS)
        return -EINVAL;
    fd = pool->open_anew ? pool->open_anew(pool->open_anew_arg, read_only)
                         : fd_reopen(pool->fd, read_only ? O_RDONLY : O_RDWR);
    if (fd < 0)
        return fd;
    if (fcntl(fd, F_OFD_SETLK, &own) != 0) {
        int error = -errno;

        close(fd);
        return error;
    }
    return fd;
}

bool pool_door_is_held(const struct pool *pool, unsigned number)
{
    struct flock any = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1 + (off_t)number, .l_len = 1
    };

    /* Who can not be asked about is held. */
    return fcntl(pool->fd, F_OFD_GETLK, &any) != 0 || any.l_type != F_UNLCK;
}
