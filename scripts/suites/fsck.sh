# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='fsck finds each kind of damage, repairs it, and can be cut off anywhere'
SUITE_WHEN=always
SUITE_PACKAGES=()

# suite_pool NAME: a copy of the filled pool.
suite_pool() {
    cp --sparse=always "$WORK/base" "$WORK/$1"
}

suite_bytes() {
    local count=600
    [ -z "$FULL" ] || count=40000
    suite_pool bytes
    "$PROGRAMS/poolpoke" "$WORK/bytes" metadata >"$WORK/ranges" || { not_ok fsck:bytes no ranges; return; }
    if "$PROGRAMS/poolcheck" bytes "$WORK/bytes" "$WORK/ranges" "$SEED" "$count"; then
        ok fsck:any-one-byte
    else
        not_ok "fsck:any-one-byte seed $SEED"
    fi
}

# Damage as media have it; what was not hit stays as it was. New pools each time, so that this is a
# search, and not part of every run.
suite_damage() {
    [ -n "$FULL" ] || return 0
    suite_pool damage
    if timeout 1800 "$PROGRAMS/pooldamage" "$WORK/damage" "$SEED" 1000; then
        ok fsck:media-damage
    else
        not_ok "fsck:media-damage seed $SEED"
    fi
}

suite_crash() {
    local name
    for name in 301-leaf-twice 302-copy-of-another 302-directory 401-extent-leaf 502-leaf-gone 511-loop 303-root-gone; do
        suite_pool crash
        "$PROGRAMS/poolpoke" "$WORK/crash" "$name" || { not_ok "fsck:crash-$name"; continue; }
        if "$PROGRAMS/poolcheck" crash "$WORK/crash"; then
            ok "fsck:crash-$name"
        else
            not_ok "fsck:crash-$name see above"
        fi
    done
}

suite_fuzz() {
    suite_pool fuzz
    if "$PROGRAMS/poolcheck" fuzz "$WORK/fuzz" "$SEED" "$SECONDS_LIMIT"; then
        ok fsck:random-damage
    else
        not_ok "fsck:random-damage seed $SEED"
    fi
}

# expect_status NAME WANTED COMMAND...
expect_status() {
    local name=$1 wanted=$2 status
    shift 2
    "$@" >&2
    status=$?
    if [ "$status" = "$wanted" ]; then ok "$name"; else not_ok "$name exit $status, not $wanted"; fi
}

suite_status() {
    local fsck=$OUT/bin/fsck.daxfuse mkfs=$OUT/bin/mkfs.daxfuse ctl=$OUT/bin/daxfuse-ctl size
    expect_status fsck:status-clean 0 "$fsck" -n "$WORK/base"
    expect_status fsck:status-usage 16 "$fsck" -n -y "$WORK/base"
    expect_status fsck:status-no-name 16 "$fsck" -n
    expect_status fsck:status-missing 8 "$fsck" -n "$WORK/none"
    : >"$WORK/empty"
    expect_status fsck:empty 8 "$fsck" -y "$WORK/empty"
    truncate -s 100 "$WORK/empty"
    expect_status fsck:too-short 8 "$fsck" -y "$WORK/empty"
    suite_pool short
    truncate -s 20M "$WORK/short"
    expect_status fsck:cut-short 8 "$fsck" -y "$WORK/short"
    for size in 0 1K 99999T 10X; do
        expect_status "fsck:mkfs-size-$size" 2 "$mkfs" -s "$size" "$WORK/new"
        [ ! -e "$WORK/new" ] || not_ok "fsck:mkfs-size-$size left a file"
    done
    expect_status fsck:mkfs-no-force 1 "$mkfs" -s 8M "$WORK/base"
    expect_status fsck:mkfs-smallest 0 "$mkfs" -s 8M "$WORK/new"
    expect_status fsck:smallest 0 "$fsck" -n "$WORK/new"
    expect_status fsck:mkfs-16T 0 "$mkfs" -s 16T --sparse --force "$WORK/new"
    expect_status fsck:16T 0 "$fsck" -n "$WORK/new"
    suite_pool grown
    expect_status fsck:grow-same-bitmap 0 "$ctl" grow "$WORK/grown" +16M
    expect_status fsck:grown-same-bitmap 0 "$fsck" -n "$WORK/grown"
    expect_status fsck:grow-new-bitmap 0 "$ctl" grow "$WORK/grown" 3G
    expect_status fsck:grown-new-bitmap 0 "$fsck" -n "$WORK/grown"
    expect_status fsck:grown-files 0 "$PROGRAMS/poolfill" verify "$WORK/grown"
    expect_status fsck:no-shrink 1 "$ctl" grow "$WORK/grown" 1G
    expect_status fsck:layout 0 "$ctl" layout --svg "$WORK/layout.svg" "$WORK/grown"
    expect_status fsck:svg 0 grep -q '</svg>' "$WORK/layout.svg"
}

# What a crash leaves is no error, and is said.
suite_notes() {
    local fsck=$OUT/bin/fsck.daxfuse
    suite_pool notes
    "$PROGRAMS/poolfill" crash "$WORK/notes"
    expect_status fsck:after-a-kill 0 "$fsck" -n "$WORK/notes"
    "$fsck" -n "$WORK/notes" >"$WORK/notes.out"
    expect_status fsck:107-journal-live 0 grep -q '^107:' "$WORK/notes.out"
    expect_status fsck:604-orphan 0 grep -q '^604:' "$WORK/notes.out"
    expect_status fsck:repair-after-a-kill 0 "$fsck" -y "$WORK/notes"
    expect_status fsck:mount-after-a-kill 0 "$PROGRAMS/poolfill" verify "$WORK/notes"
}

finding_numbers() {
    sed -nE 's/^ +FSCK_[A-Z_]+ = ([0-9]{3}),.*/\1/p' "$ROOT/src/tools/fsck.h" | sort
}

# Every finding has a case; 107 and 604 are those of suite_notes.
suite_cases() {
    if diff <(finding_numbers) \
        <({ printf '107\n604\n'; "$PROGRAMS/poolpoke" list | cut -d ' ' -f 3 | tr , '\n'; } | sort -u) >&2; then
        ok fsck:every-finding
    else
        not_ok fsck:every-finding poolpoke has no case for a finding of fsck.h
    fi
}

# The manual has every finding, and no other.
suite_manual() {
    if diff <(finding_numbers) \
        <(sed -nE 's/^\*([0-9]{3})\*$/\1/p' "$ROOT/man/fsck.daxfuse.8.scd" | sort) >&2; then
        ok fsck:manual
    else
        not_ok fsck:manual fsck.daxfuse.8 lists other findings than fsck.h
    fi
}

suite_json() {
    local what
    for what in info stat layout; do
        if "$OUT/bin/daxfuse-ctl" "$what" --json "$WORK/base" |
            python3 -c 'import json, sys
answer = json.load(sys.stdin)
sys.exit(answer["version"] != 1 or answer["command"] != sys.argv[1])' "$what"; then
            ok "fsck:json-$what"
        else
            not_ok "fsck:json-$what is not what the manual says"
        fi
    done
    if "$OUT/bin/daxfuse-ctl" extents --json "$WORK/base:/spread" |
        python3 -c 'import json, sys
answer = json.load(sys.stdin)
sys.exit(answer["extent_count"] != 3000 or len(answer["extents"]) != 3000)'; then
        ok fsck:json-extents
    else
        not_ok fsck:json-extents is not what the manual says
    fi
}

suite_run() {
    build_test || { not_ok fsck:build; return 1; }
    PROGRAMS=$BUILD/test/fsck
    mkdir -p "$WORK/cases"
    bash "$ROOT/test/fsck/cases.sh" "$OUT/bin" "$PROGRAMS" "$WORK/cases"
    mv "$WORK/cases/base" "$WORK/base" || return 1
    suite_status
    suite_notes
    suite_cases
    suite_manual
    suite_json
    suite_bytes
    suite_damage
    suite_crash
    suite_fuzz
}
