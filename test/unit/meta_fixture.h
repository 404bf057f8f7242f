/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A formatted pool in memory with journal, space and meta open; for the tests of meta/. Every call
 * fails the test when something goes wrong.
 */
#ifndef DAXFUSE_TEST_META_FIXTURE_H
#define DAXFUSE_TEST_META_FIXTURE_H

#include "meta/inode.h"
#include "pool_fixture.h"

struct meta_fixture {
    struct pool_fixture below;
    struct pool *pool; /* these three are below's */
    struct journal *journal;
    struct space *space;
    struct meta *meta;
};

void meta_fixture_open(struct meta_fixture *fixture, unsigned megabytes);
void meta_fixture_close(struct meta_fixture *fixture);

/* Closes everything above the bytes and opens it again. */
void meta_fixture_remount(struct meta_fixture *fixture);

/* The same, but nothing is retired before: the journal is replayed. */
void meta_fixture_crash(struct meta_fixture *fixture);

/* A new regular file, committed. */
uint64_t meta_fixture_file(struct meta_fixture *fixture);

/* CPU time of the calling thread: what other programs do meanwhile is not in it. */
double meta_fixture_seconds(void);

#endif
