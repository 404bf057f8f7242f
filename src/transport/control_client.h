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
#include <stddef.h>
#include <stdint.h>

#define CONTROL_VERSION 1
#define CONTROL_LINE_MAX (64u << 10)   /* of a request */
#define CONTROL_ANSWER_MAX (64u << 20) /* of an answer: extents and layouts are long */

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

/* The uuid of the pool that holds PATH: of a pool file or device by its superblock, of a path in a
 * mount by the mount's source. -EINVAL neither; -errno. */
int control_find_pool(const char *path, uint8_t ret_uuid[16]);

#endif
