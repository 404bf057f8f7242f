/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fault looks up a block, a punch gives it to another file, the fault maps it: as fault_truncate, but in the
 * middle of the file, where there is no size to compare.
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
    (void)phase;
    use_owned(file, 1);
}

static void taker(unsigned phase)
{
    static uint64_t version;

    (void)phase;
    allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, CHUNK_BYTES, CHUNK_BYTES);
    reuse_freed(other, ++version);
    chunk_write(file, 1, 'a', version);
}

const struct race race = {
    .name = "fault_punch",
    .what = "a mapping reaches a block that was freed",
    .set_up = set_up,
    .thread = { taker, user },
};
