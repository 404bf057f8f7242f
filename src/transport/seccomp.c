/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three kinds of calls. What the server does is allowed, with the arguments that it has where they tell
 * something. What the C library may try on its own, and can do without, is refused with an error. Everything
 * else nobody here calls: somebody else does.
 */
#include "transport/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#if defined(__has_feature)
# if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
     __has_feature(memory_sanitizer)
#  define SANITIZED
# endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
# define SANITIZED
#endif

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const int allowed[] = {
    /* Bytes, of files and sockets that are open. */
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(preadv),
    SCMP_SYS(preadv2),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pwrite64),
    SCMP_SYS(pwritev),
    SCMP_SYS(pwritev2),
    SCMP_SYS(lseek),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(accept4),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(getsockname),
    SCMP_SYS(close),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat), /* fstat(3) is this one */
    SCMP_SYS(statx),
    SCMP_SYS(fstatfs),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(eventfd2),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_setup),
    SCMP_SYS(io_submit),
    SCMP_SYS(io_getevents),
    SCMP_SYS(io_destroy),
    /* The pool and the window. */
    SCMP_SYS(memfd_create),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(sync_file_range),
    SCMP_SYS(msync),
    /* Memory. */
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    /* Threads, signals, time. */
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(wait4),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getcpu),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    /* What it is. */
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(setsid),
    SCMP_SYS(getrandom),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
#ifdef SANITIZED
    /* Of the sanitizers, that look at themselves, and for leaks from a process that stops this one. */
    SCMP_SYS(clone),
    SCMP_SYS(ptrace),
    SCMP_SYS(prctl),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(getppid),
    SCMP_SYS(kill),
    SCMP_SYS(tkill),
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
    SCMP_SYS(getdents64),
    SCMP_SYS(mprotect),
    SCMP_SYS(mincore),
    SCMP_SYS(getrlimit),
    SCMP_SYS(setrlimit),
    SCMP_SYS(personality),
#endif
};

/* No file has a name here, whatever the root; the log's socket is connected, and not again; a library that counts
 * CPUs, looks for a message or a time zone, or writes down what was covered by a test, goes on
 * without. What a ring does is not seen here: those that were made before can do what they are for. */
static const int refused[] = {
    SCMP_SYS(open),           SCMP_SYS(openat),     SCMP_SYS(access), SCMP_SYS(faccessat),
    SCMP_SYS(stat),           SCMP_SYS(lstat),      SCMP_SYS(statfs), SCMP_SYS(readlink),
    SCMP_SYS(unlink),         SCMP_SYS(unlinkat),   SCMP_SYS(mkdir),  SCMP_SYS(mkdirat),
    SCMP_SYS(umount2),        SCMP_SYS(readlinkat), SCMP_SYS(socket), SCMP_SYS(connect),
    SCMP_SYS(io_uring_setup),
};

static int add_lists(scmp_filter_ctx filter)
{
    int error = 0;

    for (size_t i = 0; i < COUNT(allowed) && !error; i++)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; i < COUNT(refused) && !error; i++)
        error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), refused[i], 0);
    return error;
}

/* No signals are had from descriptors: to whom, fcntl(2) can be told, and a server of root's may kill anybody. Nor is
 * anything of another process changed. */
static int add_own(scmp_filter_ctx filter)
{
    static const unsigned commands[] = {
        F_GETFL,     F_GETFD,     F_SETFD,     F_DUPFD_CLOEXEC,
        F_OFD_SETLK, F_OFD_GETLK, F_ADD_SEALS, F_GET_SEALS,
    };
    int error = 0;

    for (size_t i = 0; i < COUNT(commands) && !error; i++)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                                 SCMP_A1_32(SCMP_CMP_EQ, commands[i]));
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 2,
                                 SCMP_A1_32(SCMP_CMP_EQ, F_SETFL),
                                 SCMP_A2_32(SCMP_CMP_MASKED_EQ, O_ASYNC, 0));
    /* 0 is who calls. */
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1,
                                 SCMP_A0_32(SCMP_CMP_EQ, 0));
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sched_setaffinity), 1,
                                 SCMP_A0_32(SCMP_CMP_EQ, 0));
    return error;
}

/* Where arguments count. */
static int add_narrow(scmp_filter_ctx filter)
{
    static const unsigned long ioctls[] = { BLKGETSIZE64, TCGETS };
    int error = 0;

    for (size_t i = 0; i < COUNT(ioctls) && !error; i++)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                                 SCMP_A1_32(SCMP_CMP_EQ, (uint32_t)ioctls[i]));
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(io_uring_register), 1,
                                 SCMP_A1_32(SCMP_CMP_EQ, IORING_REGISTER_ENABLE_RINGS));
    /* Nothing new is run. */
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                 SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
#ifndef SANITIZED
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                 SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    /* Threads, but no processes. */
    if (!error)
        error = seccomp_rule_add(
            filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
            SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_VM | CLONE_THREAD, CLONE_VM | CLONE_THREAD));
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                                 SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
#endif
    /* Its flags are in memory, where a filter does not look: the C library tries clone then. */
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    /* To its own threads. */
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                                 SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    return error;
}

int seccomp_enter(bool kill)
{
    scmp_filter_ctx filter = seccomp_init(kill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_LOG);
    int error;

    if (!filter)
        return -ENOMEM;
    /* A call of another architecture is no call of ours. */
    error = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    /* Many rules, searched at each call. */
    if (!error)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (!error)
        error = add_lists(filter);
    if (!error)
        error = add_own(filter);
    if (!error)
        error = add_narrow(filter);
    if (!error)
        error = seccomp_load(filter);
    seccomp_release(filter);
    return error;
}
