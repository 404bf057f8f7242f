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
 * Memory that is no pool (the memory of a guest, a file of its VMM) is guarded as a whole: its first
 * bad page puts zeros over all of it, since who has it gives it up then. Page by page a guest could
 * make us map more pieces than a process may have, and huge pages can not be covered in parts.
 *
 * The table: an entry is free while its base is 0. A fault in what is just being removed can not be, as
 * nobody may use it any more; but entries change while others fault, so one is believed only if its
 * `change` is even and the same before and after it was read.
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

#define GUARDS_MAX 512

struct pool_guard {
    _Atomic unsigned change; /* odd: base, room, bad and bad_pages are being changed */
    _Atomic uintptr_t base;  /* 0: free */
    _Atomic size_t room;     /* bytes of address space, with what the pool may grow to */
    /* A bit for each page of the room; NULL: not a pool. */
    _Atomic uint64_t *_Atomic bad;
    uint64_t bad_size;
    _Atomic uint64_t *_Atomic bad_pages; /* the owner's count */
    atomic_bool reported;
};

static struct pool_guard guards[GUARDS_MAX];
static pthread_mutex_t guards_mutex = PTHREAD_MUTEX_INITIALIZER; /* adding, removing, installing */

static bool installed;
static struct sigaction previous;
static unsigned page_shift;

/* The bare system call: the library's may be intercepted by a sanitizer. */
static bool zeros_map(uintptr_t start, size_t length)
{
    return syscall(SYS_mmap, start, length, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                   0) == (long)(intptr_t)start;
}

/* Async-signal-safe. Notes the page of ADDRESS and puts zeros over it. */
static bool guard_cover(uintptr_t address)
{
    for (unsigned i = 0; i < GUARDS_MAX; i++) {
        struct pool_guard *guard = &guards[i];
        unsigned change = atomic_load(&guard->change);
        uintptr_t base = atomic_load(&guard->base);
        size_t room = atomic_load(&guard->room);
        _Atomic uint64_t *bad = atomic_load(&guard->bad);
        _Atomic uint64_t *bad_pages = atomic_load(&guard->bad_pages);
        uint64_t page, bit;

        if (base == 0 || address < base || address - base >= room || change % 2 != 0 ||
            atomic_load(&guard->change) != change)
            continue;

        page = (address - base) >> page_shift;
        if (bad == NULL) {
            atomic_fetch_add(bad_pages, 1);
            /* A host that counts every page it promises may have one, and not all. */
            return zeros_map(base, room) ||
                   zeros_map(base + (page << page_shift), 1ul << page_shift);
        }
        bit = 1ull << (page % 64);
        if ((atomic_fetch_or(&bad[page / 64], bit) & bit) == 0)
            atomic_fetch_add(bad_pages, 1);
        return zeros_map(base + (page << page_shift), 1ul << page_shift);
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

/* With the mutex. A free entry, or NULL. */
static struct pool_guard *guard_find_free(void)
{
    for (unsigned i = 0; i < GUARDS_MAX; i++)
        if (atomic_load(&guards[i].base) == 0)
            return &guards[i];
    return NULL;
}

/* With the mutex. */
static void guard_set(struct pool_guard *guard, uintptr_t base, size_t room, _Atomic uint64_t *bad,
                      _Atomic uint64_t *bad_pages)
{
    atomic_fetch_add(&guard->change, 1);
    atomic_store(&guard->base, base);
    atomic_store(&guard->room, room);
    atomic_store(&guard->bad, bad);
    atomic_store(&guard->bad_pages, bad_pages);
    atomic_fetch_add(&guard->change, 1);
}

/* A pool more than the table has places for is served without a guard. */
int pool_guard_add(struct pool *pool)
{
    unsigned shift = (unsigned)__builtin_ctzl((unsigned long)sysconf(_SC_PAGESIZE));
    uint64_t room = pool->host->room_size;
    int result = 0;

    pthread_mutex_lock(&guards_mutex);
    struct pool_guard *guard = guard_find_free();
    if (guard) {
        _Atomic uint64_t *bad = pool_map_bitmap((room >> shift) + 1, &guard->bad_size);

        if (bad) {
            atomic_store(&guard->reported, false);
            guard_set(guard, (uintptr_t)pool->base, room, bad, &pool->bad_pages);
            pool->guard = guard;
        } else {
            result = -ENOMEM;
        }
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
    _Atomic uint64_t *bad = atomic_load(&guard->bad);
    guard_set(guard, 0, 0, NULL, NULL);
    munmap((void *)bad, guard->bad_size);
    pool->guard = NULL;
    pthread_mutex_unlock(&guards_mutex);
}

int pool_guard_add_memory(void *base, size_t size, _Atomic uint64_t *bad_pages)
{
    pthread_mutex_lock(&guards_mutex);
    struct pool_guard *guard = guard_find_free();
    if (guard)
        guard_set(guard, (uintptr_t)base, size, NULL, bad_pages);
    pthread_mutex_unlock(&guards_mutex);
    return guard ? 0 : -ENOSPC;
}

void pool_guard_remove_memory(void *base)
{
    pthread_mutex_lock(&guards_mutex);
    for (unsigned i = 0; i < GUARDS_MAX; i++)
        if (atomic_load(&guards[i].base) == (uintptr_t)base)
            guard_set(&guards[i], 0, 0, NULL, NULL);
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
        uint64_t word = atomic_load(&atomic_load(&guard->bad)[page / 64]);

        if (word == 0) {
            page |= 63; /* nothing in this word: on to the next one */
        } else if (word & (1ull << (page % 64))) {
            report(pool, guard, page << page_shift);
            return true;
        }
    }
    return false;
}
