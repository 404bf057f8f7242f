#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A walk: two guests and the host throw a ball to each other, which is a number in one file of one pool. The
# guests have the file mapped, and each of their throws is a store to memory; the host reads and writes it
# through a mount of the same server.
#
#   examples/guest/two-guests.sh       as root, or who may mount by fusermount3
#
# Takes what boot.sh takes, beside it. Makes a pool of 64 MiB, and leaves nothing behind.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
# shellcheck source-path=SCRIPTDIR
. "$here/../../scripts/lib/common.sh"
# shellcheck source-path=SCRIPTDIR
. "$ROOT/scripts/lib/packages.sh"
# shellcheck source-path=SCRIPTDIR
. "$ROOT/scripts/lib/vm.sh"
PATH=$OUT/bin:$PATH
ROUNDS=${ROUNDS:-2000}

[ -d "${DAXFUSE_VM:-}" ] || vm_get
folder=$(mktemp -d "${TMPDIR:-/dev/shm}/daxfuse-two.XXXXXX")
pool=$folder/pool
mnt=$folder/mnt
guests=()
# Where server and daxfuse-ctl meet, if they are not root's.
[ "$(id -u)" = 0 ] || export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$folder}"

leave() {
    # boot.sh ends its QEMU when it is told to.
    [ ${#guests[@]} = 0 ] || kill "${guests[@]}" 2>/dev/null || true
    wait
    daxfuse-ctl stop "$pool" >/dev/null 2>&1 || true
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

# guest NUMBER: boots it; its commands come from stdin, what it prints goes to a file.
guest() {
    "$here/boot.sh" --socket "$folder/socket$1" <&0 >"$folder/guest$1" 2>&1 &
    guests+=($!)
}

mkdir "$mnt"
explain "One pool, served three ways: mounted here, and at a socket for each of two guests."
show mkfs.daxfuse -s 64M "$pool"
show daxfuse "$pool" "$mnt" --vhost-user "$folder/socket1" --vhost-user "$folder/socket2"

explain "The ball, and the program of the players, which the guests compile for themselves."
show truncate -s 4K "$mnt/ball"
show cp "$here/relay.c" "$mnt/"
show cc -O2 -o "$folder/relay" "$mnt/relay.c"

explain "Two guests. Each says that it is there, and waits for the other and for us."
for number in 1 2; do
    guest $number <<END
tcc -o /tmp/relay /mnt/relay.c
touch /mnt/ready$number
until [ -e /mnt/go ]; do sleep 0.2; done
/tmp/relay map /mnt/ball $number 3 $ROUNDS
/tmp/relay map /mnt/ball2 $((number - 1)) 2 $ROUNDS
rm /mnt/ready$number
END
done
show truncate -s 4K "$mnt/ball2"
until [ -e "$mnt/ready1" ] && [ -e "$mnt/ready2" ]; do
    for process in "${guests[@]}"; do
        kill -0 "$process" 2>/dev/null || { cat "$folder"/guest? >&2; die "a guest has ended"; }
    done
    sleep 0.2
done
printf '$ %s\n' "touch $mnt/go"
touch "$mnt/go"

explain "We are player 0 and throw first. A throw of ours is a system call, one of theirs is a store."
show "$folder/relay" io "$mnt/ball" 0 3 "$ROUNDS"

explain "Then the guests go on without us, with another ball. Both are mapped by both:"
show daxfuse-ctl mappings "$pool"
while [ -e "$mnt/ready1" ] || [ -e "$mnt/ready2" ]; do sleep 0.2; done

explain "What it took: the guests mapped the files once, and nobody saw the throws of theirs but their" \
    "processors. WRITE is not among their requests."
show daxfuse-ctl stat "$pool"
wait "${guests[@]}"
guests=()
explain "What the guests printed:"
cat "$folder/guest1" "$folder/guest2"
