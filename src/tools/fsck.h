/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check of a pool, as a function: fsck.daxfuse calls it, and so do tests over memory.
 *
 * Owns: the numbers of the findings. It reads through media, its validator and the journal's replay
 * only, so that the checker does not trust the code it checks. One thread; nobody else uses the pool
 * meanwhile.
 */
#ifndef DAXFUSE_TOOLS_FSCK_H
#define DAXFUSE_TOOLS_FSCK_H

#include "media/pool.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The numbers are for ever: a finding that is given up leaves a gap. */
enum fsck_id {
    FSCK_SUPER_PRIMARY = 101,
    FSCK_SUPER_SPARE = 102,
    FSCK_SUPER_DIFFER = 103,
    FSCK_SUPER_MARKED = 104,
    FSCK_RETIRE_SLOT = 105,
    FSCK_RETIRE_BOTH = 106,
    FSCK_JOURNAL_LIVE = 107,
    FSCK_JOURNAL_BAD = 108,
    FSCK_JOURNAL_AHEAD = 109,
    FSCK_BADBLOCKS = 110,
    FSCK_INTENT_LINE = 111,
    FSCK_INTENT_INODE = 112,
    FSCK_INTENT_PENDING = 113,

    FSCK_ANCHOR = 201,
    FSCK_TABLE_MAP = 202,
    FSCK_TABLE_SIZE = 203,
    FSCK_INODE_LINE = 204,
    FSCK_INODE_LEAKED = 205,
    FSCK_INODE_UNMARKED = 206,

    FSCK_INODE_CSUM = 301,
    FSCK_INODE_BAD = 302,
    FSCK_ROOT = 303,
    FSCK_INODE_BLOCKS = 304,
    FSCK_INODE_ORPHAN = 305,
    FSCK_LINKS = 306,
    FSCK_INODE_RESERVED = 307,

    FSCK_EXTENT_NODE = 401,
    FSCK_EXTENT_KEYS = 402,
    FSCK_BLOCK_TWICE = 403,
    FSCK_BLOCK_FIXED = 404,
    FSCK_XATTR = 405,
    FSCK_SYMLINK = 406,

    FSCK_DIR_NODE = 501,
    FSCK_DIR_LEAF = 502,
    FSCK_DIR_ENTRY = 503,
    FSCK_DIR_HASH = 504,
    FSCK_DIR_TARGET = 505,
    FSCK_DIR_TYPE = 506,
    FSCK_DIR_NAME_TWICE = 507,
    FSCK_DIR_SECOND_NAME = 508,
    FSCK_DIR_PARENT = 509,
    FSCK_DIR_COUNTS = 510,
    FSCK_DIR_LOOP = 511,
    FSCK_UNREACHED = 512,

    FSCK_ORPHAN_LINE = 601,
    FSCK_ORPHAN_TABLE = 602,
    FSCK_ORPHAN_PLACE = 603,
    FSCK_ORPHAN_PENDING = 604,

    FSCK_BITMAP_LINE = 701,
    FSCK_BITMAP_LEAK = 702,
    FSCK_BITMAP_MISSING = 703,
};
#define FSCK_ID_MAX 800

enum fsck_severity {
    FSCK_NOTE,   /* what a crash leaves and a mount finishes: no error */
    FSCK_SAFE,   /* repaired by -p: nothing can be lost */
    FSCK_UNSAFE, /* repaired by -y, or after a question: something may be lost */
};

struct fsck_finding {
    enum fsck_id id;
    enum fsck_severity severity;
    const char *text;
    const char *repair; /* what the repair does */
};

/* The table, in ascending order of the numbers, ended by id 0. */
extern const struct fsck_finding fsck_findings[];

enum fsck_mode {
    FSCK_CHECK, /* -n */
    FSCK_PREEN, /* -p */
    FSCK_YES,   /* -y */
    FSCK_ASK,
};

struct fsck_options {
    enum fsck_mode mode; /* all but FSCK_CHECK change the pool */
    FILE *out;           /* findings; NULL: silent */
    FILE *progress;      /* a terminal, or NULL */
    bool primary_bad;    /* seen before the pool was opened, which repairs it */
    bool spare_bad;
};

struct fsck_result {
    uint32_t count[FSCK_ID_MAX]; /* by number */
    uint64_t found;              /* without notes */
    uint64_t fixed;
    uint64_t left;
    uint64_t inodes, directories, blocks_used;
};

/*
 * Replays the journal, checks everything, and repairs what the mode allows. 0: looked at all of it,
 * the result says what was found; else -EIO (the pool can not be written), -ENOMEM, -EROFS.
 * A pool opened read-only or private is replayed and, with a mode other than FSCK_CHECK, repaired in
 * its view only.
 */
int fsck_run(struct pool *pool, const struct fsck_options *options, struct fsck_result *ret_result);

/* Looks at the two superblocks of a file, by reading: which are not valid. For struct fsck_options.
 * Nothing when the file can not be read. */
void fsck_look_at_supers(const char *path, struct fsck_options *options);

#endif
