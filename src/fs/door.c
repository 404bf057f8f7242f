/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Doors that map, as fs/fs.h has them, and the quarantine: a door whose user may have gone, and may not,
 * keeps its pins until the lock says that nobody maps what it was handed.
 *
 * The settler asks. While it ends a door, settle_busy is set: who wants to do something with that door
 * waits for it.
 */
#include "fs/mapped.h"

#include "base/log.h"
#include "media/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int fs_door_add(struct fs *fs, struct dax_door *door)
{
    return dax_door_add(&fs->dax, door);
}

void fs_door_stop(struct fs *fs, struct dax_door *door)
{
    dax_door_stop(&fs->dax, door);
}

static struct dax_door **quarantine_find(struct fs *fs, const struct dax_door *door)
{
    struct dax_door **link = &fs->quarantined;

    while (*link && *link != door)
        link = &(*link)->waits_next;
    return link;
}

void fs_door_quarantine(struct fs *fs, struct dax_door *door, unsigned number)
{
    dax_door_stop(&fs->dax, door);
    pthread_mutex_lock(&fs->settle_mutex);
    if (!*quarantine_find(fs, door)) {
        door->waits_next = fs->quarantined;
        fs->quarantined = door;
    }
    door->number = number;
    pthread_cond_signal(&fs->settle_more);
    pthread_mutex_unlock(&fs->settle_mutex);
}

bool fs_door_is_quarantined(struct fs *fs, const struct dax_door *door)
{
    bool found;

    pthread_mutex_lock(&fs->settle_mutex);
    found = *quarantine_find(fs, door) != NULL;
    pthread_mutex_unlock(&fs->settle_mutex);
    return found;
}

void quarantine_look(struct fs *fs)
{
    struct dax_door **link = &fs->quarantined, *door;

    while ((door = *link) && pool_door_is_held(fs->pool, door->number))
        link = &door->waits_next;
    if (!door)
        return;
    fs->settle_busy = true;
    pthread_mutex_unlock(&fs->settle_mutex);
    dax_door_over(&fs->dax, door, mapping_gone, fs);
    pthread_mutex_lock(&fs->settle_mutex);
    *quarantine_find(fs, door) = door->waits_next;
    fs->settle_busy = false;
    pthread_cond_broadcast(&fs->settle_done);
}

static void quarantine_leave(struct fs *fs, const struct dax_door *door)
{
    struct dax_door **link;

    pthread_mutex_lock(&fs->settle_mutex);
    while (*quarantine_find(fs, door) && fs->settle_busy)
        pthread_cond_wait(&fs->settle_done, &fs->settle_mutex);
    link = quarantine_find(fs, door);
    if (*link)
        *link = door->waits_next;
    pthread_mutex_unlock(&fs->settle_mutex);
}

/* What was zeros when the door was stopped, and is not any more, is shown. */
static int fill_late(struct fs *fs, uint64_t ino, uint64_t offset)
{
    struct chunk_look look;
    struct range_node node;
    struct inode *inode;
    int r;

    r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    r = range_lock_acquire(&inode->ranges, &node, offset, offset + DAX_CHUNK_SIZE, RANGE_EXCLUSIVE,
                           ino, NULL);
    if (r == 0) {
        r = chunk_look(fs, inode, chunk_of(offset), &look);
        if (r == 0 && (look.data || look.piece))
            r = chunk_fill(fs, NULL, inode, offset, offset + DAX_CHUNK_SIZE);
        range_lock_release(&inode->ranges, &node);
    }
    inode_put(fs, inode);
    return r;
}

void fs_door_resume(struct fs *fs, struct dax_door *door)
{
    quarantine_leave(fs, door);
    dax_door_resume(&fs->dax, door);
}

void fs_door_fill(struct fs *fs, const struct dax_door *door)
{
    struct fs_mapping *list = NULL;
    size_t count = 0;
    int r;

    r = fs_mappings(fs, &list, &count);
    for (size_t i = 0; i < count; i++) {
        int filled = list[i].pool_offset == 0 ? fill_late(fs, list[i].ino, list[i].offset) : 0;

        if (r == 0 && filled != -ESTALE)
            r = filled;
    }
    free(list);
    if (r < 0)
        log_warn("%s: what was written meanwhile cannot be shown: %s", door->name, strerror(-r));
}

void fs_door_over(struct fs *fs, struct dax_door *door)
{
    quarantine_leave(fs, door);
    dax_door_over(&fs->dax, door, mapping_gone, fs);
}

void fs_door_remove(struct fs *fs, struct dax_door *door)
{
    quarantine_leave(fs, door);
    dax_door_remove(&fs->dax, door);
}
