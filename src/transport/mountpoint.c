/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What only root may do fusermount3 does for others. */
#include "transport/mountpoint.h"

#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef STATX_MNT_ID_UNIQUE
# define STATX_MNT_ID_UNIQUE 0x4000U
#endif

bool mountpoint_look(const char *path, dev_t *ret_device)
{
    struct statx found;

    *ret_device = 0;
    if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0, &found) < 0)
        return false;
    *ret_device = makedev(found.stx_dev_major, found.stx_dev_minor);
    return found.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

/* A device's number is the next mount's as soon as it is free, and so is a mount's old number; the unique one is not. */
uint64_t mountpoint_id(const char *path)
{
    struct statx found;

    if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
              STATX_MNT_ID | STATX_MNT_ID_UNIQUE, &found) < 0)
        return 0;
    return found.stx_mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE)
               ? found.stx_mnt_id
               : makedev(found.stx_dev_major, found.stx_dev_minor);
}

bool mountpoint_is_anothers(const char *path, uint64_t id)
{
    uint64_t seen = mountpoint_id(path);

    return id != 0 && seen != 0 && seen != id;
}

int mountpoint_ask(const char *path)
{
    struct statvfs unused;

    return statvfs(path, &unused) < 0 ? -errno : 0;
}

static int fusermount(const char *flags, const char *path)
{
    const char *argv[] = { "fusermount3", flags, "-q", "--", path, NULL };
    pid_t pid;
    int status;

    if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid)
        return -EPERM;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

static void write_back(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (syncfs(fd) < 0)
        log_warn("%s: the kernel could not write everything back: %s", path, strerror(errno));
    close(fd);
}

int mountpoint_unmount(const char *path, uint64_t id)
{
    int error = 0;

    if (mountpoint_is_anothers(path, id))
        return -ESTALE;
    if (umount2(path, UMOUNT_NOFOLLOW) < 0)
        error = errno == EPERM ? fusermount("-u", path) : -errno;
    if (error == -EBUSY)
        write_back(path);
    return error;
}

int mountpoint_detach(const char *path, uint64_t id)
{
    if (mountpoint_is_anothers(path, id))
        return -ESTALE;
    if (umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH) == 0)
        return 0;
    return errno == EPERM ? fusermount("-uz", path) : -errno;
}
