# SPDX-License-Identifier: LGPL-2.1-or-later
# What the suites share: builds of several kinds, Check's results, pools and mounts.
# shellcheck shell=bash disable=SC2153

ok() {
    echo "ok $1"
}

not_ok() {
    echo "not ok $*"
}

skip() {
    echo "skip $*"
}

# expect NAME COMMAND...: ok when the command succeeds; its output goes to the log.
expect() {
    local name=$1
    shift
    if "$@" >&2; then
        ok "$name"
    else
        not_ok "$name status $?: $*"
        return 1
    fi
}

# build_kind KIND MESON-ARGUMENTS...: sets BUILD to build-KIND, compiled, with the seams of tests.
build_kind() {
    local kind=$1
    shift
    export BUILD=$ROOT/build-$kind
    build_directory "$BUILD" -Dtest_seams=true --prefix="$BUILD/out" --libdir=lib "$@"
}

# build_test: the usual one; nothing at all in a suite that another one runs on its own build.
build_test() {
    [ -n "${DAXFUSE_KEEP_BUILD:-}" ] && return 0
    build_kind test --buildtype=debugoptimized
}

# build_sanitized KIND SANITIZERS: also installed, for suites that run the commands.
build_sanitized() {
    build_kind "$1" --buildtype=debugoptimized -Db_sanitize="$2" -Db_lundef=false \
        -Dc_args=-fno-sanitize-recover=all && build_install "$BUILD"
}

# unit_run PREFIX: the Check programs of $BUILD, one line for each of Check's cases.
unit_run() {
    local prefix=$1 name result
    rm -f "$BUILD"/test/unit/*.tap
    meson test -C "$BUILD" --no-rebuild --suite daxfuse:unit --print-errorlogs \
        >"$WORK/meson-test" 2>&1
    cat "$WORK/meson-test" >&2
    while read -r name result; do
        unit_report "$prefix" "$name" "$result"
    done < <(sed -nE 's|^ *[0-9]+/[0-9]+ +([^ ]+ / )?([A-Za-z0-9_-]+) +([A-Z]+) .*|\2 \3|p' \
        "$WORK/meson-test" | sort -u)
}

# unit_report PREFIX NAME RESULT: Check's own account, and one failure more when the program
# ended badly although every case that it told of was good.
unit_report() {
    local prefix=$1 name=$2 result=$3 tap="$BUILD/test/unit/test_$2.tap" cases=0 bad=0
    if [ -s "$tap" ]; then
        unit_tap "$prefix$name" "$tap"
        cases=$(grep -cE '^(not )?ok ' "$tap")
        bad=$(grep -c '^not ok ' "$tap")
    fi
    if [ "$result" != OK ] && [ "$bad" -eq 0 ]; then
        not_ok "$prefix$name meson: $result"
    elif [ "$cases" -eq 0 ] && [ "$result" = OK ]; then
        not_ok "$prefix$name ran no case"
    fi
}

# A line of Check: `ok 3 - test_lock.c:core:test_try: Passed`.
unit_tap() {
    sed -nE \
        -e "s|^ok [0-9]+ - [^:]*:([^:]*):([^:]*): .*|ok $1:\1:\2|p" \
        -e "s|^not ok [0-9]+ - [^:]*:([^:]*):([^:]*): (.*)|not ok $1:\1:\2 \3|p" "$2" |
        sed -E 's/^((not )?ok [^ ]+) ([^ :]+):/\1-\3:/'
}

# preloaded COMMAND...: with the library by which the programs that it runs collapse and insert.
preloaded() (
    export LD_PRELOAD=$BUILD/src/tools/libdaxfuse-fallocate.so
    # Our library comes before the sanitizer's, and that is all right: it allocates nothing.
    export ASAN_OPTIONS="${ASAN_OPTIONS:-}${ASAN_OPTIONS:+:}verify_asan_link_order=0"
    "$@"
)

NESTED=0

# nested_suite NAME PREFIX: another suite, against the OUT and BUILD of now. In a folder of its own, 1, 2 …:
# short, for a socket's path is; and others may pass, as they may in the suite's own.
nested_suite() {
    local line work
    NESTED=$((NESTED + 1))
    work=$WORK/$NESTED
    mkdir "$work"
    chmod 711 "$WORK" "$work"
    WORK=$work bash "$ROOT/scripts/lib/suite-main.sh" "$1" </dev/null |
        while IFS= read -r line; do
            case $line in
            'ok '* | 'skip '*) echo "${line%% *} $2${line#* }" ;;
            'not ok '*) echo "not ok $2${line#not ok }" ;;
            *) echo "$line" ;;
            esac
        done
}

# sanitizer_reports NAME PREFIX-OF-LOGS: servers have no terminal; what they reported is in files.
sanitizer_reports() {
    local file found=0
    for file in "$2".*; do
        [ -s "$file" ] || continue
        found=1
        cat "$file" >&2
    done
    if [ "$found" = 0 ]; then ok "$1"; else not_ok "$1 see the log for what the sanitizer found"; fi
}

# pool_mount POOL MOUNTPOINT [OPTIONS...]: returns when the mount answers.
pool_mount() {
    local pool=$1 mountpoint=$2
    shift 2
    mkdir -p "$mountpoint"
    "$OUT/bin/daxfuse" "$@" "$pool" "$mountpoint"
}

pool_umount() {
    umount "$2" && pool_wait_ended "$1"
}
