#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every case of poolpoke: found with -n, which changes nothing; repaired with -y; clean then; and
# what was not damaged is as it was. A note is said by -n and is no error, and is gone after a mount.
# What nobody can repair stays as it is.
# Prints ok and not ok lines.
#   cases.sh TOOLS PROGRAMS FOLDER [CASE…]
# TOOLS: where fsck.daxfuse and mkfs.daxfuse are; PROGRAMS: poolfill and poolpoke; FOLDER: scratch.
set -u

tools=$1 programs=$2 folder=$3
shift 3
base=$folder/base
pool=$folder/pool
log=$folder/log

# check NAME-OF-CASE WHAT STATUS-WANTED MODE: runs fsck, its output in $log.
check() {
    local status
    timeout 60 "$tools/fsck.daxfuse" "$4" "$pool" >"$log" 2>&1
    status=$?
    [ "$status" = "$3" ] && return 0
    { echo "fsck $4, case $1: exit $status, not $3"; cat "$log"; } >&2
    why="$2: fsck $4 ended with $status, not $3"
    return 1
}

one_case() {
    local name=$1 safe=$2 expected=$3 except=$4 number found=4 repaired=1
    [ "$safe" != n ] || found=0 repaired=0
    cp --sparse=always "$base" "$pool"
    "$programs/poolpoke" "$pool" "$name" || { why='could not be made'; return 1; }
    cp --sparse=always "$pool" "$folder/before"
    check "$name" 'the check' "$found" -n || return 1
    for number in ${expected//,/ }; do
        grep -q "^$number:" "$log" && continue
        cat "$log" >&2
        why="finding $number is not there"
        return 1
    done
    cmp -s "$pool" "$folder/before" || { why='-n has changed the pool'; return 1; }
    if [ "$safe" = x ]; then
        check "$name" 'the repair' 4 -y || return 1
        cmp -s "$pool" "$folder/before" || { why='-y has changed the pool'; return 1; }
        return 0
    fi
    if [ "$safe" != - ]; then
        check "$name" 'the safe repair' "$repaired" -p || return 1
        check "$name" 'after the safe repair' 0 -n || return 1
        cp --sparse=always "$folder/before" "$pool"
    else
        # -p repairs what is safe, and never all of it.
        timeout 60 "$tools/fsck.daxfuse" -p "$pool" >"$log" 2>&1
        [ $(($? & 4)) = 4 ] || { cat "$log" >&2; why='-p repaired what is not safe'; return 1; }
        cp --sparse=always "$folder/before" "$pool"
    fi
    check "$name" 'the repair' "$repaired" -y || return 1
    check "$name" 'after the repair' 0 -n || return 1
    # shellcheck disable=SC2086
    "$programs/poolfill" verify "$pool" ${except//,/ } >"$log" 2>&1 || {
        cat "$log" >&2
        why='files have changed that were not damaged'
        return 1
    }
    check "$name" 'after a mount' 0 -n || return 1
    for number in ${expected//,/ }; do
        grep -q "^$number:" "$log" || continue
        why="finding $number is still there after a mount"
        return 1
    done
}

rm -f "$base" "$pool"
make_base() {
    "$tools/mkfs.daxfuse" -s 64M --sparse "$base" && "$programs/poolfill" make "$base" &&
        "$programs/poolfill" crash "$base" && "$programs/poolfill" verify "$base"
}
if ! make_base >&2; then
    echo 'not ok fsck:base a pool could not be made and filled'
    exit 1
fi
while read -r name safe expected except; do
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    why=''
    if one_case "$name" "$safe" "$expected" "$except"; then
        echo "ok fsck:$name"
    else
        echo "not ok fsck:$name $why"
    fi
done < <("$programs/poolpoke" list)
