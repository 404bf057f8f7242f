#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The process in which scripts/test runs one suite; the first of its process namespace.
set -u
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$ROOT/scripts/lib/packages.sh"
. "$ROOT/scripts/lib/compile.sh"
. "$ROOT/scripts/lib/server.sh"
. "$ROOT/scripts/lib/suite.sh"

# The first process of a namespace gets only signals that it has a handler for.
trap 'exit 130' INT TERM HUP
# A name that is misspelled is no case that passed.
command_not_found_handle() {
    echo "not ok $SUITE: $1 is no command"
    return 127
}
SUITE=$1
# shellcheck source=/dev/null
. "$ROOT/scripts/suites/$SUITE.sh" || { not_ok "$SUITE can not be read"; exit 1; }
suite_run
