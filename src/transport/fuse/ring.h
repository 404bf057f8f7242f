/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Answering a request that came through io_uring from another thread than the ring's.
 *
 * Owns struct ring_gate, one for each of libfuse's ring threads, made when the thread first enters
 * its ring, gone with the thread. Called by dispatch.c.
 *
 * libfuse 3.18 lets any thread answer, and takes its ring_lock to do so; but its ring thread enters
 * io_uring_submit_and_wait() without that lock, and so may publish an entry that another thread
 * has just taken and not filled in yet (libfuse issue 1443): that answer is lost, its request hangs. The
 * gate closes this. ring.c provides the io_uring_submit_and_wait() that libfuse calls: it publishes
 * entries under the gate, and a thread that answers holds the gate meanwhile.
 *
 * Order: gate, then libfuse's ring_lock. The ring thread holds ring_lock while handlers run, and
 * takes the gate only outside them.
 *
 * libfuse frees a ring's requests after it has joined the ring's thread: the thread therefore does not
 * end before all that was handed over is answered. It also cancels the thread; a cancellation
 * inside an operation would leave locks behind, so it is turned off: an eventfd wakes the ring.
 */
#ifndef DAXFUSE_TRANSPORT_FUSE_RING_H
#define DAXFUSE_TRANSPORT_FUSE_RING_H

struct ring_gate;

/* The calling thread's, if it is a ring thread, else NULL. */
struct ring_gate *ring_gate_mine(void);

/* By the ring thread: a request leaves it. */
void ring_gate_hand_over(struct ring_gate *gate);

/* By who answers such a request, around the answer. After answer_end it is as answered. */
void ring_gate_answer_begin(struct ring_gate *gate);
void ring_gate_answer_end(struct ring_gate *gate);

#endif
