/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations on names: lookup, the makers, link, unlink, rename, readlink, and forget.
 *
 * The kernel makes node ids up from file handles (open_by_handle_at) and asks with LOOKUP "." and
 * ".."; fs_lookup says -ESTALE for what is not there, and the kernel compares generations.
 */
#include "transport/fuse/door.h"

#include "transport/convert.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

static int run_lookup(struct door_request *dr)
{
    struct fs_attr attr;
    int error = fs_lookup(dr->door->fs, &dr->rq, dr->ino, fs_name(dr->name), &attr);

    if (error == -ENOENT) {
        door_reply_no_entry(dr);
        return 0;
    }
    if (error)
        return error;
    door_reply_entry(dr, &attr);
    return 0;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    static const struct door_op op = { DOOR_LOOKUP, false, run_lookup };
    struct door_request dr = { .ino = parent, .name = name };

    door_dispatch(&dr, req, &op);
}

static int run_mknod(struct door_request *dr)
{
    struct fs_attr attr;
    uint32_t device = (uint32_t)dr->device;
    int error = fs_mknod(dr->door->fs, &dr->rq, dr->ino, fs_name(dr->name), dr->mode,
                         convert_device_major(device), convert_device_minor(device), &attr);

    if (error)
        return error;
    door_reply_entry(dr, &attr);
    return 0;
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
    static const struct door_op op = { DOOR_MKNOD, false, run_mknod };
    struct door_request dr = { .ino = parent, .name = name, .mode = mode, .device = device };

    door_dispatch(&dr, req, &op);
}

static int run_mkdir(struct door_request *dr)
{
    struct fs_attr attr;
    int error = fs_mkdir(dr->door->fs, &dr->rq, dr->ino, fs_name(dr->name), dr->mode, &attr);

    if (error)
        return error;
    door_reply_entry(dr, &attr);
    return 0;
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    static const struct door_op op = { DOOR_MKDIR, false, run_mkdir };
    struct door_request dr = { .ino = parent, .name = name, .mode = mode };

    door_dispatch(&dr, req, &op);
}

static int run_symlink(struct door_request *dr)
{
    struct fs_attr attr;
    int error =
        fs_symlink(dr->door->fs, &dr->rq, dr->ino, fs_name(dr->name), fs_name(dr->new_name), &attr);

    if (error)
        return error;
    door_reply_entry(dr, &attr);
    return 0;
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    static const struct door_op op = { DOOR_SYMLINK, false, run_symlink };
    struct door_request dr = { .ino = parent, .name = name, .new_name = target };

    door_dispatch(&dr, req, &op);
}

static int run_link(struct door_request *dr)
{
    struct fs_attr attr;
    int error = fs_link(dr->door->fs, &dr->rq, dr->other, dr->ino, fs_name(dr->name), &attr);

    if (error)
        return error;
    door_reply_entry(dr, &attr);
    return 0;
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    static const struct door_op op = { DOOR_LINK, false, run_link };
    struct door_request dr = { .ino = parent, .other = ino, .name = name };

    door_dispatch(&dr, req, &op);
}

static int run_unlink(struct door_request *dr)
{
    int error = fs_unlink(dr->door->fs, &dr->rq, dr->ino, fs_name(dr->name));

    if (error)
        return error;
    door_reply_error(dr, 0);
    return 0;
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    static const struct door_op op = { DOOR_UNLINK, false, run_unlink };
    struct door_request dr = { .ino = parent, .name = name };

    door_dispatch(&dr, req, &op);
}

static int run_rmdir(struct door_request *dr)
{
    int error = fs_rmdir(dr->door->fs, &dr->rq, dr->ino, fs_name(dr->name));

    if (error)
        return error;
    door_reply_error(dr, 0);
    return 0;
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    static const struct door_op op = { DOOR_RMDIR, false, run_rmdir };
    struct door_request dr = { .ino = parent, .name = name };

    door_dispatch(&dr, req, &op);
}

static int run_rename(struct door_request *dr)
{
    int error = fs_rename(dr->door->fs, &dr->rq, dr->ino, fs_name(dr->name), dr->other,
                          fs_name(dr->new_name), (unsigned)dr->flags);

    if (error)
        return error;
    door_reply_error(dr, 0);
    return 0;
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    static const struct door_op op = { DOOR_RENAME, false, run_rename };
    struct door_request dr = {
        .ino = parent,
        .name = name,
        .other = new_parent,
        .new_name = new_name,
        .flags = (int)flags,
    };

    door_dispatch(&dr, req, &op);
}

static int run_readlink(struct door_request *dr)
{
    char *target;
    int error = fs_readlink(dr->door->fs, &dr->rq, dr->ino, &target);

    if (error)
        return error;
    door_reply_string(dr, target);
    free(target);
    return 0;
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    static const struct door_op op = { DOOR_READLINK, false, run_readlink };
    struct door_request dr = { .ino = ino };

    door_dispatch(&dr, req, &op);
}

/* FORGET has no answer and never comes through a ring. */
static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct door *door = door_of(req);

    for (size_t i = 0; i < count; i++)
        fs_forget(door->fs, forgets[i].ino, forgets[i].nlookup);
    door_stats_add(&door->stats, DOOR_FORGET, count);
    fuse_reply_none(req);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    struct fuse_forget_data forget = { .ino = ino, .nlookup = count };

    op_forget_multi(req, 1, &forget);
}

void ops_name_install(struct fuse_lowlevel_ops *table)
{
    table->lookup = op_lookup;
    table->forget = op_forget;
    table->forget_multi = op_forget_multi;
    table->mknod = op_mknod;
    table->mkdir = op_mkdir;
    table->symlink = op_symlink;
    table->link = op_link;
    table->unlink = op_unlink;
    table->rmdir = op_rmdir;
    table->rename = op_rename;
    table->readlink = op_readlink;
}
