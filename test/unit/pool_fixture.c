/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool_fixture.h"

#include "base/endian.h"

#include <check.h>
#include <string.h>
#include <sys/mman.h>

static void memory_create(struct pool_fixture *fixture, uint64_t size)
{
    *fixture = (struct pool_fixture){ .size = size };
    fixture->memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ck_assert_ptr_ne(fixture->memory, MAP_FAILED);
}

static struct persist *persist_pmem(void *arg, void *base, uint64_t size)
{
    struct persist *persist;
    (void)arg;
    ck_assert_int_eq(persist_open_pmem(base, size, &persist), 0);
    return persist;
}

static void memory_format(struct pool_fixture *fixture)
{
    struct pool *pool;
    struct persist *persist = persist_pmem(NULL, fixture->memory, fixture->size);
    ck_assert_int_eq(pool_open_memory(fixture->memory, fixture->size, persist, &pool), 0);
    pool->super = (struct dxf_super){
        .magic = DXF_MAGIC,
        .version = le32_make(DXF_VERSION),
        .uuid = "fixture",
        .pool_blocks = le64_make(fixture->size / DXF_BLOCK_SIZE),
        .log_seed = le64_make(0x6c6f675f73656564),
        .hash_seed = le64_make(0x686173685f736565),
    };
    ck_assert_int_eq(layout_compute(&pool->super), 0);
    ck_assert_int_eq(journal_format(pool), 0);
    ck_assert_int_eq(space_format(pool), 0);
    ck_assert_int_eq(pool_write_super(pool), 0);
    pool_close(pool);
}

static void fixture_open(struct pool_fixture *fixture, pool_fixture_persist_fn make_persist,
                         void *arg)
{
    struct persist *persist = make_persist(arg, fixture->memory, fixture->size);
    struct journal_replayed replayed;
    ck_assert_int_eq(pool_open_memory(fixture->memory, fixture->size, persist, &fixture->pool), 0);
    ck_assert_int_eq(journal_replay(fixture->pool, &replayed), 0);
    ck_assert_int_eq(journal_open(fixture->pool, &fixture->journal), 0);
    ck_assert_int_eq(space_open(fixture->pool, fixture->journal, &fixture->space), 0);
}

static void fixture_close(struct pool_fixture *fixture)
{
    space_close(fixture->space);
    journal_close(fixture->journal);
    pool_close(fixture->pool);
}

void pool_fixture_create_with(struct pool_fixture *fixture, uint64_t size,
                              pool_fixture_persist_fn make_persist, void *arg)
{
    memory_create(fixture, size);
    memory_format(fixture);
    fixture_open(fixture, make_persist, arg);
}

void pool_fixture_create(struct pool_fixture *fixture, uint64_t size)
{
    pool_fixture_create_with(fixture, size, persist_pmem, NULL);
}

void pool_fixture_open_image(struct pool_fixture *fixture, const void *image, uint64_t size)
{
    memory_create(fixture, size);
    memcpy(fixture->memory, image, size);
    fixture_open(fixture, persist_pmem, NULL);
}

void pool_fixture_reopen(struct pool_fixture *fixture)
{
    fixture_close(fixture);
    fixture_open(fixture, persist_pmem, NULL);
}

void pool_fixture_destroy(struct pool_fixture *fixture)
{
    fixture_close(fixture);
    munmap(fixture->memory, fixture->size);
}
