/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/vhost: asking the VMM to map and unmap in the window, and a VMM that does not
 * behave. */
#include "suite.h"
#include "vhost_fixture.h"

#include "base/clock.h"
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static int file;

static void setup(void)
{
    fixture_setup();
    file = memfd_create("pool", 0);
}

static void teardown(void)
{
    close(file);
    fixture_teardown();
}

static uint64_t deadline_in(unsigned ms)
{
    return clock_now() + ms * 1000000ull;
}

/* A call in a thread of its own. */
struct asker {
    pthread_t thread;
    bool unmap;
    unsigned ms;
    uint64_t offset;
    int result;
};

static void *asker_main(void *arg)
{
    struct asker *asker = arg;

    if (asker->unmap)
        asker->result = vhost_shm_unmap(callee.device, asker->offset, 4096, deadline_in(asker->ms));
    else
        asker->result = vhost_shm_map(callee.device, file, 8192, asker->offset, 4096, true,
                                      deadline_in(asker->ms));
    return NULL;
}

static void ask(struct asker *asker, bool unmap, uint64_t offset, unsigned ms)
{
    *asker = (struct asker){ .unmap = unmap, .offset = offset, .ms = ms };
    ck_assert_int_eq(pthread_create(&asker->thread, NULL, asker_main, asker), 0);
}

static int asked(struct asker *asker)
{
    pthread_join(asker->thread, NULL);
    return asker->result;
}

static bool channel_is_silent(void)
{
    struct pollfd polled = { .fd = front.channel, .events = POLLIN };

    return poll(&polled, 1, 50) == 0;
}

START_TEST(map_and_unmap)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker asker;

    front_start(&front, FRONT_FEATURES, 1, 8);
    ask(&asker, false, 1 << 20, 5000);
    int fd = channel_receive(&front, &header, &map);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_uint_eq(header.request, VHOST_USER_BACKEND_SHMEM_MAP);
    ck_assert_uint_eq(map.id, 0);
    ck_assert_uint_eq(map.fd_offset, 8192);
    ck_assert_uint_eq(map.shm_offset, 1 << 20);
    ck_assert_uint_eq(map.length, 4096);
    ck_assert_uint_eq(map.flags, 1);
    /* QEMU sends its memory table, and answers nothing before that is answered: with the map
     * under way. */
    front_set_memory(&front);
    front_set_memory(&front);
    channel_answer(&front, header.request, 0);
    ck_assert_int_eq(asked(&asker), 0);
    ask(&asker, true, 1 << 20, 5000);
    ck_assert_int_eq(channel_receive(&front, &header, &map), -1);
    ck_assert_uint_eq(header.request, VHOST_USER_BACKEND_SHMEM_UNMAP);
    ck_assert_uint_eq(map.shm_offset, 1 << 20);
    channel_answer(&front, header.request, 1);
    ck_assert_int_eq(asked(&asker), -EIO);
}
END_TEST

START_TEST(only_while_a_queue_runs)
{
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, 4096, deadline_in(1000)), -ENODEV);
    front_handshake(&front, FRONT_FEATURES);
    front_set_memory(&front);
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, 4096, deadline_in(1000)), -ENODEV);
    front_queue_set_up(&front, 0, 8, 0);
    front_queue_enable(&front, 0, true);
    (void)front_queue_stop(&front, 0);
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, 4096, deadline_in(1000)), -ENODEV);
    ck_assert(channel_is_silent());
    close(front.fd);
    callee_wait(&callee, &callee.gone, 1);
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, 4096, deadline_in(1000)), -ENODEV);
    front_connect(&front, path);
}
END_TEST

/* QEMU's devices without a window agree to the feature, and give a channel, but do not ask how
 * large it is. */
START_TEST(only_for_who_has_a_window)
{
    uint64_t value = front_get(&front, VHOST_USER_GET_PROTOCOL_FEATURES);
    int pair[2];

    front_send(&front, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_VERSION, &value, 8, NULL, 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    front.channel = pair[0];
    ck_assert_uint_eq(front_ask(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
    close(pair[1]);
    value = FRONT_FEATURES;
    front_send(&front, VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, &value, 8, NULL, 0);
    front_set_memory(&front);
    front_queue_set_up(&front, 0, 8, 0);
    front_queue_enable(&front, 0, true);
    ck_assert(!vhost_shm_is_offered(callee.device));
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, 4096, deadline_in(1000)), -ENODEV);
    ck_assert(channel_is_silent());
}
END_TEST

/* Who was first asks; the others wait in line, and hear when the queues stop; the first one is
 * still answered. */
START_TEST(stopped_while_many_ask)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker first, others[3];

    front_start(&front, FRONT_FEATURES, 1, 8);
    ask(&first, true, 0, 5000);
    (void)channel_receive(&front, &header, &map);
    for (unsigned i = 0; i < 3; i++)
        ask(&others[i], true, 4096 * (i + 1), 60000);
    ck_assert(channel_is_silent());
    (void)front_queue_stop(&front, 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(asked(&others[i]), -ENODEV);
    channel_answer(&front, header.request, 0);
    ck_assert_int_eq(asked(&first), 0);
    ck_assert(channel_is_silent());
}
END_TEST

/* Who does not have its turn in time has asked for nothing. */
START_TEST(given_up_in_line)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker first, other;

    front_start(&front, FRONT_FEATURES, 1, 8);
    ask(&first, true, 0, 5000);
    (void)channel_receive(&front, &header, &map);
    ask(&other, true, 4096, 50);
    ck_assert_int_eq(asked(&other), -EBUSY);
    channel_answer(&front, header.request, 0);
    ck_assert_int_eq(asked(&first), 0);
    ck_assert(channel_is_silent());
}
END_TEST

START_TEST(many_ask_one_after_the_other)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker askers[8];

    front_start(&front, FRONT_FEATURES, 1, 8);
    for (unsigned i = 0; i < 8; i++)
        ask(&askers[i], true, 4096 * i, 5000);
    for (unsigned i = 0; i < 8; i++) {
        (void)channel_receive(&front, &header, &map);
        channel_answer(&front, header.request, map.shm_offset % 8192 != 0);
    }
    for (unsigned i = 0; i < 8; i++)
        ck_assert_int_eq(asked(&askers[i]), i % 2 ? -EIO : 0);
}
END_TEST

START_TEST(an_answer_that_comes_late_is_nobody_elses)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker asker;

    front_start(&front, FRONT_FEATURES, 1, 8);
    ask(&asker, false, 0, 50);
    close(channel_receive(&front, &header, &map));
    ck_assert_int_eq(asked(&asker), -ETIMEDOUT);
    /* The next one is not sent before the late answer has come, and so was not done. */
    ask(&asker, true, 0, 50);
    ck_assert(channel_is_silent());
    ck_assert_int_eq(asked(&asker), -EBUSY);
    ask(&asker, true, 4096, 5000);
    usleep(20000);
    channel_answer(&front, VHOST_USER_BACKEND_SHMEM_MAP, 0);
    (void)channel_receive(&front, &header, &map);
    ck_assert_uint_eq(map.shm_offset, 4096);
    channel_answer(&front, header.request, 1);
    ck_assert_int_eq(asked(&asker), -EIO);
    /* Who has stopped does not wait for it. */
    ask(&asker, true, 8192, 50);
    (void)channel_receive(&front, &header, &map);
    ck_assert_int_eq(asked(&asker), -ETIMEDOUT);
    (void)front_queue_stop(&front, 0);
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, 4096, deadline_in(60000)), -ENODEV);
    front_queue_set_up(&front, 0, 8, 0);
    channel_answer(&front, header.request, 0);
    /* Half of one is late, too. */
    ask(&asker, true, 8192, 100);
    (void)channel_receive(&front, &header, &map);
    const struct vhost_user_header half = { header.request, VHOST_USER_VERSION | VHOST_USER_REPLY,
                                            8 };
    const uint64_t result = 0;
    ck_assert_int_eq(send(front.channel, &half, sizeof(half), 0), sizeof(half));
    ck_assert_int_eq(asked(&asker), -ETIMEDOUT);
    ask(&asker, true, 12288, 5000);
    ck_assert_int_eq(send(front.channel, &result, sizeof(result), 0), sizeof(result));
    channel_answer_one(&front, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, 1);
    (void)channel_receive(&front, &header, &map);
    channel_answer(&front, header.request, 0);
    ck_assert_int_eq(asked(&asker), 0);
}
END_TEST

START_TEST(nonsense_on_the_channel_ends_it)
{
    static const struct vhost_user_header nonsense[] = {
        { VHOST_USER_BACKEND_SHMEM_MAP, VHOST_USER_VERSION | VHOST_USER_REPLY, 8 },
        { VHOST_USER_BACKEND_SHMEM_UNMAP, VHOST_USER_VERSION, 8 },
        { VHOST_USER_BACKEND_SHMEM_UNMAP, VHOST_USER_VERSION | VHOST_USER_REPLY, 9 },
    };
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker asker;

    for (unsigned i = 0; i < 3; i++) {
        struct {
            struct vhost_user_header header;
            uint64_t result;
        } __attribute__((packed)) answer = { nonsense[i], 0 };

        front_start(&front, FRONT_FEATURES, 1, 8);
        ask(&asker, true, 0, 5000);
        (void)channel_receive(&front, &header, &map);
        ck_assert_int_eq(send(front.channel, &answer, sizeof(answer), 0), sizeof(answer));
        ck_assert_int_eq(asked(&asker), -ETIMEDOUT);
        ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, 4096, deadline_in(1000)), -ENODEV);
        close(front.fd);
        callee_wait(&callee, &callee.gone, i + 1);
        front_connect(&front, path);
        guest_ring_clear(&front, 0);
    }
}
END_TEST

START_TEST(the_vmm_goes_while_we_wait)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker asker, other;

    front_start(&front, FRONT_FEATURES, 1, 8);
    ask(&asker, true, 0, 60000);
    (void)channel_receive(&front, &header, &map);
    ask(&other, true, 4096, 60000);
    usleep(20000);
    close(front.fd);
    ck_assert_int_eq(asked(&asker), -ETIMEDOUT);
    ck_assert_int_eq(asked(&other), -ENODEV);
    callee_wait(&callee, &callee.gone, 1);
    front_connect(&front, path);
    /* The channel alone. */
    guest_ring_clear(&front, 0);
    front_start(&front, FRONT_FEATURES, 1, 8);
    ask(&asker, true, 0, 60000);
    (void)channel_receive(&front, &header, &map);
    close(front.channel);
    front.channel = -1;
    ck_assert_int_eq(asked(&asker), -ETIMEDOUT);
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, 4096, deadline_in(1000)), -ENODEV);
    (void)front_get(&front, VHOST_USER_GET_FEATURES);
}
END_TEST

START_TEST(another_channel_replaces_it)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker asker;
    int pair[2];

    front_start(&front, FRONT_FEATURES, 1, 8);
    ask(&asker, true, 0, 60000);
    (void)channel_receive(&front, &header, &map);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_uint_eq(front_ask(&front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
    ck_assert_int_eq(asked(&asker), -ETIMEDOUT);
    close(front.channel);
    close(pair[1]);
    front.channel = pair[0];
    ask(&asker, true, 0, 5000);
    (void)channel_receive(&front, &header, &map);
    channel_answer(&front, header.request, 0);
    ck_assert_int_eq(asked(&asker), 0);
}
END_TEST

/* QEMU answers, and then does it: until it has, the guest goes on storing, or finds nothing. */
START_TEST(done_is_what_was_done)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker asker;

    front_start(&front, FRONT_FEATURES, 1, 8);
    for (unsigned unmap = 0; unmap < 2; unmap++) {
        ask(&asker, unmap, 0, 5000);
        int fd = channel_receive(&front, &header, &map);
        if (fd >= 0)
            close(fd);
        channel_answer_one(&front, header.request, 0);
        usleep(50000);
        front_set_memory(&front); /* of its commit */
        ck_assert_int_eq(pthread_tryjoin_np(asker.thread, NULL), EBUSY);
        channel_answer_one(&front, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, 1);
        ck_assert_int_eq(asked(&asker), 0);
    }
    /* Answered, and not known to be done. */
    ask(&asker, true, 0, 50);
    (void)channel_receive(&front, &header, &map);
    channel_answer_one(&front, header.request, 0);
    ck_assert_int_eq(asked(&asker), -ETIMEDOUT);
    ask(&asker, true, 4096, 5000);
    ck_assert(channel_is_silent());
    channel_answer_one(&front, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, 0);
    (void)channel_receive(&front, &header, &map);
    channel_answer(&front, header.request, 0);
    ck_assert_int_eq(asked(&asker), 0);
}
END_TEST

/* One that closes the channel at what it does not understand: nobody knows what was done of it. */
START_TEST(closed_at_the_barrier)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker asker;

    front_start(&front, FRONT_FEATURES, 1, 8);
    ask(&asker, true, 0, 60000);
    (void)channel_receive(&front, &header, &map);
    channel_answer_one(&front, header.request, 0);
    close(front.channel);
    front.channel = -1;
    ck_assert_int_eq(asked(&asker), -ETIMEDOUT);
    ck_assert_int_eq(vhost_shm_unmap(callee.device, 0, 4096, deadline_in(1000)), -ENODEV);
    (void)front_get(&front, VHOST_USER_GET_FEATURES);
}
END_TEST

/* It is not asked for what was not agreed on, and its answer is taken for what it says. */
START_TEST(without_shared_objects)
{
    uint64_t features =
        front_get(&front, VHOST_USER_GET_PROTOCOL_FEATURES) & ~VHOST_USER_PROTOCOL_F_SHARED_OBJECT;
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct asker asker;

    front.has_barrier = false;
    front_handshake(&front, FRONT_FEATURES);
    front_send(&front, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_VERSION, &features, 8, NULL, 0);
    front_set_memory(&front);
    front_queue_set_up(&front, 0, 8, 0);
    front_queue_enable(&front, 0, true);
    for (unsigned i = 0; i < 2; i++) {
        ask(&asker, true, 0, 5000);
        (void)channel_receive(&front, &header, &map);
        ck_assert(channel_is_silent());
        channel_answer(&front, header.request, 0);
        ck_assert_int_eq(asked(&asker), 0);
    }
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, map_and_unmap);
    tcase_add_test(tcase, only_while_a_queue_runs);
    tcase_add_test(tcase, only_for_who_has_a_window);
    tcase_add_test(tcase, stopped_while_many_ask);
    tcase_add_test(tcase, given_up_in_line);
    tcase_add_test(tcase, many_ask_one_after_the_other);
    tcase_add_test(tcase, an_answer_that_comes_late_is_nobody_elses);
    tcase_add_test(tcase, nonsense_on_the_channel_ends_it);
    tcase_add_test(tcase, the_vmm_goes_while_we_wait);
    tcase_add_test(tcase, another_channel_replaces_it);
    tcase_add_test(tcase, done_is_what_was_done);
    tcase_add_test(tcase, closed_at_the_barrier);
    tcase_add_test(tcase, without_shared_objects);
}

int main(void)
{
    return suite_run("vhost_window", 30, setup, teardown, add);
}
