/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains: what is written is read, also by another mount; blocks come and go; damage is found. */
#include "base/endian.h"
#include "media/validate.h"
#include "meta/chain.h"
#include "meta_fixture.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OWNER DXF_INO_ROOT
#define PAYLOAD (DXF_BLOCK_SIZE - 40u)

static uint64_t free_blocks(struct meta_fixture *f)
{
    struct space_info info;

    space_get_info(f->space, &info);
    return info.free;
}

static uint8_t *pattern(uint32_t length)
{
    uint8_t *bytes = malloc(length);

    ck_assert_ptr_nonnull(bytes);
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    return bytes;
}

static uint64_t write_chain(struct meta_fixture *f, const uint8_t *bytes, uint32_t length)
{
    uint32_t blocks = 0, read_blocks = 0, read_length = 0;
    struct txn txn;
    uint64_t head = 0;
    void *read = NULL;

    txn_begin(&txn, f->space);
    ck_assert_int_eq(chain_write(f->meta, &txn, OWNER, bytes, length, &head, &blocks), 0);
    ck_assert_uint_eq(blocks, (length + PAYLOAD - 1) / PAYLOAD);
    /* Its own transaction sees it already. */
    ck_assert_int_eq(chain_read(f->meta, &txn, OWNER, head, DXF_XATTR_CHAIN_MAX, &read,
                                &read_length, &read_blocks),
                     0);
    ck_assert_uint_eq(read_length, length);
    ck_assert_uint_eq(read_blocks, blocks);
    ck_assert_mem_eq(read, bytes, length);
    free(read);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    return head;
}

START_TEST(all_lengths)
{
    static const uint32_t lengths[] = {
        1, 100, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, 2 * PAYLOAD, 65536, DXF_XATTR_CHAIN_MAX,
    };
    struct meta_fixture f;
    uint64_t before;

    meta_fixture_open(&f, 16);
    before = free_blocks(&f);
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint8_t *bytes = pattern(lengths[i]);
        uint64_t head = write_chain(&f, bytes, lengths[i]);
        uint32_t length = 0, blocks = 0;
        struct txn txn;
        void *read;

        if (i % 2)
            meta_fixture_remount(&f);
        else
            meta_fixture_crash(&f);
        ck_assert_int_eq(chain_read(f.meta, NULL, OWNER, head, lengths[i], &read, &length, NULL),
                         0);
        ck_assert_uint_eq(length, lengths[i]);
        ck_assert_mem_eq(read, bytes, length);
        free(read);
        ck_assert_int_eq(
            chain_read(f.meta, NULL, OWNER, head, lengths[i] - 1, &read, &length, NULL), -EUCLEAN);
        ck_assert_int_eq(
            chain_read(f.meta, NULL, OWNER + 8, head, lengths[i], &read, &length, NULL), -EUCLEAN);
        ck_assert_uint_eq(free_blocks(&f), before - (lengths[i] + PAYLOAD - 1) / PAYLOAD);
        txn_begin(&txn, f.space);
        ck_assert_int_eq(chain_free(f.meta, &txn, OWNER, head, &blocks), 0);
        ck_assert_uint_eq(blocks, (lengths[i] + PAYLOAD - 1) / PAYLOAD);
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
        ck_assert_uint_eq(free_blocks(&f), before);
        free(bytes);
    }
    meta_fixture_close(&f);
}
END_TEST

START_TEST(aborted_and_taken_back)
{
    struct meta_fixture f;
    uint8_t *bytes = pattern(30000);
    uint32_t blocks = 0;
    uint64_t before, head = 0;
    struct txn txn;

    meta_fixture_open(&f, 16);
    before = free_blocks(&f);
    txn_begin(&txn, f.space);
    ck_assert_int_eq(chain_write(f.meta, &txn, OWNER, bytes, 30000, &head, &blocks), 0);
    txn_abort(&txn);
    ck_assert_uint_eq(free_blocks(&f), before);
    /* Given back by the transaction that took it. */
    txn_begin(&txn, f.space);
    ck_assert_int_eq(chain_write(f.meta, &txn, OWNER, bytes, 30000, &head, &blocks), 0);
    ck_assert_int_eq(chain_free(f.meta, &txn, OWNER, head, &blocks), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    ck_assert_uint_eq(free_blocks(&f), before);
    meta_fixture_remount(&f);
    ck_assert_uint_eq(free_blocks(&f), before);
    meta_fixture_close(&f);
    free(bytes);
}
END_TEST

START_TEST(damage)
{
    struct meta_fixture f;
    uint8_t *bytes = pattern(20000);
    uint32_t length, blocks;
    struct dxf_chain *chain;
    uint64_t head;
    struct txn txn;
    void *read;

    meta_fixture_open(&f, 16);
    head = write_chain(&f, bytes, 20000);
    ck_assert_int_eq(chain_read(f.meta, NULL, OWNER, head, 20000, &read, &length, NULL), 0);
    free(read);
    chain = pool_block(f.pool, head);
    chain->payload[77] ^= 4;
    meta_fixture_remount(&f);
    ck_assert_int_eq(chain_read(f.meta, NULL, OWNER, head, 20000, &read, &length, NULL), -EUCLEAN);

    /* Sound blocks in a ring: neither reading nor giving back goes round for ever. */
    chain = pool_block(f.pool, head);
    chain->payload[77] ^= 4;
    chain = pool_block(f.pool, le64_get(chain->next));
    chain->next = le64_make(head);
    seal_block(&chain->header);
    meta_fixture_remount(&f);
    ck_assert_int_eq(
        chain_read(f.meta, NULL, OWNER, head, DXF_XATTR_CHAIN_MAX, &read, &length, NULL), -EUCLEAN);
    txn_begin(&txn, f.space);
    ck_assert_int_eq(chain_free(f.meta, &txn, OWNER, head, &blocks), -EUCLEAN);
    txn_abort(&txn);
    meta_fixture_close(&f);
    free(bytes);
}
END_TEST

START_TEST(no_space)
{
    struct meta_fixture f;
    uint8_t *bytes = pattern(DXF_XATTR_CHAIN_MAX);
    uint32_t blocks;
    uint64_t head, before;
    struct txn txn;
    int error = 0;

    meta_fixture_open(&f, 8);
    ck_assert_int_eq(chain_write(f.meta, NULL, OWNER, bytes, 0, &head, &blocks), -EINVAL);
    for (;;) {
        before = free_blocks(&f);
        txn_begin(&txn, f.space);
        error = chain_write(f.meta, &txn, OWNER, bytes, DXF_XATTR_CHAIN_MAX, &head, &blocks);
        if (error)
            break;
        ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    }
    ck_assert_int_eq(error, -ENOSPC);
    txn_abort(&txn);
    ck_assert_uint_eq(free_blocks(&f), before);
    meta_fixture_close(&f);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chain");
    TCase *tc = tcase_create("chain");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, all_lengths);
    tcase_add_test(tc, aborted_and_taken_back);
    tcase_add_test(tc, damage);
    tcase_add_test(tc, no_space);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
