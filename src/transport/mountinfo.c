/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A line is "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS", proc(5). */
#include "transport/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool is_octal(char digit)
{
    return digit >= '0' && digit <= '7';
}

/* Blanks, newlines and backslashes are written in octal. In place. */
static void unescape(char *text)
{
    char *to = text;

    for (char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && is_octal(from[2]) &&
            is_octal(from[3])) {
            *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

static bool line_parse(char *line, struct mountinfo *mount)
{
    char *separator = strstr(line, " - "), *rest = NULL;
    unsigned major_number, minor_number;

    if (!separator || sscanf(line, "%*d %*d %u:%u", &major_number, &minor_number) != 2)
        return false;
    *separator = '\0';
    char *mountpoint = strtok_r(line, " ", &rest);
    for (int i = 0; i < 4 && mountpoint; i++)
        mountpoint = strtok_r(NULL, " ", &rest);
    char *type = strtok_r(separator + 3, " \n", &rest);
    char *source = strtok_r(NULL, " \n", &rest);
    if (!mountpoint || !type || !source)
        return false;
    unescape(mountpoint);
    unescape(type);
    unescape(source);
    mount->device = makedev(major_number, minor_number);
    mount->mountpoint = mountpoint;
    mount->type = type;
    mount->source = source;
    return true;
}

#define PATH "/proc/self/mountinfo"

/* Read by one thread at a time: they share where they are in it. */
static pthread_mutex_t kept_mutex = PTHREAD_MUTEX_INITIALIZER;
static int kept = -1;

int mountinfo_keep(void)
{
    kept = open(PATH, O_RDONLY | O_CLOEXEC);
    return kept < 0 ? -errno : 0;
}

static FILE *list_open(void)
{
    FILE *file = NULL;
    int fd;

    if (kept < 0)
        return fopen(PATH, "re");
    fd = fcntl(kept, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) == 0)
        file = fdopen(fd, "r");
    if (!file && fd >= 0)
        close(fd);
    return file;
}

static bool walk(bool (*visit)(void *arg, const struct mountinfo *mount), void *arg)
{
    FILE *file = list_open();
    char *line = NULL;
    size_t size = 0;
    bool found = false;

    if (!file)
        return false;
    while (!found && getline(&line, &size, file) > 0) {
        struct mountinfo mount;
        if (line_parse(line, &mount))
            found = visit(arg, &mount);
    }
    free(line);
    fclose(file);
    return found;
}

bool mountinfo_walk(bool (*visit)(void *arg, const struct mountinfo *mount), void *arg)
{
    bool found;

    pthread_mutex_lock(&kept_mutex);
    found = walk(visit, arg);
    pthread_mutex_unlock(&kept_mutex);
    return found;
}
