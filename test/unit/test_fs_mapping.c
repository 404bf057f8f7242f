/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files mapped through doors: faults, and what take-aways and writes do to what is mapped.
 */
#include "test_mapping.h"

/* Every second block, so that nothing of it lies together. */
static struct fs_handle *scattered(const char *name, uint64_t bytes)
{
    struct fs_handle *handle = fx_create(name), *other = fx_create("other");

    for (uint64_t at = 0; at < bytes; at += 8192) {
        fx_fill(handle, at, 4096, 'a');
        fx_fill(other, at, 4096, 'o');
    }
    ck_assert_int_eq(truncate_to(handle, bytes), 0);
    fs_release(fx.fs, other);
    return handle;
}

static int one_piece(void *arg, const struct fs_extent *extent)
{
    unsigned *count = arg;

    ck_assert(!extent->unwritten);
    ck_assert_uint_eq(extent->pool_offset % CHUNK, extent->offset % CHUNK);
    ++*count;
    return 0;
}

START_TEST(test_fragments_are_gathered)
{
    struct fs_handle *handle = scattered("f", CHUNK);
    uint64_t ino = fs_handle_ino(handle), before = fx_attr(ino).blocks;
    unsigned extents = 0;

    ck_assert_int_eq(fault(&a, handle, 0, 3, false), 0);
    for (unsigned at = 0; at < CHUNK; at += 4096)
        expect_shown(&a, 3, at, at + 4096, at % 8192 ? 0 : 'a');
    ck_assert_int_eq(fs_extents(fx.fs, &fx.rq, ino, one_piece, &extents), 0);
    ck_assert_uint_eq(extents, 1);
    ck_assert_uint_ge(fx_attr(ino).blocks, 512);
    memset(window_at(&a, 3, 5000), 's', 100);
    fx_expect(handle, 5000, 100, 's');
    fx_fill(handle, 9000, 100, 'w');
    expect_shown(&a, 3, 9000, 9100, 'w');
    /* What stayed zero is a hole again. */
    ck_assert_int_eq(unmap(&a, 3), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, before + 1);
    fx_expect(handle, 5000, 100, 's');
    fx_expect(handle, 0, 4096, 'a');
    fx_expect(handle, 4096, 900, 0);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_a_hole_is_shown_as_zeros_until_somebody_writes)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    ck_assert_int_eq(truncate_to(handle, 3 * CHUNK), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, false), 0);
    ck_assert_int_eq(fault(&a, handle, CHUNK, 1, false), 0);
    ck_assert_int_eq(fault(&b, handle, CHUNK, 1, false), 0);
    ck_assert(window_shows_zeros(&a, 0) && window_shows_zeros(&a, 1) && window_shows_zeros(&b, 1));
    ck_assert_uint_eq(fx_attr(ino).blocks, 0);
    /* Another door's write: who cannot be revoked is shown the piece, who can be faults again. */
    fx_fill(handle, CHUNK + 10, 10, 'w');
    ck_assert(!window_shows_zeros(&a, 1));
    expect_shown(&a, 1, 10, 20, 'w');
    expect_shown(&a, 1, 20, CHUNK, 0);
    ck_assert_ptr_null(window_at(&b, 1, 0));
    ck_assert_int_eq(fault(&b, handle, CHUNK, 1, false), 0);
    ck_assert_ptr_eq(window_at(&b, 1, 0), window_at(&a, 1, 0));
    ck_assert(window_shows_zeros(&a, 0));
    /* The same slot, now with WRITE. */
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    ck_assert(!window_shows_zeros(&a, 0));
    memset(window_at(&a, 0, 0), 's', 4096);
    fx_expect(handle, 0, 4096, 's');
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_an_appended_chunk_is_filled)
{
    struct fs_handle *handle = fx_create("f");
    char end[] = "end";
    struct iovec vector = { .iov_base = end, .iov_len = 3 };

    ck_assert_int_eq(truncate_to(handle, 100), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, false), 0);
    ck_assert(window_shows_zeros(&a, 0));
    ck_assert_int_eq(fs_write(fx.fs, &fx.rq, handle, &vector, 1, 0, FS_WRITE_APPEND, NULL), 3);
    ck_assert_mem_eq(window_at(&a, 0, 100), "end", 4);
    ck_assert_uint_eq(fx_attr(fs_handle_ino(handle)).size, 103);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_truncate_leaves_what_is_pinned)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle), before = fx_blocks_free();

    fx_fill(handle, 0, 3 * CHUNK, 'x');
    ck_assert_int_eq(fault(&a, handle, CHUNK, 1, true), 0);
    ck_assert_int_eq(truncate_to(handle, 1000), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 512 + 1);
    ck_assert_ptr_nonnull(window_at(&a, 1, 0));
    expect_shown(&a, 1, 0, CHUNK, 0); /* nothing of what was cut off */
    /* Stores past EOF reach the file's own blocks, and never show. */
    memset(window_at(&a, 1, 0), 's', CHUNK);
    ck_assert_int_eq(truncate_to(handle, 2 * CHUNK), 0);
    expect_shown(&a, 1, 0, CHUNK, 0);
    fx_expect(handle, 1000, 2 * CHUNK - 1000, 0);
    memset(window_at(&a, 1, 7), 't', 1);
    fx_expect(handle, CHUNK + 7, 1, 't');
    ck_assert_int_eq(truncate_to(handle, 1000), 0);
    ck_assert_int_eq(unmap(&a, 1), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 1);
    ck_assert_int_eq(truncate_to(handle, 0), 0);
    ck_assert_uint_eq(fx_blocks_free(), before);
    fs_release(fx.fs, handle);
}
END_TEST

static int call(struct fs_handle *handle, int mode, uint64_t offset, uint64_t length)
{
    return fs_fallocate(fx.fs, &fx.rq, handle, mode, offset, length);
}

START_TEST(test_punch_and_zero_go_around_pins)
{
    int modes[] = { PUNCH, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };

    for (unsigned i = 0; i < 2; i++) {
        struct fs_handle *handle = fx_create(i ? "zero" : "punch");
        uint64_t ino = fs_handle_ino(handle);

        fx_fill(handle, 0, 4 * CHUNK, 'x');
        ck_assert_int_eq(fault(&a, handle, CHUNK, 1, true), 0);
        ck_assert_int_eq(fault(&a, handle, 3 * CHUNK, 3, true), 0);
        ck_assert_int_eq(fault(&b, handle, 2 * CHUNK, 2, true), 0);
        ck_assert_int_eq(call(handle, modes[i], 100, 4 * CHUNK - 200), 0);
        ck_assert_ptr_null(window_at(&b, 2, 0));
        expect_shown(&a, 1, 0, CHUNK, 0);
        expect_shown(&a, 3, 0, CHUNK - 100, 0);
        expect_shown(&a, 3, CHUNK - 100, CHUNK, 'x');
        fx_expect(handle, 0, 100, 'x');
        fx_expect(handle, 100, 4 * CHUNK - 200, 0);
        fx_expect(handle, 4 * CHUNK - 100, 100, 'x');
        if (i == 0)
            ck_assert_uint_eq(fx_attr(ino).blocks, 1 + 512 + 512);
        /* The user stores again without asking, and that counts. */
        memset(window_at(&a, 1, 4096), 's', 10);
        fx_expect(handle, CHUNK + 4096, 10, 's');
        ck_assert_int_eq(unmap(&a, 1), 0);
        ck_assert_int_eq(unmap(&a, 3), 0);
        fx_expect(handle, CHUNK + 4096, 10, 's');
        if (i == 0)
            ck_assert_uint_eq(fx_attr(ino).blocks, 1 + 1 + 1);
        fs_release(fx.fs, handle);
    }
}
END_TEST

START_TEST(test_what_is_pinned_does_not_move)
{
    int modes[] = { FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE };

    for (unsigned i = 0; i < 2; i++) {
        struct fs_handle *handle = fx_create(i ? "insert" : "collapse");

        fx_fill(handle, 0, CHUNK, '0');
        fx_fill(handle, CHUNK, CHUNK, '1');
        ck_assert_int_eq(truncate_to(handle, 4 * CHUNK), 0);
        ck_assert_int_eq(fault(&a, handle, CHUNK, 1, false), 0);
        ck_assert_int_eq(call(handle, modes[i], 4096, 4096), -EBUSY);
        ck_assert_int_eq(call(handle, modes[i], 2 * CHUNK - 4096, 4096), -EBUSY);
        ck_assert_int_eq(call(handle, modes[i], 2 * CHUNK, 4096), 0);
        expect_shown(&a, 1, 0, CHUNK, '1');
        /* Zeros are shown at a place, too. */
        ck_assert_int_eq(fault(&a, handle, 2 * CHUNK, 2, false), 0);
        ck_assert_int_eq(call(handle, modes[i], 2 * CHUNK, 4096), -EBUSY);
        ck_assert_int_eq(unmap(&a, 1), 0);
        ck_assert_int_eq(unmap(&a, 2), 0);
        ck_assert_int_eq(fault(&b, handle, CHUNK, 1, false), 0);
        ck_assert_int_eq(call(handle, modes[i], 4096, 4096), 0);
        ck_assert_ptr_null(window_at(&b, 1, 0));
        ck_assert_int_eq(fault(&b, handle, CHUNK, 1, false), 0);
        expect_shown(&b, 1, 0, 4096, i ? '0' : '1');
        expect_shown(&b, 1, 4096, 8192, '1');
        ck_assert_int_eq(unmap(&b, 1), 0);
        fs_release(fx.fs, handle);
    }
}
END_TEST

START_TEST(test_a_chunk_is_there_past_eof)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, 3 * 4096, 'x');
    ck_assert_int_eq(truncate_to(handle, 5000), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    expect_shown(&a, 0, 0, 5000, 'x');
    expect_shown(&a, 0, 5000, CHUNK, 0);
    /* The file grows inside what is mapped: nobody asks again. */
    ck_assert_int_eq(truncate_to(handle, 100000), 0);
    memset(window_at(&a, 0, 99999), 'z', 1);
    fx_expect(handle, 99999, 1, 'z');
    ck_assert_uint_eq(fx_attr(ino).blocks, 512);
    ck_assert_int_eq(fault(&a, handle, CHUNK, 1, true), -ENXIO);
    ck_assert_int_eq(unmap(&a, 0), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 3);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_who_can_be_revoked_is)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, 2 * CHUNK, 'x');
    ck_assert_int_eq(fs_populate(fx.fs, &fx.rq, &b.door, ino, 0, 2 * CHUNK, 4, true), 0);
    ck_assert_int_eq(truncate_to(handle, CHUNK + 1), 0);
    ck_assert_ptr_nonnull(window_at(&b, 4, 0));
    ck_assert_ptr_null(window_at(&b, 5, 0));
    ck_assert_uint_eq(fx_attr(ino).blocks, 513);
    /* A revocation that fails makes it one that cannot, until it is unmapped or the door is over. */
    ck_assert_int_eq(fault(&b, handle, CHUNK, 5, true), 0);
    b.fails[WINDOW_REVOKE] = -ETIMEDOUT;
    ck_assert_int_eq(truncate_to(handle, 1), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 1024);
    b.fails[WINDOW_UNMAP] = -ETIMEDOUT;
    ck_assert_int_eq(unmap(&b, 5), -EIO);
    b.fails[WINDOW_UNMAP] = -ENODEV;
    ck_assert_int_eq(unmap(&b, 5), -ENODEV);
    fs_settle(fx.fs);
    ck_assert_uint_eq(fx_attr(ino).blocks, 1024);
    fs_door_stop(fx.fs, &b.door);
    fs_door_over(fx.fs, &b.door);
    fs_settle(fx.fs);
    ck_assert_uint_eq(fx_attr(ino).blocks, 1);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_a_crash_frees_what_pins_kept)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, 2 * CHUNK, 'x');
    ck_assert_int_eq(fault(&a, handle, CHUNK, 1, true), 0);
    ck_assert_int_eq(truncate_to(handle, 10), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 513);
    fs_release(fx.fs, handle);
    atomic_store(&fx.below.pool->failed, true);
    close_doors();
    fx_remount(true);
    ck_assert_uint_eq(fx.recovered.orphans, 1);
    handle = fx_open(ino, O_RDWR);
    ck_assert_uint_eq(fx_attr(ino).blocks, 1);
    fs_release(fx.fs, handle);
    open_doors();
}
END_TEST

START_TEST(test_an_unlinked_file_stays_while_mapped)
{
    uint64_t before = fx_blocks_free();
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("f")), 0);
    fs_release(fx.fs, handle);
    fs_forget(fx.fs, ino, 1);
    ck_assert_uint_lt(fx_blocks_free(), before - 511);
    expect_shown(&a, 0, 0, CHUNK, 'x');
    ck_assert_int_eq(unmap(&a, 0), 0);
    ck_assert_uint_eq(fx_blocks_free(), before);
}
END_TEST

START_TEST(test_quarantine)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle);

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(fault(&b, handle, 0, 0, true), 0);
    fs_door_stop(fx.fs, &b.door);
    ck_assert_int_eq(fault(&b, handle, 0, 1, true), -ENODEV);
    ck_assert_int_eq(unmap(&b, 0), -ENODEV);
    /* Not even who can be revoked is asked any more, so it is a pin. */
    ck_assert_int_eq(truncate_to(handle, 0), 0);
    ck_assert_uint_eq(b.calls[WINDOW_REVOKE], 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 512);
    fs_door_resume(fx.fs, &b.door);
    ck_assert_int_eq(unmap(&b, 0), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 0);
    fs_release(fx.fs, handle);
}
END_TEST

static bool quarantine_ends(void)
{
    for (unsigned i = 0; i < 1000 && fs_door_is_quarantined(fx.fs, &a.door); i++)
        usleep(10000);
    return !fs_door_is_quarantined(fx.fs, &a.door);
}

/* The user of a door is gone when nobody has its descriptor or maps it, closed or not. */
START_TEST(test_quarantine_ends_with_the_last_mapping)
{
    struct fs_handle *handle = fx_create("f");
    struct pool *pool = fx.below.pool;
    void *map;
    int fd;

    ck_assert_int_eq(pool_door_open(pool, 3, false), -EINVAL);
    pool->fd = memfd_create("pool", MFD_CLOEXEC);
    ck_assert_int_ge(pool->fd, 0);
    ck_assert_int_eq(ftruncate(pool->fd, CHUNK), 0);
    ck_assert_int_eq(pool_door_open(pool, POOL_DOORS, false), -EINVAL);
    ck_assert(!pool_door_is_held(pool, 3));
    fd = pool_door_open(pool, 3, false);
    ck_assert_int_ge(fd, 0);
    map = mmap(NULL, CHUNK, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(map, MAP_FAILED);
    close(fd);
    ck_assert(pool_door_is_held(pool, 3));
    ck_assert(!pool_door_is_held(pool, 2));

    ck_assert_int_eq(truncate_to(handle, CHUNK), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    ck_assert_int_eq(truncate_to(handle, 0), 0);
    fs_door_quarantine(fx.fs, &a.door, 3);
    ck_assert_int_eq(fault(&a, handle, 0, 1, true), -ENXIO);
    ck_assert_int_eq(fs_unmap(fx.fs, &fx.rq, &a.door, 0), -ENODEV);
    usleep(500000);
    ck_assert(fs_door_is_quarantined(fx.fs, &a.door));
    ck_assert_uint_eq(fx_attr(fs_handle_ino(handle)).blocks, CHUNK / 4096);

    munmap(map, CHUNK);
    ck_assert(quarantine_ends());
    fs_door_over(fx.fs, &a.door); /* as who has not noticed */
    fs_settle(fx.fs);
    ck_assert_uint_eq(fx_attr(fs_handle_ino(handle)).blocks, 0);
    close(pool->fd);
    pool->fd = -1;
    fs_release(fx.fs, handle);
}
END_TEST

/* What the door is told ends a quarantine too. */
START_TEST(test_quarantine_is_left)
{
    struct fs_handle *handle = fx_create("f");
    struct pool *pool = fx.below.pool;
    int fd;

    pool->fd = memfd_create("pool", MFD_CLOEXEC);
    fd = pool_door_open(pool, 0, true);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(truncate_to(handle, CHUNK), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    fs_door_quarantine(fx.fs, &a.door, 0);
    fs_door_resume(fx.fs, &a.door);
    ck_assert(!fs_door_is_quarantined(fx.fs, &a.door));
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    fs_door_quarantine(fx.fs, &a.door, 0);
    fs_door_quarantine(fx.fs, &a.door, 0);
    fs_door_over(fx.fs, &a.door);
    ck_assert(!fs_door_is_quarantined(fx.fs, &a.door));
    fs_door_remove(fx.fs, &a.door);
    window_destroy(&a);
    window_init(&a, pool, "a", false);
    ck_assert_int_eq(fs_door_add(fx.fs, &a.door), 0);
    close(fd);
    close(pool->fd);
    pool->fd = -1;
    fs_release(fx.fs, handle);
}
END_TEST

/* A mapper that maps read-only is asked again when the slot is to be written. */
START_TEST(test_a_slot_becomes_writable)
{
    struct fs_handle *handle = fx_create("f");
    uint8_t byte = 'y';

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(fault(&a, handle, 0, 0, false), 0);
    ck_assert(!window_store(&a, 0, 100, &byte, 1));
    a.fails[WINDOW_MAP] = -ENOMEM;
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), -ENOMEM);
    expect_shown(&a, 0, 0, CHUNK, 'x');
    a.fails[WINDOW_MAP] = 0;
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    ck_assert(window_store(&a, 0, 100, &byte, 1));
    ck_assert_uint_eq(a.calls[WINDOW_UNMAP], 0);
    ck_assert_int_eq(unmap(&a, 0), 0);
    fs_release(fx.fs, handle);
}
END_TEST

static _Atomic uint32_t *writers_at_the_end;
static void (*ends_before)(void *arg, const struct mapping *mapping);
static bool found_at_the_end;

static void note_end(void *arg, const struct mapping *mapping)
{
    found_at_the_end = *writers_at_the_end == 1;
    ends_before(arg, mapping);
}

/* Until its stores are on the medium, fsync finds it. */
START_TEST(test_a_mapping_is_flushed_while_it_is_found)
{
    struct fs_handle *handle = fx_create("f");

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    writers_at_the_end = &handle->inode->dax.writers;
    ends_before = fx.fs->dax.ends;
    fx.fs->dax.ends = note_end;
    ck_assert_int_eq(unmap(&a, 0), 0);
    ck_assert(found_at_the_end);
    fx.fs->dax.ends = ends_before;
    fs_release(fx.fs, handle);
}
END_TEST

static int note_place(void *arg, const struct fs_extent *extent)
{
    *(uint64_t *)arg = extent->pool_offset;
    return 0;
}

/* A damaged map that says a piece in which metadata lies. */
START_TEST(test_metadata_is_not_shown)
{
    struct fs_handle *handle = fx_create("f");
    struct pool *pool = fx.below.pool;
    uint64_t place = 0;

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    ck_assert_int_eq(unmap(&a, 0), 0);
    ck_assert_int_eq(fs_extents(fx.fs, &fx.rq, fs_handle_ino(handle), note_place, &place), 0);
    ck_assert_uint_eq(place % CHUNK, 0);
    pool_blocks_forget(pool, place / 4096, 512);
    ck_assert(pool_block_set_verified(pool, place / 4096 + 100));
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), -EUCLEAN);
    ck_assert_int_eq(fault(&b, handle, 0, 0, false), -EUCLEAN);
    ck_assert_ptr_null(window_at(&a, 0, 0));
    pool_block_clear_verified(pool, place / 4096, 512);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_bad_requests)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t dir = fx_mkdir(1, "d"), ino = fs_handle_ino(handle);
    struct fs_attr attr = { 0 };

    fx_fill(handle, 0, CHUNK + 1, 'x');
    ck_assert_int_eq(fault(&a, handle, 4096, 0, false), -EINVAL);
    ck_assert_int_eq(fault(&a, handle, UINT64_MAX - CHUNK + 1, 0, false), -EINVAL);
    ck_assert_int_eq(fault(&a, handle, 0, WINDOW_SLOTS, false), -EINVAL);
    ck_assert_int_eq(fault(&a, handle, 0, UINT64_MAX, false), -EINVAL);
    ck_assert_int_eq(fault(&a, handle, 2 * CHUNK, 0, true), -ENXIO);
    ck_assert_int_eq(fs_fault(fx.fs, &fx.rq, &a.door, dir, 0, 0, false), -EISDIR);
    ck_assert_int_eq(fs_fault(fx.fs, &fx.rq, &a.door, 12345, 0, 0, false), -ESTALE);
    ck_assert_int_eq(fs_mknod(fx.fs, &fx.rq, 1, fs_name("p"), S_IFIFO | 0644, 0, 0, &attr), 0);
    ck_assert_int_eq(fs_fault(fx.fs, &fx.rq, &a.door, attr.ino, 0, 0, false), -EINVAL);
    ck_assert_int_eq(unmap(&a, 0), -ENOENT);
    ck_assert_int_eq(unmap(&a, WINDOW_SLOTS), -EINVAL);
    /* A slot twice: what it showed makes room, and what it shows is not asked for again. */
    ck_assert_int_eq(fault(&a, handle, CHUNK, 0, false), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, false), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, false), 0);
    ck_assert_uint_eq(a.calls[WINDOW_MAP], 2);
    ck_assert_uint_eq(a.calls[WINDOW_UNMAP], 1);
    ck_assert_int_eq(fs_populate(fx.fs, &fx.rq, &a.door, ino, 0, 0, 1, false), -EINVAL);
    ck_assert_int_eq(fs_populate(fx.fs, &fx.rq, &a.door, ino, CHUNK, UINT64_MAX, 1, false),
                     -EINVAL);
    /* Rights. */
    a.door.read_only = true;
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), -EROFS);
    ck_assert_int_eq(fault(&a, handle, 0, 1, false), 0);
    a.door.read_only = false;
    ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, ino, DXF_FLAG_IMMUTABLE), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 2, true), -EPERM);
    ck_assert_int_eq(fault(&a, handle, 0, 2, false), 0);
    ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, ino, 0), 0);
    /* Too many. */
    a.door.limit = 3;
    ck_assert_int_eq(fault(&a, handle, 0, 3, false), -EMFILE);
    ck_assert_int_eq(fs_unmap_all(fx.fs, &fx.rq, &a.door), 0);
    ck_assert_uint_eq(a.door.count, 0);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_a_mapper_that_fails)
{
    struct fs_handle *handle = fx_create("f");
    uint64_t ino = fs_handle_ino(handle), before;

    ck_assert_int_eq(truncate_to(handle, CHUNK), 0);
    before = fx_blocks_free();
    a.fails[WINDOW_MAP] = -ENOMEM;
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), -ENOMEM);
    fs_settle(fx.fs);
    ck_assert_uint_eq(fx_blocks_free(), before);
    ck_assert_int_eq(unmap(&a, 0), -ENOENT);
    /* No answer: it counts as mapped. */
    a.fails[WINDOW_MAP] = -ETIMEDOUT;
    a.fails[WINDOW_UNMAP] = -EIO;
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), -EIO);
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), -EBUSY);
    ck_assert_int_eq(truncate_to(handle, 0), 0);
    ck_assert_uint_eq(fx_attr(ino).blocks, 512);
    /* What can be unmapped after all is in nobody's way. */
    a.fails[WINDOW_MAP] = a.fails[WINDOW_UNMAP] = 0;
    ck_assert_int_eq(truncate_to(handle, CHUNK), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    ck_assert_uint_eq(a.calls[WINDOW_UNMAP], 2);
    a.fails[WINDOW_UNMAP] = -ETIMEDOUT;
    ck_assert_int_eq(unmap(&a, 0), -EIO);
    a.fails[WINDOW_UNMAP] = 0;
    ck_assert_int_eq(unmap(&a, 0), 0);
    ck_assert_int_eq(unmap(&a, 0), -ENOENT);
    fs_release(fx.fs, handle);
}
END_TEST

START_TEST(test_times_and_fsync)
{
    struct fs_handle *handle = fx_create("f");
    struct fs_request of_a = { .in_group = true, .door = &a.door };
    uint64_t ino = fs_handle_ino(handle);
    struct fs_attr attr = { .mtime = 1000 }, after;

    fx_fill(handle, 0, CHUNK, 'x');
    ck_assert_int_eq(fault(&a, handle, 0, 0, false), 0);
    ck_assert_int_eq(fs_setattr(fx.fs, &fx.rq, ino, &attr, FS_SET_MTIME, &after), 0);
    ck_assert_int_eq(fx_attr(ino).mtime, 1000);
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    ck_assert_int_gt(fx_attr(ino).mtime, 1000);
    /* Its own door knows best; others see the times move. */
    ck_assert_int_eq(fs_setattr(fx.fs, &of_a, ino, &attr, FS_SET_MTIME, &after), 0);
    ck_assert_int_eq(fs_getattr(fx.fs, &of_a, ino, &after), 0);
    ck_assert_int_eq(after.mtime, 1000);
    ck_assert_int_gt(fx_attr(ino).mtime, 1000);
    ck_assert_int_eq(fs_setattr(fx.fs, &of_a, ino, &attr, FS_SET_MTIME, &after), 0);
    ck_assert_int_eq(fs_fsync(fx.fs, &fx.rq, ino, false), 0);
    ck_assert_int_eq(fs_getattr(fx.fs, &of_a, ino, &after), 0);
    ck_assert_int_gt(after.mtime, 1000);
    ck_assert_int_eq(fs_setattr(fx.fs, &of_a, ino, &attr, FS_SET_MTIME, &after), 0);
    ck_assert_int_eq(unmap(&a, 0), 0);
    ck_assert_int_gt(fx_attr(ino).mtime, 1000);
    fs_release(fx.fs, handle);
}
END_TEST

static uint64_t pieces_free(void)
{
    struct space_info info;

    space_get_info(fs_space(fx.fs), &info);
    return info.pieces_free;
}

/* What a short file needs is a piece while it is mapped, and some blocks of a broken one before and after. */
START_TEST(test_a_short_file_gives_its_piece_back)
{
    enum { LENGTH = 5000 };
    uint64_t before = 0;

    for (unsigned i = 0; i < 20; i++) {
        char name[8];
        struct fs_handle *handle;

        snprintf(name, sizeof(name), "f%u", i);
        handle = fx_create(name);
        fx_fill(handle, 0, LENGTH, 'f');
        if (i == 0)
            before = pieces_free();
        ck_assert_int_eq(fault(&a, handle, 0, 3, i % 2), 0);
        ck_assert_uint_eq(pieces_free(), before - 1);
        expect_shown(&a, 3, 0, LENGTH, 'f');
        ck_assert_int_eq(unmap(&a, 3), 0);
        ck_assert_uint_eq(pieces_free(), before);
        fx_expect(handle, 0, LENGTH, 'f');
        fs_release(fx.fs, handle);
    }
}
END_TEST

START_TEST(test_no_piece_is_left)
{
    struct fs_handle *handle = fx_create("f"), *full = fx_create("full");
    uint64_t length = 60 * MIB, before;

    ck_assert_int_eq(truncate_to(handle, CHUNK), 0);
    fx_fill(handle, 8192, 1, 'x');
    while (length >= 4096)
        if (fs_fallocate(fx.fs, &fx.rq, full, 0, fx_attr(fs_handle_ino(full)).size, length) != 0)
            length /= 2;
    before = fx_blocks_free();
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), -ENOSPC);
    ck_assert_uint_eq(fx_blocks_free(), before);
    ck_assert_int_eq(unmap(&a, 0), -ENOENT);
    fx_expect(handle, 8192, 1, 'x');
    ck_assert_int_eq(truncate_to(full, 0), 0);
    ck_assert_int_eq(fault(&a, handle, 0, 0, true), 0);
    fs_release(fx.fs, handle);
    fs_release(fx.fs, full);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_fragments_are_gathered);
    tcase_add_test(tcase, test_a_hole_is_shown_as_zeros_until_somebody_writes);
    tcase_add_test(tcase, test_an_appended_chunk_is_filled);
    tcase_add_test(tcase, test_truncate_leaves_what_is_pinned);
    tcase_add_test(tcase, test_punch_and_zero_go_around_pins);
    tcase_add_test(tcase, test_what_is_pinned_does_not_move);
    tcase_add_test(tcase, test_a_chunk_is_there_past_eof);
    tcase_add_test(tcase, test_who_can_be_revoked_is);
    tcase_add_test(tcase, test_a_crash_frees_what_pins_kept);
    tcase_add_test(tcase, test_an_unlinked_file_stays_while_mapped);
    tcase_add_test(tcase, test_quarantine);
    tcase_add_test(tcase, test_metadata_is_not_shown);
    tcase_add_test(tcase, test_a_slot_becomes_writable);
    tcase_add_test(tcase, test_a_mapping_is_flushed_while_it_is_found);
    tcase_add_test(tcase, test_quarantine_ends_with_the_last_mapping);
    tcase_add_test(tcase, test_quarantine_is_left);
    tcase_add_test(tcase, test_bad_requests);
    tcase_add_test(tcase, test_a_mapper_that_fails);
    tcase_add_test(tcase, test_times_and_fsync);
    tcase_add_test(tcase, test_no_piece_is_left);
    tcase_add_test(tcase, test_a_short_file_gives_its_piece_back);
}

int main(void)
{
    return mapping_main("fs_mapping", add);
}
