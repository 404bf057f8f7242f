/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check, pass 4: trees and chains, everything that carries its owner's number.
 */
#include "tools/fsck_private.h"

#include <inttypes.h>

static void note_tree(struct fsck *fsck, uint64_t ino, bool damaged, bool repair)
{
    if (damaged)
        fsck->inode[ino].flags |= repair ? FSCK_INODE_REBUILD : FSCK_INODE_DAMAGED;
}

/* What has neither data nor a tree can be counted here. */
static int check_blocks(struct fsck *fsck, uint64_t ino, uint64_t blocks)
{
    const struct dxf_inode *inode = fsck_record(fsck, ino);

    if (le64_get(inode->blocks) == blocks ||
        !fsck_found(fsck, FSCK_INODE_BLOCKS, "inode %" PRIu64 ", %" PRIu64 " instead of %" PRIu64,
                    ino, le64_get(inode->blocks), blocks))
        return 0;
    struct dxf_inode record = *inode;
    record.blocks = le64_make(blocks);
    int error = fsck_put_record(fsck, ino, &record);
    return error == 0 ? fsck_commit(fsck) : error;
}

int fsck_check_tree(struct fsck *fsck, uint64_t ino)
{
    const unsigned flags = FSCK_WALK_REPORT | FSCK_WALK_NODES;
    uint32_t xattr_findings = fsck->result->count[FSCK_XATTR];
    uint8_t type = fsck->inode[ino].type;
    uint64_t blocks;
    int error = 0;

    if (type == S_IFDIR >> 12) {
        struct fsck_tree tree = { 0 };
        error = fsck_dir_walk(fsck, ino, fsck_record(fsck, ino), flags, &tree);
        note_tree(fsck, ino, tree.damaged, tree.repair);
        if (error == 0 && tree.damaged)
            error = fsck_dir_keep(fsck, ino, &tree);
        fsck_tree_free(&tree);
    } else if (type == S_IFREG >> 12 && fsck_record(fsck, ino)->layout == DXF_LAYOUT_TREE) {
        struct fsck_map map = { 0 };
        error = fsck_map_walk(fsck, ino, fsck_record(fsck, ino), flags, &map);
        note_tree(fsck, ino, map.damaged, map.repair);
        fsck_map_free(&map);
    }
    if (error == 0)
        error = fsck_chains(fsck, ino, &blocks);
    if (error == 0 && type != S_IFDIR >> 12 && type != S_IFREG >> 12 &&
        fsck->inode[ino].type != 0 && fsck->result->count[FSCK_XATTR] == xattr_findings)
        error = check_blocks(fsck, ino, blocks);
    return error;
}

int fsck_pass_trees(struct fsck *fsck)
{
    int error = 0;

    for (uint64_t ino = DXF_INO_ROOT; ino < fsck->capacity && error == 0; ino++) {
        if (ino % 4096 == 0)
            fsck_progress(fsck, "trees", ino, fsck->capacity);
        if (fsck->inode[ino].type != 0)
            error = fsck_check_tree(fsck, ino);
    }
    return error;
}
