# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='the models of the locks in every interleaving, and what spin finds with a rule taken out'
SUITE_WHEN=always
SUITE_PACKAGES=(spin)

suite_run() {
    local broken
    model range_lock holds
    for broken in $(seq 14); do
        model range_lock fails -DBROKEN="$broken"
    done
    # Without the assertion these must be seen as somebody who sleeps for ever.
    for broken in 2 3 6 9 10 11 14; do
        model range_lock sleeps -DNO_INVARIANT -DBROKEN="$broken"
    done
    model park holds
    for broken in $(seq 4); do
        model park sleeps -DBROKEN="$broken"
    done
}

# model NAME holds|fails|sleeps OPTIONS...: test/spin/NAME.pml, searched to the end; fails: an error of
# any kind is found, sleeps: an end in which somebody still waits.
model() {
    local name=$1 expected=$2 label=$1:$2 errors option
    shift 2
    for option in "$@"; do
        label+=:${option#-D}
    done
    if ! model_search "$name" "$@"; then
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
    shift
    [ $# -gt 0 ] || optimize=-O2
    rm -rf "$WORK/model"
    mkdir "$WORK/model"
    (
        cd "$WORK/model" || exit 1
        spin -a "$@" "$ROOT/test/spin/$name.pml" &&
            gcc $optimize -w -DSAFETY -DCOLLAPSE -DMEMLIM=2000 -o pan pan.c && ./pan -m3000000 >log
    ) >&2
    cat "$WORK/model/log" >&2
    # The search is at an end when it prints its counts.
    grep -q 'errors: [0-9]*$' "$WORK/model/log" &&
        ! grep -qE 'max search depth too small|out of memory|memory limit|search not completed' \
            <(grep -v 'errors: 1$' "$WORK/model/log" | grep -v '^Warning: Search not completed')
}
