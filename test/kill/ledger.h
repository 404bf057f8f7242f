/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ledger of the kill test: what each thread of the workload did, kept outside the pool.
 *
 * Owns: the record format of a ledger file, and the model, that is the state which a list of
 * records leads to. Included by kill-load, which writes ledgers, and kill-check, which replays
 * them and compares with what is on the disk. Takes no locks: one model belongs to one thread.
 *
 * A ledger file belongs to one thread and one directory, in which nobody else works. Each operation
 * has two records: BEGIN, written before the system call, and END, written after it returned;
 * or FAILED with the error, after which the thread stops. So exactly one operation at most, the
 * last, can be without END: it was in flight when the server died.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NAME_COUNT 14U          /* names in one directory: n00 ... */
#define OBJECT_COUNT 160U       /* files, links and directories alive in one thread */
#define DIR_LIMIT 8U            /* directories alive in one thread, its root included */
#define XATTR_COUNT 3U          /* user.x0 ... on one file */
#define FILE_LIMIT (192U << 10) /* bytes: the largest file */
#define NO_OBJECT UINT16_MAX

enum op_kind {
    OP_CREATE = 1,
    OP_MKDIR,
    OP_SYMLINK,
    OP_LINK,
    OP_TMPFILE_LINK,
    OP_UNLINK,
    OP_RMDIR,
    OP_RENAME,
    OP_EXCHANGE,
    OP_WRITE,
    OP_APPEND,
    OP_TRUNCATE,
    OP_ALLOCATE,
    OP_ALLOCATE_KEEP,
    OP_PUNCH,
    OP_ZERO,
    OP_COLLAPSE,
    OP_INSERT,
    OP_STORE, /* through a mapping, within the size, and synced */
    OP_SETXATTR,
    OP_REMOVEXATTR,
    OP_CHMOD,
    OP_FSYNC,
    OP_FSYNCDIR,
    OP_KIND_COUNT,
};

enum op_phase { PHASE_BEGIN = 1, PHASE_END, PHASE_FAILED };

/* One record. Host byte order: a ledger is read on the machine that wrote it. */
struct op {
    uint32_t sequence; /* of the operation in its thread, from 1; the same in BEGIN and END */
    uint8_t kind;
    uint8_t phase;
    uint16_t error; /* errno, in FAILED */
    uint16_t dir;   /* object index of the directory */
    uint16_t name;  /* 0 ... NAME_COUNT - 1 */
    uint16_t dir2;  /* second name: link, rename, exchange */
    uint16_t name2;
    uint64_t offset; /* bytes; of xattr operations: which attribute */
    uint64_t length; /* bytes; of truncate: the new size; of chmod: the mode */
    uint64_t key;    /* what the content is made from */
    uint64_t inode;  /* in END: of the file made by create, mkdir, symlink, tmpfile */
    uint64_t time;   /* nanoseconds, CLOCK_REALTIME */
    uint64_t reserved;
};
_Static_assert(sizeof(struct op) == 64, "a ledger record is 64 bytes");

enum object_type { OBJECT_NONE, OBJECT_FILE, OBJECT_DIR, OBJECT_SYMLINK };

struct object {
    enum object_type type;
    uint32_t links;
    mode_t mode;     /* permission bits */
    uint64_t inode;  /* 0: not known, its making was in flight */
    uint64_t key;    /* of a symlink's target */
    uint64_t length; /* of a symlink's target */
    uint64_t size;
    uint8_t *data; /* FILE_LIMIT bytes, zero past size; owned */
    uint64_t xattr_key[XATTR_COUNT];
    uint32_t xattr_length[XATTR_COUNT]; /* 0: not there */
    uint16_t parent, parent_name;       /* of a directory; unused in the root */
    uint16_t entries[NAME_COUNT];       /* of a directory: object or NO_OBJECT */
};

struct model {
    struct object objects[OBJECT_COUNT]; /* [0] is the root */
    unsigned dirs, files;                /* alive */
};

int model_init(struct model *model);
void model_clear(struct model *model);

/*
 * Does what the operation does. The operation must be possible in this state: kill-load makes only
 * such. Returns 0, -ENOMEM, or -EINVAL when it is not possible (a damaged ledger).
 */
int model_apply(struct model *model, const struct op *op);

/* The object of a name, or NULL. The second takes an operation's first name. */
struct object *model_entry(struct model *model, unsigned dir, unsigned name);
struct object *model_target(struct model *model, const struct op *op);

/* True when directory `dir` is `ancestor` or lies below it. */
bool model_below(const struct model *model, unsigned dir, unsigned ancestor);

/* The path from the thread's root, "." for the root itself. False when it does not fit. */
bool model_path(const struct model *model, unsigned dir, char *buf, size_t size);

/* Content: the byte at an offset depends on key and offset only. */
void pattern_fill(uint8_t *buf, uint64_t key, uint64_t offset, uint64_t length);
/* The target of a symlink: `length` characters and a NUL. */
void pattern_target(char *buf, uint64_t key, uint64_t length);
uint64_t pattern_mix(uint64_t value);

const char *op_name(unsigned kind);
