/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ENOENT, ENOTDIR, EISDIR, ELOOP and EBADF, by table: each call with each way in which its path can
 * be wrong. The other paths of a call are good ones.
 */
#include "harness.h"

/* `step` has the path as "%s". What it gives for a path whose last name... */
static const struct {
    const char *name;
    const char *step;
    const char *missing; /* ... is not there, in a directory that is */
    const char *file;    /* ... is a file with a slash after it */
    const char *dir;     /* ... is a directory with an entry */
} rows[] = {
    { "open-read", "try %s rd", "ENOENT", "ENOTDIR", "ok" },
    { "open-write", "try %s wr", "ENOENT", "ENOTDIR", "EISDIR" },
    { "open-rdwr", "try %s rw", "ENOENT", "ENOTDIR", "EISDIR" },
    { "open-path", "try %s path", "ENOENT", "ENOTDIR", "ok" },
    { "open-directory", "try %s rd|dir", "ENOENT", "ENOTDIR", "ok" },
    { "open-trunc", "try %s wr|trunc", "ENOENT", "ENOTDIR", "EISDIR" },
    { "stat", "stat %s", "ENOENT", "ENOTDIR", "ok" },
    { "lstat", "lstat %s", "ENOENT", "ENOTDIR", "ok" },
    { "access", "access %s r", "ENOENT", "ENOTDIR", "ok" },
    { "mkdir", "mkdir %s 755", "ok", "EEXIST", "EEXIST" },
    { "rmdir", "rmdir %s", "ENOENT", "ENOTDIR", "ENOTEMPTY" },
    { "unlink", "unlink %s", "ENOENT", "ENOTDIR", "EISDIR" },
    { "mknod", "mknod %s fifo 644", "ok", "EEXIST", "EEXIST" },
    { "symlink", "symlink x %s", "ok", "EEXIST", "EEXIST" },
    { "readlink", "readlink %s", "ENOENT", "ENOTDIR", "EINVAL" },
    { "link-from", "link %s n", "ENOENT", "ENOTDIR", "EPERM" },
    { "link-to", "link o %s", "ok", "EEXIST", "EEXIST" },
    { "rename-from", "rename %s n", "ENOENT", "ENOTDIR", "ok" },
    { "rename-to", "rename o %s", "ok", "ENOTDIR", "EISDIR" },
    { "rename-dir-to", "rename e %s", "ok", "ENOTDIR", "ENOTEMPTY" },
    { "exchange", "rename2 o %s exchange", "ENOENT", "ENOTDIR", "ok" },
    /* which of the two comes first is the kernel's VFS's choice, and has changed */
    { "noreplace", "rename2 o %s noreplace", "ok", "ENOTDIR|EEXIST", "EEXIST" },
    { "chmod", "chmod %s 700", "ENOENT", "ENOTDIR", "ok" },
    { "chown", "chown %s 5 6", "ENOENT", "ENOTDIR", "ok" },
    { "lchown", "lchown %s 5 6", "ENOENT", "ENOTDIR", "ok" },
    { "truncate", "truncate %s 0", "ENOENT", "ENOTDIR", "EISDIR" },
    { "utimens", "utimens %s 1 2", "ENOENT", "ENOTDIR", "ok" },
    { "lutimens", "lutimens %s 1 2", "ENOENT", "ENOTDIR", "ok" },
    { "getxattr", "getx %s user.a", "ENOENT", "ENOTDIR", "ENODATA" },
    { "setxattr", "setx %s user.a b", "ENOENT", "ENOTDIR", "ok" },
    { "listxattr", "listx %s", "ENOENT", "ENOTDIR", "ok" },
    { "removexattr", "removex %s user.a", "ENOENT", "ENOTDIR", "ENODATA" },
    { "tmpfile", "try %s rw|tmpfile 644", "ENOENT", "ENOTDIR", "ok" },
    { "list", "ls %s", "ENOENT", "ENOTDIR", "ok" },
    { "chdir", "cd %s", "ENOENT", "ENOTDIR", "ok" },
    { "exec", "exec %s", "ENOENT", "ENOTDIR", "EACCES" },
};

/* Whichever the call, these prefixes stop it. */
static const struct {
    const char *name;
    const char *path;
    const char *expected;
} prefixes[] = {
    { "no-prefix", "nowhere/x", "ENOENT" }, { "file-prefix", "f/x", "ENOTDIR" },
    { "fifo-prefix", "p/x", "ENOTDIR" },    { "dangling-prefix", "l/x", "ENOENT" },
    { "loop-prefix", "loop/x", "ELOOP" },   { "link-to-file-prefix", "lf/x", "ENOTDIR" },
    { "empty", "\"\"", "ENOENT" },
};

/* What a closed or unfit descriptor gives. Slot z was never opened. */
static const struct fs_case descriptors[] = {
    { "write", "write z x = EBADF" },
    { "read", "read z 1 = EBADF" },
    { "fstat", "size $z = EBADF" },
    { "fchmod", "chmod $z 600 = EBADF" },
    { "fchown", "chown $z 5 6 = EBADF" },
    { "ftruncate", "truncate $z 0 = EBADF" },
    { "futimens", "utimens $z 1 2 = EBADF" },
    { "fsync", "fsync z = EBADF" },
    { "fallocate", "fallocate z 0 0 1 = EBADF" },
    { "lseek", "lseek z 0 set = EBADF" },
    { "fsetxattr", "setx $z user.a b = EBADF" },
    { "closed", "file f 644; open a f rw; close a; write a x = EBADF" },
    { "path-write", "file f 644; open a f path; write a x = EBADF" },
    { "path-fchmod", "file f 644; open a f path; chmod $a 600 = EBADF" },
    { "path-fchown", "file f 644; open a f path; chown $a 5 6 = EBADF" },
    { "path-ftruncate", "file f 644; open a f path; truncate $a 0 = EBADF" },
    { "path-fsync", "file f 644; open a f path; fsync a = EBADF" },
    { "path-fsetxattr", "file f 644; open a f path; setx $a user.a b = EBADF" },
    { "dir-write", "mkdir d 755; open a d rd; write a x = EBADF" },
    { "dir-read", "mkdir d 755; open a d rd; pread a 0 1 = EISDIR" },
};

void area_errors(void)
{
    static const char setup[] = "mkdir d 755; file d/x 644; mkdir e 755; file f 755; file o 644;"
                                "mknod p fifo 644; symlink nowhere l; symlink loop loop;"
                                "symlink f lf";

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        suite_script_format(text("errors/%s-missing", rows[i].name), "%s; %s = %s", setup,
                            text_fill(rows[i].step, "missing"), rows[i].missing);
        suite_script_format(text("errors/%s-file-slash", rows[i].name), "%s; %s = %s", setup,
                            text_fill(rows[i].step, "f/"), rows[i].file);
        suite_script_format(text("errors/%s-dir", rows[i].name), "%s; %s = %s", setup,
                            text_fill(rows[i].step, "d"), rows[i].dir);
        for (size_t j = 0; j < ARRAY_COUNT(prefixes); j++)
            suite_script_format(text("errors/%s-%s", rows[i].name, prefixes[j].name), "%s; %s = %s",
                                setup, text_fill(rows[i].step, prefixes[j].path),
                                prefixes[j].expected);
    }
    SUITE_TABLE("errors/descriptor", descriptors);
}
