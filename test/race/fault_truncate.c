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

static void user(unsigned phase)
{
    (void)phase;
    use_owned(file, 0);
}

static void taker(unsigned phase)
{
    static uint64_t version;

    (void)phase;
    set_size(file, 0);
    reuse_freed(other, ++version);
    chunk_write(file, 0, 'a', version);
}

const struct race race = {
    .name = "fault_truncate",
    .what = "a mapping reaches a block that was freed",
    .set_up = set_up,
    .thread = { taker, user },
};
