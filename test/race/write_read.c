/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A read beside writes of the same bytes sees each of them whole or not at all.
 */
#include "race.h"

#include <string.h>

#define BYTES 16384u

static struct fs_handle *file;

static void set_up(void)
{
    static const char zeros[BYTES];

    file = make_file("a", 0);
    must(fs_pwrite(fs, &rq, file, zeros, BYTES, 0), "write");
}

static void writer(uint64_t *version, uint64_t step)
{
    uint64_t words[BYTES / 8];

    *version += step;
    for (unsigned i = 0; i < BYTES / 8; i++)
        words[i] = *version;
    must(fs_pwrite(fs, &rq, file, words, BYTES, 0), "write");
}

static void first(unsigned phase)
{
    static uint64_t version;

    (void)phase;
    writer(&version, 2);
}

static void second(unsigned phase)
{
    static uint64_t version = 1;

    (void)phase;
    writer(&version, 2);
}

static void reader(unsigned phase)
{
    uint64_t words[BYTES / 8];

    (void)phase;
    must(fs_pread(fs, &rq, file, words, BYTES, 0), "read");
    for (unsigned i = 1; i < BYTES / 8; i++)
        if (words[i] != words[0])
            wrong("write %llu and write %llu in one read", (unsigned long long)words[0],
                  (unsigned long long)words[i]);
}

const struct race race = {
    .name = "write_read",
    .what = "a read sees a part of a write",
    .set_up = set_up,
    .thread = { reader, first, second },
};
