/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SIGBUS guard: a bad page of the medium, or a full host below a sparse pool, must not end the
 * server (L7, daxfuse(7)).
 *
 * The handler runs in the middle of any store or load, with any lock held, so it does only what is
 * safe there: it looks the address up in a fixed table, notes the page, and maps a private page of
 * zeros over it. The interrupted instruction then goes on. Who works on the range asks
 * pool_range_is_bad() before it replies or commits.
 *
 * The page is noted before the zeros are there: nobody can have read them without the note being
 * visible to it. A page stays bad until the pool is closed, since what was stored to the private page
 * is on no medium.
 *
 * The table: an entry is free while its base is 0. base is set last and cleared first; a fault in a
 * pool that is just being closed can not be, as nobody may use it any more.
 */
#include "media/pool_private.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GUARDS_MAX 16

struct pool_guard {
    _Atomic uintptr_t base; /* 0: free */
    _Atomic size_t room;    /* bytes of address space, with what the pool may grow to */
    _Atomic uint64_t *bad;  /* a bit for each page of the room */
    uint64_t bad_size;
    _Atomic uint64_t *bad_pages; /* the pool's count */
    atomic_bool reported;
};

static struct pool_guard guards[GUARDS_MAX];
static pthread_mutex_t guards_mutex = PTHREAD_MUTEX_INITIALIZER; /* adding, removing, installing */

static bool installed;
static struct sigaction previous;
static unsigned page_shift;

/* Async-signal-safe. Notes the page of ADDRESS and puts zeros over it. */
static bool guard_cover(uintptr_t address)
{
    for (unsigned i = 0; i < GUARDS_MAX; i++) {
        struct pool_guard *guard = &guards[i];
        uintptr_t base = atomic_load_explicit(&guard->base, memory_order_acquire);
        uint64_t page, bit;
        void *start;

        if (base == 0 || address < base ||
            address - base >= atomic_load_explicit(&guard->room, memory_order_relaxed))
            continue;

        page = (address - base) >> page_shift;
        bit = 1ull << (page % 64);
        if ((atomic_fetch_or(&guard->bad[page / 64], bit) & bit) == 0)
            atomic_fetch_add(guard->bad_pages, 1);

        /* The bare system call: the library's may be intercepted by a sanitizer. */
        start = (void *)(base + (page << page_shift));
        return syscall(SYS_mmap, start, 1ul << page_shift, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (long)(intptr_t)start;
    }
    return false;
}

static void guard_on_sigbus(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    bool ours = info->si_code > 0 && guard_cover((uintptr_t)info->si_addr);

    errno = saved_errno;
    if (ours)
        return;

    /* Not for us: what would have happened without us happens. With the default action that is
     * when the instruction is tried again. */
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else {
        struct sigaction action = { .sa_handler = SIG_DFL };

        sigaction(SIGBUS, &action, NULL);
        if (info->si_code <= 0)
            raise(SIGBUS); /* sent by a process: no instruction will bring it again */
    }
}

int pool_guard_install(void)
{
    struct sigaction action = { .sa_sigaction = guard_on_sigbus, .sa_flags = SA_SIGINFO };
    int result = 0;

    sigemptyset(&action.sa_mask);
    pthread_mutex_lock(&guards_mutex);
    if (!installed) {
        page_shift = (unsigned)__builtin_ctzl((unsigned long)sysconf(_SC_PAGESIZE));
        if (sigaction(SIGBUS, NULL, &previous) == 0 && sigaction(SIGBUS, &action, NULL) == 0)
            installed = true;
        else
            result = -errno;
    }
    pthread_mutex_unlock(&guards_mutex);
    return result;
}

/* A pool more than the table has places for is served without a guard. */
int pool_guard_add(struct pool *pool)
{
    unsigned shift = (unsigned)__builtin_ctzl((unsigned long)sysconf(_SC_PAGESIZE));
    uint64_t room = pool->host->room_size;
    int result = 0;

    pthread_mutex_lock(&guards_mutex);
    for (unsigned i = 0; i < GUARDS_MAX; i++) {
        struct pool_guard *guard = &guards[i];

        if (atomic_load(&guard->base) != 0)
            continue;
        guard->bad = pool_map_bitmap((room >> shift) + 1, &guard->bad_size);
        if (guard->bad == NULL) {
            result = -ENOMEM;
            break;
        }
        guard->bad_pages = &pool->bad_pages;
        atomic_store(&guard->reported, false);
        atomic_store(&guard->room, room);
        atomic_store_explicit(&guard->base, (uintptr_t)pool->base, memory_order_release);
        pool->guard = guard;
        break;
    }
    pthread_mutex_unlock(&guards_mutex);
    return result;
}

void pool_guard_remove(struct pool *pool)
{
    struct pool_guard *guard = pool->guard;

    if (guard == NULL)
        return;
    pthread_mutex_lock(&guards_mutex);
    atomic_store(&guard->base, 0);
    munmap((void *)guard->bad, guard->bad_size);
    guard->bad = NULL;
    pool->guard = NULL;
    pthread_mutex_unlock(&guards_mutex);
}

/* The first time that somebody meets one; the handler itself can not. */
static void report(const struct pool *pool, struct pool_guard *guard, uint64_t offset)
{
    if (!atomic_exchange(&guard->reported, true))
        log_error("%s: has bad pages, the first one met is at byte %" PRIu64 ": the medium is bad, "
                  "or the file was cut short; what lies there gives I/O errors: unmount it, see to "
                  "the medium, and run fsck.daxfuse",
                  pool->path, offset);
}

bool pool_range_is_bad(const struct pool *pool, uint64_t offset, uint64_t length)
{
    struct pool_guard *guard = pool->guard;
    uint64_t page, last;

    if (atomic_load_explicit(&pool->bad_pages, memory_order_acquire) == 0 || guard == NULL ||
        length == 0)
        return false;

    last = (offset + length - 1) >> page_shift;
    for (page = offset >> page_shift; page <= last; page++) {
        uint64_t word = atomic_load(&guard->bad[page / 64]);

        if (word == 0) {
            page |= 63; /* nothing in this word: on to the next one */
        } else if (word & (1ull << (page % 64))) {
            report(pool, guard, page << page_shift);
            return true;
        }
    }
    return false;
}
