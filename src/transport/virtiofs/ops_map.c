/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The window: SETUPMAPPING, REMOVEMAPPING.
 *
 * A guest's kernel asks for whole 2 MiB ranges of a file, without a file handle (-1), and first for
 * reading; the first store asks again with WRITE. It uses a place of the window again when its
 * REMOVEMAPPING is answered, whatever the answer: so of a list that has one bad element all others
 * are done.
 *
 * Both wait for the VMM and run in workers, with the session held: what is mapped belongs to the
 * session that is.
 */
#include "transport/virtiofs/encode.h"

#include "dax/mapping.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define NO_HANDLE UINT64_MAX

/* [offset, offset + length) of the window as slots. -EINVAL. */
static int find_slots(const struct dax_door *dax_door, uint64_t offset, uint64_t length,
                      uint64_t *ret_slot, uint64_t *ret_count)
{
    uint64_t slot = offset / DAX_CHUNK_SIZE, count = length / DAX_CHUNK_SIZE;

    if (offset % DAX_CHUNK_SIZE || length % DAX_CHUNK_SIZE || count == 0 ||
        slot >= dax_door->slots || count > dax_door->slots - slot)
        return -EINVAL;
    *ret_slot = slot;
    *ret_count = count;
    return 0;
}

static int check_handle(struct guest_request *gr, uint64_t id, bool write)
{
    struct fs_handle *handle;
    int r, mode;

    if (id == NO_HANDLE)
        return 0;
    r = handles_use(&gr->guest->handles, id, gr->header.nodeid, HANDLE_FILE, &handle);
    if (r < 0)
        return r;
    mode = fs_handle_flags(handle) & O_ACCMODE;
    handles_unuse(&gr->guest->handles, id);
    return mode == O_RDWR || (mode == O_RDONLY && !write) ? 0 : -EBADF;
}

/* Whether the VMM has paused its guest. */
static bool is_paused(struct guest_request *gr)
{
    int r = vhost_access_begin(gr->request);

    if (r == 0)
        (void)vhost_access_end(gr->request);
    return r == -ECANCELED;
}

/*
 * What asks the VMM, and fails mostly because that has paused its guest, runs again then when the guest goes on: with
 * an answer now its program would be killed for a chunk that cannot be had, or a place of the window be lost. And
 * once more at once if the window stands and the queue runs: maybe both do now. Else there is no VMM to ask.
 */
static int through_pauses(struct guest_request *gr, int (*ask)(struct guest_request *gr))
{
    int r = -ENODEV;

    for (int tries = 0; r == -ENODEV && tries < 2; tries++) {
        r = ask(gr);
        if (r < 0 && is_paused(gr))
            return -ECANCELED;
        gr->again = true;
    }
    return r;
}

static int populate(struct guest_request *gr)
{
    const struct fuse_setupmapping_in *in = &gr->in.setupmapping;
    const struct guest_options *options = &gr->guest->options;

    return fs_populate(options->fs, &gr->rq, options->dax_door, gr->ino, in->foffset, in->len,
                       in->moffset / DAX_CHUNK_SIZE, in->flags & FUSE_SETUPMAPPING_FLAG_WRITE);
}

int guest_setupmapping(struct guest_request *gr)
{
    const struct fuse_setupmapping_in *in = &gr->in.setupmapping;
    struct guest *guest = gr->guest;
    struct dax_door *dax_door = guest->options.dax_door;
    bool write = in->flags & FUSE_SETUPMAPPING_FLAG_WRITE;
    uint64_t slot, count;
    int r;

    if (!dax_door)
        return -ENOSYS;
    if (in->flags == 0 ||
        (in->flags & ~(FUSE_SETUPMAPPING_FLAG_WRITE | FUSE_SETUPMAPPING_FLAG_READ)))
        return -EINVAL;
    r = find_slots(dax_door, in->moffset, in->len, &slot, &count);
    if (r == 0 && (in->foffset % DAX_CHUNK_SIZE || in->foffset > INT64_MAX - in->len))
        r = -EINVAL;
    if (r == 0 && write && guest->options.read_only)
        r = -EROFS;
    if (r == 0)
        r = check_handle(gr, in->fh, write);
    if (r < 0)
        return r;
    r = guest_session_hold(gr);
    if (r < 0)
        return r;
    r = through_pauses(gr, populate);
    guest_session_let_go(gr);
    return r < 0 ? r : guest_answer(gr, NULL, 0);
}

/* All of it, whatever goes wrong; the first error. What is not mapped is the guest's mistake, but in a
 * request that runs again: it may have been done before the pause. */
static int remove_one(struct guest_request *gr, const struct fuse_removemapping_one *one)
{
    struct dax_door *dax_door = gr->guest->options.dax_door;
    uint64_t slot, count;
    int result = find_slots(dax_door, one->moffset, one->len, &slot, &count);

    if (result < 0)
        return result;
    for (; count > 0; slot++, count--) {
        int r = fs_unmap(gr->guest->options.fs, &gr->rq, dax_door, slot);

        if (r == -ENOENT)
            r = gr->again ? 0 : -EINVAL;
        if (r < 0 && result == 0)
            result = r;
    }
    return result;
}

/* All of the list; the first error. */
static int remove_list(struct guest_request *gr)
{
    struct fuse_removemapping_one one;
    const char *at = guest_bytes(gr);
    int result = 0;

    for (uint32_t count = gr->in.removemapping.count; count > 0; count--, at += sizeof(one)) {
        int r;

        memcpy(&one, at, sizeof(one));
        r = remove_one(gr, &one);
        if (result == 0)
            result = r;
    }
    return result;
}

int guest_removemapping(struct guest_request *gr)
{
    uint32_t count = gr->in.removemapping.count;
    struct guest *guest = gr->guest;
    const size_t one = sizeof(struct fuse_removemapping_one);
    int result;

    if (!guest->options.dax_door)
        return -ENOSYS;
    if (count == 0 || gr->bytes_size % one || count != gr->bytes_size / one)
        return -EINVAL;
    result = guest_session_hold(gr);
    if (result < 0)
        return result;
    result = through_pauses(gr, remove_list);
    guest_session_let_go(gr);
    return result < 0 ? result : guest_answer(gr, NULL, 0);
}
