/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "program.h"

#include "transport/virtiofs/wire.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* What an operation's request is made of. */
enum shape_flags {
    SHAPE_FILE = 1 << 0,   /* the struct begins with a handle */
    SHAPE_BYTES = 1 << 1,  /* bytes follow the names */
    SHAPE_ROOT = 1 << 2,   /* of a directory, mostly the root */
    SHAPE_SILENT = 1 << 3, /* no answer */
    SHAPE_XATTR = 1 << 4,
};

struct shape {
    uint8_t fixed, names, flags;
};

static const struct shape shapes[PROGRAM_OPCODES] = {
    [FUSE_LOOKUP] = { 0, 1, SHAPE_ROOT },
    [FUSE_FORGET] = { sizeof(struct fuse_forget_in), 0, SHAPE_SILENT },
    [FUSE_GETATTR] = { sizeof(struct fuse_getattr_in), 0, 0 },
    [FUSE_SETATTR] = { sizeof(struct fuse_setattr_in), 0, 0 },
    [FUSE_READLINK] = { 0, 0, 0 },
    [FUSE_SYMLINK] = { 0, 2, SHAPE_ROOT },
    [FUSE_MKNOD] = { sizeof(struct fuse_mknod_in), 1, SHAPE_ROOT },
    [FUSE_MKDIR] = { sizeof(struct fuse_mkdir_in), 1, SHAPE_ROOT },
    [FUSE_UNLINK] = { 0, 1, SHAPE_ROOT },
    [FUSE_RMDIR] = { 0, 1, SHAPE_ROOT },
    [FUSE_RENAME] = { sizeof(struct fuse_rename_in), 2, SHAPE_ROOT },
    [FUSE_LINK] = { sizeof(struct fuse_link_in), 1, SHAPE_ROOT },
    [FUSE_OPEN] = { sizeof(struct fuse_open_in), 0, 0 },
    [FUSE_READ] = { sizeof(struct fuse_read_in), 0, SHAPE_FILE },
    [FUSE_WRITE] = { sizeof(struct fuse_write_in), 0, SHAPE_FILE | SHAPE_BYTES },
    [FUSE_STATFS] = { 0, 0, 0 },
    [FUSE_RELEASE] = { sizeof(struct fuse_release_in), 0, SHAPE_FILE },
    [FUSE_FSYNC] = { sizeof(struct fuse_fsync_in), 0, SHAPE_FILE },
    [FUSE_SETXATTR] = { sizeof(struct fuse_setxattr_in), 1, SHAPE_XATTR | SHAPE_BYTES },
    [FUSE_GETXATTR] = { sizeof(struct fuse_getxattr_in), 1, SHAPE_XATTR },
    [FUSE_LISTXATTR] = { sizeof(struct fuse_getxattr_in), 0, 0 },
    [FUSE_REMOVEXATTR] = { 0, 1, SHAPE_XATTR },
    [FUSE_FLUSH] = { sizeof(struct fuse_flush_in), 0, SHAPE_FILE },
    [FUSE_INIT] = { sizeof(struct fuse_init_in), 0, 0 },
    [FUSE_OPENDIR] = { sizeof(struct fuse_open_in), 0, SHAPE_ROOT },
    [FUSE_READDIR] = { sizeof(struct fuse_read_in), 0, SHAPE_FILE },
    [FUSE_RELEASEDIR] = { sizeof(struct fuse_release_in), 0, SHAPE_FILE },
    [FUSE_FSYNCDIR] = { sizeof(struct fuse_fsync_in), 0, SHAPE_FILE },
    [FUSE_GETLK] = { sizeof(struct fuse_lk_in), 0, SHAPE_FILE },
    [FUSE_SETLK] = { sizeof(struct fuse_lk_in), 0, SHAPE_FILE },
    [FUSE_SETLKW] = { sizeof(struct fuse_lk_in), 0, SHAPE_FILE },
    [FUSE_ACCESS] = { sizeof(struct fuse_access_in), 0, 0 },
    [FUSE_CREATE] = { sizeof(struct fuse_create_in), 1, SHAPE_ROOT },
    [FUSE_INTERRUPT] = { sizeof(struct fuse_interrupt_in), 0, SHAPE_SILENT },
    [FUSE_BMAP] = { sizeof(struct fuse_bmap_in), 0, 0 },
    [FUSE_DESTROY] = { 0, 0, 0 },
    [FUSE_IOCTL] = { sizeof(struct fuse_ioctl_in), 0, SHAPE_FILE | SHAPE_BYTES },
    [FUSE_POLL] = { sizeof(struct fuse_poll_in), 0, SHAPE_FILE },
    [FUSE_BATCH_FORGET] = { sizeof(struct fuse_batch_forget_in), 0, SHAPE_SILENT },
    [FUSE_FALLOCATE] = { sizeof(struct fuse_fallocate_in), 0, SHAPE_FILE },
    [FUSE_READDIRPLUS] = { sizeof(struct fuse_read_in), 0, SHAPE_FILE },
    [FUSE_RENAME2] = { sizeof(struct fuse_rename2_in), 2, SHAPE_ROOT },
    [FUSE_LSEEK] = { sizeof(struct fuse_lseek_in), 0, SHAPE_FILE },
    [FUSE_COPY_FILE_RANGE] = { sizeof(struct fuse_copy_file_range_in), 0, SHAPE_FILE },
    [FUSE_SETUPMAPPING] = { sizeof(struct fuse_setupmapping_in), 0, 0 },
    [FUSE_REMOVEMAPPING] = { sizeof(struct fuse_removemapping_in), 0, 0 },
    [FUSE_SYNCFS] = { sizeof(struct fuse_syncfs_in), 0, SHAPE_ROOT },
    [FUSE_TMPFILE] = { sizeof(struct fuse_create_in), 1, SHAPE_ROOT },
    [FUSE_STATX] = { sizeof(struct fuse_statx_in), 0, 0 },
    [FUSE_COPY_FILE_RANGE_64] = { sizeof(struct fuse_copy_file_range_in), 0, SHAPE_FILE },
};

/* ---- numbers and names ----------------------------------------------------------------------------- */

void program_init(struct program *program, uint64_t chunk)
{
    *program = (struct program){ .chunk = chunk };
    for (unsigned i = 0; i < PROGRAM_KNOWN; i++)
        program->known[i].node = FUSE_ROOT_ID;
}

void program_forget(struct program *program)
{
    for (unsigned i = 0; i < PROGRAM_KNOWN; i += 2)
        program->known[i].node = FUSE_ROOT_ID;
}

uint64_t program_number(const struct program *program, uint16_t value)
{
    static const uint64_t edges[] = {
        4095,       4096,           4097,           65535,        65536,
        INT32_MAX,  1ull << 31,     UINT32_MAX,     1ull << 32,   INT64_MAX,
        1ull << 63, UINT64_MAX,     INT64_MIN,      (1ull << 44), (1ull << 44) - 1,
        1u << 20,   (1u << 20) + 1, (1u << 20) - 1, 1ull << 56,   INT64_MAX - 4095,
    };
    uint64_t x = value & 0x1fff;

    switch (value >> 13) {
    case 0:
        return x;
    case 1:
        return x * 64;
    case 2:
        return (x >> 9) * program->chunk;
    case 3:
        return (x >> 9) * program->chunk + (x & 0x1ff) - 256;
    case 4:
        return edges[x % (sizeof(edges) / sizeof(edges[0]))];
    case 5:
        return x & 1 ? program->known[x / 2 % PROGRAM_KNOWN].node
                     : program->known[x / 2 % PROGRAM_KNOWN].fh;
    case 6:
        return UINT64_MAX - x;
    default:
        return (1ull << x % 64) + (x >> 6) - 64;
    }
}

const char *program_name(uint8_t which)
{
    static char longest[256], longer[257], far_longer[5000];
    static const char *const names[] = {
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "big",
        "sub",
        "link",
        "x",
        "deep/../a",
        "user.x",
        "user.y",
        "trusted.z",
        "security.capability",
        "system.posix_acl_access",
        "system.posix_acl_default",
        ".",
        "..",
        "",
        "/",
        "a/b",
        "\xff\xfe",
        longest,
        longer,
        far_longer,
    };

    memset(longest, 'l', sizeof(longest) - 1);
    memset(longer, 'm', sizeof(longer) - 1);
    memset(far_longer, 'n', sizeof(far_longer) - 1);
    return names[which % (sizeof(names) / sizeof(names[0]))];
}

static uint64_t pick_node(const struct program *program, const struct program_command *command,
                          const struct shape *shape)
{
    uint8_t node = command->node;

    if (node >= 0xe0)
        return program_number(program, command->number[node % 4]);
    if (shape->flags & SHAPE_ROOT && node >= 0x40)
        return FUSE_ROOT_ID;
    if (shape->flags & SHAPE_FILE && node < 0xc0)
        return program->known[command->handle % PROGRAM_KNOWN].node;
    return program->known[node % PROGRAM_KNOWN].node;
}

static uint64_t pick_handle(const struct program *program, const struct program_command *command)
{
    return command->handle >= 0xe0
               ? program_number(program, command->number[(command->handle + 1) % 4])
               : program->known[command->handle % PROGRAM_KNOWN].fh;
}

/* ---- requests -------------------------------------------------------------------------------------- */

/* A struct as a kernel would fill it. SIZE: of what follows. Returns the answer's size, at most. */
static size_t put_struct(const struct program *program, const struct program_command *command,
                         uint32_t opcode, void *to, size_t size)
{
    const uint16_t *number = command->number;
    uint64_t n[4], fh = pick_handle(program, command);
    unsigned other = command->handle % PROGRAM_KNOWN;

    for (unsigned i = 0; i < 4; i++)
        n[i] = program_number(program, number[i]);
    switch (opcode) {
    case FUSE_FORGET:
        ((struct fuse_forget_in *)to)->nlookup = n[0];
        break;
    case FUSE_SETATTR:
        *(struct fuse_setattr_in *)to = (struct fuse_setattr_in){
            .valid =
                number[3] % 4 ? FATTR_SIZE | (number[3] & FATTR_FH ? FATTR_FH : 0) : (uint32_t)n[3],
            .fh = fh,
            .size = n[1],
            .atime = n[0],
            .mtime = n[2],
            .mode = number[2],
            .uid = number[2] % 3,
        };
        break;
    case FUSE_MKNOD:
        *(struct fuse_mknod_in *)to =
            (struct fuse_mknod_in){ .mode = number[0] % 4 ? S_IFREG | 0644 : (uint32_t)n[0],
                                    .rdev = (uint32_t)n[1] };
        break;
    case FUSE_MKDIR:
        ((struct fuse_mkdir_in *)to)->mode = number[0];
        break;
    case FUSE_RENAME:
    case FUSE_RENAME2:
        *(struct fuse_rename2_in *)to = (struct fuse_rename2_in){
            .newdir = number[1] % 2 ? FUSE_ROOT_ID : program->known[other].node,
        };
        if (opcode == FUSE_RENAME2)
            ((struct fuse_rename2_in *)to)->flags = number[0] % 5;
        break;
    case FUSE_LINK:
        ((struct fuse_link_in *)to)->oldnodeid = program->known[other].node;
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        *(struct fuse_open_in *)to = (struct fuse_open_in){
            .flags = opcode == FUSE_OPENDIR || number[0] % 4 == 0 ? (number[0] & 0x13f00)
                                                                  : O_RDWR | (number[0] & O_APPEND),
        };
        break;
    case FUSE_CREATE:
    case FUSE_TMPFILE:
        *(struct fuse_create_in *)to = (struct fuse_create_in){
            .flags = O_RDWR | (number[0] & (O_APPEND | O_TRUNC | O_EXCL)),
            .mode = S_IFREG | (number[1] & 07777),
        };
        break;
    case FUSE_READ:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
        *(struct fuse_read_in *)to =
            (struct fuse_read_in){ .fh = fh, .offset = n[0], .size = (uint32_t)n[1] };
        return n[1] < 1 << 20 ? (size_t)n[1] : 65536;
    case FUSE_WRITE:
        *(struct fuse_write_in *)to = (struct fuse_write_in){
            .fh = fh,
            .offset = n[0],
            .size = (uint32_t)size,
            .write_flags = number[2] & 7,
            .flags = number[2] & O_APPEND,
        };
        break;
    case FUSE_SETXATTR:
        *(struct fuse_setxattr_in *)to =
            (struct fuse_setxattr_in){ .size = (uint32_t)size, .flags = number[0] % 4 };
        break;
    case FUSE_GETXATTR:
    case FUSE_LISTXATTR:
        ((struct fuse_getxattr_in *)to)->size = number[0] % 3 ? 65536 : (uint32_t)n[0];
        return 65536;
    case FUSE_GETLK:
    case FUSE_SETLK:
    case FUSE_SETLKW:
        *(struct fuse_lk_in *)to = (struct fuse_lk_in){
            .fh = fh,
            .owner = number[2] % 4,
            .lk = { .start = n[0], .end = n[1], .type = number[3] % 4, .pid = number[2] % 4 },
            .lk_flags = number[3] / 4 % 2,
        };
        break;
    case FUSE_INTERRUPT:
        ((struct fuse_interrupt_in *)to)->unique = program->unique - number[0] % 4;
        break;
    case FUSE_INIT:
        *(struct fuse_init_in *)to = (struct fuse_init_in){
            .major = number[0] % 16 ? 7 : (uint32_t)n[0],
            .minor = number[1] % 16 ? 31 + number[1] % 16 : (uint32_t)n[1],
            .max_readahead = 131072,
            .flags = ~(uint32_t)(number[2] % 4 ? 0 : n[2]),
            .flags2 = ~(uint32_t)(number[3] % 4 ? 0 : n[3]),
        };
        break;
    case FUSE_IOCTL: {
        static const uint32_t commands[] = { 0x801c581f, 0x401c5820, 0x80086601, 0x40086602,
                                             0xc020660b };

        *(struct fuse_ioctl_in *)to = (struct fuse_ioctl_in){
            .fh = fh,
            .flags = number[0] % 32 ? 0 : (uint32_t)n[0],
            .cmd = number[1] % 16 ? commands[number[1] % 5] : (uint32_t)n[1],
            .in_size = (uint32_t)size,
            .out_size = number[3] % 4 ? number[3] % 64 : (uint32_t)n[3],
        };
        return 16384;
    }
    case FUSE_FALLOCATE:
        *(struct fuse_fallocate_in *)to = (struct fuse_fallocate_in){
            .fh = fh, .offset = n[0], .length = n[1], .mode = number[2] & 0x7f
        };
        break;
    case FUSE_LSEEK:
        *(struct fuse_lseek_in *)to =
            (struct fuse_lseek_in){ .fh = fh, .offset = n[0], .whence = number[1] % 6 };
        break;
    case FUSE_COPY_FILE_RANGE:
    case FUSE_COPY_FILE_RANGE_64:
        *(struct fuse_copy_file_range_in *)to = (struct fuse_copy_file_range_in){
            .fh_in = fh,
            .off_in = n[0],
            .nodeid_out = program->known[number[3] % PROGRAM_KNOWN].node,
            .fh_out = program->known[number[3] % PROGRAM_KNOWN].fh,
            .off_out = n[1],
            .len = n[2] % (64u << 20),
        };
        break;
    case FUSE_SETUPMAPPING:
        *(struct fuse_setupmapping_in *)to = (struct fuse_setupmapping_in){
            .fh = number[3] % 8 ? UINT64_MAX : fh,
            .foffset = n[0],
            .len = number[1] % 4 ? program->chunk * (1 + number[1] / 4 % 3) : n[1],
            .flags = number[3] / 8 % 16 ? 1 + number[3] / 8 % 3 : (uint32_t)n[3],
            .moffset = n[2],
        };
        break;
    default:
        if (shapes[opcode % PROGRAM_OPCODES].flags & SHAPE_FILE)
            memcpy(to, &fh, sizeof(fh));
        break;
    }
    return 0;
}

/* The elements of a list that the struct counts. */
static size_t put_list(const struct program *program, const struct program_command *command,
                       uint32_t opcode, uint8_t *fixed, uint8_t *to)
{
    uint32_t count = command->extra % 8 ? command->extra % 8 : command->extra % 600;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t one[2] = { program_number(program, command->number[i % 4]),
                            program_number(program, command->number[(i + 1) % 4]) };

        if (opcode == FUSE_BATCH_FORGET && i % 2 == 0)
            one[0] = program->known[(command->handle + i) % PROGRAM_KNOWN].node;
        if (opcode == FUSE_REMOVEMAPPING && one[1] % program->chunk)
            one[1] = program->chunk * (1 + one[1] % 3);
        memcpy(to + i * sizeof(one), one, sizeof(one));
    }
    if (command->handle >= 0xe0)
        count = (uint32_t)program_number(program, command->number[3]);
    memcpy(fixed, &count, sizeof(count));
    return (size_t)(command->extra % 8 ? command->extra % 8 : command->extra % 600) * 16;
}

void program_request(struct program *program, const struct program_command *command,
                     struct program_request *request)
{
    static const struct shape none;
    uint32_t opcode = command->what % PROGRAM_OPCODES;
    const struct shape *shape = &shapes[opcode];
    uint8_t *bytes = request->bytes, *fixed = bytes + sizeof(struct fuse_in_header), *end;
    uint64_t words[32] = { 0 }; /* the struct: names follow where it ends */
    struct fuse_in_header header;
    size_t payload = 0, answer = 0;

    if (opcode == PROGRAM_OPCODES - 1) { /* one that there is not */
        opcode = (uint32_t)program_number(program, command->number[0]);
        shape = opcode < PROGRAM_OPCODES ? &shapes[opcode] : &none;
    }
    end = fixed + shape->fixed;
    for (unsigned i = 0; i < shape->names; i++) {
        const char *name = program_name(command->name[i]);
        size_t length = strlen(name) + (command->name[i] < 0xf0); /* or without its NUL */

        memcpy(end, name, length);
        end += length;
    }
    if (shape->flags & SHAPE_BYTES) {
        uint64_t wanted = program_number(program, command->number[3]);

        payload = wanted <= (1u << 20) + 4096 ? (size_t)wanted : wanted % 9000;
        if (opcode == FUSE_IOCTL && command->number[3] % 8)
            payload = command->number[3] % 40;
        memset(end, (int)command->extra, payload);
        if (opcode == FUSE_IOCTL && payload >= 4)
            memcpy(end, &command->number[2], 2);
        end += payload;
    }
    if (command->how & HOW_WORDS)
        for (unsigned i = 0; i * 8u < shape->fixed; i++)
            words[i] = program_number(program, command->number[i % 4]);
    else
        answer = put_struct(program, command, opcode, words, payload);
    memcpy(fixed, words, shape->fixed);
    if (opcode == FUSE_BATCH_FORGET || opcode == FUSE_REMOVEMAPPING)
        end += put_list(program, command, opcode, fixed, end);

    request->size = (size_t)(end - bytes);
    request->room = sizeof(struct fuse_out_header) + (answer > 512 ? answer : 512);
    header = (struct fuse_in_header){
        .len = (uint32_t)request->size,
        .opcode = opcode,
        .unique = ++program->unique,
        .nodeid = pick_node(program, command, shape),
        .uid = command->node % 8 == 7 ? 1000 : 0,
        .gid = command->node % 8 == 7 ? 1000 : 0,
        .pid = 1,
    };
    if (command->how & HOW_LENGTH)
        header.len = command->extra & 1 ? (uint32_t)program_number(program, command->extra)
                                        : header.len - 8 + command->extra / 2 % 16;
    if (command->how & HOW_LENGTH && command->extra % 16 == 0)
        header.total_extlen = command->extra;
    memcpy(bytes, &header, sizeof(header));
    if (command->how & HOW_CUT)
        request->size = request->size * (command->extra % 1024) / 1024;
    if (command->how & HOW_ROOM)
        request->room = command->extra % 8 ? command->extra % 200 : 0;
    request->piece = command->how & HOW_PIECES ? 1 + command->extra % 300 : 0;
    if (request->piece && request->size / request->piece > 1000)
        request->piece = 4096;
    request->opcode = opcode;
    request->unique = header.unique;
    request->node = header.nodeid;
    request->silent = shape->flags & SHAPE_SILENT;
}

void program_remember(struct program *program, uint32_t opcode, uint64_t node, const void *answer,
                      size_t size)
{
    const struct fuse_entry_out *entry = answer;
    const struct fuse_open_out *open = answer;
    unsigned at = program->next % PROGRAM_KNOWN;

    switch (opcode) {
    case FUSE_READDIRPLUS:
        if (size < sizeof(*entry) || entry->nodeid == 0)
            return;
        program->known[at].node = entry->nodeid;
        break;
    case FUSE_LOOKUP:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_LINK:
        if (size < sizeof(*entry))
            return;
        program->known[at].node = entry->nodeid;
        break;
    case FUSE_CREATE:
    case FUSE_TMPFILE:
        if (size < sizeof(*entry) + sizeof(*open))
            return;
        program->known[at].node = entry->nodeid;
        program->known[at].fh = ((const struct fuse_open_out *)(entry + 1))->fh;
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        if (size < sizeof(*open))
            return;
        program->known[at].node = node;
        program->known[at].fh = open->fh;
        break;
    default:
        return;
    }
    program->next++;
}

/* ---- at random ------------------------------------------------------------------------------------- */

static uint16_t random_number(uint32_t (*dice)(uint32_t sides))
{
    return (uint16_t)(dice(3) == 0 ? dice(65536) : dice(2) ? dice(8) << 9 | 2u << 13 : dice(8192));
}

struct program_command program_random(uint32_t (*dice)(uint32_t sides), unsigned own)
{
    static const uint8_t often[] = {
        FUSE_LOOKUP,       FUSE_LOOKUP,          FUSE_OPEN,         FUSE_CREATE,
        FUSE_READ,         FUSE_WRITE,           FUSE_WRITE,        FUSE_SETATTR,
        FUSE_FALLOCATE,    FUSE_OPENDIR,         FUSE_SETUPMAPPING, FUSE_SETUPMAPPING,
        FUSE_SETUPMAPPING, FUSE_REMOVEMAPPING,   FUSE_INIT,         FUSE_READDIRPLUS,
        FUSE_UNLINK,       FUSE_COPY_FILE_RANGE,
    };
    struct program_command command = {
        .node = (uint8_t)(dice(8) ? dice(0xe0) : dice(256)),
        .handle = (uint8_t)(dice(8) ? dice(0xe0) : dice(256)),
        .how = (uint8_t)(dice(4) ? 0 : 1u << dice(8)),
        .name = { (uint8_t)(dice(4) ? dice(11) : dice(256)),
                  (uint8_t)(dice(4) ? dice(11) : dice(256)) },
        .extra = (uint16_t)dice(65536),
    };

    switch (dice(8)) {
    case 0:
    case 1:
    case 2:
        command.what = (uint8_t)dice(PROGRAM_OPCODES);
        break;
    case 3:
        command.what = (uint8_t)(PROGRAM_OPCODES + dice(own));
        break;
    default:
        command.what = often[dice(sizeof(often))];
    }
    for (unsigned i = 0; i < 4; i++)
        command.number[i] = random_number(dice);
    return command;
}
