/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fsck.daxfuse: the command. The check itself is fsck_pool.c and what it calls.
 *
 * Exit status as fsck(8) has it, added together: 0 no errors, 1 errors corrected, 4 errors left,
 * 8 operational error (also: the pool is in use), 16 usage.
 */
#include "tools/fsck.h"
#include "base/log.h"
#include "base/stdfds.h"
#include "tools/size.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_CLEAN = 0, EXIT_FIXED = 1, EXIT_LEFT = 4, EXIT_FAILED = 8, EXIT_USAGE = 16 };

static const char usage_text[] =
    "Usage: fsck.daxfuse [-n | -p | -y] POOL\n"
    "\n"
    "Checks a daxfuse pool that is not served, and repairs it.\n"
    "\n"
    "  -n             change nothing; say what is wrong\n"
    "  -p, -a         repair without questions where nothing can be lost\n"
    "  -y             repair everything without questions\n"
    "                 (without any of these: ask on a terminal, else as -n)\n"
    "  -h, --help     show this\n"
    "  -V, --version  show the version\n"
    "\n"
    "Exit status: 0 no errors, 1 errors corrected, 4 errors left, 8 could not check,\n"
    "16 usage; 5 is 1 and 4.\n";

static void print_summary(const struct pool *pool, const struct fsck_result *result)
{
    char size[SIZE_TEXT], used[SIZE_TEXT];

    printf("%s: %" PRIu64 " inodes, %" PRIu64 " directories, %s of %s used; ", pool->path,
           result->inodes, result->directories,
           size_format(result->blocks_used * DXF_BLOCK_SIZE, used), size_format(pool->size, size));
    if (result->found == 0)
        puts("clean");
    else if (result->left == 0)
        printf("%" PRIu64 " errors, all corrected\n", result->fixed);
    else
        printf("%" PRIu64 " errors corrected, %" PRIu64 " left; run fsck.daxfuse -y to repair what "
               "can be repaired\n",
               result->fixed, result->left);
}

static int check_pool(const char *path, struct fsck_options *options)
{
    const struct pool_options open_options = { .private_map = options->mode == FSCK_CHECK };
    struct fsck_result *result = calloc(1, sizeof(*result));
    char *message = NULL;
    struct pool *pool;
    int status = EXIT_CLEAN;

    fsck_look_at_supers(path, options);
    int error = result != NULL ? pool_open(path, &open_options, &pool, &message) : -ENOMEM;
    if (error < 0) {
        fprintf(stderr, "fsck.daxfuse: %s\n", message ? message : strerror(-error));
        free(message);
        free(result);
        return EXIT_FAILED;
    }
    error = fsck_run(pool, options, result);
    if (error < 0) {
        fprintf(stderr, "fsck.daxfuse: %s: the check ended early: %s\n", path, strerror(-error));
        status = EXIT_FAILED;
    } else {
        print_summary(pool, result);
    }
    if (result->fixed > 0)
        status |= EXIT_FIXED;
    if (result->left > 0)
        status |= EXIT_LEFT;
    pool_close(pool);
    free(result);
    return status;
}

static int usage_error(const char *text)
{
    fprintf(stderr, "fsck.daxfuse: %s\nTry 'fsck.daxfuse --help'.\n", text);
    return EXIT_USAGE;
}

static int parse_options(int argc, char **argv, struct fsck_options *options)
{
    static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int option, given = 0;

    options->mode = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? FSCK_ASK : FSCK_CHECK;
    while ((option = getopt_long(argc, argv, "npayhV", long_options, NULL)) != -1) {
        switch (option) {
        case 'n':
        case 'p':
        case 'a':
        case 'y':
            if (option == 'a')
                option = 'p';
            if (given != 0 && given != option)
                return usage_error("-n, -p and -y exclude each other");
            given = option;
            break;
        case 'h':
            fputs(usage_text, stdout);
            exit(EXIT_CLEAN);
        case 'V':
            puts("fsck.daxfuse " DAXFUSE_VERSION);
            exit(EXIT_CLEAN);
        default:
            return usage_error("there is no such option");
        }
    }
    if (given != 0)
        options->mode = given == 'n' ? FSCK_CHECK : given == 'p' ? FSCK_PREEN : FSCK_YES;
    if (argc - optind != 1)
        return usage_error(optind == argc ? "name the pool to check" : "name one pool");
    return EXIT_CLEAN;
}

int main(int argc, char **argv)
{
    struct fsck_options options = { .out = stdout };

    if (stdfds_open() < 0)
        return EXIT_FAILED;
    log_open("fsck.daxfuse", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    int status = parse_options(argc, argv, &options);
    if (status != EXIT_CLEAN)
        return status;
    if (isatty(STDERR_FILENO))
        options.progress = stderr;
    if (pool_guard_install() < 0) {
        fputs("fsck.daxfuse: signals cannot be caught\n", stderr);
        return EXIT_FAILED;
    }
    status = check_pool(argv[optind], &options);
    if (fflush(stdout) != 0)
        status |= EXIT_FAILED;
    return status;
}
