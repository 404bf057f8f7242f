# SPDX-License-Identifier: LGPL-2.1-or-later
# Build directories: set up once, set up anew when the options, the place of the tree or the list of
# the tests' libraries change. Sourced after packages.sh.
# shellcheck shell=bash

# build_directory DIR MESON-ARGUMENTS...: DIR is configured and up to date, or it fails aloud.
# Two scripts that run side by side in one tree take turns.
build_directory() (
    dir=$1
    shift
    wanted="$ROOT $(meson --version) ${TEST_PACKAGES[*]} $*"
    mkdir -p "$dir"
    exec {lock}>"$dir/.lock" && flock "$lock" || exit 1
    if [ ! -e "$dir/build.ninja" ] || [ "$(cat "$dir/.configured" 2>/dev/null)" != "$wanted" ]; then
        # The lock stays, and with it its folder: others wait for this file.
        find "$dir" -mindepth 1 -maxdepth 1 ! -name .lock -exec rm -rf {} +
        quietly "$dir/.setup.log" meson setup --wrap-mode=nodownload "$@" "$dir" "$ROOT" || exit 1
        printf '%s\n' "$wanted" >"$dir/.configured"
    fi
    quietly "$dir/.build.log" ninja -C "$dir"
)

# build_install DIR: its commands, libraries and pages; never libfuse's headers.
build_install() {
    quietly "$1/.install.log" flock "$1/.lock" \
        meson install -C "$1" --no-rebuild --only-changed --skip-subprojects
}

build_release() {
    build_directory "$ROOT/build" --buildtype=release -Dtests=false \
        --prefix="$ROOT/out" --libdir=lib &&
        build_install "$ROOT/build"
}
