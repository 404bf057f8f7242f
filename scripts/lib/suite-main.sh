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
# shellcheck source=/dev/null
. "$ROOT/scripts/suites/$1.sh"
suite_run
