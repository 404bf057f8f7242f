/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model: what a filesystem is, in memory, written from the manual pages and shared with nothing
 * under src/. It is told each operation with what the filesystem under test made of it, says
 * whether that is right, and moves on.
 *
 * Where the rules leave room the model follows: no space (nothing happened, or a documented part of
 * it), which errno of two that both apply, where holes are reported, inode numbers and generations,
 * and times, of which it knows a lower bound or, once seen and as long as nothing may move them,
 * the value.
 */
#ifndef DAXFUSE_TEST_MODEL_ORACLE_H
#define DAXFUSE_TEST_MODEL_ORACLE_H

#include "content.h"
#include "program.h"

/* What an operation gave. */
struct result {
    int error;     /* 0 or an errno */
    int64_t value; /* bytes, offsets, lengths, counts */
    uint64_t hash; /* of bytes read, targets, values; of a listing: the sum over its members */
    bool has_attr; /* of what was made or looked up */
    struct attr {
        uint32_t mode, links, uid, gid, major, minor, generation;
        uint64_t ino, size, blocks;
        int64_t mtime, ctime;
    } attr;
    bool little_space; /* an honest ENOSPC */
};

/* A time: `exact` it is value, else at least value. */
struct moment {
    bool exact;
    int64_t value;
};

struct attribute {
    bool present;
    uint32_t length;
    uint8_t *bytes;
};

struct node {
    uint32_t mode, links, uid, gid, major, minor, flags;
    uint64_t size;
    struct content content;
    char *target;
    struct attribute attribute[XATTRS];
    unsigned opens;
    bool far;      /* may have blocks near the end of all files */
    bool linkable; /* a file of O_TMPFILE that never had a name */
    struct moment mtime, ctime;
    uint64_t ino; /* as seen at its birth */
    uint32_t generation;

    /* a directory */
    struct node *parent;
    uint8_t parent_name;
    struct node **child; /* by number of name */
    uint32_t *entry;     /* its place in oracle.entry */
    unsigned entries;
};

struct oracle_entry {
    struct node *dir;
    uint8_t name;
};

struct oracle_slot {
    struct node *node;
    uint32_t flags;
};

struct oracle {
    bool kernel;       /* the operations go through the system's calls */
    uint64_t size_max; /* of a file */
    struct node *root;
    struct oracle_slot slot[SLOTS];
    struct oracle_entry *entry; /* every name there is */
    uint32_t entries, entry_room;
    uint32_t xattr_max; /* a longer value is E2BIG */
};

/* root: the attributes of the root directory, as they are. */
void oracle_open(struct oracle *oracle, bool kernel, const struct attr *root);
void oracle_close(struct oracle *oracle);

/* The wall clock as file times have it, to be taken before the operation is made. */
int64_t oracle_now(void);

/* false: the result is wrong, and why says in which way. */
bool oracle_judge(struct oracle *oracle, const struct op *op, int64_t before,
                  const struct result *got, char *why, size_t why_size);

/* Compares what is known of the node; adopts times that were not known exactly. */
bool oracle_check_attr(struct node *node, const struct attr *attr, char *why, size_t why_size);

/* The node at a path: 0 or an errno. Symlinks are not followed. */
int oracle_resolve(const struct oracle *oracle, const struct path *path, struct node **ret_node);

/* Sum of hashes of names and types, as a listing gives it; "." and ".." left out. */
uint64_t listing_hash(const char *name, size_t length, uint32_t type);

static inline bool node_is(const struct node *node, uint32_t type)
{
    return (node->mode & 0170000) == type;
}

/* ---- between the files of the oracle ---- */

struct judgement {
    const struct op *op;
    const struct result *got;
    int64_t before;
    int error, also; /* expected, and another that is as right; 0 none */
    bool space;      /* ENOSPC is no fault */
    char *why;
    size_t why_size;
};

bool judge_wrong(struct judgement *j, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Whether the operation failed, rightly or not: *ret_ok. Else it succeeded and may be applied. */
bool judge_failed(struct judgement *j, bool *ret_ok);
void node_touch(struct judgement *j, struct node *node, bool mtime, bool ctime);
void node_free(struct oracle *oracle, struct node *node);
void slot_close(struct oracle *oracle, unsigned slot);
void kill_setid(struct node *node);

#define FLAG_IMMUTABLE 0x10u
#define FLAG_APPEND 0x20u
#define FLAGS_FIXED (FLAG_IMMUTABLE | FLAG_APPEND)

bool judge_name(struct oracle *oracle, struct judgement *j);
bool judge_file(struct oracle *oracle, struct judgement *j);
bool judge_attr(struct oracle *oracle, struct judgement *j);

#endif
