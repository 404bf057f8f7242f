/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An export: one vhost-user socket, and what is below a directory of the pool for the guest behind it.
 *
 * Owns the device (vhost/), the guest (guest.h), the window and the workers. Called by the server from one
 * thread; the rest happens in the device's threads.
 */
#ifndef DAXFUSE_TRANSPORT_VIRTIOFS_EXPORT_H
#define DAXFUSE_TRANSPORT_VIRTIOFS_EXPORT_H

#include "transport/stats.h"
#include "transport/virtiofs/guest.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct export;
struct fs;

#define EXPORT_TAG_MAX 36
#define EXPORT_QUEUES_MAX 63

struct export_options {
    const char *path; /* of the socket; borrowed. NULL: fd */
    int fd;
    gid_t group;      /* of the socket; (gid_t)-1: as it comes */
    const char *tag;  /* that the guest mounts; borrowed */
    const char *root; /* a directory of the pool, absolute there; borrowed */
    uint64_t window;  /* bytes, whole chunks; 0: none */
    bool mem_slots;   /* offered to the VMM */
    bool read_only;
    bool ro_dax;     /* a window, though nothing keeps a guest from storing through it */
    unsigned queues; /* for requests */
    unsigned threads;
    enum guest_cache cache;
    enum guest_dax dax;
    uint64_t dax_threshold;
};

/* NUMBER: no other export's of this server, below POOL_DOORS. Listens; nobody is answered before export_start.
 * On failure *ret_message is a malloc'ed sentence or NULL. */
int export_open(struct fs *fs, unsigned number, const struct export_options *options,
                struct export **ret_export, char **ret_message);
int export_start(struct export *export);
/* Ends the connection and all requests. Any number of times. */
void export_stop(struct export *export);
/* Whether somebody may still map what it gave him. */
bool export_is_held(const struct export *export);
/* Stopped, and so are all other doors. What a VMM still maps is no longer known here: if that is so the filesystem is
 * frozen (fs_freeze), and the pool's lock keeps others out until the VMM ends. NULL is allowed. */
void export_close(struct export *export);

const char *export_name(const struct export *export);
bool export_has_window(const struct export *export); /* whatever the VMM wants */
bool export_is_connected(const struct export *export);
bool export_get_stats(const struct export *export, unsigned kind,
                      struct door_kind_stats *ret_stats);

#endif
