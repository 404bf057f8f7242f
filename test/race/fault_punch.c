/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same with a hole punched in the middle: there is no size to compare.
 */
#include "race.h"

#include <linux/falloc.h>

static struct fs_handle *file, *other;

static void set_up(void)
{
    file = make_file("a", 3 * CHUNK_BYTES);
    other = make_file("b", CHUNK_BYTES);
}

static void user(unsigned phase)
{
    static uint64_t version;

    (void)phase;
    if (!map_chunk(&windows[0], file, 1, 0))
        return;
    for (unsigned i = 0; i < STAMPS; i++) {
        struct stamp stamp, mine = stamp_make('a', 1, ++version);

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
    allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, CHUNK_BYTES, CHUNK_BYTES);
    allocate(other, 0, 0, CHUNK_BYTES);
    stamps_write(other, 0, 'b', ++version);
    stamps_check(other, 0, 'b');
    set_size(other, 0);
    chunk_write(file, 1, 'a', version);
}

const struct race race = {
    .name = "fault_punch",
    .what = "a mapping reaches a block that was freed",
    .set_up = set_up,
    .thread = { taker, user },
};
