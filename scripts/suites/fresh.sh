# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='a bare Debian 12 with only apt: quickstart, --stop leaves nothing, scripts/test'
SUITE_WHEN=full
SUITE_PACKAGES=(mmdebstrap git e2fsprogs)

LIMIT=300 # seconds that quickstart may take, packages and compiler included

suite_run() {
    if [ -n "${DAXFUSE_IN_FRESH:-}" ]; then
        skip inner 'a bare system does not make another one'
        return 0
    fi
    tree=$WORK/system
    expect disk system_disk || return 1
    expect bootstrap bare_system || return 1
    expect clone clean_clone || return 1
    expect mounts system_mounts || return 1
    run_quickstart
    run_tests
}

# A machine's root is on a disk: in memory nothing is ever dirty or written out. The loop device
# goes when our mount namespace does.
system_disk() {
    mkdir "$tree" && truncate -s 24G "$WORK/disk" && mkfs.ext4 -q "$WORK/disk" &&
        mount -o loop,discard "$WORK/disk" "$tree" && rmdir "$tree/lost+found"
}

# From the mirror that this machine is set up with, whatever it is.
bare_system() {
    local mirror
    mirror=$(mirror_uri)
    [ -n "$mirror" ] || return 1
    mmdebstrap --quiet --variant=apt bookworm "$tree" \
        "deb [signed-by=$KEYRING] $mirror bookworm main" || return 1
    # How to reach the mirror from in there: names, proxy.
    cp -L /etc/resolv.conf /etc/hosts "$tree/etc/" || return 1
    grep -lE '^ *Acquire' /etc/apt/apt.conf.d/* 2>/dev/null | while read -r file; do
        cp "$file" "$tree/etc/apt/apt.conf.d/"
    done
}

# What is committed, as somebody else would get it.
clean_clone() {
    # Owned by somebody else than root, git would refuse it.
    git -c safe.directory='*' clone --quiet --no-local "file://$ROOT" "$tree/root/daxfuse" &&
        chown -R root:root "$tree/root/daxfuse"
    [ -z "$(git -c safe.directory='*' -C "$ROOT" status --porcelain 2>/dev/null)" ] ||
        echo 'uncommitted changes are not in the clone' >&2
}

# We are in a mount namespace of our own: nothing of this is seen outside, or outlives us.
system_mounts() {
    mount -t proc proc "$tree/proc" &&
        mount --rbind /sys "$tree/sys" &&
        mount --bind /dev "$tree/dev" &&
        mount -t tmpfs -o mode=1777,nosuid,nodev shm "$tree/dev/shm" &&
        mount -t devpts -o newinstance,ptmxmode=0666,gid=5,mode=620 pts "$tree/dev/pts" &&
        mount -t tmpfs -o mode=755,nosuid,nodev run "$tree/run" &&
        ln -sfn ../proc/self/mounts "$tree/etc/mtab" # every boot makes it
}

# inside COMMAND...: with the environment of a machine that has just been installed.
inside() {
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DAXFUSE_IN_FRESH=1 CI="${CI:-}" \
        chroot "$tree" "$@" </dev/null
}

# state NAME: what --stop must leave as it was.
state() {
    # shellcheck disable=SC2016 # for the inner shell
    inside /bin/sh -c '
        echo processes; for p in /proc/[0-9]*; do tr "\0" " " <$p/cmdline 2>/dev/null; done |
            tr " " "\n" | grep -E "daxfuse$" | grep -v "^/root/daxfuse$"
        echo mounts; cut -d" " -f5 /proc/self/mountinfo | sort
        echo files; find /dev/shm /run /tmp /var/tmp /root /mnt /srv -xdev ! -path "/run/lock*" \
            ! -path "/root/daxfuse/*" | sort
        echo settings; find /sys/module/fuse/parameters /proc/sys/fs /proc/sys/vm -type f \
            ! -name "*-nr" ! -name "*-state" -exec grep -H . {} + 2>/dev/null |
            grep -vE "stat|min_free|nr_|compact_memory|drop_caches" | sort' >"$WORK/$1"
}

run_quickstart() {
    local start=$SECONDS took
    # The build comes first: packages and their traces stay, by promise, and are not compared.
    expect build inside /root/daxfuse/scripts/build
    took=$((SECONDS - start))
    state before
    start=$SECONDS
    expect quickstart inside /root/daxfuse/scripts/quickstart
    took=$((took + SECONDS - start))
    echo "quickstart, with the build: $took s"
    if [ $took -le $LIMIT ]; then ok quickstart-time; else not_ok "quickstart-time $took s"; fi
    expect mounted inside mountpoint -q /dev/shm/daxfuse-quickstart/mnt
    expect stop inside /root/daxfuse/scripts/quickstart --stop
    state after
    if diff "$WORK/before" "$WORK/after" >&2; then
        ok nothing-left
    else
        not_ok 'nothing-left see the differences in the log'
    fi
}

run_tests() {
    local last
    inside /root/daxfuse/scripts/test >"$WORK/inner" 2>&1
    cat "$WORK/inner" >&2
    last=$(tail -n 1 "$WORK/inner")
    echo "scripts/test in the bare system: $last"
    if [[ "$last" =~ ^[1-9][0-9]*\ passed,\ 0\ failed, ]]; then ok test; else not_ok "test $last"; fi
}
