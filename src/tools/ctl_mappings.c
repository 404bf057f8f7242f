/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl mappings: what is mapped directly of a pool, or of one file of it, and by which door. Only a
 * server has mappings: a pool without one has none.
 */
#include "tools/ctl.h"
#include "tools/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void print_mapping(struct json_object *one)
{
    bool zeros = ctl_get_bool(one, "zeros");
    char place[SIZE_TEXT] = "zeros";

    if (!zeros)
        snprintf(place, sizeof(place), "%" PRIu64, ctl_get_u64(one, "pool_offset"));
    printf("%12" PRIu64 " %16" PRIu64 " %16s %8" PRIu64 "  %s%s%s%s\n", ctl_get_u64(one, "inode"),
           ctl_get_u64(one, "offset"), place, ctl_get_u64(one, "slot"), ctl_get_string(one, "door"),
           ctl_get_bool(one, "write") ? "  write" : "",
           ctl_get_bool(one, "pinned") ? "  pinned" : "",
           ctl_get_bool(one, "busy") ? "  busy" : "");
}

static void print_mappings(const struct ctl *ctl, struct json_object *answer)
{
    struct json_object *list = ctl_get(answer, "mappings", json_type_array);
    size_t count = list ? json_object_array_length(list) : 0;

    printf("%s: %" PRIu64 " chunks mapped directly\n", ctl->path,
           ctl_get_u64(answer, "mapping_count"));
    if (count > 0)
        printf("%12s %16s %16s %8s  %s\n", "inode", "offset", "pool offset", "slot", "door");
    for (size_t i = 0; i < count; i++)
        print_mapping(json_object_array_get_idx(list, i));
}

int ctl_mappings(struct ctl *ctl)
{
    struct json_object *answer;
    struct stat file;

    int status = ctl_connect(ctl);
    if (status != CTL_OK)
        return status;
    if (ctl->server < 0) {
        answer = ctl_answer(ctl);
        json_object_object_add(answer, "mappings", json_object_new_array());
        ctl_put_u64(answer, "mapping_count", 0);
    } else {
        struct json_object *request = ctl_request("mappings");
        if (ctl->found.mounted && stat(ctl->path, &file) == 0 && S_ISREG(file.st_mode))
            ctl_put_u64(request, "inode", file.st_ino);
        status = ctl_ask(ctl, request, &answer);
        if (status != CTL_OK)
            return status;
    }
    if (!ctl_print_json(ctl, answer))
        print_mappings(ctl, answer);
    json_object_put(answer);
    return CTL_OK;
}
