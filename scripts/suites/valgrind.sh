# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='the commands under valgrind, on a small pool'
SUITE_WHEN=always
SUITE_PACKAGES=(valgrind libc6-dbg)

# memcheck NAME STATUS COMMAND...: no invalid access, no leak, and the exit code it should have.
memcheck() {
    local name=$1 wanted=$2 status
    shift 2
    valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
        "$@" >&2
    status=$?
    if [ "$status" = "$wanted" ]; then
        ok "valgrind:$name"
    else
        not_ok "valgrind:$name exit $status, not $wanted: $*"
    fi
}

suite_run() {
    local pool=$WORK/pool tools
    build_test || { not_ok valgrind:build; return 1; }
    tools=$BUILD/src/tools
    memcheck mkfs 0 "$tools/mkfs.daxfuse" -s 32M -L small "$pool"
    memcheck mkfs-again 1 "$tools/mkfs.daxfuse" -s 32M "$pool"
    memcheck fsck 0 "$tools/fsck.daxfuse" -n "$pool"
    memcheck info 0 "$tools/daxfuse-ctl" info --json "$pool"
    memcheck layout 0 "$tools/daxfuse-ctl" layout "$pool"
    # Rubbish where the superblock was, its spare too: an error, and nothing read outside.
    head -c 32M /dev/urandom >"$WORK/rubbish"
    memcheck fsck-rubbish 8 "$tools/fsck.daxfuse" -n "$WORK/rubbish"
    memcheck info-rubbish 1 "$tools/daxfuse-ctl" info "$WORK/rubbish"
}
