/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/endian.h"
#include "engine.h"
#include "journal/journal.h"
#include "media/pool.h"
#include "meta/inode.h"
#include "meta/meta.h"
#include "space/space.h"

#include <err.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void must(int result, const char *what)
{
    if (result < 0) {
        errno = -result;
        err(2, "%s", what);
    }
}

static int open_pool(struct image *image)
{
    struct persist *persist;
    int r;

    r = image->pmem ? persist_open_pmem(image->memory, image->size, &persist)
                    : persist_open_paged(image->memory, image->size, image->fd, true, &persist);
    must(r, "persist");
    r = pool_open_memory(image->memory, image->size, persist, &image->pool);
    if (r < 0)
        persist_close(persist);
    return r;
}

static void format(struct image *image)
{
    struct journal *journal;
    struct space *space;
    struct pool *pool;

    must(open_pool(image), "pool");
    pool = image->pool;
    pool->super = (struct dxf_super){
        .magic = DXF_MAGIC,
        .version = le32_make(DXF_VERSION),
        .uuid = "model",
        .pool_blocks = le64_make(image->size / DXF_BLOCK_SIZE),
        .log_seed = le64_make(0x6d6f64656c5f6c6f),
        .hash_seed = le64_make(0x6d6f64656c5f6861),
    };
    must(layout_compute(&pool->super), "layout");
    must(journal_format(pool), "journal");
    must(space_format(pool), "space");
    must(pool_write_super(pool), "superblock");
    must(journal_open(pool, &journal), "journal");
    must(space_open(pool, journal, &space), "space");
    must(meta_format(pool, journal, space, 0755, 0, 0), "meta");
    space_close(space);
    journal_close(journal);
    pool_close(pool);
}

static int mount_image(struct image *image)
{
    struct fs_options options = { 0 };
    int r;

    r = open_pool(image);
    if (r < 0)
        return -r;
    r = fs_open(image->pool, &options, &image->fs, NULL);
    if (r < 0) {
        pool_close(image->pool);
        image->pool = NULL;
    }
    return -r;
}

void image_create(struct image *image, uint64_t size, bool pmem)
{
    *image = (struct image){ .size = size, .pmem = pmem };
    image->fd = memfd_create("model", MFD_CLOEXEC);
    if (image->fd < 0 || ftruncate(image->fd, (off_t)size) < 0)
        err(2, "memory of the pool");
    image->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, image->fd, 0);
    if (image->memory == MAP_FAILED)
        err(2, "memory of the pool");
    format(image);
    errno = mount_image(image);
    if (errno)
        err(2, "mount");
}

int image_remount(struct image *image, bool crash)
{
    if (crash)
        atomic_store(&image->pool->failed, true);
    fs_close(image->fs);
    pool_close(image->pool);
    image->fs = NULL;
    image->pool = NULL;
    return mount_image(image);
}

void image_destroy(struct image *image)
{
    if (image->fs)
        fs_close(image->fs);
    if (image->pool)
        pool_close(image->pool);
    munmap(image->memory, image->size);
    close(image->fd);
}

uint64_t image_blocks_used(struct image *image)
{
    const struct dxf_anchor *anchor = pool_block(image->pool, DXF_ANCHOR_BLOCK);
    struct fs_statfs statfs;

    fs_statfs(image->fs, &statfs);
    return statfs.blocks - statfs.free - le64_get(anchor->table.blocks);
}
