/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE 1
#include "baton.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ACTORS 32
#define STACK_SIZE (1u << 20)

enum state { FREE, READY, BLOCKED, DONE };

struct actor {
    _Atomic uint32_t turn; /* 1: has the baton */
    enum state state;
    const void *on; /* BLOCKED: what it waits for */
    bool limited;   /* ... and not for ever */
    bool timed_out;
    pthread_t thread;
    void *(*fn)(void *arg);
    void *arg, *result;
};

/* All of it is the baton's. */
static struct actor actors[ACTORS];
/* Theirs: where a library would put a stack depends on whether a thread that has ended is gone already, and what
 * a thread draws from the addresses of its own variables depends on that. */
static uint8_t stacks[ACTORS][STACK_SIZE] __attribute__((aligned(4096)));
static unsigned current;
static unsigned odds;
static uint64_t state, trace, switches, now;
static _Atomic bool on;
static _Thread_local bool is_actor;

#define REAL(result, name, ...)     \
 result __real_##name(__VA_ARGS__); \
 result __wrap_##name(__VA_ARGS__); \
 result __wrap_##name(__VA_ARGS__)

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static bool active(void)
{
    return is_actor && atomic_load_explicit(&on, memory_order_relaxed);
}

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % below;
}

static void wait_turn(struct actor *actor)
{
    while (atomic_load(&actor->turn) == 0)
        __real_syscall(SYS_futex, &actor->turn, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static void give_turn(struct actor *actor)
{
    atomic_store(&actor->turn, 1);
    __real_syscall(SYS_futex, &actor->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static _Noreturn void deadlock(void)
{
    printf("nobody can go on:");
    for (unsigned i = 0; i < ACTORS; i++)
        if (actors[i].state == BLOCKED)
            printf(" thread %u", i);
    printf("\n");
    fflush(stdout);
    abort();
}

/* Who goes on: any that is ready; if none is, one whose wait has a limit. */
static unsigned choose(void)
{
    unsigned ready[ACTORS], limited[ACTORS], ready_count = 0, limited_count = 0, chosen;

    for (unsigned i = 0; i < ACTORS; i++) {
        if (actors[i].state == READY)
            ready[ready_count++] = i;
        else if (actors[i].state == BLOCKED && actors[i].limited)
            limited[limited_count++] = i;
    }
    if (ready_count)
        return ready[draw(ready_count)];
    if (!limited_count)
        deadlock();
    chosen = limited[draw(limited_count)];
    actors[chosen].state = READY;
    actors[chosen].timed_out = true;
    return chosen;
}

static void hand_on(void)
{
    struct actor *mine = &actors[current];
    bool done = mine->state == DONE;
    unsigned next = choose();

    trace = (trace ^ next) * 0x100000001b3;
    if (&actors[next] == mine)
        return;
    switches++;
    atomic_store(&mine->turn, 0);
    current = next;
    give_turn(&actors[next]);
    if (!done) /* else it is the reaper who hands on */
        wait_turn(mine);
}

static void point(void)
{
    if (draw(odds) == 0)
        hand_on();
}

/* Whether it was woken, and not only out of patience. */
static bool block(const void *what, bool limited)
{
    struct actor *mine = &actors[current];

    mine->state = BLOCKED;
    mine->on = what;
    mine->limited = limited;
    mine->timed_out = false;
    hand_on();
    return !mine->timed_out;
}

static void wake(const void *what, int count)
{
    for (unsigned i = 0; i < ACTORS && count > 0; i++)
        if (actors[i].state == BLOCKED && actors[i].on == what) {
            actors[i].state = READY;
            count--;
        }
}

/* ---- threads ------------------------------------------------------------------------------------- */

static void *actor_main(void *arg);

REAL(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
     void *arg)
{
    struct actor *actor = NULL;
    pthread_attr_t with_stack;
    int r;

    if (!active())
        return __real_pthread_create(thread, attr, fn, arg);
    for (unsigned i = 0; i < ACTORS && !actor; i++)
        if (actors[i].state == FREE)
            actor = &actors[i];
    if (!actor)
        return EAGAIN;
    *actor = (struct actor){ .state = READY, .fn = fn, .arg = arg };
    pthread_attr_init(&with_stack);
    r = pthread_attr_setstack(&with_stack, stacks[actor - actors], STACK_SIZE);
    if (r == 0)
        r = __real_pthread_create(thread, &with_stack, actor_main, actor);
    pthread_attr_destroy(&with_stack);
    if (r)
        actor->state = FREE;
    actor->thread = *thread;
    point();
    return r;
}

REAL(int, pthread_join, pthread_t thread, void **result)
{
    for (unsigned i = 0; active() && i < ACTORS; i++) {
        if (actors[i].state == FREE || i == current || !pthread_equal(actors[i].thread, thread))
            continue;
        while (actors[i].state != DONE)
            block(&actors[i], false);
        actors[i].state = FREE;
        if (result)
            *result = actors[i].result;
        return 0;
    }
    return __real_pthread_join(thread, result);
}

/* 1 + the actor that ends, for the reaper. */
static _Atomic uint32_t ending;

/* Hands the baton on for those that end, when there is nothing left of them: what the library gives back for a
 * thread that ends would else be free earlier or later for those that go on. */
static void *reaper_main(void *arg)
{
    (void)arg;
    for (;;) {
        uint32_t which = atomic_exchange(&ending, 0);

        if (which == 0) {
            __real_syscall(SYS_futex, &ending, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
            continue;
        }
        (void)__real_pthread_join(actors[which - 1].thread, &actors[which - 1].result);
        actors[which - 1].state = DONE;
        wake(&actors[which - 1], ACTORS);
        hand_on();
    }
    return NULL;
}

static void *actor_main(void *arg)
{
    struct actor *mine = arg;
    void *result;

    is_actor = true;
    wait_turn(mine);
    result = mine->fn(mine->arg);
    atomic_store(&ending, 1 + (uint32_t)(mine - actors));
    __real_syscall(SYS_futex, &ending, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    return result;
}

void baton_start(uint64_t seed, unsigned one_in)
{
    static bool has_reaper;
    pthread_t reaper;

    if (!has_reaper) {
        if (__real_pthread_create(&reaper, NULL, reaper_main, NULL) != 0)
            abort();
        pthread_detach(reaper);
        has_reaper = true;
    }
    for (unsigned i = 0; i < ACTORS; i++)
        actors[i] = (struct actor){ .state = FREE };
    actors[0].state = READY;
    atomic_store(&actors[0].turn, 1);
    current = 0;
    odds = one_in;
    state = (seed + 1) * 0x9e3779b97f4a7c15u;
    trace = switches = 0;
    now = 1000000000;
    is_actor = true;
    atomic_store(&on, true);
}

void baton_stop(void)
{
    atomic_store(&on, false);
    is_actor = false;
}

uint64_t baton_trace(void)
{
    return trace;
}

uint64_t baton_switches(void)
{
    return switches;
}

/* ---- what threads wait with ----------------------------------------------------------------------- */

REAL(int, pthread_mutex_lock, pthread_mutex_t *mutex)
{
    if (!active())
        return __real_pthread_mutex_lock(mutex);
    point();
    while (pthread_mutex_trylock(mutex) != 0)
        block(mutex, false);
    return 0;
}

REAL(int, pthread_mutex_unlock, pthread_mutex_t *mutex)
{
    int r = __real_pthread_mutex_unlock(mutex);

    if (active()) {
        wake(mutex, ACTORS);
        point();
    }
    return r;
}

static int condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, bool limited)
{
    bool woken;

    __real_pthread_mutex_unlock(mutex);
    wake(mutex, ACTORS);
    woken = block(condition, limited);
    while (pthread_mutex_trylock(mutex) != 0)
        block(mutex, false);
    return woken ? 0 : ETIMEDOUT;
}

REAL(int, pthread_cond_wait, pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    return active() ? condition_wait(condition, mutex, false)
                    : __real_pthread_cond_wait(condition, mutex);
}

REAL(int, pthread_cond_clockwait, pthread_cond_t *condition, pthread_mutex_t *mutex,
     clockid_t clock, const struct timespec *deadline)
{
    return active() ? condition_wait(condition, mutex, true)
                    : __real_pthread_cond_clockwait(condition, mutex, clock, deadline);
}

REAL(int, pthread_cond_signal, pthread_cond_t *condition)
{
    if (!active())
        return __real_pthread_cond_signal(condition);
    wake(condition, 1);
    return 0;
}

REAL(int, pthread_cond_broadcast, pthread_cond_t *condition)
{
    if (!active())
        return __real_pthread_cond_broadcast(condition);
    wake(condition, ACTORS);
    return 0;
}

REAL(int, pthread_rwlock_rdlock, pthread_rwlock_t *lock)
{
    if (!active())
        return __real_pthread_rwlock_rdlock(lock);
    point();
    while (pthread_rwlock_tryrdlock(lock) != 0)
        block(lock, false);
    return 0;
}

REAL(int, pthread_rwlock_wrlock, pthread_rwlock_t *lock)
{
    if (!active())
        return __real_pthread_rwlock_wrlock(lock);
    point();
    while (pthread_rwlock_trywrlock(lock) != 0)
        block(lock, false);
    return 0;
}

REAL(int, pthread_rwlock_unlock, pthread_rwlock_t *lock)
{
    int r = __real_pthread_rwlock_unlock(lock);

    if (active()) {
        wake(lock, ACTORS);
        point();
    }
    return r;
}

/* Of base/park.c, which makes all six arguments. */
static long futex(_Atomic uint32_t *word, long operation, uint32_t value,
                  const struct timespec *deadline)
{
    if ((operation & FUTEX_CMD_MASK) == FUTEX_WAKE) {
        wake(word, (int)value);
        return 0;
    }
    if (atomic_load(word) != value) {
        errno = EAGAIN;
        return -1;
    }
    if (!block(word, deadline)) {
        errno = ETIMEDOUT;
        return -1;
    }
    return 0;
}

long __wrap_syscall(long number, ...)
{
    va_list list;
    long a[6];

    va_start(list, number);
    for (unsigned i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_futex && active())
        return futex((_Atomic uint32_t *)a[0], a[1], (uint32_t)a[2], (const struct timespec *)a[3]);
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

REAL(int, sched_yield, void)
{
    if (!active())
        return __real_sched_yield();
    hand_on();
    return 0;
}

REAL(int, nanosleep, const struct timespec *time, struct timespec *left)
{
    if (!active())
        return __real_nanosleep(time, left);
    hand_on();
    return 0;
}

REAL(void, lock_seam_point, void)
{
    if (active())
        point();
    else
        __real_lock_seam_point();
}

/* ---- what else differs from run to run ------------------------------------------------------------ */

REAL(int, clock_gettime, clockid_t clock, struct timespec *time)
{
    if (!active())
        return __real_clock_gettime(clock, time);
    now += 1000;
    *time = (struct timespec){ .tv_sec = (time_t)(now / 1000000000),
                               .tv_nsec = (long)(now % 1000000000) };
    return 0;
}

REAL(uint64_t, random_u64, void)
{
    return active() ? draw(UINT64_MAX) : __real_random_u64();
}

REAL(uint32_t, random_nonzero_u32, void)
{
    return active() ? (uint32_t)draw(UINT32_MAX) + 1 : __real_random_nonzero_u32();
}

REAL(int, sched_getcpu, void)
{
    return active() ? (int)(current % 2) : __real_sched_getcpu();
}
