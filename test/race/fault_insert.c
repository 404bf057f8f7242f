/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inserting moves blocks towards the end of the file. A fault that has looked before, and maps
 * after, shows them where they were.
 */
#include "race.h"

#include <linux/falloc.h>
#include <string.h>

static struct fs_handle *file;

static void set_up(void)
{
    file = make_file("a", 4 * CHUNK_BYTES);
    for (unsigned chunk = 0; chunk < 4; chunk++)
        chunk_write(file, chunk, 'a', chunk);
}

static void user(unsigned phase)
{
    uint64_t seen;

    (void)phase;
    if (!map_chunk(&windows[0], file, 2, 0))
        return;
    for (unsigned i = 0; i < STAMPS; i++) {
        struct stamp shown, read;

        if (!quiet_begin(&seen) ||
            !window_load(&windows[0], 0, stamp_place(i), &shown, sizeof(shown)))
            break;
        must(fs_pread(fs, &rq, file, &read, sizeof(read), 2 * CHUNK_BYTES + stamp_place(i)),
             "read");
        if (quiet_end(seen) && memcmp(&shown, &read, sizeof(read)) != 0)
            wrong("mapped is %llu, read is %llu", (unsigned long long)shown.version,
                  (unsigned long long)read.version);
    }
    unmap_slot(&windows[0], 0);
}

static void taker(unsigned phase)
{
    static uint64_t version = 4;

    (void)phase;
    change_begin();
    allocate(file, FALLOC_FL_INSERT_RANGE, 0, CHUNK_BYTES);
    set_size(file, 4 * CHUNK_BYTES);
    chunk_write(file, 0, 'a', version++);
    change_end();
    let_other_run();
}

const struct race race = {
    .name = "fault_insert",
    .what = "a mapping shows what is elsewhere in the file now",
    .set_up = set_up,
    .thread = { taker, user },
};
