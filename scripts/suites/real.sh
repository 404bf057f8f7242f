#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='real trees and programs in the mount, compared with ext4: tar, cp, git, a build'
SUITE_WHEN=always
SUITE_PACKAGES=(git gcc meson ninja-build xz-utils e2fsprogs python3)

# shellcheck source-path=SCRIPTDIR
. "$ROOT/test/kill/fs.sh"
. "$ROOT/test/real/tree.sh"

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/daxfuse-test

suite_run() {
    POOL=$WORK/pool MNT=$WORK/mnt EXT4=
    local size=192M
    [ -z "$FULL" ] || size=6G
    trap ext4_remove EXIT # also when it is interrupted: suite-main exits then
    ext4_folder || { not_ok ext4 'no folder on ext4, and none can be made'; return 1; }
    archives_make || { not_ok archive 'could not be made'; return 1; }
    fs_make "$POOL" $size && fs_mount "$POOL" "$MNT" || { not_ok start; return 1; }
    trees && git_suite && if [ -n "$FULL" ]; then libfuse_suite; fi
    fs_umount "$POOL" "$MNT" || { not_ok umount "status $?"; return 1; }
    if fs_check "$POOL"; then ok fsck; else not_ok fsck 'at the end'; fi
}

# ext4_folder: sets EXT4, a folder on ext4: on the disk, or else in a file mounted by loop.
ext4_folder() {
    # What a run that was killed left behind.
    find "${TMPDIR:-/var/tmp}" -maxdepth 1 -name 'daxfuse-test-ext4.*' -mmin +720 \
        -exec rm -rf --one-file-system {} +
    EXT4=$(mktemp -d "${TMPDIR:-/var/tmp}/daxfuse-test-ext4.XXXXXX") || return 1
    [ "$(findmnt -n -o FSTYPE -T "$EXT4")" != ext4 ] || return 0
    truncate -s "${FULL:+1}6G" "$EXT4.image" && mkfs.ext4 -q "$EXT4.image" &&
        mount -o loop "$EXT4.image" "$EXT4"
}

ext4_remove() {
    [ -n "$EXT4" ] || return 0
    rm -rf --one-file-system "${EXT4:?}"/*
    umount "$EXT4" 2>/dev/null
    rm -rf --one-file-system "$EXT4" "$EXT4.image"
}

# archives_make: sets ARCHIVES. Always a tree of odd things; then the kernel's source, or without
# --full the system's headers and Python's library, which every machine that can build us has.
archives_make() {
    mkdir -p "$WORK/source"
    if [ -z "$FULL" ]; then
        mkdir "$WORK/source/headers"
        (cd /usr && find include lib/python3* -type f | sort | head -n 2200 | tar -c -T -) |
            tar -x -C "$WORK/source/headers" || return 1
    fi
    odd_tree "$WORK/source/odd" || return 1
    tar --format=posix --sparse -C "$WORK/source" -cf "$WORK/odd.tar" . || return 1
    rm -rf "$WORK/source"
    ARCHIVES=("$WORK/odd.tar")
    [ -z "$FULL" ] || { kernel_archive "$CACHE" && ARCHIVES+=("$KERNEL_ARCHIVE"); }
}

# unpack FOLDER. The kernel's tarball leaves out some folders: tar makes them as of now, so that
# their time is no property of the archive, and they get a fixed one.
unpack() {
    local archive
    mkdir -p "$1"
    touch "$WORK/begin"
    sleep 0.05
    for archive in "${ARCHIVES[@]}"; do
        tar -x -p --same-owner --warning=no-timestamp -C "$1" -f "$archive" || return 1
    done
    find "$1" -mindepth 1 -type d -newer "$WORK/begin" \
        -exec touch -d '2020-02-20 02:20:20.123456789 UTC' {} +
}

# same_manifest CASE FOLDER: as on ext4.
same_manifest() {
    manifest "$2" >"$WORK/manifest" || { not_ok "$1" 'cannot be read'; return 1; }
    if cmp -s "$WORK/manifest" "$WORK/manifest.ext4"; then
        ok "$1"
        return 0
    fi
    diff "$WORK/manifest.ext4" "$WORK/manifest" | head -n 20
    not_ok "$1" "$(diff "$WORK/manifest.ext4" "$WORK/manifest" | grep -c '^[<>]') lines differ"
    fs_keep "real-$SEED" "$WORK/manifest" "$WORK/manifest.ext4"
    return 1
}

trees() {
    local paths least=2000
    unpack "$EXT4/tree" && manifest "$EXT4/tree" >"$WORK/manifest.ext4" ||
        { not_ok unpack:ext4; return 1; }
    paths=$(grep -c '^path ' "$WORK/manifest.ext4")
    echo "$paths paths, ${#ARCHIVES[@]} archives"
    [ -z "$FULL" ] || least=80000
    if [ "$paths" -ge $least ]; then ok paths; else not_ok paths "$paths, not $least"; fi

    unpack "$MNT/tree" || { not_ok unpack; return 1; }
    same_manifest manifest "$MNT/tree" || return 1
    fs_umount "$POOL" "$MNT" && fs_check "$POOL" && fs_mount "$POOL" "$MNT" ||
        { not_ok remount; return 1; }
    same_manifest manifest:remount "$MNT/tree" || return 1
    trees_killed unpack:killed unpack "$MNT/second" || return 1
    rm -rf "$MNT/second" || { not_ok remove; return 1; }
    trees_killed copy:killed cp -a "$MNT/tree" "$MNT/second" || return 1
    same_manifest manifest:killed "$MNT/tree" || return 1
    rm -rf "$MNT/second" || { not_ok remove; return 1; }
    ok remove
}

# trees_killed CASE COMMAND...: it makes $MNT/second; then sync, kill at once, and compare.
trees_killed() {
    local case=$1
    shift
    "$@" || { not_ok "$case" "$*"; return 1; }
    sync -f "$MNT"
    fs_kill "$POOL" "$MNT"
    fs_check "$POOL" || { not_ok "$case" 'fsck after the kill'; return 1; }
    fs_mount "$POOL" "$MNT" || { not_ok "$case" 'mount after the kill'; return 1; }
    same_manifest "$case" "$MNT/second"
}

git_quiet() {
    GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git -C "$MNT/tree" \
        -c user.name=test -c user.email=test@example.invalid -c gc.auto=0 "$@"
}

git_suite() {
    local files least=2000
    [ -z "$FULL" ] || least=70000
    expect git:init git_quiet init -q &&
        expect git:add git_quiet add -f -A &&
        expect git:commit git_quiet commit -q -m tree || return 1
    files=$(git_quiet ls-files | wc -l)
    echo "$files files in git"
    if [ "$files" -gt $least ]; then ok git:files; else not_ok git:files "only $files"; fi
    git_clean git:status || return 1
    expect git:gc git_quiet gc -q && expect git:fsck git_quiet fsck --full || return 1
    fs_kill "$POOL" "$MNT"
    fs_check "$POOL" && fs_mount "$POOL" "$MNT" || { not_ok git:killed; return 1; }
    git_clean git:status-killed && expect git:fsck-killed git_quiet fsck --full
}

git_clean() {
    local changed
    changed=$(git_quiet status --porcelain) || { not_ok "$1" "status $?"; return 1; }
    if [ -z "$changed" ]; then ok "$1"; else not_ok "$1" "$(head -n 3 <<<"$changed")"; fi
}

# libfuse configured, compiled and tested, all in one folder. Its tests mount filesystems of
# their own; where they keep their files is that folder too.
libfuse_suite() {
    local source here there
    source=$(find "$ROOT/subprojects" -maxdepth 1 -type d -name 'fuse-*' | sort -V | tail -n 1)
    [ -n "$source" ] || { not_ok libfuse:source "no subprojects/fuse-*"; return 1; }
    libfuse_build ext4 "$EXT4/libfuse" "$source" && libfuse_build mount "$MNT/libfuse" "$source" ||
        return 1
    there=$(libfuse_test "$EXT4/libfuse") && here=$(libfuse_test "$MNT/libfuse") ||
        { not_ok libfuse:tests 'gave no count'; return 1; }
    echo "libfuse's tests: $here passed in the mount, $there on ext4"
    if [ "$here" -ge "$there" ] && [ "$there" -gt 0 ]; then
        ok libfuse:tests
    else
        not_ok libfuse:tests "$here passed, $there on ext4"
    fi
}

# libfuse_build NAME FOLDER SOURCE
libfuse_build() {
    mkdir -p "$2" && cp -a "$3/." "$2/source" &&
        (cd "$2/source" && meson setup "$2/build" . && ninja -C "$2/build") >&2 ||
        { not_ok "libfuse:build-$1"; return 1; }
    ok "libfuse:build-$1"
}

# libfuse_test FOLDER: prints how many passed. Some fail on every filesystem (no CUSE, no setuid), and
# some look at the clock, which a busy machine fails: what failed is given one more try, alone.
libfuse_test() {
    local log=$WORK/libfuse.log passed name again
    libfuse_run "$1" -j 2 >"$log" 2>&1
    tail -n 25 "$log" >&2
    passed=$(libfuse_passed "$log") || return 1
    for name in $(sed -n '/^failed:/,/^$/s/^  \([a-z]*\/[^ ]*\)  .*/\1/p' "$log"); do
        libfuse_run "$1" -j 1 -t "$name" >"$log.again" 2>&1
        again=$(libfuse_passed "$log.again") || again=0
        echo "once more, $name: $again passed" >&2
        passed=$((passed + again))
    done
    echo "$passed"
}

# libfuse_run FOLDER ARGUMENTS...
libfuse_run() {
    local folder=$1
    shift
    (cd "$folder/source" &&
        python3 test/run-tests.py --build-dir "$folder/build" --run-dir "$folder/run" "$@")
}

libfuse_passed() {
    sed -nE 's/^[0-9]+ tests?: ([0-9]+) passed.*/\1/p' "$1" | grep .
}
