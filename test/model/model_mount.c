/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same random operations, through system calls, on two mounted filesystems: one under test and
 * one that is trusted. Result by result, and every so often the whole trees, must be the same; the
 * model steers the operations and decides where both may be right (which errno, where holes are).
 * Neither times nor, in the trees, extended attributes are compared; these are by getxattr and list.
 *
 * One long program of everything, or with --programs N many short ones of what changes sizes and bytes;
 * these collapse and insert by daxfuse_fallocate(), the long one by fallocate(2), under the library.
 */
#include "generate.h"
#include "run.h"
#include "system.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct side {
    const char *folder;
    struct system system;
    struct result got;
    char why[400];
    bool right; /* in the model's eyes */
};

/* ---- one operation ---- */

static bool same_results(const struct result *a, const struct result *b)
{
    if (a->error != b->error || a->value != b->value || a->hash != b->hash ||
        a->has_attr != b->has_attr)
        return false;
    if (!a->has_attr)
        return true;
    return a->attr.mode == b->attr.mode && a->attr.links == b->attr.links &&
           a->attr.uid == b->attr.uid && a->attr.gid == b->attr.gid &&
           a->attr.major == b->attr.major && a->attr.minor == b->attr.minor &&
           (S_ISDIR(a->attr.mode) || a->attr.size == b->attr.size);
}

/* Descriptors, and copies that may be short, are no results to compare. */
static void normalize(const struct op *op, struct result *result)
{
    if (op->kind == OP_CREATE || op->kind == OP_TMPFILE || op->kind == OP_OPEN)
        result->value = 0;
}

/* Where each may be right in its own way: the place of a hole, or of two errors that apply one. */
static bool may_differ(const struct op *op, const struct side *a, const struct side *b)
{
    if (op->kind == OP_SEEK)
        return a->right;
    return a->right && b->right && a->got.error != 0 && b->got.error != 0;
}

/* ---- whole trees ---- */

static int list_names(int fd, char ***ret_names)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;
    char **names = NULL;
    int count = 0;

    if (!dir)
        err(2, "listing");
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lost+found") == 0)
            continue;
        names = reallocarray(names, (size_t)count + 1, sizeof(*names));
        names[count++] = strdup(entry->d_name);
    }
    closedir(dir);
    *ret_names = names;
    return count;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Data of both, hole by hole. */
static bool same_bytes(int a, int b, off_t size)
{
    static uint8_t is[1 << 16], should[1 << 16];

    for (off_t at = 0; at < size;) {
        off_t da = lseek(a, at, SEEK_DATA), db = lseek(b, at, SEEK_DATA), data;
        ssize_t n, m;

        if (da < 0 && db < 0)
            return true;
        data = da < 0 ? db : db < 0 || da < db ? da : db;
        n = pread(a, is, sizeof(is), data);
        m = pread(b, should, sizeof(should), data);
        if (n != m || n <= 0 || memcmp(is, should, (size_t)n) != 0)
            return false;
        at = data + n;
    }
    return true;
}

static bool differs(const char *place, const char *what)
{
    fprintf(stderr, "%.300s: %s differ\n", place, what);
    return false;
}

static bool same_node(int a, int b, const char *name, const char *place)
{
    struct stat sa, sb;
    bool same = true;
    int fa, fb;

    if (fstatat(a, name, &sa, AT_SYMLINK_NOFOLLOW) < 0 ||
        fstatat(b, name, &sb, AT_SYMLINK_NOFOLLOW) < 0)
        return differs(place, "existence");
    if (sa.st_mode != sb.st_mode || sa.st_nlink != sb.st_nlink)
        return differs(place, "modes or links");
    if (sa.st_uid != sb.st_uid || sa.st_gid != sb.st_gid || sa.st_rdev != sb.st_rdev)
        return differs(place, "owners or devices");
    if (!S_ISDIR(sa.st_mode) && sa.st_size != sb.st_size)
        return differs(place, "sizes");
    if (!S_ISREG(sa.st_mode))
        return true;
    fa = openat(a, name, O_RDONLY | O_CLOEXEC);
    fb = openat(b, name, O_RDONLY | O_CLOEXEC);
    same = fa >= 0 && fb >= 0 && same_bytes(fa, fb, sa.st_size);
    close(fa);
    close(fb);
    return same ? true : differs(place, "bytes");
}

static bool same_trees(int a, int b, const char *place)
{
    char **na, **nb;
    int ca = list_names(a, &na), cb = list_names(b, &nb);
    bool same = ca == cb;

    if (ca > 0)
        qsort(na, (size_t)ca, sizeof(*na), by_name);
    if (cb > 0)
        qsort(nb, (size_t)cb, sizeof(*nb), by_name);
    if (!same)
        differs(place, "numbers of names");
    for (int i = 0; same && i < ca; i++) {
        char *below;
        int da, db;

        if (asprintf(&below, "%s/%.20s", place, na[i]) < 0)
            err(2, "memory");
        same = strcmp(na[i], nb[i]) == 0 ? same_node(a, b, na[i], below) : differs(below, "names");
        if (same) {
            da = openat(a, na[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
            db = openat(b, na[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
            if (da >= 0 && db >= 0)
                same = same_trees(da, db, below);
            if (da >= 0)
                close(da);
            if (db >= 0)
                close(db);
        }
        free(below);
    }
    for (int i = 0; i < ca; i++)
        free(na[i]);
    for (int i = 0; i < cb; i++)
        free(nb[i]);
    free(na);
    free(nb);
    return same;
}

/* ---- the program ---- */

static void print_side(const struct side *side)
{
    fprintf(stderr,
            "  %s: %s, value %" PRId64 ", hash %016" PRIx64 ", mode %o, links %u, size %" PRIu64
            "%s%s\n",
            side->folder, side->got.error ? strerrorname_np(side->got.error) : "success",
            side->got.value, side->got.hash, side->got.attr.mode, side->got.attr.links,
            side->got.attr.size, side->right ? "" : "; the model: ", side->right ? "" : side->why);
}

struct history {
    struct op *op;
    uint64_t count;
};

/* The last ones: what was done lately to the files of an operation is mostly what matters. */
static void print_history(const struct history *history, uint64_t last)
{
    uint64_t from = history->count > last ? history->count - last : 0;

    for (uint64_t i = from; i < history->count; i++) {
        fprintf(stderr, "  %8" PRIu64 " ", i);
        op_print(stderr, &history->op[i]);
        putc('\n', stderr);
    }
}

struct counts {
    struct tally tally;
    uint64_t disagreed; /* the model with the trusted side */
    uint64_t holes;     /* seeks that found them elsewhere */
    uint64_t errors;    /* another of two that are right */
};

static bool step(struct side *test, struct side *trusted, struct oracle *oracle,
                 const struct op *op, struct counts *counts)
{
    /* The model changes only when it agrees, so the trusted side is judged last, and both on the
     * model as it was: the side under test only where its answer is another. */
    int64_t before = oracle_now();

    system_apply(&test->system, op, &test->got);
    system_apply(&trusted->system, op, &trusted->got);
    normalize(op, &test->got);
    normalize(op, &trusted->got);
    test->right = trusted->right = true;
    if (!same_results(&test->got, &trusted->got) && (test->got.error != 0 || op->kind == OP_SEEK))
        test->right = oracle_judge(oracle, op, before, &test->got, test->why, sizeof(test->why));
    trusted->right = oracle_judge(oracle, op, before - 20000000, &trusted->got, trusted->why,
                                  sizeof(trusted->why));
    counts->disagreed += !trusted->right;
    tally_note(&counts->tally, op, test->got.error);
    if (same_results(&test->got, &trusted->got))
        return true;
    if (!may_differ(op, test, trusted))
        return false;
    if (op->kind == OP_SEEK)
        counts->holes++;
    else
        counts->errors++;
    return true;
}

struct setting {
    uint64_t ops, programs, seed, every, least;
};

/* One long program in the folders themselves. */
static bool run_long(const struct setting *setting, struct side *test, struct side *trusted,
                     struct counts *counts)
{
    struct history history = { .op = calloc(setting->ops, sizeof(struct op)) };
    struct attr root = { .mode = 040755 };
    struct generator generator;
    struct oracle oracle;
    bool good = true;

    system_open(&test->system, test->folder);
    system_open(&trusted->system, trusted->folder);
    oracle_open(&oracle, true, &root);
    generator = (struct generator){
        .rng = { setting->seed }, .oracle = &oracle, .kernel = true, .remounts = true
    };
    for (uint64_t i = 0; good && i < setting->ops; i++) {
        struct op *op = &history.op[i];

        do
            generate(&generator, op);
        while (op->kind == OP_REMOUNT);
        history.count = i + 1;
        good = step(test, trusted, &oracle, op, counts);
        if (!good) {
            fprintf(stderr, "seed %" PRIu64 ", operation %" PRIu64 " differs; the last ones:\n",
                    setting->seed, i);
            print_history(&history, 25);
            print_side(test);
            print_side(trusted);
        } else if ((i + 1) % setting->every == 0 || i + 1 == setting->ops) {
            good = same_trees(test->system.root, trusted->system.root, "");
            if (!good)
                print_history(&history, 25);
        }
    }
    printf("%s against %s: seed %" PRIu64 ", compared every %" PRIu64
           ", the model disagreed with the trusted side %" PRIu64 " times\n",
           test->folder, trusted->folder, setting->seed, setting->every, counts->disagreed);
    good = tally_print(stdout, &counts->tally, setting->least) && good;
    system_close(&test->system);
    system_close(&trusted->system);
    oracle_close(&oracle);
    free(history.op);
    return good;
}

/* ---- many short programs ---- */

#define PROGRAM_FILES 3u
#define SHIFTS_HALF_OF 20u

static const struct {
    const char *name;
    uint32_t mode;
} fallocate_modes[] = {
    { "allocate", 0 },
    { "allocate-keep", FALLOC_FL_KEEP_SIZE },
    { "punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE },
    { "zero", FALLOC_FL_ZERO_RANGE },
    { "zero-keep", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE },
    { "collapse", FALLOC_FL_COLLAPSE_RANGE },
    { "insert", FALLOC_FL_INSERT_RANGE },
};
#define MODES (sizeof(fallocate_modes) / sizeof(*fallocate_modes))

struct mode_count {
    uint64_t tried, succeeded;
};

static void note_mode(struct mode_count *modes, const struct op *op, int error)
{
    if (op->kind != OP_FALLOCATE && op->kind != OP_SHIFT)
        return;
    for (unsigned i = 0; i < MODES; i++) {
        if (fallocate_modes[i].mode != op->flags)
            continue;
        modes[i].tried++;
        modes[i].succeeded += error == 0;
    }
}

/* false: of the collapses or of the inserts fewer than half succeeded. */
static bool print_modes(const struct mode_count *modes)
{
    bool enough = true;

    for (unsigned i = 0; i < MODES; i++) {
        uint32_t mode = fallocate_modes[i].mode;

        printf("%-13s tried %8" PRIu64 " succeeded %8" PRIu64 " (%.1f %%)\n",
               fallocate_modes[i].name, modes[i].tried, modes[i].succeeded,
               modes[i].tried ? 100.0 * (double)modes[i].succeeded / (double)modes[i].tried : 0.0);
        if ((mode == FALLOC_FL_COLLAPSE_RANGE || mode == FALLOC_FL_INSERT_RANGE) &&
            modes[i].tried >= SHIFTS_HALF_OF && modes[i].succeeded * 2 < modes[i].tried) {
            printf("%s succeeded too seldom: half of them are wanted\n", fallocate_modes[i].name);
            enough = false;
        }
    }
    return enough;
}

/* A folder for one program. */
static void side_enter(struct side *side)
{
    char path[4200];

    snprintf(path, sizeof(path), "%s/program", side->folder);
    if (mkdir(path, 0755) < 0)
        err(2, "%s", path);
    system_open(&side->system, path);
}

static void side_leave(struct side *side)
{
    char path[4200], **names;
    int count = list_names(side->system.root, &names);

    for (int i = 0; i < count; i++) {
        if (unlinkat(side->system.root, names[i], 0) < 0)
            err(2, "%s", names[i]);
        free(names[i]);
    }
    free(names);
    system_close(&side->system);
    snprintf(path, sizeof(path), "%s/program", side->folder);
    if (rmdir(path) < 0)
        err(2, "%s", path);
}

/* The first operations make some files, mostly with bytes in them; all others are about those. */
static void generate_in_program(struct generator *generator, uint64_t number, struct op *op)
{
    uint8_t file = (uint8_t)(number / 2);

    if (file >= PROGRAM_FILES) {
        generate(generator, op);
        return;
    }
    memset(op, 0, sizeof(*op));
    op->seed = rng_next(&generator->rng);
    op->slot = file;
    if (number % 2 == 0) {
        op->kind = OP_CREATE;
        op->flags = O_RDWR | O_CREAT | O_EXCL;
        op->mode = 0644;
        op->path = (struct path){ .length = 1, .name = { file } };
    } else {
        op->kind = OP_WRITE;
        op->length = 1 + rng_below(&generator->rng, rng_chance(&generator->rng, 90) ? 65536 : 10);
    }
}

static bool run_program_of(const struct setting *setting, uint64_t seed, struct side *test,
                           struct side *trusted, struct counts *counts, struct mode_count *modes,
                           struct history *history)
{
    struct attr root = { .mode = 040755 };
    struct generator generator;
    struct oracle oracle;
    bool good = true;

    side_enter(test);
    side_enter(trusted);
    test->system.direct = true;
    oracle_open(&oracle, true, &root);
    generator =
        (struct generator){ .rng = { seed }, .oracle = &oracle, .kernel = true, .bytes = true };
    for (uint64_t i = 0; good && i < setting->ops; i++) {
        history->count = i + 1;
        generate_in_program(&generator, i, &history->op[i]);
        good = step(test, trusted, &oracle, &history->op[i], counts);
        note_mode(modes, &history->op[i], test->got.error);
        if (!good) {
            print_side(test);
            print_side(trusted);
        }
    }
    if (good)
        good = same_trees(test->system.root, trusted->system.root, "");
    oracle_close(&oracle);
    if (good) {
        side_leave(test);
        side_leave(trusted);
        return true;
    }
    fprintf(stderr,
            "a program differs (--programs 1 --ops %" PRIu64 " --seed %" PRIu64 " is it again):\n",
            setting->ops, seed);
    print_history(history, UINT64_MAX);
    return false;
}

/* Each in a folder of its own with new files: all that changes sizes and bytes. */
static bool run_programs(const struct setting *setting, struct side *test, struct side *trusted,
                         struct counts *counts)
{
    struct history history = { .op = calloc(setting->ops, sizeof(struct op)) };
    struct mode_count modes[MODES] = { 0 };
    uint64_t done = 0;
    bool good = true;

    while (good && done < setting->programs) {
        good =
            run_program_of(setting, setting->seed + done, test, trusted, counts, modes, &history);
        done += good;
    }
    printf("%s against %s: %" PRIu64 " programs of %" PRIu64 " operations, seeds from %" PRIu64
           " on: %s; %" PRIu64 " seeks found holes elsewhere, %" PRIu64
           " calls failed with another of two errors that are right\n",
           test->folder, trusted->folder, done, setting->ops, setting->seed,
           good ? "all equal" : "and one that differs", counts->holes, counts->errors);
    good = tally_print(stdout, &counts->tally, 0) && good;
    good = print_modes(modes) && good;
    free(history.op);
    return good;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        { "ops", 1, 0, 'o' },           { "programs", 1, 0, 'p' }, { "seed", 1, 0, 's' },
        { "compare-every", 1, 0, 'e' }, { "least", 1, 0, 'l' },    { 0 }
    };
    struct setting setting = { .seed = 1, .every = 1000 };
    struct side test = { 0 }, trusted = { 0 };
    struct counts counts = { 0 };
    bool good;
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (c == 'o')
            setting.ops = strtoull(optarg, NULL, 10);
        else if (c == 'p')
            setting.programs = strtoull(optarg, NULL, 10);
        else if (c == 's')
            setting.seed = strtoull(optarg, NULL, 10);
        else if (c == 'e')
            setting.every = strtoull(optarg, NULL, 10);
        else if (c == 'l')
            setting.least = strtoull(optarg, NULL, 10);
        else
            optind = argc;
    }
    if (optind + 2 != argc || setting.every == 0)
        errx(2, "usage: model_mount [--ops N] [--programs N] [--seed S] [--compare-every N] "
                "[--least N] TEST TRUSTED");
    if (setting.ops == 0)
        setting.ops = setting.programs ? 40 : 5000;
    test.folder = argv[optind];
    trusted.folder = argv[optind + 1];
    good = setting.programs ? run_programs(&setting, &test, &trusted, &counts)
                            : run_long(&setting, &test, &trusted, &counts);
    puts(good ? "no difference" : "FAILED");
    return good ? 0 : 1;
}
