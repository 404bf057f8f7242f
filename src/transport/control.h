/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket: questions and orders to a running server, one JSON object a line each way.
 *
 * Owns the socket, a thread that accepts, and a thread for each connection (CONTROL_CONNECTIONS_MAX).
 * Called by server.c. Connections of other users than root and the server's are refused, by the
 * socket's mode and by keeper_is_own. Whatever is sent, the answer is an answer or an error: nothing is
 * trusted but that the sender may stop this server anyway.
 */
#ifndef DAXFUSE_TRANSPORT_CONTROL_H
#define DAXFUSE_TRANSPORT_CONTROL_H

#include "transport/control_client.h"
#include <json-c/json.h>

struct control;
struct server;

#define CONTROL_CONNECTIONS_MAX 16
#define CONTROL_SEND_SECONDS 5 /* so long an answer waits to be taken */
#define CONTROL_END_SECONDS 2  /* and so long when the server ends */

/* Makes the folder and the socket, where requests wait until control_start. A socket that nobody
 * answers was left over by a killed server, and is replaced. -EADDRINUSE: a server answers it, of a
 * pool with this UUID: another one that only reads this pool (the pool's lock lets any number of
 * them), or of a copy. -errno. */
int control_open(struct server *server, struct control **ret_control);

/* Begins to answer; the server has its door by now. -errno. */
int control_start(struct control *control);

/* Ends what is being answered, closes, removes the socket. NULL is allowed. */
void control_close(struct control *control);

/* ---- the requests, control_request.c --------------------------------------------------------- */

/* The answer to one line; never NULL but without memory. The caller puts it. */
struct json_object *control_answer(struct server *server, const char *line, size_t length);

/* Adds the picture of the pool, in request "cells" parts, to an answer. 0 or -errno. */
int control_answer_layout(struct server *server, struct json_object *request,
                          struct json_object *answer);

#endif
