/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same random operations, through system calls, on two mounted filesystems: one under test and
 * one that is trusted. Result by result, and every so often the whole trees, must be the same; the
 * model steers the operations and decides where both may be right (which errno, where holes are).
 * Neither times nor, in the trees, extended attributes are compared; these are by getxattr and list.
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

/* What was done lately to the files of an operation is mostly what matters. */
static void print_history(const struct history *history)
{
    uint64_t from = history->count > 25 ? history->count - 25 : 0;

    for (uint64_t i = from; i < history->count; i++) {
        fprintf(stderr, "  %8" PRIu64 " ", i);
        op_print(stderr, &history->op[i]);
        putc('\n', stderr);
    }
}

static bool step(struct side *test, struct side *trusted, struct oracle *oracle,
                 const struct op *op, uint64_t *disagreed)
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
    *disagreed += !trusted->right;
    if (same_results(&test->got, &trusted->got) || may_differ(op, test, trusted))
        return true;
    return false;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = { { "ops", 1, 0, 'o' },
                                                  { "seed", 1, 0, 's' },
                                                  { "compare-every", 1, 0, 'e' },
                                                  { "least", 1, 0, 'l' },
                                                  { 0 } };
    uint64_t ops = 5000, seed = 1, every = 1000, least = 0, disagreed = 0;
    struct side test = { 0 }, trusted = { 0 };
    struct tally tally = { 0 };
    struct generator generator;
    struct history history;
    struct oracle oracle;
    struct attr root = { .mode = 040755 };
    bool good = true;
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (c == 'o')
            ops = strtoull(optarg, NULL, 10);
        else if (c == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (c == 'e')
            every = strtoull(optarg, NULL, 10);
        else if (c == 'l')
            least = strtoull(optarg, NULL, 10);
        else
            optind = argc;
    }
    if (optind + 2 != argc || every == 0)
        errx(
            2,
            "usage: model_mount [--ops N] [--seed S] [--compare-every N] [--least N] TEST TRUSTED");
    test.folder = argv[optind];
    trusted.folder = argv[optind + 1];
    system_open(&test.system, test.folder);
    system_open(&trusted.system, trusted.folder);
    oracle_open(&oracle, true, &root);
    generator =
        (struct generator){ .rng = { seed }, .oracle = &oracle, .kernel = true, .remounts = true };
    history = (struct history){ .op = calloc(ops, sizeof(struct op)) };
    for (uint64_t i = 0; good && i < ops; i++) {
        struct op *op = &history.op[i];

        do
            generate(&generator, op);
        while (op->kind == OP_REMOUNT);
        history.count = i + 1;
        good = step(&test, &trusted, &oracle, op, &disagreed);
        tally_note(&tally, op, test.got.error);
        if (!good) {
            fprintf(stderr, "seed %" PRIu64 ", operation %" PRIu64 " differs; the last ones:\n",
                    seed, i);
            print_history(&history);
            print_side(&test);
            print_side(&trusted);
        } else if ((i + 1) % every == 0 || i + 1 == ops) {
            good = same_trees(test.system.root, trusted.system.root, "");
            if (!good)
                print_history(&history);
        }
    }
    printf("%s against %s: seed %" PRIu64 ", compared every %" PRIu64
           ", the model disagreed with the trusted side %" PRIu64 " times\n",
           test.folder, trusted.folder, seed, every, disagreed);
    good = tally_print(stdout, &tally, least) && good;
    puts(good ? "no difference" : "FAILED");
    system_close(&test.system);
    system_close(&trusted.system);
    oracle_close(&oracle);
    free(history.op);
    return good ? 0 : 1;
}
