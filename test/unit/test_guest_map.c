/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The window, as a guest asks for it; what ends its mappings; and what it may not ask for.
 */
#include "test_guest.h"

#include <linux/falloc.h>
#include <stdatomic.h>
#include <unistd.h>

#define READ FUSE_SETUPMAPPING_FLAG_READ
#define WRITE FUSE_SETUPMAPPING_FLAG_WRITE

static uint64_t file, handle; /* of three chunks, the first with bytes */

static void setup(void)
{
    guest_setup();
    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &file, &handle), 0);
    ck_assert_int_eq(ask_write(file, handle, 100, "bytes", 5, 0), 0);
    ck_assert_int_eq(ask_truncate(file, 3 * CHUNK), 0);
}

static unsigned mapped(void)
{
    unsigned count = 0;

    for (uint64_t slot = 0; slot < WINDOW_SLOTS; slot++)
        count += window_at(&window, slot, 0) != NULL;
    return count;
}

START_TEST(test_reads_and_stores)
{
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 5 * CHUNK, READ), 0);
    ck_assert_mem_eq(window_at(&window, 5, 100), "bytes", 5);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 5 * CHUNK, READ | WRITE), 0);
    memcpy(window_at(&window, 5, 100), "stored", 6);
    ck_assert_int_eq(ask_read(file, handle, 100, 6), 0);
    ck_assert_mem_eq(client.answer, "stored", 6);
    ck_assert_int_eq(ask_unmap(file, 5 * CHUNK, CHUNK), 0);
    ck_assert_uint_eq(mapped(), 0);
}
END_TEST

START_TEST(test_several_chunks)
{
    ck_assert_int_eq(ask_map(file, 0, 3 * CHUNK, CHUNK, READ), 0);
    ck_assert_uint_eq(mapped(), 3);
    ck_assert(window_shows_zeros(&window, 2));
    ck_assert_int_eq(ask_unmap(file, CHUNK, 3 * CHUNK), 0);
    ck_assert_uint_eq(mapped(), 0);
    /* Past EOF there is nothing to show. */
    ck_assert_int_eq(ask_map(file, 3 * CHUNK, CHUNK, 0, READ), -ENXIO);
}
END_TEST

START_TEST(test_bad_ranges)
{
    static const struct {
        uint64_t offset, length, moffset, flags;
    } bad[] = {
        { 1, CHUNK, 0, READ },
        { 4096, CHUNK, 0, READ },
        { 0, CHUNK - 1, 0, READ },
        { 0, 4096, 0, READ },
        { 0, 0, 0, READ },
        { 0, CHUNK, 4096, READ },
        { 0, CHUNK, WINDOW_SLOTS * CHUNK, READ },
        { 0, 2 * CHUNK, (WINDOW_SLOTS - 1) * CHUNK, READ },
        { 0, CHUNK, -CHUNK, READ },
        { 0, -CHUNK, 0, READ },
        { 0, -CHUNK, CHUNK, READ },
        { 0, 2 * CHUNK, -CHUNK, READ },
        { -CHUNK, CHUNK, 0, READ },
        { -CHUNK, 2 * CHUNK, 0, READ },
        { INT64_MAX / CHUNK * CHUNK, CHUNK, 0, READ },
        { 0, CHUNK, 0, 0 },
        { 0, CHUNK, 0, 4 },
        { 0, CHUNK, 0, UINT64_MAX },
    };
    uint64_t dir, fifo;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(ask_map(file, bad[i].offset, bad[i].length, bad[i].moffset, bad[i].flags),
                         -EINVAL);
    ck_assert_int_eq(ask_mkdir(1, "d", &dir), 0);
    ck_assert_int_eq(ask_map(dir, 0, CHUNK, 0, READ), -EISDIR);
    ck_assert_int_eq(ask_map(1, 0, CHUNK, 0, READ), -EISDIR);
    ck_assert_int_eq(
        ASK_NAME(FUSE_MKNOD, 1, ((struct fuse_mknod_in){ .mode = S_IFIFO | 0600 }), "p"), 0);
    fifo = ANSWER(struct fuse_entry_out)->nodeid;
    ck_assert_int_eq(ask_map(fifo, 0, CHUNK, 0, READ), -EINVAL);
    ck_assert_int_eq(ask_map(file + 1, 0, CHUNK, 0, READ), -ESTALE);
    ck_assert_uint_eq(mapped(), 0);
    /* Twice the same is no mistake. */
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ), 0);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ), 0);
    ck_assert_int_eq(ask_map(file, 0, 2 * CHUNK, 4 * CHUNK, READ), 0);
    ck_assert_uint_eq(mapped(), 3);
}
END_TEST

/* A place is used again, whatever became of the request that gave it up. */
START_TEST(test_places_are_used_again)
{
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ | WRITE), 0);
    ck_assert_int_eq(ask_map(file, CHUNK, CHUNK, 0, READ), 0);
    ck_assert(window_shows_zeros(&window, 0));
    atomic_store(&window.fails[WINDOW_UNMAP], -EBUSY);
    ck_assert_int_eq(ask_unmap(file, 0, CHUNK), -EBUSY);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ), -EBUSY);
    atomic_store(&window.fails[WINDOW_UNMAP], 0);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ), 0);
    ck_assert_mem_eq(window_at(&window, 0, 100), "bytes", 5);
    ck_assert_uint_eq(mapped(), 1);
}
END_TEST

START_TEST(test_a_handle_that_does_not_fit)
{
    struct fuse_setupmapping_in in = { .len = CHUNK, .flags = WRITE };
    uint64_t reader, dir_handle;

    ck_assert_int_eq(ask_open(file, O_RDONLY, false, &reader), 0);
    ck_assert_int_eq(ask_open(1, O_RDONLY, true, &dir_handle), 0);
    in.fh = reader;
    ck_assert_int_eq(ASK(FUSE_SETUPMAPPING, file, in), -EBADF);
    in.fh = dir_handle;
    ck_assert_int_eq(ASK(FUSE_SETUPMAPPING, file, in), -EBADF);
    in.fh = 77;
    ck_assert_int_eq(ASK(FUSE_SETUPMAPPING, file, in), -EBADF);
    in.fh = handle;
    ck_assert_int_eq(ASK(FUSE_SETUPMAPPING, file, in), 0);
}
END_TEST

START_TEST(test_bad_removals)
{
    struct {
        struct fuse_removemapping_in in;
        struct fuse_removemapping_one one[4];
    } __attribute__((packed)) list = { .in.count = 4 };

    ck_assert_int_eq(ask_unmap(file, 0, CHUNK), -EINVAL);
    ck_assert_int_eq(ask_unmap(file, CHUNK * WINDOW_SLOTS, CHUNK), -EINVAL);
    ck_assert_int_eq(ask_unmap(file, -CHUNK, 2 * CHUNK), -EINVAL);
    ck_assert_int_eq(ask_unmap(file, 4096, CHUNK), -EINVAL);
    ck_assert_int_eq(ask_unmap(file, 0, 0), -EINVAL);
    ck_assert_int_eq(ask_unmap(file, 0, UINT64_MAX), -EINVAL);
    /* The good ones of a list are done. */
    ck_assert_int_eq(ask_map(file, 0, 2 * CHUNK, 0, READ), 0);
    list.one[0] = (struct fuse_removemapping_one){ 0, CHUNK };
    list.one[1] = (struct fuse_removemapping_one){ 17, CHUNK };
    list.one[2] = (struct fuse_removemapping_one){ 9 * CHUNK, CHUNK };
    list.one[3] = (struct fuse_removemapping_one){ CHUNK, CHUNK };
    ck_assert_int_eq(ASK(FUSE_REMOVEMAPPING, file, list), -EINVAL);
    ck_assert_uint_eq(mapped(), 0);
    ck_assert_int_eq(ask_map(file, 0, 2 * CHUNK, CHUNK, READ), 0);
    ck_assert_int_eq(ask_unmap(file, 0, 3 * CHUNK), -EINVAL);
    ck_assert_uint_eq(mapped(), 0);
    /* Counts that are not what is there. */
    for (uint32_t count = 0; count < 8; count++) {
        list.in.count = count == 7 ? UINT32_MAX : count;
        ck_assert_int_eq(ASK(FUSE_REMOVEMAPPING, file, list), -EINVAL);
    }
    list.in.count = 1u << 28; /* times 16 is 0 in 32 bits */
    ck_assert_int_eq(ask(FUSE_REMOVEMAPPING, file, &list.in, sizeof(list.in), NULL, 0), -EINVAL);
}
END_TEST

/* What ends a session ends its mappings. */
START_TEST(test_sessions_end)
{
    ck_assert_int_eq(ask_map(file, 0, 2 * CHUNK, 0, READ | WRITE), 0);
    ck_assert_uint_eq(mapped(), 2);
    ck_assert_int_eq(ask_init(), 0);
    ck_assert_uint_eq(mapped(), 0);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ), -ESTALE);
    ck_assert_int_eq(ask_lookup(1, "f", &file), 0);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ), 0);
    ck_assert_int_eq(ask(FUSE_DESTROY, 0, NULL, 0, NULL, 0), 0);
    ck_assert_uint_eq(mapped(), 0);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ), -EIO);
    ck_assert_int_eq(ask_unmap(file, 0, CHUNK), -EIO);
}
END_TEST

/* ---- a guest that is paused in the middle -------------------------------------------------------- */

static atomic_int accesses;

/* When it is read, which is its first access, the door; at the next one the queue too. */
static void pause_guest(struct vhost_request *request)
{
    int before = atomic_fetch_add(&accesses, 1);

    (void)request;
    if (before == 0)
        fs_door_stop(fx.fs, &window.door);
    else if (before == 1)
        atomic_store(&fake_stopped, true);
}

static void (*in_the_pause)(void);

static void next_session(void)
{
    atomic_fetch_add(&guest->epoch, 1);
}

/* The answer's error, when the guest has gone on. */
static int ask_paused(uint32_t opcode, uint64_t node, const void *in, size_t in_size)
{
    uint8_t bytes[256];
    size_t size = put_request(&client, bytes, opcode, node, in, in_size, NULL, 0);
    struct vhost_request *request = fake_request(bytes, size, ROOM, 0);
    struct fuse_out_header header;

    atomic_store(&accesses, 0);
    fake_on_access = pause_guest;
    guest_dispatch(guest, request);
    while (!atomic_load(&fake_stopped) || atomic_load(&guest->parked_count) == 0)
        usleep(1000);
    fake_on_access = NULL;
    ck_assert(!fake_is_done(request));
    if (in_the_pause)
        in_the_pause();
    fs_door_resume(fx.fs, &window.door);
    atomic_store(&fake_stopped, false);
    guest_resume(guest);
    (void)fake_wait(request);
    fake_answer(request, &header, sizeof(header));
    fake_free(request);
    return header.error;
}

START_TEST(test_a_pause)
{
    const struct fuse_setupmapping_in in = {
        .fh = UINT64_MAX, .foffset = 0, .len = 2 * CHUNK, .flags = READ, .moffset = CHUNK
    };
    const struct {
        struct fuse_removemapping_in in;
        struct fuse_removemapping_one one;
    } __attribute__((packed)) list = { { 1 }, { CHUNK, 2 * CHUNK } };

    ck_assert_int_eq(ask_paused(FUSE_SETUPMAPPING, file, &in, sizeof(in)), 0);
    ck_assert_uint_eq(mapped(), 2);
    ck_assert_mem_eq(window_at(&window, 1, 100), "bytes", 5);
    ck_assert_int_eq(ask_paused(FUSE_REMOVEMAPPING, file, &list, sizeof(list)), 0);
    ck_assert_uint_eq(mapped(), 0);
}
END_TEST

/* What was kept is of a session that an INIT has ended since: it does nothing to the next. */
START_TEST(test_a_pause_of_the_last_session)
{
    const struct {
        struct fuse_removemapping_in in;
        struct fuse_removemapping_one one;
    } __attribute__((packed)) list = { { 1 }, { 0, CHUNK } };

    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ), 0);
    in_the_pause = next_session;
    ck_assert_int_eq(ask_paused(FUSE_REMOVEMAPPING, file, &list, sizeof(list)), -ENOTCONN);
    in_the_pause = NULL;
    ck_assert_uint_eq(mapped(), 1);
}
END_TEST

/* Also where it is the VMM that stands still, and the guest, which then reads no answer. */
START_TEST(test_an_answer_that_does_not_come)
{
    const struct fuse_setupmapping_in in = { .fh = UINT64_MAX, .len = CHUNK, .flags = READ };

    atomic_store(&window.fails[WINDOW_MAP], -ETIMEDOUT);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ), -EIO);
    atomic_store(&window.fails[WINDOW_MAP], 0);
    ck_assert_int_eq(ask_paused(FUSE_SETUPMAPPING, file, &in, sizeof(in)), 0);
    ck_assert_mem_eq(window_at(&window, 0, 100), "bytes", 5);
}
END_TEST

static int renew(void *arg)
{
    (void)arg;
    return window.door.stopped ? -ECANCELED : 0;
}

/* A session begins with nothing mapped. */
START_TEST(test_a_pause_of_init)
{
    const struct fuse_init_in in = { .major = 7, .minor = 38 };
    struct guest_options options = guest_fixture_options();

    options.renew = renew;
    guest_again(&options);
    ck_assert_int_eq(ask_lookup(1, "f", &file), 0);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ | WRITE), 0);
    ck_assert_int_eq(ask_paused(FUSE_INIT, 0, &in, sizeof(in)), 0);
    ck_assert_uint_eq(mapped(), 0);
}
END_TEST

/* A VMM that is slow keeps a session from beginning, until it is not. */
START_TEST(test_init_of_a_slow_vmm)
{
    ck_assert_int_eq(ask_map(file, 0, 2 * CHUNK, 0, READ | WRITE), 0);
    atomic_store(&window.fails[WINDOW_UNMAP], -EBUSY);
    ck_assert_int_eq(ask(FUSE_DESTROY, 0, NULL, 0, NULL, 0), 0);
    ck_assert_int_eq(ask_init(), -EBUSY);
    atomic_store(&window.fails[WINDOW_UNMAP], 0);
    ck_assert_uint_eq(mapped(), 2);
    ck_assert_int_eq(ask_init(), 0);
    ck_assert_uint_eq(mapped(), 0);
}
END_TEST

START_TEST(test_a_mapper_that_fails)
{
    atomic_store(&window.fails[WINDOW_MAP], -EIO);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ | WRITE), -EIO);
    atomic_store(&window.fails[WINDOW_MAP], 0);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ | WRITE), 0);
}
END_TEST

START_TEST(test_without_a_window)
{
    struct guest_options options = guest_fixture_options();

    options.dax_door = NULL;
    guest_again(&options);
    ck_assert_int_eq(ask_lookup(1, "f", &file), 0);
    ck_assert_int_eq(ask_map(file, 0, CHUNK, 0, READ), -ENOSYS);
    ck_assert_int_eq(ask_unmap(file, 0, CHUNK), -ENOSYS);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_reads_and_stores);
    tcase_add_test(tcase, test_several_chunks);
    tcase_add_test(tcase, test_bad_ranges);
    tcase_add_test(tcase, test_a_handle_that_does_not_fit);
    tcase_add_test(tcase, test_bad_removals);
    tcase_add_test(tcase, test_places_are_used_again);
    tcase_add_test(tcase, test_sessions_end);
    tcase_add_test(tcase, test_a_pause);
    tcase_add_test(tcase, test_a_pause_of_the_last_session);
    tcase_add_test(tcase, test_an_answer_that_does_not_come);
    tcase_add_test(tcase, test_a_pause_of_init);
    tcase_add_test(tcase, test_init_of_a_slow_vmm);
    tcase_add_test(tcase, test_a_mapper_that_fails);
    tcase_add_test(tcase, test_without_a_window);
}

int main(void)
{
    return guest_main("guest_map", setup, add);
}
