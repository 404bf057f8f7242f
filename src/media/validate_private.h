/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the two halves of the validator share. Included by validate.c and validate_tree.c only.
 */
#ifndef DAXFUSE_MEDIA_VALIDATE_PRIVATE_H
#define DAXFUSE_MEDIA_VALIDATE_PRIVATE_H

#include "base/endian.h"
#include <daxfuse/format.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The sentences that more than one structure can get. */
#define VALIDATE_BAD_MAGIC "magic does not match"
#define VALIDATE_BAD_CSUM "checksum does not match"
#define VALIDATE_BAD_OWNER "belongs to another inode"
#define VALIDATE_BAD_PLACE "belongs to another block"
#define VALIDATE_BAD_RESERVED "reserved bytes are not zero"

bool validate_is_zero(const void *data, size_t length);

/* A block that an object may point to. */
static inline bool validate_block_ok(uint64_t block, uint64_t blocks)
{
    return block >= DXF_FIRST_FREE_BLOCK && block != DXF_SPARE_BLOCK && block < blocks;
}

/* [start, start + count): count >= 1, nothing of it fixed, all of it in the pool. */
static inline bool validate_blocks_ok(uint64_t start, uint64_t count, uint64_t blocks)
{
    if (count == 0 || start < DXF_FIRST_FREE_BLOCK || start >= blocks || count > blocks - start)
        return false;
    return start > DXF_SPARE_BLOCK || start + count <= DXF_SPARE_BLOCK;
}

/* COUNT extents in ascending order without overlap; *ret_blocks (may be NULL) gets their sum. */
const char *validate_extents(const struct dxf_extent *extents, unsigned count, uint64_t blocks,
                             uint64_t *ret_blocks);

#endif
