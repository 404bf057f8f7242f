/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The repair of fsck.daxfuse on a medium that loses power: from whatever is left of one the next repairs
 * all, and one that has returned leaves nothing to repair. And what it judges by checksums that no
 * damage of test/fsck reaches. A failing case says so and ends the program.
 *
 *   crash_repair [CASE]
 */
#include "world.h"

#include "base/endian.h"
#include "base/log.h"
#include "fs/internal.h"
#include "media/pool.h"
#include "media/validate.h"
#include "tools/fsck_private.h"

#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE DXF_POOL_SIZE_MIN
#define FILES 60u /* more than a leaf has room for */
#define IMAGES 40u

#define expect(condition)                                         \
 do {                                                             \
  if (!(condition)) {                                             \
   printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
   exit(1);                                                       \
  }                                                               \
 } while (0)

static struct fs_request root_request = { .in_group = true };
static struct view damaged;
static struct device device;
static struct trace trace;
static struct rng rng = { 1 };
static struct fsck_result result;
static bool pmem;

/* ---- a pool --------------------------------------------------------------------------------------- */

/* A directory of several leaves: the root. */
static void make_pool(struct image *image)
{
    static const uint8_t bytes[20000] = { 1 };
    char name[251];

    image_create(image, SIZE, true);
    memset(name, 'x', 250);
    name[250] = 0;
    for (unsigned i = 0; i < FILES; i++) {
        struct fs_handle *handle;
        struct fs_attr attr;

        name[snprintf(name, sizeof(name), "%u", i)] = '-';
        expect(fs_create(image->fs, &root_request, 1, fs_name(name), 0600, O_RDWR, &attr,
                         &handle) == 0);
        expect(fs_pwrite(image->fs, &root_request, handle, bytes, sizeof(bytes), 0) ==
               sizeof(bytes));
        fs_release(image->fs, handle);
        fs_forget(image->fs, attr.ino, 1);
    }
    expect(image_remount(image, false) == 0);
}

static struct dxf_inode *record_of(struct image *image, uint64_t ino)
{
    const struct dxf_inode *record;

    expect(inode_view(fs_meta(image->fs), NULL, ino, &record) == 0);
    return (struct dxf_inode *)(image->memory + ((const uint8_t *)record - image->memory));
}

static void *block_of(struct image *image, uint64_t block)
{
    return image->memory + block * DXF_BLOCK_SIZE;
}

/* The lines of the allocation bitmap say nothing that can be relied on, and that all is free. */
static void spoil_bitmap(struct image *image, unsigned lines)
{
    struct dxf_bitmap_line *line = block_of(image, le64_get(image->pool->super.bitmap_start));

    for (; lines-- > 0; line++) {
        memset(line->bits, 0, sizeof(line->bits));
        line->csum = le32_make(~le32_get(line->csum));
    }
}

/* ---- a repair ------------------------------------------------------------------------------------- */

static int repair(uint8_t *bytes, enum fsck_mode mode, persist_event_fn on_event, void *arg)
{
    struct fsck_options options = { .mode = mode };
    struct persist *persist;
    struct pool *pool;
    int r;

    expect(persist_open_recording(bytes, SIZE, pmem, on_event, arg, &persist) == 0);
    expect(pool_open_memory(bytes, SIZE, persist, &pool) == 0);
    r = fsck_run(pool, &options, &result);
    pool_close(pool);
    return r;
}

static void note_event(void *arg, const struct persist_event *event)
{
    trace_note(arg, event);
}

static void image_event(void *arg, const struct persist_event *event)
{
    if (event->bytes)
        view_touch_bytes(arg, event->offset, event->length);
}

static bool is_marked(uint8_t *bytes)
{
    struct persist *persist;
    struct pool *pool;
    bool marked;

    expect(persist_open_recording(bytes, SIZE, pmem, image_event, &device.image, &persist) == 0);
    expect(pool_open_memory(bytes, SIZE, persist, &pool) == 0);
    marked = le32_get(pool->super.flags) & DXF_SUPER_NEEDS_FSCK;
    pool_close(pool);
    return marked;
}

/* A pool that was marked and is not any more is whole. */
static void check_chosen(bool returned, bool was_marked)
{
    device_build(&device);
    if (was_marked && !is_marked(device.image.bytes))
        returned = true;
    device_build(&device);
    if (!returned) {
        expect(repair(device.image.bytes, FSCK_YES, image_event, &device.image) == 0);
        /* It finds what was damaged before, if anything, and has damaged nothing. */
        expect(result.left == 0 && result.count[FSCK_INODE_CSUM] == 0);
        expect(result.count[FSCK_UNREACHED] == 0);
    }
    expect(repair(device.image.bytes, FSCK_CHECK, image_event, &device.image) == 0);
    for (unsigned id = 0; id < FSCK_ID_MAX; id++)
        if (result.count[id])
            printf("fsck finds %u, %s\n", id, returned ? "after the repair" : "before its end");
    expect(result.found == 0 && result.count[FSCK_JOURNAL_LIVE] == 0);
    expect(result.inodes == FILES + 1);
}

static void check_images(bool returned, bool was_marked)
{
    device_group(&device);
    device_choose_all(&device, false);
    check_chosen(returned, was_marked);
    device_choose_all(&device, true);
    check_chosen(returned, was_marked);
    for (unsigned i = 0; i < IMAGES; i++) {
        device_choose_random(&device, &rng);
        check_chosen(returned, was_marked);
    }
}

static void check_repair(const uint8_t *bytes)
{
    const struct dxf_super *super = (const struct dxf_super *)device.durable.bytes;
    static uint8_t copy[SIZE] __attribute__((aligned(4096)));

    for (unsigned i = 0; i < 2; i++) {
        bool was_marked = false;

        pmem = i;
        memcpy(damaged.bytes, bytes, SIZE);
        view_touch_bytes(&damaged, 0, SIZE);
        device_reset(&device, pmem);
        trace_clear(&trace);
        memcpy(copy, bytes, SIZE);
        expect(repair(copy, FSCK_YES, note_event, &trace) == 0);
        expect(result.found > 0 && result.left == 0);
        for (size_t at = 0; at < trace.count; at++) {
            if (trace.event[at].kind == PERSIST_EVENT_FENCE)
                check_images(false, was_marked);
            device_play(&device, &trace.event[at]);
            was_marked |= le32_get(super->flags) & DXF_SUPER_NEEDS_FSCK;
        }
        check_images(true, true);
    }
}

/* A leaf's header, so that the tree is built anew in new blocks; and lines of a bitmap. */
static void case_tree(void)
{
    struct image image;

    make_pool(&image);
    for (uint64_t block = DXF_FIRST_FREE_BLOCK; block < SIZE / DXF_BLOCK_SIZE; block++) {
        struct dxf_block_header *header = block_of(&image, block);

        if (le32_get(header->magic) != DXF_MAGIC_DIR_LEAF)
            continue;
        header->csum = le32_make(~le32_get(header->csum));
        break;
    }
    spoil_bitmap(&image, 2);
    check_repair(image.memory);
    image_destroy(&image);
}

/* A number of links; were the record torn, what its mode says of the user would be dropped. */
static void case_record(void)
{
    struct dxf_inode *record;
    struct image image;

    make_pool(&image);
    record = record_of(&image, DXF_INO_FIRST + 5);
    record->links = le32_make(77);
    seal_inode(record, DXF_INO_FIRST + 5);
    check_repair(image.memory);
    image_destroy(&image);
}

static void case_slots(void)
{
    struct dxf_retire *slot;
    struct image image;

    make_pool(&image);
    for (unsigned i = 0; i < DXF_RETIRE_SLOTS; i++) {
        slot = (struct dxf_retire *)((uint8_t *)block_of(&image, DXF_JOURNAL_BLOCK) +
                                     i * DXF_RETIRE_STRIDE);
        slot->csum = le32_make(~le32_get(slot->csum));
    }
    check_repair(image.memory);
    image_destroy(&image);
}

/* ---- what is believed ------------------------------------------------------------------------------ */

/* Of a line whose checksum is wrong no block is taken while something stays damaged. */
static void case_take(void)
{
    struct fsck fsck = { .incomplete = true, .take_cursor = DXF_FIRST_FREE_BLOCK };
    struct image image;
    uint64_t block;

    make_pool(&image);
    spoil_bitmap(&image, 2);
    fsck.pool = image.pool;
    expect(fsck_claim_open(&fsck) == 0);
    expect(fsck_take(&fsck, &block) == 0 && block >= 2 * DXF_LINE_BITS);
    fsck_claim_close(&fsck);
    image_destroy(&image);
}

/* An inode is saved although nobody knows whether its blocks are in use. */
static void case_salvage(void)
{
    struct dxf_inode *record;
    struct image image;

    make_pool(&image);
    record = record_of(&image, DXF_INO_FIRST + 5);
    record->csum = le32_make(~le32_get(record->csum));
    spoil_bitmap(&image, 4);
    expect(repair(image.memory, FSCK_YES, note_event, &trace) == 0);
    expect(result.count[FSCK_INODE_CSUM] == 1 && result.inodes == FILES + 1);
    image_destroy(&image);
}

/* A damaged anchor is not believed when what it names is no table of inodes, or outside the pool. */
static void case_anchor(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct dxf_bitmap_line *line;
        struct dxf_extent *extent;
        struct dxf_anchor *anchor;
        struct image image;

        make_pool(&image);
        anchor = block_of(&image, DXF_ANCHOR_BLOCK);
        expect(anchor->table.layout == DXF_LAYOUT_INLINE);
        anchor->table.csum = le32_make(~le32_get(anchor->table.csum));
        extent = &anchor->table.extent[0];
        line = block_of(&image, fsck_extent_get(extent).physical);
        line->csum = le32_make(~le32_get(line->csum));
        if (i)
            extent->word1 = le64_make(le64_get(extent->word1) | 1ull << 40);
        expect(repair(image.memory, FSCK_YES, note_event, &trace) == 0 && result.left > 0);
        image_destroy(&image);
    }
}

/* A superblock that went bad after the pool was opened. */
static void case_supers(void)
{
    static const uint64_t blocks[] = { DXF_SUPER_BLOCK, DXF_SPARE_BLOCK };
    static const enum fsck_id ids[] = { FSCK_SUPER_PRIMARY, FSCK_SUPER_SPARE };
    struct fsck_options options = { .mode = FSCK_CHECK };
    struct image image;

    make_pool(&image);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *byte = (uint8_t *)block_of(&image, blocks[i]) + 100;

        *byte ^= 1;
        expect(fsck_run(image.pool, &options, &result) == 0 && result.count[ids[i]] == 1);
        *byte ^= 1;
    }
    image_destroy(&image);
}

/* What a damaged intent says is no finding of its own. */
static void case_intent(void)
{
    struct fsck_options options = { .mode = FSCK_CHECK };
    struct dxf_intent *intent;
    struct image image;

    make_pool(&image);
    intent = block_of(&image, DXF_INTENT_BLOCK);
    intent->kind = le16_make(DXF_INTENT_PUNCH);
    intent->inode = le64_make(DXF_INO_FIRST + 5);
    expect(fsck_run(image.pool, &options, &result) == 0 && result.count[FSCK_INTENT_LINE] == 1);
    expect(result.count[FSCK_INTENT_INODE] == 0 && result.count[FSCK_INTENT_PENDING] == 0);
    image_destroy(&image);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    { "tree", case_tree },     { "record", case_record },   { "slots", case_slots },
    { "take", case_take },     { "salvage", case_salvage }, { "anchor", case_anchor },
    { "supers", case_supers }, { "intent", case_intent },
};

int main(int argc, char **argv)
{
    bool any = false;

    alarm(60);
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_open("crash_repair", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    view_create(&damaged, NULL);
    device_create(&device, &damaged);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (argc > 1 && strcmp(argv[1], cases[i].name) != 0)
            continue;
        any = true;
        cases[i].run();
        printf("%s\n", cases[i].name);
    }
    if (!any)
        errx(2, "no such case");
    return 0;
}
