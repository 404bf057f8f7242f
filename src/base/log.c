/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages to stderr or syslog.
 *
 * A message is one line and leaves in one system call, so that lines of several threads do not mix.
 * Control characters become '?': names from the medium or from a client must not be able to forge
 * a line or to drive a terminal. errno is left as it was.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static _Atomic(const char *) log_name = "daxfuse";
static _Atomic int log_target = LOG_TARGET_STDERR;
static _Atomic int log_level = LOG_LEVEL_WARN;

static const struct {
    const char *word;
    int priority;
} levels[] = {
    [LOG_LEVEL_ERROR] = { "error: ", LOG_ERR },
    [LOG_LEVEL_WARN] = { "warning: ", LOG_WARNING },
    [LOG_LEVEL_INFO] = { "", LOG_INFO },
    [LOG_LEVEL_DEBUG] = { "debug: ", LOG_DEBUG },
};

void log_open(const char *name, enum log_target target, enum log_level level)
{
    if (target == LOG_TARGET_SYSLOG)
        openlog(name, LOG_PID | LOG_NDELAY, LOG_DAEMON);
    else if (atomic_load(&log_target) == LOG_TARGET_SYSLOG)
        closelog();
    atomic_store(&log_name, name);
    atomic_store(&log_level, (int)level);
    atomic_store(&log_target, (int)target);
}

void log_connect(const char *name)
{
    openlog(name, LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void log_set_level(enum log_level level)
{
    atomic_store(&log_level, (int)level);
}

static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
    }
}

/* A line that can not be written is lost: there is nobody to tell. */
static void write_line(const char *line, size_t length)
{
    while (length > 0) {
        ssize_t done = write(STDERR_FILENO, line, length);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return;
        line += done;
        length -= (size_t)done;
    }
}

void log_write(enum log_level level, const char *format, ...)
{
    char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 128];
    int saved_errno = errno;
    va_list args;
    int length;

    if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
        return;

    va_start(args, format);
    length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (length < 0)
        goto out;
    make_printable(text);

    if (atomic_load(&log_target) == LOG_TARGET_SYSLOG) {
        syslog(levels[level].priority, "%s%s", levels[level].word, text);
        goto out;
    }
    length = snprintf(line, sizeof(line) - 1, "%.64s: %s%s", atomic_load(&log_name),
                      levels[level].word, text);
    if (length < 0)
        goto out;
    if ((size_t)length > sizeof(line) - 2)
        length = sizeof(line) - 2;
    line[length++] = '\n';
    write_line(line, (size_t)length);
out:
    errno = saved_errno;
}
