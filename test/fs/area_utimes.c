/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* utimensat(2) and futimens(2): values, UTIME_NOW and UTIME_OMIT, and who may set what. */
#include "harness.h"

static const struct fs_case cases[] = {
    { "both", "file f 644; utimens f 100 200; atime f = 100.000000000; mtime f = 200.000000000" },
    { "nanoseconds", "file f 644; utimens f 100.123456789 200.987654321; atime f = 100.123456789;"
                     "mtime f = 200.987654321" },
    { "nanosecond-1", "file f 644; utimens f 1.000000001 2.999999999; atime f = 1.000000001;"
                      "mtime f = 2.999999999" },
    { "omit-atime", "file f 644; utimens f 1 2; utimens f omit 3; atime f = 1.000000000;"
                    "mtime f = 3.000000000" },
    { "omit-mtime", "file f 644; utimens f 1 2; utimens f 3 omit; atime f = 3.000000000;"
                    "mtime f = 2.000000000" },
    { "omit-both", "file f 644; utimens f 1 2; mark a f; utimens f omit omit; moved a f = -" },
    { "omit-both-other", "u> file f 644; v> utimens f omit omit" },
    { "now-mtime", "file f 644; utimens f 1 2; mark a f; utimens f omit now; moved a f = mc;"
                   "atime f = 1.000000000" },
    { "now-atime", "file f 644; utimens f 1 2; mark a f; utimens f now omit; amoved a f = a;"
                   "mtime f = 2.000000000" },
    { "now-both", "file f 644; utimens f 1 2; mark a f; utimens f now now; moved a f = mc;"
                  "amoved a f = a" },
    { "null",
      "file f 644; utimens f 1 2; mark a f; utimens f null; moved a f = mc; amoved a f = a" },
    { "ctime", "file f 644; mark a f; utimens f 1 2; ctime f != 2.000000000" },
    { "bad-nanoseconds", "file f 644; utimens f 1.1000000000 2 = EINVAL" },
    { "negative-nanoseconds", "file f 644; utimens f 1 2.-1 = EINVAL" },
    { "fd", "file f 644; open a f rd; utimens $a 5.000000005 6.000000006; atime f = 5.000000005;"
            "mtime f = 6.000000006" },
    { "fd-null",
      "file f 644; utimens f 1 2; open a f rd; mark a f; utimens $a null; moved a f = mc" },
    { "follow", "file f 644; symlink f l; utimens l 5 6; mtime f = 6.000000000;"
                "mtime l != 6.000000000" },
    { "nofollow", "file f 644; utimens f 1 2; symlink f l; lutimens l 5 6; mtime l = 6.000000000;"
                  "mtime f = 2.000000000" },
    { "dangling", "symlink f l; utimens l 1 2 = ENOENT; lutimens l 1 2; mtime l = 2.000000000" },
    { "dir", "mkdir d 755; utimens d 5 6; atime d = 5.000000000; mtime d = 6.000000000" },
    { "fifo", "mknod p fifo 644; utimens p 5 6; mtime p = 6.000000000" },
    { "chr", "mknod p chr 644 1 3; utimens p 5 6; mtime p = 6.000000000" },
    { "missing", "utimens f 1 2 = ENOENT" },
    { "under-file", "file d 644; utimens d/f 1 2 = ENOTDIR" },
    { "no-search", "mkdir d 700; file d/f 666; u> utimens d/f null = EACCES" },
    { "owner-set", "u> file f 0; u> utimens f 1 2; mtime f = 2.000000000" },
    { "owner-now", "u> file f 0; utimens f 1 2; u> utimens f now now; mtime f != 2.000000000" },
    { "owner-null", "u> file f 0; u> utimens f null" },
    { "writer-set", "u> file f 666; v> utimens f 1 2 = EPERM" },
    { "writer-now", "u> file f 666; utimens f 1 2; v> utimens f now now; mtime f != 2.000000000" },
    { "writer-null", "u> file f 666; utimens f 1 2; v> utimens f null; mtime f != 2.000000000" },
    { "writer-now-omit", "u> file f 666; v> utimens f now omit = EPERM" },
    { "writer-omit-now", "u> file f 666; v> utimens f omit now = EPERM" },
    { "writer-set-omit", "u> file f 666; v> utimens f 1 omit = EPERM" },
    { "group-writer-null", "u> file f 660; g> utimens f null; v> utimens f null = EACCES" },
    { "reader-null", "u> file f 644; v> utimens f null = EACCES" },
    { "reader-now", "u> file f 644; v> utimens f now now = EACCES" },
    { "reader-set", "u> file f 644; v> utimens f 1 2 = EPERM" },
    { "root-set", "u> file f 0; utimens f 1 2; mtime f = 2.000000000" },
    { "root-null", "u> file f 0; utimens f 1 2; utimens f null; mtime f != 2.000000000" },
    { "survives-read", "file f 644 abc; utimens f 1000000000.000000007 1000000001.000000008;"
                       "data f 0 9 = abc; mtime f = 1000000001.000000008" },
    { "survives-chmod",
      "file f 644; utimens f 1 2; chmod f 600; chown f 5 6; mtime f = 2.000000000" },
    { "survives-rename", "file f 644; utimens f 1 2; rename f g; mtime g = 2.000000000;"
                         "atime g = 1.000000000" },
    { "survives-link", "file f 644; utimens f 1 2; link f g; unlink f; mtime g = 2.000000000" },
    { "survives-fsync", "file f 644; open a f rw; utimens f 1 2.000000003; fsync a;"
                        "mtime f = 2.000000003" },
    { "after-write-and-close", "open a f rw|creat 644; write a abc = 3; utimens $a 1 2; close a;"
                               "mtime f = 2.000000000" },
    { "dir-survives-lookup", "mkdir d 755; file d/f 644; utimens d 1 2; stat d/f;"
                             "mtime d = 2.000000000" },
};

/* Before the epoch, and past the years where 31, 32 and 34 bits of seconds end; all within what
 * 64-bit nanoseconds hold, and within 1901 to 2446, what ext4's inodes of 256 bytes hold. */
static const long long seconds[] = { -2147483647LL,
                                     -2000000000,
                                     -86400,
                                     -1,
                                     0,
                                     1,
                                     999999999,
                                     2147483646LL,
                                     2147483647LL,
                                     2147483648LL,
                                     4294967295LL,
                                     4294967296LL,
                                     4294967297LL,
                                     6442450943LL,
                                     7258118400LL,
                                     9000000000LL };

void area_utimes(void)
{
    SUITE_TABLE("utimens", cases);
    for (size_t i = 0; i < ARRAY_COUNT(seconds); i++)
        suite_script_format(text("utimens/second%+lld", seconds[i]),
                            "file f 644; utimens f %lld.000000001 %lld.999999999;"
                            "atime f = %lld.000000001; mtime f = %lld.999999999; open a f rw;"
                            "fsync a; mtime $a = %lld.999999999",
                            seconds[i], seconds[i], seconds[i], seconds[i], seconds[i]);
}
