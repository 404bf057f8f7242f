/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl extents: where a file's bytes lie in the pool. The file is named by its path in a
 * mount, or as POOL:/PATH whether the pool is served or not. Who may open a file in a mount asks it by
 * the ioctl, and needs no access to the server.
 */
#include "media/pool.h"
#include "tools/ctl.h"
#include "tools/size.h"
#include "transport/control_extents.h"

#include <daxfuse/ioctl.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* All of them. False: none come, or no more. */
static bool ask_file(int fd, struct json_object *list, uint64_t *ret_count)
{
    struct daxfuse_extents *some = malloc(sizeof(*some));
    uint64_t at = 0;
    bool good = some != NULL, more = true;

    while (good && more) {
        memset(some, 0, sizeof(*some));
        some->offset = at;
        some->length = UINT64_MAX;
        good = ioctl(fd, DAXFUSE_IOC_EXTENTS, some) == 0 && some->count <= DAXFUSE_EXTENTS_MAX;
        more = good && (some->flags & DAXFUSE_EXTENTS_MORE) && some->count > 0;
        for (unsigned i = 0; good && i < some->count; i++) {
            const struct daxfuse_extent *extent = &some->extents[i];
            const struct fs_part part = {
                .offset = extent->offset,
                .pool_offset = extent->pool_offset,
                .length = extent->length,
                .unwritten = extent->flags & DAXFUSE_EXTENT_UNWRITTEN,
                .piece = extent->flags & DAXFUSE_EXTENT_PIECE,
                .mapped = extent->flags & DAXFUSE_EXTENT_MAPPED,
                .pinned = extent->flags & DAXFUSE_EXTENT_PINNED,
            };
            if ((*ret_count)++ < CONTROL_EXTENTS_MAX)
                good = control_list_extent(list, &part) == 0;
            at = extent->offset + extent->length;
        }
    }
    free(some);
    return good;
}

/* NULL: it cannot be asked so. */
static struct json_object *extents_by_ioctl(const struct ctl *ctl)
{
    struct json_object *answer = NULL, *list;
    uint64_t count = 0;
    struct stat st;

    int fd = ctl_open_file(ctl, O_RDONLY);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0) {
        list = json_object_new_array();
        if (ask_file(fd, list, &count)) {
            answer = ctl_answer(ctl);
            ctl_put_u64(answer, "inode", st.st_ino);
            ctl_put_u64(answer, "size", (uint64_t)st.st_size);
            ctl_put_u64(answer, "allocated", (uint64_t)st.st_blocks * 512);
            json_object_object_add(answer, "extents", list);
            ctl_put_u64(answer, "extent_count", count);
        } else {
            json_object_put(list);
        }
    }
    close(fd);
    return answer;
}

static int extents_here(const struct ctl *ctl, struct json_object **ret_answer)
{
    struct json_object *answer = ctl_answer(ctl);

    int error = control_extents_of_path(ctl->fs, ctl->inner, answer);
    if (error < 0) {
        const char *why = ctl_get_string(answer, "error");
        int status = ctl_fail(ctl, "%s: %s", ctl->inner, *why ? why : strerror(-error));
        json_object_put(answer);
        return status;
    }
    *ret_answer = answer;
    return CTL_OK;
}

static int extents_served(const struct ctl *ctl, struct json_object **ret_answer)
{
    struct json_object *request = ctl_request("extents");
    struct stat st;

    if (ctl->inner != NULL) {
        ctl_put_string(request, "path", ctl->inner);
    } else if (stat(ctl->path, &st) == 0 && S_ISREG(st.st_mode)) {
        ctl_put_u64(request, "inode", st.st_ino);
    } else {
        json_object_put(request);
        return ctl_fail(ctl, "not a regular file");
    }
    return ctl_ask(ctl, request, ret_answer);
}

static void print_extents(const struct ctl *ctl, struct json_object *answer)
{
    struct json_object *list = ctl_get(answer, "extents", json_type_array);
    char a[SIZE_TEXT], b[SIZE_TEXT];
    uint64_t pieces = 0, end = 0;

    printf("%s%s%s: inode %" PRIu64 ", %s, %s allocated, %" PRIu64 " extents\n", ctl->path,
           ctl->inner ? ":" : "", ctl->inner ? ctl->inner : "", ctl_get_u64(answer, "inode"),
           size_format(ctl_get_u64(answer, "size"), a),
           size_format(ctl_get_u64(answer, "allocated"), b), ctl_get_u64(answer, "extent_count"));
    if (list == NULL || json_object_array_length(list) == 0)
        return;
    printf("%16s %16s %16s\n", "offset", "pool offset", "length");
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);
        uint64_t offset = ctl_get_u64(one, "offset"), length = ctl_get_u64(one, "length");
        uint64_t place = ctl_get_u64(one, "pool_offset");
        if (offset > end)
            printf("%16" PRIu64 " %16s %16" PRIu64 "\n", end, "hole", offset - end);
        printf("%16" PRIu64 " %16" PRIu64 " %16" PRIu64 "%s%s%s%s\n", offset, place, length,
               ctl_get_bool(one, "unwritten") ? "  unwritten" : "",
               ctl_get_bool(one, "piece") ? "  piece" : "",
               ctl_get_bool(one, "mapped") ? "  mapped" : "",
               ctl_get_bool(one, "pinned") ? "  pinned" : "");
        pieces += ctl_get_bool(one, "piece") ? length : 0;
        end = offset + length;
    }
    printf("%" PRIu64 " whole pieces of 2 MiB\n", pieces / DXF_PIECE_SIZE);
}

static int find_extents(struct ctl *ctl, struct json_object **ret_answer)
{
    struct json_object *answer = ctl->inner == NULL ? extents_by_ioctl(ctl) : NULL;

    if (answer != NULL) {
        *ret_answer = answer;
        return CTL_OK;
    }
    int status = ctl_open(ctl, false);
    if (status != CTL_OK)
        return status;
    if (ctl->server >= 0)
        return extents_served(ctl, ret_answer);
    if (ctl->inner == NULL)
        return ctl_fail(ctl, "name the file in it as %s:/PATH", ctl->path);
    return extents_here(ctl, ret_answer);
}

int ctl_extents(struct ctl *ctl)
{
    char *path = strdup(ctl->path);
    char *colon = path != NULL ? strstr(path, ":/") : NULL;
    struct json_object *answer;
    struct stat st;

    /* A file may be called so, too. */
    if (colon != NULL && stat(ctl->path, &st) != 0) {
        *colon = '\0';
        ctl->path = path;
        ctl->inner = colon + 1;
    }
    int status = find_extents(ctl, &answer);
    if (status == CTL_OK) {
        if (!ctl_print_json(ctl, answer))
            print_extents(ctl, answer);
        json_object_put(answer);
    }
    ctl_close(ctl);
    ctl->fs = NULL;
    ctl->pool = NULL;
    ctl->server = -1;
    free(path);
    return status;
}
