/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The registry of direct mappings: which chunk of which file is in which slot of which door.
 *
 * Owns struct mapping, allocated here, and knows doors and files, which are their owners' to keep.
 * fs/ calls it. One lock, LOCK_MAPPING, held for looking things up only, never while a mapper is called or
 * anything is waited for.
 *
 * Invariants
 * M1 A slot has at most one mapping, and a mapping is in its slot and in its file's tree from
 *    dax_begin until it is gone; it pins its piece, and its file, for all that time.
 * M2 A mapping is BUSY while one thread calls the mapper for it; nobody else changes it then.
 * M3 A mapping comes into being, and changes what it shows, only under the range lock of its chunk,
 *    shared at least; one that shows zeros becomes one that shows a piece only under the exclusive one.
 *    So who holds a range exclusively sees no mapping appear there, and may see mappings go.
 * M4 All mappings of a chunk that show a piece show the same one.
 * M5 A mapping of which nobody knows whether it still is there is STUCK. It ends when the mapper has unmapped
 *    it after all, which is tried when its slot is wanted or given up; or when the door is over
 *    (dax_door_over), as do all mappings of a door that was stopped and is not resumed.
 *
 * A fault waits, with its range held, for a slot that is BUSY; whoever made it so needs no range to
 * finish. A take-away waits likewise. Mapper calls are limited in time, hence so are these waits.
 */
#ifndef DAXFUSE_DAX_MAPPING_H
#define DAXFUSE_DAX_MAPPING_H

#include "base/interval_tree.h"
#include "base/lock.h"
#include "dax/mapper.h"

/* A way in that maps. The first members are its owner's to fill before dax_door_add. */
struct dax_door {
    const struct dax_mapper *mapper;
    void *arg;
    const char *name;
    uint64_t slots; /* of its window */
    uint32_t limit; /* of mappings at a time; not above slots */
    bool read_only;

    /* The registry's. */
    struct mapping **by_slot;
    uint32_t count, busy;
    bool stopped;
    struct dax_door *next;

    /* fs's: in quarantine (fs/door.c). */
    struct dax_door *waits_next;
    unsigned number;
};

/* What a file must have to be mapped; embedded in the inode. All zero: nothing is mapped. */
struct dax_file {
    struct interval_tree mappings; /* by chunk; marked: shows a piece */
    _Atomic uint32_t count; /* of mappings; these three may be read without the lock, by who */
    _Atomic uint32_t zeros; /* ... holds the range: see M3 */
    _Atomic uint32_t writers;
};

enum mapping_state {
    MAPPING_BUSY,
    MAPPING_LIVE,
    MAPPING_STUCK,
};

struct mapping {
    struct interval_node node; /* [chunk, chunk + 1) */
    struct dax_file *file;
    struct dax_door *door;
    uint64_t slot;
    uint64_t offset; /* of the piece, in the pool; 0: shows zeros */
    enum mapping_state state;
    bool begins;          /* in its first fault, and BUSY */
    bool shown;           /* that has called the mapper with success */
    bool write;           /* was asked for with WRITE */
    bool unsettled;       /* leaves something to tidy when it is gone (fs/settle.c) */
    void *owner;          /* of the file: what the mapping refers to, fs's to use */
    struct mapping *next; /* fs's, once it is gone */
};

typedef void (*dax_ends_fn)(void *arg, const struct mapping *mapping);

struct dax_registry {
    struct lock lock;
    dax_ends_fn ends;
    void *ends_arg;
    struct dax_door *doors;
    _Atomic uint32_t changes; /* futex: a mapping stopped being BUSY */
    uint32_t waiting;
    uint32_t count; /* of mappings */
};

/* A mapping that is gone, in no slot and no tree any more; called without the registry's lock; the
 * callee frees it. */
typedef void (*dax_gone_fn)(void *arg, struct mapping *mapping);

/* ENDS is called for each mapping that was stored to, when its user has lost it and before it is gone. */
void dax_registry_init(struct dax_registry *registry, dax_ends_fn ends, void *arg);
/* No door is left. */
void dax_registry_destroy(struct dax_registry *registry);

/* ---- doors ---------------------------------------------------------------------------------- */

/* -EINVAL no slots or more than can be, -ENOMEM. */
int dax_door_add(struct dax_registry *registry, struct dax_door *door);
/* From now on its mapper is not called, and it keeps what it has. Waits for nobody. */
void dax_door_stop(struct dax_registry *registry, struct dax_door *door);
/* Its user goes on with what it had. Chunks that were filled meanwhile are still shown as zeros. */
void dax_door_resume(struct dax_registry *registry, struct dax_door *door);
/* Nobody can reach anything through it any more: all its mappings go, and it may begin anew. Waits for
 * mapper calls under way. Of a door that is not stopped nothing is left to end. */
void dax_door_over(struct dax_registry *registry, struct dax_door *door, dax_gone_fn gone,
                   void *arg);
/* It has no mappings. */
void dax_door_remove(struct dax_registry *registry, struct dax_door *door);

/* ---- faults: the chunk's range is held -------------------------------------------------------- */

/*
 * The slot for this chunk: *ret_mapping is BUSY and the caller's until dax_show or dax_abandon. It is a
 * new one, or the one that shows this very chunk already (*ret_fresh says which). WAIT limits the wait
 * for a slot that is busy.
 * -EINVAL no such slot; -EBUSY the slot still has something else, or nobody knows what; -EMFILE the door's
 * limit; -ENODEV it is stopped; -EROFS; -ENOMEM; -EAGAIN, -EINTR, -ETIMEDOUT.
 */
int dax_begin(struct dax_registry *registry, struct dax_door *door, struct dax_file *file,
              uint64_t chunk, uint64_t slot, bool write, void *owner, const struct lock_wait *wait,
              struct mapping **ret_mapping, bool *ret_fresh);
/* Calls the mapper, unless it shows that already, and makes it LIVE. OFFSET 0: zeros. On failure a
 * mapping that shows nothing is abandoned; otherwise it is LIVE as it was, or STUCK: -EIO. */
int dax_show(struct dax_registry *registry, struct mapping *mapping, uint64_t offset, bool write,
             dax_gone_fn gone, void *arg);
/* Before dax_begin, with no range held: who sets a slot up has given up what else was there, whether or
 * not its end was told or done. Tries to end that, and what is STUCK; not what is BUSY. */
void dax_displace(struct dax_registry *registry, struct dax_door *door, struct dax_file *file,
                  uint64_t chunk, uint64_t slot, dax_gone_fn gone, void *arg);
/* As if dax_begin had not been. */
void dax_abandon(struct dax_registry *registry, struct mapping *mapping, dax_gone_fn gone,
                 void *arg);

/* The range is held exclusively, and the chunk is one piece, committed: every mapping of it that shows
 * zeros shows the piece, or is gone, or is STUCK because its door did not do it. Doors that are stopped
 * are passed by, and so is MINE, which is the caller's (or NULL). */
void dax_fill(struct dax_registry *registry, struct dax_file *file, uint64_t chunk, uint64_t offset,
              const struct mapping *mine, dax_gone_fn gone, void *arg);

/* ---- the end of a mapping --------------------------------------------------------------------- */

/* The door's user gives the slot up. -ENOENT nothing is there; -ENODEV, -EIO and waits as above. */
int dax_unmap(struct dax_registry *registry, struct dax_door *door, uint64_t slot,
              const struct lock_wait *wait, dax_gone_fn gone, void *arg);

/* Chunks [first, end), whose range is held exclusively: revokes what can be revoked. Returns how many
 * mappings are left there. */
uint32_t dax_revoke(struct dax_registry *registry, struct dax_file *file, uint64_t first,
                    uint64_t end, dax_gone_fn gone, void *arg);

/* ---- questions -------------------------------------------------------------------------------- */

enum dax_which {
    DAX_ANY,
    DAX_PIECES,
    DAX_ZEROS,
    DAX_WRITERS,
    DAX_PINS,      /* show a piece and cannot be revoked */
    DAX_UNSETTLED, /* leave something to tidy */
};

/* The first chunk in [first, end) with such a mapping. UINT64_MAX: none. ret_offset may be NULL. */
uint64_t dax_next(struct dax_registry *registry, struct dax_file *file, uint64_t first,
                  uint64_t end, enum dax_which which, uint64_t *ret_offset);
/* The last chunk in [first, end) that shows a piece. UINT64_MAX: none. */
uint64_t dax_last_piece(struct dax_registry *registry, struct dax_file *file, uint64_t first,
                        uint64_t end);
/* Whether another door than this one has it mapped for writing. */
bool dax_written_by_others(struct dax_registry *registry, struct dax_file *file,
                           const struct dax_door *door);
/* The mappings of [first, end) leave something to tidy. */
void dax_unsettle(struct dax_registry *registry, struct dax_file *file, uint64_t first,
                  uint64_t end);

/* Under the registry's lock: whether it is one of DAX_PINS. */
bool dax_is_pin(const struct mapping *mapping);

/* What there is, for people; a copy each. fn is called under the registry's lock, and must not wait; stops
 * at non-zero. */
int dax_walk(struct dax_registry *registry, int (*fn)(void *arg, const struct mapping *mapping),
             void *arg);

#endif
