# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='lines of src/ that the tests reach'
SUITE_WHEN=full
SUITE_PACKAGES=(gcovr)

build_coverage() {
    build_kind coverage --buildtype=debug -Db_coverage=true && build_install "$BUILD"
}

suite_run() {
    local name percent
    build_coverage || { not_ok coverage:build; return 1; }
    export OUT=$BUILD/out
    find "$BUILD" -name '*.gcda' -delete
    unit_run coverage:
    for name in fs model fsck; do
        [ ! -e "$ROOT/scripts/suites/$name.sh" ] ||
            DAXFUSE_KEEP_BUILD=1 nested_suite "$name" coverage:
    done
    gcovr --root "$ROOT" --filter "$ROOT/src/" --txt "$BUILD/coverage.txt" --print-summary \
        "$BUILD" >"$WORK/summary"
    percent=$(sed -n 's/^lines: *\([0-9.]*\)%.*/\1/p' "$WORK/summary")
    cat "$BUILD/coverage.txt" >&2
    if [ -n "$percent" ]; then
        echo "lines: $percent % (files: build-coverage/coverage.txt)"
        ok coverage:report
    else
        not_ok 'coverage:report gcovr gave no figure'
    fi
}
