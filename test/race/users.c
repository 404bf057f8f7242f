/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What several of the races have beside the take-away itself: who uses a mapping, and who gets what was freed. */
#include "race.h"

#include <string.h>

struct fs_handle *make_written(const char *name, unsigned chunks)
{
    struct fs_handle *handle = make_file(name, chunks * CHUNK_BYTES);

    for (unsigned chunk = 0; chunk < chunks; chunk++)
        chunk_write(handle, chunk, 'a', chunk);
    return handle;
}

void use_compared(struct fs_handle *handle, uint64_t chunk)
{
    uint64_t seen;

    if (!map_chunk(&windows[0], handle, chunk, 0))
        return;
    for (unsigned i = 0; i < STAMPS; i++) {
        struct stamp shown, read;

        if (!quiet_begin(&seen) ||
            !window_load(&windows[0], 0, stamp_place(i), &shown, sizeof(shown)))
            break;
        must(fs_pread(fs, &rq, handle, &read, sizeof(read), chunk * CHUNK_BYTES + stamp_place(i)),
             "read");
        if (quiet_end(seen) && memcmp(&shown, &read, sizeof(read)) != 0)
            wrong("mapped is %llu, read is %llu", (unsigned long long)shown.version,
                  (unsigned long long)read.version);
    }
    unmap_slot(&windows[0], 0);
}

void use_owned(struct fs_handle *handle, uint64_t chunk)
{
    static uint64_t version;

    if (!map_chunk(&windows[0], handle, chunk, 0))
        return;
    for (unsigned i = 0; i < STAMPS; i++) {
        struct stamp stamp, mine = stamp_make('a', chunk, ++version);

        if (!window_load(&windows[0], 0, stamp_place(i), &stamp, sizeof(stamp)))
            break;
        if (!stamp_is_zero(&stamp) && !stamp_is(&stamp, 'a'))
            wrong("who mapped file a reads file %c", (char)stamp.owner);
        window_store(&windows[0], 0, stamp_place(i), &mine, sizeof(mine));
    }
    unmap_slot(&windows[0], 0);
}

void reuse_freed(struct fs_handle *other, uint64_t version)
{
    allocate(other, 0, 0, CHUNK_BYTES);
    stamps_write(other, 0, 'b', version);
    stamps_check(other, 0, 'b');
    set_size(other, 0);
}
