/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of stamps: each byte of a file is told by a seed and its offset. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

uint64_t random_next(uint64_t *state)
{
    return mix(*state += 0x9e3779b97f4a7c15ULL);
}

/* The eight bytes of an aligned word come from one number. */
static uint64_t stamp_word(uint64_t seed, uint64_t offset)
{
    return mix(seed * 0x9e3779b97f4a7c15ULL + offset / 8 + 1);
}

uint8_t stamp(uint64_t seed, uint64_t offset)
{
    return (uint8_t)(stamp_word(seed, offset) >> (offset % 8 * 8));
}

void stamp_fill(uint8_t *at, uint64_t seed, uint64_t offset, size_t length)
{
    size_t i = 0;

    while (i < length) {
        if ((offset + i) % 8 == 0 && length - i >= 8) {
            uint64_t word = stamp_word(seed, offset + i);

            memcpy(at + i, &word, 8);
            i += 8;
        } else {
            at[i] = stamp(seed, offset + i);
            i++;
        }
    }
}

int64_t stamp_differs(const uint8_t *at, uint64_t seed, uint64_t offset, size_t length)
{
    size_t i = 0;

    while (i < length) {
        if ((offset + i) % 8 == 0 && length - i >= 8) {
            uint64_t word = stamp_word(seed, offset + i);

            if (memcmp(at + i, &word, 8) == 0) {
                i += 8;
                continue;
            }
        }
        if (at[i] != stamp(seed, offset + i))
            return (int64_t)(offset + i);
        i++;
    }
    return -1;
}

int64_t zero_differs(const uint8_t *at, size_t length)
{
    static const uint8_t zeros[PAGE];

    for (size_t i = 0; i < length;) {
        size_t n = length - i < PAGE ? length - i : PAGE;

        if (memcmp(at + i, zeros, n) != 0) {
            while (at[i] == 0)
                i++;
            return (int64_t)i;
        }
        i += n;
    }
    return -1;
}

int file_make(const char *name, uint64_t size)
{
    int fd = (int)TRY(open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

    TRY(ftruncate(fd, (off_t)size));
    return fd;
}

uint8_t *file_map(int fd, size_t length, int protection, int flags)
{
    void *at = mmap(NULL, length, protection, flags, fd, 0);

    if (at == MAP_FAILED)
        fail("mmap of %zu bytes: %m", length);
    return at;
}

void file_write(int fd, const void *data, size_t length, uint64_t offset)
{
    ssize_t n = pwrite(fd, data, length, (off_t)offset);

    if (n < 0)
        fail("pwrite of %zu at %ju: %m", length, (uintmax_t)offset);
    if ((size_t)n != length)
        fail("pwrite of %zu at %ju wrote %zd", length, (uintmax_t)offset, n);
}

void file_read(int fd, void *data, size_t length, uint64_t offset)
{
    ssize_t n = pread(fd, data, length, (off_t)offset);

    if (n < 0)
        fail("pread of %zu at %ju: %m", length, (uintmax_t)offset);
    if ((size_t)n != length)
        fail("pread of %zu at %ju read %zd", length, (uintmax_t)offset, n);
}

static void file_compare(int fd, const uint64_t *seed, uint64_t offset, size_t length)
{
    static uint8_t data[64 * 1024];

    for (size_t done = 0; done < length;) {
        size_t n = length - done < sizeof(data) ? length - done : sizeof(data);
        int64_t bad;

        file_read(fd, data, n, offset + done);
        if (seed)
            bad = stamp_differs(data, *seed, offset + done, n);
        else if ((bad = zero_differs(data, n)) >= 0)
            bad += (int64_t)(offset + done);
        if (bad >= 0)
            fail("byte %jd is not %s", (intmax_t)bad, seed ? "what was stored" : "zero");
        done += n;
    }
}

void file_has(int fd, uint64_t seed, uint64_t offset, size_t length)
{
    file_compare(fd, &seed, offset, length);
}

void file_zero(int fd, uint64_t offset, size_t length)
{
    file_compare(fd, NULL, offset, length);
}

int touch_signal(volatile uint8_t *at, bool store)
{
    pid_t child = (pid_t)TRY(fork());
    int status;

    if (child == 0) {
        if (store)
            *at = 0x5a;
        else
            (void)*at;
        _exit(0);
    }
    while (waitpid(child, &status, 0) < 0)
        EXPECT(errno == EINTR);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

uint64_t number(const char *text)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno || end == text)
        fail("%s is no number", text);
    switch (*end) {
    case 'G':
        value *= 1024;
        /* fall through */
    case 'M':
        value *= 1024;
        /* fall through */
    case 'K':
        value *= 1024;
        end++;
    }
    if (*end)
        fail("%s is no number", text);
    return value;
}

double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}
