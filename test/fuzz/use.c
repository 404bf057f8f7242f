/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "use.h"

#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/* Bounds for pools that have loops, or that say they hold anything. */
#define DIRS_MAX 128u
#define ENTRIES_MAX 5000u
#define STEPS_MAX 24u

struct entry {
    uint64_t ino;
    uint8_t length;
    char name[DXF_NAME_MAX];
};

struct entries {
    struct entry *entry;
    unsigned count;
};

static char buffer[128 << 10];

static int64_t note(struct use *use, int64_t result, const char *what, uint64_t ino)
{
    if ((result == -EUCLEAN || result == -EIO) && use->damaged++ == 0) {
        use->first = what;
        use->first_ino = ino;
    }
    return result;
}

static int collect(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr)
{
    struct entries *list = arg;
    struct entry *to = &list->entry[list->count];

    (void)attr;
    if (list->count == ENTRIES_MAX)
        return 1;
    to->ino = entry->ino;
    to->length = (uint8_t)entry->name.length;
    memcpy(to->name, entry->name.bytes, to->length);
    list->count++;
    return 0;
}

static int count_extents(void *arg, const struct fs_extent *extent)
{
    (void)extent;
    return ++*(unsigned *)arg == 2000;
}

static struct fs_name name_of(const struct entry *entry)
{
    return (struct fs_name){ entry->name, entry->length };
}

static bool is_dot(const struct entry *entry)
{
    return (entry->length == 1 && entry->name[0] == '.') ||
           (entry->length == 2 && memcmp(entry->name, "..", 2) == 0);
}

static void list_dir(struct use *use, uint64_t dir, struct entries *list, bool lookups)
{
    struct fs_handle *handle;

    list->count = 0;
    if (note(use, fs_open_file(use->fs, &base_request, dir, O_RDONLY, false, &handle), "opendir",
             dir) < 0)
        return;
    note(use, fs_readdir(use->fs, &base_request, handle, 0, lookups, collect, list), "readdir",
         dir);
    for (unsigned i = 0; lookups && i < list->count; i++)
        if (!is_dot(&list->entry[i]))
            fs_forget(use->fs, list->entry[i].ino, 1);
    fs_release(use->fs, handle);
}

static void walk_attributes(struct use *use, uint64_t ino)
{
    static char names[64 << 10];
    struct fs *fs = use->fs;
    ssize_t length =
        note(use, fs_listxattr(fs, &base_request, ino, names, sizeof(names)), "listxattr", ino);

    for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1)
        note(use, fs_getxattr(fs, &base_request, ino, names + at, buffer, sizeof(buffer)),
             "getxattr", ino);
}

static void walk_parts(struct use *use, uint64_t ino)
{
    struct fs_part parts[32];
    bool more = true;
    uint64_t at = 0;
    unsigned count;

    for (unsigned i = 0; more && i < STEPS_MAX; i++) {
        if (note(use,
                 fs_parts(use->fs, &base_request, ino, at, UINT64_MAX, parts, 32, &count, &more),
                 "parts", ino) < 0)
            return;
        if (count > 0)
            at = parts[count - 1].offset + parts[count - 1].length;
    }
}

static void walk_file(struct use *use, uint64_t ino, uint64_t size)
{
    struct fs *fs = use->fs;
    struct fs_handle *handle;
    uint64_t at = 0;
    unsigned n = 0;

    note(use, fs_extents(fs, &base_request, ino, count_extents, &n), "extents", ino);
    walk_parts(use, ino);
    if (note(use, fs_open_file(fs, &base_request, ino, O_RDONLY, false, &handle), "open", ino) < 0)
        return;
    for (unsigned i = 0; i < 6; i++)
        note(use,
             fs_pread(fs, &base_request, handle, buffer, sizeof(buffer),
                      (uint64_t)i * sizeof(buffer)),
             "read", ino);
    if (size > sizeof(buffer))
        note(use,
             fs_pread(fs, &base_request, handle, buffer, sizeof(buffer), size - sizeof(buffer)),
             "read", ino);
    for (unsigned i = 0; i < STEPS_MAX; i++)
        if (note(use, fs_lseek(fs, &base_request, handle, at, i % 2 ? SEEK_HOLE : SEEK_DATA, &at),
                 "lseek", ino) < 0)
            break;
    fs_release(fs, handle);
}

static void walk_inode(struct use *use, uint64_t ino)
{
    struct fs_attr attr;
    char *target;

    if (note(use, fs_getattr(use->fs, &base_request, ino, &attr), "getattr", ino) < 0)
        return;
    if (S_ISREG(attr.mode))
        walk_file(use, ino, attr.size);
    if (S_ISLNK(attr.mode) &&
        note(use, fs_readlink(use->fs, &base_request, ino, &target), "readlink", ino) == 0)
        free(target);
    walk_attributes(use, ino);
}

void use_walk(struct use *use)
{
    static struct entry entry[ENTRIES_MAX];
    struct entries list = { .entry = entry };
    uint64_t dirs[DIRS_MAX] = { DXF_INO_ROOT };
    struct fs_statfs statfs;
    unsigned count = 1;

    use->seen = 0;
    fs_statfs(use->fs, &statfs);
    for (unsigned d = 0; d < count; d++) {
        list_dir(use, dirs[d], &list, d % 2 == 1);
        uint64_t last = 0;
        /* Of a large one, readdir saw them all; names are looked up here and there. */
        unsigned step = 1 + list.count / 400;
        for (unsigned i = 0; i < list.count && use->seen < ENTRIES_MAX; i += step, use->seen++) {
            struct fs_attr attr;
            if (is_dot(&entry[i]))
                continue;
            if (note(use, fs_lookup(use->fs, &base_request, dirs[d], name_of(&entry[i]), &attr),
                     "lookup", dirs[d]) < 0)
                continue;
            if (attr.ino != last) /* one file may have all the names */
                walk_inode(use, attr.ino);
            last = attr.ino;
            if (S_ISDIR(attr.mode) && count < DIRS_MAX)
                dirs[count++] = attr.ino; /* keeps its reference */
            else
                fs_forget(use->fs, attr.ino, 1);
        }
        if (d > 0)
            fs_forget(use->fs, dirs[d], 1);
    }
}

/* ---- changes ---------------------------------------------------------------------------------------- */

static void change_file(struct use *use, uint64_t ino, uint64_t size)
{
    struct fs_attr attr = { 0 };
    struct fs *fs = use->fs;
    struct fs_handle *handle;
    const struct fs_request *rq = &base_request;

    if (note(use, fs_open_file(fs, rq, ino, O_RDWR, false, &handle), "open", ino) < 0)
        return;
    memset(buffer, 'c', 70000);
    note(use, fs_pwrite(fs, rq, handle, buffer, 5000, 100), "write", ino);
    note(use, fs_pwrite(fs, rq, handle, buffer, 70000, 4096), "write", ino);
    for (unsigned i = 0; i < 12; i++) /* new extents between the old ones */
        note(use, fs_pwrite(fs, rq, handle, buffer, 100, 4096ull * (2 * i + 31)), "write", ino);
    if (size < BASE_SIZE)
        note(use, fs_pwrite(fs, rq, handle, buffer, 100, size + 9000), "write", ino);
    note(use, fs_fallocate(fs, rq, handle, FALLOC_FL_ZERO_RANGE, 50, 3 * 4096), "zero", ino);
    note(use,
         fs_fallocate(fs, rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * 4096,
                      9 * 4096),
         "punch", ino);
    note(use, fs_fallocate(fs, rq, handle, 0, 7 * 4096, 3 * 4096), "fallocate", ino);
    note(use, fs_copy_range(fs, rq, handle, 0, handle, 1 << 20, 5000), "copy", ino);
    attr.size = size / 2 + 1;
    note(use, fs_setattr(fs, rq, ino, &attr, FS_SET_SIZE, &attr), "truncate", ino);
    attr.size = size / 2 + 3 * 4096;
    note(use, fs_setattr(fs, rq, ino, &attr, FS_SET_SIZE, &attr), "truncate", ino);
    fs_release(fs, handle);
}

static void change_inode(struct use *use, uint64_t ino)
{
    const struct fs_request *rq = &base_request;
    struct fs_attr attr;
    struct fs *fs = use->fs;

    if (note(use, fs_getattr(fs, rq, ino, &attr), "getattr", ino) < 0)
        return;
    if (S_ISREG(attr.mode))
        change_file(use, ino, attr.size);
    note(use, fs_setxattr(fs, rq, ino, "user.y", "0123456789", 10, 0, false), "setxattr", ino);
    note(use, fs_setxattr(fs, rq, ino, "user.x", buffer, 6000, XATTR_CREATE, false), "setxattr",
         ino);
    note(use, fs_removexattr(fs, rq, ino, "user.x"), "removexattr", ino);
    note(use, fs_setattr(fs, rq, ino, &(struct fs_attr){ .mode = 0700 }, FS_SET_MODE, &attr),
         "chmod", ino);
}

static void change_names(struct use *use, uint64_t dir, unsigned count)
{
    const struct fs_request *rq = &base_request;
    struct fs_handle *handle;
    struct fs_attr attr;
    struct fs *fs = use->fs;
    char name[128];

    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "new%090u", i);
        if (note(use, fs_create(fs, rq, dir, fs_name(name), 0644, O_RDWR, &attr, &handle), "create",
                 dir) < 0)
            continue;
        note(use, fs_pwrite(fs, rq, handle, name, sizeof(name), 0), "write", attr.ino);
        fs_release(fs, handle);
        fs_forget(fs, attr.ino, 1);
    }
    note(use, fs_rename(fs, rq, dir, fs_name(name), DXF_INO_ROOT, fs_name("moved here"), 0),
         "rename", dir);
    note(use, fs_rename(fs, rq, DXF_INO_ROOT, fs_name("short"), dir, fs_name("moved there"), 0),
         "rename", dir);
    for (unsigned i = 0; i < count; i += 2) {
        snprintf(name, sizeof(name), "new%090u", i);
        note(use, fs_unlink(fs, rq, dir, fs_name(name)), "unlink", dir);
    }
}

static void change_dir(struct use *use, uint64_t dir, struct entries *list)
{
    const struct fs_request *rq = &base_request;
    struct fs_attr attr;
    struct fs *fs = use->fs;

    list_dir(use, dir, list, false);
    change_names(use, dir, 16);
    for (unsigned i = 0; i < list->count && i < 60; i++)
        if (!is_dot(&list->entry[i]))
            note(use, fs_unlink(fs, rq, dir, name_of(&list->entry[i])), "unlink", dir);
    if (fs_mkdir(fs, rq, dir, fs_name("a new directory"), 0755, &attr) == 0) {
        note(use,
             fs_rename(fs, rq, dir, fs_name("a new directory"), DXF_INO_ROOT, fs_name("up"),
                       RENAME_NOREPLACE),
             "rename", dir);
        fs_forget(fs, attr.ino, 1);
    }
}

void use_change(struct use *use)
{
    static struct entry top_entry[ENTRIES_MAX], sub_entry[ENTRIES_MAX];
    struct entries top = { .entry = top_entry }, sub = { .entry = sub_entry };
    const struct fs_request *rq = &base_request;
    struct fs_handle *handle;
    struct fs_attr attr;
    struct fs *fs = use->fs;

    list_dir(use, DXF_INO_ROOT, &top, false);
    for (unsigned i = 0; i < top.count && i < 64; i++) {
        if (is_dot(&top_entry[i]) ||
            note(use, fs_lookup(fs, rq, DXF_INO_ROOT, name_of(&top_entry[i]), &attr), "lookup",
                 DXF_INO_ROOT) < 0)
            continue;
        change_inode(use, attr.ino);
        if (S_ISDIR(attr.mode)) {
            change_dir(use, attr.ino, &sub);
            note(use, fs_rmdir(fs, rq, DXF_INO_ROOT, name_of(&top_entry[i])), "rmdir",
                 DXF_INO_ROOT);
        }
        fs_forget(fs, attr.ino, 1);
    }
    change_names(use, DXF_INO_ROOT, 8);
    if (note(use, fs_tmpfile(fs, rq, DXF_INO_ROOT, 0600, O_RDWR, &attr, &handle), "tmpfile",
             DXF_INO_ROOT) == 0) {
        fs_release(fs, handle);
        fs_forget(fs, attr.ino, 1);
    }
    for (unsigned i = 0; i < top.count && i < 64; i += 2)
        note(use, fs_unlink(fs, rq, DXF_INO_ROOT, name_of(&top_entry[i])), "unlink", DXF_INO_ROOT);
    note(use, fs_sync(fs), "sync", 0);
}
