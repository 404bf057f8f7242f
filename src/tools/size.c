/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sizes as people write and read them.
 */
#include "tools/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char units[] = "KMGTP";

/* The power of 1024 that a suffix stands for, or -1. */
static int unit_shift(const char *suffix)
{
    if (*suffix == '\0' || strcasecmp(suffix, "B") == 0)
        return 0;
    const char *unit = strchr(units, *suffix >= 'a' ? *suffix - 'a' + 'A' : *suffix);
    if (unit == NULL)
        return -1;
    if (suffix[1] != '\0' && strcasecmp(suffix + 1, "B") != 0 && strcasecmp(suffix + 1, "iB") != 0)
        return -1;
    return (int)(unit - units + 1) * 10;
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
    uint64_t value = 0;
    const char *at = text;

    if (*at < '0' || *at > '9')
        return -EINVAL;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return -ERANGE;
    }
    int shift = unit_shift(at);
    if (shift < 0)
        return -EINVAL;
    if (value != 0 && shift > __builtin_clzll(value))
        return -ERANGE;
    *ret_bytes = value << shift;
    return 0;
}

const char *size_format(uint64_t bytes, char buffer[SIZE_TEXT])
{
    unsigned unit = 0;

    while (unit < strlen(units) && bytes >> (10 * (unit + 1)) != 0)
        unit++;
    if (unit == 0) {
        snprintf(buffer, SIZE_TEXT, "%" PRIu64 " bytes", bytes);
        return buffer;
    }
    uint64_t one = 1ull << (10 * unit), whole = bytes / one, rest = bytes % one;
    char letter = units[unit - 1];
    if (rest == 0 || whole >= 100)
        snprintf(buffer, SIZE_TEXT, "%" PRIu64 " %ciB", whole, letter);
    else
        snprintf(buffer, SIZE_TEXT, "%.*f %ciB", whole >= 10 ? 1 : 2, (double)bytes / (double)one,
                 letter);
    return buffer;
}
