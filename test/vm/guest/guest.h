/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program of the guest: the agent that runs what the host sends, the checks, and the parts of
 * tests in which several guests and the host take part. It is linked statically, knows nothing of daxfuse
 * and runs on any folder, so that it can be tried on the host, and play the host's part there.
 */
#ifndef VM_GUEST_H
#define VM_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE ((size_t)4096)
#define CHUNK ((size_t)2 * 1024 * 1024) /* what a guest maps at once */

/* Tells what errno has to say of it, and ends the process with 2. */
_Noreturn void die(const char *what);
/* Ends the process with 1 after "FAIL: " and the text. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int usage(void);

#define EXPECT(condition)                                          \
 do {                                                              \
  if (!(condition))                                                \
   fail("%s:%d: not so: %s", __FILE_NAME__, __LINE__, #condition); \
 } while (0)

/* A system call that must succeed, by its return value. */
#define TRY(call)                                   \
 ({                                                 \
long long try_result = (long long)(call);               \
if (try_result < 0)                                     \
fail("%s:%d: %s: %m", __FILE_NAME__, __LINE__, #call); \
try_result;                                             \
 })

/* file.c: files of stamps, and mappings. All of them fail() rather than return an error. */
uint8_t stamp(uint64_t seed, uint64_t offset);
void stamp_fill(uint8_t *at, uint64_t seed, uint64_t offset, size_t length);
/* The offset of the first byte that differs from the stamps, or -1. */
int64_t stamp_differs(const uint8_t *at, uint64_t seed, uint64_t offset, size_t length);
/* The offset of the first byte that is not zero, or -1. */
int64_t zero_differs(const uint8_t *at, size_t length);
int file_make(const char *name, uint64_t size);
uint8_t *file_map(int fd, size_t length, int protection, int flags);
void file_write(int fd, const void *data, size_t length, uint64_t offset);
void file_read(int fd, void *data, size_t length, uint64_t offset);
/* file_has: that length bytes read(2) at offset are the stamps of seed; file_zero: that they are 0. */
void file_has(int fd, uint64_t seed, uint64_t offset, size_t length);
void file_zero(int fd, uint64_t offset, size_t length);
/* The signal that a load (or store) of this byte ends with, or 0. In a process of its own. */
int touch_signal(volatile uint8_t *at, bool store);
uint64_t random_next(uint64_t *state);
uint64_t number(const char *text);
double now(void);

/* Each main gets its own name as argv[0] and returns the status to exit with. */
int agent_main(int argc, char **argv);  /* agent.c */
int check_main(int argc, char **argv);  /* check.c */
int random_main(int argc, char **argv); /* random.c */
int stamp_main(int argc, char **argv);  /* load.c */
int verify_main(int argc, char **argv);
int loop_main(int argc, char **argv);
int synced_main(int argc, char **argv);
int stores_main(int argc, char **argv);
int measure_main(int argc, char **argv); /* measure.c */
int dax_main(int argc, char **argv); /* hold.c */
int part_main(int argc, char **argv);
int hold_main(int argc, char **argv);
int counter_main(int argc, char **argv); /* share.c */
int ring_main(int argc, char **argv);
int lock_main(int argc, char **argv);
int tree_main(int argc, char **argv);

/* What `guest check` runs: each in an empty folder of its own, its current one. */
struct check {
    const char *name;
    void (*run)(void);
    bool dax_only; /* true of a file that is mapped by a DAX window, of others not */
};
extern const struct check checks_map[], checks_size[],
    checks_use[]; /* each ends with a NULL name */
extern struct check_options {
    bool dax;
    size_t large; /* bytes of the file that shall be larger than the window */
} check_options;
/* Leaves the check as skipped, for what the filesystem below does not have. */
_Noreturn void check_skip(const char *why);

#endif
