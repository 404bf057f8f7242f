/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations of scripts that read or set attributes: stat fields, mode, owner, size, times,
 * extended attributes, ACLs, file flags. Where a path is `$a` the variant for descriptors is
 * called.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int path_stat(const char *path, struct stat *ret_status)
{
    return slot_is(path) ? fstat(slot_descriptor(path), ret_status) : lstat(path, ret_status);
}

static void op_lstat(char **argv, struct result *result)
{
    struct stat status;

    result_int(result, path_stat(argv[1], &status));
}

static void op_stat(char **argv, struct result *result)
{
    struct stat status;

    result_int(result, stat(argv[1], &status));
}

static const char *type_text(mode_t mode)
{
    return S_ISREG(mode)    ? "reg"
           : S_ISDIR(mode)  ? "dir"
           : S_ISLNK(mode)  ? "lnk"
           : S_ISFIFO(mode) ? "fifo"
           : S_ISCHR(mode)  ? "chr"
           : S_ISBLK(mode)  ? "blk"
                            : "sock";
}

static const char *time_text(struct timespec when)
{
    return text("%lld.%09ld", (long long)when.tv_sec, when.tv_nsec);
}

/* type|mode|uid|gid|nlink|size|blocks|rdev|atime|mtime|ctime PATH, without following */
static void op_field(char **argv, struct result *result)
{
    struct stat status;
    const char *field = argv[0];

    if (path_stat(argv[1], &status) < 0) {
        result->error = errno;
    } else if (strcmp(field, "type") == 0) {
        result_text(result, type_text(status.st_mode));
    } else if (strcmp(field, "mode") == 0) {
        result_text(result, text("%04o", status.st_mode & 07777));
    } else if (strcmp(field, "rdev") == 0) {
        result_text(result, text("%u:%u", major(status.st_rdev), minor(status.st_rdev)));
    } else if (strcmp(field, "atime") == 0) {
        result_text(result, time_text(status.st_atim));
    } else if (strcmp(field, "mtime") == 0) {
        result_text(result, time_text(status.st_mtim));
    } else if (strcmp(field, "ctime") == 0) {
        result_text(result, time_text(status.st_ctim));
    } else {
        result->value = strcmp(field, "uid") == 0     ? (int64_t)status.st_uid
                        : strcmp(field, "gid") == 0   ? (int64_t)status.st_gid
                        : strcmp(field, "nlink") == 0 ? (int64_t)status.st_nlink
                        : strcmp(field, "size") == 0  ? (int64_t)status.st_size
                                                      : (int64_t)status.st_blocks;
    }
}

/* same PATH PATH: 1 if they are one inode */
static void op_same(char **argv, struct result *result)
{
    struct stat left, right;

    if (path_stat(argv[1], &left) < 0 || path_stat(argv[2], &right) < 0)
        result->error = errno;
    else
        result->value = left.st_ino == right.st_ino && left.st_dev == right.st_dev;
}

static void op_chmod(char **argv, struct result *result)
{
    mode_t mode = mode_parse(argv[2]);

    result_int(result,
               slot_is(argv[1]) ? fchmod(slot_descriptor(argv[1]), mode) : chmod(argv[1], mode));
}

static void op_chown(char **argv, struct result *result)
{
    uid_t uid = strcmp(argv[2], "-") == 0 ? (uid_t)-1 : (uid_t)number_parse(argv[2]);
    gid_t gid = strcmp(argv[3], "-") == 0 ? (gid_t)-1 : (gid_t)number_parse(argv[3]);

    if (slot_is(argv[1]))
        result_int(result, fchown(slot_descriptor(argv[1]), uid, gid));
    else if (argv[0][0] == 'l')
        result_int(result, lchown(argv[1], uid, gid));
    else
        result_int(result, chown(argv[1], uid, gid));
}

static void op_truncate(char **argv, struct result *result)
{
    int64_t size = number_parse(argv[2]);

    result_int(result, slot_is(argv[1]) ? ftruncate(slot_descriptor(argv[1]), size)
                                        : truncate(argv[1], size));
}

/* now, omit, or SECONDS[.NANOSECONDS] with all nine digits */
static struct timespec time_parse(const char *word)
{
    struct timespec when = { 0 };
    char *end;

    if (strcmp(word, "now") == 0) {
        when.tv_nsec = UTIME_NOW;
    } else if (strcmp(word, "omit") == 0) {
        when.tv_nsec = UTIME_OMIT;
    } else {
        when.tv_sec = strtoll(word, &end, 10);
        if (end == word)
            case_fail("bad step: %s is no time", word);
        if (*end == '.')
            when.tv_nsec = strtol(end + 1, NULL, 10);
    }
    return when;
}

/* utimens PATH ATIME MTIME, or PATH null for the null pointer; lutimens does not follow */
static void op_utimens(char **argv, struct result *result)
{
    struct timespec times[2];
    const struct timespec *pointer = times;
    int flags = argv[0][0] == 'l' ? AT_SYMLINK_NOFOLLOW : 0;

    if (strcmp(argv[2], "null") == 0) {
        pointer = NULL;
    } else if (!argv[3]) {
        case_fail("bad step: %s takes two times", argv[0]);
    } else {
        times[0] = time_parse(argv[2]);
        times[1] = time_parse(argv[3]);
    }
    if (slot_is(argv[1]))
        result_int(result, futimens(slot_descriptor(argv[1]), pointer));
    else
        result_int(result, utimensat(AT_FDCWD, argv[1], pointer, flags));
}

static struct mark {
    struct stat status;
    struct timespec when;
} marks[26];

static int time_compare(struct timespec left, struct timespec right)
{
    if (left.tv_sec != right.tv_sec)
        return left.tv_sec < right.tv_sec ? -1 : 1;
    return (left.tv_nsec > right.tv_nsec) - (left.tv_nsec < right.tv_nsec);
}

static struct mark *mark_find(const char *word)
{
    if (word[0] < 'a' || word[0] > 'z' || word[1])
        case_fail("bad step: %s is no mark", word);
    return &marks[word[0] - 'a'];
}

/* mark LETTER PATH: notes the times, and lets the clock move on */
static void op_mark(char **argv, struct result *result)
{
    struct mark *mark = mark_find(argv[1]);
    struct timespec pause = { .tv_nsec = 12 * 1000 * 1000 };

    result_int(result, path_stat(argv[2], &mark->status));
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_REALTIME_COARSE, &mark->when);
}

/*
 * moved LETTER PATH: which of mtime (m) and ctime (c) are others than at the mark, "-" for none.
 * A time that moved must be between the mark and now. amoved does the same for atime (a).
 */
static void op_moved(char **argv, struct result *result)
{
    struct mark *mark = mark_find(argv[1]);
    struct timespec now;
    struct stat status;
    char moved[32] = "";

    if (path_stat(argv[2], &status) < 0) {
        result->error = errno;
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    const struct {
        const char *name;
        struct timespec before, after;
    } times[] = {
        { "a", mark->status.st_atim, status.st_atim },
        { "m", mark->status.st_mtim, status.st_mtim },
        { "c", mark->status.st_ctim, status.st_ctim },
    };
    bool atime_only = argv[0][0] == 'a';
    for (size_t i = atime_only ? 0 : 1; i < (atime_only ? 1 : ARRAY_COUNT(times)); i++) {
        if (time_compare(times[i].before, times[i].after) == 0)
            continue;
        strcat(moved, times[i].name);
        if (time_compare(times[i].after, mark->when) < 0)
            strcat(moved, "(back)");
        if (time_compare(times[i].after, now) > 0)
            strcat(moved, "(future)");
    }
    result_text(result, moved[0] ? moved : "-");
}

/* setx PATH NAME DATA [create|replace]; lsetx does not follow */
static void op_setx(char **argv, struct result *result)
{
    static const struct bit_name flags[] = { { "create", XATTR_CREATE },
                                             { "replace", XATTR_REPLACE },
                                             { NULL, 0 } };
    int flag = argv[4] ? (int)bits_parse(argv[4], flags) : 0;
    char *data;
    size_t length;

    data_parse(argv[3], &data, &length);
    if (slot_is(argv[1]))
        result_int(result, fsetxattr(slot_descriptor(argv[1]), argv[2], data, length, flag));
    else if (argv[0][0] == 'l')
        result_int(result, lsetxattr(argv[1], argv[2], data, length, flag));
    else
        result_int(result, setxattr(argv[1], argv[2], data, length, flag));
    free(data);
}

static ssize_t xattr_read(char **argv, char *buffer, size_t size)
{
    if (slot_is(argv[1]))
        return fgetxattr(slot_descriptor(argv[1]), argv[2], buffer, size);
    return argv[0][0] == 'l' ? lgetxattr(argv[1], argv[2], buffer, size)
                             : getxattr(argv[1], argv[2], buffer, size);
}

/* getx PATH NAME [SIZE]: the value; with SIZE 0 its length */
static void op_getx(char **argv, struct result *result)
{
    static char buffer[65536 + 16];
    size_t size = argv[3] ? (size_t)number_parse(argv[3]) : sizeof(buffer);
    ssize_t length = xattr_read(argv, buffer, size);

    if (length < 0)
        result->error = errno;
    else if (size == 0)
        result->value = length;
    else
        result_data(result, buffer, (size_t)length);
}

static void op_removex(char **argv, struct result *result)
{
    if (slot_is(argv[1]))
        result_int(result, fremovexattr(slot_descriptor(argv[1]), argv[2]));
    else if (argv[0][0] == 'l')
        result_int(result, lremovexattr(argv[1], argv[2]));
    else
        result_int(result, removexattr(argv[1], argv[2]));
}

static int name_compare(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* listx PATH [SIZE]: the names, sorted and joined by commas; with SIZE what the call returns.
 * Labels that a security module gives by itself are left out. */
static void op_listx(char **argv, struct result *result)
{
    static char buffer[65536];
    const char *names[256];
    char joined[4096] = "";
    size_t size = argv[2] ? (size_t)number_parse(argv[2]) : sizeof(buffer), count = 0;
    ssize_t length = slot_is(argv[1])    ? flistxattr(slot_descriptor(argv[1]), buffer, size)
                     : argv[0][1] == 'l' ? llistxattr(argv[1], buffer, size)
                                         : listxattr(argv[1], buffer, size);

    if (length < 0 || argv[2]) {
        result_int(result, length);
        return;
    }
    for (char *at = buffer; at < buffer + length; at += strlen(at) + 1) {
        if (strcmp(at, "security.selinux") != 0 && count < ARRAY_COUNT(names))
            names[count++] = at;
    }
    qsort(names, count, sizeof(*names), name_compare);
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(joined);
        snprintf(joined + used, sizeof(joined) - used, "%s%s", i ? "," : "", names[i]);
    }
    result_text(result, count ? joined : "-");
}

/* ACLs in the binary form of the xattr: linux/posix_acl_xattr.h, little-endian. */
#define ACL_VERSION 2
#define ACL_NO_ID 0xffffffffU
struct acl_entry {
    uint16_t tag;
    uint16_t permissions;
    uint32_t id;
};
struct acl {
    uint32_t version;
    struct acl_entry entries[60];
};

static const struct {
    const char *prefix; /* of an entry without and with an id */
    uint16_t tag;
    bool has_id;
} acl_tags[] = {
    { "u:", 0x01, false }, { "u:", 0x02, true },  { "g:", 0x04, false },
    { "g:", 0x08, true },  { "m:", 0x10, false }, { "o:", 0x20, false },
};

/* "u::rwx,u:1001:r-x,g::r--,m::rwx,o::---" */
static size_t acl_parse(const char *word, struct acl *ret_acl)
{
    char copy[2048];
    char *rest = NULL;
    size_t count = 0;

    snprintf(copy, sizeof(copy), "%s", word);
    ret_acl->version = ACL_VERSION;
    for (char *part = strtok_r(copy, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
        struct acl_entry entry = { .id = ACL_NO_ID };
        char *permissions = strrchr(part, ':');
        bool has_id = strlen(part) > 2 && part[2] != ':';
        for (size_t i = 0; i < ARRAY_COUNT(acl_tags); i++) {
            if (strncmp(part, acl_tags[i].prefix, 2) == 0 && acl_tags[i].has_id == has_id)
                entry.tag = acl_tags[i].tag;
        }
        if (!permissions || count == ARRAY_COUNT(ret_acl->entries))
            case_fail("bad step: %s is no ACL", word);
        if (has_id)
            entry.id = (uint32_t)strtoul(part + 2, NULL, 10);
        for (; *permissions; permissions++)
            entry.permissions |= *permissions == 'r'   ? 4
                                 : *permissions == 'w' ? 2
                                 : *permissions == 'x' ? 1
                                                       : 0;
        ret_acl->entries[count++] = entry;
    }
    return sizeof(uint32_t) + count * sizeof(struct acl_entry);
}

static const char *acl_name(const char *type)
{
    return type[0] == 'd' ? "system.posix_acl_default" : "system.posix_acl_access";
}

/* setacl PATH access|default ACL */
static void op_setacl(char **argv, struct result *result)
{
    struct acl acl;
    size_t size = acl_parse(argv[3], &acl);

    if (slot_is(argv[1]))
        result_int(result, fsetxattr(slot_descriptor(argv[1]), acl_name(argv[2]), &acl, size, 0));
    else
        result_int(result, setxattr(argv[1], acl_name(argv[2]), &acl, size, 0));
}

/* getacl PATH access|default */
static void op_getacl(char **argv, struct result *result)
{
    struct acl acl;
    char joined[2048] = "";
    ssize_t size = getxattr(argv[1], acl_name(argv[2]), &acl, sizeof(acl));

    if (size < 0) {
        result->error = errno;
        return;
    }
    size_t count = ((size_t)size - sizeof(uint32_t)) / sizeof(struct acl_entry);
    for (size_t i = 0; i < count; i++) {
        const struct acl_entry *entry = &acl.entries[i];
        const char *prefix = "?:", *id = "";
        for (size_t j = 0; j < ARRAY_COUNT(acl_tags); j++) {
            if (acl_tags[j].tag == entry->tag) {
                prefix = acl_tags[j].prefix;
                id = acl_tags[j].has_id ? text("%u", entry->id) : "";
            }
        }
        size_t used = strlen(joined);
        snprintf(joined + used, sizeof(joined) - used, "%s%s%s:%c%c%c", i ? "," : "", prefix, id,
                 entry->permissions & 4 ? 'r' : '-', entry->permissions & 2 ? 'w' : '-',
                 entry->permissions & 1 ? 'x' : '-');
    }
    result_text(result, joined);
}

static void op_removeacl(char **argv, struct result *result)
{
    result_int(result, removexattr(argv[1], acl_name(argv[2])));
}

/* setflags PATH i|a|ia|-: exactly these of immutable and append-only; the other flags stay */
static void op_setflags(char **argv, struct result *result)
{
    int descriptor = open(argv[1], O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    int flags = 0;

    if (descriptor < 0 || ioctl(descriptor, FS_IOC_GETFLAGS, &flags) < 0) {
        result->error = errno;
    } else {
        flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
        flags |= strchr(argv[2], 'i') ? FS_IMMUTABLE_FL : 0;
        flags |= strchr(argv[2], 'a') ? FS_APPEND_FL : 0;
        result_int(result, ioctl(descriptor, FS_IOC_SETFLAGS, &flags));
    }
    if (descriptor >= 0)
        close(descriptor);
}

static void op_getflags(char **argv, struct result *result)
{
    int descriptor = open(argv[1], O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    int flags = 0;

    if (descriptor < 0 || ioctl(descriptor, FS_IOC_GETFLAGS, &flags) < 0) {
        result->error = errno;
    } else {
        const char *names = (flags & FS_IMMUTABLE_FL) ? "i" : "";
        names = text("%s%s", names, (flags & FS_APPEND_FL) ? "a" : "");
        result_text(result, *names ? names : "-");
    }
    if (descriptor >= 0)
        close(descriptor);
}

const struct op ops_attr[] = {
    { "lstat", 1, 1, op_lstat },
    { "stat", 1, 1, op_stat },
    { "type", 1, 1, op_field },
    { "mode", 1, 1, op_field },
    { "uid", 1, 1, op_field },
    { "gid", 1, 1, op_field },
    { "nlink", 1, 1, op_field },
    { "size", 1, 1, op_field },
    { "blocks", 1, 1, op_field },
    { "rdev", 1, 1, op_field },
    { "atime", 1, 1, op_field },
    { "mtime", 1, 1, op_field },
    { "ctime", 1, 1, op_field },
    { "same", 2, 2, op_same },
    { "chmod", 2, 2, op_chmod },
    { "chown", 3, 3, op_chown },
    { "lchown", 3, 3, op_chown },
    { "truncate", 2, 2, op_truncate },
    { "utimens", 2, 3, op_utimens },
    { "lutimens", 2, 3, op_utimens },
    { "mark", 2, 2, op_mark },
    { "moved", 2, 2, op_moved },
    { "amoved", 2, 2, op_moved },
    { "setx", 3, 4, op_setx },
    { "lsetx", 3, 4, op_setx },
    { "getx", 2, 3, op_getx },
    { "lgetx", 2, 3, op_getx },
    { "removex", 2, 2, op_removex },
    { "lremovex", 2, 2, op_removex },
    { "listx", 1, 2, op_listx },
    { "llistx", 1, 2, op_listx },
    { "setacl", 3, 3, op_setacl },
    { "getacl", 2, 2, op_getacl },
    { "removeacl", 2, 2, op_removeacl },
    { "setflags", 2, 2, op_setflags },
    { "getflags", 1, 1, op_getflags },
    { NULL, 0, 0, NULL },
};
