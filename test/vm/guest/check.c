/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs the checks, each in a process and an empty folder of its own, and prints a line for each:
 *   PASS name | SKIP name: why | FAIL name: why
 * One that hangs or is killed is a failure of its own, and the next runs.
 */
#include <errno.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { EXIT_SKIP = 77 };

struct check_options check_options = { .large = 64 * 1024 * 1024 };

static const struct check *const groups[] = { checks_map, checks_size, checks_use };
static const char *running;

_Noreturn void fail(const char *format, ...)
{
    va_list arguments;
    int error = errno;

    printf("FAIL%s%s: ", running ? " " : "", running ? running : "");
    errno = error; /* for %m */
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
    _exit(1);
}

_Noreturn void check_skip(const char *why)
{
    printf("SKIP %s: %s\n", running, why);
    fflush(stdout);
    _exit(EXIT_SKIP);
}

static void remove_folder(const char *path)
{
    char command[4200];

    snprintf(command, sizeof(command), "rm -rf -- '%s'", path);
    if (system(command) != 0)
        printf("cannot remove %s\n", path);
}

/* A process that waits in the kernel does not die: so we do not wait for it without a limit. */
static bool wait_limited(pid_t child, double limit, int *ret_status)
{
    double end = now() + limit;

    while (now() < end) {
        pid_t pid = waitpid(child, ret_status, WNOHANG);

        if (pid == child)
            return true;
        if (pid < 0)
            die("waitpid");
        usleep(2000);
    }
    kill(-child, SIGKILL);
    return false;
}

static bool run(const struct check *check, const char *folder, double limit)
{
    char path[4096];
    double start = now();
    int status;
    pid_t child;

    running = check->name;
    if (check->dax_only && !check_options.dax) {
        printf("SKIP %s: only with a DAX window\n", check->name);
        return true;
    }
    snprintf(path, sizeof(path), "%s/%s", folder, check->name);
    if (mkdir(path, 0755) < 0)
        die(path);
    child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        setpgid(0, 0);
        if (chdir(path) < 0)
            die(path);
        check->run();
        exit(0);
    }
    if (!wait_limited(child, limit, &status)) {
        printf("FAIL %s: hangs after %.0f s\n", check->name, limit);
        return false;
    }
    remove_folder(path);
    if (WIFSIGNALED(status))
        printf("FAIL %s: killed by signal %d\n", check->name, WTERMSIG(status));
    else if (WEXITSTATUS(status) == 0)
        printf("PASS %s %.2f s\n", check->name, now() - start);
    else if (WEXITSTATUS(status) == 2)
        printf("FAIL %s: could not be made\n", check->name);
    return !WIFSIGNALED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EXIT_SKIP);
}

int check_main(int argc, char **argv)
{
    const char *pattern = "*";
    double limit = 180;
    bool list = false;
    int option, failed = 0, done = 0;

    while ((option = getopt(argc, argv, "dl:n:t:L")) != -1) {
        switch (option) {
        case 'd':
            check_options.dax = true;
            break;
        case 'l':
            check_options.large = number(optarg);
            break;
        case 'n':
            pattern = optarg;
            break;
        case 't':
            limit = (double)number(optarg);
            break;
        case 'L':
            list = true;
            break;
        default:
            return usage();
        }
    }
    if (optind + !list != argc)
        return usage();
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        for (const struct check *check = groups[i]; check->name; check++) {
            if (fnmatch(pattern, check->name, 0) != 0)
                continue;
            if (list)
                printf("%s\n", check->name);
            else
                failed += !run(check, argv[optind], limit);
            done++;
        }
    }
    /* A pattern that is misspelled is no check that passed. */
    return failed || !done;
}
