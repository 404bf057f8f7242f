/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks of mappings of a file whose size stays. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static void child_must(pid_t child)
{
    int status;

    TRY(waitpid(child, &status, 0));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail("the child ended with wait status %#x", status);
}

static void stores(void)
{
    const size_t size = 3 * CHUNK + 5 * PAGE + 77;
    int fd = file_make("file", size), other;
    uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);

    stamp_fill(map, 1, 0, size);
    file_has(fd, 1, 0, size);
    TRY(msync(map, size, MS_SYNC));
    TRY(munmap(map, size));
    TRY(close(fd));
    other = (int)TRY(open("file", O_RDONLY));
    file_has(other, 1, 0, size);
    map = file_map(other, size, PROT_READ, MAP_SHARED);
    EXPECT(stamp_differs(map, 1, 0, size) == -1);
}

/* What write(2) writes is in the mapping at once, and the other way round. */
static void writes_seen(void)
{
    static uint8_t data[3 * PAGE];
    const size_t size = 2 * CHUNK;
    int fd = file_make("file", size);
    uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);

    EXPECT(map[CHUNK] == 0);
    for (uint64_t round = 0; round < 64; round++) {
        uint64_t offset = round * 31 * 1024 + 13;

        stamp_fill(data, round, offset, sizeof(data));
        file_write(fd, data, sizeof(data), offset);
        EXPECT(stamp_differs(map + offset, round, offset, sizeof(data)) == -1);
        stamp_fill(map + offset, round + 1000, offset, sizeof(data));
        file_has(fd, round + 1000, offset, sizeof(data));
    }
}

static void private_mapping(void)
{
    const size_t size = CHUNK + PAGE;
    int fd = file_make("file", size);
    uint8_t *shared = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    uint8_t *own = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    stamp_fill(shared, 1, 0, size);
    EXPECT(stamp_differs(own, 1, 0, size) == -1);
    stamp_fill(own, 2, 0, size);
    EXPECT(stamp_differs(own, 2, 0, size) == -1);
    EXPECT(stamp_differs(shared, 1, 0, size) == -1);
    file_has(fd, 1, 0, size);
    /* A private copy stays as it is when the file changes. */
    stamp_fill(shared, 3, 0, size);
    EXPECT(stamp_differs(own, 2, 0, size) == -1);
}

/* A file that may not be written can be mapped, also privately, and is then written to in memory. */
static void private_read_only(void)
{
    const size_t size = 4 * PAGE;
    int fd = file_make("file", size);
    uint8_t *own;

    stamp_fill(file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED), 1, 0, size);
    TRY(close(fd));
    fd = (int)TRY(open("file", O_RDONLY));
    EXPECT(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED &&
           errno == EACCES);
    own = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    stamp_fill(own, 2, 0, size);
    file_has(fd, 1, 0, size);
}

static void fork_shared(void)
{
    const size_t size = 2 * CHUNK;
    int fd = file_make("file", size);
    uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    pid_t child;

    stamp_fill(map, 1, 0, CHUNK);
    child = (pid_t)TRY(fork());
    if (child == 0) {
        EXPECT(stamp_differs(map, 1, 0, CHUNK) == -1);
        stamp_fill(map + PAGE, 2, PAGE, size - PAGE);
        _exit(0);
    }
    child_must(child);
    EXPECT(stamp_differs(map, 1, 0, PAGE) == -1);
    EXPECT(stamp_differs(map + PAGE, 2, PAGE, size - PAGE) == -1);
    file_has(fd, 2, PAGE, size - PAGE);
}

static void fork_private(void)
{
    const size_t size = 16 * PAGE;
    int fd = file_make("file", size);
    uint8_t *map;
    pid_t child;

    stamp_fill(file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED), 1, 0, size);
    map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    stamp_fill(map, 2, 0, size / 2);
    child = (pid_t)TRY(fork());
    if (child == 0) {
        EXPECT(stamp_differs(map, 2, 0, size / 2) == -1);
        EXPECT(stamp_differs(map + size / 2, 1, size / 2, size / 2) == -1);
        stamp_fill(map, 3, 0, size);
        _exit(0);
    }
    child_must(child);
    EXPECT(stamp_differs(map, 2, 0, size / 2) == -1);
    EXPECT(stamp_differs(map + size / 2, 1, size / 2, size / 2) == -1);
    file_has(fd, 1, 0, size);
}

/* A load of a hole reads zero; the store after it counts, and is seen by who loaded before. */
static void hole_then_store(void)
{
    const size_t size = 4 * CHUNK;
    int fd = file_make("file", size);
    uint8_t *first = file_map(fd, size, PROT_READ, MAP_SHARED);
    uint8_t *second = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);

    for (size_t offset = 0; offset < size; offset += CHUNK / 2) {
        EXPECT(zero_differs(first + offset, PAGE) == -1);
        EXPECT(zero_differs(second + offset, PAGE) == -1);
        stamp_fill(second + offset, 5, offset, PAGE);
        EXPECT(stamp_differs(first + offset, 5, offset, PAGE) == -1);
        file_has(fd, 5, offset, PAGE);
        file_zero(fd, offset + PAGE, PAGE);
    }
}

static void hole_then_write(void)
{
    static uint8_t data[PAGE];
    const size_t size = 2 * CHUNK;
    int fd = file_make("file", size);
    uint8_t *map = file_map(fd, size, PROT_READ, MAP_SHARED);

    for (size_t offset = 0; offset < size; offset += CHUNK) {
        EXPECT(zero_differs(map + offset, CHUNK) == -1);
        stamp_fill(data, 6, offset + 100, PAGE);
        file_write(fd, data, PAGE, offset + 100);
        EXPECT(stamp_differs(map + offset + 100, 6, offset + 100, PAGE) == -1);
        EXPECT(zero_differs(map + offset, 100) == -1);
    }
}

static void sparse_allocates_nothing(void)
{
    const size_t size = 8 * CHUNK;
    int fd = file_make("file", size);
    uint8_t *map = file_map(fd, size, PROT_READ, MAP_SHARED);
    struct statx st;

    EXPECT(zero_differs(map, size) == -1);
    /* As the server has it, not as the guest remembers it. */
    TRY(statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BLOCKS, &st));
    if (st.stx_blocks != 0)
        fail("%ju blocks of 512 after loads of a hole", (uintmax_t)st.stx_blocks);
}

/* More than the window holds: what was mapped first is given up for what comes later, and comes back. */
static void larger_than_window(void)
{
    const size_t size = check_options.large;
    int fd = file_make("file", size);
    uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    uint64_t state = 1;

    for (uint64_t round = 0; round < 2; round++) {
        for (size_t offset = 0; offset < size; offset += CHUNK / 4)
            stamp_fill(map + offset, round, offset, PAGE);
        for (size_t i = 0; i < size / CHUNK; i++) {
            size_t offset = random_next(&state) % (size / (CHUNK / 4)) * (CHUNK / 4);

            if (stamp_differs(map + offset, round, offset, PAGE) >= 0)
                fail("round %ju: what was stored at %zu is not there", (uintmax_t)round, offset);
        }
    }
    for (size_t offset = 0; offset < size; offset += CHUNK / 4)
        file_has(fd, 1, offset, PAGE);
}

/* The same from several processes at once. */
static void larger_by_many(void)
{
    const size_t size = check_options.large;
    int fd = file_make("file", size);
    pid_t children[3];

    for (uint64_t who = 0; who < 3; who++) {
        children[who] = (pid_t)TRY(fork());
        if (children[who] == 0) {
            uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);

            for (size_t offset = who * PAGE; offset < size; offset += CHUNK / 2)
                stamp_fill(map + offset, who, offset, PAGE);
            for (size_t offset = who * PAGE; offset < size; offset += CHUNK / 2)
                EXPECT(stamp_differs(map + offset, who, offset, PAGE) == -1);
            _exit(0);
        }
    }
    for (int who = 0; who < 3; who++)
        child_must(children[who]);
    for (size_t offset = 0; offset < size; offset += CHUNK / 2)
        for (uint64_t who = 0; who < 3; who++)
            file_has(fd, who, offset + who * PAGE, PAGE);
}

static void unlinked(void)
{
    const size_t size = 2 * CHUNK;
    int fd = file_make("file", size);
    uint8_t *map = file_map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);

    stamp_fill(map, 1, 0, CHUNK);
    TRY(unlink("file"));
    TRY(close(fd));
    /* Blocks that were freed too early would be the new file's. */
    fd = file_make("file", size);
    file_zero(fd, 0, size);
    EXPECT(stamp_differs(map, 1, 0, CHUNK) == -1);
    stamp_fill(map, 2, 0, size);
    EXPECT(stamp_differs(map, 2, 0, size) == -1);
    file_zero(fd, 0, size);
}

const struct check checks_map[] = {
    { "stores", stores, false },
    { "writes-seen", writes_seen, false },
    { "private", private_mapping, false },
    { "private-read-only", private_read_only, false },
    { "fork-shared", fork_shared, false },
    { "fork-private", fork_private, false },
    { "hole-then-store", hole_then_store, false },
    { "hole-then-write", hole_then_write, false },
    { "sparse-allocates-nothing", sparse_allocates_nothing, true },
    { "larger-than-window", larger_than_window, false },
    { "larger-by-many", larger_by_many, false },
    { "unlinked", unlinked, false },
    { NULL, NULL, false },
};
