/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The window of window.h. A slot changes only in a call of the registry's, which makes one call a slot at
 * a time, so that the mutex is for who looks: copies, and memory tables.
 */
#include "transport/virtiofs/window.h"

#include "base/clock.h"
#include "base/log.h"
#include "fs/fs.h"
#include "media/pool.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTHING UINT64_MAX

/* How long a guest's INIT waits for the last one's mappings to end, and how often it looks. */
#define RENEW_NS (2 * CLOCK_SECOND)
#define RENEW_LOOK_US 5000

static uint64_t deadline(void)
{
    return clock_now() + DAX_MAPPER_SECONDS * CLOCK_SECOND;
}

/* ---- the mapper -------------------------------------------------------------------------- */

/* Ours keeps the lock as the VMM's do. */
static void pool_fd_close(struct window *window)
{
    if (window->fd >= 0)
        close(window->fd);
    window->fd = -1;
}

/* The VMM sends its memory table, which names what it maps, before it has been answered; so the slot says it
 * before it is asked. */
static int slot_show(struct window *window, uint64_t slot, uint64_t offset)
{
    uint64_t before;
    int r, fd;

    pthread_mutex_lock(&window->mutex);
    before = window->slots[slot].offset;
    fd = offset ? window->fd : window->zeros;
    r = window->runs && !window->left ? 0 : -ENODEV;
    if (r < 0 || before == offset) { /* was read, and is stored to now */
        pthread_mutex_unlock(&window->mutex);
        return r;
    }
    window->slots[slot].offset = offset;
    window->calls++;
    pthread_mutex_unlock(&window->mutex);
    r = vhost_shm_map(window->device, fd, offset, slot << DAX_CHUNK_SHIFT, DAX_CHUNK_SIZE,
                      !window->read_only, deadline());
    pthread_mutex_lock(&window->mutex);
    if (r < 0 && r != -ETIMEDOUT)
        window->slots[slot].offset = before;
    window->slots[slot].unknown = r == -ETIMEDOUT;
    window->unsure |= r == -ETIMEDOUT;
    if (--window->calls == 0) {
        if (window->left)
            pool_fd_close(window);
        pthread_cond_broadcast(&window->idle);
    }
    pthread_mutex_unlock(&window->mutex);
    return r;
}

static int window_map(void *arg, uint64_t slot, uint64_t offset, bool writable)
{
    (void)writable; /* by the guest's first store it is */
    return slot_show(arg, slot, offset);
}

static int window_map_zeros(void *arg, uint64_t slot)
{
    return slot_show(arg, slot, 0);
}

static int slot_hide(struct window *window, uint64_t slot)
{
    return vhost_shm_unmap(window->device, slot << DAX_CHUNK_SHIFT, DAX_CHUNK_SIZE, deadline());
}

/* Unmapping was refused: because nothing is there, or it is and cannot be unmapped. To be sure it is mapped
 * again, and then unmapped. */
static int slot_make_known(struct window *window, uint64_t slot)
{
    uint64_t offset;
    int r;

    pthread_mutex_lock(&window->mutex);
    offset = window->slots[slot].offset;
    window->slots[slot].offset = NOTHING;
    pthread_mutex_unlock(&window->mutex);
    r = slot_show(window, slot, offset);
    if (r == 0)
        r = slot_hide(window, slot);
    pthread_mutex_lock(&window->mutex);
    window->slots[slot].offset = offset;
    pthread_mutex_unlock(&window->mutex);
    return r;
}

static int window_unmap(void *arg, uint64_t slot)
{
    struct window *window = arg;
    bool unknown;
    int r;

    pthread_mutex_lock(&window->mutex);
    r = window->runs && !window->left ? 0 : -ENODEV;
    unknown = window->slots[slot].unknown;
    window->slots[slot].ends = r == 0 || unknown;
    while (r == 0 && window->slots[slot].users > 0) /* copies: short, and they wait for nobody */
        pthread_cond_wait(&window->idle, &window->mutex);
    pthread_mutex_unlock(&window->mutex);
    if (r < 0)
        return r;
    r = slot_hide(window, slot);
    if (r == -EIO && unknown)
        r = slot_make_known(window, slot);
    pthread_mutex_lock(&window->mutex);
    if (r == 0)
        window->slots[slot].offset = NOTHING;
    unknown = r == -ETIMEDOUT || (r < 0 && unknown);
    window->slots[slot].ends = window->slots[slot].unknown = unknown;
    window->unsure |= r < 0 && r != -ENODEV && r != -EBUSY; /* who was not asked refused nothing */
    pthread_mutex_unlock(&window->mutex);
    return r;
}

static const struct dax_mapper mapper = {
    .map = window_map,
    .map_zeros = window_map_zeros,
    .unmap = window_unmap,
};

/* ---- its life ---------------------------------------------------------------------------- */

static void descriptors_close(struct window *window)
{
    pool_fd_close(window);
    if (window->zeros >= 0)
        close(window->zeros);
    if (window->zeros_seen)
        munmap(window->zeros_seen, DAX_CHUNK_SIZE);
    window->zeros = -1;
    window->zeros_seen = NULL;
}

static int descriptors_open(struct window *window)
{
    void *seen;
    int error;

    window->fd = pool_door_open(fs_pool(window->fs), window->number, false);
    if (window->fd < 0)
        return window->fd;
    window->zeros = memfd_create("daxfuse-zeros", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (window->zeros < 0 || ftruncate(window->zeros, (off_t)DAX_CHUNK_SIZE) < 0 ||
        fcntl(window->zeros, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        goto fail;
    seen = mmap(NULL, DAX_CHUNK_SIZE, PROT_READ, MAP_SHARED, window->zeros, 0);
    if (seen == MAP_FAILED)
        goto fail;
    window->zeros_seen = seen;
    return 0;

fail:
    error = -errno;
    descriptors_close(window);
    return error;
}

int window_open(struct fs *fs, unsigned number, const char *name, uint64_t size, bool read_only,
                struct window **ret_window)
{
    uint64_t count = size >> DAX_CHUNK_SHIFT;
    struct window *window;
    struct stat stat;
    int r;

    if (count == 0 || count > SIZE_MAX / sizeof(window->slots[0]) / 2)
        return -EINVAL;
    if (fstat(fs_pool(fs)->fd, &stat) < 0)
        return -errno;
    window = calloc(1, sizeof(*window) + count * sizeof(window->slots[0]));
    if (!window)
        return -ENOMEM;
    window->door = (struct dax_door){ .mapper = &mapper,
                                      .arg = window,
                                      .name = name,
                                      .slots = count,
                                      .limit = (uint32_t)count,
                                      .read_only = read_only };
    window->fs = fs;
    window->number = number;
    window->read_only = read_only;
    window->pool_device = stat.st_dev;
    window->pool_inode = stat.st_ino;
    window->left = true;
    window->fd = window->zeros = -1;
    for (uint64_t i = 0; i < count; i++)
        window->slots[i].offset = NOTHING;
    r = fs_door_add(fs, &window->door);
    if (r < 0) {
        free(window);
        return r;
    }
    pthread_mutex_init(&window->mutex, NULL);
    pthread_cond_init(&window->idle, NULL);
    *ret_window = window;
    return 0;
}

bool window_is_held(const struct window *window)
{
    return pool_door_is_held(fs_pool(window->fs), window->number);
}

void window_close(struct window *window)
{
    if (!window)
        return;
    fs_door_stop(window->fs, &window->door);
    fs_door_over(window->fs, &window->door);
    fs_door_remove(window->fs, &window->door);
    descriptors_close(window);
    pthread_cond_destroy(&window->idle);
    pthread_mutex_destroy(&window->mutex);
    free(window);
}

static void runs_set(struct window *window, bool runs)
{
    pthread_mutex_lock(&window->mutex);
    window->runs = runs;
    if (!window->left) {
        if (runs)
            fs_door_resume(window->fs, &window->door);
        else
            fs_door_stop(window->fs, &window->door);
    }
    pthread_mutex_unlock(&window->mutex);
}

void window_started(struct window *window)
{
    runs_set(window, true);
}

void window_stopped(struct window *window)
{
    runs_set(window, false);
}

void window_left(struct window *window)
{
    bool before;

    pthread_mutex_lock(&window->mutex);
    before = window->left;
    window->left = true;
    window->base = 0;
    if (window->calls == 0)
        pool_fd_close(window);
    pthread_mutex_unlock(&window->mutex);
    if (!before)
        fs_door_quarantine(window->fs, &window->door, window->number);
}

int window_renew(struct window *window)
{
    uint64_t until = clock_now() + RENEW_NS;
    bool sound;
    int r;

    pthread_mutex_lock(&window->mutex);
    sound = !window->left && !window->unsure;
    r = window->runs ? 0 : -ECANCELED;
    pthread_mutex_unlock(&window->mutex);
    if (r < 0 || sound)
        return r;
    window_left(window);
    while (fs_door_is_quarantined(window->fs, &window->door)) {
        if (clock_now() > until) {
            log_warn("%s: somebody still maps what the last guest was given", window->door.name);
            return -EBUSY;
        }
        usleep(RENEW_LOOK_US);
    }
    pthread_mutex_lock(&window->mutex);
    while (window->calls > 0)
        pthread_cond_wait(&window->idle, &window->mutex);
    for (uint64_t i = 0; i < window->door.slots; i++) {
        while (window->slots[i].users > 0)
            pthread_cond_wait(&window->idle, &window->mutex);
        window->slots[i] = (struct window_slot){ .offset = NOTHING };
    }
    descriptors_close(window);
    r = window->runs ? descriptors_open(window) : -ECANCELED;
    window->left = r < 0;
    window->unsure = false;
    pthread_mutex_unlock(&window->mutex);
    if (r < 0)
        log_warn("%s: the window cannot be used: %s", window->door.name, strerror(-r));
    return r;
}

void window_fill(struct window *window)
{
    fs_door_fill(window->fs, &window->door);
}

/* ---- the guest's addresses --------------------------------------------------------------- */

/* The window's slots are at one distance from each other: whoever names one names the base. Where a piece is
 * in several slots it does not tell. */
static void base_learn(struct window *window, const struct vhost_region *region)
{
    uint64_t found = 0;

    if (window->left || region->size != DAX_CHUNK_SIZE || region->fd_offset == 0)
        return;
    for (uint64_t i = 0; i < window->door.slots; i++) {
        if (window->slots[i].offset != region->fd_offset)
            continue;
        if (found != 0 || region->guest_address <= i << DAX_CHUNK_SHIFT)
            return;
        found = region->guest_address - (i << DAX_CHUNK_SHIFT);
    }
    if (found != 0)
        window->base = found;
}

bool window_region(struct window *window, const struct vhost_region *region, dev_t device,
                   ino_t inode)
{
    struct stat zeros;
    bool ours;

    pthread_mutex_lock(&window->mutex);
    ours = device == window->pool_device && inode == window->pool_inode;
    if (ours)
        base_learn(window, region);
    else if (window->zeros >= 0 && fstat(window->zeros, &zeros) == 0)
        ours = device == zeros.st_dev && inode == zeros.st_ino;
    pthread_mutex_unlock(&window->mutex);
    return ours;
}

int window_outside(struct window *window, uint64_t address, size_t length, bool write,
                   void **ret_bytes, size_t *ret_length, uint64_t *ret_cookie)
{
    uint64_t at, slot, inside;
    struct window_slot *found;
    int r = -EFAULT;

    pthread_mutex_lock(&window->mutex);
    at = address - window->base;
    slot = at >> DAX_CHUNK_SHIFT;
    inside = at % DAX_CHUNK_SIZE;
    if (window->left || window->base == 0 || address < window->base || slot >= window->door.slots)
        goto out;
    found = &window->slots[slot];
    /* What a guest stores to zeros nobody would see. */
    if (found->offset == NOTHING || found->ends || (write && (window->read_only || !found->offset)))
        goto out;
    found->users++;
    *ret_bytes = found->offset ? (uint8_t *)pool_at(fs_pool(window->fs), found->offset) + inside
                               : window->zeros_seen + inside;
    *ret_length = length < DAX_CHUNK_SIZE - inside ? length : DAX_CHUNK_SIZE - inside;
    *ret_cookie = slot;
    r = 0;
out:
    pthread_mutex_unlock(&window->mutex);
    return r;
}

void window_outside_end(struct window *window, uint64_t cookie)
{
    pthread_mutex_lock(&window->mutex);
    if (--window->slots[cookie].users == 0)
        pthread_cond_broadcast(&window->idle);
    pthread_mutex_unlock(&window->mutex);
}
