/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of `faults` share: the operations that are made to run out of things. Each works on
 * the pool BASE_RICH, leaves "between" and "long" alone, and can be made again after it has failed.
 */
#ifndef TEST_FUZZ_FAULTS_H
#define TEST_FUZZ_FAULTS_H

#include "fs/fs.h"

struct fault_op {
    const char *name;
    int (*run)(struct fs *fs); /* 0 or -errno */
    bool gives_space;          /* may never fail for want of it */
};
extern const struct fault_op fault_ops[]; /* ended by a NULL name */

/* Inode of a name of the root directory; the reference is given back. */
int fault_lookup(struct fs *fs, const char *name, uint64_t *ret_ino);

#endif
