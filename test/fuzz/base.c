/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base.h"

#include "base/random.h"
#include "journal/journal.h"
#include "media/validate.h"
#include "meta/meta.h"
#include "space/space.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct base bases[BASES];
const struct fs_request base_request = { .in_group = true };
static const struct fs_request *const rq = &base_request;
static struct fs *fs;

/* ---- the same pools in every run (linked with --wrap) ------------------------------------------- */

uint64_t __wrap_random_u64(void);
uint32_t __wrap_random_nonzero_u32(void);
int __wrap_sched_getcpu(void);
static uint64_t random_state;

uint64_t __wrap_random_u64(void)
{
    random_state = random_state * 6364136223846793005 + 1442695040888963407;
    return random_state;
}

uint32_t __wrap_random_nonzero_u32(void)
{
    return (uint32_t)(__wrap_random_u64() >> 33) | 1;
}

int __wrap_sched_getcpu(void)
{
    return 0;
}

static void must(int64_t result, const char *what)
{
    if (result >= 0)
        return;
    errno = (int)-result;
    err(2, "%s", what);
}

/* ---- pools over memory --------------------------------------------------------------------------- */

static int open_memory(uint8_t *memory, uint64_t size, struct pool **ret_pool)
{
    struct persist *persist;
    int r = persist_open_pmem(memory, size, &persist);

    if (r < 0)
        return r;
    r = pool_open_memory(memory, size, persist, ret_pool);
    if (r < 0)
        persist_close(persist);
    return r;
}

/* Memory without a superblock would be opened, to be formatted. A file is not. */
int base_pool(uint8_t *memory, uint64_t size, struct pool **ret_pool)
{
    if (memcmp(memory, DXF_MAGIC, sizeof(DXF_MAGIC)) != 0 &&
        memcmp(memory + DXF_SPARE_BLOCK * DXF_BLOCK_SIZE, DXF_MAGIC, sizeof(DXF_MAGIC)) != 0)
        return -EINVAL;
    return open_memory(memory, size, ret_pool);
}

int base_mount(uint8_t *memory, uint64_t size, struct pool **ret_pool, struct fs **ret_fs)
{
    const struct fs_options options = { 0 };
    struct pool *pool;
    int r = base_pool(memory, size, &pool);

    if (r < 0)
        return r;
    r = fs_open(pool, &options, ret_fs, NULL);
    if (r < 0)
        pool_close(pool);
    else
        *ret_pool = pool;
    return r;
}

void base_umount(struct pool *pool, struct fs *mounted)
{
    fs_close(mounted);
    pool_close(pool);
}

void base_format(uint8_t *memory, uint64_t size)
{
    struct journal *journal;
    struct space *space;
    struct pool *pool;

    must(open_memory(memory, size, &pool), "pool");
    pool->super = (struct dxf_super){
        .magic = DXF_MAGIC,
        .version = le32_make(DXF_VERSION),
        .uuid = "fuzz",
        .pool_blocks = le64_make(size / DXF_BLOCK_SIZE),
        .log_seed = le64_make(0x66757a7a5f6c6f67),
        .hash_seed = le64_make(0x66757a7a5f686173),
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

/* ---- what is in them ------------------------------------------------------------------------------ */

static uint64_t make_dir(uint64_t parent, const char *name)
{
    struct fs_attr attr;

    must(fs_mkdir(fs, rq, parent, fs_name(name), 0755, &attr), name);
    return attr.ino;
}

static struct fs_handle *make_file(uint64_t parent, const char *name, uint64_t *ret_ino)
{
    struct fs_handle *handle;
    struct fs_attr attr;

    must(fs_create(fs, rq, parent, fs_name(name), 0644, O_RDWR, &attr, &handle), name);
    if (ret_ino)
        *ret_ino = attr.ino;
    return handle;
}

static void put(struct fs_handle *handle, uint64_t offset, size_t length)
{
    static uint8_t bytes[64 << 10];

    memset(bytes, 'x', sizeof(bytes));
    must(fs_pwrite(fs, rq, handle, bytes, length, offset) == (ssize_t)length ? 0 : -EIO, "write");
}

/* Every second block of two files by turns: neither the map nor the pool joins them. */
static void put_gaps(const char *one, const char *other, unsigned extents)
{
    struct fs_handle *a = make_file(1, one, NULL), *b = make_file(1, other, NULL);

    for (unsigned i = 0; i < extents; i++) {
        put(a, 8192ull * i, 4096);
        if (i % 16 == 0)
            put(b, 4096ull * i, 4096);
    }
    must(fs_fallocate(fs, rq, a, FALLOC_FL_KEEP_SIZE, 8192ull * extents, 40000), "fallocate");
    fs_release(fs, a);
    fs_release(fs, b);
}

static void put_names(uint64_t dir, unsigned count, int length, bool links)
{
    struct fs_attr attr, child;
    char name[256];

    snprintf(name, sizeof(name), "%0*u", length, 0u);
    must(fs_mknod(fs, rq, dir, fs_name(name), S_IFREG | 0644, 0, 0, &attr), name);
    for (unsigned i = 1; i < count; i++) {
        snprintf(name, sizeof(name), "%0*u", length, i);
        must(links ? fs_link(fs, rq, attr.ino, dir, fs_name(name), &child)
                   : fs_mknod(fs, rq, dir, fs_name(name), S_IFREG | 0644, 0, 0, &child),
             name);
    }
}

static void put_objects(unsigned names, unsigned extents, unsigned value, unsigned depth)
{
    char *text = calloc(1, 70000);
    struct fs_handle *handle;
    struct fs_attr attr;
    uint64_t ino, dir = 1;

    memset(text, 't', 69999);
    handle = make_file(1, "small", &ino);
    put(handle, 0, 10000);
    fs_release(fs, handle);
    must(fs_setxattr(fs, rq, ino, "user.x", text, value, 0, false), "setxattr");
    must(fs_setxattr(fs, rq, ino, "security.capability", text, 20, 0, false), "setxattr");
    must(fs_link(fs, rq, ino, 1, fs_name("link"), &attr), "link");
    put_gaps("gaps", "between", extents);
    must(fs_symlink(fs, rq, 1, fs_name("short"), fs_name("small"), &attr), "symlink");
    must(fs_symlink(fs, rq, 1, fs_name("long"), (struct fs_name){ text, 3000 }, &attr), "symlink");
    must(fs_mknod(fs, rq, 1, fs_name("device"), S_IFCHR | 0600, 1, 3, &attr), "mknod");
    for (unsigned i = 0; i < depth; i++)
        dir = make_dir(dir, "down");
    put_names(make_dir(1, "names"), names, 100, false);
    fs_release(fs, make_file(1, "empty", NULL));
    free(text);
}

/* Lines that a mount has to finish; the operations that write them are over too soon. */
static void put_intents(struct base *base)
{
    static const uint16_t kinds[] = { DXF_INTENT_PUNCH, DXF_INTENT_ZERO, DXF_INTENT_COLLAPSE,
                                      DXF_INTENT_INSERT };
    struct dxf_intent *line = (void *)(base->memory + (uint64_t)DXF_INTENT_BLOCK * DXF_BLOCK_SIZE);
    unsigned n = 0;

    for (size_t i = 0; i < base->list[CLASS_INODE].count && n < 4; i++) {
        const struct base_object *object = &base->list[CLASS_INODE].object[i];
        const struct dxf_inode *inode = (void *)(base->memory + object->offset);
        uint64_t size = le64_get(inode->size) & ~4095ull;
        if ((le16_get(inode->mode) & S_IFMT) != S_IFREG || object->number < DXF_INO_FIRST ||
            size < 8192)
            continue;
        line[n] = (struct dxf_intent){
            .kind = le16_make(kinds[n]),
            .inode = le64_make(object->number),
            .offset = le64_make(4096),
            .length = le64_make(size - 4096),
            /* Of an insert: all that there is is to be moved. */
            .cursor = le64_make(kinds[n] == DXF_INTENT_INSERT     ? 1ull << 45
                                : kinds[n] == DXF_INTENT_COLLAPSE ? size
                                                                  : size - 4096),
            .generation = inode->generation,
        };
        seal_intent(&line[n], n);
        n++;
    }
}

static void populate(enum base_kind kind)
{
    struct fs_handle *handle;

    switch (kind) {
    case BASE_SMALL:
        put_objects(4, 10, 300, 1);
        break;
    case BASE_RICH:
        put_objects(150, 280, 9000, 6);
        break;
    case BASE_CRASHED:
        put_objects(40, 30, 5000, 2);
        must(fs_sync(fs), "sync");
        handle = make_file(1, "gone", NULL);
        put(handle, 0, 50000);
        must(fs_unlink(fs, rq, 1, fs_name("gone")), "unlink"); /* an orphan: it is open */
        handle = make_file(1, "gone too", NULL);
        put(handle, 8192, 5000);
        must(fs_unlink(fs, rq, 1, fs_name("gone too")), "unlink");
        must(fs_rename(fs, rq, 1, fs_name("empty"), 1, fs_name("moved"), 0), "rename");
        fs_release(fs, make_file(1, "late", NULL));
        break;
    default:
        put_names(make_dir(1, "wide"), 3600, 255, true);
    }
}

/* ---- where things are ----------------------------------------------------------------------------- */

static void add(struct base *base, enum base_class class, const void *place, size_t length,
                uint64_t number)
{
    struct base_list *list = &base->list[class];

    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 16;
        list->object = reallocarray(list->object, list->room, sizeof(*list->object));
        if (list->object == NULL)
            err(2, "memory");
    }
    list->object[list->count++] = (struct base_object){
        .offset = (uint32_t)((const uint8_t *)place - base->memory),
        .length = (uint32_t)length,
        .number = number,
    };
}

static void *block_at(const struct base *base, uint64_t block)
{
    return base->memory + block * DXF_BLOCK_SIZE;
}

static bool block_used(const struct base *base, uint64_t block)
{
    const struct dxf_super *super = block_at(base, 0);
    const struct dxf_bitmap_line *line = block_at(base, le64_get(super->bitmap_start));

    line += block / DXF_LINE_BITS;
    return le64_get(line->bits[block % DXF_LINE_BITS / 64]) >> block % DXF_LINE_BITS % 64 & 1;
}

static void find_fixed(struct base *base)
{
    const struct dxf_super *super = block_at(base, 0);
    const uint8_t *slots = block_at(base, DXF_JOURNAL_BLOCK);
    const struct dxf_intent *intents = block_at(base, DXF_INTENT_BLOCK);
    const struct dxf_bitmap_line *lines = block_at(base, le64_get(super->bitmap_start));

    add(base, CLASS_SUPER, super, DXF_BLOCK_SIZE, 0);
    add(base, CLASS_SUPER, block_at(base, DXF_SPARE_BLOCK), DXF_BLOCK_SIZE, 0);
    for (unsigned i = 0; i < DXF_RETIRE_SLOTS; i++)
        add(base, CLASS_RETIRE, slots + i * DXF_RETIRE_STRIDE, sizeof(struct dxf_retire), i);
    for (unsigned i = 0; i < 8; i++)
        add(base, CLASS_INTENT, &intents[i], sizeof(*intents), i);
    add(base, CLASS_BADBLOCKS, block_at(base, DXF_BADBLOCK_BLOCK), DXF_BLOCK_SIZE, 0);
    for (unsigned i = 0; i <= BASE_BLOCKS / DXF_LINE_BITS; i++)
        add(base, CLASS_BITMAP_LINE, &lines[i], sizeof(*lines), i);
}

/* The table of a small pool has one group. */
static void find_inodes(struct base *base)
{
    const struct dxf_inode *table = block_at(base, DXF_ANCHOR_BLOCK);
    uint64_t first = 0;

    add(base, CLASS_ANCHOR, table, sizeof(*table), DXF_INO_TABLE);
    for (unsigned i = 0; i < table->count; i++) {
        uint64_t word0 = le64_get(table->extent[i].word0);
        uint64_t block = le64_get(table->extent[i].word1) & DXF_EXTENT_PHYSICAL_MASK;
        for (uint64_t n = 0; n <= (word0 & DXF_EXTENT_LENGTH_MASK); n++, first++) {
            if (first == 0) {
                const struct dxf_bitmap_line *line = block_at(base, block);
                for (unsigned l = 0; l < 3; l++)
                    add(base, CLASS_INODE_LINE, &line[l], sizeof(*line), l);
                continue;
            }
            const struct dxf_inode *inode = block_at(base, block + n);
            for (unsigned j = 0; j < DXF_INODES_PER_BLOCK; j++) {
                uint64_t ino = (first - 1) * DXF_INODES_PER_BLOCK + j;
                if (le16_get(inode[j].mode) != 0 || ino < DXF_INO_FIRST)
                    add(base, CLASS_INODE, &inode[j], sizeof(*inode), ino);
                if (ino == DXF_INO_ORPHANS) {
                    const uint8_t *lines = block_at(base, le64_get(inode[j].extent[0].word1) &
                                                              DXF_EXTENT_PHYSICAL_MASK);
                    for (unsigned l = 0; l < 8; l++)
                        add(base, CLASS_ORPHAN_LINE, lines + l * DXF_LINE_SIZE, DXF_LINE_SIZE, l);
                }
            }
        }
    }
}

static void find_entries(struct base *base, const struct dxf_dir_leaf *leaf)
{
    uint64_t owner = le64_get(leaf->header.owner);

    add(base, CLASS_DIR_LEAF, leaf, sizeof(*leaf), owner);
    for (uint32_t at = 0; at < sizeof(leaf->entries);) {
        const struct dxf_dirent *entry = (const void *)(leaf->entries + at);
        if (entry->name_length != 0)
            add(base, CLASS_DIRENT, entry, sizeof(*entry) + entry->name_length, owner);
        at += le16_get(entry->length);
    }
}

static void find_blocks(struct base *base)
{
    unsigned files = 0, free_blocks = 0;

    for (uint64_t block = DXF_FIRST_FREE_BLOCK; block < BASE_BLOCKS; block++) {
        const struct dxf_block_header *header = block_at(base, block);
        if (!block_used(base, block)) {
            if (free_blocks++ < 64)
                add(base, CLASS_FREE, header, DXF_BLOCK_SIZE, 0);
        } else if (le64_get(header->self) == block) {
            uint64_t owner = le64_get(header->owner);
            switch (le32_get(header->magic)) {
            case DXF_MAGIC_EXTENT_NODE:
                add(base, CLASS_EXTENT_NODE, header, DXF_BLOCK_SIZE, owner);
                break;
            case DXF_MAGIC_DIR_NODE:
                add(base, CLASS_DIR_NODE, header, DXF_BLOCK_SIZE, owner);
                break;
            case DXF_MAGIC_CHAIN:
                add(base, CLASS_CHAIN, header, DXF_BLOCK_SIZE, owner);
                break;
            case DXF_MAGIC_DIR_LEAF:
                find_entries(base, (const void *)header);
                break;
            }
        } else if (((const uint8_t *)header)[0] == 'x' && files++ < 64) {
            add(base, CLASS_DATA, header, DXF_BLOCK_SIZE, 0);
        }
    }
}

/* The end of the live entries of each log, as a replay of the sound pool finds it. */
static void find_logs(struct base *base)
{
    const struct dxf_super *super = block_at(base, 0);
    const struct dxf_retire *slot[2] = { block_at(base, DXF_JOURNAL_BLOCK),
                                         (void *)((uint8_t *)block_at(base, DXF_JOURNAL_BLOCK) +
                                                  DXF_RETIRE_STRIDE) };
    unsigned newer = le64_get(slot[1]->generation) > le64_get(slot[0]->generation);
    uint64_t retired = le64_get(slot[newer]->retired);
    uint32_t bytes = le32_get(super->log_blocks) * DXF_BLOCK_SIZE;

    base->sequence = retired;
    for (unsigned i = 0; i < le32_get(super->log_count); i++) {
        uint8_t *log = block_at(base, le64_get(super->log_start));
        log += (size_t)i * bytes;
        uint32_t at = le32_get(slot[newer]->tail[i]) * DXF_LINE_SIZE;
        for (;;) {
            const struct dxf_log_entry *entry = (void *)(log + at);
            if (at + 2 * DXF_BLOCK_SIZE > bytes || le32_get(entry->magic) != DXF_LOG_MAGIC ||
                le64_get(entry->sequence) <= retired)
                break;
            if (le64_get(entry->sequence) > base->sequence)
                base->sequence = le64_get(entry->sequence);
            add(base, CLASS_LOG, entry, le32_get(entry->bytes), i);
            at += (le32_get(entry->bytes) + DXF_LINE_SIZE - 1) & ~(DXF_LINE_SIZE - 1);
        }
        base->log_head[i] = at;
        add(base, CLASS_LOG, log + at, 128, i);
    }
}

/* ---- making ---------------------------------------------------------------------------------------- */

static void make(struct base *base, enum base_kind kind)
{
    struct pool *pool;

    base->fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (base->fd < 0 || ftruncate(base->fd, (off_t)BASE_SIZE) < 0)
        err(2, "memfd");
    base->memory = mmap(NULL, BASE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, base->fd, 0);
    if (base->memory == MAP_FAILED)
        err(2, "mmap");
    random_state = kind;
    base_format(base->memory, BASE_SIZE);
    must(base_mount(base->memory, BASE_SIZE, &pool, &fs), "mount");
    populate(kind);
    if (kind == BASE_CRASHED)
        atomic_store(&pool->failed, true); /* nothing is finished, nothing is retired */
    base_umount(pool, fs);
    fs = NULL;
    find_inodes(base);
    if (kind == BASE_CRASHED)
        put_intents(base);
    find_fixed(base);
    find_blocks(base);
    find_logs(base);
    if (mmap(base->memory, BASE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, base->fd,
             0) == MAP_FAILED)
        err(2, "mmap");
}

void bases_make(void)
{
    for (unsigned kind = 0; kind < BASES; kind++)
        make(&bases[kind], kind);
}

void base_restore(const struct base *base)
{
    if (madvise(base->memory, BASE_SIZE, MADV_DONTNEED) < 0)
        err(2, "madvise");
}

void base_seal(const struct base *base, enum base_class class, const struct base_object *object)
{
    void *place = base->memory + object->offset;

    switch (class) {
    case CLASS_SUPER:
        seal_super(place);
        break;
    case CLASS_RETIRE:
        seal_retire(place, (uint32_t)object->number);
        break;
    case CLASS_INTENT:
        seal_intent(place, object->number);
        break;
    case CLASS_BADBLOCKS:
        seal_badblocks(place);
        break;
    case CLASS_BITMAP_LINE:
    case CLASS_INODE_LINE:
        seal_bitmap_line(place, object->number);
        break;
    case CLASS_ANCHOR:
    case CLASS_INODE:
        seal_inode(place, object->number);
        break;
    case CLASS_ORPHAN_LINE:
        seal_orphan_line(place, object->number);
        break;
    case CLASS_EXTENT_NODE:
    case CLASS_DIR_NODE:
    case CLASS_CHAIN:
        seal_block(place);
        break;
    case CLASS_DIR_LEAF:
        seal_dir_leaf(place);
        break;
    case CLASS_DIRENT: {
        /* Its name may have become longer than its leaf. */
        struct dxf_dirent *entry = place;
        size_t rest = DXF_BLOCK_SIZE - object->offset % DXF_BLOCK_SIZE;
        if (sizeof(*entry) + entry->name_length <= rest)
            seal_dirent(entry, object->number);
        break;
    }
    default:
        break;
    }
}
