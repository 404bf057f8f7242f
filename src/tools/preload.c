/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libdaxfuse-fallocate.so, to be preloaded: fallocate(2) with FALLOC_FL_COLLAPSE_RANGE and
 * FALLOC_FL_INSERT_RANGE on files in a mount of daxfuse, for programs that know nothing of it.
 *
 * Every call goes to the C library first. Only what the kernel refuses with EOPNOTSUPP, after it has checked
 * descriptor, offset and length, goes its other way (daxfuse/ioctl.h). Who calls the kernel by syscall(2)
 * is not seen.
 */
/* Here fallocate and fallocate64 are two functions. */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>

#include <daxfuse/ioctl.h>

typedef int (*fallocate64_fn)(int fd, int mode, off64_t offset, off64_t length);

static fallocate64_fn next;

/* Also before any constructor has run: from those of other libraries. */
static fallocate64_fn find_next(void)
{
    fallocate64_fn found = __atomic_load_n(&next, __ATOMIC_RELAXED);

    if (!found) {
        void *symbol = dlsym(RTLD_NEXT, "fallocate64");

        if (!symbol && sizeof(off_t) == sizeof(off64_t))
            symbol = dlsym(RTLD_NEXT, "fallocate"); /* a library with only one of them */
        found = (fallocate64_fn)symbol;
        __atomic_store_n(&next, found, __ATOMIC_RELAXED);
    }
    return found;
}

__attribute__((constructor)) static void prepare(void)
{
    (void)find_next();
}

__attribute__((visibility("default"))) int fallocate64(int fd, int mode, off64_t offset,
                                                       off64_t length)
{
    fallocate64_fn call = find_next();
    int before = errno, r;

    if (!call) {
        errno = ENOSYS;
        return -1;
    }
    r = call(fd, mode, offset, length);
    if (r == 0 || errno != EOPNOTSUPP ||
        (mode != FALLOC_FL_COLLAPSE_RANGE && mode != FALLOC_FL_INSERT_RANGE))
        return r;
    r = daxfuse_fallocate(fd, mode, offset, length);
    if (r == 0)
        errno = before;
    return r;
}

__attribute__((visibility("default"))) int fallocate(int fd, int mode, off_t offset, off_t length)
{
    return fallocate64(fd, mode, offset, length);
}
