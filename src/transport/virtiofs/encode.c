/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/virtiofs/encode.h"

#include "dax/mapping.h"
#include "transport/convert.h"
#include <daxfuse/format.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HEADER sizeof(struct fuse_out_header)

static struct fuse_out_header header_of(const struct guest_request *gr, int error, size_t size)
{
    return (struct fuse_out_header){
        .len = (uint32_t)(HEADER + size),
        .error = error,
        .unique = gr->header.unique,
    };
}

int guest_write_header(struct guest_request *gr, int error, size_t size)
{
    struct fuse_out_header header = header_of(gr, error, size);

    return vhost_write(gr->request, 0, &header, sizeof(header));
}

static void count(struct guest_request *gr, bool error)
{
    door_stats_count(&gr->guest->stats, gr->op ? gr->op->kind : DOOR_OTHER, gr->begun, error);
}

void guest_answered(struct guest_request *gr, bool error, size_t size)
{
    struct vhost_request *request = gr->request;

    count(gr, error);
    gr->request = NULL;
    vhost_complete(request, HEADER + size);
}

void guest_answer_none(struct guest_request *gr)
{
    struct vhost_request *request = gr->request;

    count(gr, false);
    gr->request = NULL;
    vhost_complete(request, 0);
}

/* Until the queue goes on. */
static void keep(struct guest_request *gr, int error, const void *first, size_t first_size,
                 const void *second, size_t second_size)
{
    size_t size = HEADER + first_size + second_size;
    struct fuse_out_header header = header_of(gr, error, first_size + second_size);
    char *answer = malloc(size);

    if (!answer) {
        guest_answer_none(gr);
        return;
    }
    memcpy(answer, &header, sizeof(header));
    if (first_size > 0)
        memcpy(answer + HEADER, first, first_size);
    if (second_size > 0)
        memcpy(answer + HEADER + first_size, second, second_size);
    count(gr, error != 0);
    guest_park(gr, answer, size);
    gr->request = NULL;
    free(answer);
}

static int answer(struct guest_request *gr, int error, const void *first, size_t first_size,
                  const void *second, size_t second_size)
{
    size_t size = first_size + second_size;
    int r, ended;

    if (HEADER + size > gr->room)
        return -EINVAL;
    r = vhost_access_begin(gr->request);
    if (r < 0) {
        keep(gr, error, first, first_size, second, second_size);
        return 0;
    }
    r = guest_write_header(gr, error, size);
    if (r == 0 && first_size > 0)
        r = vhost_write(gr->request, HEADER, first, first_size);
    if (r == 0 && second_size > 0)
        r = vhost_write(gr->request, HEADER + first_size, second, second_size);
    ended = vhost_access_end(gr->request);
    if (r == 0)
        r = ended;
    if (r == 0)
        guest_answered(gr, error != 0, size);
    return r < 0 ? -EFAULT : 0;
}

int guest_answer_two(struct guest_request *gr, const void *first, size_t first_size,
                     const void *second, size_t second_size)
{
    return answer(gr, 0, first, first_size, second, second_size);
}

int guest_answer(struct guest_request *gr, const void *bytes, size_t size)
{
    return answer(gr, 0, bytes, size, NULL, 0);
}

void guest_answer_error(struct guest_request *gr, int error)
{
    if ((gr->op && (gr->op->flags & OP_SILENT)) || answer(gr, error, NULL, 0, NULL, 0) < 0)
        guest_answer_none(gr);
}

/* ---- attributes ------------------------------------------------------------------------------ */

static bool is_for_window(const struct guest *guest, const struct fs_attr *attr, bool large)
{
    if (!guest->options.dax_door || !S_ISREG(attr->mode))
        return false;
    switch (guest->options.dax) {
    case GUEST_DAX_ALWAYS:
        return true;
    case GUEST_DAX_INODE:
        return attr->flags & DXF_FLAG_DAX;
    case GUEST_DAX_SIZE:
        return (attr->flags & DXF_FLAG_DAX) || large;
    case GUEST_DAX_NEVER:
        break;
    }
    return false;
}

void guest_fill_attr(const struct guest *guest, const struct fs_attr *attr, bool large,
                     struct fuse_attr *ret_attr)
{
    struct timespec atime, mtime, ctime;

    convert_split_time(attr->atime, &atime);
    convert_split_time(attr->mtime, &mtime);
    convert_split_time(attr->ctime, &ctime);
    *ret_attr = (struct fuse_attr){
        .ino = attr->ino,
        .size = attr->size,
        .blocks = attr->blocks * 8,
        .atime = (uint64_t)atime.tv_sec,
        .mtime = (uint64_t)mtime.tv_sec,
        .ctime = (uint64_t)ctime.tv_sec,
        .atimensec = (uint32_t)atime.tv_nsec,
        .mtimensec = (uint32_t)mtime.tv_nsec,
        .ctimensec = (uint32_t)ctime.tv_nsec,
        .mode = attr->mode,
        .nlink = attr->links,
        .uid = attr->uid,
        .gid = attr->gid,
        .rdev = convert_device(attr->rdev_major, attr->rdev_minor),
        .blksize = 4096,
        .flags = is_for_window(guest, attr, large) ? FUSE_ATTR_DAX : 0,
    };
}

int guest_fill_entry(struct guest *guest, uint32_t epoch, const struct fs_attr *attr,
                     struct fuse_entry_out *ret_entry)
{
    bool large = attr->size >= guest->options.dax_threshold;
    uint64_t id;
    int r = nodes_add(&guest->nodes, epoch, attr->ino, &large, &id);

    if (r < 0)
        return r;
    *ret_entry = (struct fuse_entry_out){
        .nodeid = id,
        .generation = attr->generation,
        .entry_valid = guest->timeout,
        .attr_valid = guest->timeout,
    };
    guest_fill_attr(guest, attr, large, &ret_entry->attr);
    return 0;
}

int guest_answer_entry(struct guest_request *gr, const struct fs_attr *attr)
{
    struct guest *guest = gr->guest;
    struct fuse_entry_out entry;
    int r = guest_fill_entry(guest, gr->epoch, attr, &entry);

    if (r < 0) {
        fs_forget(guest->options.fs, attr->ino, 1);
        return r;
    }
    r = guest_answer(gr, &entry, sizeof(entry));
    if (r < 0)
        nodes_forget(&guest->nodes, entry.nodeid, 1);
    return r;
}

int guest_answer_attr(struct guest_request *gr, const struct fs_attr *attr)
{
    struct fuse_attr_out out = { .attr_valid = gr->guest->timeout };

    guest_fill_attr(gr->guest, attr, gr->large, &out.attr);
    return guest_answer(gr, &out, sizeof(out));
}
