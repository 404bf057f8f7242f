/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The main of a test that has one case. CK_RUN_CASE, CK_VERBOSITY and CK_FORK in the environment count.
 */
#ifndef DAXFUSE_TEST_SUITE_H
#define DAXFUSE_TEST_SUITE_H

#include <check.h>

/* SECONDS: the longest that one of its tests may take. Returns main's. */
static inline int suite_run(const char *name, double seconds, void (*setup)(void),
                            void (*teardown)(void), void (*add)(TCase *))
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, seconds);
    tcase_add_checked_fixture(tcase, setup, teardown);
    add(tcase);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}

#endif
