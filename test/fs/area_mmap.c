/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mmap(2): shared and private mappings against read and write, growth, EOF, and times. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PAGE 4096

static sigjmp_buf fault_return;

static void fault_catch(int signal_number)
{
    siglongjmp(fault_return, signal_number);
}

/* Touches one byte; returns the signal it gave, or 0. */
static int byte_touch(volatile char *at, bool store)
{
    signal(SIGBUS, fault_catch);
    signal(SIGSEGV, fault_catch);
    int number = sigsetjmp(fault_return, 1);
    if (number)
        return number;
    char value = *at;
    if (store)
        *at = (char)(value + 1);
    return 0;
}

static char *map(const char *path, int open_flags, size_t length, int protection, int flags,
                 off_t offset)
{
    int descriptor = open(path, open_flags);
    CHECK(descriptor >= 0, "open %s: expected ok, got %s", path, error_name(errno));
    char *address = mmap(NULL, length, protection, flags, descriptor, offset);
    CHECK(address != MAP_FAILED, "mmap: expected ok, got %s", error_name(errno));
    close(descriptor);
    return address;
}

static char *map_shared(const char *path, size_t length)
{
    return map(path, O_RDWR, length, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
}

static bool on_fuse(void)
{
    struct statfs status;

    CHECK(statfs(".", &status) == 0, "statfs: expected ok, got %s", error_name(errno));
    return status.f_type == FUSE_SUPER_MAGIC;
}

static void shared_store_is_read(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*8192");
    char *address = map_shared("f", 2 * PAGE);
    memcpy(address + 100, "hello", 5);
    case_script("data f 100 5 = hello; data f 0 9 = A*9");
}

static void shared_sees_write(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*8192");
    char *address = map_shared("f", 2 * PAGE);
    CHECK(address[5000] == 'A', "expected A, got %#x", address[5000]);
    case_script("open a f rw; pwrite a 5000 xyz = 3");
    CHECK(memcmp(address + 4999, "AxyzA", 5) == 0, "expected AxyzA, got %.5s", address + 4999);
}

static void shared_two_mappings(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*8192");
    char *one = map_shared("f", 2 * PAGE), *two = map_shared("f", 2 * PAGE);
    one[4100] = 'x';
    CHECK(two[4100] == 'x', "expected x, got %#x", two[4100]);
}

static void shared_survives_close_and_unlink(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*4096");
    char *address = map_shared("f", PAGE);
    case_script("link f g; unlink f");
    address[0] = 'x';
    CHECK(msync(address, PAGE, MS_SYNC) == 0, "msync: expected ok, got %s", error_name(errno));
    case_script("data g 0 2 = xA; unlink g");
    address[1] = 'y';
    CHECK(memcmp(address, "xyA", 3) == 0, "expected xyA, got %.3s", address);
}

static void msync_then_reopen(const void *unused)
{
    (void)unused;
    case_script("file f 644; truncate f 16384");
    char *address = map_shared("f", 4 * PAGE);
    for (int i = 0; i < 4 * PAGE; i++)
        address[i] = 'B';
    CHECK(msync(address, 4 * PAGE, MS_SYNC) == 0, "msync: got %s", error_name(errno));
    CHECK(munmap(address, 4 * PAGE) == 0, "munmap: got %s", error_name(errno));
    case_script("data f 0 20000 = B*16384; open a f rw; fsync a; blocks f >= 32");
}

static void private_store_is_not_read(const void *unused)
{
    (void)unused;
    case_script("file f 444 A*4096");
    char *address = map("f", O_RDONLY, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
    address[0] = 'x';
    CHECK(address[0] == 'x' && address[1] == 'A', "expected xA, got %.2s", address);
    case_script("data f 0 2 = AA");
}

static void offset_maps_its_page(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*4096+B*4096+C*4096");
    char *address = map("f", O_RDWR, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, PAGE);
    CHECK(address[0] == 'B' && address[PAGE - 1] == 'B', "expected B, got %#x", address[0]);
    address[0] = 'x';
    case_script("data f 4095 3 = AxB");
}

static void hole_reads_zero(const void *unused)
{
    (void)unused;
    case_script("open a f rw|creat 644; truncate $a 1M");
    char *address = map_shared("f", 1 << 20);
    for (int i = 0; i < 1 << 20; i += 1000)
        CHECK(address[i] == 0, "byte %d of the hole: expected 0, got %#x", i, address[i]);
    address[500000] = 'x';
    case_script("data f 499999 3 = 0*1+x+0*1; size f = 1048576");
}

static void tail_reads_zero(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*10");
    char *address = map_shared("f", PAGE);
    for (int i = 10; i < PAGE; i++)
        CHECK(address[i] == 0, "byte %d past EOF: expected 0, got %#x", i, address[i]);
}

/* How a file grows in the cases of the tail, and what it then holds between 10 and 4096. */
static const struct growth {
    const char *name, *step;
    size_t size;
    char last;
} growths[] = {
    { "truncate", "truncate f 4096", PAGE, '\0' },
    { "write", "pwrite a 100 B = 1", 101, 'B' },
    { "fallocate", "fallocate a 0 0 4096", PAGE, '\0' },
};

/*
 * What is stored past EOF in its page never becomes the file's (L3). FUSE: nobody asks the server
 * between the store and the growth, and the kernel keeps the page, or writes it back with the new
 * size (tmpfs keeps it as well); so there the bytes may be zeros or the process's own, no others.
 */
static void tail_store_is_not_kept(const void *argument)
{
    const struct growth *growth = argument;
    char bytes[PAGE];

    case_script("file f 644 A*10; open a f rw");
    char *address = map_shared("f", PAGE);
    memset(address + 10, 'X', PAGE - 10);
    case_script("size f = 10; data f 0 100 = A*10; %s; size f = %zu", growth->step, growth->size);
    int descriptor = open("f", O_RDONLY);
    CHECK(descriptor >= 0, "open f: expected ok, got %s", error_name(errno));
    ssize_t got = pread(descriptor, bytes, PAGE, 0);
    CHECK(got == (ssize_t)growth->size, "read: expected %zu, got %zd", growth->size, got);
    for (size_t i = 0; i < growth->size; i++) {
        char expected = i < 10 ? 'A' : '\0';
        bool own = on_fuse() && i >= 10;
        if (growth->last && i == growth->size - 1) {
            expected = growth->last;
            own = false;
        }
        CHECK(bytes[i] == expected || (own && bytes[i] == 'X'), "byte %zu: expected %#x, got %#x",
              i, (unsigned)expected, (unsigned char)bytes[i]);
    }
}

/* The same when the page was written back and dropped in between: this much holds everywhere. */
static void tail_store_is_dropped(const void *argument)
{
    const struct growth *growth = argument;

    case_script("file f 644 A*10; open a f rw");
    char *address = map_shared("f", PAGE);
    memset(address + 5, 'X', PAGE - 5);
    CHECK(msync(address, PAGE, MS_SYNC) == 0, "msync: expected ok, got %s", error_name(errno));
    CHECK(munmap(address, PAGE) == 0, "munmap: expected ok, got %s", error_name(errno));
    case_script("fsync a");
    int error = posix_fadvise(slot_descriptor("a"), 0, 0, POSIX_FADV_DONTNEED);
    CHECK(error == 0, "posix_fadvise: expected ok, got %s", error_name(error));
    case_script("%s; size f = %zu", growth->step, growth->size);
    if (growth->last)
        case_script("data f 0 4096 = A*5+X*5+0*90+B");
    else
        case_script("data f 0 4096 = A*5+X*5+0*4086");
}

/* What was stored while it was allowed is kept. */
static void store_then_immutable(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*10; open a f rd");
    char *address = map_shared("f", PAGE);
    memcpy(address, "hello", 5);
    case_script("setflags f i");
    int error = msync(address, PAGE, MS_SYNC) == 0 ? 0 : errno;
    munmap(address, PAGE);
    posix_fadvise(slot_descriptor("a"), 0, 0, POSIX_FADV_DONTNEED);
    case_script("try f rw = EPERM; data f 0 10 = hello+A*5; setflags f -");
    CHECK(error == 0, "msync: expected ok, got %s", error_name(error));
}

static void past_eof_faults(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*10");
    char *address = map_shared("f", 3 * PAGE);
    CHECK(byte_touch(address + 9, false) == 0, "inside: expected no signal");
    CHECK(byte_touch(address + PAGE, false) == SIGBUS, "read past EOF: expected SIGBUS");
    CHECK(byte_touch(address + 2 * PAGE, true) == SIGBUS, "store past EOF: expected SIGBUS");
}

static void grown_is_reached(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*10");
    char *address = map_shared("f", 3 * PAGE);
    CHECK(byte_touch(address + PAGE, false) == SIGBUS, "before growing: expected SIGBUS");
    case_script("truncate f 12288");
    CHECK(byte_touch(address + PAGE, true) == 0, "after growing: expected no signal");
    address[2 * PAGE] = 'x';
    case_script("data f 8192 2 = x+0*1");
}

static void truncated_faults(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*12288");
    char *address = map_shared("f", 3 * PAGE);
    CHECK(byte_touch(address + 2 * PAGE, true) == 0, "before: expected no signal");
    case_script("truncate f 4096");
    CHECK(byte_touch(address + 2 * PAGE, false) == SIGBUS, "after: expected SIGBUS");
    case_script("truncate f 12288");
    CHECK(byte_touch(address + 2 * PAGE, false) == 0, "regrown: expected no signal");
    CHECK(address[2 * PAGE] == 0, "regrown: expected 0, got %#x", address[2 * PAGE]);
}

static void punched_reads_zero(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*12288; open a f rw");
    char *address = map_shared("f", 3 * PAGE);
    address[PAGE] = 'x';
    case_script("fallocate a keep|punch 4096 4096");
    CHECK(address[PAGE] == 0 && address[PAGE - 1] == 'A' && address[2 * PAGE] == 'A',
          "punched page: expected 0, got %#x", address[PAGE]);
    address[PAGE + 1] = 'y';
    case_script("data f 4095 4 = A+0*1+y+0*1");
}

static void store_moves_times(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*4096; open a f rw");
    char *address = map_shared("f", PAGE);
    case_script("mark a f");
    address[0] = 'x';
    CHECK(msync(address, PAGE, MS_SYNC) == 0, "msync: got %s", error_name(errno));
    case_script("fsync a; moved a f = mc");
}

static void read_moves_no_times(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*4096; open a f rw; fsync a");
    const char *address = map("f", O_RDONLY, PAGE, PROT_READ, MAP_SHARED, 0);
    case_script("mark a f");
    CHECK(address[0] == 'A', "expected A, got %#x", address[0]);
    case_script("fsync a; moved a f = -");
}

static void refusals(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*4096; open a f rd; open b f wr; mkdir d 755; open c d rd");
    int reading = slot_descriptor("a"), writing = slot_descriptor("b"), dir = slot_descriptor("c");
    CHECK(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, reading, 0) == MAP_FAILED && errno == EACCES,
          "shared writable map of a read-only descriptor: expected EACCES");
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, writing, 0) == MAP_FAILED && errno == EACCES,
          "map of a write-only descriptor: expected EACCES");
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, dir, 0) == MAP_FAILED && errno == ENODEV,
          "map of a directory: expected ENODEV");
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reading, 100) == MAP_FAILED && errno == EINVAL,
          "unaligned map: expected EINVAL");
}

static void read_only_store_faults(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*4096");
    char *address = map("f", O_RDONLY, PAGE, PROT_READ, MAP_SHARED, 0);
    CHECK(byte_touch(address, true) == SIGSEGV, "store: expected SIGSEGV");
    case_script("data f 0 2 = AA");
}

/* Many pages across the 2 MiB edge, stored through the mapping and read through the descriptor. */
static void large(const void *unused)
{
    const size_t length = 5 << 20;

    (void)unused;
    case_script("file f 644; truncate f 5M");
    char *address = map_shared("f", length);
    for (size_t i = 0; i < length; i += PAGE)
        memset(address + i, 'a' + (int)(i / PAGE % 26), PAGE);
    case_script("open a f rd; pread a 0 4097 = a*4096+b; pread a 2M-1 2 = rs");
    for (size_t i = 0; i < length; i += PAGE) {
        char expected = (char)('a' + (int)(i / PAGE % 26)), got;
        CHECK(pread(slot_descriptor("a"), &got, 1, (off_t)(i + 7)) == 1 && got == expected,
              "page %zu: expected %c, got %#x", i / PAGE, expected, got);
    }
}

/* write(2) from a mapping of the same file: the kernel must not deadlock with itself. */
static void write_from_own_mapping(const void *unused)
{
    (void)unused;
    case_script("file f 644 A*4096+B*4096; open a f rw");
    char *address = map_shared("f", 2 * PAGE);
    CHECK(pwrite(slot_descriptor("a"), address, PAGE, PAGE) == PAGE, "pwrite: got %s",
          error_name(errno));
    case_script("data f 0 9000 = A*8192");
}

static void executable(const void *unused)
{
    (void)unused;
    case_script("need exec; open a f rw|creat 755");
    static const unsigned char code[] = {
#if defined(__x86_64__)
        0xb8,
        42,
        0,
        0,
        0,
        0xc3 /* mov $42, %eax; ret */
#elif defined(__aarch64__)
        0x40,
        0x05,
        0x80,
        0x52,
        0xc0,
        0x03,
        0x5f,
        0xd6 /* mov w0, #42; ret */
#endif
    };
    if (sizeof(code) == 0)
        case_skip("no code for this processor");
    CHECK(write(slot_descriptor("a"), code, sizeof(code)) == (ssize_t)sizeof(code), "write: got %s",
          error_name(errno));
    char *address = map("f", O_RDONLY, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, 0);
    int (*function)(void);
    memcpy(&function, &address, sizeof(function));
    CHECK(function() == 42, "code in the file: expected 42");
}

void area_mmap(void)
{
    suite_function("mmap/shared-store-is-read", shared_store_is_read, NULL);
    suite_function("mmap/shared-sees-write", shared_sees_write, NULL);
    suite_function("mmap/shared-two-mappings", shared_two_mappings, NULL);
    suite_function("mmap/shared-after-unlink", shared_survives_close_and_unlink, NULL);
    suite_function("mmap/msync", msync_then_reopen, NULL);
    suite_function("mmap/private", private_store_is_not_read, NULL);
    suite_function("mmap/offset", offset_maps_its_page, NULL);
    suite_function("mmap/hole", hole_reads_zero, NULL);
    suite_function("mmap/tail-zero", tail_reads_zero, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(growths); i++) {
        suite_function(text("mmap/tail-store-then-%s", growths[i].name), tail_store_is_not_kept,
                       &growths[i]);
        suite_function(text("mmap/tail-dropped-then-%s", growths[i].name), tail_store_is_dropped,
                       &growths[i]);
    }
    suite_function("mmap/store-then-immutable", store_then_immutable, NULL);
    suite_function("mmap/past-eof", past_eof_faults, NULL);
    suite_function("mmap/grown", grown_is_reached, NULL);
    suite_function("mmap/truncated", truncated_faults, NULL);
    suite_function("mmap/punched", punched_reads_zero, NULL);
    suite_function("mmap/store-times", store_moves_times, NULL);
    suite_function("mmap/read-times", read_moves_no_times, NULL);
    suite_function("mmap/refusals", refusals, NULL);
    suite_function("mmap/read-only-store", read_only_store_faults, NULL);
    suite_function("mmap/large", large, NULL);
    suite_function("mmap/write-from-own-mapping", write_from_own_mapping, NULL);
    suite_function("mmap/executable", executable, NULL);
}
