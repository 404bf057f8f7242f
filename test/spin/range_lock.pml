/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The protocol of src/dax/range_lock.c, for spin. Each inline and each comment "in f()" names the
 * function there that it stands for; the numbers are the invariants at the head of that file.
 *
 * N lockers take and leave ranges of a file of two bytes, or stop, for ever and in every order: shared
 * or exclusive, waiting, trying, or giving up a wait at any moment; an exclusive hold may be
 * downgraded. What spin then shows for all interleavings:
 *
 *   - no two holders overlap unless both are shared                          (assertion in hold())
 *   - nobody sleeps whom nothing keeps out: invariant 2 (assertion in tree_unlock(), and, since any
 *     locker may stop for good, no end state in which somebody still waits)
 *   - waiters that conflict go in the order of their coming   (assertion in waiter_to_holder())
 *   - newcomers pass a waiter with n others before it at most (n + 1) * OVERTAKE_MAX times
 *                                                              (assertion in newcomer_enters())
 *   - when all have stopped, a wait that was given up included, nothing is left: slots, tree
 *     and internal lock are as after range_lock_init()                       (assertion at the end)
 *
 * A step is one access to what is shared without the internal lock: a slot, the tree word, a park
 * word, the lock itself. What only the lock's holder touches is part of the step before or after.
 *
 * Where the model is coarser than the code:
 *   - Memory is sequentially consistent. The code needs that of four accesses only, and says so
 *     there; the others are ordered by acquire and release.
 *   - A load followed by a compare-and-swap of the same word is one step: if the word changed in
 *     between, the code looks again.
 *   - Ranges are sets of bytes and the tree is an array; that the interval tree finds what overlaps is
 *     test_interval_tree's to show. A range that fits no slot is locker 0's choice.
 *   - park_wait() is a guard on the park word; the futex call below it is park.pml's.
 *   - Tickets are numbered anew when one waiter has gone, which keeps their order and their number
 *     finite. One internal lock, not one of 64 shared by several range locks.
 *   - OVERTAKE_MAX is 1, not 32.
 *
 * -DBROKEN=n takes one rule out, and spin must find a trail:
 *    1  waiter_enters() does not ask for waiters that came before
 *    2  tree_change() does not look at the waiters when a holder leaves
 *    3  waiter_sleep() does not look at the waiters when it gives up
 *    4  acquire_fast() does not look at the tree again when it has its slot
 *    5  acquire_fast() does not look at the other slots
 *    6  slots_conflict() does not set SLOT_NOTIFY
 *    7  newcomer_enters() counts nobody that is passed
 *    8  tree_lock() does not close the tree
 *    9  slot_change() leaves the slot without looking for SLOT_NOTIFY
 *   10  slot_change_notified() does not look at the waiters on a downgrade
 *   11  waiter_sleep() does not set SLOT_NOTIFY when it sleeps again
 *   12  acquire_fast() looks at the other slots before it looks at the tree
 *   13  tree_change() does not look at the waiters on a downgrade
 *   14  waiter_sleep() does not say, when it sleeps again, that it is no longer woken
 * -DNO_INVARIANT leaves out the assertion of invariant 2: what it would say must then be found as a
 * locker that sleeps for ever.
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define N 3
#define SLOTS 2
#define OVERTAKE_MAX 1

/* A range with its mode; in a slot SLOT_NOTIFY also. 0: none, a free slot. */
#define BYTES(word) ((word) & 3)
#define EXCLUSIVE 4
#define NOTIFY 8

/*
 * What each locker may ask for. Locker 0 may give up a wait at any time, 1 and the rest wait for ever, or
 * do not wait at all where it says so.
 */
#define S(bytes) :: want[me] = (bytes); fits = true
#define X(bytes) :: want[me] = (bytes) | EXCLUSIVE; fits = true
#define X_SLOTLESS(bytes) :: want[me] = (bytes) | EXCLUSIVE
#define X_TRY(bytes) :: want[me] = (bytes) | EXCLUSIVE; fits = true; how = TRY
#define MENU_0 X(3) X_SLOTLESS(3)
#define MENU_1 X(1) S(3)
#define MENU_2 X_TRY(2) S(3)

#define CONFLICT(a, b) (((a) & (b) & 3) && (((a) | (b)) & EXCLUSIVE))

#define SLOTLESS SLOTS /* node->slot == RANGE_SLOTS */

/* Where a node is in the tree. */
#define OUT 0
#define HOLDS 1
#define WAITS 2

/* Park words. */
#define WOKEN 1
#define GRANTED 2

/* What a locker's struct lock_wait says. */
#define WAIT 0
#define TRY 1
#define TIMED 2 /* or with a token: the wait can end at any time */

/* struct range_lock and the internal lock. */
byte slot[SLOTS];
bool closed; /* range_lock.tree is not 0 */
bool locked;

/* struct range_node of each locker. */
byte want[N]; /* interval and mode */
byte tree[N];
byte ticket[N]; /* 1 is the earliest of those that wait */
byte overtaken[N];
bool woken[N];
byte park[N];

/* Not in the code: what the properties speak of. */
byte got[N];     /* what the locker may rely on */
byte earlier[N]; /* waiters before it, when it began to wait */
byte passed[N];  /* newcomers that went first since then */
byte waiting;
byte stopped;

/* waiter_enters(): whether K, in the tree, keeps the waiter W out. */
#if BROKEN == 1
#define BEFORE(k, w) false
#else
#define BEFORE(k, w) (ticket[k] < ticket[w])
#endif
#define KEEPS_OUT(k, w) \
    (k != w && tree[k] != OUT && CONFLICT(want[k], want[w]) && (tree[k] == HOLDS || BEFORE(k, w)))
/* For assertions: the same, and not broken. */
#define PASSED_BY(k, w) \
    (k != w && tree[k] == WAITS && CONFLICT(want[k], want[w]) && ticket[k] < ticket[w])
#define HOLD_KEEPS(k, w) (k != w && tree[k] == HOLDS && CONFLICT(want[k], want[w]))
#define SLOT_KEEPS(i, w) ((slot[i] & NOTIFY) && CONFLICT(slot[i], want[w]))
#define CLASH(k, w) (k != w && CONFLICT(got[k], got[w]))

#define ANY(f, w) (f(0, w) || f(1, w) || f(2, w))
#define TREE_USED (tree[0] || tree[1] || tree[2])

#if defined(NO_INVARIANT)
#define REMEMBERED(w) true
#else
#define REMEMBERED(w) \
    (tree[w] != WAITS || woken[w] || ANY(HOLD_KEEPS, w) || ANY(PASSED_BY, w) || SLOT_KEEPS(0, w) || \
     SLOT_KEEPS(1, w))
#endif

inline tree_lock()
{
    atomic {
        !locked -> locked = true;
#if BROKEN != 8
        closed = true
#endif
    }
}

/* As part of a step. */
inline tree_unlock()
{
    do /* invariant 2 */
    :: k < N -> assert(REMEMBERED(k)); k++
    :: else -> break
    od;
    k = 0;
    closed = TREE_USED; /* invariant 4 */
    locked = false
}

/* slots_conflict(): HIT becomes true if a slot keeps W out. One slot a step. */
inline slot_look(i, w, notify)
{
    if
    :: !hit && CONFLICT(slot[i], want[w]) ->
        hit = true;
#if BROKEN != 6
        if
        :: notify -> slot[i] = slot[i] | NOTIFY
        :: else
        fi
#endif
    :: else
    fi
}

/* slot_take() */
inline slot_take()
{
    mine = SLOTLESS;
    if
    :: fits ->
        atomic {
            if
            :: slot[0] == 0 -> slot[0] = want[me]; mine = 0
            :: else
            fi
        }
        atomic {
            if
            :: mine == SLOTLESS && slot[1] == 0 -> slot[1] = want[me]; mine = 1
            :: else
            fi
        }
    :: else
    fi
}

/* The ticket of W is given back. */
inline ticket_drop(w)
{
    k = 0;
    do
    :: k < N ->
        if
        :: tree[k] == WAITS && ticket[k] > ticket[w] -> ticket[k]--
        :: else
        fi;
        k++
    :: else -> break
    od;
    k = 0;
    ticket[w] = 0;
    overtaken[w] = 0;
    earlier[w] = 0;
    passed[w] = 0;
    waiting--
}

inline waiter_to_holder(w)
{
    assert(!ANY(PASSED_BY, w));
    ticket_drop(w);
    tree[w] = HOLDS;
    woken[w] = false
}

/* waiters_wake(): after something has gone from the range of ME. */
inline waiters_wake()
{
    w = 0;
    do
    :: w < N ->
        if
        :: tree[w] == WAITS && !woken[w] && (want[w] & BYTES(want[me])) && !ANY(KEEPS_OUT, w) ->
            atomic { slot_look(0, w, true) }
            atomic { slot_look(1, w, true) }
            atomic {
                if
                :: hit
                :: !hit && overtaken[w] >= OVERTAKE_MAX ->
                    waiter_to_holder(w);
                    park[w] = park[w] | GRANTED
                :: else ->
                    woken[w] = true;
                    park[w] = park[w] | WOKEN
                fi;
                hit = false;
                w++
            }
        :: else -> w++
        fi
    :: else -> break
    od;
    w = 0
}

/*
 * newcomer_enters(): HIT becomes true if ME may not have its range at once. FIRST is the earliest of
 * those that it would pass.
 */
inline newcomer_enters(notify)
{
    atomic {
        k = 0;
        first = N;
        do
        :: k < N ->
            if
            :: k != me && tree[k] == HOLDS && CONFLICT(want[k], want[me]) -> hit = true
            :: k != me && tree[k] == WAITS && CONFLICT(want[k], want[me]) ->
                if
                :: first == N -> first = k
                :: first < N && ticket[k] < ticket[first] -> first = k
                :: else
                fi
            :: else
            fi;
            k++
        :: else -> break
        od;
        k = 0;
        if
        :: first < N && overtaken[first] >= OVERTAKE_MAX -> hit = true
        :: else
        fi;
        slot_look(0, me, notify)
    }
    atomic {
        slot_look(1, me, notify);
        if
        :: !hit && first < N ->
#if BROKEN != 7
            overtaken[first]++;
#endif
            do
            :: k < N ->
                if
                :: k != me && tree[k] == WAITS && CONFLICT(want[k], want[me]) ->
                    passed[k]++;
                    assert(passed[k] <= (earlier[k] + 1) * OVERTAKE_MAX)
                :: else
                fi;
                k++
            :: else -> break
            od;
            k = 0
        :: else
        fi;
        first = 0
    }
}

/* slot_change(), slot_change_notified(): from what is wanted to NEW, which is 0 to leave. */
inline slot_change(new)
{
    atomic {
        if
#if BROKEN == 9
        :: true -> slot[mine] = new
#else
        :: slot[mine] == want[me] -> slot[mine] = new
#endif
        :: else -> hit = true /* it has SLOT_NOTIFY */
        fi
    }
    if
    :: hit ->
        hit = false;
        tree_lock();
        slot[mine] = new;
#if BROKEN == 10
        if
        :: new == 0 -> waiters_wake()
        :: else
        fi;
#else
        waiters_wake();
#endif
        atomic { tree_unlock() }
    :: else
    fi
}

/* The acquire has succeeded; as part of a step. */
inline hold()
{
    got[me] = want[me];
    assert(!ANY(CLASH, me));
    park[me] = 0
}

proctype locker(byte me)
{
    byte k, w, first; /* for loops, 0 between them */
    byte how, mine;
    bool fits, hit, failed;

idle:
    atomic {
        want[me] = 0;
        mine = 0;
        fits = false;
        if
        :: me == 0 -> how = TIMED; if MENU_0 fi
        :: me == 1 -> how = WAIT; if MENU_1 fi
        :: me == 2 -> how = WAIT; if MENU_2 fi
        :: goto stop
        fi
    }

    /* acquire_fast() */
    if
    :: closed -> goto slow
    :: else
    fi;
    slot_take();
    if
    :: mine == SLOTLESS -> goto slow
    :: else
    fi;
#if BROKEN == 12
    hit = CONFLICT(slot[1 - mine], want[me]);
#elif BROKEN == 4
    skip;
#else
    hit = closed;
#endif
    atomic {
#if BROKEN == 12
        hit = hit || closed;
#elif BROKEN != 5
        hit = hit || CONFLICT(slot[1 - mine], want[me]);
#endif
        if
        :: !hit -> hold(); goto held
        :: else -> hit = false
        fi
    }
    slot_change(0);

slow: /* acquire_slow() */
    tree_lock();
    newcomer_enters(how != TRY);
    if
    :: !hit ->
        slot_take();
        atomic {
            if
            :: mine == SLOTLESS -> tree[me] = HOLDS
            :: else
            fi;
            tree_unlock();
            hold();
            goto held
        }
    :: hit && how == TRY -> atomic { hit = false; tree_unlock(); goto idle }
    :: else ->
        atomic {
            hit = false;
            mine = SLOTLESS;
            waiting++;
            ticket[me] = waiting;
            earlier[me] = waiting - 1;
            tree[me] = WAITS;
            tree_unlock()
        }
    fi;

sleep: /* waiter_sleep() */
    atomic { /* park_wait(), and whether it was PARK_GRANTED */
        if
        :: park[me] != 0
        :: how == TIMED -> failed = true /* r < 0 */
        fi;
        if
        :: (park[me] & GRANTED) -> failed = false; hold(); goto held
        :: else
        fi
    }
    tree_lock();
    atomic {
        if
        :: tree[me] == HOLDS
        :: else ->
            hit = ANY(KEEPS_OUT, me); /* waiter_enters() */
            slot_look(0, me, BROKEN != 11)
        fi
    }
    atomic {
        if
        :: tree[me] == WAITS ->
            slot_look(1, me, BROKEN != 11);
            if
            :: !hit -> waiter_to_holder(me)
            :: else
            fi
        :: else
        fi;
        if
        :: !hit -> failed = false; tree_unlock(); hold(); goto held
        :: hit && !failed ->
            hit = false;
#if BROKEN != 14
            woken[me] = false;
#endif
            park[me] = 0; /* park_again() */
            tree_unlock();
            goto sleep
        :: else ->
            hit = false;
            failed = false;
            ticket_drop(me);
            tree[me] = OUT;
            woken[me] = false;
            park[me] = 0
        fi
    }
#if BROKEN != 3
    waiters_wake();
#endif
    atomic { tree_unlock(); goto idle }

held:
    if
    :: (want[me] & EXCLUSIVE) -> /* range_lock_downgrade() */
        got[me] = BYTES(want[me]);
        if
        :: mine < SLOTLESS -> slot_change(BYTES(want[me])); want[me] = BYTES(want[me])
        :: else -> /* tree_change() */
            tree_lock();
            want[me] = BYTES(want[me]);
#if BROKEN != 13
            waiters_wake();
#endif
            atomic { tree_unlock() }
        fi
    :: true
    fi;
    /* range_lock_release() */
    got[me] = 0;
    if
    :: mine < SLOTLESS -> slot_change(0)
    :: else -> /* tree_change() */
        tree_lock();
        tree[me] = OUT;
#if BROKEN != 2
        waiters_wake();
#endif
        atomic { tree_unlock() }
    fi;
    goto idle;

stop:
    atomic {
        stopped++;
        if
        :: stopped == N ->
            assert(!slot[0] && !slot[1] && !closed && !locked && !waiting && !TREE_USED)
        :: else
        fi
    }
}

init
{
    atomic {
        byte i;
        for (i : 0 .. N - 1) {
            run locker(i)
        }
        i = 0
    }
}
