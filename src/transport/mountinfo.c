/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A line is "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS", proc(5). */
#include "transport/mountinfo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

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

bool mountinfo_walk(bool (*visit)(void *arg, const struct mountinfo *mount), void *arg)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
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
