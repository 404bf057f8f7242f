/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which of mtime and ctime move with which operation, on the object and on the directories around
 * it. atime is checked where every mount option agrees: reading never sets it back, and only
 * reading or setting moves it.
 *
 * One row: what is set up, the operation, then for each path of interest which times move. The
 * paths are watched under the names they have before the operation; `-` means that neither moves.
 */
#include "harness.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *setup; /* beside it there are directories d and e, and file d/f with 4096 bytes */
    const char *step;
    const char *watch; /* "PATH[>PATH AFTER]=TIMES ..." */
} rows[] = {
    { "create", "", "file d/n 644", "d=mc d/f=-" },
    { "create-existing", "", "try d/f rw|creat 644", "d=- d/f=-" },
    { "create-failed", "", "try d/f rw|creat|excl 644 = EEXIST", "d=- d/f=-" },
    { "mkdir", "", "mkdir d/n 755", "d=mc" },
    { "mkdir-failed", "", "mkdir d/f 755 = EEXIST", "d=-" },
    { "mknod", "", "mknod d/n fifo 644", "d=mc" },
    { "symlink", "", "symlink x d/n", "d=mc" },
    { "link", "", "link d/f e/n", "d=- e=mc d/f=c" },
    { "link-failed", "file e/n 644", "link d/f e/n = EEXIST", "e=- d/f=-" },
    { "unlink", "", "unlink d/f", "d=mc" },
    { "unlink-other-link", "link d/f e/n", "unlink d/f", "d=mc e=- e/n=c" },
    { "unlink-open", "open a d/f rw", "unlink d/f", "d=mc $a=c" },
    { "unlink-failed", "", "unlink d/x = ENOENT", "d=-" },
    { "rmdir", "mkdir d/s 755", "rmdir d/s", "d=mc" },
    { "rmdir-failed", "", "rmdir d = ENOTEMPTY", "d=- .=-" },
    { "rename", "", "rename d/f d/n", "d=mc d/f>d/n=c" },
    { "rename-across", "", "rename d/f e/n", "d=mc e=mc d/f>e/n=c" },
    { "rename-onto", "file e/n 644", "rename d/f e/n", "d=mc e=mc d/f>e/n=c" },
    { "rename-onto-linked", "file e/n 644; link e/n o", "rename d/f e/n", "e=mc o=c" },
    { "rename-dir", "mkdir d/s 755", "rename d/s d/t", "d=mc d/s>d/t=c" },
    { "rename-self", "", "rename d/f d/f", "d=- d/f=-" },
    { "rename-noreplace-failed", "file e/n 644", "rename2 d/f e/n noreplace = EEXIST",
      "d=- e=- d/f=- e/n=-" },
    { "rename-exchange", "file e/n 644", "rename2 d/f e/n exchange",
      "d=mc e=mc d/f>e/n=c e/n>d/f=c" },
    { "rename-whiteout", "", "rename2 d/f e/n whiteout", "d=mc e=mc d/f>e/n=c" },
    { "rename-failed", "", "rename d d/x = EINVAL", "d=- .=-" },
    { "chmod", "", "chmod d/f 600", "d=- d/f=c" },
    { "chmod-same", "", "chmod d/f 644", "d/f=c" },
    { "chmod-dir", "", "chmod d 700", "d=c .=-" },
    { "chmod-failed", "", "u> chmod d/f 600 = EPERM", "d/f=-" },
    { "fchmod", "open a d/f rd", "chmod $a 600", "d/f=c" },
    { "chown", "", "chown d/f 5 6", "d=- d/f=c" },
    { "chown-failed", "", "u> chown d/f 1001 - = EPERM", "d/f=-" },
    { "lchown", "symlink x l", "lchown l 5 6", "l=c" },
    { "write", "open a d/f rw", "write a abc = 3", "d=- d/f=mc" },
    { "write-extend", "open a d/f rw", "pwrite a 10000 abc = 3", "d=- d/f=mc" },
    { "write-nothing", "open a d/f rw", "write a \"\" = 0", "d/f=-" },
    { "writev", "open a d/f rw", "writev a ab c = 3", "d/f=mc" },
    { "append", "", "append d/f abc = 3", "d/f=mc" },
    { "write-failed", "open a d/f rd", "write a abc = EBADF", "d/f=-" },
    { "write-unlinked", "open a d/f rw; unlink d/f", "write a abc = 3", "$a=mc d=-" },
    { "read", "open a d/f rd", "read a 10 = A*10", "d/f=-" },
    { "read-dir", "", "ls d = f", "d=-" },
    { "readlink", "symlink x l", "readlink l = x", "l=-" },
    { "stat", "", "stat d/f", "d/f=- d=-" },
    { "access", "", "access d/f rw", "d/f=- d=-" },
    { "open-close", "", "try d/f rw", "d/f=-" },
    { "lseek", "open a d/f rw", "lseek a 10 set = 10", "d/f=-" },
    { "fsync", "open a d/f rw", "fsync a", "d/f=-" },
    { "open-trunc", "", "try d/f wr|trunc", "d=- d/f=mc" },
    { "open-trunc-empty", "file e/n 644", "try e/n wr|trunc", "e/n=mc" },
    { "truncate-down", "", "truncate d/f 10", "d=- d/f=mc" },
    { "truncate-up", "", "truncate d/f 10000", "d/f=mc" },
    { "ftruncate-down", "open a d/f rw", "truncate $a 10", "d/f=mc" },
    { "ftruncate-same", "open a d/f rw", "truncate $a 4096", "d/f=mc" },
    { "truncate-failed", "", "u> truncate d/f 0 = EACCES", "d/f=-" },
    { "fallocate", "open a d/f rw", "fallocate a 0 0 16384", "d/f=mc" },
    { "punch", "open a d/f rw", "fallocate a keep|punch 0 4096", "d/f=mc" },
    { "zero-range", "open a d/f rw", "fallocate a zero 0 4096", "d/f=mc" },
    { "fallocate-failed", "open a d/f rw", "fallocate a 0 0 0 = EINVAL", "d/f=-" },
    { "copy-to", "open a d/f rw; file s 644 xyz; open b s rd", "copy b 0 a 0 3 = 3", "d/f=mc s=-" },
    { "setxattr", "", "setx d/f user.a b", "d=- d/f=c" },
    { "setxattr-dir", "", "setx d user.a b", "d=c" },
    { "removexattr", "setx d/f user.a b", "removex d/f user.a", "d/f=c" },
    { "removexattr-failed", "", "removex d/f user.a = ENODATA", "d/f=-" },
    { "getxattr", "setx d/f user.a b", "getx d/f user.a = b", "d/f=-" },
    { "listxattr", "setx d/f user.a b", "listx d/f = user.a", "d/f=-" },
    { "setacl", "", "setacl d/f access u::rw,u:5:r,g::r,m::r,o::r", "d/f=c" },
    { "setacl-default", "", "setacl d default u::rwx,g::rx,o::rx", "d=c d/f=-" },
    { "utimens-omit-atime", "", "utimens d/f omit now", "d/f=mc d=-" },
    { "utimens-atime-only", "", "utimens d/f 5 omit", "d/f=c d=-" },
    { "utimens-failed", "", "u> utimens d/f 1 2 = EPERM", "d/f=-" },
    { "tmpfile", "", "open a d rw|tmpfile 644", "d=-" },
    { "tmpfile-link", "open a d rw|tmpfile 644", "linkfd a d/n", "d=mc $a=c" },
    { "setflags", "", "setflags d/f i; setflags d/f -", "d/f=c d=-" },
    { "child-of-child", "mkdir d/s 755", "file d/s/n 644", "d=- d/s=mc" },
};

/* Written as one script: marks, the operation, and what moved. */
static void row_run(size_t row)
{
    char marks[1024] = "", checks[1024] = "", watch[512];
    char letter = 'a';
    char *rest = NULL;

    snprintf(watch, sizeof(watch), "%s", rows[row].watch);
    for (char *word = strtok_r(watch, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *times = strrchr(word, '=');
        *times++ = 0;
        char *after = strchr(word, '>');
        if (after)
            *after++ = 0;
        size_t used = strlen(marks);
        snprintf(marks + used, sizeof(marks) - used, "; mark %c %s", letter, word);
        used = strlen(checks);
        snprintf(checks + used, sizeof(checks) - used, "; moved %c %s = %s", letter++,
                 after ? after : word, times);
    }
    suite_script_format(text("times/%s", rows[row].name),
                        "mkdir d 755; mkdir e 755; file d/f 644 A*4096; %s %s; tick; %s %s",
                        rows[row].setup, marks, rows[row].step, checks);
}

/* New objects carry the time of their making in all three times. */
static const char *const makings[][2] = {
    { "file", "file n 644" },     { "dir", "mkdir n 755" },         { "fifo", "mknod n fifo 644" },
    { "symlink", "symlink x n" }, { "chr", "mknod n chr 644 1 3" }, { "sock", "mknod n sock 644" },
};

static const struct fs_case cases[] = {
    { "read-atime-not-back", "file f 644 abc; utimens f 1000000000 1000000000; mark a f;"
                             "data f 0 9 = abc; amoved a f = a|-" },
    { "write-atime", "file f 644 abc; mark a f; put f xyz; amoved a f = -" },
    { "chmod-atime", "file f 644 abc; mark a f; chmod f 600; amoved a f = -" },
    { "noatime-open",
      "file f 644 abc; utimens f 1 2; open a f rd|noatime; mark a f; read a 3 = abc;"
      "amoved a f = -" },
    { "create-in-dir-atime", "mkdir d 755; mark a d; file d/f 644; amoved a d = -" },
    { "ctime-not-settable", "file f 644; mark a f; utimens f 1 1; ctime f != 1.000000000" },
    { "write-then-stat-fd", "open a f rw|creat 644; mark a f; write a x = 1; moved a $a = mc;"
                            "moved a f = mc" },
    { "mtime-stays-after-close", "open a f rw|creat 644; write a x = 1; mark a f; close a;"
                                 "moved a f = -" },
    { "mtime-stays-after-fsync", "open a f rw|creat 644; write a x = 1; mark a f; fsync a;"
                                 "moved a f = -" },
    { "two-writes",
      "open a f rw|creat 644; write a x = 1; mark a f; write a x = 1; moved a f = mc" },
};

void area_timestamps(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        row_run(i);
    SUITE_TABLE("times", cases);
    for (size_t i = 0; i < ARRAY_COUNT(makings); i++)
        suite_script_format(text("times/new-%s", makings[i][0]),
                            "file old 644; mark a old; %s; moved a n = mc; amoved a n = a",
                            makings[i][1]);
}
