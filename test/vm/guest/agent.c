/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command loop: the first process of the guest, at one end of a serial line that nothing else
 * writes to. At start it says
 *   READY\n
 * The host sends        RUN id length\n, then so many bytes of a shell script;
 * we answer, any times  OUT id length\n, then so many bytes of what it printed (both streams),
 * and at its end        END id status\n, 128 + signal if it was killed.
 * OFF\n powers the machine off. A script ends when its shell does; what that left in the background goes
 * on, and what it prints later is thrown away.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "guest.h"

enum { SCRIPT_MAX = 3072 }; /* less than a terminal's input buffer: see class Guest of vm.py */

static int line_fd;

static void line_write(const void *data, size_t length)
{
    const char *at = data;

    while (length > 0) {
        ssize_t n = write(line_fd, at, length);

        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return;
        if (n > 0) {
            at += n;
            length -= (size_t)n;
        }
    }
}

static bool line_read(void *data, size_t length)
{
    char *at = data;

    while (length > 0) {
        ssize_t n = read(line_fd, at, length);

        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        if (n > 0) {
            at += n;
            length -= (size_t)n;
        }
    }
    return true;
}

static bool line_get(char *text, size_t size)
{
    size_t n = 0;

    while (n + 1 < size) {
        if (!line_read(text + n, 1))
            return false;
        if (text[n] == '\n') {
            text[n] = 0;
            return true;
        }
        n++;
    }
    return false;
}

/* Also what others leave behind: we are the first process. */
static bool reap(pid_t shell, int *ret_status)
{
    bool ended = false;
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == shell) {
            *ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            ended = true;
        }
    }
    return ended;
}

static bool pass_on(int from, unsigned id)
{
    char data[4096], head[64];
    ssize_t n = read(from, data, sizeof(data));

    if (n <= 0)
        return false;
    line_write(head, (size_t)snprintf(head, sizeof(head), "OUT %u %zd\n", id, n));
    line_write(data, (size_t)n);
    return true;
}

static void run(unsigned id, const char *script)
{
    struct pollfd wait = { .events = POLLIN };
    int out[2], status = 255;
    bool ended = false;
    char text[64];
    pid_t shell;

    if (pipe2(out, O_CLOEXEC) < 0)
        die("pipe");
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    shell = fork();
    if (shell == 0) {
        int null = open("/dev/null", O_RDONLY);

        setsid();
        dup2(null, 0);
        dup2(out[1], 1);
        dup2(out[1], 2);
        execl("/bin/sh", "sh", "-c", script, NULL);
        _exit(127);
    }
    close(out[1]);
    wait.fd = out[0];
    while (!ended) {
        if (poll(&wait, 1, 20) > 0 && !pass_on(out[0], id))
            wait.fd = -1; /* nobody can print any more */
        ended = reap(shell, &status);
    }
    while (pass_on(out[0], id))
        ;
    close(out[0]);
    line_write(text, (size_t)snprintf(text, sizeof(text), "END %u %d\n", id, status));
}

int agent_main(int argc, char **argv)
{
    static char script[SCRIPT_MAX + 1];
    char command[128];
    struct termios raw;
    size_t length;
    unsigned id;

    if (argc != 2)
        return usage();
    line_fd = open(argv[1], O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (line_fd < 0 || tcgetattr(line_fd, &raw) < 0)
        die(argv[1]);
    cfmakeraw(&raw);
    cfsetspeed(&raw, B115200);
    if (tcsetattr(line_fd, TCSANOW, &raw) < 0)
        die("tcsetattr");
    line_write("READY\n", 6);
    while (line_get(command, sizeof(command))) {
        if (strcmp(command, "OFF") == 0)
            break;
        if (sscanf(command, "RUN %u %zu", &id, &length) != 2 || length > SCRIPT_MAX ||
            !line_read(script, length))
            break;
        script[length] = 0;
        run(id, script);
    }
    sync();
    reboot(RB_POWER_OFF);
    return 1;
}
