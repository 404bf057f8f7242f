/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fallocate(2), lseek(2) SEEK_DATA and SEEK_HOLE, copy_file_range(2). Positions of holes are
 * multiples of 64 KiB, so that any block size up to there gives the same answers.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static const struct fs_case fallocate_cases[] = {
    { "extend", "open a f rw|creat 644; fallocate a 0 0 1M; size f = 1048576; data f 0 1M = 0*1M" },
    { "extend-blocks", "open a f rw|creat 644; fallocate a 0 0 1M; blocks f >= 2048" },
    { "extend-offset", "file f 644 abc; open a f rw; fallocate a 0 1M 10; size f = 1048586;"
                       "data f 0 5 = abc+0*2" },
    { "inside", "file f 644 A*10000; open a f rw; fallocate a 0 100 100; size f = 10000;"
                "data f 0 10000 = A*10000" },
    { "over-hole", "open a f rw|creat 644; truncate $a 1M; fallocate a 0 0 1M; size f = 1048576;"
                   "blocks f >= 2048; data f 0 1M = 0*1M" },
    { "keep-size", "file f 644 abc; open a f rw; fallocate a keep 0 1M; size f = 3; fsync a;"
                   "blocks f >= 2048; data f 0 9 = abc" },
    { "keep-size-grow", "file f 644 abc; open a f rw; fallocate a keep 0 1M; truncate f 1M;"
                        "data f 0 1M = abc+0*1048573" },
    { "keep-size-write", "file f 644; open a f rw; fallocate a keep 0 1M; pwrite a 5000 B = 1;"
                         "size f = 5001; data f 0 9999 = 0*5000+B" },
    { "write-into", "open a f rw|creat 644; fallocate a 0 0 64K; pwrite a 5000 B*10 = 10;"
                    "data f 0 64K = 0*5000+B*10+0*60526" },
    { "old-bytes-not-shown", "file f 644 A*64K; open a f rw; truncate $a 0; fallocate a 0 0 64K;"
                             "data f 0 64K = 0*64K" },
    { "punch", "file f 644 A*64K; open a f rw; fallocate a keep|punch 8192 4096; size f = 65536;"
               "data f 0 64K = A*8192+0*4096+A*53248" },
    { "punch-unaligned", "file f 644 A*64K; open a f rw; fallocate a keep|punch 1000 10000;"
                         "data f 0 64K = A*1000+0*10000+A*54536" },
    { "punch-inside-block", "file f 644 A*4096; open a f rw; fallocate a keep|punch 100 200;"
                            "data f 0 4096 = A*100+0*200+A*3796" },
    { "punch-all", "file f 644 A*1M; open a f rw; fsync a; fallocate a keep|punch 0 1M; fsync a;"
                   "blocks f < 256; size f = 1048576; data f 0 1M = 0*1M" },
    { "punch-past-eof", "file f 644 A*100; open a f rw; fallocate a keep|punch 50 1M; size f = 100;"
                        "data f 0 200 = A*50+0*50" },
    { "punch-beyond-eof",
      "file f 644 A*100; open a f rw; fallocate a keep|punch 1M 1M; size f = 100;"
      "data f 0 200 = A*100" },
    { "punch-hole-again", "open a f rw|creat 644; truncate $a 1M; fallocate a keep|punch 0 1M;"
                          "data f 0 1M = 0*1M" },
    { "punch-write-back", "file f 644 A*64K; open a f rw; fallocate a keep|punch 0 64K;"
                          "pwrite a 100 B = 1; data f 0 64K = 0*100+B+0*65435" },
    { "punch-without-keep", "file f 644 A*64K; open a f rw; fallocate a punch 0 4096 = EOPNOTSUPP;"
                            "data f 0 64K = A*64K" },
    { "zero", "file f 644 A*64K; open a f rw; fallocate a zero 8192 4096; size f = 65536;"
              "data f 0 64K = A*8192+0*4096+A*53248" },
    { "zero-unaligned", "file f 644 A*64K; open a f rw; fallocate a zero 1000 10000;"
                        "data f 0 64K = A*1000+0*10000+A*54536" },
    { "zero-inside-block", "file f 644 A*4096; open a f rw; fallocate a zero 100 200;"
                           "data f 0 4096 = A*100+0*200+A*3796" },
    { "zero-extend", "file f 644 A*100; open a f rw; fallocate a zero 50 10000; size f = 10050;"
                     "data f 0 20000 = A*50+0*10000" },
    { "zero-keep", "file f 644 A*100; open a f rw; fallocate a zero|keep 50 10000; size f = 100;"
                   "data f 0 200 = A*50+0*50; truncate f 10000; data f 0 10000 = A*50+0*9950" },
    { "zero-hole",
      "open a f rw|creat 644; truncate $a 1M; fallocate a zero 0 1M; data f 0 1M = 0*1M;"
      "blocks f >= 2048" },
    { "zero-beyond-eof", "file f 644 abc; open a f rw; fallocate a zero 64K 64K; size f = 131072;"
                         "data f 0 5 = abc+0*2" },
    { "length-zero", "file f 644; open a f rw; fallocate a 0 0 0 = EINVAL" },
    { "length-negative", "file f 644; open a f rw; fallocate a 0 0 -1 = EINVAL" },
    { "offset-negative", "file f 644; open a f rw; fallocate a 0 -1 10 = EINVAL; size f = 0" },
    { "overflow", "file f 644 abc; open a f rw; fallocate a 0 9223372036854775800 100 = EFBIG;"
                  "size f = 3" },
    { "flags-unknown", "file f 644; open a f rw; fallocate a 0x1000 0 10 = EOPNOTSUPP" },
    { "punch-and-zero",
      "file f 644; open a f rw; fallocate a keep|punch|zero 0 10 = EOPNOTSUPP|EINVAL" },
    { "read-only", "file f 644; open a f rd; fallocate a 0 0 10 = EBADF" },
    { "dir", "mkdir d 755; open a d rd; fallocate a 0 0 10 = EBADF|EISDIR" },
    { "fifo", "mknod p fifo 644; open a p rw; fallocate a 0 0 10 = ESPIPE" },
    /* the size may stay or grow by what was allocated before it failed (ext4); the bytes stay */
    { "no-space",
      "file f 644 abc; open a f rw; fallocate a 0 0 8T = ENOSPC|EFBIG; size f >= 3;"
      "size f < 8T; data f 0 5 = abc|abc+0*2; truncate f 3; data f 0 9 = abc; fsync a" },
    { "append-flag", "file f 644 abc; open a f rw|append; fallocate a 0 0 100; size f = 100" },
    { "shared-by-link", "file f 644; link f g; open a f rw; fallocate a 0 0 100; size g = 100" },
    { "offset-stays", "file f 644 abc; open a f rw; fallocate a 0 0 64K; lseek a 0 cur = 0" },
    { "truncate-frees", "file f 644; open a f rw; fallocate a 0 0 1M; truncate f 0; fsync a;"
                        "blocks f < 64" },
};

static const struct fs_case seek_cases[] = {
    { "data-plain", "file f 644 A*64K; open a f rd; lseek a 0 data = 0; lseek a 1000 data = 1000" },
    { "hole-plain",
      "file f 644 A*64K; open a f rd; lseek a 0 hole = 65536; lseek a 1000 hole = 65536" },
    { "empty", "file f 644; open a f rd; lseek a 0 data = ENXIO; lseek a 0 hole = ENXIO" },
    { "at-eof",
      "file f 644 A*100; open a f rd; lseek a 100 data = ENXIO; lseek a 100 hole = ENXIO" },
    { "past-eof",
      "file f 644 A*100; open a f rd; lseek a 200 data = ENXIO; lseek a 200 hole = ENXIO" },
    { "negative", "file f 644 A*100; open a f rd; lseek a -1 data = ENXIO|EINVAL;"
                  "lseek a -1 hole = ENXIO|EINVAL" },
    { "all-hole",
      "file f 644; truncate f 1M; open a f rd; lseek a 0 data = ENXIO; lseek a 0 hole = 0;"
      "lseek a 5000 hole = 5000" },
    { "leading-hole", "open a f rw|creat 644; pwrite a 1M A*64K = 65536; lseek a 0 data = 1048576;"
                      "lseek a 0 hole = 0; lseek a 1M hole = 1114112" },
    { "middle-hole",
      "open a f rw|creat 644; write a A*64K = 65536; pwrite a 192K A*64K = 65536;"
      "lseek a 0 hole = 65536; lseek a 64K data = 196608; lseek a 100K hole = 102400;"
      "lseek a 192K hole = 262144" },
    { "trailing-hole", "file f 644 A*64K; truncate f 256K; open a f rd; lseek a 0 hole = 65536;"
                       "lseek a 64K data = ENXIO" },
    { "inside-data",
      "file f 644 A*64K; open a f rd; lseek a 5 data = 5; lseek a 65535 data = 65535" },
    { "punched", "file f 644 A*256K; open a f rw; fsync a; fallocate a keep|punch 64K 64K;"
                 "lseek a 0 hole = 65536; lseek a 64K data = 131072" },
    { "punched-twice",
      "file f 644 A*512K; open a f rw; fallocate a keep|punch 64K 64K;"
      "fallocate a keep|punch 256K 64K; lseek a 0 hole = 65536; lseek a 128K hole = 262144;"
      "lseek a 256K data = 327680" },
    { "moves-offset", "open a f rw|creat 644; pwrite a 64K A*64K = 65536; lseek a 0 data = 65536;"
                      "lseek a 0 cur = 65536; read a 3 = AAA" },
    { "failed-keeps-offset", "file f 644 A*100; open a f rd; lseek a 7 set = 7;"
                             "lseek a 200 data = ENXIO; lseek a 0 cur = 7" },
    { "synced",
      "open a f rw|creat 644; pwrite a 1M A*64K = 65536; fsync a; lseek a 0 data = 1048576" },
    { "many", "open a f rw|creat 644; pwrite a 64K A*64K = 65536; pwrite a 192K A*64K = 65536;"
              "pwrite a 320K A*64K = 65536; lseek a 0 data = 65536; lseek a 64K hole = 131072;"
              "lseek a 128K data = 196608; lseek a 192K hole = 262144; lseek a 256K data = 327680;"
              "lseek a 320K hole = 393216; lseek a 393216 data = ENXIO" },
    { "truncated", "file f 644 A*256K; open a f rw; truncate f 64K; truncate f 256K;"
                   "lseek a 0 hole = 65536; lseek a 64K data = ENXIO" },
    { "filled", "file f 644; truncate f 192K; open a f rw; pwrite a 0 A*192K = 196608;"
                "lseek a 0 hole = 196608" },
};

static const struct fs_case copy_cases[] = {
    { "plain", "file f 644 abcdef; open a f rd; open b g rw|creat 644; copy a 0 b 0 6 = 6;"
               "data g 0 9 = abcdef; size g = 6" },
    { "part", "file f 644 abcdef; open a f rd; open b g rw|creat 644; copy a 2 b 1 3 = 3;"
              "data g 0 9 = 0*1+cde" },
    { "own-offsets",
      "file f 644 abcdef; open a f rd; open b g rw|creat 644; copy a - b - 3 = 3;"
      "lseek a 0 cur = 3; lseek b 0 cur = 3; copy a - b - 9 = 3; data g 0 9 = abcdef" },
    { "given-offsets-keep",
      "file f 644 abcdef; open a f rd; open b g rw|creat 644; copy a 0 b 0 3 = 3;"
      "lseek a 0 cur = 0; lseek b 0 cur = 0" },
    { "past-eof",
      "file f 644 abc; open a f rd; open b g rw|creat 644; copy a 10 b 0 5 = 0; size g = 0" },
    { "across-eof", "file f 644 abc; open a f rd; open b g rw|creat 644; copy a 1 b 0 100 = 2;"
                    "data g 0 9 = bc" },
    { "length-0", "file f 644 abc; open a f rd; open b g rw|creat 644; copy a 0 b 0 0 = 0" },
    { "over-data", "file f 644 B*5000; file g 644 A*10000; open a f rd; open b g rw;"
                   "copy a 0 b 100 5000 = 5000; data g 0 20000 = A*100+B*5000+A*4900" },
    { "large", "file f 644 A*4M; open a f rd; open b g rw|creat 644; copy a 0 b 0 4M = 4194304;"
               "data g 0 4M = A*4M" },
    { "hole", "open a f rw|creat 644; pwrite a 1M abc = 3; open b g rw|creat 644;"
              "write b X*100 = 100; copy a 0 b 0 1048579 = 1048579; data g 0 1M = 0*1M;"
              "data g 1M 9 = abc" },
    { "same-file",
      "file f 644 A*4096+B*4096; open a f rw; open b f rw; copy a 0 b 8192 4096 = 4096;"
      "data f 0 20000 = A*4096+B*4096+A*4096" },
    { "same-file-overlap",
      "file f 644 A*8192; open a f rw; open b f rw; copy a 0 b 100 4096 = EINVAL" },
    { "flags", "file f 644 abc; open a f rd; open b g rw|creat 644; copy a 0 b 0 3 1 = EINVAL" },
    { "to-read-only",
      "file f 644 abc; file g 644; open a f rd; open b g rd; copy a 0 b 0 3 = EBADF" },
    { "from-write-only",
      "file f 644 abc; open a f wr; open b g rw|creat 644; copy a 0 b 0 3 = EBADF" },
    { "to-append", "file f 644 abc; file g 644; open a f rd; open b g rw|append;"
                   "copy a 0 b 0 3 = EBADF" },
    { "from-dir", "mkdir d 755; open a d rd; open b g rw|creat 644; copy a 0 b 0 3 = EISDIR" },
    { "from-fifo",
      "mknod p fifo 644; open a p rw; open b g rw|creat 644; copy a - b 0 3 = EINVAL" },
    { "source-untouched",
      "file f 644 abcdef; open a f rd; open b g rw|creat 644; copy a 0 b 0 6 = 6;"
      "put g XYZ = 3; data f 0 9 = abcdef" },
    { "unaligned", "file f 644 A*3000+B*7000; open a f rd; open b g rw|creat 644;"
                   "copy a 2999 b 4097 5001 = 5001; data g 0 20000 = 0*4097+A+B*5000" },
};

/* Each mode over a range that lies differently to the blocks; model is the same for all. */
static const struct {
    int offset, length;
} ranges[] = { { 0, 4096 },    { 0, 1 },       { 4095, 2 },  { 4096, 4096 },  { 100, 8192 },
               { 4000, 4192 }, { 8192, 8192 }, { 1, 16383 }, { 12288, 4096 }, { 16383, 1 } };

static void matrix_ranges(void)
{
    static const char *const modes[] = { "keep|punch", "zero", "zero|keep", "0", "keep" };

    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        for (size_t j = 0; j < ARRAY_COUNT(ranges); j++) {
            int offset = ranges[j].offset, length = ranges[j].length;
            bool clears = i < 3;
            suite_script_format(text("fallocate/%s-%d-%d", modes[i], offset, length),
                                "file f 644 A*16384; open a f rw; fallocate a %s %d %d;"
                                "size f = 16384; data f 0 20000 = A*%d+%c*%d+A*%d",
                                modes[i], offset, length, offset, clears ? '0' : 'A', length,
                                16384 - offset - length);
        }
    }
}

/* Unwritten blocks may be told as data or as holes; what is told must at least be in order. */
static void seek_unwritten(const void *unused)
{
    (void)unused;
    case_script("open a f rw|creat 644; fallocate a 0 0 256K; pwrite a 128K A*64K = 65536");
    int descriptor = slot_descriptor("a");
    off_t data = lseek(descriptor, 0, SEEK_DATA);
    CHECK(data == 0 || data == 128 << 10, "SEEK_DATA: expected 0 or 131072, got %lld",
          (long long)data);
    off_t hole = lseek(descriptor, 128 << 10, SEEK_HOLE);
    CHECK(hole == 192 << 10 || hole == 256 << 10, "SEEK_HOLE: expected 196608 or 262144, got %lld",
          (long long)hole);
}

void area_allocate(void)
{
    SUITE_TABLE("fallocate", fallocate_cases);
    SUITE_TABLE("seek", seek_cases);
    suite_function("seek/unwritten", seek_unwritten, NULL);
    SUITE_TABLE("copy", copy_cases);
    matrix_ranges();
}
