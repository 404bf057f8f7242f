/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random operations, steered by the model towards such that mean something: most of them succeed,
 * and those that fail do so for every reason there is.
 */
#ifndef DAXFUSE_TEST_MODEL_GENERATE_H
#define DAXFUSE_TEST_MODEL_GENERATE_H

#include "oracle.h"

struct generator {
    struct rng rng;
    struct oracle *oracle;
    bool kernel;   /* what the system's calls allow, as root */
    bool remounts; /* and syncs: what concerns the whole filesystem */
    bool large;    /* writes that fill a small pool */
    bool bytes;    /* only what changes sizes and bytes, on the files that there are */
};

void generate(struct generator *generator, struct op *ret_op);

#endif
