/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sizes as people write and read them. No state; for the commands only.
 */
#ifndef DAXFUSE_TOOLS_SIZE_H
#define DAXFUSE_TOOLS_SIZE_H

#include <stdint.h>

/* A number of bytes: digits, then nothing, K, M, G, T or P, each also with "iB" or "B" behind it,
 * in either case; all are powers of 1024. -EINVAL: not such a thing; -ERANGE: above 2^64. */
int size_parse(const char *text, uint64_t *ret_bytes);

/* "4 KiB", "1.5 GiB", "16 TiB": three digits at most but for whole numbers. Returns buffer. */
#define SIZE_TEXT 32
const char *size_format(uint64_t bytes, char buffer[SIZE_TEXT]);

#endif
