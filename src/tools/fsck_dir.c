/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check, pass 7: what the entries of each directory say. Entries that go, or get another type,
 * are changed in place; whatever else is wrong has the directory written anew.
 */
#include "tools/fsck_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct check {
    struct fsck *fsck;
    uint64_t dir;
    bool rebuild;
    uint64_t kept, seen;
    bool any;                                /* last[] has one */
    struct fsck_entry last[DXF_HASH_PROBES]; /* a ring of the entries before */
    unsigned last_next, last_count;
};

/* Names are bytes; what a terminal could take amiss is shown as '?'. */
static const char *shown(const struct fsck_entry *entry, char buffer[DXF_NAME_MAX + 1])
{
    for (unsigned i = 0; i < entry->length; i++) {
        unsigned char byte = (unsigned char)entry->name[i];
        buffer[i] = byte < 0x20 || byte == 0x7f ? '?' : (char)byte;
    }
    buffer[entry->length] = '\0';
    return buffer;
}

static struct dxf_dirent *dirent_of(const struct fsck_entry *entry)
{
    return (struct dxf_dirent *)(void *)((uintptr_t)entry->name -
                                         offsetof(struct dxf_dirent, name));
}

static int put_dirent(struct check *check, const struct dxf_dirent *place,
                      struct dxf_dirent *header)
{
    /* The seal needs the name behind the header. */
    union {
        struct dxf_dirent dirent;
        uint8_t bytes[sizeof(struct dxf_dirent) + DXF_NAME_MAX];
    } copy;

    memcpy(copy.bytes, header, sizeof(*header));
    memcpy(copy.bytes + sizeof(*header), place->name, header->name_length);
    seal_dirent(&copy.dirent, check->dir);
    return fsck_put(check->fsck, (uint64_t)((const uint8_t *)place - check->fsck->pool->base),
                    copy.bytes, sizeof(*header));
}

static int drop(struct check *check, const struct fsck_entry *entry)
{
    const struct dxf_dirent *place = dirent_of(entry);
    struct dxf_dirent header = { .length = place->length };

    return put_dirent(check, place, &header);
}

static int retype(struct check *check, const struct fsck_entry *entry, uint8_t type)
{
    const struct dxf_dirent *place = dirent_of(entry);
    struct dxf_dirent header;

    memcpy(&header, place, sizeof(header));
    header.type = type;
    return put_dirent(check, place, &header);
}

/* Its place in the directory. *ret_twice: an earlier entry has the same name. */
static void check_place(struct check *check, const struct fsck_entry *entry,
                        const struct fsck_leaf *leaf, bool *ret_twice)
{
    struct fsck *fsck = check->fsck;
    char name[DXF_NAME_MAX + 1];
    uint64_t base = fsck_name_hash(fsck, entry->name, entry->length);
    bool wrong = entry->hash < leaf->low || entry->hash >= leaf->high || entry->hash < base ||
                 entry->hash - base >= DXF_HASH_PROBES;

    *ret_twice = false;
    for (unsigned i = 0; i < check->last_count; i++) {
        const struct fsck_entry *before = &check->last[i];
        wrong |= before->hash == entry->hash;
        *ret_twice |= before->length == entry->length &&
                      memcmp(before->name, entry->name, entry->length) == 0;
    }
    check->last[check->last_next] = *entry;
    check->last_next = (check->last_next + 1) % DXF_HASH_PROBES;
    if (check->last_count < DXF_HASH_PROBES)
        check->last_count++;
    if (*ret_twice)
        return;
    if (wrong && !(fsck->inode[check->dir].flags & FSCK_INODE_REBUILD))
        check->rebuild |= fsck_found(fsck, FSCK_DIR_HASH, "inode %" PRIu64 ", \"%s\"", check->dir,
                                     shown(entry, name));
}

/* Which finding the entry's target is, or 0. */
static enum fsck_id judge_target(const struct check *check, const struct fsck_entry *entry)
{
    const struct fsck *fsck = check->fsck;
    const struct fsck_inode *known;

    if (entry->ino < DXF_INO_FIRST || entry->ino >= fsck->capacity)
        return FSCK_DIR_TARGET;
    known = &fsck->inode[entry->ino];
    if (known->type == 0)
        return known->flags & FSCK_INODE_DAMAGED ? 0 : FSCK_DIR_TARGET;
    if (known->type == S_IFDIR >> 12 && known->parent != 0)
        return FSCK_DIR_SECOND_NAME;
    return entry->type != known->type ? FSCK_DIR_TYPE : 0;
}

static int check_entry(struct check *check, const struct fsck_entry *entry,
                       const struct fsck_leaf *leaf)
{
    struct fsck *fsck = check->fsck;
    char name[DXF_NAME_MAX + 1];
    bool twice;
    int error = 0;

    check->seen++;
    check_place(check, entry, leaf, &twice);
    enum fsck_id id = twice ? FSCK_DIR_NAME_TWICE : judge_target(check, entry);
    if (id != 0) {
        bool repair = fsck_found(fsck, id, "inode %" PRIu64 ", \"%s\", inode %" PRIu64, check->dir,
                                 shown(entry, name), entry->ino);
        if (id == FSCK_DIR_TYPE && repair)
            error = retype(check, entry, fsck->inode[entry->ino].type);
        else if (repair)
            return drop(check, entry);
        else if (id != FSCK_DIR_TYPE) {
            check->kept++; /* it stays, and names nobody */
            return 0;
        }
    }
    check->kept++;
    if (entry->ino >= fsck->capacity)
        return error;
    struct fsck_inode *known = &fsck->inode[entry->ino];
    if (known->type == S_IFDIR >> 12) {
        known->parent = check->dir;
        fsck->inode[check->dir].links++;
    } else {
        known->links++;
    }
    return error;
}

static int by_hash(const void *a, const void *b)
{
    const struct fsck_entry *left = a, *right = b;

    if (left->hash != right->hash)
        return left->hash < right->hash ? -1 : 1;
    return left->order < right->order ? -1 : left->order > right->order;
}

/* Number of entries, size, blocks. */
static int check_counts(struct check *check, const struct fsck_tree *tree, uint64_t chains)
{
    struct fsck *fsck = check->fsck;
    const struct dxf_inode *inode = fsck_record(fsck, check->dir);
    struct dxf_inode record = *inode;
    uint64_t size = tree->leaves.count * (uint64_t)DXF_BLOCK_SIZE;
    uint64_t blocks = tree->leaves.count + tree->nodes.count + chains;
    bool change = check->kept != check->seen;

    if ((le64_get(inode->entries) != check->seen || le64_get(inode->size) != size) &&
        fsck_found(fsck, FSCK_DIR_COUNTS,
                   "inode %" PRIu64 ", %" PRIu64 " entries in %" PRIu64 " bytes instead of %" PRIu64
                   " in %" PRIu64,
                   check->dir, le64_get(inode->entries), le64_get(inode->size), check->seen,
                   size)) {
        record.size = le64_make(size);
        change = true;
    }
    if (le64_get(inode->blocks) != blocks &&
        fsck_found(fsck, FSCK_INODE_BLOCKS, "inode %" PRIu64 ", %" PRIu64 " instead of %" PRIu64,
                   check->dir, le64_get(inode->blocks), blocks)) {
        record.blocks = le64_make(blocks);
        change = true;
    }
    if (!change || !fsck->write)
        return 0;
    record.entries = le64_make(check->kept);
    return fsck_put_record(fsck, check->dir, &record);
}

static int rebuild(struct check *check)
{
    int error = fsck_dir_rebuild(check->fsck, check->dir, NULL, 0);

    if (error != -ENOSPC)
        return error;
    fsck_unrepaired(check->fsck, "no free block for it; grow the pool and check again");
    return 0;
}

static int check_dir(struct fsck *fsck, uint64_t ino)
{
    const struct dxf_inode *inode = fsck_record(fsck, ino);
    struct check check = { .fsck = fsck, .dir = ino };
    struct fsck_entries list = { 0 };
    struct fsck_tree tree = { 0 };
    unsigned bad;

    check.rebuild = fsck->inode[ino].flags & FSCK_INODE_REBUILD;
    bool damaged = fsck->inode[ino].flags & FSCK_INODE_DAMAGED;
    int error = fsck_dir_walk(fsck, ino, inode, 0, &tree);
    for (size_t i = 0; i < tree.leaves.count && error == 0; i++) {
        list.count = 0;
        error = fsck_leaf_entries(fsck, ino, tree.leaves.leaf[i].block, &list, &bad);
        if (list.count > 0)
            qsort(list.entry, list.count, sizeof(*list.entry), by_hash);
        for (size_t k = 0; k < list.count && error == 0; k++)
            error = check_entry(&check, &list.entry[k], &tree.leaves.leaf[i]);
    }
    if (error == 0 && !check.rebuild && !damaged) {
        uint64_t xattr = le64_get(inode->xattr);
        error = check_counts(&check, &tree, xattr != 0 ? fsck_chain_length(fsck, ino, xattr) : 0);
    }
    if (error == 0)
        error = fsck_commit(fsck);
    if (error == 0 && check.rebuild)
        error = rebuild(&check);
    fsck_tree_free(&tree);
    free(list.entry);
    return error;
}

int fsck_pass_names(struct fsck *fsck)
{
    int error = 0;

    for (uint64_t ino = DXF_INO_ROOT; ino < fsck->capacity && error == 0; ino++) {
        if (ino % 4096 == 0)
            fsck_progress(fsck, "names", ino, fsck->capacity);
        if (fsck->inode[ino].type == S_IFDIR >> 12)
            error = check_dir(fsck, ino);
    }
    return error;
}
