/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fallocate(2), collapse and insert, on filesystems with blocks of 4096 bytes: results, errors, and that
 * page cache and mappings show the file as it has become, whatever is stored and read meanwhile. Where
 * the kernel does not let them through, a library is preloaded into this program.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define THREE "file f 644 A*4096+B*4096+C*4096; open a f rw; "

static const struct fs_case shift_cases[] = {
    { "collapse", THREE "fallocate a collapse 4096 4096; size f = 8192;"
                        "data f 0 20000 = A*4096+C*4096" },
    { "collapse-first", THREE "fallocate a collapse 0 8192; data f 0 20000 = C*4096" },
    { "collapse-short-tail", "file f 644 A*4096+B*4096+C*10; open a f rw;"
                             "fallocate a collapse 0 4096; size f = 4106;"
                             "data f 0 9999 = B*4096+C*10" },
    { "collapse-hole", "file f 644 A*4096; truncate f 64K; open a f rw; pwrite a 32K B*4096 = 4096;"
                       "fallocate a collapse 4096 28672; size f = 36864;"
                       "data f 0 64K = A*4096+B*4096+0*28672" },
    { "collapse-blocks", "file f 644 A*1M; open a f rw; fallocate a collapse 0 1044480; fsync a;"
                         "blocks f < 64; size f = 4096" },
    { "collapse-keeps-allocated", "file f 644 A*8192; open a f rw; fallocate a keep 8192 1M;"
                                  "fallocate a collapse 0 4096; fsync a; blocks f >= 2048;"
                                  "truncate f 64K; data f 0 64K = A*4096+0*61440" },
    { "collapse-then-append", "file f 644 A*4096+B*4096; open a f rw|append;"
                              "fallocate a collapse 0 4096; write a C = 1; size f = 4097;"
                              "data f 0 9999 = B*4096+C" },
    { "collapse-then-end", THREE "fallocate a collapse 0 4096; lseek a 0 end = 8192" },
    { "collapse-twice", "file f 644 A*4096+B*4096+C*4096+D*4096; open a f rw;"
                        "fallocate a collapse 4096 4096; fallocate a collapse 4096 4096;"
                        "data f 0 20000 = A*4096+D*4096" },
    { "insert", THREE "fallocate a insert 4096 8192; size f = 20480;"
                      "data f 0 30000 = A*4096+0*8192+B*4096+C*4096" },
    { "insert-first",
      THREE "fallocate a insert 0 4096; data f 0 20000 = 0*4096+A*4096+B*4096+C*4096" },
    { "insert-is-hole", "file f 644 A*128K; open a f rw; fallocate a insert 64K 64K;"
                        "lseek a 0 hole = 65536; lseek a 64K data = 131072" },
    { "insert-write", THREE "fallocate a insert 4096 4096; pwrite a 5000 x = 1;"
                            "data f 4096 4096 = 0*904+x+0*3191; data f 8192 3 = BBB" },
    { "insert-then-append", "file f 644 A*4096+B*10; open a f rw|append; fallocate a insert 0 4096;"
                            "write a C = 1; size f = 8203; data f 4096 9999 = A*4096+B*10+C" },
    { "insert-then-collapse", THREE "fallocate a insert 4096 1M; fallocate a collapse 4096 1M;"
                                    "size f = 12288; data f 0 20000 = A*4096+B*4096+C*4096" },
    { "times", THREE "mark a f; fallocate a collapse 0 4096; moved a f = mc; mark b f;"
                     "fallocate a insert 0 4096; moved b f = mc" },
    { "by-link", THREE "link f g; fallocate a collapse 0 4096; size g = 8192" },
    { "unlinked", THREE "unlink f; fallocate a collapse 0 4096; pread a 0 3 = BBB" },
    { "collapse-to-eof", THREE "fallocate a collapse 4096 8192 = EINVAL; size f = 12288" },
    { "collapse-past-eof", THREE "fallocate a collapse 4096 1M = EINVAL;"
                                 "data f 0 20000 = A*4096+B*4096+C*4096" },
    { "insert-at-eof", THREE "fallocate a insert 12288 4096 = EINVAL; size f = 12288" },
    { "insert-past-eof", THREE "fallocate a insert 16384 4096 = EINVAL" },
    { "empty-file", "file f 644; open a f rw; fallocate a collapse 0 4096 = EINVAL;"
                    "fallocate a insert 0 4096 = EINVAL" },
    { "offset-unaligned", THREE "fallocate a collapse 100 4096 = EINVAL;"
                                "fallocate a insert 100 4096 = EINVAL" },
    { "length-unaligned", THREE "fallocate a collapse 0 100 = EINVAL;"
                                "fallocate a insert 0 4097 = EINVAL" },
    { "length-zero", THREE "fallocate a collapse 0 0 = EINVAL; fallocate a insert 0 0 = EINVAL" },
    { "length-negative",
      THREE "fallocate a collapse 0 -4096 = EINVAL; fallocate a insert 0 -4096 = EINVAL" },
    { "offset-negative",
      THREE "fallocate a collapse -4096 4096 = EINVAL; fallocate a insert -4096 4096 = EINVAL" },
    { "overflow", THREE "fallocate a insert 4096 9223372036854771712 = EFBIG;"
                        "fallocate a collapse 4096 9223372036854771712 = EFBIG; size f = 12288" },
    { "with-keep", THREE "fallocate a collapse|keep 0 4096 = EINVAL|EOPNOTSUPP;"
                         "fallocate a insert|keep 0 4096 = EINVAL|EOPNOTSUPP; size f = 12288" },
    { "both", THREE "fallocate a collapse|insert 0 4096 = EINVAL|EOPNOTSUPP; size f = 12288" },
    { "read-only", "file f 644 A*8192; open a f rd; fallocate a collapse 0 4096 = EBADF;"
                   "fallocate a insert 0 4096 = EBADF; size f = 8192" },
    { "dir", "mkdir d 755; open a d rd; fallocate a collapse 0 4096 = EBADF|EISDIR" },
    { "fifo", "mknod p fifo 644; open a p rw; fallocate a collapse 0 4096 = ESPIPE" },
    { "append-only", "file f 644 A*8192; open a f wr|append; setflags f a;"
                     "fallocate a collapse 0 4096 = EPERM; fallocate a insert 0 4096 = EPERM;"
                     "setflags f -; size f = 8192" },
    { "owner-of-descriptor", "file f 666 A*8192; u> open a f rw; chmod f 000;"
                             "u> fallocate a collapse 0 4096; size f = 4096" },
};

/* ---- mappings ----------------------------------------------------------------------------------- */

static sigjmp_buf fault_return;

static void fault_catch(int signal_number)
{
    siglongjmp(fault_return, signal_number);
}

static int byte_touch(volatile char *at)
{
    signal(SIGBUS, fault_catch);
    int number = sigsetjmp(fault_return, 1);
    if (number == 0)
        *at = (char)(*at + 1);
    return number;
}

static char *map(int fd, size_t pages)
{
    char *address = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    CHECK(address != MAP_FAILED, "mmap: expected ok, got %s", error_name(errno));
    return address;
}

static void must_shift(int fd, int mode, off_t first, off_t count)
{
    CHECK(fallocate(fd, mode, first * PAGE, count * PAGE) == 0, "fallocate: expected ok, got %s",
          error_name(errno));
}

/* What is stored and not synced moves along; the mapping shows it, and so does a read. */
static void stored_moves(const void *argument)
{
    bool insert = argument != NULL;
    off_t to = insert ? 3 : 1;

    case_script("file f 644 A*4096+B*4096+C*4096; open a f rw; data f 0 1 = A");
    char *address = map(slot_descriptor("a"), 8);
    address[2 * PAGE + 7] = 'x';
    must_shift(slot_descriptor("a"), insert ? FALLOC_FL_INSERT_RANGE : FALLOC_FL_COLLAPSE_RANGE, 1,
               1);
    CHECK(address[to * PAGE] == 'C' && address[to * PAGE + 7] == 'x',
          "through the mapping: expected C and x, got %c and %c", address[to * PAGE],
          address[to * PAGE + 7]);
    case_script("data f %d 9 = CCCCCCCxC", (int)to * PAGE);
    address[to * PAGE + 8] = 'y';
    CHECK(msync(address, 8 * PAGE, MS_SYNC) == 0, "msync: got %s", error_name(errno));
    case_script("pread a %d 9 = CCCCCCCxy", (int)to * PAGE);
}

/* Nobody asks for the size in between. */
static void mapping_ends_at_new_eof(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*16384; open a f rw");
    char *address = map(slot_descriptor("a"), 8);
    CHECK(byte_touch(address + 3 * PAGE) == 0, "before: expected no signal");
    must_shift(slot_descriptor("a"), FALLOC_FL_COLLAPSE_RANGE, 0, 2);
    CHECK(byte_touch(address + 2 * PAGE) == SIGBUS, "collapsed, page 2: expected SIGBUS");
    CHECK(byte_touch(address + PAGE) == 0, "collapsed, page 1: expected no signal");
    must_shift(slot_descriptor("a"), FALLOC_FL_INSERT_RANGE, 1, 4);
    CHECK(byte_touch(address + 5 * PAGE) == 0, "inserted, page 5: expected no signal");
    CHECK(byte_touch(address + 6 * PAGE) == SIGBUS, "inserted, page 6: expected SIGBUS");
}

/* ---- while others read and store ---------------------------------------------------------------- */

#define PAGES_MAX 96
#define ROUNDS 150

struct stamp {
    uint64_t is;       /* 0: a hole; at the beginning and the end of its page */
    uint64_t anybodys; /* stored to by who disturbs */
};

static void stamp_put(char *page, uint64_t is)
{
    struct stamp stamp = { .is = is };

    memcpy(page, &stamp, sizeof(stamp));
    memcpy(page + PAGE - sizeof(stamp), &stamp, sizeof(stamp));
}

static void stamp_check(const char *page, uint64_t is, const char *how, int round, int number)
{
    struct stamp head, tail;

    memcpy(&head, page, sizeof(head));
    memcpy(&tail, page + PAGE - sizeof(tail), sizeof(tail));
    CHECK(head.is == is && tail.is == is, "%s, round %d, page %d: expected %d, got %d and %d", how,
          round, number, (int)is, (int)head.is, (int)tail.is);
}

/* Reads all pages again and again, through descriptor and mapping, or stores to them. */
static pid_t disturb(int fd, bool store)
{
    pid_t parent = getpid(), child = fork();

    CHECK(child >= 0, "fork: got %s", error_name(errno));
    if (child > 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    signal(SIGBUS, fault_catch);
    volatile char *address = map(fd, PAGES_MAX);
    char *bytes = malloc(PAGES_MAX * PAGE);
    for (volatile unsigned i = 0;; i++) {
        volatile char *at = address + (size_t)(i * 7 % PAGES_MAX) * PAGE;
        if (sigsetjmp(fault_return, 1) != 0)
            continue; /* past the end just now */
        if (store)
            at[offsetof(struct stamp, anybodys)] = (char)i;
        else if (i % PAGES_MAX == 0 && bytes != NULL)
            (void)!pread(fd, bytes, PAGES_MAX * PAGE, 0);
        else
            (void)*at;
    }
}

static void rounds_run(int fd, char *address)
{
    uint64_t is[PAGES_MAX + 8], next = 1;
    int pages = 64;
    unsigned seed = 5;
    char bytes[PAGE];

    for (int i = 0; i < pages; i++) {
        memset(bytes, 0, PAGE);
        is[i] = next++;
        stamp_put(bytes, is[i]);
        CHECK(pwrite(fd, bytes, PAGE, (off_t)i * PAGE) == PAGE, "pwrite: got %s",
              error_name(errno));
    }
    for (int round = 0; round < ROUNDS; round++) {
        int first = rand_r(&seed) % (pages - 6), count = 1 + rand_r(&seed) % 4;
        bool insert = pages < 32 || (pages < PAGES_MAX - 4 && rand_r(&seed) % 2);
        /* Stored to, not synced: a page behind, and one before. */
        is[pages - 1] = next++;
        stamp_put(address + (size_t)(pages - 1) * PAGE, is[pages - 1]);
        is[first] = next++;
        stamp_put(address + (size_t)first * PAGE, is[first]);
        must_shift(fd, insert ? FALLOC_FL_INSERT_RANGE : FALLOC_FL_COLLAPSE_RANGE, first, count);
        if (insert) {
            memmove(is + first + count, is + first, (size_t)(pages - first) * sizeof(is[0]));
            memset(is + first, 0, (size_t)count * sizeof(is[0]));
            pages += count;
        } else {
            memmove(is + first, is + first + count,
                    (size_t)(pages - first - count) * sizeof(is[0]));
            pages -= count;
        }
        for (int i = 0; i < pages; i++) {
            CHECK(pread(fd, bytes, PAGE, (off_t)i * PAGE) == PAGE, "pread: got %s",
                  error_name(errno));
            stamp_check(bytes, is[i], "read", round, i);
            stamp_check(address + (size_t)i * PAGE, is[i], "mapping", round, i);
        }
        CHECK(pread(fd, bytes, 1, (off_t)pages * PAGE) == 0, "read past the end: expected 0");
    }
    /* And so it is without any cache. */
    CHECK(msync(address, (size_t)pages * PAGE, MS_SYNC) == 0, "msync: got %s", error_name(errno));
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    for (int i = 0; i < pages; i++) {
        CHECK(pread(fd, bytes, PAGE, (off_t)i * PAGE) == PAGE, "pread: got %s", error_name(errno));
        stamp_check(bytes, is[i], "afterwards", ROUNDS, i);
    }
}

static void disturbed(const void *argument)
{
    case_script("file f 644; open a f rw");
    int fd = slot_descriptor("a");
    pid_t child = disturb(fd, argument != NULL);
    rounds_run(fd, map(fd, PAGES_MAX));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

void area_shift(void)
{
    SUITE_TABLE("shift", shift_cases);
    suite_function("shift/stored-collapses", stored_moves, NULL);
    suite_function("shift/stored-inserts", stored_moves, "insert");
    suite_function("shift/mapping-ends-at-eof", mapping_ends_at_new_eof, NULL);
    suite_function("shift/while-read", disturbed, NULL);
    suite_function("shift/while-stored", disturbed, "store");
}
