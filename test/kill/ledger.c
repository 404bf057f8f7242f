/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model of one thread's directory. Deterministic: the same records give the same object
 * indexes in the program that writes a ledger and in the one that reads it.
 */
#include "ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const op_names[OP_KIND_COUNT] = {
    [0] = "none",
    [OP_CREATE] = "create",
    [OP_MKDIR] = "mkdir",
    [OP_SYMLINK] = "symlink",
    [OP_LINK] = "link",
    [OP_TMPFILE_LINK] = "tmpfile+link",
    [OP_UNLINK] = "unlink",
    [OP_RMDIR] = "rmdir",
    [OP_RENAME] = "rename",
    [OP_EXCHANGE] = "exchange",
    [OP_WRITE] = "write",
    [OP_APPEND] = "append",
    [OP_TRUNCATE] = "truncate",
    [OP_ALLOCATE] = "fallocate",
    [OP_ALLOCATE_KEEP] = "fallocate-keep",
    [OP_PUNCH] = "punch",
    [OP_ZERO] = "zero",
    [OP_COLLAPSE] = "collapse",
    [OP_INSERT] = "insert",
    [OP_STORE] = "store",
    [OP_SETXATTR] = "setxattr",
    [OP_REMOVEXATTR] = "removexattr",
    [OP_CHMOD] = "chmod",
    [OP_FSYNC] = "fsync",
    [OP_FSYNCDIR] = "fsyncdir",
};

const char *op_name(unsigned kind)
{
    return kind < OP_KIND_COUNT ? op_names[kind] : "unknown";
}

/* The finalizer of splitmix64. */
uint64_t pattern_mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15U;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31);
}

void pattern_fill(uint8_t *buf, uint64_t key, uint64_t offset, uint64_t length)
{
    uint64_t at = 0;

    while (at < length) {
        uint64_t word = pattern_mix(key ^ ((offset + at) / 8));
        uint64_t skip = (offset + at) % 8;
        uint64_t n = 8 - skip < length - at ? 8 - skip : length - at;

        memcpy(buf + at, (uint8_t *)&word + skip, n);
        at += n;
    }
}

void pattern_target(char *buf, uint64_t key, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        buf[i] = (char)('a' + pattern_mix(key + i) % 26);
    buf[length] = '\0';
}

static int object_new(struct model *model, enum object_type type, mode_t mode, uint16_t *ret_index)
{
    unsigned i = 0;

    while (i < OBJECT_COUNT && model->objects[i].type != OBJECT_NONE)
        i++;
    if (i == OBJECT_COUNT)
        return -EINVAL;

    struct object *object = &model->objects[i];

    memset(object, 0, sizeof(*object));
    if (type == OBJECT_FILE) {
        object->data = calloc(1, FILE_LIMIT);
        if (!object->data)
            return -ENOMEM;
    }
    object->type = type;
    object->mode = mode;
    object->links = type == OBJECT_DIR ? 0 : 1;
    for (unsigned n = 0; n < NAME_COUNT; n++)
        object->entries[n] = NO_OBJECT;
    if (type == OBJECT_DIR)
        model->dirs++;
    else
        model->files++;
    *ret_index = (uint16_t)i;
    return 0;
}

static void object_drop(struct model *model, uint16_t index)
{
    struct object *object = &model->objects[index];

    if (object->type == OBJECT_DIR) {
        model->dirs--;
    } else {
        if (--object->links > 0)
            return;
        model->files--;
    }
    free(object->data);
    memset(object, 0, sizeof(*object));
}

int model_init(struct model *model)
{
    uint16_t root;

    memset(model, 0, sizeof(*model));
    return object_new(model, OBJECT_DIR, 0755, &root);
}

void model_clear(struct model *model)
{
    for (unsigned i = 0; i < OBJECT_COUNT; i++)
        free(model->objects[i].data);
    memset(model, 0, sizeof(*model));
}

static uint16_t *entry_slot(struct model *model, unsigned dir, unsigned name)
{
    if (dir >= OBJECT_COUNT || name >= NAME_COUNT || model->objects[dir].type != OBJECT_DIR)
        return NULL;
    return &model->objects[dir].entries[name];
}

struct object *model_entry(struct model *model, unsigned dir, unsigned name)
{
    uint16_t *slot = entry_slot(model, dir, name);

    return slot && *slot != NO_OBJECT ? &model->objects[*slot] : NULL;
}

struct object *model_target(struct model *model, const struct op *op)
{
    return model_entry(model, op->dir, op->name);
}

bool model_below(const struct model *model, unsigned dir, unsigned ancestor)
{
    for (unsigned depth = 0; depth <= DIR_LIMIT; depth++) {
        if (dir == ancestor)
            return true;
        if (dir == 0)
            return false;
        dir = model->objects[dir].parent;
    }
    return true;
}

bool model_path(const struct model *model, unsigned dir, char *buf, size_t size)
{
    uint16_t names[DIR_LIMIT + 1];
    unsigned depth = 0;
    size_t used = 1;

    while (dir != 0) {
        if (depth > DIR_LIMIT)
            return false;
        names[depth++] = model->objects[dir].parent_name;
        dir = model->objects[dir].parent;
    }
    if (size < 2 + 4 * (size_t)depth)
        return false;
    buf[0] = '.';
    while (depth-- > 0)
        used += (size_t)snprintf(buf + used, size - used, "/n%02u", names[depth] % 100U);
    buf[used] = '\0';
    return true;
}

static int apply_new(struct model *model, const struct op *op, uint16_t *slot)
{
    uint16_t index;
    int r;

    if (!slot || *slot != NO_OBJECT)
        return -EINVAL;
    if (op->kind == OP_MKDIR)
        r = object_new(model, OBJECT_DIR, 0755, &index);
    else if (op->kind == OP_SYMLINK)
        r = object_new(model, OBJECT_SYMLINK, 0777, &index);
    else
        r = object_new(model, OBJECT_FILE, 0644, &index);
    if (r < 0)
        return r;

    struct object *object = &model->objects[index];

    object->inode = op->inode;
    object->parent = op->dir;
    object->parent_name = op->name;
    if (op->kind == OP_SYMLINK) {
        object->key = op->key;
        object->length = op->length;
    } else if (op->kind == OP_TMPFILE_LINK) {
        if (op->length > FILE_LIMIT)
            return -EINVAL;
        object->size = op->length;
        pattern_fill(object->data, op->key, 0, op->length);
    }
    *slot = index;
    return 0;
}

static int apply_rename(struct model *model, const struct op *op, uint16_t *slot, uint16_t *slot2)
{
    if (!slot || *slot == NO_OBJECT || !slot2)
        return -EINVAL;

    uint16_t moved = *slot, other = *slot2;

    if (op->kind == OP_LINK) {
        if (other != NO_OBJECT || model->objects[moved].type != OBJECT_FILE)
            return -EINVAL;
        model->objects[moved].links++;
        *slot2 = moved;
        return 0;
    }
    if (op->kind == OP_EXCHANGE && other == NO_OBJECT)
        return -EINVAL;
    *slot2 = moved;
    model->objects[moved].parent = op->dir2;
    model->objects[moved].parent_name = op->name2;
    if (op->kind == OP_EXCHANGE) {
        *slot = other;
        model->objects[other].parent = op->dir;
        model->objects[other].parent_name = op->name;
    } else {
        *slot = NO_OBJECT;
        if (other != NO_OBJECT)
            object_drop(model, other);
    }
    return 0;
}

static int apply_shift(struct object *file, const struct op *op)
{
    uint64_t end = op->offset + op->length;

    if (op->offset >= file->size || op->length > FILE_LIMIT)
        return -EINVAL;
    if (op->kind == OP_COLLAPSE) {
        if (end >= file->size)
            return -EINVAL;
        memmove(file->data + op->offset, file->data + end, file->size - end);
        memset(file->data + file->size - op->length, 0, op->length);
        file->size -= op->length;
    } else {
        if (file->size + op->length > FILE_LIMIT)
            return -EINVAL;
        memmove(file->data + end, file->data + op->offset, file->size - op->offset);
        memset(file->data + op->offset, 0, op->length);
        file->size += op->length;
    }
    return 0;
}

static int apply_data(struct object *file, const struct op *op)
{
    uint64_t offset = op->kind == OP_APPEND ? file->size : op->offset;
    uint64_t end = offset + op->length;

    if (op->kind == OP_TRUNCATE) {
        if (op->length > FILE_LIMIT)
            return -EINVAL;
        if (op->length < file->size)
            memset(file->data + op->length, 0, file->size - op->length);
        file->size = op->length;
        return 0;
    }
    if (offset > FILE_LIMIT || op->length > FILE_LIMIT || end > FILE_LIMIT ||
        (op->kind == OP_STORE && end > file->size))
        return -EINVAL;
    if (op->kind == OP_WRITE || op->kind == OP_APPEND || op->kind == OP_STORE)
        pattern_fill(file->data + offset, op->key, offset, op->length);
    else if (op->kind == OP_PUNCH || op->kind == OP_ZERO)
        memset(file->data + offset, 0, op->length);
    if (op->kind != OP_ALLOCATE_KEEP && op->kind != OP_PUNCH && end > file->size)
        file->size = end;
    return 0;
}

int model_apply(struct model *model, const struct op *op)
{
    uint16_t *slot = entry_slot(model, op->dir, op->name);
    struct object *target = model_target(model, op);

    switch (op->kind) {
    case OP_CREATE:
    case OP_MKDIR:
    case OP_SYMLINK:
    case OP_TMPFILE_LINK:
        return apply_new(model, op, slot);
    case OP_UNLINK:
    case OP_RMDIR:
        if (!target)
            return -EINVAL;
        object_drop(model, *slot);
        *slot = NO_OBJECT;
        return 0;
    case OP_LINK:
    case OP_RENAME:
    case OP_EXCHANGE:
        return apply_rename(model, op, slot, entry_slot(model, op->dir2, op->name2));
    case OP_FSYNCDIR:
        return 0;
    default:
        break;
    }

    if (!target || target->type != OBJECT_FILE)
        return -EINVAL;
    switch (op->kind) {
    case OP_SETXATTR:
    case OP_REMOVEXATTR:
        if (op->offset >= XATTR_COUNT)
            return -EINVAL;
        target->xattr_key[op->offset] = op->key;
        target->xattr_length[op->offset] = op->kind == OP_SETXATTR ? (uint32_t)op->length : 0;
        return 0;
    case OP_CHMOD:
        target->mode = (mode_t)op->length;
        return 0;
    case OP_FSYNC:
        return 0;
    case OP_COLLAPSE:
    case OP_INSERT:
        return apply_shift(target, op);
    default:
        return apply_data(target, op);
    }
}
