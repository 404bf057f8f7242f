# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='the POSIX suite (test/fs) through a mount; and on ext4, which must pass it too'
SUITE_WHEN=always
SUITE_PACKAGES=(e2fsprogs)

URING=/sys/module/fuse/parameters/enable_uring

suite_run() {
    build_test >&2 || { not_ok build; return 1; }
    POSIX_SUITE=$BUILD/test/fs/posix_suite
    MNT=$WORK/mnt
    mkdir -p "$MNT"
    # Nested in another suite it is about our code under another build.
    [ -n "${DAXFUSE_KEEP_BUILD:-}" ] || {
        posix_can_fail
        posix_ext4
    }
    with_uring N posix_pool posix -o suid,dev
    [ -z "$FULL" ] || with_uring N posix_pool pmem -o suid,dev,pmem=force
    posix_uring
    handles_remount
    return 0
}

# posix_run LABEL DIR [ARGUMENTS...]: a line for each case. Its own last line says how many.
posix_run() {
    local label=$1 folder=$2 status
    shift 2
    timeout 600 "$POSIX_SUITE" "$folder" --verbose "$@" >"$WORK/posix.out"
    status=$?
    sed -nE -e "s|^ok (.*)|ok $label:\1|p" \
        -e "s|^FAIL ([^ ]+): (.*)|not ok $label:\1 \2|p" \
        -e "s|^SKIP ([^ ]+): (.*)|skip $label:\1 \2|p" "$WORK/posix.out"
    echo "$label: $(tail -n 1 "$WORK/posix.out")"
    [ "$status" -le 1 ] || not_ok "$label:suite" "ended with status $status"
}

# ramfs knows neither xattrs nor fallocate: a suite that passes there looks at nothing.
posix_can_fail() {
    local area
    mount -t ramfs ramfs "$MNT" || { not_ok suite:ramfs 'cannot be mounted'; return; }
    for area in xattr acl fallocate; do
        timeout 100 "$POSIX_SUITE" "$MNT" --filter "$area/*" >"$WORK/ramfs.out"
        if [ $? = 1 ] && grep -q "^FAIL $area/.*: expected .*, got EOPNOTSUPP" "$WORK/ramfs.out"; then
            ok "suite:can-fail-$area"
        else
            not_ok "suite:can-fail-$area" 'passes on ramfs, which has none of it'
        fi
    done
    umount "$MNT"
}

posix_ext4() {
    truncate -s 1G "$WORK/ext4.img"
    mkfs.ext4 -q -F -b 4096 "$WORK/ext4.img" >&2 || { not_ok ext4:mkfs 'see the log'; return; }
    # a container may have no loop devices: then the oracle is left out, and said so
    if mount -o loop "$WORK/ext4.img" "$MNT"; then
        posix_run ext4 "$MNT"
        umount "$MNT"
    else
        skip ext4:loop 'no loop device can be had'
    fi
    rm -f "$WORK/ext4.img"
}

# posix_pool LABEL [OPTIONS...]: a new pool, mounted with these; clean after it all.
posix_pool() {
    local label=$1 pool=$WORK/$1.pool
    shift
    "$OUT/bin/mkfs.daxfuse" -s 512M "$pool" >&2 || { not_ok "$label:mkfs"; return; }
    if pool_mount "$pool" "$MNT" "$@" >&2; then
        posix_run "$label" "$MNT"
        expect "$label:umount" pool_umount "$pool" "$MNT" || umount -l "$MNT"
        expect "$label:fsck" "$OUT/bin/fsck.daxfuse" -n "$pool"
    else
        not_ok "$label:mount" "status $?"
    fi
    rm -f "$pool"
}

# File handles are good after a remount, a clean one and one after a kill.
handles_remount() {
    local pool=$WORK/handles.pool end
    "$OUT/bin/mkfs.daxfuse" -s 64M "$pool" >&2 || { not_ok handles:mkfs; return; }
    for end in umount kill; do
        if ! pool_mount "$pool" "$MNT" >&2; then
            not_ok "handles:mount-$end" "status $?"
            return
        fi
        mkdir "$MNT/$end"
        expect "handles:save-$end" "$BUILD/test/fs/posix_handles" save "$MNT/$end" "$WORK/handles"
        if [ "$end" = kill ]; then
            sync -f "$MNT"
            # shellcheck disable=SC2046 # one number
            kill -KILL $(pool_servers "$pool")
            umount "$MNT"
            pool_wait_ended "$pool"
        else
            expect "handles:$end" pool_umount "$pool" "$MNT"
        fi
        pool_mount "$pool" "$MNT" >&2
        expect "handles:after-$end" "$BUILD/test/fs/posix_handles" check "$MNT/$end" "$WORK/handles"
        expect "handles:umount-again-$end" pool_umount "$pool" "$MNT" || umount -l "$MNT"
    done
    rm -f "$pool"
}

# with_uring Y|N COMMAND...: in a subshell, so that the setting is put back however it ends.
with_uring() (
    value=$1
    shift
    if [ -w "$URING" ]; then
        before=$(cat "$URING")
        # shellcheck disable=SC2064 # as it is now
        trap "echo $before >$URING" EXIT
        trap 'exit 130' INT TERM HUP
        echo "$value" >"$URING"
    fi
    "$@"
)

posix_uring() {
    if [ -w "$URING" ]; then
        with_uring Y posix_pool uring -o suid,dev
        [ -z "$FULL" ] || with_uring Y posix_pool uring-pmem -o suid,dev,pmem=force
    else
        skip uring:transport 'this kernel has no io_uring transport for FUSE'
    fi
}
