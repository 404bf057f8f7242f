/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations that the model does not know, with a small model of their own: ACLs, directories of
 * thousands of names, a pool that grows, the unmount.
 */
#include "maps.h"
#include "world.h"

#include "fs/internal.h"
#include "media/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_LENGTH 250u
#define LITTER 0xa5
#define LITTER_BEHIND (64u * DXF_BLOCK_SIZE)

static struct fs_request root_request = { .in_group = true };

uint64_t world_root(const struct world *world)
{
    return world->engine.root;
}

static const char *link_name(uint32_t number)
{
    static char name[NAME_LENGTH + 1];

    memset(name, 'a' + (int)(number % 26), NAME_LENGTH);
    name[snprintf(name, sizeof(name), "%07u", number * 2654435761u % 10000000u)] = '-';
    snprintf(name + 200, sizeof(name) - 200, "%u", number);
    return name;
}

/* Entries as struct posix_acl_xattr has them: version 2, then tag, permissions, id. */
static size_t make_acl(uint32_t permissions, uint8_t value[44])
{
    static const uint16_t tags[] = { 0x01, 0x02, 0x04, 0x10, 0x20 };
    const uint16_t perms[] = { 6, (uint16_t)permissions, 4, 7, 4 };
    uint32_t version = 2;

    memcpy(value, &version, 4);
    for (unsigned i = 0; i < 5; i++) {
        uint32_t id = i == 1 ? 1000 : UINT32_MAX;

        memcpy(value + 4 + i * 8, &tags[i], 2);
        memcpy(value + 6 + i * 8, &perms[i], 2);
        memcpy(value + 8 + i * 8, &id, 4);
    }
    return 44;
}

static int apply_acl(struct fs *fs, uint64_t ino, const char *name, uint32_t permissions)
{
    uint8_t value[44];

    if (permissions == 0)
        return fs_removexattr(fs, &root_request, ino, name);
    return fs_setxattr(fs, &root_request, ino, name, value, make_acl(permissions, value), 0, false);
}

static int apply_root(struct world *world)
{
    struct fs *fs = world->image.fs;
    struct fs_handle *handle;
    struct fs_attr model, extra, file;
    struct attr root;
    int r;

    r = fs_mkdir(fs, &root_request, 1, fs_name("model"), 0755, &model);
    if (r == 0)
        r = fs_mkdir(fs, &root_request, 1, fs_name("extra"), 0755, &extra);
    if (r == 0)
        r = fs_create(fs, &root_request, extra.ino, fs_name("file"), 0644, O_RDWR, &file, &handle);
    if (r < 0)
        return r;
    fs_release(fs, handle);
    world->extra_folder = extra.ino;
    world->extra_file = file.ino;
    world->engine.root = model.ino;
    engine_attr(&model, &root);
    for (unsigned i = 0; i < 2; i++) {
        oracle_close(&world->oracle[i]);
        oracle_open(&world->oracle[i], false, &root);
    }
    world->extra[1].root = true;
    return 0;
}

/* A pool that grows asks its file where it has data: that gets what the memory has. */
static int file_update(struct pool *pool)
{
    static const uint8_t zeros[4096];

    for (uint64_t at = 0; pool->fd >= 0 && at < pool->size; at += sizeof(zeros))
        if (memcmp(pool->base + at, zeros, sizeof(zeros)) != 0 &&
            pwrite(pool->fd, pool->base + at, sizeof(zeros), (off_t)at) != sizeof(zeros))
            return -EIO;
    return 0;
}

static int apply_grow(struct world *world, uint64_t size)
{
    int r = file_update(world->image.pool);

    return r < 0 ? r : fs_grow(world->image.fs, size);
}

/* Blocks for a file of ours, of which the model sees nothing. */
static int apply_fill(struct world *world, uint64_t left)
{
    struct fs *fs = world->image.fs;
    struct fs_handle *handle;
    struct fs_statfs statfs;
    int r = 0;

    fs_statfs(fs, &statfs);
    if (statfs.available <= left)
        return 0;
    r = fs_open_file(fs, &root_request, world->extra_file, O_RDWR, false, &handle);
    if (r < 0)
        return r;
    r = fs_fallocate(fs, &root_request, handle, FALLOC_FL_KEEP_SIZE, 0,
                     (statfs.available - left) * DXF_BLOCK_SIZE);
    fs_release(fs, handle);
    return r;
}

static int apply_names(struct world *world, uint32_t wanted)
{
    uint32_t *names = &world->extra[1].names;
    struct fs *fs = world->image.fs;
    struct fs_attr attr;
    int r = 0;

    while (r == 0 && *names < wanted) {
        r = fs_link(fs, &root_request, world->extra_file, world->extra_folder,
                    fs_name(link_name(*names)), &attr);
        if (r == 0) {
            fs_forget(fs, world->extra_file, 1);
            ++*names;
        }
    }
    while (r == 0 && *names > wanted) {
        r = fs_unlink(fs, &root_request, world->extra_folder, fs_name(link_name(*names - 1)));
        if (r == 0)
            --*names;
    }
    return r;
}

/* By way of the persist table, so that the device knows of it. */
static int litter_run(void *arg, uint64_t start, uint64_t count, bool allocated)
{
    struct pool *pool = arg;

    if (!allocated)
        persist_set(pool->persist, pool_block(pool, start), LITTER, count * DXF_BLOCK_SIZE,
                    PERSIST_DATA);
    return 0;
}

static int apply_litter(struct world *world)
{
    struct pool *pool = world->image.pool;
    uint64_t behind = world->program->file_size - pool->size;
    struct persist_event event = { .kind = PERSIST_EVENT_COPY, .offset = pool->size };

    if (file_update(pool) < 0)
        return -EIO;
    if (behind > LITTER_BEHIND)
        behind = LITTER_BEHIND;
    if (behind > 0) { /* which the table does not let us store to */
        memset(world->live.bytes + pool->size, LITTER, behind);
        view_touch_bytes(&world->live, pool->size, behind);
        event.length = (uint32_t)behind;
        event.thread = persist_thread_slot();
        event.bytes = world->live.bytes + pool->size;
        trace_note(&world->trace[0], &event);
    }
    return space_walk(fs_space(world->image.fs), litter_run, pool) ? -EIO
                                                                   : persist_drain(pool->persist);
}

/* Their handles are released when the filesystem is closed. */
static int apply_unnamed(struct world *world, uint32_t wanted)
{
    uint32_t *unnamed = &world->extra[1].unnamed;
    struct fs *fs = world->image.fs;
    int r = 0;

    while (r == 0 && *unnamed < wanted) {
        struct fs_handle *handle;
        struct fs_attr attr;

        r = fs_tmpfile(fs, &root_request, world->extra_folder, 0600, O_RDWR, &attr, &handle);
        if (r == 0)
            ++*unnamed;
    }
    return r;
}

static int apply_keep(struct world *world, uint32_t blocks, uint64_t *ret_kept)
{
    struct fs *fs = world->image.fs;
    struct fs_handle *handle;
    struct fs_attr attr;
    int r;

    r = fs_open_file(fs, &root_request, world->extra_file, O_RDWR, false, &handle);
    for (uint32_t i = 0; r == 0 && i < blocks; i++)
        r = fs_fallocate(fs, &root_request, handle, FALLOC_FL_KEEP_SIZE, i * 2ull * DXF_BLOCK_SIZE,
                         DXF_BLOCK_SIZE);
    fs_release(fs, handle);
    if (r == 0)
        r = fs_getattr(fs, &root_request, world->extra_file, &attr);
    if (r == 0)
        *ret_kept = attr.blocks;
    return r;
}

/* What a truncate does after its first transaction, of a file that has lost its place among the orphans
 * in between: a link of one without names takes it out. */
static int apply_trim(struct world *world)
{
    struct fs *fs = world->image.fs;
    struct inode *inode;
    int r;

    r = inode_get(fs, world->extra_file, &inode);
    if (r < 0)
        return r;
    r = inode_trim(fs, inode, 0);
    inode_put(fs, inode);
    return r;
}

static int apply_look(struct world *world)
{
    int64_t *atime = &world->extra[1].atime, before = oracle_now();
    struct fs *fs = world->image.fs;
    struct fs_handle *handle;
    struct fs_attr attr;
    uint8_t byte;
    int r;

    while (oracle_now() == before)
        sched_yield();
    r = fs_open_file(fs, &root_request, world->extra_file, O_RDONLY, false, &handle);
    if (r < 0)
        return r;
    fs->noatime = false;
    r = (int)fs_pread(fs, &root_request, handle, &byte, 1, 0);
    fs->noatime = true;
    fs_release(fs, handle);
    if (r == 0)
        r = fs_getattr(fs, &root_request, world->extra_file, &attr);
    if (r == 0)
        *atime = attr.atime;
    return r;
}

int extra_apply(struct world *world, const struct step *step)
{
    struct extra_state *state = &world->extra[1];
    uint32_t length = (uint32_t)step->op.length;
    struct fs *fs = world->image.fs;
    int r = 0;

    /* All else is beside the model's root, not in it. */
    if (!state->root && step->extra != EXTRA_ROOT && step->extra != EXTRA_UNMOUNT &&
        step->extra != EXTRA_GROW)
        return EINVAL;
    if (step->extra >= EXTRA_MAP_FILES)
        return -maps_apply(world, step);
    switch (step->extra) {
    case EXTRA_ROOT:
        r = apply_root(world);
        break;
    case EXTRA_ACL:
        r = apply_acl(fs, world->extra_file, "system.posix_acl_access", length);
        state->acl = length;
        state->made = true;
        break;
    case EXTRA_DEFAULT_ACL:
        r = apply_acl(fs, world->extra_folder, "system.posix_acl_default", length);
        state->default_acl = length;
        break;
    case EXTRA_LINKS:
    case EXTRA_UNLINKS:
        r = apply_names(world, length);
        break;
    case EXTRA_FILL:
        r = apply_fill(world, length);
        break;
    case EXTRA_LITTER:
        r = apply_litter(world);
        break;
    case EXTRA_UNNAMED:
        r = apply_unnamed(world, length);
        break;
    case EXTRA_KEEP:
        r = apply_keep(world, length, &state->kept);
        break;
    case EXTRA_TRIM:
        r = apply_trim(world);
        state->kept = 0;
        break;
    case EXTRA_LOOK:
        r = apply_look(world);
        break;
    case EXTRA_GROW:
        r = apply_grow(world, step->op.length);
        state->pool_size = step->op.length;
        world->image.size = world->image.pool->size;
        break;
    default:
        maps_end(world, true);
        fs_close(fs);
        pool_close(world->image.pool);
        world->image.fs = NULL;
    }
    return -r;
}

/* ---- looking ---- */

static bool acl_is(struct fs *fs, uint64_t ino, const char *name, uint32_t permissions)
{
    uint8_t value[44], is[100];
    ssize_t n;

    n = fs_getxattr(fs, &root_request, ino, name, is, sizeof(is));
    if (permissions == 0)
        return n == -ENODATA;
    return n == 44 && make_acl(permissions, value) == 44 && memcmp(is, value, 44) == 0;
}

struct counting {
    uint64_t hash;
    uint32_t count;
};

static int count_name(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr)
{
    struct counting *counting = arg;

    (void)attr;
    if (entry->name.bytes[0] != '.') {
        counting->count++;
        counting->hash += hash_bytes(entry->name.bytes, entry->name.length);
    }
    return 0;
}

/* Of the names below the number; asked for the same two over and over. */
static uint64_t names_hash(uint32_t names)
{
    static uint64_t hash;
    static uint32_t count;

    while (count > names) {
        count--;
        hash -= hash_bytes(link_name(count), strlen(link_name(count)));
    }
    for (; count < names; count++)
        hash += hash_bytes(link_name(count), strlen(link_name(count)));
    return hash;
}

static bool names_are(struct world *world, struct fs *fs, uint32_t names)
{
    struct counting is = { 0 }, should = { .hash = hash_bytes("file", 4), .count = names + 1 };
    struct fs_handle *handle;
    struct fs_attr attr;
    int r;

    r = fs_open_file(fs, &root_request, world->extra_folder, O_RDONLY | O_DIRECTORY, false,
                     &handle);
    if (r == 0) {
        r = fs_readdir(fs, &root_request, handle, 0, false, count_name, &is);
        fs_release(fs, handle);
    }
    should.hash += names_hash(names);
    if (r < 0 || is.count != should.count || is.hash != should.hash)
        return false;
    if (names == 0)
        return true;
    r = fs_lookup(fs, &root_request, world->extra_folder, fs_name(link_name(names - 1)), &attr);
    if (r < 0)
        return false;
    fs_forget(fs, attr.ino, 1);
    return attr.ino == world->extra_file && attr.links == names + 1;
}

bool extra_compare(struct world *world, struct image *image, const struct extra_state *state,
                   char *why, size_t why_size)
{
    struct fs_attr attr;

    if (image->pool->size != state->pool_size) {
        snprintf(why, why_size, "the pool has %llu bytes, should have %llu",
                 (unsigned long long)image->pool->size, (unsigned long long)state->pool_size);
        return false;
    }
    if (!state->root)
        return true;
    if (!acl_is(image->fs, world->extra_file, "system.posix_acl_access", state->acl) ||
        fs_getattr(image->fs, &root_request, world->extra_file, &attr) < 0 ||
        (attr.mode & 0777) != (state->acl    ? 0674u
                               : state->made ? 0674u
                                             : 0644u)) {
        snprintf(why, why_size, "another ACL or mode of the file");
        return false;
    }
    if (state->atime && attr.atime != state->atime) {
        snprintf(why, why_size, "another atime of the file");
        return false;
    }
    /* What is being given back recovery has given back: there is no third state. */
    if (world->extra[0].kept != world->extra[1].kept && attr.blocks != state->kept) {
        snprintf(why, why_size, "the file has %llu blocks, should have %llu",
                 (unsigned long long)attr.blocks, (unsigned long long)state->kept);
        return false;
    }
    if (!acl_is(image->fs, world->extra_folder, "system.posix_acl_default", state->default_acl)) {
        snprintf(why, why_size, "another default ACL");
        return false;
    }
    if (!names_are(world, image->fs, state->names)) {
        snprintf(why, why_size, "other names than the %u", state->names);
        return false;
    }
    return maps_compare(world, image, state, why, why_size);
}
