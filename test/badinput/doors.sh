# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Part of scripts/suites/badinput.sh, whose helpers and variables it uses: how the server comes to its
# mountpoint and leaves it, its options, closed descriptors, and what mkfs must not overwrite.

doors() {
    mkdir -p doors
    cd doors || return 1
    expect doors:mkfs "$OUT/bin/mkfs.daxfuse" -s 16M pool || { cd ..; return; }
    doors_descriptors
    doors_stop_spares detached
    doors_stop_spares hidden
    doors_stop_busy
    doors_names_of_mountpoints
    doors_dead_mounts
    doors_mkfs_files
    doors_mkfs_device
    doors_option_words
    doors_option_values
    doors_open_errors
    cd ..
}

# ---- closed descriptors -----------------------------------------------------------------------------

# closed REDIRECTIONS COMMAND...
closed() {
    local redirections=$1
    shift
    bash -c "exec timeout -k 5 20 \"\$@\" $redirections" closed "$@"
}

# The superblock as mkfs has written it, and nothing that was logged or printed.
doors_untouched() {
    if ! cmp -n 8 "$1" pool >&2; then
        not_ok "$2" 'the superblock is overwritten'
    elif grep -qaE 'daxfuse: |copy_in: |MiB' "$1"; then
        not_ok "$2" 'what was said is in the pool'
    else
        expect "$2" "$OUT/bin/fsck.daxfuse" -n "$1"
    fi
}

doors_descriptors() {
    local name redirections server
    while read -r name redirections; do
        cp pool victim
        expect "doors:closed-$name-start" closed "$redirections" "$OUT/bin/daxfuse" victim "$MNT"
        expect "doors:closed-$name-write" touch "$MNT/file"
        expect "doors:closed-$name-umount" pool_umount victim "$MNT" || umount -l "$MNT"
        doors_untouched victim "doors:closed-$name-background"

        cp pool victim
        closed "$redirections" "$OUT/bin/daxfuse" -f victim "$MNT" &
        server=$!
        expect "doors:closed-$name-mounted" wait_mounted
        umount "$MNT"
        wait "$server"
        doors_untouched victim "doors:closed-$name-foreground"
    done <<'END'
stderr 2>&-
all <&- >&- 2>&-
END
    # Line by line, as to a terminal: else most is printed after the pool is closed.
    closed '>&-' stdbuf -oL "$OUT/bin/mkfs.daxfuse" -s 16M made
    doors_untouched made doors:closed-mkfs
    cp pool victim
    closed '>&-' stdbuf -oL "$OUT/bin/fsck.daxfuse" -y victim
    doors_untouched victim doors:closed-fsck
    cp pool victim
    closed '>&-' stdbuf -oL "$OUT/bin/daxfuse-ctl" grow victim 32M
    doors_untouched victim doors:closed-ctl
    cp pool victim
    # It warns that the spare serves, and mends that.
    dd if=/dev/urandom of=victim bs=4096 count=1 conv=notrunc status=none
    closed '<&- 2>&-' "$BUILD/examples/copy_in" victim /dev/null name
    doors_untouched victim doors:closed-copy-in
    rm -f victim made
}

# ---- stopping ----------------------------------------------------------------------------------------

# doors_stop_spares detached|hidden: a server that ends leaves alone what somebody has mounted in place
# of its detached mount, or over it.
doors_stop_spares() {
    local name=doors:stop-$1 file
    expect "$name-mount" "$OUT/bin/daxfuse" pool "$MNT" || return
    exec {file}>"$MNT/kept-open"
    [ "$1" = hidden ] || umount -l "$MNT"
    mount -t tmpfs theirs "$MNT"
    touch "$MNT/theirs"
    expect "$name" timeout 30 "$OUT/bin/daxfuse-ctl" stop pool
    expect "$name-ended" pool_wait_ended pool
    expect "$name-theirs-stays" test -e "$MNT/theirs"
    exec {file}>&-
    umount "$MNT"
    mountpoint -q "$MNT" && umount -l "$MNT"
    expect "$name-fsck" "$OUT/bin/fsck.daxfuse" -n pool
}

# Whoever ends asks nothing of itself: it would wait for ever, as nothing is cached here.
doors_stop_busy() {
    local file
    expect doors:stop-busy-mount timeout -k 5 20 "$OUT/bin/daxfuse" -o timeout=0 pool "$MNT" || return
    exec {file}>"$MNT/kept-open"
    expect doors:stop-busy timeout 20 "$OUT/bin/daxfuse-ctl" stop pool
    expect doors:stop-busy-ended pool_wait_ended pool
    exec {file}>&-
    if mountpoint -q "$MNT"; then
        not_ok doors:stop-busy-unmounted
        umount -l "$MNT"
    else
        ok doors:stop-busy-unmounted
    fi
}

# ---- mountpoints -------------------------------------------------------------------------------------

# Their names are written differently in mountinfo.
doors_names_of_mountpoints() {
    local what folder
    expect doors:mkfs-second "$OUT/bin/mkfs.daxfuse" -s 16M second || return
    while read -r what folder; do
        folder=$(printf '%b' "$folder")
        mkdir "$folder"
        expect "doors:$what-mount" "$OUT/bin/daxfuse" pool "$folder"
        refused "doors:$what-busy" 32 'in use|||another folder' "$OUT/bin/daxfuse" second "$folder"
        expect "doors:$what-stop" timeout 30 "$OUT/bin/daxfuse-ctl" stop pool
        if mountpoint -q "$folder"; then
            not_ok "doors:$what-unmounted"
            umount -l "$folder"
            pool_wait_ended second
        else
            ok "doors:$what-unmounted"
        fi
    done <<'END'
blank a\0040blank
tab a\0011tab
backslash a\0134backslash
newline a\0012newline
END
}

# However it is named, the message says which mount is dead.
doors_dead_mounts() {
    local inside
    inside="$PWD/dead pool/folder"
    mkdir "dead pool"
    ln -s "dead pool" link
    expect doors:dead-mount "$OUT/bin/daxfuse" pool "dead pool" || return
    # shellcheck disable=SC2046 # one number
    kill -KILL $(pool_servers pool)
    pool_wait_ended pool
    refused doors:dead 32 'server.*gone|||\(umount /.*/dead pool\)' \
        "$OUT/bin/daxfuse" second "dead pool"
    refused doors:dead-slash 32 'server.*gone|||\(umount /.*/dead pool/?\)' \
        "$OUT/bin/daxfuse" second "$PWD/dead pool/"
    refused doors:dead-link 32 'server.*gone|||\(umount /.*/(dead pool|link)\)' \
        "$OUT/bin/daxfuse" second link
    refused doors:dead-inside 32 "$inside|||server.*gone|||\(umount /.*/dead pool\)" \
        "$OUT/bin/daxfuse" second "$inside"
    umount -l "dead pool"
    rm -rf second link
}

# ---- what mkfs overwrites -----------------------------------------------------------------------------

# byte_at FILE OFFSET: writes it; byte_is FILE OFFSET VALUE.
byte_at() {
    printf 'x' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

byte_is() {
    [ "$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')" = "$3" ]
}

doors_mkfs_files() {
    local at mkfs=$OUT/bin/mkfs.daxfuse
    for at in 4095 65536 20000000 33554431; do
        truncate -s 0 data
        truncate -s 32M data
        byte_at data "$at"
        refused "doors:mkfs-byte-$at" 1 "data|||byte $at |||--force" "$mkfs" data
        refused "doors:mkfs-byte-$at-smaller" 1 "byte $at |||--force" "$mkfs" -s 16M data
        expect "doors:mkfs-byte-$at-stays" byte_is data "$at" 120
    done
    truncate -s 0 data
    truncate -s 32M data
    byte_at data 25000000
    expect doors:mkfs-force "$mkfs" --force data
    expect doors:mkfs-force-zeroes byte_is data 25000000 0
    head -c 32M /dev/zero >zeros
    expect doors:mkfs-zeros "$mkfs" zeros
    rm -f zeros
    fallocate -l 32M zeros
    expect doors:mkfs-preallocated "$mkfs" zeros
    rm -f zeros
    truncate -s 4T huge
    byte_at huge 4398046511103
    refused doors:mkfs-huge-data 1 'byte 4398046511103 ' timeout 20 "$mkfs" --sparse -s 1T huge
    truncate -s 1T huge
    expect doors:mkfs-huge-hole timeout 20 "$mkfs" --sparse huge
    rm -f huge data
}

# Where btrfs, and RAID of the kernel, are known by.
doors_mkfs_device() {
    local device keep at
    truncate -s 32M disk
    if ! device=$(losetup -f --show disk 2>&1); then
        skip doors:mkfs-device "no loop device can be made: $device"
        return
    fi
    # It goes when the last descriptor does, also when this is killed.
    exec {keep}<"$device"
    losetup -d "$device"
    for at in 65600 1048575 33550336; do
        byte_at "$device" "$at"
        sync -d "$device"
        refused "doors:mkfs-device-$at" 1 "byte $at |||--force" "$OUT/bin/mkfs.daxfuse" "$device"
        expect "doors:mkfs-device-$at-stays" byte_is "$device" "$at" 120
        dd if=/dev/zero of="$device" bs=1 seek="$at" count=1 conv=notrunc status=none
    done
    expect doors:mkfs-device "$OUT/bin/mkfs.daxfuse" "$device"
    refused doors:mkfs-device-pool 1 'a daxfuse pool|||--force' "$OUT/bin/mkfs.daxfuse" "$device"
    exec {keep}<&-
    rm -f disk
}

# ---- options -----------------------------------------------------------------------------------------

doors_option_words() {
    local daxfuse=$OUT/bin/daxfuse
    refused doors:option-letter 1 'unknown option: -x$' "$daxfuse" -x pool "$MNT"
    refused doors:option-cluster 1 'unknown option: -x$' "$daxfuse" -xf pool "$MNT"
    refused doors:option-cluster-end 1 'unknown option: -x$' "$daxfuse" --foreground -xf pool "$MNT"
    refused doors:option-long 1 'unknown option: --sideways$' "$daxfuse" -f --sideways pool "$MNT"
    refused doors:option-value 1 '--foreground=1: takes no value' "$daxfuse" --foreground=1 pool "$MNT"
    refused doors:option-no-value 1 '-o needs a value' "$daxfuse" pool "$MNT" -fo
}

# Usage, manual and parser know the same options, and the same values of them.
doors_option_values() {
    local table ignored usage manual source word pattern wrong=''
    table='ro rw noatime atime allow_other pmem=auto pmem=force pmem=never durability=auto
        durability=power durability=process io_uring no_io_uring io_uring_q_depth=N max_threads=N
        log=error log=warn log=info log=debug debug dev nodev suid nosuid exec noexec sync async
        dirsync nodiratime symfollow nosymfollow timeout=SECONDS context= fscontext= defcontext= rootcontext='
    ignored='defaults auto noauto nofail _netdev user nouser users owner group relatime comment= x- X-
        default_permissions'
    usage=$("$OUT/bin/daxfuse" --help)
    manual=$(sed -n '/^# MOUNT OPTIONS/,/^# THE MOUNT LINE/s/[*\\]//gp' "$ROOT/man/daxfuse.8.scd" |
        sed -E 's/=_([A-Z]+)_/=\1/')
    source=$(sed -n '/^static int parse_valued/,/^static int parse_list/p' "$ROOT/src/tools/options.c")
    for word in $table $ignored; do
        pattern="(^|[ ,(])${word%%=*}"
        [[ $word != *=* ]] || pattern+="=([a-z]+\\|)*${word#*=}"
        pattern+='([] ,.:|)]|$)'
        grep -qE -- "$pattern" <<<"$manual" || wrong+=" manual:$word"
        [[ " ${ignored//$'\n'/ } " = *" $word "* ]] || grep -qE -- "$pattern" <<<"$usage" ||
            wrong+=" usage:$word"
        "$OUT/bin/daxfuse" -o "${word/%=[A-Z]*/=7}" --version >/dev/null 2>&1 || wrong+=" parser:$word"
    done
    # And nothing that these do not have.
    while IFS= read -r word; do
        grep -qwF -- "$word" <<<"$table $ignored" || wrong+=" only-parser:$word"
    done < <(grep -v '^#' <<<"$source" | grep -oE '"[A-Za-z_-]+=?"' | tr -d '"')
    if [ -z "$wrong" ]; then ok doors:option-values; else not_ok doors:option-values "$wrong"; fi
}

# ---- what is not damage --------------------------------------------------------------------------------

doors_open_errors() {
    local limit said status memory=0 bad='' size=$((256 << 20))
    mkdir -p read-only
    mount -t tmpfs -o size=32M theirs read-only
    cp pool read-only/pool
    mount -o remount,ro read-only
    refused doors:host-read-only 1 'Read-only file system|||-o ro' \
        "$OUT/bin/daxfuse" read-only/pool "$MNT"
    expect doors:host-read-only-ro "$OUT/bin/daxfuse" -o ro read-only/pool "$MNT"
    pool_umount read-only/pool "$MNT"
    umount read-only
    chmod 0444 pool
    refused doors:no-permission 1 'Permission denied|||read-only' \
        setpriv --bounding-set=-dac_override,-dac_read_search "$OUT/bin/daxfuse" pool "$MNT"
    chmod 0600 pool
    cp pool future
    "$POOLSUPER" future ro_compat 0x4000
    refused doors:ro-compat 2 '-o ro' "$OUT/bin/daxfuse" future "$MNT"
    rm -f future
    # Whatever the limit of memory (KiB) is that stops it.
    "$OUT/bin/mkfs.daxfuse" --sparse -s 256G large >&2
    for ((limit = size + (16 << 10); limit < size + (72 << 10); limit += 2 << 10)); do
        said=$(ulimit -v "$limit"; timeout 20 "$OUT/bin/daxfuse" large "$MNT" 2>&1)
        status=$?
        ! mountpoint -q "$MNT" || pool_umount large "$MNT"
        printf '%s: %s\n' "$status" "$said" >&2
        if grep -q fsck <<<"$said" || [ "$status" = 2 ]; then
            bad=$said
        elif [ "$status" = 1 ] && grep -q 'free memory' <<<"$said"; then
            memory=1
        fi
    done
    if [ -n "$bad" ]; then not_ok doors:no-memory "$bad"; else ok doors:no-memory; fi
    expect doors:no-memory-said test "$memory" = 1
    rm -f large
}
