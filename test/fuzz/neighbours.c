/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "neighbours.h"

#include <errno.h>
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

void *__real_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *addr, size_t length);
void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *addr, size_t length);

#define AROUND (1u << 20)

static _Atomic int mapped;
static _Thread_local struct vhost_region next;

void neighbours_of(const struct vhost_region *region)
{
    next = *region;
}

int neighbours_mapped(void)
{
    return mapped;
}

void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    const struct vhost_region region = next;
    uint64_t before, behind;
    uint8_t *room, *start;

    next.size = 0;
    if (addr || fd < 0) {
        fprintf(stderr, "neighbours: something else is mapped\n");
        abort();
    }
    room = __real_mmap64(NULL, length + 2 * AROUND, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return MAP_FAILED;
    start = __real_mmap64(room + AROUND, length, prot, flags | MAP_FIXED, fd, offset);
    if (start == MAP_FAILED) {
        int error = errno;

        __real_munmap(room, length + 2 * AROUND);
        errno = error;
        return MAP_FAILED;
    }
    mapped++;
    before = region.fd_offset - (uint64_t)offset;
    behind = before + region.size;
    if (region.size > 0 && before < AROUND && behind <= length) {
        ASAN_POISON_MEMORY_REGION(start, before);
        ASAN_POISON_MEMORY_REGION(start + behind, length - behind);
    }
    return start;
}

int __wrap_munmap(void *addr, size_t length)
{
    mapped--;
    ASAN_UNPOISON_MEMORY_REGION(addr, length);
    return __real_munmap((uint8_t *)addr - AROUND, length + 2 * AROUND);
}
