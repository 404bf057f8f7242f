/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mount and libfuse's session: what is negotiated with the kernel, how the session begins and ends.
 *
 * Caching. This door is the only one, and all changes come from this kernel, which looks after its own
 * caches: attributes and names are valid for a day (-o timeout=), the page cache stays from open to
 * open, nothing is thrown away because a time has changed. What changes behind its back (flags, set-ID
 * bits) it is told before the request is answered.
 *
 * Ending. By umount(8) the kernel has written everything back before the session sees its end. When
 * told to stop, door_stop() does the same: unmount, while door_run() still answers. Only if somebody is
 * in the mount it is written back, detached, and ended under them. What others have mounted in its
 * place stays.
 */
#include "transport/fuse/door.h"

#include "base/log.h"
#include "base/message.h"
#include "transport/keeper.h"
#include "transport/mountinfo.h"
#include "transport/mountpoint.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_SIZE_MAX (1u << 20)
#define BACKGROUND_MAX 64
#define WORKERS_MIN 4u

#define URING_PARAMETER "/sys/module/fuse/parameters/enable_uring"

/* ---- what is negotiated ------------------------------------------------------------------------- */

static void op_init(void *arg, struct fuse_conn_info *conn)
{
    static const uint64_t wanted[] = {
        FUSE_CAP_ASYNC_READ,       FUSE_CAP_ASYNC_DIO,          FUSE_CAP_ATOMIC_O_TRUNC,
        FUSE_CAP_EXPORT_SUPPORT,   FUSE_CAP_DONT_MASK,          FUSE_CAP_POSIX_ACL,
        FUSE_CAP_PARALLEL_DIROPS,  FUSE_CAP_HANDLE_KILLPRIV_V2, FUSE_CAP_READDIRPLUS,
        FUSE_CAP_READDIRPLUS_AUTO, FUSE_CAP_CACHE_SYMLINKS,     FUSE_CAP_IOCTL_DIR,
    };
    /* Splicing out of the pool is slower than copying; a changed time is our own writer's; the server
     * owns the size. */
    static const uint64_t unwanted[] = {
        FUSE_CAP_SPLICE_READ,     FUSE_CAP_SPLICE_WRITE,    FUSE_CAP_SPLICE_MOVE,
        FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_WRITEBACK_CACHE, FUSE_CAP_HANDLE_KILLPRIV,
    };
    /* Of a mount that is the only door the kernel keeps the locks by itself. */
    static const uint64_t of_shared[] = { FUSE_CAP_POSIX_LOCKS, FUSE_CAP_FLOCK_LOCKS };
    struct door *door = arg;

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        fuse_set_feature_flag(conn, wanted[i]);
    for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++)
        fuse_unset_feature_flag(conn, unwanted[i]);
    for (size_t i = 0; i < sizeof(of_shared) / sizeof(of_shared[0]); i++) {
        if (door->options.shared)
            fuse_set_feature_flag(conn, of_shared[i]);
        else
            fuse_unset_feature_flag(conn, of_shared[i]);
    }
    if (!door->options.io_uring)
        fuse_unset_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
    conn->max_write = REQUEST_SIZE_MAX;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
    conn->time_gran = 1;
    door->capable = conn->capable_ext;
    door->kernel_minor = conn->proto_minor;
}

const struct fuse_lowlevel_ops *door_operations(void)
{
    static struct fuse_lowlevel_ops table;

    table.init = op_init;
    ops_name_install(&table);
    ops_attr_install(&table);
    ops_file_install(&table);
    ops_dir_install(&table);
    ops_xattr_install(&table);
    ops_ioctl_install(&table);
    ops_lock_install(&table);
    return &table;
}

/* What libfuse has to say goes where everything goes; errors of a mount into the mount's message. */
static char mount_error[512];
static _Atomic bool mounting;

static void log_libfuse(enum fuse_log_level level, const char *format, va_list args)
{
    char line[sizeof(mount_error)];

    vsnprintf(line, sizeof(line), format, args);
    size_t length = strlen(line);
    while (length > 0 && line[length - 1] == '\n')
        line[--length] = '\0';
    if (length == 0)
        return;
    if (atomic_load(&mounting) && level <= FUSE_LOG_ERR)
        memcpy(mount_error, line, sizeof(mount_error));
    else if (level <= FUSE_LOG_ERR)
        log_error("%s", line);
    else if (level <= FUSE_LOG_WARNING)
        log_warn("%s", line);
    else if (level <= FUSE_LOG_INFO)
        log_info("%s", line);
    else
        log_debug("%s", line);
}

/* ---- mounting ------------------------------------------------------------------------------------ */

static bool is_fuse_of_device(void *arg, const struct mountinfo *mount)
{
    const dev_t *device = arg;

    return mount->device == *device &&
           (strcmp(mount->type, "fuse") == 0 || strncmp(mount->type, "fuse.", 5) == 0);
}

static bool is_fuse_mount(const char *folder)
{
    dev_t device;

    return mountpoint_look(folder, &device) && mountinfo_walk(is_fuse_of_device, &device);
}

/* FOLDER is in, or is, a mount whose server is gone. */
static void message_server_gone(const char *folder, char **ret_message)
{
    char *mount = strdup(folder), *slash;
    dev_t unused;

    if (!mount)
        return;
    while (!mountpoint_look(mount, &unused) && (slash = strrchr(mount, '/')) != NULL &&
           slash != mount)
        *slash = '\0';
    message_set(ret_message, 0,
                "%s: the server of what is mounted on %s is gone: umount it first (%s %s)", folder,
                mount, geteuid() == 0 ? "umount" : "fusermount3 -u", mount);
    free(mount);
}

int door_check_mountpoint(const char *folder, char **ret_message)
{
    struct stat stat_folder;
    struct statvfs unused;
    bool is_mount = is_fuse_mount(folder);

    *ret_message = NULL;
    /* Attributes may be cached when their server is long gone; this asks it. */
    if (stat(folder, &stat_folder) < 0 || (is_mount && statvfs(folder, &unused) < 0)) {
        int error = errno;
        if (error == ENOTCONN || error == ECONNABORTED) /* the other while it goes */
            message_server_gone(folder, ret_message);
        else if (error == ENOENT)
            message_set(ret_message, 0, "%s: there is no such folder: make it first (mkdir -p %s)",
                        folder, folder);
        else
            message_set(ret_message, 0, "%s: %s: choose another folder to mount on", folder,
                        strerror(error));
        return -error;
    }
    if (!S_ISDIR(stat_folder.st_mode))
        return message_set(ret_message, -ENOTDIR, "%s: not a folder: choose one to mount on",
                           folder);
    if (is_mount)
        return message_set(ret_message, -EBUSY,
                           "%s: in use: something is mounted here already: umount it, or choose "
                           "another folder",
                           folder);
    return 0;
}

/* A comma or a backslash in a value must not end it. */
static int option_add(char **options, const char *name, const char *value)
{
    char *text;
    int result;

    if (asprintf(&text, "%s=%s", name, value) < 0)
        return -1;
    result = fuse_opt_add_opt_escaped(options, text);
    free(text);
    return result;
}

static struct fuse_session *session_create(struct door *door)
{
    const struct door_options *options = &door->options;
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session = NULL;
    char *list = NULL;
    char depth[48];

    snprintf(depth, sizeof(depth), "io_uring_q_depth=%u", options->queue_depth);
    int error = fuse_opt_add_arg(&args, "daxfuse");
    error |= fuse_opt_add_opt(&list, "default_permissions");
    error |= fuse_opt_add_opt(&list, "subtype=daxfuse");
    error |= option_add(&list, "fsname", options->source);
    if (options->allow_other)
        error |= fuse_opt_add_opt(&list, "allow_other");
    if (options->read_only)
        error |= fuse_opt_add_opt(&list, "ro");
    if (options->kernel[0])
        error |= fuse_opt_add_opt(&list, options->kernel);
    if (options->debug)
        error |= fuse_opt_add_opt(&list, "debug");
    if (options->io_uring) {
        error |= fuse_opt_add_opt(&list, "io_uring");
        if (options->queue_depth > 0)
            error |= fuse_opt_add_opt(&list, depth);
    }
    error |= fuse_opt_add_arg(&args, "-o");
    error |= fuse_opt_add_arg(&args, list ? list : "");
    if (!error)
        session =
            fuse_session_new(&args, door_operations(), sizeof(struct fuse_lowlevel_ops), door);
    free(list);
    fuse_opt_free_args(&args);
    return session;
}

int door_open(struct fs *fs, const struct door_options *options, struct door **ret_door,
              char **ret_message)
{
    struct door *door = calloc(1, sizeof(*door));
    int error = -ENOMEM;

    *ret_message = NULL;
    if (!door)
        return -ENOMEM;
    door->fs = fs;
    door->options = *options;
    /* Who waits for a lock must not keep an entry of a ring (ops_lock.c). */
    if (options->shared)
        door->options.io_uring = false;
    fs_lock_door_init(&door->locks);
    door->timeout = options->timeout;
    fuse_set_log_func(log_libfuse);
    door->session = session_create(door);
    if (!door->session) {
        error = message_set(ret_message, -EINVAL, "%s: libfuse refuses the mount options",
                            options->mountpoint);
        goto fail;
    }
    unsigned limit = options->max_threads > WORKERS_MIN ? options->max_threads : WORKERS_MIN;
    error = worker_pool_create(limit, &door->workers);
    if (error)
        goto fail;
    mount_error[0] = '\0';
    atomic_store(&mounting, true);
    error = fuse_session_mount(door->session, options->mountpoint);
    atomic_store(&mounting, false);
    if (error) {
        error = message_set(
            ret_message, -EIO, "%s: cannot be mounted on: %s: %s", options->mountpoint,
            mount_error[0] ? mount_error : "libfuse does not say why",
            geteuid() == 0 ? "the kernel's fuse module must be there (modprobe fuse)"
                           : "users other than root need fusermount3 (package fuse3), and for "
                             "allow_other the line user_allow_other in /etc/fuse.conf");
        goto fail;
    }
    door->mount = mountpoint_id(options->mountpoint);
    error = options->keeper ? keeper_add_mount(options->keeper, door->mount) : 0;
    if (error)
        log_warn("%s: which mount it is is not known: %s: umount it before the server ends",
                 options->mountpoint, strerror(-error));
    *ret_door = door;
    return 0;

fail:
    worker_pool_destroy(door->workers);
    if (door->session)
        fuse_session_destroy(door->session);
    free(door);
    return error;
}

int door_run(struct door *door)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();

    if (!config)
        return -ENOMEM;
    fuse_loop_cfg_set_clone_fd(config, 0);
    fuse_loop_cfg_set_max_threads(config, door->options.max_threads);
    int result = worker_pool_start(door->workers);
    if (!result)
        result = fuse_session_loop_mt(door->session, config);
    fuse_loop_cfg_destroy(config);
    /* At the end of a mount a ring's last entries fail, which libfuse counts as an error. */
    if (result != 0 && !atomic_load(&door->stopping) && result != -ENOTCONN && result != -ENODEV) {
        log_error("%s: libfuse ended with an error: %s", door->options.mountpoint,
                  strerror(result < 0 ? -result : result));
        return -EIO;
    }
    return 0;
}

int door_wait_ready(struct door *door)
{
    static const struct timespec pause = { .tv_nsec = 2000000 };
    struct keeper *keeper = door->options.keeper;

    /* The rings join in a moment after the first answer: wait for them a little. */
    for (int i = 0; i < 100; i++) {
        int error = keeper ? keeper_ask(keeper) : mountpoint_ask(door->options.mountpoint);
        if (error)
            return error == -ENOTCONN ? -ENOTCONN : -EIO;
        bool expected = door->options.io_uring && (door->capable & FUSE_CAP_OVER_IO_URING);
        if (!expected || atomic_load(&door->ring_used))
            return 0;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* ---- ending --------------------------------------------------------------------------------------- */

static bool is_anothers(const struct door *door)
{
    return mountpoint_is_anothers(door->options.mountpoint, door->mount);
}

void door_stop(struct door *door)
{
    const char *mountpoint = door->options.mountpoint;
    struct keeper *keeper = door->options.keeper;
    int error;

    if (atomic_exchange(&door->stopping, true))
        return;
    error = keeper ? keeper_unmount(keeper) : mountpoint_unmount(mountpoint, door->mount);
    if (error == -ESTALE)
        log_warn("%s: the mount is detached or hidden: ended without an unmount", mountpoint);
    else if (error == -EBUSY)
        log_warn("%s: still in use: written back, and detached now", mountpoint);
    /* Unmounted, the session has seen its end by itself; else door_detach detaches it, or says why not. */
    fuse_session_exit(door->session);
}

/* All that is ours of a mount that somebody else sees to is the connection: it closes when something else
 * takes its descriptor, which libfuse closes in the end. */
static void connection_close(struct door *door)
{
    int other = eventfd(0, EFD_CLOEXEC);

    if (other >= 0) {
        dup3(other, fuse_session_fd(door->session), O_CLOEXEC);
        close(other);
    }
}

/* What was not there any more, or was never the keeper's work, is nothing to tell. */
static void tell_if_it_stays(const struct door *door, int error)
{
    if (error == 0 || error == -ESTALE || error == -EINVAL || error == -ENOENT)
        return;
    log_warn("%s: could not be unmounted: %s: if it is still mounted, umount it (%s)",
             door->options.mountpoint, strerror(-error),
             geteuid() == 0 ? "umount -l" : "fusermount3 -uz");
}

void door_detach(struct door *door)
{
    if (door->detached)
        return;
    door->detached = true;
    /* Answers who waits, while the connection is there. */
    fs_lock_forget_door(door->fs, &door->locks);
    if (door->options.keeper) {
        /* In this order: the keeper itself may wait for an answer from here. */
        connection_close(door);
        tell_if_it_stays(door, keeper_detach(door->options.keeper));
    } else if (is_anothers(door)) {
        connection_close(door); /* libfuse would unmount by the path */
    } else {
        fuse_session_unmount(door->session);
        bool stays = door->mount && mountpoint_id(door->options.mountpoint) == door->mount;
        tell_if_it_stays(door, stays ? -EPERM : 0);
    }
}

void door_close(struct door *door)
{
    if (!door)
        return;
    door_detach(door);
    worker_pool_destroy(door->workers);
    fuse_session_destroy(door->session);
    free(door);
}

/* ---- what it says about itself ------------------------------------------------------------------- */

const char *door_transport(const struct door *door)
{
    return atomic_load(&door->ring_used) ? "io_uring" : "classic";
}

const char *door_transport_reason(const struct door *door)
{
    char state = '\0';

    if (atomic_load(&door->ring_used))
        return "the kernel allows it";
    if (door->options.shared)
        return "the pool has other doors, and locks are kept here";
    if (!door->options.io_uring)
        return "no_io_uring was asked for";
    if (door->capable & FUSE_CAP_OVER_IO_URING)
        return "libfuse could not start its rings, or no request has come through them yet";
    int fd = open(URING_PARAMETER, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, &state, 1) != 1)
            state = '\0';
        close(fd);
    }
    if (state == 'N')
        return "enable_uring of the kernel's fuse module is N: echo 1 > " URING_PARAMETER;
    return "the kernel has no io_uring for FUSE (6.14 and later have)";
}

unsigned door_kernel_minor(const struct door *door)
{
    return door->kernel_minor;
}

const char *door_mountpoint(const struct door *door)
{
    return door->options.mountpoint;
}

uint64_t door_handed_over(const struct door *door)
{
    return atomic_load_explicit(&door->handed_over, memory_order_relaxed);
}
