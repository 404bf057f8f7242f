/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost/closer.h"

#include "base/clock.h"
#include "base/thread.h"
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct closer {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    bool has_thread;
    bool ending; /* what is there is closed, and then it is over */
    bool over;   /* all is closed */
    bool left;   /* nobody waits: the thread frees this */
    unsigned first, count;
    int fds[CLOSER_ROOM]; /* from first on, in a circle */
};

static void closer_free(struct closer *closer)
{
    pthread_cond_destroy(&closer->changed);
    pthread_mutex_destroy(&closer->mutex);
    free(closer);
}

int closer_create(struct closer **ret_closer)
{
    struct closer *closer = calloc(1, sizeof(*closer));

    if (!closer)
        return -ENOMEM;
    pthread_mutex_init(&closer->mutex, NULL);
    pthread_cond_init(&closer->changed, NULL);
    *ret_closer = closer;
    return 0;
}

/* With the mutex, which is let go while one is closed. */
static void close_all(struct closer *closer)
{
    while (closer->count > 0) {
        int fd = closer->fds[closer->first];

        closer->first = (closer->first + 1) % CLOSER_ROOM;
        closer->count--;
        pthread_mutex_unlock(&closer->mutex);
        close(fd);
        pthread_mutex_lock(&closer->mutex);
    }
}

static void *closer_main(void *arg)
{
    struct closer *closer = arg;

    pthread_setname_np(pthread_self(), "daxfuse-close");
    pthread_mutex_lock(&closer->mutex);
    for (;;) {
        close_all(closer);
        if (closer->ending)
            break;
        pthread_cond_wait(&closer->changed, &closer->mutex);
    }
    closer->over = true;
    bool left = closer->left;
    pthread_cond_broadcast(&closer->changed);
    pthread_mutex_unlock(&closer->mutex);
    if (left)
        closer_free(closer);
    return NULL;
}

int closer_start(struct closer *closer)
{
    int error = thread_create(&closer->thread, closer_main, closer);

    closer->has_thread = error == 0;
    return error;
}

void closer_destroy(struct closer *closer, uint64_t deadline)
{
    if (!closer)
        return;
    if (!closer->has_thread) { /* no VMM was listened to */
        pthread_mutex_lock(&closer->mutex);
        close_all(closer);
        pthread_mutex_unlock(&closer->mutex);
        closer_free(closer);
        return;
    }
    const struct timespec until = clock_moment(deadline);
    pthread_t thread = closer->thread;
    pthread_mutex_lock(&closer->mutex);
    closer->ending = true;
    pthread_cond_broadcast(&closer->changed);
    while (!closer->over && pthread_cond_clockwait(&closer->changed, &closer->mutex,
                                                   CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    bool over = closer->over;
    closer->left = !over;
    pthread_mutex_unlock(&closer->mutex);
    if (over) {
        pthread_join(thread, NULL);
        closer_free(closer);
    } else {
        pthread_detach(thread);
    }
}

void closer_take(struct closer *closer, int fd)
{
    if (fd < 0)
        return;
    pthread_mutex_lock(&closer->mutex);
    assert(closer->count < CLOSER_ROOM);
    closer->fds[(closer->first + closer->count++) % CLOSER_ROOM] = fd;
    pthread_cond_broadcast(&closer->changed);
    pthread_mutex_unlock(&closer->mutex);
}

bool closer_is_behind(struct closer *closer)
{
    pthread_mutex_lock(&closer->mutex);
    bool behind = closer->count > CLOSER_BEHIND;
    pthread_mutex_unlock(&closer->mutex);
    return behind;
}
