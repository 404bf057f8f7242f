/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that means harm (L6): lengths, counts, names, node ids and handles that are wrong,
 * requests at the wrong time, answers with no room or no place. The answer is an error, or none. Bytes
 * at random: test_guest_random.c.
 */
#include "test_guest.h"

#include "transport/virtiofs/decode.h"

#include <sched.h>

static uint8_t bytes[70000];

/* For this thread. */
static _Thread_local bool no_memory;
void *__wrap_malloc(size_t size);
void *__real_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
    return no_memory ? NULL : __real_malloc(size);
}

START_TEST(test_lengths)
{
    struct fuse_in_header *header = (void *)bytes;
    const struct fuse_getattr_in in = { 0 };
    size_t size = put_request(&client, bytes, FUSE_GETATTR, 1, &in, sizeof(in), NULL, 0);

    for (size_t sent = 0; sent < size; sent++)
        ck_assert_int_eq(ask_raw(&client, bytes, sent, ROOM), -EINVAL);
    for (uint32_t length = 0; length < size + 40; length++) {
        header->len = length;
        ck_assert_int_eq(ask_raw(&client, bytes, size + 20, ROOM), length == size ? 0 : -EINVAL);
    }
    header->len = UINT32_MAX;
    ck_assert_int_eq(ask_raw(&client, bytes, size, ROOM), -EINVAL);
    header->len = (uint32_t)size;
    header->total_extlen = 1;
    ck_assert_int_eq(ask_raw(&client, bytes, size, ROOM), -EINVAL);
    header->total_extlen = 0;
    /* No room for the answer: an error; none for that: nothing. */
    for (size_t room = 0; room < 16 + sizeof(struct fuse_attr_out); room++)
        ck_assert_int_eq(ask_raw(&client, bytes, size, room), room < 16 ? 1 : -EINVAL);
    ck_assert_int_eq(ask_raw(&client, bytes, size, 16 + sizeof(struct fuse_attr_out)), 0);
}
END_TEST

/* Nothing is made when there is no room to say so. */
START_TEST(test_no_room_nothing_done)
{
    const struct fuse_mkdir_in in = { .mode = 0755 };
    uint64_t node;

    client.room = 16 + 127;
    ck_assert_int_eq(ASK_NAME(FUSE_MKDIR, 1, in, "d"), -EINVAL);
    client.room = 0;
    ck_assert_int_eq(ask_lookup(1, "d", &node), -ENOENT);
    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, "s\0target", 9), 0);
    node = ANSWER(struct fuse_entry_out)->nodeid;
    client.room = 16 + 5;
    ck_assert_int_eq(ask(FUSE_READLINK, node, NULL, 0, NULL, 0), -EINVAL);
}
END_TEST

START_TEST(test_operations_unknown)
{
    static const uint32_t unknown[] = { 0,         7,  19,   FUSE_ACCESS, FUSE_BMAP,
                                        FUSE_POLL, 54, 4096, UINT32_MAX };

    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        ck_assert_int_eq(ask(unknown[i], 1, NULL, 0, NULL, 0), -ENOSYS);
    ck_assert_int_eq(ask(FUSE_INTERRUPT, 0, bytes, 8, NULL, 0), 1);
}
END_TEST

START_TEST(test_names)
{
    const struct fuse_mkdir_in in = { .mode = 0755 };
    char name[5000];
    uint64_t node;

    memset(name, 'n', sizeof(name));
    for (size_t length = 0; length < sizeof(name); length += length < 300 ? 1 : 1000) {
        name[length] = '\0';
        int expected = length == 0 ? -EINVAL : length > 255 ? -ENAMETOOLONG : 0;
        ck_assert_int_eq(ask(FUSE_MKDIR, 1, &in, sizeof(in), name, length + 1), expected);
        name[length] = 'n';
    }
    ck_assert_int_eq(ask(FUSE_MKDIR, 1, &in, sizeof(in), "x", 1), -EINVAL); /* no NUL */
    ck_assert_int_eq(ask(FUSE_MKDIR, 1, &in, sizeof(in), "x\0y", 3), -EINVAL);
    ck_assert_int_eq(ask(FUSE_MKDIR, 1, &in, sizeof(in), "x\0\0", 3), -EINVAL);
    ck_assert_int_eq(ask(FUSE_MKDIR, 1, &in, sizeof(in), "a/b", 4), -EINVAL);
    ck_assert_int_eq(ask(FUSE_MKDIR, 1, &in, sizeof(in), "/", 2), -EINVAL);
    ck_assert_int_eq(ask(FUSE_MKDIR, 1, &in, sizeof(in), ".", 2), -EEXIST);
    ck_assert_int_eq(ask(FUSE_MKDIR, 1, &in, sizeof(in), "..", 3), -EEXIST);
    ck_assert_int_eq(ask_lookup(1, "../../etc", &node), -EINVAL);
    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, "a\0b\0c", 6), -EINVAL);
    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, "a\0", 2), -EINVAL);
    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, "a\0\0", 3), -ENOENT);
    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, NULL, 0), -EINVAL);
    memset(bytes, 't', sizeof(bytes));
    memcpy(bytes, "l", 2);
    bytes[2 + 4095] = '\0';
    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, bytes, 2 + 4096), 0);
    bytes[2 + 4095] = 't';
    bytes[2 + 4096] = '\0';
    memcpy(bytes, "m", 2);
    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, bytes, 2 + 4097), -ENAMETOOLONG);
    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, bytes, 60000), -ENAMETOOLONG);
    ck_assert_int_eq(ask(FUSE_RENAME, 1, &(struct fuse_rename_in){ 1 }, 8, "nn\0x/y", 7), -EINVAL);
    ck_assert_int_eq(ask(FUSE_RENAME, 1, &(struct fuse_rename_in){ 1 }, 8, "nn\0", 3), -EINVAL);
}
END_TEST

START_TEST(test_nodes)
{
    static const uint64_t made_up[] = { 0, 2, 64, UINT32_MAX, 1ull << 32, UINT64_MAX };
    const struct fuse_getattr_in get = { 0 };
    const struct guest_options options = guest_fixture_options();
    struct fuse_link_in link = { 0 };
    struct guest *first = guest;
    uint64_t node, others, fh;

    for (size_t i = 0; i < sizeof(made_up) / sizeof(made_up[0]); i++) {
        ck_assert_int_eq(ASK(FUSE_GETATTR, made_up[i], get), -ESTALE);
        link.oldnodeid = made_up[i];
        ck_assert_int_eq(ASK_NAME(FUSE_LINK, 1, link, "l"), -ESTALE);
        ck_assert_int_eq(ask_forget(made_up[i], UINT64_MAX), 1);
    }
    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(ASK(FUSE_GETATTR, node + 1, get), -ESTALE);
    ck_assert_int_eq(ASK(FUSE_GETATTR, node + (1ull << 32), get), -ESTALE);
    /* Of another door. */
    guest_fixture_open(&options);
    ck_assert_int_eq(ask_init(), 0);
    ck_assert_int_eq(ASK(FUSE_GETATTR, node, get), -ESTALE);
    ck_assert_int_eq(ask_read(node, fh, 0, 10), -EBADF);
    ck_assert_int_eq(ask_lookup(1, "f", &others), 0);
    ck_assert_int_eq(ask_read(others, fh, 0, 10), -EBADF);
    guest_close(guest);
    client.guest = guest = first;
    /* More forgotten than there was, and again. */
    ck_assert_int_eq(ask_lookup(1, "f", &others), 0);
    ck_assert_uint_eq(others, node);
    ck_assert_int_eq(ask_forget(node, UINT64_MAX), 1);
    ck_assert_int_eq(ask_forget(node, 1), 1);
    ck_assert_uint_eq(guest_lookups(), 0);
    ck_assert_int_eq(ASK(FUSE_GETATTR, node, get), -ESTALE);
    ck_assert_int_eq(ask_read(node, fh, 0, 10), 0); /* the handle is one by itself */
}
END_TEST

START_TEST(test_handles)
{
    struct fuse_getattr_in get = { .getattr_flags = FUSE_GETATTR_FH };
    struct fuse_setattr_in set = { .valid = FATTR_SIZE | FATTR_FH };
    struct fuse_copy_file_range_in copy = { .len = 10 };
    struct fuse_fallocate_in fallocate = { .length = 4096 };
    struct fuse_read_in dir_in = { .size = 4096 };
    uint64_t a, b, a_fh, reader, writer, dir_fh;

    ck_assert_int_eq(ask_create(1, "a", O_RDWR, &a, &a_fh), 0);
    ck_assert_int_eq(ask_write(a, a_fh, 0, "abc", 3, 0), 0);
    ck_assert_int_eq(ask_create(1, "b", O_WRONLY, &b, &writer), 0);
    ck_assert_int_eq(ask_open(a, O_RDONLY, false, &reader), 0);
    ck_assert_int_eq(ask_open(1, O_RDONLY, true, &dir_fh), 0);
    ck_assert_int_eq(ask_open(1, O_RDONLY, false, &dir_in.fh), -EISDIR);
    ck_assert_int_eq(ask_open(a, O_RDONLY, true, &dir_in.fh), -ENOTDIR);
    /* Not of this node, nor of this kind, nor for this. */
    ck_assert_int_eq(ask_read(b, a_fh, 0, 3), -EBADF);
    ck_assert_int_eq(ask_read(1, dir_fh, 0, 3), -EBADF);
    ck_assert_int_eq(ask_read(b, writer, 0, 3), -EBADF);
    ck_assert_int_eq(ask_write(a, reader, 0, "x", 1, 0), -EBADF);
    fallocate.fh = reader;
    ck_assert_int_eq(ASK(FUSE_FALLOCATE, a, fallocate), -EBADF);
    dir_in.fh = a_fh;
    ck_assert_int_eq(ASK(FUSE_READDIR, a, dir_in), -EBADF);
    ck_assert_int_eq(ask_release(1, dir_fh, false), -EBADF);
    ck_assert_int_eq(ask_release(b, a_fh, false), -EBADF);
    get.fh = writer;
    ck_assert_int_eq(ASK(FUSE_GETATTR, a, get), -EBADF);
    set.fh = reader;
    ck_assert_int_eq(ASK(FUSE_SETATTR, a, set), -EBADF);
    copy.fh_in = a_fh;
    copy.nodeid_out = b;
    copy.fh_out = reader;
    ck_assert_int_eq(ASK(FUSE_COPY_FILE_RANGE, a, copy), -EBADF);
    copy.nodeid_out = a;
    ck_assert_int_eq(ASK(FUSE_COPY_FILE_RANGE, a, copy), -EBADF);
    copy.fh_in = writer;
    ck_assert_int_eq(ASK(FUSE_COPY_FILE_RANGE, b, copy), -EBADF);
    /* Twice. */
    ck_assert_int_eq(ask_release(a, a_fh, false), 0);
    ck_assert_int_eq(ask_release(a, a_fh, false), -EBADF);
    ck_assert_int_eq(ask_read(a, a_fh, 0, 3), -EBADF);
    /* A size that is not the payload's. */
    struct fuse_write_in in = { .fh = writer, .size = 100 };
    ck_assert_int_eq(ask(FUSE_WRITE, b, &in, sizeof(in), "abc", 3), -EINVAL);
    in.size = 2;
    ck_assert_int_eq(ask(FUSE_WRITE, b, &in, sizeof(in), "abc", 3), -EINVAL);
    in.size = 3;
    in.offset = UINT64_MAX - 1;
    ck_assert_int_eq(ask(FUSE_WRITE, b, &in, sizeof(in), "abc", 3), -EFBIG);
    ck_assert_int_eq(ask_read(a, reader, UINT64_MAX, UINT32_MAX), 0);
    ck_assert_uint_eq(client.size, 0);
}
END_TEST

/* At the limit nothing is opened, and nothing made. */
START_TEST(test_too_many_handles)
{
    uint64_t node, fh;

    guest->handles.limit = 2;
    ck_assert_int_eq(ask_open(1, O_RDONLY, true, &fh), 0);
    ck_assert_int_eq(ask_create(1, "a", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(ask_create(1, "b", O_RDWR, &node, &node), -ENFILE);
    ck_assert_int_eq(ask_lookup(1, "b", &node), -ENOENT);
    ck_assert_int_eq(ask_lookup(1, "a", &node), 0);
    ck_assert_int_eq(ask_open(node, O_RDWR | O_TRUNC, false, &fh), -ENFILE);
    ck_assert_uint_eq(guest_handles(), 2);
}
END_TEST

START_TEST(test_out_of_session)
{
    const struct guest_options options = guest_fixture_options();
    uint64_t node, fh;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(ask(FUSE_DESTROY, 0, NULL, 0, NULL, 0), 0);
    ck_assert_uint_eq(guest_lookups(), 0);
    ck_assert_uint_eq(guest_handles(), 0);
    for (int round = 0; round < 2; round++) {
        for (uint32_t opcode = 1; opcode < 54; opcode++) {
            const struct guest_op *op = guest_op(opcode);

            /* Of SETXATTR the struct depends on what was agreed on. */
            if (!op || (op->flags & OP_ANYTIME) || opcode == FUSE_SETXATTR)
                continue;
            memset(bytes, 0, sizeof(bytes));
            memcpy(bytes + op->fixed, "n\0m", 4);
            ck_assert_int_eq(ask(opcode, 1, bytes, op->fixed, bytes + op->fixed, op->names * 2),
                             op->flags & OP_SILENT ? 1 : -EIO);
        }
        guest_close(guest);
        guest_fixture_open(&options); /* that has had no INIT */
    }
    ck_assert_int_eq(ask_init(), 0);
    ck_assert_int_eq(ask_read(node, fh, 0, 1), -EBADF);
    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
}
END_TEST

/* The VMM went away: nothing is left of the guest. */
START_TEST(test_reset)
{
    uint64_t node, fh;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    guest_reset(guest);
    while (guest_lookups() > 0 || guest_handles() > 0)
        sched_yield();
    ck_assert_int_eq(ask_init(), 0);
    ck_assert_int_eq(ASK(FUSE_GETATTR, node, (struct fuse_getattr_in){ 0 }), -ESTALE);
}
END_TEST

/* Also when there is no memory for it, as nothing else may come. */
START_TEST(test_reset_without_memory)
{
    uint64_t node, fh;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    no_memory = true;
    guest_reset(guest);
    guest_reset(guest);
    no_memory = false;
    while (guest_lookups() > 0 || guest_handles() > 0)
        sched_yield();
    for (unsigned i = 0; i < 100; i++) { /* one after the other, or while one is under way */
        ck_assert_int_eq(ask_init(), 0);
        ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
        guest_reset(guest);
        guest_reset(guest);
    }
    while (guest_lookups() > 0)
        sched_yield();
}
END_TEST

/* Lists that wait are copies here. */
START_TEST(test_long_lists)
{
    static struct {
        struct fuse_removemapping_in in;
        struct fuse_removemapping_one one[257];
    } __attribute__((packed)) list;

    for (list.in.count = 255; list.in.count <= 257; list.in.count++)
        ck_assert_int_eq(ask(FUSE_REMOVEMAPPING, 1, &list, 4 + list.in.count * 16, NULL, 0),
                         list.in.count <= 256 ? -EINVAL : -E2BIG);
}
END_TEST

/* What a request holds stays, though it is forgotten and closed meanwhile; but nobody else finds
 * it. */
START_TEST(test_what_is_in_use)
{
    struct fs_handle *held;
    uint64_t node, fh, ino, found;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(nodes_pin(&guest->nodes, node, &ino, NULL), 0);
    ck_assert_int_eq(ask_forget(node, 100), 1);
    ck_assert_int_eq(nodes_pin(&guest->nodes, node, &found, NULL), -ESTALE);
    ck_assert_uint_eq(guest_lookups(), 1);
    ck_assert_int_eq(ask_lookup(1, "f", &found), 0);
    ck_assert_uint_ne(found, node);
    ck_assert_uint_eq(guest_lookups(), 2);
    nodes_unpin(&guest->nodes, node);
    ck_assert_uint_eq(guest_lookups(), 1);

    ck_assert_int_eq(handles_use(&guest->handles, fh, node, HANDLE_ANY, &held), 0);
    ck_assert_int_eq(ask_release(node, fh, false), 0);
    ck_assert_int_eq(ask_read(node, fh, 0, 1), -EBADF);
    ck_assert_uint_eq(guest_handles(), 1);
    ck_assert_uint_eq(fs_handle_ino(held), ino);
    handles_unuse(&guest->handles, fh);
    ck_assert_uint_eq(guest_handles(), 0);
}
END_TEST

/* As many nodes as there may be: no more, and nothing is made that could have none. */
START_TEST(test_many_nodes)
{
    const struct fuse_mkdir_in mkdir = { .mode = 0755 };
    const struct fuse_mknod_in mknod = { .mode = S_IFREG | 0600 };
    const struct fuse_create_in create = { .flags = O_RDWR, .mode = S_IFREG | 0600 };
    struct fuse_read_in list = { .size = 4096 };
    struct fuse_link_in link = { 0 };
    uint64_t node, other, fh;

    ck_assert_uint_eq(guest->nodes.limit, NODES_MAX);
    ck_assert_int_eq(ASK_NAME(FUSE_MKDIR, 1, mkdir, "b"), 0);
    ck_assert_int_eq(ask_forget(ANSWER(struct fuse_entry_out)->nodeid, 1), 1);
    guest->nodes.limit = 1;
    ck_assert_int_eq(ASK_NAME(FUSE_MKDIR, 1, mkdir, "a"), 0);
    node = ANSWER(struct fuse_entry_out)->nodeid;
    ck_assert_int_eq(ask_lookup(1, "b", &other), -ENFILE);
    ck_assert_int_eq(ask_lookup(1, "a", &other), 0);
    ck_assert_uint_eq(other, node);
    ck_assert_int_eq(ASK_NAME(FUSE_MKDIR, 1, mkdir, "d"), -ENFILE);
    ck_assert_int_eq(ASK_NAME(FUSE_MKNOD, 1, mknod, "n"), -ENFILE);
    ck_assert_int_eq(ASK_NAME(FUSE_CREATE, 1, create, "c"), -ENFILE);
    ck_assert_int_eq(ASK_NAME(FUSE_TMPFILE, 1, create, "/"), -ENFILE);
    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, "s\0t", 4), -ENFILE);
    ck_assert_uint_eq(guest_lookups(), 2);
    ck_assert_uint_eq(guest_handles(), 0);

    /* It may still look who is there. */
    ck_assert_int_eq(ask_open(1, O_RDONLY, true, &fh), 0);
    list.fh = fh;
    ck_assert_int_eq(ASK(FUSE_READDIRPLUS, 1, list), 0);
    ck_assert_uint_gt(client.size, 0);
    ck_assert_int_eq(ask_release(1, fh, true), 0);

    ck_assert_int_eq(ask_forget(node, 100), 1);
    ck_assert_int_eq(ask_lookup(1, "d", &other), -ENOENT);
    ck_assert_int_eq(ask_lookup(1, "n", &other), -ENOENT);
    ck_assert_int_eq(ask_lookup(1, "c", &other), -ENOENT);
    ck_assert_int_eq(ask_lookup(1, "s", &other), -ENOENT);
    ck_assert_int_eq(ask_lookup(1, "b", &other), 0);
    ck_assert_int_eq(ask_forget(other, 1), 1);
    /* Another name is no other node. */
    ck_assert_int_eq(ASK_NAME(FUSE_MKNOD, 1, mknod, "n"), 0);
    link.oldnodeid = ANSWER(struct fuse_entry_out)->nodeid;
    ck_assert_int_eq(ASK_NAME(FUSE_LINK, 1, link, "m"), 0);
}
END_TEST

/* A request that began before the guest began anew brings nothing into what is now. */
START_TEST(test_a_late_request)
{
    uint32_t epoch = atomic_load(&guest->epoch), place, other;
    struct fs_handle *late = fx_create("f");
    uint64_t ino = fs_handle_ino(late), id;

    ck_assert_int_eq(handles_reserve(&guest->handles, epoch, &place), 0);
    ck_assert_int_eq(ask_init(), 0);
    ck_assert_int_eq(nodes_add(&guest->nodes, epoch, ino, &(bool){ false }, &id), -ENOTCONN);
    ck_assert_int_eq(handles_reserve(&guest->handles, epoch, &other), -ENOTCONN);
    ck_assert_int_eq(handles_fill(&guest->handles, epoch, place, late, 1, HANDLE_FILE, &id),
                     -ENOTCONN);
    ck_assert_uint_eq(handles_count(&guest->handles), 0);
    fs_release(fx.fs, late);
    fs_forget(fx.fs, ino, 1);
}
END_TEST

static int ask_broken(uint32_t opcode, uint64_t node, const void *fixed, size_t fixed_size,
                      const void *more, size_t more_size, size_t in_at, size_t out_at)
{
    size_t size = put_request(&client, bytes, opcode, node, fixed, fixed_size, more, more_size);
    struct vhost_request *request = fake_request(bytes, size, ROOM, 64);
    struct fuse_out_header header;
    size_t written;

    fake_break_in(request, in_at);
    fake_break_out(request, out_at);
    guest_dispatch(guest, request);
    written = fake_wait(request);
    fake_answer(request, &header, sizeof(header));
    fake_free(request);
    return written == 0 ? 1 : header.error;
}

/* Addresses that are no memory: what was done for an answer that cannot be given is taken back. */
START_TEST(test_memory_that_is_not_there)
{
    const struct fuse_create_in create = { .flags = O_RDWR, .mode = S_IFREG | 0600 };
    struct fuse_write_in write_in = { .size = 3 };
    struct fuse_read_in in = { .size = 4096 };
    const struct fuse_open_in open_in = { 0 };
    uint64_t node, fh, dir_fh;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(ask_write(node, fh, 0, "abc", 3, 0), 0);
    ck_assert_int_eq(ask_open(1, O_RDONLY, true, &dir_fh), 0);
    ck_assert_int_eq(ask_broken(FUSE_LOOKUP, 1, NULL, 0, "f", 2, 0, SIZE_MAX), -EFAULT);
    ck_assert_int_eq(ask_broken(FUSE_LOOKUP, 1, NULL, 0, "f", 2, 41, SIZE_MAX), -EFAULT);
    ck_assert_int_eq(ask_broken(FUSE_LOOKUP, 1, NULL, 0, "f", 2, SIZE_MAX, 20), -EFAULT);
    ck_assert_int_eq(ask_broken(FUSE_LOOKUP, 1, NULL, 0, "f", 2, SIZE_MAX, 0), 1);
    ck_assert_int_eq(ask_broken(FUSE_OPEN, node, &open_in, 8, NULL, 0, SIZE_MAX, 20), -EFAULT);
    ck_assert_int_eq(ask_broken(FUSE_CREATE, 1, &create, sizeof(create), "g", 2, SIZE_MAX, 20),
                     -EFAULT);
    in.fh = fh;
    ck_assert_int_eq(ask_broken(FUSE_READ, node, &in, sizeof(in), NULL, 0, SIZE_MAX, 17), -EFAULT);
    in.fh = dir_fh;
    ck_assert_int_eq(ask_broken(FUSE_READDIRPLUS, 1, &in, sizeof(in), NULL, 0, SIZE_MAX, 100),
                     -EFAULT);
    write_in.fh = fh;
    ck_assert_int_eq(
        ask_broken(FUSE_WRITE, node, &write_in, sizeof(write_in), "xyz", 3, 81, SIZE_MAX), -EFAULT);
    ck_assert_uint_eq(guest_lookups(), 1);
    ck_assert_uint_eq(guest_handles(), 2);
    ck_assert_int_eq(ask_read(node, fh, 0, 10), 0);
    ck_assert_mem_eq(client.answer, "abc", 3);
}
END_TEST

/* A queue that stops: what was done is answered when it goes on, what was not is done then. */
START_TEST(test_a_queue_that_stops)
{
    const struct fuse_mkdir_in in = { .mode = 0755 };
    struct vhost_request *undone, *lost;
    struct fuse_entry_out entry[2];
    uint64_t node;
    size_t size = put_request(&client, bytes, FUSE_MKDIR, 1, &in, sizeof(in), "a", 2);

    undone = fake_request(bytes, size, ROOM, 0);
    atomic_store(&fake_stopped, true);
    guest_dispatch(guest, undone);
    guest_resume(guest); /* too early */
    ck_assert_int_eq(fx_lookup(1, "a"), -ENOENT);
    ck_assert(!fake_is_done(undone));
    atomic_store(&fake_stopped, false);
    guest_resume(guest);
    ck_assert_uint_eq(fake_wait(undone), 16 + sizeof(struct fuse_entry_out));
    fake_free(undone);
    ck_assert_int_eq(ask_lookup(1, "a", &node), 0);
    memcpy(&entry[0], client.answer, sizeof(entry[0]));

    /* Given up by the next INIT. */
    lost = fake_request(bytes, size, ROOM, 0);
    atomic_store(&fake_stopped, true);
    guest_dispatch(guest, lost);
    guest_reset(guest);
    ck_assert_uint_eq(fake_wait(lost), 0);
    fake_free(lost);
    atomic_store(&fake_stopped, false);
    ck_assert_int_eq(ask_init(), 0);
}
END_TEST

/* A request that comes to be kept when its ring is over already. */
START_TEST(test_a_ring_that_is_over)
{
    size_t size =
        put_request(&client, bytes, FUSE_GETATTR, 1, &(struct fuse_getattr_in){ 0 }, 16, NULL, 0);
    struct vhost_request *over = fake_request(bytes, size, ROOM, 0), *kept;

    kept = fake_request(bytes, size, ROOM, 0);
    atomic_store(&fake_stopped, true);
    guest_dispatch(guest, kept);
    guest_dispatch(guest, over);
    ck_assert(!fake_is_done(over));
    fake_cancel(over);
    guest_resume(guest);
    ck_assert_uint_eq(fake_wait(over), 0);
    fake_free(over);
    over = fake_request(bytes, size, ROOM, 0);
    fake_cancel(over);
    guest_dispatch(guest, over);
    ck_assert_uint_eq(fake_wait(over), 0);
    fake_free(over);
    ck_assert(!fake_is_done(kept));
    atomic_store(&fake_stopped, false);
    guest_resume(guest);
    ck_assert_uint_eq(fake_wait(kept), 16 + sizeof(struct fuse_attr_out));
    fake_free(kept);
}
END_TEST

static int stop_after;

static void stop_then(struct vhost_request *request)
{
    (void)request;
    if (stop_after > 0 && --stop_after == 0)
        atomic_store(&fake_stopped, true);
}

START_TEST(test_an_answer_that_waits)
{
    const struct fuse_mkdir_in in = { .mode = 0755 };
    size_t size = put_request(&client, bytes, FUSE_MKDIR, 1, &in, sizeof(in), "a", 2);
    struct vhost_request *request = fake_request(bytes, size, ROOM, 0);
    struct {
        struct fuse_out_header header;
        struct fuse_entry_out entry;
    } answer;
    uint64_t node;

    stop_after = 2; /* it may be read, and not answered */
    fake_on_access = stop_then;
    guest_dispatch(guest, request);
    fake_on_access = NULL;
    ck_assert(!fake_is_done(request));
    ck_assert_int_eq(fx_lookup(1, "a"), 0);
    atomic_store(&fake_stopped, false);
    ck_assert_int_eq(ask_lookup(1, "a", &node), 0); /* any request sets it going */
    ck_assert_uint_eq(fake_wait(request), sizeof(answer));
    fake_answer(request, &answer, sizeof(answer));
    ck_assert_int_eq(answer.header.error, 0);
    ck_assert_uint_eq(answer.entry.nodeid, node);
    fake_free(request);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_lengths);
    tcase_add_test(tcase, test_no_room_nothing_done);
    tcase_add_test(tcase, test_operations_unknown);
    tcase_add_test(tcase, test_names);
    tcase_add_test(tcase, test_nodes);
    tcase_add_test(tcase, test_handles);
    tcase_add_test(tcase, test_too_many_handles);
    tcase_add_test(tcase, test_out_of_session);
    tcase_add_test(tcase, test_reset);
    tcase_add_test(tcase, test_reset_without_memory);
    tcase_add_test(tcase, test_long_lists);
    tcase_add_test(tcase, test_what_is_in_use);
    tcase_add_test(tcase, test_many_nodes);
    tcase_add_test(tcase, test_a_late_request);
    tcase_add_test(tcase, test_memory_that_is_not_there);
    tcase_add_test(tcase, test_a_queue_that_stops);
    tcase_add_test(tcase, test_a_ring_that_is_over);
    tcase_add_test(tcase, test_an_answer_that_waits);
}

int main(void)
{
    return guest_main("guest_hostile", guest_setup, add);
}
