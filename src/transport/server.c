/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server's life. Threads: main runs the mount's loop, and then, if there are sockets for guests, or in
 * the first place, if there is no mount, waits for somebody to call server_stop(); "starter" waits for the
 * mount's first answer and says that all doors are there; "stopper" unmounts when the server is stopped; the
 * control socket, the doors' workers and devices have their own.
 */
#include "transport/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "transport/control.h"
#include "transport/keeper.h"
#include "transport/mountinfo.h"
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* A server that ends has unmounted, and closed its control socket, before it has retired its journal: a
 * start right after an umount(8) waits for that. */
#define BUSY_TRIES 40
#define BUSY_PAUSE_NS 50000000

struct server {
    struct server_options options;
    struct pool *pool;
    struct fs *fs;
    struct fs_recovered recovered;
    struct door *door;      /* NULL: no mount */
    _Atomic bool unmounted; /* and others are still served */
    struct export **exports;
    unsigned export_count; /* that are open */
    struct control *control;
    _Atomic(char *) mount_line;
    uint64_t begun;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stop_wanted, loop_ended;    /* guarded by mutex */
    struct keeper *keeper;           /* NULL: no sandbox */
    int control_kept, *exports_kept; /* the keeper's numbers of sockets; -1: none */
    void (*ready)(void *arg);
    void *ready_arg;
};

static int exit_code(int error)
{
    switch (error) {
    case -EBUSY:
        return SERVER_EXIT_BUSY;
    case -EUCLEAN:
    case -EINVAL:
    case -ENOTSUP:
        return SERVER_EXIT_DAMAGED;
    default:
        return SERVER_EXIT_USAGE;
    }
}

static bool is_served(const char *pool)
{
    struct control_pool found;
    int fd;

    if (control_find_pool(pool, &found) != 0 || control_connect(found.uuid, &fd) != 0)
        return false;
    close(fd);
    return true;
}

static int open_pool(const struct server_options *options, struct pool **ret_pool)
{
    static const struct timespec pause = { .tv_nsec = BUSY_PAUSE_NS };
    char *message = NULL;
    int error;

    for (int tries = 0;; tries++) {
        error = pool_open(options->pool, &options->pool_options, ret_pool, &message);
        if (error != -EBUSY || tries == BUSY_TRIES || is_served(options->pool))
            break;
        free(message);
        message = NULL;
        nanosleep(&pause, NULL);
    }
    if (error)
        log_error("%s", message ? message : strerror(-error));
    free(message);
    return error;
}

/* Without a socket it serves all the same, but not beside a server that has the socket already:
 * daxfuse-ctl would ask that one. An exit code. */
static int open_control(struct server *server)
{
    char path[PATH_MAX] = "";
    int error = control_open(server, &server->control);

    if (error == -EADDRINUSE) {
        control_path(server->pool->super.uuid, path, sizeof(path));
        log_error(
            "%s: a server of this pool, or of a copy with the same UUID, is running and answers "
            "at %s: umount that one (findmnt -t fuse.daxfuse shows it), then try again",
            server->options.pool, path);
        return SERVER_EXIT_BUSY;
    }
    if (error)
        log_warn("no control socket (daxfuse-ctl will not find this server): %s", strerror(-error));
    return SERVER_EXIT_OK;
}

/* What kept the filesystem from being opened is not always damage. An exit code. */
static int explain_fs_error(const char *pool, int error)
{
    switch (error) {
    case -ENOMEM:
    case -EAGAIN: /* no thread */
        log_error(
            "%s: cannot be opened: %s: raise the limits (ulimit -v, ulimit -u), or free memory",
            pool, strerror(-error));
        return SERVER_EXIT_USAGE;
    case -EROFS:
    case -EACCES:
        log_error("%s: cannot be written: %s: mount it with -o ro", pool, strerror(-error));
        return SERVER_EXIT_USAGE;
    case -ENOSPC:
        log_error("%s: sparse, and its host's file system has no room for more of it: make room "
                  "there, or mount it with -o ro",
                  pool);
        return SERVER_EXIT_USAGE;
    default:
        log_error("%s: %s: run fsck.daxfuse %s", pool,
                  error == -EUCLEAN ? "damaged" : strerror(-error), pool);
        return SERVER_EXIT_DAMAGED;
    }
}

static int open_door(struct server *server)
{
    char *message = NULL;

    if (!server->options.door.mountpoint)
        return 0;
    int error = door_open(server->fs, &server->options.door, &server->door, &message);

    if (error)
        log_error("%s", message ? message : strerror(-error));
    free(message);
    return error;
}

static int open_exports(struct server *server)
{
    const struct server_options *options = &server->options;

    if (options->export_count == 0)
        return 0;
    server->exports = calloc(options->export_count, sizeof(server->exports[0]));
    if (!server->exports)
        return -ENOMEM;
    for (unsigned i = 0; i < options->export_count; i++) {
        char *message = NULL;
        int error =
            export_open(server->fs, i + 1, &options->exports[i], &server->exports[i], &message);

        if (error) {
            log_error("%s", message ? message : strerror(-error));
            free(message);
            return error;
        }
        server->export_count++;
    }
    return 0;
}

/* ---- the sandbox ---------------------------------------------------------------------------------- */

/* A mount alone works in none. Before anything is opened. */
static int start_keeper(struct server *server)
{
    struct server_options *options = &server->options;

    server->control_kept = -1;
    if (options->export_count == 0 ||
        (options->sandbox.mode == SANDBOX_NONE && options->sandbox.seccomp == SECCOMP_NONE))
        return 0;
    server->exports_kept = malloc(options->export_count * sizeof(server->exports_kept[0]));
    if (!server->exports_kept)
        return -ENOMEM;
    for (unsigned i = 0; i < options->export_count; i++)
        server->exports_kept[i] = -1;
    int error = keeper_start(options->door.mountpoint, &server->keeper);
    options->door.keeper = server->keeper;
    options->fs_options.idle = true;
    return error;
}

/* What VMMs send is open here until it is closed, and where no number is left for it, others are not listened to. */
static void allow_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int keep_socket(struct server *server, const char *path, int *ret_number)
{
    int number = keeper_add_socket(server->keeper, path);

    if (number < 0)
        log_error("%s: %s", path, strerror(-number));
    else
        *ret_number = number;
    return number < 0 ? number : 0;
}

static int open_anew(void *arg, bool read_only)
{
    return keeper_open_pool(arg, read_only);
}

/* Without a window nobody is given the pool, and then neither is who takes the server over. */
static bool has_window(const struct server *server)
{
    for (unsigned i = 0; i < server->export_count; i++)
        if (export_has_window(server->exports[i]))
            return true;
    return false;
}

/* Tells the keeper what will be its work. */
static int brief_keeper(struct server *server)
{
    const struct server_options *options = &server->options;
    char path[PATH_MAX];
    int error = 0;

    if (server->control && control_path(server->pool->super.uuid, path, sizeof(path)) == 0)
        error = keep_socket(server, path, &server->control_kept);
    for (unsigned i = 0; i < options->export_count && !error; i++)
        if (options->exports[i].path)
            error = keep_socket(server, options->exports[i].path, &server->exports_kept[i]);
    if (!error)
        error = mountinfo_keep();
    if (!error)
        error = keeper_seal(server->keeper, has_window(server) ? server->pool->fd : -1);
    if (error)
        return error;
    server->pool->open_anew = open_anew;
    server->pool->open_anew_arg = server->keeper;
    return 0;
}

/* Everything is open, and there is one thread: the others are made in the sandbox. An exit code. */
static int enter_sandbox(struct server *server)
{
    char *message = NULL;
    int error;

    if (!server->keeper)
        return SERVER_EXIT_OK;
    error = brief_keeper(server);
    if (error) {
        log_error("no sandbox can be made: %s", strerror(-error));
        return SERVER_EXIT_USAGE;
    }
    if (!server->pool->is_pmem)
        persist_paged_make_rings(server->pool->persist);
    error = sandbox_enter(&server->options.sandbox, &message);
    if (error) {
        log_error("no sandbox: %s; or choose another one (--sandbox, --seccomp)",
                  message ? message : strerror(-error));
        free(message);
        return SERVER_EXIT_USAGE;
    }
    error = fs_threads_start(server->fs);
    if (error) {
        log_error("no thread can be made: %s", strerror(-error));
        return SERVER_EXIT_USAGE;
    }
    return SERVER_EXIT_OK;
}

static void keeper_remove(struct server *server, int number)
{
    if (server->keeper && number >= 0)
        keeper_remove_socket(server->keeper, number);
}

static void close_control(struct server *server)
{
    if (server->control)
        keeper_remove(server, server->control_kept);
    control_close(server->control);
    server->control = NULL;
}

/* ---- opening -------------------------------------------------------------------------------------- */

int server_open(const struct server_options *options, struct server **ret_server)
{
    char *message = NULL;
    int code = SERVER_EXIT_USAGE;
    int error =
        options->door.mountpoint ? door_check_mountpoint(options->door.mountpoint, &message) : 0;

    if (error) {
        log_error("%s", message ? message : strerror(-error));
        free(message);
        return SERVER_EXIT_MOUNT;
    }
    struct server *server = calloc(1, sizeof(*server));
    if (!server) {
        log_error("no memory");
        return code;
    }
    server->options = *options;
    server->begun = clock_now();
    pthread_mutex_init(&server->mutex, NULL);
    pthread_cond_init(&server->changed, NULL);
    error = start_keeper(server);
    if (error) {
        log_error("no process can be made: %s", strerror(-error));
        goto fail;
    }
    if (options->export_count > 0)
        allow_descriptors();
    error = pool_guard_install();
    if (error) {
        log_error("the handler for bad pages cannot be installed: %s", strerror(-error));
        goto fail;
    }
    error = open_pool(options, &server->pool);
    if (error) {
        code = exit_code(error);
        goto fail;
    }
    error = fs_open(server->pool, &server->options.fs_options, &server->fs, &server->recovered);
    if (error) {
        code = explain_fs_error(options->pool, error);
        goto fail;
    }
    code = open_control(server);
    if (code != SERVER_EXIT_OK)
        goto fail;
    code = SERVER_EXIT_MOUNT;
    if (open_door(server) != 0 || open_exports(server) != 0)
        goto fail;
    code = enter_sandbox(server);
    if (code != SERVER_EXIT_OK)
        goto fail;
    code = SERVER_EXIT_MOUNT;
    error = server->control ? control_start(server->control) : 0;
    if (error) {
        log_error("no thread can be made: %s", strerror(-error));
        goto fail;
    }
    *ret_server = server;
    return SERVER_EXIT_OK;

fail:
    server_close(server);
    return code;
}

/* ---- serving -------------------------------------------------------------------------------------- */

static char *mount_line(struct server *server)
{
    const struct pool *pool = server->pool;
    char recovered[120] = "the pool was clean", where[300], guests[40] = "";
    char *line;

    if (server->recovered.entries || server->recovered.orphans || server->recovered.intents)
        snprintf(recovered, sizeof(recovered),
                 "recovered: %lu journal entries, %lu orphans, %lu operations",
                 (unsigned long)server->recovered.entries, (unsigned long)server->recovered.orphans,
                 (unsigned long)server->recovered.intents);
    if (server->door)
        snprintf(
            where, sizeof(where),
            "transport %s (%s); no passthrough (files are extents of the pool); kernel FUSE 7.%u",
            door_transport(server->door), door_transport_reason(server->door),
            door_kernel_minor(server->door));
    else
        snprintf(where, sizeof(where), "not mounted");
    if (server->export_count > 0)
        snprintf(guests, sizeof(guests), "%u socket%s for guests; ", server->export_count,
                 server->export_count > 1 ? "s" : "");
    int length = asprintf(
        &line, "%s%s%s%s: %s (%s), flush %s, durability %s; %s; %s%s%s", pool->path,
        server->door ? " on " : "", server->door ? door_mountpoint(server->door) : "",
        server->options.fs_options.read_only ? " read-only" : "",
        pool->is_pmem ? "pmem" : "not pmem", pool->why, pool->flush,
        pool->durability == POOL_DURABILITY_POWER ? "power" : "process", where, guests, recovered,
        pool->used_spare ? "; the superblock was damaged, its spare serves" : "");
    return length < 0 ? NULL : line;
}

/* Every door answers. */
static int doors_ready(struct server *server)
{
    for (unsigned i = 0; i < server->export_count; i++) {
        int error = export_start(server->exports[i]);

        if (error) {
            log_error("%s: no thread can be made: %s", export_name(server->exports[i]),
                      strerror(-error));
            return error;
        }
    }
    char *line = mount_line(server);
    if (line)
        log_info("%s", line);
    atomic_store(&server->mount_line, line);
    server->ready(server->ready_arg);
    return 0;
}

static void *starter_main(void *arg)
{
    struct server *server = arg;

    if (door_wait_ready(server->door) != 0)
        return NULL; /* the loop has ended, and says why */
    if (doors_ready(server) != 0)
        server_stop(server);
    return NULL;
}

static void *stopper_main(void *arg)
{
    struct server *server = arg;

    pthread_mutex_lock(&server->mutex);
    while (!server->stop_wanted && !server->loop_ended)
        pthread_cond_wait(&server->changed, &server->mutex);
    bool stop = server->stop_wanted && !server->loop_ended;
    pthread_mutex_unlock(&server->mutex);
    if (stop)
        door_stop(server->door);
    return NULL;
}

static void wait_for_stop(struct server *server)
{
    pthread_mutex_lock(&server->mutex);
    while (!server->stop_wanted)
        pthread_cond_wait(&server->changed, &server->mutex);
    pthread_mutex_unlock(&server->mutex);
}

static int run_mount(struct server *server)
{
    pthread_t starter, stopper;

    if (pthread_create(&stopper, NULL, stopper_main, server) != 0) {
        log_error("no thread can be made");
        return SERVER_EXIT_MOUNT;
    }
    bool started = pthread_create(&starter, NULL, starter_main, server) == 0;
    if (!started) {
        log_error("no thread can be made");
        server_stop(server);
    }
    int error = door_run(server->door);
    pthread_mutex_lock(&server->mutex);
    server->loop_ended = true;
    bool stopped = server->stop_wanted;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
    pthread_join(stopper, NULL);
    bool goes_on = server->export_count > 0 && started && !error && !stopped;
    /* The starter may be in the mount: closing it lets it out. */
    if (!goes_on)
        close_control(server);
    struct door *door = server->door;
    door_detach(door);
    if (started)
        pthread_join(starter, NULL);
    bool was_ready = atomic_load(&server->mount_line) != NULL;
    if (goes_on && was_ready) {
        atomic_store(&server->unmounted, true);
        log_info("%s: is not mounted any more; guests are still served", server->pool->path);
        wait_for_stop(server);
    }
    return started && was_ready && !error ? SERVER_EXIT_OK : SERVER_EXIT_MOUNT;
}

int server_run(struct server *server, void (*ready)(void *arg), void *arg)
{
    int code;

    server->ready = ready;
    server->ready_arg = arg;
    if (server->door) {
        code = run_mount(server);
    } else {
        code = doors_ready(server) == 0 ? SERVER_EXIT_OK : SERVER_EXIT_MOUNT;
        if (code == SERVER_EXIT_OK)
            wait_for_stop(server);
    }
    close_control(server);
    return code;
}

void server_stop(struct server *server)
{
    pthread_mutex_lock(&server->mutex);
    server->stop_wanted = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
}

void server_close(struct server *server)
{
    bool held = false;

    if (!server)
        return;
    close_control(server);
    door_close(server->door);
    for (unsigned i = 0; i < server->export_count; i++)
        export_stop(server->exports[i]);
    for (unsigned i = 0; i < server->export_count; i++)
        held |= export_is_held(server->exports[i]);
    if (held)
        fs_freeze(server->fs);
    for (unsigned i = 0; i < server->export_count; i++) {
        if (server->exports_kept)
            keeper_remove(server, server->exports_kept[i]);
        export_close(server->exports[i]);
    }
    free(server->exports);
    free(server->exports_kept);
    if (server->fs)
        fs_close(server->fs);
    if (server->pool)
        pool_close(server->pool);
    keeper_stop(server->keeper);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->mutex);
    free(atomic_load(&server->mount_line));
    free(server);
}

struct fs *server_fs(struct server *server)
{
    return server->fs;
}

struct door *server_door(struct server *server)
{
    return atomic_load(&server->unmounted) ? NULL : server->door;
}

struct keeper *server_keeper(struct server *server)
{
    return server->keeper;
}

unsigned server_export_count(const struct server *server)
{
    return server->export_count;
}

const struct export *server_export(const struct server *server, unsigned number)
{
    return server->exports[number];
}

const struct fs_recovered *server_recovered(const struct server *server)
{
    return &server->recovered;
}

const char *server_mount_line(const struct server *server)
{
    return atomic_load(&server->mount_line);
}

uint64_t server_uptime(const struct server *server)
{
    return clock_now() - server->begun;
}
