/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See maps.h. Of the two states that are compared with, the one of an even number is in version[0].
 */
#include "maps.h"
#include "maps_private.h"

#include "fs/internal.h"
#include "media/pool.h"
#include "window.h"
#include "world.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define MAP_CHUNK ((uint64_t)DAX_CHUNK_SIZE)
#define OTHER_BYTES (64u << 10)
#define DOORS 2

struct maps maps;

static const char *const file_names[2] = MAPS_NAMES;
static struct window window[DOORS];
static bool doors_open;
static struct {
    uint64_t chunk;
    bool write;
} slots[DOORS][WINDOW_SLOTS];
static struct fs_handle *unnamed; /* the first file has no name yet, and lives by this */

static bool asked_zeros; /* somebody has made blocks of zeros, which stay, or may have */

static struct fs_request request = { .in_group = true };

static int wrong(const char *what, uint64_t at)
{
    warnx("the running filesystem: %s at %llu", what, (unsigned long long)at);
    return -EBADMSG;
}

/* ---- what the running filesystem has ------------------------------------------------------------ */

/* fs_getattr would move the times of what is mapped. */
static int read_times(struct fs *fs, struct map_file *file)
{
    const struct dxf_inode *record;
    struct inode *inode;
    int r;

    r = inode_get(fs, file->ino, &inode);
    if (r < 0)
        return r;
    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, file->ino, &record);
    if (r == 0) {
        file->mtime = (int64_t)le64_get(record->mtime);
        file->ctime = (int64_t)le64_get(record->ctime);
        r = le64_get(record->size) == file->size ? 0 : wrong("another size", file->size);
    }
    rwlock_read_release(&inode->map_lock);
    inode_put(fs, inode);
    return r;
}

static bool is_shown(uint64_t chunk, bool only_pins)
{
    for (unsigned d = 0; d < (only_pins ? 1u : DOORS); d++)
        for (unsigned s = 0; s < WINDOW_SLOTS; s++)
            if (slots[d][s].chunk == chunk && window_at(&window[d], s, 0) &&
                !window_shows_zeros(&window[d], s))
                return true;
    return false;
}

static bool is_zero_block(const struct map_file *file, uint64_t block)
{
    static const uint8_t zeros[CHUNK];

    return memcmp(file->is + block * CHUNK, zeros, CHUNK) == 0;
}

/* What mappings kept is gone with them. Mostly nobody but they makes blocks of zeros here; of the one with
 * EOF in it the rest may be anything. */
static int check_settled(const struct map_file *file)
{
    uint64_t end = places_up(file->size);

    for (uint64_t i = 0; i < BLOCKS_MAX; i++)
        if (file->place[i] && file->place[i] % 2 == 0 && !is_shown(i * CHUNK / MAP_CHUNK, false) &&
            (i >= end ? !file->asked
                      : !asked_zeros && i < file->size / CHUNK && is_zero_block(file, i)))
            return wrong("a block that should have been given back", i);
    return 0;
}

/* What is shown is the file's, past EOF as well. */
static int check_pieces(const struct map_file *file)
{
    for (unsigned d = 0; d < DOORS; d++)
        for (unsigned s = 0; s < WINDOW_SLOTS; s++) {
            uint64_t first = slots[d][s].chunk * MAP_CHUNK / CHUNK;
            uint64_t piece = window[d].slot[s].offset / CHUNK;

            if (!window_at(&window[d], s, 0) || window_shows_zeros(&window[d], s))
                continue;
            for (uint64_t i = 0; i < MAP_CHUNK / CHUNK; i++)
                if (file->place[first + i] != (piece + i) * 2)
                    return wrong("a door shows a block that is not the file's", first + i);
        }
    return 0;
}

/* Its blocks, and what a recovery leaves of them. ASKED: the operation is to allocate past EOF. FIRST: it
 * is the one that is mapped. GONE: mappings have ended. */
static int read_places(struct fs *fs, struct map_file *file, bool first, bool asked, bool gone)
{
    uint64_t end = places_up(file->size), past = 0;
    const struct dxf_inode *record;
    int r;

    memset(file->place, 0, sizeof(file->place));
    r = fs_extents(fs, &request, file->ino, maps_note_place, file->place);
    if (r)
        return r < 0 ? r : -EFBIG;
    for (uint64_t i = end; i < BLOCKS_MAX; i++)
        past += file->place[i] != 0;
    r = inode_view(fs_meta(fs), NULL, file->ino, &record);
    if (r < 0)
        return r;
    if (asked || past < file->asked)
        file->asked = past;
    file->kept = le32_get(record->orphan) ? 0 : past;
    if (file->kept > file->asked)
        return wrong("more blocks past EOF than somebody asked for", end);
    r = first && gone ? check_settled(file) : 0;
    return r == 0 && first ? check_pieces(file) : r;
}

/* The last mapping is gone, which had something to settle if any of them had. */
static int check_no_orphan(struct fs *fs, const struct map_file *file)
{
    const struct dxf_inode *record;
    int r;

    for (unsigned d = 0; d < DOORS; d++)
        for (unsigned s = 0; s < WINDOW_SLOTS; s++)
            if (window_at(&window[d], s, 0))
                return 0;
    r = inode_view(fs_meta(fs), NULL, file->ino, &record);
    return r == 0 && le32_get(record->orphan) ? wrong("an orphan without mappings", 0) : r;
}

static int check_bytes(struct world *world, const struct map_file *file)
{
    struct fs *fs = world->image.fs;
    uint8_t *got = malloc(file->size + 1);
    struct fs_handle *handle;
    int r;

    r = fs_open_file(fs, &request, file->ino, O_RDONLY, false, &handle);
    if (r == 0) {
        if (fs_pread(fs, &request, handle, got, file->size, 0) != (ssize_t)file->size ||
            memcmp(got, file->is, file->size) != 0)
            r = wrong("other bytes", 0);
        fs_release(fs, handle);
    }
    free(got);
    return r;
}

/* What the doors show is what the file has. */
static int check_shown(const struct map_file *file)
{
    for (unsigned d = 0; d < DOORS; d++)
        for (unsigned s = 0; s < WINDOW_SLOTS; s++) {
            uint64_t from = slots[d][s].chunk * MAP_CHUNK;
            const uint8_t *shown = window_at(&window[d], s, 0);

            if (!shown) {
                slots[d][s].write = false;
                continue;
            }
            if (from < file->size &&
                memcmp(shown, file->is + from,
                       file->size - from < MAP_CHUNK ? file->size - from : MAP_CHUNK) != 0)
                return wrong("a door shows other bytes", from);
        }
    return 0;
}

/* ---- steps -------------------------------------------------------------------------------------- */

/* The files as they will be; a copy of how they are. */
static struct map_file *version_begin(struct world *world)
{
    uint32_t old = world->extra[1].maps;
    int64_t now = oracle_now();

    while (oracle_now() == now)
        sched_yield();
    world->extra[1].maps = old + 1;
    memcpy(maps.version[(old + 1) % 2], maps.version[old % 2], sizeof(maps.version[0]));
    memset(maps.mixed, 0, sizeof(maps.mixed));
    memset(maps.between, 0, sizeof(maps.between));
    maps.mixed_after = maps.early = false;
    return maps.version[(old + 1) % 2];
}

static bool is_written(uint64_t chunk)
{
    bool written = false;

    for (unsigned d = 0; d < DOORS; d++)
        for (unsigned s = 0; s < WINDOW_SLOTS; s++)
            written |= slots[d][s].write && slots[d][s].chunk == chunk;
    return written;
}

/* Words are loose for as long as a mapping lives that fsync would flush. */
static void tighten(struct map_file *file)
{
    for (uint64_t chunk = 0; chunk < BYTES_MAX / MAP_CHUNK; chunk++)
        if (!is_written(chunk))
            memset(file->loose + chunk * MAP_CHUNK / 8, 0, MAP_CHUNK / 8);
    memset(file->is + file->size, 0, BYTES_MAX - file->size);
    for (uint64_t word = (file->size + 7) / 8; word < BYTES_MAX / 8; word++)
        file->loose[word] = false;
}

static int version_end(struct world *world, struct map_file *files, bool asked, bool gone)
{
    int r = 0;

    fs_settle(world->image.fs);
    for (unsigned i = 0; r == 0 && i < 2; i++) {
        if (!files[i].linked)
            continue;
        r = i == 0 ? check_shown(&files[i]) : 0;
        tighten(&files[i]);
        if (r == 0)
            r = read_places(world->image.fs, &files[i], i == 0, asked && i == 0, gone);
        if (r == 0)
            r = read_times(world->image.fs, &files[i]);
        if (r == 0)
            r = check_bytes(world, &files[i]);
    }
    return r;
}

/* Bytes that are on the medium when the operation returns. */
static void model_zero(struct map_file *file, uint64_t from, uint64_t to)
{
    if (from >= to)
        return;
    memset(file->is + from, 0, to - from);
    for (uint64_t word = (from + 7) / 8; word < to / 8; word++)
        file->loose[word] = false;
    /* A word of which only a part is zeroed. */
    for (unsigned i = 0; i < 2; i++) {
        uint64_t word = i ? to / 8 : from / 8, start = word * 8;

        if (start < from || start + 8 > to)
            for (uint64_t at = start > from ? start : from; at < to && at < start + 8; at++)
                file->was[at] = 0;
    }
}

static int write_to(struct world *world, struct map_file *file, uint64_t offset, uint64_t length,
                    uint64_t seed)
{
    struct fs *fs = world->image.fs;
    struct fs_handle *handle;
    int r;

    if (offset + length > BYTES_MAX)
        return -EFBIG;
    r = fs_open_file(fs, &request, file->ino, O_RDWR, false, &handle);
    if (r < 0)
        return r;
    fill_bytes(seed, file->is + offset, length);
    if (length > 0 &&
        fs_pwrite(fs, &request, handle, file->is + offset, length, offset) != (ssize_t)length)
        r = -EIO;
    fs_release(fs, handle);
    if (offset + length > file->size)
        file->size = offset + length;
    for (uint64_t block = offset / CHUNK; block < places_up(offset + length); block++)
        maps.mixed[block] = true;
    maps.mixed_after = true;
    return r;
}

static int truncate_to(struct world *world, struct map_file *file, uint64_t size)
{
    struct fs_attr attr = { .size = size };

    if (size > BYTES_MAX)
        return -EFBIG;
    if (size < file->size) {
        model_zero(file, size, file->size);
        file->asked = 0;
    }
    file->size = size;
    return fs_setattr(world->image.fs, &request, file->ino, &attr, FS_SET_SIZE, &attr);
}

static int make_files(struct world *world, struct map_file *files, const struct op *op)
{
    struct fs *fs = world->image.fs;
    struct fs_attr attr;
    int r;

    memset(files, 0, 2 * sizeof(*files));
    memset(slots, 0, sizeof(slots));
    asked_zeros = false;
    r = fs_mkdir(fs, &request, 1, fs_name("maps"), 0755, &attr);
    maps.folder = attr.ino;
    for (unsigned i = 0; r == 0 && i < 2; i++) {
        struct fs_handle *handle;

        files[i].linked = i || !op->flags;
        r = files[i].linked ? fs_create(fs, &request, maps.folder, fs_name(file_names[i]), 0644,
                                        O_RDWR, &attr, &handle)
                            : fs_tmpfile(fs, &request, maps.folder, 0644, O_RDWR, &attr, &unnamed);
        if (r < 0)
            break;
        if (files[i].linked)
            fs_release(fs, handle);
        fs_forget(fs, attr.ino, 1);
        files[i].ino = attr.ino;
        r = write_to(world, &files[i], 0, i ? OTHER_BYTES : op->length, op->seed + i);
    }
    for (unsigned d = 0; r == 0 && d < DOORS; d++) {
        window_init(&window[d], world->image.pool, d ? "revocable" : "fixed", d);
        r = fs_door_add(fs, &window[d].door);
        doors_open = true;
    }
    return r;
}

/* Every other block of the first file, with one of the second between. */
static int scatter(struct world *world, struct map_file *files, const struct op *op)
{
    int r = 0;

    for (uint64_t at = 0; r == 0 && at < op->length; at += 2ull * CHUNK) {
        r = write_to(world, &files[0], at, CHUNK, op->seed + at);
        if (r == 0)
            r = write_to(world, &files[1], files[1].size, CHUNK, op->seed + at + 1);
    }
    return r < 0 ? r : truncate_to(world, &files[0], op->length);
}

static void model_shift(struct map_file *file, bool collapse, uint64_t offset, uint64_t length)
{
    uint64_t from = collapse ? offset + length : offset;
    uint64_t to = collapse ? offset : offset + length;

    for (uint64_t block = from / CHUNK; block < BLOCKS_MAX; block++)
        if (file->place[block] && block + to / CHUNK - from / CHUNK < BLOCKS_MAX)
            maps.between[block + to / CHUNK - from / CHUNK] = true;
    memmove(file->is + to, file->is + from, file->size - from);
    file->size += to - from;
    if (!collapse)
        memset(file->is + offset, 0, length);
    memset(file->loose + offset / 8, 0, sizeof(file->loose) - offset / 8);
}

static int change_range(struct world *world, struct map_file *file, const struct op *op, bool busy)
{
    uint64_t offset = op->offset, end = op->offset + op->length;
    struct fs *fs = world->image.fs;
    struct fs_handle *handle;
    int r;

    if (end > BYTES_MAX ||
        ((op->flags & FALLOC_FL_INSERT_RANGE) && file->size + op->length > BYTES_MAX))
        return -EFBIG;
    r = fs_open_file(fs, &request, file->ino, O_RDWR, false, &handle);
    if (r < 0)
        return r;
    for (uint64_t block = offset / CHUNK; !busy && block < places_up(end); block++) {
        bool part = block * CHUNK < offset || (block + 1) * CHUNK > end;
        bool pinned = is_shown(block * CHUNK / MAP_CHUNK, true);

        maps.mixed[block] = part || pinned;
        maps.between[block] = pinned && !part;
    }
    maps.early = op->flags == FALLOC_FL_ZERO_RANGE;
    r = fs_fallocate(fs, &request, handle, (int)op->flags, offset, op->length);
    fs_release(fs, handle);
    if (busy)
        return r == -EBUSY ? 0 : wrong("not refused", offset);
    if (r < 0)
        return r;
    if (op->flags & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE))
        model_shift(file, op->flags & FALLOC_FL_COLLAPSE_RANGE, offset, op->length);
    else if (op->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        model_zero(file, offset, end);
    if (!(op->flags & (FALLOC_FL_KEEP_SIZE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) &&
        end > file->size)
        file->size = end;
    return 0;
}

static int fault(struct world *world, struct map_file *file, const struct op *op, uint64_t chunks)
{
    struct dax_door *door = &window[op->slot2].door;
    int r;

    r = fs_populate(world->image.fs, &request, door, file->ino, op->offset * MAP_CHUNK,
                    chunks * MAP_CHUNK, op->slot, op->flags);
    for (uint64_t i = 0; r == 0 && i < chunks; i++) {
        slots[op->slot2][op->slot + i].chunk = op->offset + i;
        slots[op->slot2][op->slot + i].write |= op->flags;
    }
    return r;
}

/* A plain store of the door's user, of which nobody hears but the device. Past EOF it is nobody's. */
static int store(struct world *world, struct map_file *file, const struct op *op)
{
    uint64_t at = slots[op->slot2][op->slot].chunk * MAP_CHUNK + op->offset;
    uint8_t *to = window_at(&window[op->slot2], op->slot, op->offset), *bytes;

    if (!to || !slots[op->slot2][op->slot].write || op->offset + op->length > MAP_CHUNK ||
        op->offset % 8 || op->length % 8)
        return -EINVAL;
    for (uint64_t i = at; i < at + op->length && i < file->size; i += 8)
        if (file->loose[i / 8]) /* the model knows of one */
            return -EINVAL;
    bytes = calloc(1, op->length);
    if (!op->flags)
        fill_bytes(op->seed, bytes, op->length);
    for (uint64_t i = 0; i < op->length; i += 8) {
        if (at + i >= file->size)
            break;
        memcpy(file->was + at + i, file->is + at + i, 8);
        memcpy(file->is + at + i, bytes + i, 8);
        file->loose[(at + i) / 8] = true;
    }
    persist_store(world->image.pool->persist, to, bytes, op->length);
    free(bytes);
    return 0;
}

static int give_name(struct world *world, struct map_file *file)
{
    struct fs *fs = world->image.fs;
    struct fs_attr attr;
    int r;

    if (!unnamed)
        return -EINVAL;
    r = fs_link(fs, &request, file->ino, maps.folder, fs_name(file_names[0]), &attr);
    if (r == 0) {
        fs_forget(fs, file->ino, 1);
        fs_release(fs, unnamed);
        unnamed = NULL;
        file->linked = true;
    }
    return r;
}

static int flush(struct world *world, struct map_file *file)
{
    int64_t before = file->mtime;
    bool written = false;
    int r;

    for (uint64_t chunk = 0; chunk < BYTES_MAX / MAP_CHUNK; chunk++)
        written |= is_written(chunk);
    r = fs_fsync(world->image.fs, &request, file->ino, false);
    memset(file->loose, 0, sizeof(file->loose));
    if (r == 0)
        r = read_times(world->image.fs, file);
    return r == 0 && written && file->mtime == before ? wrong("mtime stays", 0) : r;
}

static int door_over(struct world *world, unsigned door)
{
    fs_door_stop(world->image.fs, &window[door].door);
    fs_door_over(world->image.fs, &window[door].door);
    for (unsigned s = 0; s < WINDOW_SLOTS; s++) {
        window[door].slot[s].offset = UINT64_MAX; /* nobody can reach it any more */
        slots[door][s].write = false;
    }
    return 0;
}

static int apply(struct world *world, struct map_file *files, const struct step *step)
{
    struct fs *fs = world->image.fs;
    const struct op *op = &step->op;

    switch (step->extra) {
    case EXTRA_MAP_FILES:
        return make_files(world, files, op);
    case EXTRA_MAP_SCATTER:
        return scatter(world, files, op);
    case EXTRA_MAP_WRITE:
        return write_to(world, files, op->offset, op->length, op->seed);
    case EXTRA_MAP_TRUNCATE:
        return truncate_to(world, files, op->length);
    case EXTRA_MAP_FALLOCATE:
        return change_range(world, files, op, false);
    case EXTRA_MAP_BUSY:
        return change_range(world, files, op, true);
    case EXTRA_MAP_FAULT:
        return fault(world, files, op, 1);
    case EXTRA_MAP_POPULATE:
        return fault(world, files, op, op->length);
    case EXTRA_MAP_UNMAP:
        return fs_unmap(fs, &request, &window[op->slot2].door, op->slot);
    case EXTRA_MAP_STORE:
        return store(world, files, op);
    case EXTRA_MAP_FSYNC:
        return flush(world, files);
    case EXTRA_MAP_LINK:
        return give_name(world, files);
    case EXTRA_MAP_OVER:
        return door_over(world, op->slot2);
    default:
        files[0].linked = false;
        return fs_unlink(fs, &request, maps.folder, fs_name(file_names[0]));
    }
}

/* Of those that change the model after they were made, and of nothing else. */
static bool may_fail(const struct map_file *file, const struct step *step)
{
    const struct op *op = &step->op;

    switch (step->extra) {
    case EXTRA_MAP_WRITE: /* one that moves EOF may be cut */
        return op->offset + op->length > file->size;
    case EXTRA_MAP_FALLOCATE:
    case EXTRA_MAP_FAULT:
    case EXTRA_MAP_UNMAP:
    case EXTRA_MAP_STORE:
        return true;
    default:
        return false;
    }
}

void maps_random(struct step *step)
{
    static const struct {
        uint8_t extra;
        uint32_t flags;
    } kinds[] = {
        { EXTRA_MAP_FAULT, 1 },     { EXTRA_MAP_FAULT, 1 },      { EXTRA_MAP_FAULT, 0 },
        { EXTRA_MAP_STORE, 0 },     { EXTRA_MAP_STORE, 0 },      { EXTRA_MAP_STORE, 1 },
        { EXTRA_MAP_WRITE, 0 },     { EXTRA_MAP_TRUNCATE, 0 },   { EXTRA_MAP_TRUNCATE, 0 },
        { EXTRA_MAP_FALLOCATE, 3 }, { EXTRA_MAP_FALLOCATE, 3 },  { EXTRA_MAP_FALLOCATE, 16 },
        { EXTRA_MAP_FALLOCATE, 8 }, { EXTRA_MAP_FALLOCATE, 32 }, { EXTRA_MAP_UNMAP, 0 },
        { EXTRA_MAP_UNMAP, 0 },     { EXTRA_MAP_FSYNC, 0 },      { EXTRA_MAP_OVER, 0 },
    };
    struct rng rng = { step->op.seed };
    struct op *op = &step->op;
    unsigned kind = (unsigned)rng_below(&rng, sizeof(kinds) / sizeof(kinds[0]));

    step->extra = kinds[kind].extra;
    op->flags = kinds[kind].flags;
    op->slot2 = (uint8_t)rng_below(&rng, DOORS);
    op->slot = (uint8_t)rng_below(&rng, 4);
    op->offset = rng_below(&rng, BYTES_MAX);
    op->length = 1 + rng_below(&rng, rng_chance(&rng, 30) ? BYTES_MAX / 2 : 30000);
    if (step->extra == EXTRA_MAP_FAULT) {
        op->offset = rng_below(&rng, BYTES_MAX / MAP_CHUNK);
        op->slot = (uint8_t)op->offset;
    } else if (step->extra == EXTRA_MAP_STORE) {
        op->offset = rng_below(&rng, MAP_CHUNK) & ~7ull;
        op->length = 8 + rng_below(&rng, 10000) / 8 * 8;
    } else if (step->extra == EXTRA_MAP_TRUNCATE) {
        op->length = op->offset;
    } else if (step->extra == EXTRA_MAP_WRITE) {
        op->length %= 20000;
    } else if (op->flags >= 8 && op->flags != 16) {
        op->offset &= ~(CHUNK - 1ull);
        op->length = (op->length + CHUNK - 1) & ~(CHUNK - 1ull);
    }
}

int maps_apply(struct world *world, const struct step *step)
{
    struct map_file *files;
    bool asked;
    int r;

    if (!doors_open && step->extra != EXTRA_MAP_FILES)
        return -EINVAL;
    asked = step->extra == EXTRA_MAP_FALLOCATE && !(step->op.flags & ~FALLOC_FL_KEEP_SIZE);
    files = version_begin(world);
    asked_zeros |= asked || step->lenient;
    if (step->lenient && step->extra == EXTRA_MAP_WRITE && may_fail(files, step))
        r = 0;
    else
        r = apply(world, files, step);
    if (r < 0 && r != -EBADMSG && step->lenient && may_fail(files, step))
        r = 0;
    if (r >= 0)
        r = version_end(world, files, asked,
                        step->extra == EXTRA_MAP_UNMAP || step->extra == EXTRA_MAP_OVER ||
                            step->extra == EXTRA_MAP_LINK);
    if (r == 0 && step->extra == EXTRA_MAP_UNMAP && files->linked && !step->lenient)
        r = check_no_orphan(world->image.fs, files);
    return r;
}

void maps_end(struct world *world, bool kept)
{
    struct map_file *files = NULL;

    if (!doors_open)
        return;
    if (kept)
        files = version_begin(world);
    for (unsigned d = 0; d < DOORS; d++) {
        door_over(world, d);
        fs_door_remove(world->image.fs, &window[d].door);
    }
    if (kept && version_end(world, files, false, true) < 0)
        errx(2, "the files are not as they must be");
    for (unsigned d = 0; d < DOORS; d++)
        window_destroy(&window[d]);
    doors_open = false;
    unnamed = NULL; /* the end of the filesystem releases it */
}
