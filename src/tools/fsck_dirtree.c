/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The trees of directories: walking one, reading what is left of a leaf, writing one anew.
 *
 * The walk ends for the reason that fsck_extent.c gives. A directory is written anew into blocks
 * that nobody has, and then switched with its record: before that the old one is as it was.
 */
#include "tools/fsck_private.h"

#include "base/checksum.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LEAF_BYTES ((uint32_t)sizeof(((struct dxf_dir_leaf *)NULL)->entries))

uint64_t fsck_name_hash(const struct fsck *fsck, const char *name, size_t length)
{
    uint64_t sum = checksum64(name, length, le64_get(fsck->pool->super.hash_seed));

    return DXF_HASH_FIRST + sum % (DXF_HASH_LAST - DXF_HASH_PROBES + 2 - DXF_HASH_FIRST);
}

int fsck_entries_add(struct fsck_entries *list, const struct fsck_entry *entry)
{
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        void *memory = reallocarray(list->entry, room, sizeof(*entry));
        if (memory == NULL)
            return -ENOMEM;
        list->entry = memory;
        list->room = room;
    }
    list->entry[list->count] = *entry;
    list->entry[list->count].order = (uint32_t)list->count;
    list->count++;
    return 0;
}

void fsck_tree_free(struct fsck_tree *tree)
{
    free(tree->leaves.leaf);
    free(tree->nodes.block);
    *tree = (struct fsck_tree){ 0 };
}

/* The chain of entries is followed while lengths make sense: what is free space may still hold the
 * bytes of names that were removed, so nothing is looked for between entries. */
int fsck_leaf_entries(const struct fsck *fsck, uint64_t ino, uint64_t block,
                      struct fsck_entries *list, unsigned *ret_bad)
{
    const struct dxf_dir_leaf *leaf = pool_block(fsck->pool, block);
    unsigned bad = 0;

    for (uint32_t at = 0; at < LEAF_BYTES;) {
        const struct dxf_dirent *dirent = (const void *)(leaf->entries + at);
        uint32_t room = LEAF_BYTES - at;
        if (room < sizeof(*dirent)) {
            bad++;
            break;
        }
        uint32_t length = le16_get(dirent->length);
        if (length % 8 != 0 || length < sizeof(*dirent) || length > room ||
            length < sizeof(*dirent) + dirent->name_length) {
            bad++;
            break;
        }
        if (validate_dirent(dirent, ino) != NULL) {
            bad++;
        } else if (dirent->name_length > 0) {
            struct fsck_entry entry = {
                .hash = le64_get(dirent->hash),
                .ino = le64_get(dirent->inode),
                .name = dirent->name,
                .length = dirent->name_length,
                .type = dirent->type,
            };
            int error = fsck_entries_add(list, &entry);
            if (error < 0)
                return error;
        }
        at += length;
    }
    *ret_bad = bad;
    return 0;
}

/* ---- what is left of damaged trees ---------------------------------------------------------------- */

int fsck_dir_keep(struct fsck *fsck, uint64_t ino, struct fsck_tree *tree)
{
    if (fsck->damaged_dir_count == fsck->damaged_dir_room) {
        size_t room = fsck->damaged_dir_room ? fsck->damaged_dir_room * 2 : 16;
        void *memory = reallocarray(fsck->damaged_dir, room, sizeof(*fsck->damaged_dir));
        if (memory == NULL)
            return -ENOMEM;
        fsck->damaged_dir = memory;
        fsck->damaged_dir_room = room;
    }
    size_t at = fsck->damaged_dir_count++;
    for (; at > 0 && fsck->damaged_dir[at - 1].ino > ino; at--)
        fsck->damaged_dir[at] = fsck->damaged_dir[at - 1];
    fsck->damaged_dir[at] = (struct fsck_damaged_dir){ .ino = ino, .tree = *tree };
    *tree = (struct fsck_tree){ 0 };
    return 0;
}

static int by_ino(const void *a, const void *b)
{
    const struct fsck_damaged_dir *left = a, *right = b;

    return left->ino < right->ino ? -1 : left->ino > right->ino;
}

/* NULL: its tree is sound, or has been written anew. */
static struct fsck_tree *kept_tree(const struct fsck *fsck, uint64_t ino)
{
    const struct fsck_damaged_dir key = { .ino = ino };
    struct fsck_damaged_dir *found = NULL;

    if (fsck->damaged_dir_count > 0)
        found = bsearch(&key, fsck->damaged_dir, fsck->damaged_dir_count, sizeof(key), by_ino);
    return found != NULL && found->tree.damaged ? &found->tree : NULL;
}

static int copy_tree(const struct fsck_tree *from, struct fsck_tree *ret_tree)
{
    const struct fsck_leaves *leaves = &from->leaves;
    int error = 0;

    ret_tree->damaged = true;
    for (size_t i = 0; i < from->nodes.count && error == 0; i++)
        error = fsck_blocks_add(&ret_tree->nodes, from->nodes.block[i]);
    if (error < 0 || leaves->count == 0)
        return error;
    ret_tree->leaves.leaf = calloc(leaves->count, sizeof(*leaves->leaf));
    if (ret_tree->leaves.leaf == NULL)
        return -ENOMEM;
    memcpy(ret_tree->leaves.leaf, leaves->leaf, leaves->count * sizeof(*leaves->leaf));
    ret_tree->leaves.count = ret_tree->leaves.room = leaves->count;
    return 0;
}

/* ---- walking ----------------------------------------------------------------------------------- */

struct walk {
    struct fsck *fsck;
    uint64_t ino;
    unsigned flags;
    struct fsck_tree *tree;
};

static void note_damage(struct walk *walk, bool repair)
{
    walk->tree->repair = repair && (walk->tree->repair || !walk->tree->damaged);
    walk->tree->damaged = true;
}

/* Is this a leaf of this directory, be it one whose header is damaged? *ret_bad: entries that are. */
static bool leaf_is_ours(struct fsck *fsck, uint64_t ino, uint64_t block, const char **ret_why,
                         unsigned *ret_bad)
{
    const struct dxf_dir_leaf *leaf = pool_block(fsck->pool, block);
    struct fsck_entries list = { 0 };

    *ret_bad = 0;
    *ret_why = validate_dir_leaf(leaf, block, ino);
    if (*ret_why == NULL && fsck_bytes_bad(fsck, leaf, sizeof(*leaf)))
        *ret_why = "it can not be read";
    if (*ret_why == NULL)
        return true;
    bool ours = fsck_leaf_entries(fsck, ino, block, &list, ret_bad) == 0 && list.count > 0;
    free(list.entry);
    return ours || (le64_get(leaf->header.owner) == ino && le64_get(leaf->header.self) == block &&
                    le32_get(leaf->header.magic) == DXF_MAGIC_DIR_LEAF);
}

static int walk_leaf(struct walk *walk, uint64_t block, uint64_t low, uint64_t high)
{
    struct fsck *fsck = walk->fsck;
    struct fsck_leaves *leaves = &walk->tree->leaves;
    const char *why;
    unsigned bad;

    bool ours = leaf_is_ours(fsck, walk->ino, block, &why, &bad);
    if (why != NULL)
        note_damage(walk, (walk->flags & FSCK_WALK_REPORT) &&
                              fsck_found(fsck, ours && bad > 0 ? FSCK_DIR_ENTRY : FSCK_DIR_LEAF,
                                         "inode %" PRIu64 ", block %" PRIu64 " (%s)", walk->ino,
                                         block, why));
    if (!ours)
        return 0;
    if (walk->flags & FSCK_WALK_NODES) {
        enum fsck_claim claim = fsck_claim(fsck, block, 1);
        if (claim != FSCK_CLAIM_OK) {
            note_damage(walk, fsck_found_claim(fsck, claim, walk->ino, "directory leaf", block, 1));
            return 0;
        }
    }
    if (leaves->count == leaves->room) {
        size_t room = leaves->room ? leaves->room * 2 : 16;
        void *memory = reallocarray(leaves->leaf, room, sizeof(*leaves->leaf));
        if (memory == NULL)
            return -ENOMEM;
        leaves->leaf = memory;
        leaves->room = room;
    }
    leaves->leaf[leaves->count++] = (struct fsck_leaf){ block, low, high };
    return 0;
}

static int walk_node(struct walk *walk, uint64_t block, unsigned level, uint64_t low, uint64_t high)
{
    struct fsck *fsck = walk->fsck;
    bool report = walk->flags & FSCK_WALK_REPORT;
    const struct dxf_node *node = pool_block(fsck->pool, block);
    uint64_t first = 0;

    if (level == 0)
        return walk_leaf(walk, block, low, high);
    const char *why = validate_dir_node(node, block, walk->ino, level, fsck->pool->blocks);
    if (why == NULL && fsck_bytes_bad(fsck, node, sizeof(*node)))
        why = "it can not be read";
    if (why == NULL) {
        first = le64_get(node->index[0].key);
        if (first < low || first >= high ||
            le64_get(node->index[le16_get(node->header.count) - 1].key) >= high)
            why = "its keys are not those of its parent";
    }
    if (why != NULL) {
        note_damage(walk, report && fsck_found(fsck, FSCK_DIR_NODE,
                                               "inode %" PRIu64 ", block %" PRIu64 " (%s)",
                                               walk->ino, block, why));
        return 0;
    }
    if (walk->flags & FSCK_WALK_NODES) {
        enum fsck_claim claim = fsck_claim(fsck, block, 1);
        if (claim != FSCK_CLAIM_OK) {
            note_damage(walk, fsck_found_claim(fsck, claim, walk->ino, "directory node", block, 1));
            return 0;
        }
    }
    int error = fsck_blocks_add(&walk->tree->nodes, block);
    if (first != low && report)
        note_damage(walk, fsck_found(fsck, FSCK_DIR_NODE,
                                     "inode %" PRIu64 ", block %" PRIu64 " (its first key is not "
                                     "that of its parent)",
                                     walk->ino, block));
    unsigned count = le16_get(node->header.count);
    for (unsigned i = 0; i < count && error == 0; i++) {
        uint64_t key = i == 0 ? low : le64_get(node->index[i].key);
        uint64_t next = i + 1 < count ? le64_get(node->index[i + 1].key) : high;
        error = walk_node(walk, le64_get(node->index[i].child), level - 1, key, next);
    }
    return error;
}

int fsck_dir_walk(struct fsck *fsck, uint64_t ino, const struct dxf_inode *dir, unsigned flags,
                  struct fsck_tree *ret_tree)
{
    struct walk walk = { .fsck = fsck, .ino = ino, .flags = flags, .tree = ret_tree };

    const struct fsck_tree *kept = flags == 0 ? kept_tree(fsck, ino) : NULL;
    if (kept != NULL)
        return copy_tree(kept, ret_tree);
    if (dir->layout != DXF_LAYOUT_TREE)
        return 0;
    return walk_node(&walk, le64_get(dir->tree.root), dir->count - 1u, 0, UINT64_MAX);
}

/* ---- writing anew ------------------------------------------------------------------------------ */

static int by_hash(const void *a, const void *b)
{
    const struct fsck_entry *left = a, *right = b;

    if (left->hash != right->hash)
        return left->hash < right->hash ? -1 : 1;
    return left->order < right->order ? -1 : left->order > right->order;
}

static bool same_name(const struct fsck_entry *a, const struct fsck_entry *b)
{
    return a->length == b->length && memcmp(a->name, b->name, a->length) == 0;
}

/* An entry that was counted goes: pass 8 finds its inode without a name. */
static void forget_entry(struct fsck *fsck, uint64_t dir, const struct fsck_entry *entry)
{
    struct fsck_inode *known;

    if (entry->ino >= fsck->capacity)
        return;
    known = &fsck->inode[entry->ino];
    if (known->type == S_IFDIR >> 12) {
        if (known->parent != dir)
            return;
        known->parent = 0;
        known = &fsck->inode[dir];
    }
    if (known->links > 0)
        known->links--;
}

/* Gives each entry the hash that its name has, or one of the next that is free. Of one name the first
 * entry stays, or rather one that was in its place; one that finds no hash goes. */
static void give_hashes(struct fsck *fsck, uint64_t dir, struct fsck_entries *entries)
{
    size_t kept = 0;
    uint64_t next = 0; /* hashes below are taken */

    for (size_t i = 0; i < entries->count; i++) {
        struct fsck_entry *entry = &entries->entry[i];
        uint64_t base = fsck_name_hash(fsck, entry->name, entry->length);
        if (entry->hash < base || entry->hash - base >= DXF_HASH_PROBES)
            entry->order |= 1u << 31;
        entry->hash = base;
    }
    if (entries->count > 1)
        qsort(entries->entry, entries->count, sizeof(*entries->entry), by_hash);
    for (size_t i = 0; i < entries->count; i++) {
        struct fsck_entry entry = entries->entry[i];
        uint64_t base = entry.hash;
        bool twice = false;
        for (size_t k = kept; k > 0 && !twice && entries->entry[k - 1].hash >= base; k--)
            twice = same_name(&entries->entry[k - 1], &entry);
        if (entry.hash < next)
            entry.hash = next;
        if (twice || entry.hash - base >= DXF_HASH_PROBES) {
            forget_entry(fsck, dir, &entry);
            continue;
        }
        next = entry.hash + 1;
        entries->entry[kept++] = entry;
    }
    entries->count = kept;
}

static void start_block(struct dxf_block_header *header, uint32_t magic, uint64_t ino,
                        uint64_t block, unsigned level)
{
    memset(header, 0, sizeof(*header));
    header->magic = le32_make(magic);
    header->owner = le64_make(ino);
    header->self = le64_make(block);
    header->level = le16_make((uint16_t)level);
}

/* As many entries as fit; returns how many. */
static size_t fill_leaf(struct dxf_dir_leaf *leaf, uint64_t ino, const struct fsck_entry *entry,
                        size_t count)
{
    struct dxf_dirent *dirent = NULL;
    uint32_t at = 0;
    size_t i;

    for (i = 0; i < count; i++) {
        uint32_t size = (uint32_t)((sizeof(*dirent) + entry[i].length + 7) & ~7ull);
        if (size > LEAF_BYTES - at)
            break;
        dirent = (void *)(leaf->entries + at);
        dirent->length = le16_make((uint16_t)size);
        dirent->name_length = entry[i].length;
        dirent->type = entry[i].type;
        dirent->hash = le64_make(entry[i].hash);
        dirent->inode = le64_make(entry[i].ino);
        memcpy(dirent->name, entry[i].name, entry[i].length);
        at += size;
        seal_dirent(dirent, ino);
    }
    uint32_t rest = LEAF_BYTES - at;
    if (rest >= sizeof(*dirent)) {
        dirent = (void *)(leaf->entries + at);
        dirent->length = le16_make((uint16_t)rest);
        seal_dirent(dirent, ino);
    } else if (rest > 0) {
        dirent->length = le16_make((uint16_t)(le16_get(dirent->length) + rest));
        seal_dirent(dirent, ino);
    }
    seal_dir_leaf(leaf);
    return i;
}

static int build_leaves(struct fsck *fsck, uint64_t ino, const struct fsck_entries *entries,
                        struct dxf_index **ret_index, size_t *ret_count)
{
    struct dxf_dir_leaf *leaf = malloc(sizeof(*leaf));
    struct dxf_index *index = calloc(entries->count + 1, sizeof(*index));
    size_t count = 0;
    int error = leaf != NULL && index != NULL ? 0 : -ENOMEM;

    for (size_t i = 0; i < entries->count && error == 0; count++) {
        uint64_t block;
        error = fsck_take(fsck, &block);
        if (error < 0)
            break;
        memset(leaf, 0, sizeof(*leaf));
        start_block(&leaf->header, DXF_MAGIC_DIR_LEAF, ino, block, 0);
        index[count].key = le64_make(count == 0 ? 0 : entries->entry[i].hash);
        index[count].child = le64_make(block);
        i += fill_leaf(leaf, ino, &entries->entry[i], entries->count - i);
        error = fsck_write_block(fsck, block, leaf);
    }
    free(leaf);
    if (error < 0) {
        free(index);
        return error;
    }
    *ret_index = index;
    *ret_count = count;
    return 0;
}

static int build_nodes(struct fsck *fsck, uint64_t ino, unsigned level, struct dxf_index *index,
                       size_t *count)
{
    struct dxf_node *node = malloc(sizeof(*node));
    size_t nodes = 0;
    int error = node != NULL ? 0 : -ENOMEM;

    for (size_t from = 0; from < *count && error == 0; nodes++) {
        size_t here = *count - from < DXF_NODE_ENTRIES ? *count - from : DXF_NODE_ENTRIES;
        le64 key = index[from].key;
        uint64_t block;
        error = fsck_take(fsck, &block);
        if (error < 0)
            break;
        memset(node, 0, sizeof(*node));
        start_block(&node->header, DXF_MAGIC_DIR_NODE, ino, block, level);
        node->header.count = le16_make((uint16_t)here);
        memcpy(node->index, index + from, here * sizeof(*index));
        seal_block(&node->header);
        error = fsck_write_block(fsck, block, node);
        from += here;
        index[nodes] = (struct dxf_index){ key, le64_make(block) };
    }
    free(node);
    *count = nodes;
    return error;
}

int fsck_dir_build(struct fsck *fsck, uint64_t ino, struct fsck_entries *entries,
                   struct dxf_inode *record)
{
    struct dxf_index *index;
    size_t count, blocks = 0;
    unsigned levels = 1;

    give_hashes(fsck, ino, entries);
    int error = build_leaves(fsck, ino, entries, &index, &count);
    if (error < 0)
        return error;
    size_t leaves = count;
    blocks = count;
    while (error == 0 && count > 1) {
        error = build_nodes(fsck, ino, levels, index, &count);
        blocks += count;
        levels++;
    }
    if (error == 0) {
        uint64_t xattr = le64_get(record->xattr);
        memset(record->inlined, 0, sizeof(record->inlined));
        record->layout = leaves > 0 ? DXF_LAYOUT_TREE : DXF_LAYOUT_NONE;
        record->count = leaves > 0 ? (uint8_t)levels : 0;
        if (leaves > 0)
            record->tree.root = index[0].child;
        record->size = le64_make(leaves * DXF_BLOCK_SIZE);
        record->entries = le64_make(entries->count);
        if (xattr != 0)
            blocks += fsck_chain_length(fsck, ino, xattr);
        record->blocks = le64_make(blocks);
        error = fsck_put_record(fsck, ino, record);
    }
    struct fsck_tree *kept = kept_tree(fsck, ino);
    if (error == 0 && kept != NULL)
        fsck_tree_free(kept);
    free(index);
    return error;
}

int fsck_dir_rebuild(struct fsck *fsck, uint64_t ino, const struct fsck_entries *more,
                     uint32_t new_links)
{
    struct dxf_inode record = *fsck_record(fsck, ino);
    struct fsck_tree tree = { 0 };
    struct fsck_entries list = { 0 };
    unsigned bad;

    int error = fsck_dir_walk(fsck, ino, &record, 0, &tree);
    for (size_t i = 0; i < tree.leaves.count && error == 0; i++)
        error = fsck_leaf_entries(fsck, ino, tree.leaves.leaf[i].block, &list, &bad);
    for (size_t i = 0; more != NULL && i < more->count && error == 0; i++)
        error = fsck_entries_add(&list, &more->entry[i]);
    record.links = le32_make(le32_get(record.links) + new_links);
    if (error == 0)
        error = fsck_dir_build(fsck, ino, &list, &record);
    if (error == 0)
        error = fsck_commit(fsck);
    if (error == 0) {
        for (size_t i = 0; i < tree.leaves.count; i++)
            fsck_unclaim(fsck, tree.leaves.leaf[i].block, 1);
        for (size_t i = 0; i < tree.nodes.count; i++)
            fsck_unclaim(fsck, tree.nodes.block[i], 1);
    }
    fsck_tree_free(&tree);
    free(list.entry);
    return error;
}
