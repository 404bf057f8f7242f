/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a small, sound pool in memory, and where things are in it. Ends the program when
 * something is not where it should be.
 */
#ifndef TEST_FSCK_IMAGE_H
#define TEST_FSCK_IMAGE_H

#include "base/endian.h"
#include "media/validate.h"

extern uint8_t *image_base;
extern uint64_t image_blocks;
#define IMAGE_SUPER ((struct dxf_super *)(void *)image_base)

void *image_block(uint64_t block);
_Noreturn void image_missing(const char *what);
struct dxf_inode *image_anchor(void);
/* Block of the table, whose map is inline in a small pool. */
void *image_table_block(uint64_t logical);
struct dxf_inode *image_record(uint64_t ino);
struct dxf_bitmap_line *image_inode_line(uint64_t ino);
struct dxf_bitmap_line *image_line(uint64_t block);
/* Is it an allocated block with this header? */
bool image_has_header(uint64_t block, uint32_t magic, uint64_t owner);
/* The n-th block of this kind of an owner. */
void *image_owned(uint32_t magic, uint64_t owner, unsigned level, unsigned n);

#endif
