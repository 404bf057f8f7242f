/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * media/validate: a valid object of each kind passes, every single changed byte of it is noticed, and
 * every rule that a checksum does not enforce is broken once with the checksum made right again.
 *
 * Longer than 800 lines because every structure of the format has its place here, beside the others,
 * and the noise at the end is fed to all of them.
 */
#include "base/endian.h"
#include "media/validate.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCKS 4096ull
#define OWNER 77ull
#define SELF 1000ull
#define INO 42ull

typedef const char *(*check_fn)(const void *object);

/* A byte that may change unnoticed. */
typedef bool (*exempt_fn)(size_t at);

static bool no_exemption(size_t at)
{
    (void)at;
    return false;
}

static void assert_flips_noticed(void *object, size_t size, check_fn check, exempt_fn exempt)
{
    uint8_t *bytes = object;

    ck_assert_msg(check(object) == NULL, "valid object refused: %s", check(object));
    for (size_t at = 0; at < size; at++) {
        for (unsigned change = 1; change < 256; change = change * 2 + 1) {
            bytes[at] ^= (uint8_t)change;
            ck_assert_msg((check(object) == NULL) == exempt(at), "byte %zu ^ %#x: %s", at, change,
                          check(object) == NULL ? "not noticed" : check(object));
            bytes[at] ^= (uint8_t)change;
        }
    }
}

/* For a broken rule: the sentence has WORD in it. */
static void assert_says(const char *wrong, const char *word)
{
    ck_assert_msg(wrong != NULL, "not noticed: %s", word);
    ck_assert_msg(strstr(wrong, word) != NULL, "says \"%s\", not \"%s\"", wrong, word);
}

/* Bytes of noise must be an error, or at least no access outside (which a sanitizer sees). */
static uint64_t noise_state = 88172645463325252ull;

static uint64_t noise(void)
{
    noise_state ^= noise_state << 13;
    noise_state ^= noise_state >> 7;
    noise_state ^= noise_state << 17;
    return noise_state;
}

static void noise_fill(void *to, size_t size)
{
    uint8_t *bytes = to;

    for (size_t i = 0; i < size; i++)
        bytes[i] = noise() % 4 == 0 ? 0 : (uint8_t)noise();
}

/* ---- superblock --------------------------------------------------------------------------- */

static struct dxf_super make_super(void)
{
    struct dxf_super super = {
        .magic = DXF_MAGIC,
        .version = le32_make(DXF_VERSION),
        .uuid = { 1, 2, 3 },
        .label = "test",
        .pool_blocks = le64_make(BLOCKS),
        .log_start = le64_make(512),
        .log_count = le32_make(4),
        .log_blocks = le32_make(64),
        .log_seed = le64_make(5),
        .bitmap_start = le64_make(512 + 4 * 64),
        .bitmap_blocks = le64_make(1),
        .hash_seed = le64_make(9),
        .reserve_blocks = le64_make(100),
    };

    seal_super(&super);
    return super;
}

static const char *check_super(const void *object)
{
    return validate_super(object);
}

START_TEST(super_flips)
{
    struct dxf_super super = make_super();

    assert_flips_noticed(&super, sizeof(super), check_super, no_exemption);
}
END_TEST

#define SUPER_RULE(change, word)             \
 do {                                        \
  struct dxf_super super = make_super();     \
  change;                                    \
  seal_super(&super);                        \
  assert_says(validate_super(&super), word); \
 } while (0)

START_TEST(super_rules)
{
    SUPER_RULE(super.magic[0] = 'd', "magic");
    SUPER_RULE(super.version = le32_make(2), "version");
    SUPER_RULE(memset(super.label, 'x', sizeof(super.label)), "label");
    SUPER_RULE(super.label[20] = 'x', "label");
    SUPER_RULE(super.pool_blocks = le64_make(100), "pool size");
    SUPER_RULE(super.pool_blocks = le64_make(UINT64_MAX), "pool size");
    SUPER_RULE(super.pool_blocks = le64_make(DXF_BITMAP_BLOCK_BITS + 1), "bitmap size");
    SUPER_RULE(super.log_count = le32_make(0), "number of logs");
    SUPER_RULE(super.log_count = le32_make(17), "number of logs");
    SUPER_RULE(super.log_blocks = le32_make(15), "log size");
    SUPER_RULE(super.log_blocks = le32_make(UINT32_MAX), "log size");
    SUPER_RULE(super.log_start = le64_make(4), "logs");
    SUPER_RULE(super.log_start = le64_make(500), "logs");
    SUPER_RULE(super.log_start = le64_make(UINT64_MAX - 3), "logs");
    SUPER_RULE(super.bitmap_start = le64_make(511), "bitmap");
    SUPER_RULE(super.bitmap_start = le64_make(BLOCKS), "bitmap");
    SUPER_RULE(super.bitmap_start = le64_make(600), "overlap");
    SUPER_RULE(super.reserve_blocks = le64_make(BLOCKS), "reserve");
    SUPER_RULE(super.flags = le32_make(2), "flags");
    SUPER_RULE(super.reserved[3895] = 1, "reserved");
}
END_TEST

/* A feature of later may use reserved bytes: whether we may go on is decided at open. */
START_TEST(super_unknown_feature_is_no_damage)
{
    struct dxf_super super = make_super();

    super.compat = le64_make(1);
    super.reserved[0] = 1;
    seal_super(&super);
    ck_assert_ptr_null(validate_super(&super));
}
END_TEST

/* ---- journal ------------------------------------------------------------------------------ */

static const char *check_retire(const void *object)
{
    struct dxf_super super = make_super();

    return validate_retire(object, 1, &super);
}

START_TEST(retire_slot)
{
    struct dxf_super super = make_super();
    struct dxf_retire slot = { .generation = le64_make(3), .retired = le64_make(9) };

    slot.tail[3] = le32_make(64 * 64 - 1);
    seal_retire(&slot, 1);
    assert_flips_noticed(&slot, sizeof(slot), check_retire, no_exemption);
    assert_says(validate_retire(&slot, 0, &super), "checksum");

    slot.tail[3] = le32_make(64 * 64);
    seal_retire(&slot, 1);
    assert_says(validate_retire(&slot, 1, &super), "tail");
    slot.tail[3] = le32_make(0);
    slot.tail[4] = le32_make(1);
    seal_retire(&slot, 1);
    assert_says(validate_retire(&slot, 1, &super), "tail");
    slot.tail[4] = le32_make(0);
    slot.pad[39] = 1;
    seal_retire(&slot, 1);
    assert_says(validate_retire(&slot, 1, &super), "reserved");

    memset(&slot, 0, sizeof(slot));
    assert_says(validate_retire(&slot, 1, &super), "checksum");
}
END_TEST

/* ---- lines --------------------------------------------------------------------------------- */

static const char *check_bitmap_line(const void *object)
{
    return validate_bitmap_line(object, 5);
}

START_TEST(bitmap_line)
{
    struct dxf_bitmap_line line = { 0 };

    ck_assert_ptr_null(validate_bitmap_line(&line, 5));
    line.bits[0] = le64_make(0xff00ff);
    line.bits[6] = le64_make(1ull << 63);
    seal_bitmap_line(&line, 5);
    ck_assert_uint_eq(le16_get(line.used), 17);
    assert_flips_noticed(&line, sizeof(line), check_bitmap_line, no_exemption);
    assert_says(validate_bitmap_line(&line, 6), "checksum");

    line.reserved = le16_make(1);
    seal_bitmap_line(&line, 5);
    assert_says(validate_bitmap_line(&line, 5), "reserved");
}
END_TEST

static const char *check_orphan_line(const void *object)
{
    return validate_orphan_line(object, 5);
}

START_TEST(orphan_line)
{
    struct dxf_orphan_line line = { 0 };

    ck_assert_ptr_null(validate_orphan_line(&line, 5));
    line.inode[2] = le64_make(100);
    seal_orphan_line(&line, 5);
    assert_flips_noticed(&line, sizeof(line), check_orphan_line, no_exemption);
    assert_says(validate_orphan_line(&line, 4), "checksum");
    line.inode[3] = le64_make(1);
    seal_orphan_line(&line, 5);
    assert_says(validate_orphan_line(&line, 5), "reserved inode");
}
END_TEST

static const char *check_intent(const void *object)
{
    return validate_intent(object, 5);
}

#define INTENT_RULE(change, word)                                                            \
 do {                                                                                        \
  struct dxf_intent intent = { .kind = le16_make(DXF_INTENT_PUNCH), .inode = le64_make(9) }; \
  change;                                                                                    \
  seal_intent(&intent, 5);                                                                   \
  assert_says(validate_intent(&intent, 5), word);                                            \
 } while (0)

#define SHIFT_RULE(which, from, by, to, word)                         \
 do {                                                                 \
  struct dxf_intent intent = { .kind = le16_make(DXF_INTENT_##which), \
                               .inode = le64_make(9),                 \
                               .offset = le64_make(from),             \
                               .length = le64_make(by),               \
                               .cursor = le64_make(to) };             \
  const char *wanted = word;                                          \
  seal_intent(&intent, 5);                                            \
  if (wanted)                                                         \
   assert_says(validate_intent(&intent, 5), wanted);                  \
  else                                                                \
   ck_assert_ptr_null(validate_intent(&intent, 5));                   \
 } while (0)

START_TEST(intents)
{
    struct dxf_intent valid = {
        .kind = le16_make(DXF_INTENT_PUNCH),
        .inode = le64_make(9),
        .offset = le64_make(4096),
        .length = le64_make(DXF_FILE_SIZE_MAX + 1 - 4096),
    };
    struct dxf_intent empty = { 0 };

    ck_assert_ptr_null(validate_intent(&empty, 5));
    seal_intent(&empty, 5);
    ck_assert_ptr_null(validate_intent(&empty, 5));
    seal_intent(&valid, 5);
    assert_flips_noticed(&valid, sizeof(valid), check_intent, no_exemption);

    INTENT_RULE(intent.kind = le16_make(9), "kind");
    INTENT_RULE(intent.kind = le16_make(DXF_INTENT_NONE), "empty");
    INTENT_RULE(intent.inode = le64_make(2), "reserved inode");
    INTENT_RULE(intent.offset = le64_make(UINT64_MAX), "range");
    INTENT_RULE(intent.length = le64_make(DXF_FILE_SIZE_MAX + 2), "range");
    INTENT_RULE(intent.reserved3[1] = le64_make(1), "reserved");
    INTENT_RULE(intent.kind = le16_make(DXF_INTENT_GROW), "whole pool");

    SHIFT_RULE(COLLAPSE, 8192, 4096, 12288, NULL);
    SHIFT_RULE(COLLAPSE, 8192, 4096, DXF_FILE_SIZE_MAX + 1, NULL);
    SHIFT_RULE(COLLAPSE, 8192, 4096, 8192, "cursor");
    SHIFT_RULE(COLLAPSE, 8192, 4096, DXF_FILE_SIZE_MAX + 4097, "cursor");
    SHIFT_RULE(COLLAPSE, 8192, 0, 12288, "whole blocks");
    SHIFT_RULE(COLLAPSE, 8191, 4096, 12288, "whole blocks");
    SHIFT_RULE(COLLAPSE, 8192, 4095, 12288, "whole blocks");
    SHIFT_RULE(COLLAPSE, 8192, 4096, 12289, "whole blocks");
    SHIFT_RULE(INSERT, 8192, 4096, 12288, NULL);
    SHIFT_RULE(INSERT, 8192, 4096, DXF_FILE_SIZE_MAX - 4095, NULL);
    SHIFT_RULE(INSERT, 8192, 4096, 8192, "cursor");
    SHIFT_RULE(INSERT, 8192, 4096, DXF_FILE_SIZE_MAX + 1, "cursor");
    SHIFT_RULE(INSERT, 8192, 0, 12288, "whole blocks");
    SHIFT_RULE(INSERT, 8192, DXF_FILE_SIZE_MAX + 1, 12288, "range");
}
END_TEST

static const char *check_badblocks(const void *object)
{
    return validate_badblocks(object, BLOCKS);
}

START_TEST(badblocks)
{
    static struct dxf_badblocks list;

    memset(&list, 0, sizeof(list));
    ck_assert_ptr_null(validate_badblocks(&list, BLOCKS));
    list.count = le32_make(2);
    list.block[0] = le64_make(1);
    list.block[1] = le64_make(BLOCKS - 1);
    seal_badblocks(&list);
    assert_flips_noticed(&list, sizeof(list), check_badblocks, no_exemption);
    assert_says(validate_badblocks(&list, BLOCKS - 1), "outside");
    list.block[1] = le64_make(1);
    seal_badblocks(&list);
    assert_says(validate_badblocks(&list, BLOCKS), "ascending");
    list.count = le32_make(512);
    seal_badblocks(&list);
    assert_says(validate_badblocks(&list, BLOCKS), "count");
}
END_TEST

/* ---- inodes -------------------------------------------------------------------------------- */

static struct dxf_extent make_extent(uint64_t logical, uint64_t physical, uint64_t length)
{
    return (struct dxf_extent){
        .word0 = le64_make(logical << DXF_EXTENT_LOGICAL_SHIFT | (length - 1)),
        .word1 = le64_make(physical),
    };
}

static struct dxf_inode make_inode(uint16_t mode, uint8_t layout)
{
    struct dxf_inode inode = {
        .generation = le32_make(7),
        .mode = le16_make(mode),
        .layout = layout,
        .links = le32_make(1),
        .atime = le64_make(11),
        .mtime = le64_make(12),
        .ctime = le64_make(13),
        .btime = le64_make(14),
    };

    switch (layout) {
    case DXF_LAYOUT_INLINE:
        inode.count = 2;
        inode.extent[0] = make_extent(0, 600, 3);
        inode.extent[1] = make_extent(5, 700, 1);
        inode.blocks = le64_make(4);
        inode.size = le64_make(10000);
        break;
    case DXF_LAYOUT_TREE:
        inode.count = 1;
        inode.tree.root = le64_make(800);
        inode.blocks = le64_make(1);
        inode.size = le64_make(4096);
        break;
    case DXF_LAYOUT_SYMLINK:
        memset(inode.target, 't', 128);
        inode.size = le64_make(128);
        break;
    case DXF_LAYOUT_CHAIN:
        inode.tree.root = le64_make(800);
        inode.blocks = le64_make(1);
        inode.size = le64_make(4095);
        break;
    default:
        break;
    }
    if (S_ISDIR(mode))
        inode.parent = le64_make(1);
    seal_inode(&inode, INO);
    return inode;
}

static const char *check_inode(const void *object)
{
    return validate_inode(object, INO, BLOCKS);
}

static bool inode_time(size_t at)
{
    return at >= offsetof(struct dxf_inode, atime) && at < offsetof(struct dxf_inode, parent);
}

START_TEST(inode_flips)
{
    static const struct {
        uint16_t mode;
        uint8_t layout;
    } kinds[] = {
        { S_IFREG | 0644, DXF_LAYOUT_NONE },  { S_IFREG | 06755, DXF_LAYOUT_INLINE },
        { S_IFREG | 0644, DXF_LAYOUT_TREE },  { S_IFDIR | 01777, DXF_LAYOUT_NONE },
        { S_IFDIR | 0755, DXF_LAYOUT_TREE },  { S_IFLNK | 0777, DXF_LAYOUT_SYMLINK },
        { S_IFLNK | 0777, DXF_LAYOUT_CHAIN }, { S_IFCHR | 0600, DXF_LAYOUT_NONE },
        { S_IFBLK | 0600, DXF_LAYOUT_NONE },  { S_IFIFO | 0600, DXF_LAYOUT_NONE },
        { S_IFSOCK | 0600, DXF_LAYOUT_NONE },
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct dxf_inode inode = make_inode(kinds[i].mode, kinds[i].layout);

        assert_flips_noticed(&inode, sizeof(inode), check_inode, inode_time);
        assert_says(validate_inode(&inode, INO + 1, BLOCKS), "checksum");
    }
}
END_TEST

START_TEST(inode_free)
{
    struct dxf_inode inode = { 0 };

    ck_assert_ptr_null(check_inode(&inode));
    inode.mtime = le64_make(1);
    ck_assert_ptr_null(check_inode(&inode));
    inode.generation = le32_make(3);
    assert_says(check_inode(&inode), "checksum");
    seal_inode(&inode, INO);
    ck_assert_ptr_null(check_inode(&inode));
    inode.uid = le32_make(3);
    seal_inode(&inode, INO);
    assert_says(check_inode(&inode), "free");
}
END_TEST

#define INODE_RULE(mode, layout, change, word)       \
 do {                                                \
  struct dxf_inode inode = make_inode(mode, layout); \
  change;                                            \
  seal_inode(&inode, INO);                           \
  assert_says(check_inode(&inode), word);            \
 } while (0)

START_TEST(inode_rules)
{
    const uint16_t file = S_IFREG | 0644, dir = S_IFDIR | 0755, link = S_IFLNK | 0777;
    const uint8_t none = DXF_LAYOUT_NONE, in = DXF_LAYOUT_INLINE, tree = DXF_LAYOUT_TREE;

    INODE_RULE(file, in, inode.generation = le32_make(0), "generation");
    INODE_RULE(file, in, inode.mode = le16_make(0644), "type");
    INODE_RULE(file, in, inode.mode = le16_make(0170644), "type");
    INODE_RULE(file, in, inode.layout = 9, "layout");
    INODE_RULE(file, none, inode.layout = DXF_LAYOUT_DIRECT, "layout");
    INODE_RULE(dir, tree, inode.layout = DXF_LAYOUT_INLINE, "size of the directory");
    INODE_RULE(file, none, inode.layout = DXF_LAYOUT_SYMLINK, "does not fit the type");
    INODE_RULE(S_IFIFO | 0600, none, inode.layout = DXF_LAYOUT_INLINE, "does not fit the type");
    INODE_RULE(file, none, inode.count = 1, "count");
    INODE_RULE(file, none, inode.blocks = le64_make(1), "number of blocks");
    INODE_RULE(file, in, inode.count = 0, "inline extents");
    INODE_RULE(file, in, inode.count = 9, "inline extents");
    INODE_RULE(file, in, inode.blocks = le64_make(5), "number of blocks");
    INODE_RULE(file, in, inode.blocks = le64_make(3), "number of blocks");
    INODE_RULE(file, in, inode.blocks = le64_make(UINT64_MAX), "number of blocks");
    INODE_RULE(file, in, inode.extent[1] = make_extent(2, 700, 1), "overlap");
    INODE_RULE(file, in, inode.extent[1] = make_extent(5, BLOCKS - 1, 2), "outside");
    INODE_RULE(file, in, inode.extent[1] = make_extent(5, 510, 2), "fixed place");
    INODE_RULE(file, in, inode.extent[1] = make_extent(5, 7, 1), "fixed place");
    INODE_RULE(file, in, inode.extent[1] = make_extent((1ull << 44) - 1, 700, 2), "largest file");
    INODE_RULE(file, in, inode.extent[1].word1 = le64_make(700 | 1ull << 50), "reserved");
    INODE_RULE(file, tree, inode.count = 9, "levels");
    INODE_RULE(file, tree, inode.tree.root = le64_make(2), "root");
    INODE_RULE(file, tree, inode.tree.root = le64_make(BLOCKS), "root");
    INODE_RULE(file, tree, inode.blocks = le64_make(0), "number of blocks");
    INODE_RULE(file, none, inode.size = le64_make(DXF_FILE_SIZE_MAX + 1), "size");
    INODE_RULE(dir, tree, inode.size = le64_make(4097), "size of the directory");
    INODE_RULE(dir, none, inode.size = le64_make(4096), "size of the directory");
    INODE_RULE(dir, tree, inode.entries = le64_make(200), "entries");
    INODE_RULE(dir, tree, inode.parent = le64_make(0), "parent");
    INODE_RULE(file, none, inode.parent = le64_make(1), "parent");
    INODE_RULE(file, none, inode.entries = le64_make(1), "entries");
    INODE_RULE(link, DXF_LAYOUT_SYMLINK, inode.size = le64_make(129), "target");
    INODE_RULE(link, DXF_LAYOUT_SYMLINK, inode.size = le64_make(0), "target");
    INODE_RULE(link, DXF_LAYOUT_SYMLINK, inode.target[5] = 0, "NUL");
    INODE_RULE(link, DXF_LAYOUT_CHAIN, inode.size = le64_make(4096), "target");
    INODE_RULE(link, DXF_LAYOUT_CHAIN, inode.tree.root = le64_make(511), "chain");
    INODE_RULE(S_IFIFO | 0600, none, inode.size = le64_make(1), "special");
    INODE_RULE(file, none, inode.rdev_minor = le32_make(1), "device number");
    INODE_RULE(file, in, inode.flags = le32_make(1), "flags");
    INODE_RULE(file, in, inode.xattr = le64_make(1), "number of blocks");
    INODE_RULE(file, in, (inode.xattr = le64_make(1), inode.blocks = le64_make(5)), "attribute");
    INODE_RULE(file, in, inode.links = le32_make(0), "orphan");
    INODE_RULE(file, in, inode.reserved0 = le64_make(1), "reserved");
    INODE_RULE(file, in, inode.reserved1 = le64_make(1), "reserved");
}
END_TEST

static const char *check_anchor(const void *object)
{
    return validate_anchor(object, BLOCKS);
}

START_TEST(anchor)
{
    static struct dxf_anchor block;

    memset(&block, 0, sizeof(block));
    assert_says(check_anchor(&block), "no inode table");
    block.table = make_inode(S_IFREG, DXF_LAYOUT_INLINE);
    seal_inode(&block.table, DXF_INO_TABLE);
    assert_flips_noticed(&block, sizeof(block), check_anchor, inode_time);
    block.table = make_inode(S_IFDIR, DXF_LAYOUT_NONE);
    seal_inode(&block.table, DXF_INO_TABLE);
    assert_says(check_anchor(&block), "inode number");
}
END_TEST

/* ---- nodes --------------------------------------------------------------------------------- */

static struct dxf_node make_node(uint32_t magic, unsigned level, unsigned count)
{
    struct dxf_node node = {
        .header =
            {
                .magic = le32_make(magic),
                .owner = le64_make(OWNER),
                .self = le64_make(SELF),
                .level = le16_make((uint16_t)level),
                .count = le16_make((uint16_t)count),
            },
    };

    for (unsigned i = 0; i < count; i++) {
        if (level == 0)
            node.extent[i] = make_extent(i * 2ull, 1200 + i * 3, 2);
        else
            node.index[i] = (struct dxf_index){ le64_make(i * 10ull), le64_make(2000 + i) };
    }
    seal_block(&node.header);
    return node;
}

static const char *check_extent_leaf(const void *object)
{
    return validate_extent_node(object, SELF, OWNER, 0, BLOCKS);
}

static const char *check_extent_inner(const void *object)
{
    return validate_extent_node(object, SELF, OWNER, 3, BLOCKS);
}

static const char *check_dir_inner(const void *object)
{
    return validate_dir_node(object, SELF, OWNER, 1, BLOCKS);
}

START_TEST(node_flips)
{
    struct dxf_node node = make_node(DXF_MAGIC_EXTENT_NODE, 0, DXF_NODE_ENTRIES);

    assert_flips_noticed(&node, sizeof(node), check_extent_leaf, no_exemption);
    assert_says(validate_extent_node(&node, SELF + 1, OWNER, 0, BLOCKS), "another block");
    assert_says(validate_extent_node(&node, SELF, OWNER + 1, 0, BLOCKS), "another inode");
    assert_says(validate_extent_node(&node, SELF, OWNER, 1, BLOCKS), "level");
    assert_says(validate_extent_node(&node, SELF, OWNER, 0, 1300), "outside");

    node = make_node(DXF_MAGIC_EXTENT_NODE, 3, 3);
    assert_flips_noticed(&node, sizeof(node), check_extent_inner, no_exemption);
    node = make_node(DXF_MAGIC_DIR_NODE, 1, DXF_NODE_ENTRIES);
    assert_flips_noticed(&node, sizeof(node), check_dir_inner, no_exemption);
    assert_says(check_extent_inner(&node), "magic");
}
END_TEST

#define NODE_RULE(magic, level, change, check, word) \
 do {                                                \
  struct dxf_node node = make_node(magic, level, 4); \
  change;                                            \
  seal_block(&node.header);                          \
  assert_says(check(&node), word);                   \
 } while (0)

START_TEST(node_rules)
{
    const uint32_t ext = DXF_MAGIC_EXTENT_NODE, dir = DXF_MAGIC_DIR_NODE;

    NODE_RULE(ext, 0, node.header.count = le16_make(255), check_extent_leaf, "count");
    NODE_RULE(ext, 0, node.header.used = le32_make(1), check_extent_leaf, "reserved");
    NODE_RULE(ext, 0, node.extent[2] = make_extent(3, 1500, 1), check_extent_leaf, "overlap");
    NODE_RULE(ext, 3, node.header.count = le16_make(0), check_extent_inner, "empty");
    NODE_RULE(ext, 3, node.index[2].key = le64_make(10), check_extent_inner, "ascending");
    NODE_RULE(ext, 3, node.index[3].key = le64_make(1ull << 44), check_extent_inner, "key");
    NODE_RULE(ext, 3, node.index[3].child = le64_make(SELF), check_extent_inner, "child");
    NODE_RULE(ext, 3, node.index[3].child = le64_make(511), check_extent_inner, "child");
    NODE_RULE(dir, 1, node.index[3].key = le64_make(DXF_HASH_LAST + 1), check_dir_inner, "key");
    NODE_RULE(dir, 1, node.index[3].child = le64_make(BLOCKS), check_dir_inner, "child");
}
END_TEST

/* ---- directories --------------------------------------------------------------------------- */

static struct dxf_dir_leaf leaf_memory __attribute__((aligned(8)));

static struct dxf_dirent *leaf_add(uint32_t *at, const char *name, uint32_t length)
{
    struct dxf_dirent *entry = (struct dxf_dirent *)(leaf_memory.entries + *at);

    entry->length = le16_make((uint16_t)length);
    entry->name_length = (uint8_t)strlen(name);
    memcpy(entry->name, name, strlen(name));
    if (name[0] != '\0') {
        entry->type = DT_REG;
        entry->hash = le64_make(DXF_HASH_FIRST + *at);
        entry->inode = le64_make(100 + *at);
    }
    seal_dirent(entry, OWNER);
    *at += length;
    return entry;
}

/* Two names, free space, a name up to the end. Returns the last entry. */
static struct dxf_dirent *make_leaf(void)
{
    uint32_t at = 0;

    memset(&leaf_memory, 0, sizeof(leaf_memory));
    leaf_memory.header.magic = le32_make(DXF_MAGIC_DIR_LEAF);
    leaf_memory.header.owner = le64_make(OWNER);
    leaf_memory.header.self = le64_make(SELF);
    leaf_add(&at, "12345678", 32);
    leaf_add(&at, "seven77", 32);
    leaf_add(&at, "", 24);
    leaf_add(&at, "the-last", sizeof(leaf_memory.entries) - at);
    seal_dir_leaf(&leaf_memory);
    return (struct dxf_dirent *)(leaf_memory.entries + 88);
}

static const char *check_leaf(const void *object)
{
    return validate_dir_leaf(object, SELF, OWNER);
}

/* Behind "seven77", and behind the last name. */
static bool leaf_padding(size_t at)
{
    size_t entry = at - sizeof(struct dxf_block_header);

    if (at < sizeof(struct dxf_block_header))
        return false;
    return entry == 63 || entry >= 88 + 32;
}

START_TEST(leaf_flips)
{
    make_leaf();
    assert_flips_noticed(&leaf_memory, sizeof(leaf_memory), check_leaf, leaf_padding);
    assert_says(validate_dir_leaf(&leaf_memory, SELF, OWNER + 1), "another inode");
    assert_says(validate_dir_leaf(&leaf_memory, SELF + 1, OWNER), "another block");
}
END_TEST

#define DIRENT_RULE(change, word)                   \
 do {                                               \
  entry = make_leaf();                              \
  change;                                           \
  seal_dirent(entry, OWNER);                        \
  assert_says(check_leaf(&leaf_memory), word);      \
  assert_says(validate_dirent(entry, OWNER), word); \
 } while (0)

START_TEST(dirent_rules)
{
    struct dxf_dirent *entry = make_leaf();

    ck_assert_ptr_null(validate_dirent(entry, OWNER));
    assert_says(validate_dirent(entry, OWNER + 1), "checksum");
    DIRENT_RULE(entry->name[3] = '/', "slash");
    DIRENT_RULE(entry->name[3] = '\0', "NUL");
    DIRENT_RULE((entry->name_length = 1, entry->name[0] = '.'), "dot");
    DIRENT_RULE((entry->name_length = 2, memcpy(entry->name, "..", 2)), "dot");
    DIRENT_RULE(entry->type = DT_UNKNOWN, "type");
    DIRENT_RULE(entry->type = 14, "type");
    DIRENT_RULE(entry->inode = le64_make(1), "reserved inode");
    DIRENT_RULE(entry->hash = le64_make(15), "hash");
    DIRENT_RULE(entry->hash = le64_make(DXF_HASH_LAST + 1), "hash");
    DIRENT_RULE(entry->name_length = 0, "free space");
    DIRENT_RULE(entry->length = le16_make(16), "length");
    DIRENT_RULE(entry->length = le16_make(0), "length");
    DIRENT_RULE(entry->length = le16_make(33), "length");

    /* Only the leaf knows where it ends. */
    entry = make_leaf();
    entry->length = le16_make(65528);
    seal_dirent(entry, OWNER);
    assert_says(check_leaf(&leaf_memory), "fit");
    entry = make_leaf();
    entry->length = le16_make((uint16_t)(le16_get(entry->length) - 8));
    seal_dirent(entry, OWNER);
    assert_says(check_leaf(&leaf_memory), "fit");
}
END_TEST

/* ---- chains -------------------------------------------------------------------------------- */

static const char *check_chain(const void *object)
{
    return validate_chain(object, SELF, OWNER, BLOCKS);
}

#define CHAIN_RULE(change, word)          \
 do {                                     \
  change;                                 \
  seal_block(&block.header);              \
  assert_says(check_chain(&block), word); \
  block = valid;                          \
 } while (0)

START_TEST(chain)
{
    struct dxf_chain valid = {
        .header =
            {
                .magic = le32_make(DXF_MAGIC_CHAIN),
                .owner = le64_make(OWNER),
                .self = le64_make(SELF),
                .used = le32_make(sizeof(valid.payload)),
            },
        .next = le64_make(2000),
    };
    struct dxf_chain block;

    seal_block(&valid.header);
    block = valid;
    assert_flips_noticed(&block, sizeof(block), check_chain, no_exemption);
    CHAIN_RULE(block.header.used = le32_make(sizeof(block.payload) + 1), "payload");
    CHAIN_RULE(block.header.used = le32_make(0), "payload");
    CHAIN_RULE(block.next = le64_make(SELF), "next");
    CHAIN_RULE(block.next = le64_make(3), "next");
    CHAIN_RULE(block.header.level = le16_make(1), "level");
    CHAIN_RULE(block.header.count = le16_make(1), "reserved");
}
END_TEST

static uint32_t xattr_put(uint8_t *to, uint8_t space, uint8_t name_length, uint32_t value_length)
{
    struct dxf_xattr head = { space, name_length, le16_make(0), le32_make(value_length) };

    memcpy(to, &head, sizeof(head));
    memset(to + sizeof(head), 'n', name_length);
    return (uint32_t)((sizeof(head) + name_length + value_length + 7) & ~7u);
}

START_TEST(xattrs)
{
    uint8_t *bytes = calloc(1, 1024);
    uint32_t length = 0;

    ck_assert_ptr_null(validate_xattrs(bytes, 0));
    length += xattr_put(bytes + length, DXF_XATTR_USER, 250, 100);
    length += xattr_put(bytes + length, DXF_XATTR_ACL_ACCESS, 0, 44);
    length += xattr_put(bytes + length, DXF_XATTR_SECURITY, 1, 0);
    ck_assert_ptr_null(validate_xattrs(bytes, length));
    assert_says(validate_xattrs(bytes, length - 8), "fit");
    assert_says(validate_xattrs(bytes, length - 1), "fit");
    assert_says(validate_xattrs(bytes, DXF_XATTR_CHAIN_MAX + 1), "larger");

    xattr_put(bytes, DXF_XATTR_USER, 251, 100);
    assert_says(validate_xattrs(bytes, length), "length of the attribute's name");
    xattr_put(bytes, DXF_XATTR_USER, 0, 100);
    assert_says(validate_xattrs(bytes, length), "length of the attribute's name");
    xattr_put(bytes, DXF_XATTR_TRUSTED, 248, 0);
    assert_says(validate_xattrs(bytes, length), "length of the attribute's name");
    xattr_put(bytes, DXF_XATTR_ACL_DEFAULT, 1, 0);
    assert_says(validate_xattrs(bytes, length), "has a name");
    xattr_put(bytes, 6, 1, 0);
    assert_says(validate_xattrs(bytes, length), "namespace");
    xattr_put(bytes, DXF_XATTR_USER, 10, 65537);
    assert_says(validate_xattrs(bytes, length), "too large");
    xattr_put(bytes, DXF_XATTR_USER, 10, UINT32_MAX);
    assert_says(validate_xattrs(bytes, length), "too large");
    xattr_put(bytes, DXF_XATTR_USER, 10, 0);
    bytes[12] = 0;
    assert_says(validate_xattrs(bytes, length), "NUL");
    xattr_put(bytes, DXF_XATTR_USER, 10, 0);
    bytes[2] = 1;
    assert_says(validate_xattrs(bytes, length), "reserved");
    free(bytes);
}
END_TEST

/* ---- noise --------------------------------------------------------------------------------- */

/* Each object alone in memory of its own size, with headers made right, so that a sanitizer sees an
 * access outside and the deeper checks are reached. */
START_TEST(noise_is_survived)
{
    struct dxf_super super = make_super();

    for (int round = 0; round < 3000; round++) {
        struct dxf_dir_leaf *leaf = aligned_alloc(8, sizeof(*leaf));
        struct dxf_node *node = aligned_alloc(8, sizeof(*node));
        struct dxf_inode *inode = aligned_alloc(8, sizeof(*inode));
        struct dxf_super *other = aligned_alloc(8, sizeof(*other));
        struct dxf_retire *slot = aligned_alloc(8, sizeof(*slot));
        uint32_t length = (uint32_t)(noise() % 100);
        uint8_t *payload = malloc(length + 1);

        noise_fill(leaf, sizeof(*leaf));
        leaf->header = (struct dxf_block_header){
            .magic = le32_make(DXF_MAGIC_DIR_LEAF),
            .owner = le64_make(OWNER),
            .self = le64_make(SELF),
        };
        seal_dir_leaf(leaf);
        /* Chains of some length: the first entries get a plausible form. */
        for (uint32_t at = 0; at + 300 < sizeof(leaf->entries);) {
            struct dxf_dirent *entry = (struct dxf_dirent *)(leaf->entries + at);

            entry->length = le16_make((uint16_t)(noise() % 40 * 8));
            seal_dirent(entry, OWNER);
            if (le16_get(entry->length) < 24)
                break;
            at += le16_get(entry->length);
        }
        validate_dir_leaf(leaf, SELF, OWNER);

        noise_fill(node, sizeof(*node));
        node->header = make_node(DXF_MAGIC_EXTENT_NODE, 0, 1).header;
        node->header.count = le16_make((uint16_t)noise());
        seal_block(&node->header);
        validate_extent_node(node, SELF, OWNER, 0, BLOCKS);

        noise_fill(inode, sizeof(*inode));
        inode->layout = (uint8_t)(noise() % 6);
        inode->reserved0 = inode->reserved1 = le64_make(0);
        seal_inode(inode, INO);
        validate_inode(inode, INO, BLOCKS);

        noise_fill(other, sizeof(*other));
        memcpy(other->magic, DXF_MAGIC, 8);
        other->version = le32_make(DXF_VERSION);
        seal_super(other);
        ck_assert_ptr_nonnull(validate_super(other));

        noise_fill(slot, sizeof(*slot));
        seal_retire(slot, 0);
        validate_retire(slot, 0, &super);

        noise_fill(payload, length);
        validate_xattrs(payload, length);
        free(leaf);
        free(node);
        free(inode);
        free(other);
        free(slot);
        free(payload);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("validate");
    TCase *tcase = tcase_create("validate");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 20);
    tcase_add_test(tcase, super_flips);
    tcase_add_test(tcase, super_rules);
    tcase_add_test(tcase, super_unknown_feature_is_no_damage);
    tcase_add_test(tcase, retire_slot);
    tcase_add_test(tcase, bitmap_line);
    tcase_add_test(tcase, orphan_line);
    tcase_add_test(tcase, intents);
    tcase_add_test(tcase, badblocks);
    tcase_add_test(tcase, inode_flips);
    tcase_add_test(tcase, inode_free);
    tcase_add_test(tcase, inode_rules);
    tcase_add_test(tcase, anchor);
    tcase_add_test(tcase, node_flips);
    tcase_add_test(tcase, node_rules);
    tcase_add_test(tcase, leaf_flips);
    tcase_add_test(tcase, dirent_rules);
    tcase_add_test(tcase, chain);
    tcase_add_test(tcase, xattrs);
    tcase_add_test(tcase, noise_is_survived);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
