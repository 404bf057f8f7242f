/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* truncate(2) and ftruncate(2): sizes, zeros, permissions, and what they must refuse. */
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct fs_case cases[] = {
    { "down", "file f 644 A*100; truncate f 10; size f = 10; data f 0 100 = A*10" },
    { "up", "file f 644 A*10; truncate f 100; size f = 100; data f 0 200 = A*10+0*90" },
    { "to-zero", "file f 644 A*100; truncate f 0; size f = 0; data f 0 9 = \"\"" },
    { "same", "file f 644 A*100; truncate f 100; data f 0 200 = A*100" },
    { "empty-up", "file f 644; truncate f 4097; size f = 4097; data f 0 5000 = 0*4097" },
    { "negative", "file f 644 abc; truncate f -1 = EINVAL; size f = 3" },
    { "negative-fd", "file f 644 abc; open a f rw; truncate $a -1 = EINVAL; size f = 3" },
    { "dir", "mkdir d 755; truncate d 0 = EISDIR" },
    { "missing", "truncate f 0 = ENOENT" },
    { "under-file", "file d 644; truncate d/f 0 = ENOTDIR" },
    { "no-permission", "file f 644 abc; u> truncate f 0 = EACCES; size f = 3" },
    { "no-permission-owner", "u> file f 444 abc; u> truncate f 0 = EACCES; size f = 3" },
    { "no-search", "mkdir d 700; file d/f 666 abc; u> truncate d/f 0 = EACCES" },
    { "write-only-mode", "file f 222 abc; u> truncate f 1; size f = 1" },
    { "fd-read-only", "file f 644 abc; open a f rd; truncate $a 0 = EINVAL; size f = 3" },
    { "fd-permission-at-open", "file f 666 abc; u> open a f rw; chmod f 0; u> truncate $a 1;"
                               "size f = 1" },
    { "fd-dir", "mkdir d 755; open a d rd; truncate $a 0 = EINVAL" },
    { "follows-symlink", "file f 644 abc; symlink f l; truncate l 1; size f = 1" },
    { "dangling", "symlink f l; truncate l 0 = ENOENT; lstat f = ENOENT" },
    { "keeps-offset", "file f 644 A*100; open a f rw; lseek a 50 set = 50; truncate $a 10;"
                      "lseek a 0 cur = 50; write a B = 1; data f 0 99 = A*10+0*40+B" },
    { "read-past-new-end", "file f 644 A*100; open a f rw; lseek a 50 set = 50; truncate $a 10;"
                           "read a 10 = \"\"" },
    { "hard-link", "file f 644 A*100; link f g; truncate g 5; size f = 5" },
    { "large-sparse", "file f 644 abc; truncate f 1T; size f = 1099511627776; data f 0 3 = abc;"
                      "data f 1T-10 20 = 0*10; blocks f < 4096" },
    { "large-sparse-down", "file f 644 abc; truncate f 1T; truncate f 3; size f = 3;"
                           "data f 0 9 = abc" },
    { "frees-blocks", "file f 644 A*1M; open a f rw; fsync a; truncate f 4096; fsync a;"
                      "blocks f <= 64" },
    { "2g-boundary", "file f 644; truncate f 2G; size f = 2147483648; truncate f 2G-1;"
                     "size f = 2147483647" },
    { "4g-boundary", "file f 644; truncate f 4G; size f = 4294967296; truncate f 4G+1;"
                     "size f = 4294967297" },
    { "4g-data", "open a f rw|creat 644; pwrite a 4G-2 abcd = 4; size f = 4294967298;"
                 "pread a 4G-3 9 = 0*1+abcd; truncate f 4G-1; data f 4G-3 9 = 0*1+a" },
    { "unaligned-hole", "open a f rw|creat 644; pwrite a 10000 abc = 3; truncate f 9000;"
                        "truncate f 20000; data f 0 20000 = 0*20000" },
};

/* Shrinking then growing must show zeros, whatever lay there: positions around a block's edges. */
static const int edges[] = { 0, 1, 511, 512, 4095, 4096, 4097, 8191, 8192, 12287 };

static void matrix_edges(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(edges); i++) {
        for (int fsynced = 0; fsynced < 2; fsynced++)
            suite_script_format(
                text("truncate/shrink-grow-%d%s", edges[i], fsynced ? "-synced" : ""),
                "file f 644 A*12288; open a f rw; %s; truncate f %d; truncate $a "
                "16384; data f 0 16384 = A*%d+0*%d",
                fsynced ? "fsync a" : "stat f", edges[i], edges[i], 16384 - edges[i]);
        suite_script_format(text("truncate/shrink-write-past-%d", edges[i]),
                            "file f 644 A*12288; open a f rw; truncate f %d; pwrite a 14000 B = 1;"
                            "data f 0 16384 = A*%d+0*%d+B",
                            edges[i], edges[i], 14000 - edges[i]);
        suite_script_format(text("truncate/grow-write-%d", edges[i]),
                            "file f 644; open a f rw; truncate f 16384; pwrite a %d BCD = 3;"
                            "data f 0 16384 = 0*%d+BCD+0*%d",
                            edges[i], edges[i], 16384 - 3 - edges[i]);
    }
}

/* The largest file is the filesystem's own business; refusing is EFBIG or EINVAL (truncate(2)), and
 * leaves the size; accepting must be exact. */
static void huge_size(const void *unused)
{
    (void)unused;
    case_script("file f 644 abc");
    if (truncate("f", INT64_MAX) == 0) {
        case_script("size f = 9223372036854775807; data f 0 5 = abc+0*2; truncate f 3; size f = 3");
        return;
    }
    CHECK(errno == EFBIG || errno == EINVAL, "expected EFBIG, got %s", error_name(errno));
    case_script("size f = 3; data f 0 9 = abc");
}

static void resource_limit(const void *unused)
{
    struct rlimit limit = { .rlim_cur = 8192, .rlim_max = 8192 };

    (void)unused;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit: %s", error_name(errno));
    case_script("u> file f 644 A*100; u> open a f rw; u> truncate f 8193 = EFBIG; size f = 100;"
                "u> truncate $a 8193 = EFBIG; u> truncate f 8192; size f = 8192;"
                "u> pwrite a 8192 B = EFBIG; u> pwrite a 8190 BBBB = 2; size f = 8192");
}

void area_truncate(void)
{
    SUITE_TABLE("truncate", cases);
    matrix_edges();
    suite_function("truncate/largest", huge_size, NULL);
    suite_function("truncate/resource-limit", resource_limit, NULL);
}
