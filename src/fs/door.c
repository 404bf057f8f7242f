/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Doors that map, as fs/fs.h has them.
 */
#include "fs/mapped.h"

int fs_door_add(struct fs *fs, struct dax_door *door)
{
    return dax_door_add(&fs->dax, door);
}

void fs_door_stop(struct fs *fs, struct dax_door *door)
{
    dax_door_stop(&fs->dax, door);
}

void fs_door_resume(struct fs *fs, struct dax_door *door)
{
    dax_door_resume(&fs->dax, door);
}

void fs_door_over(struct fs *fs, struct dax_door *door)
{
    dax_door_over(&fs->dax, door, mapping_gone, fs);
}

void fs_door_remove(struct fs *fs, struct dax_door *door)
{
    dax_door_remove(&fs->dax, door);
}
