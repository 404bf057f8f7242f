/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the damages of poolpoke share: the cases of each file, and where things are in a pool that
 * poolfill has made (image.h). Names are those of the root directory.
 */
#ifndef TEST_FSCK_POKE_H
#define TEST_FSCK_POKE_H

#include "image.h"

#include <stdbool.h>
#include <stdint.h>

/* The number of a case is that of the finding. */
struct poke_case {
    const char *name;
    void (*run)(void);
    const char *safe, *expected, *except; /* as poolpoke.c tells */
};
/* Each ended by a case without a name. */
extern const struct poke_case poke_pool_cases[], poke_inode_cases[], poke_tree_cases[];

/* The entry of a name, and the leaf it is in (may be NULL). */
struct dxf_dirent *poke_entry(uint64_t dir, const char *name, struct dxf_dir_leaf **ret_leaf);
uint64_t poke_ino(const char *name);
struct dxf_inode *poke_inode(const char *name);
void poke_seal(const char *name);
struct dxf_extent *poke_extent(const char *name);
struct dxf_orphan_line *poke_orphan_line(void);

void poke_flip(void *place);
void poke_set_bit(uint64_t block, bool on);
void poke_symlink_chain(void);

#endif
