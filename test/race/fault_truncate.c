/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * 2015: a fault looks up a block, a truncation gives it to another file, the fault maps it.
 */
#include "race.h"

static struct fs_handle *file, *other;

static void set_up(void)
{
    file = make_file("a", 0);
    other = make_file("b", CHUNK_BYTES);
}

/* The chunk as its user has it: nothing but zeros and what is A's; and A's is stored there. */
static void user(unsigned phase)
{
    static uint64_t version;

    (void)phase;
    if (!map_chunk(&windows[0], file, 0, 0))
        return;
    for (unsigned i = 0; i < STAMPS; i++) {
        struct stamp stamp, mine = stamp_make('a', 0, ++version);

        if (!window_load(&windows[0], 0, stamp_place(i), &stamp, sizeof(stamp)))
            break;
        if (!stamp_is_zero(&stamp) && !stamp_is(&stamp, 'a'))
            wrong("who mapped file a reads file %c", (char)stamp.owner);
        window_store(&windows[0], 0, stamp_place(i), &mine, sizeof(mine));
    }
    unmap_slot(&windows[0], 0);
}

static void taker(unsigned phase)
{
    static uint64_t version;

    (void)phase;
    set_size(file, 0);
    allocate(other, 0, 0, CHUNK_BYTES);
    stamps_write(other, 0, 'b', ++version);
    stamps_check(other, 0, 'b');
    set_size(other, 0);
    chunk_write(file, 0, 'a', version);
}

const struct race race = {
    .name = "fault_truncate",
    .what = "a mapping reaches a block that was freed",
    .set_up = set_up,
    .thread = { taker, user },
};
