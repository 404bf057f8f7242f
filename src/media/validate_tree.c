/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The validator, second half: extents, tree nodes, directories, chains. The rules of validate.c hold.
 */
#include "media/validate.h"
#include "media/validate_private.h"

#include "base/checksum.h"
#include "base/endian.h"

#include <dirent.h>
#include <limits.h>
#include <linux/limits.h>
#include <string.h>

/* ---- extents ------------------------------------------------------------------------------- */

#define LOGICAL_BLOCKS_MAX (1ull << 44)

const char *validate_extents(const struct dxf_extent *extents, unsigned count, uint64_t blocks,
                             uint64_t *ret_blocks)
{
    const uint64_t known = DXF_EXTENT_PHYSICAL_MASK | DXF_EXTENT_UNWRITTEN;
    uint64_t end = 0, sum = 0;

    for (unsigned i = 0; i < count; i++) {
        uint64_t word0 = le64_get(extents[i].word0), word1 = le64_get(extents[i].word1);
        uint64_t logical = word0 >> DXF_EXTENT_LOGICAL_SHIFT;
        uint64_t length = (word0 & DXF_EXTENT_LENGTH_MASK) + 1;

        if ((word1 & ~known) != 0)
            return VALIDATE_BAD_RESERVED;
        if (logical < end)
            return "extents overlap or are not in ascending order";
        if (logical + length > LOGICAL_BLOCKS_MAX)
            return "extent is past the largest file";
        if (!validate_blocks_ok(word1 & DXF_EXTENT_PHYSICAL_MASK, length, blocks))
            return "extent is outside the pool or on a fixed place";
        end = logical + length;
        sum += length;
    }
    if (ret_blocks != NULL)
        *ret_blocks = sum;
    return NULL;
}

/* ---- blocks with a header ------------------------------------------------------------------ */

static uint32_t block_csum(const struct dxf_block_header *block, size_t length)
{
    return checksum32_skip(block, length, offsetof(struct dxf_block_header, csum),
                           le64_get(block->owner));
}

static const char *header_check(const struct dxf_block_header *header, size_t summed,
                                uint32_t magic, uint64_t self, uint64_t owner, unsigned level)
{
    if (le32_get(header->magic) != magic)
        return VALIDATE_BAD_MAGIC;
    if (le32_get(header->csum) != block_csum(header, summed))
        return VALIDATE_BAD_CSUM;
    if (le64_get(header->owner) != owner)
        return VALIDATE_BAD_OWNER;
    if (le64_get(header->self) != self)
        return VALIDATE_BAD_PLACE;
    if (le16_get(header->level) != level)
        return "level of the tree does not match";
    return NULL;
}

void seal_block(struct dxf_block_header *block)
{
    block->csum = le32_make(block_csum(block, DXF_BLOCK_SIZE));
}

/* ---- tree nodes ---------------------------------------------------------------------------- */

static const char *index_check(const struct dxf_node *node, uint64_t self, uint64_t key_end,
                               uint64_t blocks)
{
    unsigned count = le16_get(node->header.count);

    if (count == 0)
        return "inner node is empty";
    for (unsigned i = 0; i < count; i++) {
        uint64_t key = le64_get(node->index[i].key);
        uint64_t child = le64_get(node->index[i].child);

        if (key >= key_end)
            return "key is out of range";
        if (i > 0 && key <= le64_get(node->index[i - 1].key))
            return "keys are not in ascending order";
        if (child == self || !validate_block_ok(child, blocks))
            return "child is outside the pool or on a fixed place";
    }
    return NULL;
}

static const char *node_check(const struct dxf_node *node, uint32_t magic, uint64_t self,
                              uint64_t owner, unsigned level)
{
    const char *wrong = header_check(&node->header, sizeof(*node), magic, self, owner, level);

    if (wrong != NULL)
        return wrong;
    if (level >= DXF_TREE_LEVELS_MAX)
        return "tree is too deep";
    if (le16_get(node->header.count) > DXF_NODE_ENTRIES)
        return "count is out of range";
    if (le32_get(node->header.used) != 0)
        return VALIDATE_BAD_RESERVED;
    return NULL;
}

const char *validate_extent_node(const struct dxf_node *node, uint64_t self, uint64_t owner,
                                 unsigned level, uint64_t blocks)
{
    const char *wrong = node_check(node, DXF_MAGIC_EXTENT_NODE, self, owner, level);

    if (wrong != NULL)
        return wrong;
    if (level > 0)
        return index_check(node, self, LOGICAL_BLOCKS_MAX, blocks);
    return validate_extents(node->extent, le16_get(node->header.count), blocks, NULL);
}

const char *validate_dir_node(const struct dxf_node *node, uint64_t self, uint64_t owner,
                              unsigned level, uint64_t blocks)
{
    const char *wrong = node_check(node, DXF_MAGIC_DIR_NODE, self, owner, level);

    if (wrong != NULL)
        return wrong;
    if (level == 0)
        return "level of the tree does not match";
    return index_check(node, self, DXF_HASH_LAST + 1, blocks);
}

/* ---- directories --------------------------------------------------------------------------- */

#define DIRENT_ALIGN 8u

static uint32_t dirent_csum(const struct dxf_dirent *entry, uint64_t owner)
{
    return checksum32_skip(entry, sizeof(*entry) + entry->name_length,
                           offsetof(struct dxf_dirent, csum), owner);
}

static bool dirent_type_ok(uint8_t type)
{
    switch (type) {
    case DT_FIFO:
    case DT_CHR:
    case DT_DIR:
    case DT_BLK:
    case DT_REG:
    case DT_LNK:
    case DT_SOCK:
        return true;
    default:
        return false;
    }
}

/* room: bytes from the entry to the end of what holds it. */
static const char *dirent_check(const struct dxf_dirent *entry, uint64_t owner, uint32_t room)
{
    uint64_t hash, ino;
    uint32_t length;

    if (room < sizeof(*entry))
        return "entry does not fit its block";
    length = le16_get(entry->length);
    if (length > room)
        return "entry does not fit its block";
    if (length % DIRENT_ALIGN != 0 || length < sizeof(*entry) + entry->name_length)
        return "length of the entry is wrong";
    if (le32_get(entry->csum) != dirent_csum(entry, owner))
        return VALIDATE_BAD_CSUM;

    hash = le64_get(entry->hash);
    ino = le64_get(entry->inode);
    if (entry->name_length == 0) {
        if (hash != 0 || ino != 0 || entry->type != 0)
            return "free space is not empty";
        return NULL;
    }
    if (hash < DXF_HASH_FIRST || hash > DXF_HASH_LAST)
        return "hash is out of range";
    if (ino < DXF_INO_FIRST)
        return "names a reserved inode";
    if (!dirent_type_ok(entry->type))
        return "type is not known";
    if (memchr(entry->name, '/', entry->name_length) != NULL ||
        memchr(entry->name, '\0', entry->name_length) != NULL)
        return "name has a slash or a NUL in it";
    if (entry->name[0] == '.' &&
        (entry->name_length == 1 || (entry->name_length == 2 && entry->name[1] == '.')))
        return "name is a dot or two";
    return NULL;
}

const char *validate_dirent(const struct dxf_dirent *entry, uint64_t owner)
{
    return dirent_check(entry, owner, UINT16_MAX);
}

const char *validate_dir_leaf(const struct dxf_dir_leaf *leaf, uint64_t self, uint64_t owner)
{
    const char *wrong =
        header_check(&leaf->header, sizeof(leaf->header), DXF_MAGIC_DIR_LEAF, self, owner, 0);

    if (wrong != NULL)
        return wrong;
    if (le16_get(leaf->header.count) != 0 || le32_get(leaf->header.used) != 0)
        return VALIDATE_BAD_RESERVED;

    /* An entry that passed is longer than nothing and not longer than the room. */
    for (uint32_t at = 0; at < sizeof(leaf->entries);) {
        const struct dxf_dirent *entry = (const struct dxf_dirent *)(leaf->entries + at);

        wrong = dirent_check(entry, owner, (uint32_t)sizeof(leaf->entries) - at);
        if (wrong != NULL)
            return wrong;
        at += le16_get(entry->length);
    }
    return NULL;
}

void seal_dir_leaf(struct dxf_dir_leaf *leaf)
{
    leaf->header.csum = le32_make(block_csum(&leaf->header, sizeof(leaf->header)));
}

void seal_dirent(struct dxf_dirent *entry, uint64_t owner)
{
    entry->csum = le32_make(dirent_csum(entry, owner));
}

/* ---- chains -------------------------------------------------------------------------------- */

const char *validate_chain(const struct dxf_chain *block, uint64_t self, uint64_t owner,
                           uint64_t blocks)
{
    const char *wrong =
        header_check(&block->header, sizeof(*block), DXF_MAGIC_CHAIN, self, owner, 0);
    uint64_t next = le64_get(block->next);
    uint32_t used = le32_get(block->header.used);

    if (wrong != NULL)
        return wrong;
    if (le16_get(block->header.count) != 0)
        return VALIDATE_BAD_RESERVED;
    if (used < 1 || used > sizeof(block->payload))
        return "payload is out of range";
    if (next != 0 && (next == self || !validate_block_ok(next, blocks)))
        return "next block is outside the pool or on a fixed place";
    return NULL;
}

/* Room for a name after its namespace's prefix ("user." and so on), as the kernel limits both. */
static unsigned xattr_name_max(uint8_t name_space)
{
    switch (name_space) {
    case DXF_XATTR_USER:
        return XATTR_NAME_MAX - 5;
    case DXF_XATTR_TRUSTED:
        return XATTR_NAME_MAX - 8;
    case DXF_XATTR_SECURITY:
        return XATTR_NAME_MAX - 9;
    default:
        return 0;
    }
}

static const char *xattr_check_name(const struct dxf_xattr *head, const uint8_t *name)
{
    switch (head->name_space) {
    case DXF_XATTR_USER:
    case DXF_XATTR_TRUSTED:
    case DXF_XATTR_SECURITY:
        if (head->name_length < 1 || head->name_length > xattr_name_max(head->name_space))
            return "length of the attribute's name is out of range";
        if (memchr(name, '\0', head->name_length) != NULL)
            return "name of the attribute has a NUL in it";
        return NULL;
    case DXF_XATTR_ACL_ACCESS:
    case DXF_XATTR_ACL_DEFAULT:
        return head->name_length == 0 ? NULL : "access control list has a name";
    default:
        return "namespace of the attribute is not known";
    }
}

const char *validate_xattrs(const void *payload, uint32_t length)
{
    const uint8_t *bytes = payload;
    uint32_t at = 0;

    if (length > DXF_XATTR_CHAIN_MAX)
        return "attributes are larger than an inode may have";
    while (at < length) {
        struct dxf_xattr head;
        uint64_t size;
        const char *wrong;

        if (length - at < sizeof(head))
            return "attribute does not fit the chain";
        memcpy(&head, bytes + at, sizeof(head));
        if (le16_get(head.reserved) != 0)
            return VALIDATE_BAD_RESERVED;
        if (le32_get(head.value_length) > DXF_XATTR_VALUE_MAX)
            return "value of the attribute is too large";
        size = sizeof(head) + (uint64_t)head.name_length + le32_get(head.value_length);
        size = (size + 7) & ~7ull;
        if (size > length - at)
            return "attribute does not fit the chain";
        wrong = xattr_check_name(&head, bytes + at + sizeof(head));
        if (wrong != NULL)
            return wrong;
        at += (uint32_t)size;
    }
    return NULL;
}
