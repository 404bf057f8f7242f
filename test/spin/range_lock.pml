/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The protocol of src/dax/range_lock.c and range_slots.c, for spin. Each inline and each comment "in f()"
 * names the function there that it stands for; the numbers are the invariants at the head of that file.
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
 *   - the gates are closed by those in the tree, and nobody else: invariant 4
 *                                                                 (assertion in tree_unlock())
 *   - when all have stopped, a wait that was given up included, nothing is left: slots, gates, tree
 *     and internal lock are as after range_lock_init()                       (assertion at the end)
 *
 * Alone, the lock has its own slots only. With -DSHARDS locker 2 may give it a table at any time, one
 * shard for each byte of the file; the lockers then ask for ranges that are each other's neighbours in
 * shards, and for wide ones.
 *
 * A step is one access to what is shared without the internal lock: a slot, a gate, the pointer to the
 * shards, a park word, the lock itself. What only the lock's holder touches is part of the step before or
 * after.
 *
 * Where the model is coarser than the code:
 *   - Memory is sequentially consistent. The code needs that of a few accesses only, and says so
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
 *    4  acquire_fast() does not look at the gate again when it has its slot
 *    5  acquire_fast() does not look at the other slots
 *    6  slots_conflict() does not set SLOT_NOTIFY
 *    7  newcomer_enters() counts nobody that is passed
 *    8  gates_close() does not close the tree
 *    9  slot_change() leaves the slot without looking for SLOT_NOTIFY
 *   10  slot_change_notified() does not look at the waiters on a downgrade
 *   11  waiter_sleep() does not set SLOT_NOTIFY when it sleeps again
 *   12  acquire_fast() looks at the other slots before it looks at the gate
 *   13  tree_change() does not look at the waiters on a downgrade
 *   14  waiter_sleep() does not say, when it sleeps again, that it is no longer woken
 * and with -DSHARDS
 *   15  gates_close() does not close the gates of shards until the node enters the tree
 *   16  gates_close() closes one gate only for a wide range
 *   17  slots_conflict() does not look at the shards for a wide range
 *   18  slots_conflict() does not look at the lock's own slots for a narrow range
 *   19  acquire_fast() looks for shards once, before it takes its slot
 *   20  shards_add() does not close the gates for those who are in the tree
 *   21  acquire_slow() opens the gates before it takes a slot
 *   22  waiter_sleep() leaves the gates closed when it gives up
 * -DNO_INVARIANT leaves out the assertion of invariant 2: what it would say must then be found as a
 * locker that sleeps for ever.
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define N 3
#define OVERTAKE_MAX 1

/* The slots: the lock's own, then those of the shard of byte 0, then those of byte 1. */
#ifdef SHARDS
#define OWN 1
#define SHARD_SLOTS 2
#define SLOTS (OWN + 2 * SHARD_SLOTS)
#else
#define OWN 2
#define SLOTS OWN
#endif

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
#ifdef SHARDS
#define MENU_0 X(3)
#define MENU_1 X(1) S(3)
#define MENU_2 X_TRY(1) S(1)
#else
#define MENU_0 X(3) X_SLOTLESS(3)
#define MENU_1 X(1) S(3)
#define MENU_2 X_TRY(2) S(3)
#endif

#define CONFLICT(a, b) (((a) & (b) & 3) && (((a) | (b)) & EXCLUSIVE))

#define SLOTLESS SLOTS /* node->slot == NULL */

#define WIDE(word) (BYTES(word) == 3)
#define SHARD(word) (BYTES(word) - 1) /* of a narrow range */

/* Where a node is in the tree. */
#define OUT 0
#define HOLDS 1
#define WAITS 2

/* What a locker's struct lock_wait says. */
#define WAIT 0
#define TRY 1
#define TIMED 2 /* or with a token: the wait can end at any time */

/* struct range_lock and the internal lock. */
byte slot[SLOTS];
bool closed; /* range_lock.tree is not 0 */
bool locked;
#ifdef SHARDS
bool shards; /* range_lock.shards is not NULL */
byte gate[2];
#else
#define shards false
#endif

/* struct range_node of each locker. */
byte want[N]; /* interval and mode */
byte tree[N];
byte ticket[N]; /* 1 is the earliest of those that wait */
byte overtaken[N];
bool woken[N];
bool park[N]; /* PARK_WOKEN */

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
#ifdef SHARDS
#define A_SLOT_KEEPS(w) \
    (SLOT_KEEPS(0, w) || SLOT_KEEPS(1, w) || SLOT_KEEPS(2, w) || SLOT_KEEPS(3, w) || \
     SLOT_KEEPS(4, w))
#define SLOTS_USED (slot[0] || slot[1] || slot[2] || slot[3] || slot[4])
#define IN_SHARD(k, b) (tree[k] != OUT && (want[k] & (1 << b)))
#define GATE_RIGHT(b) (gate[b] == IN_SHARD(0, b) + IN_SHARD(1, b) + IN_SHARD(2, b))
#else
#define A_SLOT_KEEPS(w) (SLOT_KEEPS(0, w) || SLOT_KEEPS(1, w))
#define SLOTS_USED (slot[0] || slot[1])
#endif
#define CLASH(k, w) (k != w && CONFLICT(got[k], got[w]))

#define ANY(f, w) (f(0, w) || f(1, w) || f(2, w))
#define TREE_USED (tree[0] || tree[1] || tree[2])

#if defined(NO_INVARIANT)
#define REMEMBERED(w) true
#else
#define REMEMBERED(w) \
    (tree[w] != WAITS || woken[w] || ANY(HOLD_KEEPS, w) || ANY(PASSED_BY, w) || A_SLOT_KEEPS(w))
#endif

inline tree_lock()
{
    atomic { !locked -> locked = true }
}

#ifdef SHARDS
/* Of those that W has: byte 0's in one step, byte 1's in the next. BY is 1 or -1. */
inline gates_add(w, by)
{
    if
    :: shards ->
        if
        :: (want[w] & 1) -> gate[0] = gate[0] + (by)
        :: else
        fi;
        if
#if BROKEN == 16
        :: BYTES(want[w]) == 2 -> gate[1] = gate[1] + (by)
#else
        :: (want[w] & 2) -> gate[1] = gate[1] + (by)
#endif
        :: else
        fi
    :: else
    fi
}
#else
#define gates_add(w, by)
#endif

inline gates_close()
{
#if BROKEN == 8
    skip;
#else
    closed = true;
#endif
#if BROKEN != 15
    gates_add(me, 1)
#endif
}

/* gates_open() when ME leaves the tree, or does not enter it */
#define gates_open() gates_add(me, -1)

/* As part of a step. */
inline tree_unlock()
{
    do /* invariant 2 */
    :: k < N -> assert(REMEMBERED(k)); k++
    :: else -> break
    od;
    k = 0;
    closed = TREE_USED; /* invariant 4 */
#ifdef SHARDS
    assert(!shards || (GATE_RIGHT(0) && GATE_RIGHT(1)));
#endif
    locked = false
}

#ifdef SHARDS
inline shards_add()
{
    tree_lock();
    atomic {
        shards = true; /* with gates that nobody has seen before */
#if BROKEN != 20
        gate[0] = IN_SHARD(0, 0) + IN_SHARD(1, 0) + IN_SHARD(2, 0);
        gate[1] = IN_SHARD(0, 1) + IN_SHARD(1, 1) + IN_SHARD(2, 1);
#endif
        tree_unlock()
    }
}
#endif

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

/*
 * slots_conflict() with what it needs under the internal lock: all slots that W must look at, each in
 * a step. There the pointer to the shards does not change.
 */
inline slots_look(w, notify)
{
    atomic { slot_look(0, w, notify) }
#ifdef SHARDS
    if
    :: shards && !hit && (want[w] & 1) ->
        atomic { slot_look(1, w, notify) }
        atomic { slot_look(2, w, notify) }
    :: else
    fi;
    if
    :: shards && !hit && (want[w] & 2) ->
        atomic { slot_look(3, w, notify) }
        atomic { slot_look(4, w, notify) }
    :: else
    fi
#else
    atomic { slot_look(1, w, notify) }
#endif
}

inline slot_try(i)
{
    atomic {
        if
        :: mine == SLOTLESS && slot[i] == 0 -> slot[i] = want[me]; mine = i
        :: else
        fi
    }
}

/* slots_take() */
inline slots_take()
{
    mine = SLOTLESS;
    if
#ifdef SHARDS
    :: fits && shards && BYTES(want[me]) == 1 -> slot_try(1); slot_try(2)
    :: fits && shards && BYTES(want[me]) == 2 -> slot_try(3); slot_try(4)
    :: fits && (!shards || WIDE(want[me])) -> slot_try(0)
#else
    :: fits -> slot_try(0); slot_try(1)
#endif
    :: else
    fi
}

/* slots_conflict() without the internal lock: as above, without its own. */
#define FOREIGN(i) (mine != i && CONFLICT(slot[i], want[me]))
inline slots_look_fast()
{
#ifdef SHARDS
#if BROKEN != 19
    table = shards;
#endif
#if BROKEN == 18
    hit = hit || ((!table || WIDE(want[me])) && FOREIGN(0));
#else
    hit = hit || FOREIGN(0);
#endif
    if
#if BROKEN == 17
    :: table && BYTES(want[me]) == 1 ->
#else
    :: table && !hit && (want[me] & 1) ->
#endif
        hit = FOREIGN(1);
        hit = hit || FOREIGN(2)
    :: else
    fi;
    if
#if BROKEN == 17
    :: table && BYTES(want[me]) == 2 ->
#else
    :: table && !hit && (want[me] & 2) ->
#endif
        hit = FOREIGN(3);
        hit = hit || FOREIGN(4)
    :: else
    fi;
    table = false
#else
    hit = hit || FOREIGN(0);
    hit = hit || FOREIGN(1)
#endif
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
            slots_look(w, true);
            atomic {
                if
                :: hit
                :: !hit && overtaken[w] >= OVERTAKE_MAX -> waiter_to_holder(w); park[w] = true
                :: else -> woken[w] = true; park[w] = true
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
        fi
    }
    slots_look(me, notify);
    atomic {
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
    park[me] = false
}

proctype locker(byte me)
{
    byte k, w, first; /* for loops, 0 between them */
    byte how, mine;
    bool fits, hit, failed;
#ifdef SHARDS
    bool table;  /* what slots_conflict() has loaded */
    bool beside; /* the gate that acquire_fast() looks at is a shard's */
#endif

idle:
    atomic {
        want[me] = 0;
        mine = 0;
        fits = false;
        if
#ifdef SHARDS
        :: me == 2 && !shards -> goto more
#endif
        :: me == 0 -> how = TIMED; if MENU_0 fi
        :: me == 1 -> how = WAIT; if MENU_1 fi
        :: me == 2 -> how = WAIT; if MENU_2 fi
        :: goto stop
        fi
    }

    /* acquire_fast() */
#ifdef SHARDS
    beside = shards && !WIDE(want[me]); /* slots_gate() */
#if BROKEN == 19
    table = shards;
#endif
#define GATE ((beside && gate[SHARD(want[me])]) || (!beside && closed))
#else
#define GATE closed
#endif
    if
    :: GATE -> goto slow
    :: else
    fi;
    slots_take();
    if
    :: mine == SLOTLESS -> goto slow
    :: else
    fi;
#if BROKEN == 12
    slots_look_fast();
    hit = hit || GATE;
#elif BROKEN == 4
    slots_look_fast();
#elif BROKEN == 5
    hit = GATE;
#else
    hit = GATE;
    if
    :: !hit -> slots_look_fast()
    :: else
    fi;
#endif
    atomic {
        if
        :: !hit -> hold(); goto held
        :: else -> hit = false
        fi
    }
    slot_change(0);

slow: /* acquire_slow() */
    tree_lock();
    gates_close();
    newcomer_enters(how != TRY);
    if
    :: !hit ->
#if BROKEN == 15
        gates_add(me, 1);
#elif BROKEN == 21
        gates_open();
#endif
        slots_take();
        if
#if BROKEN == 21
        :: mine == SLOTLESS -> gates_add(me, 1)
        :: else
#else
        :: mine != SLOTLESS -> gates_open()
        :: else
#endif
        fi;
        atomic {
            if
            :: mine == SLOTLESS -> tree[me] = HOLDS
            :: else
            fi;
            tree_unlock();
            hold();
            goto held
        }
    :: hit && how == TRY ->
#if BROKEN != 15
        gates_open();
#endif
        atomic { hit = false; tree_unlock(); goto idle }
    :: else ->
#if BROKEN == 15
        gates_add(me, 1);
#endif
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
    atomic { /* park_wait() */
        if
        :: park[me]
        :: how == TIMED -> failed = true /* r < 0 */
        fi
    }
    tree_lock();
    if
    :: tree[me] == WAITS -> /* waiter_enters() */
        hit = ANY(KEEPS_OUT, me);
        slots_look(me, BROKEN != 11)
    :: else
    fi;
    atomic {
        if
        :: tree[me] == WAITS && !hit -> waiter_to_holder(me)
        :: else
        fi;
        if
        :: !hit -> failed = false; tree_unlock(); hold(); goto held
        :: hit && !failed ->
            hit = false;
#if BROKEN != 14
            woken[me] = false;
#endif
            park[me] = false; /* park_again() */
            tree_unlock();
            goto sleep
        :: else ->
            hit = false;
            failed = false;
            ticket_drop(me);
            tree[me] = OUT;
            woken[me] = false;
            park[me] = false
        fi
    }
#if BROKEN != 22
    gates_open();
#endif
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
        gates_open();
#if BROKEN != 2
        waiters_wake();
#endif
        atomic { tree_unlock() }
    fi;
    goto idle;

#ifdef SHARDS
more:
    shards_add();
    goto idle;
#endif

stop:
    atomic {
        stopped++;
        if
        :: stopped == N ->
            assert(!SLOTS_USED && !closed && !locked && !waiting && !TREE_USED);
#ifdef SHARDS
            assert(!gate[0] && !gate[1])
#endif
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
