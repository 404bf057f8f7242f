/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Extended attributes: names, and random changes against a list in order. */
#include "base/checksum.h"
#include "base/endian.h"
#include "media/validate.h"
#include "meta/xattr.h"
#include "meta_fixture.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

static uint64_t seed = 42;

static uint32_t draw(uint32_t below)
{
    seed = checksum64(&seed, sizeof(seed), 7);
    return (uint32_t)(seed >> 8) % below;
}

static uint64_t free_blocks(struct meta_fixture *f)
{
    struct space_info info;

    space_get_info(f->space, &info);
    return info.free;
}

START_TEST(names)
{
    static const struct {
        const char *full;
        int error;
        enum dxf_xattr_space space;
        size_t length;
    } cases[] = {
        { "user.x", 0, DXF_XATTR_USER, 1 },
        { "user.with.dots", 0, DXF_XATTR_USER, 9 },
        { "trusted.a", 0, DXF_XATTR_TRUSTED, 1 },
        { "security.capability", 0, DXF_XATTR_SECURITY, 10 },
        { "system.posix_acl_access", 0, DXF_XATTR_ACL_ACCESS, 0 },
        { "system.posix_acl_default", 0, DXF_XATTR_ACL_DEFAULT, 0 },
        { "user.", -EINVAL, 0, 0 },
        { "security.", -EINVAL, 0, 0 },
        { "user", -EOPNOTSUPP, 0, 0 },
        { "", -EOPNOTSUPP, 0, 0 },
        { "system.posix_acl_accessx", -EOPNOTSUPP, 0, 0 },
        { "system.other", -EOPNOTSUPP, 0, 0 },
        { "btrfs.compression", -EOPNOTSUPP, 0, 0 },
    };
    char longest[300], buffer[256 + 32];
    struct xattr_name name;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_int_eq(xattr_parse(cases[i].full, &name), cases[i].error);
        if (cases[i].error)
            continue;
        ck_assert_int_eq(name.space, cases[i].space);
        ck_assert_uint_eq(name.length, cases[i].length);
        ck_assert_uint_eq(xattr_format(&name, buffer), strlen(cases[i].full));
        ck_assert_str_eq(buffer, cases[i].full);
    }
    memset(longest, 'n', sizeof(longest));
    memcpy(longest, "user.", 5);
    longest[255] = '\0';
    ck_assert_int_eq(xattr_parse(longest, &name), 0);
    ck_assert_uint_eq(name.length, 250);
    longest[255] = 'n';
    longest[256] = '\0';
    ck_assert_int_eq(xattr_parse(longest, &name), -ERANGE);
}
END_TEST

/* ---- against a list --------------------------------------------------------------------------- */

#define NAMES 40

struct model {
    unsigned order[NAMES];
    unsigned count;
    uint32_t length[NAMES];
    uint8_t fill[NAMES];
    uint64_t fixed; /* free blocks and the inode's together */
};

static struct xattr_name name_of(unsigned i, char *buffer)
{
    struct xattr_name name = { .bytes = buffer };

    if (i < 2) {
        name.space = i == 0 ? DXF_XATTR_ACL_ACCESS : DXF_XATTR_ACL_DEFAULT;
        return name;
    }
    name.space = i % 3 == 0 ? DXF_XATTR_USER : i % 3 == 1 ? DXF_XATTR_TRUSTED : DXF_XATTR_SECURITY;
    /* The same name in all three: the namespace must tell them apart. */
    name.length = (size_t)sprintf(buffer, "name%u", i / 3);
    return name;
}

static int model_place(const struct model *model, unsigned i)
{
    for (unsigned k = 0; k < model->count; k++) {
        if (model->order[k] == i)
            return (int)k;
    }
    return -1;
}

static uint32_t model_bytes(const struct model *model)
{
    uint32_t total = 0;
    char buffer[32];

    for (unsigned k = 0; k < model->count; k++)
        total += (8 + (uint32_t)name_of(model->order[k], buffer).length +
                  model->length[model->order[k]] + 7) &
                 ~7u;
    return total;
}

struct walked {
    const struct model *model;
    unsigned count;
};

static int walk_check(void *arg, const struct xattr_name *name, const void *value, size_t length)
{
    struct walked *walked = arg;
    unsigned i = walked->model->order[walked->count];
    char buffer[32];
    struct xattr_name expected = name_of(i, buffer);

    ck_assert_uint_lt(walked->count, walked->model->count);
    ck_assert_int_eq(name->space, expected.space);
    ck_assert_uint_eq(name->length, expected.length);
    if (name->length > 0)
        ck_assert_mem_eq(name->bytes, expected.bytes, name->length);
    ck_assert_uint_eq(length, walked->model->length[i]);
    for (size_t k = 0; k < length; k++)
        ck_assert_uint_eq(((const uint8_t *)value)[k], walked->model->fill[i]);
    walked->count++;
    return 0;
}

static void check_all(struct meta_fixture *f, uint64_t ino, const struct model *model)
{
    struct walked walked = { .model = model };
    const struct dxf_inode *inode;

    ck_assert_int_eq(inode_view(f->meta, NULL, ino, &inode), 0);
    ck_assert_int_eq(xattr_walk(f->meta, NULL, ino, inode, walk_check, &walked), 0);
    ck_assert_uint_eq(walked.count, model->count);
    ck_assert_int_eq(le64_get(inode->xattr) != 0, model->count > 0);
    ck_assert_uint_eq(free_blocks(f) + le64_get(inode->blocks), model->fixed);
    for (unsigned i = 0; i < NAMES; i++) {
        char buffer[32];
        struct xattr_name name = name_of(i, buffer);
        size_t length = 0;
        void *value = NULL;
        int got = xattr_get(f->meta, NULL, ino, inode, &name, &value, &length);

        ck_assert_int_eq(got, model_place(model, i) < 0 ? -ENODATA : 0);
        if (got == 0) {
            ck_assert_uint_eq(length, model->length[i]);
            if (length > 0)
                ck_assert_uint_eq(((uint8_t *)value)[length - 1], model->fill[i]);
            free(value);
        }
    }
}

static int one_set(struct meta_fixture *f, struct txn *txn, uint64_t ino, unsigned i,
                   uint32_t length, uint8_t fill, int flags)
{
    struct dxf_inode *inode = inode_edit(f->meta, txn, ino);
    char buffer[32];
    struct xattr_name name = name_of(i, buffer);
    uint8_t *value = malloc(length + 1);
    int error;

    ck_assert(inode != NULL && value != NULL);
    memset(value, fill, length + 1);
    error = xattr_set(f->meta, txn, ino, inode, &name, value, length, flags);
    free(value);
    return error;
}

START_TEST(random_changes)
{
    struct meta_fixture f;
    struct model model = { 0 };
    uint64_t ino;

    meta_fixture_open(&f, 32);
    ino = meta_fixture_file(&f);
    model.fixed = free_blocks(&f);
    for (unsigned step = 0; step < 6000; step++) {
        unsigned i = draw(NAMES);
        int place = model_place(&model, i);
        struct model next = model;
        int got, expected = 0;
        struct txn txn;

        txn_begin(&txn, f.space);
        if (draw(3) > 0) {
            uint32_t length = draw(20) == 0 ? draw(DXF_XATTR_VALUE_MAX + 1) : draw(300);
            uint8_t fill = (uint8_t)draw(256);
            int flags = (int[]){ 0, 0, XATTR_CREATE, XATTR_REPLACE }[draw(4)];

            got = one_set(&f, &txn, ino, i, length, fill, flags);
            if (place >= 0 && flags == XATTR_CREATE)
                expected = -EEXIST;
            else if (place < 0 && flags == XATTR_REPLACE)
                expected = -ENODATA;
            if (place < 0)
                next.order[next.count++] = i;
            next.length[i] = length;
            next.fill[i] = fill;
            if (expected == 0 && model_bytes(&next) > DXF_XATTR_CHAIN_MAX)
                expected = -ENOSPC;
        } else {
            struct dxf_inode *inode = inode_edit(f.meta, &txn, ino);
            char buffer[32];
            struct xattr_name name = name_of(i, buffer);

            got = xattr_remove(f.meta, &txn, ino, inode, &name);
            expected = place < 0 ? -ENODATA : 0;
            if (place >= 0) {
                memmove(&next.order[place], &next.order[place + 1],
                        (next.count - (unsigned)place - 1) * sizeof(next.order[0]));
                next.count--;
            }
        }
        ck_assert_int_eq(got, expected);
        if (got != 0 || draw(6) == 0) {
            txn_abort(&txn);
        } else {
            ck_assert_int_eq(txn_commit(&txn, NULL), 0);
            model = next;
        }
        if (step % 50 == 0) {
            if (step % 400 == 0)
                meta_fixture_remount(&f);
            else if (step % 400 == 200)
                meta_fixture_crash(&f);
            check_all(&f, ino, &model);
        }
    }
    ck_assert_uint_gt(model.count, 0);
    struct dxf_inode *inode;
    struct txn txn;

    txn_begin(&txn, f.space);
    inode = inode_edit(f.meta, &txn, ino);
    ck_assert_int_eq(xattr_release(f.meta, &txn, ino, inode), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    model.count = 0;
    check_all(&f, ino, &model);
    meta_fixture_close(&f);
}
END_TEST

START_TEST(limits_and_several_in_one_transaction)
{
    struct meta_fixture f;
    struct model model = { 0 };
    struct txn txn;
    uint64_t ino;

    meta_fixture_open(&f, 32);
    ino = meta_fixture_file(&f);
    model.fixed = free_blocks(&f);
    txn_begin(&txn, f.space);
    ck_assert_int_eq(one_set(&f, &txn, ino, 5, DXF_XATTR_VALUE_MAX + 1, 1, 0), -E2BIG);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq(one_set(&f, &txn, ino, i, i * 500, (uint8_t)i, XATTR_CREATE), 0);
        model.order[model.count++] = i;
        model.length[i] = i * 500;
        model.fill[i] = (uint8_t)i;
    }
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    check_all(&f, ino, &model);
    meta_fixture_remount(&f);
    check_all(&f, ino, &model);
    meta_fixture_close(&f);
}
END_TEST

/* Chain and checksums are right, what is in it is not a list of attributes. */
START_TEST(nonsense_inside)
{
    struct meta_fixture f;
    const struct dxf_inode *inode;
    struct xattr_name name = { .space = DXF_XATTR_USER, .bytes = "x", .length = 1 };
    struct dxf_chain *chain;
    size_t length;
    void *value;
    uint64_t ino;
    struct txn txn;

    meta_fixture_open(&f, 16);
    ino = meta_fixture_file(&f);
    txn_begin(&txn, f.space);
    ck_assert_int_eq(one_set(&f, &txn, ino, 3, 100, 1, 0), 0);
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    ck_assert_int_eq(inode_view(f.meta, NULL, ino, &inode), 0);
    chain = pool_block(f.pool, le64_get(inode->xattr));
    memset(chain->payload, 0xff, 8);
    seal_block(&chain->header);
    ck_assert_int_eq(xattr_get(f.meta, NULL, ino, inode, &name, &value, &length), -EUCLEAN);
    meta_fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("xattr");
    TCase *tc = tcase_create("xattr");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, names);
    tcase_add_test(tc, random_changes);
    tcase_add_test(tc, limits_and_several_in_one_transaction);
    tcase_add_test(tc, nonsense_inside);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
