/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The validator, first half: the tables at fixed places, and inodes. Trees, directories and chains
 * are in validate_tree.c.
 *
 * It is fed with whatever bytes a file has. Every function looks at its object only, whose size the
 * type gives, and computes nothing from a number of the medium before it knows that number's range.
 */
#include "media/validate.h"
#include "media/validate_private.h"

#include "base/checksum.h"
#include "base/endian.h"

#include <assert.h>
#include <string.h>
#include <sys/stat.h>

bool validate_is_zero(const void *data, size_t length)
{
    const uint8_t *bytes = data;

    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* ---- superblock --------------------------------------------------------------------------- */

static uint32_t super_csum(const struct dxf_super *super)
{
    return checksum32_skip(super, sizeof(*super), offsetof(struct dxf_super, csum), 0);
}

static uint64_t super_bitmap_blocks(uint64_t pool_blocks)
{
    return (pool_blocks + DXF_BITMAP_BLOCK_BITS - 1) / DXF_BITMAP_BLOCK_BITS;
}

static const char *super_check_areas(const struct dxf_super *super, uint64_t blocks)
{
    uint64_t log_start = le64_get(super->log_start);
    uint64_t log_count = le32_get(super->log_count);
    uint64_t log_blocks = le32_get(super->log_blocks);
    uint64_t bitmap_start = le64_get(super->bitmap_start);
    uint64_t bitmap_blocks = le64_get(super->bitmap_blocks);
    uint64_t log_total = log_count * log_blocks;

    if (log_count < 1 || log_count > DXF_LOG_COUNT_MAX)
        return "number of logs is out of range";
    /* A retire slot counts a log's lines in 32 bits. */
    if (log_blocks < DXF_LOG_BLOCKS_MIN ||
        log_blocks > UINT32_MAX / (DXF_BLOCK_SIZE / DXF_LINE_SIZE))
        return "log size is out of range";
    if (!validate_blocks_ok(log_start, log_total, blocks))
        return "logs are outside the pool or on a fixed place";
    if (bitmap_blocks != super_bitmap_blocks(blocks))
        return "bitmap size does not fit the pool";
    if (!validate_blocks_ok(bitmap_start, bitmap_blocks, blocks))
        return "bitmap is outside the pool or on a fixed place";
    if (log_start < bitmap_start + bitmap_blocks && bitmap_start < log_start + log_total)
        return "logs and bitmap overlap";
    return NULL;
}

const char *validate_super(const struct dxf_super *super)
{
    uint64_t blocks = le64_get(super->pool_blocks);
    size_t label = strnlen(super->label, sizeof(super->label));
    uint64_t unknown = (le64_get(super->compat) & ~DXF_COMPAT_SUPPORTED) |
                       (le64_get(super->ro_compat) & ~DXF_RO_COMPAT_SUPPORTED) |
                       (le64_get(super->incompat) & ~DXF_INCOMPAT_SUPPORTED);
    const char *wrong;

    if (memcmp(super->magic, DXF_MAGIC, sizeof(super->magic)) != 0)
        return VALIDATE_BAD_MAGIC;
    if (le32_get(super->csum) != super_csum(super))
        return VALIDATE_BAD_CSUM;
    if (le32_get(super->version) != DXF_VERSION)
        return "version is not known";
    if (label == sizeof(super->label) ||
        !validate_is_zero(super->label + label, sizeof(super->label) - label))
        return "label is not terminated";
    if (blocks < DXF_POOL_SIZE_MIN / DXF_BLOCK_SIZE || blocks > DXF_POOL_SIZE_MAX / DXF_BLOCK_SIZE)
        return "pool size is out of range";
    wrong = super_check_areas(super, blocks);
    if (wrong != NULL)
        return wrong;
    if (le64_get(super->reserve_blocks) >= blocks)
        return "reserve is larger than the pool";
    if ((le32_get(super->flags) & ~DXF_SUPER_NEEDS_FSCK) != 0)
        return "flags are not known";
    /* A feature that we do not know may have given them a meaning. */
    if (unknown == 0 && !validate_is_zero(super->reserved, sizeof(super->reserved)))
        return VALIDATE_BAD_RESERVED;
    return NULL;
}

void seal_super(struct dxf_super *super)
{
    super->csum = le32_make(super_csum(super));
}

/* ---- journal ------------------------------------------------------------------------------ */

static uint32_t retire_csum(const struct dxf_retire *slot, uint32_t number)
{
    return checksum32_skip(slot, sizeof(*slot), offsetof(struct dxf_retire, csum), number);
}

const char *validate_retire(const struct dxf_retire *slot, uint32_t number,
                            const struct dxf_super *super)
{
    uint32_t log_count = le32_get(super->log_count);
    uint64_t log_lines = (uint64_t)le32_get(super->log_blocks) * (DXF_BLOCK_SIZE / DXF_LINE_SIZE);

    if (le32_get(slot->csum) != retire_csum(slot, number))
        return VALIDATE_BAD_CSUM;
    if (le32_get(slot->reserved) != 0 || !validate_is_zero(slot->pad, sizeof(slot->pad)))
        return VALIDATE_BAD_RESERVED;
    for (uint32_t i = 0; i < DXF_LOG_COUNT_MAX; i++) {
        uint32_t tail = le32_get(slot->tail[i]);

        if (i < log_count ? tail >= log_lines : tail != 0)
            return "tail is outside its log";
    }
    return NULL;
}

void seal_retire(struct dxf_retire *slot, uint32_t number)
{
    slot->csum = le32_make(retire_csum(slot, number));
}

/* ---- bitmap, orphans, intents, bad blocks --------------------------------------------------- */

static uint32_t line_csum(const void *line, uint64_t number)
{
    return checksum32_skip(line, DXF_LINE_SIZE, 0, number);
}

static_assert(offsetof(struct dxf_bitmap_line, csum) == 0, "line_csum");
static_assert(offsetof(struct dxf_orphan_line, csum) == 0, "line_csum");
static_assert(offsetof(struct dxf_intent, csum) == 0, "line_csum");

static unsigned bitmap_line_used(const struct dxf_bitmap_line *line)
{
    unsigned used = 0;

    for (unsigned i = 0; i < DXF_LINE_BITS / 64; i++)
        used += (unsigned)__builtin_popcountll(line->bits[i].raw);
    return used;
}

const char *validate_bitmap_line(const struct dxf_bitmap_line *line, uint64_t number)
{
    if (validate_is_zero(line, sizeof(*line)))
        return NULL;
    if (le32_get(line->csum) != line_csum(line, number))
        return VALIDATE_BAD_CSUM;
    if (le16_get(line->reserved) != 0)
        return VALIDATE_BAD_RESERVED;
    if (le16_get(line->used) != bitmap_line_used(line))
        return "count of used bits is wrong";
    return NULL;
}

void seal_bitmap_line(struct dxf_bitmap_line *line, uint64_t number)
{
    line->used = le16_make((uint16_t)bitmap_line_used(line));
    line->csum = le32_make(line_csum(line, number));
}

const char *validate_orphan_line(const struct dxf_orphan_line *line, uint64_t number)
{
    if (validate_is_zero(line, sizeof(*line)))
        return NULL;
    if (le32_get(line->csum) != line_csum(line, number))
        return VALIDATE_BAD_CSUM;
    if (le32_get(line->reserved) != 0)
        return VALIDATE_BAD_RESERVED;
    for (unsigned i = 0; i < DXF_ORPHANS_PER_LINE; i++) {
        uint64_t ino = le64_get(line->inode[i]);

        if (ino != 0 && ino < DXF_INO_FIRST)
            return "names a reserved inode";
    }
    return NULL;
}

void seal_orphan_line(struct dxf_orphan_line *line, uint64_t number)
{
    line->csum = le32_make(line_csum(line, number));
}

/* Of an intent that moves extents, whose range is that of a file. */
static const char *validate_moving(uint16_t kind, uint64_t offset, uint64_t length, uint64_t cursor)
{
    const uint64_t end = DXF_FILE_SIZE_MAX + 1;

    if ((offset | length | cursor) % DXF_BLOCK_SIZE != 0 || length == 0)
        return "moves no whole blocks";
    if (kind == DXF_INTENT_COLLAPSE ? cursor < offset + length || cursor > end
                                    : cursor <= offset || cursor > end - length)
        return "cursor is out of range";
    return NULL;
}

const char *validate_intent(const struct dxf_intent *intent, uint64_t number)
{
    uint16_t kind = le16_get(intent->kind);
    uint64_t offset = le64_get(intent->offset), length = le64_get(intent->length);
    uint64_t cursor = le64_get(intent->cursor);

    if (validate_is_zero(intent, sizeof(*intent)))
        return NULL;
    if (le32_get(intent->csum) != line_csum(intent, number))
        return VALIDATE_BAD_CSUM;
    if (le16_get(intent->reserved) != 0 || le32_get(intent->reserved2) != 0 ||
        !validate_is_zero(intent->reserved3, sizeof(intent->reserved3)))
        return VALIDATE_BAD_RESERVED;
    switch (kind) {
    case DXF_INTENT_NONE:
        if (!validate_is_zero(&intent->inode, sizeof(*intent) - offsetof(struct dxf_intent, inode)))
            return "is empty but not zero";
        return NULL;
    case DXF_INTENT_COLLAPSE:
    case DXF_INTENT_INSERT:
    case DXF_INTENT_PUNCH:
    case DXF_INTENT_ZERO:
        if (le64_get(intent->inode) < DXF_INO_FIRST)
            return "names a reserved inode";
        if (offset > DXF_FILE_SIZE_MAX || length > DXF_FILE_SIZE_MAX + 1 - offset)
            return "range is past the largest file";
        if (kind == DXF_INTENT_COLLAPSE || kind == DXF_INTENT_INSERT)
            return validate_moving(kind, offset, length, cursor);
        return NULL;
    case DXF_INTENT_GROW:
        if (le64_get(intent->inode) != 0 || offset != 0)
            return "names an inode for the whole pool";
        if (length < DXF_POOL_SIZE_MIN / DXF_BLOCK_SIZE ||
            length > DXF_POOL_SIZE_MAX / DXF_BLOCK_SIZE)
            return "pool size is out of range";
        return NULL;
    default:
        return "kind is not known";
    }
}

void seal_intent(struct dxf_intent *intent, uint64_t number)
{
    intent->csum = le32_make(line_csum(intent, number));
}

static uint32_t badblocks_csum(const struct dxf_badblocks *list)
{
    return checksum32_skip(list, sizeof(*list), offsetof(struct dxf_badblocks, csum), 0);
}

const char *validate_badblocks(const struct dxf_badblocks *list, uint64_t blocks)
{
    uint32_t count = le32_get(list->count);
    uint64_t before = 0;

    if (validate_is_zero(list, sizeof(*list)))
        return NULL;
    if (le32_get(list->csum) != badblocks_csum(list))
        return VALIDATE_BAD_CSUM;
    if (count > sizeof(list->block) / sizeof(list->block[0]))
        return "count is out of range";
    for (uint32_t i = 0; i < count; i++) {
        uint64_t block = le64_get(list->block[i]);

        if (block < 1 || block >= blocks)
            return "block is outside the pool";
        if (block <= before)
            return "blocks are not in ascending order";
        before = block;
    }
    return NULL;
}

void seal_badblocks(struct dxf_badblocks *list)
{
    list->csum = le32_make(badblocks_csum(list));
}

/* ---- inodes -------------------------------------------------------------------------------- */

#define TIMES_START offsetof(struct dxf_inode, atime)
#define TIMES_END (offsetof(struct dxf_inode, btime) + sizeof(le64))

/* A copy without the times: they may change under our eyes, and are not in the checksum. */
static void inode_copy_timeless(struct dxf_inode *copy, const struct dxf_inode *inode)
{
    memcpy(copy, inode, TIMES_START);
    memset((uint8_t *)copy + TIMES_START, 0, TIMES_END - TIMES_START);
    memcpy((uint8_t *)copy + TIMES_END, (const uint8_t *)inode + TIMES_END,
           sizeof(*inode) - TIMES_END);
}

static uint32_t inode_csum(const struct dxf_inode *timeless, uint64_t ino)
{
    return checksum32_skip(timeless, sizeof(*timeless), offsetof(struct dxf_inode, csum), ino);
}

static bool inode_is_reserved(uint64_t ino)
{
    return ino < DXF_INO_FIRST && ino != DXF_INO_ROOT;
}

/* count, and what the layout says of the union at the end. */
static const char *inode_check_layout(const struct dxf_inode *inode, uint64_t blocks)
{
    uint64_t size = le64_get(inode->size), used = le64_get(inode->blocks), sum = 0;
    bool has_xattr = le64_get(inode->xattr) != 0;
    const char *wrong;

    switch (inode->layout) {
    case DXF_LAYOUT_NONE:
        if (inode->count != 0)
            return "count does not fit the layout";
        break;
    case DXF_LAYOUT_INLINE:
        if (inode->count < 1 || inode->count > DXF_INLINE_EXTENTS)
            return "number of inline extents is out of range";
        wrong = validate_extents(inode->extent, inode->count, blocks, &sum);
        if (wrong != NULL)
            return wrong;
        break;
    case DXF_LAYOUT_TREE:
        if (inode->count < 1 || inode->count > DXF_TREE_LEVELS_MAX)
            return "number of tree levels is out of range";
        if (!validate_block_ok(le64_get(inode->tree.root), blocks))
            return "root of the tree is outside the pool or on a fixed place";
        sum = inode->count;
        break;
    case DXF_LAYOUT_SYMLINK:
        if (inode->count != 0)
            return "count does not fit the layout";
        if (size < 1 || size > DXF_INLINE_BYTES)
            return "length of the target is out of range";
        if (memchr(inode->target, '\0', size) != NULL)
            return "target has a NUL in it";
        break;
    case DXF_LAYOUT_CHAIN:
        if (inode->count != 0)
            return "count does not fit the layout";
        if (size < 1 || size > DXF_SYMLINK_MAX)
            return "length of the target is out of range";
        if (!validate_block_ok(le64_get(inode->tree.root), blocks))
            return "chain of the target is outside the pool or on a fixed place";
        sum = 1;
        break;
    default:
        return "layout is not known";
    }

    /* Trees and chains have more blocks than can be seen from here. */
    if (used >= blocks || used < sum + has_xattr)
        return "number of blocks is out of range";
    if (!has_xattr && used != sum && inode->layout != DXF_LAYOUT_TREE &&
        inode->layout != DXF_LAYOUT_CHAIN)
        return "number of blocks does not fit the extents";
    return NULL;
}

static const char *inode_check_type(const struct dxf_inode *inode, uint64_t ino)
{
    uint32_t type = le16_get(inode->mode) & S_IFMT;
    uint64_t size = le64_get(inode->size), entries = le64_get(inode->entries);
    bool fits;

    switch (type) {
    case S_IFREG:
        fits = inode->layout == DXF_LAYOUT_NONE || inode->layout == DXF_LAYOUT_INLINE ||
               inode->layout == DXF_LAYOUT_TREE;
        if (size > DXF_FILE_SIZE_MAX)
            return "size is past the largest file";
        break;
    case S_IFDIR:
        fits = inode->layout == DXF_LAYOUT_NONE || inode->layout == DXF_LAYOUT_TREE;
        if (size % DXF_BLOCK_SIZE != 0 || size > DXF_FILE_SIZE_MAX ||
            (size != 0) != (inode->layout == DXF_LAYOUT_TREE))
            return "size of the directory does not fit its leaves";
        if (entries > size / (sizeof(struct dxf_dirent) + 8))
            return "more entries than the directory's leaves can hold";
        break;
    case S_IFLNK:
        fits = inode->layout == DXF_LAYOUT_SYMLINK || inode->layout == DXF_LAYOUT_CHAIN;
        break;
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        fits = inode->layout == DXF_LAYOUT_NONE;
        if (size != 0)
            return "size of a special file is not 0";
        break;
    default:
        return "type is not known";
    }
    if (!fits)
        return "layout does not fit the type";

    if (type != S_IFDIR && (le64_get(inode->parent) != 0 || entries != 0))
        return "has a parent or entries but is no directory";
    if (type == S_IFDIR && le64_get(inode->parent) == 0 && le32_get(inode->links) != 0)
        return "directory has no parent";
    if (type != S_IFCHR && type != S_IFBLK &&
        (le32_get(inode->rdev_major) != 0 || le32_get(inode->rdev_minor) != 0))
        return "has a device number but is no device";
    if (ino == DXF_INO_ROOT ? type != S_IFDIR : inode_is_reserved(ino) && type != S_IFREG)
        return "type does not fit the inode number";
    return NULL;
}

const char *validate_inode(const struct dxf_inode *inode, uint64_t ino, uint64_t blocks)
{
    struct dxf_inode copy;
    const char *wrong;
    uint64_t xattr;

    inode_copy_timeless(&copy, inode);
    if (validate_is_zero(&copy, sizeof(copy)))
        return NULL;
    if (le32_get(copy.csum) != inode_csum(&copy, ino))
        return VALIDATE_BAD_CSUM;
    if (le64_get(copy.reserved0) != 0 || le64_get(copy.reserved1) != 0)
        return VALIDATE_BAD_RESERVED;
    if (le16_get(copy.mode) == 0) {
        if (!validate_is_zero(&copy.mode, sizeof(copy) - offsetof(struct dxf_inode, mode)))
            return "is free but not empty";
        return NULL;
    }

    wrong = inode_check_type(&copy, ino);
    if (wrong == NULL)
        wrong = inode_check_layout(&copy, blocks);
    if (wrong != NULL)
        return wrong;

    xattr = le64_get(copy.xattr);
    if (xattr != 0 && !validate_block_ok(xattr, blocks))
        return "attribute chain is outside the pool or on a fixed place";
    if ((le32_get(copy.flags) & ~(DXF_FLAGS_USER | DXF_FLAG_CAPABILITY)) != 0)
        return "flags are not known";
    if (!inode_is_reserved(ino)) {
        if (le32_get(copy.generation) == 0)
            return "generation is 0";
        if (le32_get(copy.links) == 0 && le32_get(copy.orphan) == 0)
            return "has no link and is not in the orphan table";
    }
    return NULL;
}

void seal_inode(struct dxf_inode *inode, uint64_t ino)
{
    struct dxf_inode copy;

    inode_copy_timeless(&copy, inode);
    inode->csum = le32_make(inode_csum(&copy, ino));
}

const char *validate_anchor(const struct dxf_anchor *anchor, uint64_t blocks)
{
    const char *wrong = validate_inode(&anchor->table, DXF_INO_TABLE, blocks);

    if (wrong != NULL)
        return wrong;
    if (le16_get(anchor->table.mode) == 0)
        return "there is no inode table";
    if (!validate_is_zero(anchor->reserved, sizeof(anchor->reserved)))
        return VALIDATE_BAD_RESERVED;
    return NULL;
}
