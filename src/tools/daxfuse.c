/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse: serves a pool.
 *
 * The command forks before anything is opened (rings and threads do not survive a fork); the child opens,
 * mounts and serves, and tells the parent through a pipe, in one byte, with which status to end: 0 when
 * the mount has answered. Until then both log to stderr, afterwards the server logs to syslog.
 */
#include "base/log.h"
#include "base/stdfds.h"
#include "tools/options.h"
#include "tools/vhost_options.h"
#include "transport/server.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct launch {
    const struct options *options;
    int pipe; /* to the parent; -1 in the foreground */
    int null; /* in place of the terminal; -1: none */
};

/* What the signals' thread has to do; SIGTERM makes it look. */
struct signals {
    struct server *server;
    _Atomic bool ending;
};

static void tell_parent(struct launch *launch, int status)
{
    uint8_t byte = (uint8_t)status;

    if (launch->pipe < 0)
        return;
    if (write(launch->pipe, &byte, 1) != 1)
        log_debug("nobody waits for the start any more");
    close(launch->pipe);
    launch->pipe = -1;
}

/* The mount has answered: leave the terminal and let the parent go. */
static void on_ready(void *arg)
{
    struct launch *launch = arg;

    if (launch->pipe < 0)
        return;
    if (launch->null >= 0) {
        dup2(launch->null, STDIN_FILENO);
        dup2(launch->null, STDOUT_FILENO);
        dup2(launch->null, STDERR_FILENO);
        close(launch->null);
    }
    setsid();
    log_open("daxfuse", LOG_TARGET_SYSLOG, launch->options->log_level);
    tell_parent(launch, SERVER_EXIT_OK);
}

static void *signal_main(void *arg)
{
    struct signals *signals = arg;
    sigset_t set;
    int number;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    for (;;) {
        if (sigwait(&set, &number) != 0)
            continue;
        if (atomic_load(&signals->ending))
            return NULL;
        log_info("signal %d: stopping", number);
        server_stop(signals->server);
    }
}

static int serve(struct launch *launch)
{
    const struct options *options = launch->options;
    struct signals signals = { .ending = false };
    struct server *server;
    pthread_t thread;
    sigset_t set;

    /* In the signal thread alone; every thread made from here on inherits this. */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* What on_ready wants, while there are paths: it may come in the sandbox. */
    if (launch->pipe >= 0) {
        launch->null = open("/dev/null", O_RDWR | O_CLOEXEC);
        log_connect("daxfuse");
    }
    int status = server_open(&options->server, &server);
    if (status != SERVER_EXIT_OK)
        return status;
    signals.server = server;
    int error = pthread_create(&thread, NULL, signal_main, &signals);
    if (error) {
        log_error("no thread can be made: %s", strerror(error));
        server_close(server);
        return SERVER_EXIT_MOUNT;
    }
    status = server_run(server, on_ready, launch);
    atomic_store(&signals.ending, true);
    pthread_kill(thread, SIGTERM);
    pthread_join(thread, NULL);
    server_close(server);
    return status;
}

static int serve_in_background(struct launch *launch)
{
    int ends[2], wait_status;
    uint8_t status = SERVER_EXIT_MOUNT;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        log_error("no pipe can be made: %s", strerror(errno));
        return SERVER_EXIT_MOUNT;
    }
    pid_t child = fork();
    if (child < 0) {
        log_error("no process can be made: %s", strerror(errno));
        return SERVER_EXIT_MOUNT;
    }
    if (child == 0) {
        close(ends[0]);
        launch->pipe = ends[1];
        if (chdir("/") < 0)
            log_warn("/: %s", strerror(errno));
        int result = serve(launch);
        tell_parent(launch, result);
        return result;
    }
    close(ends[1]);
    ssize_t got;
    do
        got = read(ends[0], &status, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1) {
        if (waitpid(child, &wait_status, 0) == child && WIFSIGNALED(wait_status))
            log_error("the server was killed while it started: signal %d", WTERMSIG(wait_status));
        status = SERVER_EXIT_MOUNT;
    }
    return status;
}

int main(int argc, char **argv)
{
    struct options options;
    char *message = NULL;
    int status;

    if (stdfds_open() < 0)
        return SERVER_EXIT_USAGE;
    log_open("daxfuse", LOG_TARGET_STDERR, LOG_LEVEL_INFO);
    int error = options_parse(&options, argc, argv, &message);
    if (error) {
        fprintf(stderr, "daxfuse: %s\nTry: daxfuse --help\n", message ? message : strerror(-error));
        status = SERVER_EXIT_USAGE;
    } else if (options.help) {
        fputs(options_usage, stdout);
        status = SERVER_EXIT_OK;
    } else if (options.version) {
        printf("daxfuse %s\n", DAXFUSE_VERSION);
        status = SERVER_EXIT_OK;
    } else if (options.print_capabilities) {
        fputs(vhost_options_capabilities, stdout);
        status = SERVER_EXIT_OK;
    } else {
        struct launch launch = { .options = &options, .pipe = -1, .null = -1 };
        log_set_level(options.log_level);
        status = options.foreground ? serve(&launch) : serve_in_background(&launch);
    }
    free(message);
    options_free(&options);
    return status;
}
