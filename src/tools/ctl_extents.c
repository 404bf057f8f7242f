/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl extents: where a file's bytes lie in the pool. The file is named by its path in a
 * mount, or as POOL:/PATH whether the pool is served or not.
 */
#include "media/pool.h"
#include "tools/ctl.h"
#include "tools/size.h"
#include "transport/control_extents.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
        struct json_object *one = json_object_array_get_idx(list, i), *unwritten;
        uint64_t offset = ctl_get_u64(one, "offset"), length = ctl_get_u64(one, "length");
        uint64_t place = ctl_get_u64(one, "pool_offset");
        json_object_object_get_ex(one, "unwritten", &unwritten);
        if (offset > end)
            printf("%16" PRIu64 " %16s %16" PRIu64 "\n", end, "hole", offset - end);
        printf("%16" PRIu64 " %16" PRIu64 " %16" PRIu64 "%s\n", offset, place, length,
               json_object_get_boolean(unwritten) ? "  unwritten" : "");
        /* Whole aligned pieces at aligned places are what can be mapped directly. */
        if (offset % DXF_PIECE_SIZE == place % DXF_PIECE_SIZE) {
            uint64_t first = (offset + DXF_PIECE_SIZE - 1) / DXF_PIECE_SIZE;
            uint64_t last = (offset + length) / DXF_PIECE_SIZE;
            pieces += last > first ? last - first : 0;
        }
        end = offset + length;
    }
    printf("%" PRIu64 " whole pieces of 2 MiB\n", pieces);
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
    int status = ctl_open(ctl, false);
    if (status == CTL_OK && ctl->server >= 0)
        status = extents_served(ctl, &answer);
    else if (status == CTL_OK && ctl->inner == NULL)
        status = ctl_fail(ctl, "name the file in it as %s:/PATH", ctl->path);
    else if (status == CTL_OK)
        status = extents_here(ctl, &answer);
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
