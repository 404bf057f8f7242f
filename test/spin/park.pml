/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a thread sleeps and is woken: src/base/park.c, for spin.
 *
 * One waiter waits, is woken for nothing, and waits again, without end; its signals come from one
 * releaser at a time (they are sent under a lock), and an interrupt may come at any moment, or never. The
 * releaser sends its signal first and wakes later, when the waiter may long be in its next wait. Every
 * access to the park word, and the kernel's look at it, is one step.
 *
 * Shown: whoever is signalled or interrupted wakes up: there is no end state in which the waiter sleeps.
 *
 * -DBROKEN=n: spin finds a waiter that sleeps for ever when
 *    1  park_wait() sleeps without telling the kernel what it saw
 *    2  park_signal() asks for PARK_SLEEPING before it sets its bit
 *    3  park_again() forgets an interrupt too
 *    4  lock_wait_interrupt() does not wake
 */
#ifndef BROKEN
#define BROKEN 0
#endif

#define WOKEN 1
#define INTERRUPTED 4
#define SLEEPING 8

byte word;
bool locked;      /* the lock that guards park_signal() */
bool asks;        /* the waiter wants to be woken: it is in the tree, and not yet woken */
bool sleeps;      /* in the kernel */
bool interrupted; /* lock_wait_interrupt() has been called */

/* park_futex_wake(): whoever sleeps at this moment */
inline futex_wake()
{
    sleeps = false
}

proctype waiter()
{
    byte value;

    /* park_begin() */
    word = word & INTERRUPTED;
again:
    atomic { !locked -> locked = true; asks = true; locked = false }
wait: /* park_wait() */
    atomic { value = word; word = word | SLEEPING }
    if
    :: (value & WOKEN) -> goto woken
    :: !(value & WOKEN) && (value & INTERRUPTED) -> goto stop
    :: else
    fi;
    /* park_futex_wait(): the kernel compares and goes to sleep in one step */
    atomic {
        if
#if BROKEN == 1
        :: true -> sleeps = true
#else
        :: word == (value | SLEEPING) -> sleeps = true
#endif
        :: else
        fi;
        value = 0
    }
    !sleeps;
    goto wait;
woken:
    atomic {
        !locked;
        value = 0;
#if BROKEN == 3
        word = word & ~(WOKEN | SLEEPING | INTERRUPTED)
#else
        word = word & ~(WOKEN | SLEEPING) /* park_again() */
#endif
    }
    goto again;
stop:
    skip
}

proctype releaser()
{
    byte before;

end:
    do
    :: atomic { !locked && asks -> locked = true; asks = false }
        /* park_signal() */
#if BROKEN == 2
        before = word;
        word = word | WOKEN;
#else
        atomic { before = word; word = word | WOKEN }
#endif
        locked = false;
        /* park_wake() */
        if
        :: (before & SLEEPING) -> futex_wake()
        :: else
        fi;
        before = 0
    :: interrupted -> break
    od
}

/* lock_wait_interrupt() */
proctype interrupter()
{
    if
    :: true
    :: word = word | INTERRUPTED;
#if BROKEN != 4
        futex_wake();
#endif
        interrupted = true
    fi
}

init
{
    atomic { run waiter(); run releaser(); run interrupter() }
}
