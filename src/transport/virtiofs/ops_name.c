/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations on names: lookup, the makers, link, unlink, rename, readlink, and forget.
 *
 * A guest has no way to ask for "." and "..": its kernel does so for file handles alone, after
 * EXPORT_SUPPORT, and takes ESTALE as the answer that there are none. So nobody looks up what is
 * above the export.
 *
 * Who has as many nodes as there may be gets no new file either: it would be made, and not found.
 */
#include "transport/virtiofs/encode.h"

#include "transport/convert.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_dots(struct fs_name name)
{
    return name.bytes[0] == '.' && (name.length == 1 || (name.length == 2 && name.bytes[1] == '.'));
}

int guest_lookup(struct guest_request *gr)
{
    struct fs_name name = guest_name(gr, 0);
    struct fuse_entry_out none = { .entry_valid = gr->guest->timeout };
    struct fs_attr attr;
    int r;

    if (is_dots(name))
        return -ESTALE;
    r = fs_lookup(gr->guest->options.fs, &gr->rq, gr->ino, name, &attr);
    /* Kept in mind by the guest only where nobody else makes files. */
    if (r == -ENOENT && gr->guest->options.cache == GUEST_CACHE_ALWAYS)
        return guest_answer(gr, &none, sizeof(none));
    return r < 0 ? r : guest_answer_entry(gr, &attr);
}

int guest_mknod(struct guest_request *gr)
{
    const struct fuse_mknod_in *in = &gr->in.mknod;
    struct fs_attr attr;
    int r = nodes_check_room(&gr->guest->nodes);

    if (r < 0)
        return r;
    gr->rq.umask = in->umask & 0777;
    r = fs_mknod(gr->guest->options.fs, &gr->rq, gr->ino, guest_name(gr, 0), in->mode,
                 convert_device_major(in->rdev), convert_device_minor(in->rdev), &attr);
    return r < 0 ? r : guest_answer_entry(gr, &attr);
}

int guest_mkdir(struct guest_request *gr)
{
    const struct fuse_mkdir_in *in = &gr->in.mkdir;
    struct fs_attr attr;
    int r = nodes_check_room(&gr->guest->nodes);

    if (r < 0)
        return r;
    gr->rq.umask = in->umask & 0777;
    r = fs_mkdir(gr->guest->options.fs, &gr->rq, gr->ino, guest_name(gr, 0), in->mode, &attr);
    return r < 0 ? r : guest_answer_entry(gr, &attr);
}

int guest_symlink(struct guest_request *gr)
{
    struct fs_attr attr;
    int r = nodes_check_room(&gr->guest->nodes);

    if (r < 0)
        return r;
    r = fs_symlink(gr->guest->options.fs, &gr->rq, gr->ino, guest_name(gr, 0), guest_name(gr, 1),
                   &attr);
    return r < 0 ? r : guest_answer_entry(gr, &attr);
}

int guest_link(struct guest_request *gr)
{
    struct guest *guest = gr->guest;
    uint64_t id = gr->in.link.oldnodeid, ino;
    struct fs_attr attr;
    int r = nodes_pin(&guest->nodes, id, &ino, NULL);

    if (r < 0)
        return r;
    r = fs_link(guest->options.fs, &gr->rq, ino, gr->ino, guest_name(gr, 0), &attr);
    nodes_unpin(&guest->nodes, id);
    return r < 0 ? r : guest_answer_entry(gr, &attr);
}

int guest_unlink(struct guest_request *gr)
{
    int r = fs_unlink(gr->guest->options.fs, &gr->rq, gr->ino, guest_name(gr, 0));

    return r < 0 ? r : guest_answer(gr, NULL, 0);
}

int guest_rmdir(struct guest_request *gr)
{
    int r = fs_rmdir(gr->guest->options.fs, &gr->rq, gr->ino, guest_name(gr, 0));

    return r < 0 ? r : guest_answer(gr, NULL, 0);
}

int guest_rename(struct guest_request *gr)
{
    unsigned flags = gr->header.opcode == FUSE_RENAME2 ? gr->in.rename2.flags : 0;
    struct guest *guest = gr->guest;
    uint64_t id = gr->in.rename.newdir, ino; /* the first of both structs */
    int r = nodes_pin(&guest->nodes, id, &ino, NULL);

    if (r < 0)
        return r;
    r = fs_rename(guest->options.fs, &gr->rq, gr->ino, guest_name(gr, 0), ino, guest_name(gr, 1),
                  flags);
    nodes_unpin(&guest->nodes, id);
    return r < 0 ? r : guest_answer(gr, NULL, 0);
}

int guest_readlink(struct guest_request *gr)
{
    char *target;
    int r;

    gr->rq.noatime = gr->guest->options.read_only;
    r = fs_readlink(gr->guest->options.fs, &gr->rq, gr->ino, &target);
    if (r < 0)
        return r;
    r = guest_answer(gr, target, strlen(target));
    free(target);
    return r;
}

int guest_forget(struct guest_request *gr)
{
    nodes_forget(&gr->guest->nodes, gr->header.nodeid, gr->in.forget.nlookup);
    guest_answer_none(gr);
    return 0;
}

/* As many as there are bytes for, whatever is said. */
int guest_batch_forget(struct guest_request *gr)
{
    uint32_t count = gr->in.batch_forget.count;
    const char *at = guest_bytes(gr);
    struct fuse_forget_one one;

    if (count > gr->bytes_size / sizeof(one))
        count = gr->bytes_size / sizeof(one);
    for (; count > 0; count--, at += sizeof(one)) {
        memcpy(&one, at, sizeof(one));
        nodes_forget(&gr->guest->nodes, one.nodeid, one.nlookup);
    }
    guest_answer_none(gr);
    return 0;
}
