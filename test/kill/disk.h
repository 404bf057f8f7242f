/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is on the disk below one thread's directory, read once. Owns its memory; no locks.
 */
#pragma once

#include "ledger.h"

#define DISK_XATTR_LIMIT 4096U

struct disk_node {
    enum object_type type;
    uint64_t inode, links, size;
    mode_t mode;
    uint8_t *data; /* of a file: FILE_LIMIT bytes, zero past size; of a symlink: the target */
    int xattr_length[XATTR_COUNT]; /* 0: not there */
    uint8_t *xattr[XATTR_COUNT];
    int entries[NAME_COUNT]; /* of a directory: index of a node, or -1 */
    bool foreign;            /* a directory that holds a name which the workload never makes */
};

struct disk {
    struct disk_node *nodes; /* [0] is the root; a file with two names is one node */
    unsigned count;
};

/*
 * Reads the tree. Returns 0 or -errno; the place of the failure is copied to ret_where, which holds
 * `size` bytes. A file larger than FILE_LIMIT is -EFBIG, another type of file -EINVAL.
 */
int disk_read(struct disk *disk, const char *path, char *ret_where, size_t size);
void disk_clear(struct disk *disk);

/* The node of an inode number, or NULL. */
struct disk_node *disk_find(struct disk *disk, uint64_t inode);
