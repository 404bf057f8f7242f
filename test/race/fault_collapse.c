/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Collapsing moves blocks towards the start of the file. A fault that has looked before, and maps
 * after, shows them where they were.
 */
#include "race.h"

#include <linux/falloc.h>

static struct fs_handle *file;

static void set_up(void)
{
    file = make_written("a", 4);
}

static void user(unsigned phase)
{
    (void)phase;
    use_compared(file, 2);
}

static void taker(unsigned phase)
{
    static uint64_t version = 4;

    (void)phase;
    change_begin();
    allocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, CHUNK_BYTES);
    chunk_write(file, 3, 'a', version++);
    change_end();
    let_other_run();
}

const struct race race = {
    .name = "fault_collapse",
    .what = "a mapping shows what is elsewhere in the file now",
    .set_up = set_up,
    .thread = { taker, user },
};
