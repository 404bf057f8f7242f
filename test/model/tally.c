/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How often each operation was tried, and with which errors it failed.
 */
#include "run.h"

#include <string.h>

void tally_add(struct tally *tally, const struct tally *more)
{
    for (unsigned i = 0; i < OP_KINDS; i++) {
        tally->tried[i] += more->tried[i];
        for (unsigned e = 0; e < TALLY_ERRORS; e++)
            tally->failed[i][e] += more->failed[i][e];
    }
}

void tally_note(struct tally *tally, const struct op *op, int error)
{
    tally->tried[op->kind]++;
    if (error > 0 && error < TALLY_ERRORS)
        tally->failed[op->kind][error]++;
}

bool tally_print(FILE *file, const struct tally *tally, uint64_t least)
{
    uint64_t all = 0, good = 0;
    bool enough = true;

    for (unsigned i = 0; i < OP_KINDS; i++) {
        uint64_t failed = 0;

        for (unsigned e = 0; e < TALLY_ERRORS; e++)
            failed += tally->failed[i][e];
        all += tally->tried[i];
        good += tally->tried[i] - failed;
        if (tally->tried[i] == 0)
            continue;
        fprintf(file, "%-12s tried %8llu succeeded %8llu ", op_names[i],
                (unsigned long long)tally->tried[i],
                (unsigned long long)(tally->tried[i] - failed));
        for (unsigned e = 0; e < TALLY_ERRORS; e++)
            if (tally->failed[i][e])
                fprintf(file, " %s %llu", strerrorname_np((int)e),
                        (unsigned long long)tally->failed[i][e]);
        putc('\n', file);
        if (tally->tried[i] - failed < least) {
            fprintf(file, "%s succeeded too seldom: %llu are wanted\n", op_names[i],
                    (unsigned long long)least);
            enough = false;
        }
    }
    fprintf(file, "all          tried %8llu succeeded %8llu (%.1f %%)\n", (unsigned long long)all,
            (unsigned long long)good, all ? 100.0 * (double)good / (double)all : 0.0);
    if (good * 100 < all * 60) {
        fprintf(file, "too few succeeded: 60 %% are wanted\n");
        enough = false;
    }
    return enough;
}
