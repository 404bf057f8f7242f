/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Both ends. A request is one packet of a fixed size, and so is its answer; a descriptor may go with
 * either. The child trusts nothing in a request but its size: numbers are looked up in what it was told before
 * it was sealed.
 *
 * What asks the mount, or unmounts it, may wait for the server, whose every thread may just ask about people:
 * so that is answered by another thread, on a socket of its own.
 */
#include "transport/keeper.h"

#include "base/fd.h"
#include "base/log.h"
#include "transport/mountpoint.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKETS_MAX 1024

enum what {
    ADD_SOCKET,
    ADD_MOUNT,
    SEAL,
    OPEN_POOL,
    REMOVE_SOCKET,
    ASK,
    UNMOUNT,
    DETACH,
    IS_IN_GROUP,
    IS_OWN
};

struct request {
    uint32_t what;
    int32_t number; /* of a socket, of a process; OPEN_POOL: read-only; SEAL: with the pool */
    uint64_t value; /* IS_IN_GROUP: a group; ADD_MOUNT: its number */
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
};

struct line {
    pthread_mutex_t mutex; /* one request at a time */
    int fd;
};

struct keeper {
    struct line main, people;
    pid_t pid;
};

/* ---- packets ------------------------------------------------------------------------------ */

static bool packet_send(int socket, const void *bytes, size_t size, int fd)
{
    union fd_control control;
    struct iovec vector = { .iov_base = (void *)bytes, .iov_len = size };
    struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
    ssize_t sent;

    if (fd >= 0)
        fd_attach(&message, &control, fd);
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)size;
}

static bool packet_receive(int socket, void *bytes, size_t size, int *ret_fd)
{
    union fd_control control;
    struct iovec vector = { .iov_base = bytes, .iov_len = size };
    struct msghdr message = { .msg_iov = &vector,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    ssize_t received;

    *ret_fd = -1;
    do
        received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return false;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
    return received == (ssize_t)size;
}

/* ---- the child ---------------------------------------------------------------------------- */

struct kept {
    const char *mountpoint; /* NULL: none */
    uint64_t mount;         /* the server's (mountpoint.h), 0: there is none */
    bool sealed;
    int pool; /* O_PATH; -1: nobody is given one */
    int count;
    struct {
        char path[sizeof(((struct request *)NULL)->path)];
        dev_t device;
        ino_t inode;
    } sockets[SOCKETS_MAX];
};

static int add_socket(struct kept *kept, const struct request *request)
{
    struct stat stat;

    if (kept->sealed || kept->count == SOCKETS_MAX)
        return -EPERM;
    if (strnlen(request->path, sizeof(request->path)) == sizeof(request->path))
        return -EINVAL;
    if (lstat(request->path, &stat) < 0)
        return -errno;
    strcpy(kept->sockets[kept->count].path, request->path);
    kept->sockets[kept->count].device = stat.st_dev;
    kept->sockets[kept->count].inode = stat.st_ino;
    return kept->count++;
}

static int add_mount(struct kept *kept, const struct request *request)
{
    if (kept->sealed || !kept->mountpoint || kept->mount)
        return -EPERM;
    if (request->value == 0)
        return -EINVAL;
    kept->mount = request->value;
    return 0;
}

static int seal(struct kept *kept, bool with_pool, int *fd)
{
    if (kept->sealed || with_pool != (*fd >= 0))
        return -EPERM;
    kept->pool = *fd;
    *fd = -1;
    kept->sealed = true;
    return 0;
}

static int open_pool(const struct kept *kept, bool read_only)
{
    if (!kept->sealed || kept->pool < 0)
        return -EPERM;
    return fd_reopen(kept->pool, read_only ? O_RDONLY : O_RDWR);
}

static int remove_socket(const struct kept *kept, int number)
{
    struct stat stat;

    if (number < 0 || number >= kept->count)
        return -EINVAL;
    if (lstat(kept->sockets[number].path, &stat) < 0)
        return -errno;
    if (stat.st_dev != kept->sockets[number].device || stat.st_ino != kept->sockets[number].inode)
        return -ESTALE;
    return unlink(kept->sockets[number].path) < 0 ? -errno : 0;
}

/* Once: the next one there may have the same number. */
static int take_away(struct kept *kept, int (*how)(const char *path, uint64_t id))
{
    int error = kept->mount ? how(kept->mountpoint, kept->mount) : -EINVAL;

    if (!error)
        kept->mount = 0;
    return error;
}

/* 1, 0, -errno. */
static int is_in_group(pid_t pid, uint64_t group)
{
    char path[48], *line = NULL, *rest = NULL;
    size_t size = 0;
    int result = -ESRCH;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    while (result < 0 && getline(&line, &size, file) > 0) {
        if (strncmp(line, "Groups:", 7) != 0)
            continue;
        result = 0;
        for (char *word = strtok_r(line + 7, " \t\n", &rest); word && !result;
             word = strtok_r(NULL, " \t\n", &rest))
            result = strtoull(word, NULL, 10) == group;
    }
    free(line);
    fclose(file);
    return result;
}

/* As far as it can be seen from here. 1, 0, -errno. */
static int is_own(int socket)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    return peer.uid == 0 || peer.uid == geteuid();
}

/* *FD: that came, to be left -1 if it is kept; else it, or what is put there, goes with the answer, or just
 * away. */
static int answer(struct kept *kept, const struct request *request, int *fd)
{
    int opened;

    switch (request->what) {
    case ADD_SOCKET:
        return add_socket(kept, request);
    case ADD_MOUNT:
        return add_mount(kept, request);
    case SEAL:
        return seal(kept, request->number != 0, fd);
    case OPEN_POOL:
        opened = open_pool(kept, request->number != 0);
        if (opened < 0)
            return opened;
        if (*fd >= 0)
            close(*fd);
        *fd = opened;
        return 0;
    case REMOVE_SOCKET:
        return remove_socket(kept, request->number);
    case ASK:
        return kept->mountpoint ? mountpoint_ask(kept->mountpoint) : -EINVAL;
    case UNMOUNT:
        return take_away(kept, mountpoint_unmount);
    case DETACH:
        return take_away(kept, mountpoint_detach);
    default:
        return -EINVAL;
    }
}

static void *people_main(void *arg)
{
    struct request request;
    int socket = *(const int *)arg, fd;

    while (packet_receive(socket, &request, sizeof(request), &fd)) {
        int32_t result = -EINVAL;

        if (request.what == IS_IN_GROUP)
            result = is_in_group(request.number, request.value);
        else if (request.what == IS_OWN)
            result = is_own(fd);
        if (fd >= 0)
            close(fd);
        if (!packet_send(socket, &result, sizeof(result), -1))
            break;
    }
    return NULL;
}

/* Until the server is gone. */
static void serve(int socket, const char *mountpoint)
{
    static struct kept kept;
    struct request request;
    int fd;

    kept.mountpoint = mountpoint;
    while (packet_receive(socket, &request, sizeof(request), &fd)) {
        int32_t result = answer(&kept, &request, &fd);
        bool sent = packet_send(socket, &result, sizeof(result),
                                request.what == OPEN_POOL && result == 0 ? fd : -1);

        if (fd >= 0)
            close(fd);
        if (!sent)
            break;
    }
}

/* All but 0 to 2 and these two. */
static int close_except(int first, int second)
{
    unsigned low = (unsigned)(first < second ? first : second);
    unsigned high = (unsigned)(first < second ? second : first);

    return (low > 3 && close_range(3, low - 1, 0) < 0) ||
                   (high > low + 1 && close_range(low + 1, high - 1, 0) < 0) ||
                   close_range(high + 1, ~0u, 0) < 0
               ? -errno
               : 0;
}

/* Keeps nothing of what the server has inherited, not even the terminal: who waits for those to be closed
 * waits for the server alone. */
static _Noreturn void child_main(int socket, int people, const char *mountpoint)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    pthread_t thread;

    prctl(PR_SET_NAME, "daxfuse-keeper");
    setsid();
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    if (close_except(socket, people) < 0 || chdir("/") < 0)
        _exit(EXIT_FAILURE);
    /* The server ends it. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    if (pthread_create(&thread, NULL, people_main, &people) != 0)
        _exit(EXIT_FAILURE);
    pthread_detach(thread); /* ends with this */
    serve(socket, mountpoint);
    _exit(EXIT_SUCCESS);
}

/* ---- the server's side -------------------------------------------------------------------- */

int keeper_start(const char *mountpoint, struct keeper **ret_keeper)
{
    struct keeper *keeper = calloc(1, sizeof(*keeper));
    int main[2], people[2], error;

    if (!keeper)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, main) < 0) {
        error = -errno;
        goto fail;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, people) < 0) {
        error = -errno;
        goto fail_main;
    }
    keeper->pid = fork();
    if (keeper->pid == 0)
        child_main(main[1], people[1], mountpoint);
    error = -errno;
    close(people[1]);
    if (keeper->pid < 0)
        goto fail_people;
    close(main[1]);
    pthread_mutex_init(&keeper->main.mutex, NULL);
    pthread_mutex_init(&keeper->people.mutex, NULL);
    keeper->main.fd = main[0];
    keeper->people.fd = people[0];
    *ret_keeper = keeper;
    return 0;

fail_people:
    close(people[0]);
fail_main:
    close(main[0]);
    close(main[1]);
fail:
    free(keeper);
    return error;
}

/* *fd goes with the request, and becomes what comes with the answer, or -1. */
static int ask(struct keeper *keeper, const struct request *request, int *fd)
{
    struct line *line =
        request->what == IS_IN_GROUP || request->what == IS_OWN ? &keeper->people : &keeper->main;
    int32_t result;
    int came = -1;

    pthread_mutex_lock(&line->mutex);
    bool done = packet_send(line->fd, request, sizeof(*request), *fd) &&
                packet_receive(line->fd, &result, sizeof(result), &came);
    pthread_mutex_unlock(&line->mutex);
    *fd = came;
    return done ? result : -EPIPE;
}

static int ask_plain(struct keeper *keeper, enum what what, int number, uint64_t value)
{
    const struct request request = { .what = what, .number = number, .value = value };
    int fd = -1, result = ask(keeper, &request, &fd);

    if (fd >= 0)
        close(fd);
    return result;
}

int keeper_add_socket(struct keeper *keeper, const char *path)
{
    struct request request = { .what = ADD_SOCKET };
    int fd = -1;

    if (strlen(path) >= sizeof(request.path))
        return -ENAMETOOLONG;
    strcpy(request.path, path);
    return ask(keeper, &request, &fd);
}

int keeper_add_mount(struct keeper *keeper, uint64_t mount)
{
    return ask_plain(keeper, ADD_MOUNT, 0, mount);
}

int keeper_seal(struct keeper *keeper, int pool_fd)
{
    const struct request request = { .what = SEAL, .number = pool_fd >= 0 };
    int pool = pool_fd >= 0 ? fd_reopen(pool_fd, O_PATH) : -1, fd = pool;

    if (pool_fd >= 0 && pool < 0)
        return pool;
    int result = ask(keeper, &request, &fd);
    if (pool >= 0)
        close(pool);
    return result;
}

int keeper_open_pool(struct keeper *keeper, bool read_only)
{
    const struct request request = { .what = OPEN_POOL, .number = read_only };
    int fd = -1, result = ask(keeper, &request, &fd);

    if (result == 0 && fd < 0) /* no descriptor is free here */
        result = -EMFILE;
    return result < 0 ? result : fd;
}

void keeper_remove_socket(struct keeper *keeper, int number)
{
    int result = ask_plain(keeper, REMOVE_SOCKET, number, 0);

    if (result < 0 && result != -ENOENT && result != -ESTALE)
        log_warn("a socket's file stays: %s", strerror(-result));
}

int keeper_ask(struct keeper *keeper)
{
    return ask_plain(keeper, ASK, 0, 0);
}

int keeper_unmount(struct keeper *keeper)
{
    return ask_plain(keeper, UNMOUNT, 0, 0);
}

int keeper_detach(struct keeper *keeper)
{
    return ask_plain(keeper, DETACH, 0, 0);
}

bool keeper_is_in_group(struct keeper *keeper, pid_t pid, gid_t group)
{
    return ask_plain(keeper, IS_IN_GROUP, pid, group) > 0;
}

bool keeper_is_own(struct keeper *keeper, int socket)
{
    const struct request request = { .what = IS_OWN };
    int fd = socket, result = keeper ? ask(keeper, &request, &fd) : -EPIPE;

    if (keeper && fd >= 0)
        close(fd);
    if (result < 0)
        result = is_own(socket);
    return result > 0;
}

void keeper_stop(struct keeper *keeper)
{
    if (!keeper)
        return;
    close(keeper->main.fd);
    close(keeper->people.fd);
    while (waitpid(keeper->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    pthread_mutex_destroy(&keeper->main.mutex);
    pthread_mutex_destroy(&keeper->people.mutex);
    free(keeper);
}
