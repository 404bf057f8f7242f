/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What must be there because it was fsync'ed: each thing in the state of its last fsync, or in a
 * state of later. Fed with the operations of a ledger as the model is replayed; owns its memory.
 */
#pragma once

#include "disk.h"

/* Of one object: what has matched the disk at its last fsync or since. */
struct synced_object {
    uint64_t inode; /* the object this is about; 0: nothing */
    bool file_claimed, size_ok, mode_ok, xattr_ok[XATTR_COUNT];
    uint8_t *bytes_ok; /* node->size flags */
    bool names_claimed, name_ok[NAME_COUNT];
};

struct synced {
    struct model *model;
    struct disk *disk;
    struct synced_object objects[OBJECT_COUNT];
};

void synced_init(struct synced *synced, struct model *model, struct disk *disk);
void synced_clear(struct synced *synced);
/* After the model has applied the operation. */
void synced_note(struct synced *synced, const struct op *op);
/* Prints what is lost; returns how many. */
unsigned synced_report(struct synced *synced, unsigned thread);
