/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running a program, and playing what it stores to the device.
 */
#include "world.h"

#include "base/log.h"
#include "fs/internal.h"
#include "generate.h"
#include "maps.h"
#include "media/pool_private.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u
#define SPACE_LEFT 24u /* blocks, in a program that is to have little */

/* ---- the template ---- */

void world_create(struct world *world)
{
    *world = (struct world){ 0 };
    view_create(&world->template, NULL);
    view_create(&world->live, &world->template);
    device_create(&world->device[0], &world->template);
    for (unsigned i = 1; i < LEVELS; i++)
        device_create(&world->device[i], &world->device[i - 1].durable);
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* An empty filesystem of the size, closed. Every page of it differs from what the copies have. */
static void make_template(struct world *world, uint64_t size)
{
    struct image image;

    if (world->template_size == size)
        return;
    image_create(&image, size, true);
    fs_close(image.fs);
    pool_close(image.pool);
    image.fs = NULL;
    image.pool = NULL;
    for (uint64_t page = 0; page < VIEW_PAGES; page++) {
        uint8_t *to = world->template.bytes + page * PAGE;
        const uint8_t *from = page * PAGE < size ? image.memory + page * PAGE : NULL;
        bool was = page * PAGE < world->template_size && !is_zero(to);

        if (from && !is_zero(from))
            memcpy(to, from, PAGE);
        else if (was)
            memset(to, 0, PAGE);
        else
            continue;
        view_touch(&world->template, page);
    }
    image_destroy(&image);
    world->template_size = size;
}

/* ---- the live filesystem ---- */

static void live_event(void *arg, const struct persist_event *event)
{
    struct world *world = arg;

    if (event->bytes)
        view_touch_bytes(&world->live, event->offset, event->length);
    trace_note(&world->trace[0], event);
}

/* What a server has that may grow its pool: a file, and address space behind the mapping. */
static void make_room(struct world *world)
{
    struct pool *pool = world->image.pool;
    uint64_t size = world->program->file_size;

    if (size <= pool->size)
        return;
    pool->fd = memfd_create("crash", MFD_CLOEXEC);
    if (pool->fd < 0 || ftruncate(pool->fd, (off_t)size) < 0)
        err(2, "file of the pool");
    pool->host->room_size = size;
}

static void start(struct world *world, struct program *program)
{
    struct fs_request rq = { 0 };
    struct fs_attr attr;
    struct attr root;

    world->program = program;
    make_template(world, program->pool_size);
    for (unsigned i = 0; i < LEVELS; i++)
        trace_clear(&world->trace[i]);
    for (unsigned i = 0; i < LEVELS; i++)
        device_reset(&world->device[i], program->pmem);
    view_reset(&world->live);
    hash_set_clear(&world->seen);
    hash_set_clear(&world->checked);
    world->rng = (struct rng){ program->seed };
    world->failed = false;
    world->why[0] = 0;
    memset(world->extra, 0, sizeof(world->extra));
    world->extra[0].pool_size = world->extra[1].pool_size = program->pool_size;
    errno = check_mount(world, &world->live, live_event, world, &world->image);
    if (errno)
        err(2, "mount");
    make_room(world);
    world->engine = (struct engine){ .image = &world->image, .root = 1 };
    if (fs_getattr(world->image.fs, &rq, 1, &attr) < 0)
        errx(2, "there is no root");
    engine_attr(&attr, &root);
    oracle_open(&world->oracle[0], false, &root);
    oracle_open(&world->oracle[1], false, &root);
}

static void stop(struct world *world)
{
    if (world->image.fs) {
        atomic_store(&world->image.pool->failed, true); /* nothing more is of interest */
        maps_end(world, false);
        fs_close(world->image.fs);
        pool_close(world->image.pool);
        world->image.fs = NULL;
    }
    oracle_close(&world->oracle[0]);
    oracle_close(&world->oracle[1]);
}

/* ---- tolerance: see world.h ---- */

struct map {
    struct fs_extent extent[256];
    unsigned count;
};

static int note_extent(void *arg, const struct fs_extent *extent)
{
    struct map *map = arg;

    if (map->count == 256)
        return 1;
    if (!extent->unwritten)
        map->extent[map->count++] = *extent;
    return 0;
}

static void tolerate(struct tolerance *tolerance, uint64_t from, uint64_t to)
{
    if (from >= to)
        return;
    if (tolerance->ranges == 64)
        tolerance->ranges--; /* joins the last */
    else
        tolerance->range[tolerance->ranges].from = from;
    tolerance->range[tolerance->ranges++].to = to;
}

/* Ranges of [from, to) that lie in written extents; whether a hole comes before one of them. */
static void tolerate_written(struct tolerance *tolerance, const struct map *map, uint64_t from,
                             uint64_t to, bool *ret_whole)
{
    uint64_t at = from;
    bool hole = false;

    for (unsigned i = 0; i < map->count; i++) {
        const struct fs_extent *extent = &map->extent[i];
        uint64_t low = extent->offset > from ? extent->offset : from;
        uint64_t high = extent->offset + extent->length;

        if (high > to)
            high = to;
        if (low >= high)
            continue;
        if (low > at)
            hole = true;
        if (hole)
            tolerance->cut = true;
        tolerate(tolerance, low, high);
        at = high;
    }
    *ret_whole = !hole && at >= to;
}

struct before_op {
    uint64_t size;
    uint64_t shrunk, blocks;
    struct map to, from;
};

static struct node *target_of(struct oracle *oracle, const struct op *op)
{
    unsigned slot = op->kind == OP_COPY ? op->slot2 : op->slot;

    if (op->kind != OP_WRITE && op->kind != OP_COPY && op->kind != OP_FALLOCATE)
        return NULL;
    return oracle->slot[slot].node;
}

/* The file from which the operation takes blocks, 0: none. */
static uint64_t shrunk_of(struct oracle *oracle, const struct op *op)
{
    bool path = op->kind == OP_TRUNCATE || (op->kind == OP_OPEN && (op->flags & O_TRUNC));
    struct node *node = NULL;

    if (path && oracle_resolve(oracle, &op->path, &node) == 0)
        return node->ino;
    if (op->kind != OP_SHIFT && (op->kind != OP_FALLOCATE || !(op->flags & FALLOC_FL_PUNCH_HOLE)))
        return 0;
    node = oracle->slot[op->slot].node;
    return node && node->links > 0 ? node->ino : 0;
}

static uint64_t blocks_of(struct world *world, uint64_t ino)
{
    struct fs_request rq = { 0 };
    struct fs_attr attr = { 0 };

    return ino && fs_getattr(world->image.fs, &rq, ino, &attr) == 0 ? attr.blocks : 0;
}

static void look_before(struct world *world, const struct op *op, struct before_op *ret_before)
{
    struct node *node = target_of(&world->oracle[0], op);
    struct fs_request rq = { 0 };

    *ret_before = (struct before_op){ .shrunk = shrunk_of(&world->oracle[0], op) };
    ret_before->blocks = blocks_of(world, ret_before->shrunk);
    if (!node || !node->ino)
        return;
    ret_before->size = node->size;
    fs_extents(world->image.fs, &rq, node->ino, note_extent, &ret_before->to);
    if (op->kind == OP_COPY && world->oracle[0].slot[op->slot].node)
        fs_extents(world->image.fs, &rq, world->oracle[0].slot[op->slot].node->ino, note_extent,
                   &ret_before->from);
}

static void set_tolerance(struct world *world, const struct op *op, const struct result *got,
                          const struct before_op *before)
{
    struct tolerance *tolerance = &world->tolerance;
    struct node *node = target_of(&world->oracle[0], op);
    uint64_t from = op->kind == OP_COPY ? op->offset2 : op->offset;
    uint64_t length = op->kind == OP_FALLOCATE ? op->length : (uint64_t)got->value, to;
    bool whole = false;

    *tolerance = (struct tolerance){
        .blocks_ino = before->shrunk,
        .blocks = { before->blocks, blocks_of(world, before->shrunk) },
    };
    if (!node || got->error || length == 0)
        return;
    tolerance->node[0] = node;
    tolerance->node[1] = target_of(&world->oracle[1], op);
    if (op->kind == OP_WRITE && (world->oracle[0].slot[op->slot].flags & O_APPEND))
        from = before->size;
    to = from + length;
    if (op->kind == OP_FALLOCATE) {
        uint64_t inner = (from + CHUNK - 1) / CHUNK * CHUNK, outer = to / CHUNK * CHUNK;

        if (!(op->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
            return;
        if (inner > outer) {
            tolerate(tolerance, from, to);
        } else {
            tolerate(tolerance, from, inner);
            tolerate(tolerance, outer, to);
        }
        return;
    }
    tolerate_written(tolerance, &before->to, from, to, &whole);
    /* Several transactions; or it ended early, for want of space. */
    if (tolerance->ranges > 8 || length > (256u << 10) || length < op->length)
        tolerance->cut = true;
    if (op->kind == OP_COPY) {
        struct tolerance source = { 0 };
        bool all;

        tolerate_written(&source, &before->from, op->offset, op->offset + length, &all);
        tolerance->cut |= !all;
        tolerance->cut_anywhere = true; /* its parts end where holes of the source do */
    }
    tolerance->with_after = whole && to <= before->size;
    if (op->kind == OP_WRITE && op->seed % 3 == 0)
        tolerance->split = from + op->length / 2;
    if (tolerance->cut) {
        tolerance->ranges = 0;
        tolerate(tolerance, from, to);
    }
}

/* ---- steps ---- */

static bool violation(struct world *world, const char *what)
{
    char why[sizeof(world->why)];

    memcpy(why, world->why, sizeof(why));
    snprintf(world->why, sizeof(world->why), "step %u, %s %u: %.1800s", world->step, what,
             world->point, why);
    world->failed = true;
    return false;
}

/* Plays the trace on, from `from` to `to`; before each fence, its images. */
static bool play(struct world *world, size_t from, size_t to, unsigned allowed, bool check)
{
    struct device *device = &world->device[0];
    const struct step *step = &world->program->step[world->step];
    unsigned budget = world->program->budget, fences = 0;

    /* Of an operation with many fences, less at each. */
    for (size_t i = from; i < to; i++)
        fences += world->trace[0].event[i].kind == PERSIST_EVENT_FENCE;
    if (fences > 8)
        budget = 1 + budget * 8 / fences;
    world->allowed = allowed;
    for (size_t i = from; i < to; i++) {
        const struct trace_event *event = &world->trace[0].event[i];

        if (check && event->kind == PERSIST_EVENT_FENCE) {
            device_group(device);
            if (!check_point(world, 0, budget, &world->row[step->row]))
                return violation(world, allowed == ALLOW_AFTER ? "returned, fence" : "fence");
            world->point++;
        }
        device_play(device, event);
    }
    return true;
}

static bool play_step(struct world *world, size_t from, size_t returned, bool check)
{
    const struct step *step = &world->program->step[world->step];

    /* Nothing was stored, so that all that could be seen has been. */
    if (world->program->random && from == world->trace[0].count && step->op.kind != OP_FSYNC)
        check = false;
    world->point = 0;
    if (!play(world, from, returned, ALLOW_BEFORE | ALLOW_AFTER, check))
        return false;
    if (check) {
        world->allowed = ALLOW_AFTER;
        device_group(&world->device[0]);
        if (!check_point(world, 0, world->program->budget, &world->row[step->row]))
            return violation(world, "after the return, point");
        world->point++;
    }
    return play(world, returned, world->trace[0].count, ALLOW_AFTER, check);
}

/* Other logs are taken on other CPUs. */
static void hop(struct world *world)
{
    uint64_t x = (world->program->seed + world->step) * 0x9e3779b97f4a7c15ull;
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(world->cpu ^ (world->program->random ? (unsigned)(x >> 63) : 0), &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* a machine of one CPU has one log */
}

/* In half of the runs a step has a time of its own, by which its state can be told. */
static void tick(const struct world *world)
{
    int64_t now = oracle_now();

    while (world->program->seed >> 7 & 1 && oracle_now() == now)
        sched_yield();
}

static bool compare_live(struct world *world, unsigned which)
{
    char why[700];

    if (engine_compare(&world->engine, &world->oracle[which], why, sizeof(why)))
        return true;
    snprintf(world->why, sizeof(world->why), "the running filesystem: %s", why);
    return false;
}

static bool run_extra(struct world *world, const struct step *step, bool check)
{
    size_t from = world->trace[0].count, returned;
    int error;

    world->extra[0] = world->extra[1];
    error = extra_apply(world, step);
    returned = world->trace[0].count;
    if (world->image.fs)
        reaper_drain(world->image.fs);
    if (error) {
        snprintf(world->why, sizeof(world->why), "extra operation: %s", strerror(error));
        if (world->shortened)
            return false;
        return violation(world, "result");
    }
    if (!play_step(world, from, returned, check))
        return false;
    world->extra[0] = world->extra[1];
    return true;
}

/* false: stop; world->failed says whether that is a violation. */
static bool run_step(struct world *world, struct step *step)
{
    bool check = step->checked && !world->quiet;
    size_t from = world->trace[0].count, returned;
    struct before_op before;
    struct result got;
    int64_t now;

    world->tolerance = (struct tolerance){ 0 };
    hop(world);
    if (step->extra)
        return run_extra(world, step, check);
    if (check) {
        if (!compare_live(world, 0))
            return violation(world, "before, point");
        look_before(world, &step->op, &before);
        tick(world);
    }
    from = world->trace[0].count;
    now = oracle_now();
    engine_apply(&world->engine, &step->op, &got);
    returned = world->trace[0].count;
    reaper_drain(world->image.fs);
    if (!oracle_judge(&world->oracle[1], &step->op, now, &got, world->why, sizeof(world->why)))
        return violation(world, "result");
    if (check) {
        if (!compare_live(world, 1)) {
            world->failed = got.error != ENOSPC; /* then a part may be there: not for us to judge */
            return world->failed ? violation(world, "result") : false;
        }
        set_tolerance(world, &step->op, &got, &before);
    }
    if (!play_step(world, from, returned, check))
        return false;
    /* A model that has seen the operation, and its times. */
    return oracle_judge(&world->oracle[0], &step->op, now, &got, world->why, sizeof(world->why));
}

static void sync_live(struct world *world)
{
    size_t from = world->trace[0].count;

    (void)fs_sync(world->image.fs);
    play(world, from, world->trace[0].count, ALLOW_BEFORE, false);
}

bool world_run(struct world *world, struct program *program)
{
    bool go_on = true, synced = false;

    start(world, program);
    play(world, 0, world->trace[0].count, 0, false);
    for (unsigned i = 0; go_on && i < program->count; i++) {
        world->step = i;
        if (program->step[i].checked && program->synced && !synced) {
            sync_live(world);
            synced = true;
        }
        go_on = run_step(world, &program->step[i]);
    }
    stop(world);
    return !world->failed;
}

/* Long ones have so many lines that images say little about each. */
static void shorten(struct op *op, struct rng *rng)
{
    if (op->kind == OP_REMOUNT)
        op->kind = OP_SYNC;
    if (op->kind == OP_STORE) /* here the same, but for what a crash may leave */
        op->kind = OP_WRITE;
    if (op->kind == OP_WRITE || op->kind == OP_COPY) {
        if (op->length > 20000 && rng_chance(rng, 90))
            op->length %= 20000;
        op->offset %= 1u << 20;
        op->offset2 %= 1u << 20;
        op->length += op->length == 0;
    }
}

/* Steps that leave little space. */
static void fill(struct world *world, struct program *program)
{
    struct step *step = &program->step[program->count];
    struct fs_statfs statfs;

    fs_statfs(world->image.fs, &statfs);
    if (statfs.available < SPACE_LEFT)
        return;
    memset(step, 0, 3 * sizeof(*step));
    step[0].op = (struct op){ .kind = OP_CREATE, .slot = 7, .mode = 0600, .flags = O_RDWR };
    step[0].op.path = (struct path){ 1, { 46 } };
    step[1].op = (struct op){ .kind = OP_FALLOCATE, .slot = 7 };
    step[1].op.length = (statfs.available - SPACE_LEFT) * CHUNK;
    step[2].op = (struct op){ .kind = OP_CLOSE, .slot = 7 };
    program->count += 3;
}

void world_generate(struct world *world, struct program *program)
{
    struct generator generator = { .rng = { program->seed }, .remounts = true };
    unsigned wanted = program->count + program->wanted;
    struct rng rng = { ~program->seed };
    bool quiet = world->quiet;

    world->quiet = true;
    start(world, program);
    generator.oracle = &world->oracle[1];
    for (unsigned i = 0; i < wanted; i++) {
        struct step *step = &program->step[i];

        world->step = i;
        if (i == program->count && program->full) {
            fill(world, program);
            wanted += program->count - i;
            program->full = false;
        }
        if (i >= program->count) {
            *step = (struct step){ .checked = true };
            generate(&generator, &step->op);
            shorten(&step->op, &rng);
            step->row = row_of_kind(step->op.kind);
        }
        if (!run_step(world, step)) {
            wanted = i + 1;
            break;
        }
    }
    stop(world);
    program->count = wanted;
    program->step[program->count++] = (struct step){ .extra = EXTRA_UNMOUNT,
                                                     .checked = program->seed % 8 == 0,
                                                     .row = row_of_name("unmount") };
    world->quiet = quiet;
}
