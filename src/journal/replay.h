/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replay of the journal (journal.h), by itself: the part that fsck shares with the server. Called
 * before anything else has looked at the pool's metadata. Takes no lock.
 */
#ifndef DAXFUSE_JOURNAL_REPLAY_H
#define DAXFUSE_JOURNAL_REPLAY_H

#include "media/pool.h"
#include <stdint.h>

/* Replays what is live into the pool's mapping; fills the counts. Idempotent: a crash inside is
 * followed by another replay. A pool that is open read-only or private is replayed in its view. A
 * clean pool is not written to.
 * -EUCLEAN: both retire slots are damaged, an entry breaks J5, or a log has a bad page (nothing was
 * applied); -EIO, -ENOMEM. An invalid tail of a log is an end, not an error. */
struct journal_replayed {
    uint64_t entries;
    uint64_t bytes;
    uint64_t last_sequence;
};
int journal_replay(struct pool *pool, struct journal_replayed *ret_counts);

/* The highest sequence of any entry in the logs, live or not, or SEQUENCE if none is above it: after a replay
 * that is so, but in a pool whose retire slots are sound and wrong (J7). Reads all of the logs. -ENOMEM. */
int journal_newest(struct pool *pool, uint64_t sequence, uint64_t *ret_newest);

#endif
