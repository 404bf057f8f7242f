/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a file's bytes lie, as JSON: the server's answer to "extents", and what daxfuse-ctl says of
 * a pool that nobody serves; and what is mapped. Owns nothing; any thread; locks as fs_parts.
 */
#ifndef DAXFUSE_TRANSPORT_CONTROL_EXTENTS_H
#define DAXFUSE_TRANSPORT_CONTROL_EXTENTS_H

#include "fs/fs.h"
#include <json-c/json.h>

#define CONTROL_EXTENTS_MAX 262144u /* listed, of extents and mappings; more are counted */

/* Adds inode, size, allocated, extents and extent_count to an answer; where it is not a regular file
 * an "error" that says so. 0 or -errno. */
int control_extents(struct fs *fs, uint64_t ino, struct json_object *answer);

/* The same of the file with this path from the root; symlinks are not followed. */
int control_extents_of_path(struct fs *fs, const char *path, struct json_object *answer);

/* Adds one extent to a list. 0 or -ENOMEM. */
int control_list_extent(struct json_object *list, const struct fs_part *part);

/* Adds mappings and mapping_count, of one inode or (0) of all. 0 or -errno. */
int control_mappings(struct fs *fs, uint64_t ino, struct json_object *answer);

#endif
