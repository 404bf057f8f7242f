/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of transport/vhost begin with: a device, and a VMM that is connected to it.
 */
#ifndef DAXFUSE_TEST_VHOST_FIXTURE_H
#define DAXFUSE_TEST_VHOST_FIXTURE_H

#include "vhost_front.h"
#include <unistd.h>

static struct callee callee;
static struct front front;
static char path[64];

static inline void fixture_setup(void)
{
    callee_start(&callee, FRONT_QUEUES, path);
    front_open(&front, path);
}

static inline void fixture_teardown(void)
{
    front_close(&front);
    callee_end(&callee, path);
}

/* Another VMM, after the one that was. */
static inline void reconnect(void)
{
    if (front.fd >= 0)
        close(front.fd);
    front_connect(&front, path);
}

#endif
