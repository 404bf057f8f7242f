/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Values of options.
 */
#include "tools/words.h"

#include "base/message.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int words_number(const char *word, const char *value, unsigned least, unsigned most,
                 unsigned *ret_number, char **ret_message)
{
    char *end;

    errno = 0;
    unsigned long number = strtoul(value, &end, 10);
    if (errno || end == value || *end || value[0] == '-' || number < least || number > most)
        return message_set(ret_message, -EINVAL, "%s: a number from %u to %u is needed", word,
                           least, most);
    *ret_number = (unsigned)number;
    return 0;
}

int words_choice(const char *word, const char *value, const char *const *choices,
                 unsigned *ret_choice, char **ret_message)
{
    char text[128] = "";

    for (unsigned i = 0; choices[i]; i++) {
        if (strcmp(value, choices[i]) == 0) {
            *ret_choice = i;
            return 0;
        }
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? ", " : "",
                 choices[i]);
    }
    return message_set(ret_message, -EINVAL, "%s: must be one of: %s", word, text);
}
