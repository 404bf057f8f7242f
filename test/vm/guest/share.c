/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of tests with several sides: guests, and the host on its own mount. The sides start in any
 * order: who comes first makes the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

static int file_share(const char *name, size_t size)
{
    int fd = (int)TRY(open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    struct stat st;

    TRY(fstat(fd, &st));
    if ((size_t)st.st_size < size)
        TRY(ftruncate(fd, (off_t)size));
    return fd;
}

static int lock_try(int fd, bool record, bool exclusive, bool unlock, bool wait)
{
    struct flock lock = { .l_whence = SEEK_SET };

    if (!record)
        return flock(fd, (unlock ? LOCK_UN : exclusive ? LOCK_EX : LOCK_SH) | (wait ? 0 : LOCK_NB));
    lock.l_type = unlock ? F_UNLCK : exclusive ? F_WRLCK : F_RDLCK;
    return fcntl(fd, wait ? F_SETLKW : F_SETLK, &lock);
}

/* The number at the file's start, COUNT times one more: by atomic instruction on the mapped file, or
 * read and written under a lock. Nobody's step may be lost. */
int counter_main(int argc, char **argv)
{
    uint64_t count, value;
    bool record;
    int fd;

    if (argc != 4)
        return usage();
    record = strcmp(argv[1], "fcntl") == 0;
    count = number(argv[3]);
    fd = file_share(argv[2], PAGE);
    if (strcmp(argv[1], "map") == 0) {
        uint64_t *at = (uint64_t *)file_map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);

        while (count--)
            __atomic_fetch_add(at, 1, __ATOMIC_SEQ_CST);
        return 0;
    }
    while (count--) {
        TRY(lock_try(fd, record, true, false, true));
        file_read(fd, &value, sizeof(value), 0);
        value++;
        file_write(fd, &value, sizeof(value), 0);
        TRY(lock_try(fd, record, true, true, true));
    }
    return 0;
}

int lock_main(int argc, char **argv)
{
    bool record, exclusive, wait;
    int fd;

    if (argc < 5 || argc > 6)
        return usage();
    wait = strcmp(argv[1], "wait") == 0;
    record = strcmp(argv[2], "fcntl") == 0;
    exclusive = strcmp(argv[3], "write") == 0;
    fd = file_share(argv[4], PAGE);
    if (lock_try(fd, record, exclusive, false, wait) < 0) {
        if (errno != EAGAIN && errno != EACCES)
            fail("lock: %m");
        printf("HELD by another\n");
        return 1;
    }
    printf("LOCKED\n");
    if (argc == 6)
        sleep((unsigned)number(argv[5]));
    return 0; /* and let go by the exit */
}

/*
 * The ring. A cursor is a number and its complement: a side that copies both by read(2) while the other
 * writes them sees whether they belong together. Only one side writes each.
 */
enum { SLOTS = 1024, SLOT = 64, RING_CURSORS = 4096, RING_SIZE = RING_CURSORS + SLOTS * SLOT };

struct ring {
    int fd;
    uint8_t *map; /* NULL: by read and write */
};

static void ring_get(const struct ring *ring, size_t offset, void *data, size_t length)
{
    if (ring->map)
        memcpy(data, ring->map + offset, length);
    else
        file_read(ring->fd, data, length, offset);
}

static void ring_put(const struct ring *ring, size_t offset, const void *data, size_t length)
{
    if (ring->map)
        memcpy(ring->map + offset, data, length);
    else
        file_write(ring->fd, data, length, offset);
}

static uint64_t cursor_get(const struct ring *ring, size_t offset)
{
    uint64_t cursor[2];

    for (;;) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        ring_get(ring, offset, cursor, sizeof(cursor));
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (cursor[0] == 0 && cursor[1] == 0)
            return 0; /* nobody has written it yet */
        if (cursor[0] == ~cursor[1])
            return cursor[0];
    }
}

static void cursor_put(const struct ring *ring, size_t offset, uint64_t value)
{
    uint64_t cursor[2] = { value, ~value };

    /* What the cursor tells of is there before it. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    ring_put(ring, offset, cursor, sizeof(cursor));
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

int ring_main(int argc, char **argv)
{
    enum { SENT = 0, RECEIVED = 2048 };
    uint64_t count, seed, done = 0;
    uint8_t slot[SLOT];
    struct ring ring;
    bool send;

    if (argc != 6)
        return usage();
    send = strcmp(argv[2], "send") == 0;
    count = number(argv[4]);
    seed = number(argv[5]);
    ring.fd = file_share(argv[3], RING_SIZE);
    ring.map = strcmp(argv[1], "map") == 0
                   ? file_map(ring.fd, RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED)
                   : NULL;
    while (done < count) {
        uint64_t other = cursor_get(&ring, send ? RECEIVED : SENT);
        uint64_t room = send ? SLOTS - (done - other) : other - done;

        if (room > SLOTS)
            fail("after %ju the other side's cursor is %ju", (uintmax_t)done, (uintmax_t)other);
        if (room == 0)
            usleep(100);
        for (; room > 0 && done < count; room--, done++) {
            size_t at = RING_CURSORS + done % SLOTS * SLOT;

            if (send) {
                stamp_fill(slot, seed, done * SLOT, SLOT);
                ring_put(&ring, at, slot, SLOT);
            } else {
                ring_get(&ring, at, slot, SLOT);
                if (stamp_differs(slot, seed, done * SLOT, SLOT) >= 0)
                    fail("message %ju is not what was sent", (uintmax_t)done);
            }
        }
        cursor_put(&ring, send ? SENT : RECEIVED, done);
    }
    printf("%s %ju\n", send ? "SENT" : "RECEIVED", (uintmax_t)done);
    return 0;
}

static void tree_name(char *name, size_t length, const char *folder, uint64_t i)
{
    snprintf(name, length, "%s/%03ju/file-%06ju", folder, (uintmax_t)(i / 50), (uintmax_t)i);
}

static size_t tree_size(uint64_t seed, uint64_t i)
{
    uint64_t state = seed * 1000003 + i;
    uint64_t kind = random_next(&state);

    /* Most small, some of many pages, a few that are empty. */
    return random_next(&state) % (kind % 16 == 0 ? 200000 : kind % 16 == 1 ? 1 : 9000);
}

static void tree_file_make(const char *name, uint64_t seed, uint64_t i)
{
    static uint8_t data[200000];
    size_t size = tree_size(seed, i);
    int fd = (int)TRY(open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));

    stamp_fill(data, seed + i, 0, size);
    file_write(fd, data, size, 0);
    TRY(close(fd));
}

static void tree_file_check(const char *name, uint64_t seed, uint64_t i)
{
    int fd = (int)TRY(open(name, O_RDONLY | O_CLOEXEC));
    struct stat st;

    TRY(fstat(fd, &st));
    if ((size_t)st.st_size != tree_size(seed, i))
        fail("%s has %jd bytes, not %zu", name, (intmax_t)st.st_size, tree_size(seed, i));
    file_has(fd, seed + i, 0, (size_t)st.st_size);
    TRY(close(fd));
}

int tree_main(int argc, char **argv)
{
    uint64_t count, seed;
    char name[4096];

    if (argc != 5)
        return usage();
    count = number(argv[3]);
    seed = number(argv[4]);
    if (strcmp(argv[1], "make") == 0 && mkdir(argv[2], 0755) < 0)
        EXPECT(errno == EEXIST);
    for (uint64_t i = 0; i < count; i++) {
        tree_name(name, sizeof(name), argv[2], i);
        if (strcmp(argv[1], "make") == 0) {
            if (i % 50 == 0) {
                char *end = strrchr(name, '/');

                *end = 0;
                TRY(mkdir(name, 0755));
                *end = '/';
            }
            tree_file_make(name, seed, i);
        } else if (strcmp(argv[1], "check") == 0) {
            tree_file_check(name, seed, i);
        } else {
            TRY(unlink(name));
            if (i % 50 == 49 || i == count - 1) {
                *strrchr(name, '/') = 0;
                TRY(rmdir(name));
            }
        }
    }
    printf("%s %ju\n", argv[1], (uintmax_t)count);
    return 0;
}
