/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether an image is one that a crash may leave: see world.h for what is allowed.
 */
#include "world.h"

#include "base/endian.h"
#include "media/pool.h"
#include "tools/fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t fsck_turn;
static struct fsck_result fsck_result;

/* ---- mounting ---- */

struct mount {
    struct world *world;
    struct view *view;
};

/* The stores of a mounted image: its pages are to be made good again. */
void check_event(void *arg, const struct persist_event *event)
{
    struct mount *mount = arg;

    if (event->bytes)
        view_touch_bytes(mount->view, event->offset, event->length);
    if (mount->world->recording)
        trace_note(&mount->world->trace[mount->world->recording], event);
}

static int open_pool(const struct world *world, uint8_t *bytes, uint64_t size,
                     persist_event_fn on_event, void *arg, struct pool **ret_pool)
{
    struct persist *persist;
    int r;

    r = persist_open_recording(bytes, size, world->program->pmem, on_event, arg, &persist);
    if (r < 0)
        return r;
    r = pool_open_memory(bytes, size, persist, ret_pool);
    if (r < 0)
        persist_close(persist);
    return r;
}

/* A file may be longer than the pool in it: opens as much as the superblock says. */
static int open_view(const struct world *world, struct view *view, persist_event_fn on_event,
                     void *arg, struct pool **ret_pool)
{
    uint64_t size = world->program->file_size, need;
    struct pool *pool;
    int r;

    r = open_pool(world, view->bytes, size, on_event, arg, &pool);
    if (r < 0)
        return r;
    need = le64_get(pool->super.pool_blocks) * DXF_BLOCK_SIZE;
    if (need == size) {
        *ret_pool = pool;
        return 0;
    }
    pool_close(pool);
    return open_pool(world, view->bytes, need, on_event, arg, ret_pool);
}

int check_mount(struct world *world, struct view *view, persist_event_fn on_event, void *arg,
                struct image *ret_image)
{
    struct fs_options options = { .noatime = true };
    int r;

    *ret_image = (struct image){ .memory = view->bytes, .fd = -1, .pmem = world->program->pmem };
    r = open_view(world, view, on_event, arg, &ret_image->pool);
    if (r < 0)
        return -r;
    ret_image->size = ret_image->pool->size;
    r = fs_open(ret_image->pool, &options, &ret_image->fs, NULL);
    if (r < 0)
        pool_close(ret_image->pool);
    return -r;
}

static bool run_fsck(struct world *world, struct mount *mount, bool mounted)
{
    struct fsck_options options = { .mode = FSCK_CHECK };
    struct pool *pool;
    size_t used;
    int r;

    r = open_view(world, mount->view, check_event, mount, &pool);
    if (r == 0) {
        r = fsck_run(pool, &options, &fsck_result);
        pool_close(pool);
    }
    if (r < 0) {
        snprintf(world->why, sizeof(world->why), "fsck %s: %s",
                 mounted ? "after the mount" : "before a mount", strerror(-r));
        return false;
    }
    used = (size_t)snprintf(world->why, sizeof(world->why), "fsck %s finds",
                            mounted ? "after the mount" : "before a mount");
    r = 0;
    for (const struct fsck_finding *finding = fsck_findings; finding->id; finding++) {
        /* Before a mount, what that would finish: notes, and a retire slot that was being written. */
        if (fsck_result.count[finding->id] == 0 ||
            (!mounted && (finding->severity == FSCK_NOTE || finding->id == FSCK_RETIRE_SLOT)))
            continue;
        r = 1;
        used += (size_t)snprintf(world->why + used, sizeof(world->why) - used, " %d (%s),",
                                 (int)finding->id, finding->text);
        if (used > sizeof(world->why) - 100)
            break;
    }
    return r == 0;
}

/* ---- tolerance ---- */

struct patch {
    struct node *node;
    uint64_t from;
    size_t length;
    uint8_t *bytes; /* what the model had there */
    uint64_t size;
    uint32_t mode;
    struct moment mtime, ctime;
};

/* Whether each aligned 8 bytes are wholly of one of the two. Two stores meet at `split`. */
static bool is_mixture(const uint8_t *is, const uint8_t *one, const uint8_t *other, uint64_t from,
                       size_t length, uint64_t split)
{
    for (size_t at = 0; at < length;) {
        size_t part = 8 - (from + at) % 8;

        if (part > length - at)
            part = length - at;
        if (split > from + at && split - (from + at) < part)
            part = split - (from + at);
        if (memcmp(is + at, one + at, part) != 0 && memcmp(is + at, other + at, part) != 0)
            return false;
        at += part;
    }
    return true;
}

/* The model takes the bytes of a range as they are, if each may be so. */
static void adopt_range(struct world *world, struct fs *fs, struct fs_handle *handle,
                        struct node *node, uint64_t from, uint64_t to)
{
    const struct tolerance *tolerance = &world->tolerance;
    struct fs_request rq = { 0 };
    size_t length;
    uint8_t *is;

    if (to > node->size)
        to = node->size;
    if (from >= to)
        return;
    length = to - from;
    is = malloc(length * 3);
    if (fs_pread(fs, &rq, handle, is, length, from) == (ssize_t)length) {
        content_read(&tolerance->node[0]->content, from, is + length, length);
        content_read(&tolerance->node[1]->content, from, is + 2 * length, length);
        if (is_mixture(is, is + length, is + 2 * length, from, length, tolerance->split))
            content_write(&node->content, from, is, length);
    }
    free(is);
}

static bool between(int64_t is, struct moment *one, struct moment *other, bool only_ends)
{
    if (is == one->value || is == other->value)
        return true;
    return !only_ends && one->exact && other->exact && is > one->value && is < other->value;
}

/* Moves the model's node towards what the image has, as far as is allowed. */
static void adopt(struct world *world, struct fs *fs, unsigned which, struct patch *patch)
{
    struct tolerance *tolerance = &world->tolerance;
    struct node *node = tolerance->node[which];
    struct fs_request rq = { 0 };
    struct fs_handle *handle;
    struct fs_attr attr;
    bool bytes = which == 0 || tolerance->with_after || tolerance->cut;

    *patch = (struct patch){ 0 };
    if (!node || !node->ino || world->allowed == ALLOW_AFTER)
        return;
    if (fs_getattr(fs, &rq, node->ino, &attr) < 0 || attr.generation != node->generation ||
        fs_open_file(fs, &rq, node->ino, O_RDONLY, false, &handle) < 0)
        return;
    *patch = (struct patch){

        .node = node,
        .size = node->size,
        .mode = node->mode,
        .mtime = node->mtime,
        .ctime = node->ctime
    };
    if (bytes && tolerance->ranges > 0) {
        patch->from = tolerance->range[0].from;
        patch->length = tolerance->range[tolerance->ranges - 1].to - patch->from;
        patch->bytes = malloc(patch->length + 1);
        content_read(&node->content, patch->from, patch->bytes, patch->length);
    }
    /* A prefix of an extending write: what it loses lies in the range that is put back. */
    if (tolerance->cut && which == 1 && attr.size < node->size &&
        attr.size > tolerance->node[0]->size &&
        (tolerance->cut_anywhere || attr.size % CHUNK == 0)) {
        content_zero(&node->content, attr.size, UINT64_MAX);
        node->size = attr.size;
    }
    for (unsigned i = 0; bytes && i < tolerance->ranges; i++)
        adopt_range(world, fs, handle, node, tolerance->range[i].from, tolerance->range[i].to);
    if (tolerance->with_after || tolerance->cut) {
        struct moment *before = &tolerance->node[0]->mtime, *after = &tolerance->node[1]->mtime;

        if (between(attr.mtime, before, after, !tolerance->cut))
            node->mtime.value = attr.mtime;
        before = &tolerance->node[0]->ctime;
        after = &tolerance->node[1]->ctime;
        if (between(attr.ctime, before, after, !tolerance->cut))
            node->ctime.value = attr.ctime;
    }
    fs_release(fs, handle);
}

static void unadopt(struct patch *patch)
{
    if (!patch->node)
        return;
    patch->node->size = patch->size;
    patch->node->mode = patch->mode;
    patch->node->mtime = patch->mtime;
    patch->node->ctime = patch->ctime;
    if (patch->bytes)
        content_write(&patch->node->content, patch->from, patch->bytes, patch->length);
    free(patch->bytes);
}

static bool compare_blocks(struct world *world, struct fs *fs, unsigned which, char *why,
                           size_t why_size)
{
    const struct tolerance *tolerance = &world->tolerance;
    struct fs_request rq = { 0 };
    struct fs_attr attr;

    if (tolerance->blocks_ino == 0 || fs_getattr(fs, &rq, tolerance->blocks_ino, &attr) < 0 ||
        attr.blocks == tolerance->blocks[which])
        return true;
    snprintf(why, why_size, "the file that was cut has %llu blocks, should have %llu",
             (unsigned long long)attr.blocks, (unsigned long long)tolerance->blocks[which]);
    return false;
}

static bool compare_with(struct world *world, struct image *image, unsigned which, char *why,
                         size_t why_size)
{
    struct engine engine = { .image = image, .root = world_root(world) };
    struct oracle seen = world->oracle[which];
    struct patch patch;
    bool same;

    memset(seen.slot, 0, sizeof(seen.slot)); /* no descriptor outlives a crash */
    adopt(world, image->fs, which, &patch);
    same = engine_compare(&engine, &seen, why, why_size) &&
           compare_blocks(world, image->fs, which, why, why_size);
    unadopt(&patch);
    return same && extra_compare(world, image, &world->extra[which], why, why_size);
}

/* ---- one image ---- */

static bool compare(struct world *world, struct image *image)
{
    char why[2][700] = { "not allowed any more", "not allowed yet" };

    for (unsigned which = 2; which-- > 0;)
        if ((world->allowed & (1u << which)) &&
            compare_with(world, image, which, why[which], sizeof(why[which])))
            return true;
    snprintf(world->why, sizeof(world->why), "neither before nor after\n  before: %s\n  after: %s",
             why[0], why[1]);
    return false;
}

/* What was stored to went through the persist table: all other pages are as they were. */
static bool check_untouched(struct world *world, const struct view *view)
{
    for (uint64_t page = 0; page < world->program->file_size / 4096; page++)
        if (!view->dirty[page] &&
            memcmp(view->bytes + page * 4096, view->source->bytes + page * 4096, 4096) != 0) {
            snprintf(world->why, sizeof(world->why), "a store to page %llu went unnoticed",
                     (unsigned long long)page);
            return false;
        }
    return true;
}

bool check_image(struct world *world, unsigned level)
{
    struct mount mount = { .world = world, .view = &world->device[level].image };
    int recording = world->recording;
    struct image image;
    bool good;
    int r;

    /* A share is looked at by fsck before any mount; it replays as a mount would, and no more. */
    if (!recording && fsck_turn++ % 8 == 0) {
        if (!run_fsck(world, &mount, false))
            return false;
        device_build(&world->device[level]);
    }
    r = check_mount(world, mount.view, check_event, &mount, &image);
    if (r) {
        snprintf(world->why, sizeof(world->why), "the mount fails: %s", strerror(r));
        return false;
    }
    good = compare(world, &image);
    fs_close(image.fs);
    pool_close(image.pool);
    world->recording = 0;
    good = good && run_fsck(world, &mount, true);
    if (good && fsck_turn % 1024 == 0)
        good = check_untouched(world, mount.view);
    return good;
}

/* ---- all images of a point ---- */

bool hash_set_add(struct hash_set *set, uint64_t value)
{
    size_t at;

    if (value == 0)
        value = 1;
    if (set->count * 2 >= set->room) {
        struct hash_set bigger = { .room = set->room ? set->room * 2 : 4096 };

        bigger.slot = calloc(bigger.room, sizeof(*bigger.slot));
        for (size_t i = 0; i < set->room; i++)
            if (set->slot[i])
                hash_set_add(&bigger, set->slot[i]);
        free(set->slot);
        *set = bigger;
    }
    at = value & (set->room - 1);
    while (set->slot[at] && set->slot[at] != value)
        at = (at + 1) & (set->room - 1);
    if (set->slot[at])
        return false;
    set->slot[at] = value;
    set->count++;
    return true;
}

void hash_set_clear(struct hash_set *set)
{
    if (set->count > 0)
        memset(set->slot, 0, set->room * sizeof(*set->slot));
    set->count = 0;
}

static void describe(struct world *world, unsigned level)
{
    const struct device *device = &world->device[level];
    size_t used = strlen(world->why);
    uint32_t told = 0;

    used += (size_t)snprintf(world->why + used, sizeof(world->why) - used,
                             "\n  level %u, of %u lines or sectors on their way:", level,
                             device->groups);
    for (uint32_t g = 0; g < device->groups && used < sizeof(world->why) - 80; g++) {
        const struct group *group = &device->group[g];

        if (group->whole == group->count || told++ > 12)
            continue;
        used += (size_t)snprintf(world->why + used, sizeof(world->why) - used, " %#llx:%u/%u%s",
                                 (unsigned long long)(group->unit * (device->pmem ? 64 : 512)),
                                 group->whole, group->count, group->torn ? "+" : "");
    }
    if (used < sizeof(world->why) - 60)
        snprintf(world->why + used, sizeof(world->why) - used, " (others whole)");
}

/* The recovery that was traced while the level above was checked, crashed as well. */
static bool check_recovery(struct world *world, unsigned level)
{
    struct device *device = &world->device[level];
    struct trace *trace = &world->trace[level];
    struct row_count *row = &world->row[world->nested_row];
    unsigned fences = 0, every;

    /* Of one with many fences, at some. */
    for (size_t i = 0; i < trace->count; i++)
        fences += trace->event[i].kind == PERSIST_EVENT_FENCE;
    every = fences / 100 + 1;
    for (size_t i = 0; i < trace->count; i++) {
        if (trace->event[i].kind == PERSIST_EVENT_FENCE && fences-- % every == 0) {
            device_group(device);
            if (!check_point(world, level, 4, row))
                return false;
        }
        device_play(device, &trace->event[i]);
    }
    device_group(device);
    return check_point(world, level, 2, row);
}

static bool check_chosen(struct world *world, unsigned level, struct row_count *row)
{
    struct device *device = &world->device[level];
    uint64_t asked = world->step * 2ull + (world->allowed == ALLOW_AFTER);
    bool nest = false, distinct, good;

    device_build(device);
    distinct = hash_set_add(&world->seen, device->image_hash);
    /* The same image may be right before a step and wrong after it. */
    if (!hash_set_add(&world->checked, device->image_hash + asked * 0x9e3779b97f4a7c15ull))
        return true;
    row->images++;
    row->distinct += distinct;
    if (level + 1 < LEVELS && world->program->nest)
        nest = rng_below(&world->rng, level ? 24 : world->program->nest) == 0;
    if (nest) {
        world->recording = (int)level + 1;
        trace_clear(&world->trace[level + 1]);
    }
    good = check_image(world, level);
    world->recording = 0;
    if (!good) {
        row->violations++;
        describe(world, level);
        return false;
    }
    if (nest && world->trace[level + 1].count > 0) {
        device_reset(&world->device[level + 1], world->program->pmem);
        device_store_choice(device, &world->device[level + 1]);
        good = check_recovery(world, level + 1);
    }
    return good;
}

bool check_point(struct world *world, unsigned level, unsigned budget, struct row_count *row)
{
    struct device *device = &world->device[level];
    uint64_t all = device_combinations(device, budget / 2 + 2);
    uint64_t numbered = all <= budget / 2 + 2 ? all : 0;

    device_choose_all(device, false);
    if (!check_chosen(world, level, row))
        return false;
    if (device->groups == 0)
        return true;
    device_choose_all(device, true);
    if (!check_chosen(world, level, row))
        return false;
    for (uint64_t i = 0; i < numbered; i++) {
        device_choose_number(device, i);
        if (!check_chosen(world, level, row))
            return false;
    }
    for (unsigned i = (unsigned)numbered; i < budget; i++) {
        device_choose_random(device, &world->rng);
        if (!check_chosen(world, level, row))
            return false;
    }
    return true;
}
