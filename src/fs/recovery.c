/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery above the journal: after replay every structure is whole, and what remains is to finish
 * the operations that took more than one transaction. Each pass may be stopped by another crash
 * and run again.
 *
 *   intents   operations in many transactions are rolled forward from where they stand. If one of
 *             those that move bytes can not be, the pool fails, and all else stays as it is
 *   orphans   inodes without links are deleted, others lose their blocks past EOF
 */
#include "fs/internal.h"

#include "base/log.h"
#include "fs/range_op.h"
#include "meta/orphan.h"

#include <errno.h>
#include <stdlib.h>

/* The walkers read the tables that the work changes; so numbers are gathered first. */
struct orphan_list {
    uint64_t *inos;
    size_t count, room;
};

static int gather_orphan(void *arg, uint64_t ino)
{
    struct orphan_list *list = arg;

    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        uint64_t *inos = reallocarray(list->inos, room, sizeof(*inos));

        if (!inos)
            return -ENOMEM;
        list->inos = inos;
        list->room = room;
    }
    list->inos[list->count++] = ino;
    return 0;
}

/* An inode of which only recovery knows; not in the cache. */
static void private_inode(struct inode *inode, uint64_t ino)
{
    *inode = (struct inode){ .ino = ino };
    rwlock_init(&inode->name_lock, LOCK_INODE, ino);
    rwlock_init(&inode->map_lock, LOCK_MAP, ino);
    range_lock_init(&inode->ranges);
}

static int finish_orphan(struct fs *fs, uint64_t ino)
{
    const struct dxf_inode *record;
    struct inode inode;
    uint64_t first;
    int r;

    private_inode(&inode, ino);
    r = inode_view(fs->meta, NULL, ino, &record);
    if (r < 0)
        return r;
    if (le32_get(record->links) == 0)
        return inode_delete(fs, &inode);
    first = blocks_up(le64_get(record->size));
    return inode_trim(fs, &inode, first);
}

static int gather_intent(void *arg, const struct intent *intent)
{
    struct intent *all = arg;

    all[intent->number] = *intent;
    return 0;
}

static int finish_intent(struct fs *fs, const struct intent *intent)
{
    const struct dxf_inode *record;
    struct inode inode;
    int r;

    private_inode(&inode, intent->ino);
    r = inode_view(fs->meta, NULL, intent->ino, &record);
    if (r == 0 && le32_get(record->generation) != intent->generation)
        r = -ESTALE;
    if (r == 0 && !record_is_regular(record))
        r = -EINVAL;
    /* What lies between two places is nothing that may be forgotten. */
    if ((r == -EIO || r == -EUCLEAN) && intent_is_shift(intent)) {
        pool_fail(fs->pool, "a file that a crash left between two states cannot be read");
        return 0;
    }
    if (r < 0) {
        log_warn("intent %u names inode %llu, which is not there: dropped", intent->number,
                 (unsigned long long)intent->ino);
        return range_op_drop(fs, intent);
    }
    return range_op_resume(fs, &inode, intent);
}

int recovery_run(struct fs *fs, struct fs_recovered *recovered)
{
    struct intent intents[DXF_INTENTS] = { 0 };
    struct orphan_list list = { 0 };
    int r;

    r = intent_walk(fs->meta, gather_intent, intents);
    for (unsigned i = 0; r == 0 && i < DXF_INTENTS; i++) {
        if (intents[i].kind == DXF_INTENT_NONE)
            continue;
        r = finish_intent(fs, &intents[i]);
        recovered->intents++;
        if (r == 0 && fs_may_change(fs) < 0)
            return 0;
    }
    if (r == 0)
        r = orphan_walk(fs->meta, gather_orphan, &list);
    for (size_t i = 0; r == 0 && i < list.count; i++) {
        r = finish_orphan(fs, list.inos[i]);
        /* One damaged orphan is fsck's work and keeps nobody from the rest. */
        if (r == -EUCLEAN || r == -ESTALE)
            r = 0;
        recovered->orphans++;
    }
    free(list.inos);
    return r;
}
