/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sound pools of 8 MiB, made at the start, and where each structure of them lies: what is damaged.
 *
 * A pool is looked at through a private mapping, so that base_restore() costs what was touched. One
 * thread. Whatever goes wrong while the pools are made ends the program.
 */
#ifndef TEST_FUZZ_BASE_H
#define TEST_FUZZ_BASE_H

#include "fs/fs.h"
#include "media/pool.h"

#define BASE_SIZE (8ull << 20)
#define BASE_BLOCKS (BASE_SIZE / DXF_BLOCK_SIZE)

enum base_kind {
    BASE_SMALL,   /* one of each kind of object */
    BASE_RICH,    /* trees of two levels, chains of several blocks, deep directories */
    BASE_CRASHED, /* the same with orphans, intents, and a journal that is live */
    BASE_WIDE,    /* a directory of three levels */
    BASES
};

enum base_class {
    CLASS_SUPER,
    CLASS_RETIRE,
    CLASS_INTENT,
    CLASS_BADBLOCKS,
    CLASS_BITMAP_LINE,
    CLASS_ANCHOR,
    CLASS_INODE,
    CLASS_INODE_LINE,
    CLASS_ORPHAN_LINE,
    CLASS_EXTENT_NODE,
    CLASS_DIR_NODE,
    CLASS_DIR_LEAF,
    CLASS_DIRENT,
    CLASS_CHAIN,
    CLASS_LOG,  /* the line after the last live entry of a log, and the entries */
    CLASS_DATA, /* a file's block */
    CLASS_FREE, /* a free block */
    CLASSES
};

struct base_object {
    uint32_t offset, length; /* bytes */
    uint64_t number;         /* what seals it: number of slot, line or inode, or the owner */
};

struct base_list {
    struct base_object *object;
    size_t count, room;
};

struct base {
    int fd;
    uint8_t *memory; /* private */
    struct base_list list[CLASSES];
    uint32_t log_head[DXF_LOG_COUNT_MAX]; /* where the next entry goes: bytes in the log */
    uint64_t sequence;                    /* the last one of all logs */
};

extern struct base bases[BASES];
extern const struct fs_request base_request;

void bases_make(void);
/* The bytes are again as they were made. */
void base_restore(const struct base *base);
/* Writes the checksum that the object is to have. */
void base_seal(const struct base *base, enum base_class class, const struct base_object *object);

/* Opens memory as a pool, and mounts it. -errno. */
int base_pool(uint8_t *memory, uint64_t size, struct pool **ret_pool);
int base_mount(uint8_t *memory, uint64_t size, struct pool **ret_pool, struct fs **ret_fs);
void base_umount(struct pool *pool, struct fs *fs);
/* A formatted pool without a file over the memory, which is zero. */
void base_format(uint8_t *memory, uint64_t size);

#endif
