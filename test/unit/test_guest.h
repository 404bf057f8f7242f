/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest on a filesystem in memory, for the tests of transport/virtiofs: requests as its kernel
 * would send them.
 */
#ifndef DAXFUSE_TEST_GUEST_H
#define DAXFUSE_TEST_GUEST_H

#include "guest_fake.h"
#include "test_fs.h"
#include "transport/virtiofs/guest.h"
#include "transport/virtiofs/wire.h"
#include "transport/worker.h"
#include "window.h"

#define ROOM (256u << 10)
#define CHUNK DAX_CHUNK_SIZE

/* Who asks; one a thread. */
struct client {
    struct guest *guest;
    uint32_t uid, gid;
    size_t room;  /* for answers; 0: ROOM */
    size_t piece; /* bytes a segment; 0: one for all */
    uint64_t unique;
    size_t size; /* of the last answer, without its header */
    uint8_t answer[ROOM];
};

static struct guest *guest;
static struct worker_pool *workers;
static struct window window;
static struct client client;

static inline struct guest_options guest_fixture_options(void)
{
    return (struct guest_options){
        .fs = fx.fs,
        .root = 1,
        .dax = GUEST_DAX_SIZE,
        .dax_threshold = 1u << 20,
        .dax_door = &window.door,
        .workers = workers,
    };
}

/* Sends the bytes as they are; the answer's error, or 1 where there is none. */
static inline int ask_raw(struct client *who, const void *bytes, size_t size, size_t room)
{
    struct vhost_request *request = fake_request(bytes, size, room, who->piece);
    struct fuse_out_header header;
    size_t written;

    guest_dispatch(who->guest, request);
    written = fake_wait(request);
    who->size = 0;
    if (written == 0) {
        fake_free(request);
        return 1;
    }
    ck_assert_uint_ge(written, sizeof(header));
    fake_answer(request, &header, sizeof(header));
    ck_assert_uint_eq(header.len, written);
    ck_assert_int_le(header.error, 0);
    ck_assert_int_gt(header.error, -1000);
    ck_assert(header.error == 0 || written == sizeof(header));
    who->size = written - sizeof(header);
    if (who->size > 0) {
        uint8_t *all = malloc(written);

        fake_answer(request, all, written);
        ck_assert_uint_le(who->size, sizeof(who->answer));
        memcpy(who->answer, all + sizeof(header), who->size);
        free(all);
    }
    fake_free(request);
    return header.error;
}

static inline size_t put_request(struct client *who, uint8_t *buffer, uint32_t opcode,
                                 uint64_t node, const void *fixed, size_t fixed_size,
                                 const void *more, size_t more_size)
{
    struct fuse_in_header header = {
        .len = (uint32_t)(sizeof(header) + fixed_size + more_size),
        .opcode = opcode,
        .unique = ++who->unique,
        .nodeid = node,
        .uid = who->uid,
        .gid = who->gid,
        .pid = 1,
    };

    memcpy(buffer, &header, sizeof(header));
    if (fixed_size > 0)
        memcpy(buffer + sizeof(header), fixed, fixed_size);
    if (more_size > 0)
        memcpy(buffer + sizeof(header) + fixed_size, more, more_size);
    return header.len;
}

static inline int ask_as(struct client *who, uint32_t opcode, uint64_t node, const void *fixed,
                         size_t fixed_size, const void *more, size_t more_size)
{
    uint8_t *buffer = malloc(sizeof(struct fuse_in_header) + fixed_size + more_size);
    size_t size = put_request(who, buffer, opcode, node, fixed, fixed_size, more, more_size);
    int error = ask_raw(who, buffer, size, who->room ? who->room : ROOM);

    free(buffer);
    return error;
}

static inline int ask(uint32_t opcode, uint64_t node, const void *fixed, size_t fixed_size,
                      const void *more, size_t more_size)
{
    return ask_as(&client, opcode, node, fixed, fixed_size, more, more_size);
}

#define ASK(opcode, node, in) ask(opcode, node, &(in), sizeof(in), NULL, 0)
#define ASK_NAME(opcode, node, in, name) \
 ask(opcode, node, &(in), sizeof(in), name, strlen(name) + 1)
#define ANSWER(type) ((const type *)(const void *)client.answer)

static inline int ask_init_as(struct client *who, uint32_t minor, uint64_t flags)
{
    const struct fuse_init_in in = {
        .major = 7,
        .minor = minor,
        .max_readahead = 131072,
        .flags = (uint32_t)flags,
        .flags2 = (uint32_t)(flags >> 32),
    };

    return ask_as(who, FUSE_INIT, 0, &in, sizeof(in), NULL, 0);
}

static inline int ask_init(void)
{
    return ask_init_as(&client, 45, ~(uint64_t)0);
}

static inline int ask_lookup(uint64_t parent, const char *name, uint64_t *ret_node)
{
    int r = ask(FUSE_LOOKUP, parent, NULL, 0, name, strlen(name) + 1);

    *ret_node = 0;
    if (r == 0) {
        ck_assert_uint_eq(client.size, sizeof(struct fuse_entry_out));
        *ret_node = ANSWER(struct fuse_entry_out)->nodeid;
    }
    return r;
}

static inline int ask_create(uint64_t parent, const char *name, int flags, uint64_t *ret_node,
                             uint64_t *ret_fh)
{
    const struct fuse_create_in in = { .flags = (uint32_t)flags, .mode = S_IFREG | 0644 };
    int r = ASK_NAME(FUSE_CREATE, parent, in, name);

    *ret_node = *ret_fh = 0;
    if (r == 0) {
        ck_assert_uint_eq(client.size,
                          sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
        *ret_node = ANSWER(struct fuse_entry_out)->nodeid;
        *ret_fh = ((const struct fuse_open_out *)(const void *)(client.answer +
                                                                sizeof(struct fuse_entry_out)))
                      ->fh;
    }
    return r;
}

static inline int ask_mkdir(uint64_t parent, const char *name, uint64_t *ret_node)
{
    const struct fuse_mkdir_in in = { .mode = 0755 };
    int r = ASK_NAME(FUSE_MKDIR, parent, in, name);

    *ret_node = 0;
    if (r == 0)
        *ret_node = ANSWER(struct fuse_entry_out)->nodeid;
    return r;
}

static inline int ask_open(uint64_t node, int flags, bool directory, uint64_t *ret_fh)
{
    const struct fuse_open_in in = { .flags = (uint32_t)flags };
    int r = ASK(directory ? FUSE_OPENDIR : FUSE_OPEN, node, in);

    *ret_fh = 0;
    if (r == 0)
        *ret_fh = ANSWER(struct fuse_open_out)->fh;
    return r;
}

static inline int ask_write(uint64_t node, uint64_t fh, uint64_t offset, const void *bytes,
                            size_t size, uint32_t flags)
{
    const struct fuse_write_in in = {
        .fh = fh,
        .offset = offset,
        .size = (uint32_t)size,
        .flags = flags,
    };

    return ask(FUSE_WRITE, node, &in, sizeof(in), bytes, size);
}

static inline int ask_read(uint64_t node, uint64_t fh, uint64_t offset, size_t size)
{
    const struct fuse_read_in in = { .fh = fh, .offset = offset, .size = (uint32_t)size };

    return ASK(FUSE_READ, node, in);
}

static inline int ask_release(uint64_t node, uint64_t fh, bool directory)
{
    const struct fuse_release_in in = { .fh = fh };

    return ASK(directory ? FUSE_RELEASEDIR : FUSE_RELEASE, node, in);
}

static inline int ask_forget(uint64_t node, uint64_t count)
{
    const struct fuse_forget_in in = { .nlookup = count };

    return ASK(FUSE_FORGET, node, in);
}

static inline int ask_truncate(uint64_t node, uint64_t size)
{
    const struct fuse_setattr_in in = { .valid = FATTR_SIZE, .size = size };

    return ASK(FUSE_SETATTR, node, in);
}

static inline int ask_map(uint64_t node, uint64_t offset, uint64_t length, uint64_t moffset,
                          uint64_t flags)
{
    const struct fuse_setupmapping_in in = {
        .fh = UINT64_MAX,
        .foffset = offset,
        .len = length,
        .flags = flags,
        .moffset = moffset,
    };

    return ASK(FUSE_SETUPMAPPING, node, in);
}

static inline int ask_unmap(uint64_t node, uint64_t moffset, uint64_t length)
{
    const struct fuse_removemapping_in in = { .count = 1 };
    const struct fuse_removemapping_one one = { .moffset = moffset, .len = length };

    return ask(FUSE_REMOVEMAPPING, node, &in, sizeof(in), &one, sizeof(one));
}

static inline uint64_t guest_lookups(void)
{
    struct fs_info info;

    fs_get_info(fx.fs, &info);
    return info.lookups;
}

static inline uint64_t guest_handles(void)
{
    struct fs_info info;

    fs_get_info(fx.fs, &info);
    return info.handles;
}

static inline void guest_fixture_open(const struct guest_options *options)
{
    ck_assert_int_eq(guest_open(options, &guest), 0);
    client = (struct client){ .guest = guest };
}

static inline void guest_setup_before_init(void)
{
    struct guest_options options;

    fx_setup();
    window_init(&window, fx.below.pool, "guest", false);
    ck_assert_int_eq(fs_door_add(fx.fs, &window.door), 0);
    ck_assert_int_eq(worker_pool_create(3, &workers), 0);
    options = guest_fixture_options();
    guest_fixture_open(&options);
}

static inline void guest_setup(void)
{
    guest_setup_before_init();
    ck_assert_int_eq(ask_init(), 0);
}

/* Another guest, with other options, in place of the one that is there; INIT is said. */
static inline void guest_again(const struct guest_options *options)
{
    guest_close(guest);
    guest_fixture_open(options);
    ck_assert_int_eq(ask_init(), 0);
}

static inline void guest_teardown(void)
{
    guest_close(guest);
    worker_pool_destroy(workers);
    ck_assert_uint_eq(guest_lookups(), 0);
    ck_assert_uint_eq(guest_handles(), 0);
    fs_door_stop(fx.fs, &window.door);
    fs_door_over(fx.fs, &window.door);
    fs_door_remove(fx.fs, &window.door);
    window_destroy(&window);
    fx_teardown();
}

static inline int guest_main(const char *name, void (*setup)(void), void (*add)(TCase *))
{
    return suite_run(name, 30, setup, guest_teardown, add);
}

#endif
