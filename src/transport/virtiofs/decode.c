/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bounded decoder, and the table of operations.
 *
 * The header's `len` is how long the request is. It may say less than the descriptors hold, as
 * virtiofsd takes it, and never more; all of it must be what the operation has: a struct, names,
 * bytes, and not one byte else.
 *
 * Extensions (security contexts, groups) are not agreed on in INIT, so there are none.
 *
 * Not in the table: ACCESS, which the guest does by itself (default_permissions); BMAP, POLL,
 * NOTIFY_REPLY. The answer is ENOSYS, and the guest does not ask again.
 */
#include "transport/virtiofs/decode.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The longest name that a kernel sends, to be told that it is too long, and the longest target. */
#define STRING_MAX 4096u
#define XATTR_VALUE_MAX 65536u
#define IOCTL_MAX 16384u
/* Lists are a page of the guest's at most; while they wait, each of a ring's is a copy here. */
#ifdef __x86_64__
# define LIST_MAX 4096u
#else
# define LIST_MAX 65536u
#endif

#define IN(member) sizeof(((union guest_in *)NULL)->member)
#define ENTRY sizeof(struct fuse_entry_out)
#define ATTR sizeof(struct fuse_attr_out)
#define OPEN sizeof(struct fuse_open_out)

static const struct guest_op operations[] = {
    [FUSE_INIT] = { guest_init, DOOR_SESSION, 16, sizeof(struct fuse_init_out), 0,
                    OP_ANYTIME | OP_SLOW | OP_LONGER, 0 },
    [FUSE_DESTROY] = { guest_destroy, DOOR_SESSION, 0, 0, 0, OP_SLOW, 0 },
    [FUSE_INTERRUPT] = { guest_interrupt, DOOR_OTHER, IN(interrupt), 0, 0, OP_ANYTIME | OP_SILENT,
                         0 },

    [FUSE_LOOKUP] = { guest_lookup, DOOR_LOOKUP, 0, ENTRY, 1, OP_NODE, 0 },
    [FUSE_FORGET] = { guest_forget, DOOR_FORGET, IN(forget), 0, 0, OP_SILENT, 0 },
    [FUSE_BATCH_FORGET] = { guest_batch_forget, DOOR_FORGET, IN(batch_forget), 0, 0,
                            OP_SILENT | OP_BYTES, LIST_MAX },
    [FUSE_MKNOD] = { guest_mknod, DOOR_MKNOD, IN(mknod), ENTRY, 1, OP_NODE | OP_CHANGES, 0 },
    [FUSE_MKDIR] = { guest_mkdir, DOOR_MKDIR, IN(mkdir), ENTRY, 1, OP_NODE | OP_CHANGES, 0 },
    [FUSE_SYMLINK] = { guest_symlink, DOOR_SYMLINK, 0, ENTRY, 2, OP_NODE | OP_CHANGES, 0 },
    [FUSE_LINK] = { guest_link, DOOR_LINK, IN(link), ENTRY, 1, OP_NODE | OP_CHANGES, 0 },
    [FUSE_UNLINK] = { guest_unlink, DOOR_UNLINK, 0, 0, 1, OP_NODE | OP_CHANGES, 0 },
    [FUSE_RMDIR] = { guest_rmdir, DOOR_RMDIR, 0, 0, 1, OP_NODE | OP_CHANGES, 0 },
    [FUSE_RENAME] = { guest_rename, DOOR_RENAME, IN(rename), 0, 2, OP_NODE | OP_CHANGES, 0 },
    [FUSE_RENAME2] = { guest_rename, DOOR_RENAME, IN(rename2), 0, 2, OP_NODE | OP_CHANGES, 0 },
    [FUSE_READLINK] = { guest_readlink, DOOR_READLINK, 0, 0, 0, OP_NODE, 0 },

    [FUSE_GETATTR] = { guest_getattr, DOOR_GETATTR, IN(getattr), ATTR, 0, OP_NODE, 0 },
    [FUSE_STATX] = { guest_statx, DOOR_STATX, IN(statx), sizeof(struct fuse_statx_out), 0, OP_NODE,
                     0 },
    [FUSE_SETATTR] = { guest_setattr, DOOR_SETATTR, IN(setattr), ATTR, 0, OP_NODE | OP_CHANGES, 0 },
    [FUSE_STATFS] = { guest_statfs, DOOR_STATFS, 0, sizeof(struct fuse_statfs_out), 0, OP_NODE, 0 },

    [FUSE_OPEN] = { guest_open_file, DOOR_OPEN, IN(open), OPEN, 0, OP_NODE, 0 },
    [FUSE_OPENDIR] = { guest_open_directory, DOOR_OPEN, IN(open), OPEN, 0, OP_NODE, 0 },
    [FUSE_CREATE] = { guest_create, DOOR_CREATE, IN(create), ENTRY + OPEN, 1, OP_NODE | OP_CHANGES,
                      0 },
    [FUSE_TMPFILE] = { guest_tmpfile, DOOR_TMPFILE, IN(create), ENTRY + OPEN, 1,
                       OP_NODE | OP_CHANGES | OP_UNNAMED, 0 },
    [FUSE_RELEASE] = { guest_release, DOOR_RELEASE, IN(release), 0, 0, 0, 0 },
    [FUSE_RELEASEDIR] = { guest_release, DOOR_RELEASE, IN(release), 0, 0, 0, 0 },
    [FUSE_FLUSH] = { guest_flush, DOOR_FLUSH, IN(flush), 0, 0, OP_FILE, 0 },
    [FUSE_FSYNC] = { guest_fsync, DOOR_FSYNC, IN(fsync), 0, 0, OP_FILE, 0 },
    [FUSE_FSYNCDIR] = { guest_fsync, DOOR_FSYNC, IN(fsync), 0, 0, OP_DIRECTORY, 0 },
    [FUSE_SYNCFS] = { guest_syncfs, DOOR_SYNCFS, IN(syncfs), 0, 0, OP_SLOW, 0 },

    [FUSE_READ] = { guest_read, DOOR_READ, IN(read), 0, 0, OP_FILE, 0 },
    [FUSE_WRITE] = { guest_write, DOOR_WRITE, IN(write), sizeof(struct fuse_write_out), 0,
                     OP_FILE | OP_CHANGES | OP_PAYLOAD, 0 },
    [FUSE_FALLOCATE] = { guest_fallocate, DOOR_FALLOCATE, IN(fallocate), 0, 0, OP_FILE | OP_CHANGES,
                         0 },
    [FUSE_LSEEK] = { guest_lseek, DOOR_LSEEK, IN(lseek), sizeof(struct fuse_lseek_out), 0, OP_FILE,
                     0 },
    [FUSE_COPY_FILE_RANGE] = { guest_copy_range, DOOR_COPY_RANGE, IN(copy_range),
                               sizeof(struct fuse_write_out), 0, OP_FILE | OP_CHANGES | OP_SLOW,
                               0 },
    [FUSE_COPY_FILE_RANGE_64] = { guest_copy_range_64, DOOR_COPY_RANGE, IN(copy_range),
                                  sizeof(struct fuse_copy_file_range_out), 0,
                                  OP_FILE | OP_CHANGES | OP_SLOW, 0 },
    [FUSE_GETLK] = { guest_getlk, DOOR_GETLK, IN(lk), sizeof(struct fuse_lk_out), 0, OP_FILE, 0 },
    [FUSE_SETLK] = { guest_setlk, DOOR_SETLK, IN(lk), 0, 0, OP_FILE, 0 },
    [FUSE_SETLKW] = { guest_setlk, DOOR_SETLK, IN(lk), 0, 0, OP_FILE, 0 },
    [FUSE_READDIR] = { guest_readdir, DOOR_READDIR, IN(read), 0, 0, OP_DIRECTORY, 0 },
    [FUSE_READDIRPLUS] = { guest_readdir, DOOR_READDIR, IN(read), 0, 0, OP_DIRECTORY, 0 },

    [FUSE_GETXATTR] = { guest_getxattr, DOOR_GETXATTR, IN(getxattr), 0, 1, OP_NODE | OP_XATTR, 0 },
    [FUSE_LISTXATTR] = { guest_listxattr, DOOR_LISTXATTR, IN(getxattr), 0, 0, OP_NODE, 0 },
    [FUSE_SETXATTR] = { guest_setxattr, DOOR_SETXATTR, IN(setxattr), 0, 1,
                        OP_NODE | OP_CHANGES | OP_XATTR | OP_BYTES, XATTR_VALUE_MAX },
    [FUSE_REMOVEXATTR] = { guest_removexattr, DOOR_REMOVEXATTR, 0, 0, 1,
                           OP_NODE | OP_CHANGES | OP_XATTR, 0 },
    [FUSE_IOCTL] = { guest_ioctl, DOOR_IOCTL, IN(ioctl), sizeof(struct fuse_ioctl_out), 0,
                     OP_FILE | OP_DIRECTORY | OP_BYTES, IOCTL_MAX },

    [FUSE_SETUPMAPPING] = { guest_setupmapping, DOOR_SETUPMAPPING, IN(setupmapping), 0, 0,
                            OP_NODE | OP_SLOW, 0 },
    [FUSE_REMOVEMAPPING] = { guest_removemapping, DOOR_REMOVEMAPPING, IN(removemapping), 0, 0,
                             OP_SLOW | OP_BYTES, LIST_MAX },
};
#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* gr->in.fh is theirs. */
_Static_assert(offsetof(struct fuse_read_in, fh) == 0, "fh");
_Static_assert(offsetof(struct fuse_write_in, fh) == 0, "fh");
_Static_assert(offsetof(struct fuse_release_in, fh) == 0, "fh");
_Static_assert(offsetof(struct fuse_flush_in, fh) == 0, "fh");
_Static_assert(offsetof(struct fuse_fsync_in, fh) == 0, "fh");
_Static_assert(offsetof(struct fuse_fallocate_in, fh) == 0, "fh");
_Static_assert(offsetof(struct fuse_lk_in, fh) == 0, "fh");
_Static_assert(offsetof(struct fuse_lseek_in, fh) == 0, "fh");
_Static_assert(offsetof(struct fuse_ioctl_in, fh) == 0, "fh");
_Static_assert(offsetof(struct fuse_copy_file_range_in, fh_in) == 0, "fh");

const struct guest_op *guest_op(uint32_t opcode)
{
    return opcode < OPERATIONS && operations[opcode].run ? &operations[opcode] : NULL;
}

/* How long the struct is in this request of LENGTH bytes after the header. */
static size_t fixed_size(const struct guest_request *gr, size_t length)
{
    if (gr->op->flags & OP_LONGER)
        return length < sizeof(gr->in) ? length : sizeof(gr->in);
    if (gr->op->run == guest_setxattr &&
        !(atomic_load_explicit(&gr->guest->flags, memory_order_relaxed) & FUSE_SETXATTR_EXT))
        return FUSE_COMPAT_SETXATTR_IN_SIZE;
    return gr->op->fixed;
}

static int check_name(const struct guest_op *op, unsigned which, const char *name, size_t length)
{
    if (op->flags & OP_UNNAMED)
        return 0;
    if (op->run == guest_symlink && which == 1)
        return 0; /* a target: fs looks at it */
    if (length == 0)
        return -EINVAL;
    if (length > GUEST_NAME_MAX)
        return op->flags & OP_XATTR ? -ERANGE : -ENAMETOOLONG;
    return !(op->flags & OP_XATTR) && memchr(name, '/', length) ? -EINVAL : 0;
}

/* Finds the names, and the bytes behind them, in what follows the struct. */
static int split(struct guest_request *gr)
{
    const char *more = guest_more(gr);
    uint32_t at = 0;

    for (unsigned i = 0; i < gr->op->names; i++) {
        const char *end = memchr(more + at, '\0', gr->more_size - at);
        int r;

        if (!end)
            return -EINVAL;
        gr->name_at[i] = at;
        gr->name_size[i] = (uint32_t)(end - more) - at;
        r = check_name(gr->op, i, more + at, gr->name_size[i]);
        if (r < 0)
            return r;
        at += gr->name_size[i] + 1;
    }
    gr->bytes_at = at;
    gr->bytes_size = gr->more_size - at;
    if (gr->bytes_size > 0 && !(gr->op->flags & OP_BYTES))
        return -EINVAL;
    return gr->bytes_size > gr->op->bytes ? -E2BIG : 0;
}

/* With an access begun. */
static int read_more(struct guest_request *gr, size_t offset, size_t length)
{
    size_t limit = (size_t)gr->op->names * STRING_MAX + gr->op->bytes;
    char *to = gr->more_inline;

    if (gr->op->flags & OP_PAYLOAD) {
        gr->payload_at = offset;
        gr->payload_size = length;
        return 0;
    }
    if (length > limit)
        return gr->op->flags & OP_BYTES ? -E2BIG : gr->op->names > 0 ? -ENAMETOOLONG : -EINVAL;
    if (length >= sizeof(gr->more_inline)) {
        gr->more = to = malloc(length + 1);
        if (!to)
            return -ENOMEM;
    }
    gr->more_size = (uint32_t)length;
    to[length] = '\0';
    return vhost_read(gr->request, offset, to, length);
}

static int read_all(struct guest_request *gr, size_t sent)
{
    size_t length, fixed;
    int r;

    if (sent < sizeof(gr->header))
        return -EINVAL;
    r = vhost_read(gr->request, 0, &gr->header, sizeof(gr->header));
    if (r < 0)
        return r;
    gr->op = guest_op(gr->header.opcode);
    if (!gr->op)
        return -ENOSYS;
    if (gr->header.len < sizeof(gr->header) || gr->header.len > sent ||
        gr->header.total_extlen != 0)
        return -EINVAL;
    length = gr->header.len - sizeof(gr->header);
    fixed = fixed_size(gr, length);
    if (length < (gr->op->flags & OP_LONGER ? gr->op->fixed : fixed))
        return -EINVAL;
    memset(&gr->in, 0, sizeof(gr->in));
    r = vhost_read(gr->request, sizeof(gr->header), &gr->in, fixed);
    if (r < 0 || (gr->op->flags & OP_LONGER))
        return r;
    return read_more(gr, sizeof(gr->header) + fixed, length - fixed);
}

int guest_decode(struct guest_request *gr)
{
    size_t sent = vhost_request_in(gr->request);
    int r, ended;

    gr->room = vhost_request_out(gr->request);
    r = vhost_access_begin(gr->request);
    if (r < 0)
        return r;
    r = read_all(gr, sent);
    ended = vhost_access_end(gr->request);
    if (r == 0)
        r = ended;
    if (r == 0 && !(gr->op->flags & OP_PAYLOAD))
        r = split(gr);
    if (r == 0 && !(gr->op->flags & OP_SILENT) &&
        gr->room < sizeof(struct fuse_out_header) + gr->op->answer)
        r = -EINVAL;
    return r;
}

void guest_decode_free(struct guest_request *gr)
{
    free(gr->more);
    gr->more = NULL;
}
