/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Little-endian storage types of the medium and the only ways in and out of them.
 *
 * Each is a structure, so that a value of the medium can not be mixed up with a value of the
 * host: the compiler refuses to add, compare or assign one without saying which way it goes.
 * Any layer may use this; it takes no lock.
 */
#ifndef DAXFUSE_BASE_ENDIAN_H
#define DAXFUSE_BASE_ENDIAN_H

#include <daxfuse/format.h>
#include <endian.h>
#include <stdint.h>

static inline uint16_t le16_get(le16 value)
{
    return le16toh(value.raw);
}

static inline uint32_t le32_get(le32 value)
{
    return le32toh(value.raw);
}

static inline uint64_t le64_get(le64 value)
{
    return le64toh(value.raw);
}

static inline le16 le16_make(uint16_t value)
{
    return (le16){ htole16(value) };
}

static inline le32 le32_make(uint32_t value)
{
    return (le32){ htole32(value) };
}

static inline le64 le64_make(uint64_t value)
{
    return (le64){ htole64(value) };
}

#endif
