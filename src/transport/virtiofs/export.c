/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An export's life: from its options to a device that listens, and what the device tells.
 */
#include "transport/virtiofs/export.h"

#include "base/endian.h"
#include "base/log.h"
#include "base/message.h"
#include "fs/fs.h"
#include "media/pool.h"
#include "transport/mountinfo.h"
#include "transport/virtiofs/window.h"
#include "transport/worker.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* virtio 1.2, 5.11.4; the last word is for a feature that is not offered. */
struct virtio_fs_config {
    char tag[EXPORT_TAG_MAX];
    le32 request_queues;
    le32 notify_size;
};

struct export
{
    struct worker_job fill; /* first; queued while fill_queued */
    _Atomic bool fill_queued;
    struct fs *fs;
    struct export_options options;
    char name[64]; /* for messages, and of the door */
    struct vhost_device *device;
    struct guest *guest;
    struct window *window; /* NULL: none */
    struct worker_pool *workers;
    _Atomic bool connected;
    bool stood; /* the socket thread's: its queues stopped, and were not reset since */
};

/* ---- what the device asks ---------------------------------------------------------------- */

static size_t on_config(void *arg, uint8_t *bytes, size_t size)
{
    struct export *export = arg;
    struct virtio_fs_config config = { .request_queues = le32_make(export->options.queues) };

    memcpy(config.tag, export->options.tag, strnlen(export->options.tag, sizeof(config.tag)));
    memcpy(bytes, &config, size < sizeof(config) ? size : sizeof(config));
    return sizeof(config);
}

/* A file has a server that may be the VMM, or we: touching its pages would wait for that. Nobody is asked
 * here, so that this does not either. */
static int on_region(void *arg, int fd, const struct vhost_region *region)
{
    struct export *export = arg;
    struct statx statx_of;
    dev_t device;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &statx_of) < 0)
        return -errno;
    device = makedev(statx_of.stx_dev_major, statx_of.stx_dev_minor);
    if (export->window && window_region(export->window, region, device, (ino_t)statx_of.stx_ino))
        return 0;
    return mountinfo_is_local(fd) ? 1 : -EACCES;
}

static int on_outside(void *arg, uint64_t address, size_t length, bool write, void **ret_bytes,
                      size_t *ret_length, uint64_t *ret_cookie)
{
    struct export *export = arg;

    return export->window ? window_outside(export->window, address, length, write, ret_bytes,
                                           ret_length, ret_cookie)
                          : -EFAULT;
}

static void on_outside_end(void *arg, uint64_t cookie)
{
    window_outside_end(((struct export *)arg)->window, cookie);
}

static void on_request(void *arg, struct vhost_request *request)
{
    guest_dispatch(((struct export *)arg)->guest, request);
}

/* ---- what the device tells --------------------------------------------------------------- */

static void on_connected(void *arg)
{
    struct export *export = arg;

    export->stood = false;
    atomic_store(&export->connected, true);
}

static void fill_run(struct worker_job *job)
{
    struct export *export = (struct export *)job;

    atomic_store(&export->fill_queued, false);
    window_fill(export->window);
}

static void on_started(void *arg)
{
    struct export *export = arg;

    if (export->window) {
        window_started(export->window);
        if (export->stood && !atomic_exchange(&export->fill_queued, true)) {
            export->fill.run = fill_run;
            worker_submit(export->workers, &export->fill);
        }
    }
}

/* What was parked may be of any queue. */
static void on_runs(void *arg)
{
    guest_resume(((struct export *)arg)->guest);
}

static void on_stopped(void *arg)
{
    struct export *export = arg;

    export->stood = true;
    if (export->window)
        window_stopped(export->window);
}

static void on_reset(void *arg)
{
    struct export *export = arg;

    export->stood = false;
    if (export->window)
        window_left(export->window);
    guest_reset(export->guest); /* also of its locks */
}

static void on_gone(void *arg)
{
    struct export *export = arg;

    on_reset(export);
    atomic_store(&export->connected, false);
}

static const struct vhost_ops ops = {
    .config = on_config,
    .region = on_region,
    .connected = on_connected,
    .started = on_started,
    .runs = on_runs,
    .stopped = on_stopped,
    .reset = on_reset,
    .gone = on_gone,
    .request = on_request,
    .outside = on_outside,
    .outside_end = on_outside_end,
};

/* ---- what the guest asks ----------------------------------------------------------------- */

static int on_renew(void *arg)
{
    return window_renew(((struct export *)arg)->window);
}

static bool on_has_window(void *arg)
{
    return vhost_shm_is_offered(((struct export *)arg)->device);
}

/* ---- its life ---------------------------------------------------------------------------- */

/* The directory's number, with a reference unless it is the root of all. */
static int find_root(struct fs *fs, const char *path, uint64_t *ret_ino)
{
    struct fs_request rq = { 0 };
    uint64_t at = 1;
    struct fs_attr attr;

    if (path[0] != '/')
        return -EINVAL;
    for (;;) {
        size_t length;
        int r;

        path += strspn(path, "/");
        length = strcspn(path, "/");
        if (length == 0)
            break;
        r = fs_lookup(fs, &rq, at, (struct fs_name){ path, length }, &attr);
        if (at != 1)
            fs_forget(fs, at, 1);
        if (r < 0)
            return r;
        at = attr.ino;
        path += length;
        if (!S_ISDIR(attr.mode)) {
            fs_forget(fs, at, 1);
            return -ENOTDIR;
        }
    }
    *ret_ino = at;
    return 0;
}

static int open_window(struct export *export, unsigned number, char **ret_message)
{
    const struct export_options *options = &export->options;
    int r;

    if (options->window == 0 || (options->read_only && !options->ro_dax))
        return 0;
    if (fs_pool(export->fs)->read_only) {
        log_warn("%s: no window: it would need to be written to, and the pool is read-only",
                 export->name);
        return 0;
    }
    r = window_open(export->fs, number, export->name, options->window, options->read_only,
                    &export->window);
    return r < 0 ? message_set(ret_message, r, "%s: a window of %lu bytes cannot be made: %s",
                               export->name, (unsigned long)options->window, strerror(-r))
                 : 0;
}

static int open_guest(struct export *export, char **ret_message)
{
    const struct export_options *options = &export->options;
    struct guest_options guest = {
        .fs = export->fs,
        .read_only = options->read_only,
        .cache = options->cache,
        .dax = options->dax,
        .dax_threshold = options->dax_threshold,
        .dax_door = export->window ? &export->window->door : NULL,
        .workers = export->workers,
        .renew = export->window ? on_renew : NULL,
        .has_window = on_has_window,
        .arg = export,
    };
    int r;

    r = find_root(export->fs, options->root, &guest.root);
    if (r < 0)
        return message_set(ret_message, r, "%s: root=%s: %s", export->name, options->root,
                           strerror(-r));
    r = guest_open(&guest, &export->guest);
    if (r < 0 && guest.root != 1)
        fs_forget(export->fs, guest.root, 1);
    return r;
}

int export_open(struct fs *fs, unsigned number, const struct export_options *options,
                struct export **ret_export, char **ret_message)
{
    struct export *export = calloc(1, sizeof(*export));
    struct vhost_options device;
    int r;

    *ret_message = NULL;
    if (!export) {
        if (!options->path)
            close(options->fd);
        return -ENOMEM;
    }
    export->fs = fs;
    export->options = *options;
    if (options->path)
        snprintf(export->name, sizeof(export->name), "%s", options->path);
    else
        snprintf(export->name, sizeof(export->name), "socket %d", options->fd);
    r = worker_pool_create(options->threads, &export->workers);
    if (r == 0)
        r = open_window(export, number, ret_message);
    if (r == 0)
        r = open_guest(export, ret_message);
    if (r < 0) {
        if (!options->path)
            close(options->fd);
        export_close(export);
        return r;
    }
    device = (struct vhost_options){
        .path = options->path,
        .fd = options->fd,
        .group = options->group,
        .name = export->name,
        .queues = options->queues + 1, /* the first is for what must not wait behind requests */
        .shm_size = export->window ? options->window : 0,
        .mem_slots = options->mem_slots,
        .ops = &ops,
        .arg = export,
    };
    r = vhost_device_open(&device, &export->device, ret_message);
    if (r < 0) {
        export_close(export);
        return r;
    }
    if (export->window)
        export->window->device = export->device;
    *ret_export = export;
    return 0;
}

int export_start(struct export *export)
{
    int error = worker_pool_start(export->workers);

    return error ? error : vhost_device_start(export->device);
}

void export_stop(struct export *export)
{
    if (export->device)
        vhost_device_stop(export->device);
    guest_close(export->guest);
    export->guest = NULL;
    worker_pool_destroy(export->workers); /* runs what is queued */
    export->workers = NULL;
}

bool export_is_held(const struct export *export)
{
    return export->window && window_is_held(export->window);
}

void export_close(struct export *export)
{
    if (!export)
        return;
    export_stop(export);
    vhost_device_close(export->device);
    window_close(export->window);
    free(export);
}

const char *export_name(const struct export *export)
{
    return export->name;
}

bool export_has_window(const struct export *export)
{
    return export->window != NULL;
}

bool export_is_connected(const struct export *export)
{
    return atomic_load(&export->connected);
}

bool export_get_stats(const struct export *export, unsigned kind, struct door_kind_stats *ret_stats)
{
    return guest_get_stats(export->guest, kind, ret_stats);
}
