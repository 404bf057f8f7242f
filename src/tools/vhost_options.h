/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sockets for guests on daxfuse(8)'s command line: --vhost-user and what belongs to it.
 */
#ifndef DAXFUSE_TOOLS_VHOST_OPTIONS_H
#define DAXFUSE_TOOLS_VHOST_OPTIONS_H

#include <stdbool.h>

struct options;

/* One more, out of comma-separated words, of which the first may be a bare path; ",," is a comma in one. is_fd: TEXT
 * is a descriptor's number. -EINVAL with a sentence, -ENOMEM. */
int vhost_options_add(struct options *options, const char *text, bool is_fd, char **ret_message);
/* When all words are read: what they mean for each other and for the mount. */
int vhost_options_finish(struct options *options, char **ret_message);
void vhost_options_free(struct options *options);

/* As the vhost-user specification has it for back-ends ("Backend program conventions"). */
extern const char vhost_options_capabilities[];

#endif
