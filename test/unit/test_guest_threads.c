/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several queues at once: what one thread looks up, reads or maps, another forgets, closes or
 * unmaps, and the guest begins anew under all of them. What a request holds stays what it is until
 * it has been answered; nothing is left over.
 */
#include "test_guest.h"

#include <sched.h>
#include <unistd.h>

#define FILES 4
#define BYTES 5000u

static _Atomic uint64_t shared_node[FILES], shared_handle[FILES];
static unsigned rounds;

static void name_of(unsigned which, char *name)
{
    memcpy(name, "f0", 3);
    name[1] = (char)('0' + which);
}

static int lookup(struct client *who, unsigned which, uint64_t *ret_node)
{
    char name[3];
    int r;

    name_of(which, name);
    r = ask_as(who, FUSE_LOOKUP, 1, NULL, 0, name, sizeof(name));
    if (r == 0)
        memcpy(ret_node, who->answer, 8);
    return r;
}

static int forget(struct client *who, uint64_t node, uint64_t count)
{
    const struct fuse_forget_in in = { .nlookup = count };

    return ask_as(who, FUSE_FORGET, node, &in, sizeof(in), NULL, 0);
}

/* The errors of what is not there any more. */
static void expect_gone(int r)
{
    if (r != 0 && r != -ESTALE && r != -EBADF && r != -EIO && r != -ENOTCONN && r != -EBUSY &&
        r != -EINVAL)
        ck_abort_msg("error %d", r);
}

static void *looker(void *arg)
{
    struct client *who = arg;

    for (unsigned i = 0; i < rounds; i++) {
        const struct fuse_getattr_in in = { 0 };
        uint64_t node;

        if (lookup(who, i % FILES, &node) != 0)
            continue;
        atomic_store(&shared_node[i % FILES], node);
        expect_gone(ask_as(who, FUSE_GETATTR, node, &in, sizeof(in), NULL, 0));
        if (i % 2)
            forget(who, node, 1);
    }
    return NULL;
}

static void *forgetter(void *arg)
{
    struct client *who = arg;

    for (unsigned i = 0; i < rounds; i++)
        forget(who, atomic_load(&shared_node[i % FILES]), i % 5 ? 1 : UINT64_MAX);
    return NULL;
}

static void *opener(void *arg)
{
    struct client *who = arg;

    for (unsigned i = 0; i < rounds; i++) {
        const struct fuse_open_in in = { .flags = O_RDWR };
        struct fuse_release_in release = { 0 };
        uint64_t node;
        int r = lookup(who, i % FILES, &node);

        if (r == 0)
            r = ask_as(who, FUSE_OPEN, node, &in, sizeof(in), NULL, 0);
        if (r != 0)
            continue;
        memcpy(&release.fh, who->answer, 8);
        atomic_store(&shared_node[i % FILES], node);
        atomic_store(&shared_handle[i % FILES], release.fh);
        sched_yield();
        expect_gone(ask_as(who, FUSE_RELEASE, node, &release, sizeof(release), NULL, 0));
    }
    return NULL;
}

static void *reader(void *arg)
{
    struct client *who = arg;

    for (unsigned i = 0; i < rounds; i++) {
        struct fuse_read_in in = { .size = BYTES, .fh = atomic_load(&shared_handle[i % FILES]) };
        struct fuse_write_in write_in = { .size = 1, .fh = in.fh, .offset = BYTES - 1 };
        uint64_t node = atomic_load(&shared_node[i % FILES]);
        int r = ask_as(who, FUSE_READ, node, &in, sizeof(in), NULL, 0);

        expect_gone(r);
        if (r == 0) {
            ck_assert_uint_eq(who->size, BYTES);
            for (unsigned at = 0; at < BYTES; at++)
                ck_assert_uint_eq(who->answer[at], '0' + i % FILES);
        }
        write_in.fh = atomic_load(&shared_handle[i % FILES]);
        node = atomic_load(&shared_node[i % FILES]);
        expect_gone(
            ask_as(who, FUSE_WRITE, node, &write_in, sizeof(write_in), &"0123"[i % FILES], 1));
    }
    return NULL;
}

static void *mapper(void *arg)
{
    struct client *who = arg;

    for (unsigned i = 0; i < rounds / 4; i++) {
        struct fuse_setupmapping_in in = {
            .fh = UINT64_MAX,
            .len = CHUNK,
            .moffset = i % 3 * CHUNK,
            .flags = FUSE_SETUPMAPPING_FLAG_READ | (i % 2),
        };
        struct {
            struct fuse_removemapping_in in;
            uint32_t one[4]; /* two numbers of 64 bits */
        } remove = { .in.count = 1 };
        const struct fuse_removemapping_one one = { in.moffset, CHUNK };
        uint64_t node = atomic_load(&shared_node[i % FILES]);

        memcpy(remove.one, &one, sizeof(one));
        expect_gone(ask_as(who, FUSE_SETUPMAPPING, node, &in, sizeof(in), NULL, 0));
        expect_gone(ask_as(who, FUSE_REMOVEMAPPING, node, &remove, sizeof(remove), NULL, 0));
    }
    return NULL;
}

static void *beginner(void *arg)
{
    struct client *who = arg;

    for (unsigned i = 0; i < rounds / 50; i++) {
        usleep(3000);
        ck_assert_int_eq(ask_init_as(who, 45, ~(uint64_t)0), 0);
    }
    return NULL;
}

static void run(void *(*const mains[])(void *), unsigned count)
{
    struct client *clients = calloc(count, sizeof(*clients));
    pthread_t threads[8];

    for (unsigned i = 0; i < count; i++) {
        clients[i].guest = guest;
        clients[i].room = 8192;
        pthread_create(&threads[i], NULL, mains[i], &clients[i]);
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(clients);
}

static void setup(void)
{
    char bytes[BYTES];
    uint64_t node, handle;

    guest_setup();
    rounds = 1000;
    for (unsigned i = 0; i < FILES; i++) {
        char name[3];

        name_of(i, name);
        memset(bytes, (int)('0' + i), sizeof(bytes));
        ck_assert_int_eq(ask_create(1, name, O_RDWR, &node, &handle), 0);
        ck_assert_int_eq(ask_write(node, handle, 0, bytes, sizeof(bytes), 0), 0);
        ck_assert_int_eq(ask_release(node, handle, false), 0);
    }
}

START_TEST(test_names_and_handles)
{
    run((void *(*const[])(void *)){ looker, forgetter, opener, reader }, 4);
}
END_TEST

START_TEST(test_and_mappings_and_sessions)
{
    run((void *(*const[])(void *)){ looker, opener, reader, mapper, mapper, beginner }, 6);
    ck_assert_int_eq(ask_init(), 0);
    for (uint64_t slot = 0; slot < WINDOW_SLOTS; slot++)
        ck_assert_ptr_null(window_at(&window, slot, 0));
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_names_and_handles);
    tcase_add_test(tcase, test_and_mappings_and_sessions);
}

int main(void)
{
    return guest_main("guest_threads", setup, add);
}
