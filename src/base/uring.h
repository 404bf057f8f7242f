/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An io_uring that can do what it is for, and nothing else for whoever takes the process over: a filter of
 * system calls does not see what rings do. No state, no lock.
 */
#ifndef DAXFUSE_BASE_URING_H
#define DAXFUSE_BASE_URING_H

#include <liburing.h>
#include <stdint.h>

/* FLAGS of io_uring_setup(2); COUNT operations, up to 4, are allowed. It does nothing until it is enabled.
 * -errno: a kernel without restrictions (5.10 has them) says -EINVAL. */
int uring_make(unsigned entries, unsigned flags, const uint8_t *operations, unsigned count,
               struct io_uring *ret_ring);

/* With IORING_SETUP_SINGLE_ISSUER it is the calling thread's from now on. -errno. */
int uring_enable(struct io_uring *ring);

#endif
