# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2030,SC2031
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

# The examples, as somebody who reads them types them. What a guest's console prints ends in CR LF.
vm_examples() {
    local way name
    for way in '--dax inode' --plain; do
        name=example:boot-${way##*[- ]}
        # shellcheck disable=SC2086 # two words
        echo 'echo made by a guest >file && cat file' |
            timeout 300 "$ROOT/examples/guest/boot.sh" $way "$WORK/example" >"$WORK/boot" 2>&1
        expect "$name" grep -q '^made by a guest' "$WORK/boot" || cat "$WORK/boot" >&2
        expect "$name-fsck" "$OUT/bin/fsck.daxfuse" -n "$WORK/example"
    done
    if ROUNDS=200 timeout 300 "$ROOT/examples/guest/two-guests.sh" >"$WORK/two" 2>&1 </dev/null; then
        ok example:two-guests
    else
        cat "$WORK/two" >&2
        not_ok example:two-guests
    fi
    expect example:two-guests-play grep -q '^player 2 by map: the ball is at 600' "$WORK/two"
}

suite_run() {
    vm_get >&2 || { not_ok vm:get 'QEMU, a kernel or what a guest needs is not to be had'; return 1; }
    local status=0 accelerator
    mkdir "$WORK/virtiofsd" "$WORK/doors"
    set -o pipefail
    python3 "$ROOT/test/vm/virtiofsd.py" "$WORK/virtiofsd" | tee "$WORK/log" || status=1
    # Once tried is enough.
    accelerator=$(sed -n 's/^accelerator: \([a-z]*\).*/\1/p' "$WORK/log")
    [ -z "$accelerator" ] || export DAXFUSE_VM_ACCEL=$accelerator
    python3 "$ROOT/test/vm/doors.py" "$WORK/doors" || status=1
    vm_examples
    [ -z "$FULL" ] || vm_sanitized || status=1
    return $status
}
