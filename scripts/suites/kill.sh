#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='kill -9 of the server under sqlite, a mixed load, and collapse, insert, mapped stores: nothing is lost (L4)'
SUITE_WHEN=always
SUITE_PACKAGES=()

# shellcheck source-path=SCRIPTDIR
. "$ROOT/test/kill/fs.sh"

THREADS=5
URING=/sys/module/fuse/parameters/enable_uring

suite_run() {
    RANDOM=$((SEED % 2147483647))
    MNT=$WORK/mnt
    build_test >&2 || { not_ok build; return 1; }
    local bin=$BUILD/test/kill
    LOAD=$bin/kill-load CHECK=$bin/kill-check SQLITE=$bin/kill-sqlite STEPS=$bin/kill-steps
    [ -x "$LOAD" ] && [ -x "$CHECK" ] && [ -x "$SQLITE" ] && [ -x "$STEPS" ] ||
        { not_ok programs "are missing in $bin"; return 1; }
    PARTIAL=()
    [ "$FS_KIND" = daxfuse ] || PARTIAL=(-p)
    checker_notices
    sqlite_suite delete
    sqlite_suite wal
    ledger_suite ledger $((FULL ? 100 : 3))
    ledger_suite shift $((FULL ? 50 : 2)) -c
    shift_uring
    [ "$FS_KIND" != daxfuse ] || steps_suite $((FULL ? 50 : 4))
}

# random_ms FROM TO: to RANDOM_SECONDS, as sleep takes it.
random_ms() {
    local ms=$(($1 + RANDOM % ($2 - $1 + 1)))
    RANDOM_SECONDS=$((ms / 1000)).$(printf %03d $((ms % 1000)))
}

# file_with_bytes FOLDER: the first file with one name whose first 512 bytes are not all zero.
file_with_bytes() {
    local file
    while read -r file; do
        [ "$(head -c 512 "$file" | tr -d '\0' | wc -c)" = 0 ] || { echo "$file"; return; }
    done < <(find "$1" -type f -size +4 -links 1 | sort)
}

# The checker is worth something only if it sees a loss. On a plain folder, with all synced: what
# each line does to a file or a directory must be reported as a loss of synced state.
checker_notices() {
    local name change file
    while read -r name change; do
        rm -rf "$WORK/self" && mkdir -p "$WORK/self/tree" "$WORK/self/ledger"
        "$LOAD" -p -n 400 -f -s "$SEED" "$WORK/self/tree" "$WORK/self/ledger" >&2
        file=$(file_with_bytes "$WORK/self/tree")
        (cd "$WORK/self/tree" && file=$file eval "$change") >&2
        "$CHECK" -p "$WORK/self/tree" "$WORK/self/ledger" >"$WORK/self/out"
        case $name:$? in
        none:0 | [!n]*:2) ok "checker:$name" ;;
        *) not_ok "checker:$name" "status $? for: $change: $(tail -n 1 "$WORK/self/out")" ;;
        esac
    done <<'END'
none true
byte printf "\1\2\3\4\5\6\7\10\11\12\13\14" | dd of="$file" bs=1 seek=100 conv=notrunc status=none
zeros fallocate -p -o 0 -l 512 "$file"
shorter truncate -s -1 "$file"
longer truncate -s +1 "$file"
mode chmod 0001 "$file"
unlinked rm "$file"
renamed mv "$file" "$file.away"
replaced cp -a "$file" copy && mv copy "$file"
directory rm -rf t0 && mkdir t0
END
    rm -rf "$WORK/self"
}

# after_kill POOL NAME: what must hold after every kill: clean, and it mounts.
after_kill() {
    fs_check "$1" || { not_ok "$2:fsck" "after kill $ROUND"; return 1; }
    fs_mount "$1" "$MNT" || { not_ok "$2:mount" "after kill $ROUND"; return 1; }
}

# commits_logged WRITER: of one, or of '*'.
commits_logged() {
    # shellcheck disable=SC2086 # a pattern on purpose
    cat "$WORK"/sql/log$1 2>/dev/null | wc -l
}

# sqlite_suite MODE
sqlite_suite() {
    local pool=$WORK/sqlite.pool kills=${FULL:+20} name=sqlite-$1 commits
    kills=${kills:-2}
    rm -rf "$WORK/sql" && mkdir -p "$WORK/sql"
    fs_make "$pool" 128M && fs_mount "$pool" "$MNT" || { not_ok "$name:start"; return 1; }
    for ((ROUND = 1; ROUND <= kills; ROUND++)); do
        sqlite_round "$1" "$pool" "$name" || { fs_keep "$name-$SEED" "$pool" "$WORK/sql"; break; }
    done
    commits=$(commits_logged '*')
    fs_umount "$pool" "$MNT" 2>/dev/null || umount -l "$MNT" 2>/dev/null
    if [ "$ROUND" -gt "$kills" ]; then
        if fs_check "$pool"; then ok "$name:kept"; else not_ok "$name:fsck" 'at the end'; fi
    fi
    echo "$name: $((ROUND - 1)) kills survived, $commits commits logged"
    rm -rf "$pool"
}

# sqlite_round MODE POOL NAME
sqlite_round() {
    local mode=$1 pool=$2 name=$3 before before0 before1 writers=() i tries=1200
    before0=$(commits_logged 0) before1=$(commits_logged 1)
    before=$((before0 + before1))
    for i in 0 1; do
        "$SQLITE" write "$MNT/db" "$mode" $i "$SEED" "$WORK/sql/log$i" >&2 &
        writers+=($!)
    done
    until [ $(($(commits_logged '*') - before)) -ge 100 ] &&
        [ "$(commits_logged 0)" -gt $((before0 + 20)) ] &&
        [ "$(commits_logged 1)" -gt $((before1 + 20)) ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] && kill -0 "${writers[0]}" && kill -0 "${writers[1]}" || break
        sleep 0.05
    done 2>/dev/null
    random_ms 0 300
    sleep "$RANDOM_SECONDS"
    if [ "$tries" = 0 ] || ! kill -0 "${writers[0]}" || ! kill -0 "${writers[1]}"; then
        kill -KILL "${writers[@]}"
        not_ok "$name:writers" "ended, or too slow, before kill $ROUND"
        return 1
    fi 2>/dev/null
    fs_kill "$pool" "$MNT" "${writers[@]}" || { not_ok "$name:hang" "after kill $ROUND"; return 1; }
    after_kill "$pool" "$name" || return 1
    "$SQLITE" check "$MNT/db" 2 "$SEED" "$WORK/sql/log0" "$WORK/sql/log1" && return 0
    not_ok "$name:kept" "after kill $ROUND, see above"
    return 1
}

# ledger_suite NAME KILLS [OPTIONS-OF-LOAD...]
ledger_suite() {
    local kills=$2 average pool
    LEDGER=$1
    shift 2
    pool=$WORK/$LEDGER.pool
    LOAD_OPTIONS=("$@")
    OPERATIONS=0
    mkdir -p "$WORK/$LEDGER"
    : >"$WORK/inflight"
    fs_make "$pool" 768M && fs_mount "$pool" "$MNT" || { not_ok "$LEDGER:start"; return 1; }
    for ((ROUND = 1; ROUND <= kills; ROUND++)); do
        ledger_round "$pool" || { fs_keep "$LEDGER-$SEED" "$pool" "$WORK/$LEDGER"; break; }
    done
    ROUND=$((ROUND - 1))
    fs_umount "$pool" "$MNT" 2>/dev/null || umount -l "$MNT" 2>/dev/null
    if [ "$ROUND" -eq "$kills" ]; then
        if fs_check "$pool"; then ok "$LEDGER:clean"; else not_ok "$LEDGER:fsck" 'at the end'; fi
        ok "$LEDGER:synced"
        ok "$LEDGER:returned"
    fi
    average=$((OPERATIONS / (ROUND > 0 ? ROUND : 1)))
    if [ "$average" -ge 1000 ]; then
        ok "$LEDGER:operations"
    else
        not_ok "$LEDGER:operations" "only $average before each kill"
    fi
    echo "$LEDGER: $ROUND kills, $THREADS threads, $OPERATIONS operations, $average before each kill"
    echo "operations in flight when the server was killed:"
    sort "$WORK/inflight" | uniq -c | sort -rn
    rm -rf "$pool"
}

# The same over io_uring, where the kernel has it; in a subshell, so that the setting is put back
# however it ends.
shift_uring() (
    [ -n "$FULL" ] && [ "$FS_KIND" = daxfuse ] && [ -w "$URING" ] || exit 0
    before=$(cat "$URING")
    # shellcheck disable=SC2064 # as it is now
    trap "echo $before >$URING" EXIT
    trap 'exit 130' INT TERM HUP
    echo Y >"$URING"
    ledger_suite shift-uring 25 -c
)

# steps_suite KILLS: of shifts that take many transactions: about half of the kills come between two of them.
steps_suite() {
    local pool=$WORK/steps.pool kills=$1 load tries between
    : >"$WORK/inflight"
    : >"$WORK/steps.err"
    fs_make "$pool" 128M || { not_ok steps:make; return 1; }
    for ((ROUND = 1; ROUND <= kills; ROUND++)); do
        fs_mount "$pool" "$MNT" 2>>"$WORK/steps.err" || { not_ok steps:mount "for kill $ROUND"; break; }
        rm -f "$WORK/steps.log"
        "$STEPS" run "$MNT/file" "$WORK/steps.log" 2>/dev/null &
        load=$!
        tries=500
        until [ -s "$WORK/steps.log" ] || [ "$tries" = 0 ]; do
            tries=$((tries - 1))
            sleep 0.02
        done
        random_ms 0 100
        sleep "$RANDOM_SECONDS"
        kill -0 "$load" 2>/dev/null || { not_ok steps:load "ended before kill $ROUND"; break; }
        fs_kill "$pool" "$MNT" "$load" || { not_ok steps:hang "after kill $ROUND"; break; }
        fs_check "$pool" || { not_ok steps:fsck "after kill $ROUND"; break; }
        fs_mount "$pool" "$MNT" 2>>"$WORK/steps.err" || { not_ok steps:mount "after kill $ROUND"; break; }
        "$STEPS" check "$MNT/file" "$WORK/steps.log" >"$WORK/check" ||
            { not_ok steps:kept "after kill $ROUND: $(tail -n 1 "$WORK/check")"; break; }
        sed -n 's/^inflight //p' "$WORK/check" >>"$WORK/inflight"
        fs_umount "$pool" "$MNT" || { not_ok steps:umount "after kill $ROUND"; break; }
        fs_check "$pool" || { not_ok steps:fsck "after recovery $ROUND"; break; }
    done
    cat "$WORK/steps.err" >&2
    if [ "$ROUND" -le "$kills" ]; then
        umount -l "$MNT" 2>/dev/null
        fs_keep "steps-$SEED" "$pool" "$WORK/steps.log"
    else
        ok steps:kept
        between=$(grep -cE 'recovered: .* [1-9][0-9]* operation' "$WORK/steps.err")
        echo "steps: $kills kills, $between of them in the middle of a shift; in flight:"
        sort "$WORK/inflight" | uniq -c
        [ "$kills" -lt 20 ] || expect steps:between [ "$between" -gt 0 ]
    fi
    rm -f "$pool"
}

# ledger_round POOL: a load in a folder of its own, killed after 0.2 to 3 s. The folder of the round
# before stays, and must stay as it was; those of earlier ones are removed beside the load.
ledger_round() {
    local pool=$1 tries=200 killed_at load remover name status=0
    local ledger=$WORK/$LEDGER/$ROUND tree=$MNT/round$ROUND old=()
    mkdir -p "$ledger" "$tree" || { not_ok "$LEDGER:mkdir" "round $ROUND"; return 1; }
    "$LOAD" -t $THREADS -s $((SEED * 1000 + ROUND)) "${PARTIAL[@]}" "${LOAD_OPTIONS[@]}" \
        "$tree" "$ledger" >&2 &
    load=$!
    for name in "$MNT"/round*; do
        [ "${name##*round}" -ge $((ROUND - 1)) ] || old+=("$name")
    done
    if [ ${#old[@]} -gt 0 ]; then
        rm -rf "${old[@]}" 2>/dev/null &
    else
        true &
    fi
    remover=$!
    until [ -e "$ledger/ready" ] || [ "$tries" = 0 ]; do
        tries=$((tries - 1))
        sleep 0.02
    done
    random_ms 200 3000
    sleep "$RANDOM_SECONDS"
    kill -0 "$load" 2>/dev/null || { not_ok "$LEDGER:load" "ended before kill $ROUND"; status=1; }
    killed_at=$(date +%s%N)
    fs_kill "$pool" "$MNT" "$load" "$remover" || { not_ok "$LEDGER:hang" "after kill $ROUND"; return 1; }
    echo "$killed_at" >"$ledger/killed"
    [ ! -e "$ledger/differs" ] || { not_ok "$LEDGER:read" "before kill $ROUND, see the log"; status=1; }
    after_kill "$pool" "$LEDGER" || return 1
    [ "$ROUND" = 1 ] || ledger_check $((ROUND - 1)) || status=1
    ledger_check "$ROUND" || status=1
    sed -n 's/^inflight //p' "$WORK/check" >>"$WORK/inflight"
    OPERATIONS=$((OPERATIONS + $(sed -n 's/^operations //p' "$WORK/check")))
    [ "$status" != 0 ] || rm -rf "${WORK:?}/$LEDGER/$((ROUND - 1))"
    return $status
}

# ledger_check N: round N's folder against its ledger.
ledger_check() {
    local status
    "$CHECK" -k "$(cat "$WORK/$LEDGER/$1/killed")" "${PARTIAL[@]}" "$MNT/round$1" "$WORK/$LEDGER/$1" \
        >"$WORK/check" 2>&1
    status=$?
    [ "$status" != 0 ] || return 0
    grep -v -e '^inflight' -e '^operations' "$WORK/check" | head -n 20
    case $status in
    1) not_ok "$LEDGER:returned" "after kill $ROUND: something that had returned is lost" ;;
    2) not_ok "$LEDGER:synced" "after kill $ROUND: lost, or failed before the kill" ;;
    *) not_ok "$LEDGER:check" "after kill $ROUND: status $status" ;;
    esac
    return 1
}
