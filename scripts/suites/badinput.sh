# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='bad pools, mountpoints, sizes and names: the exit status, and what is said about it'
SUITE_WHEN=always
SUITE_PACKAGES=(util-linux python3)

# shellcheck source=test/badinput/doors.sh
. "$ROOT/test/badinput/doors.sh"
# shellcheck source=test/badinput/sandbox.sh
. "$ROOT/test/badinput/sandbox.sh"
# shellcheck source=test/badinput/sockets.sh
. "$ROOT/test/badinput/sockets.sh"

suite_run() {
    build_test >&2 || { not_ok build; return 1; }
    POOLSUPER=$BUILD/test/badinput/poolsuper
    MNT=$WORK/mnt
    mkdir -p "$MNT"
    cd "$WORK" || return 1
    expect mkfs "$OUT/bin/mkfs.daxfuse" -s 16M good || return 1
    not_pools
    future_pools
    cut_pools
    cut_while_served 1M data
    cut_while_served 100K all
    broken_superblocks
    mkfs_sizes
    mountpoints
    mount_of_user
    second_server
    copies
    blanks
    without_rights
    namespaces
    floods
    bad_answers
    ioctls
    ranges
    doors
    sandbox
    sockets
    names
    with_host_full never
    with_host_full force
    cd / || return 1
}

# refused NAME STATUS 'PATTERN REMEDY...' COMMAND...: it ends with that status, and says something
# in which each of the words of the third argument (extended regular expressions, separated by |||)
# is found. Nothing is mounted afterwards.
refused() {
    local name=$1 wanted=$2 patterns=$3 status said pattern
    shift 3
    said=$(timeout 30 "$@" 2>&1 </dev/null)
    status=$?
    printf '%s: %s: %s\n' "$name" "$status" "$said" >&2
    if mountpoint -q "$MNT" && [ -z "${MOUNTED:-}" ]; then
        umount -l "$MNT"
        not_ok "$name" 'it was mounted'
        return
    fi
    if [ "$status" != "$wanted" ]; then
        not_ok "$name" "status $status, expected $wanted: $said"
        return
    fi
    while [ -n "$patterns" ]; do
        pattern=${patterns%%|||*}
        if ! grep -qE -- "$pattern" <<<"$said"; then
            not_ok "$name" "does not say \"$pattern\": $said"
            return
        fi
        [[ "$patterns" = *"|||"* ]] || break
        patterns=${patterns#*|||}
    done
    ok "$name"
}

# refused_pool NAME STATUS PATTERNS POOL [OPTIONS...]: the server does not take it; the message names
# the file by its whole path.
refused_pool() {
    local name=$1 status=$2 patterns=$3 pool=$4
    shift 4
    refused "$name" "$status" "$(realpath -m "$pool")|||$patterns" \
        "$OUT/bin/daxfuse" "$@" "$pool" "$MNT"
}

# accepted NAME PATTERN POOL [OPTIONS...]: it is served all the same, and the start says why not.
accepted() {
    local name=$1 pattern=$2 pool=$3 said
    shift 3
    if ! said=$("$OUT/bin/daxfuse" "$@" "$pool" "$MNT" 2>&1); then
        not_ok "$name" "is refused: $said"
        return
    fi
    if ! grep -qE -- "$pattern" <<<"$said"; then
        not_ok "$name" "does not say \"$pattern\": $said"
    elif ! ls "$MNT" >/dev/null; then
        not_ok "$name" 'cannot be listed'
    else
        ok "$name"
    fi
    pool_umount "$pool" "$MNT" || umount -l "$MNT"
}

not_pools() {
    : >empty
    refused_pool pool:empty 2 'is empty|||mkfs.daxfuse -s' empty
    head -c 100 good >short
    refused_pool pool:short 2 'too short.*100 bytes|||mkfs.daxfuse' short
    truncate -s 4096 zeros-short
    refused_pool pool:short-zeros 2 'too short|||mkfs.daxfuse' zeros-short
    truncate -s 16M zeros
    refused_pool pool:zeros 2 'not a daxfuse pool|||mkfs.daxfuse' zeros
    head -c 16M /dev/urandom >random
    refused_pool pool:random 2 'not a daxfuse pool|||mkfs.daxfuse' random
    refused_pool pool:missing 1 'No such file|||mkfs.daxfuse' missing
    refused_pool pool:folder 1 'Is a directory|||name the file' "$WORK"
    refused_pool pool:device 2 'neither a file nor a block device|||name a pool' /dev/null
    refused pool:none 1 'where to mount it' "$OUT/bin/daxfuse" good
    refused pool:option 1 'unknown option: sideways' "$OUT/bin/daxfuse" -o sideways good "$MNT"
    refused mkfs:other-data 1 'random|||other data|||--force' "$OUT/bin/mkfs.daxfuse" random
    refused mkfs:a-pool 1 'good|||a daxfuse pool|||--force' "$OUT/bin/mkfs.daxfuse" good
}

future_pools() {
    cp good future
    "$POOLSUPER" future version 2
    refused_pool future:version 2 'format version 2.*knows version 1|||newer daxfuse' future
    refused future:fsck-version 8 'future|||version 2|||newer daxfuse' \
        "$OUT/bin/fsck.daxfuse" -n future
    "$POOLSUPER" future version 1
    "$POOLSUPER" future incompat 0x8000
    refused_pool future:incompat 2 'does not know.*0x8000|||newer daxfuse' future
    "$POOLSUPER" future incompat 0
    "$POOLSUPER" future ro_compat 0x4000
    refused_pool future:ro-compat 2 'only read.*0x4000|||-o ro|||newer daxfuse' future
    accepted future:ro-compat-read-only 'read-only' future -o ro
    "$POOLSUPER" future ro_compat 0
    "$POOLSUPER" future compat 0x2000
    accepted future:compat 'the pool was clean' future
    rm -f future
}

cut_pools() {
    local length
    for length in 15M 8M 1M 4096; do
        cp good cut
        truncate -s "$length" cut
        refused_pool "cut:$length" 2 'cut short.*16777216|||copy|||fsck.daxfuse' cut
    done
    # What the message proposes makes it a pool again: nothing was in what was lost.
    cp good cut
    truncate -s 15M cut
    truncate -s 16M cut
    accepted cut:restored 'the pool was clean' cut
    rm -f cut
}

# cut_while_served SIZE data|all: the server lives, what was cut off gives errors and is reported.
cut_while_served() {
    local name=cut-served:$1 server
    cp good cut
    "$OUT/bin/daxfuse" -f cut "$MNT" 2>"$WORK/cut.log" &
    server=$!
    wait_mounted || { not_ok "$name" "$(cat "$WORK/cut.log")"; return; }
    head -c 4M /dev/urandom >"$MNT/file"
    sync -f "$MNT"
    truncate -s "$1" cut
    MOUNTED=1
    refused "$name-read" 1 'Input/output error' \
        dd if="$MNT/file" of=/dev/null bs=4096 skip=512 iflag=direct status=none
    if [ "$2" = all ]; then
        refused "$name-make" 1 'Input/output error' mkdir "$MNT/folder"
    else
        expect "$name-names" stat "$MNT/file"
    fi
    MOUNTED=
    expect "$name-umount" pool_umount cut "$MNT" || umount -l "$MNT"
    wait "$server"
    expect "$name-status" test $? = 0
    if grep -qE "/cut: has bad pages.*cut short.*fsck.daxfuse" "$WORK/cut.log"; then
        ok "$name-said"
    else
        not_ok "$name-said" "the server's log does not tell why"
    fi
    refused_pool "$name-again" 2 'cut short|||copy' cut
    rm -f cut
}

broken_superblocks() {
    cp good broken
    dd if=/dev/urandom of=broken bs=4096 count=1 conv=notrunc status=none
    accepted super:spare-serves-read-only 'the superblock was damaged, its spare serves' broken -o ro
    expect super:read-only-changes-nothing bash -c '! cmp -s -n 4096 broken good'
    accepted super:spare-serves 'the superblock was damaged, its spare serves' broken
    accepted super:rewritten 'the pool was clean$' broken
    expect super:fsck "$OUT/bin/fsck.daxfuse" -n broken
    dd if=/dev/urandom of=broken bs=4096 seek=511 count=1 conv=notrunc status=none
    accepted super:primary-serves 'the pool was clean' broken
    printf 'x' | dd of=broken bs=1 seek=200 conv=notrunc status=none
    printf 'x' | dd of=broken bs=1 seek=$((511 * 4096 + 200)) conv=notrunc status=none
    refused_pool super:both 2 'both superblocks are damaged|||restore' broken
    rm -f broken
}

mkfs_sizes() {
    local size
    for size in 0 1K 7M; do
        refused "size:$size" 2 "^mkfs.daxfuse: $size: too small|||8M" \
            "$OUT/bin/mkfs.daxfuse" -s "$size" sized
    done
    refused size:99999T 2 '^mkfs.daxfuse: 99999T: too large|||64T' \
        "$OUT/bin/mkfs.daxfuse" -s 99999T sized
    for size in -1 x 16Q 99999999999999999999999; do
        refused "size:$size" 2 "^mkfs.daxfuse: $size: |||for example|64T" \
            "$OUT/bin/mkfs.daxfuse" -s "$size" sized
    done
    expect size:nothing-made test ! -e sized
    refused size:no-room 1 'sized|||left|||smaller pool' "$OUT/bin/mkfs.daxfuse" -s 60T sized
    expect size:no-room-nothing-left test ! -e sized
}

mountpoints() {
    refused mountpoint:missing 32 "$WORK/nowhere|||no such folder|||mkdir" \
        "$OUT/bin/daxfuse" good "$WORK/nowhere"
    refused mountpoint:file 32 "$WORK/zeros|||not a folder|||choose" \
        "$OUT/bin/daxfuse" good "$WORK/zeros"
    cp good other
    expect mountpoint:first "$OUT/bin/daxfuse" good "$MNT"
    MOUNTED=1 refused mountpoint:busy 32 "$MNT|||in use|||umount|||another folder" \
        "$OUT/bin/daxfuse" other "$MNT"
    # shellcheck disable=SC2046 # one number
    kill -KILL $(pool_servers good)
    pool_wait_ended good
    MOUNTED=1 refused mountpoint:server-gone 32 "$MNT|||server.*gone|||umount" \
        "$OUT/bin/daxfuse" other "$MNT"
    umount "$MNT"
    accepted mountpoint:after-it 'mnt: ' other
    rm -f other
}

# What fusermount3 has mounted, and will not unmount any more, stays, and that is told.
mount_of_user() {
    local user=(env "XDG_RUNTIME_DIR=$WORK/user" setpriv --reuid=65534 --regid=65534 --clear-groups)
    local fusermount server tries=200
    fusermount=$(command -v fusermount3)
    chmod 711 "$WORK"
    mkdir -p user/mnt user/device
    cp good user/pool
    chown -R 65534:65534 user
    if ! "${user[@]}" test -x "$OUT/bin/daxfuse" -a -u "$fusermount" ||
        ! mount -t tmpfs device user/device || ! mknod -m 666 user/device/fuse c 10 229 ||
        ! mount --bind user/device/fuse /dev/fuse; then
        skip mountpoint:user 'users may not mount here'
    else
        "${user[@]}" "$OUT/bin/daxfuse" -f user/pool user/mnt 2>user.log &
        server=$!
        until grep -q 'kernel FUSE' user.log || [ "$tries" = 0 ]; do
            tries=$((tries - 1))
            sleep 0.05
        done
        mount --bind /bin/false "$fusermount"
        kill -TERM "$server"
        wait "$server"
        expect mountpoint:user-status test $? = 0
        expect mountpoint:user-told grep -q 'warning: .*/user/mnt: could not be unmounted: .*fusermount3' user.log
        umount -l user/mnt
        umount "$fusermount" /dev/fuse
    fi
    ! mountpoint -q user/device || umount user/device
    rm -rf --one-file-system user
}

second_server() {
    local server
    mkdir -p second
    expect second:first "$OUT/bin/daxfuse" good "$MNT"
    server=$(pool_servers good)
    MOUNTED=1
    refused second:server 16 "$WORK/good|||in use|||$server|||daxfuse-ctl stop" \
        "$OUT/bin/daxfuse" good "$WORK/second"
    refused second:read-only 16 "$WORK/good|||in use|||$server" \
        "$OUT/bin/daxfuse" -o ro good "$WORK/second"
    ln good good-link
    refused second:other-name 16 "good-link|||in use|||$server" \
        "$OUT/bin/daxfuse" good-link "$WORK/second"
    refused second:fsck 8 "good|||in use|||$server" "$OUT/bin/fsck.daxfuse" -n good
    refused second:mkfs 1 "good|||in use|||$server" "$OUT/bin/mkfs.daxfuse" --force good
    MOUNTED=
    rm -f good-link
    expect second:first-lives touch "$MNT/alive"
    expect second:umount pool_umount good "$MNT" || umount -l "$MNT"
}

# control_socket POOL: where its server's would be.
control_socket() {
    echo "/run/daxfuse/$("$OUT/bin/daxfuse-ctl" info --json "$1" |
        sed -nE 's/.*"uuid": *"([^"]+)".*/\1/p').sock"
}

# bad_peer WHAT ARGUMENTS...: test/badinput/control.py, in the background as $PEER; returns when it is
# ready.
bad_peer() {
    local tries=100
    : >peer.log
    "$ROOT/test/badinput/control.py" "$@" >peer.log 2>&1 &
    PEER=$!
    until grep -q ready peer.log; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { not_ok "control.py:$1" "$(cat peer.log)"; return 1; }
        sleep 0.05
    done
}

bad_peer_end() {
    kill "$PEER"
    wait "$PEER" 2>/dev/null
}

# A copy has the UUID of its original, and so the name of its socket. Servers that only read share
# their pool, but not the socket.
copies() {
    local socket options name
    socket=$(control_socket good)
    cp good copy
    for options in '' '-o ro'; do
        name=${options:+-read-only}
        # shellcheck disable=SC2086 # none or two words
        expect "copy:first$name" "$OUT/bin/daxfuse" $options good "$MNT"
        MOUNTED=1
        # shellcheck disable=SC2086
        refused "copy:second$name" 16 "$WORK/copy|||same UUID|||$socket|||umount that one" \
            "$OUT/bin/daxfuse" $options copy "$WORK/second"
        expect "copy:not-mounted$name" bash -c '! mountpoint -q second'
        [ -z "$options" ] || refused copy:readers 16 "$WORK/good|||same UUID|||$socket" \
            "$OUT/bin/daxfuse" -o ro good "$WORK/second"
        refused "copy:info$name" 1 "copy: .*another file|||$WORK/good" \
            "$OUT/bin/daxfuse-ctl" info copy
        refused "copy:stop$name" 1 "copy: .*another file|||$WORK/good" \
            "$OUT/bin/daxfuse-ctl" stop copy
        ln good good-link
        expect "copy:other-name$name" "$OUT/bin/daxfuse-ctl" info good-link
        rm good-link
        MOUNTED=
        expect "copy:stop-first$name" "$OUT/bin/daxfuse-ctl" stop "$MNT" || umount -l "$MNT"
    done
    truncate -s 15M copy
    refused stop:unserved 1 'copy: is not served' "$OUT/bin/daxfuse-ctl" stop copy
    rm -f copy
}

# The mount says which pool it is of, with its blanks and backslashes.
blanks() {
    cp good 'a b\040c'
    expect blanks:mount "$OUT/bin/daxfuse" 'a b\040c' "$MNT"
    expect blanks:info "$OUT/bin/daxfuse-ctl" info "$MNT"
    expect blanks:stop "$OUT/bin/daxfuse-ctl" stop "$MNT" || umount -l "$MNT"
    rm -f 'a b\040c'
}

# Who may not reach the server hears that, and not that a folder is no pool.
without_rights() {
    local nobody=(env -u XDG_RUNTIME_DIR setpriv --reuid=65534 --regid=65534 --clear-groups)
    chmod 711 "$WORK"
    install -m 755 "$OUT/bin/daxfuse-ctl" ctl
    mkdir -p runtime/daxfuse
    chmod 700 runtime
    expect rights:mount "$OUT/bin/daxfuse" -o allow_other good "$MNT"
    MOUNTED=1
    chmod 644 good
    refused rights:path 1 "$MNT: its server cannot be reached|||XDG_RUNTIME_DIR|||as the user who" \
        "${nobody[@]}" ./ctl info "$MNT"
    refused rights:pool 1 'good.*in use|||XDG_RUNTIME_DIR|||as the user who' \
        "${nobody[@]}" ./ctl info "$WORK/good"
    refused rights:socket 1 "cannot be reached at $WORK/runtime.*Permission denied|||as the user who" \
        "${nobody[@]}" env XDG_RUNTIME_DIR="$WORK/runtime" ./ctl stop good
    chmod 600 good
    refused rights:unreadable 1 'good: Permission denied|||as the user who.*or as root' \
        "${nobody[@]}" ./ctl info "$WORK/good"
    refused rights:path-unreadable 1 "$MNT: .*mount of $WORK/good.*Permission denied|||as the user who" \
        "${nobody[@]}" ./ctl info "$MNT"
    MOUNTED=
    expect rights:umount pool_umount good "$MNT" || umount -l "$MNT"
    rm -rf runtime ctl
}

# The numbers of processes are others in another namespace.
namespaces() {
    local said server
    unshare --pid --fork --kill-child "$OUT/bin/daxfuse" -f good "$MNT" 2>"$WORK/pid.log" &
    wait_mounted || { not_ok pid:mount "$(cat "$WORK/pid.log")"; return; }
    server=$(pool_servers good | tail -n 1)
    said=$(timeout 30 "$OUT/bin/daxfuse-ctl" stop --json good 2>&1)
    expect "pid:server-elsewhere" grep -qE "\"pid\": *$server\b" <<<"$said"
    pool_wait_ended good || umount -l "$MNT"
    expect pid:mount-again "$OUT/bin/daxfuse" good "$MNT"
    # The server has two seconds of patience with this one: who waits for its end waits as long.
    bad_peer flood "$(control_socket good)" 1 &&
        expect pid:ctl-elsewhere timeout 30 \
            unshare --pid --fork --kill-child "$OUT/bin/daxfuse-ctl" stop good
    said=$("$OUT/bin/daxfuse-ctl" info --json good 2>&1)
    expect pid:ended grep -qE '"served": *false' <<<"$said"
    bad_peer_end
    pool_wait_ended good || umount -l "$MNT"
}

# Clients that send and do not read: they keep neither others from asking nor the server from ending.
floods() {
    local socket server how tries
    socket=$(control_socket good)
    for how in '1' '3 0.2' '16'; do
        expect "flood:mount-${how// /-}" "$OUT/bin/daxfuse" good "$MNT" || return
        server=$(pool_servers good)
        # shellcheck disable=SC2086 # two words
        bad_peer flood "$socket" $how
        tries=200
        until "$OUT/bin/daxfuse-ctl" info good >&2 || [ "$tries" = 0 ]; do
            tries=$((tries - 1))
            sleep 0.1
        done
        expect "flood:others-${how// /-}" test "$tries" -gt 0
        if [ "$how" = 1 ]; then
            expect "flood:stop-${how// /-}" timeout 10 "$OUT/bin/daxfuse-ctl" stop good
        else
            expect "flood:umount-${how// /-}" umount "$MNT"
        fi
        expect "flood:ends-${how// /-}" pool_wait_ended good || kill -KILL "$server"
        bad_peer_end
        mountpoint -q "$MNT" && umount -l "$MNT"
    done
}

# daxfuse-ctl gets answers that no server of ours gives. It may fail, but with a sentence.
bad_answers() {
    local socket number=0 command said status what
    socket=$(control_socket good)
    echo '{}' >said
    bad_peer answer "$socket" "$WORK/good" "$WORK/said" || return
    while read -r command what; do
        number=$((number + 1))
        printf '{"%s": %s}\n' "$command" "$what" >said
        set -- good
        [ "$command" = grow ] && set -- good +1G
        [ "$command" = extents ] && set -- good:/file
        said=$(timeout 20 "$OUT/bin/daxfuse-ctl" "$command" "$@" 2>&1)
        status=$?
        printf '%s %s: %s: %s\n' "$command" "$what" "$status" "${said:0:500}" >&2
        if [ "$status" -gt 1 ]; then
            not_ok "answer:$number" "$command $what: status $status: ${said:0:200}"
        elif [ "$status" = 1 ] && ! grep -q '^daxfuse-ctl: good' <<<"$said"; then
            not_ok "answer:$number" "$command $what: it does not say what failed: ${said:0:200}"
        else
            ok "answer:$number"
        fi
    done <<'END'
info "no JSON"
info "[]"
info ""
info {"pool_device": "x"}
info {"pool_inode": null}
info {"error": null}
info {"error": {"a": [1]}}
info {"uuid": 5, "pool": {}, "label": [], "created_ns": 18446744073709551615, "needs_fsck": {}, "pid": -1}
info {"size": -5, "available": 1e300, "inodes": 0, "inodes_free": 9223372036854775807}
stat {}
stat {"space": 3, "journal": [], "persist": "x", "fs": null, "requests": [1]}
stat {"requests": 7}
stat {"requests": {"read": 1, "write": {"count": "x"}, "x": null}}
layout {}
layout {"size": 0, "cells": [], "areas": []}
layout {"size": 1, "cells": [], "areas": []}
layout {"size": 18446744073709551615, "cells": [], "areas": []}
layout {"size": 4096, "cells": {}, "areas": []}
layout {"size": 4096, "cells": [0], "areas": 1}
layout {"size": 4096, "cells": [18446744073709551615], "areas": [1, null, {}, {"name": 1, "offset": 18446744073709551615, "length": 18446744073709551615}]}
layout {"size": 4096, "cells": ["x"], "areas": [{"name": "logs", "offset": 0, "length": 18446744073709551615}]}
extents {}
extents {"extents": {"a": 1}}
extents {"extents": "x", "extent_count": -1}
extents {"extents": [1, null, {"offset": 18446744073709551615, "length": 18446744073709551615, "unwritten": {}}, []]}
mappings {}
mappings {"mappings": {"a": 1}, "mapping_count": "x"}
mappings {"mappings": [1, null, [], {"inode": -1, "offset": {}, "door": [2], "pinned": "x", "slot": 1e300}]}
grow {"size": {}}
grow {"size_before": -1, "size": 18446744073709551615}
END
    bad_peer_end
    rm -f "$socket" said
}

# What files understand beyond the calls of every filesystem, with values that are none.
ioctls() {
    expect ioctl:mount "$OUT/bin/daxfuse" good "$MNT" || return
    "$BUILD/test/badinput/ioctls" "$MNT" "$SEED"
    expect ioctl:lives touch "$MNT/alive"
    expect ioctl:umount pool_umount good "$MNT" || umount -l "$MNT"
    expect ioctl:fsck "$OUT/bin/fsck.daxfuse" -n good
}

# What daxfuse-ctl fallocate is told.
ranges() {
    local ctl=$OUT/bin/daxfuse-ctl file=$MNT/range
    expect range:mount "$OUT/bin/daxfuse" good "$MNT" || return
    MOUNTED=1
    seq -w 1 4000 >"$file"
    cp "$file" same
    mkfifo "$MNT/fifo"
    refused range:no-length 2 'fallocate: .*--length' "$ctl" fallocate --collapse "$file"
    refused range:two-modes 2 'one of --collapse' "$ctl" fallocate --collapse --insert -l 4K "$file"
    refused range:keep 2 'change the size' "$ctl" fallocate --insert --keep-size -l 4K "$file"
    refused range:another-command 2 'stat: only fallocate' "$ctl" stat --length 4K "$MNT"
    refused range:no-file 2 'name one' "$ctl" fallocate --collapse -l 4K
    refused range:length-word 1 'range: x is no length' "$ctl" fallocate --collapse -l x "$file"
    refused range:length-negative 1 'is no length' "$ctl" fallocate --collapse -l -4096 "$file"
    refused range:length-huge 1 'is no length' "$ctl" fallocate --collapse -l 9223372036854775808 "$file"
    refused range:offset-word 1 'is no offset' "$ctl" fallocate --collapse -o 1Q -l 4K "$file"
    refused range:length-0 1 'multiples of 4096' "$ctl" fallocate --collapse -l 0 "$file"
    refused range:length-0-punch 1 'above 0' "$ctl" fallocate --punch -l 0 "$file"
    refused range:unaligned 1 'multiples of 4096' "$ctl" fallocate --collapse -o 1 -l 4K "$file"
    refused range:to-end 1 'truncate' "$ctl" fallocate --collapse -o 4K -l 1M "$file"
    refused range:at-end 1 '--allocate' "$ctl" fallocate --insert -o 1M -l 4K "$file"
    refused range:too-large 1 'larger than a file' "$ctl" fallocate --insert -l 64P "$file"
    refused range:overflow 1 'larger than a file' \
        "$ctl" fallocate --insert -o 4K -l 9223372036854771712 "$file"
    refused range:folder 1 'not a regular file' "$ctl" fallocate --collapse -l 4K "$MNT"
    refused range:fifo 1 'not a regular file' "$ctl" fallocate --collapse -l 4K "$MNT/fifo"
    refused range:missing 1 'No such file' "$ctl" fallocate --collapse -l 4K "$MNT/missing"
    refused range:elsewhere 1 'not in a mount' "$ctl" fallocate --collapse -l 4K same
    refused range:pool 1 'not in a mount' "$ctl" fallocate --punch -l 4K good
    chattr +i "$file"
    refused range:immutable 1 'Operation not permitted' "$ctl" fallocate --collapse -l 4K "$file"
    chattr -i "$file"
    expect range:unchanged cmp same "$file"
    MOUNTED=
    expect range:umount pool_umount good "$MNT" || umount -l "$MNT"
    expect range:fsck "$OUT/bin/fsck.daxfuse" -n good
    rm -f same
}

# Names of 255 bytes are names, longer ones are not; the server has not suffered.
names() {
    local longest too_long
    longest=$(printf '%0255d' 7)
    too_long=0$longest
    expect names:mount "$OUT/bin/daxfuse" good "$MNT" || return
    MOUNTED=1
    expect names:255 touch "$MNT/$longest"
    refused names:256-create 1 'too long' touch "$MNT/$too_long"
    refused names:256-mkdir 1 'too long' mkdir "$MNT/$too_long"
    refused names:256-symlink 1 'too long' ln -s x "$MNT/$too_long"
    refused names:256-link 1 'too long' ln "$MNT/$longest" "$MNT/$too_long"
    refused names:256-lookup 1 'too long' stat "$MNT/$too_long"
    refused names:256-rename 1 'too long' mv -T "$MNT/$longest" "$MNT/$too_long"
    refused names:256-remove 1 'too long' rm "$MNT/$too_long"
    MOUNTED=
    expect names:255-still-there test -f "$MNT/$longest"
    expect names:umount pool_umount good "$MNT" || umount -l "$MNT"
    expect names:fsck "$OUT/bin/fsck.daxfuse" -n good
}

# with_host_full PMEM: a sparse pool of 64 MiB where there is room for 24.
with_host_full() {
    local label=full-$1
    mkdir -p host
    mount -t tmpfs -o size=24M tmpfs host || { not_ok "$label:tmpfs"; return; }
    host_full "$label" "$1"
    mountpoint -q "$MNT" && umount -l "$MNT"
    pool_wait_ended host/pool
    umount host || umount -l host
}

host_full() {
    local label=$1 pool=$WORK/host/pool sum server
    "$OUT/bin/mkfs.daxfuse" --sparse -s 64M "$pool" >&2 || { not_ok "$label:mkfs"; return; }
    "$OUT/bin/daxfuse" -f -o "pmem=$2" "$pool" "$MNT" 2>"$WORK/$label.log" &
    server=$!
    wait_mounted || { not_ok "$label:mount" "$(cat "$WORK/$label.log")"; return; }
    head -c 1M /dev/urandom >"$MNT/kept"
    sum=$(sha256sum <"$MNT/kept")
    MOUNTED=1
    refused "$label:write" 1 'No space left' dd if=/dev/zero of="$MNT/big" bs=1M count=60
    refused "$label:fallocate" 1 'No space left' fallocate -l 30M "$MNT/more"
    MOUNTED=
    if grep -qE "pool: sparse, .*no room.*make room" "$WORK/$label.log"; then
        ok "$label:said"
    else
        not_ok "$label:said" "the server's log does not tell why"
    fi
    expect "$label:reads" test "$sum" = "$(sha256sum <"$MNT/kept")"
    expect "$label:overwrites" dd if=/dev/zero of="$MNT/big" bs=1M count=4 conv=notrunc status=none
    expect "$label:removes" rm "$MNT/big"
    sync -f "$MNT"
    expect "$label:gives-back" fstrim "$MNT"
    expect "$label:room-again" test "$(df --output=avail -k host | tail -n 1)" -gt 16384
    expect "$label:writes-again" dd if=/dev/zero of="$MNT/again" bs=1M count=8 status=none
    expect "$label:umount" pool_umount "$pool" "$MNT"
    wait "$server"
    expect "$label:status" test $? = 0
    expect "$label:fsck" "$OUT/bin/fsck.daxfuse" -n "$pool"
    "$OUT/bin/daxfuse" -o "pmem=$2" "$pool" "$MNT" >&2
    expect "$label:kept" test "$sum" = "$(sha256sum <"$MNT/kept")"
    expect "$label:umount-again" pool_umount "$pool" "$MNT"
}

wait_mounted() {
    local tries=200
    until mountpoint -q "$MNT" && stat "$MNT/." >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.05
    done
}
