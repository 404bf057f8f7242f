/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same operations as system calls, on a mounted filesystem.
 */
#ifndef DAXFUSE_TEST_MODEL_SYSTEM_H
#define DAXFUSE_TEST_MODEL_SYSTEM_H

#include "oracle.h"

struct system {
    int root; /* descriptor of the folder that is the root */
    int slot[SLOTS];
    bool direct; /* collapse and insert by <daxfuse/ioctl.h>, not by fallocate(2) */
};

/* The folder must be empty. Ends the program when it can not be opened. */
void system_open(struct system *system, const char *folder);
void system_close(struct system *system);
void system_apply(struct system *system, const struct op *op, struct result *ret_result);

#endif
