/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest memory that nobody leaves unnoticed: whatever is mapped by mmap(2), the device's and the VMM's own, lies between
 * 1 MiB on either side that nobody may touch. Linked with --wrap of mmap64 and munmap; nothing else may be mapped.
 */
#ifndef TEST_FUZZ_NEIGHBOURS_H
#define TEST_FUZZ_NEIGHBOURS_H

#include "transport/vhost/device.h"

/* This thread maps the region's pages next, if it does: what they have besides it is poisoned, to the byte behind it,
 * to 8 bytes before it. */
void neighbours_of(const struct vhost_region *region);
/* How much is mapped at present. */
int neighbours_mapped(void);

#endif
