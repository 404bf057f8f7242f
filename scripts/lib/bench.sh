#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The process in which scripts/bench measures; the first of its process namespace. Arguments: groups.
# Lines as bench/bench.h has them go to $WORK/measured. A group that fails does not keep the next from
# being measured; its rows are missing then, which the report notices.
set -u
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$ROOT/scripts/lib/server.sh"

trap 'exit 2' INT TERM HUP

BIN=$BUILD/out/bin
PROGRAMS=$BUILD/bench
HP=$PEER/example/passthrough_hp
POOL=$WORK/pool
MNT=$WORK/mnt
PEER_MNT=$WORK/peer-mnt
NATIVE=$WORK/native

# The control sockets of servers that are killed here are nobody else's.
mkdir -p /run/daxfuse && mount -t tmpfs -o mode=755 daxfuse-bench /run/daxfuse || exit 2

# Client and server share one CPU, where a wake-up of another costs ten times a request: the last that
# we may use, since the first gets the interrupts.
CPU=$(taskset -cp $$ | sed 's/.*[ ,-]//')

measured() {
    tee -a "$WORK/measured" | cut -f 2-4 >&2
}

skip() {
    printf 'skip\t%s\t%s\n' "$1" "$2" >>"$WORK/measured"
}

# pool_make SIZE [OPTIONS...]
pool_make() {
    local size=$1
    shift
    rm -f "$POOL"
    "$BIN/mkfs.daxfuse" -s "$size" "$@" "$POOL" >/dev/null
}

# ours_mount MOUNTPOINT OPTIONS [COMMAND...]: COMMAND starts the server (taskset)
ours_mount() {
    local mountpoint=$1 options=$2
    shift 2
    mkdir -p "$mountpoint"
    "$@" "$BIN/daxfuse" ${options:+-o "$options"} "$POOL" "$mountpoint" 2>>"$WORK/log"
}

ours_umount() {
    umount "$1" && pool_wait_ended "$POOL" 60
}

# ctl_value SUBCOMMAND KEY...: what daxfuse-ctl says of the pool.
ctl_value() {
    "$BIN/daxfuse-ctl" "$1" --json "$POOL" | python3 -c '
import functools, json, sys
print(functools.reduce(dict.get, sys.argv[1:], json.load(sys.stdin)))' "${@:2}"
}

# peer_mount FOLDER MOUNTPOINT OPTIONS...
peer_mount() {
    local folder=$1 mountpoint=$2 tries=100
    shift 2
    mkdir -p "$folder" "$mountpoint"
    taskset -c "$CPU" "$HP" --nopassthrough --nocache "$@" "$folder" "$mountpoint" || return 1
    until mountpoint -q "$mountpoint"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.05
    done
}

# The limits are those that the program has, and prints.
group_costs() {
    "$PROGRAMS/bench_costs" >"$WORK/costs"
    [ $? -lt 2 ] || return 1
    sed -nE 's/^([a-z0-9-]+) +fences +([0-9.]+) \(at most ([0-9.]+)\) +metadata bytes +([0-9.]+) \(at most ([0-9.]+)\).*/\1 \2 \3 \4 \5/p' \
        "$WORK/costs" | while read -r name fences fences_most bytes bytes_most; do
        # To two decimals: what is retired once in the whole run is not an operation's.
        printf 'row\tcosts.%s.fences\t%.2f\t\t1000\t0\t\t%s\n' "$name" "$fences" "$fences_most"
        printf 'row\tcosts.%s.metadata_bytes\t%.2f\t\t1000\t0\t\t%s\n' "$name" "$bytes" "$bytes_most"
    done | measured
}

group_mount() {
    local what
    pool_make 2G || return 1
    ours_mount "$MNT" no_io_uring,timeout=0 taskset -c "$CPU" &&
        peer_mount "$NATIVE" "$PEER_MNT" &&
        peer_mount "$NATIVE-2" "$PEER_MNT-2" --nosplice || return 1
    for what in meta data; do
        taskset -c "$CPU" "$PROGRAMS/bench_mount" $what "$MNT" "$PEER_MNT" "$PEER_MNT-2" |
            measured || return 1
    done
    umount "$PEER_MNT" "$PEER_MNT-2" && ours_umount "$MNT" || return 1
    rm -rf "$NATIVE-2"

    ours_mount "$MNT" no_io_uring taskset -c "$CPU" || return 1
    taskset -c "$CPU" "$PROGRAMS/bench_mount" warm "$MNT" "$NATIVE" | measured || return 1
    ours_umount "$MNT" && mount_uring
}

# Both of ours, on any CPU, one over io_uring.
mount_uring() {
    local before status=0
    if [ ! -w "$URING" ]; then
        skip mount.uring "the kernel has no FUSE over io_uring (Linux 6.14)"
        return 0
    fi
    before=$(cat "$URING")
    echo Y >"$URING"
    uring_both || status=1
    echo "$before" >"$URING"
    return $status
}

uring_both() {
    pool_make 512M && ours_mount "$MNT-classic" no_io_uring || return 1
    local POOL=$POOL-uring
    pool_make 512M && ours_mount "$MNT" io_uring || return 1
    [ "$(ctl_value info transport)" = io_uring ] ||
        { say 'the server does not use io_uring'; return 1; }
    "$PROGRAMS/bench_mount" uring "$MNT" "$MNT-classic" | measured || return 1
    umount "$MNT-classic" && ours_umount "$MNT"
}

group_engine() {
    pool_make 2G && mkdir -p "$NATIVE" || return 1
    taskset -c "$CPU" "$PROGRAMS/bench_engine" "$POOL" "$NATIVE" | measured
}

group_fault() {
    pool_make 512M || return 1
    taskset -c "$CPU" "$PROGRAMS/bench_fault" "$POOL" | measured
}

# One VM: ours with a window, ours without one, the distribution's virtiofsd.
group_guest() {
    pool_make 1G || return 1
    BIN=$BIN PROGRAMS=$PROGRAMS python3 "$ROOT/bench/guest.py" "$WORK/guest" "$POOL" | measured
}

group_lock() {
    if [ "$(nproc)" -lt 2 ]; then
        say 'one CPU: no two threads run at once'
        return 1
    fi
    "$PROGRAMS/bench_lock" | measured
}

# timed COMMAND...: its seconds, in TIMED
timed() {
    local begin=$EPOCHREALTIME
    "$@" || return 1
    TIMED=$(awk -v b="$begin" -v e="$EPOCHREALTIME" 'BEGIN { printf "%.6f", e - b }')
}

make_and_mount() {
    pool_make 16T --sparse && ours_mount "$MNT" ''
}

scale_mkfs16t() {
    local i seconds=()
    for ((i = 0; i < 5; i++)); do
        timed make_and_mount || return 1
        seconds+=("$TIMED")
        [ "$(df --output=size -B 1T "$MNT" | tail -n 1)" -ge 15 ] || return 1
        ours_umount "$MNT" || return 1
    done
    "$PROGRAMS/bench_scale" row scale.mkfs16t "${seconds[@]}" | measured
}

scale_mount1m() {
    local i seconds=()
    for ((i = 0; i < 7; i++)); do
        timed ours_mount "$MNT" '' || return 1
        seconds+=("$TIMED")
        [ -f "$MNT/many/file-0999999" ] && ours_umount "$MNT" || return 1
    done
    "$PROGRAMS/bench_scale" row scale.mount1m "${seconds[@]}" | measured
}

# process_wait_ended PID: until it has closed its files, which is after its command line is gone.
process_wait_ended() {
    local tries=200
    until ! grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.02
    done
}

# A killed server leaves entries in the journal.
scale_mount1m_dirty() {
    local i made server seconds=()
    ours_mount "$MNT" '' || return 1
    for ((i = 0; i < 5; i++)); do
        mkdir "$MNT/dirty$i" && (cd "$MNT/dirty$i" && seq 2000 | xargs touch) || return 1
        server=$(pool_servers "$POOL")
        kill -KILL "$server" && umount -l "$MNT" && process_wait_ended "$server" || return 1
        timed ours_mount "$MNT" '' || return 1
        seconds+=("$TIMED")
        made=$(find "$MNT/dirty$i" -type f | wc -l)
        [ "$made" = 2000 ] || { say "$made of 2000 files after kill -9"; return 1; }
        [ "$(ctl_value info recovered_entries)" -gt 0 ] ||
            { say 'nothing was replayed after kill -9'; return 1; }
    done
    ours_umount "$MNT" || return 1
    "$PROGRAMS/bench_scale" row scale.mount1m_dirty "${seconds[@]}" | measured
}

anonymous_bytes() {
    awk '/^RssAnon:/ { print $2 * 1024 }' "/proc/$1/status"
}

# What of the server's memory is not the mapped pool.
scale_inode_bytes() {
    local before after cached server
    ours_mount "$MNT" '' || return 1
    server=$(pool_servers "$POOL")
    before=$(anonymous_bytes "$server")
    "$PROGRAMS/bench_scale" stat "$MNT/many" 1000000 || return 1
    after=$(anonymous_bytes "$server")
    cached=$(ctl_value stat fs inodes_cached)
    [ "$cached" -ge 990000 ] || { say "only $cached inodes cached"; return 1; }
    ours_umount "$MNT" || return 1
    printf 'row\tscale.inode_bytes\t%d\t\t1\t0\t%d cached; anonymous memory\n' \
        $(((after - before) / cached)) "$cached" | measured
}

scale_huge() {
    local size=8G
    [ "$(df --output=avail -B 1G "$WORK" | tail -n 1)" -ge 12 ] || size=4G
    pool_make $size --sparse && "$PROGRAMS/bench_age" "$POOL" | measured
}

group_scale() {
    local status=0
    scale_mkfs16t || status=1
    pool_make 4G --sparse && "$PROGRAMS/bench_scale" fill "$POOL" 1000000 || return 1
    "$PROGRAMS/bench_scale" lookup "$POOL" 1000000 | measured || status=1
    scale_mount1m || status=1
    scale_inode_bytes || status=1
    scale_mount1m_dirty || status=1
    scale_huge || status=1
    return $status
}

status=0
set -o pipefail
: >"$WORK/measured"
for group in "$@"; do
    begin=$SECONDS
    "group_$group" || { say "group $group: failed"; tail -n 5 "$WORK/log" >&2; status=2; }
    # Whatever a failed group has left mounted.
    for mountpoint in "$MNT" "$MNT-classic" "$PEER_MNT" "$PEER_MNT-2"; do
        ! mountpoint -q "$mountpoint" || umount -l "$mountpoint"
    done
    rm -rf "$POOL" "$POOL-uring" "$NATIVE" "$NATIVE-2"
    say "group $group: $((SECONDS - begin)) s"
done
exit $status
