/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a server's control socket is, and how to ask it something.
 *
 * Owns nothing between calls. For the commands, and for the server that makes the socket. The protocol: one
 * JSON object a line each way, {"command": NAME, ...} and the answer, which has "version": 1 and
 * "command", and "error" with a sentence when the request was not carried out.
 */
#ifndef DAXFUSE_TRANSPORT_CONTROL_CLIENT_H
#define DAXFUSE_TRANSPORT_CONTROL_CLIENT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define CONTROL_VERSION 1
#define CONTROL_LINE_MAX (64u << 10)   /* of a request */
#define CONTROL_ANSWER_MAX (64u << 20) /* of an answer: extents and layouts are long */

/* What a path says of its pool. */
struct control_pool {
    char path[PATH_MAX]; /* the pool's own: PATH, or the source of the mount that PATH is in */
    bool mounted;        /* PATH is in a mount */
    uint8_t uuid[16];    /* of a copy the same */
    uint64_t file_id[2]; /* of a copy another */
};

/* The folder of sockets: /run/daxfuse for root, else $XDG_RUNTIME_DIR/daxfuse. -ENOENT: no such
 * variable; -ENAMETOOLONG: longer than the address of a socket can be. */
int control_folder(char *buffer, size_t size);

/* The path of the socket for a pool: FOLDER/UUID.sock. Errors as control_folder. */
int control_path(const uint8_t uuid[16], char *buffer, size_t size);

/* Connects to a server. -ENOENT, -ECONNREFUSED: none serves this pool; -EACCES: not yours. */
int control_connect(const uint8_t uuid[16], int *ret_fd);

/* Sends one request line (without newline) and receives the answer's, malloc'ed, without newline,
 * NUL-terminated; the caller frees it. -EMSGSIZE, -ECONNRESET the server went away, -errno. */
int control_ask(int fd, const char *request, char **ret_answer);

/* Sends all of it. -ECONNRESET: the other end went away; -EAGAIN: it does not read for as long as
 * SO_SNDTIMEO of the socket says; -errno. */
int control_send(int fd, const char *bytes, size_t length);

/* The process at the other end, as its number is here; 0: it cannot be seen from here. */
pid_t control_peer(int fd);

/* What no other file has, by whatever name it is opened: the device number of a block device, else
 * st_dev and st_ino. A server tells that of its pool as "pool_device" and "pool_inode". */
void control_file_id(const struct stat *file, uint64_t ret_id[2]);

/* The pool that PATH is, or that is mounted there. -EINVAL neither; -errno, of PATH or, when
 * ret_pool->path is set, of that. */
int control_find_pool(const char *path, struct control_pool *ret_pool);

#endif
