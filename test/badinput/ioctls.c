/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interface of daxfuse/ioctl.h with values that are none, on a mount.
 *
 *   ioctls FOLDER [SEED]    a line for each case, as scripts/suites has them; 1: one has failed
 */
#include <fcntl.h>

#include <daxfuse/ioctl.h>
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define BLOCK 4096
#define BLOCKS 8

static int failures;

static void verdict(const char *name, int got, int expected)
{
    if (got == expected) {
        printf("ok ioctl:%s\n", name);
        return;
    }
    printf("not ok ioctl:%s expected %s, got %s\n", name, strerrorname_np(expected),
           strerrorname_np(got));
    failures++;
}

static int error_of(int r)
{
    return r < 0 ? errno : 0;
}

/* ---- extents ------------------------------------------------------------------------------------ */

static struct daxfuse_extents all;

static int ask(int fd, uint64_t offset, uint64_t length)
{
    memset(&all, 0, sizeof(all));
    all.offset = offset;
    all.length = length;
    return error_of(ioctl(fd, DAXFUSE_IOC_EXTENTS, &all));
}

static bool is_sound(void)
{
    uint64_t end = 0;

    if (all.count > DAXFUSE_EXTENTS_MAX || (all.flags & ~DAXFUSE_EXTENTS_MORE))
        return false;
    for (unsigned i = 0; i < all.count; i++) {
        const struct daxfuse_extent *one = &all.extents[i];
        if (one->offset < end || one->length == 0 || one->reserved || one->flags > 15 ||
            (one->offset | one->length | one->pool_offset) % BLOCK != 0 || one->pool_offset == 0)
            return false;
        end = one->offset + one->length;
    }
    return true;
}

static void bad_extents(int fd, int folder)
{
    const size_t head = offsetof(struct daxfuse_extents, extents);

    verdict("extents", ask(fd, 0, UINT64_MAX), 0);
    verdict("extents-sound", is_sound() && all.count > 0 ? 0 : EINVAL, 0);
    verdict("extents-folder", ask(folder, 0, UINT64_MAX), EISDIR);
    verdict("extents-length-0", ask(fd, 0, 0), EINVAL);
    verdict("extents-offset-negative", ask(fd, UINT64_MAX - BLOCK + 1, BLOCK), EINVAL);
    verdict("extents-offset-2-63", ask(fd, (uint64_t)1 << 63, 1), EINVAL);
    verdict("extents-overflow", ask(fd, INT64_MAX, UINT64_MAX), 0);
    verdict("extents-pointer", error_of(ioctl(fd, DAXFUSE_IOC_EXTENTS, (void *)8)), EFAULT);
    /* Each word of the head that must be zero. */
    for (size_t at = offsetof(struct daxfuse_extents, count); at < head; at += 4) {
        char name[48];
        memset(&all, 0, sizeof(all));
        all.length = BLOCK;
        ((uint8_t *)&all)[at] = 1;
        snprintf(name, sizeof(name), "extents-reserved-%zu", at);
        verdict(name, error_of(ioctl(fd, DAXFUSE_IOC_EXTENTS, &all)), EINVAL);
    }
    memset(&all, 0, sizeof(all));
    all.length = BLOCK;
    memset(all.extents, 0xff, sizeof(all.extents)); /* nobody looks there */
    verdict("extents-rest", error_of(ioctl(fd, DAXFUSE_IOC_EXTENTS, &all)), 0);
    verdict("extents-rest-sound", is_sound() ? 0 : EINVAL, 0);
}

static void random_extents(int fd)
{
    static const uint64_t ends[] = { 0, 1, BLOCK, (uint64_t)1 << 56, INT64_MAX, UINT64_MAX };
    int wrong = 0;

    for (int i = 0; i < 3000; i++) {
        uint64_t offset =
            ends[rand() % 6] + (uint64_t)(rand() % 5 - 2) * (uint64_t)(rand() % BLOCK);
        uint64_t length =
            ends[rand() % 6] + (uint64_t)(rand() % 5 - 2) * (uint64_t)(rand() % BLOCK);
        int error = ask(fd, offset, length);
        if (error == 0 ? !is_sound() || offset > INT64_MAX || length == 0 : error != EINVAL)
            wrong++;
    }
    verdict("extents-random", wrong ? EINVAL : 0, 0);
}

/* ---- numbers ------------------------------------------------------------------------------------ */

static void bad_numbers(int fd, int folder)
{
    static uint8_t bytes[16384];
    struct daxfuse_info info;
    int wrong = 0;

    memset(&info, 0xff, sizeof(info));
    verdict("info", error_of(ioctl(fd, DAXFUSE_IOC_INFO, &info)), 0);
    verdict("info-filled",
            info.magic == DAXFUSE_INFO_MAGIC && info.version == 1 && info.reserved[4] == 0 ? 0
                                                                                           : EINVAL,
            0);
    verdict("info-folder", error_of(ioctl(folder, DAXFUSE_IOC_INFO, &info)), 0);
    verdict("info-pointer", error_of(ioctl(fd, DAXFUSE_IOC_INFO, (void *)8)), EFAULT);
    verdict("settled-nothing", error_of(ioctl(fd, DAXFUSE_IOC_SETTLED)), 0);
    verdict("settled-folder", error_of(ioctl(folder, DAXFUSE_IOC_SETTLED)), 0);
    /* Another size is another number, and so is another direction. */
    for (unsigned number = 0; number < 8; number++) {
        for (unsigned direction = 0; direction < 4; direction++) {
            for (unsigned size = 0; size < 16384; size += size < 80 ? 1 : 811) {
                unsigned long command = _IOC(direction, DAXFUSE_IOC_TYPE, number, size);
                if (command == DAXFUSE_IOC_INFO || command == DAXFUSE_IOC_SETTLED ||
                    command == DAXFUSE_IOC_EXTENTS)
                    continue;
                if (error_of(ioctl(fd, command, bytes)) != ENOTTY)
                    wrong++;
            }
        }
    }
    verdict("unknown-numbers", wrong ? EINVAL : 0, 0);
}

/* ---- what is carried in a punch ----------------------------------------------------------------- */

static int carry(int fd, int mode, uint64_t offset, uint64_t length)
{
    return error_of(fallocate(fd, mode, (off_t)offset, (off_t)length));
}

static void bad_shift(const char *name, uint64_t number, int fd, int reading, int folder)
{
    const struct {
        const char *name;
        int fd, mode;
        uint64_t offset, length;
        int expected;
    } cases[] = {
        { "no-blocks", fd, PUNCH, 0, number, EINVAL },
        { "unaligned", fd, PUNCH, 100, number + 1, EINVAL },
        { "most-blocks", fd, PUNCH, 0, number + DAXFUSE_CARRIED_BLOCKS, EINVAL },
        { "too-many-blocks", fd, PUNCH, 0, number + ((uint64_t)1 << 44), EFBIG },
        { "at-eof", fd, PUNCH, BLOCKS * BLOCK, number + 1, EINVAL },
        { "far", fd, PUNCH, (uint64_t)1 << 55, number + 1, EINVAL },
        { "too-far", fd, PUNCH, (uint64_t)1 << 60, number + 1, EFBIG },
        { "negative", fd, PUNCH, (uint64_t)-BLOCK, number + 1, EINVAL },
        { "reading", reading, PUNCH, 0, number + 1, EBADF },
        { "folder", folder, PUNCH, 0, number + 1, EBADF },
        { "in-allocate", fd, 0, 0, number + 1, EFBIG },
        { "in-keep-size", fd, FALLOC_FL_KEEP_SIZE, 0, number + 1, EFBIG },
        { "in-zero", fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, number + 1, EFBIG },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char full[64];
        snprintf(full, sizeof(full), "%s-%s", name, cases[i].name);
        verdict(full, carry(cases[i].fd, cases[i].mode, cases[i].offset, cases[i].length),
                cases[i].expected);
    }
}

static void bad_shifts(const char *path, int fd, int folder)
{
    int reading = open(path, O_RDONLY | O_CLOEXEC), wrong = 0;

    bad_shift("collapse", DAXFUSE_CARRY_COLLAPSE, fd, reading, folder);
    bad_shift("insert", DAXFUSE_CARRY_INSERT, fd, reading, folder);
    /* What looks like it and is not. */
    for (unsigned top = 0x100; top < 0x800; top++)
        if (top != DAXFUSE_CARRY_COLLAPSE >> 52 && top != DAXFUSE_CARRY_INSERT >> 52 &&
            carry(fd, PUNCH, 0, ((uint64_t)top << 52) + 1) != EFBIG)
            wrong++;
    verdict("shift-other-lengths", wrong ? EINVAL : 0, 0);
    verdict("function-mode", error_of(daxfuse_fallocate(fd, PUNCH, 0, BLOCK)), EOPNOTSUPP);
    verdict("function-unaligned", error_of(daxfuse_fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 1)),
            EINVAL);
    verdict("function-negative",
            error_of(daxfuse_fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, -BLOCK, BLOCK)), EINVAL);
    verdict("function-folder",
            error_of(daxfuse_fallocate(folder, FALLOC_FL_COLLAPSE_RANGE, 0, BLOCK)), EOPNOTSUPP);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    verdict("function-device", error_of(daxfuse_fallocate(null, FALLOC_FL_INSERT_RANGE, 0, BLOCK)),
            EOPNOTSUPP);
    verdict("function-closed", error_of(daxfuse_fallocate(-1, FALLOC_FL_INSERT_RANGE, 0, BLOCK)),
            EOPNOTSUPP);
    close(null);
    close(reading);
}

/* Nothing of all this has changed it. */
static int compare(int fd)
{
    uint8_t bytes[BLOCK];
    struct stat file;

    if (fstat(fd, &file) < 0 || file.st_size != BLOCKS * BLOCK)
        return EINVAL;
    for (int i = 0; i < BLOCKS; i++) {
        if (pread(fd, bytes, BLOCK, (off_t)i * BLOCK) != BLOCK)
            return EIO;
        for (int k = 0; k < BLOCK; k++)
            if (bytes[k] != 'a' + i)
                return EINVAL;
    }
    return 0;
}

int main(int argc, char **argv)
{
    uint8_t bytes[BLOCK];
    char path[4096];

    if (argc < 2)
        errx(2, "usage: ioctls FOLDER [SEED]");
    srand(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 1);
    snprintf(path, sizeof(path), "%s/ioctls", argv[1]);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || folder < 0)
        err(2, "%s", path);
    for (int i = 0; i < BLOCKS; i++) {
        memset(bytes, 'a' + i, BLOCK);
        if (pwrite(fd, bytes, BLOCK, (off_t)i * BLOCK) != BLOCK)
            err(2, "%s", path);
    }
    bad_numbers(fd, folder);
    bad_extents(fd, folder);
    random_extents(fd);
    bad_shifts(path, fd, folder);
    verdict("unchanged", compare(fd), 0);
    return failures > 0;
}
