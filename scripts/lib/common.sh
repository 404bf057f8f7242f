# SPDX-License-Identifier: LGPL-2.1-or-later
# What every script needs: where we are, how to speak, how to become root.
# shellcheck shell=bash

# A CI runner may start us with an empty environment.
export PATH="${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
case ":$PATH:" in
*:/usr/sbin:*) ;;
*) PATH="$PATH:/usr/sbin:/sbin" ;;
esac
export LC_ALL=C.UTF-8
export HOME="${HOME:-/root}"

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export ROOT
export OUT="${OUT:-$ROOT/out}"

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "${0##*/}: $*"
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Nothing here asks: a sudo that wants a password is none.
can_be_root() {
    [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }
}

as_root() {
    can_be_root || die "needs root for: $* (run it as root, or allow sudo without a password)"
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# quietly LOG COMMAND...: output only when the command fails.
quietly() {
    local log=$1
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 60 "$log" >&2
        say "failed: $*"
        return 1
    fi
}
