/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files mapped through doors, crashed: operations that the model does not know, with a model of their own.
 *
 * There are two files, and two doors, the second of which can revoke. The first file is mapped, and stored
 * to through what the doors show; the second one has blocks beside those of the first, and never changes.
 * Allowed, beyond what world.h says, with S the state before the operation and T the one after:
 *   - of each aligned 8 bytes that were stored through a mapping, and neither fsynced nor unmapped since,
 *     what was there before or what was stored
 *   - while S is seen, T's zeros in what is pinned; of a write into a piece, 8 bytes of either
 *   - until it has returned, blocks that S or T has; those that both have in one place are there
 *   - when an operation has returned, the blocks of the file are where they were while it ran, but for
 *     those past EOF that it has for its mappings: recovery gives these back
 */
#ifndef DAXFUSE_TEST_CRASH_MAPS_H
#define DAXFUSE_TEST_CRASH_MAPS_H

#include <stdbool.h>
#include <stddef.h>

struct world;
struct step;
struct image;
struct extra_state;

/* 0 or -errno; -EBADMSG: the running filesystem is not as it must be. */
int maps_apply(struct world *world, const struct step *step);
/* Makes it any step that may come after another one; its seed says which. What cannot be done then is no
 * step, for it is lenient. */
void maps_random(struct step *step);
/* The doors end, before the filesystem does. KEPT: as a step of the program. */
void maps_end(struct world *world, bool kept);
bool maps_compare(struct world *world, struct image *image, const struct extra_state *state,
                  char *why, size_t why_size);

#endif
