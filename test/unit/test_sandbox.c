/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/seccomp: what is let through, refused, and deadly; transport/keeper: what it does, and
 * what it will not. Each in a process of its own. The whole sandbox: test/badinput/sandbox.sh. */
#include "media/persist.h"
#include "transport/keeper.h"
#include "transport/mountpoint.h"
#include "transport/seccomp.h"
#include "transport/vhost/kick.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- system calls -------------------------------------------------------------------------- */

/* What a process does before it is in the filter, if anything. */
static int (*prepare)(void);

/* What BODY returns in the filter, or minus the signal that ended it. */
static int filtered(bool kill, int (*body)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (prepare && prepare() < 0)
            _exit(101);
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
    errno = 0;
    return getpriority(PRIO_PROCESS, 0) == -1 && errno != 0;
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

/* ---- what is not its own ---- */

static int held; /* a socket */

/* What is done with descriptors. */
static int body_fcntl(void)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int copy = fcntl(held, F_DUPFD_CLOEXEC, 0), seals = memfd_create("file", MFD_ALLOW_SEALING);

    if (copy < 0 || fcntl(copy, F_GETFD) != FD_CLOEXEC || fcntl(copy, F_SETFD, FD_CLOEXEC) < 0)
        return 1;
    if (fcntl(held, F_SETFL, fcntl(held, F_GETFL) | O_NONBLOCK) < 0)
        return 2;
    if (fcntl(seals, F_ADD_SEALS, F_SEAL_GROW) < 0 || fcntl(seals, F_GET_SEALS) != F_SEAL_GROW)
        return 3;
    if (fcntl(seals, F_OFD_SETLK, &lock) < 0 || fcntl(seals, F_OFD_GETLK, &lock) < 0)
        return 4;
    return 0;
}

static int body_owner(void)
{
    return fcntl(held, F_SETOWN, parent) < 0;
}

static int body_which_signal(void)
{
    return fcntl(held, F_SETSIG, SIGKILL) < 0;
}

static int body_async(void)
{
    return fcntl(held, F_SETFL, O_ASYNC | O_NONBLOCK) < 0;
}

static int body_lease(void)
{
    return fcntl(held, F_SETLEASE, F_RDLCK) < 0;
}

static int body_own_limit(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) < 0;
}

static int body_limit(void)
{
    struct rlimit limit;

    return prlimit(parent, RLIMIT_NOFILE, NULL, &limit) < 0;
}

static int body_own_cpus(void)
{
    cpu_set_t cpus;

    return sched_getaffinity(0, sizeof(cpus), &cpus) < 0 ||
           sched_setaffinity(0, sizeof(cpus), &cpus) < 0;
}

static int body_cpus(void)
{
    cpu_set_t cpus;

    return sched_getaffinity(0, sizeof(cpus), &cpus) < 0 ||
           sched_setaffinity(parent, sizeof(cpus), &cpus) < 0;
}

START_TEST(others)
{
    int ends[2];

    parent = getpid();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    held = ends[0];
    ck_assert_int_eq(filtered(true, body_fcntl), 0);
    ck_assert_int_eq(filtered(true, body_own_limit), 0);
    ck_assert_int_eq(filtered(true, body_own_cpus), 0);
    ck_assert_int_eq(filtered(true, body_owner), -SIGSYS);
    ck_assert_int_eq(filtered(true, body_which_signal), -SIGSYS);
    ck_assert_int_eq(filtered(true, body_async), -SIGSYS);
    ck_assert_int_eq(filtered(true, body_lease), -SIGSYS);
    ck_assert_int_eq(filtered(true, body_limit), -SIGSYS);
    ck_assert_int_eq(filtered(true, body_cpus), -SIGSYS);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

/* ---- rings that were made before ---- */

#define PAGE 4096u

static struct persist *persist;
static struct kick kick;
static uint8_t *pages;

static int prepare_rings(void)
{
    int file = memfd_create("pool", MFD_CLOEXEC);

    pages = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (ftruncate(file, 8 * PAGE) < 0 || pages == MAP_FAILED ||
        persist_open_paged(pages, 8 * PAGE, file, true, &persist) < 0)
        return -1;
    persist_paged_make_rings(persist);
    return kick_init(&kick);
}

/* Three pages in one submission. */
static int body_drain(void)
{
    struct persist_counters counters;

    for (unsigned i = 0; i < 6; i += 2)
        persist_copy(persist, pages + i * PAGE, "x", 1, PERSIST_DATA);
    if (persist_drain(persist) < 0)
        return 1;
    persist_get_counters(persist, &counters);
    return counters.syncs == 1 ? 0 : 2;
}

static int body_kick(void)
{
    int kicks = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (!kick.uring)
        return 1;
    kick_start(&kick);
    if (!kick.uring)
        return 2;
    kick_set(&kick, kicks);
    for (unsigned i = 0; i < 3; i++) {
        if (i == 1)
            kick_wake(&kick);
        else if (eventfd_write(kicks, 1) < 0)
            return 3;
        kick_wait(&kick);
    }
    close(kick_set(&kick, eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)));
    kick_wait(&kick);
    return kick.uring ? 0 : 4;
}

static int signalling = -1;

/* What else may come as a kick: it asks for signals, and is one of few that are not of a file. */
static int prepare_signalling(void)
{
    struct perf_event_attr event = { .type = PERF_TYPE_SOFTWARE,
                                     .size = sizeof(event),
                                     .config = PERF_COUNT_SW_DUMMY,
                                     .exclude_kernel = 1 };

    signalling = (int)syscall(SYS_perf_event_open, &event, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    return signalling < 0 ? 0 : fcntl(signalling, F_SETFL, O_ASYNC);
}

static int body_signalling(void)
{
    return signalling >= 0 && kick_is_usable(signalling);
}

/* What a ring says to another operation: it would open a file. */
static int body_ring_opens(void)
{
    struct io_uring_cqe *completion;

    kick_start(&kick);
    io_uring_prep_openat(io_uring_get_sqe(&kick.ring), AT_FDCWD, "/dev/null", O_RDONLY, 0);
    if (io_uring_submit_and_wait(&kick.ring, 1) < 0 ||
        io_uring_peek_cqe(&kick.ring, &completion) < 0)
        return 1;
    return completion->res == -EACCES ? 0 : 2;
}

static int body_new_ring(void)
{
    struct io_uring ring;

    return io_uring_queue_init(2, &ring, 0) == -EACCES ? 0 : 1;
}

static int body_register(void)
{
    return io_uring_register_eventfd(&kick.ring, kick.wake) < 0;
}

START_TEST(rings)
{
    struct io_uring ring;

    if (io_uring_queue_init(2, &ring, 0) < 0)
        return; /* the kernel gives none */
    io_uring_queue_exit(&ring);
    prepare = prepare_rings;
    ck_assert_int_eq(filtered(true, body_drain), 0);
    ck_assert_int_eq(filtered(true, body_kick), 0);
    ck_assert_int_eq(filtered(true, body_ring_opens), 0);
    ck_assert_int_eq(filtered(true, body_new_ring), 0);
    ck_assert_int_eq(filtered(true, body_register), -SIGSYS);
}
END_TEST

START_TEST(a_kick_that_asks_for_signals)
{
    prepare = prepare_signalling;
    ck_assert_int_eq(filtered(true, body_signalling), 0);
}
END_TEST

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

/* For a server that gives no VMM the pool. */
START_TEST(has_no_pool)
{
    ck_assert_int_eq(keeper_seal(keeper, -1), 0);
    ck_assert_int_eq(keeper_open_pool(keeper, false), -EPERM);
    ck_assert_int_eq(keeper_open_pool(keeper, true), -EPERM);
    ck_assert_int_eq(keeper_seal(keeper, pool), -EPERM);
    ck_assert_int_eq(keeper_open_pool(keeper, false), -EPERM);
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
    ck_assert_int_eq(keeper_unmount(keeper), -EINVAL);
    ck_assert_int_eq(keeper_detach(keeper), -EINVAL);
    close(fd);
}
END_TEST

/* Another keeper, of a mountpoint in a namespace of mounts of this test's. False: that is not to be had. */
static bool keep_mountpoint(char *ret_path, size_t size)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    snprintf(ret_path, size, "%s/mount", folder);
    ck_assert_int_eq(mkdir(ret_path, 0700), 0);
    keeper_stop(keeper);
    ck_assert_int_eq(keeper_start(ret_path, &keeper), 0);
    return true;
}

/* What is mounted there before or after the server's own mount stays. */
START_TEST(unmounts_its_own)
{
    char path[80];
    uint64_t id;

    if (!keep_mountpoint(path, sizeof(path)))
        return;
    ck_assert_int_eq(mount("own", path, "tmpfs", 0, ""), 0);
    ck_assert_int_eq(keeper_unmount(keeper), -EINVAL); /* not yet */
    id = mountpoint_id(path);
    ck_assert_uint_ne(id, 0);
    ck_assert_int_eq(keeper_add_mount(keeper, 0), -EINVAL);
    ck_assert_int_eq(keeper_add_mount(keeper, id), 0);
    ck_assert_int_eq(keeper_add_mount(keeper, id), -EPERM);
    ck_assert_int_eq(keeper_seal(keeper, pool), 0);
    ck_assert_int_eq(mount("theirs", path, "tmpfs", 0, ""), 0);
    ck_assert_int_eq(keeper_unmount(keeper), -ESTALE);
    ck_assert_int_eq(keeper_detach(keeper), -ESTALE);
    ck_assert_int_eq(umount(path), 0);
    ck_assert_int_eq(keeper_unmount(keeper), 0);
    ck_assert_int_eq(mount("theirs", path, "tmpfs", 0, ""), 0);
    ck_assert_int_eq(keeper_unmount(keeper), -EINVAL);
    ck_assert_int_eq(umount(path), 0);
    /* There was none. */
    keeper_stop(keeper);
    ck_assert_int_eq(keeper_start(path, &keeper), 0);
    ck_assert_int_eq(keeper_seal(keeper, pool), 0);
    ck_assert_int_eq(mount("theirs", path, "tmpfs", 0, ""), 0);
    id = mountpoint_id(path);
    ck_assert_uint_ne(id, 0);
    ck_assert_int_eq(keeper_add_mount(keeper, id), -EPERM);
    ck_assert_int_eq(keeper_unmount(keeper), -EINVAL);
    ck_assert_int_eq(keeper_detach(keeper), -EINVAL);
    ck_assert_int_eq(umount(path), 0);
    /* Theirs has the device's number that ours had. */
    keeper_stop(keeper);
    ck_assert_int_eq(keeper_start(path, &keeper), 0);
    ck_assert_int_eq(mount("own", path, "tmpfs", 0, ""), 0);
    id = mountpoint_id(path);
    ck_assert_int_eq(keeper_add_mount(keeper, id), 0);
    ck_assert_int_eq(keeper_seal(keeper, pool), 0);
    ck_assert_int_eq(umount(path), 0);
    ck_assert_int_eq(mount("theirs", path, "tmpfs", 0, ""), 0);
    if (id >> 31) /* a unique one */
        ck_assert_int_eq(keeper_unmount(keeper), -ESTALE);
    ck_assert_int_eq(umount(path), 0);
}
END_TEST

static void *ask_main(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)keeper_ask(keeper);
}

/* Who waits for the mount keeps nobody from asking whom the mount's answer may wait for. */
START_TEST(tells_groups_meanwhile)
{
    char path[80], options[80];
    pthread_t thread;
    void *result;

    if (!keep_mountpoint(path, sizeof(path)))
        return;
    int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
    if (fuse < 0 || mount("slow", path, "fuse", 0, options) < 0)
        return;
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_main, NULL), 0);
    usleep(100000);
    ck_assert_int_eq(pthread_tryjoin_np(thread, NULL), EBUSY);
    ck_assert_int_eq(setgroups(1, (const gid_t[]){ 4711 }), 0);
    ck_assert(keeper_is_in_group(keeper, getpid(), 4711));
    ck_assert(!keeper_is_in_group(keeper, getpid(), 4712));
    close(fuse);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_int_lt((int)(intptr_t)result, 0);
    umount2(path, MNT_DETACH);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sandbox");
    TCase *filter = tcase_create("seccomp"), *outside = tcase_create("keeper");
    SRunner *runner;
    int failed;

    tcase_add_test(filter, calls);
    tcase_add_test(filter, others);
    tcase_add_test(filter, rings);
    tcase_add_test(filter, a_kick_that_asks_for_signals);
    suite_add_tcase(suite, filter);
    tcase_add_checked_fixture(outside, setup, teardown);
    tcase_add_test(outside, opens_the_pool_anew);
    tcase_add_test(outside, has_no_pool);
    tcase_add_test(outside, removes_its_own);
    tcase_add_test(outside, is_sealed);
    tcase_add_test(outside, unmounts_its_own);
    tcase_add_test(outside, tells_groups_meanwhile);
    suite_add_tcase(suite, outside);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
