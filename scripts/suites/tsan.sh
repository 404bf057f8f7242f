# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='unit, and the mappers that check, under ThreadSanitizer, without suppressions'
SUITE_WHEN=always
SUITE_PACKAGES=()

suite_run() {
    build_sanitized tsan thread || { not_ok tsan:build; return 1; }
    export OUT=$BUILD/out
    export TSAN_OPTIONS="halt_on_error=0:second_deadlock_stack=1:log_path=$WORK/report"
    unit_run tsan:
    expect tsan:mappers "$BUILD/test/race/race_mappers" --free --seed "$SEED" --steps 20000
    sanitizer_reports tsan:reports "$WORK/report"
}
