/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An input of the fuzzer: one byte that chooses a pool and what is done to it, then commands of 12 bytes,
 * each of which changes one object. Any bytes are an input; what does not fill a command is left out.
 */
#ifndef TEST_FUZZ_DAMAGE_H
#define TEST_FUZZ_DAMAGE_H

#include "base.h"

#define DAMAGE_BASE_MASK 0x07u
#define DAMAGE_COMPARE 0x08u   /* -n is held against a replay alone */
#define DAMAGE_USE_FIRST 0x10u /* the repair gets what a mount has made of it */
#define DAMAGE_COMMANDS_MAX 64u

struct damage_command {
    uint8_t what;  /* enum damage_op; DAMAGE_SEAL */
    uint8_t class; /* enum base_class */
    uint16_t index, offset, arg;
    uint32_t value;
};
static_assert(sizeof(struct damage_command) == 12, "as it lies in the corpus");

#define DAMAGE_SEAL 0x80u /* the object gets a right checksum afterwards */
enum damage_op {
    DAMAGE_FLIP,
    DAMAGE_SET8,
    DAMAGE_SET16,
    DAMAGE_SET32,
    DAMAGE_SET64,
    DAMAGE_ADD,
    DAMAGE_BLOCK,  /* the number of another object's block */
    DAMAGE_COPY,   /* another object over this one */
    DAMAGE_MOVE,   /* a part of it to elsewhere in it */
    DAMAGE_FILL,   /* bytes of one value */
    DAMAGE_EXTENT, /* an entry of a map */
    DAMAGE_INDEX,  /* an entry of an inner node */
    DAMAGE_LOG,    /* a journal entry with this object as it is now; in place it is whole again */
    DAMAGE_RECORD, /* a journal entry with a record of any kind */
    DAMAGE_OPS
};

const struct base *damage_base(const uint8_t *input, size_t size);
/* Restores the pool and applies the input. */
void damage_apply(const struct base *base, const uint8_t *input, size_t size);
/* How long a file with this pool would be mapped. */
uint64_t damage_pool_size(const struct base *base);
/* In words, on stderr. */
void damage_print(const uint8_t *input, size_t size);

#endif
