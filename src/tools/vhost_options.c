/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Words of --vhost-user. Strings are copies that live with struct options.
 */
#include "tools/vhost_options.h"

#include "base/message.h"
#include "media/pool.h"
#include "tools/options.h"
#include "tools/size.h"
#include "tools/words.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WINDOW_DEFAULT (256ull << 20)
#define WINDOW_LARGE (1ull << 30)
#define WINDOW_MAX (1ull << 44)
#define WINDOW_UNIT (2ull << 20)
#define WINDOW_SLOTS (512ull << 20) /* with mem-slots: QEMU ends a VM with 512 regions */
#define THRESHOLD_DEFAULT (1ull << 20)
#define WORKERS 16

const char vhost_options_capabilities[] = "{\n"
                                          "  \"type\": \"fs\"\n"
                                          "}\n";

static int set_string(const char **field, const char *value)
{
    char *copy = strdup(value);

    if (!copy)
        return -ENOMEM;
    free((char *)*field);
    *field = copy;
    return 0;
}

/* Descriptors 0 to 2 are what they are for everybody. */
static int set_fd(struct export_options *export, const char *value, char **ret_message)
{
    struct sockaddr_un address;
    socklen_t length = sizeof(address);
    char *end;

    errno = 0;
    unsigned long number = strtoul(value, &end, 10);
    if (errno || end == value || *end || number < 3 || number > INT_MAX)
        return message_set(ret_message, -EINVAL, "fd=%s: the number of an open socket is needed",
                           value);
    if (getsockname((int)number, (struct sockaddr *)&address, &length) < 0 ||
        address.sun_family != AF_UNIX)
        return message_set(ret_message, -EINVAL, "fd=%s: is no unix socket", value);
    (void)fcntl((int)number, F_SETFD, FD_CLOEXEC);
    export->fd = (int)number;
    return 0;
}

static int set_size(const char *word, const char *value, uint64_t *field, char **ret_message)
{
    return size_parse(value, field) == 0
               ? 0
               : message_set(ret_message, -EINVAL, "%s: a size is needed, as 256M or 1G", word);
}

static int set_window(const char *word, const char *value, uint64_t *field, char **ret_message)
{
    int error = set_size(word, value, field, ret_message);

    /* It is a PCI BAR; QEMU ends itself with an assertion for what is none. */
    if (!error && *field && (*field < WINDOW_UNIT || *field > WINDOW_MAX || *field & (*field - 1)))
        return message_set(ret_message, -EINVAL,
                           "%s: a power of two is needed, from 2M to 16T, or 0", word);
    return error;
}

static int parse_word(struct export_options *export, const char *word, bool first,
                      char **ret_message)
{
    static const char *const caches[] = { "auto", "always", "never", NULL };
    static const char *const daxes[] = { "size", "inode", "always", "never", NULL };
    const char *equals = strchr(word, '='), *value = equals ? equals + 1 : "";
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    unsigned choice = 0;
    int error = 0;

#define IS(name) (length == strlen(name) && memcmp(word, name, length) == 0)
    if (!equals && IS("ro")) {
        export->read_only = true;
    } else if (!equals && IS("ro-dax")) {
        export->ro_dax = true;
    } else if (!equals && IS("mem-slots")) {
        export->mem_slots = true;
    } else if (!equals && first) {
        error = *word ? set_string(&export->path, word) : 0;
    } else if (!equals || !*value) {
        error = message_set(ret_message, -EINVAL, "%s: %s", word,
                            equals ? "a value is missing" : "unknown word");
    } else if (IS("path")) {
        error = set_string(&export->path, value);
    } else if (IS("fd")) {
        error = set_fd(export, value, ret_message);
    } else if (IS("tag")) {
        error = strlen(value) > EXPORT_TAG_MAX
                    ? message_set(ret_message, -EINVAL, "%s: is longer than %d bytes", word,
                                  EXPORT_TAG_MAX)
                    : set_string(&export->tag, value);
    } else if (IS("root")) {
        error = value[0] != '/' ? message_set(ret_message, -EINVAL,
                                              "%s: must begin with /, the pool's root", word)
                                : set_string(&export->root, value);
    } else if (IS("window")) {
        error = set_window(word, value, &export->window, ret_message);
    } else if (IS("dax-threshold")) {
        error = set_size(word, value, &export->dax_threshold, ret_message);
    } else if (IS("queues")) {
        error = words_number(word, value, 1, EXPORT_QUEUES_MAX, &export->queues, ret_message);
    } else if (IS("cache")) {
        error = words_choice(word, value, caches, &choice, ret_message);
        export->cache = (enum guest_cache)choice;
    } else if (IS("dax")) {
        error = words_choice(word, value, daxes, &choice, ret_message);
        export->dax = (enum guest_dax)choice;
    } else {
        error = message_set(ret_message, -EINVAL, "%s: unknown word", word);
    }
#undef IS
    return error;
}

/* The next word of *AT, unescaped into WORD, which has room. False: there is none. */
static bool next_word(const char **at, char *word)
{
    const char *from = *at;

    if (!from)
        return false;
    for (; *from && (*from != ',' || from[1] == ','); from++) {
        *word++ = *from;
        if (*from == ',')
            from++;
    }
    *word = '\0';
    *at = *from ? from + 1 : NULL;
    return true;
}

static int parse_words(struct export_options *export, const char *text, char **ret_message)
{
    char *word = malloc(strlen(text) + 1);
    bool first = true;
    int error = 0;

    if (!word)
        return -ENOMEM;
    for (; !error && next_word(&text, word); first = false)
        error = parse_word(export, word, first, ret_message);
    free(word);
    return error;
}

int vhost_options_add(struct options *options, const char *text, bool is_fd, char **ret_message)
{
    unsigned count = options->server.export_count;
    struct export_options *list =
        reallocarray(options->exports, count + 1, sizeof(options->exports[0]));
    struct export_options *export;
    int error;

    if (!list)
        return -ENOMEM;
    options->exports = list;
    options->server.exports = list;
    options->server.export_count = count + 1;
    export = &list[count];
    *export = (struct export_options){ .fd = -1,
                                       .group = (gid_t)-1,
                                       .window = WINDOW_DEFAULT,
                                       .queues = 1,
                                       .threads = WORKERS,
                                       .dax_threshold = THRESHOLD_DEFAULT };
    error = set_string(&export->tag, "daxfuse");
    if (!error)
        error = set_string(&export->root, "/");
    if (!error)
        error = is_fd ? set_fd(export, text, ret_message) : parse_words(export, text, ret_message);
    if (error || *ret_message)
        return error;
    if (!export->path == (export->fd < 0))
        return message_set(ret_message, -EINVAL,
                           "%s: either the path of a socket is needed, or fd=N", text);
    return 0;
}

/* The child works in /. */
static int make_absolute(struct export_options *export)
{
    char folder[PATH_MAX], *joined;

    if (!export->path || export->path[0] == '/')
        return 0;
    if (!getcwd(folder, sizeof(folder)))
        return -errno;
    if (asprintf(&joined, "%s/%s", folder, export->path) < 0)
        return -ENOMEM;
    free((char *)export->path);
    export->path = joined;
    return 0;
}

static bool is_twice(const struct options *options, unsigned number)
{
    const struct export_options *export = &options->exports[number];

    for (unsigned i = 0; i < number; i++)
        if (export->path
                ? options->exports[i].path && strcmp(options->exports[i].path, export->path) == 0
                : options->exports[i].fd == export->fd)
            return true;
    return false;
}

int vhost_options_finish(struct options *options, char **ret_message)
{
    struct server_options *server = &options->server;
    const struct group *group = NULL;

    if (server->export_count >= POOL_DOORS)
        return message_set(ret_message, -EINVAL, "more than %u sockets", POOL_DOORS - 1);
    if (options->socket_group) {
        group = getgrnam(options->socket_group);
        if (!group)
            return message_set(ret_message, -EINVAL, "--socket-group %s: there is no such group",
                               options->socket_group);
    }
    for (unsigned i = 0; i < server->export_count; i++) {
        struct export_options *export = &options->exports[i];
        int error = make_absolute(export);

        if (error)
            return error;
        if (is_twice(options, i))
            return message_set(ret_message, -EINVAL, "--vhost-user: a socket is there twice");
        if (strlen(export->path ? export->path : "") >=
            sizeof(((struct sockaddr_un *)NULL)->sun_path))
            return message_set(ret_message, -EINVAL, "%s: is too long for a socket", export->path);
        if (export->mem_slots && export->window > WINDOW_SLOTS)
            return message_set(ret_message, -EINVAL,
                               "mem-slots: a window of at most 512M is needed, for QEMU ends a VM "
                               "that has 512 pieces mapped");
        export->group = group ? group->gr_gid : (gid_t)-1;
        export->read_only = export->read_only || server->fs_options.read_only;
        if (export->window > WINDOW_LARGE)
            log_warn("window=%lu: guests and VMM pay for each GiB that is mapped; see "
                     "daxfuse-virtiofs(7)",
                     (unsigned long)export->window);
        server->door.shared = true;
        if (!export->read_only) {
            server->door.direct = true;
            server->door.timeout = 0;
        }
    }
    return 0;
}

void vhost_options_free(struct options *options)
{
    for (unsigned i = 0; i < options->server.export_count; i++) {
        free((char *)options->exports[i].path);
        free((char *)options->exports[i].tag);
        free((char *)options->exports[i].root);
    }
    free(options->exports);
}
