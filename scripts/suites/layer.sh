# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='who includes whom, length, licence, flushes outside media, seams in the release'
SUITE_WHEN=always
SUITE_PACKAGES=(python3 binutils)

suite_run() {
    "$ROOT/test/layer/check.py" --self-test
    "$ROOT/test/layer/check.py" "$ROOT"
    release_has_no_seams
    return 0
}

# The seams are for tests: the names must be in a test build, and in no command that we install.
release_has_no_seams() {
    local file found=''
    build_test || { not_ok layer:seams-build; return; }
    if ! nm "$BUILD/src/libdaxfuse_core.a" 2>/dev/null | grep -q ' [TD] lock_seam_'; then
        not_ok 'layer:seams-known the test build has no lock_seam_*: this test looks for the wrong name'
        return
    fi
    for file in "$ROOT/build/src/libdaxfuse_core.a" "$OUT"/bin/*; do
        [ -e "$file" ] || continue
        ! nm "$file" 2>/dev/null | grep -q ' lock_seam_' || found+=" $file"
    done
    if [ -z "$found" ]; then ok layer:seams-release; else not_ok "layer:seams-release in$found"; fi
}
