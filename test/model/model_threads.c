/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads: each runs random programs in a folder of its own against a model of its own, and now and
 * then does something in a folder that all share, where nobody can say what must come of it, but
 * what is there in the end must fit together.
 */
#include "engine.h"
#include "generate.h"
#include "run.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SHARED_SLOTS 4u

struct worker {
    pthread_t thread;
    struct image *image;
    uint64_t seed, ops, shared; /* shared: inode number of the common folder */
    struct engine engine;
    struct tally tally;
    bool good;
    char why[1000];
};

/* Anything, on a few names: most of it meets somebody else's work. */
static void chaos(struct worker *worker, struct generator *generator, struct engine *common)
{
    struct result result;
    struct op op;

    generate(generator, &op);
    if (op.kind == OP_SETFLAGS)
        return; /* would make the folder a museum */
    op.slot %= SHARED_SLOTS;
    op.slot2 %= SHARED_SLOTS;
    if (op.offset > 1 << 20)
        op.offset &= 0xfffff;
    for (unsigned i = 0; i < op.path.length; i++)
        op.path.name[i] %= 5;
    for (unsigned i = 0; i < op.path2.length; i++)
        op.path2.name[i] %= 5;
    if (op.path.length > 2)
        op.path.length = 2;
    if (op.path2.length > 2)
        op.path2.length = 2;
    engine_apply(common, &op, &result);
    tally_note(&worker->tally, &op, result.error);
}

static bool work(struct worker *worker, struct oracle *oracle)
{
    struct generator generator = { .rng = { worker->seed }, .oracle = oracle };
    struct engine common = { .image = worker->image, .root = worker->shared };
    struct rng rng = { worker->seed ^ 0x5eed };
    bool good = true;

    for (uint64_t i = 0; good && i < worker->ops; i++) {
        struct result got;
        int64_t before;
        struct op op;

        if (rng_chance(&rng, 25))
            chaos(worker, &generator, &common);
        generate(&generator, &op);
        before = oracle_now();
        engine_apply(&worker->engine, &op, &got);
        tally_note(&worker->tally, &op, got.error);
        good = oracle_judge(oracle, &op, before, &got, worker->why, sizeof(worker->why));
        if (!good) {
            fprintf(stderr, "seed %" PRIu64 ", operation %" PRIu64 ": ", worker->seed, i);
            op_print(stderr, &op);
            fprintf(stderr, "\n%s\n", worker->why);
        } else if ((i + 1) % 1000 == 0 || i + 1 == worker->ops) {
            good = engine_compare(&worker->engine, oracle, worker->why, sizeof(worker->why));
            if (!good)
                fprintf(stderr, "seed %" PRIu64 ", after operation %" PRIu64 ": %s\n", worker->seed,
                        i, worker->why);
        }
    }
    engine_close_slots(&common);
    return good;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct fs_request rq = { .in_group = true };
    struct oracle oracle;
    struct fs_attr attr;
    struct attr root;

    fs_getattr(worker->image->fs, &rq, worker->engine.root, &attr);
    engine_attr(&attr, &root);
    oracle_open(&oracle, false, &root);
    worker->good = work(worker, &oracle);
    oracle_close(&oracle);
    return NULL;
}

/* ---- what must hold of the common folder --------------------------------------------------------- */

#define FOUND_MAX 4096u

struct found {
    struct fs *fs;
    uint64_t dir;
    unsigned depth, dirs, bad;
    uint64_t *below; /* directories seen, walked once the listing lets go of its lock */
    struct {
        uint64_t ino;
        uint32_t links, names;
    } * inode;
    unsigned *count;
};

static int see(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr)
{
    struct found *found = arg;
    unsigned i;

    if (entry->name.bytes[0] == '.')
        return 0;
    if (!attr) {
        fprintf(stderr, "%.*s has no inode\n", (int)entry->name.length, entry->name.bytes);
        found->bad++;
        return 0;
    }
    if (S_ISDIR(attr->mode)) {
        found->below = reallocarray(found->below, found->dirs + 1, sizeof(*found->below));
        found->below[found->dirs++] = entry->ino;
        return 0; /* its reference is given back after the walk */
    }
    for (i = 0; i < *found->count && found->inode[i].ino != entry->ino; i++)
        ;
    if (i < FOUND_MAX) {
        if (i == *found->count)
            (*found->count)++;
        found->inode[i].ino = entry->ino;
        found->inode[i].links = attr->links;
        found->inode[i].names++;
    }
    fs_forget(found->fs, entry->ino, 1);
    return 0;
}

static void walk(struct found *found)
{
    struct fs_request rq = { .in_group = true };
    struct fs_handle *handle;
    struct fs_attr attr;

    if (fs_open_file(found->fs, &rq, found->dir, O_RDONLY, false, &handle) < 0 ||
        fs_readdir(found->fs, &rq, handle, 0, true, see, found) < 0 ||
        fs_getattr(found->fs, &rq, found->dir, &attr) < 0) {
        found->bad++;
        return;
    }
    fs_release(found->fs, handle);
    if (attr.links != found->dirs + 2) {
        fprintf(stderr, "directory %" PRIu64 " has %u links and %u directories\n", found->dir,
                attr.links, found->dirs);
        found->bad++;
    }
    for (unsigned i = 0; i < found->dirs; i++) {
        struct found next = *found;

        next.dir = found->below[i];
        next.dirs = 0;
        next.below = NULL;
        next.depth++;
        if (next.depth < 64)
            walk(&next);
        else
            next.bad++; /* a circle, or deeper than the operations can make */
        found->bad = next.bad;
        fs_forget(found->fs, found->below[i], 1);
    }
    free(found->below);
}

static bool check_common(struct image *image, uint64_t shared)
{
    unsigned count = 0;
    struct found found = { .fs = image->fs,
                           .dir = shared,
                           .inode = calloc(FOUND_MAX, sizeof(*found.inode)),
                           .count = &count };

    walk(&found);
    for (unsigned i = 0; i < count; i++) {
        if (found.inode[i].links == found.inode[i].names)
            continue;
        fprintf(stderr, "inode %" PRIu64 " has %u links and %u names\n", found.inode[i].ino,
                found.inode[i].links, found.inode[i].names);
        found.bad++;
    }
    free(found.inode);
    return found.bad == 0;
}

/* ---- the program ----------------------------------------------------------------------------------- */

static uint64_t make_dir(struct image *image, const char *name)
{
    struct fs_request rq = { .in_group = true };
    struct fs_attr attr;

    if (fs_mkdir(image->fs, &rq, 1, fs_name(name), 0755, &attr) < 0)
        errx(2, "mkdir %s", name);
    return attr.ino;
}

static bool run(struct image *image, unsigned threads, uint64_t seed, uint64_t ops,
                struct tally *tally)
{
    struct worker *worker = calloc(threads, sizeof(*worker));
    uint64_t shared = make_dir(image, "common");
    bool good = true;

    for (unsigned i = 0; i < threads; i++) {
        char name[32];

        snprintf(name, sizeof(name), "thread%u", i);
        worker[i] = (struct worker){ .image = image,
                                     .seed = seed * 1000 + i,
                                     .ops = ops / threads,
                                     .shared = shared,
                                     .engine = { .image = image, .root = make_dir(image, name) } };
    }
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&worker[i].thread, NULL, worker_main, &worker[i]) != 0)
            errx(2, "thread");
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(worker[i].thread, NULL);
        engine_close_slots(&worker[i].engine);
        tally_add(tally, &worker[i].tally);
        good = good && worker[i].good;
    }
    good = check_common(image, shared) && good;
    free(worker);
    return good;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        { "ops", 1, 0, 'o' }, { "seed", 1, 0, 's' }, { "threads", 1, 0, 't' }, { 0 }
    };
    uint64_t ops = 20000, seed = 1;
    unsigned threads = 4;
    struct tally tally = { 0 };
    struct image image;
    struct engine all;
    char why[300];
    bool good;
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (c == 'o')
            ops = strtoull(optarg, NULL, 10);
        else if (c == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (c == 't')
            threads = (unsigned)strtoul(optarg, NULL, 10);
        else
            errx(2, "usage: model_threads [--ops N] [--seed S] [--threads N]");
    }
    image_create(&image, 512u << 20, true);
    good = run(&image, threads ? threads : 1, seed, ops, &tally);
    if (good) {
        all = (struct engine){ .image = &image, .root = 1 };
        good = image_remount(&image, false) == 0 && engine_empty(&all, why, sizeof(why));
        if (!good)
            fprintf(stderr, "%s\n", why);
        image_destroy(&image);
    }
    printf("%u threads, seed %" PRIu64 "\n", threads, seed);
    fflush(stdout);
    good = tally_print(stdout, &tally, 0) && good;
    puts(good ? "no difference" : "FAILED");
    return good ? 0 : 1;
}
