#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A walk through collapse and insert: blocks come into a file and go from it, and no byte is copied.
#
#   examples/collapse-insert.sh        as root, or who may mount by fusermount3
#
# Takes the commands from $OUT (an installation's prefix, or scripts/build's out), else from PATH.
# Makes a pool of 16 MiB in $TMPDIR or /dev/shm, mounts it, and leaves nothing behind.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
if [ -z "${OUT:-}" ] && [ -x "$here/../out/bin/daxfuse" ]; then
    OUT=$here/../out
fi
PATH=${OUT:+$OUT/bin:}$PATH:/usr/sbin:/sbin

# By its name alone if it lies where the system's libraries do.
library=libdaxfuse-fallocate.so
prefix=$(dirname "$(dirname "$(realpath "$(command -v daxfuse-ctl)")")")
for path in "$prefix"/lib/"$library" "$prefix"/lib64/"$library" "$prefix"/lib/*/"$library"; do
    if [ -e "$path" ]; then library=$path; fi
done

folder=$(mktemp -d "${TMPDIR:-/dev/shm}/daxfuse-example.XXXXXX")
pool=$folder/pool
file=$folder/mnt/file

leave() {
    # Stopping waits for the server's end, but needs its socket.
    if mountpoint -q "$folder/mnt" && ! daxfuse-ctl stop "$pool" >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ]; then umount "$folder/mnt"; else fusermount3 -u "$folder/mnt"; fi
    fi
    rm -rf --one-file-system "$folder"
}
trap leave EXIT
trap 'exit 130' INT TERM HUP

explain() {
    echo
    printf '# %s\n' "$@"
}

# What we do can be typed again.
show() {
    printf '$ %s\n' "$*"
    "$@"
}

# blocks: a letter for each block of the file; "." is one of zeros.
blocks() {
    local number count
    count=$((($(stat -c %s "$file") + 4095) / 4096))
    for ((number = 0; number < count; number++)); do
        dd if="$file" bs=4096 skip=$number count=1 status=none | head -c 1 | tr '\0' .
    done
}

look() {
    echo "  the file's blocks are now: $(blocks)"
    show daxfuse-ctl extents "$file"
}

mkdir "$folder/mnt"
explain "A pool, mounted, and a file of six blocks in it: A to F, 4096 bytes each."
show mkfs.daxfuse -s 16M "$pool"
show daxfuse "$pool" "$folder/mnt"
for letter in A B C D E F; do
    head -c 4096 /dev/zero | tr '\0' $letter
done >"$file"
look

explain "Insert two blocks behind the second one. C to F stay where they are in the pool: only their" \
    "offsets in the file change. What came in is a hole; it takes no space until it is written."
show daxfuse-ctl fallocate --insert --offset 8K --length 8K "$file"
look

explain "Programs call fallocate(2) for this, and the kernel's FUSE client refuses it:"
printf '$ %s\n' "fallocate -c -o 4096 -l 16384 $file"
if fallocate -c -o 4096 -l 16384 "$file"; then
    echo "  (not this kernel: it passes collapse on)"
else
    explain "The preloaded library brings it to the server all the same. B, the hole and C go; what" \
        "is behind them closes up, and the space of B and C is free again."
    show env LD_PRELOAD="$library" fallocate -c -o 4096 -l 16384 "$file"
fi
look

explain "Room for a header in front of all that is there, without rewriting the file."
show env LD_PRELOAD="$library" fallocate -i -o 0 -l 4096 "$file"
head -c 4096 /dev/zero | tr '\0' H | dd of="$file" conv=notrunc status=none
look

if [ "$(blocks)" != HADEF ]; then
    echo "the file should be HADEF" >&2
    exit 1
fi
explain "Each of these was one transaction: after a crash the file is as before, or as after."
