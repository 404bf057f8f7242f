/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a request is placed. In this order:
 *
 *   a piece or more, at a logical multiple of 512    whole pieces, as many in a row as are wanted
 *   past a file's first piece, at such a multiple    the start of a whole piece, which then grows
 *   goal                                             in a broken piece: from goal on, or near it
 *   the CPU's current piece                          the first run that is long enough
 *   other broken pieces                              likewise, a few of them, else the longest seen
 *   a whole piece                                    becomes broken, and this CPU's current one
 *   a growing piece                                  when there is nothing else
 *
 * A whole piece is broken while there is room in broken ones in two cases only: for a CPU that has
 * none of its own while half the pool is whole, and where all that was seen is shorter than an
 * eighth of the request while a quarter is. So whole pieces last, and ageing does not eat them; what
 * the ends of large files take all the same comes back by fs/retract.c, which asks with SPACE_BROKEN.
 */
#include "space/map.h"
#include "space/space.h"
#include "space/txn.h"

#include <errno.h>
#include <sched.h>

#define SEARCH_MAX 16 /* broken pieces looked at for one request */

struct placement {
    struct space_extent extent;
    bool growing;
};

/*
 * How many of want blocks from start may be taken in one run: through broken pieces as far as they
 * are free; into a whole piece only if all of it is taken and its place in the file is aligned.
 */
static uint64_t run_allowed(const struct space_map *map, uint64_t start, uint64_t want,
                            uint64_t logical)
{
    uint64_t done = 0;
    if (want > map->blocks - start)
        want = map->blocks - start;
    while (done < want) {
        uint64_t at = start + done;
        uint64_t rest = DXF_PIECE_BLOCKS - at % DXF_PIECE_BLOCKS;
        uint64_t part = want - done < rest ? want - done : rest;
        if (map_piece_is_whole(map, at / DXF_PIECE_BLOCKS)) {
            if (part < DXF_PIECE_BLOCKS || (logical + done) % DXF_PIECE_BLOCKS != 0)
                break;
            done += part;
            continue;
        }
        uint64_t run = map_run(map, at, part, true);
        done += run;
        if (run < part)
            break;
    }
    return done;
}

/* Files that are past their first piece. */
static bool starts_piece(const struct space_request *request)
{
    return request->logical >= DXF_PIECE_BLOCKS && request->logical % DXF_PIECE_BLOCKS == 0;
}

static bool place_exact(struct space *space, const struct space_request *request, uint64_t want,
                        struct placement *place)
{
    const struct space_map *map = &space->map;
    uint64_t goal = request->goal;
    if (goal == 0 || goal >= map->blocks)
        return false;
    uint64_t count = run_allowed(map, goal, want, request->logical);
    if (count == 0 && map_piece_is_whole(map, goal / DXF_PIECE_BLOCKS)) {
        place->growing = starts_piece(request) && goal % DXF_PIECE_BLOCKS == 0;
        if (!place->growing && map_next_partial(map, 0) != NO_PIECE)
            return false;
        uint64_t rest = DXF_PIECE_BLOCKS - goal % DXF_PIECE_BLOCKS;
        count = want < rest ? want : rest;
    }
    place->extent = (struct space_extent){ goal, count };
    return count > 0;
}

static uint64_t whole_near(const struct space_map *map, const struct space_stripe *stripe,
                           uint64_t goal)
{
    if (goal != 0 && goal < map->blocks)
        return map_next_whole(map, (goal + DXF_PIECE_BLOCKS - 1) / DXF_PIECE_BLOCKS);
    return map_next_whole(map, stripe->cursor);
}

static bool place_pieces(struct space *space, const struct space_stripe *stripe,
                         const struct space_request *request, uint64_t want,
                         struct placement *place)
{
    uint64_t piece = whole_near(&space->map, stripe, request->goal);
    if (piece == NO_PIECE)
        return false;
    uint64_t count = 1;
    if (!(request->flags & SPACE_PIECE))
        while (count < want / DXF_PIECE_BLOCKS && map_piece_is_whole(&space->map, piece + count))
            count++;
    place->extent = (struct space_extent){ piece * DXF_PIECE_BLOCKS, count * DXF_PIECE_BLOCKS };
    return true;
}

/* Near the goal, in a piece that is broken already. */
static bool place_near(struct space *space, const struct space_request *request, uint64_t want,
                       struct placement *place)
{
    const struct space_map *map = &space->map;
    uint64_t goal = request->goal;
    if (goal == 0 || goal >= map->blocks || map_piece_is_whole(map, goal / DXF_PIECE_BLOCKS))
        return false;
    uint64_t count = run_allowed(map, goal, want, request->logical);
    if (count > 0) {
        place->extent = (struct space_extent){ goal, count };
        return true;
    }
    uint64_t piece = goal / DXF_PIECE_BLOCKS, start;
    if (map->used[piece] & MAP_GROWING)
        return false;
    if (map_find(map, goal, (piece + 1) * DXF_PIECE_BLOCKS, want, &start) < want)
        return false;
    place->extent = (struct space_extent){ start, want };
    return true;
}

static bool is_current_elsewhere(const struct space *space, const struct space_stripe *stripe,
                                 uint64_t piece)
{
    for (unsigned i = 0; i < SPACE_STRIPES; i++)
        if (&space->stripe[i] != stripe && space->stripe[i].current == piece)
            return true;
    return false;
}

/* The best run of a piece, if it is longer than what place has. True: all that is wanted. */
static bool place_in(const struct space_map *map, uint64_t piece, uint64_t want,
                     struct placement *place)
{
    uint64_t start, from = piece * DXF_PIECE_BLOCKS;
    uint64_t found = map_find(map, from, from + DXF_PIECE_BLOCKS, want, &start);
    if (found > place->extent.count)
        place->extent = (struct space_extent){ start, found };
    return found == want;
}

/* In broken pieces but `avoid`: own ones, or those that are current elsewhere. */
static void place_broken(const struct space *space, struct space_stripe *stripe, uint64_t want,
                         uint64_t avoid, bool elsewhere, struct placement *place)
{
    const struct space_map *map = &space->map;
    uint64_t at = stripe->cursor, first = NO_PIECE;
    for (unsigned i = 0; i < SEARCH_MAX + SPACE_STRIPES; i++) {
        uint64_t piece = map_next_partial(map, at);
        if (piece == NO_PIECE || piece == first)
            return;
        if (first == NO_PIECE)
            first = piece;
        at = piece + 1;
        if (piece == avoid || is_current_elsewhere(space, stripe, piece) != elsewhere)
            continue;
        if (place_in(map, piece, want, place)) {
            stripe->cursor = piece;
            return;
        }
    }
    stripe->cursor = at; /* the next request looks at others */
}

static bool place_small(struct space *space, struct space_stripe *stripe,
                        const struct space_request *request, uint64_t want, struct placement *place)
{
    struct space_map *map = &space->map;
    /* What goes beyond the file's next multiple of a piece is better asked for there. */
    uint64_t rest = DXF_PIECE_BLOCKS - request->logical % DXF_PIECE_BLOCKS;
    if (rest < DXF_PIECE_BLOCKS && want >= rest + DXF_PIECE_BLOCKS)
        want = rest;
    if (starts_piece(request) && map->whole > map->pieces / 128) {
        place->growing = true;
        place->extent.start = whole_near(map, stripe, request->goal) * DXF_PIECE_BLOCKS;
        place->extent.count = want < DXF_PIECE_BLOCKS ? want : DXF_PIECE_BLOCKS;
        return true;
    }
    if (place_near(space, request, want, place))
        return true;
    if (want > DXF_PIECE_BLOCKS)
        want = DXF_PIECE_BLOCKS;

    uint64_t piece = stripe->current;
    if (piece != NO_PIECE && (!map_piece_has_room(map, piece) || map_piece_is_whole(map, piece)))
        piece = stripe->current = NO_PIECE;
    if (piece != NO_PIECE && !(map->used[piece] & MAP_GROWING) && place_in(map, piece, want, place))
        return true;
    place_broken(space, stripe, want, NO_PIECE, false, place);
    bool plenty = map->whole > map->pieces / 2;
    if (place->extent.count == 0 && !plenty)
        place_broken(space, stripe, want, NO_PIECE, true, place);
    bool shards = place->extent.count * 8 < want && map->whole > map->pieces / 4;
    if ((place->extent.count == 0 || shards) && map->whole > 0) {
        piece = whole_near(map, stripe, request->goal);
        place->extent = (struct space_extent){ piece * DXF_PIECE_BLOCKS, want };
    }
    if (place->extent.count == 0) {
        map_end_growing(map);
        place_broken(space, stripe, want, NO_PIECE, false, place);
        if (place->extent.count == 0)
            place_broken(space, stripe, want, NO_PIECE, true, place);
    }
    if (place->extent.count == 0)
        return false;
    stripe->current = place->extent.start / DXF_PIECE_BLOCKS;
    return true;
}

/* Nowhere else, and not in the piece that the goal lies in. */
static bool place_only_broken(struct space *space, struct space_stripe *stripe,
                              const struct space_request *request, uint64_t want,
                              struct placement *place)
{
    uint64_t avoid = request->goal ? request->goal / DXF_PIECE_BLOCKS : NO_PIECE;

    if (want > DXF_PIECE_BLOCKS)
        want = DXF_PIECE_BLOCKS;
    place_broken(space, stripe, want, avoid, false, place);
    if (place->extent.count < want)
        place_broken(space, stripe, want, avoid, true, place);
    return place->extent.count > 0;
}

/* Under space->lock. */
static bool place_request(struct space *space, const struct space_request *request, uint64_t want,
                          struct space_extent *ret_extent)
{
    struct space_map *map = &space->map;
    uint64_t available = map->free;
    if (!(request->flags & SPACE_RESERVE))
        available -= available < space->reserve ? available : space->reserve;
    if (want > available)
        want = available;
    if (want == 0)
        return false;

    int cpu = sched_getcpu();
    struct space_stripe *stripe = &space->stripe[cpu < 0 ? 0 : (unsigned)cpu % SPACE_STRIPES];
    struct placement place = { 0 };
    bool found;
    if (request->flags & SPACE_PIECE) {
        found = want >= DXF_PIECE_BLOCKS && place_pieces(space, stripe, request, want, &place);
        if (found && (request->flags & SPACE_EXACT))
            found = place.extent.start == request->goal;
    } else if (request->flags & SPACE_EXACT) {
        found = place_exact(space, request, want, &place);
    } else if (request->flags & SPACE_BROKEN) {
        found = place_only_broken(space, stripe, request, want, &place);
    } else {
        found = (want >= DXF_PIECE_BLOCKS && request->logical % DXF_PIECE_BLOCKS == 0 &&
                 place_pieces(space, stripe, request, want, &place)) ||
                place_small(space, stripe, request, want, &place);
    }
    if (!found)
        return false;
    map_take(map, place.extent.start, place.extent.count);
    if (place.growing && place.extent.count < DXF_PIECE_BLOCKS)
        map_set_growing(map, place.extent.start / DXF_PIECE_BLOCKS);
    space_note_whole(space);
    *ret_extent = place.extent;
    return true;
}

/* Blocks of what one entry still has room for; at least one, and commit says -E2BIG. */
static uint64_t want_limit(const struct txn *txn, uint64_t want)
{
    uint32_t capacity = journal_capacity(txn->space->journal);
    uint64_t room = capacity > txn->bytes ? capacity - txn->bytes : 0;
    uint64_t lines = room / txn_extent_bytes(1);
    uint64_t limit = lines > 2 ? (lines - 2) * DXF_LINE_BITS : 1;
    if (limit > DXF_EXTENT_LENGTH_MAX)
        limit = DXF_EXTENT_LENGTH_MAX;
    return want < limit ? want : limit;
}

/* Room on the host for the blocks and for their lines of the bitmap. Where that moves to in between it
 * has all its room already. */
static int host_reserve(struct space *space, const struct space_extent *extent, uint64_t bitmap)
{
    struct pool *pool = space->pool;
    uint64_t first = extent->start / DXF_LINE_BITS;
    uint64_t last = (extent->start + extent->count - 1) / DXF_LINE_BITS;
    int error = pool_reserve(pool, extent->start * DXF_BLOCK_SIZE, extent->count * DXF_BLOCK_SIZE);
    if (error)
        return error;
    return pool_reserve(pool, bitmap * DXF_BLOCK_SIZE + first * DXF_LINE_SIZE,
                        (last - first + 1) * DXF_LINE_SIZE);
}

int space_alloc(struct txn *txn, const struct space_request *request,
                struct space_extent *ret_extent)
{
    struct space *space = txn->space;
    struct space_request adjusted = *request;
    if (txn->use_reserve)
        adjusted.flags |= SPACE_RESERVE;
    uint64_t want = want_limit(txn, request->want);
    if (request->flags & SPACE_PIECE)
        want = DXF_PIECE_BLOCKS;

    struct space_extent extent;
    lock_acquire(&space->lock);
    if (space->deferred_count > 0 && journal_retired(space->journal) != space->deferred_seen)
        space_sweep_locked(space);
    bool found = place_request(space, &adjusted, want, &extent);
    if (!found && space->deferred_count > 0) {
        lock_release(&space->lock);
        int error = journal_retire(space->journal);
        if (error)
            return error;
        lock_acquire(&space->lock);
        space_sweep_locked(space);
        found = place_request(space, &adjusted, want, &extent);
    }
    uint64_t bitmap = le64_get(space->pool->super.bitmap_start);
    lock_release(&space->lock);
    if (!found)
        return -ENOSPC;
    /* Freeing clears the bits before a block is free again (blocks_free): the bitmap was wrong at mount.
     * The blocks stay taken. */
    if (!pool_blocks_are_unused(space->pool, extent.start, extent.count)) {
        pool_fail(space->pool, "the allocation bitmap has blocks in use as free");
        return -EUCLEAN;
    }

    int error = host_reserve(space, &extent, bitmap);
    if (!error)
        error = txn_note(txn, &txn->taken, extent.start, extent.count);
    if (error) {
        space_release(space, &extent, 1);
        return error;
    }
    *ret_extent = extent;
    return 0;
}
