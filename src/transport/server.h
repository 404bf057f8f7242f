/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A server: one pool, its filesystem, and the doors to it.
 *
 * Owns all of them. Called by the command (tools/daxfuse.c) from its main thread, and server_stop()
 * by the control socket and the thread that waits for signals.
 *
 *   server_open   pool, replay, control socket, mount, sockets for guests, sandbox
 *   server_run    serves until somebody stops it, or the mount is gone and was the only door
 *   server_close  in the opposite order
 */
#ifndef DAXFUSE_TRANSPORT_SERVER_H
#define DAXFUSE_TRANSPORT_SERVER_H

#include "fs/fs.h"
#include "media/pool.h"
#include "transport/fuse/session.h"
#include "transport/sandbox.h"
#include "transport/virtiofs/export.h"
#include <stdbool.h>
#include <stdint.h>

struct keeper;
struct server;

struct server_options {
    const char *pool; /* absolute path; borrowed */
    struct pool_options pool_options;
    struct fs_options fs_options;
    struct door_options door;             /* mountpoint NULL: no mount; then there is an export */
    const struct export_options *exports; /* borrowed */
    unsigned export_count;
    struct sandbox_options sandbox; /* of a server with exports */
};

/* How daxfuse(8) ends: EXIT STATUS there. */
enum server_exit {
    SERVER_EXIT_OK = 0,
    SERVER_EXIT_USAGE = 1,
    SERVER_EXIT_DAMAGED = 2,
    SERVER_EXIT_BUSY = 16,
    SERVER_EXIT_MOUNT = 32,
};

/* An exit code; what was wrong has been logged. */
int server_open(const struct server_options *options, struct server **ret_server);

/* Calls ready(arg), maybe in another thread, when every door answers and the mount line is logged. An exit
 * code. */
int server_run(struct server *server, void (*ready)(void *arg), void *arg);

/* Any thread, any number of times; server_run returns then. Does not wait for that. */
void server_stop(struct server *server);

void server_close(struct server *server);

/* For the control socket. */
struct fs *server_fs(struct server *server);
struct door *server_door(struct server *server);     /* NULL: no mount */
struct keeper *server_keeper(struct server *server); /* NULL: no sandbox */
unsigned server_export_count(const struct server *server);
const struct export *server_export(const struct server *server, unsigned number);
const struct fs_recovered *server_recovered(const struct server *server);
const char *server_mount_line(const struct server *server); /* NULL before it is ready */
uint64_t server_uptime(const struct server *server);        /* nanoseconds */

#endif
