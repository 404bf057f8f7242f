/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a file's bytes lie, as JSON: the server's answer to "extents", and what daxfuse-ctl says of
 * a pool that nobody serves. Owns nothing; any thread; locks as fs_extents.
 */
#ifndef DAXFUSE_TRANSPORT_CONTROL_EXTENTS_H
#define DAXFUSE_TRANSPORT_CONTROL_EXTENTS_H

#include "fs/fs.h"
#include <json-c/json.h>

/* Adds inode, size, allocated, extents and extent_count to an answer; where it is not a regular file
 * an "error" that says so. 0 or -errno. */
int control_extents(struct fs *fs, uint64_t ino, struct json_object *answer);

/* The same of the file with this path from the root; symlinks are not followed. */
int control_extents_of_path(struct fs *fs, const char *path, struct json_object *answer);

#endif
