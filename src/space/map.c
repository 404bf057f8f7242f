/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which blocks are busy, counted a piece. Invariants, whenever space->lock is free:
 *
 *   used[p]      = busy bits of piece p; free = blocks - all of them
 *   touched[p]   = used[p] > 0; whole = pieces that are not touched
 *   partial[p]   = 0 < used[p] < 512 and p is not growing
 */
#include "space/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WORDS_PER_PIECE (DXF_PIECE_BLOCKS / 64)

static uint64_t words_for(uint64_t bits)
{
    return (bits + 63) / 64;
}

/* Zero until touched, a small page at a time. */
static void *lazy_alloc(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    (void)madvise(memory, bytes, MADV_NOHUGEPAGE);
    return memory;
}

static void lazy_free(void *memory, uint64_t bytes)
{
    if (memory)
        munmap(memory, bytes);
}

struct map_sizes {
    uint64_t busy, used, set, above;
};

static struct map_sizes map_sizes(const struct space_map *map)
{
    return (struct map_sizes){
        .busy = map->pieces * WORDS_PER_PIECE * 8,
        .used = map->pieces * sizeof(uint16_t),
        .set = words_for(map->pieces) * 8,
        .above = words_for(words_for(map->pieces)) * 8,
    };
}

void map_close(struct space_map *map)
{
    struct map_sizes sizes = map_sizes(map);
    lazy_free(map->busy, sizes.busy);
    lazy_free(map->used, sizes.used);
    lazy_free(map->touched, sizes.set);
    lazy_free(map->touched_full, sizes.above);
    lazy_free(map->partial.words, sizes.set);
    lazy_free(map->partial.any, sizes.above);
    memset(map, 0, sizeof(*map));
}

static void set_add(struct piece_set *set, uint64_t piece)
{
    set->words[piece / 64] |= 1ull << piece % 64;
    set->any[piece / 64 / 64] |= 1ull << piece / 64 % 64;
}

static void set_remove(struct piece_set *set, uint64_t piece)
{
    set->words[piece / 64] &= ~(1ull << piece % 64);
    if (set->words[piece / 64] == 0)
        set->any[piece / 64 / 64] &= ~(1ull << piece / 64 % 64);
}

static void touched_set(struct space_map *map, uint64_t piece)
{
    uint64_t *word = &map->touched[piece / 64];
    *word |= 1ull << piece % 64;
    if (*word == UINT64_MAX)
        map->touched_full[piece / 64 / 64] |= 1ull << piece / 64 % 64;
}

static void touched_clear(struct space_map *map, uint64_t piece)
{
    map->touched[piece / 64] &= ~(1ull << piece % 64);
    map->touched_full[piece / 64 / 64] &= ~(1ull << piece / 64 % 64);
}

int map_open(struct space_map *map, uint64_t blocks)
{
    memset(map, 0, sizeof(*map));
    map->blocks = blocks;
    map->pieces = (blocks + DXF_PIECE_BLOCKS - 1) / DXF_PIECE_BLOCKS;
    struct map_sizes sizes = map_sizes(map);
    map->busy = lazy_alloc(sizes.busy);
    map->used = lazy_alloc(sizes.used);
    map->touched = lazy_alloc(sizes.set);
    map->touched_full = lazy_alloc(sizes.above);
    map->partial.words = lazy_alloc(sizes.set);
    map->partial.any = lazy_alloc(sizes.above);
    if (!map->busy || !map->used || !map->touched || !map->touched_full || !map->partial.words ||
        !map->partial.any) {
        map_close(map);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < SPACE_GROWING_MAX; i++)
        map->growing[i] = NO_PIECE;
    map->whole = map->pieces;
    map->free = map->pieces * DXF_PIECE_BLOCKS;
    for (uint64_t piece = map->pieces; piece % 64 != 0; piece++)
        touched_set(map, piece);
    for (uint64_t word = words_for(map->pieces); word % 64 != 0; word++)
        map->touched_full[word / 64] |= 1ull << word % 64;
    if (blocks < map->pieces * DXF_PIECE_BLOCKS)
        map_take(map, blocks, map->pieces * DXF_PIECE_BLOCKS - blocks);
    return 0;
}

/* The sets, after used[piece] has changed from before. */
static void piece_update(struct space_map *map, uint64_t piece, unsigned before)
{
    unsigned now = map->used[piece] & MAP_USED;
    if (before == 0 && now > 0) {
        touched_set(map, piece);
        map->whole--;
    } else if (before > 0 && now == 0) {
        touched_clear(map, piece);
        map->whole++;
        map->used[piece] = 0; /* nobody grows here any more */
    }
    bool partial = now > 0 && now < DXF_PIECE_BLOCKS && !(map->used[piece] & MAP_GROWING);
    if (partial)
        set_add(&map->partial, piece);
    else
        set_remove(&map->partial, piece);
}

/* Bits [from, to) of a word, to at most 64. */
static uint64_t word_mask(unsigned from, unsigned to)
{
    uint64_t below = to == 64 ? UINT64_MAX : (1ull << to) - 1;
    return below & ~((1ull << from) - 1);
}

static void map_change(struct space_map *map, uint64_t start, uint64_t count, bool busy)
{
    while (count > 0) {
        uint64_t piece = start / DXF_PIECE_BLOCKS;
        uint64_t end = (piece + 1) * DXF_PIECE_BLOCKS;
        if (end > start + count)
            end = start + count;
        unsigned before = map->used[piece] & MAP_USED;
        unsigned blocks = (unsigned)(end - start);
        for (uint64_t at = start; at < end;) {
            unsigned from = at % 64;
            unsigned to = end - at < 64 - from ? from + (unsigned)(end - at) : 64;
            if (busy)
                map->busy[at / 64] |= word_mask(from, to);
            else
                map->busy[at / 64] &= ~word_mask(from, to);
            at += to - from;
        }
        if (busy) {
            map->used[piece] = (uint16_t)(map->used[piece] + blocks);
            map->free -= blocks;
        } else {
            map->used[piece] = (uint16_t)(map->used[piece] - blocks);
            map->free += blocks;
        }
        piece_update(map, piece, before);
        count -= blocks;
        start = end;
    }
}

void map_take(struct space_map *map, uint64_t start, uint64_t count)
{
    map_change(map, start, count, true);
}

void map_give(struct space_map *map, uint64_t start, uint64_t count)
{
    map_change(map, start, count, false);
}

void map_merge_word(struct space_map *map, uint64_t word, uint64_t bits)
{
    uint64_t piece = word / WORDS_PER_PIECE;
    if (piece >= map->pieces)
        return;
    bits &= ~map->busy[word];
    if (bits == 0)
        return;
    unsigned before = map->used[piece] & MAP_USED;
    unsigned blocks = (unsigned)__builtin_popcountll(bits);
    map->busy[word] |= bits;
    map->used[piece] = (uint16_t)(map->used[piece] + blocks);
    map->free -= blocks;
    piece_update(map, piece, before);
}

uint64_t map_run(const struct space_map *map, uint64_t start, uint64_t limit, bool free)
{
    uint64_t end = start + limit;
    for (uint64_t at = start; at < end;) {
        uint64_t word = map->busy[at / 64] >> at % 64;
        if (!free)
            word = ~word & (UINT64_MAX >> at % 64);
        if (word != 0) {
            uint64_t stop = at + (unsigned)__builtin_ctzll(word);
            return (stop < end ? stop : end) - start;
        }
        at += 64 - at % 64;
    }
    return limit;
}

uint64_t map_find(const struct space_map *map, uint64_t from, uint64_t to, uint64_t want,
                  uint64_t *ret_start)
{
    uint64_t best = 0;
    for (uint64_t at = from; at < to;) {
        at += map_run(map, at, to - at, false);
        if (at >= to)
            break;
        uint64_t run = map_run(map, at, to - at, true);
        if (run > best) {
            best = run < want ? run : want;
            *ret_start = at;
            if (best == want)
                break;
        }
        at += run;
    }
    return best;
}

bool map_piece_is_whole(const struct space_map *map, uint64_t piece)
{
    return piece < map->pieces && map->used[piece] == 0;
}

bool map_piece_has_room(const struct space_map *map, uint64_t piece)
{
    return piece < map->pieces && (map->used[piece] & MAP_USED) < DXF_PIECE_BLOCKS;
}

/* The first bit from from on that is set in words ^ flip, with above saying (^ flip) which words
 * have one; round the end of bits. */
static uint64_t bit_find(const uint64_t *words, const uint64_t *above, uint64_t flip, uint64_t bits,
                         uint64_t from)
{
    if (from >= bits)
        from = 0;
    uint64_t word = from / 64, count = words_for(bits);
    uint64_t found = (words[word] ^ flip) & ~((1ull << from % 64) - 1);
    if (found)
        return word * 64 + (unsigned)__builtin_ctzll(found);
    uint64_t top = (word + 1) / 64, tops = words_for(count);
    uint64_t mask = ~((1ull << (word + 1) % 64) - 1);
    for (uint64_t step = 0; step <= tops; step++, top++, mask = UINT64_MAX) {
        if (top >= tops) {
            top = 0;
            mask = UINT64_MAX;
        }
        found = (above[top] ^ flip) & mask;
        if (found) {
            word = top * 64 + (unsigned)__builtin_ctzll(found);
            return word * 64 + (unsigned)__builtin_ctzll(words[word] ^ flip);
        }
    }
    return NO_PIECE;
}

uint64_t map_next_whole(const struct space_map *map, uint64_t from)
{
    if (map->whole == 0)
        return NO_PIECE;
    return bit_find(map->touched, map->touched_full, UINT64_MAX, map->pieces, from);
}

uint64_t map_next_partial(const struct space_map *map, uint64_t from)
{
    return bit_find(map->partial.words, map->partial.any, 0, map->pieces, from);
}

static void growing_end(struct space_map *map, unsigned slot)
{
    uint64_t piece = map->growing[slot];
    map->growing[slot] = NO_PIECE;
    if (piece == NO_PIECE || !(map->used[piece] & MAP_GROWING))
        return;
    map->used[piece] &= MAP_USED;
    piece_update(map, piece, map->used[piece]);
}

void map_set_growing(struct space_map *map, uint64_t piece)
{
    growing_end(map, map->growing_next);
    map->growing[map->growing_next] = piece;
    map->growing_next = (map->growing_next + 1) % SPACE_GROWING_MAX;
    map->used[piece] |= MAP_GROWING;
    piece_update(map, piece, map->used[piece] & MAP_USED);
}

void map_end_growing(struct space_map *map)
{
    for (unsigned i = 0; i < SPACE_GROWING_MAX; i++)
        growing_end(map, i);
}
