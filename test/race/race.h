/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The races of faults against take-aways, one program each (race_NAME), shown and prevented.
 *
 *   race_NAME [--lock on|off] [--seconds N] [--iterations N] [--seed N]
 *
 * Each program gives its threads, and what wrong bytes are; race.c has the pool, the doors and the loop. With
 * the range lock off (a seam of test builds) wrong bytes are there within a second; nothing in src/ sleeps
 * for that, threads only give way where locks are taken and let go. With it on there are none, however
 * long.
 *
 * Exit status: 0 no wrong bytes, 1 wrong bytes (said in a line, with when), 2 it could not run.
 */
#ifndef DAXFUSE_TEST_RACE_H
#define DAXFUSE_TEST_RACE_H

#include "fs/fs.h"
#include "window.h"

#include <stdbool.h>
#include <stdint.h>

#define CHUNK_BYTES DAX_CHUNK_SIZE
#define THREADS_MAX 4

struct race {
    const char *name;
    const char *what; /* wrong bytes mean */
    void (*set_up)(void);
    /* One step of each thread, again and again; the first one's are the iterations. With phases, all
     * threads begin each of 0 .. phases - 1 together. */
    void (*thread[THREADS_MAX])(unsigned phase);
    unsigned phases; /* 0: each runs as it can */
};

extern const struct race race; /* the program's */

extern struct fs *fs;
extern const struct fs_request rq;
/* The first two can be revoked, the third cannot. */
extern struct window windows[3];

/* Wrong bytes: printed once; ends the program. */
void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A result that must not be, lock or no lock, is 2: with the lock off nothing is sure, and it is ignored. */
void must(int64_t result, const char *what);
bool lock_is_on(void);

/* A file of this many bytes, all of them a hole. */
struct fs_handle *make_file(const char *name, uint64_t size);
void set_size(struct fs_handle *handle, uint64_t size);
void allocate(struct fs_handle *handle, int mode, uint64_t offset, uint64_t length);

/*
 * Stamps: 64 bytes that say whose they are. Each chunk has some, at places far apart.
 */
#define STAMPS 4u

struct stamp {
    uint64_t owner, place, version, check[5];
};

uint64_t stamp_place(unsigned i); /* within the chunk */
struct stamp stamp_make(uint64_t owner, uint64_t place, uint64_t version);
bool stamp_is_zero(const struct stamp *stamp);
/* Whole, and of this owner. */
bool stamp_is(const struct stamp *stamp, uint64_t owner);

/* Writes the stamps of a chunk through the file. */
void stamps_write(struct fs_handle *handle, uint64_t chunk, uint64_t owner, uint64_t version);
/* Writes all of the chunk, stamps and zeros, so that the next fault finds it ready. */
void chunk_write(struct fs_handle *handle, uint64_t chunk, uint64_t owner, uint64_t version);
/* wrong() unless all of the chunk's stamps, as read from the file, are zero or the owner's. */
void stamps_check(struct fs_handle *handle, uint64_t chunk, uint64_t owner);

/* Maps the chunk for writing; whether it is mapped. */
bool map_chunk(struct window *window, struct fs_handle *handle, uint64_t chunk, uint64_t slot);
void unmap_slot(struct window *window, uint64_t slot);

/*
 * What several races share (users.c).
 */
/* A file of written chunks, each with its number as version; the owner is 'a'. */
struct fs_handle *make_written(const char *name, unsigned chunks);
/* Maps the chunk; while nothing changes (below), what is shown is what is read. */
void use_compared(struct fs_handle *handle, uint64_t chunk);
/* Maps the chunk as its owner 'a' has it: nothing but zeros and what is A's; and A's is stored there. */
void use_owned(struct fs_handle *handle, uint64_t chunk);
/* What was freed becomes B's, who finds nothing but zeros and its own there, and is free again. */
void reuse_freed(struct fs_handle *other, uint64_t version);

/*
 * Operations that change what is read, counted, so that others can tell whether one was under way: what two
 * ways of reading give must be the same if quiet_begin gave true, and quiet_end does too.
 */
void change_begin(void);
/* After a change: until the other thread has ended the step that it was in, and the next. */
void let_other_run(void);
void change_end(void);
bool quiet_begin(uint64_t *ret_seen);
bool quiet_end(uint64_t seen);

#endif
