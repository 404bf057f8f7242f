/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A session: INIT, DESTROY. Both end what was before: a guest that was reset says INIT again and
 * knows nothing of its nodes, handles, locks and mappings any more.
 *
 * Not agreed on, though a guest may offer it: writeback cache (the server owns sizes), EXPORT_SUPPORT
 * (a guest names only what it looked up), SUBMOUNTS, extensions of requests; ATOMIC_O_TRUNC: a guest
 * goes on writing back dirty pages during such an open, and old bytes come after the end was cut off. It
 * holds them back when it cuts by SETATTR.
 */
#include "transport/virtiofs/encode.h"

#include "dax/mapping.h"
#include <errno.h>
#include <stdatomic.h>

#define BACKGROUND_MAX 64
#define PAGE 4096u

static uint64_t wanted(const struct guest *guest)
{
    const struct guest_options *options = &guest->options;
    bool window = options->dax_door && (!options->has_window || options->has_window(options->arg));
    uint64_t flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_HAS_IOCTL_DIR |
                     FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |
                     FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
                     FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT |
                     FUSE_NO_EXPORT_SUPPORT | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS;

    /* Nobody else changes anything: a time that has changed is the guest's own doing. */
    if (guest->options.cache != GUEST_CACHE_ALWAYS)
        flags |= FUSE_AUTO_INVAL_DATA;
    if (window)
        flags |= FUSE_MAP_ALIGNMENT;
    if (window && options->dax != GUEST_DAX_NEVER)
        flags |= FUSE_HAS_INODE_DAX;
    return flags;
}

/* With the session's lock held exclusively. What cannot be unmapped stays pinned: fs_unmap_all's error. */
static int session_end(struct guest *guest, enum guest_state state)
{
    uint32_t epoch;

    atomic_store(&guest->state, state);
    epoch = atomic_fetch_add(&guest->epoch, 1) + 1;
    guest_forget_locks(guest);
    handles_clear(&guest->handles, epoch);
    nodes_clear(&guest->nodes, epoch);
    return guest->options.dax_door ? fs_unmap_all(guest->options.fs, NULL, guest->options.dax_door)
                                   : 0;
}

/* As session_end. Nothing of the last session is mapped. -EBUSY: the VMM is too slow, or maps on. -ECANCELED:
 * it has paused the guest. */
static int session_begin(struct guest *guest)
{
    const struct guest_options *options = &guest->options;
    int r = session_end(guest, GUEST_NEW), renewed = 0;

    if (r == -EBUSY)
        return r;
    if (options->renew)
        renewed = options->renew(options->arg);
    /* It stood just then. */
    if (renewed == 0 && r == -ENODEV)
        (void)fs_unmap_all(options->fs, NULL, options->dax_door);
    return renewed;
}

static int answer_init(struct guest_request *gr, const struct fuse_init_in *in, uint64_t flags,
                       uint32_t minor)
{
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION,
        .minor = minor,
        .max_readahead = in->max_readahead,
        .flags = (uint32_t)flags,
        .max_background = BACKGROUND_MAX,
        .congestion_threshold = BACKGROUND_MAX * 3 / 4,
        .max_write = GUEST_IO_MAX,
        .time_gran = 1,
        .max_pages = GUEST_IO_MAX / PAGE,
        .map_alignment = flags & FUSE_MAP_ALIGNMENT ? DAX_CHUNK_SHIFT : 0,
        .flags2 = (uint32_t)(flags >> 32),
    };

    return guest_answer(gr, &out, sizeof(out));
}

int guest_init(struct guest_request *gr)
{
    const struct fuse_init_in *in = &gr->in.init;
    struct guest *guest = gr->guest;
    uint64_t flags = in->flags;
    uint32_t minor = in->minor < GUEST_MINOR ? in->minor : GUEST_MINOR;
    int r;

    /* A later protocol: it asks again with what we say. */
    if (in->major > FUSE_KERNEL_VERSION)
        return answer_init(gr, in, 0, GUEST_MINOR);
    if (in->major < FUSE_KERNEL_VERSION || minor < GUEST_MINOR_MIN)
        return -EPROTO;
    if (flags & FUSE_INIT_EXT)
        flags |= (uint64_t)in->flags2 << 32;
    flags &= wanted(guest);

    guest_give_up_parked(guest);
    pthread_rwlock_wrlock(&guest->session);
    r = session_begin(guest);
    if (r == 0) {
        atomic_store(&guest->minor, minor);
        atomic_store(&guest->flags, flags);
        atomic_store_explicit(&guest->state, GUEST_READY, memory_order_release);
    }
    pthread_rwlock_unlock(&guest->session);
    if (r < 0)
        return r;
    return answer_init(gr, in, flags, minor);
}

int guest_destroy(struct guest_request *gr)
{
    struct guest *guest = gr->guest;

    pthread_rwlock_wrlock(&guest->session);
    (void)session_end(guest, GUEST_ENDED);
    pthread_rwlock_unlock(&guest->session);
    return guest_answer(gr, NULL, 0);
}
