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
    shift_commands
    example_walk
    return 0
}

# posix_run LABEL DIR [ARGUMENTS...]: a line for each case. Its own last line says how many.
posix_run() {
    local label=$1 folder=$2 by=(preloaded) status
    shift 2
    [ "$label" != ext4 ] || by=()
    "${by[@]}" timeout 600 "$POSIX_SUITE" "$folder" --verbose "$@" >"$WORK/posix.out"
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

# The commands of others under the preloaded library, and ours, by root and by who has only the file.
shift_commands() {
    local pool=$WORK/shift.pool ctl=$OUT/bin/daxfuse-ctl file=$MNT/file
    local nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    "$OUT/bin/mkfs.daxfuse" -s 64M "$pool" >&2 || { not_ok shift:mkfs; return; }
    pool_mount "$pool" "$MNT" -o allow_other >&2 || { not_ok shift:mount "status $?"; return; }
    seq -w 1 20000 >"$WORK/lines"
    cp "$WORK/lines" "$file"
    cat "$file" >/dev/null
    expect shift:collapse preloaded fallocate -c -o 4096 -l 8192 "$file"
    { head -c 4096 "$WORK/lines"; tail -c +12289 "$WORK/lines"; } >"$WORK/wanted"
    expect shift:collapsed cmp "$WORK/wanted" "$file"
    expect shift:insert preloaded fallocate -i -o 4096 -l 8192 "$file"
    { head -c 4096 "$WORK/lines"; head -c 8192 /dev/zero; tail -c +12289 "$WORK/lines"; } >"$WORK/wanted"
    expect shift:inserted cmp "$WORK/wanted" "$file"
    if preloaded fallocate -c -o 4096 -l 1M "$file"; then not_ok shift:past-end; else ok shift:past-end; fi
    if preloaded fallocate -c -o 4096 -l 100 "$file"; then not_ok shift:unaligned; else ok shift:unaligned; fi
    # Files elsewhere go on as they did.
    cp "$WORK/lines" "$WORK/elsewhere"
    expect shift:elsewhere preloaded fallocate -p -o 0 -l 4096 "$WORK/elsewhere"

    expect shift:ctl-collapse "$ctl" fallocate --collapse --offset 4K --length 8K "$file"
    { head -c 4096 "$WORK/lines"; tail -c +12289 "$WORK/lines"; } >"$WORK/wanted"
    expect shift:ctl-collapsed cmp "$WORK/wanted" "$file"
    expect shift:ctl-insert "$ctl" fallocate --insert --offset 4K --length 8K "$file"
    expect shift:ctl-extents grep -qE '^ +4096 +hole +8192$' <("$ctl" extents "$file")
    expect shift:ctl-zero "$ctl" fallocate --zero --offset 0 --length 4K "$file"
    expect shift:ctl-punch "$ctl" fallocate --punch --offset 12K --length 8K "$file"
    { head -c 20480 /dev/zero; tail -c +20481 "$WORK/lines"; } >"$WORK/wanted"
    expect shift:ctl-zeroed cmp "$WORK/wanted" "$file"
    expect shift:ctl-keep "$ctl" fallocate --allocate --keep-size --length 8M "$file"
    expect shift:ctl-kept cmp "$WORK/wanted" "$file"
    expect shift:ctl-allocated grep -q '  unwritten  piece$' <("$ctl" extents "$file")
    expect shift:ctl-mappings grep -q ' 0 chunks' <("$ctl" mappings "$file")

    chmod 711 "$WORK"
    chown 65534 "$file"
    install -m 755 "$ctl" "$MNT/ctl"
    expect shift:owner "${nobody[@]}" "$MNT/ctl" fallocate --collapse --length 4K "$file"
    expect shift:owner-extents "${nobody[@]}" "$MNT/ctl" extents "$file"
    chown 0 "$file"
    if "${nobody[@]}" "$MNT/ctl" fallocate --collapse --length 4K "$file"; then
        not_ok shift:others
    else
        ok shift:others
    fi
    expect shift:umount pool_umount "$pool" "$MNT" || umount -l "$MNT"
    expect shift:fsck "$OUT/bin/fsck.daxfuse" -n "$pool"
    rm -f "$pool"
}

# The walk through collapse and insert says what is so, and leaves nothing behind.
example_walk() {
    local out=$WORK/walk.out
    mkdir "$WORK/walk"
    # As in `preloaded`.
    if TMPDIR=$WORK/walk ASAN_OPTIONS="${ASAN_OPTIONS:-}${ASAN_OPTIONS:+:}verify_asan_link_order=0" \
        "$ROOT/examples/collapse-insert.sh" >"$out" 2>&1; then
        ok walk:runs
    else
        not_ok walk:runs "status $?"
    fi
    cat "$out" >&2
    expect walk:inserted grep -q 'now: AB\.\.CDEF$' "$out"
    expect walk:hole grep -qE '^ +8192 +hole +8192$' "$out"
    expect walk:refused grep -qi 'operation not supported' "$out"
    expect walk:collapsed grep -q 'now: ADEF$' "$out"
    expect walk:header grep -q 'now: HADEF$' "$out"
    if [ -z "$(ls -A "$WORK/walk")" ] && ! grep -qF "$WORK/walk" /proc/self/mountinfo; then
        ok walk:nothing-left
    else
        not_ok walk:nothing-left "$(ls -A "$WORK/walk")"
    fi
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
