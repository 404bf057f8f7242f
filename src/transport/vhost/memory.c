/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory tables. QEMU sends its table anew at each change of the window, so that regions are looked
 * for in the table before. A mapping keeps its file: the same st_dev and st_ino are the same file.
 *
 * Its owner may cut the file short at any time: each mapping is under the guard of media/guard.c.
 */
#include "transport/vhost/memory.h"

#include "media/pool.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HUGETLBFS_TYPE 0x958458f6

struct vhost_mapping {
    _Atomic unsigned references;
    dev_t device;
    ino_t inode;
    uint8_t *start; /* whole pages of the file */
    size_t length;
    _Atomic uint64_t bad_pages;
};

/* Bytes, of all guests. */
static _Atomic uint64_t mapped;

static void mapping_put(struct vhost_mapping *mapping)
{
    if (atomic_fetch_sub_explicit(&mapping->references, 1, memory_order_acq_rel) != 1)
        return;
    pool_guard_remove_memory(mapping->start);
    munmap(mapping->start, mapping->length);
    atomic_fetch_sub(&mapped, mapping->length);
    free(mapping);
}

/* The page of the file: huge pages are mapped whole. */
static uint64_t page_size(int fd)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    struct statfs stat;

    if (fstatfs(fd, &stat) == 0 && (uint32_t)stat.f_type == HUGETLBFS_TYPE &&
        (uint64_t)stat.f_bsize > page)
        page = (uint64_t)stat.f_bsize;
    return page;
}

static int mapping_create(int fd, const struct stat *stat, const struct vhost_region *region,
                          struct vhost_mapping **ret_mapping, uint8_t **ret_base,
                          const char **ret_why)
{
    uint64_t page = page_size(fd), skip = region->fd_offset % page;
    int error;

    uint64_t length = skip + region->size + page - 1; /* regions_check: far from wrapping */
    length -= length % page;
    if (atomic_fetch_add(&mapped, length) + length > VHOST_MEMORY_ALL_MAX) {
        *ret_why = "all guests together have too much memory";
        error = -ENOMEM;
        goto fail;
    }
    struct vhost_mapping *mapping = calloc(1, sizeof(*mapping));
    if (!mapping) {
        error = -ENOMEM;
        goto fail;
    }
    void *start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                       (off_t)(region->fd_offset - skip));
    if (start == MAP_FAILED) {
        error = -errno;
        *ret_why = "a region of memory can not be mapped";
        free(mapping);
        goto fail;
    }
    /* The guest's memory is its own: not for our core dumps. */
    (void)madvise(start, length, MADV_DONTDUMP);
    atomic_init(&mapping->references, 1);
    mapping->device = stat->st_dev;
    mapping->inode = stat->st_ino;
    mapping->start = start;
    mapping->length = length;
    error = pool_guard_add_memory(start, length, &mapping->bad_pages);
    if (error) {
        *ret_why = "too many regions of memory are mapped by all guests together";
        munmap(start, length);
        free(mapping);
        goto fail;
    }
    *ret_mapping = mapping;
    *ret_base = mapping->start + skip;
    return 0;

fail:
    atomic_fetch_sub(&mapped, length);
    return error;
}

static bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

/* Overlap matters in what the guest names; the VMM may show a page twice. */
static const char region_overlaps[] = "regions of memory overlap";
static const char too_many[] = "its memory has too many regions";

/* That all numbers can be added. */
static const char *region_check(const struct vhost_user_region *region)
{
    uint64_t end;

    return region->size == 0 || __builtin_add_overflow(region->guest_address, region->size, &end) ||
                   __builtin_add_overflow(region->user_address, region->size, &end) ||
                   __builtin_add_overflow(region->fd_offset, region->size, &end)
               ? "a region of memory is empty or wraps around"
               : NULL;
}

static const char *regions_check(const struct vhost_user_memory *message)
{
    if (message->count == 0 || message->count > VHOST_USER_REGIONS_MAX)
        return "its memory table has none or too many regions";
    for (unsigned i = 0; i < message->count; i++) {
        const struct vhost_user_region *region = &message->regions[i];
        const char *why = region_check(region);

        for (unsigned j = 0; j < i && !why; j++)
            if (ranges_overlap(region->guest_address, region->size,
                               message->regions[j].guest_address, message->regions[j].size))
                why = region_overlaps;
        if (why)
            return why;
    }
    return NULL;
}

static bool region_is(const struct vhost_region *region, const struct vhost_user_region *sent)
{
    return region->guest_address == sent->guest_address && region->size == sent->size &&
           region->user_address == sent->user_address;
}

/* The regions of OLD, which may be NULL, but for the one that is GONE, and room for MORE that are left out. */
static struct vhost_memory *table_copy(const struct vhost_memory *old,
                                       const struct vhost_user_region *gone, unsigned more)
{
    struct vhost_memory *memory;

    if (old)
        more += old->left_out_count;
    memory = calloc(1, sizeof(*memory) + more * sizeof(memory->left_out[0]));
    if (!memory)
        return NULL;
    atomic_init(&memory->references, 1);
    for (unsigned i = 0; old && i < old->count; i++) {
        if (gone && region_is(&old->regions[i].region, gone))
            continue;
        memory->regions[memory->count++] = old->regions[i];
        atomic_fetch_add_explicit(&old->regions[i].mapping->references, 1, memory_order_relaxed);
    }
    for (unsigned i = 0; old && i < old->left_out_count; i++)
        if (!gone || !region_is(&old->left_out[i], gone))
            memory->left_out[memory->left_out_count++] = old->left_out[i];
    return memory;
}

static int region_add(struct vhost_memory *memory, int fd, const struct vhost_region *region,
                      const struct vhost_memory *old, const char **ret_why)
{
    struct stat stat;
    struct vhost_mapping *mapping = NULL;
    uint64_t before_it = 0;
    uint8_t *base = NULL;
    int error;

    if (memory->count == VHOST_MEMORY_REGIONS_MAX) {
        *ret_why = too_many;
        return -ENOSPC;
    }
    for (unsigned i = 0; i < memory->count; i++)
        before_it += memory->regions[i].region.size;
    if (region->size > VHOST_MEMORY_MAX - before_it) {
        *ret_why = "it has too much memory";
        return -EINVAL;
    }
    if (fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode)) {
        *ret_why = "a region of memory is in no file";
        return -EINVAL;
    }
    if (region->fd_offset + region->size > (uint64_t)stat.st_size) {
        *ret_why = "a region of memory lies beyond the end of its file";
        return -EINVAL;
    }
    for (unsigned i = 0; old && i < old->count && !mapping; i++) {
        const struct vhost_region *before = &old->regions[i].region;

        if (old->regions[i].mapping->device == stat.st_dev &&
            old->regions[i].mapping->inode == stat.st_ino &&
            before->guest_address == region->guest_address && before->size == region->size &&
            before->user_address == region->user_address &&
            before->fd_offset == region->fd_offset) {
            mapping = old->regions[i].mapping;
            base = old->regions[i].base;
            atomic_fetch_add_explicit(&mapping->references, 1, memory_order_relaxed);
        }
    }
    if (!mapping) {
        error = mapping_create(fd, &stat, region, &mapping, &base, ret_why);
        if (error)
            return error;
    }
    memory->regions[memory->count].region = *region;
    memory->regions[memory->count].mapping = mapping;
    memory->regions[memory->count].base = base;
    memory->count++;
    return 0;
}

/* Asks, and adds it, or to what is left out, for which there is room. */
static int region_take(struct vhost_memory *memory, const struct vhost_user_region *sent, int fd,
                       vhost_memory_ask ask, void *arg, const struct vhost_memory *old,
                       const char **ret_why)
{
    const struct vhost_region region = { .guest_address = sent->guest_address,
                                         .size = sent->size,
                                         .user_address = sent->user_address,
                                         .fd_offset = sent->fd_offset };
    int answer = ask ? ask(arg, fd, &region) : 1;

    if (answer < 0)
        *ret_why = "a region of memory is in a file that may not be used";
    if (answer == 0)
        memory->left_out[memory->left_out_count++] = region;
    return answer > 0 ? region_add(memory, fd, &region, old, ret_why) : answer;
}

int vhost_memory_create(const struct vhost_user_memory *message, const int *fds,
                        vhost_memory_ask ask, void *arg, const struct vhost_memory *old,
                        struct vhost_memory **ret_memory, const char **ret_why)
{
    const char *why = regions_check(message);
    int error = 0;

    if (why) {
        *ret_why = why;
        return -EINVAL;
    }
    *ret_why = "its memory can not be used";
    struct vhost_memory *memory = table_copy(NULL, NULL, message->count);
    if (!memory)
        return -ENOMEM;
    for (unsigned i = 0; i < message->count && !error; i++)
        error = region_take(memory, &message->regions[i], fds[i], ask, arg, old, ret_why);
    if (error) {
        vhost_memory_put(memory);
        return error;
    }
    *ret_memory = memory;
    return 0;
}

static bool overlaps(const struct vhost_region *region, const struct vhost_user_region *sent)
{
    return ranges_overlap(region->guest_address, region->size, sent->guest_address, sent->size);
}

static const char *addition_check(const struct vhost_memory *old,
                                  const struct vhost_user_region *sent)
{
    const char *why = region_check(sent);

    if (!old)
        return why;
    for (unsigned i = 0; i < old->count && !why; i++)
        if (overlaps(&old->regions[i].region, sent))
            why = region_overlaps;
    for (unsigned i = 0; i < old->left_out_count && !why; i++)
        if (overlaps(&old->left_out[i], sent))
            why = region_overlaps;
    return why;
}

int vhost_memory_add(const struct vhost_memory *old, const struct vhost_user_region *sent, int fd,
                     vhost_memory_ask ask, void *arg, struct vhost_memory **ret_memory,
                     const char **ret_why)
{
    const char *why = addition_check(old, sent);

    if (why) {
        *ret_why = why;
        return -EINVAL;
    }
    if (old && old->count + old->left_out_count == VHOST_MEMORY_SLOTS) {
        *ret_why = too_many;
        return -ENOSPC;
    }
    *ret_why = "its memory can not be used";
    struct vhost_memory *memory = table_copy(old, NULL, 1);
    if (!memory)
        return -ENOMEM;
    int error = region_take(memory, sent, fd, ask, arg, NULL, ret_why);
    if (error) {
        vhost_memory_put(memory);
        return error;
    }
    *ret_memory = memory;
    return 0;
}

int vhost_memory_remove(const struct vhost_memory *old, const struct vhost_user_region *sent,
                        struct vhost_memory **ret_memory)
{
    struct vhost_memory *memory = table_copy(old, sent, 0);

    if (!memory)
        return -ENOMEM;
    if (!old || memory->count + memory->left_out_count == old->count + old->left_out_count) {
        vhost_memory_put(memory);
        return -ENOENT;
    }
    *ret_memory = memory;
    return 0;
}

struct vhost_memory *vhost_memory_get(struct vhost_memory *memory)
{
    atomic_fetch_add_explicit(&memory->references, 1, memory_order_relaxed);
    return memory;
}

void vhost_memory_put(struct vhost_memory *memory)
{
    if (!memory || atomic_fetch_sub_explicit(&memory->references, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < memory->count; i++)
        mapping_put(memory->regions[i].mapping);
    free(memory);
}

uint8_t *vhost_memory_find(const struct vhost_memory *memory, uint64_t address, uint64_t length,
                           uint64_t *ret_length)
{
    for (unsigned i = 0; i < memory->count; i++) {
        const struct vhost_region *region = &memory->regions[i].region;
        uint64_t offset = address - region->guest_address;

        if (address < region->guest_address || offset >= region->size)
            continue;
        *ret_length = length < region->size - offset ? length : region->size - offset;
        return memory->regions[i].base + offset;
    }
    return NULL;
}

void *vhost_memory_find_user(const struct vhost_memory *memory, uint64_t address, uint64_t length)
{
    for (unsigned i = 0; i < memory->count; i++) {
        const struct vhost_region *region = &memory->regions[i].region;
        uint64_t offset = address - region->user_address;

        if (address >= region->user_address && offset < region->size &&
            length <= region->size - offset)
            return memory->regions[i].base + offset;
    }
    return NULL;
}

int vhost_memory_read(const struct vhost_memory *memory, uint64_t address, void *bytes,
                      size_t length)
{
    uint8_t *to = bytes;

    while (length > 0) {
        uint64_t piece;
        const uint8_t *from = vhost_memory_find(memory, address, length, &piece);

        if (!from)
            return -EFAULT;
        memcpy(to, from, piece);
        to += piece;
        length -= piece;
        address += piece; /* no region ends at the end of all addresses */
    }
    /* What was copied is not read again behind the caller's back. */
    atomic_signal_fence(memory_order_seq_cst);
    return 0;
}

bool vhost_memory_is_bad(const struct vhost_memory *memory)
{
    for (unsigned i = 0; i < memory->count; i++)
        if (atomic_load_explicit(&memory->regions[i].mapping->bad_pages, memory_order_acquire))
            return true;
    return false;
}
