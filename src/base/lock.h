/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The locks of the server, and the one order in which they may be taken.
 *
 * Owns struct lock (a mutex of 4 bytes) and struct rwlock (16 bytes). Every layer may call it, from
 * any thread. Neither kind may be taken twice by one thread, for reading neither: a writer that came
 * in between would wait for the first hold, and the second hold for the writer. A lock may be
 * destroyed or its memory given back only when no call on it is running, a release included: whoever
 * releases still holds a reference to what the lock is in.
 *
 * THE LOCK ORDER. A thread that holds a lock waits only for locks that come later:
 *
 *   LOCK_RENAME   one for each filesystem. First, because a rename between directories must know that
 *                 no ancestor moves before it can even say which inodes it needs.
 *   LOCK_INODE    names, ownership, mode; lower inode number first. Before the ranges, because a
 *                 truncate checks rights here and then waits for its range, while a read, a write or
 *                 a fault enters at the range and never comes back up to the inode lock.
 *   LOCK_RANGE    byte ranges of a file (dax/range_lock.h); lower inode first, then lower offset. Held
 *                 across everything that reads, gives or takes away those bytes, a VMM's answer to a
 *                 map request included; hence before all locks that guard a data structure only.
 *   LOCK_MAPPING  the registry of direct mappings. Before the extent map, because what is mapped where
 *                 decides what a take-away may do to the map.
 *   LOCK_MAP      an inode's extents, size, blocks, times and the checksum of its record. Before the
 *                 journal, because a transaction must log the map as it is when its bytes are written.
 *   LOCK_JOURNAL  transactions and logs. Before space, because blocks are taken and given back inside
 *                 a transaction, and the allocator never begins one.
 *   LOCK_SPACE    free space. No journal or space lock is held across a wait for a VMM.
 *   LOCK_LEAF     what holds no other lock while it is held: caches' chains, queues, the log.
 *
 * Within a class the order number given to lock_init() decides, lower first; two locks of one class
 * and number are never held together. An attempt that does not wait (lock_try and its like) may be
 * made in any order, but what it took counts when the next lock is waited for.
 *
 * Built with DAXFUSE_LOCK_ORDER every wait is checked against what the thread holds, and a wrong one
 * ends the process with both locks' names. DAXFUSE_TEST_SEAMS adds the seams at the end of this file.
 * Both change struct layouts: a build has them everywhere or nowhere. Without them no trace is left.
 *
 * All of it is made of C11 atomics and futexes, which ThreadSanitizer follows without help.
 */
#ifndef DAXFUSE_BASE_LOCK_H
#define DAXFUSE_BASE_LOCK_H

#include "base/park.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_class {
    LOCK_RENAME,
    LOCK_INODE,
    LOCK_RANGE,
    LOCK_MAPPING,
    LOCK_MAP,
    LOCK_JOURNAL,
    LOCK_SPACE,
    LOCK_LEAF,
};

#ifdef DAXFUSE_LOCK_ORDER
/* Where a lock stands in the order; OFFSET tells ranges of one inode apart, else 0. */
struct lock_rank {
    enum lock_class class;
    uint64_t number;
    uint64_t offset;
};
#endif

struct lock {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody may sleep */
#ifdef DAXFUSE_LOCK_ORDER
    struct lock_rank rank;
#endif
};

/*
 * First come, first served among those that wait; a newcomer may pass the first of them while the lock
 * is free for it, at most RWLOCK_OVERTAKE_MAX times, which spares a switch of threads for each
 * hold when many want the lock, and starves nobody.
 */
#define RWLOCK_OVERTAKE_MAX 32

struct rwlock_waiter;

struct rwlock {
    _Atomic uint32_t word; /* number of readers, RWLOCK_WRITER, RWLOCK_WAITERS (lock.c) */
    _Atomic uint32_t queue_word;
    struct rwlock_waiter *first; /* guarded by queue_word, as are the waiters */
#ifdef DAXFUSE_LOCK_ORDER
    struct lock_rank rank;
#endif
};

/* For locks in static storage. */
#ifdef DAXFUSE_LOCK_ORDER
# define LOCK_INITIALIZER(c, n)           \
  {                                       \
   .rank = {.class = (c), .number = (n) } \
  }
#else
# define LOCK_INITIALIZER(c, n) \
  {                             \
   .word = 0                    \
  }
#endif

#ifndef DAXFUSE_LOCK_ORDER
_Static_assert(sizeof(struct lock) == 4, "inodes are many");
_Static_assert(sizeof(struct rwlock) == 16, "inodes are many");
#endif

/* CLASS and NUMBER (an inode number, a log's index, else 0) are the lock's place in the order. */
void lock_init(struct lock *lock, enum lock_class class, uint64_t number);
void lock_acquire(struct lock *lock);
bool lock_try(struct lock *lock);
void lock_release(struct lock *lock);

/* For assertions: held by the caller with DAXFUSE_LOCK_ORDER, held by anybody without. */
bool lock_is_held(const struct lock *lock);

void rwlock_init(struct rwlock *lock, enum lock_class class, uint64_t number);

void rwlock_read(struct rwlock *lock);
bool rwlock_try_read(struct rwlock *lock);
void rwlock_read_release(struct rwlock *lock);

void rwlock_write(struct rwlock *lock);
bool rwlock_try_write(struct rwlock *lock);
void rwlock_write_release(struct rwlock *lock);

/* As rwlock_read and rwlock_write, with a limit: 0, or -EAGAIN, -EINTR, -ETIMEDOUT (park.h). */
int rwlock_read_wait(struct rwlock *lock, const struct lock_wait *wait);
int rwlock_write_wait(struct rwlock *lock, const struct lock_wait *wait);

/* Turns the caller's write hold into a read hold; no writer comes in between. */
void rwlock_downgrade(struct rwlock *lock);

/* For assertions, as lock_is_held(); a write hold is also a hold. */
bool rwlock_is_held(const struct rwlock *lock);
bool rwlock_is_write_held(const struct rwlock *lock);

/*
 * The held-stack of the lock order, for those who build locks: lock.c and dax/range_lock.c.
 *
 * A hold that may end in another thread than it began in (a range) carries a struct lock_order_hold,
 * through which any thread can take it off the stack of the one that took it.
 */
#ifdef DAXFUSE_LOCK_ORDER
struct lock_order_hold {
    uint64_t id; /* 0: not on any stack */
    uint32_t slot;
};

/* Ends the process unless the caller may wait for a lock of this rank now. */
void lock_order_check(const struct lock_rank *rank);
void lock_order_push(const struct lock_rank *rank, const void *lock);
void lock_order_pop(const void *lock);
bool lock_order_holds(const void *lock);
void lock_order_push_hold(const struct lock_rank *rank, struct lock_order_hold *hold);
void lock_order_pop_hold(struct lock_order_hold *hold);
#endif

/*
 * The seams for tests. lock_seam_seed() makes the threads give way at points chosen by SEED (0: none)
 * before and after locks are taken and let go; lock_seam_range_locks() turns all range locks off and on.
 */
#ifdef DAXFUSE_TEST_SEAMS
void lock_seam_seed(uint64_t seed);
void lock_seam_point(void);
void lock_seam_range_locks(bool on);
bool lock_seam_range_locks_on(void);
#else
static inline void lock_seam_point(void)
{
}
#endif

#endif
