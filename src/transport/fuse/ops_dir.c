/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations on open directories. Cookies are fs's, stable under change; the kernel gives back the one
 * it stopped at.
 */
#include "transport/fuse/door.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* More than the kernel asks for today is answered in parts. */
#define DIRECTORY_BUFFER_MAX (128u << 10)

struct filling {
    struct door_request *dr;
    char *buffer;
    size_t size, used;
};

static int fill_entry(void *arg, const struct fs_dirent *dirent, const struct fs_attr *attr)
{
    struct filling *filling = arg;
    struct door_request *dr = filling->dr;
    char name[256]; /* libfuse wants a NUL at the end */
    size_t length;

    memcpy(name, dirent->name.bytes, dirent->name.length);
    name[dirent->name.length] = '\0';
    size_t room = filling->size - filling->used;
    char *at = filling->buffer + filling->used;
    if (dr->plus) {
        /* Without attributes node id 0: the kernel takes the name and looks nothing up. */
        struct fuse_entry_param entry = {
            .attr = { .st_ino = dirent->ino, .st_mode = (mode_t)dirent->type << 12 },
        };
        if (attr)
            door_fill_entry(dr->door, attr, &entry);
        length = fuse_add_direntry_plus(dr->req, at, room, name, &entry, (off_t)dirent->next);
    } else {
        struct stat stat = { .st_ino = dirent->ino, .st_mode = (mode_t)dirent->type << 12 };
        length = fuse_add_direntry(dr->req, at, room, name, &stat, (off_t)dirent->next);
    }
    if (length > room)
        return 1;
    filling->used += length;
    return 0;
}

static int run_readdir(struct door_request *dr)
{
    struct filling filling = {
        .dr = dr,
        .size = dr->size < DIRECTORY_BUFFER_MAX ? dr->size : DIRECTORY_BUFFER_MAX,
    };

    filling.buffer = malloc(filling.size);
    if (!filling.buffer)
        return -ENOMEM;
    int error =
        fs_readdir(dr->door->fs, &dr->rq, dr->handle, dr->offset, dr->plus, fill_entry, &filling);
    if (!error)
        door_reply_buffer(dr, filling.buffer, filling.used);
    free(filling.buffer);
    return error;
}

static void readdir_common(fuse_req_t req, fuse_ino_t ino, size_t size, off_t cookie,
                           struct fuse_file_info *info, bool plus)
{
    static const struct door_op op = { DOOR_READDIR, false, run_readdir };
    struct door_request dr = {
        .ino = ino,
        .handle = door_handle(info),
        .size = size,
        .offset = (uint64_t)cookie,
        .plus = plus,
    };

    door_dispatch(&dr, req, &op);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t cookie,
                       struct fuse_file_info *info)
{
    readdir_common(req, ino, size, cookie, info, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t cookie,
                           struct fuse_file_info *info)
{
    readdir_common(req, ino, size, cookie, info, true);
}

void ops_dir_install(struct fuse_lowlevel_ops *table)
{
    /* fs opens, releases and syncs directories as it does files. */
    table->opendir = table->open;
    table->releasedir = table->release;
    table->fsyncdir = table->fsync;
    table->readdir = op_readdir;
    table->readdirplus = op_readdirplus;
}
