/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chattr's immutable and append-only flags: who may set them, and which operations they stop, for
 * root too. access(2) is not asked: through FUSE the kernel answers it without the server, and
 * knows nothing of these flags.
 */
#include "harness.h"

static const struct fs_case cases[] = {
    { "set-get", "file f 644; setflags f i; getflags f = i; setflags f -; getflags f = -" },
    { "set-append", "file f 644; setflags f a; getflags f = a; setflags f -" },
    { "set-both", "file f 644; setflags f ia; getflags f = ia; setflags f -; getflags f = -" },
    { "dir", "mkdir d 755; setflags d i; getflags d = i; setflags d -; getflags d = -" },
    { "none", "file f 644; mkdir d 755; getflags f = -; getflags d = -" },
    { "owner-may-not", "u> file f 644; u> setflags f i = EPERM; getflags f = -" },
    { "owner-may-not-append", "u> file f 644; u> setflags f a = EPERM" },
    { "owner-may-not-clear",
      "u> file f 644; setflags f i; u> setflags f - = EPERM; getflags f = i" },
    { "other-may-not", "u> file f 666; v> setflags f i = EPERM|EACCES" },
    { "owner-may-clear-nothing", "u> file f 644; u> setflags f -" },
    { "shared-by-link", "file f 644; link f g; setflags f i; getflags g = i" },
    { "usable-again", "file f 644; setflags f i; setflags f -; put f abc; unlink f" },
    { "write-open-before-immutable", "file f 644 abc; open a f rw; setflags f i; write a x = EPERM;"
                                     "data f 0 9 = abc" },
    { "truncate-open-before-immutable", "file f 644 abc; open a f rw; setflags f i;"
                                        "truncate $a 0 = EPERM; size f = 3" },
    { "fallocate-open-before-immutable",
      "file f 644 abc; open a f rw; setflags f i;"
      "fallocate a 0 0 100 = EPERM; fallocate a keep|punch 0 3 = EPERM; data f 0 9 = abc" },
    { "not-inherited-immutable", "mkdir d 755; file d/f 644; setflags d i; getflags d/f = -;"
                                 "put d/f abc; chmod d/f 600; truncate d/f 0" },
    { "append-writes", "file f 644 abc; setflags f a; append f def = 3; data f 0 9 = abcdef" },
    { "append-existing-descriptor",
      "file f 644 abc; open a f wr|append; setflags f a; write a d = 1;"
      "data f 0 9 = abcd" },
    { "append-dir-create", "mkdir d 755; setflags d a; file d/f 644; mkdir d/e 755; ls d = e,f;"
                           "getflags d/f = a|-" },
    { "append-dir-link", "mkdir d 755; file f 644; setflags d a; link f d/f; nlink f = 2" },
    { "append-dir-rename-into", "mkdir d 755; file f 644; setflags d a; rename f d/f; ls d = f" },
};

/*
 * Each row is one operation on file f (4 bytes "data") or directory d (with file x and directory
 * y); the columns say what it gives where that object is immutable, and where it is append-only.
 */
static const struct {
    const char *name;
    const char *object;
    const char *step;
    const char *immutable;
    const char *append;
} rows[] = {
    { "write", "f", "try f wr", "EPERM", "EPERM" },
    { "rdwr", "f", "try f rw", "EPERM", "EPERM" },
    { "append", "f", "append f x", "EPERM", "1" },
    { "trunc", "f", "try f wr|trunc", "EPERM", "EPERM" },
    { "append-trunc", "f", "try f wr|append|trunc", "EPERM", "EPERM" },
    { "read", "f", "data f 0 9", "data", "data" },
    { "truncate", "f", "truncate f 1", "EPERM", "EPERM" },
    { "truncate-up", "f", "truncate f 100", "EPERM", "EPERM" },
    { "chmod", "f", "chmod f 600", "EPERM", "EPERM" },
    { "chown", "f", "chown f 5 6", "EPERM", "EPERM" },
    { "utimens", "f", "utimens f 1 2", "EPERM", "EPERM" },
    { "utimens-now", "f", "utimens f null", "EPERM", "ok" },
    { "setxattr", "f", "setx f user.a b", "EPERM", "EPERM" },
    { "removexattr", "f", "removex f user.z", "EPERM", "EPERM" },
    { "getxattr", "f", "getx f user.z", "zz", "zz" },
    { "setacl", "f", "setacl f access u::r,u:5:r,g::r,m::r,o::r", "EPERM", "EPERM" },
    { "link", "f", "link f g", "EPERM", "EPERM" },
    { "unlink", "f", "unlink f", "EPERM", "EPERM" },
    { "rename", "f", "rename f g", "EPERM", "EPERM" },
    { "rename-onto", "f", "rename s f", "EPERM", "EPERM" },
    { "exchange", "f", "rename2 s f exchange", "EPERM", "EPERM" },
    { "stat", "f", "stat f", "ok", "ok" },
    { "dir-create", "d", "file d/n 644", "EPERM", "ok" },
    { "dir-mkdir", "d", "mkdir d/n 755", "EPERM", "ok" },
    { "dir-symlink", "d", "symlink x d/n", "EPERM", "ok" },
    { "dir-mknod", "d", "mknod d/n fifo 644", "EPERM", "ok" },
    { "dir-link", "d", "link s d/n", "EPERM", "ok" },
    { "dir-unlink", "d", "unlink d/x", "EPERM", "EPERM" },
    { "dir-rmdir-in", "d", "rmdir d/y", "EPERM", "EPERM" },
    { "dir-rename-in", "d", "rename s d/n", "EPERM", "ok" },
    { "dir-rename-out", "d", "rename d/x n", "EPERM", "EPERM" },
    { "dir-rename-inside", "d", "rename d/x d/n", "EPERM", "EPERM" },
    { "dir-rename-over", "d", "rename s d/x", "EPERM", "EPERM" },
    { "dir-rename-itself", "d", "rename d n", "EPERM", "EPERM" },
    { "dir-tmpfile", "d", "try d rw|tmpfile 644", "EPERM", "ok" },
    { "dir-chmod", "d", "chmod d 700", "EPERM", "EPERM" },
    { "dir-chown", "d", "chown d 5 6", "EPERM", "EPERM" },
    { "dir-utimens", "d", "utimens d 1 2", "EPERM", "EPERM" },
    { "dir-setxattr", "d", "setx d user.a b", "EPERM", "EPERM" },
    { "dir-list", "d", "ls d", "x,y", "x,y" },
    { "dir-open-existing", "d", "put d/x abc", "3", "3" },
};

void area_flags(void)
{
    SUITE_TABLE("flags", cases);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        for (int append = 0; append < 2; append++)
            suite_script_format(text("flags-%s/%s", append ? "append" : "immutable", rows[i].name),
                                "file f 644 data; setx f user.z zz; file s 644; mkdir d 755;"
                                "file d/x 644; mkdir d/y 755; setflags %s %c; %s = %s;"
                                "getflags %s = %c; setflags %s -",
                                rows[i].object, append ? 'a' : 'i', rows[i].step,
                                append ? rows[i].append : rows[i].immutable, rows[i].object,
                                append ? 'a' : 'i', rows[i].object);
    }
}
