/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The move of a short last chunk at close (fs/retract.c): when it happens, and that nothing else does. */
#define FX_POOL_SIZE (32u << 20)
#include "test_fs.h"

#include "space/txn.h"

#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define PIECE 512u
#define CHUNK ((uint64_t)PIECE * 4096)

static uint64_t pieces_free(void)
{
    struct space_info info;

    space_get_info(fs_space(fx.fs), &info);
    return info.pieces_free;
}

/* Takes whole pieces until that many are left; a piece that is broken, with room, is there too. */
static void leave_pieces(uint64_t left)
{
    struct fs_handle *handle = fx_create("ballast");

    fx_write(handle, 0, "x");
    for (uint64_t chunk = 1; pieces_free() > left; chunk++)
        ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, 0, chunk * CHUNK, CHUNK), 0);
    fs_release(fx.fs, handle);
    ck_assert_uint_eq(pieces_free(), left);
}

/* A file with bytes from its second chunk on: those begin a piece. */
static struct fs_handle *make_tail(const char *name, size_t length)
{
    struct fs_handle *handle = fx_create(name);

    fx_fill(handle, CHUNK, length, 't');
    return handle;
}

struct place {
    uint64_t first; /* of the second chunk, in the pool */
    unsigned extents;
    uint64_t unwritten, written; /* bytes */
};

static int note_place(void *arg, const struct fs_extent *extent)
{
    struct place *place = arg;

    if (extent->offset < CHUNK)
        return 0;
    if (place->extents++ == 0)
        place->first = extent->pool_offset;
    *(extent->unwritten ? &place->unwritten : &place->written) += extent->length;
    return 0;
}

static struct place place_of(uint64_t ino)
{
    struct place place = { 0 };

    ck_assert_int_eq(fs_extents(fx.fs, &fx.rq, ino, note_place, &place), 0);
    return place;
}

static bool is_in_place(uint64_t ino)
{
    return place_of(ino).first % CHUNK == 0;
}

static bool is_same(const struct fs_attr *a, const struct fs_attr *b)
{
    return a->ino == b->ino && a->generation == b->generation && a->mode == b->mode &&
           a->links == b->links && a->size == b->size && a->blocks == b->blocks &&
           a->atime == b->atime && a->mtime == b->mtime && a->ctime == b->ctime &&
           a->btime == b->btime && a->flags == b->flags;
}

START_TEST(test_stays_while_pieces_are_plenty)
{
    struct fs_handle *handle = make_tail("f", 100000);
    uint64_t ino = fs_handle_ino(handle);
    uint64_t before = pieces_free();

    ck_assert(!space_pieces_are_scarce(fs_space(fx.fs)));
    fs_release(fx.fs, handle);
    ck_assert_uint_eq(pieces_free(), before);
    ck_assert(is_in_place(ino));
}
END_TEST

/* Scarce are two of sixteen; after a mount, too. */
START_TEST(test_scarce)
{
    leave_pieces(3);
    ck_assert(!space_pieces_are_scarce(fs_space(fx.fs)));
    fs_release(fx.fs, make_tail("f", 1));
    ck_assert(!space_pieces_are_scarce(fs_space(fx.fs))); /* it is free again */
    ck_assert_uint_eq(pieces_free(), 3);
    fx_fill(fx_create("more"), CHUNK, 1, 'm');
    ck_assert(space_pieces_are_scarce(fs_space(fx.fs)));
    fx_remount(true);
    ck_assert(space_pieces_are_scarce(fs_space(fx.fs)));
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("more")), 0);
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    ck_assert(!space_pieces_are_scarce(fs_space(fx.fs)));
}
END_TEST

START_TEST(test_moves_and_nothing_else_changes)
{
    char value[8];
    struct fs_handle *handle;
    struct fs_attr before, after;
    uint64_t ino, free, at;

    leave_pieces(2);
    handle = make_tail("f", 300000);
    ino = fs_handle_ino(handle);
    fx_fill(handle, 1000, 5000, 'h');
    ck_assert_int_eq(fs_setxattr(fx.fs, &fx.rq, ino, "user.a", "value", 5, 0, 0), 0);
    before = fx_attr(ino);
    free = fx_blocks_free();
    ck_assert_uint_eq(pieces_free(), 1);
    ck_assert(is_in_place(ino));
    usleep(20000); /* so that times that moved would show */
    fs_release(fx.fs, handle);

    ck_assert_uint_eq(pieces_free(), 2);
    ck_assert(!is_in_place(ino));
    ck_assert_uint_eq(fx_blocks_free(), free);
    for (unsigned mounts = 0; mounts < 2; mounts++) {
        after = fx_attr(ino);
        ck_assert(is_same(&before, &after));
        handle = fx_open(ino, O_RDONLY);
        fx_expect(handle, 0, 1000, 0);
        fx_expect(handle, 1000, 5000, 'h');
        fx_expect(handle, 6000, CHUNK - 6000, 0);
        fx_expect(handle, CHUNK, 300000, 't');
        ck_assert_int_eq(fs_lseek(fx.fs, &fx.rq, handle, 8192, SEEK_DATA, &at), 0);
        ck_assert_uint_eq(at, CHUNK);
        ck_assert_int_eq(fs_getxattr(fx.fs, &fx.rq, ino, "user.a", value, sizeof(value)), 5);
        ck_assert_mem_eq(value, "value", 5);
        fs_release(fx.fs, handle);
        before.atime = fx_attr(ino).atime;
        fx_remount(mounts == 0);
    }
    /* It is the file's end that moved: it goes on growing, and goes away. */
    handle = fx_open(ino, O_RDWR);
    fx_fill(handle, CHUNK + 300000, 300000, 'u');
    fx_expect(handle, CHUNK, 300000, 't');
    fx_expect(handle, CHUNK + 300000, 300000, 'u');
    fs_release(fx.fs, handle);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("f")), 0);
    ck_assert_uint_gt(fx_blocks_free(), free);
}
END_TEST

/* Past EOF, in the middle, unwritten: each as it was. */
START_TEST(test_holes_and_unwritten_stay_what_they_are)
{
    struct fs_handle *handle;
    struct place before, after;
    uint64_t ino;

    leave_pieces(2);
    handle = fx_create("f");
    ino = fs_handle_ino(handle);
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_KEEP_SIZE, CHUNK, 122880), 0);
    fx_fill(handle, CHUNK, 40960, 't');
    ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  CHUNK + 8192, 4096),
                     0);
    before = place_of(ino);
    ck_assert_uint_eq(before.unwritten, 81920);
    ck_assert_uint_eq(before.written, 36864);
    fs_release(fx.fs, handle);
    ck_assert_uint_eq(pieces_free(), 2);
    after = place_of(ino);
    ck_assert_uint_ne(after.first, before.first);
    ck_assert_uint_eq(after.unwritten, 81920);
    ck_assert_uint_eq(after.written, 36864);
    fx_remount(true);
    ck_assert_uint_eq(fx_attr(ino).size, CHUNK + 40960);
    handle = fx_open(ino, O_RDONLY);
    fx_expect(handle, CHUNK, 8192, 't');
    fx_expect(handle, CHUNK + 8192, 4096, 0);
    fx_expect(handle, CHUNK + 12288, 28672, 't');
    fs_release(fx.fs, handle);
}
END_TEST

/* What is in the way, one after the other, on the same file. */
START_TEST(test_what_keeps_it_in_place)
{
    struct space_request all = { .want = PIECE, .flags = SPACE_BROKEN };
    struct space_request beside = { .want = 1, .flags = SPACE_EXACT };
    struct fs_handle *handle, *reader;
    struct space_extent extent;
    struct fs_read read;
    struct txn txn;
    uint64_t ino;

    leave_pieces(2);
    handle = make_tail("f", 5000);
    ino = fs_handle_ino(handle);
    fs_release(fx.fs, fx_open(ino, O_RDONLY)); /* whose user wrote nothing */
    ck_assert(is_in_place(ino));

    reader = fx_open(ino, O_RDONLY); /* who is still looking at the bytes */
    ck_assert_int_eq(fs_read_begin(fx.fs, &fx.rq, reader, CHUNK, 100, &read), 0);
    fs_release(fx.fs, fx_open(ino, O_RDWR));
    ck_assert(is_in_place(ino));
    ck_assert_int_eq(fs_read_end(fx.fs, &read), 0);
    fs_release(fx.fs, reader);

    txn_begin(&txn, fs_space(fx.fs)); /* no room */
    while (space_alloc(&txn, &all, &extent) == 0)
        ;
    fs_release(fx.fs, fx_open(ino, O_RDWR));
    ck_assert(is_in_place(ino));
    txn_abort(&txn);

    txn_begin(&txn, fs_space(fx.fs)); /* the piece would stay broken all the same */
    beside.goal = place_of(ino).first / 4096 + 100;
    ck_assert_int_eq(space_alloc(&txn, &beside, &extent), 0);
    fs_release(fx.fs, fx_open(ino, O_RDWR));
    ck_assert(is_in_place(ino));
    txn_abort(&txn);

    atomic_store(&fx.below.pool->failed, true);
    fs_release(fx.fs, handle);
    ck_assert(is_in_place(ino));
    atomic_store(&fx.below.pool->failed, false);

    fs_release(fx.fs, fx_open(ino, O_RDWR));
    ck_assert(!is_in_place(ino));
    handle = fx_open(ino, O_RDONLY);
    fx_expect(handle, CHUNK, 5000, 't');
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_stays_where_nothing_is_gained)
{
    struct space_request broken = { .want = PIECE, .flags = SPACE_BROKEN };
    struct fs_handle *handle, *other;
    struct space_extent extent;
    struct fs_attr attr;
    struct txn txn;
    uint64_t ino, others, left;

    leave_pieces(2);
    /* Room in broken pieces for much more than a chunk. */
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, 1, fs_name("ballast"), &attr), 0);
    handle = fx_open(attr.ino, O_RDWR);
    for (unsigned chunk = 1; chunk < 5; chunk++)
        ck_assert_int_eq(fs_fallocate(fx.fs, &fx.rq, handle,
                                      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                      chunk * CHUNK + CHUNK / 2, CHUNK / 2),
                         0);
    fs_release(fx.fs, handle);
    /* A chunk that is whole. */
    handle = make_tail("whole", CHUNK);
    ino = fs_handle_ino(handle);
    fs_release(fx.fs, handle);
    ck_assert(is_in_place(ino));
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("whole")), 0);
    fs_forget(fx.fs, ino, 1);
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    ck_assert_uint_eq(pieces_free(), 2);
    /* One in more parts than a move takes. */
    handle = fx_create("parts");
    ino = fs_handle_ino(handle);
    for (unsigned i = 0; i < 20; i++)
        fx_fill(handle, CHUNK + i * 8192, 4096, 'p');
    ck_assert_uint_eq(place_of(ino).extents, 20);
    fs_release(fx.fs, handle);
    ck_assert(is_in_place(ino));
    /* One of a file that has no name any more. */
    handle = make_tail("gone", 5000);
    others = fs_handle_ino(handle);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("gone")), 0);
    other = fx_open(others, O_RDWR);
    fs_release(fx.fs, handle);
    ck_assert(is_in_place(others));
    fs_release(fx.fs, other);
    fs_forget(fx.fs, others, 1);
    ck_assert_int_eq(fs_sync(fx.fs), 0);
    /* A first chunk, which small files may follow into its piece. */
    txn_begin(&txn, fs_space(fx.fs));
    while (space_alloc(&txn, &broken, &extent) == 0)
        ;
    left = pieces_free();
    handle = fx_create("small");
    fx_fill(handle, 0, 50000, 's');
    txn_abort(&txn);
    ck_assert_uint_eq(pieces_free(), left - 1);
    fs_release(fx.fs, handle);
    ck_assert_uint_eq(pieces_free(), left - 1);
}
END_TEST

/* SPACE_BROKEN: room in broken pieces alone, and not in the one that is to be left. */
START_TEST(test_room_in_broken_pieces_only)
{
    struct space *space = fs_space(fx.fs);
    struct space_request whole = { .want = PIECE, .flags = SPACE_PIECE };
    struct space_request growing = { .want = 10, .logical = PIECE };
    struct space_request broken = { .want = 300, .flags = SPACE_BROKEN };
    struct space_extent left, other, grown, extent;
    uint64_t before, taken = 0;
    struct txn txn, more;

    txn_begin(&txn, space);
    ck_assert_int_eq(space_alloc(&txn, &whole, &left), 0);
    ck_assert_int_eq(space_alloc(&txn, &whole, &other), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    txn_begin(&txn, space);
    ck_assert_int_eq(space_free(&txn, left.start + 10, 502, 0), 0);
    ck_assert_int_eq(space_free(&txn, other.start, 200, 0), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);

    txn_begin(&txn, space);
    ck_assert_int_eq(space_alloc(&txn, &growing, &grown), 0);
    before = pieces_free();
    broken.goal = left.start;
    while (space_alloc(&txn, &broken, &extent) == 0) {
        ck_assert_uint_ne(extent.start / PIECE, left.start / PIECE);
        ck_assert_uint_ne(extent.start / PIECE, grown.start / PIECE);
        taken += extent.count;
    }
    ck_assert_uint_ge(taken, 200);
    ck_assert_uint_eq(pieces_free(), before);
    txn_begin(&more, space);
    broken.goal = 0;
    ck_assert_int_eq(space_alloc(&more, &broken, &extent), 0);
    ck_assert_uint_eq(extent.start, left.start + 10);
    ck_assert_uint_eq(extent.count, 300);
    txn_abort(&more);
    ck_assert(space_piece_is_left(space, grown.start, 10));
    ck_assert(!space_piece_is_left(space, grown.start, 9));
    ck_assert(!space_piece_is_left(space, fx.below.pool->blocks, PIECE));
    txn_abort(&txn);
}
END_TEST

/* ---- others at work -------------------------------------------------------------------------------- */

#define ROUNDS 400u

static _Atomic bool over;
static uint64_t shared_ino;

static void *close_again_and_again(void *arg)
{
    (void)arg;
    while (!atomic_load(&over))
        fs_release(fx.fs, fx_open(shared_ino, O_RDWR));
    return NULL;
}

/* L2 Ranges do not interleave: what is written while another handle closes is not lost with the old
 * places. */
START_TEST(test_L2_ranges_do_not_interleave_with_a_writer)
{
    pthread_t thread;

    leave_pieces(2);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct fs_handle *handle = make_tail("f", 20000);

        shared_ino = fs_handle_ino(handle);
        atomic_store(&over, false);
        ck_assert_int_eq(pthread_create(&thread, NULL, close_again_and_again, NULL), 0);
        for (unsigned i = 0; i < 8; i++) {
            fx_fill(handle, CHUNK + i * 2500, 2500, 'a' + (int)i);
            fx_expect(handle, CHUNK + i * 2500, 2500, 'a' + (int)i);
        }
        fx_fill(handle, CHUNK + 20000, 10000, 'z');
        atomic_store(&over, true);
        pthread_join(thread, NULL);
        for (unsigned i = 0; i < 8; i++)
            fx_expect(handle, CHUNK + i * 2500, 2500, 'a' + (int)i);
        fx_expect(handle, CHUNK + 20000, 10000, 'z');
        fs_release(fx.fs, handle);
        ck_assert(!is_in_place(shared_ino));
        ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("f")), 0);
        fs_forget(fx.fs, shared_ino, 1);
        ck_assert_uint_eq(pieces_free(), 2);
    }
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_stays_while_pieces_are_plenty);
    tcase_add_test(tcase, test_scarce);
    tcase_add_test(tcase, test_moves_and_nothing_else_changes);
    tcase_add_test(tcase, test_holes_and_unwritten_stay_what_they_are);
    tcase_add_test(tcase, test_what_keeps_it_in_place);
    tcase_add_test(tcase, test_stays_where_nothing_is_gained);
    tcase_add_test(tcase, test_room_in_broken_pieces_only);
    tcase_add_test(tcase, test_L2_ranges_do_not_interleave_with_a_writer);
}

int main(void)
{
    return fx_main("fs_retract", add);
}
