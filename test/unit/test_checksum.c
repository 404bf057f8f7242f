/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/checksum: the values are part of the format. */
#include "base/checksum.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* From XXH3's published test vectors: the empty input, seed 0. */
#define XXH3_EMPTY 0x2d06800538d394c2ull

START_TEST(value_is_xxh3)
{
    ck_assert_uint_eq(checksum64("", 0, 0), XXH3_EMPTY);
    ck_assert_uint_ne(checksum64("", 0, 1), XXH3_EMPTY);
}
END_TEST

START_TEST(seed_counts)
{
    uint8_t line[64] = { 1, 2, 3 };

    ck_assert_uint_ne(checksum32_skip(line, 64, 0, 1), checksum32_skip(line, 64, 0, 2));
}
END_TEST

/* Small objects and large ones take different ways to the same sum. */
START_TEST(skip_takes_hole_as_zero)
{
    static const size_t lengths[] = { 4, 24, 64, 256, 4095, 4096, 4097, 10000 };

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t length = lengths[i];
        uint8_t *bytes = malloc(length), *zeroed = malloc(length);

        for (size_t b = 0; b < length; b++)
            bytes[b] = (uint8_t)(b * 7 + 1);
        for (size_t at = 0; at + 4 <= length; at += length / 4) {
            memcpy(zeroed, bytes, length);
            memset(zeroed + at, 0, 4);
            ck_assert_uint_eq(checksum32_skip(bytes, length, at, 99),
                              (uint32_t)checksum64(zeroed, length, 99));
        }
        free(bytes);
        free(zeroed);
    }
}
END_TEST

START_TEST(every_bit_counts)
{
    uint8_t line[64];
    uint32_t sum;

    for (size_t i = 0; i < sizeof(line); i++)
        line[i] = (uint8_t)i;
    sum = checksum32_skip(line, sizeof(line), 8, 5);
    for (size_t bit = 0; bit < sizeof(line) * 8; bit++) {
        bool hole = bit / 8 >= 8 && bit / 8 < 12;

        line[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert_int_eq(checksum32_skip(line, sizeof(line), 8, 5) == sum, hole);
        line[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checksum");
    TCase *tcase = tcase_create("checksum");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, value_is_xxh3);
    tcase_add_test(tcase, seed_counts);
    tcase_add_test(tcase, skip_takes_hole_as_zero);
    tcase_add_test(tcase, every_bit_counts);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
