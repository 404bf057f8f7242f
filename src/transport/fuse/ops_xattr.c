/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes.
 *
 * Setting an access ACL clears set-group-ID when the caller is outside the file's group. The kernel knows,
 * and says so in a flag of SETXATTR that libfuse does not hand on (3.18): so it is found out here, from
 * the groups of the caller.
 */
#include "transport/fuse/door.h"
#include "transport/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define XATTR_SIZE_LIMIT 65536u /* of the system calls: XATTR_SIZE_MAX, XATTR_LIST_MAX */

static int run_getxattr(struct door_request *dr)
{
    char small[1024];
    size_t room = dr->size < XATTR_SIZE_LIMIT ? dr->size : XATTR_SIZE_LIMIT;
    char *value = room <= sizeof(small) ? small : malloc(room);

    if (!value)
        return -ENOMEM;
    ssize_t length = dr->name ? fs_getxattr(dr->door->fs, &dr->rq, dr->ino, dr->name, value, room)
                              : fs_listxattr(dr->door->fs, &dr->rq, dr->ino, value, room);
    if (length >= 0 && dr->size == 0)
        door_reply_length(dr, (size_t)length);
    else if (length >= 0)
        door_reply_buffer(dr, value, (size_t)length);
    if (value != small)
        free(value);
    return length < 0 ? (int)length : 0;
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    static const struct door_op op = { DOOR_GETXATTR, false, run_getxattr };
    struct door_request dr = { .ino = ino, .name = name, .size = size };

    door_dispatch(&dr, req, &op);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    static const struct door_op op = { DOOR_LISTXATTR, false, run_getxattr };
    struct door_request dr = { .ino = ino, .size = size };

    door_dispatch(&dr, req, &op);
}

/* Whether the caller is root or in the group that owns the inode. When the groups can not be read, no:
 * a bit too few is harmless. */
static int caller_in_group(struct door_request *dr, bool *ret_in_group)
{
    struct fs_attr attr;
    struct keeper *keeper = dr->door->options.keeper;
    gid_t groups[256];
    int error = fs_getattr(dr->door->fs, &dr->rq, dr->ino, &attr);

    if (error)
        return error;
    *ret_in_group = dr->rq.uid == 0 || dr->rq.gid == attr.gid;
    if (*ret_in_group)
        return 0;
    if (keeper) { /* libfuse looks into /proc, which is not here */
        *ret_in_group = keeper_is_in_group(keeper, fuse_req_ctx(dr->req)->pid, attr.gid);
        return 0;
    }
    int count = fuse_req_getgroups(dr->req, 256, groups);
    if (count > 256)
        count = 256;
    for (int i = 0; i < count && !*ret_in_group; i++)
        *ret_in_group = groups[i] == attr.gid;
    return 0;
}

static int run_setxattr(struct door_request *dr)
{
    bool in_group = true;
    int error = 0;

    if (strcmp(dr->name, "system.posix_acl_access") == 0)
        error = caller_in_group(dr, &in_group);
    if (!error)
        error = fs_setxattr(dr->door->fs, &dr->rq, dr->ino, dr->name, dr->data, dr->size, dr->flags,
                            !in_group);
    if (error)
        return error;
    door_reply_error(dr, 0);
    return 0;
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    static const struct door_op op = { DOOR_SETXATTR, false, run_setxattr };
    struct door_request dr = {
        .ino = ino,
        .name = name,
        .data = value,
        .size = size,
        .flags = flags,
    };

    door_dispatch(&dr, req, &op);
}

static int run_removexattr(struct door_request *dr)
{
    int error = fs_removexattr(dr->door->fs, &dr->rq, dr->ino, dr->name);

    if (error)
        return error;
    door_reply_error(dr, 0);
    return 0;
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    static const struct door_op op = { DOOR_REMOVEXATTR, false, run_removexattr };
    struct door_request dr = { .ino = ino, .name = name };

    door_dispatch(&dr, req, &op);
}

void ops_xattr_install(struct fuse_lowlevel_ops *table)
{
    table->getxattr = op_getxattr;
    table->listxattr = op_listxattr;
    table->setxattr = op_setxattr;
    table->removexattr = op_removexattr;
}
