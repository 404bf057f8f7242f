/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Restricted rings. The library of liburing 2.3 has not all functions of its header. */
#include "base/uring.h"

#include <assert.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OPERATIONS_MAX 4

int uring_make(unsigned entries, unsigned flags, const uint8_t *operations, unsigned count,
               struct io_uring *ret_ring)
{
    struct io_uring_restriction allowed[OPERATIONS_MAX] = { 0 };
    struct io_uring ring;

    assert(count <= OPERATIONS_MAX);
    for (unsigned i = 0; i < count; i++) {
        allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
        allowed[i].sqe_op = operations[i];
    }
    int error = io_uring_queue_init(entries, &ring, flags | IORING_SETUP_R_DISABLED);
    if (error)
        return error;
    if (syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_RESTRICTIONS, allowed, count) <
        0) {
        error = -errno;
        io_uring_queue_exit(&ring);
        return error;
    }
    *ret_ring = ring;
    return 0;
}

int uring_enable(struct io_uring *ring)
{
    return syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0
               ? -errno
               : 0;
}
