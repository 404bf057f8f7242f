/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A read gives its receiver the pool's own bytes. Until the receiver has them no block of it may become another
 * file's.
 */
#include "race.h"

#include <sched.h>

static struct fs_handle *file, *other;

static void set_up(void)
{
    file = make_file("a", CHUNK_BYTES);
    other = make_file("b", CHUNK_BYTES);
}

static void reader(unsigned phase)
{
    struct fs_read read;

    (void)phase;
    for (unsigned i = 0; i < STAMPS; i++) {
        int r = fs_read_begin(fs, &rq, file, stamp_place(i), sizeof(struct stamp), &read);

        must(r, "read");
        if (r < 0)
            return;
        sched_yield();
        if (read.count == 1 && read.length == sizeof(struct stamp)) {
            struct stamp stamp = *(const struct stamp *)read.vector[0].iov_base;

            if (!stamp_is_zero(&stamp) && stamp.owner != 'a')
                wrong("a read of file a has bytes of file %c", (char)stamp.owner);
        }
        must(fs_read_end(fs, &read), "read");
    }
}

static void taker(unsigned phase)
{
    static uint64_t version;

    (void)phase;
    set_size(file, 0);
    allocate(other, 0, 0, CHUNK_BYTES);
    stamps_write(other, 0, 'b', ++version);
    set_size(other, 0);
    set_size(file, CHUNK_BYTES);
    allocate(file, 0, 0, CHUNK_BYTES);
    stamps_write(file, 0, 'a', version);
}

const struct race race = {
    .name = "reuse",
    .what = "a block became another file's under a read",
    .set_up = set_up,
    .thread = { taker, reader },
};
