/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the files of maps.c are in an image as maps.h allows.
 */
#include "maps.h"
#include "maps_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static const char *const file_names[2] = MAPS_NAMES;
static struct fs_request request = { .in_group = true };

int maps_note_place(void *arg, const struct fs_extent *extent)
{
    uint64_t *place = arg, first = extent->offset / CHUNK, count = extent->length / CHUNK;

    if (first + count > BLOCKS_MAX)
        return 1;
    for (uint64_t i = 0; i < count; i++)
        place[first + i] = (extent->pool_offset / CHUNK + i) * 2 + extent->unwritten;
    return 0;
}

/* ---- looking ------------------------------------------------------------------------------------ */

struct looking {
    struct fs *fs;
    const struct map_file *should, *other;
    bool strict; /* it has returned: T, and nothing else */
    bool mixed;  /* words of the other are as right */
    uint8_t *got;
    const char *name;
    char *why;
    size_t why_size;
};

static bool word_may_be(const struct map_file *file, const uint8_t *word, uint64_t at,
                        size_t length)
{
    return memcmp(word, file->is + at, length) == 0 ||
           (file->loose[at / 8] && memcmp(word, file->was + at, length) == 0);
}

static bool compare_bytes(const struct looking *looking)
{
    uint64_t size = looking->should->size;

    for (uint64_t at = 0; at < size; at += CHUNK) {
        uint64_t end = at + CHUNK < size ? at + CHUNK : size;

        if (memcmp(looking->got + at, looking->should->is + at, end - at) == 0)
            continue;
        for (uint64_t word = at; word < end; word += 8) {
            size_t length = end - word < 8 ? end - word : 8;

            if (word_may_be(looking->should, looking->got + word, word, length) ||
                (looking->mixed && maps.mixed[at / CHUNK] &&
                 word_may_be(looking->other, looking->got + word, word, length)))
                continue;
            snprintf(looking->why, looking->why_size, "%s: other bytes at %llu", looking->name,
                     (unsigned long long)word);
            return false;
        }
    }
    return true;
}

/* Of a block that the operation may have been about half done: some of its transactions have been. */
static bool place_may_be(const struct looking *looking, uint64_t block, uint64_t place)
{
    uint64_t one = looking->should->place[block], other = looking->other->place[block];

    if (maps.between[block])
        return true;
    return one && one == other ? place == one : !place || one || other;
}

static bool compare_places(const struct looking *looking)
{
    static uint64_t place[BLOCKS_MAX];
    uint64_t past = 0, end = places_up(looking->should->size);

    memset(place, 0, sizeof(place));
    if (fs_extents(looking->fs, &request, looking->should->ino, maps_note_place, place) != 0) {
        snprintf(looking->why, looking->why_size, "%s: no list of its extents", looking->name);
        return false;
    }
    for (uint64_t i = 0; i < BLOCKS_MAX; i++) {
        uint64_t should = place_left(looking->should, i);

        past += i >= end && place[i];
        if (looking->strict ? place[i] == should : i >= end || place_may_be(looking, i, place[i]))
            continue;
        snprintf(looking->why, looking->why_size,
                 "%s: block %llu is in %llu/2 of the pool, should be in %llu/2", looking->name,
                 (unsigned long long)i, (unsigned long long)place[i], (unsigned long long)should);
        return false;
    }
    if (looking->strict || past <= looking->should->kept || past <= looking->other->kept ||
        maps.early)
        return true;
    snprintf(looking->why, looking->why_size, "%s: %llu blocks past EOF", looking->name,
             (unsigned long long)past);
    return false;
}

static bool compare_attr(const struct looking *looking, const struct fs_attr *attr)
{
    const struct map_file *should = looking->should, *other = looking->other;
    bool times = attr->mtime == should->mtime && attr->ctime == should->ctime;

    if (!looking->strict && !times) {
        const struct map_file *low = should->mtime < other->mtime ? should : other;
        const struct map_file *high = low == should ? other : should;

        times = attr->mtime >= low->mtime && attr->mtime <= high->mtime &&
                attr->ctime >= low->ctime && attr->ctime <= high->ctime;
    }
    if (attr->ino == should->ino && attr->size == should->size && times)
        return true;
    snprintf(looking->why, looking->why_size,
             "%s: inode %llu of %llu bytes, mtime %lld, ctime %lld; should be %llu of %llu, %lld, "
             "%lld",
             looking->name, (unsigned long long)attr->ino, (unsigned long long)attr->size,
             (long long)attr->mtime, (long long)attr->ctime, (unsigned long long)should->ino,
             (unsigned long long)should->size, (long long)should->mtime, (long long)should->ctime);
    return false;
}

static bool compare_linked(struct looking *looking)
{
    uint64_t size = looking->should->size;
    struct fs_handle *handle;
    bool good = false;

    if (fs_open_file(looking->fs, &request, looking->should->ino, O_RDONLY, false, &handle) < 0)
        return false;
    looking->got = malloc(size + 1);
    if (fs_pread(looking->fs, &request, handle, looking->got, size, 0) != (ssize_t)size)
        snprintf(looking->why, looking->why_size, "%s: it cannot be read", looking->name);
    else
        good = compare_bytes(looking) && compare_places(looking);
    free(looking->got);
    fs_release(looking->fs, handle);
    return good;
}

static bool compare_file(struct looking *looking)
{
    struct fs_attr attr;
    bool good;
    int r;

    r = fs_lookup(looking->fs, &request, maps.folder, fs_name(looking->name), &attr);
    if (!looking->should->linked) {
        if (r == 0)
            fs_forget(looking->fs, attr.ino, 1);
        /* No recovery leaves a file without a name. */
        good = r == -ENOENT && fs_getattr(looking->fs, &request, looking->should->ino, &attr) < 0;
        if (!good)
            snprintf(looking->why, looking->why_size, "%s: is still there", looking->name);
        return good;
    }
    if (r < 0) {
        snprintf(looking->why, looking->why_size, "%s: %s", looking->name, strerror(-r));
        return false;
    }
    good = compare_attr(looking, &attr) && compare_linked(looking);
    fs_forget(looking->fs, attr.ino, 1);
    return good;
}

bool maps_compare(struct world *world, struct image *image, const struct extra_state *state,
                  char *why, size_t why_size)
{
    bool before = world->allowed & ALLOW_BEFORE, first = state == &world->extra[0];
    uint32_t other = first ? world->extra[1].maps : world->extra[0].maps;

    /* What makes the files is no operation to be crashed. */
    if (!state->maps || !other)
        return true;
    for (unsigned i = 0; i < 2; i++) {
        struct looking looking = {
            .fs = image->fs,
            .should = &maps.version[state->maps % 2][i],
            .other = &maps.version[other % 2][i],
            .strict = !before,
            .mixed = before && i == 0 && (first || maps.mixed_after),
            .name = file_names[i],
            .why = why,
            .why_size = why_size,
        };

        if (!compare_file(&looking))
            return false;
    }
    return true;
}
