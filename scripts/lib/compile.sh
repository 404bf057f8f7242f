# SPDX-License-Identifier: LGPL-2.1-or-later
# Build directories: set up once, set up anew when the options or the place of the tree change.
# shellcheck shell=bash

# build_directory DIR MESON-ARGUMENTS...: DIR is configured and up to date, or it fails aloud.
build_directory() {
    local dir=$1 wanted
    shift
    wanted="$ROOT $(meson --version) $*"
    mkdir -p "$dir"
    if [ ! -e "$dir/build.ninja" ] || [ "$(cat "$dir/.configured" 2>/dev/null)" != "$wanted" ]; then
        rm -rf "$dir"
        mkdir -p "$dir"
        quietly "$dir/.setup.log" meson setup --wrap-mode=nodownload "$@" "$dir" "$ROOT" || return 1
        printf '%s\n' "$wanted" >"$dir/.configured"
    fi
    # Two scripts that run side by side in one tree must not build in one directory at once.
    quietly "$dir/.build.log" flock "$dir/.lock" ninja -C "$dir"
}

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
