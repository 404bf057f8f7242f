/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line of daxfuse(8), read into what the server wants.
 *
 * No state. Strings in struct options live in it until options_free().
 */
#ifndef DAXFUSE_TOOLS_OPTIONS_H
#define DAXFUSE_TOOLS_OPTIONS_H

#include "base/log.h"
#include "transport/server.h"
#include <stdbool.h>

struct options {
    bool foreground, help, version, print_capabilities;
    enum log_level log_level;
    struct server_options server;
    char *pool, *mountpoint, *kernel; /* what server points to */
    struct export_options *exports;
    const char *socket_group; /* of argv */
};

/* 0; -EINVAL: *ret_message is a malloc'ed sentence that says what is wrong; -ENOMEM. In every case
 * the caller frees options. */
int options_parse(struct options *options, int argc, char **argv, char **ret_message);
void options_free(struct options *options);

extern const char options_usage[];

#endif
