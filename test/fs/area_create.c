/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mkdir(2), rmdir(2), mknod(2), symlink(2), readlink(2). */
#include "harness.h"

static const struct fs_case mkdir_cases[] = {
    { "plain", "mkdir d 755; type d = dir; mode d = 0755; nlink d = 2; ls d = -" },
    { "umask", "umask 022; mkdir d 777; mode d = 0755" },
    { "mode-000", "mkdir d 0; mode d = 0000; u> mkdir d/e 755 = EACCES" },
    { "mode-sticky", "mkdir d 1777; mode d = 1777" },
    { "mode-setuid-ignored", "mkdir d 4755; mode d = 0755" },
    { "owner", "u> mkdir d 700; uid d = 1001; gid d = 1001" },
    { "group", "1001:2000:3000> mkdir d 700; gid d = 2000" },
    { "nested", "mkdir d 755; mkdir d/e 755; mkdir d/e/f 755; nlink d = 3; nlink d/e = 3" },
    { "existing-dir", "mkdir d 755; mkdir d 700 = EEXIST; mode d = 0755" },
    { "existing-file", "file d 644; mkdir d 755 = EEXIST" },
    { "existing-symlink", "symlink x d; mkdir d 755 = EEXIST; lstat x = ENOENT" },
    { "existing-fifo", "mknod d fifo 644; mkdir d 755 = EEXIST" },
    { "trailing-slash", "mkdir d/ 755; type d = dir" },
    { "trailing-slashes", "mkdir d/// 755; type d = dir" },
    { "dot", "mkdir . 755 = EEXIST" },
    { "dotdot", "mkdir .. 755 = EEXIST" },
    { "slash-dot", "mkdir d/. 755 = ENOENT" },
    { "no-parent", "mkdir d/e 755 = ENOENT" },
    { "parent-file", "file d 644; mkdir d/e 755 = ENOTDIR" },
    { "empty", "mkdir \"\" 755 = ENOENT" },
    { "no-permission", "mkdir d 755; u> mkdir d/e 755 = EACCES; nlink d = 2" },
    { "no-search", "mkdir d 766; u> mkdir d/e 755 = EACCES" },
    { "setgid-inherit", "mkdir d 777; chown d 0 2000; chmod d 2777; u> mkdir d/e 755;"
                        "mode d/e = 2755; gid d/e = 2000; uid d/e = 1001" },
    { "setgid-inherit-deep", "mkdir d 777; chown d 0 2000; chmod d 2777; u> mkdir d/e 755;"
                             "u> mkdir d/e/f 700; mode d/e/f = 2700; gid d/e/f = 2000" },
    { "setgid-file", "mkdir d 777; chown d 0 2000; chmod d 2777; u> file d/f 644;"
                     "gid d/f = 2000; mode d/f = 0644" },
    { "setgid-file-sgid-foreign", "mkdir d 777; chown d 0 2000; chmod d 2777;"
                                  "u> file d/f 2755; gid d/f = 2000; mode d/f = 0755" },
    { "setgid-file-sgid-member", "mkdir d 777; chown d 0 2000; chmod d 2777;"
                                 "1001:1001:2000> file d/f 2755; gid d/f = 2000; mode d/f = 2755" },
    { "setgid-file-sgid-no-exec", "mkdir d 777; chown d 0 2000; chmod d 2777;"
                                  "u> file d/f 2644; gid d/f = 2000; mode d/f = 2644" },
    { "setgid-symlink", "mkdir d 777; chown d 0 2000; chmod d 2777; u> symlink x d/l;"
                        "gid d/l = 2000" },
    { "setgid-fifo", "mkdir d 777; chown d 0 2000; chmod d 2777; u> mknod d/p fifo 644;"
                     "gid d/p = 2000" },
    { "setgid-dir-by-root", "mkdir d 777; chown d 0 2000; chmod d 2777; mkdir d/e 755;"
                            "mode d/e = 2755; gid d/e = 2000" },
    { "parent-nlink", "mkdir d 755; mkdir d/a 755; mkdir d/b 755; file d/f 644; nlink d = 4;"
                      "rmdir d/a; nlink d = 3; unlink d/f; nlink d = 3" },
    { "in-removed", "mkdir d 755; cd d; rmdir ../d; mkdir e 755 = ENOENT; cd .. = ok|ENOENT" },
    { "dotdot-points-up", "mkdir d 755; mkdir d/e 755; same d/e/.. d = 1; same d/.. . = 1" },
};

static const struct fs_case rmdir_cases[] = {
    { "plain", "mkdir d 755; rmdir d; lstat d = ENOENT" },
    { "not-empty-file", "mkdir d 755; file d/f 644; rmdir d = ENOTEMPTY; ls d = f" },
    { "not-empty-dir", "mkdir d 755; mkdir d/e 755; rmdir d = ENOTEMPTY" },
    { "not-empty-symlink", "mkdir d 755; symlink x d/l; rmdir d = ENOTEMPTY" },
    { "emptied", "mkdir d 755; file d/f 644; unlink d/f; rmdir d" },
    { "emptied-by-rename", "mkdir d 755; file d/f 644; rename d/f f; rmdir d" },
    { "file", "file f 644; rmdir f = ENOTDIR" },
    { "symlink-to-dir", "mkdir d 755; symlink d l; rmdir l = ENOTDIR; type d = dir" },
    { "fifo", "mknod p fifo 644; rmdir p = ENOTDIR" },
    { "missing", "rmdir d = ENOENT" },
    { "dot", "mkdir d 755; rmdir d/. = EINVAL" },
    { "dotdot", "mkdir d 755; mkdir d/e 755; rmdir d/e/.. = ENOTEMPTY" },
    { "trailing-slash", "mkdir d 755; rmdir d/; lstat d = ENOENT" },
    { "no-permission", "mkdir d 755; mkdir d/e 777; chown d/e 1001 1001; u> rmdir d/e = EACCES" },
    { "others-dir", "mkdir d 777; mkdir d/e 700; u> rmdir d/e" },
    { "mode-000", "mkdir d 777; mkdir d/e 0; u> rmdir d/e" },
    { "open", "mkdir d 755; open a d rd|dir; rmdir d; nlink $a = 0" },
    { "cwd", "mkdir d 755; cd d; rmdir ../d; ls . = -" },
    { "name-again", "mkdir d 755; file d/f 644; unlink d/f; rmdir d; mkdir d 700; mode d = 0700;"
                    "ls d = -" },
    { "unlink-on-dir", "mkdir d 755; unlink d = EISDIR" },
    { "unlink-on-dir-user", "u> mkdir d 755; u> unlink d = EISDIR" },
};

static const struct fs_case mknod_cases[] = {
    { "fifo", "mknod p fifo 640; type p = fifo; mode p = 0640; nlink p = 1; size p = 0" },
    { "sock", "mknod p sock 640; type p = sock; mode p = 0640" },
    { "reg", "mknod p reg 640; type p = reg; mode p = 0640; size p = 0; put p abc = 3" },
    { "chr", "mknod p chr 640 1 3; type p = chr; rdev p = 1:3; mode p = 0640" },
    { "blk", "mknod p blk 640 7 200; type p = blk; rdev p = 7:200" },
    { "chr-large", "mknod p chr 600 4095 1048575; rdev p = 4095:1048575" },
    { "blk-large-minor", "mknod p blk 600 259 70000; rdev p = 259:70000" },
    { "dir", "mknod p dir 755 = EPERM" },
    { "umask", "umask 077; mknod p fifo 666; mode p = 0600" },
    { "suid-bits", "mknod p reg 6755; mode p = 6755" },
    { "existing", "file p 644; mknod p fifo 644 = EEXIST" },
    { "existing-symlink", "symlink x p; mknod p fifo 644 = EEXIST; lstat x = ENOENT" },
    { "fifo-user", "u> mknod p fifo 644; uid p = 1001; gid p = 1001" },
    { "sock-user", "u> mknod p sock 644; uid p = 1001" },
    { "reg-user", "u> mknod p reg 644; uid p = 1001" },
    { "chr-user", "u> mknod p chr 644 1 3 = EPERM; lstat p = ENOENT" },
    { "blk-user", "u> mknod p blk 644 7 0 = EPERM" },
    { "no-permission", "mkdir d 755; u> mknod d/p fifo 644 = EACCES" },
    { "no-parent", "mknod d/p fifo 644 = ENOENT" },
    { "rename-device", "mknod p chr 600 4 5; rename p q; rdev q = 4:5; type q = chr" },
    { "link-device", "mknod p blk 600 4 5; link p q; nlink q = 2; same p q = 1; rdev q = 4:5" },
    { "chmod-fifo", "mknod p fifo 600; chmod p 622; mode p = 0622; chown p 5 6; uid p = 5" },
    { "types-listed",
      "mkdir d 755; file d/a 644; mkdir d/b 755; mknod d/c fifo 644;"
      "mknod d/d sock 644; mknod d/e chr 644 1 3; mknod d/f blk 644 7 0; symlink x d/g;"
      "types d = a:reg,b:dir,c:fifo,d:sock,e:chr,f:blk,g:lnk" },
    { "seek-fifo", "mknod p fifo 644; open a p rw; lseek a 0 set = ESPIPE" },
    { "truncate-fifo", "mknod p fifo 644; truncate p 0 = EINVAL" },
};

static const struct fs_case symlink_cases[] = {
    { "plain", "symlink target l; type l = lnk; readlink l = target; size l = 6; nlink l = 1" },
    { "mode-777", "umask 077; symlink x l; mode l = 0777" },
    { "owner", "u> symlink x l; uid l = 1001; gid l = 1001" },
    { "empty-target", "symlink \"\" l = ENOENT; lstat l = ENOENT" },
    { "existing", "file l 644; symlink x l = EEXIST" },
    { "existing-dir", "mkdir l 755; symlink x l = EEXIST" },
    { "existing-dangling", "symlink x l; symlink y l = EEXIST; readlink l = x" },
    { "no-parent", "symlink x d/l = ENOENT" },
    { "parent-file", "file d 644; symlink x d/l = ENOTDIR" },
    { "no-permission", "mkdir d 755; u> symlink x d/l = EACCES" },
    { "trailing-slash", "symlink x l/ = ENOENT" },
    { "follow-file", "file f 644 abc; symlink f l; data l 0 9 = abc; put l xyz; data f 0 9 = xyz" },
    { "follow-dir", "mkdir d 755; file d/f 644; symlink d l; size l/f = 0; ls l = f; ls l/ = f" },
    { "follow-relative", "mkdir d 755; mkdir e 755; file e/f 644 abc; symlink ../e/f d/l;"
                         "data d/l 0 9 = abc" },
    { "follow-chain",
      "file f 644 abc; symlink f l1; symlink l1 l2; symlink l2 l3; data l3 0 9 = abc" },
    { "dangling", "symlink nothing l; stat l = ENOENT; try l rd = ENOENT; type l = lnk" },
    { "retarget", "symlink a l; unlink l; symlink b l; readlink l = b" },
};

/* Targets near the sizes at which filesystems change how they store them. */
static const int target_lengths[] = { 1,    2,    31,   32,   59,   60,   61,  63,
                                      64,   127,  128,  255,  256,  511,  512, 1023,
                                      1024, 2047, 2048, 4000, 4080, 4094, 4095 };

static const struct fs_case readlink_cases[] = {
    { "file", "file f 644; readlink f = EINVAL" },
    { "dir", "mkdir d 755; readlink d = EINVAL" },
    { "fifo", "mknod p fifo 644; readlink p = EINVAL" },
    { "missing", "readlink l = ENOENT" },
    { "short-buffer", "symlink target l; readlink l 3 = tar" },
    { "exact-buffer", "symlink target l; readlink l 6 = target" },
    { "zero-buffer", "symlink target l; readlink l 0 = EINVAL" },
    { "no-search", "mkdir d 700; symlink x d/l; u> readlink d/l = EACCES" },
    { "others-link", "symlink x l; u> readlink l = x" },
    { "trailing-slash", "file f 644; symlink f l; readlink l/ = ENOTDIR" },
    { "renamed", "symlink target l; rename l m; readlink m = target" },
    { "hard-linked", "symlink target l; link l m; type m = lnk; nlink m = 2; readlink m = target" },
    { "chown", "symlink x l; lchown l 5 6; uid l = 5; gid l = 6; readlink l = x" },
    { "times", "symlink x l; lutimens l 7 8; atime l = 7.000000000; mtime l = 8.000000000" },
};

void area_create(void)
{
    SUITE_TABLE("mkdir", mkdir_cases);
    SUITE_TABLE("rmdir", rmdir_cases);
    SUITE_TABLE("mknod", mknod_cases);
    SUITE_TABLE("symlink", symlink_cases);
    for (size_t i = 0; i < ARRAY_COUNT(target_lengths); i++) {
        int length = target_lengths[i];
        suite_script_format(text("symlink/target-%d", length),
                            "symlink @%d l; size l = %d; readlink l = x*%d", length, length,
                            length);
    }
    suite_script("symlink/target-4096", "symlink @4096 l = ENAMETOOLONG; lstat l = ENOENT");
    SUITE_TABLE("readlink", readlink_cases);
}
