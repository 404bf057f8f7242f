/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linked around the guest's program (--wrap), a filesystem that does wrong as VM_BREAK says: each check
 * must notice one of these, or it looks at nothing. Only on the host: see can_fail of virtiofsd.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void *__real_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
int __real_ftruncate(int fd, off_t size);
int __real_fallocate(int fd, int mode, off_t offset, off_t length);
ssize_t __real_pread(int fd, void *data, size_t length, off_t offset);
ssize_t __real_pwrite(int fd, const void *data, size_t length, off_t offset);
ssize_t __real_write(int fd, const void *data, size_t length);
int __real_flock(int fd, int operation);
int __real_fcntl(int fd, int command, void *argument);
int __real_unlink(const char *name);

void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
int __wrap_ftruncate(int fd, off_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t length);
ssize_t __wrap_pread(int fd, void *data, size_t length, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t length, off_t offset);
ssize_t __wrap_write(int fd, const void *data, size_t length);
int __wrap_flock(int fd, int operation);
int __wrap_fcntl(int fd, int command, void *argument);
int __wrap_unlink(const char *name);

static int broken(const char *what)
{
    const char *is = getenv("VM_BREAK");

    return is && strcmp(is, what) == 0;
}

static int direct(int fd)
{
    return (__real_fcntl(fd, F_GETFL, NULL) & O_DIRECT) != 0;
}

/* stores: those to the file are lost. private: those to a copy are not. */
void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (broken("stores") && fd >= 0 && (flags & MAP_SHARED))
        flags = (flags & ~MAP_SHARED) | MAP_PRIVATE;
    else if (broken("private") && fd >= 0 && (flags & MAP_PRIVATE))
        flags = (flags & ~MAP_PRIVATE) | MAP_SHARED;
    return __real_mmap(at, length, protection, flags, fd, offset);
}

/* stale: growth shows a byte that was there. shrink: nothing is cut off. */
int __wrap_ftruncate(int fd, off_t size)
{
    struct stat st;
    int result;

    fstat(fd, &st);
    if (broken("shrink") && size < st.st_size)
        return 0;
    result = __real_ftruncate(fd, size);
    if (broken("stale") && result == 0 && st.st_size > 0 && size > st.st_size)
        __real_pwrite(fd, "x", 1, st.st_size);
    return result;
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t length)
{
    return broken("fallocate") ? 0 : __real_fallocate(fd, mode, offset, length);
}

ssize_t __wrap_pread(int fd, void *data, size_t length, off_t offset)
{
    return broken("direct") && direct(fd) ? (ssize_t)length
                                          : __real_pread(fd, data, length, offset);
}

/* gap: what a write leaves out is not zero. */
ssize_t __wrap_pwrite(int fd, const void *data, size_t length, off_t offset)
{
    struct stat st;

    if (broken("direct") && direct(fd))
        return (ssize_t)length;
    if (broken("pwrite"))
        return (ssize_t)length;
    fstat(fd, &st);
    if (broken("gap") && offset > st.st_size && st.st_size > 0)
        __real_pwrite(fd, "x", 1, st.st_size);
    return __real_pwrite(fd, data, length, offset);
}

/* write: zeros come instead. */
ssize_t __wrap_write(int fd, const void *data, size_t length)
{
    struct stat st;

    fstat(fd, &st);
    if (broken("write") && S_ISREG(st.st_mode)) {
        char *zeros = calloc(1, length);
        ssize_t n = __real_write(fd, zeros, length);

        free(zeros);
        return n;
    }
    return __real_write(fd, data, length);
}

int __wrap_flock(int fd, int operation)
{
    return broken("flock") ? 0 : __real_flock(fd, operation);
}

int __wrap_fcntl(int fd, int command, void *argument)
{
    return broken("record") && command == F_SETLK ? 0 : __real_fcntl(fd, command, argument);
}

/* unlink: the blocks go although the file is mapped. */
int __wrap_unlink(const char *name)
{
    if (broken("unlink") && truncate(name, 0) < 0)
        return -1;
    return __real_unlink(name);
}
