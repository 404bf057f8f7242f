/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks of what the kernel does with mapped pages for a program: direct I/O, exec, locks. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static int open_direct(const char *name)
{
    int fd = open(name, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);

    if (fd < 0 && errno == EINVAL)
        check_skip("no O_DIRECT here");
    TRY(fd);
    return fd;
}

static void transfer(ssize_t done, size_t wanted, const char *what)
{
    if (done != (ssize_t)wanted)
        fail("%s of %zu with a mapped buffer: %zd: %m", what, wanted, done);
}

/* The buffer of a direct request is a page of another file's mapping: it lies in the window. */
static void direct_mapped_buffer(void)
{
    const size_t size = 2 * CHUNK, from = CHUNK - 4 * PAGE, length = 8 * PAGE;
    int fd = file_make("mapped", size), direct = open_direct("direct");
    int plain = (int)TRY(open("direct", O_RDONLY | O_CLOEXEC));
    uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);

    TRY(ftruncate(direct, (off_t)size));
    /* A write from it: what it holds is in the other file. */
    stamp_fill(map + from, 1, 0, length);
    transfer(pwrite(direct, map + from, length, 0), length, "write");
    file_has(plain, 1, 0, length);
    /* A read into it, over a chunk's end, is a store like another. */
    transfer(pread(direct, map + from + PAGE, length - PAGE, 0), length - PAGE, "read");
    EXPECT(stamp_differs(map + from, 1, 0, PAGE) == -1);
    EXPECT(stamp_differs(map + from + PAGE, 1, 0, length - PAGE) == -1);
    TRY(msync(map, size, MS_SYNC));
    TRY(munmap(map, size));
    map = file_map(fd, size, PROT_READ, MAP_SHARED);
    EXPECT(stamp_differs(map + from + PAGE, 1, 0, length - PAGE) == -1);
    /* A buffer whose pages nobody has touched yet, in a hole. */
    TRY(munmap(map, size));
    TRY(ftruncate(fd, 0));
    TRY(ftruncate(fd, (off_t)size));
    map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    transfer(pread(direct, map + CHUNK, length, 0), length, "read");
    EXPECT(stamp_differs(map + CHUNK, 1, 0, length) == -1);
    transfer(pwrite(direct, map, length, 0), length, "write");
    file_zero(plain, 0, length);
}

static void direct_own_buffer(void)
{
    const size_t size = CHUNK, length = 4 * PAGE;
    int fd = file_make("file", size), direct = open_direct("file");
    uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);

    stamp_fill(map, 1, 0, length);
    transfer(pwrite(direct, map, length, CHUNK / 2), length, "write");
    EXPECT(stamp_differs(map + CHUNK / 2, 1, 0, length) == -1);
    transfer(pread(direct, map + CHUNK / 4, length, CHUNK / 2), length, "read");
    EXPECT(stamp_differs(map + CHUNK / 4, 1, 0, length) == -1);
}

/* A plain write whose buffer is the file's own mapping, and one's of another file. */
static void write_from_mapping(void)
{
    const size_t size = 2 * CHUNK;
    int from = file_make("from", size), to = file_make("to", 0);
    uint8_t *map = file_map(from, size, PROT_READ | PROT_WRITE, MAP_SHARED);

    stamp_fill(map, 1, 0, size);
    file_write(to, map, size, 0);
    file_has(to, 1, 0, size);
    file_read(to, map + 100, CHUNK, 100);
    EXPECT(stamp_differs(map, 1, 0, size) == -1);
    file_write(from, map, PAGE, CHUNK);
    EXPECT(stamp_differs(map + CHUNK, 1, 0, PAGE) == -1);
}

static void copy_program(const char *to)
{
    static uint8_t data[128 * 1024];
    int in = (int)TRY(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    int out = (int)TRY(open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755));
    ssize_t n;

    while ((n = read(in, data, sizeof(data))) > 0)
        EXPECT(write(out, data, (size_t)n) == n);
    EXPECT(n == 0);
    TRY(close(in));
    TRY(close(out));
}

static int run_program(const char *name)
{
    pid_t child = (pid_t)TRY(fork());
    int status;

    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);

        dup2(null, 1);
        execl(name, "guest", "check", "-L", NULL);
        _exit(126);
    }
    TRY(waitpid(child, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void exec_program(void)
{
    for (int round = 0; round < 3; round++) {
        int status;

        copy_program("program");
        if ((status = run_program("./program")) != 0)
            fail("a program on the mount ends with %d", status);
        TRY(unlink("program"));
    }
}

/* Written by stores alone, so that the program's pages were never in a page cache. */
static void exec_stored(void)
{
    struct stat st;
    int in, out, status;
    uint8_t *map;

    TRY(stat("/proc/self/exe", &st));
    in = (int)TRY(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    out = file_make("program", (uint64_t)st.st_size);
    map = file_map(out, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED);
    file_read(in, map, (size_t)st.st_size, 0);
    /* Mapped for writing it is as good as open for writing: ETXTBSY. */
    TRY(munmap(map, (size_t)st.st_size));
    TRY(fchmod(out, 0755));
    TRY(close(out));
    if ((status = run_program("./program")) != 0)
        fail("a program that was stored ends with %d", status);
}

/* The other side is a process of this machine; across doors see `guest lock`. */
static int locked_by_other(const char *name, bool record, bool exclusive)
{
    struct flock lock = { .l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };
    pid_t child = (pid_t)TRY(fork());
    int status;

    if (child == 0) {
        int fd = open(name, O_RDWR | O_CLOEXEC);
        int result = record ? fcntl(fd, F_SETLK, &lock)
                            : flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);

        _exit(result == 0 ? 0 : errno == EAGAIN || errno == EACCES ? 1 : 2);
    }
    TRY(waitpid(child, &status, 0));
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) != 2);
    return WEXITSTATUS(status);
}

static void locks(void)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int fd = file_make("file", PAGE);

    for (int record = 0; record < 2; record++) {
        TRY(record ? fcntl(fd, F_SETLK, &lock) : flock(fd, LOCK_EX));
        EXPECT(locked_by_other("file", record, true) && locked_by_other("file", record, false));
        lock.l_type = F_RDLCK;
        TRY(record ? fcntl(fd, F_SETLK, &lock) : flock(fd, LOCK_SH));
        EXPECT(locked_by_other("file", record, true) && !locked_by_other("file", record, false));
        lock.l_type = F_UNLCK;
        TRY(record ? fcntl(fd, F_SETLK, &lock) : flock(fd, LOCK_UN));
        EXPECT(!locked_by_other("file", record, true));
        lock.l_type = F_WRLCK;
    }
}

static void random_seeds(void)
{
    for (char seed = '1'; seed <= '4'; seed++) {
        char text[] = { seed, 0 };
        char *arguments[] = { "random", "file", text, "400", NULL };
        char *on_dax[] = { "random", "-d", "file", text, "400", NULL };

        optind = 1;
        if (check_options.dax ? random_main(5, on_dax) : random_main(4, arguments))
            fail("seed %c", seed);
        TRY(unlink("file"));
    }
}

const struct check checks_use[] = {
    { "direct-mapped-buffer", direct_mapped_buffer, false },
    { "direct-own-buffer", direct_own_buffer, false },
    { "write-from-mapping", write_from_mapping, false },
    { "exec", exec_program, false },
    { "exec-stored", exec_stored, false },
    { "locks", locks, false },
    { "random", random_seeds, false },
    { NULL, NULL, false },
};
