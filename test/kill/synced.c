/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ledger of fsyncs. The disk is known from the start, so that states need not be kept: at fsync
 * each part of the thing is compared with the disk, and after each later change compared again; a
 * part that never matched is lost. Names are judged by inode number, contents by inode number too.
 */
#include "synced.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void synced_init(struct synced *synced, struct model *model, struct disk *disk)
{
    memset(synced, 0, sizeof(*synced));
    synced->model = model;
    synced->disk = disk;
}

void synced_clear(struct synced *synced)
{
    for (unsigned i = 0; i < OBJECT_COUNT; i++)
        free(synced->objects[i].bytes_ok);
    memset(synced, 0, sizeof(*synced));
}

static const struct disk_node *object_node(struct synced *synced, const struct object *object)
{
    const struct disk_node *node = object->inode ? disk_find(synced->disk, object->inode) : NULL;

    return node && node->type == object->type ? node : NULL;
}

/* The record of an object; a new one when its index has passed to another file. */
static struct synced_object *object_record(struct synced *synced, const struct object *object)
{
    struct synced_object *record = &synced->objects[object - synced->model->objects];

    if (record->inode != object->inode || record->inode == 0) {
        free(record->bytes_ok);
        memset(record, 0, sizeof(*record));
        record->inode = object->inode;
    }
    return record;
}

static void match_name(struct synced *synced, unsigned dir, unsigned name)
{
    const struct object *object = &synced->model->objects[dir];
    const struct object *child = model_entry(synced->model, dir, name);
    const struct disk_node *node = object_node(synced, object);
    struct synced_object *record;
    int found;

    if (!node)
        return;
    record = object_record(synced, object);
    found = node->entries[name];
    if (!child)
        record->name_ok[name] |= found < 0;
    else
        record->name_ok[name] |=
            found >= 0 && (child->inode == 0 || child->inode == synced->disk->nodes[found].inode);
}

static void match_bytes(struct synced_object *record, const struct object *file,
                        const struct disk_node *node, uint64_t from, uint64_t to)
{
    if (to > node->size)
        to = node->size;
    for (uint64_t i = from; i < to; i++)
        record->bytes_ok[i] |= node->data[i] == file->data[i];
}

static void match_attributes(struct synced_object *record, const struct object *file,
                             const struct disk_node *node)
{
    uint8_t value[DISK_XATTR_LIMIT];

    record->size_ok |= node->size == file->size;
    record->mode_ok |= node->mode == file->mode;
    for (unsigned i = 0; i < XATTR_COUNT; i++) {
        uint32_t length = file->xattr_length[i];

        if (record->xattr_ok[i] || node->xattr_length[i] != (int)length)
            continue;
        pattern_fill(value, file->xattr_key[i], 0, length);
        record->xattr_ok[i] = length == 0 || memcmp(node->xattr[i], value, length) == 0;
    }
}

static void note_fsync(struct synced *synced, const struct object *file)
{
    const struct disk_node *node = object_node(synced, file);
    struct synced_object *record = object_record(synced, file);

    record->file_claimed = true;
    if (!node)
        return;
    free(record->bytes_ok);
    record->bytes_ok = calloc(1, node->size + 1);
    if (!record->bytes_ok)
        abort();
    record->size_ok = false;
    record->mode_ok = false;
    memset(record->xattr_ok, 0, sizeof(record->xattr_ok));
    match_attributes(record, file, node);
    match_bytes(record, file, node, 0, FILE_LIMIT);
}

static void note_change(struct synced *synced, const struct object *file, const struct op *op)
{
    const struct disk_node *node = object_node(synced, file);
    struct synced_object *record = object_record(synced, file);

    if (!record->file_claimed || !node)
        return;
    match_attributes(record, file, node);
    if (op->kind == OP_TRUNCATE || op->kind == OP_APPEND || op->kind == OP_COLLAPSE ||
        op->kind == OP_INSERT)
        match_bytes(record, file, node, 0, FILE_LIMIT);
    else if (op->kind == OP_WRITE || op->kind == OP_STORE || op->kind == OP_PUNCH ||
             op->kind == OP_ZERO)
        match_bytes(record, file, node, op->offset, op->offset + op->length);
}

void synced_note(struct synced *synced, const struct op *op)
{
    const struct object *target;

    if (op->kind == OP_FSYNCDIR) {
        const struct object *dir = &synced->model->objects[op->dir];
        struct synced_object *record = object_record(synced, dir);

        record->names_claimed = true;
        memset(record->name_ok, 0, sizeof(record->name_ok));
        for (unsigned name = 0; name < NAME_COUNT; name++)
            match_name(synced, op->dir, name);
        return;
    }
    if (op->kind <= OP_EXCHANGE) {
        /* A new file can have both the index and the inode number of one that went. */
        target = model_target(synced->model, op);
        if (target && (op->kind <= OP_SYMLINK || op->kind == OP_TMPFILE_LINK))
            object_record(synced, target)->inode = 0;
        match_name(synced, op->dir, op->name);
        if (op->kind == OP_LINK || op->kind == OP_RENAME || op->kind == OP_EXCHANGE)
            match_name(synced, op->dir2, op->name2);
        return;
    }
    target = model_target(synced->model, op);
    if (!target)
        return;
    if (op->kind == OP_FSYNC)
        note_fsync(synced, target);
    else
        note_change(synced, target, op);
}

static unsigned report_file(const struct synced_object *record, const struct disk_node *node,
                            unsigned thread)
{
    unsigned lost = 0;
    unsigned long inode = (unsigned long)record->inode;

    if (!record->size_ok)
        lost += printf("finding: t%u: SYNCED size of inode %lu lost\n", thread, inode) > 0;
    if (!record->mode_ok)
        lost += printf("finding: t%u: SYNCED mode of inode %lu lost\n", thread, inode) > 0;
    for (unsigned i = 0; i < XATTR_COUNT; i++) {
        if (!record->xattr_ok[i])
            lost +=
                printf("finding: t%u: SYNCED user.x%u of inode %lu lost\n", thread, i, inode) > 0;
    }
    for (uint64_t i = 0; i < node->size; i++) {
        if (record->bytes_ok[i])
            continue;
        printf("finding: t%u: SYNCED byte %lu of inode %lu lost\n", thread, (unsigned long)i,
               inode);
        return lost + 1;
    }
    return lost;
}

unsigned synced_report(struct synced *synced, unsigned thread)
{
    unsigned lost = 0;

    for (unsigned i = 0; i < OBJECT_COUNT; i++) {
        const struct object *object = &synced->model->objects[i];
        const struct synced_object *record = &synced->objects[i];
        const struct disk_node *node = object_node(synced, object);

        /* An object that is nowhere on the disk is the loss of a name, found in its directory. */
        if (object->type == OBJECT_NONE || !node || record->inode != object->inode)
            continue;
        if (object->type == OBJECT_FILE && record->file_claimed)
            lost += report_file(record, node, thread);
        if (object->type != OBJECT_DIR || !record->names_claimed)
            continue;
        for (unsigned name = 0; name < NAME_COUNT; name++) {
            if (record->name_ok[name])
                continue;
            printf("finding: t%u: SYNCED name n%02u of directory %lu lost\n", thread, name,
                   (unsigned long)record->inode);
            lost++;
        }
    }
    return lost;
}
