/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes pools of the future: sets a field in both superblocks of a pool, and their checksums.
 *
 *   poolsuper POOL version|incompat|ro_compat|compat NUMBER
 */
#include "base/endian.h"
#include "media/validate.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void field_set(struct dxf_super *super, const char *field, uint64_t number)
{
    if (strcmp(field, "version") == 0)
        super->version = le32_make((uint32_t)number);
    else if (strcmp(field, "incompat") == 0)
        super->incompat = le64_make(number);
    else if (strcmp(field, "ro_compat") == 0)
        super->ro_compat = le64_make(number);
    else if (strcmp(field, "compat") == 0)
        super->compat = le64_make(number);
    else
        errx(2, "%s: no such field", field);
}

int main(int argc, char **argv)
{
    static const off_t places[] = { DXF_SUPER_BLOCK, DXF_SPARE_BLOCK };
    struct dxf_super super;

    if (argc != 4) {
        fprintf(stderr, "usage: poolsuper POOL version|incompat|ro_compat|compat NUMBER\n");
        return 2;
    }
    int pool = open(argv[1], O_RDWR | O_CLOEXEC);
    if (pool < 0)
        err(1, "%s", argv[1]);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        off_t offset = places[i] * (off_t)DXF_BLOCK_SIZE;
        if (pread(pool, &super, sizeof(super), offset) != (ssize_t)sizeof(super))
            err(1, "%s: read", argv[1]);
        field_set(&super, argv[2], strtoull(argv[3], NULL, 0));
        seal_super(&super);
        if (pwrite(pool, &super, sizeof(super), offset) != (ssize_t)sizeof(super))
            err(1, "%s: write", argv[1]);
    }
    if (close(pool) < 0)
        err(1, "%s: close", argv[1]);
    return 0;
}
