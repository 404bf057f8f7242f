/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damage to what the pool has once: superblocks, journal, intents, the orphan table, the bitmap.
 */
#include "poke.h"

#include "base/checksum.h"

#include <string.h>

static struct dxf_retire *slot(unsigned i)
{
    return (void *)((uint8_t *)image_block(DXF_JOURNAL_BLOCK) + i * DXF_RETIRE_STRIDE);
}

static struct dxf_retire *newer_slot(void)
{
    return slot(le64_get(slot(1)->generation) > le64_get(slot(0)->generation));
}

static void super_primary(void)
{
    poke_flip(&IMAGE_SUPER->uuid[3]);
}

static void super_spare(void)
{
    poke_flip((uint8_t *)image_block(DXF_SPARE_BLOCK) + 50);
}

static void super_marked(void)
{
    IMAGE_SUPER->flags = le32_make(DXF_SUPER_NEEDS_FSCK);
    IMAGE_SUPER->error_count = le32_make(3);
    seal_super(IMAGE_SUPER);
    memcpy(image_block(DXF_SPARE_BLOCK), IMAGE_SUPER, sizeof(*IMAGE_SUPER));
}

static void super_differ(void)
{
    struct dxf_super *spare = image_block(DXF_SPARE_BLOCK);

    spare->error_count = le32_make(1);
    seal_super(spare);
}

static void retire_one(void)
{
    poke_flip(&slot(0)->retired);
}

static void retire_newer(void)
{
    poke_flip(&newer_slot()->tail[0]);
}

static void retire_both(void)
{
    poke_flip(&slot(0)->retired);
    poke_flip(&slot(1)->generation);
}

/* An entry that would write to the superblock. */
static void entry_make(uint64_t line, uint64_t sequence)
{
    uint8_t *place =
        (uint8_t *)image_block(le64_get(IMAGE_SUPER->log_start)) + line * DXF_LINE_SIZE;
    struct {
        struct dxf_log_entry header;
        le64 head, content;
    } entry = {
        .header.magic = le32_make(DXF_LOG_MAGIC),
        .header.bytes = le32_make(sizeof(entry)),
        .header.sequence = le64_make(sequence),
        .head = le64_make(8ull << DXF_RECORD_LENGTH_SHIFT),
    };
    entry.header.csum =
        le64_make(checksum64(&entry, sizeof(entry), le64_get(IMAGE_SUPER->log_seed)));
    memcpy(place, &entry, sizeof(entry));
}

static void journal_entry(void)
{
    entry_make(le32_get(newer_slot()->tail[0]), le64_get(newer_slot()->retired) + 1);
}

/* That is not live, but would be behind a new one. */
static void journal_ahead(void)
{
    uint64_t lines = (uint64_t)le32_get(IMAGE_SUPER->log_blocks) * DXF_BLOCK_SIZE / DXF_LINE_SIZE;

    entry_make((le32_get(newer_slot()->tail[0]) + lines / 2) % lines,
               le64_get(newer_slot()->retired) + 100);
}

static void badblocks(void)
{
    poke_flip((uint8_t *)image_block(DXF_BADBLOCK_BLOCK) + 9);
}

static void intent_line(void)
{
    poke_flip((uint8_t *)image_block(DXF_INTENT_BLOCK) + 130);
}

/* A punch of a range in which there is nothing. */
static void put_intent(uint64_t ino, uint32_t generation)
{
    struct dxf_intent *intent = (struct dxf_intent *)image_block(DXF_INTENT_BLOCK) + 4;

    *intent = (struct dxf_intent){
        .kind = le16_make(DXF_INTENT_PUNCH),
        .inode = le64_make(ino),
        .length = le64_make(2 * DXF_BLOCK_SIZE),
        .cursor = le64_make(2 * DXF_BLOCK_SIZE),
        .generation = le32_make(generation),
    };
    seal_intent(intent, 4);
}

static void intent_no_inode(void)
{
    put_intent(1u << 30, 1);
}

static void intent_other_generation(void)
{
    put_intent(poke_ino("empty"), le32_get(poke_inode("empty")->generation) + 1);
}

static void intent_pending(void)
{
    put_intent(poke_ino("empty"), le32_get(poke_inode("empty")->generation));
}

/* Of a kind that is reserved: no mount can finish it. */
static void intent_kind(void)
{
    struct dxf_intent *line = (struct dxf_intent *)image_block(DXF_INTENT_BLOCK) + 4;

    *line = (struct dxf_intent){
        .kind = le16_make(DXF_INTENT_GROW),
        .length = le64_make(DXF_POOL_SIZE_MAX / DXF_BLOCK_SIZE),
    };
    seal_intent(line, 4);
}

/* A shift by a block from this block on, which has come to the cursor; all in blocks. */
static void put_shift(const char *name, enum dxf_intent_kind kind, uint64_t offset, uint64_t cursor)
{
    struct dxf_intent *line = (struct dxf_intent *)image_block(DXF_INTENT_BLOCK) + 5;

    *line = (struct dxf_intent){
        .kind = le16_make((uint16_t)kind),
        .inode = le64_make(poke_ino(name)),
        .offset = le64_make(offset * DXF_BLOCK_SIZE),
        .length = le64_make(DXF_BLOCK_SIZE),
        .cursor = le64_make(cursor * DXF_BLOCK_SIZE),
        .generation = poke_inode(name)->generation,
    };
    seal_intent(line, 5);
}

static void intent_collapse_pending(void)
{
    put_shift("empty", DXF_INTENT_COLLAPSE, 0, 7);
}

static void intent_insert_pending(void)
{
    put_shift("empty", DXF_INTENT_INSERT, 0, 7);
}

static void intent_collapse_cursor(void)
{
    put_shift("spread", DXF_INTENT_COLLAPSE, 0, 0);
}

static void intent_insert_cursor(void)
{
    put_shift("spread", DXF_INTENT_INSERT, 1, 1);
}

/* Data, and every second block has some, lie where the next extent would go. */
static void intent_collapse_unfit(void)
{
    put_shift("spread", DXF_INTENT_COLLAPSE, 1, 301);
}

static void intent_insert_unfit(void)
{
    put_shift("spread", DXF_INTENT_INSERT, 1, 300);
}

static void orphan_csum(void)
{
    poke_flip(&poke_orphan_line()->inode[2]);
}

static void orphan_table(void)
{
    image_record(DXF_INO_ORPHANS)->size = le64_make(64 * DXF_BLOCK_SIZE);
    seal_inode(image_record(DXF_INO_ORPHANS), DXF_INO_ORPHANS);
}

static void orphan_inode(void)
{
    memset(image_record(DXF_INO_ORPHANS), 0, sizeof(struct dxf_inode));
}

static void orphan_place(void)
{
    poke_orphan_line()->inode[6] = le64_make(poke_ino("small"));
    seal_orphan_line(poke_orphan_line(), 0);
}

static void bitmap_csum(void)
{
    poke_flip(&image_line(2000)->bits[1]);
}

static void bitmap_leak(void)
{
    poke_set_bit(image_blocks - 5, true);
}

static void bitmap_missing(void)
{
    poke_set_bit(le64_get(poke_extent("small")->word1) & DXF_EXTENT_PHYSICAL_MASK, false);
}

static void bitmap_fixed(void)
{
    poke_set_bit(DXF_ANCHOR_BLOCK, false);
}

static void bitmap_past_end(void)
{
    image_line(image_blocks - 1)->bits[6] = le64_make(1ull << 63);
    seal_bitmap_line(image_line(image_blocks - 1), (image_blocks - 1) / DXF_LINE_BITS);
}

const struct poke_case poke_pool_cases[] = {
    { "101-superblock", super_primary, "p", "101", "-" },
    { "102-spare", super_spare, "p", "102", "-" },
    { "103-spare-differs", super_differ, "n", "103", "-" },
    { "104-marked", super_marked, "p", "104", "-" },
    { "105-retire-slot", retire_one, "p", "105", "-" },
    { "105-retire-slot-newer", retire_newer, "p", "105", "-" },
    { "106-retire-slots", retire_both, "-", "106", "-" },
    { "108-journal-entry", journal_entry, "-", "108", "-" },
    { "109-journal-ahead", journal_ahead, "p", "109", "-" },
    { "110-bad-blocks", badblocks, "-", "110", "-" },
    { "111-intent", intent_line, "-", "111", "-" },
    { "111-intent-kind", intent_kind, "-", "111", "-" },
    { "111-collapse-cursor", intent_collapse_cursor, "-", "111", "-" },
    { "111-insert-cursor", intent_insert_cursor, "-", "111", "-" },
    { "111-collapse-unfit", intent_collapse_unfit, "-", "111", "-" },
    { "111-insert-unfit", intent_insert_unfit, "-", "111", "-" },
    { "112-intent-no-inode", intent_no_inode, "n", "112", "-" },
    { "112-intent-generation", intent_other_generation, "n", "112", "-" },
    { "113-intent-pending", intent_pending, "n", "113", "-" },
    { "113-collapse-pending", intent_collapse_pending, "n", "113", "-" },
    { "113-insert-pending", intent_insert_pending, "n", "113", "-" },
    { "601-orphan-line", orphan_csum, "-", "601", "-" },
    { "602-orphan-table", orphan_table, "-", "602", "-" },
    { "602-orphan-inode", orphan_inode, "-", "602", "-" },
    { "603-orphan-place", orphan_place, "p", "603", "-" },
    { "701-bitmap-line", bitmap_csum, "p", "701", "-" },
    { "702-leak", bitmap_leak, "p", "702", "-" },
    { "702-past-end", bitmap_past_end, "p", "702", "-" },
    { "703-missing", bitmap_missing, "p", "703", "-" },
    { "703-fixed-block", bitmap_fixed, "p", "703", "-" },
    { 0 },
};
