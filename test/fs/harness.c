/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The runner of the POSIX suite: command line, one child for each case, the count, the cleaning up.
 *
 * Invariants: a case never sees another one's directory, identity, umask, descriptors or signals,
 * because it has a process and a directory of its own; the parent stays root and stays in the
 * suite's directory; a name that is used twice stops the suite, so that a count is a count of
 * cases.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_PASSED = 0, EXIT_FAILED = 10, EXIT_SKIPPED = 11 };

static struct {
    const char *filter;
    bool list;
    bool verbose;
    unsigned int passed, failed, skipped;
    char **names;
    size_t name_count;
    int report; /* in the child: where case_fail() writes */
} suite;

const char *text(const char *format, ...)
{
    static char buffers[16][8192];
    static unsigned int turn;
    char *buffer = buffers[turn++ % ARRAY_COUNT(buffers)];
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(buffer, sizeof(buffers[0]), format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof(buffers[0])) {
        fprintf(stderr, "posix_suite: a text of %d bytes is too long: %.60s\n", length, buffer);
        abort();
    }
    return buffer;
}

const char *text_fill(const char *pattern, const char *value)
{
    const char *filled = "";

    for (const char *hole = strstr(pattern, "%s"); hole; hole = strstr(pattern, "%s")) {
        filled = text("%s%.*s%s", filled, (int)(hole - pattern), pattern, value);
        pattern = hole + 2;
    }
    return text("%s%s", filled, pattern);
}

static void report_write(const char *format, va_list arguments)
{
    char message[1024];
    int length = vsnprintf(message, sizeof(message), format, arguments);

    if (length > 0) {
        size_t bytes = (size_t)length < sizeof(message) ? (size_t)length : sizeof(message) - 1;
        if (write(suite.report, message, bytes) < 0)
            _exit(EXIT_FAILED);
    }
}

void case_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    report_write(format, arguments);
    va_end(arguments);
    _exit(EXIT_FAILED);
}

void case_skip(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    report_write(format, arguments);
    va_end(arguments);
    _exit(EXIT_SKIPPED);
}

/* Takes off what would keep an entry from being removed; errors show when the removal is tried. */
static void flags_clear(int directory, const char *name)
{
    int descriptor = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int flags;

    if (descriptor < 0)
        return;
    if (ioctl(descriptor, FS_IOC_GETFLAGS, &flags) == 0 &&
        (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))) {
        flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
        (void)ioctl(descriptor, FS_IOC_SETFLAGS, &flags);
    }
    close(descriptor);
}

static int tree_remove(int parent, const char *name)
{
    int error = 0;
    struct stat status;

    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!S_ISDIR(status.st_mode)) {
        if (unlinkat(parent, name, 0) == 0)
            return 0;
        if (S_ISREG(status.st_mode))
            flags_clear(parent, name);
        return unlinkat(parent, name, 0) == 0 ? 0 : -errno;
    }

    int descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0)
        return -errno;
    flags_clear(parent, name);
    DIR *stream = fdopendir(descriptor);
    if (!stream) {
        error = -errno;
        close(descriptor);
        return error;
    }
    for (struct dirent *entry = readdir(stream); entry && !error; entry = readdir(stream)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            error = tree_remove(descriptor, entry->d_name);
    }
    closedir(stream);
    if (!error && unlinkat(parent, name, AT_REMOVEDIR) < 0)
        error = -errno;
    return error;
}

static bool name_take(const char *name)
{
    for (size_t i = 0; i < suite.name_count; i++) {
        if (strcmp(suite.names[i], name) == 0) {
            fprintf(stderr, "posix_suite: two cases are called %s\n", name);
            exit(2);
        }
    }
    suite.names = reallocarray(suite.names, suite.name_count + 1, sizeof(*suite.names));
    if (!suite.names || !(suite.names[suite.name_count++] = strdup(name))) {
        perror("posix_suite");
        exit(2);
    }
    if (suite.filter && fnmatch(suite.filter, name, 0) != 0)
        return false;
    if (suite.list)
        puts(name);
    return !suite.list;
}

static void child_enter(const char *directory)
{
    if (chdir(directory) < 0)
        case_fail("chdir %s: %s", directory, error_name(errno));
    umask(0);
    alarm(CASE_SECONDS);
}

static void verdict_count(const char *name, int status, const char *message, int cleaning)
{
    if (WIFSIGNALED(status)) {
        suite.failed++;
        printf("FAIL %s: ended by signal %d%s\n", name, WTERMSIG(status),
               WTERMSIG(status) == SIGALRM ? " (did not end in time)" : "");
    } else if (WEXITSTATUS(status) == EXIT_SKIPPED) {
        suite.skipped++;
        printf("SKIP %s: %s\n", name, message);
    } else if (WEXITSTATUS(status) != EXIT_PASSED) {
        suite.failed++;
        printf("FAIL %s: %s\n", name, message);
    } else if (cleaning) {
        suite.failed++;
        printf("FAIL %s: removing its files: expected ok, got %s\n", name, error_name(-cleaning));
    } else {
        suite.passed++;
        if (suite.verbose)
            printf("ok %s\n", name);
    }
}

static void case_run(const char *name, void (*function)(const void *), const void *argument)
{
    char message[1200];
    size_t length = 0;
    int pipes[2], status;
    const char *directory = text("c%zu", suite.name_count);

    if (pipe2(pipes, O_CLOEXEC) < 0 || mkdir(directory, 0777) < 0) {
        suite.failed++;
        printf("FAIL %s: setting up: %s\n", name, strerror(errno));
        return;
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(pipes[0]);
        suite.report = pipes[1];
        child_enter(directory);
        function(argument);
        _exit(EXIT_PASSED);
    }
    close(pipes[1]);
    while (length < sizeof(message) - 1) {
        ssize_t got = read(pipes[0], message + length, sizeof(message) - 1 - length);
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    message[length] = 0;
    close(pipes[0]);
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        perror("posix_suite");
        exit(2);
    }
    verdict_count(name, status, message, tree_remove(AT_FDCWD, directory));
}

void suite_function(const char *name, void (*function)(const void *argument), const void *argument)
{
    if (name_take(name))
        case_run(name, function, argument);
}

static void script_function(const void *argument)
{
    case_script("%s", (const char *)argument);
}

void suite_script(const char *name, const char *script)
{
    suite_function(name, script_function, script);
}

void suite_script_format(const char *name, const char *format, ...)
{
    char script[8192];
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(script, sizeof(script), format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof(script)) {
        fprintf(stderr, "posix_suite: the script of %s is too long\n", name);
        exit(2);
    }
    suite_script(name, script);
}

void suite_table(const char *area, const struct fs_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        suite_script(text("%s/%s", area, cases[i].name), cases[i].script);
}

static void areas_run(void)
{
    area_open();
    area_create();
    area_link();
    area_rename();
    area_mode();
    area_truncate();
    area_utimes();
    area_timestamps();
    area_io();
    area_allocate();
    area_shift();
    area_xattr();
    area_acl();
    area_flags();
    area_directory();
    area_limits();
    area_permission();
    area_errors();
    area_mmap();
    area_locks();
    area_identity();
}

static int usage(void)
{
    fputs("usage: posix_suite DIR [--list] [--filter GLOB] [--verbose]\n"
          "  Checks the filesystem that DIR is on, in a new directory in DIR. Needs root.\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    const char *directory = NULL;
    char *work;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0)
            suite.list = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            suite.verbose = true;
        else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc)
            suite.filter = argv[++i];
        else if (argv[i][0] != '-' && !directory)
            directory = argv[i];
        else
            return usage();
    }
    if (suite.list) {
        areas_run();
        return 0;
    }
    if (!directory)
        return usage();
    if (geteuid() != 0) {
        fputs("posix_suite: cases take on other users' identities: run it as root\n", stderr);
        return 2;
    }
    work = strdup(text("posix_suite.%d", (int)getpid()));
    umask(0);
    if (!work || chdir(directory) < 0 || mkdir(work, 0755) < 0 || chdir(work) < 0) {
        fprintf(stderr, "posix_suite: %s: %s\n", directory, strerror(errno));
        return 2;
    }
    areas_run();
    if (chdir("..") < 0 || tree_remove(AT_FDCWD, work) < 0) {
        suite.failed++;
        printf("FAIL suite/removed: the suite's directory %s cannot be removed\n", work);
    }
    free(work);
    if (suite.passed + suite.failed + suite.skipped == 0) {
        fputs("posix_suite: no case has a name like this\n", stderr);
        return 2;
    }
    printf("%u passed, %u failed, %u skipped\n", suite.passed, suite.failed, suite.skipped);
    return suite.failed ? 1 : 0;
}
