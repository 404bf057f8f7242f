/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that sends anything (L6): requests that are likely to do something, with numbers, names and lengths at
 * random. Nothing crashes or hangs, and the next session is served.
 */
#include "test_guest.h"

#include "transport/virtiofs/decode.h"

static uint8_t bytes[70000];

static uint64_t random_state;

static uint64_t rnd(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

/* What was answered: nodes, and what they are open as. */
#define KNOWN 16
static struct {
    uint64_t node, fh;
} known[KNOWN];

static uint64_t some_number(void)
{
    static const uint64_t numbers[] = { 0,          1,         2,          3,
                                        4096,       CHUNK,     3 * CHUNK,  -CHUNK,
                                        UINT64_MAX, INT64_MAX, UINT32_MAX, 1ull << 31 };

    switch (rnd(4)) {
    case 0:
        return numbers[rnd(sizeof(numbers) / sizeof(numbers[0]))];
    case 1:
        return rnd(2) ? known[rnd(KNOWN)].node : known[rnd(KNOWN)].fh;
    case 2:
        return rnd(10000);
    default:
        return rnd(64);
    }
}

static uint64_t some_chunk(void)
{
    return rnd(10) ? rnd(4) * CHUNK : some_number();
}

/* A struct that has a chance, for those that have little with numbers at random. */
static void put_likely(uint32_t opcode, unsigned which, size_t payload)
{
    union guest_in *in = (void *)(bytes + sizeof(struct fuse_in_header));

    switch (opcode) {
    case FUSE_READ:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
        in->read = (struct fuse_read_in){ .offset = rnd(5) ? 0 : some_number(),
                                          .size = (uint32_t)some_number() };
        break;
    case FUSE_WRITE:
        in->write = (struct fuse_write_in){ .offset = rnd(3 * CHUNK),
                                            .size = (uint32_t)payload,
                                            .write_flags = (uint32_t)rnd(8),
                                            .flags = rnd(4) ? 0 : O_APPEND };
        break;
    case FUSE_FALLOCATE:
        in->fallocate = (struct fuse_fallocate_in){ .offset = rnd(3 * CHUNK),
                                                    .length = rnd(CHUNK),
                                                    .mode = (uint32_t)rnd(64) };
        break;
    case FUSE_SETATTR:
        in->setattr.valid = (uint32_t)rnd(1u << 12);
        in->setattr.size = rnd(4 * CHUNK);
        break;
    case FUSE_LINK:
        in->link.oldnodeid = known[rnd(KNOWN)].node;
        break;
    case FUSE_RENAME:
    case FUSE_RENAME2:
        in->rename2 = (struct fuse_rename2_in){ .newdir = rnd(2) ? 1 : known[rnd(KNOWN)].node };
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
    case FUSE_CREATE:
        in->open.flags = opcode == FUSE_OPENDIR ? 0 : (uint32_t)rnd(4) | (rnd(9) ? 0 : O_TRUNC);
        break;
    case FUSE_COPY_FILE_RANGE:
    case FUSE_COPY_FILE_RANGE_64: {
        unsigned to = (unsigned)rnd(KNOWN);

        in->copy_range = (struct fuse_copy_file_range_in){ .off_in = rnd(CHUNK),
                                                           .nodeid_out = known[to].node,
                                                           .fh_out = known[to].fh,
                                                           .off_out = rnd(CHUNK),
                                                           .len = rnd(CHUNK) };
        break;
    }
    case FUSE_SETUPMAPPING:
        in->setupmapping = (struct fuse_setupmapping_in){
            .foffset = some_chunk(), .len = CHUNK, .flags = rnd(4), .moffset = some_chunk()
        };
        break;
    case FUSE_GETLK:
    case FUSE_SETLK:
    case FUSE_SETLKW:
        in->lk = (struct fuse_lk_in){
            .owner = rnd(4),
            .lk = { .start = rnd(100), .end = 50 + rnd(100), .type = (uint32_t)rnd(3) },
            .lk_flags = (uint32_t)rnd(2),
        };
        break;
    case FUSE_FLUSH:
        in->flush.lock_owner = rnd(4);
        break;
    case FUSE_SETXATTR:
        in->setxattr = (struct fuse_setxattr_in){ .size = (uint32_t)payload };
        break;
    case FUSE_REMOVEMAPPING:
        in->removemapping.count = 1;
        memcpy(bytes + 44, (uint64_t[]){ some_chunk(), CHUNK }, 16);
        break;
    default:
        break;
    }
    in->fh = opcode == FUSE_SETUPMAPPING ? UINT64_MAX
             : opcode == FUSE_RENAME || opcode == FUSE_RENAME2 || opcode == FUSE_LINK ||
                     opcode == FUSE_OPEN || opcode == FUSE_OPENDIR || opcode == FUSE_CREATE ||
                     opcode == FUSE_SETATTR || opcode == FUSE_SETXATTR ||
                     opcode == FUSE_REMOVEMAPPING
                 ? in->fh
                 : known[which].fh;
}

static void remember(uint32_t opcode, uint64_t node)
{
    unsigned to = (unsigned)rnd(KNOWN);

    switch (opcode) {
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        known[to].node = node;
        known[to].fh = ANSWER(struct fuse_open_out)->fh;
        break;
    case FUSE_CREATE:
    case FUSE_TMPFILE:
        memcpy(&known[to].fh, client.answer + sizeof(struct fuse_entry_out), 8);
        /* fall through */
    case FUSE_LOOKUP:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_LINK:
        known[to].node = ANSWER(struct fuse_entry_out)->nodeid;
        break;
    default:
        break;
    }
}

#define WAITING 200
static struct vhost_request *waiting[WAITING];
static unsigned waiting_count;

static void random_request(void)
{
    static const char *const names[] = {
        "a", "b", "c", "d", "user.x", "user.y", "system.posix_acl_access", "..", "a/b", ""
    };
    static const unsigned count = sizeof(names) / sizeof(names[0]);
    uint32_t opcode = rnd(50) ? (uint32_t)rnd(54) : (uint32_t)rnd(UINT32_MAX);
    const struct guest_op *op = guest_op(opcode);
    size_t at = sizeof(struct fuse_in_header), fixed = op ? op->fixed : rnd(100), payload = 0;
    struct fuse_in_header *header = (void *)bytes;
    unsigned which = (unsigned)rnd(KNOWN);
    int r;

    if ((opcode == FUSE_DESTROY && rnd(20)) || (opcode == FUSE_INIT && rnd(10)))
        return;
    for (size_t i = 0; i < fixed; i += 8) {
        uint64_t number = rnd(3) ? some_number() : some_number() << 32 | (uint32_t)some_number();
        memcpy(bytes + at + i, &number, 8);
    }
    at += fixed;
    for (unsigned i = 0; op && i < op->names; i++) {
        const char *name = names[rnd(rnd(4) ? 6 : count)];

        memcpy(bytes + at, name, strlen(name) + 1);
        at += strlen(name) + 1;
    }
    if (opcode == FUSE_REMOVEMAPPING)
        at += 16;
    else if (rnd(20) == 0 || (op && (op->flags & (OP_BYTES | OP_PAYLOAD)) && rnd(2)))
        for (payload = rnd(3000); at < payload; at++)
            bytes[at] = (uint8_t)rnd(256);
    if (op) {
        payload = at - sizeof(*header) - fixed;
        if (op->names > 0 && payload > 0)
            payload -= strlen((char *)bytes + sizeof(*header) + fixed) + 1;
        if (rnd(8))
            put_likely(opcode, which, payload);
    }
    *header = (struct fuse_in_header){
        .len = (uint32_t)(rnd(30) ? at : rnd(at + 100)),
        .opcode = opcode,
        .unique = rnd(UINT64_MAX),
        .nodeid = rnd(10) == 0                                               ? some_number()
                  : op && op->names > 0 && !(op->flags & OP_XATTR) && rnd(4) ? 1
                                                                             : known[which].node,
    };
    if (opcode == FUSE_INIT)
        memcpy(bytes + sizeof(*header), (uint32_t[]){ 7, 31 + (uint32_t)rnd(20) }, 8);
    client.piece = rnd(3) ? 0 : 1 + rnd(200);
    if (opcode == FUSE_SETLKW) { /* may wait */
        if (waiting_count == WAITING)
            return;
        waiting[waiting_count] = fake_request(bytes, at, 16, client.piece);
        guest_dispatch(guest, waiting[waiting_count++]);
        return;
    }
    r = ask_raw(&client, bytes, rnd(30) ? at : rnd(at + 1),
                rnd(10) ? (client.piece ? 8192 : ROOM) : rnd(300));
    if (r == 0)
        remember(opcode, header->nodeid);
}

/* It was no exercise in being refused. */
static void expect_reached(void)
{
    static const enum door_kind kinds[] = { DOOR_GETATTR, DOOR_SETATTR, DOOR_OPEN, DOOR_RELEASE,
                                            DOOR_SETLK };
    struct door_kind_stats stats;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        guest_get_stats(guest, kinds[i], &stats);
        if (stats.count == stats.errors)
            ck_abort_msg("all %llu of %s failed", (unsigned long long)stats.count, stats.name);
    }
}

START_TEST(test_at_random)
{
    uint64_t handle;

    random_state = 0x9e3779b97f4a7c15u * (unsigned)(_i + 1);
    for (unsigned i = 0; i < KNOWN; i++)
        known[i].node = 1;
    for (unsigned i = 0; i < 6000; i++) {
        random_request();
        if (atomic_load(&guest->state) != GUEST_READY) {
            ck_assert_int_eq(ask_init_as(&client, 45, ~(uint64_t)0), 0);
            for (unsigned k = 0; k < KNOWN; k++)
                known[k].node = 1;
        }
    }
    expect_reached();
    client.piece = 0;
    /* And it works. */
    ck_assert_int_eq(ask_init(), 0);
    ck_assert_int_eq(ask_open(1, O_RDONLY, true, &handle), 0);
    /* Who waited does so no more. */
    for (unsigned i = 0; i < waiting_count; i++) {
        fake_wait(waiting[i]);
        fake_free(waiting[i]);
    }
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_loop_test(tcase, test_at_random, 0, 8);
}

int main(void)
{
    return guest_main("guest_random", guest_setup, add);
}
