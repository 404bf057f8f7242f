/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model of open files and their bytes.
 */
#include "oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <unistd.h>

#define DIRECTORY 0040000u
#define REGULAR 0100000u
#define LINK 0120000u

static bool writes(uint32_t flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

static bool reads(uint32_t flags)
{
    return (flags & O_ACCMODE) != O_WRONLY;
}

static void set_size(struct judgement *j, struct node *node, uint64_t size)
{
    if (size < node->size)
        content_zero(&node->content, size, UINT64_MAX);
    node->size = size;
    node_touch(j, node, true, true);
}

static bool judge_open(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    bool changes = writes(op->flags) || (op->flags & O_TRUNC);
    struct node *node;
    bool ok;

    slot_close(oracle, op->slot);
    j->error = oracle_resolve(oracle, &op->path, &node);
    if (j->error == 0) {
        if (!node_is(node, DIRECTORY) && !node_is(node, REGULAR))
            j->error = node_is(node, LINK) ? ELOOP : ENXIO;
        else if (node_is(node, DIRECTORY) && changes)
            j->error = EISDIR;
        if ((j->error == 0 || j->error == EISDIR) &&
            (((node->flags & FLAG_IMMUTABLE) && changes) ||
             ((node->flags & FLAG_APPEND) &&
              ((writes(op->flags) && !(op->flags & O_APPEND)) || (op->flags & O_TRUNC))))) {
            j->also = j->error;
            j->error = EPERM;
        }
    }
    if (judge_failed(j, &ok))
        return ok;
    if (op->flags & O_TRUNC)
        set_size(j, node, 0);
    oracle->slot[op->slot] = (struct oracle_slot){ node, op->flags };
    node->opens++;
    return true;
}

/* The slot's node, or NULL with j->error set. Only regular files pass where bytes are meant. */
static struct node *open_file(struct oracle *oracle, struct judgement *j, unsigned slot,
                              bool for_write)
{
    const struct oracle_slot *open = &oracle->slot[slot];

    if (!open->node)
        j->error = EBADF;
    else if (for_write ? !writes(open->flags) : !reads(open->flags))
        j->error = EBADF;
    else if (node_is(open->node, DIRECTORY))
        j->error = EISDIR;
    return j->error ? NULL : open->node;
}

static void write_bytes(struct judgement *j, struct node *node, uint64_t at, uint64_t length)
{
    uint8_t *bytes = malloc(j->op->length);

    fill_bytes(j->op->seed, bytes, j->op->length);
    content_write(&node->content, at, bytes, length);
    free(bytes);
    if (at + length > node->size)
        node->size = at + length;
    node_touch(j, node, true, true);
}

static bool judge_write(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    struct node *node = open_file(oracle, j, op->slot, true);
    uint64_t at = op->offset, length = op->length;
    bool ok;

    j->space = true;
    if (node) {
        if (oracle->slot[op->slot].flags & O_APPEND)
            at = node->size;
        if (node->flags & FLAG_IMMUTABLE)
            j->error = EPERM;
        if (at >= oracle->size_max) {
            j->also = j->error;
            j->error = EFBIG;
        } else if (length > oracle->size_max - at) {
            length = oracle->size_max - at;
        }
    }
    if (judge_failed(j, &ok))
        return ok;
    if (j->got->value <= 0 || (uint64_t)j->got->value > length ||
        ((uint64_t)j->got->value < length && !j->got->little_space))
        return judge_wrong(j, "%lld bytes written, should be %llu", (long long)j->got->value,
                           (unsigned long long)length);
    write_bytes(j, node, at, (uint64_t)j->got->value);
    if (op->mode) /* asked for by a door whose caller may not keep them */
        kill_setid(node);
    return true;
}

/* What fixed files make of a mapping is every system's own: nobody stores to them. */
static bool judge_store(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    const struct oracle_slot *open = &oracle->slot[op->slot];
    struct node *node = open->node;
    bool ok;

    j->space = true;
    if (!node)
        j->error = EBADF;
    else if ((open->flags & O_ACCMODE) != O_RDWR)
        j->error = EACCES;
    else if (node->flags & FLAGS_FIXED)
        j->error = EPERM;
    else if (op->length == 0 || op->offset > node->size || op->length > node->size - op->offset)
        j->error = EINVAL;
    if (judge_failed(j, &ok))
        return ok;
    if (j->got->value <= 0 || (uint64_t)j->got->value > op->length ||
        ((uint64_t)j->got->value < op->length && !j->got->little_space))
        return judge_wrong(j, "%lld bytes stored, should be %llu", (long long)j->got->value,
                           (unsigned long long)op->length);
    write_bytes(j, node, op->offset, (uint64_t)j->got->value);
    return true;
}

static bool judge_read(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    struct node *node = open_file(oracle, j, op->slot, false);
    uint64_t length = op->length;
    uint8_t *bytes;
    bool ok, same;

    if (judge_failed(j, &ok))
        return ok;
    if (op->offset >= node->size)
        length = 0;
    else if (length > node->size - op->offset)
        length = node->size - op->offset;
    if ((uint64_t)j->got->value != length)
        return judge_wrong(j, "%lld bytes read, should be %llu", (long long)j->got->value,
                           (unsigned long long)length);
    bytes = malloc(length + 1);
    content_read(&node->content, op->offset, bytes, length);
    same = hash_bytes(bytes, length) == j->got->hash;
    free(bytes);
    return same ? true : judge_wrong(j, "other bytes than were written");
}

static bool judge_truncate(struct oracle *oracle, struct judgement *j)
{
    struct node *node;
    bool ok;

    j->error = oracle_resolve(oracle, &j->op->path, &node);
    if (j->error == 0) {
        if (node_is(node, LINK))
            j->error = ELOOP;
        else if (!node_is(node, REGULAR))
            j->error = node_is(node, DIRECTORY) ? EISDIR : EINVAL;
        if (j->error != ELOOP && (node->flags & FLAGS_FIXED)) {
            j->also = j->error;
            j->error = EPERM;
        } else if (j->error == 0 && j->op->length > oracle->size_max) {
            j->error = EFBIG;
        }
    }
    if (judge_failed(j, &ok))
        return ok;
    set_size(j, node, j->op->length);
    return true;
}

static const struct moment unknown = { .value = INT64_MIN };

#define FAR (1ull << 50)

static bool judge_fallocate(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    bool keep = op->flags & FALLOC_FL_KEEP_SIZE;
    bool zeroes = op->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
    struct node *node = oracle->slot[op->slot].node;
    uint64_t end = op->offset + op->length;
    bool ok;

    j->space = !(op->flags & FALLOC_FL_PUNCH_HOLE);
    if (!node || !writes(oracle->slot[op->slot].flags))
        j->error = EBADF;
    else if (op->length == 0)
        j->error = EINVAL;
    else if (op->offset > oracle->size_max || op->length > oracle->size_max - op->offset)
        j->error = EFBIG;
    if (node && (j->error == 0 || j->error == EFBIG) &&
        ((node->flags & FLAG_IMMUTABLE) ||
         ((node->flags & FLAG_APPEND) && (op->flags & ~(uint32_t)FALLOC_FL_KEEP_SIZE)))) {
        j->also = j->error;
        j->error = EPERM;
    }
    if (node && end > FAR)
        node->far = true;
    if (judge_failed(j, &ok)) {
        /* No space: some of the blocks may be there all the same. */
        if (ok && j->error == 0)
            node->mtime = node->ctime = unknown;
        return ok;
    }
    if (zeroes)
        content_zero(&node->content, op->offset, end);
    if (!keep && end > node->size)
        node->size = end;
    if (op->uid != 0)
        kill_setid(node);
    /* Whether blocks without new bytes are a change of content is not laid down. */
    node->mtime = node->ctime = unknown;
    return true;
}

/* What is allocated past EOF moves along; of that the model knows nothing, and an insert may find no
 * room for it. */
static bool judge_shift(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    bool collapse = op->flags & FALLOC_FL_COLLAPSE_RANGE;
    struct node *node = oracle->slot[op->slot].node;
    bool ok;

    j->space = !collapse;
    if (!node || !writes(oracle->slot[op->slot].flags))
        j->error = EBADF;
    else if (op->length == 0)
        j->error = EINVAL;
    else if (op->offset > oracle->size_max || op->length > oracle->size_max - op->offset)
        j->error = EFBIG;
    else if (op->offset % CHUNK != 0 || op->length % CHUNK != 0)
        j->error = EINVAL;
    else if (!collapse && op->length > oracle->size_max - node->size)
        j->error = EFBIG;
    else if (collapse ? op->offset + op->length >= node->size : op->offset >= node->size)
        j->error = EINVAL;
    else if (!collapse && (node->far || op->length > FAR))
        j->also = EINVAL;
    /* Who does not ask the kernel first sees this before all else. */
    if (j->error && (op->offset | op->length) % CHUNK != 0)
        j->also = EINVAL;
    if (node && j->error != EBADF && (node->flags & FLAGS_FIXED)) {
        j->also = j->error;
        j->error = EPERM;
    }
    if (judge_failed(j, &ok))
        return ok;
    if (collapse) {
        content_collapse(&node->content, op->offset, op->length);
        node->size -= op->length;
    } else {
        content_insert(&node->content, op->offset, op->length);
        node->size += op->length;
    }
    if (op->uid != 0)
        kill_setid(node);
    node_touch(j, node, true, true);
    return true;
}

static bool judge_seek(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    struct node *node = oracle->slot[op->slot].node;
    uint64_t at = op->offset, to = (uint64_t)j->got->value;
    bool data = op->flags == SEEK_DATA, ok;

    if (!node)
        j->error = EBADF;
    else if (!node_is(node, REGULAR))
        j->error = EINVAL;
    else if (at >= node->size)
        j->error = ENXIO;
    else if (data && !content_any(&node->content, at, node->size))
        j->also = ENXIO;
    if (judge_failed(j, &ok))
        return ok;
    if (to < at || to > node->size || (data && to == node->size))
        return judge_wrong(j, "offset %llu is out of range", (unsigned long long)to);
    if (data && content_any(&node->content, at, to))
        return judge_wrong(j, "data before offset %llu", (unsigned long long)to);
    /* What begins here lasts to the end of its block at least. */
    if (!data && content_any(&node->content, to, (to | (CHUNK - 1)) + 1))
        return judge_wrong(j, "data at offset %llu", (unsigned long long)to);
    return true;
}

static bool overlap(uint64_t a, uint64_t b, uint64_t length)
{
    return a < b + length && b < a + length;
}

static bool judge_copy(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    const struct oracle_slot *from = &oracle->slot[op->slot], *to = &oracle->slot[op->slot2];
    uint64_t length = op->length, done = (uint64_t)j->got->value;
    uint8_t *bytes;
    bool ok;

    j->space = true;
    if (!from->node || !to->node) {
        j->error = EBADF;
    } else if (node_is(from->node, DIRECTORY) || node_is(to->node, DIRECTORY)) {
        j->error = EISDIR;
    } else {
        bool modes = reads(from->flags) && writes(to->flags) && !(to->flags & O_APPEND);
        bool fixed = to->node->flags & FLAG_IMMUTABLE;

        if (op->offset >= from->node->size)
            length = 0;
        else if (length > from->node->size - op->offset)
            length = from->node->size - op->offset;
        j->error = !modes ? EBADF : fixed ? EPERM : 0;
        if (from->node == to->node && overlap(op->offset, op->offset2, length))
            j->error = j->also = EINVAL;
        /* Of several that apply, any; and nothing to copy is nothing done. */
        if (j->error && ((!modes && j->got->error == EBADF) || (fixed && j->got->error == EPERM)))
            j->also = j->got->error;
        if (modes && j->error == EPERM && length == 0)
            j->error = j->got->error;
    }
    if (judge_failed(j, &ok))
        return ok;
    if (done > length || (done == 0 && length > 0) || (done < length && !j->got->little_space))
        return judge_wrong(j, "%llu bytes copied, should be %llu", (unsigned long long)done,
                           (unsigned long long)length);
    if (done == 0)
        return true;
    bytes = malloc(done);
    content_read(&from->node->content, op->offset, bytes, done);
    content_write(&to->node->content, op->offset2, bytes, done);
    free(bytes);
    if (op->offset2 + done > to->node->size)
        to->node->size = op->offset2 + done;
    node_touch(j, to->node, true, true);
    if (op->uid != 0)
        kill_setid(to->node);
    return true;
}

static bool judge_whole(struct oracle *oracle, struct judgement *j)
{
    bool ok;

    if (j->op->kind == OP_CLOSE || j->op->kind == OP_FSYNC)
        j->error = oracle->slot[j->op->slot].node ? 0 : EBADF;
    if (judge_failed(j, &ok))
        return ok;
    if (j->op->kind == OP_CLOSE)
        slot_close(oracle, j->op->slot);
    for (unsigned i = 0; j->op->kind == OP_REMOUNT && i < SLOTS; i++)
        slot_close(oracle, i);
    return true;
}

bool judge_file(struct oracle *oracle, struct judgement *j)
{
    switch (j->op->kind) {
    case OP_OPEN:
        return judge_open(oracle, j);
    case OP_WRITE:
        return judge_write(oracle, j);
    case OP_STORE:
        return judge_store(oracle, j);
    case OP_READ:
        return judge_read(oracle, j);
    case OP_TRUNCATE:
        return judge_truncate(oracle, j);
    case OP_FALLOCATE:
        return judge_fallocate(oracle, j);
    case OP_SHIFT:
        return judge_shift(oracle, j);
    case OP_SEEK:
        return judge_seek(oracle, j);
    case OP_COPY:
        return judge_copy(oracle, j);
    default:
        return judge_whole(oracle, j);
    }
}
