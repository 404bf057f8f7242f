/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UUIDs as text: the bytes in their order, as RFC 4122 writes them. */
#include "base/uuid.h"

#include <stdio.h>

const char *uuid_format(const uint8_t uuid[16], char text[UUID_TEXT])
{
    char *at = text;

    for (int i = 0; i < 16; i++)
        at += sprintf(at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
    return text;
}
