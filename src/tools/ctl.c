/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl: looks at a pool, grows it, stops its server, moves bytes of a file. Exit status: 0, 1
 * failed, 2 usage.
 */
#include "tools/ctl.h"
#include "base/log.h"
#include "base/stdfds.h"
#include "media/pool.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
    "Usage: daxfuse-ctl COMMAND [--json] POOL-or-PATH\n"
    "\n"
    "Looks at a daxfuse pool, or gives its server an order. PATH is any path in a mounted pool.\n"
    "\n"
    "  info POOL            what the pool is, how full, who serves it\n"
    "  stat POOL            counters of the server, the journal, space\n"
    "  extents PATH         where a file's bytes lie; PATH in a mount, or POOL:/PATH\n"
    "  mappings POOL        what is mapped directly, and by whom; or PATH: of one file\n"
    "  fallocate PATH       allocates, takes away or moves bytes of a file in a mount\n"
    "  layout POOL          a picture of the pool; --svg FILE draws it to a file\n"
    "  grow POOL SIZE       makes the pool larger; +SIZE adds\n"
    "  stop POOL            ends the server, and waits until it has ended\n"
    "\n"
    "  -j, --json           print one JSON object\n"
    "      --svg FILE       layout: draw to FILE\n"
    "  fallocate, one of:\n"
    "      --collapse       takes the range away; what is behind it moves there\n"
    "      --insert         what is behind the offset moves away; the range is a hole\n"
    "      --punch          the range becomes a hole\n"
    "      --zero           the range becomes zeros, allocated\n"
    "      --allocate       holes of the range are allocated (the default)\n"
    "  and:\n"
    "      --keep-size      with --zero, --allocate: the file becomes no longer\n"
    "  -o, --offset BYTES   where the range begins (0)\n"
    "  -l, --length BYTES   how long it is\n"
    "  -h, --help           show this\n"
    "  -V, --version        show the version\n";

static const struct command {
    const char *name;
    int (*run)(struct ctl *ctl);
    bool size;
} commands[] = {
    { "info", ctl_info, false },           { "stat", ctl_stat, false },
    { "extents", ctl_extents, false },     { "mappings", ctl_mappings, false },
    { "layout", ctl_layout, false },       { "grow", ctl_grow, true },
    { "fallocate", ctl_fallocate, false }, { "stop", ctl_stop, false },
};

/* What each option of fallocate adds to the mode. */
enum { OPTION_COLLAPSE = 256, OPTION_INSERT, OPTION_PUNCH, OPTION_ZERO, OPTION_ALLOCATE };
static const int fallocate_modes[] = {
    [OPTION_COLLAPSE - OPTION_COLLAPSE] = FALLOC_FL_COLLAPSE_RANGE,
    [OPTION_INSERT - OPTION_COLLAPSE] = FALLOC_FL_INSERT_RANGE,
    [OPTION_PUNCH - OPTION_COLLAPSE] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
    [OPTION_ZERO - OPTION_COLLAPSE] = FALLOC_FL_ZERO_RANGE,
    [OPTION_ALLOCATE - OPTION_COLLAPSE] = 0,
};

static int usage_error(const char *text, const char *about)
{
    fprintf(stderr, "daxfuse-ctl: %s%s%s\nTry 'daxfuse-ctl --help'.\n", about ? about : "",
            about ? ": " : "", text);
    return CTL_USAGE;
}

static int parse_options(int argc, char **argv, struct ctl *ctl)
{
    static const struct option options[] = {
        { "json", no_argument, NULL, 'j' },
        { "svg", required_argument, NULL, 'g' },
        { "collapse", no_argument, NULL, OPTION_COLLAPSE },
        { "insert", no_argument, NULL, OPTION_INSERT },
        { "punch", no_argument, NULL, OPTION_PUNCH },
        { "zero", no_argument, NULL, OPTION_ZERO },
        { "allocate", no_argument, NULL, OPTION_ALLOCATE },
        { "keep-size", no_argument, NULL, 'k' },
        { "offset", required_argument, NULL, 'o' },
        { "length", required_argument, NULL, 'l' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "jhVo:l:", options, NULL)) != -1) {
        switch (option) {
        case 'j':
            ctl->json = true;
            break;
        case 'g':
            ctl->svg = optarg;
            break;
        case OPTION_COLLAPSE:
        case OPTION_INSERT:
        case OPTION_PUNCH:
        case OPTION_ZERO:
        case OPTION_ALLOCATE:
            if (ctl->fallocate.given)
                return usage_error("one of --collapse, --insert, --punch, --zero, --allocate",
                                   NULL);
            ctl->fallocate.given = true;
            ctl->fallocate.mode |= fallocate_modes[option - OPTION_COLLAPSE];
            break;
        case 'k':
            ctl->fallocate.mode |= FALLOC_FL_KEEP_SIZE;
            break;
        case 'o':
            ctl->fallocate.offset = optarg;
            break;
        case 'l':
            ctl->fallocate.length = optarg;
            break;
        case 'h':
            fputs(usage_text, stdout);
            exit(CTL_OK);
        case 'V':
            puts("daxfuse-ctl " DAXFUSE_VERSION);
            exit(CTL_OK);
        default:
            fputs("Try 'daxfuse-ctl --help'.\n", stderr);
            return CTL_USAGE;
        }
    }
    return CTL_OK;
}

/* The options of fallocate, with it and without. NULL: they are right. */
static const char *fallocate_wrong(const struct command *command, const struct ctl *ctl)
{
    const int shifts = FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE;

    if (command->run != ctl_fallocate)
        return ctl->fallocate.given || ctl->fallocate.mode || ctl->fallocate.offset ||
                       ctl->fallocate.length
                   ? "only fallocate has a range, and what to do with it"
                   : NULL;
    if (ctl->fallocate.length == NULL)
        return "say how long the range is (--length)";
    if ((ctl->fallocate.mode & shifts) && (ctl->fallocate.mode & FALLOC_FL_KEEP_SIZE))
        return "--collapse and --insert change the size";
    return NULL;
}

static const struct command *parse_command(int argc, char **argv, struct ctl *ctl, int *ret_status)
{
    const struct command *command = NULL;

    *ret_status = CTL_USAGE;
    if (optind == argc) {
        usage_error("say what to do", NULL);
        return NULL;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, argv[optind]) == 0)
            command = &commands[i];
    if (command == NULL) {
        usage_error("there is no such command", argv[optind]);
        return NULL;
    }
    if (argc - optind != (command->size ? 3 : 2)) {
        usage_error(command->size ? "name one pool and its new size" : "name one pool or path",
                    command->name);
        return NULL;
    }
    if (ctl->svg != NULL && command->run != ctl_layout) {
        usage_error("only layout draws", command->name);
        return NULL;
    }
    const char *wrong = fallocate_wrong(command, ctl);
    if (wrong != NULL) {
        usage_error(wrong, command->name);
        return NULL;
    }
    ctl->command = command->name;
    ctl->path = argv[optind + 1];
    if (command->size)
        ctl->size = argv[optind + 2];
    *ret_status = CTL_OK;
    return command;
}

int main(int argc, char **argv)
{
    struct ctl ctl = { .server = -1 };

    if (stdfds_open() < 0)
        return CTL_FAILED;
    log_open("daxfuse-ctl", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    int status = parse_options(argc, argv, &ctl);
    if (status != CTL_OK)
        return status;
    const struct command *command = parse_command(argc, argv, &ctl, &status);
    if (command == NULL)
        return status;
    if (pool_guard_install() < 0) {
        fputs("daxfuse-ctl: signals cannot be caught\n", stderr);
        return CTL_FAILED;
    }
    status = command->run(&ctl);
    ctl_close(&ctl);
    if (fflush(stdout) != 0)
        status = CTL_FAILED;
    return status;
}
