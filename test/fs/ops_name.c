/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations of scripts that work on names: making, removing, renaming, listing, and those that set
 * the scene (umask, cd, need). One function each: read the arguments, make one system call, hand on
 * what came.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

static void op_mkdir(char **argv, struct result *result)
{
    result_int(result, mkdir(argv[1], mode_parse(argv[2])));
}

static void op_rmdir(char **argv, struct result *result)
{
    result_int(result, rmdir(argv[1]));
}

static void op_unlink(char **argv, struct result *result)
{
    result_int(result, unlink(argv[1]));
}

/* remove PATH: unlink or rmdir, whichever fits */
static void op_remove(char **argv, struct result *result)
{
    struct stat status;

    if (lstat(argv[1], &status) == 0 && S_ISDIR(status.st_mode))
        result_int(result, rmdir(argv[1]));
    else
        result_int(result, unlink(argv[1]));
}

/* mknod PATH fifo|chr|blk|sock|reg MODE [MAJOR MINOR] */
static void op_mknod(char **argv, struct result *result)
{
    static const struct bit_name types[] = {
        { "fifo", S_IFIFO }, { "chr", S_IFCHR }, { "blk", S_IFBLK }, { "sock", S_IFSOCK },
        { "reg", S_IFREG },  { "dir", S_IFDIR }, { NULL, 0 },
    };
    mode_t mode = (mode_t)bits_parse(argv[2], types) | mode_parse(argv[3]);
    dev_t device = 0;

    if (argv[4] && argv[5])
        device = makedev((unsigned int)number_parse(argv[4]), (unsigned int)number_parse(argv[5]));
    result_int(result, mknod(argv[1], mode, device));
}

static void op_symlink(char **argv, struct result *result)
{
    result_int(result, symlink(argv[1], argv[2]));
}

/* readlink PATH [SIZE]: the target, cut to SIZE bytes */
static void op_readlink(char **argv, struct result *result)
{
    char target[8192];
    size_t size = argv[2] ? (size_t)number_parse(argv[2]) : sizeof(target);
    ssize_t length = readlink(argv[1], target, size);

    if (length < 0)
        result->error = errno;
    else
        result_data(result, target, (size_t)length);
}

static void op_link(char **argv, struct result *result)
{
    result_int(result, link(argv[1], argv[2]));
}

/* linkfollow OLD NEW: through a symbolic link to what it points to */
static void op_linkfollow(char **argv, struct result *result)
{
    result_int(result, linkat(AT_FDCWD, argv[1], AT_FDCWD, argv[2], AT_SYMLINK_FOLLOW));
}

/* linkfd SLOT NEW: gives an open file a name, by /proc */
static void op_linkfd(char **argv, struct result *result)
{
    const char *path = text("/proc/self/fd/%d", slot_descriptor(argv[1]));

    result_int(result, linkat(AT_FDCWD, path, AT_FDCWD, argv[2], AT_SYMLINK_FOLLOW));
}

/* linkempty SLOT NEW: the same by AT_EMPTY_PATH */
static void op_linkempty(char **argv, struct result *result)
{
    result_int(result, linkat(slot_descriptor(argv[1]), "", AT_FDCWD, argv[2], AT_EMPTY_PATH));
}

static void op_rename(char **argv, struct result *result)
{
    result_int(result, rename(argv[1], argv[2]));
}

static void op_rename2(char **argv, struct result *result)
{
    static const struct bit_name flags[] = {
        { "noreplace", RENAME_NOREPLACE },
        { "exchange", RENAME_EXCHANGE },
        { "whiteout", RENAME_WHITEOUT },
        { NULL, 0 },
    };

    result_int(result, renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2],
                                 (unsigned int)bits_parse(argv[3], flags)));
}

/* access PATH [rwx]: by the real ids, as access(2) does; without letters, whether it is there */
static void op_access(char **argv, struct result *result)
{
    int mode = F_OK;

    for (const char *at = argv[2] ? argv[2] : ""; *at; at++)
        mode |= *at == 'r' ? R_OK : *at == 'w' ? W_OK : *at == 'x' ? X_OK : 0;
    result_int(result, access(argv[1], mode));
}

/* exec PATH: an empty file gives ENOEXEC to who may execute it */
static void op_exec(char **argv, struct result *result)
{
    char *arguments[] = { argv[1], NULL };

    result_int(result, execv(argv[1], arguments));
}

static int entry_compare(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static const char *type_name(unsigned char type)
{
    switch (type) {
    case DT_REG:
        return "reg";
    case DT_DIR:
        return "dir";
    case DT_LNK:
        return "lnk";
    case DT_FIFO:
        return "fifo";
    case DT_SOCK:
        return "sock";
    case DT_CHR:
        return "chr";
    case DT_BLK:
        return "blk";
    default:
        return "unknown";
    }
}

/* All entries but "." and "..", sorted and joined by commas, "-" for none. */
static void entries_read(const char *path, bool types, struct result *result)
{
    char *names[128];
    size_t count = 0;
    char joined[4096] = "";

    DIR *stream = opendir(path);
    if (!stream) {
        result->error = errno;
        return;
    }
    for (struct dirent *entry = readdir(stream); entry; entry = readdir(stream)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (count == ARRAY_COUNT(names))
            case_fail("ls: more entries than expected in any script");
        names[count++] =
            strdup(types ? text("%s:%s", entry->d_name, type_name(entry->d_type)) : entry->d_name);
    }
    closedir(stream);
    qsort(names, count, sizeof(*names), entry_compare);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(joined);
        snprintf(joined + length, sizeof(joined) - length, "%s%s", i ? "," : "", names[i]);
        free(names[i]);
    }
    result_text(result, count ? joined : "-");
}

static void op_ls(char **argv, struct result *result)
{
    entries_read(argv[1], false, result);
}

static void op_types(char **argv, struct result *result)
{
    entries_read(argv[1], true, result);
}

static void op_umask(char **argv, struct result *result)
{
    result->value = umask(mode_parse(argv[1]));
}

static void op_cd(char **argv, struct result *result)
{
    result_int(result, chdir(argv[1]));
}

/* tick: lets the clock that files are stamped with move on (it is coarse: up to 10 ms) */
static void op_tick(char **argv, struct result *result)
{
    struct timespec pause = { .tv_nsec = 12 * 1000 * 1000 };

    (void)argv;
    result_int(result, nanosleep(&pause, NULL));
}

/* need dev|exec: skips the case where the mount forbids what it needs */
static void op_need(char **argv, struct result *result)
{
    struct statvfs status;

    result_int(result, statvfs(".", &status));
    if (strcmp(argv[1], "dev") == 0 && (status.f_flag & ST_NODEV))
        case_skip("mounted nodev");
    if (strcmp(argv[1], "exec") == 0 && (status.f_flag & ST_NOEXEC))
        case_skip("mounted noexec");
}

const struct op ops_name[] = {
    { "mkdir", 2, 2, op_mkdir },
    { "rmdir", 1, 1, op_rmdir },
    { "unlink", 1, 1, op_unlink },
    { "remove", 1, 1, op_remove },
    { "mknod", 3, 5, op_mknod },
    { "symlink", 2, 2, op_symlink },
    { "readlink", 1, 2, op_readlink },
    { "link", 2, 2, op_link },
    { "linkfollow", 2, 2, op_linkfollow },
    { "linkfd", 2, 2, op_linkfd },
    { "linkempty", 2, 2, op_linkempty },
    { "rename", 2, 2, op_rename },
    { "rename2", 3, 3, op_rename2 },
    { "access", 1, 2, op_access },
    { "exec", 1, 1, op_exec },
    { "ls", 1, 1, op_ls },
    { "types", 1, 1, op_types },
    { "umask", 1, 1, op_umask },
    { "cd", 1, 1, op_cd },
    { "tick", 0, 0, op_tick },
    { "need", 1, 1, op_need },
    { NULL, 0, 0, NULL },
};
