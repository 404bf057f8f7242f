/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a file lies and what is mapped, as JSON. */
#include "transport/control_extents.h"

#include <daxfuse/format.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void put_u64(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

static void put_bool(struct json_object *object, const char *key, bool value)
{
    json_object_object_add(object, key, json_object_new_boolean(value));
}

int control_list_extent(struct json_object *list, const struct fs_part *part)
{
    struct json_object *one = json_object_new_object();

    put_u64(one, "offset", part->offset);
    put_u64(one, "pool_offset", part->pool_offset);
    put_u64(one, "length", part->length);
    put_bool(one, "unwritten", part->unwritten);
    put_bool(one, "piece", part->piece);
    put_bool(one, "mapped", part->mapped);
    put_bool(one, "pinned", part->pinned);
    return json_object_array_add(list, one) < 0 ? -ENOMEM : 0;
}

static int list_extents(struct fs *fs, const struct fs_request *rq, uint64_t ino,
                        struct json_object *list, uint64_t *ret_count)
{
    struct fs_part parts[256];
    uint64_t at = 0;
    unsigned count;
    bool more;
    int error;

    do {
        error = fs_parts(fs, rq, ino, at, UINT64_MAX, parts, 256, &count, &more);
        for (unsigned i = 0; error == 0 && i < count; i++) {
            if ((*ret_count)++ < CONTROL_EXTENTS_MAX)
                error = control_list_extent(list, &parts[i]);
            at = parts[i].offset + parts[i].length;
        }
    } while (error == 0 && more);
    return error;
}

int control_extents(struct fs *fs, uint64_t ino, struct json_object *answer)
{
    const struct fs_request rq = { .in_group = true };
    struct json_object *list;
    uint64_t count = 0;
    struct fs_attr attr;

    int error = fs_getattr(fs, &rq, ino, &attr);
    if (error)
        return error;
    if (!S_ISREG(attr.mode)) {
        json_object_object_add(answer, "error", json_object_new_string("not a regular file"));
        return -EINVAL;
    }
    put_u64(answer, "inode", ino);
    put_u64(answer, "size", attr.size);
    put_u64(answer, "allocated", attr.blocks * DXF_BLOCK_SIZE);
    list = json_object_new_array();
    json_object_object_add(answer, "extents", list);
    error = list_extents(fs, &rq, ino, list, &count);
    put_u64(answer, "extent_count", count);
    return error;
}

int control_extents_of_path(struct fs *fs, const char *path, struct json_object *answer)
{
    const struct fs_request rq = { .in_group = true };
    struct fs_attr attr;
    int error = fs_lookup(fs, &rq, DXF_INO_ROOT, fs_name("."), &attr);

    if (error)
        return error;
    for (path += strspn(path, "/"); *path && !error; path += strspn(path, "/")) {
        struct fs_name name = { .bytes = path, .length = strcspn(path, "/") };
        uint64_t parent = attr.ino;
        error = fs_lookup(fs, &rq, parent, name, &attr);
        fs_forget(fs, parent, 1);
        path += name.length;
    }
    if (error)
        return error;
    error = control_extents(fs, attr.ino, answer);
    fs_forget(fs, attr.ino, 1);
    return error;
}

int control_mappings(struct fs *fs, uint64_t ino, struct json_object *answer)
{
    struct fs_mapping *mappings;
    uint64_t listed = 0;
    size_t count;

    int error = fs_mappings(fs, &mappings, &count);
    if (error)
        return error;
    struct json_object *list = json_object_new_array();
    json_object_object_add(answer, "mappings", list);
    for (size_t i = 0; i < count && error == 0; i++) {
        const struct fs_mapping *mapping = &mappings[i];
        if (ino != 0 && mapping->ino != ino)
            continue;
        if (listed++ >= CONTROL_EXTENTS_MAX)
            continue;
        struct json_object *one = json_object_new_object();
        put_u64(one, "inode", mapping->ino);
        put_u64(one, "offset", mapping->offset);
        put_bool(one, "zeros", mapping->pool_offset == 0);
        if (mapping->pool_offset != 0)
            put_u64(one, "pool_offset", mapping->pool_offset);
        json_object_object_add(one, "door", json_object_new_string(mapping->door));
        put_u64(one, "slot", mapping->slot);
        put_bool(one, "write", mapping->write);
        put_bool(one, "pinned", mapping->pinned);
        put_bool(one, "busy", mapping->busy);
        error = json_object_array_add(list, one) < 0 ? -ENOMEM : 0;
    }
    put_u64(answer, "mapping_count", listed);
    free(mappings);
    return error;
}
