/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The registry of dax/mapping.h.
 *
 * Everything is found under the one lock, and every mapper call is made without it: the mapping is
 * BUSY meanwhile, and so nobody else's to change (M2). Who finds one BUSY waits for `changes` to move
 * and looks again from the start.
 */
#include "dax/mapping.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

/* Of pointers, and more than any address space has room for. */
#define DOOR_SLOTS_MAX ((uint64_t)1 << 27)

/* How often a wait looks whether its request was given up. */
#define WAIT_SLICE_NS 20000000

static struct mapping *mapping_of(struct interval_node *node)
{
    return node ? (struct mapping *)((char *)node - offsetof(struct mapping, node)) : NULL;
}

void dax_registry_init(struct dax_registry *registry, dax_ends_fn ends, void *arg)
{
    *registry = (struct dax_registry){ .ends = ends, .ends_arg = arg };
    lock_init(&registry->lock, LOCK_MAPPING, 0);
}

void dax_registry_destroy(struct dax_registry *registry)
{
    assert(!registry->doors && registry->count == 0);
    (void)registry;
}

/* ---- waiting ------------------------------------------------------------------------------------ */

/* Under the lock, which is let go meanwhile: something that was BUSY may no longer be. */
static int change_wait(struct dax_registry *registry, const struct lock_wait *wait)
{
    uint32_t seen = atomic_load_explicit(&registry->changes, memory_order_relaxed);
    struct timespec slice;
    int r = 0;

    if (wait && wait->nowait)
        return -EAGAIN;
    registry->waiting++;
    lock_release(&registry->lock);
    slice = clock_after(WAIT_SLICE_NS);
    (void)park_futex_wait(&registry->changes, seen, wait ? &slice : NULL);
    if (wait && wait->token && lock_token_interrupted(wait->token))
        r = -EINTR;
    else if (wait && wait->deadline && clock_is_past(wait->deadline))
        r = -ETIMEDOUT;
    lock_acquire(&registry->lock);
    registry->waiting--;
    return r;
}

static void busy_begin(struct mapping *mapping)
{
    mapping->state = MAPPING_BUSY;
    mapping->door->busy++;
}

/* Under the lock. */
static void busy_end(struct dax_registry *registry, struct mapping *mapping,
                     enum mapping_state state)
{
    assert(mapping->state == MAPPING_BUSY);
    mapping->state = state;
    mapping->begins = false;
    mapping->door->busy--;
    atomic_fetch_add_explicit(&registry->changes, 1, memory_order_relaxed);
    if (registry->waiting > 0)
        park_futex_wake(&registry->changes, INT_MAX);
}

/* ---- coming and going --------------------------------------------------------------------------- */

static void mapping_enter(struct dax_registry *registry, struct mapping *mapping)
{
    struct dax_file *file = mapping->file;

    mapping->door->by_slot[mapping->slot] = mapping;
    mapping->door->count++;
    registry->count++;
    interval_tree_insert(&file->mappings, &mapping->node);
    atomic_fetch_add_explicit(&file->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&file->zeros, mapping->offset == 0, memory_order_relaxed);
    busy_begin(mapping);
}

static void mapping_leave(struct dax_registry *registry, struct mapping *mapping)
{
    struct dax_file *file = mapping->file;
    struct interval_node *same;

    mapping->door->by_slot[mapping->slot] = NULL;
    mapping->door->count--;
    registry->count--;
    interval_tree_remove(&file->mappings, &mapping->node);
    atomic_fetch_sub_explicit(&file->count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&file->zeros, mapping->offset == 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&file->writers, mapping->write, memory_order_relaxed);
    /* Whoever is the chunk's last one has it to tidy. */
    same =
        interval_tree_first(&file->mappings, mapping->node.start, mapping->node.end, INTERVAL_ALL);
    if (same && mapping->unsettled) {
        mapping_of(same)->unsettled = true;
        mapping->unsettled = false;
    }
}

static void mapping_set_write(struct mapping *mapping, bool write)
{
    if (write && !mapping->write) {
        mapping->write = true;
        atomic_fetch_add_explicit(&mapping->file->writers, 1, memory_order_relaxed);
    }
}

static void mapping_set_offset(struct mapping *mapping, uint64_t offset)
{
    if (mapping->offset == offset)
        return;
    assert(mapping->offset == 0);
    mapping->offset = offset;
    interval_tree_mark(&mapping->node, true);
    atomic_fetch_sub_explicit(&mapping->file->zeros, 1, memory_order_relaxed);
}

/* ---- doors -------------------------------------------------------------------------------------- */

int dax_door_add(struct dax_registry *registry, struct dax_door *door)
{
    if (door->slots == 0 || door->slots > DOOR_SLOTS_MAX)
        return -EINVAL;
    door->by_slot = calloc(door->slots, sizeof(struct mapping *));
    if (!door->by_slot)
        return -ENOMEM;
    door->count = door->busy = 0;
    door->stopped = false;
    lock_acquire(&registry->lock);
    door->next = registry->doors;
    registry->doors = door;
    lock_release(&registry->lock);
    return 0;
}

static void door_set_stopped(struct dax_registry *registry, struct dax_door *door, bool stopped)
{
    lock_acquire(&registry->lock);
    door->stopped = stopped;
    lock_release(&registry->lock);
}

void dax_door_stop(struct dax_registry *registry, struct dax_door *door)
{
    door_set_stopped(registry, door, true);
}

void dax_door_resume(struct dax_registry *registry, struct dax_door *door)
{
    door_set_stopped(registry, door, false);
}

/* Whose user has lost it, and that nobody changes: BUSY, or of a door that is over. */
static void mapping_ends(const struct dax_registry *registry, const struct mapping *mapping)
{
    if (mapping->write)
        registry->ends(registry->ends_arg, mapping);
}

void dax_door_over(struct dax_registry *registry, struct dax_door *door, dax_gone_fn gone,
                   void *arg)
{
    lock_acquire(&registry->lock);
    while (door->busy > 0)
        (void)change_wait(registry, NULL);
    for (uint64_t slot = 0; door->stopped && slot < door->slots && door->count > 0; slot++) {
        struct mapping *mapping = door->by_slot[slot];

        if (!mapping)
            continue;
        lock_release(&registry->lock);
        mapping_ends(registry, mapping);
        lock_acquire(&registry->lock);
        mapping_leave(registry, mapping);
        lock_release(&registry->lock);
        gone(arg, mapping);
        lock_acquire(&registry->lock);
    }
    door->stopped = false;
    lock_release(&registry->lock);
}

void dax_door_remove(struct dax_registry *registry, struct dax_door *door)
{
    struct dax_door **link = &registry->doors;

    lock_acquire(&registry->lock);
    assert(door->count == 0);
    while (*link != door)
        link = &(*link)->next;
    *link = door->next;
    lock_release(&registry->lock);
    free(door->by_slot);
    door->by_slot = NULL;
}

/* ---- faults ------------------------------------------------------------------------------------- */

static int slot_find(struct dax_registry *registry, struct dax_door *door, uint64_t slot,
                     const struct lock_wait *wait, struct mapping **ret_mapping)
{
    int r;

    if (slot >= door->slots)
        return -EINVAL;
    for (;;) {
        struct mapping *mapping = door->by_slot[slot];

        if (door->stopped)
            return -ENODEV;
        if (!mapping || mapping->state != MAPPING_BUSY) {
            *ret_mapping = mapping;
            return 0;
        }
        r = change_wait(registry, wait);
        if (r < 0)
            return r;
    }
}

/* An empty slot gets FRESH. */
static int begin_locked(struct dax_registry *registry, struct mapping *fresh,
                        const struct lock_wait *wait, bool write, struct mapping **ret_mapping)
{
    struct dax_door *door = fresh->door;
    struct mapping *mapping;
    int r;

    if (write && door->read_only)
        return -EROFS;
    r = slot_find(registry, door, fresh->slot, wait, &mapping);
    if (r < 0)
        return r;
    if (mapping) {
        if (mapping->state != MAPPING_LIVE || mapping->file != fresh->file ||
            mapping->node.start != fresh->node.start)
            return -EBUSY;
        busy_begin(mapping);
    } else {
        if (door->count >= door->limit)
            return -EMFILE;
        mapping = fresh;
        mapping_enter(registry, mapping);
    }
    *ret_mapping = mapping;
    return 0;
}

int dax_begin(struct dax_registry *registry, struct dax_door *door, struct dax_file *file,
              uint64_t chunk, uint64_t slot, bool write, void *owner, const struct lock_wait *wait,
              struct mapping **ret_mapping, bool *ret_fresh)
{
    struct mapping *fresh = calloc(1, sizeof(*fresh)), *mapping = NULL;
    int r;

    if (!fresh)
        return -ENOMEM;
    *fresh = (struct mapping){ .node = { .start = chunk, .end = chunk + 1 },
                               .file = file,
                               .door = door,
                               .slot = slot,
                               .begins = true,
                               .owner = owner };
    lock_acquire(&registry->lock);
    r = begin_locked(registry, fresh, wait, write, &mapping);
    lock_release(&registry->lock);
    if (mapping != fresh)
        free(fresh);
    if (r < 0)
        return r;
    *ret_mapping = mapping;
    *ret_fresh = mapping == fresh;
    return 0;
}

/* BUSY to gone. */
static void mapping_end(struct dax_registry *registry, struct mapping *mapping, dax_gone_fn gone,
                        void *arg)
{
    mapping_ends(registry, mapping);
    lock_acquire(&registry->lock);
    busy_end(registry, mapping, MAPPING_LIVE);
    mapping_leave(registry, mapping);
    lock_release(&registry->lock);
    gone(arg, mapping);
}

static void mapping_stay(struct dax_registry *registry, struct mapping *mapping,
                         enum mapping_state state)
{
    lock_acquire(&registry->lock);
    busy_end(registry, mapping, state);
    lock_release(&registry->lock);
}

/* Under the lock. Whose mapper did not do, and said R, what must be done: nobody asks it again, but for a
 * door that was stopped just then, and has what it had. */
static enum mapping_state state_refused(const struct mapping *mapping, int r)
{
    return r != -ETIMEDOUT && mapping->door->stopped ? MAPPING_LIVE : MAPPING_STUCK;
}

/* Makes a BUSY mapping show OFFSET, or zeros; it then is LIVE, STUCK or gone. MUST: it may not go on
 * showing what it did. */
static int show(struct dax_registry *registry, struct mapping *mapping, uint64_t offset, bool write,
                bool must, dax_gone_fn gone, void *arg)
{
    const struct dax_mapper *mapper = mapping->door->mapper;
    void *door = mapping->door->arg;
    int r = 0;

    if (mapping->shown && mapping->offset != offset) {
        r = mapper->unmap(door, mapping->slot);
        if (r == 0)
            mapping->shown = false;
    }
    if (r == 0 && (!mapping->shown || (write && !mapping->write)))
        r = offset ? mapper->map(door, mapping->slot, offset, write)
                   : mapper->map_zeros(door, mapping->slot);
    if (r < 0 && r != -ETIMEDOUT && !mapping->shown) {
        mapping_end(registry, mapping, gone, arg);
        return r;
    }
    lock_acquire(&registry->lock);
    if (r == 0) {
        mapping->shown = true;
        mapping_set_offset(mapping, offset);
        mapping_set_write(mapping, write);
    } else if (r == -ETIMEDOUT) {
        /* It may show this, so it counts for it. */
        if (!mapping->shown)
            mapping_set_offset(mapping, offset);
        mapping_set_write(mapping, write);
    }
    busy_end(registry, mapping,
             r == -ETIMEDOUT || (r < 0 && must) ? state_refused(mapping, r) : MAPPING_LIVE);
    lock_release(&registry->lock);
    return r == -ETIMEDOUT ? -EIO : r;
}

int dax_show(struct dax_registry *registry, struct mapping *mapping, uint64_t offset, bool write,
             dax_gone_fn gone, void *arg)
{
    return show(registry, mapping, offset, write, false, gone, arg);
}

void dax_abandon(struct dax_registry *registry, struct mapping *mapping, dax_gone_fn gone,
                 void *arg)
{
    if (mapping->shown)
        mapping_stay(registry, mapping, MAPPING_LIVE);
    else
        mapping_end(registry, mapping, gone, arg);
}

/* ---- take-away ---------------------------------------------------------------------------------- */

/* BUSY to gone or STUCK, by the mapper. */
static void revoke(struct dax_registry *registry, struct mapping *mapping, dax_gone_fn gone,
                   void *arg)
{
    int r = mapping->door->mapper->revoke(mapping->door->arg, mapping->slot);

    if (r == 0) {
        mapping_end(registry, mapping, gone, arg);
        return;
    }
    lock_acquire(&registry->lock);
    busy_end(registry, mapping, state_refused(mapping, r));
    lock_release(&registry->lock);
}

static bool is_reachable(const struct mapping *mapping)
{
    return mapping->state == MAPPING_LIVE && !mapping->door->stopped;
}

static bool is_revocable(const struct mapping *mapping)
{
    return is_reachable(mapping) && mapping->door->mapper->revoke;
}

static bool is_fillable(const struct mapping *mapping)
{
    return is_reachable(mapping) && mapping->offset == 0;
}

/*
 * The next of [first, end) that is WANTED, BUSY now and the caller's; NULL: none is. Waits for those that
 * are BUSY, since they may be wanted when they no longer are; not for those that begin, which only MINE can
 * be here (M3). *ret_others: how many are not wanted.
 */
static struct mapping *claim_next(struct dax_registry *registry, struct dax_file *file,
                                  uint64_t first, uint64_t end,
                                  bool (*wanted)(const struct mapping *),
                                  const struct mapping *mine, uint32_t *ret_others)
{
    struct mapping *found = NULL;
    bool again = true;

    lock_acquire(&registry->lock);
    while (again && !found) {
        struct interval_node *node;

        again = false;
        *ret_others = 0;
        for (node = interval_tree_first(&file->mappings, first, end, INTERVAL_ALL); node && !found;
             node = interval_tree_next(node, first, end, INTERVAL_ALL)) {
            struct mapping *mapping = mapping_of(node);

            again =
                again || (mapping->state == MAPPING_BUSY && !mapping->begins && mapping != mine);
            if (wanted(mapping))
                found = mapping;
            else
                ++*ret_others;
        }
        if (!found && again)
            (void)change_wait(registry, NULL);
    }
    if (found)
        busy_begin(found);
    lock_release(&registry->lock);
    return found;
}

uint32_t dax_revoke(struct dax_registry *registry, struct dax_file *file, uint64_t first,
                    uint64_t end, dax_gone_fn gone, void *arg)
{
    struct mapping *mapping;
    uint32_t left = 0;

    if (atomic_load_explicit(&file->count, memory_order_relaxed) == 0)
        return 0;
    while ((mapping = claim_next(registry, file, first, end, is_revocable, NULL, &left)))
        revoke(registry, mapping, gone, arg);
    return left;
}

void dax_fill(struct dax_registry *registry, struct dax_file *file, uint64_t chunk, uint64_t offset,
              const struct mapping *mine, dax_gone_fn gone, void *arg)
{
    struct mapping *mapping;
    uint32_t others;

    while ((mapping = claim_next(registry, file, chunk, chunk + 1, is_fillable, mine, &others))) {
        if (mapping->door->mapper->revoke)
            revoke(registry, mapping, gone, arg);
        else
            (void)show(registry, mapping, offset, mapping->write, true, gone, arg);
    }
}

/* BUSY, and as it was WAS. */
static int unmap(struct dax_registry *registry, struct mapping *mapping, enum mapping_state was,
                 dax_gone_fn gone, void *arg)
{
    int r = mapping->door->mapper->unmap(mapping->door->arg, mapping->slot);

    if (r == 0) {
        mapping_end(registry, mapping, gone, arg);
        return 0;
    }
    mapping_stay(registry, mapping, r == -ETIMEDOUT ? MAPPING_STUCK : was);
    return r == -ETIMEDOUT ? -EIO : r;
}

void dax_displace(struct dax_registry *registry, struct dax_door *door, struct dax_file *file,
                  uint64_t chunk, uint64_t slot, dax_gone_fn gone, void *arg)
{
    enum mapping_state was = MAPPING_BUSY;
    struct mapping *mapping;

    lock_acquire(&registry->lock);
    mapping = door->stopped ? NULL : door->by_slot[slot];
    if (mapping)
        was = mapping->state;
    if (was == MAPPING_STUCK ||
        (was == MAPPING_LIVE && (mapping->file != file || mapping->node.start != chunk)))
        busy_begin(mapping);
    else
        mapping = NULL;
    lock_release(&registry->lock);
    if (mapping)
        (void)unmap(registry, mapping, was, gone, arg);
}

int dax_unmap(struct dax_registry *registry, struct dax_door *door, uint64_t slot,
              const struct lock_wait *wait, dax_gone_fn gone, void *arg)
{
    enum mapping_state was = MAPPING_LIVE;
    struct mapping *mapping = NULL;
    int r;

    lock_acquire(&registry->lock);
    r = slot_find(registry, door, slot, wait, &mapping);
    if (r == 0 && !mapping)
        r = -ENOENT;
    if (r == 0) {
        was = mapping->state;
        busy_begin(mapping);
    }
    lock_release(&registry->lock);
    return r < 0 ? r : unmap(registry, mapping, was, gone, arg);
}

/* ---- questions ---------------------------------------------------------------------------------- */

bool dax_is_pin(const struct mapping *mapping)
{
    return mapping->offset != 0 && (mapping->state == MAPPING_STUCK || mapping->door->stopped ||
                                    !mapping->door->mapper->revoke);
}

static bool is_which(const struct mapping *mapping, enum dax_which which)
{
    switch (which) {
    case DAX_PIECES:
        return mapping->offset != 0;
    case DAX_ZEROS:
        return mapping->offset == 0;
    case DAX_WRITERS:
        return mapping->write;
    case DAX_UNSETTLED:
        return mapping->unsettled;
    case DAX_PINS:
        return dax_is_pin(mapping);
    case DAX_ANY:
        break;
    }
    return true;
}

static uint32_t count_of(struct dax_file *file, enum dax_which which)
{
    const _Atomic uint32_t *count = which == DAX_ZEROS     ? &file->zeros
                                    : which == DAX_WRITERS ? &file->writers
                                                           : &file->count;

    return atomic_load_explicit(count, memory_order_relaxed);
}

uint64_t dax_next(struct dax_registry *registry, struct dax_file *file, uint64_t first,
                  uint64_t end, enum dax_which which, uint64_t *ret_offset)
{
    enum interval_which marked = which == DAX_PIECES ? INTERVAL_MARKED : INTERVAL_ALL;
    struct interval_node *node;
    uint64_t chunk = UINT64_MAX;

    if (first >= end || count_of(file, which) == 0)
        return UINT64_MAX;
    lock_acquire(&registry->lock);
    node = interval_tree_first(&file->mappings, first, end, marked);
    while (node && !is_which(mapping_of(node), which))
        node = interval_tree_next(node, first, end, marked);
    if (node) {
        chunk = node->start;
        if (ret_offset)
            *ret_offset = mapping_of(node)->offset;
    }
    lock_release(&registry->lock);
    return chunk;
}

uint64_t dax_last_piece(struct dax_registry *registry, struct dax_file *file, uint64_t first,
                        uint64_t end)
{
    struct interval_node *node;
    uint64_t chunk = UINT64_MAX;

    if (first >= end || count_of(file, DAX_PIECES) == 0)
        return UINT64_MAX;
    lock_acquire(&registry->lock);
    for (node = interval_tree_first(&file->mappings, first, end, INTERVAL_MARKED); node;
         node = interval_tree_next(node, first, end, INTERVAL_MARKED))
        chunk = node->start;
    lock_release(&registry->lock);
    return chunk;
}

bool dax_written_by_others(struct dax_registry *registry, struct dax_file *file,
                           const struct dax_door *door)
{
    struct interval_node *node;
    bool found = false;

    if (count_of(file, DAX_WRITERS) == 0)
        return false;
    lock_acquire(&registry->lock);
    for (node = interval_tree_first(&file->mappings, 0, UINT64_MAX, INTERVAL_ALL); node && !found;
         node = interval_tree_next(node, 0, UINT64_MAX, INTERVAL_ALL))
        found = mapping_of(node)->write && mapping_of(node)->door != door;
    lock_release(&registry->lock);
    return found;
}

void dax_unsettle(struct dax_registry *registry, struct dax_file *file, uint64_t first,
                  uint64_t end)
{
    struct interval_node *node;

    if (first >= end || count_of(file, DAX_ANY) == 0)
        return;
    lock_acquire(&registry->lock);
    for (node = interval_tree_first(&file->mappings, first, end, INTERVAL_ALL); node;
         node = interval_tree_next(node, first, end, INTERVAL_ALL))
        mapping_of(node)->unsettled = true;
    lock_release(&registry->lock);
}

int dax_walk(struct dax_registry *registry, int (*fn)(void *arg, const struct mapping *mapping),
             void *arg)
{
    int r = 0;

    lock_acquire(&registry->lock);
    for (struct dax_door *door = registry->doors; door && r == 0; door = door->next)
        for (uint64_t slot = 0, left = door->count; left > 0 && r == 0; slot++)
            if (door->by_slot[slot]) {
                r = fn(arg, door->by_slot[slot]);
                left--;
            }
    lock_release(&registry->lock);
    return r;
}
