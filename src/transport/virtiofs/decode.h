/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request as the guest sent it, made a struct of ours: every length checked, every byte read
 * once.
 *
 * struct guest_request is what an operation gets: header, the fixed struct, and what follows it:
 * names that end in NUL and have neither '/' nor more than 255 bytes, or bytes whose number is
 * known. Only the payload of a WRITE stays where it is, in the guest's memory, until it is stored.
 * Decoding touches no state but the request's.
 *
 * An operation's `run` may be called twice: the first time it must not wait, and when fs says
 * -EAGAIN, nothing has been done, and it runs again in a worker. So it keeps nothing between the
 * two.
 *
 *   run returns 0            it has answered; gr->request is gone
 *   run returns -ECANCELED   its queue was stopped; it runs again with the queue, so that nothing was
 *                            done, or nothing that cannot be done twice
 *   run returns -errno       the dispatcher answers with that error
 */
#ifndef DAXFUSE_TRANSPORT_VIRTIOFS_DECODE_H
#define DAXFUSE_TRANSPORT_VIRTIOFS_DECODE_H

#include "base/park.h"
#include "fs/fs.h"
#include "transport/virtiofs/guest.h"
#include "transport/virtiofs/wire.h"
#include "transport/worker.h"

struct guest_request;

enum guest_op_flags {
    OP_NODE = 1 << 0,      /* the header's node: pinned, its number is gr->ino */
    OP_FILE = 1 << 1,      /* the struct begins with a file handle of it: gr->handle */
    OP_DIRECTORY = 1 << 2, /* ... of a directory (with OP_FILE: either) */
    OP_CHANGES = 1 << 3,   /* not through a read-only export */
    OP_SLOW = 1 << 4,      /* not in a queue's thread */
    OP_SILENT = 1 << 5,    /* has no answer */
    OP_ANYTIME = 1 << 6,   /* also before INIT and after DESTROY */
    OP_BYTES = 1 << 7,     /* bytes follow the names */
    OP_PAYLOAD = 1 << 8,   /* bytes follow, and stay in the guest's memory */
    OP_XATTR = 1 << 9,     /* the name is of an attribute: '/' is a letter */
    OP_UNNAMED = 1 << 10,  /* the name says nothing */
    OP_LONGER = 1 << 11,   /* the struct may be shorter or longer than ours */
};

struct guest_op {
    int (*run)(struct guest_request *gr); /* NULL: there is no such operation */
    enum door_kind kind;
    uint16_t fixed; /* bytes of the struct after the header; the least, with OP_LONGER */
    uint16_t
        answer;     /* bytes after the answer's header that there must be room for before it runs */
    uint8_t names;  /* 0 to 2 strings after the struct; of SYMLINK the second is a target */
    uint32_t flags; /* enum guest_op_flags */
    uint32_t bytes; /* OP_BYTES: at most */
};

union guest_in {
    uint64_t fh; /* of those that have one, the first member */
    struct fuse_forget_in forget;
    struct fuse_batch_forget_in batch_forget;
    struct fuse_getattr_in getattr;
    struct fuse_statx_in statx;
    struct fuse_setattr_in setattr;
    struct fuse_mknod_in mknod;
    struct fuse_mkdir_in mkdir;
    struct fuse_rename_in rename;
    struct fuse_rename2_in rename2;
    struct fuse_link_in link;
    struct fuse_open_in open;
    struct fuse_create_in create;
    struct fuse_read_in read;
    struct fuse_write_in write;
    struct fuse_release_in release;
    struct fuse_fsync_in fsync;
    struct fuse_flush_in flush;
    struct fuse_setxattr_in setxattr;
    struct fuse_getxattr_in getxattr;
    struct fuse_ioctl_in ioctl;
    struct fuse_fallocate_in fallocate;
    struct fuse_lseek_in lseek;
    struct fuse_copy_file_range_in copy_range;
    struct fuse_setupmapping_in setupmapping;
    struct fuse_removemapping_in removemapping;
    struct fuse_syncfs_in syncfs;
    struct fuse_lk_in lk;
    struct fuse_interrupt_in interrupt;
    struct fuse_init_in init;
};

#define GUEST_NAME_MAX 255u
#define GUEST_INLINE 640u

struct guest_request {
    struct worker_job job; /* first */
    struct guest *guest;
    struct vhost_request *request;
    const struct guest_op *op;
    uint64_t begun;
    uint32_t epoch;
    bool in_worker; /* may wait */
    bool again;     /* it runs once more, maybe after a part of it was done */
    struct fs_request rq;
    struct lock_wait wait;

    struct fuse_in_header header;
    union guest_in in;
    size_t room;         /* bytes of the answer, its header included */
    size_t payload_at;   /* OP_PAYLOAD: where it begins in the request, */
    size_t payload_size; /* ... and how long it is */

    /* What follows the struct, with a NUL after all. Here, or malloc'ed. */
    char *more;
    char more_inline[GUEST_INLINE];
    uint32_t more_size;
    uint32_t name_at[2], name_size[2]; /* without NUL */
    uint32_t bytes_at, bytes_size;

    /* What the dispatcher found for it and lets go of after `run`. */
    uint64_t ino;
    bool large; /* OP_NODE: as the node has it */
    struct fs_handle *handle;
    bool node_pinned, handle_used;
};

static inline const char *guest_more(const struct guest_request *gr)
{
    return gr->more ? gr->more : gr->more_inline;
}

static inline struct fs_name guest_name(const struct guest_request *gr, unsigned which)
{
    return (struct fs_name){ guest_more(gr) + gr->name_at[which], gr->name_size[which] };
}

static inline const void *guest_bytes(const struct guest_request *gr)
{
    return guest_more(gr) + gr->bytes_at;
}

/*
 * Fills the request from gr->request, in one access. 0; -errno is what is to be answered, when
 * gr->op is set and can be answered (gr->room has an answer's header); -ECANCELED: its queue was
 * stopped.
 */
int guest_decode(struct guest_request *gr);
/* Frees what guest_decode allocated. */
void guest_decode_free(struct guest_request *gr);

/* The table. NULL: there is no such operation. */
const struct guest_op *guest_op(uint32_t opcode);

/* The operations, each file's. */
int guest_init(struct guest_request *gr);
int guest_destroy(struct guest_request *gr);

int guest_getlk(struct guest_request *gr);
int guest_setlk(struct guest_request *gr); /* SETLKW, too */
int guest_flush(struct guest_request *gr);
int guest_interrupt(struct guest_request *gr);

int guest_lookup(struct guest_request *gr);
int guest_forget(struct guest_request *gr);
int guest_batch_forget(struct guest_request *gr);
int guest_mknod(struct guest_request *gr);
int guest_mkdir(struct guest_request *gr);
int guest_symlink(struct guest_request *gr);
int guest_link(struct guest_request *gr);
int guest_unlink(struct guest_request *gr);
int guest_rmdir(struct guest_request *gr);
int guest_rename(struct guest_request *gr);
int guest_readlink(struct guest_request *gr);

int guest_getattr(struct guest_request *gr);
int guest_statx(struct guest_request *gr);
int guest_setattr(struct guest_request *gr);
int guest_statfs(struct guest_request *gr);

int guest_open_file(struct guest_request *gr);
int guest_open_directory(struct guest_request *gr);
int guest_create(struct guest_request *gr);
int guest_tmpfile(struct guest_request *gr);
int guest_release(struct guest_request *gr);
int guest_fsync(struct guest_request *gr);
int guest_syncfs(struct guest_request *gr);

int guest_read(struct guest_request *gr);
int guest_write(struct guest_request *gr);
int guest_fallocate(struct guest_request *gr);
int guest_lseek(struct guest_request *gr);
int guest_copy_range(struct guest_request *gr);
int guest_copy_range_64(struct guest_request *gr);

int guest_readdir(struct guest_request *gr);

int guest_getxattr(struct guest_request *gr);
int guest_listxattr(struct guest_request *gr);
int guest_setxattr(struct guest_request *gr);
int guest_removexattr(struct guest_request *gr);
int guest_ioctl(struct guest_request *gr);

int guest_setupmapping(struct guest_request *gr);
int guest_removemapping(struct guest_request *gr);

#endif
