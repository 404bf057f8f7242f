/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random programs of operations on a filesystem in process, each result and, every so often, all
 * that can be seen held against the model. On a difference: the seed, what differs, and a short
 * program that shows it.
 */
#include "run.h"

#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void usage(void)
{
    fputs(
        "usage: model_run [--ops N] [--seed S] [--seeds K] [--compare-every N] [--pool-size BYTES]\n"
        "                 [--pmem force|never] [--least N] [--full] [--cycles] [--shrink SECONDS]\n"
        "  --ops N     operations of all seeds together    --full    programs that fill the pool\n"
        "  --cycles    twice, emptied after each           --least N each kind succeeds so often\n",
        stderr);
    exit(2);
}

static void print_program(const struct run_options *options, const struct run_shared *shared)
{
    fprintf(stderr, "%s\n%" PRIu64 " operations show it (pmem=%s, pool of %" PRIu64 " bytes):\n",
            shared->why, shared->count, options->pmem ? "force" : "never", options->pool_size);
    for (uint64_t i = 0; i < shared->count && i < 200; i++) {
        fputs("  ", stderr);
        op_print(stderr, &shared->op[i]);
        putc('\n', stderr);
    }
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);

    if (!*text)
        usage();
    if (*end == 'M' || *end == 'm')
        value <<= 20, end++;
    if (*end)
        usage();
    return value;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = { { "ops", 1, 0, 'o' },
                                                  { "seed", 1, 0, 's' },
                                                  { "seeds", 1, 0, 'k' },
                                                  { "pmem", 1, 0, 'p' },
                                                  { "least", 1, 0, 'l' },
                                                  { "pool-size", 1, 0, 'z' },
                                                  { "full", 0, 0, 'f' },
                                                  { "cycles", 0, 0, 'c' },
                                                  { "compare-every", 1, 0, 'e' },
                                                  { "shrink", 1, 0, 'h' },
                                                  { 0 } };
    struct run_options options = { .seed = 1,
                                   .ops = 20000,
                                   .compare_every = 1000,
                                   .pool_size = 256u << 20,
                                   .pmem = true,
                                   .seconds = 3600 };
    uint64_t seeds = 1, least = 0, first, space = 0;
    unsigned shrink = 60;
    struct tally tally = { 0 };
    struct run_shared *shared;
    bool good = true;
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (c) {
        case 'o':
            options.ops = number(optarg);
            break;
        case 's':
            options.seed = number(optarg);
            break;
        case 'k':
            seeds = number(optarg);
            break;
        case 'p':
            if (strcmp(optarg, "force") != 0 && strcmp(optarg, "never") != 0)
                usage();
            options.pmem = optarg[0] == 'f';
            break;
        case 'l':
            least = number(optarg);
            break;
        case 'z':
            options.pool_size = number(optarg);
            break;
        case 'f':
            options.large = true;
            break;
        case 'c':
            options.cycles = true;
            break;
        case 'e':
            options.compare_every = number(optarg);
            break;
        case 'h':
            shrink = (unsigned)number(optarg);
            break;
        default:
            usage();
        }
    }
    if (optind != argc || seeds == 0 || options.compare_every == 0)
        usage();
    options.ops = (options.ops + seeds - 1) / seeds;
    first = options.seed;
    shared = run_shared_make(options.ops);
    for (; good && options.seed < first + seeds; options.seed++) {
        good = run_program(&options, shared, false);
        tally_add(&tally, &shared->tally);
        space += shared->short_of_space;
        if (good)
            continue;
        fprintf(stderr, "seed %" PRIu64 ", operation %" PRIu64 ": ", options.seed, shared->done);
        if (shared->done < shared->count)
            op_print(stderr, &shared->op[shared->done]);
        fprintf(stderr, "\n%s\n", shared->why);
        if (shrink > 0) {
            run_shrink(&options, shared, shrink);
            print_program(&options, shared);
        }
    }
    shared->short_of_space = space;
    printf("seeds %" PRIu64 "..%" PRIu64 ", %" PRIu64 " operations each, pmem=%s, pool of %" PRIu64
           " bytes, compared every %" PRIu64 "\n",
           first, first + seeds - 1, options.ops, options.pmem ? "force" : "never",
           options.pool_size, options.compare_every);
    if (good)
        good = tally_print(stdout, &tally, least);
    if (good && options.large && space == 0) {
        puts("the pool never was full");
        good = false;
    }
    puts(good ? "no difference" : "FAILED");
    return good ? 0 : 1;
}
