/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What mutants may say instead of what they take out (mutate.py): stores that are not sent on their way.
 */
#include "media/persist.h"

static inline __attribute__((unused)) void persist_copy_unsent(struct persist *persist, void *to,
                                                               const void *from, size_t length,
                                                               enum persist_class what)
{
    (void)what;
    persist_store(persist, to, from, length);
}

static inline __attribute__((unused)) void persist_set_unsent(struct persist *persist, void *to,
                                                              int value, size_t length,
                                                              enum persist_class what)
{
    uint8_t bytes[4096];

    (void)what;
    __builtin_memset(bytes, value, sizeof(bytes));
    for (size_t part; length > 0; length -= part, to = (uint8_t *)to + part) {
        part = length < sizeof(bytes) ? length : sizeof(bytes);
        persist_store(persist, to, bytes, part);
    }
}
