/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sentences for people.
 */
#include "base/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int message_set(char **ret_message, int error, const char *format, ...)
{
    va_list args;

    if (!ret_message)
        return error;
    va_start(args, format);
    if (vasprintf(ret_message, format, args) < 0)
        *ret_message = NULL;
    va_end(args);
    return error;
}
