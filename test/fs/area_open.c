/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* open(2): flags, creation, truncation, O_APPEND, O_TMPFILE, and what an open file outlives. */
#include "harness.h"

static const struct fs_case cases[] = {
    { "creat", "open a f rw|creat 640; type f = reg; mode f = 0640; size f = 0; nlink f = 1" },
    { "creat-owner", "u> open a f rw|creat 640; uid f = 1001; gid f = 1001" },
    { "creat-group", "1001:2000:1001> open a f rw|creat 640; uid f = 1001; gid f = 2000" },
    { "creat-umask", "umask 027; open a f rw|creat 666; mode f = 0640" },
    { "creat-umask-all", "umask 777; open a f rw|creat 666; mode f = 0000; write a abc = 3" },
    { "creat-mode-0-writable",
      "u> open a f rw|creat 0; u> write a hello = 5; pread a 0 9 = hello" },
    { "creat-mode-read-only",
      "u> open a f rw|creat 444; u> write a hello = 5; u> try f rw = EACCES" },
    { "creat-existing",
      "file f 640 data; u> chown f 5 6 = EPERM; open a f rw|creat 600; mode f = 0640;"
      "size f = 4" },
    { "creat-sticky-bit", "u> open a f rw|creat 1644; mode f = 1644" },
    { "creat-suid", "u> open a f rw|creat 4755; mode f = 4755" },
    { "creat-sgid", "u> open a f rw|creat 2755; mode f = 2755" },
    { "creat-no-parent", "try d/f rw|creat 644 = ENOENT" },
    { "creat-parent-file", "file d 644; try d/f rw|creat 644 = ENOTDIR" },
    { "creat-in-unwritable", "mkdir d 755; u> try d/f rw|creat 644 = EACCES; lstat d/f = ENOENT" },
    { "creat-existing-in-unwritable", "mkdir d 755; file d/f 666; u> try d/f rw|creat 644" },
    { "creat-trailing-slash", "try f/ rw|creat 644 = EISDIR" },
    { "creat-dir", "mkdir d 755; try d wr|creat 644 = EISDIR" },
    { "excl-existing", "file f 644; try f rw|creat|excl 644 = EEXIST" },
    { "excl-new", "try f rw|creat|excl 600; mode f = 0600" },
    { "excl-dir", "mkdir d 755; try d rw|creat|excl 644 = EEXIST" },
    { "excl-symlink", "symlink f l; try l rw|creat|excl 644 = EEXIST; lstat f = ENOENT" },
    { "excl-symlink-existing", "file f 644; symlink f l; try l rw|creat|excl 644 = EEXIST" },
    { "excl-fifo", "mknod p fifo 644; try p rw|creat|excl 644 = EEXIST" },
    { "creat-dangling-symlink", "symlink f l; try l rw|creat 644; type f = reg; type l = lnk" },
    { "creat-dangling-no-parent", "symlink d/f l; try l rw|creat 644 = ENOENT" },
    { "creat-symlink-existing", "file f 600 data; symlink f l; try l rw|creat 644; size f = 4" },
    { "trunc", "file f 644 data; try f wr|trunc; size f = 0" },
    { "trunc-rdwr", "file f 644 A*10000; try f rw|trunc; size f = 0; data f 0 10 = \"\"" },
    { "trunc-creat", "file f 644 data; try f wr|creat|trunc 600; size f = 0; mode f = 0644" },
    { "trunc-no-permission", "file f 644 data; u> try f wr|trunc = EACCES; size f = 4" },
    { "trunc-read-no-permission", "file f 644 data; u> try f rd|trunc = EACCES; size f = 4" },
    { "trunc-dir", "mkdir d 755; try d wr|trunc = EISDIR" },
    { "trunc-then-grow-zero", "file f 644 A*5000; open a f rw|trunc; truncate f 5000;"
                              "data f 0 5000 = 0*5000" },
    { "trunc-keeps-suid-of-root", "file f 6755 x; try f wr|trunc; mode f = 6755; size f = 0" },
    { "trunc-clears-suid", "file f 6777 x; u> try f wr|trunc; mode f = 0777" },
    { "trunc-open-elsewhere", "file f 644 A*100; open a f rw; try f wr|trunc; read a 10 = \"\"" },
    { "append", "file f 644 abc; open a f wr|append; write a def = 3; data f 0 10 = abcdef" },
    { "append-ignores-offset",
      "file f 644 abc; open a f rw|append; lseek a 0 set = 0; write a d = 1;"
      "data f 0 10 = abcd; lseek a 0 cur = 4" },
    { "append-pwrite", "file f 644 abc; open a f rw|append; pwrite a 0 d = 1; data f 0 9 = abcd" },
    { "append-two", "file f 644; open a f wr|append; open b f wr|append; write a A*10 = 10;"
                    "write b B*10 = 10; write a C*10 = 10; data f 0 99 = A*10+B*10+C*10" },
    { "append-after-truncate", "file f 644 A*100; open a f wr|append; truncate f 10; write a B = 1;"
                               "data f 0 99 = A*10+B" },
    { "append-after-grow", "file f 644 A; open a f wr|append; truncate f 10; write a B = 1;"
                           "data f 0 99 = A+0*9+B" },
    { "append-other-writer", "file f 644 A*10; open a f wr|append; open b f wr; pwrite b 20 B = 1;"
                             "write a C = 1; data f 0 99 = A*10+0*10+B+C" },
    { "rdonly-write", "file f 644; open a f rd; write a x = EBADF" },
    { "wronly-read", "file f 644 x; open a f wr; read a 1 = EBADF" },
    { "directory-on-file", "file f 644; try f rd|dir = ENOTDIR" },
    { "directory-on-fifo", "mknod p fifo 644; try p rd|dir = ENOTDIR" },
    { "directory-on-dir", "mkdir d 755; open a d rd|dir; type $a = dir" },
    { "directory-on-symlink", "mkdir d 755; symlink d l; open a l rd|dir; type $a = dir" },
    { "directory-missing", "try d rd|dir = ENOENT" },
    { "directory-creat", "try d rd|creat|dir 644 = EINVAL; lstat d = ENOENT" },
    { "dir-read", "mkdir d 755; open a d rd; read a 10 = EISDIR" },
    { "dir-wronly", "mkdir d 777; try d wr = EISDIR" },
    { "dir-rdwr", "mkdir d 777; try d rw = EISDIR" },
    { "dir-fsync", "mkdir d 755; open a d rd; file d/f 644; fsync a; fdatasync a" },
    { "nofollow-symlink", "file f 644; symlink f l; try l rd|nofollow = ELOOP" },
    { "nofollow-dangling", "symlink f l; try l rd|nofollow = ELOOP" },
    { "nofollow-creat", "symlink f l; try l rw|creat|nofollow 644 = ELOOP; lstat f = ENOENT" },
    { "nofollow-file", "file f 644; try f rd|nofollow" },
    { "nofollow-prefix", "mkdir d 755; file d/f 644; symlink d l; try l/f rd|nofollow" },
    { "nofollow-path", "symlink f l; open a l path|nofollow; type $a = lnk" },
    { "nofollow-dir", "mkdir d 755; symlink d l; try l rd|nofollow|dir = ENOTDIR" },
    { "path-no-permission", "file f 0 x; u> open a f path; u> read a 1 = EBADF; size $a = 1" },
    { "openat", "mkdir d 755; open a d rd|dir; openat b a f rw|creat 644; same $b d/f = 1" },
    { "openat-path-dir",
      "mkdir d 755; open a d path|dir; openat b a f rw|creat 644; size d/f = 0" },
    { "openat-removed",
      "mkdir d 755; open a d rd|dir; rmdir d; openat b a f rw|creat 644 = ENOENT" },
    { "openat-file", "file d 644; open a d rd; openat b a f rw|creat 644 = ENOTDIR" },
    { "noatime-owner", "u> file f 644; u> try f rd|noatime" },
    { "noatime-other", "u> file f 644; v> try f rd|noatime = EPERM" },
    { "noatime-root", "u> file f 644; try f rd|noatime" },
    { "fifo-nonblock-no-reader", "mknod p fifo 666; try p wr|nonblock = ENXIO" },
    { "fifo-nonblock-reader", "mknod p fifo 666; open a p rd|nonblock; open b p wr|nonblock;"
                              "write b abc = 3" },
    { "fifo-data", "mknod p fifo 666; open a p rw; write a abc = 3; read a 3 = abc; size p = 0" },
    { "fifo-no-permission", "mknod p fifo 600; u> try p rd|nonblock = EACCES" },
    { "socket", "mknod s sock 666; try s rw = ENXIO" },
    { "device-null",
      "need dev; mknod n chr 666 1 3; open a n rw; write a abc = 3; read a 1 = \"\"" },
    { "device-none", "need dev; mknod n chr 666 250 77; try n rw = ENXIO|ENODEV" },
    { "device-no-permission", "need dev; mknod n chr 600 1 3; u> try n rd = EACCES" },
    { "tmpfile",
      "mkdir d 777; open a d rw|tmpfile 640; type $a = reg; mode $a = 0640; nlink $a = 0;"
      "ls d = -" },
    { "tmpfile-data", "open a . rw|tmpfile 600; write a abc = 3; pread a 0 9 = abc; size $a = 3" },
    { "tmpfile-wronly", "open a . wr|tmpfile 600; write a abc = 3; size $a = 3" },
    { "tmpfile-rdonly", "try . tmpfile 600 = EINVAL" },
    { "tmpfile-owner", "u> open a . rw|tmpfile 600; uid $a = 1001; gid $a = 1001" },
    { "tmpfile-setgid-dir", "mkdir d 777; chown d 0 2000; chmod d 2777; u> open a d rw|tmpfile 600;"
                            "gid $a = 2000" },
    { "tmpfile-umask", "umask 077; open a . rw|tmpfile 666; mode $a = 0600" },
    { "tmpfile-no-permission", "mkdir d 755; u> try d rw|tmpfile 600 = EACCES" },
    { "tmpfile-on-file", "file f 644; try f rw|tmpfile 600 = ENOTDIR" },
    { "tmpfile-missing", "try d rw|tmpfile 600 = ENOENT" },
    { "tmpfile-linkfd", "open a . rw|tmpfile 644; write a abc = 3; linkfd a f; nlink $a = 1;"
                        "same $a f = 1; data f 0 9 = abc; ls . = f" },
    { "tmpfile-linkempty", "open a . rw|tmpfile 644; write a abc = 3; linkempty a f; nlink f = 1;"
                           "data f 0 9 = abc" },
    { "tmpfile-link-twice", "open a . rw|tmpfile 644; linkfd a f; linkfd a g; nlink $a = 2" },
    { "tmpfile-link-unlink", "open a . rw|tmpfile 644; linkfd a f; unlink f; nlink $a = 0;"
                             "write a x = 1; size $a = 1" },
    { "tmpfile-link-existing", "open a . rw|tmpfile 644; file f 644; linkfd a f = EEXIST;"
                               "nlink $a = 0" },
    { "tmpfile-excl", "open a . rw|tmpfile|excl 644; linkfd a f = ENOENT; lstat f = ENOENT" },
    { "tmpfile-other-dir", "mkdir d 755; mkdir e 755; open a d rw|tmpfile 644; linkfd a e/f;"
                           "ls d = -; ls e = f" },
    { "tmpfile-dir-removable", "mkdir d 755; open a d rw|tmpfile 644; rmdir d; write a x = 1" },
    { "tmpfile-chmod-chown",
      "open a . rw|tmpfile 644; chown $a 1001 1002; chmod $a 4711;"
      "mode $a = 4711; uid $a = 1001; linkfd a f; mode f = 4711; gid f = 1002" },
    { "tmpfile-xattr", "open a . rw|tmpfile 644; setx $a user.a value; linkfd a f;"
                       "getx f user.a = value" },
    { "tmpfile-fsync",
      "open a . rw|tmpfile 644; write a A*9000 = 9000; fsync a; linkfd a f; fsync a;"
      "data f 0 9000 = A*9000" },
    { "unlinked-read-write",
      "file f 644 abc; open a f rw; unlink f; nlink $a = 0; pread a 0 9 = abc;"
      "pwrite a 3 def = 3; pread a 0 9 = abcdef; size $a = 6" },
    { "unlinked-truncate",
      "file f 644 A*9000; open a f rw; unlink f; truncate $a 100; size $a = 100;"
      "truncate $a 5000; pread a 0 5000 = A*100+0*4900" },
    { "unlinked-chmod", "file f 644; open a f rw; unlink f; chmod $a 600; mode $a = 0600;"
                        "chown $a 5 6; uid $a = 5; utimens $a 5 6; mtime $a = 6.000000000" },
    { "unlinked-xattr", "file f 644; open a f rw; unlink f; setx $a user.a b; getx $a user.a = b" },
    { "unlinked-fsync", "file f 644 abc; open a f rw; unlink f; write a x = 1; fsync a; syncfs a" },
    { "unlinked-fallocate", "file f 644; open a f rw; unlink f; fallocate a 0 0 1M; size $a = 1M" },
    { "unlinked-linkfd", "file f 644 abc; open a f rw; unlink f; linkfd a g = ENOENT" },
    { "unlinked-two-descriptors", "file f 644 abc; open a f rw; open b f rd; unlink f; close a;"
                                  "read b 9 = abc; nlink $b = 0" },
    { "unlinked-name-again", "file f 644 old; open a f rw; unlink f; file f 644 new; same $a f = 0;"
                             "pread a 0 9 = old; data f 0 9 = new" },
    { "unlinked-by-rename",
      "file f 644 old; file g 644 new; open a f rw; rename g f;"
      "pread a 0 9 = old; nlink $a = 0; data f 0 9 = new; pwrite a 0 OLD = 3; data f 0 9 = new" },
    { "removed-directory", "mkdir d 755; open a d rd|dir; rmdir d; nlink $a = 0; type $a = dir" },
    { "renamed-open",
      "file f 644 abc; open a f rw; rename f g; write a xyz = 3; data g 0 9 = xyz" },
    { "permission-at-open-only", "u> file f 644 abc; u> open a f rw; chmod f 0; chown f 0 0;"
                                 "u> write a xyz = 3; u> pread a 0 3 = xyz" },
    { "empty-path", "try \"\" rd = ENOENT" },
    { "sync-write", "open a f rw|creat|sync 644; write a abc = 3; size f = 3" },
    { "dot", "open a . rd; type $a = dir; same $a . = 1" },
    { "dotdot", "mkdir d 755; open a d/.. rd; same $a . = 1" },
    { "exec-empty", "need exec; file f 755; u> exec f = ENOEXEC" },
    { "exec-no-permission", "need exec; file f 644; exec f = EACCES" },
    { "exec-dir", "mkdir d 755; exec d = EACCES" },
    { "exec-group",
      "need exec; file f 710; chown f 0 1001; g> exec f = ENOEXEC; s> exec f = ENOEXEC;"
      "v> exec f = EACCES" },
    { "exec-owner-first", "need exec; file f 077; chown f 1001 1001; u> exec f = EACCES" },
    { "exec-through-dir", "need exec; mkdir d 700; file d/f 755; u> exec d/f = EACCES" },
};

void area_open(void)
{
    SUITE_TABLE("open", cases);
}
