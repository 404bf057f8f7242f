/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The requests of the control socket. One table: name and function. A function fills the answer, or
 * returns -errno and may put a sentence about it into the answer's "error". Keys are snake_case,
 * amounts bytes and nanoseconds.
 */
#include "transport/control.h"

#include "base/endian.h"
#include "base/uuid.h"
#include "journal/journal.h"
#include "media/persist.h"
#include "media/pool.h"
#include "space/space.h"
#include "transport/control_extents.h"
#include "transport/server.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void put_u64(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

static void put_bool(struct json_object *object, const char *key, bool value)
{
    json_object_object_add(object, key, json_object_new_boolean(value));
}

static void put_string(struct json_object *object, const char *key, const char *value)
{
    json_object_object_add(object, key, value ? json_object_new_string(value) : NULL);
}

static struct json_object *put_object(struct json_object *object, const char *key)
{
    struct json_object *inner = json_object_new_object();

    json_object_object_add(object, key, inner);
    return inner;
}

/* For an error that its number does not explain. */
static int fail(struct json_object *answer, int error, const char *why)
{
    put_string(answer, "error", why);
    return error;
}

/* ---- info ---------------------------------------------------------------------------------------- */

static int request_info(struct server *server, struct json_object *request,
                        struct json_object *answer)
{
    struct fs *fs = server_fs(server);
    struct pool *pool = fs_pool(fs);
    const struct dxf_super *super = &pool->super;
    const struct fs_recovered *recovered = server_recovered(server);
    const struct door *door = server_door(server);
    struct fs_statfs statfs;
    struct stat file = { 0 };
    char uuid[UUID_TEXT];
    uint64_t file_id[2];

    (void)request;
    if (fstat(pool->fd, &file) < 0)
        return -errno;
    control_file_id(&file, file_id);
    fs_statfs(fs, &statfs);
    put_string(answer, "pool", pool->path);
    put_u64(answer, "pool_device", file_id[0]);
    put_u64(answer, "pool_inode", file_id[1]);
    put_string(answer, "uuid", uuid_format(super->uuid, uuid));
    json_object_object_add(
        answer, "label", json_object_new_string_len(super->label, (int)strnlen(super->label, 64)));
    put_u64(answer, "format_version", le32_get(super->version));
    put_string(answer, "server_version", DAXFUSE_VERSION);
    put_u64(answer, "pid", (uint64_t)getpid());
    put_u64(answer, "uptime_ns", server_uptime(server));
    put_u64(answer, "created_ns", le64_get(super->created));
    put_u64(answer, "size", pool->size);
    put_u64(answer, "free", statfs.free * DXF_BLOCK_SIZE);
    put_u64(answer, "available", statfs.available * DXF_BLOCK_SIZE);
    put_u64(answer, "inodes", statfs.inodes);
    put_u64(answer, "inodes_free", statfs.inodes_free);
    put_bool(answer, "read_only", pool->read_only);
    put_bool(answer, "failed", atomic_load(&pool->failed));
    put_u64(answer, "bad_pages", atomic_load(&pool->bad_pages));
    put_u64(answer, "error_count", le32_get(super->error_count));
    put_bool(answer, "needs_fsck", le32_get(super->flags) & DXF_SUPER_NEEDS_FSCK);
    put_bool(answer, "pmem", pool->is_pmem);
    put_string(answer, "pmem_reason", pool->why);
    put_string(answer, "flush", pool->flush);
    put_string(answer, "durability",
               pool->durability == POOL_DURABILITY_POWER ? "power" : "process");
    put_string(answer, "mountpoint", door ? door_mountpoint(door) : NULL);
    put_string(answer, "transport", door ? door_transport(door) : NULL);
    put_string(answer, "transport_reason", door ? door_transport_reason(door) : NULL);
    put_bool(answer, "passthrough", false);
    put_u64(answer, "kernel_fuse_minor", door ? door_kernel_minor(door) : 0);
    put_u64(answer, "recovered_entries", recovered->entries);
    put_u64(answer, "recovered_orphans", recovered->orphans);
    put_u64(answer, "recovered_operations", recovered->intents);
    put_string(answer, "mount_line", server_mount_line(server));
    return 0;
}

/* ---- stat ----------------------------------------------------------------------------------------- */

static void put_stats(struct json_object *requests, const struct door_kind_stats *stats)
{
    if (stats->count == 0)
        return;
    struct json_object *one = put_object(requests, stats->name);
    put_u64(one, "count", stats->count);
    put_u64(one, "errors", stats->errors);
    put_u64(one, "total_ns", stats->time);
    put_u64(one, "longest_ns", stats->longest);
}

static void put_requests(const struct door *door, struct json_object *answer)
{
    struct json_object *requests = put_object(answer, "requests");
    struct door_kind_stats stats;

    for (unsigned kind = 0; door && door_get_stats(door, kind, &stats); kind++)
        put_stats(requests, &stats);
    put_u64(answer, "requests_handed_over", door ? door_handed_over(door) : 0);
}

static void put_exports(const struct server *server, struct json_object *answer)
{
    struct json_object *list = json_object_new_array();
    struct door_kind_stats stats;

    json_object_object_add(answer, "guests", list);
    for (unsigned i = 0; i < server_export_count(server); i++) {
        const struct export *export = server_export(server, i);
        struct json_object *one = json_object_new_object();

        json_object_array_add(list, one);
        put_string(one, "socket", export_name(export));
        put_bool(one, "connected", export_is_connected(export));
        struct json_object *requests = put_object(one, "requests");
        for (unsigned kind = 0; export_get_stats(export, kind, &stats); kind++)
            put_stats(requests, &stats);
    }
}

static int request_stat(struct server *server, struct json_object *request,
                        struct json_object *answer)
{
    struct fs *fs = server_fs(server);
    struct persist_counters persist;
    struct journal_stats journal;
    struct space_info space;
    struct fs_info info;

    (void)request;
    persist_get_counters(fs_pool(fs)->persist, &persist);
    journal_get_stats(fs_journal(fs), &journal);
    space_get_info(fs_space(fs), &space);
    fs_get_info(fs, &info);

    struct json_object *part = put_object(answer, "persist");
    put_u64(part, "stores", persist.stores);
    put_u64(part, "flushed_data", persist.flushed[PERSIST_DATA]);
    put_u64(part, "flushed_metadata", persist.flushed[PERSIST_METADATA]);
    put_u64(part, "fences", persist.fences);
    put_u64(part, "syncs", persist.syncs);
    part = put_object(answer, "journal");
    put_u64(part, "commits", journal.commits);
    put_u64(part, "records", journal.records);
    put_u64(part, "bytes", journal.bytes);
    put_u64(part, "retirements", journal.retirements);
    put_u64(part, "sequence", journal.sequence);
    put_u64(part, "retired", journal.retired);
    part = put_object(answer, "space");
    put_u64(part, "size", space.blocks * DXF_BLOCK_SIZE);
    put_u64(part, "free", space.free * DXF_BLOCK_SIZE);
    put_u64(part, "available", space.available * DXF_BLOCK_SIZE);
    put_u64(part, "reserve", space.reserve * DXF_BLOCK_SIZE);
    put_u64(part, "held", space.held * DXF_BLOCK_SIZE);
    put_u64(part, "pieces_free", space.pieces_free);
    part = put_object(answer, "fs");
    put_u64(part, "inodes_cached", info.inodes_cached);
    put_u64(part, "handles", info.handles);
    put_u64(part, "lookups", info.lookups);
    put_requests(server_door(server), answer);
    put_exports(server, answer);
    put_u64(answer, "uptime_ns", server_uptime(server));
    return 0;
}

/* ---- extents and mappings ------------------------------------------------------------------------- */

static int request_extents(struct server *server, struct json_object *request,
                           struct json_object *answer)
{
    struct fs *fs = server_fs(server);
    struct json_object *path, *inode;

    if (json_object_object_get_ex(request, "path", &path) &&
        json_object_is_type(path, json_type_string))
        return control_extents_of_path(fs, json_object_get_string(path), answer);
    if (json_object_object_get_ex(request, "inode", &inode) &&
        json_object_is_type(inode, json_type_int))
        return control_extents(fs, json_object_get_uint64(inode), answer);
    return fail(answer, -EINVAL,
                "path (a string, from the root of the mount) or inode (a number) is needed");
}

static int request_mappings(struct server *server, struct json_object *request,
                            struct json_object *answer)
{
    struct json_object *inode;
    uint64_t ino = 0;

    if (json_object_object_get_ex(request, "inode", &inode)) {
        if (!json_object_is_type(inode, json_type_int) || json_object_get_int64(inode) <= 0)
            return fail(answer, -EINVAL, "inode is a number");
        ino = json_object_get_uint64(inode);
    }
    return control_mappings(server_fs(server), ino, answer);
}

/* ---- orders ------------------------------------------------------------------------------------------ */

/* What is mapped may be more, after a growth that failed on its way. */
static uint64_t pool_size(struct fs *fs)
{
    struct space_info info;

    space_get_info(fs_space(fs), &info);
    return info.blocks * DXF_BLOCK_SIZE;
}

static int request_grow(struct server *server, struct json_object *request,
                        struct json_object *answer)
{
    struct fs *fs = server_fs(server);
    struct json_object *size;

    if (!json_object_object_get_ex(request, "size", &size) ||
        !json_object_is_type(size, json_type_int) || json_object_get_int64(size) <= 0)
        return fail(answer, -EINVAL, "size (a number of bytes) is needed");
    put_u64(answer, "size_before", pool_size(fs));
    int error = fs_grow(fs, json_object_get_uint64(size));
    put_u64(answer, "size", pool_size(fs));
    if (error == -EINVAL)
        return fail(answer, error, "the new size must be larger and a multiple of 4096");
    if (error == -ENOMEM)
        return fail(answer, error,
                    "no address space was kept for that much: stop the server, then grow");
    return error;
}

static int request_sync(struct server *server, struct json_object *request,
                        struct json_object *answer)
{
    (void)request;
    (void)answer;
    return fs_sync(server_fs(server));
}

/* The answer still goes out: the socket is closed when it has been sent. */
static int request_stop(struct server *server, struct json_object *request,
                        struct json_object *answer)
{
    (void)request;
    put_u64(answer, "pid", (uint64_t)getpid());
    server_stop(server);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(struct server *server, struct json_object *request, struct json_object *answer);
} requests[] = {
    { "info", request_info },
    { "stat", request_stat },
    { "extents", request_extents },
    { "mappings", request_mappings },
    { "layout", control_answer_layout },
    { "grow", request_grow },
    { "sync", request_sync },
    { "stop", request_stop },
};

static void answer_request(struct server *server, struct json_object *request,
                           struct json_object *answer)
{
    struct json_object *command;

    if (!json_object_is_type(request, json_type_object) ||
        !json_object_object_get_ex(request, "command", &command) ||
        !json_object_is_type(command, json_type_string)) {
        put_string(answer, "command", NULL);
        put_string(answer, "error", "a request is an object with the key command");
        return;
    }
    const char *name = json_object_get_string(command);
    put_string(answer, "command", name);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        if (strcmp(name, requests[i].name) != 0)
            continue;
        int error = requests[i].run(server, request, answer);
        if (error) {
            if (!json_object_object_get_ex(answer, "error", NULL))
                put_string(answer, "error", strerror(-error));
            put_u64(answer, "errno", (uint64_t)-error);
        }
        return;
    }
    put_string(answer, "error", "no such command");
}

struct json_object *control_answer(struct server *server, const char *line, size_t length)
{
    struct json_object *answer = json_object_new_object();
    struct json_tokener *tokener = json_tokener_new_ex(16); /* depth */
    struct json_object *request = NULL;

    if (!answer || !tokener)
        goto out;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    json_object_object_add(answer, "version", json_object_new_int(CONTROL_VERSION));
    request = json_tokener_parse_ex(tokener, line, (int)length);
    enum json_tokener_error state = json_tokener_get_error(tokener);
    if (state != json_tokener_success || json_tokener_get_parse_end(tokener) < length) {
        put_string(answer, "command", NULL);
        put_string(answer, "error", "not a JSON object");
    } else {
        answer_request(server, request, answer);
    }

out:
    json_object_put(request);
    if (tokener)
        json_tokener_free(tokener);
    return answer;
}
