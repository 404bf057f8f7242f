/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client's side of the control socket; the server takes the socket's path from here. */
#include "transport/control_client.h"

#include "base/endian.h"
#include <daxfuse/format.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
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
    char text[37];
    int error = control_folder(folder, sizeof(folder));

    if (error)
        return error;
    char *at = text;
    for (int i = 0; i < 16; i++)
        at += sprintf(at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
    int length = snprintf(buffer, size, "%s/%s.sock", folder, text);
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

static int send_all(int fd, const char *bytes, size_t length)
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
    int error = send_all(fd, request, strlen(request));

    if (!error)
        error = send_all(fd, "\n", 1);
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

static int read_uuid(const char *path, uint8_t ret_uuid[16])
{
    struct dxf_super super;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool found = false;

    if (fd < 0)
        return -errno;
    /* The spare serves where the first is damaged; whoever mounts checks them thoroughly. */
    static const off_t places[] = { 0, (off_t)DXF_SPARE_BLOCK * DXF_BLOCK_SIZE };
    for (int i = 0; i < 2 && !found; i++)
        found = pread(fd, &super, sizeof(super), places[i]) == (ssize_t)sizeof(super) &&
                memcmp(super.magic, DXF_MAGIC, sizeof(super.magic)) == 0;
    close(fd);
    if (!found)
        return -EINVAL;
    memcpy(ret_uuid, super.uuid, 16);
    return 0;
}

/* mountinfo has blanks and backslashes as octal. In place. */
static void unescape(char *text)
{
    char *to = text;

    for (char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
            *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* The source of the mount with this device number, if it is one of ours; malloc'ed. */
static char *mount_source(dev_t device)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, *source = NULL;
    size_t size = 0;

    if (!file)
        return NULL;
    while (!source && getline(&line, &size, file) > 0) {
        unsigned major_number, minor_number;
        char *separator = strstr(line, " - ");
        if (!separator || sscanf(line, "%*d %*d %u:%u", &major_number, &minor_number) != 2 ||
            makedev(major_number, minor_number) != device)
            continue;
        char *rest = NULL;
        const char *type = strtok_r(separator + 3, " \n", &rest);
        char *from = strtok_r(NULL, " \n", &rest);
        if (type && from && strcmp(type, "fuse.daxfuse") == 0) {
            source = strdup(from);
            if (source)
                unescape(source);
        }
    }
    free(line);
    fclose(file);
    return source;
}

int control_find_pool(const char *path, uint8_t ret_uuid[16])
{
    struct stat found;

    if (stat(path, &found) < 0)
        return -errno;
    char *source = mount_source(found.st_dev);
    if (source) {
        int error = read_uuid(source, ret_uuid);
        free(source);
        return error;
    }
    if (!S_ISREG(found.st_mode) && !S_ISBLK(found.st_mode))
        return -EINVAL;
    return read_uuid(path, ret_uuid);
}
