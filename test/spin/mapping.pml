/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The protocol of faults against take-aways, for spin: src/fs/fault.c, chunk.c, take.c, settle.c,
 * resize.c and the registry src/dax/mapping.c. Each inline names the function that it stands for.
 *
 * Two files have one chunk each, the pool has PIECES pieces, each door's window one slot. File 0 is mapped;
 * file 1 is there to take what becomes free. SERVERS requests run at a time, in every order and
 * interleaving, for ever: faults that read or write, writes, truncation down and up, unmaps. Beside them,
 * at any moment, the user of a door loads from and stores to whatever its slot shows, asking nobody: a
 * guest's kernel.
 *
 *   L1  what a user reaches is a piece of the file that it mapped, and nobody else's: assertions in
 *       user(), and in allocate() that no slot shows what is free
 *   L2  on one file a fault and a take-away do not overlap: assertions in take() and fault()
 *   L3  a load gives zeros or bytes of that file; assertion in user(). What was cut off does not come
 *       back; assertion in grow()
 *   and a write is seen by all that map the file, when it has returned: assertion in write()
 *
 * Door 0 cannot revoke; door 1 can. A step is one access to what another thread may see; what the
 * registry, the extent map and the allocator do under their locks is one step each. The range lock is taken
 * for granted here (range_lock.pml shows it): a shared or exclusive hold of the file.
 *
 * -DSTOPS: a door may stop and be over at any time; door 1 is not used then, which keeps the search small.
 * -DNO_LOCK takes it away: the race of 2015, a fault that has looked at the blocks and not yet mapped them
 * while a truncation gives them to another file.
 * -DBROKEN=n takes one rule out, and spin must find a trail:
 *    1  the fault lets its range go before the slot shows the piece
 *    2  the size is read before the range is held
 *    3  take_pinned() revokes nobody, and takes the blocks away
 *    4  take_pinned() does not count pins
 *    5  chunk_make() does not zero what it takes
 *    6  growing does not zero what was left past EOF
 *    7  a write does not fill what is shown as zeros
 *    8  a door is over while its user still reaches its slot
 *    9  settle() does not ask whether another mapping of the chunk is left
 *   10  a revocation is not waited for
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define FILES 2
#define PIECES 2
#define DOORS 2
#ifndef SERVERS
#define SERVERS 2
#endif

#define NONE 0 /* pieces are 1.. */
#define ZEROS (PIECES + 1)

#define EMPTY 0
#define BUSY 1
#define LIVE 2

#define FREE 0 /* else the file plus 1 */

byte map[FILES];          /* the piece that the chunk has */
bool within[FILES];       /* EOF is behind the chunk, else before it */
byte owner[PIECES + 1];   /* in the allocator */
byte bytes[PIECES + 1];   /* zero, or the file plus 1 whose they are */
bool cut[PIECES + 1];     /* ... and were cut off */

byte shows[DOORS];        /* the window, as its user has it */
byte state[DOORS];        /* the registry */
bool stopped[DOORS], gone[DOORS]; /* the door; its user */

byte readers[FILES], faulting[1];
bool writer[FILES], taking[FILES];

/* ---- the range lock ---------------------------------------------------------------------------- */

#ifdef NO_LOCK
#define OVERLAPS(what) skip /* of course they do; what a user reaches is the question */
#define SHARED(f) skip
#define EXCLUSIVE(f) skip
#define DOWNGRADE(f) skip
#define UNSHARE(f) skip
#define UNLOCK(f) skip
#else
#define OVERLAPS(what) assert(!(what))
#define SHARED(f) atomic { !writer[f]; readers[f]++ }
#define EXCLUSIVE(f) atomic { !writer[f] && readers[f] == 0; writer[f] = true }
#define DOWNGRADE(f) atomic { writer[f] = false; readers[f]++ }
#define UNSHARE(f) readers[f]--
#define UNLOCK(f) writer[f] = false
#endif

/* ---- below -------------------------------------------------------------------------------------- */

#define SHOWN(p) (shows[0] == (p) || shows[1] == (p))
#define MAPPED (state[0] != EMPTY || state[1] != EMPTY)
#define PINS(d) (state[d] != EMPTY && shows[d] != ZEROS && shows[d] != NONE)

/* space_alloc(); NONE: no space. */
inline allocate(f, p)
{
    atomic {
        if
        :: owner[1] == FREE -> p = 1
        :: owner[2] == FREE -> p = 2
        :: else -> p = NONE
        fi;
        if
        :: p != NONE ->
            owner[p] = f + 1;
            assert(!SHOWN(p)) /* L1 */
        :: else
        fi
    }
}

/* The transaction that takes the chunk's blocks out of the map, and then its fence. */
inline give_back(f)
{
    atomic { p = map[f]; map[f] = NONE };
    atomic {
        if
        :: p != NONE -> owner[p] = FREE
        :: else
        fi;
        p = NONE
    }
}

/* ---- the mapper: after a stop every call fails, and nothing changes ---------------------------------- */

inline mapper_map(d, what)
{
    atomic {
        if
        :: !stopped[d] -> shows[d] = what
        :: else
        fi
    }
}

/* unmap and revoke */
#define mapper_unmap(d) mapper_map(d, NONE)

/* A mapper call is over: a mapping that shows nothing is gone. */
#define mapping_stays_or_goes(d) atomic { state[d] = (shows[d] == NONE -> EMPTY : LIVE) }

/* ---- faults --------------------------------------------------------------------------------------- */

/* chunk_make(): the range is held exclusively, the chunk has no piece. */
inline chunk_make(f)
{
    allocate(f, p);
    if
    :: p != NONE ->
#if BROKEN != 5
        atomic { bytes[p] = 0; cut[p] = false };
#endif
        map[f] = p
    :: else
    fi
}

/* dax_fill() but for MINE: who is shown zeros is shown the piece, or loses its slot. */
inline fill(mine)
{
    i = 0;
    do
    :: i < DOORS ->
        if
        :: atomic { i != mine && state[i] == LIVE && shows[i] == ZEROS && !stopped[i] ->
                    state[i] = BUSY };
            mapper_unmap(i);
            if
            :: i == 0 && shows[i] == NONE -> mapper_map(i, map[0])
            :: else
            fi;
            mapping_stays_or_goes(i)
        :: else /* one that is BUSY is being unmapped */
        fi;
        i++
    :: else -> break
    od
}

/* fs_fault() */
inline fault(d, write)
{
    found = within[0]; /* BROKEN 2 goes by this */
    if
    :: write -> EXCLUSIVE(0)
    :: else -> SHARED(0)
    fi;
#if BROKEN != 2
    found = within[0];
#endif
    atomic {
        if
        :: found && state[d] == EMPTY && !stopped[d] && !gone[d] ->
            state[d] = BUSY; fresh = true
        :: found && state[d] == LIVE && !stopped[d] ->
            state[d] = BUSY; fresh = false
        :: else -> found = false /* ENXIO, EBUSY, ENODEV */
        fi
    };
    if
    :: found ->
        faulting[0]++;
        p = map[0];
        if
        :: write && p == NONE ->
            chunk_make(0);
            if
            :: p != NONE -> fill(d)
            :: else
            fi
        :: else
        fi;
        if
        :: write -> DOWNGRADE(0)
        :: else
        fi;
#if BROKEN == 1
        UNSHARE(0);
        faulting[0]--;
#endif
        if
        :: p == NONE && write -> /* ENOSPC */
            state[d] = (fresh -> EMPTY : LIVE)
        :: else ->
            if
            :: p == NONE -> p = ZEROS
            :: else
            fi;
            if
            :: !fresh && shows[d] != p -> mapper_unmap(d)
            :: else
            fi;
            if
            :: shows[d] == NONE -> mapper_map(d, p)
            :: else
            fi;
            mapping_stays_or_goes(d)
        fi;
        p = NONE;
#if BROKEN != 1
        OVERLAPS(taking[0] || !within[0]); /* L2 */
        faulting[0]--;
        UNSHARE(0)
#endif
    :: else ->
        if
        :: write -> UNLOCK(0)
        :: else -> UNSHARE(0)
        fi
    fi;
    found = false;
    fresh = false
}

/* ---- take-aways ------------------------------------------------------------------------------------- */

/* take_pinned(): the answer is in found. */
inline take_pinned()
{
    found = false;
    i = 0;
    do
    :: i < DOORS ->
        if
#if BROKEN == 3
        :: true
#else
        :: atomic { i == 1 && state[i] == LIVE && !stopped[i] -> state[i] = BUSY };
#if BROKEN != 10
            mapper_unmap(i);
#endif
            atomic {
                found = found || (PINS(i) && BROKEN != 10);
                state[i] = (shows[i] == NONE || BROKEN == 10 -> EMPTY : LIVE)
            }
        :: else ->
            /* One that is BUSY is being unmapped: waited for. */
            !(state[i] == BUSY);
#if BROKEN != 4
            found = found || PINS(i)
#endif
#endif
        fi;
        i++
    :: else -> break
    od
}

/* resize_truncate() below the chunk. */
inline take(f)
{
    EXCLUSIVE(f);
    taking[f] = true;
    OVERLAPS(f == 0 && faulting[0] != 0); /* L2 */
    if
    :: f == 0 -> take_pinned()
    :: else
    fi;
    within[f] = false;
    if
    :: !found -> give_back(f)
    :: found && map[f] != NONE -> cut[map[f]] = true /* they stay, past EOF */
    :: found && map[f] == NONE
    fi;
    found = false;
    taking[f] = false;
    UNLOCK(f)
}

/* ... beyond it. */
inline grow(f)
{
    EXCLUSIVE(f);
    if
    :: !within[f] ->
#if BROKEN != 6
        atomic {
            if
            :: map[f] != NONE -> bytes[map[f]] = 0; cut[map[f]] = false
            :: else
            fi
        };
#endif
        within[f] = true;
        OVERLAPS(cut[map[f]]) /* L3 */
    :: else
    fi;
    UNLOCK(f)
}

/* fs_write() */
inline write(f)
{
    EXCLUSIVE(f);
    if
    :: within[f] ->
        p = map[f];
        if
        :: p == NONE -> chunk_make(f)
        :: else
        fi;
        if
        :: p != NONE ->
            if
            :: f == 0 && BROKEN != 7 -> fill(DOORS)
            :: else
            fi;
            atomic {
                bytes[p] = f + 1;
                OVERLAPS(f == 0 && state[0] == LIVE && shows[0] == ZEROS && !stopped[0]);
                OVERLAPS(f == 0 && state[1] == LIVE && shows[1] == ZEROS && !stopped[1])
            }
        :: else
        fi;
        p = NONE
    :: else
    fi;
    UNLOCK(f)
}

/* ---- the end of mappings --------------------------------------------------------------------------- */

/* settle.c */
inline settle()
{
    EXCLUSIVE(0);
    if
#if BROKEN == 9
    :: !within[0] -> give_back(0)
#else
    :: !MAPPED && !within[0] -> give_back(0)
#endif
    :: else
    fi;
    UNLOCK(0)
}

/* fs_unmap(): takes no range. */
inline unmap(d)
{
    if
    :: atomic { state[d] == LIVE && !stopped[d] -> state[d] = BUSY };
        mapper_unmap(d);
        mapping_stays_or_goes(d);
        settle()
    :: else
    fi
}

/* dax_door_over(): nobody reaches the slot any more, which the lock on the door's descriptor tells. */
inline over(d)
{
    if
#if BROKEN == 8
    :: atomic { stopped[d] && state[d] == LIVE ->
#else
    :: atomic { stopped[d] && gone[d] && state[d] == LIVE ->
#endif
            state[d] = EMPTY };
        settle()
    :: else
    fi
}

/* ---- who acts ---------------------------------------------------------------------------------------- */

/* A guest's kernel, or a process: touches what is shown, at any time, until it ends, which takes the slot
 * with it. */
active [DOORS] proctype user()
{
    byte d = _pid;

    do
    :: atomic { shows[d] != NONE && shows[d] != ZEROS ->
            assert(bytes[shows[d]] == 0 || bytes[shows[d]] == 1); /* L1, L3 */
            assert(owner[shows[d]] == 1)                          /* L1 */
        }
    :: atomic { shows[d] != NONE && shows[d] != ZEROS ->
            bytes[shows[d]] = 1; cut[shows[d]] = false }
    :: atomic { stopped[d] -> gone[d] = true; shows[d] = NONE; break }
    od
}

inline file(f)
{
    if
    :: f = 0
    :: f = 1
    fi
}

active [SERVERS] proctype server()
{
    byte f, d, i, p;
    bool found, fresh;

    do
    :: atomic {
            f = 0;
            i = 0;
            if
            :: d = 0
#ifndef STOPS
            :: d = 1
#endif
            fi
        };
        if
        :: skip -> fault(d, false)
        :: skip -> fault(d, true)
        :: skip -> file(f); write(f)
        :: skip -> file(f); take(f)
        :: skip -> file(f); grow(f)
        :: skip -> unmap(d)
#ifdef STOPS
        :: stopped[d] = true
        :: skip -> over(d)
#endif
        fi
    od
}
