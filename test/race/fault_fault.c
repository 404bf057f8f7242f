/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two faults of one hole: both find nothing, both allocate, and one of them maps what the other has taken out
 * of the map again.
 */
#include "race.h"

#include <linux/falloc.h>

static struct fs_handle *file;
static bool mapped[2];
static uint64_t version;

static void set_up(void)
{
    file = make_file("a", CHUNK_BYTES);
}

static void load(unsigned index)
{
    struct stamp stamp;

    if (window_load(&windows[index], 0, 0, &stamp, sizeof(stamp)) &&
        (!stamp_is(&stamp, 'a') || stamp.version != version))
        wrong("stored through one door is %llu, shown by the other is %llu",
              (unsigned long long)version, (unsigned long long)stamp.version);
}

static void door(unsigned index, unsigned phase)
{
    struct stamp mine;

    switch (phase) {
    case 0:
        if (index == 0)
            allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, CHUNK_BYTES);
        break;
    case 1:
        mapped[index] = map_chunk(&windows[index], file, 0, 0);
        break;
    case 2:
        if (index == 0 && mapped[0] && mapped[1]) {
            mine = stamp_make('a', 0, ++version);
            window_store(&windows[0], 0, 0, &mine, sizeof(mine));
        }
        break;
    case 3:
        if (index == 1 && mapped[0] && mapped[1])
            load(1);
        break;
    default:
        unmap_slot(&windows[index], 0);
        break;
    }
}

static void first(unsigned phase)
{
    door(0, phase);
}

static void second(unsigned phase)
{
    door(1, phase);
}

const struct race race = {
    .name = "fault_fault",
    .what = "two doors are shown different blocks for the same bytes",
    .set_up = set_up,
    .thread = { first, second },
    .phases = 5,
};
