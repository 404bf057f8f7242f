# SPDX-License-Identifier: LGPL-2.1-or-later
# What tests in real guests need beside what we build: QEMU with a DAX window, a guest kernel, the
# programs of the guest, and the distribution's virtiofsd to compare with. Sourced after packages.sh.
#
# All of it is in one folder, a set, below $DAXFUSE_VM_CACHE:
#   qemu            starts QEMU: the system's if it is new enough, else the set's own
#   virtiofsd       starts the distribution's virtiofsd
#   vmlinuz         a kernel with virtiofs, DAX and virtio-pci built in
#   guest/          the root tree of the guest, without init: busybox, sqlite3, tcc, their libraries
#   packages        which packages it is made of
# A set is made beside its place and renamed into it: a set that is there is whole. Nothing of the
# system is touched: apt runs with folders of its own, and the packages are only unpacked.
# shellcheck shell=bash

VM_QEMU_NEEDED=11.1
# What the set is made of changes its name, so that an old one is not taken for it.
VM_RECIPE=1
VM_SUITES=('trixie trixie-backports' forky sid)
VM_FIRMWARE=(bios-256k.bin linuxboot_dma.bin kvmvapic.bin)
VM_PACKAGES=(busybox-static virtiofsd sqlite3 tcc libc6-dev)
# What tcc's hello world needs of the kernel's own headers.
VM_HEADERS=(asm-generic linux/{errno,falloc,fcntl,fs,limits,openat2,posix_types,prctl,stat}.h
    linux/{stddef,time,time_types,types,close_range,sched,param,ioctl,mman,wait,uio}.h linux/sched)
DAXFUSE_VM_CACHE=${DAXFUSE_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/daxfuse/vm}

vm_system_qemu() {
    local version
    version=$(qemu-system-x86_64 --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p')
    [ -n "$version" ] && version_at_least "$version" "$VM_QEMU_NEEDED" &&
        command -v qemu-system-x86_64
}

# vm_get: sets and exports DAXFUSE_VM, the folder of a set; fetches it if there is none yet.
vm_get() {
    local system
    system=$(vm_system_qemu) || system=
    DAXFUSE_VM=$DAXFUSE_VM_CACHE/set-$VM_RECIPE${system:+-system}
    export DAXFUSE_VM
    [ -d "$DAXFUSE_VM" ] || vm_make "$system" || return 1
    say "QEMU: ${system:-$DAXFUSE_VM/qemu} ($("$DAXFUSE_VM/qemu" --version | sed -n 's/.*version //p'))"
    say "guest: $(tr '\n' ' ' <"$DAXFUSE_VM/packages")"
}

# vm_make SYSTEM-QEMU: the lock is kept by who makes the set; the others find it made.
vm_make() (
    system=$1
    [ "$(uname -m)" = x86_64 ] || die "guests are for x86_64"
    if ! have apt-get || ! have dpkg-deb; then
        die "no apt: make $DAXFUSE_VM by hand (what it holds: scripts/lib/vm.sh)"
    fi
    mkdir -p "$DAXFUSE_VM_CACHE" && exec {lock}>"$DAXFUSE_VM_CACHE/.lock" && flock "$lock" || exit 1
    [ -d "$DAXFUSE_VM" ] && exit 0
    rm -rf "$DAXFUSE_VM.new" && mkdir "$DAXFUSE_VM.new" || exit 1
    [ -r "$KEYRING" ] || packages_install debian-archive-keyring
    mirror=$(mirror_uri)
    [ -n "$mirror" ] || die "found no Debian mirror in apt's sources"
    for suites in "${VM_SUITES[@]}"; do
        vm_suites "$mirror" "$suites" "$system" || continue
        # The archives stay until the set is made: a run that was killed goes on where it was.
        vm_download "${suites##* }" || die "could not fetch QEMU and the guest's packages"
        vm_unpack "$system" || die "could not make $DAXFUSE_VM"
        sync -f "$DAXFUSE_VM.new"
        mv -T "$DAXFUSE_VM.new" "$DAXFUSE_VM" || exit 1
        rm -rf "$DAXFUSE_VM_CACHE/apt"
        exit 0
    done
    [ ! -s "$DAXFUSE_VM_CACHE/log" ] || tail -n 20 "$DAXFUSE_VM_CACHE/log" >&2
    die "no suite of this machine's mirror has QEMU >= $VM_QEMU_NEEDED"
)

# vm_apt SUITE ARGUMENTS...: apt in our own folders, with a preference for SUITE.
vm_apt() {
    local suite=$1
    shift
    # A private status file without a package in it: whatever is needed is fetched.
    LC_ALL=C private_apt "$DAXFUSE_VM_CACHE/apt" "$@" -o APT::Default-Release="$suite" \
        -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false
}

# vm_suites MIRROR SUITES SYSTEM-QEMU: the lists, if these suites have what is needed: `wanted`.
vm_suites() {
    local apt=$DAXFUSE_VM_CACHE/apt suite=${2##* } qemu kernel
    mkdir -p "$apt"/{lists/partial,cache/archives/partial,sources}
    : >"$apt/status"
    cat >"$apt/sources/vm.sources" <<END
Types: deb
URIs: $1
Suites: $2
Components: main
Architectures: amd64
Signed-By: $KEYRING
END
    vm_apt "$suite" update >"$DAXFUSE_VM_CACHE/log" 2>&1 || return 1
    kernel=$(vm_newest_kernel "$suite")
    [ -n "$kernel" ] || return 1
    printf '%s\n' "${VM_PACKAGES[@]}" "$kernel" >"$apt/wanted"
    [ -n "$3" ] && return 0
    qemu=$(vm_candidate "$suite" qemu-system-x86)
    [ -n "$qemu" ] && version_at_least "${qemu%%[+-]*}" "$VM_QEMU_NEEDED" || return 1
    echo qemu-system-x86 >>"$apt/wanted"
}

# The version that would be installed, without its epoch.
vm_candidate() {
    vm_apt "$1" install --simulate --no-install-recommends "$2" 2>/dev/null |
        sed -nE "s/^Inst $2 \(([0-9]+:)?([^ ]+) .*/\2/p"
}

# linux-image-NUMBER holds the kernel or, in later suites, only depends on linux-binary-NUMBER.
vm_newest_kernel() {
    local list kind name
    # The system may keep its lists compressed.
    # shellcheck disable=SC2016 # apt expands it
    list=$(vm_apt "$1" indextargets --format '$(FILENAME)' 'Created-By: Packages' |
        xargs -d '\n' /usr/lib/apt/apt-helper cat-file |
        sed -nE 's/^Package: (linux-(binary|image)-[0-9][^ ]*-amd64)$/\1/p' |
        grep -vE -e '-(cloud|rt)-' -e unsigned)
    for kind in binary image; do
        name=$(grep "^linux-$kind-" <<<"$list" | sort -V | tail -n 1)
        [ -z "$name" ] || break
    done
    echo "$name"
}

vm_download() {
    local wanted
    mapfile -t wanted <"$DAXFUSE_VM_CACHE/apt/wanted"
    say "fetching QEMU and a guest, about 60 MB, into $DAXFUSE_VM_CACHE"
    # Only once more: what came whole is not fetched again.
    quietly "$DAXFUSE_VM_CACHE/log" vm_apt "$1" install --yes --download-only --no-install-recommends \
        "${wanted[@]}" 2>/dev/null ||
        quietly "$DAXFUSE_VM_CACHE/log" vm_apt "$1" install --yes --download-only \
            --no-install-recommends "${wanted[@]}"
}

# vm_unpack SYSTEM-QEMU: from the archives to $DAXFUSE_VM.new, by way of a tree that is thrown away.
vm_unpack() {
    local tree=$DAXFUSE_VM_CACHE/apt/tree package wanted
    rm -rf "$tree" && mkdir "$tree" || return 1
    # As on a merged /usr, or links and folders of the packages meet.
    mkdir -p "$tree"/usr/{bin,sbin,lib,lib64} &&
        ln -s usr/bin usr/sbin usr/lib usr/lib64 "$tree" || return 1
    for package in "$DAXFUSE_VM_CACHE"/apt/cache/archives/*.deb; do
        # Through tar, which keeps a link to a folder that is there; dpkg-deb -x replaces it.
        dpkg-deb --fsys-tarfile "$package" |
            tar -x -C "$tree" --keep-directory-symlink --no-same-owner || return 1
    done
    LIBRARIES=/usr/lib/x86_64-linux-gnu
    LOADER=$(readlink -f "$tree/usr/lib64/ld-linux-x86-64.so.2") || return 1
    mkdir -p "$DAXFUSE_VM.new"/{lib,bin,firmware} || return 1
    cp "$LOADER" "$DAXFUSE_VM.new/lib/ld-linux-x86-64.so.2" || return 1
    if [ -n "$1" ]; then
        printf '#!/bin/sh\nexec %q "$@"\n' "$1" >"$DAXFUSE_VM.new/qemu"
    else
        # shellcheck disable=SC2016 # for the program that it makes
        vm_program "$tree" /usr/bin/qemu-system-x86_64 qemu '-L "$here/firmware"' || return 1
        for package in "${VM_FIRMWARE[@]}"; do
            cp -L "$(find "$tree"/usr/share/{qemu,seabios} -name "$package" | head -n 1)" \
                "$DAXFUSE_VM.new/firmware/" || return 1
        done
    fi
    vm_program "$tree" /usr/libexec/virtiofsd virtiofsd '' || return 1
    chmod +x "$DAXFUSE_VM.new/qemu" "$DAXFUSE_VM.new/virtiofsd"
    cp "$(find "$tree" -name 'vmlinuz*' -type f | head -n 1)" \
        "$DAXFUSE_VM.new/vmlinuz" || return 1
    vm_guest_tree "$tree" "$DAXFUSE_VM.new/guest" || return 1
    mapfile -t wanted <"$DAXFUSE_VM_CACHE/apt/wanted"
    for package in "${wanted[@]}"; do
        # shellcheck disable=SC2016 # dpkg-deb expands it
        dpkg-deb -W --showformat '${Package}=${Version}\n' \
            "$DAXFUSE_VM_CACHE/apt/cache/archives/$package"_*.deb || return 1
    done >"$DAXFUSE_VM.new/packages"
}

# vm_libraries TREE PROGRAM: the files of the libraries it is linked with, by the tree's own loader.
vm_libraries() {
    "$LOADER" --library-path "$1$LIBRARIES" --list "$1$2" |
        sed -n "s|.* => \\($1[^ ]*\\) .*|\\1|p"
}

# vm_program TREE PROGRAM NAME OPTIONS: a program with its libraries, started by NAME.
vm_program() {
    local libraries
    libraries=$(vm_libraries "$1" "$2") && [ -n "$libraries" ] || return 1
    # shellcheck disable=SC2086 # a list of files, none with a blank
    cp -L $libraries "$DAXFUSE_VM.new/lib/" && cp "$1$2" "$DAXFUSE_VM.new/bin/" || return 1
    cat >"$DAXFUSE_VM.new/$3" <<END
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
exec "\$here/lib/ld-linux-x86-64.so.2" --library-path "\$here/lib" "\$here/bin/${2##*/}" $4 "\$@"
END
}

# vm_guest_tree TREE TO: busybox, and sqlite3 and tcc at the places where they look for their files.
vm_guest_tree() {
    local tree=$1 to=$2 name lib=$2$LIBRARIES
    mkdir -p "$to"/usr/{bin,sbin,lib64,include/{linux,x86_64-linux-gnu}} "$lib" &&
        ln -s usr/bin usr/sbin usr/lib usr/lib64 "$to" || return 1
    cp "$(find "$tree/usr/bin" "$tree/usr/sbin" -name busybox | head -n 1)" "$to/usr/bin/" || return 1
    cp "$LOADER" "$to/usr/lib64/ld-linux-x86-64.so.2" || return 1
    for name in sqlite3 tcc; do
        cp -L "$tree/usr/bin/$name" "$to/usr/bin/" || return 1
        # shellcheck disable=SC2046 # as above
        cp -L $(vm_libraries "$tree" "/usr/bin/$name") "$lib/" || return 1
    done
    cp -r "$tree$LIBRARIES/tcc" "$lib/" || return 1
    for name in crt1.o crti.o crtn.o libc.so libc_nonshared.a libm.so.6 libmvec.so.1; do
        cp -L "$tree$LIBRARIES/$name" "$lib/" || return 1
    done
    # The kernel's headers of the machine are links to a place of their own.
    (cd "$tree/usr/include" && cp -rL ./*.h x86_64-linux-gnu "$to/usr/include/") || return 1
    for name in "${VM_HEADERS[@]}"; do
        [ ! -e "$tree/usr/include/$name" ] ||
            cp -rL "$tree/usr/include/$name" "$to/usr/include/${name%"${name##*/}"}" || return 1
    done
}
