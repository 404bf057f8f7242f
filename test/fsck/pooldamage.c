/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pools damaged as media are: bits, sectors, blocks and runs of blocks that are lost, scrambled, or hold
 * what belongs elsewhere; nothing gets a right checksum.
 *
 *   pooldamage POOL SEED COUNT
 *
 * Each: a mount, or a refusal that says why; -y leaves nothing, and nothing for the next check; a mount;
 * (but where the anchor is lost, of which there is no copy, -y says that it can do nothing)
 * every inode in which nothing was damaged has the bytes, attributes and target that it had, and its
 * name if no directory above it was damaged.
 */
#include "image.h"

#include "base/log.h"
#include "fs/fs.h"
#include "media/pool.h"
#include "tools/fsck.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define INODES_MAX 4096u

static const struct fs_request rq = { .in_group = true };
static int pool_fd;
static uint64_t size;
static uint64_t *owner;                   /* inode of each block; 0: nobody's, or the pool's */
static struct dxf_inode table;            /* of inodes, before any damage */
static uint64_t table_first, table_count; /* its first blocks */

/* What is known of an inode, by its number. */
struct known {
    uint64_t sum;    /* 0: there is none */
    uint64_t parent; /* the directory in which it was found */
    uint64_t name;   /* a sum of where, too */
};
static struct known before[INODES_MAX], after[INODES_MAX];
static bool damaged[INODES_MAX];

static uint64_t random_state;

static uint64_t dice(uint64_t sides)
{
    random_state += 0x9e3779b97f4a7c15;
    uint64_t z = random_state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % sides;
}

static uint64_t sum_add(uint64_t sum, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < length; i++)
        sum = (sum ^ at[i]) * 1099511628211u;
    return sum;
}

static void restore(void)
{
    if (madvise(image_base, size, MADV_DONTNEED) < 0)
        err(2, "madvise");
}

static int open_image(struct pool **ret_pool)
{
    struct persist *persist;
    int r = persist_open_pmem(image_base, size, &persist);

    if (r < 0)
        return r;
    r = pool_open_memory(image_base, size, persist, ret_pool);
    if (r < 0)
        persist_close(persist);
    return r;
}

/* ---- what is there -------------------------------------------------------------------------------- */

struct census {
    struct fs *fs;
    struct known *known;
    struct {
        uint64_t dir, ino;
        char name[DXF_NAME_MAX + 1];
    } * entry;
    size_t count;
    uint64_t dir;
};

static int gather(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr)
{
    struct census *census = arg;
    bool dots = entry->name.length <= 2 && memcmp(entry->name.bytes, "..", entry->name.length) == 0;

    (void)attr;
    if (dots || census->count == INODES_MAX)
        return 0;
    census->entry[census->count].dir = census->dir;
    census->entry[census->count].ino = entry->ino;
    memcpy(census->entry[census->count].name, entry->name.bytes, entry->name.length);
    census->entry[census->count].name[entry->name.length] = '\0';
    census->count++;
    return 0;
}

static int mark_extent(void *arg, const struct fs_extent *extent)
{
    for (uint64_t i = 0; i < extent->length / DXF_BLOCK_SIZE; i++)
        owner[extent->pool_offset / DXF_BLOCK_SIZE + i] = *(const uint64_t *)arg;
    return 0;
}

static uint64_t sum_file(struct fs *fs, uint64_t ino, uint64_t sum)
{
    static uint8_t bytes[64 << 10];
    struct fs_handle *handle;
    uint64_t at = 0;
    ssize_t got;

    if (fs_open_file(fs, &rq, ino, O_RDONLY, false, &handle) < 0)
        return 1;
    /* A damaged size may say anything: the files that are compared are smaller than the pool. */
    while ((got = fs_pread(fs, &rq, handle, bytes, sizeof(bytes), at)) > 0 && at < size) {
        sum = sum_add(sum, bytes, (size_t)got);
        at += (uint64_t)got;
    }
    fs_release(fs, handle);
    return got < 0 ? 1 : sum;
}

static uint64_t sum_inode(struct fs *fs, uint64_t ino)
{
    static char value[DXF_XATTR_VALUE_MAX];
    struct fs_attr attr;
    uint64_t sum = 1469598103934665603u;
    char *target;

    if (fs_getattr(fs, &rq, ino, &attr) < 0)
        return 1;
    sum = sum_add(sum, &attr.mode, sizeof(attr.mode));
    if (!S_ISDIR(attr.mode))
        sum = sum_add(sum, &attr.size, sizeof(attr.size));
    if (S_ISREG(attr.mode))
        sum = sum_file(fs, ino, sum);
    if (S_ISLNK(attr.mode) && fs_readlink(fs, &rq, ino, &target) == 0) {
        sum = sum_add(sum, target, strlen(target));
        free(target);
    }
    ssize_t length = fs_getxattr(fs, &rq, ino, "user.big", value, sizeof(value));
    return sum_add(sum, value, length > 0 ? (size_t)length : 0);
}

/* Returns how many answers were of damage. */
static unsigned take_census(struct fs *fs, struct known *known, bool blocks)
{
    struct census census = { .fs = fs, .known = known };
    uint64_t dirs[256] = { DXF_INO_ROOT };
    unsigned count = 1, bad = 0;

    memset(known, 0, INODES_MAX * sizeof(*known));
    census.entry = calloc(INODES_MAX, sizeof(*census.entry));
    for (unsigned d = 0; d < count; d++) {
        struct fs_handle *handle;
        size_t first = census.count;
        census.dir = dirs[d];
        if (fs_open_file(fs, &rq, dirs[d], O_RDONLY, false, &handle) < 0) {
            bad++;
            continue;
        }
        bad += fs_readdir(fs, &rq, handle, 0, false, gather, &census) < 0;
        fs_release(fs, handle);
        for (size_t i = first; i < census.count; i++) {
            struct fs_attr attr;
            if (fs_lookup(fs, &rq, dirs[d], fs_name(census.entry[i].name), &attr) < 0) {
                bad++;
                continue;
            }
            if (S_ISDIR(attr.mode) && count < 256)
                dirs[count++] = attr.ino;
            if (attr.ino >= INODES_MAX)
                continue;
            struct known *one = &known[attr.ino];
            one->sum = sum_inode(fs, attr.ino);
            bad += one->sum == 1;
            one->parent = dirs[d];
            one->name += sum_add(dirs[d], census.entry[i].name, strlen(census.entry[i].name));
            if (blocks && S_ISREG(attr.mode))
                fs_extents(fs, &rq, attr.ino, mark_extent, &(uint64_t){ attr.ino });
        }
    }
    free(census.entry);
    return bad; /* the references go with the mount */
}

static int mount_census(struct known *known, bool blocks, unsigned *ret_bad)
{
    const struct fs_options options = { 0 };
    struct pool *pool;
    struct fs *fs;
    int r = open_image(&pool);

    if (r < 0)
        return r;
    r = fs_open(pool, &options, &fs, NULL);
    if (r == 0) {
        *ret_bad = take_census(fs, known, blocks);
        fs_close(fs);
    }
    pool_close(pool);
    return r;
}

/* ---- damage ---------------------------------------------------------------------------------------- */

static void mark_damaged(uint64_t block)
{
    for (unsigned i = 0; i < table.count; i++) {
        uint64_t word0 = le64_get(table.extent[i].word0);
        uint64_t first = le64_get(table.extent[i].word1) & DXF_EXTENT_PHYSICAL_MASK;
        uint64_t logical = (word0 >> DXF_EXTENT_LOGICAL_SHIFT) + block - first;
        if (block < first || block - first > (word0 & DXF_EXTENT_LENGTH_MASK) || logical == 0)
            continue;
        for (unsigned n = 0; n < DXF_INODES_PER_BLOCK; n++)
            if ((logical - 1) * DXF_INODES_PER_BLOCK + n < INODES_MAX)
                damaged[(logical - 1) * DXF_INODES_PER_BLOCK + n] = true;
    }
    if (owner[block] != 0 && owner[block] < INODES_MAX)
        damaged[owner[block]] = true;
}

/* A block that says something, mostly: the pool is mostly empty. */
static uint64_t pick(void)
{
    for (unsigned tries = 0; tries < 200; tries++) {
        uint64_t block = dice(8) ? dice(image_blocks) : dice(16);
        if (owner[block] != 0 || block < 16)
            return block;
    }
    return dice(image_blocks);
}

/* Records where others belong: each may claim what the other has. */
static void misplace_records(void)
{
    uint64_t from = table_first + dice(table_count), to = table_first + dice(table_count);
    size_t length = dice(4) ? 512 : DXF_BLOCK_SIZE;
    size_t at = length < DXF_BLOCK_SIZE ? dice(8) * 512 : 0;

    mark_damaged(to);
    memmove((uint8_t *)image_block(to) + at, (uint8_t *)image_block(from) + at, length);
}

static void damage_once(void)
{
    if (dice(6) == 0) {
        misplace_records();
        return;
    }
    uint64_t block = pick(), count = dice(6) ? 1 : 1 + dice(16);
    uint8_t *place = image_block(block);
    size_t at = 0, length = DXF_BLOCK_SIZE;

    if (count > image_blocks - block)
        count = image_blocks - block;
    for (uint64_t i = 0; i < count; i++)
        mark_damaged(block + i);
    length *= count;
    if (count == 1 && dice(2)) {
        at = dice(8) * 512;
        length = 512;
    }
    switch (dice(5)) {
    case 0:
        memset(place + at, dice(2) ? 0 : 0xff, length);
        break;
    case 1:
        for (size_t i = 0; i < length; i++)
            place[at + i] = (uint8_t)dice(256);
        break;
    case 2:
        memmove(place + at, (uint8_t *)image_block(pick()) + at, length / count);
        break;
    default:
        for (uint64_t i = 1 + dice(8); i > 0; i--)
            place[at + dice(length)] ^= (uint8_t)(1u << dice(8));
    }
}

/* The same damage for the same number. Both superblocks gone is the end of a pool: not here. */
static void damage_all(uint64_t seed)
{
    restore();
    memset(damaged, 0, sizeof(damaged));
    random_state = seed;
    for (uint64_t i = 1 + dice(4); i > 0; i--)
        damage_once();
    if (validate_super((void *)image_base) != NULL &&
        validate_super(image_block(DXF_SPARE_BLOCK)) != NULL &&
        pread(pool_fd, image_base, DXF_BLOCK_SIZE, 0) != DXF_BLOCK_SIZE)
        err(2, "pread");
}

/* ---- what must hold --------------------------------------------------------------------------------- */

static int check(enum fsck_mode mode, FILE *out, struct fsck_result *ret_result)
{
    const struct fsck_options options = {
        .mode = mode,
        .out = out,
        .primary_bad = validate_super((void *)image_base) != NULL,
        .spare_bad = validate_super(image_block(DXF_SPARE_BLOCK)) != NULL,
    };
    struct pool *pool;
    int r = open_image(&pool);

    memset(ret_result, 0, sizeof(*ret_result));
    if (r < 0)
        return r;
    r = fsck_run(pool, &options, ret_result);
    pool_close(pool);
    return r;
}

static bool above_damaged(uint64_t ino)
{
    for (unsigned i = 0; ino != DXF_INO_ROOT && i < 64; i++) {
        ino = before[ino].parent;
        if (damaged[ino])
            return true;
    }
    return damaged[DXF_INO_ROOT];
}

static const char *compare(uint64_t *ret_ino)
{
    for (uint64_t ino = DXF_INO_FIRST; ino < INODES_MAX; ino++) {
        *ret_ino = ino;
        if (damaged[ino] || before[ino].sum == 0)
            continue;
        if (after[ino].sum == 0)
            return "an inode is gone in which nothing was damaged";
        if (after[ino].sum != before[ino].sum)
            return "an inode has changed in which nothing was damaged";
        if (after[ino].name != before[ino].name && !above_damaged(ino))
            return "a name has changed, and no directory above it was damaged";
    }
    return NULL;
}

static struct {
    uint64_t refused, clean, found, damaged, anchor;
} tally;

/* NULL, or what is wrong. */
static const char *one_pool(uint64_t seed, struct fsck_result *result, uint64_t *ret_ino)
{
    unsigned bad = 0;

    damage_all(seed);
    for (unsigned i = 0; i < INODES_MAX; i++)
        tally.damaged += damaged[i];
    int r = mount_census(after, false, &bad);
    if (r < 0 && r != -EUCLEAN && r != -EIO && r != -ENOTSUP)
        return strerror(-r);
    tally.refused += r < 0;

    damage_all(seed);
    r = check(FSCK_YES, NULL, result);
    if (r < 0)
        return "the repair can not run";
    if (result->left > 0) {
        /* There is one anchor only: without it nothing says where the inodes are. */
        if (result->count[FSCK_ANCHOR] == 0)
            return "the repair leaves something";
        tally.anchor++;
        return NULL;
    }
    tally.clean += result->found == 0;
    tally.found += result->found;
    r = check(FSCK_CHECK, NULL, result);
    if (r < 0 || result->found > 0)
        return "it is not clean after the repair";
    r = mount_census(after, false, &bad);
    if (r < 0)
        return "it can not be mounted after the repair";
    if (bad > 0)
        return "it holds damage after the repair";
    r = check(FSCK_CHECK, NULL, result);
    if (r < 0 || result->found > 0)
        return "it is not clean after a mount";
    return compare(ret_ino);
}

static void load(const char *path)
{
    struct stat st;
    unsigned bad = 0;

    pool_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (pool_fd < 0 || fstat(pool_fd, &st) < 0)
        err(2, "%s", path);
    size = (uint64_t)st.st_size;
    image_base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, pool_fd, 0);
    if (image_base == MAP_FAILED)
        err(2, "mmap");
    image_blocks = size / DXF_BLOCK_SIZE;
    owner = calloc(image_blocks, sizeof(*owner));
    if (mount_census(before, true, &bad) < 0 || bad > 0)
        errx(2, "%s is damaged", path);
    restore();
    for (uint64_t block = DXF_PIECE_BLOCKS; block < image_blocks; block++) {
        const struct dxf_block_header *header = image_block(block);
        if (owner[block] == 0 && le64_get(header->self) == block)
            owner[block] = le64_get(header->owner);
    }
    table = *image_anchor();
    table_first = le64_get(table.extent[0].word1) & DXF_EXTENT_PHYSICAL_MASK;
    table_count = (le64_get(table.extent[0].word0) & DXF_EXTENT_LENGTH_MASK) + 1;
    for (uint64_t i = 0; i < table_count; i++) /* of some interest, and no inode's */
        if (owner[table_first + i] == 0)
            owner[table_first + i] = INODES_MAX;
}

int main(int argc, char **argv)
{
    struct fsck_result *result = calloc(1, sizeof(*result));
    uint64_t ino = 0;

    if (argc != 4)
        errx(2, "usage: pooldamage POOL SEED COUNT");
    log_open("pooldamage", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    log_set_level((enum log_level)(LOG_LEVEL_ERROR - 1)); /* damage is no news here */
    load(argv[1]);
    uint64_t seed = strtoull(argv[2], NULL, 10), count = strtoull(argv[3], NULL, 10);
    for (uint64_t i = 0; i < count; i++) {
        const char *why = one_pool(seed + i, result, &ino);
        if (why == NULL)
            continue;
        printf("seed %" PRIu64 ": %s (inode %" PRIu64 "); the repair was:\n", seed + i, why, ino);
        damage_all(seed + i);
        check(FSCK_YES, stdout, result);
        check(FSCK_CHECK, stdout, result);
        return 1;
    }
    printf("%" PRIu64 " damaged pools, %" PRIu64 " inodes hit: %" PRIu64 " mounts refused, %" PRIu64
           " findings repaired, %" PRIu64 " pools without one, %" PRIu64
           " without an anchor, and given up; what was not hit is intact\n",
           count, tally.damaged, tally.refused, tally.found, tally.clean, tally.anchor);
    free(result);
    return 0;
}
