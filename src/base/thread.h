/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads of ours in a program with a main thread that takes the signals. No state.
 */
#ifndef DAXFUSE_BASE_THREAD_H
#define DAXFUSE_BASE_THREAD_H

#include <pthread.h>

/* As pthread_create, for a thread that gets no signals but those that it causes by what it touches: of pages that
 * cannot be read (media/guard.h). -errno. */
int thread_create(pthread_t *ret_thread, void *(*run)(void *arg), void *arg);

#endif
