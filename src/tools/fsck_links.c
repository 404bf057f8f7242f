/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check, pass 8: is everything reachable from the root, and how often.
 *
 * Each directory knows the one in which its name was found. Going up from any of them ends at the
 * root, at a directory without a name, or where it has been before: a loop. What is not reached goes
 * to lost+found under the name "#" and its number.
 */
#include "tools/fsck_private.h"

#include "base/random.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DIR_TYPE (S_IFDIR >> 12)
static const char lost_name[] = "lost+found";

struct lost {
    struct fsck *fsck;
    struct fsck_blocks inodes; /* to be named */
    struct fsck_blocks loops;  /* of these: that have a name, which goes */
};

static bool is_deleted_orphan(const struct fsck *fsck, uint64_t ino)
{
    return fsck->inode[ino].flags & FSCK_KNOWN_ORPHAN &&
           le32_get(fsck_record(fsck, ino)->links) == 0;
}

/* Marks the way up from a directory as reached. */
static void mark_way(struct fsck *fsck, uint64_t ino)
{
    while (ino != 0 && !(fsck->inode[ino].flags & FSCK_INODE_REACHED)) {
        fsck->inode[ino].flags |= FSCK_INODE_REACHED;
        ino = fsck->inode[ino].parent;
    }
}

static int check_way(struct lost *lost, uint64_t start)
{
    struct fsck *fsck = lost->fsck;
    uint64_t ino = start;
    int error = 0;

    while (!(fsck->inode[ino].flags & (FSCK_INODE_REACHED | FSCK_INODE_WALKED)) &&
           fsck->inode[ino].parent != 0) {
        fsck->inode[ino].flags |= FSCK_INODE_WALKED;
        ino = fsck->inode[ino].parent;
    }
    if (!(fsck->inode[ino].flags & FSCK_INODE_REACHED)) {
        bool loop = fsck->inode[ino].flags & FSCK_INODE_WALKED;
        bool skip = !loop && is_deleted_orphan(fsck, ino);
        if (!skip && fsck_found(fsck, loop ? FSCK_DIR_LOOP : FSCK_UNREACHED,
                                "inode %" PRIu64 " (directory)", ino)) {
            error = fsck_blocks_add(&lost->inodes, ino);
            if (loop && error == 0)
                error = fsck_blocks_add(&lost->loops, ino);
        }
    }
    mark_way(fsck, start);
    for (uint64_t at = start; at != 0 && fsck->inode[at].flags & FSCK_INODE_WALKED;
         at = fsck->inode[at].parent)
        fsck->inode[at].flags &= (uint8_t)~FSCK_INODE_WALKED;
    return error;
}

static int find_lost(struct lost *lost)
{
    struct fsck *fsck = lost->fsck;
    int error = 0;

    fsck->inode[DXF_INO_ROOT].flags |= FSCK_INODE_REACHED;
    for (uint64_t ino = DXF_INO_FIRST; ino < fsck->capacity && error == 0; ino++) {
        const struct fsck_inode *known = &fsck->inode[ino];
        if (known->type == DIR_TYPE) {
            if (!(known->flags & FSCK_INODE_REACHED))
                error = check_way(lost, ino);
        } else if (known->type != 0 && known->links == 0 && !is_deleted_orphan(fsck, ino)) {
            if (fsck_found(fsck, FSCK_UNREACHED, "inode %" PRIu64, ino))
                error = fsck_blocks_add(&lost->inodes, ino);
        }
    }
    return error;
}

/* ---- lost+found -------------------------------------------------------------------------------- */

static int find_name(struct fsck *fsck, uint64_t dir, const char *name, uint64_t *ret_ino)
{
    struct fsck_tree tree = { 0 };
    struct fsck_entries list = { 0 };
    unsigned bad;

    *ret_ino = 0;
    int error = fsck_dir_walk(fsck, dir, fsck_record(fsck, dir), 0, &tree);
    for (size_t i = 0; i < tree.leaves.count && error == 0; i++)
        error = fsck_leaf_entries(fsck, dir, tree.leaves.leaf[i].block, &list, &bad);
    for (size_t i = 0; i < list.count && error == 0; i++)
        if (list.entry[i].length == strlen(name) &&
            memcmp(list.entry[i].name, name, list.entry[i].length) == 0)
            *ret_ino = list.entry[i].ino;
    fsck_tree_free(&tree);
    free(list.entry);
    return error;
}

static int make_lost_found(struct fsck *fsck, uint64_t *ret_ino)
{
    struct fsck_entry entry = { .name = lost_name,
                                .length = sizeof(lost_name) - 1,
                                .type = DIR_TYPE };
    struct fsck_entries more = { .entry = &entry, .count = 1 };
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    le64 time = le64_make((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    struct dxf_inode record = {
        .generation = le32_make(random_nonzero_u32()),
        .mode = le16_make(S_IFDIR | 0700),
        .links = le32_make(2),
        .parent = le64_make(DXF_INO_ROOT),
        .atime = time,
        .mtime = time,
        .ctime = time,
        .btime = time,
    };
    uint64_t ino;
    int error = fsck_commit(fsck);
    if (error == 0)
        error = fsck_new_number(fsck, &ino);
    if (error < 0)
        return error;
    entry.ino = ino;
    error = fsck_put_record(fsck, ino, &record);
    if (error == 0)
        error = fsck_dir_rebuild(fsck, DXF_INO_ROOT, &more, 1);
    if (error < 0) {
        fsck->log_used = sizeof(struct dxf_log_entry);
        return error;
    }
    fsck->inode[ino] = (struct fsck_inode){ .parent = DXF_INO_ROOT,
                                            .type = DIR_TYPE,
                                            .flags = FSCK_INODE_REACHED };
    fsck->inode[DXF_INO_ROOT].links++;
    *ret_ino = ino;
    return 0;
}

static int get_lost_found(struct fsck *fsck, uint64_t *ret_ino)
{
    int error = find_name(fsck, DXF_INO_ROOT, lost_name, ret_ino);

    if (error == 0 && *ret_ino == 0)
        return make_lost_found(fsck, ret_ino);
    if (error == 0 && (*ret_ino >= fsck->capacity || fsck->inode[*ret_ino].type != DIR_TYPE))
        return -ENOTDIR;
    return error;
}

/* The name that closes a loop: the directory above is read again, without it. */
static int cut_loop(struct fsck *fsck, uint64_t ino)
{
    uint64_t parent = fsck->inode[ino].parent;
    struct dxf_inode record = *fsck_record(fsck, parent);
    struct fsck_tree tree = { 0 };
    struct fsck_entries list = { 0 };
    size_t kept = 0;
    unsigned bad;

    int error = fsck_dir_walk(fsck, parent, &record, 0, &tree);
    for (size_t i = 0; i < tree.leaves.count && error == 0; i++)
        error = fsck_leaf_entries(fsck, parent, tree.leaves.leaf[i].block, &list, &bad);
    for (size_t i = 0; i < list.count; i++)
        if (list.entry[i].ino != ino)
            list.entry[kept++] = list.entry[i];
    list.count = kept;
    if (error == 0)
        error = fsck_dir_build(fsck, parent, &list, &record);
    if (error == 0)
        error = fsck_commit(fsck);
    for (size_t i = 0; i < tree.leaves.count && error == 0; i++)
        fsck_unclaim(fsck, tree.leaves.leaf[i].block, 1);
    for (size_t i = 0; i < tree.nodes.count && error == 0; i++)
        fsck_unclaim(fsck, tree.nodes.block[i], 1);
    fsck_tree_free(&tree);
    free(list.entry);
    if (error == 0 && fsck->inode[parent].links > 0)
        fsck->inode[parent].links--;
    return error;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

/* The numbers N of which lost+found has a name that begins with "#N", in order. */
static int taken_numbers(struct fsck *fsck, uint64_t dir, struct fsck_blocks *ret_numbers)
{
    struct fsck_tree tree = { 0 };
    struct fsck_entries list = { 0 };
    unsigned bad;

    int error = fsck_dir_walk(fsck, dir, fsck_record(fsck, dir), 0, &tree);
    for (size_t i = 0; i < tree.leaves.count && error == 0; i++)
        error = fsck_leaf_entries(fsck, dir, tree.leaves.leaf[i].block, &list, &bad);
    for (size_t i = 0; i < list.count && error == 0; i++) {
        uint64_t number = 0;
        if (list.entry[i].name[0] != '#')
            continue;
        for (unsigned k = 1; k < list.entry[i].length && k < 19; k++) {
            char digit = list.entry[i].name[k];
            if (digit < '0' || digit > '9')
                break;
            number = number * 10 + (uint64_t)(digit - '0');
        }
        error = fsck_blocks_add(ret_numbers, number);
    }
    if (ret_numbers->count > 1)
        qsort(ret_numbers->block, ret_numbers->count, sizeof(uint64_t), by_number);
    fsck_tree_free(&tree);
    free(list.entry);
    return error;
}

/* Names all of them in one go. */
static int name_lost(struct lost *lost, uint64_t lost_found)
{
    struct fsck *fsck = lost->fsck;
    char(*names)[48] = calloc(lost->inodes.count, sizeof(*names));
    struct fsck_blocks taken = { 0 };
    struct fsck_entries more = { 0 };
    uint32_t directories = 0;
    int error = names != NULL ? taken_numbers(fsck, lost_found, &taken) : -ENOMEM;

    for (size_t i = 0; i < lost->inodes.count && error == 0; i++) {
        uint64_t ino = lost->inodes.block[i];
        bool twice = taken.count > 0 &&
                     bsearch(&ino, taken.block, taken.count, sizeof(ino), by_number) != NULL;
        struct fsck_entry entry = { .ino = ino, .name = names[i], .type = fsck->inode[ino].type };
        if (ino == lost_found)
            continue;
        entry.length = (uint8_t)snprintf(names[i], sizeof(names[i]), "#%" PRIu64, ino);
        if (twice) /* "#12-" and something that no name has, in all likelihood */
            entry.length = (uint8_t)snprintf(names[i], sizeof(names[i]), "#%" PRIu64 "-%016" PRIx64,
                                             ino, random_u64());
        directories += entry.type == DIR_TYPE;
        error = fsck_entries_add(&more, &entry);
    }
    if (error == 0 && more.count > 0)
        error = fsck_dir_rebuild(fsck, lost_found, &more, directories);
    for (size_t i = 0; i < more.count && error == 0; i++) {
        struct fsck_inode *known = &fsck->inode[more.entry[i].ino];
        if (known->type != DIR_TYPE) {
            known->links++;
            continue;
        }
        known->parent = lost_found;
        fsck->inode[lost_found].links++;
        struct dxf_inode record = *fsck_record(fsck, more.entry[i].ino);
        record.parent = le64_make(lost_found);
        error = fsck_put_record(fsck, more.entry[i].ino, &record);
    }
    free(more.entry);
    free(taken.block);
    free(names);
    return error == 0 ? fsck_commit(fsck) : error;
}

static int rescue(struct lost *lost)
{
    struct fsck *fsck = lost->fsck;
    uint64_t lost_found;
    int error = 0;

    if (lost->inodes.count == 0)
        return 0;
    for (size_t i = 0; i < lost->loops.count && error == 0; i++)
        error = cut_loop(fsck, lost->loops.block[i]);
    if (error == 0)
        error = get_lost_found(fsck, &lost_found);
    if (error == 0)
        error = name_lost(lost, lost_found);
    if (error == -ENOSPC || error == -ENOTDIR) {
        for (size_t i = 0; i < lost->inodes.count; i++)
            fsck_unrepaired(fsck, error == -ENOSPC ? "no space for lost+found; grow the pool"
                                                   : "/lost+found is no directory; rename it");
        error = 0;
    }
    return error;
}

/* ---- counts ------------------------------------------------------------------------------------ */

static int check_counts(struct fsck *fsck, uint64_t ino)
{
    const struct fsck_inode *known = &fsck->inode[ino];
    const struct dxf_inode *inode = fsck_record(fsck, ino);
    struct dxf_inode record = *inode;
    bool directory = known->type == DIR_TYPE, change = false;
    uint64_t parent = ino == DXF_INO_ROOT ? DXF_INO_ROOT : known->parent;
    uint32_t links = directory ? 2 + known->links : known->links;

    /* What has no name was reported as such, or is an orphan. */
    if (directory ? parent == 0 : links == 0)
        return 0;
    if (le32_get(inode->links) != links &&
        fsck_found(fsck, FSCK_LINKS, "inode %" PRIu64 ", %" PRIu32 " instead of %" PRIu32, ino,
                   le32_get(inode->links), links)) {
        record.links = le32_make(links);
        change = true;
    }
    if (directory && le64_get(inode->parent) != parent &&
        fsck_found(fsck, FSCK_DIR_PARENT, "inode %" PRIu64 ", %" PRIu64 " instead of %" PRIu64, ino,
                   le64_get(inode->parent), parent)) {
        record.parent = le64_make(parent);
        change = true;
    }
    if (!change)
        return 0;
    int error = fsck_put_record(fsck, ino, &record);
    return error == 0 ? fsck_commit(fsck) : error;
}

int fsck_pass_links(struct fsck *fsck)
{
    struct lost lost = { .fsck = fsck };
    int error = 0;

    if (fsck->inode[DXF_INO_ROOT].type != DIR_TYPE)
        return 0;
    fsck_progress(fsck, "links", 0, 1);
    error = find_lost(&lost);
    if (error == 0)
        error = rescue(&lost);
    for (uint64_t ino = DXF_INO_ROOT; ino < fsck->capacity && error == 0; ino++)
        if (fsck->inode[ino].type != 0 && (ino == DXF_INO_ROOT || ino >= DXF_INO_FIRST))
            error = check_counts(fsck, ino);
    free(lost.inodes.block);
    free(lost.loops.block);
    return error;
}
