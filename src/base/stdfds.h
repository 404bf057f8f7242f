/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors 0 to 2, which whoever started us may have closed. Called first in every main, before
 * anything is opened: else a pool gets one of these numbers, and what is logged or printed is written
 * into it.
 */
#ifndef DAXFUSE_BASE_STDFDS_H
#define DAXFUSE_BASE_STDFDS_H

/* Opens /dev/null in the places that are free. 0, or -errno of that: then open nothing else. */
int stdfds_open(void);

#endif
