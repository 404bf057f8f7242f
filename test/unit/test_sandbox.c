/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/seccomp: what is let through, refused, and deadly; transport/keeper: what it does, and
 * what it will not. Each in a process of its own. The whole sandbox: test/badinput/sandbox.sh. */
#include "transport/keeper.h"
#include "transport/seccomp.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- system calls -------------------------------------------------------------------------- */

/* What BODY returns in the filter, or minus the signal that ended it. */
static int filtered(bool kill, int (*body)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_enter(kill) < 0)
            _exit(100);
        _exit(body());
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void *thread_main(void *arg)
{
    return arg;
}

static int body_allowed(void)
{
    pthread_t thread;
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int file = memfd_create("file", MFD_CLOEXEC);

    if (memory == MAP_FAILED || file < 0 || ftruncate(file, 4096) < 0 || write(file, "x", 1) != 1)
        return 1;
    if (pthread_create(&thread, NULL, thread_main, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 2;
    return 0;
}

static int body_refused(void)
{
    if (open("/dev/null", O_RDONLY) >= 0 || errno != EACCES)
        return 1;
    if (unlink("/nowhere") == 0 || errno != EACCES)
        return 2;
    if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno != EACCES)
        return 3;
    return 0;
}

static int body_unknown(void)
{
    return getpriority(PRIO_PROCESS, 0) == 0 ? 0 : 1;
}

static int body_fork(void)
{
    return fork() < 0;
}

static int body_exec(void)
{
    execl("/bin/true", "true", (char *)NULL);
    return 1;
}

static int body_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
           MAP_FAILED;
}

static pid_t parent;

static int body_signal(void)
{
    return kill(parent, 0) < 0;
}

START_TEST(calls)
{
    parent = getpid();
    ck_assert_int_eq(filtered(true, body_allowed), 0);
    ck_assert_int_eq(filtered(true, body_refused), 0);
    ck_assert_int_eq(filtered(false, body_allowed), 0);
    ck_assert_int_eq(filtered(false, body_refused), 0);
    ck_assert_int_eq(filtered(false, body_unknown), 0);
    ck_assert_int_eq(filtered(true, body_unknown), -SIGSYS);
    ck_assert_int_eq(filtered(true, body_exec), -SIGSYS);
    ck_assert_int_eq(filtered(true, body_code), -SIGSYS);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their own calls */
    ck_assert_int_eq(filtered(true, body_fork), -SIGSYS);
    ck_assert_int_eq(filtered(true, body_signal), -SIGSYS);
#else
    (void)body_fork;
    (void)body_signal;
#endif
}
END_TEST

/* ---- the keeper ---------------------------------------------------------------------------- */

static char folder[] = "/tmp/daxfuse-keeper-XXXXXX";
static char socket_path[64], other_path[64];
static int pool;
static struct keeper *keeper;

static int make_socket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(address.sun_path, path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void setup(void)
{
    char path[64];

    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
    snprintf(other_path, sizeof(other_path), "%s/other", folder);
    snprintf(path, sizeof(path), "%s/pool", folder);
    ck_assert_int_eq(keeper_start(NULL, &keeper), 0);
    pool = open(path, O_RDWR | O_CREAT, 0600);
    ck_assert_int_ge(pool, 0);
    ck_assert_int_eq(write(pool, "pool", 4), 4);
}

static void teardown(void)
{
    char command[100];

    keeper_stop(keeper);
    close(pool);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static struct flock whole(short type)
{
    return (struct flock){ .l_type = type, .l_whence = SEEK_SET };
}

START_TEST(opens_the_pool_anew)
{
    struct flock own = whole(F_WRLCK), look = whole(F_WRLCK);
    char bytes[4];
    int anew;

    ck_assert_int_eq(keeper_open_pool(keeper, false), -EPERM); /* not yet */
    ck_assert_int_eq(fcntl(pool, F_OFD_SETLK, &own), 0);
    ck_assert_int_eq(keeper_seal(keeper, pool), 0);
    anew = keeper_open_pool(keeper, false);
    ck_assert_int_ge(anew, 0);
    ck_assert_int_eq(fcntl(anew, F_GETFL) & O_ACCMODE, O_RDWR);
    ck_assert_int_eq(pread(anew, bytes, 4, 0), 4);
    ck_assert_mem_eq(bytes, "pool", 4);
    /* No dup: the lock is another's. */
    ck_assert_int_eq(fcntl(anew, F_OFD_GETLK, &look), 0);
    ck_assert_int_eq(look.l_type, F_WRLCK);
    /* And it ends with who has it, whatever the keeper has. */
    close(pool);
    look = whole(F_WRLCK);
    ck_assert_int_eq(fcntl(anew, F_OFD_GETLK, &look), 0);
    ck_assert_int_eq(look.l_type, F_UNLCK);
    pool = anew;
    anew = keeper_open_pool(keeper, true);
    ck_assert_int_ge(anew, 0);
    ck_assert_int_eq(fcntl(anew, F_GETFL) & O_ACCMODE, O_RDONLY);
    close(anew);
}
END_TEST

START_TEST(removes_its_own)
{
    int fd = make_socket(socket_path), other = make_socket(other_path);

    ck_assert_int_eq(keeper_add_socket(keeper, "/nowhere/socket"), -ENOENT);
    ck_assert_int_eq(keeper_add_socket(keeper, socket_path), 0);
    ck_assert_int_eq(keeper_add_socket(keeper, other_path), 1);
    ck_assert_int_eq(keeper_seal(keeper, pool), 0);
    keeper_remove_socket(keeper, 7);
    keeper_remove_socket(keeper, -1);
    keeper_remove_socket(keeper, 0);
    ck_assert_int_eq(access(socket_path, F_OK), -1);
    ck_assert_int_eq(access(other_path, F_OK), 0);
    /* Somebody else's in its place: made before the old one goes, so that it is another inode. */
    ck_assert_int_eq(rename(other_path, socket_path), 0);
    close(other);
    other = make_socket(other_path);
    keeper_remove_socket(keeper, 1);
    ck_assert_int_eq(access(other_path, F_OK), 0);
    close(other);
    close(fd);
}
END_TEST

START_TEST(is_sealed)
{
    int fd = make_socket(socket_path);

    ck_assert_int_eq(keeper_seal(keeper, pool), 0);
    ck_assert_int_eq(keeper_add_socket(keeper, socket_path), -EPERM);
    ck_assert_int_eq(keeper_seal(keeper, pool), -EPERM);
    keeper_remove_socket(keeper, 0);
    ck_assert_int_eq(access(socket_path, F_OK), 0);
    ck_assert_int_eq(keeper_ask(keeper), -EINVAL); /* there is no mountpoint */
    ck_assert_int_eq(keeper_unmount(keeper, 0), -EINVAL);
    ck_assert_int_eq(keeper_detach(keeper, 0), -EINVAL);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sandbox");
    TCase *filter = tcase_create("seccomp"), *outside = tcase_create("keeper");
    SRunner *runner;
    int failed;

    tcase_add_test(filter, calls);
    suite_add_tcase(suite, filter);
    tcase_add_checked_fixture(outside, setup, teardown);
    tcase_add_test(outside, opens_the_pool_anew);
    tcase_add_test(outside, removes_its_own);
    tcase_add_test(outside, is_sealed);
    suite_add_tcase(suite, outside);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
