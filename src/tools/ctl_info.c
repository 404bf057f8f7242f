/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl info and stat.
 */
#include "base/uuid.h"
#include "journal/journal.h"
#include "media/pool.h"
#include "space/space.h"
#include "tools/ctl.h"
#include "tools/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- info ----------------------------------------------------------------------------------------- */

static void put_super(struct json_object *answer, const struct dxf_super *super)
{
    char uuid[UUID_TEXT];

    ctl_put_string(answer, "uuid", uuid_format(super->uuid, uuid));
    json_object_object_add(
        answer, "label",
        json_object_new_string_len(super->label, (int)strnlen(super->label, sizeof(super->label))));
    ctl_put_u64(answer, "format_version", le32_get(super->version));
    ctl_put_u64(answer, "created_ns", le64_get(super->created));
    ctl_put_u64(answer, "features_compat", le64_get(super->compat));
    ctl_put_u64(answer, "features_ro_compat", le64_get(super->ro_compat));
    ctl_put_u64(answer, "features_incompat", le64_get(super->incompat));
    ctl_put_u64(answer, "log_count", le32_get(super->log_count));
    ctl_put_u64(answer, "log_size", (uint64_t)le32_get(super->log_blocks) * DXF_BLOCK_SIZE);
    ctl_put_u64(answer, "reserve", le64_get(super->reserve_blocks) * DXF_BLOCK_SIZE);
    ctl_put_u64(answer, "error_count", le32_get(super->error_count));
    ctl_put_bool(answer, "needs_fsck", le32_get(super->flags) & DXF_SUPER_NEEDS_FSCK);
}

static struct json_object *info_here(const struct ctl *ctl)
{
    struct json_object *answer = ctl_answer(ctl);
    struct fs_statfs statfs;

    fs_statfs(ctl->fs, &statfs);
    ctl_put_string(answer, "pool", ctl->pool->path);
    put_super(answer, &ctl->pool->super);
    ctl_put_u64(answer, "size", ctl->pool->size);
    ctl_put_u64(answer, "free", statfs.free * DXF_BLOCK_SIZE);
    ctl_put_u64(answer, "available", statfs.available * DXF_BLOCK_SIZE);
    ctl_put_u64(answer, "inodes", statfs.inodes);
    ctl_put_u64(answer, "inodes_free", statfs.inodes_free);
    return answer;
}

static void print_time(const char *label, uint64_t ns)
{
    time_t seconds = (time_t)(ns / 1000000000u);
    struct tm broken;
    char text[64];

    if (localtime_r(&seconds, &broken) != NULL &&
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %z", &broken) > 0)
        printf("%-12s %s\n", label, text);
}

/* There is no mountpoint where only guests are served. */
static void print_served(struct json_object *info)
{
    const char *mountpoint = ctl_get_string(info, "mountpoint");
    char by[64] = "a process in another namespace";

    if (ctl_get_u64(info, "pid") > 0)
        snprintf(by, sizeof(by), "process %" PRIu64, ctl_get_u64(info, "pid"));
    printf("%-12s by %s%s%s\n", "served", by, mountpoint[0] ? " at " : ", not mounted", mountpoint);
}

static void print_info(struct json_object *info, bool served)
{
    char a[SIZE_TEXT], b[SIZE_TEXT];

    printf("%-12s %s\n", "pool", ctl_get_string(info, "pool"));
    if (ctl_get_string(info, "label")[0] != '\0')
        printf("%-12s %s\n", "label", ctl_get_string(info, "label"));
    printf("%-12s %s\n", "uuid", ctl_get_string(info, "uuid"));
    print_time("made", ctl_get_u64(info, "created_ns"));
    printf("%-12s %s, %s available\n", "size", size_format(ctl_get_u64(info, "size"), a),
           size_format(ctl_get_u64(info, "available"), b));
    printf("%-12s %" PRIu64 " in use\n", "inodes",
           ctl_get_u64(info, "inodes") - ctl_get_u64(info, "inodes_free"));
    printf("%-12s version %" PRIu64 "\n", "format", ctl_get_u64(info, "format_version"));
    if (ctl_get_u64(info, "log_count") > 0)
        printf("%-12s %" PRIu64 " logs of %s\n", "journal", ctl_get_u64(info, "log_count"),
               size_format(ctl_get_u64(info, "log_size"), a));
    struct json_object *needs;
    if (json_object_object_get_ex(info, "needs_fsck", &needs) && json_object_get_boolean(needs))
        printf("%-12s damage was met %" PRIu64 " times: run fsck.daxfuse\n", "errors",
               ctl_get_u64(info, "error_count"));
    if (!served) {
        printf("%-12s no\n", "served");
        return;
    }
    print_served(info);
    printf("%-12s %s\n", "mount", ctl_get_string(info, "mount_line"));
}

int ctl_info(struct ctl *ctl)
{
    struct json_object *info;

    int status = ctl_open(ctl, false);
    if (status != CTL_OK)
        return status;
    bool served = ctl->server >= 0;
    if (served)
        status = ctl_ask(ctl, ctl_request("info"), &info);
    else
        info = info_here(ctl);
    if (status == CTL_OK) {
        ctl_put_bool(info, "served", served);
        if (served)
            ctl_put_u64(info, "pid", ctl->pid); /* its own number may be another one */
        if (!ctl_print_json(ctl, info))
            print_info(info, served);
        json_object_put(info);
    }
    return status;
}

/* ---- stat ------------------------------------------------------------------------------------------- */

static struct json_object *stat_here(const struct ctl *ctl)
{
    struct json_object *answer = ctl_answer(ctl), *part;
    struct journal_stats journal;
    struct space_info space;

    journal_get_stats(fs_journal(ctl->fs), &journal);
    space_get_info(fs_space(ctl->fs), &space);
    part = json_object_new_object();
    ctl_put_u64(part, "sequence", journal.sequence);
    ctl_put_u64(part, "retired", journal.retired);
    json_object_object_add(answer, "journal", part);
    part = json_object_new_object();
    ctl_put_u64(part, "size", space.blocks * DXF_BLOCK_SIZE);
    ctl_put_u64(part, "free", space.free * DXF_BLOCK_SIZE);
    ctl_put_u64(part, "available", space.available * DXF_BLOCK_SIZE);
    ctl_put_u64(part, "reserve", space.reserve * DXF_BLOCK_SIZE);
    ctl_put_u64(part, "held", space.held * DXF_BLOCK_SIZE);
    ctl_put_u64(part, "pieces_free", space.pieces_free);
    json_object_object_add(answer, "space", part);
    return answer;
}

static void print_requests(const char *heading, struct json_object *requests)
{
    if (requests == NULL || json_object_object_length(requests) == 0)
        return;
    printf("%-16s %12s %8s %12s %12s\n", heading, "count", "errors", "mean ns", "longest ns");
    json_object_object_foreach(requests, name, one) {
        uint64_t count = ctl_get_u64(one, "count");
        printf("  %-14s %12" PRIu64 " %8" PRIu64 " %12" PRIu64 " %12" PRIu64 "\n", name, count,
               ctl_get_u64(one, "errors"), count ? ctl_get_u64(one, "total_ns") / count : 0,
               ctl_get_u64(one, "longest_ns"));
    }
}

static void print_guests(struct json_object *guests)
{
    for (size_t i = 0; guests && i < json_object_array_length(guests); i++) {
        struct json_object *one = json_object_array_get_idx(guests, i);

        printf("%-12s %s, %s\n", "guest", ctl_get_string(one, "socket"),
               ctl_get_bool(one, "connected") ? "connected" : "not connected");
        print_requests("  its requests", ctl_get(one, "requests", json_type_object));
    }
}

static void print_stat(struct json_object *stat, bool served)
{
    struct json_object *part = ctl_get(stat, "space", json_type_object);
    char a[SIZE_TEXT], b[SIZE_TEXT], c[SIZE_TEXT];

    printf("%-12s %s free of %s, %s in reserve, %" PRIu64 " whole pieces free\n", "space",
           size_format(ctl_get_u64(part, "free"), a), size_format(ctl_get_u64(part, "size"), b),
           size_format(ctl_get_u64(part, "reserve"), c), ctl_get_u64(part, "pieces_free"));
    part = ctl_get(stat, "journal", json_type_object);
    printf("%-12s sequence %" PRIu64 ", retired %" PRIu64 "\n", "journal",
           ctl_get_u64(part, "sequence"), ctl_get_u64(part, "retired"));
    if (!served) {
        puts("not served: there are no counters");
        return;
    }
    printf("%-12s %" PRIu64 " commits, %" PRIu64 " records, %s, %" PRIu64 " retirements\n", "",
           ctl_get_u64(part, "commits"), ctl_get_u64(part, "records"),
           size_format(ctl_get_u64(part, "bytes"), a), ctl_get_u64(part, "retirements"));
    part = ctl_get(stat, "persist", json_type_object);
    printf("%-12s %" PRIu64 " stores, %" PRIu64 " fences, %" PRIu64 " system calls, flushed %s of "
           "data and %s of metadata\n",
           "medium", ctl_get_u64(part, "stores"), ctl_get_u64(part, "fences"),
           ctl_get_u64(part, "syncs"), size_format(ctl_get_u64(part, "flushed_data"), a),
           size_format(ctl_get_u64(part, "flushed_metadata"), b));
    part = ctl_get(stat, "fs", json_type_object);
    printf("%-12s %" PRIu64 " inodes cached, %" PRIu64 " open, %" PRIu64 " known to a kernel\n",
           "memory", ctl_get_u64(part, "inodes_cached"), ctl_get_u64(part, "handles"),
           ctl_get_u64(part, "lookups"));
    print_requests("requests", ctl_get(stat, "requests", json_type_object));
    print_guests(ctl_get(stat, "guests", json_type_array));
}

int ctl_stat(struct ctl *ctl)
{
    struct json_object *stat;

    int status = ctl_open(ctl, false);
    if (status != CTL_OK)
        return status;
    bool served = ctl->server >= 0;
    if (served)
        status = ctl_ask(ctl, ctl_request("stat"), &stat);
    else
        stat = stat_here(ctl);
    if (status == CTL_OK) {
        ctl_put_bool(stat, "served", served);
        if (!ctl_print_json(ctl, stat))
            print_stat(stat, served);
        json_object_put(stat);
    }
    return status;
}
