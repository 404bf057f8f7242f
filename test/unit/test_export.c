/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport/virtiofs/export.c: a guest in the rings of a VMM that is the test's, whose window is a socket at
 * which the test answers. Nothing in between is left out.
 */
#include "test_fs.h"
#include "vhost_front.h"

#include "dax/mapper.h"
#include "transport/virtiofs/export.h"
#include "transport/virtiofs/wire.h"
#include <unistd.h>

#define CHUNK DAX_CHUNK_SIZE
#define QUEUES 2
#define QUEUE 1
#define RING 8

static struct export *export;
static struct front front;
static char path[64];
static uint64_t file, unique;

/* ---- the guest --------------------------------------------------------------------------- */

static struct fuse_out_header *put(uint16_t desc, uint32_t opcode, uint64_t node, const void *in,
                                   size_t size)
{
    const struct fuse_in_header header = { .len = (uint32_t)(sizeof(header) + size),
                                           .opcode = opcode,
                                           .unique = ++unique,
                                           .nodeid = node,
                                           .pid = 1 };
    uint64_t from = guest_buffer(&front, 4096), to = guest_buffer(&front, 4096);

    memcpy(front_at(&front, from), &header, sizeof(header));
    memcpy((char *)front_at(&front, from) + sizeof(header), in, size);
    guest_desc(&front, QUEUE, desc, from, (uint32_t)(sizeof(header) + size), VRING_DESC_NEXT,
               desc + 1);
    guest_desc(&front, QUEUE, desc + 1, to, 4096, VRING_DESC_WRITE, 0);
    guest_avail(&front, QUEUE, desc);
    guest_kick(&front, QUEUE);
    return front_at(&front, to);
}

/* The answer's fixed part; its error is 0. */
static void *ask(uint32_t opcode, uint64_t node, const void *in, size_t size)
{
    struct fuse_out_header *out = put(0, opcode, node, in, size);

    (void)guest_used(&front, QUEUE);
    ck_assert_int_eq(out->error, 0);
    return out + 1;
}

/* ---- the VMM ----------------------------------------------------------------------------- */

/* What it is asked on the channel. */
static uint32_t asked(void)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    int fd = channel_receive(&front, &header, &map);

    if (fd >= 0)
        close(fd);
    return header.request;
}

static void answer(uint32_t request)
{
    channel_answer(&front, request, 0);
}

static void stop(uint16_t base[QUEUES])
{
    for (unsigned i = 0; i < QUEUES; i++) {
        front_queue_enable(&front, i, false);
        base[i] = front_queue_stop(&front, i);
    }
}

/* MS between the queues. */
static void go_on(const uint16_t base[QUEUES], unsigned ms)
{
    for (unsigned i = 0; i < QUEUES; i++)
        front_queue_set_up(&front, i, RING, base[i]);
    for (unsigned i = 0; i < QUEUES; i++) {
        front_queue_enable(&front, i, true);
        usleep(ms * 1000);
    }
}

/* ---- what each begins with --------------------------------------------------------------- */

static void setup(void)
{
    struct export_options options = { .path = path,
                                      .group = (gid_t)-1,
                                      .tag = FRONT_TAG,
                                      .root = "/",
                                      .window = FRONT_WINDOW,
                                      .queues = QUEUES - 1,
                                      .threads = 2 };
    const struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION,
                                       .minor = 38,
                                       .flags = FUSE_INIT_EXT | FUSE_MAP_ALIGNMENT };
    const struct {
        struct fuse_create_in in;
        char name[2];
    } __attribute__((packed))
    create = { { .flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0644 }, "f" };
    const struct fuse_setattr_in size = { .valid = FATTR_SIZE, .size = 4 * CHUNK };
    char *message;

    fx_setup();
    fx_becomes_a_file();
    snprintf(path, sizeof(path), "/tmp/daxfuse-export-%d", getpid());
    ck_assert_int_eq(export_open(fx.fs, 0, &options, &export, &message), 0);
    ck_assert_int_eq(export_start(export), 0);
    front_open(&front, path);
    front_start(&front, FRONT_FEATURES, QUEUES, RING);
    (void)ask(FUSE_INIT, 0, &init, sizeof(init));
    const struct fuse_entry_out *entry = ask(FUSE_CREATE, 1, &create, sizeof(create));
    file = entry->nodeid;
    (void)ask(FUSE_SETATTR, file, &size, sizeof(size));
}

static void teardown(void)
{
    front_close(&front);
    export_close(export);
    close(fx.below.pool->fd);
    fx.below.pool->fd = -1;
    fx_teardown();
}

/* ---- a pause ----------------------------------------------------------------------------- */

/* What was under way is answered when its own queue runs, whichever does first, and though the guest asks for
 * nothing more. */
START_TEST(a_request_goes_on_after_a_pause)
{
    const struct fuse_setupmapping_in in = { .fh = UINT64_MAX,
                                             .len = CHUNK,
                                             .flags = FUSE_SETUPMAPPING_FLAG_WRITE };
    uint16_t base[QUEUES];

    for (unsigned ms = 0; ms < 60; ms += 20) {
        struct fuse_out_header *out = put(2, FUSE_SETUPMAPPING, file, &in, sizeof(in));
        uint32_t request = asked();

        stop(base);
        answer(request);
        usleep(20000); /* it finds its queue standing */
        go_on(base, ms);
        (void)guest_used(&front, QUEUE);
        ck_assert_int_eq(out->error, 0);

        const struct {
            struct fuse_removemapping_in in;
            struct fuse_removemapping_one one;
        } __attribute__((packed)) list = { { 1 }, { 0, CHUNK } };
        out = put(4, FUSE_REMOVEMAPPING, file, &list, sizeof(list));
        answer(asked());
        (void)guest_used(&front, QUEUE);
        ck_assert_int_eq(out->error, 0);
    }
}
END_TEST

/* A list of which one part is gone before the pause, and the other after it. */
START_TEST(a_removal_is_done_in_two_parts)
{
    const struct fuse_setupmapping_in in = { .fh = UINT64_MAX,
                                             .len = 2 * CHUNK,
                                             .flags = FUSE_SETUPMAPPING_FLAG_WRITE };
    const struct {
        struct fuse_removemapping_in in;
        struct fuse_removemapping_one one;
    } __attribute__((packed)) list = { { 1 }, { 0, 2 * CHUNK } };
    struct fuse_out_header *out = put(2, FUSE_SETUPMAPPING, file, &in, sizeof(in));
    uint16_t base[QUEUES];

    for (unsigned i = 0; i < 2; i++)
        answer(asked());
    (void)guest_used(&front, QUEUE);
    ck_assert_int_eq(out->error, 0);
    out = put(4, FUSE_REMOVEMAPPING, file, &list, sizeof(list));
    uint32_t request = asked();
    stop(base);
    answer(request);
    usleep(20000);
    go_on(base, 0);
    answer(asked());
    (void)guest_used(&front, QUEUE);
    ck_assert_int_eq(out->error, 0);
    /* And what nobody has mapped is the guest's mistake. */
    out = put(6, FUSE_REMOVEMAPPING, file, &list, sizeof(list));
    (void)guest_used(&front, QUEUE);
    ck_assert_int_eq(out->error, -EINVAL);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, a_request_goes_on_after_a_pause);
    tcase_add_test(tcase, a_removal_is_done_in_two_parts);
}

int main(void)
{
    return suite_run("export", 4, setup, teardown, add);
}
