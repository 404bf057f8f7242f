/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "damage.h"

#include "base/checksum.h"
#include "media/validate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const class_names[CLASSES] = {
    "super",     "retire",     "intent",      "badblocks", "bitmap-line", "anchor",
    "inode",     "inode-line", "orphan-line", "extents",   "dir-node",    "dir-leaf",
    "dir-entry", "chain",      "log",         "data",      "free",
};
static const char *const op_names[DAMAGE_OPS] = {
    "flip", "set8", "set16", "set32",  "set64", "add", "block",
    "copy", "move", "fill",  "extent", "index", "log", "record",
};

static const uint64_t interesting[] = {
    0,
    1,
    2,
    7,
    8,
    511,
    512,
    2047,
    2048,
    4095,
    4096,
    1ull << 20,
    (1ull << 20) - 1,
    1ull << 31,
    (1ull << 32) - 1,
    1ull << 44,
    (1ull << 44) - 1,
    1ull << 48,
    (1ull << 56) - 1,
    1ull << 56,
    1ull << 62,
    1ull << 63,
    UINT64_MAX - 1,
    UINT64_MAX,
    UINT64_MAX / 4096,
    UINT64_MAX - 4095,
};

/* The logs as they grow while an input is applied. */
static uint32_t log_head[DXF_LOG_COUNT_MAX];
static uint64_t sequence;

const struct base *damage_base(const uint8_t *input, size_t size)
{
    static const uint8_t kind[] = { BASE_SMALL, BASE_RICH, BASE_CRASHED, BASE_SMALL,
                                    BASE_SMALL, BASE_RICH, BASE_CRASHED, BASE_WIDE };

    return &bases[kind[size == 0 ? 0 : input[0] & DAMAGE_BASE_MASK]];
}

/* NULL: the pool has none of this class. */
static const struct base_object *object_of(const struct base *base, unsigned class, unsigned index)
{
    const struct base_list *list = &base->list[class % CLASSES];

    return list->count == 0 ? NULL : &list->object[index % list->count];
}

static uint64_t block_of(const struct base *base, const struct damage_command *command)
{
    const struct base_object *to = object_of(base, command->arg, command->arg >> 8);

    return to == NULL ? command->value % BASE_BLOCKS : to->offset / DXF_BLOCK_SIZE;
}

/* The records, of which the caller gives the bytes, as one entry in a log. */
static void log_entry(const struct base *base, unsigned log, uint64_t number, const void *records,
                      size_t length, bool seal)
{
    const struct dxf_super *super = (const void *)base->memory;
    /* Where the sound superblock has the logs: this one may be damaged. */
    const struct base_object *first = object_of(base, CLASS_LOG, 0);
    uint32_t bytes = (uint32_t)(sizeof(struct dxf_log_entry) + ((length + 7) & ~7ull));
    uint32_t log_bytes = 32 * DXF_BLOCK_SIZE;
    uint8_t *place = base->memory + DXF_FIRST_FREE_BLOCK * DXF_BLOCK_SIZE;
    struct dxf_log_entry *entry;

    log %= 2;
    if (first == NULL || log_head[log] + bytes > log_bytes)
        return;
    place += (size_t)log * log_bytes + log_head[log];
    entry = (void *)place;
    memset(place, 0, bytes);
    entry->magic = le32_make(DXF_LOG_MAGIC);
    entry->bytes = le32_make(bytes);
    entry->sequence = le64_make(number);
    memcpy(place + sizeof(*entry), records, length);
    if (seal)
        entry->csum = le64_make(checksum64(place, bytes, le64_get(super->log_seed)));
    log_head[log] += (bytes + DXF_LINE_SIZE - 1) & ~(DXF_LINE_SIZE - 1);
}

static void journal(const struct base *base, const struct damage_command *command, uint64_t offset,
                    uint32_t length)
{
    static uint8_t records[8 + DXF_BLOCK_SIZE * 2];
    bool raw = (command->what & 0x7f) % DAMAGE_OPS == DAMAGE_RECORD;
    uint64_t head = (offset & ~7ull) | (uint64_t)((length + 7) & ~7u) << DXF_RECORD_LENGTH_SHIFT;
    uint32_t data = (length + 7) & ~7u;

    if (raw) {
        head = interesting[command->offset % (sizeof(interesting) / sizeof(interesting[0]))] ^
               command->value ^ (uint64_t)command->arg << DXF_RECORD_LENGTH_SHIFT;
        if (command->index & 1)
            head = (head & ~DXF_RECORD_OFFSET_MASK) | offset;
        data = head >> 63 ? 0 : (uint32_t)(head >> DXF_RECORD_LENGTH_SHIFT & 0x1fff);
    }
    if (data > sizeof(records) - 8)
        data = sizeof(records) - 8;
    memcpy(records, &head, sizeof(head));
    if (raw)
        memset(records + 8, (int)command->value, data);
    else
        memcpy(records + 8, base->memory + (offset & ~7ull), data);
    sequence += raw ? command->arg % 3 : 1;
    log_entry(base, command->arg, sequence, records, 8 + data,
              raw ? command->what & DAMAGE_SEAL : true);
}

/* What is damaged comes by way of the journal; in its place it is as it was. */
static void journal_object(const struct base *base, const struct damage_command *command,
                           const struct base_object *object)
{
    uint32_t start = object->offset & ~7u;
    uint32_t length = ((object->offset + object->length + 7) & ~7u) - start;

    if (command->what & DAMAGE_SEAL)
        base_seal(base, command->class % CLASSES, object);
    journal(base, command, start, length);
    if (pread(base->fd, base->memory + start, length, start) != (ssize_t)length)
        __builtin_trap();
}

static void copy_object(const struct base *base, const struct damage_command *command,
                        const struct base_object *object)
{
    const struct base_object *from = object_of(base, command->arg, command->value & 0xffff);
    uint8_t *to = base->memory + object->offset;

    if (from == NULL)
        return;
    memmove(to, base->memory + from->offset,
            from->length < object->length ? from->length : object->length);
    if (object->length == DXF_BLOCK_SIZE && command->value & 1u << 16) {
        struct dxf_block_header *header = (void *)to;
        header->self = le64_make(object->offset / DXF_BLOCK_SIZE);
        if (command->value & 1u << 17 && object->number != 0)
            header->owner = le64_make(object->number);
        seal_block(header);
    }
}

/* word is where a pair of 8 bytes begins: of a node, or of an inode's map. */
static void set_pair(const struct base *base, const struct damage_command *command,
                     const struct base_object *object)
{
    bool inode = object->length == sizeof(struct dxf_inode);
    uint32_t start = inode ? offsetof(struct dxf_inode, extent) : sizeof(struct dxf_block_header);
    uint32_t pairs = (object->length - start) / 16;
    uint64_t pair[2];

    if (object->length < 2 * start)
        return;
    if ((command->what & 0x7f) % DAMAGE_OPS == DAMAGE_EXTENT) {
        pair[0] = (uint64_t)(command->value & 0xfff) << DXF_EXTENT_LOGICAL_SHIFT |
                  (command->value >> 12 & 0xf);
        pair[1] = block_of(base, command) | (uint64_t)(command->value >> 31) << 63;
    } else {
        pair[0] = (uint64_t)command->value << (command->offset >> 12 & 0xf) * 2;
        pair[1] = block_of(base, command);
    }
    memcpy(base->memory + object->offset + start + (command->offset & 0xfff) % pairs * 16, pair,
           16);
}

static void change(const struct base *base, const struct damage_command *command,
                   const struct base_object *object)
{
    uint8_t *place = base->memory + object->offset;
    uint32_t length = object->length, at = command->offset % length;
    uint32_t at8 = length < 8 ? 0 : at % (length - 7) & ~7u;
    uint64_t word;

    switch ((command->what & 0x7f) % DAMAGE_OPS) {
    case DAMAGE_FLIP:
        place[at] ^= (uint8_t)(1u << command->arg % 8);
        break;
    case DAMAGE_SET8:
        place[at] = (uint8_t)command->value;
        break;
    case DAMAGE_SET16:
        memcpy(place + (at & ~1u), &command->value, length - (at & ~1u) < 2 ? 1 : 2);
        break;
    case DAMAGE_SET32:
        memcpy(place + at8 + (at & 4), &command->value, 4);
        break;
    case DAMAGE_SET64:
        word = interesting[command->arg % (sizeof(interesting) / sizeof(interesting[0]))];
        memcpy(place + at8, &word, 8);
        break;
    case DAMAGE_ADD:
        memcpy(&word, place + at8, 8);
        word += (uint64_t)(int32_t)command->value;
        memcpy(place + at8, &word, 8);
        break;
    case DAMAGE_BLOCK:
        word = block_of(base, command);
        memcpy(place + at8, &word, 8);
        break;
    case DAMAGE_COPY:
        copy_object(base, command, object);
        break;
    case DAMAGE_MOVE:
        word = command->arg % length;
        memmove(place + at, place + word,
                command->value % 128 % (length - (at > word ? at : (uint32_t)word)));
        break;
    case DAMAGE_FILL:
        memset(place + at, (int)command->value, command->arg % (length - at + 1));
        break;
    default:
        set_pair(base, command, object);
    }
}

static void run_command(const struct base *base, const struct damage_command *command)
{
    const struct base_object *object = object_of(base, command->class, command->index);
    unsigned op = (command->what & 0x7f) % DAMAGE_OPS;

    if (object == NULL || object->length < 8)
        return;
    if (op == DAMAGE_LOG) {
        journal_object(base, command, object);
    } else if (op == DAMAGE_RECORD) {
        journal(base, command, object->offset, object->length);
    } else {
        change(base, command, object);
        if (command->what & DAMAGE_SEAL)
            base_seal(base, command->class % CLASSES, object);
    }
}

void damage_apply(const struct base *base, const uint8_t *input, size_t size)
{
    struct damage_command command;

    base_restore(base);
    memcpy(log_head, base->log_head, sizeof(log_head));
    sequence = base->sequence;
    for (unsigned i = 0; i < DAMAGE_COMMANDS_MAX && 1 + (i + 1) * sizeof(command) <= size; i++) {
        memcpy(&command, input + 1 + i * sizeof(command), sizeof(command));
        run_command(base, &command);
    }
}

uint64_t damage_pool_size(const struct base *base)
{
    const struct dxf_super *super = (const void *)base->memory;
    uint64_t blocks = BASE_BLOCKS;

    if (validate_super(super) != NULL)
        super = (const void *)(base->memory + DXF_SPARE_BLOCK * DXF_BLOCK_SIZE);
    if (validate_super(super) == NULL && le64_get(super->pool_blocks) < blocks)
        blocks = le64_get(super->pool_blocks);
    return blocks * DXF_BLOCK_SIZE;
}

void damage_print(const uint8_t *input, size_t size)
{
    struct damage_command command;

    if (size == 0)
        return;
    fprintf(stderr, "pool %u, options %#x\n", (unsigned)(damage_base(input, size) - bases),
            input[0]);
    for (unsigned i = 0; i < DAMAGE_COMMANDS_MAX && 1 + (i + 1) * sizeof(command) <= size; i++) {
        memcpy(&command, input + 1 + i * sizeof(command), sizeof(command));
        const struct base_object *object =
            object_of(damage_base(input, size), command.class, command.index);
        fprintf(stderr, "  %s%s %s of %" PRIu64 " at byte %u: offset %u arg %#x value %#x\n",
                op_names[(command.what & 0x7f) % DAMAGE_OPS],
                command.what & DAMAGE_SEAL ? " and seal" : "", class_names[command.class % CLASSES],
                object ? object->number : 0, object ? object->offset : 0, command.offset,
                command.arg, command.value);
    }
}
