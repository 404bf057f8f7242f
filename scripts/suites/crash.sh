# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='every image a crash can leave: mounted, held against the model, checked'
SUITE_WHEN=always
SUITE_PACKAGES=()

suite_run() {
    build_test >&2 || { not_ok build; return 1; }
    expect mutants-listed python3 "$ROOT/test/crash/mutate.py" --list
    if [ "$PART" = mutate ]; then
        crash_mutate
        return 0
    fi
    expect calls "$BUILD/test/crash/crash_calls"
    expect repair "$BUILD/test/crash/crash_repair"
    if [ -n "$FULL" ] && [ -z "${DAXFUSE_KEEP_BUILD:-}" ]; then
        crash_case images --images 1000000 --least 500 --seconds 7200
    else
        crash_case singles --once --budget 30 --seconds "$((SECONDS_LIMIT * 2))"
        crash_case pairs --kind pair --seconds "$((SECONDS_LIMIT / 2 + 1))"
        crash_case random --kind random --seconds "$SECONDS_LIMIT"
    fi
    return 0
}

# crash_case NAME ARGUMENTS...: its table is the user's, and so is a program that shows a violation.
crash_case() {
    local name=$1
    shift
    if timeout 7500 "$BUILD/test/crash/crash_run" --seed "$SEED" "$@" >"$WORK/$name.out"; then
        cat "$WORK/$name.out"
        ok "$name"
    else
        cat "$WORK/$name.out"
        not_ok "$name" "crash_run --seed $SEED $*"
    fi
}

# Each flush, fence, ordering wait and checksum check that test/crash/mutants lists, taken out of src/.
crash_mutate() {
    if python3 "$ROOT/test/crash/mutate.py" --build "$BUILD" --work "$WORK"; then
        ok mutants-noticed
    else
        not_ok mutants-noticed "see NOT NOTICED above"
    fi
}
