/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flock(2), and the POSIX and open-file-description locks of fcntl(2), between two processes. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static int range_lock(int descriptor, int command, short type, off_t start, off_t length)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };

    return fcntl(descriptor, command, &lock) < 0 ? errno : 0;
}

/* Runs in a child with its own open of f, and gives what it returned (an errno). */
static int elsewhere(int (*function)(int descriptor))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        int descriptor = open("f", O_RDWR);
        _exit(descriptor < 0 ? 255 : function(descriptor));
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status), "fork failed");
    return WEXITSTATUS(status);
}

static int flock_exclusive(int descriptor)
{
    return flock(descriptor, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
}

static int flock_shared(int descriptor)
{
    return flock(descriptor, LOCK_SH | LOCK_NB) < 0 ? errno : 0;
}

static int write_lock_0_100(int descriptor)
{
    return range_lock(descriptor, F_SETLK, F_WRLCK, 0, 100);
}

static int read_lock_0_100(int descriptor)
{
    return range_lock(descriptor, F_SETLK, F_RDLCK, 0, 100);
}

static int write_lock_100_100(int descriptor)
{
    return range_lock(descriptor, F_SETLK, F_WRLCK, 100, 100);
}

static int description_lock_0_100(int descriptor)
{
    return range_lock(descriptor, F_OFD_SETLK, F_WRLCK, 0, 100);
}

/* GETLK gives the holder's range: returns 0 if it is a write lock on 0 to 100 of the parent. */
static int holder_ask(int descriptor)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 50, .l_len = 1 };

    if (fcntl(descriptor, F_GETLK, &lock) < 0)
        return errno;
    return lock.l_type == F_WRLCK && lock.l_start == 0 && lock.l_len == 100 &&
                   lock.l_pid == getppid()
               ? 0
               : EINVAL;
}

static void expect(const char *what, int got, int expected)
{
    CHECK(got == expected, "%s: expected %s, got %s", what, expected ? error_name(expected) : "ok",
          got ? error_name(got) : "ok");
}

static int opened(void)
{
    case_script("file f 644 A*1000; open a f rw");
    return slot_descriptor("a");
}

static void flock_excludes(const void *unused)
{
    int descriptor = opened();

    (void)unused;
    expect("first", flock_exclusive(descriptor), 0);
    expect("second exclusive", elsewhere(flock_exclusive), EAGAIN);
    expect("second shared", elsewhere(flock_shared), EAGAIN);
    CHECK(flock(descriptor, LOCK_UN) == 0, "unlock: got %s", error_name(errno));
    expect("after unlock", elsewhere(flock_exclusive), 0);
}

static void flock_shares(const void *unused)
{
    (void)unused;
    expect("first", flock_shared(opened()), 0);
    expect("second shared", elsewhere(flock_shared), 0);
    expect("second exclusive", elsewhere(flock_exclusive), EAGAIN);
}

static void flock_ends_with_close(const void *unused)
{
    (void)unused;
    expect("first", flock_exclusive(opened()), 0);
    case_script("close a");
    expect("after close", elsewhere(flock_exclusive), 0);
}

static void flock_converts(const void *unused)
{
    int descriptor = opened();

    (void)unused;
    expect("shared", flock_shared(descriptor), 0);
    expect("upgrade", flock_exclusive(descriptor), 0);
    expect("second", elsewhere(flock_shared), EAGAIN);
    expect("downgrade", flock_shared(descriptor), 0);
    expect("second again", elsewhere(flock_shared), 0);
}

static void ranges_exclude(const void *unused)
{
    (void)unused;
    expect("first", write_lock_0_100(opened()), 0);
    expect("same range", elsewhere(write_lock_0_100), EAGAIN);
    expect("same range, read", elsewhere(read_lock_0_100), EAGAIN);
    expect("next range", elsewhere(write_lock_100_100), 0);
}

static void ranges_share(const void *unused)
{
    (void)unused;
    expect("first", read_lock_0_100(opened()), 0);
    expect("second read", elsewhere(read_lock_0_100), 0);
    expect("second write", elsewhere(write_lock_0_100), EAGAIN);
}

static void ranges_unlock_a_part(const void *unused)
{
    int descriptor = opened();

    (void)unused;
    expect("lock", range_lock(descriptor, F_SETLK, F_WRLCK, 0, 200), 0);
    expect("taken", elsewhere(write_lock_100_100), EAGAIN);
    expect("unlock a part", range_lock(descriptor, F_SETLK, F_UNLCK, 100, 100), 0);
    expect("free part", elsewhere(write_lock_100_100), 0);
    expect("other part", elsewhere(write_lock_0_100), EAGAIN);
}

static void ranges_end_with_any_close(const void *unused)
{
    (void)unused;
    expect("first", write_lock_0_100(opened()), 0);
    case_script("open b f rd; close b");
    expect("after closing another descriptor", elsewhere(write_lock_0_100), 0);
}

static void ranges_tell_the_holder(const void *unused)
{
    (void)unused;
    expect("first", write_lock_0_100(opened()), 0);
    expect("holder", elsewhere(holder_ask), 0);
}

static void ranges_need_the_mode(const void *unused)
{
    (void)unused;
    case_script("file f 644; open a f rd; open b f wr");
    expect("write lock by a reader", write_lock_0_100(slot_descriptor("a")), EBADF);
    expect("read lock by a writer", read_lock_0_100(slot_descriptor("b")), EBADF);
}

static void descriptions_exclude(const void *unused)
{
    int descriptor = opened();

    (void)unused;
    expect("first", description_lock_0_100(descriptor), 0);
    case_script("open b f rw");
    expect("another description here", description_lock_0_100(slot_descriptor("b")), EAGAIN);
    case_script("close b");
    expect("kept when another is closed", elsewhere(description_lock_0_100), EAGAIN);
    case_script("close a");
    expect("after close", elsewhere(description_lock_0_100), 0);
}

static int upgrade_blocking(int descriptor)
{
    return range_lock(descriptor, F_SETLKW, F_WRLCK, 0, 100);
}

/* A waiting locker gets the lock when its holder goes. */
static void ranges_wait(const void *unused)
{
    int descriptor = opened(), status;

    (void)unused;
    expect("first", write_lock_0_100(descriptor), 0);
    pid_t child = fork();
    if (child == 0) {
        int own = open("f", O_RDWR);
        _exit(own < 0 ? 255 : upgrade_blocking(own));
    }
    usleep(50 * 1000);
    CHECK(waitpid(child, &status, WNOHANG) == 0, "the waiter: expected still waiting");
    expect("unlock", range_lock(descriptor, F_SETLK, F_UNLCK, 0, 0), 0);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0,
          "the waiter: expected the lock");
}

void area_locks(void)
{
    suite_function("locks/flock-excludes", flock_excludes, NULL);
    suite_function("locks/flock-shares", flock_shares, NULL);
    suite_function("locks/flock-close", flock_ends_with_close, NULL);
    suite_function("locks/flock-converts", flock_converts, NULL);
    suite_function("locks/range-excludes", ranges_exclude, NULL);
    suite_function("locks/range-shares", ranges_share, NULL);
    suite_function("locks/range-part", ranges_unlock_a_part, NULL);
    suite_function("locks/range-any-close", ranges_end_with_any_close, NULL);
    suite_function("locks/range-holder", ranges_tell_the_holder, NULL);
    suite_function("locks/range-mode", ranges_need_the_mode, NULL);
    suite_function("locks/range-wait", ranges_wait, NULL);
    suite_function("locks/description", descriptions_exclude, NULL);
}
