/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sentences for people that go with an error, up to who shows them. No state.
 */
#ifndef DAXFUSE_BASE_MESSAGE_H
#define DAXFUSE_BASE_MESSAGE_H

/* Formatted into *ret_message, malloc'ed (NULL without memory), unless ret_message is NULL. Returns ERROR. */
int message_set(char **ret_message, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
