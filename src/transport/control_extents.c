/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The extents of a file, as JSON. */
#include "transport/control_extents.h"

#include <daxfuse/format.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define EXTENTS_MAX 262144u /* listed; more are counted */

struct listing {
    struct json_object *extents;
    uint64_t count;
};

static void put_u64(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

static int list_extent(void *arg, const struct fs_extent *extent)
{
    struct listing *listing = arg;

    if (listing->count++ >= EXTENTS_MAX)
        return 0;
    struct json_object *one = json_object_new_object();
    put_u64(one, "offset", extent->offset);
    put_u64(one, "pool_offset", extent->pool_offset);
    put_u64(one, "length", extent->length);
    json_object_object_add(one, "unwritten", json_object_new_boolean(extent->unwritten));
    return json_object_array_add(listing->extents, one) < 0 ? -ENOMEM : 0;
}

int control_extents(struct fs *fs, uint64_t ino, struct json_object *answer)
{
    const struct fs_request rq = { .in_group = true };
    struct listing listing = { 0 };
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
    listing.extents = json_object_new_array();
    json_object_object_add(answer, "extents", listing.extents);
    error = fs_extents(fs, &rq, ino, list_extent, &listing);
    put_u64(answer, "extent_count", listing.count);
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
