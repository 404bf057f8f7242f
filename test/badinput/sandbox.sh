# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Part of scripts/suites/badinput.sh, whose helpers and variables it uses: what a server with sockets for
# guests works in, what it still can do there, and what is said when it cannot be had.

sandbox() {
    mkdir -p sandbox
    cd sandbox || return 1
    expect sandbox:mkfs "$OUT/bin/mkfs.daxfuse" -s 64M pool || { cd ..; return; }
    sandbox_options
    sandbox_serves namespace-kill namespace kill
    sandbox_serves namespace-log namespace log
    sandbox_serves chroot-kill chroot kill
    sandbox_serves none-kill none kill
    sandbox_serves namespace-none namespace none
    sandbox_default
    sandbox_pool_given
    sandbox_mounted
    sandbox_impossible
    sandbox_half
    sandbox_of_user 65534
    sandbox_of_user 4711
    expect sandbox:fsck "$OUT/bin/fsck.daxfuse" -n pool
    cd ..
}

sandbox_options() {
    local daxfuse=$OUT/bin/daxfuse
    refused sandbox:word 1 'must be one of: namespace, chroot, none' \
        "$daxfuse" --sandbox jail pool --vhost-user sock
    refused sandbox:seccomp-word 1 'must be one of: kill, log, none' \
        "$daxfuse" --seccomp allow pool --vhost-user sock
    refused sandbox:empty-word 1 'must be one of' "$daxfuse" --sandbox= pool --vhost-user sock
    refused sandbox:auto 1 'must be one of' "$daxfuse" --sandbox auto pool --vhost-user sock
    refused sandbox:no-value 1 'needs a value' "$daxfuse" pool --seccomp
    refused sandbox:mount-alone 1 'sandbox.*--vhost-user' "$daxfuse" --sandbox namespace pool "$MNT"
    refused sandbox:seccomp-mount-alone 1 'seccomp.*--vhost-user' \
        "$daxfuse" --seccomp kill pool "$MNT"
}

# The server's process, and its keeper's.
sandbox_server() {
    pool_servers pool | while read -r pid; do
        [ "$(cat "/proc/$pid/comm")" = daxfuse-keeper ] || echo "$pid"
    done
}

sandbox_keeper() {
    pool_servers pool | while read -r pid; do
        [ "$(cat "/proc/$pid/comm")" != daxfuse-keeper ] || echo "$pid"
    done
}

# sandbox_threads NAME SECCOMP: each thread of the server is in it.
sandbox_threads() {
    local name=$1 seccomp=2 pid task wrong=''
    [ "$2" != none ] || seccomp=0
    pid=$(sandbox_server)
    for task in /proc/"$pid"/task/*/status; do
        grep -qx "NoNewPrivs:.1" "$task" && grep -qx "Seccomp:.$seccomp" "$task" &&
            grep -qx 'CapEff:.0*' "$task" && grep -qx 'CapPrm:.0*' "$task" ||
            wrong=$(cat "$task")
    done
    if [ -n "$pid" ] && [ -z "$wrong" ]; then ok "$name"; else not_ok "$name" "${wrong//$'\n'/ }"; fi
}

# sandbox_root NAME MODE: nothing is there, and nobody to talk to.
sandbox_root() {
    local name=$1 mode=$2 pid
    pid=$(sandbox_server)
    [ "$mode" != none ] || return 0
    expect "$name-root" test -z "$(ls -A "/proc/$pid/root")"
    [ "$mode" != chroot ] || return 0
    expect "$name-mounts" test "$(readlink "/proc/$pid/ns/mnt")" != "$(readlink /proc/self/ns/mnt)"
    expect "$name-net" test "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)"
    expect "$name-ipc" test "$(readlink "/proc/$pid/ns/ipc")" != "$(readlink /proc/self/ns/ipc)"
    expect "$name-no-mounts" test "$(wc -l <"/proc/$pid/mounts")" = 1
}

sandbox_start() {
    timeout 20 "$OUT/bin/daxfuse" "$@" --vhost-user sock,tag=front,window=64M
}

sandbox_stop() {
    timeout 20 "$OUT/bin/daxfuse-ctl" stop pool && pool_wait_ended pool
}

# Of a guest that has left the pages that it mapped are its own until the last of them is gone.
sandbox_guests() {
    local name=$1
    expect "$name-guest" timeout 30 "$BUILD/test/badinput/sandbox_guest" sock "$name-a"
    expect "$name-next-guest" timeout 30 "$BUILD/test/badinput/sandbox_guest" sock "$name-b"
}

# sandbox_serves NAME MODE SECCOMP: two guests, one after the other; the control socket; the end.
sandbox_serves() {
    local name=sandbox:$1 mode=$2 seccomp=$3 size
    expect "$name-start" sandbox_start --sandbox "$mode" --seccomp "$seccomp" pool || return
    sandbox_threads "$name-threads" "$seccomp"
    sandbox_root "$name" "$mode"
    sandbox_guests "$name"
    sandbox_threads "$name-threads-later" "$seccomp"
    expect "$name-stat" timeout 10 "$OUT/bin/daxfuse-ctl" stat --json pool
    size=$(stat -c %s pool)
    expect "$name-grow" "$OUT/bin/daxfuse-ctl" grow pool $((size + (4 << 20)))
    expect "$name-stop" sandbox_stop
    expect "$name-socket-gone" test ! -e sock
    expect "$name-fsck" "$OUT/bin/fsck.daxfuse" -n pool
    # By a signal; and then nothing is in a next server's way.
    expect "$name-again" sandbox_start --sandbox "$mode" --seccomp "$seccomp" pool || return
    kill -TERM "$(sandbox_server)"
    expect "$name-sigterm" pool_wait_ended pool
    expect "$name-socket-gone-again" test ! -e sock
}

# As root with nothing said it is the narrowest; and a keeper that is killed takes nothing with it but
# what only it can do.
sandbox_default() {
    local file
    expect sandbox:default-start sandbox_start pool || return
    sandbox_threads sandbox:default kill
    sandbox_root sandbox:default namespace
    # All descriptors that it may have, as VMMs send some.
    expect sandbox:descriptors grep -qE '^Max open files +([0-9]+|unlimited) +\1 ' \
        "/proc/$(sandbox_server)/limits"
    kill -KILL "$(sandbox_keeper)"
    expect sandbox:no-keeper-stat timeout 10 "$OUT/bin/daxfuse-ctl" stat pool
    expect sandbox:no-keeper-stop sandbox_stop
    expect sandbox:after-no-keeper sandbox_start pool || return
    # The server is killed: the keeper goes, and the next one takes the socket over.
    kill -KILL "$(sandbox_server)"
    expect sandbox:killed-ended pool_wait_ended pool
    expect sandbox:after-kill sandbox_start pool || return
    expect sandbox:after-kill-stop sandbox_stop
    # Switched off it is off.
    expect sandbox:none-start sandbox_start --sandbox none --seccomp none pool || return
    expect sandbox:none-no-keeper test -z "$(sandbox_keeper)"
    expect sandbox:none grep -q 'NoNewPrivs:.0' "/proc/$(sandbox_server)/status"
    expect sandbox:none-stop sandbox_stop
}

# The keeper has the pool for VMMs, and where none is given it, not at all.
sandbox_pool_given() {
    local name keeper
    for name in window no-window read-only; do
        case $name in
        window) set -- pool --vhost-user sock,window=64M ;;
        no-window) set -- pool --vhost-user sock,window=0 ;;
        read-only) set -- -o ro pool --vhost-user sock,window=64M ;;
        esac
        expect "sandbox:given-$name-start" timeout 20 "$OUT/bin/daxfuse" "$@" || continue
        keeper=$(sandbox_keeper)
        expect "sandbox:given-$name-keeper" test -e "/proc/$keeper/fd"
        if [ $name = window ]; then
            expect "sandbox:given-$name" keeper_has_pool "$keeper"
        else
            expect "sandbox:given-$name" keeper_has_no_pool "$keeper"
        fi
        expect "sandbox:given-$name-stop" sandbox_stop
    done
}

keeper_has_pool() {
    local file
    for file in "/proc/$1/fd"/*; do
        [ ! "$file" -ef pool ] || return 0
    done
    return 1
}

keeper_has_no_pool() {
    ! keeper_has_pool "$1"
}

# The keeper unmounts.
sandbox_mounted() {
    local file
    expect sandbox:mounted-start sandbox_start pool "$MNT" || return
    sandbox_threads sandbox:mounted kill
    sandbox_root sandbox:mounted namespace
    sandbox_guests sandbox:mounted
    expect sandbox:mounted-sees test "$(head -c 10 "$MNT/sandbox:mounted-a")" = storeagain
    expect sandbox:mounted-writes cp "$OUT/bin/daxfuse" "$MNT/copy"
    sandbox_groups
    expect sandbox:mounted-stop sandbox_stop
    expect sandbox:mounted-gone mountpoint_is_free

    expect sandbox:busy-start sandbox_start pool "$MNT" || return
    exec {file}>"$MNT/kept-open"
    expect sandbox:busy-stop sandbox_stop
    exec {file}>&-
    expect sandbox:busy-gone mountpoint_is_free

    expect sandbox:umount-start sandbox_start pool "$MNT" || return
    expect sandbox:umount umount "$MNT"
    sandbox_guests sandbox:umount
    expect sandbox:umount-stop sandbox_stop

    expect sandbox:hidden-start sandbox_start pool "$MNT" || return
    umount -l "$MNT"
    mount -t tmpfs theirs "$MNT"
    expect sandbox:hidden-stop sandbox_stop
    expect sandbox:hidden-stays mountpoint -q "$MNT"
    umount "$MNT"
    for file in no-keeper stop umount detach; do
        sandbox_stays $file
    done
}

# sandbox_stays no-keeper|stop|umount|detach: without a keeper nobody can unmount, and that is told; else nothing is.
sandbox_stays() {
    local name=sandbox:stays-$1 told=0
    "$OUT/bin/daxfuse" -f pool "$MNT" --vhost-user sock,window=64M 2>stays.log &
    # The mount's line is the last one of the start.
    if ! timeout 20 sh -c 'until grep -q "socket for guests" stays.log; do sleep 0.05; done'; then
        not_ok "$name-start" "$(cat stays.log)"
        return
    fi
    case $1 in
    no-keeper) told=1; kill -KILL "$(sandbox_keeper)" ;;
    umount) umount "$MNT" ;;
    detach) umount -l "$MNT" ;;
    esac
    kill -TERM "$(sandbox_server)"
    expect "$name-ended" pool_wait_ended pool
    expect "$name-told" test "$(grep -c 'warning: .*could not be unmounted: .*umount' stays.log)" = $told
    [ $told = 0 ] || umount -l "$MNT"
}

# Who is in a file's group only by a supplementary one keeps its set-group-ID bit: the server must know the
# groups of who asks.
sandbox_groups() {
    local group
    for group in 4711 4712; do
        touch "$MNT/set-group"
        chown 65534:4711 "$MNT/set-group"
        chmod 2775 "$MNT/set-group"
        python3 - "$MNT/set-group" $group <<'END' >&2
import os, struct, sys
os.setgroups([int(sys.argv[2])])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
entries = [(1, 7, -1), (2, 4, 1), (4, 7, -1), (16, 7, -1), (32, 5, -1)]
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *e) for e in entries)
os.setxattr(sys.argv[1], "system.posix_acl_access", acl)
END
        if [ $group = 4711 ]; then
            expect sandbox:group-kept test -g "$MNT/set-group"
        else
            expect sandbox:group-cleared test ! -g "$MNT/set-group"
        fi
    done
}

mountpoint_is_free() {
    ! mountpoint -q "$MNT" && ls "$MNT" >/dev/null
}

# Asked for and not to be had: nothing is served. Not asked for: it says so, and serves.
sandbox_impossible() {
    local weak='--bounding-set=-sys_admin,-sys_chroot --inh-caps=-sys_admin,-sys_chroot' said
    local inside='echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv "$@"'
    # shellcheck disable=SC2086
    refused sandbox:no-namespace 1 'no sandbox.*namespaces|||--sandbox' \
        unshare -Ur sh -c "$inside" sh $weak "$OUT/bin/daxfuse" --sandbox namespace pool \
        --vhost-user sock
    # shellcheck disable=SC2086
    refused sandbox:no-chroot 1 'no sandbox|||--sandbox' \
        unshare -Ur sh -c "$inside" sh $weak "$OUT/bin/daxfuse" --sandbox chroot pool \
        --vhost-user sock
    expect sandbox:nothing-left test ! -e sock
    # shellcheck disable=SC2086
    said=$(unshare -Ur sh -c "$inside" sh $weak "$OUT/bin/daxfuse" pool --vhost-user sock 2>&1)
    expect sandbox:warns grep -q 'warning: --sandbox namespace' <<<"$said"
    sandbox_threads sandbox:warned kill
    expect sandbox:warned-stop sandbox_stop
}

# Namespaces can be had, but no root in them, which is no mount where it starts: half of a sandbox, and nothing
# is served.
sandbox_half() {
    # shellcheck disable=SC2016
    local inside='for folder in usr bin lib lib64 proc dev; do
        [ -d /$folder ] || continue
        mkdir -p jail/$folder && mount --rbind /$folder jail/$folder || exit 9
    done
    exec chroot jail /daxfuse /pool --vhost-user /sock'
    mkdir -p jail
    cp --sparse=always pool jail
    cp -L "$OUT/bin/daxfuse" jail
    refused sandbox:half 1 'no sandbox: an empty root cannot be mounted|||--sandbox' \
        unshare -m sh -c "$inside"
    rm -rf --one-file-system jail
}

# sandbox_of_user NUMBER: somebody else than root has namespaces by one of users. There all others have one number,
# which is his own if he is nobody.
sandbox_of_user() {
    local id=$1 name=sandbox:user-$1 folder=$PWD/user
    local user=(setpriv --reuid="$id" --regid="$id" --clear-groups)
    mkdir -p user
    cp --sparse=always pool user/pool
    chown -R "$id:$id" user
    if ! "${user[@]}" test -x "$OUT/bin/daxfuse" -a -w user/pool; then
        skip "$name" 'users may not come here'
    elif ! "${user[@]}" unshare -Un true; then
        skip "$name" 'the kernel has no user namespaces for users'
    else
        (
            cd user || exit
            export XDG_RUNTIME_DIR=$folder
            expect "$name-start" "${user[@]}" "$OUT/bin/daxfuse" --sandbox namespace \
                --seccomp kill pool --vhost-user sock,tag=front,window=64M || exit
            sandbox_threads "$name" kill
            sandbox_root "$name" namespace
            sandbox_who_asks "$name" "$id"
            chmod 666 sock
            sandbox_guests "$name"
            kill -KILL "$(sandbox_keeper)"
            expect "$name-stop" "${user[@]}" "$OUT/bin/daxfuse-ctl" stop pool
            expect "$name-ended" pool_wait_ended pool
            expect "$name-fsck" "$OUT/bin/fsck.daxfuse" -n pool
        )
    fi
    rm -rf user
}

# sandbox_who_asks NAME USER: root and the server's user are answered, and nobody else who comes as far as the
# control socket.
sandbox_who_asks() {
    local who
    local sockets=(daxfuse/*.sock)
    chmod 711 . daxfuse
    chmod 666 "${sockets[0]}"
    for who in 0 "$2"; do
        expect "$1-asked-by-$who" control_answers "${sockets[0]}" "$who" '"pool": *"'
    done
    for who in 65534 4711 4712; do
        [ "$who" = "$2" ] ||
            expect "$1-asked-by-$who" control_answers "${sockets[0]}" "$who" 'only root and the user'
    done
    chmod 600 "${sockets[0]}"
    chmod 700 daxfuse
}

# control_answers SOCKET USER PATTERN
control_answers() {
    local said
    said=$(timeout 10 "$ROOT/test/badinput/control.py" ask "$1" "$2")
    grep -qE "$3" <<<"$said" || { echo "$said"; return 1; }
}
