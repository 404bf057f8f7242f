/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The POSIX suite's harness: cases, scripts, and what a case may call.
 *
 * A case runs as root in a child of its own, in a fresh directory of mode 0777 inside the
 * filesystem under test, with umask 0. The parent removes that directory afterwards; what cannot be
 * removed is a failure of the case too. A case that does not end within CASE_SECONDS has failed.
 *
 * Most cases are scripts: steps separated by ';', each
 *     [WHO>] OPERATION ARGUMENT... [CMP EXPECTED]
 *   WHO       r root, u 1001:1001, v 1002:1002, g 1003:1001 (in u's group), s 1004:1004 with
 *             supplementary group 1001, or UID:GID[:GROUP,GROUP...]; without it root
 *   CMP       = != < <= > >= ; without it the step must succeed
 *   EXPECTED  ok, the name of an error, a number (1K, 2M-1), or data; alternatives joined by '|'
 *   data      segments joined by '+': C*N is the byte C N times ('0' stands for NUL), else literal
 *   @N        inside an argument: N times 'x'; @PN: N bytes of "./" that lead nowhere
 *   $a        instead of a path, where the operation has an f... variant: the open descriptor a
 *   ""        the empty string
 * The operations are listed in ops_name.c, ops_data.c and ops_attr.c.
 *
 * The harness is single-threaded: nothing here takes a lock.
 */
#ifndef DAXFUSE_TEST_FS_HARNESS_H
#define DAXFUSE_TEST_FS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define CASE_SECONDS 60

struct fs_case {
    const char *name;
    const char *script;
};

/* Registers and runs one case; the name must be unique in the whole suite. */
void suite_script(const char *name, const char *script);
void suite_script_format(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void suite_function(const char *name, void (*function)(const void *argument), const void *argument);
/* Runs each case of a table as AREA/name. */
void suite_table(const char *area, const struct fs_case *cases, size_t count);
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SUITE_TABLE(area, table) suite_table(area, table, ARRAY_COUNT(table))

/* Formats into one of 16 static buffers that are used in turn. */
const char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The pattern with each "%s" replaced by the value; valid as text()'s. */
const char *text_fill(const char *pattern, const char *value);

/* --- inside a case (in the child) --- */
void case_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void case_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Runs steps as a script case does; a step that does not give what it must fails the case. */
void case_script(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define CHECK(condition, ...) \
 do {                         \
  if (!(condition))           \
   case_fail(__VA_ARGS__);    \
 } while (0)

/* Names of errors, both ways: error_number() gives -1 for what is not the name of an error. */
const char *error_name(int error);
int error_number(const char *name);

/* --- for the operations --- */
struct result {
    int error;     /* errno of the step, or 0 */
    int64_t value; /* what it returned */
    char *data;    /* its bytes, if bytes is what it gives; freed by the script runner */
    size_t length;
};

void result_int(struct result *result, int64_t returned); /* -1: takes errno */
void result_data(struct result *result, const void *data, size_t length);
void result_text(struct result *result, const char *value);

struct op {
    const char *name;
    int least; /* arguments, without the name of the operation */
    int most;
    void (*run)(char **argv, struct result *result); /* argv[0] is the name; NULL-terminated */
};

extern const struct op ops_name[];
extern const struct op ops_data[];
extern const struct op ops_attr[];

struct bit_name {
    const char *name;
    uint64_t bits;
};

/* Arguments; a malformed one fails the case. */
int64_t number_parse(const char *word); /* decimal with K M G T, sums and differences */
mode_t mode_parse(const char *word);    /* octal */
uint64_t bits_parse(const char *word, const struct bit_name *names); /* NAME|NAME, or octal */
/* The bytes that a data word stands for; the caller frees *ret_data. */
void data_parse(const char *word, char **ret_data, size_t *ret_length);
/* The descriptor of a slot ('a' or "$a"). */
int slot_descriptor(const char *word);
void slot_set(const char *word, int descriptor);
static inline bool slot_is(const char *word)
{
    return word[0] == '$';
}
/* Takes on an identity (see WHO above); NULL is root again. */
void identity_set(const char *who);

/* --- the areas, each in a file of its own --- */
void area_open(void);
void area_create(void);
void area_link(void);
void area_rename(void);
void area_mode(void);
void area_truncate(void);
void area_utimes(void);
void area_timestamps(void);
void area_io(void);
void area_allocate(void);
void area_shift(void);
void area_xattr(void);
void area_acl(void);
void area_flags(void);
void area_directory(void);
void area_limits(void);
void area_permission(void);
void area_errors(void);
void area_mmap(void);
void area_locks(void);
void area_identity(void);

#endif
