/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A leaf of a directory by itself, against an array that says which names are in it. */
#include "base/checksum.h"
#include "base/endian.h"
#include "media/validate.h"
#include "meta/dir_internal.h"

#include <check.h>
#include <dirent.h>
#include <string.h>

#define OWNER DXF_INO_ROOT
#define INO 1000

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t draw(uint32_t below)
{
    seed = checksum64(&seed, sizeof(seed), 7);
    return (uint32_t)(seed >> 8) % below;
}

#define LEAF_NAMES 300

struct leaf_model {
    bool there[LEAF_NAMES];
    unsigned count;
    uint32_t bytes;
};

static struct dir_name leaf_name(unsigned i, char *buffer)
{
    size_t length = i % 7 == 0 ? 200 + i % 56 : 3 + i % 30;

    memset(buffer, 'a' + (int)(i % 26), length);
    buffer[0] = (char)('0' + i % 10);
    buffer[1] = (char)('0' + i / 10 % 10);
    buffer[2] = (char)('0' + i / 100);
    return (struct dir_name){ buffer, length };
}

static uint64_t leaf_hash(unsigned i)
{
    return 100 + 20ull * i;
}

static void leaf_check(const struct dxf_dir_leaf *leaf, const struct leaf_model *model)
{
    const char *wrong = validate_dir_leaf(leaf, 7, OWNER);
    struct leaf_place places[DIR_LEAF_ENTRIES];
    bool was_free = false;
    unsigned n, at_model = 0;

    ck_assert_msg(wrong == NULL, "%s", wrong);
    for (uint32_t at = 0; at < DIR_LEAF_BYTES; at += le16_get(leaf_entry(leaf, at)->length)) {
        bool is_free = leaf_entry(leaf, at)->name_length == 0;

        ck_assert(!(is_free && was_free));
        was_free = is_free;
    }
    n = leaf_sort(leaf, 0, UINT64_MAX, places);
    ck_assert_uint_eq(n, model->count);
    for (unsigned i = 0; i < LEAF_NAMES; i++) {
        char buffer[DXF_NAME_MAX];
        struct dir_name name = leaf_name(i, buffer);
        uint32_t found = leaf_find(leaf, leaf_hash(i) - i % 16, name);

        ck_assert_int_eq(found != DIR_NONE, model->there[i]);
        if (!model->there[i])
            continue;
        ck_assert_uint_eq(places[at_model].hash, leaf_hash(i));
        ck_assert_uint_eq(places[at_model].offset, found);
        ck_assert_uint_eq(le64_get(leaf_entry(leaf, found)->inode), INO + i);
        at_model++;
    }
}

START_TEST(leaf_against_a_model)
{
    static struct dxf_dir_leaf leaf, other;
    struct leaf_model model = { 0 };

    leaf.header.magic = le32_make(DXF_MAGIC_DIR_LEAF);
    leaf.header.owner = le64_make(OWNER);
    leaf.header.self = le64_make(7);
    seal_dir_leaf(&leaf);
    leaf_clear(&leaf, OWNER);
    leaf_check(&leaf, &model);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = draw(LEAF_NAMES);
        char buffer[DXF_NAME_MAX];
        struct dir_name name = leaf_name(i, buffer);
        uint32_t size = dirent_size(name.length);
        struct leaf_survey survey;

        leaf_survey(&leaf, leaf_hash(i), name, size, &survey);
        ck_assert_int_eq(survey.match != DIR_NONE, model.there[i]);
        if (model.there[i]) {
            bool empty = leaf_remove(&leaf, OWNER, survey.match);

            model.there[i] = false;
            model.count--;
            model.bytes -= size;
            ck_assert_int_eq(empty, model.count == 0);
        } else {
            ck_assert_uint_eq(survey.free, DIR_LEAF_BYTES - model.bytes);
            if (survey.fit == DIR_NONE && survey.free >= size) {
                leaf_compact(&leaf, OWNER, UINT64_MAX);
                leaf_check(&leaf, &model);
                leaf_survey(&leaf, leaf_hash(i), name, size, &survey);
                ck_assert_uint_ne(survey.fit, DIR_NONE);
            }
            if (survey.fit != DIR_NONE) {
                leaf_insert(&leaf, OWNER, survey.fit, leaf_hash(i), name, INO + i, DT_REG);
                model.there[i] = true;
                model.count++;
                model.bytes += size;
            } else {
                ck_assert_uint_lt(DIR_LEAF_BYTES - model.bytes, size);
            }
        }
        if (step % 16 == 0)
            leaf_check(&leaf, &model);
    }

    /* Both halves of a split hold what they should. */
    other.header = leaf.header;
    leaf_clear(&other, OWNER);
    leaf_copy(&other, &leaf, OWNER, leaf_hash(LEAF_NAMES / 2));
    leaf_compact(&leaf, OWNER, leaf_hash(LEAF_NAMES / 2));
    struct leaf_model low = model, high = model;

    for (unsigned i = 0; i < LEAF_NAMES; i++) {
        struct leaf_model *without = i < LEAF_NAMES / 2 ? &high : &low;

        without->count -= without->there[i];
        without->there[i] = false;
    }
    leaf_check(&leaf, &low);
    leaf_check(&other, &high);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dir_leaf");
    TCase *tc = tcase_create("dir_leaf");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, leaf_against_a_model);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
