/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* read(2), write(2) and their kin: offsets, holes, vectors, sizes around block edges. */
#include "harness.h"

static const struct fs_case cases[] = {
    { "write-read", "open a f rw|creat 644; write a hello = 5; pread a 0 9 = hello; size f = 5" },
    { "offset-moves", "open a f rw|creat 644; write a hello = 5; lseek a 0 cur = 5; write a w = 1;"
                      "data f 0 9 = hellow" },
    { "pwrite-keeps-offset", "open a f rw|creat 644; pwrite a 3 abc = 3; lseek a 0 cur = 0;"
                             "data f 0 9 = 0*3+abc" },
    { "pread-keeps-offset", "file f 644 hello; open a f rd; pread a 2 2 = ll; lseek a 0 cur = 0" },
    { "overwrite", "file f 644 A*10; put f BBB = 3; data f 0 20 = BBB+A*7" },
    { "overwrite-across-eof", "file f 644 A*10; open a f rw; pwrite a 8 BBBB = 4; size f = 12;"
                              "data f 0 20 = A*8+BBBB" },
    { "write-nothing", "open a f rw|creat 644; pwrite a 100 \"\" = 0; size f = 0" },
    { "read-at-eof", "file f 644 abc; open a f rd; read a 3 = abc; read a 3 = \"\"" },
    { "read-past-eof", "file f 644 abc; open a f rd; pread a 100 3 = \"\"" },
    { "read-across-eof", "file f 644 abc; open a f rd; pread a 1 100 = bc" },
    { "read-empty", "file f 644; data f 0 10 = \"\"" },
    { "negative-pwrite", "open a f rw|creat 644; pwrite a -1 x = EINVAL" },
    { "hole", "open a f rw|creat 644; pwrite a 1M abc = 3; size f = 1048579; pread a 0 1M = 0*1M;"
              "pread a 1M 9 = abc" },
    { "hole-blocks", "open a f rw|creat 644; pwrite a 1G abc = 3; fsync a; blocks f < 2048" },
    { "hole-between", "open a f rw|creat 644; write a A*4096 = 4096; pwrite a 12288 B*4096 = 4096;"
                      "pread a 0 16384 = A*4096+0*8192+B*4096" },
    { "fill-hole", "open a f rw|creat 644; truncate $a 16384; pwrite a 5000 B*100 = 100;"
                   "pread a 0 16384 = 0*5000+B*100+0*11284" },
    { "hole-unaligned", "open a f rw|creat 644; write a A = 1; pwrite a 10001 B = 1;"
                        "pread a 0 10002 = A+0*10000+B" },
    { "grow-over-old-tail", "open a f rw|creat 644; write a A*5000 = 5000; truncate $a 100;"
                            "pwrite a 6000 B = 1; pread a 0 7000 = A*100+0*5900+B" },
    { "writev", "open a f rw|creat 644; writev a abc D*5000 ef = 5005; pread a 0 6000 = "
                "abc+D*5000+ef" },
    { "writev-empty-part", "open a f rw|creat 644; writev a ab \"\" cd = 4; pread a 0 9 = abcd" },
    { "readv", "file f 644 abcdefgh; open a f rd; readv a 3 3 = abcdef; lseek a 0 cur = 6" },
    { "readv-short", "file f 644 abcd; open a f rd; readv a 3 3 = abcd" },
    { "large-write", "open a f rw|creat 644; write a A*8M = 8388608; size f = 8388608;"
                     "pread a 0 8M = A*8M" },
    { "large-overwrite", "open a f rw|creat 644; write a A*4M = 4194304; pwrite a 1000001 B*2M = "
                         "2097152; pread a 0 4M = A*1000001+B*2097152+A*1097151" },
    { "chunk-edge", "open a f rw|creat 644; pwrite a 2M-3 abcdef = 6; pread a 2M-4 9 = 0*1+abcdef;"
                    "size f = 2097155" },
    { "two-descriptors", "open a f rw|creat 644; open b f rd; write a abc = 3; read b 9 = abc;"
                         "write a def = 3; read b 9 = def" },
    { "offsets-are-apart", "file f 644 abcdef; open a f rd; open b f rd; read a 3 = abc;"
                           "read b 2 = ab" },
    { "reopen", "open a f rw|creat 644; write a A*10000 = 10000; fsync a; close a;"
                "data f 0 20000 = A*10000" },
    { "lseek-set", "file f 644 abcdef; open a f rd; lseek a 4 set = 4; read a 9 = ef" },
    { "lseek-cur", "file f 644 abcdef; open a f rd; lseek a 4 set = 4; lseek a -2 cur = 2;"
                   "read a 2 = cd" },
    { "lseek-end", "file f 644 abcdef; open a f rd; lseek a -2 end = 4; read a 9 = ef" },
    { "lseek-past-end", "file f 644 abc; open a f rd; lseek a 100 end = 103; size f = 3" },
    { "lseek-negative", "file f 644 abc; open a f rd; lseek a -1 set = EINVAL;"
                        "lseek a -4 end = EINVAL" },
    { "lseek-end-after-other", "file f 644 abc; open a f rd; append f def = 3; lseek a 0 end = 6" },
    { "fsync", "open a f rw|creat 644; write a abc = 3; fsync a; fdatasync a; syncfs a" },
    { "fsync-read-only", "file f 644; open a f rd; fsync a" },
    { "blocks-grow", "open a f rw|creat 644; write a A*1M = 1048576; fsync a; blocks f >= 2048" },
    { "permission-not-rechecked",
      "file f 600 abc; open a f rw; u> read a 9 = abc; u> write a d = 1" },
    { "byte-values",
      "open a f rw|creat 644; write a \x01\x7f\xff = 3; pread a 0 9 = \x01\x7f\xff" },
};

/* One write of `length` at `offset`: into a hole, over data, and read back in a piece. */
static const int offsets[] = { 0, 1, 4095, 4096, 4097, 65535 };
static const int lengths[] = { 1, 100, 4095, 4096, 4097, 20000 };

void area_io(void)
{
    SUITE_TABLE("io", cases);
    for (size_t i = 0; i < ARRAY_COUNT(offsets); i++) {
        for (size_t j = 0; j < ARRAY_COUNT(lengths); j++) {
            int offset = offsets[i], length = lengths[j], rest = 100000 - offset - length;
            suite_script_format(text("io/fresh-%d-%d", offset, length),
                                "open a f rw|creat 644; pwrite a %d B*%d = %d; size f = %d;"
                                "pread a 0 100000 = 0*%d+B*%d",
                                offset, length, length, offset + length, offset, length);
            suite_script_format(text("io/over-%d-%d", offset, length),
                                "open a f rw|creat 644; write a A*100000 = 100000;"
                                "pwrite a %d B*%d = %d; size f = 100000;"
                                "pread a 0 200000 = A*%d+B*%d+A*%d",
                                offset, length, length, offset, length, rest);
        }
    }
}
