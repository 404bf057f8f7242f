/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Namespaces first, since they need capabilities; then those go; the filter of system calls comes last,
 * since it would not let the others be done.
 */
#include "transport/sandbox.h"

#include "base/log.h"
#include "base/message.h"
#include "transport/seccomp.h"
#include <cap-ng.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Where an empty file system is mounted before it becomes the root: a folder that is everywhere. */
#define NEW_ROOT "/proc"

/* ---- namespaces ---------------------------------------------------------------------------- */

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC), error = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        error = -errno;
    close(fd);
    return error;
}

/* Ids are what they were, so that those of who connects still compare; there are no others. */
static int map_ids(uid_t uid, gid_t gid)
{
    char line[64];
    int error;

    snprintf(line, sizeof(line), "%u %u 1", (unsigned)uid, (unsigned)uid);
    error = write_file("/proc/self/uid_map", line);
    if (!error)
        error = write_file("/proc/self/setgroups", "deny");
    if (error)
        return error;
    snprintf(line, sizeof(line), "%u %u 1", (unsigned)gid, (unsigned)gid);
    return write_file("/proc/self/gid_map", line);
}

/* Sets *ret_inside when there is no way back. */
static int unshare_all(bool *ret_inside, char **ret_message)
{
    int flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int error;

    if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN)) {
        if (unshare(flags) < 0)
            return message_set(ret_message, -errno, "namespaces cannot be made: %s",
                               strerror(errno));
        *ret_inside = true;
        return 0;
    }
    if (unshare(flags | CLONE_NEWUSER) < 0)
        return message_set(ret_message, -errno,
                           "namespaces cannot be made by this user: %s: run it as root",
                           strerror(errno));
    *ret_inside = true;
    error = map_ids(uid, gid);
    if (error)
        return message_set(ret_message, error,
                           "a user namespace cannot be set up: %s: run it as root",
                           strerror(-error));
    capng_get_caps_process();
    return 0;
}

static int empty_root(char **ret_message)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("daxfuse", NEW_ROOT, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
              "mode=0555,size=4k,nr_inodes=2") < 0 ||
        chdir(NEW_ROOT) < 0)
        return message_set(ret_message, -errno, "an empty root cannot be mounted: %s",
                           strerror(errno));
    /* The old root comes to lie on the new one, and is taken from there. */
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return message_set(ret_message, -errno, "the root cannot be changed: %s", strerror(errno));
    return 0;
}

static int enter_namespaces(bool *ret_inside, char **ret_message)
{
    int error = unshare_all(ret_inside, ret_message);

    return error ? error : empty_root(ret_message);
}

static int enter_chroot(char **ret_message)
{
    char folder[] = "/tmp/daxfuse-XXXXXX";
    int fd, error = 0;

    if (!mkdtemp(folder))
        return message_set(ret_message, -errno, "%s: an empty folder cannot be made: %s", folder,
                           strerror(errno));
    fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* In a removed folder nobody can make anything any more. */
    if (rmdir(folder) < 0 || fd < 0 || fchdir(fd) < 0 || chroot(".") < 0)
        error = message_set(ret_message, -errno, "the root cannot be changed: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return error;
}

/* Sets *mode to what there is in the end. Half of a sandbox is none: something is wrong then. */
static int enter_mode(enum sandbox_mode *mode, char **ret_message)
{
    bool any = *mode == SANDBOX_AUTO, inside = false;
    int error = 0;

    if (any)
        *mode = SANDBOX_NAMESPACE;
    if (*mode == SANDBOX_NAMESPACE) {
        error = enter_namespaces(&inside, ret_message);
        if (!error || !any || inside)
            return error;
        log_warn("--sandbox namespace: %s", *ret_message ? *ret_message : strerror(-error));
        free(*ret_message);
        *ret_message = NULL;
        *mode = SANDBOX_CHROOT;
    }
    if (*mode == SANDBOX_CHROOT) {
        error = enter_chroot(ret_message);
        if (!error || !any)
            return error;
        log_warn("--sandbox chroot: %s", *ret_message ? *ret_message : strerror(-error));
        free(*ret_message);
        *ret_message = NULL;
        *mode = SANDBOX_NONE;
    }
    return 0;
}

/* ---- capabilities -------------------------------------------------------------------------- */

/* None is needed: the pool is open, and opened anew by the keeper. */
static int drop_capabilities(char **ret_message)
{
    bool all = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);

    capng_clear(CAPNG_SELECT_BOTH);
    /* The bounding set is not a process's to change that has no right to. */
    if (capng_apply(all ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) < 0)
        return message_set(ret_message, -EPERM, "capabilities cannot be given up");
    return 0;
}

/* ---- all of it ----------------------------------------------------------------------------- */

/* What the C library would read from files when it is first used. */
static void load_ahead(void)
{
    tzset();
    /* To end threads. It stays: nobody closes it. */
    (void)dlopen("libgcc_s.so.1", RTLD_NOW);
}

int sandbox_enter(const struct sandbox_options *options, char **ret_message)
{
    static const char *const modes[] = { "", "namespace", "chroot", "none" };
    static const char *const seccomps[] = { "", "kill", "log", "none" };
    enum sandbox_mode mode = options->mode;
    enum sandbox_seccomp seccomp = options->seccomp;
    int error;

    *ret_message = NULL;
    load_ahead();
    if (capng_get_caps_process() < 0)
        return message_set(ret_message, -EINVAL, "capabilities cannot be read");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return message_set(ret_message, -errno, "no_new_privs: %s", strerror(errno));
    error = enter_mode(&mode, ret_message);
    if (!error)
        error = drop_capabilities(ret_message);
    if (error)
        return error;
    if (seccomp == SECCOMP_AUTO)
        seccomp = SECCOMP_KILL;
    if (seccomp != SECCOMP_NONE)
        error = seccomp_enter(seccomp == SECCOMP_KILL);
    if (error && options->seccomp == SECCOMP_AUTO) {
        log_warn("--seccomp kill: the kernel does not take the filter: %s", strerror(-error));
        seccomp = SECCOMP_NONE;
        error = 0;
    }
    if (error)
        return message_set(ret_message, error,
                           "--seccomp %s: the kernel does not take the filter: %s",
                           seccomps[seccomp], strerror(-error));
    log_info("sandbox %s, seccomp %s", modes[mode], seccomps[seccomp]);
    return 0;
}
