# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='the Check programs of test/unit, one for each module'
SUITE_WHEN=always
SUITE_PACKAGES=()

suite_run() {
    build_test || { not_ok build; return 1; }
    unit_run ''
}
