/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Permission matrices: which class of user (owner, group, supplementary group, other) with which
 * mode bits may do what; search permission on every prefix; the rules of sticky directories.
 */
#include "harness.h"

/* The object belongs to 1001:1001: u is the owner, g and s are in its group, v is neither. */
static const struct {
    const char *who;
    unsigned int shift; /* of the class's bits in the mode */
} classes[] = { { "u", 6 }, { "g", 3 }, { "s", 3 }, { "v", 0 } };

/* What a class with exactly the bits `needs` (and more) may do to a file f, within a directory
 * where it may do all. */
static const struct {
    const char *name;
    unsigned int needs;
    const char *step;
} file_rows[] = {
    { "open-read", 4, "try f rd" },      { "open-write", 2, "try f wr" },
    { "open-both", 6, "try f rw" },      { "open-trunc", 2, "try f wr|trunc" },
    { "truncate", 2, "truncate f 1" },   { "access-r", 4, "access f r" },
    { "access-w", 2, "access f w" },     { "access-x", 1, "access f x" },
    { "access-rwx", 7, "access f rwx" }, { "exec", 1, "exec f" },
    { "getxattr", 4, "getx f user.a" },  { "setxattr", 2, "setx f user.b c" },
};

static void matrix_file(void)
{
    for (size_t row = 0; row < ARRAY_COUNT(file_rows); row++) {
        for (size_t class = 0; class < ARRAY_COUNT(classes); class ++) {
            for (unsigned int bits = 0; bits < 8; bits++) {
                /* the other classes have the opposite bits, so that taking the wrong one shows */
                unsigned int mode = (~bits & 7U) * 0111U;
                mode = (mode & ~(7U << classes[class].shift)) | bits << classes[class].shift;
                bool granted = (bits & file_rows[row].needs) == file_rows[row].needs;
                bool executes = file_rows[row].step[0] == 'e';
                const char *expected = !granted ? "EACCES" : executes ? "ENOEXEC" : "ok";
                suite_script_format(
                    text("permission/%s-%s-%04o", file_rows[row].name, classes[class].who, mode),
                    "need exec; file f 600; setx f user.a b; chown f 1001 1001;"
                    "chmod f %04o; %s> %s = %s",
                    mode, classes[class].who, file_rows[row].step, expected);
            }
        }
    }
}

/* The same for a directory d with file d/f, both of 1001:1001; d/f has mode 777. */
static const struct {
    const char *name;
    unsigned int needs;
    const char *step;
} directory_rows[] = {
    { "list", 4, "ls d" },
    { "stat-in", 1, "stat d/f" },
    { "open-in", 1, "try d/f rd" },
    { "create-in", 3, "file d/n 644" },
    { "unlink-in", 3, "unlink d/f" },
    { "mkdir-in", 3, "mkdir d/n 755" },
    { "rename-in", 3, "rename d/f d/n" },
    { "symlink-in", 3, "symlink x d/n" },
    { "chdir", 1, "cd d" },
};

static void matrix_directory(void)
{
    for (size_t row = 0; row < ARRAY_COUNT(directory_rows); row++) {
        for (size_t class = 0; class < ARRAY_COUNT(classes); class ++) {
            if (classes[class].who[0] == 's')
                continue; /* decided as for g, see the matrix above */
            for (unsigned int bits = 0; bits < 8; bits++) {
                unsigned int mode = (~bits & 7U) * 0111U;
                mode = (mode & ~(7U << classes[class].shift)) | bits << classes[class].shift;
                bool granted = (bits & directory_rows[row].needs) == directory_rows[row].needs;
                suite_script_format(text("permission/dir-%s-%s-%04o", directory_rows[row].name,
                                         classes[class].who, mode),
                                    "mkdir d 700; file d/f 777; chown d/f 1001 1001;"
                                    "chown d 1001 1001; chmod d %04o; %s> %s = %s",
                                    mode, classes[class].who, directory_rows[row].step,
                                    granted ? "ok" : "EACCES");
            }
        }
    }
}

/* Every call by a path p/q/f, where p or q cannot be searched. */
static const struct {
    const char *name;
    const char *step;
} prefix_rows[] = {
    { "open", "try p/q/f rd" },
    { "creat", "file p/q/n 644" },
    { "stat", "stat p/q/f" },
    { "lstat", "lstat p/q/f" },
    { "mkdir", "mkdir p/q/n 755" },
    { "rmdir", "rmdir p/q/d" },
    { "mknod", "mknod p/q/n fifo 644" },
    { "symlink", "symlink x p/q/n" },
    { "readlink", "readlink p/q/l" },
    { "link-from", "link p/q/f n" },
    { "link-to", "link own p/q/n" },
    { "unlink", "unlink p/q/f" },
    { "rename-from", "rename p/q/f n" },
    { "rename-to", "rename own p/q/n" },
    { "chmod", "chmod p/q/f 600" },
    { "chown", "chown p/q/f - 1001" },
    { "lchown", "lchown p/q/l - 1001" },
    { "truncate", "truncate p/q/f 0" },
    { "utimens", "utimens p/q/f null" },
    { "access", "access p/q/f" },
    { "list", "ls p/q" },
    { "getxattr", "getx p/q/f user.a" },
    { "setxattr", "setx p/q/f user.b c" },
    { "listxattr", "listx p/q/f" },
    { "removexattr", "removex p/q/f user.a" },
    { "tmpfile", "try p/q rw|tmpfile 644" },
};

static void matrix_prefix(void)
{
    static const char setup[] = "file own 666; chown own 1001 1001; mkdir p 777; mkdir p/q 777;"
                                "file p/q/f 666; setx p/q/f user.a b; chown p/q/f 1001 1001;"
                                "mkdir p/q/d 777; symlink x p/q/l; lchown p/q/l 1001 1001";

    for (size_t row = 0; row < ARRAY_COUNT(prefix_rows); row++) {
        const char *step = prefix_rows[row].step;
        suite_script_format(text("prefix/%s-searchable", prefix_rows[row].name),
                            "%s; chmod p 711; u> %s", setup, step);
        suite_script_format(text("prefix/%s-first", prefix_rows[row].name),
                            "%s; chmod p 766; u> %s = EACCES", setup, step);
        /* the prefix of p/q itself is p */
        const char *first = step[0] == 'l' && step[1] == 's' && step[2] == ' ' ? "644" : "666";
        suite_script_format(text("prefix/%s-second", prefix_rows[row].name),
                            "%s; chmod p/q %s; u> %s = %s", setup, first, step,
                            first[0] == '6' && first[1] == '4' ? "ok" : "EACCES");
        suite_script_format(text("prefix/%s-root", prefix_rows[row].name),
                            "%s; chmod p 0; chmod p/q 0; %s", setup, step);
    }
}

/* Directories with the sticky bit: removing and renaming is for the owner of the entry, the owner
 * of the directory, and root. Owners of directory and entry against who acts. */
static void matrix_sticky(void)
{
    static const struct {
        const char *name;
        const char *make;
        const char *step;
    } rows[] = {
        { "unlink", "file d/f 666", "unlink d/f" },
        { "rmdir", "mkdir d/f 777", "rmdir d/f" },
        { "rename-out", "file d/f 666", "rename d/f n" },
        { "rename-inside", "file d/f 666", "rename d/f d/n" },
        { "rename-dir-inside", "mkdir d/f 777", "rename d/f d/n" },
        { "rename-over", "file d/f 666; file n 666", "rename n d/f" },
        { "rename-dir-over", "mkdir d/f 777; mkdir n 777", "rename n d/f" },
        { "exchange", "file d/f 666; file n 666", "rename2 n d/f exchange" },
        { "unlink-symlink", "symlink x d/f", "unlink d/f" },
        { "unlink-fifo", "mknod d/f fifo 666", "unlink d/f" },
    };
    static const char *const owners[] = { "0", "1001", "1002" };

    for (size_t row = 0; row < ARRAY_COUNT(rows); row++) {
        for (size_t directory = 0; directory < ARRAY_COUNT(owners); directory++) {
            for (size_t entry = 0; entry < ARRAY_COUNT(owners); entry++) {
                bool granted = directory == 1 || entry == 1;
                suite_script_format(text("sticky/%s-dir-%s-entry-%s", rows[row].name,
                                         owners[directory], owners[entry]),
                                    "mkdir d 777; %s; lchown d/f %s 1001; chown d %s 1001;"
                                    "chmod d 1777; u> %s = %s",
                                    rows[row].make, owners[entry], owners[directory],
                                    rows[row].step, granted ? "ok" : "EPERM");
            }
        }
        suite_script_format(
            text("sticky/%s-by-root", rows[row].name),
            "mkdir d 777; %s; lchown d/f 1002 1002; chown d 1003 1003; chmod d 1777;"
            "%s",
            rows[row].make, rows[row].step);
        suite_script_format(text("sticky/%s-not-sticky", rows[row].name),
                            "mkdir d 777; %s; lchown d/f 1002 1002; u> %s", rows[row].make,
                            rows[row].step);
    }
}

void area_permission(void)
{
    matrix_file();
    matrix_directory();
    matrix_prefix();
    matrix_sticky();
}
