/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading directories. Cookies are fs's, stable under change; the guest gives back the one it
 * stopped at.
 *
 * The parent of the export's root is, as the guest sees it, the root itself.
 */
#include "transport/virtiofs/encode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is asked for beyond that is answered in parts. */
#define DIRECTORY_BUFFER_MAX (128u << 10)

struct filling {
    struct guest_request *gr;
    char *buffer;
    size_t size, used;
    bool plus;
};

/* What goes before the name. Without attributes node id 0: the guest takes the name and looks
 * nothing up. */
static size_t fill_entry_out(struct filling *filling, char *at, const struct fs_dirent *dirent,
                             const struct fs_attr *attr)
{
    struct guest *guest = filling->gr->guest;
    struct fuse_entry_out entry = {
        .attr = { .ino = dirent->ino, .mode = (uint32_t)dirent->type << 12 },
    };

    if (attr && guest_fill_entry(guest, filling->gr->epoch, attr, &entry) < 0)
        fs_forget(guest->options.fs, attr->ino, 1);
    memcpy(at, &entry, sizeof(entry));
    return sizeof(entry);
}

static int fill(void *arg, const struct fs_dirent *dirent, const struct fs_attr *attr)
{
    struct filling *filling = arg;
    struct guest_request *gr = filling->gr;
    struct fuse_dirent out = {
        .ino = dirent->ino,
        .off = dirent->next,
        .namelen = (uint32_t)dirent->name.length,
        .type = dirent->type,
    };
    size_t length = FUSE_NAME_OFFSET + dirent->name.length;
    size_t whole = FUSE_REC_ALIGN(length + (filling->plus ? sizeof(struct fuse_entry_out) : 0));
    char *at = filling->buffer + filling->used;

    if (whole > filling->size - filling->used)
        return 1;
    if (gr->ino == gr->guest->nodes.root && dirent->name.length == 2 &&
        memcmp(dirent->name.bytes, "..", 2) == 0)
        out.ino = gr->ino;
    memset(at, 0, whole);
    if (filling->plus)
        at += fill_entry_out(filling, at, dirent, attr);
    memcpy(at, &out, FUSE_NAME_OFFSET);
    memcpy(at + FUSE_NAME_OFFSET, dirent->name.bytes, dirent->name.length);
    filling->used += whole;
    return 0;
}

/* The guest has not got what was looked up for it. */
static void take_back(struct filling *filling)
{
    for (size_t at = 0; filling->plus && at < filling->used;) {
        struct fuse_direntplus entry;

        memcpy(&entry, filling->buffer + at, FUSE_NAME_OFFSET_DIRENTPLUS);
        if (entry.entry_out.nodeid != 0)
            nodes_forget(&filling->gr->guest->nodes, entry.entry_out.nodeid, 1);
        at += FUSE_DIRENTPLUS_SIZE(&entry);
    }
}

int guest_readdir(struct guest_request *gr)
{
    const struct fuse_read_in *in = &gr->in.read;
    struct filling filling = {
        .gr = gr,
        .size = gr->room - sizeof(struct fuse_out_header),
        .plus = gr->header.opcode == FUSE_READDIRPLUS,
    };
    int r;

    if (filling.size > in->size)
        filling.size = in->size;
    if (filling.size > DIRECTORY_BUFFER_MAX)
        filling.size = DIRECTORY_BUFFER_MAX;
    filling.buffer = malloc(filling.size + 1);
    if (!filling.buffer)
        return -ENOMEM;
    r = fs_readdir(gr->guest->options.fs, &gr->rq, gr->handle, in->offset, filling.plus, fill,
                   &filling);
    if (r == 0)
        r = guest_answer(gr, filling.buffer, filling.used);
    if (r < 0)
        take_back(&filling);
    free(filling.buffer);
    return r;
}
