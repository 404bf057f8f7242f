/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeroing makes blocks unwritten. A fault that has looked before, and maps after, has a mapping of which
 * read(2) knows nothing: what is stored there is lost.
 */
#include "race.h"

#include <linux/falloc.h>

static struct fs_handle *file;

static void set_up(void)
{
    file = make_file("a", CHUNK_BYTES);
    stamps_write(file, 0, 'a', 0);
}

static void user(unsigned phase)
{
    static uint64_t version;
    uint64_t seen;

    (void)phase;
    if (!map_chunk(&windows[0], file, 0, 0))
        return;
    for (unsigned i = 0; i < STAMPS; i++) {
        struct stamp stamp, mine = stamp_make('a', 0, ++version);

        if (!quiet_begin(&seen) ||
            !window_store(&windows[0], 0, stamp_place(i), &mine, sizeof(mine)))
            break;
        must(fs_pread(fs, &rq, file, &stamp, sizeof(stamp), stamp_place(i)), "read");
        if (quiet_end(seen) && (!stamp_is(&stamp, 'a') || stamp.version != mine.version))
            wrong("stored was %llu, read is %llu", (unsigned long long)mine.version,
                  (unsigned long long)stamp.version);
    }
    unmap_slot(&windows[0], 0);
}

static void taker(unsigned phase)
{
    (void)phase;
    change_begin();
    allocate(file, FALLOC_FL_ZERO_RANGE, 0, CHUNK_BYTES);
    change_end();
    let_other_run();
}

const struct race race = {
    .name = "fault_zero",
    .what = "a mapping shows blocks that the file no longer reads",
    .set_up = set_up,
    .thread = { taker, user },
};
