/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"
#include "engine.h"
#include "fs/range_op.h"

#include <err.h>
#include <errno.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- one program ---- */

struct run_shared *run_shared_make(uint64_t ops)
{
    size_t size = sizeof(struct run_shared) + ops * sizeof(struct op);
    struct run_shared *shared =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (shared == MAP_FAILED)
        err(2, "memory of the program");
    return shared;
}

struct world {
    const struct run_options *options;
    struct run_shared *shared;
    struct image image;
    struct engine engine;
    struct oracle oracle;
    struct generator generator;
};

static void world_start(struct world *world)
{
    struct fs_request rq = { 0 };
    struct fs_attr attr;
    struct attr root;

    if (fs_getattr(world->image.fs, &rq, 1, &attr) < 0)
        errx(2, "there is no root");
    engine_attr(&attr, &root);
    world->engine = (struct engine){ .image = &world->image, .root = 1 };
    oracle_open(&world->oracle, false, &root);
    world->generator = (struct generator){ .rng = { world->options->seed },
                                           .oracle = &world->oracle,
                                           .remounts = true,
                                           .large = world->options->large };
}

/* A range to be zeroed for which there was no space: of its old bytes, any block may be zero now
 * and none may be anything else. The model takes what it finds. */
static bool adopt_zeroed(struct world *world, const struct op *op, char *why, size_t why_size)
{
    struct node *node = world->oracle.slot[op->slot].node;
    uint64_t end = op->offset + op->length;
    struct fs_request rq = { 0 };
    uint8_t is[CHUNK], should[CHUNK];

    if (end > node->size)
        end = node->size;
    for (uint64_t at = op->offset; at < end;) {
        size_t part = CHUNK - at % CHUNK < end - at ? CHUNK - at % CHUNK : end - at;

        if (fs_pread(world->image.fs, &rq, world->engine.slot[op->slot], is, part, at) !=
            (ssize_t)part)
            return false;
        content_read(&node->content, at, should, part);
        if (memcmp(is, should, part) != 0) {
            for (size_t i = 0; i < part; i++)
                if (is[i]) {
                    snprintf(why, why_size, "neither old bytes nor zeros at %llu",
                             (unsigned long long)at);
                    return false;
                }
            content_zero(&node->content, at, at + part);
        }
        at += part;
    }
    return true;
}

static bool world_step(struct world *world, const struct op *op)
{
    struct run_shared *shared = world->shared;
    int64_t before = oracle_now();
    struct result got;

    engine_apply(&world->engine, op, &got);
    tally_note(&shared->tally, op, got.error);
    shared->short_of_space += got.error == ENOSPC;
    if (!oracle_judge(&world->oracle, op, before, &got, shared->why, sizeof(shared->why)))
        return false;
    if (got.error == ENOSPC && op->kind == OP_FALLOCATE && (op->flags & FALLOC_FL_ZERO_RANGE))
        return adopt_zeroed(world, op, shared->why, sizeof(shared->why));
    return true;
}

static bool world_compare(struct world *world)
{
    return engine_compare(&world->engine, &world->oracle, world->shared->why,
                          sizeof(world->shared->why));
}

static bool world_run(struct world *world, bool replay)
{
    const struct run_options *options = world->options;
    struct run_shared *shared = world->shared;
    uint64_t count = replay ? shared->count : options->ops;

    for (uint64_t i = 0; i < count; i++) {
        if (!replay) {
            generate(&world->generator, &shared->op[i]);
            shared->count = i + 1;
        }
        shared->done = i;
        snprintf(shared->why, sizeof(shared->why), "the process ended or hung");
        if (!world_step(world, &shared->op[i]))
            return false;
        if ((i + 1) % options->compare_every == 0 && !world_compare(world))
            return false;
    }
    shared->done = count;
    return world_compare(world);
}

/* Does it twice on one pool: what the second round leaves in use, the first did as well. */
static bool world_cycles(struct world *world, bool replay)
{
    struct run_shared *shared = world->shared;
    struct fs_request rq = { 0 };
    uint64_t used[2];

    for (unsigned round = 0; round < 2; round++) {
        struct fs_attr root, change = { .mode = 0755 };

        if (!world_run(world, replay))
            return false;
        if (!engine_empty(&world->engine, shared->why, sizeof(shared->why)))
            return false;
        oracle_close(&world->oracle);
        if (fs_setattr(world->image.fs, &rq, 1, &change, FS_SET_MODE | FS_SET_UID | FS_SET_GID,
                       &root) < 0)
            errx(2, "the root can not be changed");
        for (unsigned i = 0; i < XATTRS; i++)
            fs_removexattr(world->image.fs, &rq, 1, xattr_string(i));
        fs_sync(world->image.fs);
        fs_getattr(world->image.fs, &rq, 1, &root);
        used[round] = image_blocks_used(&world->image) - root.blocks;
        replay = true;
        world_start(world);
    }
    if (used[0] != used[1]) {
        snprintf(shared->why, sizeof(shared->why),
                 "%llu blocks are in use when all is gone, %llu when it was done once more",
                 (unsigned long long)used[0], (unsigned long long)used[1]);
        return false;
    }
    return true;
}

static void child(const struct run_options *options, struct run_shared *shared, bool replay)
{
    struct world world = { .options = options, .shared = shared };
    bool good;

    if (options->seed % 2)
        range_op_batch = 3; /* many transactions for what else takes one */
    image_create(&world.image, options->pool_size, options->pmem);
    world_start(&world);
    good = options->cycles ? world_cycles(&world, replay) : world_run(&world, replay);
    if (!good) {
        shared->failed = true;
        _exit(1); /* what is half done can not be taken down */
    }
    engine_close_slots(&world.engine);
    oracle_close(&world.oracle);
    image_destroy(&world.image);
    exit(0);
}

bool run_program(const struct run_options *options, struct run_shared *shared, bool replay)
{
    int status;
    pid_t pid;

    shared->failed = false;
    shared->why[0] = 0;
    memset(&shared->tally, 0, sizeof(shared->tally));
    fflush(NULL);
    pid = fork();
    if (pid < 0)
        err(2, "fork");
    if (pid == 0) {
        alarm(options->seconds);
        child(options, shared, replay);
    }
    if (waitpid(pid, &status, 0) < 0)
        err(2, "wait");
    if (WIFSIGNALED(status)) {
        size_t used = strlen(shared->why);

        shared->failed = true;
        snprintf(shared->why + used, sizeof(shared->why) - used, ": %s",
                 strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0) {
        shared->failed = true;
    }
    return !shared->failed;
}

/* ---- shortening ---- */

void run_shrink(const struct run_options *options, struct run_shared *shared, unsigned seconds)
{
    struct run_options shorter = *options;
    uint64_t count = shared->done < shared->count ? shared->done + 1 : shared->count;
    struct run_shared *trial = run_shared_make(count);
    time_t end = time(NULL) + seconds;
    struct op *op = malloc(count * sizeof(*op));

    memcpy(op, shared->op, count * sizeof(*op));
    shorter.compare_every = UINT64_MAX;
    shorter.seconds = 20;
    for (uint64_t part = (count + 1) / 2; part > 0; part = part / 2) {
        bool again = true;

        while (again && time(NULL) < end) {
            again = false;
            for (uint64_t at = 0; at < count && time(NULL) < end;) {
                uint64_t gone = part < count - at ? part : count - at;

                memcpy(trial->op, op, at * sizeof(*op));
                memcpy(trial->op + at, op + at + gone, (count - at - gone) * sizeof(*op));
                trial->count = count - gone;
                if (trial->count == 0 || run_program(&shorter, trial, true)) {
                    at += gone;
                    continue;
                }
                count = trial->done < trial->count ? trial->done + 1 : trial->count;
                memcpy(op, trial->op, count * sizeof(*op));
                strcpy(shared->why, trial->why);
                again = true;
            }
            if (part > 1)
                break;
        }
    }
    memcpy(shared->op, op, count * sizeof(*op));
    shared->count = count;
    free(op);
}
