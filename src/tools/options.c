/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options come three ways: ours, those that the kernel's mount takes (passed on), and those that
 * mount(8) and fstab(5) carry for themselves (ignored). Everything else is an error that names it.
 */
#include "tools/options.h"
#include "tools/vhost_options.h"
#include "tools/words.h"

#include "base/message.h"
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_DEFAULT 16
#define THREADS_MAX 1024
#define QUEUE_DEPTH_MAX 1024
#define TIMEOUT_DEFAULT 86400 /* a day: nobody else changes the pool */
#define TIMEOUT_MAX (365 * 86400)

const char options_usage[] =
    "Usage: daxfuse [-f] [-o OPTION[,OPTION...]] POOL [MOUNTPOINT] [--vhost-user SOCKET...]...\n"
    "\n"
    "Serves the pool in the file or device POOL: mounted on MOUNTPOINT, and to guests.\n"
    "\n"
    "  --vhost-user PATH[,OPTION...], --vhost-user fd=N[,OPTION...]\n"
    "                         a socket for a virtual machine; any number of them\n"
    "     tag=NAME            what the guest mounts (daxfuse)\n"
    "     root=FOLDER, ro     what it sees of the pool, and that it may not change it\n"
    "     window=SIZE         of the DAX window (256M); 0: none\n"
    "     mem-slots           with a window: for a VM that is paused and continued\n"
    "     dax=size|inode|always|never, dax-threshold=SIZE, ro-dax\n"
    "     cache=auto|always|never, queues=N\n"
    "  --fd N                 the same as --vhost-user fd=N\n"
    "  --socket-group GROUP   may connect to the sockets, too\n"
    "  --print-capabilities   what this back-end can, for those who manage machines\n"
    "  --sandbox namespace|chroot|none, --seccomp kill|log|none\n"
    "                         what a server with sockets works in (namespace, kill)\n"
    "  -f, --foreground       stay, and log to stderr\n"
    "  -o OPTIONS             comma-separated:\n"
    "     ro, rw              read-only, or not\n"
    "     noatime, atime      reading changes no times, or may\n"
    "     allow_other         others may use the mount (root's mounts: always)\n"
    "     pmem=auto|force|never\n"
    "     durability=auto|power|process\n"
    "     io_uring, no_io_uring, io_uring_q_depth=N\n"
    "     max_threads=N       of the server\n"
    "     timeout=SECONDS     the kernel keeps attributes and names that long (a day)\n"
    "     log=error|warn|info|debug, debug\n"
    "     and, for the kernel: dev, nodev, suid, nosuid, exec, noexec, sync, async, dirsync,\n"
    "     nodiratime, symfollow, nosymfollow, context=, fscontext=, defcontext=, rootcontext=\n"
    "  -h, --help             show this\n"
    "  -V, --version          show the version\n"
    "\n"
    "Exit status: 0 served and ended, 1 usage, 2 the pool is damaged or of an unknown version,\n"
    "16 it is in use, 32 the mount or a socket failed. See daxfuse(8).\n";

static bool in_list(const char *const *list, const char *word)
{
    for (; *list; list++)
        if (strcmp(*list, word) == 0)
            return true;
    return false;
}

static bool has_prefix(const char *const *list, const char *word)
{
    for (; *list; list++)
        if (strncmp(word, *list, strlen(*list)) == 0)
            return true;
    return false;
}

/* For the kernel: appended in their order, of which the last counts. */
static int kernel_add(struct options *options, const char *word)
{
    char *longer;

    if (asprintf(&longer, "%s%s%s", options->kernel, options->kernel[0] ? "," : "", word) < 0)
        return -ENOMEM;
    free(options->kernel);
    options->kernel = longer;
    return 0;
}

static int parse_valued(struct options *options, const char *word, const char *value,
                        char **ret_message)
{
    static const char *const pmem[] = { "auto", "force", "never", NULL };
    static const char *const durability[] = { "auto", "power", "process", NULL };
    static const char *const level[] = { "error", "warn", "info", "debug", NULL };
    struct server_options *server = &options->server;
    size_t length = (size_t)(value - word) - 1;
    unsigned choice = 0;
    int error;

#define IS(name) (length == strlen(name) && memcmp(word, name, length) == 0)
    if (IS("pmem")) {
        error = words_choice(word, value, pmem, &choice, ret_message);
        server->pool_options.pmem = (enum pool_pmem)choice;
    } else if (IS("durability")) {
        error = words_choice(word, value, durability, &choice, ret_message);
        server->pool_options.durability = (enum pool_durability)choice;
    } else if (IS("log")) {
        error = words_choice(word, value, level, &choice, ret_message);
        options->log_level = (enum log_level)choice;
    } else if (IS("io_uring_q_depth")) {
        error =
            words_number(word, value, 1, QUEUE_DEPTH_MAX, &server->door.queue_depth, ret_message);
    } else if (IS("max_threads")) {
        error = words_number(word, value, 1, THREADS_MAX, &server->door.max_threads, ret_message);
    } else if (IS("timeout")) {
        error = words_number(word, value, 0, TIMEOUT_MAX, &server->door.timeout, ret_message);
    } else {
        error = message_set(ret_message, -EINVAL, "unknown option: %s", word);
    }
#undef IS
    return error;
}

static int parse_word(struct options *options, const char *word, char **ret_message)
{
    /* Of fstab(5) and mount(8), and what is so anyway. */
    static const char *const ignored[] = {
        "defaults", "auto",  "noauto", "nofail", "_netdev",  "user",
        "nouser",   "users", "owner",  "group",  "relatime", "default_permissions",
        NULL,
    };
    static const char *const ignored_prefixes[] = { "x-", "X-", "comment=", NULL };
    static const char *const kernels[] = {
        "dev",   "nodev",   "suid",       "nosuid",    "exec",        "noexec", "sync",
        "async", "dirsync", "nodiratime", "symfollow", "nosymfollow", NULL,
    };
    static const char *const kernels_prefixes[] = {
        "context=", "fscontext=", "defcontext=", "rootcontext=", NULL,
    };
    struct server_options *server = &options->server;
    const char *equals = strchr(word, '=');

    if (strcmp(word, "rw") == 0 || strcmp(word, "ro") == 0) {
        bool read_only = word[1] == 'o';
        server->pool_options.read_only = read_only;
        server->fs_options.read_only = read_only;
        server->door.read_only = read_only;
    } else if (strcmp(word, "atime") == 0) {
        server->fs_options.noatime = false;
    } else if (strcmp(word, "noatime") == 0) {
        server->fs_options.noatime = true;
        return kernel_add(options, word);
    } else if (strcmp(word, "allow_other") == 0) {
        server->door.allow_other = true;
    } else if (strcmp(word, "io_uring") == 0) {
        server->door.io_uring = true;
    } else if (strcmp(word, "no_io_uring") == 0) {
        server->door.io_uring = false;
    } else if (strcmp(word, "debug") == 0) {
        server->door.debug = true;
        options->log_level = LOG_LEVEL_DEBUG;
    } else if (in_list(kernels, word) || has_prefix(kernels_prefixes, word)) {
        return kernel_add(options, word);
    } else if (in_list(ignored, word) || has_prefix(ignored_prefixes, word)) {
        return 0;
    } else if (equals) {
        return parse_valued(options, word, equals + 1, ret_message);
    } else {
        return message_set(ret_message, -EINVAL, "unknown option: %s", word);
    }
    return 0;
}

/* All of them are looked at before the first wrong one is reported, so that unknown ones are named
 * together. */
static int parse_list(struct options *options, const char *list, char **ret_message)
{
    char *copy = strdup(list), *rest = NULL;
    int error = 0;

    if (!copy)
        return -ENOMEM;
    for (char *word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        char *message = NULL, *both;
        int result = parse_word(options, word, &message);
        if (result == 0)
            continue;
        error = result;
        if (*ret_message && message && asprintf(&both, "%s; %s", *ret_message, message) >= 0) {
            free(message);
            message = both;
            free(*ret_message);
            *ret_message = NULL;
        }
        if (!*ret_message)
            *ret_message = message;
        else
            free(message);
    }
    free(copy);
    return error;
}

/* Absolute, also where something in it is missing or not to be reached: the one who opens it says so. */
static char *absolute(const char *path)
{
    char *resolved = realpath(path, NULL);
    char *joined, folder[PATH_MAX];

    if (resolved)
        return resolved;
    if (path[0] == '/' || !getcwd(folder, sizeof(folder)))
        return strdup(path);
    return asprintf(&joined, "%s/%s", folder, path) < 0 ? NULL : joined;
}

/* What getopt does not take. It tells the letter, which may be one of several in a word that optind has
 * not passed yet; LETTER is 0 for a long option, WORD is the one before optind. */
static int fail_unknown(int letter, const char *word, char **ret_message)
{
    if (letter == 0)
        return message_set(ret_message, -EINVAL, "unknown option: %s", word);
    if (letter == 'f' || letter == 'h' || letter == 'V') /* that is --foreground=... */
        return message_set(ret_message, -EINVAL, "%s: takes no value", word);
    return message_set(ret_message, -EINVAL, "unknown option: -%c", letter);
}

static int parse_sandbox(struct options *options, const char *value, char **ret_message)
{
    static const char *const modes[] = { "namespace", "chroot", "none", NULL };
    unsigned choice = 0;
    int error = words_choice("--sandbox", value, modes, &choice, ret_message);

    options->server.sandbox.mode = (enum sandbox_mode)(choice + SANDBOX_NAMESPACE);
    return error;
}

static int parse_seccomp(struct options *options, const char *value, char **ret_message)
{
    static const char *const kinds[] = { "kill", "log", "none", NULL };
    unsigned choice = 0;
    int error = words_choice("--seccomp", value, kinds, &choice, ret_message);

    options->server.sandbox.seccomp = (enum sandbox_seccomp)(choice + SECCOMP_KILL);
    return error;
}

/* What was asked for is had, or nothing is served. */
static int check_sandbox(const struct options *options, char **ret_message)
{
    const struct sandbox_options *sandbox = &options->server.sandbox;

    if (options->server.export_count > 0)
        return 0;
    if (sandbox->mode == SANDBOX_NAMESPACE || sandbox->mode == SANDBOX_CHROOT)
        return message_set(ret_message, -EINVAL, "--sandbox: is for a server with --vhost-user");
    if (sandbox->seccomp == SECCOMP_KILL || sandbox->seccomp == SECCOMP_LOG)
        return message_set(ret_message, -EINVAL, "--seccomp: is for a server with --vhost-user");
    return 0;
}

static int parse_words(struct options *options, int argc, char **argv, char **ret_message)
{
    enum { VHOST_USER = 256, FD, SOCKET_GROUP, SANDBOX, SECCOMP, PRINT_CAPABILITIES };
    static const struct option long_options[] = {
        { "vhost-user", required_argument, NULL, VHOST_USER },
        { "fd", required_argument, NULL, FD },
        { "socket-group", required_argument, NULL, SOCKET_GROUP },
        { "sandbox", required_argument, NULL, SANDBOX },
        { "seccomp", required_argument, NULL, SECCOMP },
        { "print-capabilities", no_argument, NULL, PRINT_CAPABILITIES },
        { "foreground", no_argument, NULL, 'f' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { 0 },
    };
    int letter, error;

    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":fo:hV", long_options, NULL)) != -1) {
        switch (letter) {
        case 'f':
            options->foreground = true;
            break;
        case 'o':
            error = parse_list(options, optarg, ret_message);
            if (error)
                return error;
            break;
        case 'h':
            options->help = true;
            return 0;
        case 'V':
            options->version = true;
            return 0;
        case VHOST_USER:
        case FD:
            error = vhost_options_add(options, optarg, letter == FD, ret_message);
            if (error)
                return error;
            break;
        case SOCKET_GROUP:
            options->socket_group = optarg;
            break;
        case SANDBOX:
            error = parse_sandbox(options, optarg, ret_message);
            if (error)
                return error;
            break;
        case SECCOMP:
            error = parse_seccomp(options, optarg, ret_message);
            if (error)
                return error;
            break;
        case PRINT_CAPABILITIES:
            options->print_capabilities = true;
            return 0;
        case ':':
            return optopt < 256
                       ? message_set(ret_message, -EINVAL, "-%c needs a value", optopt)
                       : message_set(ret_message, -EINVAL, "%s needs a value", argv[optind - 1]);
        default:
            return fail_unknown(optopt, argv[optind - 1], ret_message);
        }
    }
    switch (argc - optind) {
    case 0:
        return message_set(ret_message, -EINVAL, "which pool, and where to mount it?");
    case 1:
        if (options->server.export_count > 0)
            return 0;
        return message_set(
            ret_message, -EINVAL,
            "%s: where to mount it? At least one door is needed, a mountpoint or --vhost-user",
            argv[optind]);
    case 2:
        return 0;
    default:
        return message_set(ret_message, -EINVAL, "too many arguments: %s", argv[optind + 2]);
    }
}

/* Like any filesystem of this machine; but what a guest may have written there is nobody's to trust. Users of
 * this machine may not. Before what was asked for, of which the last counts. */
static int kernel_defaults(struct options *options)
{
    const char *defaults = options->server.door.direct ? "nosuid,nodev" : "suid,dev";
    char *all;

    if (asprintf(&all, "%s%s%s", defaults, options->kernel[0] ? "," : "", options->kernel) < 0)
        return -ENOMEM;
    free(options->kernel);
    options->kernel = all;
    return 0;
}

int options_parse(struct options *options, int argc, char **argv, char **ret_message)
{
    bool root = geteuid() == 0;

    *ret_message = NULL;
    *options = (struct options){
        .log_level = LOG_LEVEL_INFO,
        .server.door = {
            .io_uring = true,
            .max_threads = THREADS_DEFAULT,
            .timeout = TIMEOUT_DEFAULT,
            .allow_other = root,
        },
    };
    options->kernel = strdup("");
    if (!options->kernel)
        return -ENOMEM;
    int error = parse_words(options, argc, argv, ret_message);
    if (error || options->help || options->version || options->print_capabilities)
        return error;
    error = check_sandbox(options, ret_message);
    if (error)
        return error;
    error = vhost_options_finish(options, ret_message);
    if (!error && root)
        error = kernel_defaults(options);
    if (error)
        return error;
    options->pool = absolute(argv[optind]);
    if (optind + 1 < argc)
        options->mountpoint = absolute(argv[optind + 1]);
    if (!options->pool || (optind + 1 < argc && !options->mountpoint))
        return -ENOMEM;
    options->server.pool = options->pool;
    options->server.door.source = options->pool;
    options->server.door.mountpoint = options->mountpoint;
    options->server.door.kernel = options->kernel;
    return 0;
}

void options_free(struct options *options)
{
    free(options->pool);
    free(options->mountpoint);
    free(options->kernel);
    vhost_options_free(options);
}
