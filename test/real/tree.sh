# SPDX-License-Identifier: LGPL-2.1-or-later
# Trees for the suite real: made, fetched, and written down as a manifest.
# shellcheck shell=bash

# manifest FOLDER: a line for each path: type, mode, owner, links (not of folders, where they count
# subfolders by each filesystem's custom), mtime in nanoseconds, the target of a symlink; then a
# line for each file: sha256. Sorted by bytes.
manifest() (
    cd "$1" && set -o pipefail || exit 1
    find . -mindepth 1 -type d -printf 'path d %m %U:%G - %T@ %p\n' -o \
        -printf 'path %y %m %U:%G %n %T@ %p -> %l\n' | LC_ALL=C sort || exit 1
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
)

# odd_tree FOLDER: what an ordinary source tree does not hold.
odd_tree() {
    local name i
    mkdir -p "$1/many" "$1/empty/empty" "$1/setgid" && cd "$1" || return 1
    for ((i = 0; i < 300; i++)); do
        echo "$i" >"many/file$i"
        touch -d "@$((1000000000 + i * 1234567)).$(printf %09d $((i * 3333333 % 1000000000)))" \
            "many/file$i"
    done
    for name in 0000 0444 0755 1777 2755 4755 6711; do
        echo $name >"mode$name" && chmod $name "mode$name"
    done
    chmod 3775 setgid
    echo first >hard1 && ln hard1 hard2 && ln hard1 empty/hard3
    ln -s nowhere dangling && ln -s "$(printf 'x%.0s' {1..1000})" long-target && ln -s . itself
    touch -h -d '1970-01-01 00:00:00.000000001 UTC' dangling
    mkfifo fifo && mknod null c 1 3
    : >"$(printf 'n%.0s' {1..255})" && : >' blank ' && : >'ünïcödé' && : >$'tab\there'
    chown 1234:5678 hard1 && chown -h 4321:8765 dangling
    truncate -s 40M sparse && printf data | dd of=sparse bs=1 seek=20000001 conv=notrunc status=none
    head -c 20000000 /dev/zero | tr '\0' 'z' >large
    touch -d '1901-12-13 20:45:53.999999999 UTC' large
    touch -d '2261-01-01 00:00:00.123456789 UTC' sparse
    touch -d '2001-02-03 04:05:06.700000007 UTC' empty/empty empty many setgid
    cd "$OLDPWD" || return 1
}

# kernel_archive CACHE: sets KERNEL_ARCHIVE, the tarball in the distribution's linux-source package.
# The package is downloaded, never installed.
kernel_archive() {
    local package deb
    mkdir -p "$1" || return 1
    KERNEL_ARCHIVE=$(find "$1" -name 'linux-source-*.tar.xz' | sort -V | tail -n 1)
    [ -z "$KERNEL_ARCHIVE" ] || return 0
    deb=$(find "$1" -name 'linux-source-*.deb' | sort -V | tail -n 1)
    if [ -z "$deb" ]; then
        package=$(kernel_package)
        [ -n "$package" ] || { apt_get update >&2 && package=$(kernel_package); }
        [ -n "$package" ] || { say 'apt knows no linux-source package'; return 1; }
        (cd "$1" && apt_get download "$package") >&2 || return 1
        deb=$(find "$1" -name 'linux-source-*.deb' | sort -V | tail -n 1)
    fi
    package=$(dpkg-deb -f "$deb" Package) || return 1
    dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz" >"$1/$package.part" &&
        mv "$1/$package.part" "$1/$package.tar.xz" && rm -f "$deb" || return 1
    KERNEL_ARCHIVE=$1/$package.tar.xz
}

# What the package linux-source depends on: linux-source-6.1 on Debian 12.
kernel_package() {
    apt-cache depends linux-source 2>/dev/null |
        sed -nE 's/^ *Depends: (linux-source-[0-9.]+)$/\1/p' | head -n 1
}
