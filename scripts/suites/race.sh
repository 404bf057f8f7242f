# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='the locks and mappings in every interleaving (spin), and the races, with the range lock and without'
SUITE_WHEN=always
SUITE_PACKAGES=(spin)

RACES=(fault_truncate fault_punch fault_zero fault_collapse fault_insert fault_fault write_read reuse)

suite_run() {
    build_test >&2 || { not_ok build; return 1; }
    if [ -z "$PART" ]; then
        models
        races
    fi
    mappers
}

# ---- the models ------------------------------------------------------------------------------------

models() {
    local broken
    model range_lock holds
    model range_lock holds -DSHARDS
    for broken in $(seq 14); do
        model range_lock fails -DBROKEN="$broken"
    done
    for broken in 15 16 17 18 ${FULL:+19 20} 21 22; do
        model range_lock fails -DSHARDS -DBROKEN="$broken"
    done
    # Without the assertion these must be seen as somebody who sleeps for ever.
    for broken in 2 3 6 9 10 11 14; do
        model range_lock sleeps -DNO_INVARIANT -DBROKEN="$broken"
    done
    model park holds
    for broken in $(seq 4); do
        model park sleeps -DBROKEN="$broken"
    done
    model mapping holds
    model mapping holds -DSTOPS
    model mapping fails -DNO_LOCK
    for broken in 1 2 3 4 5 6 7 9 10; do
        model mapping fails -DBROKEN="$broken"
    done
    model mapping fails -DSTOPS -DBROKEN=8
}

# model NAME holds|fails|sleeps OPTIONS...: test/spin/NAME.pml, searched to the end; fails: an error of
# any kind is found, sleeps: an end in which somebody still waits.
model() {
    local name=$1 expected=$2 label=$1:$2 errors option
    shift 2
    for option in "$@"; do
        label+=:${option#-D}
    done
    if ! model_search "$name" "$expected" "$@"; then
        not_ok "$label" 'spin, the compiler or the search itself failed'
        return
    fi
    echo "$label: $(sed -nE -e 's/^ *([0-9]+) states, stored.*/\1 states/p' \
        -e 's/^ *([0-9]+)\.[0-9]*\ttotal actual memory.*/\1 MiB/p' \
        -e 's/^(.{0,70}).*/\1/;s/^pan:1: //p' "$WORK/model/log" | paste -sd, | sed 's/,/, /g')"
    errors=$(sed -n 's/.*errors: \([0-9]*\)$/\1/p' "$WORK/model/log")
    case $expected in
    holds) expect "$label" test "$errors" = 0 ;;
    fails) expect "$label" test "$errors" = 1 ;;
    sleeps) expect "$label" grep -q 'invalid end state' <(grep '^pan:' "$WORK/model/log") ;;
    esac
}

# Exhaustive: a search that was cut short, by depth or by memory, is a failure.
model_search() {
    local name=$1 optimize=-O0 # the broken ones are found sooner than they are compiled
    [ "$2" != holds ] || optimize=-O2
    shift 2
    rm -rf "$WORK/model"
    mkdir "$WORK/model"
    (
        cd "$WORK/model" || exit 1
        spin -a "$@" "$ROOT/test/spin/$name.pml" &&
            gcc $optimize -w -DSAFETY -DCOLLAPSE -DMEMLIM=6000 -o pan pan.c && ./pan -m12000000 >log
    ) >&2
    cat "$WORK/model/log" >&2
    # The search is at an end when it prints its counts.
    grep -q 'errors: [0-9]*$' "$WORK/model/log" &&
        ! grep -qE 'max search depth too small|out of memory|memory limit|search not completed' \
            <(grep -v 'errors: 1$' "$WORK/model/log" | grep -v '^Warning: Search not completed')
}

# ---- the programs ----------------------------------------------------------------------------------

# Without the lock each must go wrong, each time, and in a full run in less than a second: a machine that has other
# work too gets longer. With it never. They sleep more than they run: those with the lock go side by side.
races() {
    local name
    for name in "${RACES[@]}"; do
        race_shown "$name" "${FULL:+10}"
    done
    for name in "${RACES[@]}"; do
        race_prevented "$name" >"$WORK/$name.prevented" &
    done
    wait
    for name in "${RACES[@]}"; do
        cat "$WORK/$name.prevented"
    done
}

# race_run OUTPUT NAME ARGUMENTS...
race_run() {
    local output=$1 name=$2
    shift 2
    timeout "$([ -n "$FULL" ] && echo 7300 || echo 100)" "$BUILD/test/race/race_$name" "$@" \
        >"$output" 2>"$output.err"
}

# race_shown NAME [RUNS]: the runs begin with seeds of their own.
race_shown() {
    local name=$1 runs=${2:-2} run shown=0 slowest=0 at
    for ((run = 0; run < runs; run++)); do
        race_run "$WORK/race" "$name" --lock off --seconds "$((FULL ? 1 : 10))" --seed $((SEED + run))
        [ $? = 1 ] || continue
        at=$(sed -n 's/.*wrong bytes after \([0-9.]*\) s.*/\1/p' "$WORK/race")
        shown=$((shown + 1))
        slowest=$(printf '%s\n' "$slowest" "$at" | sort -n | tail -n 1)
    done
    echo "$name: without the lock, wrong bytes in $shown of $runs runs, after $slowest s at most;" \
        "$(sed 's/.* s: //' "$WORK/race" | head -n 1)"
    if [ "$shown" = "$runs" ]; then
        ok "$name:shown"
    else
        cat "$WORK/race.err" >&2
        not_ok "$name:shown" "in $shown of $runs runs, seeds from $SEED"
    fi
}

race_prevented() {
    local name=$1 limits=(--seconds "$(((SECONDS_LIMIT + 4) / 5))") status
    [ -z "$FULL" ] || limits=(--seconds 7200 --iterations 1000000)
    race_run "$WORK/$name.out" "$name" --lock on "${limits[@]}" --seed "$SEED"
    status=$?
    cat "$WORK/$name.out"
    if [ $status = 0 ]; then
        ok "$name:prevented"
    else
        cat "$WORK/$name.out.err" >&2
        not_ok "$name:prevented" "status $status"
    fi
}

# ---- mappers that check ----------------------------------------------------------------------------

# Beside a fault of the same bytes, so often at least, in a full run.
OVERLAPS=10000

mappers() {
    local bug seeds=3 steps=100000
    [ -z "$FULL" ] || seeds=64 steps=200000
    if mappers_run --seeds "$seeds" --steps "$steps" --seed "$SEED"; then
        ok mappers
    else
        not_ok mappers 'the last line shows it again'
    fi
    mappers_replay
    mappers_run --free --seeds 2 --steps "$((steps / 4))" --seed "$SEED"
    expect mappers:free test $? = 0
    for bug in no-revoke early-release no-zeroing; do
        mappers_run --seeds 20 --steps 20000 --seed "$SEED" --bug $bug
        # 134: an assertion saw it first.
        expect "mappers:finds-$bug" grep -qxE '1|134' <<<$?
    done
}

# A seed makes the same run again, which is what a search for a failure needs.
mappers_replay() {
    local run
    for run in 1 2 3; do
        "$BUILD/test/race/race_mappers" --seed "$SEED" --steps 20000 >"$WORK/replay-$run" ||
            { not_ok mappers:replay "seed $SEED fails"; return; }
    done
    if [ "$(cat "$WORK"/replay-? | grep schedule | sort -u | wc -l)" = 1 ]; then
        ok mappers:replay
    else
        not_ok mappers:replay "runs of seed $SEED differ"
    fi
}

mappers_run() {
    local status
    timeout 7200 "$BUILD/test/race/race_mappers" "$@" >"$WORK/mappers" 2>>"$WORK/mappers.err"
    status=$?
    sed "s/^/mappers: /" "$WORK/mappers"
    cat "$WORK/mappers.err" >&2
    [ -z "$FULL" ] || [ "$1 $status" != '--seeds 0' ] || mappers_overlaps || return 1
    return $status
}

# Each way of taking bytes away has met faults often enough.
mappers_overlaps() {
    awk -v least=$OVERLAPS '
        /^(truncate|grow|punch|zero|collapse|insert|unlink|write) / && $4 < least {
            print $1 ": " $4 " overlaps" > "/dev/stderr"
            bad = 1
        }
        END { exit bad }' "$WORK/mappers"
}
