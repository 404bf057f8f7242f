/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl: reaching a pool, through its server or by itself.
 */
#include "media/pool.h"
#include "tools/ctl.h"
#include "transport/control_client.h"

#include <daxfuse/ioctl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int ctl_fail(const struct ctl *ctl, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "daxfuse-ctl: %s: ", ctl->path);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return CTL_FAILED;
}

/* ---- its server ------------------------------------------------------------------------------------- */

int ctl_no_answer(const struct ctl *ctl)
{
    return ctl_fail(ctl, "its server gave no answer that can be understood");
}

/* Where the socket of its server would be for this user. */
static const char *socket_place(const struct ctl *ctl, char place[PATH_MAX])
{
    if (control_path(ctl->found.uuid, place, PATH_MAX) < 0)
        snprintf(place, PATH_MAX, "%s", "$XDG_RUNTIME_DIR/daxfuse (it is not set)");
    return place;
}

static int find_pool(struct ctl *ctl)
{
    static const char hint[] = "; ask as the user who runs its server, or as root";
    int error = control_find_pool(ctl->path, &ctl->found);
    bool denied = error == -EACCES || error == -EPERM;

    if (error == 0)
        return CTL_OK;
    if (ctl->found.mounted)
        return ctl_fail(ctl, "is in a mount of %s, which cannot be read: %s%s", ctl->found.path,
                        error == -EINVAL ? "it is no daxfuse pool" : strerror(-error),
                        denied ? hint : "");
    if (error == -EINVAL)
        return ctl_fail(ctl, "is neither a daxfuse pool nor a path in a mounted one");
    return ctl_fail(ctl, "%s%s", strerror(-error), denied ? hint : "");
}

/* The socket's name is the pool's UUID, which a copy of the pool has as well. */
static int check_pool(const struct ctl *ctl)
{
    struct json_object *info;

    int status = ctl_ask(ctl, ctl_request("info"), &info);
    if (status != CTL_OK)
        return status;
    if (ctl_get(info, "pool_device", json_type_int) == NULL ||
        ctl_get(info, "pool_inode", json_type_int) == NULL)
        status = ctl_no_answer(ctl);
    else if (ctl_get_u64(info, "pool_device") != ctl->found.file_id[0] ||
             ctl_get_u64(info, "pool_inode") != ctl->found.file_id[1])
        status = ctl_fail(ctl,
                          "the server with its UUID serves another file, %s: one is a copy of the "
                          "other; name that one, or end its server first",
                          ctl_get_string(info, "pool"));
    json_object_put(info);
    return status;
}

int ctl_connect(struct ctl *ctl)
{
    char place[PATH_MAX];

    ctl->server = -1;
    int status = find_pool(ctl);
    if (status != CTL_OK)
        return status;
    int error = control_connect(ctl->found.uuid, &ctl->server);
    if (error == 0) {
        ctl->pid = (uint64_t)control_peer(ctl->server);
        return check_pool(ctl);
    }
    ctl->server = -1;
    if (ctl->found.mounted || (error != -ENOENT && error != -ECONNREFUSED))
        return ctl_fail(ctl, "its server cannot be reached at %s: %s; ask as the user who runs it",
                        socket_place(ctl, place), strerror(-error));
    return CTL_OK;
}

/* ---- itself ----------------------------------------------------------------------------------------- */

static int open_here(struct ctl *ctl, bool writable)
{
    const struct pool_options options = { .read_only = !writable };
    const struct fs_options fs_options = { .read_only = !writable };
    char *message = NULL, place[PATH_MAX];

    int error = pool_open(ctl->path, &options, &ctl->pool, &message);
    if (error < 0) {
        fprintf(stderr, "daxfuse-ctl: %s\n", message ? message : strerror(-error));
        free(message);
        if (error == -EBUSY)
            ctl_fail(ctl, "if that is a server: none answers at %s; ask as the user who runs it",
                     socket_place(ctl, place));
        return CTL_FAILED;
    }
    error = fs_open(ctl->pool, &fs_options, &ctl->fs, NULL);
    if (error < 0) {
        ctl_fail(ctl, "%s; run fsck.daxfuse",
                 error == -EUCLEAN ? "the pool is damaged" : strerror(-error));
        pool_close(ctl->pool);
        ctl->pool = NULL;
        return CTL_FAILED;
    }
    return CTL_OK;
}

int ctl_open(struct ctl *ctl, bool writable)
{
    int status = ctl_connect(ctl);

    return status != CTL_OK || ctl->server >= 0 ? status : open_here(ctl, writable);
}

void ctl_close(struct ctl *ctl)
{
    if (ctl->fs != NULL)
        fs_close(ctl->fs);
    if (ctl->pool != NULL)
        pool_close(ctl->pool);
    if (ctl->server >= 0)
        close(ctl->server);
}

int ctl_open_file(const struct ctl *ctl, int flags)
{
    struct daxfuse_info info = { 0 };
    struct stat st;

    if (stat(ctl->path, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EMEDIUMTYPE;
    int fd = open(ctl->path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (ioctl(fd, DAXFUSE_IOC_INFO, &info) < 0 || info.magic != DAXFUSE_INFO_MAGIC) {
        close(fd);
        return -ENOTTY;
    }
    return fd;
}

struct json_object *ctl_request(const char *command)
{
    struct json_object *request = json_object_new_object();

    ctl_put_string(request, "command", command);
    return request;
}

struct json_object *ctl_answer(const struct ctl *ctl)
{
    struct json_object *answer = json_object_new_object();

    ctl_put_u64(answer, "version", CONTROL_VERSION);
    ctl_put_string(answer, "command", ctl->command);
    return answer;
}

int ctl_ask(const struct ctl *ctl, struct json_object *request, struct json_object **ret_answer)
{
    struct json_object *answer;
    char *line = NULL;

    int error = control_ask(ctl->server,
                            json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN), &line);
    json_object_put(request);
    if (error < 0)
        return ctl_fail(ctl, "its server does not answer: %s", strerror(-error));
    answer = json_tokener_parse(line);
    free(line);
    if (!json_object_is_type(answer, json_type_object)) {
        json_object_put(answer);
        return ctl_no_answer(ctl);
    }
    if (json_object_object_get_ex(answer, "error", NULL)) {
        ctl_fail(ctl, "%s", ctl_get_string(answer, "error"));
        json_object_put(answer);
        return CTL_FAILED;
    }
    *ret_answer = answer;
    return CTL_OK;
}

struct json_object *ctl_get(struct json_object *object, const char *key, enum json_type type)
{
    struct json_object *value;

    return json_object_object_get_ex(object, key, &value) && json_object_is_type(value, type)
               ? value
               : NULL;
}

uint64_t ctl_get_u64(struct json_object *object, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(object, key, &value) ? json_object_get_uint64(value) : 0;
}

const char *ctl_get_string(struct json_object *object, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value) || value == NULL)
        return "";
    return json_object_get_string(value);
}

bool ctl_get_bool(struct json_object *object, const char *key)
{
    return json_object_get_boolean(ctl_get(object, key, json_type_boolean));
}

void ctl_put_u64(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

void ctl_put_bool(struct json_object *object, const char *key, bool value)
{
    json_object_object_add(object, key, json_object_new_boolean(value));
}

void ctl_put_string(struct json_object *object, const char *key, const char *value)
{
    json_object_object_add(object, key, json_object_new_string(value));
}

bool ctl_print_json(const struct ctl *ctl, struct json_object *object)
{
    if (!ctl->json)
        return false;
    puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                    JSON_C_TO_STRING_NOSLASHESCAPE));
    return true;
}
