/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations of scripts that work on open files and their bytes. Descriptors live in slots a to z.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static const struct bit_name open_flags[] = {
    { "rd", O_RDONLY },         { "wr", O_WRONLY },
    { "rw", O_RDWR },           { "creat", O_CREAT },
    { "excl", O_EXCL },         { "trunc", O_TRUNC },
    { "append", O_APPEND },     { "dir", O_DIRECTORY },
    { "nofollow", O_NOFOLLOW }, { "tmpfile", O_TMPFILE },
    { "path", O_PATH },         { "nonblock", O_NONBLOCK },
    { "noatime", O_NOATIME },   { "sync", O_SYNC },
    { "cloexec", O_CLOEXEC },   { NULL, 0 },
};

/* open SLOT PATH FLAGS [MODE] */
static void op_open(char **argv, struct result *result)
{
    int descriptor =
        open(argv[2], (int)bits_parse(argv[3], open_flags), argv[4] ? mode_parse(argv[4]) : 0);

    result_int(result, descriptor);
    if (descriptor >= 0)
        slot_set(argv[1], descriptor);
}

/* openat SLOT DIRECTORY-SLOT NAME FLAGS [MODE] */
static void op_openat(char **argv, struct result *result)
{
    int descriptor = openat(slot_descriptor(argv[2]), argv[3], (int)bits_parse(argv[4], open_flags),
                            argv[5] ? mode_parse(argv[5]) : 0);

    result_int(result, descriptor);
    if (descriptor >= 0)
        slot_set(argv[1], descriptor);
}

/* try PATH FLAGS [MODE]: open and close */
static void op_try(char **argv, struct result *result)
{
    int descriptor =
        open(argv[1], (int)bits_parse(argv[2], open_flags), argv[3] ? mode_parse(argv[3]) : 0);

    result_int(result, descriptor);
    if (descriptor >= 0)
        close(descriptor);
}

static void op_close(char **argv, struct result *result)
{
    result_int(result, close(slot_descriptor(argv[1])));
    slot_set(argv[1], -1);
}

static void bytes_write(int descriptor, const char *word, int64_t offset, struct result *result)
{
    char *data;
    size_t length;

    data_parse(word, &data, &length);
    if (offset < 0)
        result_int(result, write(descriptor, data, length));
    else
        result_int(result, pwrite(descriptor, data, length, offset));
    free(data);
}

static void path_write(const char *path, int flags, mode_t mode, const char *word,
                       struct result *result)
{
    int descriptor = open(path, flags, mode);

    result_int(result, descriptor);
    if (descriptor < 0)
        return;
    if (word)
        bytes_write(descriptor, word, -1, result);
    if (close(descriptor) < 0 && !result->error)
        result->error = errno;
}

/* file PATH MODE [DATA]: makes a new file */
static void op_file(char **argv, struct result *result)
{
    path_write(argv[1], O_WRONLY | O_CREAT | O_EXCL, mode_parse(argv[2]), argv[3], result);
}

/* put PATH DATA: writes at the beginning of a file that is there */
static void op_put(char **argv, struct result *result)
{
    path_write(argv[1], O_WRONLY, 0, argv[2], result);
}

/* append PATH DATA */
static void op_append(char **argv, struct result *result)
{
    path_write(argv[1], O_WRONLY | O_APPEND, 0, argv[2], result);
}

/* write SLOT DATA */
static void op_write(char **argv, struct result *result)
{
    bytes_write(slot_descriptor(argv[1]), argv[2], -1, result);
}

/* pwrite SLOT OFFSET DATA */
static void op_pwrite(char **argv, struct result *result)
{
    int64_t offset = number_parse(argv[2]);

    if (offset < 0)
        result_int(result, pwrite(slot_descriptor(argv[1]), "x", 1, offset));
    else
        bytes_write(slot_descriptor(argv[1]), argv[3], offset, result);
}

/* writev SLOT DATA...; preadv and pwritev share the kernel's path with it */
static void op_writev(char **argv, struct result *result)
{
    struct iovec vectors[8];
    int count = 0;

    for (char **word = argv + 2; *word && count < 8; word++, count++) {
        char *data;
        data_parse(*word, &data, &vectors[count].iov_len);
        vectors[count].iov_base = data;
    }
    result_int(result, writev(slot_descriptor(argv[1]), vectors, count));
    while (count)
        free(vectors[--count].iov_base);
}

static void bytes_read(int descriptor, size_t size, int64_t offset, struct result *result)
{
    char *buffer = malloc(size + 1);
    size_t done = 0;

    if (!buffer)
        case_fail("out of memory");
    /* A short read before EOF is allowed to anybody, so it is made up for. */
    while (done < size) {
        ssize_t got = offset < 0
                          ? read(descriptor, buffer + done, size - done)
                          : pread(descriptor, buffer + done, size - done, offset + (int64_t)done);
        if (got < 0) {
            result->error = errno;
            free(buffer);
            return;
        }
        if (got == 0)
            break;
        done += (size_t)got;
    }
    result_data(result, buffer, done);
    free(buffer);
}

/* read SLOT SIZE */
static void op_read(char **argv, struct result *result)
{
    bytes_read(slot_descriptor(argv[1]), (size_t)number_parse(argv[2]), -1, result);
}

/* pread SLOT OFFSET SIZE */
static void op_pread(char **argv, struct result *result)
{
    bytes_read(slot_descriptor(argv[1]), (size_t)number_parse(argv[3]), number_parse(argv[2]),
               result);
}

/* readv SLOT SIZE SIZE: the two parts joined */
static void op_readv(char **argv, struct result *result)
{
    size_t first = (size_t)number_parse(argv[2]), second = (size_t)number_parse(argv[3]);
    char *buffer = malloc(first + second + 1);
    struct iovec vectors[2] = { { buffer, first }, { buffer + first, second } };

    if (!buffer)
        case_fail("out of memory");
    ssize_t got = readv(slot_descriptor(argv[1]), vectors, 2);
    if (got < 0)
        result->error = errno;
    else
        result_data(result, buffer, (size_t)got);
    free(buffer);
}

/* data PATH OFFSET SIZE: the bytes there */
static void op_data(char **argv, struct result *result)
{
    int descriptor = open(argv[1], O_RDONLY | O_NONBLOCK);

    if (descriptor < 0) {
        result->error = errno;
        return;
    }
    bytes_read(descriptor, (size_t)number_parse(argv[3]), number_parse(argv[2]), result);
    close(descriptor);
}

/* lseek SLOT OFFSET set|cur|end|data|hole */
static void op_lseek(char **argv, struct result *result)
{
    static const struct bit_name whences[] = {
        { "set", SEEK_SET },   { "cur", SEEK_CUR },   { "end", SEEK_END },
        { "data", SEEK_DATA }, { "hole", SEEK_HOLE }, { NULL, 0 },
    };

    result_int(result, lseek(slot_descriptor(argv[1]), number_parse(argv[2]),
                             (int)bits_parse(argv[3], whences)));
}

/* fallocate SLOT MODE OFFSET LENGTH */
static void op_fallocate(char **argv, struct result *result)
{
    static const struct bit_name modes[] = {
        { "keep", FALLOC_FL_KEEP_SIZE },      { "punch", FALLOC_FL_PUNCH_HOLE },
        { "zero", FALLOC_FL_ZERO_RANGE },     { "collapse", FALLOC_FL_COLLAPSE_RANGE },
        { "insert", FALLOC_FL_INSERT_RANGE }, { NULL, 0 },
    };

    result_int(result, fallocate(slot_descriptor(argv[1]), (int)bits_parse(argv[2], modes),
                                 number_parse(argv[3]), number_parse(argv[4])));
}

/* copy FROM-SLOT OFFSET TO-SLOT OFFSET LENGTH [FLAGS]: '-' is the descriptor's own offset */
static void op_copy(char **argv, struct result *result)
{
    bool in_own = strcmp(argv[2], "-") == 0, out_own = strcmp(argv[4], "-") == 0;
    off_t in = in_own ? 0 : number_parse(argv[2]);
    off_t out = out_own ? 0 : number_parse(argv[4]);

    result_int(result, copy_file_range(slot_descriptor(argv[1]), in_own ? NULL : &in,
                                       slot_descriptor(argv[3]), out_own ? NULL : &out,
                                       (size_t)number_parse(argv[5]),
                                       argv[6] ? (unsigned int)number_parse(argv[6]) : 0));
}

static void op_fsync(char **argv, struct result *result)
{
    result_int(result, fsync(slot_descriptor(argv[1])));
}

static void op_fdatasync(char **argv, struct result *result)
{
    result_int(result, fdatasync(slot_descriptor(argv[1])));
}

static void op_syncfs(char **argv, struct result *result)
{
    result_int(result, syncfs(slot_descriptor(argv[1])));
}

const struct op ops_data[] = {
    { "open", 3, 4, op_open },
    { "openat", 4, 5, op_openat },
    { "try", 2, 3, op_try },
    { "close", 1, 1, op_close },
    { "file", 2, 3, op_file },
    { "put", 2, 2, op_put },
    { "append", 2, 2, op_append },
    { "write", 2, 2, op_write },
    { "pwrite", 3, 3, op_pwrite },
    { "writev", 2, 9, op_writev },
    { "read", 2, 2, op_read },
    { "pread", 3, 3, op_pread },
    { "readv", 3, 3, op_readv },
    { "data", 3, 3, op_data },
    { "lseek", 3, 3, op_lseek },
    { "fallocate", 4, 4, op_fallocate },
    { "copy", 5, 6, op_copy },
    { "fsync", 1, 1, op_fsync },
    { "fdatasync", 1, 1, op_fdatasync },
    { "syncfs", 1, 1, op_syncfs },
    { NULL, 0, 0, NULL },
};
