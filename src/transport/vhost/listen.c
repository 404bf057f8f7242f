/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making the socket. The file is there only while somebody answers, but for who was killed: then
 * it is stale. */
#include "transport/vhost/listen.h"

#include "base/message.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether somebody answers at the path. 0: nobody, and there may be a stale file; -errno. */
static int path_probe(const struct vhost_listener *listener, char **ret_message)
{
    const char *path = listener->address.sun_path;
    struct stat stat;

    if (lstat(path, &stat) < 0)
        return errno == ENOENT ? 0
                               : message_set(ret_message, -errno, "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(stat.st_mode))
        return message_set(ret_message, -EEXIST, "%s: is there, and is no socket: remove it", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int error =
        connect(fd, (const struct sockaddr *)&listener->address, sizeof(listener->address)) < 0
            ? -errno
            : 0;
    close(fd);
    if (error == -ECONNREFUSED)
        return unlink(path) < 0 && errno != ENOENT
                   ? message_set(ret_message, -errno, "%s: %s", path, strerror(errno))
                   : 0;
    if (error == 0 || error == -EAGAIN)
        return message_set(ret_message, -EADDRINUSE, "%s: another server answers there", path);
    return message_set(ret_message, error, "%s: %s", path, strerror(-error));
}

static int path_bind(struct vhost_listener *listener, gid_t group, char **ret_message)
{
    const char *path = listener->address.sun_path;
    struct stat stat;

    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return -errno;
    /* A socket's file gets its mode from the socket: at no time is it open to more. */
    if (fchmod(listener->fd, 0600) < 0 ||
        bind(listener->fd, (const struct sockaddr *)&listener->address, sizeof(listener->address)) <
            0)
        return message_set(ret_message, -errno, "%s: %s", path, strerror(errno));
    if (lstat(path, &stat) == 0) {
        listener->made = true;
        listener->device = stat.st_dev;
        listener->inode = stat.st_ino;
    }
    if (group != (gid_t)-1 && (chown(path, (uid_t)-1, group) < 0 || chmod(path, 0660) < 0))
        return message_set(ret_message, -errno, "%s: it can not be given to group %u: %s", path,
                           (unsigned)group, strerror(errno));
    if (listen(listener->fd, 4) < 0)
        return message_set(ret_message, -errno, "%s: %s", path, strerror(errno));
    return 0;
}

static int path_open(struct vhost_listener *listener, const struct vhost_options *options,
                     char **ret_message)
{
    const char *path = options->path, *slash = strrchr(path, '/');
    char folder[sizeof(listener->address.sun_path)] = ".";

    if (path[0] == '\0' || strlen(path) >= sizeof(listener->address.sun_path))
        return message_set(ret_message, -ENAMETOOLONG, "%s: a socket's path has 1 to %zu bytes",
                           path, sizeof(listener->address.sun_path) - 1);
    listener->address.sun_family = AF_UNIX;
    strcpy(listener->address.sun_path, path);
    if (slash)
        snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    /* One at a time from the question whether somebody answers to where we do; if the folder may
     * be read. */
    int lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (lock >= 0 && flock(lock, LOCK_EX) < 0 && errno == EINTR)
        ;
    int error = path_probe(listener, ret_message);
    if (!error)
        error = path_bind(listener, options->group, ret_message);
    if (lock >= 0)
        close(lock);
    return error;
}

static int fd_open(struct vhost_listener *listener, int fd, char **ret_message)
{
    int domain = 0, type = 0, listens = 0;
    socklen_t size = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0) {
        if (fd >= 0)
            close(fd);
        return message_set(ret_message, -EINVAL, "descriptor %d is no Unix stream socket", fd);
    }
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (listens)
        listener->fd = fd;
    else
        listener->connected = fd;
    return 0;
}

int vhost_listener_open(struct vhost_listener *listener, const struct vhost_options *options,
                        char **ret_message)
{
    *listener = (struct vhost_listener){ .fd = -1, .connected = -1 };
    int error = options->path ? path_open(listener, options, ret_message)
                              : fd_open(listener, options->fd, ret_message);
    if (error)
        vhost_listener_close(listener);
    return error;
}

void vhost_listener_close(struct vhost_listener *listener)
{
    struct stat stat;

    if (listener->made && lstat(listener->address.sun_path, &stat) == 0 &&
        stat.st_dev == listener->device && stat.st_ino == listener->inode)
        unlink(listener->address.sun_path);
    listener->made = false;
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->connected >= 0)
        close(listener->connected);
    listener->fd = listener->connected = -1;
}
