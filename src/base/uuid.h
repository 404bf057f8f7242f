/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UUIDs as text. Owns nothing.
 */
#ifndef DAXFUSE_BASE_UUID_H
#define DAXFUSE_BASE_UUID_H

#include <stdint.h>

#define UUID_TEXT 37

/* "01234567-89ab-cdef-0123-456789abcdef". Returns text. */
const char *uuid_format(const uint8_t uuid[16], char text[UUID_TEXT]);

#endif
