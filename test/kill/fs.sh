# SPDX-License-Identifier: LGPL-2.1-or-later
# The filesystem under test for the suites kill and real: made, mounted, killed, checked.
# shellcheck shell=bash
#
# DAXFUSE_TEST_FS chooses it: daxfuse (the default), or a stand-in to try the suites themselves on:
#   passthrough  libfuse's example passthrough_hp over a folder (DAXFUSE_TEST_PASSTHROUGH: its path);
#                killing it cuts operations short as killing our server does.
#                DAXFUSE_TEST_PASSTHROUGH_OPTIONS= (empty) turns the writeback cache on: then
#                writes that returned, and were not synced, are lost, and ledger:returned fails
#   folder       a folder bound to the mountpoint; nothing to kill but the workload
# DAXFUSE_TEST_OPTIONS=OPTION[,OPTION...]: more options for our server (pmem=force, io_uring).
# DAXFUSE_TEST_LOSE=COMMAND, with a stand-in: run after a kill in the folder, to lose something;
# the suites must then fail.

FS_KIND=${DAXFUSE_TEST_FS:-daxfuse}
FS_PID=

# fs_make POOL SIZE
fs_make() {
    rm -rf -- "$1"
    case $FS_KIND in
    daxfuse) "$OUT/bin/mkfs.daxfuse" -s "$2" "$1" >&2 ;;
    *) mkdir -p "$1" ;;
    esac
}

# fs_mount POOL MOUNTPOINT: leaves the server's process in FS_PID.
fs_mount() {
    local pool=$1 mountpoint=$2 tries=400
    mkdir -p "$mountpoint"
    case $FS_KIND in
    daxfuse)
        "$OUT/bin/daxfuse" -f ${DAXFUSE_TEST_OPTIONS:+-o "$DAXFUSE_TEST_OPTIONS"} \
            "$pool" "$mountpoint" >&2 &
        ;;
    passthrough)
        mkdir -p "$WORK/bound" && mount --bind "$pool" "$WORK/bound" || return 1
        "$DAXFUSE_TEST_PASSTHROUGH" --foreground --nopassthrough \
            ${DAXFUSE_TEST_PASSTHROUGH_OPTIONS---nocache} "$WORK/bound" "$mountpoint" >&2 &
        ;;
    folder)
        mount --bind "$pool" "$mountpoint" || return 1
        sleep 100000 &
        ;;
    esac
    FS_PID=$!
    until timeout 5 mountpoint -q "$mountpoint" && timeout 5 stat -f "$mountpoint" >/dev/null; do
        kill -0 "$FS_PID" 2>/dev/null || { say "the server of $pool ended at once"; return 1; }
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { say "$pool is not mounted after 20 s"; return 1; }
        sleep 0.05
    done
}

# fs_kill POOL MOUNTPOINT PROCESS...: kill -9 of the server, then the dead mount is taken away.
# PROCESS: those of the workload. They must end, since their filesystem is gone.
fs_kill() {
    local pool=$1 mountpoint=$2 process tries=200 status=0
    shift 2
    kill -KILL "$FS_PID"
    [ "$FS_KIND" != folder ] || kill -KILL "$@" 2>/dev/null
    wait "$FS_PID" 2>/dev/null
    for process in "$@"; do
        while kill -0 "$process" 2>/dev/null && [ "$tries" -gt 0 ]; do
            tries=$((tries - 1))
            sleep 0.05
        done
        if kill -0 "$process" 2>/dev/null; then
            say "process $process still waits for a dead filesystem"
            kill -KILL "$process"
            status=1
        fi
        wait "$process" 2>/dev/null
    done
    umount -l "$mountpoint" >&2
    [ "$FS_KIND" != passthrough ] || umount -l "$WORK/bound"
    if [ "$FS_KIND" != daxfuse ] && [ -n "${DAXFUSE_TEST_LOSE:-}" ]; then
        (cd "$pool" && eval "$DAXFUSE_TEST_LOSE") >&2
    fi
    return $status
}

# fs_umount POOL MOUNTPOINT: returns when the server has ended, with its status.
fs_umount() {
    umount "$2" || return 1
    [ "$FS_KIND" != passthrough ] || umount -l "$WORK/bound"
    [ "$FS_KIND" != folder ] || { kill "$FS_PID"; wait "$FS_PID" 2>/dev/null; return 0; }
    wait "$FS_PID"
}

# fs_check POOL: not mounted; true when clean.
fs_check() {
    [ "$FS_KIND" = daxfuse ] || return 0
    "$OUT/bin/fsck.daxfuse" -n "$1" >"$WORK/fsck.out" 2>&1 && return 0
    say "fsck.daxfuse -n $1: status $?"
    tail -n 20 "$WORK/fsck.out" >&2
    return 1
}

# fs_keep NAME POOL [LEDGERS]: copies of what failed, outside WORK; prints the place.
fs_keep() {
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/daxfuse-test/failed/$1
    shift
    rm -rf -- "$folder" && mkdir -p "$folder" &&
        cp -a --sparse=always -- "$@" "$folder/" && echo "kept: $folder (seed $SEED)"
}
