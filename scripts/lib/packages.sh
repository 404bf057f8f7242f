# SPDX-License-Identifier: LGPL-2.1-or-later
# Packages of the distribution, and libfuse where the distribution's own is too old.
# shellcheck shell=bash

FUSE_NEEDED=3.18
# shellcheck disable=SC2034 # for who sources this
BUILD_PACKAGES=(gcc libc6-dev meson ninja-build pkg-config libpmem-dev liburing-dev libnuma-dev
    libxxhash-dev libjson-c-dev libcap-ng-dev libseccomp-dev scdoc fuse3)
# What the programs below test/ need: there before a test build is configured, since Meson leaves
# out what it has no library for. Programs that a suite only runs are its SUITE_PACKAGES.
# shellcheck disable=SC2034
TEST_PACKAGES=(check libsqlite3-dev)
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

package_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

package_candidate() {
    apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p' | grep -v '^(none)$' || true
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

# packages_install NAME...: only what is missing; the lists are fetched only if they are needed.
packages_install() {
    local missing=() name
    have dpkg-query || return 0 # another distribution: Meson says what it misses
    for name in "$@"; do
        package_installed "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    can_be_root || die "packages are missing, and only root can install them. As root, once:
  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    say "installing: ${missing[*]}"
    # Lists that are there may be too old to install from: then fetch them, and try once more.
    apt_install_quietly "${missing[@]}" 2>/dev/null && return 0
    apt_update_quietly || die "apt-get update failed: is the network up, and the mirror right?"
    apt_install_quietly "${missing[@]}" || die "could not install: ${missing[*]}"
}

apt_install_quietly() {
    local log status=0
    log=$(mktemp)
    quietly "$log" apt_get install --no-install-recommends "$@" || status=1
    rm -f "$log"
    return $status
}

apt_update_quietly() {
    local log status=0
    log=$(mktemp)
    quietly "$log" apt_get update || status=1
    rm -f "$log"
    return $status
}

# The directory that subprojects/fuse3.wrap sends Meson to.
wrap_directory() {
    sed -n 's/^directory *= *//p' "$ROOT/subprojects/fuse3.wrap"
}

version_at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# libfuse_get: after this Meson finds a libfuse that is new enough, without any download.
libfuse_get() {
    local candidate
    pkg-config --exists "fuse3 >= $FUSE_NEEDED" 2>/dev/null && return 0
    [ -e "$ROOT/subprojects/$(wrap_directory)/meson.build" ] && return 0
    have apt-get || die "no libfuse >= $FUSE_NEEDED: install it, or let Meson fetch" \
        "subprojects/fuse3.wrap (meson subprojects download fuse3)"
    candidate=$(package_candidate libfuse3-dev)
    if [ -n "$candidate" ] && version_at_least "$candidate" "$FUSE_NEEDED"; then
        packages_install libfuse3-dev
        return 0
    fi
    libfuse_from_later_suite
}

# libfuse_from_later_suite: Debian's source package carries upstream's release tarball unchanged;
# apt checks it by the archive's signature. All of apt's state is in a folder of our own: no
# setting of the system is touched, and no package of that suite can get installed by it.
libfuse_from_later_suite() (
    packages_install debian-archive-keyring
    [ -r "$KEYRING" ] || die "no $KEYRING: install debian-archive-keyring"
    mirror=$(mirror_uri)
    [ -n "$mirror" ] || die "found no Debian mirror in apt's sources; put libfuse >= $FUSE_NEEDED" \
        "into subprojects/$(wrap_directory) by hand"
    private=$(mktemp -d)
    trap 'rm -rf "$private"' EXIT
    for suite in forky sid; do
        private_apt_setup "$private" "$mirror" "$suite"
        private_apt "$private" update >"$private/log" 2>&1 || continue
        version=$(private_source_version "$private")
        version_at_least "${version%%-*}" "$FUSE_NEEDED" || continue
        say "libfuse ${version%%-*} from the source package of $suite"
        libfuse_unpack "$private" "$version"
        exit 0
    done
    [ ! -s "$private/log" ] || tail -n 5 "$private/log" >&2
    die "no suite of $mirror has libfuse >= $FUSE_NEEDED; put it into" \
        "subprojects/$(wrap_directory) by hand (its address: subprojects/fuse3.wrap)"
)

# mirror_uri: where this machine gets its own release from, whatever the format of its sources.
mirror_uri() {
    local codename
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-sid}")
    # shellcheck disable=SC2016 # apt expands them
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' |
        awk -v suite="$codename" '
            $2 != "main" || $3 ~ /^cdrom:/ { next }
            $1 == suite { print $3; found = 1; exit }
            $1 ~ /^(stable|testing|unstable|sid)$/ && other == "" { other = $3 }
            END { if (!found && other != "") print other }'
}

private_apt_setup() {
    local private=$1 mirror=$2 suite=$3
    mkdir -p "$private"/{lists/partial,cache/archives/partial,sources,source}
    : >"$private/status"
    cat >"$private/sources/libfuse.sources" <<EOF
Types: deb-src
URIs: $mirror
Suites: $suite
Components: main
Signed-By: $KEYRING
EOF
}

# private_apt DIR ARGUMENTS...: the system's way to the mirror (proxy, certificates), nothing else.
private_apt() {
    local private=$1 tool=apt-get
    shift
    [ "$1" != showsrc ] || tool=apt-cache
    "$tool" -q \
        -o Dir::Etc::SourceList=/dev/null \
        -o Dir::Etc::SourceParts="$private/sources" \
        -o Dir::Etc::Preferences=/dev/null \
        -o Dir::Etc::PreferencesParts=/dev/null \
        -o Dir::State="$private" \
        -o Dir::State::Lists="$private/lists" \
        -o Dir::State::status="$private/status" \
        -o Dir::Cache="$private/cache" \
        -o APT::Sandbox::User="$(id -un)" \
        -o APT::Get::AllowUnauthenticated=false \
        -o Acquire::AllowInsecureRepositories=false \
        -o Acquire::Retries=3 \
        "$@"
}

private_source_version() {
    private_apt "$1" showsrc fuse3 2>/dev/null | sed -n 's/^Version: //p' | sort -V | tail -n 1 || true
}

# libfuse_unpack DIR VERSION: into subprojects/, whole or not at all.
libfuse_unpack() {
    local private=$1 version=$2 tarball name
    (cd "$private/source" && private_apt "$private" source --download-only "fuse3=$version") \
        >"$private/log" 2>&1 || { tail -n 5 "$private/log" >&2; die "could not fetch fuse3 $version"; }
    tarball=$(find "$private/source" -name 'fuse3_*.orig.tar.*' ! -name '*.asc')
    [ -n "$tarball" ] || die "the source package fuse3 $version has no tarball"
    case $tarball in
    *.xz) packages_install xz-utils ;;
    *.bz2) packages_install bzip2 ;;
    esac
    name=fuse-${version%%-*}
    mkdir "$private/unpacked"
    tar -x -f "$tarball" -C "$private/unpacked" --strip-components=1 --no-same-owner
    rm -rf "$ROOT/subprojects/$name.new"
    cp -r "$private/unpacked" "$ROOT/subprojects/$name.new"
    mv -T "$ROOT/subprojects/$name.new" "$ROOT/subprojects/$name"
    # The wrap names one release; a later one serves under that name too.
    if [ "$name" != "$(wrap_directory)" ]; then
        ln -sfn "$name" "$ROOT/subprojects/$(wrap_directory)"
    fi
}
