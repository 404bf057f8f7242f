/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl: reaching a pool, through its server or by itself.
 */
#include "media/pool.h"
#include "tools/ctl.h"
#include "transport/control_client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static int open_here(struct ctl *ctl, bool writable)
{
    const struct pool_options options = { .read_only = !writable };
    const struct fs_options fs_options = { .read_only = !writable };
    char *message = NULL;

    int error = pool_open(ctl->path, &options, &ctl->pool, &message);
    if (error < 0) {
        fprintf(stderr, "daxfuse-ctl: %s\n", message ? message : strerror(-error));
        free(message);
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
    uint8_t uuid[16];

    ctl->server = -1;
    int error = control_find_pool(ctl->path, uuid);
    if (error == -EINVAL)
        return ctl_fail(ctl, "is neither a daxfuse pool nor a path in a mounted one");
    if (error < 0)
        return ctl_fail(ctl, "%s", strerror(-error));
    error = control_connect(uuid, &ctl->server);
    if (error == 0)
        return CTL_OK;
    ctl->server = -1;
    if (error == -EACCES || error == -EPERM)
        return ctl_fail(ctl, "its server belongs to somebody else; ask as that user or as root");
    return open_here(ctl, writable);
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
    struct json_object *answer, *said;
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
        return ctl_fail(ctl, "its server gave no answer that can be understood");
    }
    if (json_object_object_get_ex(answer, "error", &said)) {
        ctl_fail(ctl, "%s", json_object_get_string(said));
        json_object_put(answer);
        return CTL_FAILED;
    }
    *ret_answer = answer;
    return CTL_OK;
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
