# SPDX-License-Identifier: LGPL-2.1-or-later
# Which processes serve a pool, and when they have ended.
# shellcheck shell=bash

# pool_servers POOL: the processes that serve it.
pool_servers() {
    local file pool arguments
    pool=$(realpath -m "$1")
    for file in /proc/[0-9]*/cmdline; do
        arguments=$({ tr '\0' '\n' <"$file"; } 2>/dev/null) || continue # it may have ended
        case ${arguments%%$'\n'*} in
        daxfuse | */daxfuse) ;;
        *) continue ;;
        esac
        if grep -qxF -e "$pool" -e "$1" <<<"$arguments"; then
            file=${file#/proc/}
            echo "${file%/cmdline}"
        fi
    done
}

# pool_wait_ended POOL [SECONDS]: until no server has the pool.
pool_wait_ended() {
    local tries=$((${2:-10} * 20))
    while [ -n "$(pool_servers "$1")" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.05
    done
}
