#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Boots a small guest with a pool on its /mnt, mapped through a DAX window, and gives you its shell. What
# comes through a pipe is run there instead of a shell, and then the guest ends.
#
#   examples/guest/boot.sh [OPTION...] POOL             serves the pool for as long as the guest lives
#   examples/guest/boot.sh [OPTION...] --socket SOCKET  to a server that is running: daxfuse --vhost-user SOCKET
#     --dax always|inode|none    how the guest mounts (always)
#     --plain                    QEMU's own virtio-fs device, which has no window; then --dax is none
#
# POOL is made, with 1 GiB, if it is not there. Needs no root. Takes the commands from $OUT (an installation's
# prefix, or scripts/build's out), else from PATH; QEMU >= 11.1, a kernel and the guest's programs from
# $DAXFUSE_VM, else as the tests do: fetched once, about 60 MB (scripts/lib/vm.sh). DAXFUSE_VM_ACCEL is kvm or
# tcg; without it kvm is tried.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
# shellcheck source-path=SCRIPTDIR
. "$here/../../scripts/lib/common.sh"
# shellcheck source-path=SCRIPTDIR
. "$ROOT/scripts/lib/packages.sh"
# shellcheck source-path=SCRIPTDIR
. "$ROOT/scripts/lib/vm.sh"
PATH=$OUT/bin:$PATH

usage() {
    sed -n '3,14s/^#[ ]\{0,1\}//p' "$0"
}

pool='' socket='' dax=always plain=''
while [ $# -gt 0 ]; do
    case $1 in
    --socket) socket=$(realpath -m "${2:?the path of a socket}"); shift ;;
    --dax) dax=${2:?always, inode or none}; shift ;;
    --plain) plain=1 dax=none ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *) pool=$1 ;;
    esac
    shift
done
[ -n "$pool$socket" ] || die "which pool? $0 POOL, or --socket SOCKET"
case $dax in
always | inode) options=dax=$dax ;;
none) options=rw ;;
*) die "--dax always, inode or none" ;;
esac

[ -d "${DAXFUSE_VM:-}" ] || vm_get
folder=$(mktemp -d "${TMPDIR:-/tmp}/daxfuse-guest.XXXXXX")
served='' running=''

leave() {
    [ -z "$running" ] || { kill "$running" && wait "$running"; } 2>/dev/null || true
    [ -z "$served" ] || { kill "$served" && wait "$served"; } 2>/dev/null || true
    rm -rf "$folder"
}
trap leave EXIT
trap 'exit 130' INT TERM HUP

# An initramfs of the set's programs, our init, and what shall be run.
image() {
    [ -t 0 ] || cat >"$folder/commands"
    PYTHONPATH=$ROOT/test/vm PYTHONDONTWRITEBYTECODE=1 python3 - "$folder" "$DAXFUSE_VM/guest" "$here/init" <<'END'
import os, sys
import initramfs
folder, tree, init = sys.argv[1:]
files = {'init': init, 'commands': folder + '/commands'}
initramfs.write(folder + '/image', tree,
                {name: (open(path, 'rb').read(), 0o755) for name, path in files.items() if os.path.exists(path)})
END
}

# qemu APPEND OPTION...: the guest, on this terminal.
qemu() {
    local append=$1
    shift
    exec "$DAXFUSE_VM/qemu" -machine q35,memory-backend=mem -smp 2 -m 512M \
        -object memory-backend-memfd,id=mem,size=512M,share=on \
        -kernel "$DAXFUSE_VM/vmlinuz" -initrd "$folder/image" \
        -append "console=ttyS0 quiet panic=-1 $append" -nodefaults -display none -no-reboot "$@"
}

KVM=(-accel kvm -cpu host)
TCG=(-accel 'tcg,thread=multi' -cpu max)

# A /dev/kvm that is there may still not run the kernel, or hang.
accelerator() {
    local try=${DAXFUSE_VM_ACCEL:-}
    if [ -z "$try" ]; then
        try=tcg
        export -f qemu
        if [ -w /dev/kvm ] && folder=$folder timeout 20 bash -c 'qemu probe "$@"' - "${KVM[@]}" \
            </dev/null >/dev/null 2>&1; then try=kvm; fi
    fi
    case $try in kvm) accel=("${KVM[@]}") ;; *) accel=("${TCG[@]}") ;; esac
}

image
accelerator
if [ -z "$socket" ]; then
    [ -e "$pool" ] || mkfs.daxfuse -s 1G "$pool"
    socket=$folder/socket
    daxfuse -f -o log=warn "$pool" --vhost-user "$socket" </dev/null &
    served=$!
    until [ -S "$socket" ]; do
        kill -0 "$served" 2>/dev/null || die "$pool is not served"
        sleep 0.05
    done
fi
if [ -n "$plain" ]; then
    device=(-device 'vhost-user-fs-pci,chardev=fs,tag=daxfuse,queue-size=1024')
else
    device=(-device
        'vhost-user-test-device-pci,virtio-id=26,num_vqs=2,config_size=44,vq_size=128,chardev=fs')
fi
# Ctrl-C is the guest's, on a terminal.
if [ -t 0 ]; then serial=mon:stdio; else serial=stdio; fi
qemu "mount_options=$options" "${accel[@]}" -serial $serial \
    -chardev socket,id=fs,path="$socket" "${device[@]}" <&0 &
running=$! # not in the foreground, or who ends us would have to wait for it
wait "$running"
running=''
