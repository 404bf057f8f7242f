/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an object is known by: inode numbers, file handles, the time of its birth; and what statfs
 * says about the whole filesystem.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static struct statx status_of(const char *path)
{
    struct statx status;

    CHECK(statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &status) == 0,
          "statx %s: expected ok, got %s", path, error_name(errno));
    return status;
}

/* `argument`: the script that makes object n */
static void birth_time(const void *argument)
{
    struct timespec before, after;

    clock_gettime(CLOCK_REALTIME_COARSE, &before);
    case_script("%s", (const char *)argument);
    clock_gettime(CLOCK_REALTIME, &after);
    struct statx status = status_of("n");
    CHECK(status.stx_mask & STATX_BTIME, "statx: expected a birth time, got none");
    int64_t birth = status.stx_btime.tv_sec * INT64_C(1000000000) + status.stx_btime.tv_nsec;
    int64_t earliest = before.tv_sec * INT64_C(1000000000) + before.tv_nsec;
    int64_t latest = after.tv_sec * INT64_C(1000000000) + after.tv_nsec;
    CHECK(birth >= earliest && birth <= latest, "birth time: expected the time of making, got %lld",
          (long long)birth);
}

static void birth_time_stays(const void *unused)
{
    (void)unused;
    case_script("file n 644");
    struct statx first = status_of("n");
    case_script("mark a n; put n abc; chmod n 600; utimens n 5 6; rename n m; link m n; unlink m");
    struct statx second = status_of("n");
    CHECK(memcmp(&first.stx_btime, &second.stx_btime, sizeof(first.stx_btime)) == 0,
          "birth time: expected the same, got another");
}

static void statx_fields(const void *unused)
{
    (void)unused;
    case_script("file n 640 A*5000; chown n 5 6; link n m; open a n rw; fsync a");
    struct statx status = status_of("n");
    CHECK((status.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS, "mask: got %#x",
          status.stx_mask);
    CHECK(status.stx_mode == (S_IFREG | 0640), "mode: got %o", status.stx_mode);
    CHECK(status.stx_uid == 5 && status.stx_gid == 6, "owner: got %u:%u", status.stx_uid,
          status.stx_gid);
    CHECK(status.stx_size == 5000 && status.stx_nlink == 2, "size %llu, links %u",
          (unsigned long long)status.stx_size, status.stx_nlink);
    /* two blocks of 4 KiB; how much more belongs to a file is the filesystem's own business */
    CHECK(status.stx_blocks >= 10 && status.stx_blocks <= 64, "blocks: expected 10 to 64, got %llu",
          (unsigned long long)status.stx_blocks);
    CHECK(status.stx_blksize >= 512 && (status.stx_blksize & (status.stx_blksize - 1)) == 0,
          "blksize: got %u", status.stx_blksize);
}

static struct file_handle *handle_of(const char *path, int *ret_mount)
{
    struct file_handle *handle = calloc(1, sizeof(*handle) + MAX_HANDLE_SZ);

    CHECK(handle, "out of memory");
    handle->handle_bytes = MAX_HANDLE_SZ;
    CHECK(name_to_handle_at(AT_FDCWD, path, handle, ret_mount, 0) == 0,
          "name_to_handle_at %s: expected ok, got %s", path, error_name(errno));
    return handle;
}

static int handle_open(struct file_handle *handle, int flags)
{
    int mount = open(".", O_RDONLY | O_DIRECTORY);
    CHECK(mount >= 0, "open .: got %s", error_name(errno));
    int descriptor = open_by_handle_at(mount, handle, flags);
    int error = errno;

    close(mount);
    errno = error;
    return descriptor;
}

static void handle_file(const void *unused)
{
    int mount;

    (void)unused;
    case_script("mkdir d 755; file d/f 644 abc");
    struct file_handle *handle = handle_of("d/f", &mount);
    int descriptor = handle_open(handle, O_RDWR);
    CHECK(descriptor >= 0, "open_by_handle_at: expected ok, got %s", error_name(errno));
    slot_set("a", descriptor);
    case_script("same $a d/f = 1; pread a 0 9 = abc; pwrite a 0 xyz = 3; data d/f 0 9 = xyz");
}

static void handle_renamed(const void *unused)
{
    int mount;

    (void)unused;
    case_script("mkdir d 755; file d/f 644 abc; link d/f g");
    struct file_handle *handle = handle_of("d/f", &mount);
    case_script("rename d/f h; unlink g; rmdir d");
    int descriptor = handle_open(handle, O_RDONLY);
    CHECK(descriptor >= 0, "open_by_handle_at: expected ok, got %s", error_name(errno));
    slot_set("a", descriptor);
    case_script("same $a h = 1");
}

static void handle_directory(const void *unused)
{
    int mount;

    (void)unused;
    case_script("mkdir d 755; mkdir d/e 755; file d/e/f 644");
    struct file_handle *handle = handle_of("d/e", &mount);
    int descriptor = handle_open(handle, O_RDONLY | O_DIRECTORY);
    CHECK(descriptor >= 0, "open_by_handle_at: expected ok, got %s", error_name(errno));
    slot_set("a", descriptor);
    case_script("openat b a f rd; same $b d/e/f = 1; openat b a .. rd; same $b d = 1");
}

static void handle_removed(const void *unused)
{
    int mount;

    (void)unused;
    case_script("file f 644 abc");
    struct file_handle *handle = handle_of("f", &mount);
    case_script("unlink f; file g 644; file h 644");
    CHECK(handle_open(handle, O_RDONLY) < 0 && errno == ESTALE,
          "handle of a removed file: expected ESTALE");
}

/* An inode number is used again; the generation keeps the old handle from reaching the new file. */
static void handle_reused(const void *unused)
{
    int mount;

    (void)unused;
    for (int i = 0; i < 20; i++) {
        case_script("file f 644");
        struct file_handle *handle = handle_of("f", &mount);
        case_script("unlink f; file f 644");
        int descriptor = handle_open(handle, O_RDONLY);
        CHECK(descriptor < 0 && errno == ESTALE, "handle of a removed file: expected ESTALE");
        case_script("unlink f");
        free(handle);
    }
}

static void handle_same_for_links(const void *unused)
{
    int mount;

    (void)unused;
    case_script("file f 644; link f g; file h 644");
    struct file_handle *f = handle_of("f", &mount), *g = handle_of("g", &mount);
    struct file_handle *h = handle_of("h", &mount);
    CHECK(f->handle_bytes == g->handle_bytes &&
              memcmp(f->f_handle, g->f_handle, f->handle_bytes) == 0,
          "two links of one file: expected the same handle");
    CHECK(f->handle_bytes != h->handle_bytes ||
              memcmp(f->f_handle, h->f_handle, f->handle_bytes) != 0,
          "two files: expected two handles");
}

static void handle_permission(const void *unused)
{
    int mount;

    (void)unused;
    case_script("u> file f 644");
    struct file_handle *handle = handle_of("f", &mount);
    identity_set("u");
    int descriptor = handle_open(handle, O_RDONLY);
    int error = errno;
    identity_set(NULL);
    CHECK(descriptor < 0 && error == EPERM, "open_by_handle_at by a user: expected EPERM");
}

/* A handle made up by hand gives an error, whatever its bytes; or, where number and generation
 * happen to be those of another object, that object: never f itself. */
static void handle_made_up(const void *unused)
{
    int mount;
    struct stat own, other;

    (void)unused;
    case_script("file f 644");
    CHECK(stat("f", &own) == 0, "stat: got %s", error_name(errno));
    struct file_handle *handle = handle_of("f", &mount);
    for (unsigned int i = 0; i < handle->handle_bytes; i++) {
        struct file_handle *copy = handle_of("f", &mount);
        copy->f_handle[i] ^= 0xa5;
        int descriptor = handle_open(copy, O_PATH);
        int error = errno;
        if (descriptor < 0)
            CHECK(error == ESTALE || error == EINVAL || error == EUCLEAN,
                  "handle with byte %u changed: expected ESTALE, got %s", i, error_name(error));
        else
            CHECK(fstat(descriptor, &other) == 0 && other.st_ino != own.st_ino,
                  "handle with byte %u changed: expected ESTALE, got the file itself", i);
        if (descriptor >= 0)
            close(descriptor);
        free(copy);
    }
}

static struct statvfs space(void)
{
    struct statvfs status;

    CHECK(statvfs(".", &status) == 0, "statvfs: got %s", error_name(errno));
    return status;
}

static void statfs_sane(const void *unused)
{
    struct statvfs status = space();

    (void)unused;
    CHECK(status.f_bsize >= 512 && status.f_frsize >= 512, "block size: got %lu", status.f_bsize);
    CHECK(status.f_blocks > 0 && status.f_bfree <= status.f_blocks &&
              status.f_bavail <= status.f_bfree,
          "blocks: got %ju, free %ju, available %ju", (uintmax_t)status.f_blocks,
          (uintmax_t)status.f_bfree, (uintmax_t)status.f_bavail);
    CHECK(status.f_ffree <= status.f_files, "files: got %ju, free %ju", (uintmax_t)status.f_files,
          (uintmax_t)status.f_ffree);
    CHECK(status.f_namemax == 255, "longest name: expected 255, got %lu", status.f_namemax);
}

/* 8 MiB are taken from what is free, and given back; others may write a little meanwhile. */
static void statfs_follows(const void *unused)
{
    (void)unused;
    case_script("file f 644; open a f rw; fsync a");
    struct statvfs before = space();
    case_script("fallocate a 0 0 8M; fsync a");
    struct statvfs during = space();
    uint64_t taken = (before.f_bfree - during.f_bfree) * before.f_frsize;
    CHECK(before.f_bfree > during.f_bfree && taken >= 7 << 20 && taken <= 12 << 20,
          "after 8 MiB: expected that much less free, got %ju bytes", (uintmax_t)taken);
    case_script("truncate f 0; fsync a");
    struct statvfs after = space();
    CHECK(after.f_bfree > during.f_bfree &&
              (after.f_bfree - during.f_bfree) * before.f_frsize >= 7 << 20,
          "after truncating: expected 8 MiB back");
}

static void path_limits(const void *unused)
{
    (void)unused;
    case_script("file f 644");
    CHECK(pathconf("f", _PC_NAME_MAX) == 255, "NAME_MAX: got %ld", pathconf("f", _PC_NAME_MAX));
    CHECK(pathconf("f", _PC_LINK_MAX) >= 8, "LINK_MAX: got %ld", pathconf("f", _PC_LINK_MAX));
}

static void inodes_differ(const void *unused)
{
    ino_t numbers[200];
    struct stat status;

    (void)unused;
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        case_script("file f%zu 644", i);
        CHECK(stat(text("f%zu", i), &status) == 0, "stat: got %s", error_name(errno));
        CHECK(status.st_ino != 0, "inode number: expected not 0");
        numbers[i] = status.st_ino;
        for (size_t j = 0; j < i; j++)
            CHECK(numbers[j] != numbers[i], "files %zu and %zu: expected two inode numbers", i, j);
    }
}

static const struct fs_case cases[] = {
    { "inode-stable", "file f 644; open a f rw; put f abc; chmod f 600; rename f g; truncate g 0;"
                      "fsync a; same $a g = 1" },
    { "inode-of-dir-stable", "mkdir d 755; open a d rd; file d/f 644; rename d e; same $a e = 1" },
    { "inode-not-shared-with-open",
      "file f 644; open a f rw; unlink f; file g 644; same $a g = 0" },
    { "device-shared", "file f 644; mkdir d 755; link f d/g; same f d/g = 1; rename f d/f" },
};

void area_identity(void)
{
    static const struct {
        const char *name, *make;
    } makes[] = {
        { "file", "file n 644" },
        { "dir", "mkdir n 755" },
        { "symlink", "symlink x n" },
        { "fifo", "mknod n fifo 644" },
        { "tmpfile", "open a . rw|tmpfile 644; linkfd a n" },
    };

    SUITE_TABLE("identity", cases);
    for (size_t i = 0; i < ARRAY_COUNT(makes); i++)
        suite_function(text("identity/birth-%s", makes[i].name), birth_time, makes[i].make);
    suite_function("identity/birth-stays", birth_time_stays, NULL);
    suite_function("identity/statx", statx_fields, NULL);
    suite_function("identity/inodes-differ", inodes_differ, NULL);
    suite_function("identity/handle-file", handle_file, NULL);
    suite_function("identity/handle-renamed", handle_renamed, NULL);
    suite_function("identity/handle-directory", handle_directory, NULL);
    suite_function("identity/handle-removed", handle_removed, NULL);
    suite_function("identity/handle-reused", handle_reused, NULL);
    suite_function("identity/handle-links", handle_same_for_links, NULL);
    suite_function("identity/handle-permission", handle_permission, NULL);
    suite_function("identity/handle-made-up", handle_made_up, NULL);
    suite_function("identity/statfs", statfs_sane, NULL);
    suite_function("identity/statfs-follows", statfs_follows, NULL);
    suite_function("identity/pathconf", path_limits, NULL);
}
