# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='unit, and the suites that mount, under AddressSanitizer and UBSan'
SUITE_WHEN=always
SUITE_PACKAGES=()

suite_run() {
    local name
    build_sanitized asan address,undefined || { not_ok asan:build; return 1; }
    export OUT=$BUILD/out
    # log_path: a server has no terminal, so reports go to files that are looked at afterwards.
    # gcc's UBSan writes to stderr all the same, but ends the process (-fno-sanitize-recover),
    # which the suite that talked to it notices.
    export ASAN_OPTIONS="abort_on_error=0:detect_leaks=1:log_path=$WORK/report"
    export UBSAN_OPTIONS="print_stacktrace=1:log_path=$WORK/report"
    unit_run asan:
    for name in fs model fsck; do
        [ ! -e "$ROOT/scripts/suites/$name.sh" ] || DAXFUSE_KEEP_BUILD=1 nested_suite "$name" asan:
    done
    sanitizer_reports asan:reports "$WORK/report"
}
