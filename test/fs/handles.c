/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File handles across a remount.
 *
 *   posix_handles save DIRECTORY FILE     makes files in DIRECTORY; their handles go into FILE
 *   posix_handles check DIRECTORY FILE    after the remount, with cold caches: opens each handle
 *
 * Three handles lead to what they were made of: a file deep down, one that was renamed after its
 * handle was made, a directory. One of a removed file, whose inode number was given to another one
 * if the filesystem does such things, is stale. FILE lies outside the filesystem.
 *
 * Ends with 0, or 1 and a line on stderr. Needs root.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REUSES 200

enum { DEEP, RENAMED, FOLDER, REMOVED, HANDLES };

struct saved {
    struct file_handle handle;
    unsigned char bytes[MAX_HANDLE_SZ];
    ino_t ino;
};

static void folder_make(const char *path)
{
    if (mkdir(path, 0755) < 0)
        err(1, "mkdir %s", path);
}

/* A file that holds its own first name. */
static void file_make(const char *path)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    size_t length = strlen(path);

    if (descriptor < 0)
        err(1, "create %s", path);
    if (write(descriptor, path, length) != (ssize_t)length)
        err(1, "write %s", path);
    if (close(descriptor) < 0)
        err(1, "close %s", path);
}

static void handle_take(const char *path, struct saved *ret_saved)
{
    struct stat status;
    int mount;

    ret_saved->handle.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(AT_FDCWD, path, &ret_saved->handle, &mount, 0) < 0)
        err(1, "name_to_handle_at %s", path);
    if (stat(path, &status) < 0)
        err(1, "stat %s", path);
    ret_saved->ino = status.st_ino;
}

/* New files until one has the number of the removed one. */
static void number_reuse(ino_t ino)
{
    struct stat status;
    char name[32];

    for (int i = 0; i < REUSES; i++) {
        snprintf(name, sizeof(name), "new%d", i);
        file_make(name);
        if (stat(name, &status) < 0)
            err(1, "stat %s", name);
        if (status.st_ino == ino)
            return;
    }
}

static void save(struct saved *saved)
{
    folder_make("a");
    folder_make("a/b");
    folder_make("a/b/c");
    file_make("a/b/c/deep");
    file_make("a/before");
    file_make("gone");
    handle_take("a/b/c/deep", &saved[DEEP]);
    handle_take("a/before", &saved[RENAMED]);
    handle_take("a/b", &saved[FOLDER]);
    handle_take("gone", &saved[REMOVED]);
    if (rename("a/before", "a/b/after") < 0)
        err(1, "rename");
    if (unlink("gone") < 0)
        err(1, "unlink");
    number_reuse(saved[REMOVED].ino);
}

static int handle_open(int mount, struct saved *saved, int flags)
{
    struct stat status;
    int descriptor = open_by_handle_at(mount, &saved->handle, flags);

    if (descriptor < 0)
        return -1;
    if (fstat(descriptor, &status) < 0)
        err(1, "fstat");
    if (status.st_ino != saved->ino)
        errx(1, "inode %lu of the handle became %lu", (unsigned long)saved->ino,
             (unsigned long)status.st_ino);
    return descriptor;
}

static void check_file(int mount, struct saved *saved, const char *content)
{
    char bytes[64];
    int descriptor = handle_open(mount, saved, O_RDWR);

    if (descriptor < 0)
        err(1, "open the handle of %s", content);
    ssize_t length = read(descriptor, bytes, sizeof(bytes));
    if (length != (ssize_t)strlen(content) || memcmp(bytes, content, (size_t)length) != 0)
        errx(1, "the handle of %s leads to a file that holds something else", content);
    close(descriptor);
}

static void check(int mount, struct saved *saved)
{
    check_file(mount, &saved[DEEP], "a/b/c/deep");
    check_file(mount, &saved[RENAMED], "a/before");
    int folder = handle_open(mount, &saved[FOLDER], O_RDONLY | O_DIRECTORY);
    if (folder < 0)
        err(1, "open the handle of a/b");
    if (faccessat(folder, "c/deep", R_OK, 0) < 0 || faccessat(folder, "../b/after", R_OK, 0) < 0)
        err(1, "look around in the directory of the handle");
    close(folder);
    if (handle_open(mount, &saved[REMOVED], O_RDONLY) >= 0)
        errx(1, "the handle of a removed file can be opened");
    if (errno != ESTALE)
        err(1, "the handle of a removed file: expected ESTALE");
}

int main(int argc, char **argv)
{
    static struct saved saved[HANDLES];
    bool saving = argc == 4 && strcmp(argv[1], "save") == 0;

    if (argc != 4 || (!saving && strcmp(argv[1], "check") != 0)) {
        fprintf(stderr, "usage: posix_handles save|check DIRECTORY FILE\n");
        return 2;
    }
    FILE *file = fopen(argv[3], saving ? "we" : "re");
    int mount = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!file || mount < 0 || fchdir(mount) < 0)
        err(1, "%s", file ? argv[2] : argv[3]);
    if (saving) {
        save(saved);
        if (fwrite(saved, sizeof(saved), 1, file) != 1)
            err(1, "%s", argv[3]);
    } else {
        if (fread(saved, sizeof(saved), 1, file) != 1)
            errx(1, "%s: too short", argv[3]);
        check(mount, saved);
    }
    if (fclose(file) != 0)
        err(1, "%s", argv[3]);
    return 0;
}
