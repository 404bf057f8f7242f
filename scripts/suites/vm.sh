# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='real guests: QEMU and a stock kernel, with and without a window, beside the mount'
SUITE_WHEN=always
SUITE_PACKAGES=(debian-archive-keyring)

# shellcheck source-path=SCRIPTDIR/../..
. "$ROOT/scripts/lib/vm.sh"

# The doors once more, of a sanitized server. Its sandbox logs calls: a sanitizer has some of its own.
vm_sanitized() (
    build_sanitized asan address,undefined || { not_ok vm:build-asan; return 1; }
    mkdir "$WORK/sanitized"
    export OUT=$BUILD/out DAXFUSE_VM_SERVER='--seccomp log' FULL=
    export ASAN_OPTIONS=detect_leaks=0 DAXFUSE_VM_PREFIX=asan
    python3 "$ROOT/test/vm/doors.py" "$WORK/sanitized"
)

suite_run() {
    vm_get >&2 || { not_ok vm:get 'QEMU, a kernel or what a guest needs is not to be had'; return 1; }
    local status=0
    mkdir "$WORK/virtiofsd" "$WORK/doors"
    python3 "$ROOT/test/vm/virtiofsd.py" "$WORK/virtiofsd" || status=1
    python3 "$ROOT/test/vm/doors.py" "$WORK/doors" || status=1
    [ -z "$FULL" ] || vm_sanitized || status=1
    return $status
}
