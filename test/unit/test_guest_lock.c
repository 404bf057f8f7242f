/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks of a guest, against other owners and another door: who waits holds no thread and little of its
 * queue, is answered once, and nothing is left when a session ends.
 */
#include "test_guest.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#define ALL ((uint64_t)INT64_MAX)

/* A second door to the same files. */
static struct guest *other;
static struct client other_client;
static uint64_t node, fh, other_node, other_fh;

static struct fuse_lk_in lk_in(uint64_t handle, uint64_t owner, int type, uint64_t start,
                               uint64_t end)
{
    return (struct fuse_lk_in){
        .fh = handle,
        .owner = owner,
        .lk = { .start = start, .end = end, .type = (uint32_t)type, .pid = (uint32_t)owner + 100 },
    };
}

/* By the first guest's handle, at once or not at all. */
static int set(uint64_t owner, int type, uint64_t start, uint64_t end)
{
    const struct fuse_lk_in in = lk_in(fh, owner, type, start, end);

    return ASK(FUSE_SETLK, node, in);
}

static int other_set(uint64_t owner, int type, uint64_t start, uint64_t end)
{
    const struct fuse_lk_in in = lk_in(other_fh, owner, type, start, end);

    return ask_as(&other_client, FUSE_SETLK, other_node, &in, sizeof(in), NULL, 0);
}

static struct vhost_request *begin_lk(struct client *who, uint64_t where,
                                      const struct fuse_lk_in *in)
{
    uint8_t buffer[sizeof(struct fuse_in_header) + sizeof(*in)];
    size_t size = put_request(who, buffer, FUSE_SETLKW, where, in, sizeof(*in), NULL, 0);
    struct vhost_request *request = fake_request(buffer, size, 16, 0);

    guest_dispatch(who->guest, request);
    return request;
}

static struct vhost_request *begin(uint64_t owner, int type, uint64_t start, uint64_t end)
{
    const struct fuse_lk_in in = lk_in(fh, owner, type, start, end);

    return begin_lk(&client, node, &in);
}

/* Its error; 1: there is no answer. */
static int end(struct vhost_request *request)
{
    struct fuse_out_header header = { .error = 1 };

    if (fake_wait(request) > 0)
        fake_answer(request, &header, sizeof(header));
    fake_free(request);
    return header.error;
}

static int interrupt(uint64_t unique)
{
    const struct fuse_interrupt_in in = { .unique = unique };

    return ASK(FUSE_INTERRUPT, 0, in);
}

static int flush(uint64_t owner)
{
    const struct fuse_flush_in in = { .fh = fh, .lock_owner = owner };

    return ASK(FUSE_FLUSH, node, in);
}

static void open_both(void)
{
    const struct fuse_open_in in = { .flags = O_RDWR };

    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
    ck_assert_int_eq(ask_open(node, O_RDWR, false, &fh), 0);
    ck_assert_int_eq(ask_as(&other_client, FUSE_LOOKUP, 1, NULL, 0, "f", 2), 0);
    memcpy(&other_node, other_client.answer, 8);
    ck_assert_int_eq(ask_as(&other_client, FUSE_OPEN, other_node, &in, sizeof(in), NULL, 0), 0);
    memcpy(&other_fh, other_client.answer, 8);
}

static void setup(void)
{
    struct guest_options options;

    guest_setup();
    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(ask_release(node, fh, false), 0);
    options = guest_fixture_options();
    options.dax_door = NULL;
    ck_assert_int_eq(guest_open(&options, &other), 0);
    other_client = (struct client){ .guest = other };
    ck_assert_int_eq(ask_init_as(&other_client, 45, ~(uint64_t)0), 0);
    open_both();
}

static void others_close(void)
{
    guest_close(other);
    other = NULL;
}

/* The fixture's teardown looks for what is left; fs_close for locks. */
#define TEST(name)          \
 static void name##_(void); \
 START_TEST(name)           \
 {                          \
  name##_();                \
  others_close();           \
 }                          \
 END_TEST                   \
 static void name##_(void)

TEST(test_who_is_in_the_way)
{
    const struct fuse_lk_out *out = ANSWER(struct fuse_lk_out);
    struct fuse_lk_in in = lk_in(fh, 2, F_WRLCK, 0, ALL);
    uint64_t handed = atomic_load(&guest->handed_over);

    ck_assert_int_eq(set(1, F_WRLCK, 10, 19), 0);
    ck_assert_int_eq(set(1, F_RDLCK, 30, ALL), 0);
    ck_assert_int_eq(set(2, F_RDLCK, 19, 19), -EAGAIN);
    ck_assert_int_eq(set(2, F_RDLCK, 20, ALL), 0);
    ck_assert_uint_eq(atomic_load(&guest->handed_over),
                      handed);                        /* no worker is asked to try again */
    ck_assert_int_eq(other_set(1, F_WRLCK, 0, 9), 0); /* the same number is not the same owner */
    ck_assert_int_eq(other_set(1, F_WRLCK, 10, 10), -EAGAIN);

    in.lk.start = 12;
    ck_assert_int_eq(ASK(FUSE_GETLK, node, in), 0);
    ck_assert_uint_eq(client.size, sizeof(*out));
    ck_assert_uint_eq(out->lk.start, 10);
    ck_assert_uint_eq(out->lk.end, 19);
    ck_assert_uint_eq(out->lk.type, F_WRLCK);
    ck_assert_uint_eq(out->lk.pid, 101);
    in.lk.start = 40;
    ck_assert_int_eq(ASK(FUSE_GETLK, node, in), 0);
    ck_assert_uint_eq(out->lk.end, ALL);
    ck_assert_uint_eq(out->lk.type, F_RDLCK);
    in.lk.type = F_RDLCK;
    ck_assert_int_eq(ASK(FUSE_GETLK, node, in), 0);
    ck_assert_uint_eq(out->lk.type, F_UNLCK);
    /* A program of another kernel has no number here. */
    in.lk.start = 5;
    ck_assert_int_eq(ASK(FUSE_GETLK, node, in), 0);
    ck_assert_uint_eq(out->lk.type, F_WRLCK);
    ck_assert_uint_eq(out->lk.pid, 0);

    ck_assert_int_eq(set(1, F_UNLCK, 0, ALL), 0);
    ck_assert_int_eq(other_set(1, F_WRLCK, 10, 10), 0);
}

TEST(test_what_closing_gives_back)
{
    struct fuse_lk_in in = lk_in(fh, 7, F_WRLCK, 0, ALL);
    uint64_t second;

    ck_assert_int_eq(set(1, F_WRLCK, 0, 9), 0);
    ck_assert_int_eq(set(2, F_WRLCK, 10, 19), 0);
    ck_assert_int_eq(flush(3), 0);
    ck_assert_int_eq(other_set(9, F_WRLCK, 0, 0), -EAGAIN);
    ck_assert_int_eq(flush(1), 0);
    ck_assert_int_eq(other_set(9, F_WRLCK, 0, 0), 0);
    ck_assert_int_eq(other_set(9, F_WRLCK, 10, 10), -EAGAIN);

    /* flock: not met by the other kind, not given back by FLUSH, but with the handle. */
    in.lk_flags = FUSE_LK_FLOCK;
    ck_assert_int_eq(ask_open(node, O_RDONLY, false, &second), 0);
    in.fh = second;
    ck_assert_int_eq(ASK(FUSE_SETLK, node, in), 0);
    ck_assert_int_eq(flush(7), 0);
    in.fh = fh;
    in.owner = 8;
    in.lk.type = F_RDLCK;
    ck_assert_int_eq(ASK(FUSE_SETLK, node, in), -EAGAIN);
    ck_assert_int_eq(ask_release(node, second, false), 0);
    ck_assert_int_eq(ASK(FUSE_SETLK, node, in), 0);
}

/* Without record locks there is nothing that close(2) would have to tell. */
TEST(test_who_says_flush)
{
    const struct fuse_open_out *open = ANSWER(struct fuse_open_out);

    ck_assert_int_eq(ask_open(node, O_RDWR, false, &fh), 0);
    ck_assert(!(open->open_flags & FOPEN_NOFLUSH));
    ck_assert_int_eq(ask_init_as(&client, 45, ~(uint64_t)FUSE_POSIX_LOCKS), 0);
    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
    ck_assert_int_eq(ask_open(node, O_RDWR, false, &fh), 0);
    ck_assert(open->open_flags & FOPEN_NOFLUSH);
}

TEST(test_who_waits_is_granted)
{
    struct vhost_request *a, *b, *c;
    struct fuse_lk_in in = lk_in(other_fh, 1, F_WRLCK, 0, 0);
    uint64_t second;

    ck_assert_int_eq(end(begin(1, F_WRLCK, 0, 9)), 0); /* nobody is in the way */
    a = begin(2, F_RDLCK, 0, 0);
    b = begin(3, F_RDLCK, 0, 5);
    c = begin_lk(&other_client, other_node, &in);
    ck_assert(!fake_is_done(a) && !fake_is_done(b) && !fake_is_done(c));
    ck_assert_int_eq(set(1, F_UNLCK, 1, 9), 0);
    ck_assert(!fake_is_done(a) && !fake_is_done(b));
    ck_assert_int_eq(set(1, F_UNLCK, 0, 0), 0);
    ck_assert_int_eq(end(a), 0);
    ck_assert_int_eq(end(b), 0);
    ck_assert(!fake_is_done(c));
    ck_assert_int_eq(flush(2), 0);
    ck_assert(!fake_is_done(c));
    ck_assert_int_eq(flush(3), 0);
    ck_assert_int_eq(end(c), 0);
    /* By another door, as it ends. */
    a = begin(2, F_WRLCK, 0, 0);
    ck_assert(!fake_is_done(a));
    others_close();
    ck_assert_int_eq(end(a), 0);
    /* The handle that it asks through is closed. */
    ck_assert_int_eq(ask_open(node, O_RDWR, false, &second), 0);
    in = lk_in(second, 3, F_WRLCK, 0, 0);
    a = begin_lk(&client, node, &in);
    ck_assert_int_eq(ask_release(node, second, false), 0);
    ck_assert_int_eq(end(a), -EBADF);
}

TEST(test_a_circle_of_waits)
{
    struct vhost_request *a;

    ck_assert_int_eq(set(1, F_WRLCK, 0, 0), 0);
    ck_assert_int_eq(set(2, F_WRLCK, 1, 1), 0);
    a = begin(1, F_WRLCK, 1, 1);
    ck_assert_int_eq(end(begin(2, F_WRLCK, 0, 0)), -EDEADLK);
    ck_assert_int_eq(flush(2), 0);
    ck_assert_int_eq(end(a), 0);
}

/* There are three workers. */
TEST(test_who_waits_holds_no_worker)
{
    const struct fuse_syncfs_in in = { 0 };
    struct vhost_request *waiting[40];
    uint64_t before = atomic_load(&guest->handed_over);

    ck_assert_int_eq(set(1, F_WRLCK, 0, 0), 0);
    for (unsigned i = 0; i < 40; i++)
        waiting[i] = begin(2 + i, F_RDLCK, 0, 0);
    ck_assert_uint_eq(atomic_load(&guest->handed_over), before);
    ck_assert_int_eq(ASK(FUSE_SYNCFS, 1, in), 0);
    ck_assert_int_eq(set(1, F_UNLCK, 0, 0), 0);
    for (unsigned i = 0; i < 40; i++)
        ck_assert_int_eq(end(waiting[i]), 0);
    ck_assert_ptr_null(guest->waiters);
}

TEST(test_interrupts)
{
    struct vhost_request *a, *b;
    uint64_t unique_a, unique_b;

    ck_assert_int_eq(set(1, F_WRLCK, 0, 0), 0);
    a = begin(2, F_WRLCK, 0, 0);
    unique_a = client.unique;
    b = begin(3, F_WRLCK, 0, 0);
    unique_b = client.unique;
    ck_assert_int_eq(interrupt(unique_b + 1000), 1);
    ck_assert(!fake_is_done(a) && !fake_is_done(b));
    ck_assert_int_eq(interrupt(unique_b), 1);
    ck_assert_int_eq(end(b), -EINTR);
    ck_assert(!fake_is_done(a));
    ck_assert_int_eq(interrupt(unique_b), 1);
    ck_assert_int_eq(interrupt(unique_a), 1);
    ck_assert_int_eq(end(a), -EINTR);
    ck_assert_int_eq(flush(1), 0);
    ck_assert_int_eq(other_set(9, F_WRLCK, 0, 0), 0); /* nobody has it */
    ck_assert_ptr_null(guest->waiters);
}

/* Half of a ring is for others, and first of all for who unlocks. */
TEST(test_no_more_than_half_of_a_queue_waits)
{
    struct vhost_request *waiting[4], *elsewhere;

    fake_ring = 8;
    ck_assert_int_eq(set(1, F_WRLCK, 0, 0), 0);
    for (unsigned i = 0; i < 4; i++)
        waiting[i] = begin(2 + i, F_WRLCK, 0, 0);
    ck_assert_int_eq(end(begin(9, F_WRLCK, 0, 0)), -ENOLCK);
    ck_assert_int_eq(end(begin(9, F_WRLCK, 7, 7)), 0); /* need not wait */
    fake_queue = 2;
    elsewhere = begin(8, F_WRLCK, 0, 0);
    ck_assert(!fake_is_done(elsewhere));
    fake_queue = 1;
    ck_assert_int_eq(flush(1), 0);
    ck_assert_int_eq(end(waiting[0]), 0);
    waiting[0] = begin(1, F_WRLCK, 0, 0); /* there is a place again */
    ck_assert(!fake_is_done(waiting[0]));
    ck_assert_int_eq(end(begin(9, F_WRLCK, 0, 0)), -ENOLCK);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_int_eq(flush(1 + i), 0);
        ck_assert_int_eq(end(waiting[i]), 0);
    }
    ck_assert_int_eq(flush(5), 0);
    ck_assert_int_eq(end(elsewhere), 0);
    ck_assert_int_eq(flush(8), 0);
    ck_assert_int_eq(end(waiting[0]), 0);
    fake_ring = 1024;
}

TEST(test_granted_while_the_queue_stands)
{
    struct vhost_request *a;

    ck_assert_int_eq(other_set(1, F_WRLCK, 0, 0), 0);
    a = begin(2, F_WRLCK, 0, 0);
    fake_stopped = true;
    others_close();
    while (atomic_load(&guest->parked_count) == 0) /* looked at by a worker just then */
        usleep(1000);
    ck_assert(!fake_is_done(a));
    fake_stopped = false;
    guest_resume(guest);
    ck_assert_int_eq(end(a), 0);
    ck_assert_int_eq(set(3, F_WRLCK, 0, 0), -EAGAIN); /* it has it */
}

static void begin_init(void)
{
    ck_assert_int_eq(ask_init(), 0);
}

static void say_destroy(void)
{
    ck_assert_int_eq(ask(FUSE_DESTROY, 0, NULL, 0, NULL, 0), 0);
}

static void reset(void)
{
    guest_reset(guest);
}

/* Its queue is gone with it. */
static void reset_and_stopped(void)
{
    fake_stopped = true;
    guest_reset(guest);
}

static void close_and_open(void)
{
    const struct guest_options options = guest_fixture_options();

    guest_close(guest);
    guest_fixture_open(&options);
}

static void (*const ends[])(void) = { begin_init, say_destroy, reset, reset_and_stopped,
                                      close_and_open };

/* However a session ends: its locks are others', who waits is given up, and nothing comes of it later. */
START_TEST(test_a_session_ends)
{
    struct fuse_lk_in in = lk_in(other_fh, 1, F_WRLCK, 5, 5);
    struct vhost_request *waits, *of_other;

    ck_assert_int_eq(set(1, F_WRLCK, 5, 5), 0);
    in.lk_flags = FUSE_LK_FLOCK;
    in.fh = fh;
    ck_assert_int_eq(ASK(FUSE_SETLK, node, in), 0);
    ck_assert_int_eq(other_set(9, F_WRLCK, 0, 0), 0);
    waits = begin(2, F_WRLCK, 0, 0);
    in.fh = other_fh;
    in.lk_flags = 0;
    of_other = begin_lk(&other_client, other_node, &in);
    ck_assert(!fake_is_done(waits) && !fake_is_done(of_other));
    ends[_i]();
    ck_assert_int_eq(end(waits), 1);
    if (fake_stopped) { /* of both guests here: the other's goes on */
        while (atomic_load(&other->parked_count) == 0)
            sched_yield();
        fake_stopped = false;
        guest_resume(other);
    }
    ck_assert_int_eq(end(of_other), 0);
    ck_assert_uint_eq(atomic_load(&guest->parked_count), 0);
    ck_assert_int_eq(ask_init(), 0);
    ck_assert_ptr_null(guest->waiters);
    ck_assert_uint_eq(guest->waiting[1], 0);
    open_both();
    in = lk_in(fh, 3, F_WRLCK, 0, 0);
    in.lk_flags = FUSE_LK_FLOCK;
    ck_assert_int_eq(ASK(FUSE_SETLK, node, in), 0);
    ck_assert_int_eq(set(3, F_WRLCK, 1, 4), 0); /* and the next one begins as any */
    others_close();
    ck_assert_int_eq(set(3, F_WRLCK, 0, ALL), 0);
}
END_TEST

/* A request that comes to its lock when its session is over sets none. */
TEST(test_a_late_lock)
{
    struct vhost_request *a;

    pthread_rwlock_wrlock(&guest->session);
    a = begin(1, F_WRLCK, 0, 0);
    ck_assert(!fake_is_done(a)); /* in a worker */
    atomic_fetch_add(&guest->epoch, 1);
    pthread_rwlock_unlock(&guest->session);
    ck_assert_int_eq(end(a), -ENOTCONN);
    ck_assert_int_eq(other_set(1, F_WRLCK, 0, 0), 0);
    atomic_fetch_sub(&guest->epoch, 1);
}

TEST(test_what_makes_no_sense)
{
    static const struct {
        uint64_t start, end;
        uint32_t type, flags;
    } cases[] = {
        { 1, 0, F_WRLCK, 0 },
        { 0, ALL + 1, F_WRLCK, 0 },
        { ALL + 1, ALL + 1, F_WRLCK, 0 },
        { UINT64_MAX, UINT64_MAX, F_RDLCK, 0 },
        { UINT64_MAX, 0, F_UNLCK, 0 },
        { 0, UINT64_MAX, F_UNLCK, 0 },
        { 0, 0, 3, 0 },
        { 0, 0, UINT32_MAX, 0 },
        { 0, 0, 1u << 31, 0 },
        { 0, 0, F_WRLCK, 2 },
        { 0, 0, 3, FUSE_LK_FLOCK },
        { 0, 0, F_WRLCK, UINT32_MAX },
    };
    static const uint32_t opcodes[] = { FUSE_GETLK, FUSE_SETLK, FUSE_SETLKW };
    struct fuse_lk_in in;
    struct vhost_request *a;
    uint64_t reader, writer, dir;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (unsigned k = 0; k < 3; k++) {
            in = lk_in(fh, 1, 0, cases[i].start, cases[i].end);
            in.lk.type = cases[i].type;
            in.lk_flags = cases[i].flags;
            ck_assert_int_eq(ASK(opcodes[k], node, in), -EINVAL);
        }
    ck_assert_int_eq(ask_open(node, O_RDONLY, false, &reader), 0);
    ck_assert_int_eq(ask_open(node, O_WRONLY, false, &writer), 0);
    ck_assert_int_eq(ask_open(1, O_RDONLY, true, &dir), 0);
    for (unsigned k = 0; k < 3; k++) {
        in = lk_in(reader, 1, F_WRLCK, 0, 0);
        ck_assert_int_eq(ASK(opcodes[k], node, in), -EBADF);
        in = lk_in(writer, 1, F_RDLCK, 0, 0);
        ck_assert_int_eq(ASK(opcodes[k], node, in), -EBADF);
        in = lk_in(dir, 1, F_RDLCK, 0, 0);
        ck_assert_int_eq(ASK(opcodes[k], 1, in), -EBADF);
        in = lk_in(fh, 1, F_RDLCK, 0, 0);
        ck_assert_int_eq(ASK(opcodes[k], 1, in), -EBADF);
        in.fh = fh + 1;
        ck_assert_int_eq(ASK(opcodes[k], node, in), -EBADF);
        ck_assert_int_eq(ask(opcodes[k], node, &in, sizeof(in) - 1, NULL, 0), -EINVAL);
        ck_assert_int_eq(ask(opcodes[k], node, &in, sizeof(in), "", 1), -EINVAL);
    }
    /* The answer leads nowhere; nobody else is harmed. */
    ck_assert_int_eq(set(1, F_WRLCK, 0, 0), 0);
    a = begin(2, F_WRLCK, 0, 0);
    fake_break_out(a, 0);
    ck_assert_int_eq(flush(1), 0);
    ck_assert_int_eq(end(a), 1);
    ck_assert_int_eq(flush(2), 0);
    ck_assert_int_eq(set(1, F_WRLCK, 0, 0), 0);
}

/* ---- threads ----------------------------------------------------------------------------- */

#define ROUNDS 400

static unsigned counter; /* under the file's lock, by turns of both guests */

struct locker {
    struct client who;
    uint64_t owner;
    bool sessions; /* end meanwhile */
};

static bool locker_open(struct locker *locker, uint64_t *ret_node, uint64_t *ret_fh)
{
    const struct fuse_open_in in = { .flags = O_RDWR };

    if (ask_as(&locker->who, FUSE_LOOKUP, 1, NULL, 0, "f", 2) != 0)
        return false;
    memcpy(ret_node, locker->who.answer, 8);
    if (ask_as(&locker->who, FUSE_OPEN, *ret_node, &in, sizeof(in), NULL, 0) != 0)
        return false;
    memcpy(ret_fh, locker->who.answer, 8);
    return true;
}

static void *locker_main(void *arg)
{
    struct locker *locker = arg;
    uint64_t at, handle;
    bool is_open = false;

    for (unsigned i = 0; i < ROUNDS; i++) {
        struct fuse_interrupt_in stop = { .unique = locker->who.unique - i % 3 };
        struct fuse_lk_in in;
        int r;

        if (!is_open && !(is_open = locker_open(locker, &at, &handle)))
            continue;
        in = lk_in(handle, locker->owner, F_WRLCK, 0, i % 2 ? ALL : 0);
        if (i % 7 == 0)
            ask_as(&locker->who, FUSE_INTERRUPT, 0, &stop, sizeof(stop), NULL, 0);
        r = ask_as(&locker->who, FUSE_SETLKW, at, &in, sizeof(in), NULL, 0);
        if (!locker->sessions) {
            ck_assert_int_eq(r, 0);
            counter++;
        } else if (r != 0) {
            is_open = false;
            continue;
        }
        in.lk.type = F_UNLCK;
        if (i % 3)
            r = ask_as(&locker->who, FUSE_SETLK, at, &in, sizeof(in), NULL, 0);
        else {
            const struct fuse_flush_in gone = { .fh = handle, .lock_owner = locker->owner };

            r = ask_as(&locker->who, FUSE_FLUSH, at, &gone, sizeof(gone), NULL, 0);
        }
        is_open = r == 0;
    }
    return NULL;
}

static void *beginner_main(void *arg)
{
    struct locker *locker = arg;

    for (unsigned i = 0; i < ROUNDS / 20; i++) {
        usleep(2000);
        ck_assert_int_eq(ask_init_as(&locker->who, 45, ~(uint64_t)0), 0);
    }
    return NULL;
}

static void run_lockers(bool sessions)
{
    struct locker *lockers = calloc(6, sizeof(*lockers));
    pthread_t threads[6];
    unsigned count = sessions ? 6 : 4;

    for (unsigned i = 0; i < count; i++) {
        lockers[i].who.guest = i % 2 ? other : guest;
        lockers[i].who.room = 512;
        lockers[i].who.unique = (uint64_t)i << 32;
        lockers[i].owner = 1 + i / 2;
        lockers[i].sessions = sessions;
        pthread_create(&threads[i], NULL, i < 4 ? locker_main : beginner_main, &lockers[i]);
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(lockers);
    ck_assert_ptr_null(guest->waiters);
    ck_assert_ptr_null(other->waiters);
}

TEST(test_one_at_a_time)
{
    counter = 0;
    run_lockers(false);
    ck_assert_uint_eq(counter, 4 * ROUNDS);
}

TEST(test_while_sessions_end)
{
    run_lockers(true);
    ck_assert_int_eq(ask_init(), 0);
    ck_assert_int_eq(ask_init_as(&other_client, 45, ~(uint64_t)0), 0);
    open_both();
    ck_assert_int_eq(set(1, F_WRLCK, 0, ALL), 0);
}

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_who_is_in_the_way);
    tcase_add_test(tcase, test_what_closing_gives_back);
    tcase_add_test(tcase, test_who_says_flush);
    tcase_add_test(tcase, test_who_waits_is_granted);
    tcase_add_test(tcase, test_a_circle_of_waits);
    tcase_add_test(tcase, test_who_waits_holds_no_worker);
    tcase_add_test(tcase, test_interrupts);
    tcase_add_test(tcase, test_no_more_than_half_of_a_queue_waits);
    tcase_add_test(tcase, test_granted_while_the_queue_stands);
    tcase_add_loop_test(tcase, test_a_session_ends, 0, sizeof(ends) / sizeof(ends[0]));
    tcase_add_test(tcase, test_a_late_lock);
    tcase_add_test(tcase, test_what_makes_no_sense);
    tcase_add_test(tcase, test_one_at_a_time);
    tcase_add_test(tcase, test_while_sessions_end);
}

int main(void)
{
    return guest_main("guest_lock", setup, add);
}
