# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='random programs against a model in memory, and through a mount against ext4; costs'
SUITE_WHEN=always
SUITE_PACKAGES=(e2fsprogs)

URING=/sys/module/fuse/parameters/enable_uring

suite_run() {
    local nested=${DAXFUSE_KEEP_BUILD:-}
    build_test >&2 || { not_ok build; return 1; }
    MODEL=$BUILD/test/model
    if [ -n "$FULL" ] && [ -z "$nested" ]; then
        model_full
    else
        model_short
    fi
    return 0
}

# model_case NAME PROGRAM ARGUMENTS...: its output is the user's.
model_case() {
    local name=$1 program=$2
    shift 2
    if timeout 7200 "$MODEL/$program" "$@" >"$WORK/$name.out"; then
        cat "$WORK/$name.out"
        ok "$name"
    else
        cat "$WORK/$name.out"
        not_ok "$name" "$program $*: see the log for a program that shows it"
    fi
}

model_short() {
    model_case force model_run --ops 30000 --seed "$SEED" --seeds 3
    model_case never model_run --ops 10000 --seed "$((SEED + 100))" --pmem never
    model_case no-space model_run --ops 10000 --seed "$((SEED + 200))" --full --pool-size 16M
    model_case nothing-lost model_run --ops 5000 --seed "$((SEED + 300))" --cycles
    model_case threads model_threads --ops 10000 --seed "$SEED"
    model_case costs costs
    example_copy_in
    example_map_punch
    model_mount 3000 0 300
}

model_full() {
    model_case force model_run --ops 1000000 --seed "$SEED" --seeds 24 --least 1000
    model_case never model_run --ops 200000 --seed "$((SEED + 1000))" --seeds 4 --pmem never
    model_case no-space model_run --ops 100000 --seed "$((SEED + 2000))" --seeds 10 --full \
        --pool-size 16M
    model_case nothing-lost model_run --ops 50000 --seed "$((SEED + 3000))" --seeds 10 --cycles
    model_case threads model_threads --ops 100000 --seed "$SEED"
    model_case costs costs
    model_mount 100000 100 10000
    model_sanitized
}

# The same under the sanitizers; ours only: the mount is the asan suite's.
model_sanitized() (
    build_sanitized asan address,undefined || { not_ok asan:build; return 1; }
    MODEL=$BUILD/test/model
    model_case asan-force model_run --ops 100000 --seed "$SEED" --seeds 5
    model_case asan-no-space model_run --ops 20000 --seed "$SEED" --full --pool-size 16M
    build_sanitized tsan thread || { not_ok tsan:build; return 1; }
    MODEL=$BUILD/test/model
    export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1"
    model_case tsan-threads model_threads --ops 40000 --seed "$SEED"
)

# What the example puts into a pool in process is there through the mount.
example_copy_in() {
    local pool=$WORK/example.pool
    mkdir -p "$WORK/example"
    "$OUT/bin/mkfs.daxfuse" -s 16M "$pool" >&2 || { not_ok example:mkfs; return; }
    expect example:copy "$BUILD/examples/copy_in" "$pool" "$BUILD/examples/copy_in" program
    if "$BUILD/examples/copy_in" "$pool" /etc/hosts program >&2; then not_ok example:twice; else ok example:twice; fi
    if pool_mount "$pool" "$WORK/example" >&2; then
        expect example:same cmp "$BUILD/examples/copy_in" "$WORK/example/program"
        expect example:umount pool_umount "$pool" "$WORK/example"
    else
        not_ok example:mount
    fi
    rm -f "$pool"
}

# The example's own mapper: what its window says after a punch, if it can be revoked and if it cannot.
example_map_punch() {
    local pool=$WORK/example.pool way
    "$OUT/bin/mkfs.daxfuse" -s 16M "$pool" >&2 || { not_ok example:mkfs; return; }
    for way in '' --fixed; do
        # shellcheck disable=SC2086 # one word or none
        "$BUILD/examples/map_punch" $way "$pool" >"$WORK/example.out"
        cat "$WORK/example.out" >&2
        expect "example:punch$way" grep -qF "the window says \"stored by mmap\", and the third block is zero" \
            "$WORK/example.out"
    done
    expect example:in-place grep -q "after the punch: the window says" "$WORK/example.out"
    rm -f "$pool"
}

# model_mount OPS LEAST PROGRAMS: ours, on the classic transport, against ext4 with blocks of our size.
# PROGRAMS short ones of what changes sizes and bytes, and a long one of everything.
model_mount() {
    local before=''
    mkdir -p "$WORK/ours" "$WORK/ext4"
    truncate -s 2G "$WORK/ext4.img"
    mkfs.ext4 -q -F -b 4096 "$WORK/ext4.img" >&2 || { not_ok mount:mkfs-ext4; return; }
    if ! mount -o loop "$WORK/ext4.img" "$WORK/ext4"; then
        not_ok mount:loop 'no loop device can be had'
        return
    fi
    rmdir "$WORK/ext4/lost+found"
    mount_against classic "$@"
    if [ -n "$FULL" ] && [ -w "$URING" ]; then
        before=$(cat "$URING")
        # shellcheck disable=SC2064 # as it is now
        trap "echo $before >$URING" EXIT
        echo Y >"$URING"
        # Immutable and append-only files are among what the first run left.
        chattr -R -f -i -a "$WORK/ext4"
        find "$WORK/ext4" -mindepth 1 -delete
        mount_against uring "$@"
        echo "$before" >"$URING"
    fi
    umount "$WORK/ext4"
    rm -f "$WORK/ext4.img"
}

mount_against() {
    local pool=$WORK/$1.pool
    "$OUT/bin/mkfs.daxfuse" -s 512M "$pool" >&2 || { not_ok "$1:mkfs"; return; }
    if pool_mount "$pool" "$WORK/ours" -o suid,dev >&2; then
        model_case "programs-$1" model_mount --programs "$4" --seed "$SEED" "$WORK/ours" "$WORK/ext4"
        preloaded model_case "mount-$1" model_mount --ops "$2" --seed "$SEED" --least "$3" "$WORK/ours" \
            "$WORK/ext4"
        expect "mount-$1:umount" pool_umount "$pool" "$WORK/ours" || umount -l "$WORK/ours"
        expect "mount-$1:fsck" "$OUT/bin/fsck.daxfuse" -n "$pool"
    else
        not_ok "mount-$1:mount" "status $?"
    fi
    rm -f "$pool"
}
