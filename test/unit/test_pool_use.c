/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What blocks are used as: the bits that keep file bytes and metadata apart. */
#include "pool_fixture.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

static struct pool_fixture below;
static struct pool *pool;

static void setup(void)
{
    struct persist *persist;

    pool_fixture_create(&below, 16u << 20);
    space_close(below.space);
    journal_close(below.journal);
    pool_close(below.pool);
    /* The pool alone: space would make its own blocks fixed. */
    ck_assert_int_eq(persist_open_pmem(below.memory, below.size, &persist), 0);
    ck_assert_int_eq(pool_open_memory(below.memory, below.size, persist, &pool), 0);
}

static void teardown(void)
{
    pool_close(pool);
    munmap(below.memory, below.size);
}

START_TEST(verified_bits)
{
    for (uint64_t block = 0; block < 100; block++)
        ck_assert(!pool_block_verified(pool, block));
    for (uint64_t block = 3; block < 90; block++)
        pool_block_set_verified(pool, block);
    pool_block_clear_verified(pool, 13, 30);
    pool_block_clear_verified(pool, 88, 1);
    for (uint64_t block = 0; block < 100; block++) {
        bool expected = block >= 3 && block < 90 && (block < 13 || block >= 43) && block != 88;

        ck_assert_int_eq(pool_block_verified(pool, block), expected);
    }
    pool_block_set_verified(pool, pool->blocks - 1);
    ck_assert(pool_block_verified(pool, pool->blocks - 1));
    pool_block_clear_verified(pool, 0, pool->blocks);
    ck_assert(!pool_block_verified(pool, pool->blocks - 1));
}
END_TEST

START_TEST(data_and_fixed_bits)
{
    pool_block_set_verified(pool, 100);
    pool_blocks_set_fixed(pool, 190, 140);
    for (uint64_t block = 50; block < 400; block++) {
        ck_assert_int_eq(pool_block_is_fixed(pool, block), block >= 190 && block < 330);
        for (uint64_t count = 1; count < 300; count += 7) {
            bool other =
                (block <= 100 && block + count > 100) || (block < 330 && block + count > 190);

            ck_assert_int_eq(pool_blocks_are_data(pool, block, count), !other);
        }
    }
    pool_block_set_verified(pool, 400);
    pool_blocks_set_fixed(pool, 399, 3);
    ck_assert(!pool_block_verified(pool, 400));
    pool_blocks_clear_fixed(pool, 190, 138);
    ck_assert(pool_blocks_are_data(pool, 101, 227));
    ck_assert(!pool_blocks_are_data(pool, 101, 228));
    ck_assert(pool_blocks_are_data(pool, pool->blocks - 1, 1));
    ck_assert(!pool_blocks_are_data(pool, pool->blocks - 1, 2));
    ck_assert(!pool_blocks_are_data(pool, pool->blocks, 1));
    ck_assert(!pool_blocks_are_data(pool, UINT64_MAX, 2));
}
END_TEST

START_TEST(claimed_bits)
{
    ck_assert(pool_block_set_verified(pool, 70));
    ck_assert(pool_blocks_are_unused(pool, 60, 10));
    ck_assert(pool_blocks_claim(pool, 60, 10));
    ck_assert(pool_blocks_claim(pool, 65, 5));
    ck_assert(!pool_blocks_claim(pool, 65, 6));
    ck_assert(!pool_blocks_claim(pool, pool->blocks - 1, 2));
    ck_assert(!pool_blocks_claim(pool, UINT64_MAX, 2));
    ck_assert(!pool_blocks_are_unused(pool, 59, 2));
    ck_assert(pool_blocks_are_data(pool, 59, 11));
    ck_assert(!pool_block_set_verified(pool, 64));
    ck_assert(!pool_block_verified(pool, 64));
    pool_blocks_forget(pool, 64, 7);
    ck_assert(pool_blocks_are_unused(pool, 64, 7));
    ck_assert(pool_block_set_verified(pool, 64));
    ck_assert(!pool_block_set_verified(pool, 63));
}
END_TEST

#define CLAIM_ROUNDS 100000u

static _Atomic unsigned claim_turn[2];
static bool claim_won[2][CLAIM_ROUNDS];

static void claim_wait(unsigned other, unsigned turn)
{
    for (unsigned i = 0; atomic_load(&claim_turn[other]) < turn; i++)
        if (i > 1000)
            sched_yield();
}

/* Both go for the same block at the same time, again and again. */
static void *claim_thread(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < CLAIM_ROUNDS; i++) {
        uint64_t block = 1 + i % 1000;

        atomic_store(&claim_turn[me], 2 * i + 1);
        claim_wait(!me, 2 * i + 1);
        claim_won[me][i] =
            me ? pool_blocks_claim(pool, block, 1) : pool_block_set_verified(pool, block);
        atomic_store(&claim_turn[me], 2 * i + 2);
        claim_wait(!me, 2 * i + 2);
        if (i % 1000 == 999 && me)
            pool_blocks_forget(pool, 1, 1000);
    }
    return NULL;
}

START_TEST(claimed_by_one_of_two)
{
    pthread_t thread[2];
    unsigned won = 0;

    for (uintptr_t i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, claim_thread, (void *)i), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
    for (unsigned i = 0; i < CLAIM_ROUNDS; i++) {
        ck_assert(!(claim_won[0][i] && claim_won[1][i]));
        won += claim_won[0][i] + claim_won[1][i];
    }
    ck_assert_uint_gt(won, CLAIM_ROUNDS / 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool_use");
    TCase *tcase = tcase_create("core");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, verified_bits);
    tcase_add_test(tcase, data_and_fixed_bits);
    tcase_add_test(tcase, claimed_bits);
    tcase_add_test(tcase, claimed_by_one_of_two);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
