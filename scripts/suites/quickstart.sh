# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT="quickstart in others' folders, after a kill, for another user; builds side by side"
SUITE_WHEN=always
SUITE_PACKAGES=()

NOBODY=65534

suite_run() {
    chmod 755 "$WORK"
    scripts_copy || { not_ok copy 'see the log'; return 1; }
    # Small, so that the pool is: it gets a quarter of it.
    mkdir "$WORK/room" && mount -t tmpfs -o size=128M,mode=755 room "$WORK/room" || return 1
    mkdir -m 1777 "$WORK/room/sticky"
    foreign_folders
    killed_server
    leaves_what_was_there
    other_user
    no_root
    builds_side_by_side
    return 0
}

# Where somebody who is not root can read them; what is installed is not built again.
scripts_copy() {
    mkdir -p "$WORK/tree/scripts" && cp -r "$ROOT/scripts/quickstart" "$ROOT/scripts/lib" \
        "$WORK/tree/scripts/" && cp -r "$OUT" "$WORK/out" &&
        printf '#!/bin/sh\n' >"$WORK/tree/scripts/build" &&
        chmod -R a+rX "$WORK/tree" "$WORK/out" &&
        chmod 755 "$WORK/tree/scripts/build"
}

quickstart() {
    OUT=$WORK/out "$WORK/tree/scripts/quickstart" "$@" >"$WORK/said" 2>&1
    local status=$?
    cat "$WORK/said" >&2
    return $status
}

# as_nobody COMMAND...: as after su, without XDG_RUNTIME_DIR.
as_nobody() {
    env -i PATH="$PATH" HOME=/nonexistent OUT="$WORK/out" \
        setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups --inh-caps=-all "$@"
}

# refuses NAME ARGUMENTS...: it fails and says that another place is needed.
refuses() {
    local name=$1
    shift
    if quickstart "$@"; then
        not_ok "$name" 'was accepted'
        quickstart --stop "${@/--stop/}" # nothing is to be left mounted
    elif ! grep -q -e '--dir' -e 'symbolic link' "$WORK/said"; then
        not_ok "$name" "says: $(tail -n 1 "$WORK/said")"
    else
        ok "$name"
    fi
}

# What somebody else put where everybody can make files.
foreign_folders() {
    local sticky=$WORK/room/sticky
    : >"$WORK/victim"
    as_nobody mkdir -p "$sticky/bait/mnt" "$sticky/empty"
    echo "socket $WORK/victim" | as_nobody tee "$sticky/bait/.quickstart" >/dev/null
    refuses foreign:stop --stop --dir "$sticky/bait"
    expect foreign:kept test -e "$WORK/victim"
    refuses foreign:start --dir "$sticky/bait"
    refuses foreign:empty --dir "$sticky/empty"
    mkdir "$WORK/room/mine"
    as_nobody ln -s "$WORK/room/mine" "$sticky/link"
    refuses foreign:link --dir "$sticky/link"
    mkdir -m 777 "$WORK/room/open"
    refuses foreign:writable --dir "$WORK/room/open"
    rm -rf "${sticky:?}"/* "$WORK/room/mine" "$WORK/room/open"
}

killed_server() {
    local folder=$WORK/room/killed
    expect killed:start quickstart --dir "$folder" || return
    # shellcheck disable=SC2046 # one number
    kill -KILL $(pool_servers "$folder/pool.dax")
    pool_wait_ended "$folder/pool.dax"
    expect killed:again quickstart --dir "$folder"
    expect killed:works grep -q 'hello, pool' "$folder/mnt/hello"
    expect killed:twice quickstart --dir "$folder"
    # shellcheck disable=SC2046
    kill -KILL $(pool_servers "$folder/pool.dax")
    expect killed:stop quickstart --stop --dir "$folder"
    gone killed:gone "$folder"
}

# gone NAME FOLDER: it, its mount and its server.
gone() {
    if [ ! -e "$2" ] && ! grep -qF "$2" /proc/self/mountinfo &&
        [ -z "$(pool_servers "$2/pool.dax")" ]; then
        ok "$1"
    else
        not_ok "$1" "left: $(find "$2" 2>&1 | tr '\n' ' ')"
    fi
}

leaves_what_was_there() {
    local folder=$WORK/room/there
    mkdir "$folder"
    expect there:start quickstart --dir "$folder" &&
        expect there:stop quickstart --stop --dir "$folder"
    if [ -d "$folder" ] && [ -z "$(ls -A "$folder")" ]; then
        ok there:kept
    else
        not_ok there:kept "the folder is not as it was: $(ls -A "$folder" 2>&1)"
    fi
    expect there:deep quickstart --dir "$folder/a/b" && quickstart --stop --dir "$folder/a/b"
    gone there:deep-gone "$folder/a"
    expect there:not-more test -d "$folder"
    rm -rf "$folder"
}

# A machine's /dev/fuse is everybody's; where it is not, here it is, in our mount namespace.
fuse_for_everybody() {
    as_nobody test -w /dev/fuse && return
    mkdir "$WORK/devices" && mount -t tmpfs devices "$WORK/devices" &&
        mknod -m 666 "$WORK/devices/fuse" c 10 229 && mount --bind "$WORK/devices/fuse" /dev/fuse
}

other_user() {
    local folder=$WORK/room/theirs/q quickstart=$WORK/tree/scripts/quickstart
    fuse_for_everybody || { not_ok user:device; return; }
    install -d -o $NOBODY -g $NOBODY "$WORK/room/theirs"
    expect user:start as_nobody "$quickstart" --dir "$folder" || return
    if as_nobody env XDG_RUNTIME_DIR="$folder/run" \
        "$WORK/out/bin/daxfuse-ctl" stat "$folder/pool.dax" >&2 &&
        [ -n "$(find "$folder/run" -name '*.sock')" ]; then
        ok user:socket
    else
        not_ok user:socket 'no server answers'
    fi
    expect user:stop as_nobody "$quickstart" --stop --dir "$folder"
    gone user:gone "$folder"
}

# Without root and without sudo: what is missing, and what root would have to do, is said.
no_root() {
    local said
    # shellcheck disable=SC2016 # for the inner shell
    if said=$(as_nobody bash -c '. "$1/common.sh"; . "$1/packages.sh"; packages_install "$2"' - \
        "$WORK/tree/scripts/lib" daxfuse-no-such-package 2>&1); then
        not_ok packages:no-root 'is content'
    elif grep -q 'apt-get install.* daxfuse-no-such-package' <<<"$said"; then
        ok packages:no-root
    else
        not_ok packages:no-root "says: $said"
    fi
}

# Two that want the same build directory: one sets it up, both find it built. With other libraries
# to compile the tests with, it is set up anew.
builds_side_by_side() {
    local stubs=$WORK/stubs
    mkdir "$stubs"
    cat >"$stubs/meson" <<'END'
#!/bin/bash
[ "$1" = setup ] || exit 0
for dir; do [ "${dir##*/}" != build-stub ] || break; done
echo setup >>"$dir/../setups"
mkdir "$dir/busy" && sleep 0.5 && rmdir "$dir/busy" && : >"$dir/build.ninja"
END
    printf '#!/bin/sh\ntest -e build-stub/build.ninja\n' >"$stubs/ninja"
    chmod 755 "$stubs"/*
    build_stub &
    if build_stub && wait $! && [ "$(wc -l <"$WORK/setups")" = 1 ]; then
        ok build:side-by-side
    else
        not_ok build:side-by-side "set up $(wc -l <"$WORK/setups") times, or failed"
    fi
    TEST_PACKAGES+=(libanother-dev)
    build_stub
    expect build:libraries test "$(wc -l <"$WORK/setups")" = 2
}

build_stub() (
    PATH=$WORK/stubs:$PATH
    cd "$WORK" && build_directory "$WORK/build-stub" -Dtests=true
)
