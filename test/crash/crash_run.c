/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Crashes programs (world.h) in as many processes as there are CPUs, counts, and makes programs that
 * show a violation short.
 *
 * A program is named by its kind, number, seed and pmem: what it is and which images are looked at
 * follow from these. A violation prints the command line that runs it again.
 */
#include "world.h"

#include "base/log.h"
#include "fs/range_op.h"

#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS_MAX 16u
#define FAILURES_MAX 64u
#define EXPLAINED 4u /* failures that are made short */
#define SECONDS_OF_ONE 300u

enum kind { KIND_SINGLE, KIND_PAIR, KIND_RANDOM, KINDS };
static const char *const kind_names[KINDS] = { "single", "pair", "random" };

/* What to run; the same item is the same run. */
struct item {
    enum kind kind;
    unsigned number;
    uint64_t seed;
    bool pmem;
    unsigned budget;
};

struct failure {
    struct item item;
    char why[2000];
};

struct shared {
    _Atomic uint64_t next; /* item of the plan */
    _Atomic uint64_t distinct;
    _Atomic unsigned failures;
    struct failure failure[FAILURES_MAX];
    struct row_count row[WORKERS_MAX][ROWS_MAX];
    struct item now[WORKERS_MAX];
    char why[2000]; /* of a trial */
};

static struct options {
    uint64_t seed, images, least, programs;
    unsigned seconds, workers, budget;
    int kind; /* -1: all */
    int pmem; /* -1: both */
    int number;
    const char *keep, *single;
    bool no_shrink, first;
} options = { .seed = 1, .kind = -1, .pmem = -1, .number = -1, .budget = 40, .workers = 0 };

static struct shared *shared;
static struct world world;
static struct program program;
static time_t end_time;

/* ---- one item ---- */

static void make_program(const struct item *item)
{
    memset(&program, 0, offsetof(struct program, step));
    program.pmem = item->pmem;
    program.seed = item->seed;
    program.budget = item->budget;
    program.nest = item->kind == KIND_SINGLE ? 30 : 150;
    program.synced = item->seed % 3 == 0;
    program.full = item->seed >> 8 & 1;
    if (item->kind == KIND_SINGLE)
        program_single(&program, item->number);
    else if (item->kind == KIND_PAIR)
        program_pair(&program, item->number);
    else
        program_random(&program, item->seed);
    /* A large tree is slow to look at. */
    if (program.count > 300 && program.budget > 8)
        program.budget = 8;
    /* And so is the recovery of hundreds of orphans. */
    for (unsigned i = 0; i < program.count; i++)
        if (program.step[i].extra == EXTRA_UNNAMED) {
            program.nest = 0;
            program.budget = item->budget < 8 ? item->budget : 8;
        }
    if (item->kind == KIND_RANDOM)
        world_generate(&world, &program);
}

static void ready(struct row_count *row)
{
    static bool created;

    if (!created)
        world_create(&world);
    created = true;
    rows_count();
    world.row = row;
    world.nested_row = row_of_name("recovery");
}

static bool run_item(const struct item *item)
{
    make_program(item);
    return world_run(&world, &program);
}

/* ---- the plan ---- */

static uint64_t scramble(uint64_t x)
{
    struct rng rng = { x };

    return rng_next(&rng);
}

/* The n-th, over and over, of the singles of that name. */
static unsigned named_single(unsigned n)
{
    unsigned named[ROWS_MAX], count = 0;

    for (unsigned i = 0; i < programs_singles(); i++)
        if (strcmp(program_single_name(i), options.single) == 0)
            named[count++] = i;
    if (count == 0)
        errx(2, "no operation is named %s", options.single);
    return named[n % count];
}

/* Of seven items two are single, two pairs, three random; each on both kinds of medium in turn. */
static struct item plan(uint64_t n)
{
    static const uint8_t turn[7] = { KIND_SINGLE, KIND_RANDOM, KIND_PAIR,  KIND_RANDOM,
                                     KIND_SINGLE, KIND_PAIR,   KIND_RANDOM };
    uint64_t round = n / 14, at = n % 14;
    struct item item = { .kind = turn[at % 7], .pmem = at < 7, .budget = options.budget };

    if (options.pmem >= 0) {
        item.pmem = options.pmem;
        round = n / 7;
        at = n % 7;
    }
    if (options.kind >= 0) {
        item.kind = (enum kind)options.kind;
        item.pmem = options.pmem >= 0 ? (bool)options.pmem : n % 2 == 0;
        item.number = (unsigned)(options.pmem >= 0 ? n : n / 2);
        if (options.single)
            item.number = named_single(item.number);
    } else if (item.kind != KIND_RANDOM) {
        item.number = (unsigned)(round * 2 + (at % 7 > 2));
    }
    if (item.kind == KIND_PAIR) /* not in order: a short run sees some of all */
        item.number = (unsigned)((item.number * 7919ull + options.seed) % programs_pairs());
    item.seed = scramble(options.seed * 0x10000000ull + n) >> 1;
    return item;
}

static uint64_t distinct_of(unsigned row)
{
    uint64_t sum = 0;

    for (unsigned w = 0; w < options.workers; w++)
        sum += shared->row[w][row].distinct;
    return sum;
}

/* An operation of which there are not as many images as there should be: its number, or -1. */
static int wanted_single(uint64_t n)
{
    for (unsigned i = 0; options.least && i < programs_singles(); i++) {
        unsigned number = (unsigned)((i + n) % programs_singles());

        if (distinct_of(row_of_name(program_single_name(number))) < options.least)
            return (int)number;
    }
    return -1;
}

static bool has_images(void)
{
    return options.images && atomic_load(&shared->distinct) >= options.images;
}

static bool enough(void)
{
    return (options.first && atomic_load(&shared->failures)) ||
           (options.programs && atomic_load(&shared->next) >= options.programs) ||
           (has_images() && wanted_single(0) < 0) || time(NULL) >= end_time ||
           atomic_load(&shared->failures) >= FAILURES_MAX / 2;
}

static uint64_t sum_distinct(const struct row_count *row)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < ROWS_MAX; i++)
        sum += row[i].distinct;
    return sum;
}

static void note_failure(const struct item *item, const char *why)
{
    unsigned number = atomic_fetch_add(&shared->failures, 1);

    if (number >= FAILURES_MAX)
        return;
    shared->failure[number].item = *item;
    snprintf(shared->failure[number].why, sizeof(shared->failure[number].why), "%s", why);
}

static void work(unsigned number)
{
    uint64_t before = sum_distinct(shared->row[number]);

    ready(shared->row[number]);
    world.cpu = number % 2;
    while (!enough()) {
        uint64_t now;

        shared->now[number] = plan(atomic_fetch_add(&shared->next, 1));
        if (has_images()) {
            shared->now[number].kind = KIND_SINGLE;
            shared->now[number].number =
                (unsigned)wanted_single(shared->now[number].seed % programs_singles());
        }
        alarm(SECONDS_OF_ONE);
        if (!run_item(&shared->now[number]))
            note_failure(&shared->now[number], world.why);
        now = sum_distinct(shared->row[number]);
        atomic_fetch_add(&shared->distinct, now - before);
        before = now;
    }
    _exit(0);
}

static pid_t start_worker(unsigned number)
{
    pid_t pid = fork();

    if (pid < 0)
        err(2, "fork");
    if (pid == 0)
        work(number);
    return pid;
}

static void run_workers(void)
{
    pid_t pid[WORKERS_MAX];
    unsigned running = options.workers;

    for (unsigned i = 0; i < options.workers; i++)
        pid[i] = start_worker(i);
    while (running > 0) {
        int status;
        pid_t ended = wait(&status);
        unsigned i = 0;

        while (i < options.workers && pid[i] != ended)
            i++;
        if (i == options.workers)
            continue;
        running--;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        note_failure(&shared->now[i],
                     WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "the process ended");
        if (!enough()) {
            pid[i] = start_worker(i);
            running++;
        }
    }
}

/* ---- making it short ---- */

/* Whether it left any out. */
static bool keep_steps(const bool *keep)
{
    unsigned kept = 0, count = program.count;

    for (unsigned i = 0; i < count; i++)
        if (keep[i])
            program.step[kept++] = program.step[i];
    program.count = kept;
    return kept < count;
}

/* In a process of its own. true: it fails. */
static bool trial(const struct item *item, const bool *keep)
{
    int status;
    pid_t pid;

    fflush(NULL);
    strcpy(shared->why, "the process ended or hung");
    pid = fork();
    if (pid < 0)
        err(2, "fork");
    if (pid == 0) {
        static struct row_count rows[ROWS_MAX];

        alarm(60);
        ready(rows);
        make_program(item);
        world.shortened = keep && keep_steps(keep);
        if (world_run(&world, &program))
            _exit(0);
        memcpy(shared->why, world.why, sizeof(shared->why));
        _exit(1);
    }
    if (waitpid(pid, &status, 0) < 0)
        err(2, "wait");
    return !WIFEXITED(status) || WEXITSTATUS(status) == 1;
}

/* What a line of a violation says is wrong, without its numbers; empty: nothing. */
static const char *reason(const char **line, char *ret_reason, size_t size)
{
    static const char *const leads[] = { "  before: ", "  after: " };
    const char *at = *line, *end = at + strcspn(at, "\n");
    size_t length = 0;

    *line = *end ? end + 1 : NULL;
    if (strncmp(at, "step ", 5) == 0 && strstr(at, ": "))
        at = strstr(at, ": ") + 2;
    for (unsigned i = 0; i < 2; i++)
        if (strncmp(at, leads[i], strlen(leads[i])) == 0)
            at += strlen(leads[i]);
    if (strncmp(at, "neither ", 8) != 0 && strncmp(at, "not allowed ", 12) != 0 && *at != ' ')
        for (; at < end && length < size - 1; at++)
            if (!isdigit((unsigned char)*at))
                ret_reason[length++] = *at;
    ret_reason[length] = 0;
    return ret_reason;
}

/* Whether two violations have something wrong in common: steps left out can make a program wrong in
 * itself. */
static bool is_alike(const char *why, const char *other)
{
    char one[700], two[700];

    for (const char *line = why; line;) {
        if (!*reason(&line, one, sizeof(one)))
            continue;
        for (const char *at = other; at;)
            if (strcmp(reason(&at, two, sizeof(two)), one) == 0)
                return true;
    }
    return false;
}

/* Leaves steps out as long as it fails like WHY without them, for some seconds. */
static void shrink(const struct item *item, const char *why, bool *keep, unsigned count)
{
    time_t end = time(NULL) + 60;

    for (unsigned part = (count + 1) / 2; part > 0; part /= 2) {
        for (unsigned at = 0; at < count && time(NULL) < end; at += part) {
            bool saved[STEPS_MAX], any = false;

            memcpy(saved, keep, sizeof(saved));
            for (unsigned i = at; i < at + part && i < count; i++) {
                any |= keep[i];
                keep[i] = false;
            }
            if (any && !(trial(item, keep) && is_alike(why, shared->why)))
                memcpy(keep, saved, sizeof(saved));
        }
    }
}

static void print_item(const struct item *item)
{
    printf("  crash_run --kind %s --number %u --seed %" PRIu64 " --pmem %s --budget %u",
           kind_names[item->kind], item->number, item->seed, item->pmem ? "force" : "never",
           item->budget);
}

static void explain(const struct failure *failure)
{
    static bool keep[STEPS_MAX];
    char why[sizeof(shared->why)];
    bool first = true;

    printf("VIOLATION: %s\n", failure->why);
    print_item(&failure->item);
    putchar('\n');
    fflush(stdout);
    memset(keep, true, sizeof(keep));
    if (!trial(&failure->item, NULL)) {
        puts("  it does not show again by itself");
        return;
    }
    memcpy(why, shared->why, sizeof(why));
    {
        static struct row_count rows[ROWS_MAX];

        /* The steps; generating a random one may be what fails. */
        if (failure->item.kind == KIND_RANDOM && strstr(failure->why, "step") == NULL)
            return;
        ready(rows);
        make_program(&failure->item);
    }
    shrink(&failure->item, why, keep, program.count);
    if (!trial(&failure->item, keep) || !is_alike(why, shared->why))
        puts("  (the shortened program does not show it every time)");
    printf("  shortened:\n  %s\n", shared->why);
    for (unsigned i = 0; i < program.count; i++) {
        if (!keep[i])
            continue;
        printf("    %s", program.step[i].checked ? "* " : "  ");
        step_print(stdout, &program.step[i]);
        putchar('\n');
    }
    print_item(&failure->item);
    fputs(" --keep ", stdout);
    for (unsigned i = 0; i < program.count; i++) {
        unsigned last = i;

        if (!keep[i])
            continue;
        while (last + 1 < program.count && keep[last + 1])
            last++;
        printf("%s%u-%u", first ? "" : ",", i, last);
        first = false;
        i = last;
    }
    putchar('\n');
    fflush(stdout);
}

/* ---- the table ---- */

static bool print_table(void)
{
    struct row_count all = { 0 };
    bool good = true;

    printf("%-24s %10s %10s %10s\n", "operation", "images", "distinct", "violations");
    for (unsigned i = 0; i < rows_count(); i++) {
        struct row_count sum = { 0 };

        for (unsigned w = 0; w < options.workers; w++) {
            sum.images += shared->row[w][i].images;
            sum.distinct += shared->row[w][i].distinct;
            sum.violations += shared->row[w][i].violations;
        }
        all.images += sum.images;
        all.distinct += sum.distinct;
        all.violations += sum.violations;
        if (sum.images == 0 && strncmp(row_names[i], "random ", 7) == 0)
            continue; /* looks only: never changes anything */
        printf("%-24s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n", row_names[i], sum.images,
               sum.distinct, sum.violations);
        if (distinct_of(i) < options.least && strncmp(row_names[i], "random ", 7) != 0) {
            printf("  fewer than %" PRIu64 " distinct images\n", options.least);
            good = false;
        }
    }
    printf("%-24s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n", "all", all.images, all.distinct,
           all.violations);
    if (options.images && all.distinct < options.images) {
        printf("fewer than %" PRIu64 " distinct images\n", options.images);
        good = false;
    }
    return good;
}

/* ---- the command line ---- */

static _Noreturn void usage(void)
{
    fputs(
        "usage: crash_run [--seed N] [--seconds N] [--images N] [--least N] [--once]\n"
        "                 [--kind single|pair|random] [--pmem force|never] [--budget N] [--workers N]\n"
        "       crash_run --kind K --number N --seed S --pmem P --budget B [--keep A-B,...]\n"
        "  --once      each operation alone, on both kinds of medium\n"
        "  --single N  the operation of that name, over and over    --programs N  so often\n"
        "  --first     ends at the first violation\n"
        "  --noshrink  tell of violations, do not look for short programs\n"
        "  --images N  until so many distinct images    --least N  of each operation so many\n",
        stderr);
    exit(2);
}

static int index_of(const char *name, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    usage();
}

/* One item again, told by its name. */
static int run_again(void)
{
    struct item item = { .kind = options.kind < 0 ? KIND_SINGLE : (enum kind)options.kind,
                         .number = (unsigned)options.number,
                         .seed = options.seed,
                         .pmem = options.pmem != 0,
                         .budget = options.budget };
    static bool keep[STEPS_MAX];
    const char *at = options.keep;
    bool failed;

    memset(keep, at == NULL, sizeof(keep));
    while (at && *at) {
        char *end;
        unsigned long from = strtoul(at, &end, 10), to = from;

        if (*end == '-')
            to = strtoul(end + 1, &end, 10);
        for (; from <= to && from < STEPS_MAX; from++)
            keep[from] = true;
        at = end + (*end == ',');
        if (end == at)
            break;
    }
    failed = trial(&item, options.keep ? keep : NULL);
    puts(failed ? shared->why : "no violation");
    if (failed && !options.keep && !options.no_shrink) {
        struct failure failure = { .item = item };

        memcpy(failure.why, shared->why, sizeof(failure.why));
        explain(&failure);
    }
    return failed;
}

static void parse_options(int argc, char **argv)
{
    static const struct option long_options[] = {
        { "seed", 1, 0, 's' },     { "seconds", 1, 0, 't' },
        { "images", 1, 0, 'i' },   { "least", 1, 0, 'l' },
        { "workers", 1, 0, 'w' },  { "kind", 1, 0, 'k' },
        { "pmem", 1, 0, 'p' },     { "budget", 1, 0, 'b' },
        { "number", 1, 0, 'n' },   { "keep", 1, 0, 'K' },
        { "noshrink", 0, 0, 'N' }, { "once", 0, 0, 'O' },
        { "single", 1, 0, 'S' },   { "programs", 1, 0, 'P' },
        { "first", 0, 0, 'F' },    { 0 },
    };
    static const char *const media[] = { "never", "force" };
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (c) {
        case 's':
            options.seed = strtoull(optarg, NULL, 10);
            break;
        case 't':
            options.seconds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'i':
            options.images = strtoull(optarg, NULL, 10);
            break;
        case 'l':
            options.least = strtoull(optarg, NULL, 10);
            break;
        case 'w':
            options.workers = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'k':
            options.kind = index_of(optarg, kind_names, KINDS);
            break;
        case 'p':
            options.pmem = index_of(optarg, media, 2);
            break;
        case 'b':
            options.budget = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            options.number = (int)strtoul(optarg, NULL, 10);
            break;
        case 'K':
            options.keep = optarg;
            break;
        case 'O':
            options.kind = KIND_SINGLE;
            options.programs = 2 * programs_singles();
            break;
        case 'S':
            options.kind = KIND_SINGLE;
            options.single = optarg;
            break;
        case 'P':
            options.programs = strtoull(optarg, NULL, 10);
            break;
        case 'F':
            options.first = true;
            break;
        case 'N':
            options.no_shrink = true;
            break;
        default:
            usage();
        }
    }
    if (optind != argc)
        usage();
}

int main(int argc, char **argv)
{
    struct timespec start, end;
    unsigned failures, explained;
    double seconds;
    bool good;

    parse_options(argc, argv);
    range_op_batch = 100; /* so that files of a few hundred extents take several transactions */
    log_open("crash_run", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    setvbuf(stdout, NULL, _IOLBF, 0);
    rows_count();
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        err(2, "memory");
    if (options.number >= 0)
        return run_again();
    if (options.workers == 0)
        options.workers = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (options.workers > WORKERS_MAX)
        options.workers = WORKERS_MAX;
    end_time = time(NULL) + (options.seconds ? options.seconds : 86400 * 7);
    clock_gettime(CLOCK_MONOTONIC, &start);
    run_workers();
    clock_gettime(CLOCK_MONOTONIC, &end);
    seconds = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    good = print_table();
    printf("seed %" PRIu64 ", %" PRIu64 " programs, %.0f s, %.0f distinct images a second\n",
           options.seed, atomic_load(&shared->next), seconds,
           (double)atomic_load(&shared->distinct) / seconds);
    failures = atomic_load(&shared->failures);
    explained = options.no_shrink ? 0 : EXPLAINED;
    for (unsigned i = 0; i < failures && i < explained; i++)
        explain(&shared->failure[i]);
    for (unsigned i = explained; i < failures && i < FAILURES_MAX; i++) {
        printf("VIOLATION: %s\n", shared->failure[i].why);
        print_item(&shared->failure[i].item);
        putchar('\n');
    }
    puts(good && failures == 0 ? "no violation" : "FAILED");
    return good && failures == 0 ? 0 : 1;
}
