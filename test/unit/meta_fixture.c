/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "meta_fixture.h"

#include "base/endian.h"

#include <check.h>
#include <sys/stat.h>
#include <time.h>

static void open_meta(struct meta_fixture *fixture)
{
    fixture->pool = fixture->below.pool;
    fixture->journal = fixture->below.journal;
    fixture->space = fixture->below.space;
    ck_assert_int_eq(meta_open(fixture->pool, fixture->journal, fixture->space, &fixture->meta), 0);
}

void meta_fixture_open(struct meta_fixture *fixture, unsigned megabytes)
{
    pool_fixture_create(&fixture->below, (uint64_t)megabytes << 20);
    ck_assert_int_eq(
        meta_format(fixture->below.pool, fixture->below.journal, fixture->below.space, 0755, 0, 0),
        0);
    open_meta(fixture);
}

void meta_fixture_close(struct meta_fixture *fixture)
{
    meta_close(fixture->meta);
    pool_fixture_destroy(&fixture->below);
}

void meta_fixture_remount(struct meta_fixture *fixture)
{
    meta_close(fixture->meta);
    pool_fixture_reopen(&fixture->below);
    open_meta(fixture);
}

void meta_fixture_crash(struct meta_fixture *fixture)
{
    fixture->pool->failed = true;
    meta_fixture_remount(fixture);
}

uint64_t meta_fixture_file(struct meta_fixture *fixture)
{
    struct dxf_inode *inode;
    struct txn txn;
    uint64_t ino;

    txn_begin(&txn, fixture->space);
    ck_assert_int_eq(inode_alloc(fixture->meta, &txn, 0, &ino, &inode), 0);
    inode->mode = le16_make(S_IFREG | 0644);
    inode->links = le32_make(1);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    return ino;
}

double meta_fixture_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
