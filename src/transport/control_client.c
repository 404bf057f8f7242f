/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client's side of the control socket; the server takes the socket's path from here. */
#include "transport/control_client.h"

#include "base/uuid.h"
#include "transport/mountinfo.h"
#include <daxfuse/format.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int control_folder(char *buffer, size_t size)
{
    const char *runtime = "/run";

    if (geteuid() != 0) {
        runtime = getenv("XDG_RUNTIME_DIR");
        if (!runtime || runtime[0] != '/')
            return -ENOENT;
    }
    int length = snprintf(buffer, size, "%s/daxfuse", runtime);
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

int control_path(const uint8_t uuid[16], char *buffer, size_t size)
{
    char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char text[UUID_TEXT];
    int error = control_folder(folder, sizeof(folder));

    if (error)
        return error;
    int length = snprintf(buffer, size, "%s/%s.sock", folder, uuid_format(uuid, text));
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

int control_connect(const uint8_t uuid[16], int *ret_fd)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int error = control_path(uuid, address.sun_path, sizeof(address.sun_path));

    if (error)
        return error;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        error = -errno;
        close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

int control_send(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EPIPE ? -ECONNRESET : -errno;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

int control_ask(int fd, const char *request, char **ret_answer)
{
    size_t used = 0, size = 4096;
    int error = control_send(fd, request, strlen(request));

    if (!error)
        error = control_send(fd, "\n", 1);
    if (error)
        return error;
    char *answer = malloc(size);
    if (!answer)
        return -ENOMEM;
    for (;;) {
        if (used == size) {
            char *larger = size < CONTROL_ANSWER_MAX ? realloc(answer, size * 2) : NULL;
            if (!larger) {
                free(answer);
                return size < CONTROL_ANSWER_MAX ? -ENOMEM : -EMSGSIZE;
            }
            answer = larger;
            size *= 2;
        }
        ssize_t received = recv(fd, answer + used, size - used, 0);
        if (received < 0 && errno == EINTR)
            continue;
        if (received <= 0) {
            error = received < 0 ? -errno : -ECONNRESET;
            free(answer);
            return error;
        }
        char *end = memchr(answer + used, '\n', (size_t)received);
        if (end) {
            *end = '\0';
            *ret_answer = answer;
            return 0;
        }
        used += (size_t)received;
    }
}

pid_t control_peer(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ? 0 : peer.pid;
}

/* ---- from a path to its pool ------------------------------------------------------------------------ */

void control_file_id(const struct stat *file, uint64_t ret_id[2])
{
    ret_id[0] = S_ISBLK(file->st_mode) ? file->st_rdev : file->st_dev;
    ret_id[1] = S_ISBLK(file->st_mode) ? 0 : file->st_ino;
}

static int read_super(struct control_pool *pool)
{
    struct dxf_super super;
    struct stat file;
    int fd = open(pool->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool found = false;

    if (fd < 0)
        return -errno;
    /* The spare serves where the first is damaged; whoever mounts checks them thoroughly. */
    static const off_t places[] = { 0, (off_t)DXF_SPARE_BLOCK * DXF_BLOCK_SIZE };
    for (int i = 0; i < 2 && !found; i++)
        found = pread(fd, &super, sizeof(super), places[i]) == (ssize_t)sizeof(super) &&
                memcmp(super.magic, DXF_MAGIC, sizeof(super.magic)) == 0;
    found = found && fstat(fd, &file) == 0;
    close(fd);
    if (!found)
        return -EINVAL;
    memcpy(pool->uuid, super.uuid, 16);
    control_file_id(&file, pool->file_id);
    return 0;
}

struct source_search {
    dev_t device;
    struct control_pool *pool;
};

static bool is_source(void *arg, const struct mountinfo *mount)
{
    struct source_search *search = arg;

    if (mount->device != search->device || strcmp(mount->type, "fuse.daxfuse") != 0)
        return false;
    snprintf(search->pool->path, sizeof(search->pool->path), "%s", mount->source);
    return true;
}

int control_find_pool(const char *path, struct control_pool *ret_pool)
{
    struct source_search search = { .pool = ret_pool };
    struct stat found;

    memset(ret_pool, 0, sizeof(*ret_pool));
    if (stat(path, &found) < 0)
        return -errno;
    search.device = found.st_dev;
    ret_pool->mounted = mountinfo_walk(is_source, &search);
    if (!ret_pool->mounted) {
        if (!S_ISREG(found.st_mode) && !S_ISBLK(found.st_mode))
            return -EINVAL;
        snprintf(ret_pool->path, sizeof(ret_pool->path), "%s", path);
    }
    return read_super(ret_pool);
}
