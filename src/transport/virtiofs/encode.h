/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Answers: from what fs/ says to bytes in the guest's memory.
 *
 * An answer is written in one access and given back. When the queue was stopped it is kept until
 * the queue goes on (dispatch.c); when the guest's descriptors lead nowhere, the function says
 * -EFAULT, nothing has been answered, and the caller takes back what the guest will not know of.
 */
#ifndef DAXFUSE_TRANSPORT_VIRTIOFS_ENCODE_H
#define DAXFUSE_TRANSPORT_VIRTIOFS_ENCODE_H

#include "transport/virtiofs/decode.h"

/* Both end the request, or say -EFAULT; -EINVAL: the guest left no room for that much. */
int guest_answer(struct guest_request *gr, const void *bytes, size_t size);
int guest_answer_two(struct guest_request *gr, const void *first, size_t first_size,
                     const void *second, size_t second_size);
/* The guest waits for an error, 0 or negative. Ends the request in any case. */
void guest_answer_error(struct guest_request *gr, int error);
/* There is no answer, or none can be given. */
void guest_answer_none(struct guest_request *gr);

/* With an access begun: the answer's header. */
int guest_write_header(struct guest_request *gr, int error, size_t size);
/* The answer lies there whole: SIZE bytes after the header. */
void guest_answered(struct guest_request *gr, bool error, size_t size);

/* large: as the node has it. */
void guest_fill_attr(const struct guest *guest, const struct fs_attr *attr, bool large,
                     struct fuse_attr *ret_attr);
/* Adds the node, which takes over the reference if it can be (0), and fills in timeouts. */
int guest_fill_entry(struct guest *guest, uint32_t epoch, const struct fs_attr *attr,
                     struct fuse_entry_out *ret_entry);

/* Takes the reference over, in any case. */
int guest_answer_entry(struct guest_request *gr, const struct fs_attr *attr);
int guest_answer_attr(struct guest_request *gr, const struct fs_attr *attr);

/* ---- dispatch.c ---- */

/* The queue was stopped: the answer waits, or, with size 0, the request does, until it goes on. */
void guest_park(struct guest_request *gr, const void *answer, size_t size);
/* No session begins or ends until guest_session_let_go. -EAGAIN one does, and this thread may not wait;
 * -ENOTCONN the request is of one that is over. */
int guest_session_hold(struct guest_request *gr);
void guest_session_let_go(struct guest_request *gr);
/* Those that are parked go nowhere: the guest begins anew. */
void guest_give_up_parked(struct guest *guest);

/* ---- ops_lock.c ---- */

/* All that the guest has locked, and waits for. With the session's lock held exclusively. */
void guest_forget_locks(struct guest *guest);

#endif
